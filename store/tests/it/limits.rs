//! What the store takes, and what it says when there is no more room.

use std::path::Path;
use std::sync::Arc;

use landfall_engine::core::event::OutputRef;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{AppendError, EventStore, OutputLog};
use landfall_store::contract::samples::{append, begun, new_run, started};
use landfall_store::disk::{Disk, FaultyDisk, Kept};
use landfall_store::{DataDir, Options, OutputDir, SegmentStore};

use crate::common::{LOG_ID, in_segments};

const MIB: u64 = 1024 * 1024;
const RESERVE: u64 = 3 * MIB;
const LOW: u64 = 2 * MIB;

fn with_reserve(disk: &FaultyDisk) -> SegmentStore {
    SegmentStore::on_disk_with_reserve(Arc::new(disk.clone()), LOG_ID, RESERVE, LOW).unwrap()
}

fn reserve_of(disk: &FaultyDisk) -> u64 {
    disk.bytes("reserve").map_or(0, |bytes| bytes.len() as u64)
}

fn within(folder: &Path, output_bytes_max: u64) -> Arc<OutputDir> {
    DataDir::open(folder, &Options { output_bytes_max, ..Options::default() }).unwrap().outputs
}

#[tokio::test]
async fn an_attempt_that_prints_too_much_says_how_much_was_dropped_and_is_whole_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = within(folder.path(), 20);
    let run = new_run();
    let mut writer = outputs.open(run, "test", 1).unwrap();
    for line in ["one", "two", "a line that is too long", "three", "four"] {
        writer.line(line).unwrap();
    }
    let OutputRef { len, sha256 } = writer.finish().unwrap();
    let kept = outputs.read(run, "test", 1).await.unwrap().unwrap();
    assert_eq!(
        String::from_utf8(kept.clone()).unwrap(),
        "one\ntwo\n\
         landfall: the rest was dropped (3 lines, 35 bytes): an attempt may print 20 bytes\n"
    );
    assert_eq!((len, sha256.len()), (kept.len() as u64, 64));
    let mut next = outputs.open(run, "test", 2).unwrap();
    next.line("has room again").unwrap();
    assert_eq!(next.finish().unwrap().len, 15, "each attempt has its own limit");
}

#[tokio::test]
async fn what_is_just_as_long_as_allowed_is_kept_and_nothing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = within(folder.path(), 8);
    let run = new_run();
    let mut writer = outputs.open(run, "test", 1).unwrap();
    for line in ["one", "two"] {
        writer.line(line).unwrap();
    }
    writer.finish().unwrap();
    assert_eq!(outputs.read(run, "test", 1).await.unwrap().unwrap(), b"one\ntwo\n");
}

#[tokio::test]
async fn an_attempt_that_is_cut_off_says_what_was_dropped_too() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = within(folder.path(), 4);
    let run = new_run();
    let mut writer = outputs.open(run, "test", 1).unwrap();
    for line in ["one", "two"] {
        writer.line(line).unwrap();
    }
    drop(writer);
    let kept = outputs.read(run, "test", 1).await.unwrap().unwrap();
    assert!(
        String::from_utf8(kept)
            .unwrap()
            .ends_with("landfall: the rest was dropped (1 line, 4 bytes): an attempt may print 4 bytes\n")
    );
}

#[tokio::test]
async fn below_the_mark_no_new_run_is_admitted_and_what_runs_is_recorded() {
    let disk = FaultyDisk::new();
    let store = with_reserve(&disk);
    let run = new_run();
    store.append(append(run, 0, [started("shop")])).await.unwrap();
    disk.set_capacity(Some(disk.used() + LOW));
    store.admits().await.unwrap();
    disk.set_capacity(Some(disk.used() + LOW - 1));
    let low = store.admits().await.unwrap_err();
    assert_eq!((low.free_bytes, low.needed_bytes), (LOW - 1, LOW));
    assert_eq!(
        low.to_string(),
        "the disk of the log is low: 1 MiB are free, and new runs are taken from 2 MiB on; what is running is \
         recorded to its end. Free some space and ask again"
    );
    store.append(append(run, 1, [begun(Stage::Checkout)])).await.unwrap();
    disk.set_capacity(None);
    store.admits().await.unwrap();
}

#[tokio::test]
async fn on_a_full_disk_what_runs_is_recorded_on_the_reserve_which_is_set_aside_again_when_there_is_room() {
    let disk = FaultyDisk::new();
    let store = with_reserve(&disk);
    assert_eq!(reserve_of(&disk), RESERVE);
    let run = new_run();
    let mut told = store.append(append(run, 0, [started("shop")])).await.unwrap();
    disk.set_capacity(Some(disk.used()));
    // More than fits into what is allocated ahead, and less than the reserve.
    for seq in 1..2_000 {
        told.extend(store.append(append(run, seq, [begun(Stage::Checkout)])).await.unwrap());
    }
    let left = reserve_of(&disk);
    assert!(left < RESERVE && left > 0, "given back in pieces: {left} bytes are left");
    assert!(store.admits().await.is_err());
    assert_eq!(store.events(run).await.unwrap(), told);

    disk.set_capacity(Some(disk.used() + (RESERVE - left) + LOW - 1));
    assert!(store.admits().await.is_err(), "the reserve comes before new runs");
    disk.set_capacity(Some(disk.used() + (RESERVE - left) + LOW));
    store.admits().await.unwrap();
    assert_eq!(reserve_of(&disk), RESERVE);

    drop(store);
    let (found, report) = in_segments(&disk.crash(Kept::Nothing), 64 * MIB);
    assert_eq!((report.events, report.damage), (told.len() as u64, None));
    assert_eq!(found.events(run).await.unwrap(), told);
}

#[tokio::test]
async fn when_the_reserve_is_used_up_an_append_is_refused_and_can_be_made_again() {
    let disk = FaultyDisk::new();
    let store = with_reserve(&disk);
    let run = new_run();
    store.append(append(run, 0, [started("shop")])).await.unwrap();
    disk.set_capacity(Some(0));
    let mut seq = 1;
    let refused = loop {
        let asked = append(run, seq, [begun(Stage::Checkout)]);
        match store.append(asked.clone()).await {
            Ok(_) => seq += 1,
            Err(AppendError::Full) => break asked,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(reserve_of(&disk), 0);
    disk.set_capacity(None);
    store.append(refused).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_has_no_room_for_the_reserve_opens_and_admits_no_run() {
    let disk = FaultyDisk::new();
    disk.set_capacity(Some(MIB));
    let store = with_reserve(&disk);
    assert_eq!(reserve_of(&disk), 0, "half a reserve would only fill the disk");
    let low = store.admits().await.unwrap_err();
    assert_eq!(low.needed_bytes, RESERVE + LOW);
    store.append(append(new_run(), 0, [started("shop")])).await.unwrap();
}

#[tokio::test]
async fn a_reserve_that_is_there_is_kept_and_a_lost_one_is_made_again_at_the_start() {
    let disk = FaultyDisk::new();
    drop(with_reserve(&disk));
    disk.set_capacity(Some(disk.used()));
    drop(with_reserve(&disk));
    assert_eq!(reserve_of(&disk), RESERVE, "it needs no second room");
    disk.set_capacity(None);
    disk.remove("reserve").unwrap();
    drop(with_reserve(&disk));
    assert_eq!(reserve_of(&disk), RESERVE);
}

#[tokio::test]
async fn a_data_folder_has_its_reserve_as_a_file_that_takes_up_its_room() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let options = Options::default();
    drop(DataDir::open(folder.path(), &options).unwrap());
    let reserve = std::fs::metadata(folder.path().join("reserve")).unwrap();
    assert_eq!(reserve.len(), options.reserve_bytes);
    assert!(reserve.blocks() * 512 >= options.reserve_bytes, "{} blocks", reserve.blocks());
}

#[tokio::test]
async fn a_reserve_that_is_to_be_smaller_gives_its_room_back_at_the_start() {
    let disk = FaultyDisk::new();
    drop(with_reserve(&disk));
    for less in [RESERVE / 2, 0] {
        let store = SegmentStore::on_disk_with_reserve(Arc::new(disk.clone()), LOG_ID, less, LOW);
        drop(store.unwrap());
        assert_eq!(reserve_of(&disk), less);
    }
}
