//! Pushes that git has, and whose runs wait for room: a lane was full, or the disk was low.
//!
//! Kept in memory. What waits is in git, and a start compares the branch heads with the log: a crash loses nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use landfall_engine::EngineError;
use landfall_engine::core::lane::LaneId;
use tokio::sync::Notify;

use super::catch_up::branch_heads;
use super::telling::{self, TriggerError};
use crate::server::{App, bare_repository};

/// How often room is asked for while nothing happens: nobody tells when somebody makes room on the disk.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// A branch head whose run is still to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Late {
    /// The head.
    pub(super) sha: String,
    /// Who pushed it.
    pub(super) actor: String,
    /// Starts one run at most, however often it is asked.
    pub(super) claim: String,
}

/// App, branch and head: of two pushes to a branch, the one that is heard of last need not be the newer.
type Key = (String, String, String);

/// The heads whose runs wait for room.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    heads: Mutex<BTreeMap<Key, Late>>,
    added: Notify,
}

impl Waiting {
    /// Notes a head that was refused for want of room.
    pub(super) fn add(&self, app: &str, branch: &str, late: Late) {
        self.heads().insert((app.to_owned(), branch.to_owned(), late.sha.clone()), late);
        self.added.notify_one();
    }

    /// Takes a head off, unless another has taken its place.
    fn remove(&self, key: &Key, late: &Late) {
        let mut heads = self.heads();
        if heads.get(key) == Some(late) {
            heads.remove(key);
        }
    }

    fn all(&self) -> BTreeMap<Key, Late> {
        self.heads().clone()
    }

    fn heads(&self) -> MutexGuard<'_, BTreeMap<Key, Late>> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins the runs that wait, each as soon as there is room, until the server stops.
pub async fn trigger_what_waits(app: &App) {
    // Dropped wherever it stands: what the engine has begun to record goes on without it.
    app.stop.run_until_cancelled(begin_when_there_is_room(app)).await;
}

async fn begin_when_there_is_room(app: &App) {
    let mut departures = app.engine.departures();
    loop {
        // Marked before asking: a run that ends meanwhile is a reason to ask again.
        departures.mark_unchanged();
        let waiting = app.git.waiting.all();
        let anything = !waiting.is_empty();
        for (key, late) in waiting {
            if is_settled(app, &key, &late).await {
                app.git.waiting.remove(&key, &late);
            }
        }
        tokio::select! {
            () = app.git.waiting.added.notified() => {}
            Ok(()) = departures.changed(), if anything => {}
            () = tokio::time::sleep(ASK_AGAIN), if anything => {}
        }
    }
}

/// Asks for a run once more, and tells whether that is the last time.
async fn is_settled(app: &App, key: &Key, late: &Late) -> bool {
    let (name, branch, _) = key;
    // Git is not asked for what would be refused.
    if app.engine.admits(&LaneId::production(name)).await.is_err() {
        return false;
    }
    let repository = bare_repository(&app.data, name);
    match branch_heads(&repository).await {
        Ok(heads) if heads.iter().any(|(other, sha)| other == branch && *sha == late.sha) => {}
        Ok(_) => {
            tracing::info!(app = name, branch, sha = late.sha, "the branch has moved on: no run begins");
            return true;
        }
        Err(error) => {
            tracing::warn!(app = name, branch, %error, "the head that waits could not be looked at");
            return false;
        }
    }
    match telling::trigger(&app.engine, &repository, name, branch, late).await {
        Ok(run) => tracing::info!(app = name, branch, sha = late.sha, %run, "there is room: the run begins"),
        Err(error) if error.is_no_room() => return false,
        Err(TriggerError::Engine(EngineError::Stopping)) => return false,
        Err(TriggerError::Engine(EngineError::Rejected(reason))) => {
            tracing::info!(app = name, branch, sha = late.sha, %reason, "this head is not deployed");
        }
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::error!(
                app = name,
                branch,
                sha = late.sha,
                error,
                "the push was not recorded; the next start does"
            );
        }
    }
    true
}
