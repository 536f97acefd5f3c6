//! The test yard: a registry, receivers of notices, an app in a git repository, and the server.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything here may take. A whole run takes a few seconds; a busy machine five times that.
const PATIENCE: Duration = Duration::from_secs(120);

/// The pause between two looks at something that can't be waited for otherwise.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A password with every kind of symbol that has broken a registry login before.
pub const PASSWORD: &str = "p>>>?~~~&\"s";

pub const TOKEN: &str = "a-token-of-the-tests";

/// Returns the built binary, after building it.
pub fn landfall() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap().to_owned();
        let mut build = Command::new(env!("CARGO"));
        // By way of a test target of its crate: a build without tests has other features, and takes minutes more.
        build.args(["test", "--quiet", "--workspace", "--test", "terminal", "--no-run"]);
        // What cargo tells a test of its own package is not for the build: ring is compiled anew when it changes.
        for (name, _) in std::env::vars_os() {
            if name
                .to_str()
                .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
            {
                build.env_remove(name);
            }
        }
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "the binary could not be built");
        profile.join("landfall")
    })
}

/// Waits until `look` finds something.
#[track_caller]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "{what} did not come within {PATIENCE:?}");
        thread::sleep(LOOK_AGAIN);
    }
}

/// Returns a port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs a command to its end and returns what it printed; panics when it fails.
#[track_caller]
pub fn sh(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = said(&output);
    assert!(output.status.success(), "{command:?} failed: {text}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Returns what a command printed, on both streams.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub fn docker(args: &[&str]) -> String {
    sh(Command::new("docker").args(args))
}

/// A registry, and the log of what was asked of it.
pub struct Registry {
    /// None: it runs already, and is somebody else's.
    process: Option<Child>,
    pub address: SocketAddr,
    log: PathBuf,
    _folder: TempDir,
}

impl Registry {
    /// Starts one with a password.
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let users = folder.path().join("htpasswd");
        fs::write(&users, sh(Command::new("htpasswd").args(["-nbB", "ci", PASSWORD])) + "\n").unwrap();
        let auth = format!("auth:\n  htpasswd:\n    realm: tests\n    path: {}\n", users.display());
        Self::serve(folder, ([127, 0, 0, 1], free_port()).into(), &auth)
    }

    /// Returns the one that an app without a configuration pushes to, which asks for no password.
    pub fn usual() -> Self {
        let folder = TempDir::new().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 5_000));
        if TcpStream::connect(address).is_err() {
            return Self::serve(folder, address, "");
        }
        let mut ask = Command::new("curl");
        ask.args(["--fail", "--silent", "--show-error"]).arg(format!("http://{address}/v2/"));
        assert_eq!(sh(&mut ask), "{}", "what listens at {address} is no open registry: end it for this test");
        Self { process: None, address, log: folder.path().join("log"), _folder: folder }
    }

    fn serve(folder: TempDir, address: SocketAddr, auth: &str) -> Self {
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n{auth}",
            folder.path().join("blobs").display(),
        );
        let config_path = folder.path().join("config.yml");
        fs::write(&config_path, config).unwrap();
        let log = folder.path().join("log");
        let file = fs::File::create(&log).unwrap();
        let process = Command::new("docker-registry")
            .args(["serve".as_ref(), config_path.as_os_str()])
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .expect("docker-registry is installed by ./run setup");
        wait_for("the registry", || TcpStream::connect(address).ok());
        Self { process: Some(process), address, log, _folder: folder }
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it was started here").id()
    }

    /// Asks the registry itself what lies under a tag.
    pub fn digest_of(&self, repository: &str, tag: &str) -> String {
        let head = sh(Command::new("curl")
            .args(["--fail", "--silent", "--show-error", "--head", "--user", &format!("ci:{PASSWORD}")])
            .args(["--header", "Accept: application/vnd.docker.distribution.manifest.v2+json"])
            .args(["--header", "Accept: application/vnd.oci.image.manifest.v1+json"])
            .arg(format!("http://{}/v2/{repository}/manifests/{tag}", self.address)));
        let digest = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("docker-content-digest").then(|| value.trim().to_owned())
        });
        digest.unwrap_or_else(|| panic!("the registry names no digest: {head}"))
    }

    /// Returns how many manifests were put under tags of runs.
    pub fn pushes(&self) -> usize {
        self.pushes_by_tag().values().sum()
    }

    /// Returns how many manifests were put under each tag of a run.
    pub fn pushes_by_tag(&self) -> BTreeMap<String, usize> {
        let log = fs::read_to_string(&self.log).unwrap();
        let mut pushes = BTreeMap::new();
        for line in log.lines().filter(|line| line.contains("\"PUT /v2/")) {
            let tag = line.split("/manifests/").nth(1).and_then(|rest| rest.split([' ', '"']).next());
            if let Some(tag) = tag.filter(|tag| tag.starts_with("run-")) {
                *pushes.entry(tag.to_owned()).or_default() += 1;
            }
        }
        pushes
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A receiver of webhooks.
pub struct Inbox {
    pub url: String,
    notices: Arc<Mutex<Vec<Value>>>,
}

impl Inbox {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let notices = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&notices);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                if let Some(body) = take_request(stream) {
                    kept.lock().unwrap().push(serde_json::from_slice(&body).unwrap_or(Value::Null));
                }
            }
        });
        Self { url, notices }
    }

    pub fn notices(&self) -> Vec<Value> {
        self.notices.lock().unwrap().clone()
    }
}

fn take_request(mut stream: TcpStream) -> Option<Vec<u8>> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").ok()?;
    Some(body)
}

/// An app in a git repository of its own: hello-flask, or one of those without a configuration.
pub struct App {
    folder: TempDir,
    /// What it is pushed as.
    name: &'static str,
}

impl App {
    pub fn new(registry: SocketAddr) -> Self {
        let app = Self::copied("examples/hello-flask", "hello");
        app.edit("landfall.toml", |text| text.replace("127.0.0.1:5000", &registry.to_string()));
        // A short drain keeps the tests quick; what it does is tested on its own.
        app.edit("landfall.toml", |text| text.replace("drain = \"10s\"", "drain = \"1s\""));
        app
    }

    /// Returns an app of a shape, as it is.
    pub fn of_shape(name: &'static str) -> Self {
        Self::copied(&format!("tests/apps/{name}"), name)
    }

    fn copied(from: &str, name: &'static str) -> Self {
        let folder = TempDir::new().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(from);
        sh(Command::new("cp").arg("-r").arg(source.join(".")).arg(folder.path()));
        let app = Self { folder, name };
        app.git(&["init", "--quiet", "--initial-branch=main"]);
        app.git(&["config", "user.name", "Ada"]);
        app.git(&["config", "user.email", "ada@example.com"]);
        app
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn edit(&self, file: &str, change: impl Fn(String) -> String) {
        let path = self.folder.path().join(file);
        let before = fs::read_to_string(&path).unwrap();
        let after = change(before.clone());
        assert_ne!(before, after, "the edit of {file} changed nothing");
        fs::write(path, after).unwrap();
    }

    pub fn git(&self, args: &[&str]) -> String {
        sh(Command::new("git").arg("-C").arg(self.path()).args(args))
    }

    pub fn commit(&self, subject: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", subject]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Commits a new version, and returns what the app then shows of it: the commit's first digits.
    pub fn version(&self, version: &str) -> String {
        fs::write(self.path().join("VERSION"), format!("{version}\n")).unwrap();
        self.commit(&format!("Version {version}"))[..12].to_owned()
    }

    pub fn push(&self, server: &Server) -> Output {
        self.pushing(server).output().unwrap()
    }

    fn url(&self, server: &Server) -> String {
        format!("http://landfall:{TOKEN}@127.0.0.1:{}/git/{}.git", server.yard.port, self.name)
    }

    /// Returns the command that pushes what is committed now, whatever is committed later.
    pub fn pushing(&self, server: &Server) -> Command {
        let url = self.url(server);
        let head = self.git(&["rev-parse", "HEAD"]);
        let mut git = Command::new("git");
        git.args(["-C", self.path().to_str().unwrap(), "push", &url, &format!("{head}:refs/heads/main")]);
        git.env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null());
        git
    }

    /// Pushes without waiting for the run: the pusher hangs up as soon as the run has started.
    pub fn push_and_hang_up(&self, server: &Server) {
        let before = server.runs().len();
        let url = self.url(server);
        let mut git = Command::new("git")
            .args(["-C", self.path().to_str().unwrap(), "push", "--quiet", &url, "HEAD:main"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("the run", || (server.runs().len() > before).then_some(()));
        let _ = git.kill();
        let _ = git.wait();
    }
}

/// Everything that a server needs, and that outlives one of its lives.
pub struct Yard {
    pub registry: Arc<Registry>,
    pub developer: Inbox,
    pub ops: Inbox,
    pub data: TempDir,
    pub port: u16,
    pub proxy_port: u16,
    /// Where a Docker engine of the test's own listens. None: the machine's.
    engine: Option<String>,
}

impl Yard {
    pub fn new() -> Arc<Self> {
        Self::on(None)
    }

    /// Returns a yard whose server works with the Docker engine that listens there.
    pub fn on(engine: Option<String>) -> Arc<Self> {
        Self::with(engine, Arc::new(Registry::start()))
    }

    /// Returns a yard that has its registry in common with others.
    pub fn beside(registry: Arc<Registry>) -> Arc<Self> {
        Self::with(None, registry)
    }

    fn with(engine: Option<String>, registry: Arc<Registry>) -> Arc<Self> {
        Arc::new(Self {
            engine,
            registry,
            developer: Inbox::start(),
            ops: Inbox::start(),
            data: TempDir::new().unwrap(),
            port: free_port(),
            proxy_port: free_port(),
        })
    }

    /// Returns the binary, with the environment that every command here needs.
    pub fn landfall(&self) -> Command {
        let mut command = Command::new(landfall());
        command
            .env("LANDFALL_DATA", self.data.path())
            .env("LANDFALL_TOKEN", TOKEN)
            .env("LANDFALL_VAULT_KEY_FILE", self.data.path().with_extension("key"))
            .env("REGISTRY_PASSWORD", PASSWORD)
            .env("DEVELOPER_WEBHOOK", &self.developer.url)
            .env("OPS_WEBHOOK", &self.ops.url)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command.envs(self.engine.iter().map(|host| ("DOCKER_HOST", host)));
        command
    }

    /// Returns the docker command, for the engine that the server works with.
    pub fn docker(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(args).envs(self.engine.iter().map(|host| ("DOCKER_HOST", host)));
        command
    }

    /// Returns what the server has said so far, in all of its lives.
    pub fn server_log(&self) -> String {
        fs::read_to_string(self.data.path().with_extension("log")).unwrap_or_default()
    }

    pub fn proxy_pid(&self) -> u32 {
        fs::read_to_string(self.data.path().join("proxy/proxy.pid")).unwrap().trim().parse().unwrap()
    }

    pub fn proxy_flag(&self) -> String {
        format!("127.0.0.1:{}", self.proxy_port)
    }

    pub fn log_id(&self) -> Option<String> {
        let meta = fs::read_to_string(self.data.path().join("META")).ok()?;
        let is_id = |word: &&str| word.len() == 36 && word.chars().filter(|c| *c == '-').count() == 4;
        meta.split(|c: char| !c.is_ascii_hexdigit() && c != '-').find(is_id).map(str::to_owned)
    }

    /// Returns the names of the containers of this log, running or not.
    pub fn containers(&self) -> Vec<String> {
        let Some(log) = self.log_id() else { return Vec::new() };
        let filter = format!("label=landfall.log={log}");
        let names = sh(&mut self.docker(&["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"]));
        names.lines().map(str::to_owned).collect()
    }

    /// Asks the app through its public address.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let address: SocketAddr = ([127, 0, 0, 1], self.proxy_port).into();
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: hello.test\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer))
    }

    /// Returns the newest run's events as the log holds them, and what a replay makes of them.
    pub fn replay_of_last(&self) -> Value {
        let printed = sh(self.landfall().args(["replay", "last", "--json", "--events"]));
        serde_json::from_str(&printed).unwrap()
    }

    /// Returns the version that users see.
    pub fn serves(&self) -> Option<String> {
        let (status, body) = self.get("/")?;
        let version = body.split("id=\"version\">").nth(1).and_then(|rest| rest.split('<').next());
        (status == 200).then(|| version.unwrap_or("?").to_owned())
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.data.path().with_extension("key"));
        if let Ok(pid) = fs::read_to_string(self.data.path().join("proxy/proxy.pid")) {
            let _ = Command::new("kill").args(["-KILL", pid.trim()]).status();
        }
        let Some(log) = self.log_id() else { return };
        let filter = format!("label=landfall.log={log}");
        for (list, remove) in [
            (vec!["ps", "-aq"], vec!["rm", "-f", "-v"]),
            (vec!["network", "ls", "-q"], vec!["network", "rm"]),
            (vec!["images", "-q"], vec!["rmi", "-f"]),
            (vec!["volume", "ls", "-q"], vec!["volume", "rm", "-f"]),
        ] {
            let found = self.docker(&list).args(["--filter", &filter]).output();
            let found = found.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            for id in found.unwrap_or_default().lines() {
                let _ = self.docker(&remove).arg(id).output();
            }
        }
    }
}

/// A running `landfall serve`.
pub struct Server {
    process: Child,
    pub yard: Arc<Yard>,
}

impl Server {
    pub fn start(yard: &Arc<Yard>) -> Self {
        Self::start_with(yard, |_| {})
    }

    pub fn start_with(yard: &Arc<Yard>, change: impl FnOnce(&mut Command)) -> Self {
        let server = Self::launch(yard, change);
        server.until_ready();
        server
    }

    /// Waits until it answers.
    pub fn until_ready(&self) {
        wait_for("the server", || self.api("GET", "/healthz", None).filter(|(status, _)| *status == 200));
    }

    /// Starts the process, and does not wait for what comes of it.
    pub fn launch(yard: &Arc<Yard>, change: impl FnOnce(&mut Command)) -> Self {
        let log =
            fs::OpenOptions::new().create(true).append(true).open(yard.data.path().with_extension("log"));
        let log = log.unwrap();
        let mut command = yard.landfall();
        command
            .args(["serve", "--listen", &format!("127.0.0.1:{}", yard.port)])
            .args(["--proxy-listen", &yard.proxy_flag()])
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        change(&mut command);
        Self { process: command.spawn().unwrap(), yard: Arc::clone(yard) }
    }

    /// Ends the server as a power cut would.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub fn stop(mut self) {
        sh(Command::new("kill").args(["-TERM", &self.process.id().to_string()]));
        assert!(self.process.wait().unwrap().success(), "the server did not end cleanly");
    }

    /// Asks the API.
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        let address: SocketAddr = ([127, 0, 0, 1], self.yard.port).into();
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        let body = body.map(Value::to_string).unwrap_or_default();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        let json = body.find(['{', '[']).and_then(|at| {
            serde_json::Deserializer::from_str(&body[at..]).into_iter().next().and_then(Result::ok)
        });
        Some((status, json.unwrap_or(Value::Null)))
    }

    /// Returns the runs, newest first.
    pub fn runs(&self) -> Vec<Value> {
        let listed = self.api("GET", "/v1/runs", None).map(|(_, runs)| runs).unwrap_or_default();
        let runs = listed.get("runs").cloned().unwrap_or(listed);
        runs.as_array().cloned().unwrap_or_default()
    }

    pub fn newest(&self) -> Value {
        self.runs().first().cloned().unwrap_or_default()
    }

    /// Waits until the newest run is closed, and returns it.
    pub fn ended(&self) -> Value {
        wait_for("the end of the run", || Some(self.newest()).filter(|run| run["open"] == false))
    }

    /// Waits until the newest run has begun a stage that it has not concluded.
    pub fn until_in(&self, stage: &str) {
        wait_for(stage, || {
            let run = self.newest();
            assert_eq!(run["open"], true, "the run ended before {stage}: {run}");
            (run["stage"] == stage).then_some(())
        });
    }

    /// Replays a run and returns what was printed.
    pub fn replay(&self, run: &Value) -> String {
        let id = run["id"].as_str().unwrap();
        sh(self.yard.landfall().args(["replay", id]))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            let log = self.yard.server_log();
            let from = log.len().saturating_sub(6_000);
            eprintln!("--- the server's log ends so ---\n{}", log.get(from..).unwrap_or_default());
        }
    }
}

/// A user who asks for the page all the while.
pub struct Visitor {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<Vec<String>>>,
    asked: Arc<AtomicU32>,
}

impl Visitor {
    pub fn start(yard: &Arc<Yard>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicU32::new(0));
        let (stopped, counted, yard) = (Arc::clone(&stop), Arc::clone(&asked), Arc::clone(yard));
        let thread = thread::spawn(move || {
            let mut failures = Vec::new();
            while !stopped.load(Ordering::SeqCst) {
                match yard.get("/") {
                    Some((200, _)) => {}
                    other => failures.push(format!("{other:?}")),
                }
                counted.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(5));
            }
            failures
        });
        Self { stop, thread: Some(thread), asked }
    }

    /// Ends the visit; panics when a request failed.
    #[track_caller]
    pub fn leave(mut self) -> u32 {
        self.stop.store(true, Ordering::SeqCst);
        let failures = self.thread.take().unwrap().join().unwrap();
        let asked = self.asked.load(Ordering::SeqCst);
        assert!(failures.is_empty(), "{} of {asked} requests failed: {:?}", failures.len(), failures.first());
        assert!(asked > 0, "nobody asked for anything");
        asked
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}
