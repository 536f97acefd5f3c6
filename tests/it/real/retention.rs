//! What is pruned on a real Docker is never what a rollback needs; what is backed up while a server runs restores.

use serde_json::Value;
use tempfile::TempDir;

use crate::real::yard::{App, Server, Yard, docker, said, sh, wait_for};

/// Returns the images of this log, by tag.
fn images(yard: &Yard) -> Vec<String> {
    let filter = format!("label=landfall.log={}", yard.log_id().unwrap());
    let listed = docker(&["images", "--filter", &filter, "--format", "{{.Repository}}:{{.Tag}}"]);
    listed.lines().filter(|name| !name.ends_with(":<none>")).map(str::to_owned).collect()
}

#[test]
fn after_a_prune_every_retained_release_can_be_rolled_back_to() {
    let yard = Yard::new();
    let app = App::new(yard.registry.address);
    app.edit("landfall.toml", |text| text.replace("[deploy]", "[deploy]\nretain = 1"));
    let server = Server::start(&yard);
    let (mut versions, mut runs) = (Vec::new(), Vec::new());
    for version in ["1.0.0", "2.0.0", "3.0.0"] {
        versions.push(app.version(version));
        let pushed = app.push(&server);
        assert!(pushed.status.success(), "{}", said(&pushed));
        let run = server.ended();
        assert_eq!(run["state"], "live", "{run}");
        runs.push(run["id"].as_str().unwrap().to_owned());
    }
    let place = TempDir::new().unwrap();
    let archive = place.path().join("old.tar");
    let prune = |more: &[&str]| -> Value {
        let args = [&["prune", "--older-than", "0s", "--keep", "0", "--json"], more].concat();
        serde_json::from_str(&sh(yard.landfall().args(args))).unwrap()
    };
    let plan = prune(&["--dry-run"]);
    assert_eq!(plan["runs"].as_array().unwrap().len(), 1, "{plan}");
    assert_eq!(
        plan["runs"][0]["run_id"],
        runs[0].as_str(),
        "the live one and the one before it stay: {plan}"
    );
    // Kept by a label of ours, and needed by nobody: what an interrupted build leaves.
    let leftover = format!("{}/leftover:run-of-nobody", yard.registry.address);
    let base = docker(&["create", "--label", "x=y", "python:3.12-slim", "true"]);
    let log = format!("LABEL landfall.log={} landfall.run={}", yard.log_id().unwrap(), runs[0]);
    docker(&["commit", "--change", &log, &base, &leftover]);
    docker(&["rm", &base]);
    let plan = prune(&["--dry-run"]);
    assert!(plan["swept"].to_string().contains(&leftover), "{plan}");
    assert!(images(&yard).contains(&leftover), "a dry run removes nothing");

    let done = prune(&["--archive", archive.to_str().unwrap()]);
    assert_eq!(
        (done["runs"][0]["run_id"].as_str(), done["unfinished"].as_array().unwrap().len()),
        (Some(&*runs[0]), 0)
    );
    let left = images(&yard);
    assert!(!left.contains(&leftover), "{left:?}");
    let listed = sh(std::process::Command::new("tar").arg("-tf").arg(&archive));
    assert!(listed.contains(&format!("{}/test-1.log", runs[0])), "{listed}");
    let logs = yard.landfall().args(["logs", &runs[0], "--stage", "test"]).output().unwrap();
    assert!(
        logs.stdout.is_empty() && said(&logs).contains("the output of test was pruned on"),
        "{}",
        said(&logs)
    );
    let kept = sh(yard.landfall().args(["logs", &runs[1], "--stage", "test"]));
    assert!(kept.contains("passed"), "{kept}");

    // A backup of the running server, restored elsewhere, tells the same; no server starts on it unasked.
    let (backup, copy) = (place.path().join("backup.tar"), place.path().join("copy"));
    sh(yard.landfall().arg("backup").arg(&backup));
    sh(yard.landfall().arg("restore").arg(&backup).arg("--data").arg(&copy));
    for run in &runs {
        let elsewhere = sh(yard.landfall().args(["replay", run, "--data"]).arg(&copy));
        assert_eq!(elsewhere, sh(yard.landfall().args(["replay", run])));
    }
    let refused =
        yard.landfall().args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&copy).output().unwrap();
    assert!(!refused.status.success() && said(&refused).contains("--take-over"), "{}", said(&refused));

    // The warm container would make the rollback too easy: without it the image is needed.
    for name in yard.containers() {
        if !docker(&["inspect", "--format", "{{.Config.Labels}}", &name]).contains(&runs[2]) {
            docker(&["rm", "--force", &name]);
        }
    }
    let back = yard.landfall().args(["rollback", "hello"]).output().unwrap();
    assert!(back.status.success(), "{}", said(&back));
    assert_eq!(yard.serves().as_deref(), Some(&*versions[1]));
    prune(&[]);
    let forth = yard.landfall().args(["rollback", "hello"]).output().unwrap();
    assert!(forth.status.success(), "{}", said(&forth));
    assert_eq!(yard.serves().as_deref(), Some(&*versions[2]));
    server.stop();

    // Without a server the folder is pruned as it lies, and what serves goes on serving.
    let rest = prune(&[]);
    assert_eq!(rest["unfinished"].as_array().unwrap().len(), 0, "{rest}");
    wait_for("the app", || (yard.serves().as_deref() == Some(&*versions[2])).then_some(()));
}
