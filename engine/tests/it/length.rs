//! A run that has grown long begins no more stages, and can be ended all the same.

use landfall_engine::core::command::{Command, Rejected, RollbackOutcome};
use landfall_engine::core::event::{Decision, Event, Found};
use landfall_engine::core::length::decide_within;
use landfall_engine::core::run::{Blocked, RunState};
use landfall_engine::core::stage::Stage;

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
