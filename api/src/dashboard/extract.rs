//! Queries and forms; what does not fit is answered with a page.

use axum::body::Body;
use axum::extract::{Form, FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::page::Oops;
use crate::error::ApiError;
use crate::server::extract::arrived;

/// What stands after `?`.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Oops;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Oops> {
        let Query(params) = Query::<T>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| ApiError::BadRequest(rejection.body_text()))?;
        Ok(Self(params))
    }
}

/// What a form says.
pub(super) struct Sent<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Sent<T> {
    type Rejection = Oops;

    async fn from_request(request: Request, state: &S) -> Result<Self, Oops> {
        let (parts, body) = request.into_parts();
        // Whoever sends a form byte by byte holds a place that others wait for.
        let body = arrived(Request::from_parts(parts.clone(), body), state).await?;
        let Form(sent) = Form::<T>::from_request(Request::from_parts(parts, Body::from(body)), state)
            .await
            .map_err(|rejection| ApiError::BadRequest(rejection.body_text()))?;
        Ok(Self(sent))
    }
}
