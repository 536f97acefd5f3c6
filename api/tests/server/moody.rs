//! A store in memory that gives no answer where it is told to, or keeps whoever asks waiting.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use landfall_engine::core::event::Envelope;
use landfall_engine::core::lane::{Lane, LaneId};
use landfall_engine::core::run::RunId;
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::{Append, AppendError, Cursor, EventStore, ReadError, RunQuery};
use landfall_store::MemoryStore;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

/// A store in memory with moods.
#[derive(Debug, Default)]
pub struct MoodyStore {
    store: MemoryStore,
    /// The next claim is not looked up.
    pub forgets_claim: AtomicBool,
    /// The next append finds no room.
    pub is_full: AtomicBool,
    /// The next claim is looked up once this is told.
    held: Mutex<Option<oneshot::Receiver<()>>>,
    /// How many claims were held.
    pub holding: watch::Sender<usize>,
}

impl MoodyStore {
    /// Lets the next who looks up a claim wait until the sender says so.
    pub fn hold_next_claim(&self) -> oneshot::Sender<()> {
        let (release, held) = oneshot::channel();
        *self.held.lock().unwrap() = Some(held);
        release
    }
}

#[async_trait]
impl EventStore for MoodyStore {
    async fn append(&self, append: Append) -> Result<Vec<Envelope>, AppendError> {
        if self.is_full.swap(false, Ordering::SeqCst) {
            return Err(AppendError::Full);
        }
        self.store.append(append).await
    }

    async fn claimed(&self, claim: &str) -> Result<Option<RunId>, ReadError> {
        let held = self.held.lock().unwrap().take();
        if let Some(held) = held {
            self.holding.send_modify(|count| *count += 1);
            let _ = held.await;
        }
        if self.forgets_claim.swap(false, Ordering::SeqCst) {
            return Err(ReadError::Backend { doing: "the claims".into(), source: "not now".into() });
        }
        self.store.claimed(claim).await
    }

    async fn events(&self, run_id: RunId) -> Result<Vec<Envelope>, ReadError> {
        self.store.events(run_id).await
    }

    async fn runs(&self, query: RunQuery) -> Result<Vec<RunSummary>, ReadError> {
        self.store.runs(query).await
    }

    async fn run(&self, run_id: RunId) -> Result<Option<RunSummary>, ReadError> {
        self.store.run(run_id).await
    }

    async fn open_runs(&self) -> Result<Vec<RunId>, ReadError> {
        self.store.open_runs().await
    }

    async fn lane(&self, lane: &LaneId) -> Result<Lane, ReadError> {
        self.store.lane(lane).await
    }

    async fn lanes(&self) -> Result<Vec<(LaneId, Lane)>, ReadError> {
        self.store.lanes().await
    }

    async fn near_end(&self, events: u64) -> Cursor {
        self.store.near_end(events).await
    }

    fn follow(&self, from: Cursor) -> BoxStream<'static, Result<(Cursor, Envelope), ReadError>> {
        self.store.follow(from)
    }

    fn log_id(&self) -> Uuid {
        self.store.log_id()
    }

    async fn failed(&self) -> String {
        self.store.failed().await
    }
}
