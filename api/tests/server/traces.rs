//! Runs as traces, at a collector that checks what it is sent against the names of OTLP.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use landfall::otlp::{Exporter, Settings};
use landfall_engine::core::command::Outcome;
use landfall_engine::core::run::RunState;
use landfall_engine::core::stage::Stage;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::fixture::{PATIENCE, TestServer, WorkingCopy, until};

/// A collector: what it was sent, and what it answers next.
struct Collector {
    address: String,
    received: mpsc::UnboundedReceiver<(HeaderMap, Value)>,
    answers: Answers,
}

type Answers = Arc<Mutex<Vec<StatusCode>>>;
type Receiving = (Answers, mpsc::UnboundedSender<(HeaderMap, Value)>);

impl Collector {
    async fn start() -> Self {
        async fn take(
            State((answers, tell)): State<Receiving>,
            headers: HeaderMap,
            body: Bytes,
        ) -> StatusCode {
            let answer = answers.lock().await.pop().unwrap_or(StatusCode::OK);
            tell.send((headers, serde_json::from_slice(&body).unwrap())).unwrap();
            answer
        }
        let (tell, received) = mpsc::unbounded_channel();
        let answers = Answers::default();
        let app = Router::new().route("/v1/traces", post(take)).with_state((Arc::clone(&answers), tell));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, received, answers }
    }

    async fn next(&mut self) -> (HeaderMap, Value) {
        timeout(PATIENCE, self.received.recv()).await.expect("a trace comes").unwrap()
    }

    /// Exports a server's runs until the token is cancelled.
    fn export(&self, server: &TestServer) -> (CancellationToken, JoinHandle<()>) {
        let variables = |name: &str| match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(self.address.clone()),
            "OTEL_EXPORTER_OTLP_HEADERS" => Some("api-key=secret".into()),
            "OTEL_RESOURCE_ATTRIBUTES" => Some("team=shop".into()),
            _ => None,
        };
        let settings = Settings::read(variables).unwrap().unwrap();
        let store = Arc::clone(server.app.engine.store());
        let exporter = Exporter::new(settings, store, &server.app.data).unwrap();
        let stop = CancellationToken::new();
        (stop.clone(), tokio::spawn(exporter.run(stop)))
    }
}

fn spans(trace: &Value) -> &Vec<Value> {
    trace["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap()
}

fn attribute<'a>(of: &'a Value, key: &str) -> &'a Value {
    let attributes = of["attributes"].as_array().unwrap();
    &attributes.iter().find(|attribute| attribute["key"] == key).unwrap_or_else(|| panic!("{key} in {of}"))["value"]
}

#[track_caller]
fn keys(value: &Value, expected: &[&str]) {
    let found: BTreeSet<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(found, expected.iter().copied().collect());
}

/// Checks a request against `opentelemetry/proto/trace/v1/trace.proto`, in its JSON form.
#[track_caller]
fn is_otlp(request: &Value, run: &str) {
    keys(request, &["resourceSpans"]);
    keys(&request["resourceSpans"][0], &["resource", "scopeSpans"]);
    keys(&request["resourceSpans"][0]["resource"], &["attributes"]);
    keys(&request["resourceSpans"][0]["scopeSpans"][0], &["scope", "spans"]);
    keys(&request["resourceSpans"][0]["scopeSpans"][0]["scope"], &["name", "version"]);
    let is_hex = |value: &Value, digits: usize| {
        let text = value.as_str().unwrap();
        text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_nanos = |value: &Value| value.as_str().unwrap().parse::<u64>().is_ok_and(|nanos| nanos > 1 << 60);
    let root = &spans(request)[0];
    assert_eq!(root["parentSpanId"], "");
    let mut ids = BTreeSet::new();
    for span in spans(request) {
        keys(
            span,
            &[
                "traceId",
                "spanId",
                "parentSpanId",
                "name",
                "kind",
                "startTimeUnixNano",
                "endTimeUnixNano",
                "attributes",
                "events",
                "status",
            ],
        );
        assert_eq!(span["traceId"], run.replace('-', ""));
        assert!(is_hex(&span["spanId"], 16) && ids.insert(span["spanId"].to_string()), "{span}");
        assert!(span == root || span["parentSpanId"] == root["spanId"], "{span}");
        assert!(is_nanos(&span["startTimeUnixNano"]) && is_nanos(&span["endTimeUnixNano"]), "{span}");
        assert!(span["startTimeUnixNano"].as_str() <= span["endTimeUnixNano"].as_str());
        assert!((1..=5).contains(&span["kind"].as_u64().unwrap()));
        for event in span["events"].as_array().unwrap() {
            keys(event, &["timeUnixNano", "name", "attributes"]);
        }
        for attribute in span["attributes"].as_array().unwrap() {
            keys(attribute, &["key", "value"]);
            let kinds: Vec<_> = attribute["value"].as_object().unwrap().iter().collect();
            assert!(matches!(kinds[0].0.as_str(), "stringValue" | "intValue") && kinds[0].1.is_string());
        }
    }
}

#[tokio::test]
async fn a_run_that_is_over_is_a_trace_whose_spans_are_its_attempts() {
    let data = tempfile::tempdir().unwrap();
    let mut collector = Collector::start().await;
    let server = TestServer::start(data.path()).await;
    let (stop, exporting) = collector.export(&server);
    let copy = WorkingCopy::new().await;
    let sha = copy.commit("app.py", "app = 2\n").await;
    copy.push(&server.remote("shop"), &["main"]).await;
    assert_eq!(server.states().await, [RunState::Live]);
    let run = server.runs().await[0].to_string();

    let (headers, trace) = collector.next().await;
    assert_eq!(
        (&headers["content-type"], &headers["api-key"]),
        (&"application/json".parse().unwrap(), &"secret".parse().unwrap())
    );
    is_otlp(&trace, &run);
    let resource = &trace["resourceSpans"][0]["resource"];
    assert_eq!(attribute(resource, "service.name")["stringValue"], "landfall");
    assert_eq!(attribute(resource, "team")["stringValue"], "shop");
    let root = &spans(&trace)[0];
    assert_eq!((&root["name"], &root["status"]["code"]), (&"run shop/production".into(), &1.into()));
    assert_eq!(attribute(root, "vcs.ref.head.revision")["stringValue"], sha);
    let names: Vec<_> = spans(&trace)[1..].iter().map(|span| span["name"].as_str().unwrap()).collect();
    let stages = ["checkout", "test", "build", "push_image", "deploy", "smoke", "go_live", "public_smoke"];
    assert_eq!(names, stages);
    stop.cancel();
    exporting.await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn red_runs_say_why_and_a_collector_that_was_away_gets_them_later_with_the_same_ids() {
    let data = tempfile::tempdir().unwrap();
    let mut collector = Collector::start().await;
    *collector.answers.lock().await = vec![StatusCode::SERVICE_UNAVAILABLE];
    let server = TestServer::start(data.path()).await;
    let (stop, exporting) = collector.export(&server);
    server.stages.end(Stage::Test, Outcome::failed("1 of 2 tests failed"));
    let copy = WorkingCopy::new().await;
    copy.push(&server.remote("shop"), &["main"]).await;
    assert_eq!(server.states().await, [RunState::Failed]);
    let (_, first) = collector.next().await;
    let (_, again) = collector.next().await;
    assert_eq!(first, again);
    is_otlp(&again, &server.runs().await[0].to_string());
    let status = &spans(&again)[0]["status"];
    assert_eq!(status["code"], 2);
    assert!(status["message"].as_str().unwrap().contains("1 of 2 tests failed"), "{status}");
    until(|| !std::fs::read_to_string(data.path().join("otlp.json")).unwrap().contains(r#""cursor":"""#))
        .await;
    stop.cancel();
    exporting.await.unwrap();

    // What ends while nobody exports is sent after the next start, and what was sent is not.
    server.stages.mend(Stage::Test);
    copy.commit("app.py", "app = 2\n").await;
    copy.push(&server.remote("shop"), &["main"]).await;
    server.states().await;
    let (stop, exporting) = collector.export(&server);
    let (_, missed) = collector.next().await;
    is_otlp(&missed, &server.runs().await[1].to_string());
    stop.cancel();
    exporting.await.unwrap();
    assert!(collector.received.try_recv().is_err(), "something was sent twice");
    server.stop().await;
}

#[tokio::test]
async fn a_trace_that_a_collector_refuses_is_given_up_and_the_next_is_sent() {
    let data = tempfile::tempdir().unwrap();
    let mut collector = Collector::start().await;
    *collector.answers.lock().await = vec![StatusCode::BAD_REQUEST];
    let server = TestServer::start(data.path()).await;
    let (stop, exporting) = collector.export(&server);
    let copy = WorkingCopy::new().await;
    for text in ["app = 2\n", "app = 3\n"] {
        copy.commit("app.py", text).await;
        copy.push(&server.remote("shop"), &["main"]).await;
        server.states().await;
        let (_, trace) = collector.next().await;
        is_otlp(&trace, &server.runs().await.last().unwrap().to_string());
    }
    stop.cancel();
    exporting.await.unwrap();
    server.stop().await;
}
