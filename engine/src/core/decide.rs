//! Every rule about what may be asked of a run, and what happens then.
//!
//! One `match` branches; the helpers below it are straight lines. An outcome and the intent of the next
//! stage are decided together, so that they are one append.

use super::command::{Again, Command, NotSent, Outcome, Push, Rejected, Relaunch, RollbackOutcome};
use super::effect::{ROLLBACK_LIMIT_MS, limit_ms, stage_ahead, stage_behind, waits_for_lane};
use super::event::{Cause, Decision, Event, HeldCommit, Origin, OutputRef};
use super::evolve::{Place, evolve};
use super::facts::Facts;
use super::lane::{Lane, Release};
use super::notice;
use super::recovery::{on_notice_recovery, on_recovery, on_rollback_recovery, on_undo_recovery};
use super::retry::{ROLLBACK_ATTEMPTS_MAX, attempts_max, due_after, notice_due_after};
use super::run::{Blocked, NoticeProgress, Phase, Run, RunState, Work};
use super::settings::Settings;
use super::stage::Stage;
use crate::sabotaged;

/// Returns the events that the command leads to; none when there is nothing to record.
///
/// # Errors
///
/// [`Rejected`], which is an answer for whoever asked. Nothing happened.
pub fn decide(lane: &Lane, run: Option<&Run>, command: Command, now_ms: u64) -> Result<Vec<Event>, Rejected> {
    let run = match (run, command) {
        (None, Command::Push(push)) => return start(lane, push, now_ms),
        (None, Command::Relaunch(relaunch)) => return relaunched(lane, *relaunch),
        (None, Command::Again(again)) => return start_again(lane, *again, now_ms),
        (None, _) => return Err(Rejected::NoSuchRun),
        (Some(_), Command::Push(_) | Command::Relaunch(_) | Command::Again(_)) => {
            return Err(Rejected::AlreadyStarted);
        }
        (Some(run), command) => (run, command),
    };
    let events = decide_for(lane, run.0, run.1, now_ms)?;
    let events = without_a_notice_in_flight(run.0, events);
    Ok(closed_when_nothing_is_owed(run.0, events, now_ms))
}

fn decide_for(lane: &Lane, run: &Run, command: Command, now_ms: u64) -> Result<Vec<Event>, Rejected> {
    match (&run.phase, command) {
        (Phase::Ended, Command::Proceed) if notice::owed(run).is_none() => Ok(vec![Event::RunClosed]),
        (
            Phase::Ended | Phase::Parked(_) | Phase::AwaitingApproval { .. },
            command @ (Command::Notify { .. } | Command::ReportNotice { .. } | Command::RecoverNotice { .. }),
        ) => about_notice(run, command, now_ms),
        (_, _) if run.state.is_terminal() => Err(Rejected::Finished(run.state)),

        (Phase::Ready, Command::Proceed) if waits_for_lane(run) => {
            Ok(vec![ask_approval(run, run.settings.as_deref(), now_ms).ok_or(Rejected::NotDue)?])
        }
        (Phase::Ready, Command::Proceed) => Ok(vec![begin_next(run, now_ms).ok_or(Rejected::NotDue)?]),
        // Time ends the waiting and never passes the gate.
        (Phase::AwaitingApproval { until_ms }, Command::Proceed) if *until_ms <= now_ms => {
            Ok(vec![out_of_patience(*until_ms)])
        }
        (Phase::RetryDue { stage, attempt, due_ms }, Command::Proceed)
            if *due_ms <= now_ms || sabotaged!(FireTimersEarly) =>
        {
            Ok(vec![started(*stage, *attempt, run.settings.as_deref(), now_ms)])
        }
        (Phase::RollbackRetryDue { attempt, due_ms }, Command::Proceed) if *due_ms <= now_ms => {
            Ok(vec![roll_back(*attempt, cause_of(run), now_ms)])
        }
        (_, Command::Proceed) => Err(Rejected::NotDue),

        (Phase::Ready, Command::EnterLane) if run.entry.is_none() => enter_lane(lane, run, now_ms),
        (Phase::Ready | Phase::AwaitingApproval { .. }, Command::Supersede { by })
            if run.entry.is_none() && run.state == RunState::ImagePushed =>
        {
            Ok(vec![Event::RunFailed { cause: Cause::Superseded { by } }])
        }
        (_, Command::EnterLane | Command::Supersede { .. }) => Err(Rejected::NotDue),

        (Phase::Working(work), Command::Recover { stage, attempt, found, evidence })
            if is(work, stage, attempt) =>
        {
            Ok(on_recovery(work, found, &evidence))
        }
        (Phase::Working(work), Command::Report { stage, attempt, outcome, took_ms, output })
            if is(work, stage, attempt) =>
        {
            Ok(on_outcome(run, work, outcome, took_ms, output, now_ms))
        }
        (Phase::Working(work), Command::ReportUndone { stage, attempt, error })
            if is(work, stage, attempt) && run.cancel.is_some() =>
        {
            Ok(vec![undone(work, error), stop(run, cause_of(run), now_ms)])
        }
        (Phase::Working(work), Command::RecoverUndo { stage, attempt })
            if is(work, stage, attempt) && run.cancel.is_some() =>
        {
            Ok(on_undo_recovery(work))
        }
        (Phase::RollingBack { attempt: nth, recoveries, .. }, Command::RecoverRollback { attempt })
            if *nth == attempt =>
        {
            Ok(on_rollback_recovery(attempt, *recoveries))
        }
        (Phase::RollingBack { attempt: nth, .. }, Command::ReportRollback { attempt, outcome, took_ms })
            if *nth == attempt =>
        {
            Ok(on_rollback(run, attempt, outcome, took_ms, now_ms))
        }
        (_, Command::Recover { stage, attempt, .. })
        | (_, Command::RecoverUndo { stage, attempt })
        | (_, Command::Report { stage, attempt, .. })
        | (_, Command::ReportUndone { stage, attempt, .. }) => {
            Err(Rejected::Stale { stage: stage.name(), attempt })
        }
        (_, Command::ReportRollback { attempt, .. } | Command::RecoverRollback { attempt }) => {
            Err(Rejected::Stale { stage: "rollback", attempt })
        }

        (Phase::RollingBack { .. } | Phase::RollbackRetryDue { .. }, Command::Cancel { .. }) => {
            Err(Rejected::RollingBack)
        }
        (Phase::Parked(_), Command::Cancel { .. }) if run.cancel.is_some() => {
            Ok(vec![stop(run, cause_of(run), now_ms)])
        }
        (_, Command::Cancel { .. }) if run.cancel.is_some() => Ok(Vec::new()),
        (Phase::Working(_), Command::Cancel { reason }) => Ok(vec![Event::CancelRequested { reason }]),
        (_, Command::Cancel { reason }) => {
            // What turned it red stays the reason: the commit is held for that.
            let cause = run.cause.clone().unwrap_or_else(|| Cause::Cancelled { reason: reason.clone() });
            Ok(vec![Event::CancelRequested { reason }, stop(run, cause, now_ms)])
        }

        (Phase::AwaitingApproval { until_ms }, Command::Approve | Command::Reject { .. })
            if *until_ms <= now_ms =>
        {
            Err(Rejected::TooLate)
        }
        (Phase::AwaitingApproval { .. }, Command::Approve) => Ok(vec![Event::RunApproved]),
        (Phase::AwaitingApproval { .. }, Command::Reject { reason }) => {
            let cause = Cause::Rejected { reason: reason.clone() };
            Ok(vec![Event::RunRejected { reason }, Event::RunFailed { cause }])
        }
        (_, Command::Approve | Command::Reject { .. }) => Err(Rejected::NotAwaiting),
        (Phase::Parked(parked), Command::Resolve(decision)) => resolve(run, parked.at, decision, now_ms),
        (_, Command::Resolve(_)) => Err(Rejected::NotParked),

        (_, Command::Notify { .. } | Command::ReportNotice { .. } | Command::RecoverNotice { .. }) => {
            Err(Rejected::NotDue)
        }
        (_, Command::Push(_) | Command::Relaunch(_) | Command::Again(_)) => Err(Rejected::AlreadyStarted),
    }
}

fn about_notice(run: &Run, command: Command, now_ms: u64) -> Result<Vec<Event>, Rejected> {
    match command {
        Command::Notify { notice } => begin_notice(run, notice, now_ms),
        Command::ReportNotice { notice, attempt, receipt } => {
            on_notice(run, notice, attempt, receipt, now_ms)
        }
        Command::RecoverNotice { notice, attempt } => on_notice_recovery(run, notice, attempt),
        _ => Err(Rejected::NotDue),
    }
}

fn start(lane: &Lane, push: Push, now_ms: u64) -> Result<Vec<Event>, Rejected> {
    let Push { lane: lane_id, commit, repository, trigger, release_hold } = push;
    refuse_held(lane, &commit.sha, release_hold)?;
    let origin = Origin::Push { commit, repository, release_hold };
    Ok(vec![Event::RunStarted { lane: lane_id, origin, trigger }, started(Stage::Checkout, 1, None, now_ms)])
}

fn refuse_held(lane: &Lane, sha: &str, release_hold: bool) -> Result<(), Rejected> {
    match lane.held.get(sha).filter(|_| !release_hold && !sabotaged!(IgnoreHold)) {
        Some(hold) => {
            Err(Rejected::Held { sha: sha.to_owned(), since: hold.run, reason: hold.reason.clone() })
        }
        None => Ok(()),
    }
}

/// A rollback by hand may be what is needed, so a hold does not keep it from being done; a promotion may not.
fn relaunched(lane: &Lane, relaunch: Relaunch) -> Result<Vec<Event>, Rejected> {
    let Relaunch { lane: lane_id, release, settings, promoted_from, trigger, reason } = relaunch;
    let (release, settings) = (Box::new(release), Box::new(settings));
    let origin = match promoted_from {
        None => Origin::Release { release, settings, reason },
        Some(from) => {
            refuse_held(lane, &release.commit.sha, false)?;
            Origin::Promotion { from, release, settings, reason }
        }
    };
    Ok(vec![Event::RunStarted { lane: lane_id, origin, trigger }])
}

fn start_again(lane: &Lane, again: Again, now_ms: u64) -> Result<Vec<Event>, Rejected> {
    let Again { lane: lane_id, rerun, trigger } = again;
    refuse_held(lane, &rerun.commit.sha, rerun.release_hold)?;
    let first = match rerun.from {
        // The folder of the former run is gone.
        Stage::Checkout | Stage::Test | Stage::Build | Stage::PushImage => {
            Some(started(Stage::Checkout, 1, rerun.settings.as_deref(), now_ms))
        }
        // It asks for its approval, if need be, and queues for its lane.
        Stage::ReleaseCommand | Stage::Deploy | Stage::Smoke | Stage::GoLive | Stage::PublicSmoke => None,
    };
    let origin = Origin::Rerun(Box::new(rerun));
    Ok([Event::RunStarted { lane: lane_id, origin, trigger }].into_iter().chain(first).collect())
}

fn enter_lane(lane: &Lane, run: &Run, now_ms: u64) -> Result<Vec<Event>, Rejected> {
    if let Some(holder) = lane.holder.filter(|holder| *holder != run.id && !sabotaged!(IgnoreLane)) {
        return Err(Rejected::LaneTaken(holder));
    }
    if run.approval_needed_ms(run.settings.as_deref()).is_some() {
        return Err(Rejected::NotApproved);
    }
    let branch = match &run.origin {
        // It may be what is needed: neither a hold nor a pause keeps it out.
        Origin::Release { .. } => return Ok(enter(lane, run, None, now_ms)),
        Origin::Promotion { .. } => None,
        Origin::Push { .. } | Origin::Rerun(_) => run.commit().branch.as_ref(),
    };
    if let Some(pause) = lane.paused.as_ref().filter(|_| !sabotaged!(IgnorePause)) {
        return Err(Rejected::Paused { lane: run.lane.clone(), reason: pause.reason.clone() });
    }
    let commit = run.commit();
    if let Some(hold) = lane.held.get(&commit.sha).filter(|_| !sabotaged!(IgnoreHold)) {
        return Ok(vec![Event::RunFailed { cause: Cause::Held { since: hold.run } }]);
    }
    let newer = branch.and_then(|branch| lane.newest.get(branch)).filter(|newest| **newest > run.id);
    if let Some(newer) = newer.filter(|_| !sabotaged!(IgnoreNewer)) {
        return Ok(vec![Event::RunFailed { cause: Cause::Superseded { by: *newer } }]);
    }
    Ok(enter(lane, run, branch.cloned(), now_ms))
}

/// Asks for the approval that the deploy needs, if it needs one.
fn ask_approval(run: &Run, settings: Option<&Settings>, now_ms: u64) -> Option<Event> {
    let within_ms = run.approval_needed_ms(settings)?;
    Some(Event::ApprovalRequested { until_ms: now_ms.saturating_add(within_ms) })
}

fn out_of_patience(until_ms: u64) -> Event {
    match sabotaged!(PassTheGate) {
        true => Event::RunApproved,
        false => Event::RunFailed { cause: Cause::NotApproved { until_ms } },
    }
}

fn enter(lane: &Lane, run: &Run, branch: Option<String>, now_ms: u64) -> Vec<Event> {
    let generation = lane.generation + 1;
    let replaces = lane.live.clone().map(Box::new);
    let entered = Event::DeploymentStarted { branch, replaces, generation };
    [entered].into_iter().chain(begin_next(run, now_ms)).collect()
}

fn on_outcome(
    run: &Run,
    work: &Work,
    outcome: Outcome,
    took_ms: u64,
    output: Option<OutputRef>,
    now_ms: u64,
) -> Vec<Event> {
    let Work { stage, attempt, .. } = *work;
    match outcome {
        Outcome::Succeeded(facts) if facts.stage() == stage => {
            let then = after_success(run, stage, &facts, now_ms);
            [Event::StageSucceeded { stage, attempt, facts, took_ms, output }]
                .into_iter()
                .chain(then)
                .collect()
        }
        Outcome::Succeeded(facts) => {
            let reason = format!("{stage} was reported done with the facts of {}", facts.stage());
            on_error(run, work, reason, now_ms)
        }
        Outcome::Failed(failure) => {
            let cause = match &run.cancel {
                Some(reason) => Cause::Cancelled { reason: reason.clone() },
                None => Cause::StageFailed { stage, reason: failure.reason.clone() },
            };
            let then = after_failure(run, cause, now_ms);
            vec![Event::StageFailed { stage, attempt, failure, took_ms, output }, then]
        }
        Outcome::Errored { reason } => on_error(run, work, reason, now_ms),
    }
}

fn after_success(run: &Run, stage: Stage, facts: &Facts, now_ms: u64) -> Option<Event> {
    if run.cancel.is_some() {
        return Some(stop(run, cause_of(run), now_ms));
    }
    let settings = match (&run.settings, facts) {
        // A rerun keeps the configuration of its former run.
        (None, Facts::Checkout(checkout)) => Some(&*checkout.settings),
        (settings, _) => settings.as_deref(),
    };
    begin_behind(run, stage, settings, now_ms)
}

/// Begins the stage behind a concluded one, or asks for the approval that it needs. None: it needs the lane, which
/// the run has to queue for.
fn begin_behind(run: &Run, stage: Stage, settings: Option<&Settings>, now_ms: u64) -> Option<Event> {
    match stage_behind(run, stage, settings) {
        Some(next) if next.needs_lane() && run.entry.is_none() => ask_approval(run, settings, now_ms),
        Some(next) => Some(started(next, 1, settings, now_ms)),
        None => Some(live_or_parked(run, now_ms)),
    }
}

fn after_failure(run: &Run, cause: Cause, now_ms: u64) -> Event {
    let automatic = run.settings.as_deref().is_none_or(|settings| settings.rollback.automatic);
    match &cause {
        Cause::StageFailed { stage, reason } if run.deploy_begun && !automatic => Event::RunParked {
            at: Blocked::Rollback { attempt: 0 },
            reason: format!("{stage} failed ({reason}) and automatic rollback is off"),
        },
        _ => stop(run, cause, now_ms),
    }
}

fn on_error(run: &Run, work: &Work, reason: String, now_ms: u64) -> Vec<Event> {
    let Work { stage, attempt, .. } = *work;
    if run.cancel.is_some() {
        let errored = Event::StageErrored { stage, attempt, reason, retry_due_ms: None };
        return vec![errored, stop(run, cause_of(run), now_ms)];
    }
    let retry_due_ms = due_after(attempt, attempts_max(stage), now_ms);
    let parked = retry_due_ms.is_none().then(|| Event::RunParked {
        at: Blocked::Stage { stage, attempt },
        reason: format!(
            "{stage} gave no answer in {attempt} {}: {reason}",
            if attempt == 1 { "try" } else { "tries" }
        ),
    });
    [Event::StageErrored { stage, attempt, reason, retry_due_ms }].into_iter().chain(parked).collect()
}

fn on_rollback(run: &Run, attempt: u32, outcome: RollbackOutcome, took_ms: u64, now_ms: u64) -> Vec<Event> {
    match outcome {
        RollbackOutcome::Succeeded { serving, proof } => {
            vec![Event::RollbackSucceeded { attempt, serving, proof, hold: hold_for(run), took_ms }]
        }
        RollbackOutcome::Errored { reason } => {
            let retry_due_ms = due_after(attempt, ROLLBACK_ATTEMPTS_MAX, now_ms);
            let parked = retry_due_ms.is_none().then(|| Event::RunParked {
                at: Blocked::Rollback { attempt },
                reason: format!("the rollback could not be finished in {attempt} tries: {reason}"),
            });
            [Event::RollbackErrored { attempt, reason, retry_due_ms }].into_iter().chain(parked).collect()
        }
    }
}

/// A commit is held when its own checks turned the deploy red, not when somebody changed their mind.
fn hold_for(run: &Run) -> Option<HeldCommit> {
    let holds = run.settings.as_deref().is_some_and(|settings| settings.rollback.hold);
    match (&run.cause, &run.origin) {
        (_, Origin::Release { .. }) => None,
        (Some(Cause::StageFailed { stage, reason }), _) if holds => {
            Some(HeldCommit { sha: run.commit().sha.clone(), reason: format!("{stage}: {reason}") })
        }
        _ => None,
    }
}

fn resolve(run: &Run, at: Blocked, decision: Decision, now_ms: u64) -> Result<Vec<Event>, Rejected> {
    let unparked = Event::RunUnparked { decision: decision.clone() };
    match (decision, at) {
        (Decision::Retry | Decision::Skip { .. }, Blocked::Stage { .. }) if run.cancel.is_some() => {
            Err(Rejected::Cancelled)
        }
        (Decision::Retry, _) => Ok(vec![unparked]),
        (Decision::Skip { reason }, Blocked::Stage { stage, .. }) if stage.is_skippable() => {
            let then = begin_behind(run, stage, run.settings.as_deref(), now_ms);
            Ok([unparked, Event::StageSkipped { stage, reason }].into_iter().chain(then).collect())
        }
        (Decision::Skip { .. }, Blocked::Stage { stage, .. }) => Err(Rejected::NotSkippable(stage.name())),
        (Decision::Skip { .. }, Blocked::Rollback { .. }) => Err(Rejected::NotSkippable("a rollback")),
        (Decision::Abort { reason }, _) => {
            let cause = run.cause.clone().unwrap_or(Cause::Aborted { reason });
            Ok(vec![unparked, stop(run, cause, now_ms)])
        }
    }
}

fn begin_notice(run: &Run, id: notice::NoticeId, now_ms: u64) -> Result<Vec<Event>, Rejected> {
    match notice::owed(run) {
        Some((owed, None)) if owed == id => Ok(vec![Event::NoticeStarted { notice: id, attempt: 1 }]),
        Some((owed, Some(NoticeProgress::RetryDue { attempt, due_ms })))
            if owed == id && due_ms <= now_ms =>
        {
            Ok(vec![Event::NoticeStarted { notice: id, attempt }])
        }
        _ => Err(Rejected::NotDue),
    }
}

fn on_notice(
    run: &Run,
    notice: notice::NoticeId,
    attempt: u32,
    receipt: Result<String, NotSent>,
    now_ms: u64,
) -> Result<Vec<Event>, Rejected> {
    let sending = run.notices.get(&notice);
    if !matches!(sending, Some(NoticeProgress::Sending { attempt: nth, .. }) if *nth == attempt) {
        return Err(Rejected::Stale { stage: "notice", attempt });
    }
    Ok(vec![match receipt {
        Ok(receipt) => Event::NoticeSent { notice, receipt },
        Err(NotSent::Failed { reason }) => {
            Event::NoticeErrored { notice, attempt, reason, retry_due_ms: None }
        }
        Err(NotSent::Errored { reason, retry_after_ms }) => {
            let retry_due_ms = notice_due_after(attempt, retry_after_ms, now_ms);
            Event::NoticeErrored { notice, attempt, reason, retry_due_ms }
        }
    }])
}

/// Ends the run: by failing it while nothing of ours can be running, by rolling back from then on.
fn stop(run: &Run, cause: Cause, now_ms: u64) -> Event {
    if run.deploy_begun && !sabotaged!(FailInsteadOfRollback) {
        roll_back(next_rollback(run), cause, now_ms)
    } else {
        Event::RunFailed { cause }
    }
}

/// A key is never used for two tries: a rollback that was parked goes on counting.
fn next_rollback(run: &Run) -> u32 {
    match run.parked().map(|parked| parked.at) {
        Some(Blocked::Rollback { attempt }) => attempt + 1,
        _ => 1,
    }
}

fn cause_of(run: &Run) -> Cause {
    match (&run.cause, &run.cancel) {
        (Some(cause), _) => cause.clone(),
        (None, Some(reason)) => Cause::Cancelled { reason: reason.clone() },
        (None, None) => Cause::Aborted { reason: "no reason was recorded".into() },
    }
}

fn roll_back(attempt: u32, cause: Cause, now_ms: u64) -> Event {
    Event::RollbackStarted { attempt, cause, deadline_ms: now_ms + ROLLBACK_LIMIT_MS }
}

fn undone(work: &Work, error: Option<String>) -> Event {
    let Work { stage, attempt, .. } = *work;
    match error {
        None => Event::StageUndone { stage, attempt },
        Some(reason) => Event::StageErrored { stage, attempt, reason, retry_due_ms: None },
    }
}

fn begin_next(run: &Run, now_ms: u64) -> Option<Event> {
    stage_ahead(run).map(|stage| started(stage, 1, run.settings.as_deref(), now_ms))
}

fn started(stage: Stage, attempt: u32, settings: Option<&Settings>, now_ms: u64) -> Event {
    Event::StageStarted { stage, attempt, deadline_ms: now_ms.saturating_add(limit_ms(stage, settings)) }
}

/// A run that came this far has an image and a candidate. One whose history lacks them waits for a
/// person instead of claiming to be live.
fn live_or_parked(run: &Run, now_ms: u64) -> Event {
    match (&run.image, &run.candidate) {
        (Some(image), Some(candidate)) => Event::RunLive {
            release: Box::new(Release {
                run: run.id,
                commit: run.commit().clone(),
                image: image.clone(),
                candidate: candidate.clone(),
                live_at_ms: now_ms,
            }),
        },
        _ => Event::RunParked {
            at: Blocked::Rollback { attempt: 0 },
            reason: "the history names no image or no candidate, so nothing can be called live".into(),
        },
    }
}

/// Gives up the notice in flight when its run stops waiting for a person: nobody takes its outcome any more.
fn without_a_notice_in_flight(run: &Run, mut events: Vec<Event>) -> Vec<Event> {
    let goes_on = |event: &Event| {
        matches!(
            event,
            Event::RunUnparked { .. }
                | Event::RunApproved
                | Event::RunFailed { .. }
                | Event::RollbackStarted { .. }
        )
    };
    let waits_for_person = matches!(run.phase, Phase::Parked(_) | Phase::AwaitingApproval { .. });
    if waits_for_person && events.iter().any(goes_on) {
        let in_flight = run.notices.iter().filter_map(|(notice, progress)| match progress {
            NoticeProgress::Sending { attempt, .. } => Some((notice.clone(), *attempt)),
            NoticeProgress::RetryDue { .. } | NoticeProgress::Sent | NoticeProgress::Abandoned => None,
        });
        let given_up = in_flight.map(|(notice, attempt)| Event::NoticeErrored {
            notice,
            attempt,
            reason: "the run went on before the receiver had answered".into(),
            retry_due_ms: None,
        });
        events.splice(0..0, given_up);
    }
    events
}

/// Closes the run in the same append that ends it, when nobody has to be told.
fn closed_when_nothing_is_owed(run: &Run, mut events: Vec<Event>, now_ms: u64) -> Vec<Event> {
    let mut after = Ok(run.clone());
    for event in &events {
        after = after.and_then(|before| {
            let place = Place { run_id: before.id, seq: before.seq + 1, at_ms: now_ms };
            evolve(Some(before), place, event)
        });
    }
    if after.is_ok_and(|after| after.phase == Phase::Ended && notice::owed(&after).is_none()) {
        events.push(Event::RunClosed);
    }
    events
}

fn is(work: &Work, stage: Stage, attempt: u32) -> bool {
    work.stage == stage && work.attempt == attempt
}
