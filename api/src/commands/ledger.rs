//! `landfall ledger`: what was decided about the installation, when, and by whom.

use landfall_engine::core::event::{Envelope, Event};
use landfall_engine::timeline::timestamp;

use super::source::Source;
use super::stdout;
use crate::cli::{Global, JsonArgs};
use crate::fault::Fault;
use crate::picture::text::harmless;

/// Lists decisions, oldest first.
///
/// # Errors
///
/// [`Fault`] when the log can't be read.
pub async fn run(global: &Global, args: JsonArgs) -> Result<u8, Fault> {
    let events = Source::open(global).await?.ledger().await?;
    match (args.json, events.is_empty()) {
        (true, _) => events.iter().try_for_each(stdout::json)?,
        (false, true) => stdout::line("nothing was decided about the installation yet")?,
        (false, false) => events.iter().filter_map(line).try_for_each(|line| stdout::line(&line))?,
    }
    Ok(0)
}

fn line(envelope: &Envelope) -> Option<String> {
    let Event::Ledger(event) = &envelope.event else { return None };
    Some(harmless(&format!(
        "{}  {:<12}  {}",
        timestamp(envelope.recorded_at_ms),
        envelope.actor,
        event.in_words()
    )))
}
