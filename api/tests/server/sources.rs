//! Apps behind a URL: what is found by looking, and what is not found twice.

use std::collections::BTreeMap;

use landfall_engine::core::ledger::{LedgerEvent, Registration, Source};
use landfall_engine::core::run::RunState;

use crate::fixture::{PATIENCE, TestServer, WorkingCopy, until};
use crate::forge::{behind, delivered, push, register};

const MAIN: &str = "refs/heads/main";

/// Waits until there are so many runs, then until they are settled, and returns what each is of, oldest first.
async fn runs(server: &TestServer, count: usize) -> Vec<(String, String)> {
    let looking = async {
        while server.runs().await.len() < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("the runs begin");
    let mut runs = Vec::new();
    for run in server.runs().await {
        let run = server.settled(run).await;
        assert_eq!(run.state, RunState::Live);
        runs.push((run.lane.env.clone(), run.commit().sha.clone()));
    }
    runs
}

fn looked(server: &TestServer, app: &str) -> u64 {
    server.app.sources.status(app).and_then(|status| status.looked_at_ms).unwrap_or_default()
}

/// Waits until a repository was looked at once more.
async fn next_look(server: &TestServer, app: &str) {
    let before = looked(server, app);
    until(|| looked(server, app) > before).await;
}

#[tokio::test]
async fn an_app_that_is_made_known_is_deployed_and_a_push_that_nobody_told_of_is_found() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let first = copy.git(&["rev-parse", "HEAD"]).await.trim().to_owned();
    register(&server, "shop", Registration { poll_ms: Some(1), ..behind(&copy) }).await;
    assert_eq!(runs(&server, 1).await, [("production".to_owned(), first.clone())]);
    let summary = server.app.engine.store().runs(Default::default()).await.unwrap().remove(0);
    assert_eq!((summary.trigger.as_str(), summary.actor.as_str()), ("poll", "poll"));
    assert_eq!((summary.commit.subject.as_str(), summary.commit.author.as_str()), ("Write app.py", "Ada"));

    let second = copy.commit("app.py", "app = 2\n").await;
    assert_eq!(runs(&server, 2).await[1].1, second);

    // While the server is down.
    server.stop().await;
    let third = copy.commit("app.py", "app = 3\n").await;
    let server = TestServer::start(data.path()).await;
    assert_eq!(runs(&server, 3).await[2].1, third);
    next_look(&server, "shop").await;
    assert_eq!(server.runs().await.len(), 3, "nothing is found twice");
    server.stop().await;
}

#[tokio::test]
async fn what_was_found_by_looking_is_not_begun_again_by_its_delivery() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    register(&server, "shop", behind(&copy)).await;
    let one = runs(&server, 1).await[0].1.clone();
    let two = copy.commit("app.py", "app = 2\n").await;
    let three = copy.commit("app.py", "app = 3\n").await;
    // Registered anew, it is looked at at once.
    register(&server, "shop", Registration { poll_ms: Some(60_000), ..behind(&copy) }).await;
    assert_eq!(runs(&server, 2).await[1].1, three);
    let (status, answer) = delivered(&server, "shop", "late", &push(MAIN, &two, &three)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["runs"][0]["run_id"], server.runs().await[1].to_string());
    let (status, answer) = delivered(&server, "shop", "later", &push(MAIN, &one, &two)).await;
    assert_eq!((status, answer["runs"].as_array().unwrap().len()), (200, 0), "{answer}");
    assert_eq!(server.runs().await.len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn what_was_delivered_is_not_begun_again_by_looking() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    register(&server, "shop", Registration { poll_ms: Some(1), ..behind(&copy) }).await;
    let mut before = runs(&server, 1).await[0].1.clone();
    for version in 2..8 {
        let after = copy.commit("app.py", &format!("app = {version}\n")).await;
        let (status, answer) =
            delivered(&server, "shop", &version.to_string(), &push(MAIN, &before, &after)).await;
        assert!(matches!(status, 200 | 202), "{answer}");
        before = after;
    }
    next_look(&server, "shop").await;
    next_look(&server, "shop").await;
    assert_eq!(runs(&server, 7).await.len(), 7, "each push is one run, whoever comes first");
    server.stop().await;
}

#[tokio::test]
async fn a_branch_that_was_set_back_and_forward_again_is_deployed_by_looking() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    register(&server, "shop", behind(&copy)).await;
    let one = runs(&server, 1).await[0].1.clone();
    let two = copy.commit("app.py", "app = 2\n").await;
    assert_eq!(delivered(&server, "shop", "a", &push(MAIN, &one, &two)).await.0, 202);
    copy.git(&["reset", "--quiet", "--hard", &one]).await;
    assert_eq!(delivered(&server, "shop", "b", &push(MAIN, &two, &one)).await.0, 202);
    copy.git(&["reset", "--quiet", "--hard", &two]).await;
    // Moved from where to where it was moved before: a delivery can't tell that from a repetition.
    assert_eq!(delivered(&server, "shop", "c", &push(MAIN, &one, &two)).await.0, 200);
    let shas: Vec<String> = runs(&server, 4).await.into_iter().map(|(_, sha)| sha).collect();
    assert_eq!(shas, [one.clone(), two.clone(), one, two]);
    server.stop().await;
}

#[tokio::test]
async fn filters_hold_for_what_is_found_by_looking() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    copy.git(&["branch", "release/1"]).await;
    let branches =
        BTreeMap::from([("main".into(), "production".into()), ("release/*".into(), "staging".into())]);
    let paths = vec!["!docs/**".to_owned()];
    let registration = Registration { poll_ms: Some(1), branches, paths, ..behind(&copy) };
    register(&server, "shop", registration).await;
    assert_eq!(runs(&server, 1).await[0].0, "production", "a pattern stands for what will be pushed");

    std::fs::create_dir(copy.path().join("docs")).unwrap();
    copy.commit("docs/start.md", "Begin.\n").await;
    next_look(&server, "shop").await;
    next_look(&server, "shop").await;
    std::fs::write(copy.path().join("app.py"), "app = 2\n").unwrap();
    copy.git(&["commit", "--quiet", "--all", "--message", "Mend it\n\n[skip ci]"]).await;
    next_look(&server, "shop").await;
    next_look(&server, "shop").await;
    assert_eq!(server.runs().await.len(), 1);

    copy.git(&["branch", "release/2", "release/1"]).await;
    let found = runs(&server, 2).await;
    assert_eq!(found[1].0, "staging", "a branch that is new is a push: {found:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_repository_that_can_not_be_asked_shows_why_and_is_asked_again_when_it_is_mended() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let source = Source::Git { url: format!("file://{}/gone", copy.path().display()), credential: None };
    register(&server, "shop", Registration { source, ..behind(&copy) }).await;
    until(|| server.app.sources.status("shop").is_some_and(|status| status.error.is_some())).await;
    let status = server.app.sources.status("shop").unwrap();
    assert!(status.error.as_ref().unwrap().contains("asking the repository for its branches"), "{status:?}");
    assert_eq!((status.looked_at_ms, status.failures), (None, 1));

    let source =
        Source::Git { url: "https://git.example.com/shop".into(), credential: Some("NOT_SET".into()) };
    register(&server, "blog", Registration { source, ..behind(&copy) }).await;
    until(|| server.app.sources.status("blog").is_some_and(|status| status.error.is_some())).await;
    let said = server.app.sources.status("blog").unwrap().error.unwrap();
    assert!(said.contains("the secret NOT_SET is not set"), "{said}");

    register(&server, "shop", behind(&copy)).await;
    assert_eq!(runs(&server, 1).await.len(), 1);
    until(|| server.app.sources.status("shop").is_some_and(|status| status.error.is_none())).await;

    server.app.engine.record(LedgerEvent::AppRemoved { app: "shop".into() }, "the test").await.unwrap();
    until(|| server.app.sources.status("shop").is_none()).await;
    server.stop().await;
}

#[tokio::test]
async fn an_app_that_is_fetched_takes_no_pushes_and_says_where_they_go() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    register(&server, "shop", behind(&copy)).await;
    assert_eq!(runs(&server, 1).await.len(), 1);
    let output = copy.try_git(&["push", &server.remote("shop"), "main:try"]).await;
    let seen = crate::fixture::stderr(&output);
    let said = format!("shop is fetched from file://{}: push there", copy.path().display());
    assert!(!output.status.success() && seen.contains(&said), "{seen}");
    server.stop().await;
}
