//! Server-Sent Events: nothing is missed and nothing comes twice.

use std::sync::Arc;

use futures_util::StreamExt;
use landfall::server::TriggerRequest;
use landfall_engine::core::run::RunId;
use landfall_engine::core::stage::Stage;
use reqwest::Response;
use serde_json::json;
use tokio::time::timeout;

use crate::fixture::{PATIENCE, TestServer, WorkingCopy, until};

async fn trigger(server: &TestServer, copy: &WorkingCopy) -> RunId {
    let repository = Some(copy.path().display().to_string());
    let request = TriggerRequest { repository, ..TriggerRequest::default() };
    server.client().trigger("shop", &request, None).await.unwrap().run_id
}

async fn stream(server: &TestServer, path: &str, last: Option<&str>) -> Response {
    let mut request = server.request("GET", path).header("accept", "text/event-stream");
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    timeout(PATIENCE, request.send()).await.expect("the stream begins").unwrap()
}

/// Returns the ids in a text of Server-Sent Events.
fn ids(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("id: ")).collect()
}

async fn whole(answer: Response) -> String {
    timeout(PATIENCE, answer.text()).await.expect("the stream ends").unwrap()
}

/// Reads a stream until a text comes.
async fn up_to(answer: &mut Response, wanted: &str) -> String {
    let mut text = String::new();
    while !text.contains(wanted) {
        let chunk = timeout(PATIENCE, answer.chunk())
            .await
            .unwrap_or_else(|_| panic!("{wanted:?} comes after {text}"));
        text += std::str::from_utf8(&chunk.unwrap().expect("the stream goes on")).unwrap();
    }
    text
}

#[tokio::test]
async fn a_runs_events_are_followed_to_its_end_and_taken_up_where_they_were_cut_off() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    server.stages.hold(Stage::Test);
    let copy = WorkingCopy::new().await;
    let run = trigger(&server, &copy).await;
    let path = format!("/v1/runs/{run}/events");

    let mut cut = stream(&server, &path, None).await;
    assert_eq!(cut.headers()["content-type"], "text/event-stream");
    let seen = up_to(&mut cut, "\"stage\":\"test\"").await;
    let last = ids(&seen).last().unwrap().to_string();
    drop(cut);
    server.stages.release(Stage::Test);

    let rest = whole(stream(&server, &path, Some(&last)).await).await;
    let events = server.client().events(run).await.unwrap();
    let all: Vec<String> = events.iter().map(|envelope| envelope.seq.to_string()).collect();
    assert_eq!([ids(&seen), ids(&rest)].concat(), all);
    assert!(rest.contains("event: run_live\n"), "{rest}");

    // A browser that asks again after the end is told that this was all.
    assert_eq!(stream(&server, &path, all.last().map(String::as_str)).await.status(), 204);
    assert_eq!(stream(&server, &path, Some("many")).await.status(), 400);
    server.stop().await;
}

#[tokio::test]
async fn the_client_follows_a_run_and_what_its_stages_print() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    server.stages.hold(Stage::Test);
    let copy = WorkingCopy::new().await;
    let run = trigger(&server, &copy).await;
    let client = server.client();

    let mut events = client.watch(run, 1).await.unwrap();
    let mut seqs = Vec::new();
    let mut printed = None;
    while let Some(envelope) = timeout(PATIENCE, events.next()).await.unwrap() {
        let envelope = envelope.unwrap();
        seqs.push(envelope.seq);
        if envelope.effect_key.as_deref() == Some(format!("{run}/test/1").as_str()) && printed.is_none() {
            printed = Some(tokio::spawn(output_of_tests(client.clone(), run)));
            server.stages.release(Stage::Test);
        }
    }
    let last = server.settled(run).await.seq;
    assert_eq!(seqs, (2..=last).collect::<Vec<_>>());
    assert_eq!(printed.unwrap().await.unwrap(), "test begins\ntest ends\n");
    server.stop().await;
}

async fn output_of_tests(client: landfall::client::Client, run: RunId) -> String {
    // The intent is recorded before the output is opened.
    while !client.outputs(run).await.unwrap().outputs.iter().any(|output| output.stage == "test") {
        tokio::task::yield_now().await;
    }
    let pieces = client.output(run, "test", 1).await.unwrap();
    pieces.map(Result::unwrap).collect::<Vec<_>>().await.concat()
}

#[tokio::test]
async fn output_is_listed_read_and_followed() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    server.stages.hold(Stage::Build);
    let copy = WorkingCopy::new().await;
    let run = trigger(&server, &copy).await;
    let path = format!("/v1/runs/{run}/output");
    let live = format!("{path}?stage=build");
    let client = server.client();
    while !client
        .outputs(run)
        .await
        .unwrap()
        .outputs
        .iter()
        .any(|output| output.stage == "build" && output.len > 0)
    {
        tokio::task::yield_now().await;
    }

    let mut follower = stream(&server, &live, None).await;
    let seen = up_to(&mut follower, "build begins").await;
    server.stages.release(Stage::Build);
    let rest = whole(follower).await;
    assert!(rest.contains("{\"text\":\"build ends\\n\"}"), "{rest}");
    server.settled(run).await;

    let text = server.request("GET", &live).send().await.unwrap();
    assert_eq!(text.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(text.text().await.unwrap(), "build begins\nbuild ends\n");
    let again = whole(stream(&server, &live, ids(&seen).last().copied()).await).await;
    assert!(again.contains("build ends") && !again.contains("build begins"), "{again}");
    assert_eq!(stream(&server, &live, Some("24")).await.status(), 204);

    let (status, body) = server.ask("GET", &path, json!({})).await;
    let listed = body["outputs"].as_array().unwrap();
    assert_eq!(status, 200);
    assert!(listed.contains(&json!({ "stage": "build", "attempt": 1, "len": 24, "live": false })), "{body}");
    for (query, expected) in
        [("?stage=../../META", 400), ("?stage=rollback", 404), ("?stage=build&attempt=9", 404)]
    {
        assert_eq!(server.ask("GET", &format!("{path}{query}"), json!({})).await.0, expected, "{query}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_whole_log_is_followed_from_a_cursor_on() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let first = trigger(&server, &copy).await;
    server.settled(first).await;

    let mut everything = stream(&server, "/v1/events", None).await;
    let seen = up_to(&mut everything, "event: run_closed").await;
    let second = trigger(&server, &copy).await;
    let more = up_to(&mut everything, "event: run_closed").await;
    let names = |text: &str, run: RunId| text.contains(&format!("{{\"run_id\":\"{run}\""));
    assert!(names(&seen, first) && !names(&seen, second), "{seen}");
    assert!(names(&more, second) && !names(&more, first), "{more}");

    let cursor = ids(&seen).last().unwrap().to_string();
    let mut again = stream(&server, "/v1/events", Some(&cursor)).await;
    assert_eq!(ids(&up_to(&mut again, "event: run_closed").await), ids(&more));
    let mut again = stream(&server, &format!("/v1/events?after={cursor}"), None).await;
    assert_eq!(ids(&up_to(&mut again, "event: run_closed").await), ids(&more));
    let nonsense = stream(&server, "/v1/events", Some("nonsense")).await;
    assert_eq!(nonsense.status(), 400);
    // Streams that are open end with the server.
    server.stop().await;
    assert_eq!(whole(again).await, "");
}

#[tokio::test]
async fn a_reader_that_hangs_up_is_dropped() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    server.stages.hold(Stage::Test);
    let copy = WorkingCopy::new().await;
    let run = trigger(&server, &copy).await;
    let path = format!("/v1/runs/{run}/events");
    let mut first = stream(&server, &path, None).await;
    up_to(&mut first, "\"stage\":\"test\"").await;

    // The run stands still, so whoever else holds the store is a reader.
    let holders = || Arc::strong_count(server.app.engine.store());
    let with_one = holders();
    let others = [stream(&server, &path, None).await, stream(&server, &path, None).await];
    assert!(holders() > with_one);
    drop(others);
    until(|| holders() == with_one).await;
    drop(first);
    until(|| holders() < with_one).await;
    server.stages.release(Stage::Test);
    server.stop().await;
}

#[tokio::test]
async fn the_log_comes_in_pages_and_by_app_and_name_and_a_page_leads_on_to_what_is_yet_to_come() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let run = trigger(&server, &copy).await;
    server.settled(run).await;
    let page = async |query: &str| server.ask("GET", &format!("/v1/events{query}"), json!({})).await.1;
    let count = |page: &serde_json::Value| page["events"].as_array().unwrap().len();

    let whole = page("?limit=1000").await;
    let first = page("?limit=3").await;
    assert_eq!(count(&first), 3);
    let rest = page(&format!("?limit=1000&after={}", first["next"].as_str().unwrap())).await;
    assert_eq!(3 + count(&rest), count(&whole));
    assert_eq!(count(&page("?app=blog").await), 0);
    assert_eq!(count(&page("?app=shop&types=run_live,run_closed").await), 2);
    let end = whole["next"].as_str().unwrap();
    assert_eq!(page("?after=now").await, json!({ "events": [], "next": end }));
    assert_eq!(server.ask("GET", "/v1/events?after=elsewhere", json!({})).await.0, 400);

    let mut lives = stream(&server, "/v1/events?after=now&app=shop&types=run_live", None).await;
    let next = trigger(&server, &copy).await;
    let told = up_to(&mut lives, "event: run_live").await;
    assert!(told.contains(&next.to_string()) && ids(&told).len() == 1, "{told}");
    server.stop().await;
}
