//! Questions and changes over HTTP.

use landfall::server::{RollbackRequest, TriggerRequest};
use landfall_engine::core::command::Outcome;
use landfall_engine::core::event::Decision;
use landfall_engine::core::run::{RunId, RunState};
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::RunQuery;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::fixture::{TestServer, WorkingCopy, answered};

fn of(copy: &WorkingCopy) -> TriggerRequest {
    TriggerRequest { repository: Some(copy.path().display().to_string()), ..TriggerRequest::default() }
}

/// Returns the detail of a problem document after checking its form.
#[track_caller]
fn problem((status, body): (u16, Value), expected: u16) -> String {
    assert_eq!(status, expected, "{body}");
    assert_eq!(body["status"], status, "{body}");
    assert!(body["type"].as_str().unwrap().starts_with("urn:landfall:"), "{body}");
    assert!(body["title"].is_string(), "{body}");
    body["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn everything_below_v1_asks_for_the_token_and_health_does_not() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let run = Uuid::now_v7();
    let paths = [
        ("GET", "/v1/server".to_owned()),
        ("GET", "/v1/apps".into()),
        ("POST", "/v1/apps/shop/runs".into()),
        ("POST", "/v1/apps/shop/rollback".into()),
        ("GET", "/v1/runs".into()),
        ("GET", format!("/v1/runs/{run}")),
        ("GET", format!("/v1/runs/{run}/events")),
        ("GET", format!("/v1/runs/{run}/output")),
        ("POST", format!("/v1/runs/{run}/cancel")),
        ("POST", format!("/v1/runs/{run}/retry")),
        ("POST", format!("/v1/runs/{run}/skip")),
        ("POST", format!("/v1/runs/{run}/abort")),
        ("POST", "/v1/prune".into()),
        ("GET", "/v1/events".into()),
        ("GET", "/v1/nothing".into()),
        ("DELETE", "/v1/runs".into()),
    ];
    for (method, path) in &paths {
        let (url, http) = (format!("{}{path}", server.url), reqwest::Client::new());
        let request = || http.request(method.parse().unwrap(), &url);
        for request in [
            request(),
            request().bearer_auth("wrong"),
            request().basic_auth("ada", Some(crate::fixture::TOKEN)),
        ] {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.headers()["www-authenticate"], "Bearer realm=\"Landfall\"");
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
            let detail = problem(answered(answer).await, 401);
            assert!(detail.contains("Authorization: Bearer"), "{path}: {detail}");
        }
    }
    let answer = reqwest::get(format!("{}/healthz", server.url)).await.unwrap();
    assert_eq!(answered(answer).await, (200, json!({ "status": "ok" })));
    server.stop().await;
}

#[tokio::test]
async fn a_trigger_is_answered_once_durable_and_one_key_starts_one_run() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let body = serde_json::to_value(of(&copy)).unwrap();
    let post =
        || server.request("POST", "/v1/apps/shop/runs").header("idempotency-key", "delivery-1").json(&body);

    let answer = post().send().await.unwrap();
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let (status, first) = answered(answer).await;
    assert_eq!(status, 202);
    assert_eq!(first["url"], location);
    copy.commit("app.py", "app = 2\n").await;
    assert_eq!(answered(post().send().await.unwrap()).await, (200, first.clone()));
    assert_eq!(server.runs().await.len(), 1);

    let run: RunId = first["run_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(server.settled(run).await.state, RunState::Live);
    let (status, view) = server.ask("GET", &location, json!({})).await;
    assert_eq!((status, view["summary"]["state"].as_str()), (200, Some("live")));
    assert_eq!(view["run"]["lane"], json!({ "app": "shop", "env": "production" }));
    assert_eq!(view["rows"].as_array().unwrap().len(), 10);
    assert_eq!(view["rows"][7]["mark"], "passed");
    assert_eq!(view["problems"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn a_commit_is_named_by_hash_by_ref_or_by_what_was_pushed() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let first = copy.git(&["rev-parse", "HEAD"]).await.trim().to_owned();
    copy.git(&["tag", "v1"]).await;
    let second = copy.commit("app.py", "app = 2\n").await;
    let client = server.client();
    let triggered = async |request: TriggerRequest| {
        let run = client.trigger("shop", &request, None).await.unwrap().run_id;
        let run = server.settled(run).await;
        (run.commit().sha.clone(), run.commit().branch.clone(), run.lane.env.clone())
    };
    let main = Some("main".to_owned());

    assert_eq!(triggered(of(&copy)).await, (second.clone(), main.clone(), "production".into()));
    let request = TriggerRequest { commit: Some(first.clone()), env: Some("staging".into()), ..of(&copy) };
    assert_eq!(triggered(request).await, (first.clone(), None, "staging".into()));
    let request = TriggerRequest { reference: Some("v1".into()), branch: main.clone(), ..of(&copy) };
    assert_eq!(triggered(request).await, (first, main.clone(), "production".into()));

    let none_yet = client.trigger("shop", &TriggerRequest::default(), None).await.unwrap_err();
    assert_eq!(
        (none_yet.status(), none_yet.to_string().contains("nothing was pushed to shop yet")),
        (Some(404), true)
    );
    copy.push(&server.remote("shop"), &["main"]).await;
    let request = TriggerRequest { reference: Some("main".into()), ..TriggerRequest::default() };
    assert_eq!(triggered(request).await, (second, main, "production".into()));
    server.stop().await;
}

#[tokio::test]
async fn what_can_not_be_meant_is_answered_with_what_was_expected() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let repository = copy.path().display().to_string();
    let runs = "/v1/apps/shop/runs";
    let cases = [
        (runs, json!({ "comit": "x" }), "unknown field `comit`"),
        (runs, json!("shop"), "not the JSON expected here"),
        (runs, json!({ "repository": "shop" }), "expected an absolute path or a URL"),
        (runs, json!({ "repository": "https://user:secret@example.com/x" }), "leave user and password out"),
        (runs, json!({ "repository": "https://example.com/x" }), "name the full hash as `commit`"),
        (runs, json!({ "repository": "https://example.com/x", "commit": "main" }), "not a full commit hash"),
        (runs, json!({ "repository": repository, "commit": "c0ffee" }), "not a full commit hash"),
        (runs, json!({ "repository": repository, "commit": "0".repeat(40) }), "reading the commit"),
        (runs, json!({ "repository": repository, "ref": "nowhere" }), "has no commit at \"nowhere\""),
        (runs, json!({ "repository": repository, "ref": "main", "commit": "x" }), "not both"),
        (
            runs,
            json!({ "repository": repository, "env": "Pro duction" }),
            "can't be the name of an environment",
        ),
        (runs, json!({ "repository": "/nowhere" }), "reading the commit"),
        ("/v1/apps/Shop/runs", json!({}), "can't be the name of an app"),
        ("/v1/runs/7/cancel", json!({}), "\"7\" is not the id of a run"),
        ("/v1/apps/shop/rollback", json!({ "reason": "x".repeat(3_000) }), "longer than 2000 characters"),
    ];
    for (path, body, expected) in cases {
        let detail = problem(server.ask("POST", path, body.clone()).await, 400);
        assert!(detail.contains(expected), "{path} {body}: {detail}");
        assert!(!detail.contains("secret"), "{detail}");
    }
    let large = json!({ "subject": "x".repeat(70_000) });
    problem(server.ask("POST", runs, large).await, 413);
    problem(server.ask("GET", "/v1/nothing", json!({})).await, 404);
    problem(server.ask("DELETE", "/v1/runs", json!({})).await, 405);
    problem(server.ask("GET", "/v1/runs?stat=live", json!({})).await, 400);
    problem(server.ask("GET", "/v1/runs?state=lively", json!({})).await, 400);
    problem(server.ask("GET", &format!("/v1/runs/{}", Uuid::now_v7()), json!({})).await, 404);
    problem(server.ask("POST", &format!("/v1/runs/{}/cancel", Uuid::now_v7()), json!({})).await, 404);
    assert!(server.runs().await.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn runs_are_listed_newest_first_filtered_and_in_pages() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let client = server.client();
    let mut started = Vec::new();
    for app in ["shop", "shop", "blog"] {
        let run = client.trigger(app, &of(&copy), None).await.unwrap().run_id;
        server.settled(run).await;
        started.insert(0, run);
    }
    let ids = async |query: RunQuery| {
        let page = client.runs(&query).await.unwrap();
        (page.runs.iter().map(|run| run.id).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(ids(RunQuery::default()).await, (started.clone(), None));
    let shop = Some("shop".to_owned());
    assert_eq!(ids(RunQuery { app: shop, ..RunQuery::default() }).await, (started[1..].to_vec(), None));
    assert_eq!(ids(RunQuery { state: Some(RunState::Failed), ..RunQuery::default() }).await, (vec![], None));
    assert_eq!(ids(RunQuery { open: true, ..RunQuery::default() }).await, (vec![], None));
    let first = ids(RunQuery { limit: 2, ..RunQuery::default() }).await;
    assert_eq!(first, (started[..2].to_vec(), Some(started[1])));
    let rest = ids(RunQuery { limit: 2, before: first.1, ..RunQuery::default() }).await;
    assert_eq!(rest, (started[2..].to_vec(), None));
    server.stop().await;
}

#[tokio::test]
async fn apps_show_what_is_live_and_a_rollback_makes_the_former_release_live_again() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let client = server.client();
    assert_eq!(client.apps().await.unwrap(), []);
    let first = client.trigger("shop", &of(&copy), None).await.unwrap().run_id;
    server.settled(first).await;
    let nowhere = client.rollback("shop", &RollbackRequest::default()).await.unwrap_err();
    assert_eq!(nowhere.status(), Some(409), "{nowhere}");
    copy.commit("app.py", "app = 2\n").await;
    let second = client.trigger("shop", &of(&copy), None).await.unwrap().run_id;
    server.settled(second).await;

    let request = RollbackRequest { reason: Some("it is slow".into()), ..RollbackRequest::default() };
    let back = client.rollback("shop", &request).await.unwrap().run_id;
    assert_eq!(server.settled(back).await.state, RunState::Live);
    let apps = client.apps().await.unwrap();
    let live = apps[0].live.as_ref().unwrap();
    assert_eq!((apps.len(), apps[0].app.as_str(), live.run), (1, "shop", back));
    assert_eq!(Some(&live.commit.sha), server.settled(first).await.image.map(|_| &live.commit.sha));
    assert_eq!(apps[0].former.iter().map(|release| release.run).collect::<Vec<_>>(), [second]);
    server.stop().await;
}

#[tokio::test]
async fn a_run_can_be_cancelled_once_and_the_log_says_by_whom() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    server.stages.hold(Stage::Test);
    let copy = WorkingCopy::new().await;
    let run = server.client().trigger("shop", &of(&copy), None).await.unwrap().run_id;

    let path = format!("/v1/runs/{run}/cancel");
    let cancel =
        server.request("POST", &path).header("landfall-actor", "grace").json(&json!({ "reason": "lunch" }));
    assert_eq!(cancel.send().await.unwrap().status(), 202);
    assert_eq!(server.settled(run).await.state, RunState::Failed);
    let events = server.client().events(run).await.unwrap();
    let requested = events.iter().find(|envelope| envelope.event.name() == "cancel_requested").unwrap();
    assert_eq!(requested.actor, "grace");
    let detail = problem(server.ask("POST", &path, json!({})).await, 409);
    assert!(detail.contains("has ended: it is Failed"), "{detail}");
    server.stop().await;
}

#[tokio::test]
async fn a_parked_run_takes_a_decision_and_another_run_does_not() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let client = server.client();
    server.stages.hold(Stage::Test);
    let run = client.trigger("shop", &of(&copy), None).await.unwrap().run_id;
    let refused = client.resolve(run, Decision::Retry).await.unwrap_err();
    assert_eq!(refused.status(), Some(409), "{refused}");

    // A release command is never tried twice by the engine itself.
    copy.commit("landfall.toml", "[release]\ncommand = \"flask db upgrade\"\n").await;
    server.stages.end(Stage::ReleaseCommand, Outcome::errored("Docker did not reply"));
    server.stages.release(Stage::Test);
    server.settled(run).await;
    let mut parked = Vec::new();
    for _ in 0..3 {
        let run = client.trigger("shop", &of(&copy), None).await.unwrap().run_id;
        assert!(server.settled(run).await.parked().is_some());
        parked.push(run);
        if parked.len() == 1 {
            client.resolve(run, Decision::Abort { reason: "no".into() }).await.unwrap();
            assert_eq!(server.settled(run).await.state, RunState::Failed);
        } else if parked.len() == 2 {
            client.resolve(run, Decision::Skip { reason: "done by hand".into() }).await.unwrap();
            assert_eq!(server.settled(run).await.state, RunState::Live);
        } else {
            server.stages.mend(Stage::ReleaseCommand);
            client.resolve(run, Decision::Retry).await.unwrap();
            assert_eq!(server.settled(run).await.state, RunState::Live);
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_skip_without_a_reason_is_a_wrong_request_and_a_run_that_is_not_parked_takes_no_decision() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let body = json!({ "repository": copy.path().display().to_string() });
    let (_, link) = server.ask("POST", "/v1/apps/shop/runs", body).await;
    let url = link["url"].as_str().unwrap();
    server.states().await;
    for body in [json!({}), json!({ "reason": "  " })] {
        let (status, problem) = server.ask("POST", &format!("{url}/skip"), body).await;
        assert_eq!(status, 400);
        assert!(problem["detail"].as_str().unwrap().starts_with("say why as `reason`"), "{problem}");
    }
    for (decision, body) in
        [("retry", json!({})), ("skip", json!({ "reason": "flaky" })), ("abort", json!({}))]
    {
        let (status, problem) = server.ask("POST", &format!("{url}/{decision}"), body).await;
        assert_eq!(status, 409, "{problem}");
        assert_eq!(problem["detail"], "the run has ended: it is Live");
    }
    server.stop().await;
}

#[tokio::test]
async fn every_answer_names_the_request_and_every_refusal_is_a_problem() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let named = server.request("GET", "/v1/runs").header("x-request-id", "mine-1").send().await.unwrap();
    assert_eq!(named.headers()["x-request-id"], "mine-1");
    let made = server.request("GET", "/healthz").header("x-request-id", "not plain").send().await.unwrap();
    assert!(made.headers()["x-request-id"].to_str().unwrap().parse::<Uuid>().is_ok());

    let runs = "/v1/apps/shop/runs";
    let get = |path: &str| server.request("GET", path);
    let post = || server.request("POST", runs);
    let cases = [
        (get("/nothing"), 404, "not-found"),
        (get("/v1/runs/%ff"), 400, "bad-request"),
        (get("/v1/runs?limit=0"), 400, "bad-request"),
        (get("/v1/runs?limit=many"), 400, "bad-request"),
        (server.request("PUT", runs), 405, "no-such-method"),
        (server.request("DELETE", "/healthz"), 405, "no-such-method"),
        (post().body("x".repeat(100_000)), 413, "too-large"),
        (post().body("{}"), 415, "not-json"),
        (post().json(&json!([])), 400, "bad-request"),
        (post().json(&json!({ "repository": 7 })), 400, "bad-request"),
    ];
    for (request, status, kind) in cases {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{kind}");
        assert!(answer.headers().contains_key("x-request-id"), "{kind}");
        assert_eq!(answer.headers().contains_key("allow"), status == 405, "{kind}");
        let (status, body) = (status, answered(answer).await);
        assert_eq!(body.1["type"], format!("urn:landfall:{kind}"));
        problem(body, status);
    }

    let options = server.request("OPTIONS", "/v1/runs").send().await.unwrap();
    assert_eq!((options.status().as_u16(), &options.headers()["allow"]), (204, &"GET,HEAD".parse().unwrap()));
    let empty = server.request("HEAD", "/v1/runs").send().await.unwrap();
    assert_eq!((empty.status().as_u16(), empty.text().await.unwrap()), (200, String::new()));
    let none =
        post().header("content-type", "application/json; charset=utf-8").body("null").send().await.unwrap();
    assert_eq!(none.status(), 404, "null is an empty body, and nothing was pushed");
    server.stop().await;
}

#[tokio::test]
async fn a_run_that_has_not_moved_is_not_sent_again_and_a_page_leads_to_the_next() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    for app in ["shop", "blog"] {
        let run = server.client().trigger(app, &of(&copy), None).await.unwrap().run_id;
        server.settled(run).await;
    }
    let run = server.runs().await[0];
    let path = format!("/v1/runs/{run}");
    let seen = server.request("GET", &path).send().await.unwrap();
    let tag = seen.headers()["etag"].clone();
    let again = server.request("GET", &path).header("if-none-match", &tag).send().await.unwrap();
    assert_eq!((again.status().as_u16(), &again.headers()["etag"]), (304, &tag));
    assert_eq!(again.text().await.unwrap(), "");
    let other = server.request("GET", &path).header("if-none-match", "\"1-00\"").send().await.unwrap();
    assert_eq!(other.status(), 200);

    let first = server.request("GET", "/v1/runs?limit=1&open=false").send().await.unwrap();
    let link = first.headers()["link"].to_str().unwrap().to_owned();
    let query = link.strip_prefix('<').unwrap().split_once('>').unwrap().0;
    let last = server.request("GET", &format!("/v1/runs{query}")).send().await.unwrap();
    assert!(!last.headers().contains_key("link"));
    let (_, page) = answered(last).await;
    assert_eq!((&page["runs"][0]["id"], &page["next"]), (&json!(run), &Value::Null));
    server.stop().await;
}

#[tokio::test]
async fn a_change_that_is_sent_again_under_its_key_is_done_once_and_answered_alike_for_ever() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let run = server.client().trigger("shop", &of(&copy), None).await.unwrap().run_id;
    server.stages.hold(Stage::Test);
    let other = server.client().trigger("blog", &of(&copy), None).await.unwrap().run_id;
    let post = async |path: String, key: &str, body: Value| {
        let request = server.request("POST", &path).header("idempotency-key", key).json(&body);
        answered(request.send().await.unwrap()).await
    };
    let cancel = format!("/v1/runs/{other}/cancel");
    let because = json!({ "reason": "a mistake" });

    let (first, second) =
        tokio::join!(post(cancel.clone(), "k", because.clone()), post(cancel.clone(), "k", because.clone()));
    assert_eq!((first.0, &first), (202, &second));
    server.settled(other).await;
    server.stages.release(Stage::Test);
    assert_eq!(post(cancel.clone(), "k", because.clone()).await, first, "the run has ended since");
    assert_eq!(problem(post(cancel.clone(), "k2", because).await, 409), "the run has ended: it is Failed");
    problem(post(cancel.clone(), "k", json!({ "reason": "another" })).await, 422);
    problem(post(cancel, "a b", json!({})).await, 400);
    let asked = server.client().events(other).await.unwrap();
    assert_eq!(asked.iter().filter(|envelope| envelope.event.name() == "cancel_requested").count(), 1);

    let trigger = |body: Value| post("/v1/apps/blog/runs".into(), "t", body);
    let body = serde_json::to_value(of(&copy)).unwrap();
    let started = trigger(body.clone()).await;
    assert_eq!((started.0, trigger(body.clone()).await), (202, (200, started.1.clone())));
    let mut elsewhere = body;
    elsewhere["env"] = json!("staging");
    problem(trigger(elsewhere).await, 422);
    server.settled(run).await;
    server.stop().await;

    let server = TestServer::start(data.path()).await;
    let request = server.request("POST", &format!("/v1/runs/{other}/cancel")).header("idempotency-key", "k");
    let again = answered(request.json(&json!({ "reason": "a mistake" })).send().await.unwrap()).await;
    assert_eq!(again, first, "the log remembers");
    server.stop().await;
}

#[tokio::test]
async fn a_decision_is_made_about_what_was_seen_and_refused_about_anything_else() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    server.stages.hold(Stage::Test);
    let run = server.client().trigger("shop", &of(&copy), None).await.unwrap().run_id;
    let path = format!("/v1/runs/{run}");
    let tag = async || server.request("GET", &path).send().await.unwrap().headers()["etag"].clone();
    let mut events = server.app.engine.watch(run);
    while !matches!(
        futures_util::StreamExt::next(&mut events).await.unwrap().unwrap().event,
        landfall_engine::core::event::Event::StageStarted { stage: Stage::Test, .. }
    ) {}
    let seen = tag().await;
    let cancel = async |tag: &reqwest::header::HeaderValue| {
        let request = server.request("POST", &format!("{path}/cancel")).header("if-match", tag);
        answered(request.header("idempotency-key", "c").send().await.unwrap()).await
    };

    let detail = problem(cancel(&"\"1-000000000000000000000000\"".parse().unwrap()).await, 412);
    assert!(detail.contains("look again"), "{detail}");
    assert_eq!(cancel(&seen).await.0, 202);
    assert_eq!(cancel(&seen).await.0, 202, "it was done, under this key");
    assert_ne!(tag().await, seen);
    server.stages.release(Stage::Test);
    assert_eq!(server.settled(run).await.state, RunState::Failed);
    server.stop().await;
}
