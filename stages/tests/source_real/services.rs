//! Services beside the tests: real databases that they reach by name, and nothing of them left in any ending.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use landfall_engine::core::command::Outcome;
use landfall_engine::core::run::Run;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{Keep, Order, Probe, StageExecutor};

use crate::world::{Lines, World, docker, failure, now_ms, ran, report, settings};

const POSTGRES: &str = "landfall-test/postgres:16";
const REDIS: &str = "landfall-test/redis:7";
/// Listens nowhere, though it says that it will.
const DEAF: &str = "landfall-test/deaf:1";
/// Ends at once.
const BROKEN: &str = "landfall-test/broken:1";

/// Makes the images that can't be pulled, once for all tests. Docker's cache keeps them for the next time.
fn images() {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/source_real/services");
        for image in [POSTGRES, REDIS, DEAF, BROKEN] {
            let name = image.rsplit('/').next().unwrap().split(':').next().unwrap();
            let mut build = Command::new("docker");
            // The builder that every docker command has.
            build.env("DOCKER_BUILDKIT", "0").args(["build", "--quiet", "--tag", image]);
            ran(build.arg(folder.join(name)));
        }
    });
}

async fn with(world: &World, services: &[(&str, &str)], command: &str) -> Run {
    images();
    let mut run = world.checked_out(&[("app.py", "")]).await;
    let services = services.iter().map(|(name, image)| ((*name).to_owned(), (*image).to_owned()));
    settings(&mut run, |settings| {
        settings.test.services = services.collect();
        settings.test.command = command.into();
    });
    run
}

/// Nothing runs beside the container of the tests, which only the next stage removes.
#[track_caller]
fn only_the_tests_are_left(world: &World) {
    let left = world.containers();
    assert!(left.iter().all(|name| name.starts_with("landfall-test-")), "{left:?}");
    assert_eq!(world.networks(), [""; 0]);
}

#[tokio::test]
async fn tests_reach_a_database_and_a_cache_by_name_and_find_them_ready() {
    images();
    let world = World::new();
    let tests = "import os, socket, urllib.parse\n\
        import pg8000.native\n\
        def test_database():\n\
        \x20   url = urllib.parse.urlsplit(os.environ['DATABASE_URL'])\n\
        \x20   assert (url.hostname, url.scheme) == ('db', 'postgresql')\n\
        \x20   db = pg8000.native.Connection(url.username, host=url.hostname, port=url.port, password=url.password,\n\
        \x20       database=url.path[1:])\n\
        \x20   assert db.run('select array_length(array[1, 2, 3], 1)') == [[3]]\n\
        def test_cache():\n\
        \x20   assert os.environ['REDIS_URL'] == 'redis://mine/7', 'the settings have the last word'\n\
        \x20   with socket.create_connection((os.environ['REDIS_HOST'], int(os.environ['REDIS_PORT']))) as cache:\n\
        \x20       cache.sendall(b'PING\\r\\n')\n\
        \x20       assert cache.recv(7) == b'+PONG\\r\\n'\n";
    let files = [("requirements.txt", "pg8000==1.31.2\n"), ("test_app.py", tests)];
    let mut run = world.checked_out(&files).await;
    settings(&mut run, |settings| {
        settings.test.services = [("db", POSTGRES), ("cache", REDIS)].map(owned).into();
        settings.test.env.insert("REDIS_URL".into(), "redis://mine/7".into());
    });
    let (outcome, lines) = world.tested_run(&run).await;
    assert_eq!(report(outcome).counts.unwrap().passed, 2, "{lines:#?}");
    let at = |text: &str| {
        lines.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{lines:#?}"))
    };
    assert!(at("the service db (landfall-test/postgres:16) is ready after") < at("2 passed"));
    only_the_tests_are_left(&world);
}

fn owned((name, image): (&str, &str)) -> (String, String) {
    (name.into(), image.into())
}

#[tokio::test]
async fn two_runs_have_services_of_the_same_name_and_do_not_meet() {
    let world = World::new();
    let command = "python3 - <<'END'\nimport socket, time\ndef ask(what):\n    with socket.create_connection(('cache', 6379)) as c:\n        c.sendall(what); return c.recv(99)\nassert ask(b'INCR met\\r\\n') == b':1\\r\\n'\nEND";
    let services = [("cache", REDIS)];
    let (one, two) = (with(&world, &services, command).await, with(&world, &services, command).await);
    let (one, two) = tokio::join!(world.tested_run(&one), world.tested_run(&two));
    report(one.0);
    report(two.0);
    only_the_tests_are_left(&world);
}

#[tokio::test]
async fn a_service_that_ends_is_red_with_its_last_line() {
    let world = World::new();
    let run = with(&world, &[("broken", BROKEN)], "echo never").await;
    let (outcome, lines) = world.tested_run(&run).await;
    assert_eq!(
        failure(outcome).reason,
        "the service broken (landfall-test/broken:1) ended with exit code 3 before it was ready; its last line: there \
         is no configuration"
    );
    assert!(!lines.iter().any(|line| line == "never"), "{lines:?}");
    assert!(world.containers().is_empty() && world.networks().is_empty());
}

#[tokio::test]
async fn a_service_that_does_not_become_ready_is_red_within_the_time_of_the_stage() {
    let world = World::new();
    let run = with(&world, &[("deaf", DEAF)], "echo never").await;
    let order = Order { deadline_ms: now_ms() + 3_000, ..world.order(&run, Stage::Test, 1) };
    let failure = failure(world.stages.execute(&order, &Lines::default().output()).await);
    assert!(
        failure.reason.starts_with("the service deaf (landfall-test/deaf:1) did not become ready within")
            && failure.reason.ends_with("nothing listens on its port 7007; its last line: still thinking"),
        "{}",
        failure.reason
    );
    assert!(world.containers().is_empty() && world.networks().is_empty());
}

#[tokio::test]
async fn a_service_that_ended_under_the_tests_is_told_with_them() {
    let world = World::new();
    let shut_down = "python3 -c \"import socket; c = socket.create_connection(('cache', 6379)); \
        c.sendall(b'SHUTDOWN NOSAVE\\r\\n'); c.recv(1)\"; exit 1";
    let run = with(&world, &[("cache", REDIS)], shut_down).await;
    let (outcome, lines) = world.tested_run(&run).await;
    failure(outcome);
    let told = "the service cache (landfall-test/redis:7) ended with exit code 0 while the tests ran";
    assert!(lines.iter().any(|line| line.starts_with(told)), "{lines:#?}");
    only_the_tests_are_left(&world);
}

#[tokio::test]
async fn services_whose_engine_died_before_the_tests_are_no_start_and_are_gone() {
    let world = World::new();
    let run = with(&world, &[("cache", REDIS), ("deaf", DEAF)], "echo up").await;
    let order = world.order(&run, Stage::Test, 1);
    world.execute_until(&order, "the service cache (landfall-test/redis:7) is ready").await;
    assert_eq!((world.containers().len(), world.networks().len()), (2, 1));
    assert_eq!(world.stages.probe(&order).await.unwrap(), Probe::NotStarted);
    assert!(world.containers().is_empty() && world.networks().is_empty());
}

#[tokio::test]
async fn services_outlive_their_engine_for_as_long_as_the_tests_run() {
    let world = World::new();
    let ask = "echo up; while [ ! -e go ]; do sleep 0.05; done; \
        python3 -c \"import socket; socket.create_connection(('cache', 6379))\"";
    let run = with(&world, &[("cache", REDIS)], ask).await;
    let order = world.order(&run, Stage::Test, 1);
    world.execute_until(&order, "up").await;
    assert_eq!(world.stages.probe(&order).await.unwrap(), Probe::Running);
    let tests = world.containers().into_iter().find(|name| name.starts_with("landfall-test-")).unwrap();
    let again = Lines::default();
    let output = again.output();
    let go = async {
        again.wait_for("up").await;
        docker(&["exec", &tests, "touch", "/landfall/source/go"]);
    };
    let (outcome, ()) = tokio::join!(world.stages.attach(&order, &output), go);
    report(outcome);
    only_the_tests_are_left(&world);

    // What ended while nobody looked has its services still.
    let run = with(&world, &[("cache", REDIS)], "echo up").await;
    let order = world.order(&run, Stage::Test, 1);
    world.execute_until(&order, "up").await;
    let tests = world
        .containers()
        .into_iter()
        .find(|name| name.contains(&run.id.short()) && name.starts_with("landfall-test-"))
        .unwrap();
    docker(&["wait", &tests]);
    assert!(matches!(world.stages.probe(&order).await.unwrap(), Probe::Done(Outcome::Succeeded(_))));
    only_the_tests_are_left(&world);
}

#[tokio::test]
async fn tests_that_are_cut_short_take_their_services_with_them() {
    let world = World::new();
    let run = with(&world, &[("cache", REDIS)], "trap '' TERM; echo up; sleep 600").await;
    let order = world.order(&run, Stage::Test, 1);
    world.execute_until(&order, "up").await;
    world.stages.undo(&order).await.unwrap();
    assert!(world.containers().is_empty() && world.networks().is_empty());
    world.stages.undo(&order).await.unwrap();
}

#[tokio::test]
async fn what_a_dead_engine_left_of_a_run_that_is_over_is_swept() {
    let world = World::new();
    let run = with(&world, &[("cache", REDIS)], "echo up; sleep 600").await;
    let order = world.order(&run, Stage::Test, 1);
    world.execute_until(&order, "up").await;
    let keep = |runs: &[&Run]| Keep {
        log_id: order.log_id,
        as_of_ms: now_ms() + 3_600_000,
        runs: runs.iter().map(|run| run.id).collect(),
        ..Keep::default()
    };
    assert_eq!(world.stages.sweep(&keep(&[&run])).await.unwrap(), [""; 0], "the run is open");
    assert_eq!(world.containers().len(), 2);
    let swept = world.stages.sweep(&keep(&[])).await.unwrap();
    assert!(world.containers().is_empty() && world.networks().is_empty(), "{swept:?}");
    assert!(swept.iter().any(|line| line.starts_with("network landfall-network-")), "{swept:?}");
}

#[tokio::test]
async fn tests_on_the_machine_itself_can_have_no_services() {
    let world = World::new();
    let mut run = with(&world, &[("cache", REDIS)], "true").await;
    settings(&mut run, |settings| settings.test.host = true);
    let failure = failure(world.tested_run(&run).await.0);
    assert!(failure.reason.contains("take `host = true` out of `[test]`"), "{}", failure.reason);
}
