//! The registry, asked directly: which image is behind a tag, and may we in.
//!
//! Docker's API can neither check a login nor say which digest a tag has in the registry. So we ask with
//! the registry's own protocol, as Docker would: https, or http on this machine; a password directly or for a token.

mod login;
mod token;

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{ACCEPT, DATE, HeaderMap};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::context::Context;
use crate::plan;
use crate::stopped::Stopped;

pub(crate) use login::Login;
pub(crate) use login::login;

/// A registry looks a tag up in its store; one that is silent for so long is not well.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A manifest is a list of layers; the registries' own limit is 4 MiB.
const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// All that a tag may stand for. A registry converts, or denies having, what is not named here.
const MANIFEST_TYPES: &str = "application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.index.v1+json";

/// Docker Hub has one name in images and another for its API.
const HUB: &str = "docker.io";
const HUB_API: &str = "registry-1.docker.io";

/// What a registry has behind a tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// `sha256:…` of the manifest: the digest of the image.
    pub(crate) digest: String,
}

/// Returns what is behind `reference` (a tag or a digest). None: there is no such thing.
pub(crate) async fn manifest(
    context: &Context,
    login: Option<&Login>,
    host: &str,
    path: &str,
    reference: &str,
) -> Result<Option<Manifest>, Stopped> {
    let Some(response) = ask(context, login, Method::HEAD, host, path, reference).await? else {
        return Ok(None);
    };
    let digest = match digest_of(response.headers()) {
        Some(digest) => digest,
        // Some registries leave the header out; the manifest itself can't.
        None => match read(context, login, host, path, reference).await? {
            Some(body) => sha256(&body),
            None => return Ok(None),
        },
    };
    plan::check_digest(&digest).map_err(|error| {
        Stopped::errored(format!("the registry {host} gave a digest we can't use: {error}"))
    })?;
    Ok(Some(Manifest { digest }))
}

/// Returns the id of the image that a manifest describes. None: it describes several, or none.
pub(crate) async fn image_id(
    context: &Context,
    login: Option<&Login>,
    host: &str,
    path: &str,
    digest: &str,
) -> Result<Option<String>, Stopped> {
    #[derive(Deserialize)]
    struct Image {
        config: Option<Blob>,
    }
    #[derive(Deserialize)]
    struct Blob {
        digest: String,
    }
    let body = read(context, login, host, path, digest).await?;
    let image: Option<Image> = body.and_then(|body| serde_json::from_slice(&body).ok());
    Ok(image.and_then(|image| image.config).map(|config| config.digest))
}

async fn read(
    context: &Context,
    login: Option<&Login>,
    host: &str,
    path: &str,
    reference: &str,
) -> Result<Option<Vec<u8>>, Stopped> {
    let Some(mut response) = ask(context, login, Method::GET, host, path, reference).await? else {
        return Ok(None);
    };
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| no_answer(host, &error))? {
        body.extend_from_slice(&piece);
        if body.len() > MANIFEST_BYTES_MAX {
            return Err(Stopped::errored(format!("the registry {host} sent more than a manifest can be")));
        }
    }
    Ok(Some(body))
}

/// Asks for a manifest, logging in as the registry wants it. None: 404.
async fn ask(
    context: &Context,
    login: Option<&Login>,
    method: Method,
    host: &str,
    path: &str,
    reference: &str,
) -> Result<Option<Response>, Stopped> {
    let mut last = None;
    for scheme in schemes(host) {
        let api = if host == HUB { HUB_API } else { host };
        let url = format!("{scheme}://{api}/v2/{path}/manifests/{reference}");
        let request = || {
            let request = context.http.request(method.clone(), url.as_str());
            request.header(ACCEPT, MANIFEST_TYPES).timeout(ANSWER_LIMIT)
        };
        match request().send().await {
            // A TLS server says so, in its way, when it is spoken to in the clear.
            Ok(response) if *scheme == "http" && response.status() == StatusCode::BAD_REQUEST => {
                last = Some(Stopped::errored(format!("the registry {host} wants no plain http")));
            }
            Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
                let request = token::log_in(context, login, host, response.headers(), request()).await?;
                let response = request.send().await.map_err(|error| no_answer(host, &error))?;
                return judge(response, login, host, path);
            }
            Ok(response) => return judge(response, login, host, path),
            Err(error) => last = Some(no_answer(host, &error)),
        }
    }
    Err(last.unwrap_or_else(|| Stopped::errored(format!("the registry {host} was not asked"))))
}

/// Asks a registry whether it is one. A login that it wants is an answer, too.
pub(crate) async fn answers(context: &Context, host: &str) -> Result<(), String> {
    let api = if host == HUB { HUB_API } else { host };
    let mut last = format!("the registry {host} was not asked");
    for scheme in schemes(host) {
        match context.http.get(format!("{scheme}://{api}/v2/")).timeout(ANSWER_LIMIT).send().await {
            Ok(response) if response.status().is_success() => return Ok(()),
            Ok(response) if response.status() == StatusCode::UNAUTHORIZED => return Ok(()),
            Ok(response) => last = format!("the registry {host} answered {} for /v2/", response.status()),
            Err(error) => last = no_answer(host, &error).reason().to_owned(),
        }
    }
    Err(last)
}

/// Returns the date that a registry writes above its answers. None: it gives none.
pub(crate) async fn date(context: &Context, host: &str) -> Option<String> {
    let api = if host == HUB { HUB_API } else { host };
    for scheme in schemes(host) {
        let asked = context.http.get(format!("{scheme}://{api}/v2/")).timeout(ANSWER_LIMIT).send().await;
        if let Ok(response) = asked {
            return Some(response.headers().get(DATE)?.to_str().ok()?.to_owned());
        }
    }
    None
}

/// Docker speaks plain http with registries on this machine and nowhere else, and so do we.
fn schemes(host: &str) -> &'static [&'static str] {
    if is_loopback(host) { &["http", "https"] } else { &["https"] }
}

/// Tells whether a host, perhaps with a port, is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn judge(
    response: Response,
    login: Option<&Login>,
    host: &str,
    path: &str,
) -> Result<Option<Response>, Stopped> {
    match response.status() {
        status if status.is_success() => Ok(Some(response)),
        StatusCode::NOT_FOUND => Ok(None),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(refused(login, host, path)),
        status => Err(Stopped::errored(format!("the registry {host} answered {status} for {path}"))),
    }
}

/// Says who was refused and what to check; never the password.
pub(crate) fn refused(login: Option<&Login>, host: &str, path: &str) -> Stopped {
    Stopped::failed(match login {
        Some(Login::Password { username, from, .. }) => format!(
            "the registry {host} refused the login of {username} for {path}: check the password ({from}) and that \
             {username} may push there"
        ),
        Some(Login::IdentityToken(_)) => format!(
            "the registry {host} refused the login in Docker's configuration for {path}: try `docker login {host}`"
        ),
        None => format!(
            "the registry {host} wants a login for {path} and none is known: set `[registry] username` and \
             `password`, or `docker login {host}`"
        ),
    })
}

fn no_answer(host: &str, error: &reqwest::Error) -> Stopped {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Stopped::errored(format!("the registry {host} gave no answer: {cause}; is it running, and in reach?"))
}

fn digest_of(headers: &HeaderMap) -> Option<String> {
    Some(headers.get("docker-content-digest")?.to_str().ok()?.to_owned())
}

fn sha256(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
#[path = "registry/tests.rs"]
mod tests;
