//! A world for tests on a real Docker engine and a real registry: an app's source, a proxy that only tells its
//! routes, and a log id of its own, under which everything is removed at the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, mpsc};

use landfall_engine::core::command::Outcome;
use landfall_engine::core::effect::EffectKey;
use landfall_engine::core::event::{Commit, Origin, OutputRef};
use landfall_engine::core::facts::{Facts, Failure};
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::run::{Phase, Run, RunId, RunState};
use landfall_engine::core::settings::{RegistrySettings, Settings};
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{BoxError, Keep, Order, Output, OutputWriter, Probe, StageExecutor};
use landfall_stages::executor::{FlaskStages, FlaskStagesConfig};
use landfall_stages::proxy::{Route, RouteStatus};
use landfall_stages::secrets::Secrets;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

/// Every symbol in it is one that a wrong base64 alphabet spoils.
pub const PASSWORD: &str = "p>>>?~~~";

/// A secret of several lines, as keys are.
pub const SIGNING_KEY: &str =
    "-----BEGIN PRIVATE KEY-----\nc2lnbmluZyBrZXkgb2YgdGhlIHNob3A=\n-----END PRIVATE KEY-----\n";

pub struct World {
    pub stages: FlaskStages,
    pub log_id: Uuid,
    pub routes: Arc<Mutex<Vec<RouteStatus>>>,
    pub settings: Settings,
    pub run: Run,
    pub lines: Arc<Mutex<Vec<String>>>,
    registry: Option<Child>,
    dir: tempfile::TempDir,
}

impl World {
    /// Returns a world whose app has these files.
    pub async fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let routes = Arc::new(Mutex::new(Vec::new()));
        serve_routes(&dir.path().join("admin.sock"), Arc::clone(&routes));
        let secrets = [
            ("REGISTRY_PASSWORD".to_owned(), PASSWORD.to_owned()),
            ("WRONG_PASSWORD".to_owned(), "not-the-password".to_owned()),
            ("API_TOKEN".to_owned(), "t0p-s3cret-t0ken".to_owned()),
            ("SIGNING_KEY".to_owned(), SIGNING_KEY.to_owned()),
        ];
        let stages = FlaskStages::new(FlaskStagesConfig {
            data: dir.path().join("data"),
            secrets: Secrets::new(secrets.into_iter(), None).unwrap(),
            proxy_socket: dir.path().join("admin.sock"),
            docker: None,
        });
        let id = RunId(Uuid::now_v7());
        let commit = Commit { sha: format!("{:0>40}", id.short()), ..Commit::default() };
        let run = Run {
            id,
            seq: 1,
            lane: LaneId::production("shop"),
            origin: Origin::Push { commit, repository: "/srv/shop.git".into(), release_hold: false },
            state: RunState::Pushed,
            phase: Phase::Ready,
            started_ms: 0,
            done: None,
            cancel: None,
            approved: false,
            laid_out: false,
            settings: None,
            tests: None,
            built: None,
            image: None,
            entry: None,
            deploy_begun: false,
            candidate: None,
            cause: None,
            parked_seq: 0,
            notices: BTreeMap::new(),
        };
        let world = Self {
            stages: stages.unwrap(),
            log_id: Uuid::new_v4(),
            routes,
            settings: Settings { service: "shop".into(), ..Settings::default() },
            run,
            lines: Arc::default(),
            registry: None,
            dir,
        };
        files.iter().for_each(|(name, text)| world.write(name, text));
        world
    }

    /// Pushes to the registry that these tests share, so that the layers of the base image are pushed once.
    pub fn with_registry(mut self) -> Self {
        static PORT: OnceLock<u16> = OnceLock::new();
        let port = PORT.get_or_init(|| {
            let (sender, port) = mpsc::channel();
            // The registry ends with the thread that started it, and that ends with the tests.
            std::thread::spawn(move || {
                let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("artefacts-registry");
                let (_registry, port) = start_registry(&folder);
                sender.send(port).unwrap();
                loop {
                    std::thread::park();
                }
            });
            port.recv().unwrap()
        });
        self.push_to(*port);
        self
    }

    /// Pushes to a registry that can be stopped.
    pub fn with_own_registry(mut self) -> Self {
        let (registry, port) = start_registry(&self.dir.path().join("registry"));
        self.registry = Some(registry);
        self.push_to(port);
        self
    }

    fn push_to(&mut self, port: u16) {
        self.settings.registry = RegistrySettings {
            server: format!("127.0.0.1:{port}"),
            username: Some("ci".into()),
            password: Some("REGISTRY_PASSWORD".into()),
            ..RegistrySettings::default()
        };
    }

    pub fn stop_registry(&mut self) {
        if let Some(mut registry) = self.registry.take() {
            registry.kill().unwrap();
            registry.wait().unwrap();
        }
    }

    /// Returns the folder of the run, as the stages lay it out.
    pub fn work_dir(&self) -> PathBuf {
        self.dir.path().join("data/work").join(self.run.id.to_string())
    }

    /// Writes a file of the app.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.work_dir().join("source").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn order(&self, stage: Stage, attempt: u32) -> Order {
        let run = Run { settings: Some(Box::new(self.settings.clone())), ..self.run.clone() };
        Order {
            key: EffectKey::stage(run.id, stage, attempt),
            run: Arc::new(run),
            stage,
            attempt,
            deadline_ms: now_ms() + 120_000,
            log_id: self.log_id,
        }
    }

    pub fn output(&self) -> Output {
        Output::new(Box::new(Lines(Arc::clone(&self.lines))))
    }

    /// Does the first attempt at a stage.
    pub async fn execute(&self, stage: Stage) -> Outcome {
        self.stages.execute(&self.order(stage, 1), &self.output()).await
    }

    /// Does a stage that has to succeed, and keeps what it found out in the run.
    #[track_caller]
    pub fn keep(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Succeeded(Facts::Build(built)) => self.run.built = Some(built),
            Outcome::Succeeded(Facts::PushImage(image)) => self.run.image = Some(image),
            Outcome::Succeeded(Facts::Deploy(candidate)) => self.run.candidate = Some(candidate),
            other => panic!("it did not succeed: {other:?}\n{}", self.printed()),
        }
    }

    /// Builds and pushes.
    pub async fn publish(&mut self) {
        for stage in [Stage::Build, Stage::PushImage] {
            let outcome = self.execute(stage).await;
            self.keep(outcome);
        }
    }

    pub async fn probe(&self, stage: Stage) -> Probe {
        self.stages.probe(&self.order(stage, 1)).await.unwrap()
    }

    pub fn printed(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// Routes the traffic of an app to an address.
    pub fn route(&self, app: &str, host: Option<&str>, target: Option<std::net::SocketAddr>) {
        let route = Route {
            app: app.into(),
            env: "production".into(),
            host: host.map(str::to_owned),
            mount: None,
            generation: 1,
            target,
            release: target.map_or(String::new(), |_| "sha256:aa".into()),
            run: "r".into(),
            drain_ms: 1,
        };
        self.routes.lock().unwrap().push(RouteStatus { route, targets: Vec::new(), releases: Vec::new() });
    }

    pub async fn sweep(&self, keep: Keep) -> Vec<String> {
        self.stages.sweep(&Keep { log_id: self.log_id, as_of_ms: u64::MAX, ..keep }).await.unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop_registry();
        let label = format!("label=landfall.log={}", self.log_id);
        let ids = |arguments: &[&str]| {
            let listed = Command::new("docker").args(arguments).args(["--filter", &label]).output().unwrap();
            let text = String::from_utf8(listed.stdout).unwrap();
            text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        for id in ids(&["ps", "-aq"]) {
            docker(&["rm", "-fv", &id]);
        }
        for id in ids(&["images", "-q"]) {
            docker(&["rmi", "-f", &id]);
        }
    }
}

/// Starts a registry with a password, on a free port, and waits until it listens.
fn start_registry(folder: &Path) -> (Child, u16) {
    std::fs::create_dir_all(folder).unwrap();
    let htpasswd = Command::new("htpasswd").args(["-Bbn", "ci", PASSWORD]).output().unwrap();
    std::fs::write(folder.join("htpasswd"), htpasswd.stdout).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let path = folder.display();
    let config = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {path}/data\nhttp:\n  addr: 127.0.0.1:{port}\n\
         auth:\n  htpasswd:\n    realm: test\n    path: {path}/htpasswd\n"
    );
    std::fs::write(folder.join("config.yml"), config).unwrap();
    let registry = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
        .arg(folder.join("config.yml"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::yield_now();
    }
    (registry, port)
}

/// Runs the docker command and returns what it prints.
pub fn docker(arguments: &[&str]) -> String {
    let done = Command::new("docker").args(arguments).stderr(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

#[track_caller]
pub fn failure(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("expected a failure, found {other:?}"),
    }
}

#[derive(Debug)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl OutputWriter for Lines {
    fn line(&mut self, text: &str) -> Result<(), BoxError> {
        self.0.lock().unwrap().push(text.to_owned());
        Ok(())
    }

    fn finish(&mut self) -> Result<OutputRef, BoxError> {
        Ok(OutputRef { len: 0, sha256: String::new() })
    }
}

/// The one question that deploys and sweeps have for the proxy.
fn serve_routes(socket: &Path, routes: Arc<Mutex<Vec<RouteStatus>>>) {
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let body = serde_json::to_string(&*routes.lock().unwrap()).unwrap();
            let len = body.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
}
