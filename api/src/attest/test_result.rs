//! An in-toto test result: how the tests of a commit went.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use landfall_engine::core::event::{Event, Origin};
use landfall_engine::core::facts::{Facts, TestReport};
use landfall_engine::core::run::RunState;
use landfall_engine::core::stage::Stage;
use serde_json::{Value, json};

use super::proof::descriptors;
use super::slsa::not_its_own;
use super::{Lacking, Story, digest_set, git_uri};

const PREDICATE_TYPE: &str = "https://in-toto.io/attestation/test-result/v0.1";

/// How the tests ended.
enum Ending<'a> {
    Passed(&'a TestReport),
    Failed(Option<&'a TestReport>),
    Skipped { by: &'a str, reason: &'a str },
}

/// Returns the statement that says how the run's tests went.
///
/// The log has the names of the first failing tests and the counts of all; those that passed are not named.
///
/// # Errors
///
/// [`Lacking`] when the tests gave no answer, or a person let them pass.
pub fn statement(story: &Story<'_>) -> Result<Value, Lacking> {
    let Story { log_id, run, events, cover } = story;
    let taken_over = matches!(&run.origin, Origin::Rerun(rerun) if rerun.begins().0 != RunState::Pushed);
    let (Some((commit, repository)), false) = (run.origin.source(), taken_over) else {
        return Err(not_its_own(run));
    };
    let (result, report) = match ending(story) {
        Some(Ending::Passed(report)) => ("PASSED", Some(report)),
        Some(Ending::Failed(report)) => ("FAILED", report),
        Some(Ending::Skipped { by, reason }) => {
            return Err(Lacking::new(format!(
                "the tests of run {} were skipped by {by} ({reason}), so they have no result; --format json says all",
                run.id
            )));
        }
        None => {
            return Err(Lacking::new(format!(
                "the tests of run {} gave no answer (it is {}), so they have no result; --format json says all",
                run.id, run.state
            )));
        }
    };
    let mut subject = vec![json!({ "name": git_uri(repository), "digest": { "gitCommit": commit.sha } })];
    let image = run.image.as_ref();
    subject
        .extend(image.map(|image| json!({ "name": image.repository, "digest": digest_set(&image.digest) })));
    let failures = report.iter().flat_map(|report| &report.first_failures);
    let predicate = json!({
        "result": result,
        "configuration": [configuration(story)],
        "failedTests": failures.map(|failure| &failure.name).collect::<Vec<_>>(),
        "landfall_counts": report.and_then(|report| report.counts),
        "landfall_evidence": descriptors(*log_id, events, cover),
    });
    Ok(super::statement(subject, PREDICATE_TYPE, predicate))
}

/// Returns how the tests ended last: a retry counts more than what it repeats.
fn ending<'a>(story: &Story<'a>) -> Option<Ending<'a>> {
    story.events.iter().rev().find_map(|stored| match &stored.envelope.event {
        Event::StageSucceeded { facts: Facts::Test(report), .. } => Some(Ending::Passed(report)),
        Event::StageFailed { stage: Stage::Test, failure, .. } => {
            Some(Ending::Failed(failure.tests.as_ref()))
        }
        Event::StageSkipped { stage: Stage::Test, reason } => {
            Some(Ending::Skipped { by: &stored.envelope.actor, reason })
        }
        _ => None,
    })
}

/// Returns what the tests were told: their part of the configuration at the commit.
fn configuration(story: &Story<'_>) -> Value {
    let tests = story.run.settings.as_deref().map(|settings| &settings.test);
    let text = serde_json::to_string(&tests).unwrap_or_default();
    json!({
        "name": "test",
        "mediaType": "application/json",
        "content": BASE64_STANDARD.encode(&text),
        "annotations": {
            "command": tests.map(|tests| &tests.command),
            "image": tests.map(|tests| &tests.image),
            "host": tests.map(|tests| tests.host),
        },
    })
}
