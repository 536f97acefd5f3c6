//! The only place where deciding, storing and doing meet: append, then act.
//!
//! One driver drives one run. It reads what is owed from the folded state, does it, turns the outcome
//! into a command, and records what is decided. A driver that starts on a run with an unconcluded attempt
//! probes the world before it does anything.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};

use crate::attempts::{
    Done, Start, attempt_stage, await_approval, enter_lane, notify, order, probe_stage, reported, roll_back,
    undo_stage,
};
use crate::core::command::{Command, Outcome, Rejected};
use crate::core::effect::{Effect, EffectKey, next_effect};
use crate::core::event::{Envelope, Event};
use crate::core::evolve::{Place, evolve};
use crate::core::lane::Lane;
use crate::core::length::decide_within;
use crate::core::run::{Phase, Run, RunId};
use crate::engine::{EngineError, Shared};
use crate::ports::{Append, AppendError, Clock, Draft, NoticeOrder, Probe};
use crate::sabotaged;
use crate::terms::Terms;

/// Who asks, when the engine does.
pub(crate) const ENGINE: &str = "engine";

/// The pause before an append is tried again on a full disk, in milliseconds.
const FULL_PAUSE_MS: u64 = 1_000;

/// Something that a person, or another part of the engine, asks of a run.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) command: Command,
    pub(crate) actor: String,
    pub(crate) terms: Terms,
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
                    let Request { command, actor, terms, reply } = request;
                    let _ = reply.send(self.decide_on_terms(command, &actor, &terms).await);
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
            // The lane was shut while this run was let in: it queues again, and finds it shut or open.
            (Err(EngineError::Rejected(Rejected::Paused { .. })), _) => {
                self.shared.lanes.leave(&self.run.lane, self.run.id);
                Ok(())
            }
            // A clock that was set back: the time is waited for again.
            (Err(EngineError::Rejected(Rejected::NotDue)), _) if self.waits_for_a_time() => Ok(()),
            (recorded, _) => recorded,
        }
    }

    fn waits_for_a_time(&self) -> bool {
        let owed = next_effect(&self.run);
        matches!(owed, Some(Effect::WaitUntil(_) | Effect::WaitForNotice(..) | Effect::AwaitApproval(_)))
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
                    _ if sabotaged!(SkipProbe) => {
                        attempt_stage(shared, order, since_ms, Start::Execute).boxed()
                    }
                    _ => probe_stage(shared, order, since_ms).boxed(),
                }
            }
            Effect::Undo { stage, attempt } => {
                match self.is_fresh(&EffectKey::stage(run.id, stage, attempt)) {
                    true => undo_stage(shared, run, stage, attempt).boxed(),
                    false => decided(Command::RecoverUndo { stage, attempt }),
                }
            }
            Effect::Rollback { attempt, deadline_ms } => {
                match self.is_fresh(&EffectKey::rollback(run.id, attempt)) {
                    true => roll_back(shared, run, attempt, deadline_ms, since_ms).boxed(),
                    false => decided(Command::RecoverRollback { attempt }),
                }
            }
            Effect::Notify { notice, attempt } => {
                let key = EffectKey::notice(run.id, &notice);
                match self.is_fresh(&key) {
                    true if sabotaged!(RekeyNotices) => {
                        let key = EffectKey::rollback(run.id, 1_000 + attempt);
                        notify(shared, NoticeOrder { run, notice, attempt, key }).boxed()
                    }
                    true => notify(shared, NoticeOrder { run, notice, attempt, key }).boxed(),
                    false => decided(Command::RecoverNotice { notice, attempt }),
                }
            }
            Effect::EnterLane => enter_lane(shared, run).boxed(),
            Effect::AwaitApproval(until_ms) => await_approval(shared, run, until_ms).boxed(),
            Effect::BeginNotice(notice) => decided(Command::Notify { notice }),
            Effect::Proceed => decided(Command::Proceed),
            Effect::WaitUntil(due_ms) => async move {
                let now_ms = shared.parts.clock.now_ms();
                let due_ms = if sabotaged!(FireTimersEarly) { due_ms.min(now_ms + 1) } else { due_ms };
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

    /// Tells, once, whether this engine recorded itself that it is about to act under this key.
    fn is_fresh(&mut self, key: &EffectKey) -> bool {
        matches!(std::mem::replace(&mut self.standing, Standing::Unknown), Standing::Fresh(fresh) if fresh == *key)
    }

    /// Decides, records, and only then believes it.
    async fn decide_and_record(&mut self, command: Command, actor: &str) -> Result<(), EngineError> {
        self.decide_on_terms(command, actor, &Terms::default()).await
    }

    async fn decide_on_terms(
        &mut self,
        command: Command,
        actor: &str,
        terms: &Terms,
    ) -> Result<(), EngineError> {
        let shared = Arc::clone(&self.shared);
        let _gate = match command {
            Command::EnterLane => Some(shared.gate.read().await),
            _ => None,
        };
        loop {
            if !terms.hold(&self.run, &*self.shared.parts.store).await? {
                return Ok(());
            }
            let lane = match command {
                Command::EnterLane => self.shared.parts.store.lane(&self.run.lane).await?,
                _ => Lane::default(),
            };
            let now_ms = self.shared.parts.clock.now_ms();
            let max = self.shared.limits.run_events_max;
            let events = decide_within(max, &lane, Some(&self.run), command.clone(), now_ms)?;
            if events.is_empty() {
                return Ok(());
            }
            // An illegal move is never recorded: a fault in the rules stops this run, not its history.
            fold(self.run.clone(), now_ms, &events)?;
            #[cfg(feature = "sabotage")]
            if sabotaged!(ActBeforeIntent) {
                self.act_before(&events).await;
            }
            let clock = &*self.shared.parts.clock;
            let mut append = append(clock, self.run.id, self.run.seq, events, now_ms, actor);
            terms.claim.iter().for_each(|claim| claim.mark(&mut append));
            match self.shared.append(append).await {
                Ok(envelopes) => return self.believe(&envelopes),
                Err(EngineError::Append(AppendError::Conflict { .. })) => self.reload().await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Does a stage whose intent is yet to be recorded, which is wrong.
    #[cfg(feature = "sabotage")]
    async fn act_before(&self, events: &[Event]) {
        let Some(Event::StageStarted { stage, attempt, deadline_ms }) = events.last() else { return };
        let order = order(&self.shared, &Arc::new(self.run.clone()), *stage, *attempt, *deadline_ms);
        if let Ok(writer) = self.shared.parts.outputs.open(self.run.id, stage.name(), *attempt) {
            self.shared.parts.executor.execute(&order, &crate::ports::Output::new(writer)).await;
        }
    }

    fn believe(&mut self, envelopes: &[Envelope]) -> Result<(), EngineError> {
        for envelope in envelopes {
            let place = place_of(envelope);
            self.run = evolve(Some(self.run.clone()), place, &envelope.event)?;
            if is_intent(&envelope.event) {
                self.since_ms = envelope.recorded_at_ms;
            }
            if let Some(key) = self.about_to_act(&envelope.event) {
                self.standing = Standing::Fresh(key);
            }
        }
        self.shared.lanes.leave_if_done(&self.run);
        self.moved.send_replace(self.run.seq);
        Ok(())
    }

    /// Returns the key under which this event lets its engine act without looking first.
    ///
    /// A stage that was recovered is none of these: what its probe found says how it goes on.
    fn about_to_act(&self, event: &Event) -> Option<EffectKey> {
        let run_id = self.run.id;
        match event {
            Event::StageStarted { stage, attempt, .. } | Event::UndoRecovered { stage, attempt } => {
                Some(EffectKey::stage(run_id, *stage, *attempt))
            }
            Event::RollbackStarted { attempt, .. } | Event::RollbackRecovered { attempt } => {
                Some(EffectKey::rollback(run_id, *attempt))
            }
            Event::NoticeStarted { notice, .. } | Event::NoticeRecovered { notice, .. } => {
                Some(EffectKey::notice(run_id, notice))
            }
            Event::CancelRequested { .. } => match next_effect(&self.run) {
                Some(Effect::Undo { stage, attempt }) => Some(EffectKey::stage(run_id, stage, attempt)),
                _ => None,
            },
            _ => None,
        }
    }

    async fn reload(&mut self) -> Result<(), EngineError> {
        let (run, since_ms) =
            self.shared.load(self.run.id).await?.ok_or(EngineError::NoSuchRun(self.run.id))?;
        self.run = run;
        self.since_ms = since_ms;
        self.standing = Standing::Unknown;
        // What somebody else recorded may be the end: a report of a dead engine that arrived late.
        self.shared.lanes.leave_if_done(&self.run);
        self.moved.send_replace(self.run.seq);
        Ok(())
    }
}

fn decided(command: Command) -> BoxFuture<'static, Done> {
    std::future::ready(Done::Decide(command)).boxed()
}

/// Returns the append that records these events, each under the key of its effect.
pub(crate) fn append(
    clock: &dyn Clock,
    run_id: RunId,
    expected: u64,
    events: Vec<Event>,
    at_ms: u64,
    actor: &str,
) -> Append {
    let events = events
        .into_iter()
        .map(|event| Draft { event_id: clock.uuid(), effect_key: key_of(run_id, &event), event })
        .collect();
    Append { run_id, expected, events, at_ms, actor: actor.to_owned(), claims: Vec::new() }
}

fn key_of(run_id: RunId, event: &Event) -> Option<String> {
    let key = match event {
        Event::StageStarted { stage, attempt, .. }
        | Event::StageRecovered { stage, attempt, .. }
        | Event::StageSucceeded { stage, attempt, .. }
        | Event::StageFailed { stage, attempt, .. }
        | Event::StageErrored { stage, attempt, .. }
        | Event::StageUndone { stage, attempt }
        | Event::UndoRecovered { stage, attempt } => EffectKey::stage(run_id, *stage, *attempt),
        Event::RollbackStarted { attempt, .. }
        | Event::RollbackRecovered { attempt }
        | Event::RollbackSucceeded { attempt, .. }
        | Event::RollbackErrored { attempt, .. } => EffectKey::rollback(run_id, *attempt),
        Event::NoticeStarted { notice, .. }
        | Event::NoticeRecovered { notice, .. }
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
                        biased;
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
