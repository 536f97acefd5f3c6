//! A run's history, checked and laid out as the execution table and the variable tracker.
//!
//! It folds the recorded events through the same table of legal moves that drove the run. There is no
//! store, no executor and no clock here: an audit can change nothing.

use serde::Serialize;

use crate::core::event::{Cause, Envelope, Event, Origin};
use crate::core::evolve::evolve;
use crate::core::facts::Facts;
use crate::core::notice::Audience;
use crate::core::run::{Run, RunId, RunState};
use crate::core::stage::Stage;
use crate::driver::place_of;
use crate::wording::{doing, failing, short_sha};

pub use crate::wording::{cause_in_words, finding, seconds, short_digest};

/// A run's history, checked and laid out.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Replay {
    /// The run after the last event that fits; None when not even the first one does.
    pub run: Option<Run>,
    /// What triggered it, and who.
    pub trigger: String,
    /// How many events were folded.
    pub events: u64,
    /// When the last of them was recorded, in milliseconds since 1970.
    pub last_at_ms: u64,
    /// The ten rows.
    pub rows: Vec<Row>,
    /// The four variables.
    pub tracker: Tracker,
    /// Retries, restarts, cancels and notices, in order.
    pub notes: Vec<String>,
    /// What does not verify; empty when everything does.
    pub problems: Vec<String>,
}

/// One row of the execution table, with what really happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Row {
    /// 1 to 10.
    pub number: u8,
    /// What was to be done.
    pub action: String,
    /// What really happened; "–" when it did not come to that.
    pub result: String,
    /// What came next.
    pub next: String,
    /// The state afterwards, when the row is one that ends in a state.
    pub state: Option<RunState>,
    /// When it was concluded, in milliseconds since 1970.
    pub at_ms: Option<u64>,
    /// How it went.
    pub mark: Mark,
}

/// How a row went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// It did not come to that.
    NotReached,
    /// Begun, and not concluded.
    Begun,
    /// Green.
    Passed,
    /// Red.
    Failed,
    /// A person let it pass.
    Skipped,
}

/// The columns of the variable tracker.
pub const COLUMNS: [&str; 5] = ["Start", "After 2", "After 4", "After 6", "Final"];

/// Four variables, at the start, after rows 2, 4 and 6, and at the end.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Tracker {
    /// The commit, and the digest once there is one.
    pub code_version: [String; 5],
    /// N/A, Pass, Fail.
    pub test_status: [String; 5],
    /// Not deployed, Deployed, Live, Rolled back.
    pub deployment_status: [String; 5],
    /// N/A, Pass, Fail.
    pub smoke_test_status: [String; 5],
}

/// Replays a history, up to and including event `until` when that is given.
pub fn replay(envelopes: &[Envelope], until: Option<u64>) -> Replay {
    let mut fold = Fold::new();
    let mut run = None;
    let wanted = envelopes.iter().filter(|envelope| until.is_none_or(|until| envelope.seq <= until));
    for envelope in wanted {
        match evolve(run.take(), place_of(envelope), &envelope.event) {
            Ok(next) => {
                fold.take(&next, envelope);
                run = Some(next);
            }
            Err(illegal) => {
                fold.problems.push(illegal.to_string());
                break;
            }
        }
    }
    if run.is_none() && fold.problems.is_empty() {
        fold.problems.push("there are no events".into());
    }
    fold.finish(run)
}

const NOT_REACHED: &str = "–";

/// What each row is called, and what comes after it when it is green.
const ROWS: [(&str, &str, Option<RunState>); 8] = [
    ("Code pushed to repo", "Run tests", Some(RunState::Pushed)),
    ("Run tests", "Build Docker image", Some(RunState::Tested)),
    ("Build Docker image", "Push image to registry", Some(RunState::Built)),
    ("Push image to registry", "Trigger CD pipeline", Some(RunState::ImagePushed)),
    ("Trigger CD pipeline", "Deploy to server", None),
    ("Deploy to server", "Run smoke tests", Some(RunState::Deployed)),
    ("Run smoke tests", "Release live", Some(RunState::Smoked)),
    ("Release live", "End", Some(RunState::Live)),
];

/// Returns the row that a stage belongs to.
pub const fn row_of(stage: Stage) -> u8 {
    match stage {
        Stage::Checkout | Stage::Test => 2,
        Stage::Build => 3,
        Stage::PushImage => 4,
        Stage::ReleaseCommand | Stage::Deploy => 6,
        Stage::Smoke => 7,
        Stage::GoLive | Stage::PublicSmoke => 8,
    }
}

/// Returns the stage whose green end concludes the row.
const fn concludes(stage: Stage) -> bool {
    !matches!(stage, Stage::Checkout | Stage::ReleaseCommand | Stage::GoLive | Stage::PublicSmoke)
}

struct Fold {
    rows: Vec<Row>,
    trigger: String,
    events: u64,
    last_at_ms: u64,
    columns: [Option<Variables>; 5],
    variables: Variables,
    notes: Vec<String>,
    problems: Vec<String>,
    red_stage: Option<Stage>,
    told: Vec<String>,
}

#[derive(Clone)]
struct Variables {
    code: String,
    tests: &'static str,
    deployment: &'static str,
    smoke: &'static str,
}

impl Fold {
    fn new() -> Self {
        let rows = ROWS.iter().zip(1..).map(|((action, ..), number)| Row {
            number,
            action: (*action).to_owned(),
            result: NOT_REACHED.into(),
            next: NOT_REACHED.into(),
            state: None,
            at_ms: None,
            mark: Mark::NotReached,
        });
        Self {
            rows: rows.collect(),
            trigger: String::new(),
            events: 0,
            last_at_ms: 0,
            columns: [const { None }; 5],
            variables: Variables {
                code: String::new(),
                tests: "N/A",
                deployment: "Not deployed",
                smoke: "N/A",
            },
            notes: Vec::new(),
            problems: Vec::new(),
            red_stage: None,
            told: Vec::new(),
        }
    }

    /// Takes in one event that fits, and the run after it.
    fn take(&mut self, run: &Run, envelope: &Envelope) {
        self.events += 1;
        self.last_at_ms = envelope.recorded_at_ms;
        let at_ms = envelope.recorded_at_ms;
        match &envelope.event {
            Event::RunStarted { origin, trigger, .. } => self.started(run, origin, trigger, envelope),
            // What row 2 found is taken over, and its files alone are laid out again.
            Event::StageStarted { stage: Stage::Checkout, .. } if run.owes_files() => {}
            Event::StageStarted { stage, attempt, .. } => {
                let row = row_of(*stage);
                let retry = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
                self.set(row, Mark::Begun, format!("{} is going on{retry}", doing(*stage)), None);
            }
            Event::StageRecovered { stage, found, .. } => {
                let found = match found {
                    crate::core::event::Found::NotStarted => "had not begun; it was done then",
                    crate::core::event::Found::Running => "was still going on; it was followed to its end",
                    crate::core::event::Found::Done => "had ended; its outcome was read",
                    crate::core::event::Found::Unknown => "could not be told",
                };
                self.notes.push(format!("event {}: the engine restarted: {stage} {found}", envelope.seq));
            }
            Event::StageSucceeded { stage, facts, took_ms, .. } => {
                self.succeeded(run, *stage, facts, *took_ms, at_ms);
            }
            Event::StageFailed { stage, failure, .. } => {
                self.red(run, *stage, &failure.reason, at_ms);
            }
            Event::StageErrored { stage, attempt, reason, retry_due_ms } => {
                let then =
                    if retry_due_ms.is_some() { "it was tried again" } else { "it was not tried again" };
                self.notes.push(format!(
                    "event {}: attempt {attempt} of {stage} gave no answer: {reason}; {then}",
                    envelope.seq
                ));
                if retry_due_ms.is_none() {
                    self.set(
                        row_of(*stage),
                        Mark::Failed,
                        format!("{} gave no answer: {reason}", doing(*stage)),
                        Some(at_ms),
                    );
                }
            }
            Event::StageUndone { stage, .. } => {
                self.set(row_of(*stage), Mark::Failed, "cancelled".into(), Some(at_ms))
            }
            Event::UndoRecovered { stage, .. } => {
                self.notes.push(format!(
                    "event {}: the engine restarted: {stage} was not undone yet",
                    envelope.seq
                ));
            }
            Event::RollbackRecovered { .. } => {
                self.notes.push(format!(
                    "event {}: the engine restarted: the rollback had no outcome",
                    envelope.seq
                ));
            }
            Event::NoticeRecovered { notice, .. } => {
                self.notes.push(format!(
                    "event {}: the engine restarted: whether {} got the notice by {} was not known",
                    envelope.seq, notice.audience, notice.channel
                ));
            }
            Event::StageSkipped { stage, reason } => {
                let result = format!("skipped by {}: {reason}", envelope.actor);
                self.set(row_of(*stage), Mark::Skipped, result, Some(at_ms));
                self.mark_column(*stage);
            }
            Event::ApprovalRequested { until_ms } => {
                let until = crate::timeline::timestamp(*until_ms);
                self.set(5, Mark::Begun, format!("Waits for an approval until {until}"), None);
                self.notes.push(format!("event {}: an approval is asked for, until {until}", envelope.seq));
            }
            Event::RunApproved => {
                self.told.clear();
                self.set(5, Mark::Begun, format!("Approved by {}", envelope.actor), None);
                self.notes.push(format!("event {}: {} approved the deploy", envelope.seq, envelope.actor));
            }
            Event::RunRejected { reason } => {
                let result = format!("Rejected by {}: {reason}", envelope.actor);
                self.set(5, Mark::Failed, result, Some(at_ms));
                self.notes.push(format!(
                    "event {}: {} rejected the deploy: {reason}",
                    envelope.seq, envelope.actor
                ));
            }
            Event::DeploymentStarted { replaces, generation, .. } => {
                let replaces = replaces.as_ref().map_or_else(
                    || "first release".to_owned(),
                    |release| format!("replaces {}", release.commit.short()),
                );
                let result = format!("Deployment started (generation {generation}, {replaces})");
                self.set(5, Mark::Passed, result, Some(at_ms));
            }
            Event::CancelRequested { reason } => {
                self.notes
                    .push(format!("event {}: {} cancelled the run: {reason}", envelope.seq, envelope.actor));
            }
            Event::RollbackStarted { attempt, cause, .. } => self.rolling_back(*attempt, cause),
            Event::RollbackSucceeded { serving, proof, hold, .. } => {
                let serving = serving.as_deref().map_or_else(
                    || "nothing serves, as before".to_owned(),
                    |digest| format!("{} serves again", short_digest(digest)),
                );
                self.variables.deployment = "Rolled back";
                self.set(10, Mark::Passed, format!("Deployment rolled back: {serving}"), Some(at_ms));
                self.rows[9].next = "End".into();
                self.rows[9].state = Some(RunState::RolledBack);
                self.notes.push(format!("event {}: proof of the rollback: {proof}", envelope.seq));
                if let Some(hold) = hold {
                    self.notes.push(format!(
                        "event {}: commit {} is held",
                        envelope.seq,
                        short_sha(&hold.sha)
                    ));
                }
            }
            Event::RollbackErrored { attempt, reason, .. } => {
                self.notes
                    .push(format!("event {}: attempt {attempt} of the rollback: {reason}", envelope.seq));
            }
            Event::RunParked { reason, .. } => {
                self.told.clear();
                self.notes.push(format!("event {}: parked: {reason}", envelope.seq));
            }
            Event::RunUnparked { decision } => {
                self.told.clear();
                self.notes.push(format!("event {}: {} decided: {decision:?}", envelope.seq, envelope.actor));
            }
            Event::RunLive { .. } => {
                self.variables.deployment = "Live";
                let checked = std::mem::take(&mut self.rows[7].result);
                let result = format!("App live with new version ({checked})");
                self.set(8, Mark::Passed, result, Some(at_ms));
            }
            Event::RunFailed { cause } => self.stopped(run, cause, at_ms),
            Event::NoticeSent { notice, receipt } => {
                self.notes.push(format!(
                    "event {}: {} notified by {}: {receipt}",
                    envelope.seq, notice.audience, notice.channel
                ));
                self.told.push(format!("{} notified by {}", notice.audience, notice.channel));
            }
            Event::NoticeErrored { notice, attempt, reason, retry_due_ms } => {
                self.notes.push(format!(
                    "event {}: attempt {attempt} to notify {} by {} failed: {reason}",
                    envelope.seq, notice.audience, notice.channel
                ));
                if retry_due_ms.is_none() {
                    self.told
                        .push(format!("{} could not be notified by {}", notice.audience, notice.channel));
                }
            }
            Event::NoticeStarted { .. } | Event::RunClosed | Event::Ledger(_) => {}
        }
        self.variables.code = code_version(run);
    }

    fn started(&mut self, run: &Run, origin: &Origin, trigger: &str, envelope: &Envelope) {
        self.trigger = format!("{trigger} by {}", envelope.actor);
        let commit = run.commit();
        match origin {
            Origin::Push { .. } => {
                let result =
                    format!("CI pipeline triggered ({trigger}, {} {:?})", commit.short(), commit.subject);
                self.set(1, Mark::Passed, result, Some(envelope.recorded_at_ms));
            }
            Origin::Release { release, reason, .. } => {
                let result = format!("Release of run {} asked for again: {reason}", release.run);
                self.set(1, Mark::Passed, result, Some(envelope.recorded_at_ms));
                self.taken_over(run, release.run);
                self.variables.tests = "Pass";
            }
            Origin::Promotion { from, release, reason, .. } => {
                let result = format!("Release of run {} promoted from {from}: {reason}", release.run);
                self.set(1, Mark::Passed, result, Some(envelope.recorded_at_ms));
                self.taken_over(run, release.run);
                self.variables.tests = "Pass";
            }
            Origin::Rerun(rerun) => {
                let result = format!("Run {} asked for again from {} on ({trigger})", rerun.of, rerun.from);
                self.set(1, Mark::Passed, result, Some(envelope.recorded_at_ms));
                self.taken_over(run, rerun.of);
                if run.tests.is_some() {
                    self.variables.tests = "Pass";
                }
            }
        }
        self.variables.code = code_version(run);
        self.columns[0] = Some(self.variables.clone());
        let behind = |state| RunState::ALL.into_iter().position(|known| known == state);
        for (column, state) in [(1, RunState::Tested), (2, RunState::ImagePushed)] {
            if behind(run.state) >= behind(state) {
                self.columns[column] = Some(self.variables.clone());
            }
        }
    }

    /// Marks the rows that a former run did for this one.
    fn taken_over(&mut self, run: &Run, by: RunId) {
        let done = run.done.map_or(1, row_of);
        for row in 2..=done.min(4) {
            self.set(row, Mark::Skipped, format!("done by run {by}"), None);
        }
        if done > 1 {
            let next = ROWS.get(usize::from(done.min(4))).map_or("", |(action, ..)| *action);
            self.rows[0].next = next.into();
            self.rows[0].state = Some(run.state);
        }
    }

    fn succeeded(&mut self, run: &Run, stage: Stage, facts: &Facts, took_ms: u64, at_ms: u64) {
        if stage == Stage::Checkout && run.done > Some(Stage::Checkout) {
            return;
        }
        let result = finding(facts);
        match stage {
            Stage::Test => self.variables.tests = "Pass",
            Stage::Deploy => self.variables.deployment = "Deployed",
            Stage::Smoke => self.variables.smoke = "Pass",
            _ => {}
        }
        let row = row_of(stage);
        if concludes(stage) {
            self.set(row, Mark::Passed, format!("{result} in {}", seconds(took_ms)), Some(at_ms));
        } else {
            self.set(row, Mark::Begun, result, None);
        }
        self.variables.code = code_version(run);
        self.mark_column(stage);
    }

    fn red(&mut self, run: &Run, stage: Stage, reason: &str, at_ms: u64) {
        match stage {
            Stage::Test => self.variables.tests = "Fail",
            Stage::Smoke | Stage::PublicSmoke => self.variables.smoke = "Fail",
            _ => {}
        }
        self.red_stage = Some(stage);
        self.set(row_of(stage), Mark::Failed, format!("{}: {reason}", failing(stage)), Some(at_ms));
        let row = &mut self.rows[usize::from(row_of(stage)) - 1];
        row.next = if run.deploy_begun { "Roll back (10)".into() } else { "Stop (9)".into() };
        self.mark_column(stage);
    }

    fn rolling_back(&mut self, attempt: u32, cause: &Cause) {
        let action = match cause {
            Cause::StageFailed { stage, .. } => format!("{} at {}", failing(*stage), row_of(*stage)),
            other => cause_in_words(other),
        };
        let again = if attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
        self.end_row(10, action);
        self.set(10, Mark::Begun, format!("rollback is going on{again}"), None);
    }

    fn stopped(&mut self, run: &Run, cause: &Cause, at_ms: u64) {
        let (action, result) = match cause {
            Cause::StageFailed { stage, .. } => {
                (format!("{} at {}", failing(*stage), row_of(*stage)), "Pipeline stopped".to_owned())
            }
            other => ("Run ended".to_owned(), format!("Pipeline stopped: {}", cause_in_words(other))),
        };
        self.end_row(9, action);
        self.set(9, Mark::Passed, result, Some(at_ms));
        self.rows[8].next = "End".into();
        self.rows[8].state = Some(run.state);
    }

    /// Makes sure that rows 9 and 10 are there, and names one of them.
    fn end_row(&mut self, number: u8, action: String) {
        while self.rows.len() < usize::from(number) {
            let next = u8::try_from(self.rows.len() + 1).unwrap_or(u8::MAX);
            let action = if next == 9 { "Tests fail at 2" } else { "Smoke fails at 7" };
            self.rows.push(Row {
                number: next,
                action: action.into(),
                result: NOT_REACHED.into(),
                next: NOT_REACHED.into(),
                state: None,
                at_ms: None,
                mark: Mark::NotReached,
            });
        }
        self.rows[usize::from(number) - 1].action = action;
    }

    fn set(&mut self, number: u8, mark: Mark, result: String, at_ms: Option<u64>) {
        let Some(row) = self.rows.get_mut(usize::from(number) - 1) else { return };
        (row.mark, row.result, row.at_ms) = (mark, result, at_ms);
        if let (Mark::Passed | Mark::Skipped, Some((_, next, state))) =
            (mark, ROWS.get(usize::from(number) - 1))
        {
            row.next = (*next).to_owned();
            row.state = *state;
        }
    }

    fn mark_column(&mut self, stage: Stage) {
        let column = match stage {
            Stage::Test => 1,
            Stage::PushImage => 2,
            Stage::Deploy => 3,
            _ => return,
        };
        self.columns[column] = Some(self.variables.clone());
    }

    fn finish(mut self, run: Option<Run>) -> Replay {
        self.end_row(
            10,
            self.rows.get(9).map_or_else(|| "Smoke fails at 7".into(), |row| row.action.clone()),
        );
        let told = if self.told.is_empty() { None } else { Some(self.told.join(", ")) };
        let ending = match run.as_ref().map(|run| run.state) {
            Some(RunState::Failed) => Some((8, Audience::Developer)),
            Some(RunState::RolledBack) => Some((9, Audience::Ops)),
            _ => None,
        };
        if let (Some((row, audience)), Some(run)) = (ending, &run) {
            let nobody = match crate::core::notice::called_for(&closing(run)).is_empty() {
                true => format!("no channel is configured for {audience}"),
                false => format!("{audience} not notified yet"),
            };
            let stopped_by_person = row == 8 && !matches!(run.cause, Some(Cause::StageFailed { .. }));
            if !stopped_by_person {
                let result = format!("{}, {}", self.rows[row].result, told.unwrap_or(nobody));
                self.rows[row].result = result;
            }
        }
        self.columns[4] = Some(self.variables.clone());
        Replay {
            tracker: tracker(&self.columns),
            trigger: self.trigger,
            events: self.events,
            last_at_ms: self.last_at_ms,
            rows: self.rows,
            notes: self.notes,
            problems: self.problems,
            run,
        }
    }
}

/// Returns the run as it was when its notices were still owed.
fn closing(run: &Run) -> Run {
    Run { phase: crate::core::run::Phase::Ended, ..run.clone() }
}

fn tracker(columns: &[Option<Variables>; 5]) -> Tracker {
    let pick = |read: fn(&Variables) -> String| -> [String; 5] {
        std::array::from_fn(|i| columns[i].as_ref().map_or_else(|| NOT_REACHED.to_owned(), read))
    };
    Tracker {
        code_version: pick(|variables| variables.code.clone()),
        test_status: pick(|variables| variables.tests.to_owned()),
        deployment_status: pick(|variables| variables.deployment.to_owned()),
        smoke_test_status: pick(|variables| variables.smoke.to_owned()),
    }
}

fn code_version(run: &Run) -> String {
    let commit = run.commit().short();
    match &run.image {
        Some(image) => format!("{commit} = {}", short_digest(&image.digest)),
        None => commit.to_owned(),
    }
}
