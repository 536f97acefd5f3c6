//! What monitoring asks: `/readyz` and `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use landfall_stages::proxy::{ProxyClient, RouteStatus};
use serde_json::{Map, Value, json};

use super::peer::Peer;
use super::ready::{self, Checks, Finding};
use super::{App, auth};
use crate::error::ApiError;
use crate::metrics::{CONTENT_TYPE, Metrics, Snapshot};
use crate::tls::Certificates;

/// The proxy counts in memory, and the disk is asked one number: longer is no answer.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// What monitoring asks of a server.
#[derive(Debug, Default)]
pub struct Vitals {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What asks the world whether it is well.
    pub checks: Checks,
    /// Who counts the apps' requests. None: nobody.
    pub proxy: Option<ProxyClient>,
    /// The certificates of the server. None: it has none.
    pub certificates: Option<Arc<Certificates>>,
}

/// `GET /readyz`: whether a push would be taken now and could come live, check by check. Needs no token; the
/// reasons are told to those who have one, and on this machine.
pub(super) async fn readiness(State(app): State<Arc<App>>, request: Request) -> Response {
    let (extensions, headers) = (request.extensions(), request.headers());
    let is_local = extensions.get::<Peer>().is_some_and(|peer| peer.is_local(headers));
    let tells_why = is_local || auth::reads_everything(&app, extensions, headers);
    let findings = ready::findings(&app).await;
    let is_ready = findings.iter().all(|finding| finding.problem.is_none() || !finding.decides);
    let checks: Map<_, _> =
        findings.iter().map(|finding| (finding.name.to_owned(), shown(finding, tells_why))).collect();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if is_ready { "ready" } else { "not_ready" };
    (status, Json(json!({ "status": word, "checks": checks }))).into_response()
}

fn shown(finding: &Finding, tells_why: bool) -> Value {
    match &finding.problem {
        None => json!({ "status": "ok" }),
        Some(_) if !tells_why => json!({ "status": "failed", "decides": finding.decides }),
        Some(reason) => json!({ "status": "failed", "decides": finding.decides, "reason": reason }),
    }
}

/// `GET /metrics`: everything that is counted and measured, as OpenMetrics text.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let read = Snapshot::of_log(app.engine.store().as_ref()).await?;
    let (routes, disk_free_bytes, findings) =
        tokio::join!(routes(&app), disk_free(&app), ready::findings(&app));
    let certificates = app.vitals.certificates.as_ref();
    let now = Snapshot {
        routes,
        disk_free_bytes,
        checks: findings.iter().map(|finding| (finding.name, finding.problem.is_none())).collect(),
        certificate_problems: certificates.map_or(0, |certificates| certificates.problems().len()),
        ..read
    };
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], app.vitals.metrics.expose(now)).into_response())
}

async fn routes(app: &App) -> Option<Vec<RouteStatus>> {
    let proxy = app.vitals.proxy.as_ref()?;
    tokio::time::timeout(READ_TIMEOUT, proxy.routes()).await.ok()?.ok()
}

async fn disk_free(app: &App) -> Option<u64> {
    let data = app.data.clone();
    let asked = tokio::task::spawn_blocking(move || {
        rustix::fs::statvfs(&data).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    });
    tokio::time::timeout(READ_TIMEOUT, asked).await.ok()?.ok()?
}
