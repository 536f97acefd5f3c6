//! The tests of an app, on this machine.

use landfall_engine::core::command::Outcome;
use landfall_engine::core::run::Run;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{Probe, StageExecutor};

use crate::world::{Lines, World, failure, report, settings};

async fn on_host(world: &World, command: &str) -> Run {
    let mut run = world.checked_out(&[("app.py", "VERSION = 1\n"), ("report.xml", "<testsuite/>")]).await;
    settings(&mut run, |settings| {
        settings.test.host = true;
        settings.test.command = command.into();
        settings.test.env.insert("OWN".into(), "yes".into());
    });
    run
}

#[tokio::test]
async fn nothing_pushed_runs_on_the_host_unless_that_is_allowed() {
    let world = World::new().with_host_tests(false);
    let ran = world.dir.path().join("ran");
    let run = on_host(&world, &format!("touch {}", ran.display())).await;
    let (outcome, _) = world.tested_run(&run).await;
    let reason = failure(outcome).reason;
    assert!(reason.contains("--allow-host-tests"), "{reason}");
    assert!(!ran.exists());
}

#[tokio::test]
async fn green_tests_succeed_with_a_clean_environment_and_their_own_copy() {
    let world = World::new();
    let run = on_host(&world, "env; echo written >app.py; echo 'to stderr' >&2; printf 'no end'").await;
    let (outcome, lines) = world.tested_run(&run).await;
    assert_eq!(report(outcome).counts, None);
    for expected in ["CI=true", "CI_COMMIT_BRANCH=main", "OWN=yes", "to stderr", "no end"] {
        assert!(lines.iter().any(|line| line == expected), "{expected} is not in {lines:?}");
    }
    assert!(!lines.iter().any(|line| line.starts_with("CARGO")), "{lines:?}");
    let app = std::fs::read_to_string(world.work_dir(&run).join("source/app.py")).unwrap();
    assert_eq!(app, "VERSION = 1\n");
}

#[tokio::test]
async fn red_tests_fail_with_their_report() {
    let world = World::new();
    let xml =
        r#"<testsuite><testcase name="a"/><testcase name="b"><failure message="no"/></testcase></testsuite>"#;
    let run = on_host(&world, &format!("echo '{xml}' >report.xml; exit 1")).await;
    let failure = failure(world.tested_run(&run).await.0);
    assert_eq!(failure.reason, "1 of 2 tests failed: b");
}

#[tokio::test]
async fn tests_whose_engine_died_go_on_and_are_followed_from_their_first_line() {
    let world = World::new();
    let go = world.dir.path().join("go");
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display());
    let run = on_host(&world, &format!("echo first; {wait}; echo last; exit 3")).await;
    let order = world.order(&run, Stage::Test, 1);
    assert_eq!(world.stages.probe(&order).await.unwrap(), Probe::NotStarted);
    world.execute_until(&order, "first").await;
    assert_eq!(world.stages.probe(&order).await.unwrap(), Probe::Running);
    let again = Lines::default();
    let output = again.output();
    let attached = world.stages.attach(&order, &output);
    let release = async {
        again.wait_for("first").await;
        std::fs::write(&go, "").unwrap();
    };
    let (outcome, ()) = tokio::join!(attached, release);
    let expected = failure(outcome);
    assert!(expected.reason.contains("exit code 3"), "{}", expected.reason);
    assert_eq!(again.all(), ["first", "last"]);
    match world.stages.probe(&order).await.unwrap() {
        Probe::Done(found) => assert_eq!(failure(found), expected),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn tests_that_are_cut_short_are_killed_with_all_that_they_started() {
    let world = World::new();
    let run = on_host(&world, "trap '' TERM HUP; setsid sleep 601 & echo up; sleep 602").await;
    let order = world.order(&run, Stage::Test, 1);
    world.execute_until(&order, "up").await;
    assert!(!processes_of(&order.key.to_string()).is_empty());
    world.stages.undo(&order).await.unwrap();
    assert!(processes_of(&order.key.to_string()).is_empty());
    assert!(!world.work_dir(&run).join("test-1").exists());
    world.stages.undo(&order).await.unwrap();
    assert_eq!(world.stages.probe(&order).await.unwrap(), Probe::NotStarted);
}

#[tokio::test]
async fn what_tests_leave_running_ends_with_them() {
    let world = World::new();
    let run = on_host(&world, "setsid sleep 603 & echo done").await;
    let order = world.order(&run, Stage::Test, 1);
    report(world.tested_run(&run).await.0);
    assert!(processes_of(&order.key.to_string()).is_empty());
}

#[tokio::test]
async fn tests_that_were_killed_gave_no_answer() {
    let world = World::new();
    let run = on_host(&world, "echo up; kill -KILL $PPID; sleep 604").await;
    let order = world.order(&run, Stage::Test, 1);
    let outcome = world.tested_run(&run).await.0;
    assert!(matches!(&outcome, Outcome::Errored { reason } if reason.contains("killed")), "{outcome:?}");
    assert_eq!(world.stages.probe(&order).await.unwrap(), Probe::NotStarted);
}

fn processes_of(key: &str) -> Vec<String> {
    let wanted = format!("LANDFALL_KEY={key}");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let is_wanted =
        |environment: &[u8]| environment.split(|b| *b == 0).any(|entry| entry == wanted.as_bytes());
    processes
        .filter(|entry| std::fs::read(entry.path().join("environ")).is_ok_and(|env| is_wanted(&env)))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}
