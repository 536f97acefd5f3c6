//! The dashboard: pages about apps and runs, served by the same process, from the same log.
//!
//! ```text
//! GET  /login, /, /runs, /runs/ID, /apps/APP      pages, readable without a script
//! GET  /runs/ID?at=SEQ                            the run as it was after that event
//! GET  /runs/ID/VERB, /apps/APP/VERB              "do you mean it?", then
//! POST the same ──────▶ POST /v1/… in this process: the API decides, records and refuses, and nothing else does
//! GET  /assets/NAME                               styles, scripts, icons: compiled in
//! ```
//!
//! **Invariant:** a page shows what the log says, by the functions that `landfall replay` and the API use. Nothing is
//! kept here but who is logged in, and nothing is decided here.

mod app;
mod apps;
mod ask;
mod assets;
mod changes;
mod deed;
mod extract;
mod flow;
mod gate;
mod login;
mod page;
mod report;
mod run;
mod runs;
mod traffic;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::error::ApiError;
use crate::server::App;
use ask::Api;

/// Returns the routes of the dashboard. `api` is what decisions are handed to: the routes below `/v1`, behind their
/// own door.
pub(crate) fn routes(api: Router) -> Router<Arc<App>> {
    let api = Api::new(api);
    Router::new()
        .route("/", get(apps::page))
        .route("/login", get(login::page).post(login::log_in))
        .route("/logout", axum::routing::post(login::log_out))
        .route("/runs", get(runs::page))
        .route("/runs/{id}", get(run::page))
        .route("/runs/{id}/{verb}", get(deed::ask_about_run).post(deed::do_to_run))
        .route("/apps/{app}", get(app::page))
        .route("/apps/{app}/{verb}", get(deed::ask_about_app).post(deed::do_to_app))
        .route("/assets/{name}", get(assets::serve))
        .route("/favicon.ico", get(assets::favicon))
        .layer(axum::Extension(api))
}

/// A path that is not there: a page for a browser, the API's answer for everybody else.
pub(crate) async fn unknown(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let missing = ApiError::NotFound(format!("there is no {method} {}", uri.path()));
    let is_browser = headers.get("accept").is_some_and(|accept| accept.as_bytes().starts_with(b"text/html"));
    let is_ours = !uri.path().starts_with("/v1") && !uri.path().starts_with("/git");
    match method == Method::GET && is_browser && is_ours {
        true => page::Oops(missing).into_response(),
        false => missing.into_response(),
    }
}
