//! `landfall replay`: what happened in a run, told from its log alone, and whether it verifies.
//!
//! **Invariant:** no executor, no engine and no server is in reach. The folder is opened read-only, so this
//! works beside a running server and on a copy.

use std::fmt::Write as _;
use std::io::IsTerminal;

use landfall_engine::audit::{Replay, replay};
use landfall_engine::core::event::Envelope;
use landfall_engine::core::run::RunId;
use landfall_engine::timeline::{render, timestamp};
use landfall_store::{Problem, Verification};
use serde::Serialize;

use super::source::Source;
use super::stdout;
use crate::cli::{Global, ReplayArgs};
use crate::fault::Fault;
use crate::picture::screen::width_of_stdout;
use crate::picture::text::{Line, Tone, harmless};

/// A replay as JSON.
#[derive(Debug, Serialize)]
struct Report<'a> {
    replay: &'a Replay,
    events: Option<&'a [Envelope]>,
    verified: bool,
    log: Option<&'a Verification>,
    problems: &'a [String],
}

/// Replays a run and verifies the log that it is in.
///
/// # Errors
///
/// [`Fault::Unsound`] when anything does not verify; [`Fault`] when the log can't be read at all.
pub async fn run(global: &Global, args: ReplayArgs) -> Result<u8, Fault> {
    let source = Source::open(global).await?;
    let run_id = source.resolve(&args.run).await?;
    let events = source.events(run_id).await?;
    let last_seq = events.last().map_or(0, |last| last.seq);
    if let Some(at) = args.at.filter(|at| *at > last_seq) {
        return Err(Fault::Usage(format!("run {run_id} has {last_seq} events, so there is none at {at}")));
    }
    let shown = replay(&events, args.at);
    // What is wrong behind `--at` is wrong all the same.
    let whole = replay(&events, None);
    let log = source.verify().await?;
    let broken = log.iter().flat_map(|log| &log.problems).map(in_words);
    let problems: Vec<String> = whole.problems.iter().cloned().chain(broken).collect();
    let listed = args.events.then(|| &events[..upto(&events, args.at)]);
    if args.json {
        let verified = problems.is_empty();
        stdout::json(&Report {
            replay: &shown,
            events: listed,
            verified,
            log: log.as_ref(),
            problems: &problems,
        })?;
    } else {
        stdout::line(render(&shown, width_of_stdout()).trim_end())?;
        if let Some(events) = listed {
            stdout::print(&event_list(events, cut_to()))?;
        }
        if problems.is_empty() {
            stdout::print(&verified(run_id, &events, log.as_ref()))?;
        }
    }
    if problems.is_empty() {
        return Ok(0);
    }
    let is_ours = |problem: &Problem| problem.run == Some(run_id);
    let own = !whole.problems.is_empty() || log.iter().flat_map(|log| &log.problems).any(is_ours);
    let verdict = match own {
        true => format!("run {run_id} does not verify"),
        false => format!(
            "run {run_id} is in order as far as it can be read, but the log that it is in does not verify"
        ),
    };
    Err(Fault::Unsound(format!("{verdict}:\n  {}", problems.join("\n  "))))
}

fn upto(events: &[Envelope], at: Option<u64>) -> usize {
    events.iter().filter(|event| at.is_none_or(|at| event.seq <= at)).count()
}

/// Lines are cut on a terminal alone: a file or a pipe gets them whole.
fn cut_to() -> Option<usize> {
    std::io::stdout().is_terminal().then(width_of_stdout)
}

/// Returns each event in one line.
fn event_list(events: &[Envelope], width: Option<usize>) -> String {
    let actors = events.iter().map(|event| event.actor.len()).max().unwrap_or(0);
    let mut text = String::from("\nEvents\n");
    for event in events {
        let json = serde_json::to_value(&event.event).unwrap_or_default();
        let data = json.get("data").map(ToString::to_string).unwrap_or_default();
        let line = format!(
            "  {:>3}  {}  {:<actors$}  {:<18}  {data}",
            event.seq,
            timestamp(event.recorded_at_ms),
            harmless(&event.actor),
            event.event.name(),
        );
        let line = Line::new(Tone::Plain, line);
        // Writing to a String can't fail.
        let _ = writeln!(text, "{}", width.map_or(line.clone(), |width| line.cut(width)).paint(false));
    }
    text
}

fn verified(run_id: RunId, events: &[Envelope], log: Option<&Verification>) -> String {
    let count = events.len();
    let head = events.last().map(|last| last.hash.to_string()).unwrap_or_default();
    match log {
        Some(log) => format!(
            "\nVerified: the {count} events of run {run_id} are whole and every move was legal; the last hash is\n  \
             {head}\nThe chain of all {} events of {} runs in this log is unbroken; its head is\n  {}\n",
            log.events, log.runs, log.head
        ),
        None => format!(
            "\nVerified in part: run {run_id} has {count} events and every move was legal. Whether they are whole is told \
             by the chain of hashes,\nwhich is read from the data folder alone: `landfall replay` there, or on a copy of it\n"
        ),
    }
}

/// Returns what is not in order, with its run and its place.
pub(crate) fn in_words(problem: &Problem) -> String {
    let Problem { run, seq, global_seq, file, what } = problem;
    let run = run.map(|run| format!("run {run}, ")).unwrap_or_default();
    let seq = seq.map(|seq| format!("event {seq}, ")).unwrap_or_default();
    let global_seq = global_seq.map(|seq| format!("event {seq} of the log, ")).unwrap_or_default();
    format!("{run}{seq}{global_seq}{file}: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_with_its_run_and_its_place() {
        let problem = Problem {
            run: Some("018bcfe5-6800-7000-8000-9f3e1c2a7b4d".parse().unwrap()),
            seq: Some(7),
            global_seq: Some(31),
            file: "log/00000000000000000001.seg".into(),
            what: "the hash does not fit".into(),
        };
        assert_eq!(
            in_words(&problem),
            "run 018bcfe5-6800-7000-8000-9f3e1c2a7b4d, event 7, event 31 of the log, \
             log/00000000000000000001.seg: the hash does not fit"
        );
        let nowhere = Problem { run: None, seq: None, global_seq: None, ..problem };
        assert_eq!(in_words(&nowhere), "log/00000000000000000001.seg: the hash does not fit");
    }
}
