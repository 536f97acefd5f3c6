//! A server in this process, on a log that is written beforehand, with stages that do what the test says next.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use landfall::data_dir::Token;
use landfall::server::{App, Server, Vitals, serve_app};
use landfall_engine::core::command::{NotSent, Outcome, Push, RollbackOutcome};
use landfall_engine::core::run::{Run, RunId};
use landfall_engine::core::stage::Stage;
use landfall_engine::engine::Parts;
use landfall_engine::ports::{
    EventStore, Keep, NoticeOrder, Order, Output, Probe, RollbackOrder, StageExecutor, SystemClock,
};
use landfall_engine::{Claim, Engine};
use landfall_stages::secrets::Secrets;
use landfall_store::{MemoryStore, OutputDir};
use tempfile::TempDir;
use tokio::sync::Mutex as HeldMutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::browser::PATIENCE;
use crate::seed;

pub const TOKEN: &str = "a-token-for-tests-only";

/// What a stage does next.
#[derive(Debug)]
pub enum Next {
    /// It prints this.
    Print(String),
    /// It ends like this.
    End(Box<Outcome>),
}

/// Stages that end at once, but for those that a test holds.
#[derive(Debug, Default)]
pub struct Stages {
    held: Mutex<HashMap<Stage, Arc<HeldMutex<UnboundedReceiver<Next>>>>>,
}

impl Stages {
    /// Lets a stage do what it is told and nothing else.
    pub fn hold(&self, stage: Stage) -> UnboundedSender<Next> {
        let (tell, told) = unbounded_channel();
        self.held.lock().unwrap().insert(stage, Arc::new(HeldMutex::new(told)));
        tell
    }

    async fn act(&self, order: &Order, output: &Output) -> Outcome {
        let held = self.held.lock().unwrap().get(&order.stage).cloned();
        if let Some(held) = held {
            let mut told = held.lock().await;
            while let Some(next) = told.recv().await {
                match next {
                    Next::Print(line) => output.line(&line),
                    Next::End(outcome) => return *outcome,
                }
            }
        }
        Outcome::Succeeded(seed::facts(order.stage, &order.run.commit().sha, order.run.id))
    }
}

#[async_trait]
impl StageExecutor for Stages {
    async fn execute(&self, order: &Order, output: &Output) -> Outcome {
        self.act(order, output).await
    }

    async fn probe(&self, _: &Order) -> Result<Probe, String> {
        Ok(Probe::NotStarted)
    }

    async fn attach(&self, order: &Order, output: &Output) -> Outcome {
        self.act(order, output).await
    }

    async fn undo(&self, _: &Order) -> Result<(), String> {
        Ok(())
    }

    async fn rollback(&self, order: &RollbackOrder, _: &Output) -> RollbackOutcome {
        let before = order.run.entry.as_ref().and_then(|entry| entry.replaces.as_ref());
        let serving = before.map(|release| release.image.digest.clone());
        RollbackOutcome::Succeeded { serving, proof: "GET / = 200 from the former release".into() }
    }

    async fn notify(&self, _: &NoticeOrder) -> Result<String, NotSent> {
        Ok("200".into())
    }

    async fn sweep(&self, _: &Keep) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }
}

/// A server that serves.
pub struct World {
    pub url: String,
    pub app: Arc<App>,
    pub stages: Arc<Stages>,
    pub seeded: seed::Seeded,
    serving: JoinHandle<()>,
    _data: TempDir,
}

impl World {
    /// Serves a log with a run in each ending.
    pub async fn start() -> Self {
        Self::with(|store, outputs| Box::pin(seed::all(store, outputs))).await
    }

    /// Serves a log of so many runs.
    pub async fn with_many(runs: u64) -> Self {
        Self::with(move |store, _| Box::pin(seed::many(store, runs))).await
    }

    async fn with(
        seeding: impl for<'a> FnOnce(
            &'a MemoryStore,
            &'a Path,
        ) -> futures_util::future::BoxFuture<'a, seed::Seeded>,
    ) -> Self {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("outputs");
        let store = Arc::new(MemoryStore::new());
        let seeded = seeding(&store, &folder).await;
        let (stages, outputs) = (Arc::new(Stages::default()), Arc::new(OutputDir::new(&folder)));
        let store: Arc<dyn EventStore> = store;
        let parts = Parts {
            store,
            executor: Arc::clone(&stages) as _,
            outputs: Arc::clone(&outputs) as _,
            clock: Arc::new(SystemClock),
        };
        let server = Server::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let url = format!("http://{}", server.address());
        let engine = Engine::start(parts).await.unwrap();
        let tokens = vec![Token::parse(TOKEN, "the test").unwrap()];
        let secrets = Secrets::new(std::iter::empty(), None).unwrap();
        // No git pushes here, so its hooks have nothing to run.
        let exe = Path::new("/bin/false");
        let app = App::new(engine, outputs, data.path(), exe, tokens, secrets, Vitals::default()).unwrap();
        let app = Arc::new(app);
        let served = serve_app(server, Arc::clone(&app));
        let serving = tokio::spawn(async move { served.await.unwrap() });
        Self { url, app, stages, seeded, serving, _data: data }
    }

    /// Pushes a commit of an app.
    pub async fn push(&self, app: &str, subject: &str) -> RunId {
        let push = Push {
            lane: landfall_engine::core::lane::LaneId::production(app),
            commit: seed::commit(subject, "Grace Hopper"),
            repository: "/srv/git/shop.git".into(),
            trigger: "git push".into(),
            release_hold: false,
        };
        self.app.engine.trigger(push, "grace", None::<Claim>).await.unwrap().run_id
    }

    /// Waits until nothing more happens to a run without a person.
    pub async fn settled(&self, run: RunId) -> Run {
        tokio::time::timeout(PATIENCE, self.app.engine.settled(run)).await.expect("it settles").unwrap()
    }

    pub async fn stop(self) {
        self.app.stop.cancel();
        tokio::time::timeout(PATIENCE, self.serving).await.expect("the server ends").unwrap();
        self.app.engine.shutdown().await;
    }
}
