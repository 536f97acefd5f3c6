//! Server-Sent Events as bytes: made as the reader takes them, with a sign of life between.
//!
//! A reader that stands still costs a place, its task and what its connection holds unsent; nothing is queued for it.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use serde::Serialize;

use super::App;
use crate::error::ApiError;

/// A comment is sent after so much silence: proxies in between cut what is silent for 30 to 60 s.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The comment.
const ALIVE: Bytes = Bytes::from_static(b":\n\n");
/// What a stream begins with: a reader whose connection broke asks again after so long. A restart takes a few seconds.
const BEGIN: Bytes = Bytes::from_static(b"retry: 2000\n\n");

/// Returns an event as it is sent. What it says is JSON, and so stands in one line.
pub(super) fn frame(name: &str, id: &str, data: &impl Serialize) -> Bytes {
    // What is sent was JSON when it was stored, or is a text.
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\nid: {id}\ndata: {data}\n\n").into()
}

/// Tells the reader that the stream ends because something went wrong; the log has the details.
pub(super) fn broken(error: &(dyn std::error::Error + 'static)) -> Bytes {
    tracing::error!(error, "a stream broke");
    Bytes::from_static(b"event: error\ndata: the stream broke; the server's log says why\n\n")
}

/// Answers with a stream that ends with the server.
///
/// # Errors
///
/// [`ApiError::Unavailable`] when there are as many as there may be.
pub(super) fn answer(
    app: &App,
    frames: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<Response, ApiError> {
    let place = app.places.for_stream()?;
    let until_stop = frames.take_until(app.stop.clone().cancelled_owned());
    let alive = stream::unfold((Box::pin(until_stop), place), |(mut frames, place)| async move {
        match tokio::time::timeout(KEEP_ALIVE, frames.next()).await {
            Ok(frame) => Some((frame?, (frames, place))),
            Err(_) => Some((ALIVE, (frames, place))),
        }
    });
    let body = stream::once(async { BEGIN }).chain(alive).map(Ok::<_, Infallible>);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // Asks proxies like nginx to hand lines on at once.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

/// Tells whether a stream is asked for, and not what there is now.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepts.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with("text/event-stream"))
}

/// Returns the id after which a stream is taken up again.
///
/// # Errors
///
/// [`ApiError::BadRequest`] when no stream gave it out.
pub(super) fn last_event_id<T: std::str::FromStr>(headers: &HeaderMap) -> Result<Option<T>, ApiError> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or_else(not_ours)
}

pub(super) fn not_ours() -> ApiError {
    ApiError::BadRequest("Last-Event-ID is none that this stream gave out; leave it out to start over".into())
}
