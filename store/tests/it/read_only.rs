//! A log is read beside the server that writes it, and from a copy, with the same answers.

use std::fs;
use std::sync::Arc;

use futures_util::StreamExt;
use landfall_engine::ports::{AppendError, Cursor, EventStore};
use landfall_store::contract::samples::{append, life, new_run, red_life, started};
use landfall_store::contract::{many_runs, take};
use landfall_store::{Verification, open_read_only};

use crate::common::{FIRST, answers, copy, end, open, open_in_small_segments};

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_beside_a_running_server_always_finds_a_whole_log() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn EventStore> = open_in_small_segments(folder.path()).store;
    let reader = open_read_only(folder.path()).unwrap();
    let writing = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for _ in 0..8 {
                many_runs(&store, 6).await;
            }
        }
    });
    let (mut seen, mut looks) = (0, 0);
    while !writing.is_finished() || looks == 0 {
        let found = reader.verify().await.unwrap();
        assert_eq!(found.problems, [], "after {} events", found.events);
        assert!(found.events >= seen);
        (seen, looks) = (found.events, looks + 1);
        assert_eq!(reader.damages().await.unwrap(), []);
    }
    writing.await.unwrap();
    assert_eq!(answers(&reader).await, answers(&*store).await);
}

#[tokio::test]
async fn a_copied_folder_gives_the_same_answers_and_is_left_alone() {
    let (folder, copied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(folder.path()).store;
    let run = new_run();
    let told = store.append(append(run, 0, life(run, "shop"))).await.unwrap();
    store.append(append(new_run(), 0, red_life("blog"))).await.unwrap();
    copy(folder.path(), copied.path());
    for derived in ["index.sled", "LOCK", "reserve"] {
        let path = copied.path().join(derived);
        fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)).unwrap();
    }
    let reader = open_read_only(copied.path()).unwrap();
    assert_eq!(answers(&reader).await, answers(&*store).await);
    assert_eq!(reader.log_id(), store.log_id());
    let followed = take(&mut reader.follow(Cursor::start()), told.len()).await;
    assert!(followed.iter().map(|(_, envelope)| envelope).eq(&told));
    assert_eq!(reader.follow(Cursor::start()).count().await, told.len() + 5, "it ends with the log");
    let refused = reader.append(append(new_run(), 0, [started("shop")])).await;
    assert!(matches!(refused, Err(AppendError::Refused { .. })), "{refused:?}");
    let names = fs::read_dir(copied.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["META", "checkpoint.key", "checkpoints", "log", "output"]);
}

#[tokio::test]
async fn a_torn_tail_is_no_problem_for_a_reader() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).store;
    let (run, torn) = (new_run(), new_run());
    let told = store.append(append(run, 0, life(run, "shop"))).await.unwrap();
    store.append(append(torn, 0, red_life("blog"))).await.unwrap();
    let segment = folder.path().join("log").join(FIRST);
    let mut bytes = fs::read(&segment).unwrap();
    let end = end(&bytes);
    bytes[end - 1] = 0;
    fs::write(&segment, bytes).unwrap();
    let reader = open_read_only(folder.path()).unwrap();
    let head = told.last().unwrap().hash;
    let whole = Verification { events: told.len() as u64, runs: 1, head, problems: vec![] };
    assert_eq!(reader.verify().await.unwrap(), whole);
    assert_eq!(reader.events(run).await.unwrap(), told);
    assert_eq!(reader.events(torn).await.unwrap(), []);
    drop(store);
}

#[tokio::test]
async fn an_audit_names_an_illegal_move() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).store;
    let run = new_run();
    let mut events = red_life("shop");
    events.swap(2, 3);
    store.append(append(run, 0, events)).await.unwrap();
    let problems = open_read_only(folder.path()).unwrap().verify().await.unwrap().problems;
    assert_eq!((problems.len(), problems[0].run, problems[0].seq), (1, Some(run), Some(3)), "{problems:?}");
    assert!(problems[0].what.contains("is not a legal move"), "{problems:?}");
}
