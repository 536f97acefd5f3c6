//! A small app in a git repository, a run of it, and the stages that are tried on it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use landfall_engine::core::command::Outcome;
use landfall_engine::core::effect::EffectKey;
use landfall_engine::core::event::{Commit, Event, Origin, OutputRef};
use landfall_engine::core::evolve::{Place, evolve};
use landfall_engine::core::facts::{Checkout, Failure, TestReport};
use landfall_engine::core::facts::{Facts, PushedImage};
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::run::{Run, RunId};
use landfall_engine::core::settings::Settings;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{BoxError, Order, Output, OutputWriter, StageExecutor};
use landfall_stages::docker::DockerHandle;
use landfall_stages::executor::{FlaskStages, FlaskStagesConfig};
use landfall_stages::secrets::Secrets;
use uuid::Uuid;

/// An app in a repository, and the stages.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) stages: FlaskStages,
    log_id: Uuid,
}

impl World {
    /// Returns an empty repository and stages that know one secret.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let secrets = [("DATABASE_URL", "postgres://s3cret"), ("GIT_TOKEN", "t0ken-0f-the-tests")];
        let secrets = secrets.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = FlaskStagesConfig {
            data: dir.path().join("data"),
            secrets: Secrets::new(secrets.into_iter(), None).unwrap(),
            proxy_socket: dir.path().join("proxy/admin.sock"),
            docker: None,
        };
        let world = Self {
            stages: FlaskStages::new(config).unwrap().with_host_tests(true),
            log_id: Uuid::new_v4(),
            dir,
        };
        std::fs::create_dir(world.repository()).unwrap();
        world.git(&["init", "-q", "-b", "main"]);
        world
    }

    /// Allows or forbids tests on this machine.
    pub(crate) fn with_host_tests(mut self, host_tests: bool) -> Self {
        self.stages = self.stages.clone().with_host_tests(host_tests);
        self
    }

    /// Returns stages on the same data that find no Docker engine.
    pub(crate) fn without_docker(&self) -> FlaskStages {
        let nowhere = self.dir.path().join("no.sock");
        FlaskStages::new(FlaskStagesConfig {
            data: self.dir.path().join("data"),
            secrets: Secrets::new(std::iter::empty(), None).unwrap(),
            proxy_socket: self.dir.path().join("proxy/admin.sock"),
            docker: Some(DockerHandle::connect(Some(&format!("unix://{}", nowhere.display()))).unwrap()),
        })
        .unwrap()
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.dir.path().join("app")
    }

    /// Returns the folder of a run: its checkout is in `source`.
    pub(crate) fn work_dir(&self, run: &Run) -> PathBuf {
        self.dir.path().join("data/work").join(run.id.to_string())
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        git_in(&self.repository(), args)
    }

    /// Commits these files, with what is there already, and returns the hash.
    pub(crate) fn commit(&self, files: &[(&str, &str)]) -> String {
        for (name, content) in files {
            let path = self.repository().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "A change"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Returns a run of a commit that was just pushed.
    pub(crate) fn pushed(&self, sha: &str, repository: &str) -> Run {
        let id = RunId(Uuid::now_v7());
        let commit = Commit { sha: sha.into(), branch: Some("main".into()), ..Commit::default() };
        let origin = Origin::Push { commit, repository: repository.into(), release_hold: false };
        let lane = LaneId::production("shop");
        let started = Event::RunStarted { lane, origin, trigger: "test".into() };
        evolve(None, Place { run_id: id, seq: 1, at_ms: now_ms() }, &started).unwrap()
    }

    /// Returns a run whose commit of these files is laid out.
    pub(crate) async fn checked_out(&self, files: &[(&str, &str)]) -> Run {
        let sha = self.commit(files);
        let mut run = self.pushed(&sha, self.repository().to_str().unwrap());
        let order = self.order(&run, Stage::Checkout, 1);
        match self.stages.execute(&order, &Lines::default().output()).await {
            Outcome::Succeeded(Facts::Checkout(Checkout { settings, .. })) => run.settings = Some(settings),
            other => panic!("{other:?}"),
        }
        run
    }

    pub(crate) fn order(&self, run: &Run, stage: Stage, attempt: u32) -> Order {
        Order {
            run: Arc::new(run.clone()),
            stage,
            attempt,
            key: EffectKey::stage(run.id, stage, attempt),
            deadline_ms: now_ms() + 600_000,
            log_id: self.log_id,
        }
    }

    /// Runs the tests of these files once.
    pub(crate) async fn tested(&self, files: &[(&str, &str)]) -> (Outcome, Vec<String>) {
        let run = self.checked_out(files).await;
        self.tested_run(&run).await
    }

    pub(crate) async fn tested_run(&self, run: &Run) -> (Outcome, Vec<String>) {
        let lines = Lines::default();
        let outcome = self.stages.execute(&self.order(run, Stage::Test, 1), &lines.output()).await;
        (outcome, lines.all())
    }

    /// Begins an attempt and drops it when it has printed this: nobody undoes anything, as after a crash.
    pub(crate) async fn execute_until(&self, order: &Order, text: &str) {
        let lines = Lines::default();
        let output = lines.output();
        tokio::select! {
            outcome = self.stages.execute(order, &output) => panic!("{outcome:?}"),
            () = lines.wait_for(text) => {}
        }
    }

    /// Returns the names of our containers.
    pub(crate) fn containers(&self) -> Vec<String> {
        docker(&["ps", "-a", "--format", "{{.Names}}", "--filter", &self.label()])
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Returns the names of our networks.
    pub(crate) fn networks(&self) -> Vec<String> {
        docker(&["network", "ls", "--format", "{{.Name}}", "--filter", &self.label()])
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Removes the dependencies that were installed for nobody else. Those that all tests share stay.
    pub(crate) fn forget_dependencies(&self) {
        for name in self.containers() {
            docker(&["rm", "-f", "-v", &name]);
        }
        let volumes =
            docker(&["volume", "ls", "-q", "--filter", &self.label(), "--filter", "name=landfall-deps-"]);
        volumes.lines().for_each(|name| drop(docker(&["volume", "rm", name])));
    }

    fn label(&self) -> String {
        format!("label=landfall.log={}", self.log_id)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for name in self.containers() {
            docker(&["rm", "-f", "-v", &name]);
        }
        for name in self.networks() {
            docker(&["network", "rm", &name]);
        }
    }
}

/// What a stage prints.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    pub(crate) fn output(&self) -> Output {
        Output::new(Box::new(self.clone()))
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Waits until a line holds this text.
    pub(crate) async fn wait_for(&self, text: &str) {
        while !self.all().iter().any(|line| line.contains(text)) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
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

pub(crate) fn settings(run: &mut Run, change: impl FnOnce(&mut Settings)) {
    change(run.settings.as_mut().unwrap());
}

pub(crate) fn with_image(run: &mut Run, repository: &str, digest: &str) {
    run.image =
        Some(PushedImage { repository: repository.into(), tag: "run-1".into(), digest: digest.into() });
}

#[track_caller]
pub(crate) fn failure(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("expected a failure, found {other:?}"),
    }
}

#[track_caller]
pub(crate) fn report(outcome: Outcome) -> TestReport {
    match outcome {
        Outcome::Succeeded(Facts::Test(report)) => report,
        other => panic!("expected green tests, found {other:?}"),
    }
}

pub(crate) fn git_in(folder: &Path, args: &[&str]) -> String {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "protocol.file.allow=always"]);
    ran(git.arg("-C").arg(folder).args(args))
}

pub(crate) fn docker(args: &[&str]) -> String {
    ran(Command::new("docker").args(args))
}

#[track_caller]
pub(crate) fn ran(command: &mut Command) -> String {
    let answer = command.output().unwrap();
    let said = String::from_utf8_lossy(&answer.stderr);
    assert!(answer.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&answer.stdout).trim().to_owned()
}

pub(crate) fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}
