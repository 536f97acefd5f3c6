//! Leaves nothing behind: what no open run owns, and no release needs, is removed.
//!
//! What to keep is derived from the log, so a sweep after a crash knows as much as one before it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::attempts::unpanicked;
use crate::core::event::Origin;
use crate::core::lane::{Lane, Release};
use crate::core::run::RunId;
use crate::core::settings::DeploySettings;
use crate::engine::{EngineError, Parts, Shared, load};
use crate::ports::{EventStore, Keep};
use crate::sabotaged;

/// How long a sweep may take. Deploys wait for it, so it is less than they have.
const SWEEP_LIMIT: Duration = Duration::from_secs(60);

/// After so long a sweep is followed by another: an executor leaves alone what may be of a run that it was not told
/// of, so the leftovers of one that was over within its first moments are the second sweep's.
const FOLLOW_UP_MS: u64 = 3_000;

/// The pause after a sweep that could not be finished, as when Docker was away: nobody waits for what it leaves.
const AGAIN_MS: u64 = 30_000;

/// The longest time between two sweeps, in milliseconds. A daemon may do what a dead engine asked of it long after
/// the run's last sweep, and a clock that was set back makes leftovers look young: an hour later they are seen.
const SWEEP_EVERY_MS: u64 = 60 * 60 * 1_000;

/// Sweeps at the start and whenever a run has closed, a little later once more, when a former release need not be
/// kept warm any more, and now and then.
pub(crate) async fn sweep_when_due(shared: Arc<Shared>) {
    let mut is_follow_up = false;
    loop {
        let due_ms = match sweep_once(&shared).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "could not tell what to sweep");
                None
            }
        };
        let pause_ms = if is_follow_up { SWEEP_EVERY_MS } else { FOLLOW_UP_MS };
        let then_ms = shared.parts.clock.now_ms().saturating_add(pause_ms);
        let then_ms = if sabotaged!(ForgetLateLeftovers) { u64::MAX } else { then_ms };
        let next_ms = due_ms.map_or(then_ms, |due_ms| due_ms.min(then_ms));
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            () = shared.sweep_due() => is_follow_up = false,
            () = shared.parts.clock.sleep_until(next_ms) => is_follow_up = true,
        }
    }
}

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// A line for each thing that was removed.
    pub removed: Vec<String>,
    /// Why it could not be finished. The next one goes on.
    pub unfinished: Option<String>,
}

/// Sweeps for a log that no engine drives at the moment. Whoever calls this holds the log, so that none begins to.
///
/// # Errors
///
/// [`EngineError`] when the log can't tell what is needed.
pub async fn sweep_at_rest(parts: &Parts, dry: bool) -> Result<Swept, EngineError> {
    Ok(sweep_now(parts, BTreeSet::new, dry).await?.0)
}

/// Sweeps once and returns when the next sweep is due, if one is, in milliseconds since 1970: when a warm release has
/// cooled down, or when this one has to be tried again.
async fn sweep_once(shared: &Shared) -> Result<Option<u64>, EngineError> {
    let _sweeping = shared.sweeping.lock().await;
    let (swept, next_ms) = tokio::select! {
        biased;
        () = shared.stop.cancelled() => return Ok(None),
        swept = sweep_now(&shared.parts, || shared.driven_runs(), false) => swept?,
    };
    swept.removed.iter().for_each(|line| tracing::info!(removed = line, "swept"));
    if let Some(reason) = swept.unfinished {
        tracing::warn!(reason, "the sweep could not be finished; the next one goes on");
        let again_ms = shared.parts.clock.now_ms().saturating_add(AGAIN_MS);
        return Ok(Some(next_ms.map_or(again_ms, |next_ms| next_ms.min(again_ms))));
    }
    Ok(next_ms)
}

/// Sweeps once; `driven` tells which runs are driven at the moment, or about to be.
pub(crate) async fn sweep_now(
    parts: &Parts,
    driven: impl FnOnce() -> BTreeSet<RunId>,
    dry: bool,
) -> Result<(Swept, Option<u64>), EngineError> {
    let (keep, next_ms) = what_to_keep(parts, driven).await?;
    let mut keep = Keep { dry, ..keep };
    if sabotaged!(SkipSweep) {
        return Ok((Swept::default(), next_ms));
    }
    if sabotaged!(SweepOpenRuns) {
        keep.runs.clear();
    }
    let sweeping = tokio::time::timeout(SWEEP_LIMIT, unpanicked(parts.executor.sweep(&keep)));
    let swept = match sweeping.await {
        Ok(Ok(swept)) => swept,
        Ok(Err(panicked)) => Err(panicked),
        Err(_) => Err(format!("it was not done within {SWEEP_LIMIT:?}")),
    };
    let swept = match swept {
        Ok(removed) => Swept { removed, unfinished: None },
        Err(reason) => Swept { removed: Vec::new(), unfinished: Some(reason) },
    };
    Ok((swept, next_ms))
}

async fn what_to_keep(
    parts: &Parts,
    driven: impl FnOnce() -> BTreeSet<RunId>,
) -> Result<(Keep, Option<u64>), EngineError> {
    let store = &*parts.store;
    // The time first, then the driven runs: a run that is not among them was triggered later.
    let as_of_ms = parts.clock.now_ms();
    let mut keep = Keep { log_id: store.log_id(), as_of_ms, runs: driven(), ..Keep::default() };
    keep.runs.extend(store.open_runs().await?);
    for run_id in keep.runs.clone() {
        // An unreadable run keeps what is its own by its id; what it refers to can't be known.
        let Ok(Some((run, _))) = load(store, run_id).await else { continue };
        if let Origin::Release { release, .. } = &run.origin {
            keep.containers.insert(release.candidate.container.clone());
        }
        if let Some(replaced) = run.entry.and_then(|entry| entry.replaces) {
            keep.containers.insert(replaced.candidate.container);
        }
        keep.images.extend(run.image.map(|image| image.by_digest()));
    }
    let now_ms = parts.clock.now_ms();
    let mut next_ms: Option<u64> = None;
    for (_, lane) in store.lanes().await? {
        let warm_until = keep_releases(store, &lane, now_ms, &mut keep).await?;
        next_ms = [next_ms, warm_until].into_iter().flatten().min();
    }
    Ok((keep, next_ms))
}

async fn keep_releases(
    store: &dyn EventStore,
    lane: &Lane,
    now_ms: u64,
    keep: &mut Keep,
) -> Result<Option<u64>, EngineError> {
    let Some(live) = &lane.live else { return Ok(None) };
    let deploy = deploy_settings(store, live).await?;
    keep.containers.insert(live.candidate.container.clone());
    keep.images.extend(retained(lane, &deploy).map(|release| release.image.by_digest()));
    let Some(former) = lane.former.first() else { return Ok(None) };
    // Requests that it was serving at the switch are finished before it stops, however short it is kept warm.
    let warm_until = lane.warm_until_ms(&deploy);
    if warm_until <= now_ms {
        return Ok(None);
    }
    keep.containers.insert(former.candidate.container.clone());
    Ok(Some(warm_until))
}

/// Returns how the release that serves was deployed: its own word counts for its lane.
pub(crate) async fn deploy_settings(
    store: &dyn EventStore,
    live: &Release,
) -> Result<DeploySettings, EngineError> {
    let run = load(store, live.run).await?;
    Ok(run.and_then(|(run, _)| run.settings).map(|settings| settings.deploy).unwrap_or_default())
}

/// Returns the releases that must stay deployable.
pub(crate) fn retained<'a>(lane: &'a Lane, deploy: &DeploySettings) -> impl Iterator<Item = &'a Release> {
    lane.retained(usize::try_from(deploy.retain).unwrap_or(usize::MAX))
}
