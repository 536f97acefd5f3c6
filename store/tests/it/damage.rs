//! What was good once and is not any more: it is named, nothing is mended, and what is whole can be read.

use std::fs;
use std::path::Path;

use landfall_engine::core::run::RunId;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{AppendError, EventStore, ReadError};
use landfall_store::contract::samples::{append, begun, life, new_run, started};
use landfall_store::contract::takes_appends;
use landfall_store::disk::{Disk, FaultyDisk, Kept};
use landfall_store::open_read_only;

use crate::common::{FIRST, end, frames, on, open, open_in_small_segments};

/// A log with one frame for each of five runs.
async fn five_runs() -> (FaultyDisk, Vec<RunId>) {
    let disk = FaultyDisk::new();
    let (store, _) = on(&disk);
    let mut runs = Vec::new();
    for _ in 0..5 {
        let run = new_run();
        store.append(append(run, 0, [started("shop"), begun(Stage::Checkout)])).await.unwrap();
        runs.push(run);
    }
    (disk, runs)
}

fn is_unreadable<T: std::fmt::Debug>(answer: &Result<T, ReadError>) -> bool {
    matches!(answer, Err(ReadError::Unreadable { .. }))
}

#[tokio::test]
async fn a_flipped_bit_before_the_last_frame_makes_the_log_read_only_and_is_named() {
    let (disk, runs) = five_runs().await;
    let bytes = disk.bytes(FIRST).unwrap();
    let starts = frames(&bytes);
    for (bit, hit) in (starts[1] * 8..starts[4] * 8).step_by(61).map(|bit| (bit, bit / 8)) {
        let disk = disk.crash(Kept::Everything);
        let mut bytes = bytes.clone();
        bytes[hit] ^= 1 << (bit % 8);
        disk.set_bytes(FIRST, bytes);
        let (store, report) = on(&disk);
        let frame = starts.iter().rposition(|start| *start <= hit).unwrap();
        let damage = report.damage.unwrap();
        assert_eq!((damage.segment.as_str(), damage.offset), (FIRST, starts[frame] as u64), "byte {hit}");
        assert_eq!(damage.lost, Some((frame as u64 * 2 + 1, frame as u64 * 2 + 2)), "byte {hit}");
        let refused = store.append(append(new_run(), 0, [started("blog")])).await;
        assert!(matches!(refused, Err(AppendError::Corrupt { .. })), "byte {hit}: {refused:?}");
        assert!(store.failed().await.contains(FIRST));
        for (n, run) in runs.iter().enumerate().filter(|(n, _)| *n != frame) {
            assert_eq!(store.events(*run).await.unwrap().len(), 2, "byte {hit}, run {n}");
        }
        // The first record's run id may be what was hit; the second's is whole then.
        assert!(damage.runs.contains(&runs[frame]), "byte {hit}: {damage}");
        let problems = store.verify().await.unwrap().problems;
        assert!(problems.iter().any(|problem| problem.run == Some(runs[frame])), "byte {hit}");
    }
}

#[tokio::test]
async fn a_run_that_lost_events_in_the_middle_can_t_be_read_and_says_which() {
    let disk = FaultyDisk::new();
    let (store, _) = on(&disk);
    let (run, other) = (new_run(), new_run());
    for (n, event) in life(run, "shop").into_iter().enumerate() {
        store.append(append(run, n as u64, [event])).await.unwrap();
    }
    store.append(append(other, 0, [started("blog")])).await.unwrap();
    drop(store);
    let mut bytes = disk.bytes(FIRST).unwrap();
    let hit = frames(&bytes)[6] + 300;
    bytes[hit] ^= 1;
    disk.set_bytes(FIRST, bytes);
    let (store, _) = on(&disk);
    let answer = store.events(run).await;
    assert!(
        matches!(answer, Err(ReadError::Unreadable { run_id, seq: 7, .. }) if run_id == run),
        "{answer:?}"
    );
    assert_eq!(store.events(other).await.unwrap().len(), 1);
    assert!(store.run(other).await.unwrap().unwrap().open);
}

#[tokio::test]
async fn events_that_were_recorded_once_and_are_gone_make_the_log_read_only() {
    let folder = tempfile::tempdir().unwrap();
    let run = new_run();
    let store = open(folder.path()).store;
    store.append(append(run, 0, [started("shop")])).await.unwrap();
    store.append(append(run, 1, [begun(Stage::Checkout)])).await.unwrap();
    drop(store);
    let segment = folder.path().join("log").join(FIRST);
    let whole = fs::read(&segment).unwrap();
    let last = *frames(&whole).last().unwrap();
    let mut flipped = whole.clone();
    flipped[last + 100] ^= 1;
    for bytes in [&whole[..last], &whole[..last + 50], &flipped] {
        fs::write(&segment, bytes).unwrap();
        let opened = open(folder.path());
        let damage = opened.report.damage.clone().unwrap();
        assert!(damage.what.contains("event 2 was recorded once"), "{damage}");
        let refused = opened.store.append(append(run, 1, [begun(Stage::Checkout)])).await;
        assert!(matches!(refused, Err(AppendError::Corrupt { .. })), "{refused:?}");
        drop(opened);
        assert_eq!(fs::read(&segment).unwrap(), bytes, "a damaged log is left as it is");
    }
    fs::write(&segment, &whole).unwrap();
    assert_eq!(open(folder.path()).report.damage, None);
}

#[tokio::test]
async fn damage_in_a_sealed_segment_stops_its_runs_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (runs, segments) = many_segments(folder.path()).await;
    let path = folder.path().join("log").join(&segments[1]);
    let mut bytes = fs::read(&path).unwrap();
    let hit = frames(&bytes)[0] + 200;
    bytes[hit] ^= 1;
    fs::write(&path, bytes).unwrap();
    let opened = open_in_small_segments(folder.path());
    let mut broken = Vec::new();
    for run in &runs {
        if is_unreadable(&opened.store.events(*run).await) {
            broken.push(*run);
        }
    }
    assert_eq!(broken.len(), 1);
    assert!(takes_appends(&*opened.store).await, "runs that are whole go on");
    let refused = opened.store.append(append(broken[0], 20, [begun(Stage::Test)])).await;
    assert!(
        matches!(refused, Err(AppendError::Corrupt { .. } | AppendError::Conflict { .. })),
        "{refused:?}"
    );
    let problems = opened.store.verify().await.unwrap().problems;
    assert!(
        problems
            .iter()
            .any(|problem| problem.file == format!("log/{}", segments[1]) && problem.run == Some(broken[0]))
    );
    let beside = open_read_only(folder.path()).unwrap();
    for run in &runs {
        assert_eq!(is_unreadable(&beside.events(*run).await), broken.contains(run));
    }
}

#[tokio::test]
async fn a_segment_that_is_gone_is_noticed_at_once() {
    for gone in [0, 1] {
        let folder = tempfile::tempdir().unwrap();
        let (_, segments) = many_segments(folder.path()).await;
        fs::remove_file(folder.path().join("log").join(&segments[gone])).unwrap();
        let opened = open_in_small_segments(folder.path());
        let damage = opened.report.damage.unwrap();
        assert!(damage.what.contains("is expected here"), "{damage}");
        assert!(damage.lost.is_some_and(|(first, _)| segments[gone].contains(&format!("{first:020}"))));
    }
}

#[tokio::test]
async fn a_changed_event_with_a_right_checksum_breaks_the_chain() {
    let (disk, runs) = five_runs().await;
    let mut bytes = disk.bytes(FIRST).unwrap();
    let starts = frames(&bytes);
    let (start, end) = (starts[2], starts[3]);
    let actor = bytes[start..end].windows(5).position(|window| window == b"\"ada\"").unwrap();
    bytes[start + actor..start + actor + 5].copy_from_slice(b"\"eve\"");
    let crc = crc32c::crc32c(&bytes[start + 8..end]);
    bytes[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    disk.set_bytes(FIRST, bytes);
    let (store, report) = on(&disk);
    assert!(report.damage.unwrap().what.contains("hash chain"));
    let problems = store.verify().await.unwrap().problems;
    assert!(problems.iter().any(|problem| problem.what.contains("hash chain")), "{problems:?}");
    assert_eq!(store.events(runs[4]).await.unwrap().len(), 2);
}

#[tokio::test]
async fn no_damaged_log_makes_anything_panic() {
    let (disk, _) = five_runs().await;
    let bytes = disk.bytes(FIRST).unwrap();
    let used = end(&bytes);
    let mut dice: u64 = 0x9e37_79b9_7f4a_7c15;
    for _ in 0..400 {
        let disk = disk.crash(Kept::Everything);
        let mut bytes = bytes[..used + 100].to_vec();
        for _ in 0..8 {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            let at = usize::try_from(dice >> 20).unwrap() % bytes.len();
            let until = (at + usize::try_from(dice & 63).unwrap()).min(bytes.len());
            bytes[at..until].fill(u8::try_from(dice >> 56).unwrap());
        }
        disk.set_bytes(FIRST, bytes);
        let (store, _) = on(&disk);
        let verification = store.verify().await.unwrap();
        assert!(verification.events <= 10 && disk.list().unwrap().len() <= 2);
    }
}

/// Fills a folder with runs over several segments, and closes it.
async fn many_segments(folder: &Path) -> (Vec<RunId>, Vec<String>) {
    let store = open_in_small_segments(folder).store;
    let mut runs = Vec::new();
    for _ in 0..6 {
        let run = new_run();
        store.append(append(run, 0, life(run, "shop"))).await.unwrap();
        runs.push(run);
    }
    let entries = fs::read_dir(folder.join("log")).unwrap();
    let mut segments: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    segments.sort();
    assert_eq!(segments.len(), 6, "a life fills a segment");
    (runs, segments)
}

#[tokio::test]
async fn a_flipped_bit_in_the_last_frame_is_a_problem_for_an_audit_and_a_torn_one_is_none() {
    let (disk, runs) = five_runs().await;
    let bytes = disk.bytes(FIRST).unwrap();
    let end_of_log = end(&bytes);
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path()).store;
    store.append(append(new_run(), 0, [started("shop")])).await.unwrap();
    drop(store);
    let segment = place.path().join("log").join(FIRST);
    let whole = fs::read(&segment).unwrap();
    let last = *frames(&whole).last().unwrap();
    let end_of_last = end(&whole);
    for hit in (last..end_of_last).step_by(7) {
        let mut flipped = whole.clone();
        flipped[hit] ^= 4;
        fs::write(&segment, flipped).unwrap();
        let problems = open_read_only(place.path()).unwrap().verify().await.unwrap().problems;
        assert!(
            problems.iter().any(|problem| problem.what.contains("was changed")),
            "byte {hit}: {problems:?}"
        );
        let mut torn = whole.clone();
        torn[hit..].fill(0);
        fs::write(&segment, torn).unwrap();
        let problems = open_read_only(place.path()).unwrap().verify().await.unwrap().problems;
        assert_eq!(problems, [], "cut at byte {hit}");
    }
    let (store, _) = on(&disk);
    let mut flipped = bytes.clone();
    flipped[end_of_log - 20] ^= 1;
    disk.set_bytes(FIRST, flipped);
    let problems = store.verify().await.unwrap().problems;
    assert!(problems.iter().any(|problem| problem.run == Some(runs[4])), "{problems:?}");
}
