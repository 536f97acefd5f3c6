//! The API as the dashboard's pages reach it: in this process, through the same door as everybody else.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{ApiError, Problem};
use crate::server::Peer;
use crate::server::session::CSRF_HEADER;

/// Answers that pages are made from are pages of lists.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// What of the browser's request the API has to see: who asks, and whether they mean it.
const HANDED_ON: [HeaderName; 5] = [
    header::COOKIE,
    header::HOST,
    header::ORIGIN,
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("x-forwarded-for"),
];

/// The routes below `/v1`, behind their own door.
#[derive(Clone, Debug)]
pub(super) struct Api(Router);

/// Why the API did not do it: its status, and the problem in its words.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) problem: Problem,
}

impl Api {
    pub(super) fn new(routes: Router) -> Self {
        Self(routes)
    }

    /// Asks for something to be done, on behalf of a form that a browser sent.
    pub(super) async fn change(
        &self,
        path: &str,
        from: (&HeaderMap, Option<Peer>),
        form: (&str, &str),
        body: &Value,
    ) -> Result<Value, Refused> {
        let (csrf, key) = form;
        let mut request = Self::request(Method::POST, path, from, Body::from(body.to_string()))?;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in [(CSRF_HEADER, csrf), ("idempotency-key", key)] {
            if let Ok(value) = HeaderValue::from_str(value)
                && !value.is_empty()
            {
                headers.insert(name, value);
            }
        }
        self.answer(request).await
    }

    /// Asks for something to be shown. None: the API does not have it.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        path: &str,
        from: (&HeaderMap, Option<Peer>),
    ) -> Option<T> {
        let request = Self::request(Method::GET, path, from, Body::empty()).ok()?;
        serde_json::from_value(self.answer(request).await.ok()?).ok()
    }

    fn request(
        method: Method,
        path: &str,
        (headers, peer): (&HeaderMap, Option<Peer>),
        body: Body,
    ) -> Result<Request<Body>, Refused> {
        let request = Request::builder().method(method).uri(path).body(body);
        let mut request =
            request.map_err(|_| ApiError::BadRequest(format!("{path:?} is no path of the API")))?;
        for name in HANDED_ON {
            if let Some(value) = headers.get(&name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        Ok(request)
    }

    async fn answer(&self, request: Request<Body>) -> Result<Value, Refused> {
        let Ok(answer) = TowerToHyperService::new(self.0.clone()).call(request).await;
        let status = answer.status();
        let body = to_bytes(answer.into_body(), ANSWER_BYTES_MAX).await;
        let body = body.map_err(|error| ApiError::internal("asking the API", error))?;
        match status.is_success() {
            true => Ok(serde_json::from_slice(&body).unwrap_or_default()),
            false => Err(Refused {
                status,
                problem: serde_json::from_slice(&body).unwrap_or_else(|_| {
                    ApiError::internal("asking the API", "an answer without words").problem()
                }),
            }),
        }
    }
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        let problem = error.problem();
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, problem }
    }
}
