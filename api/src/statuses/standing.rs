//! How a commit and its deploy stand by a run, as a pure function of it.
//!
//! A forge may show this to the whole world, so no reason of a failure is in it: that is for those who may read the
//! log.

use landfall_engine::core::event::Cause;
use landfall_engine::core::run::{Phase, Run, RunState};
use landfall_stages::forge::CommitState;
use serde::{Deserialize, Serialize};

/// One word and one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) state: CommitState,
    pub(super) text: String,
}

/// What there is to tell of a run now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) commit: Line,
    /// None: nothing is deployed yet.
    pub(super) deploy: Option<Line>,
    /// True: there will be nothing more to tell.
    pub(super) is_last: bool,
}

impl Standing {
    pub(super) fn of(run: &Run) -> Self {
        let commit = commit(run);
        let deploy = run.entry.is_some().then(|| commit.clone());
        Self { commit, deploy, is_last: run.is_closed() }
    }
}

fn commit(run: &Run) -> Line {
    let env = &run.lane.env;
    let (state, text) = match (run.state, &run.phase) {
        (RunState::Live, _) => (CommitState::Success, format!("live in {env}")),
        (RunState::Failed, _) => ended(run, "what serves was not touched"),
        (RunState::RolledBack, _) => ended(run, "rolled back"),
        (_, Phase::RollingBack { .. } | Phase::RollbackRetryDue { .. }) => {
            (CommitState::Running, "being rolled back".into())
        }
        (state, Phase::Parked(_)) => (on_the_way(state), "waits for a person".into()),
        (RunState::Pushed, _) => (CommitState::Pending, "being checked out and tested".into()),
        (state, _) => (on_the_way(state), format!("tested; on the way to {env}")),
    };
    Line { state, text }
}

const fn on_the_way(state: RunState) -> CommitState {
    match state {
        RunState::Pushed => CommitState::Pending,
        _ => CommitState::Running,
    }
}

/// Returns how a run ended that is not live. Whoever stopped it does not say that the commit is bad.
fn ended(run: &Run, then: &str) -> (CommitState, String) {
    let (state, what) = match &run.cause {
        Some(Cause::StageFailed { stage, .. }) => {
            (CommitState::Failure, format!("{} failed", stage.spoken()))
        }
        Some(Cause::Cancelled { .. }) => (CommitState::Cancelled, "cancelled".into()),
        Some(Cause::Superseded { .. }) => (CommitState::Cancelled, "a newer commit took its place".into()),
        Some(Cause::Held { .. }) => (CommitState::Cancelled, "held since it was rolled back".into()),
        Some(Cause::Aborted { .. }) => (CommitState::Cancelled, "given up by a person".into()),
        Some(Cause::Rejected { .. }) => (CommitState::Cancelled, "a person did not approve it".into()),
        Some(Cause::NotApproved { .. }) => (CommitState::Cancelled, "nobody approved it in time".into()),
        None => (CommitState::Failure, "stopped".into()),
    };
    (state, format!("{what}; {then}"))
}
