//! `/runs/{id}`: one run, now or as it was after any of its events.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use landfall_engine::audit::{COLUMNS, Mark, Replay, cause_in_words, replay, seconds, short_digest};
use landfall_engine::core::event::{Envelope, Event};
use landfall_engine::core::facts::Guess;
use landfall_engine::core::lane::Release;
use landfall_engine::core::ledger::Scope;
use landfall_engine::core::run::{Phase, Run, RunId, RunState};
use landfall_engine::core::summary::RunSummary;
use landfall_engine::timeline::timestamp;
use serde::Deserialize;

use super::deed::{self, Button};
use super::extract::Params;
use super::flow::{Flow, Layout};
use super::gate::Viewer;
use super::page::{self, Chrome, Oops};
use super::report::{self, Red, Tab, Tests};
use super::words::{Badge, When, subject};
use crate::error::ApiError;
use crate::server::App;

/// So many events stand on the page. A run that has more has been tried again for days; the API has them all.
const EVENTS_SHOWN: usize = 500;

#[derive(Debug, Template)]
#[template(path = "run.html")]
struct RunPage {
    chrome: Chrome,
    run: RunView,
    /// The end of the output that is shown.
    tail: String,
}

#[derive(Debug, Template)]
#[template(path = "run_fragment.html")]
struct RunFragment {
    run: RunView,
}

/// A run, as the page shows it.
#[derive(Debug)]
struct RunView {
    id: String,
    app: String,
    env: String,
    subject: String,
    sha: String,
    short: String,
    branch: Option<String>,
    author: String,
    email: String,
    trigger: String,
    started: When,
    /// From the trigger to the last event that is shown.
    took: String,
    digest: Option<(String, String)>,
    badge: Badge,
    state: &'static str,
    /// The event that is shown, when it is not the last.
    at: Option<u64>,
    seq: u64,
    last_seq: u64,
    is_over: bool,
    /// The event that is shown, in a line.
    moment: Option<EventLine>,
    flow: Flow,
    red: Option<Red>,
    /// Why it ended like this, or what it waits for.
    why: Option<String>,
    tests: Option<Tests>,
    rows: Vec<RowView>,
    tracker: Vec<(&'static str, [String; 5])>,
    configured_by: String,
    guesses: Vec<Guess>,
    events: Vec<EventLine>,
    events_left_out: usize,
    notes: Vec<String>,
    problems: Vec<String>,
    buttons: Vec<Button>,
    tabs: Vec<Tab>,
}

#[derive(Debug)]
struct RowView {
    number: u8,
    action: String,
    result: String,
    next: String,
    state: &'static str,
    class: &'static str,
    word: &'static str,
}

/// An event, in a line.
#[derive(Clone, Debug)]
struct EventLine {
    seq: u64,
    name: &'static str,
    what: String,
    actor: String,
    at: When,
    shown: bool,
}

impl RunView {
    fn layouts(&self) -> [&Layout; 2] {
        [&self.flow.wide, &self.flow.tall]
    }

    fn columns(&self) -> [&'static str; 5] {
        COLUMNS
    }
}

/// What of a run is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Which {
    at: Option<u64>,
    out: Option<String>,
    fragment: Option<u8>,
}

pub(super) async fn page(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path(id): Path<String>,
    Params(which): Params<Which>,
) -> Result<Response, Oops> {
    let id: RunId = id.parse().map_err(|_| ApiError::BadRequest(format!("{id:?} is not the id of a run")))?;
    let summary = viewer.run(&app, id).await?;
    let history = app.engine.store().events(id).await.map_err(ApiError::from)?;
    let run = view(&app, &viewer, &summary, &history, &which).await?;
    if which.fragment.is_some() {
        return Ok(page::html(&RunFragment { run }));
    }
    let tail = match run.tabs.iter().find(|tab| tab.shown) {
        Some(tab) => report::tail(&app.outputs, id, tab).await,
        None => String::new(),
    };
    let chrome = Chrome::new(&viewer, "runs", run.badge.tone);
    Ok(page::html(&RunPage { chrome, run, tail }))
}

async fn view(
    app: &App,
    viewer: &Viewer,
    summary: &RunSummary,
    history: &[Envelope],
    which: &Which,
) -> Result<RunView, Oops> {
    let now_ms = app.now_ms();
    let last_seq = history.last().map_or(0, |last| last.seq);
    if let Some(at) = which.at.filter(|at| !(1..=last_seq).contains(at)) {
        let said = format!("run {} has {last_seq} events, so there is none at {at}", summary.id);
        return Err(ApiError::NotFound(said).into());
    }
    let at = which.at.filter(|at| *at < last_seq);
    let seq = at.unwrap_or(last_seq);
    let replay = replay(history, Some(seq));
    let told = || history.iter().filter(|envelope| envelope.seq <= seq);
    let then = summary_at(history, seq).unwrap_or_else(|| summary.clone());
    let red = report::red(told()).filter(|_| then.state != RunState::Live);
    let files = app.outputs.list(summary.id).await;
    let files = files.map_err(|error| ApiError::internal("reading the outputs", error))?;
    let (configured_by, guesses) = report::guesses(told());
    let lines: Vec<EventLine> = history.iter().map(|envelope| line(envelope, seq, now_ms)).collect();
    let events_left_out = lines.len().saturating_sub(EVENTS_SHOWN);
    let moment = lines.iter().find(|line| line.seq == seq).cloned();
    let run = replay.run.as_ref();
    let mut buttons = match (at, run) {
        (None, Some(run)) => deed::about_run(viewer, run),
        _ => Vec::new(),
    };
    if at.is_none() && then.state == RunState::Live && viewer.may(Scope::Deploy, &then.lane.app) {
        buttons.extend(way_back(app, &then).await?);
    }
    Ok(RunView {
        id: summary.id.to_string(),
        app: then.lane.app.clone(),
        env: then.lane.env.clone(),
        subject: subject(&then.commit.subject).to_owned(),
        sha: then.commit.sha.clone(),
        short: then.commit.short().to_owned(),
        branch: then.commit.branch.clone(),
        author: then.commit.author.clone(),
        email: then.commit.email.clone(),
        trigger: replay.trigger.clone(),
        started: When::new(then.started_ms, now_ms),
        took: seconds(replay.last_at_ms.saturating_sub(then.started_ms)),
        digest: run
            .and_then(|run| run.image.as_ref())
            .map(|image| (short_digest(&image.digest), image.by_digest())),
        badge: Badge::of(&then),
        state: then.state.label(),
        at,
        seq,
        last_seq,
        is_over: !summary.open,
        moment,
        flow: Flow::of(&replay, history, seq),
        why: run.and_then(why).filter(|_| red.is_none() || then.parked.is_some()),
        red,
        tests: report::tests(told()),
        rows: rows(&replay),
        tracker: tracker(&replay),
        configured_by,
        guesses,
        events: lines.into_iter().skip(events_left_out).collect(),
        events_left_out,
        tabs: report::tabs(files, which.out.as_deref(), report::red(told()).as_ref()),
        notes: replay.notes,
        problems: replay.problems,
        buttons,
    })
}

/// Returns the button that rolls an app back, on the page of the run that made its live release.
async fn way_back(app: &App, run: &RunSummary) -> Result<Option<Button>, Oops> {
    let lane = app.engine.store().lane(&run.lane).await.map_err(ApiError::from)?;
    let is_live = |release: &Release| release.run == run.id;
    let before = lane.former.first().filter(|_| lane.live.as_ref().is_some_and(is_live));
    Ok(before.map(|before| Button {
        href: format!(
            "/apps/{}/rollback?env={}&to={}&label={}",
            run.lane.app,
            run.lane.env,
            before.run,
            before.commit.short()
        ),
        label: "Roll back",
        danger: true,
    }))
}

/// Returns the run in a line as the store had it after an event.
fn summary_at(history: &[Envelope], seq: u64) -> Option<RunSummary> {
    let mut told = history.iter().filter(|envelope| envelope.seq <= seq);
    let first = told.next()?;
    let mut run = RunSummary::begin(first.run_id, &first.actor, first.recorded_at_ms, &first.event)?;
    told.for_each(|envelope| run.apply(envelope.seq, envelope.recorded_at_ms, &envelope.event));
    Some(run)
}

/// Returns why a run ended, or what it waits for.
fn why(run: &Run) -> Option<String> {
    match &run.phase {
        Phase::Parked(parked) => Some(parked.reason.clone()),
        Phase::AwaitingApproval { until_ms } => {
            Some(format!("The deploy begins once somebody approves it, until {}.", timestamp(*until_ms)))
        }
        Phase::RetryDue { stage, due_ms, .. } => {
            Some(format!("{} gave no answer, and is tried again at {}.", stage.spoken(), timestamp(*due_ms)))
        }
        _ => run.cause.as_ref().map(cause_in_words),
    }
}

fn rows(replay: &Replay) -> Vec<RowView> {
    let row = |row: &landfall_engine::audit::Row| {
        let (class, word) = match row.mark {
            Mark::NotReached => ("not_reached", "not reached"),
            Mark::Begun => ("busy", "begun"),
            Mark::Passed if row.number == 9 => ("bad", "stopped"),
            Mark::Passed if row.number == 10 => ("back", "rolled back"),
            Mark::Passed => ("good", "passed"),
            Mark::Failed => ("bad", "failed"),
            Mark::Skipped => ("idle", "skipped"),
        };
        RowView {
            number: row.number,
            action: row.action.clone(),
            result: row.result.clone(),
            next: row.next.clone(),
            state: row.state.map_or("–", RunState::label),
            class,
            word,
        }
    };
    replay.rows.iter().map(row).collect()
}

fn tracker(replay: &Replay) -> Vec<(&'static str, [String; 5])> {
    let tracker = &replay.tracker;
    vec![
        ("Code Version", tracker.code_version.clone()),
        ("Test Status", tracker.test_status.clone()),
        ("Deployment Status", tracker.deployment_status.clone()),
        ("Smoke Test Status", tracker.smoke_test_status.clone()),
    ]
}

fn line(envelope: &Envelope, shown: u64, now_ms: u64) -> EventLine {
    EventLine {
        seq: envelope.seq,
        name: envelope.event.name(),
        what: what(&envelope.event),
        actor: envelope.actor.clone(),
        at: When::new(envelope.recorded_at_ms, now_ms),
        shown: envelope.seq == shown,
    }
}

/// Returns an event in a few words.
fn what(event: &Event) -> String {
    match event {
        Event::RunStarted { trigger, .. } => format!("Triggered by {trigger}"),
        Event::StageStarted { stage, attempt: 1, .. } => format!("{stage} began"),
        Event::StageStarted { stage, attempt, .. } => format!("{stage} began, attempt {attempt}"),
        Event::StageRecovered { stage, .. } => format!("The engine restarted during {stage}"),
        Event::StageSucceeded { stage, took_ms, .. } => format!("{stage} passed in {}", seconds(*took_ms)),
        Event::StageFailed { stage, failure, .. } => format!("{stage} failed: {}", failure.reason),
        Event::StageErrored { stage, reason, .. } => format!("{stage} gave no answer: {reason}"),
        Event::StageUndone { stage, .. } => format!("{stage} was undone"),
        Event::UndoRecovered { stage, .. } => format!("The engine restarted while {stage} was undone"),
        Event::StageSkipped { stage, reason } => format!("{stage} was skipped: {reason}"),
        Event::ApprovalRequested { until_ms } => {
            format!("An approval is asked for, until {}", timestamp(*until_ms))
        }
        Event::RunApproved => "The deploy was approved".into(),
        Event::RunRejected { reason } => format!("The deploy was rejected: {reason}"),
        Event::DeploymentStarted { generation, .. } => format!("The deploy began, generation {generation}"),
        Event::CancelRequested { reason } => format!("Cancelled: {reason}"),
        Event::RollbackStarted { cause, .. } => format!("The rollback began: {}", cause_in_words(cause)),
        Event::RollbackRecovered { .. } => "The engine restarted during the rollback".into(),
        Event::RollbackSucceeded { proof, .. } => format!("Rolled back: {proof}"),
        Event::RollbackErrored { reason, .. } => format!("The rollback gave no answer: {reason}"),
        Event::RunParked { reason, .. } => format!("Parked: {reason}"),
        Event::RunUnparked { .. } => "A person decided how to go on".into(),
        Event::RunLive { .. } => "Live".into(),
        Event::RunFailed { cause } => format!("Stopped: {}", cause_in_words(cause)),
        Event::NoticeStarted { notice, .. } => format!("{} is told by {}", notice.audience, notice.channel),
        Event::NoticeRecovered { notice, .. } => {
            format!("The engine restarted while {} was told", notice.audience)
        }
        Event::NoticeSent { notice, .. } => format!("{} was told by {}", notice.audience, notice.channel),
        Event::NoticeErrored { notice, reason, .. } => {
            format!("{} could not be told: {reason}", notice.audience)
        }
        Event::RunClosed => "Closed: nothing is owed to the run any more".into(),
        Event::Ledger(_) => "A decision about the installation".into(),
    }
}
