//! `landfall logs`: what the stages of a run printed, or, followed on a terminal, its picture.

use std::io::{self, IsTerminal};

use futures_util::StreamExt;
use landfall_engine::core::event::{Envelope, Event};
use landfall_engine::core::run::RunId;
use serde::Serialize;

use super::feed::{Happening, begins};
use super::follow::{Followed, Following, follow, is_settled};
use super::source::Source;
use super::stdout;
use super::world::{LEFT, said};
use crate::cli::{Global, LogsArgs};
use crate::fault::Fault;
use crate::picture::model::Picture;
use crate::server::gone_in_words;
use crate::usual::Usual;

/// Prints what the stages of a run printed, each under its name; or draws the run as it goes on, where that can be seen.
///
/// # Errors
///
/// [`Fault`] when there is no such run, or its outputs can't be read.
pub async fn run(global: &Global, args: LogsArgs) -> Result<u8, Fault> {
    let source = match args.follow {
        true => Source::open_live(global).await?,
        false => Source::open(global).await?,
    };
    let run_id = source.resolve(&args.run).await?;
    // A run that was parked once and goes on is followed past that.
    let events = source.events(run_id).await?;
    let known_seq = events.last().map_or(0, |last| last.seq);
    if args.follow && args.stage.is_none() && !args.plain && !args.json && io::stdout().is_terminal() {
        return draw(&source, run_id, &events, &global.flags()).await;
    }
    let mut feed = match args.follow {
        true => source.live_feed(run_id).await?,
        false => source.feed(run_id).await?,
    };
    // What is there can be shown all the same.
    let pruned = source.pruned(run_id).await.unwrap_or_else(|fault| {
        said(&format!("it can't be told which outputs were pruned{}", causes(&fault)));
        None
    });
    let mut picture = Picture::default();
    let mut printing: Option<(&'static str, u32)> = None;
    // Said with the first line under it: most stages print nothing.
    let mut heading = None;
    while let Some(happening) = feed.next().await {
        match happening? {
            Happening::Line(text) => match printing {
                Some((stage, attempt)) if args.json => {
                    stdout::json(&Printed { stage, attempt, line: &text })?;
                }
                Some(_) => {
                    heading.take().map_or(Ok(()), |heading: String| stdout::line(&heading))?;
                    stdout::line(&text)?;
                }
                None => {}
            },
            Happening::Event(envelope) => {
                if let Some((name, attempt)) = begins(&envelope.event) {
                    let is_wanted = args.stage.as_ref().is_none_or(|stage| stage == name);
                    printing = is_wanted.then_some((name, attempt));
                    let gone = pruned.as_ref().and_then(|pruned| Some((pruned, pruned.of(name, attempt)?)));
                    if let Some((pruned, gone)) = gone.filter(|_| is_wanted) {
                        said(&gone_in_words(pruned, gone));
                    }
                    heading = args.stage.is_none().then(|| heading_of(name, attempt));
                }
                picture.take(&envelope);
            }
        }
        if args.follow && picture.run.as_ref().is_some_and(|run| run.seq >= known_seq && is_settled(run)) {
            break;
        }
    }
    Ok(0)
}

/// A line of output as JSON.
#[derive(Debug, Serialize)]
struct Printed<'a> {
    stage: &'a str,
    attempt: u32,
    line: &'a str,
}

/// Draws a run until nothing more happens to it without a person; one that is over is drawn as it ended.
async fn draw(source: &Source, run_id: RunId, events: &[Envelope], flags: &str) -> Result<u8, Fault> {
    let lane = events.first().and_then(|first| match &first.event {
        Event::RunStarted { lane, .. } => Some(lane),
        _ => None,
    });
    let usual = match lane {
        Some(lane) => source.usual(lane, run_id).await,
        None => Usual::default(),
    };
    let picture = Picture { run_events_max: source.run_events_max().await, usual, ..Picture::default() };
    let known_seq = events.last().map_or(0, |last| last.seq);
    let following = Following { known_seq, json: false, flags, cancel: None, is_record: source.is_record() };
    match follow(source.live_feed(run_id).await?, picture, following).await? {
        Followed::Settled(_) => Ok(0),
        Followed::Left => Ok(LEFT),
    }
}

fn causes(fault: &Fault) -> String {
    std::error::Error::source(fault).map(|cause| format!(": {cause}")).unwrap_or_default()
}

fn heading_of(name: &str, attempt: u32) -> String {
    match attempt {
        1 => format!("==> {name} <=="),
        attempt => format!("==> {name}, attempt {attempt} <=="),
    }
}
