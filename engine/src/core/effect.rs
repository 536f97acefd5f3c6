//! What the world owes a run, read from its state and from nothing else.
//!
//! A normal run, a restart and an audit are one path: whoever holds a [`Run`] can say what comes next.

use std::fmt;

use super::notice::{self, NoticeId};
use super::run::{NoticeProgress, Phase, Run, RunId};
use super::settings::{Settings, SmokeCheck};
use super::stage::Stage;
use crate::sabotaged;

/// What is to be done next. May happen twice; each has a key under which it is done once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Do, or follow, an attempt whose intent is recorded.
    RunStage {
        /// What.
        stage: Stage,
        /// Which try.
        attempt: u32,
        /// When it is out of time, in milliseconds since 1970.
        deadline_ms: u64,
    },
    /// Stop a cancelled attempt and remove what it began.
    Undo {
        /// What.
        stage: Stage,
        /// Which try.
        attempt: u32,
    },
    /// Undo the deploy and see the former release serve.
    Rollback {
        /// Which try.
        attempt: u32,
        /// When it is out of time, in milliseconds since 1970.
        deadline_ms: u64,
    },
    /// Send a notice whose intent is recorded.
    Notify {
        /// Which.
        notice: NoticeId,
        /// Which try.
        attempt: u32,
    },
    /// Record the intent to send a notice.
    BeginNotice(NoticeId),
    /// Record the intent of what comes next.
    Proceed,
    /// Wait for the lane, then enter it.
    EnterLane,
    /// Wait for a time, in milliseconds since 1970, then proceed.
    WaitUntil(u64),
    /// Wait for a time, in milliseconds since 1970, then begin the notice again.
    WaitForNotice(NoticeId, u64),
    /// Wait for a person.
    AwaitPerson,
    /// Wait for a person who approves the deploy, until a time, in milliseconds since 1970, or for a newer run of the
    /// branch.
    AwaitApproval(u64),
}

impl Effect {
    /// Tells whether nothing is done until a person says something.
    pub const fn is_a_persons(&self) -> bool {
        matches!(self, Self::AwaitPerson | Self::AwaitApproval(_))
    }
}

/// Returns what the world owes this run. None: nothing, ever again.
pub fn next_effect(run: &Run) -> Option<Effect> {
    match &run.phase {
        Phase::Working(work)
            if run.cancel.is_some() && (work.stage.is_interruptible() || sabotaged!(InterruptSwitch)) =>
        {
            Some(Effect::Undo { stage: work.stage, attempt: work.attempt })
        }
        Phase::Working(work) => {
            Some(Effect::RunStage { stage: work.stage, attempt: work.attempt, deadline_ms: work.deadline_ms })
        }
        Phase::RetryDue { due_ms, .. } | Phase::RollbackRetryDue { due_ms, .. } => {
            Some(Effect::WaitUntil(*due_ms))
        }
        Phase::RollingBack { attempt, deadline_ms, .. } => {
            Some(Effect::Rollback { attempt: *attempt, deadline_ms: *deadline_ms })
        }
        Phase::Ready if waits_for_lane(run) && may_queue(run) => Some(Effect::EnterLane),
        Phase::Ready => Some(Effect::Proceed),
        Phase::Parked(_) => Some(next_notice(run).unwrap_or(Effect::AwaitPerson)),
        Phase::AwaitingApproval { until_ms } => {
            Some(next_notice(run).unwrap_or(Effect::AwaitApproval(*until_ms)))
        }
        // Half an append. There is nothing to proceed with, which the driver will say.
        Phase::Stopping { .. } | Phase::Skipping { .. } => Some(Effect::Proceed),
        Phase::Ended => Some(next_notice(run).unwrap_or(Effect::Proceed)),
        Phase::Closed => None,
    }
}

/// Returns the stage after the last one that was concluded. None: there is none, the run goes live.
pub fn next_stage(done: Option<Stage>, settings: Option<&Settings>) -> Option<Stage> {
    let has_release_command = settings.is_some_and(|settings| settings.release.is_some());
    Stage::ALL
        .into_iter()
        .filter(|stage| has_release_command || *stage != Stage::ReleaseCommand)
        .find(|stage| done.is_none_or(|done| *stage > done))
}

/// Returns the stage that a run begins next. None: there is none, the run goes live.
pub fn stage_ahead(run: &Run) -> Option<Stage> {
    match run.owes_files() {
        true => Some(Stage::Checkout),
        false => next_stage(run.done, run.settings.as_deref()),
    }
}

/// Returns the stage that a run begins once it has concluded this one.
///
/// A checkout that is made again takes nothing back of what is behind the run.
pub fn stage_behind(run: &Run, concluded: Stage, settings: Option<&Settings>) -> Option<Stage> {
    next_stage(run.done.max(Some(concluded)), settings)
}

/// Tells whether a run that begins its next stage needs its lane for that, and does not have it.
pub fn waits_for_lane(run: &Run) -> bool {
    run.entry.is_none() && stage_ahead(run).is_some_and(Stage::needs_lane)
}

fn may_queue(run: &Run) -> bool {
    run.approval_needed_ms(run.settings.as_deref()).is_none()
}

fn next_notice(run: &Run) -> Option<Effect> {
    notice::owed(run).map(|(notice, progress)| match progress {
        Some(NoticeProgress::Sending { attempt, .. }) => Effect::Notify { notice, attempt },
        Some(NoticeProgress::RetryDue { due_ms, .. }) => Effect::WaitForNotice(notice, due_ms),
        _ => Effect::BeginNotice(notice),
    })
}

/// Names one attempt at one effect for ever. It travels with the effect: into container names, labels
/// and `Idempotency-Key` headers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EffectKey(String);

impl EffectKey {
    /// Returns the key of an attempt at a stage.
    pub fn stage(run: RunId, stage: Stage, attempt: u32) -> Self {
        Self(format!("{run}/{stage}/{attempt}"))
    }

    /// Returns the key of an attempt at a rollback.
    pub fn rollback(run: RunId, attempt: u32) -> Self {
        Self(format!("{run}/rollback/{attempt}"))
    }

    /// Returns the key of a notice. All its attempts share it, so that the receiver can drop repeats.
    pub fn notice(run: RunId, notice: &NoticeId) -> Self {
        Self(format!("{run}/notice/{notice}"))
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A checkout reads local objects, or fetches one commit.
const CHECKOUT_LIMIT_MS: u64 = 120_000;
/// A deploy may have to pull the image before the health wait begins.
const DEPLOY_PULL_LIMIT_MS: u64 = 300_000;
/// A switch is one request to a local socket, with a proxy to be started at worst.
const GO_LIVE_LIMIT_MS: u64 = 30_000;
/// One HTTP check that names no limit of its own.
pub const HTTP_CHECK_LIMIT_MS: u64 = 10_000;
/// Docker is asked about the candidate before and after the checks, and for its last lines and those of a command: four
/// times five seconds.
const SMOKE_SPARE_MS: u64 = 20_000;
/// One smoke command that names no limit of its own.
pub const SMOKE_COMMAND_LIMIT_MS: u64 = 300_000;
/// A rollback switches back, stops the candidate and sees the former release serve.
pub const ROLLBACK_LIMIT_MS: u64 = 120_000;

/// Returns how long an attempt at a stage may take, in milliseconds.
pub fn limit_ms(stage: Stage, settings: Option<&Settings>) -> u64 {
    let defaults = Settings::default();
    let settings = settings.unwrap_or(&defaults);
    match stage {
        Stage::Checkout => CHECKOUT_LIMIT_MS,
        Stage::Test => settings.test.timeout_ms,
        Stage::Build => settings.build.timeout_ms,
        Stage::PushImage => settings.registry.timeout_ms,
        Stage::ReleaseCommand => settings.release.as_ref().map_or(0, |release| release.timeout_ms),
        Stage::Deploy => settings.deploy.timeout_ms.saturating_add(DEPLOY_PULL_LIMIT_MS),
        Stage::GoLive => GO_LIVE_LIMIT_MS,
        Stage::Smoke | Stage::PublicSmoke => {
            // A candidate that was started again from outside is waited for like one that is deployed.
            let health_ms = settings.deploy.timeout_ms.saturating_add(SMOKE_SPARE_MS);
            let each = settings.smoke.iter().map(check_limit_ms);
            each.fold(health_ms.saturating_add(HTTP_CHECK_LIMIT_MS), u64::saturating_add)
        }
    }
}

/// Returns how long one smoke check may take, in milliseconds.
pub fn check_limit_ms(check: &SmokeCheck) -> u64 {
    match check {
        SmokeCheck::Http(http) => http.within_ms.unwrap_or(HTTP_CHECK_LIMIT_MS),
        SmokeCheck::Command(command) => command.within_ms.unwrap_or(SMOKE_COMMAND_LIMIT_MS),
    }
}
