//! A server on a data folder of its own, a working copy to push from, and a git that knows nothing else.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use landfall::client::Client;
use landfall::data_dir::Token;
use landfall::server::{App, Server, Vitals, serve_app};
use landfall_engine::core::run::{Run, RunId, RunState};
use landfall_engine::engine::Parts;
use landfall_engine::ports::{EventStore, SystemClock};
use landfall_engine::{Engine, Limits};
use landfall_stages::secrets::{KeyPlace, Secrets, Vault};
use landfall_store::{DataDir, Options, OutputDir};
use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::fake::FakeStages;

pub const TOKEN: &str = "a-token-for-tests-only";

/// With this, deliveries to the apps of tests are signed. Its name is `HOOK_SECRET`.
pub const HOOK_SECRET: &str = "It's a Secret to Everybody";

/// Nothing here takes a second; a test that waits for so long waits for what does not come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server that serves.
pub struct TestServer {
    pub url: String,
    pub stages: Arc<FakeStages>,
    pub app: Arc<App>,
    keys: TempDir,
    serving: JoinHandle<()>,
}

impl TestServer {
    /// Serves a data folder with the log that is in it.
    pub async fn start(data: &Path) -> Self {
        let opened = DataDir::open(data, &Options { segment_bytes: 1 << 20, ..Options::default() }).unwrap();
        Self::start_on(data, opened.store, opened.outputs).await
    }

    /// Serves a data folder with a log that is elsewhere.
    pub async fn start_on(data: &Path, store: Arc<dyn EventStore>, outputs: Arc<OutputDir>) -> Self {
        Self::start_within(data, store, outputs, Limits::default()).await
    }

    /// Serves a data folder with an engine that takes on so much and no more.
    pub async fn start_within(
        data: &Path,
        store: Arc<dyn EventStore>,
        outputs: Arc<OutputDir>,
        limits: Limits,
    ) -> Self {
        Self::start_watched(data, store, outputs, limits, Vitals::default()).await
    }

    /// Serves a data folder that is monitored by this.
    pub async fn start_watched(
        data: &Path,
        store: Arc<dyn EventStore>,
        outputs: Arc<OutputDir>,
        limits: Limits,
        vitals: Vitals,
    ) -> Self {
        let store = vitals.metrics.watch(store);
        let stages = Arc::new(FakeStages::default());
        let parts = Parts {
            store,
            executor: Arc::clone(&stages) as _,
            outputs: Arc::clone(&outputs) as _,
            clock: Arc::new(SystemClock),
        };
        let server = Server::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let url = format!("http://{}", server.address());
        let keys = tempfile::tempdir().unwrap();
        let vault = Vault::new(data, KeyPlace::named(&keys.path().join("vault.key")));
        let secrets = secrets().with_vault(vault);
        let engine = Engine::start_within(parts, limits).await.unwrap();
        let (exe, tokens) =
            (Path::new(env!("CARGO_BIN_EXE_landfall")), vec![Token::parse(TOKEN, "the test").unwrap()]);
        let app = Arc::new(App::new(engine, outputs, data, exe, tokens, secrets, vitals).unwrap());
        let served = serve_app(server, Arc::clone(&app));
        let serving = tokio::spawn(async move { served.await.unwrap() });
        let started = Self { url, stages, app, keys, serving };
        // Answered once what was lost is triggered.
        started.client().server().await.unwrap();
        started
    }

    /// Stops the server in order and frees its folder.
    pub async fn stop(self) {
        self.app.stop.cancel();
        tokio::time::timeout(PATIENCE, self.serving).await.expect("the server ends").unwrap();
        self.app.engine.shutdown().await;
    }

    /// Returns the file with the key of the vault, once there is one.
    pub fn key(&self) -> PathBuf {
        self.keys.path().join("vault.key")
    }

    pub fn client(&self) -> Client {
        Client::new(&self.url, Token::parse(TOKEN, "the test").unwrap()).unwrap()
    }

    /// Sends a request with the token and returns its status and body; an empty body is null.
    pub async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = self.request(method, path).json(&body);
        answered(request.send().await.unwrap()).await
    }

    /// Returns a request with the token.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let method = method.parse().unwrap();
        reqwest::Client::new().request(method, format!("{}{path}", self.url)).bearer_auth(TOKEN)
    }

    /// Returns the address of an app's git remote.
    pub fn remote(&self, app: &str) -> String {
        self.remote_with(app, TOKEN)
    }

    pub fn remote_with(&self, app: &str, token: &str) -> String {
        let host = self.url.strip_prefix("http://").unwrap();
        format!("http://ada:{token}@{host}/git/{app}.git")
    }

    /// Waits until nothing more happens to a run without a person.
    pub async fn settled(&self, run: RunId) -> Run {
        tokio::time::timeout(PATIENCE, self.app.engine.settled(run)).await.expect("it settles").unwrap()
    }

    /// Returns the states of all runs, oldest first, once they are settled.
    pub async fn states(&self) -> Vec<RunState> {
        let mut states = Vec::new();
        for run in self.runs().await {
            states.push(self.settled(run).await.state);
        }
        states
    }

    /// Returns all runs, oldest first.
    pub async fn runs(&self) -> Vec<RunId> {
        let runs = self.app.engine.store().runs(Default::default()).await.unwrap();
        runs.into_iter().rev().map(|run| run.id).collect()
    }
}

fn secrets() -> Secrets {
    let known = [("HOOK_SECRET", HOOK_SECRET), ("EMPTY", ""), ("GIT_TOKEN", "git-token-of-the-tests")];
    Secrets::new(known.into_iter().map(|(name, value)| (name.into(), value.into())), None).unwrap()
}

/// A working copy with a branch `main`.
pub struct WorkingCopy(TempDir);

impl WorkingCopy {
    /// Returns one with one commit.
    pub async fn new() -> Self {
        let copy = Self(tempfile::tempdir().unwrap());
        copy.git(&["init", "--quiet", "--initial-branch=main"]).await;
        copy.commit("app.py", "app = 1\n").await;
        copy
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    /// Commits a file and returns the commit's hash.
    pub async fn commit(&self, file: &str, text: &str) -> String {
        std::fs::write(self.0.path().join(file), text).unwrap();
        self.git(&["add", "--all"]).await;
        self.git(&["commit", "--quiet", "--allow-empty", "--message", &format!("Write {file}")]).await;
        self.git(&["rev-parse", "HEAD"]).await.trim().to_owned()
    }

    /// Runs git and returns what it prints.
    pub async fn git(&self, arguments: &[&str]) -> String {
        let output = self.try_git(arguments).await;
        assert!(output.status.success(), "git {arguments:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs git to whatever end.
    pub async fn try_git(&self, arguments: &[&str]) -> Output {
        let running = self.command(arguments).output();
        tokio::time::timeout(PATIENCE, running).await.expect("git ends").unwrap()
    }

    /// Pushes and returns what the pusher sees; the push has to be accepted.
    pub async fn push(&self, remote: &str, refs: &[&str]) -> String {
        let output = self.try_git(&[&["push", remote], refs].concat()).await;
        let seen = stderr(&output);
        assert!(output.status.success(), "the push was refused: {seen}");
        seen
    }

    /// Returns git with nothing but what is given.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(self.0.path()).args(arguments).kill_on_drop(true);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.0.path());
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Ada");
            command.env(format!("GIT_{who}_EMAIL"), "ada@example.com");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// Returns what a pusher sees, without the spaces that git puts at the ends of lines.
pub fn stderr(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Waits for something that nobody tells of.
pub async fn until(mut holds: impl FnMut() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("it comes to hold");
}

/// Returns the status and the body of an answer; an empty body is null.
pub async fn answered(answer: Response) -> (u16, Value) {
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect(&text) };
    (status, body)
}
