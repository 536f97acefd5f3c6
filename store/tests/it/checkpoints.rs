//! Signed heads: written soon after a run ended, mended after a crash, and what they alone can show.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use landfall_engine::core::run::RunState;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::EventStore;
use landfall_store::contract::samples::{append, begun, life, new_run, red_life, started};
use landfall_store::{Audit, Checkpoint, CheckpointFile, CheckpointKey, Trust, open_read_only};

use crate::common::{FIRST, copy, end, frames, open, open_in_small_segments};

/// Returns the files of the checkpoints, oldest first.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "json")).collect();
    files.sort();
    files
}

fn newest(folder: &Path) -> Checkpoint {
    Checkpoint::parse(&fs::read(files(folder).last().unwrap()).unwrap()).unwrap()
}

async fn audit(folder: &Path, trust: Trust) -> Audit {
    open_read_only(folder).unwrap().audit(trust).await.unwrap()
}

/// Trusts the newest checkpoint of a folder, as it was kept elsewhere.
fn kept(folder: &Path) -> Trust {
    let bytes = fs::read(files(folder).last().unwrap()).unwrap();
    Trust { given: vec![CheckpointFile { name: "kept.json".into(), bytes }], keys: vec![] }
}

#[tokio::test]
async fn a_run_that_ended_is_in_a_signed_head_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let opened = open(folder.path());
    let (live, red, on) = (new_run(), new_run(), new_run());
    let told = opened.store.append(append(live, 0, life(live, "shop"))).await.unwrap();
    opened.store.append(append(red, 0, red_life("blog"))).await.unwrap();
    let last = opened.store.append(append(on, 0, [started("wiki")])).await.unwrap();
    let log_id = opened.store.log_id();
    drop(opened);
    // One checkpoint, however long the writing took.
    files(folder.path()).iter().for_each(|path| fs::remove_file(path).unwrap());
    drop(open(folder.path()));
    let newest = newest(folder.path());
    assert_eq!((newest.log_id, newest.global_seq, newest.head), (log_id, last[0].global_seq, last[0].hash));
    assert_eq!(newest.open.iter().map(|open| (open.run, open.seq)).collect::<Vec<_>>(), [(on, 1)]);
    let runs: Vec<_> = newest.runs.iter().map(|ended| (ended.run, ended.state)).collect();
    assert_eq!(runs, [(live, RunState::Live), (red, RunState::Failed)]);
    let ending = &told[told.len() - 2];
    assert_eq!((newest.runs[0].seq, newest.runs[0].hash), (ending.seq, ending.hash));
    let found = audit(folder.path(), Trust::default()).await;
    assert_eq!((found.log.problems.as_slice(), found.covered), ([].as_slice(), newest.global_seq));
}

#[tokio::test]
async fn while_no_run_ends_nothing_is_signed() {
    let folder = tempfile::tempdir().unwrap();
    let opened = open(folder.path());
    let run = new_run();
    opened.store.append(append(run, 0, [started("shop"), begun(Stage::Checkout)])).await.unwrap();
    drop(opened);
    assert_eq!(files(folder.path()), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn a_crash_before_the_checkpoint_is_mended_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let opened = open_in_small_segments(folder.path());
    let runs = [new_run(), new_run(), new_run()];
    for run in runs {
        opened.store.append(append(run, 0, life(run, "shop"))).await.unwrap();
    }
    drop(opened);
    let before = newest(folder.path());
    // As a crash leaves it: the log is there, and the checkpoint is not, or is half written.
    for path in files(folder.path()) {
        fs::rename(&path, path.with_extension("json.new")).unwrap();
    }
    fs::write(files_new(folder.path()), "{ \"for").unwrap();
    drop(open_in_small_segments(folder.path()));
    let after = newest(folder.path());
    assert_eq!((after.global_seq, after.head), (before.global_seq, before.head));
    let named: Vec<_> = after.runs.iter().map(|ended| ended.run).collect();
    assert_eq!(named, runs);
    // And with the one before it still there, what ended since is signed and nothing else.
    let opened = open_in_small_segments(folder.path());
    let run = new_run();
    opened.store.append(append(run, 0, red_life("blog"))).await.unwrap();
    drop(opened);
    fs::remove_file(files(folder.path()).last().unwrap()).unwrap();
    drop(open_in_small_segments(folder.path()));
    assert_eq!(newest(folder.path()).runs.iter().map(|ended| ended.run).collect::<Vec<_>>(), [run]);
    assert_eq!(audit(folder.path(), kept(folder.path())).await.log.problems, []);
}

fn files_new(folder: &Path) -> PathBuf {
    folder.join("checkpoints").join(format!("{:020}.json.new", 7))
}

#[tokio::test]
async fn a_run_that_is_closed_later_is_signed_again_with_its_state() {
    let folder = tempfile::tempdir().unwrap();
    let run = new_run();
    let mut events = red_life("shop");
    let closed = events.pop().unwrap();
    let ended = events.len() as u64;
    let opened = open(folder.path());
    opened.store.append(append(run, 0, events)).await.unwrap();
    drop(opened);
    let opened = open(folder.path());
    opened.store.append(append(run, ended, [closed])).await.unwrap();
    drop(opened);
    let newest = newest(folder.path());
    assert_eq!((newest.runs[0].state, newest.runs[0].seq), (RunState::Failed, ended + 1));
    assert_eq!(files(folder.path()).len(), 2);
    assert_eq!(audit(folder.path(), Trust::default()).await.log.problems, []);
}

#[tokio::test]
async fn a_log_that_ends_before_its_newest_checkpoint_is_damaged_and_gets_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let opened = open(folder.path());
    let (kept, cut) = (new_run(), new_run());
    opened.store.append(append(kept, 0, red_life("shop"))).await.unwrap();
    opened.store.append(append(cut, 0, red_life("blog"))).await.unwrap();
    drop(opened);
    let segment = folder.path().join("log").join(FIRST);
    let whole = fs::read(&segment).unwrap();
    fs::write(&segment, &whole[..frames(&whole)[1]]).unwrap();
    // The index would know too.
    fs::remove_dir_all(folder.path().join("index.sled")).unwrap();
    let before = files(folder.path());
    let opened = open(folder.path());
    let damage = opened.report.damage.clone().unwrap();
    assert!(damage.what.contains("signed in a checkpoint"), "{damage}");
    drop(opened);
    assert_eq!(files(folder.path()), before);
    let found = audit(folder.path(), Trust::default()).await;
    let gone = found.log.problems.iter().find(|problem| problem.run == Some(cut)).unwrap();
    assert_eq!(
        (gone.seq, gone.what.as_str()),
        (Some(1), "events 1 to 4 of the run are gone; the run was Failed")
    );
    assert!(found.log.problems.iter().any(|problem| problem.what.contains("its last 5 events were cut off")));
    assert!(found.log.problems.iter().all(|problem| problem.run != Some(kept)));
}

#[tokio::test]
async fn a_history_that_was_written_anew_is_found_by_a_checkpoint_kept_elsewhere() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run = new_run();
    let opened = open(folder.path());
    opened.store.append(append(run, 0, life(run, "shop"))).await.unwrap();
    drop(opened);
    let kept = kept(folder.path());
    // Whoever has the folder has the key: the same log, with another story, signed as well as the first.
    fs::copy(folder.path().join("META"), other.path().join("META")).unwrap();
    fs::copy(folder.path().join("checkpoint.key"), other.path().join("checkpoint.key")).unwrap();
    let opened = open(other.path());
    opened.store.append(append(run, 0, life(run, "blog"))).await.unwrap();
    drop(opened);
    assert_eq!(audit(other.path(), Trust::default()).await.log.problems, [], "it looks whole by itself");
    let problems = audit(other.path(), kept).await.log.problems;
    assert!(problems.iter().any(|problem| problem.what.contains("the log was written anew")), "{problems:?}");
    assert!(
        problems.iter().any(|problem| (problem.run, problem.seq) == (Some(run), Some(19))),
        "{problems:?}"
    );
}

#[tokio::test]
async fn another_log_and_another_key_are_told_from_each_other() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [folder.path(), other.path()] {
        let opened = open(folder);
        let run = new_run();
        opened.store.append(append(run, 0, life(run, "shop"))).await.unwrap();
        drop(opened);
    }
    let found = audit(other.path(), kept(folder.path())).await;
    let said: Vec<&str> = found.log.problems.iter().map(|problem| problem.what.as_str()).collect();
    assert!(said.iter().any(|what| what.starts_with("it is of another log")), "{said:?}");
    assert!(said.iter().any(|what| what.starts_with("it is signed by another key")), "{said:?}");
    // The same log, whose key was lost.
    let kept = kept(folder.path());
    fs::remove_file(folder.path().join("checkpoint.key")).unwrap();
    let opened = open(folder.path());
    let run = new_run();
    opened.store.append(append(run, 0, life(run, "shop"))).await.unwrap();
    drop(opened);
    assert_eq!(audit(folder.path(), Trust::default()).await.log.problems, []);
    let found = audit(folder.path(), kept.clone()).await;
    let by = |fits| found.checkpoints.iter().filter(move |seen| seen.fits == fits).count();
    assert_eq!((by(true), by(false)), (2, 1), "{found:?}");
    assert!(found.log.problems[0].what.starts_with("it is signed by another key"), "{found:?}");
    // Somebody who knows that the key was lost can say so.
    let new = CheckpointKey::read(folder.path()).unwrap().public().fingerprint();
    assert_eq!(audit(folder.path(), Trust { keys: vec![new], ..kept }).await.log.problems, []);
}

/// A folder with runs in several segments, all of them ended, and its last checkpoint, kept elsewhere alone.
async fn signed_folder() -> (tempfile::TempDir, Trust) {
    let folder = tempfile::tempdir().unwrap();
    let opened = open_in_small_segments(folder.path());
    for _ in 0..6 {
        let run = new_run();
        for (event, seq) in red_life("blog").into_iter().zip(0..) {
            opened.store.append(append(run, seq, [event])).await.unwrap();
        }
    }
    drop(opened);
    let trust = kept(folder.path());
    files(folder.path()).iter().for_each(|path| fs::remove_file(path).unwrap());
    (folder, trust)
}

/// Tells whether the long form is asked for, as the proofs that cross crates do.
fn is_long() -> bool {
    std::env::var_os("LANDFALL_TEST_LONG").is_some()
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(folder.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// Audits a folder whose segment has other bytes, and puts the right ones back.
async fn problems_with(folder: &Path, trust: &Trust, segment: &Path, whole: &[u8], bytes: &[u8]) -> usize {
    fs::write(segment, bytes).unwrap();
    let found = audit(folder, trust.clone()).await;
    fs::write(segment, whole).unwrap();
    found.log.problems.len()
}

/// Returns where what was written ends: the last frame, or the seal behind it.
fn written(bytes: &[u8]) -> usize {
    let end = end(bytes);
    if bytes[end..].starts_with(&[0xff, b'L', b'S', 0xf2]) { end + 56 } else { end }
}

#[tokio::test]
async fn every_flipped_bit_of_the_log_is_found() {
    let (folder, trust) = signed_folder().await;
    let found = audit(folder.path(), trust.clone()).await;
    assert_eq!(found.log.problems, []);
    assert!(found.log.events >= 30, "{}", found.log.events);
    let segments = segments(folder.path());
    assert!(segments.len() >= 3, "{segments:?}");
    for (n, segment) in segments.iter().enumerate() {
        let whole = fs::read(segment).unwrap();
        let written = if n + 1 == segments.len() { end(&whole) } else { written(&whole) };
        // A step that shares no factor with 8: each bit has its turn, over the bytes.
        for bit in (0..written * 8).step_by(if is_long() { 1 } else { 367 }) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let problems = problems_with(folder.path(), &trust, segment, &whole, &bytes).await;
            assert!(problems > 0, "bit {bit} of {}", segment.display());
        }
    }
}

#[tokio::test]
async fn every_dropped_doubled_and_swapped_write_and_every_cut_is_found() {
    let (folder, trust) = signed_folder().await;
    let segments = segments(folder.path());
    for segment in &segments {
        let whole = fs::read(segment).unwrap();
        let mut bounds = frames(&whole);
        bounds.push(end(&whole));
        let parts: Vec<&[u8]> = bounds.windows(2).map(|pair| &whole[pair[0]..pair[1]]).collect();
        let (head, tail) = (&whole[..bounds[0]], &whole[end(&whole)..]);
        let mut changed = Vec::new();
        for n in 0..parts.len() {
            let (mut dropped, mut doubled) = (parts.clone(), parts.clone());
            dropped.remove(n);
            doubled.insert(n, parts[n]);
            changed.extend([(format!("{n} dropped"), dropped), (format!("{n} doubled"), doubled)]);
            for m in n + 1..parts.len() {
                let mut swapped = parts.clone();
                swapped.swap(n, m);
                changed.push((format!("{n} and {m} swapped"), swapped));
            }
        }
        for (what, parts) in changed {
            let bytes = [head, &parts.concat(), tail].concat();
            let problems = problems_with(folder.path(), &trust, segment, &whole, &bytes).await;
            assert!(problems > 0, "frame {what} in {}", segment.display());
        }
        for cut in (0..end(&whole))
            .step_by(if is_long() { 1 } else { 61 })
            .chain(bounds[..bounds.len() - 1].iter().copied())
        {
            let problems = problems_with(folder.path(), &trust, segment, &whole, &whole[..cut]).await;
            assert!(problems > 0, "{} cut at {cut}", segment.display());
        }
    }
    for gone in 0..segments.len() {
        let copied = tempfile::tempdir().unwrap();
        copy(folder.path(), copied.path());
        segments[gone..].iter().for_each(|path| {
            fs::remove_file(copied.path().join("log").join(path.file_name().unwrap())).unwrap();
        });
        assert!(!audit(copied.path(), trust.clone()).await.log.problems.is_empty(), "the end from {gone} on");
    }
}

#[tokio::test]
async fn openssl_and_sha256sum_check_a_checkpoint_and_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let opened = open(folder.path());
    let run = new_run();
    opened.store.append(append(run, 0, red_life("shop"))).await.unwrap();
    drop(opened);
    let log = open_read_only(folder.path()).unwrap();
    let (mut text, mut hashes) = (Vec::new(), Vec::new());
    for stored in log.stored(run).await.unwrap() {
        let path = folder.path().join(format!("event-{}", stored.envelope.seq));
        fs::write(&path, [stored.before.0.as_slice(), &stored.record].concat()).unwrap();
        text.push(path);
        hashes.push(stored.envelope.hash.to_string());
    }
    let summed = run_tool("sha256sum \"$@\" | cut -c1-64", folder.path(), &text);
    assert_eq!(summed.lines().collect::<Vec<_>>(), hashes);
    assert_eq!(newest(folder.path()).head.to_string(), *hashes.last().unwrap());
    // As the documentation of the module has it.
    let script = r#"
        sed '/^  "signature"/,$d' "$1" > signed
        sed -n 's/^  "signature": "\(.*\)"$/\1/p' "$1" | base64 -d > signature
        openssl pkeyutl -verify -pubin -inkey checkpoints/public-key.pem -rawin -in signed -sigfile signature
        openssl pkey -pubin -in checkpoints/public-key.pem -outform DER | sha256sum | cut -c1-64
        openssl pkey -in checkpoint.key -pubout | cmp - checkpoints/public-key.pem"#;
    let said = run_tool(script, folder.path(), &files(folder.path()));
    let fingerprint = newest(folder.path()).public_key.fingerprint();
    assert_eq!(said, format!("Signature Verified Successfully\n{fingerprint}\n"));
}

fn run_tool(script: &str, folder: &Path, args: &[PathBuf]) -> String {
    let script = format!("set -e; {script}");
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", &script, "sh"]).args(args).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn with_a_key_named_a_log_without_a_checkpoint_of_it_does_not_verify() {
    let (folder, trust) = signed_folder().await;
    let key = Checkpoint::parse(&trust.given[0].bytes).unwrap().public_key.fingerprint();
    let named = |key: &str| Trust { given: vec![], keys: vec![key.to_owned()] };
    let both = Trust { keys: vec![key.clone()], ..trust.clone() };
    assert_eq!(audit(folder.path(), both).await.log.problems, []);
    let problems = audit(folder.path(), named(&key)).await.log.problems;
    assert!(problems[0].what.contains("none is signed by"), "{problems:?}");
    assert_eq!(audit(folder.path(), Trust::default()).await.log.problems, []);
    let other = Trust { keys: vec!["00".repeat(32)], ..trust };
    let problems = audit(folder.path(), other).await.log.problems;
    assert!(problems[0].what.contains("none is signed by"), "{problems:?}");
}
