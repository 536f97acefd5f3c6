//! The traffic proxy as a process: started, adopted, killed and brought back by those who need it.

#![cfg(test)]

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use landfall::proxy::kept::adopt_running;
use landfall::proxy::kept::watch_running;
use landfall::proxy::spawn::ProxyState;
use landfall::proxy::spawn::ensure_running;
use landfall::proxy::spawn::keep_running;
use landfall_stages::proxy::ProxyClient;
use landfall_stages::proxy::ProxyInfo;
use landfall_stages::proxy::Route;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::process::Command;

const EXE: &str = env!("CARGO_BIN_EXE_landfall");
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// Long enough that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder whose proxy ends with the test.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    async fn proxy(&self) -> ProxyInfo {
        ensure_running(self.path(), ANY_PORT, Path::new(EXE)).await.unwrap()
    }

    fn client(&self) -> ProxyClient {
        ProxyClient::in_dir(self.path())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Ok(pid) = std::fs::read_to_string(self.path().join("proxy.pid")) {
            signal(pid.trim().parse().unwrap(), Signal::KILL);
        }
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // It may have ended by itself.
    let _ = kill_process(pid, signal);
}

/// Starts an app that answers every connection once, with `text`.
async fn app(text: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut lines = BufReader::new(&mut stream).lines();
            while lines.next_line().await.unwrap().is_some_and(|line| !line.is_empty()) {}
            let answer = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    addr
}

fn route(target: SocketAddr) -> Route {
    Route {
        app: "shop".into(),
        env: "production".into(),
        host: None,
        mount: None,
        generation: 1,
        target: Some(target),
        release: "sha256:aa".into(),
        run: "r1".into(),
        drain_ms: 1_000,
    }
}

async fn get(listen: SocketAddr) -> String {
    let mut stream = TcpStream::connect(listen).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_proxy_is_started_once_and_then_adopted() {
    let home = Home::new();
    let started = home.proxy().await;
    assert_ne!(started.pid, std::process::id());
    assert_eq!(home.proxy().await, started);
    let pid = std::fs::read_to_string(home.path().join("proxy.pid")).unwrap();
    assert_eq!(pid.trim(), started.pid.to_string());
}

#[tokio::test]
async fn what_ends_the_engines_group_does_not_reach_the_proxy() {
    let home = Home::new();
    let pid = Pid::from_raw(i32::try_from(home.proxy().await.pid).unwrap()).unwrap();
    assert_eq!(rustix::process::getpgid(Some(pid)).unwrap(), pid);
}

#[tokio::test]
async fn a_proxy_that_was_killed_comes_back_with_its_address_and_its_routes() {
    let home = Home::new();
    let first = home.proxy().await;
    home.client().switch(route(app("hello").await)).await.unwrap();
    assert!(get(first.listen).await.ends_with("hello"));

    let supervisor = keep_running(home.path(), first.clone(), Path::new(EXE));
    let mut state = supervisor.state();
    for _ in 0..3 {
        let ProxyState::Serving(before) = state.borrow_and_update().clone() else { panic!("{state:?}") };
        signal(before.pid, Signal::KILL);
        tokio::time::timeout(PATIENCE, state.changed()).await.unwrap().unwrap();
        let ProxyState::Serving(after) = state.borrow().clone() else { panic!("{state:?}") };
        assert_ne!(after.pid, before.pid);
        assert_eq!(after.listen, first.listen);
        assert!(get(after.listen).await.ends_with("hello"));
    }
    supervisor.shutdown().await;
    assert!(get(first.listen).await.ends_with("hello"), "the proxy went with its supervisor");
}

#[tokio::test]
async fn a_proxy_that_somebody_else_keeps_is_waited_for_and_the_one_after_it_is_adopted() {
    let home = Home::new();
    let start = || {
        let mut command = Command::new(EXE);
        command.args(["proxy", "--listen", "127.0.0.1:0", "--dir"]).arg(home.path());
        command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap()
    };
    // It is looked for before it is there.
    let (info, mut first) = tokio::join!(adopt_running(home.path()), async { start() });
    let info = info.unwrap();
    assert_eq!(Some(info.pid), first.id());

    let supervisor = watch_running(home.path(), info);
    let mut state = supervisor.state();
    first.kill().await.unwrap();
    let second = start();
    tokio::time::timeout(PATIENCE, state.changed()).await.unwrap().unwrap();
    let ProxyState::Serving(after) = state.borrow().clone() else { panic!("{state:?}") };
    assert_eq!(Some(after.pid), second.id(), "nobody but its keeper started it again");
    supervisor.shutdown().await;
}

#[tokio::test]
async fn a_proxy_says_one_line_and_ends_well_when_it_is_asked_to() {
    let home = Home::new();
    let mut child = Command::new(EXE)
        .args(["proxy", "--listen", "127.0.0.1:0", "--dir"])
        .arg(home.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.next_line().await.unwrap().unwrap();
    let listen = home.client().info().await.unwrap().listen;
    assert_eq!(ready, format!("ready {listen}"));
    assert!(get(listen).await.starts_with("HTTP/1.1 404"));

    signal(child.id().unwrap(), Signal::TERM);
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(lines.next_line().await.unwrap(), None);
    for left in ["proxy.pid", "admin.sock"] {
        assert!(!home.path().join(left).exists(), "{left} was left behind");
    }
}

#[tokio::test]
async fn a_port_in_use_is_told_to_whoever_wanted_the_proxy() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = taken.local_addr().unwrap();
    let error = ensure_running(home.path(), listen, Path::new(EXE)).await.unwrap_err().to_string();
    assert!(error.contains(&listen.to_string()) && error.contains("choose another port"), "{error}");
}

#[tokio::test]
async fn a_second_proxy_ends_with_an_error_that_names_the_first() {
    let home = Home::new();
    let first = home.proxy().await;
    let second = Command::new(EXE)
        .args(["proxy", "--listen", "127.0.0.1:0", "--dir"])
        .arg(home.path())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && second.stdout.is_empty());
    assert!(said.contains(&format!("process {}", first.pid)), "{said}");
}
