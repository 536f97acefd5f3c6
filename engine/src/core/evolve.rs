//! THE table of legal moves: used when a run is driven and when it is audited.
//!
//! It knows which transitions exist and no rule about which one to take: old logs were decided by old
//! rules and must still evolve.

use super::event::{Decision, Event, Origin};
use super::facts::Facts;
use super::lane::LaneId;
use super::notice::NoticeId;
use super::rerun::Rerun;
use super::run::{Blocked, LaneEntry, NoticeProgress, Parked, Phase, Run, RunId, RunState, Work};
use super::stage::Stage;

/// Where and when an event stands in the life of its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose life it is part of.
    pub run_id: RunId,
    /// Place in the run, from 1.
    pub seq: u64,
    /// When it was recorded, in milliseconds since 1970.
    pub at_ms: u64,
}

/// An event that no run in this state can have. **Stop this run, and no other.**
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("run {run_id}, event {seq}: {event} is not a legal move {from}")]
pub struct IllegalTransition {
    /// Whose history is broken.
    pub run_id: RunId,
    /// The place of the event that does not fit.
    pub seq: u64,
    /// Name of the event.
    pub event: &'static str,
    /// Where the run was: "from Tested, ready".
    pub from: String,
}

/// What each stage needs and what it leads to when it ends green.
pub const MOVES: [(Stage, RunState, RunState); 9] = [
    (Stage::Checkout, RunState::Pushed, RunState::Pushed),
    (Stage::Test, RunState::Pushed, RunState::Tested),
    (Stage::Build, RunState::Tested, RunState::Built),
    (Stage::PushImage, RunState::Built, RunState::ImagePushed),
    (Stage::ReleaseCommand, RunState::ImagePushed, RunState::ImagePushed),
    (Stage::Deploy, RunState::ImagePushed, RunState::Deployed),
    (Stage::Smoke, RunState::Deployed, RunState::Smoked),
    (Stage::GoLive, RunState::Smoked, RunState::Smoked),
    (Stage::PublicSmoke, RunState::Smoked, RunState::Smoked),
];

/// Returns the run after one more event.
///
/// # Errors
///
/// [`IllegalTransition`] when the event can't follow: the history is broken or was written by something else.
pub fn evolve(run: Option<Run>, place: Place, event: &Event) -> Result<Run, IllegalTransition> {
    let Some(mut run) = run else { return begin(place, event) };
    let in_order = place.seq == run.seq + 1 && place.run_id == run.id;
    match moved(&run, place, event).filter(|_| in_order) {
        Some((state, phase)) => {
            run.seq = place.seq;
            (run.state, run.phase) = (state, phase);
            learn(&mut run, event);
            Ok(run)
        }
        None => Err(illegal(place, event, format!("from {}, {}", run.state, phase_name(&run.phase)))),
    }
}

/// Returns the state and phase after the event, or None when the move is illegal.
fn moved(run: &Run, place: Place, event: &Event) -> Option<(RunState, Phase)> {
    let state = run.state;
    match (&run.phase, event) {
        (Phase::Ready, Event::StageStarted { stage, attempt, deadline_ms }) => {
            (comes_next(run, *stage) && *attempt == 1 && has_lane(run, *stage) && run.cancel.is_none())
                .then(|| (state, working(*stage, *attempt, *deadline_ms)))
        }
        (
            Phase::RetryDue { stage: due, attempt: nth, .. },
            Event::StageStarted { stage, attempt, deadline_ms },
        ) => (due == stage && nth == attempt && has_lane(run, *stage))
            .then(|| (state, working(*stage, *attempt, *deadline_ms))),
        (Phase::Working(work), Event::StageRecovered { stage, attempt, .. })
            if is(work, *stage, *attempt) =>
        {
            Some((state, Phase::Working(Work { recoveries: work.recoveries + 1, ..*work })))
        }
        (Phase::Working(work), Event::StageSucceeded { stage, attempt, facts, .. })
            if is(work, *stage, *attempt) && facts.stage() == *stage =>
        {
            Some((if *stage == Stage::Checkout { state } else { leads_to(*stage) }, Phase::Ready))
        }
        (Phase::Working(work), Event::StageFailed { stage, attempt, .. }) if is(work, *stage, *attempt) => {
            Some((state, Phase::Stopping { rollbacks: 0 }))
        }
        (Phase::Working(work), Event::StageErrored { stage, attempt, retry_due_ms, .. })
            if is(work, *stage, *attempt) =>
        {
            Some((state, retry_phase(*stage, *attempt, *retry_due_ms)))
        }
        (Phase::Working(work), Event::StageUndone { stage, attempt })
            if is(work, *stage, *attempt) && run.cancel.is_some() =>
        {
            Some((state, Phase::Stopping { rollbacks: 0 }))
        }
        (Phase::Working(work), Event::UndoRecovered { stage, attempt })
            if is(work, *stage, *attempt) && run.cancel.is_some() =>
        {
            Some((state, Phase::Working(Work { recoveries: work.recoveries + 1, ..*work })))
        }
        (Phase::Skipping { stage: decided }, Event::StageSkipped { stage, .. }) => {
            (decided == stage && comes_next(run, *stage) && stage.is_skippable())
                .then(|| (leads_to(*stage), Phase::Ready))
        }
        (Phase::Ready, Event::ApprovalRequested { until_ms }) => {
            let is_due = state == RunState::ImagePushed && run.entry.is_none() && !run.approved;
            (is_due && run.cancel.is_none())
                .then_some((state, Phase::AwaitingApproval { until_ms: *until_ms }))
        }
        (Phase::AwaitingApproval { .. }, Event::RunApproved) => {
            run.cancel.is_none().then_some((state, Phase::Ready))
        }
        (Phase::AwaitingApproval { .. }, Event::RunRejected { .. }) => {
            Some((state, Phase::Stopping { rollbacks: 0 }))
        }
        (Phase::Ready, Event::DeploymentStarted { .. }) => {
            (state == RunState::ImagePushed && run.entry.is_none()).then_some((state, Phase::Ready))
        }
        (
            Phase::Ready
            | Phase::Working(_)
            | Phase::RetryDue { .. }
            | Phase::AwaitingApproval { .. }
            | Phase::Parked(_),
            Event::CancelRequested { .. },
        ) => run.cancel.is_none().then(|| (state, run.phase.clone())),
        (
            Phase::Ready
            | Phase::RetryDue { .. }
            | Phase::Stopping { .. }
            | Phase::AwaitingApproval { .. }
            | Phase::Parked(_),
            Event::RunFailed { .. },
        ) => (!run.deploy_begun && !state.is_terminal()).then_some((RunState::Failed, Phase::Ended)),
        (phase, Event::RollbackStarted { attempt, deadline_ms, .. }) => {
            let rolling_back =
                Phase::RollingBack { attempt: *attempt, deadline_ms: *deadline_ms, recoveries: 0 };
            (run.deploy_begun && next_rollback(phase) == Some(*attempt)).then_some((state, rolling_back))
        }
        (
            Phase::RollingBack { attempt: nth, deadline_ms, recoveries },
            Event::RollbackRecovered { attempt },
        ) => {
            let again =
                Phase::RollingBack { attempt: *nth, deadline_ms: *deadline_ms, recoveries: recoveries + 1 };
            (nth == attempt).then_some((state, again))
        }
        (Phase::RollingBack { attempt: nth, .. }, Event::RollbackSucceeded { attempt, .. }) => {
            (nth == attempt).then_some((RunState::RolledBack, Phase::Ended))
        }
        (Phase::RollingBack { attempt: nth, .. }, Event::RollbackErrored { attempt, retry_due_ms, .. }) => {
            let phase = match retry_due_ms {
                Some(due_ms) => Phase::RollbackRetryDue { attempt: attempt + 1, due_ms: *due_ms },
                None => Phase::Stopping { rollbacks: *attempt },
            };
            (nth == attempt).then_some((state, phase))
        }
        (Phase::Working(work), Event::RunParked { at, reason }) => {
            let in_flight = Blocked::Stage { stage: work.stage, attempt: work.attempt };
            (*at == in_flight).then(|| (state, parked(*at, reason, place.at_ms)))
        }
        (Phase::RollingBack { attempt, .. }, Event::RunParked { at, reason }) => (*at
            == Blocked::Rollback { attempt: *attempt })
        .then(|| (state, parked(*at, reason, place.at_ms))),
        (Phase::RetryDue { stage, attempt, .. }, Event::RunParked { at, reason }) => {
            let made = Blocked::Stage { stage: *stage, attempt: attempt.saturating_sub(1) };
            (*at == made).then(|| (state, parked(*at, reason, place.at_ms)))
        }
        (Phase::Ready | Phase::Stopping { .. }, Event::RunParked { at, reason }) => {
            Some((state, parked(*at, reason, place.at_ms)))
        }
        (Phase::Parked(parked), Event::RunUnparked { decision }) => {
            Some((state, unparked(parked.at, decision, place.at_ms)))
        }
        (Phase::Ready, Event::RunLive { .. }) => {
            (state == RunState::Smoked && run.done == Some(Stage::PublicSmoke) && run.cancel.is_none())
                .then_some((RunState::Live, Phase::Ended))
        }
        (
            Phase::AwaitingApproval { .. } | Phase::Parked(_) | Phase::Ended,
            Event::NoticeStarted { notice, attempt },
        ) => may_send(run, notice, *attempt).then(|| (state, run.phase.clone())),
        (
            Phase::AwaitingApproval { .. } | Phase::Parked(_) | Phase::Ended,
            Event::NoticeRecovered { notice, attempt },
        ) => {
            let sending = run.notices.get(notice);
            matches!(sending, Some(NoticeProgress::Sending { attempt: nth, .. }) if nth == attempt)
                .then(|| (state, run.phase.clone()))
        }
        (
            Phase::AwaitingApproval { .. } | Phase::Parked(_) | Phase::Ended,
            Event::NoticeSent { notice, .. } | Event::NoticeErrored { notice, .. },
        ) => matches!(run.notices.get(notice), Some(NoticeProgress::Sending { .. }))
            .then(|| (state, run.phase.clone())),
        (Phase::Ended, Event::RunClosed) => Some((state, Phase::Closed)),
        _ => None,
    }
}

/// Takes in what the event says beside state and phase.
fn learn(run: &mut Run, event: &Event) {
    match event {
        Event::StageStarted { stage, .. } => run.deploy_begun |= stage.is_from_deploy_on(),
        Event::StageSucceeded { stage, facts, .. } => {
            // A checkout that is made again takes nothing back.
            run.done = run.done.max(Some(*stage));
            learn_facts(run, facts);
        }
        Event::StageSkipped { stage, .. } => run.done = Some(*stage),
        Event::StageFailed { stage, failure, .. } => {
            run.cause =
                Some(super::event::Cause::StageFailed { stage: *stage, reason: failure.reason.clone() });
            if let Some(tests) = &failure.tests {
                run.tests = Some(tests.clone());
            }
        }
        Event::DeploymentStarted { replaces, generation, .. } => {
            run.entry = Some(LaneEntry { replaces: replaces.as_deref().cloned(), generation: *generation });
        }
        Event::RunApproved => run.approved = true,
        Event::CancelRequested { reason } => run.cancel = Some(reason.clone()),
        Event::RunFailed { cause } | Event::RollbackStarted { cause, .. } => run.cause = Some(cause.clone()),
        Event::RunParked { .. } => run.parked_seq = run.seq,
        Event::NoticeStarted { notice, attempt } => {
            let progress = NoticeProgress::Sending { attempt: *attempt, recoveries: 0 };
            run.notices.insert(notice.clone(), progress);
        }
        Event::NoticeRecovered { notice, .. } => {
            if let Some(NoticeProgress::Sending { recoveries, .. }) = run.notices.get_mut(notice) {
                *recoveries += 1;
            }
        }
        Event::NoticeSent { notice, .. } => {
            run.notices.insert(notice.clone(), NoticeProgress::Sent);
        }
        Event::NoticeErrored { notice, attempt, retry_due_ms, .. } => {
            let progress = match retry_due_ms {
                Some(due_ms) => NoticeProgress::RetryDue { attempt: attempt + 1, due_ms: *due_ms },
                None => NoticeProgress::Abandoned,
            };
            run.notices.insert(notice.clone(), progress);
        }
        Event::RunStarted { .. }
        | Event::ApprovalRequested { .. }
        | Event::RunRejected { .. }
        | Event::StageRecovered { .. }
        | Event::StageErrored { .. }
        | Event::StageUndone { .. }
        | Event::UndoRecovered { .. }
        | Event::RollbackRecovered { .. }
        | Event::RollbackSucceeded { .. }
        | Event::RollbackErrored { .. }
        | Event::RunUnparked { .. }
        | Event::RunLive { .. }
        | Event::RunClosed
        | Event::Ledger(_) => {}
    }
}

fn learn_facts(run: &mut Run, facts: &Facts) {
    match facts {
        Facts::Checkout(checkout) => {
            run.laid_out = true;
            // A rerun keeps the configuration of its former run.
            run.settings.get_or_insert_with(|| checkout.settings.clone());
        }
        Facts::Test(report) => run.tests = Some(report.clone()),
        Facts::Build(built) => run.built = Some(built.clone()),
        Facts::PushImage(image) => run.image = Some(image.clone()),
        Facts::Deploy(candidate) => run.candidate = Some(candidate.clone()),
        Facts::ReleaseCommand | Facts::Smoke(_) | Facts::GoLive(_) | Facts::PublicSmoke(_) => {}
    }
}

fn begin(place: Place, event: &Event) -> Result<Run, IllegalTransition> {
    let Event::RunStarted { lane, origin, .. } = event else {
        return Err(illegal(place, event, "before the run has started".into()));
    };
    if place.seq != 1 {
        return Err(illegal(place, event, "anywhere but first".into()));
    }
    let run = before_any_stage(place, lane, origin);
    Ok(match origin {
        Origin::Push { .. } => run,
        Origin::Release { release, settings, .. } | Origin::Promotion { release, settings, .. } => Run {
            state: RunState::ImagePushed,
            done: Some(Stage::PushImage),
            image: Some(release.image.clone()),
            settings: Some(settings.clone()),
            ..run
        },
        Origin::Rerun(rerun) => {
            let (state, done) = rerun.begins();
            let Rerun { settings, tests, image, .. } = (**rerun).clone();
            Run { state, done, settings, tests, image, ..run }
        }
    })
}

fn before_any_stage(place: Place, lane: &LaneId, origin: &Origin) -> Run {
    Run {
        id: place.run_id,
        seq: 1,
        lane: lane.clone(),
        origin: origin.clone(),
        state: RunState::Pushed,
        phase: Phase::Ready,
        started_ms: place.at_ms,
        done: None,
        cancel: None,
        approved: false,
        laid_out: false,
        settings: None,
        tests: None,
        built: None,
        image: None,
        entry: None,
        deploy_begun: false,
        candidate: None,
        cause: None,
        parked_seq: 0,
        notices: std::collections::BTreeMap::new(),
    }
}

fn parked(at: Blocked, reason: &str, since_ms: u64) -> Phase {
    Phase::Parked(Parked { at, reason: reason.to_owned(), since_ms })
}

fn unparked(at: Blocked, decision: &Decision, now_ms: u64) -> Phase {
    match (at, decision) {
        // No try was made: the stage begins as it does in every run, in its lane.
        (Blocked::Stage { attempt: 0, .. }, Decision::Retry) => Phase::Ready,
        (Blocked::Stage { stage, attempt }, Decision::Retry) => {
            Phase::RetryDue { stage, attempt: attempt + 1, due_ms: now_ms }
        }
        (Blocked::Rollback { attempt }, Decision::Retry) => {
            Phase::RollbackRetryDue { attempt: attempt + 1, due_ms: now_ms }
        }
        (Blocked::Stage { stage, .. }, Decision::Skip { .. }) => Phase::Skipping { stage },
        (Blocked::Stage { .. }, Decision::Abort { .. }) => Phase::Stopping { rollbacks: 0 },
        (Blocked::Rollback { attempt }, Decision::Skip { .. } | Decision::Abort { .. }) => {
            Phase::Stopping { rollbacks: attempt }
        }
    }
}

/// Tells whether a stage is the one after the last that was concluded; only the release command may be missing.
fn comes_next(run: &Run, stage: Stage) -> bool {
    if run.owes_files() {
        return stage == Stage::Checkout;
    }
    let before = Stage::ALL.into_iter().rev().find(|before| *before < stage);
    let without =
        Stage::ALL.into_iter().rev().find(|before| *before < stage && *before != Stage::ReleaseCommand);
    needs(stage) == run.state && (run.done == before || run.done == without)
}

fn has_lane(run: &Run, stage: Stage) -> bool {
    !stage.needs_lane() || run.entry.is_some()
}

/// Returns the only number that the next rollback may have; None where none may begin.
fn next_rollback(phase: &Phase) -> Option<u32> {
    match phase {
        Phase::Ready | Phase::RetryDue { .. } => Some(1),
        Phase::Stopping { rollbacks } => Some(rollbacks + 1),
        Phase::RollbackRetryDue { attempt, .. } => Some(*attempt),
        Phase::Parked(Parked { at: Blocked::Rollback { attempt }, .. }) => Some(attempt + 1),
        Phase::Parked(Parked { at: Blocked::Stage { .. }, .. }) => Some(1),
        Phase::Working(_)
        | Phase::RollingBack { .. }
        | Phase::AwaitingApproval { .. }
        | Phase::Skipping { .. }
        | Phase::Ended
        | Phase::Closed => None,
    }
}

fn may_send(run: &Run, notice: &NoticeId, attempt: u32) -> bool {
    match run.notices.get(notice) {
        None => attempt == 1,
        Some(NoticeProgress::RetryDue { attempt: nth, .. }) => *nth == attempt,
        Some(_) => false,
    }
}

fn retry_phase(stage: Stage, attempt: u32, retry_due_ms: Option<u64>) -> Phase {
    match retry_due_ms {
        Some(due_ms) => Phase::RetryDue { stage, attempt: attempt + 1, due_ms },
        None => Phase::Stopping { rollbacks: 0 },
    }
}

const fn working(stage: Stage, attempt: u32, deadline_ms: u64) -> Phase {
    Phase::Working(Work { stage, attempt, deadline_ms, recoveries: 0 })
}

fn is(work: &Work, stage: Stage, attempt: u32) -> bool {
    work.stage == stage && work.attempt == attempt
}

fn needs(stage: Stage) -> RunState {
    MOVES[stage as usize].1
}

fn leads_to(stage: Stage) -> RunState {
    MOVES[stage as usize].2
}

fn illegal(place: Place, event: &Event, from: String) -> IllegalTransition {
    IllegalTransition { run_id: place.run_id, seq: place.seq, event: event.name(), from }
}

/// Returns a phase in a few words, for errors and listings.
pub fn phase_name(phase: &Phase) -> String {
    match phase {
        Phase::Ready => "ready".into(),
        Phase::Working(work) => format!("working on {} (attempt {})", work.stage, work.attempt),
        Phase::RetryDue { stage, attempt, .. } => format!("waiting for attempt {attempt} of {stage}"),
        Phase::RollingBack { attempt, .. } => format!("rolling back (attempt {attempt})"),
        Phase::RollbackRetryDue { attempt, .. } => format!("waiting for attempt {attempt} of the rollback"),
        Phase::Stopping { .. } => "stopping".into(),
        Phase::AwaitingApproval { .. } => "waiting for an approval".into(),
        Phase::Skipping { stage } => format!("skipping {stage}"),
        Phase::Parked(parked) => match parked.at {
            Blocked::Stage { stage, attempt } => format!("parked at {stage} (attempt {attempt})"),
            Blocked::Rollback { attempt } => format!("parked at the rollback (attempt {attempt})"),
        },
        Phase::Ended => "ended".into(),
        Phase::Closed => "closed".into(),
    }
}
