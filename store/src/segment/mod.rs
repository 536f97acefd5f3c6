//! The segment log: append-only files that are the truth, and a store over them.
//!
//! ```text
//! append ──▶ queue ──▶ writer (a thread) ──▶ tail ──▶ disk
//!                          │ durable
//!                          ├──▶ index ──▶ events, runs, lanes, claims
//!                          └──▶ mark ───▶ followers, who read the files
//! ```
//!
//! [`walk`] knows what a whole log is; [`recovery`] opens one; [`verify`] audits one.

pub(crate) mod files;
pub(crate) mod follow;
pub(crate) mod frame;
pub(crate) mod reader;
pub(crate) mod recovery;
mod remains;
mod store;
pub(crate) mod tail;
pub(crate) mod verify;
pub(crate) mod walk;
mod writer;

use landfall_engine::core::event::{Envelope, EventHash};
use landfall_engine::core::run::RunId;
use landfall_engine::ports::ReadError;
use uuid::Uuid;

use crate::index::Index;
use crate::record::{Record, is_of};
use files::Segments;
use reader::read_frame;
pub(crate) use store::LogPlace;
pub use store::OpenReport;
pub use store::SegmentStore;
pub(crate) use store::Work;

/// What readers and the writer share.
#[derive(Debug)]
pub(crate) struct Log {
    segments: Segments,
    log_id: Uuid,
    index: Index,
}

impl Log {
    /// Returns the history of a run.
    fn history(&self, run_id: RunId) -> Result<Vec<Envelope>, ReadError> {
        self.records(run_id)?.into_iter().map(|(record, hash)| record.read(hash)).collect()
    }

    /// Returns the records of a run, understood or not, in order and without a hole.
    fn records(&self, run_id: RunId) -> Result<Vec<(Record, EventHash)>, ReadError> {
        let Some(entry) = self.index.entry(run_id) else { return Ok(Vec::new()) };
        let mut records: Vec<(Record, EventHash)> = Vec::new();
        for (at, seq) in entry.frames() {
            let unreadable = |reason: String| ReadError::Unreadable { run_id, seq, reason };
            let frame = read_frame(&self.segments, at)
                .map_err(|source| ReadError::Backend { doing: at.to_string(), source: source.into() })?
                .map_err(|what| unreadable(format!("{at}: {what}; restore this file from a copy")))?;
            for (text, hash) in frame.chained().filter(|(text, _)| is_of(run_id, text)) {
                let record = Record::parse(text).map_err(|error| unreadable(format!("{at}: {error}")))?;
                records.push((record, hash));
            }
        }
        let dense = records.iter().zip(1..).all(|((record, _), seq)| record.seq == seq);
        if dense && records.len() as u64 == entry.seq {
            return Ok(records);
        }
        Err(entry.unreadable(run_id).unwrap_or_else(|| ReadError::Unreadable {
            run_id,
            seq: entry.seq,
            reason: "the log does not have what the index says; remove index.sled to build it anew".into(),
        }))
    }
}
