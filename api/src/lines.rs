//! A run told line by line, for where nothing can be redrawn: a pusher's terminal, a pipe, a CI log.
//!
//! ```text
//! Envelope ──▶ EventLines ──▶ "[2] ✓ Tests pass: 12 passed (640 ms)"
//! ```
//!
//! **Invariant:** the lines follow from the events alone, so a run that is told again years later is told
//! in the same words.

use landfall_engine::audit::{cause_in_words, finding, row_of, seconds, short_digest};
use landfall_engine::core::effect::next_effect;
use landfall_engine::core::event::{Decision, Envelope, Event, Found, HeldCommit, Origin};
use landfall_engine::core::evolve::{Place, evolve};
use landfall_engine::core::facts::{Facts, Failure};
use landfall_engine::core::lane::Release;
use landfall_engine::core::run::Run;
use landfall_engine::core::stage::Stage;
use landfall_engine::timeline::timestamp;

use crate::picture::text::harmless;

/// How many lines of a failing stage's output are told: a traceback's end, and not a whole log.
const TAIL_MAX: usize = 20;
/// How many failing tests are named.
const FAILURES_MAX: usize = 10;
/// What stands before output, so that it is not taken for ours.
const INDENT: &str = "      │ ";

/// Tells a run line by line. Give it every event of one run, in order.
#[derive(Debug, Default)]
pub struct EventLines {
    run: Option<Run>,
    address: Option<String>,
}

impl EventLines {
    /// Returns a teller that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one event and returns what is to be said about it. An event that was told before says nothing.
    pub fn tell(&mut self, envelope: &Envelope) -> Vec<String> {
        if self.run.as_ref().is_some_and(|run| envelope.seq <= run.seq) {
            return Vec::new();
        }
        let Envelope { run_id, seq, recorded_at_ms: at_ms, .. } = *envelope;
        match evolve(self.run.clone(), Place { run_id, seq, at_ms }, &envelope.event) {
            Ok(run) => {
                let lines = self.lines(&run, envelope);
                self.run = Some(run);
                lines.iter().flat_map(|line| line.lines()).map(harmless).collect()
            }
            Err(illegal) => vec![format!("the history does not verify: {illegal}")],
        }
    }

    /// Returns the run after the events that were told; None before the first.
    pub fn run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// Tells whether nothing more happens without a person: the run is closed, or parked or to be approved and its people
    /// told.
    pub fn is_settled(&self) -> bool {
        self.run.as_ref().is_some_and(|run| next_effect(run).is_none_or(|effect| effect.is_a_persons()))
    }

    fn lines(&mut self, run: &Run, envelope: &Envelope) -> Vec<String> {
        match &envelope.event {
            Event::RunStarted { origin, trigger, .. } => vec![started(run, origin, trigger, envelope)],
            Event::StageStarted { stage: Stage::Checkout, attempt: 1, .. } => Vec::new(),
            Event::StageStarted { stage, attempt, .. } => {
                let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
                vec![format!("[{}] {}{again} ...", row_of(*stage), title(*stage))]
            }
            Event::StageRecovered { stage, found, .. } => {
                vec![format!("[{}] the engine restarted: {} {}", row_of(*stage), title(*stage), was(*found))]
            }
            Event::StageSucceeded { stage, facts, took_ms, .. } => {
                if let Facts::GoLive(switched) = facts {
                    self.address = Some(switched.address.clone());
                }
                vec![format!("[{}] ✓ {} ({})", row_of(*stage), finding(facts), seconds(*took_ms))]
            }
            Event::StageFailed { stage, failure, took_ms, .. } => red(*stage, failure, *took_ms),
            Event::StageErrored { stage, reason, retry_due_ms, .. } => {
                let then = match retry_due_ms {
                    Some(due) => {
                        format!("; next try in {}", seconds(due.saturating_sub(envelope.recorded_at_ms)))
                    }
                    None => String::new(),
                };
                vec![format!("[{}] ! {} gave no answer: {reason}{then}", row_of(*stage), title(*stage))]
            }
            Event::StageUndone { stage, .. } => {
                vec![format!("[{}] {} was stopped and cleared away", row_of(*stage), title(*stage))]
            }
            Event::UndoRecovered { stage, .. } => {
                vec![format!("[{}] the engine restarted: {} is stopped again", row_of(*stage), title(*stage))]
            }
            Event::StageSkipped { stage, reason } => {
                let (row, who) = (row_of(*stage), &envelope.actor);
                vec![format!("[{row}] » {} skipped by {who}: {reason}", title(*stage))]
            }
            Event::ApprovalRequested { until_ms } => {
                let (until, id) = (timestamp(*until_ms), run.id.short());
                vec![
                    format!("WAITING, a person must approve the deploy, until {until}"),
                    format!("  landfall approve {id}, or landfall reject {id}"),
                ]
            }
            Event::RunApproved => vec![format!("[5] approved by {}", envelope.actor)],
            Event::RunRejected { reason } => {
                vec![format!("[5] ✗ rejected by {}: {reason}", envelope.actor)]
            }
            Event::DeploymentStarted { replaces, .. } => {
                vec![format!("[5] ✓ Deployment started{}", replacing(replaces.as_deref()))]
            }
            Event::CancelRequested { reason } => vec![format!("cancelled by {}: {reason}", envelope.actor)],
            Event::RollbackStarted { attempt, .. } => {
                let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
                vec![format!("[10] Roll back{again} ...")]
            }
            Event::RollbackRecovered { .. } => {
                vec!["[10] the engine restarted: the rollback is done again".to_owned()]
            }
            Event::RollbackSucceeded { serving, hold, took_ms, .. } => {
                rolled_back(run, serving.as_deref(), hold.as_ref(), *took_ms)
            }
            Event::RollbackErrored { reason, .. } => {
                vec![format!("[10] ! the rollback could not be finished: {reason}")]
            }
            Event::RunParked { reason, .. } => vec![
                format!("PARKED, a person must decide: {reason}"),
                format!("  what is known and what can be done: landfall show {}", run.id.short()),
            ],
            Event::RunUnparked { decision } => {
                let what = match decision {
                    Decision::Retry => "try again".to_owned(),
                    Decision::Skip { reason } => format!("skip it ({reason})"),
                    Decision::Abort { reason } => format!("give up ({reason})"),
                };
                vec![format!("{} decided: {what}", envelope.actor)]
            }
            Event::RunLive { release } => live(run, release, self.address.as_deref(), envelope),
            Event::RunFailed { cause } => vec![
                format!("[9] Pipeline stopped: {}", first_line(&cause_in_words(cause))),
                format!(
                    "FAILED: nothing was deployed, what was live stays live; landfall replay {}",
                    run.id.short()
                ),
            ],
            Event::NoticeStarted { .. }
            | Event::NoticeRecovered { .. }
            | Event::RunClosed
            | Event::Ledger(_) => Vec::new(),
            Event::NoticeSent { notice, .. } => {
                vec![format!("    {} notified by {}", notice.audience, notice.channel)]
            }
            Event::NoticeErrored { notice, reason, retry_due_ms, .. } => {
                let then = if retry_due_ms.is_some() { "it is tried again" } else { "given up" };
                let (who, how) = (notice.audience, &notice.channel);
                vec![format!("    {who} could not be notified by {how}: {reason}; {then}")]
            }
        }
    }
}

fn started(run: &Run, origin: &Origin, trigger: &str, envelope: &Envelope) -> String {
    let commit = run.commit();
    let what = match origin {
        Origin::Push { .. } => format!("{} {:?}", commit.short(), commit.subject),
        Origin::Release { release, .. } => {
            format!("back to {} of run {}", commit.short(), release.run)
        }
        Origin::Promotion { from, release, .. } => {
            format!("{} of run {}, promoted from {from},", commit.short(), release.run)
        }
        Origin::Rerun(rerun) => {
            format!("{} of run {} again, from {} on,", commit.short(), rerun.of, rerun.from)
        }
    };
    format!("[1] ✓ {what} for {}: run {} started ({trigger} by {})", run.lane, run.id, envelope.actor)
}

fn red(stage: Stage, failure: &Failure, took_ms: u64) -> Vec<String> {
    // The first line says what is wrong; the next ones show it.
    let mut reason = failure.reason.lines();
    let first = reason.next().unwrap_or_default();
    let mut lines = vec![format!("[{}] ✗ {}: {first} ({})", row_of(stage), title(stage), seconds(took_ms))];
    lines.extend(reason.map(|line| format!("      {line}")));
    let tests = failure.tests.iter().flat_map(|tests| &tests.first_failures).take(FAILURES_MAX);
    lines.extend(tests.map(|test| format!("      ✗ {}: {}", test.name, test.message)));
    let skipped = failure.tail.len().saturating_sub(TAIL_MAX);
    lines.extend(failure.tail.iter().skip(skipped).map(|line| format!("{INDENT}{line}")));
    lines
}

fn replacing(replaces: Option<&Release>) -> String {
    match replaces {
        Some(release) => format!(", it replaces {}", release.commit.short()),
        None => ", the first of this app".into(),
    }
}

fn live(run: &Run, release: &Release, address: Option<&str>, envelope: &Envelope) -> Vec<String> {
    let took = seconds(envelope.recorded_at_ms.saturating_sub(run.started_ms));
    let at = address.map(|address| format!(" at {address}")).unwrap_or_default();
    let digest = short_digest(&release.image.digest);
    vec![
        "[8] ✓ App live with new version".into(),
        format!("LIVE: {} ({digest}) serves{at}, {took} after the trigger", release.commit.short()),
    ]
}

fn rolled_back(run: &Run, serving: Option<&str>, hold: Option<&HeldCommit>, took_ms: u64) -> Vec<String> {
    let before = run.entry.as_ref().and_then(|entry| entry.replaces.as_ref());
    let serves = match (serving, before) {
        (Some(_), Some(release)) => format!("{} serves, as before", release.commit.short()),
        (Some(digest), None) => format!("{} serves", short_digest(digest)),
        (None, _) => "nothing serves, as before".into(),
    };
    let why = run.cause.as_ref().map(cause_in_words).unwrap_or_default();
    let mut lines = vec![format!("[10] ✓ Deployment rolled back: {serves} ({})", seconds(took_ms))];
    if hold.is_some() {
        lines
            .push(format!("    commit {} is held: it is not deployed again by a push", run.commit().short()));
    }
    lines.push(format!("ROLLED BACK: {}; landfall replay {}", first_line(&why), run.id.short()));
    lines
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Returns what a stage does, in the words of the execution table.
const fn title(stage: Stage) -> &'static str {
    match stage {
        Stage::Checkout => "Check out the commit",
        Stage::Test => "Run tests",
        Stage::Build => "Build Docker image",
        Stage::PushImage => "Push image to registry",
        Stage::ReleaseCommand => "Run the release command",
        Stage::Deploy => "Deploy to server",
        Stage::Smoke => "Run smoke tests",
        Stage::GoLive => "Release live",
        Stage::PublicSmoke => "Smoke-test the public address",
    }
}

const fn was(found: Found) -> &'static str {
    match found {
        Found::NotStarted => "had not begun and is done now",
        Found::Running => "is still going on",
        Found::Done => "had ended",
        Found::Unknown => "may or may not have happened",
    }
}

#[cfg(test)]
mod tests;
