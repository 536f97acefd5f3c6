//! `/runs`: all runs, newest first, page by page, as they happen.

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use landfall_engine::core::run::{RunId, RunState};
use landfall_engine::ports::RunQuery;
use serde::Deserialize;

use super::apps::RunLine;
use super::extract::Params;
use super::gate::Viewer;
use super::page::{self, Chrome, Oops};
use super::words::Tone;
use crate::error::ApiError;
use crate::server::App;

/// Runs on a page: what a person scrolls through before they filter.
const PAGE_RUNS: usize = 50;

/// Which runs, as the form of the page says. What is left empty is not asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Which {
    app: String,
    state: String,
    before: String,
    fragment: Option<u8>,
}

#[derive(Debug, Template)]
#[template(path = "runs.html")]
struct RunsPage {
    chrome: Chrome,
    cursor: String,
    which: Which,
    apps: Vec<String>,
    states: Vec<(&'static str, &'static str)>,
    list: RunsList,
}

#[derive(Debug, Template)]
#[template(path = "runs_list.html")]
struct RunsList {
    runs: Vec<RunLine>,
    /// Where the older ones are.
    older: Option<String>,
    /// Where the newest ones are, when these are not.
    newest: Option<String>,
    is_filtered: bool,
}

/// What can be asked for as a state, and how people call it.
const STATES: [(&str, &str); 11] = [
    ("open", "Going on"),
    ("live", "Live"),
    ("failed", "Failed"),
    ("rolled_back", "Rolled back"),
    ("pushed", "Pushed"),
    ("tested", "Tested"),
    ("built", "Built"),
    ("image_pushed", "Image pushed"),
    ("deployed", "Deployed"),
    ("smoked", "Smoked"),
    ("", "Any state"),
];

pub(super) async fn page(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Params(which): Params<Which>,
) -> Result<Response, Oops> {
    let store = app.engine.store();
    let cursor = store.near_end(0).await.0;
    let only = viewer.identity.only().map(str::to_owned);
    let asked = Some(which.app.clone()).filter(|app| !app.is_empty());
    if let Some(asked) = &asked {
        viewer.sees(asked)?;
    }
    let query = RunQuery {
        app: asked.or_else(|| only.clone()),
        state: state(&which.state)?,
        open: which.state == "open",
        before: before(&which.before)?,
        // One more than are shown tells whether there are older ones.
        limit: PAGE_RUNS + 1,
    };
    let mut runs = store.runs(query).await.map_err(ApiError::from)?;
    let has_more = runs.len() > PAGE_RUNS;
    runs.truncate(PAGE_RUNS);
    let now_ms = app.now_ms();
    let last = runs.last().filter(|_| has_more).map(|run| run.id.to_string());
    let list = RunsList {
        runs: runs.iter().map(|run| RunLine::of(run, now_ms)).collect(),
        older: last.map(|last| which.address(&last)),
        newest: (!which.before.is_empty()).then(|| which.address("")),
        is_filtered: !which.app.is_empty() || !which.state.is_empty(),
    };
    if which.fragment.is_some() {
        return Ok(page::html(&list));
    }
    let tone = list.runs.first().map_or(Tone::Idle, |run| run.badge.tone);
    let lanes = store.lanes().await.map_err(ApiError::from)?;
    let apps: BTreeSet<String> = lanes.into_iter().map(|(lane, _)| lane.app).collect();
    let apps = apps.into_iter().filter(|app| only.as_ref().is_none_or(|only| only == app)).collect();
    let states = STATES.into_iter().rev().take(1).chain(STATES.into_iter().take(STATES.len() - 1)).collect();
    let chrome = Chrome::new(&viewer, "runs", tone);
    let which = Which { app: only.unwrap_or(which.app.clone()), ..which };
    Ok(page::html(&RunsPage { chrome, cursor, which, apps, states, list }))
}

impl Which {
    /// Returns where the same runs are from a place on.
    fn address(&self, before: &str) -> String {
        // Names of apps and states need no escaping: others are not found, or refused.
        let pairs = [("app", self.app.as_str()), ("state", self.state.as_str()), ("before", before)];
        let given: Vec<String> = pairs
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if given.is_empty() { "/runs".into() } else { format!("/runs?{}", given.join("&")) }
    }
}

fn state(name: &str) -> Result<Option<RunState>, ApiError> {
    if name.is_empty() || name == "open" {
        return Ok(None);
    }
    let known = serde_json::from_value(serde_json::Value::from(name));
    known.map(Some).map_err(|_| ApiError::BadRequest(format!("{name:?} is no state of a run")))
}

fn before(text: &str) -> Result<Option<RunId>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| ApiError::BadRequest(format!("{text:?} is not the id of a run")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_that_a_run_can_have_can_be_asked_for() {
        for wanted in RunState::ALL {
            let found = STATES.iter().any(|(name, _)| state(name).ok().flatten() == Some(wanted));
            assert!(found, "{wanted}");
        }
        assert!(state("lunch").is_err() && before("7").is_err());
    }
}
