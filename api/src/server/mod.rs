//! The HTTP API: what a person or a program may ask of a running engine.
//!
//! ```text
//! /healthz                          is it well?                 (no token)
//! /v1/…                             runs, events, output, apps  (Bearer token)
//! /git/APP.git                      the git remote              (token as password)
//! ```
//!
//! Handlers translate and nothing else: rules are the engine's, statuses are `error.rs`'s.

mod act;
mod auth;
mod control;
mod extract;
mod listen;
mod live;
mod names;
mod prune;
mod read;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, http::Method};
use landfall_engine::Engine;
use landfall_store::OutputDir;
use tokio_util::sync::CancellationToken;

use crate::data_dir::Token;
use crate::error::ApiError;
use crate::git_remote::{self, GitRemote, HookError};

pub use act::{Because, RollbackRequest, RunLink, TriggerName, TriggerRequest};
pub(crate) use auth::{ACTOR_HEADER, basic_user};
pub use control::{HoldRequest, LaneRequest, PromoteRequest, RetryRequest};
pub use listen::{Server, ServerError};
pub(crate) use live::gone_in_words;
pub use live::{OutputLine, OutputList, OutputText};
pub(crate) use names::{app_name, bare_repository};
pub use read::{AppLine, AppList, RunPage, ServerInfo};

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
    /// Any of these opens the API.
    pub tokens: Vec<Token>,
    /// Where pushes come in.
    pub git: GitRemote,
    /// Ends every stream when the server stops.
    pub stop: CancellationToken,
}

impl App {
    /// Tells whether a text is one of the tokens.
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
        .route("/apps/{app}/runs", post(act::trigger))
        .route("/apps/{app}/rollback", post(act::rollback))
        .route("/apps/{app}/promote", post(control::promote))
        .route("/apps/{app}/pause", post(control::pause))
        .route("/apps/{app}/resume", post(control::resume))
        .route("/apps/{app}/hold", post(control::hold))
        .route("/apps/{app}/release", post(control::release))
        .route("/runs", get(read::runs))
        .route("/runs/{id}", get(read::run))
        .route("/runs/{id}/events", get(live::run_events))
        .route("/runs/{id}/output", get(live::output))
        .route("/runs/{id}/cancel", post(act::cancel))
        .route("/runs/{id}/retry", post(control::retry))
        .route("/runs/{id}/approve", post(control::approve))
        .route("/runs/{id}/reject", post(control::reject))
        .route("/runs/{id}/skip", post(act::skip))
        .route("/runs/{id}/abort", post(act::abort))
        .route("/events", get(live::all_events))
        .route("/prune", post(prune::prune))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), auth::bearer))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    Router::new()
        .nest("/v1", v1)
        .route("/healthz", get(read::health))
        .route("/git/{*path}", axum::routing::any(git_remote::handle))
        .fallback(unknown)
        .with_state(app)
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
    tokio::join!(server.serve(router(Arc::clone(&app)), app.stop.clone()), hooks, waiting);
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
