//! The rules of a run, as sentences.

use crate::sample::*;
use landfall_engine::core::command::{Command, NotSent, Outcome, Relaunch, RollbackOutcome};
use landfall_engine::core::effect::{Effect, next_effect};
use landfall_engine::core::event::{Cause, Decision, Event, Found};
use landfall_engine::core::facts::Facts;
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::notice::{Audience, NoticeId, Occasion};
use landfall_engine::core::run::{Blocked, Phase, RunState};
use landfall_engine::core::settings::{ReleaseSettings, RollbackSettings, Settings};
use landfall_engine::core::stage::Stage;

fn told(occasion: Occasion, audience: Audience, channel: &str) -> NoticeId {
    NoticeId { occasion, audience, channel: channel.into() }
}

fn cancel() -> Command {
    Command::Cancel { reason: "changed my mind".into() }
}

#[test]
fn a_push_starts_with_the_checkout_in_the_same_append() {
    nothing().when(Command::Push(push())).then(["run_started", "stage_started"]).and_next(Some(
        Effect::RunStage { stage: Stage::Checkout, attempt: 1, deadline_ms: NOW_MS + 120_000 },
    ));
}

#[test]
fn a_green_run_goes_through_every_state_to_live() {
    let mut story = nothing().when(Command::Push(push()));
    let mut states = vec![story.run().state];
    while let Some(stage) = story.stage_in_flight() {
        story = story.when(green(stage));
        states.push(story.run().state);
        if stage == Stage::PushImage {
            story = story.and_next(Some(Effect::EnterLane)).when(Command::EnterLane);
        }
    }
    states.dedup();
    assert_eq!(
        states,
        [
            RunState::Pushed,
            RunState::Tested,
            RunState::Built,
            RunState::ImagePushed,
            RunState::Deployed,
            RunState::Smoked,
            RunState::Live
        ]
    );
    story.then(["stage_succeeded", "run_live", "run_closed"]).and_next(None);
}

#[test]
fn every_outcome_before_the_deploy_is_recorded_together_with_the_next_intent() {
    for stage in [Stage::Checkout, Stage::Test, Stage::Build] {
        running(stage).when(green(stage)).then(["stage_succeeded", "stage_started"]);
    }
}

#[test]
fn red_tests_stop_the_pipeline_and_the_developer_is_notified() {
    let notice = told(Occasion::Failed, Audience::Developer, "webhook:DEVELOPER");
    running(Stage::Test)
        .when(red(Stage::Test, "1 of 3 tests failed"))
        .then(["stage_failed", "run_failed"])
        .and_next(Some(Effect::BeginNotice(notice.clone())))
        .when(Command::Notify { notice: notice.clone() })
        .and_next(Some(Effect::Notify { notice: notice.clone(), attempt: 1 }))
        .when(Command::ReportNotice { notice, attempt: 1, receipt: Ok("200".into()) })
        .then(["notice_sent", "run_closed"])
        .and_next(None);
}

#[test]
fn a_failing_notifier_is_tried_again_given_up_and_never_changes_the_result() {
    let notice = told(Occasion::Failed, Audience::Developer, "webhook:DEVELOPER");
    let mut story = running(Stage::Test).when(red(Stage::Test, "red"));
    for attempt in 1..=4 {
        story = story.later(60_000).when(Command::Notify { notice: notice.clone() }).when(
            Command::ReportNotice { notice: notice.clone(), attempt, receipt: Err(NotSent::errored("503")) },
        );
    }
    let story = story.then(["notice_errored", "run_closed"]);
    assert_eq!(story.run().state, RunState::Failed);
}

#[test]
fn a_receiver_that_says_no_is_not_asked_again() {
    let notice = told(Occasion::Failed, Audience::Developer, "webhook:DEVELOPER");
    running(Stage::Test)
        .when(red(Stage::Test, "red"))
        .when(Command::Notify { notice: notice.clone() })
        .when(Command::ReportNotice { notice, attempt: 1, receipt: Err(NotSent::failed("404 Not Found")) })
        .then(["notice_errored", "run_closed"]);
}

#[test]
fn a_receiver_that_wants_to_be_left_alone_is_asked_again_when_it_said() {
    let notice = told(Occasion::Failed, Audience::Developer, "webhook:DEVELOPER");
    let receipt = Err(NotSent::Errored { reason: "429".into(), retry_after_ms: Some(30_000) });
    let story = running(Stage::Test)
        .when(red(Stage::Test, "red"))
        .when(Command::Notify { notice: notice.clone() })
        .when(Command::ReportNotice { notice: notice.clone(), attempt: 1, receipt });
    let again = Command::Notify { notice };
    assert_eq!(story.clone().later(29_000).refuses(again.clone()), "nothing is due");
    story.later(30_000).when(again).then(["notice_started"]);
}

#[test]
fn red_before_the_deploy_ends_failed_and_touches_nothing_that_serves() {
    for stage in [Stage::Checkout, Stage::Test, Stage::Build, Stage::PushImage] {
        let story = running(stage).when(red(stage, "no"));
        assert_eq!(story.run().state, RunState::Failed, "{stage}");
        assert!(!story.all.iter().any(|event| event.name() == "rollback_started"), "{stage}");
    }
}

#[test]
fn red_from_the_deploy_on_rolls_back() {
    for stage in [Stage::Deploy, Stage::Smoke, Stage::GoLive, Stage::PublicSmoke] {
        let story = running(stage)
            .when(red(stage, "GET / gave 503"))
            .then(["stage_failed", "rollback_started"])
            .and_next(Some(Effect::Rollback { attempt: 1, deadline_ms: NOW_MS + 120_000 }));
        let cause = story.run().cause.clone();
        assert_eq!(cause, Some(Cause::StageFailed { stage, reason: "GET / gave 503".into() }));
        let story = story.when(rolled_back());
        assert_eq!(story.run().state, RunState::RolledBack);
    }
}

#[test]
fn ops_are_notified_of_a_rollback() {
    running(Stage::Smoke)
        .when(red(Stage::Smoke, "GET / gave 503"))
        .when(rolled_back())
        .then(["rollback_succeeded"])
        .and_next(Some(Effect::BeginNotice(told(Occasion::RolledBack, Audience::Ops, "slack:OPS"))));
}

#[test]
fn a_commit_that_was_rolled_back_is_held_until_somebody_releases_the_hold() {
    let rolled_back = running(Stage::Smoke).when(red(Stage::Smoke, "GET / gave 503")).when(rolled_back());
    let again = Story { run: None, ..rolled_back };
    assert_eq!(
        again.clone().refuses(Command::Push(push())),
        format!(
            "commit {} is held since run {} was rolled back (smoke: GET / gave 503); release the hold to deploy it again",
            commit().sha,
            run_id(1)
        )
    );
    let mut released = push();
    released.release_hold = true;
    let again = again.when(Command::Push(released)).then(["run_started", "stage_started"]);
    assert!(again.lane.held.is_empty());
}

#[test]
fn a_release_command_runs_between_the_push_and_the_deploy_when_there_is_one() {
    let release = ReleaseSettings { command: "flask db upgrade".into(), timeout_ms: 60_000 };
    let settings = Settings { release: Some(release), ..settings() };
    let checked_out = report(Stage::Checkout, 1, Outcome::Succeeded(facts(Stage::Checkout, settings)));
    let story = nothing()
        .when(Command::Push(push()))
        .when(checked_out)
        .when(green(Stage::Test))
        .when(green(Stage::Build))
        .when(green(Stage::PushImage))
        .when(Command::EnterLane)
        .then(["deployment_started", "stage_started"]);
    assert_eq!(story.stage_in_flight(), Some(Stage::ReleaseCommand));
    story.clone().when(silent(Stage::ReleaseCommand, 1)).then(["stage_errored", "run_parked"]);
    let failed = story.clone().when(red(Stage::ReleaseCommand, "exit code 1"));
    assert_eq!(failed.run().state, RunState::Failed, "nothing is deployed yet");
    let deployed = story.when(green(Stage::ReleaseCommand));
    assert_eq!(deployed.stage_in_flight(), Some(Stage::Deploy));
}

#[test]
fn no_answer_is_tried_again_with_backoff_and_then_parked() {
    let mut story = running(Stage::Build);
    for attempt in 1..5 {
        story = story.when(silent(Stage::Build, attempt)).then(["stage_errored"]);
        let Phase::RetryDue { due_ms, .. } = story.run().phase else { panic!("no retry is due") };
        assert_eq!(story.clone().refuses(Command::Proceed), "nothing is due");
        let wait = due_ms - story.now_ms;
        story = story.later(wait).when(Command::Proceed).then(["stage_started"]);
    }
    let story = story.when(silent(Stage::Build, 5)).then(["stage_errored", "run_parked"]);
    assert!(story.run().parked().is_some());
    assert_eq!(story.run().state, RunState::Tested);
}

#[test]
fn a_rollback_that_cannot_finish_is_tried_again_and_then_parked_loudly() {
    let mut story = running(Stage::Smoke).when(red(Stage::Smoke, "503"));
    for attempt in 1..=8 {
        let outcome = RollbackOutcome::Errored { reason: "the former release does not answer".into() };
        story = story.when(Command::ReportRollback { attempt, outcome, took_ms: 1 });
        if let Phase::RollbackRetryDue { due_ms, .. } = story.run().phase {
            let wait = due_ms - story.now_ms;
            story = story.later(wait).when(Command::Proceed).then(["rollback_started"]);
        }
    }
    let seq = story.run().seq;
    story.then(["rollback_errored", "run_parked"]).and_next(Some(Effect::BeginNotice(told(
        Occasion::Parked { seq },
        Audience::Ops,
        "slack:OPS",
    ))));
}

#[test]
fn giving_up_a_parked_rollback_tries_it_under_a_new_key() {
    let mut story = running(Stage::Smoke).when(red(Stage::Smoke, "503"));
    for attempt in 1..=8 {
        let outcome = RollbackOutcome::Errored { reason: "no answer".into() };
        story = story.when(Command::ReportRollback { attempt, outcome, took_ms: 1 });
        if attempt < 8 {
            story = story.later(30_000).when(Command::Proceed);
        }
    }
    let abort = Command::Resolve(Decision::Abort { reason: "mended by hand".into() });
    let story = story.when(abort).then(["run_unparked", "rollback_started"]);
    assert!(matches!(story.last[1], Event::RollbackStarted { attempt: 9, .. }));
}

#[test]
fn cancelling_before_the_deploy_undoes_what_is_in_flight_and_fails_the_run() {
    running(Stage::Test)
        .when(cancel())
        .then(["cancel_requested"])
        .and_next(Some(Effect::Undo { stage: Stage::Test, attempt: 1 }))
        .when(Command::ReportUndone { stage: Stage::Test, attempt: 1, error: None })
        .then(["stage_undone", "run_failed", "run_closed"]);
}

#[test]
fn cancelling_from_the_deploy_on_rolls_back_and_holds_nothing() {
    let story = running(Stage::Smoke)
        .when(cancel())
        .when(Command::ReportUndone { stage: Stage::Smoke, attempt: 1, error: None })
        .then(["stage_undone", "rollback_started"])
        .when(rolled_back());
    assert_eq!(story.run().state, RunState::RolledBack);
    assert!(story.lane.held.is_empty());
}

#[test]
fn a_cancel_never_cuts_a_traffic_switch_in_half() {
    let story = running(Stage::GoLive).when(cancel());
    assert_eq!(story.stage_in_flight(), Some(Stage::GoLive), "the switch goes on");
    story.when(green(Stage::GoLive)).then(["stage_succeeded", "rollback_started"]);
}

#[test]
fn a_cancel_never_cuts_a_rollback_in_half() {
    let story = running(Stage::Smoke).when(red(Stage::Smoke, "503"));
    assert_eq!(story.refuses(cancel()), "the run is being rolled back; that is not cut in half");
}

#[test]
fn a_second_cancel_changes_nothing() {
    running(Stage::Test).when(cancel()).when(cancel()).then([]);
}

#[test]
fn cancelling_a_parked_red_deploy_keeps_its_reason_and_holds_the_commit() {
    let manual = Settings { rollback: RollbackSettings { automatic: false, hold: true }, ..settings() };
    let checked_out = report(Stage::Checkout, 1, Outcome::Succeeded(facts(Stage::Checkout, manual)));
    let mut story = nothing().when(Command::Push(push())).when(checked_out);
    for stage in [Stage::Test, Stage::Build, Stage::PushImage] {
        story = story.when(green(stage));
    }
    let story = story.when(Command::EnterLane).when(green(Stage::Deploy)).when(red(Stage::Smoke, "503"));
    let story = story.when(cancel()).then(["cancel_requested", "rollback_started"]).when(rolled_back());
    assert!(story.lane.held.contains_key(&commit().sha));
}

#[test]
fn a_run_that_is_cancelled_and_parked_does_no_more_stages_and_can_be_ended() {
    let unknown =
        Command::Recover { stage: Stage::GoLive, attempt: 1, found: Found::Unknown, evidence: "?".into() };
    let story = running(Stage::GoLive).when(cancel()).when(unknown).then(["stage_recovered", "run_parked"]);
    assert_eq!(
        story.clone().refuses(Command::Resolve(Decision::Retry)),
        "the run is cancelled, so it does no more stages: abort it"
    );
    story.when(cancel()).then(["rollback_started"]);
}

#[test]
fn an_ended_run_takes_no_commands() {
    let story = running(Stage::Test).when(red(Stage::Test, "red"));
    assert_eq!(story.clone().refuses(cancel()), "the run has ended: it is Failed");
    assert_eq!(story.refuses(green(Stage::Test)), "the run has ended: it is Failed");
}

#[test]
fn a_waiting_run_is_superseded_and_a_deploying_one_is_not() {
    let by = run_id(2);
    let waiting = running(Stage::PushImage).when(green(Stage::PushImage));
    waiting.when(Command::Supersede { by }).then(["run_failed", "run_closed"]);
    assert_eq!(running(Stage::Deploy).refuses(Command::Supersede { by }), "nothing is due");
}

#[test]
fn an_older_run_does_not_deploy_over_a_newer_one_of_its_branch() {
    let mut waiting = running(Stage::PushImage).when(green(Stage::PushImage));
    waiting.lane.newest.insert("main".into(), run_id(2));
    let story = waiting.when(Command::EnterLane).then(["run_failed", "run_closed"]);
    assert_eq!(story.run().cause, Some(Cause::Superseded { by: run_id(2) }));
}

#[test]
fn a_lane_takes_one_run_at_a_time() {
    let mut waiting = running(Stage::PushImage).when(green(Stage::PushImage));
    waiting.lane.holder = Some(run_id(9));
    assert_eq!(waiting.refuses(Command::EnterLane), format!("run {} has the lane", run_id(9)));
}

#[test]
fn what_a_probe_finds_is_recorded_and_an_unknown_parks_the_run() {
    let recover = |found| Command::Recover {
        stage: Stage::Deploy,
        attempt: 1,
        found,
        evidence: "its name is taken by a stranger".into(),
    };
    running(Stage::Deploy).when(recover(Found::Running)).then(["stage_recovered"]);
    let story = running(Stage::Deploy).when(recover(Found::Unknown)).then(["stage_recovered", "run_parked"]);
    let reason = &story.run().parked().expect("it is parked").reason;
    assert_eq!(reason, "it can't be told whether deploy happened: its name is taken by a stranger");
}

#[test]
fn an_attempt_that_three_engine_starts_found_unconcluded_is_parked() {
    let recover = || Command::Recover {
        stage: Stage::Build,
        attempt: 1,
        found: Found::NotStarted,
        evidence: String::new(),
    };
    running(Stage::Build)
        .when(recover())
        .then(["stage_recovered"])
        .when(recover())
        .then(["stage_recovered"])
        .when(recover())
        .then(["stage_recovered", "run_parked"]);
}

#[test]
fn a_rollback_that_three_engine_starts_found_unconcluded_is_parked_and_can_be_tried_again() {
    let found = || Command::RecoverRollback { attempt: 1 };
    let mut story = running(Stage::Smoke).when(red(Stage::Smoke, "503"));
    let rolling_back = Some(Effect::Rollback { attempt: 1, deadline_ms: NOW_MS + 120_000 });
    for _ in 0..2 {
        story = story.when(found()).then(["rollback_recovered"]).and_next(rolling_back.clone());
    }
    let story = story.when(found()).then(["rollback_recovered", "run_parked"]);
    let parked = story.run().parked().expect("the run is parked");
    assert_eq!(parked.at, Blocked::Rollback { attempt: 1 });
    assert_eq!(
        parked.reason,
        "3 engine starts found the rollback unconcluded: it may be what stops the engine"
    );
    let notice = told(Occasion::Parked { seq: story.run().parked_seq }, Audience::Ops, "slack:OPS");
    let story = story.and_next(Some(Effect::BeginNotice(notice)));
    let again = story.when(Command::Resolve(Decision::Retry)).when(Command::Proceed);
    let outcome = RollbackOutcome::Succeeded { serving: None, proof: "nothing serves".into() };
    let again = again.when(Command::ReportRollback { attempt: 2, outcome, took_ms: 5 });
    assert_eq!(again.run().state, RunState::RolledBack);
}

#[test]
fn a_notice_that_three_engine_starts_found_unconcluded_is_abandoned_and_holds_no_run() {
    let notice = told(Occasion::Failed, Audience::Developer, "webhook:DEVELOPER");
    let found = || Command::RecoverNotice { notice: notice.clone(), attempt: 1 };
    let mut story =
        running(Stage::Test).when(red(Stage::Test, "red")).when(Command::Notify { notice: notice.clone() });
    for _ in 0..2 {
        let sending = Some(Effect::Notify { notice: notice.clone(), attempt: 1 });
        story = story.when(found()).then(["notice_recovered"]).and_next(sending);
    }
    let story = story.when(found()).then(["notice_recovered", "notice_errored", "run_closed"]);
    assert_eq!(
        story.last[1],
        Event::NoticeErrored {
            notice: notice.clone(),
            attempt: 1,
            reason: "3 engine starts found the notice unconcluded: it may be what stops the engine".into(),
            retry_due_ms: None,
        }
    );
    assert_eq!(story.run().state, RunState::Failed);
}

#[test]
fn a_cancelled_stage_whose_undoing_three_engine_starts_found_unconcluded_is_parked_and_can_be_ended() {
    let found = || Command::RecoverUndo { stage: Stage::Test, attempt: 1 };
    let mut story = running(Stage::Test).when(cancel());
    for _ in 0..2 {
        let undo = Some(Effect::Undo { stage: Stage::Test, attempt: 1 });
        story = story.when(found()).then(["undo_recovered"]).and_next(undo);
    }
    let story = story.when(found()).then(["undo_recovered", "run_parked"]);
    let abort = Command::Resolve(Decision::Abort { reason: "no".into() });
    assert_eq!(story.when(abort).run().state, RunState::Failed);
}

#[test]
fn what_was_recovered_too_late_or_elsewhere_is_refused() {
    let rolling_back = running(Stage::Smoke).when(red(Stage::Smoke, "503"));
    assert!(
        rolling_back.clone().refuses(Command::RecoverRollback { attempt: 2 }).contains("stale"),
        "another try"
    );
    let notice = told(Occasion::Failed, Audience::Developer, "webhook:DEVELOPER");
    let ended = running(Stage::Test).when(red(Stage::Test, "red"));
    assert!(ended.refuses(Command::RecoverNotice { notice, attempt: 1 }).contains("stale"), "not begun");
    assert!(
        running(Stage::Test)
            .refuses(Command::RecoverUndo { stage: Stage::Test, attempt: 1 })
            .contains("stale"),
        "not cancelled"
    );
}

#[test]
fn a_restart_does_not_move_a_deadline() {
    let story = running(Stage::Test);
    let before = match story.run().phase {
        Phase::Working(work) => work.deadline_ms,
        _ => panic!("it works"),
    };
    let story = story.later(60_000).when(Command::Recover {
        stage: Stage::Test,
        attempt: 1,
        found: Found::Running,
        evidence: String::new(),
    });
    story.and_next(Some(Effect::RunStage { stage: Stage::Test, attempt: 1, deadline_ms: before }));
}

#[test]
fn a_person_retries_skips_or_aborts_a_parked_run() {
    let parked = |stage| {
        running(stage).when(Command::Recover {
            stage,
            attempt: 1,
            found: Found::Unknown,
            evidence: "?".into(),
        })
    };
    parked(Stage::Smoke)
        .when(Command::Resolve(Decision::Retry))
        .then(["run_unparked"])
        .when(Command::Proceed)
        .then(["stage_started"]);
    let skipped = parked(Stage::Smoke)
        .when(Command::Resolve(Decision::Skip { reason: "checked by hand".into() }))
        .then(["run_unparked", "stage_skipped", "stage_started"]);
    assert_eq!(skipped.stage_in_flight(), Some(Stage::GoLive));
    parked(Stage::Smoke)
        .when(Command::Resolve(Decision::Abort { reason: "no".into() }))
        .then(["run_unparked", "rollback_started"]);
    parked(Stage::Build).when(Command::Resolve(Decision::Abort { reason: "no".into() })).then([
        "run_unparked",
        "run_failed",
        "run_closed",
    ]);
    assert_eq!(
        parked(Stage::Build).refuses(Command::Resolve(Decision::Skip { reason: "?".into() })),
        "build can't be skipped: later stages need what it finds out; retry or abort"
    );
    assert_eq!(
        running(Stage::Test).refuses(Command::Resolve(Decision::Retry)),
        "the run is not parked, so there is nothing to decide"
    );
}

#[test]
fn a_run_that_a_stage_parked_is_rolled_back_when_it_is_aborted_while_deploying() {
    let story = running(Stage::GoLive).when(Command::Recover {
        stage: Stage::GoLive,
        attempt: 1,
        found: Found::Unknown,
        evidence: "?".into(),
    });
    let story = story.when(cancel()).then(["cancel_requested", "rollback_started"]).when(rolled_back());
    assert_eq!(story.run().state, RunState::RolledBack);
}

#[test]
fn with_automatic_rollback_off_a_red_smoke_test_waits_for_a_person() {
    let manual = Settings { rollback: RollbackSettings { automatic: false, hold: true }, ..settings() };
    let mut story = nothing().when(Command::Push(push()));
    story = story.when(report(Stage::Checkout, 1, Outcome::Succeeded(facts(Stage::Checkout, manual))));
    for stage in [Stage::Test, Stage::Build, Stage::PushImage] {
        story = story.when(green(stage));
    }
    let story = story
        .when(Command::EnterLane)
        .when(green(Stage::Deploy))
        .when(red(Stage::Smoke, "503"))
        .then(["stage_failed", "run_parked"]);
    assert_eq!(story.run().parked().map(|parked| parked.at), Some(Blocked::Rollback { attempt: 0 }));
    story
        .when(Command::Resolve(Decision::Retry))
        .when(Command::Proceed)
        .then(["rollback_started"])
        .when(rolled_back())
        .then(["rollback_succeeded"]);
}

#[test]
fn a_former_release_is_launched_again_without_building_it() {
    let relaunch = Relaunch {
        lane: LaneId::production("shop"),
        release: release(7),
        settings: settings(),
        promoted_from: None,
        trigger: "landfall rollback".into(),
        reason: "the new one is slow".into(),
    };
    let story = nothing()
        .when(Command::Relaunch(Box::new(relaunch)))
        .then(["run_started"])
        .and_next(Some(Effect::EnterLane))
        .when(Command::EnterLane)
        .then(["deployment_started", "stage_started"]);
    assert_eq!(story.run().image, Some(image()));
    let story = story
        .when(green(Stage::Deploy))
        .when(green(Stage::Smoke))
        .when(green(Stage::GoLive))
        .when(green(Stage::PublicSmoke));
    assert_eq!(story.run().state, RunState::Live);
}

#[test]
fn each_run_is_promised_generations_that_no_other_has() {
    let first = running(Stage::Deploy);
    assert_eq!(first.run().entry.as_ref().map(|entry| entry.generation), Some(1));
    let rolled_back = first.when(red(Stage::Deploy, "exited")).when(rolled_back());
    let mut released = push();
    released.release_hold = true;
    let mut second = Story { run: None, ..rolled_back }.when(Command::Push(released));
    for stage in [Stage::Checkout, Stage::Test, Stage::Build, Stage::PushImage] {
        second = second.when(green(stage));
    }
    let second = second.when(Command::EnterLane);
    assert_eq!(
        second.run().entry.as_ref().map(|entry| entry.generation),
        Some(3),
        "2 was for switching back"
    );
}

#[test]
fn stale_and_foreign_reports_are_refused() {
    assert_eq!(
        running(Stage::Test).refuses(report(Stage::Test, 2, Outcome::failed("late"))),
        "stale report: attempt 2 of test is not in flight"
    );
    assert_eq!(
        running(Stage::Test).refuses(green(Stage::Build)),
        "stale report: attempt 1 of build is not in flight"
    );
    let confused = report(Stage::Test, 1, Outcome::Succeeded(Facts::ReleaseCommand));
    running(Stage::Test).when(confused).then(["stage_errored"]);
}

#[test]
fn a_lane_remembers_what_was_live_each_digest_once() {
    let mut lane = landfall_engine::core::lane::Lane::default();
    let live = |n: u128, digest: &str| {
        let mut release = release(n);
        release.image.digest = digest.into();
        Event::RunLive { release: Box::new(release) }
    };
    for (n, digest) in [(1, "a"), (2, "b"), (3, "a")] {
        lane.apply(run_id(n), NOW_MS, &live(n, digest));
    }
    assert_eq!(lane.live.as_ref().map(|live| live.run), Some(run_id(3)));
    let former: Vec<_> = lane.former.iter().map(|former| former.image.digest.as_str()).collect();
    assert_eq!(former, ["b"]);
}

#[test]
fn a_notice_in_flight_is_given_up_when_a_person_decides_before_its_receiver_answers() {
    let parked = Command::Recover {
        stage: Stage::Test,
        attempt: 1,
        found: Found::Unknown,
        evidence: "the container is gone".into(),
    };
    let story = running(Stage::Test).when(parked);
    let Some(Effect::BeginNotice(notice)) = next_effect(story.run()) else { panic!("ops are to be told") };
    let story = story.when(Command::Notify { notice: notice.clone() });
    let late = Command::ReportNotice { notice, attempt: 1, receipt: Ok("200".into()) };
    for (asked, events) in [
        (cancel(), ["notice_errored", "cancel_requested", "run_failed", "run_closed"]),
        (
            Command::Resolve(Decision::Abort { reason: "no".into() }),
            ["notice_errored", "run_unparked", "run_failed", "run_closed"],
        ),
    ] {
        story.clone().when(asked).then(events).refuses(late.clone());
    }
    story.when(Command::Resolve(Decision::Retry)).then(["notice_errored", "run_unparked"]).refuses(late);
}
