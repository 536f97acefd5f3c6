//! Tells a candidate that somebody stopped, which has given no answer, from one that ended by itself.
//!
//! Candidates are made to be started again always, and Docker counts how often it did so after an exit of their own:
//!
//! ```text
//!                                           status        count     started
//! the app ended by itself                   any           grows     later
//! stopped or paused by somebody             not running   the same  the same
//! started again by somebody or with Docker  running       0         later
//! ```
//!
//! The exit code says nothing here: Docker forgets it when it starts the container again.

use std::time::Duration;

use bollard::models::ContainerStateStatusEnum;
use futures_util::StreamExt;
use landfall_engine::core::facts::Candidate;
use landfall_engine::core::facts::Failure;
use landfall_engine::core::settings::Settings;
use landfall_engine::ports::Order;
use landfall_engine::ports::Output;

use crate::candidate;
use crate::candidate::Found;
use crate::context::Context;
use crate::health;
use crate::health::Unhealthy;
use crate::stopped::Stopped;

/// Docker answers from memory. One that takes longer is about to go, or has just come back.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// An app that is being stopped refuses connections before it has ended; most end within this time.
const END_LIMIT: Duration = Duration::from_secs(1);

/// The candidate, and how it stood before it was asked for anything.
#[derive(Debug)]
pub(crate) struct Watched<'a> {
    context: &'a Context,
    pub(super) candidate: &'a Candidate,
    /// None: Docker was silent. The checks of an app that answers need no Docker.
    before: Option<Found>,
}

/// What became of a candidate.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It runs as before.
    Runs,
    /// The app ended by itself, whatever happened then.
    Ended,
    /// It was stopped from outside, or nobody can tell; the reason says which.
    Interrupted(String),
}

impl<'a> Watched<'a> {
    /// Looks at the candidate before its first check. One that was started again from outside is waited for.
    pub(crate) async fn begin(
        context: &'a Context,
        order: &'a Order,
        settings: &Settings,
        output: &Output,
    ) -> Result<Self, Stopped> {
        let candidate = order.run.candidate.as_ref().ok_or_else(|| {
            Stopped::Errored(format!("run {} has no candidate: its deploy was not concluded", order.run.id))
        })?;
        let looking = tokio::time::timeout(LOOK_LIMIT, look(context, candidate));
        let before = looking.await.unwrap_or(Ok(None)).unwrap_or_default();
        let watched = Self { context, candidate, before };
        if let Some(found) = watched.before.as_ref().filter(|found| found.has_ended && found.restarts == 0) {
            output.line(&format!("{} was stopped and started again: is it healthy?", found.name));
            watched.until_healthy(order, settings, found).await?;
        }
        Ok(watched)
    }

    /// Returns what it means that the candidate gave no answer. `reason` says which one was expected.
    pub(crate) async fn silent(&self, reason: String) -> Stopped {
        self.red(Failure::new(reason)).await
    }

    /// Returns what a red check means whose answer was not the candidate's own.
    pub(crate) async fn red(&self, failure: Failure) -> Stopped {
        match self.fate().await {
            Fate::Interrupted(why) => Stopped::Errored(format!("{}: {why}", failure.reason)),
            Fate::Runs | Fate::Ended => Stopped::Failed(Box::new(failure)),
        }
    }

    async fn until_healthy(&self, order: &Order, settings: &Settings, found: &Found) -> Result<(), Stopped> {
        let (context, address) = (self.context, self.candidate.address);
        let now_ms = health::now_ms();
        let deadline_ms = health::deadline_ms(settings, now_ms, order.deadline_ms);
        let is_cut_short = deadline_ms < now_ms.saturating_add(settings.deploy.timeout_ms);
        match health::until_healthy(context, settings, found, address, deadline_ms).await {
            Ok(()) => Ok(()),
            Err(Unhealthy::NoAnswer(reason)) => Err(Stopped::Errored(reason)),
            Err(Unhealthy::Red(reason)) => Err(match self.fate().await {
                Fate::Interrupted(why) => Stopped::Errored(format!("{reason}: {why}")),
                // An earlier engine had the rest of the time. The next attempt has all of it.
                Fate::Runs if is_cut_short => Stopped::Errored(reason),
                Fate::Runs | Fate::Ended => Stopped::failed(reason),
            }),
        }
    }

    async fn fate(&self) -> Fate {
        match tokio::time::timeout(LOOK_LIMIT, self.look_again()).await {
            Ok(now) => fate(self.before.as_ref(), now),
            Err(_) => Fate::Interrupted(format!("Docker did not say within {LOOK_LIMIT:?} how it stands")),
        }
    }

    async fn look_again(&self) -> Result<Option<Found>, String> {
        let now = look(self.context, self.candidate).await?;
        if !matches!(fate(self.before.as_ref(), Ok(now.clone())), Fate::Runs) {
            return Ok(now);
        }
        let api = self.context.docker.api();
        let mut end = std::pin::pin!(api.wait_container(&self.candidate.container, None));
        match tokio::time::timeout(END_LIMIT, end.next()).await {
            Ok(_) => look(self.context, self.candidate).await,
            Err(_) => Ok(now),
        }
    }
}

/// Returns the candidate's container, unless it is gone or another one has its name.
async fn look(context: &Context, candidate: &Candidate) -> Result<Option<Found>, String> {
    let found = candidate::find(context, &candidate.container).await?;
    Ok(found.filter(|found| found.id == candidate.container_id))
}

fn fate(before: Option<&Found>, now: Result<Option<Found>, String>) -> Fate {
    let interrupted = |why: &str| Fate::Interrupted(why.to_owned());
    let now = match now {
        Ok(Some(now)) => now,
        Ok(None) => return interrupted("its container is gone; did somebody remove it?"),
        Err(silence) => return Fate::Interrupted(silence),
    };
    let Some(before) = before else {
        return interrupted("Docker did not answer before the first check, so it may have been restarted");
    };
    let ended_again = now.restarts > before.restarts;
    if ended_again || now.status == Some(ContainerStateStatusEnum::RESTARTING) {
        return Fate::Ended;
    }
    if !now.is_running() {
        return interrupted("its container was stopped from outside: by hand, or with Docker");
    }
    if now.started_ms != before.started_ms {
        return interrupted("its container was started again from outside: by hand, or with Docker");
    }
    Fate::Runs
}
