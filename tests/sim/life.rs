//! One history: engines that live and die on one machine, until nothing more happens.
//!
//! ```text
//! script ──▶ life 1 ──crash──▶ life 2 ──crash──▶ … ──▶ last life, without faults ──▶ quiet days ──▶ invariants
//! ```
//!
//! A life is a runtime of its own with one thread and a time that only passes when everybody waits. A crash drops the
//! runtime with all that is in it. Nothing here depends on anything but the setup: one seed is one history.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use futures_util::StreamExt;
use landfall_engine::audit::replay;
use landfall_engine::core::command::Rejected;
use landfall_engine::core::event::Event;
use landfall_engine::core::ledger::ledger_of;
use landfall_engine::core::run::RunId;
use landfall_engine::core::stage::Stage;
use landfall_engine::engine::Parts;
use landfall_engine::ports::{Append, AppendError, Cursor, EventStore, RunQuery};
use landfall_engine::{Engine, EngineError, Limits, Promotion};
use landfall_store::SegmentStore;
use landfall_store::disk::{Kept, Op};
use uuid::Uuid;

use crate::book::{Book, Listener};
use crate::clock::SimClock;
use crate::disk::SimDisk;
use crate::fate::Fate;
use crate::invariants;
use crate::script::{Act, Script, decision};
use crate::stages::{NoOutput, SimStages};
use crate::store::SimStore;
use crate::world::World;

/// How long what was arranged for the disk may still happen, in milliseconds.
const LINGER_MS: u64 = 120_000;

/// Small, so that histories roll over to new segments.
const SEGMENT_BYTES: u64 = 24 * 1024;

/// Once faults stop, everything is terminal or parked within this: five tries of a stage with ten minutes each, and
/// eight of a rollback.
const BOUND: Duration = Duration::from_secs(6 * 60 * 60);

/// Longer than any release is kept warm, any late request takes, and any clock step reaches.
const QUIET_MS: u64 = 80 * 60 * 1_000;

/// The true time at which histories begin, in milliseconds since 1970.
const BEGIN_MS: u64 = 1_700_000_000_000;

/// More lives than this are a machine that does not come up any more.
const LIVES_MAX: usize = 150;

pub const LOG_ID: Uuid = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001);

/// What ends a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// kill -9: what was written stays, synced or not.
    Kill,
    /// The power goes.
    PowerCut(Kept),
}

/// The end of a life, at a point counted from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    pub at: u64,
    pub how: How,
}

/// All that a history depends on.
#[derive(Clone, Debug)]
pub struct Setup {
    pub seed: u64,
    pub script: Script,
    /// The end of each life in turn; the one after them is not cut short.
    pub crashes: Vec<Crash>,
    /// How many requests to the world go wrong.
    pub troubles: u32,
    /// A person decides about what is parked when all else is done.
    pub tidies_up: bool,
    /// The disk may fail while an engine comes back, too.
    pub disk_fails_in_recovery: bool,
    /// The first lives have a low limit of events.
    pub low_limit: Option<LowLimit>,
}

/// A limit of events that runs come to, until somebody raises it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LowLimit {
    pub run_events_max: u64,
    /// How many lives have it, unless one of them comes to rest.
    pub lives: usize,
}

/// What a history came to.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub violations: Vec<String>,
    /// How many points each life passed.
    pub points: Vec<u64>,
    /// How many points the first life had passed when each act began.
    pub acts_at: Vec<u64>,
    /// The points that each life passed, in order.
    pub trails: Vec<Vec<&'static str>>,
    /// What happened in it: the names of events, with their stage where they have one.
    pub happened: BTreeSet<String>,
    /// Where lives ended.
    pub deaths: Vec<String>,
    /// Points, acts and faults by kind.
    pub counts: BTreeMap<String, u64>,
    /// Hash of all that is in the log: equal for equal histories.
    pub head: String,
    pub events: u64,
    pub checks: u64,
}

/// A machine, as it outlives engines.
pub struct Machine {
    pub world: Arc<World>,
    pub disk: SimDisk,
    pub book: Arc<Book>,
    pub script: Arc<Script>,
    pub dice: Rng,
    pub true_ms: u64,
    pub skew_ms: i64,
    pub next_act: usize,
    pub acts_at: Vec<u64>,
    /// The newest run when something was pushed last.
    pub newest_before_push: Option<RunId>,
    /// Appends that engines died over.
    pub reports: Arc<Mutex<Vec<Append>>>,
    /// Deliveries that were not answered: the forge sends them again.
    pub unanswered: Arc<Mutex<BTreeMap<String, Act>>>,
    pub troubles: u32,
    pub tidies_up: bool,
    /// How often a person has decided about all that was parked.
    pub tidied: u32,
    pub disk_fails_in_recovery: bool,
    pub limits: Limits,
    /// A cancel that was not answered.
    pub cancelling: Arc<Mutex<Option<Cancelling>>>,
    /// What a replay of each closed run said when it was looked at first.
    pub replays: BTreeMap<RunId, String>,
}

/// A cancel of the run that comes next.
#[derive(Clone, Copy, Debug)]
pub struct Cancelling {
    /// The newest run before it.
    known: Option<RunId>,
    stage: Stage,
}

/// How a life ended.
#[derive(Debug, PartialEq)]
enum End {
    Died,
    /// The log said that it can't go on, and the process ended.
    Halted,
    /// Nothing is left to do.
    Settled,
}

/// Lives a history and checks it.
pub fn live(setup: &Setup) -> Told {
    let mut machine = Machine {
        world: Arc::default(),
        disk: SimDisk::new(),
        book: Arc::default(),
        script: Arc::new(setup.script.clone()),
        dice: Rng::with_seed(setup.seed),
        true_ms: BEGIN_MS,
        skew_ms: 0,
        next_act: 0,
        acts_at: Vec::new(),
        newest_before_push: None,
        reports: Arc::default(),
        unanswered: Arc::default(),
        troubles: setup.troubles,
        tidies_up: setup.tidies_up,
        tidied: 0,
        disk_fails_in_recovery: setup.disk_fails_in_recovery,
        limits: Limits::default(),
        cancelling: Arc::default(),
        replays: BTreeMap::new(),
    };
    let mut told = Told::default();
    let mut low_limit = setup.low_limit;
    for life in 0.. {
        let crash = setup.crashes.get(life);
        low_limit = low_limit.filter(|low| life < low.lives);
        machine.limits = match low_limit {
            Some(LowLimit { run_events_max, .. }) => {
                machine.book.count("lives with a low limit of events");
                Limits { run_events_max, ..Limits::default() }
            }
            None => Limits::default(),
        };
        let fate = Arc::new(Fate::new(crash.map_or(0, |crash| crash.at)));
        let end = machine.one_life(&fate);
        if life == 0 {
            told.acts_at = std::mem::take(&mut machine.acts_at);
        }
        told.trails.push(fate.trail());
        told.points.push(fate.passed());
        *told.counts.entry("points passed".into()).or_default() += fate.passed();
        match end {
            // Somebody raises the limit and starts the engine again; what was parked by it can go on.
            End::Settled if low_limit.take().is_some() => {
                told.deaths.push("the limit of events was raised".into());
                machine.tidied = 0;
            }
            End::Settled => break,
            End::Died => {
                let how = crash.map_or(How::Kill, |crash| crash.how);
                let fault = match how {
                    How::Kill => "faults: kill -9",
                    How::PowerCut(Kept::Nothing) => "faults: power cut, all unsynced lost",
                    How::PowerCut(Kept::Everything) => "faults: power cut, nothing lost",
                    How::PowerCut(Kept::Sectors(_)) => "faults: power cut, torn and lost sectors",
                };
                *told.counts.entry(fault.into()).or_default() += 1;
                told.deaths.push(format!("{how:?} {}", fate.died_at().unwrap_or_default()));
                machine.crash(how);
            }
            End::Halted => {
                *told.counts.entry("faults: the log failed and the process ended".into()).or_default() += 1;
                let how = match machine.dice.u32(0..3) {
                    0 => How::Kill,
                    1 => How::PowerCut(Kept::Nothing),
                    _ => How::PowerCut(Kept::Sectors(machine.dice.u64(..))),
                };
                told.deaths.push(format!("{how:?} after the log had failed"));
                machine.crash(how);
            }
        }
        if life > LIVES_MAX {
            machine.book.pages().violation("I7", "the machine does not come up any more".into());
            break;
        }
    }
    machine.quiet_days(&mut told);
    told
}

impl Machine {
    /// Lives one life in a runtime of its own, and takes along what outlives it.
    fn one_life(&mut self, fate: &Arc<Fate>) -> End {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let end = runtime.block_on(async {
            let clock = self.clock();
            let end = tokio::select! {
                biased;
                () = fate.died() => End::Died,
                end = self.living(fate, &clock) => end,
            };
            (self.true_ms, self.skew_ms) = (clock.true_ms(), clock.skew_ms());
            end
        });
        fate.end();
        drop(runtime);
        end
    }

    fn clock(&mut self) -> Arc<SimClock> {
        Arc::new(SimClock::new(self.true_ms, self.skew_ms, self.dice.fork()))
    }

    async fn living(&mut self, fate: &Arc<Fate>, clock: &Arc<SimClock>) -> End {
        let opened = self.open(fate, clock);
        let store = match opened {
            Ok(store) => store,
            Err(_) if fate.is_dead() => return End::Died,
            // A disk that refuses: the process ends with an error, and is started again.
            Err(_) => return End::Halted,
        };
        let parts = Parts {
            store: store.clone(),
            executor: self.stages(fate, clock),
            outputs: Arc::new(NoOutput),
            clock: clock.clone(),
        };
        let engine = match Engine::start_within(parts, self.limits).await {
            Ok(engine) => engine,
            Err(_) => return End::Halted,
        };
        let failed = store.failed();
        let doing = self.people(&engine, &store, clock);
        tokio::select! {
            biased;
            _ = engine.halted() => End::Halted,
            _ = failed => End::Halted,
            () = doing => End::Settled,
        }
    }

    /// Opens the log; one that is damaged has lost something.
    fn open(&mut self, fate: &Arc<Fate>, clock: &Arc<SimClock>) -> std::io::Result<Arc<SimStore>> {
        let disk = Arc::new(self.disk.for_life(fate.clone()));
        let (inner, report) = SegmentStore::inline_on_disk(disk, LOG_ID, SEGMENT_BYTES)?;
        self.book.pages().listeners.clear();
        if let Some(damage) = report.damage {
            self.book.pages().violation("I1", format!("the log is damaged: {damage}"));
        }
        Ok(Arc::new(SimStore {
            inner,
            book: self.book.clone(),
            world: self.world.clone(),
            clock: clock.clone(),
            fate: fate.clone(),
            dice: Mutex::new(self.dice.fork()),
            unanswered: self.reports.clone(),
        }))
    }

    fn stages(&mut self, fate: &Arc<Fate>, clock: &Arc<SimClock>) -> Arc<SimStages> {
        Arc::new(SimStages {
            world: self.world.clone(),
            script: self.script.clone(),
            disk: self.disk.clone(),
            book: self.book.clone(),
            clock: clock.clone(),
            fate: fate.clone(),
            dice: Mutex::new(self.dice.fork()),
            troubles: Mutex::new(self.troubles),
        })
    }

    /// Does what the script says, and waits until nothing more happens.
    async fn people(&mut self, engine: &Engine, store: &Arc<SimStore>, clock: &Arc<SimClock>) {
        self.replay_again(store).await;
        // What somebody asked for is no report: who got no answer asks again.
        let mut late: Vec<Append> = std::mem::take(&mut *self.reports.lock().unwrap());
        late.retain(|append| append.expected > 0 && append.actor == "engine");
        if let Some(append) = late.into_iter().next().filter(|_| self.dice.u32(0..4) == 0) {
            let (store, after_ms) = (store.clone(), self.dice.u64(0..20_000));
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                store.append_late(append).await;
            });
        }
        self.cancel_next(engine, store, clock);
        let again: Vec<Act> = self.unanswered.lock().unwrap().values().cloned().collect();
        for act in again {
            self.act(act, engine, store, clock).await;
        }
        while let Some((pause_ms, act)) = self.script.acts.get(self.next_act).cloned() {
            clock.pass_ms(pause_ms).await;
            self.next_act += 1;
            self.acts_at.push(store.fate.passed());
            self.act(act, engine, store, clock).await;
        }
        // What was arranged may still happen to what is going on.
        clock.pass_ms(LINGER_MS).await;
        self.disk.faulty().heal();
        // No sale lasts for ever.
        for (lane, _) in store.inner.lanes().await.unwrap().iter().filter(|(_, lane)| lane.paused.is_some()) {
            let _ = engine.resume(lane, "ops").await;
        }
        self.settle(engine, store).await;
        // A person's patience ends, in whichever life.
        let patience = if self.limits == Limits::default() { 4 } else { 1 };
        while self.tidied < patience && self.tidies_up && self.tidy_up(engine, store).await {
            self.settle(engine, store).await;
        }
        self.everybody_has_heard(store).await;
    }

    /// I8: what a replay of a closed run says, it says in each life.
    pub async fn replay_again(&mut self, store: &Arc<SimStore>) {
        for run in store.inner.runs(RunQuery { limit: 1_000, ..RunQuery::default() }).await.unwrap() {
            if run.open {
                continue;
            }
            let Ok(events) = store.inner.events(run.id).await else { continue };
            let said = serde_json::to_string(&replay(&events, None)).unwrap();
            let first = self.replays.entry(run.id).or_insert_with(|| said.clone());
            if *first != said {
                self.book.pages().violation("I8", format!("a replay of {} says something else", run.id));
            }
        }
    }

    /// I10: who listens has heard all there is, by now.
    async fn everybody_has_heard(&self, store: &Arc<SimStore>) {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let mut recorded = BTreeMap::new();
        for run in store.inner.runs(RunQuery { limit: 1_000, ..RunQuery::default() }).await.unwrap() {
            recorded.insert(run.id, run.seq);
        }
        let decided = store.inner.events(ledger_of(LOG_ID)).await.unwrap().len() as u64;
        let mut pages = self.book.pages();
        let listeners = pages.listeners.clone();
        for Listener { run, heard, .. } in listeners.into_iter().filter(|listener| !listener.was_refused) {
            let there = match run {
                Some(run) => recorded.get(&run).copied().unwrap_or_default(),
                None => recorded.values().sum::<u64>() + decided,
            };
            if heard != there {
                let whom = run.map_or("the log".to_owned(), |run| run.to_string());
                pages.violation("I10", format!("a listener to {whom} heard {heard} of {there} events"));
            }
        }
    }

    /// Waits until every run is closed or parked, within the bound.
    async fn settle(&self, engine: &Engine, store: &Arc<SimStore>) {
        let settled = async {
            // What is being recorded when the last act was done is a run, too.
            tokio::time::sleep(Duration::from_secs(300)).await;
            for run in store.inner.open_runs().await.unwrap() {
                match engine.settled(run).await {
                    Ok(_) | Err(EngineError::Stopping) => {}
                    Err(error) => self.book.pages().violation("I7", format!("{run}: {error}")),
                }
            }
        };
        if tokio::time::timeout(BOUND, settled).await.is_err() {
            let open = store.inner.runs(RunQuery { open: true, ..RunQuery::default() }).await.unwrap();
            // Who waits for a lane that a parked run has waits for the same person.
            let lanes_parked: Vec<_> =
                open.iter().filter(|run| run.parked.is_some()).map(|run| run.lane.clone()).collect();
            let waits = |lane| lanes_parked.contains(lane);
            for run in open.iter().filter(|run| run.parked.is_none() && !waits(&run.lane)) {
                let what = format!("{} is {} in {:?}, and nothing happens", run.id, run.state, run.stage);
                self.book.pages().violation("I7", what);
            }
        }
    }

    /// Decides about what is parked. Returns whether something was.
    async fn tidy_up(&mut self, engine: &Engine, store: &Arc<SimStore>) -> bool {
        let open = store.inner.runs(RunQuery { open: true, ..RunQuery::default() }).await.unwrap();
        let mut parked = open.iter().filter(|run| run.parked.is_some()).map(|run| run.id).peekable();
        let any = parked.peek().is_some();
        self.tidied += 1;
        for run in parked.collect::<Vec<_>>() {
            let decision = decision(&mut self.dice);
            let _ = engine.resolve(run, decision, "ops").await;
        }
        for run in open.iter().filter(|run| run.approval_until_ms.is_some()) {
            let _ = match self.dice.u32(0..4) {
                0 => engine.reject(run.id, "ops", "enough").await,
                _ => engine.approve(run.id, "ops").await,
            };
        }
        any || open.iter().any(|run| run.approval_until_ms.is_some())
    }

    async fn act(&mut self, act: Act, engine: &Engine, store: &Arc<SimStore>, clock: &Arc<SimClock>) {
        self.book.count(act.kind());
        let newest = |nth: usize| {
            let store = store.clone();
            async move {
                let runs = store.inner.runs(RunQuery::default()).await.unwrap_or_default();
                runs.get(nth).map(|run| run.id)
            }
        };
        match act {
            Act::Push { .. } => {
                self.newest_before_push = newest(0).await;
                self.push(act, engine.clone());
            }
            Act::Cancel(nth) => {
                if let Some(run) = newest(nth).await {
                    let engine = engine.clone();
                    tokio::spawn(async move {
                        let _ = engine.cancel(run, "ada", "changed my mind").await;
                    });
                }
            }
            Act::CancelIn(stage) => {
                *self.cancelling.lock().unwrap() = Some(Cancelling { known: self.newest_before_push, stage });
                self.cancel_next(engine, store, clock);
            }
            Act::Decide(nth, decision) => {
                let runs = store.inner.runs(RunQuery::default()).await.unwrap_or_default();
                if let Some(run) = runs.iter().filter(|run| run.parked.is_some()).nth(nth) {
                    let (engine, run) = (engine.clone(), run.id);
                    tokio::spawn(async move {
                        let _ = engine.resolve(run, decision, "ops").await;
                    });
                }
            }
            Act::RollBack(lane) => {
                let engine = engine.clone();
                tokio::spawn(async move {
                    let _ = engine.rollback(&lane, None, "api", "ops", "it is slow").await;
                });
            }
            Act::Approve(nth, yes) => {
                let runs = store.inner.runs(RunQuery::default()).await.unwrap_or_default();
                if let Some(run) = runs.iter().filter(|run| run.approval_until_ms.is_some()).nth(nth) {
                    let (engine, run) = (engine.clone(), run.id);
                    tokio::spawn(async move {
                        let _ = match yes {
                            true => engine.approve(run, "ops").await,
                            false => engine.reject(run, "ops", "not now").await,
                        };
                    });
                }
            }
            Act::Again(nth, from, release_hold) => {
                if let Some(run) = newest(nth).await {
                    let engine = engine.clone();
                    tokio::spawn(async move {
                        let _ = engine.rerun(run, from, release_hold, "retry", "ada", None).await;
                    });
                }
            }
            Act::Promote => {
                let engine = engine.clone();
                let promotion = Promotion {
                    app: "shop".into(),
                    from: "production".into(),
                    to: "staging".into(),
                    release: None,
                    trigger: "promote".into(),
                    reason: "it is fine".into(),
                };
                tokio::spawn(async move {
                    let _ = engine.promote(promotion, "ada", None).await;
                });
            }
            Act::Pause(lane, shut) => {
                let engine = engine.clone();
                tokio::spawn(async move {
                    let _ = match shut {
                        true => engine.pause(&lane, "ops", "the sale").await,
                        false => engine.resume(&lane, "ops").await,
                    };
                });
            }
            Act::Hold(lane, letter, hold) => {
                let engine = engine.clone();
                tokio::spawn(async move {
                    let sha = crate::script::sha(letter);
                    let _ = match hold {
                        true => engine.hold(&lane, &sha, "ops", "it leaks").await,
                        false => engine.release_hold(&lane, &sha, "ops").await,
                    };
                });
            }
            Act::Watch(nth) => {
                if let Some(run) = newest(nth).await {
                    tokio::spawn(watch(engine.clone(), run, self.book.clone()));
                }
            }
            Act::Follow => {
                tokio::spawn(follow(store.clone(), self.book.clone()));
            }
            Act::ClockStep(by_ms) => {
                // Steps that add up would reach beyond the quiet days.
                let by_ms = (clock.skew_ms() + by_ms).clamp(-3_600_000, 3_600_000) - clock.skew_ms();
                clock.step(by_ms);
            }
            Act::DiskFull(left) => {
                let faulty = self.disk.faulty();
                faulty.set_capacity(Some(faulty.used() + left));
                let (disk, clock) = (self.disk.clone(), clock.clone());
                let for_ms = self.dice.u64(0..600_000);
                tokio::spawn(async move {
                    clock.pass_ms(for_ms).await;
                    disk.faulty().set_capacity(None);
                });
            }
            Act::SyncFails(after) => self.disk.faulty().fail(Op::Sync, after, std::io::ErrorKind::Other),
            Act::WriteFails(after) => self.disk.faulty().fail(Op::Write, after, std::io::ErrorKind::Other),
        }
    }

    /// Cancels the run that comes next, once it is in its stage; the next life asks again where this one did not answer.
    fn cancel_next(&self, engine: &Engine, store: &Arc<SimStore>, clock: &Arc<SimClock>) {
        let Some(Cancelling { known, stage }) = *self.cancelling.lock().unwrap() else { return };
        let (engine, store, clock) = (engine.clone(), store.clone(), clock.clone());
        let cancelling = self.cancelling.clone();
        tokio::spawn(async move {
            let run = loop {
                let runs = store.inner.runs(RunQuery::default()).await.unwrap_or_default();
                match runs.first().map(|run| run.id).filter(|newest| Some(*newest) != known) {
                    Some(run) => break run,
                    None => clock.pass_ms(1).await,
                }
            };
            if cancel_in(&engine, run, stage).await {
                *cancelling.lock().unwrap() = None;
            }
        });
    }

    /// Pushes; what has a delivery id is sent again, by the next life, until it is answered.
    fn push(&self, act: Act, engine: Engine) {
        let Act::Push { push, claim } = act.clone() else { return };
        if let Some(claim) = &claim {
            self.unanswered.lock().unwrap().insert(claim.clone(), act);
        }
        let (book, unanswered) = (self.book.clone(), self.unanswered.clone());
        tokio::spawn(async move {
            let trigger = push.trigger.clone();
            let answered = match engine.trigger(*push, "ada", claim.clone().map(Into::into)).await {
                Ok(triggered) => {
                    book.triggered(&trigger, claim.as_deref(), triggered.run_id);
                    true
                }
                Err(EngineError::Rejected(Rejected::Held { .. })) => true,
                Err(EngineError::Append(AppendError::Full)) => true,
                Err(_) => false,
            };
            if let Some(claim) = claim.filter(|_| answered) {
                unanswered.lock().unwrap().remove(&claim);
            }
        });
    }

    fn crash(&mut self, how: How) {
        self.disk = match how {
            How::Kill => self.disk.clone(),
            How::PowerCut(kept) => self.disk.power_cut(kept),
        };
        // A disk that failed is mended while the machine is down; or it fails again, while the engine comes back.
        self.disk.faulty().heal();
        if self.disk_fails_in_recovery && self.dice.u32(0..4) == 0 {
            let calls = [Op::Sync, Op::SyncDir, Op::Create, Op::Rename, Op::Truncate, Op::Write, Op::Read];
            let call = calls[self.dice.usize(..calls.len())];
            self.disk.faulty().fail(call, self.dice.u64(0..3), std::io::ErrorKind::Other);
        }
        self.true_ms += self.dice.u64(1..60_000);
        // An answer that was not recorded went with whoever heard it.
        self.world.at(self.true_ms).answers.clear();
        if self.dice.u32(0..5) == 0 {
            self.book.count("faults: ended containers pruned by somebody");
            self.world.at(self.true_ms).prune(self.true_ms);
        }
    }

    /// Lets hours pass with an engine that has nothing to fear, starts it once more, and checks everything.
    fn quiet_days(&mut self, told: &mut Told) {
        for (call, times) in self.disk.faulty().fired() {
            *told.counts.entry(format!("faults: {call:?} failed on the disk")).or_default() += times;
        }
        if self.disk.faulty().found_full() > 0 {
            *told.counts.entry("faults: disk full".into()).or_default() += self.disk.faulty().found_full();
        }
        self.troubles = 0;
        self.skew_ms = 0;
        self.disk.faulty().heal();
        let fate = Arc::new(Fate::new(0));
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let clock = self.clock();
            let store = match self.open(&fate, &clock) {
                Ok(store) => store,
                Err(error) => {
                    self.book.pages().violation("I1", format!("the log can't be opened: {error}"));
                    return;
                }
            };
            let parts = Parts {
                store: store.clone(),
                executor: self.stages(&fate, &clock),
                outputs: Arc::new(NoOutput),
                clock: clock.clone(),
            };
            let Ok(engine) = Engine::start(parts).await else {
                self.book.pages().violation("I7", "the engine does not start".into());
                return;
            };
            clock.pass_ms(QUIET_MS).await;
            self.settle(&engine, &store).await;
            clock.pass_ms(QUIET_MS).await;
            self.true_ms = clock.true_ms();
            self.replay_again(&store).await;
            invariants::check(self, &store, told).await;
        });
        fate.end();
    }
}

/// Cancels a run once it is in a stage. Returns whether that was answered, or came too late.
async fn cancel_in(engine: &Engine, run: RunId, stage: Stage) -> bool {
    let mut events = engine.watch(run);
    while let Some(Ok(envelope)) = events.next().await {
        if matches!(envelope.event, Event::StageStarted { stage: begun, .. } if begun == stage) {
            let answer = engine.cancel(run, "ada", "changed my mind").await;
            return matches!(answer, Ok(()) | Err(EngineError::Rejected(_)));
        }
    }
    false
}

/// Follows a run: each event once, in order.
async fn watch(engine: Engine, run: RunId, book: Arc<Book>) {
    let mut events = engine.watch(run);
    let listener = book.listens(Some(run));
    while let Some(event) = events.next().await {
        let Ok(envelope) = event else {
            book.refused(listener);
            continue;
        };
        let seen = book.heard(listener);
        if envelope.seq != seen || envelope.run_id != run {
            let what = format!("a watcher of {run} was told event {} as number {seen}", envelope.seq);
            book.pages().violation("I10", what);
        }
        book.shown(&[envelope]);
    }
}

/// Follows the log: each event once, in order.
async fn follow(store: Arc<SimStore>, book: Arc<Book>) {
    let mut events = store.follow(Cursor::start());
    let listener = book.listens(None);
    while let Some(event) = events.next().await {
        let Ok((_, envelope)) = event else {
            book.refused(listener);
            continue;
        };
        let seen = book.heard(listener);
        if envelope.global_seq != seen {
            let what = format!("a follower was told event {} as number {seen}", envelope.global_seq);
            book.pages().violation("I10", what);
        }
        book.shown(&[envelope]);
    }
}
