//! What a failing stage said last, kept beside the run's files for the notice that follows.
//!
//! A notice is sent from the state of its run, which has the reason of a failure and not its last lines.
//! What is kept here is masked already. A notice without it is shorter, and still true.

use std::path::PathBuf;

use landfall_engine::core::facts::Failure;
use landfall_engine::core::run::Run;
use landfall_engine::core::stage::Stage;
use serde::Deserialize;
use serde::Serialize;

use crate::context::Context;

/// The last red answer of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Evidence {
    /// Who said no.
    pub(crate) stage: Stage,
    /// Why, with the last lines.
    pub(crate) failure: Failure,
}

fn path(context: &Context, run: &Run) -> PathBuf {
    context.work_dir(run.id).join("failure.json")
}

/// Keeps the answer of a stage.
pub(crate) async fn keep(context: &Context, run: &Run, stage: Stage, failure: &Failure) {
    let evidence = Evidence { stage, failure: failure.clone() };
    let written = async {
        tokio::fs::create_dir_all(context.work_dir(run.id)).await?;
        tokio::fs::write(path(context, run), serde_json::to_vec(&evidence)?).await
    };
    if let Err(error) = written.await {
        tracing::warn!(%error, run = %run.id, "the last lines of a failure could not be kept for its notice");
    }
}

/// Returns what was kept.
pub(crate) async fn recall(context: &Context, run: &Run) -> Option<Evidence> {
    let text = tokio::fs::read(path(context, run)).await.ok()?;
    serde_json::from_slice(&text).ok()
}

/// Returns the variable that an app looked for in its environment and did not find, by the last lines that it printed.
pub(crate) fn missing_variable(tail: &[String]) -> Option<String> {
    let is_variable = |name: &&str| {
        name.len() > 1
            && name.starts_with(|first: char| first.is_ascii_uppercase())
            && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    // A key that is missing elsewhere is the app's own affair.
    let is_environment =
        tail.iter().any(|line| line.contains("environ") || line.contains("getenv") || line.contains("env("));
    tail.iter().rev().find_map(|line| {
        let quoted = line.split_once("KeyError: ").map(|(_, rest)| rest.trim().trim_matches(['\'', '"']));
        let named = quoted.filter(|_| is_environment);
        let decouple = || {
            let (before, _) =
                line.split_once(" not found. Declare it as envvar").or(line.split_once(" not set"))?;
            before.rsplit([' ', '"', '\'']).find(|word| !word.is_empty())
        };
        let environs =
            || line.split_once("Environment variable \"").and_then(|(_, rest)| rest.split('"').next());
        named.or_else(environs).or_else(decouple).filter(is_variable).map(str::to_owned)
    })
}
