//! What is old is given up, and never what can still be needed.

use std::time::Duration;

use landfall::retention::{PruneRequest, Within, prune};
use landfall::server::{OutputList, RollbackRequest, TriggerRequest};
use landfall_engine::core::command::Outcome;
use landfall_engine::core::run::{RunId, RunState};
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{Clock, SystemClock};
use landfall_engine::{EngineError, Swept};
use serde_json::json;

use crate::fixture::{PATIENCE, TestServer, WorkingCopy, answered};

/// Everything that is closed, however young.
fn all() -> PruneRequest {
    PruneRequest { older_than: "0s".into(), keep: 0, ..PruneRequest::default() }
}

async fn pushed(server: &TestServer, copy: &WorkingCopy, version: &str) -> RunId {
    copy.commit("app.py", version).await;
    let request =
        TriggerRequest { repository: Some(copy.path().display().to_string()), ..TriggerRequest::default() };
    server.client().trigger("shop", &request, None).await.unwrap().run_id
}

#[tokio::test]
async fn old_outputs_go_and_rollback_targets_and_open_and_parked_runs_stay() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let (client, copy) = (server.client(), WorkingCopy::new().await);
    copy.commit("landfall.toml", "[deploy]\nretain = 2\n[release]\ncommand = \"migrate\"\n").await;
    let mut runs = Vec::new();
    for version in 1..=5 {
        let run = pushed(&server, &copy, &format!("app = {version}\n")).await;
        assert_eq!(server.settled(run).await.state, RunState::Live);
        runs.push(run);
    }
    server.stages.end(Stage::Test, Outcome::failed("red"));
    let red = pushed(&server, &copy, "red\n").await;
    server.settled(red).await;
    // A release command is never tried twice by the engine itself.
    server.stages.end(Stage::ReleaseCommand, Outcome::errored("no reply"));
    server.stages.mend(Stage::Test);
    server.stages.hold(Stage::Build);
    let open = pushed(&server, &copy, "open\n").await;
    let outputs = async |run| -> OutputList { server.client().outputs(run).await.unwrap() };
    while outputs(open).await.outputs.iter().all(|output| output.stage != "build") {
        tokio::task::yield_now().await;
    }

    let mut sizes = Vec::new();
    for run in &runs {
        sizes.push(outputs(*run).await.outputs.iter().map(|output| output.len).sum::<u64>());
    }
    let plan = client.prune(&PruneRequest { dry_run: true, ..all() }).await.unwrap();
    let planned: Vec<_> = plan.runs.iter().map(|run| run.run_id).collect();
    assert_eq!(planned, [red, runs[1], runs[0]], "the live one, two before it and the open one stay");
    assert!(plan.dry_run && outputs(runs[0]).await.pruned.is_none(), "a dry run removes nothing");
    let newest = client.prune(&PruneRequest { keep: 5, dry_run: true, ..all() }).await.unwrap();
    assert_eq!(
        newest.runs.iter().map(|run| run.run_id).collect::<Vec<_>>(),
        [runs[0]],
        "the newest five stay"
    );
    let usual = client.prune(&PruneRequest { dry_run: true, ..PruneRequest::default() }).await.unwrap();
    assert!(usual.runs.is_empty(), "nothing is a month old");
    let only = PruneRequest { runs: Some([runs[0], runs[4], open].into()), ..all() };
    let done = client.prune(&only).await.unwrap();
    assert_eq!(
        done.runs.iter().map(|run| (run.run_id, run.bytes)).collect::<Vec<_>>(),
        [(runs[0], sizes[0])]
    );
    let done = client.prune(&PruneRequest { archive: Some("old.tar".into()), ..all() }).await.unwrap();
    assert_eq!(done.runs.iter().map(|run| run.run_id).collect::<Vec<_>>(), [red, runs[1]]);
    assert!(!done.more && done.unfinished.is_empty());

    let gone =
        server.request("GET", &format!("/v1/runs/{}/output?stage=test", runs[1])).send().await.unwrap();
    let (status, problem) = answered(gone).await;
    let said = problem["detail"].as_str().unwrap();
    assert_eq!((status, problem["type"].as_str()), (410, Some("urn:landfall:gone")));
    assert!(
        said.starts_with("the output of test was pruned on 20") && said.contains("old.tar has it"),
        "{said}"
    );
    let never =
        server.request("GET", &format!("/v1/runs/{}/output?stage=rollback", runs[1])).send().await.unwrap();
    assert_eq!(answered(never).await.0, 404, "what was never printed was not pruned");
    let listed = outputs(runs[1]).await;
    assert_eq!((listed.outputs.len(), listed.pruned.unwrap().bytes()), (0, sizes[1]));
    for run in [runs[2], runs[3], runs[4], open] {
        assert!(outputs(run).await.pruned.is_none(), "{run}");
    }

    // Parked is not closed either.
    server.stages.release(Stage::Build);
    assert!(server.settled(open).await.parked().is_some());
    assert_eq!(client.prune(&all()).await.unwrap().runs, []);
    client.cancel(open, "enough").await.unwrap();
    server.settled(open).await;
    server.stages.mend(Stage::ReleaseCommand);
    for target in [runs[2], runs[3], runs[4]] {
        let request = RollbackRequest { to: Some(target.to_string()), ..RollbackRequest::default() };
        let back = client.rollback("shop", &request).await.unwrap().run_id;
        assert_eq!(server.settled(back).await.state, RunState::Live, "back to {target}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_request_without_time_looks_at_one_run_and_the_next_goes_on_behind_it_also_in_a_dry_run() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    server.stages.end(Stage::Test, Outcome::failed("red"));
    let mut red = Vec::new();
    for version in 0..3 {
        red.push(pushed(&server, &copy, &format!("app = {version}\n")).await);
    }
    server.states().await;
    red.reverse();
    let store = server.app.engine.store();
    let at_once = Within { outputs: Duration::ZERO, all: PATIENCE };
    let sweep =
        async |_| Ok::<_, EngineError>(Swept { removed: vec!["a leftover".into()], unfinished: None });
    for dry_run in [true, false] {
        let mut request = PruneRequest { dry_run, ..all() };
        for (i, run) in red.iter().enumerate() {
            let now_ms = SystemClock.now_ms();
            let told =
                prune(&**store, &server.app.outputs, now_ms, 0, &request, at_once, sweep).await.unwrap();
            assert_eq!(told.runs.iter().map(|run| run.run_id).collect::<Vec<_>>(), [*run]);
            let is_last = i + 1 == red.len();
            assert_eq!(
                (told.more, told.swept.len()),
                (!is_last, usize::from(is_last)),
                "swept once, at the end"
            );
            request.before = told.until;
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_sweep_that_has_no_time_left_is_dropped_and_the_report_asks_for_another_request() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let (store, outputs) = (server.app.engine.store(), &server.app.outputs);
    let within = Within { outputs: PATIENCE, all: Duration::from_millis(1) };
    let sweep = async |_| std::future::pending::<Result<Swept, EngineError>>().await;
    for dry_run in [true, false] {
        let request = PruneRequest { dry_run, ..all() };
        let told = prune(&**store, outputs, SystemClock.now_ms(), 0, &request, within, sweep).await.unwrap();
        assert!(told.more);
        assert!(told.sweep_unfinished.as_deref().is_some_and(|why| why.starts_with("there was no time")));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_can_t_be_understood_prunes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    for (body, reason) in [
        (json!({ "older_than": "soon" }), "no span of time such as 30d"),
        (json!({ "older": "30d" }), "not the JSON expected here"),
        (json!({ "archive": "x".repeat(2_000) }), "longer than 1000 bytes"),
    ] {
        let (status, problem) = server.ask("POST", "/v1/prune", body).await;
        assert!(status == 400 && problem["detail"].as_str().unwrap().contains(reason), "{problem}");
    }
    server.stop().await;
}
