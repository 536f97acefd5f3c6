//! What pages ask: traffic by release, what changed, a run as it was, usual times, badges, summaries.

use std::net::SocketAddr;
use std::path::Path;

use axum::http::StatusCode;
use landfall::proxy::spawn::ensure_running;
use landfall::server::Vitals;
use landfall_engine::Limits;
use landfall_engine::core::command::Outcome;
use landfall_engine::core::facts::{Failure, TestFailure, TestReport};
use landfall_engine::core::run::{RunId, RunState};
use landfall_engine::core::stage::Stage;
use landfall_stages::proxy::{ProxyClient, Route};
use landfall_store::{DataDir, Options};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::fixture::{TestServer, WorkingCopy, answered};

/// An app that answers 200, and 500 at /broken.
async fn backend() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let broken = || async { StatusCode::INTERNAL_SERVER_ERROR };
    let app = axum::Router::new()
        .route("/", axum::routing::get(|| async { "hello" }))
        .route("/broken", axum::routing::get(broken));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

async fn served_with_proxy(data: &Path) -> (TestServer, u32, ProxyClient, SocketAddr) {
    let opened = DataDir::open(data, &Options { segment_bytes: 1 << 20, ..Options::default() }).unwrap();
    let exe = Path::new(env!("CARGO_BIN_EXE_landfall"));
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let info = ensure_running(&data.join("proxy"), any, exe).await.unwrap();
    let client = ProxyClient::in_dir(&data.join("proxy"));
    let vitals = Vitals { proxy: Some(client.clone()), ..Vitals::default() };
    let (store, outputs) = (opened.store, opened.outputs);
    let server = TestServer::start_watched(data, store, outputs, Limits::default(), vitals).await;
    (server, info.pid, client, info.listen)
}

async fn ask(listen: SocketAddr, path: &str, times: usize) {
    for _ in 0..times {
        reqwest::get(format!("http://{listen}{path}")).await.unwrap().bytes().await.unwrap();
    }
}

/// Pushes the working copy and waits for the end of its run.
async fn pushed(server: &TestServer, copy: &WorkingCopy) -> RunId {
    copy.push(&server.remote("shop"), &["main"]).await;
    server.states().await;
    *server.runs().await.last().unwrap()
}

async fn get(server: &TestServer, path: &str) -> (u16, Value) {
    answered(server.request("GET", path).send().await.unwrap()).await
}

fn sums(release: &Value) -> (u64, u64, u64) {
    let sum = |field: &str| {
        release["points"].as_array().unwrap().iter().map(|point| point[field].as_u64().unwrap()).sum()
    };
    (sum("requests"), sum("server_errors"), sum("unanswered"))
}

#[tokio::test]
async fn traffic_is_told_by_release_with_the_switches_of_the_log_and_outlives_the_server() {
    let data = tempfile::tempdir().unwrap();
    let (server, pid, proxy, listen) = served_with_proxy(data.path()).await;
    let copy = WorkingCopy::new().await;
    let mut runs = Vec::new();
    for (generation, broken) in [(1, 1), (2, 3)] {
        let sha = copy.commit("app.py", &format!("app = {generation}\n")).await;
        let run = pushed(&server, &copy).await;
        let route = Route {
            app: "shop".into(),
            env: "production".into(),
            generation,
            target: Some(backend().await),
            release: format!("sha256:{}", run.short()),
            run: run.to_string(),
            ..Route::default()
        };
        proxy.switch(route).await.unwrap();
        ask(listen, "/", 4).await;
        ask(listen, "/broken", broken).await;
        runs.push((run, sha));
    }

    let (status, traffic) = get(&server, "/v1/apps/shop/traffic?since=10m").await;
    assert_eq!(status, 200, "{traffic}");
    let releases = traffic["releases"].as_array().unwrap();
    let seen: Vec<_> =
        releases.iter().map(|r| (r["run"].clone(), r["commit"]["sha"].clone(), sums(r))).collect();
    let expected = [(0, (5, 1, 0)), (1, (7, 3, 0))]
        .map(|(nth, sums): (usize, _)| (json!(runs[nth].0), json!(runs[nth].1), sums));
    assert_eq!(seen, expected);
    assert_eq!((&releases[0]["live"], &releases[1]["live"]), (&json!(false), &json!(true)));
    assert_eq!(
        (&releases[1]["digest"], &traffic["step_ms"]),
        (&json!(format!("sha256:{}", runs[1].0.short())), &json!(5_000))
    );
    let p95 = releases[0]["points"][0]["p95_ms"].as_u64().unwrap();
    assert!((5..=30_000).contains(&p95), "{traffic}");
    let switches: Vec<_> = traffic["switches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["kind"].clone(), s["run"].clone()))
        .collect();
    assert_eq!(switches, runs.iter().map(|(run, _)| (json!("go_live"), json!(run))).collect::<Vec<_>>());

    // In minutes it is the same, and a restart of the server forgets nothing.
    server.stop().await;
    let (server, _, _, _) = served_with_proxy(data.path()).await;
    let (_, traffic) = get(&server, "/v1/apps/shop/traffic?since=1d").await;
    assert_eq!((traffic["step_ms"].clone(), sums(&traffic["releases"][1])), (json!(60_000), (7, 3, 0)));
    assert_eq!(traffic["releases"][1]["points"][0]["length_ms"], 60_000);

    for (path, refused) in [
        ("/v1/apps/nobody/traffic", 404),
        ("/v1/apps/shop/traffic?since=2d", 400),
        ("/v1/apps/shop/traffic?since=-1", 400),
        ("/v1/apps/shop/traffic?env=No!", 400),
    ] {
        assert_eq!(get(&server, path).await.0, refused, "{path}");
    }
    let (status, traffic) = get(&server, "/v1/apps/shop/traffic?env=staging").await;
    assert_eq!((status, &traffic["releases"]), (200, &json!([])));

    assert!(Command::new("kill").arg(pid.to_string()).status().await.unwrap().success());
    while proxy.info().await.is_ok() {
        tokio::task::yield_now().await;
    }
    let (status, problem) = get(&server, "/v1/apps/shop/traffic").await;
    assert_eq!(status, 503);
    assert!(
        problem["detail"].as_str().unwrap().starts_with("the traffic proxy does not answer"),
        "{problem}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_rollback_is_a_switch_and_a_token_of_another_app_sees_none_of_it() {
    let data = tempfile::tempdir().unwrap();
    let (server, pid, proxy, _) = served_with_proxy(data.path()).await;
    let copy = WorkingCopy::new().await;
    pushed(&server, &copy).await;
    server.stages.end(Stage::PublicSmoke, Outcome::failed("GET / gave 503"));
    copy.commit("app.py", "app = 2\n").await;
    let undone = pushed(&server, &copy).await;
    assert_eq!(server.settled(undone).await.state, RunState::RolledBack);
    let (_, traffic) = get(&server, "/v1/apps/shop/traffic").await;
    let kinds: Vec<_> = traffic["switches"].as_array().unwrap().iter().map(|s| s["kind"].clone()).collect();
    assert_eq!(kinds, ["go_live", "go_live", "rollback"]);
    assert_eq!(traffic["switches"][2]["digest"], traffic["switches"][0]["digest"]);

    let token = json!({ "label": "blog", "scope": "read", "app": "blog" });
    let (_, made) = server.ask("POST", "/v1/tokens", token).await;
    let blog = made["token"].as_str().unwrap();
    for route in ["traffic", "changes", "usual"] {
        let url = format!("{}/v1/apps/shop/{route}", server.url);
        let answer = reqwest::Client::new().get(url).bearer_auth(blog).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{route}");
    }
    assert!(Command::new("kill").arg(pid.to_string()).status().await.unwrap().success());
    while proxy.info().await.is_ok() {
        tokio::task::yield_now().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn what_a_release_brought_is_told_and_what_going_back_takes() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    assert_eq!(get(&server, "/v1/apps/shop/changes").await.0, 404);
    let copy = WorkingCopy::new().await;
    let first = pushed(&server, &copy).await;
    let (status, problem) = get(&server, "/v1/apps/shop/changes").await;
    assert_eq!(status, 404);
    assert!(problem["detail"].as_str().unwrap().contains("no former release"), "{problem}");
    copy.commit("shop.py", "one\ntwo\n").await;
    let last = copy.commit("app.py", "app = 2\n").await;
    let second = pushed(&server, &copy).await;

    let (status, changes) = get(&server, "/v1/apps/shop/changes").await;
    assert_eq!(status, 200, "{changes}");
    let subjects = |changes: &Value| -> Vec<String> {
        let commits = changes["commits"].as_array().unwrap().iter();
        commits.map(|commit| commit["subject"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(subjects(&changes), ["Write app.py", "Write shop.py"]);
    assert_eq!(
        (&changes["reverted"], &changes["more_commits"], &changes["left_out"]),
        (&json!(false), &json!(0), &json!(0))
    );
    assert_eq!(
        (&changes["to"]["sha"], &changes["to"]["run"], &changes["from"]["run"]),
        (&json!(last), &json!(second), &json!(first))
    );
    let files = json!([
        { "path": "app.py", "added": 1, "deleted": 1 },
        { "path": "shop.py", "added": 2, "deleted": 0 },
    ]);
    assert_eq!(changes["files"], files);

    // Back, by the short form of a run and by the beginning of a commit.
    let path = format!("/v1/apps/shop/changes?from={}&to={}", &last[..8], first.short());
    let (status, back) = get(&server, &path).await;
    assert_eq!((status, &back["reverted"], subjects(&back).len()), (200, &json!(true), 2), "{back}");
    // A commit that had no run of its own is known to git alone.
    let (_, changes) = get(
        &server,
        &format!("/v1/apps/shop/changes?from={}", copy.git(&["rev-parse", "HEAD~1"]).await.trim()),
    )
    .await;
    assert_eq!(subjects(&changes), ["Write app.py"]);
    for (from, refused) in [
        ("--output=x", 400),
        ("main", 400),
        ("abc", 400),
        ("deadbeef", 404),
        (&"0".repeat(40), 404),
        ("HEAD..main", 400),
    ] {
        let (status, problem) = get(&server, &format!("/v1/apps/shop/changes?from={from}")).await;
        assert_eq!(status, refused, "{from}: {problem}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_run_is_told_as_it_was_after_any_of_its_events() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let run = pushed(&server, &WorkingCopy::new().await).await;
    let (_, whole) = get(&server, &format!("/v1/runs/{run}")).await;
    let last = whole["events"].as_u64().unwrap();
    let mut states = Vec::new();
    for at in 1..=last {
        let (status, then) = get(&server, &format!("/v1/runs/{run}?at={at}")).await;
        assert_eq!((status, &then["events"], &then["summary"]["seq"]), (200, &json!(at), &json!(at)));
        assert_eq!((&then["run"]["seq"], &then["problems"]), (&json!(at), &json!([])));
        states.push(then["run"]["state"].as_str().unwrap().to_owned());
    }
    states.dedup();
    assert_eq!(states, ["pushed", "tested", "built", "image_pushed", "deployed", "smoked", "live"]);
    assert_eq!(get(&server, &format!("/v1/runs/{run}?at={last}")).await.1, whole);

    let (status, problem) = get(&server, &format!("/v1/runs/{run}?at={}", last + 1)).await;
    assert_eq!(status, 404);
    assert!(
        problem["detail"].as_str().unwrap().ends_with(&format!("has the events 1 to {last}")),
        "{problem}"
    );
    assert_eq!(get(&server, &format!("/v1/runs/{run}?at=0")).await.0, 400);
    assert_eq!(get(&server, &format!("/v1/runs/{run}?at=x")).await.0, 400);
    server.stop().await;
}

#[tokio::test]
async fn usual_times_are_of_green_runs_and_an_app_tells_all_that_goes_on() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let first = pushed(&server, &copy).await;
    copy.commit("app.py", "app = 2\n").await;
    let second = pushed(&server, &copy).await;
    server.stages.end(Stage::Build, Outcome::failed("no such image"));
    copy.commit("app.py", "app = 3\n").await;
    let third = pushed(&server, &copy).await;

    let (status, usual) = get(&server, "/v1/apps/shop/usual").await;
    assert_eq!((status, &usual["runs"]), (200, &json!(2)), "{usual}");
    let steps: Vec<_> = usual["steps"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(steps, ["build", "deploy", "go_live", "push_image", "smoke", "test"]);

    let (_, shop) = get(&server, "/v1/apps/shop").await;
    let standing = &shop["standings"][0];
    assert_eq!((&standing["env"], &standing["open"]), (&json!("production"), &json!([])));
    assert_eq!((&standing["last_run"]["id"], &standing["back_to"]), (&json!(third), &json!([first])));
    assert_eq!(shop["environments"][0]["live"]["run"], json!(second));
    server.stop().await;
}

#[tokio::test]
async fn a_badge_is_open_where_the_app_says_so_and_else_the_app_is_not_there() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    pushed(&server, &copy).await;
    let open = async |path: &str| reqwest::get(format!("{}{path}", server.url)).await.unwrap();
    let (closed, missing) = (open("/v1/apps/shop/badge.svg").await, open("/v1/apps/none/badge.svg").await);
    assert_eq!((closed.status(), missing.status()), (404.try_into().unwrap(), 404.try_into().unwrap()));
    let told = |text: String| text.replace("none", "shop");
    let (closed, missing) = (closed.text().await.unwrap(), missing.text().await.unwrap());
    assert_eq!(told(closed), told(missing), "nobody learns that there is the app");
    let own = server.request("GET", "/v1/apps/shop/badge.svg").send().await.unwrap();
    assert_eq!(own.status(), 200);

    let (status, _) = server.ask("PUT", "/v1/apps/shop", json!({ "public_badge": true })).await;
    assert_eq!(status, 201);
    let badge = open("/v1/apps/shop/badge.svg").await;
    assert_eq!(badge.status(), 200);
    assert_eq!(badge.headers()["content-type"], "image/svg+xml; charset=utf-8");
    assert_eq!(badge.headers()["cache-control"], "no-cache, max-age=0");
    assert_eq!(badge.headers()["cross-origin-resource-policy"], "cross-origin");
    let tag = badge.headers()["etag"].clone();
    let sha = copy.git(&["rev-parse", "HEAD"]).await;
    let svg = badge.text().await.unwrap();
    assert!(svg.contains(&format!("<title id=\"t\">landfall: live {} · 0 min</title>", &sha[..7])), "{svg}");
    let url = format!("{}/v1/apps/shop/badge.svg", server.url);
    let again = reqwest::Client::new().get(&url).header("if-none-match", tag).send().await.unwrap();
    assert_eq!((again.status().as_u16(), again.headers().contains_key("etag")), (304, true));

    server.stages.end(Stage::Test, Outcome::failed("1 of 2 tests failed"));
    copy.commit("app.py", "app = 2\n").await;
    pushed(&server, &copy).await;
    assert!(open("/v1/apps/shop/badge.svg").await.text().await.unwrap().contains("tests failing</title>"));
    let other = open("/v1/apps/shop/badge.svg?branch=develop").await.text().await.unwrap();
    assert!(other.contains("landfall: live "), "{other}");
    let staging = open("/v1/apps/shop/badge.svg?env=staging").await.text().await.unwrap();
    assert!(staging.contains("nothing live</title>"), "{staging}");
    server.stop().await;
}

#[tokio::test]
async fn a_run_is_told_in_a_few_plain_lines() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let live = pushed(&server, &copy).await;
    server.stages.end(Stage::Smoke, Outcome::failed("GET / gave \u{1b}[31m503"));
    let sha = copy.commit("app.py", "app = 2\n").await;
    let undone = pushed(&server, &copy).await;
    let text = async |run: RunId| {
        let answer = server.request("GET", &format!("/v1/runs/{run}/summary.txt")).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (200, &"text/plain; charset=utf-8".parse().unwrap())
        );
        answer.text().await.unwrap()
    };
    let said = text(live).await;
    let lines: Vec<_> = said.lines().collect();
    assert!(
        lines[0].starts_with("shop/production ") && lines[0].ends_with(" on main: Write app.py"),
        "{said}"
    );
    assert!(lines[1].starts_with("Live: shop/production serves "), "{said}");
    assert!(said.contains(&format!("  image 127.0.0.1:5000/shop@sha256:{}\n", live.short())), "{said}");
    assert!(
        said.contains("  http://127.0.0.1:8080\n") && said.ends_with(&format!("/v1/runs/{live}\n")),
        "{said}"
    );
    let said = text(undone).await;
    assert!(said.contains("RolledBack at smoke: GET / gave 503\n"), "{said}");
    assert!(said.contains(&format!("commit {} is held", &sha[..12])), "{said}");
    assert!(!said.contains('\u{1b}') && !said.contains("landfall replay"), "{said}");

    // What is long is cut, and a subject that would paint the terminal does not.
    let tail = (0..40).map(|line| format!("line {line}")).collect();
    let failure = Failure { tail, ..Failure::new("exit code 1") };
    let red = |nth| TestFailure { name: format!("test_{nth}"), message: "assert 1 == 2".into() };
    let tests = TestReport { exit_code: 1, counts: None, first_failures: (0..9).map(red).collect() };
    server.stages.end(Stage::Test, Outcome::Failed(Failure { tests: Some(tests), ..failure }));
    copy.git(&["commit", "--quiet", "--allow-empty", "--message", "Paint \u{1b}[31mit"]).await;
    let said = text(pushed(&server, &copy).await).await;
    assert!(said.contains("on main: Paint it\n") && said.contains("test_8\n"), "{said}");
    assert!(said.lines().count() == 20 && said.contains(" lines …\n"), "{said}");
    assert_eq!(get(&server, &format!("/v1/runs/{}/summary.txt", uuid::Uuid::nil())).await.0, 404);
    server.stop().await;
}

#[tokio::test]
async fn the_ledger_comes_in_pages_and_whoever_reads_all_of_it_misses_none() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    for app in ["a", "b", "c"] {
        server.ask("PUT", &format!("/v1/apps/{app}"), json!({ "git": "https://example.com/x.git" })).await;
    }
    let whole: Vec<u64> = server.client().ledger().await.unwrap().iter().map(|event| event.seq).collect();
    assert_eq!(whole.len(), 3);
    let mut seen = Vec::new();
    let mut path = "/v1/ledger?limit=2".to_owned();
    loop {
        let answer = server.request("GET", &path).send().await.unwrap();
        let link = answer.headers().get("link").cloned();
        let (status, page) = answered(answer).await;
        assert_eq!((status, link.is_some()), (200, !page["next"].is_null()), "{page}");
        seen.extend(page["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()));
        let Some(next) = page["next"].as_u64() else { break };
        path = format!("/v1/ledger?limit=2&after={next}");
    }
    assert_eq!(seen, whole);
    assert_eq!(get(&server, "/v1/ledger?limit=0").await.0, 400);
    server.stop().await;
}
