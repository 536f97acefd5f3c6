//! The handle that people embed: trigger, cancel, resolve, roll back, watch, recover, shut down.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::core::command::{Command, Push, Rejected};
use crate::core::decide::decide;
use crate::core::effect::next_effect;
use crate::core::event::{Decision, Envelope, Event};
use crate::core::evolve::{IllegalTransition, evolve};
use crate::core::lane::LaneId;
use crate::core::releases::NoRelease;
use crate::core::run::{Phase, Run, RunId};
use crate::driver::{Driver, Request, append, is_intent, place_of};
use crate::lanes::Lanes;
use crate::ledger::Keeping;
use crate::limits::{Busy, Limits};
use crate::ports::{AppendError, Clock, EventStore, Low, OutputLog, ReadError, RunQuery, StageExecutor};
use crate::sabotaged;
use crate::sweep::{Swept, sweep_now};
use crate::terms::{Claim, Terms};

/// Requests that may wait for one run's driver. A person sends one at a time; more than a few is a loop.
const MAILBOX_MAX: usize = 32;

/// What an engine is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// What remembers.
    pub store: Arc<dyn EventStore>,
    /// What acts.
    pub executor: Arc<dyn StageExecutor>,
    /// Where stages print.
    pub outputs: Arc<dyn OutputLog>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// Why the engine could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The rules say no. **Tell whoever asked.**
    #[error(transparent)]
    Rejected(Rejected),
    /// There are as many open runs as there may be. **Ask again later.**
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The disk is low. **Make room, then ask again.**
    #[error(transparent)]
    Low(#[from] Low),
    /// There is no such run.
    #[error("there is no run {0}")]
    NoSuchRun(RunId),
    /// There is no such release, or none that can still be deployed.
    #[error("{lane} {why}")]
    NoSuchRelease {
        /// App and environment.
        lane: LaneId,
        /// Why, and what there is.
        why: NoRelease,
    },
    /// There is no such app.
    #[error("there is no app {0}: nothing was ever pushed to it, and it is not registered")]
    NoSuchApp(String),
    /// No commit is meant.
    #[error("{wanted:?} names no commit {among}: {advice}")]
    NoSuchCommit {
        /// What was asked for.
        wanted: String,
        /// Among which it was looked for.
        among: String,
        /// What to do.
        advice: &'static str,
    },
    /// The events could not be recorded, so nothing was done.
    #[error("could not record the events")]
    Append(#[source] AppendError),
    /// The log could not be read.
    #[error("could not read the log")]
    Read(#[from] ReadError),
    /// The history of a run is broken. **It is not driven on; the others are.**
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// The run is open and nobody drives it: its history can't be read.
    #[error("run {0} is not driven, because its history can't be read; the engine's log says why")]
    NotDriven(RunId),
    /// The engine is stopping.
    #[error("the engine is stopping")]
    Stopping,
}

/// What a trigger led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Triggered {
    /// The run.
    pub run_id: RunId,
    /// False when the same claim had started this run before.
    pub fresh: bool,
}

/// A workflow engine on one log. Clones are handles on the same engine.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// What the engine's tasks have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) parts: Parts,
    pub(crate) limits: Limits,
    pub(crate) lanes: Lanes,
    pub(crate) stop: CancellationToken,
    pub(crate) ledger: Keeping,
    /// Held by all who enter a lane, and alone by whoever shuts one or holds a commit: nobody enters by a look at the
    /// lane from before.
    pub(crate) gate: tokio::sync::RwLock<()>,
    /// Held while a sweep is going on.
    pub(crate) sweeping: tokio::sync::Mutex<()>,
    sweep_due: Notify,
    /// The runs that are driven, or about to be.
    driven: Mutex<HashMap<RunId, Handle>>,
    /// The newest run: runs are compared by their ids, so each gets one above all before it.
    newest: Mutex<Option<RunId>>,
    tasks: TaskTracker,
    /// How often a run that was recorded has left its place.
    departures: watch::Sender<u64>,
    halted: watch::Sender<Option<String>>,
}

/// How to reach a run that is driven.
#[derive(Clone, Debug)]
struct Handle {
    lane: LaneId,
    mailbox: mpsc::Sender<Request>,
    moved: watch::Receiver<u64>,
}

impl Engine {
    /// Starts an engine and goes on with every run that its log shows open.
    ///
    /// # Errors
    ///
    /// [`EngineError::Read`] when the log can't be read. A single run whose history is broken is logged and
    /// left alone.
    pub async fn start(parts: Parts) -> Result<Self, EngineError> {
        Self::start_within(parts, Limits::default()).await
    }

    /// Starts an engine that takes on so much and no more. Runs that are open already go on however many they are.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_within(parts: Parts, limits: Limits) -> Result<Self, EngineError> {
        let shared = Arc::new(Shared {
            parts,
            limits,
            lanes: Lanes::default(),
            ledger: Keeping::default(),
            gate: tokio::sync::RwLock::default(),
            stop: CancellationToken::new(),
            sweeping: tokio::sync::Mutex::default(),
            sweep_due: Notify::new(),
            driven: Mutex::default(),
            newest: Mutex::default(),
            tasks: TaskTracker::new(),
            departures: watch::channel(0).0,
            halted: watch::channel(None).0,
        });
        let engine = Self { shared };
        engine.shared.ledger.read(&*engine.shared.parts.store).await?;
        engine.recover().await?;
        engine.shared.tasks.spawn(crate::sweep::sweep_when_due(Arc::clone(&engine.shared)));
        engine.shared.tasks.spawn(halt_with_store(Arc::clone(&engine.shared)));
        Ok(engine)
    }

    /// Starts a run for a push. Durable when it returns.
    ///
    /// Each of the `claims` (a delivery id, an idempotency key) starts one run at most, for ever; two of them fit beside
    /// a push.
    ///
    /// # Errors
    ///
    /// [`Rejected::Held`] when the commit was rolled back before; [`EngineError::Busy`] and [`EngineError::Low`]
    /// beyond a limit; otherwise see [`EngineError`].
    pub async fn trigger(
        &self,
        push: Push,
        actor: &str,
        claims: impl IntoIterator<Item = Claim>,
    ) -> Result<Triggered, EngineError> {
        let lane = push.lane.clone();
        let claims: Vec<Claim> = claims.into_iter().collect();
        if let Some(triggered) = self.claimed_before(&claims).await? {
            return Ok(triggered);
        }
        // A rollback by hand is not asked this: it may be what is needed, and it is small.
        self.shared.parts.store.admits().await?;
        self.begin(&lane, Command::Push(push), actor, claims).await
    }

    /// Tells whether a push to a lane would be taken now.
    ///
    /// # Errors
    ///
    /// [`EngineError::Busy`] and [`EngineError::Low`], as [`trigger`](Self::trigger) would answer.
    pub async fn admits(&self, lane: &LaneId) -> Result<(), EngineError> {
        self.shared.parts.store.admits().await?;
        Ok(self.shared.admits(&self.shared.driven(), lane, false)?)
    }

    /// Returns a count that rises whenever a run that was recorded leaves its place: a trigger that was
    /// [`EngineError::Busy`] may be taken then.
    pub fn departures(&self) -> watch::Receiver<u64> {
        self.shared.departures.subscribe()
    }

    /// Ends a run: fails it, or rolls back what it deployed. Returns once that is recorded.
    ///
    /// # Errors
    ///
    /// [`Rejected::Finished`] when it has ended; otherwise see [`EngineError`].
    pub async fn cancel(&self, run_id: RunId, actor: &str, reason: &str) -> Result<(), EngineError> {
        self.cancel_on(run_id, actor, reason, Terms::default()).await
    }

    /// Ends a run, as [`cancel`](Self::cancel) does, on terms.
    ///
    /// # Errors
    ///
    /// [`Rejected::MovedOn`] and [`Rejected::OtherRequest`] by the terms; otherwise as [`cancel`](Self::cancel).
    pub async fn cancel_on(
        &self,
        run_id: RunId,
        actor: &str,
        reason: &str,
        terms: Terms,
    ) -> Result<(), EngineError> {
        self.ask_on(run_id, Command::Cancel { reason: reason.to_owned() }, actor, terms).await
    }

    /// Decides about a parked run.
    ///
    /// # Errors
    ///
    /// [`Rejected::NotParked`] and [`Rejected::NotSkippable`]; otherwise see [`EngineError`].
    pub async fn resolve(&self, run_id: RunId, decision: Decision, actor: &str) -> Result<(), EngineError> {
        self.resolve_on(run_id, decision, actor, Terms::default()).await
    }

    /// Decides about a parked run, as [`resolve`](Self::resolve) does, on terms.
    ///
    /// # Errors
    ///
    /// [`Rejected::MovedOn`] and [`Rejected::OtherRequest`] by the terms; otherwise as [`resolve`](Self::resolve).
    pub async fn resolve_on(
        &self,
        run_id: RunId,
        decision: Decision,
        actor: &str,
        terms: Terms,
    ) -> Result<(), EngineError> {
        self.ask_on(run_id, Command::Resolve(decision), actor, terms).await
    }

    /// Returns a run as its log shows it; None when there is none.
    ///
    /// # Errors
    ///
    /// [`EngineError::Read`] and [`EngineError::Illegal`] when its history can't be read.
    pub async fn run(&self, run_id: RunId) -> Result<Option<Run>, EngineError> {
        Ok(self.shared.load(run_id).await?.map(|(run, _)| run))
    }

    /// Follows a run: its history, then what happens, each event once and in order, to its end.
    ///
    /// A slow reader is served from the log and holds nobody up.
    pub fn watch(&self, run_id: RunId) -> BoxStream<'static, Result<Envelope, ReadError>> {
        let store = Arc::clone(&self.shared.parts.store);
        let moved = self.shared.handle(run_id).map(|handle| handle.moved);
        let pages = stream::unfold(Some((0_u64, moved)), move |place| {
            let store = Arc::clone(&store);
            async move {
                let (seen, mut moved) = place?;
                loop {
                    // Marked before reading: a move during the read wakes the next wait.
                    let live = moved.as_mut().map(|moved| *moved.borrow_and_update());
                    let events = match store.events(run_id).await {
                        Ok(events) => events,
                        Err(error) => return Some((vec![Err(error)], None)),
                    };
                    let mut fresh: Vec<_> =
                        events.into_iter().filter(|envelope| envelope.seq > seen).collect();
                    if sabotaged!(TellTwice) {
                        fresh.extend(fresh.last().cloned());
                    }
                    let closed = fresh.last().is_some_and(|last| last.event == Event::RunClosed);
                    let last_seq = fresh.last().map_or(seen, |last| last.seq);
                    if closed || live.is_none() {
                        return Some((fresh.into_iter().map(Ok).collect(), None));
                    }
                    if !fresh.is_empty() {
                        return Some((fresh.into_iter().map(Ok).collect(), Some((last_seq, moved))));
                    }
                    let waiting = moved.as_mut()?;
                    if waiting.changed().await.is_err() {
                        // The driver has stopped: one more look, then the end.
                        moved = None;
                    }
                }
            }
        });
        pages.flat_map(stream::iter).boxed()
    }

    /// Waits until nothing more happens to a run without a person: it is closed, or parked or to be approved with its
    /// notices concluded, or the engine stops.
    ///
    /// # Errors
    ///
    /// [`EngineError::NoSuchRun`]; [`EngineError::Stopping`]; otherwise see [`EngineError`].
    pub async fn settled(&self, run_id: RunId) -> Result<Run, EngineError> {
        let mut moved = self.shared.handle(run_id).map(|handle| handle.moved);
        loop {
            if let Some(moved) = &mut moved {
                moved.mark_unchanged();
            }
            let (run, _) = self.shared.load(run_id).await?.ok_or(EngineError::NoSuchRun(run_id))?;
            if next_effect(&run).is_none_or(|effect| effect.is_a_persons()) {
                return Ok(run);
            }
            let more = match &mut moved {
                Some(moved) => moved.changed().await.is_ok(),
                None => return Err(EngineError::Stopping),
            };
            if !more {
                // The driver has stopped: one more look shows whether the run, or the engine, came to its end.
                moved = None;
            }
        }
    }

    /// Removes what nobody needs any more, as the engine does by itself after each run, and says what that was.
    /// `dry`: nothing is removed, and what would be is told.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when the log can't tell what is needed.
    pub async fn sweep(&self, dry: bool) -> Result<Swept, EngineError> {
        let _sweeping = self.shared.sweeping.lock().await;
        tokio::select! {
            () = self.shared.stop.cancelled() => Err(EngineError::Stopping),
            swept = sweep_now(&self.shared.parts, || self.shared.driven_runs(), dry) => Ok(swept?.0),
        }
    }

    /// Returns how much the engine takes on.
    pub fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// Returns the store that the engine works on.
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.shared.parts.store
    }

    /// Waits until the engine can't go on, and says why. Never returns while all is well.
    pub async fn halted(&self) -> String {
        let mut halted = self.shared.halted.subscribe();
        loop {
            if let Some(reason) = halted.borrow_and_update().clone() {
                return reason;
            }
            if halted.changed().await.is_err() {
                return "the engine is gone".into();
            }
        }
    }

    /// Stops driving and waits until every task has ended. Open runs go on at the next start.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    async fn recover(&self) -> Result<(), EngineError> {
        let mut recovered = Vec::new();
        for run_id in self.shared.parts.store.open_runs().await? {
            match self.shared.load(run_id).await {
                Ok(Some(loaded)) => recovered.push(loaded),
                Ok(None) => {}
                Err(error) => tracing::error!(
                    run = %run_id, error = &error as &dyn std::error::Error,
                    "the run's history can't be read: it is left as it is, the others go on"
                ),
            }
        }
        // A lane is held by whoever the log says, also by a run that can't be read any more.
        for (lane_id, lane) in self.shared.parts.store.lanes().await? {
            if let Some(holder) = lane.holder {
                self.shared.lanes.claim(&lane_id, holder);
            }
            if lane.paused.is_some() {
                self.shared.lanes.pause(&lane_id);
            }
        }
        let newest = self.shared.parts.store.runs(RunQuery { limit: 1, ..RunQuery::default() }).await?;
        self.shared
            .newest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&newest.first().map(|run| run.id));
        for (mut run, since_ms) in recovered {
            if sabotaged!(ForgetOpenRuns) && run.entry.is_none() {
                continue;
            }
            if let Phase::Working(work) = &mut run.phase
                && sabotaged!(ResetDeadlines)
            {
                work.deadline_ms = self.shared.parts.clock.now_ms() + 600_000;
            }
            tracing::info!(run = %run.id, state = %run.state, "going on with an open run");
            let reserved = self.shared.reserve(run.id, &run.lane);
            self.shared.spawn(run, since_ms, false, reserved);
        }
        Ok(())
    }

    /// Returns what the same request led to before.
    pub(crate) async fn claimed_before(&self, claims: &[Claim]) -> Result<Option<Triggered>, EngineError> {
        for claim in claims {
            if let Some(run_id) = claim.asked_before(&*self.shared.parts.store).await? {
                return Ok(Some(Triggered { run_id, fresh: false }));
            }
        }
        Ok(None)
    }

    pub(crate) async fn begin(
        &self,
        lane_id: &LaneId,
        command: Command,
        actor: &str,
        claims: Vec<Claim>,
    ) -> Result<Triggered, EngineError> {
        let Self { shared } = self;
        if shared.stop.is_cancelled() {
            return Err(EngineError::Stopping);
        }
        // Whoever asked may hang up at any time; what is recorded is driven all the same.
        let (engine, lane_id, actor) = (self.clone(), lane_id.clone(), actor.to_owned());
        let begun = shared.tasks.spawn(async move {
            let stop = engine.shared.stop.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => Err(EngineError::Stopping),
                begun = engine.begin_to_the_end(&lane_id, command, &actor, claims) => begun,
            }
        });
        begun.await.unwrap_or(Err(EngineError::Stopping))
    }

    async fn begin_to_the_end(
        &self,
        lane_id: &LaneId,
        command: Command,
        actor: &str,
        claims: Vec<Claim>,
    ) -> Result<Triggered, EngineError> {
        let Self { shared } = self;
        let run_id = shared.next_run_id();
        // Reserved before it is recorded, so that no sweep takes the run's first objects for garbage.
        let is_rollback = matches!(&command, Command::Relaunch(relaunch) if relaunch.promoted_from.is_none());
        let reserved = shared.admit(run_id, lane_id, is_rollback)?;
        match self.record_first(lane_id, run_id, command, actor, &claims).await {
            Ok((run, since_ms)) => {
                shared.spawn(run, since_ms, true, reserved);
                Ok(Triggered { run_id, fresh: true })
            }
            Err(error) => {
                // No departure: whoever waits for one would be woken by its own refusal, again and again.
                shared.driven().remove(&run_id);
                match error {
                    EngineError::Append(AppendError::Claimed { by, .. }) => {
                        let claimed = self.claimed_before(&claims).await?;
                        Ok(claimed.unwrap_or(Triggered { run_id: by, fresh: false }))
                    }
                    error => Err(error),
                }
            }
        }
    }

    async fn record_first(
        &self,
        lane_id: &LaneId,
        run_id: RunId,
        command: Command,
        actor: &str,
        claims: &[Claim],
    ) -> Result<(Run, u64), EngineError> {
        let Self { shared } = self;
        let lane = shared.parts.store.lane(lane_id).await?;
        let now_ms = shared.parts.clock.now_ms();
        let events = decide(&lane, None, command, now_ms)?;
        let mut append = append(&*shared.parts.clock, run_id, 0, events, now_ms, actor);
        claims.iter().for_each(|claim| claim.mark(&mut append));
        // A push is refused on a full disk, not kept waiting: what can't be recorded must not be done.
        let envelopes = shared.parts.store.append(append).await.map_err(EngineError::Append)?;
        let run = replay_all(&envelopes)?.ok_or(EngineError::NoSuchRun(run_id))?;
        Ok((run, now_ms))
    }

    pub(crate) async fn ask_on(
        &self,
        run_id: RunId,
        command: Command,
        actor: &str,
        terms: Terms,
    ) -> Result<(), EngineError> {
        // A run that has ended has nobody to ask, and still answers what was asked before.
        if let Some(claim) = &terms.claim
            && claim.asked_before(&*self.shared.parts.store).await?.is_some()
        {
            return Ok(());
        }
        let Some(handle) = self.shared.handle(run_id) else {
            let (run, _) = self.shared.load(run_id).await?.ok_or(EngineError::NoSuchRun(run_id))?;
            return Err(match run.is_closed() {
                true => EngineError::Rejected(Rejected::Finished(run.state)),
                false if self.shared.stop.is_cancelled() => EngineError::Stopping,
                false => EngineError::NotDriven(run_id),
            });
        };
        let (reply, answer) = oneshot::channel();
        let request = Request { command, actor: actor.to_owned(), terms, reply };
        handle.mailbox.send(request).await.map_err(|_| EngineError::Stopping)?;
        answer.await.map_err(|_| EngineError::Stopping)?
    }
}

/// The receiving ends of a run that is about to be driven.
pub(crate) struct Reserved {
    mailbox: mpsc::Receiver<Request>,
    moved: watch::Sender<u64>,
}

impl Shared {
    /// Makes a run reachable, before there is a driver for it.
    fn reserve(&self, run_id: RunId, lane: &LaneId) -> Reserved {
        Self::reserve_among(&mut self.driven(), run_id, lane)
    }

    /// Makes a new run reachable, unless there are as many as there may be.
    fn admit(&self, run_id: RunId, lane: &LaneId, is_rollback: bool) -> Result<Reserved, Busy> {
        let mut driven = self.driven();
        self.admits(&driven, lane, is_rollback)?;
        Ok(Self::reserve_among(&mut driven, run_id, lane))
    }

    fn reserve_among(driven: &mut HashMap<RunId, Handle>, run_id: RunId, lane: &LaneId) -> Reserved {
        let (sender, mailbox) = mpsc::channel(MAILBOX_MAX);
        let (moved, receiver) = watch::channel(0);
        driven.insert(run_id, Handle { lane: lane.clone(), mailbox: sender, moved: receiver });
        Reserved { mailbox, moved }
    }

    fn admits(&self, driven: &HashMap<RunId, Handle>, lane: &LaneId, is_rollback: bool) -> Result<(), Busy> {
        let of_lane = driven.values().filter(|handle| handle.lane == *lane).count();
        self.limits.admit(lane, of_lane, driven.len(), is_rollback)
    }

    fn spawn(self: &Arc<Self>, run: Run, since_ms: u64, fresh: bool, reserved: Reserved) {
        let Reserved { mailbox, moved } = reserved;
        moved.send_replace(run.seq);
        let driver = Driver::new(Arc::clone(self), run, since_ms, fresh, mailbox, moved);
        self.tasks.spawn(driver.drive());
    }

    /// Returns an id above all others, also when the clock was set back.
    fn next_run_id(&self) -> RunId {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.parts.clock.uuid();
        let id = match *newest {
            Some(RunId(newest)) if newest >= now && !sabotaged!(ForgetNewestRun) => successor(newest, now),
            _ => now,
        };
        *newest = Some(RunId(id));
        RunId(id)
    }

    /// Takes a run off the list of the driven ones, and looks for what it left behind.
    pub(crate) fn forget(&self, run: &Run) {
        self.driven().remove(&run.id);
        self.departures.send_modify(|departures| *departures += 1);
        if run.is_closed() {
            self.sweep_due.notify_one();
        }
    }

    /// Returns the runs that are driven, or about to be.
    pub(crate) fn driven_runs(&self) -> BTreeSet<RunId> {
        self.driven().keys().copied().collect()
    }

    /// Waits until a run has closed.
    pub(crate) async fn sweep_due(&self) {
        self.sweep_due.notified().await;
    }

    /// Returns a run and when its last attempt began.
    pub(crate) async fn load(&self, run_id: RunId) -> Result<Option<(Run, u64)>, EngineError> {
        load(&*self.parts.store, run_id).await
    }

    /// Stops everything: the log can't be trusted to take another event.
    pub(crate) fn halt(&self, reason: &str) {
        tracing::error!(reason, "the engine stops: it can't record what it does");
        self.halted.send_if_modified(|halted| {
            let first = halted.is_none();
            halted.get_or_insert_with(|| reason.to_owned());
            first
        });
        self.stop.cancel();
    }

    fn handle(&self, run_id: RunId) -> Option<Handle> {
        self.driven().get(&run_id).cloned()
    }

    fn driven(&self) -> MutexGuard<'_, HashMap<RunId, Handle>> {
        self.driven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a run and when its last attempt began.
pub(crate) async fn load(store: &dyn EventStore, run_id: RunId) -> Result<Option<(Run, u64)>, EngineError> {
    let envelopes = store.events(run_id).await?;
    let intent = envelopes.iter().rev().find(|envelope| is_intent(&envelope.event));
    let since_ms = intent.or(envelopes.last()).map_or(0, |envelope| envelope.recorded_at_ms);
    Ok(replay_all(&envelopes)?.map(|run| (run, since_ms)))
}

async fn halt_with_store(shared: Arc<Shared>) {
    tokio::select! {
        biased;
        reason = shared.parts.store.failed() => shared.halt(&reason),
        () = shared.stop.cancelled() => {}
    }
}

/// Returns a UUID v7 of the millisecond after this one's, with the random part of a fresh one.
fn successor(id: Uuid, fresh: Uuid) -> Uuid {
    let ms = u64::try_from(id.as_u128() >> 80).unwrap_or(u64::MAX) + 1;
    let fresh = fresh.as_u128() & ((1 << 80) - 1);
    Uuid::from_u128((u128::from(ms) << 80) | fresh)
}

/// Folds a history. None: it is empty.
///
/// # Errors
///
/// [`IllegalTransition`] at the first event that can't follow.
pub fn replay_all(envelopes: &[Envelope]) -> Result<Option<Run>, IllegalTransition> {
    envelopes
        .iter()
        .try_fold(None, |run, envelope| evolve(run, place_of(envelope), &envelope.event).map(Some))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_newer_than_the_one_before_it_also_when_the_clock_was_set_back() {
        let far_ahead = Uuid::from_u128(Uuid::now_v7().as_u128() + (86_400_000 << 80));
        let next = successor(far_ahead, Uuid::now_v7());
        assert!(next > far_ahead);
        assert_eq!((next.get_version_num(), next.get_variant()), (7, uuid::Variant::RFC4122));
    }
}
