//! Why a stage stopped half-way: an answer for people, or no answer at all.

use landfall_engine::core::command::Outcome;
use landfall_engine::core::facts::Failure;

/// What ends a stage early; `?` carries it up to where it becomes an [`Outcome`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stopped {
    /// Somebody has to change something. Not tried again.
    Failed(Box<Failure>),
    /// Docker or the registry gave no answer. Tried again.
    Errored(String),
}

impl Stopped {
    /// Returns an answer with a reason alone.
    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        Self::Failed(Box::new(Failure::new(reason)))
    }

    /// Returns the lack of an answer.
    pub(crate) fn errored(reason: impl Into<String>) -> Self {
        Self::Errored(reason.into())
    }

    /// Returns the reason.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Failed(failure) => &failure.reason,
            Self::Errored(reason) => reason,
        }
    }
}

impl From<Stopped> for Outcome {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Failed(failure) => Self::Failed(*failure),
            Stopped::Errored(reason) => Self::Errored { reason },
        }
    }
}
