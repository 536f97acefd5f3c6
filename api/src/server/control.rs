//! What people decide about deploys, releases and lanes: approve, reject, do again, promote, hold, pause.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::{Extension, Json};
use landfall_engine::Promotion;
use landfall_engine::core::environment::PRODUCTION;
use landfall_engine::core::event::Decision;
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::stage::Stage;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::act::{Because, RunLink, decide, linked, reason, terms};
use super::auth::{Identity, actor, may_release};
use super::describe::{AppPath, IdempotencyKey, IfMatch, RunPath};
use super::extract::{Body, Id};
use super::names::{app_name, env_name};
use super::read::AppLine;
use super::{App, once};
use crate::error::ApiError;

/// `POST /v1/runs/{id}/approve`: lets the deploy begin that waits for that.
#[utoipa::path(
    post,
    path = "/runs/{id}/approve",
    tag = "runs",
    params(RunPath, IdempotencyKey, IfMatch),
    responses(
        (status = 202, description = "That is recorded, and is being done", body = RunLink,
            headers(("Location" = String, description = "The run"))),
        (status = 404), (status = 409), (status = 412), (status = 422)
    )
)]
pub(super) async fn approve(
    State(app): State<Arc<App>>,
    Id(run_id): Id,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let claim = once::claim(&headers, &run_id.to_string(), "approve", &())?;
    let terms = terms(&app, run_id, &headers, claim).await?;
    app.engine.approve_on(run_id, &actor(&headers), terms).await?;
    Ok(linked(StatusCode::ACCEPTED, run_id))
}

/// `POST /v1/runs/{id}/reject`: fails a run whose deploy waits to be approved.
#[utoipa::path(
    post,
    path = "/runs/{id}/reject",
    tag = "runs",
    params(RunPath, IdempotencyKey, IfMatch),
    request_body = Option<Because>,
    responses(
        (status = 202, description = "That is recorded, and is being done", body = RunLink,
            headers(("Location" = String, description = "The run"))),
        (status = 404), (status = 409), (status = 412), (status = 422)
    )
)]
pub(super) async fn reject(
    State(app): State<Arc<App>>,
    Id(run_id): Id,
    headers: HeaderMap,
    Body(because): Body<Because>,
) -> Result<Response, ApiError> {
    let claim = once::claim(&headers, &run_id.to_string(), "reject", &because)?;
    let reason = reason(because.reason)?;
    let terms = terms(&app, run_id, &headers, claim).await?;
    app.engine.reject_on(run_id, &actor(&headers), &reason, terms).await?;
    Ok(linked(StatusCode::ACCEPTED, run_id))
}

/// What `POST /v1/runs/{id}/retry` takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryRequest {
    /// Does a run that is over again, from this stage on, as a new run. Default: tries a parked run again where it
    /// stopped.
    #[schema(pattern = "^(checkout|test|build|push_image|release_command|deploy)$")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Does a commit again that is held.
    pub release_hold: bool,
}

/// `POST /v1/runs/{id}/retry`: tries again what a parked run could not conclude, or does a run that is over again.
#[utoipa::path(
    post,
    path = "/runs/{id}/retry",
    tag = "runs",
    params(RunPath, IdempotencyKey, IfMatch),
    request_body = Option<RetryRequest>,
    responses(
        (status = 202, description = "That is recorded, and is being done", body = RunLink,
            headers(("Location" = String, description = "The run"))),
        (status = 200, description = "The idempotency key had started this run before", body = RunLink,
            headers(("Location" = String, description = "The run"))),
        (status = 404), (status = 409), (status = 412), (status = 422), (status = 507)
    )
)]
pub(super) async fn retry(
    State(app): State<Arc<App>>,
    Id(run_id): Id,
    identity: Option<Extension<Identity>>,
    headers: HeaderMap,
    Body(request): Body<RetryRequest>,
) -> Result<Response, ApiError> {
    let claim = once::claim(&headers, &run_id.to_string(), "rerun", &request)?;
    let RetryRequest { from, release_hold } = request;
    if release_hold {
        may_release(identity.as_deref())?;
    }
    let Some(from) = from else {
        return decide(&app, run_id, &headers, Decision::Retry).await;
    };
    let from = Stage::from_name(&from)
        .ok_or_else(|| ApiError::BadRequest(format!("{from:?} is no stage: {}", stages())))?;
    // Held against the run that is over, which moves no more.
    terms(&app, run_id, &headers, claim.clone()).await?;
    let again = app.engine.rerun(run_id, from, release_hold, "retry", &actor(&headers), claim).await?;
    let status = if again.fresh { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok(linked(status, again.run_id))
}

fn stages() -> String {
    let from = Stage::ALL.into_iter().filter(|stage| *stage <= Stage::Deploy).map(Stage::name);
    format!("expected one of {}", from.collect::<Vec<_>>().join(", "))
}

/// What `POST /v1/apps/{app}/promote` takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PromoteRequest {
    /// The environment that has the release.
    #[schema(required, pattern = "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
    pub from: String,
    /// The environment that is to have it.
    #[schema(required, pattern = "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
    pub to: String,
    /// The release, by its run, its commit or its digest. Default: the one that is live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Why, for the log.
    #[schema(max_length = 2000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /v1/apps/{app}/promote`: starts a run that makes a release of one environment live in another, as it is.
#[utoipa::path(
    post,
    path = "/apps/{app}/promote",
    tag = "apps",
    params(AppPath, IdempotencyKey),
    request_body = PromoteRequest,
    responses(
        (status = 202, description = "That is recorded, and is being done", body = RunLink,
            headers(("Location" = String, description = "The run"))),
        (status = 200, description = "The idempotency key had started this run before", body = RunLink,
            headers(("Location" = String, description = "The run"))),
        (status = 404), (status = 409), (status = 422), (status = 507)
    )
)]
pub(super) async fn promote(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(request): Body<PromoteRequest>,
) -> Result<Response, ApiError> {
    let name = app_name(&name)?;
    let claim = once::claim(&headers, name, "promote", &request)?;
    let PromoteRequest { from, to, release, reason: because } = request;
    let (from, to) = (env_name(&from)?.to_owned(), env_name(&to)?.to_owned());
    if from == to {
        return Err(ApiError::Refused(format!(
            "a release is promoted from one environment to another, and both are {from}: a release of {from} is made \
             live again by a rollback"
        )));
    }
    let (trigger, reason) = ("promote".to_owned(), reason(because)?);
    let promotion = Promotion { app: name.to_owned(), from, to, release, trigger, reason };
    let promoted = app.engine.promote(promotion, &actor(&headers), claim).await?;
    let status = if promoted.fresh { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok(linked(status, promoted.run_id))
}

/// What pausing and resuming an app takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LaneRequest {
    /// The environment. Default: `production`.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// Why, for the log.
    #[schema(max_length = 2000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What holding and releasing a commit takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HoldRequest {
    /// The commit: its full hash, or the beginning of one that the app had a run of.
    #[schema(required, pattern = "^[0-9a-fA-F]{4,64}$")]
    pub commit: String,
    /// The environment. Default: `production`.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// Why, for the log.
    #[schema(max_length = 2000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /v1/apps/{app}/pause`: no run enters the lane any more, but for rollbacks by hand.
#[utoipa::path(
    post,
    path = "/apps/{app}/pause",
    tag = "apps",
    params(AppPath),
    request_body = Option<LaneRequest>,
    responses(
        (status = 200, description = "How the app stands in the environment now", body = AppLine),
        (status = 404), (status = 507)
    )
)]
pub(super) async fn pause(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(request): Body<LaneRequest>,
) -> Result<Json<AppLine>, ApiError> {
    let lane = lane(&name, request.env.as_deref())?;
    app.engine.pause(&lane, &actor(&headers), &reason(request.reason)?).await?;
    standing(&app, lane).await
}

/// `POST /v1/apps/{app}/resume`: runs enter the lane again, those that wait first.
#[utoipa::path(
    post,
    path = "/apps/{app}/resume",
    tag = "apps",
    params(AppPath),
    request_body = Option<LaneRequest>,
    responses(
        (status = 200, description = "How the app stands in the environment now", body = AppLine),
        (status = 404), (status = 507)
    )
)]
pub(super) async fn resume(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(request): Body<LaneRequest>,
) -> Result<Json<AppLine>, ApiError> {
    let lane = lane(&name, request.env.as_deref())?;
    reason(request.reason)?;
    app.engine.resume(&lane, &actor(&headers)).await?;
    standing(&app, lane).await
}

/// `POST /v1/apps/{app}/hold`: keeps a commit from being deployed.
#[utoipa::path(
    post,
    path = "/apps/{app}/hold",
    tag = "apps",
    params(AppPath),
    request_body = HoldRequest,
    responses(
        (status = 200, description = "How the app stands in the environment now", body = AppLine),
        (status = 404), (status = 507)
    )
)]
pub(super) async fn hold(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(request): Body<HoldRequest>,
) -> Result<Json<AppLine>, ApiError> {
    let lane = lane(&name, request.env.as_deref())?;
    app.engine.hold(&lane, &request.commit, &actor(&headers), &reason(request.reason)?).await?;
    standing(&app, lane).await
}

/// `POST /v1/apps/{app}/release`: lets a commit be deployed again.
#[utoipa::path(
    post,
    path = "/apps/{app}/release",
    tag = "apps",
    params(AppPath),
    request_body = HoldRequest,
    responses(
        (status = 200, description = "How the app stands in the environment now", body = AppLine),
        (status = 404), (status = 507)
    )
)]
pub(super) async fn release(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(request): Body<HoldRequest>,
) -> Result<Json<AppLine>, ApiError> {
    let lane = lane(&name, request.env.as_deref())?;
    reason(request.reason)?;
    app.engine.release_hold(&lane, &request.commit, &actor(&headers)).await?;
    standing(&app, lane).await
}

fn lane(app: &str, env: Option<&str>) -> Result<LaneId, ApiError> {
    Ok(LaneId { app: app_name(app)?.to_owned(), env: env_name(env.unwrap_or(PRODUCTION))?.to_owned() })
}

/// Answers with how the lane stands now.
async fn standing(app: &App, id: LaneId) -> Result<Json<AppLine>, ApiError> {
    let lane = app.engine.store().lane(&id).await?;
    Ok(Json(AppLine::of(id, lane)))
}
