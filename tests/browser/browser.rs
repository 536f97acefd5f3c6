//! Debian's chromium, driven by its own driver: one browser for a test, gone with it.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use futures_util::FutureExt;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::world::{TOKEN, World};

/// Nothing here takes seconds, but the machine may have much else to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A browser that looks at a server.
pub struct Browser {
    client: Client,
    driver: String,
    session: String,
    url: String,
    _process: Child,
    _profile: tempfile::TempDir,
}

/// Runs a test with a browser that is closed whatever comes of it.
pub async fn with_browser<F, Fut>(world: &World, test: F)
where
    F: FnOnce(Browser) -> Fut,
    Fut: Future<Output = Browser>,
{
    let browser = Browser::start(&world.url).await;
    let client = browser.client.clone();
    let outcome = AssertUnwindSafe(test(browser)).catch_unwind().await;
    match outcome {
        Ok(browser) => {
            let said = browser.console().await;
            client.close().await.unwrap();
            assert!(said.is_empty(), "the browser complains: {said:#?}");
        }
        Err(panic) => {
            _ = client.close().await;
            std::panic::resume_unwind(panic);
        }
    }
}

impl Browser {
    async fn start(url: &str) -> Self {
        // Two that look for a free port at once may find the same one; the second then gives up, and is asked again.
        let mut started = None;
        for _ in 0..10 {
            started = Self::driver().await;
            if started.is_some() {
                break;
            }
        }
        let (process, port) = started.expect("chromedriver finds a port");
        let profile = tempfile::tempdir().unwrap();
        let folder = format!("--user-data-dir={}", profile.path().display());
        let options = json!({
            "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--disable-dev-shm-usage", "--hide-scrollbars", "--window-size=1280,900", folder
            ]
        });
        let wanted = json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let driver = format!("127.0.0.1:{port}");
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(wanted.as_object().unwrap().clone())
            .connect(&format!("http://{driver}"))
            .await
            .expect("chromium starts");
        let session = client.session_id().await.unwrap().unwrap();
        Self { client, driver, session, url: url.to_owned(), _process: process, _profile: profile }
    }

    /// Starts a driver and returns its port; None when it gave up.
    async fn driver() -> Option<(Child, u16)> {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("./run setup installs chromium-driver");
        let mut said = BufReader::new(process.stdout.take()?).lines();
        let port = loop {
            let line = said.next_line().await.ok()??;
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end_matches('.').parse().ok()?;
            }
        };
        // Whoever stops reading it would stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
        Some((process, port))
    }

    /// Goes to a page.
    pub async fn goto(&self, path: &str) {
        self.client.goto(&format!("{}{path}", self.url)).await.unwrap();
    }

    /// Goes where the page is that only those see who are logged in.
    pub async fn log_in(&self, path: &str) {
        self.goto(path).await;
        self.find("#token").await.send_keys(TOKEN).await.unwrap();
        self.find("#name").await.send_keys("grace").await.unwrap();
        self.find("main button").await.click().await.unwrap();
        self.until(&format!("location.pathname + location.search + location.hash === '{path}'")).await;
        self.until("document.readyState === 'complete'").await;
    }

    /// Returns what is there, once it is.
    pub async fn find(&self, css: &str) -> Element {
        let wait = self.client.wait().at_most(PATIENCE).every(Duration::from_millis(20));
        wait.for_element(Locator::Css(css)).await.unwrap_or_else(|error| panic!("{css}: {error}"))
    }

    pub async fn click(&self, css: &str) {
        self.find(css).await.click().await.unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    /// Presses keys where the focus is.
    pub async fn keys(&self, keys: &str) {
        for key in keys.chars() {
            let key = key.to_string();
            let press = json!([
                { "type": "keyDown", "value": key },
                { "type": "keyUp", "value": key }
            ]);
            let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": press }] });
            self.post("actions", &actions).await;
        }
    }

    /// Returns what an expression comes to.
    pub async fn value(&self, expression: &str) -> Value {
        self.client.execute(&format!("return ({expression})"), vec![]).await.unwrap()
    }

    /// Waits until an expression comes to true.
    #[track_caller]
    pub fn until(&self, expression: &str) -> impl Future<Output = ()> {
        let expression = expression.to_owned();
        let caller = std::panic::Location::caller();
        async move {
            let looking = async {
                // A page that is just being left has no answer; the next one has.
                while self.client.execute(&format!("return ({expression})"), vec![]).await.ok()
                    != Some(json!(true))
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            if tokio::time::timeout(PATIENCE, looking).await.is_err() {
                let page = self.value("location.href + '\\n' + document.body.innerText").await;
                panic!("{caller}: {expression} never came true:\n{}", page.as_str().unwrap_or_default());
            }
        }
    }

    /// Returns the text of something as it is read, once it is there.
    pub async fn text(&self, css: &str) -> String {
        self.find(css).await.text().await.unwrap()
    }

    /// Looks with a screen of this size.
    pub async fn screen(&self, width: u32, height: u32, mobile: bool) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Looks with the colours that a system has.
    pub async fn colours(&self, scheme: &str) {
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" }
        ]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Keeps what is seen as `target/screenshots/NAME.png`; all of the page, or so much of it from its top.
    pub async fn picture(&self, name: &str, height_max: u32) {
        let size = self.value("[innerWidth, document.documentElement.scrollHeight]").await;
        let height = size[1].as_u64().unwrap().min(height_max.into());
        self.value("document.activeElement.blur()").await;
        let clip = json!({ "x": 0, "y": 0, "width": size[0], "height": height, "scale": 1 });
        let shot = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let taken = self.devtools("Page.captureScreenshot", shot).await;
        let png = BASE64_STANDARD.decode(taken["data"].as_str().unwrap()).unwrap();
        let folder = target().join("screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), png).unwrap();
    }

    /// Asks axe what keeps people out: everything serious or critical, in a line each.
    pub async fn axe(&self) -> Vec<String> {
        let file = target().join("axe-core/axe.min.js");
        let axe = std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{}: {error}; ./run test fetches it", file.display()));
        self.client.execute(&axe, vec![]).await.unwrap();
        let script = "const done = arguments[0]; axe.run(document, { resultTypes: ['violations'] }).then(found => \
                      done(found.violations.map(each => [each.impact, each.id, each.help, \
                      each.nodes.map(node => node.target.join(' ') + ' ' + node.failureSummary).slice(0, 3).join(' | ')])))";
        let found = self.client.execute_async(script, vec![]).await.unwrap();
        let found = found.as_array().expect("axe answers with a list").iter();
        let is_bad = |each: &&Value| matches!(each[0].as_str(), Some("serious" | "critical"));
        found.filter(is_bad).map(ToString::to_string).collect()
    }

    /// Returns how long it took from the click to the first thing that was seen, in milliseconds.
    pub async fn first_paint_ms(&self) -> f64 {
        self.until("performance.getEntriesByName('first-contentful-paint').length > 0").await;
        self.value("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            .await
            .as_f64()
            .unwrap()
    }

    /// Returns the complaints of the browser: broken scripts, and what a policy forbade.
    async fn console(&self) -> Vec<Value> {
        let told = self.post("se/log", &json!({ "type": "browser" })).await;
        let told = told.as_array().cloned().unwrap_or_default();
        // That an answer was a refusal is what some tests want to see.
        let is_answer = |entry: &Value| entry["source"] == "network";
        let is_bad = |entry: &Value| matches!(entry["level"].as_str(), Some("WARNING" | "SEVERE"));
        told.into_iter().filter(|entry| is_bad(entry) && !is_answer(entry)).collect()
    }

    /// Asks the browser what no driver has a name for.
    pub async fn devtools(&self, command: &str, params: Value) -> Value {
        self.post("goog/cdp/execute", &json!({ "cmd": command, "params": params })).await
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut line = TcpStream::connect(&self.driver).await.unwrap();
        let request = format!(
            "POST /session/{}/{path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{body}",
            self.session,
            self.driver,
            body.len()
        );
        line.write_all(request.as_bytes()).await.unwrap();
        // It keeps the line open, whatever it is asked for: an answer ends where it says that it does.
        let mut line = BufReader::new(line);
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut field = String::new();
            line.read_line(&mut field).await.unwrap();
            if let Some(value) = field.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if field.trim().is_empty() {
                break;
            }
            head += &field;
        }
        let mut body = vec![0; length];
        line.read_exact(&mut body).await.unwrap();
        let body = String::from_utf8(body).unwrap();
        assert!(head.contains(" 200 "), "{path}: {head}{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        answer["value"].clone()
    }
}

/// Returns where what is built is.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from)
}
