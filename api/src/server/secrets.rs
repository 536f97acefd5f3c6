//! Secrets of an app: set, listed without their values, taken away.
//!
//! **Invariant:** a value comes in here and never goes out: not in an answer, an error, an event or a line of the log.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use landfall_engine::core::ledger::LedgerEvent;
use landfall_engine::timeline::timestamp;
use landfall_stages::secrets::{Listed, Scope, VALUE_BYTES_MAX, Vault, VaultError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::App;
use super::auth::actor;
use super::describe::{AppPath, SecretPath};
use super::extract::{Params, arrived, says_json};
use super::names::{app_name, env_name};
use crate::error::ApiError;

/// JSON writes a byte in six characters at most.
pub(super) const BODY_BYTES_MAX: usize = VALUE_BYTES_MAX * 6 + 1024;

/// What `PUT /v1/apps/{app}/secrets/{name}` takes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretRequest {
    /// The value: text of 64 KiB at most. It is in no answer, neither of this request nor of another.
    #[schema(
        min_length = 1,
        max_length = 65536,
        pattern = "^[^\\x00]+$",
        example = "postgres://shop@db/shop"
    )]
    value: String,
}

/// What stands after `?` where one secret is meant.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Only in this environment. Default: in all that have none of the name themselves.
    #[param(pattern = "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$", example = "staging")]
    env: Option<String>,
}

/// A secret in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretLine {
    /// Its name.
    pub name: String,
    /// Only in this environment. None: in all that have none of the name themselves.
    pub env: Option<String>,
    /// When it was set, in RFC 3339.
    pub set_at: String,
}

impl From<Listed> for SecretLine {
    fn from(listed: Listed) -> Self {
        let Listed { name, scope, set_ms } = listed;
        Self { name, env: scope.env, set_at: timestamp(set_ms) }
    }
}

/// What `GET /v1/apps/{app}/secrets` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretList {
    /// The secrets of the app in all its environments, by name.
    pub secrets: Vec<SecretLine>,
}

/// `GET /v1/apps/{app}/secrets`: names, and when they were set.
#[utoipa::path(
    get,
    path = "/apps/{app}/secrets",
    operation_id = "secrets",
    tag = "secrets",
    params(AppPath),
    responses((status = 200, description = "The names of the app's secrets", body = SecretList))
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<SecretList>, ApiError> {
    let name = app_name(&name)?.to_owned();
    let listed = with_vault(&app, move |vault| vault.list(&name)).await?;
    Ok(Json(SecretList { secrets: listed.into_iter().map(SecretLine::from).collect() }))
}

/// `PUT /v1/apps/{app}/secrets/{name}`: keeps a value, in the place of the one before. The next stage that begins has
/// it.
#[utoipa::path(
    put,
    path = "/apps/{app}/secrets/{name}",
    operation_id = "set_secret",
    tag = "secrets",
    params(SecretPath, Which),
    request_body = SecretRequest,
    responses((status = 204, description = "The secret has this value, durably"), (status = 409))
)]
pub(super) async fn set(
    State(app): State<Arc<App>>,
    Path((of_app, name)): Path<(String, String)>,
    Params(which): Params<Which>,
    headers: HeaderMap,
    Hidden(value): Hidden,
) -> Result<StatusCode, ApiError> {
    let (scope, actor) = (scope(&of_app, which)?, actor(&headers));
    in_full(async move {
        let (of, named, now_ms) = (scope.clone(), name.clone(), app.now_ms());
        with_vault(&app, move |vault| vault.set(&of, &named, &value, now_ms)).await?;
        let Scope { app: of_app, env } = scope;
        let set = LedgerEvent::SecretSet { app: of_app, env, name };
        Ok(app.engine.record(set, &actor).await?)
    })
    .await
}

/// `DELETE /v1/apps/{app}/secrets/{name}`: takes one away.
#[utoipa::path(
    delete,
    path = "/apps/{app}/secrets/{name}",
    operation_id = "remove_secret",
    tag = "secrets",
    params(SecretPath, Which),
    responses((status = 204, description = "The secret is gone, durably"), (status = 404), (status = 409))
)]
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Path((of_app, name)): Path<(String, String)>,
    Params(which): Params<Which>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let (scope, actor) = (scope(&of_app, which)?, actor(&headers));
    in_full(async move {
        let (of, named) = (scope.clone(), name.clone());
        if !with_vault(&app, move |vault| vault.remove(&of, &named)).await? {
            return Err(ApiError::NotFound(format!("{scope} has no secret {name:?} of its own")));
        }
        let Scope { app: of_app, env } = scope;
        let removed = LedgerEvent::SecretRemoved { app: of_app, env, name };
        Ok(app.engine.record(removed, &actor).await?)
    })
    .await
}

fn scope(app: &str, which: Which) -> Result<Scope, ApiError> {
    let env = which.env.map(|env| env_name(&env).map(str::to_owned)).transpose()?;
    Ok(Scope { app: app_name(app)?.to_owned(), env })
}

/// A value out of a body. What is wrong with the body is told without quoting it.
pub(super) struct Hidden(Zeroizing<String>);

impl<S: Send + Sync> FromRequest<S> for Hidden {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if !says_json(request.headers()) {
            let said = "say what the body is: expected `Content-Type: application/json`";
            return Err(ApiError::NotJson(said.into()));
        }
        let body = arrived(request, state).await.map_err(|error| match error {
            ApiError::TooLarge(_) => {
                ApiError::TooLarge(format!("a value has {} KiB at most", VALUE_BYTES_MAX / 1024))
            }
            other => other,
        })?;
        // A list would be taken for the fields in their order.
        let is_object = body.trim_ascii().starts_with(b"{");
        match serde_json::from_slice(&body) {
            Ok(SecretRequest { value }) if is_object => Ok(Self(Zeroizing::new(value))),
            _ => Err(ApiError::BadRequest(
                "the body is not the JSON expected here: {\"value\": \"…\"}, and nothing else".into(),
            )),
        }
    }
}

/// Asks the vault on a thread that may wait for the disk.
async fn with_vault<T: Send + 'static>(
    app: &App,
    ask: impl FnOnce(&Vault) -> Result<T, VaultError> + Send + 'static,
) -> Result<T, ApiError> {
    let Some(vault) = app.secrets.vault().cloned() else {
        return Err(ApiError::Refused(
            "this server was composed without a vault, so it keeps no secrets".into(),
        ));
    };
    let asked = tokio::task::spawn_blocking(move || ask(&vault)).await;
    Ok(asked.map_err(|error| ApiError::internal("asking the vault", error))??)
}

/// Does a change to its end even if whoever asked hangs up: what is in the vault has to be in the log.
async fn in_full(
    change: impl Future<Output = Result<(), ApiError>> + Send + 'static,
) -> Result<StatusCode, ApiError> {
    let changed = tokio::spawn(change).await;
    changed.map_err(|error| ApiError::internal("changing a secret", error))??;
    Ok(StatusCode::NO_CONTENT)
}
