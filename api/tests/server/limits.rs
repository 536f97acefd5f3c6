//! What is refused beyond a limit, as a client and a pusher see it; and a disk that is really full.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use landfall_engine::Limits;
use landfall_engine::core::command::Outcome;
use landfall_engine::core::event::Envelope;
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::run::{RunId, RunState};
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::EventStore;
use landfall_store::disk::{FaultyDisk, Kept};
use landfall_store::{DataDir, MemoryStore, Opened, Options, OutputDir, SegmentStore, open_read_only};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use uuid::Uuid;

use crate::fixture::{PATIENCE, TestServer, WorkingCopy, answered, stderr};

const MIB: u64 = 1024 * 1024;
const RESERVE: u64 = 2 * MIB;
const LOW: u64 = 6 * MIB;
/// Holds the folder of a server, and can be filled in a moment.
const DISK: &str = "size=24m";

/// A disk that a test fills.
enum SmallDisk {
    /// A file system of its own.
    Mounted(TempDir),
    /// Files in memory, where nothing may be mounted.
    InMemory(FaultyDisk, TempDir),
}

impl SmallDisk {
    /// Mounts one. A user who may not gets one in memory, and is told.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(folder.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Self::Mounted(folder),
            refused => {
                eprintln!("NOT on a real file system, a disk in memory stands in: mount said {refused:?}");
                Self::InMemory(FaultyDisk::new(), folder)
            }
        }
    }

    fn folder(&self) -> &Path {
        match self {
            Self::Mounted(folder) | Self::InMemory(_, folder) => folder.path(),
        }
    }

    /// Opens a log on it whose every few events need room of their own.
    fn open(&self) -> (Arc<dyn EventStore>, Arc<OutputDir>) {
        match self {
            Self::Mounted(folder) => {
                let options = Options {
                    segment_bytes: 4_000,
                    reserve_bytes: RESERVE,
                    disk_low_bytes: LOW,
                    ..Options::default()
                };
                let Opened { store, outputs, .. } = DataDir::open(folder.path(), &options).unwrap();
                (store, outputs)
            }
            Self::InMemory(disk, folder) => {
                let disk = Arc::new(disk.clone());
                let store = SegmentStore::on_disk_with_reserve(disk, Uuid::nil(), RESERVE, LOW).unwrap();
                (Arc::new(store), Arc::new(OutputDir::new(folder.path().join("output"))))
            }
        }
    }

    fn fill(&self) {
        match self {
            Self::Mounted(folder) => {
                let mut file = File::create(folder.path().join("filler")).unwrap();
                for piece in [64 * 1024, 1] {
                    while file.write_all(&vec![1; piece]).is_ok() {}
                }
            }
            Self::InMemory(disk, _) => disk.set_capacity(Some(disk.used())),
        }
    }

    fn make_room(&self) {
        match self {
            Self::Mounted(folder) => std::fs::remove_file(folder.path().join("filler")).unwrap(),
            Self::InMemory(disk, _) => disk.set_capacity(None),
        }
    }

    fn reserve(&self) -> u64 {
        match self {
            Self::Mounted(folder) => std::fs::metadata(folder.path().join("reserve")).unwrap().len(),
            Self::InMemory(disk, _) => disk.bytes("reserve").unwrap().len() as u64,
        }
    }

    /// Returns what a reader finds who knows nothing of the server, once the log verifies.
    async fn found(&self, run: RunId) -> Vec<Envelope> {
        match self {
            Self::Mounted(folder) => {
                let log = open_read_only(folder.path()).unwrap();
                assert_eq!(log.verify().await.unwrap().problems, []);
                log.events(run).await.unwrap()
            }
            Self::InMemory(disk, _) => {
                let disk = Arc::new(disk.crash(Kept::Nothing));
                let (log, _) = SegmentStore::on_disk(disk, Uuid::nil(), 64 * MIB).unwrap();
                assert_eq!(log.verify().await.unwrap().problems, []);
                log.events(run).await.unwrap()
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Self::Mounted(folder) = self {
            let unmounted = Command::new("umount").arg("--lazy").arg(folder.path()).status();
            if !unmounted.is_ok_and(|status| status.success()) {
                eprintln!("{} is still mounted", folder.path().display());
            }
        }
    }
}

fn trigger(copy: &WorkingCopy) -> Value {
    json!({ "repository": copy.path().display().to_string() })
}

#[tokio::test]
async fn on_a_full_disk_pushes_get_507_and_what_runs_is_recorded_to_its_end_on_the_reserve() {
    let disk = SmallDisk::new();
    let (store, outputs) = disk.open();
    let server = TestServer::start_on(disk.folder(), store, outputs).await;
    let copy = WorkingCopy::new().await;
    server.stages.hold(Stage::Test);
    let (status, link) = server.ask("POST", "/v1/apps/shop/runs", trigger(&copy)).await;
    assert_eq!(status, 202);
    let run: RunId = serde_json::from_value(link["run_id"].clone()).unwrap();
    assert_eq!(disk.reserve(), RESERVE);

    disk.fill();
    let (status, problem) = server.ask("POST", "/v1/apps/shop/runs", trigger(&copy)).await;
    assert_eq!((status, &problem["type"]), (507, &json!("urn:landfall:no-room")), "{problem}");
    let told = problem["detail"].as_str().unwrap();
    assert!(told.contains("is low: 0 MiB are free, and new runs are taken from 6 MiB on"), "{told}");
    let output = copy.try_git(&["push", &server.remote("shop"), "main"]).await;
    let seen = stderr(&output);
    assert!(
        !output.status.success() && seen.contains("507") && seen.contains("new runs are taken from"),
        "{seen}"
    );

    server.stages.release(Stage::Test);
    let settled = server.settled(run).await;
    assert_eq!((settled.state, settled.is_closed()), (RunState::Live, true));
    assert!(disk.reserve() < RESERVE, "it was recorded elsewhere than on the reserve");
    let acknowledged = server.app.engine.store().events(run).await.unwrap();

    disk.make_room();
    copy.push(&server.remote("shop"), &["main"]).await;
    assert_eq!(server.states().await, [RunState::Live, RunState::Live]);
    assert_eq!(disk.reserve(), RESERVE, "it is set aside again");
    server.stop().await;
    assert_eq!(disk.found(run).await, acknowledged);
}

#[tokio::test]
async fn a_lane_that_is_full_is_429_and_a_push_to_it_says_so_and_moves_no_ref() {
    let data = tempfile::tempdir().unwrap();
    let outputs = Arc::new(OutputDir::new(data.path().join("output")));
    let limits = Limits { lane_runs_max: 1, ..Limits::default() };
    let server = TestServer::start_within(data.path(), Arc::new(MemoryStore::new()), outputs, limits).await;
    let copy = WorkingCopy::new().await;
    server.stages.hold(Stage::Test);
    assert_eq!(server.ask("POST", "/v1/apps/shop/runs", trigger(&copy)).await.0, 202);

    let answer = server.request("POST", "/v1/apps/shop/runs").json(&trigger(&copy)).send().await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "30");
    let (status, problem) = answered(answer).await;
    assert_eq!((status, &problem["type"]), (429, &json!("urn:landfall:busy")));
    let output = copy.try_git(&["push", &server.remote("shop"), "main"]).await;
    let seen = stderr(&output);
    assert!(!output.status.success(), "{seen}");
    assert!(seen.contains("shop/production has 1 open runs, which is as many as it may have"), "{seen}");
    assert!(!data.path().join("git/shop.git/refs/heads/main").exists());

    assert_eq!(server.ask("POST", "/v1/apps/blog/runs", trigger(&copy)).await.0, 202, "another app has room");
    server.stages.release(Stage::Test);
    let lane = LaneId::production("shop");
    tokio::time::timeout(PATIENCE, async {
        while server.app.engine.admits(&lane).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the run ends and makes room");
    copy.push(&server.remote("shop"), &["main"]).await;
    server.stop().await;
}

/// Waits until there are so many runs.
async fn until_runs(server: &TestServer, count: usize) {
    let looking = async {
        while server.runs().await.len() < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("the runs begin");
}

#[tokio::test]
async fn a_branch_that_was_refused_after_the_gate_let_its_push_in_is_deployed_once_there_is_room() {
    let data = tempfile::tempdir().unwrap();
    let outputs = Arc::new(OutputDir::new(data.path().join("output")));
    let limits = Limits { lane_runs_max: 1, ..Limits::default() };
    let server = TestServer::start_within(data.path(), Arc::new(MemoryStore::new()), outputs, limits).await;
    let copy = WorkingCopy::new().await;
    server.stages.hold(Stage::Test);
    let remote = server.remote("shop");
    let mut push = copy.command(&["push", &remote, "main", "main:master"]).spawn().unwrap();
    let mut pusher = BufReader::new(push.stderr.take().unwrap());
    let mut seen = String::new();
    while !seen.contains("nothing has to be pushed again") {
        let read = tokio::time::timeout(PATIENCE, pusher.read_line(&mut seen)).await.unwrap().unwrap();
        assert!(read > 0, "{seen}");
    }
    let told = "is in git and its run waits for room: shop/production has 1 open runs";
    assert!(seen.contains("NOT DEPLOYED YET: the push to ") && seen.contains(told), "{seen}");
    assert_eq!(server.runs().await.len(), 1);

    server.stages.release(Stage::Test);
    until_runs(&server, 2).await;
    assert_eq!(server.states().await, [RunState::Live; 2]);
    let mut branches = Vec::new();
    for run in server.runs().await {
        branches.push(server.settled(run).await.commit().branch.clone().unwrap());
    }
    branches.sort_unstable();
    assert_eq!(branches, ["main", "master"]);
    pusher.read_to_string(&mut seen).await.unwrap();
    assert!(push.wait().await.unwrap().success(), "{seen}");
    server.stop().await;
}

#[tokio::test]
async fn heads_that_find_no_room_at_the_start_are_all_triggered_later_and_once() {
    let data = tempfile::tempdir().unwrap();
    let copy = WorkingCopy::new().await;
    copy.commit("landfall.toml", "[release]\ncommand = \"migrate\"\n").await;
    let server = TestServer::start(data.path()).await;
    // It is parked at once, and a parked run has a place.
    server.stages.end(Stage::ReleaseCommand, Outcome::errored("no reply"));
    copy.push(&server.remote("shop"), &["main"]).await;
    let parked = server.runs().await[0];
    assert!(server.settled(parked).await.parked().is_some());
    server.stop().await;
    let head = copy.commit("app.py", "app = 2\n").await;
    let bare = data.path().join("git/shop.git").display().to_string();
    copy.git(&["push", "--quiet", &bare, "main", "main:master"]).await;

    let options = Options { segment_bytes: MIB, ..Options::default() };
    let Opened { store, outputs, .. } = DataDir::open(data.path(), &options).unwrap();
    let limits = Limits { lane_runs_max: 1, ..Limits::default() };
    let server = TestServer::start_within(data.path(), store, outputs, limits).await;
    assert_eq!(server.runs().await, [parked], "there is no room");
    server.client().cancel(parked, "enough").await.unwrap();

    until_runs(&server, 3).await;
    assert_eq!(server.states().await[1..], [RunState::Live; 2]);
    for run in &server.runs().await[1..] {
        assert_eq!(server.settled(*run).await.commit().sha, head);
    }
    server.stop().await;
}

#[tokio::test]
async fn an_engine_that_is_full_is_503_for_every_app() {
    let data = tempfile::tempdir().unwrap();
    let outputs = Arc::new(OutputDir::new(data.path().join("output")));
    let limits = Limits { open_runs_max: 1, ..Limits::default() };
    let server = TestServer::start_within(data.path(), Arc::new(MemoryStore::new()), outputs, limits).await;
    let copy = WorkingCopy::new().await;
    server.stages.hold(Stage::Test);
    assert_eq!(server.ask("POST", "/v1/apps/shop/runs", trigger(&copy)).await.0, 202);
    let answer = server.request("POST", "/v1/apps/blog/runs").json(&trigger(&copy)).send().await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "5");
    let (status, problem) = answered(answer).await;
    assert_eq!(status, 503);
    assert!(
        problem["detail"].as_str().unwrap().starts_with("1 runs are open, which is as many"),
        "{problem}"
    );
    server.stages.release(Stage::Test);
    server.states().await;
    server.stop().await;
}
