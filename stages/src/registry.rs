//! The registry, asked directly: which image is behind a tag, and may we in.
//!
//! Docker's API can neither check a login nor say which digest a tag has in the registry. So we ask with
//! the registry's own protocol, as Docker would: https, or http on this machine; a password directly or for a token.

use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bollard::auth::DockerCredentials;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use landfall_engine::core::settings::RegistrySettings;
use reqwest::header::{ACCEPT, HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::context::Context;
use crate::plan;
use crate::stopped::Stopped;

/// A registry looks a tag up in its store; one that is silent for so long is not well.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A manifest is a list of layers; the registries' own limit is 4 MiB.
const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// All that a tag may stand for. A registry converts, or denies having, what is not named here.
const MANIFEST_TYPES: &str = "application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.index.v1+json";

/// Docker Hub has one name in images, one for its API and one in Docker's configuration.
const HUB: &str = "docker.io";
const HUB_API: &str = "registry-1.docker.io";
const HUB_CONFIG: &str = "https://index.docker.io/v1/";

/// Who we are for a registry. `Debug` shows no password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Login {
    /// A user with a password, and where the password came from.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: String,
        /// For people: which secret, or whose configuration.
        from: String,
    },
    /// A token that Docker keeps instead of a password; only Docker itself can use it.
    IdentityToken(String),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, from, .. } => write!(f, "Password({username:?}, from {from})"),
            Self::IdentityToken(_) => f.write_str("IdentityToken"),
        }
    }
}

impl Login {
    /// Returns it in the form that Docker takes with a push, a pull or a build.
    pub(crate) fn for_docker(&self, host: &str) -> DockerCredentials {
        let serveraddress = Some(if host == HUB { HUB_CONFIG.to_owned() } else { host.to_owned() });
        match self.clone() {
            Self::Password { username, password, .. } => DockerCredentials {
                username: Some(username),
                password: Some(password),
                serveraddress,
                ..DockerCredentials::default()
            },
            Self::IdentityToken(token) => DockerCredentials {
                identitytoken: Some(token),
                serveraddress,
                ..DockerCredentials::default()
            },
        }
    }
}

/// Returns how to log in at `host`: by the settings when they name a user, else by Docker's own configuration.
pub(crate) async fn login(
    context: &Context,
    settings: &RegistrySettings,
    host: &str,
) -> Result<Option<Login>, Stopped> {
    match (&settings.username, &settings.password) {
        (Some(username), Some(secret)) => {
            let password = context.secrets.get(secret).map_err(|missing| {
                Stopped::failed(format!("the password of {username} at the registry {host}: {missing}"))
            })?;
            let from = format!("the secret {secret}");
            Ok(Some(Login::Password { username: username.clone(), password: password.to_owned(), from }))
        }
        (None, None) => docker_login(host).await,
        _ => Err(Stopped::failed(
            "`[registry]` needs `username` and `password` together: the password is the name of a secret",
        )),
    }
}

/// Reads Docker's configuration and asks its helpers: files and processes, so on a thread of its own.
async fn docker_login(host: &str) -> Result<Option<Login>, Stopped> {
    let server = if host == HUB { HUB_CONFIG.to_owned() } else { host.to_owned() };
    let looking = tokio::task::spawn_blocking(move || read_docker_config(&server));
    match looking.await {
        Ok(Ok(DockerCredential::UsernamePassword(username, password))) => {
            let from = format!("Docker's configuration (`docker login {host}`)");
            Ok(Some(Login::Password { username, password, from }))
        }
        Ok(Ok(DockerCredential::IdentityToken(token))) => Ok(Some(Login::IdentityToken(token))),
        Ok(Err(
            CredentialRetrievalError::NoCredentialConfigured | CredentialRetrievalError::ConfigNotFound,
        )) => Ok(None),
        // A helper that knows nothing of this registry says so by failing.
        Ok(Err(CredentialRetrievalError::HelperFailure { stdout, .. }))
            if stdout.contains("credentials not found") =>
        {
            Ok(None)
        }
        // What a helper printed could be a password.
        Ok(Err(CredentialRetrievalError::HelperFailure { helper, .. })) => Err(Stopped::failed(format!(
            "Docker's credential helper {helper} failed for {host}: try `docker login {host}`, or set \
             `[registry] username` and `password`"
        ))),
        Ok(Err(error)) => Err(Stopped::failed(format!(
            "Docker's configuration gives no login for {host} ({error}): try `docker login {host}`, or set \
             `[registry] username` and `password`"
        ))),
        Err(error) => Err(Stopped::errored(format!("looking for a login at {host}: {error}"))),
    }
}

/// A machine where nobody ever logged in has no such file, which is no error.
fn read_docker_config(server: &str) -> Result<DockerCredential, CredentialRetrievalError> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(home);
    let file = File::open(folder.ok_or(CredentialRetrievalError::ConfigNotFound)?.join("config.json"));
    match file {
        Ok(file) => docker_credential::get_credential_from_reader(BufReader::new(file), server),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(CredentialRetrievalError::ConfigNotFound)
        }
        Err(_) => Err(CredentialRetrievalError::ConfigReadError),
    }
}

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
                let request = log_in(context, login, host, response.headers(), request()).await?;
                let response = request.send().await.map_err(|error| no_answer(host, &error))?;
                return judge(response, login, host, path);
            }
            Ok(response) => return judge(response, login, host, path),
            Err(error) => last = Some(no_answer(host, &error)),
        }
    }
    Err(last.unwrap_or_else(|| Stopped::errored(format!("the registry {host} was not asked"))))
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

/// Adds to a request what the registry asked for.
async fn log_in(
    context: &Context,
    login: Option<&Login>,
    host: &str,
    headers: &HeaderMap,
    request: RequestBuilder,
) -> Result<RequestBuilder, Stopped> {
    let asked = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let challenges: Vec<Challenge> = asked.filter_map(Challenge::parse).collect();
    if let Some(bearer) = challenges.iter().find(|challenge| challenge.scheme == "bearer") {
        let token = token(context, login, host, bearer).await?;
        return Ok(request.bearer_auth(token));
    }
    match login {
        Some(Login::Password { username, password, .. })
            if challenges.iter().any(|challenge| challenge.scheme == "basic") =>
        {
            Ok(request.basic_auth(username, Some(password)))
        }
        _ => Ok(request),
    }
}

async fn token(
    context: &Context,
    login: Option<&Login>,
    host: &str,
    challenge: &Challenge,
) -> Result<String, Stopped> {
    #[derive(Deserialize)]
    struct Token {
        token: Option<String>,
        access_token: Option<String>,
    }
    let wrong = |what: &str| Stopped::errored(format!("the registry {host} asks for a token {what}"));
    let realm = challenge.get("realm").ok_or_else(|| wrong("and does not say where"))?;
    let mut url: Url = realm.parse().map_err(|_| wrong("from no usable address"))?;
    // The password goes there: in the clear only on this machine.
    if url.scheme() != "https" && !url.host_str().is_some_and(is_loopback) {
        return Err(Stopped::failed(format!(
            "the registry {host} wants the password sent in the clear to {}: it has to use https",
            url.host_str().unwrap_or_default()
        )));
    }
    for name in ["service", "scope"] {
        if let Some(value) = challenge.get(name) {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
    let mut request = context.http.get(url).timeout(ANSWER_LIMIT);
    if let Some(Login::Password { username, password, .. }) = login {
        request = request.basic_auth(username, Some(password));
    }
    let response = request.send().await.map_err(|error| no_answer(host, &error))?;
    match response.status() {
        status if status.is_success() => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(refused(login, host, challenge.get("scope").unwrap_or("the image")));
        }
        status => return Err(wrong(&format!("and answers {status} when asked for it"))),
    }
    let token: Token = response.json().await.map_err(|error| no_answer(host, &error))?;
    token.token.or(token.access_token).ok_or_else(|| wrong("and gives none"))
}

fn digest_of(headers: &HeaderMap) -> Option<String> {
    Some(headers.get("docker-content-digest")?.to_str().ok()?.to_owned())
}

fn sha256(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// What a registry wants to see: `Bearer realm="…",service="…",scope="…"`.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, mut rest) = text.trim().split_once(' ')?;
        let mut parameters = Vec::new();
        while let Some((name, value)) = rest.split_once('=') {
            let name = name.trim_matches([' ', ',']).to_ascii_lowercase();
            let (value, after) = match value.strip_prefix('"') {
                // A quoted value may have commas in it: `scope="repository:a:pull,push"`.
                Some(quoted) => quoted.split_once('"')?,
                None => value.split_once(',').unwrap_or((value, "")),
            };
            parameters.push((name, value.to_owned()));
            rest = after;
        }
        Some(Self { scheme: scheme.to_ascii_lowercase(), parameters })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
