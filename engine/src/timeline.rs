//! A replay, drawn as text.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use comfy_table::{ContentArrangement, Table, presets};

use crate::audit::{COLUMNS, Mark, Replay, Row, seconds};

/// Draws a replay: what the run was, the execution table, the variable tracker, and what else happened.
///
/// `width` is the width of the terminal in columns.
pub fn render(replay: &Replay, width: usize) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = draw(&mut text, replay, width);
    text
}

fn draw(text: &mut String, replay: &Replay, width: usize) -> std::fmt::Result {
    if let Some(run) = &replay.run {
        let commit = run.commit();
        writeln!(text, "Run {}", run.id)?;
        writeln!(text, "  app      {}", run.lane)?;
        writeln!(text, "  commit   {} {:?} by {}", commit.short(), commit.subject, commit.author)?;
        writeln!(text, "  trigger  {}", replay.trigger)?;
        let took = seconds(replay.last_at_ms.saturating_sub(run.started_ms));
        writeln!(text, "  started  {}, {} events over {took}", timestamp(run.started_ms), replay.events)?;
        let parked = run.parked().map(|parked| format!(", parked: {}", parked.reason)).unwrap_or_default();
        writeln!(text, "  state    {}{parked}\n", run.state)?;
    }
    writeln!(text, "{}\n", execution_table(replay, width))?;
    writeln!(text, "{}", variable_tracker(replay, width))?;
    section(text, "What else happened", &replay.notes)?;
    section(text, "What does not verify", &replay.problems)
}

fn section(text: &mut String, title: &str, lines: &[String]) -> std::fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n{title}")?;
    lines.iter().try_for_each(|line| writeln!(text, "  {line}"))
}

fn execution_table(replay: &Replay, width: usize) -> Table {
    let mut table = table(width);
    table.set_header(["#", "", "Action", "Result", "Next", "State after"]);
    table.add_rows(replay.rows.iter().map(cells));
    table
}

fn cells(row: &Row) -> [String; 6] {
    let mark = match row.mark {
        Mark::NotReached => " ",
        Mark::Begun => "…",
        Mark::Passed => "✓",
        Mark::Failed => "✗",
        Mark::Skipped => "»",
    };
    [
        row.number.to_string(),
        mark.into(),
        row.action.clone(),
        row.result.clone(),
        row.next.clone(),
        row.state.map(|state| state.label().to_owned()).unwrap_or_default(),
    ]
}

fn variable_tracker(replay: &Replay, width: usize) -> Table {
    let tracker = &replay.tracker;
    let mut table = table(width);
    table.set_header(["Variable"].into_iter().chain(COLUMNS));
    for (name, values) in [
        ("Code Version", &tracker.code_version),
        ("Test Status", &tracker.test_status),
        ("Deployment Status", &tracker.deployment_status),
        ("Smoke Test Status", &tracker.smoke_test_status),
    ] {
        table.add_row([name].into_iter().chain(values.iter().map(String::as_str)));
    }
    table
}

fn table(width: usize) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(width).unwrap_or(u16::MAX));
    table
}

/// Returns a moment as text in UTC, to the millisecond.
pub fn timestamp(at_ms: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(at_ms)).to_string()
}
