//! Bad input ends with one message that says what to do: no panic, no partial release.

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use crate::real::yard::{App, PASSWORD, Server, Yard, said};

fn run(yard: &Yard, app: &App) -> Output {
    yard.landfall().arg("run").arg(app.path()).args(["--proxy-listen", &yard.proxy_flag()]).output().unwrap()
}

#[track_caller]
fn fails_saying(yard: &Yard, output: &Output, code: i32, texts: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for text in texts {
        assert!(said.contains(text), "{text:?} is missing: {said}");
    }
    assert!(!said.contains("panicked") && !said.contains("RUST_BACKTRACE"), "{said}");
    assert!(!said.contains(PASSWORD), "{said}");
    assert_eq!(yard.serves(), None, "nothing was released");
}

/// The run is in the log, ended, and the event that ended it says the same as the terminal.
#[track_caller]
fn the_event_says(yard: &Yard, texts: &[&str]) {
    let replayed = yard.replay_of_last();
    let events = replayed["events"].as_array().unwrap_or_else(|| panic!("no events: {replayed}"));
    let red = events.iter().find(|event| event["event"]["type"] == "stage_failed");
    let reason = red.unwrap_or_else(|| panic!("no stage is red: {replayed:#}")).to_string();
    for text in texts {
        assert!(reason.contains(text), "{text:?} is missing in the event: {reason}");
    }
    assert!(!reason.contains("panicked") && !reason.contains("p>>>?~~~&"), "{reason}");
}

#[test]
fn a_wrong_configuration_names_the_line_and_what_was_expected() {
    let yard = Yard::new();
    let app = App::new(yard.registry.address);
    let good = app.commit("Good");
    for (from, to, texts) in [
        ("[deploy]", "[deplyo]", &["landfall.toml", "deplyo", "did you mean"][..]),
        ("timeout = \"5m\"", "timeout = \"10\"", &["timeout", "10", "30s"][..]),
        ("app_port = 8000", "app_port = \"eight\"", &["app_port", "eight"][..]),
    ] {
        app.git(&["reset", "--quiet", "--hard", &good]);
        app.edit("landfall.toml", |text| text.replacen(from, to, 1));
        app.commit(to);
        fails_saying(&yard, &run(&yard, &app), 1, texts);
        the_event_says(&yard, texts);
    }
}

#[test]
fn a_dockerfile_that_does_not_parse_is_quoted() {
    let yard = Yard::new();
    let app = App::new(yard.registry.address);
    app.edit("Dockerfile", |text| format!("{text}\nCOPPY . .\n"));
    app.commit("A slip of the pen");
    fails_saying(&yard, &run(&yard, &app), 1, &["COPPY"]);
    the_event_says(&yard, &["COPPY"]);
}

#[test]
fn a_registry_that_refuses_the_password_is_named_with_what_to_check() {
    let yard = Yard::new();
    let app = App::new(yard.registry.address);
    app.commit("Good");
    let refused = yard
        .landfall()
        .env("REGISTRY_PASSWORD", "wrong")
        .arg("run")
        .arg(app.path())
        .args(["--proxy-listen", &yard.proxy_flag()])
        .output()
        .unwrap();
    let texts = ["REGISTRY_PASSWORD", &yard.registry.address.to_string()];
    fails_saying(&yard, &refused, 1, &texts);
    the_event_says(&yard, &texts);
    let missing = yard
        .landfall()
        .env_remove("REGISTRY_PASSWORD")
        .arg("run")
        .arg(app.path())
        .args(["--proxy-listen", &yard.proxy_flag()])
        .output()
        .unwrap();
    fails_saying(&yard, &missing, 1, &["REGISTRY_PASSWORD"]);
    the_event_says(&yard, &["REGISTRY_PASSWORD"]);
}

#[test]
fn a_commit_that_does_not_exist_is_refused_or_fails_with_its_name() {
    let yard = Yard::new();
    let app = App::new(yard.registry.address);
    app.version("1.0.0");
    let server = Server::start(&yard);
    let body = serde_json::json!({
        "repository": app.path(), "commit": "1234567890123456789012345678901234567890", "branch": "main",
    });
    let (status, answer) = server.api("POST", "/v1/apps/hello/runs", Some(&body)).unwrap();
    let text = if status < 300 { server.ended().to_string() } else { answer.to_string() };
    assert!(text.contains("1234567890"), "{status}: {text}");
    assert!(!text.contains("panicked"));
    assert_eq!(yard.serves(), None);
}

#[test]
fn a_port_in_use_is_named() {
    let yard = Yard::new();
    let app = App::new(yard.registry.address);
    app.commit("Good");
    let taken = TcpListener::bind(("127.0.0.1", yard.proxy_port)).unwrap();
    let output = run(&yard, &app);
    assert!(!output.status.success());
    assert!(said(&output).contains(&yard.proxy_port.to_string()), "{}", said(&output));
    assert!(!said(&output).contains("panicked"), "{}", said(&output));
    drop(taken);
    let taken = TcpListener::bind(("127.0.0.1", yard.port)).unwrap();
    let listen = format!("127.0.0.1:{}", yard.port);
    let output = yard
        .landfall()
        .args(["serve", "--listen", &listen, "--proxy-listen", &yard.proxy_flag()])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(said(&output).contains(&listen), "{}", said(&output));
    drop(taken);
    assert_eq!(yard.containers(), [""; 0], "nothing was started");
}

#[test]
fn a_second_process_on_the_data_folder_is_told_who_has_it() {
    let yard = Yard::new();
    let server = Server::start(&yard);
    let output = yard
        .landfall()
        .args(["serve", "--listen", "127.0.0.1:0", "--proxy-listen", &yard.proxy_flag()])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(said(&output).contains("is in use by process"), "{}", said(&output));
    server.stop();
}

#[test]
fn a_data_folder_that_cannot_be_there_is_named() {
    let yard = Yard::new();
    let app = App::new(yard.registry.address);
    app.commit("Good");
    let file = yard.data.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    let below = file.join("data");
    let output = yard
        .landfall()
        .env("LANDFALL_DATA", &below)
        .arg("run")
        .arg(app.path())
        .args(["--proxy-listen", &yard.proxy_flag()])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(said(&output).contains("a-file"), "{}", said(&output));
    assert!(!said(&output).contains("panicked"), "{}", said(&output));
}

#[test]
fn a_data_folder_that_is_read_only_is_named() {
    // Root writes wherever it likes, but not to a read-only mount. Only the child sees this one.
    const NOT_MOUNTED: i32 = 99;
    let yard = Yard::new();
    let app = App::new(yard.registry.address);
    app.commit("Good");
    let folder = yard.data.path().join("mounted");
    std::fs::create_dir(&folder).unwrap();
    let landfall = yard.landfall();
    let mut shut_out = Command::new("unshare");
    shut_out.envs(landfall.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let script =
        format!("mount -t tmpfs -o ro tmpfs \"$LANDFALL_DATA\" || exit {NOT_MOUNTED}; exec \"$0\" \"$@\"");
    let output = shut_out
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .arg(landfall.get_program())
        .env("LANDFALL_DATA", &folder)
        .arg("run")
        .arg(app.path())
        .args(["--proxy-listen", &yard.proxy_flag()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = said(&output);
    assert_ne!(output.status.code(), Some(NOT_MOUNTED), "this test has to be allowed to mount: {said}");
    assert!(!said.contains("unshare:"), "this test has to be allowed a mount namespace: {said}");
    assert!(!output.status.success(), "{said}");
    assert!(said.contains(folder.to_str().unwrap()), "{said}");
    assert!(said.to_lowercase().contains("read-only"), "it says why: {said}");
    assert!(!said.contains("panicked"), "{said}");
}
