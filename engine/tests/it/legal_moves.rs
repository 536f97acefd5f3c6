//! Every state with every event: legal or refused, as a table that a person can read.

use crate::sample::*;
use landfall_engine::core::command::{Again, Command, RollbackOutcome};
use landfall_engine::core::event::{Decision, Event, Found};
use landfall_engine::core::evolve::{Place, evolve, phase_name};
use landfall_engine::core::length::decide_within;
use landfall_engine::core::rerun::Rerun;
use landfall_engine::core::run::{Blocked, Phase, Run, RunState};
use landfall_engine::core::stage::Stage;

/// Stories that between them come through every state and phase.
fn stories() -> Vec<Story> {
    let cancel = || Command::Cancel { reason: "no".into() };
    let unknown = |stage| Command::Recover { stage, attempt: 1, found: Found::Unknown, evidence: "?".into() };
    let skip = || Command::Resolve(Decision::Skip { reason: "by hand".into() });
    let abort = || Command::Resolve(Decision::Abort { reason: "no".into() });
    let errored = || {
        let outcome = RollbackOutcome::Errored { reason: "no".into() };
        Command::ReportRollback { attempt: 1, outcome, took_ms: 1 }
    };
    let red_smoke = || running(Stage::Smoke).when(red(Stage::Smoke, "503"));
    let mut stories = vec![
        with_release_command().when(green(Stage::ReleaseCommand)),
        with_release_command().when(silent(Stage::ReleaseCommand, 1)),
        running(Stage::PublicSmoke).when(green(Stage::PublicSmoke)),
        running(Stage::Test).when(red(Stage::Test, "red")),
        red_smoke().when(rolled_back()),
        red_smoke().when(errored()),
        running(Stage::Checkout).when(cancel()).when(Command::ReportUndone {
            stage: Stage::Checkout,
            attempt: 1,
            error: None,
        }),
        running(Stage::Test).when(cancel()),
        running(Stage::GoLive).when(cancel()).when(green(Stage::GoLive)),
        running(Stage::Test).when(silent(Stage::Test, 1)),
        running(Stage::Test).when(unknown(Stage::Test)).when(skip()),
        running(Stage::Test).when(unknown(Stage::Test)).when(abort()),
        running(Stage::Smoke).when(unknown(Stage::Smoke)).when(Command::Resolve(Decision::Retry)),
        running(Stage::Smoke).when(unknown(Stage::Smoke)).when(cancel()),
        parked_outside_the_lane(running(Stage::PushImage)).when(Command::Resolve(Decision::Retry)),
        parked_outside_the_lane(migrating()).when(skip()),
        gated().when(green(Stage::PushImage)).when(Command::Approve).when(Command::EnterLane),
        gated().when(green(Stage::PushImage)).when(Command::Reject { reason: "no".into() }),
        gated().when(green(Stage::PushImage)).when(cancel()),
        built_again().when(green(Stage::Checkout)).when(green(Stage::Build)),
    ];
    stories.extend(
        Stage::ALL
            .into_iter()
            .filter(|stage| *stage != Stage::ReleaseCommand)
            .map(|stage| running(stage).when(silent(stage, 1))),
    );
    stories
}

/// A rerun that begins with its build, and lays the commit out first.
fn built_again() -> Story {
    let former = running(Stage::PublicSmoke).when(green(Stage::PublicSmoke)).run().clone();
    let rerun = Rerun::of(&former, Stage::Build, false).expect("it has what it takes");
    let again = Again { lane: former.lane, rerun, trigger: "retry".into() };
    nothing().when(Command::Again(Box::new(again)))
}

fn with_release_command() -> Story {
    migrating().when(green(Stage::PushImage)).when(Command::EnterLane)
}

/// A run that came to its limit before its lane.
fn parked_outside_the_lane(story: Story) -> Story {
    let max = story.run().seq;
    let decided = decide_within(max, &story.lane, story.run.as_ref(), green(Stage::PushImage), story.now_ms);
    story.then_recorded(decided.expect("it is parked"))
}

/// The run after each event of each story, once for each state, phase, stage done and cancel.
fn every_situation() -> Vec<(String, Run)> {
    let mut situations: Vec<(String, Run)> = Vec::new();
    for run in stories().into_iter().flat_map(|story| story.runs) {
        let done = run.done.map_or_else(String::new, |stage| format!(", {stage} done"));
        let lane = if run.entry.is_some() { ", in the lane" } else { "" };
        let cancelled = if run.cancel.is_some() { ", cancelled" } else { "" };
        let name = format!("{}, {}{done}{lane}{cancelled}", run.state, phase_name(&run.phase));
        if !situations.iter().any(|(known, _)| *known == name) {
            situations.push((name, run));
        }
    }
    situations
}

fn is_legal(run: &Run, event: &Event) -> bool {
    let place = Place { run_id: run.id, seq: run.seq + 1, at_ms: NOW_MS };
    evolve(Some(run.clone()), place, event).is_ok()
}

#[test]
fn every_state_is_among_the_situations() {
    let found: Vec<RunState> = every_situation().iter().map(|(_, run)| run.state).collect();
    for state in RunState::ALL {
        assert!(found.contains(&state), "{state} is missing");
    }
}

#[test]
fn each_event_is_legal_just_where_the_table_says() {
    let mut table = String::new();
    let events = every_event();
    for (name, run) in every_situation() {
        table += &format!("{name}\n");
        for event in events.iter().filter(|event| is_legal(&run, event)) {
            table += &format!("    {}\n", describe(event));
        }
    }
    same_as_file("legal_moves.txt", &table);
}

#[test]
fn no_event_but_the_first_can_be_first_and_it_cannot_come_again() {
    for event in every_event() {
        let place = Place { run_id: run_id(1), seq: 1, at_ms: NOW_MS };
        let begins = evolve(None, place, &event).is_ok();
        assert_eq!(begins, matches!(event, Event::RunStarted { .. }), "{}", event.name());
    }
    for (name, run) in every_situation() {
        assert!(!is_legal(&run, &every_event()[0]), "{name}");
    }
}

#[test]
fn a_run_does_not_go_live_without_its_switch_nor_test_without_its_checkout() {
    let smoked = running(Stage::GoLive);
    let ready =
        smoked.runs.iter().rev().find(|run| run.done == Some(Stage::Smoke) && run.phase == Phase::Ready);
    let public = Event::StageStarted { stage: Stage::PublicSmoke, attempt: 1, deadline_ms: NOW_MS };
    assert!(!is_legal(ready.expect("smoke was concluded"), &public));
    let pushed = &running(Stage::Checkout).runs[0];
    let test = Event::StageStarted { stage: Stage::Test, attempt: 1, deadline_ms: NOW_MS };
    assert!(!is_legal(pushed, &test));
}

#[test]
fn an_event_out_of_order_or_of_another_run_is_illegal() {
    let story = running(Stage::Test);
    let event = Event::StageFailed {
        stage: Stage::Test,
        attempt: 1,
        failure: landfall_engine::core::facts::Failure::new("red"),
        took_ms: 1,
        output: None,
    };
    let run = story.run().clone();
    for (seq, id) in [(run.seq, run.id), (run.seq + 2, run.id), (run.seq + 1, run_id(2))] {
        let place = Place { run_id: id, seq, at_ms: NOW_MS };
        assert!(evolve(Some(run.clone()), place, &event).is_err());
    }
    let place = Place { run_id: run.id, seq: run.seq + 2, at_ms: NOW_MS };
    let illegal = evolve(Some(run), place, &event).expect_err("it is out of order");
    assert_eq!(
        illegal.to_string(),
        format!(
            "run {}, event 6: stage_failed is not a legal move from Pushed, working on test (attempt 1)",
            run_id(1)
        )
    );
}

#[test]
fn no_stage_that_needs_the_lane_begins_outside_it_whatever_was_decided() {
    let outside = running(Stage::PushImage).when(green(Stage::PushImage)).run().clone();
    let after = |run: Run, event: &Event| {
        let place = Place { run_id: run.id, seq: run.seq + 1, at_ms: NOW_MS };
        evolve(Some(run), place, event).expect("a legal move")
    };
    for stage in Stage::ALL.into_iter().filter(|stage| stage.needs_lane()) {
        for attempt in 0..3 {
            let at = Blocked::Stage { stage, attempt };
            let parked = after(outside.clone(), &Event::RunParked { at, reason: "no".into() });
            let retried = after(parked, &Event::RunUnparked { decision: Decision::Retry });
            let begun = Event::StageStarted { stage, attempt: attempt + 1, deadline_ms: NOW_MS };
            assert!(!is_legal(&retried, &begun), "{stage}/{}", attempt + 1);
        }
    }
}

#[test]
fn nothing_moves_a_closed_run() {
    let live = running(Stage::PublicSmoke).when(green(Stage::PublicSmoke));
    assert!(live.run().is_closed());
    assert!(!every_event().iter().any(|event| is_legal(live.run(), event)));
}

fn describe(event: &Event) -> String {
    let detail = match event {
        Event::StageStarted { stage, attempt, .. }
        | Event::StageSucceeded { stage, attempt, .. }
        | Event::StageFailed { stage, attempt, .. }
        | Event::StageRecovered { stage, attempt, .. }
        | Event::StageUndone { stage, attempt }
        | Event::UndoRecovered { stage, attempt } => format!(" {stage}/{attempt}"),
        Event::StageErrored { stage, attempt, retry_due_ms, .. } => {
            format!(" {stage}/{attempt} {}", if retry_due_ms.is_some() { "retried" } else { "given up" })
        }
        Event::StageSkipped { stage, .. } => format!(" {stage}"),
        Event::RollbackStarted { attempt, .. }
        | Event::RollbackRecovered { attempt }
        | Event::RollbackSucceeded { attempt, .. }
        | Event::RollbackErrored { attempt, .. } => format!(" {attempt}"),
        Event::RunParked { at, .. } => format!(" at {at:?}"),
        Event::RunUnparked { decision } => format!(" {decision:?}"),
        Event::RunFailed { cause } => format!(" {cause:?}"),
        _ => String::new(),
    };
    format!("{}{detail}", event.name())
}
