//! The registry's answers, from a server that pretends.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use landfall_engine::core::settings::RegistrySettings;

use super::token::Challenge;
use super::*;
use crate::docker::DockerHandle;
use crate::proxy::ProxyClient;
use crate::secrets::Secrets;

const DIGEST: &str = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";

fn context() -> Context {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Context {
        docker: DockerHandle::connect(Some("unix:///nonexistent/docker.sock")).unwrap(),
        http: reqwest::Client::builder().no_proxy().build().unwrap(),
        keys: crate::git::RepositoryKeys::default(),
        secrets: Arc::new(Secrets::default()),
        proxy: ProxyClient::new("/nonexistent/admin.sock"),
        data: "/nonexistent".into(),
        host_tests: false,
    }
}

fn ci() -> Login {
    Login::Password { username: "ci".into(), password: "p>>>?~~~".into(), from: "the secret PW".into() }
}

/// A registry that answers each request with what `answer` makes of its head, and remembers the heads.
async fn registry(
    answer: impl Fn(SocketAddr, &str) -> String + Send + 'static,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let text = answer(address, &head);
            seen.lock().unwrap().push(head);
            let _ = stream.write_all(text.as_bytes()).await;
        }
    });
    (address.to_string(), heads)
}

fn respond(status: &str, headers: &str, body: &str) -> String {
    let len = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {len}\r\nconnection: close\r\n\r\n{body}")
}

#[tokio::test]
async fn a_registry_that_asks_for_a_password_gets_it_whole() {
    let (host, heads) = registry(|_, head| {
        // ci:p>>>?~~~
        if head.contains("authorization: Basic Y2k6cD4+Pj9+fn4=") {
            respond("200 OK", &format!("Docker-Content-Digest: {DIGEST}\r\n"), "")
        } else {
            respond("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n", "")
        }
    })
    .await;
    let found = manifest(&context(), Some(&ci()), &host, "shop", "run-1").await.unwrap();
    assert_eq!(found, Some(Manifest { digest: DIGEST.into() }));
    let first = heads.lock().unwrap()[0].clone();
    assert!(first.starts_with("HEAD /v2/shop/manifests/run-1 HTTP/1.1"), "{first}");
    assert!(!first.contains("authorization"), "the password was sent before it was asked for");
}

#[tokio::test]
async fn a_registry_with_tokens_is_asked_with_one() {
    let (host, _) = registry(|address, head| {
        if head.starts_with("GET /token?service=registry&scope=repository%3Ashop%3Apull") {
            assert!(head.contains("authorization: Basic "), "{head}");
            respond("200 OK", "", r#"{"token":"t0k"}"#)
        } else if head.contains("authorization: Bearer t0k") {
            respond("200 OK", &format!("Docker-Content-Digest: {DIGEST}\r\n"), "")
        } else {
            let challenge = format!(
                "WWW-Authenticate: Bearer realm=\"http://{address}/token\",service=\"registry\",scope=\"repository:shop:pull\"\r\n"
            );
            respond("401 Unauthorized", &challenge, "")
        }
    })
    .await;
    let found = manifest(&context(), Some(&ci()), &host, "shop", "run-1").await.unwrap();
    assert_eq!(found, Some(Manifest { digest: DIGEST.into() }));
}

#[tokio::test]
async fn a_refused_password_is_a_failure_that_says_what_to_check() {
    let (host, _) =
        registry(|_, _| respond("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n", "")).await;
    let stopped = manifest(&context(), Some(&ci()), &host, "shop", "run-1").await.unwrap_err();
    assert!(matches!(stopped, Stopped::Failed(_)), "{stopped:?}");
    assert!(stopped.reason().contains("the secret PW") && stopped.reason().contains("ci"), "{stopped:?}");
    assert!(!stopped.reason().contains("p>>>"), "the password is in the reason");
    assert!(!format!("{:?}", ci()).contains("p>>>"), "the password is in the Debug text");
    let stopped = manifest(&context(), None, &host, "shop", "run-1").await.unwrap_err();
    assert!(stopped.reason().contains("none is known"), "{stopped:?}");
}

#[tokio::test]
async fn a_registry_that_is_not_well_gave_no_answer() {
    let (host, _) = registry(|_, _| respond("503 Service Unavailable", "", "")).await;
    let stopped = manifest(&context(), None, &host, "shop", "run-1").await.unwrap_err();
    assert!(matches!(&stopped, Stopped::Errored(reason) if reason.contains("503")), "{stopped:?}");
    let stopped = manifest(&context(), None, "127.0.0.1:1", "shop", "run-1").await.unwrap_err();
    assert!(matches!(&stopped, Stopped::Errored(reason) if reason.contains("127.0.0.1:1")), "{stopped:?}");
}

#[tokio::test]
async fn a_tag_that_is_not_there_is_none_and_a_digest_that_is_not_sent_is_computed() {
    let (host, _) = registry(|_, head| {
        if head.contains("/manifests/there ") {
            respond(
                "200 OK",
                "",
                if head.starts_with("GET") { r#"{"config":{"digest":"sha256:cc"}}"# } else { "" },
            )
        } else {
            respond("404 Not Found", "", "")
        }
    })
    .await;
    let context = context();
    assert_eq!(manifest(&context, None, &host, "shop", "absent").await.unwrap(), None);
    let found = manifest(&context, None, &host, "shop", "there").await.unwrap().unwrap();
    assert_eq!(found.digest, sha256(br#"{"config":{"digest":"sha256:cc"}}"#));
    let id = image_id(&context, None, &host, "shop", "there").await.unwrap();
    assert_eq!(id.as_deref(), Some("sha256:cc"));
}

#[tokio::test]
async fn a_password_is_not_sent_in_the_clear_to_somewhere_else() {
    let (host, heads) = registry(|_, _| {
        respond("401 Unauthorized", "WWW-Authenticate: Bearer realm=\"http://evil.example/t\"\r\n", "")
    })
    .await;
    let stopped = manifest(&context(), Some(&ci()), &host, "shop", "run-1").await.unwrap_err();
    assert!(stopped.reason().contains("https"), "{stopped:?}");
    assert_eq!(heads.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_user_without_a_password_and_a_secret_without_a_value_are_named() {
    let settings = |password: Option<&str>| RegistrySettings {
        username: Some("ci".into()),
        password: password.map(str::to_owned),
        ..RegistrySettings::default()
    };
    let stopped = login(&context(), &settings(None), "x.io").await.unwrap_err();
    assert!(stopped.reason().contains("together"), "{stopped:?}");
    let stopped = login(&context(), &settings(Some("REGISTRY_PASSWORD")), "x.io").await.unwrap_err();
    assert!(stopped.reason().contains("REGISTRY_PASSWORD"), "{stopped:?}");
}

#[test]
fn a_challenge_is_read_with_its_commas() {
    let challenge =
        Challenge::parse(r#"Bearer realm="https://a/t", service=b,scope="repository:s:pull,push""#).unwrap();
    assert_eq!(challenge.scheme, "bearer");
    assert_eq!(challenge.get("realm"), Some("https://a/t"));
    assert_eq!(challenge.get("service"), Some("b"));
    assert_eq!(challenge.get("scope"), Some("repository:s:pull,push"));
    assert_eq!(Challenge::parse("Basic realm=\"x\"").unwrap().scheme, "basic");
    assert_eq!(Challenge::parse("nonsense"), None);
}

#[test]
fn plain_http_is_for_this_machine_alone() {
    for host in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.3.2.1"] {
        assert!(is_loopback(host), "{host}");
    }
    for host in ["localhost.example.com", "10.0.0.1:5000", "ghcr.io", "127.0.0.1.evil.example"] {
        assert!(!is_loopback(host), "{host}");
    }
}
