//! The commands that read, as a person runs them: the real binary on a data folder that the store wrote.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod audit;
mod definition;
mod doctor;
mod folder;
mod help;
mod keeping;
mod secret;
mod seen;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use folder::Folder;

const LIVE: &str = "018bcfe5-6800-7000-8000-9f3e1c2a7b4d";
const PARKED: &str = "018bcfe5-6900-7000-8000-111111111111";
const RETRIED: &str = "018bcfe5-6900-7000-8000-222222222222";

/// Runs the binary, with nothing of the tester's own settings.
fn landfall(data: &Path, args: &[&str]) -> Output {
    command(data, args).output().unwrap()
}

fn command(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command.args(args).env_clear().env("HOME", data).env("COLUMNS", "150").env("LANDFALL_DATA", data);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("USER", "ada");
    command
}

#[track_caller]
fn ok(data: &Path, args: &[&str]) -> String {
    let output = landfall(data, args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// What a failing command says, after its exit code.
#[track_caller]
fn fails(data: &Path, args: &[&str], code: i32) -> String {
    let output = landfall(data, args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", said(&output));
    said(&output)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Compares with a checked-in text; `UPDATE_EXPECTED=1` writes it.
#[track_caller]
fn is(name: &str, text: &str) {
    let path = format!("{}/tests/terminal/expected/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "differs from {path} (right)");
}

#[test]
fn the_help_says_what_there_is_how_it_ends_and_how_to_begin() {
    let nowhere = Path::new("/nonexistent");
    is("help", &ok(nowhere, &["--help"]));
    is("help_run", &ok(nowhere, &["run", "--help"]));
    is("help_replay", &ok(nowhere, &["replay", "--help"]));
    is("help_prune", &ok(nowhere, &["prune", "--help"]));
    is("help_backup", &ok(nowhere, &["backup", "--help"]));
    is("help_restore", &ok(nowhere, &["restore", "--help"]));
    let said = fails(nowhere, &["rnu"], 64);
    assert!(said.contains("run"), "{said}");
}

#[test]
fn a_run_is_replayed_from_the_folder_and_verifies() {
    let folder = Folder::written();
    let text = ok(folder.path(), &["replay", "9f3e1c2a7b4d"]);
    for wanted in
        ["Code pushed to repo", "14 passed", "App live with new version", "Test Status", "Verified:"]
    {
        assert!(text.contains(wanted), "no {wanted:?} in:\n{text}");
    }
    assert_eq!(ok(folder.path(), &["replay", LIVE]), text);
    assert_eq!(ok(folder.path(), &["replay", "018bcfe56800"]), text);
    let last = ok(folder.path(), &["replay", "last"]);
    assert!(last.contains(PARKED) && last.contains("parked"), "{last}");
}

#[test]
fn a_copy_of_the_folder_replays_to_the_same_text_and_nothing_is_written_to_it() {
    let folder = Folder::written();
    let copy = folder.copy();
    let before = copy.listing();
    assert_eq!(
        ok(copy.path(), &["replay", LIVE, "--events"]),
        ok(folder.path(), &["replay", LIVE, "--events"])
    );
    assert_eq!(copy.listing(), before);
}

#[test]
fn a_folder_that_an_engine_holds_is_read_beside_it() {
    let (folder, held) = Folder::written_and_held();
    assert!(ok(folder.path(), &["replay", LIVE]).contains("Verified:"));
    assert!(ok(folder.path(), &["runs"]).contains("9f3e1c2a7b4d"));
    drop(held);
}

#[test]
fn a_run_is_shown_as_it_was_at_an_earlier_event() {
    let folder = Folder::written();
    let text = ok(folder.path(), &["replay", LIVE, "--at", "6"]);
    assert!(text.contains("Tested") && !text.contains("App live with new version ("), "{text}");
    let said = fails(folder.path(), &["replay", LIVE, "--at", "99"], 64);
    assert!(said.contains("so there is none at 99"), "{said}");
}

#[test]
fn each_event_is_listed_on_one_line_and_as_json() {
    let folder = Folder::written();
    let text = ok(folder.path(), &["replay", LIVE, "--events"]);
    let listed =
        text.lines().skip_while(|line| *line != "Events").skip(1).take_while(|line| !line.is_empty());
    let listed: Vec<&str> = listed.collect();
    assert_eq!(listed.len(), usize::try_from(folder.live_events()).unwrap());
    assert!(listed[0].contains("ada") && listed[0].contains("run_started"), "{}", listed[0]);

    let json: serde_json::Value =
        serde_json::from_str(&ok(folder.path(), &["replay", LIVE, "--events", "--json"])).unwrap();
    assert_eq!(json["verified"], true);
    assert_eq!(json["replay"]["run"]["state"], "live");
    assert_eq!(json["events"].as_array().unwrap().len(), listed.len());
}

#[test]
fn a_byte_that_was_changed_in_the_log_is_found_and_its_run_is_named() {
    let folder = Folder::written();
    folder.tamper(b"14 passed but", b"15 passed but");
    let said = fails(folder.path(), &["replay", LIVE], 65);
    assert!(said.contains(LIVE), "{said}");
    let said = fails(folder.path(), &["replay", PARKED], 65);
    assert!(said.contains(LIVE) && said.contains("the log that it is in does not verify"), "{said}");
    let json = landfall(folder.path(), &["replay", PARKED, "--json"]);
    assert_eq!(json.status.code(), Some(65), "{}", self::said(&json));
}

#[test]
fn runs_are_listed_newest_first_and_filtered() {
    let folder = Folder::written();
    let text = ok(folder.path(), &["runs"]);
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what} in\n{text}"));
    assert!(at("111111111111") < at("9f3e1c2a7b4d"));
    assert!(text.contains("Deployed, parked") && text.contains("Add the cart"), "{text}");
    let open = ok(folder.path(), &["runs", "--open"]);
    assert!(open.contains("111111111111") && !open.contains("9f3e1c2a7b4d"), "{open}");
    assert!(!ok(folder.path(), &["runs", "--state", "live"]).contains("111111111111"));
    assert!(ok(folder.path(), &["runs", "--app", "other"]).contains("no runs"));
    assert_eq!(ok(folder.path(), &["runs", "--json", "--limit", "1"]).lines().count(), 1);
    fails(folder.path(), &["runs", "--state", "pending"], 64);
}

#[test]
fn a_parked_run_is_shown_with_what_a_person_can_do() {
    let folder = Folder::written();
    let text = ok(folder.path(), &["show", "last"]);
    is("show_parked", &folder::without_ages(&text));
    let json: serde_json::Value =
        serde_json::from_str(&ok(folder.path(), &["show", "last", "--json"])).unwrap();
    let decisions = json["parked"]["decisions"].as_array().unwrap();
    let decisions: Vec<_> = decisions.iter().map(|choice| choice["decision"].as_str().unwrap()).collect();
    assert_eq!((json["state"].as_str(), decisions), (Some("deployed"), vec!["retry", "skip", "abort"]));
    let json: serde_json::Value =
        serde_json::from_str(&ok(folder.path(), &["show", LIVE, "--json"])).unwrap();
    assert_eq!(json["state"], "live");
}

#[test]
fn a_stage_is_skipped_with_a_reason_only_and_what_is_refused_says_why() {
    let folder = Folder::written();
    for args in [vec!["skip", "last"], vec!["skip", "last", "--reason", ""]] {
        let said = fails(folder.path(), &args, 64);
        assert!(said.contains("--reason <REASON>"), "{said}");
    }
}

#[test]
fn what_stages_printed_is_shown_under_their_names() {
    let folder = Folder::written();
    is("logs", &ok(folder.path(), &["logs", LIVE]));
    assert_eq!(ok(folder.path(), &["logs", LIVE, "--stage", "test"]), "collected 14 items\n14 passed\n");
    assert_eq!(ok(folder.path(), &["logs", LIVE, "--stage", "push-image"]), "");
    // Nobody drives it, so there is nothing to wait for.
    assert_eq!(ok(folder.path(), &["logs", LIVE, "-f"]), ok(folder.path(), &["logs", LIVE]));
    fails(folder.path(), &["logs", LIVE, "--stage", "lunch"], 64);
}

#[test]
fn following_a_run_goes_on_past_the_time_when_it_was_parked() {
    let (folder, held) = Folder::written_and_held();
    folder::add_retried(&held, RETRIED);
    assert_eq!(ok(folder.path(), &["logs", RETRIED, "-f", "--stage", "smoke"]), "checked again\n");
}

#[test]
fn what_is_not_there_is_said_with_what_to_do() {
    let folder = Folder::written();
    let said = fails(folder.path(), &["show", "deadbeef"], 66);
    assert!(said.contains("landfall runs"), "{said}");
    let said = fails(folder.path(), &["replay", "018b"], 64);
    assert!(said.contains(LIVE) && said.contains(PARKED), "{said}");
    let said = fails(Path::new("/nonexistent/data"), &["runs"], 66);
    assert!(said.contains("/nonexistent/data") && said.contains("landfall run"), "{said}");
    let stranger = tempfile::tempdir().unwrap();
    std::fs::write(stranger.path().join("notes.txt"), "mine").unwrap();
    let said = fails(stranger.path(), &["runs"], 69);
    assert!(said.contains("no Landfall data folder"), "{said}");
}

#[test]
fn a_reader_that_hangs_up_is_no_fault() {
    let folder = Folder::written();
    for args in [vec!["replay", LIVE, "--events"], vec!["logs", LIVE], vec!["runs", "--json"], vec!["--help"]]
    {
        let mut child = command(folder.path(), &args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn without_a_terminal_there_is_no_colour() {
    let folder = Folder::written();
    for args in [vec!["replay", LIVE], vec!["runs"], vec!["show", LIVE], vec!["run", "--help"]] {
        assert!(!ok(folder.path(), &args).contains('\u{1b}'), "{args:?}");
    }
}

#[test]
fn the_version_is_told_and_a_missing_docker_with_it() {
    let nowhere = Path::new("/nonexistent");
    let mut command = command(nowhere, &["version"]);
    let output = command.env("DOCKER_HOST", "unix:///nonexistent/docker.sock").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with(&format!("landfall {}\n", env!("CARGO_PKG_VERSION"))), "{text}");
    assert!(text.contains("not usable") && text.contains("/nonexistent/docker.sock"), "{text}");
}

#[test]
fn a_server_that_was_named_needs_its_token_and_must_answer() {
    let nowhere = Path::new("/nonexistent");
    let said = fails(nowhere, &["runs", "--server", "http://127.0.0.1:9"], 64);
    assert!(said.contains("LANDFALL_TOKEN is not set"), "{said}");
    let mut command = command(nowhere, &["runs", "--server", "http://127.0.0.1:9"]);
    let output = command.env("LANDFALL_TOKEN", "0123456789abcdef0123456789abcdef").output().unwrap();
    let text = self::said(&output);
    assert_eq!(output.status.code(), Some(69), "{text}");
    assert!(text.contains("landfall serve") && !text.contains("0123456789abcdef"), "{text}");
}
