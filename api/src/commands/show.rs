//! `landfall show`: what is known about a run, and what it waits for.

use std::fmt::Write as _;

use landfall_engine::audit::{cause_in_words, seconds};
use landfall_engine::core::event::{Envelope, Event};
use landfall_engine::core::run::{Parked, Phase, Run};
use landfall_engine::core::ways::ways_on;
use landfall_engine::ports::{Clock, SystemClock};
use landfall_engine::timeline::timestamp;

use super::parked::{Report, output_of, report};
use super::source::Source;
use super::stdout;
use crate::cli::{Global, ShowArgs};
use crate::fault::Fault;
use crate::picture::guesses::said;
use crate::picture::model::Picture;
use crate::picture::text::harmless;
use crate::picture::words::counts;

/// Shows a run.
///
/// # Errors
///
/// [`Fault`] when there is no such run, or its history can't be read.
pub async fn run(global: &Global, args: ShowArgs) -> Result<u8, Fault> {
    let source = Source::open(global).await?;
    let run_id = source.resolve(&args.run).await?;
    let events = source.events(run_id).await?;
    let mut picture = Picture::default();
    events.iter().for_each(|event| picture.take(event));
    let run = picture.run.clone().ok_or_else(|| {
        Fault::Unsound(format!(
            "run {run_id}: its first event does not begin a run; see `landfall replay {run_id}`"
        ))
    })?;
    let report = match run.parked() {
        Some(parked) => Some(report_of(&source, &run, parked, &events, &global.flags()).await?),
        None => None,
    };
    match (args.json, &report) {
        (true, Some(report)) => stdout::json(&with_report(&run, report)?)?,
        (true, None) => stdout::json(&run)?,
        (false, report) => {
            stdout::print(&text(&picture, &run, &events, SystemClock.now_ms(), report.as_ref()))?;
        }
    }
    Ok(0)
}

/// Returns the run as it always is printed, with the report among its members.
fn with_report(run: &Run, report: &Report) -> Result<serde_json::Value, Fault> {
    let unwritable = |error| Fault::unavailable("could not write the run as JSON", error);
    let mut shown = serde_json::to_value(run).map_err(unwritable)?;
    let report = serde_json::to_value(report).map_err(unwritable)?;
    if let Some(members) = shown.as_object_mut() {
        members.insert("parked".into(), report);
    }
    Ok(shown)
}

async fn report_of(
    source: &Source,
    run: &Run,
    parked: &Parked,
    events: &[Envelope],
    flags: &str,
) -> Result<Report, Fault> {
    let live = source.live(&run.lane).await?;
    let output = match output_of(parked.at) {
        Some((name, attempt)) => source.output(run.id, name, attempt).await,
        None => Vec::new(),
    };
    let ways = ways_on(source.run_events_max().await, run);
    Ok(report(run, parked, events, live.as_ref(), output, flags, &ways))
}

fn text(picture: &Picture, run: &Run, events: &[Envelope], now_ms: u64, report: Option<&Report>) -> String {
    let mut text = format!("Run {}\n", run.id);
    for (name, value) in facts(picture, run, events, now_ms) {
        // Writing to a String can't fail.
        let _ = writeln!(text, "  {name:<10} {}", harmless(&value));
    }
    text + &report.map(Report::text).unwrap_or_default()
}

fn facts(picture: &Picture, run: &Run, events: &[Envelope], now_ms: u64) -> Vec<(&'static str, String)> {
    let commit = run.commit();
    let mut facts = vec![
        ("app", run.lane.to_string()),
        ("state", run.state.to_string()),
        ("waits for", waits_for(run, now_ms)),
        ("commit", format!("{} {:?} by {} <{}>", commit.sha, commit.subject, commit.author, commit.email)),
    ];
    let mut add = |name, value: Option<String>| facts.extend(value.map(|value| (name, value)));
    add("branch", commit.branch.clone());
    add("trigger", trigger(events));
    add(
        "started",
        Some(format!(
            "{}, {} ago",
            timestamp(run.started_ms),
            super::runs::age(now_ms.saturating_sub(run.started_ms))
        )),
    );
    add("last event", Some(format!("{}, seq {}", timestamp(picture.last_ms), run.seq)));
    add("tests", run.tests.as_ref().map(counts));
    add("built", run.built.as_ref().map(|built| format!("{} as {}", built.image_id, built.reference)));
    add("image", run.image.as_ref().map(|image| format!("{} (tag {})", image.by_digest(), image.tag)));
    add(
        "replaces",
        run.entry.as_ref().map(|entry| match &entry.replaces {
            Some(release) => format!("{} of run {}", release.commit.short(), release.run),
            None => "nothing: it is the first release".into(),
        }),
    );
    add(
        "candidate",
        run.candidate.as_ref().map(|candidate| {
            format!(
                "{} at {}, healthy in {}",
                candidate.container,
                candidate.address,
                seconds(candidate.healthy_after_ms)
            )
        }),
    );
    add("address", picture.address.clone());
    add("cancelled", run.cancel.clone());
    add("cause", run.cause.as_ref().map(cause_in_words));
    add("rollback", picture.undone.as_ref().map(|undone| undone.proof.clone()));
    add(
        "held",
        picture
            .undone
            .as_ref()
            .and_then(|undone| undone.hold.as_ref())
            .map(|hold| format!("the commit is not deployed again without --release-hold: {}", hold.reason)),
    );
    facts.extend(picture.guesses.iter().map(|guess| ("guessed", said(guess))));
    facts.extend(picture.notices.iter().map(|notice| ("notice", notice.clone())));
    facts
}

fn trigger(events: &[Envelope]) -> Option<String> {
    events.first().and_then(|first| match &first.event {
        Event::RunStarted { trigger, .. } => Some(format!("{trigger} by {}", first.actor)),
        _ => None,
    })
}

fn waits_for(run: &Run, now_ms: u64) -> String {
    let left = |at_ms: &u64| seconds(at_ms.saturating_sub(now_ms));
    match &run.phase {
        Phase::Ready => "its turn, or the engine".into(),
        Phase::Working(work) => format!(
            "the outcome of {} (attempt {}, {} left)",
            work.stage,
            work.attempt,
            left(&work.deadline_ms)
        ),
        Phase::RetryDue { stage, attempt, due_ms } => {
            format!("attempt {attempt} of {stage}, in {}", left(due_ms))
        }
        Phase::RollingBack { attempt, deadline_ms, .. } => {
            format!("the outcome of the rollback (attempt {attempt}, {} left)", left(deadline_ms))
        }
        Phase::RollbackRetryDue { attempt, due_ms } => {
            format!("attempt {attempt} of the rollback, in {}", left(due_ms))
        }
        Phase::AwaitingApproval { until_ms } => format!(
            "a person who approves it, until {} ({} left): landfall approve {id}, or landfall reject {id}",
            timestamp(*until_ms),
            left(until_ms),
            id = run.id.short()
        ),
        Phase::Parked(_) => "a person".into(),
        Phase::Stopping { .. } | Phase::Skipping { .. } => "the rest of what was recorded with it".into(),
        Phase::Ended => "the last notices".into(),
        Phase::Closed => "nothing".into(),
    }
}
