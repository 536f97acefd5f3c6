//! One frame of the live picture: the header, the eight steps, the last lines of what is running.

use landfall_engine::audit::seconds;
use landfall_engine::core::run::Run;

use super::model::{Mark, Picture, Step, TAIL_MAX, TITLES};
use super::text::{Line, Tone};

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

/// Draws the picture as it is at `now_ms`.
pub fn draw(picture: &Picture, now_ms: u64, size: Size) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(run) = &picture.run {
        lines.extend(header(run));
    }
    let tail_rows = size.height.saturating_sub(FIXED_ROWS).min(TAIL_MAX);
    let mut tail = Some(picture.tail.iter().skip(picture.tail.len().saturating_sub(tail_rows)));
    let steps = picture.steps.iter().zip(TITLES).zip(1..).map(|((step, title), n)| (step, title, Some(n)));
    let rollback = picture.rollback.iter().map(|step| (step, "Roll back", None));
    for (step, title, number) in steps.chain(rollback) {
        lines.push(line_of(step, title, number, now_ms));
        if step.mark == Mark::Running && step.retry.is_none() {
            let printed = tail.take().into_iter().flatten();
            lines.extend(printed.map(|text| Line::new(Tone::Dim, format!("      │ {text}"))));
        }
    }
    lines.extend(picture.run.as_ref().and_then(cancelling));
    lines.into_iter().map(|line| line.cut(size.width)).collect()
}

fn header(run: &Run) -> [Line; 3] {
    let commit = run.commit();
    [
        Line::new(Tone::Strong, run.lane.to_string())
            .and(Tone::Plain, format!("  {}  {}", commit.short(), commit.subject)),
        Line::new(Tone::Dim, format!("run {}", run.id)),
        Line::default(),
    ]
}

fn line_of(step: &Step, title: &str, number: Option<u8>, now_ms: u64) -> Line {
    let (mark, tone) = mark(step, now_ms);
    let number = number.map(|number| number.to_string()).unwrap_or_default();
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
    Line::new(tone, format!(" {mark} "))
        .and(Tone::Dim, format!("{number:<2}"))
        .and(title_tone, format!("{title:<13}"))
        .and(Tone::Dim, format!("{:>10}", took(step, now_ms)))
        .and(fact_tone, format!("  {}", fact(step, now_ms)))
}

fn mark(step: &Step, now_ms: u64) -> (&'static str, Tone) {
    match step.mark {
        Mark::Waiting => ("·", Tone::Dim),
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

fn took(step: &Step, now_ms: u64) -> String {
    match (step.mark, step.began_ms) {
        (Mark::Running, Some(began_ms)) => seconds(now_ms.saturating_sub(began_ms)),
        (_, Some(began_ms)) => match step.ended_ms.unwrap_or(began_ms).saturating_sub(began_ms) {
            // What was one event took no time to speak of.
            0 => String::new(),
            took_ms => seconds(took_ms),
        },
        (_, None) => String::new(),
    }
}

fn fact(step: &Step, now_ms: u64) -> String {
    let first = super::text::harmless(step.fact.lines().next().unwrap_or_default());
    match step.retry {
        // Rounded up, so that it never says "in 0 s" while it waits.
        Some(retry) => {
            let left_s = retry.due_ms.saturating_sub(now_ms).div_ceil(1_000);
            format!("attempt {} in {left_s} s: {first}", retry.attempt)
        }
        None => first,
    }
}

fn cancelling(run: &Run) -> Option<Line> {
    let reason = run.cancel.as_ref().filter(|_| !run.state.is_terminal())?;
    Some(Line::new(Tone::Warn, format!(" cancelling: {reason}")))
}
