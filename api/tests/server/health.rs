//! A log that takes no more events is no secret.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use landfall_engine::core::event::Envelope;
use landfall_engine::core::lane::{Lane, LaneId};
use landfall_engine::core::run::RunId;
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::{Append, AppendError, Cursor, EventStore, Low, ReadError, RunQuery};
use landfall_store::{MemoryStore, OutputDir};
use serde_json::json;
use tokio::sync::watch;
use uuid::Uuid;

use crate::fixture::{TestServer, WorkingCopy, answered, stderr};

/// A store whose disk a test can break.
#[derive(Debug)]
pub struct Breakable {
    inner: MemoryStore,
    pub broken: watch::Sender<Option<String>>,
    pub low: watch::Sender<Option<Low>>,
}

impl Breakable {
    pub fn new() -> Self {
        Self { inner: MemoryStore::new(), broken: watch::channel(None).0, low: watch::channel(None).0 }
    }
}

#[async_trait]
impl EventStore for Breakable {
    async fn append(&self, append: Append) -> Result<Vec<Envelope>, AppendError> {
        let broken = self.broken.borrow().clone();
        match broken {
            None => self.inner.append(append).await,
            Some(reason) => Err(AppendError::Unknown { source: reason.into() }),
        }
    }

    async fn admits(&self) -> Result<(), Low> {
        self.low.borrow().clone().map_or(Ok(()), Err)
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
        let mut broken = self.broken.subscribe();
        let reason = broken.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_default()
    }
}

#[tokio::test]
async fn a_log_that_takes_no_more_events_is_unhealthy_and_takes_no_pushes() {
    let data = tempfile::tempdir().unwrap();
    let store = Arc::new(Breakable::new());
    let outputs = Arc::new(OutputDir::new(data.path().join("output")));
    let server = TestServer::start_on(data.path(), Arc::clone(&store) as _, outputs).await;
    let copy = WorkingCopy::new().await;

    store.broken.send_replace(Some("fsync failed: I/O error".into()));
    let health = reqwest::get(format!("{}/healthz", server.url)).await.unwrap();
    let reason = json!({ "status": "failed", "reason": "fsync failed: I/O error" });
    assert_eq!(answered(health).await, (503, reason));

    let output = copy.try_git(&["push", &server.remote("shop"), "main"]).await;
    assert!(!output.status.success());
    let seen = stderr(&output);
    assert!(seen.contains("the event log takes no more events: fsync failed"), "{seen}");

    let body = json!({ "repository": copy.path().display().to_string() });
    let answer = server.request("POST", "/v1/apps/shop/runs").json(&body).send().await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "5");
    assert_eq!(answered(answer).await.0, 503);
    server.stop().await;
}
