//! Two processes, and one that is killed: the test binary runs itself again as the other one.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use landfall_engine::core::event::Event;
use landfall_engine::core::run::RunId;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::EventStore;
use landfall_store::contract::samples::{append, begun, new_run, started};
use landfall_store::contract::takes_appends;
use landfall_store::{DataDir, OpenError, Options};

use crate::common::{everything, open};

/// Names the data folder to the other process.
const FOLDER: &str = "LANDFALL_TEST_DATA_FOLDER";

/// How often a process is killed.
const KILLS: usize = 12;

fn other_process(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["processes::the_other_process", "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test of its own: what the other process does. It says what was acknowledged, and never ends.
#[tokio::test(flavor = "multi_thread")]
async fn the_other_process() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let options = Options { segment_bytes: 30_000, ..Options::default() };
    let store = DataDir::open(&folder, &options).unwrap().store;
    println!("open");
    let writers: Vec<_> = (0..4).map(|_| tokio::spawn(write_for_ever(Arc::clone(&store)))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

async fn write_for_ever(store: Arc<impl EventStore>) {
    loop {
        let run = new_run();
        let mut seq = 0;
        for event in [started("shop"), begun(Stage::Checkout), begun(Stage::Test), Event::RunClosed] {
            // Two at a time, so that there is a half to be lost.
            let note = Event::CancelRequested { reason: "x".repeat(200) };
            let told = store.append(append(run, seq, [event, note])).await.unwrap();
            seq += 2;
            println!("acknowledged {run} {}", told[1].seq);
        }
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(RunId, u64)> = Vec::new();
    for kill in 0..KILLS {
        let mut child = other_process(folder.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut left = 5 + kill * 37;
        for line in lines.by_ref() {
            acknowledged.extend(parse(&line.unwrap()));
            left -= 1;
            if left == 0 {
                break;
            }
        }
        child.kill().unwrap();
        // What it said before it died counts too; its last line may be cut.
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        acknowledged.extend(rest.iter().take(rest.len().saturating_sub(1)).filter_map(|line| parse(line)));
        child.wait().unwrap();
        let opened = open(folder.path());
        assert_eq!(opened.report.damage, None, "kill {kill}");
        let all = everything(&*opened.store, opened.report.events).await;
        assert!(all.iter().zip(1..).all(|(envelope, place)| envelope.global_seq == place));
        let mut there: HashMap<RunId, u64> = HashMap::new();
        all.iter().for_each(|envelope| *there.entry(envelope.run_id).or_default() += 1);
        for (run, seq) in &acknowledged {
            let count = there.get(run).copied().unwrap_or_default();
            assert!(count >= *seq, "kill {kill}: event {seq} of run {run} is gone");
            assert_eq!(count % 2, 0, "kill {kill}: half an append of run {run}");
        }
        for (run, _) in acknowledged.iter().rev().take(10) {
            assert_eq!(opened.store.events(*run).await.unwrap().len() as u64, there[run]);
        }
        assert_eq!(opened.store.verify().await.unwrap().events, opened.report.events);
        assert!(takes_appends(&*opened.store).await);
    }
    assert!(acknowledged.len() > KILLS * 10, "only {} acknowledged", acknowledged.len());
}

fn parse(line: &str) -> Option<(RunId, u64)> {
    let (run, seq) = line.strip_prefix("acknowledged ")?.split_once(' ')?;
    Some((run.parse().ok()?, seq.parse().ok()?))
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = other_process(folder.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("open")));
    let error = DataDir::open(folder.path(), &Options::default()).map(|opened| opened.report).unwrap_err();
    let text = error.to_string();
    match error {
        OpenError::Locked { holder, .. } => assert_eq!(holder.pid, Some(child.id())),
        other => unreachable!("{other}"),
    }
    let process = format!("is in use by process {} (`", child.id());
    assert!(text.contains(&process) && text.contains("the_other_process`, started "), "{text}");
    assert!(text.ends_with("stop that process, or use another data folder"), "{text}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(open(folder.path()).report.damage, None, "the lock ends with the process");
}
