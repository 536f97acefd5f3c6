//! A lane: one app in one environment, and what it serves, as the fold of its runs' events.
//!
//! The lock of a lane is not stored anywhere: it is held by the run that entered and has not ended, so
//! it cannot be left behind.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::event::{Commit, Event, Origin};
use super::facts::{Candidate, PushedImage};
use super::ledger::LedgerEvent;
use super::run::RunId;
use super::settings::DeploySettings;

/// An app in an environment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LaneId {
    /// Name of the app: `a-z`, `0-9` and `-`, as checked at the edge.
    pub app: String,
    /// Name of the environment, `production` unless told.
    pub env: String,
}

impl LaneId {
    /// Returns the lane of an app in production.
    pub fn production(app: impl Into<String>) -> Self {
        Self { app: app.into(), env: "production".into() }
    }
}

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.app, self.env)
    }
}

/// An image digest that was live, is live, or may be again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Release {
    /// The run that made it live.
    pub run: RunId,
    /// What it was made from.
    pub commit: Commit,
    /// The image, by digest.
    pub image: PushedImage,
    /// The container that served it.
    pub candidate: Candidate,
    /// When it went live, in milliseconds since 1970.
    pub live_at_ms: u64,
}

/// Why a commit is not deployed again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Hold {
    /// The run that was rolled back. None: a person holds it.
    pub run: Option<RunId>,
    /// Why.
    pub reason: String,
}

/// Returns since when and why a commit is held, behind "is held".
pub fn hold_in_words(since: Option<RunId>, reason: &str) -> String {
    match since {
        Some(run) => format!(" since run {run} was rolled back ({reason})"),
        None => format!(" by hand ({reason})"),
    }
}

/// Why no run enters a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Pause {
    /// Why, as given by whoever paused it.
    pub reason: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
}

/// How many former releases a lane remembers. Retention removes images long before; see `[deploy] retain`.
pub const FORMER_MAX: usize = 50;

/// What an app in an environment serves, served, and must not serve again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Lane {
    /// The release that serves.
    pub live: Option<Release>,
    /// The releases before it, newest first, each digest once.
    pub former: Vec<Release>,
    /// When `live` took over from the first of `former`, in milliseconds since 1970.
    pub switched_at_ms: u64,
    /// Commits that an automatic rollback or a person holds back, by full sha.
    pub held: BTreeMap<String, Hold>,
    /// The highest generation that any run was promised.
    pub generation: u64,
    /// The newest run of each branch that entered the lane.
    pub newest: BTreeMap<String, RunId>,
    /// The run that has the lane to itself.
    pub holder: Option<RunId>,
    /// Set while no run may enter the lane.
    #[serde(default)]
    pub paused: Option<Pause>,
}

impl Lane {
    /// Takes in one event of one of the lane's runs, or one of the ledger that concerns the lane, in the order of
    /// the log.
    pub fn apply(&mut self, run: RunId, at_ms: u64, event: &Event) {
        match event {
            Event::RunStarted { origin: Origin::Push { commit, release_hold: true, .. }, .. } => {
                self.held.remove(&commit.sha);
            }
            Event::RunStarted { origin: Origin::Rerun(rerun), .. } if rerun.release_hold => {
                self.held.remove(&rerun.commit.sha);
            }
            Event::DeploymentStarted { generation, branch, .. } => {
                self.generation = self.generation.max(generation + 1);
                self.holder = Some(run);
                if let Some(branch) = branch {
                    self.newest.insert(branch.clone(), run);
                }
            }
            Event::RunLive { release } => self.goes_live((**release).clone(), at_ms),
            Event::RollbackSucceeded { hold, .. } => {
                if let Some(hold) = hold {
                    self.held.insert(hold.sha.clone(), Hold { run: Some(run), reason: hold.reason.clone() });
                }
                self.leave(run);
            }
            Event::RunFailed { .. } => self.leave(run),
            Event::Ledger(event) => self.decided(at_ms, event),
            Event::RunStarted { .. }
            | Event::StageStarted { .. }
            | Event::StageRecovered { .. }
            | Event::StageSucceeded { .. }
            | Event::StageFailed { .. }
            | Event::StageErrored { .. }
            | Event::StageUndone { .. }
            | Event::UndoRecovered { .. }
            | Event::StageSkipped { .. }
            | Event::ApprovalRequested { .. }
            | Event::RunApproved
            | Event::RunRejected { .. }
            | Event::CancelRequested { .. }
            | Event::RollbackStarted { .. }
            | Event::RollbackRecovered { .. }
            | Event::RollbackErrored { .. }
            | Event::RunParked { .. }
            | Event::RunUnparked { .. }
            | Event::NoticeStarted { .. }
            | Event::NoticeRecovered { .. }
            | Event::NoticeSent { .. }
            | Event::NoticeErrored { .. }
            | Event::RunClosed => {}
        }
    }

    /// Returns the releases that must stay deployable: the live one and the newest `retain` before it.
    pub fn retained(&self, retain: usize) -> impl Iterator<Item = &Release> {
        self.live.iter().chain(self.former.iter().take(retain))
    }

    /// Returns until when the release before the live one is kept warm, in milliseconds since 1970: requests that it was
    /// serving at the switch are finished before it stops, however short it is kept.
    pub fn warm_until_ms(&self, deploy: &DeploySettings) -> u64 {
        self.switched_at_ms.saturating_add(deploy.keep_warm_ms.max(deploy.drain_ms))
    }

    fn goes_live(&mut self, release: Release, at_ms: u64) {
        self.leave(release.run);
        if let Some(replaced) = self.live.replace(release) {
            self.former.insert(0, replaced);
        }
        let live_digest = self.live.as_ref().map(|live| live.image.digest.clone());
        let mut seen: Vec<String> = live_digest.into_iter().collect();
        self.former.retain(|former| {
            let first = !seen.contains(&former.image.digest);
            if first {
                seen.push(former.image.digest.clone());
            }
            first
        });
        self.former.truncate(FORMER_MAX);
        self.switched_at_ms = at_ms;
    }

    fn decided(&mut self, at_ms: u64, event: &LedgerEvent) {
        match event {
            LedgerEvent::LanePaused { reason, .. } => {
                self.paused = Some(Pause { reason: reason.clone(), since_ms: at_ms });
            }
            LedgerEvent::LaneResumed { .. } => self.paused = None,
            LedgerEvent::CommitHeld { sha, reason, .. } => {
                self.held.insert(sha.clone(), Hold { run: None, reason: reason.clone() });
            }
            LedgerEvent::HoldReleased { sha, .. } => drop(self.held.remove(sha)),
            LedgerEvent::AppRegistered { .. }
            | LedgerEvent::AppRemoved { .. }
            | LedgerEvent::TokenCreated { .. }
            | LedgerEvent::TokenRevoked { .. }
            | LedgerEvent::SecretSet { .. }
            | LedgerEvent::SecretRemoved { .. }
            | LedgerEvent::Pruned { .. } => {}
        }
    }

    fn leave(&mut self, run: RunId) {
        if self.holder == Some(run) {
            self.holder = None;
        }
    }
}
