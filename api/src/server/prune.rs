//! What an administrator asks of a running server: to give up what is old.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use landfall_engine::core::ledger::LedgerEvent;
use landfall_engine::ports::{Clock, SystemClock};

use super::App;
use super::auth::actor;
use super::extract::Body;
use crate::error::ApiError;
use crate::retention::{self, PruneReport, PruneRequest, Within, span_ms};

/// The name of an archive is a file's.
const ARCHIVE_BYTES_MAX: usize = 1_000;

/// `POST /v1/prune`: removes old outputs and what nobody needs, and tells what that was.
#[utoipa::path(
    post,
    path = "/prune",
    tag = "server",
    request_body = Option<PruneRequest>,
    responses((status = 200, description = "What was removed, or would be", body = PruneReport))
)]
pub(super) async fn prune(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(request): Body<PruneRequest>,
) -> Result<Json<PruneReport>, ApiError> {
    let older_than_ms = span_ms(&request.older_than).map_err(ApiError::BadRequest)?;
    if request.archive.as_ref().is_some_and(|name| name.len() > ARCHIVE_BYTES_MAX) {
        return Err(ApiError::BadRequest(format!(
            "the archive's name is longer than {ARCHIVE_BYTES_MAX} bytes"
        )));
    }
    let (store, outputs, now_ms) = (app.engine.store(), &app.outputs, SystemClock.now_ms());
    let sweep = async |dry| app.engine.sweep(dry).await;
    let within = Within::default();
    let report = retention::prune(&**store, outputs, now_ms, older_than_ms, &request, within, sweep).await?;
    if !request.dry_run {
        let (runs, swept) = (report.runs.len(), report.swept.len());
        let (runs, swept) = (runs as u64, swept as u64);
        app.engine.record(LedgerEvent::Pruned { runs, swept }, &actor(&headers)).await?;
    }
    Ok(Json(report))
}
