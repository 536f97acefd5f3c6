//! What an app's container may do, may take and is given: as Docker tells it, and as it is seen from inside.

use landfall_engine::core::command::Outcome;
use landfall_engine::core::settings::ReleaseSettings;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::StageExecutor;
use serde_json::{Value, json};

use crate::APP;
use crate::world::{SIGNING_KEY, World, docker, failure};

/// Runs as nobody in particular, as an app should.
const DOCKERFILE: &str =
    "FROM python:3.12-slim\nWORKDIR /app\nCOPY app.py .\nUSER 1000\nCMD [\"python\", \"app.py\"]\n";

/// CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID and NET_BIND_SERVICE, as the kernel counts them.
const CAPABILITIES: &str = "00000000000004eb";

async fn world() -> World {
    let mut world = World::new(&[("Dockerfile", DOCKERFILE), ("app.py", APP)]).await.with_registry();
    world.settings.env.files.insert("/run/secrets/key.pem".into(), "SIGNING_KEY".into());
    world.settings.env.files.insert("/srv/made/for/it/token".into(), "API_TOKEN".into());
    world
}

async fn deployed(world: &mut World) -> String {
    world.publish().await;
    let outcome = world.execute(Stage::Deploy).await;
    world.keep(outcome);
    world.run.candidate.clone().unwrap().container
}

fn inspected(container: &str) -> Value {
    let text = docker(&["inspect", container]);
    serde_json::from_str::<Value>(&text).unwrap()[0].clone()
}

/// Runs a command in a container and returns what it prints on both streams.
fn inside(container: &str, user: &str, command: &str) -> String {
    docker(&["exec", "--user", user, container, "sh", "-c", &format!("exec 2>&1; {command}")])
}

#[tokio::test]
async fn an_app_has_its_limits_few_capabilities_and_secrets_in_files_that_nobody_inspects() {
    let mut world = world().await;
    world.settings.deploy.memory_mb = Some(128);
    world.settings.deploy.cpu_millis = Some(500);
    world.settings.deploy.pids = 200;
    let container = deployed(&mut world).await;

    let host = &inspected(&container)["HostConfig"];
    let kept = json!(["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"]);
    for (name, expected) in [
        ("CapDrop", json!(["ALL"])),
        ("CapAdd", kept),
        ("SecurityOpt", json!(["no-new-privileges"])),
        ("Privileged", json!(false)),
        ("PidsLimit", json!(200)),
        ("Memory", json!(128 << 20)),
        ("MemorySwap", json!(128 << 20)),
        ("CpuPeriod", json!(100_000)),
        ("CpuQuota", json!(50_000)),
        ("ReadonlyRootfs", json!(false)),
    ] {
        assert_eq!(host[name], expected, "{name}");
    }
    let status = inside(&container, "0", "grep -E 'CapBnd|NoNewPrivs' /proc/self/status");
    assert!(status.contains(CAPABILITIES) && status.contains("NoNewPrivs:\t1"), "{status}");

    assert_eq!(inside(&container, "1000", "cat /run/secrets/key.pem"), SIGNING_KEY.trim());
    assert_eq!(inside(&container, "1000", "cat /srv/made/for/it/token"), "t0p-s3cret-t0ken");
    let modes = inside(&container, "1000", "stat -c '%a %u' /run/secrets/key.pem /run/secrets /srv/made/for");
    assert_eq!(modes, "444 0\n755 0\n755 0");
    let denied = inside(&container, "1000", "echo x >/run/secrets/key.pem; echo x >/run/secrets/other");
    assert_eq!(denied.matches("Permission denied").count(), 2, "{denied}");

    docker(&["restart", "-t", "1", &container]);
    assert_eq!(inside(&container, "1000", "cat /srv/made/for/it/token"), "t0p-s3cret-t0ken");
    let image = world.run.built.clone().unwrap().image_id;
    let known = docker(&["inspect", &container])
        + &docker(&["inspect", &image])
        + &docker(&["history", "--no-trunc", &image]);
    assert!(
        known.contains("CapDrop") && !known.contains("t0p-s3cret") && !known.contains("c2lnbmluZy"),
        "{known}"
    );
}

#[tokio::test]
async fn a_read_only_app_writes_to_tmp_alone_keeps_its_secret_files_and_leaves_no_volume() {
    let mut world = world().await;
    world.settings.deploy.read_only = true;
    let container = deployed(&mut world).await;
    let refused = inside(&container, "0", "touch /app/x /etc/x /run/x");
    assert_eq!(refused.matches("Read-only file system").count(), 3, "{refused}");
    assert_eq!(inside(&container, "1000", "touch /tmp/x && echo written"), "written");
    for _ in 0..2 {
        assert_eq!(inside(&container, "1000", "cat /run/secrets/key.pem"), SIGNING_KEY.trim());
        assert_eq!(inside(&container, "1000", "cat /srv/made/for/it/token"), "t0p-s3cret-t0ken");
        docker(&["restart", "-t", "1", &container]);
    }
    let mounts = inspected(&container)["Mounts"].clone();
    let volumes: Vec<&str> =
        mounts.as_array().unwrap().iter().filter_map(|mount| mount["Name"].as_str()).collect();
    assert_eq!(volumes.len(), 2, "{mounts}");
    world.stages.undo(&world.order(Stage::Deploy, 1)).await.unwrap();
    for volume in volumes {
        assert_eq!(docker(&["volume", "ls", "-q", "--filter", &format!("name={volume}")]), "", "it is left");
    }
}

#[tokio::test]
async fn a_release_command_has_the_secret_files_and_what_it_shows_of_them_is_masked() {
    let mut world = world().await;
    world.publish().await;
    let command = "wc -l </run/secrets/key.pem; cat /run/secrets/key.pem; grep CapBnd /proc/self/status";
    world.settings.release = Some(ReleaseSettings { command: command.into(), timeout_ms: 60_000 });
    let outcome = world.execute(Stage::ReleaseCommand).await;
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?} {}", world.printed());
    let printed = world.printed();
    assert!(printed.contains(&format!("{}\n***\n", SIGNING_KEY.lines().count())), "{printed}");
    // Of somebody who is not root nothing is left at all; the bound is the same.
    assert!(printed.contains(CAPABILITIES) && !printed.contains("c2lnbmluZy"), "{printed}");
}

#[tokio::test]
async fn a_secret_that_is_missing_for_a_file_is_red_before_anything_is_made() {
    let mut world = world().await;
    world.publish().await;
    world.settings.env.files.insert("/run/secrets/other".into(), "NOT_SET".into());
    let failure = failure(world.execute(Stage::Deploy).await);
    assert!(failure.reason.starts_with("`[env] files`: the secret NOT_SET is not set"), "{failure:?}");
    assert_eq!(docker(&["ps", "-aq", "--filter", &format!("label=landfall.log={}", world.log_id)]), "");
}

#[tokio::test]
async fn a_build_argument_that_holds_a_secret_is_refused_and_nothing_is_built() {
    let mut world = world().await;
    world.settings.build.args.insert("INDEX".into(), "https://ci:t0p-s3cret-t0ken@pypi.test/".into());
    let failure = failure(world.execute(Stage::Build).await);
    let said = &failure.reason;
    assert!(said.starts_with("`[build] args` has the value of the secret API_TOKEN in INDEX"), "{said}");
    assert!(!said.contains("t0p-s3cret") && world.printed().is_empty(), "{said}");
    assert_eq!(docker(&["images", "-q", "--filter", &format!("label=landfall.log={}", world.log_id)]), "");
}
