//! What several of the tests need.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use landfall_engine::core::event::Envelope;
use landfall_engine::core::lane::{Lane, LaneId};
use landfall_engine::core::run::RunId;
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::{Cursor, EventStore, RunQuery};
use landfall_store::contract::take;
use landfall_store::disk::FaultyDisk;
use landfall_store::{DataDir, OpenReport, Opened, Options, SegmentStore};
use uuid::Uuid;

/// The identity of every log on a faulty disk.
pub const LOG_ID: Uuid = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_00aa);

/// The file of the first segment.
pub const FIRST: &str = "00000000000000000001.seg";

/// Opens the log on a faulty disk, in one segment.
pub fn on(disk: &FaultyDisk) -> (SegmentStore, OpenReport) {
    in_segments(disk, 64 * 1024 * 1024)
}

/// Opens the log on a faulty disk, in segments of this size.
pub fn in_segments(disk: &FaultyDisk, segment_bytes: u64) -> (SegmentStore, OpenReport) {
    SegmentStore::on_disk(Arc::new(disk.clone()), LOG_ID, segment_bytes).unwrap()
}

/// Keeps a data folder that is quickly copied.
fn small_reserve() -> Options {
    Options { reserve_bytes: 64 * 1024, ..Options::default() }
}

/// Opens a data folder.
pub fn open(folder: &Path) -> Opened {
    DataDir::open(folder, &small_reserve()).unwrap()
}

/// Opens a data folder in segments of a few events.
pub fn open_in_small_segments(folder: &Path) -> Opened {
    DataDir::open(folder, &Options { segment_bytes: 4_000, ..small_reserve() }).unwrap()
}

/// Returns all that a log has.
pub async fn everything(store: &dyn EventStore, events: u64) -> Vec<Envelope> {
    let count = usize::try_from(events).unwrap();
    take(&mut store.follow(Cursor::start()), count).await.into_iter().map(|(_, envelope)| envelope).collect()
}

/// Returns where the frames of a segment start.
pub fn frames(segment: &[u8]) -> Vec<usize> {
    let starts = segment.windows(4).enumerate().filter(|(_, window)| *window == [0xff, b'L', b'F', 0xf1]);
    starts.map(|(at, _)| at).collect()
}

/// Returns where the last frame of a segment ends.
pub fn end(segment: &[u8]) -> usize {
    let start = *frames(segment).last().unwrap();
    let length = u32::from_le_bytes(segment[start + 8..start + 12].try_into().unwrap());
    start + 56 + length as usize
}

/// All answers that come from an index.
#[derive(Debug, PartialEq)]
pub struct Answers {
    runs: Vec<RunSummary>,
    open: Vec<RunId>,
    lanes: Vec<(LaneId, Lane)>,
    claimed: Option<RunId>,
    histories: Vec<Vec<Envelope>>,
}

/// Asks a store everything.
pub async fn answers(store: &dyn EventStore) -> Answers {
    let runs = store.runs(RunQuery { limit: 10_000, ..RunQuery::default() }).await.unwrap();
    let mut histories = Vec::new();
    for run in &runs {
        histories.push(store.events(run.id).await.unwrap());
        assert_eq!(store.run(run.id).await.unwrap().as_ref(), Some(run));
    }
    Answers {
        open: store.open_runs().await.unwrap(),
        lanes: store.lanes().await.unwrap(),
        claimed: store.claimed("delivery-1").await.unwrap(),
        runs,
        histories,
    }
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
