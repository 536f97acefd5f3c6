//! Who may do what with which repository, decided before git starts.

use std::path::Path;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, Uri};

use landfall_engine::core::lane::LaneId;
use landfall_engine::core::ledger::Scope;
use landfall_engine::core::ledger::Source;

use crate::error::ApiError;
use crate::server::{App, app_name, bare_repository, basic};

/// What a git client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// Fetch.
    UploadPack,
    /// Push.
    ReceivePack,
}

/// A request that may reach git.
#[derive(Debug)]
pub(super) struct Admitted {
    /// The app whose repository it is about.
    pub(super) app: String,
    /// Who asks.
    pub(super) actor: String,
    pub(super) service: Service,
    /// False: it only asks which refs there are.
    pub(super) acts: bool,
    pub(super) method: Method,
    /// The path below the folder of repositories.
    pub(super) path_info: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

/// Checks the token, the name and the service, and makes the repository of an app that is pushed first.
pub(super) async fn admit(app: &App, request: Request) -> Result<Admitted, ApiError> {
    let (parts, body) = request.into_parts();
    let (identity, actor) = basic(app, &parts.extensions, &parts.headers)?;
    let Asked { app: name, path_info, query, service, acts } = asked(&parts.method, &parts.uri)?;
    let scope = match service {
        Service::ReceivePack => Scope::Trigger,
        Service::UploadPack => Scope::Read,
    };
    identity.may_for(scope, &name)?;
    let repository = bare_repository(&app.data, &name);
    match service {
        Service::ReceivePack => {
            is_pushed_here(app, &name)?;
            may_record(app, &name).await?;
            // The first request of every push.
            if !acts {
                make(&repository).await?;
            }
        }
        Service::UploadPack if !repository.is_dir() => {
            return Err(ApiError::NotFound(format!("nothing was pushed to {name} yet")));
        }
        Service::UploadPack => {}
    }
    Ok(Admitted {
        path_info,
        app: name,
        actor,
        service,
        acts,
        method: parts.method,
        query,
        headers: parts.headers,
        body,
    })
}

/// What a request asks for, by its first line alone.
#[derive(Debug)]
pub(super) struct Asked {
    app: String,
    /// The path below the folder of repositories.
    pub(super) path_info: String,
    query: String,
    service: Service,
    acts: bool,
}

/// Reads what is asked. What the client wrote of a path is dropped: it is put together anew, from a name and a service
/// that there are.
pub(super) fn asked(method: &Method, uri: &Uri) -> Result<Asked, ApiError> {
    let path = uri.path().strip_prefix("/git/").unwrap_or_default();
    let (name, rest) = path.split_once('/').unwrap_or((path, ""));
    let app = app_name(name.strip_suffix(".git").unwrap_or(name))?.to_owned();
    let query = uri.query().unwrap_or_default().to_owned();
    let (service, acts) = service(method, rest, &query)?;
    Ok(Asked { path_info: format!("/{app}.git/{rest}"), app, query, service, acts })
}

fn service(method: &Method, path: &str, query: &str) -> Result<(Service, bool), ApiError> {
    match (method, path, query) {
        (&Method::GET, "info/refs", "service=git-upload-pack") => Ok((Service::UploadPack, false)),
        (&Method::GET, "info/refs", "service=git-receive-pack") => Ok((Service::ReceivePack, false)),
        (&Method::POST, "git-upload-pack", _) => Ok((Service::UploadPack, true)),
        (&Method::POST, "git-receive-pack", _) => Ok((Service::ReceivePack, true)),
        _ => Err(ApiError::NotFound(
            "this address is a git remote: expected `git push` or `git fetch` by a git of 1.6.6 or later"
                .into(),
        )),
    }
}

/// An app has one place where its commits come from.
fn is_pushed_here(app: &App, name: &str) -> Result<(), ApiError> {
    match app.engine.ledger().borrow().apps.get(name).map(|known| &known.source) {
        Some(Source::Git { url, .. }) => Err(ApiError::Refused(format!(
            "{name} is fetched from {url}: push there, or make the app known without a URL"
        ))),
        Some(Source::Push) | None => Ok(()),
    }
}

/// Nothing is taken in that could not be recorded.
async fn may_record(app: &App, name: &str) -> Result<(), ApiError> {
    if app.stop.is_cancelled() {
        return Err(ApiError::Unavailable("the server is stopping; push again once it is back".into()));
    }
    match app.halted() {
        None => Ok(app.engine.admits(&LaneId::production(name)).await?),
        Some(reason) => Err(ApiError::Unavailable(format!(
            "nothing can be deployed, since the event log takes no more events: {reason}"
        ))),
    }
}

/// Makes the repository of an app that is pushed for the first time.
async fn make(repository: &Path) -> Result<(), ApiError> {
    landfall_stages::git::init_bare(repository)
        .await
        .map_err(|error| ApiError::internal("making the repository", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_smart_protocol_gets_through() {
        assert_eq!(
            service(&Method::GET, "info/refs", "service=git-receive-pack").unwrap(),
            (Service::ReceivePack, false)
        );
        assert_eq!(service(&Method::POST, "git-upload-pack", "").unwrap(), (Service::UploadPack, true));
        for (method, path, query) in [
            (Method::GET, "info/refs", ""),
            (Method::GET, "HEAD", ""),
            (Method::GET, "config", ""),
            (Method::GET, "objects/info/packs", ""),
            (Method::PUT, "git-receive-pack", ""),
            (Method::POST, "../other.git/git-receive-pack", ""),
        ] {
            assert!(service(&method, path, query).is_err(), "{method} {path}");
        }
    }
}
