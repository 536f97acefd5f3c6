//! A run in one line: what listings show, and what the store indexes.

use serde::{Deserialize, Serialize};

use super::event::{Cause, Commit, Event, Origin};
use super::evolve::MOVES;
use super::lane::LaneId;
use super::run::{RunId, RunState};
use super::stage::Stage;

/// A run in one line, kept up event by event without the run's whole history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RunSummary {
    /// Its identity.
    pub id: RunId,
    /// App and environment.
    pub lane: LaneId,
    /// What it deploys.
    pub commit: Commit,
    /// What triggered it.
    pub trigger: String,
    /// Who triggered it.
    pub actor: String,
    /// How far it got.
    pub state: RunState,
    /// The stage in flight, if one is.
    pub stage: Option<Stage>,
    /// Why it waits for a person, if it does.
    pub parked: Option<String>,
    /// Until when it waits for a person who approves its deploy, if it does, in milliseconds since 1970.
    #[serde(default)]
    pub approval_until_ms: Option<u64>,
    /// Why it ended red, if it did.
    pub cause: Option<Cause>,
    /// When it was triggered, in milliseconds since 1970.
    pub started_ms: u64,
    /// When it last moved, in milliseconds since 1970.
    pub updated_ms: u64,
    /// The place of its last event.
    pub seq: u64,
    /// False once nothing is owed to it.
    pub open: bool,
}

impl RunSummary {
    /// Returns the line of a run whose first event this is; None when it is not a first event.
    pub fn begin(id: RunId, actor: &str, at_ms: u64, event: &Event) -> Option<Self> {
        let Event::RunStarted { lane, origin, trigger } = event else { return None };
        let (commit, state) = match origin {
            Origin::Push { commit, .. } => (commit.clone(), RunState::Pushed),
            Origin::Release { release, .. } | Origin::Promotion { release, .. } => {
                (release.commit.clone(), RunState::ImagePushed)
            }
            Origin::Rerun(rerun) => (rerun.commit.clone(), rerun.begins().0),
        };
        Some(Self {
            id,
            lane: lane.clone(),
            commit,
            trigger: trigger.clone(),
            actor: actor.to_owned(),
            state,
            stage: None,
            parked: None,
            approval_until_ms: None,
            cause: None,
            started_ms: at_ms,
            updated_ms: at_ms,
            seq: 1,
            open: true,
        })
    }

    /// Takes in one more event.
    pub fn apply(&mut self, seq: u64, at_ms: u64, event: &Event) {
        self.seq = seq;
        self.updated_ms = at_ms;
        match event {
            Event::StageStarted { stage, .. } => self.stage = Some(*stage),
            // It may be made again by a run that is further already.
            Event::StageSucceeded { stage: Stage::Checkout, .. } => self.stage = None,
            Event::StageSucceeded { stage, .. } | Event::StageSkipped { stage, .. } => {
                self.state = MOVES[*stage as usize].2;
                self.stage = None;
            }
            Event::ApprovalRequested { until_ms } => self.approval_until_ms = Some(*until_ms),
            Event::RunApproved | Event::RunRejected { .. } => self.approval_until_ms = None,
            Event::StageFailed { stage, failure, .. } => {
                self.cause = Some(Cause::StageFailed { stage: *stage, reason: failure.reason.clone() });
                self.stage = None;
            }
            Event::StageErrored { .. } | Event::StageUndone { .. } => self.stage = None,
            Event::RunParked { reason, .. } => self.parked = Some(reason.clone()),
            Event::RunUnparked { .. } => self.parked = None,
            Event::RollbackStarted { cause, .. } => {
                self.cause = Some(cause.clone());
                self.parked = None;
            }
            Event::RollbackSucceeded { .. } => self.state = RunState::RolledBack,
            Event::RunLive { .. } => self.state = RunState::Live,
            Event::RunFailed { cause } => {
                self.cause = Some(cause.clone());
                (self.parked, self.approval_until_ms) = (None, None);
                self.state = RunState::Failed;
            }
            Event::RunClosed => self.open = false,
            Event::RunStarted { .. }
            | Event::StageRecovered { .. }
            | Event::UndoRecovered { .. }
            | Event::RollbackRecovered { .. }
            | Event::NoticeRecovered { .. }
            | Event::DeploymentStarted { .. }
            | Event::CancelRequested { .. }
            | Event::RollbackErrored { .. }
            | Event::NoticeStarted { .. }
            | Event::NoticeSent { .. }
            | Event::NoticeErrored { .. }
            | Event::Ledger(_) => {}
        }
    }
}
