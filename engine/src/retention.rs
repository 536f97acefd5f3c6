//! Which runs are so old that what they printed may go.
//!
//! Only outputs are ever given up. The log is not: each event's hash covers all before it, so a run that is
//! taken out of the log breaks every proof behind it.
//!
//! **Invariant:** a run that is open or parked, or whose release serves or can be rolled back to, is never here,
//! however old it is.

use std::collections::{BTreeSet, HashMap};

use crate::core::event::Origin;
use crate::core::lane::LaneId;
use crate::core::run::RunId;
use crate::engine::{EngineError, load};
use crate::ports::{EventStore, RunQuery};
use crate::sweep::{deploy_settings, retained};

/// How many runs are looked at a time.
const PAGE: usize = 1_000;

/// What is kept beside what must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A run that moved less than so many milliseconds ago keeps its outputs.
    pub older_than_ms: u64,
    /// So many of the newest closed runs of each app and environment keep theirs, however old they are.
    pub keep: usize,
}

/// Returns the runs whose outputs may go, newest first.
///
/// # Errors
///
/// [`EngineError`] when the log can't tell what is needed: then nothing may go.
pub async fn prunable(
    store: &dyn EventStore,
    now_ms: u64,
    policy: Policy,
) -> Result<Vec<RunId>, EngineError> {
    let needed = needed_runs(store).await?;
    let mut closed: HashMap<LaneId, usize> = HashMap::new();
    let mut prunable = Vec::new();
    let mut before = None;
    loop {
        let page = store.runs(RunQuery { before, limit: PAGE, ..RunQuery::default() }).await?;
        let Some(last) = page.last() else { return Ok(prunable) };
        before = Some(last.id);
        for run in page.iter().filter(|run| !run.open) {
            let newer = closed.entry(run.lane.clone()).or_default();
            let is_recent = *newer < policy.keep;
            *newer += 1;
            // A clock that was set back makes a run young, and never old.
            let is_old = now_ms.saturating_sub(run.updated_ms) >= policy.older_than_ms;
            if is_old && !is_recent && !needed.contains(&run.id) {
                prunable.push(run.id);
            }
        }
    }
}

/// Returns the runs that are open, and those whose releases serve, may be rolled back to, or are about to be live.
async fn needed_runs(store: &dyn EventStore) -> Result<BTreeSet<RunId>, EngineError> {
    let mut needed = BTreeSet::new();
    for (_, lane) in store.lanes().await? {
        let Some(live) = &lane.live else { continue };
        let deploy = deploy_settings(store, live).await?;
        needed.extend(retained(&lane, &deploy).map(|release| release.run));
        needed.extend(lane.holder);
    }
    for run_id in store.open_runs().await? {
        needed.insert(run_id);
        // What an unreadable run refers to can't be known; nobody drives it.
        let Ok(Some((run, _))) = load(store, run_id).await else { continue };
        match &run.origin {
            Origin::Release { release, .. } | Origin::Promotion { release, .. } => {
                needed.insert(release.run);
            }
            Origin::Push { .. } | Origin::Rerun(_) => {}
        }
        needed.extend(run.entry.and_then(|entry| entry.replaces).map(|release| release.run));
    }
    Ok(needed)
}
