//! Deliveries of forges: `POST /v1/hooks/{github,gitlab,gitea,forgejo,bitbucket}/{app}`.
//!
//! ```text
//! body (bounded) ▶ signature ▶ one file a forge: Delivery ▶ begin: the turn, claims, filters ▶ engine
//! ```
//!
//! The signature is the authentication, so nothing is read of a body before it is checked, and a stranger learns
//! nothing: an app that is not there, one without a secret and a wrong signature are one answer.
//!
//! **Invariant:** a delivery chooses neither the address that is fetched, nor the environment, nor a path. It names
//! a ref and a commit, and both are checked.

mod begin;
mod bitbucket;
mod body;
mod delivery;
mod gitea;
mod github;
mod gitlab;
mod signature;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use landfall_engine::core::ledger::Registration;
use landfall_engine::core::run::RunId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::error::ApiError;
use crate::server::{App, FailedLogins, Peer};

use body::Room;
use delivery::{Delivery, Event, Malformed};

/// The secret with which deliveries to an app are signed that names no other.
const WEBHOOK_SECRET: &str = "WEBHOOK_SECRET";

/// An app's name as it is logged of a stranger's request.
const SHOWN_CHARS_MAX: usize = 40;

/// Takes deliveries.
#[derive(Debug)]
pub struct Hooks {
    room: Room,
    /// How often whom was wrong about a signature. A forge that has an old secret shuts nobody out of the API.
    strangers: FailedLogins,
    /// What is compared with where there is no secret, so that this takes as long.
    nobodys: String,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            room: Room::default(),
            strangers: FailedLogins::default(),
            nobodys: format!("{}{}", Uuid::new_v4(), Uuid::new_v4()),
        }
    }
}

/// Who delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forge {
    GitHub,
    GitLab,
    Gitea,
    Forgejo,
    Bitbucket,
}

impl Forge {
    const ALL: [Self; 5] = [Self::GitHub, Self::GitLab, Self::Gitea, Self::Forgejo, Self::Bitbucket];

    /// Returns its name in addresses and in the log.
    const fn name(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Gitea => "gitea",
            Self::Forgejo => "forgejo",
            Self::Bitbucket => "bitbucket",
        }
    }

    fn read(self, headers: &HeaderMap, body: &[u8]) -> Result<Delivery, Malformed> {
        match self {
            Self::GitHub => github::read(headers, body),
            Self::GitLab => gitlab::read(headers, body),
            Self::Gitea | Self::Forgejo => gitea::read(headers, body),
            Self::Bitbucket => bitbucket::read(headers, body),
        }
    }
}

/// Who delivers, and for which app.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "the fields are read by the derived description alone")]
struct DeliveryPath {
    /// The forge: `github`, `gitlab`, `gitea`, `forgejo` or `bitbucket`.
    #[param(pattern = "^(github|gitlab|gitea|forgejo|bitbucket)$")]
    forge: String,
    /// Name of the app.
    #[param(pattern = "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$", example = "shop")]
    app: String,
}

/// What a delivery is answered with: 202 when it began a run, 200 when all is said already.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HookAnswer {
    /// The runs that it led to, now or when it was delivered before.
    pub runs: Vec<HookRun>,
    /// What of it started nothing.
    pub nothing: Vec<Nothing>,
}

/// A run that a delivery led to. It is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HookRun {
    /// The branch or tag, with git's whole name.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The run.
    pub run_id: RunId,
    /// Where it is to be seen, from the server's root.
    pub url: String,
    /// False when it had begun before.
    pub fresh: bool,
}

/// Why something starts no run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Nothing {
    /// The branch or tag that it is about, with git's whole name.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Why.
    pub why: String,
}

/// `POST /v1/hooks/{forge}/{app}`: 202 once the runs are durable; 200 when there is nothing to begin, with the reason.
#[utoipa::path(
    post,
    path = "/v1/hooks/{forge}/{app}",
    operation_id = "deliver",
    tag = "hooks",
    security(()),
    params(DeliveryPath),
    request_body = serde_json::Value,
    responses(
        (status = 202, description = "The runs that it led to, of which some are new", body = HookAnswer),
        (status = 200, description = "Nothing is new: what it led to before, or why to nothing", body = HookAnswer),
        (status = 403),
        (status = 404),
        (status = 409),
        (status = 422),
        (status = 507)
    )
)]
pub(crate) async fn receive(
    State(app): State<Arc<App>>,
    Path((forge, name)): Path<(String, String)>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let from = peer.map(|Extension(peer)| peer.client(&headers));
    // Before any room is given to a body: a stranger may have a little of it, and not all of it.
    app.hooks.strangers.hears(from, app.now_ms())?;
    let forge = Forge::ALL.into_iter().find(|known| known.name() == forge).ok_or_else(|| {
        let known = Forge::ALL.map(Forge::name).join(", ");
        ApiError::NotFound(format!("there are no deliveries of {forge:?}; there are those of {known}"))
    })?;
    let read = app.hooks.room.read(&headers, body).await;
    let admitted = read.and_then(|body| Ok((admit(&app, forge, &name, &headers, &body)?, body)));
    let (registration, body) = admitted.inspect_err(|_| app.hooks.strangers.note(from, app.now_ms()))?;
    refuse_forms(&headers)?;
    let delivery = forge.read(&headers, &body).map_err(|wrong| ApiError::BadRequest(wrong.to_string()))?;
    let project = delivery::project(&body);
    drop(body);
    let answer = match delivery.event {
        Event::Push(_) if is_anothers(&registration, project.as_deref()) => {
            let theirs = project.unwrap_or_default();
            HookAnswer::nothing(format!("it is of the project {theirs:?}, and {name} is not built from that"))
        }
        Event::Ping => {
            HookAnswer::nothing("pong: deliveries to this address arrive, and their signature is right")
        }
        Event::Ignored { why } => HookAnswer::nothing(why),
        Event::Push(changes) => {
            let sender = begin::Sender { forge, id: delivery.id, name: delivery.sender };
            begin::begin(&app, &name, &registration, sender, changes).await?
        }
    };
    let status = if answer.runs.iter().any(|run| run.fresh) { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(answer)).into_response())
}

/// Reads a body as a forge's delivery of an event, and returns how many refs it moves: for whoever feeds it with nonsense.
///
/// # Errors
///
/// What was expected, for a body that is no delivery.
#[doc(hidden)]
pub fn try_to_read(forge: &str, event: &str, body: &[u8]) -> Result<usize, String> {
    let forge = Forge::ALL.into_iter().find(|known| known.name() == forge).ok_or("there is no such forge")?;
    let mut headers = HeaderMap::new();
    for name in ["x-github-event", "x-gitea-event", "x-event-key"] {
        headers.insert(name, event.parse().map_err(|_| "the event is no header")?);
    }
    let delivery = forge.read(&headers, body).map_err(|wrong| wrong.to_string())?;
    Ok(if let Event::Push(changes) = delivery.event { changes.len() } else { 0 })
}

impl HookAnswer {
    fn nothing(why: impl Into<String>) -> Self {
        Self { nothing: vec![Nothing { reference: None, why: why.into() }], ..Self::default() }
    }
}

/// Tells whether a delivery is of another project than the app is known to come from: a webhook of a whole organisation
/// delivers the pushes of all its projects.
fn is_anothers(registration: &Registration, project: Option<&str>) -> bool {
    let ours = registration.forge.as_ref().map(|forge| forge.project.as_str());
    matches!((ours, project), (Some(ours), Some(theirs)) if !ours.eq_ignore_ascii_case(theirs))
}

/// Lets a delivery in that is signed with the app's secret, and says of all others the same.
fn admit(
    app: &App,
    forge: Forge,
    name: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Registration, ApiError> {
    let registration = app.engine.ledger().borrow().apps.get(name).cloned();
    let secret = secret(app, name, registration.as_ref());
    let given = secret.as_deref().unwrap_or(&app.hooks.nobodys);
    let is_signed = signature::is_signed(forge, headers, body, given, now_seconds());
    match (registration, secret) {
        (Some(registration), Some(_)) if is_signed => Ok(registration),
        (registration, _) => {
            let shown: String = name.chars().take(SHOWN_CHARS_MAX).collect();
            let is_known = registration.is_some();
            tracing::info!(app = ?shown, is_known, forge = forge.name(), "a delivery was refused: it is not signed");
            Err(ApiError::Unsigned)
        }
    }
}

/// Returns the secret with which deliveries to an app are signed. Who sent one is told nothing; the log is.
fn secret(app: &App, name: &str, registration: Option<&Registration>) -> Option<String> {
    let named = registration.and_then(|registration| registration.webhook_secret.as_deref());
    let secret = named.unwrap_or(WEBHOOK_SECRET);
    let found = app.sources.secret(name, secret);
    // Looked up for an app that is not there too, so that this takes as long.
    registration?;
    match found {
        Ok(value) if !value.trim().is_empty() => Some(value),
        Ok(_) => {
            tracing::warn!(app = name, secret, "a delivery was refused: the app's webhook secret is empty");
            None
        }
        Err(missing) => {
            tracing::warn!(app = name, %missing, "a delivery was refused: its signature can't be checked");
            None
        }
    }
}

/// Forges offer this for servers of another time.
fn refuse_forms(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match kind.starts_with("application/x-www-form-urlencoded") {
        true => Err(ApiError::BadRequest(
            "the delivery is a form: choose `application/json` as the webhook's content type".into(),
        )),
        false => Ok(()),
    }
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
