//! What changes something: triggers, rollbacks, cancels and decisions. Answered once it is recorded.

use std::path::Path as FilePath;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use landfall_engine::core::command::Push;
use landfall_engine::core::event::{Commit, Decision};
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::run::RunId;
use landfall_stages::git::{self, GitError};
use serde::{Deserialize, Serialize};

use super::App;
use super::auth::actor;
use super::extract::{Body, Id};
use super::names::{app_name, bare_repository, env_name, repository};
use crate::error::ApiError;

/// A reason is a line or a paragraph for people, and is recorded for ever.
const TEXT_BYTES_MAX: usize = 2_000;
/// Idempotency keys are UUIDs or delivery ids.
const KEY_BYTES_MAX: usize = 200;
/// What is recorded when nobody says why.
const NO_REASON: &str = "no reason was given";

/// What `POST /v1/apps/{app}/runs` takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TriggerRequest {
    /// Where the commit is: an absolute path or a URL. Default: what was pushed to the app's git remote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The full hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// A branch, tag or other revision instead of the hash. Default: the repository's HEAD.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The branch that the run counts to. Default: `ref`, if it is a branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The environment. Default: `production`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// Deploys a commit that is held since it was rolled back.
    pub release_hold: bool,
    /// What asks. Default: `api`.
    pub trigger: TriggerName,
    /// First line of the commit's message, where the server can't read it: for a repository behind a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Name of the commit's author, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// E-mail address of the commit's author, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// What asks for a run, beside a push.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TriggerName {
    /// A program.
    #[default]
    #[serde(rename = "api")]
    Api,
    /// A person at a terminal.
    #[serde(rename = "landfall run")]
    LandfallRun,
}

/// What every change answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLink {
    /// The run.
    pub run_id: RunId,
    /// Where it is to be seen, from the server's root.
    pub url: String,
}

/// `POST /v1/apps/{app}/runs`: 202 once the run is durable; 200 when the idempotency key had started it before.
pub(super) async fn trigger(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(request): Body<TriggerRequest>,
) -> Result<Response, ApiError> {
    let name = app_name(&name)?;
    let env = env_name(request.env.as_deref().unwrap_or("production"))?.to_owned();
    let claim = idempotency_key(&headers)?.map(|key| format!("api:{name}:{key}"));
    if let Some(claim) = &claim
        && let Some(run_id) = app.engine.store().claimed(claim).await?
    {
        // Before the commit is looked up: the branch may have moved on since.
        return Ok(linked(StatusCode::OK, run_id));
    }
    let (repository, is_local) = match &request.repository {
        Some(given) => {
            let checked = repository(given)?;
            let path = checked.strip_prefix("file://").unwrap_or(checked);
            (path.to_owned(), path.starts_with('/'))
        }
        None => {
            let own = bare_repository(&app.data, name);
            if !own.is_dir() {
                return Err(ApiError::NotFound(format!(
                    "nothing was pushed to {name} yet: push first, or name a `repository`"
                )));
            }
            (own.display().to_string(), true)
        }
    };
    let TriggerRequest { release_hold, trigger, .. } = request;
    let commit = match is_local {
        true => local_commit(FilePath::new(&repository), request).await?,
        false => remote_commit(request)?,
    };
    let trigger = match trigger {
        TriggerName::Api => "api",
        TriggerName::LandfallRun => "landfall run",
    };
    let lane = LaneId { app: name.to_owned(), env };
    let push = Push { lane, commit, repository, trigger: trigger.into(), release_hold };
    let triggered = app.engine.trigger(push, &actor(&headers), claim).await?;
    let status = if triggered.fresh { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok(linked(status, triggered.run_id))
}

/// Finds the commit in a repository on this machine.
async fn local_commit(repository: &FilePath, request: TriggerRequest) -> Result<Commit, ApiError> {
    let unknown = |what: String| ApiError::BadRequest(format!("{} has no {what}", repository.display()));
    let (commit, named) = match (request.commit, request.reference) {
        (Some(_), Some(_)) => return Err(ApiError::BadRequest("name `commit` or `ref`, not both".into())),
        (Some(sha), None) => (git::commit(repository, &sha).await.map_err(git_error)?, None),
        (None, Some(reference)) => {
            let head = format!("refs/heads/{reference}");
            let as_branch = git::resolve(repository, &head).await.map_err(git_error)?;
            let is_branch = as_branch.is_some();
            let sha = match as_branch {
                Some(sha) => Some(sha),
                None => git::resolve(repository, &reference).await.map_err(git_error)?,
            };
            let sha = sha.ok_or_else(|| unknown(format!("commit at {reference:?}")))?;
            let commit = git::commit(repository, &sha).await.map_err(git_error)?;
            (commit, Some(reference).filter(|_| is_branch))
        }
        (None, None) => {
            let head = git::head(repository).await.map_err(git_error)?;
            let branch = head.branch.clone();
            (head, branch)
        }
    };
    Ok(Commit { branch: request.branch.map(branch_name).transpose()?.or(named), ..commit })
}

/// Takes the caller's word for a commit that is behind a URL; the checkout fetches exactly this hash, or fails.
fn remote_commit(request: TriggerRequest) -> Result<Commit, ApiError> {
    let sha = request.commit.ok_or_else(|| {
        ApiError::BadRequest(
            "name the full hash as `commit`: refs are looked up in local repositories only".into(),
        )
    })?;
    let is_full = matches!(sha.len(), 40 | 64) && sha.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_full {
        return Err(ApiError::BadRequest(format!("{sha:?} is not a full commit hash (40 or 64 hex digits)")));
    }
    Ok(Commit {
        sha: sha.to_lowercase(),
        branch: request.branch.map(branch_name).transpose()?,
        subject: text("subject", request.subject)?.unwrap_or_default(),
        author: text("author", request.author)?.unwrap_or_default(),
        email: text("email", request.email)?.unwrap_or_default(),
    })
}

fn branch_name(branch: String) -> Result<String, ApiError> {
    let branch = text("branch", Some(branch))?.unwrap_or_default();
    let name = branch.strip_prefix("refs/heads/").unwrap_or(&branch);
    match name.is_empty() || name.contains(char::is_whitespace) {
        true => Err(ApiError::BadRequest(format!("{name:?} is not the name of a branch"))),
        false => Ok(name.to_owned()),
    }
}

fn git_error(error: GitError) -> ApiError {
    match error {
        GitError::Refused { .. } | GitError::NotASha(_) => ApiError::BadRequest(error.to_string()),
        GitError::NotInstalled(_) => ApiError::Unavailable(error.to_string()),
        GitError::Io { .. } => ApiError::internal("reading the repository", error),
    }
}

/// What `POST /v1/apps/{app}/rollback` takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RollbackRequest {
    /// The release that is to be live, by its run, its commit or its digest. Default: the one before the live one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The environment. Default: `production`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// Why, for the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /v1/apps/{app}/rollback`: starts a run that makes a former release live.
pub(super) async fn rollback(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(request): Body<RollbackRequest>,
) -> Result<Response, ApiError> {
    let env = env_name(request.env.as_deref().unwrap_or("production"))?.to_owned();
    let lane = LaneId { app: app_name(&name)?.to_owned(), env };
    let reason = reason(request.reason)?;
    let to = request.to.as_deref();
    let run_id = app.engine.rollback(&lane, to, "api", &actor(&headers), &reason).await?;
    Ok(linked(StatusCode::ACCEPTED, run_id))
}

/// What the changes of a run take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Because {
    /// Why, for the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /v1/runs/{id}/cancel`: ends a run, or rolls back what it deployed.
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    Id(run_id): Id,
    headers: HeaderMap,
    Body(because): Body<Because>,
) -> Result<Response, ApiError> {
    app.engine.cancel(run_id, &actor(&headers), &reason(because.reason)?).await?;
    Ok(linked(StatusCode::ACCEPTED, run_id))
}

/// `POST /v1/runs/{id}/skip`: lets a parked run go on without the stage.
pub(super) async fn skip(
    State(app): State<Arc<App>>,
    Id(run_id): Id,
    headers: HeaderMap,
    Body(because): Body<Because>,
) -> Result<Response, ApiError> {
    let reason = text("reason", because.reason)?.filter(|reason| !reason.is_empty()).ok_or_else(|| {
        ApiError::BadRequest("say why as `reason`: nobody saw the stage succeed, and the log keeps it".into())
    })?;
    decide(&app, run_id, &headers, Decision::Skip { reason }).await
}

/// `POST /v1/runs/{id}/abort`: gives a parked run up.
pub(super) async fn abort(
    State(app): State<Arc<App>>,
    Id(run_id): Id,
    headers: HeaderMap,
    Body(because): Body<Because>,
) -> Result<Response, ApiError> {
    decide(&app, run_id, &headers, Decision::Abort { reason: reason(because.reason)? }).await
}

pub(super) async fn decide(
    app: &App,
    run_id: RunId,
    headers: &HeaderMap,
    decision: Decision,
) -> Result<Response, ApiError> {
    app.engine.resolve(run_id, decision, &actor(headers)).await?;
    Ok(linked(StatusCode::ACCEPTED, run_id))
}

pub(super) fn linked(status: StatusCode, run_id: RunId) -> Response {
    let url = format!("/v1/runs/{run_id}");
    let location = HeaderValue::from_str(&url).ok().map(|url| [(header::LOCATION, url)]);
    (status, location.into_iter().flatten().collect::<HeaderMap>(), Json(RunLink { run_id, url }))
        .into_response()
}

pub(super) fn reason(given: Option<String>) -> Result<String, ApiError> {
    Ok(text("reason", given)?.filter(|text| !text.is_empty()).unwrap_or_else(|| NO_REASON.into()))
}

fn text(what: &str, given: Option<String>) -> Result<Option<String>, ApiError> {
    match given {
        Some(text) if text.len() > TEXT_BYTES_MAX => {
            Err(ApiError::BadRequest(format!("the {what} is longer than {TEXT_BYTES_MAX} bytes")))
        }
        given => Ok(given.map(|text| text.trim().to_owned())),
    }
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=KEY_BYTES_MAX).contains(&key.len()) => Ok(Some(key)),
        _ => Err(ApiError::BadRequest(format!(
            "an Idempotency-Key is 1 to {KEY_BYTES_MAX} printable characters, such as a UUID"
        ))),
    }
}
