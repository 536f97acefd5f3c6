//! What a push leads to: for each branch a run, or the reason why there is none, told to whoever pushed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use landfall_engine::core::command::{Push as Trigger, Rejected};
use landfall_engine::core::event::Envelope;
use landfall_engine::core::lane::{LaneId, hold_in_words};
use landfall_engine::core::run::RunId;
use landfall_engine::core::settings::Settings;
use landfall_engine::ports::{AppendError, Clock, SystemClock};
use landfall_engine::{Engine, EngineError};
use landfall_stages::config::{self, CONFIG_FILE, PYPROJECT_FILE};
use landfall_stages::git::{self, GitError};
use tokio::sync::mpsc::Sender;
use tokio::time::error::Elapsed;
use tokio::time::{Interval, MissedTickBehavior};

use super::destination::destination;
use super::heads::{READ_TIMEOUT, head};
use super::protocol::{Told, Update};
use super::pushes::Push;
use super::waiting::{Late, forget_deleted};
use crate::commands::feed::{Feed, Happening, feed};
use crate::error::ApiError;
use crate::fault::Fault;
use crate::lines::EventLines;
use crate::server::{App, bare_repository};
use crate::sources::Goes;
use crate::sources::refs::Reference;
use crate::usual::{Usual, usual_ms};

/// How often what goes on is written over: often enough to see that it does, seldom enough for a slow line.
const BEAT: Duration = Duration::from_millis(500);
/// How wide that may be: a line that wraps can't be written over, and git's `remote: ` stands before it.
const PASSING_COLUMNS: usize = 71;

/// How pushes are named in the log.
pub(super) const TRIGGER: &str = "git push";

/// Triggers what was pushed, then tells how it goes until it is settled or nobody listens.
pub(super) async fn tell(app: &App, push: &Push, updates: Vec<Update>, lines: Sender<Told>) {
    let repository = bare_repository(&app.data, &push.app);
    let (mut said, mut runs, mut code) = (Vec::new(), Vec::new(), 0);
    // Everything is triggered before anything is told: a pusher that hangs up, or a terminal that stands
    // still, loses no run.
    for update in updates {
        let answer = answer(app, push, &repository, &update).await;
        code |= u8::from(answer.refused);
        said.extend(answer.lines);
        runs.extend(answer.run.map(|run| (update.reference, run)));
    }
    tokio::select! {
        () = follow(app, push, said, &runs, &lines) => {}
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

async fn answer(app: &App, push: &Push, repository: &Path, update: &Update) -> Answer {
    if let Some(tag) = update.reference.strip_prefix("refs/tags/").filter(|_| !is_nothing(&update.new)) {
        return answer_tag(app, push, repository, update, tag).await;
    }
    let Some(branch) = update.reference.strip_prefix("refs/heads/") else {
        return Answer::line(format!("landfall: {}: only branches and tags are deployed", update.reference));
    };
    if is_nothing(&update.new) {
        forget_deleted(app, &push.app, branch).await;
        return Answer::line(format!(
            "landfall: branch {branch} deleted; nothing is deployed by that, and what is live stays live"
        ));
    }
    let reference = Reference::Branch(branch.to_owned());
    let old = Some(update.old.as_str()).filter(|old| !is_nothing(old));
    let env = match destination(app, &push.app, repository, &reference, old, &update.new).await {
        Ok(Goes::To(env)) => env,
        Ok(Goes::AsConfigured) => match configured(push, repository, update, branch).await {
            Ok(env) => env,
            Err(lines) => return Answer { lines, ..Answer::default() },
        },
        Err(why) => return Answer::line(format!("landfall: nothing is deployed: {why}")),
    };
    let mut answer = Answer::default();
    let late = Late {
        sha: update.new.clone(),
        env,
        actor: push.actor.clone(),
        // The id of the push is in it. Without, a branch that is set back and pushed forward again would be taken for a
        // repetition of the first push, and would never be deployed.
        claim: format!("push:{}:{}:{}:{}:{}", push.app, update.reference, update.old, update.new, push.id),
    };
    let _turn = app.git.turns.take(&push.app).await;
    // A configuration that can't be used is told by the run, whose checkout fails with it: so there is a record.
    match trigger(&app.engine, repository, &push.app, Some(branch), &late).await {
        Ok(run) => answer.run = Some(run),
        Err(error) if error.is_no_room() => {
            answer.lines = wait_for_room(app, &push.app, repository, branch, late, error).await;
        }
        Err(TriggerError::Engine(EngineError::Rejected(Rejected::Held { sha, since, reason }))) => {
            answer.refused = true;
            answer.lines.push(format!(
                "landfall: NOT DEPLOYED: commit {} is held{}",
                sha.get(..12).unwrap_or(&sha),
                hold_in_words(since, &reason),
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

/// Returns the environment that a branch goes to by the app's own configuration, or what its pusher is told.
async fn configured(
    push: &Push,
    repository: &Path,
    update: &Update,
    branch: &str,
) -> Result<String, Vec<String>> {
    let (settings, problem) = match read_config(repository, &update.new, &push.app).await {
        Ok(settings) => (settings, None),
        Err(problem) => (settings_before(repository, Some(&update.old), &push.app).await, Some(problem)),
    };
    if let Some(env) = settings.environment_of(branch) {
        return Ok(env.to_owned());
    }
    let mut lines = Vec::new();
    if let Some(problem) = problem {
        lines.push("landfall: this configuration can't be used:".into());
        lines.extend(problem.lines().map(|line| format!("  {line}")));
    }
    lines.push(format!(
        "landfall: branch {branch} is not deployed; `branches` of [on.push] names {}. \
         Push to one of them, or add {branch} to it",
        listed(&settings.deployed_branches().cloned().collect::<Vec<_>>())
    ));
    Err(lines)
}

/// Starts a run for a tag that the app is registered to deploy.
async fn answer_tag(app: &App, push: &Push, repository: &Path, update: &Update, tag: &str) -> Answer {
    let reference = Reference::Tag(tag.to_owned());
    let env = match destination(app, &push.app, repository, &reference, None, &update.new).await {
        Ok(Goes::To(env)) => env,
        // No configuration of an app names tags.
        Ok(Goes::AsConfigured) => return Answer::line(format!("landfall: tag {tag} is not deployed")),
        Err(why) => return Answer::line(format!("landfall: nothing is deployed: {why}")),
    };
    let claim = format!("push:{}:{}:{}:{}:{}", push.app, update.reference, update.old, update.new, push.id);
    let late = Late { sha: update.new.clone(), env, actor: push.actor.clone(), claim };
    let _turn = app.git.turns.take(&push.app).await;
    match trigger(&app.engine, repository, &push.app, None, &late).await {
        Ok(run) => Answer { run: Some(run), ..Answer::default() },
        Err(error) => Answer {
            refused: true,
            lines: vec![format!("landfall: NOT DEPLOYED: {}; push the tag again", error.told())],
            run: None,
        },
    }
}

/// Lets a head that was refused wait for room, and returns what its pusher is told. Whoever calls it has the turn.
async fn wait_for_room(
    app: &App,
    name: &str,
    repository: &Path,
    branch: &str,
    late: Late,
    error: TriggerError,
) -> Vec<String> {
    tracing::warn!(app = name, branch, error = &error as &dyn std::error::Error, "a push waits for room");
    match head(repository, branch).await {
        // The newer push may be waiting already, and must not be put out of its place.
        Ok(head) if head.as_ref() != Some(&late.sha) => {
            vec![format!(
                "landfall: NOT DEPLOYED: branch {branch} has moved on since, and what is newer goes first"
            )]
        }
        Ok(_) => {
            app.git.waiting.add(name, branch, late);
            let told = error.told();
            vec![
                format!(
                    "landfall: NOT DEPLOYED YET: the push to {branch} is in git and its run waits for room: {told}"
                ),
                "  the run begins as soon as there is room, also after a restart; nothing has to be pushed again"
                    .into(),
            ]
        }
        Err(git) => {
            tracing::error!(
                app = name,
                branch,
                error = &git as &dyn std::error::Error,
                "a push was not recorded"
            );
            vec![format!(
                "landfall: NOT DEPLOYED: there is no room for a run of {branch}: {}; it is deployed when the server \
                 next starts, or by the next push",
                error.told()
            )]
        }
    }
}

/// Why a push has no run.
#[derive(Debug, thiserror::Error)]
pub(super) enum TriggerError {
    #[error("could not read the commit")]
    Git(#[from] GitError),
    #[error("git did not say in {} s what the commit is", READ_TIMEOUT.as_secs())]
    Slow(#[from] Elapsed),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl TriggerError {
    /// Tells whether nothing is wrong with the push, and there is no room for its run.
    pub(super) fn is_no_room(&self) -> bool {
        use EngineError::{Append, Busy, Low};
        matches!(self, Self::Engine(Busy(_) | Low(_) | Append(AppendError::Full)))
    }

    fn told(self) -> String {
        match self {
            Self::Git(error) => error.to_string(),
            Self::Slow(_) => self.to_string(),
            Self::Engine(error) => ApiError::from(error).problem().detail,
        }
    }
}

/// Starts a run for a branch's head, or for a tag. Durable when it returns. Whoever calls it has the app's turn.
pub(super) async fn trigger(
    engine: &Engine,
    repository: &Path,
    app: &str,
    branch: Option<&str>,
    late: &Late,
) -> Result<RunId, TriggerError> {
    let Late { actor, claim, .. } = late;
    let request = tokio::time::timeout(READ_TIMEOUT, request(repository, app, branch, late)).await??;
    Ok(engine.trigger(request, actor, Some(claim.as_str().into())).await?.run_id)
}

/// Returns what is asked of the engine for a branch's head, or for the commit that a tag marks.
async fn request(
    repository: &Path,
    app: &str,
    branch: Option<&str>,
    late: &Late,
) -> Result<Trigger, GitError> {
    let marked = format!("{}^{{commit}}", late.sha);
    let sha = git::resolve(repository, &marked).await?.unwrap_or_else(|| late.sha.clone());
    let commit = git::commit(repository, &sha).await?;
    Ok(Trigger {
        lane: LaneId { app: app.to_owned(), env: late.env.clone() },
        commit: landfall_engine::core::event::Commit { branch: branch.map(str::to_owned), ..commit },
        repository: repository.display().to_string(),
        trigger: TRIGGER.into(),
        release_hold: false,
    })
}

/// Returns the configuration at the commit, which says which pushes start a run, or what is wrong with it.
pub(super) async fn read_config(repository: &Path, sha: &str, app: &str) -> Result<Settings, String> {
    let mut files = Vec::new();
    for name in [CONFIG_FILE, PYPROJECT_FILE] {
        let bytes = git::show_file(repository, sha, name).await.map_err(|error| error.to_string())?;
        files.push((name, bytes));
    }
    let show = |wanted: &str| files.iter().find(|(name, _)| *name == wanted)?.1.clone();
    config::read_at_commit(show, app).map(|(settings, _)| settings)
}

/// Returns what says which pushes start a run where the pushed commit can't: the one before it, or the defaults.
pub(super) async fn settings_before(repository: &Path, before: Option<&str>, app: &str) -> Settings {
    match before {
        Some(sha) => read_config(repository, sha, app).await.unwrap_or_default(),
        None => Settings::default(),
    }
}

/// Returns the environment that a push to a branch goes to, as the app's own configuration says; or why to none.
pub(crate) async fn environment_of(
    repository: &Path,
    sha: &str,
    before: Option<&str>,
    app: &str,
    branch: &str,
) -> Result<String, String> {
    let settings = match read_config(repository, sha, app).await {
        Ok(settings) => settings,
        // What can't be used is told by the run.
        Err(_) => settings_before(repository, before, app).await,
    };
    settings.environment_of(branch).map(str::to_owned).ok_or_else(|| {
        let deployed: Vec<String> = settings.deployed_branches().cloned().collect();
        format!("branch {branch} is not deployed; `branches` of [on.push] names {}", listed(&deployed))
    })
}

/// Tells what is to be said, then of runs until each is settled.
async fn follow(app: &App, push: &Push, said: Vec<String>, runs: &[(String, RunId)], lines: &Sender<Told>) {
    // Two runs would write over each other.
    let moves = runs.len() == 1 && push.shows_progress.load(Ordering::Acquire);
    let streams = runs.iter().map(|(reference, run)| {
        let branch = reference.strip_prefix("refs/heads/").unwrap_or(reference);
        let label = if runs.len() > 1 { format!("{branch}: ") } else { String::new() };
        tale(app, *run, moves).map(move |told| match told {
            Told::Line(line) => Told::Line(format!("{label}{line}")),
            told => told,
        })
    });
    let mut all = stream::iter(said.into_iter().map(Told::Line)).chain(stream::select_all(streams));
    while let Some(told) = all.next().await {
        if lines.send(told).await.is_err() {
            return;
        }
    }
}

/// A run that is told until it is settled.
struct Tale {
    feed: Feed,
    teller: EventLines,
    /// Beats while what goes on is written over and over. None: it is not.
    beats: Option<Interval>,
    is_over: bool,
}

/// Tells a run in the lines of its picture, until it is settled.
fn tale(app: &App, run: RunId, moves: bool) -> BoxStream<'static, Told> {
    let (engine, outputs) = (app.engine.clone(), Arc::clone(&app.outputs));
    let begin = async move {
        let usual = usual_of(&engine, run).await;
        let events = engine.watch(run).map(|event| event.map_err(Fault::from)).boxed();
        let teller = EventLines::new().with_usual(usual);
        match moves {
            true => {
                let mut beats = tokio::time::interval(BEAT);
                beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let teller = teller.without_beginnings();
                Tale { feed: feed(events, outputs), teller, beats: Some(beats), is_over: false }
            }
            false => {
                let feed = events.map(|event| event.map(|event| Happening::Event(Box::new(event)))).boxed();
                Tale { feed, teller, beats: None, is_over: false }
            }
        }
    };
    let told = stream::once(begin).flat_map(|tale| {
        stream::unfold(
            tale,
            |mut tale| async move { tale.next().await.map(|told| (stream::iter(told), tale)) },
        )
    });
    told.flatten().boxed()
}

/// What is usual is a kindness: a log that can't be read says so by itself.
async fn usual_of(engine: &Engine, run: RunId) -> Usual {
    match engine.run(run).await {
        Ok(Some(started)) => {
            usual_ms(engine.store().as_ref(), &started.lane, Some(run)).await.unwrap_or_default()
        }
        _ => Usual::default(),
    }
}

impl Tale {
    async fn next(&mut self) -> Option<Vec<Told>> {
        if self.is_over {
            return None;
        }
        let beat = async {
            match &mut self.beats {
                Some(beats) => beats.tick().await,
                None => std::future::pending().await,
            }
        };
        let happening = tokio::select! {
            biased;
            happening = self.feed.next() => happening?,
            _ = beat => return Some(self.passing().into_iter().collect()),
        };
        Some(match happening {
            Ok(Happening::Event(envelope)) => self.event(&envelope),
            Ok(Happening::Line(line)) => {
                self.teller.print(&line);
                Vec::new()
            }
            Err(fault) => {
                self.is_over = true;
                vec![Told::Line(format!("landfall: the run's log can't be read: {fault}"))]
            }
        })
    }

    fn event(&mut self, envelope: &Envelope) -> Vec<Told> {
        let mut told = self.teller.tell(envelope);
        self.is_over = self.teller.is_settled();
        if self.is_over {
            told.extend(self.teller.not_live());
        }
        told.iter().map(|line| Told::Line(line.paint(false))).collect()
    }

    /// What goes on, to be written over by what comes next.
    fn passing(&self) -> Option<Told> {
        let line = self.teller.now(SystemClock.now_ms())?;
        Some(Told::Passing(line.cut(PASSING_COLUMNS).paint(false)))
    }
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
