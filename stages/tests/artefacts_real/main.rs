//! Build, push, deploy and sweep, on the machine's own Docker engine and a registry with a password.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod confined;
mod world;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use landfall_engine::core::command::Outcome;
use landfall_engine::core::event::Origin;
use landfall_engine::core::facts::Facts;
use landfall_engine::core::lane::Release;
use landfall_engine::core::run::RunId;
use landfall_engine::core::settings::SecretName;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{Keep, Probe, StageExecutor};
use uuid::Uuid;
use world::{World, docker, failure};

const DOCKERFILE: &str = "FROM python:3.12-slim\nWORKDIR /app\nCOPY app.py .\nCMD [\"python\", \"app.py\"]\n";

/// Shows its environment; is as healthy as its first line says.
const APP: &str = r#"
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
STATUS = 200

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        shown = {"host": self.headers["host"], **os.environ}
        self.send_response(STATUS)
        self.end_headers()
        self.wfile.write(json.dumps(shown).encode())

    def log_message(self, format, *args):
        print("asked for", self.path, flush=True)

HTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"#;

async fn world() -> World {
    World::new(&[("Dockerfile", DOCKERFILE), ("app.py", APP)]).await.with_registry()
}

#[tokio::test]
async fn a_source_becomes_a_healthy_candidate_and_nothing_is_done_twice() {
    let mut world = world().await;
    world.settings.env.clear.insert("COLOUR".into(), "green".into());
    world.settings.env.secret.push("API_TOKEN".into());
    world.settings.proxy.host = Some("shop.test".into());
    world.settings.deploy.memory_mb = Some(128);

    assert_eq!(world.probe(Stage::Build).await, Probe::NotStarted);
    let built = world.execute(Stage::Build).await;
    assert_eq!(world.probe(Stage::Build).await, Probe::Done(built.clone()));
    world.keep(built);
    let printed = world.printed();
    assert!(printed.contains("[3/3] COPY app.py .") && printed.contains("DONE"), "{printed}");

    assert_eq!(world.probe(Stage::PushImage).await, Probe::NotStarted);
    let pushed = world.execute(Stage::PushImage).await;
    assert_eq!(world.probe(Stage::PushImage).await, Probe::Done(pushed.clone()));
    assert_eq!(world.execute(Stage::PushImage).await, pushed);
    assert!(world.printed().contains("is in the registry already"), "{}", world.printed());
    world.keep(pushed);
    let image = world.run.image.clone().unwrap();
    let reference = world.run.built.clone().unwrap().reference;
    let digests = docker(&["inspect", "--format", "{{json .RepoDigests}}", &reference]);
    assert!(digests.contains(&image.by_digest()), "{digests} has no {}", image.by_digest());

    // As on another machine: the image has to come from the registry, with the password.
    docker(&["rmi", &reference]);
    assert_eq!(world.probe(Stage::Deploy).await, Probe::NotStarted);
    let deployed = world.execute(Stage::Deploy).await;
    world.keep(deployed);
    let candidate = world.run.candidate.clone().unwrap();
    assert!(matches!(world.probe(Stage::Deploy).await, Probe::Done(Outcome::Succeeded(Facts::Deploy(_)))));
    let Outcome::Succeeded(Facts::Deploy(again)) = world.execute(Stage::Deploy).await else {
        panic!("the second deploy did not succeed")
    };
    assert_eq!(again.container_id, candidate.container_id);

    let seen: serde_json::Value =
        reqwest::get(format!("http://{}/", candidate.address)).await.unwrap().json().await.unwrap();
    for (name, value) in [
        ("PORT", "8000"),
        ("COLOUR", "green"),
        ("API_TOKEN", "t0p-s3cret-t0ken"),
        ("GIT_REV", &world.run.commit().sha),
        ("LANDFALL_RUN", &world.run.id.to_string()),
    ] {
        assert_eq!(seen[name], value, "{name}");
    }
    let host_config = docker(&["inspect", "--format", "{{json .HostConfig}}", &candidate.container]);
    for set in [r#""Memory":134217728"#, r#""Init":true"#, "no-new-privileges", r#""max-size":"20m""#] {
        assert!(host_config.contains(set), "{set} is not in {host_config}");
    }
    let config = docker(&["inspect", "--format", "{{json .Config.Image}}", &candidate.container]);
    assert!(config.contains(&image.by_digest()), "{config}");
}

#[tokio::test]
async fn the_address_of_a_candidate_survives_a_restart_and_undo_removes_it_unless_it_has_the_traffic() {
    let mut world = world().await;
    world.publish().await;
    let deployed = world.execute(Stage::Deploy).await;
    world.keep(deployed);
    let candidate = world.run.candidate.clone().unwrap();
    docker(&["restart", "-t", "1", &candidate.container]);
    let Outcome::Succeeded(Facts::Deploy(again)) = world.execute(Stage::Deploy).await else {
        panic!("it did not come back")
    };
    assert_eq!((again.address, again.container_id), (candidate.address, candidate.container_id));

    let order = world.order(Stage::Deploy, 1);
    world.route("shop", None, Some(candidate.address));
    let reason = world.stages.undo(&order).await.unwrap_err();
    assert!(reason.contains("has the app's traffic"), "{reason}");
    world.routes.lock().unwrap().clear();
    world.stages.undo(&order).await.unwrap();
    world.stages.undo(&order).await.unwrap();
    assert_eq!(world.probe(Stage::Deploy).await, Probe::NotStarted);
}

#[tokio::test]
async fn a_release_that_is_still_warm_is_taken_over_and_one_that_is_gone_is_made_anew() {
    let mut world = world().await;
    world.publish().await;
    let deployed = world.execute(Stage::Deploy).await;
    world.keep(deployed);
    let release = Release {
        run: world.run.id,
        commit: world.run.commit().clone(),
        image: world.run.image.clone().unwrap(),
        candidate: world.run.candidate.clone().unwrap(),
        live_at_ms: 0,
    };
    docker(&["stop", &release.candidate.container]);
    world.run.id = RunId(Uuid::now_v7());
    world.run.origin = Origin::Release {
        release: Box::new(release.clone()),
        settings: Box::new(world.settings.clone()),
        reason: "by hand".into(),
    };
    let Outcome::Succeeded(Facts::Deploy(warm)) = world.execute(Stage::Deploy).await else {
        panic!("it was not taken over: {}", world.printed())
    };
    assert_eq!(warm.container_id, release.candidate.container_id);
    assert_eq!(warm.address, release.candidate.address);
    // It was not made by this run, so undoing this run's deploy leaves it.
    world.stages.undo(&world.order(Stage::Deploy, 1)).await.unwrap();
    assert_eq!(docker(&["inspect", "--format", "{{.State.Running}}", &warm.container]), "true");

    // Somebody took its port while it was down.
    docker(&["stop", &warm.container]);
    let taken = TcpListener::bind(warm.address).unwrap();
    let Outcome::Succeeded(Facts::Deploy(beside)) = world.execute(Stage::Deploy).await else {
        panic!("it was not made beside the old one: {}", world.printed())
    };
    assert_ne!(beside.address, warm.address);
    drop(taken);
    world.stages.undo(&world.order(Stage::Deploy, 1)).await.unwrap();

    docker(&["rm", "-f", &warm.container]);
    let Outcome::Succeeded(Facts::Deploy(new)) = world.execute(Stage::Deploy).await else {
        panic!("it was not made anew: {}", world.printed())
    };
    assert_ne!(new.container_id, release.candidate.container_id);
    let config = docker(&["inspect", "--format", "{{.Config.Image}}", &new.container]);
    assert_eq!(config, release.image.by_digest());
}

#[tokio::test]
async fn a_flask_app_without_a_dockerfile_gets_one_and_runs() {
    let app =
        "from flask import Flask\n\napp = Flask(__name__)\n\n@app.get('/')\ndef page():\n    return 'ok'\n";
    let mut world = World::new(&[("app.py", app), ("requirements.txt", "flask\n")]).await.with_registry();
    world.publish().await;
    assert!(world.run.built.as_ref().unwrap().generated_dockerfile);
    assert!(world.printed().contains("    FROM python:3.12-slim"), "{}", world.printed());
    assert!(matches!(
        world.probe(Stage::Build).await,
        Probe::Done(Outcome::Succeeded(Facts::Build(built))) if built.generated_dockerfile
    ));
    let deployed = world.execute(Stage::Deploy).await;
    world.keep(deployed);
}

#[tokio::test]
async fn what_dockerignore_names_is_not_in_the_image() {
    let mut world = World::new(&[
        ("Dockerfile", "FROM python:3.12-slim\nCOPY . /src\n"),
        (".dockerignore", ".dockerignore\nsecret\n**/*.pyc\nkeep\n!keep/this"),
        ("secret/key", ""),
        ("a/b.pyc", ""),
        ("a/b.py", ""),
        ("keep/this", ""),
        ("keep/that", ""),
    ])
    .await;
    let built = world.execute(Stage::Build).await;
    world.keep(built);
    let image = world.run.built.clone().unwrap().image_id;
    let found = docker(&["run", "--rm", &image, "find", "/src"]);
    let found: BTreeSet<&str> = found.lines().filter_map(|line| line.strip_prefix("/src/")).collect();
    assert_eq!(found, BTreeSet::from(["Dockerfile", "a", "a/b.py", "keep", "keep/this"]));
}

#[tokio::test]
async fn a_dockerfile_that_does_not_parse_is_red_and_says_where() {
    let world = World::new(&[("Dockerfile", "FROM python:3.12-slim\n\nRUNN true\n")]).await;
    let failure = failure(world.execute(Stage::Build).await);
    assert!(failure.reason.contains("line 3") && failure.reason.contains("RUNN"), "{failure:?}");
    assert_eq!(world.probe(Stage::Build).await, Probe::NotStarted);
}

#[tokio::test]
async fn a_step_that_fails_is_red_with_its_last_lines() {
    let world = World::new(&[(
        "Dockerfile",
        "FROM python:3.12-slim\nRUN exec 2>&1; echo before; echo the cause; exit 3\n",
    )])
    .await;
    let failure = failure(world.execute(Stage::Build).await);
    assert!(failure.reason.ends_with("echo the cause; exit 3: exit code: 3"), "{failure:?}");
    assert_eq!(failure.tail, ["before", "the cause"]);
    assert!(world.printed().contains("the cause"));
}

#[tokio::test]
async fn a_dockerfile_that_is_configured_and_missing_is_red() {
    let mut world = World::new(&[("Dockerfile", DOCKERFILE)]).await;
    world.settings.build.dockerfile = "docker/Web".into();
    let failure = failure(world.execute(Stage::Build).await);
    assert!(failure.reason.contains("docker/Web"), "{failure:?}");
}

#[tokio::test]
async fn build_arguments_and_labels_reach_the_image_and_secrets_do_not() {
    let dockerfile = "FROM python:3.12-slim\nARG COLOUR\nRUN --mount=type=secret,id=API_TOKEN \
                      echo \"$COLOUR\" $(wc -c < /run/secrets/API_TOKEN) > /seen\n";
    let mut world = World::new(&[("Dockerfile", dockerfile)]).await;
    world.settings.build.args.insert("COLOUR".into(), "green".into());
    world.settings.build.secrets = vec![SecretName::from("API_TOKEN")];
    let outcome = world.execute(Stage::Build).await;
    world.keep(outcome);
    let image = world.run.built.clone().unwrap().image_id;
    assert_eq!(docker(&["run", "--rm", &image, "cat", "/seen"]), "green 16");
    let known = docker(&["inspect", &image]) + &docker(&["history", "--no-trunc", &image]);
    assert!(known.contains(&world.run.commit().sha) && known.contains(&world.run.id.to_string()), "{known}");
    assert!(!known.contains("t0p-s3cret"), "{known}");
    let left: Vec<_> = std::fs::read_dir(world.work_dir()).unwrap().collect();
    assert_eq!(left.len(), 1, "something was left beside the source: {left:?}");

    world.run.id = RunId(Uuid::now_v7());
    world.write("Dockerfile", "FROM python:3.12-slim\nRUN echo no; exit 4\n");
    let failure = failure(world.execute(Stage::Build).await);
    assert!(failure.reason.contains("exit code: 4"), "{failure:?}");
}

#[tokio::test]
async fn a_build_that_is_given_up_leaves_nothing() {
    let world = World::new(&[("Dockerfile", "FROM python:3.12-slim\nRUN echo begun; sleep 600\n")]).await;
    {
        let order = world.order(Stage::Build, 1);
        let output = world.output();
        let mut building = world.stages.execute(&order, &output);
        let begun = async {
            while !world.printed().contains("begun") {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            outcome = &mut building => panic!("it ended: {outcome:?}"),
            () = begun => {}
        }
    }
    world.stages.undo(&world.order(Stage::Build, 1)).await.unwrap();
    assert_eq!(world.probe(Stage::Build).await, Probe::NotStarted);
}

#[tokio::test]
async fn a_registry_that_refuses_the_password_is_red_and_one_that_is_away_is_no_answer() {
    let mut world = World::new(&[("Dockerfile", DOCKERFILE), ("app.py", APP)]).await.with_own_registry();
    let built = world.execute(Stage::Build).await;
    world.keep(built);
    let settings = world.settings.registry.clone();

    world.settings.registry.password = Some("WRONG_PASSWORD".into());
    let refused = failure(world.execute(Stage::PushImage).await);
    assert!(refused.reason.contains("WRONG_PASSWORD") && refused.reason.contains("refused"), "{refused:?}");
    assert!(!refused.reason.contains("not-the-password"), "{refused:?}");

    world.settings.registry.password = Some("NO_SUCH_SECRET".into());
    let missing = failure(world.execute(Stage::PushImage).await);
    assert!(missing.reason.contains("NO_SUCH_SECRET"), "{missing:?}");

    world.settings.registry.username = None;
    world.settings.registry.password = None;
    let anonymous = failure(world.execute(Stage::PushImage).await);
    assert!(anonymous.reason.contains("none is known"), "{anonymous:?}");

    world.settings.registry = settings;
    world.stop_registry();
    let outcome = world.execute(Stage::PushImage).await;
    assert!(matches!(&outcome, Outcome::Errored { reason } if reason.contains("127.0.0.1")), "{outcome:?}");
    assert!(world.stages.probe(&world.order(Stage::PushImage, 1)).await.is_err());
}

#[tokio::test]
async fn an_app_that_ends_at_once_is_red_at_once_with_its_last_lines() {
    let mut world = world().await;
    world.write("app.py", "import sys\nprint('no database', file=sys.stderr)\nsys.exit(7)\n");
    world.publish().await;
    let begun = Instant::now();
    let failure = failure(world.execute(Stage::Deploy).await);
    assert!(failure.reason.contains("exit code 7"), "{failure:?}");
    assert!(failure.tail.iter().all(|line| line == "no database") && !failure.tail.is_empty(), "{failure:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    assert!(matches!(world.probe(Stage::Deploy).await, Probe::Done(Outcome::Failed(_))));
    world.stages.undo(&world.order(Stage::Deploy, 1)).await.unwrap();
    assert_eq!(world.probe(Stage::Deploy).await, Probe::NotStarted);
}

#[tokio::test]
async fn an_app_that_never_gets_healthy_is_red_with_what_it_answered() {
    let mut world = world().await;
    world.settings.deploy.timeout_ms = 1_500;
    world.settings.proxy.healthcheck.path = "/healthz".into();
    world.write("app.py", &APP.replace("STATUS = 200", "STATUS = 503"));
    world.publish().await;
    let failure = failure(world.execute(Stage::Deploy).await);
    assert!(failure.reason.contains("503") && failure.reason.contains("/healthz"), "{failure:?}");
    assert!(failure.tail.iter().any(|line| line == "asked for /healthz"), "{failure:?}");
    assert_eq!(world.probe(Stage::Deploy).await, Probe::Running);
    world.stages.undo(&world.order(Stage::Deploy, 1)).await.unwrap();
}

#[tokio::test]
async fn an_app_that_wants_too_much_memory_is_told_so() {
    let mut world = world().await;
    world.settings.deploy.memory_mb = Some(32);
    world.write("app.py", "x = bytearray(256 * 1024 * 1024)\n");
    world.publish().await;
    let failure = failure(world.execute(Stage::Deploy).await);
    assert!(failure.reason.contains("137") && failure.reason.contains("[deploy] memory"), "{failure:?}");
}

#[tokio::test]
async fn a_command_that_is_not_in_the_image_is_red() {
    let mut world = world().await;
    world.write("Dockerfile", "FROM python:3.12-slim\nCMD [\"no-such-command\"]\n");
    world.publish().await;
    let failure = failure(world.execute(Stage::Deploy).await);
    assert!(failure.reason.contains("exit code 127"), "{failure:?}");
    assert!(failure.tail.iter().any(|line| line.contains("no-such-command")), "{failure:?}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_left_to_whoever_has_it() {
    let mut world = world().await;
    world.publish().await;
    let mut bytes = *world.run.id.0.as_bytes();
    // The last two bytes say where the search begins.
    bytes[14..].copy_from_slice(&7_777_u16.to_be_bytes());
    world.run.id = RunId(Uuid::from_bytes(bytes));
    let _taken = TcpListener::bind("127.0.0.1:27777").unwrap();
    let deployed = world.execute(Stage::Deploy).await;
    world.keep(deployed);
    assert_eq!(world.run.candidate.as_ref().unwrap().address.port(), 27_778);
}

#[tokio::test]
async fn a_host_that_another_app_has_is_refused_before_anything_is_made() {
    let mut world = world().await;
    world.settings.proxy.host = Some("Shop.test".into());
    world.route("blog", Some("shop.test"), Some(([127, 0, 0, 1], 9).into()));
    let failure = failure(world.execute(Stage::Deploy).await);
    assert!(failure.reason.contains("blog/production"), "{failure:?}");
    assert_eq!(world.probe(Stage::Deploy).await, Probe::NotStarted);
}

#[tokio::test]
async fn a_sweep_removes_what_nobody_owns_and_nothing_else() {
    let mut world = World::new(&[]).await.with_registry();
    // Of long ago: a young run's things are left alone.
    world.run.id = RunId(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1_700_000_000, 0)));
    world.write("Dockerfile", DOCKERFILE);
    world.write("app.py", APP);
    world.publish().await;
    let deployed = world.execute(Stage::Deploy).await;
    world.keep(deployed);
    let candidate = world.run.candidate.clone().unwrap();
    let image = world.run.image.clone().unwrap();

    let open = Keep { runs: [world.run.id].into(), ..Keep::default() };
    assert_eq!(world.sweep(open).await, [""; 0]);
    let live = Keep {
        containers: [candidate.container.clone()].into(),
        images: [image.by_digest()].into(),
        ..Keep::default()
    };
    assert_eq!(world.sweep(live).await, [format!("folder {}", world.work_dir().display())]);
    world.route("shop", None, Some(candidate.address));
    assert_eq!(world.sweep(Keep::default()).await, [""; 0], "what the proxy routes to was swept");
    world.routes.lock().unwrap().clear();

    let foreign = Keep { log_id: Uuid::new_v4(), as_of_ms: u64::MAX, ..Keep::default() };
    assert_eq!(world.stages.sweep(&foreign).await.unwrap(), [""; 0]);
    let retained = Keep { images: [image.by_digest()].into(), ..Keep::default() };
    assert_eq!(world.sweep(retained).await, [format!("container {}", candidate.container)]);
    assert_eq!(world.sweep(Keep::default()).await, [format!("image {}:{}", image.repository, image.tag)]);
    assert_eq!(world.sweep(Keep::default()).await, [""; 0]);
    let label = format!("label=landfall.log={}", world.log_id);
    assert_eq!(docker(&["images", "-aq", "--filter", &label]), "");
}
