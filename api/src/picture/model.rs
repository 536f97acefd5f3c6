//! What the live picture of a run shows: a fold of its events and of what its stages print.
//!
//! **Invariant:** no clock and no terminal. Whoever draws says what time it is, so a picture of an old run
//! is the picture that was seen then.

use std::collections::VecDeque;

use landfall_engine::Limits;
use landfall_engine::audit::{cause_in_words, row_of, short_digest};
use landfall_engine::core::event::{Envelope, Event, Found, HeldCommit, Origin};
use landfall_engine::core::evolve::{Place, evolve};
use landfall_engine::core::facts::{Facts, Failure, Guess};
use landfall_engine::core::run::{Blocked, Phase, Run, RunState};
use landfall_engine::core::stage::Stage;
use landfall_engine::timeline::timestamp;

use super::words::{doing, fact, origin_in_words};
use crate::usual::Usual;

/// How many of the last lines of output are kept: enough to see that something moves, few enough that
/// the eight steps stay in view.
pub const TAIL_MAX: usize = 6;

/// The titles of the eight steps of the execution table.
pub const TITLES: [&str; 8] = [
    "Code pushed",
    "Run tests",
    "Build image",
    "Push image",
    "Trigger CD",
    "Deploy",
    "Smoke tests",
    "Release live",
];

/// How a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Its turn has not come.
    Waiting,
    /// It is going on, or waits to be tried again.
    Running,
    /// Green.
    Done,
    /// Red, or given up.
    Failed,
    /// It was green and is undone.
    Undone,
    /// A person let it pass, or another run did it.
    Skipped,
    /// It waits for a person.
    Parked,
}

/// One line of the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// How it stands.
    pub mark: Mark,
    /// When it began, in milliseconds since 1970.
    pub began_ms: Option<u64>,
    /// When it was concluded, in milliseconds since 1970.
    pub ended_ms: Option<u64>,
    /// What is to be known about it, in a few words.
    pub fact: String,
    /// When it is tried again, and which try that is.
    pub retry: Option<Retry>,
}

/// A try that waits for its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Which try that will be.
    pub attempt: u32,
    /// When, in milliseconds since 1970.
    pub due_ms: u64,
}

/// How a rollback ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Undone {
    /// The digest that was seen serving.
    pub serving: Option<String>,
    /// How it was proved.
    pub proof: String,
    /// The hold on the commit.
    pub hold: Option<HeldCommit>,
}

/// What the live picture of a run shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// The run as folded so far.
    pub run: Option<Run>,
    /// The eight steps.
    pub steps: [Step; 8],
    /// The rollback, once there is one.
    pub rollback: Option<Step>,
    /// The last lines of what is running.
    pub tail: VecDeque<String>,
    /// The last stage that said no, and why.
    pub failure: Option<(Stage, Failure)>,
    /// How the rollback ended.
    pub undone: Option<Undone>,
    /// The public address, once traffic was switched to it.
    pub address: Option<String>,
    /// Who was told, and who could not be.
    pub notices: Vec<String>,
    /// When the last event was recorded, in milliseconds since 1970.
    pub last_ms: u64,
    /// How long the run may become before it begins no more stages.
    pub run_events_max: u64,
    /// What the configuration did not say and the source did.
    pub guesses: Vec<Guess>,
    /// How long the steps take in this lane as a rule. What is not known is not shown.
    pub usual: Usual,
}

impl Default for Picture {
    fn default() -> Self {
        Self {
            run: None,
            steps: std::array::from_fn(|_| Step::waiting()),
            rollback: None,
            tail: VecDeque::new(),
            failure: None,
            undone: None,
            address: None,
            notices: Vec::new(),
            last_ms: 0,
            run_events_max: Limits::default().run_events_max,
            guesses: Vec::new(),
            usual: Usual::default(),
        }
    }
}

impl Step {
    const fn waiting() -> Self {
        Self { mark: Mark::Waiting, began_ms: None, ended_ms: None, fact: String::new(), retry: None }
    }

    fn begin(&mut self, at_ms: u64, fact: impl Into<String>) {
        self.mark = Mark::Running;
        self.began_ms.get_or_insert(at_ms);
        self.ended_ms = None;
        self.retry = None;
        self.fact = fact.into();
    }

    fn end(&mut self, mark: Mark, at_ms: u64, fact: impl Into<String>) {
        self.mark = mark;
        self.ended_ms = Some(at_ms);
        self.retry = None;
        self.fact = fact.into();
    }

    fn retry(&mut self, attempt: u32, due_ms: Option<u64>, at_ms: u64, reason: &str) {
        match due_ms {
            Some(due_ms) => {
                self.fact = reason.to_owned();
                self.retry = Some(Retry { attempt: attempt + 1, due_ms });
            }
            None => self.end(Mark::Failed, at_ms, reason),
        }
    }
}

impl Picture {
    /// Takes in one event. One that does not fit its run is shown as far as it goes; `landfall replay`
    /// is what judges histories.
    pub fn take(&mut self, envelope: &Envelope) {
        let Envelope { run_id, seq, recorded_at_ms: at_ms, event, .. } = envelope;
        let place = Place { run_id: *run_id, seq: *seq, at_ms: *at_ms };
        if let Ok(run) = evolve(self.run.clone(), place, event) {
            self.run = Some(run);
        }
        self.last_ms = *at_ms;
        self.show(*at_ms, event);
    }

    /// Takes in one line that the running stage printed.
    pub fn print(&mut self, line: &str) {
        if self.tail.len() == TAIL_MAX {
            self.tail.pop_front();
        }
        self.tail.push_back(super::text::harmless(line));
    }

    /// Returns how the run ended: its terminal state, or none while it is open or parked.
    pub fn ending(&self) -> Option<RunState> {
        self.run.as_ref().map(|run| run.state).filter(|state| state.is_terminal())
    }

    /// Tells whether the run waits for a person.
    pub fn is_parked(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.parked().is_some())
    }

    fn show(&mut self, at_ms: u64, event: &Event) {
        match event {
            Event::RunStarted { origin, .. } => self.started(at_ms, origin),
            Event::StageStarted { stage, attempt, .. } => {
                self.tail.clear();
                self.failure = None;
                let again = if *attempt > 1 { format!("attempt {attempt}") } else { String::new() };
                let fact = [doing(*stage), &again].into_iter().filter(|part| !part.is_empty());
                let fact = fact.collect::<Vec<_>>().join(", ");
                self.step(*stage).begin(at_ms, fact);
            }
            Event::StageRecovered { stage, found, .. } => {
                let found = match found {
                    Found::NotStarted => "after a restart: done now",
                    Found::Running => "after a restart: it was still going on",
                    Found::Done => "after a restart: it had ended",
                    Found::Unknown => "after a restart: it can't be told what became of it",
                };
                self.step(*stage).fact = found.into();
            }
            Event::StageSucceeded { stage, facts, .. } => self.succeeded(at_ms, *stage, facts),
            Event::StageFailed { stage, failure, .. } => {
                self.step(*stage).end(Mark::Failed, at_ms, &failure.reason);
                self.failure = Some((*stage, failure.clone()));
                self.tail.clear();
            }
            Event::StageErrored { stage, attempt, reason, retry_due_ms } => {
                self.step(*stage).retry(*attempt, *retry_due_ms, at_ms, reason);
            }
            Event::StageUndone { stage, .. } => self.step(*stage).end(Mark::Failed, at_ms, "stopped"),
            Event::UndoRecovered { stage, .. } => {
                self.step(*stage).fact = "after a restart: stopped again".into();
            }
            Event::RollbackRecovered { .. } => {
                self.rollback().fact = "after a restart: done again".into();
            }
            Event::StageSkipped { stage, reason } => {
                self.step(*stage).end(Mark::Skipped, at_ms, format!("skipped: {reason}"));
            }
            Event::ApprovalRequested { until_ms } => {
                self.steps[4].begin(at_ms, format!("waits to be approved, until {}", timestamp(*until_ms)));
            }
            Event::RunApproved => self.steps[4].fact = "approved, waits for the lane".into(),
            Event::RunRejected { reason } => {
                self.steps[4].end(Mark::Failed, at_ms, format!("rejected: {reason}"));
            }
            Event::DeploymentStarted { replaces, .. } => {
                let fact = match replaces {
                    Some(release) => format!("to replace {}", release.commit.short()),
                    None => "the first release".into(),
                };
                self.steps[4].began_ms.get_or_insert(at_ms);
                self.steps[4].end(Mark::Done, at_ms, fact);
            }
            Event::RollbackStarted { attempt, cause, .. } => {
                self.tail.clear();
                self.cut_short(at_ms, &cause_in_words(cause));
                let fact = if *attempt > 1 { format!("attempt {attempt}") } else { String::new() };
                self.rollback().begin(at_ms, fact);
            }
            Event::RollbackSucceeded { serving, proof, hold, .. } => self.rolled_back(
                at_ms,
                Undone { serving: serving.clone(), proof: proof.clone(), hold: hold.clone() },
            ),
            Event::RollbackErrored { attempt, reason, retry_due_ms } => {
                self.rollback().retry(*attempt, *retry_due_ms, at_ms, reason);
            }
            Event::RunParked { at, reason } => {
                self.tail.clear();
                self.blocked(*at).end(Mark::Parked, at_ms, reason);
            }
            Event::RunUnparked { .. } => self.unparked(at_ms),
            Event::RunLive { .. } => {
                let fact = self.address.clone().unwrap_or_default();
                self.steps[7].end(Mark::Done, at_ms, fact);
                self.tail.clear();
            }
            Event::RunFailed { cause } => self.cut_short(at_ms, &cause_in_words(cause)),
            Event::NoticeSent { notice, .. } => {
                self.notices.push(format!("{} told by {}", notice.audience, notice.channel));
            }
            Event::NoticeErrored { notice, reason, retry_due_ms: None, .. } => self
                .notices
                .push(format!("{} could not be told by {}: {reason}", notice.audience, notice.channel)),
            Event::NoticeErrored { .. }
            | Event::NoticeStarted { .. }
            | Event::NoticeRecovered { .. }
            | Event::CancelRequested { .. }
            | Event::RunClosed
            | Event::Ledger(_) => {}
        }
    }

    fn started(&mut self, at_ms: u64, origin: &Origin) {
        match origin {
            Origin::Push { commit, .. } => {
                self.steps[0].begin(at_ms, "");
                self.steps[0].end(
                    Mark::Done,
                    at_ms,
                    origin_in_words(commit.branch.as_deref(), &commit.author),
                );
            }
            Origin::Release { release, .. } => {
                self.steps[0].begin(at_ms, "");
                self.steps[0].end(Mark::Done, at_ms, format!("release of run {}", release.run.short()));
                self.taken_over(at_ms);
            }
            Origin::Promotion { from, release, .. } => {
                self.steps[0].begin(at_ms, "");
                let fact = format!("release of run {}, from {}", release.run.short(), from.env);
                self.steps[0].end(Mark::Done, at_ms, fact);
                self.taken_over(at_ms);
            }
            Origin::Rerun(rerun) => {
                self.steps[0].begin(at_ms, "");
                let fact = format!("run {} again, from {} on", rerun.of.short(), rerun.from);
                self.steps[0].end(Mark::Done, at_ms, fact);
                self.taken_over(at_ms);
            }
        }
    }

    /// Marks the steps that a former run did for this one.
    fn taken_over(&mut self, at_ms: u64) {
        let done = self.run.as_ref().and_then(|run| run.done).map_or(1, row_of);
        for step in &mut self.steps[1..usize::from(done.min(4))] {
            step.end(Mark::Skipped, at_ms, "done by that run");
        }
        if done >= 4 {
            self.steps[4].begin(at_ms, WAITS_FOR_LANE);
        }
    }

    fn succeeded(&mut self, at_ms: u64, stage: Stage, facts: &Facts) {
        let fact = fact(facts);
        match facts {
            // More of the same step is to come.
            Facts::Checkout(checkout) => {
                self.guesses.clone_from(&checkout.guesses);
                self.step(stage).fact = fact;
            }
            Facts::ReleaseCommand => self.step(stage).fact = fact,
            Facts::GoLive(switched) => {
                self.address = Some(switched.address.clone());
                self.step(stage).fact = fact;
            }
            Facts::PublicSmoke(_) => self.step(stage).fact = fact,
            Facts::PushImage(_) => {
                self.step(stage).end(Mark::Done, at_ms, fact);
                self.steps[4].begin(at_ms, WAITS_FOR_LANE);
            }
            Facts::Test(_) | Facts::Build(_) | Facts::Deploy(_) | Facts::Smoke(_) => {
                self.step(stage).end(Mark::Done, at_ms, fact);
            }
        }
        self.tail.clear();
    }

    fn rolled_back(&mut self, at_ms: u64, undone: Undone) {
        let fact = match &undone.serving {
            Some(digest) => format!("{} serves again", short_digest(digest)),
            None => "nothing serves, as before".into(),
        };
        self.rollback().end(Mark::Undone, at_ms, fact);
        for step in &mut self.steps[5..] {
            if step.mark == Mark::Done {
                step.mark = Mark::Undone;
            }
        }
        self.undone = Some(undone);
        self.tail.clear();
    }

    fn unparked(&mut self, at_ms: u64) {
        let steps = self.steps.iter_mut().chain(&mut self.rollback);
        for step in steps.filter(|step| step.mark == Mark::Parked) {
            step.begin(at_ms, "");
        }
    }

    /// Ends what was going on when the run was stopped for another reason than a red stage.
    fn cut_short(&mut self, at_ms: u64, why: &str) {
        for step in &mut self.steps {
            if step.mark == Mark::Running || step.mark == Mark::Parked {
                step.end(Mark::Failed, at_ms, why);
            }
        }
    }

    fn blocked(&mut self, at: Blocked) -> &mut Step {
        match at {
            Blocked::Stage { stage, .. } => self.step(stage),
            Blocked::Rollback { .. } => self.rollback(),
        }
    }

    fn rollback(&mut self) -> &mut Step {
        self.rollback.get_or_insert(Step::waiting())
    }

    fn step(&mut self, stage: Stage) -> &mut Step {
        &mut self.steps[usize::from(row_of(stage)) - 1]
    }

    /// Returns the stage whose attempt is in flight.
    pub fn stage_in_flight(&self) -> Option<Stage> {
        match self.run.as_ref().map(|run| &run.phase) {
            Some(Phase::Working(work)) => Some(work.stage),
            _ => None,
        }
    }
}

const WAITS_FOR_LANE: &str = "waits until no other run deploys here";
