//! Apps: made known before their first run, looked at, forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use landfall_engine::audit::replay;
use landfall_engine::core::ledger::{Forge, ForgeKind, LedgerEvent, Registration, Source};
use landfall_engine::core::run::RunId;
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::RunQuery;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::auth::actor;
use super::describe::AppPath;
use super::extract::Body;
use super::names::{app_name, env_name, repository, secret_name};
use super::read::{AppLine, lines_of};
use crate::error::ApiError;
use crate::retention::span_ms;
use crate::sources::{SourceStatus, check_patterns};
use crate::statuses::StatusReport;

/// The least pause between two looks at a forge, in milliseconds: more often is what forges call abuse.
const POLL_MS_MIN: u64 = 10_000;
/// Runs of an app that are looked through for the newest of an environment.
const RUNS_LOOKED_AT: usize = 200;
/// Patterns of an app. More is a list of branches, and not a pattern.
const PATTERNS_MAX: usize = 100;
/// The longest pattern; git's own names end at 255 bytes.
const PATTERN_BYTES_MAX: usize = 255;

/// What is to be known of an app: the body of `PUT /v1/apps/{app}`, and `[apps.NAME]` in `server.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AppRequest {
    /// The URL that its commits are fetched from, https or ssh. Default: they are pushed to this server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git: Option<String>,
    /// Name of the secret that opens that URL: a private ssh key, or a token for https.
    #[schema(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Environment by branch: `{"main": "production", "release/*": "staging"}`. Default: `[on.push]` of the app's own
    /// configuration for pushes; `main` and `master` to production for a URL.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub branches: BTreeMap<String, String>,
    /// Environment by tag: `{"v*": "production"}`. Default: tags start nothing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Only pushes that change one of these: `["src/**", "!docs/**"]`. Default: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// How often the URL is asked for new commits: `1m`. Default: every ten minutes, for deliveries that got lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll: Option<String>,
    /// Name of the secret with which the forge signs its deliveries. Default: `WEBHOOK_SECRET`.
    #[schema(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_secret: Option<String>,
    /// Where the state of each run is reported to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forge: Option<ForgeRequest>,
    /// Shows `GET /v1/apps/{app}/badge.svg` without a token: what is live, and how the last run ended. Pages that have
    /// no token, such as a README, show it. Default: whoever has no token is not even told that there is the app.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub public_badge: bool,
}

/// Where the state of each run is reported to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgeRequest {
    /// What it speaks.
    pub kind: ForgeKind,
    /// Root of its API: `https://api.github.com`, `https://gitlab.example.com/api/v4`.
    pub api: String,
    /// `owner/name`.
    pub project: String,
    /// Name of the secret that holds the token.
    #[schema(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
    pub token: String,
}

/// What `GET /v1/apps/{app}` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AppDetail {
    /// Name of the app.
    pub app: String,
    /// What it was made known with. None: it was only ever pushed.
    pub registration: Option<AppRequest>,
    /// How it stands with the looking at its URL. None: it has none, or was not looked at yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked_at: Option<SourceStatus>,
    /// What it serves, by environment.
    pub environments: Vec<AppLine>,
    /// What goes on in each environment, in the same order.
    #[serde(default)]
    pub standings: Vec<Standing>,
    /// How it stands with telling its forge. None: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statuses: Option<StatusReport>,
}

/// What goes on in an environment of an app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Standing {
    /// Name of the environment.
    pub env: String,
    /// Its newest run.
    pub last_run: Option<RunSummary>,
    /// Its runs that are not over, newest first.
    pub open: Vec<RunSummary>,
    /// The runs of the former releases that a rollback can go back to, newest first: their images are kept.
    pub back_to: Vec<RunId>,
}

impl AppRequest {
    /// Checks it, and returns what is recorded.
    ///
    /// # Errors
    ///
    /// [`ApiError::BadRequest`], which names the field and what was expected there.
    pub fn registration(self) -> Result<Registration, ApiError> {
        let Self { git, credential, branches, tags, paths, poll, webhook_secret, forge, public_badge } = self;
        let source = match git {
            None if credential.is_some() || poll.is_some() => {
                return Err(ApiError::BadRequest(
                    "`credential` and `poll` are for an app that is fetched: name its URL as `git`".into(),
                ));
            }
            None => Source::Push,
            Some(url) => Source::Git {
                url: repository(&url)?.to_owned(),
                credential: named("credential", credential)?,
            },
        };
        for (pattern, env) in branches.iter().chain(&tags) {
            checked_pattern(pattern)?;
            env_name(env)?;
        }
        paths.iter().try_for_each(|pattern| checked_pattern(pattern.strip_prefix('!').unwrap_or(pattern)))?;
        if branches.len() + tags.len() + paths.len() > PATTERNS_MAX {
            return Err(ApiError::BadRequest(format!("an app has at most {PATTERNS_MAX} patterns")));
        }
        let poll_ms = poll.map(|span| span_ms(&span)).transpose().map_err(ApiError::BadRequest)?;
        if let Some(poll_ms) = poll_ms.filter(|poll_ms| *poll_ms < POLL_MS_MIN) {
            return Err(ApiError::BadRequest(format!(
                "`poll` is {poll_ms} ms: expected {} s or more, which forges bear",
                POLL_MS_MIN / 1_000
            )));
        }
        let webhook_secret = named("webhook_secret", webhook_secret)?;
        let forge = forge.map(ForgeRequest::checked).transpose()?;
        let registration =
            Registration { source, branches, tags, paths, poll_ms, webhook_secret, forge, public_badge };
        check_patterns(&registration).map_err(|wrong| ApiError::BadRequest(wrong.to_string()))?;
        Ok(registration)
    }
}

impl From<Registration> for AppRequest {
    fn from(known: Registration) -> Self {
        let Registration { source, branches, tags, paths, poll_ms, webhook_secret, forge, public_badge } =
            known;
        let (git, credential) = match source {
            Source::Push => (None, None),
            Source::Git { url, credential } => (Some(url), credential),
        };
        let poll =
            poll_ms.map(|ms| humantime::format_duration(std::time::Duration::from_millis(ms)).to_string());
        let forge =
            forge.map(|Forge { kind, api, project, token }| ForgeRequest { kind, api, project, token });
        Self { git, credential, branches, tags, paths, poll, webhook_secret, forge, public_badge }
    }
}

impl ForgeRequest {
    fn checked(self) -> Result<Forge, ApiError> {
        let Self { kind, api, project, token } = self;
        let is_url = reqwest::Url::parse(&api).is_ok_and(|url| {
            // The token goes there.
            let is_sealed = url.scheme() == "https" || (url.scheme() == "http" && is_this_machine(&url));
            is_sealed && url.username().is_empty() && url.password().is_none()
        });
        if !is_url {
            return Err(ApiError::BadRequest(format!(
                "`forge.api` is {:?}: expected the root of the forge's API, with https and without a password, such as \
                 https://api.github.com",
                landfall_stages::git::without_credentials(&api)
            )));
        }
        let parts: Vec<&str> = project.split('/').collect();
        let is_plain = |part: &&str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
        };
        if parts.len() < 2 || !parts.iter().all(is_plain) {
            return Err(ApiError::BadRequest(format!("`forge.project` is {project:?}: expected owner/name")));
        }
        let token = secret_name(&token).map(str::to_owned)?;
        Ok(Forge { kind, api: api.trim_end_matches('/').to_owned(), project, token })
    }
}

fn is_this_machine(url: &reqwest::Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
        None => false,
    }
}

fn named(field: &str, secret: Option<String>) -> Result<Option<String>, ApiError> {
    let wrong = |error: ApiError| ApiError::BadRequest(format!("`{field}`: {}", error.problem().detail));
    secret.map(|name| secret_name(&name).map(str::to_owned).map_err(wrong)).transpose()
}

fn checked_pattern(pattern: &str) -> Result<(), ApiError> {
    let fits = (1..=PATTERN_BYTES_MAX).contains(&pattern.len()) && !pattern.chars().any(char::is_control);
    fits.then_some(()).ok_or_else(|| {
        ApiError::BadRequest(format!(
            "{pattern:?} is no pattern: expected 1 to {PATTERN_BYTES_MAX} bytes, such as main or release/*"
        ))
    })
}

/// `GET /v1/apps/{app}`: what is known of an app, and what it serves.
#[utoipa::path(
    get,
    path = "/apps/{app}",
    operation_id = "app",
    tag = "apps",
    params(AppPath),
    responses(
        (status = 200, description = "What is known of the app, and what it serves", body = AppDetail),
        (status = 404)
    )
)]
pub(super) async fn one(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<AppDetail>, ApiError> {
    let name = app_name(&name)?;
    let registration = app.engine.ledger().borrow().apps.get(name).cloned();
    let environments = lines_of(&app, Some(name)).await?;
    if registration.is_none() && environments.is_empty() {
        return Err(ApiError::NotFound(format!("there is no app {name}: push it, or make it known")));
    }
    let registration = registration.map(AppRequest::from);
    let (looked_at, statuses) = (app.sources.status(name), app.statuses.of(name));
    let mut standings = Vec::new();
    for line in &environments {
        standings.push(standing(&app, line).await?);
    }
    Ok(Json(AppDetail { app: name.to_owned(), registration, looked_at, environments, standings, statuses }))
}

/// Returns what goes on in an environment.
async fn standing(app: &App, line: &AppLine) -> Result<Standing, ApiError> {
    let store = app.engine.store();
    let of_app = RunQuery { app: Some(line.app.clone()), limit: RUNS_LOOKED_AT, ..RunQuery::default() };
    let is_here = |run: &RunSummary| run.lane.env == line.env;
    let last_run = store.runs(of_app.clone()).await?.into_iter().find(is_here);
    let open = store.runs(RunQuery { open: true, ..of_app }).await?.into_iter().filter(is_here).collect();
    let retain = match &line.live {
        Some(live) => {
            let settings = replay(&store.events(live.run).await?, None).run.and_then(|run| run.settings);
            settings.map(|settings| settings.deploy).unwrap_or_default().retain
        }
        None => 0,
    };
    let kept = line.former.iter().take(usize::try_from(retain).unwrap_or(usize::MAX));
    Ok(Standing { env: line.env.clone(), last_run, open, back_to: kept.map(|release| release.run).collect() })
}

/// `PUT /v1/apps/{app}`: makes an app known, or changes what is known of it.
#[utoipa::path(
    put,
    path = "/apps/{app}",
    operation_id = "register_app",
    tag = "apps",
    params(AppPath),
    request_body = Option<AppRequest>,
    responses(
        (status = 201, description = "The app is known from now on", body = AppRequest),
        (status = 200, description = "The app was known, and is known as this now", body = AppRequest),
    )
)]
pub(super) async fn register(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(request): Body<AppRequest>,
) -> Result<(StatusCode, Json<AppRequest>), ApiError> {
    let name = app_name(&name)?;
    let is_new = app.registers(name, request, &actor(&headers)).await?;
    let known = app.engine.ledger().borrow().apps.get(name).cloned().unwrap_or_default();
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(known.into())))
}

/// `DELETE /v1/apps/{app}`: forgets what an app was made known with: its forge is not heard and its URL not asked any
/// more. It can still be pushed; what it serves goes on serving, and its runs stay in the log.
#[utoipa::path(
    delete,
    path = "/apps/{app}",
    operation_id = "remove_app",
    tag = "apps",
    params(AppPath),
    responses((status = 204, description = "What the app was made known with is forgotten"), (status = 404))
)]
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let name = app_name(&name)?;
    if !app.engine.ledger().borrow().apps.contains_key(name) {
        return Err(ApiError::NotFound(format!("the app {name} is not registered")));
    }
    app.engine.record(LedgerEvent::AppRemoved { app: name.to_owned() }, &actor(&headers)).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl App {
    /// Records what is to be known of an app, unless that is known already. Returns whether the app is new.
    ///
    /// # Errors
    ///
    /// [`ApiError::BadRequest`] for what can't be; otherwise what the log says.
    pub async fn registers(&self, name: &str, request: AppRequest, actor: &str) -> Result<bool, ApiError> {
        let name = app_name(name)?;
        let registration = request.registration()?;
        let before = self.engine.ledger().borrow().apps.get(name).cloned();
        if before.as_ref() != Some(&registration) {
            let registration = Box::new(registration);
            self.engine
                .record(LedgerEvent::AppRegistered { app: name.to_owned(), registration }, actor)
                .await?;
        }
        Ok(before.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(request: AppRequest) -> String {
        request.registration().unwrap_err().problem().detail
    }

    #[test]
    fn what_is_asked_comes_back_as_it_was_asked() {
        let request = AppRequest {
            git: Some("git@git.example.com:ada/shop.git".into()),
            credential: Some("DEPLOY_KEY".into()),
            branches: [("main".into(), "production".into()), ("release/*".into(), "staging".into())].into(),
            paths: vec!["src/**".into(), "!docs/**".into()],
            poll: Some("1m".into()),
            webhook_secret: Some("WEBHOOK_SECRET".into()),
            forge: Some(ForgeRequest {
                kind: ForgeKind::GitLab,
                api: "https://gitlab.example.com/api/v4".into(),
                project: "ada/web/shop".into(),
                token: "GITLAB_TOKEN".into(),
            }),
            ..AppRequest::default()
        };
        assert_eq!(AppRequest::from(request.clone().registration().unwrap()), request);
    }

    #[test]
    fn what_can_t_be_is_refused_with_the_field_and_what_was_expected() {
        let git = Some("https://git.example.com/shop.git".to_owned());
        let with = |request: AppRequest| refused(AppRequest { git: git.clone(), ..request });
        let said = with(AppRequest { credential: Some("hunter2!".into()), ..AppRequest::default() });
        assert!(said.starts_with("`credential`: ") && !said.contains("hunter2"), "{said}");
        for ours in ["LANDFALL_TOKEN", "LANDFALL_SMTP_URL", "lower_case"] {
            let said = with(AppRequest { credential: Some(ours.into()), ..AppRequest::default() });
            assert!(said.starts_with("`credential`: "), "{ours}: {said}");
        }
        let said = with(AppRequest { poll: Some("1s".into()), ..AppRequest::default() });
        assert!(said.contains("10 s or more"), "{said}");
        let said = with(AppRequest {
            branches: [(String::new(), "production".into())].into(),
            ..AppRequest::default()
        });
        assert!(said.contains("no pattern"), "{said}");
        let said =
            with(AppRequest { branches: [("main".into(), "No!".into())].into(), ..AppRequest::default() });
        assert!(said.contains("environment"), "{said}");
        let said = refused(AppRequest { poll: Some("1m".into()), ..AppRequest::default() });
        assert!(said.contains("`git`"), "{said}");
        for (api, project) in [
            ("ftp://x", "ada/shop"),
            ("http://git.example.com/api/v1", "ada/shop"),
            ("https://ada:hunter2@example.com", "ada/shop"),
            ("https://api.github.com", "shop"),
            ("https://api.github.com", "../shop"),
        ] {
            let (api, project) = (api.to_owned(), project.to_owned());
            let forge = ForgeRequest { kind: ForgeKind::GitHub, api, project, token: "TOKEN".into() };
            let said = with(AppRequest { forge: Some(forge), ..AppRequest::default() });
            assert!(said.starts_with("`forge.") && !said.contains("hunter2"), "{said}");
        }
    }
}
