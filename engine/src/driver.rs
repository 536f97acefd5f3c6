//! The only place where deciding, storing and doing meet: append, then act.
//!
//! One driver drives one run. It reads what is owed from the folded state, does it, turns the outcome
//! into a command, and records what is decided. A driver that starts on a run with an unconcluded attempt
//! probes the world before it does anything.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use crate::core::command::{Command, Outcome, Rejected, RollbackOutcome};
use crate::core::decide::decide;
use crate::core::effect::{Effect, EffectKey, next_effect};
use crate::core::event::{Envelope, Event};
use crate::core::evolve::{Place, evolve};
use crate::core::lane::Lane;
use crate::core::run::{Phase, Run, RunId};
use crate::core::stage::Stage;
use crate::engine::{EngineError, Shared};
use crate::lanes::Turn;
use crate::ports::{Append, AppendError, Draft, NoticeOrder, Order, Output, Probe, RollbackOrder};

/// Who asks, when the engine does.
pub(crate) const ENGINE: &str = "engine";

/// How long undoing may take before it counts as not done: a stop with its grace, and a remove.
const UNDO_LIMIT: Duration = Duration::from_secs(60);

/// How long a receiver may take to accept a notice.
const NOTICE_LIMIT: Duration = Duration::from_secs(30);

/// How long a probe may take. It asks one or two questions of a local daemon or a registry.
const PROBE_LIMIT: Duration = Duration::from_secs(60);

/// The pause before an append is tried again on a full disk, in milliseconds.
const FULL_PAUSE_MS: u64 = 1_000;

/// Something that a person, or another part of the engine, asks of a run.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) command: Command,
    pub(crate) actor: String,
    pub(crate) reply: oneshot::Sender<Result<(), EngineError>>,
}

/// What is known of the attempt in flight.
#[derive(Debug)]
enum Standing {
    /// This engine recorded the intent itself, and has not acted on it yet.
    Fresh(EffectKey),
    /// A probe said what became of it.
    Probed(EffectKey, Probe),
    /// Nothing: an earlier engine recorded the intent.
    Unknown,
}

/// What is being done for an effect.
struct Doing {
    effect: Effect,
    work: BoxFuture<'static, Done>,
}

/// What came of it.
enum Done {
    Decide(Command),
    Probed(EffectKey, Command, Probe),
}

/// Drives one run to its end.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    run: Run,
    mailbox: mpsc::Receiver<Request>,
    moved: watch::Sender<u64>,
    standing: Standing,
    /// When the last intent was recorded: the start of the attempt in flight.
    since_ms: u64,
}

impl Driver {
    /// Returns a driver for a run whose history is `envelopes`, folded to `run`.
    ///
    /// `fresh` tells that this engine recorded the last event itself, and has not acted on it.
    pub(crate) fn new(
        shared: Arc<Shared>,
        run: Run,
        since_ms: u64,
        fresh: bool,
        mailbox: mpsc::Receiver<Request>,
        moved: watch::Sender<u64>,
    ) -> Self {
        let standing = match &run.phase {
            Phase::Working(work) if fresh => {
                Standing::Fresh(EffectKey::stage(run.id, work.stage, work.attempt))
            }
            _ => Standing::Unknown,
        };
        Self { shared, run, mailbox, moved, standing, since_ms }
    }

    /// Does what is owed until nothing is, or the engine stops.
    ///
    /// Stopping is crashing: whatever is going on is dropped where it stands, and the next start probes it.
    /// So there is one way to come back, and it is walked every day.
    pub(crate) async fn drive(mut self) {
        let stop = self.shared.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.drive_to_the_end() => {}
        }
        self.shared.forget(&self.run);
    }

    async fn drive_to_the_end(&mut self) {
        let mut doing: Option<Doing> = None;
        while let Some(owed) = next_effect(&self.run) {
            if doing.as_ref().is_none_or(|doing| doing.effect != owed) {
                // Dropping what is being done comes first: no two effects of a run overlap.
                drop(doing.take());
                doing = Some(self.begin(owed));
            }
            let Some(current) = &mut doing else { break };
            let step = tokio::select! {
                biased;
                Some(request) = self.mailbox.recv() => {
                    let answer = self.decide_and_record(request.command, &request.actor).await;
                    let _ = request.reply.send(answer);
                    continue;
                }
                done = &mut current.work => self.conclude(done).await,
            };
            let effect = doing.take().map(|doing| doing.effect);
            if let Err(error) = step {
                // Whatever it is, a person can still cancel: the run is not left without anybody to hear that.
                tracing::error!(
                    run = %self.run.id, error = &error as &dyn std::error::Error,
                    "the run can't go on by itself; cancel it, or start the engine again"
                );
                doing = effect.map(|effect| Doing { effect, work: std::future::pending().boxed() });
            }
        }
    }

    async fn conclude(&mut self, done: Done) -> Result<(), EngineError> {
        match done {
            Done::Decide(command) => self.record_outcome(command).await,
            Done::Probed(key, command, probe) => {
                self.decide_and_record(command, ENGINE).await?;
                self.standing = Standing::Probed(key, probe);
                Ok(())
            }
        }
    }

    /// Records an outcome; one that is too large to be recorded counts as none.
    async fn record_outcome(&mut self, command: Command) -> Result<(), EngineError> {
        let unrecorded = match &command {
            Command::Report { stage, attempt, took_ms, .. } => Some((*stage, *attempt, *took_ms)),
            _ => None,
        };
        match (self.decide_and_record(command, ENGINE).await, unrecorded) {
            (Err(EngineError::Append(AppendError::Refused { reason })), Some((stage, attempt, took_ms))) => {
                let outcome = Outcome::errored(format!("its outcome could not be recorded: {reason}"));
                let report = Command::Report { stage, attempt, outcome, took_ms, output: None };
                self.decide_and_record(report, ENGINE).await
            }
            // A clock that was set back: the time is waited for again.
            (Err(EngineError::Rejected(Rejected::NotDue)), _) if self.waits_for_a_time() => Ok(()),
            (recorded, _) => recorded,
        }
    }

    fn waits_for_a_time(&self) -> bool {
        matches!(next_effect(&self.run), Some(Effect::WaitUntil(_) | Effect::WaitForNotice(..)))
    }

    /// Starts what is owed. Whatever it needs is taken along, so that it can be dropped at any time.
    fn begin(&mut self, effect: Effect) -> Doing {
        let shared = Arc::clone(&self.shared);
        let run = Arc::new(self.run.clone());
        let since_ms = self.since_ms;
        let work: BoxFuture<'static, Done> = match effect.clone() {
            Effect::RunStage { stage, attempt, deadline_ms } => {
                let order = order(&shared, &run, stage, attempt, deadline_ms);
                match std::mem::replace(&mut self.standing, Standing::Unknown) {
                    Standing::Fresh(key) if key == order.key => {
                        attempt_stage(shared, order, since_ms, Start::Execute).boxed()
                    }
                    Standing::Probed(key, probe) if key == order.key => match probe {
                        Probe::NotStarted if deadline_ms <= shared.parts.clock.now_ms() => {
                            let outcome = Outcome::errored("its time ran out while no engine was running");
                            reported(shared, order, since_ms, outcome).boxed()
                        }
                        Probe::NotStarted | Probe::Unknown(_) => {
                            attempt_stage(shared, order, since_ms, Start::Execute).boxed()
                        }
                        Probe::Running => attempt_stage(shared, order, since_ms, Start::Attach).boxed(),
                        Probe::Done(outcome) => reported(shared, order, since_ms, outcome).boxed(),
                    },
                    _ => probe_stage(shared, order, since_ms).boxed(),
                }
            }
            Effect::Undo { stage, attempt } => undo_stage(shared, run, stage, attempt).boxed(),
            Effect::Rollback { attempt, deadline_ms } => {
                roll_back(shared, run, attempt, deadline_ms, since_ms).boxed()
            }
            Effect::Notify { notice, attempt } => {
                let key = EffectKey::notice(run.id, &notice);
                notify(shared, NoticeOrder { run, notice, attempt, key }).boxed()
            }
            Effect::EnterLane => enter_lane(shared, run).boxed(),
            Effect::BeginNotice(notice) => async { Done::Decide(Command::Notify { notice }) }.boxed(),
            Effect::Proceed => async { Done::Decide(Command::Proceed) }.boxed(),
            Effect::WaitUntil(due_ms) => async move {
                shared.parts.clock.sleep_until(due_ms).await;
                Done::Decide(Command::Proceed)
            }
            .boxed(),
            Effect::WaitForNotice(notice, due_ms) => async move {
                shared.parts.clock.sleep_until(due_ms).await;
                Done::Decide(Command::Notify { notice })
            }
            .boxed(),
            Effect::AwaitPerson => std::future::pending().boxed(),
        };
        Doing { effect, work }
    }

    /// Decides, records, and only then believes it.
    async fn decide_and_record(&mut self, command: Command, actor: &str) -> Result<(), EngineError> {
        loop {
            let lane = match command {
                Command::EnterLane => self.shared.parts.store.lane(&self.run.lane).await?,
                _ => Lane::default(),
            };
            let now_ms = self.shared.parts.clock.now_ms();
            let events = decide(&lane, Some(&self.run), command.clone(), now_ms)?;
            if events.is_empty() {
                return Ok(());
            }
            // An illegal move is never recorded: a fault in the rules stops this run, not its history.
            fold(self.run.clone(), now_ms, &events)?;
            let append = append(self.run.id, self.run.seq, events, now_ms, actor);
            match self.shared.append(append).await {
                Ok(envelopes) => return self.believe(&envelopes),
                Err(EngineError::Append(AppendError::Conflict { .. })) => self.reload().await?,
                Err(error) => return Err(error),
            }
        }
    }

    fn believe(&mut self, envelopes: &[Envelope]) -> Result<(), EngineError> {
        for envelope in envelopes {
            let place = place_of(envelope);
            self.run = evolve(Some(self.run.clone()), place, &envelope.event)?;
            if is_intent(&envelope.event) {
                self.since_ms = envelope.recorded_at_ms;
            }
            if let Event::StageStarted { stage, attempt, .. } = envelope.event {
                self.standing = Standing::Fresh(EffectKey::stage(self.run.id, stage, attempt));
            }
        }
        if !self.run.holds_lane() {
            self.shared.lanes.leave_if_over(&self.run);
        }
        self.moved.send_replace(self.run.seq);
        Ok(())
    }

    async fn reload(&mut self) -> Result<(), EngineError> {
        let (run, since_ms) =
            self.shared.load(self.run.id).await?.ok_or(EngineError::NoSuchRun(self.run.id))?;
        self.run = run;
        self.since_ms = since_ms;
        self.standing = Standing::Unknown;
        Ok(())
    }
}

/// How an attempt is begun.
#[derive(Clone, Copy)]
enum Start {
    Execute,
    Attach,
}

async fn attempt_stage(shared: Arc<Shared>, order: Order, since_ms: u64, start: Start) -> Done {
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
            if let Err(reason) = shared.parts.executor.undo(&former).await {
                return Outcome::errored(format!("could not clear away the former attempt: {reason}"));
            }
        }
        match start {
            Start::Execute => shared.parts.executor.execute(&order, &output).await,
            Start::Attach => shared.parts.executor.attach(&order, &output).await,
        }
    };
    let outcome = tokio::select! {
        outcome = unpanicked(work) => outcome.unwrap_or_else(Outcome::errored),
        () = shared.parts.clock.sleep_until(order.deadline_ms) => out_of_time(&shared, &order, since_ms).await,
    };
    let output = output.finish();
    report(&shared, &order, since_ms, outcome, output)
}

/// A stage whose own slowness is the app's is red; one that waits for our own tools gave no answer.
async fn out_of_time(shared: &Shared, order: &Order, since_ms: u64) -> Outcome {
    let limit = Duration::from_millis(order.deadline_ms.saturating_sub(since_ms));
    if let Err(reason) = undo_within_limit(shared, order).await {
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

async fn probe_stage(shared: Arc<Shared>, order: Order, since_ms: u64) -> Done {
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
    let evidence = match &probe {
        Probe::Unknown(evidence) => evidence.clone(),
        _ => String::new(),
    };
    let command = Command::Recover { stage, attempt, found: probe.found(), evidence };
    Done::Probed(order.key, command, probe)
}

async fn reported(shared: Arc<Shared>, order: Order, since_ms: u64, outcome: Outcome) -> Done {
    report(&shared, &order, since_ms, outcome, None)
}

fn report(
    shared: &Shared,
    order: &Order,
    since_ms: u64,
    outcome: Outcome,
    output: Option<crate::core::event::OutputRef>,
) -> Done {
    let took_ms = shared.parts.clock.now_ms().saturating_sub(since_ms);
    Done::Decide(Command::Report { stage: order.stage, attempt: order.attempt, outcome, took_ms, output })
}

async fn undo_stage(shared: Arc<Shared>, run: Arc<Run>, stage: Stage, attempt: u32) -> Done {
    let order = order(&shared, &run, stage, attempt, 0);
    let error = undo_within_limit(&shared, &order).await.err();
    Done::Decide(Command::ReportUndone { stage, attempt, error })
}

async fn undo_within_limit(shared: &Shared, order: &Order) -> Result<(), String> {
    match tokio::time::timeout(UNDO_LIMIT, unpanicked(shared.parts.executor.undo(order))).await {
        Ok(Ok(undone)) => undone,
        Ok(Err(panicked)) => Err(panicked),
        Err(_) => Err(format!("undoing gave no answer within {UNDO_LIMIT:?}")),
    }
}

async fn roll_back(
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
            let order = RollbackOrder { run, attempt, key, deadline_ms, log_id };
            let outcome = tokio::select! {
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

async fn notify(shared: Arc<Shared>, order: NoticeOrder) -> Done {
    let sending = tokio::time::timeout(NOTICE_LIMIT, unpanicked(shared.parts.executor.notify(&order)));
    let receipt = match sending.await {
        Ok(Ok(receipt)) => receipt,
        Ok(Err(panicked)) => Err(panicked),
        Err(_) => Err(format!("the receiver gave no answer within {NOTICE_LIMIT:?}")),
    };
    Done::Decide(Command::ReportNotice { notice: order.notice, attempt: order.attempt, receipt })
}

async fn enter_lane(shared: Arc<Shared>, run: Arc<Run>) -> Done {
    let branch = match &run.origin {
        crate::core::event::Origin::Push { commit, .. } => {
            Some(commit.branch.clone().unwrap_or_else(|| commit.sha.clone()))
        }
        crate::core::event::Origin::Release { .. } => None,
    };
    match shared.lanes.enter(&run.lane, run.id, branch).await {
        Turn::Enter => Done::Decide(Command::EnterLane),
        Turn::Superseded(by) => Done::Decide(Command::Supersede { by }),
    }
}

fn order(shared: &Shared, run: &Arc<Run>, stage: Stage, attempt: u32, deadline_ms: u64) -> Order {
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

/// Returns the append that records these events, each under the key of its effect.
pub(crate) fn append(run_id: RunId, expected: u64, events: Vec<Event>, at_ms: u64, actor: &str) -> Append {
    let events = events
        .into_iter()
        .map(|event| Draft { event_id: Uuid::now_v7(), effect_key: key_of(run_id, &event), event })
        .collect();
    Append { run_id, expected, events, at_ms, actor: actor.to_owned(), claim: None }
}

fn key_of(run_id: RunId, event: &Event) -> Option<String> {
    let key = match event {
        Event::StageStarted { stage, attempt, .. }
        | Event::StageRecovered { stage, attempt, .. }
        | Event::StageSucceeded { stage, attempt, .. }
        | Event::StageFailed { stage, attempt, .. }
        | Event::StageErrored { stage, attempt, .. }
        | Event::StageUndone { stage, attempt } => EffectKey::stage(run_id, *stage, *attempt),
        Event::RollbackStarted { attempt, .. }
        | Event::RollbackSucceeded { attempt, .. }
        | Event::RollbackErrored { attempt, .. } => EffectKey::rollback(run_id, *attempt),
        Event::NoticeStarted { notice, .. }
        | Event::NoticeSent { notice, .. }
        | Event::NoticeErrored { notice, .. } => EffectKey::notice(run_id, notice),
        _ => return None,
    };
    Some(key.as_str().to_owned())
}

/// Folds events that are not recorded yet onto a run.
pub(crate) fn fold(run: Run, at_ms: u64, events: &[Event]) -> Result<Run, Box<EngineError>> {
    events.iter().try_fold(run, |run, event| {
        let place = Place { run_id: run.id, seq: run.seq + 1, at_ms };
        evolve(Some(run), place, event).map_err(|illegal| Box::new(EngineError::Illegal(illegal)))
    })
}

/// Tells whether an attempt begins with this event.
pub(crate) const fn is_intent(event: &Event) -> bool {
    matches!(event, Event::StageStarted { .. } | Event::RollbackStarted { .. })
}

/// Returns where and when an event stands.
pub(crate) fn place_of(envelope: &Envelope) -> Place {
    Place { run_id: envelope.run_id, seq: envelope.seq, at_ms: envelope.recorded_at_ms }
}

impl From<Rejected> for EngineError {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl From<Box<EngineError>> for EngineError {
    fn from(error: Box<EngineError>) -> Self {
        *error
    }
}

impl Shared {
    /// Records events, waiting out a full disk; stops the engine when the log can't be trusted any more.
    pub(crate) async fn append(&self, append: Append) -> Result<Vec<Envelope>, EngineError> {
        loop {
            match self.parts.store.append(append.clone()).await {
                Ok(envelopes) => return Ok(envelopes),
                Err(AppendError::Full) => {
                    tracing::error!("the disk is full: waiting before the log is appended to again");
                    let due_ms = self.parts.clock.now_ms() + FULL_PAUSE_MS;
                    tokio::select! {
                        () = self.stop.cancelled() => return Err(EngineError::Append(AppendError::Full)),
                        () = self.parts.clock.sleep_until(due_ms) => {}
                    }
                }
                Err(
                    error @ (AppendError::Unknown { .. } | AppendError::Fenced | AppendError::Corrupt { .. }),
                ) => {
                    self.halt(&error.to_string());
                    return Err(EngineError::Append(error));
                }
                Err(error) => return Err(EngineError::Append(error)),
            }
        }
    }
}
