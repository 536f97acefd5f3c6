//! Tells the forge of one app how its runs stand, one after the other, for as long as it takes.

use std::sync::Arc;
use std::time::Duration;

use landfall_engine::core::ledger::Forge;
use landfall_engine::core::run::{Run, RunId};
use landfall_engine::engine::replay_all;
use landfall_stages::forge::{Deployment, Status, Unreported};

use super::book::Told;
use super::standing::{Line, Standing};
use super::{StatusProblem, Telling};

/// How long the answer to a question that was asked before the server stops is waited for: not to ask it again.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// The forge gave no answer.
struct Silence {
    /// How long it wants to be left alone, where it said so.
    retry_after: Option<Duration>,
}

/// Tells until the server stops.
pub(super) async fn tell(telling: Arc<Telling>, app: String) {
    let stop = telling.parts.stop.clone();
    let mut tries = 0;
    loop {
        let run = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            run = telling.next(&app) => run,
        };
        let told = telling.bring_up_to_date(&app, run);
        tokio::pin!(told);
        let told = tokio::select! {
            told = &mut told => told,
            () = stop.cancelled() => match tokio::time::timeout(STOP_GRACE, told).await {
                Ok(told) => told,
                Err(_) => return,
            },
        };
        let Err(Silence { retry_after }) = told else {
            tries = 0;
            continue;
        };
        tries += 1;
        telling.enqueue(&app, run);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(telling.parts.pace.pause(tries, retry_after)) => {}
        }
    }
}

impl Telling {
    /// Waits for a run of the app that has moved.
    async fn next(&self, app: &str) -> RunId {
        loop {
            let wake = {
                let mut apps = self.apps();
                let queue = apps.entry(app.to_owned()).or_default();
                if let Some(run) = queue.waiting.pop_front() {
                    return run;
                }
                Arc::clone(&queue.wake)
            };
            wake.notified().await;
        }
    }

    async fn bring_up_to_date(&self, app: &str, run_id: RunId) -> Result<(), Silence> {
        let Some(told) = self.book().told(run_id).cloned() else { return Ok(()) };
        let Some(forge) = self.forge(app) else { return self.let_go(run_id) };
        let history = match self.parts.store.events(run_id).await {
            Ok(history) => history,
            Err(error) => {
                tracing::warn!(%error, app, "a run can't be read, so its forge is not told how it stands");
                return self.let_go(run_id);
            }
        };
        let Ok(Some(run)) = replay_all(&history) else { return self.let_go(run_id) };
        let standing = Standing::of(&run);
        self.tell_commit(&forge, &run, &told, &standing.commit).await?;
        if let Some(line) = &standing.deploy {
            self.tell_deploy(&forge, &run, &told, line).await?;
        }
        if standing.is_last { self.let_go(run_id) } else { Ok(()) }
    }

    async fn tell_commit(&self, forge: &Forge, run: &Run, told: &Told, line: &Line) -> Result<(), Silence> {
        if told.commit.as_ref() == Some(line) {
            return Ok(());
        }
        let status = Status {
            sha: run.commit().sha.clone(),
            branch: run.commit().branch.clone(),
            context: format!("landfall/{}", run.lane.env),
            state: line.state,
            description: line.text.clone(),
            url: self.link(run.id),
        };
        let answer = self.parts.forges.status(&run.lane.app, forge, &status).await;
        self.conclude(run, answer)?;
        self.note(run.id, |told| told.commit = Some(line.clone()));
        Ok(())
    }

    async fn tell_deploy(&self, forge: &Forge, run: &Run, told: &Told, line: &Line) -> Result<(), Silence> {
        if told.deploy.as_ref() == Some(line) {
            return Ok(());
        }
        let deployment = Deployment {
            run: run.id,
            sha: run.commit().sha.clone(),
            branch: run.commit().branch.clone(),
            env: run.lane.env.clone(),
            state: line.state,
            description: line.text.clone(),
            url: self.link(run.id),
        };
        let answer = self.parts.forges.deployment(&run.lane.app, forge, &deployment, told.deployment).await;
        let number = self.conclude(run, answer)?.flatten();
        self.note(run.id, |told| {
            told.deploy = Some(line.clone());
            told.deployment = number.or(told.deployment);
        });
        Ok(())
    }

    /// Takes an answer; one that is no is told once, and the same is not asked again.
    fn conclude<T>(&self, run: &Run, answer: Result<T, Unreported>) -> Result<Option<T>, Silence> {
        let app = &run.lane.app;
        match answer {
            Ok(answer) => {
                let mut apps = self.apps();
                let problem = &mut apps.entry(app.clone()).or_default().problem;
                // What the same run was refused stays refused: its commit may be told, and its deploy not.
                if !problem.as_ref().is_some_and(|problem| problem.gave_up && problem.run == run.id) {
                    *problem = None;
                }
                Ok(Some(answer))
            }
            Err(Unreported::Refused { reason }) => {
                self.complain(run, reason, true);
                Ok(None)
            }
            Err(Unreported::Unanswered { reason, retry_after }) => {
                self.complain(run, reason, false);
                Err(Silence { retry_after })
            }
        }
    }

    fn complain(&self, run: &Run, reason: String, gave_up: bool) {
        let app = &run.lane.app;
        let at_ms = self.parts.clock.now_ms();
        let mut apps = self.apps();
        let queue = apps.entry(app.clone()).or_default();
        // Said once, and not for every run and every try.
        if queue.problem.as_ref().is_none_or(|problem| problem.reason != reason) {
            tracing::warn!(app, run = %run.id, reason, gave_up, "the forge was not told how a run stands");
        }
        queue.problem = Some(StatusProblem { at_ms, run: run.id, reason, gave_up });
    }

    fn note(&self, run: RunId, note: impl FnOnce(&mut Told)) {
        self.book().note(run, note);
        self.changed.notify_one();
    }

    fn let_go(&self, run: RunId) -> Result<(), Silence> {
        if self.book().let_go(run) {
            self.changed.notify_one();
        }
        Ok(())
    }

    fn link(&self, run: RunId) -> Option<String> {
        let url = self.parts.public_url.as_ref()?;
        Some(format!("{}/runs/{run}", url.trim_end_matches('/')))
    }
}
