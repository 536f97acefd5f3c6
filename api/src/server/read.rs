//! Questions that are answered at once: is it well, what runs are there, what is live.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use landfall_engine::Limits;
use landfall_engine::audit::{Replay, replay};
use landfall_engine::core::lane::{Hold, Lane, LaneId, Pause, Release};
use landfall_engine::core::run::{RunId, RunState};
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::RunQuery;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::App;
use super::extract::{Id, Params};
use super::live::no_such_run;
use crate::error::ApiError;

/// A page of runs is at most this long.
const LIMIT_MAX: usize = 1_000;
/// A page of runs when nobody says how long.
const LIMIT_USUAL: usize = 100;

impl App {
    /// Returns why nothing can be recorded any more, if that is so.
    pub(crate) fn halted(&self) -> Option<String> {
        let store = self.engine.store();
        self.engine.halted().now_or_never().or_else(|| store.failed().now_or_never())
    }
}

/// `GET /healthz`: whether the log takes events. Needs no token: load balancers have none.
pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    match app.halted() {
        None if app.stop.is_cancelled() => {
            let stopping = serde_json::json!({ "status": "stopping" });
            (StatusCode::SERVICE_UNAVAILABLE, Json(stopping)).into_response()
        }
        None => Json(serde_json::json!({ "status": "ok" })).into_response(),
        Some(reason) => {
            let failed = serde_json::json!({ "status": "failed", "reason": reason });
            (StatusCode::SERVICE_UNAVAILABLE, Json(failed)).into_response()
        }
    }
}

/// What `GET /v1/server` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// Version of the server.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// The log that it works on.
    pub log_id: Uuid,
    /// How many events a run may have before it begins no more stages.
    #[serde(default = "run_events_max")]
    pub run_events_max: u64,
}

/// What a server has that does not say.
fn run_events_max() -> u64 {
    Limits::default().run_events_max
}

/// `GET /v1/server`: who answers, and for which log.
pub(super) async fn server(State(app): State<Arc<App>>) -> Json<ServerInfo> {
    Json(ServerInfo {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        log_id: app.engine.store().log_id(),
        run_events_max: app.engine.limits().run_events_max,
    })
}

/// What `GET /v1/runs` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WhichRuns {
    app: Option<String>,
    state: Option<RunState>,
    #[serde(default)]
    open: bool,
    before: Option<RunId>,
    limit: Option<usize>,
}

/// A page of runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunPage {
    /// The runs, newest first.
    pub runs: Vec<RunSummary>,
    /// What to give as `before` for the next page. None: this is the last one.
    pub next: Option<RunId>,
}

/// `GET /v1/runs`: runs in a line each, newest first.
pub(super) async fn runs(
    State(app): State<Arc<App>>,
    Params(which): Params<WhichRuns>,
) -> Result<Json<RunPage>, ApiError> {
    let limit = which.limit.unwrap_or(LIMIT_USUAL).clamp(1, LIMIT_MAX);
    let WhichRuns { app: of_app, state, open, before, .. } = which;
    // One more than wanted tells whether there is a next page.
    let query = RunQuery { app: of_app, state, open, before, limit: limit + 1 };
    let mut runs = app.engine.store().runs(query).await?;
    let has_more = runs.len() > limit;
    runs.truncate(limit);
    let next = runs.last().filter(|_| has_more).map(|run| run.id);
    Ok(Json(RunPage { runs, next }))
}

#[derive(Debug, Serialize)]
pub(super) struct RunView {
    summary: Option<RunSummary>,
    #[serde(flatten)]
    replay: Replay,
}

/// `GET /v1/runs/{id}`: the run in a line, folded, and as the execution table.
pub(super) async fn run(State(app): State<Arc<App>>, Id(run_id): Id) -> Result<Json<RunView>, ApiError> {
    let store = app.engine.store();
    let history = store.events(run_id).await?;
    if history.is_empty() {
        return Err(no_such_run(run_id));
    }
    Ok(Json(RunView { summary: store.run(run_id).await?, replay: replay(&history, None) }))
}

/// An app in an environment: what it serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppLine {
    /// Name of the app.
    pub app: String,
    /// Name of the environment.
    pub env: String,
    /// The release that serves.
    pub live: Option<Release>,
    /// The releases before it, newest first.
    pub former: Vec<Release>,
    /// Commits that are not deployed again until somebody releases the hold.
    pub held: BTreeMap<String, Hold>,
    /// The run that deploys now.
    pub deploying: Option<RunId>,
    /// Set while no run may begin to deploy.
    pub paused: Option<Pause>,
}

impl AppLine {
    /// Returns how a lane stands.
    pub(super) fn of(LaneId { app, env }: LaneId, lane: Lane) -> Self {
        let Lane { live, former, held, holder: deploying, paused, .. } = lane;
        Self { app, env, live, former, held, deploying, paused }
    }

    /// Returns the lane, as far as it is told.
    pub(crate) fn into_lane(self) -> (LaneId, Lane) {
        let Self { app, env, live, former, held, deploying: holder, paused } = self;
        (LaneId { app, env }, Lane { live, former, held, holder, paused, ..Lane::default() })
    }
}

/// What `GET /v1/apps` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppList {
    /// Every app in every environment that had a run.
    pub apps: Vec<AppLine>,
}

/// `GET /v1/apps`: what each app serves.
pub(super) async fn apps(State(app): State<Arc<App>>) -> Result<Json<AppList>, ApiError> {
    let lanes = app.engine.store().lanes().await?;
    let apps = lanes.into_iter().map(|(id, lane)| AppLine::of(id, lane));
    Ok(Json(AppList { apps: apps.collect() }))
}
