//! What people decide about deploys and releases: approvals, reruns, promotions, pauses.

use landfall_engine::audit::replay;
use landfall_engine::core::command::{Again, Command, Outcome, Rejected, Relaunch};
use landfall_engine::core::decide::decide;
use landfall_engine::core::effect::{Effect, next_effect};
use landfall_engine::core::event::{Cause, Envelope, Event, EventHash};
use landfall_engine::core::facts::Facts;
use landfall_engine::core::lane::{Hold, Lane, LaneId, Pause};
use landfall_engine::core::notice::{Audience, Occasion};
use landfall_engine::core::rerun::Rerun;
use landfall_engine::core::run::{Phase, Run, RunState};
use landfall_engine::core::settings::{NotifySettings, Settings};
use landfall_engine::core::stage::Stage;
use landfall_engine::core::summary::RunSummary;
use uuid::Uuid;

use crate::sample::*;

fn reject() -> Command {
    Command::Reject { reason: "not before the sale".into() }
}

/// A run whose deploy waits to be approved, with its people told.
fn asking() -> Story {
    let mut story = gated().when(green(Stage::PushImage));
    while let Some(Effect::BeginNotice(notice)) = next_effect(story.run()) {
        let receipt = Ok("200".into());
        story = story.when(Command::Notify { notice: notice.clone() });
        story = story.when(Command::ReportNotice { notice, attempt: 1, receipt });
    }
    story
}

#[test]
fn a_deploy_waits_until_a_person_approves_it_and_holds_no_lane_meanwhile() {
    let story = gated().when(green(Stage::PushImage)).then(["stage_succeeded", "approval_requested"]);
    assert_eq!(story.lane.holder, None);
    let notice = landfall_engine::core::notice::called_for(story.run());
    let told = notice.first().map(|notice| (notice.occasion, notice.audience));
    assert_eq!(told, Some((Occasion::Approval, Audience::Ops)));
    assert_eq!(story.clone().refuses(Command::EnterLane), "nothing is due");
    asking()
        .and_next(Some(Effect::AwaitApproval(NOW_MS + PATIENCE_MS)))
        .later(PATIENCE_MS - 1)
        .when(Command::Approve)
        .then(["run_approved"])
        .and_next(Some(Effect::EnterLane))
        .when(Command::EnterLane)
        .then(["deployment_started", "stage_started"]);
}

#[test]
fn a_timer_ends_the_waiting_and_never_passes_the_gate() {
    let story = asking();
    assert_eq!(story.clone().refuses(Command::Proceed), "nothing is due");
    let story = story.later(PATIENCE_MS);
    assert_eq!(story.clone().refuses(Command::Approve), "the time to approve the run is over");
    let story = story.when(Command::Proceed).then(["run_failed", "run_closed"]);
    assert_eq!(story.run().cause, Some(Cause::NotApproved { until_ms: NOW_MS + PATIENCE_MS }));
}

#[test]
fn a_rejected_run_fails_with_the_reason() {
    let story = asking().when(reject()).then(["run_rejected", "run_failed", "run_closed"]);
    assert_eq!(story.run().state, RunState::Failed);
    assert_eq!(story.run().cause, Some(Cause::Rejected { reason: "not before the sale".into() }));
    assert_eq!(running(Stage::Test).refuses(reject()), "the run does not wait for an approval");
}

#[test]
fn what_is_approved_while_its_notice_is_on_its_way_goes_on() {
    let story = gated().when(green(Stage::PushImage));
    let Some(Effect::BeginNotice(notice)) = next_effect(story.run()) else { panic!("ops are told") };
    story
        .when(Command::Notify { notice })
        .when(Command::Approve)
        .then(["notice_errored", "run_approved"])
        .and_next(Some(Effect::EnterLane));
}

#[test]
fn a_waiting_deploy_is_cancelled_and_superseded_like_any_that_waits() {
    let cancelled = asking().when(Command::Cancel { reason: "no".into() });
    assert_eq!(cancelled.run().cause, Some(Cause::Cancelled { reason: "no".into() }));
    let superseded = asking().when(Command::Supersede { by: run_id(2) });
    assert_eq!(superseded.run().cause, Some(Cause::Superseded { by: run_id(2) }));
}

fn relaunch(promoted_from: Option<LaneId>) -> Command {
    Command::Relaunch(Box::new(Relaunch {
        lane: LaneId::production("shop"),
        release: release(7),
        settings: gated_settings(),
        promoted_from,
        trigger: "api".into(),
        reason: "it is fine".into(),
    }))
}

fn staging() -> Option<LaneId> {
    Some(LaneId { app: "shop".into(), env: "staging".into() })
}

#[test]
fn a_promotion_asks_for_the_approval_of_its_target_and_a_rollback_by_hand_for_none() {
    nothing().when(relaunch(None)).and_next(Some(Effect::EnterLane));
    let asked = nothing().when(relaunch(staging())).and_next(Some(Effect::Proceed)).when(Command::Proceed);
    let approved = asked.then(["approval_requested"]).when(Command::Approve);
    let story = approved.when(Command::EnterLane).then(["deployment_started", "stage_started"]);
    assert_eq!(story.stage_in_flight(), Some(Stage::Deploy));
    assert_eq!(story.run().image, Some(image()));
}

#[test]
fn a_held_commit_is_not_promoted_and_a_rollback_by_hand_may_go_back_to_it() {
    let mut story = nothing();
    story.lane.held.insert(commit().sha, Hold { run: None, reason: "it leaks".into() });
    assert!(story.clone().refuses(relaunch(staging())).contains("is held by hand (it leaks)"));
    story.when(relaunch(None)).then(["run_started"]);
}

#[test]
fn a_paused_lane_is_entered_by_a_rollback_by_hand_alone() {
    let mut story = running(Stage::PushImage).when(green(Stage::PushImage));
    story.lane.paused = Some(Pause { reason: "the sale".into(), since_ms: NOW_MS });
    let refused = story.clone().refuses(Command::EnterLane);
    assert_eq!(refused, "shop/production is paused (the sale); what waits goes on once it is resumed");
    story.lane.paused = None;
    let lane =
        Lane { paused: Some(Pause { reason: "the sale".into(), since_ms: NOW_MS }), ..Lane::default() };
    story.when(Command::EnterLane).then(["deployment_started", "stage_started"]);
    let by_hand = nothing().when(relaunch(None));
    let entered = decide(&lane, by_hand.run.as_ref(), Command::EnterLane, NOW_MS).expect("it enters");
    assert_eq!(entered[0].name(), "deployment_started");
}

fn live() -> Run {
    running(Stage::PublicSmoke).when(green(Stage::PublicSmoke)).run().clone()
}

fn again(former: &Run, from: Stage) -> Result<Story, Rejected> {
    let rerun = Rerun::of(former, from, false)?;
    let again = Again { lane: former.lane.clone(), rerun, trigger: "retry".into() };
    Ok(nothing().when(Command::Again(Box::new(again))))
}

#[test]
fn a_rerun_from_the_build_lays_the_commit_out_again_and_runs_no_tests() {
    let mut story = again(&live(), Stage::Build).expect("it has what it takes");
    assert_eq!((story.run().state, story.stage_in_flight()), (RunState::Tested, Some(Stage::Checkout)));
    // Another version of Landfall may read the file otherwise: what counts is what the former run had.
    let read_anew = Settings { notify: NotifySettings::default(), ..settings() };
    let laid_out = Outcome::Succeeded(facts(Stage::Checkout, read_anew));
    story = story.when(report(Stage::Checkout, 1, laid_out)).then(["stage_succeeded", "stage_started"]);
    assert_eq!((story.run().state, story.stage_in_flight()), (RunState::Tested, Some(Stage::Build)));
    assert_eq!(story.run().settings.as_deref(), Some(&settings()));
    for stage in [Stage::Build, Stage::PushImage] {
        story = story.when(green(stage));
    }
    story.and_next(Some(Effect::EnterLane));
}

#[test]
fn a_rerun_from_the_deploy_queues_with_the_image_that_the_former_run_pushed() {
    let story = again(&live(), Stage::Deploy).expect("it has what it takes").then(["run_started"]);
    assert_eq!(story.run().image, Some(image()));
    let story = story.and_next(Some(Effect::EnterLane)).when(Command::EnterLane);
    assert_eq!(story.stage_in_flight(), Some(Stage::Deploy));
    assert_eq!(story.lane.newest.get("main"), Some(&run_id(1)));
}

#[test]
fn a_rerun_goes_through_the_stages_before_its_first_only_when_they_were_concluded() {
    let refused = |former: &Run, from| again(former, from).map(|_| ()).expect_err("refused").to_string();
    let red = running(Stage::Test).when(red(Stage::Test, "red"));
    let red = red.run();
    assert!(
        refused(red, Stage::Build).contains("of what comes before build it concluded no more than checkout")
    );
    assert!(again(red, Stage::Test).is_ok());
    assert!(refused(&live(), Stage::Smoke).contains("begins with deploy at the latest"));
    assert!(refused(&live(), Stage::ReleaseCommand).contains("it has no release command"));
    assert!(refused(running(Stage::Test).run(), Stage::Test).contains("the run is not over"));
    let by_hand = nothing().when(relaunch(None)).when(Command::Cancel { reason: "no".into() });
    assert!(refused(by_hand.run(), Stage::Deploy).contains("it started from a release"));
}

#[test]
fn a_rerun_respects_a_hold_unless_whoever_asks_lifts_it() {
    let held = Hold { run: Some(run_id(9)), reason: "smoke: 503".into() };
    let lane = Lane { held: [(commit().sha, held)].into(), ..Lane::default() };
    let ask = |release_hold| {
        let rerun = Rerun::of(&live(), Stage::Deploy, release_hold).expect("it has what it takes");
        let again = Again { lane: LaneId::production("shop"), rerun, trigger: "retry".into() };
        decide(&lane, None, Command::Again(Box::new(again)), NOW_MS)
    };
    assert!(matches!(ask(false), Err(Rejected::Held { .. })));
    let begun = ask(true).expect("the hold is lifted");
    let mut lane = lane.clone();
    lane.apply(run_id(1), NOW_MS, &begun[0]);
    assert!(lane.held.is_empty());
}

fn told(story: &Story) -> Vec<Envelope> {
    let envelope = |(seq, event): (u64, &Event)| Envelope {
        run_id: run_id(1),
        seq,
        global_seq: seq,
        event_id: Uuid::from_u128(seq.into()),
        schema: 1,
        recorded_at_ms: NOW_MS,
        actor: "ada".into(),
        engine: "test".into(),
        effect_key: None,
        event: event.clone(),
        hash: EventHash::default(),
    };
    (1..).zip(&story.all).map(envelope).collect()
}

#[test]
fn the_summary_and_the_replay_say_what_the_run_waits_for_and_what_it_took_over() {
    let story = asking();
    let events = told(&story);
    let mut summary = RunSummary::begin(run_id(1), "ada", NOW_MS, &events[0].event).expect("a first event");
    events[1..].iter().for_each(|told| summary.apply(told.seq, NOW_MS, &told.event));
    assert_eq!(summary.approval_until_ms, Some(NOW_MS + PATIENCE_MS));
    assert_eq!(replay(&events, None).rows[4].result, "Waits for an approval until 2023-11-14T23:13:20.000Z");
    let story = story.when(Command::Approve);
    let approved = replay(&told(&story), None);
    assert_eq!(approved.rows[4].result, "Approved by ada");
    assert!(approved.notes.iter().any(|note| note.ends_with("ada approved the deploy")));

    let story = again(&live(), Stage::Build).expect("it has what it takes").when(green(Stage::Checkout));
    let events = told(&story);
    let mut summary = RunSummary::begin(run_id(1), "ada", NOW_MS, &events[0].event).expect("a first event");
    events[1..].iter().for_each(|told| summary.apply(told.seq, NOW_MS, &told.event));
    assert_eq!(summary.state, story.run().state);
    let rows = replay(&events, None).rows;
    assert!(rows[0].result.contains("asked for again from build on"), "{}", rows[0].result);
    assert_eq!(
        (rows[0].next.as_str(), rows[1].result.as_str()),
        ("Build Docker image", "done by run 00000000-0000-0000-0000-000000000001")
    );
    assert_eq!(rows[2].result, "build is going on");
}

#[test]
fn a_run_that_waits_to_be_approved_is_found_so_by_the_next_engine() {
    let asking = asking();
    let text = serde_json::to_string(asking.run()).expect("plain data");
    let read: Run = serde_json::from_str(&text).expect("plain data");
    assert_eq!(&read, asking.run());
    assert_eq!(read.phase, Phase::AwaitingApproval { until_ms: NOW_MS + PATIENCE_MS });
    assert!(matches!(facts(Stage::Checkout, gated_settings()), Facts::Checkout(_)));
}
