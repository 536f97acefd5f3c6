//! Bodies, queries and ids out of requests; what does not fit is answered with a problem document.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use landfall_engine::core::run::RunId;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// A JSON body; an empty one is `{}`.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            match rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                true => {
                    ApiError::TooLarge(format!("the body is longer than {} bytes", super::BODY_BYTES_MAX))
                }
                false => ApiError::BadRequest("the body did not arrive whole".into()),
            }
        })?;
        let json: &[u8] = if bytes.trim_ascii().is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(json)
            .map(Self)
            .map_err(|error| ApiError::BadRequest(format!("the body is not the JSON expected here: {error}")))
    }
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
