//! What an auditor runs: `verify` over a folder, a copy and a checkpoint kept elsewhere, and `export`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::folder::Folder;
use super::{LIVE, PARKED, fails, is, landfall, ok, said};

/// Returns a folder as an engine leaves it, and its last checkpoint.
fn signed() -> (Folder, PathBuf) {
    let folder = Folder::written();
    folder.sign_anew();
    let checkpoint = newest(folder.path());
    (folder, checkpoint)
}

fn newest(folder: &Path) -> PathBuf {
    let entries = fs::read_dir(folder.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path());
    let is_one = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
    entries.filter(is_one).max().expect("a run ended, so there is a checkpoint")
}

/// Returns a text without what is another in each log.
fn steady(text: &str, folder: &Path) -> String {
    let text = text.replace(&folder.display().to_string(), "DATA");
    let is_hex =
        |word: &str, len| word.len() == len && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let word = |word: &str| {
        let bare = word.strip_prefix("sha256:").unwrap_or(word);
        match bare {
            LIVE | PARKED => word.to_owned(),
            _ if is_hex(bare, 64) => word.replace(bare, "…"),
            _ if is_hex(bare, 36) => word.replace(bare, "…"),
            _ => word.to_owned(),
        }
    };
    text.split('\n')
        .map(|line| line.split(' ').map(word).collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join("\n")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Returns what base64 stands for, by the tool that an auditor has.
fn decoded(text: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("text"), text).unwrap();
    let output = Command::new("base64").arg("-d").arg(folder.path().join("text")).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    output.stdout
}

#[test]
fn the_help_of_an_auditor_says_what_to_keep_and_where() {
    let nowhere = Path::new("/nonexistent");
    is("help_verify", &ok(nowhere, &["verify", "--help"]));
    is("help_export", &ok(nowhere, &["export", "--help"]));
}

#[test]
fn a_log_is_verified_with_its_checkpoints_beside_an_engine_and_from_a_copy() {
    let (folder, checkpoint) = signed();
    let kept = checkpoint.display().to_string();
    let text = ok(folder.path(), &["verify", "--checkpoint", &kept]);
    is("verify", &steady(&text, folder.path()));
    let report = json(&ok(folder.path(), &["verify", "--json"]));
    assert_eq!((&report["verified"], &report["audit"]["log"]["runs"]), (&true.into(), &2.into()));
    let copy = folder.copy();
    let before = copy.listing();
    let text = ok(copy.path(), &["verify"]);
    is("verify_copy", &steady(&text, copy.path()));
    assert!(ok(copy.path(), &["verify", "--checkpoint", &kept]).contains("1 given, 1 of 1 fit"));
    assert_eq!(copy.listing(), before);
    let (held, opened) = Folder::written_and_held();
    assert!(ok(held.path(), &["verify"]).contains("Verified: nothing was changed"));
    drop(opened);
}

#[test]
fn what_was_changed_cut_off_or_replaced_is_named_with_its_run_and_place() {
    let (folder, checkpoint) = signed();
    let kept = checkpoint.display().to_string();
    let changed = folder.copy();
    changed.tamper(b"14 passed but", b"15 passed but");
    let said = fails(changed.path(), &["verify"], 65);
    assert!(said.contains(&format!("run {LIVE}, event 3, event 3 of the log, log/")), "{said}");
    let cut = folder.copy();
    cut.cut_to(10);
    assert!(ok(cut.path(), &["verify"]).contains("can't be seen"), "a chain alone does not show it");
    let said = fails(cut.path(), &["verify", "--checkpoint", &kept], 65);
    is("verify_cut", &steady(&said, folder.path()));
    let (other, of_other) = signed();
    let of_other = of_other.display().to_string();
    let said = fails(folder.path(), &["verify", "--checkpoint", &of_other], 65);
    assert!(said.contains("it is of another log") && said.contains("it is signed by another key"), "{said}");
    let shown = ok(other.path(), &["verify", "--show-key"]);
    let fingerprint = shown.lines().last().unwrap();
    assert!(
        shown.starts_with("-----BEGIN PUBLIC KEY-----\n") && fingerprint.starts_with("sha256:"),
        "{shown}"
    );
    ok(other.path(), &["verify", "--key", fingerprint]);
    let said = fails(folder.path(), &["verify", "--key", fingerprint], 65);
    assert!(said.contains("it is signed by another key"), "{said}");
}

#[test]
fn an_audit_that_can_t_be_done_says_what_is_in_the_way() {
    let (folder, _) = signed();
    let said = fails(folder.path(), &["verify", "--checkpoint", "/nonexistent/safe.json"], 69);
    assert!(said.contains("could not read the checkpoint /nonexistent/safe.json"), "{said}");
    let said = fails(folder.path(), &["verify", "--key", "3f2a"], 64);
    assert!(said.contains("--show-key"), "{said}");
    let note = folder.path().join("META").display().to_string();
    let said = fails(folder.path(), &["verify", "--checkpoint", &note], 65);
    assert!(said.contains("it is no checkpoint"), "{said}");
    let said = fails(folder.copy().path(), &["verify", "--show-key"], 66);
    assert!(said.contains("has no key yet"), "{said}");
}

#[test]
fn a_provenance_is_signed_and_stands_on_events_that_anybody_can_check() {
    let (folder, _) = signed();
    let envelope = json(&ok(folder.path(), &["export", LIVE, "--format", "slsa"]));
    assert_eq!(envelope["payloadType"], "application/vnd.in-toto+json");
    let payload = decoded(envelope["payload"].as_str().unwrap());
    let statement: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    assert_eq!(statement["subject"][0]["digest"]["sha256"], "90ab12cd34ef56789012");
    let build = &statement["predicate"]["buildDefinition"];
    let sha = "3f2a91c0b7de4a55aa0011223344556677889900";
    assert_eq!(build["resolvedDependencies"][0]["digest"]["gitCommit"], sha);
    assert_eq!(build["externalParameters"]["source"]["ref"], "refs/heads/main");
    let run = &statement["predicate"]["runDetails"];
    assert_eq!(run["metadata"]["invocationId"], format!("urn:uuid:{LIVE}"));
    let stands_on = run["byproducts"].as_array().unwrap();
    let names: Vec<&str> = stands_on.iter().map(|event| event["name"].as_str().unwrap()).collect();
    let marks = ["run triggered", "tests green", "image built", "image pushed", "deploy started", "live"];
    assert_eq!(names, [&marks[..], &["checkpoint"]].concat());
    let places: Vec<u64> =
        stands_on[..6].iter().map(|event| event["annotations"]["globalSeq"].as_u64().unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
    let scratch = tempfile::tempdir().unwrap();
    for (n, what) in stands_on.iter().enumerate() {
        let path = scratch.path().join(n.to_string());
        fs::write(&path, decoded(what["content"].as_str().unwrap())).unwrap();
        let summed = Command::new("sha256sum").arg(&path).output().unwrap();
        let hash = what["digest"]["sha256"].as_str().unwrap();
        assert!(String::from_utf8_lossy(&summed.stdout).starts_with(hash), "{}", what["name"]);
    }
    let pae =
        [format!("DSSEv1 28 application/vnd.in-toto+json {} ", payload.len()).as_bytes(), &payload].concat();
    fs::write(scratch.path().join("signed"), pae).unwrap();
    fs::write(scratch.path().join("sig"), decoded(envelope["signatures"][0]["sig"].as_str().unwrap()))
        .unwrap();
    let key = folder.path().join("checkpoints/public-key.pem");
    let mut openssl = Command::new("openssl");
    openssl.args(["pkeyutl", "-verify", "-pubin", "-rawin", "-in", "signed", "-sigfile", "sig", "-inkey"]);
    let output = openssl.arg(key).current_dir(scratch.path()).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn a_test_result_names_the_commit_and_the_image_that_was_built_from_it() {
    let (folder, _) = signed();
    let output = landfall(folder.path(), &["export", LIVE, "--format", "in-toto", "--unsigned"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("this is not signed"));
    let statement = json(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(statement["predicateType"], "https://in-toto.io/attestation/test-result/v0.1");
    assert_eq!(statement["subject"].as_array().unwrap().len(), 2);
    let predicate = &statement["predicate"];
    assert_eq!(
        (&predicate["result"], &predicate["landfall_counts"]["passed"]),
        (&"PASSED".into(), &14.into())
    );
    assert_eq!(predicate["configuration"][0]["annotations"]["image"], "python:3.12-slim");
}

#[test]
fn a_red_run_has_a_test_result_and_no_provenance() {
    let (folder, opened) = Folder::written_and_held();
    let red = "018bcfe5-6900-7000-8000-333333333333";
    super::folder::add_red(&opened, red);
    drop(opened);
    let statement = json(&ok(folder.path(), &["export", red, "--format", "in-toto", "--unsigned"]));
    let predicate = &statement["predicate"];
    assert_eq!((&predicate["result"], &predicate["failedTests"][0]), (&"FAILED".into(), &"test_cart".into()));
    assert_eq!(statement["subject"].as_array().unwrap().len(), 1);
    let said = fails(folder.path(), &["export", red, "--format", "slsa"], 77);
    assert!(said.contains("pushed no image (it is Failed)"), "{said}");
    let all = json(&ok(folder.path(), &["export", red, "--format", "json"]));
    assert_eq!(all["tests_green_before_deploy"], Value::Null);
}

#[test]
fn a_run_that_is_open_is_tied_to_the_head_and_every_event_is_exported() {
    let (folder, _) = signed();
    let output = landfall(folder.path(), &["export", PARKED, "--format", "slsa"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("no checkpoint covers run"), "{}", said(&output));
    let all = json(&ok(folder.path(), &["export", LIVE, "--format", "json"]));
    assert_eq!(all["events"].as_array().unwrap().len() as u64, folder.live_events());
    assert_eq!((&all["verified"], &all["tests_green_before_deploy"]), (&true.into(), &true.into()));
    assert!(all["checkpoint"]["text"].as_str().unwrap().contains("\"signature\""));
}

#[test]
fn without_the_key_or_on_a_broken_log_nothing_is_signed() {
    let (folder, _) = signed();
    let copy = folder.copy();
    let said = fails(copy.path(), &["export", LIVE, "--format", "slsa"], 69);
    assert!(said.contains("a copy of a data folder has no key") && said.contains("--unsigned"), "{said}");
    ok(copy.path(), &["export", LIVE, "--format", "slsa", "--unsigned"]);
    copy.tamper(b"connection refused", b"connection refusee");
    let said = fails(copy.path(), &["export", LIVE, "--format", "slsa", "--unsigned"], 65);
    assert!(said.contains(PARKED), "{said}");
    assert_eq!(landfall(copy.path(), &["export", LIVE, "--format", "json"]).status.code(), Some(65));
}
