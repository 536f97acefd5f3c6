//! The HTTP API: what a person or a program may ask of a running engine.
//!
//! ```text
//! /healthz, /readyz                 is it well?                 (no token)
//! /metrics                          what monitoring counts      (Bearer token, or a door of its own)
//! /v1/…                             runs, events, output, apps  (Bearer token)
//! /git/APP.git                      the git remote              (token as password)
//! ```
//!
//! Handlers translate and nothing else: rules are the engine's, statuses are `error.rs`'s.

mod act;
mod apps;
mod auth;
mod extract;
mod listen;
mod live;
mod names;
mod peer;
mod prune;
mod read;
mod ready;
mod shield;
mod tokens;
mod vitals;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Router, http::Method};
use landfall_engine::Engine;
use landfall_engine::ports::{Clock, SystemClock};
use landfall_store::OutputDir;
use tokio_util::sync::CancellationToken;

use crate::data_dir::Token;
use crate::error::ApiError;
use crate::git_remote::{self, GitRemote, HookError};

pub use act::{Because, RollbackRequest, RunLink, TriggerName, TriggerRequest};
pub use apps::{AppDetail, AppRequest, ForgeRequest};
pub use auth::FailedLogins;
pub(crate) use auth::scope_name;
pub(crate) use auth::{ACTOR_HEADER, basic};
pub use listen::{PROTOCOLS, Server, ServerError};
pub(crate) use live::gone_in_words;
pub use live::{OutputLine, OutputList, OutputText};
pub(crate) use names::{app_name, bare_repository};
pub use peer::Peer;
pub use read::{AppLine, AppList, LedgerPage, RunPage, ServerInfo};
pub use ready::{Check, Checks, Finding};
pub use tokens::{TokenLine, TokenList, TokenMade, TokenRequest};
pub(crate) use tokens::{lines_of_tokens, new_token};
pub use vitals::Vitals;

/// A trigger or a decision is a few hundred bytes; a reason may be a paragraph.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long an answer may take to begin. Git is asked once or twice and the log synced; a minute is a fault.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a push that is coming in may take to finish when the server stops.
const PUSH_STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What handlers work with.
#[derive(Debug)]
pub struct App {
    /// The engine.
    pub engine: Engine,
    /// What stages printed.
    pub outputs: Arc<OutputDir>,
    /// The data folder.
    pub data: PathBuf,
    /// Any of these opens the whole API, beside those that are handed out.
    pub tokens: Vec<Token>,
    /// The one that is left in the data folder, for commands on this machine.
    pub local: Token,
    /// How often whom was wrong about a token.
    pub failed_logins: FailedLogins,
    /// Where pushes come in.
    pub git: GitRemote,
    /// What monitoring asks.
    pub vitals: Vitals,
    /// Ends every stream when the server stops.
    pub stop: CancellationToken,
}

impl App {
    /// Returns the wall clock, in milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        SystemClock.now_ms()
    }

    /// Tells whether a text is one of the server's own tokens.
    pub(crate) fn opens(&self, given: &str) -> bool {
        // Not `any`: which of them was right is nobody's business either.
        self.tokens.iter().fold(false, |opens, token| token.is(given) | opens)
    }
}

/// Returns every route of the server.
pub fn router(app: Arc<App>) -> Router {
    let v1 = Router::new()
        .route("/server", get(read::server))
        .route("/apps", get(read::apps))
        .route("/apps/{app}", get(apps::one).put(apps::register).delete(apps::remove))
        .route("/ledger", get(read::ledger))
        .route("/tokens", get(tokens::list).post(tokens::create))
        .route("/tokens/{id}", delete(tokens::revoke))
        .route("/apps/{app}/runs", post(act::trigger))
        .route("/apps/{app}/rollback", post(act::rollback))
        .route("/runs", get(read::runs))
        .route("/runs/{id}", get(read::run))
        .route("/runs/{id}/events", get(live::run_events))
        .route("/runs/{id}/output", get(live::output))
        .route("/runs/{id}/cancel", post(act::cancel))
        .route("/runs/{id}/retry", post(act::retry))
        .route("/runs/{id}/skip", post(act::skip))
        .route("/runs/{id}/abort", post(act::abort))
        .route("/events", get(live::all_events))
        .route("/prune", post(prune::prune))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), auth::bearer))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    let metrics = Router::new()
        .route(auth::METRICS, get(vitals::metrics))
        .layer(middleware::from_fn(in_time))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&app), auth::bearer));
    Router::new()
        .nest("/v1", v1)
        .merge(metrics)
        .merge(health())
        .route("/git/{*path}", axum::routing::any(git_remote::handle))
        .fallback(unknown)
        .layer(middleware::from_fn(shield::shield))
        .with_state(app)
}

/// Returns what is served at a door of its own, to whoever can reach it.
fn monitoring_router(app: Arc<App>) -> Router {
    Router::new()
        .route(auth::METRICS, get(vitals::metrics))
        .merge(health())
        .fallback(unknown)
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn(shield::shield))
        .with_state(app)
}

fn health() -> Router<Arc<App>> {
    Router::new().route("/healthz", get(vitals::health)).route("/readyz", get(vitals::readiness))
}

/// Serves a composed engine until its `stop`: first what was pushed and never heard of, then everything. What there is
/// no room for is begun once there is.
///
/// # Errors
///
/// [`HookError`] at once, when pushes could not be heard.
pub async fn serve_app(server: Server, app: Arc<App>) -> Result<(), HookError> {
    let hooks = git_remote::serve_hooks(Arc::clone(&app))?;
    git_remote::trigger_what_was_lost(&app).await;
    let waiting = git_remote::trigger_what_waits(&app);
    let (routes, monitoring) = (router(Arc::clone(&app)), monitoring_router(Arc::clone(&app)));
    tokio::join!(server.serve(routes, monitoring, app.stop.clone()), hooks, waiting);
    if tokio::time::timeout(PUSH_STOP_TIMEOUT, app.git.finished()).await.is_err() {
        tracing::warn!("a push was still coming in when time was up; git ends it with its pipe");
    }
    Ok(())
}

async fn unknown(method: Method, request: Request) -> ApiError {
    ApiError::NotFound(format!("there is no {method} {}", request.uri().path()))
}

/// Ends a request whose answer does not begin. Streams begin at once and then have no limit.
async fn in_time(request: Request, next: Next) -> Response {
    tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await.unwrap_or_else(|_| {
        let seconds = REQUEST_TIMEOUT.as_secs();
        ApiError::Unavailable(format!("there was no answer within {seconds} s; ask again")).into_response()
    })
}
