//! Reads a log without a lock: beside a running server, or from a copy of its folder.
//!
//! It touches nothing and needs no index: histories are found by skimming the frames. What a server writes
//! meanwhile is seen by the next question.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use landfall_engine::core::event::{Envelope, EventHash};
use landfall_engine::core::lane::{Lane, LaneId};
use landfall_engine::core::run::RunId;
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::{Append, AppendError, Cursor, EventStore, ReadError, RunQuery};
use tokio::sync::watch;
use uuid::Uuid;

use crate::checkpoint::audit::{Audit, Trust, audit};
use crate::checkpoint::folder::read_all;
use crate::checkpoint::note::CheckpointFile;
use crate::data_dir::{OpenError, read_log_id};
use crate::disk::{Disk, RealDisk};
use crate::index::{View, salvage_on};
use crate::record::{Record, is_of, refused};
use crate::segment::Work;
use crate::segment::files::Segments;
use crate::segment::follow::{cursor, follow};
use crate::segment::verify::{Verification, verify};
use crate::segment::walk::{Damage, Walk, Walked};

/// A log that is only read.
#[derive(Clone)]
pub struct ReadOnlyLog {
    segments: Segments,
    log_id: Uuid,
    checkpoints: Arc<dyn Disk>,
    seen: Arc<Mutex<Seen>>,
}

/// An event with what its hash is made of: `sha256(before || record)`.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// The event, as it is read.
    pub envelope: Envelope,
    /// The hash of the event before it in the log.
    pub before: EventHash,
    /// The text that is stored.
    pub record: Vec<u8>,
}

/// What was read so far.
struct Seen {
    walk: Walk,
    view: View,
    damages: Vec<Damage>,
}

/// Opens the log of a data folder for reading. Nothing is locked, written or created.
///
/// # Errors
///
/// When this is no data folder, or one of a newer version, or it can't be read.
pub fn open_read_only(folder: &Path) -> Result<ReadOnlyLog, OpenError> {
    let log_id = read_log_id(folder)?;
    let segments = Segments::new(Arc::new(RealDisk::read_only(folder.join("log"))));
    let walk = Walk::from_start(segments.clone(), log_id);
    let seen = Seen { walk, view: View::default(), damages: Vec::new() };
    let checkpoints = Arc::new(RealDisk::read_only(folder.join("checkpoints")));
    Ok(ReadOnlyLog { segments, log_id, checkpoints, seen: Arc::new(Mutex::new(seen)) })
}

impl ReadOnlyLog {
    /// Audits the whole log as it is now, byte by byte.
    ///
    /// # Errors
    ///
    /// When the disk can't be read. What is wrong with the log is in the answer.
    pub async fn verify(&self) -> Result<Verification, ReadError> {
        self.read(|log| verify(log.segments.clone(), log.log_id).map_err(backend)).await
    }

    /// Audits the whole log as it is now, and holds it against its checkpoints and those that are given.
    ///
    /// # Errors
    ///
    /// When the disk can't be read. What is wrong with the log is in the answer.
    pub async fn audit(&self, trust: Trust) -> Result<Audit, ReadError> {
        self.read(move |log| {
            // First the checkpoints: what they cover is durable by then, whatever is written meanwhile.
            let own = read_all(&*log.checkpoints).map_err(backend)?;
            audit(log.segments.clone(), log.log_id, own, &trust).map_err(backend)
        })
        .await
    }

    /// Returns the checkpoints in the folder, oldest first, whatever is in them.
    ///
    /// # Errors
    ///
    /// When the disk can't be read.
    pub async fn checkpoints(&self) -> Result<Vec<CheckpointFile>, ReadError> {
        self.read(|log| read_all(&*log.checkpoints).map_err(backend)).await
    }

    /// Returns the history of a run with its stored texts.
    ///
    /// # Errors
    ///
    /// As [`EventStore::events`].
    pub async fn stored(&self, run_id: RunId) -> Result<Vec<StoredEvent>, ReadError> {
        self.read(move |log| log.history(run_id)).await
    }

    /// Returns what was found to be wrong with the log so far.
    ///
    /// # Errors
    ///
    /// When the disk can't be read.
    pub async fn damages(&self) -> Result<Vec<Damage>, ReadError> {
        self.read(|log| log.up_to_date(|seen| seen.damages.clone())).await
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Self) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let log = self.clone();
        match tokio::task::spawn_blocking(move || read(&log)).await {
            Ok(answer) => answer,
            Err(error) => Err(ReadError::Backend { doing: "the log".into(), source: error.into() }),
        }
    }

    /// Reads on to the present end, and looks at what there is.
    fn up_to_date<T>(&self, look: impl FnOnce(&Seen) -> T) -> Result<T, ReadError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen { walk, view, damages } = &mut *seen;
        salvage_on(walk, view, damages).map_err(backend)?;
        Ok(look(&seen))
    }

    /// Skims the whole log for one run.
    fn history(&self, run_id: RunId) -> Result<Vec<StoredEvent>, ReadError> {
        let mut walk = Walk::from_start(self.segments.clone(), self.log_id);
        let mut history: Vec<StoredEvent> = Vec::new();
        let unreadable = |seq, reason: String| Err(ReadError::Unreadable { run_id, seq, reason });
        loop {
            match walk.next().map_err(backend)? {
                Walked::Frame(at, frame) => {
                    if !frame.records().any(|text| is_of(run_id, text)) {
                        continue;
                    }
                    let befores = std::iter::once(frame.before).chain(frame.chained().map(|(_, hash)| hash));
                    let records = frame.chained().zip(befores);
                    for ((text, hash), before) in records.filter(|((text, _), _)| is_of(run_id, text)) {
                        let next = history.len() as u64 + 1;
                        let record = match Record::parse(text) {
                            Ok(record) if record.seq == next => record,
                            Ok(_) => return unreadable(next, "it is missing from the log".into()),
                            Err(error) => return unreadable(next, format!("{at}: {error}")),
                        };
                        let envelope = record.read(hash)?;
                        history.push(StoredEvent { envelope, before, record: text.to_owned() });
                    }
                }
                Walked::Damage(damage) if damage.runs.contains(&run_id) => {
                    return unreadable(history.len() as u64 + 1, damage.to_string());
                }
                Walked::Damage(_) => {}
                Walked::Torn(_) | Walked::End => return Ok(history),
            }
        }
    }
}

#[async_trait]
impl EventStore for ReadOnlyLog {
    async fn append(&self, _: Append) -> Result<Vec<Envelope>, AppendError> {
        Err(refused("the log was opened for reading alone".into()))
    }

    async fn events(&self, run_id: RunId) -> Result<Vec<Envelope>, ReadError> {
        let history = self.stored(run_id).await?;
        Ok(history.into_iter().map(|stored| stored.envelope).collect())
    }

    async fn runs(&self, query: RunQuery) -> Result<Vec<RunSummary>, ReadError> {
        self.read(move |log| log.up_to_date(|seen| seen.view.query(&query))).await
    }

    async fn run(&self, run_id: RunId) -> Result<Option<RunSummary>, ReadError> {
        let entry = self.read(move |log| log.up_to_date(|seen| seen.view.runs.get(&run_id).cloned())).await?;
        entry.map_or(Ok(None), |entry| entry.line_of(run_id))
    }

    async fn open_runs(&self) -> Result<Vec<RunId>, ReadError> {
        self.read(|log| log.up_to_date(|seen| seen.view.open_runs())).await
    }

    async fn lane(&self, lane: &LaneId) -> Result<Lane, ReadError> {
        let lane = lane.clone();
        self.read(move |log| log.up_to_date(|seen| seen.view.lanes.get(&lane).cloned().unwrap_or_default()))
            .await
    }

    async fn lanes(&self) -> Result<Vec<(LaneId, Lane)>, ReadError> {
        self.read(|log| log.up_to_date(|seen| seen.view.lanes())).await
    }

    async fn claimed(&self, claim: &str) -> Result<Option<RunId>, ReadError> {
        let claim = claim.to_owned();
        self.read(move |log| log.up_to_date(|seen| seen.view.claims.get(&claim).copied())).await
    }

    async fn near_end(&self, events: u64) -> Cursor {
        // A log that can't be read is told of by whoever follows it.
        let end = self.read(|log| log.up_to_date(|seen| seen.walk.mark().seq)).await.unwrap_or(0);
        cursor(end.saturating_sub(events), self.log_id)
    }

    /// Follows the log to its end as it is now, and ends there: nobody tells a reader without a lock of more.
    fn follow(&self, from: Cursor) -> BoxStream<'static, Result<(Cursor, Envelope), ReadError>> {
        let log = self.clone();
        let followed = async move {
            match log.read(|log| log.up_to_date(|seen| seen.walk.mark())).await {
                Ok(end) => follow(log.segments, log.log_id, watch::channel(end).1, &from, Work::Threads),
                Err(error) => stream::iter([Err(error)]).boxed(),
            }
        };
        stream::once(followed).flatten().boxed()
    }

    fn log_id(&self) -> Uuid {
        self.log_id
    }

    async fn failed(&self) -> String {
        std::future::pending().await
    }
}

impl fmt::Debug for ReadOnlyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOnlyLog").field("segments", &self.segments).finish_non_exhaustive()
    }
}

fn backend(source: std::io::Error) -> ReadError {
    ReadError::Backend { doing: "the log".into(), source: source.into() }
}
