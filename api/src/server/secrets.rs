//! Secrets of an app: set, listed without their values, taken away.
//!
//! **Invariant:** a value comes in here and never goes out: not in an answer, an error, an event or a line of the log.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use landfall_engine::core::ledger::LedgerEvent;
use landfall_engine::timeline::timestamp;
use landfall_stages::secrets::{Listed, Scope, VALUE_BYTES_MAX, Vault, VaultError};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::App;
use super::auth::actor;
use super::extract::Params;
use super::names::{app_name, env_name};
use crate::error::ApiError;

/// JSON writes a byte in six characters at most.
pub(super) const BODY_BYTES_MAX: usize = VALUE_BYTES_MAX * 6 + 1024;

/// What `PUT /v1/apps/{app}/secrets/{name}` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretRequest {
    value: String,
}

/// What stands after `?` where one secret is meant.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Which {
    /// Only in this environment. Default: in all that have none of the name themselves.
    env: Option<String>,
}

/// A secret in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretList {
    /// The secrets of the app in all its environments, by name.
    pub secrets: Vec<SecretLine>,
}

/// `GET /v1/apps/{app}/secrets`: names, and when they were set.
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
pub(super) async fn set(
    State(app): State<Arc<App>>,
    Path((of_app, name)): Path<(String, String)>,
    Params(which): Params<Which>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, ApiError> {
    let (scope, actor) = (scope(&of_app, which)?, actor(&headers));
    let value = value_in(body)?;
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

/// Reads the body. What is wrong with it is told without quoting it.
fn value_in(body: Result<Bytes, BytesRejection>) -> Result<Zeroizing<String>, ApiError> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::TooLarge(format!("a value has {} KiB at most", VALUE_BYTES_MAX / 1024))
        }
        _ => ApiError::BadRequest("the body did not arrive whole".into()),
    })?;
    match serde_json::from_slice(&body) {
        Ok(SecretRequest { value }) => Ok(Zeroizing::new(value)),
        Err(_) => Err(ApiError::BadRequest(
            "the body is not the JSON expected here: {\"value\": \"…\"}, and nothing else".into(),
        )),
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
