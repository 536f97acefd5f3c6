//! How an app does: its traffic by release, and how long its steps usually take.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use landfall_engine::audit::replay;
use landfall_engine::core::event::{Commit, Envelope, Event};
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::run::{RunId, RunState};
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::RunQuery;
use landfall_stages::proxy::{
    COARSE_FOR_MS, COARSE_MS, FINE_FOR_MS, FINE_MS, ProxyError, RouteTraffic, TrafficBucket, in_steps,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::describe::AppPath;
use super::extract::Params;
use super::names::{app_name, env_name};
use super::read::lines_of;
use crate::error::ApiError;
use crate::retention::span_ms;
use crate::usual::{RUNS_MAX, Usual, usual_ms};

/// How far back traffic is told when nobody says so.
const SINCE_USUAL_MS: u64 = FINE_FOR_MS;
/// Runs that are looked through for switches. A run that is older and still moves is one that a person holds up.
const RUNS_LOOKED_AT: usize = 200;
/// Switches that are told; more of them are no plot.
const SWITCHES_MAX: usize = 50;

/// Which environment of an app.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct InEnvironment {
    /// The environment. Default: production.
    env: Option<String>,
}

/// What `GET /v1/apps/{app}/traffic` takes.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichTraffic {
    /// The environment. Default: production.
    env: Option<String>,
    /// How far back, such as `30m`: at most `1d`. Default: `1h`.
    #[param(example = "1h")]
    since: Option<String>,
}

/// Requests that came in a stretch of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrafficPoint {
    /// When it begins, in milliseconds since 1970: a multiple of its length.
    pub at_ms: u64,
    /// How long it is, in milliseconds.
    pub length_ms: u64,
    /// Requests that came. Each stands where it came, and with the release that it was sent to.
    pub requests: u64,
    /// Those that the app answered with 5xx.
    pub server_errors: u64,
    /// Those that the proxy answered with 502, 503 or 504 itself, because the app did not.
    pub unanswered: u64,
    /// Half of the app's answers began within so many milliseconds, to the next bound of the histogram. None: there
    /// were no answers, or it is more than 30 s.
    pub p50_ms: Option<u64>,
    /// As `p50_ms`, for 95 of a hundred.
    pub p95_ms: Option<u64>,
}

/// How the requests to a release went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseTraffic {
    /// The image digest.
    pub digest: String,
    /// The run that put it in place, when the log has it.
    pub run: Option<RunId>,
    /// What it was made from, when the log has it.
    pub commit: Option<Commit>,
    /// The generation of the switch that sent requests its way last.
    pub generation: u64,
    /// Whether it is the one that serves by the log.
    pub live: bool,
    /// Oldest first. A stretch without a request has no point.
    pub points: Vec<TrafficPoint>,
}

/// Where the traffic went at a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SwitchKind {
    /// To the run's own release.
    GoLive,
    /// Back to the release before.
    Rollback,
}

/// A switch of the traffic, by the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Switch {
    /// When it was recorded, in milliseconds since 1970.
    pub at_ms: u64,
    /// Where to.
    pub kind: SwitchKind,
    /// The run that did it.
    pub run: RunId,
    /// The commit of that run.
    pub commit: Commit,
    /// The image digest that serves from then on. None: nothing does.
    pub digest: Option<String>,
}

/// What `GET /v1/apps/{app}/traffic` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// Name of the app.
    pub app: String,
    /// Name of the environment.
    pub env: String,
    /// From when it is told, in milliseconds since 1970.
    pub from_ms: u64,
    /// What time it is for the proxy.
    pub now_ms: u64,
    /// Since when the proxy counts. It counts in memory: what was before went with the proxy before it.
    pub counted_since_ms: u64,
    /// The length of a point.
    pub step_ms: u64,
    /// Each release by each run that gave it traffic, the latest last.
    pub releases: Vec<ReleaseTraffic>,
    /// Requests that came while nothing was released.
    pub nothing_released: Vec<TrafficPoint>,
    /// The switches since `from_ms`, by the log, oldest first.
    pub switches: Vec<Switch>,
}

/// `GET /v1/apps/{app}/traffic`: requests and errors by release, and when the traffic was switched. The traffic proxy
/// counts: in steps of 5 s for the last hour, and of a minute for a day. It outlives restarts of this server; what it
/// counted is lost when the proxy itself ends.
#[utoipa::path(
    get,
    path = "/apps/{app}/traffic",
    operation_id = "traffic",
    tag = "apps",
    params(AppPath, WhichTraffic),
    responses((status = 200, description = "Requests and errors by release", body = Traffic), (status = 404))
)]
pub(super) async fn traffic(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Params(which): Params<WhichTraffic>,
) -> Result<Json<Traffic>, ApiError> {
    let lane = lane_of(&name, which.env)?;
    let since_ms = match which.since {
        Some(span) => span_ms(&span).map_err(ApiError::BadRequest)?,
        None => SINCE_USUAL_MS,
    };
    if !(1..=COARSE_FOR_MS).contains(&since_ms) {
        return Err(ApiError::BadRequest("`since` is a span of time up to 1d, such as 30m".into()));
    }
    is_known(&app, &lane.app).await?;
    let from_ms = app.now_ms().saturating_sub(since_ms);
    let Some(proxy) = app.vitals.proxy.as_ref() else {
        return Err(ApiError::Unavailable(
            "this server has no traffic proxy, so no requests are counted".into(),
        ));
    };
    let counted = proxy.traffic(&lane.app, &lane.env, from_ms).await.map_err(|error| not_counted(&error))?;
    let counted = counted.unwrap_or_else(|| RouteTraffic { now_ms: app.now_ms(), ..RouteTraffic::default() });
    let step_ms = if since_ms > FINE_FOR_MS { COARSE_MS } else { FINE_MS };
    let points = |buckets: &[TrafficBucket]| in_steps(buckets, step_ms).iter().map(point).collect();
    let live = app.engine.store().lane(&lane).await?.live;
    let mut releases = Vec::new();
    for release in &counted.releases {
        let run: Option<RunId> = release.run.parse().ok();
        let logged = match run {
            Some(run) => app.engine.store().run(run).await?.filter(|run| run.lane == lane),
            None => None,
        };
        let is_live = |live: &landfall_engine::core::lane::Release| {
            live.image.digest == release.release && Some(live.run) == run
        };
        releases.push(ReleaseTraffic {
            digest: release.release.clone(),
            run: logged.as_ref().map(|run| run.id),
            commit: logged.map(|run| run.commit),
            generation: release.generation,
            live: live.as_ref().is_some_and(is_live),
            points: points(&release.buckets),
        });
    }
    let switches = switches(&app, &lane, from_ms).await?;
    Ok(Json(Traffic {
        app: lane.app,
        env: lane.env,
        from_ms,
        now_ms: counted.now_ms,
        counted_since_ms: counted.since_ms,
        step_ms,
        releases,
        nothing_released: points(&counted.nothing_released),
        switches,
    }))
}

fn not_counted(error: &ProxyError) -> ApiError {
    match error {
        ProxyError::Unreachable { .. } => ApiError::Unavailable(
            "the traffic proxy does not answer, so nobody can tell how requests go; `/readyz` says more"
                .into(),
        ),
        ProxyError::Stale { .. } | ProxyError::HostTaken { .. } | ProxyError::Refused { .. } => {
            ApiError::Unavailable(format!("the traffic proxy does not tell how requests go: {error}"))
        }
    }
}

fn point(bucket: &TrafficBucket) -> TrafficPoint {
    let TrafficBucket { at_ms, length_ms, requests, server_errors, unanswered, .. } = *bucket;
    let (p50_ms, p95_ms) = (bucket.percentile_ms(50), bucket.percentile_ms(95));
    TrafficPoint { at_ms, length_ms, requests, server_errors, unanswered, p50_ms, p95_ms }
}

/// Returns the switches of a lane since a time, by the log.
async fn switches(app: &App, lane: &LaneId, from_ms: u64) -> Result<Vec<Switch>, ApiError> {
    let store = app.engine.store();
    let query = RunQuery { app: Some(lane.app.clone()), limit: RUNS_LOOKED_AT, ..RunQuery::default() };
    let moved =
        store.runs(query).await?.into_iter().filter(|run| run.lane == *lane && run.updated_ms >= from_ms);
    let mut switches = Vec::new();
    for run in
        moved.filter(|run| matches!(run.state, RunState::Smoked | RunState::Live | RunState::RolledBack))
    {
        switches.extend(switches_of(&store.events(run.id).await?, &run.commit));
        if switches.len() >= SWITCHES_MAX {
            break;
        }
    }
    switches.retain(|switch| switch.at_ms >= from_ms);
    switches.sort_by_key(|switch| switch.at_ms);
    Ok(switches)
}

/// Returns the switches that a run made.
fn switches_of(history: &[Envelope], commit: &Commit) -> Vec<Switch> {
    let digest = replay(history, None).run.and_then(|run| run.image).map(|image| image.digest);
    let mut may_have_traffic = false;
    let switch = |envelope: &Envelope, kind, digest| Switch {
        at_ms: envelope.recorded_at_ms,
        kind,
        run: envelope.run_id,
        commit: commit.clone(),
        digest,
    };
    let mut switches = Vec::new();
    for envelope in history {
        match &envelope.event {
            // Begun is enough: the answer may be what was lost.
            Event::StageStarted { stage: Stage::GoLive, .. } => may_have_traffic = true,
            Event::StageSucceeded { stage: Stage::GoLive, .. } => {
                switches.push(switch(envelope, SwitchKind::GoLive, digest.clone()));
            }
            Event::RollbackSucceeded { serving, .. } if may_have_traffic => {
                switches.push(switch(envelope, SwitchKind::Rollback, serving.clone()));
            }
            _ => {}
        }
    }
    switches
}

/// What `GET /v1/apps/{app}/usual` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsualTimes {
    #[serde(flatten)]
    usual: Usual,
    /// How many green runs that is the median of.
    pub runs: usize,
}

/// `GET /v1/apps/{app}/usual`: how long each step of a run usually takes, by the last green ones.
#[utoipa::path(
    get,
    path = "/apps/{app}/usual",
    operation_id = "usual",
    tag = "apps",
    params(AppPath, InEnvironment),
    responses((status = 200, description = "The median of each step's time", body = UsualTimes), (status = 404))
)]
pub(super) async fn usual(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Params(InEnvironment { env }): Params<InEnvironment>,
) -> Result<Json<UsualTimes>, ApiError> {
    let lane = lane_of(&name, env)?;
    is_known(&app, &lane.app).await?;
    let store = app.engine.store();
    let usual = usual_ms(&**store, &lane, None).await?;
    let query = RunQuery {
        app: Some(lane.app.clone()),
        state: Some(RunState::Live),
        limit: RUNS_LOOKED_AT,
        ..RunQuery::default()
    };
    let green = store.runs(query).await?;
    let runs = green.iter().filter(|run| run.lane == lane).take(RUNS_MAX).count();
    Ok(Json(UsualTimes { usual, runs }))
}

/// Returns the lane that a path and a query name.
pub(super) fn lane_of(app: &str, env: Option<String>) -> Result<LaneId, ApiError> {
    let env = env.unwrap_or_else(|| "production".into());
    Ok(LaneId { app: app_name(app)?.to_owned(), env: env_name(&env)?.to_owned() })
}

/// Says no to an app that was neither pushed nor made known.
pub(super) async fn is_known(app: &App, name: &str) -> Result<(), ApiError> {
    let is_registered = app.engine.ledger().borrow().apps.contains_key(name);
    match is_registered || !lines_of(app, Some(name)).await?.is_empty() {
        true => Ok(()),
        false => Err(ApiError::NotFound(format!("there is no app {name}: push it, or make it known"))),
    }
}
