//! The release command, in an image that is known by its digest.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use landfall_engine::core::command::Outcome;
use landfall_engine::core::facts::Facts;
use landfall_engine::core::run::Run;
use landfall_engine::core::settings::ReleaseSettings;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{Probe, StageExecutor};

use crate::world::{Lines, World, docker, failure, ran, settings, with_image};

/// A registry with one tiny image in it: this machine's shell and what that needs.
struct Registry {
    server: Child,
    repository: String,
    digest: String,
    _dir: tempfile::TempDir,
}

impl Registry {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: \"127.0.0.1:{port}\"}}\n",
            dir.path().join("images").display()
        );
        std::fs::write(&config, text).unwrap();
        let mut serve = Command::new("docker-registry");
        serve.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let server = serve.spawn().unwrap();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let repository = format!("127.0.0.1:{port}/shop");
        let files =
            "{ echo /bin/sh; command -v sleep; ldd /bin/sh \"$(command -v sleep)\" | grep -o '/[^ :]*'; }";
        let pack = format!("{files} | sort -u | tar -chPf - -T - | docker import - {repository}:1");
        ran(Command::new("sh").args(["-c", &pack]));
        docker(&["push", "-q", &format!("{repository}:1")]);
        let digest = docker(&["inspect", "-f", "{{index .RepoDigests 0}}", &format!("{repository}:1")]);
        docker(&["rmi", "-f", &format!("{repository}:1")]);
        let digest = digest.rsplit_once('@').unwrap().1.to_owned();
        Self { server, repository, digest, _dir: dir }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = Command::new("docker")
            .args(["rmi", "-f", &format!("{}@{}", self.repository, self.digest)])
            .output();
    }
}

async fn released(world: &World, registry: &Registry, command: &str) -> Run {
    let mut run = world.checked_out(&[("app.py", "")]).await;
    settings(&mut run, |settings| {
        settings.registry.server = registry.repository.trim_end_matches("/shop").to_owned();
        settings.env.clear.insert("STAGE".into(), "production".into());
        settings.env.secret = vec!["DATABASE_URL".into()];
        settings.release = Some(ReleaseSettings { command: command.into(), timeout_ms: 60_000 });
    });
    with_image(&mut run, &registry.repository, &registry.digest);
    run
}

#[tokio::test]
async fn the_release_command_runs_once_and_its_end_is_found_again() {
    let (world, registry) = (World::new(), Registry::start());

    // Green, with the app's environment; pulled by digest, since the tag is gone from this machine.
    let run = released(&world, &registry, r#"echo "$STAGE ${#DATABASE_URL} $GIT_REV""#).await;
    let order = world.order(&run, Stage::ReleaseCommand, 1);
    match world.stages.probe(&order).await.unwrap() {
        Probe::Unknown(evidence) => assert!(evidence.contains("can't be told"), "{evidence}"),
        other => panic!("{other:?}"),
    }
    let lines = Lines::default();
    let outcome = world.stages.execute(&order, &lines.output()).await;
    assert_eq!(outcome, Outcome::Succeeded(Facts::ReleaseCommand), "{:?}", lines.all());
    assert!(lines.all().contains(&format!("production 17 {}", run.commit().sha)), "{:?}", lines.all());
    assert_eq!(world.stages.probe(&order).await.unwrap(), Probe::Done(outcome));

    // A next attempt takes what the first one did for its own.
    let second = world.order(&run, Stage::ReleaseCommand, 2);
    world.stages.undo(&order).await.unwrap();
    let outcome = world.stages.execute(&second, &Lines::default().output()).await;
    assert_eq!(outcome, Outcome::Succeeded(Facts::ReleaseCommand));
    assert_eq!(world.containers().len(), 1);

    // Red, with the last line.
    let run = released(&world, &registry, "echo migrating; echo 'no such table' >&2; exit 4").await;
    let order = world.order(&run, Stage::ReleaseCommand, 1);
    let failure = failure(world.stages.execute(&order, &Lines::default().output()).await);
    assert!(failure.reason.contains("exit code 4: no such table"), "{}", failure.reason);

    // An exit code of its own, though it is that of a command that a restart of Docker ended.
    let run = released(&world, &registry, "exit 143").await;
    let order = world.order(&run, Stage::ReleaseCommand, 1);
    let failure = crate::world::failure(world.stages.execute(&order, &Lines::default().output()).await);
    assert!(failure.reason.contains("exit code 143"), "{}", failure.reason);

    // Ended from outside, with the same one.
    let run = released(&world, &registry, "echo up; exec sleep 60").await;
    let order = world.order(&run, Stage::ReleaseCommand, 1);
    world.execute_until(&order, "up").await;
    let name = world.containers().into_iter().find(|name| name.contains(&run.id.short().to_string()));
    docker(&["stop", &name.unwrap()]);
    match world.stages.probe(&order).await.unwrap() {
        Probe::Done(Outcome::Errored { reason, .. }) => assert!(reason.contains("exit code 143"), "{reason}"),
        other => panic!("{other:?}"),
    }

    // A secret that nobody gave.
    let mut run = released(&world, &registry, "true").await;
    settings(&mut run, |settings| settings.env.secret = vec!["NOBODY_SET_THIS".into()]);
    let order = world.order(&run, Stage::ReleaseCommand, 1);
    let failure = crate::world::failure(world.stages.execute(&order, &Lines::default().output()).await);
    assert!(failure.reason.contains("NOBODY_SET_THIS"), "{}", failure.reason);

    // Cut off and left running: it is not stopped while it has time, and the next attempt follows it.
    let run = released(&world, &registry, "echo up; sleep 2; echo over").await;
    let order = world.order(&run, Stage::ReleaseCommand, 1);
    world.execute_until(&order, "up").await;
    assert_eq!(world.stages.probe(&order).await.unwrap(), Probe::Running);
    world.stages.undo(&order).await.unwrap();
    let lines = Lines::default();
    let second = world.order(&run, Stage::ReleaseCommand, 2);
    let outcome = world.stages.execute(&second, &lines.output()).await;
    assert_eq!(outcome, Outcome::Succeeded(Facts::ReleaseCommand));
    assert_eq!(lines.all().last().map(String::as_str), Some("over"));
}

#[tokio::test]
async fn an_image_that_can_not_take_the_source_is_said() {
    let (world, registry) = (World::new(), Registry::start());
    let mut run = world.checked_out(&[("app.py", "")]).await;
    settings(&mut run, |settings| {
        settings.test.image = format!("{}@{}", registry.repository, registry.digest);
        settings.test.command = "true".into();
    });
    let failure = failure(world.tested_run(&run).await.0);
    assert!(failure.reason.contains("has no `tar`"), "{}", failure.reason);
}
