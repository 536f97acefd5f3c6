//! What a push leads to: for each branch a run, or the reason why there is none, told to whoever pushed.

use std::path::Path;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use landfall_engine::core::command::{Push as Trigger, Rejected};
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::run::RunId;
use landfall_engine::core::settings::OnPush;
use landfall_engine::{Engine, EngineError};
use landfall_stages::config::{self, CONFIG_FILE, PYPROJECT_FILE};
use landfall_stages::git::{self, GitError};
use tokio::sync::mpsc::Sender;

use super::protocol::{Told, Update};
use super::pushes::Push;
use crate::error::ApiError;
use crate::lines::EventLines;
use crate::server::{App, bare_repository};

/// How pushes are named in the log.
pub(super) const TRIGGER: &str = "git push";

/// Triggers what was pushed, then tells how it goes until it is settled or nobody listens.
pub(super) async fn tell(app: &App, push: &Push, updates: Vec<Update>, lines: Sender<Told>) {
    let repository = bare_repository(&app.data, &push.app);
    let (mut said, mut runs, mut code) = (Vec::new(), Vec::new(), 0);
    // Everything is triggered before anything is told: a pusher that hangs up, or a terminal that stands
    // still, loses no run.
    for update in updates {
        let answer = answer(&app.engine, push, &repository, &update).await;
        code |= u8::from(answer.refused);
        said.extend(answer.lines);
        runs.extend(answer.run.map(|run| (update.reference, run)));
    }
    tokio::select! {
        () = follow(app, said, &runs, &lines) => {}
        () = push.gone.cancelled() => tracing::info!(app = push.app, "the pusher hung up; the runs go on"),
        () = app.stop.cancelled() => {
            let line = "landfall: the server is stopping; the run goes on when it is back";
            let _ = lines.send(Told::Line(line.into())).await;
        }
    }
    let _ = lines.send(Told::Exit(code)).await;
}

/// What one moved ref leads to.
#[derive(Debug, Default)]
struct Answer {
    lines: Vec<String>,
    run: Option<RunId>,
    /// It was to be deployed and is not.
    refused: bool,
}

impl Answer {
    fn line(line: impl Into<String>) -> Self {
        Self { lines: vec![line.into()], ..Self::default() }
    }
}

async fn answer(engine: &Engine, push: &Push, repository: &Path, update: &Update) -> Answer {
    let Some(branch) = update.reference.strip_prefix("refs/heads/") else {
        return Answer::line(format!("landfall: {}: only branches are deployed", update.reference));
    };
    if is_nothing(&update.new) {
        return Answer::line(format!(
            "landfall: branch {branch} deleted; nothing is deployed by that, and what is live stays live"
        ));
    }
    let mut answer = Answer::default();
    let (branches, problem) = match read_config(repository, &update.new, &push.app).await {
        Ok(on_push) => (on_push.branches, None),
        Err(problem) => {
            // The commit does not say which branches are deployed; the one before it may.
            let before = read_config(repository, &update.old, &push.app).await.unwrap_or_default();
            (before.branches, Some(problem))
        }
    };
    if !branches.iter().any(|deployed| deployed == branch) {
        if let Some(problem) = problem {
            answer.lines.push("landfall: this configuration can't be used:".into());
            answer.lines.extend(problem.lines().map(|line| format!("  {line}")));
        }
        answer.lines.push(format!(
            "landfall: branch {branch} is not deployed; `branches` of [on.push] names {}. \
             Push to one of them, or add {branch} to it",
            listed(&branches)
        ));
        return answer;
    }
    // A configuration that can't be used is told by the run, whose checkout fails with it: so there is a record.
    match trigger(engine, push, repository, branch, update).await {
        Ok(run) => answer.run = Some(run),
        Err(TriggerError::Engine(EngineError::Rejected(Rejected::Held { sha, since, reason }))) => {
            answer.refused = true;
            answer.lines.push(format!(
                "landfall: NOT DEPLOYED: commit {} is held since run {} was rolled back ({reason})",
                sha.get(..12).unwrap_or(&sha),
                since.short(),
            ));
            answer.lines.push(
                "  push a commit that mends it, or release the hold: `landfall run --release-hold`".into(),
            );
        }
        Err(error) => {
            answer.refused = true;
            let cause: &dyn std::error::Error = &error;
            tracing::error!(app = push.app, branch, error = cause, "a push was not recorded");
            answer.lines.push(format!(
                "landfall: NOT DEPLOYED: the push arrived and could not be recorded: {}; it is deployed when the \
                 server next starts, or by the next push",
                error.told()
            ));
        }
    }
    answer
}

/// Why a push has no run.
#[derive(Debug, thiserror::Error)]
pub(super) enum TriggerError {
    #[error("could not read the commit")]
    Git(#[from] GitError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl TriggerError {
    fn told(self) -> String {
        match self {
            Self::Git(error) => error.to_string(),
            Self::Engine(error) => ApiError::from(error).problem().detail,
        }
    }
}

/// Starts a run for a branch's new head. Durable when it returns.
///
/// The claim has the id of the push in it. Without, a branch that is set back and pushed forward again
/// would be taken for a repetition of the first push, and would never be deployed.
async fn trigger(
    engine: &Engine,
    push: &Push,
    repository: &Path,
    branch: &str,
    update: &Update,
) -> Result<RunId, TriggerError> {
    let Update { old, new, reference } = update;
    let claim = format!("push:{}:{reference}:{old}:{new}:{}", push.app, push.id);
    let request = request(repository, &push.app, branch, new).await?;
    Ok(engine.trigger(request, &push.actor, Some(claim)).await?.run_id)
}

/// Returns what is asked of the engine for a branch's head.
pub(super) async fn request(
    repository: &Path,
    app: &str,
    branch: &str,
    sha: &str,
) -> Result<Trigger, GitError> {
    let commit = git::commit(repository, sha).await?;
    Ok(Trigger {
        lane: LaneId::production(app),
        commit: landfall_engine::core::event::Commit { branch: Some(branch.to_owned()), ..commit },
        repository: repository.display().to_string(),
        trigger: TRIGGER.into(),
        release_hold: false,
    })
}

/// Returns which pushes start a run, as the commit says, or what is wrong with its configuration.
pub(super) async fn read_config(repository: &Path, sha: &str, app: &str) -> Result<OnPush, String> {
    let mut files = Vec::new();
    for name in [CONFIG_FILE, PYPROJECT_FILE] {
        let bytes = git::show_file(repository, sha, name).await.map_err(|error| error.to_string())?;
        files.push((name, bytes));
    }
    let show = |wanted: &str| files.iter().find(|(name, _)| *name == wanted)?.1.clone();
    config::read_at_commit(show, app).map(|(settings, _)| settings.on_push)
}

/// Tells what is to be said, then of runs until each is settled.
async fn follow(app: &App, said: Vec<String>, runs: &[(String, RunId)], lines: &Sender<Told>) {
    let streams = runs.iter().map(|(reference, run)| {
        let branch = reference.strip_prefix("refs/heads/").unwrap_or(reference);
        let label = if runs.len() > 1 { format!("{branch}: ") } else { String::new() };
        tale(&app.engine, *run).map(move |line| format!("{label}{line}")).boxed()
    });
    let mut all = stream::iter(said).chain(stream::select_all(streams));
    while let Some(line) = all.next().await {
        if lines.send(Told::Line(line)).await.is_err() {
            return;
        }
    }
}

/// Returns a run line by line, until it is settled.
fn tale(engine: &Engine, run: RunId) -> BoxStream<'static, String> {
    let seed = (engine.watch(run), EventLines::new());
    let batches = stream::unfold(seed, |(mut events, mut teller)| async move {
        if teller.is_settled() {
            return None;
        }
        let lines = match events.next().await? {
            Ok(envelope) => teller.tell(&envelope),
            Err(error) => vec![format!("landfall: the run's log can't be read: {error}")],
        };
        Some((stream::iter(lines), (events, teller)))
    });
    batches.flatten().boxed()
}

fn is_nothing(sha: &str) -> bool {
    sha.bytes().all(|byte| byte == b'0')
}

fn listed(branches: &[String]) -> String {
    match branches.is_empty() {
        true => "none".into(),
        false => branches.join(", "),
    }
}
