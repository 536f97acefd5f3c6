//! A run told line by line, for where nothing can be redrawn: a pusher's terminal, a pipe, a CI log.
//!
//! ```text
//! Envelope ──▶ Picture ──▶ EventLines ──▶ " ✓ 2 Run tests      640 ms  12 passed"
//! ```
//!
//! The lines are those of the picture, each written once its step is concluded, and at the end its summary: whoever
//! reads them has seen what whoever watched the picture has seen.
//!
//! **Invariant:** the lines follow from the events alone, so a run that is told again years later is told
//! in the same words.

use landfall_engine::core::effect::next_effect;
use landfall_engine::core::event::{Envelope, Event};
use landfall_engine::core::run::{Run, RunState};
use landfall_engine::core::stage::Stage;

use crate::picture::frame::{Moves, cancelling, guessed, header, step_line};
use crate::picture::guesses::SHOWN_MAX;
use crate::picture::model::{Mark, Picture, Step};
use crate::picture::summary::summary;
use crate::picture::text::{Line, Tone};
use crate::usual::Usual;

/// Tells a run line by line. Give it every event of one run, in order.
#[derive(Debug, Default)]
pub struct EventLines {
    picture: Picture,
    /// Whoever reads sees what goes on in another way.
    skips_beginnings: bool,
    /// Added to the commands that are named.
    flags: String,
}

impl EventLines {
    /// Returns a teller that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a teller that says nothing of a step that begins: what goes on is shown in another way.
    #[must_use]
    pub fn without_beginnings(self) -> Self {
        Self { skips_beginnings: true, ..self }
    }

    /// Returns a teller that adds these to the commands it names, so that they find the same log.
    #[must_use]
    pub fn with_flags(self, flags: &str) -> Self {
        Self { flags: flags.to_owned(), ..self }
    }

    /// Returns a teller that knows how long the steps take as a rule.
    #[must_use]
    pub fn with_usual(self, usual: Usual) -> Self {
        Self { picture: Picture { usual, ..self.picture }, ..self }
    }

    /// Takes in one event and returns what is to be said about it. An event that was told before says nothing.
    pub fn tell(&mut self, envelope: &Envelope) -> Vec<Line> {
        let seen = self.picture.run.as_ref().map_or(0, |run| run.seq);
        if envelope.seq <= seen {
            return Vec::new();
        }
        let before = self.steps();
        self.picture.take(envelope);
        if self.picture.run.as_ref().map_or(0, |run| run.seq) != envelope.seq {
            let what = format!("the history does not verify: see `landfall replay {}`", envelope.run_id);
            return vec![Line::new(Tone::Bad, what)];
        }
        self.lines(&before, envelope)
    }

    /// Takes in a line that the running stage printed.
    pub fn print(&mut self, line: &str) {
        self.picture.print(line);
    }

    /// Returns the step that goes on, with the last line of its output, in one line; None between two steps.
    pub fn now(&self, now_ms: u64) -> Option<Line> {
        let nth = self
            .steps()
            .iter()
            .position(|step| step.as_ref().is_some_and(|step| step.mark == Mark::Running))?;
        let (_, line) = step_line(&self.picture, nth, now_ms, Moves::Yes)?;
        Some(match self.picture.tail.back() {
            Some(printed) => line.and(Tone::Dim, format!("  │ {printed}")),
            None => line,
        })
    }

    /// Returns the run after the events that were told; None before the first.
    pub fn run(&self) -> Option<&Run> {
        self.picture.run.as_ref()
    }

    /// Tells whether nothing more happens without a person: the run is closed, or parked or to be approved and its people
    /// told.
    pub fn is_settled(&self) -> bool {
        self.run().is_some_and(|run| next_effect(run).is_none_or(|effect| effect.is_a_persons()))
    }

    /// Says to whoever pushed that what was pushed is not live, if it is not: git has taken the commit by then, and has no
    /// way to end with another code than 0.
    pub fn not_live(&self) -> Option<Line> {
        let run = self.run()?;
        let how = match (run.parked(), run.state) {
            (_, RunState::Live) => return None,
            (Some(_), _) => "waits for a person",
            (None, RunState::Failed) => "failed",
            (None, RunState::RolledBack) => "was rolled back",
            (None, _) => "waits to be approved",
        };
        let what =
            format!("landfall: NOT LIVE: the run {how}; git has the commit all the same, and so ends with 0");
        Some(Line::new(Tone::Warn, what))
    }

    /// The eight steps, and the rollback.
    fn steps(&self) -> Vec<Option<Step>> {
        let Picture { steps, rollback, .. } = &self.picture;
        steps.iter().cloned().map(Some).chain([rollback.clone()]).collect()
    }

    fn lines(&self, before: &[Option<Step>], envelope: &Envelope) -> Vec<Line> {
        let mut lines = self.introduction(envelope);
        let changed =
            before.iter().zip(self.steps()).enumerate().filter(|(_, (before, after))| **before != *after);
        for (nth, (_, after)) in changed {
            let goes_on = after.is_some_and(|step| step.mark == Mark::Running && step.retry.is_none());
            if !goes_on || self.is_said(&envelope.event) {
                let line = step_line(&self.picture, nth, envelope.recorded_at_ms, Moves::No);
                lines.extend(line.map(|(_, line)| line));
            }
        }
        lines.extend(self.conclusion(&envelope.event));
        lines
    }

    /// Tells whether an event is said although its step goes on.
    fn is_said(&self, event: &Event) -> bool {
        match event {
            Event::StageStarted { stage: Stage::Checkout, attempt: 1, .. } => false,
            Event::StageStarted { .. } | Event::RollbackStarted { .. } => !self.skips_beginnings,
            Event::StageRecovered { .. }
            | Event::UndoRecovered { .. }
            | Event::RollbackRecovered { .. }
            | Event::ApprovalRequested { .. }
            | Event::RunApproved
            | Event::RunUnparked { .. } => true,
            _ => false,
        }
    }

    /// Returns what is said before the steps that an event changed.
    fn introduction(&self, envelope: &Envelope) -> Vec<Line> {
        let Some(run) = self.run() else { return Vec::new() };
        match &envelope.event {
            Event::RunStarted { trigger, .. } => {
                let [what, which] = header(run);
                let who = format!("  ({trigger} by {})", crate::picture::text::harmless(&envelope.actor));
                vec![what, which.and(Tone::Dim, who), Line::default()]
            }
            Event::StageSucceeded { stage: Stage::Checkout, .. } => guessed(&self.picture, SHOWN_MAX + 1),
            Event::CancelRequested { .. } => cancelling(run).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Returns what is said after them: how the run ended or why it waits, at once, and then who was told of it.
    fn conclusion(&self, event: &Event) -> Vec<Line> {
        match event {
            Event::RunLive { .. }
            | Event::RunFailed { .. }
            | Event::RollbackSucceeded { .. }
            | Event::RunParked { .. }
            | Event::ApprovalRequested { .. } => {
                [Line::default()].into_iter().chain(summary(&self.picture, &self.flags)).collect()
            }
            Event::NoticeSent { .. } | Event::NoticeErrored { retry_due_ms: None, .. } => {
                let told = self.picture.notices.last();
                told.map(|notice| Line::new(Tone::Plain, format!("  {notice}"))).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
