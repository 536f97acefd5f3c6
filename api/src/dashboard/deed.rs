//! What people decide by a button: first "do you mean it?", then the API does it, or says why not.
//!
//! **Invariant:** a deed is a request to `/v1` and nothing else. What it is called here, the API decides, signs with the
//! same name and records as for everybody; sent twice, it is done once, since the form has an idempotency key.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{Extensions, HeaderMap};
use axum::response::{IntoResponse, Redirect, Response};
use landfall_engine::core::environment::PRODUCTION;
use landfall_engine::core::event::Cause;
use landfall_engine::core::ledger::Scope;
use landfall_engine::core::run::{Blocked, Phase, Run, RunId};
use landfall_engine::core::stage::Stage;
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::RunQuery;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::ask::Api;
use super::extract::{Params, Sent};
use super::gate::Viewer;
use super::page::{self, Chrome, Oops};
use super::words::{Badge, Tone, subject};
use crate::error::ApiError;
use crate::server::{App, Peer};

/// Something that can be decided.
#[derive(Debug)]
pub(super) struct Deed {
    /// Its name in the addresses of pages.
    verb: &'static str,
    /// Its name in the addresses of the API.
    path: &'static str,
    scope: Scope,
    fields: &'static [Field],
    title: &'static str,
    /// What will happen.
    about: &'static str,
    button: &'static str,
    /// Whether it takes something away.
    danger: bool,
}

/// What a deed is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    /// Why, if whoever decides wants to say so.
    Reason,
    /// Why: it has to be said.
    ReasonNeeded,
    /// From which stage on.
    From,
    /// What the page knows already.
    Given(&'static str),
    /// What is written by hand: name, and what it is.
    Text(&'static str, &'static str),
}

const ENV: Field = Field::Given("env");

/// So many of an app's last runs are looked through for the subject of a commit.
const LOOKED_THROUGH: usize = 200;

/// What can be decided about a run.
const OF_RUN: [Deed; 7] = [
    Deed {
        verb: "cancel",
        path: "cancel",
        scope: Scope::Deploy,
        fields: &[Field::Reason],
        title: "Cancel this run?",
        about: "What is going on is ended. If a deploy has begun, it is rolled back; what serves now goes on serving.",
        button: "Cancel the run",
        danger: true,
    },
    Deed {
        verb: "approve",
        path: "approve",
        scope: Scope::Deploy,
        fields: &[],
        title: "Approve the deploy?",
        about: "The image is deployed, checked, and goes live if it is green.",
        button: "Approve",
        danger: false,
    },
    Deed {
        verb: "reject",
        path: "reject",
        scope: Scope::Deploy,
        fields: &[Field::Reason],
        title: "Reject the deploy?",
        about: "The run ends here. What serves now goes on serving.",
        button: "Reject",
        danger: true,
    },
    Deed {
        verb: "retry",
        path: "retry",
        scope: Scope::Trigger,
        fields: &[],
        title: "Try again?",
        about: "The run goes on where it stopped.",
        button: "Try again",
        danger: false,
    },
    Deed {
        verb: "again",
        path: "retry",
        scope: Scope::Trigger,
        fields: &[Field::From],
        title: "Run this commit again?",
        about: "A new run begins at the stage that you choose, with what this one had found out before it.",
        button: "Run again",
        danger: false,
    },
    Deed {
        verb: "skip",
        path: "skip",
        scope: Scope::Deploy,
        fields: &[Field::ReasonNeeded],
        title: "Go on without this stage?",
        about: "Nobody saw it succeed. The log keeps who let it pass, and why.",
        button: "Skip the stage",
        danger: true,
    },
    Deed {
        verb: "abort",
        path: "abort",
        scope: Scope::Deploy,
        fields: &[Field::Reason],
        title: "Give this run up?",
        about: "It ends. What it had deployed is rolled back.",
        button: "Give up",
        danger: true,
    },
];

/// What can be decided about an app.
const OF_APP: [Deed; 7] = [
    Deed {
        verb: "rollback",
        path: "rollback",
        scope: Scope::Deploy,
        fields: &[Field::Given("to"), ENV, Field::Reason],
        title: "Roll back?",
        about: "A run begins that deploys the former release as it was, checks it, and switches the traffic to it.",
        button: "Roll back",
        danger: true,
    },
    Deed {
        verb: "pause",
        path: "pause",
        scope: Scope::Deploy,
        fields: &[ENV, Field::Reason],
        title: "Pause deploys?",
        about: "Runs wait before their deploy until somebody resumes. What serves goes on serving.",
        button: "Pause",
        danger: true,
    },
    Deed {
        verb: "resume",
        path: "resume",
        scope: Scope::Deploy,
        fields: &[ENV],
        title: "Resume deploys?",
        about: "Runs that wait go on, the oldest first.",
        button: "Resume",
        danger: false,
    },
    Deed {
        verb: "hold",
        path: "hold",
        scope: Scope::Deploy,
        fields: &[Field::Given("commit"), ENV, Field::Reason],
        title: "Hold this commit?",
        about: "It is not deployed again until somebody releases it.",
        button: "Hold",
        danger: true,
    },
    Deed {
        verb: "release",
        path: "release",
        scope: Scope::Deploy,
        fields: &[Field::Given("commit"), ENV],
        title: "Release this commit?",
        about: "It may be deployed again.",
        button: "Release",
        danger: false,
    },
    Deed {
        verb: "promote",
        path: "promote",
        scope: Scope::Deploy,
        fields: &[
            Field::Given("from"),
            Field::Given("release"),
            Field::Text("to", "To which environment"),
            Field::Reason,
        ],
        title: "Promote this release?",
        about: "A run begins that makes the same image live in another environment, as it is.",
        button: "Promote",
        danger: false,
    },
    Deed {
        verb: "run",
        path: "runs",
        scope: Scope::Trigger,
        fields: &[ENV, Field::Text("ref", "Branch, tag or commit (empty: the newest)")],
        title: "Begin a run?",
        about: "The commit is tested, built, deployed and checked, as after a push.",
        button: "Begin",
        danger: false,
    },
];

/// A button.
#[derive(Debug)]
pub(super) struct Button {
    pub(super) href: String,
    pub(super) label: &'static str,
    pub(super) danger: bool,
}

/// Returns what whoever looks may decide about a run as it stands.
pub(super) fn about_run(viewer: &Viewer, run: &Run) -> Vec<Button> {
    let is_open = !run.state.is_terminal();
    let is_skippable = |at: Blocked| matches!(at, Blocked::Stage { stage, .. } if stage.is_skippable());
    let verbs: Vec<&str> = match &run.phase {
        Phase::AwaitingApproval { .. } => vec!["approve", "reject", "cancel"],
        Phase::Parked(parked) if is_skippable(parked.at) => vec!["retry", "skip", "abort"],
        Phase::Parked(_) => vec!["retry", "abort"],
        Phase::Ended | Phase::Closed => vec!["again"],
        _ if is_open && run.cancel.is_none() => vec!["cancel"],
        _ => vec![],
    };
    let deeds = verbs.into_iter().filter_map(|verb| OF_RUN.iter().find(|deed| deed.verb == verb));
    let may = deeds.filter(|deed| viewer.may(deed.scope, &run.lane.app));
    may.map(|deed| Button {
        href: format!("/runs/{}/{}", run.id, deed.verb),
        label: deed.button,
        danger: deed.danger,
    })
    .collect()
}

/// A field of the form.
#[derive(Debug)]
struct Input {
    name: &'static str,
    label: String,
    kind: &'static str,
    value: String,
    /// Value, and how it is called.
    choices: Vec<(&'static str, &'static str)>,
    required: bool,
}

#[derive(Debug, Template)]
#[template(path = "deed_form.html")]
struct DeedForm {
    deed: &'static Deed,
    /// About what: a name, and the badge of a run.
    subject: String,
    lane: String,
    badge: Option<Badge>,
    action: String,
    back: String,
    inputs: Vec<Input>,
    csrf: String,
    key: String,
    problem: Option<String>,
}

#[derive(Debug, Template)]
#[template(path = "deed.html")]
struct DeedPage {
    chrome: Chrome,
    form: DeedForm,
}

/// What a page tells a form, and a form tells the API.
type Given = BTreeMap<String, String>;

pub(super) async fn ask_about_run(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path((id, verb)): Path<(String, String)>,
    Params(given): Params<Given>,
) -> Result<Response, Oops> {
    let (deed, run) = (find(&OF_RUN, &verb)?, run(&app, &viewer, &id).await?);
    viewer.identity.may_for(deed.scope, &run.lane.app)?;
    Ok(shown(&viewer, form_of_run(&viewer, deed, &run, &given), &given))
}

pub(super) async fn do_to_run(
    State(app): State<Arc<App>>,
    Extension(api): Extension<Api>,
    viewer: Viewer,
    Path((id, verb)): Path<(String, String)>,
    extensions: Extensions,
    headers: HeaderMap,
    Sent(given): Sent<Given>,
) -> Result<Response, Oops> {
    let (deed, run) = (find(&OF_RUN, &verb)?, run(&app, &viewer, &id).await?);
    let form = form_of_run(&viewer, deed, &run, &given);
    let path = format!("/v1/runs/{}/{}", run.id, deed.path);
    done(&api, &viewer, form, &path, (&headers, extensions.get().copied()), &given).await
}

pub(super) async fn ask_about_app(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path((name, verb)): Path<(String, String)>,
    Params(given): Params<Given>,
) -> Result<Response, Oops> {
    let deed = find(&OF_APP, &verb)?;
    viewer.identity.may_for(deed.scope, &name)?;
    Ok(shown(&viewer, form_of_app(&app, &viewer, deed, &name, &given).await?, &given))
}

pub(super) async fn do_to_app(
    State(app): State<Arc<App>>,
    Extension(api): Extension<Api>,
    viewer: Viewer,
    Path((name, verb)): Path<(String, String)>,
    extensions: Extensions,
    headers: HeaderMap,
    Sent(given): Sent<Given>,
) -> Result<Response, Oops> {
    let deed = find(&OF_APP, &verb)?;
    viewer.identity.may_for(deed.scope, &name)?;
    let form = form_of_app(&app, &viewer, deed, &name, &given).await?;
    let path = format!("/v1/apps/{name}/{}", deed.path);
    done(&api, &viewer, form, &path, (&headers, extensions.get().copied()), &given).await
}

fn find(deeds: &'static [Deed], verb: &str) -> Result<&'static Deed, ApiError> {
    let found = deeds.iter().find(|deed| deed.verb == verb);
    found.ok_or_else(|| ApiError::NotFound(format!("there is nothing called {verb:?} to decide")))
}

async fn run(app: &App, viewer: &Viewer, id: &str) -> Result<RunSummary, Oops> {
    let id: RunId = id.parse().map_err(|_| ApiError::BadRequest(format!("{id:?} is not the id of a run")))?;
    viewer.run(app, id).await
}

fn form_of_run(viewer: &Viewer, deed: &'static Deed, run: &RunSummary, given: &Given) -> DeedForm {
    let red = match &run.cause {
        Some(Cause::StageFailed { stage, .. }) => stage.name(),
        _ => Stage::Checkout.name(),
    };
    DeedForm {
        deed,
        subject: subject(&run.commit.subject).to_owned(),
        lane: run.lane.to_string(),
        badge: Some(Badge::of(run)),
        action: format!("/runs/{}/{}", run.id, deed.verb),
        back: format!("/runs/{}", run.id),
        inputs: inputs(deed, given, red),
        csrf: viewer.session.csrf.clone(),
        key: Uuid::new_v4().to_string(),
        problem: None,
    }
}

async fn form_of_app(
    app: &App,
    viewer: &Viewer,
    deed: &'static Deed,
    name: &str,
    given: &Given,
) -> Result<DeedForm, Oops> {
    let name = crate::server::app_name(name)?;
    // Only what the form will send is shown: a link may say anything else besides.
    let sent = |field: &'static str| {
        let value = given.get(field).map(|value| value.trim()).filter(|value| !value.is_empty())?;
        deed.fields.contains(&Field::Given(field)).then_some(value)
    };
    let env = sent("env").or_else(|| sent("from")).unwrap_or(PRODUCTION);
    let back = match crate::server::env_name(env) {
        Ok(env) => format!("/apps/{name}?env={env}"),
        Err(_) => format!("/apps/{name}"),
    };
    let about = match sent("to").or_else(|| sent("release")).or_else(|| sent("commit")) {
        Some(value) => with_subject(app, name, value).await?,
        None => name.to_owned(),
    };
    Ok(DeedForm {
        deed,
        subject: about,
        lane: format!("{name}/{env}"),
        badge: None,
        action: format!("/apps/{name}/{}", deed.verb),
        back,
        inputs: inputs(deed, given, ""),
        csrf: viewer.session.csrf.clone(),
        key: Uuid::new_v4().to_string(),
        problem: None,
    })
}

/// Returns a run or a commit as it was named, with the subject of its commit where the app has such a run.
async fn with_subject(app: &App, name: &str, value: &str) -> Result<String, Oops> {
    let store = app.engine.store();
    let found = match value.parse::<RunId>() {
        Ok(id) => store.run(id).await.map_err(ApiError::from)?.filter(|run| run.lane.app == name),
        Err(_) => {
            let query = RunQuery { app: Some(name.to_owned()), limit: LOOKED_THROUGH, ..RunQuery::default() };
            let runs = store.runs(query).await.map_err(ApiError::from)?;
            runs.into_iter().find(|run| run.commit.sha == value)
        }
    };
    Ok(match found {
        Some(run) if run.commit.sha == value => format!("{value} {}", subject(&run.commit.subject)),
        Some(run) => format!("{value}: {} {}", run.commit.short(), subject(&run.commit.subject)),
        None => value.to_owned(),
    })
}

fn inputs(deed: &Deed, given: &Given, red: &str) -> Vec<Input> {
    let value = |name: &str| given.get(name).cloned().unwrap_or_default();
    let plain = |name, label: &str, kind| Input {
        name,
        label: label.to_owned(),
        kind,
        value: value(name),
        choices: Vec::new(),
        required: false,
    };
    let input = |field: &Field| match *field {
        Field::Reason => plain("reason", "Why (for the log)", "area"),
        Field::ReasonNeeded => Input { required: true, ..plain("reason", "Why (the log keeps it)", "area") },
        Field::Given(name) => plain(name, name, "hidden"),
        Field::Text(name, label) => Input { required: name == "to", ..plain(name, label, "text") },
        Field::From => {
            let from = value("from");
            let from = if from.is_empty() { red.to_owned() } else { from };
            Input { value: from, choices: BEGINNINGS.to_vec(), ..plain("from", "From which stage", "choice") }
        }
    };
    deed.fields.iter().map(input).collect()
}

/// From where a run can be done again.
const BEGINNINGS: [(&str, &str); 6] = [
    ("checkout", "Checkout: everything anew"),
    ("test", "Tests"),
    ("build", "Build"),
    ("push_image", "Push image"),
    ("release_command", "Release command"),
    ("deploy", "Deploy: the same image"),
];

fn shown(viewer: &Viewer, form: DeedForm, given: &Given) -> Response {
    if given.contains_key("fragment") {
        return page::html(&form);
    }
    let chrome = Chrome::new(viewer, "", Tone::Idle);
    page::html(&DeedPage { chrome, form })
}

/// Hands a deed to the API, and leads to what came of it.
async fn done(
    api: &Api,
    viewer: &Viewer,
    form: DeedForm,
    path: &str,
    from: (&HeaderMap, Option<Peer>),
    given: &Given,
) -> Result<Response, Oops> {
    let told = form.inputs.iter().map(|input| input.name).filter_map(|name| {
        let value = given.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())?;
        Some((name.to_owned(), Value::from(value)))
    });
    let body = Value::Object(told.collect::<Map<_, _>>());
    let text = |name: &str| given.get(name).map_or("", String::as_str);
    match api.change(path, from, (text("csrf"), text("key")), &body).await {
        Ok(answer) => {
            let run = answer.get("run_id").and_then(Value::as_str);
            let to = run.map_or(form.back, |run| format!("/runs/{run}"));
            Ok(Redirect::to(&to).into_response())
        }
        Err(refused) => {
            let form = DeedForm { problem: Some(refused.problem.detail), ..form };
            Ok((refused.status, shown(viewer, form, &Given::new())).into_response())
        }
    }
}
