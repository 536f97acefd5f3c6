//! One frame of the live picture: the header, the eight steps, the last lines of what is running.

use landfall_engine::audit::seconds;
use landfall_engine::core::run::Run;

use super::guesses;
use super::model::{Mark, Picture, Step, TAIL_MAX, TITLES};
use super::text::{Line, Tone, harmless};

/// How much room there is, in columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// The shapes of the spinner, one a frame.
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// How long one shape of the spinner is shown, in milliseconds.
pub const FRAME_MS: u64 = 80;

/// What a frame has beside the output: header, blank, eight steps, a rollback, a note, the cursor's row.
const FIXED_ROWS: usize = 14;

/// How many rows the output keeps when there is not enough room for it and for the guesses.
const TAIL_MIN: usize = 3;

/// A step that takes more than twice its usual time is marked, if it is also so much later: twice nothing is nothing.
const LATE_MS: u64 = 1_000;

/// How a step that goes on is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moves {
    /// By a shape that turns: it is drawn again.
    Yes,
    /// By one that does not: it is written once.
    No,
}

/// Draws the picture as it is at `now_ms`.
pub fn draw(picture: &Picture, now_ms: u64, size: Size) -> Vec<Line> {
    let mut lines = Vec::new();
    let spare_rows = size.height.saturating_sub(FIXED_ROWS);
    if let Some(run) = &picture.run {
        lines.extend(header(run));
        lines.extend(guessed(picture, spare_rows.saturating_sub(TAIL_MIN)));
        lines.push(Line::default());
    }
    let header_rows = lines.len().saturating_sub(HEADER_ROWS);
    let tail_rows = spare_rows.saturating_sub(header_rows).min(TAIL_MAX);
    let mut tail = Some(picture.tail.iter().skip(picture.tail.len().saturating_sub(tail_rows)));
    for nth in 0..=picture.steps.len() {
        let Some((step, line)) = step_line(picture, nth, now_ms, Moves::Yes) else { continue };
        lines.push(line);
        if step.mark == Mark::Running && step.retry.is_none() {
            let printed = tail.take().into_iter().flatten();
            lines.extend(printed.map(|text| Line::new(Tone::Dim, format!("      │ {text}"))));
        }
    }
    lines.extend(picture.run.as_ref().and_then(cancelling));
    lines.into_iter().map(|line| line.cut(size.width)).collect()
}

/// Rows of the header without the guesses: app and commit, run, blank.
const HEADER_ROWS: usize = 3;

/// Returns which app and commit the picture is of, and which run.
pub fn header(run: &Run) -> [Line; 2] {
    let commit = run.commit();
    [
        Line::new(Tone::Strong, run.lane.to_string())
            .and(Tone::Plain, format!("  {}  {}", commit.short(), harmless(&commit.subject))),
        Line::new(Tone::Dim, format!("run {}", run.id)),
    ]
}

/// Returns what was guessed, in at most so many rows.
pub fn guessed(picture: &Picture, rows_max: usize) -> Vec<Line> {
    let Some(run) = &picture.run else { return Vec::new() };
    guesses::block(&picture.guesses, rows_max, &format!("landfall show {}", run.id.short()))
}

/// Returns a step with its line: one of the eight, or, after them, the rollback. None: there is none.
pub fn step_line(picture: &Picture, nth: usize, now_ms: u64, moves: Moves) -> Option<(&Step, Line)> {
    let (step, title, number) = match picture.steps.get(nth) {
        Some(step) => (step, TITLES[nth], (nth + 1).to_string()),
        None => (picture.rollback.as_ref()?, "Roll back", String::new()),
    };
    let (mark, tone) = mark(step, now_ms, moves);
    let title_tone = match step.mark {
        Mark::Waiting | Mark::Skipped => Tone::Dim,
        Mark::Running => Tone::Strong,
        Mark::Done | Mark::Failed | Mark::Undone | Mark::Parked => Tone::Plain,
    };
    let fact_tone = match step.mark {
        Mark::Failed => Tone::Bad,
        Mark::Parked | Mark::Undone => Tone::Warn,
        _ => Tone::Plain,
    };
    let (usual_tone, usual) = against_usual(step, picture.usual.of_step(nth), now_ms);
    let line = Line::new(tone, format!(" {mark} "))
        .and(Tone::Dim, format!("{number:<2}"))
        .and(title_tone, format!("{title:<13}"))
        .and(
            if usual_tone == Tone::Warn { Tone::Warn } else { Tone::Dim },
            format!("{:>10}", took(step, now_ms, moves)),
        )
        .and(usual_tone, usual)
        .and(fact_tone, format!("  {}", fact(step, now_ms)));
    Some((step, line))
}

/// Says what is usual: of a step that goes on, and of one that took more than twice as long.
fn against_usual(step: &Step, usual_ms: Option<u64>, now_ms: u64) -> (Tone, String) {
    let (Some(usual_ms), Some(took_ms)) = (usual_ms, took_ms(step, now_ms)) else {
        return (Tone::Dim, String::new());
    };
    let is_late = took_ms > usual_ms.saturating_mul(2) && took_ms - usual_ms > LATE_MS;
    match (step.mark, is_late) {
        (Mark::Running | Mark::Done | Mark::Failed, true) => {
            (Tone::Warn, format!(" ▲ usually {}", seconds(usual_ms)))
        }
        (Mark::Running, false) => (Tone::Dim, format!(" (usually {})", seconds(usual_ms))),
        _ => (Tone::Dim, String::new()),
    }
}

fn mark(step: &Step, now_ms: u64, moves: Moves) -> (&'static str, Tone) {
    match step.mark {
        Mark::Waiting => ("·", Tone::Dim),
        Mark::Running if moves == Moves::No => ("▸", Tone::Strong),
        Mark::Running => {
            let shape = (now_ms / FRAME_MS) % SPINNER.len() as u64;
            (SPINNER[usize::try_from(shape).unwrap_or(0)], Tone::Strong)
        }
        Mark::Done => ("✓", Tone::Good),
        Mark::Failed => ("✗", Tone::Bad),
        Mark::Undone => ("↺", Tone::Warn),
        Mark::Skipped => ("»", Tone::Dim),
        Mark::Parked => ("⏸", Tone::Warn),
    }
}

fn took(step: &Step, now_ms: u64, moves: Moves) -> String {
    // What was one event took no time to speak of.
    match took_ms(step, now_ms) {
        Some(0) if step.mark != Mark::Running || moves == Moves::No => String::new(),
        took_ms => took_ms.map(seconds).unwrap_or_default(),
    }
}

fn took_ms(step: &Step, now_ms: u64) -> Option<u64> {
    let began_ms = step.began_ms?;
    let until_ms = if step.mark == Mark::Running { now_ms } else { step.ended_ms.unwrap_or(began_ms) };
    Some(until_ms.saturating_sub(began_ms))
}

fn fact(step: &Step, now_ms: u64) -> String {
    let first = harmless(step.fact.lines().next().unwrap_or_default());
    match step.retry {
        // Rounded up, so that it never says "in 0 s" while it waits.
        Some(retry) => {
            let left_s = retry.due_ms.saturating_sub(now_ms).div_ceil(1_000);
            format!("attempt {} in {left_s} s: {first}", retry.attempt)
        }
        None => first,
    }
}

/// Says that a run is being cancelled, while it is.
pub fn cancelling(run: &Run) -> Option<Line> {
    let reason = run.cancel.as_ref().filter(|_| !run.state.is_terminal())?;
    Some(Line::new(Tone::Warn, format!(" cancelling: {}", harmless(reason))))
}
