//! Pushes to a forge, each signed by another language's HMAC: delivered, they end live.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::real::yard::{App, Server, Yard, sh, wait_for};

/// In the form of Standard Webhooks, which the other forges take as it is.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Delivers a push so often at once, and returns the status and the body of each answer.
fn deliver(yard: &Yard, forge: &str, before: &str, after: &str, times: usize) -> Vec<(u64, Value)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/real/deliver.py");
    let url = format!("http://127.0.0.1:{}/v1/hooks/{forge}/hello", yard.port);
    let mut python = Command::new("python3");
    python.arg(script).args([forge, &url, SECRET, before, after, &times.to_string()]);
    let answers = sh(&mut python);
    let answers = answers.lines().map(|line| serde_json::from_str::<(u64, Value)>(line).unwrap());
    answers.collect()
}

/// A server that knows the app behind the path of its repository, with the first version live.
fn rig() -> (Arc<Yard>, App, Server, String) {
    let yard = Yard::new();
    let app = App::new(yard.registry.address);
    let server = Server::start_with(&yard, |serve| _ = serve.env("HOOK_SECRET", SECRET));
    let shown = app.version("1.0.0");
    let known = json!({ "git": format!("file://{}", app.path().display()), "webhook_secret": "HOOK_SECRET" });
    let (status, body) = server.api("PUT", "/v1/apps/hello", Some(&known)).unwrap();
    assert!(matches!(status, 200 | 201), "{body}");
    wait_for("the first run", || (!server.runs().is_empty()).then_some(()));
    assert_eq!(server.ended()["state"], "live", "an app that is made known is deployed");
    assert_eq!(yard.serves().as_deref(), Some(shown.as_str()));
    let head = app.git(&["rev-parse", "HEAD"]);
    (yard, app, server, head)
}

#[test]
fn pushes_to_github_gitea_and_gitlab_go_live_and_one_that_is_delivered_a_hundred_times_is_one_run() {
    let (yard, app, server, mut before) = rig();
    for (forge, version) in [("github", "2.0.0"), ("gitea", "3.0.0"), ("gitlab", "4.0.0")] {
        let shown = app.version(version);
        let after = app.git(&["rev-parse", "HEAD"]);
        let answers = deliver(&yard, forge, &before, &after, 1);
        assert_eq!(answers[0].0, 202, "{forge}: {answers:?}");
        let run = server.ended();
        assert_eq!(
            (&run["id"], &run["state"]),
            (&answers[0].1["runs"][0]["run_id"], &json!("live")),
            "{run}"
        );
        assert_eq!(
            (&run["trigger"], &run["actor"]),
            (&json!(format!("{forge} push")), &json!(format!("{forge}:ada")))
        );
        assert_eq!(yard.serves().as_deref(), Some(shown.as_str()), "{forge}");
        before = after;
    }

    let shown = app.version("5.0.0");
    let after = app.git(&["rev-parse", "HEAD"]);
    let answers = deliver(&yard, "github", &before, &after, 100);
    assert_eq!(answers.len(), 100);
    let named: BTreeSet<&str> =
        answers.iter().filter_map(|(_, body)| body["runs"][0]["run_id"].as_str()).collect();
    assert_eq!(named.len(), 1, "{named:?}");
    assert!(
        answers
            .iter()
            .all(|(status, body)| matches!(status, 200 | 202) && body["runs"][0]["run_id"].is_string())
    );
    let run = server.ended();
    assert_eq!((run["id"].as_str(), &run["state"]), (named.first().copied(), &json!("live")));
    assert_eq!(yard.serves().as_deref(), Some(shown.as_str()));
    assert_eq!(server.runs().len(), 5);

    // A wrong secret starts nothing, and a push that nobody told of is found at the next start.
    let shown = app.version("6.0.0");
    server.stop();
    let server = Server::start_with(&yard, |serve| _ = serve.env("HOOK_SECRET", "another"));
    wait_for("the push that was missed", || (server.runs().len() == 6).then_some(()));
    assert_eq!(server.ended()["state"], "live");
    assert_eq!(yard.serves().as_deref(), Some(shown.as_str()));
    let after = app.git(&["rev-parse", "HEAD"]);
    assert_eq!(deliver(&yard, "github", &before, &after, 1)[0].0, 403);
    assert_eq!(server.runs().len(), 6);
    server.stop();
}
