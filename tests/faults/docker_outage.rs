//! dockerd killed and restarted in the middle of a test, a build and a deploy: the run goes on when it is back.
//!
//! Containers die with their engine, so users notice; the promise is that the public address serves again by itself.

use std::fs;
use std::time::{Duration, Instant};

use landfall_tests::counters::{is_long, publish};

use crate::invariants::{Checked, check};
use crate::private_docker::PrivateDocker;
use crate::witness::Witness;
use crate::yard::{App, Server, Yard, wait_for};

/// The app's workers start within a second or two after the engine is back.
const SERVES_AGAIN_WITHIN: Duration = Duration::from_secs(30);

#[test]
fn a_docker_engine_that_is_restarted_in_any_stage_is_waited_for_and_the_live_app_comes_back_by_itself() {
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
    let mut version = app.version("0.0.0");
    app.push(&server);
    assert_eq!(server.ended()["state"], "live");
    let mut checked = Checked::default();
    let mut restarts = 0;
    for stage in ["test", "build", "deploy"] {
        // A kill is the harder of the two; the long form does both in each stage.
        let signals: &[&str] = if is_long() || stage == "test" { &["KILL", "TERM"] } else { &["KILL"] };
        for signal in signals {
            restarts += 1;
            let former = version;
            version = app.version(&format!("{restarts}.0.0"));
            app.push_and_hang_up(&server);
            server.until_in(stage);
            in_the_middle_of(&yard, stage);
            engine.down(signal);
            engine.up();
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
            let witness = Witness::of(&yard);
            check(&yard, &server, &witness, &mut checked);
            assert!(checked.violations.is_empty(), "{signal} in {stage}: {:#?}", checked.violations);
        }
    }
    let mut counted = vec![("restarts of dockerd".into(), restarts)];
    counted.extend(checked.counted());
    publish(env!("CARGO_TARGET_TMPDIR"), "outages_of_docker", &counted).unwrap();
    server.stop();
}

/// Waits until Docker itself is at it: the intent alone is recorded a moment before.
fn in_the_middle_of(yard: &Yard, stage: &str) {
    let output = yard.data.path().join("output");
    wait_for(stage, || match stage {
        "test" => yard.containers().iter().any(|name| name.starts_with("landfall-test-")).then_some(()),
        "deploy" => (yard.containers().iter().filter(|name| name.starts_with("landfall-hello-")).count() > 1)
            .then_some(()),
        _ => fs::read_dir(&output).ok().and_then(|runs| {
            let printed = |run: fs::DirEntry| fs::read_to_string(run.path().join("build-1.log")).ok();
            let mut runs: Vec<_> = runs.filter_map(Result::ok).collect();
            runs.sort_by_key(fs::DirEntry::file_name);
            let newest = runs.pop().and_then(printed)?;
            newest.contains("RUN sleep 2").then_some(())
        }),
    });
}
