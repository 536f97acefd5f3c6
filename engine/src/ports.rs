//! What the engine asks of the world: a store that remembers, an executor that acts, a clock.
//!
//! The traits are object-safe, so that embedders bring their own and tests bring fakes. Every store
//! passes one contract suite (`landfall_store::contract`).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use uuid::Uuid;

use crate::core::command::{NotSent, Outcome, RollbackOutcome};
use crate::core::effect::EffectKey;
use crate::core::event::{Envelope, Event, Found, OutputRef};
use crate::core::lane::{Lane, LaneId};
use crate::core::notice::NoticeId;
use crate::core::run::{Run, RunId, RunState};
use crate::core::stage::Stage;
use crate::core::summary::RunSummary;

/// The cause of an error, for `source()`.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An event that is to be recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Names the event for ever: appending it twice is appending it once.
    pub event_id: Uuid,
    /// The key of the effect that this is the intent or the outcome of.
    pub effect_key: Option<String>,
    /// What happened.
    pub event: Event,
}

/// Events of one run that are recorded together or not at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Append {
    /// Whose life they are part of.
    pub run_id: RunId,
    /// The seq of the run's last event, as whoever decided saw it; 0 for a new run.
    pub expected: u64,
    /// What happened, in order. Not empty.
    pub events: Vec<Draft>,
    /// Wall clock, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who asked.
    pub actor: String,
    /// Claims names for this run, for ever: idempotency keys, delivery ids. Whoever has one of them first wins. Each
    /// stands with an event of its own, so there are no more of them than events.
    pub claims: Vec<String>,
}

/// Why events were not recorded. A variant per reaction.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Someone else appended first. **Reload, decide again.**
    #[error("run {run_id} moved on: expected seq {expected}, found {found}")]
    Conflict {
        /// Whose history moved on.
        run_id: RunId,
        /// What the caller had seen.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// The claimed name belongs to another run. **Answer with that run.**
    #[error("{claim:?} was claimed by run {by}")]
    Claimed {
        /// The name.
        claim: String,
        /// Whose it is.
        by: RunId,
    },
    /// Another engine took over. **Stop.**
    #[error("another engine took over this log")]
    Fenced,
    /// The disk is full. **Take no more pushes; try this append again later.**
    #[error("the disk is full while appending to the log")]
    Full,
    /// It may have happened: the disk did not say. **Stop; a restart will know.** Appending the same event ids again is safe.
    #[error("the log could not be made durable, so the events may or may not be recorded")]
    Unknown {
        /// What the disk said.
        #[source]
        source: BoxError,
    },
    /// The events can't be recorded as they are: too large, none, or the log is read-only. **Fix the caller.**
    #[error("the events can't be recorded: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// The log is damaged. **Stop; page a person.**
    #[error("the log is damaged: {reason}")]
    Corrupt {
        /// Where and how.
        reason: String,
    },
}

/// Why the store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A record is there and can't be read. **Stop this run, and no other.**
    #[error("run {run_id}, event {seq}: {reason}")]
    Unreadable {
        /// Whose history is broken.
        run_id: RunId,
        /// The place of the record.
        seq: u64,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The disk refused.
    #[error("could not read {doing}")]
    Backend {
        /// What was being done.
        doing: String,
        /// What the disk said.
        #[source]
        source: BoxError,
    },
}

/// Why a store takes no new runs, while it still records the ones that it has. **Make room.**
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the disk of {place} is low: {} MiB are free, and new runs are taken from {} MiB on; what is running is \
     recorded to its end. Free some space and ask again", free_bytes >> 20, needed_bytes.div_ceil(1 << 20)
)]
pub struct Low {
    /// What is on the disk.
    pub place: String,
    /// How much is free, in bytes.
    pub free_bytes: u64,
    /// How much must be, in bytes.
    pub needed_bytes: u64,
}

/// An opaque place in the log: "everything up to here was seen". Only a store makes or reads one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cursor(pub String);

impl Cursor {
    /// Returns the cursor before the first event.
    pub fn start() -> Self {
        Self::default()
    }
}

/// Which runs are asked for, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunQuery {
    /// Only runs of this app.
    pub app: Option<String>,
    /// Only runs in this state.
    pub state: Option<RunState>,
    /// Only runs to which something is owed.
    pub open: bool,
    /// Only runs older than this one.
    pub before: Option<RunId>,
    /// At most this many; 0 means 100.
    pub limit: usize,
}

/// What remembers. Nothing is acknowledged, or shown to a reader, before it is durable.
#[async_trait]
pub trait EventStore: Send + Sync + fmt::Debug + 'static {
    /// Records events of one run, all or none, and returns them with their places once they are durable.
    async fn append(&self, append: Append) -> Result<Vec<Envelope>, AppendError>;

    /// Tells whether there is room for a new run, from its first event to its last. Plenty, unless told otherwise.
    async fn admits(&self) -> Result<(), Low> {
        Ok(())
    }

    /// Returns the history of a run in order; empty when there is no such run.
    async fn events(&self, run_id: RunId) -> Result<Vec<Envelope>, ReadError>;

    /// Returns runs in one line each, newest first.
    async fn runs(&self, query: RunQuery) -> Result<Vec<RunSummary>, ReadError>;

    /// Returns one run in one line.
    async fn run(&self, run_id: RunId) -> Result<Option<RunSummary>, ReadError>;

    /// Returns every run to which something is owed, oldest first.
    async fn open_runs(&self) -> Result<Vec<RunId>, ReadError>;

    /// Returns what a lane serves; an empty lane when nothing was ever deployed to it.
    async fn lane(&self, lane: &LaneId) -> Result<Lane, ReadError>;

    /// Returns every lane that has a run.
    async fn lanes(&self) -> Result<Vec<(LaneId, Lane)>, ReadError>;

    /// Returns the run that claimed this name.
    async fn claimed(&self, claim: &str) -> Result<Option<RunId>, ReadError>;

    /// Returns the place before the last so many events; 0: the end. A store that can't tell says the beginning, from
    /// where it takes longer.
    async fn near_end(&self, events: u64) -> Cursor {
        let _ = events;
        Cursor::start()
    }

    /// Follows the log from a cursor on: what is recorded already, then what comes, each event once, in
    /// the order of the log. Ends when the store closes.
    fn follow(&self, from: Cursor) -> BoxStream<'static, Result<(Cursor, Envelope), ReadError>>;

    /// Returns the identity of this log. Containers carry it, so that two logs never sweep each other's.
    fn log_id(&self) -> Uuid;

    /// Waits until the log can take no more appends, and says why. Never returns while all is well.
    async fn failed(&self) -> String;
}

/// A place for what a stage prints.
pub trait OutputLog: Send + Sync + fmt::Debug + 'static {
    /// Opens the output of an attempt, empty: what an earlier engine wrote to it is replaced.
    fn open(&self, run_id: RunId, name: &str, attempt: u32) -> Result<Box<dyn OutputWriter>, BoxError>;
}

/// The output of one attempt.
pub trait OutputWriter: Send + fmt::Debug {
    /// Adds a line, without its end.
    fn line(&mut self, text: &str) -> Result<(), BoxError>;

    /// Makes the output durable and returns how to tell that it is whole.
    fn finish(&mut self) -> Result<OutputRef, BoxError>;
}

/// A handle for the output of one attempt; clones write to the same place.
#[derive(Clone, Debug)]
pub struct Output(Arc<Mutex<Box<dyn OutputWriter>>>);

impl Output {
    /// Returns a handle on a writer.
    pub fn new(writer: Box<dyn OutputWriter>) -> Self {
        Self(Arc::new(Mutex::new(writer)))
    }

    /// Adds a line. A disk that refuses is logged and not fatal: output is not an event.
    pub fn line(&self, text: &str) {
        if let Err(error) = self.0.lock().unwrap_or_else(PoisonError::into_inner).line(text) {
            tracing::warn!(error, "a line of output could not be written");
        }
    }

    /// Makes the output durable.
    pub fn finish(&self) -> Option<OutputRef> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .finish()
            .inspect_err(|error| tracing::warn!(error, "the output could not be made durable"))
            .ok()
    }
}

/// One attempt at a stage, with all that it needs.
#[derive(Clone, Debug)]
pub struct Order {
    /// The run as it was when the intent was recorded.
    pub run: Arc<Run>,
    /// What to do.
    pub stage: Stage,
    /// Which try, from 1.
    pub attempt: u32,
    /// The key under which it is done once.
    pub key: EffectKey,
    /// When it is out of time, in milliseconds since 1970. The engine enforces it; stages that can give
    /// evidence stop by themselves a little earlier.
    pub deadline_ms: u64,
    /// Whose objects these are.
    pub log_id: Uuid,
}

/// One attempt at a rollback, with all that it needs.
#[derive(Clone, Debug)]
pub struct RollbackOrder {
    /// The run whose deploy is undone.
    pub run: Arc<Run>,
    /// The run that made the release that is gone back to: how it was configured, should its container be gone.
    pub former: Option<Arc<Run>>,
    /// Which try, from 1.
    pub attempt: u32,
    /// The key of this attempt.
    pub key: EffectKey,
    /// When it is out of time, in milliseconds since 1970.
    pub deadline_ms: u64,
    /// Whose objects these are.
    pub log_id: Uuid,
}

/// One attempt at a notice, with all that it needs.
#[derive(Clone, Debug)]
pub struct NoticeOrder {
    /// The run that the notice is about.
    pub run: Arc<Run>,
    /// Which notice.
    pub notice: NoticeId,
    /// Which try, from 1.
    pub attempt: u32,
    /// The same for every try, so that the receiver can drop repeats.
    pub key: EffectKey,
}

/// What became of an effect whose engine died.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// It had not begun, or left nothing: do it now.
    NotStarted,
    /// It is still going on: follow it.
    Running,
    /// It ended, like this.
    Done(Outcome),
    /// It can't be told; the evidence.
    Unknown(String),
}

impl Probe {
    /// Returns what is recorded of the finding.
    pub const fn found(&self) -> Found {
        match self {
            Self::NotStarted => Found::NotStarted,
            Self::Running => Found::Running,
            Self::Done(_) => Found::Done,
            Self::Unknown(_) => Found::Unknown,
        }
    }
}

/// What must not be swept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Whose objects are looked at; another log's are left alone.
    pub log_id: Uuid,
    /// When this was put together, in milliseconds since 1970. What belongs to a later run stays too.
    pub as_of_ms: u64,
    /// Runs that are open: everything that is theirs stays.
    pub runs: BTreeSet<RunId>,
    /// Containers of releases that serve or are kept warm, by name.
    pub containers: BTreeSet<String>,
    /// Images that can be rolled back to, as `repository@digest`.
    pub images: BTreeSet<String>,
    /// True: nothing is removed, and what would be is told.
    pub dry: bool,
}

/// What acts. At-least-once is the contract: look before you make, name things after the key, take
/// "already there" for success.
///
/// Futures are dropped when the run is cancelled or out of time; [`undo`](Self::undo) follows and removes what
/// they left.
#[async_trait]
pub trait StageExecutor: Send + Sync + fmt::Debug + 'static {
    /// Does an attempt whose intent is durable.
    async fn execute(&self, order: &Order, output: &Output) -> Outcome;

    /// Says what became of an attempt whose engine died. An error is the lack of an answer.
    async fn probe(&self, order: &Order) -> Result<Probe, String>;

    /// Follows an attempt that a probe found running, to its end.
    async fn attach(&self, order: &Order, output: &Output) -> Outcome;

    /// Stops an attempt and removes what it left. Doing it twice is doing it once.
    async fn undo(&self, order: &Order) -> Result<(), String>;

    /// Undoes a deploy, in reverse order, and proves that the former release serves.
    async fn rollback(&self, order: &RollbackOrder, output: &Output) -> RollbackOutcome;

    /// Sends a notice and returns what the receiver said.
    async fn notify(&self, order: &NoticeOrder) -> Result<String, NotSent>;

    /// Removes what nobody owns any more and returns a line for each thing removed; a dry sweep removes nothing.
    async fn sweep(&self, keep: &Keep) -> Result<Vec<String>, String>;
}

/// What time it is, and what is called after it.
#[async_trait]
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Returns the wall clock, in milliseconds since 1970.
    fn now_ms(&self) -> u64;

    /// Waits until the wall clock shows this, in milliseconds since 1970. Never returns early.
    async fn sleep_until(&self, at_ms: u64);

    /// Returns a UUID v7 that nobody has yet. A clock that is simulated makes them from its seed, so that one
    /// seed is one history.
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// How long the machine's own clock is believed, in milliseconds: what a sleeper notices late when somebody
/// sets it on.
const LOOK_AGAIN_MS: u64 = 30_000;

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    async fn sleep_until(&self, at_ms: u64) {
        // A wall clock can be set back while we sleep, or on, and a machine can be suspended: look again until
        // it is really time.
        loop {
            match at_ms.checked_sub(self.now_ms()) {
                None | Some(0) => return,
                Some(left) => {
                    tokio::time::sleep(std::time::Duration::from_millis(left.min(LOOK_AGAIN_MS))).await;
                }
            }
        }
    }
}
