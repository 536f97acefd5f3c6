//! A run that has grown long begins no more stages, and can be ended all the same.

use landfall_engine::core::command::{Command, Rejected, RollbackOutcome};
use landfall_engine::core::effect::{Effect, next_stage};
use landfall_engine::core::event::{Decision, Event, Found};
use landfall_engine::core::length::decide_within;
use landfall_engine::core::run::{Blocked, Phase, RunState};
use landfall_engine::core::stage::Stage;
use landfall_engine::core::ways::{Way, ways_on};

use crate::sample::*;

const TOO_LONG: &str = "the run has 5 events and begins no more stages from 5 on: abort it, which fails it or rolls \
                        back what it deployed";

/// Decides within a limit that this run has just reached.
fn at_the_limit(story: &Story, command: Command) -> Result<Vec<Event>, Rejected> {
    let run = story.run();
    decide_within(run.seq, &story.lane, Some(run), command, story.now_ms)
}

fn abort() -> Command {
    Command::Resolve(Decision::Abort { reason: "no".into() })
}

/// A run with a release command whose image is pushed, and that queues for its lane.
fn migrating_outside_the_lane() -> Story {
    migrating().when(green(Stage::PushImage)).and_next(Some(Effect::EnterLane))
}

fn names(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(Event::name).collect()
}

#[test]
fn the_next_try_of_a_long_run_is_parked_with_the_reason() {
    let story = running(Stage::Test).when(silent(Stage::Test, 1)).later(60_000);
    let decided = at_the_limit(&story, Command::Proceed).unwrap();
    let at = Blocked::Stage { stage: Stage::Test, attempt: 1 };
    assert_eq!(decided, [Event::RunParked { at, reason: TOO_LONG.into() }]);
    let shorter =
        decide_within(story.run().seq + 1, &story.lane, story.run.as_ref(), Command::Proceed, story.now_ms);
    assert_eq!(names(&shorter.unwrap()), ["stage_started"]);
}

#[test]
fn a_try_that_is_not_due_yet_is_not_parked_before_its_time() {
    let story = running(Stage::Test).when(silent(Stage::Test, 1));
    assert_eq!(at_the_limit(&story, Command::Proceed), Err(Rejected::NotDue));
}

#[test]
fn a_long_parked_run_is_not_tried_again_and_not_skipped_but_given_up() {
    let recover =
        Command::Recover { stage: Stage::Test, attempt: 1, found: Found::Unknown, evidence: "?".into() };
    let parked = running(Stage::Test).when(recover);
    for decision in [Decision::Retry, Decision::Skip { reason: "by hand".into() }] {
        let refused = at_the_limit(&parked, Command::Resolve(decision)).unwrap_err();
        assert!(matches!(refused, Rejected::TooLong { .. }), "{refused}");
    }
    assert_eq!(names(&at_the_limit(&parked, abort()).unwrap()), ["run_unparked", "run_failed", "run_closed"]);
    let cancel = Command::Cancel { reason: "no".into() };
    assert_eq!(
        names(&at_the_limit(&parked, cancel).unwrap()),
        ["cancel_requested", "run_failed", "run_closed"]
    );
}

#[test]
fn a_long_run_whose_stage_is_green_is_parked_before_the_next_and_can_be_given_up() {
    let story = running(Stage::Test);
    let decided = at_the_limit(&story, green(Stage::Test)).unwrap();
    assert_eq!(names(&decided), ["stage_succeeded", "run_parked"]);
    let Some(Event::RunParked { at, reason }) = decided.last() else { panic!("{decided:?}") };
    assert_eq!(*at, Blocked::Stage { stage: Stage::Build, attempt: 0 });
    assert!(reason.starts_with("the run has 5 events and begins no more stages from 4 on"), "{reason}");

    let parked = story.then_recorded(decided);
    assert_eq!(ways_on(parked.run().seq, parked.run()), [Way::Abort]);
    assert_eq!(names(&at_the_limit(&parked, abort()).unwrap()), ["run_unparked", "run_failed", "run_closed"]);
    // An engine with a higher limit goes on with it.
    parked.when(Command::Resolve(Decision::Retry)).when(Command::Proceed).then(["stage_started"]);
}

#[test]
fn what_serves_users_already_is_checked_however_long_its_run_is() {
    let story = running(Stage::GoLive);
    let decided = at_the_limit(&story, green(Stage::GoLive)).unwrap();
    assert_eq!(names(&decided), ["stage_succeeded", "stage_started"]);
    let recover = Command::Recover {
        stage: Stage::PublicSmoke,
        attempt: 1,
        found: Found::Unknown,
        evidence: "?".into(),
    };
    let parked = story.then_recorded(decided).when(recover);
    assert_eq!(ways_on(parked.run().seq, parked.run()), [Way::Retry, Way::Skip, Way::Abort]);
    let retried = at_the_limit(&parked, Command::Resolve(Decision::Retry)).unwrap();
    assert_eq!(names(&retried), ["run_unparked"]);
    let due = parked.then_recorded(retried);
    assert_eq!(names(&at_the_limit(&due, Command::Proceed).unwrap()), ["stage_started"]);
}

#[test]
fn a_long_run_does_not_queue_for_a_lane_that_it_could_not_use() {
    let story = running(Stage::PushImage);
    let seq = story.run().seq;
    for (max, expected) in
        [(seq + 2, &["stage_succeeded"][..]), (seq + 1, &["stage_succeeded", "run_parked"])]
    {
        let decided =
            decide_within(max, &story.lane, story.run.as_ref(), green(Stage::PushImage), story.now_ms)
                .unwrap();
        assert_eq!(names(&decided), expected);
    }
}

#[test]
fn a_long_run_whose_turn_comes_is_parked_outside_its_lane() {
    for waiting in [running(Stage::PushImage).when(green(Stage::PushImage)), migrating_outside_the_lane()] {
        let stage = next_stage(waiting.run().done, waiting.run().settings.as_deref()).unwrap();
        let seq = waiting.run().seq;
        let decided = at_the_limit(&waiting, Command::EnterLane).unwrap();
        let [Event::RunParked { at, reason }] = &decided[..] else { panic!("{decided:?}") };
        assert_eq!(*at, Blocked::Stage { stage, attempt: 0 });
        assert!(reason.starts_with(&format!("the run has {seq} events")), "{reason}");
        let parked = waiting.then_recorded(decided);
        assert_eq!((parked.lane.holder, parked.run().holds_lane()), (None, false));
    }
}

#[test]
fn a_run_that_was_parked_outside_its_lane_goes_on_by_the_lane() {
    for stage in [Stage::ReleaseCommand, Stage::Deploy] {
        let story = match stage {
            Stage::ReleaseCommand => migrating_outside_the_lane(),
            _ => running(Stage::PushImage).when(green(Stage::PushImage)),
        };
        let parked = at_the_limit(&story, Command::EnterLane).unwrap();
        let parked = story.then_recorded(parked);
        assert_eq!(ways_on(parked.run().seq, parked.run()), [Way::Abort]);
        let retried = parked
            .clone()
            .when(Command::Resolve(Decision::Retry))
            .then(["run_unparked"])
            .and_next(Some(Effect::EnterLane))
            .when(Command::EnterLane)
            .then(["deployment_started", "stage_started"]);
        assert_eq!(retried.stage_in_flight(), Some(stage));
        // What came in between is looked at when the run enters, as for every run.
        let mut late = parked.clone().when(Command::Resolve(Decision::Retry));
        late.lane.newest.insert("main".into(), run_id(2));
        late.when(Command::EnterLane).then(["run_failed", "run_closed"]);
        if stage.is_skippable() {
            let skipped = parked
                .when(Command::Resolve(Decision::Skip { reason: "by hand".into() }))
                .then(["run_unparked", "stage_skipped"])
                .and_next(Some(Effect::EnterLane))
                .when(Command::EnterLane)
                .then(["deployment_started", "stage_started"]);
            assert_eq!(skipped.stage_in_flight(), Some(Stage::Deploy));
        }
    }
}

#[test]
fn a_skip_that_makes_a_run_too_long_for_its_lane_parks_it_again() {
    let story = migrating_outside_the_lane();
    let parked = at_the_limit(&story, Command::EnterLane).unwrap();
    let parked = story.then_recorded(parked);
    let skip = Command::Resolve(Decision::Skip { reason: "by hand".into() });
    let max = parked.run().seq + 1;
    let decided = decide_within(max, &parked.lane, parked.run.as_ref(), skip, parked.now_ms).unwrap();
    assert_eq!(names(&decided), ["run_unparked", "stage_skipped", "run_parked"]);
    let again = parked.then_recorded(decided);
    let at = Blocked::Stage { stage: Stage::Deploy, attempt: 0 };
    assert_eq!(again.run().parked().map(|parked| parked.at), Some(at));
}

#[test]
fn a_long_run_that_has_deployed_is_rolled_back_from_where_it_is_parked() {
    for stage in [Stage::Deploy, Stage::Smoke] {
        let story = running(stage);
        let decided = at_the_limit(&story, green(stage)).unwrap();
        assert_eq!(names(&decided), ["stage_succeeded", "run_parked"]);
        let parked = story.then_recorded(decided);
        let cancel = Command::Cancel { reason: "no".into() };
        assert_eq!(names(&at_the_limit(&parked, cancel).unwrap()), ["cancel_requested", "rollback_started"]);
        let aborted = at_the_limit(&parked, abort()).unwrap();
        assert_eq!(names(&aborted), ["run_unparked", "rollback_started"]);
        let rolling_back = parked.then_recorded(aborted);
        assert!(matches!(rolling_back.run().phase, Phase::RollingBack { attempt: 1, .. }));
    }
    let last = running(Stage::PublicSmoke);
    let live = at_the_limit(&last, green(Stage::PublicSmoke)).unwrap();
    assert_eq!(
        names(&live),
        ["stage_succeeded", "run_live", "run_closed"],
        "what only ends the run is recorded"
    );
}

#[test]
fn what_can_be_decided_is_what_is_not_refused() {
    let recover = |stage| Command::Recover { stage, attempt: 1, found: Found::Unknown, evidence: "?".into() };
    let test = running(Stage::Test).when(recover(Stage::Test));
    assert_eq!(ways_on(u64::MAX, test.run()), [Way::Retry, Way::Skip, Way::Abort]);
    assert_eq!(ways_on(test.run().seq, test.run()), [Way::Abort]);
    let build = running(Stage::Build).when(recover(Stage::Build));
    assert_eq!(ways_on(u64::MAX, build.run()), [Way::Retry, Way::Abort]);
    assert_eq!(ways_on(u64::MAX, running(Stage::Build).run()), [], "it is not parked");
}

#[test]
fn a_rollback_is_never_refused_however_long_the_run_is() {
    let recover =
        Command::Recover { stage: Stage::Smoke, attempt: 1, found: Found::Unknown, evidence: "?".into() };
    let parked = running(Stage::Smoke).when(recover);
    assert_eq!(names(&at_the_limit(&parked, abort()).unwrap()), ["run_unparked", "rollback_started"]);

    let errored = RollbackOutcome::Errored { reason: "the proxy is gone".into() };
    let report = Command::ReportRollback { attempt: 1, outcome: errored, took_ms: 5 };
    let due = running(Stage::Smoke).when(red(Stage::Smoke, "503")).when(report).later(60_000);
    assert_eq!(names(&at_the_limit(&due, Command::Proceed).unwrap()), ["rollback_started"]);

    let mut stuck = running(Stage::Smoke).when(red(Stage::Smoke, "503"));
    for _ in 0..3 {
        stuck = stuck.when(Command::RecoverRollback { attempt: 1 });
    }
    assert_eq!(names(&at_the_limit(&stuck, Command::Resolve(Decision::Retry)).unwrap()), ["run_unparked"]);
    assert_eq!(stuck.run().state, RunState::Deployed);
}
