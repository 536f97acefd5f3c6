//! Stages that only pretend, and a store that is timed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use landfall_engine::core::command::{NotSent, Outcome, RollbackOutcome};
use landfall_engine::core::event::Envelope;
use landfall_engine::core::facts::{
    BuiltImage, Candidate, Checkout, Facts, PushedImage, SmokeReport, Switched, TestReport,
};
use landfall_engine::core::lane::{Lane, LaneId};
use landfall_engine::core::run::RunId;
use landfall_engine::core::settings::Settings;
use landfall_engine::core::stage::Stage;
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::{
    Append, AppendError, Cursor, EventStore, Keep, NoticeOrder, Order, Output, Probe, ReadError,
    RollbackOrder, RunQuery, StageExecutor,
};
use uuid::Uuid;

/// How long a stage pretends to take: a run is then as long as a quick one with warm caches.
const STAGE_TIME: Duration = Duration::from_millis(50);

/// Stages that take their time and do nothing.
#[derive(Debug)]
pub(crate) struct PretendedStages;

fn facts(order: &Order) -> Facts {
    let digest = format!("sha256:{}", order.run.id.short());
    let report = |address: &str| SmokeReport { address: address.into(), checks: Vec::new() };
    match order.stage {
        Stage::Checkout => Facts::Checkout(Checkout {
            tree: "7ree".into(),
            settings: Box::new(Settings { service: order.run.lane.app.clone(), ..Settings::default() }),
            configured_by: "nothing".into(),
            guesses: vec![],
        }),
        Stage::Test => Facts::Test(TestReport::default()),
        Stage::Build => Facts::Build(BuiltImage {
            image_id: digest,
            reference: "127.0.0.1:5000/app:run".into(),
            generated_dockerfile: false,
        }),
        Stage::PushImage => Facts::PushImage(PushedImage {
            repository: "127.0.0.1:5000/app".into(),
            tag: "run".into(),
            digest,
        }),
        Stage::ReleaseCommand => Facts::ReleaseCommand,
        Stage::Deploy => Facts::Deploy(Candidate {
            container: "app".into(),
            container_id: digest,
            address: ([127, 0, 0, 1], 20_001).into(),
            healthy_after_ms: 1,
        }),
        Stage::Smoke => Facts::Smoke(report("http://127.0.0.1:20001")),
        Stage::GoLive => Facts::GoLive(Switched { generation: 1, address: "http://127.0.0.1:8080".into() }),
        Stage::PublicSmoke => Facts::PublicSmoke(report("http://127.0.0.1:8080")),
    }
}

#[async_trait]
impl StageExecutor for PretendedStages {
    async fn execute(&self, order: &Order, _: &Output) -> Outcome {
        tokio::time::sleep(STAGE_TIME).await;
        Outcome::Succeeded(facts(order))
    }

    async fn probe(&self, _: &Order) -> Result<Probe, String> {
        Ok(Probe::NotStarted)
    }

    async fn attach(&self, order: &Order, output: &Output) -> Outcome {
        self.execute(order, output).await
    }

    async fn undo(&self, _: &Order) -> Result<(), String> {
        Ok(())
    }

    async fn rollback(&self, _: &RollbackOrder, _: &Output) -> RollbackOutcome {
        RollbackOutcome::Succeeded { serving: None, proof: "pretended".into() }
    }

    async fn notify(&self, _: &NoticeOrder) -> Result<String, NotSent> {
        Ok("200".into())
    }

    async fn sweep(&self, _: &Keep) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }
}

/// A store that notes how long each append takes, and counts what it recorded.
#[derive(Debug)]
pub(crate) struct TimedStore {
    inner: Arc<dyn EventStore>,
    appends: Mutex<(u64, Vec<Duration>)>,
}

impl TimedStore {
    pub(crate) fn new(inner: Arc<dyn EventStore>) -> Self {
        Self { inner, appends: Mutex::default() }
    }

    /// Returns how many events were recorded, and how long each append took, from the shortest on.
    pub(crate) fn noted(&self) -> (u64, Vec<Duration>) {
        let (events, mut appends) = self.appends.lock().unwrap_or_else(PoisonError::into_inner).clone();
        appends.sort_unstable();
        (events, appends)
    }
}

#[async_trait]
impl EventStore for TimedStore {
    async fn append(&self, append: Append) -> Result<Vec<Envelope>, AppendError> {
        let since = Instant::now();
        let recorded = self.inner.append(append).await?;
        let mut appends = self.appends.lock().unwrap_or_else(PoisonError::into_inner);
        appends.0 += recorded.len() as u64;
        appends.1.push(since.elapsed());
        Ok(recorded)
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

    async fn near_end(&self, events: u64) -> Cursor {
        self.inner.near_end(events).await
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
