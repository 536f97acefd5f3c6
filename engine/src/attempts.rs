//! What is done for an effect: one attempt at it, with its limit, to the command that tells how it ended.
//!
//! Each function takes along all that it needs and owns nothing: it can be dropped at any moment, and is,
//! when the run is cancelled or the engine stops.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use crate::core::command::{Command, NotSent, Outcome, RollbackOutcome};
use crate::core::effect::EffectKey;
use crate::core::event::{Origin, OutputRef};
use crate::core::run::Run;
use crate::core::stage::Stage;
use crate::engine::Shared;
use crate::lanes::{Claim, Turn};
use crate::ports::{NoticeOrder, Order, Output, Probe, RollbackOrder};
use crate::sabotaged;

/// How long undoing may take before it counts as not done: a stop with its grace, and a remove.
const UNDO_LIMIT: Duration = Duration::from_secs(60);

/// How long a receiver may take to accept a notice.
const NOTICE_LIMIT: Duration = Duration::from_secs(30);

/// How long a probe may take. It asks one or two questions of a local daemon or a registry.
const PROBE_LIMIT: Duration = Duration::from_secs(60);

/// What came of it.
pub(crate) enum Done {
    /// A command to decide.
    Decide(Command),
    /// What a probe found: to be recorded, then acted on.
    Probed(EffectKey, Command, Probe),
}

/// How an attempt is begun.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    /// From the beginning.
    Execute,
    /// Where an earlier engine left it going on.
    Attach,
}

pub(crate) async fn attempt_stage(shared: Arc<Shared>, order: Order, since_ms: u64, start: Start) -> Done {
    let output = match shared.parts.outputs.open(order.run.id, order.stage.name(), order.attempt) {
        Ok(writer) => Output::new(writer),
        Err(error) => {
            let outcome = Outcome::errored(format!("could not open the stage's output: {error}"));
            return report(&shared, &order, since_ms, outcome, None);
        }
    };
    let work = async {
        // A sweep that began before this run was open must not take what the deploy adopts.
        if order.stage == Stage::Deploy {
            drop(shared.sweeping.lock().await);
        }
        if let Start::Execute = start
            && order.attempt > 1
        {
            let former = Order {
                attempt: order.attempt - 1,
                key: EffectKey::stage(order.run.id, order.stage, order.attempt - 1),
                ..order.clone()
            };
            if !sabotaged!(SkipUndo)
                && let Err(reason) = shared.parts.executor.undo(&former).await
            {
                return Outcome::errored(format!("could not clear away the former attempt: {reason}"));
            }
        }
        match start {
            Start::Execute => shared.parts.executor.execute(&order, &output).await,
            Start::Attach => shared.parts.executor.attach(&order, &output).await,
        }
    };
    let outcome = tokio::select! {
        biased;
        outcome = unpanicked(work) => outcome.unwrap_or_else(Outcome::errored),
        () = shared.parts.clock.sleep_until(order.deadline_ms) => out_of_time(&shared, &order, since_ms).await,
    };
    let output = output.finish();
    report(&shared, &order, since_ms, outcome, output)
}

/// A stage whose own slowness is the app's is red; one that waits for our own tools gave no answer.
///
/// A candidate is left to the rollback, which removes it once the end of the deploy is recorded. Before, it was removed
/// first, and an engine that came in between found it healthy and sent users to it while Docker took it away.
async fn out_of_time(shared: &Shared, order: &Order, since_ms: u64) -> Outcome {
    let limit = Duration::from_millis(order.deadline_ms.saturating_sub(since_ms));
    if order.stage != Stage::Deploy
        && let Err(reason) = undo_within_limit(shared, order).await
    {
        tracing::warn!(key = %order.key, reason, "an attempt that was out of time could not be undone");
    }
    let stage = order.stage;
    match stage {
        Stage::Checkout | Stage::PushImage | Stage::GoLive => {
            Outcome::errored(format!("{stage} gave no answer within {limit:?}"))
        }
        Stage::Test => Outcome::failed(format!(
            "the tests were stopped after {limit:?}: make them faster, or raise `[test] timeout`"
        )),
        Stage::Build => Outcome::failed(format!(
            "the build was stopped after {limit:?}: make it faster, or raise `[build] timeout`"
        )),
        Stage::ReleaseCommand | Stage::Deploy | Stage::Smoke | Stage::PublicSmoke => {
            Outcome::failed(format!("{stage} was stopped after {limit:?}"))
        }
    }
}

pub(crate) async fn probe_stage(shared: Arc<Shared>, order: Order, since_ms: u64) -> Done {
    let Order { stage, attempt, .. } = order;
    let probing = tokio::time::timeout(PROBE_LIMIT, unpanicked(shared.parts.executor.probe(&order)));
    let probe = match probing.await {
        Ok(Ok(Ok(probe))) => probe,
        Ok(Ok(Err(reason)) | Err(reason)) => {
            let outcome = Outcome::errored(format!("could not tell what became of it: {reason}"));
            return report(&shared, &order, since_ms, outcome, None);
        }
        Err(_) => {
            let outcome = Outcome::errored(format!("the probe gave no answer within {PROBE_LIMIT:?}"));
            return report(&shared, &order, since_ms, outcome, None);
        }
    };
    let probe = match probe {
        Probe::Unknown(_) if sabotaged!(TakeUnknownForNotStarted) => Probe::NotStarted,
        probe => probe,
    };
    let evidence = match &probe {
        Probe::Unknown(evidence) => evidence.clone(),
        _ => String::new(),
    };
    let command = Command::Recover { stage, attempt, found: probe.found(), evidence };
    Done::Probed(order.key, command, probe)
}

pub(crate) async fn reported(shared: Arc<Shared>, order: Order, since_ms: u64, outcome: Outcome) -> Done {
    report(&shared, &order, since_ms, outcome, None)
}

fn report(
    shared: &Shared,
    order: &Order,
    since_ms: u64,
    outcome: Outcome,
    output: Option<OutputRef>,
) -> Done {
    let took_ms = shared.parts.clock.now_ms().saturating_sub(since_ms);
    let outcome = match outcome {
        Outcome::Failed(failure) if sabotaged!(RetryFailed) => Outcome::errored(failure.reason),
        outcome => outcome,
    };
    Done::Decide(Command::Report { stage: order.stage, attempt: order.attempt, outcome, took_ms, output })
}

pub(crate) async fn undo_stage(shared: Arc<Shared>, run: Arc<Run>, stage: Stage, attempt: u32) -> Done {
    let order = order(&shared, &run, stage, attempt, 0);
    let error = undo_within_limit(&shared, &order).await.err();
    Done::Decide(Command::ReportUndone { stage, attempt, error })
}

async fn undo_within_limit(shared: &Shared, order: &Order) -> Result<(), String> {
    if sabotaged!(SkipUndo) {
        return Ok(());
    }
    match tokio::time::timeout(UNDO_LIMIT, unpanicked(shared.parts.executor.undo(order))).await {
        Ok(Ok(undone)) => undone,
        Ok(Err(panicked)) => Err(panicked),
        Err(_) => Err(format!("undoing gave no answer within {UNDO_LIMIT:?}")),
    }
}

pub(crate) async fn roll_back(
    shared: Arc<Shared>,
    run: Arc<Run>,
    attempt: u32,
    deadline_ms: u64,
    since_ms: u64,
) -> Done {
    let errored = |reason: String| RollbackOutcome::Errored { reason };
    let outcome = match shared.parts.outputs.open(run.id, "rollback", attempt) {
        Err(error) => errored(format!("could not open the rollback's output: {error}")),
        Ok(writer) => {
            let output = Output::new(writer);
            let key = EffectKey::rollback(run.id, attempt);
            let log_id = shared.parts.store.log_id();
            let former = former_run(&shared, &run).await;
            let order = RollbackOrder { run, former, attempt, key, deadline_ms, log_id };
            let outcome = tokio::select! {
                biased;
                outcome = unpanicked(shared.parts.executor.rollback(&order, &output)) => {
                    outcome.unwrap_or_else(errored)
                }
                () = shared.parts.clock.sleep_until(deadline_ms) => {
                    errored("the rollback was not finished in time".into())
                }
            };
            let _ = output.finish();
            outcome
        }
    };
    let took_ms = shared.parts.clock.now_ms().saturating_sub(since_ms);
    Done::Decide(Command::ReportRollback { attempt, outcome, took_ms })
}

/// Returns the run whose release is gone back to. None: there is none, or its history can't be read.
async fn former_run(shared: &Shared, run: &Run) -> Option<Arc<Run>> {
    let replaced = run.entry.as_ref()?.replaces.as_ref()?;
    match shared.load(replaced.run).await {
        Ok(loaded) => loaded.map(|(former, _)| Arc::new(former)),
        Err(error) => {
            tracing::warn!(run = %replaced.run, error = &error as &dyn std::error::Error, "the former run can't be read");
            None
        }
    }
}

pub(crate) async fn notify(shared: Arc<Shared>, order: NoticeOrder) -> Done {
    let sending = tokio::time::timeout(NOTICE_LIMIT, unpanicked(shared.parts.executor.notify(&order)));
    let receipt = match sending.await {
        Ok(Ok(receipt)) => receipt,
        Ok(Err(panicked)) => Err(NotSent::errored(panicked)),
        Err(_) => Err(NotSent::errored(format!("the receiver gave no answer within {NOTICE_LIMIT:?}"))),
    };
    Done::Decide(Command::ReportNotice { notice: order.notice, attempt: order.attempt, receipt })
}

pub(crate) async fn enter_lane(shared: Arc<Shared>, run: Arc<Run>) -> Done {
    match shared.lanes.enter(&run.lane, run.id, claim_of(&run)).await {
        Turn::Enter => Done::Decide(Command::EnterLane),
        Turn::Superseded(by) => Done::Decide(Command::Supersede { by }),
    }
}

/// Waits beside the lane until the time to approve is over, or a newer run of the branch makes the wait pointless.
pub(crate) async fn await_approval(shared: Arc<Shared>, run: Arc<Run>, until_ms: u64) -> Done {
    let Claim::Branch(branch) = claim_of(&run) else {
        shared.parts.clock.sleep_until(until_ms).await;
        return Done::Decide(Command::Proceed);
    };
    // One that came by while this run was not waiting yet would not be met below. A log that can't be read says it
    // when the run enters.
    let lane = shared.parts.store.lane(&run.lane).await.unwrap_or_default();
    if let Some(by) = lane.newest.get(&branch).filter(|newest| **newest > run.id) {
        return Done::Decide(Command::Supersede { by: *by });
    }
    tokio::select! {
        biased;
        by = shared.lanes.superseded(&run.lane, run.id, branch) => Done::Decide(Command::Supersede { by }),
        () = shared.parts.clock.sleep_until(until_ms) => Done::Decide(Command::Proceed),
    }
}

fn claim_of(run: &Run) -> Claim {
    match &run.origin {
        Origin::Release { .. } => Claim::ByHand,
        Origin::Promotion { .. } => Claim::Alone,
        Origin::Push { .. } | Origin::Rerun(_) => {
            let commit = run.commit();
            Claim::Branch(commit.branch.clone().unwrap_or_else(|| commit.sha.clone()))
        }
    }
}

pub(crate) fn order(shared: &Shared, run: &Arc<Run>, stage: Stage, attempt: u32, deadline_ms: u64) -> Order {
    let key = EffectKey::stage(run.id, stage, attempt);
    Order { run: Arc::clone(run), stage, attempt, key, deadline_ms, log_id: shared.parts.store.log_id() }
}

/// A stage that panics has given no answer; it takes neither its run nor the engine with it.
pub(crate) async fn unpanicked<T>(work: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| panic.downcast_ref::<String>().cloned());
        format!("the stage's code panicked: {}", text.unwrap_or_else(|| "no message".into()))
    })
}
