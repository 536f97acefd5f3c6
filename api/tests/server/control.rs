//! What people decide about deploys, releases and lanes, over HTTP.

use landfall::client::Client;
use landfall::server::{
    HoldRequest, LaneRequest, PromoteRequest, RetryRequest, RollbackRequest, TriggerRequest,
};
use landfall_engine::core::command::Outcome;
use landfall_engine::core::event::{Cause, Event};
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::run::{Phase, Run, RunId, RunState};
use landfall_engine::core::stage::Stage;
use serde_json::json;

use crate::fixture::{TestServer, WorkingCopy};

fn of(copy: &WorkingCopy) -> TriggerRequest {
    TriggerRequest { repository: Some(copy.path().display().to_string()), ..TriggerRequest::default() }
}

async fn live(server: &TestServer, copy: &WorkingCopy) -> Run {
    let run = server.client().trigger("shop", &of(copy), None).await.unwrap().run_id;
    let run = server.settled(run).await;
    assert_eq!(run.state, RunState::Live, "{:?}", run.cause);
    run
}

async fn asking(server: &TestServer, client: &Client, copy: &WorkingCopy) -> RunId {
    let run = client.trigger("shop", &of(copy), None).await.unwrap().run_id;
    let waits = server.settled(run).await;
    assert!(matches!(waits.phase, Phase::AwaitingApproval { .. }), "{:?}", waits.phase);
    run
}

#[tokio::test]
async fn a_deploy_that_waits_is_approved_or_rejected_by_whoever_asks_and_the_log_says_who() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let (copy, client) = (WorkingCopy::new().await, server.client());
    copy.commit("landfall.toml", "[deploy]\napproval = true\n").await;
    let run = asking(&server, &client, &copy).await;
    let page = client.runs(&Default::default()).await.unwrap();
    assert!(page.runs[0].approval_until_ms.is_some());
    let approve =
        server.request("POST", &format!("/v1/runs/{run}/approve")).header("landfall-actor", "grace");
    assert_eq!(approve.send().await.unwrap().status(), 202);
    assert_eq!(server.settled(run).await.state, RunState::Live);
    let events = client.events(run).await.unwrap();
    let approved = events.iter().find(|told| told.event == Event::RunApproved).unwrap();
    assert_eq!(approved.actor, "grace");
    assert_eq!(client.approve(run).await.unwrap_err().status(), Some(409));

    copy.commit("app.py", "app = 2\n").await;
    let run = asking(&server, &client, &copy).await;
    client.reject(run, "not before the sale").await.unwrap();
    let rejected = server.settled(run).await;
    assert_eq!(rejected.cause, Some(Cause::Rejected { reason: "not before the sale".into() }));
    server.stop().await;
}

#[tokio::test]
async fn a_run_that_is_over_is_done_again_from_a_stage_and_what_can_not_be_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let (copy, client) = (WorkingCopy::new().await, server.client());
    server.stages.end(Stage::Build, Outcome::failed("no space"));
    let red = client.trigger("shop", &of(&copy), None).await.unwrap().run_id;
    assert_eq!(server.settled(red).await.state, RunState::Failed);
    let from = |stage: &str| RetryRequest { from: Some(stage.into()), release_hold: false };
    assert_eq!(client.rerun(red, &from("deploy")).await.unwrap_err().status(), Some(409));
    assert_eq!(client.rerun(red, &from("lunch")).await.unwrap_err().status(), Some(400));
    let seen_before = server.request("POST", &format!("/v1/runs/{red}/retry")).header("if-match", "\"1-0\"");
    let answer = seen_before.json(&from("build")).send().await.unwrap();
    assert_eq!(answer.status(), 412, "it is not the run that the client saw");
    server.stages.mend(Stage::Build);
    let again = client.rerun(red, &from("build")).await.unwrap().run_id;
    assert_eq!(server.settled(again).await.state, RunState::Live);
    let events = client.events(again).await.unwrap();
    let begun = |stage| {
        events
            .iter()
            .any(|told| matches!(&told.event, Event::StageStarted { stage: begun, .. } if *begun == stage))
    };
    assert!(begun(Stage::Checkout) && begun(Stage::Build) && !begun(Stage::Test));
    server.stop().await;
}

#[tokio::test]
async fn a_paused_app_deploys_when_it_is_resumed_and_a_held_commit_when_it_is_released() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let (copy, client) = (WorkingCopy::new().await, server.client());
    let because = LaneRequest { env: None, reason: Some("the sale".into()) };
    assert_eq!(client.pause("shopp", &because).await.unwrap_err().status(), Some(404));
    let first = live(&server, &copy).await;
    let paused = client.pause("shop", &because).await.unwrap();
    assert_eq!(paused.paused.map(|pause| pause.reason).as_deref(), Some("the sale"));
    copy.commit("app.py", "app = 2\n").await;
    let waits = client.trigger("shop", &of(&copy), None).await.unwrap().run_id;
    let pushed = |run: Option<Run>| run.is_some_and(|run| run.state == RunState::ImagePushed);
    while !pushed(server.app.engine.run(waits).await.unwrap()) {
        tokio::task::yield_now().await;
    }
    // A rollback by hand is let in all the same; without a former release there is none to go back to.
    let nowhere = client.rollback("shop", &RollbackRequest::default()).await.unwrap_err();
    assert!(nowhere.to_string().contains("has no former release to go back to"), "{nowhere}");
    assert_eq!(server.app.engine.run(waits).await.unwrap().unwrap().entry, None);
    client.resume("shop", &LaneRequest::default()).await.unwrap();
    let second = server.settled(waits).await;
    assert_eq!(second.state, RunState::Live);

    let commit = first.commit().sha[..8].to_owned();
    let hold = HoldRequest { commit, env: None, reason: Some("it leaks".into()) };
    let held = client.hold("shop", &hold).await.unwrap().held;
    assert_eq!(held.keys().collect::<Vec<_>>(), [&first.commit().sha]);
    let again = TriggerRequest { commit: Some(first.commit().sha.clone()), ..of(&copy) };
    assert_eq!(client.trigger("shop", &again, None).await.unwrap_err().status(), Some(409));
    assert_eq!(client.release_hold("shop", &hold).await.unwrap().held.len(), 0);
    assert_eq!(client.release_hold("shop", &hold).await.unwrap_err().status(), Some(404));
    let to = RollbackRequest { to: Some(first.commit().sha[..10].into()), ..RollbackRequest::default() };
    let back = client.rollback("shop", &to).await.unwrap().run_id;
    assert_eq!(server.settled(back).await.image, first.image);
    server.stop().await;
}

#[tokio::test]
async fn a_branch_goes_to_its_environment_and_its_release_is_promoted_as_it_is() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let (copy, client) = (WorkingCopy::new().await, server.client());
    let config = "[proxy]\nhost = \"shop.example.com\"\n[env.staging]\nbranches = [\"next\"]\n[env.staging.proxy]\nhost = \"staging.example.com\"\n";
    copy.commit("landfall.toml", config).await;
    copy.git(&["branch", "next"]).await;
    copy.push(&server.remote("shop"), &["next"]).await;
    let run = server.runs().await[0];
    let staged = server.settled(run).await;
    let staging = LaneId { app: "shop".into(), env: "staging".into() };
    assert_eq!((staged.state, &staged.lane), (RunState::Live, &staging));
    let host = |run: &Run| run.settings.as_ref().unwrap().proxy.host.clone();
    assert_eq!(host(&staged).as_deref(), Some("staging.example.com"));

    let promote = |from: &str, to: &str| PromoteRequest {
        from: from.into(),
        to: to.into(),
        ..PromoteRequest::default()
    };
    assert_eq!(client.promote("shop", &promote("staging", "staging")).await.unwrap_err().status(), Some(409));
    let empty = client.promote("shop", &promote("production", "staging")).await.unwrap_err();
    assert_eq!(empty.to_string(), "shop/production serves nothing");
    let run = client.promote("shop", &promote("staging", "production")).await.unwrap().run_id;
    let promoted = server.settled(run).await;
    assert_eq!((promoted.state, &promoted.lane), (RunState::Live, &LaneId::production("shop")));
    assert_eq!(
        (promoted.image.as_ref(), host(&promoted).as_deref()),
        (staged.image.as_ref(), Some("shop.example.com"))
    );
    let (status, _) = server.ask("POST", "/v1/apps/shop/promote", json!({ "from": "staging" })).await;
    assert_eq!(status, 400);
    server.stop().await;
}
