//! Tokens with scopes, apps that are made known, and the ledger that remembers both.

use landfall::client::Client;
use landfall::data_dir::Token;
use serde_json::{Value, json};

use crate::fixture::{TOKEN, TestServer, WorkingCopy, answered};

/// Hands out a token and returns it with its id.
async fn token(server: &TestServer, request: Value) -> (String, String) {
    let (status, made) = server.ask("POST", "/v1/tokens", request).await;
    assert_eq!(status, 201, "{made}");
    (made["token"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned())
}

/// Asks with a token and returns the status.
async fn status(server: &TestServer, token: &str, method: &str, path: &str, body: Value) -> u16 {
    let request = reqwest::Client::new().request(method.parse().unwrap(), format!("{}{path}", server.url));
    request.bearer_auth(token).json(&body).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_token_opens_its_scope_and_what_is_below_it() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let run = uuid::Uuid::now_v7();
    let cases = [
        ("read", "GET", "/v1/runs".to_owned(), 200),
        ("trigger", "POST", "/v1/apps/shop/runs".into(), 404),
        ("trigger", "POST", format!("/v1/runs/{run}/retry"), 404),
        ("deploy", "POST", format!("/v1/runs/{run}/cancel"), 404),
        ("deploy", "POST", "/v1/apps/shop/rollback".into(), 409),
        ("admin", "GET", "/v1/tokens".into(), 200),
        ("admin", "PUT", "/v1/apps/shop".into(), 201),
        ("admin", "POST", "/v1/prune".into(), 400),
    ];
    let scopes = ["read", "trigger", "deploy", "admin"];
    for (place, scope) in scopes.into_iter().enumerate() {
        let (token, _) = token(&server, json!({ "label": scope, "scope": scope })).await;
        for (needed, method, path, answer) in &cases {
            let opens = scopes.iter().position(|scope| scope == needed).unwrap() <= place;
            let expected = if opens { *answer } else { 403 };
            let body = if path == "/v1/prune" { json!({ "older_than": "never" }) } else { json!({}) };
            let found = status(&server, &token, method, path, body).await;
            assert_eq!(found, expected, "{scope}: {method} {path}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_token_of_one_app_opens_no_other_by_path_run_list_or_git() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let body = json!({ "repository": copy.path() });
    let (_, shop) = server.ask("POST", "/v1/apps/shop/runs", body.clone()).await;
    let (_, blog) = server.ask("POST", "/v1/apps/blog/runs", body.clone()).await;
    let run_of = |link: &Value| link["run_id"].as_str().unwrap().to_owned();
    let (token, _) = token(&server, json!({ "label": "ci", "scope": "admin", "app": "shop" })).await;
    for (path, expected) in [
        (format!("/v1/runs/{}", run_of(&shop)), 200),
        (format!("/v1/runs/{}", run_of(&blog)), 403),
        (format!("/v1/runs/{}", uuid::Uuid::now_v7()), 403),
        ("/v1/runs?app=shop".into(), 200),
        ("/v1/runs?app=blog".into(), 403),
        ("/v1/runs".into(), 403),
        ("/v1/apps".into(), 403),
        ("/v1/events".into(), 403),
        ("/v1/tokens".into(), 403),
        ("/v1/apps/shop".into(), 200),
        ("/v1/apps/blog".into(), 403),
        ("/v1/apps/%73hop".into(), 403),
        (format!("/v1/runs/{}", run_of(&blog).replace('-', "%2D")), 400),
        (format!("/v1/runs/{}/events", run_of(&blog).replace('-', "%2d")), 400),
        (format!("/v1/runs/{}", run_of(&blog).replacen('0', "%30", 1)), 400),
        ("/v1/ledger".into(), 403),
        ("/v1/server".into(), 200),
    ] {
        assert_eq!(status(&server, &token, "GET", &path, json!({})).await, expected, "{path}");
    }
    // What it is for is its app, and neither the machine's disk and keys nor the secrets of the server.
    for (method, path) in
        [("POST", "/v1/apps/shop/runs"), ("PUT", "/v1/apps/shop"), ("DELETE", "/v1/apps/shop")]
    {
        let found = status(&server, &token, method, path, body.clone()).await;
        assert_eq!(found, 403, "{method} {path}");
    }
    for (app, expected) in [("shop", 200), ("blog", 403)] {
        let url = format!("{}/git/{app}.git/info/refs?service=git-receive-pack", server.url);
        let answer = reqwest::Client::new().get(url).basic_auth("ada", Some(&token)).send().await.unwrap();
        assert_eq!(answer.status(), expected, "{app}");
    }
    server.stop().await;
}

#[tokio::test]
async fn who_has_which_token_is_the_administrator_s_to_know() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let (reader, _) = token(&server, json!({ "label": "grafana", "scope": "read" })).await;
    let (admin, _) = token(&server, json!({ "label": "ada", "scope": "admin" })).await;
    for (token, expected) in [(reader, 0), (admin, 2)] {
        let request = reqwest::Client::new().get(format!("{}/v1/events", server.url)).bearer_auth(token);
        let (_, page) = answered(request.send().await.unwrap()).await;
        assert_eq!(page["events"].as_array().unwrap().len(), expected, "{page}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_ledger_is_no_run() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    token(&server, json!({ "label": "ci", "scope": "read" })).await;
    let ledger = server.app.engine.store().log_id();
    for (method, rest) in [
        ("GET", ""),
        ("GET", "/events"),
        ("GET", "/output"),
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("POST", "/abort"),
    ] {
        let (status, answer) = server.ask(method, &format!("/v1/runs/{ledger}{rest}"), json!({})).await;
        assert_eq!(status, 404, "{method} {rest}: {answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_token_signs_with_its_label_and_is_nowhere_but_in_its_one_answer() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let (token, id) = token(&server, json!({ "label": "forge", "scope": "admin", "expires_in": "1h" })).await;
    let request = reqwest::Client::new()
        .put(format!("{}/v1/apps/shop", server.url))
        .bearer_auth(&token)
        .header("landfall-actor", "somebody-else")
        .json(&json!({ "git": "https://git.example.com/shop.git" }));
    assert_eq!(request.send().await.unwrap().status(), 201);
    let (_, listed) = server.ask("GET", "/v1/tokens", json!({})).await;
    assert_eq!(listed["tokens"][0]["label"], "forge");
    assert!(
        listed["tokens"][0]["expires_at"].is_string() && listed["tokens"][0]["expired"] == false,
        "{listed}"
    );
    assert_eq!(server.ask("DELETE", &format!("/v1/tokens/{id}"), json!({})).await.0, 204);
    assert_eq!(status(&server, &token, "GET", "/v1/runs", json!({})).await, 401);
    assert_eq!(server.ask("DELETE", &format!("/v1/tokens/{id}"), json!({})).await.0, 404);
    let (_, ledger) = server.ask("GET", "/v1/ledger", json!({})).await;
    let told: Vec<(&str, &str)> = ledger["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["actor"].as_str().unwrap(), event["event"]["data"]["type"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("api", "token_created"), ("forge", "app_registered"), ("api", "token_revoked")]);
    server.stop().await;
    for file in walk(data.path()) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        assert!(!bytes.windows(token.len()).any(|part| part == token.as_bytes()), "{}", file.display());
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn an_address_that_guesses_is_not_listened_to_for_a_while_also_when_it_guesses_right() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let ask = async |from: &str, token: &str| {
        let request = reqwest::Client::new().get(format!("{}/v1/runs", server.url)).bearer_auth(token);
        request.header("x-forwarded-for", from.to_owned()).send().await.unwrap()
    };
    let mut wrong = 0;
    let closed = loop {
        let answer = ask("203.0.113.7", "a-token-that-is-wrong").await;
        match answer.status().as_u16() {
            401 => wrong += 1,
            _ => break answer,
        }
        assert!(wrong < 100, "nobody stops it");
    };
    assert!(wrong >= 10, "a person may be wrong a few times");
    let wait: u64 = closed.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=3).contains(&wait), "{wait}");
    let (status, problem) = answered(closed).await;
    assert_eq!((status, &problem["type"]), (429, &json!("urn:landfall:limited")));
    assert_eq!(ask("203.0.113.7", TOKEN).await.status(), 429);
    assert_eq!(ask("203.0.113.8", TOKEN).await.status(), 200);
    // Commands on the machine itself have a token that nobody guesses.
    let local =
        Client::new(&server.url, Token::parse(server.app.local.reveal(), "the test").unwrap()).unwrap();
    for _ in 0..30 {
        ask("127.0.0.1", "a-token-that-is-wrong").await;
    }
    assert!(local.server().await.is_ok());
    server.stop().await;
}

#[tokio::test]
async fn an_app_is_known_as_it_was_registered_until_it_is_removed() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let shop = json!({
        "git": "https://git.example.com/ada/shop.git",
        "branches": { "main": "production", "develop": "staging" },
        "poll": "1m",
        "forge": { "kind": "gitea", "api": "https://git.example.com/api/v1", "project": "ada/shop", "token": "GITEA_TOKEN" },
    });
    assert_eq!(server.ask("GET", "/v1/apps/shop", json!({})).await.0, 404);
    assert_eq!(server.ask("PUT", "/v1/apps/shop", shop.clone()).await, (201, shop.clone()));
    assert_eq!(server.ask("PUT", "/v1/apps/shop", shop.clone()).await, (200, shop.clone()));
    let (_, known) = server.ask("GET", "/v1/apps/shop", json!({})).await;
    assert_eq!((&known["registration"], &known["environments"]), (&shop, &json!([])));
    let (_, all) = server.ask("GET", "/v1/apps", json!({})).await;
    assert_eq!(all["registered"], json!({ "shop": shop }));
    let (status, problem) = server.ask("PUT", "/v1/apps/shop", json!({ "giturl": "x" })).await;
    assert_eq!(status, 400);
    assert!(problem["detail"].as_str().unwrap().contains("unknown field `giturl`"), "{problem}");
    assert_eq!(server.ask("DELETE", "/v1/apps/shop", json!({})).await.0, 204);
    assert_eq!(server.ask("DELETE", "/v1/apps/shop", json!({})).await.0, 404);
    let (_, ledger) = server.ask("GET", "/v1/ledger", json!({})).await;
    // What changes nothing is no decision.
    assert_eq!(ledger["events"].as_array().unwrap().len(), 2);
    server.stop().await;
}
