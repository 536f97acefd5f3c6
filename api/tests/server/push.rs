//! `git push`, by a real git: what the pusher sees, and what is left in the log.

use std::path::Path;
use std::process::Stdio;

use landfall_engine::core::command::Outcome;
use landfall_engine::core::run::RunState;
use landfall_engine::core::stage::Stage;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::fixture::{TestServer, WorkingCopy, stderr, until};

/// Counts the processes that the git remote of a data folder has started.
fn gits_of(data: &Path) -> usize {
    let wanted = format!("GIT_PROJECT_ROOT={}", data.join("git").display());
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let environments = processes.filter_map(|process| std::fs::read(process.path().join("environ")).ok());
    environments.filter(|bytes| bytes.split(|byte| *byte == 0).any(|line| line == wanted.as_bytes())).count()
}

#[tokio::test]
async fn a_push_triggers_a_run_and_streams_its_steps_until_it_is_live() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;

    let seen = copy.push(&server.remote("shop"), &["main"]).await;

    let run = server.runs().await[0];
    for line in [
        &format!("remote: shop/production  {}", &copy.git(&["rev-parse", "HEAD"]).await[..12]),
        &format!("remote: run {run}  (git push by ada)"),
        "remote:  ✓ 1 Code pushed",
        "remote:  ▸ 2 Run tests",
        "remote:  ✓ 2 Run tests",
        "remote:  ✓ 7 Smoke tests",
        "remote: Live: shop/production serves",
        "* [new branch]      main -> main",
    ] {
        assert!(seen.contains(line), "expected {line:?} in:\n{seen}");
    }
    let run = server.settled(run).await;
    assert_eq!((run.state, run.lane.to_string().as_str()), (RunState::Live, "shop/production"));
    assert_eq!(run.commit().branch.as_deref(), Some("main"));
    server.stop().await;
}

#[tokio::test]
async fn a_git_that_shows_progress_is_shown_what_goes_on_and_writes_over_it() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    server.stages.hold(Stage::Test);

    // As on a terminal, where git shows progress by itself.
    let mut push = copy.command(&["push", "--progress", &server.remote("shop"), "main"]).spawn().unwrap();
    let mut stderr = push.stderr.take().unwrap();
    let mut seen = Vec::new();
    // Two shapes of the spinner, one written over the other.
    while String::from_utf8_lossy(&seen).matches(" 2 Run tests").count() < 2 {
        let mut piece = [0; 1024];
        let length = stderr.read(&mut piece).await.unwrap();
        assert!(length > 0, "git ended: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&piece[..length]);
    }
    server.stages.release(Stage::Test);
    stderr.read_to_end(&mut seen).await.unwrap();
    assert!(push.wait().await.unwrap().success());

    let seen = String::from_utf8_lossy(&seen);
    let over = |piece: &str| piece.ends_with('\r') && piece.contains(" 2 Run tests") && !piece.contains('✓');
    assert!(seen.split_inclusive(['\r', '\n']).any(over), "{seen:?}");
    assert!(seen.contains(" ✓ 2 Run tests") && seen.contains("Live: shop/production"), "{seen:?}");
    assert!(!seen.contains("▸ 2 Run tests"), "what goes on is not told twice: {seen:?}");
    server.stop().await;
}

#[tokio::test]
async fn two_pushes_are_two_runs_and_the_same_push_again_is_none() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let first = copy.git(&["rev-parse", "HEAD"]).await;

    copy.push(&server.remote("shop"), &["main"]).await;
    copy.commit("app.py", "app = 2\n").await;
    copy.push(&server.remote("shop"), &["main"]).await;
    assert_eq!(server.states().await, [RunState::Live; 2]);
    let seen = copy.push(&server.remote("shop"), &["main"]).await;
    assert!(seen.contains("Everything up-to-date"), "{seen}");
    assert_eq!(server.runs().await.len(), 2);

    // Back, and forward again: each of these is a deploy of its own.
    copy.push(&server.remote("shop"), &["--force", &format!("{}:main", first.trim())]).await;
    copy.push(&server.remote("shop"), &["main"]).await;
    assert_eq!(server.states().await, [RunState::Live; 4]);
    server.stop().await;
}

#[tokio::test]
async fn red_tests_are_shown_to_the_pusher_and_the_push_is_accepted() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    server.stages.end(Stage::Test, Outcome::failed("1 of 3 tests failed"));
    let copy = WorkingCopy::new().await;

    let seen = copy.push(&server.remote("shop"), &["main"]).await;

    assert!(seen.contains("remote: Failed at test: 1 of 3 tests failed"), "{seen}");
    assert!(seen.contains("remote:   nothing was deployed"), "{seen}");
    assert!(seen.contains("remote: landfall: NOT LIVE: the run failed"), "{seen}");
    assert_eq!(server.states().await, [RunState::Failed]);
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_token_is_refused_before_anything_is_made() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;

    let output = copy.try_git(&["push", &server.remote_with("shop", "wrong"), "main"]).await;

    let seen = stderr(&output);
    assert!(!output.status.success());
    assert!(seen.contains("the password must be the server's token"), "{seen}");
    assert!(!data.path().join("git/shop.git").exists());
    server.stop().await;
}

#[tokio::test]
async fn a_name_that_no_app_can_have_is_refused_with_the_rule() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;

    for bad in ["Shop", "shop_1", "-shop", "a.b", "%2e%2e", "x%2f..%2fy"] {
        let output = copy.try_git(&["push", &server.remote(bad), "main"]).await;
        let seen = stderr(&output);
        assert!(!output.status.success(), "{bad}");
        assert!(seen.contains("can't be the name of an app: expected 1 to 40 of a-z"), "{bad}: {seen}");
    }
    assert_eq!(std::fs::read_dir(data.path().join("git")).unwrap().count(), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_push_goes_where_its_app_is_registered_to_and_not_where_its_last_commit_says_not() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let known = json!({
        "branches": { "release/*": "staging" }, "tags": { "v*": "production" }, "paths": ["!docs/**"]
    });
    assert_eq!(server.ask("PUT", "/v1/apps/shop", known).await.0, 201);
    let remote = server.remote("shop");
    let seen = copy.push(&remote, &["main"]).await;
    assert!(seen.contains("branch main is not deployed; these are: release/* (to staging)"), "{seen}");
    copy.push(&remote, &["main:release/1"]).await;
    copy.git(&["tag", "-a", "-m", "the first", "v1"]).await;
    copy.push(&remote, &["v1"]).await;
    let lanes = async || {
        let mut lanes = Vec::new();
        for run in server.runs().await {
            let run = server.settled(run).await;
            lanes.push((run.lane.env.clone(), run.commit().branch.clone()));
        }
        lanes.sort_unstable();
        lanes
    };
    let first = [("production".to_owned(), None), ("staging".to_owned(), Some("release/1".to_owned()))];
    assert_eq!(lanes().await, first);
    std::fs::create_dir(copy.path().join("docs")).unwrap();
    copy.commit("docs/start.md", "read this\n").await;
    let seen = copy.push(&remote, &["main:release/1"]).await;
    assert!(seen.contains("no path was changed that matches !docs/**"), "{seen}");
    copy.git(&["commit", "-q", "--allow-empty", "-m", "Nothing\n\n[skip ci]"]).await;
    let seen = copy.push(&remote, &["main:release/1"]).await;
    assert!(seen.contains("the message of the last commit says [skip ci]"), "{seen}");
    assert_eq!(lanes().await, first);
    server.stop().await;

    // What was skipped is not taken for lost at the next start.
    let server = TestServer::start(data.path()).await;
    assert_eq!(server.runs().await.len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn a_branch_that_is_not_deployed_a_tag_and_a_deletion_are_said_and_start_nothing() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let remote = server.remote("shop");

    let seen = copy.push(&remote, &["main:try"]).await;
    assert!(seen.contains("remote: landfall: branch try is not deployed"), "{seen}");
    assert!(seen.contains("names main, master"), "{seen}");
    copy.git(&["tag", "v1"]).await;
    let seen = copy.push(&remote, &["v1"]).await;
    assert!(seen.contains("nothing is deployed: tag v1 is not deployed"), "{seen}");
    let seen = copy.push(&remote, &[":try"]).await;
    assert!(seen.contains("branch try deleted; nothing is deployed by that"), "{seen}");
    assert!(server.runs().await.is_empty());

    // The branch that HEAD names may be deleted as well.
    copy.push(&remote, &["main"]).await;
    let seen = copy.push(&remote, &[":main"]).await;
    assert!(seen.contains("branch main deleted"), "{seen}");
    assert_eq!(server.states().await, [RunState::Live]);
    server.stop().await;
}

#[tokio::test]
async fn the_configuration_at_the_commit_says_which_branches_are_deployed() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    copy.commit("landfall.toml", "[on.push]\nbranches = [\"release\"]\n").await;

    let seen = copy.push(&server.remote("shop"), &["main", "main:release"]).await;

    assert!(seen.contains("branch main is not deployed"), "{seen}");
    assert!(seen.contains("remote: Live: "), "{seen}");
    assert_eq!(server.runs().await.len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn several_deployed_branches_of_one_push_are_told_apart() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;

    let seen = copy.push(&server.remote("shop"), &["main", "main:master"]).await;

    assert!(seen.contains("remote: main: Live: "), "{seen}");
    assert!(seen.contains("remote: master: Live: "), "{seen}");
    assert_eq!(server.states().await, [RunState::Live; 2]);
    server.stop().await;
}

#[tokio::test]
async fn a_configuration_that_can_not_be_used_is_shown_and_recorded_as_a_failed_run() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    copy.commit("landfall.toml", "[tset]\ncommand = 1\n").await;

    let seen = copy.push(&server.remote("shop"), &["main"]).await;

    assert!(seen.contains("remote: Failed at checkout: landfall.toml:1:2: unknown key `tset`"), "{seen}");
    assert!(seen.contains("did you mean `test`?"), "{seen}");
    assert_eq!(server.states().await, [RunState::Failed]);

    let seen = copy.push(&server.remote("shop"), &["main:try"]).await;
    assert!(seen.contains("this configuration can't be used"), "{seen}");
    assert!(seen.contains("branch try is not deployed"), "{seen}");
    assert_eq!(server.runs().await.len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_commit_that_was_rolled_back_is_held_and_the_pusher_is_told_why() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    server.stages.end(Stage::Smoke, Outcome::failed("GET / gave 503"));

    let seen = copy.push(&server.remote("shop"), &["main"]).await;
    assert!(seen.contains("remote: RolledBack at smoke: GET / gave 503"), "{seen}");
    copy.push(&server.remote("shop"), &[":main"]).await;
    let seen = copy.push(&server.remote("shop"), &["main"]).await;

    assert!(seen.contains("NOT DEPLOYED: commit"), "{seen}");
    assert!(seen.contains("was rolled back (smoke: GET / gave 503)"), "{seen}");
    assert_eq!(server.states().await, [RunState::RolledBack]);
    server.stop().await;
}

#[tokio::test]
async fn a_pusher_that_hangs_up_leaves_the_run_going() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    server.stages.hold(Stage::Test);
    let copy = WorkingCopy::new().await;

    let mut push = copy.command(&["push", &server.remote("shop"), "main"]).process_group(0).spawn().unwrap();
    let mut seen = BufReader::new(push.stderr.take().unwrap()).lines();
    while let Some(line) = seen.next_line().await.unwrap() {
        if line.contains("▸ 2 Run tests") {
            break;
        }
    }
    // The whole group: git has a helper that speaks HTTP.
    let group = format!("-{}", push.id().unwrap());
    let killed = tokio::process::Command::new("kill").args(["-KILL", "--", &group]).status().await.unwrap();
    assert!(killed.success());
    push.wait().await.unwrap();

    // The git that received it ends although the run goes on.
    until(|| gits_of(data.path()) == 0).await;
    server.stages.release(Stage::Test);
    assert_eq!(server.states().await, [RunState::Live]);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_while_it_sends_moves_nothing_and_leaves_no_git_behind() {
    use tokio::io::AsyncWriteExt;
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    landfall_stages::git::init_bare(&data.path().join("git/shop.git")).await.unwrap();

    let host = server.url.strip_prefix("http://").unwrap();
    let mut client = tokio::net::TcpStream::connect(host).await.unwrap();
    let basic = "YWRhOmEtdG9rZW4tZm9yLXRlc3RzLW9ubHk=";
    let head = format!(
        "POST /git/shop.git/git-receive-pack HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic {basic}\r\n\
         Content-Type: application/x-git-receive-pack-request\r\nContent-Length: 100000\r\n\r\n0098"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    until(|| gits_of(data.path()) > 0).await;
    drop(client);

    until(|| gits_of(data.path()) == 0).await;
    assert!(server.runs().await.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_large_push_arrives_in_chunks() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    // Larger than git's buffer, and nothing that packs well.
    let noise: String =
        (0..200_000_u64).map(|n| format!("{:x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    copy.commit("noise.txt", &noise).await;
    copy.git(&["config", "http.postBuffer", "65536"]).await;

    copy.push(&server.remote("shop"), &["main"]).await;

    assert_eq!(server.states().await, [RunState::Live]);
    let clone = copy.git(&["ls-remote", &server.remote("shop"), "refs/heads/main"]).await;
    assert!(clone.starts_with(copy.git(&["rev-parse", "HEAD"]).await.trim()), "{clone}");
    server.stop().await;
}

#[tokio::test]
async fn a_data_folder_whose_path_is_too_long_for_a_socket_takes_pushes_as_well() {
    let data = tempfile::tempdir().unwrap();
    let deep = data.path().join("d".repeat(60)).join("e".repeat(60));
    let server = TestServer::start(&deep).await;
    let copy = WorkingCopy::new().await;

    let seen = copy.push(&server.remote("shop"), &["main"]).await;

    assert!(seen.contains("remote: Live: "), "{seen}");
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_ends_the_streams_and_goes_on_with_the_run_when_it_is_back() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    server.stages.hold(Stage::Test);
    let copy = WorkingCopy::new().await;

    let mut push =
        copy.command(&["push", &server.remote("shop"), "main"]).stdout(Stdio::null()).spawn().unwrap();
    let mut seen = BufReader::new(push.stderr.take().unwrap()).lines();
    while let Some(line) = seen.next_line().await.unwrap() {
        if line.contains("▸ 2 Run tests") {
            break;
        }
    }
    server.stop().await;
    let mut rest = String::new();
    while let Some(line) = seen.next_line().await.unwrap() {
        rest += &line;
    }
    assert!(rest.contains("the server is stopping; the run goes on when it is back"), "{rest}");
    assert!(push.wait().await.unwrap().success(), "the push itself was accepted");

    let server = TestServer::start(data.path()).await;
    assert_eq!(server.states().await, [RunState::Live]);
    server.stop().await;
}

#[tokio::test]
async fn a_head_that_was_pushed_and_never_heard_of_is_triggered_at_the_next_start_and_only_once() {
    let data = tempfile::tempdir().unwrap();
    let copy = WorkingCopy::new().await;
    let server = TestServer::start(data.path()).await;
    copy.push(&server.remote("shop"), &["main", "main:try"]).await;
    server.stop().await;

    // As if the server had died between the move of the ref and the trigger.
    let lost = copy.commit("app.py", "app = 2\n").await;
    let bare = data.path().join("git/shop.git").display().to_string();
    copy.git(&["push", "--quiet", &bare, "main", "main:try"]).await;

    for _ in 0..2 {
        let server = TestServer::start(data.path()).await;
        assert_eq!(server.states().await, [RunState::Live; 2]);
        let run = server.settled(server.runs().await[1]).await;
        assert_eq!(
            (run.commit().sha.as_str(), run.commit().branch.as_deref()),
            (lost.as_str(), Some("main"))
        );
        server.stop().await;
    }
}

#[tokio::test]
async fn a_head_that_was_never_heard_of_and_can_not_be_configured_is_recorded_at_the_next_start_and_only_once()
 {
    let data = tempfile::tempdir().unwrap();
    let copy = WorkingCopy::new().await;
    copy.commit("landfall.toml", "[on.push]\nbranches = [\"live\"]\n").await;
    let server = TestServer::start(data.path()).await;
    copy.push(&server.remote("shop"), &["main:live", "main"]).await;
    server.stop().await;

    let lost = copy.commit("landfall.toml", "[tset]\ncommand = 1\n").await;
    let bare = data.path().join("git/shop.git").display().to_string();
    copy.git(&["push", "--quiet", &bare, "main:live", "main:try"]).await;

    for _ in 0..2 {
        let server = TestServer::start(data.path()).await;
        assert_eq!(server.states().await, [RunState::Live, RunState::Failed]);
        let run = server.settled(server.runs().await[1]).await;
        assert_eq!(
            (run.commit().sha.as_str(), run.commit().branch.as_deref()),
            (lost.as_str(), Some("live"))
        );
        server.stop().await;
    }
}
