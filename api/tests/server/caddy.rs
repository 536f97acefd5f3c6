//! The recipe in `examples/caddy`, with Debian's Caddy and an authority of its own in the place of a public one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use landfall::proxy::spawn::ensure_running;
use landfall_engine::core::run::RunState;
use landfall_engine::core::stage::Stage;
use landfall_stages::proxy::{ProxyClient, Route};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::fixture::{PATIENCE, TOKEN, TestServer, WorkingCopy};

/// Caddy makes its authority and four certificates when it starts; a busy machine takes its time.
const STARTED_WITHIN: std::time::Duration = std::time::Duration::from_secs(60);

/// A Caddy that serves `landfall.localhost` and `shop.localhost`.
struct Caddy {
    child: Child,
    port: u16,
    dir: TempDir,
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Caddy {
    async fn start(api: &str, traffic: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/caddy/Caddyfile");
        // Only what can't be had here is another: the authority, the ports, the folder.
        let global = format!(
            "{{\n\tlocal_certs\n\tskip_install_trust\n\tadmin off\n\thttp_port {}\n\thttps_port {port}\n\tstorage file_system {}\n}}\nimport {}\n",
            free_port(),
            dir.path().display(),
            recipe.display()
        );
        let config = dir.path().join("Caddyfile");
        std::fs::write(&config, global).unwrap();
        let child = Command::new("caddy")
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(&config)
            .env("HOME", dir.path())
            .env("LANDFALL_HOST", "landfall.localhost")
            .env("LANDFALL_APPS", "shop.localhost")
            .env("LANDFALL_API", api.trim_start_matches("http://"))
            .env("LANDFALL_TRAFFIC", traffic.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("log")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .expect("caddy is there: ./run setup installs it");
        let caddy = Self { child, port, dir };
        let started = timeout(STARTED_WITHIN, async {
            while !caddy.answers().await {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        });
        let log = || std::fs::read_to_string(caddy.dir.path().join("log")).unwrap_or_default();
        started.await.unwrap_or_else(|_| panic!("caddy did not start: {}", log()));
        caddy
    }

    fn authority(&self) -> PathBuf {
        self.dir.path().join("pki/authorities/local/root.crt")
    }

    async fn answers(&self) -> bool {
        if !self.authority().exists() {
            return false;
        }
        let asked = async |host: &str| self.client(host).get(self.url(host, "/")).send().await.is_ok();
        asked("landfall.localhost").await && asked("shop.localhost").await
    }

    fn client(&self, host: &str) -> reqwest::Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let root = reqwest::Certificate::from_pem(&std::fs::read(self.authority()).unwrap()).unwrap();
        let address = ([127, 0, 0, 1], self.port).into();
        let builder = reqwest::Client::builder().no_proxy().tls_certs_only([root]).resolve(host, address);
        builder.http1_only().build().unwrap()
    }

    fn url(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.port)
    }
}

/// An app that says what it was told, streams, and turns a connection into an echo.
async fn app(lines: tokio::sync::mpsc::Receiver<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let told = |headers: HeaderMap| async move {
        let of =
            |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
        ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-for"].map(of).join("\n")
    };
    let lines = std::sync::Arc::new(tokio::sync::Mutex::new(Some(lines)));
    let stream = move || async move {
        let lines = lines.lock().await.take().unwrap();
        let stream = tokio_stream::wrappers::ReceiverStream::new(lines);
        let stream = futures_util::StreamExt::map(stream, Ok::<_, std::convert::Infallible>);
        ([("content-type", "text/event-stream")], axum::body::Body::from_stream(stream))
    };
    let echo = |mut request: axum::extract::Request| async move {
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let socket = hyper_util::rt::TokioIo::new(upgraded.await.unwrap());
            let (mut read, mut write) = tokio::io::split(socket);
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let headers = [("connection", "Upgrade"), ("upgrade", "websocket")];
        (StatusCode::SWITCHING_PROTOCOLS, headers)
    };
    let router = Router::new().route("/", get(told)).route("/stream", get(stream)).route("/ws", get(echo));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// Starts the traffic proxy with a route to the app; returns its process and its address.
async fn proxy(data: &Path, target: SocketAddr) -> (u32, SocketAddr) {
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let exe = Path::new(env!("CARGO_BIN_EXE_landfall"));
    let info = ensure_running(&data.join("proxy"), any, exe).await.unwrap();
    let route = Route {
        app: "shop".into(),
        env: "production".into(),
        host: Some("shop.localhost".into()),
        generation: 1,
        target: Some(target),
        release: "sha256:aa".into(),
        run: "r1".into(),
        ..Route::default()
    };
    ProxyClient::in_dir(&data.join("proxy")).switch(route).await.unwrap();
    (info.pid, info.listen)
}

#[tokio::test]
async fn https_to_the_app_a_push_a_stream_and_a_web_socket_pass_through_caddy() {
    let data = tempfile::tempdir().unwrap();
    let (say, lines) = tokio::sync::mpsc::channel(1);
    let server = TestServer::start(data.path()).await;
    let (pid, traffic) = proxy(data.path(), app(lines).await).await;
    let caddy = Caddy::start(&server.url, traffic).await;

    let shop = caddy.client("shop.localhost");
    let forged = shop.get(caddy.url("shop.localhost", "/")).header("x-forwarded-for", "198.51.100.1");
    let told = forged.send().await.unwrap().text().await.unwrap();
    let told: Vec<_> = told.lines().collect();
    assert_eq!(told[0], "https");
    assert!(told[1].starts_with("shop.localhost"), "{told:?}");
    assert_eq!(told[2], "127.0.0.1, 127.0.0.1", "what the client wrote is not passed on");

    let mut stream = shop.get(caddy.url("shop.localhost", "/stream")).send().await.unwrap();
    for line in ["data: one\n\n", "data: two\n\n"] {
        say.send(line).await.unwrap();
        let chunk = timeout(PATIENCE, stream.chunk()).await.expect("it is not kept back").unwrap();
        assert_eq!(chunk.unwrap(), line);
    }
    drop(stream);
    web_socket(&caddy).await;

    pushes(&server, &caddy).await;
    let api = caddy.client("landfall.localhost");
    let hidden = api.get(caddy.url("landfall.localhost", "/metrics")).bearer_auth(TOKEN);
    assert_eq!(hidden.send().await.unwrap().status(), 404);
    let health = api.get(caddy.url("landfall.localhost", "/healthz")).send().await.unwrap();
    assert_eq!(health.headers()["strict-transport-security"], "max-age=15552000");

    let Caddy { mut child, .. } = caddy;
    child.kill().await.unwrap();
    server.stop().await;
    assert!(Command::new("kill").arg(pid.to_string()).status().await.unwrap().success());
}

/// Pushes over HTTPS and follows the run's output, which comes line by line.
async fn pushes(server: &TestServer, caddy: &Caddy) {
    let copy = WorkingCopy::new().await;
    copy.git(&["config", "http.sslCAInfo", &caddy.authority().display().to_string()]).await;
    let resolve = format!("landfall.localhost:{}:127.0.0.1", caddy.port);
    copy.git(&["config", "http.curloptResolve", &resolve]).await;
    server.stages.hold(Stage::Test);
    let host = format!("landfall.localhost:{}", caddy.port);
    copy.try_git(&["remote", "add", "live", &format!("https://ada:{TOKEN}@{host}/git/shop.git")]).await;
    let pushing = copy.command(&["push", "live", "main"]).output();
    let followed = async {
        while server.runs().await.is_empty() {
            tokio::task::yield_now().await;
        }
        let run = server.runs().await[0];
        let path = format!("/v1/runs/{run}/events");
        let client = caddy.client("landfall.localhost");
        let request = client.get(caddy.url("landfall.localhost", &path)).bearer_auth(TOKEN);
        let mut events = request.header("accept", "text/event-stream").send().await.unwrap();
        let mut text = String::new();
        while !text.contains(r#""stage":"test""#) {
            let chunk = timeout(PATIENCE, events.chunk()).await.expect("events come while the run goes on");
            text += std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap();
        }
        server.stages.release(Stage::Test);
    };
    let (pushed, ()) = timeout(PATIENCE, async { tokio::join!(pushing, followed) }).await.expect("it ends");
    let pushed = pushed.unwrap();
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    assert_eq!(server.states().await, [RunState::Live]);
}

async fn web_socket(caddy: &Caddy) {
    let request = caddy
        .client("shop.localhost")
        .get(caddy.url("shop.localhost", "/ws"))
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 101);
    let mut socket = answer.upgrade().await.unwrap();
    socket.write_all(b"\x81\x05hello").await.unwrap();
    let mut echo = [0; 7];
    timeout(PATIENCE, socket.read_exact(&mut echo)).await.expect("it comes back").unwrap();
    assert_eq!(&echo, b"\x81\x05hello");
}
