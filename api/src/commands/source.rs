//! Where runs are read: straight from the data folder, or from a server that was named.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use landfall_engine::Limits;
use landfall_engine::core::event::Envelope;
use landfall_engine::core::lane::{Lane, LaneId, Release};
use landfall_engine::core::ledger::ledger_of;
use landfall_engine::core::run::RunId;
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::{EventStore, RunQuery};
use landfall_store::{OutputDir, Pruned, ReadOnlyLog, Verification, open_read_only};

use super::feed::{Feed, Outputs, feed};
use super::ids::{RunName, pick};
use super::through::{self, ServerOutputs};
use crate::cli::Global;
use crate::client::Client;
use crate::data_dir::{TOKEN_VARIABLE, Token, default_path};
use crate::fault::Fault;
use crate::limits::LimitArgs;
use crate::server::AppLine;
use crate::usual::{Usual, usual_ms};

/// How many runs are looked through at a time when one is looked for by a part of its id.
const PAGE: usize = 1_000;

/// Where runs are read.
#[derive(Debug)]
pub enum Source {
    /// From the data folder. Nothing is locked or changed.
    Folder {
        /// The log.
        log: Box<ReadOnlyLog>,
        /// What stages printed.
        outputs: Arc<OutputDir>,
    },
    /// From a server.
    Server(Client),
}

impl Source {
    /// Opens what the command line names.
    ///
    /// # Errors
    ///
    /// [`Fault::NotFound`] when there is no data folder yet; [`Fault::Unavailable`] when it can't be read.
    pub async fn open(global: &Global) -> Result<Self, Fault> {
        if let Some(server) = named_server(global)? {
            return Ok(Self::Server(server));
        }
        let folder = data_folder(global)?;
        if !folder.exists() {
            return Err(Fault::NotFound(format!(
                "there is no data folder {} yet; `landfall run` makes it, --data DIR names another",
                folder.display()
            )));
        }
        let log = open_read_only(&folder).map_err(Fault::not_had)?;
        Ok(Self::Folder { log: Box::new(log), outputs: Arc::new(OutputDir::new(folder.join("output"))) })
    }

    /// Opens what the command line names; a data folder that a server has is seen through that server.
    ///
    /// # Errors
    ///
    /// As [`Source::open`].
    pub async fn open_live(global: &Global) -> Result<Self, Fault> {
        if global.server.is_none()
            && let Some(server) = Client::of_data_dir(&data_folder(global)?).await
        {
            return Ok(Self::Server(server));
        }
        Self::open(global).await
    }

    /// Returns runs in one line each, newest first.
    ///
    /// # Errors
    ///
    /// [`Fault`] when they can't be read.
    pub async fn runs(&self, query: RunQuery) -> Result<Vec<RunSummary>, Fault> {
        match self {
            Self::Folder { log, .. } => Ok(log.runs(query).await?),
            Self::Server(client) => Ok(client.runs(&query).await?.runs),
        }
    }

    /// Returns the history of a run.
    ///
    /// # Errors
    ///
    /// [`Fault::NotFound`] when there is no such run; [`Fault::Unsound`] when a part of it can't be read.
    pub async fn events(&self, run_id: RunId) -> Result<Vec<Envelope>, Fault> {
        let events = match self {
            Self::Folder { log, .. } => log.events(run_id).await?,
            Self::Server(client) => client.events(run_id).await?,
        };
        match events.is_empty() {
            true => {
                Err(Fault::NotFound(format!("there is no run {run_id}; `landfall runs` lists what there is")))
            }
            false => Ok(events),
        }
    }

    /// Returns every decision about the installation, oldest first.
    ///
    /// # Errors
    ///
    /// [`Fault`] when they can't be read.
    pub async fn ledger(&self) -> Result<Vec<Envelope>, Fault> {
        match self {
            Self::Folder { log, .. } => Ok(log.events(ledger_of(log.log_id())).await?),
            Self::Server(client) => Ok(client.ledger().await?.events),
        }
    }

    /// Returns the run that somebody named.
    ///
    /// # Errors
    ///
    /// [`Fault::NotFound`] when there is none; [`Fault::Usage`] when the name fits several.
    pub async fn resolve(&self, name: &str) -> Result<RunId, Fault> {
        resolve(name, async |query| self.runs(query).await).await
    }

    /// Audits the whole log that the runs are in. None: it is not in reach.
    ///
    /// # Errors
    ///
    /// [`Fault`] when the disk refuses.
    pub async fn verify(&self) -> Result<Option<Verification>, Fault> {
        match self {
            Self::Folder { log, .. } => Ok(Some(log.verify().await?)),
            Self::Server(_) => Ok(None),
        }
    }

    /// Returns the release that a lane serves by the log.
    ///
    /// # Errors
    ///
    /// [`Fault`] when it can't be read.
    pub async fn live(&self, lane: &LaneId) -> Result<Option<Release>, Fault> {
        match self {
            Self::Folder { log, .. } => Ok(log.lane(lane).await?.live),
            Self::Server(client) => {
                let apps = client.apps().await?.into_iter();
                Ok(apps.filter(|app| app.app == lane.app && app.env == lane.env).find_map(|app| app.live))
            }
        }
    }

    /// Returns how each lane stands: what it serves, and what may not enter it.
    ///
    /// # Errors
    ///
    /// [`Fault`] when it can't be read.
    pub async fn lanes(&self) -> Result<Vec<(LaneId, Lane)>, Fault> {
        match self {
            Self::Folder { log, .. } => Ok(log.lanes().await?),
            Self::Server(client) => Ok(client.apps().await?.into_iter().map(AppLine::into_lane).collect()),
        }
    }

    /// Returns how long a run may become before it begins no more stages: by the server, or by the environment, which an
    /// engine on this folder would read too. Where neither says so it is the default: this decides what is offered, not
    /// what is taken.
    pub async fn run_events_max(&self) -> u64 {
        let told = match self {
            Self::Folder { .. } => LimitArgs::from_environment().ok().map(|limits| limits.run_events_max),
            Self::Server(client) => client.server().await.ok().map(|server| server.run_events_max),
        };
        told.unwrap_or(Limits::default().run_events_max)
    }

    /// Returns how long the steps of a run's lane take as a rule. A run is worth showing without.
    pub async fn usual(&self, lane: &LaneId, run_id: RunId) -> Usual {
        match self {
            Self::Folder { log, .. } => usual_ms(log.as_ref(), lane, Some(run_id)).await.unwrap_or_default(),
            Self::Server(client) => client.usual(lane).await.unwrap_or_default(),
        }
    }

    /// Tells whether what happens from now on is not seen: nothing is, in a folder that no server has.
    pub const fn is_record(&self) -> bool {
        matches!(self, Self::Folder { .. })
    }

    /// Returns what an attempt printed so far, line by line; nothing where it can't be read.
    pub async fn output(&self, run_id: RunId, name: &str, attempt: u32) -> Vec<String> {
        let outputs: Arc<dyn Outputs> = match self {
            Self::Folder { outputs, .. } => Arc::clone(outputs) as _,
            Self::Server(client) => Arc::new(ServerOutputs::so_far(client.clone())),
        };
        let pieces = outputs.follow(run_id, name, attempt, 0);
        let pieces: Vec<String> =
            pieces.filter_map(|piece| std::future::ready(piece.ok().map(|piece| piece.text))).collect().await;
        pieces.concat().lines().map(str::to_owned).collect()
    }

    /// Returns what was pruned of what a run's stages printed; None when nothing was.
    ///
    /// # Errors
    ///
    /// [`Fault`] when the note of it can't be read.
    pub async fn pruned(&self, run_id: RunId) -> Result<Option<Pruned>, Fault> {
        match self {
            Self::Folder { outputs, .. } => outputs
                .pruned(run_id)
                .await
                .map_err(|error| Fault::io("could not tell which outputs were pruned", error)),
            Self::Server(client) => Ok(client.outputs(run_id).await?.pruned),
        }
    }

    /// Returns what has happened to a run, with what its stages printed.
    ///
    /// # Errors
    ///
    /// As [`Source::events`].
    pub async fn feed(&self, run_id: RunId) -> Result<Feed, Fault> {
        let events = stream::iter(self.events(run_id).await?.into_iter().map(Ok)).boxed();
        match self {
            Self::Folder { outputs, .. } => Ok(feed(events, Arc::clone(outputs) as _)),
            Self::Server(client) => Ok(feed(events, Arc::new(ServerOutputs::so_far(client.clone())))),
        }
    }

    /// Returns what has happened to a run and, where a server drives it, what happens from now on.
    ///
    /// # Errors
    ///
    /// As [`Source::events`].
    pub async fn live_feed(&self, run_id: RunId) -> Result<Feed, Fault> {
        match self {
            Self::Folder { .. } => self.feed(run_id).await,
            Self::Server(client) => {
                let outputs = Arc::new(ServerOutputs::live(client.clone()));
                Ok(feed(through::events(client.clone(), run_id), outputs))
            }
        }
    }
}

/// Returns the run that somebody named, looked for page by page.
///
/// # Errors
///
/// [`Fault::NotFound`] when there is none; [`Fault::Usage`] when the name fits several.
pub async fn resolve(
    name: &str,
    runs: impl AsyncFn(RunQuery) -> Result<Vec<RunSummary>, Fault>,
) -> Result<RunId, Fault> {
    let digits = match RunName::parse(name)? {
        RunName::Whole(id) => return Ok(id),
        RunName::Last => {
            let newest = runs(RunQuery { limit: 1, ..RunQuery::default() }).await?;
            let none = || Fault::NotFound("there are no runs yet; `landfall run` makes one".into());
            return newest.first().map(|run| run.id).ok_or_else(none);
        }
        RunName::Part(digits) => digits,
    };
    let mut ids: Vec<RunId> = Vec::new();
    loop {
        let query = RunQuery { before: ids.last().copied(), limit: PAGE, ..RunQuery::default() };
        let page = runs(query).await?;
        if page.is_empty() {
            return pick(&digits, ids);
        }
        ids.extend(page.iter().map(|run| run.id));
    }
}

/// Returns the server that was named. None: none was.
///
/// # Errors
///
/// [`Fault::Usage`] when there is no token for it, or its address is none.
pub fn named_server(global: &Global) -> Result<Option<Client>, Fault> {
    let Some(url) = &global.server else { return Ok(None) };
    let token = std::env::var(TOKEN_VARIABLE)
        .map_err(|_| Fault::Usage(format!("{TOKEN_VARIABLE} is not set: it must hold the token of {url}")))?;
    let usage = |error: &dyn std::error::Error| Fault::Usage(error.to_string());
    let token = Token::parse(&token, &format!("${TOKEN_VARIABLE}")).map_err(|error| usage(&error))?;
    let authority = global.server_ca.as_deref();
    Client::trusting(url, token, authority).map(Some).map_err(|error| usage(&error))
}

/// Returns the data folder that is meant.
///
/// # Errors
///
/// [`Fault::Usage`] when none is named and there is no home to put it in.
pub fn data_folder(global: &Global) -> Result<PathBuf, Fault> {
    global.data.clone().or_else(default_path).ok_or_else(|| {
        Fault::Usage("there is no home directory for the data folder: name one with --data DIR".into())
    })
}
