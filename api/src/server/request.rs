//! What every request has: a name in the log, an answer even to a panic, and one place among those that are served.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument;
use uuid::Uuid;

use super::App;
use crate::error::ApiError;

/// The header that names a request.
pub(super) const REQUEST_ID: &str = "x-request-id";
/// The longest name of a request that is taken from a client: a UUID or a trace's id is 36 or fewer.
const ID_BYTES_MAX: usize = 64;

/// Requests that are worked on at once. Each waits for a disk or a git; more of them only make all of them slow.
const REQUESTS_MAX: usize = 256;
/// Pages that are made at once, for people and for whoever has no token: none of them keeps a program from being answered.
const PAGES_MAX: usize = 128;
/// Streams that are open at once: a team's dashboards and terminals are dozens, each with some 20 KiB.
const STREAMS_MAX: usize = 4_000;

/// How many are served at once.
#[derive(Debug)]
pub struct Places {
    requests: Arc<Semaphore>,
    pages: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            pages: Arc::new(Semaphore::new(PAGES_MAX)),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        }
    }
}

impl Places {
    /// Returns a place for one more stream, which is given back when it is dropped.
    pub(super) fn for_stream(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            ApiError::Unavailable(format!("{STREAMS_MAX} streams are open, which is as many as there may be"))
        })
    }
}

/// Names a request, logs how it was answered, and answers it even when its handler panics.
pub(super) async fn traced(mut request: Request, next: Next) -> Response {
    let id = given(request.headers()).unwrap_or_else(made);
    // Whatever is behind us names the request alike.
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let shown = id.to_str().unwrap_or_default();
    let span =
        tracing::info_span!("request", id = shown, method = %request.method(), path = request.uri().path());
    let began = Instant::now();
    let answered = async {
        let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        let answer = answer.unwrap_or_else(|panic| panicked(&*panic).into_response());
        tracing::debug!(status = answer.status().as_u16(), took = ?began.elapsed(), "answered");
        answer
    };
    let mut answer = answered.instrument(span).await;
    answer.headers_mut().insert(REQUEST_ID, id);
    answer
}

/// Returns the client's own name for a request, if it may stand in a log line.
fn given(headers: &HeaderMap) -> Option<HeaderValue> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte);
    let is_plain =
        |id: &&HeaderValue| (1..=ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(plain);
    headers.get(REQUEST_ID).filter(is_plain).cloned()
}

fn made() -> HeaderValue {
    let id = Uuid::now_v7().hyphenated().to_string();
    HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("unnamed"))
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> ApiError {
    let said = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
    ApiError::internal("answering", said.unwrap_or_else(|| "a panic without words".into()))
}

/// Lets so many requests through at once, and tells the others when to ask again.
pub(super) async fn in_turn(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let _place = app.places.requests.try_acquire().map_err(|_| full(REQUESTS_MAX))?;
    Ok(next.run(request).await)
}

/// Does the same for what is open to whoever has no token.
pub(super) async fn page_in_turn(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let _place = app.places.pages.try_acquire().map_err(|_| full(PAGES_MAX))?;
    Ok(next.run(request).await)
}

fn full(places: usize) -> ApiError {
    ApiError::Unavailable(format!(
        "{places} requests are being answered, which is as many as there may be; ask again"
    ))
}

/// `OPTIONS` of a path that is there: which methods it has stands in `Allow`. Other methods are told the same.
pub(super) async fn other_method(method: Method, request: Request) -> Response {
    match method {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        // axum adds `Allow`.
        method => ApiError::NoSuchMethod(format!(
            "{} has no {method}; `Allow` says what it has",
            request.uri().path()
        ))
        .into_response(),
    }
}

/// A path that is not there.
pub(super) async fn unknown(method: Method, request: Request) -> ApiError {
    ApiError::NotFound(format!("there is no {method} {}", request.uri().path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_names_its_request_in_plain_letters_or_not_at_all() {
        let named = |id: &[u8]| {
            let headers = [(REQUEST_ID.parse().unwrap(), HeaderValue::from_bytes(id).unwrap())];
            given(&headers.into_iter().collect()).is_some()
        };
        assert!(named(b"4bf92f3577b34da6a3ce929d0e0e4736") && named(b"req-1"));
        assert!(!named(b"") && !named(b"a b") && !named("\u{fc}".as_bytes()) && !named(&[b'x'; 65]));
    }
}
