//! The tests of an app, in a container.

use std::time::{Duration, Instant};

use landfall_engine::core::command::Outcome;
use landfall_engine::core::facts::TestCounts;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{Probe, StageExecutor};

use crate::world::{Lines, World, docker, failure, report, settings};

const GREEN: &str = "def test_one(): assert True\ndef test_two(): assert 1 + 1 == 2\n";

#[tokio::test]
async fn green_tests_succeed_with_their_counts_and_leave_the_source_alone() {
    let world = World::new();
    let tests = "import app, os, pathlib\n\
                 def test_app(): assert app.VERSION == 1\n\
                 def test_environment(): assert os.environ['CI'] == 'true' and len(os.environ['GIT_REV']) == 40\n\
                 def test_writes(): pathlib.Path('written').write_text('x')\n";
    let files = [("app.py", "VERSION = 1\n"), ("tests/test_app.py", tests)];
    let run = world.checked_out(&files).await;
    let (outcome, lines) = world.tested_run(&run).await;
    let report = report(outcome);
    assert_eq!(report.counts, Some(TestCounts { passed: 3, failed: 0, skipped: 0 }), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("3 passed")), "{lines:?}");
    assert!(!world.work_dir(&run).join("source/written").exists());

    // The container stays for a probe and goes with the undo.
    let order = world.order(&run, Stage::Test, 1);
    assert_eq!(world.containers().len(), 1);
    assert!(matches!(world.stages.probe(&order).await.unwrap(), Probe::Done(Outcome::Succeeded(_))));
    world.stages.undo(&order).await.unwrap();
    assert!(world.containers().is_empty());
    world.stages.undo(&order).await.unwrap();
    assert_eq!(world.stages.probe(&order).await.unwrap(), Probe::NotStarted);
}

#[tokio::test]
async fn red_tests_fail_with_counts_names_and_the_last_lines() {
    let world = World::new();
    let tests = "def test_good(): pass\ndef test_sum():\n    assert 1 + 1 == 3, 'wrong sum'\n";
    let (outcome, _) = world.tested(&[("test_app.py", tests)]).await;
    let failure = failure(outcome);
    assert_eq!(failure.reason, "1 of 2 tests failed: test_sum");
    assert!(failure.tail.iter().any(|line| line.contains("wrong sum")), "{:?}", failure.tail);
    let report = failure.tests.unwrap();
    assert_eq!((report.exit_code, report.counts.unwrap().failed), (1, 1));
    assert_eq!(report.first_failures[0].name, "test_app::test_sum");
    assert!(report.first_failures[0].message.contains("wrong sum"), "{report:?}");
}

#[tokio::test]
async fn no_tests_are_red_unless_that_is_allowed() {
    let world = World::new();
    // The folder says that there should be some.
    let files = [("app.py", ""), ("tests/test_app.py", "")];
    let (outcome, _) = world.tested(&files).await;
    let failure = failure(outcome);
    assert!(failure.reason.starts_with("no tests found") && failure.reason.contains("allow_none = true"));

    let world = World::new();
    let mut run = world.checked_out(&files).await;
    settings(&mut run, |settings| settings.test.allow_none = true);
    report(world.tested_run(&run).await.0);

    let world = World::new();
    let (outcome, lines) = world.tested(&[("app.py", "")]).await;
    assert_eq!(report(outcome).exit_code, 5);
    assert!(lines.iter().any(|line| line == "no tests were found: nothing was tested"), "{lines:?}");
}

#[tokio::test]
async fn a_module_that_can_not_be_imported_is_named_with_its_reason() {
    let world = World::new();
    let (outcome, _) = world.tested(&[("test_app.py", "import nothing_like_this\n")]).await;
    let failure = failure(outcome);
    assert_eq!(failure.reason, "1 of 1 tests failed: test_app");
    let message = &failure.tests.unwrap().first_failures[0].message;
    assert_eq!(message, "ModuleNotFoundError: No module named 'nothing_like_this'");
}

#[tokio::test]
async fn too_much_memory_is_said_with_the_limit() {
    let world = World::new();
    let mut run = world.checked_out(&[("app.py", "")]).await;
    settings(&mut run, |settings| {
        settings.test.memory_mb = 64;
        settings.test.command = "python3 -c 'x = bytearray(500_000_000)'".into();
    });
    let failure = failure(world.tested_run(&run).await.0);
    assert!(failure.reason.contains("out of memory: the limit is 64 MiB"), "{}", failure.reason);
    assert!(failure.reason.contains("memory = \"128MiB\""), "{}", failure.reason);
}

#[tokio::test]
async fn an_image_that_can_not_be_had_and_a_command_that_is_not_there_are_said() {
    let world = World::new();
    let mut run = world.checked_out(&[("app.py", "")]).await;
    settings(&mut run, |settings| settings.test.image = "../containers/json".into());
    let refused = failure(world.tested_run(&run).await.0);
    assert!(refused.reason.contains("no name of an image"), "{}", refused.reason);

    // Nobody listens there, which is no answer and will be asked again.
    settings(&mut run, |settings| settings.test.image = "127.0.0.1:1/nothing:1".into());
    match world.tested_run(&run).await.0 {
        Outcome::Errored { reason } => {
            assert!(reason.contains("127.0.0.1:1/nothing:1 is not on this machine"), "{reason}");
        }
        other => panic!("{other:?}"),
    }

    settings(&mut run, |settings| {
        settings.test.image = "python:3.12-slim".into();
        settings.test.command = "no-such-tool --all".into();
    });
    let failure = failure(world.tested_run(&run).await.0);
    assert!(
        failure.reason.contains("could not be run") && failure.reason.contains("no-such-tool: not found")
    );
}

#[tokio::test]
async fn output_of_every_kind_arrives_line_by_line() {
    let world = World::new();
    let mut run = world.checked_out(&[("app.py", "")]).await;
    settings(&mut run, |settings| {
        settings.test.command = "printf 'grün ✓\\n\\377\\n'; echo to-stderr >&2; sleep 1\n\
            head -c 100000 /dev/zero | tr '\\0' x; echo; seq 1 20000; printf 'no end'"
            .into();
    });
    let lines = Lines::default();
    let order = world.order(&run, Stage::Test, 1);
    let output = lines.output();
    let running = world.stages.execute(&order, &output);
    let early = async {
        lines.wait_for("grün ✓").await;
        lines.wait_for("to-stderr").await;
        lines.all().iter().any(|line| line.ends_with("no end"))
    };
    let (outcome, had_ended) = tokio::join!(running, early);
    report(outcome);
    assert!(!had_ended, "the first lines came only with the last one");
    let all = lines.all();
    assert!(all.contains(&"\u{fffd}".to_owned()));
    assert_eq!(all.iter().filter(|line| line.starts_with('x')).map(String::len).sum::<usize>(), 100_000);
    assert!(all.iter().all(|line| line.len() <= 20_000));
    let numbers: Vec<u32> = all.iter().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(numbers, (1..=20_000).collect::<Vec<_>>());
    assert_eq!(all.last().map(String::as_str), Some("no end"));
}

#[tokio::test]
async fn dependencies_are_installed_once_for_the_same_lock_file_even_by_two_at_once() {
    let world = World::new();
    // A comment of its own makes a volume of its own.
    let pins = format!("# {}\niniconfig==2.0.0\n", uuid::Uuid::new_v4());
    let tests = "import iniconfig\ndef test_it(): assert iniconfig.__file__.startswith('/landfall/deps/')\n";
    let files = [("requirements.txt", pins.as_str()), ("test_app.py", tests)];
    let (one, two) = (world.checked_out(&files).await, world.checked_out(&files).await);
    let first = Instant::now();
    let (one, two) = tokio::join!(world.tested_run(&one), world.tested_run(&two));
    let first = first.elapsed();
    let said = |lines: &[String], text: &str| lines.iter().any(|line| line.contains(text));
    let installed =
        [&one.1, &two.1].map(|lines| said(lines, "installing dependencies from requirements.txt"));
    let waited = [&one.1, &two.1].map(|lines| said(lines, "waiting for it"));
    report(one.0);
    report(two.0);
    assert!(installed[0] != installed[1], "{installed:?}");
    assert!(waited[0] != waited[1], "{waited:?}");

    let third = world.checked_out(&files).await;
    let again = Instant::now();
    let (outcome, lines) = world.tested_run(&third).await;
    let again = again.elapsed();
    report(outcome);
    assert!(said(&lines, "are installed already"), "{lines:?}");
    assert!(again < first / 2, "{again:?} after {first:?}");
    world.forget_dependencies();
}

#[tokio::test]
async fn dependencies_that_can_not_be_installed_are_told_from_red_tests() {
    let world = World::new();
    let files = [("requirements.txt", "landfall-has-no-such-package==1.2.3\n"), ("test_app.py", GREEN)];
    let (outcome, _) = world.tested(&files).await;
    let failure = failure(outcome);
    assert!(failure.reason.starts_with("dependencies could not be installed: ERROR:"), "{}", failure.reason);
    assert!(failure.reason.contains("landfall-has-no-such-package") && failure.tests.is_none());
    assert!(!failure.tail.is_empty());
    world.forget_dependencies();
}

#[tokio::test]
async fn a_project_with_a_src_folder_is_installed_from_its_pyproject() {
    let world = World::new();
    let pyproject = "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n\
                     [project]\nname = 'shop'\nversion = '1'\ndependencies = ['iniconfig']\n\
                     [dependency-groups]\ndev = ['pytest']\n";
    let tests = "import importlib.metadata, iniconfig, shop\n\
                 def test_it(): assert shop.ANSWER == 42 and importlib.metadata.version('shop') == '1'\n";
    let files =
        [("pyproject.toml", pyproject), ("src/shop/__init__.py", "ANSWER = 42\n"), ("test_app.py", tests)];
    let (outcome, lines) = world.tested(&files).await;
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?} {lines:#?}");
}

#[tokio::test]
async fn tests_whose_engine_died_are_found_running_and_followed_from_their_first_line() {
    let world = World::new();
    let mut run = world.checked_out(&[("app.py", "")]).await;
    settings(&mut run, |settings| {
        settings.test.command =
            "echo first; while [ ! -e go ]; do sleep 0.05; done; echo last; exit 3".into();
    });
    let order = world.order(&run, Stage::Test, 1);
    world.execute_until(&order, "first").await;
    assert_eq!(world.stages.probe(&order).await.unwrap(), Probe::Running);
    let container = world.containers().remove(0);
    let again = Lines::default();
    let output = again.output();
    let attached = world.stages.attach(&order, &output);
    let go = async {
        again.wait_for("first").await;
        docker(&["exec", &container, "touch", "/landfall/source/go"]);
    };
    let (outcome, ()) = tokio::join!(attached, go);
    let expected = failure(outcome);
    assert!(expected.reason.contains("exit code 3"), "{}", expected.reason);
    assert_eq!(again.all(), ["first", "last"]);
    match world.stages.probe(&order).await.unwrap() {
        Probe::Done(found) => assert_eq!(failure(found), expected),
        other => panic!("{other:?}"),
    }
    // A second execute under the same key reads what is there.
    let (outcome, lines) = world.tested_run(&run).await;
    assert_eq!((failure(outcome), lines), (expected, again.all()));
}

#[tokio::test]
async fn tests_that_are_cut_short_are_killed_and_leave_nothing() {
    let world = World::new();
    let mut run = world.checked_out(&[("app.py", "")]).await;
    settings(&mut run, |settings| settings.test.command = "trap '' TERM; echo up; sleep 600".into());
    let order = world.order(&run, Stage::Test, 1);
    world.execute_until(&order, "up").await;
    let undoing = Instant::now();
    world.stages.undo(&order).await.unwrap();
    assert!(undoing.elapsed() < Duration::from_secs(10));
    assert!(world.containers().is_empty());
}

#[tokio::test]
async fn a_container_that_was_made_and_never_started_is_no_start() {
    let world = World::new();
    let run = world.checked_out(&[("test_app.py", GREEN)]).await;
    let order = world.order(&run, Stage::Test, 1);
    report(world.tested_run(&run).await.0);
    let name = world.containers().remove(0);
    let labels = docker(&["inspect", "-f", "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}} {{end}}", &name]);
    docker(&["rm", &name]);
    let mut create = vec!["create", "--name", &name];
    create.extend(
        labels.split(' ').filter(|label| label.starts_with("landfall.")).flat_map(|l| ["--label", l]),
    );
    create.extend(["python:3.12-slim", "true"]);
    docker(&create);
    assert_eq!(world.stages.probe(&order).await.unwrap(), Probe::NotStarted);
    assert!(world.containers().is_empty());
    // And one that goes by our name and is not ours is left alone.
    docker(&["create", "--name", &name, "python:3.12-slim", "true"]);
    let outcome = world.tested_run(&run).await.0;
    assert!(matches!(&outcome, Outcome::Errored { reason } if reason.contains("not ours")), "{outcome:?}");
    world.stages.undo(&order).await.unwrap();
    docker(&["rm", &name]);
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_no_answer_that_says_what_to_look_at() {
    let world = World::new();
    let run = world.checked_out(&[("test_app.py", GREEN)]).await;
    let order = world.order(&run, Stage::Test, 1);
    let stages = world.without_docker();
    match stages.execute(&order, &Lines::default().output()).await {
        Outcome::Errored { reason } => assert!(reason.contains("is the Docker daemon running?"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(stages.probe(&order).await.unwrap_err().contains("is the Docker daemon running?"));
    assert!(stages.undo(&order).await.is_err());
}

#[tokio::test]
async fn too_many_processes_are_stopped_inside_the_container() {
    let world = World::new();
    let mut run = world.checked_out(&[("app.py", "")]).await;
    settings(&mut run, |settings| {
        settings.test.pids = 20;
        settings.test.command = "for n in $(seq 50); do sleep 60 & done; echo all of them".into();
    });
    let failure = failure(world.tested_run(&run).await.0);
    assert!(failure.tail.iter().any(|line| line.contains("fork")), "{failure:?}");
}

#[tokio::test]
async fn a_source_that_arrived_in_half_is_never_tested() {
    let world = World::new();
    let mut run = world.checked_out(&[("test_app.py", GREEN)]).await;
    let big = world.work_dir(&run).join("source/big.bin");
    std::fs::File::create(big).unwrap().set_len(200 << 20).unwrap();
    // A twentieth of a core unpacks that in seconds.
    settings(&mut run, |settings| settings.test.cpu_millis = 50);
    let order = world.order(&run, Stage::Test, 1);
    let lines = Lines::default();
    let output = lines.output();
    let is_running = async {
        while !world
            .containers()
            .iter()
            .any(|name| docker(&["inspect", "-f", "{{.State.Status}}", name]) == "running")
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        outcome = world.stages.execute(&order, &output) => panic!("{outcome:?}"),
        () = is_running => {}
    }
    match world.stages.attach(&order, &output).await {
        Outcome::Errored { reason } => assert!(reason.contains("did not arrive whole"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_report_that_was_committed_is_not_taken_for_todays() {
    let world = World::new();
    let stale = r#"<testsuite><testcase name="old"><failure message="of yesterday"/></testcase></testsuite>"#;
    let mut run = world.checked_out(&[("report.xml", stale)]).await;
    settings(&mut run, |settings| settings.test.command = "echo today; exit 1".into());
    let failure = failure(world.tested_run(&run).await.0);
    assert_eq!(failure.reason, "the tests failed: `echo today; exit 1` ended with exit code 1: today");
}
