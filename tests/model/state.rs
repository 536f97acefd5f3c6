//! One moment of everything: the log, the engines with what each believes, the world, and what may still go wrong.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::facts::Ending;
use crate::history::Fold;
use crate::world::{Flight, Found, Order, World};

/// What may still happen that nobody asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Engines that die.
    pub crashes: u8,
    /// Red answers.
    pub reds: u8,
    /// Answers that are lost.
    pub silences: u8,
    /// Deadlines that pass.
    pub timeouts: u8,
    /// Cancels, decisions of a person, repeated triggers.
    pub asks: u8,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The log: the fold of each run.
    pub log: Vec<Option<Fold>>,
    /// The log: the fold of the lane.
    pub lane: u32,
    /// The log: claims, with their runs.
    pub claims: Vec<(u8, u8)>,
    /// Triggers that were sent, a bit each.
    pub sent: u8,
    pub engines: Vec<Engine>,
    pub world: World,
    /// Requests whose engine died or turned away. Each may be done at any time, or never.
    pub late: Vec<Flight>,
    /// What was done, by key: with what, and how often it was begun. A number of the ledger's.
    pub ledger: u32,
    pub left: Budget,
}

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Engine {
    pub up: bool,
    /// Who has the lane, as this process remembers it.
    pub holder: Option<u8>,
    /// A trigger between its look at the log and its append.
    pub taking: Option<Taking>,
    /// A driver for each run that this process knows.
    pub drivers: Vec<Option<Driver>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Taking {
    pub trigger: u8,
    pub run: u8,
    pub lane: u32,
}

/// What an engine believes of a run, and does for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Driver {
    pub fold: Fold,
    pub doing: Doing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Doing {
    Flight(Flight),
    /// In the queue for the lane.
    Queue,
    /// The queue let it go: to enter, or to make way.
    Turn(Option<u8>),
    /// The lane as it was read; to be decided with.
    Enter(u32),
    Timer,
    /// Beside the queue: for a person who approves, for the time until which that may be, for a newer run.
    Asking,
    /// An answer that is not recorded yet, to what was owed in the fold `began`.
    Record {
        answer: Answer,
        began: Fold,
    },
    /// What it wanted to record was refused, and nothing else is owed: it waits for a request.
    Stuck,
    Person,
}

/// What an effect led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answer {
    Reported(Order, Ending),
    Recovered(Order, Found),
    Undone(Order, bool),
    RolledBack(Order, Option<Option<u8>>),
    Noticed(bool),
    Superseded(u8),
    /// A wait is over, or a record is due.
    Due,
}

impl State {
    /// Returns a number that equal states share, and states that differ only in which engine is which.
    ///
    /// That two others share one of 64 bits is less likely, for the millions of a search, than one in a million.
    pub fn fingerprint(&self) -> u64 {
        let Self { log, lane, claims, sent, engines, world, late, ledger, left } = self;
        let mut hasher = DefaultHasher::new();
        (log, lane, claims, sent, world, late, ledger, left).hash(&mut hasher);
        match engines.as_slice() {
            [one, other] if other < one => (other, one).hash(&mut hasher),
            [one, other] => (one, other).hash(&mut hasher),
            engines => engines.hash(&mut hasher),
        }
        hasher.finish()
    }

    pub fn driver(&self, engine: usize, run: usize) -> Option<Driver> {
        self.engines[engine].drivers[run]
    }
}
