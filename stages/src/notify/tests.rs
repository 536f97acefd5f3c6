//! Notices sent to receivers that pretend, and what they say, as text.

use std::sync::Arc;

use landfall_engine::core::effect::EffectKey;
use landfall_engine::core::event::Cause;
use landfall_engine::core::facts::Failure;
use landfall_engine::core::facts::TestFailure;
use landfall_engine::core::facts::TestReport;
use landfall_engine::core::notice::Audience;
use landfall_engine::core::notice::NoticeId;
use landfall_engine::core::notice::Occasion;
use landfall_engine::core::run::Blocked;
use landfall_engine::core::run::Parked;
use landfall_engine::core::run::Phase;
use landfall_engine::core::run::Run;
use landfall_engine::core::run::RunState;
use landfall_engine::core::settings::Settings;
use landfall_engine::core::stage::Stage;
use serde_json::Value;

use super::*;
use crate::secrets::MAIL_FROM;
use crate::secrets::Masker;
use crate::secrets::SMTP_URL;
use crate::testing::Reply;
use crate::testing::Request;
use crate::testing::World;
use crate::testing::mail_server;
use crate::testing::release;
use crate::testing::run as a_run;
use crate::testing::tcp;

fn failed_in(stage: Stage, reason: &str) -> Run {
    let mut run = a_run(([127, 0, 0, 1], 9).into(), None, settings());
    run.state = RunState::Failed;
    run.phase = Phase::Ended;
    run.cause = Some(Cause::StageFailed { stage, reason: reason.into() });
    run
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.notify.developer = vec!["slack:HOOK".into(), "webhook:HOOK".into()];
    settings
}

fn red_tests() -> Run {
    let mut run = failed_in(Stage::Test, "the tests failed: expected exit code 0, found 1 (2 of 14 failed)");
    run.tests = Some(TestReport {
        exit_code: 1,
        counts: None,
        first_failures: vec![TestFailure {
            name: "tests/test_app.py::test_home".into(),
            message: "assert 500 == 200".into(),
        }],
    });
    run
}

fn evidence() -> evidence::Evidence {
    let tail = vec!["E   assert 500 == 200".to_owned(), "2 failed, 12 passed in 0.31s".to_owned()];
    evidence::Evidence { stage: Stage::Test, failure: Failure::new("red").with_tail(tail) }
}

fn rolled_back() -> Run {
    let reason = "GET /api expected status 200, found 503 Service Unavailable (\"<b>down</b> & out\")";
    let mut run = failed_in(Stage::Smoke, reason);
    run.state = RunState::RolledBack;
    run.entry.as_mut().unwrap().replaces = Some(release(([127, 0, 0, 1], 9).into()));
    run
}

fn parked() -> Run {
    let mut run = failed_in(Stage::Smoke, "red");
    let at = Blocked::Rollback { attempt: 3 };
    let reason = "the rollback could not be finished in 3 tries: the traffic proxy did not answer".into();
    run.phase = Phase::Parked(Parked { at, reason, since_ms: 1 });
    run
}

fn notice(occasion: Occasion, channel: &str) -> NoticeId {
    NoticeId { occasion, audience: Audience::Developer, channel: channel.into() }
}

fn order(run: Run, occasion: Occasion, channel: &str) -> NoticeOrder {
    let notice = notice(occasion, channel);
    let key = EffectKey::notice(run.id, &notice);
    NoticeOrder { run: Arc::new(run), notice, attempt: 1, key }
}

/// Sends a notice to a receiver that answers like this, under the name HOOK.
async fn posted(channel: &str, reply: Reply) -> (Result<String, String>, Vec<Request>) {
    let (address, heard) = tcp(move |_| reply.clone()).await;
    let hook = format!("http://{address}/services/T0/B0/XyZsecret");
    let world = World::with(&[("HOOK", &hook)]).await;
    let sent = run(&world.context, &order(red_tests(), Occasion::Failed, channel)).await;
    let heard = heard.lock().unwrap().clone();
    (sent, heard)
}

fn said(sent: &Result<String, String>) -> Result<&str, &str> {
    sent.as_deref().map_err(String::as_str)
}

#[test]
fn the_words_of_every_notice_are_pinned() {
    let all = [
        (red_tests(), Occasion::Failed, Some(evidence())),
        (rolled_back(), Occasion::RolledBack, None),
        (parked(), Occasion::Parked { seq: 12 }, None),
    ];
    let mut shown = String::new();
    for (run, occasion, evidence) in all {
        let id = notice(occasion, "slack:HOOK");
        let message = Message::about(&run, &id, evidence, &Masker::new(["12 passed"]));
        let slack = message.slack()["text"].as_str().unwrap().to_owned();
        let json = serde_json::to_string_pretty(&message.json(SystemTime::UNIX_EPOCH)).unwrap();
        shown.push_str(&format!("=== {occasion} as text\n{}\n", message.text()));
        shown.push_str(&format!("=== {occasion} for Slack\n{slack}\n\n"));
        shown.push_str(&format!("=== {occasion} as JSON\n{json}\n\n"));
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/notify/notices.txt");
        std::fs::write(path, &shown).unwrap();
    } else {
        assert_eq!(shown, include_str!("notices.txt"), "UPDATE_EXPECT=1 writes it anew");
    }
}

#[test]
fn a_slack_message_is_never_longer_than_slack_shows() {
    let mut evidence = evidence();
    evidence.failure.tail = vec!["<&>``` ".repeat(70); 30];
    let message = Message::about(
        &red_tests(),
        &notice(Occasion::Failed, "slack:HOOK"),
        Some(evidence),
        &Masker::default(),
    );
    let text = message.slack()["text"].as_str().unwrap().to_owned();
    assert!(text.len() <= 3_520, "{}", text.len());
    assert!(text.ends_with(&format!("`landfall show {}`", red_tests().id)), "{text}");
}

#[tokio::test]
async fn a_webhook_gets_json_and_the_key_of_the_notice() {
    for channel in ["slack:HOOK", "webhook:HOOK"] {
        let (sent, heard) = posted(channel, Reply::new(200, "ok")).await;
        assert_eq!(sent.as_deref(), Ok("200 OK"));
        let [request] = heard.as_slice() else { panic!("{heard:?}") };
        assert_eq!((request.method.as_str(), request.path()), ("POST", "/services/T0/B0/XyZsecret"));
        let key = order(red_tests(), Occasion::Failed, channel).key;
        assert_eq!(request.header("idempotency-key"), Some(key.as_str()));
        assert_eq!(request.header("content-type"), Some("application/json"));
        let body: Value = serde_json::from_str(&request.body).unwrap();
        assert!(body["text"].as_str().unwrap().contains("Make it blue"), "{body}");
    }
}

#[tokio::test]
async fn a_refusal_is_quoted_without_the_address() {
    let echo = "no such hook: /services/T0/B0/XyZsecret";
    let (sent, _) = posted("slack:HOOK", Reply::new(404, echo)).await;
    assert_eq!(said(&sent), Err("slack:HOOK answered 404 Not Found (\"no such hook: ***\")"));
    let (sent, heard) =
        posted("webhook:HOOK", Reply::new(307, "").with("location", "http://127.0.0.1:9/")).await;
    assert_eq!(said(&sent), Err("webhook:HOOK answered 307 Temporary Redirect (\"\")"));
    assert_eq!(heard.len(), 1);
}

#[tokio::test]
async fn an_address_that_nobody_answers_is_not_named() {
    let world = World::with(&[("HOOK", "http://127.0.0.1:1/services/XyZsecret")]).await;
    let sent = run(&world.context, &order(red_tests(), Occasion::Failed, "slack:HOOK")).await;
    assert_eq!(said(&sent), Err("slack:HOOK gave no answer: connection refused"));
    let world = World::with(&[("HOOK", "XyZsecret")]).await;
    let sent = run(&world.context, &order(red_tests(), Occasion::Failed, "slack:HOOK")).await;
    assert_eq!(said(&sent), Err("the secret HOOK is no address: expected https://… or http://…"));
    let world = World::new().await;
    let sent = run(&world.context, &order(red_tests(), Occasion::Failed, "webhook:HOOK")).await;
    assert_eq!(
        said(&sent),
        Err("the secret HOOK is not set: put it into the environment of the landfall process")
    );
}

#[tokio::test]
async fn a_receiver_that_keeps_silent_is_given_up() {
    let (address, _) = tcp(|_| Reply::Silence).await;
    let world = World::with(&[("HOOK", &format!("http://{address}/"))]).await;
    let order = order(red_tests(), Occasion::Failed, "webhook:HOOK");
    let sent = run_within(&world.context, &order, Duration::from_millis(50)).await;
    assert_eq!(said(&sent), Err("webhook:HOOK gave no answer within 50ms"));
}

#[tokio::test]
async fn what_a_stage_said_last_is_in_the_notice() {
    let (address, heard) = tcp(|_| Reply::new(200, "")).await;
    let world = World::with(&[("HOOK", &format!("http://{address}/"))]).await;
    let run_of = red_tests();
    evidence::keep(&world.context, &run_of, Stage::Test, &evidence().failure).await;
    run(&world.context, &order(run_of, Occasion::Failed, "webhook:HOOK")).await.unwrap();
    let body: Value = serde_json::from_str(&heard.lock().unwrap()[0].body).unwrap();
    assert_eq!(body["tail"][1], "2 failed, 12 passed in 0.31s");
    assert_eq!(body["failing_tests"][0]["name"], "tests/test_app.py::test_home");
}

/// Mails a notice of red tests through a server with a login.
async fn mailed(channel: &str, verdict: &'static str) -> (Result<String, String>, Vec<String>) {
    let (address, heard) = mail_server(verdict).await;
    let url = format!("smtp://mailer:mail%20pw@{address}");
    let world = World::with(&[(SMTP_URL, &url), (MAIL_FROM, "Landfall <landfall@example.com>")]).await;
    let sent = run(&world.context, &order(red_tests(), Occasion::Failed, channel)).await;
    let heard = heard.lock().unwrap().clone();
    (sent, heard)
}

#[tokio::test]
async fn the_author_gets_a_mail() {
    let (sent, heard) = mailed("email:author", "250 2.0.0 queued as 7").await;
    assert_eq!(sent.as_deref(), Ok("250 2.0.0 queued as 7"));
    let has = |text: &str| heard.iter().any(|line| line.contains(text));
    assert!(has("AUTH PLAIN"), "{heard:?}");
    assert!(has("MAIL FROM:<landfall@example.com>") && has("RCPT TO:<ada@example.com>"), "{heard:?}");
    assert!(has("Auto-Submitted: auto-generated") && has("Message-ID: <landfall."), "{heard:?}");
    assert!(has("tests/test_app.py::test_home"), "{heard:?}");
}

#[tokio::test]
async fn every_try_is_the_same_mail() {
    let id = |heard: Vec<String>| heard.into_iter().find(|line| line.starts_with("Message-ID")).unwrap();
    let (_, first) = mailed("email:ops@example.com", "250 ok").await;
    let (_, second) = mailed("email:ops@example.com", "250 ok").await;
    let (_, other) = mailed("email:author", "250 ok").await;
    let (first, second, other) = (id(first), id(second), id(other));
    assert_eq!(first, second);
    assert_ne!(first, other);
}

#[tokio::test]
async fn a_mail_server_that_refuses_is_quoted_without_the_password() {
    let (sent, _) = mailed("email:author", "554 5.7.1 not with mail pw").await;
    let said = sent.unwrap_err();
    assert!(said.contains("5.7.1 not with ***"), "{said}");
}

#[tokio::test]
async fn an_address_that_is_none_is_said() {
    let world = World::with(&[(SMTP_URL, "smtp://127.0.0.1:1"), (MAIL_FROM, "a@example.com")]).await;
    let mut nobody = red_tests();
    if let landfall_engine::core::event::Origin::Push { commit, .. } = &mut nobody.origin {
        commit.email = "not an address".into();
    }
    let sent = run(&world.context, &order(nobody, Occasion::Failed, "email:author")).await;
    assert_eq!(said(&sent), Err("the author's address \"not an address\" is no e-mail address"));
    let sent = run(&world.context, &order(red_tests(), Occasion::Failed, "pager:me")).await;
    assert!(sent.unwrap_err().starts_with("\"pager:me\" is no channel"));
}
