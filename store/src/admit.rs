//! The rule of an append: what is new, what is a repetition, what is refused. Every store asks here.
//!
//! A pure function over what is recorded; writing is somebody else's business.

use landfall_engine::core::run::RunId;
use landfall_engine::ports::AppendError;
use landfall_engine::sabotaged;
use uuid::Uuid;

use crate::record::{Prepared, refused};

/// What the log has of a run, as far as an append must know: the id of each event, in order.
pub(crate) type Ids = Vec<Uuid>;

/// What becomes of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Its events are recorded behind the run's last.
    New,
    /// They are recorded already, from this seq on.
    Again(u64),
}

/// Decides about an append; `claimed_by` tells whose a name is.
///
/// Repetition comes first: whoever was told `Unknown` and asks again with the same ids is answered with what
/// is there, though the run has moved on by then.
pub(crate) fn admit(
    append: &Prepared,
    recorded: &[Uuid],
    claimed_by: impl Fn(&str) -> Option<RunId>,
) -> Result<Admission, AppendError> {
    let ids: Vec<Uuid> = append.events.iter().map(|event| event.draft.event_id).collect();
    if let Some(at) = recorded.iter().position(|id| *id == ids[0])
        && recorded[at..].starts_with(&ids)
        && !sabotaged!(ForgetEventIds)
    {
        return Ok(Admission::Again(at as u64 + 1));
    }
    let repeats = |(i, id): (usize, &Uuid)| recorded.contains(id) || ids[..i].contains(id);
    if ids.iter().enumerate().any(repeats) {
        return Err(refused("an event id was used before, beside other events".into()));
    }
    let taken = |claim: &String| Some((claim.clone(), claimed_by(claim).filter(|by| *by != append.run_id)?));
    if let Some((claim, by)) = append.claims.iter().find_map(taken) {
        return Err(AppendError::Claimed { claim, by });
    }
    let found = recorded.len() as u64;
    if append.expected != found && !sabotaged!(IgnoreExpectedVersion) {
        return Err(AppendError::Conflict { run_id: append.run_id, expected: append.expected, found });
    }
    Ok(Admission::New)
}
