//! The doctor, on a machine where one thing or another is wrong.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::folder::Folder;
use crate::{command, said};

const NO_DOCKER: &str = "unix:///nonexistent/docker.sock";

/// A doctor that finds no Docker, in an app of its own whose registry is `registry`.
fn doctor(data: &Path, app: &Path, registry: &str, more: &[&str]) -> Command {
    let config = format!("service = \"shop\"\n[registry]\nserver = \"{registry}\"\n");
    std::fs::write(app.join("landfall.toml"), config).unwrap();
    let mut doctor = command(
        data,
        &[&["doctor", "--listen", "127.0.0.1:0", "--proxy-listen", "127.0.0.1:0"], more].concat(),
    );
    doctor.current_dir(app).env("DOCKER_HOST", NO_DOCKER);
    doctor
}

/// Returns what was found of this, as `(verdict, found, advice)`.
#[track_caller]
fn finding(output: &Output, name: &str) -> (String, String, String) {
    let report = serde_json::from_slice::<Value>(&output.stdout);
    assert!(report.is_ok(), "{}", said(output));
    let report = report.unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found = report["findings"].as_array().unwrap().iter().find(|found| found["name"] == name);
    assert!(found.is_some(), "nothing of {name}: {report:#}");
    let found = found.unwrap();
    (text(&found["verdict"]), text(&found["found"]), text(&found["advice"]))
}

/// A registry that wants a password, and takes this one alone.
fn registry(password: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        use base64::Engine as _;
        let right = base64::engine::general_purpose::STANDARD.encode(format!("ci:{password}"));
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) > 0 {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
            let status = match head.contains(&format!("authorization: basic {}", right.to_ascii_lowercase()))
            {
                true => "404 Not Found",
                false => "401 Unauthorized",
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\nWWW-Authenticate: Basic realm=\"r\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn a_docker_that_is_not_there_is_a_problem_with_what_to_do_and_hangs_nothing() {
    let (folder, app) = (Folder::written(), tempfile::tempdir().unwrap());
    let begun = Instant::now();
    let output = doctor(folder.path(), app.path(), "127.0.0.1:9", &["--json"]).output().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let (verdict, found, advice) = finding(&output, "docker");
    assert_eq!(verdict, "problem");
    assert!(
        found.contains("/nonexistent/docker.sock") && advice.contains("systemctl start docker"),
        "{found} {advice}"
    );
    let (verdict, found, advice) = finding(&output, "registry");
    assert!(
        verdict == "problem" && found.contains("127.0.0.1:9") && advice.contains("landfall.toml"),
        "{found}"
    );
    let (verdict, found, _) = finding(&output, "log");
    assert!(verdict == "ok" && found.contains("they verify"), "{found}");
    assert_eq!(finding(&output, "git").0, "ok");
    assert_eq!(finding(&output, "data folder").0, "ok");
    assert_eq!(finding(&output, "port").0, "ok");
    let text = doctor(folder.path(), app.path(), "127.0.0.1:9", &[]).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains(" ✗ docker ") && text.contains("→ start Docker") && text.contains("problems"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "no terminal, no colour: {text:?}");
}

#[test]
fn an_empty_machine_needs_no_data_folder_and_is_left_without_one() {
    let (home, app) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = home.path().join("not/there/yet");
    let output = doctor(&data, app.path(), "127.0.0.1:9", &["--json"]).output().unwrap();
    let (verdict, found, _) = finding(&output, "data folder");
    assert!(verdict == "ok" && found.contains("made at the first start"), "{found}");
    assert!(finding(&output, "log").1.contains("none yet"));
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "the doctor changes nothing");
}

#[test]
fn a_wrong_password_of_the_registry_is_told_from_a_right_one_and_never_shown() {
    let (data, app) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = registry("correct-horse");
    let asked = |password: &str| {
        let mut doctor = doctor(data.path(), app.path(), &server, &["--json"]);
        let config = format!(
            "service = \"shop\"\n[registry]\nserver = \"{server}\"\nusername = \"ci\"\npassword = [\"REGISTRY_PASSWORD\"]\n"
        );
        std::fs::write(app.path().join("landfall.toml"), config).unwrap();
        doctor.env("REGISTRY_PASSWORD", password).output().unwrap()
    };
    let wrong = asked("battery-staple");
    let (verdict, found, advice) = finding(&wrong, "registry");
    assert!(verdict == "problem" && found.contains("refused the login of ci"), "{found}");
    assert!(advice.contains("username"), "{advice}");
    assert!(!String::from_utf8_lossy(&wrong.stdout).contains("battery-staple"));
    let (verdict, found, _) = finding(&asked("correct-horse"), "registry");
    assert!(verdict == "ok" && found.contains("lets us in as ci") && !found.contains("horse"), "{found}");
}

#[test]
fn a_port_that_is_taken_is_shown_with_the_process_that_has_it() {
    let (data, app) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    std::fs::write(app.path().join("landfall.toml"), "service = \"shop\"\n").unwrap();
    let mut doctor =
        command(data.path(), &["doctor", "--json", "--listen", &address, "--proxy-listen", &address]);
    let output = doctor.current_dir(app.path()).env("DOCKER_HOST", NO_DOCKER).output().unwrap();
    let us = format!("process {} ", std::process::id());
    for name in ["port", "traffic"] {
        let (verdict, found, advice) = finding(&output, name);
        assert!(verdict == "problem" && found.contains(&address) && found.contains(&us), "{found}");
        assert!(advice.contains("choose another address"), "{advice}");
    }
}

#[test]
fn a_folder_that_can_not_be_written_or_is_full_is_a_problem() {
    let app = tempfile::tempdir().unwrap();
    // /proc takes no files from anybody, not even from root.
    let output =
        doctor(Path::new("/proc/self/landfall"), app.path(), "127.0.0.1:9", &["--json"]).output().unwrap();
    let (verdict, found, advice) = finding(&output, "data folder");
    assert!(verdict == "problem" && found.contains("can't be written"), "{found}");
    assert!(!advice.is_empty());
    // A disk without any room.
    let output =
        doctor(Path::new("/dev/full/landfall"), app.path(), "127.0.0.1:9", &["--json"]).output().unwrap();
    assert!(output.status.code() == Some(1), "{}", said(&output));
    let locked = tempfile::tempdir().unwrap();
    std::fs::set_permissions(locked.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
    let output = doctor(locked.path(), app.path(), "127.0.0.1:9", &["--json"]).output().unwrap();
    // Root may write anywhere; for everybody else the folder is closed.
    let expected = if rustix::process::geteuid().is_root() { "ok" } else { "problem" };
    assert_eq!(finding(&output, "data folder").0, expected);
}

#[test]
fn a_damaged_log_is_a_problem() {
    let (folder, app) = (Folder::written(), tempfile::tempdir().unwrap());
    let log = std::fs::read_dir(folder.path().join("log")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&log).unwrap();
    // In an event: what follows the last one in a segment is nobody's.
    let at = bytes.windows(4).position(|word| word == b"shop").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let output = doctor(folder.path(), app.path(), "127.0.0.1:9", &["--json"]).output().unwrap();
    let (verdict, found, advice) = finding(&output, "log");
    assert!(verdict == "problem" && found.contains("does not verify"), "{found}");
    assert!(advice.contains("landfall restore"), "{advice}");
}

#[test]
fn a_configuration_that_can_not_be_read_and_a_docker_host_that_can_not_be_meant_are_said() {
    let (data, app) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut doctor = doctor(data.path(), app.path(), "127.0.0.1:9", &["--json"]);
    std::fs::write(app.path().join("landfall.toml"), "[tset]\n").unwrap();
    let output = doctor.env("DOCKER_HOST", "carrier-pigeon://roof").output().unwrap();
    assert!(finding(&output, "settings").1.contains("tset"));
    assert!(finding(&output, "docker").1.contains("carrier-pigeon://roof"));
    assert_eq!(output.status.code(), Some(1));
}
