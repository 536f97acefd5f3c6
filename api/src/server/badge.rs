//! An app's badge: for those who have a token, and for everybody where the app says so.
//!
//! **Invariant:** whoever may not see a badge gets the answer of an app that is not there, so that nobody learns which
//! apps there are.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::RunQuery;
use serde::Deserialize;

use super::App;
use super::auth::reads_app;
use super::describe::{AppPath, IfNoneMatch};
use super::etag;
use super::extract::Params;
use super::observe::{is_known, lane_of};
use crate::badge::Badge;
use crate::error::ApiError;

/// Caches ask each time, and are told in a few bytes when nothing changed: what a badge says is either true or harmful.
const CACHED: &str = "no-cache, max-age=0";
/// Runs of the app that are looked through for the newest of a branch.
const RUNS_LOOKED_AT: usize = 200;
/// The longest name of a branch; git's own names end there.
const BRANCH_BYTES_MAX: usize = 255;

/// What `GET /v1/apps/{app}/badge.svg` takes.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// The environment. Default: production.
    env: Option<String>,
    /// Looks at the newest run of this branch, and not of all.
    branch: Option<String>,
}

/// `GET /v1/apps/{app}/badge.svg`: what is live and since when, or what went wrong with the last run. Open without a
/// token for an app whose registration has `public_badge`; any other app is, without a token, as if it were not there.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}/badge.svg",
    operation_id = "badge",
    tag = "apps",
    security((), ("token" = [])),
    params(AppPath, Which, IfNoneMatch),
    responses(
        (status = 200, description = "The badge", body = String, content_type = "image/svg+xml",
            headers(("ETag" = String, description = "Changes with what the badge says"))),
        (status = 304, description = "It says what it said"),
        (status = 404)
    )
)]
pub(super) async fn badge(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Params(Which { env, branch }): Params<Which>,
    request: Request,
) -> Result<Response, ApiError> {
    let lane = lane_of(&name, env)?;
    let branch = branch.filter(|branch| branch.len() <= BRANCH_BYTES_MAX);
    let (extensions, headers) = (request.extensions(), request.headers());
    let is_public = app.engine.ledger().borrow().apps.get(&name).is_some_and(|known| known.public_badge);
    if !is_public && !reads_app(&app, extensions, headers, &name) {
        return Err(ApiError::NotFound(format!(
            "there is no app {name} with a badge that is open to everybody"
        )));
    }
    is_known(&app, &name).await?;
    let newest = newest(&app, &lane.app, &lane.env, branch.as_deref()).await?;
    let drawn = Badge::of(&app.engine.store().lane(&lane).await?, newest.as_ref(), app.now_ms()).svg();
    let tag = etag::of_bytes(drawn.as_bytes());
    let mut answer = match etag::is_known(headers, &tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, "image/svg+xml; charset=utf-8")], drawn).into_response(),
    };
    let tag = HeaderValue::from_str(&tag).map_err(|error| ApiError::internal("naming a badge", error))?;
    answer.headers_mut().insert(header::ETAG, tag);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHED));
    // It is made to be shown on other pages.
    let anywhere = HeaderValue::from_static("cross-origin");
    answer.headers_mut().insert("cross-origin-resource-policy", anywhere);
    Ok(answer)
}

/// Returns the newest run of an environment, and of a branch if it is given.
async fn newest(
    app: &App,
    name: &str,
    env: &str,
    branch: Option<&str>,
) -> Result<Option<RunSummary>, ApiError> {
    let query = RunQuery { app: Some(name.to_owned()), limit: RUNS_LOOKED_AT, ..RunQuery::default() };
    let is_meant = |run: &RunSummary| {
        run.lane.env == env && branch.is_none_or(|branch| run.commit.branch.as_deref() == Some(branch))
    };
    Ok(app.engine.store().runs(query).await?.into_iter().find(is_meant))
}
