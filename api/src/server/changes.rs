//! What changed between two releases, over HTTP.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use landfall_engine::core::lane::LaneId;
use serde::Deserialize;

use super::App;
use super::describe::AppPath;
use super::extract::Params;
use super::names::{app_name, env_name};
use super::observe::is_known;
use crate::changes::{Changes, Compared, changes};
use crate::error::ApiError;

/// What `GET /v1/apps/{app}/changes` takes.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// The environment. Default: production.
    env: Option<String>,
    /// What is compared: a run or a commit, by at least four digits. Default: the release before the live one.
    from: Option<String>,
    /// With what: a run or a commit. Default: what is live.
    to: Option<String>,
}

/// `GET /v1/apps/{app}/changes`: the commits and files between two releases.
#[utoipa::path(
    get,
    path = "/apps/{app}/changes",
    operation_id = "changes",
    tag = "apps",
    params(AppPath, Which),
    responses(
        (status = 200, description = "The commits and files between two releases", body = Changes),
        (status = 404),
        (status = 422)
    )
)]
pub(super) async fn of_app(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Params(which): Params<Which>,
) -> Result<Json<Changes>, ApiError> {
    let Which { env, from, to } = which;
    let (name, env) = (app_name(&name)?, env.unwrap_or_else(|| "production".into()));
    let lane = LaneId { app: name.to_owned(), env: env_name(&env)?.to_owned() };
    is_known(&app, name).await?;
    let known = app.engine.ledger().borrow().apps.get(name).cloned();
    let store = app.engine.store();
    let compared = Compared { from, to };
    Ok(Json(changes(&**store, &app.sources, &app.data, known.as_ref(), lane, compared).await?))
}
