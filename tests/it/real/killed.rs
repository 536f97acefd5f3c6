//! kill -9 in every stage of a real run: the next engine ends it as it would have ended.
//!
//! Stages are held open by the world itself: slow tests, a slow build step, a slow page, a git that waits, a
//! registry or a proxy that is frozen for a moment. The binary knows nothing of being tested.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use landfall_tests::counters::publish;
use serde_json::Value;
use tempfile::TempDir;

use crate::real::crowd::Crowd;
use crate::real::invariants::{Checked, check};
use crate::real::witness::Witness;
use crate::real::yard::{App, Server, Yard, docker, sh, wait_for};

/// What holds each stage open long enough to be killed in.
const STAGES: [(&str, Hold); 9] = [
    ("checkout", Hold::Git),
    ("test", Hold::Itself),
    ("build", Hold::Itself),
    ("push_image", Hold::Registry),
    ("release_command", Hold::Itself),
    ("deploy", Hold::Itself),
    ("smoke", Hold::Itself),
    ("go_live", Hold::Proxy),
    ("public_smoke", Hold::Itself),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    Itself,
    Git,
    Registry,
    Proxy,
}

#[test]
fn an_engine_that_is_killed_in_any_stage_is_replaced_by_one_that_finishes_the_run() {
    let yard = Yard::new();
    let git = SlowGit::new();
    let app = slow_app(&yard);
    let mut server = git.server(&yard);
    let mut version = app.version("0.0.0");
    app.push(&server);
    assert_eq!(server.ended()["state"], "live");
    let witness = Witness::of(&yard);
    witness.listen(&yard);
    let crowd = Crowd::start(&yard, 2, 2);
    let mut checked = Checked::default();
    for (nth, (stage, hold)) in STAGES.into_iter().enumerate() {
        let since = now();
        version = app.version(&format!("{}.0.0", nth + 1));
        let gate = (hold == Hold::Git).then(|| git.shut());
        app.push_and_hang_up(&server);
        let frozen = match hold {
            Hold::Itself | Hold::Git => None,
            Hold::Registry => Some(Frozen::after(&server, "build", yard.registry.pid())),
            Hold::Proxy => Some(Frozen::after(&server, "smoke", yard.proxy_pid())),
        };
        server.until_in(stage);
        if let Some(gate) = &gate {
            gate.until_reached();
        }
        if stage == "release_command" {
            // Without a container nobody could tell whether it ran, and the run would wait for a person.
            wait_for("its container", || (!release_commands(&yard, since).is_empty()).then_some(()));
        }
        server.kill();
        drop((frozen, gate));
        server = git.server(&yard);
        witness.listen(&yard);
        let run = server.ended();
        assert_eq!(run["state"], "live", "killed in {stage}: {run}");
        assert_eq!(yard.serves().as_deref(), Some(version.as_str()), "killed in {stage}");
        assert_eq!(yard.registry.pushes(), nth + 2, "killed in {stage}: one push a run");
        let replayed = yard.replay_of_last();
        assert_eq!(restarts(&replayed), [stage], "it was killed in this stage alone: {replayed:#}");
        let released = release_commands(&yard, since);
        assert_eq!(released.len(), 1, "killed in {stage}: one release command a run: {released:?}");
        // The live release and the warm one; no candidate, no test container is left.
        wait_for("the sweep", || (yard.containers().len() == 2).then_some(()));
        check(&yard, &server, &witness, &mut checked);
    }

    // A red smoke test, and a kill in the middle of the rollback.
    app.edit("landfall.toml", |text| text.replace("\"Hello from Landfall\"", "\"Goodbye\""));
    app.version("10.0.0");
    app.push_and_hang_up(&server);
    let frozen = Frozen::after(&server, "smoke", yard.proxy_pid());
    wait_for("the rollback", || happened(&server, "rollback_started").then_some(()));
    assert!(!happened(&server, "rollback_succeeded"), "the proxy is frozen: nothing can have been proven");
    server.kill();
    drop(frozen);
    server = git.server(&yard);
    witness.listen(&yard);
    let run = server.ended();
    assert_eq!(run["state"], "rolled_back", "{run}");
    assert_eq!(yard.serves().as_deref(), Some(version.as_str()), "the former version serves");
    assert!(happened(&server, "rollback_succeeded"));
    assert_eq!(yard.ops.notices().len(), 1, "ops are told once: {:?}", yard.ops.notices());
    wait_for("the sweep", || (yard.containers().len() == 2).then_some(()));
    check(&yard, &server, &witness, &mut checked);
    let (asked, failed) = crowd.leave();
    let mut counted =
        vec![("kills, one in each stage and one in a rollback".into(), STAGES.len() as u64 + 1)];
    counted.extend(checked.counted());
    counted.push(("requests at the public address".into(), asked));
    counted.push(("failed requests".into(), failed.len() as u64));
    publish(env!("CARGO_TARGET_TMPDIR"), "kills_at_named_points", &counted).unwrap();
    assert!(checked.violations.is_empty(), "{:#?}", checked.violations);
    assert!(asked > 100 && failed.is_empty(), "{} of {asked} failed: {:?}", failed.len(), failed.first());
    server.stop();
}

/// hello-flask, with something in each stage that takes a second.
fn slow_app(yard: &Yard) -> App {
    let app = App::new(yard.registry.address);
    app.edit("Dockerfile", |text| text + "\nRUN sleep 1\n");
    app.edit("tests/test_app.py", |text| {
        text + "\n\ndef test_slowly():\n    import time\n    time.sleep(1)\n"
    });
    app.edit("app.py", |text| {
        let slow = "    @app.get(\"/slow\")\n    def slow():\n        import time\n\n        time.sleep(1)\n        return \"slow\"\n\n";
        text.replace("    @app.get(\"/healthz\")", &format!("{slow}    @app.get(\"/healthz\")"))
    });
    app.edit("landfall.toml", |text| {
        text.replace(
            "[notify]",
            "[[smoke]]\npath = \"/slow\"\n\n[release]\ncommand = \"sleep 1; echo migrated\"\n\n[notify]",
        )
    });
    app
}

/// Returns the stages in which a restarted engine found the run, as the replay notes them.
fn restarts(replayed: &Value) -> Vec<&str> {
    let notes = replayed["replay"]["notes"].as_array().unwrap_or_else(|| panic!("no notes: {replayed:#}"));
    let found = notes.iter().filter_map(|note| note.as_str()?.split_once("the engine restarted: "));
    found.map(|(_, said)| said.split(' ').next().unwrap_or_default()).collect()
}

/// Tells whether the newest run's history has an event of this kind.
fn happened(server: &Server, kind: &str) -> bool {
    let id = server.newest()["id"].as_str().unwrap().to_owned();
    let (_, events) = server.api("GET", &format!("/v1/runs/{id}/events"), None).unwrap();
    events.to_string().contains(&format!("\"{kind}\""))
}

/// Returns the containers of release commands that were started since then, as Docker's own history has them.
fn release_commands(yard: &Yard, since: u64) -> Vec<String> {
    let label = format!("label=landfall.log={}", yard.log_id().unwrap());
    let started = docker(&[
        "events",
        "--since",
        &since.to_string(),
        "--until",
        &now().to_string(),
        "--filter",
        "event=start",
        "--filter",
        &label,
        "--format",
        "{{.Actor.Attributes.name}}",
    ]);
    started.lines().filter(|name| name.starts_with("landfall-release-")).map(str::to_owned).collect()
}

/// Returns the seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A git before the real one on the server's PATH: at a shut gate, the call that writes the files waits.
struct SlowGit {
    folder: TempDir,
}

/// A shut gate; it opens when this is dropped.
struct Gate {
    pipe: PathBuf,
    reached: PathBuf,
}

impl SlowGit {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let real = sh(Command::new("sh").args(["-c", "command -v git"]));
        let here = folder.path().display();
        let script = format!(
            "#!/bin/sh\ncase \" $* \" in\n*' read-tree --reset '*)\n  if [ -p {here}/gate ]; then\n    : > {here}/reached\n    read -r _ < {here}/gate\n  fi\n  ;;\nesac\nexec {real} \"$@\"\n"
        );
        let wrapper = folder.path().join("git");
        fs::write(&wrapper, script).unwrap();
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn server(&self, yard: &Arc<Yard>) -> Server {
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", self.folder.path().display());
        Server::start_with(yard, |command| {
            command.env("PATH", path);
        })
    }

    fn shut(&self) -> Gate {
        let pipe = self.folder.path().join("gate");
        sh(Command::new("mkfifo").arg(&pipe));
        Gate { pipe, reached: self.folder.path().join("reached") }
    }
}

impl Gate {
    fn until_reached(&self) {
        wait_for("the checkout's git", || self.reached.exists().then_some(()));
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // Opened for both, so that this does not wait for a reader. Who reads finds the end when it is closed.
        let pipe = fs::OpenOptions::new().read(true).write(true).open(&self.pipe);
        let _ = fs::remove_file(&self.pipe);
        drop(pipe);
    }
}

/// A process that is stopped, and goes on when this is dropped.
struct Frozen(u32);

impl Frozen {
    fn after(server: &Server, stage: &str, pid: u32) -> Self {
        server.until_in(stage);
        sh(Command::new("kill").args(["-STOP", &pid.to_string()]));
        Self(pid)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-CONT", &self.0.to_string()]).status();
    }
}
