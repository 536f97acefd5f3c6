//! What changes the installation and no run: the server that has the data folder, or the folder itself.

use landfall_engine::core::ledger::{Ledger, LedgerEvent};
use landfall_engine::ports::{Clock, SystemClock};
use landfall_engine::{ledger_at_rest, record_at_rest};

use super::source::{data_folder, named_server};
use super::world::actor;
use crate::cli::Global;
use crate::client::Client;
use crate::compose::AtRest;
use crate::error::ApiError;
use crate::fault::Fault;
use crate::limits::LimitArgs;
use crate::server::{AppDetail, AppRequest, TokenLine, TokenMade, TokenRequest, lines_of_tokens, new_token};

/// A way to change the installation.
#[derive(Debug)]
pub enum Installation {
    /// A server does it.
    Server(Client),
    /// It is done in the folder, which no server has.
    Here(Box<AtRest>),
}

impl Installation {
    /// Finds the server that was named or has the data folder; else opens the folder, and drives no run of it.
    ///
    /// # Errors
    ///
    /// [`Fault::Unavailable`] when the folder can't be had.
    pub async fn open(global: &Global) -> Result<Self, Fault> {
        if let Some(server) = named_server(global)? {
            return Ok(Self::Server(server));
        }
        let data = data_folder(global)?;
        if let Some(server) = Client::of_data_dir(&data).await {
            return Ok(Self::Server(server));
        }
        let limits = LimitArgs::from_environment()?;
        let at_rest = AtRest::open(data, limits.store()).await.map_err(Fault::not_had)?;
        Ok(Self::Here(Box::new(at_rest)))
    }

    /// Returns every app that was made known, in the order of their names.
    ///
    /// # Errors
    ///
    /// [`Fault`] when they can't be read.
    pub async fn apps(&self) -> Result<Vec<(String, AppRequest)>, Fault> {
        match self {
            Self::Server(client) => Ok(client.registered().await?),
            Self::Here(at_rest) => {
                let ledger = ledger_of(at_rest).await?;
                Ok(ledger.apps.into_iter().map(|(app, known)| (app, known.into())).collect())
            }
        }
    }

    /// Returns what is known of an app. None: it was never made known.
    ///
    /// # Errors
    ///
    /// [`Fault`] when that can't be read.
    pub async fn app(&self, name: &str) -> Result<Option<AppRequest>, Fault> {
        match self {
            Self::Server(client) => match client.app(name).await {
                Ok(AppDetail { registration, .. }) => Ok(registration),
                Err(error) if error.status() == Some(404) => Ok(None),
                Err(error) => Err(error.into()),
            },
            Self::Here(at_rest) => Ok(ledger_of(at_rest).await?.apps.remove(name).map(AppRequest::from)),
        }
    }

    /// Makes an app known, or changes what is known of it.
    ///
    /// # Errors
    ///
    /// [`Fault::Usage`] for what can't be.
    pub async fn register(&self, name: &str, request: AppRequest) -> Result<(), Fault> {
        match self {
            Self::Server(client) => Ok(client.register(name, &request).await?),
            Self::Here(at_rest) => {
                let registration = Box::new(request.registration().map_err(usage)?);
                record(at_rest, LedgerEvent::AppRegistered { app: name.to_owned(), registration }).await
            }
        }
    }

    /// Forgets what an app was made known with.
    ///
    /// # Errors
    ///
    /// [`Fault::NotFound`] when it was never made known.
    pub async fn remove_app(&self, name: &str) -> Result<(), Fault> {
        match self {
            Self::Server(client) => Ok(client.remove_app(name).await?),
            Self::Here(at_rest) => {
                if !ledger_of(at_rest).await?.apps.contains_key(name) {
                    return Err(Fault::NotFound(format!("the app {name} is not registered")));
                }
                record(at_rest, LedgerEvent::AppRemoved { app: name.to_owned() }).await
            }
        }
    }

    /// Returns the tokens that were handed out.
    ///
    /// # Errors
    ///
    /// [`Fault`] when they can't be read.
    pub async fn tokens(&self) -> Result<Vec<TokenLine>, Fault> {
        match self {
            Self::Server(client) => Ok(client.tokens().await?.tokens),
            Self::Here(at_rest) => Ok(lines_of_tokens(&ledger_of(at_rest).await?, SystemClock.now_ms())),
        }
    }

    /// Hands a token out.
    ///
    /// # Errors
    ///
    /// [`Fault::Usage`] for what can't be.
    pub async fn create_token(&self, request: TokenRequest) -> Result<TokenMade, Fault> {
        match self {
            Self::Server(client) => Ok(client.create_token(&request).await?),
            Self::Here(at_rest) => {
                let (grant, made) = new_token(request, SystemClock.now_ms()).map_err(usage)?;
                record(at_rest, LedgerEvent::TokenCreated { token: grant }).await?;
                Ok(made)
            }
        }
    }

    /// Takes a token back.
    ///
    /// # Errors
    ///
    /// [`Fault::NotFound`] when there is none.
    pub async fn revoke_token(&self, id: uuid::Uuid) -> Result<(), Fault> {
        match self {
            Self::Server(client) => Ok(client.revoke_token(id).await?),
            Self::Here(at_rest) => record(at_rest, LedgerEvent::TokenRevoked { id }).await,
        }
    }
}

async fn ledger_of(at_rest: &AtRest) -> Result<Ledger, Fault> {
    Ok(ledger_at_rest(&*at_rest.parts.store).await?)
}

pub(super) async fn record(at_rest: &AtRest, event: LedgerEvent) -> Result<(), Fault> {
    Ok(record_at_rest(&at_rest.parts, event, &actor()).await?)
}

fn usage(error: ApiError) -> Fault {
    Fault::Usage(error.problem().detail)
}
