//! The last screen of a run: how it ended, why, what serves now, and what a person can do.

use landfall_engine::audit::{cause_in_words, seconds, short_digest};
use landfall_engine::core::event::Cause;
use landfall_engine::core::facts::Failure;
use landfall_engine::core::run::{Blocked, Parked, Phase, Run, RunState};
use landfall_engine::core::stage::Stage;
use landfall_engine::core::ways::{Way, ways_on};
use landfall_engine::timeline::timestamp;

use super::model::{Picture, Undone};
use super::text::{Line, Tone, harmless};
use super::words::counts;

/// How many of the last lines of a candidate or a build are shown. The whole output is in the logs.
const EVIDENCE_MAX: usize = 20;

/// Says how the run stands: its end, or why it waits for a person.
///
/// `flags` are added to the commands it names, so that they find the same log: `--data DIR`, or nothing.
pub fn summary(picture: &Picture, flags: &str) -> Vec<Line> {
    let Some(run) = &picture.run else { return Vec::new() };
    let mut lines = match (run.parked(), run.state) {
        (Some(parked), _) => parked_lines(picture, run, parked, flags),
        (None, _) if matches!(run.phase, Phase::AwaitingApproval { .. }) => to_be_approved(run, flags),
        (None, RunState::Live) => live(picture, run),
        (None, RunState::Failed) => failed(picture, run, flags),
        (None, RunState::RolledBack) => rolled_back(picture, run, flags),
        (None, state) => vec![Line::new(Tone::Strong, state.label()).and(Tone::Plain, ": it goes on")],
    };
    lines.extend(picture.notices.iter().map(|notice| said(notice)));
    lines.push(Line::default());
    lines.push(hint("what happened", command("replay", run, flags)));
    lines
}

fn live(picture: &Picture, run: &Run) -> Vec<Line> {
    let commit = run.commit();
    let took = seconds(picture.last_ms.saturating_sub(run.started_ms));
    let what = format!(": {} serves {} {:?}, after {took}", run.lane, commit.short(), commit.subject);
    let verdict = Line::new(Tone::Good, "Live").and(Tone::Plain, what);
    let address = picture.address.as_ref();
    let address = address.map(|address| Line::new(Tone::Plain, "  ").and(Tone::Strong, address));
    let image = run.image.as_ref().map(|image| said(&format!("image {}", image.by_digest())));
    [verdict].into_iter().chain(address).chain(image).collect()
}

fn failed(picture: &Picture, run: &Run, flags: &str) -> Vec<Line> {
    let mut lines = vec![verdict("Failed", Tone::Bad, run)];
    lines.extend(evidence(picture, flags));
    lines.push(said("nothing was deployed: what served before still does"));
    lines.extend(held(run));
    lines
}

fn rolled_back(picture: &Picture, run: &Run, flags: &str) -> Vec<Line> {
    let mut lines = vec![verdict("RolledBack", Tone::Warn, run)];
    lines.extend(evidence(picture, flags));
    if let Some(Undone { serving, proof, hold }) = &picture.undone {
        let serves = match serving {
            Some(digest) => format!("{} serves again", short_digest(digest)),
            None => "nothing serves, as before".into(),
        };
        lines.push(said(&format!("{serves}: {proof}")));
        if let Some(hold) = hold {
            let sha = hold.sha.get(..12).unwrap_or(&hold.sha);
            lines.push(said(&format!("commit {sha} is held: deploy it again with --release-hold")));
        }
    }
    lines
}

fn parked_lines(picture: &Picture, run: &Run, parked: &Parked, flags: &str) -> Vec<Line> {
    let what = match parked.at {
        Blocked::Stage { stage, .. } => stage.name(),
        Blocked::Rollback { .. } => "rollback",
    };
    let mut lines = vec![
        Line::new(Tone::Warn, "Parked")
            .and(Tone::Plain, format!(" at {what}, a person decides: {}", harmless(&parked.reason))),
    ];
    lines.extend(evidence(picture, flags));
    lines.extend(ways_on(picture.run_events_max, run).into_iter().map(|way| decision(run, way, flags)));
    lines
}

fn to_be_approved(run: &Run, flags: &str) -> Vec<Line> {
    let Phase::AwaitingApproval { until_ms } = run.phase else { return Vec::new() };
    let what = format!(": a person approves the deploy to {}, until {}", run.lane, timestamp(until_ms));
    vec![
        Line::new(Tone::Warn, "Waiting").and(Tone::Plain, what),
        hint("let it begin", command("approve", run, flags)),
        hint("fail the run", command("reject", run, flags) + " --reason 'WHY'"),
    ]
}

/// Returns something that a person can decide about a parked run: what it means, and the command.
fn decision(run: &Run, way: Way, flags: &str) -> Line {
    match way {
        Way::Retry => hint("try it again", command("retry", run, flags)),
        Way::Skip => hint("go on without it", command("skip", run, flags) + " --reason 'WHY'"),
        Way::Abort if run.deploy_begun => hint("give it up and roll back", command("abort", run, flags)),
        Way::Abort => hint("give it up", command("abort", run, flags)),
    }
}

/// Returns why a run ended red, in one line.
fn verdict(word: &str, tone: Tone, run: &Run) -> Line {
    let why = match &run.cause {
        Some(Cause::StageFailed { stage, reason }) => format!(" at {stage}: {reason}"),
        Some(cause) => format!(": {}", cause_in_words(cause)),
        None => ": no cause was recorded".into(),
    };
    Line::new(tone, word).and(Tone::Plain, harmless(&why))
}

fn command(name: &str, run: &Run, flags: &str) -> String {
    format!("landfall {name} {}{flags}", run.id.short())
}

/// Returns what the red stage left: failing tests by name, then its last lines.
fn evidence(picture: &Picture, flags: &str) -> Vec<Line> {
    let Some((stage, failure)) = &picture.failure else { return Vec::new() };
    let mut lines = failing_tests(failure);
    // The report says it better than the end of pytest's output does.
    if lines.is_empty() {
        let skipped = failure.tail.len().saturating_sub(EVIDENCE_MAX);
        let tail = failure.tail.iter().skip(skipped);
        lines.extend(tail.map(|line| Line::new(Tone::Dim, format!("    │ {}", harmless(line)))));
    }
    if *stage != Stage::Checkout
        && let Some(run) = &picture.run
    {
        lines.push(hint("its whole output", format!("{} --stage {stage}", command("logs", run, flags))));
    }
    lines
}

fn failing_tests(failure: &Failure) -> Vec<Line> {
    let Some(report) = &failure.tests else { return Vec::new() };
    if report.first_failures.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![said(&counts(report))];
    for test in &report.first_failures {
        lines.push(Line::new(Tone::Bad, "  ✗ ").and(Tone::Plain, harmless(&test.name)));
        if !test.message.is_empty() {
            lines.push(Line::new(Tone::Dim, format!("    │ {}", harmless(&test.message))));
        }
    }
    let shown = u32::try_from(report.first_failures.len()).unwrap_or(u32::MAX);
    let more = report.counts.map_or(0, |counts| counts.failed.saturating_sub(shown));
    if more > 0 {
        lines.push(said(&format!("  and {more} more")));
    }
    lines
}

fn held(run: &Run) -> Option<Line> {
    match &run.cause {
        Some(Cause::Held { .. }) => Some(said("deploy it all the same with --release-hold")),
        _ => None,
    }
}

fn said(text: &str) -> Line {
    Line::new(Tone::Plain, format!("  {}", harmless(text)))
}

fn hint(what: &str, command: String) -> Line {
    Line::new(Tone::Dim, format!("  {what}: ")).and(Tone::Strong, command)
}
