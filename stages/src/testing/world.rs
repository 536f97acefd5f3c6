//! A run, and what stands around it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;

use landfall_engine::core::effect::EffectKey;
use landfall_engine::core::event::Commit;
use landfall_engine::core::event::Origin;
use landfall_engine::core::event::OutputRef;
use landfall_engine::core::facts::Candidate;
use landfall_engine::core::facts::PushedImage;
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::lane::Release;
use landfall_engine::core::run::LaneEntry;
use landfall_engine::core::run::Phase;
use landfall_engine::core::run::Run;
use landfall_engine::core::run::RunId;
use landfall_engine::core::run::RunState;
use landfall_engine::core::settings::Settings;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::BoxError;
use landfall_engine::ports::Order;
use landfall_engine::ports::Output;
use landfall_engine::ports::OutputWriter;
use landfall_engine::ports::RollbackOrder;
use tempfile::TempDir;
use uuid::Uuid;

use super::docker::FakeDocker;
use super::proxy::FakeProxy;
use crate::context::Context;
use crate::docker::DockerHandle;
use crate::proxy::ProxyClient;
use crate::proxy::Route;
use crate::secrets::Secrets;

const RUN: &str = "0190a6ff-7b4c-7cc1-8f00-1234567890ab";
const FORMER_RUN: &str = "0190a6ff-0000-7cc1-8f00-aaaaaaaaaaaa";
const LOG: &str = "11111111-2222-4333-8444-555555555555";

/// A proxy and a Docker engine, and the context that reaches them.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) context: Context,
    pub(crate) proxy: FakeProxy,
    pub(crate) docker: FakeDocker,
    _dir: TempDir,
}

impl World {
    /// Returns one with these secrets.
    pub(crate) async fn with(secrets: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let proxy = FakeProxy::start(dir.path()).await;
        let socket = dir.path().join("docker.sock");
        let docker = FakeDocker::start(&socket);
        let values = secrets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let context = Context {
            docker: DockerHandle::connect(Some(&format!("unix://{}", socket.display()))).unwrap(),
            http: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .build()
                .unwrap(),
            keys: crate::git::RepositoryKeys::default(),
            secrets: Arc::new(Secrets::new(values, None).unwrap()),
            proxy: ProxyClient::in_dir(dir.path()),
            data: dir.path().to_owned(),
        };
        Self { context, proxy, docker, _dir: dir }
    }

    /// Returns one without secrets.
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// Ends the proxy's admin interface, for those who connect from now on.
    pub(crate) fn without_proxy(&self) -> Context {
        Context { proxy: ProxyClient::new("/nonexistent/admin.sock"), ..self.context.clone() }
    }
}

/// Returns a run whose candidate is at an address, and which was promised generation 7.
pub(crate) fn run(address: SocketAddr, former: Option<Release>, settings: Settings) -> Run {
    Run {
        id: RUN.parse().unwrap(),
        seq: 9,
        lane: LaneId::production("shop"),
        origin: Origin::Push {
            commit: Commit {
                sha: "c0ffee".repeat(6) + "c0ff",
                branch: Some("main".into()),
                subject: "Make it blue".into(),
                author: "Ada Lovelace".into(),
                email: "ada@example.com".into(),
            },
            repository: "/srv/git/shop.git".into(),
            release_hold: false,
        },
        state: RunState::Deployed,
        phase: Phase::Ready,
        started_ms: 0,
        done: Some(Stage::Smoke),
        cancel: None,
        approved: false,
        laid_out: false,
        settings: Some(Box::new(Settings { service: "shop".into(), ..settings })),
        tests: None,
        built: None,
        image: Some(image("new")),
        entry: Some(LaneEntry { replaces: former, generation: 7 }),
        deploy_begun: true,
        candidate: Some(candidate("landfall-shop-new", address)),
        cause: None,
        parked_seq: 0,
        notices: BTreeMap::new(),
    }
}

/// Returns an image whose digest is `sha256:<what>`.
fn image(what: &str) -> PushedImage {
    PushedImage {
        repository: "127.0.0.1:5000/shop".into(),
        tag: what.into(),
        digest: format!("sha256:{what}"),
    }
}

/// Returns a container that was healthy after 5 ms.
pub(crate) fn candidate(name: &str, address: SocketAddr) -> Candidate {
    Candidate { container: name.into(), container_id: format!("id-{name}"), address, healthy_after_ms: 5 }
}

/// Returns the release before, whose container is at an address.
pub(crate) fn release(address: SocketAddr) -> Release {
    Release {
        run: FORMER_RUN.parse().unwrap(),
        commit: Commit { sha: "f00d".repeat(10), subject: "Make it red".into(), ..Commit::default() },
        image: image("former"),
        candidate: candidate("landfall-shop-former", address),
        live_at_ms: 1,
    }
}

/// Returns the order for a stage.
pub(crate) fn order(run: Run, stage: Stage) -> Order {
    Order {
        key: EffectKey::stage(run.id, stage, 1),
        run: Arc::new(run),
        stage,
        attempt: 1,
        deadline_ms: u64::MAX,
        log_id: log_id(),
    }
}

/// Returns the order for a rollback.
pub(crate) fn rollback_order(run: Run) -> RollbackOrder {
    RollbackOrder {
        key: EffectKey::rollback(run.id, 1),
        run: Arc::new(run),
        former: None,
        attempt: 1,
        deadline_ms: u64::MAX,
        log_id: log_id(),
    }
}

/// Returns whose objects all these are.
pub(crate) fn log_id() -> Uuid {
    LOG.parse().unwrap()
}

/// Returns the run before.
pub(crate) fn former_run() -> RunId {
    FORMER_RUN.parse().unwrap()
}

/// Collects lines, for a look at them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// Returns an output that ends here.
    pub(crate) fn output(&self) -> Output {
        Output::new(Box::new(self.clone()))
    }

    /// Returns the lines so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl OutputWriter for Lines {
    fn line(&mut self, text: &str) -> Result<(), BoxError> {
        self.0.lock().unwrap().push(text.to_owned());
        Ok(())
    }

    fn finish(&mut self) -> Result<OutputRef, BoxError> {
        Ok(OutputRef { len: 0, sha256: String::new() })
    }
}

/// Returns a route of the lane, set by `someone`.
pub(crate) fn world_route(generation: u64, target: Option<SocketAddr>, release: &str) -> Route {
    Route {
        app: "shop".into(),
        env: "production".into(),
        host: None,
        mount: None,
        generation,
        target,
        release: release.into(),
        run: "someone".into(),
        drain_ms: Settings::default().deploy.drain_ms,
    }
}
