//! Tells the forges of the apps how the runs of their commits stand, from the log.
//!
//! ```text
//! log ──follower──▶ which runs moved ──one teller an app──▶ run as it is now ▶ Standing ▶ forge
//!                        │                                        │ acknowledged
//!                        └──────────────▶ Book ◀──────────────────┘──keeper──▶ DATA/statuses.json
//! ```
//!
//! What is told is read from the run when it is told, never from what moved it: whatever happened meanwhile, only the
//! latest counts, and a restart and a slow forge are one path. Nobody waits for a forge but its own teller.
//!
//! **Invariant:** nothing here is recorded in the log, and no run ends otherwise for it.

mod book;
mod follower;
mod keeper;
mod pace;
mod standing;
mod teller;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use landfall_engine::core::ledger::{Forge, Ledger};
use landfall_engine::core::run::RunId;
use landfall_engine::ports::{Clock, EventStore};
use landfall_stages::forge::Forges;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa::ToSchema;

use book::Book;
pub use pace::Pace;

/// What it takes to tell forges.
#[derive(Debug)]
pub struct Parts {
    /// Where the runs are.
    pub store: Arc<dyn EventStore>,
    /// Which app is on which forge.
    pub ledger: watch::Receiver<Arc<Ledger>>,
    /// What speaks to them.
    pub forges: Forges,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The data folder.
    pub data: PathBuf,
    /// Where people reach this server, for links. None: statuses have none.
    pub public_url: Option<String>,
    /// How soon a forge that gives no answer is asked again.
    pub pace: Pace,
    /// Ends it all.
    pub stop: CancellationToken,
}

/// How it stands with telling the forge of an app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusReport {
    /// How many runs have moved and were not told yet.
    pub waiting: usize,
    /// What went wrong last, until something goes right again.
    pub problem: Option<StatusProblem>,
}

/// Why a forge does not know how a run stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusProblem {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Which run.
    pub run: RunId,
    /// What the forge said, or what is missing here.
    pub reason: String,
    /// True: the forge is not asked again about this; false: it is.
    pub gave_up: bool,
}

/// Forges are being told. A default one tells nobody.
#[derive(Clone, Debug, Default)]
pub struct Statuses(Option<Arc<Telling>>);

/// What follower, tellers and keeper share.
#[derive(Debug)]
struct Telling {
    parts: Parts,
    book: Mutex<Book>,
    apps: Mutex<BTreeMap<String, Queue>>,
    /// Wakes the keeper.
    changed: Notify,
    /// The follower and the tellers.
    tasks: TaskTracker,
    /// Ends the keeper, once they have ended.
    is_told: CancellationToken,
    keeping: TaskTracker,
}

/// The runs of one app that have moved.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<RunId>,
    problem: Option<StatusProblem>,
    wake: Arc<Notify>,
}

impl Statuses {
    /// Goes on where the last server on this data folder was, until `stop`.
    pub async fn start(parts: Parts) -> Self {
        let book = Book::open(&parts.data, &*parts.store).await;
        let telling = Arc::new(Telling {
            parts,
            book: Mutex::new(book),
            apps: Mutex::default(),
            changed: Notify::new(),
            tasks: TaskTracker::new(),
            is_told: CancellationToken::new(),
            keeping: TaskTracker::new(),
        });
        // At once: what is history is decided now.
        telling.changed.notify_one();
        telling.keeping.spawn(keeper::keep(Arc::clone(&telling)));
        telling.tasks.spawn(follower::follow(Arc::clone(&telling)));
        Self(Some(telling))
    }

    /// Waits until all has ended that `stop` ends, and is written down.
    pub async fn finished(&self) {
        if let Some(telling) = &self.0 {
            telling.tasks.close();
            telling.tasks.wait().await;
            telling.is_told.cancel();
            telling.keeping.close();
            telling.keeping.wait().await;
        }
    }

    /// Returns how it stands with an app. None: it has no forge.
    pub fn of(&self, app: &str) -> Option<StatusReport> {
        let telling = self.0.as_ref()?;
        telling.forge(app)?;
        let apps = telling.apps();
        let report = apps
            .get(app)
            .map(|queue| StatusReport { waiting: queue.waiting.len(), problem: queue.problem.clone() });
        Some(report.unwrap_or_default())
    }
}

impl Telling {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apps(&self) -> MutexGuard<'_, BTreeMap<String, Queue>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns where the runs of an app are told. None: nowhere.
    fn forge(&self, app: &str) -> Option<Forge> {
        self.parts.ledger.borrow().apps.get(app)?.forge.clone()
    }

    /// Puts a run in its app's queue, and begins with a teller for an app's first.
    fn enqueue(self: &Arc<Self>, app: &str, run: RunId) {
        let mut apps = self.apps();
        let queue = apps.entry(app.to_owned()).or_insert_with(|| {
            self.tasks.spawn(teller::tell(Arc::clone(self), app.to_owned()));
            Queue::default()
        });
        if !queue.waiting.contains(&run) {
            queue.waiting.push_back(run);
        }
        queue.wake.notify_one();
    }
}
