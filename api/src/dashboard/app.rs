//! `/apps/{app}`: an app in an environment: its releases, its lane, its runs.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{Extensions, HeaderMap};
use axum::response::Response;
use landfall_engine::core::environment::PRODUCTION;
use landfall_engine::core::ledger::Scope;
use landfall_engine::ports::RunQuery;
use serde::Deserialize;

use super::apps::{LaneView, ReleaseView, RunLine};
use super::ask::Api;
use super::changes::Changes;
use super::extract::Params;
use super::gate::Viewer;
use super::page::{self, Chrome, Oops};
use super::traffic::{Plot, Traffic};
use super::words::Tone;
use crate::error::ApiError;
use crate::server::{App, app_name, lines_of};

/// Runs that stand on the page; the others are a click away.
const RUNS_SHOWN: usize = 10;
/// Two releases are compared in the repository, which may be somewhere else; nobody waits for it any longer.
const COMPARED_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Template)]
#[template(path = "app.html")]
struct AppPage {
    chrome: Chrome,
    cursor: String,
    app: String,
    env: String,
    envs: Vec<String>,
    /// The releases that can be compared, newest first.
    releases: Vec<ReleaseView>,
    from: String,
    to: String,
    changes: Option<Changes>,
    /// Why there is nothing to show of what was asked for.
    unknown: Option<String>,
    plot: Option<Plot>,
    body: AppBody,
}

#[derive(Debug, Template)]
#[template(path = "app_body.html")]
struct AppBody {
    app: String,
    env: String,
    lane: Option<LaneView>,
    former: Vec<ReleaseView>,
    runs: Vec<RunLine>,
    may_deploy: bool,
    may_trigger: bool,
}

/// What of an app is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Which {
    env: String,
    from: String,
    to: String,
    fragment: Option<u8>,
}

pub(super) async fn page(
    State(app): State<Arc<App>>,
    Extension(api): Extension<Api>,
    viewer: Viewer,
    Path(name): Path<String>,
    extensions: Extensions,
    headers: HeaderMap,
    Params(which): Params<Which>,
) -> Result<Response, Oops> {
    let name = app_name(&name)?;
    viewer.sees(name)?;
    let store = app.engine.store();
    let cursor = store.near_end(0).await.0;
    let lines = lines_of(&app, Some(name)).await?;
    if lines.is_empty() && !app.engine.ledger().borrow().apps.contains_key(name) {
        let said = format!("there is no app {name}: nothing was ever pushed to it, and it is not registered");
        return Err(ApiError::NotFound(said).into());
    }
    let now_ms = app.now_ms();
    let envs: Vec<String> = lines.iter().map(|line| line.env.clone()).collect();
    let env = match (which.env.as_str(), envs.iter().any(|env| env == PRODUCTION)) {
        ("", true) => PRODUCTION.to_owned(),
        ("", false) => envs.first().map_or(PRODUCTION, String::as_str).to_owned(),
        (env, _) if envs.iter().any(|known| known == env) => env.to_owned(),
        (env, _) => {
            return Err(ApiError::NotFound(format!("{name} had no run in an environment {env:?}")).into());
        }
    };
    let query = RunQuery { app: Some(name.to_owned()), limit: RUNS_SHOWN * 5, ..RunQuery::default() };
    let mut runs = store.runs(query).await.map_err(ApiError::from)?;
    runs.retain(|run| run.lane.env == env);
    let line = lines.iter().find(|line| line.env == env);
    let former =
        line.map(|line| line.former.iter().map(|release| ReleaseView::of(release, now_ms)).collect());
    let body = AppBody {
        app: name.to_owned(),
        env: env.clone(),
        lane: line.map(|line| LaneView::of(line, &runs, now_ms)),
        former: former.unwrap_or_default(),
        runs: runs.iter().take(RUNS_SHOWN).map(|run| RunLine::of(run, now_ms)).collect(),
        may_deploy: viewer.may(Scope::Deploy, name),
        may_trigger: viewer.may(Scope::Trigger, name),
    };
    if which.fragment.is_some() {
        return Ok(page::html(&body));
    }
    let releases = line.iter().flat_map(|line| line.live.iter().chain(&line.former));
    let releases: Vec<ReleaseView> = releases.map(|release| ReleaseView::of(release, now_ms)).collect();
    let pick = |asked: &str, usual: usize| {
        let known = releases.iter().find(|release| release.run == asked);
        known.or_else(|| releases.get(usual)).map(|release| release.run.clone()).unwrap_or_default()
    };
    let (from, to) = (pick(&which.from, 1), pick(&which.to, 0));
    let asks = (&headers, extensions.get().copied());
    let is_asked = !which.from.is_empty() || !which.to.is_empty();
    let (changes, unknown) = match is_asked && !from.is_empty() && from != to {
        true => {
            let path = format!("/v1/apps/{name}/changes?env={env}&from={from}&to={to}");
            compared(api.read(&path, asks), COMPARED_WITHIN).await
        }
        false => (None, None),
    };
    let traffic: Option<Traffic> =
        api.read(&format!("/v1/apps/{name}/traffic?env={env}&since=1d"), asks).await;
    let plot = traffic.as_ref().and_then(Plot::of);
    let tone = body.runs.first().map_or(Tone::Idle, |run| run.badge.tone);
    let chrome = Chrome::new(&viewer, "apps", tone);
    let app = name.to_owned();
    Ok(page::html(&AppPage {
        chrome,
        cursor,
        app,
        env,
        envs,
        releases,
        from,
        to,
        changes,
        unknown,
        plot,
        body,
    }))
}

/// Waits for what lies between two releases, and says so where it does not come.
async fn compared(
    answer: impl Future<Output = Option<Changes>>,
    limit: Duration,
) -> (Option<Changes>, Option<String>) {
    match tokio::time::timeout(limit, answer).await {
        Ok(Some(changes)) => (Some(changes), None),
        Ok(None) => {
            (None, Some("What lies between these two can't be told: the repository does not have it.".into()))
        }
        Err(_) => {
            let seconds = limit.as_secs();
            (None, Some(format!("The repository gave no answer within {seconds} seconds: try again later.")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_repository_that_does_not_answer_is_not_waited_for() {
        let (changes, unknown) = compared(std::future::pending(), Duration::ZERO).await;
        assert!(changes.is_none() && unknown.unwrap().contains("no answer"));
        let (changes, unknown) = compared(async { None }, COMPARED_WITHIN).await;
        assert!(changes.is_none() && unknown.unwrap().contains("does not have it"));
        let (changes, unknown) = compared(async { Some(Changes::default()) }, COMPARED_WITHIN).await;
        assert!(changes.is_some() && unknown.is_none());
    }
}
