//! What a push that was delivered leads to: for each ref a run, or the reason why there is none.
//!
//! ```text
//! the app's turn ▶ claimed before? ▶ filters ▶ found by looking? ▶ in order? ▶ engine
//! ```
//!
//! **Each push starts one run at most, for ever**, whatever is delivered twice: its claims are the delivery's id
//! and what was moved from where to where. And what is newest is triggered last: a delivery that does not follow
//! the last one that we know of is checked against the repository.

use landfall_engine::core::command::{Push, Rejected};
use landfall_engine::core::event::Commit;
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::ledger::{Registration, Source};
use landfall_engine::core::run::RunId;
use landfall_engine::ports::AppendError;
use landfall_engine::{Claim, EngineError};
use landfall_stages::git::{self, GitError};

use super::delivery::{Head, RefChange};
use super::{Forge, HookAnswer, HookRun, Nothing};
use crate::error::ApiError;
use crate::git_remote::{environment_of, head_of};
use crate::server::{App, bare_repository};
use crate::sources::refs::Sha;
use crate::sources::{ASK_DURING_TURN, Filter, Goes, POLL, Pushed, newest_of_branch};

/// An author or a first line may be of any length; events are told this much of it.
const FIELD_CHARS_MAX: usize = 200;

/// Who delivered.
pub(super) struct Sender {
    pub(super) forge: Forge,
    /// What names the delivery.
    pub(super) id: Option<String>,
    /// Who pushed.
    pub(super) name: Option<String>,
}

/// Begins the runs of a push.
pub(super) async fn begin(
    app: &App,
    name: &str,
    registration: &Registration,
    sender: Sender,
    changes: Vec<RefChange>,
) -> Result<HookAnswer, ApiError> {
    let filter = Filter::of(registration)
        .map_err(|error| ApiError::Refused(format!("{error}; register the app with one that can be")))?;
    let count = changes.len();
    let beginning = Beginning { app, name, registration, filter, sender, count };
    let _turn = app.git.turn(name).await;
    let mut answer = HookAnswer::default();
    for (nth, change) in changes.iter().enumerate() {
        match beginning.one(nth, change).await? {
            Led::To(run_id, fresh) => answer.runs.push(HookRun {
                reference: change.reference.to_string(),
                url: format!("/v1/runs/{run_id}"),
                run_id,
                fresh,
            }),
            Led::Nowhere(why) => {
                answer.nothing.push(Nothing { reference: Some(change.reference.to_string()), why });
            }
        }
    }
    Ok(answer)
}

/// What a moved ref led to.
enum Led {
    /// A run; true if it is new.
    To(RunId, bool),
    /// Nothing, for this reason.
    Nowhere(String),
}

/// A push whose runs are to begin. Whoever has it has the app's turn.
struct Beginning<'a> {
    app: &'a App,
    name: &'a str,
    registration: &'a Registration,
    filter: Filter,
    sender: Sender,
    /// How many refs were moved.
    count: usize,
}

impl Beginning<'_> {
    async fn one(&self, nth: usize, change: &RefChange) -> Result<Led, ApiError> {
        let Self { app, name, .. } = *self;
        let Some(head) = &change.after else {
            app.sources.moved(name, &change.reference, None);
            return Ok(Led::Nowhere(
                "it was deleted; nothing is deployed by that, and what is live stays live".into(),
            ));
        };
        let claims = self.claims(nth, change, &head.sha);
        if let Some(run) = self.claimed(&claims, change, head).await? {
            return Ok(Led::To(run, false));
        }
        let led = self.fresh(change, head, claims).await?;
        app.sources.moved(name, &change.reference, Some(&head.sha));
        Ok(led)
    }

    async fn fresh(&self, change: &RefChange, head: &Head, claims: Vec<String>) -> Result<Led, ApiError> {
        let (commit, message) = self.commit(change, head).await?;
        let pushed = Pushed {
            reference: &change.reference,
            message: message.as_deref(),
            paths: head.paths.as_deref(),
        };
        let environment = match self.filter.admit(pushed) {
            Ok(Goes::To(environment)) => environment,
            Ok(Goes::AsConfigured) => match self.configured(change, head).await {
                Ok(environment) => environment,
                Err(why) => return Ok(Led::Nowhere(why)),
            },
            Err(skip) => return Ok(Led::Nowhere(skip.to_string())),
        };
        if let Some(run) = self.found_by_looking(change, head).await? {
            return Ok(Led::To(run, false));
        }
        if let Some(why) = self.is_late(change, head).await? {
            return Ok(Led::Nowhere(why));
        }
        let kind = if change.reference.as_branch().is_some() { "push" } else { "tag" };
        let push = Push {
            lane: LaneId { app: self.name.to_owned(), env: environment },
            commit,
            repository: self.repository(),
            trigger: format!("{} {kind}", self.sender.forge.name()),
            release_hold: false,
        };
        self.trigger(push, claims).await
    }

    async fn trigger(&self, push: Push, claims: Vec<String>) -> Result<Led, ApiError> {
        match self.app.engine.trigger(push, &self.actor(), claims.into_iter().map(Claim::from)).await {
            Ok(triggered) => Ok(Led::To(triggered.run_id, triggered.fresh)),
            Err(EngineError::Rejected(reason @ Rejected::Held { .. })) => {
                Ok(Led::Nowhere(reason.to_string()))
            }
            Err(error) => {
                if matches!(
                    error,
                    EngineError::Busy(_) | EngineError::Low(_) | EngineError::Append(AppendError::Full)
                ) {
                    // Forges don't deliver again by themselves; whoever looks finds it, and waits for room.
                    self.app.sources.look_soon(self.name);
                }
                Err(error.into())
            }
        }
    }

    /// Returns the names under which a run of this is known.
    fn claims(&self, nth: usize, change: &RefChange, after: &Sha) -> Vec<String> {
        let Self { name, sender, count, .. } = self;
        let before = change.before.as_ref().map_or("new", Sha::as_str);
        let moved = format!("push:{name}:{}:{before}:{after}", change.reference);
        let delivered = sender.id.as_ref().map(|id| match *count {
            1 => format!("hook:{}:{name}:{id}", sender.forge.name()),
            _ => format!("hook:{}:{name}:{id}:{nth}", sender.forge.name()),
        });
        delivered.into_iter().chain([moved]).collect()
    }

    async fn claimed(
        &self,
        claims: &[String],
        change: &RefChange,
        head: &Head,
    ) -> Result<Option<RunId>, ApiError> {
        let Self { app, name, .. } = *self;
        for claim in claims {
            let Some(run) = app.engine.store().claimed(claim).await? else { continue };
            if let Some(branch) = change.reference.as_branch() {
                // A branch that was set back and forward again is moved as it was before, and no run is started by that.
                // Looking tells that from a delivery of long ago.
                let newest = newest_of_branch(&**app.engine.store(), name, branch).await?;
                if newest.is_some_and(|newest| newest.commit.sha != head.sha.as_str()) {
                    app.sources.look_again(name, branch);
                }
            }
            return Ok(Some(run));
        }
        Ok(None)
    }

    /// Returns the run of this push that began because somebody looked before it was delivered.
    async fn found_by_looking(&self, change: &RefChange, head: &Head) -> Result<Option<RunId>, ApiError> {
        let Some(branch) = change.reference.as_branch() else { return Ok(None) };
        let newest = newest_of_branch(&**self.app.engine.store(), self.name, branch).await?;
        Ok(newest.filter(|run| run.trigger == POLL && run.commit.sha == head.sha.as_str()).map(|run| run.id))
    }

    /// Returns why this is not what is newest, if the branch was moved on before it was delivered.
    async fn is_late(&self, change: &RefChange, head: &Head) -> Result<Option<String>, ApiError> {
        let Self { app, name, .. } = *self;
        let Some(branch) = change.reference.as_branch() else { return Ok(None) };
        let known = match app.sources.place(name, &change.reference) {
            Some(known) => Some(known),
            None => {
                let newest = newest_of_branch(&**app.engine.store(), name, branch).await?;
                newest.and_then(|run| Sha::parse(&run.commit.sha))
            }
        };
        // It follows the last one, or is that one once more.
        if known.as_ref().is_none_or(|known| Some(known) == change.before.as_ref() || *known == head.sha) {
            return Ok(None);
        }
        match self.at(branch).await {
            Ok(at) if at.as_deref() == Some(head.sha.as_str()) => Ok(None),
            Ok(Some(at)) => Ok(Some(format!(
                "the branch has moved on to {} before this was delivered, and what is newer goes first",
                at.get(..12).unwrap_or(&at)
            ))),
            Ok(None) => Ok(Some("the branch was deleted before this was delivered".into())),
            Err(why) => {
                tracing::warn!(
                    app = name,
                    branch,
                    why,
                    "the order of a delivery could not be checked; it is taken"
                );
                Ok(None)
            }
        }
    }

    /// Returns what a branch is at now.
    async fn at(&self, branch: &str) -> Result<Option<String>, String> {
        let Self { app, name, registration, .. } = self;
        let asking = async {
            match &registration.source {
                Source::Push => head_of(&bare_repository(&app.data, name), branch)
                    .await
                    .map_err(|error| error.to_string()),
                Source::Git { url, .. } => {
                    let access = app.sources.access(name, registration).map_err(|error| error.to_string())?;
                    let heads = git::remote_heads(url, &access).await.map_err(|error| error.to_string())?;
                    Ok(heads.branches.get(branch).cloned())
                }
            }
        };
        let slow = |_| Err("the repository did not answer in time".to_owned());
        tokio::time::timeout(ASK_DURING_TURN, asking).await.unwrap_or_else(slow)
    }

    /// Returns the commit, and its message: from the app's own repository, or as it was delivered.
    async fn commit(&self, change: &RefChange, head: &Head) -> Result<(Commit, Option<String>), ApiError> {
        let branch = change.reference.as_branch().map(str::to_owned);
        match &self.registration.source {
            Source::Push => {
                let repository = bare_repository(&self.app.data, self.name);
                let read = async {
                    let commit = git::commit(&repository, head.sha.as_str()).await?;
                    Ok((commit, git::message(&repository, head.sha.as_str()).await?))
                };
                let (commit, message) = read.await.map_err(|error| self.unreadable(error, &head.sha))?;
                Ok((Commit { branch, ..commit }, Some(message)))
            }
            Source::Git { .. } => {
                let subject = head.message.as_deref().and_then(|message| message.lines().next());
                let commit = Commit {
                    sha: head.sha.to_string(),
                    branch,
                    subject: plain(subject),
                    author: plain(head.author.as_deref()),
                    email: plain(head.email.as_deref()),
                };
                Ok((commit, head.message.clone()))
            }
        }
    }

    fn unreadable(&self, error: GitError, sha: &Sha) -> ApiError {
        match error {
            GitError::Refused { .. } => ApiError::Unprocessable(format!(
                "commit {} is not in the app's own repository: push it to /git/{}.git first, or register the app with \
                 the URL where it is",
                sha.short(),
                self.name
            )),
            error => ApiError::internal("reading the commit", error),
        }
    }

    /// Returns the environment that the app's own configuration sends a branch to, or why to none.
    async fn configured(&self, change: &RefChange, head: &Head) -> Result<String, String> {
        let repository = bare_repository(&self.app.data, self.name);
        let (before, branch) = (change.before.as_ref().map(Sha::as_str), change.reference.name());
        environment_of(&repository, head.sha.as_str(), before, self.name, branch).await
    }

    fn repository(&self) -> String {
        match &self.registration.source {
            Source::Push => bare_repository(&self.app.data, self.name).display().to_string(),
            Source::Git { url, .. } => url.clone(),
        }
    }

    /// Returns who stands in the log as the one who asked.
    fn actor(&self) -> String {
        let forge = self.sender.forge.name();
        match plain(self.sender.name.as_deref()) {
            name if name.is_empty() => forge.to_owned(),
            name => format!("{forge}:{name}"),
        }
    }
}

/// Returns a text of a delivery as it may stand in the log: one line, not long.
fn plain(text: Option<&str>) -> String {
    let text = text.unwrap_or_default().trim();
    text.chars().filter(|char| !char.is_control()).take(FIELD_CHARS_MAX).collect()
}
