//! Parameters that several operations have, as the API's description tells them. Handlers read them by `extract`.

#![expect(dead_code, reason = "the fields are read by the derived description alone")]

use utoipa::IntoParams;
use uuid::Uuid;

/// An app in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct AppPath {
    /// Name of the app.
    #[param(pattern = "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$", example = "shop")]
    app: String,
}

/// A secret in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct SecretPath {
    /// Name of the app.
    #[param(pattern = "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$", example = "shop")]
    app: String,
    /// Name of the secret, as the app finds it in its environment.
    #[param(pattern = "^[A-Z_][A-Z0-9_]{0,99}$", example = "DATABASE_URL")]
    name: String,
}

/// A run in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct RunPath {
    /// Identity of the run.
    id: Uuid,
}

/// A token in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct TokenPath {
    /// Identity of the token, which is not the token itself.
    id: Uuid,
}

/// A change that can be sent again.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct IdempotencyKey {
    /// Makes the change happen once, however often it is sent, for as long as the log is kept. A UUID, or the id of
    /// what led to the request. With another request it is refused with 422.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 200, pattern = "^[!-~]+$")]
    idempotency_key: Option<String>,
}

/// A change of what was seen.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct IfMatch {
    /// The `ETag` that the run had when the client decided. Once it moved on, the change is refused with 412.
    #[param(rename = "If-Match")]
    if_match: Option<String>,
}

/// A question whose answer may be known.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct IfNoneMatch {
    /// The `ETag` of the answer that the client has. If it is still the one, the answer is 304 and empty.
    #[param(rename = "If-None-Match")]
    if_none_match: Option<String>,
}

/// A stream that is taken up again.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct LastEventId {
    /// The id of the last event of the stream that was seen. Only for `Accept: text/event-stream`.
    #[param(rename = "Last-Event-ID")]
    last_event_id: Option<String>,
}
