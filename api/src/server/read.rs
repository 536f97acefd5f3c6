//! Questions that are answered at once: is it well, what runs are there, what is live.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use landfall_engine::Limits;
use landfall_engine::audit::{Replay, replay};
use landfall_engine::core::event::Envelope;
use landfall_engine::core::lane::{Hold, Lane, LaneId, Pause, Release};
use landfall_engine::core::ledger::ledger_of;
use landfall_engine::core::run::{RunId, RunState};
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::RunQuery;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::describe::{IfNoneMatch, RunPath};
use super::extract::{Id, Params};
use super::live::no_such_run;
use super::{App, AppRequest, etag, page};
use crate::error::ApiError;

impl App {
    /// Returns why nothing can be recorded any more, if that is so.
    pub(crate) fn halted(&self) -> Option<String> {
        let store = self.engine.store();
        self.engine.halted().now_or_never().or_else(|| store.failed().now_or_never())
    }
}

/// What `GET /healthz` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`, `stopping`, or `failed`.
    pub status: String,
    /// Why nothing can be recorded any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `GET /healthz`: whether the log takes events. Needs no token: load balancers have none.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "server",
    security(()),
    responses(
        (status = 200, description = "The log takes events", body = Health),
        (status = 503, description = "It does not, or the server is stopping", body = Health)
    )
)]
pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    let (status, said, reason) = match app.halted() {
        None if app.stop.is_cancelled() => (StatusCode::SERVICE_UNAVAILABLE, "stopping", None),
        None => (StatusCode::OK, "ok", None),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, "failed", Some(reason)),
    };
    (status, Json(Health { status: said.into(), reason })).into_response()
}

/// What `GET /v1/server` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[utoipa::path(
    get,
    path = "/server",
    tag = "server",
    responses((status = 200, description = "Who answers", body = ServerInfo))
)]
pub(super) async fn server(State(app): State<Arc<App>>) -> Json<ServerInfo> {
    Json(ServerInfo {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        log_id: app.engine.store().log_id(),
        run_events_max: app.engine.limits().run_events_max,
    })
}

/// What `GET /v1/ledger` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LedgerPage {
    /// What was decided about the installation, by whom and when, oldest first.
    pub events: Vec<Envelope>,
}

/// `GET /v1/ledger`: every decision about the installation.
#[utoipa::path(
    get,
    path = "/ledger",
    tag = "server",
    responses((status = 200, description = "Every decision about the installation", body = LedgerPage))
)]
pub(super) async fn ledger(State(app): State<Arc<App>>) -> Result<Json<LedgerPage>, ApiError> {
    let store = app.engine.store();
    Ok(Json(LedgerPage { events: store.events(ledger_of(store.log_id())).await? }))
}

/// What `GET /v1/runs` takes.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichRuns {
    /// Only runs of this app.
    app: Option<String>,
    /// Only runs in this state.
    #[param(inline)]
    state: Option<RunState>,
    /// Only runs to which something is owed.
    #[serde(default)]
    open: bool,
    /// Only runs older than this one: `next` of the page before.
    #[param(value_type = Option<Uuid>)]
    before: Option<RunId>,
    /// How many at most. Default: 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// A page of runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunPage {
    /// The runs, newest first.
    pub runs: Vec<RunSummary>,
    /// What to give as `before` for the next page. None: this is the last one.
    pub next: Option<RunId>,
}

/// `GET /v1/runs`: runs in a line each, newest first.
#[utoipa::path(
    get,
    path = "/runs",
    tag = "runs",
    params(WhichRuns),
    responses(
        (status = 200, description = "A page of runs", body = RunPage,
            headers(("Link" = Option<String>, description = "The next page, with `rel=\"next\"`, if there is one")))
    )
)]
pub(super) async fn runs(
    State(app): State<Arc<App>>,
    uri: Uri,
    Params(which): Params<WhichRuns>,
) -> Result<Response, ApiError> {
    let limit = page::limit(which.limit)?;
    let WhichRuns { app: of_app, state, open, before, .. } = which;
    // One more than wanted tells whether there is a next page.
    let query = RunQuery { app: of_app, state, open, before, limit: limit + 1 };
    let mut runs = app.engine.store().runs(query).await?;
    let has_more = runs.len() > limit;
    runs.truncate(limit);
    let next = runs.last().filter(|_| has_more).map(|run| run.id);
    let link = page::next(&uri, "before", next.as_ref());
    Ok((link, Json(RunPage { runs, next })).into_response())
}

/// A run: in a line, folded, and as the execution table.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunView {
    /// In a line.
    summary: Option<RunSummary>,
    #[serde(flatten)]
    replay: Replay,
}

/// `GET /v1/runs/{id}`: the run in a line, folded, and as the execution table.
#[utoipa::path(
    get,
    path = "/runs/{id}",
    tag = "runs",
    params(RunPath, IfNoneMatch),
    responses(
        (status = 200, description = "The run", body = RunView,
            headers(("ETag" = String, description = "Changes with each event of the run"))),
        (status = 304, description = "It has not moved since the client looked"),
        (status = 404)
    )
)]
pub(super) async fn run(
    State(app): State<Arc<App>>,
    Id(run_id): Id,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let store = app.engine.store();
    let history = store.events(run_id).await?;
    let last = history.last().ok_or_else(|| no_such_run(run_id))?;
    let tag = etag::of_run(last.seq, &last.hash);
    let tagged = [(header::ETAG, tag.clone())];
    if etag::is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, tagged).into_response());
    }
    let view = RunView { summary: store.run(run_id).await?, replay: replay(&history, None) };
    Ok((tagged, Json(view)).into_response())
}

/// An app in an environment: what it serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
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
    /// Set while no run may deploy.
    #[serde(default)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AppList {
    /// Every app in every environment that had a run.
    pub apps: Vec<AppLine>,
    /// Every app that was made known, whether it had a run or not.
    #[serde(default)]
    pub registered: BTreeMap<String, AppRequest>,
}

/// `GET /v1/apps`: what each app serves.
#[utoipa::path(
    get,
    path = "/apps",
    tag = "apps",
    responses((status = 200, description = "Every app in every environment that had a run", body = AppList))
)]
pub(super) async fn apps(State(app): State<Arc<App>>) -> Result<Json<AppList>, ApiError> {
    let known = app.engine.ledger().borrow().apps.clone();
    let registered = known.into_iter().map(|(app, known)| (app, known.into())).collect();
    Ok(Json(AppList { apps: lines_of(&app, None).await?, registered }))
}

/// Returns what one app serves, or each.
pub(crate) async fn lines_of(app: &App, only: Option<&str>) -> Result<Vec<AppLine>, ApiError> {
    let lanes = app.engine.store().lanes().await?.into_iter();
    let asked_for = lanes.filter(|(lane, _)| only.is_none_or(|only| lane.app == only));
    Ok(asked_for.map(|(id, lane)| AppLine::of(id, lane)).collect())
}
