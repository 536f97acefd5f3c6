//! What happens, as it happens: Server-Sent Events that a reader can take up again where it was cut off.
//!
//! A slow reader is served from the log and holds nobody up; one that hangs up is dropped with its stream.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{FutureExt, Stream, StreamExt, stream};
use landfall_engine::core::event::{Envelope, Event};
use landfall_engine::core::run::RunId;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::Cursor;
use landfall_engine::timeline::timestamp;
use landfall_store::{Pruned, PrunedOutput};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::describe::{LastEventId, RunPath};
use super::extract::{Id, Params};
use crate::error::ApiError;

/// A comment is sent after so much silence: proxies in between cut what is silent for 30 to 60 s.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// After so long a reader whose connection broke asks again: a restart takes a few seconds.
const RETRY: Duration = Duration::from_secs(2);

/// Asks proxies like nginx to hand lines on at once.
const UNBUFFERED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

/// The history of a run so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunEvents {
    /// Every event, in order.
    pub events: Vec<Envelope>,
}

/// `GET /v1/runs/{id}/events`: the history as JSON, or followed as SSE with `seq` for an id.
#[utoipa::path(
    get,
    path = "/runs/{id}/events",
    tag = "streams",
    params(RunPath, LastEventId),
    responses(
        (status = 200, description = "The history so far; with `Accept: text/event-stream`, followed to its end",
            content((RunEvents = "application/json"), (String = "text/event-stream"))),
        (status = 204, description = "The run has ended, and the client has seen all of it"),
        (status = 404)
    )
)]
pub(super) async fn run_events(
    State(app): State<Arc<App>>,
    Id(run_id): Id,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let history = app.engine.store().events(run_id).await?;
    let Some(last) = history.last() else { return Err(no_such_run(run_id)) };
    if !wants_stream(&headers) {
        return Ok(Json(RunEvents { events: history }).into_response());
    }
    let seen: u64 = last_event_id(&headers)?.unwrap_or(0);
    if seen >= last.seq && last.event == Event::RunClosed {
        // What tells a browser not to ask again.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let events = app.engine.watch(run_id).filter_map(move |next| async move {
        match next {
            Ok(envelope) if envelope.seq <= seen => None,
            Ok(envelope) => Some(event_of(&envelope, envelope.seq.to_string())),
            Err(error) => Some(broken(&error)),
        }
    });
    streamed(&app, events)
}

/// What `GET /v1/events` takes.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct After {
    /// The id of the last event that was seen, for clients that can't set `Last-Event-ID`.
    after: Option<String>,
}

/// `GET /v1/events`: the whole log, from the cursor in `Last-Event-ID` or `after` on.
#[utoipa::path(
    get,
    path = "/events",
    tag = "streams",
    params(After, LastEventId),
    responses(
        (status = 200, description = "The log, followed", content((String = "text/event-stream")))
    )
)]
pub(super) async fn all_events(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Params(After { after }): Params<After>,
) -> Result<Response, ApiError> {
    let cursor = last_event_id(&headers)?.or(after).map_or_else(Cursor::start, Cursor);
    let mut events = app.engine.store().follow(cursor.clone()).peekable();
    // Only the store can tell whether it gave a cursor out, and does so with its first answer.
    if cursor != Cursor::start()
        && let Some(Some(Err(error))) = Pin::new(&mut events).peek().now_or_never()
    {
        tracing::info!(%error, "a cursor was not taken");
        return Err(not_ours());
    }
    let events = events.map(|next| match next {
        Ok((cursor, envelope)) => event_of(&envelope, cursor.0),
        Err(error) => broken(&error),
    });
    streamed(&app, events)
}

/// What `GET /v1/runs/{id}/output` takes.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichOutput {
    /// A stage, or `rollback`. Without it, what there is.
    #[param(
        pattern = "^(checkout|test|build|push_image|release_command|deploy|smoke|go_live|public_smoke|rollback)$"
    )]
    stage: Option<String>,
    /// Which try. Default: the newest.
    attempt: Option<u32>,
}

/// An output, in a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutputLine {
    /// Of which stage; `rollback` for a rollback.
    pub stage: String,
    /// Which try.
    pub attempt: u32,
    /// Its length so far, in bytes.
    pub len: u64,
    /// True while it grows.
    pub live: bool,
}

/// What `GET /v1/runs/{id}/output` answers without a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutputList {
    /// What is there.
    pub outputs: Vec<OutputLine>,
    /// What was there, and was pruned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<Pruned>,
}

/// A piece of a followed output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputText {
    /// Whole lines, with their ends; one that is very long comes in parts.
    pub text: String,
}

/// `GET /v1/runs/{id}/output`: without a stage what there is; with one its text, or SSE with the offset
/// behind each piece for an id. The newest attempt unless one is named.
#[utoipa::path(
    get,
    path = "/runs/{id}/output",
    tag = "streams",
    params(RunPath, WhichOutput, LastEventId),
    responses(
        (status = 200, description = "Without a stage, what there is; with one, its text; with \
            `Accept: text/event-stream`, followed to its end",
            content((OutputList = "application/json"), (String = "text/plain"), (String = "text/event-stream"))),
        (status = 204, description = "The output has ended, and the client has seen all of it"),
        (status = 404), (status = 410)
    )
)]
pub(super) async fn output(
    State(app): State<Arc<App>>,
    Id(run_id): Id,
    headers: HeaderMap,
    Params(which): Params<WhichOutput>,
) -> Result<Response, ApiError> {
    let failed = |error: std::io::Error| ApiError::internal("reading the output", error);
    let outputs = app.outputs.list(run_id).await.map_err(failed)?;
    let Some(stage) = which.stage else {
        app.engine.store().run(run_id).await?.ok_or_else(|| no_such_run(run_id))?;
        let listed = outputs.into_iter().map(|output| OutputLine {
            stage: output.name,
            attempt: output.attempt,
            len: output.len,
            live: output.live,
        });
        let pruned = pruned_of(&app, run_id).await;
        return Ok(Json(OutputList { outputs: listed.collect(), pruned }).into_response());
    };
    if stage != "rollback" && Stage::from_name(&stage).is_none() {
        let names = Stage::ALL.map(Stage::name).join(", ");
        return Err(ApiError::BadRequest(format!(
            "there is no stage {stage:?}: expected {names} or rollback"
        )));
    }
    let wanted = |attempt: u32| which.attempt.is_none_or(|wanted| wanted == attempt);
    let newest = outputs.into_iter().rfind(|output| output.name == stage && wanted(output.attempt));
    let Some(found) = newest else {
        if let Some(pruned) = pruned_of(&app, run_id).await
            && let Some(gone) = pruned.outputs.iter().rfind(|gone| gone.name == stage && wanted(gone.attempt))
        {
            return Err(ApiError::Gone(gone_in_words(&pruned, gone)));
        }
        return Err(ApiError::NotFound(format!("{stage} of run {run_id} has printed nothing")));
    };
    if !wants_stream(&headers) {
        let text = app.outputs.read(run_id, &stage, found.attempt).await.map_err(failed)?.unwrap_or_default();
        let plain = (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        return Ok(([plain], text).into_response());
    }
    let offset: u64 = last_event_id(&headers)?.unwrap_or(0);
    if offset >= found.len && !found.live && offset > 0 {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let pieces = app.outputs.follow(run_id, &stage, found.attempt, offset).map(|next| match next {
        Ok(chunk) => {
            let id = chunk.next.to_string();
            let event = SseEvent::default().event("output").id(id).json_data(OutputText { text: chunk.text });
            event.unwrap_or_default()
        }
        Err(error) => broken(&error),
    });
    streamed(&app, pieces)
}

/// Returns what was pruned of a run. A note that can't be read hides no output that is there.
async fn pruned_of(app: &App, run_id: RunId) -> Option<Pruned> {
    app.outputs.pruned(run_id).await.unwrap_or_else(|error| {
        tracing::warn!(%run_id, %error, "it can't be told which outputs were pruned");
        None
    })
}

/// Returns what is said of an output that was pruned.
pub fn gone_in_words(pruned: &Pruned, gone: &PrunedOutput) -> String {
    let attempt = match gone.attempt {
        1 => String::new(),
        attempt => format!(", attempt {attempt},"),
    };
    let archive =
        pruned.archive.as_ref().map(|archive| format!("; the archive {archive} has it")).unwrap_or_default();
    format!(
        "the output of {}{attempt} was pruned on {} ({} bytes){archive}; the log keeps its length and hash",
        gone.name,
        timestamp(pruned.at_ms),
        gone.len
    )
}

fn event_of(envelope: &Envelope, id: String) -> SseEvent {
    let event = SseEvent::default().event(envelope.event.name()).id(id);
    // An envelope was JSON when it was stored.
    event.json_data(envelope).unwrap_or_default()
}

/// Tells the reader that the stream ends because something went wrong; the log has the details.
fn broken(error: &(dyn std::error::Error + 'static)) -> SseEvent {
    tracing::error!(error, "a stream of events broke");
    SseEvent::default().event("error").data("the stream broke; the server's log says why")
}

/// Answers with a stream that ends with the server. Events are made as the reader takes them: one that stands still
/// holds a few in its connection's buffer, and no more.
fn streamed(app: &App, events: impl Stream<Item = SseEvent> + Send + 'static) -> Result<Response, ApiError> {
    let place = app.places.for_stream()?;
    let begin = stream::once(async { SseEvent::default().retry(RETRY) });
    let until_stop = begin.chain(events).take_until(app.stop.clone().cancelled_owned());
    let held = until_stop.map(move |event| {
        let _ = &place;
        Ok::<_, Infallible>(event)
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(([UNBUFFERED], Sse::new(held).keep_alive(keep_alive)).into_response())
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepts.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with("text/event-stream"))
}

fn last_event_id<T: std::str::FromStr>(headers: &HeaderMap) -> Result<Option<T>, ApiError> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or_else(not_ours)
}

fn not_ours() -> ApiError {
    ApiError::BadRequest("Last-Event-ID is none that this stream gave out; leave it out to start over".into())
}

pub(super) fn no_such_run(run_id: RunId) -> ApiError {
    ApiError::NotFound(format!("there is no run {run_id}"))
}
