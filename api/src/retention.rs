//! Gives up what is old: what closed runs printed, and what a sweep finds that nobody needs.
//!
//! One way for a server and for a command that has the folder to itself. Which runs are old enough is the engine's
//! to say; it never names a run that is open or parked, or whose release serves or can be rolled back to.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use landfall_engine::core::run::RunId;
use landfall_engine::ports::EventStore;
use landfall_engine::retention::{Policy, prunable};
use landfall_engine::{EngineError, Swept};
use landfall_store::OutputDir;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Outputs that are younger are kept, unless told otherwise: a month is how far back people look.
pub const OLDER_THAN: &str = "30d";

/// So many of the newest closed runs of each app are kept, unless told otherwise: an app that is deployed twice a
/// year has something to look at, too.
pub const KEEP: usize = 10;

/// How long one request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Within {
    /// The outputs.
    pub outputs: Duration,
    /// All of it: the sweep comes behind the outputs and has what is left.
    pub all: Duration,
}

impl Default for Within {
    /// An answer is due within a minute, and the end of an output or of the look into the log comes on top.
    fn default() -> Self {
        Self { outputs: Duration::from_secs(20), all: Duration::from_secs(50) }
    }
}

/// What is to be given up; what `POST /v1/prune` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PruneRequest {
    /// Only runs that have not moved for so long: `30d`.
    pub older_than: String,
    /// So many of the newest closed runs of each app and environment are kept, however old they are.
    pub keep: usize,
    /// Only of these runs. Default: of all that are old enough.
    #[schema(value_type = Option<Vec<uuid::Uuid>>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<BTreeSet<RunId>>,
    /// Only runs before this one: where the report before this request stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<RunId>,
    /// What has a copy, to be told whoever asks for an output later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
    /// Nothing is removed; what would be is told.
    pub dry_run: bool,
}

impl Default for PruneRequest {
    fn default() -> Self {
        Self {
            older_than: OLDER_THAN.into(),
            keep: KEEP,
            runs: None,
            before: None,
            archive: None,
            dry_run: false,
        }
    }
}

/// What was given up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PruneReport {
    /// Nothing was removed; this is what would be.
    pub dry_run: bool,
    /// The runs whose outputs went, newest first.
    pub runs: Vec<PrunedRun>,
    /// What else went: images, containers, volumes, networks and work folders that nobody needs.
    pub swept: Vec<String>,
    /// Outputs that could not be given up, and why. The next time goes on.
    pub unfinished: Vec<String>,
    /// Why the sweep of what nobody needs is not finished. The next one goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep_unfinished: Option<String>,
    /// There was no time for all of it: ask again, for what is before [`until`](Self::until).
    pub more: bool,
    /// The last run that was looked at. Where there is no time for the outputs, the sweep waits for the last request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<RunId>,
}

/// A run whose outputs went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PrunedRun {
    /// The run.
    pub run_id: RunId,
    /// How many outputs.
    pub outputs: usize,
    /// How long they were together, in bytes.
    pub bytes: u64,
}

/// Returns a span of time in milliseconds; what is wrong with it otherwise.
///
/// # Errors
///
/// A text for whoever gave it.
pub fn span_ms(text: &str) -> Result<u64, String> {
    let span: Duration = humantime::parse_duration(text)
        .map_err(|error| format!("{text:?} is no span of time such as 30d: {error}"))?;
    Ok(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

/// Gives up what is old, for as long as there is time. `older_than_ms` is the request's own, checked.
///
/// # Errors
///
/// [`EngineError`] when the log can't tell what is needed: nothing was removed then.
pub async fn prune(
    store: &dyn EventStore,
    outputs: &OutputDir,
    now_ms: u64,
    older_than_ms: u64,
    request: &PruneRequest,
    within: Within,
    sweep: impl AsyncFnOnce(bool) -> Result<Swept, EngineError>,
) -> Result<PruneReport, EngineError> {
    let PruneRequest { keep, runs, before, archive, dry_run, .. } = request;
    let began = Instant::now();
    let mut report = PruneReport { dry_run: *dry_run, until: *before, ..PruneReport::default() };
    let old = prunable(store, now_ms, Policy { older_than_ms, keep: *keep }).await?;
    let is_wanted = |run: &RunId| {
        runs.as_ref().is_none_or(|runs| runs.contains(run)) && before.is_none_or(|before| *run < before)
    };
    for run_id in old.into_iter().filter(is_wanted) {
        // Not before the first: whoever asks again must come to an end.
        if report.until != *before && began.elapsed() >= within.outputs {
            report.more = true;
            return Ok(report);
        }
        report.until = Some(run_id);
        if let Err(why) = is_as_said(store, outputs, run_id).await {
            report.unfinished.push(format!("the outputs of run {run_id}: {why}"));
            continue;
        }
        match outputs.prune(run_id, now_ms, archive.clone(), *dry_run).await {
            Ok(None) => {}
            Ok(Some(pruned)) => {
                let bytes = pruned.bytes();
                report.runs.push(PrunedRun { run_id, outputs: pruned.outputs.len(), bytes });
            }
            Err(error) => report.unfinished.push(format!("the outputs of run {run_id}: {error}")),
        }
    }
    // A sweep that is dropped has done a part of its work, as one that its engine's limit or a crash ends: each thing is
    // removed by itself, nothing that a run needs is among them, and the next sweep begins with what is there then.
    let left = within.all.saturating_sub(began.elapsed());
    report.sweep_unfinished = match tokio::time::timeout(left, sweep(*dry_run)).await {
        Ok(Ok(Swept { removed, unfinished })) => {
            report.swept = removed;
            unfinished
        }
        // What went before it is told all the same.
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => {
            report.more = true;
            Some(format!("there was no time to finish it in this request ({left:.0?})"))
        }
    };
    Ok(report)
}

/// Tells whether what a run printed is what its events say: what is not is evidence, and stays.
async fn is_as_said(store: &dyn EventStore, outputs: &OutputDir, run_id: RunId) -> Result<(), String> {
    let events = store.events(run_id).await.map_err(|error| error.to_string())?;
    let differing = outputs.differing(run_id, &events).await.map_err(|error| error.to_string())?;
    match differing.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "{} is not what the log says that was printed: it is evidence, and not pruned; move it away first",
            differing.join(", ")
        )),
    }
}
