//! What happens, as it happens: Server-Sent Events that a reader can take up again where it was cut off.
//!
//! A slow reader is served from the log and holds nobody up; one that hangs up is dropped with its stream.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use landfall_engine::core::event::{Envelope, Event};
use landfall_engine::core::run::RunId;
use landfall_engine::core::stage::Stage;
use landfall_engine::timeline::timestamp;
use landfall_store::{Pruned, PrunedOutput};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::describe::{LastEventId, RunPath};
use super::extract::{Id, Params};
use super::{App, page, sse};
use crate::error::ApiError;

/// What `GET /v1/runs/{id}/events` takes.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichOfRun {
    /// Only events behind this one: `next` of the page before.
    #[serde(default)]
    after: u64,
    /// How many at most in a page. Default: 1000, which few runs have.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// A page of the history of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunEvents {
    /// The events, in order.
    pub events: Vec<Envelope>,
    /// What to give as `after` for the next page. None: this is the last one so far.
    #[serde(default)]
    pub next: Option<u64>,
}

/// `GET /v1/runs/{id}/events`: the history as JSON, or followed as SSE with `seq` for an id.
#[utoipa::path(
    get,
    path = "/runs/{id}/events",
    tag = "streams",
    params(RunPath, WhichOfRun, LastEventId),
    responses(
        (status = 200, description = "The history so far; with `Accept: text/event-stream`, followed to its end",
            content((RunEvents = "application/json"), (String = "text/event-stream")),
            headers(("Link" = Option<String>, description = "The next page, with `rel=\"next\"`, if there is one"))),
        (status = 204, description = "The run has ended, and the client has seen all of it"),
        (status = 404)
    )
)]
pub(super) async fn run_events(
    State(app): State<Arc<App>>,
    Id(run_id): Id,
    uri: Uri,
    headers: HeaderMap,
    Params(which): Params<WhichOfRun>,
) -> Result<Response, ApiError> {
    let limit = page::limit(which.limit.or(Some(page::LIMIT_MAX)))?;
    let mut history = app.engine.store().events(run_id).await?;
    let Some(last) = history.last() else { return Err(no_such_run(run_id)) };
    if !sse::is_wanted(&headers) {
        history.retain(|envelope| envelope.seq > which.after);
        let has_more = history.len() > limit;
        history.truncate(limit);
        let next = history.last().filter(|_| has_more).map(|last| last.seq);
        let link = page::next(&uri, "after", next.as_ref());
        return Ok((link, Json(RunEvents { events: history, next })).into_response());
    }
    let seen: u64 = sse::last_event_id(&headers)?.unwrap_or(which.after);
    if seen >= last.seq && last.event == Event::RunClosed {
        // What tells a browser not to ask again.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let events = app.engine.watch(run_id).filter_map(move |next| async move {
        match next {
            Ok(envelope) if envelope.seq <= seen => None,
            Ok(envelope) => Some(sse::frame(envelope.event.name(), &envelope.seq.to_string(), &envelope)),
            Err(error) => Some(sse::broken(&error)),
        }
    });
    sse::answer(&app, events)
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
    if !sse::is_wanted(&headers) {
        let text = app.outputs.read(run_id, &stage, found.attempt).await.map_err(failed)?.unwrap_or_default();
        let plain = (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        return Ok(([plain], text).into_response());
    }
    let offset: u64 = sse::last_event_id(&headers)?.unwrap_or(0);
    if offset >= found.len && !found.live && offset > 0 {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let pieces = app.outputs.follow(run_id, &stage, found.attempt, offset).map(|next| match next {
        Ok(chunk) => sse::frame("output", &chunk.next.to_string(), &OutputText { text: chunk.text }),
        Err(error) => sse::broken(&error),
    });
    sse::answer(&app, pieces)
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

pub(super) fn no_such_run(run_id: RunId) -> ApiError {
    ApiError::NotFound(format!("there is no run {run_id}"))
}
