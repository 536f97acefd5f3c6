//! What a person needs to decide about a parked run: what is known, what was tried, what serves, and what each
//! decision leads to.
//!
//! **Invariant:** all of it is read from the log and from what stages printed. Nothing is asked of the world, which may
//! be what is broken.

use std::fmt::Write as _;

use landfall_engine::audit::short_digest;
use landfall_engine::core::effect::stage_behind;
use landfall_engine::core::event::{Envelope, Event, Found};
use landfall_engine::core::lane::Release;
use landfall_engine::core::run::{Blocked, Parked, Run};
use landfall_engine::core::stage::Stage;
use landfall_engine::core::ways::Way;
use landfall_engine::timeline::timestamp;
use landfall_stages::look::{containers_of, things_of};
use serde::Serialize;

use crate::picture::text::harmless;

/// How many of the last lines of the attempt's output are shown. `landfall logs` shows all.
pub const OUTPUT_LINES_MAX: usize = 10;

/// What a person needs to decide about a parked run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// What could not be concluded.
    pub at: Blocked,
    /// Why, with what the probe said.
    pub reason: String,
    /// Each try and what came of it, in order.
    pub tried: Vec<Try>,
    /// The last lines that the last try printed.
    pub output: Vec<String>,
    /// Where to look: kind and name.
    pub look_at: Vec<Thing>,
    /// What users get now.
    pub serves: String,
    /// What can be decided.
    pub decisions: Vec<Choice>,
}

/// Something that happened on the way to being parked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Try {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What.
    pub what: String,
}

/// Something that is concerned.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Thing {
    /// `container`, `image`, `folder`, or `command` for one to paste.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
}

/// Something that can be decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Choice {
    /// `retry`, `skip` or `abort`.
    pub decision: &'static str,
    /// What happens then.
    pub then: String,
    /// The command to paste.
    pub command: String,
}

/// Returns which output has the last try at what could not be concluded: its name and attempt.
pub fn output_of(at: Blocked) -> Option<(&'static str, u32)> {
    match at {
        // It was parked before the first try.
        Blocked::Stage { attempt: 0, .. } | Blocked::Rollback { attempt: 0 } => None,
        Blocked::Stage { stage, attempt } => Some((stage.name(), attempt)),
        Blocked::Rollback { attempt } => Some(("rollback", attempt)),
    }
}

/// Puts together what is known. `live` is what the app's lane serves by the log; `flags` are added to commands;
/// `ways` are open.
pub fn report(
    run: &Run,
    parked: &Parked,
    events: &[Envelope],
    live: Option<&Release>,
    output: Vec<String>,
    flags: &str,
    ways: &[Way],
) -> Report {
    let skipped = output.len().saturating_sub(OUTPUT_LINES_MAX);
    Report {
        since_ms: parked.since_ms,
        at: parked.at,
        reason: parked.reason.clone(),
        tried: tried(parked.at, events),
        output: output.into_iter().skip(skipped).collect(),
        look_at: look_at(run, parked.at),
        serves: serves(run, parked.at, live, events),
        decisions: ways.iter().map(|way| choice(*way, run, parked.at, live, flags)).collect(),
    }
}

impl Report {
    /// Returns it as people read it.
    pub fn text(&self) -> String {
        let mut text = format!("\nParked since {}\n  {}\n", timestamp(self.since_ms), harmless(&self.reason));
        // Writing to a String can't fail.
        // Nothing was, where a run is parked before a stage.
        if !self.tried.is_empty() {
            text += "\nWhat was tried:\n";
        }
        for Try { at_ms, what } in &self.tried {
            let _ = writeln!(text, "  {}  {}", timestamp(*at_ms), harmless(what));
        }
        if !self.output.is_empty() {
            text += "\nThe last lines that it printed:\n";
            self.output.iter().for_each(|line| _ = writeln!(text, "  │ {}", harmless(line)));
        }
        text += "\nWhere to look:\n";
        for Thing { kind, name } in &self.look_at {
            let _ = writeln!(text, "  {kind:<9} {}", harmless(name));
        }
        let _ = writeln!(text, "\nWhat serves now:\n  {}", harmless(&self.serves));
        text += "\nA person decides:\n";
        for Choice { then, command, .. } in &self.decisions {
            let _ = writeln!(text, "  {command}\n      {}", harmless(then));
        }
        text
    }
}

fn tried(at: Blocked, events: &[Envelope]) -> Vec<Try> {
    let told = events.iter().filter_map(|envelope| {
        let what = match at {
            Blocked::Stage { stage, .. } => stage_in_words(stage, &envelope.event),
            Blocked::Rollback { .. } => rollback_in_words(&envelope.event),
        };
        Some(Try { at_ms: envelope.recorded_at_ms, what: what.or_else(|| decided(envelope))? })
    });
    told.collect()
}

fn stage_in_words(wanted: Stage, event: &Event) -> Option<String> {
    match event {
        Event::StageStarted { stage, attempt, .. } if *stage == wanted => {
            Some(format!("try {attempt} of {stage} began"))
        }
        Event::StageRecovered { stage, attempt, found } if *stage == wanted => {
            let found = match found {
                Found::NotStarted => "had left nothing, and was done again",
                Found::Running => "was still going on, and was followed",
                Found::Done => "had ended, and its outcome was read",
                Found::Unknown => "can't be told",
            };
            Some(format!("the engine started and looked: try {attempt} {found}"))
        }
        Event::UndoRecovered { stage, attempt } if *stage == wanted => {
            Some(format!("the engine started: try {attempt} was cancelled and not undone yet"))
        }
        Event::StageErrored { stage, attempt, reason, .. } if *stage == wanted => {
            Some(format!("try {attempt} gave no answer: {reason}"))
        }
        _ => None,
    }
}

fn rollback_in_words(event: &Event) -> Option<String> {
    match event {
        Event::StageFailed { stage, failure, .. } => Some(format!("{stage} said no: {}", failure.reason)),
        Event::RollbackStarted { attempt, .. } => Some(format!("try {attempt} of the rollback began")),
        Event::RollbackRecovered { attempt } => Some(format!(
            "the engine started: try {attempt} of the rollback had no outcome, and was done again"
        )),
        Event::RollbackErrored { attempt, reason, .. } => {
            Some(format!("try {attempt} of the rollback gave no answer: {reason}"))
        }
        _ => None,
    }
}

fn decided(envelope: &Envelope) -> Option<String> {
    match &envelope.event {
        Event::RunUnparked { .. } => Some(format!("{} decided to try it again", envelope.actor)),
        Event::CancelRequested { reason } => Some(format!("{} cancelled the run: {reason}", envelope.actor)),
        _ => None,
    }
}

fn look_at(run: &Run, at: Blocked) -> Vec<Thing> {
    let (stage, attempt) = match at {
        Blocked::Stage { stage, attempt } => (stage, attempt),
        // What a rollback removes is what the deploy made.
        Blocked::Rollback { .. } => (Stage::Deploy, 1),
    };
    let things = things_of(run, stage, attempt).into_iter();
    let former = former(run).map(|former| ("container", former.candidate.container.clone()));
    let former = former.filter(|_| run.deploy_begun);
    let command = ("command", containers_of(run.id));
    things.chain(former).chain([command]).map(|(kind, name)| Thing { kind, name }).collect()
}

/// Returns the release that a rollback goes back to.
fn former(run: &Run) -> Option<&Release> {
    run.entry.as_ref().and_then(|entry| entry.replaces.as_ref())
}

fn named(release: Option<&Release>) -> String {
    match release {
        Some(release) => format!(
            "{} {:?} of run {} ({})",
            release.commit.short(),
            release.commit.subject,
            release.run.short(),
            short_digest(&release.image.digest)
        ),
        None => "nothing: no release of this app was live yet".into(),
    }
}

fn serves(run: &Run, at: Blocked, live: Option<&Release>, events: &[Envelope]) -> String {
    let before = if run.entry.is_some() { former(run) } else { live };
    let switch_begun = events
        .iter()
        .any(|envelope| matches!(envelope.event, Event::StageStarted { stage: Stage::GoLive, .. }));
    let rollback_begun = matches!(at, Blocked::Rollback { attempt: 1.. });
    if !switch_begun {
        return named(before);
    }
    match (run.done >= Some(Stage::GoLive), rollback_begun) {
        (true, false) => format!("this run's own version, {}", run.commit().short()),
        _ => format!(
            "this run's own version, {}, or the one before it: the traffic may be switched or not. Before it: {}",
            run.commit().short(),
            named(before)
        ),
    }
}

fn choice(way: Way, run: &Run, at: Blocked, live: Option<&Release>, flags: &str) -> Choice {
    let (decision, more) = match way {
        Way::Retry => ("retry", ""),
        Way::Skip => ("skip", " --reason 'WHY'"),
        Way::Abort => ("abort", " --reason 'WHY'"),
    };
    let then = match (at, way) {
        (Blocked::Rollback { attempt }, Way::Retry) => {
            format!("rolls back (try {}) {}; the run ends once that is seen to serve", attempt + 1, back(run))
        }
        (Blocked::Rollback { .. }, Way::Skip | Way::Abort) => {
            "the same, with your reason in the log: a run whose deploy has begun is not left half done".into()
        }
        (Blocked::Stage { stage, attempt }, Way::Retry) => again(run, stage, attempt),
        (Blocked::Stage { stage, .. }, Way::Skip) => without(run, stage),
        (Blocked::Stage { .. }, Way::Abort) => given_up(run, live),
    };
    Choice { decision, then, command: format!("landfall {decision} {}{flags}{more}", run.id.short()) }
}

fn back(run: &Run) -> String {
    match former(run) {
        Some(_) => format!("to {}", named(former(run))),
        None => "to nothing: this is the first release, so nothing serves then".into(),
    }
}

fn without(run: &Run, stage: Stage) -> String {
    let next = match stage_behind(run, stage, run.settings.as_deref()) {
        Some(next) => format!("goes on with {next}"),
        None => "the run is live".into(),
    };
    format!("counts {stage} as done, though nobody saw it; then {next}")
}

fn given_up(run: &Run, live: Option<&Release>) -> String {
    let then = match run.deploy_begun {
        true => format!("rolls back {}", back(run)),
        false => format!("fails the run; nothing was deployed, and what serves stays: {}", named(live)),
    };
    match run.cancel {
        Some(_) => format!("{then}. The run is cancelled, so nothing else is possible"),
        None => then,
    }
}

fn again(run: &Run, stage: Stage, attempt: u32) -> String {
    let release = run.settings.as_deref().and_then(|settings| settings.release.as_ref());
    match (stage, release) {
        (Stage::ReleaseCommand, Some(release)) => format!(
            "runs {:?} again (try {}): only if running it twice does no harm, or it did not run",
            release.command,
            attempt + 1
        ),
        _ => format!("clears away what try {attempt} of {stage} left, and begins try {}", attempt + 1),
    }
}

#[cfg(test)]
#[path = "parked_tests.rs"]
mod tests;
