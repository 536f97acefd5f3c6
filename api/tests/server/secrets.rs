//! Secrets over HTTP: what goes in counts at once, and comes out nowhere.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use landfall_engine::core::event::Event;
use landfall_engine::core::ledger::{LedgerEvent, ledger_of};
use landfall_stages::secrets::VALUE_BYTES_MAX;
use serde_json::{Value, json};

use crate::fixture::{TestServer, answered};

/// Found in no other text, and not alike in any two of its forms.
const VALUE: &str = "c0rrect/horse+battery staple";

/// Returns the files below a folder that hold a text.
fn holders(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holders(&path, text));
        } else if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let holds = bytes.windows(text.len()).any(|window| window == text.as_bytes());
            found.extend(holds.then(|| path.display().to_string()));
        }
    }
    found
}

#[tokio::test]
async fn a_secret_that_is_set_counts_for_the_next_who_asks_is_listed_and_recorded_by_name_and_lies_nowhere_in_clear()
 {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let path = "/v1/apps/shop/secrets/DATABASE_URL";
    let set = server.request("PUT", path).header("landfall-actor", "ada").json(&json!({ "value": VALUE }));
    assert_eq!(answered(set.send().await.unwrap()).await, (204, Value::Null));
    assert_eq!(server.ask("PUT", &format!("{path}?env=staging"), json!({ "value": "staged" })).await.0, 204);

    let of = |env| server.app.secrets.for_app("shop", env).unwrap().get("DATABASE_URL").unwrap().to_owned();
    assert_eq!((of(Some("production")), of(Some("staging"))), (VALUE.to_owned(), "staged".to_owned()));

    let (status, listed) = server.ask("GET", "/v1/apps/shop/secrets", Value::Null).await;
    let lines = listed["secrets"].as_array().unwrap();
    let told: Vec<_> = lines.iter().map(|line| (line["name"].as_str(), line["env"].as_str())).collect();
    let name = Some("DATABASE_URL");
    assert_eq!((status, told.as_slice()), (200, &[(name, None), (name, Some("staging"))][..]));
    let keys: Vec<_> = lines[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["env", "name", "set_at"], "neither the value nor its length is told");

    let store = server.app.engine.store();
    let ledger = store.events(ledger_of(store.log_id())).await.unwrap();
    let expected = LedgerEvent::SecretSet { app: "shop".into(), env: None, name: "DATABASE_URL".into() };
    assert_eq!((&ledger[0].event, ledger[0].actor.as_str()), (&Event::Ledger(expected), "ada"));

    for form in [VALUE, &BASE64_STANDARD.encode(VALUE), "c0rrect%2Fhorse%2Bbattery%20staple"] {
        assert_eq!(holders(data.path(), form), Vec::<String>::new(), "{form}");
    }
    assert_eq!(holders(data.path(), "DATABASE_URL").len(), 2, "the search sees the vault and the log");

    assert_eq!(server.ask("DELETE", path, Value::Null).await.0, 204);
    assert!(server.app.secrets.for_app("shop", None).unwrap().get("DATABASE_URL").is_err());
    assert_eq!(of(Some("staging")), "staged");
    let (status, problem) = server.ask("DELETE", path, Value::Null).await;
    assert_eq!(
        (status, problem["detail"].as_str()),
        (404, Some("shop has no secret \"DATABASE_URL\" of its own"))
    );
    server.stop().await;
}

#[tokio::test]
async fn what_can_not_be_kept_is_refused_without_a_word_of_the_value() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let long = "x".repeat(VALUE_BYTES_MAX + 1);
    for (path, body, expected, said) in [
        ("shop/secrets/database_url", json!({ "value": "hunter2!" }), 400, "no name of a secret"),
        ("shop/secrets/PORT", json!({ "value": "hunter2!" }), 400, "is set by Landfall"),
        ("shop/secrets/LANDFALL_TOKEN", json!({ "value": "hunter2!" }), 400, "Landfall's own"),
        ("No!/secrets/A", json!({ "value": "hunter2!" }), 400, "can't be the name of an app"),
        (
            "shop/secrets/A?env=No!",
            json!({ "value": "hunter2!" }),
            400,
            "can't be the name of an environment",
        ),
        ("shop/secrets/A?for=x", json!({ "value": "hunter2!" }), 400, "for"),
        ("shop/secrets/A", json!("hunter2!"), 400, "{\"value\": \"…\"}"),
        ("shop/secrets/A", json!({ "valu": "hunter2!" }), 400, "{\"value\": \"…\"}"),
        ("shop/secrets/A", json!({ "value": 7 }), 400, "{\"value\": \"…\"}"),
        ("shop/secrets/A", json!({ "value": "" }), 400, "empty"),
        ("shop/secrets/A", json!({ "value": "hunter2!\0" }), 400, "NUL"),
        ("shop/secrets/A", json!({ "value": long }), 413, "longer than 64 KiB"),
        ("shop/secrets/A", json!({ "value": "x".repeat(1 << 20) }), 413, "64 KiB at most"),
    ] {
        let (status, problem) = server.ask("PUT", &format!("/v1/apps/{path}"), body).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            status == expected && detail.contains(said) && !detail.contains("hunter2"),
            "{path}: {problem}"
        );
    }
    let largest = json!({ "value": "\u{1}".repeat(VALUE_BYTES_MAX) });
    assert_eq!(
        server.ask("PUT", "/v1/apps/shop/secrets/A", largest).await.0,
        204,
        "as long as JSON makes it"
    );
    let (_, listed) = server.ask("GET", "/v1/apps/shop/secrets", Value::Null).await;
    assert_eq!(listed["secrets"].as_array().unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_vault_that_can_not_be_opened_says_what_to_do_and_takes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let (client, key) = (server.client(), server.key());
    client.set_secret("shop", None, "A", "first value").await.unwrap();
    std::fs::rename(&key, key.with_extension("away")).unwrap();
    let refused = client.set_secret("shop", None, "A", "second value").await.unwrap_err();
    assert_eq!(refused.status(), Some(409));
    assert!(refused.to_string().contains("bring it back"), "{refused}");
    assert_eq!(client.secrets("shop").await.unwrap().secrets.len(), 1, "names are told without the key");
    std::fs::rename(key.with_extension("away"), &key).unwrap();
    assert_eq!(server.app.secrets.for_app("shop", None).unwrap().get("A"), Ok("first value"));
    client.remove_secret("shop", None, "A").await.unwrap();
    assert!(client.secrets("shop").await.unwrap().secrets.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn nobody_without_a_token_sets_or_lists() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    for (method, path) in [("GET", "secrets"), ("PUT", "secrets/A"), ("DELETE", "secrets/A")] {
        let url = format!("{}/v1/apps/shop/{path}", server.url);
        let request =
            reqwest::Client::new().request(method.parse().unwrap(), url).json(&json!({ "value": "x" }));
        assert_eq!(request.send().await.unwrap().status(), 401, "{method} {path}");
    }
    server.stop().await;
}
