//! What a notice says, as pure functions of what it is about. How it is written down is in [`form`](super::form).

use landfall_engine::core::event::Cause;
use landfall_engine::core::facts::TestFailure;
use landfall_engine::core::notice::NoticeId;
use landfall_engine::core::notice::Occasion;
use landfall_engine::core::run::Blocked;
use landfall_engine::core::run::Run;
use landfall_engine::core::stage::Stage;

use crate::evidence::Evidence;
use crate::lines::clip;
use crate::secrets::Masker;

/// A subject or a title is one line on a phone.
const SUBJECT_BYTES_MAX: usize = 80;

/// A notice, every text of it masked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    /// Names what happened, for programs.
    pub(super) event: &'static str,
    /// The one line that says it all: `shop/production: the tests failed · Make it blue`.
    pub(super) title: String,
    /// Why, as the stage said it.
    pub(super) reason: String,
    /// What is now the case, and what to do.
    pub(super) then: String,
    /// What to type.
    pub(super) command: String,
    /// What it is about.
    pub(super) about: About,
    /// Failing tests.
    pub(super) tests: Vec<TestFailure>,
    /// What was printed last.
    pub(super) tail: Vec<String>,
}

/// What a notice is about.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum About {
    /// A run.
    Run(Box<OfRun>),
    /// The server, by this name.
    Server(String),
}

/// A run, as a notice tells of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OfRun {
    pub(super) run: String,
    pub(super) app: String,
    pub(super) env: String,
    pub(super) state: &'static str,
    pub(super) cause: &'static str,
    pub(super) stage: Option<Stage>,
    pub(super) sha: String,
    pub(super) branch: Option<String>,
    pub(super) subject: String,
    pub(super) author: String,
}

impl OfRun {
    pub(super) fn short_sha(&self) -> &str {
        self.sha.get(..12).unwrap_or(&self.sha)
    }

    /// Returns who made it, and on which branch.
    pub(super) fn by(&self) -> String {
        let branch = self.branch.as_ref().map_or(String::new(), |branch| format!(" on {branch}"));
        format!("{}{branch}", self.author)
    }
}

/// A notice that is about the server and about no run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerNotice {
    /// Names what happened, for programs.
    pub event: &'static str,
    /// Names the server: a host name.
    pub server: String,
    /// What happened, in half a line.
    pub what: String,
    /// Why, and how it was found.
    pub reason: String,
    /// What is now the case, and what to do.
    pub then: String,
    /// What to type.
    pub command: String,
}

impl Message {
    /// Returns what there is to say of a run.
    pub(super) fn about(run: &Run, notice: &NoticeId, evidence: Option<Evidence>, masker: &Masker) -> Self {
        let commit = run.commit();
        let told = told(run, notice.occasion);
        let evidence = evidence.filter(|evidence| told.stage.is_none_or(|stage| stage == evidence.stage));
        let failure = evidence.map(|evidence| evidence.failure).unwrap_or_default();
        let report = failure.tests.or_else(|| run.tests.clone().filter(|_| told.stage == Some(Stage::Test)));
        let tests = report.map(|report| report.first_failures).unwrap_or_default();
        let masked_test = |test: TestFailure| TestFailure {
            name: masker.mask(&test.name),
            message: masker.mask(&test.message),
        };
        let of_run = OfRun {
            run: run.id.to_string(),
            app: run.lane.app.clone(),
            env: run.lane.env.clone(),
            state: run.state.label(),
            cause: told.cause,
            stage: told.stage,
            sha: commit.sha.clone(),
            branch: commit.branch.clone(),
            subject: masker.mask(&commit.subject),
            author: commit.author.clone(),
        };
        Self {
            event: told.event,
            title: title(&of_run, &told.what),
            reason: masker.mask(&told.reason),
            then: told.then,
            command: format!("landfall show {}", run.id),
            about: About::Run(Box::new(of_run)),
            tests: tests.into_iter().map(masked_test).collect(),
            tail: masker.mask_lines(&failure.tail),
        }
    }

    /// Returns what there is to say of the server.
    pub(super) fn of_server(notice: &ServerNotice, masker: &Masker) -> Self {
        let ServerNotice { event, server, what, reason, then, command } = notice;
        Self {
            event,
            title: one_line(&format!("landfall on {server}: {what}")),
            reason: masker.mask(reason),
            then: masker.mask(then),
            command: command.clone(),
            about: About::Server(server.clone()),
            tests: Vec::new(),
            tail: Vec::new(),
        }
    }
}

fn title(run: &OfRun, what: &str) -> String {
    let subject = if run.subject.is_empty() { run.short_sha() } else { &run.subject };
    let subject = clip(subject, SUBJECT_BYTES_MAX);
    one_line(&format!("{}/{}: {what} · {subject}", run.app, run.env))
}

fn one_line(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).collect()
}

struct Told {
    event: &'static str,
    cause: &'static str,
    stage: Option<Stage>,
    what: String,
    reason: String,
    then: String,
}

fn told(run: &Run, occasion: Occasion) -> Told {
    let (cause, stage, what, reason) = match &run.cause {
        Some(Cause::StageFailed { stage, reason }) => {
            ("stage_failed", Some(*stage), format!("{} failed", stage.spoken()), reason.clone())
        }
        Some(Cause::Cancelled { reason }) => ("cancelled", None, "cancelled".into(), reason.clone()),
        Some(Cause::Superseded { by }) => {
            ("superseded", None, "superseded".into(), format!("the newer run {by} took its place"))
        }
        Some(Cause::Held { since: Some(since) }) => {
            ("held", None, "held".into(), format!("its commit is held since the rollback of run {since}"))
        }
        Some(Cause::Held { since: None }) => {
            ("held", None, "held".into(), "its commit is held by hand".into())
        }
        Some(Cause::Aborted { reason }) => ("aborted", None, "given up".into(), reason.clone()),
        Some(Cause::Rejected { reason }) => ("rejected", None, "rejected".into(), reason.clone()),
        Some(Cause::NotApproved { .. }) => {
            ("not_approved", None, "not approved".into(), "nobody approved it in time".into())
        }
        None => ("none", None, "stopped".into(), String::new()),
    };
    let serves = match run.entry.as_ref().and_then(|entry| entry.replaces.as_ref()) {
        Some(former) => format!(
            "the release before it serves: {}",
            subject_of(&former.commit.subject, &former.commit.sha)
        ),
        None => "nothing serves: there was no release before it".into(),
    };
    match occasion {
        Occasion::Failed => {
            let then = "What serves was not touched.".into();
            Told { event: "failed", cause, stage, what, reason, then }
        }
        Occasion::RolledBack => {
            let what = format!("rolled back, {what}");
            Told { event: "rolled_back", cause, stage, what, reason, then: format!("Rolled back; {serves}.") }
        }
        Occasion::Approval => {
            let reason = format!("the deploy to {} waits to be approved", run.lane);
            let then = "Look at it, then `landfall approve` or `landfall reject` it.".into();
            Told { event: "approval", cause, stage, what: "a person must approve".into(), reason, then }
        }
        Occasion::Parked { .. } => {
            let (event, what) = match run.parked().map(|parked| parked.at) {
                // Zero tries: rollbacks are manual here, and none has failed.
                Some(Blocked::Rollback { attempt: 1.. }) => {
                    ("rollback_failed", "the rollback failed, a person must decide")
                }
                _ => ("parked", "a person must decide"),
            };
            let reason = run.parked().map_or(reason, |parked| parked.reason.clone());
            let then = "The run waits for a person: look at it, then retry, skip or abort it.".into();
            Told { event, cause, stage, what: what.into(), reason, then }
        }
    }
}

fn subject_of(subject: &str, sha: &str) -> String {
    let short = sha.get(..12).unwrap_or(sha);
    if subject.is_empty() {
        short.to_owned()
    } else {
        format!("{short} {}", clip(subject, SUBJECT_BYTES_MAX))
    }
}
