//! Pruning, backing up and restoring, as a person does it.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use super::folder::{self, Folder};
use super::{LIVE, PARKED, command, fails, landfall, ok, said};

const FAILED: &str = "018bcfe5-6a00-7000-8000-333333333333";

/// Runs the binary where there is no Docker.
fn without_docker(data: &Path, args: &[&str]) -> Output {
    command(data, args).env("DOCKER_HOST", "unix:///nonexistent/docker.sock").output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_backup_of_a_held_folder_restores_to_the_same_runs_and_waits_to_be_taken_over() {
    let (folder, held) = Folder::written_and_held();
    let place = tempfile::tempdir().unwrap();
    let (file, to) = (place.path().join("backup.tar"), place.path().join("restored"));
    let (file, to_name) = (file.to_str().unwrap(), to.to_str().unwrap());
    let made = ok(folder.path(), &["backup", file]);
    assert!(made.contains("was read back and verifies") && made.contains("2, 1 of them open"), "{made}");
    assert!(ok(folder.path(), &["restore", file, "--check"]).contains("verifies"));
    let restored = landfall(folder.path(), &["restore", file, "--data", to_name]);
    assert_eq!(restored.status.code(), Some(0), "{}", said(&restored));
    let told = said(&restored);
    assert!(told.contains(PARKED) && told.contains("--take-over"), "{told}");
    for args in
        [vec!["replay", LIVE, "--events"], vec!["replay", PARKED], vec!["logs", LIVE], vec!["runs", "--json"]]
    {
        assert_eq!(ok(&to, &args), ok(folder.path(), &args), "{args:?}");
    }
    let refused = fails(&to, &["serve", "--listen", "127.0.0.1:0"], 69);
    assert!(refused.contains("two of them undo each other's work"), "{refused}");
    let refused = fails(folder.path(), &["restore", file, "--data", to_name], 77);
    assert!(refused.contains("is not empty"), "{refused}");
    drop(held);
}

#[test]
fn a_backup_goes_through_a_pipe_into_a_restore() {
    let folder = Folder::written();
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("restored");
    let mut sending = command(folder.path(), &["backup", "-"]).stdout(Stdio::piped()).spawn().unwrap();
    let pipe = sending.stdout.take().unwrap();
    let restored = command(&to, &["restore", "-", "--take-over"]).stdin(pipe).output().unwrap();
    assert_eq!(restored.status.code(), Some(0), "{}", said(&restored));
    assert!(sending.wait().unwrap().success());
    assert_eq!(ok(&to, &["replay", LIVE]), ok(folder.path(), &["replay", LIVE]));
    assert!(!to.join("RESTORED").exists());
}

#[test]
fn a_backup_that_is_no_backup_is_refused_with_what_is_wrong() {
    let folder = Folder::written();
    let place = tempfile::tempdir().unwrap();
    let (file, to) = (place.path().join("backup.tar"), place.path().join("restored"));
    ok(folder.path(), &["backup", file.to_str().unwrap()]);
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let refused = fails(&to, &["restore", file.to_str().unwrap()], 65);
    assert!(refused.contains("cut short"), "{refused}");
    fails(&to, &["restore", "/nonexistent.tar"], 69);
    fails(&to, &["restore", "-", "--check"], 64);
    assert!(!to.exists());
    // A reader that hung up has no backup, so that is no success.
    let mut child = command(folder.path(), &["backup", "-"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(69));
}

#[test]
fn an_old_output_is_archived_then_pruned_and_logs_say_so() {
    let (folder, held) = Folder::written_and_held();
    folder::add_failed(&held, FAILED);
    drop(held);
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("old.tar");
    let archive = file.to_str().unwrap();
    let args = ["prune", "--keep", "0", "--archive", archive];
    let dry = without_docker(folder.path(), &[&args[..], &["--dry-run"]].concat());
    assert!(
        text(&dry).contains(&format!("would prune the 1 outputs of run {FAILED} (15 bytes)")),
        "{}",
        text(&dry)
    );
    assert!(!file.exists());
    assert_eq!(ok(folder.path(), &["logs", FAILED]), "==> checkout <==\nno such commit\n");

    let done = without_docker(folder.path(), &args);
    assert!(text(&done).contains(&format!("pruned the 1 outputs of run {FAILED}")), "{}", text(&done));
    // Without Docker no image can be looked at, and that is said.
    assert_eq!(done.status.code(), Some(69));
    assert!(said(&done).contains("the sweep of images and containers"), "{}", said(&done));
    let logs = landfall(folder.path(), &["logs", FAILED]);
    assert_eq!((logs.status.code(), text(&logs).as_str()), (Some(0), ""));
    let told = said(&logs);
    assert!(told.contains("the output of checkout was pruned on 20") && told.contains(archive), "{told}");
    assert!(ok(folder.path(), &["replay", FAILED]).contains("Verified:"), "the log is as it was");
    assert_eq!(ok(folder.path(), &["logs", LIVE, "--stage", "test"]), "collected 14 items\n14 passed\n");

    let listed = std::process::Command::new("tar")
        .args(["-xOf", archive, &format!("{FAILED}/checkout-1.log")])
        .output();
    assert_eq!(text(&listed.unwrap()), "no such commit\n");
    folder::add_failed(&folder.open(), "018bcfe5-6b00-7000-8000-444444444444");
    let refused = without_docker(folder.path(), &args);
    assert_eq!(refused.status.code(), Some(77), "an archive is never replaced: {}", said(&refused));
    assert_eq!(ok(folder.path(), &["logs", "444444444444"]), "==> checkout <==\nno such commit\n");
}
