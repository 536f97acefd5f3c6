//! What the server says of itself on stderr: in the form that was asked for, and never a secret.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::binary::{Process, end_proxy, serve};
use crate::fixture::{PATIENCE, WorkingCopy};

/// Serves, takes a push and a wrong token, and returns everything that was logged, by the proxy too.
async fn logged(arguments: &[&str]) -> (Vec<String>, String) {
    let data = tempfile::tempdir().unwrap();
    let mut server = Process::start_with(data.path(), arguments).await;
    let mut stderr = BufReader::new(server.child.stderr.take().unwrap());
    let reading = tokio::spawn(async move {
        let mut text = String::new();
        stderr.read_to_string(&mut text).await.unwrap();
        text
    });
    let url = server.said[0].rsplit(' ').next().unwrap().to_owned();
    let token = std::fs::read_to_string(server.value("token")).unwrap().trim().to_owned();
    let copy = WorkingCopy::new().await;
    let remote = format!("http://ada:{token}@{}/git/shop.git", &url["http://".len()..]);
    copy.push(&remote, &["main"]).await;
    let wrong = reqwest::Client::new().get(format!("{url}/v1/runs")).bearer_auth("hunter2-hunter2-hunter2");
    assert_eq!(wrong.send().await.unwrap().status(), 401);
    assert_eq!(server.end().await, Some(0));
    let mut text = timeout(PATIENCE, reading).await.unwrap().unwrap();
    end_proxy(data.path()).await;
    text += &std::fs::read_to_string(data.path().join("proxy/proxy.log")).unwrap();
    for secret in [token.as_str(), "hunter2"] {
        assert!(!text.contains(secret), "a token was logged");
    }
    (text.lines().map(str::to_owned).collect(), text)
}

#[tokio::test]
async fn json_is_an_object_a_line_from_the_server_and_its_proxy_without_a_secret() {
    let (lines, text) = logged(&["--log-format", "json", "--log-filter", "debug"]).await;
    assert!(lines.len() > 5, "{text}");
    for line in &lines {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
    }
    assert!(text.contains("the traffic proxy serves"), "{text}");
}

#[tokio::test]
async fn a_filter_says_what_is_logged_and_one_that_is_none_is_refused_before_anything_begins() {
    let (_, text) = logged(&["--log-filter", "error"]).await;
    assert!(!text.contains("INFO"), "{text}");

    let data = tempfile::tempdir().unwrap();
    let mut command = serve(data.path(), &["--log-filter", "info,hyper=loud"]);
    let refused = timeout(PATIENCE, command.stderr(Stdio::piped()).output()).await.unwrap().unwrap();
    assert_eq!(refused.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("expected a level"));
    let help = Command::new(env!("CARGO_BIN_EXE_landfall")).args(["serve", "--help"]).output().await.unwrap();
    assert!(String::from_utf8_lossy(&help.stdout).contains("--log-format <FORMAT>"));
}
