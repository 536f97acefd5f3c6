//! Pushes that git accepted and nobody heard of: the server died between the move of the ref and the trigger.
//!
//! Found at the start by comparing branch heads with the log, which is the truth: a head that no push, and no
//! later trigger of its branch, led to a run for.

use std::io;
use std::path::Path;

use landfall_engine::EngineError;
use landfall_engine::ports::BoxError;
use uuid::Uuid;

use super::destination::{destination, usual_destination};
use super::heads::branch_heads;
use super::telling::{self, TRIGGER, TriggerError};
use super::waiting::Late;
use crate::server::{App, app_name, bare_repository};
use crate::sources::refs::Reference;
use crate::sources::{Goes, Heard, last_heard};

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
    let reference = Reference::Branch(branch.to_owned());
    let Ok(usual) = usual_destination(app, name, &reference) else { return Ok(()) };
    let settings = telling::read_config(repository, sha, name).await;
    if usual == Goes::AsConfigured
        && settings.as_ref().is_ok_and(|settings| settings.environment_of(branch).is_none())
    {
        return Ok(());
    }
    let heard = last_heard(&**app.engine.store(), name, branch, sha, |trigger| trigger == TRIGGER).await?;
    let Heard::No { before } = heard else { return Ok(()) };
    let env = match destination(app, name, repository, &reference, before.as_deref(), sha).await {
        Ok(Goes::To(env)) => env,
        Ok(Goes::AsConfigured) => {
            // As when it was pushed: a configuration that can't be used is told by a run.
            let settings = match settings {
                Ok(settings) => settings,
                Err(_) => telling::settings_before(repository, before.as_deref(), name).await,
            };
            let Some(env) = settings.environment_of(branch).map(str::to_owned) else { return Ok(()) };
            env
        }
        Err(why) => {
            tracing::info!(app = name, branch, sha, why, "this head is not deployed");
            return Ok(());
        }
    };
    let claim = format!("catch-up:{name}:{branch}:{sha}:{}", Uuid::new_v4());
    let late = Late { sha: sha.to_owned(), env, actor: "catch-up".into(), claim };
    let _turn = app.git.turns.take(name).await;
    match telling::trigger(&app.engine, repository, name, Some(branch), &late).await {
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
