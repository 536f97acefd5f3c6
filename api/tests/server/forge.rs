//! A forge that delivers: GitHub's push of a working copy's commits, signed.

use hmac::{Hmac, KeyInit, Mac};
use landfall_engine::core::ledger::{LedgerEvent, Registration, Source};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::fixture::{HOOK_SECRET, TestServer, WorkingCopy};

pub const NONE: &str = "0000000000000000000000000000000000000000";

/// Returns what is known of an app behind the working copy's path.
pub fn behind(copy: &WorkingCopy) -> Registration {
    let source = Source::Git { url: format!("file://{}", copy.path().display()), credential: None };
    Registration { source, webhook_secret: Some("HOOK_SECRET".into()), ..Registration::default() }
}

pub async fn register(server: &TestServer, app: &str, registration: Registration) {
    let event = LedgerEvent::AppRegistered { app: app.into(), registration: Box::new(registration) };
    server.app.engine.record(event, "the test").await.unwrap();
}

/// Returns the body of a push to a branch.
pub fn push(reference: &str, before: &str, after: &str) -> Value {
    json!({
        "ref": reference, "before": before, "after": after, "forced": false,
        "repository": { "clone_url": "https://evil.example/elsewhere.git" },
        "sender": { "login": "ada" },
        "commits": [commit(after, "Write app.py")],
        "head_commit": if after == NONE { Value::Null } else { commit(after, "Write app.py") },
    })
}

pub fn commit(sha: &str, message: &str) -> Value {
    json!({
        "id": sha, "message": message, "author": { "name": "Ada", "email": "ada@example.com" },
        "added": [], "removed": [], "modified": ["app.py"],
    })
}

/// Returns a delivery of GitHub's that is yet to be sent.
pub fn delivery(server: &TestServer, app: &str, id: &str, event: &str, body: &str) -> RequestBuilder {
    let signature = format!("sha256={}", hex_of(HOOK_SECRET, body.as_bytes()));
    unsigned(server, &format!("github/{app}"), body)
        .header("x-github-event", event)
        .header("x-github-delivery", id)
        .header("x-hub-signature-256", signature)
}

/// Returns a delivery without any header of a forge.
pub fn unsigned(server: &TestServer, path: &str, body: &str) -> RequestBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let request = reqwest::Client::new().post(format!("{}/v1/hooks/{path}", server.url));
    request.header("content-type", "application/json").body(body.to_owned())
}

/// Delivers a push, and returns the status and the body of the answer.
pub async fn delivered(server: &TestServer, app: &str, id: &str, body: &Value) -> (u16, Value) {
    answered(delivery(server, app, id, "push", &body.to_string()).send().await.unwrap()).await
}

pub async fn answered(answer: Response) -> (u16, Value) {
    crate::fixture::answered(answer).await
}

pub fn hex_of(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
