//! The proxy's admin interface: HTTP/1 and JSON on a unix socket that only its owner can open.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::Path as UrlPath;
use axum::extract::Query;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use http::StatusCode;
use landfall_stages::proxy::ADMIN_SOCKET;
use landfall_stages::proxy::ProxyInfo;
use landfall_stages::proxy::Refusal;
use landfall_stages::proxy::Route;
use landfall_stages::proxy::RouteStatus;
use landfall_stages::proxy::RouteTraffic;
use landfall_stages::proxy::Switched;
use serde::Deserialize;
use tokio::net::UnixListener;

use super::encrypted;
use super::switchboard::Switchboard;
use super::table::Key;
use super::table::key_of;
use crate::tls::Certificates;

/// What a caller may ask us to wait for a drain; more would only hold a connection.
const DRAIN_WAIT_MAX: Duration = Duration::from_secs(3_600);

/// What the answers are made of.
#[derive(Clone, Debug)]
pub(super) struct Admin {
    pub(super) board: Arc<Switchboard>,
    pub(super) info: ProxyInfo,
    pub(super) certificates: Option<Arc<Certificates>>,
}

/// Opens the socket in `dir` in the place of whatever is there: the caller holds the folder's
/// lock, so that can only be the socket of a proxy that has died.
pub(super) fn bind(dir: &Path) -> io::Result<UnixListener> {
    let socket = dir.join(ADMIN_SOCKET);
    let unnamed = dir.join("admin.new");
    match std::fs::remove_file(&unnamed) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&unnamed)?;
    // It gets its name when its mode is right: there is no moment at which a stranger could connect.
    std::fs::set_permissions(&unnamed, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&unnamed, &socket)?;
    Ok(listener)
}

/// Serves until the switchboard is stopping and the last call is answered.
pub(super) async fn serve(listener: UnixListener, admin: Admin) -> io::Result<()> {
    let stopping = admin.board.stopping.clone();
    let router = Router::new()
        .route("/v1/proxy", get(info))
        .route("/v1/proxy/watch", get(watch))
        .route("/v1/routes", get(routes))
        .route("/v1/routes/{app}/{env}", get(route).put(switch))
        .route("/v1/routes/{app}/{env}/drained", get(drained))
        .route("/v1/routes/{app}/{env}/traffic", get(traffic))
        .fallback(|| async { Refused(not_found("there is nothing at this address")) })
        .with_state(admin);
    axum::serve(listener, router).with_graceful_shutdown(stopping.cancelled_owned()).await
}

async fn info(State(admin): State<Admin>) -> Json<ProxyInfo> {
    let Admin { mut info, certificates, .. } = admin;
    info.tls = info.tls.zip(certificates).map(|(tls, certificates)| encrypted::now(tls, &certificates));
    Json(info)
}

/// Answers, and ends its answer when the proxy ends.
async fn watch(State(admin): State<Admin>) -> Body {
    let first = stream::once(async { Ok::<_, std::convert::Infallible>(Bytes::from_static(b"serving\n")) });
    let rest = stream::once(admin.board.stopping.clone().cancelled_owned()).filter_map(|()| async { None });
    Body::from_stream(first.chain(rest))
}

async fn routes(State(admin): State<Admin>) -> Json<Vec<RouteStatus>> {
    Json(admin.board.statuses())
}

async fn route(State(admin): State<Admin>, UrlPath(key): UrlPath<Key>) -> Result<Json<RouteStatus>, Refused> {
    status(&admin, &key)
}

#[derive(Deserialize)]
struct Wait {
    within_ms: u64,
}

async fn drained(
    State(admin): State<Admin>,
    UrlPath(key): UrlPath<Key>,
    Query(wait): Query<Wait>,
) -> Result<Json<RouteStatus>, Refused> {
    let within = Duration::from_millis(wait.within_ms).min(DRAIN_WAIT_MAX);
    tokio::select! {
        () = admin.board.drained(&key) => {}
        () = tokio::time::sleep(within) => {}
        () = admin.board.stopping.cancelled() => {}
    }
    status(&admin, &key)
}

#[derive(Deserialize)]
struct From {
    from_ms: u64,
}

/// Tells how a route's requests went, as this process counted them.
async fn traffic(
    State(admin): State<Admin>,
    UrlPath(key): UrlPath<Key>,
    Query(From { from_ms }): Query<From>,
) -> Result<Json<RouteTraffic>, Refused> {
    admin.board.traffic(&key, from_ms).map(Json).ok_or_else(no_such_route)
}

async fn switch(
    State(admin): State<Admin>,
    UrlPath(key): UrlPath<Key>,
    route: Result<Json<Route>, JsonRejection>,
) -> Result<Json<Switched>, Refused> {
    let Json(route) = route.map_err(|rejection| Refused(invalid(rejection.body_text())))?;
    if key_of(&route) != key {
        return Err(Refused(invalid("the address names another app or environment than the route".into())));
    }
    // On a thread of its own, for the disk; and to its end, even when the caller hangs up.
    let switching = tokio::task::spawn_blocking(move || admin.board.switch(route)).await;
    match switching {
        Ok(switched) => switched.map(Json).map_err(Refused),
        Err(error) => {
            tracing::error!(%error, "a switch did not end");
            Err(Refused(Refusal::NotSaved { message: "the switch did not end; ask for the route".into() }))
        }
    }
}

fn status(admin: &Admin, key: &Key) -> Result<Json<RouteStatus>, Refused> {
    let status = admin.board.status(key);
    status.map(Json).ok_or_else(no_such_route)
}

fn no_such_route() -> Refused {
    Refused(not_found("there is no route for this app and environment"))
}

fn not_found(message: &str) -> Refusal {
    Refusal::NotFound { message: message.into() }
}

fn invalid(message: String) -> Refusal {
    Refusal::Invalid { message }
}

struct Refused(Refusal);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match &self.0 {
            Refusal::StaleGeneration { .. } | Refusal::HostTaken { .. } => StatusCode::CONFLICT,
            Refusal::Invalid { .. } => StatusCode::BAD_REQUEST,
            Refusal::NotFound { .. } => StatusCode::NOT_FOUND,
            Refusal::NotSaved { .. } => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, Json(self.0)).into_response()
    }
}
