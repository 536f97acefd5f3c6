//! The last screen of a run: how it ended, why, what serves now, and what a person can do.

use landfall_engine::audit::{cause_in_words, seconds, short_digest};
use landfall_engine::core::event::Cause;
use landfall_engine::core::facts::Failure;
use landfall_engine::core::run::{Blocked, Parked, Phase, Run, RunState};
use landfall_engine::core::stage::Stage;
use landfall_engine::core::ways::{Way, ways_on};
use landfall_engine::timeline::timestamp;

use super::guesses;
use super::model::{Picture, Undone};
use super::text::{Line, Tone, harmless};
use super::words::counts;

/// How many of the last lines of a candidate or a build are shown: with the picture above they are one screen. The whole
/// output is in the logs.
const EVIDENCE_MAX: usize = 12;

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
    let mut lines = verdict("Failed", Tone::Bad, run);
    lines.extend(evidence(picture, flags));
    lines.push(said("nothing was deployed: what served before still does"));
    lines.extend(held(run));
    lines
}

fn rolled_back(picture: &Picture, run: &Run, flags: &str) -> Vec<Line> {
    let mut lines = verdict("RolledBack", Tone::Warn, run);
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

/// Returns why a run ended red: the first line says what is wrong, the others show it.
fn verdict(word: &str, tone: Tone, run: &Run) -> Vec<Line> {
    let why = match &run.cause {
        Some(Cause::StageFailed { stage, reason }) => format!(" at {stage}: {reason}"),
        Some(cause) => format!(": {}", cause_in_words(cause)),
        None => ": no cause was recorded".into(),
    };
    let mut why = why.lines();
    let first = harmless(why.next().unwrap_or_default());
    let first = Line::new(tone, word).and(Tone::Plain, first);
    [first].into_iter().chain(why.map(printed)).collect()
}

fn command(name: &str, run: &Run, flags: &str) -> String {
    format!("landfall {name} {}{flags}", run.id.short())
}

/// Returns what the red stage left: failing tests by name and what they asserted, or what a check expected and got, then
/// its last lines; and where the rest is.
fn evidence(picture: &Picture, flags: &str) -> Vec<Line> {
    let Some((stage, failure)) = &picture.failure else { return Vec::new() };
    let mut lines = failing_tests(failure);
    // The report says it better than the end of pytest's output does.
    if lines.is_empty() {
        lines.extend(expected_and_got(*stage, &failure.reason));
        lines.extend(last(failure.tail.iter().map(String::as_str).collect()));
    } else {
        lines.extend(last(asserted(&failure.tail)));
    }
    let behind = guesses::behind(&picture.guesses, *stage);
    lines.extend(behind.map(|guess| {
        Line::new(Tone::Warn, "  guessed, and perhaps wrong: ").and(Tone::Plain, guesses::said(guess))
    }));
    if *stage != Stage::Checkout
        && let Some(run) = &picture.run
    {
        lines.push(hint("its whole output", format!("{} --stage {stage}", command("logs", run, flags))));
    }
    lines
}

fn last(lines: Vec<&str>) -> Vec<Line> {
    let skipped = lines.len().saturating_sub(EVIDENCE_MAX);
    lines.into_iter().skip(skipped).map(printed).collect()
}

/// Returns the lines by which pytest shows an assertion: the source, what it came to, and where.
fn asserted(tail: &[String]) -> Vec<&str> {
    let is_place = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (file, number) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        file.ends_with(".py") && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let lines = tail.iter().map(String::as_str);
    let says = |line: &str| line.starts_with("E  ") && line.trim_end() != "E";
    lines.filter(|line| says(line) || line.starts_with("> ") || is_place(line)).collect()
}

/// Returns what a check asked, what it expected and what it got, from the one line that says all three.
fn expected_and_got(stage: Stage, reason: &str) -> Vec<Line> {
    if !matches!(stage, Stage::Smoke | Stage::PublicSmoke) {
        return Vec::new();
    }
    let reason = reason.lines().next().unwrap_or_default();
    let Some((asked, rest)) = reason.split_once(" expected ") else { return Vec::new() };
    let Some((expected, got)) = rest.split_once(", found ") else { return Vec::new() };
    let pair = |what: &str, value: &str, tone| {
        Line::new(Tone::Dim, format!("  {what:<9}")).and(tone, harmless(value))
    };
    vec![
        pair("asked", asked.trim_end_matches(':'), Tone::Plain),
        pair("expected", expected, Tone::Good),
        pair("got", got, Tone::Bad),
    ]
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
            lines.push(printed(&test.message));
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

fn printed(line: &str) -> Line {
    Line::new(Tone::Dim, format!("    │ {}", harmless(line)))
}

fn said(text: &str) -> Line {
    Line::new(Tone::Plain, format!("  {}", harmless(text)))
}

fn hint(what: &str, command: String) -> Line {
    Line::new(Tone::Dim, format!("  {what}: ")).and(Tone::Strong, command)
}
