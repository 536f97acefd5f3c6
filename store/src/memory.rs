//! A store that forgets everything when it is dropped: for tests and for trying things out.
//!
//! It admits, refuses, numbers, hashes and publishes exactly as the segment log does, and passes the same
//! contract suite. A fake that forgives would hide the bug.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use landfall_engine::core::event::{Envelope, EventHash};
use landfall_engine::core::lane::{Lane, LaneId};
use landfall_engine::core::run::RunId;
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::{Append, AppendError, Cursor, EventStore, ReadError, RunQuery};
use tokio::sync::watch;
use uuid::Uuid;

use crate::admit::{Admission, admit};
use crate::index::{Fact, View};
use crate::record::{Prepared, chain};
use crate::segment::follow::{cursor, seen};
use crate::segment::reader::FrameAt;

/// An event store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    log_id: Uuid,
    log: Arc<Mutex<Log>>,
    length: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Log {
    events: Vec<Envelope>,
    /// The places of each run's events in `events`.
    places: HashMap<RunId, Vec<usize>>,
    view: View,
    hash: EventHash,
}

impl MemoryStore {
    /// Returns an empty store with an identity of its own.
    pub fn new() -> Self {
        Self { log_id: Uuid::now_v7(), log: Arc::default(), length: watch::channel(0).0 }
    }

    fn locked(&self) -> MutexGuard<'_, Log> {
        locked(&self.log)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl EventStore for MemoryStore {
    async fn append(&self, append: Append) -> Result<Vec<Envelope>, AppendError> {
        let append = Prepared::new(append)?;
        let mut log = self.locked();
        let history = log.history(append.run_id);
        let ids: Vec<Uuid> = history.iter().map(|envelope| envelope.event_id).collect();
        let recorded = match admit(&append, &ids, |claim| log.view.claims.get(claim).copied())? {
            Admission::New => log.record(&append),
            Admission::Again(first) => {
                let again = history.into_iter().filter(|envelope| envelope.seq >= first);
                again.take(append.events.len()).collect()
            }
        };
        self.length.send_replace(log.events.len() as u64);
        Ok(recorded)
    }

    async fn events(&self, run_id: RunId) -> Result<Vec<Envelope>, ReadError> {
        Ok(self.locked().history(run_id))
    }

    async fn runs(&self, query: RunQuery) -> Result<Vec<RunSummary>, ReadError> {
        Ok(self.locked().view.query(&query))
    }

    async fn run(&self, run_id: RunId) -> Result<Option<RunSummary>, ReadError> {
        self.locked().view.runs.get(&run_id).map_or(Ok(None), |entry| entry.line_of(run_id))
    }

    async fn open_runs(&self) -> Result<Vec<RunId>, ReadError> {
        Ok(self.locked().view.open_runs())
    }

    async fn lane(&self, lane: &LaneId) -> Result<Lane, ReadError> {
        Ok(self.locked().view.lanes.get(lane).cloned().unwrap_or_default())
    }

    async fn lanes(&self) -> Result<Vec<(LaneId, Lane)>, ReadError> {
        Ok(self.locked().view.lanes())
    }

    async fn claimed(&self, claim: &str) -> Result<Option<RunId>, ReadError> {
        Ok(self.locked().view.claims.get(claim).copied())
    }

    async fn near_end(&self, events: u64) -> Cursor {
        cursor(self.length.borrow().saturating_sub(events), self.log_id)
    }

    fn follow(&self, from: Cursor) -> BoxStream<'static, Result<(Cursor, Envelope), ReadError>> {
        let log_id = self.log_id;
        let from = match seen(&from, log_id) {
            Ok(seen) => seen,
            Err(error) => return Box::pin(stream::iter([Err(error)])),
        };
        let start = (Arc::clone(&self.log), self.length.subscribe(), from);
        Box::pin(stream::unfold(start, move |(log, mut length, seen)| async move {
            length.wait_for(|length| *length > seen).await.ok()?;
            let next = locked(&log).events.get(usize::try_from(seen).ok()?)?.clone();
            Some((Ok((cursor(seen + 1, log_id), next)), (log, length, seen + 1)))
        }))
    }

    fn log_id(&self) -> Uuid {
        self.log_id
    }

    async fn failed(&self) -> String {
        std::future::pending().await
    }
}

impl Log {
    fn history(&self, run_id: RunId) -> Vec<Envelope> {
        let places = self.places.get(&run_id).map(Vec::as_slice).unwrap_or_default();
        places.iter().map(|place| self.events[*place].clone()).collect()
    }

    fn record(&mut self, append: &Prepared) -> Vec<Envelope> {
        let mut recorded = Vec::with_capacity(append.events.len());
        for (i, event) in append.events.iter().enumerate() {
            let (seq, global_seq) = (append.expected + 1 + i as u64, self.events.len() as u64 + 1);
            let mut text = Vec::new();
            event.write(append.run_id, seq, global_seq, &mut text);
            self.hash = chain(self.hash, &text);
            let envelope = event.envelope(append, seq, global_seq, self.hash);
            self.view.apply(&Fact {
                run_id: append.run_id,
                seq,
                at_ms: append.at_ms,
                actor: &append.actor,
                claim: append.claims.get(i).map(String::as_str),
                event: Ok(&envelope.event),
                frame: FrameAt { segment: 1, offset: global_seq },
            });
            self.places.entry(append.run_id).or_default().push(self.events.len());
            self.events.push(envelope.clone());
            recorded.push(envelope);
        }
        recorded
    }
}

fn locked(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
