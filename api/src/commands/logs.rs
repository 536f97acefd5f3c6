//! `landfall logs`: what the stages of a run printed.

use futures_util::StreamExt;

use super::feed::{Happening, begins};
use super::follow::is_settled;
use super::source::Source;
use super::stdout;
use super::world::said;
use crate::cli::{Global, LogsArgs};
use crate::fault::Fault;
use crate::picture::model::Picture;
use crate::server::gone_in_words;

/// Prints what the stages of a run printed, each under its name.
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
    let known_seq = source.events(run_id).await?.last().map_or(0, |last| last.seq);
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
    let mut is_wanted = false;
    // Said with the first line under it: most stages print nothing.
    let mut heading = None;
    while let Some(happening) = feed.next().await {
        match happening? {
            Happening::Line(line) if is_wanted => {
                heading.take().map_or(Ok(()), |heading: String| stdout::line(&heading))?;
                stdout::line(&line)?;
            }
            Happening::Line(_) => {}
            Happening::Event(envelope) => {
                if let Some((name, attempt)) = begins(&envelope.event) {
                    is_wanted = args.stage.as_ref().is_none_or(|stage| stage == name);
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

fn causes(fault: &Fault) -> String {
    std::error::Error::source(fault).map(|cause| format!(": {cause}")).unwrap_or_default()
}

fn heading_of(name: &str, attempt: u32) -> String {
    match attempt {
        1 => format!("==> {name} <=="),
        attempt => format!("==> {name}, attempt {attempt} <=="),
    }
}
