//! What a person can decide about a parked run.
//!
//! No rule stands here: a decision is open when [`decide_within`] takes it.

use super::command::Command;
use super::event::Decision;
use super::lane::Lane;
use super::length::decide_within;
use super::run::Run;

/// A decision about a parked run, before anybody gave a reason for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Try again.
    Retry,
    /// Go on without it.
    Skip,
    /// Give the run up.
    Abort,
}

impl Way {
    const ALL: [Self; 3] = [Self::Retry, Self::Skip, Self::Abort];

    fn decision(self) -> Decision {
        let reason = String::new();
        match self {
            Self::Retry => Decision::Retry,
            Self::Skip => Decision::Skip { reason },
            Self::Abort => Decision::Abort { reason },
        }
    }
}

/// Returns what can be decided about a run; nothing while it is not parked.
pub fn ways_on(run_events_max: u64, run: &Run) -> Vec<Way> {
    let lane = Lane::default();
    let is_open = |way: &Way| {
        decide_within(run_events_max, &lane, Some(run), Command::Resolve(way.decision()), 0).is_ok()
    };
    Way::ALL.into_iter().filter(is_open).collect()
}
