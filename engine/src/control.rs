//! What people decide about runs, releases and lanes, beside ending a run.
//!
//! Each is recorded before it is answered, with whoever asked. What concerns a lane and no run is the ledger's.

use std::collections::BTreeSet;

use crate::core::command::{Again, Command, Relaunch};
use crate::core::lane::{Lane, LaneId, Release};
use crate::core::ledger::LedgerEvent;
use crate::core::releases::{NoRelease, former, named};
use crate::core::rerun::Rerun;
use crate::core::run::RunId;
use crate::core::settings::Settings;
use crate::core::stage::Stage;
use crate::engine::{Engine, EngineError, Triggered};
use crate::ports::RunQuery;
use crate::sweep::deploy_settings;
use crate::terms::{Claim, Terms};

/// A rollback by hand is recorded within this time, in milliseconds; from then on no sweep takes what it may need.
const RECORDED_WITHIN_MS: u64 = 10_000;

/// The fewest digits that name a commit.
const DIGITS_MIN: usize = 4;

/// Among how many of an app's newest runs a commit is looked for that is named by the beginning of its hash.
const RUNS_SEARCHED: usize = 1_000;

/// A release that is asked to be live in another environment, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// The app.
    pub app: String,
    /// Where the release is live, or was.
    pub from: String,
    /// Where it is to be live.
    pub to: String,
    /// The release, by its run, its commit or its digest. None: the one that is live.
    pub release: Option<String>,
    /// What triggered it.
    pub trigger: String,
    /// Why, as given by whoever asked.
    pub reason: String,
}

/// A release that is asked to be live again.
#[derive(Clone, Copy, Debug)]
pub struct Rollback<'a> {
    /// App and environment.
    pub lane: &'a LaneId,
    /// The release, by its run, its commit or its digest. None: the one before the live one.
    pub to: Option<&'a str>,
    /// What triggered it.
    pub trigger: &'a str,
    /// Why, as given by whoever asked.
    pub reason: &'a str,
}

impl Engine {
    /// Lets the deploy of a run begin that waits for that.
    ///
    /// # Errors
    ///
    /// [`Rejected::NotAwaiting`](crate::core::command::Rejected::NotAwaiting) and
    /// [`Rejected::TooLate`](crate::core::command::Rejected::TooLate); otherwise see [`EngineError`].
    pub async fn approve(&self, run_id: RunId, actor: &str) -> Result<(), EngineError> {
        self.approve_on(run_id, actor, Terms::default()).await
    }

    /// Lets a deploy begin, as [`approve`](Self::approve) does, on terms.
    ///
    /// # Errors
    ///
    /// As [`cancel_on`](Self::cancel_on) by the terms; otherwise as [`approve`](Self::approve).
    pub async fn approve_on(&self, run_id: RunId, actor: &str, terms: Terms) -> Result<(), EngineError> {
        self.ask_on(run_id, Command::Approve, actor, terms).await
    }

    /// Fails a run whose deploy waits to be approved.
    ///
    /// # Errors
    ///
    /// As [`approve`](Self::approve).
    pub async fn reject(&self, run_id: RunId, actor: &str, reason: &str) -> Result<(), EngineError> {
        self.reject_on(run_id, actor, reason, Terms::default()).await
    }

    /// Fails a run, as [`reject`](Self::reject) does, on terms.
    ///
    /// # Errors
    ///
    /// As [`cancel_on`](Self::cancel_on) by the terms; otherwise as [`approve`](Self::approve).
    pub async fn reject_on(
        &self,
        run_id: RunId,
        actor: &str,
        reason: &str,
        terms: Terms,
    ) -> Result<(), EngineError> {
        self.ask_on(run_id, Command::Reject { reason: reason.to_owned() }, actor, terms).await
    }

    /// Starts a run that does a former one again from a stage on, with the configuration and the findings that it had.
    ///
    /// # Errors
    ///
    /// [`Rejected::NotOver`](crate::core::command::Rejected::NotOver) and
    /// [`Rejected::NotRerunnable`](crate::core::command::Rejected::NotRerunnable); otherwise as
    /// [`trigger`](Self::trigger).
    pub async fn rerun(
        &self,
        of: RunId,
        from: Stage,
        release_hold: bool,
        trigger: &str,
        actor: &str,
        claims: impl IntoIterator<Item = Claim>,
    ) -> Result<Triggered, EngineError> {
        let claims: Vec<Claim> = claims.into_iter().collect();
        if let Some(triggered) = self.claimed_before(&claims).await? {
            return Ok(triggered);
        }
        let (former, _) = self.shared.load(of).await?.ok_or(EngineError::NoSuchRun(of))?;
        let rerun = Rerun::of(&former, from, release_hold)?;
        self.shared.parts.store.admits().await?;
        let again = Again { lane: former.lane.clone(), rerun, trigger: trigger.to_owned() };
        self.begin(&former.lane, Command::Again(Box::new(again)), actor, claims).await
    }

    /// Starts a run that makes a former release live again: by default the one before the live one. `to` names it by
    /// its run, its commit or its digest.
    ///
    /// # Errors
    ///
    /// [`EngineError::NoSuchRelease`] when there is none; otherwise see [`EngineError`].
    pub async fn rollback(
        &self,
        lane_id: &LaneId,
        to: Option<&str>,
        trigger: &str,
        actor: &str,
        reason: &str,
    ) -> Result<RunId, EngineError> {
        let asked = Rollback { lane: lane_id, to, trigger, reason };
        Ok(self.rollback_once(asked, actor, []).await?.run_id)
    }

    /// Starts such a run, as [`rollback`](Self::rollback) does, once for each of the claims.
    ///
    /// # Errors
    ///
    /// As [`rollback`](Self::rollback).
    pub async fn rollback_once(
        &self,
        asked: Rollback<'_>,
        actor: &str,
        claims: impl IntoIterator<Item = Claim>,
    ) -> Result<Triggered, EngineError> {
        let claims: Vec<Claim> = claims.into_iter().collect();
        if let Some(triggered) = self.claimed_before(&claims).await? {
            return Ok(triggered);
        }
        let Rollback { lane: lane_id, to, trigger, reason } = asked;
        let lane = self.shared.parts.store.lane(lane_id).await?;
        let meant = match to {
            None => former(&lane, &lane_id.app),
            Some(wanted) => named(&lane, self.retain_of(&lane).await?, wanted),
        };
        let mut release = meant.map_err(|why| no_release(lane_id, why))?.clone();
        if !self.is_warm(&lane, release.run).await? {
            // A sweep may be removing its container, or may have asked for that: the deploy makes a new one.
            release.candidate.container_id.clear();
        }
        let relaunch = Relaunch {
            lane: lane_id.clone(),
            settings: self.settings_of(&release).await?,
            release,
            promoted_from: None,
            trigger: trigger.to_owned(),
            reason: reason.to_owned(),
        };
        let command = Command::Relaunch(Box::new(relaunch));
        self.begin(lane_id, command, actor, claims).await
    }

    /// Starts a run that makes a release of one environment live in another: its image as it is, with the
    /// configuration that its commit has for the other.
    ///
    /// # Errors
    ///
    /// [`EngineError::NoSuchRelease`] when there is none; otherwise as [`trigger`](Self::trigger).
    pub async fn promote(
        &self,
        promotion: Promotion,
        actor: &str,
        claims: impl IntoIterator<Item = Claim>,
    ) -> Result<Triggered, EngineError> {
        let claims: Vec<Claim> = claims.into_iter().collect();
        if let Some(triggered) = self.claimed_before(&claims).await? {
            return Ok(triggered);
        }
        let Promotion { app, from, to, release, trigger, reason } = promotion;
        let (from, to) = (LaneId { app: app.clone(), env: from }, LaneId { app, env: to });
        let lane = self.shared.parts.store.lane(&from).await?;
        let meant = match &release {
            None => lane.live.as_ref().ok_or(NoRelease::NothingLive),
            Some(wanted) => named(&lane, self.retain_of(&lane).await?, wanted),
        };
        let release = meant.map_err(|why| no_release(&from, why))?.clone();
        let settings = self.settings_of(&release).await?.for_environment(&to.env);
        self.shared.parts.store.admits().await?;
        let relaunch =
            Relaunch { lane: to.clone(), release, settings, promoted_from: Some(from), trigger, reason };
        self.begin(&to, Command::Relaunch(Box::new(relaunch)), actor, claims).await
    }

    /// Lets no run enter a lane until it is resumed, but for rollbacks by hand. Who is in it goes on.
    ///
    /// # Errors
    ///
    /// See [`EngineError`].
    pub async fn pause(&self, lane: &LaneId, actor: &str, reason: &str) -> Result<(), EngineError> {
        self.check_app(&lane.app).await?;
        let event = LedgerEvent::LanePaused { lane: lane.clone(), reason: reason.to_owned() };
        self.record(event, actor).await
    }

    /// Lets runs enter a lane again. One that is not paused stays as it is.
    ///
    /// # Errors
    ///
    /// See [`EngineError`].
    pub async fn resume(&self, lane: &LaneId, actor: &str) -> Result<(), EngineError> {
        self.check_app(&lane.app).await?;
        match self.shared.parts.store.lane(lane).await?.paused {
            Some(_) => self.record(LedgerEvent::LaneResumed { lane: lane.clone() }, actor).await,
            None => Ok(()),
        }
    }

    /// Keeps a commit from being deployed, named by its full hash or, if the app had a run of it, by the beginning.
    ///
    /// # Errors
    ///
    /// [`EngineError::NoSuchCommit`]; otherwise see [`EngineError`].
    pub async fn hold(
        &self,
        lane: &LaneId,
        commit: &str,
        actor: &str,
        reason: &str,
    ) -> Result<(), EngineError> {
        self.check_app(&lane.app).await?;
        let sha = match is_full_hash(commit) {
            true => commit.to_lowercase(),
            false => self.commit_of_a_run(&lane.app, commit).await?,
        };
        let (lane, reason) = (lane.clone(), reason.to_owned());
        self.record(LedgerEvent::CommitHeld { lane, sha, reason }, actor).await
    }

    /// Lets a held commit be deployed again, named by its hash or the beginning of it.
    ///
    /// # Errors
    ///
    /// [`EngineError::NoSuchCommit`] when no such commit is held; otherwise see [`EngineError`].
    pub async fn release_hold(&self, lane: &LaneId, commit: &str, actor: &str) -> Result<(), EngineError> {
        self.check_app(&lane.app).await?;
        let held = self.shared.parts.store.lane(lane).await?.held.into_keys();
        let among = format!("that is held in {lane}");
        let sha = the_one(held, commit, among, "`landfall runs --app` names those that are")?;
        self.record(LedgerEvent::HoldReleased { lane: lane.clone(), sha }, actor).await
    }

    /// Refuses an app that nobody has heard of: its name is a slip of the hand.
    async fn check_app(&self, app: &str) -> Result<(), EngineError> {
        let is_registered = self.ledger().borrow().apps.contains_key(app);
        let has_runs = async || -> Result<bool, EngineError> {
            Ok(self.shared.parts.store.lanes().await?.iter().any(|(lane, _)| lane.app == app)
                || !self.shared.parts.store.runs(of_app(app, 1)).await?.is_empty())
        };
        match is_registered || has_runs().await? {
            true => Ok(()),
            false => Err(EngineError::NoSuchApp(app.to_owned())),
        }
    }

    async fn commit_of_a_run(&self, app: &str, commit: &str) -> Result<String, EngineError> {
        let runs = self.shared.parts.store.runs(of_app(app, RUNS_SEARCHED)).await?;
        let shas = runs.into_iter().map(|run| run.commit.sha);
        the_one(shas, commit, format!("of a run of {app}"), "give its full hash, or more of it")
    }

    /// Returns the configuration that a release was made with.
    async fn settings_of(&self, release: &Release) -> Result<Settings, EngineError> {
        let (run, _) = self.shared.load(release.run).await?.ok_or(EngineError::NoSuchRun(release.run))?;
        // A run that made a release has settings: it deployed by them.
        Ok(run.settings.map(|settings| *settings).unwrap_or_default())
    }

    async fn retain_of(&self, lane: &Lane) -> Result<usize, EngineError> {
        let Some(live) = &lane.live else { return Ok(0) };
        let deploy = deploy_settings(&*self.shared.parts.store, live).await?;
        Ok(usize::try_from(deploy.retain).unwrap_or(usize::MAX))
    }

    /// Tells whether the container of a release stays where it is for as long as a run takes to be recorded.
    async fn is_warm(&self, lane: &Lane, run: RunId) -> Result<bool, EngineError> {
        let Some(live) = &lane.live else { return Ok(false) };
        let is_former = lane.former.first().is_some_and(|former| former.run == run);
        if live.run == run || !is_former {
            return Ok(live.run == run);
        }
        let deploy = deploy_settings(&*self.shared.parts.store, live).await?;
        let recorded_by_ms = self.shared.parts.clock.now_ms().saturating_add(RECORDED_WITHIN_MS);
        Ok(recorded_by_ms < lane.warm_until_ms(&deploy))
    }
}

fn of_app(app: &str, limit: usize) -> RunQuery {
    RunQuery { app: Some(app.to_owned()), limit, ..RunQuery::default() }
}

fn is_full_hash(commit: &str) -> bool {
    matches!(commit.len(), 40 | 64) && commit.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns the only hash that begins like this.
fn the_one(
    shas: impl Iterator<Item = String>,
    wanted: &str,
    among: String,
    advice: &'static str,
) -> Result<String, EngineError> {
    let start = wanted.to_lowercase();
    let found: BTreeSet<String> = shas.filter(|sha| sha.starts_with(&start)).collect();
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(sha), None) if start.len() >= DIGITS_MIN => Ok(sha),
        _ => Err(EngineError::NoSuchCommit { wanted: wanted.to_owned(), among, advice }),
    }
}

fn no_release(lane: &LaneId, why: NoRelease) -> EngineError {
    EngineError::NoSuchRelease { lane: lane.clone(), why }
}
