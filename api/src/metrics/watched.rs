//! A store that counts what is recorded in another. It changes nothing and holds nobody up.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use landfall_engine::core::event::{Envelope, Event};
use landfall_engine::core::lane::{Lane, LaneId};
use landfall_engine::core::run::RunId;
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::{Append, AppendError, Cursor, EventStore, Low, ReadError, RunQuery};
use uuid::Uuid;

use super::Metrics;

/// The store, watched.
#[derive(Debug)]
pub(super) struct Watched {
    inner: Arc<dyn EventStore>,
    metrics: Arc<Metrics>,
}

impl Watched {
    pub(super) fn new(inner: Arc<dyn EventStore>, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }

    /// Learns the lane of a run that was started before this process was: asked once a run.
    async fn learn_lane(&self, append: &Append) {
        let counted = &self.metrics.counted;
        let starts = append.events.iter().any(|draft| matches!(draft.event, Event::RunStarted { .. }));
        if starts || counted.knows(append.run_id) {
            return;
        }
        if let Ok(Some(summary)) = self.inner.run(append.run_id).await {
            counted.learn(append.run_id, summary.lane);
        }
    }
}

#[async_trait]
impl EventStore for Watched {
    async fn append(&self, append: Append) -> Result<Vec<Envelope>, AppendError> {
        self.learn_lane(&append).await;
        let begun = Instant::now();
        let appended = self.inner.append(append).await;
        let counted = &self.metrics.counted;
        match &appended {
            Ok(envelopes) => {
                counted.appended(begun.elapsed());
                envelopes.iter().for_each(|envelope| counted.note(envelope));
            }
            Err(error) => counted.refused(error),
        }
        appended
    }

    async fn admits(&self) -> Result<(), Low> {
        self.inner.admits().await
    }

    async fn events(&self, run_id: RunId) -> Result<Vec<Envelope>, ReadError> {
        self.inner.events(run_id).await
    }

    async fn runs(&self, query: RunQuery) -> Result<Vec<RunSummary>, ReadError> {
        self.inner.runs(query).await
    }

    async fn run(&self, run_id: RunId) -> Result<Option<RunSummary>, ReadError> {
        self.inner.run(run_id).await
    }

    async fn open_runs(&self) -> Result<Vec<RunId>, ReadError> {
        self.inner.open_runs().await
    }

    async fn lane(&self, lane: &LaneId) -> Result<Lane, ReadError> {
        self.inner.lane(lane).await
    }

    async fn lanes(&self) -> Result<Vec<(LaneId, Lane)>, ReadError> {
        self.inner.lanes().await
    }

    async fn claimed(&self, claim: &str) -> Result<Option<RunId>, ReadError> {
        self.inner.claimed(claim).await
    }

    fn follow(&self, from: Cursor) -> BoxStream<'static, Result<(Cursor, Envelope), ReadError>> {
        self.inner.follow(from)
    }

    fn log_id(&self) -> Uuid {
        self.inner.log_id()
    }

    async fn failed(&self) -> String {
        self.inner.failed().await
    }
}
