//! A crash may cut the last write anywhere. What was acknowledged before it is there; nothing else is.

use landfall_engine::core::event::{Envelope, Event};
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::EventStore;
use landfall_store::contract::samples::{append, begun, life, new_run, red_life, started};
use landfall_store::contract::takes_appends;
use landfall_store::disk::FaultyDisk;
use landfall_store::disk::Kept;

use crate::common::{FIRST, end, everything, frames, in_segments, on};

/// A log whose last frame is about to be cut.
struct Cut {
    disk: FaultyDisk,
    /// The segment, with the last frame.
    bytes: Vec<u8>,
    /// Where the last frame is.
    last: std::ops::Range<usize>,
    /// What was acknowledged before it.
    acknowledged: Vec<Envelope>,
}

async fn log_to_be_cut() -> Cut {
    let disk = FaultyDisk::new();
    let (store, _) = on(&disk);
    let (run, other) = (new_run(), new_run());
    let mut acknowledged = store.append(append(run, 0, red_life("shop"))).await.unwrap();
    acknowledged.extend(store.append(append(other, 0, [started("blog")])).await.unwrap());
    let last = [begun(Stage::Checkout), Event::CancelRequested { reason: "no".into() }];
    store.append(append(other, 1, last)).await.unwrap();
    drop(store);
    let mut bytes = disk.bytes(FIRST).unwrap();
    bytes.truncate(end(&bytes) + 2_000);
    let last = *frames(&bytes).last().unwrap()..end(&bytes);
    Cut { disk, bytes, last, acknowledged }
}

impl Cut {
    /// Opens the log with this segment, and checks that the last frame is gone and all else is there.
    async fn opens_without_the_last(&self, bytes: Vec<u8>, what: &str) {
        let disk = self.disk.crash(Kept::Everything);
        let is_torn = bytes[self.last.start.min(bytes.len())..].iter().any(|byte| *byte != 0);
        disk.set_bytes(FIRST, bytes);
        let (store, report) = on(&disk);
        assert_eq!(report.damage, None, "{what}");
        assert_eq!(report.events, self.acknowledged.len() as u64, "{what}");
        assert_eq!(report.recovered.is_some(), is_torn, "{what}");
        if let Some(torn) = report.recovered {
            assert_eq!((torn.segment.as_str(), torn.offset), (FIRST, self.last.start as u64), "{what}");
        }
        assert_eq!(everything(&store, report.events).await, self.acknowledged, "{what}");
        assert!(takes_appends(&store).await, "{what}");
        drop(store);
        let (store, report) = on(&disk.crash(Kept::Nothing));
        assert_eq!((report.events, report.recovered), (self.acknowledged.len() as u64 + 1, None), "{what}");
        assert_eq!(store.verify().await.unwrap().problems, [], "{what}");
    }
}

#[tokio::test]
async fn a_file_that_ends_anywhere_in_the_last_frame_opens_without_it() {
    let cut = log_to_be_cut().await;
    for at in cut.last.clone() {
        cut.opens_without_the_last(cut.bytes[..at].to_vec(), &format!("cut at {at}")).await;
    }
}

#[tokio::test]
async fn a_last_frame_that_is_zero_from_anywhere_on_is_removed() {
    let cut = log_to_be_cut().await;
    for at in cut.last.clone() {
        let mut bytes = cut.bytes.clone();
        bytes[at..].fill(0);
        // The last byte of a frame may be zero by itself; then nothing was cut.
        if bytes != cut.bytes {
            cut.opens_without_the_last(bytes, &format!("zero from {at}")).await;
        }
    }
}

#[tokio::test]
async fn a_last_frame_with_noise_at_any_byte_is_removed() {
    let cut = log_to_be_cut().await;
    for at in cut.last.clone() {
        let mut bytes = cut.bytes.clone();
        bytes[at] ^= 0x5a;
        cut.opens_without_the_last(bytes, &format!("noise at {at}")).await;
    }
}

#[tokio::test]
async fn a_last_frame_of_which_only_the_end_was_written_is_removed() {
    let cut = log_to_be_cut().await;
    for at in cut.last.clone().skip(1) {
        let mut bytes = cut.bytes.clone();
        bytes[cut.last.start..at].fill(0);
        cut.opens_without_the_last(bytes, &format!("zero up to {at}")).await;
    }
}

#[tokio::test]
async fn a_power_cut_leaves_what_was_acknowledged_and_perhaps_the_last_append_as_a_whole() {
    let disk = FaultyDisk::new();
    let (store, _) = in_segments(&disk, 20_000);
    let (run, other) = (new_run(), new_run());
    let acknowledged = store.append(append(run, 0, life(run, "shop"))).await.unwrap().len() as u64;
    disk.fail(landfall_store::disk::Op::Sync, 0, std::io::ErrorKind::Other);
    let last = life(other, "blog");
    let whole = acknowledged + last.len() as u64;
    store.append(append(other, 0, last)).await.unwrap_err();
    let mut ends = Vec::new();
    for seed in 1..300 {
        let (found, report) = in_segments(&disk.crash(Kept::Sectors(seed)), 20_000);
        assert!([acknowledged, whole].contains(&report.events), "seed {seed}: {report}");
        let verification = found.verify().await.unwrap();
        assert_eq!((verification.events, verification.problems), (report.events, vec![]), "seed {seed}");
        ends.push(report.events);
    }
    assert!(ends.contains(&acknowledged));
    let (_, report) = in_segments(&disk.crash(Kept::Everything), 20_000);
    assert_eq!(report.events, whole, "kill -9 does not lose what reached the file");
}
