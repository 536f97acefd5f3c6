//! Where the commits of an app come from, and which of its pushes start a run.
//!
//! ```text
//! a forge ──delivery──▶ hooks ─┐            ┌─ filter: branches, tags, paths, [skip ci]
//!                              ├─ the turn ─┤
//! a URL ◀──ls-remote── watch ──┘            └─ engine
//! ```
//!
//! A delivery is quick, and can be lost; looking is slow, and finds everything. Both take the app's turn, so
//! that what is triggered last is what is newest, and both look at the log inside of it.

mod filter;
mod history;
mod look;
pub(crate) mod refs;
mod seen;
mod status;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use landfall_engine::core::ledger::{Registration, Source};
use landfall_stages::git::{Access, GitError};
use landfall_stages::secrets::{MissingSecret, Secrets, VaultError};
use tokio::sync::Notify;

pub(crate) use filter::{Filter, Goes, Pushed};
pub use filter::{PatternError, check_patterns};
pub(crate) use history::{Heard, POLL, last_heard, newest_of_branch};
pub(crate) use look::ASK_DURING_TURN;
pub use status::SourceStatus;
pub use watch::watch;

use refs::{Reference, Sha};
use seen::Seen;

/// Branches whose place is remembered between deliveries; beyond, all are forgotten, and asked for again.
const PLACES_MAX: usize = 10_000;

/// What is known of the apps' sources while the server runs. Nothing of it is missed when it is lost.
#[derive(Debug)]
pub struct Sources {
    data: PathBuf,
    secrets: Secrets,
    /// What each branch was moved to by the last push that we know of.
    places: Mutex<HashMap<(String, Reference), Sha>>,
    /// What the last look at each repository found.
    seen: Mutex<HashMap<String, Seen>>,
    /// Branches that are to be compared with the log whatever was seen of them.
    doubts: Mutex<HashMap<String, BTreeSet<String>>>,
    statuses: Mutex<BTreeMap<String, SourceStatus>>,
    nudges: Mutex<HashMap<String, Arc<Notify>>>,
}

/// Why a repository can't be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Git(#[from] GitError),
}

/// Why a secret has no value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error(transparent)]
    Missing(#[from] MissingSecret),
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl Sources {
    /// Returns what is known before anything was looked at.
    pub fn new(data: &Path, secrets: Secrets) -> Self {
        Self {
            data: data.to_owned(),
            secrets,
            places: Mutex::default(),
            seen: Mutex::default(),
            doubts: Mutex::default(),
            statuses: Mutex::default(),
            nudges: Mutex::default(),
        }
    }

    /// Returns the value of a secret of an app.
    pub(crate) fn secret(&self, app: &str, name: &str) -> Result<String, SecretError> {
        Ok(self.secrets.for_app(app, None)?.get(name)?.to_owned())
    }

    /// Returns what opens the repository of an app.
    pub(crate) fn access(&self, app: &str, registration: &Registration) -> Result<Access, AccessError> {
        match &registration.source {
            Source::Git { url, credential: Some(name) } => {
                Ok(Access::with(app, url, &self.secret(app, name)?, &self.data)?)
            }
            Source::Git { credential: None, .. } | Source::Push => Ok(Access::own()),
        }
    }

    /// Returns how it stands with the looking at an app's repository. None: it is not behind a URL, or was not looked
    /// at yet.
    pub fn status(&self, app: &str) -> Option<SourceStatus> {
        locked(&self.statuses).get(app).cloned()
    }

    /// Has an app's repository looked at now.
    pub(crate) fn look_soon(&self, app: &str) {
        self.nudge(app).notify_one();
    }

    /// Has a branch compared with the log now, whatever was seen of it before.
    pub(crate) fn look_again(&self, app: &str, branch: &str) {
        locked(&self.doubts).entry(app.to_owned()).or_default().insert(branch.to_owned());
        self.look_soon(app);
    }

    /// Returns what a branch was moved to by the last push that we know of.
    pub(crate) fn place(&self, app: &str, reference: &Reference) -> Option<Sha> {
        locked(&self.places).get(&(app.to_owned(), reference.clone())).cloned()
    }

    /// Notes what a branch was moved to. None: it is gone.
    pub(crate) fn moved(&self, app: &str, reference: &Reference, sha: Option<&Sha>) {
        let mut places = locked(&self.places);
        let key = (app.to_owned(), reference.clone());
        match sha {
            None => drop(places.remove(&key)),
            Some(sha) => {
                if places.len() >= PLACES_MAX {
                    places.clear();
                }
                places.insert(key, sha.clone());
            }
        }
    }

    fn nudge(&self, app: &str) -> Arc<Notify> {
        Arc::clone(locked(&self.nudges).entry(app.to_owned()).or_default())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
