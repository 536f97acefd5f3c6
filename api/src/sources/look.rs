//! One look at a repository behind a URL: what was pushed there and has no run is triggered.
//!
//! **Between a delivery and a look nobody wins by chance.** The repository is asked outside of the app's turn,
//! since that may take long; inside of it the log is looked at again, and if the app has a run that it had not
//! before the asking, then what was read may be old, and is read anew.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use landfall_engine::EngineError;
use landfall_engine::core::command::{Push, Rejected};
use landfall_engine::core::event::Commit;
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::ledger::{Registration, Source};
use landfall_engine::core::run::RunId;
use landfall_engine::ports::{AppendError, ReadError};
use landfall_stages::git::{self, Access, GitError};
use tokio::time::error::Elapsed;
use uuid::Uuid;

use super::filter::{Filter, PatternError, Pushed};
use super::history::{Heard, POLL, is_push, last_heard, newest_of_app};
use super::refs::Reference;
use super::seen::{Found, Seen};
use super::{AccessError, locked};
use crate::server::App;

/// How long a repository may take to name its branches, from the first packet on.
const ASK_TIMEOUT: Duration = Duration::from_secs(60);
/// How long while others wait for their turn, and a forge for its answer: they give up after ten seconds.
pub(crate) const ASK_DURING_TURN: Duration = Duration::from_secs(5);
/// How long it may take to hand out one commit.
const FETCH_TIMEOUT: Duration = Duration::from_secs(300);

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// All that there is has a run, or is to have none.
    Settled,
    /// There is no room for a run.
    NoRoom,
    /// Somebody else triggered meanwhile.
    Outrun,
}

/// Why a look came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookError {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error("the repository did not answer in time")]
    Slow(#[from] Elapsed),
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("could not read the log")]
    Log(#[from] ReadError),
    #[error("could not trigger a run")]
    Engine(#[from] EngineError),
}

/// Looks at the repository of an app.
pub(super) async fn look(app: &App, name: &str, registration: &Registration) -> Result<Looked, LookError> {
    let Source::Git { url, .. } = &registration.source else { return Ok(Looked::Settled) };
    let filter = Filter::of(registration)?;
    let access = app.sources.access(name, registration)?;
    let newest = newest_of_app(&**app.engine.store(), name).await?;
    // Before the asking: a doubt that comes later is about what is later.
    let mut doubts =
        Doubts { app, name, branches: locked(&app.sources.doubts).remove(name).unwrap_or_default() };
    let heads = tokio::time::timeout(ASK_TIMEOUT, git::remote_heads(url, &access)).await??;
    let mut before = known(app, name);
    before.heads.retain(|branch, _| !doubts.branches.contains(branch));
    let (mut seen, found) = before.compare(url, &registration.branches, &filter, &heads);
    let mut looking = Looking { app, name, url, filter: &filter, access: &access, newest };
    let mut looked = Ok(Looked::Settled);
    for found in found {
        match looking.settle(&found).await {
            Ok(Looked::Settled) => {
                seen.heads.insert(found.branch, found.sha.to_string());
            }
            Ok(Looked::Outrun) => {
                looked = Ok(Looked::Outrun);
                break;
            }
            // What is wrong with one branch is no reason to forget the others.
            other => looked = other,
        }
    }
    keep(app, name, &before, seen);
    if matches!(looked, Ok(Looked::Settled)) {
        doubts.branches.clear();
    }
    looked
}

/// The doubts that a look is to settle; what it did not get to is for the next one.
struct Doubts<'a> {
    app: &'a App,
    name: &'a str,
    branches: BTreeSet<String>,
}

impl Drop for Doubts<'_> {
    fn drop(&mut self) {
        if !self.branches.is_empty() {
            let branches = std::mem::take(&mut self.branches);
            locked(&self.app.sources.doubts).entry(self.name.to_owned()).or_default().extend(branches);
        }
    }
}

fn known(app: &App, name: &str) -> Seen {
    let mut all = locked(&app.sources.seen);
    all.entry(name.to_owned()).or_insert_with(|| Seen::load(&app.data, name)).clone()
}

fn keep(app: &App, name: &str, before: &Seen, seen: Seen) {
    if *before == seen {
        return;
    }
    if let Err(error) = seen.save(&app.data, name) {
        tracing::warn!(app = name, %error, "what was seen of the repository could not be kept for the next start");
    }
    locked(&app.sources.seen).insert(name.to_owned(), seen);
}

/// A look that is going on.
struct Looking<'a> {
    app: &'a App,
    name: &'a str,
    url: &'a str,
    filter: &'a Filter,
    access: &'a Access,
    /// The app's newest run when the repository was asked, or by us since.
    newest: Option<RunId>,
}

impl Looking<'_> {
    /// Triggers a head, unless it has a run or is to have none.
    async fn settle(&mut self, found: &Found) -> Result<Looked, LookError> {
        let Self { app, name, .. } = *self;
        let store = &**app.engine.store();
        let heard = last_heard(store, name, &found.branch, found.sha.as_str(), is_push).await?;
        let Heard::No { before } = heard else { return Ok(Looked::Settled) };
        let reading = self.read(found, before.as_deref());
        let Some(push) = tokio::time::timeout(FETCH_TIMEOUT, reading).await?? else {
            return Ok(Looked::Settled);
        };
        let _turn = app.git.turn(name).await;
        if newest_of_app(store, name).await? != self.newest {
            return Ok(Looked::Outrun);
        }
        let claim = format!("poll:{name}:{}:{}:{}", found.branch, found.sha, Uuid::new_v4());
        match app.engine.trigger(push, POLL, [claim.into()]).await {
            Ok(triggered) => {
                let (branch, sha) = (&found.branch, found.sha.as_str());
                tracing::info!(app = name, branch, sha, run = %triggered.run_id, "found by looking: the run begins");
                self.newest = Some(triggered.run_id);
                app.sources.moved(name, &Reference::Branch(branch.clone()), Some(&found.sha));
                Ok(Looked::Settled)
            }
            Err(EngineError::Rejected(reason @ Rejected::Held { .. })) => {
                tracing::info!(app = name, branch = found.branch, %reason, "this head is not deployed");
                Ok(Looked::Settled)
            }
            Err(EngineError::Busy(_) | EngineError::Low(_) | EngineError::Append(AppendError::Full)) => {
                Ok(Looked::NoRoom)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Brings a head here and returns what is asked of the engine for it. None: its filters say no.
    async fn read(&self, found: &Found, before: Option<&str>) -> Result<Option<Push>, GitError> {
        let sha = found.sha.as_str();
        let repository = git::at_hand(&self.app.data, self.url, sha, self.access).await?;
        let message = git::message(&repository, sha).await?;
        let paths = self.changed(&repository, before, sha).await?;
        let reference = Reference::Branch(found.branch.clone());
        let pushed = Pushed { reference: &reference, message: Some(&message), paths: paths.as_deref() };
        if let Err(skip) = self.filter.admit(pushed) {
            tracing::info!(app = self.name, branch = found.branch, sha, %skip, "this head starts no run");
            return Ok(None);
        }
        let commit = git::commit(&repository, sha).await?;
        Ok(Some(Push {
            lane: LaneId { app: self.name.to_owned(), env: found.environment.clone() },
            commit: Commit { branch: Some(found.branch.clone()), ..commit },
            repository: self.url.to_owned(),
            trigger: POLL.into(),
            release_hold: false,
        }))
    }

    async fn changed(
        &self,
        repository: &Path,
        before: Option<&str>,
        after: &str,
    ) -> Result<Option<Vec<String>>, GitError> {
        match before.filter(|_| self.filter.looks_at_paths()) {
            Some(before) => git::changed_paths(repository, before, after).await,
            None => Ok(None),
        }
    }
}
