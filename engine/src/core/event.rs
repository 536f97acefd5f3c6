//! What happened. Facts in the past tense: never refused, never edited, stored for ever.
//!
//! The text of every event is pinned by a test (`engine/tests/stored_shapes.txt`), so that a rename in
//! Rust can't rename history. A new field gets a default; a new meaning gets a new event.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::facts::{Facts, Failure};
use super::lane::{LaneId, Release};
use super::ledger::LedgerEvent;
use super::notice::NoticeId;
use super::rerun::Rerun;
use super::run::{Blocked, RunId};
use super::settings::Settings;
use super::stage::Stage;

/// Version of the stored shapes. Raised in the commit that changes one, with an upcaster.
pub const SCHEMA: u16 = 1;

/// A commit, and who made it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Commit {
    /// Full hash.
    pub sha: String,
    /// The branch that was pushed, without `refs/heads/`. None: a detached commit.
    pub branch: Option<String>,
    /// First line of the message.
    pub subject: String,
    /// Name of the author.
    pub author: String,
    /// E-mail address of the author.
    pub email: String,
}

impl Commit {
    /// Returns the first twelve digits of the hash.
    pub fn short(&self) -> &str {
        self.sha.get(..12).unwrap_or(&self.sha)
    }
}

/// Where a run starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// From a commit: everything is done anew.
    Push {
        /// What was pushed.
        commit: Commit,
        /// The git repository that has it: a path or a URL without credentials.
        repository: String,
        /// True when whoever asked lifts the hold on this commit.
        release_hold: bool,
    },
    /// From a release that is in the registry already and was live here: a rollback by hand.
    Release {
        /// What is to be live.
        release: Box<Release>,
        /// The configuration that it had.
        settings: Box<Settings>,
        /// Why, as given by whoever asked.
        reason: String,
    },
    /// From a release of another environment of the same app, as it is: nothing is built again.
    Promotion {
        /// Where it is, or was, live.
        from: LaneId,
        /// What is to be live here too.
        release: Box<Release>,
        /// The configuration that its commit has for this environment.
        settings: Box<Settings>,
        /// Why, as given by whoever asked.
        reason: String,
    },
    /// From the middle of a former run.
    Rerun(Box<Rerun>),
}

/// Why a run ended red.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A stage said no.
    StageFailed {
        /// Which.
        stage: Stage,
        /// Why.
        reason: String,
    },
    /// Somebody cancelled it.
    Cancelled {
        /// Why.
        reason: String,
    },
    /// A newer run of the same branch took its place.
    Superseded {
        /// The newer run.
        by: RunId,
    },
    /// The commit is held.
    Held {
        /// The run that was rolled back. None: a person holds it.
        since: Option<RunId>,
    },
    /// A person gave up a parked run.
    Aborted {
        /// Why.
        reason: String,
    },
    /// A person was asked to approve the deploy, and said no.
    Rejected {
        /// Why.
        reason: String,
    },
    /// Nobody approved the deploy in time.
    NotApproved {
        /// Until when that could have been, in milliseconds since 1970.
        until_ms: u64,
    },
}

/// Where the output of an attempt is, and how to tell that it is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OutputRef {
    /// Length in bytes.
    pub len: u64,
    /// SHA-256 in hex.
    pub sha256: String,
}

/// What a probe found after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// The effect had not begun, or left nothing: it is done now, under the same key.
    NotStarted,
    /// It was still going on: the engine follows it again.
    Running,
    /// It had ended; its outcome was read.
    Done,
    /// It can't be told.
    Unknown,
}

/// A hold that a rollback puts on its commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HeldCommit {
    /// Full hash.
    pub sha: String,
    /// Why.
    pub reason: String,
}

/// What a person decides about a parked run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Try again what could not be concluded.
    Retry,
    /// Go on as if the stage had succeeded.
    Skip {
        /// Why.
        reason: String,
    },
    /// Give the run up: fail, or roll back what was deployed.
    Abort {
        /// Why.
        reason: String,
    },
}

/// One thing that happened in the life of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A run was triggered. Row 1 of the execution table.
    RunStarted {
        /// App and environment.
        lane: LaneId,
        /// From what.
        origin: Origin,
        /// What triggered it: `git push`, `landfall run`, `api`.
        trigger: String,
    },
    /// The intent to do a stage.
    StageStarted {
        /// What.
        stage: Stage,
        /// Which try, from 1.
        attempt: u32,
        /// When it is out of time, in milliseconds since 1970.
        deadline_ms: u64,
    },
    /// An engine started and found the attempt without an outcome.
    StageRecovered {
        /// What.
        stage: Stage,
        /// Which try.
        attempt: u32,
        /// What the probe found.
        found: Found,
    },
    /// A stage ended green.
    StageSucceeded {
        /// What.
        stage: Stage,
        /// Which try.
        attempt: u32,
        /// What it found out.
        facts: Facts,
        /// From the intent to the outcome, in milliseconds.
        took_ms: u64,
        /// What it printed.
        output: Option<OutputRef>,
    },
    /// A stage ended red: an answer.
    StageFailed {
        /// What.
        stage: Stage,
        /// Which try.
        attempt: u32,
        /// Why.
        failure: Failure,
        /// From the intent to the outcome, in milliseconds.
        took_ms: u64,
        /// What it printed.
        output: Option<OutputRef>,
    },
    /// A stage gave no answer.
    StageErrored {
        /// What.
        stage: Stage,
        /// Which try.
        attempt: u32,
        /// What was being done, and what went wrong.
        reason: String,
        /// When it is tried again, in milliseconds since 1970. None: it is not.
        retry_due_ms: Option<u64>,
    },
    /// What a cancelled attempt had begun was undone.
    StageUndone {
        /// What.
        stage: Stage,
        /// Which try.
        attempt: u32,
    },
    /// An engine started and found a cancelled attempt that was not undone yet.
    UndoRecovered {
        /// What.
        stage: Stage,
        /// Which try.
        attempt: u32,
    },
    /// A person let a parked stage pass.
    StageSkipped {
        /// What.
        stage: Stage,
        /// Why.
        reason: String,
    },
    /// The deploy waits for a person who lets it begin. Time alone never does.
    ApprovalRequested {
        /// When the run ends without, in milliseconds since 1970.
        until_ms: u64,
    },
    /// A person lets the deploy begin.
    RunApproved,
    /// A person does not let the deploy begin.
    RunRejected {
        /// Why.
        reason: String,
    },
    /// The run has its lane to itself. Row 5 of the execution table.
    DeploymentStarted {
        /// The branch, for superseding.
        branch: Option<String>,
        /// What serves now.
        replaces: Option<Box<Release>>,
        /// The generation of the switch to come.
        generation: u64,
    },
    /// Somebody asked for the end of the run.
    CancelRequested {
        /// Why.
        reason: String,
    },
    /// The intent to roll back.
    RollbackStarted {
        /// Which try, from 1.
        attempt: u32,
        /// Why.
        cause: Cause,
        /// When the try is out of time, in milliseconds since 1970.
        deadline_ms: u64,
    },
    /// An engine started and found the rollback without an outcome.
    RollbackRecovered {
        /// Which try.
        attempt: u32,
    },
    /// The deploy is undone and proved to be.
    RollbackSucceeded {
        /// Which try.
        attempt: u32,
        /// The digest that was seen serving. None: nothing was live before, and nothing serves.
        serving: Option<String>,
        /// How it was proved.
        proof: String,
        /// The hold on the commit, if there is one.
        hold: Option<HeldCommit>,
        /// From the intent to the outcome, in milliseconds.
        took_ms: u64,
    },
    /// The rollback could not be done or proved.
    RollbackErrored {
        /// Which try.
        attempt: u32,
        /// What went wrong.
        reason: String,
        /// When it is tried again, in milliseconds since 1970. None: it is not.
        retry_due_ms: Option<u64>,
    },
    /// The run waits for a person.
    RunParked {
        /// What could not be concluded.
        at: Blocked,
        /// What is known and what is not.
        reason: String,
    },
    /// A person decided about a parked run.
    RunUnparked {
        /// What.
        decision: Decision,
    },
    /// The new version serves. Row 8.
    RunLive {
        /// What serves now.
        release: Box<Release>,
    },
    /// The run ended before its deploy. Row 9.
    RunFailed {
        /// Why.
        cause: Cause,
    },
    /// The intent to send a notice.
    NoticeStarted {
        /// Which.
        notice: NoticeId,
        /// Which try, from 1.
        attempt: u32,
    },
    /// An engine started and found the notice without an outcome.
    NoticeRecovered {
        /// Which.
        notice: NoticeId,
        /// Which try.
        attempt: u32,
    },
    /// The receiver took the notice.
    NoticeSent {
        /// Which.
        notice: NoticeId,
        /// What the receiver said.
        receipt: String,
    },
    /// The notice could not be sent.
    NoticeErrored {
        /// Which.
        notice: NoticeId,
        /// Which try.
        attempt: u32,
        /// What went wrong.
        reason: String,
        /// When it is tried again, in milliseconds since 1970. None: it is not.
        retry_due_ms: Option<u64>,
    },
    /// Nothing is owed to the run any more.
    RunClosed,
    /// Somebody decided about the installation, and about no run.
    Ledger(LedgerEvent),
}

impl Event {
    /// Returns the stored name of the event's type.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::RunStarted { .. } => "run_started",
            Self::StageStarted { .. } => "stage_started",
            Self::StageRecovered { .. } => "stage_recovered",
            Self::StageSucceeded { .. } => "stage_succeeded",
            Self::StageFailed { .. } => "stage_failed",
            Self::StageErrored { .. } => "stage_errored",
            Self::StageUndone { .. } => "stage_undone",
            Self::UndoRecovered { .. } => "undo_recovered",
            Self::StageSkipped { .. } => "stage_skipped",
            Self::ApprovalRequested { .. } => "approval_requested",
            Self::RunApproved => "run_approved",
            Self::RunRejected { .. } => "run_rejected",
            Self::DeploymentStarted { .. } => "deployment_started",
            Self::CancelRequested { .. } => "cancel_requested",
            Self::RollbackStarted { .. } => "rollback_started",
            Self::RollbackRecovered { .. } => "rollback_recovered",
            Self::RollbackSucceeded { .. } => "rollback_succeeded",
            Self::RollbackErrored { .. } => "rollback_errored",
            Self::RunParked { .. } => "run_parked",
            Self::RunUnparked { .. } => "run_unparked",
            Self::RunLive { .. } => "run_live",
            Self::RunFailed { .. } => "run_failed",
            Self::NoticeStarted { .. } => "notice_started",
            Self::NoticeRecovered { .. } => "notice_recovered",
            Self::NoticeSent { .. } => "notice_sent",
            Self::NoticeErrored { .. } => "notice_errored",
            Self::RunClosed => "run_closed",
            Self::Ledger(_) => "ledger",
        }
    }
}

/// A SHA-256 of stored bytes and their predecessor's hash.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct EventHash(pub [u8; 32]);

impl std::fmt::Debug for EventHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for EventHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for EventHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut hash = [0; 32];
        let digits = text.as_bytes();
        let wrong = || serde::de::Error::custom(format!("expected 64 hex digits, found {text:?}"));
        if digits.len() != 64 {
            return Err(wrong());
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(hash))
    }
}

/// One recorded fact and its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Envelope {
    /// Whose life it is part of.
    pub run_id: RunId,
    /// Place in the run: from 1, no gaps. The only order that counts within a run.
    pub seq: u64,
    /// Place in the log: from 1, no gaps.
    pub global_seq: u64,
    /// Names the event for ever: appending it twice is appending it once.
    pub event_id: Uuid,
    /// Version of `event`'s shape when it was written.
    pub schema: u16,
    /// Wall clock, for people. Never compared.
    pub recorded_at_ms: u64,
    /// Who asked: a user, a webhook delivery, or `engine`.
    pub actor: String,
    /// Version of the engine that wrote it.
    pub engine: String,
    /// The key of the effect that this is the intent or the outcome of.
    pub effect_key: Option<String>,
    /// What happened.
    pub event: Event,
    /// Covers the stored bytes and the predecessor's hash.
    #[cfg_attr(feature = "schema", schema(value_type = String, min_length = 64, max_length = 64))]
    pub hash: EventHash,
}
