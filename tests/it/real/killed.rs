//! kill -9 in every stage of a real run: the next engine ends it as it would have ended.
//!
//! Stages are held open by the world itself: slow tests, a slow build step, a slow page, a registry or a
//! proxy that is frozen for a moment. The binary knows nothing of being tested.

use std::process::Command;

use crate::real::yard::{App, Server, Visitor, Yard, sh, wait_for};

/// What holds each stage open long enough to be killed in.
const STAGES: [(&str, Freeze); 8] = [
    ("checkout", Freeze::Nothing),
    ("test", Freeze::Nothing),
    ("build", Freeze::Nothing),
    ("push_image", Freeze::Registry),
    ("deploy", Freeze::Nothing),
    ("smoke", Freeze::Nothing),
    ("go_live", Freeze::Proxy),
    ("public_smoke", Freeze::Nothing),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Freeze {
    Nothing,
    Registry,
    Proxy,
}

#[test]
fn an_engine_that_is_killed_in_any_stage_is_replaced_by_one_that_finishes_the_run() {
    let yard = Yard::new();
    let app = App::new(yard.registry.address);
    app.edit("Dockerfile", |text| text + "\nRUN sleep 1\n");
    app.edit("tests/test_app.py", |text| {
        text + "\n\ndef test_slowly():\n    import time\n    time.sleep(1)\n"
    });
    app.edit("app.py", |text| {
        let slow = "    @app.get(\"/slow\")\n    def slow():\n        import time\n\n        time.sleep(1)\n        return \"slow\"\n\n";
        text.replace("    @app.get(\"/healthz\")", &format!("{slow}    @app.get(\"/healthz\")"))
    });
    app.edit("landfall.toml", |text| text.replace("[notify]", "[[smoke]]\npath = \"/slow\"\n\n[notify]"));

    let mut server = Server::start(&yard);
    app.version("0.0.0");
    app.push(&server);
    assert_eq!(server.ended()["state"], "live");
    let visitor = Visitor::start(&yard);
    for (nth, (stage, freeze)) in STAGES.into_iter().enumerate() {
        let version = app.version(&format!("{}.0.0", nth + 1));
        app.push_and_hang_up(&server);
        let frozen = match freeze {
            Freeze::Nothing => None,
            Freeze::Registry => Some(Frozen::after(&server, "build", yard.registry.pid())),
            Freeze::Proxy => Some(Frozen::after(&server, "smoke", yard.proxy_pid())),
        };
        if stage != "checkout" {
            server.until_in(stage);
        }
        server.kill();
        drop(frozen);
        server = Server::start(&yard);
        let run = server.ended();
        assert_eq!(run["state"], "live", "killed in {stage}: {run}");
        assert_eq!(yard.serves().as_deref(), Some(version.as_str()), "killed in {stage}");
        assert_eq!(yard.registry.pushes(), nth + 2, "killed in {stage}: one push a run");
        let replayed = server.replay(&run);
        assert!(replayed.contains("the engine restarted"), "killed in {stage}: {replayed}");
        // The live release and the warm one; no candidate, no test container is left.
        wait_for("the sweep", || (yard.containers().len() == 2).then_some(()));
    }
    visitor.leave();
    server.stop();
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
