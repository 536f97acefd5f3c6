//! Tokens: handed out, listed, revoked. A token itself is in one answer, and nowhere else.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use landfall_engine::core::ledger::{Ledger, LedgerEvent, Scope, TokenGrant};
use landfall_engine::timeline::timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::App;
use super::auth::{NewToken, actor, is_actor};
use super::describe::TokenPath;
use super::extract::Body;
use super::names::app_name;
use crate::error::ApiError;
use crate::retention::span_ms;

/// What `POST /v1/tokens` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Whom or what it is for. Whatever it is used for is signed with this.
    pub label: String,
    /// What it opens.
    pub scope: Scope,
    /// Only for this app. Default: for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// For how long: `90d`, `12h`. Default: until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
}

/// A token in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenLine {
    /// By which it is revoked.
    pub id: Uuid,
    /// Whom or what it is for.
    pub label: String,
    /// What it opens.
    pub scope: Scope,
    /// Only for this app. None: for all.
    pub app: Option<String>,
    /// Until when, in RFC 3339. None: until it is revoked.
    pub expires_at: Option<String>,
    /// True: it opens nothing any more.
    pub expired: bool,
}

/// What `POST /v1/tokens` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenMade {
    /// By which it is revoked.
    pub id: Uuid,
    /// The token. It is not kept, so it can't be shown again.
    pub token: String,
}

/// What `GET /v1/tokens` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    /// The tokens that were handed out and not revoked, oldest first.
    pub tokens: Vec<TokenLine>,
}

/// `GET /v1/tokens`: what was handed out.
#[utoipa::path(
    get,
    path = "/tokens",
    operation_id = "tokens",
    tag = "tokens",
    responses((status = 200, description = "The tokens that were handed out", body = TokenList))
)]
pub(super) async fn list(State(app): State<Arc<App>>) -> Json<TokenList> {
    let ledger = Arc::clone(&app.engine.ledger().borrow());
    Json(TokenList { tokens: lines_of_tokens(&ledger, app.now_ms()) })
}

/// Returns the tokens that were handed out.
pub(crate) fn lines_of_tokens(ledger: &Ledger, now_ms: u64) -> Vec<TokenLine> {
    let line = |grant: &TokenGrant| TokenLine {
        id: grant.id,
        label: grant.label.clone(),
        scope: grant.scope,
        app: grant.app.clone(),
        expires_at: grant.expires_ms.map(timestamp),
        expired: grant.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms),
    };
    ledger.tokens.values().map(line).collect()
}

/// `POST /v1/tokens`: hands one out.
#[utoipa::path(
    post,
    path = "/tokens",
    operation_id = "create_token",
    tag = "tokens",
    request_body = TokenRequest,
    responses(
        (status = 201, description = "The token, which is shown this once", body = TokenMade),
    )
)]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(request): Body<TokenRequest>,
) -> Result<(StatusCode, Json<TokenMade>), ApiError> {
    let (grant, made) = new_token(request, app.now_ms())?;
    app.engine.record(LedgerEvent::TokenCreated { token: grant }, &actor(&headers)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Makes a token: what is remembered of it, and what is shown once.
pub(crate) fn new_token(request: TokenRequest, now_ms: u64) -> Result<(TokenGrant, TokenMade), ApiError> {
    let TokenRequest { label, scope, app: only, expires_in } = request;
    // It stands in the header of whoever uses it, and in every event of theirs.
    if !is_actor(&label) || !label.is_ascii() {
        return Err(ApiError::BadRequest(format!(
            "{label:?} can't be a token's label: expected 1 to 100 printable ASCII characters, such as `github`"
        )));
    }
    let only = only.map(|only| app_name(&only).map(str::to_owned)).transpose()?;
    let span_ms = expires_in.map(|span| span_ms(&span)).transpose().map_err(ApiError::BadRequest)?;
    let expires_ms = span_ms.map(|span_ms| now_ms.saturating_add(span_ms));
    let NewToken { grant, token } = NewToken::random(label, scope, only, expires_ms);
    let made = TokenMade { id: grant.id, token };
    Ok((grant, made))
}

/// `DELETE /v1/tokens/{id}`: takes one back. Connections that it opened are not cut.
#[utoipa::path(
    delete,
    path = "/tokens/{id}",
    operation_id = "revoke_token",
    tag = "tokens",
    params(TokenPath),
    responses((status = 204, description = "It opens nothing any more"), (status = 404))
)]
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let there = id.parse().ok().filter(|id| app.engine.ledger().borrow().tokens.contains_key(id));
    let Some(id) = there else {
        return Err(ApiError::NotFound(format!("there is no token {id:?}; `landfall token list` has them")));
    };
    app.engine.record(LedgerEvent::TokenRevoked { id }, &actor(&headers)).await?;
    Ok(StatusCode::NO_CONTENT)
}
