//! `landfall serve` itself: what it prints, when it does not start, and how it ends.

use std::path::Path;
use std::process::{Output, Stdio};

use landfall::client::Client;
use landfall_stages::proxy::ProxyClient;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::fixture::{PATIENCE, WorkingCopy, stderr};
use crate::malformed::resident_kib;

/// A server process, and what it said when it served.
pub struct Process {
    pub child: Child,
    pub said: Vec<String>,
}

pub fn serve(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command.arg("serve").arg("--data").arg(data).args([
        "--listen",
        "127.0.0.1:0",
        "--proxy-listen",
        "127.0.0.1:0",
    ]);
    command
        .args(arguments)
        // Where a key is refused: no test makes one in the machine's own place.
        .env("LANDFALL_VAULT_KEY_FILE", data.join("vault.key"))
        .env_remove("LANDFALL_TOKEN")
        .env_remove("LANDFALL_DATA")
        .env_remove("LANDFALL_SERVER");
    // Nothing here reaches Docker; that it is not there is no reason not to serve.
    command.env("DOCKER_HOST", "unix:///nowhere/docker.sock").kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Process {
    async fn start(data: &Path) -> Self {
        Self::spawn(serve(data, &[])).await
    }

    /// Starts a server that is told more.
    pub async fn start_with(data: &Path, arguments: &[&str]) -> Self {
        Self::spawn(serve(data, arguments)).await
    }

    /// Starts a server that says what goes wrong in a file.
    pub async fn start_with_stderr(data: &Path, log: &Path) -> Self {
        let mut command = serve(data, &[]);
        command.stderr(std::fs::File::create(log).unwrap());
        Self::spawn(command).await
    }

    async fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        while let Some(line) =
            timeout(PATIENCE, lines.next_line()).await.expect("it says where it is").unwrap()
        {
            let last = line.trim_start().starts_with("git push");
            said.push(line);
            if last {
                break;
            }
        }
        Self { child, said }
    }

    /// Returns where it answers: host and port.
    pub fn address(&self) -> String {
        self.said[0].rsplit("//").next().unwrap().to_owned()
    }

    /// Returns how much memory it uses, in KiB.
    pub fn resident_kib(&self) -> u64 {
        resident_kib(self.child.id().unwrap())
    }

    /// Returns what was said after a word.
    pub fn value(&self, word: &str) -> String {
        let line = self.said.iter().find_map(|line| line.trim_start().strip_prefix(word));
        line.unwrap_or_else(|| panic!("{word:?} in {:?}", self.said)).trim().to_owned()
    }

    /// Asks it to end and returns its exit code.
    pub async fn end(mut self) -> Option<i32> {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap().code()
    }
}

/// Ends the traffic proxy of a data folder, which outlives its server.
pub async fn end_proxy(data: &Path) {
    let info = ProxyClient::in_dir(&data.join("proxy")).info().await.expect("the proxy outlives its server");
    assert!(Command::new("kill").arg(info.pid.to_string()).status().await.unwrap().success());
}

async fn refused(mut command: Command) -> (Option<i32>, String) {
    let output: Output = timeout(PATIENCE, command.output()).await.expect("it gives up").unwrap();
    (output.status.code(), stderr(&output))
}

#[tokio::test]
async fn it_says_where_it_is_is_found_by_its_data_folder_and_ends_in_order() {
    let data = tempfile::tempdir().unwrap();
    let server = Process::start(data.path()).await;
    let url = server.said[0].rsplit(' ').next().unwrap().to_owned();
    let token = std::fs::read_to_string(server.value("token")).unwrap();
    assert!(server.value("push to").starts_with(&format!("{url}/git/APP.git")), "{:?}", server.said);

    let client = Client::of_data_dir(data.path()).await.expect("server.json leads to it");
    assert_eq!(client.url(), url);
    let copy = WorkingCopy::new().await;
    let remote = format!("http://ada:{}@{}/git/shop.git", token.trim(), &url["http://".len()..]);
    let seen = copy.push(&remote, &["main:try"]).await;
    assert!(seen.contains("branch try is not deployed"), "{seen}");

    let second = refused(serve(data.path(), &[])).await;
    assert_eq!(second.0, Some(69), "{}", second.1);
    assert!(second.1.contains("is in use by"), "{}", second.1);

    assert_eq!(server.end().await, Some(0));
    assert!(!data.path().join("server.json").exists());
    assert!(Client::of_data_dir(data.path()).await.is_none());

    // The next one adopts the proxy and keeps the token.
    let server = Process::start(data.path()).await;
    assert_eq!(std::fs::read_to_string(server.value("token")).unwrap(), token);
    assert_eq!(server.end().await, Some(0));
    end_proxy(data.path()).await;
}

/// Returns what a service manager is told next.
async fn told(manager: &tokio::net::UnixDatagram) -> String {
    let mut text = [0; 100];
    let length = timeout(PATIENCE, manager.recv(&mut text)).await.expect("it tells").unwrap();
    String::from_utf8_lossy(&text[..length]).into_owned()
}

#[tokio::test]
async fn under_a_service_manager_it_adopts_the_proxy_tells_when_it_is_ready_and_leaves_the_proxy_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, data) = (folder.path().join("notify"), folder.path().join("data"));
    let manager = tokio::net::UnixDatagram::bind(&socket).unwrap();
    let mut proxy = Command::new(env!("CARGO_BIN_EXE_landfall"));
    proxy.args(["proxy", "--listen", "127.0.0.1:0", "--dir"]).arg(data.join("proxy"));
    // Before the data folder is one, as at the first start of both units.
    let mut proxy =
        proxy.env("NOTIFY_SOCKET", &socket).stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    assert_eq!(told(&manager).await, "READY=1");

    let mut engine = Command::new(env!("CARGO_BIN_EXE_landfall"));
    engine.args(["serve", "--listen", "127.0.0.1:0", "--adopt-proxy", "--data"]).arg(&data);
    engine.env("NOTIFY_SOCKET", &socket).env("DOCKER_HOST", "unix:///nowhere/docker.sock");
    let mut engine = engine.stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    assert_eq!(told(&manager).await, "READY=1");
    assert!(Client::of_data_dir(&data).await.is_some(), "ready means that it answers");

    let pid = engine.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    assert_eq!(told(&manager).await, "STOPPING=1");
    assert_eq!(timeout(PATIENCE, engine.wait()).await.expect("it ends").unwrap().code(), Some(0));
    let info = ProxyClient::in_dir(&data.join("proxy")).info().await.expect("the proxy goes on");
    assert_eq!(Some(info.pid), proxy.id());
    proxy.kill().await.unwrap();
}

#[tokio::test]
async fn a_port_that_is_taken_is_one_message_and_starts_nothing() {
    let data = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();

    let (code, said) = refused({
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command.arg("serve").arg("--data").arg(data.path().join("new")).args(["--listen", &address]);
        command
    })
    .await;
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains(&format!("{address} is in use by another process")), "{said}");
    assert!(said.contains("choose another port with --listen"), "{said}");
    assert!(!data.path().join("new").exists());
}

#[tokio::test]
async fn a_folder_a_token_or_secrets_that_can_not_be_used_are_one_message_each() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("file");
    std::fs::write(&file, "short").unwrap();
    let file_text = file.display().to_string();

    let (code, said) = refused(serve(&file, &[])).await;
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("it is a file; name a folder"), "{said}");

    let missing = refused(serve(&data.path().join("a"), &["--secrets", "/nowhere/secrets"])).await;
    assert!(missing.1.contains("could not read the secrets file /nowhere/secrets"), "{}", missing.1);

    let folder = data.path().join("b");
    let short = refused(serve(&folder, &["--token-file", &file_text])).await;
    assert!(short.1.contains("can't be used: expected 16 to 1000 printable characters"), "{}", short.1);
    for (_, said) in [missing, short] {
        assert!(!said.contains("panicked") && !said.contains("backtrace"), "{said}");
    }
    end_proxy(&folder).await;
}
