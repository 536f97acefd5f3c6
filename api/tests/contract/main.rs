//! The API keeps its word: requests that its description allows, and many that it does not, against a real server.
//!
//! schemathesis makes the requests from the description that the server itself gives out. `./run test` installs it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[expect(dead_code, reason = "shared with the other tests of the server")]
#[path = "../server/fake.rs"]
mod fake;
#[expect(dead_code, reason = "shared with the other tests of the server")]
#[path = "../server/fixture.rs"]
mod fixture;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use landfall::server::TriggerRequest;
use landfall_engine::core::command::Outcome;
use landfall_engine::core::run::RunId;
use landfall_engine::core::stage::Stage;
use serde_json::{Value, json};
use tokio::process::Command;

use fixture::{TOKEN, TestServer, WorkingCopy};

/// So long requests are made, in seconds; in the long form ten times as long.
const SECONDS: u64 = 60;
/// Beyond its time, schemathesis finishes what it is at, makes small what it found, and writes its report.
const FINISH: Duration = Duration::from_secs(120);
/// The same requests each time: what is found once is found again.
const SEED: &str = "20";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_one_that_the_description_promises() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let runs = histories(&server, &copy).await;
    let before_kib = resident_kib();

    let description = known_to(&server, &copy, &runs).await;
    let file = data.path().join("openapi.json");
    std::fs::write(&file, description.to_string()).unwrap();
    let (whole, said) = made(&server, &file).await;
    assert!(whole, "{said}");

    let health = reqwest::get(format!("{}/healthz", server.url)).await.unwrap();
    assert_eq!(health.status(), 200, "after all of it the server is well");
    println!("{said}\nresident memory: {before_kib} KiB before, {} KiB after", resident_kib());
    server.stop().await;
}

/// Lets an app live through what can happen to one, and returns the runs: live, failed, rolled back, parked, open.
async fn histories(server: &TestServer, copy: &WorkingCopy) -> Vec<RunId> {
    let mut runs = Vec::new();
    let trigger = async |app: &str| {
        let repository = Some(copy.path().display().to_string());
        let request = TriggerRequest { repository, ..TriggerRequest::default() };
        server.client().trigger(app, &request, None).await.unwrap().run_id
    };
    for stage in [None, Some(Stage::Test), Some(Stage::Smoke)] {
        if let Some(stage) = stage {
            server.stages.end(stage, Outcome::failed("it is red"));
        }
        runs.push(trigger("shop").await);
        server.settled(*runs.last().unwrap()).await;
        stage.into_iter().for_each(|stage| server.stages.mend(stage));
    }
    copy.commit("landfall.toml", "[release]\ncommand = \"migrate\"\n").await;
    server.stages.end(Stage::ReleaseCommand, Outcome::errored("no reply"));
    runs.push(trigger("blog").await);
    server.settled(runs[3]).await;
    server.stages.mend(Stage::ReleaseCommand);
    copy.commit("landfall.toml", "").await;
    // What is triggered from here on stays open, so that there is something to cancel.
    server.stages.hold(Stage::Test);
    runs.push(trigger("wiki").await);
    runs
}

/// Returns the server's own description, with names and ids among the possible ones that mean something here.
async fn known_to(server: &TestServer, copy: &WorkingCopy, runs: &[RunId]) -> Value {
    let mut description = server.ask("GET", "/v1/openapi.json", json!({})).await.1;
    let mut known = 0;
    for item in description["paths"].as_object_mut().unwrap().values_mut() {
        for operation in item.as_object_mut().unwrap().values_mut() {
            let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
            for parameter in parameters.into_iter().flatten() {
                let here = match (parameter["in"].as_str(), parameter["name"].as_str()) {
                    (Some("path"), Some("id")) => json!(runs),
                    (Some("path"), Some("app")) => json!(["shop", "blog", "wiki"]),
                    (Some("query"), Some("stage")) => json!(["test", "build"]),
                    _ => continue,
                };
                known += 1;
                let any = parameter["schema"].take();
                parameter["schema"] = json!({ "anyOf": [{ "type": "string", "enum": here }, any] });
            }
        }
    }
    assert!(known > 8, "the description names its parameters otherwise: {known}");
    let repository = &mut description["components"]["schemas"]["TriggerRequest"]["properties"]["repository"];
    assert!(repository.is_object(), "the description has another way to trigger");
    let any = repository.take();
    *repository = json!({ "anyOf": [{ "type": "string", "enum": [copy.path()] }, any] });
    description
}

/// Lets schemathesis make its requests, and returns whether all went well, and what it says.
async fn made(server: &TestServer, description: &Path) -> (bool, String) {
    let times = if std::env::var_os("LANDFALL_TEST_LONG").is_some() { 10 } else { 1 };
    let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract/schemathesis.toml");
    let mut command = Command::new(schemathesis());
    command.arg("--config-file").arg(settings).arg("run").arg(description);
    command.args(["--url", &server.url, "--seed", SEED, "--no-color"]);
    command.args(["--max-time", &(SECONDS * times).to_string(), "--generation-database", "none"]);
    command.env("LANDFALL_TOKEN", TOKEN).current_dir(description.parent().unwrap());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let limit = Duration::from_secs(SECONDS * times) + FINISH;
    let output = tokio::time::timeout(limit, command.output()).await.expect("schemathesis ends").unwrap();
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), said)
}

/// Returns the program that `./run test` installed.
fn schemathesis() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("schemathesis");
    let program =
        std::env::var_os("LANDFALL_SCHEMATHESIS").map_or(target.join("bin/schemathesis"), PathBuf::from);
    assert!(
        program.is_file(),
        "{} is not there: `./run test` installs it from PyPI, by api/tests/contract/requirements.txt",
        program.display()
    );
    program
}

/// Returns how much memory this process has, server and test together.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
