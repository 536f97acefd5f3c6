//! The API and the git remote over HTTPS: who is trusted, what commands do, and how a certificate is renewed.

use std::path::{Path, PathBuf};

use landfall::client::{Client, ClientError};
use landfall::data_dir::Token;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use crate::binary::{Process, end_proxy};
use crate::fixture::{PATIENCE, WorkingCopy};

/// The files of a certificate for `localhost`.
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

impl Files {
    fn new(dir: &Path) -> Self {
        let files = Self { cert: dir.join("server.crt"), key: dir.join("server.key") };
        files.renew();
        files
    }

    fn renew(&self) {
        let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        put(&self.key, &pair.signing_key.serialize_pem());
        put(&self.cert, &pair.cert.pem());
    }

    /// Keeps a copy of the certificate, which is its own authority.
    fn authority(&self, dir: &Path, name: &str) -> PathBuf {
        let copy = dir.join(name);
        std::fs::copy(&self.cert, &copy).unwrap();
        copy
    }
}

fn put(path: &Path, text: &str) {
    let draft = path.with_extension("draft");
    std::fs::write(&draft, text).unwrap();
    std::fs::rename(draft, path).unwrap();
}

async fn start(data: &Path, files: &Files) -> (Process, u16, Token) {
    let [cert, key] = [&files.cert, &files.key].map(|path| path.display().to_string());
    let server = Process::start_with(data, &["--tls-cert", &cert, "--tls-key", &key]).await;
    let url = server.said[0].rsplit(' ').next().unwrap().to_owned();
    let port = url.strip_prefix("https://127.0.0.1:").unwrap_or_else(|| panic!("{url}")).parse().unwrap();
    let token = std::fs::read_to_string(server.value("token")).unwrap();
    (server, port, Token::parse(&token, "the test").unwrap())
}

fn client(port: u16, token: &Token, authority: &Path) -> Client {
    Client::trusting(&format!("https://localhost:{port}"), token.clone(), Some(authority)).unwrap()
}

#[tokio::test]
async fn the_api_and_git_are_encrypted_and_commands_on_the_machine_need_no_certificate() {
    let (data, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let certificate = Files::new(files.path());
    let (server, port, token) = start(data.path(), &certificate).await;
    let authority = certificate.authority(files.path(), "ca.crt");

    client(port, &token, &authority).server().await.unwrap();
    let untrusting = Client::new(&format!("https://localhost:{port}"), token.clone()).unwrap();
    assert!(matches!(untrusting.server().await, Err(ClientError::Unreachable { .. })));
    let own = Client::of_data_dir(data.path()).await.expect("server.json leads to it");
    assert!(own.url().starts_with("http://127.0.0.1:"), "{}", own.url());

    let listed = Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args(["runs", "--server", &format!("https://localhost:{port}"), "--server-ca"])
        .arg(&authority)
        .env("LANDFALL_TOKEN", token.reveal())
        .output();
    let listed = timeout(PATIENCE, listed).await.unwrap().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));

    let copy = WorkingCopy::new().await;
    copy.git(&["config", "http.sslCAInfo", &authority.display().to_string()]).await;
    let remote = format!("https://ada:{}@localhost:{port}/git/shop.git", token.reveal());
    let seen = copy.push(&remote, &["main:try"]).await;
    assert!(seen.contains("branch try is not deployed"), "{seen}");
    assert_eq!(server.end().await, Some(0));
    end_proxy(data.path()).await;
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_a_bad_one_is_told_of_while_the_old_one_serves() {
    let (data, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let certificate = Files::new(files.path());
    let (server, port, token) = start(data.path(), &certificate).await;
    let old = client(port, &token, &certificate.authority(files.path(), "old.crt"));
    old.server().await.unwrap();
    let own = Client::of_data_dir(data.path()).await.unwrap().url().to_owned();
    let problem = async || {
        let ready: serde_json::Value =
            reqwest::get(format!("{own}/readyz")).await.unwrap().json().await.unwrap();
        ready["checks"]["certificates"]["reason"].as_str().map(str::to_owned)
    };
    assert_eq!(problem().await, None);

    put(&certificate.key, "not a key");
    let told = timeout(PATIENCE, async {
        loop {
            if let Some(told) = problem().await {
                return told;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    let told = told.await.expect("it is told of");
    assert!(told.contains("server.key") && told.contains("no private key"), "{told}");
    let again = client(port, &token, &files.path().join("old.crt"));
    again.server().await.expect("the one before serves");

    certificate.renew();
    let new = certificate.authority(files.path(), "new.crt");
    let shown = timeout(PATIENCE, async {
        while client(port, &token, &new).server().await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    shown.await.expect("the new one is shown");
    assert_eq!(server.end().await, Some(0));
    end_proxy(data.path()).await;
}

#[tokio::test]
async fn an_encrypted_port_answers_nobody_in_the_clear_and_tells_browsers_to_stay() {
    let (data, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let certificate = Files::new(files.path());
    let (server, port, token) = start(data.path(), &certificate).await;
    let mut plain = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let ask = format!("GET /v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", token.reveal());
    plain.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // It may be hung up on with the rest of its words unread.
    let _ = timeout(PATIENCE, plain.read_to_end(&mut answer)).await.expect("it ends");
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1 200"), "{answer:?}");

    let http = reqwest::Client::builder()
        .tls_certs_only(
            reqwest::Certificate::from_pem_bundle(&std::fs::read(&certificate.cert).unwrap()).unwrap(),
        )
        .build()
        .unwrap();
    let answer = http.get(format!("https://localhost:{port}/healthz")).send().await.unwrap();
    assert_eq!(answer.headers()["strict-transport-security"], "max-age=15552000");
    assert_eq!(server.end().await, Some(0));
    end_proxy(data.path()).await;
}
