//! `/`: every app in every environment: what is live, since when, and how its last run stands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use landfall_engine::audit::short_digest;
use landfall_engine::core::lane::Release;
use landfall_engine::core::ledger::Scope;
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::RunQuery;
use serde::Deserialize;

use super::extract::Params;
use super::gate::Viewer;
use super::page::{self, Chrome, Oops};
use super::words::{Badge, Tone, When, subject};
use crate::error::ApiError;
use crate::server::{App, AppLine, lines_of};

/// So many runs of an app are looked through for the last one of each environment.
const LOOKED_THROUGH: usize = 50;

#[derive(Debug, Template)]
#[template(path = "apps.html")]
struct AppsPage {
    chrome: Chrome,
    /// Where in the log this is.
    cursor: String,
    /// The one app that is shown, if it is one.
    only: Option<String>,
    list: AppsList,
}

#[derive(Debug, Template)]
#[template(path = "apps_list.html")]
struct AppsList {
    lanes: Vec<LaneView>,
    unused: Vec<String>,
    /// Where a first push would go.
    host: String,
    may_trigger: bool,
}

/// An app in an environment.
#[derive(Debug)]
pub(super) struct LaneView {
    pub(super) app: String,
    pub(super) env: String,
    pub(super) live: Option<ReleaseView>,
    pub(super) paused: Option<(String, When)>,
    pub(super) held: Vec<HeldView>,
    pub(super) last: Option<RunLine>,
    pub(super) deploying: Option<String>,
}

/// A release.
#[derive(Debug)]
pub(super) struct ReleaseView {
    pub(super) run: String,
    pub(super) short: String,
    pub(super) sha: String,
    pub(super) subject: String,
    pub(super) author: String,
    pub(super) digest: String,
    pub(super) whole_digest: String,
    pub(super) since: When,
}

/// A commit that is not deployed.
#[derive(Debug)]
pub(super) struct HeldView {
    pub(super) sha: String,
    pub(super) short: String,
    pub(super) reason: String,
    pub(super) run: Option<String>,
}

/// A run in a list.
#[derive(Debug)]
pub(super) struct RunLine {
    pub(super) id: String,
    pub(super) app: String,
    pub(super) env: String,
    pub(super) short: String,
    pub(super) subject: String,
    pub(super) author: String,
    pub(super) branch: Option<String>,
    pub(super) trigger: String,
    pub(super) actor: String,
    pub(super) badge: Badge,
    pub(super) started: When,
    pub(super) seq: u64,
}

impl ReleaseView {
    pub(super) fn of(release: &Release, now_ms: u64) -> Self {
        Self {
            run: release.run.to_string(),
            short: release.commit.short().to_owned(),
            sha: release.commit.sha.clone(),
            subject: subject(&release.commit.subject).to_owned(),
            author: release.commit.author.clone(),
            digest: short_digest(&release.image.digest),
            whole_digest: release.image.digest.clone(),
            since: When::new(release.live_at_ms, now_ms),
        }
    }
}

impl RunLine {
    pub(super) fn of(run: &RunSummary, now_ms: u64) -> Self {
        Self {
            id: run.id.to_string(),
            app: run.lane.app.clone(),
            env: run.lane.env.clone(),
            short: run.commit.short().to_owned(),
            subject: subject(&run.commit.subject).to_owned(),
            author: run.commit.author.clone(),
            branch: run.commit.branch.clone(),
            trigger: run.trigger.clone(),
            actor: run.actor.clone(),
            badge: Badge::of(run),
            started: When::new(run.started_ms, now_ms),
            seq: run.seq,
        }
    }
}

impl LaneView {
    /// Returns how an app stands in an environment, with its last run among some.
    pub(super) fn of(line: &AppLine, runs: &[RunSummary], now_ms: u64) -> Self {
        let last = runs.iter().find(|run| run.lane.app == line.app && run.lane.env == line.env);
        let held = line.held.iter().map(|(sha, hold)| HeldView {
            sha: sha.clone(),
            short: sha.get(..12).unwrap_or(sha).to_owned(),
            reason: hold.reason.clone(),
            run: hold.run.map(|run| run.to_string()),
        });
        Self {
            app: line.app.clone(),
            env: line.env.clone(),
            live: line.live.as_ref().map(|release| ReleaseView::of(release, now_ms)),
            paused: line
                .paused
                .as_ref()
                .map(|pause| (pause.reason.clone(), When::new(pause.since_ms, now_ms))),
            held: held.collect(),
            last: last.map(|run| RunLine::of(run, now_ms)),
            deploying: line.deploying.map(|run| run.to_string()),
        }
    }
}

/// A piece of a page, or the whole.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Piece {
    fragment: Option<u8>,
}

pub(super) async fn page(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    headers: HeaderMap,
    Params(piece): Params<Piece>,
) -> Result<Response, Oops> {
    let store = app.engine.store();
    // Where the log ends is asked first: what comes while the page is made is then told once more, and not missed.
    let cursor = store.near_end(0).await.0;
    let only = viewer.identity.only().map(str::to_owned);
    let lines = lines_of(&app, only.as_deref()).await?;
    let now_ms = app.now_ms();
    let mut last: BTreeMap<String, Vec<RunSummary>> = BTreeMap::new();
    for line in &lines {
        if !last.contains_key(&line.app) {
            let query =
                RunQuery { app: Some(line.app.clone()), limit: LOOKED_THROUGH, ..RunQuery::default() };
            last.insert(line.app.clone(), store.runs(query).await.map_err(ApiError::from)?);
        }
    }
    let runs = |line: &AppLine| last.get(&line.app).map_or(&[][..], Vec::as_slice);
    let lanes: Vec<LaneView> = lines.iter().map(|line| LaneView::of(line, runs(line), now_ms)).collect();
    let used: BTreeSet<&str> = lines.iter().map(|line| line.app.as_str()).collect();
    let registered = app.engine.ledger().borrow().apps.keys().cloned().collect::<Vec<_>>();
    let is_theirs = |name: &String| only.as_ref().is_none_or(|only| only == name);
    let unused = registered.into_iter().filter(|name| !used.contains(name.as_str()) && is_theirs(name));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost:7070");
    let list = AppsList {
        unused: unused.collect(),
        lanes,
        host: host.to_owned(),
        may_trigger: viewer.identity.may(Scope::Trigger).is_ok(),
    };
    if piece.fragment.is_some() {
        return Ok(page::html(&list));
    }
    let tone = worst(&list.lanes);
    Ok(page::html(&AppsPage { chrome: Chrome::new(&viewer, "apps", tone), cursor, only, list }))
}

/// Returns what the icon says of all apps together: whether one needs a person, is red, or is being deployed.
fn worst(lanes: &[LaneView]) -> Tone {
    let tones: Vec<Tone> =
        lanes.iter().filter_map(|lane| lane.last.as_ref()).map(|run| run.badge.tone).collect();
    let order = [Tone::Wait, Tone::Bad, Tone::Back, Tone::Busy, Tone::Good];
    order.into_iter().find(|tone| tones.contains(tone)).unwrap_or(Tone::Idle)
}
