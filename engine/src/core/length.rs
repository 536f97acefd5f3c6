//! A run that has grown long begins no more stages, and can still be ended.
//!
//! A run that goes on by itself comes to an end after a few hundred events: stages are tried five times, then it is
//! parked. Only decisions let it grow, so what is refused here are decisions, and the stages and tries that follow
//! them. Giving the run up, rolling it back and telling people is never refused.
//!
//! Where the next stage would begin, the run is parked at a try of it that was not made: the one before the first has
//! the number 0. Nothing of it is there to be undone, so an abort fails the run or rolls back what it deployed. A run
//! that is not in its lane yet is parked outside it, where it is in nobody's way; an engine with a higher limit lets
//! it go on from there, by the lane.
//!
//! **The last stage is begun however long the run is**, and tried again when a person says so: the release serves users
//! by then, and a limit on records is no reason to take it from them, nor to leave it unchecked.

use super::command::{Command, Rejected};
use super::decide::decide;
use super::effect::stage_behind;
use super::event::{Decision, Event};
use super::lane::Lane;
use super::run::{Blocked, Parked, Phase, Run};
use super::stage::Stage;

/// The stage behind the switch of traffic.
const LAST: Stage = Stage::PublicSmoke;

/// Returns what [`decide`] returns for a run with fewer events than this; a longer one begins no more stages.
///
/// # Errors
///
/// [`Rejected::TooLong`] for a retry or a skip at any stage but the last; otherwise as [`decide`].
pub fn decide_within(
    run_events_max: u64,
    lane: &Lane,
    run: Option<&Run>,
    command: Command,
    now_ms: u64,
) -> Result<Vec<Event>, Rejected> {
    if let (Some(run), Command::Resolve(decision)) = (run, &command)
        && run.seq >= run_events_max
        && leads_to_a_stage(run, decision)
    {
        return Err(Rejected::TooLong { events: run.seq, max: run_events_max });
    }
    let events = decide(lane, run, command, now_ms)?;
    Ok(match run {
        Some(run) => without_another_stage(run_events_max, run, events),
        None => events,
    })
}

/// Parks a long run where its next stage, or the next try of one, would begin.
fn without_another_stage(max: u64, run: &Run, mut events: Vec<Event>) -> Vec<Event> {
    let after = run.seq + events.len() as u64;
    let at = match events.last() {
        Some(Event::StageStarted { stage, attempt, .. }) if run.seq >= max && *stage != LAST => {
            let at = Blocked::Stage { stage: *stage, attempt: attempt.saturating_sub(1) };
            events.pop();
            // In its lane it would wait in everybody's way.
            events.retain(|event| !matches!(event, Event::DeploymentStarted { .. }));
            at
        }
        // It would queue for its lane, and could not use it.
        Some(Event::StageSucceeded { stage, .. } | Event::StageSkipped { stage, .. }) if after >= max => {
            match stage_behind(run, *stage, run.settings.as_deref()) {
                Some(stage) if stage != LAST => Blocked::Stage { stage, attempt: 0 },
                _ => return events,
            }
        }
        _ => return events,
    };
    let recorded = run.seq + events.len() as u64;
    let reason = Rejected::TooLong { events: recorded, max }.to_string();
    events.push(Event::RunParked { at, reason });
    events
}

fn leads_to_a_stage(run: &Run, decision: &Decision) -> bool {
    match (&run.phase, decision) {
        (
            Phase::Parked(Parked { at: Blocked::Stage { stage, .. }, .. }),
            Decision::Retry | Decision::Skip { .. },
        ) => *stage != LAST,
        _ => false,
    }
}
