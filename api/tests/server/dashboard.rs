//! The dashboard without a browser: who gets in, what they see, and what a form may do.

use landfall_engine::audit::replay;
use landfall_engine::core::command::Outcome;
use landfall_engine::core::event::Event;
use landfall_engine::core::facts::{Failure, TestCounts, TestFailure, TestReport};
use landfall_engine::core::run::{RunId, RunState};
use landfall_engine::core::stage::Stage;
use reqwest::header::{CONTENT_SECURITY_POLICY, COOKIE, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::fixture::{TOKEN, TestServer, WorkingCopy};

/// A browser that follows nothing by itself and has one cookie.
struct Browser<'a> {
    server: &'a TestServer,
    client: Client,
    cookie: String,
}

impl<'a> Browser<'a> {
    fn stranger(server: &'a TestServer) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().redirect(Policy::none()).build().unwrap();
        Self { server, client, cookie: String::new() }
    }

    async fn logged_in(server: &'a TestServer, token: &str) -> Self {
        Self::logged_in_as(server, token, "grace").await
    }

    async fn logged_in_as(server: &'a TestServer, token: &str, name: &str) -> Self {
        let mut browser = Self::stranger(server);
        let answer = browser.log_in_as(token, "/", name).await;
        assert_eq!((answer.status().as_u16(), &answer.headers()[LOCATION]), (303, &"/".parse().unwrap()));
        let cookie = answer.headers()[SET_COOKIE].to_str().unwrap();
        for wanted in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age="] {
            assert!(cookie.contains(wanted), "{cookie}");
        }
        assert!(!cookie.contains("Secure"), "the request was not encrypted: {cookie}");
        browser.cookie = cookie.split(';').next().unwrap().to_owned();
        browser
    }

    async fn log_in(&self, token: &str, next: &str) -> Response {
        self.log_in_as(token, next, "grace").await
    }

    async fn log_in_as(&self, token: &str, next: &str, name: &str) -> Response {
        let form = [("token", token), ("next", next), ("name", name)];
        self.post("/login").header("sec-fetch-site", "same-origin").form(&form).send().await.unwrap()
    }

    fn get(&self, path: &str) -> RequestBuilder {
        let request = self.client.get(format!("{}{path}", self.server.url)).header("accept", "text/html");
        request.header(COOKIE, &self.cookie)
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.server.url)).header(COOKIE, &self.cookie)
    }

    async fn page(&self, path: &str) -> (u16, String) {
        let answer = self.get(path).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn shown(&self, path: &str) -> String {
        let (status, page) = self.page(path).await;
        assert_eq!(status, 200, "{path}: {page}");
        page
    }

    /// Fills in the form of a page as it is, and sends it.
    async fn decide(&self, path: &str, fields: &[(&str, &str)]) -> Response {
        let page = self.shown(path).await;
        let hidden = |name: &str| value_of(&page, name).unwrap_or_default();
        let mut form: Vec<(String, String)> = ["csrf", "key", "env", "to", "commit", "from", "release"]
            .into_iter()
            .map(|name| (name.to_owned(), hidden(name)))
            .filter(|(name, value)| !value.is_empty() && fields.iter().all(|(given, _)| given != name))
            .collect();
        form.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let action = path.split('?').next().unwrap();
        self.post(action).header("sec-fetch-site", "same-origin").form(&form).send().await.unwrap()
    }
}

/// What a browser makes of a form.
trait Form {
    fn form(self, fields: &[(impl AsRef<str>, impl AsRef<str>)]) -> Self;
}

impl Form for RequestBuilder {
    fn form(self, fields: &[(impl AsRef<str>, impl AsRef<str>)]) -> Self {
        let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let pairs =
            fields.iter().map(|(name, value)| format!("{}={}", name.as_ref(), escaped(value.as_ref())));
        let body = pairs.collect::<Vec<_>>().join("&");
        self.header("content-type", "application/x-www-form-urlencoded").body(body)
    }
}

/// Returns the value of a hidden field.
fn value_of(page: &str, name: &str) -> Option<String> {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\""))?;
    Some(rest.split('"').next()?.to_owned())
}

async fn pushed(server: &TestServer, copy: &WorkingCopy, app: &str) -> RunId {
    let body = json!({ "repository": copy.path() });
    let (status, link) = server.ask("POST", &format!("/v1/apps/{app}/runs"), body).await;
    assert_eq!(status, 202, "{link}");
    link["run_id"].as_str().unwrap().parse().unwrap()
}

async fn token(server: &TestServer, request: Value) -> (String, String) {
    let (status, made) = server.ask("POST", "/v1/tokens", request).await;
    assert_eq!(status, 201, "{made}");
    (made["token"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_stranger_is_asked_for_a_token_and_comes_back_to_where_they_wanted_to_go() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let stranger = Browser::stranger(&server);
    for (path, way) in [
        ("/", "/login"),
        ("/runs?app=shop", "/login?next=/runs%3Fapp%3Dshop"),
        ("/apps/shop", "/login?next=/apps/shop"),
        (
            "/runs/018bcfe5-6800-7000-8000-9f3e1c2a7b4d/cancel",
            "/login?next=/runs/018bcfe5-6800-7000-8000-9f3e1c2a7b4d/cancel",
        ),
    ] {
        let answer = stranger.get(path).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.headers()[LOCATION].to_str().unwrap()),
            (303, way),
            "{path}"
        );
    }
    assert_eq!(stranger.page("/runs?fragment=1").await.0, 401, "a script is not led to a form");
    assert!(stranger.shown("/login?next=/runs").await.contains("name=\"next\" value=\"/runs\""));
    let answer = stranger.log_in(TOKEN, "/runs?app=shop").await;
    assert_eq!(answer.headers()[LOCATION], "/runs?app=shop");
    for away in ["https://evil.example.com/", "//evil.example.com", "/\\evil.example.com"] {
        assert_eq!(stranger.log_in(TOKEN, away).await.headers()[LOCATION], "/", "{away}");
        let page = stranger.shown(&format!("/login?next={away}")).await;
        assert!(!page.contains("evil"), "{away}");
    }
    let wrong = stranger.log_in("wrong", "/").await;
    assert_eq!(wrong.status(), 401);
    assert!(wrong.headers().get(SET_COOKIE).is_none());
    let form = [("token", TOKEN)];
    let elsewhere = stranger.post("/login").header("sec-fetch-site", "cross-site").form(&form).send().await;
    assert_eq!(elsewhere.unwrap().status(), 403, "another site logs nobody in");
    server.stop().await;
}

#[tokio::test]
async fn wrong_tokens_are_counted_as_everywhere_and_the_address_has_to_wait() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let stranger = Browser::stranger(&server);
    for _ in 0..20 {
        assert_eq!(stranger.log_in("wrong", "/").await.status(), 401);
    }
    assert_eq!(stranger.log_in("wrong", "/").await.status(), 429);
    server.stop().await;
}

#[tokio::test]
async fn a_session_ends_with_its_token_and_when_somebody_logs_out() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let (ci, id) = token(&server, json!({ "label": "ada", "scope": "read" })).await;
    let ada = Browser::logged_in(&server, &ci).await;
    assert!(ada.shown("/").await.contains("ada"));
    let streamed = ada.get("/v1/runs").send().await.unwrap();
    assert_eq!(streamed.status(), 200, "the cookie opens the API to be read");
    server.ask("DELETE", &format!("/v1/tokens/{id}"), json!({})).await;
    assert_eq!(ada.page("/").await.0, 303);
    assert_eq!(ada.get("/v1/runs").send().await.unwrap().status(), 401);

    let root = Browser::logged_in(&server, TOKEN).await;
    let csrf = value_of(&root.shown("/").await, "csrf").unwrap();
    let leave = |site: &str, csrf: &str| {
        root.post("/logout").header("sec-fetch-site", site).form(&[("csrf", csrf)]).send()
    };
    assert_eq!(leave("cross-site", &csrf).await.unwrap().status(), 403);
    assert_eq!(leave("same-origin", "guess").await.unwrap().status(), 403);
    assert_eq!(root.page("/").await.0, 200);
    let left = leave("same-origin", &csrf).await.unwrap();
    assert!(left.headers()[SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(root.page("/").await.0, 303, "the old cookie opens nothing");
    server.stop().await;
}

#[tokio::test]
async fn a_change_needs_the_page_that_it_comes_from_and_the_log_says_who_made_it() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    server.stages.hold(Stage::Test);
    let run = pushed(&server, &copy, "shop").await;
    let browser = Browser::logged_in(&server, TOKEN).await;
    let path = format!("/runs/{run}/cancel");
    let csrf = value_of(&browser.shown(&path).await, "csrf").unwrap();
    for (site, csrf) in
        [("cross-site", csrf.as_str()), ("same-site", &csrf), ("same-origin", ""), ("same-origin", "x")]
    {
        let form = [("csrf", csrf), ("reason", "because")];
        let answer = browser.post(&path).header("sec-fetch-site", site).form(&form).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{site} {csrf}");
        // The API knows the cookie as well, and asks the same.
        let api =
            browser.post(&format!("/v1{path}")).header("sec-fetch-site", site).header("landfall-csrf", csrf);
        assert_eq!(api.json(&json!({})).send().await.unwrap().status(), 403, "{site} {csrf}");
    }
    let no_header = browser.post(&path).form(&[("csrf", csrf.as_str())]).send().await.unwrap();
    assert_eq!(no_header.status(), 403, "a browser says where a form comes from");
    assert!(server.app.engine.run(run).await.unwrap().unwrap().cancel.is_none());

    let answer = browser.decide(&path, &[("reason", "not <b>today</b>")]).await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers()[LOCATION].to_str().unwrap()),
        (303, format!("/runs/{run}").as_str())
    );
    server.stages.release(Stage::Test);
    assert_eq!(server.settled(run).await.state, RunState::Failed);
    let events = server.client().events(run).await.unwrap();
    let asked = events.iter().find(|told| matches!(told.event, Event::CancelRequested { .. })).unwrap();
    assert_eq!(asked.actor, "grace", "whoever logged in with the server's own token says who they are");
    assert_eq!(asked.event, Event::CancelRequested { reason: "not <b>today</b>".into() });
    let again =
        browser.post(&path).header("sec-fetch-site", "same-origin").form(&[("csrf", csrf)]).send().await;
    let again = again.unwrap();
    assert_eq!(again.status(), 409, "the rules say no");
    assert!(again.text().await.unwrap().contains("role=\"alert\""));
    server.stop().await;
}

#[tokio::test]
async fn a_name_with_letters_of_any_language_stands_in_the_log() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    server.stages.hold(Stage::Test);
    let run = pushed(&server, &copy, "shop").await;
    let zoe = Browser::logged_in_as(&server, TOKEN, "Zoë Müller").await;
    assert_eq!(zoe.decide(&format!("/runs/{run}/cancel"), &[]).await.status(), 303);
    server.stages.release(Stage::Test);
    server.settled(run).await;
    let events = server.client().events(run).await.unwrap();
    let asked = events.iter().find(|told| matches!(told.event, Event::CancelRequested { .. })).unwrap();
    assert_eq!(asked.actor, "Zoë Müller");
    server.stop().await;
}

#[tokio::test]
async fn two_releases_are_compared_when_somebody_asks_for_it() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    for n in 0..2 {
        copy.commit("app.py", &format!("app = {n}\n")).await;
        let run = pushed(&server, &copy, "shop").await;
        assert_eq!(server.settled(run).await.state, RunState::Live);
    }
    let browser = Browser::logged_in(&server, TOKEN).await;
    let (first, second) = (server.runs().await[0], server.runs().await[1]);
    let commits = "<ul class=\"commits\">";
    let page = browser.shown("/apps/shop").await;
    assert!(page.contains("<button>Compare</button>") && !page.contains(commits), "{page}");
    let asked = format!("/apps/shop?env=production&from={first}&to={second}");
    let page = browser.shown(&asked).await;
    assert!(page.contains(commits), "{page}");
    std::fs::remove_dir_all(copy.path().join(".git")).unwrap();
    let page = browser.shown(&asked).await;
    assert!(!page.contains(commits) && page.contains("can&#39;t be told"), "{page}");
    server.stop().await;
}

#[tokio::test]
async fn a_decision_is_called_what_will_be_decided_and_not_what_a_link_calls_it() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let run = pushed(&server, &copy, "shop").await;
    assert_eq!(server.settled(run).await.state, RunState::Live);
    let sha = copy.git(&["rev-parse", "HEAD"]).await.trim().to_owned();
    let browser = Browser::logged_in(&server, TOKEN).await;
    let called = async |path: &str| {
        let page = browser.shown(path).await;
        let (_, about) = page.split_once("<p class=\"about\">").unwrap();
        text_of(about.split("</p>").next().unwrap())
    };
    let short = &sha[..12];
    for (path, wanted) in [
        (format!("rollback?to={run}&label=harmless"), format!("{run}: {short} Write app.py shop/production")),
        (
            format!("rollback?to={run}&commit=harmless"),
            format!("{run}: {short} Write app.py shop/production"),
        ),
        (format!("hold?commit={sha}&label=harmless"), format!("{sha} Write app.py shop/production")),
        ("hold?commit=unknown&to=harmless".into(), "unknown shop/production".into()),
        (
            format!("promote?from=staging&env=harmless&release={run}&label=harmless"),
            format!("{run}: {short} Write app.py shop/staging"),
        ),
        ("pause?env=&label=harmless".into(), "shop shop/production".into()),
    ] {
        assert_eq!(called(&format!("/apps/shop/{path}")).await, wanted, "{path}");
    }
    server.stop().await;
}

/// Sequences that name a window or a link are left out of a line. One that does not end is not looked for to the end
/// of the line again and again, as `ESC ]` a thousand times would have it: it ends where the next one begins.
#[test]
fn a_sequence_in_an_output_ends_where_the_next_one_begins() {
    let script = include_str!("../../assets/output.js");
    assert!(script.contains(r"\u001b\][^\u0007\u009c\u001b]*(?:\u0007|\u009c|\u001b\\)?|"));
}

#[tokio::test]
async fn a_form_that_is_sent_twice_is_done_once() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    for n in 0..2 {
        copy.commit("app.py", &format!("app = {n}\n")).await;
        let run = pushed(&server, &copy, "shop").await;
        assert_eq!(server.settled(run).await.state, RunState::Live);
    }
    let browser = Browser::logged_in(&server, TOKEN).await;
    let (first, second) = (server.runs().await[0], server.runs().await[1]);
    let page = browser.shown(&format!("/runs/{second}")).await;
    let way = format!("/apps/shop/rollback?env=production&#38;to={first}");
    assert!(page.contains(&way), "{page}");
    let path = format!("/apps/shop/rollback?env=production&to={first}");
    let fields = [("key", "once"), ("reason", "the basket is empty")];
    let answers = [browser.decide(&path, &fields).await, browser.decide(&path, &fields).await];
    let ways = answers.map(|answer| answer.headers()[LOCATION].to_str().unwrap().to_owned());
    assert_eq!(ways[0], ways[1]);
    assert_eq!(server.runs().await.len(), 3);
    assert_eq!(server.states().await, [RunState::Live; 3]);
    server.stop().await;
}

#[tokio::test]
async fn a_scope_decides_which_buttons_there_are_and_what_is_answered_to_those_that_are_not() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    copy.commit("landfall.toml", "[deploy]\napproval = true\n").await;
    let run = pushed(&server, &copy, "shop").await;
    server.settled(run).await;
    for (scope, may) in [("read", false), ("trigger", false), ("deploy", true)] {
        let (token, _) = token(&server, json!({ "label": scope, "scope": scope })).await;
        let browser = Browser::logged_in(&server, &token).await;
        let page = browser.shown(&format!("/runs/{run}")).await;
        for verb in ["approve", "reject", "cancel"] {
            assert_eq!(page.contains(&format!("/runs/{run}/{verb}")), may, "{scope} {verb}");
            let status = browser.page(&format!("/runs/{run}/{verb}")).await.0;
            assert_eq!(status, if may { 200 } else { 403 }, "{scope} {verb}");
        }
        let csrf = value_of(&page, "csrf").unwrap();
        if !may {
            let path = format!("/runs/{run}/approve");
            let form = [("csrf", csrf.as_str())];
            let sent =
                browser.post(&path).header("sec-fetch-site", "same-origin").form(&form).send().await.unwrap();
            assert_eq!(sent.status(), 403, "{scope}");
        }
    }
    let browser = Browser::logged_in(&server, TOKEN).await;
    assert_eq!(browser.decide(&format!("/runs/{run}/approve"), &[]).await.status(), 303);
    assert_eq!(server.settled(run).await.state, RunState::Live);
    server.stop().await;
}

#[tokio::test]
async fn a_token_of_one_app_sees_that_app_and_no_other() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let (shop, blog) = (pushed(&server, &copy, "shop").await, pushed(&server, &copy, "blog").await);
    server.states().await;
    let (token, _) = token(&server, json!({ "label": "ci", "scope": "admin", "app": "shop" })).await;
    let browser = Browser::logged_in(&server, &token).await;
    for path in ["/", "/runs", "/apps/shop"] {
        let page = browser.shown(path).await;
        assert!(page.contains("/apps/shop") && !page.contains("blog"), "{path}: {page}");
        assert!(page.contains("app=shop"), "what happens is asked for this app alone: {path}");
    }
    assert_eq!(browser.page(&format!("/runs/{shop}")).await.0, 200);
    let unknown = RunId(uuid::Uuid::now_v7());
    for path in [
        format!("/runs/{blog}"),
        format!("/runs/{blog}/cancel"),
        format!("/runs/{unknown}"),
        "/apps/blog".into(),
        "/apps/blog/pause".into(),
        "/runs?app=blog".into(),
    ] {
        assert_eq!(browser.page(&path).await.0, 403, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_comes_from_outside_is_text_on_every_page_and_every_page_has_its_policy() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let evil = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>";
    copy.git(&["commit", "--quiet", "--allow-empty", "--message", evil]).await;
    copy.git(&["checkout", "--quiet", "-b", "<img/onerror=1>"]).await;
    let tests = TestReport {
        exit_code: 1,
        counts: Some(TestCounts { passed: 3, failed: 1, skipped: 0 }),
        first_failures: vec![TestFailure { name: format!("test_{evil}"), message: evil.into() }],
    };
    let failure = Failure { reason: evil.into(), tail: vec![evil.into()], tests: Some(tests) };
    server.stages.end(Stage::Test, Outcome::Failed(failure));
    server.stages.print(Stage::Test, evil);
    let run = pushed(&server, &copy, "shop").await;
    assert_eq!(server.settled(run).await.state, RunState::Failed);
    let browser = Browser::logged_in(&server, TOKEN).await;
    let paths = [
        "/login".to_owned(),
        "/".into(),
        "/runs".into(),
        format!("/runs?app={}", "%3Cscript%3Ealert%281%29"),
        "/apps/shop".into(),
        "/apps/nowhere".into(),
        format!("/runs/{run}"),
        format!("/runs/{run}?at=2"),
        format!("/runs/{run}?fragment=1"),
        format!("/runs/{run}/again"),
        format!("/apps/shop/hold?commit={}", "%3Cscript%3E%22"),
        "/nowhere/%3Cscript%3E".into(),
        "/runs/%3Cscript%3E".into(),
        "/runs?state=%3Cscript%3E".into(),
    ];
    let mut seen = 0;
    for path in paths {
        let answer = browser.get(&path).send().await.unwrap();
        let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        let says = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(says("x-content-type-options"), "nosniff");
        assert_eq!(says("cache-control"), "no-store");
        assert!(answer.headers().contains_key("referrer-policy"));
        let page = answer.text().await.unwrap();
        if path != "/login" {
            assert!(
                policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"),
                "{path}: {policy}"
            );
            assert!(!policy.contains("unsafe"), "{policy}");
        }
        for raw in ["<script>", "<img", " onerror=alert(1)>", "style=\"", "javascript:"] {
            assert!(!page.contains(raw), "{path} has {raw}: {page}");
        }
        seen += page.matches("&#60;script&#62;alert").count();
    }
    assert!(seen >= 10, "what is evil is shown, as text: {seen}");
    let page = browser.shown(&format!("/runs/{run}")).await;
    let (_, tail) = page.split_once("<pre class=\"tail nojs\"").unwrap();
    assert!(tail.contains("&#60;script&#62;alert"), "the output is there, as text: {tail}");
    server.stop().await;
}

#[tokio::test]
async fn a_run_is_shown_after_any_of_its_events_as_the_replay_has_it() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    server.stages.end(Stage::Smoke, Outcome::failed("GET / gave 503"));
    let run = pushed(&server, &copy, "shop").await;
    assert_eq!(server.settled(run).await.state, RunState::RolledBack);
    let browser = Browser::logged_in(&server, TOKEN).await;
    let events = server.client().events(run).await.unwrap();
    for event in &events {
        let page = browser.shown(&format!("/runs/{run}?fragment=1&at={}", event.seq)).await;
        let text = text_of(&page);
        let then = replay(&events, Some(event.seq));
        for row in &then.rows {
            let wanted = squeezed(&format!("{} {} {}", row.action, row.result, row.next));
            assert!(text.contains(&wanted), "event {}: {wanted:?} is not in {text}", event.seq);
        }
        for (name, values) in [
            ("Code Version", &then.tracker.code_version),
            ("Test Status", &then.tracker.test_status),
            ("Deployment Status", &then.tracker.deployment_status),
            ("Smoke Test Status", &then.tracker.smoke_test_status),
        ] {
            let wanted = squeezed(&format!("{name} {}", values.join(" ")));
            assert!(text.contains(&wanted), "event {}: {wanted:?} is not in {text}", event.seq);
        }
    }
    let beyond = events.len() + 1;
    assert_eq!(browser.page(&format!("/runs/{run}?at={beyond}")).await.0, 404);
    assert_eq!(browser.page(&format!("/runs/{run}?at=0")).await.0, 404);
    let past = browser.shown(&format!("/runs/{run}?at=3")).await;
    assert!(past.contains("This is the past") && !past.contains(&format!("/runs/{run}/again")));
    server.stop().await;
}

/// Returns what of a page is read.
fn text_of(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        text.push(' ');
        rest = tag.split_once('>').map_or("", |(_, rest)| rest);
    }
    text.push_str(rest);
    let plain = text.replace("&#34;", "\"").replace("&#39;", "'").replace("&#62;", ">").replace("&#60;", "<");
    squeezed(&plain.replace("&#38;", "&"))
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn runs_come_in_pages_that_lead_from_the_newest_to_the_oldest() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let mut wanted = Vec::new();
    for _ in 0..53 {
        let run = pushed(&server, &copy, "shop").await;
        server.settled(run).await;
        wanted.push(run.to_string());
    }
    wanted.reverse();
    let browser = Browser::logged_in(&server, TOKEN).await;
    let first = browser.shown("/runs").await;
    let older = first.split("rel=\"next\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let second = browser.shown(older).await;
    assert!(!second.contains("rel=\"next\"") && second.contains("href=\"/runs\">← Newest"));
    let ids = |page: &str| -> Vec<String> {
        page.split("<tr id=\"run-").skip(1).map(|row| row.split('"').next().unwrap().to_owned()).collect()
    };
    assert_eq!([ids(&first), ids(&second)].concat(), wanted);
    assert_eq!(ids(&browser.shown("/runs?state=failed").await).len(), 0);
    assert_eq!(ids(&browser.shown("/runs?state=live&app=shop").await).len(), 50);
    server.stop().await;
}

#[tokio::test]
async fn an_empty_server_says_how_to_push_and_unknown_paths_have_a_page_for_browsers_alone() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let browser = Browser::logged_in(&server, TOKEN).await;
    let host = server.url.strip_prefix("http://").unwrap();
    let page = browser.shown("/").await;
    assert!(page.contains(&format!("git remote add landfall http://me@{host}/git/my-app.git")), "{page}");
    assert!(browser.shown("/runs").await.contains("There was no run yet"));
    let (status, page) = browser.page("/nowhere").await;
    assert!(status == 404 && page.starts_with("<!doctype html>"), "{status} {page}");
    let (status, problem) = server.ask("GET", "/nowhere", json!({})).await;
    assert_eq!((status, problem["type"].as_str()), (404, Some("urn:landfall:not-found")));
    let css = page.split("rel=\"stylesheet\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let styled = browser.get(css).send().await.unwrap();
    assert!(styled.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    let tag = styled.headers()["etag"].to_str().unwrap().to_owned();
    let known = browser.get(css).header("if-none-match", tag).send().await.unwrap();
    assert_eq!(known.status(), 304);
    server.stop().await;
}
