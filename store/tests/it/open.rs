//! A folder that can't be opened is named, with what to do.

use std::fs;
use std::path::Path;

use landfall_store::{DataDir, OpenError, Options, open_read_only};

use crate::common::open;

fn refusal(folder: &Path) -> OpenError {
    DataDir::open(folder, &Options::default()).map(|opened| opened.report).unwrap_err()
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_made_and_found_again() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("a/b/data");
    let first = landfall_engine::ports::EventStore::log_id(&*open(&folder).store);
    assert_eq!(landfall_engine::ports::EventStore::log_id(&*open(&folder).store), first);
    assert_eq!(
        fs::metadata(folder.join("log/00000000000000000001.seg")).unwrap().len(),
        72,
        "no space before it is needed"
    );
}

#[tokio::test]
async fn a_folder_with_other_files_is_not_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.tex"), "\\begin").unwrap();
    let error = refusal(folder.path()).to_string();
    assert!(
        error.contains("no Landfall data folder: it has other files in it; name an empty folder"),
        "{error}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was left there");
    let error = open_read_only(folder.path()).unwrap_err().to_string();
    assert!(error.contains("it has no META"), "{error}");
}

#[tokio::test]
async fn a_file_is_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data");
    fs::write(&file, "").unwrap();
    let error = refusal(&file).to_string();
    assert!(error.ends_with("it is a file; name a folder"), "{error}");
}

#[tokio::test]
async fn a_newer_format_asks_for_a_newer_version() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let meta = fs::read_to_string(folder.path().join("META")).unwrap();
    fs::write(folder.path().join("META"), meta.replace("\"format\":1", "\"format\":2")).unwrap();
    for error in [refusal(folder.path()), open_read_only(folder.path()).unwrap_err()] {
        assert!(matches!(error, OpenError::NewerFormat { found: 2, known: 1, .. }), "{error}");
        assert!(error.to_string().ends_with("use a newer landfall"), "{error}");
    }
}

#[tokio::test]
async fn a_lost_or_damaged_meta_is_not_made_up() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    fs::write(folder.path().join("META"), "{").unwrap();
    let error = refusal(folder.path()).to_string();
    assert!(
        error.contains("its META can't be read") && error.contains("restore META from a copy"),
        "{error}"
    );
    fs::remove_file(folder.path().join("META")).unwrap();
    let error = refusal(folder.path()).to_string();
    assert!(error.contains("restore META from a copy"), "{error}");
}

#[tokio::test]
async fn a_start_that_died_before_meta_was_made_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("LOCK"), "").unwrap();
    fs::write(folder.path().join("META.new"), "{\"form").unwrap();
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    drop(open(folder.path()));
}

#[tokio::test]
async fn a_traffic_proxy_that_was_started_first_does_not_make_the_folder_somebody_elses() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("proxy")).unwrap();
    drop(open(folder.path()));
}

#[tokio::test]
async fn an_open_folder_is_locked_within_one_process_too_until_it_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let opened = open(folder.path());
    match refusal(folder.path()) {
        OpenError::Locked { holder, .. } => assert_eq!(holder.pid, Some(std::process::id())),
        other => unreachable!("{other}"),
    }
    drop(opened);
    drop(open(folder.path()));
}
