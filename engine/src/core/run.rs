//! A run: the life of one push, as the fold of its events.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::event::{Cause, Commit, Origin};
use super::facts::{BuiltImage, Candidate, PushedImage, TestReport};
use super::lane::{LaneId, Release};
use super::notice::NoticeId;
use super::settings::Settings;
use super::stage::Stage;

/// The identity of a run: a UUID v7, so runs sort by the time of their trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct RunId(pub Uuid);

impl RunId {
    /// Returns a form short enough for tags and container names, and still unique: the random end.
    pub fn short(self) -> String {
        let text = self.0.simple().to_string();
        text[text.len() - 12..].to_owned()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for RunId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// How far a run got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// The trigger is recorded.
    Pushed,
    /// The tests are green.
    Tested,
    /// The image is built.
    Built,
    /// The image is in the registry.
    ImagePushed,
    /// The candidate is healthy and has no traffic.
    Deployed,
    /// The candidate passed its smoke checks.
    Smoked,
    /// The new version serves. Terminal.
    Live,
    /// The run ended before its deploy; what serves is untouched. Terminal.
    Failed,
    /// The deploy was undone; the former release serves. Terminal.
    RolledBack,
}

impl RunState {
    /// Every state, in the order of the execution table.
    pub const ALL: [Self; 9] = [
        Self::Pushed,
        Self::Tested,
        Self::Built,
        Self::ImagePushed,
        Self::Deployed,
        Self::Smoked,
        Self::Live,
        Self::Failed,
        Self::RolledBack,
    ];

    /// Tells whether no event moves a run on from here.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Live | Self::Failed | Self::RolledBack)
    }

    /// Returns the name that people read.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pushed => "Pushed",
            Self::Tested => "Tested",
            Self::Built => "Built",
            Self::ImagePushed => "Pushed(image)",
            Self::Deployed => "Deployed",
            Self::Smoked => "Smoked",
            Self::Live => "Live",
            Self::Failed => "Failed",
            Self::RolledBack => "RolledBack",
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// The one attempt in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Work {
    /// What is being done.
    pub stage: Stage,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// When it is out of time, in milliseconds since 1970. A restart does not move it.
    pub deadline_ms: u64,
    /// How often an engine found this attempt unconcluded when it started.
    pub recoveries: u32,
}

/// What a run is waiting for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// For nothing: the next stage may begin, or the run queues for its lane.
    Ready,
    /// For the outcome of a stage.
    Working(Work),
    /// For the time at which a stage is tried again.
    RetryDue {
        /// What will be tried.
        stage: Stage,
        /// Which try that will be.
        attempt: u32,
        /// When, in milliseconds since 1970.
        due_ms: u64,
    },
    /// For the outcome of a rollback.
    RollingBack {
        /// Which try this is, from 1.
        attempt: u32,
        /// When it is out of time, in milliseconds since 1970.
        deadline_ms: u64,
        /// How often an engine found this try unconcluded when it started.
        #[serde(default)]
        recoveries: u32,
    },
    /// For the time at which the rollback is tried again.
    RollbackRetryDue {
        /// Which try that will be.
        attempt: u32,
        /// When, in milliseconds since 1970.
        due_ms: u64,
    },
    /// For what a red answer, the lack of one, or a person's word leads to. That is in the same append, so no
    /// run is found like this.
    Stopping {
        /// How often a rollback was tried.
        rollbacks: u32,
    },
    /// For a person who lets the deploy begin.
    AwaitingApproval {
        /// When the run ends without, in milliseconds since 1970. A restart does not move it.
        until_ms: u64,
    },
    /// For the stage that a person lets pass. Recorded in the same append too.
    Skipping {
        /// Which.
        stage: Stage,
    },
    /// For a person.
    Parked(Parked),
    /// For the last notices: the state is terminal.
    Ended,
    /// For nothing, ever.
    Closed,
}

/// Why a run waits for a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Parked {
    /// What could not be concluded.
    pub at: Blocked,
    /// One line: what is known and what is not.
    pub reason: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
}

/// What could not be concluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Blocked {
    /// An attempt at a stage.
    Stage {
        /// The stage.
        stage: Stage,
        /// The attempt.
        attempt: u32,
    },
    /// An attempt at a rollback. Zero: none was made, because rollbacks are manual here.
    Rollback {
        /// The attempt.
        attempt: u32,
    },
}

/// What a run was promised when it entered its lane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LaneEntry {
    /// The release that serves, and that a rollback goes back to.
    pub replaces: Option<Release>,
    /// The generation with which the traffic is switched. Switching back takes the next one.
    pub generation: u64,
}

/// How a notice stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum NoticeProgress {
    /// An attempt is in flight.
    Sending {
        /// Which try, from 1.
        attempt: u32,
        /// How often an engine found this try unconcluded when it started.
        #[serde(default)]
        recoveries: u32,
    },
    /// The next try waits.
    RetryDue {
        /// Which try that will be.
        attempt: u32,
        /// When, in milliseconds since 1970.
        due_ms: u64,
    },
    /// The receiver took it.
    Sent,
    /// Given up; the reason is in the log.
    Abandoned,
}

/// The life of one push, up to and including event `seq`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Run {
    /// Its identity.
    pub id: RunId,
    /// The place of the last event: the version that the next append expects.
    pub seq: u64,
    /// The app and environment that it deploys to.
    pub lane: LaneId,
    /// What it started from.
    pub origin: Origin,
    /// How far it got.
    pub state: RunState,
    /// What it is waiting for.
    pub phase: Phase,
    /// When it was triggered, in milliseconds since 1970.
    pub started_ms: u64,
    /// The last stage that was concluded or skipped.
    pub done: Option<Stage>,
    /// Set once somebody cancelled it: why.
    pub cancel: Option<String>,
    /// True once a person let the deploy begin.
    #[serde(default)]
    pub approved: bool,
    /// True once the commit's files are laid out for this run.
    #[serde(default)]
    pub laid_out: bool,
    /// The configuration at the commit, known after the checkout.
    pub settings: Option<Box<Settings>>,
    /// The test result, known after the tests.
    pub tests: Option<TestReport>,
    /// The image in the local engine, known after the build.
    pub built: Option<BuiltImage>,
    /// The image in the registry, known after the push.
    pub image: Option<PushedImage>,
    /// What the lane promised, known from the start of the deploy.
    pub entry: Option<LaneEntry>,
    /// True from the first intent to deploy: something of ours may be running.
    pub deploy_begun: bool,
    /// The candidate, known once it is healthy.
    pub candidate: Option<Candidate>,
    /// Why it ended red, or is being rolled back.
    pub cause: Option<Cause>,
    /// The seq of the event that parked the run last; 0 when it never was.
    pub parked_seq: u64,
    /// The notices that were begun.
    #[cfg_attr(feature = "schema", schema(value_type = BTreeMap<String, NoticeProgress>))]
    pub notices: BTreeMap<NoticeId, NoticeProgress>,
}

impl Run {
    /// Returns the commit that this run deploys.
    pub fn commit(&self) -> &Commit {
        match &self.origin {
            Origin::Push { commit, .. } => commit,
            Origin::Release { release, .. } | Origin::Promotion { release, .. } => &release.commit,
            Origin::Rerun(rerun) => &rerun.commit,
        }
    }

    /// Tells whether the commit's files have to be laid out although the checkout is behind the run.
    pub fn owes_files(&self) -> bool {
        match &self.origin {
            Origin::Rerun(rerun) => rerun.needs_files() && !self.laid_out,
            Origin::Push { .. } | Origin::Release { .. } | Origin::Promotion { .. } => false,
        }
    }

    /// Returns how long a person may take to approve the deploy, in milliseconds; None when nobody has to.
    ///
    /// A rollback by hand is a person's word already.
    pub fn approval_needed_ms(&self, settings: Option<&Settings>) -> Option<u64> {
        let is_by_hand = matches!(self.origin, Origin::Release { .. });
        let is_asked = !self.approved && self.entry.is_none() && !is_by_hand;
        settings.and_then(|settings| settings.deploy.approval_ms).filter(|_| is_asked)
    }

    /// Tells whether nothing is owed to this run any more.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Returns why the run waits for a person, if it does.
    pub fn parked(&self) -> Option<&Parked> {
        match &self.phase {
            Phase::Parked(parked) => Some(parked),
            _ => None,
        }
    }

    /// Tells whether the run has its lane to itself.
    pub fn holds_lane(&self) -> bool {
        self.entry.is_some() && !self.state.is_terminal()
    }
}
