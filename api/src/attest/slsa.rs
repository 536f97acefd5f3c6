//! SLSA v1 provenance: which image came from which commit, by which build.

use landfall_engine::core::event::{Event, Origin};
use landfall_engine::core::facts::Facts;
use landfall_engine::core::run::Run;
use landfall_engine::core::stage::Stage;
use landfall_engine::timeline::timestamp;
use landfall_store::StoredEvent;
use serde_json::{Value, json};

use super::proof::descriptors;
use super::{Lacking, Story, digest_set, git_uri, statement};

/// Version 1 of the predicate, whatever its minor version.
const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";

/// Documented where the parent module is.
const BUILD_TYPE: &str = "https://github.com/landfall-rs/landfall/build/v1";

/// Who is trusted is an installation, not a program: the log's id follows.
const BUILDER: &str = "https://github.com/landfall-rs/landfall/engine/";

/// Returns the statement that says how the run's image came to be.
///
/// # Errors
///
/// [`Lacking`] when the run pushed no image of its own.
pub fn provenance(story: &Story<'_>) -> Result<Value, Lacking> {
    let Story { log_id, run, events, cover } = story;
    let taken_over = matches!(&run.origin, Origin::Rerun(rerun) if rerun.image.is_some());
    let (Some((commit, repository)), Some(Event::RunStarted { trigger, .. }), false) =
        (run.origin.source(), events.first().map(|first| &first.envelope.event), taken_over)
    else {
        return Err(not_its_own(run));
    };
    let pushed = events.iter().rfind(|stored| is_done(&stored.envelope.event, Stage::PushImage));
    let (Some(image), Some(pushed)) = (&run.image, pushed) else {
        return Err(Lacking::new(format!(
            "run {} pushed no image (it is {}), so there is nothing to give a provenance of; --format in-toto says how \
             its tests went, and --format json says all",
            run.id, run.state
        )));
    };
    let reference = commit.branch.as_ref().map(|branch| format!("refs/heads/{branch}"));
    let at = reference.as_ref().map(|reference| format!("@{reference}")).unwrap_or_default();
    let source = format!("{}{at}", git_uri(repository));
    let settings = run.settings.as_deref();
    let predicate = json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "source": { "repository": git_uri(repository), "ref": reference },
                "app": run.lane.app,
                "environment": run.lane.env,
                "trigger": trigger,
            },
            "internalParameters": {
                "build": settings.map(|settings| &settings.build),
                "test": settings.map(|settings| &settings.test),
                "configuredBy": checkout(events).map(|checkout| &checkout.configured_by),
            },
            "resolvedDependencies": dependencies(&source, &commit.sha, events),
        },
        "runDetails": {
            "builder": {
                "id": format!("{BUILDER}{log_id}"),
                "version": { "landfall": pushed.envelope.engine },
            },
            "metadata": {
                "invocationId": format!("urn:uuid:{}", run.id),
                "startedOn": timestamp(run.started_ms),
                "finishedOn": timestamp(pushed.envelope.recorded_at_ms),
            },
            "byproducts": descriptors(*log_id, events, cover),
        },
    });
    let subject = json!({ "name": image.repository, "digest": digest_set(&image.digest) });
    Ok(statement(vec![subject], PREDICATE_TYPE, predicate))
}

fn dependencies(source: &str, sha: &str, events: &[StoredEvent]) -> Vec<Value> {
    let mut all = vec![json!({ "name": "source", "uri": source, "digest": { "gitCommit": sha } })];
    let tree = checkout(events).map(|checkout| &checkout.tree);
    all.extend(tree.map(|tree| json!({ "name": "source tree", "digest": { "gitTree": tree } })));
    all
}

fn checkout(events: &[StoredEvent]) -> Option<&landfall_engine::core::facts::Checkout> {
    events.iter().rev().find_map(|stored| match &stored.envelope.event {
        Event::StageSucceeded { facts: Facts::Checkout(checkout), .. } => Some(checkout),
        _ => None,
    })
}

fn is_done(event: &Event, wanted: Stage) -> bool {
    matches!(event, Event::StageSucceeded { stage, .. } if *stage == wanted)
}

/// Says which run has what a release that is made live again does not have.
pub(super) fn not_its_own(run: &Run) -> Lacking {
    let of = match &run.origin {
        Origin::Release { release, .. } | Origin::Promotion { release, .. } => release.run,
        Origin::Rerun(rerun) => {
            return Lacking::new(format!(
                "run {} did not do that itself: it goes on with what run {} found out; export that run",
                run.id, rerun.of
            ));
        }
        Origin::Push { .. } => run.id,
    };
    Lacking::new(format!(
        "run {} tested and built nothing: it deployed the image of run {of} again; export that run",
        run.id
    ))
}
