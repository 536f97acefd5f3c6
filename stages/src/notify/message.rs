//! What a notice says, as pure functions of the run: one content, three forms.

use std::time::SystemTime;

use landfall_engine::core::event::Cause;
use landfall_engine::core::facts::TestFailure;
use landfall_engine::core::notice::NoticeId;
use landfall_engine::core::notice::Occasion;
use landfall_engine::core::run::Run;
use landfall_engine::core::stage::Stage;
use serde_json::Value;
use serde_json::json;

use crate::evidence::Evidence;
use crate::lines::clip;
use crate::secrets::Masker;

/// Slack cuts a message at 4,000 characters and shows the rest nowhere.
const SLACK_BYTES_MAX: usize = 3_500;
/// A subject or a title is one line on a phone.
const SUBJECT_BYTES_MAX: usize = 80;
/// More failing tests than this are a number.
const TESTS_SHOWN_MAX: usize = 10;

/// A notice, every text of it masked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    event: &'static str,
    run: String,
    app: String,
    env: String,
    state: &'static str,
    cause: &'static str,
    stage: Option<Stage>,
    sha: String,
    branch: Option<String>,
    subject: String,
    author: String,
    /// What happened, in half a line.
    what: String,
    /// Why, as the stage said it.
    reason: String,
    /// What is now the case, and what to do.
    then: String,
    tests: Vec<TestFailure>,
    tail: Vec<String>,
}

impl Message {
    /// Returns what there is to say.
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
        Self {
            event: told.event,
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
            what: told.what,
            reason: masker.mask(&told.reason),
            then: told.then,
            tests: tests.into_iter().map(masked_test).collect(),
            tail: masker.mask_lines(&failure.tail),
        }
    }

    /// Returns the one line that says it all: `shop/production: test failed · Make it blue`.
    pub(super) fn title(&self) -> String {
        let subject = if self.subject.is_empty() { self.short_sha() } else { &self.subject };
        let subject = clip(subject, SUBJECT_BYTES_MAX);
        let line = format!("{}/{}: {} · {subject}", self.app, self.env, self.what);
        line.chars().filter(|char| !char.is_control()).collect()
    }

    /// Returns the whole, for reading as plain text.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n\n{}\n\n", self.title(), self.reason);
        let branch = self.branch.as_ref().map_or(String::new(), |branch| format!(" on {branch}"));
        text.push_str(&format!("commit  {} {}\n", self.short_sha(), self.subject));
        text.push_str(&format!("by      {}{branch}\n", self.author));
        if !self.tests.is_empty() {
            text.push_str("\nfailing tests\n");
            for test in self.tests.iter().take(TESTS_SHOWN_MAX) {
                text.push_str(&format!("  {}\n    {}\n", test.name, test.message));
            }
        }
        if !self.tail.is_empty() {
            text.push_str("\nthe last lines\n");
            self.tail.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
        }
        text.push_str(&format!("\n{}\nlandfall show {}\n", self.then, self.run));
        text
    }

    /// Returns the body of a Slack-compatible webhook.
    pub(super) fn slack(&self) -> Value {
        let branch = self.branch.as_ref().map_or(String::new(), |branch| format!(" on {branch}"));
        let mut text = format!("*{}*\n{}\n", slack_text(&self.title()), slack_text(&self.reason));
        let by = format!("{} by {}{branch}", self.short_sha(), self.author);
        text.push_str(&format!("{}\n", slack_text(&by)));
        for test in self.tests.iter().take(TESTS_SHOWN_MAX) {
            let line = clip(&format!("{}: {}", test.name, test.message), 200);
            text.push_str(&format!("• {}\n", slack_text(&line)));
        }
        let end = format!("{}\n`landfall show {}`", slack_text(&self.then), self.run);
        let room = SLACK_BYTES_MAX.saturating_sub(text.len() + end.len() + 16);
        let tail = last_lines(&self.tail, room);
        if !tail.is_empty() {
            text.push_str(&format!("```\n{tail}\n```\n"));
        }
        let text = clip(&text, SLACK_BYTES_MAX.saturating_sub(end.len() + 1));
        json!({ "text": format!("{}\n{end}", text.trim_end()) })
    }

    /// Returns the body of a generic webhook.
    pub(super) fn json(&self, at: SystemTime) -> Value {
        json!({
            "event": self.event,
            "run": self.run,
            "app": self.app,
            "env": self.env,
            "commit": self.sha,
            "branch": self.branch,
            "subject": self.subject,
            "author": self.author,
            "state": self.state,
            "cause": self.cause,
            "stage": self.stage.map(Stage::name),
            "reason": self.reason,
            "tail": self.tail,
            "failing_tests": self.tests,
            "text": self.title(),
            "at": humantime::format_rfc3339_millis(at).to_string(),
        })
    }

    fn short_sha(&self) -> &str {
        self.sha.get(..12).unwrap_or(&self.sha)
    }
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
            ("stage_failed", Some(*stage), format!("{} failed", spoken(*stage)), reason.clone())
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
            let reason = run.parked().map_or(reason, |parked| parked.reason.clone());
            let then = "The run waits for a person: look at it, then retry, skip or abort it.".into();
            Told { event: "parked", cause, stage, what: "a person must decide".into(), reason, then }
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

/// Names a stage as people do.
fn spoken(stage: Stage) -> &'static str {
    match stage {
        Stage::Checkout => "the checkout",
        Stage::Test => "the tests",
        Stage::Build => "the build",
        Stage::PushImage => "pushing the image",
        Stage::ReleaseCommand => "the release command",
        Stage::Deploy => "the deploy",
        Stage::Smoke => "the smoke checks",
        Stage::GoLive => "going live",
        Stage::PublicSmoke => "the checks of the public address",
    }
}

/// Slack takes three characters for markup, and `<!channel>` for a call to everybody.
fn slack_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Returns as many last lines as there is room for, safe inside a block of code.
fn last_lines(lines: &[String], room: usize) -> String {
    let mut kept: Vec<String> = Vec::new();
    let mut left = room;
    for line in lines.iter().rev() {
        let line = slack_text(line).replace("```", "'''");
        let Some(rest) = left.checked_sub(line.len() + 1) else { break };
        left = rest;
        kept.push(line);
    }
    kept.reverse();
    kept.join("\n")
}
