//! Pushes that git accepted and nobody heard of: the server died between the move of the ref and the trigger.
//!
//! Found at the start by comparing branch heads with the log, which is the truth: a head that no push, and no
//! later trigger of its branch, led to a run for.

use std::io;
use std::path::Path;

use landfall_engine::core::run::RunId;
use landfall_engine::ports::{BoxError, ReadError, RunQuery};
use landfall_engine::{Engine, EngineError};
use tokio::process::Command;
use uuid::Uuid;

use super::telling::{self, TRIGGER, TriggerError};
use super::waiting::Late;
use crate::server::{App, app_name, bare_repository};

/// Runs that are read at once on the way back to a branch's last push.
const PAGE: usize = 200;

/// Triggers every branch head that was pushed and has no run. Call it before pushes are taken.
pub async fn trigger_what_was_lost(app: &App) {
    for name in repositories(&app.git.root) {
        if let Err(error) = catch_up(app, &name).await {
            let error: &dyn std::error::Error = &error;
            tracing::error!(app = name, error, "could not compare the pushed branches with the log");
        }
    }
}

fn repositories(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let apps = names.filter_map(|name| Some(name.strip_suffix(".git")?.to_owned()));
    apps.filter(|app| app_name(app).is_ok()).collect()
}

/// Returns every branch of a repository of ours, with its head.
pub(super) async fn branch_heads(repository: &Path) -> io::Result<Vec<(String, String)>> {
    let mut command = Command::new("git");
    command.args(["-c", "safe.directory=*", "-C"]).arg(repository);
    command.args(["for-each-ref", "--format=%(objectname) %(refname)", "refs/heads/"]).kill_on_drop(true);
    let answer = command.output().await?;
    if !answer.status.success() {
        let said = String::from_utf8_lossy(&answer.stderr).trim().to_owned();
        return Err(io::Error::other(format!("git for-each-ref: {said}")));
    }
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let heads = text.lines().filter_map(|line| {
        let (sha, reference) = line.split_once(' ')?;
        Some((reference.strip_prefix("refs/heads/")?.to_owned(), sha.to_owned()))
    });
    Ok(heads.collect())
}

async fn catch_up(app: &App, name: &str) -> io::Result<()> {
    let repository = bare_repository(&app.data, name);
    for (branch, sha) in branch_heads(&repository).await? {
        // What is wrong with one branch is no reason to forget the others.
        if let Err(error) = catch_up_branch(app, name, &repository, &branch, &sha).await {
            let error: &dyn std::error::Error = error.as_ref();
            tracing::error!(app = name, branch, sha, error, "could not tell whether this head has a run");
        }
    }
    Ok(())
}

async fn catch_up_branch(
    app: &App,
    name: &str,
    repository: &Path,
    branch: &str,
    sha: &str,
) -> Result<(), BoxError> {
    // A head without a usable configuration had its say when it was pushed, or has it with the next push.
    let Ok(on_push) = telling::read_config(repository, sha, name).await else { return Ok(()) };
    let is_deployed = on_push.branches.iter().any(|deployed| deployed == branch);
    if !is_deployed || has_run(&app.engine, name, branch, sha).await? {
        return Ok(());
    }
    let claim = format!("catch-up:{name}:{branch}:{sha}:{}", Uuid::new_v4());
    let late = Late { sha: sha.to_owned(), actor: "catch-up".into(), claim };
    match telling::trigger(&app.engine, repository, name, branch, &late).await {
        Ok(run) => tracing::warn!(
            app = name, branch, sha, %run,
            "this head was pushed and no run was recorded for it; it is triggered now"
        ),
        Err(TriggerError::Engine(EngineError::Rejected(reason))) => {
            tracing::info!(app = name, branch, sha, %reason, "this head is not deployed");
        }
        Err(error) if error.is_no_room() => {
            tracing::warn!(app = name, branch, sha, %error, "this head was pushed, and its run waits for room");
            app.git.waiting.add(name, branch, late);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Tells whether the branch's last push, or any later trigger, led to a run of this commit.
async fn has_run(engine: &Engine, app: &str, branch: &str, sha: &str) -> Result<bool, ReadError> {
    let mut before: Option<RunId> = None;
    loop {
        let query = RunQuery { app: Some(app.to_owned()), before, limit: PAGE, ..RunQuery::default() };
        let page = engine.store().runs(query).await?;
        let of_branch = page.iter().filter(|run| run.commit.branch.as_deref() == Some(branch));
        for run in of_branch {
            if run.commit.sha == sha {
                return Ok(true);
            }
            if run.trigger == TRIGGER {
                return Ok(false);
            }
        }
        before = page.last().map(|run| run.id);
        if page.len() < PAGE {
            return Ok(false);
        }
    }
}
