//! What was promised to somebody, and by which engine: it must be in the log for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use landfall_engine::core::event::{Envelope, EventHash};
use landfall_engine::core::run::RunId;

/// All that was acknowledged or shown, over all lives.
#[derive(Debug, Default)]
pub struct Book(Mutex<Pages>);

/// Who listens, and how much was heard.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    /// None: to the whole log.
    pub run: Option<RunId>,
    pub heard: u64,
    /// Told that the log can't be read: whoever wants more asks again.
    pub was_refused: bool,
}

#[derive(Debug, Default)]
pub struct Pages {
    /// The hash of each event that somebody knows, by its place in the log.
    pub known: BTreeMap<u64, (RunId, u64, EventHash)>,
    /// Which run each claim was answered with.
    pub claims: BTreeMap<String, RunId>,
    /// The trigger that each claim came with.
    pub claimed_by: BTreeMap<String, String>,
    /// Triggers that were answered, with their runs.
    pub triggers: BTreeMap<String, BTreeSet<RunId>>,
    pub violations: BTreeSet<String>,
    pub acknowledged: u64,
    pub shown: u64,
    /// Who listens in this life.
    pub listeners: Vec<Listener>,
    /// How often something was done.
    pub done: BTreeMap<&'static str, u64>,
}

impl Book {
    pub fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap()
    }

    /// Notes that an append was acknowledged.
    pub fn acknowledged(&self, envelopes: &[Envelope]) {
        let mut pages = self.pages();
        pages.acknowledged += envelopes.len() as u64;
        envelopes.iter().for_each(|envelope| pages.knows("I1", envelope));
    }

    /// Notes that events were shown to a reader.
    pub fn shown(&self, envelopes: &[Envelope]) {
        let mut pages = self.pages();
        pages.shown += envelopes.len() as u64;
        envelopes.iter().for_each(|envelope| pages.knows("I10", envelope));
    }

    /// Notes which run a trigger was answered with.
    pub fn triggered(&self, trigger: &str, claim: Option<&str>, run: RunId) {
        let mut pages = self.pages();
        pages.triggers.entry(trigger.to_owned()).or_default().insert(run);
        let Some(claim) = claim else { return };
        pages.claimed_by.insert(claim.to_owned(), trigger.to_owned());
        let first = *pages.claims.entry(claim.to_owned()).or_insert(run);
        if first != run {
            pages.violation("I2", format!("{claim} was answered with {first}, and then with {run}"));
        }
    }

    /// Notes that somebody begins to listen, and returns who.
    pub fn listens(&self, run: Option<RunId>) -> usize {
        let mut pages = self.pages();
        pages.listeners.push(Listener { run, heard: 0, was_refused: false });
        pages.listeners.len() - 1
    }

    /// Notes that a listener heard an event, and returns how many those are.
    pub fn heard(&self, listener: usize) -> u64 {
        let mut pages = self.pages();
        pages.listeners[listener].heard += 1;
        pages.listeners[listener].heard
    }

    /// Notes that a listener was told that the log can't be read.
    pub fn refused(&self, listener: usize) {
        self.pages().listeners[listener].was_refused = true;
    }

    pub fn count(&self, what: &'static str) {
        *self.pages().done.entry(what).or_default() += 1;
    }
}

impl Pages {
    pub fn violation(&mut self, invariant: &str, what: String) {
        self.violations.insert(format!("{invariant}: {what}"));
    }

    fn knows(&mut self, invariant: &str, envelope: &Envelope) {
        let Envelope { run_id, seq, global_seq, hash, .. } = envelope;
        let page = (*run_id, *seq, *hash);
        let before = self.known.insert(*global_seq, page);
        if before.is_some_and(|before| before != page) {
            self.violation(
                invariant,
                format!("event {global_seq} was another one before: {run_id} seq {seq}"),
            );
        }
    }
}
