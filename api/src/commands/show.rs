//! `landfall show`: what is known about a run, and what it waits for.

use std::fmt::Write as _;

use landfall_engine::audit::{cause_in_words, seconds};
use landfall_engine::core::event::{Envelope, Event};
use landfall_engine::core::run::{Blocked, Phase, Run};
use landfall_engine::ports::{Clock, SystemClock};
use landfall_engine::timeline::timestamp;

use super::source::Source;
use super::stdout;
use crate::cli::{Global, ShowArgs};
use crate::fault::Fault;
use crate::picture::model::Picture;
use crate::picture::summary::decisions;
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
    match args.json {
        true => stdout::json(&run)?,
        false => stdout::print(&text(&picture, &run, &events, SystemClock.now_ms(), &global.flags()))?,
    }
    Ok(0)
}

fn text(picture: &Picture, run: &Run, events: &[Envelope], now_ms: u64, flags: &str) -> String {
    let mut text = format!("Run {}\n", run.id);
    for (name, value) in facts(picture, run, events, now_ms) {
        // Writing to a String can't fail.
        let _ = writeln!(text, "  {name:<10} {}", harmless(&value));
    }
    let skippable = match run.parked().map(|parked| parked.at) {
        Some(Blocked::Stage { stage, .. }) => stage.is_skippable(),
        Some(Blocked::Rollback { .. }) => false,
        None => return text,
    };
    text += "\nA person decides:\n";
    for (what, command) in decisions(run, skippable, flags) {
        let _ = writeln!(text, "  {what}: {command}");
    }
    text
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
        Phase::Parked(parked) => format!("a person, since {}: {}", timestamp(parked.since_ms), parked.reason),
        Phase::Stopping { .. } | Phase::Skipping { .. } => "the rest of what was recorded with it".into(),
        Phase::Ended => "the last notices".into(),
        Phase::Closed => "nothing".into(),
    }
}
