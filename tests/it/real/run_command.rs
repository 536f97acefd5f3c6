//! `landfall run`: the whole pipeline for HEAD of a working copy, and its exit codes.

use std::fs;

use crate::real::yard::{App, Yard, said};

fn run(yard: &Yard, app: &App) -> std::process::Output {
    yard.landfall().arg("run").arg(app.path()).args(["--proxy-listen", &yard.proxy_flag()]).output().unwrap()
}

#[test]
fn run_ends_with_0_when_live_1_when_failed_and_2_when_rolled_back() {
    let yard = Yard::new();
    let app = App::new(yard.registry.address);

    app.version("1.0.0");
    let live = run(&yard, &app);
    assert_eq!(live.status.code(), Some(0), "{}", said(&live));
    assert!(yard.serves().is_some());

    // What runs is the commit, not what lies about.
    fs::write(app.path().join("VERSION"), "not committed\n").unwrap();
    app.git(&["commit", "--quiet", "--allow-empty", "-m", "Nothing new"]);
    let head = app.git(&["rev-parse", "HEAD"])[..12].to_owned();
    let dirty = run(&yard, &app);
    assert_eq!(dirty.status.code(), Some(0), "{}", said(&dirty));
    assert!(said(&dirty).contains("not committed"), "a dirty working copy is said: {}", said(&dirty));
    assert_eq!(yard.serves().as_deref(), Some(head.as_str()));
    app.git(&["checkout", "--quiet", "--", "VERSION"]);

    app.edit("tests/test_app.py", |text| text + "\n\ndef test_red():\n    assert False, 'red on purpose'\n");
    app.commit("Red tests");
    let failed = run(&yard, &app);
    assert_eq!(failed.status.code(), Some(1), "{}", said(&failed));
    assert!(said(&failed).contains("test_red"), "{}", said(&failed));

    app.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    app.edit("landfall.toml", |text| {
        text.replace("contains = \"Hello from Landfall\"", "contains = \"Goodbye\"")
    });
    app.commit("A check that can't pass");
    let rolled_back = run(&yard, &app);
    assert_eq!(rolled_back.status.code(), Some(2), "{}", said(&rolled_back));
    assert!(said(&rolled_back).contains("Goodbye"), "{}", said(&rolled_back));
    assert_eq!(yard.serves(), Some(head));

    let held = run(&yard, &app);
    assert!(said(&held).contains("is held since"), "{}", said(&held));
    assert!(!held.status.success());
}

#[test]
fn run_parks_and_ends_with_3_when_there_is_no_docker() {
    let yard = Yard::new();
    let app = App::new(yard.registry.address);
    let version = app.version("1.0.0");
    let parked = yard
        .landfall()
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .arg("run")
        .arg(app.path())
        .args(["--proxy-listen", &yard.proxy_flag()])
        .output()
        .unwrap();
    assert_eq!(parked.status.code(), Some(3), "{}", said(&parked));
    assert!(said(&parked).contains("Docker"), "{}", said(&parked));
    // With Docker back, a person's word is enough.
    let retried = yard.landfall().args(["retry", "last"]).output().unwrap();
    assert!(retried.status.success(), "{}", said(&retried));
    assert_eq!(yard.serves().as_deref(), Some(version.as_str()));
}
