//! A push whose run waits for room: in which order, and for how long.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use landfall_engine::Limits;
use landfall_engine::core::run::RunState;
use landfall_engine::core::stage::Stage;
use landfall_store::OutputDir;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr};

use crate::fixture::{PATIENCE, TestServer, WorkingCopy, until};
use crate::moody::MoodyStore;

/// A server whose only place in a lane is taken by a run of main, with a head of master that waits.
struct Rig {
    server: TestServer,
    store: Arc<MoodyStore>,
    copy: WorkingCopy,
    /// What master is at.
    late: String,
    data: TempDir,
    /// The first push; it goes on listening.
    _pusher: (Child, BufReader<ChildStderr>),
}

impl Rig {
    async fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let outputs = Arc::new(OutputDir::new(data.path().join("output")));
        let store = Arc::new(MoodyStore::default());
        let limits = Limits { lane_runs_max: 1, ..Limits::default() };
        let server = TestServer::start_within(data.path(), Arc::clone(&store) as _, outputs, limits).await;
        let copy = WorkingCopy::new().await;
        server.stages.hold(Stage::Test);
        let remote = server.remote("shop");
        let mut push = copy.command(&["push", &remote, "main", "main:master"]).spawn().unwrap();
        let mut stderr = BufReader::new(push.stderr.take().unwrap());
        let mut seen = String::new();
        while !seen.contains("nothing has to be pushed again") {
            let read = tokio::time::timeout(PATIENCE, stderr.read_line(&mut seen)).await.unwrap().unwrap();
            assert!(read > 0, "{seen}");
        }
        let late = copy.git(&["rev-parse", "HEAD"]).await.trim().to_owned();
        Self { server, store, copy, late, data, _pusher: (push, stderr) }
    }

    /// Waits until there are so many runs, then until they are settled, and returns what each is of, oldest first.
    async fn commits(&self, count: usize) -> Vec<(String, String)> {
        let looking = async {
            while self.server.runs().await.len() < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.expect("the runs begin");
        let mut commits = Vec::new();
        for run in self.server.runs().await {
            let run = self.server.settled(run).await;
            commits.push((run.commit().branch.clone().unwrap(), run.commit().sha.clone()));
        }
        commits
    }
}

#[tokio::test]
async fn a_newer_push_that_comes_while_a_waiting_head_is_triggered_goes_behind_it_and_is_the_newer_run() {
    let rig = Rig::new().await;
    let waiting_is_asked = rig.store.holding.subscribe();
    let release = rig.store.hold_next_claim();
    rig.server.stages.release(Stage::Test);
    until(|| *waiting_is_asked.borrow() == 1).await;

    let newer = rig.copy.commit("app.py", "app = 2\n").await;
    let remote = rig.server.remote("shop");
    let mut push = rig.copy.command(&["push", &remote, "main:master"]).spawn().unwrap();
    until(|| rig.server.app.git.in_line("shop") == 2).await;
    assert_eq!(rig.server.runs().await.len(), 1, "it waits for its turn");
    let at = std::fs::read_to_string(rig.data.path().join("git/shop.git/refs/heads/master")).unwrap();
    assert_eq!(at.trim(), newer);

    release.send(()).unwrap();
    let commits = rig.commits(3).await;
    let of = |sha: &String| ("master".to_owned(), sha.clone());
    assert_eq!(commits[1..], [of(&rig.late), of(&newer)]);
    assert!(push.wait().await.unwrap().success());
    rig.server.stop().await;
}

#[tokio::test]
async fn a_head_that_waits_goes_on_waiting_when_the_log_could_not_be_read_once() {
    let rig = Rig::new().await;
    rig.store.forgets_claim.store(true, Ordering::SeqCst);
    rig.server.stages.release(Stage::Test);
    until(|| !rig.store.forgets_claim.load(Ordering::SeqCst)).await;
    assert_eq!(rig.server.runs().await.len(), 1);

    // Another run that ends is a reason to ask again.
    let other = json!({ "repository": rig.copy.path().display().to_string() });
    assert_eq!(rig.server.ask("POST", "/v1/apps/blog/runs", other).await.0, 202);
    let commits = rig.commits(3).await;
    assert!(commits.contains(&("master".to_owned(), rig.late.clone())), "{commits:?}");
    assert_eq!(rig.server.states().await, [RunState::Live; 3]);
    rig.server.stop().await;
}

#[tokio::test]
async fn a_branch_that_was_deleted_while_its_head_waited_is_not_deployed() {
    let rig = Rig::new().await;
    rig.copy.commit("app.py", "app = 2\n").await;
    // Past the gate, which lets nobody in while the lane is full.
    let bare = rig.data.path().join("git/shop.git").display().to_string();
    rig.copy.git(&["push", "--quiet", &bare, ":master"]).await;
    rig.server.stages.release(Stage::Test);
    let lane = landfall_engine::core::lane::LaneId::production("shop");
    let room = async {
        while rig.server.app.engine.admits(&lane).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, room).await.unwrap();
    rig.copy.push(&rig.server.remote("shop"), &["main"]).await;
    let commits = rig.commits(2).await;
    assert!(commits.iter().all(|(branch, _)| branch == "main"), "{commits:?}");
    rig.server.stop().await;
}

#[tokio::test]
async fn a_trigger_that_could_not_be_recorded_is_no_departure() {
    let data = tempfile::tempdir().unwrap();
    let outputs = Arc::new(OutputDir::new(data.path().join("output")));
    let store = Arc::new(MoodyStore::default());
    let server = TestServer::start_on(data.path(), Arc::clone(&store) as _, outputs).await;
    let copy = WorkingCopy::new().await;
    let departures = server.app.engine.departures();
    let body = json!({ "repository": copy.path().display().to_string() });
    store.is_full.store(true, Ordering::SeqCst);
    assert_eq!(server.ask("POST", "/v1/apps/shop/runs", body.clone()).await.0, 507);
    assert!(!departures.has_changed().unwrap(), "whoever waits for room would turn round without a pause");
    assert_eq!(server.ask("POST", "/v1/apps/shop/runs", body).await.0, 202);
    server.states().await;
    until(|| departures.has_changed().unwrap()).await;
    server.stop().await;
}
