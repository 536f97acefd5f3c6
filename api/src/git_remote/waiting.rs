//! Pushes that git has, and whose runs wait for room: a lane was full, or the disk was low.
//!
//! Kept in memory. What waits is in git, and a start compares the branch heads with the log: a crash loses nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use landfall_engine::EngineError;
use landfall_engine::core::lane::LaneId;
use tokio::sync::Notify;

use super::heads::head;
use super::telling::{self, TriggerError};
use crate::server::{App, bare_repository};

/// How often room is asked for while nothing happens: nobody tells when somebody makes room on the disk.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// A branch head whose run is still to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Late {
    /// The head.
    pub(super) sha: String,
    /// The environment that it is deployed to.
    pub(super) env: String,
    /// Who pushed it.
    pub(super) actor: String,
    /// Starts one run at most, however often it is asked.
    pub(super) claim: String,
}

/// The heads that wait, by app and branch.
type Heads = BTreeMap<String, BTreeMap<String, Late>>;

/// The heads whose runs wait for room: one a branch at most, the newest. A branch that is deleted waits no more, so
/// there are never more of them than branches in git.
///
/// Whoever adds or removes one has the app's turn.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    heads: Mutex<Heads>,
    added: Notify,
}

impl Waiting {
    /// Notes a branch's head that was refused for want of room, in the place of the one before it.
    pub(super) fn add(&self, app: &str, branch: &str, late: Late) {
        self.heads().entry(app.to_owned()).or_default().insert(branch.to_owned(), late);
        self.added.notify_one();
    }

    fn get(&self, app: &str, branch: &str) -> Option<Late> {
        self.heads().get(app)?.get(branch).cloned()
    }

    fn remove(&self, app: &str, branch: &str) {
        let mut heads = self.heads();
        let Some(of_app) = heads.get_mut(app) else { return };
        of_app.remove(branch);
        if of_app.is_empty() {
            heads.remove(app);
        }
    }

    fn all(&self) -> Heads {
        self.heads().clone()
    }

    fn heads(&self) -> MutexGuard<'_, Heads> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets what waits of a branch that was deleted, unless it has been pushed again since.
pub(super) async fn forget_deleted(app: &App, name: &str, branch: &str) {
    let _turn = app.git.turns.take(name).await;
    if app.git.waiting.get(name, branch).is_some()
        && matches!(head(&bare_repository(&app.data, name), branch).await, Ok(None))
    {
        app.git.waiting.remove(name, branch);
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
        for (name, heads) in waiting {
            begin_those_of(app, &name, heads).await;
        }
        tokio::select! {
            () = app.git.waiting.added.notified() => {}
            Ok(()) = departures.changed(), if anything => {}
            () = tokio::time::sleep(ASK_AGAIN), if anything => {}
        }
    }
}

/// Asks for the runs of one app.
async fn begin_those_of(app: &App, name: &str, heads: BTreeMap<String, Late>) {
    for (branch, late) in heads {
        // Git is not asked for what would be refused.
        let lane = LaneId { app: name.to_owned(), env: late.env.clone() };
        if app.engine.admits(&lane).await.is_err() {
            continue;
        }
        // From the look at the head to the trigger, no newer push comes between.
        let _turn = app.git.turns.take(name).await;
        if app.git.waiting.get(name, &branch).as_ref() != Some(&late) {
            // A newer push waits in its place.
            continue;
        }
        match ask(app, name, &branch, &late).await {
            Asked::Settled => app.git.waiting.remove(name, &branch),
            Asked::Unanswered | Asked::NoRoom => {}
        }
    }
}

/// What came of asking for a run.
enum Asked {
    /// It began, or is never to begin.
    Settled,
    /// Nobody could tell; it goes on waiting.
    Unanswered,
    /// There is no room.
    NoRoom,
}

async fn ask(app: &App, name: &str, branch: &str, late: &Late) -> Asked {
    let repository = bare_repository(&app.data, name);
    match head(&repository, branch).await {
        Ok(head) if head.as_ref() == Some(&late.sha) => {}
        Ok(_) => {
            tracing::info!(app = name, branch, sha = late.sha, "the branch has moved on: no run begins");
            return Asked::Settled;
        }
        Err(error) => {
            tracing::warn!(app = name, branch, %error, "the head that waits could not be looked at");
            return Asked::Unanswered;
        }
    }
    match telling::trigger(&app.engine, &repository, name, Some(branch), late).await {
        Ok(run) => {
            tracing::info!(app = name, branch, sha = late.sha, %run, "there is room: the run begins");
            Asked::Settled
        }
        Err(TriggerError::Engine(EngineError::Rejected(reason))) => {
            tracing::info!(app = name, branch, sha = late.sha, %reason, "this head is not deployed");
            Asked::Settled
        }
        Err(error) if error.is_no_room() => Asked::NoRoom,
        Err(error) => {
            // The pusher was told that nothing has to be pushed again.
            let error: &dyn std::error::Error = &error;
            tracing::warn!(app = name, branch, sha = late.sha, error, "the head that waits goes on waiting");
            Asked::Unanswered
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late(sha: &str) -> Late {
        Late {
            sha: sha.into(),
            env: "production".into(),
            actor: "ada".into(),
            claim: format!("push of {sha}"),
        }
    }

    #[test]
    fn of_one_branch_only_the_newest_head_waits() {
        let waiting = Waiting::default();
        for sha in ["a", "b", "c"] {
            waiting.add("shop", "main", late(sha));
        }
        waiting.add("shop", "master", late("a"));
        let heads = waiting.all();
        assert_eq!(heads.values().map(BTreeMap::len).sum::<usize>(), 2);
        assert_eq!(heads["shop"]["main"], late("c"));
        waiting.remove("shop", "main");
        waiting.remove("shop", "master");
        assert_eq!(waiting.all(), Heads::default());
    }
}
