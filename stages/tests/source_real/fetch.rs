//! Commits that are somewhere else are brought here first.

use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::Ordering;

use landfall_engine::core::command::Outcome;
use landfall_engine::core::run::Run;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::StageExecutor;

use crate::git_server::GitServer;
use crate::world::{Lines, World, failure};

async fn checked_out(world: &World, sha: &str, url: &str) -> (Run, Outcome) {
    let run = world.pushed(sha, url);
    let order = world.order(&run, Stage::Checkout, 1);
    let outcome = world.stages.execute(&order, &Lines::default().output()).await;
    (run, outcome)
}

fn app_of(world: &World, run: &Run) -> String {
    std::fs::read_to_string(world.work_dir(run).join("source/app.py")).unwrap()
}

#[tokio::test]
async fn a_commit_behind_a_url_is_fetched_once_and_without_its_history() {
    let world = World::new();
    let commits: Vec<String> =
        (0..4).map(|n| world.commit(&[("app.py", &format!("VERSION = {n}\n"))])).collect();
    let server = GitServer::start(world.dir.path(), false);
    let url = format!("http://127.0.0.1:{}/app/.git", server.port);

    // Two at once, on one mirror; neither is the newest commit.
    let (one, two) =
        tokio::join!(checked_out(&world, &commits[1], &url), checked_out(&world, &commits[2], &url));
    for ((run, outcome), version) in [(one, 1), (two, 2)] {
        assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
        assert_eq!(app_of(&world, &run), format!("VERSION = {version}\n"));
    }

    let asked = server.requests.load(Ordering::SeqCst);
    let (_, outcome) = checked_out(&world, &commits[1], &url).await;
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
    assert_eq!(server.requests.load(Ordering::SeqCst), asked, "it was fetched again");

    // What a git that was killed leaves behind does not stop the next one.
    let mirror = only_mirror(&world.dir.path().join("data/mirror"));
    std::fs::write(mirror.join("shallow.lock"), "").unwrap();
    let (run, outcome) = checked_out(&world, &commits[3], &url).await;
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
    assert_eq!(app_of(&world, &run), "VERSION = 3\n");

    let reason = failure(checked_out(&world, &"a".repeat(40), &url).await.1).reason;
    assert!(reason.contains("aaaaaaaaaaaa does not exist"), "{reason}");
}

#[tokio::test]
async fn a_repository_that_says_no_is_red_and_one_that_says_nothing_is_asked_again() {
    let world = World::new();
    let sha = world.commit(&[("app.py", "")]);
    let server = GitServer::start(world.dir.path(), true);
    let url = format!("http://127.0.0.1:{}/app/.git", server.port);
    let reason = failure(checked_out(&world, &sha, &url).await.1).reason;
    assert!(reason.contains("can't be fetched") && reason.contains("may read it"), "{reason}");

    let open = GitServer::start(world.dir.path(), false);
    let url = format!("http://127.0.0.1:{}/nothing.git", open.port);
    let reason = failure(checked_out(&world, &sha, &url).await.1).reason;
    assert!(reason.contains("not found"), "{reason}");

    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://ada:lovelace@127.0.0.1:{port}/app.git");
    match checked_out(&world, &sha, &url).await.1 {
        Outcome::Errored { reason } => assert!(!reason.contains("lovelace"), "{reason}"),
        other => panic!("{other:?}"),
    }

    let reason = failure(checked_out(&world, &sha, "ext::sh -c id").await.1).reason;
    assert!(reason.contains("neither a path nor a URL"), "{reason}");
}

fn only_mirror(mirrors: &Path) -> std::path::PathBuf {
    let mut found = std::fs::read_dir(mirrors).unwrap().flatten().map(|entry| entry.path());
    found.find(|path| path.is_dir()).unwrap()
}
