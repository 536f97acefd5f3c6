//! A log of any bytes opens: whole, cut at a torn end, or damaged and read-only. Never a panic, and an audit of it
//! comes to an end.
//!
//! The first byte says how far the bytes are made to look right: as they are; with a header that is right; as the text
//! of records in a frame whose lengths and checksum are right.
#![no_main]

use std::sync::Arc;

use landfall_engine::core::run::RunId;
use landfall_engine::ports::{EventStore, RunQuery};
use landfall_store::SegmentStore;
use landfall_store::disk::FaultyDisk;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Builder;
use uuid::Uuid;

const LOG_ID: Uuid = Uuid::from_u128(7);
const FIRST: &str = "00000000000000000001.seg";
const SEGMENT_BYTES: u64 = 64 * 1024;

fuzz_target!(|data: &[u8]| {
    let [how, bytes @ ..] = data else { return };
    let segment = match how % 3 {
        0 => bytes.to_vec(),
        1 => [header(), bytes.to_vec()].concat(),
        _ => [header(), frame(bytes)].concat(),
    };
    let disk = FaultyDisk::new();
    disk.set_bytes(FIRST, segment);
    let Ok(runtime) = Builder::new_current_thread().build() else { return };
    runtime.block_on(async {
        let Ok((store, _)) = SegmentStore::inline_on_disk(Arc::new(disk), LOG_ID, SEGMENT_BYTES) else { return };
        let runs = store.runs(RunQuery::default()).await;
        for run in runs.unwrap_or_default() {
            let _ = store.events(run.id).await;
        }
        let _ = store.events(RunId(LOG_ID)).await;
        let _ = store.open_runs().await;
        let _ = store.verify().await;
    });
});

/// Returns the header of a first segment.
fn header() -> Vec<u8> {
    let mut header = vec![0; 72];
    header[..8].copy_from_slice(b"LANDFALL");
    header[8..12].copy_from_slice(&1_u32.to_le_bytes());
    header[16..32].copy_from_slice(LOG_ID.as_bytes());
    header[32..40].copy_from_slice(&1_u64.to_le_bytes());
    let crc = crc32c::crc32c(&header);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Returns a frame whose records are these lines.
fn frame(lines: &[u8]) -> Vec<u8> {
    let records: Vec<&[u8]> = lines.split(|byte| *byte == b'\n').collect();
    let mut body = Vec::new();
    for record in &records {
        body.extend_from_slice(&(record.len() as u32).to_le_bytes());
        body.extend_from_slice(record);
    }
    let mut frame = vec![0xff, b'L', b'F', 0xf1, 0, 0, 0, 0];
    frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
    frame.extend_from_slice(&(records.len() as u32).to_le_bytes());
    frame.extend_from_slice(&1_u64.to_le_bytes());
    frame.extend_from_slice(&[0; 32]);
    frame.extend_from_slice(&body);
    let crc = crc32c::crc32c(&frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    frame
}
