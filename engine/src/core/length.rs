//! A run that has grown long begins no more stages, and can still be ended.
//!
//! A run that goes on by itself comes to an end after a few hundred events: stages are tried five times, then it is
//! parked. Only decisions let it grow, so only decisions and the tries that follow them are refused here. Giving the
//! run up, rolling it back and telling people is never refused.

use super::command::{Command, Rejected};
use super::decide::decide;
use super::event::{Decision, Event};
use super::lane::Lane;
use super::run::{Blocked, Parked, Phase, Run};

/// Returns what [`decide`] returns for a run with fewer events than this; a longer one begins no more stages.
///
/// # Errors
///
/// [`Rejected::TooLong`] for a retry or a skip; otherwise as [`decide`].
pub fn decide_within(
    run_events_max: u64,
    lane: &Lane,
    run: Option<&Run>,
    command: Command,
    now_ms: u64,
) -> Result<Vec<Event>, Rejected> {
    match (run.filter(|run| run.seq >= run_events_max), &command) {
        (Some(run), Command::Proceed) => match run.phase {
            Phase::RetryDue { stage, attempt, due_ms } if due_ms <= now_ms => Ok(vec![Event::RunParked {
                at: Blocked::Stage { stage, attempt: attempt.saturating_sub(1) },
                reason: Rejected::TooLong { events: run.seq, max: run_events_max }.to_string(),
            }]),
            _ => decide(lane, Some(run), command, now_ms),
        },
        (Some(run), Command::Resolve(Decision::Retry | Decision::Skip { .. })) if is_at_a_stage(run) => {
            Err(Rejected::TooLong { events: run.seq, max: run_events_max })
        }
        _ => decide(lane, run, command, now_ms),
    }
}

fn is_at_a_stage(run: &Run) -> bool {
    matches!(run.phase, Phase::Parked(Parked { at: Blocked::Stage { .. }, .. }))
}
