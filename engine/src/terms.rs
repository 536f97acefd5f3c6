//! On which terms something is asked of a run: once, and only of what was seen.

use uuid::Uuid;

use crate::core::command::Rejected;
use crate::core::run::{Run, RunId};
use crate::engine::EngineError;
use crate::ports::{Append, EventStore};

/// Makes a request happen once, for as long as the log is kept: whoever asks again is answered with the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The name under which it is asked: a delivery's id, or an idempotency key and whose.
    pub name: String,
    /// The id that the first event gets to which it leads. Made of the whole request, it tells a repetition from
    /// another request under the same name. None: whatever is asked under this name is the same.
    pub event_id: Option<Uuid>,
}

impl<T: Into<String>> From<T> for Claim {
    fn from(name: T) -> Self {
        Self { name: name.into(), event_id: None }
    }
}

impl Claim {
    /// Returns the run that was asked this before; None when none was.
    ///
    /// # Errors
    ///
    /// [`Rejected::OtherRequest`] when something else was asked under the same name.
    pub async fn asked_before(&self, store: &dyn EventStore) -> Result<Option<RunId>, EngineError> {
        let Some(run_id) = store.claimed(&self.name).await? else { return Ok(None) };
        let Some(event_id) = self.event_id else { return Ok(Some(run_id)) };
        let events = store.events(run_id).await?;
        match events.iter().any(|envelope| envelope.event_id == event_id) {
            true => Ok(Some(run_id)),
            false => Err(EngineError::Rejected(Rejected::OtherRequest { run: run_id })),
        }
    }

    /// Marks what is about to be recorded.
    pub(crate) fn mark(&self, append: &mut Append) {
        append.claims.push(self.name.clone());
        if let (Some(first), Some(event_id)) = (append.events.first_mut(), self.event_id) {
            first.event_id = event_id;
        }
    }
}

/// On which terms something is asked of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Only while this is the run's last event: whoever asks has seen that, and nothing later.
    pub if_seq: Option<u64>,
    /// Once.
    pub claim: Option<Claim>,
}

impl Terms {
    /// Tells whether something is still to be done.
    pub(crate) async fn hold(&self, run: &Run, store: &dyn EventStore) -> Result<bool, EngineError> {
        // A repetition comes first: the run has moved on since, by the request itself.
        if let Some(claim) = &self.claim
            && claim.asked_before(store).await?.is_some()
        {
            return Ok(false);
        }
        match self.if_seq {
            Some(seen) if seen != run.seq => {
                Err(EngineError::Rejected(Rejected::MovedOn { seen, found: run.seq }))
            }
            _ => Ok(true),
        }
    }
}
