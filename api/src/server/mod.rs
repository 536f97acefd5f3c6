//! The HTTP API: what a person or a program may ask of a running engine.
//!
//! ```text
//! /healthz, /readyz                 is it well?                 (no token)
//! /metrics                          what monitoring counts      (Bearer token, or a door of its own)
//! /v1/hooks/FORGE/APP               deliveries of forges        (signed)
//! /v1/openapi.json                  what the API is             (no token)
//! /v1/…                             runs, events, output, apps  (Bearer token)
//! /git/APP.git                      the git remote              (token as password)
//! /, /runs/…, /apps/…               the dashboard: see there    (a cookie, for a token)
//! ```
//!
//! Handlers translate and nothing else: rules are the engine's, statuses are `error.rs`'s.

mod act;
mod apps;
mod auth;
mod badge;
mod changes;
mod contract;
mod control;
mod describe;
pub(crate) mod etag;
pub(crate) mod extract;
mod listen;
mod live;
mod names;
mod observe;
mod once;
mod page;
mod peer;
mod prune;
mod read;
mod ready;
mod request;
mod secrets;
mod shield;
mod sse;
mod tail;
mod tokens;
mod vitals;
mod whole_log;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use landfall_engine::Engine;
use landfall_engine::ports::{Clock, SystemClock};
use landfall_stages::secrets::Secrets;
use landfall_store::OutputDir;
use tokio_util::sync::CancellationToken;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use crate::dashboard;
use crate::data_dir::Token;
use crate::error::ApiError;
use crate::git_remote::{self, GitRemote, HookError};
use crate::hooks::{self, Hooks};
use crate::sources::{self, Sources};
use crate::statuses::Statuses;

pub use act::{Because, RollbackRequest, RunLink, Skip, TriggerName, TriggerRequest};
pub use apps::{AppDetail, AppRequest, ForgeRequest, Standing};
pub use auth::FailedLogins;
pub use auth::Sessions;
pub(crate) use auth::scope_name;
pub(crate) use auth::{ACTOR_HEADER, Identity, basic, log_in, session};
pub use contract::openapi_json;
pub use control::{HoldRequest, LaneRequest, PromoteRequest, RetryRequest};
pub use listen::{PROTOCOLS, Server, ServerError};
pub(crate) use live::gone_in_words;
pub use live::{OutputLine, OutputList, OutputText, RunEvents};
pub(crate) use names::{app_name, bare_repository, env_name};
pub use observe::{ReleaseTraffic, Switch, SwitchKind, Traffic, TrafficPoint, UsualTimes};
pub use peer::Peer;
pub(crate) use read::lines_of;
pub use read::{AppLine, AppList, Health, LedgerPage, RunPage, ServerInfo};
pub use ready::{Check, Checks, Finding};
pub use request::Places;
pub use secrets::{SecretLine, SecretList};
pub use tail::Tail;
pub use tokens::{TokenLine, TokenList, TokenMade, TokenRequest};
pub(crate) use tokens::{lines_of_tokens, new_token};
pub use vitals::Vitals;
pub use whole_log::EventPage;

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
    /// Who is logged in by a browser.
    pub sessions: Sessions,
    /// The values behind names, and the vault that they are kept in.
    pub secrets: Secrets,
    /// Where pushes come in.
    pub git: GitRemote,
    /// Where commits come from.
    pub sources: Sources,
    /// Where deliveries come in.
    pub hooks: Hooks,
    /// How it stands with telling forges.
    pub statuses: Statuses,
    /// What monitoring asks.
    pub vitals: Vitals,
    /// How many are served at once.
    pub places: Places,
    /// The end of the log, for those who read along.
    pub tail: Tail,
    /// Ends every stream when the server stops.
    pub stop: CancellationToken,
}

impl App {
    /// Returns what handlers work with on an engine; nothing is served yet. `exe` is what git's hooks run.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn new(
        engine: Engine,
        outputs: Arc<OutputDir>,
        data: &Path,
        exe: &Path,
        tokens: Vec<Token>,
        secrets: Secrets,
        vitals: Vitals,
    ) -> io::Result<Self> {
        Ok(Self {
            engine,
            outputs,
            data: std::path::absolute(data).unwrap_or_else(|_| data.to_owned()),
            tokens,
            local: Token::random(),
            failed_logins: FailedLogins::default(),
            sessions: Sessions::default(),
            sources: Sources::new(data, secrets.clone()),
            secrets,
            git: GitRemote::prepare(data, exe)?,
            hooks: Hooks::default(),
            statuses: Statuses::default(),
            vitals,
            places: Places::default(),
            tail: Tail::default(),
            stop: CancellationToken::new(),
        })
    }

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

/// Returns what is behind the token. A route and its description are one thing: see `contract`.
fn behind_token() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default()
        .routes(routes!(read::server))
        .routes(routes!(read::apps))
        .routes(routes!(apps::one, apps::register, apps::remove))
        .routes(routes!(observe::traffic))
        .routes(routes!(observe::usual))
        .routes(routes!(changes::of_app))
        .routes(routes!(act::trigger))
        .routes(routes!(act::rollback))
        .routes(routes!(control::promote))
        .routes(routes!(control::pause))
        .routes(routes!(control::resume))
        .routes(routes!(control::hold))
        .routes(routes!(control::release))
        .routes(routes!(secrets::list))
        .routes(routes!(secrets::set, secrets::remove).layer(DefaultBodyLimit::max(secrets::BODY_BYTES_MAX)))
        .routes(routes!(read::runs))
        .routes(routes!(read::run))
        .routes(routes!(read::summary))
        .routes(routes!(live::run_events))
        .routes(routes!(live::output))
        .routes(routes!(act::cancel))
        .routes(routes!(control::retry))
        .routes(routes!(control::approve))
        .routes(routes!(control::reject))
        .routes(routes!(act::skip))
        .routes(routes!(act::abort))
        .routes(routes!(whole_log::whole_log))
        .routes(routes!(prune::prune))
        .routes(routes!(read::ledger))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
}

/// Returns what needs no token.
fn in_the_open() -> OpenApiRouter<Arc<App>> {
    contract::begun().routes(routes!(read::health)).routes(routes!(contract::openapi))
}

/// Returns what is open to those who sign.
fn signed() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default().routes(routes!(hooks::receive))
}

/// Returns what is open to everybody where an app says so.
fn public() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default().routes(routes!(badge::badge))
}

/// Returns the description of every route of the API.
fn document() -> OpenApi {
    let mut open = in_the_open().into_openapi();
    open.merge(signed().into_openapi());
    open.merge(public().into_openapi());
    contract::finished(open.nest("/v1", behind_token().into_openapi()))
}

/// Returns every route of the server.
pub fn router(app: Arc<App>) -> Router {
    let v1 = Router::from(behind_token())
        .fallback(request::unknown)
        .method_not_allowed_fallback(request::other_method)
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), request::in_turn))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), auth::bearer))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    let pages = dashboard::routes(Router::new().nest("/v1", v1.clone()).with_state(Arc::clone(&app)))
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), request::page_in_turn))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    let deliveries = Router::from(signed()).layer(middleware::from_fn(in_time));
    let badges = Router::from(public())
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), request::page_in_turn));
    let metrics = Router::new()
        .route(auth::METRICS, get(vitals::metrics))
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), request::in_turn))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&app), auth::bearer));
    Router::from(in_the_open())
        .route("/readyz", get(vitals::readiness))
        .merge(metrics)
        .merge(deliveries)
        .merge(pages)
        .merge(badges)
        .method_not_allowed_fallback(request::other_method)
        .nest("/v1", v1)
        .route("/git/{*path}", axum::routing::any(git_remote::handle))
        .fallback(dashboard::unknown)
        .layer(middleware::from_fn(request::traced))
        .layer(middleware::from_fn(shield::shield))
        .with_state(app)
}

/// Returns what is served at a door of its own, to whoever can reach it.
fn monitoring_router(app: Arc<App>) -> Router {
    Router::new()
        .route(auth::METRICS, get(vitals::metrics))
        .route("/healthz", get(read::health))
        .route("/readyz", get(vitals::readiness))
        .fallback(request::unknown)
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn(request::traced))
        .layer(middleware::from_fn(shield::shield))
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
    let watching = sources::watch(Arc::clone(&app));
    let tail = async {
        tokio::select! {
            () = app.tail.keep(&**app.engine.store()) => {}
            () = app.stop.cancelled() => {}
        }
    };
    let (routes, monitoring) = (router(Arc::clone(&app)), monitoring_router(Arc::clone(&app)));
    tokio::join!(server.serve(routes, monitoring, app.stop.clone()), hooks, waiting, watching, tail);
    if tokio::time::timeout(PUSH_STOP_TIMEOUT, app.git.finished()).await.is_err() {
        tracing::warn!("a push was still coming in when time was up; git ends it with its pipe");
    }
    Ok(())
}

/// Ends a request whose answer does not begin. Streams begin at once and then have no limit.
async fn in_time(request: Request, next: Next) -> Response {
    tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await.unwrap_or_else(|_| {
        let seconds = REQUEST_TIMEOUT.as_secs();
        ApiError::Unavailable(format!("there was no answer within {seconds} s; ask again")).into_response()
    })
}
