//! Every state with every event: legal or refused, as a table that a person can read.

use crate::sample::*;
use landfall_engine::core::command::{Command, RollbackOutcome};
use landfall_engine::core::event::{Decision, Event, Found};
use landfall_engine::core::evolve::{Place, evolve, phase_name};
use landfall_engine::core::run::RunState;
use landfall_engine::core::stage::Stage;

/// A run in every state, and in every phase that it can have there.
fn every_situation() -> Vec<Story> {
    let cancel = || Command::Cancel { reason: "no".into() };
    let unknown = |stage| Command::Recover { stage, attempt: 1, found: Found::Unknown, evidence: "?".into() };
    let mut situations: Vec<Story> =
        Stage::ALL.into_iter().filter(|stage| *stage != Stage::ReleaseCommand).map(running).collect();
    let in_lane = running(Stage::PushImage).when(green(Stage::PushImage));
    let rolling_back = running(Stage::Smoke).when(red(Stage::Smoke, "503"));
    let errored = RollbackOutcome::Errored { reason: "no".into() };
    let errored = Command::ReportRollback { attempt: 1, outcome: errored, took_ms: 1 };
    let failed = running(Stage::Test).when(red(Stage::Test, "red"));
    let live = running(Stage::PublicSmoke).when(green(Stage::PublicSmoke));
    let cancelled = running(Stage::Checkout).when(cancel()).when(Command::ReportUndone {
        stage: Stage::Checkout,
        attempt: 1,
        error: None,
    });
    situations.extend([
        in_lane,
        running(Stage::Test).when(silent(Stage::Test, 1)),
        running(Stage::Test).when(cancel()),
        running(Stage::Test).when(unknown(Stage::Test)),
        running(Stage::Smoke).when(unknown(Stage::Smoke)),
        running(Stage::Smoke).when(unknown(Stage::Smoke)).when(Command::Resolve(Decision::Retry)),
        rolling_back.clone(),
        rolling_back.clone().when(errored),
        rolling_back.when(rolled_back()),
        failed,
        live,
        cancelled,
    ]);
    situations
}

fn is_legal(story: &Story, event: &Event) -> bool {
    let run = story.run();
    let place = Place { run_id: run.id, seq: run.seq + 1, at_ms: NOW_MS };
    evolve(Some(run.clone()), place, event).is_ok()
}

#[test]
fn every_state_is_among_the_situations() {
    let found: Vec<RunState> = every_situation().iter().map(|story| story.run().state).collect();
    for state in RunState::ALL {
        assert!(found.contains(&state), "{state} is missing");
    }
}

#[test]
fn each_event_is_legal_just_where_the_table_says() {
    let mut table = String::new();
    let events = every_event();
    for story in every_situation() {
        let run = story.run();
        let cancelled = if run.cancel.is_some() { ", cancelled" } else { "" };
        table += &format!("{}, {}{cancelled}\n", run.state, phase_name(&run.phase));
        for event in &events {
            if is_legal(&story, event) {
                table += &format!("    {}\n", describe(event));
            }
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
    for story in every_situation() {
        assert!(!is_legal(&story, &every_event()[0]));
    }
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
fn nothing_moves_a_closed_run() {
    let live = running(Stage::PublicSmoke).when(green(Stage::PublicSmoke));
    assert!(live.run().is_closed());
    assert!(!every_event().iter().any(|event| is_legal(&live, event)));
}

fn describe(event: &Event) -> String {
    let detail = match event {
        Event::StageStarted { stage, attempt, .. }
        | Event::StageSucceeded { stage, attempt, .. }
        | Event::StageFailed { stage, attempt, .. }
        | Event::StageRecovered { stage, attempt, .. }
        | Event::StageUndone { stage, attempt } => format!(" {stage}/{attempt}"),
        Event::StageErrored { stage, attempt, retry_due_ms, .. } => {
            format!(" {stage}/{attempt} {}", if retry_due_ms.is_some() { "retried" } else { "given up" })
        }
        Event::StageSkipped { stage, .. } => format!(" {stage}"),
        Event::RollbackStarted { attempt, .. }
        | Event::RollbackSucceeded { attempt, .. }
        | Event::RollbackErrored { attempt, .. } => format!(" {attempt}"),
        Event::RunParked { at, .. } => format!(" at {at:?}"),
        Event::RunUnparked { decision } => format!(" {decision:?}"),
        Event::RunFailed { cause } => format!(" {cause:?}"),
        _ => String::new(),
    };
    format!("{}{detail}", event.name())
}
