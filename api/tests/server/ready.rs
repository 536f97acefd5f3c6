//! `/readyz` tells the truth: each thing is broken, is told of, and is well again.

use std::path::Path;
use std::sync::Arc;

use landfall::checks;
use landfall::proxy::spawn::ensure_running;
use landfall::server::{Checks, Vitals};
use landfall_engine::Limits;
use landfall_engine::core::command::Outcome;
use landfall_engine::core::facts::{Facts, PushedImage};
use landfall_engine::core::run::RunState;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{EventStore, Low};
use landfall_stages::docker::DockerHandle;
use landfall_stages::executor::{FlaskStages, FlaskStagesConfig};
use landfall_stages::secrets::Secrets;
use landfall_store::OutputDir;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener};
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::fixture::{PATIENCE, TestServer, WorkingCopy, answered};
use crate::health::Breakable;

async fn readyz(server: &TestServer) -> (u16, Value) {
    answered(reqwest::get(format!("{}/readyz", server.url)).await.unwrap()).await
}

/// Waits until a check is told of like this; what the world says is remembered for a moment.
async fn until(server: &TestServer, check: &str, word: &str) -> (u16, Value) {
    let looking = async {
        loop {
            let (status, body) = readyz(server).await;
            if body["checks"][check]["status"] == word {
                return (status, body["checks"][check].clone());
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("{check} is never {word}"))
}

/// Answers every request of a connection with a JSON body.
async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin, body: &str) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.is_empty() {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
            let answer = format!("{head} {}\r\n\r\n{body}", body.len());
            let _ = lines.get_mut().write_all(answer.as_bytes()).await;
        }
    }
}

/// A Docker engine that can say its version. Dropped with its socket.
fn docker(socket: &Path) -> JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        let mut clients = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            clients.spawn(talk(stream, r#"{"Version":"20.10.24","ApiVersion":"1.41"}"#));
        }
    })
}

async fn registry() -> (JoinHandle<()>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move {
        let mut clients = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            clients.spawn(talk(stream, "{}"));
        }
    });
    (serving, address)
}

/// Starts a server on a store that can be broken, with checks that ask a Docker and a proxy of the test's own.
async fn start(data: &Path, store: Arc<Breakable>) -> TestServer {
    let socket = data.join("docker.sock");
    let stages = FlaskStages::new(FlaskStagesConfig {
        data: data.to_owned(),
        secrets: Secrets::from_process(None).unwrap(),
        proxy_socket: data.join("proxy/admin.sock"),
        docker: Some(DockerHandle::connect(Some(&format!("unix://{}", socket.display()))).unwrap()),
    });
    let store: Arc<dyn EventStore> = store;
    let checks = Checks::new(checks::all(&stages.unwrap().vitals(), &store, None));
    let vitals = Vitals { checks, ..Vitals::default() };
    let outputs = Arc::new(OutputDir::new(data.join("output")));
    TestServer::start_watched(data, store, outputs, Limits::default(), vitals).await
}

async fn start_proxy(data: &Path) -> u32 {
    let exe = Path::new(env!("CARGO_BIN_EXE_landfall"));
    let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    ensure_running(&data.join("proxy"), any, exe).await.unwrap().pid
}

async fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().await.unwrap().success());
}

#[tokio::test]
async fn a_server_is_ready_when_docker_and_the_proxy_answer_and_says_which_does_not() {
    let data = tempfile::tempdir().unwrap();
    let engine = docker(&data.path().join("docker.sock"));
    let proxy = start_proxy(data.path()).await;
    let server = start(data.path(), Arc::new(Breakable::new())).await;
    let well = json!({ "status": "ok" });
    let checks =
        ["log", "running", "disk", "docker", "proxy", "registry"].map(|name| (name.to_owned(), well.clone()));
    let checks: serde_json::Map<_, _> = checks.into_iter().collect();
    assert_eq!(readyz(&server).await, (200, json!({ "status": "ready", "checks": checks })));

    engine.abort();
    std::fs::remove_file(data.path().join("docker.sock")).unwrap();
    let (status, found) = until(&server, "docker", "failed").await;
    assert_eq!((status, &found["decides"]), (503, &json!(true)));
    assert!(found["reason"].as_str().unwrap().contains("docker.sock"), "{found}");
    let engine = docker(&data.path().join("docker.sock"));
    assert_eq!(until(&server, "docker", "ok").await.0, 200);

    kill(proxy).await;
    let (status, found) = until(&server, "proxy", "failed").await;
    assert_eq!(status, 503);
    assert!(found["reason"].as_str().unwrap().contains("traffic proxy"), "{found}");
    let proxy = start_proxy(data.path()).await;
    assert_eq!(until(&server, "proxy", "ok").await.0, 200);

    // Whoever is not on this machine and has no token learns that, and not why.
    engine.abort();
    std::fs::remove_file(data.path().join("docker.sock")).unwrap();
    until(&server, "docker", "failed").await;
    let from_afar = reqwest::Client::new().get(format!("{}/readyz", server.url));
    let told = answered(from_afar.header("x-forwarded-for", "203.0.113.7").send().await.unwrap()).await;
    assert_eq!(told.1["checks"]["docker"], json!({ "status": "failed", "decides": true }));
    let with_token = server.request("GET", "/readyz").header("x-forwarded-for", "203.0.113.7");
    assert!(answered(with_token.send().await.unwrap()).await.1["checks"]["docker"]["reason"].is_string());
    kill(proxy).await;
    server.stop().await;
}

#[tokio::test]
async fn a_low_disk_and_a_log_that_takes_nothing_are_told_at_once() {
    let data = tempfile::tempdir().unwrap();
    let store = Arc::new(Breakable::new());
    let _engine = docker(&data.path().join("docker.sock"));
    let proxy = start_proxy(data.path()).await;
    let server = start(data.path(), Arc::clone(&store)).await;
    assert_eq!(readyz(&server).await.0, 200);

    let low = Low { place: "the event log".into(), free_bytes: 1 << 20, needed_bytes: 1 << 28 };
    store.low.send_replace(Some(low));
    let (status, body) = readyz(&server).await;
    assert_eq!((status, &body["status"]), (503, &json!("not_ready")));
    assert!(body["checks"]["disk"]["reason"].as_str().unwrap().contains("is low"), "{body}");
    let alive = reqwest::get(format!("{}/healthz", server.url)).await.unwrap();
    assert_eq!(alive.status(), 200, "it is alive all the same");
    store.low.send_replace(None);
    assert_eq!(readyz(&server).await.0, 200);

    store.broken.send_replace(Some("fsync failed: I/O error".into()));
    let (status, body) = readyz(&server).await;
    assert_eq!(status, 503);
    assert_eq!(body["checks"]["log"]["reason"], "fsync failed: I/O error");
    kill(proxy).await;
    server.stop().await;
}

#[tokio::test]
async fn a_registry_that_is_silent_is_shown_and_keeps_no_other_app_from_its_pushes() {
    let data = tempfile::tempdir().unwrap();
    let _engine = docker(&data.path().join("docker.sock"));
    let proxy = start_proxy(data.path()).await;
    let server = start(data.path(), Arc::new(Breakable::new())).await;
    let (registry, address) = registry().await;
    let digest = format!("sha256:{}", "a".repeat(64));
    let pushed = PushedImage { repository: format!("{address}/shop"), tag: "run-1".into(), digest };
    server.stages.end(Stage::PushImage, Outcome::Succeeded(Facts::PushImage(pushed)));
    let copy = WorkingCopy::new().await;
    copy.push(&server.remote("shop"), &["main"]).await;
    assert_eq!(server.states().await, [RunState::Live]);
    assert_eq!(until(&server, "registry", "ok").await.0, 200);

    registry.abort();
    let (status, found) = until(&server, "registry", "failed").await;
    assert_eq!((status, &found["decides"]), (200, &json!(false)));
    assert!(found["reason"].as_str().unwrap().contains(&address), "{found}");
    kill(proxy).await;
    server.stop().await;
}
