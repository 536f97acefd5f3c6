//! Pushes that git accepted and nobody heard of: the server died between the move of the ref and the trigger.
//!
//! Found at the start by comparing branch heads with the log, which is the truth: a head that no push, and no
//! later trigger of its branch, led to a run for.

use std::io;
use std::path::Path;

use landfall_engine::core::run::RunId;
use landfall_engine::ports::{ReadError, RunQuery};
use landfall_engine::{Engine, EngineError};
use tokio::process::Command;

use super::telling::{self, TRIGGER};
use crate::server::{App, app_name, bare_repository};

/// Runs that are read at once on the way back to a branch's last push.
const PAGE: usize = 200;

/// Triggers every branch head that was pushed and has no run. Call it before pushes are taken.
pub async fn trigger_what_was_lost(app: &App) {
    for name in repositories(&app.git.root) {
        if let Err(error) = catch_up(app, &name).await {
            let error: &dyn std::error::Error = error.as_ref();
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
async fn branch_heads(repository: &Path) -> io::Result<Vec<(String, String)>> {
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

async fn catch_up(app: &App, name: &str) -> Result<(), landfall_engine::ports::BoxError> {
    let repository = bare_repository(&app.data, name);
    for (branch, sha) in branch_heads(&repository).await? {
        // A head without a usable configuration had its say when it was pushed, or has it with the next push.
        let Ok(on_push) = telling::read_config(&repository, &sha, name).await else { continue };
        let is_deployed = on_push.branches.contains(&branch);
        if !is_deployed || has_run(&app.engine, name, &branch, &sha).await? {
            continue;
        }
        let request = telling::request(&repository, name, &branch, &sha).await?;
        match app.engine.trigger(request, "catch-up", None).await {
            Ok(triggered) => tracing::warn!(
                app = name, branch, sha, run = %triggered.run_id,
                "this head was pushed and no run was recorded for it; it is triggered now"
            ),
            Err(EngineError::Rejected(reason)) => {
                tracing::info!(app = name, branch, sha, %reason, "this head is not deployed");
            }
            Err(error) => return Err(error.into()),
        }
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
