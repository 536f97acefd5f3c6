//! `/metrics`: the whole exposition of a server that did something, and who may read it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use axum::http::StatusCode;
use landfall::proxy::spawn::ensure_running;
use landfall::server::{TriggerRequest, Vitals};
use landfall_engine::Limits;
use landfall_engine::core::command::Outcome;
use landfall_engine::core::run::RunState;
use landfall_engine::core::stage::Stage;
use landfall_stages::proxy::{ProxyClient, Route};
use landfall_store::{DataDir, Options};
use tokio::process::Command;

use crate::fixture::{TestServer, WorkingCopy};

/// Compares with a checked-in text; `UPDATE_EXPECTED=1` writes it.
#[track_caller]
fn is(name: &str, text: &str) {
    let path = format!("{}/tests/server/expected/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "differs from {path} (right)");
}

async fn metrics(server: &TestServer) -> String {
    let answer = server.request("GET", "/metrics").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.headers()["content-type"], kind);
    answer.text().await.unwrap()
}

/// Takes out of an exposition what is another at each run: times, sizes and ids.
fn steady(text: &str) -> String {
    let line = |line: &str| {
        let Some((series, value)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) else {
            return line.to_owned();
        };
        if series.contains("_bucket") && !series.contains("+Inf") {
            return String::new();
        }
        let is_measured = series.contains("_seconds_bucket") || series.contains("_seconds_sum");
        let is_events = series.contains("log_append") || series.contains("disk_free");
        let value = if is_measured || is_events { "N" } else { value };
        let series = without(&without(&without(series, "run"), "commit"), "version");
        // The digest of what the pretended build made is another each time.
        let is_live = series.contains("live_release");
        format!("{} {value}", if is_live { without(&series, "release") } else { series })
    };
    let mut lines: Vec<_> = text.lines().map(line).filter(|line| !line.is_empty()).collect();
    // Rows of a family come in any order; the buckets of one histogram stay together.
    let families: Vec<_> =
        lines.iter().enumerate().filter(|(_, l)| l.starts_with("# HELP")).map(|(n, _)| n).collect();
    for (nth, begin) in families.iter().enumerate() {
        let end = families.get(nth + 1).copied().unwrap_or(lines.len() - 1);
        let head = lines[*begin..end].iter().take_while(|line| line.starts_with('#')).count();
        lines[begin + head..end].sort();
    }
    lines.join("\n") + "\n"
}

/// Blanks the value of a label.
fn without(series: &str, label: &str) -> String {
    let Some((before, rest)) = series.split_once(&format!("{label}=\"")) else { return series.to_owned() };
    let (_, after) = rest.split_once('"').unwrap();
    format!("{before}{label}=\"…\"{after}")
}

/// Starts the traffic proxy with a route to an app that answers 200, and 404 at /missing.
async fn proxied(data: &Path) -> (u32, ProxyClient, SocketAddr) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let missing = || async { StatusCode::NOT_FOUND };
    let app = axum::Router::new()
        .route("/", axum::routing::get(|| async { "hello" }))
        .route("/missing", axum::routing::get(missing));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let exe = Path::new(env!("CARGO_BIN_EXE_landfall"));
    let info = ensure_running(&data.join("proxy"), any, exe).await.unwrap();
    let client = ProxyClient::in_dir(&data.join("proxy"));
    let route = Route {
        app: "shop".into(),
        env: "production".into(),
        generation: 1,
        target: Some(target),
        release: format!("sha256:{}", "ab".repeat(32)),
        run: "r1".into(),
        ..Route::default()
    };
    client.switch(route).await.unwrap();
    (info.pid, client, info.listen)
}

#[tokio::test]
async fn the_whole_exposition_of_a_server_that_did_something() {
    let data = tempfile::tempdir().unwrap();
    let opened =
        DataDir::open(data.path(), &Options { segment_bytes: 1 << 20, ..Options::default() }).unwrap();
    let (pid, client, listen) = proxied(data.path()).await;
    for path in ["/", "/", "/missing"] {
        reqwest::get(format!("http://{listen}{path}")).await.unwrap().bytes().await.unwrap();
    }
    let vitals = Vitals { proxy: Some(client), ..Vitals::default() };
    let (store, outputs) = (opened.store, opened.outputs);
    let server = TestServer::start_watched(data.path(), store, outputs, Limits::default(), vitals).await;
    let copy = WorkingCopy::new().await;
    copy.push(&server.remote("shop"), &["main"]).await;
    assert_eq!(server.states().await, [RunState::Live]);
    server.stages.end(Stage::Test, Outcome::failed("1 of 2 tests failed"));
    copy.commit("app.py", "app = 2\n").await;
    copy.push(&server.remote("shop"), &["main"]).await;
    assert_eq!(server.states().await, [RunState::Live, RunState::Failed]);
    server.stages.mend(Stage::Test);
    server.stages.hold(Stage::Build);
    // A pusher would be told of the run to its end.
    copy.commit("app.py", "app = 3\n").await;
    let repository = Some(copy.path().display().to_string());
    let request = TriggerRequest { repository, ..TriggerRequest::default() };
    server.client().trigger("shop", &request, None).await.unwrap();
    let open =
        || async { metrics(&server).await.contains(r#"landfall_runs_open{state="tested",stage="build"} 1"#) };
    while !open().await {
        tokio::task::yield_now().await;
    }

    let text = metrics(&server).await;
    is("metrics", &steady(&text));
    server.stages.release(Stage::Build);
    server.states().await;
    server.stop().await;
    assert!(Command::new("kill").arg(pid.to_string()).status().await.unwrap().success());
}

#[tokio::test]
async fn gauges_are_read_from_the_log_so_a_restart_forgets_none_and_every_name_follows_the_rules() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    server.stages.end(Stage::Build, Outcome::errored("Docker did not reply"));
    let copy = WorkingCopy::new().await;
    copy.push(&server.remote("shop"), &["main"]).await;
    let run = server.runs().await[0];
    server.app.engine.cancel(run, "ada", "enough").await.unwrap();
    server.states().await;
    server.stages.mend(Stage::Build);
    copy.commit("app.py", "app = 2\n").await;
    copy.push(&server.remote("shop"), &["main"]).await;
    server.states().await;
    let live = |text: &str| {
        text.lines().find(|line| line.starts_with("landfall_live_release_info{")).map(str::to_owned)
    };
    let before = live(&metrics(&server).await).expect("it is live");
    server.stop().await;

    let server = TestServer::start(data.path()).await;
    let text = metrics(&server).await;
    assert_eq!(live(&text), Some(before));
    assert!(text.contains("landfall_runs_parked{app=\"shop\",env=\"production\"} 0"), "{text}");
    assert!(text.ends_with("# EOF\n"));
    let mut series = BTreeSet::new();
    let mut kind = String::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            kind = rest.rsplit_once(' ').unwrap().1.to_owned();
        }
        let Some((name, value)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) else { continue };
        let metric = name.split('{').next().unwrap();
        assert!(metric.starts_with("landfall_"), "{line}");
        assert_eq!(kind == "counter", metric.ends_with("_total"), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(series.insert(name.to_owned()), "{name} is there twice");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_metrics_take_the_token_and_every_answer_has_the_headers_of_a_careful_server() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let refused = reqwest::get(format!("{}/metrics", server.url)).await.unwrap();
    assert_eq!(refused.status(), 401);
    for path in ["/healthz", "/readyz", "/metrics", "/v1/runs", "/nowhere", "/git/shop.git/info/refs"] {
        let answer = server.request("GET", path).send().await.unwrap();
        let headers = answer.headers();
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["x-frame-options"], "DENY", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        assert!(headers["cache-control"].to_str().unwrap().starts_with("no-"), "{path}: {headers:?}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}");
        assert!(!headers.contains_key("strict-transport-security"), "{path}");
    }
    let through_https = server.request("GET", "/healthz").header("x-forwarded-proto", "https");
    let headers = through_https.send().await.unwrap().headers().clone();
    assert_eq!(headers["strict-transport-security"], "max-age=15552000");
    server.stop().await;
}
