//! Bodies, queries and ids out of requests; what does not fit is answered with a problem document.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use landfall_engine::core::run::RunId;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// How long a body may take: 64 KiB at 3 KiB a second, which is slower than any line that people work on.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// A JSON body; an empty one, and `null`, is `{}`.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let is_json = says_json(request.headers());
        let bytes = arrived(request, state).await?;
        let json = bytes.trim_ascii();
        match json.first() {
            None => parsed(b"{}"),
            Some(_) if !is_json => Err(ApiError::NotJson(
                "say what the body is: expected `Content-Type: application/json`".into(),
            )),
            // A list would be taken for the fields in their order.
            Some(b'{') => parsed(json),
            Some(_) if json == b"null" => parsed(b"{}"),
            Some(_) => {
                Err(ApiError::BadRequest("the body is not the JSON expected here: not an object".into()))
            }
        }
    }
}

fn parsed<T: DeserializeOwned>(json: &[u8]) -> Result<Body<T>, ApiError> {
    serde_json::from_slice(json)
        .map(Body)
        .map_err(|error| ApiError::BadRequest(format!("the body is not the JSON expected here: {error}")))
}

/// Returns a body that arrives whole and in time.
pub(crate) async fn arrived<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    let slow = |_| ApiError::Slow(format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs()));
    let arrived =
        tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state)).await.map_err(slow)?;
    arrived.map_err(|rejection| match rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        true => ApiError::TooLarge(format!("the body is longer than {} bytes", super::BODY_BYTES_MAX)),
        false => ApiError::BadRequest("the body did not arrive whole".into()),
    })
}

pub(super) fn says_json(headers: &HeaderMap) -> bool {
    let said = headers.get(header::CONTENT_TYPE).and_then(|said| said.to_str().ok()).unwrap_or_default();
    let kind = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// What stands after `?`.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(params) = Query::<T>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| ApiError::BadRequest(rejection.body_text()))?;
        Ok(Self(params))
    }
}

/// The run that the path names.
pub(super) struct Id(pub(super) RunId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| ApiError::BadRequest(rejection.body_text()))?;
        let wrong = || ApiError::BadRequest(format!("{text:?} is not the id of a run: expected a UUID"));
        run_in(&text).map(Self).ok_or_else(wrong)
    }
}

/// Returns the run that a text names by its whole id.
pub(super) fn run_in(text: &str) -> Option<RunId> {
    text.parse().ok()
}
