//! Who looks at a page: whoever is logged in. Everybody else is asked for a token first, and then comes back.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use landfall_engine::core::ledger::Scope;
use landfall_engine::core::run::RunId;
use landfall_engine::core::summary::RunSummary;

use super::login::way_back;
use super::page::Oops;
use crate::error::ApiError;
use crate::server::App;
use crate::server::session::{Session, logged_in};
use crate::server::{Identity, scope_name};

/// Whoever looks at a page.
#[derive(Debug)]
pub(super) struct Viewer {
    pub(super) session: Session,
    pub(super) identity: Identity,
}

/// Nobody is logged in.
#[derive(Debug)]
pub(super) enum Stranger {
    /// They are asked who they are, and come back here.
    Asked(String),
    /// A script asks for a piece of a page that nobody is logged in to any more.
    Script,
}

impl IntoResponse for Stranger {
    fn into_response(self) -> Response {
        match self {
            Self::Asked(way) => Redirect::to(&way).into_response(),
            Self::Script => (StatusCode::UNAUTHORIZED, "log in again").into_response(),
        }
    }
}

impl FromRequestParts<Arc<App>> for Viewer {
    type Rejection = Stranger;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Stranger> {
        if let Some((session, identity)) = logged_in(app, &parts.headers) {
            return Ok(Self { session, identity });
        }
        if parts.uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "fragment=1")) {
            return Err(Stranger::Script);
        }
        let here = match parts.method {
            Method::GET => parts.uri.path_and_query().map_or("/", |here| here.as_str()),
            _ => "/",
        };
        Err(Stranger::Asked(way_back(here)))
    }
}

impl Viewer {
    /// Tells whether they may do something to an app.
    pub(super) fn may(&self, scope: Scope, app: &str) -> bool {
        self.identity.may_for(scope, app).is_ok()
    }

    /// Says no to an app that is not theirs to see.
    pub(super) fn sees(&self, app: &str) -> Result<(), Oops> {
        Ok(self.identity.may_for(Scope::Read, app)?)
    }

    /// Returns a run that is theirs to see.
    pub(super) async fn run(&self, app: &App, id: RunId) -> Result<RunSummary, Oops> {
        let run = app.engine.store().run(id).await.map_err(ApiError::from)?;
        match (run, self.identity.only()) {
            (Some(run), _) => self.sees(&run.lane.app).map(|()| run),
            // Whether another app has it is nobody's business.
            (None, Some(only)) => {
                Err(ApiError::Forbidden(format!("this token is for the app {only} alone")).into())
            }
            (None, None) => Err(ApiError::NotFound(format!("there is no run {id}")).into()),
        }
    }

    /// Returns under which name they act.
    pub(super) fn name(&self) -> String {
        let named = self.identity.name().or(self.session.actor.as_deref());
        named.unwrap_or("dashboard").to_owned()
    }

    /// Returns what they may, in words.
    pub(super) fn scope(&self) -> String {
        match &self.identity {
            Identity::Server => "everything".into(),
            Identity::Granted(grant) => match &grant.app {
                Some(app) => format!("{} for {app}", scope_name(grant.scope)),
                None => scope_name(grant.scope).into(),
            },
        }
    }
}
