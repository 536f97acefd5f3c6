//! Deliveries of forges: what each is answered with, and what is left in the log.

use std::collections::{BTreeMap, BTreeSet};

use landfall_engine::core::ledger::{Forge, ForgeKind, Registration, Source};
use landfall_engine::core::run::{RunId, RunState};
use landfall_engine::core::stage::Stage;
use serde_json::{Value, json};

use crate::fixture::{TOKEN, TestServer, WorkingCopy};
use crate::forge::{NONE, answered, behind, commit, delivered, delivery, hex_of, push, register, unsigned};

const MAIN: &str = "refs/heads/main";

/// A server with an app behind the path of a working copy, whose first commit is live.
async fn rig() -> (TestServer, WorkingCopy, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    register(&server, "shop", behind(&copy)).await;
    first_run(&server).await;
    (server, copy, data)
}

/// An app that is made known is deployed as it is.
async fn first_run(server: &TestServer) {
    let looking = async {
        while server.runs().await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::fixture::PATIENCE, looking).await.expect("the first run begins");
    assert_eq!(server.states().await, [RunState::Live]);
}

async fn head(copy: &WorkingCopy) -> String {
    copy.git(&["rev-parse", "HEAD"]).await.trim().to_owned()
}

fn run_of(answer: &Value) -> RunId {
    answer["runs"][0]["run_id"].as_str().unwrap_or_else(|| panic!("{answer}")).parse().unwrap()
}

#[track_caller]
fn nothing(answer: &(u16, Value), why: &str) {
    assert_eq!((answer.0, &answer.1["runs"]), (200, &json!([])), "{}", answer.1);
    let said = answer.1["nothing"][0]["why"].as_str().unwrap();
    assert!(said.contains(why), "{said}");
}

#[tokio::test]
async fn a_signed_push_is_answered_with_its_run_once_that_is_durable_and_ends_live() {
    let (server, copy, _data) = rig().await;
    let before = head(&copy).await;
    let after = copy.commit("app.py", "app = 2\n").await;
    let (status, answer) = delivered(&server, "shop", "one", &push(MAIN, &before, &after)).await;
    assert_eq!((status, &answer["nothing"], &answer["runs"][0]["fresh"]), (202, &json!([]), &json!(true)));
    let id = run_of(&answer);
    assert_eq!(answer["runs"][0]["url"], format!("/v1/runs/{id}"));
    let run = server.settled(id).await;
    assert_eq!((run.state, run.lane.to_string().as_str()), (RunState::Live, "shop/production"));
    assert_eq!((run.commit().sha.as_str(), run.commit().branch.as_deref()), (after.as_str(), Some("main")));
    assert_eq!(
        (run.commit().subject.as_str(), run.commit().email.as_str()),
        ("Write app.py", "ada@example.com")
    );
    let summary = server.app.engine.store().run(id).await.unwrap().unwrap();
    assert_eq!((summary.trigger.as_str(), summary.actor.as_str()), ("github push", "github:ada"));
    let events = server.app.engine.store().events(id).await.unwrap();
    let recorded = serde_json::to_string(&events[0].event).unwrap();
    assert!(
        recorded.contains(&copy.path().display().to_string()),
        "the registered address is fetched: {recorded}"
    );
    assert!(!recorded.contains("evil.example"), "{recorded}");
    server.stop().await;
}

#[tokio::test]
async fn the_same_delivery_a_hundred_times_at_once_is_one_run_and_every_answer_names_it() {
    let (server, copy, _data) = rig().await;
    let before = head(&copy).await;
    let after = copy.commit("app.py", "app = 2\n").await;
    let body = push(MAIN, &before, &after).to_string();
    let sending = (0..100).map(|_| delivery(&server, "shop", "one", "push", &body).send());
    let mut answers = Vec::new();
    for answer in futures_util::future::join_all(sending).await {
        answers.push(answered(answer.unwrap()).await);
    }
    let runs: BTreeSet<RunId> = answers.iter().map(|(_, answer)| run_of(answer)).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert_eq!(answers.iter().filter(|(status, _)| *status == 202).count(), 1);
    assert!(answers.iter().all(|(status, _)| matches!(status, 200 | 202)));
    assert_eq!(server.states().await, [RunState::Live; 2]);

    // Also after a restart, and under another id.
    let data = server.app.data.clone();
    server.stop().await;
    let server = TestServer::start(&data).await;
    for id in ["one", "another"] {
        let (status, answer) = delivered(&server, "shop", id, &push(MAIN, &before, &after)).await;
        assert_eq!((status, run_of(&answer)), (200, *runs.first().unwrap()), "{id}");
    }
    assert_eq!(server.runs().await.len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn whoever_does_not_know_the_secret_learns_nothing() {
    let (server, copy, _data) = rig().await;
    register(&server, "open", Registration { webhook_secret: None, ..behind(&copy) }).await;
    register(&server, "lost", Registration { webhook_secret: Some("NOT_SET".into()), ..behind(&copy) }).await;
    register(&server, "empty", Registration { webhook_secret: Some("EMPTY".into()), ..behind(&copy) }).await;
    let body = push(MAIN, NONE, &head(&copy).await).to_string();
    let mut said = BTreeSet::new();
    for (path, secret) in [
        ("github/shop", "wrong"),
        ("github/nobody", crate::fixture::HOOK_SECRET),
        ("github/open", crate::fixture::HOOK_SECRET),
        ("github/open", ""),
        ("github/lost", ""),
        ("github/empty", ""),
        ("github/..%2fshop", ""),
        ("bitbucket/shop", crate::fixture::HOOK_SECRET),
    ] {
        let signature = format!("sha256={}", hex_of(secret, body.as_bytes()));
        let request = unsigned(&server, path, &body).header("x-github-event", "push");
        let (status, answer) =
            answered(request.header("x-hub-signature-256", signature).send().await.unwrap()).await;
        assert_eq!((status, &answer["type"]), (403, &json!("urn:landfall:unsigned")), "{path}: {answer}");
        said.insert(answer.to_string());
    }
    for path in ["github/shop", "gitlab/shop", "gitea/shop", "forgejo/shop", "gitlab/empty", "gitlab/nobody"]
    {
        // The API's own token opens nothing here.
        let request = unsigned(&server, path, &body).bearer_auth(TOKEN).header("x-gitlab-token", "");
        let (status, answer) = answered(request.send().await.unwrap()).await;
        assert_eq!(status, 403, "{path}");
        said.insert(answer.to_string());
    }
    assert_eq!(said.len(), 1, "{said:?}");
    let (status, answer) = answered(unsigned(&server, "sourcehut/shop", &body).send().await.unwrap()).await;
    assert_eq!(status, 404, "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn what_starts_no_run_is_answered_with_the_reason() {
    let (server, copy, _data) = rig().await;
    let (before, zeros) = (head(&copy).await, NONE);
    let after = copy.commit("app.py", "app = 2\n").await;

    let ping = delivery(&server, "shop", "p", "ping", "{}").send().await.unwrap();
    nothing(&answered(ping).await, "pong");
    let star = delivery(&server, "shop", "s", "star", "{}").send().await.unwrap();
    nothing(&answered(star).await, "the event \"star\" starts no run");
    nothing(&delivered(&server, "shop", "d", &push(MAIN, &before, zeros)).await, "deleted");
    nothing(
        &delivered(&server, "shop", "b", &push("refs/heads/try", zeros, &after)).await,
        "branch try is not deployed",
    );
    nothing(
        &delivered(&server, "shop", "t", &push("refs/tags/v1", zeros, &after)).await,
        "tag v1 is not deployed",
    );
    nothing(
        &delivered(&server, "shop", "n", &push("refs/notes/x", zeros, &after)).await,
        "neither a branch nor a tag",
    );
    let mut skip = push(MAIN, &before, &after);
    skip["head_commit"] = commit(&after, "Write app.py\n\n[skip ci]");
    nothing(&delivered(&server, "shop", "c", &skip).await, "[skip ci]");
    assert_eq!(server.runs().await.len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_push_to_another_project_of_the_same_webhook_starts_nothing() {
    let (server, copy, _data) = rig().await;
    let known = Forge {
        kind: ForgeKind::GitHub,
        api: "https://api.github.com".into(),
        project: "ada/shop".into(),
        token: "GIT_TOKEN".into(),
    };
    register(&server, "shop", Registration { forge: Some(known), ..behind(&copy) }).await;
    let before = head(&copy).await;
    let after = copy.commit("app.py", "app = 2\n").await;
    let mut other = push(MAIN, &before, &after);
    other["repository"]["full_name"] = json!("ada/blog");
    nothing(&delivered(&server, "shop", "o", &other).await, "it is of the project \"ada/blog\"");
    other["repository"]["full_name"] = json!("Ada/Shop");
    let (status, answer) = delivered(&server, "shop", "p", &other).await;
    assert_eq!(status, 202, "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn whoever_guesses_signatures_is_not_listened_to_for_a_while_and_the_api_is_open_all_the_same() {
    let (server, _copy, _data) = rig().await;
    let wrong = || unsigned(&server, "github/shop", "{}").header("x-github-event", "push");
    let mut refused = 0;
    let closed = loop {
        let answer = wrong().send().await.unwrap();
        match answer.status().as_u16() {
            403 => refused += 1,
            _ => break answer,
        }
        assert!(refused < 100, "nobody stops it");
    };
    assert!(refused >= 10, "a forge may have an old secret");
    assert!(closed.headers().contains_key("retry-after"));
    assert_eq!(answered(closed).await.0, 429);
    assert_eq!(server.ask("GET", "/v1/runs", json!({})).await.0, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_delivery_that_can_not_be_read_says_what_was_expected() {
    let (server, copy, _data) = rig().await;
    let after = head(&copy).await;
    for (body, said) in [
        ("{\"ref\":".to_owned(), "not the JSON expected here"),
        (json!({}).to_string(), "missing field"),
        (push(MAIN, NONE, "HEAD").to_string(), "expected the hash of a commit"),
    ] {
        let request = delivery(&server, "shop", "x", "push", &body);
        let (status, answer) = answered(request.send().await.unwrap()).await;
        assert_eq!((status, &answer["type"]), (400, &json!("urn:landfall:bad-request")), "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains(said), "{answer}");
    }
    let form = format!("payload={}", push(MAIN, NONE, &after));
    let mut request = delivery(&server, "shop", "x", "push", &form).build().unwrap();
    request.headers_mut().insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
    let (status, answer) = answered(reqwest::Client::new().execute(request).await.unwrap()).await;
    assert!(
        status == 400 && answer["detail"].as_str().unwrap().contains("choose `application/json`"),
        "{answer}"
    );

    let long = "x".repeat(5 * 1024 * 1024 + 1);
    let (status, _) = answered(unsigned(&server, "github/shop", &long).send().await.unwrap()).await;
    assert_eq!(status, 413);
    server.stop().await;
}

#[tokio::test]
async fn branches_tags_and_paths_lead_where_the_app_is_registered_to() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let map = |pattern: &str, env: &str| BTreeMap::from([(pattern.to_owned(), env.to_owned())]);
    let registration = Registration {
        branches: map("release/*", "staging"),
        tags: map("v*", "production"),
        paths: vec!["!docs/**".into()],
        ..behind(&copy)
    };
    register(&server, "shop", registration).await;
    let sha = head(&copy).await;
    let (_, answer) = delivered(&server, "shop", "b", &push("refs/heads/release/1", NONE, &sha)).await;
    assert_eq!(server.settled(run_of(&answer)).await.lane.to_string(), "shop/staging");
    let (_, answer) = delivered(&server, "shop", "t", &push("refs/tags/v1", NONE, &sha)).await;
    let run = server.settled(run_of(&answer)).await;
    assert_eq!((run.lane.to_string().as_str(), run.commit().branch.as_deref()), ("shop/production", None));

    let after = copy.commit("app.py", "app = 2\n").await;
    let mut docs = push("refs/heads/release/1", &sha, &after);
    docs["commits"][0]["modified"] = json!(["docs/start.md"]);
    nothing(&delivered(&server, "shop", "d", &docs).await, "no path was changed that matches !docs/**");
    docs["commits"][0]["modified"] = json!(["docs/start.md", "app.py"]);
    let answer = delivered(&server, "shop", "e", &docs).await;
    assert_eq!(answer.0, 202, "{}", answer.1);
    server.stop().await;
}

#[tokio::test]
async fn a_delivery_that_comes_after_a_newer_one_does_not_put_the_older_commit_live() {
    let (server, copy, _data) = rig().await;
    let one = head(&copy).await;
    let two = copy.commit("app.py", "app = 2\n").await;
    let three = copy.commit("app.py", "app = 3\n").await;
    let (status, answer) = delivered(&server, "shop", "newer", &push(MAIN, &two, &three)).await;
    assert_eq!(status, 202, "{answer}");
    nothing(&delivered(&server, "shop", "older", &push(MAIN, &one, &two)).await, "what is newer goes first");

    // A branch that was set back on purpose is at that commit, and goes there.
    copy.git(&["reset", "--quiet", "--hard", &two]).await;
    let (status, answer) = delivered(&server, "shop", "back", &push(MAIN, &three, &two)).await;
    assert_eq!(status, 202, "{answer}");
    let shas: Vec<String> = commits(&server).await;
    assert_eq!(shas, [one, three, two]);
    server.stop().await;
}

async fn commits(server: &TestServer) -> Vec<String> {
    let mut shas = Vec::new();
    for run in server.runs().await {
        shas.push(server.settled(run).await.commit().sha.clone());
    }
    shas
}

#[tokio::test]
async fn an_app_that_is_pushed_must_have_the_commit_and_says_itself_which_branches_go() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let registration = Registration {
        source: Source::Push,
        webhook_secret: Some("HOOK_SECRET".into()),
        ..Registration::default()
    };
    register(&server, "shop", registration).await;
    copy.push(&server.remote("shop"), &["main"]).await;
    let before = head(&copy).await;
    let after = copy.commit("app.py", "app = 2\n").await;
    let (status, answer) = delivered(&server, "shop", "one", &push(MAIN, &before, &after)).await;
    assert_eq!((status, &answer["type"]), (422, &json!("urn:landfall:unprocessable")), "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("push it to /git/shop.git first"), "{answer}");

    // What was refused is not claimed: once the commit is there, the delivery starts its run.
    let bare = data.path().join("git/shop.git").display().to_string();
    copy.git(&["push", "--quiet", &bare, "main", "main:try"]).await;
    nothing(
        &delivered(&server, "shop", "two", &push("refs/heads/try", NONE, &after)).await,
        "[on.push] names main",
    );
    let (status, answer) = delivered(&server, "shop", "one", &push(MAIN, &before, &after)).await;
    assert_eq!(status, 202, "{answer}");
    assert_eq!(server.states().await, [RunState::Live; 2]);
    server.stop().await;
}

#[tokio::test]
async fn the_other_forges_are_heard_too() {
    let (server, copy, _data) = rig().await;
    let mut before = head(&copy).await;
    for (forge, event, signed_as) in [
        ("gitea", ("x-gitea-event", "push"), "x-gitea-signature"),
        ("forgejo", ("x-forgejo-event", "push"), "x-forgejo-signature"),
        ("gitlab", ("x-gitlab-event", "Push Hook"), "x-gitlab-token"),
        ("bitbucket", ("x-event-key", "repo:push"), "x-hub-signature"),
    ] {
        let after = copy.commit("app.py", &format!("app = '{forge}'\n")).await;
        let body = body_of(forge, &before, &after).to_string();
        let hex = hex_of(crate::fixture::HOOK_SECRET, body.as_bytes());
        let signature = match forge {
            "gitlab" => crate::fixture::HOOK_SECRET.to_owned(),
            "bitbucket" => format!("sha256={hex}"),
            _ => hex,
        };
        let request = unsigned(&server, &format!("{forge}/shop"), &body);
        let request = request.header(event.0, event.1).header(signed_as, signature);
        let (status, answer) = answered(request.send().await.unwrap()).await;
        assert_eq!(status, 202, "{forge}: {answer}");
        let run = server.settled(run_of(&answer)).await;
        assert_eq!((run.state, run.commit().sha.as_str()), (RunState::Live, after.as_str()), "{forge}");
        before = after;
    }
    server.stop().await;
}

fn body_of(forge: &str, before: &str, after: &str) -> Value {
    let at = |sha: &str| json!({ "type": "branch", "name": "main", "target": { "hash": sha, "message": "Write" } });
    match forge {
        "gitlab" => {
            let mut body = push(MAIN, before, after);
            body["object_kind"] = json!("push");
            body["checkout_sha"] = json!(after);
            body
        }
        "bitbucket" => json!({ "push": { "changes": [{ "old": at(before), "new": at(after) }] } }),
        _ => push(MAIN, before, after),
    }
}

#[tokio::test]
async fn a_held_commit_is_answered_with_its_hold_and_not_with_an_error() {
    let (server, copy, _data) = rig().await;
    let before = head(&copy).await;
    let after = copy.commit("app.py", "app = 2\n").await;
    let lane = landfall_engine::core::lane::LaneId::production("shop");
    let held = landfall_engine::core::ledger::LedgerEvent::CommitHeld {
        lane,
        sha: after.clone(),
        reason: "it eats carts".into(),
    };
    server.app.engine.record(held, "ops").await.unwrap();
    nothing(&delivered(&server, "shop", "one", &push(MAIN, &before, &after)).await, "it eats carts");
    server.stop().await;
}

#[tokio::test]
async fn while_a_run_goes_on_two_deliveries_of_a_branch_are_triggered_in_their_order() {
    let (server, copy, _data) = rig().await;
    server.stages.hold(Stage::Test);
    let one = head(&copy).await;
    let two = copy.commit("app.py", "app = 2\n").await;
    assert_eq!(delivered(&server, "shop", "a", &push(MAIN, &one, &two)).await.0, 202);
    let three = copy.commit("app.py", "app = 3\n").await;
    assert_eq!(delivered(&server, "shop", "b", &push(MAIN, &two, &three)).await.0, 202);
    server.stages.release(Stage::Test);
    assert_eq!(commits(&server).await, [one, two, three]);
    server.stop().await;
}
