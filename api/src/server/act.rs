//! What changes something: triggers, rollbacks, cancels and decisions. Answered once it is recorded.

use std::path::Path as FilePath;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use landfall_engine::core::command::Push;
use landfall_engine::core::event::{Commit, Decision};
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::ledger::Source;
use landfall_engine::core::run::RunId;
use landfall_engine::{Claim, Rollback, Terms};
use landfall_stages::git::{self, GitError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::{Identity, actor, may_name_repositories, may_release};
use super::describe::{AppPath, IdempotencyKey, IfMatch, RunPath};
use super::extract::{Body, Id};
use super::live::no_such_run;
use super::names::{app_name, bare_repository, env_name, repository};
use super::{App, etag, once};
use crate::error::ApiError;

/// A reason is a line or a paragraph for people, and is recorded for ever.
const TEXT_CHARS_MAX: usize = 2_000;
/// What is recorded when nobody says why.
const NO_REASON: &str = "no reason was given";

/// What `POST /v1/apps/{app}/runs` takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TriggerRequest {
    /// Where the commit is: an absolute path or a URL. Default: where the app's commits come from. Only for the token of
    /// an administrator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The full hash.
    #[schema(pattern = "^([0-9a-fA-F]{40}|[0-9a-fA-F]{64})$")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// A branch, tag or other revision instead of the hash. Default: the repository's HEAD.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The branch that the run counts to. Default: `ref`, if it is a branch.
    #[schema(max_length = 2000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The environment. Default: `production`.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// Deploys a commit that is held since it was rolled back.
    pub release_hold: bool,
    /// What asks. Default: `api`.
    pub trigger: TriggerName,
    /// First line of the commit's message, where the server can't read it: for a repository behind a URL.
    #[schema(max_length = 2000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Name of the commit's author, likewise.
    #[schema(max_length = 2000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// E-mail address of the commit's author, likewise.
    #[schema(max_length = 2000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// What asks for a run, beside a push.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunLink {
    /// The run.
    pub run_id: RunId,
    /// Where it is to be seen, from the server's root.
    pub url: String,
}

/// `POST /v1/apps/{app}/runs`: 202 once the run is durable; 200 when the idempotency key had started it before.
#[utoipa::path(
    post,
    path = "/apps/{app}/runs",
    tag = "apps",
    params(AppPath, IdempotencyKey),
    request_body = Option<TriggerRequest>,
    responses(
        (status = 202, description = "The run is recorded and begins", body = RunLink,
            headers(("Location" = String, description = "The run"))),
        (status = 200, description = "The idempotency key had started this run before", body = RunLink,
            headers(("Location" = String, description = "The run"))),
        (status = 404), (status = 409), (status = 422), (status = 507)
    )
)]
pub(super) async fn trigger(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    identity: Option<Extension<Identity>>,
    headers: HeaderMap,
    Body(request): Body<TriggerRequest>,
) -> Result<Response, ApiError> {
    let name = app_name(&name)?;
    if request.release_hold {
        may_release(identity.as_deref())?;
    }
    let env = env_name(request.env.as_deref().unwrap_or("production"))?.to_owned();
    let claim = once::claim(&headers, name, "trigger", &request)?;
    if let Some(claim) = &claim
        && let Some(run_id) = claim.asked_before(&**app.engine.store()).await?
    {
        // Before the commit is looked up: the branch may have moved on since.
        return Ok(linked(StatusCode::OK, run_id));
    }
    let (repository, is_local) = match &request.repository {
        Some(given) => {
            may_name_repositories(identity.as_deref())?;
            let checked = repository(given)?;
            let path = checked.strip_prefix("file://").unwrap_or(checked);
            (path.to_owned(), path.starts_with('/'))
        }
        None => own_repository(&app, name)?,
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

/// Returns where an app's commits come from, and whether that is on this machine.
fn own_repository(app: &App, name: &str) -> Result<(String, bool), ApiError> {
    if let Some(Source::Git { url, .. }) =
        app.engine.ledger().borrow().apps.get(name).map(|known| &known.source)
    {
        return Ok((url.clone(), false));
    }
    let own = bare_repository(&app.data, name);
    match own.is_dir() {
        true => Ok((own.display().to_string(), true)),
        false => Err(ApiError::NotFound(format!(
            "nothing was pushed to {name} yet: push first, or name a `repository`"
        ))),
    }
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
        GitError::Refused { .. } | GitError::NotASha(_) | GitError::Credential(_) => {
            ApiError::BadRequest(error.to_string())
        }
        GitError::NotInstalled(_) => ApiError::Unavailable(error.to_string()),
        GitError::Io { .. } => ApiError::internal("reading the repository", error),
    }
}

/// What `POST /v1/apps/{app}/rollback` takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RollbackRequest {
    /// The release that is to be live, by its run, its commit or its digest. Default: the one before the live one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The environment. Default: `production`.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// Why, for the log.
    #[schema(max_length = 2000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /v1/apps/{app}/rollback`: starts a run that makes a former release live.
#[utoipa::path(
    post,
    path = "/apps/{app}/rollback",
    tag = "apps",
    params(AppPath, IdempotencyKey),
    request_body = Option<RollbackRequest>,
    responses(
        (status = 202, description = "The run is recorded and begins", body = RunLink,
            headers(("Location" = String, description = "The run"))),
        (status = 200, description = "The idempotency key had started this run before", body = RunLink,
            headers(("Location" = String, description = "The run"))),
        (status = 404), (status = 409), (status = 422), (status = 507)
    )
)]
pub(super) async fn rollback(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(request): Body<RollbackRequest>,
) -> Result<Response, ApiError> {
    let name = app_name(&name)?;
    let claim = once::claim(&headers, name, "rollback", &request)?;
    let env = env_name(request.env.as_deref().unwrap_or("production"))?.to_owned();
    let lane = LaneId { app: name.to_owned(), env };
    let reason = reason(request.reason)?;
    let asked = Rollback { lane: &lane, to: request.to.as_deref(), trigger: "api", reason: &reason };
    let triggered = app.engine.rollback_once(asked, &actor(&headers), claim).await?;
    let status = if triggered.fresh { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok(linked(status, triggered.run_id))
}

/// What the changes of a run take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Because {
    /// Why, for the log.
    #[schema(max_length = 2000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /v1/runs/{id}/cancel`: ends a run, or rolls back what it deployed.
#[utoipa::path(
    post,
    path = "/runs/{id}/cancel",
    tag = "runs",
    params(RunPath, IdempotencyKey, IfMatch),
    request_body = Option<Because>,
    responses(
        (status = 202, description = "That is recorded, and is being done", body = RunLink,
            headers(("Location" = String, description = "The run"))),
        (status = 404), (status = 409), (status = 412), (status = 422)
    )
)]
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    Id(run_id): Id,
    headers: HeaderMap,
    Body(because): Body<Because>,
) -> Result<Response, ApiError> {
    let claim = once::claim(&headers, &run_id.to_string(), "cancel", &because)?;
    let (reason, actor) = (reason(because.reason)?, actor(&headers));
    let terms = terms(&app, run_id, &headers, claim).await?;
    app.engine.cancel_on(run_id, &actor, &reason, terms).await?;
    Ok(linked(StatusCode::ACCEPTED, run_id))
}

/// What the skipping of a stage takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Skip {
    /// Why, for the log: nobody saw the stage succeed.
    #[schema(required, min_length = 1, max_length = 2000, pattern = r"\S")]
    pub reason: String,
}

/// `POST /v1/runs/{id}/skip`: lets a parked run go on without the stage.
#[utoipa::path(
    post,
    path = "/runs/{id}/skip",
    tag = "runs",
    params(RunPath, IdempotencyKey, IfMatch),
    request_body = Skip,
    responses(
        (status = 202, description = "That is recorded, and is being done", body = RunLink,
            headers(("Location" = String, description = "The run"))),
        (status = 404), (status = 409), (status = 412), (status = 422)
    )
)]
pub(super) async fn skip(
    State(app): State<Arc<App>>,
    Id(run_id): Id,
    headers: HeaderMap,
    Body(skip): Body<Skip>,
) -> Result<Response, ApiError> {
    let reason = text("reason", Some(skip.reason))?.filter(|reason| !reason.is_empty()).ok_or_else(|| {
        ApiError::BadRequest("say why as `reason`: nobody saw the stage succeed, and the log keeps it".into())
    })?;
    decide(&app, run_id, &headers, Decision::Skip { reason }).await
}

/// `POST /v1/runs/{id}/abort`: gives a parked run up.
#[utoipa::path(
    post,
    path = "/runs/{id}/abort",
    tag = "runs",
    params(RunPath, IdempotencyKey, IfMatch),
    request_body = Option<Because>,
    responses(
        (status = 202, description = "That is recorded, and is being done", body = RunLink,
            headers(("Location" = String, description = "The run"))),
        (status = 404), (status = 409), (status = 412), (status = 422)
    )
)]
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
    let claim = once::claim(headers, &run_id.to_string(), "decide", &decision)?;
    let terms = terms(app, run_id, headers, claim).await?;
    app.engine.resolve_on(run_id, decision, &actor(headers), terms).await?;
    Ok(linked(StatusCode::ACCEPTED, run_id))
}

/// Returns the terms on which a run is asked for something: `Idempotency-Key` and `If-Match`.
pub(super) async fn terms(
    app: &App,
    run_id: RunId,
    headers: &HeaderMap,
    claim: Option<Claim>,
) -> Result<Terms, ApiError> {
    let mut terms = Terms { if_seq: None, claim };
    if !headers.contains_key(header::IF_MATCH) {
        return Ok(terms);
    }
    let store = app.engine.store();
    if let Some(claim) = &terms.claim
        && claim.asked_before(&**store).await?.is_some()
    {
        // It was done, and the run has moved on by that.
        return Ok(terms);
    }
    let history = store.events(run_id).await?;
    let last = history.last().ok_or_else(|| no_such_run(run_id))?;
    etag::expect(headers, &etag::of_run(last.seq, &last.hash))?;
    // It may move until the engine hears of it.
    terms.if_seq = Some(last.seq);
    Ok(terms)
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
        Some(text) if text.chars().count() > TEXT_CHARS_MAX => {
            Err(ApiError::BadRequest(format!("the {what} is longer than {TEXT_CHARS_MAX} characters")))
        }
        given => Ok(given.map(|text| text.trim().to_owned())),
    }
}
