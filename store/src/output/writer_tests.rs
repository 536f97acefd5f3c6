//! What an output does on a disk that is full, and on one that has room again.

use futures_util::StreamExt;
use landfall_engine::ports::OutputLog;
use tempfile::TempDir;

use super::*;
use crate::contract::samples::new_run;
use crate::disk::FaultyDisk;
use crate::output::{Nowhere, OutputDir};

const MIB: u64 = 1024 * 1024;
const RESERVE: u64 = 3 * MIB;
const LOW: u64 = 2 * MIB;

/// Outputs on a disk whose room is measured apart from where they are.
struct Rig {
    disk: FaultyDisk,
    reserve: Arc<Reserve>,
    outputs: OutputDir,
    folder: TempDir,
}

impl Rig {
    fn new() -> Self {
        let disk = FaultyDisk::new();
        let reserve = Reserve::set_aside(Arc::new(disk.clone()), "the disk".into(), RESERVE, LOW);
        let (reserve, folder) = (Arc::new(reserve), tempfile::tempdir().unwrap());
        let outputs = OutputDir::new(folder.path()).within(16 * MIB, Arc::clone(&reserve));
        Self { disk, reserve, outputs, folder }
    }

    /// Leaves so much free, and the log in need of more.
    fn fill_up(&self, free: u64) {
        self.disk.set_capacity(Some(self.disk.used() + free));
        assert!(self.reserve.give_back());
    }

    fn reserve_len(&self) -> u64 {
        self.disk.bytes("reserve").map_or(0, |bytes| bytes.len() as u64)
    }

    fn create(&self) -> Writer {
        let run = new_run();
        let folder = self.folder.path().join(run.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("test-1.log");
        let bounds = Bounds { bytes_max: 16 * MIB, reserve: Some(Arc::clone(&self.reserve)) };
        Writer::create(path, (run, "test".into(), 1), bounds, Arc::default()).unwrap()
    }
}

fn print(writer: &Writer, line: &str) -> io::Result<()> {
    let mut pen = locked(&writer.live.pen);
    // It may be written at once, where the last write is long ago.
    pen.line(line)?;
    pen.write_out()
}

fn read(writer: &Writer) -> String {
    std::fs::read_to_string(&writer.path).unwrap()
}

#[test]
fn an_attempt_prints_as_soon_as_there_is_room_again_and_no_push_has_to_ask_first() {
    let rig = Rig::new();
    rig.fill_up(0);
    let mut while_full = rig.outputs.open(new_run(), "test", 1).unwrap();
    while_full.line("what there is, is for the log").unwrap();
    assert!(while_full.finish().is_err());

    rig.disk.set_capacity(Some(rig.disk.used() + LOW + MIB - 1));
    let mut too_soon = rig.outputs.open(new_run(), "test", 1).unwrap();
    too_soon.line("the reserve comes first").unwrap();
    assert!(too_soon.finish().is_err());

    rig.disk.set_capacity(Some(rig.disk.used() + LOW + MIB));
    let mut with_room = rig.outputs.open(new_run(), "test", 1).unwrap();
    with_room.line("kept").unwrap();
    assert_eq!(with_room.finish().unwrap().len, 5);
    assert_eq!(rig.reserve_len(), RESERVE, "it is set aside again");
}

#[tokio::test]
async fn whoever_prints_does_not_wait_until_the_reserve_is_set_aside_again() {
    let rig = Rig::new();
    rig.fill_up(0);
    rig.disk.set_capacity(None);
    let changing = rig.reserve.hold();
    let mut writer = rig.outputs.open(new_run(), "test", 1).unwrap();
    writer.line("kept").unwrap();
    assert_eq!(writer.finish().unwrap().len, 5);
    assert!(rig.reserve_len() < RESERVE);
    drop(changing);
    let set_aside = async {
        while rig.reserve_len() < RESERVE {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), set_aside).await.unwrap();
}

#[test]
fn a_long_output_goes_on_behind_a_line_that_says_what_is_missing_and_is_not_whole() {
    let rig = Rig::new();
    let mut writer = rig.create();
    print(&writer, "one").unwrap();
    rig.fill_up(0);
    print(&writer, "two").unwrap_err();
    print(&writer, &"x".repeat(5_000)).unwrap();
    assert_eq!(read(&writer), "one\n", "there is no room yet");
    rig.disk.set_capacity(None);
    print(&writer, "three").unwrap();
    assert_eq!(read(&writer), "one\n", "not each line asks");
    print(&writer, &"y".repeat(5_000)).unwrap();
    let told = "landfall: the disk was full: 3 lines, 5011 bytes are missing here\n";
    assert_eq!(read(&writer), format!("one\n{told}{}\n", "y".repeat(5_000)));
    assert!(writer.finish().is_err(), "what has a hole is not the output of the attempt");
}

#[test]
fn an_output_that_ends_on_a_disk_with_room_again_says_what_is_missing() {
    let rig = Rig::new();
    let mut writer = rig.create();
    print(&writer, "one").unwrap();
    rig.fill_up(0);
    print(&writer, "two").unwrap_err();
    rig.disk.set_capacity(None);
    writer.finish().unwrap_err();
    assert_eq!(read(&writer), "one\nlandfall: the disk was full: 1 line, 4 bytes are missing here\n");
}

#[test]
fn what_is_missing_is_counted_on_when_the_line_that_says_so_finds_no_room_either() {
    let rig = Rig::new();
    let mut writer = rig.create();
    print(&writer, "one").unwrap();
    rig.fill_up(0);
    print(&writer, "two").unwrap_err();
    rig.disk.set_capacity(None);
    assert!(locked(&writer.live.pen).go_on_after_full());
    rig.fill_up(0);
    print(&writer, "three").unwrap_err();
    rig.disk.set_capacity(None);
    writer.finish().unwrap_err();
    assert_eq!(read(&writer), "one\nlandfall: the disk was full: 2 lines, 10 bytes are missing here\n");
}

#[tokio::test]
async fn what_is_there_is_read_and_followed_while_the_disk_is_full_and_what_comes_after_it() {
    let rig = Rig::new();
    let run = new_run();
    let mut writer = rig.outputs.open(run, "test", 1).unwrap();
    writer.line("one").unwrap();
    let mut chunks = rig.outputs.follow(run, "test", 1, 0);
    assert_eq!(chunks.next().await.unwrap().unwrap().text, "one\n");
    rig.fill_up(0);
    // Refused now, or as soon as somebody wants to read it.
    _ = writer.line("two");
    let printing = async {
        while rig.outputs.list(run).await.unwrap()[0].len > 4 {
            tokio::task::yield_now().await;
        }
        assert_eq!(rig.outputs.read(run, "test", 1).await.unwrap().unwrap(), b"one\n");
        rig.disk.set_capacity(None);
        writer.line(&"y".repeat(5_000)).unwrap();
    };
    let (next, ()) =
        tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(chunks.next(), printing) })
            .await
            .unwrap();
    let told = "landfall: the disk was full: 1 line, 4 bytes are missing here\n";
    assert_eq!(next.unwrap().unwrap().text, format!("{told}{}\n", "y".repeat(5_000)));
    drop(writer);
    assert!(chunks.next().await.is_none());
}

#[test]
fn an_attempt_that_began_without_room_for_its_file_prints_once_there_is_some() {
    let rig = Rig::new();
    let mut refusals = 2;
    let mut path = None;
    let mut writer = Nowhere::new(|| {
        if refusals > 0 {
            refusals -= 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let writer = rig.create();
        path = Some(writer.path.clone());
        Ok(writer)
    });
    for letter in ["w", "x", "y"] {
        writer.line("short").unwrap();
        writer.line(&letter.repeat(5_000)).unwrap();
    }
    assert!(writer.finish().is_err(), "what has a hole is not the output of the attempt");
    drop(writer);
    let told = "landfall: the disk was full: 5 lines, 10020 bytes are missing here\n";
    let kept = std::fs::read_to_string(path.unwrap()).unwrap();
    assert_eq!(kept, format!("{told}{}\n", "y".repeat(5_000)));
}
