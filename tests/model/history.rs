//! The real rules, asked once for each question: folds, lanes and decisions get numbers.
//!
//! **Invariant:** what a run may do comes from `decide`, `evolve`, `next_effect` and `Lane::apply` alone. A fold that
//! is new is checked when it gets its number, so that no state of the search has one that breaks a rule.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use landfall_engine::core::command::{Command, Outcome, Rejected};
use landfall_engine::core::decide::decide;
use landfall_engine::core::effect::{Effect, EffectKey, next_effect};
use landfall_engine::core::event::Event;
use landfall_engine::core::evolve::{Place, evolve};
use landfall_engine::core::lane::Lane;
use landfall_engine::core::run::{Blocked, Phase, Run};
use landfall_engine::core::stage::Stage;

use crate::engine::Asked;
use crate::facts::{NOW_MS, run_id};
use crate::state::Answer;
use crate::world::{Order, What};

/// The number of a fold.
pub type Fold = u32;

/// What a fold is, with what the properties need to know of how it came about.
#[derive(Debug)]
pub struct Folded {
    pub run: Run,
    pub owed: Option<Effect>,
    /// What the owed effect is done with; a rest when none is owed that acts.
    pub order: Order,
    /// Intents without an outcome, by key.
    pub open: BTreeSet<String>,
    /// Every intent, by key, with the number of its records: the intent itself and each recovery.
    pub begun: BTreeMap<String, u8>,
}

impl Folded {
    /// Tells whether nothing more happens without a person.
    pub fn is_settled(&self) -> bool {
        self.owed.as_ref().is_none_or(Effect::is_a_persons)
    }
}

/// What a command led to.
#[derive(Clone, Debug)]
pub enum Decided {
    /// The events, and the fold after them.
    Events(Rc<Vec<Event>>, Option<Fold>),
    Refused(Rejected),
}

/// A question to the rules: by which fold and which lane, and what was asked.
type Question = (Option<Fold>, Option<u32>, Asking);

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asking {
    Answered(Answer, Fold),
    EnterLane,
    Person(Asked),
    Trigger(u8, u8),
}

/// All that was asked so far.
#[derive(Debug, Default)]
pub struct History {
    folds: Vec<Folded>,
    fold_numbers: HashMap<Vec<u8>, Fold>,
    lanes: Vec<Lane>,
    lane_numbers: HashMap<Vec<u8>, u32>,
    decided: HashMap<Question, Decided>,
    applied: HashMap<(u32, Fold, Fold), u32>,
    /// What can't be told from the rules being wrong: found while folding.
    pub broken: Option<String>,
}

impl History {
    pub fn fold(&self, fold: Fold) -> &Folded {
        &self.folds[fold as usize]
    }

    pub fn lane(&self, lane: u32) -> &Lane {
        &self.lanes[lane as usize]
    }

    pub fn number_lane(&mut self, lane: Lane) -> u32 {
        let text = serde_json::to_vec(&lane).unwrap();
        let next = u32::try_from(self.lanes.len()).unwrap();
        *self.lane_numbers.entry(text).or_insert_with(|| {
            self.lanes.push(lane);
            next
        })
    }

    /// Asks the rules, unless they were asked before. A wait that is over is decided at its own time.
    pub fn decide(
        &mut self,
        run: u8,
        (fold, lane, asking): Question,
        command: impl FnOnce(&Self) -> Command,
    ) -> Result<Decided, String> {
        if let Some(decided) = self.decided.get(&(fold, lane, asking)) {
            return Ok(decided.clone());
        }
        let empty = Lane::default();
        let known = lane.map_or(&empty, |lane| self.lane(lane));
        let folded = fold.map(|fold| self.fold(fold));
        let now_ms = match folded.and_then(|folded| folded.owed.as_ref()) {
            // A person may still be in time; who waited has waited until the end.
            Some(Effect::AwaitApproval(until_ms)) if matches!(asking, Asking::Answered(..)) => *until_ms,
            Some(Effect::WaitUntil(due_ms) | Effect::WaitForNotice(_, due_ms)) => NOW_MS.max(*due_ms),
            _ => NOW_MS,
        };
        let decided = match decide(known, folded.map(|folded| &folded.run), command(self), now_ms) {
            Ok(events) if events.is_empty() => Decided::Events(Rc::new(events), fold),
            Ok(events) => {
                let after = self.evolve(run, fold, &events);
                let after =
                    after.map_err(|illegal| format!("I8: what is decided can't be replayed: {illegal}"))?;
                Decided::Events(Rc::new(events), Some(after))
            }
            Err(refused) => Decided::Refused(refused),
        };
        self.decided.insert((fold, lane, asking), decided.clone());
        Ok(decided)
    }

    /// Folds events onto a fold and numbers what comes of it.
    pub fn evolve(&mut self, number: u8, from: Option<Fold>, events: &[Event]) -> Result<Fold, String> {
        let before = from.map(|from| self.fold(from));
        let mut run = before.map(|before| before.run.clone());
        let (mut open, mut begun) =
            before.map_or_else(Default::default, |before| (before.open.clone(), before.begun.clone()));
        for event in events {
            let seq = run.as_ref().map_or(1, |run| run.seq + 1);
            let place = Place { run_id: run_id(number), seq, at_ms: NOW_MS };
            let after = evolve(run, place, event).map_err(|illegal| illegal.to_string())?;
            note(&after, event, &mut open, &mut begun);
            run = Some(after);
        }
        let run = run.ok_or("nothing was recorded")?;
        let text = serde_json::to_vec(&(&run, &open, &begun)).unwrap();
        if let Some(fold) = self.fold_numbers.get(&text) {
            return Ok(*fold);
        }
        let owed = next_effect(&run);
        let order = Order::of(number, &run, owed.as_ref());
        let folded = Folded { run, owed, order, open, begun };
        if let Some(broken) = self.breaks(&folded) {
            self.broken.get_or_insert(broken);
        }
        let fold = Fold::try_from(self.folds.len()).unwrap();
        self.folds.push(folded);
        self.fold_numbers.insert(text, fold);
        Ok(fold)
    }

    /// Applies a run's events to its lane; they led from one fold to the other.
    pub fn apply(
        &mut self,
        lane: u32,
        number: u8,
        events: &[Event],
        (from, to): (Option<Fold>, Fold),
    ) -> u32 {
        let question = (lane, from.unwrap_or(Fold::MAX), to);
        if let Some(after) = self.applied.get(&question) {
            return *after;
        }
        let mut after = self.lane(lane).clone();
        for event in events {
            after.apply(run_id(number), NOW_MS, event);
        }
        let after = if after == *self.lane(lane) { lane } else { self.number_lane(after) };
        self.applied.insert(question, after);
        after
    }

    /// What must hold of every fold that a log can end with.
    fn breaks(&self, folded: &Folded) -> Option<String> {
        let Folded { run, owed, open, .. } = folded;
        if matches!(run.phase, Phase::Stopping { .. } | Phase::Skipping { .. }) {
            return Some("an append ended half-way: the run was left stopping or skipping".into());
        }
        if owed.is_none() != run.is_closed() {
            return Some("an open run is owed nothing".into());
        }
        let is_notice = |key: &&String| key.contains("/notice/");
        let parked = matches!(run.phase, Phase::Parked(_) | Phase::Ended | Phase::Closed);
        if let Some(key) = open.iter().find(|key| parked && (run.is_closed() || !is_notice(key))) {
            return Some(format!("I6: {key} was begun, and its run rests without its outcome"));
        }
        if run.entry.is_some() && run.approval_needed_ms(run.settings.as_deref()).is_some() {
            return Some("a deploy began that nobody approved".into());
        }
        // Time ends the waiting for an approval, and does not give it.
        if let Some(Effect::AwaitApproval(until_ms)) = owed {
            let at = |now_ms| decide(&Lane::default(), Some(run), Command::Proceed, now_ms);
            let fails = |events: &Vec<Event>| matches!(events.first(), Some(Event::RunFailed { .. }));
            if at(until_ms - 1) != Err(Rejected::NotDue) || !at(*until_ms).as_ref().is_ok_and(fails) {
                return Some("I11: time passed the gate".into());
            }
        }
        // A wait that is not over is not cut short (I11).
        if let Some(Effect::WaitUntil(due_ms)) = owed
            && decide(&Lane::default(), Some(run), Command::Proceed, due_ms - 1) != Err(Rejected::NotDue)
        {
            return Some("I11: a wait was cut short".into());
        }
        late_report_counts(run)
    }
}

/// Asks every attempt that is over to report again: none may be believed.
fn late_report_counts(run: &Run) -> Option<String> {
    let in_flight = match run.phase {
        Phase::Working(work) => Some((work.stage, work.attempt)),
        _ => None,
    };
    for stage in Stage::ALL {
        for attempt in 1..=3 {
            let outcome = Outcome::errored("late");
            let report = Command::Report { stage, attempt, outcome, took_ms: 0, output: None };
            let late = decide(&Lane::default(), Some(run), report, NOW_MS);
            if in_flight != Some((stage, attempt)) && late.is_ok() {
                return Some(format!("I3: a late report of {stage}, attempt {attempt}, was believed"));
            }
        }
    }
    None
}

fn note(run: &Run, event: &Event, open: &mut BTreeSet<String>, begun: &mut BTreeMap<String, u8>) {
    let mut begin = |key: EffectKey| {
        *begun.entry(key.as_str().to_owned()).or_default() += 1;
        open.insert(key.as_str().to_owned());
    };
    match event {
        Event::StageStarted { stage, attempt, .. } | Event::StageRecovered { stage, attempt, .. } => {
            begin(EffectKey::stage(run.id, *stage, *attempt));
        }
        Event::RollbackStarted { attempt, .. } => begin(EffectKey::rollback(run.id, *attempt)),
        Event::NoticeStarted { notice, .. } => begin(EffectKey::notice(run.id, notice)),
        Event::StageSucceeded { stage, attempt, .. }
        | Event::StageFailed { stage, attempt, .. }
        | Event::StageErrored { stage, attempt, .. }
        | Event::StageUndone { stage, attempt }
        | Event::RunParked { at: Blocked::Stage { stage, attempt }, .. } => {
            open.remove(EffectKey::stage(run.id, *stage, *attempt).as_str());
        }
        Event::RollbackSucceeded { attempt, .. }
        | Event::RollbackErrored { attempt, .. }
        | Event::RunParked { at: Blocked::Rollback { attempt }, .. } => {
            open.remove(EffectKey::rollback(run.id, *attempt).as_str());
        }
        Event::NoticeSent { notice, .. } | Event::NoticeErrored { notice, .. } => {
            open.remove(EffectKey::notice(run.id, notice).as_str());
        }
        _ => {}
    }
}

/// Returns the key under which the order's effect is done.
pub fn key_of(order: &Order, run: &Run) -> Option<String> {
    let key = match &order.what {
        What::Stage(stage, attempt) => EffectKey::stage(run.id, *stage, *attempt),
        What::Rollback(attempt) => EffectKey::rollback(run.id, *attempt),
        What::Notice => match &next_effect(run) {
            Some(Effect::Notify { notice, .. }) => EffectKey::notice(run.id, notice),
            _ => return None,
        },
        What::Nothing => return None,
    };
    Some(key.as_str().to_owned())
}
