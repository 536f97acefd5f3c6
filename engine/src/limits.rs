//! How much an engine takes on.
//!
//! What is beyond a limit is refused or parked with the reason; nothing waits without one. Limits of the disk are the
//! store's, which knows it: see [`EventStore::admits`](crate::ports::EventStore::admits).

use crate::core::lane::LaneId;

/// Rollbacks by hand that are taken beyond the limits of open runs: they stand between users and a broken
/// release, and a person asks for one at a time.
pub(crate) const ROLLBACKS_RESERVED: usize = 16;

/// How much an engine takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open runs of all apps. A restart goes on with all of them at once, which takes a second for this many.
    pub open_runs_max: usize,
    /// Open runs of one app and environment: the one that deploys, and those that are on their way to it. More is a
    /// loop, or a lane that nobody looks after.
    pub lane_runs_max: usize,
    /// Events of one run, from which on it begins no more stages. A run has about 30, and 200 after five silent tries
    /// of each stage; only a person's retries lead to more. What ends the run is never refused: a decision, a
    /// rollback and the notices add some 50.
    ///
    /// A parked rollback and parked checks of the public address may be tried again without an end. Each time is a
    /// person's word and adds some 30 events; refusing it would leave users with a broken release, or with one that
    /// nobody checked, because a log is long.
    ///
    /// An engine with a higher limit lets a run that was parked by it go on.
    pub run_events_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { open_runs_max: 10_000, lane_runs_max: 100, run_events_max: 1_000 }
    }
}

/// Why a trigger is not taken now, though nothing is wrong with it. **Ask again later.**
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// The queue of an app and environment is full.
    #[error(
        "{lane} has {max} open runs, which is as many as it may have: wait until one ends, or cancel some \
         (`landfall runs --app {} --open` lists them)", lane.app
    )]
    Lane {
        /// App and environment.
        lane: LaneId,
        /// How many runs it may have.
        max: usize,
    },
    /// The engine has all the runs that it can have.
    #[error(
        "{max} runs are open, which is as many as there may be: wait until one ends, or cancel some \
         (`landfall runs --open` lists them)"
    )]
    Engine {
        /// How many runs there may be.
        max: usize,
    },
}

impl Limits {
    /// Tells whether one more run may begin.
    pub(crate) fn admit(
        &self,
        lane: &LaneId,
        of_lane: usize,
        of_all: usize,
        is_rollback: bool,
    ) -> Result<(), Busy> {
        let reserved = if is_rollback { ROLLBACKS_RESERVED } else { 0 };
        if of_all >= self.open_runs_max.saturating_add(reserved) {
            return Err(Busy::Engine { max: self.open_runs_max });
        }
        if of_lane >= self.lane_runs_max.saturating_add(reserved) {
            return Err(Busy::Lane { lane: lane.clone(), max: self.lane_runs_max });
        }
        Ok(())
    }
}
