//! Containers of an app, a run of it, and the stages that are tried on it.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

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
use landfall_stages::executor::FlaskStages;
use landfall_stages::executor::FlaskStagesConfig;
use landfall_stages::secrets::Secrets;
use tempfile::TempDir;
use uuid::Uuid;

use crate::fake_proxy::FakeProxy;

/// The image that every machine has which runs these tests.
pub(crate) const IMAGE: &str = "python:3.12-slim";
/// The secret of the app.
pub(crate) const SECRET: &str = "correct-horse";

/// A machine with a proxy, and the stages.
pub(crate) struct World {
    pub(crate) stages: FlaskStages,
    pub(crate) proxy: FakeProxy,
    log_id: Uuid,
    _dir: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let proxy = FakeProxy::start(dir.path()).await;
        let secrets = [("APP_SECRET".to_owned(), SECRET.to_owned())];
        let config = FlaskStagesConfig {
            data: dir.path().join("data"),
            secrets: Secrets::new(secrets.into_iter(), None).unwrap(),
            proxy_socket: dir.path().join("admin.sock"),
            docker: None,
        };
        Self { stages: FlaskStages::new(config).unwrap(), proxy, log_id: Uuid::new_v4(), _dir: dir }
    }

    /// Returns a run with settings that name the secret; its candidate is nowhere yet.
    pub(crate) fn run(&self, settings: Settings) -> Run {
        let mut settings = Settings { service: "edge".into(), ..settings };
        settings.env.secret = vec!["APP_SECRET".into()];
        Run {
            id: RunId(Uuid::now_v7()),
            seq: 9,
            lane: LaneId::production("shop"),
            origin: Origin::Push {
                commit: Commit { sha: "c0ffee".repeat(6) + "c0ff", ..Commit::default() },
                repository: "/nowhere".into(),
                release_hold: false,
            },
            state: RunState::Deployed,
            phase: Phase::Ready,
            started_ms: 0,
            done: Some(Stage::GoLive),
            cancel: None,
            approved: false,
            laid_out: false,
            settings: Some(Box::new(settings)),
            tests: None,
            built: None,
            image: Some(image("new")),
            entry: Some(LaneEntry { replaces: None, generation: 7 }),
            deploy_begun: true,
            candidate: None,
            cause: None,
            parked_seq: 0,
            notices: BTreeMap::new(),
        }
    }

    /// Starts a web server in a container that a run has made.
    pub(crate) fn start(&self, run: RunId) -> Candidate {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let name = format!("landfall-edge-{}", run.short());
        let (log, owner) = (format!("landfall.log={}", self.log_id), format!("landfall.run={run}"));
        let port = format!("127.0.0.1:{}:8000", free.port());
        let id = docker(&[
            "run",
            "-d",
            "--init",
            "--name",
            &name,
            "--label",
            &log,
            "--label",
            &owner,
            "-p",
            &port,
            IMAGE,
            "python",
            "-m",
            "http.server",
            "8000",
        ]);
        Candidate { container: name, container_id: id, address: free, healthy_after_ms: 1 }
    }

    /// Returns the release that another run made live in this container.
    pub(crate) fn release(&self, run: RunId, candidate: Candidate) -> Release {
        Release { run, commit: Commit::default(), image: image("former"), candidate, live_at_ms: 1 }
    }

    pub(crate) fn order(&self, run: &Run, stage: Stage) -> Order {
        Order {
            run: Arc::new(run.clone()),
            stage,
            attempt: 1,
            key: EffectKey::stage(run.id, stage, 1),
            deadline_ms: now_ms() + 600_000,
            log_id: self.log_id,
        }
    }

    pub(crate) fn rollback_order(&self, run: &Run) -> RollbackOrder {
        RollbackOrder {
            run: Arc::new(run.clone()),
            former: None,
            attempt: 1,
            key: EffectKey::rollback(run.id, 1),
            deadline_ms: now_ms() + 120_000,
            log_id: self.log_id,
        }
    }

    /// Returns the names of our containers, those that run marked with a `+`.
    pub(crate) fn containers(&self) -> Vec<String> {
        let format = "{{.Names}} {{.State}}";
        let listed = docker(&["ps", "-a", "--filter", &self.label(), "--format", format]);
        let mut shown: Vec<String> = listed.lines().map(|line| line.replace(" running", "+")).collect();
        shown.sort();
        shown
    }

    fn label(&self) -> String {
        format!("label=landfall.log={}", self.log_id)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let ids = docker(&["ps", "-a", "-q", "--filter", &self.label()]);
        ids.lines().for_each(|id| drop(docker(&["rm", "-f", "-v", id])));
    }
}

fn image(what: &str) -> PushedImage {
    PushedImage {
        repository: "127.0.0.1:5000/edge".into(),
        tag: what.into(),
        digest: format!("sha256:{what}"),
    }
}

/// Runs the docker command.
pub(crate) fn docker(args: &[&str]) -> String {
    let done = Command::new("docker").args(args).output().unwrap();
    assert!(done.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// Collects lines, for a look at them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    pub(crate) fn output(&self) -> Output {
        Output::new(Box::new(self.clone()))
    }

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
