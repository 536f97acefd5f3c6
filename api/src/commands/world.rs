//! What changes runs: the server that has the data folder, or an engine of our own on it.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, StreamExt};
use landfall_engine::core::command::Push;
use landfall_engine::core::event::Decision;
use landfall_engine::core::lane::{Lane, LaneId};
use landfall_engine::core::run::RunId;
use landfall_engine::core::stage::Stage;
use landfall_engine::{Engine, Limits, Promotion};

use super::control::LaneChange;
use super::feed::{Events, Feed, feed};
use super::follow::{Followed, Following, exit_code, follow};
use super::source::{data_folder, named_server, resolve};
use super::through::{self, ServerOutputs};
use crate::cli::{Global, World};
use crate::client::Client;
use crate::compose::{ComposeOptions, EdgeWish, Landfall};
use crate::fault::Fault;
use crate::limits::LimitArgs;
use crate::picture::model::Picture;
use crate::picture::screen::say;
use crate::server::{
    HoldRequest, LaneRequest, PromoteRequest, RetryRequest, RollbackRequest, TriggerName, TriggerRequest,
};
use crate::usual::{Usual, usual_ms};

/// The exit code for a run that was left while it went on, as the shell has it for Ctrl-C.
pub const LEFT: u8 = 130;

/// A way to change runs.
#[derive(Debug)]
pub enum Access {
    /// A server does it.
    Server(Client),
    /// An engine in this process does it, for as long as the command runs.
    Here {
        /// The engine, and what it works with.
        landfall: Box<Landfall>,
        /// Its folder.
        data: PathBuf,
    },
}

impl Access {
    /// Finds the server that was named or has the data folder; else starts an engine on the folder.
    ///
    /// # Errors
    ///
    /// [`Fault::Unavailable`] when the folder can't be had.
    pub async fn open(global: &Global, world: &World) -> Result<Self, Fault> {
        if let Some(server) = named_server(global)? {
            return Ok(Self::Server(server));
        }
        let data = data_folder(global)?;
        if let Some(server) = Client::of_data_dir(&data).await {
            said(&format!("the server at {} has {}, so it does this", server.url(), data.display()));
            return Ok(Self::Server(server));
        }
        let exe = std::env::current_exe()
            .map_err(|error| Fault::io("could not tell which program this is", error))?;
        let World { proxy_listen, secrets, vault_key } = world.clone();
        let limits = LimitArgs::from_environment()?;
        let (limits, store) = (limits.engine(), limits.store());
        let options = ComposeOptions {
            data: data.clone(),
            secrets,
            vault_key,
            proxy_listen,
            adopt_proxy: false,
            // Whoever asks here runs it here.
            host_tests: true,
            edge: EdgeWish::AsBefore,
            exe,
            limits,
            store,
        };
        let landfall = Landfall::open(options).await.map_err(Fault::not_had)?;
        Ok(Self::Here { landfall: Box::new(landfall), data })
    }

    /// Tells whether a server goes on with what was asked when we are gone.
    pub const fn is_server(&self) -> bool {
        matches!(self, Self::Server(_))
    }

    /// Starts a run for a commit.
    ///
    /// # Errors
    ///
    /// [`Fault::Refused`] when the commit is held; [`Fault`] when it can't be recorded.
    pub async fn trigger(&self, push: Push) -> Result<RunId, Fault> {
        match self {
            Self::Here { landfall, .. } => Ok(landfall.engine.trigger(push, &actor(), None).await?.run_id),
            Self::Server(client) => {
                let Push { lane, commit, repository, release_hold, .. } = push;
                let request = TriggerRequest {
                    repository: Some(repository),
                    commit: Some(commit.sha),
                    branch: commit.branch,
                    env: Some(lane.env),
                    release_hold,
                    trigger: TriggerName::LandfallRun,
                    ..TriggerRequest::default()
                };
                Ok(client.trigger(&lane.app, &request, None).await?.run_id)
            }
        }
    }

    /// Starts a run that makes a former release live again.
    ///
    /// # Errors
    ///
    /// [`Fault::NotFound`] when there is none.
    pub async fn rollback(&self, lane: &LaneId, to: Option<&str>, reason: &str) -> Result<RunId, Fault> {
        match self {
            Self::Here { landfall, .. } => {
                Ok(landfall.engine.rollback(lane, to, "landfall rollback", &actor(), reason).await?)
            }
            Self::Server(client) => {
                let (to, env) = (to.map(str::to_owned), Some(lane.env.clone()));
                let request = RollbackRequest { to, env, reason: Some(reason.to_owned()) };
                Ok(client.rollback(&lane.app, &request).await?.run_id)
            }
        }
    }

    /// Ends a run, or rolls back what it deployed.
    ///
    /// # Errors
    ///
    /// [`Fault::Refused`] when it has ended.
    pub async fn cancel(&self, run_id: RunId, reason: &str) -> Result<(), Fault> {
        match self {
            Self::Here { landfall, .. } => Ok(landfall.engine.cancel(run_id, &actor(), reason).await?),
            Self::Server(client) => Ok(client.cancel(run_id, reason).await.map(drop)?),
        }
    }

    /// Decides about a parked run.
    ///
    /// # Errors
    ///
    /// [`Fault::Refused`] when it is not parked, or can't be skipped.
    pub async fn resolve_parked(&self, run_id: RunId, decision: Decision) -> Result<(), Fault> {
        match self {
            Self::Here { landfall, .. } => Ok(landfall.engine.resolve(run_id, decision, &actor()).await?),
            Self::Server(client) => Ok(client.resolve(run_id, decision).await.map(drop)?),
        }
    }

    /// Lets the deploy of a run begin that waits for that.
    ///
    /// # Errors
    ///
    /// [`Fault::Refused`] when it does not wait.
    pub async fn approve(&self, run_id: RunId) -> Result<(), Fault> {
        match self {
            Self::Here { landfall, .. } => Ok(landfall.engine.approve(run_id, &actor()).await?),
            Self::Server(client) => Ok(client.approve(run_id).await.map(drop)?),
        }
    }

    /// Fails a run whose deploy waits to be approved.
    ///
    /// # Errors
    ///
    /// [`Fault::Refused`] when it does not wait.
    pub async fn reject(&self, run_id: RunId, reason: &str) -> Result<(), Fault> {
        match self {
            Self::Here { landfall, .. } => Ok(landfall.engine.reject(run_id, &actor(), reason).await?),
            Self::Server(client) => Ok(client.reject(run_id, reason).await.map(drop)?),
        }
    }

    /// Does a run that is over again, from a stage on.
    ///
    /// # Errors
    ///
    /// [`Fault::Refused`] when it does not have what that takes.
    pub async fn rerun(&self, run_id: RunId, from: Stage, release_hold: bool) -> Result<RunId, Fault> {
        match self {
            Self::Here { landfall, .. } => {
                let engine = &landfall.engine;
                Ok(engine.rerun(run_id, from, release_hold, "landfall retry", &actor(), None).await?.run_id)
            }
            Self::Server(client) => {
                let request = RetryRequest { from: Some(from.name().into()), release_hold };
                Ok(client.rerun(run_id, &request).await?.run_id)
            }
        }
    }

    /// Makes a release of one environment live in another.
    ///
    /// # Errors
    ///
    /// [`Fault::NotFound`] when there is none.
    pub async fn promote(&self, promotion: Promotion) -> Result<RunId, Fault> {
        match self {
            Self::Here { landfall, .. } => {
                Ok(landfall.engine.promote(promotion, &actor(), None).await?.run_id)
            }
            Self::Server(client) => {
                let Promotion { app, from, to, release, reason, .. } = promotion;
                let request = PromoteRequest { from, to, release, reason: Some(reason) };
                Ok(client.promote(&app, &request).await?.run_id)
            }
        }
    }

    /// Changes what may enter a lane, and returns how it stands then.
    ///
    /// # Errors
    ///
    /// [`Fault::NotFound`] for an app or commit that is not known.
    pub async fn change_lane(&self, id: &LaneId, change: LaneChange) -> Result<Lane, Fault> {
        match self {
            Self::Here { landfall, .. } => {
                let (engine, actor) = (&landfall.engine, actor());
                match change {
                    LaneChange::Pause { reason } => engine.pause(id, &actor, &reason).await?,
                    LaneChange::Resume => engine.resume(id, &actor).await?,
                    LaneChange::Hold { commit, reason } => engine.hold(id, &commit, &actor, &reason).await?,
                    LaneChange::Release { commit } => engine.release_hold(id, &commit, &actor).await?,
                }
                Ok(engine.store().lane(id).await?)
            }
            Self::Server(client) => {
                let env = Some(id.env.clone());
                let line = match change {
                    LaneChange::Pause { reason } => {
                        client.pause(&id.app, &LaneRequest { env, reason: Some(reason) }).await?
                    }
                    LaneChange::Resume => client.resume(&id.app, &LaneRequest { env, reason: None }).await?,
                    LaneChange::Hold { commit, reason } => {
                        client.hold(&id.app, &HoldRequest { commit, env, reason: Some(reason) }).await?
                    }
                    LaneChange::Release { commit } => {
                        client.release_hold(&id.app, &HoldRequest { commit, env, reason: None }).await?
                    }
                };
                Ok(line.into_lane().1)
            }
        }
    }

    /// Lets go of everything.
    pub async fn close(self) {
        if let Self::Here { landfall, .. } = self {
            landfall.shutdown().await;
        }
    }

    /// Returns the run that somebody named.
    ///
    /// # Errors
    ///
    /// [`Fault::NotFound`] when there is none; [`Fault::Usage`] when the name fits several.
    pub async fn resolve(&self, name: &str) -> Result<RunId, Fault> {
        resolve(name, async |query| match self {
            Self::Here { landfall, .. } => Ok(landfall.engine.store().runs(query).await?),
            Self::Server(client) => Ok(client.runs(&query).await?.runs),
        })
        .await
    }

    /// Shows a run that was asked for until nothing more happens without a person, then lets go of everything.
    /// Returns the exit code that says how it ended.
    ///
    /// # Errors
    ///
    /// What went wrong with the asking; [`Fault`] when the run goes out of sight.
    pub async fn see_through(
        self,
        asked: Result<RunId, Fault>,
        json: bool,
        flags: &str,
    ) -> Result<u8, Fault> {
        let followed = match asked {
            Ok(run_id) => self.show(run_id, json, flags).await.map(|followed| (run_id, followed)),
            Err(fault) => Err(fault),
        };
        if let Ok((run_id, Followed::Left)) = &followed {
            said(&self.farewell(*run_id, flags));
        }
        self.close().await;
        match followed? {
            (_, Followed::Settled(picture)) => Ok(picture.run.as_ref().map_or(LEFT, exit_code)),
            (_, Followed::Left) => Ok(LEFT),
        }
    }

    async fn show(&self, run_id: RunId, json: bool, flags: &str) -> Result<Followed, Fault> {
        let cancel = || -> BoxFuture<'_, _> { self.cancel(run_id, "Ctrl-C").boxed() };
        let (known_seq, lane) = self.known(run_id).await?;
        let usual = match lane {
            Some(lane) => self.usual(&lane, run_id).await,
            None => Usual::default(),
        };
        let run_events_max = self.run_events_max().await;
        let picture = Picture { run_events_max, usual, ..Picture::default() };
        let following = Following { known_seq, json, flags, cancel: Some(&cancel), is_record: false };
        follow(self.feed(run_id), picture, following).await
    }

    /// Returns how long the steps of a lane take as a rule. A run is worth following without.
    async fn usual(&self, lane: &LaneId, run_id: RunId) -> Usual {
        match self {
            Self::Here { landfall, .. } => {
                usual_ms(landfall.engine.store().as_ref(), lane, Some(run_id)).await.unwrap_or_default()
            }
            Self::Server(client) => client.usual(lane).await.unwrap_or_default(),
        }
    }

    /// Returns how long a run may become. It decides what is offered, not what is taken: the run is not left unfollowed
    /// for it.
    async fn run_events_max(&self) -> u64 {
        match self {
            Self::Here { landfall, .. } => landfall.engine.limits().run_events_max,
            Self::Server(client) => match client.server().await {
                Ok(server) => server.run_events_max,
                Err(_) => Limits::default().run_events_max,
            },
        }
    }

    /// Returns the place of the last event that is recorded, and the lane of the run.
    async fn known(&self, run_id: RunId) -> Result<(u64, Option<LaneId>), Fault> {
        let run = match self {
            Self::Here { landfall, .. } => landfall.engine.run(run_id).await?,
            Self::Server(client) => client.run(run_id).await?.run,
        };
        Ok(run.map_or((0, None), |run| (run.seq, Some(run.lane))))
    }

    fn feed(&self, run_id: RunId) -> Feed {
        match self {
            Self::Here { landfall, .. } => {
                feed(own_events(landfall.engine.clone(), run_id), Arc::clone(&landfall.outputs) as _)
            }
            Self::Server(client) => {
                let outputs = Arc::new(ServerOutputs::live(client.clone()));
                feed(through::events(client.clone(), run_id), outputs)
            }
        }
    }

    fn farewell(&self, run_id: RunId, flags: &str) -> String {
        let id = run_id.short();
        match self {
            Self::Server(client) => format!("left run {id}: the server at {} goes on with it", client.url()),
            Self::Here { data, .. } => format!(
                "left run {id} as it is: it goes on when an engine next starts on {}, as `landfall serve{flags}` does",
                data.display()
            ),
        }
    }
}

/// Follows a run of our own engine. When that stops before the run's end, it says why.
fn own_events(engine: Engine, run_id: RunId) -> Events {
    let events = engine.watch(run_id).map(|event| event.map_err(Fault::from));
    let stopped = async move {
        let why = engine.halted().now_or_never();
        Err(Fault::unavailable(
            "the engine stopped before the run's end",
            why.unwrap_or_else(|| "no reason is known".into()),
        ))
    };
    events.chain(stream::once(stopped)).boxed()
}

/// Returns who asks, for the log.
pub(super) fn actor() -> String {
    let user = std::env::var("USER").ok().filter(|user| !user.is_empty() && user != "engine");
    user.unwrap_or_else(|| "cli".into())
}

/// Says something beside the result.
pub fn said(message: &str) {
    say(&format!("landfall: {message}"));
}
