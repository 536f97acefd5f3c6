//! dockerd killed and restarted in the middle of a test, a build, a deploy and the checks before and after the switch:
//! the run goes on when it is back.
//!
//! Containers die with their engine, so users notice; the promise is that the public address serves again by itself.

use std::fs;
use std::time::{Duration, Instant};

use landfall_engine::core::run::RunId;
use landfall_tests::counters::{is_long, publish};

use crate::invariants::{Checked, check};
use crate::private_docker::PrivateDocker;
use crate::witness::Witness;
use crate::yard::{App, Server, Yard, said, wait_for};

/// A page for the smoke checks that takes long enough to be met, and tells who asks for it.
const SLOW_PAGE: &str = r#"    @app.get("/slow")
    def slow():
        import time
        print("slow page for", "users" if "X-Forwarded-For" in request.headers else "landfall", flush=True)
        time.sleep(2)
        return "at last"

    @app.get("/")
"#;

/// The app's workers start within a second or two after the engine is back.
const SERVES_AGAIN_WITHIN: Duration = Duration::from_secs(30);

#[test]
fn a_docker_engine_that_is_restarted_in_any_stage_is_waited_for_and_the_live_app_comes_back_by_itself() {
    // With an engine of its own it is in nobody's way.
    let mut engine = PrivateDocker::start();
    let yard = Yard::on(Some(engine.host()));
    let app = App::new(yard.registry.address);
    // Each of the stages is long enough to be met.
    app.edit("Dockerfile", |text| text + "\nRUN sleep 2\n");
    app.edit("tests/test_app.py", |text| {
        text + "\n\ndef test_slowly():\n    import time\n    time.sleep(2)\n"
    });
    let slow_start = "[\"sh\", \"-c\", \"sleep 2; exec \\\"$0\\\" \\\"$@\\\"\", \"gunicorn\"";
    app.edit("Dockerfile", |text| text.replace("[\"gunicorn\"", slow_start));
    let server = Server::start(&yard);
    let mut witness = Witness::of(&yard);
    witness.listen(&yard);
    let mut version = app.version("0.0.0");
    app.push(&server);
    assert_eq!(server.ended()["state"], "live");
    let mut checked = Checked::default();
    let mut restarts = 0;
    let stages = ["test", "build", "deploy", "smoke", "public_smoke"];
    // The checks after the switch end like those before it; they are the long form's.
    for stage in stages.into_iter().filter(|stage| is_long() || *stage != "public_smoke") {
        if stage == "smoke" {
            app.edit("app.py", |text| text.replace("    @app.get(\"/\")\n", SLOW_PAGE));
            app.edit("landfall.toml", |text| text + "\n[[smoke]]\npath = \"/slow\"\n");
        }
        // A kill is the harder of the two; the long form does both in each stage.
        let signals: &[&str] = if is_long() || stage == "test" { &["KILL", "TERM"] } else { &["KILL"] };
        for signal in signals {
            restarts += 1;
            let former = version;
            version = app.version(&format!("{restarts}.0.0"));
            app.push_and_hang_up(&server);
            server.until_in(stage);
            in_the_middle_of(&yard, &server, stage);
            engine.down(signal);
            engine.up();
            witness.listen_to_docker(&yard);
            let since = Instant::now();
            wait_for("the public address", || yard.serves());
            assert!(since.elapsed() < SERVES_AGAIN_WITHIN, "{signal} in {stage}: {:?}", since.elapsed());
            let run = server.ended();
            assert_eq!(run["state"], "live", "{signal} in {stage}: {run}");
            assert_eq!(
                yard.serves().as_deref(),
                Some(version.as_str()),
                "{signal} in {stage}, after {former}"
            );
            check(&yard, &server, &witness, &mut checked);
            assert!(checked.violations.is_empty(), "{signal} in {stage}: {:#?}", checked.violations);
        }
    }
    // The first run's two, and one at least of each later run: what was done while the engine lived.
    assert!(checked.containers.len() as u64 >= 2 + restarts, "hardly listened: {:?}", checked.containers);
    let mut counted = vec![("restarts of dockerd".into(), restarts)];
    counted.extend(checked.counted());
    publish(env!("CARGO_TARGET_TMPDIR"), "outages_of_docker", &counted).unwrap();
    server.stop();
}

/// Waits until Docker itself is at it: the intent alone is recorded a moment before.
fn in_the_middle_of(yard: &Yard, server: &Server, stage: &str) {
    let output = yard.data.path().join("output");
    let newest = server.newest()["id"].as_str().unwrap().to_owned();
    let run: RunId = newest.parse().unwrap();
    let of_run = |first: &str| {
        yard.containers().iter().any(|name| name.starts_with(first) && name.contains(&run.short()))
    };
    let asked_by = |who: &str| {
        let names = yard.containers();
        let ours =
            |name: &&String| name.starts_with("landfall-hello-production-") && name.contains(&run.short());
        let logs = yard.docker(&["logs", names.iter().find(ours)?]).output().unwrap();
        said(&logs).contains(&format!("slow page for {who}")).then_some(())
    };
    wait_for(stage, || match stage {
        "smoke" => asked_by("landfall"),
        "public_smoke" => asked_by("users"),
        "test" => of_run("landfall-test-").then_some(()),
        "deploy" => of_run("landfall-hello-production-").then_some(()),
        _ => {
            let printed = fs::read_to_string(output.join(&newest).join("build-1.log")).unwrap_or_default();
            printed.contains("RUN sleep 2").then_some(())
        }
    });
}
