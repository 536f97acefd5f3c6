//! What someone asks of a run. Imperative; may be refused.

use super::event::{Commit, Decision, Found, OutputRef};
use super::facts::{Facts, Failure};
use super::lane::{LaneId, Release, hold_in_words};
use super::notice::NoticeId;
use super::rerun::Rerun;
use super::run::{RunId, RunState};
use super::settings::Settings;
use super::stage::Stage;

/// How an effect ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is done.
    Succeeded(Facts),
    /// An answer: no.
    Failed(Failure),
    /// No answer. The only one that is tried again.
    Errored {
        /// What was being done, and what went wrong.
        reason: String,
    },
}

impl Outcome {
    /// Returns the lack of an answer.
    pub fn errored(reason: impl Into<String>) -> Self {
        Self::Errored { reason: reason.into() }
    }

    /// Returns a red answer with a reason alone.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::Failed(Failure::new(reason))
    }
}

/// Why a notice was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// An answer: no. It is not tried again.
    Failed {
        /// What the receiver said, or what is missing here.
        reason: String,
    },
    /// No answer, or the word to come again later.
    Errored {
        /// What went wrong.
        reason: String,
        /// How long the receiver wants to be left alone, in milliseconds, where it said so.
        retry_after_ms: Option<u64>,
    },
}

impl NotSent {
    /// Returns the lack of an answer.
    pub fn errored(reason: impl Into<String>) -> Self {
        Self::Errored { reason: reason.into(), retry_after_ms: None }
    }

    /// Returns an answer that trying again would not change.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::Failed { reason: reason.into() }
    }

    /// Returns what went wrong.
    pub fn reason(&self) -> &str {
        match self {
            Self::Failed { reason } | Self::Errored { reason, .. } => reason,
        }
    }

    /// Returns the same with other words for what went wrong.
    pub fn with_reason(self, words: impl FnOnce(&str) -> String) -> Self {
        match self {
            Self::Failed { reason } => Self::Failed { reason: words(&reason) },
            Self::Errored { reason, retry_after_ms } => {
                Self::Errored { reason: words(&reason), retry_after_ms }
            }
        }
    }
}

/// How a rollback ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RollbackOutcome {
    /// The deploy is undone, and that was seen.
    Succeeded {
        /// The digest that was seen serving. None: nothing was live before, and nothing serves.
        serving: Option<String>,
        /// How it was proved.
        proof: String,
    },
    /// It could not be done, or not be proved.
    Errored {
        /// What went wrong.
        reason: String,
    },
}

/// A push that asks for a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Push {
    /// App and environment.
    pub lane: LaneId,
    /// What was pushed.
    pub commit: Commit,
    /// The git repository that has it: a path or a URL without credentials.
    pub repository: String,
    /// What triggered it: `git push`, `landfall run`, `api`.
    pub trigger: String,
    /// Lifts the hold on this commit.
    pub release_hold: bool,
}

/// A release that is asked to be live, again or in another environment.
#[derive(Clone, Debug, PartialEq)]
pub struct Relaunch {
    /// App and environment.
    pub lane: LaneId,
    /// What is to be live.
    pub release: Release,
    /// The configuration with which it is deployed.
    pub settings: Settings,
    /// The environment that it is promoted from. None: it was live in this one.
    pub promoted_from: Option<LaneId>,
    /// What triggered it.
    pub trigger: String,
    /// Why, as given by whoever asked.
    pub reason: String,
}

/// A former run that is asked to be done again from one of its stages on.
#[derive(Clone, Debug, PartialEq)]
pub struct Again {
    /// App and environment.
    pub lane: LaneId,
    /// What is taken over.
    pub rerun: Rerun,
    /// What triggered it.
    pub trigger: String,
}

/// What someone asks of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Start a run for a push.
    Push(Push),
    /// Start a run for a release.
    Relaunch(Box<Relaunch>),
    /// Start a run in the middle of a former one.
    Again(Box<Again>),
    /// Begin the next stage, or try the due one again.
    Proceed,
    /// Take the lane.
    EnterLane,
    /// Make way for a newer run.
    Supersede {
        /// The newer run.
        by: RunId,
    },
    /// Note what a probe found.
    Recover {
        /// What was probed.
        stage: Stage,
        /// Which try.
        attempt: u32,
        /// What was found.
        found: Found,
        /// The evidence, for people.
        evidence: String,
    },
    /// Note that an engine started and found a cancelled attempt that was not undone yet.
    RecoverUndo {
        /// What.
        stage: Stage,
        /// Which try.
        attempt: u32,
    },
    /// Note that an engine started and found a rollback without an outcome.
    RecoverRollback {
        /// Which try.
        attempt: u32,
    },
    /// Note that an engine started and found a notice without an outcome.
    RecoverNotice {
        /// Which.
        notice: NoticeId,
        /// Which try.
        attempt: u32,
    },
    /// Take the outcome of a stage.
    Report {
        /// What.
        stage: Stage,
        /// Which try.
        attempt: u32,
        /// How it ended.
        outcome: Outcome,
        /// From the intent to the outcome, in milliseconds.
        took_ms: u64,
        /// What it printed.
        output: Option<OutputRef>,
    },
    /// Take note that a cancelled attempt is undone.
    ReportUndone {
        /// What.
        stage: Stage,
        /// Which try.
        attempt: u32,
        /// What went wrong with the undoing, if something did.
        error: Option<String>,
    },
    /// Take the outcome of a rollback.
    ReportRollback {
        /// Which try.
        attempt: u32,
        /// How it ended.
        outcome: RollbackOutcome,
        /// From the intent to the outcome, in milliseconds.
        took_ms: u64,
    },
    /// Begin a notice.
    Notify {
        /// Which.
        notice: NoticeId,
    },
    /// Take the outcome of a notice: what the receiver said, or what went wrong.
    ReportNotice {
        /// Which.
        notice: NoticeId,
        /// Which try.
        attempt: u32,
        /// How it ended.
        receipt: Result<String, NotSent>,
    },
    /// End the run: fail it, or roll back what it deployed.
    Cancel {
        /// Why.
        reason: String,
    },
    /// Decide about a parked run.
    Resolve(Decision),
    /// Let the deploy begin.
    Approve,
    /// Do not let the deploy begin: the run fails.
    Reject {
        /// Why.
        reason: String,
    },
}

/// Why a command was refused. A value for the caller, not a fault.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Rejected {
    /// The run does not exist.
    #[error("there is no such run")]
    NoSuchRun,
    /// The run exists already.
    #[error("this run was started already")]
    AlreadyStarted,
    /// The run is over.
    #[error("the run has ended: it is {0}")]
    Finished(RunState),
    /// The report is about an attempt that is not in flight.
    #[error("stale report: attempt {attempt} of {stage} is not in flight")]
    Stale {
        /// What.
        stage: &'static str,
        /// Which try.
        attempt: u32,
    },
    /// There is nothing to do now.
    #[error("nothing is due")]
    NotDue,
    /// A rollback is never cut in half.
    #[error("the run is being rolled back; that is not cut in half")]
    RollingBack,
    /// Only a parked run takes decisions.
    #[error("the run is not parked, so there is nothing to decide")]
    NotParked,
    /// A cancelled run does no more stages.
    #[error("the run is cancelled, so it does no more stages: abort it")]
    Cancelled,
    /// Later stages need what this one finds out.
    #[error("{0} can't be skipped: later stages need what it finds out; retry or abort")]
    NotSkippable(Blocked),
    /// The run has grown too long to go on.
    #[error(
        "the run has {events} events and begins no more stages from {max} on: abort it, which fails it or rolls \
         back what it deployed"
    )]
    TooLong {
        /// How many it has.
        events: u64,
        /// The limit.
        max: u64,
    },
    /// The commit was rolled back before, or a person holds it.
    #[error("commit {sha} is held{}; release the hold to deploy it again", hold_in_words(*since, reason))]
    Held {
        /// Full hash.
        sha: String,
        /// The run that was rolled back. None: a person holds it.
        since: Option<RunId>,
        /// Why it was.
        reason: String,
    },
    /// The lane belongs to another run.
    #[error("run {0} has the lane")]
    LaneTaken(RunId),
    /// Nobody asked for an approval, or it was given.
    #[error("the run does not wait for an approval")]
    NotAwaiting,
    /// The time to approve is over, and the run about to end.
    #[error("the time to approve the run is over")]
    TooLate,
    /// The lane is paused.
    #[error("{} is paused ({reason}); what waits goes on once it is resumed", lane)]
    Paused {
        /// App and environment.
        lane: LaneId,
        /// Why, as given by whoever paused it.
        reason: String,
    },
    /// A deploy that was not approved does not begin.
    #[error("the run waits for an approval")]
    NotApproved,
    /// Only a run that is over is done again.
    #[error(
        "the run is not over, so it can't be done again: cancel it first, or retry it where it is parked"
    )]
    NotOver,
    /// The former run does not have what it takes.
    #[error("run {run} can't be done again like this: {why}")]
    NotRerunnable {
        /// The former run.
        run: RunId,
        /// What is missing, or what to do instead.
        why: String,
    },
    /// The run is not where whoever asked saw it.
    #[error("the run moved on: event {seen} was the last that was seen, and {found} is its last now")]
    MovedOn {
        /// The last event that was seen.
        seen: u64,
        /// The last event.
        found: u64,
    },
    /// Something else was asked under this name.
    #[error(
        "this idempotency key stands for another request, to run {run}: take a new key for a new request"
    )]
    OtherRequest {
        /// The run that it was asked of, or that it started.
        run: RunId,
    },
}

/// What can't be skipped, for the message.
pub type Blocked = &'static str;
