//! The loop around the rules, one step at a time: what `driver.rs`, `attempts.rs` and `lanes.rs` of the engine do
//! between two moments at which anything else may happen.
//!
//! Beginning what is owed reads nothing but the engine's own fold, so it belongs to the step before it.
//! **Nothing is decided here**: every append comes out of the real `decide`.

use std::collections::{BTreeMap, HashMap};

use landfall_engine::core::command::{Command, NotSent, Rejected, Relaunch, RollbackOutcome};
use landfall_engine::core::effect::Effect;
use landfall_engine::core::event::{Decision, Event, Origin};
use landfall_engine::core::lane::Lane;
use landfall_engine::core::run::Phase;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::Probe;

use crate::facts::{self, App, Ending};
use crate::history::{Asking, Decided, Fold, History, key_of};
use crate::sabotage::Sabotage;
use crate::state::{Answer, Budget, Doing, Driver, Engine, State, Taking};
use crate::world::{Flight, Found, Kind, Landed, Order, Says, What, World};

/// What starts a run.
#[derive(Clone, Copy, Debug)]
pub enum Trigger {
    Push {
        commit: u8,
        claim: Option<u8>,
    },
    /// A rollback by hand to the release before the live one.
    Relaunch,
}

/// One question to the search.
#[derive(Clone, Debug)]
pub struct Setting {
    /// What is searched, in the words of the table.
    pub name: &'static str,
    pub app: App,
    pub engines: usize,
    /// Releases that went live before.
    pub releases: u8,
    pub triggers: &'static [Trigger],
    pub budget: Budget,
    /// Containers of former releases are gone.
    pub cold: bool,
    pub sabotage: Option<Sabotage>,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Start(usize),
    Crash(usize),
    Send(usize, u8),
    Take(usize),
    Land(usize, usize, Says),
    Lose(usize, usize),
    Expire(usize, usize),
    Tick(usize, usize),
    Turn(usize, usize),
    Record(usize, usize),
    Ask(usize, usize, Asked),
    LandLate(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asked {
    Cancel,
    Retry,
    Skip,
    Abort,
    Approve,
    Reject,
}

impl Action {
    /// Tells whether this happens by itself, sooner or later, once nothing goes wrong any more.
    pub fn is_fair(self) -> bool {
        use Action::{Land, Record, Start, Take, Tick, Turn};
        matches!(self, Start(_) | Take(_) | Land(..) | Tick(..) | Turn(..) | Record(..))
    }
}

/// What an engine knows of the attempt in flight when it begins what is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Fresh,
    Probed(Found),
    Unknown,
}

type Entries = BTreeMap<u32, (Order, u8)>;

/// The rules, the loop, the world, and what is broken in them on purpose.
#[derive(Debug)]
pub struct Model {
    pub history: History,
    pub setting: Setting,
    ledgers: Vec<Entries>,
    ledger_numbers: HashMap<Entries, u32>,
    keys: HashMap<String, u32>,
}

impl Model {
    pub fn new(setting: Setting) -> Self {
        let (ledgers, ledger_numbers) = (vec![Entries::new()], HashMap::from([(Entries::new(), 0)]));
        Self { history: History::default(), setting, ledgers, ledger_numbers, keys: HashMap::new() }
    }

    /// Returns the first state: the releases before went live, nothing is on its way, the first engine is up.
    pub fn begin(&mut self) -> State {
        let runs = usize::from(self.setting.releases) + self.setting.triggers.len();
        let engine = Engine { drivers: vec![None; runs], ..Engine::default() };
        let mut state = State {
            log: vec![None; runs],
            lane: self.history.number_lane(Lane::default()),
            claims: Vec::new(),
            sent: 0,
            engines: vec![engine; self.setting.engines],
            world: World::default(),
            late: Vec::new(),
            ledger: 0,
            left: Budget::default(),
        };
        state.engines[0].up = true;
        let (sabotage, triggers) = (self.setting.sabotage.take(), self.setting.triggers);
        self.setting.triggers = &RELEASES[..usize::from(self.setting.releases)];
        for nth in 0..self.setting.releases {
            state = self.step(&state, Action::Send(0, nth)).unwrap();
            while let Some(action) = self
                .actions(&state)
                .into_iter()
                .find(|action| action.is_fair() && !matches!(action, Action::Start(_)))
            {
                state = self.step(&state, action).unwrap();
            }
        }
        (self.setting.sabotage, self.setting.triggers) = (sabotage, triggers);
        if self.setting.cold {
            let serves = state.world.route.serves.map(|(_, container)| container);
            state.world.containers.retain(|container| Some(*container) == serves);
        }
        // Nobody looks back at what is closed.
        (state.ledger, state.sent, state.left) = (0, 0, self.setting.budget);
        (state.world.folders, state.world.images, state.world.tags) = (0, 0, 0);
        state.world.one_shots.clear();
        state
    }

    /// Returns every step that can be taken.
    pub fn actions(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        let left = state.left;
        for (nth, engine) in state.engines.iter().enumerate() {
            if !engine.up {
                actions.push(Action::Start(nth));
                continue;
            }
            for (run, driver) in engine.drivers.iter().enumerate() {
                if let Some(driver) = driver {
                    self.actions_of(state, nth, run, *driver, &mut actions);
                }
            }
            match engine.taking {
                Some(_) => actions.push(Action::Take(nth)),
                None => self.triggers(state, nth, &mut actions),
            }
            if left.crashes > 0 {
                actions.push(Action::Crash(nth));
            }
        }
        actions.extend((0..state.late.len()).map(Action::LandLate));
        actions
    }

    fn actions_of(&self, state: &State, nth: usize, run: usize, driver: Driver, actions: &mut Vec<Action>) {
        let left = state.left;
        match driver.doing {
            Doing::Flight(flight) => {
                let says = state.world.asks_the_app(&flight).iter().copied();
                let says = says.filter(|says| *says != Says::Red || left.reds > 0);
                actions.extend(says.map(|says| Action::Land(nth, run, says)));
                if left.silences > 0 {
                    actions.push(Action::Lose(nth, run));
                }
                if left.timeouts > 0 && matches!(flight.kind, Kind::UndoFormer | Kind::Execute | Kind::Attach)
                {
                    actions.push(Action::Expire(nth, run));
                }
            }
            Doing::Turn(_) => actions.push(Action::Turn(nth, run)),
            Doing::Timer | Doing::Asking => actions.push(Action::Tick(nth, run)),
            Doing::Record { .. } | Doing::Enter(_) => actions.push(Action::Record(nth, run)),
            Doing::Queue | Doing::Stuck | Doing::Person => {}
        }
        if left.asks > 0 {
            let log = &self.history.fold(state.log[run].unwrap_or(driver.fold)).run;
            let asked = match &log.phase {
                Phase::Parked(_) => &[Asked::Cancel, Asked::Retry, Asked::Skip, Asked::Abort][..],
                Phase::AwaitingApproval { .. } => &[Asked::Cancel, Asked::Approve, Asked::Reject],
                _ if log.state.is_terminal() => &[],
                _ => &[Asked::Cancel],
            };
            let asked = asked.iter().copied();
            actions.extend(asked.map(|asked| Action::Ask(nth, run, asked)));
        }
    }

    fn triggers(&self, state: &State, nth: usize, actions: &mut Vec<Action>) {
        for (trigger, sent) in (0_u8..).zip(self.setting.triggers) {
            let again = state.sent & (1 << trigger) != 0;
            let claimed = match sent {
                Trigger::Push { claim: Some(claim), .. } => {
                    state.claims.iter().any(|(named, _)| named == claim)
                }
                Trigger::Push { claim: None, .. } => again,
                Trigger::Relaunch => again || self.history.lane(state.lane).former.is_empty(),
            };
            if !claimed && (!again || state.left.asks > 0) && free_run(state).is_some() {
                actions.push(Action::Send(nth, trigger));
            }
        }
    }

    /// Takes one step.
    ///
    /// # Errors
    ///
    /// What is broken then.
    pub fn step(&mut self, state: &State, action: Action) -> Result<State, String> {
        let mut after = state.clone();
        match action {
            Action::Start(nth) => self.start(&mut after, nth),
            Action::Crash(nth) => {
                after.left.crashes -= 1;
                let drivers = vec![None; after.log.len()];
                let died =
                    std::mem::replace(&mut after.engines[nth], Engine { drivers, ..Engine::default() });
                for driver in died.drivers.into_iter().flatten() {
                    self.turn_away(&mut after, driver.doing);
                }
            }
            Action::Send(nth, trigger) => self.send(&mut after, nth, trigger),
            Action::Take(nth) => self.take(&mut after, nth)?,
            Action::Land(nth, run, says) => self.land(&mut after, nth, run, says)?,
            Action::Lose(nth, run) => {
                after.left.silences -= 1;
                let Some(Driver { fold, doing: Doing::Flight(flight) }) = after.driver(nth, run) else {
                    return Err("nothing is in flight".into());
                };
                self.turn_away(&mut after, Doing::Flight(flight));
                let ending = match self.setting.sabotage {
                    Some(Sabotage::SilenceIsSuccess) => Ending::Green(flight.order.own()),
                    _ => Ending::Silent,
                };
                self.answered(&mut after, nth, run, answer(&flight, ending), fold);
            }
            Action::Expire(nth, run) => self.expire(&mut after, nth, run)?,
            Action::Tick(nth, run) => {
                let fold = after.driver(nth, run).map_or(0, |driver| driver.fold);
                self.answered(&mut after, nth, run, Answer::Due, fold);
            }
            Action::Turn(nth, run) => match after.driver(nth, run) {
                Some(Driver { fold, doing: Doing::Turn(Some(by)) }) => {
                    self.answered(&mut after, nth, run, Answer::Superseded(by), fold);
                }
                _ => {
                    let lane = after.lane;
                    do_now(&mut after, nth, run, Doing::Enter(lane));
                }
            },
            Action::Record(nth, run) => self.record(&mut after, nth, run)?,
            Action::Ask(nth, run, asked) => self.ask(&mut after, nth, run, asked)?,
            Action::LandLate(nth) => {
                let flight = after.late.remove(nth);
                self.enter_in_ledger(&mut after, &flight)?;
                after.world.land(&flight, Says::Green, self.setting.sabotage);
            }
        }
        self.drop_what_nobody_reads(&mut after);
        if let Some(broken) = self.history.broken.take() {
            return Err(broken);
        }
        self.check(&after)?;
        Ok(after)
    }

    fn start(&mut self, state: &mut State, nth: usize) {
        state.engines[nth].up = true;
        let holder = self.history.lane(state.lane).holder;
        if self.setting.sabotage != Some(Sabotage::LaneForgotten) {
            state.engines[nth].holder = holder.and_then(|id| {
                (0_u8..).zip(&state.log).map(|(run, _)| run).find(|run| facts::run_id(*run) == id)
            });
        }
        for run in 0..state.log.len() {
            let Some(fold) = state.log[run] else { continue };
            if !self.history.fold(fold).run.is_closed() {
                state.engines[nth].drivers[run] = Some(Driver { fold, doing: Doing::Stuck });
                self.begin_owed(state, nth, run, Standing::Unknown);
            }
        }
    }

    fn send(&self, state: &mut State, nth: usize, trigger: u8) {
        let bit = 1 << trigger;
        state.left.asks -= u8::from(state.sent & bit != 0);
        state.sent |= bit;
        let Some(run) = free_run(state) else { return };
        state.engines[nth].taking = Some(Taking { trigger, run, lane: state.lane });
    }

    fn take(&mut self, state: &mut State, nth: usize) -> Result<(), String> {
        let Some(taking) = state.engines[nth].taking.take() else { return Ok(()) };
        let trigger = self.setting.triggers[usize::from(taking.trigger)];
        let Some(command) = self.trigger(trigger, taking.lane) else { return Ok(()) };
        let asking = Asking::Trigger(taking.trigger, taking.run);
        let decided = self.history.decide(taking.run, (None, Some(taking.lane), asking), |_| command)?;
        let Decided::Events(events, Some(fold)) = decided else { return Ok(()) };
        let claim = match trigger {
            Trigger::Push { claim, .. } => claim,
            Trigger::Relaunch => None,
        };
        let is_taken = claim.is_some_and(|claim| state.claims.iter().any(|(named, _)| *named == claim));
        if is_taken && self.setting.sabotage != Some(Sabotage::ClaimTakenTwice) {
            return Ok(());
        }
        let run = usize::from(taking.run);
        self.append(state, run, &events, (None, fold))?;
        state.claims.extend(claim.map(|claim| (claim, taking.run)));
        state.engines[nth].drivers[run] = Some(Driver { fold, doing: Doing::Stuck });
        self.begin_owed(state, nth, run, Standing::Fresh);
        Ok(())
    }

    fn trigger(&self, trigger: Trigger, lane: u32) -> Option<Command> {
        Some(match trigger {
            Trigger::Push { commit, .. } => Command::Push(facts::push(commit)),
            Trigger::Relaunch => {
                let release = self.history.lane(lane).former.first().cloned()?;
                let (lane, settings) = (facts::lane(), self.setting.app.settings());
                let (promoted_from, trigger, reason) = (None, "api".into(), "by hand".into());
                let relaunch = Relaunch { lane, release, settings, promoted_from, trigger, reason };
                Command::Relaunch(Box::new(relaunch))
            }
        })
    }

    fn land(&mut self, state: &mut State, nth: usize, run: usize, says: Says) -> Result<(), String> {
        let Some(Driver { fold, doing: Doing::Flight(flight) }) = state.driver(nth, run) else {
            return Err("nothing is in flight".into());
        };
        self.enter_in_ledger(state, &flight)?;
        state.left.reds -= u8::from(says == Says::Red);
        let answer = match state.world.land(&flight, says, self.setting.sabotage) {
            Landed::Next(next) => {
                do_now(state, nth, run, Doing::Flight(next));
                return Ok(());
            }
            Landed::Ended(ending) => answer(&flight, ending),
            Landed::Found(found) => Answer::Recovered(flight.order, found),
            Landed::Proved(serves) => Answer::RolledBack(flight.order, Some(serves)),
        };
        self.answered(state, nth, run, answer, fold);
        Ok(())
    }

    fn expire(&mut self, state: &mut State, nth: usize, run: usize) -> Result<(), String> {
        let Some(Driver { fold, doing: Doing::Flight(flight) }) = state.driver(nth, run) else {
            return Err("nothing is in flight".into());
        };
        state.left.timeouts -= 1;
        if flight.probed && flight.step == 0 {
            // It had passed while no engine was running: nothing was sent.
            self.answered(state, nth, run, Answer::Reported(flight.order, Ending::Silent), fold);
            return Ok(());
        }
        self.turn_away(state, Doing::Flight(flight));
        // A candidate is left to the rollback, which is recorded first.
        let is_deploy = matches!(flight.order.what, What::Stage(Stage::Deploy, _));
        if is_deploy && self.setting.sabotage != Some(Sabotage::RemoveBeforeRecord) {
            self.answered(state, nth, run, Answer::Reported(flight.order, Ending::Red), fold);
            return Ok(());
        }
        do_now(state, nth, run, Doing::Flight(Flight { kind: Kind::UndoTimedOut, step: 0, ..flight }));
        Ok(())
    }

    fn answered(&self, state: &mut State, nth: usize, run: usize, answer: Answer, began: Fold) {
        do_now(state, nth, run, Doing::Record { answer, began });
    }

    fn record(&mut self, state: &mut State, nth: usize, run: usize) -> Result<(), String> {
        let Some(Driver { fold, doing }) = state.driver(nth, run) else { return Ok(()) };
        let (asking, lane, began) = match doing {
            Doing::Enter(lane) => (Asking::EnterLane, Some(lane), fold),
            Doing::Record { answer, began } => (Asking::Answered(answer, began), None, began),
            _ => return Err("there is nothing to record".into()),
        };
        let mut standing = match doing {
            Doing::Record { answer: Answer::Recovered(_, found), .. } => Standing::Probed(found),
            _ => Standing::Unknown,
        };
        let (number, app) = (u8::try_from(run).unwrap(), self.setting.app);
        let decided = self
            .history
            .decide(number, (Some(fold), lane, asking), |history| command(history, app, asking))?;
        match decided {
            Decided::Refused(refused) => {
                let waits = matches!(
                    self.history.fold(fold).owed,
                    Some(Effect::WaitUntil(_) | Effect::WaitForNotice(..) | Effect::AwaitApproval(_))
                );
                let same = self.history.fold(began).owed == self.history.fold(fold).owed;
                if same && !(waits && refused == Rejected::NotDue) {
                    do_now(state, nth, run, Doing::Stuck);
                    return Ok(());
                }
                standing = Standing::Unknown;
            }
            Decided::Events(_, Some(believed))
                if self.setting.sabotage == Some(Sabotage::ActBeforeAppend) =>
            {
                do_now_with(state, nth, run, believed);
                standing = Standing::Fresh;
            }
            Decided::Events(..) if self.is_stale(state, run, fold) => {
                // A conflict: it reads the log again, and decides again.
                if let (Some(driver), Some(log)) = (&mut state.engines[nth].drivers[run], state.log[run]) {
                    driver.fold = log;
                    if let Doing::Enter(_) = driver.doing {
                        driver.doing = Doing::Turn(None);
                    }
                }
                return Ok(());
            }
            Decided::Events(events, after) => {
                let believed = after.unwrap_or(fold);
                self.append(state, run, &events, (Some(fold), believed))?;
                do_now_with(state, nth, run, believed);
                if events.iter().any(|event| matches!(event, Event::StageStarted { .. })) {
                    standing = Standing::Fresh;
                }
                self.leave_if_over(state, nth, run);
            }
        }
        self.begin_owed(state, nth, run, standing);
        Ok(())
    }

    fn is_stale(&self, state: &State, run: usize, fold: Fold) -> bool {
        state.log[run] != Some(fold) && self.setting.sabotage != Some(Sabotage::IgnoreVersion)
    }

    fn ask(&mut self, state: &mut State, nth: usize, run: usize, asked: Asked) -> Result<(), String> {
        state.left.asks -= 1;
        let Some(Driver { fold: was, .. }) = state.driver(nth, run) else { return Ok(()) };
        let mut fold = was;
        let mut standing = Standing::Unknown;
        loop {
            let (number, app, asking) = (u8::try_from(run).unwrap(), self.setting.app, Asking::Person(asked));
            let question = (Some(fold), None, asking);
            let decided = self.history.decide(number, question, |history| command(history, app, asking))?;
            let Decided::Events(events, Some(believed)) = decided else { break };
            if events.is_empty() {
                break;
            }
            if self.is_stale(state, run, fold) {
                fold = state.log[run].unwrap_or(fold);
                do_now_with(state, nth, run, fold);
                continue;
            }
            self.append(state, run, &events, (Some(fold), believed))?;
            do_now_with(state, nth, run, believed);
            if events.iter().any(|event| matches!(event, Event::StageStarted { .. })) {
                standing = Standing::Fresh;
            }
            self.leave_if_over(state, nth, run);
            break;
        }
        self.go_on(state, nth, run, was, standing);
        Ok(())
    }

    /// Goes on with what is being done if it is owed still, and begins what is owed otherwise.
    fn go_on(&mut self, state: &mut State, nth: usize, run: usize, was: Fold, standing: Standing) {
        let Some(driver) = state.driver(nth, run) else { return };
        let began = match driver.doing {
            Doing::Record { began, .. } => began,
            _ => was,
        };
        if self.history.fold(began).owed != self.history.fold(driver.fold).owed {
            do_now(state, nth, run, Doing::Stuck);
            self.turn_away(state, driver.doing);
            if matches!(driver.doing, Doing::Queue | Doing::Turn(_)) {
                self.leave(state, nth, run);
            }
            self.begin_owed(state, nth, run, standing);
        }
    }

    /// Records events that led from the fold at which they were decided to the one that the engine believes.
    fn append(
        &mut self,
        state: &mut State,
        run: usize,
        events: &[Event],
        (from, to): (Option<Fold>, Fold),
    ) -> Result<(), String> {
        let number = u8::try_from(run).unwrap();
        let recorded = match state.log[run] == from {
            true => to,
            false => self
                .history
                .evolve(number, state.log[run], events)
                .map_err(|illegal| format!("I2: the log can't be replayed: {illegal}"))?,
        };
        if recorded != to {
            return Err("I2: two engines won the same version, and believe different things".into());
        }
        state.log[run] = Some(recorded);
        state.lane = self.history.apply(state.lane, number, events, (from, to));
        Ok(())
    }

    /// Begins what the engine's own fold says is owed.
    fn begin_owed(&mut self, state: &mut State, nth: usize, run: usize, standing: Standing) {
        let Some(Driver { fold, .. }) = state.driver(nth, run) else { return };
        let folded = self.history.fold(fold);
        let flight = |kind: Kind| Flight { order: folded.order, kind, step: 0, plan: None, probed: false };
        let doing = match &folded.owed {
            None => {
                state.engines[nth].drivers[run] = None;
                return;
            }
            Some(Effect::RunStage { attempt, .. }) => {
                self.begin_stage(folded.order, *attempt, standing, fold)
            }
            Some(Effect::Undo { .. }) => Doing::Flight(flight(Kind::UndoCancelled)),
            Some(Effect::Rollback { .. }) => Doing::Flight(flight(Kind::Rollback)),
            Some(Effect::Notify { .. }) => Doing::Flight(flight(Kind::Notify)),
            Some(Effect::EnterLane) => {
                self.join(state, nth, run);
                return;
            }
            Some(Effect::BeginNotice(_) | Effect::Proceed) => {
                Doing::Record { answer: Answer::Due, began: fold }
            }
            Some(Effect::WaitUntil(_) | Effect::WaitForNotice(..)) => Doing::Timer,
            Some(Effect::AwaitPerson) => Doing::Person,
            Some(Effect::AwaitApproval(_)) => {
                self.ask_beside(state, nth, run);
                return;
            }
        };
        do_now(state, nth, run, doing);
    }

    fn begin_stage(&self, order: Order, attempt: u32, standing: Standing, began: Fold) -> Doing {
        // The other stages leave nothing to be cleared away.
        let leaves = matches!(
            order.what,
            What::Stage(Stage::Checkout | Stage::Test | Stage::Build | Stage::Deploy, _)
        );
        let execute = if attempt > 1 && leaves { Kind::UndoFormer } else { Kind::Execute };
        let (kind, probed) = match standing {
            Standing::Unknown if self.setting.sabotage == Some(Sabotage::NoProbe) => (execute, false),
            Standing::Unknown => (Kind::Probe, false),
            Standing::Fresh => (execute, false),
            Standing::Probed(Found::NotStarted | Found::Unknown) => (execute, true),
            Standing::Probed(Found::Running) => (Kind::Attach, false),
            Standing::Probed(Found::Done(ending)) => {
                return Doing::Record { answer: Answer::Reported(order, ending), began };
            }
        };
        Doing::Flight(Flight { order, kind, step: 0, plan: None, probed })
    }

    // The queue of the lane, as each process keeps it in its memory.

    fn is_by_hand(&self, state: &State, nth: usize, run: usize) -> bool {
        state
            .driver(nth, run)
            .is_some_and(|driver| matches!(self.history.fold(driver.fold).run.origin, Origin::Release { .. }))
    }

    fn waiting(state: &State, nth: usize) -> Vec<usize> {
        (0..state.log.len())
            .filter(|run| state.driver(nth, *run).is_some_and(|driver| driver.doing == Doing::Queue))
            .collect()
    }

    fn join(&self, state: &mut State, nth: usize, run: usize) {
        if state.engines[nth].holder.is_some_and(|holder| usize::from(holder) == run) {
            do_now(state, nth, run, Doing::Turn(None));
            return;
        }
        do_now(state, nth, run, Doing::Queue);
        self.supersede_older(state, nth);
        if state.engines[nth].holder.is_none() {
            self.admit_next(state, nth);
        }
    }

    /// Waits beside the queue, unless a newer run of the branch was in the lane already.
    fn ask_beside(&self, state: &mut State, nth: usize, run: usize) {
        let number = u8::try_from(run).unwrap();
        let newest = self.history.lane(state.lane).newest.get("main").copied();
        let newer = (number + 1..).take(state.log.len()).find(|newer| Some(facts::run_id(*newer)) == newest);
        match newer {
            Some(newer) => do_now(state, nth, run, Doing::Turn(Some(newer))),
            None => {
                do_now(state, nth, run, Doing::Asking);
                self.supersede_older(state, nth);
            }
        }
    }

    /// Ends the wait of each push for which a newer one waits that is as far.
    fn supersede_older(&self, state: &mut State, nth: usize) {
        let mut pushes = Self::waiting(state, nth);
        pushes.retain(|run| !self.is_by_hand(state, nth, *run));
        let is_asking =
            |run: &usize| state.driver(nth, *run).is_some_and(|driver| driver.doing == Doing::Asking);
        let asking: Vec<usize> = (0..state.log.len()).filter(is_asking).collect();
        let newest = pushes.last().copied();
        let superseded = pushes.iter().map(|run| (*run, newest));
        let superseded =
            superseded.chain(asking.iter().map(|run| (*run, newest.max(asking.last().copied()))));
        for (run, by) in superseded.collect::<Vec<_>>() {
            if let Some(by) = by.filter(|by| *by > run) {
                do_now(state, nth, run, Doing::Turn(Some(u8::try_from(by).unwrap())));
            }
        }
    }

    fn admit_next(&self, state: &mut State, nth: usize) {
        let waiting = Self::waiting(state, nth);
        let by_hand = waiting.iter().find(|run| self.is_by_hand(state, nth, **run));
        if let Some(run) = by_hand.or(waiting.first()) {
            do_now(state, nth, *run, Doing::Turn(None));
            state.engines[nth].holder = Some(u8::try_from(*run).unwrap());
        }
    }

    fn leave(&self, state: &mut State, nth: usize, run: usize) {
        if state.engines[nth].holder.is_some_and(|holder| usize::from(holder) == run) {
            state.engines[nth].holder = None;
            self.admit_next(state, nth);
        }
    }

    fn leave_if_over(&self, state: &mut State, nth: usize, run: usize) {
        let over = state
            .driver(nth, run)
            .is_some_and(|driver| self.history.fold(driver.fold).run.state.is_terminal());
        if over {
            if let Some(driver) = state.driver(nth, run).filter(|driver| driver.doing == Doing::Queue) {
                do_now(state, nth, run, Doing::Stuck);
                self.turn_away(state, driver.doing);
            }
            self.leave(state, nth, run);
        }
    }

    /// Leaves what is being done where it stands: a request that was sent may still be done.
    fn turn_away(&self, state: &mut State, doing: Doing) {
        let Doing::Flight(flight) = doing else { return };
        if state.world.can_change(&flight, self.setting.sabotage) {
            state.late.push(flight);
            state.late.sort_unstable();
            state.late.dedup();
        }
    }

    /// Writes down that a request is done, and with what.
    fn enter_in_ledger(&mut self, state: &mut State, flight: &Flight) -> Result<(), String> {
        let begins = matches!(flight.kind, Kind::Execute | Kind::Rollback | Kind::Notify) && flight.step == 0;
        if !begins || (flight.kind == Kind::Rollback && flight.probed) {
            return Ok(());
        }
        let run = usize::from(flight.order.run);
        let order = Order { may_have_switched: false, ..flight.order };
        let Some(fold) = state.log[run] else {
            return Err("I4: an effect of a run that is not recorded".into());
        };
        let folded = self.history.fold(fold);
        // A notice is told from its run: which one does not change what is sent.
        let Some(key) = key_of(&order, &folded.run) else { return Ok(()) };
        let Some(recorded) = folded.begun.get(&key).copied() else {
            return Err(format!("I4: {key} is done, and its intent is not recorded"));
        };
        let next = u32::try_from(self.keys.len()).unwrap();
        let number = *self.keys.entry(key.clone()).or_insert(next);
        let known = &self.ledgers[state.ledger as usize];
        let (input, times) = known.get(&number).copied().unwrap_or((order, 0));
        if input != order {
            return Err(format!("I3: {key} is done with two inputs: {input:?} and {order:?}"));
        }
        let times = if flight.kind == Kind::Execute { times + 1 } else { 1 };
        if flight.kind == Kind::Execute && times > recorded {
            return Err(format!("I4: {key} is begun {times} times, and recorded {recorded} times"));
        }
        if known.get(&number) == Some(&(order, times)) {
            return Ok(());
        }
        let mut entries = known.clone();
        entries.insert(number, (order, times));
        let next = u32::try_from(self.ledgers.len()).unwrap();
        state.ledger = *self.ledger_numbers.entry(entries.clone()).or_insert(next);
        if state.ledger == next {
            self.ledgers.push(entries);
        }
        Ok(())
    }

    /// Forgets late requests that can change nothing that anybody will look at.
    fn drop_what_nobody_reads(&self, state: &mut State) {
        let State { late, log, world, .. } = state;
        let sabotage = self.setting.sabotage;
        // A generation never falls, so a switch that comes too late now always will.
        let may_switch = |flight: &Flight| {
            sabotage == Some(Sabotage::SwitchWithoutCompare) || world.can_change(flight, sabotage)
        };
        late.retain(|flight| {
            let Some(fold) = log[usize::from(flight.order.run)] else { return false };
            let run = &self.history.fold(fold).run;
            match (flight.kind, flight.order.what) {
                (_, What::Stage(stage, _)) if stage < Stage::ReleaseCommand => {
                    run.done < Some(stage.max(Stage::PushImage)) && !run.state.is_terminal()
                }
                (Kind::Execute, What::Stage(Stage::GoLive, _)) => may_switch(flight),
                (Kind::Execute, _) => !run.state.is_terminal(),
                (Kind::Rollback, _) if flight.step == 1 => may_switch(flight),
                _ => true,
            }
        });
    }

    /// What must hold at every moment.
    fn check(&self, state: &State) -> Result<(), String> {
        let World { route, containers, .. } = &state.world;
        if let Some((commit, container)) =
            route.serves.filter(|(_, container)| !containers.contains(container))
        {
            return Err(format!(
                "I5: users are sent to {container:?} of commit {commit}, which is not there"
            ));
        }
        let open: Vec<_> = state
            .log
            .iter()
            .flatten()
            .map(|fold| self.history.fold(*fold))
            .filter(|folded| folded.run.holds_lane())
            .collect();
        if open.len() > 1 {
            return Err("two runs have the lane".into());
        }
        let may_have_switched =
            open.iter().any(|folded| folded.begun.keys().any(|key| key.contains("/go_live/")));
        let lane = self.history.lane(state.lane);
        let live = lane.live.as_ref().map(|release| release.image.digest.clone());
        let serves = route.serves.map(|(commit, _)| commit.to_string());
        if live != serves && !may_have_switched {
            return Err(format!("I5: the log says that {live:?} is live, and {serves:?} serves"));
        }
        let mut claims = state.claims.clone();
        claims.sort_unstable();
        if claims.windows(2).any(|two| two[0].0 == two[1].0) {
            return Err("I2: one claim started two runs".into());
        }
        Ok(())
    }

    /// Tells whether nothing more happens to any run without a person.
    pub fn is_settled(&self, state: &State) -> bool {
        state.engines.iter().all(|engine| engine.taking.is_none())
            && state.log.iter().flatten().all(|fold| self.history.fold(*fold).is_settled())
    }
}

/// Returns what is asked of the rules.
fn command(history: &History, app: App, asking: Asking) -> Command {
    let reason = String::from("asked for");
    let (answer, began) = match asking {
        Asking::EnterLane => return Command::EnterLane,
        Asking::Person(Asked::Cancel) => return Command::Cancel { reason },
        Asking::Person(Asked::Retry) => return Command::Resolve(Decision::Retry),
        Asking::Person(Asked::Skip) => return Command::Resolve(Decision::Skip { reason }),
        Asking::Person(Asked::Abort) => return Command::Resolve(Decision::Abort { reason }),
        Asking::Person(Asked::Approve) => return Command::Approve,
        Asking::Person(Asked::Reject) => return Command::Reject { reason },
        // Asked with its own command.
        Asking::Trigger(..) => return Command::Proceed,
        Asking::Answered(answer, began) => (answer, began),
    };
    let stage_of = |order: &Order| match order.what {
        What::Stage(stage, attempt) => (stage, attempt),
        _ => (Stage::Checkout, 0),
    };
    match answer {
        Answer::Reported(order, ending) => {
            let (stage, attempt) = stage_of(&order);
            let outcome = facts::outcome(app, &order, stage, ending);
            Command::Report { stage, attempt, outcome, took_ms: 0, output: None }
        }
        Answer::Recovered(order, found) => {
            let (stage, attempt) = stage_of(&order);
            let probe = match found {
                Found::NotStarted => Probe::NotStarted,
                Found::Running => Probe::Running,
                Found::Done(ending) => Probe::Done(facts::outcome(app, &order, stage, ending)),
                Found::Unknown => Probe::Unknown("it is gone".into()),
            };
            Command::Recover { stage, attempt, found: probe.found(), evidence: String::new() }
        }
        Answer::Undone(order, undone) => {
            let (stage, attempt) = stage_of(&order);
            Command::ReportUndone { stage, attempt, error: (!undone).then(|| "no answer".into()) }
        }
        Answer::RolledBack(order, serving) => {
            let What::Rollback(attempt) = order.what else { return Command::Proceed };
            let outcome = match serving {
                Some(serving) => RollbackOutcome::Succeeded {
                    serving: serving.map(|commit| commit.to_string()),
                    proof: "seen".into(),
                },
                None => RollbackOutcome::Errored { reason: "no answer".into() },
            };
            Command::ReportRollback { attempt, outcome, took_ms: 0 }
        }
        Answer::Superseded(by) => Command::Supersede { by: facts::run_id(by) },
        Answer::Noticed(_) | Answer::Due => match (history.fold(began).owed.clone(), answer) {
            (Some(Effect::Notify { notice, attempt }), Answer::Noticed(sent)) => {
                let receipt = if sent { Ok("200".into()) } else { Err(NotSent::errored("503")) };
                Command::ReportNotice { notice, attempt, receipt }
            }
            (Some(Effect::BeginNotice(notice) | Effect::WaitForNotice(notice, _)), _) => {
                Command::Notify { notice }
            }
            _ => Command::Proceed,
        },
    }
}

const RELEASES: [Trigger; 2] =
    [Trigger::Push { commit: 0, claim: None }, Trigger::Push { commit: 1, claim: None }];

fn free_run(state: &State) -> Option<u8> {
    let taken =
        |run: u8| state.engines.iter().any(|engine| engine.taking.is_some_and(|taking| taking.run == run));
    (0_u8..).zip(&state.log).find(|(run, fold)| fold.is_none() && !taken(*run)).map(|(run, _)| run)
}

fn do_now(state: &mut State, nth: usize, run: usize, doing: Doing) {
    if let Some(driver) = &mut state.engines[nth].drivers[run] {
        driver.doing = doing;
    }
}

fn do_now_with(state: &mut State, nth: usize, run: usize, fold: Fold) {
    if let Some(driver) = &mut state.engines[nth].drivers[run] {
        driver.fold = fold;
    }
}

fn answer(flight: &Flight, ending: Ending) -> Answer {
    let order = flight.order;
    match (flight.kind, order.what) {
        (Kind::UndoCancelled, _) => Answer::Undone(order, ending != Ending::Silent),
        // A stage whose own slowness is the app's is red; one that waits for our own tools gave no answer.
        (Kind::UndoTimedOut, What::Stage(Stage::Checkout | Stage::PushImage | Stage::GoLive, _)) => {
            Answer::Reported(order, Ending::Silent)
        }
        (Kind::UndoTimedOut, _) => Answer::Reported(order, Ending::Red),
        (Kind::Rollback, _) => Answer::RolledBack(order, None),
        (Kind::Notify, _) => Answer::Noticed(ending != Ending::Silent),
        _ => Answer::Reported(order, ending),
    }
}
