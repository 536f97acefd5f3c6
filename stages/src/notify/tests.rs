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

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

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
async fn posted(channel: &str, reply: Reply) -> (Result<String, NotSent>, Vec<Request>) {
    let (address, heard) = tcp(move |_| reply.clone()).await;
    let hook = format!("http://{address}/services/T0/B0/XyZsecret");
    let world = World::with(&[("HOOK", &hook), ("KEY", KEY)]).await;
    let sent = run(&world.context, &order(red_tests(), Occasion::Failed, channel)).await;
    let heard = heard.lock().unwrap().clone();
    (sent, heard)
}

/// Returns why a notice was not taken, for good.
#[track_caller]
fn no(sent: &Result<String, NotSent>) -> &str {
    match sent {
        Err(NotSent::Failed { reason }) => reason,
        other => panic!("expected an answer that is no, found {other:?}"),
    }
}

/// Returns why a notice was not taken yet.
#[track_caller]
fn not_yet(sent: &Result<String, NotSent>) -> &str {
    match sent {
        Err(NotSent::Errored { reason, .. }) => reason,
        other => panic!("expected the lack of an answer, found {other:?}"),
    }
}

#[test]
fn the_words_of_every_notice_are_pinned() {
    let all = [
        (red_tests(), Occasion::Failed, Some(evidence())),
        (rolled_back(), Occasion::RolledBack, None),
        (parked(), Occasion::Parked { seq: 12 }, None),
    ];
    let masker = Masker::new(["12 passed"]);
    let mut shown = String::new();
    for (run, occasion, evidence) in all {
        let id = notice(occasion, "slack:HOOK");
        show(&mut shown, &occasion.to_string(), &Message::about(&run, &id, evidence, &masker));
    }
    show(&mut shown, "disk_low", &Message::of_server(&disk_low(), &masker));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/notify/notices.txt");
        std::fs::write(path, &shown).unwrap();
    } else {
        assert_eq!(shown, include_str!("notices.txt"), "UPDATE_EXPECT=1 writes it anew");
    }
}

/// Adds every form of a message.
fn show(shown: &mut String, name: &str, message: &Message) {
    let pretty = |value: Value| serde_json::to_string_pretty(&value).unwrap();
    let slack = form::slack(message)["text"].as_str().unwrap().to_owned();
    shown.push_str(&format!("=== {name} as text\n{}\n", form::text(message)));
    shown.push_str(&format!("=== {name} for Slack\n{slack}\n\n"));
    shown.push_str(&format!("=== {name} for Discord\n{}\n\n", pretty(form::discord(message))));
    shown.push_str(&format!("=== {name} for Teams\n{}\n\n", pretty(form::teams(message))));
    let json = form::json(message, SystemTime::UNIX_EPOCH);
    shown.push_str(&format!("=== {name} as JSON\n{}\n\n", pretty(json)));
}

fn disk_low() -> ServerNotice {
    ServerNotice {
        event: "disk_low",
        server: "build-1".into(),
        what: "the disk is low".into(),
        reason: "the disk of /var/lib/landfall is low: 100 MiB are free".into(),
        then: "Pushes are refused until there is room.".into(),
        command: "landfall prune".into(),
    }
}

/// Returns a notice that is as long as they get.
fn long() -> Message {
    let mut evidence = evidence();
    evidence.failure.tail = vec!["<&>``` ".repeat(30); 30];
    let id = notice(Occasion::Failed, "slack:HOOK");
    Message::about(&red_tests(), &id, Some(evidence), &Masker::default())
}

#[test]
fn a_message_is_never_longer_than_its_receiver_takes_and_keeps_its_end() {
    let end = format!("`landfall show {}`", red_tests().id);
    let slack = form::slack(&long())["text"].as_str().unwrap().to_owned();
    assert!(slack.len() <= 3_520 && slack.ends_with(&end), "{}: {slack}", slack.len());
    let discord = form::discord(&long());
    let description = discord["embeds"][0]["description"].as_str().unwrap();
    assert!(description.len() <= 3_520 && description.ends_with(&end), "{}", description.len());
    assert!(form::teams(&long()).to_string().len() < 28 * 1024);
}

#[test]
fn a_commit_calls_nobody_and_links_nowhere() {
    let mut run = red_tests();
    if let landfall_engine::core::event::Origin::Push { commit, .. } = &mut run.origin {
        commit.subject = "@everyone <!channel> [free](https://evil.example) **now**".into();
    }
    let message = Message::about(&run, &notice(Occasion::Failed, "slack:HOOK"), None, &Masker::default());
    assert!(form::slack(&message).to_string().contains("&lt;!channel&gt;"));
    let discord = form::discord(&message);
    assert_eq!(discord["allowed_mentions"], serde_json::json!({ "parse": [] }));
    let content = discord["content"].as_str().unwrap();
    assert!(
        content.contains(r"\@everyone") && content.contains(r"\[free\]") && content.contains(r"\*\*now"),
        "{content}"
    );
    let teams = form::teams(&message).to_string();
    assert!(
        !teams.contains("TextBlock\"") || !teams.replace("RichTextBlock", "").contains("TextBlock"),
        "{teams}"
    );
}

#[tokio::test]
async fn every_receiver_gets_its_form_and_the_key_of_the_notice() {
    let shown = |channel: &str, body: &Value| match channel.split_once(':').unwrap().0 {
        "discord" => body["content"].to_string(),
        "teams" => body["attachments"][0]["content"]["body"][0].to_string(),
        _ => body["text"].to_string(),
    };
    for channel in ["slack:HOOK", "discord:HOOK", "teams:HOOK", "webhook:HOOK", "webhook:HOOK:KEY"] {
        let (sent, heard) = posted(channel, Reply::new(200, "ok")).await;
        assert_eq!(sent.as_deref(), Ok("200 OK"));
        let [request] = heard.as_slice() else { panic!("{heard:?}") };
        assert_eq!((request.method.as_str(), request.path()), ("POST", "/services/T0/B0/XyZsecret"));
        let key = order(red_tests(), Occasion::Failed, channel).key;
        assert_eq!(request.header("idempotency-key"), Some(key.as_str()));
        assert_eq!(request.header("content-type"), Some("application/json"));
        let body: Value = serde_json::from_str(&request.body).unwrap();
        assert!(shown(channel, &body).contains("Make it blue"), "{body}");
        assert_eq!(request.header("webhook-signature").is_some(), channel.ends_with(":KEY"));
    }
}

#[tokio::test]
async fn a_signed_webhook_can_be_checked_by_whoever_has_the_key() {
    let (_, heard) = posted("webhook:HOOK:KEY", Reply::new(202, "")).await;
    let request = &heard[0];
    let key = order(red_tests(), Occasion::Failed, "webhook:HOOK:KEY").key;
    assert_eq!(request.header("webhook-id"), Some(key.as_str()));
    let timestamp: u64 = request.header("webhook-timestamp").unwrap().parse().unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(timestamp) < 60, "{timestamp}");
    let expected =
        sign::SigningKey::parse(KEY).unwrap().sign(key.as_str(), timestamp, request.body.as_bytes());
    assert_eq!(request.header("webhook-signature"), Some(expected.as_str()));
}

#[tokio::test]
async fn a_signature_that_can_not_be_made_is_never_left_out() {
    let (address, heard) = tcp(|_| Reply::new(200, "")).await;
    let hook = format!("http://{address}/");
    for secrets in [vec![("HOOK", hook.as_str())], vec![("HOOK", &hook), ("KEY", "hunter2-hunter2")]] {
        let world = World::with(&secrets).await;
        let sent = run(&world.context, &order(red_tests(), Occasion::Failed, "webhook:HOOK:KEY")).await;
        assert!(no(&sent).starts_with("the secret KEY is "), "{sent:?}");
        assert!(!no(&sent).contains("hunter2"), "{sent:?}");
    }
    assert!(heard.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_refusal_is_quoted_without_the_address() {
    let echo = "no such hook: /services/T0/B0/XyZsecret";
    let (sent, _) = posted("slack:HOOK", Reply::new(404, echo)).await;
    assert_eq!(no(&sent), "slack:HOOK answered 404 Not Found (\"no such hook: ***\")");
    let (sent, heard) =
        posted("webhook:HOOK", Reply::new(307, "").with("location", "http://127.0.0.1:9/")).await;
    assert_eq!(no(&sent), "webhook:HOOK answered 307 Temporary Redirect (\"\")");
    assert_eq!(heard.len(), 1);
}

#[tokio::test]
async fn only_what_may_be_answered_otherwise_later_is_sent_again() {
    for status in [400, 401, 403, 404, 410, 413, 422] {
        let (sent, _) = posted("discord:HOOK", Reply::new(status, "")).await;
        assert!(no(&sent).contains(&status.to_string()), "{sent:?}");
    }
    for status in [408, 425, 429, 500, 502, 503] {
        let (sent, _) = posted("discord:HOOK", Reply::new(status, "")).await;
        assert!(not_yet(&sent).contains(&status.to_string()), "{sent:?}");
    }
}

#[tokio::test]
async fn a_receiver_says_how_long_it_wants_to_be_left_alone() {
    for (asked, expected) in [("7", Some(7_000)), ("0.5", Some(500)), ("soon", None), ("-1", None)] {
        let (sent, _) = posted("slack:HOOK", Reply::new(429, "").with("retry-after", asked)).await;
        let Err(NotSent::Errored { retry_after_ms, .. }) = sent else { panic!("{sent:?}") };
        assert_eq!(retry_after_ms, expected, "{asked}");
    }
}

#[tokio::test]
async fn a_notice_of_the_server_reaches_every_kind_of_receiver() {
    let (address, heard) = tcp(|_| Reply::new(200, "")).await;
    let hook = format!("http://{address}/services/XyZsecret");
    let world = World::with(&[("HOOK", &hook), ("KEY", KEY)]).await;
    let notifier = Notifier::new(world.context.http.clone(), Arc::clone(&world.context.secrets));
    for channel in ["slack:HOOK", "discord:HOOK", "teams:HOOK", "webhook:HOOK:KEY"] {
        notifier.send(channel, "log/disk_low/1", &disk_low()).await.unwrap();
        let heard = heard.lock().unwrap();
        let request = heard.last().unwrap();
        assert_eq!(request.header("idempotency-key"), Some("log/disk_low/1"));
        assert!(request.body.contains("the disk is low"), "{}", request.body);
    }
    let sent = notifier.send("email:author", "log/disk_low/1", &disk_low()).await;
    assert_eq!(no(&sent), "the server's own notices have no author: name an address");
}

#[tokio::test]
async fn an_address_that_nobody_answers_is_not_named() {
    let world = World::with(&[("HOOK", "http://127.0.0.1:1/services/XyZsecret")]).await;
    let sent = run(&world.context, &order(red_tests(), Occasion::Failed, "slack:HOOK")).await;
    assert_eq!(not_yet(&sent), "slack:HOOK gave no answer: connection refused");
    let world = World::with(&[("HOOK", "XyZsecret")]).await;
    let sent = run(&world.context, &order(red_tests(), Occasion::Failed, "slack:HOOK")).await;
    assert_eq!(no(&sent), "the secret HOOK is no address: expected https://… or http://…");
    let world = World::new().await;
    let sent = run(&world.context, &order(red_tests(), Occasion::Failed, "webhook:HOOK")).await;
    assert_eq!(no(&sent), "the secret HOOK is not set: put it into the environment of the landfall process");
}

#[tokio::test]
async fn a_receiver_that_keeps_silent_is_given_up() {
    let (address, _) = tcp(|_| Reply::Silence).await;
    let world = World::with(&[("HOOK", &format!("http://{address}/"))]).await;
    let order = order(red_tests(), Occasion::Failed, "webhook:HOOK");
    let sent = run_within(&world.context, &order, Duration::from_millis(50)).await;
    assert_eq!(not_yet(&sent), "webhook:HOOK gave no answer within 50ms");
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
async fn mailed(channel: &str, verdict: &'static str) -> (Result<String, NotSent>, Vec<String>) {
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
    assert!(no(&sent).contains("5.7.1 not with ***"), "{sent:?}");
    let (sent, _) = mailed("email:author", "451 4.7.1 greylisted").await;
    assert!(not_yet(&sent).contains("4.7.1 greylisted"), "{sent:?}");
}

#[tokio::test]
async fn an_address_that_is_none_is_said() {
    let world = World::with(&[(SMTP_URL, "smtp://127.0.0.1:1"), (MAIL_FROM, "a@example.com")]).await;
    let mut nobody = red_tests();
    if let landfall_engine::core::event::Origin::Push { commit, .. } = &mut nobody.origin {
        commit.email = "not an address".into();
    }
    let sent = run(&world.context, &order(nobody, Occasion::Failed, "email:author")).await;
    assert_eq!(no(&sent), "the author's address \"not an address\" is no e-mail address");
    let sent = run(&world.context, &order(red_tests(), Occasion::Failed, "pager:me")).await;
    assert!(no(&sent).starts_with("\"pager:me\" is no channel"), "{sent:?}");
}
