//! The connection to the Docker engine, and what its errors mean.
//!
//! Everything that bollard leaves to its user is settled here once: which engine is meant, how old it
//! may be, how long a short question may take, and how a registry password reaches it unharmed.
//!
//! **Nothing is sent when a handle is made**: an engine that is not there yet is found when it is asked.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use reqwest::header::HeaderValue;

/// Where the engine listens unless `DOCKER_HOST` says otherwise.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// The engine of Debian 12 (20.10) speaks this one; older ones lack a BuildKit that works.
const API_MIN: (u32, u32) = (1, 41);

/// Longest wait for the head of an answer. Each caller has a limit of its own, and the tests of an app
/// or a stop with its grace may take long.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(6 * 3600);

/// A question that the engine answers from memory takes a third of a millisecond; a busy disk stretches it.
const ASK_LIMIT: Duration = Duration::from_secs(60);

/// Why the Docker engine can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// `DOCKER_HOST` is in no form we can use. **Fix the setting.**
    #[error("DOCKER_HOST is {host:?}: expected unix:///path, tcp://host:port or https://host:port")]
    Host {
        /// What was asked for.
        host: String,
        /// What is wrong with it.
        #[source]
        source: Error,
    },
    /// Nobody answers. **Start Docker, or try again.**
    #[error("{reason}")]
    Unreachable {
        /// One line, with what to do.
        reason: String,
    },
    /// It answers, and is too old. **Update it.**
    #[error("Docker {version} speaks API {api}: at least 1.41 (Docker 20.10) is needed; update Docker")]
    TooOld {
        /// Its version.
        version: String,
        /// Its newest API.
        api: String,
    },
}

/// The engine that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerVersion {
    /// The engine's version, such as `20.10.24`.
    pub version: String,
    /// The newest API that it speaks, such as `1.41`.
    pub api: String,
}

/// A connection to the Docker engine; clones share it.
#[derive(Clone)]
pub struct DockerHandle {
    host: String,
    connected: Arc<OnceLock<Docker>>,
    /// Answers "no socket" to everything: bollard refuses to make a client for a socket that is not there yet.
    absent: Docker,
}

impl fmt::Debug for DockerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerHandle").field("host", &self.host).finish_non_exhaustive()
    }
}

impl DockerHandle {
    /// Returns a handle on the engine at `host`, at `DOCKER_HOST`, or at Docker's usual socket; nothing is sent yet.
    pub fn connect(host: Option<&str>) -> Result<Self, DockerError> {
        let host = host
            .map(str::to_owned)
            .or_else(|| std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()))
            .unwrap_or_else(|| DEFAULT_HOST.into());
        // TLS needs a provider; somebody else's, installed before, does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let socket = host.clone();
        let absent = Docker::connect_with_custom_transport(
            move |_: BollardRequest| {
                let socket = socket.clone();
                async move { Err(Error::SocketNotFoundError(socket)) }
            },
            Some("http://docker"),
            CLIENT_TIMEOUT.as_secs(),
            API_DEFAULT_VERSION,
        )
        .map_err(|source| DockerError::Host { host: host.clone(), source })?;
        let handle = Self { host, connected: Arc::default(), absent };
        match handle.try_connect() {
            Ok(_) | Err(Error::SocketNotFoundError(_)) => Ok(handle),
            Err(source) => Err(DockerError::Host { host: handle.host, source }),
        }
    }

    /// Returns where the engine is, as it was asked for.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the client. Every request through it says by itself when nobody answers.
    pub(crate) fn api(&self) -> &Docker {
        self.try_connect().unwrap_or(&self.absent)
    }

    /// Asks a question that the engine answers at once, and does not wait for ever.
    pub(crate) async fn ask<T>(&self, question: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::time::timeout(ASK_LIMIT, question).await.unwrap_or(Err(Error::RequestTimeoutError))
    }

    /// Returns which engine answers, and an error when it is none that we can work with.
    pub async fn check(&self) -> Result<DockerVersion, DockerError> {
        let answer = self.ask(self.api().version()).await;
        let found = answer.map_err(|error| DockerError::Unreachable {
            reason: format!("{} (asked at {})", explain("asking Docker for its version", &error), self.host),
        })?;
        let version = found.version.unwrap_or_else(|| "of unknown version".into());
        let api = found.api_version.unwrap_or_default();
        match api_number(&api) {
            Some(number) if number >= API_MIN => Ok(DockerVersion { version, api }),
            _ => Err(DockerError::TooOld { version, api }),
        }
    }

    fn try_connect(&self) -> Result<&Docker, Error> {
        if let Some(docker) = self.connected.get() {
            return Ok(docker);
        }
        let docker = Docker::connect_with_host(&self.host)?
            .with_timeout(CLIENT_TIMEOUT)
            .with_request_modifier(with_urlsafe_credentials);
        Ok(self.connected.get_or_init(|| docker))
    }
}

/// The engine reads these headers as base64url and takes anything else for "no password at all";
/// bollard writes plain base64.
fn with_urlsafe_credentials(mut request: BollardRequest) -> BollardRequest {
    for name in ["x-registry-auth", "x-registry-config"] {
        let Some(value) = request.headers_mut().get_mut(name) else { continue };
        let Ok(text) = value.to_str() else { continue };
        let Ok(mut urlsafe) = text.replace('+', "-").replace('/', "_").parse::<HeaderValue>() else {
            continue;
        };
        urlsafe.set_sensitive(true);
        *value = urlsafe;
    }
    request
}

fn api_number(api: &str) -> Option<(u32, u32)> {
    let (major, minor) = api.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Tells whether the engine says that there is no such thing.
pub(crate) fn is_not_found(error: &Error) -> bool {
    status(error) == Some(404)
}

/// Tells whether the engine says that the name is taken, or the thing is in use.
pub(crate) fn is_conflict(error: &Error) -> bool {
    status(error) == Some(409)
}

/// Tells whether the engine gave no answer at all.
pub(crate) fn is_unreachable(error: &Error) -> bool {
    matches!(
        error,
        Error::SocketNotFoundError(_)
            | Error::RequestTimeoutError
            | Error::HyperLegacyError { .. }
            | Error::HyperResponseError { .. }
            | Error::IOError { .. }
    )
}

/// Returns the HTTP status of the engine's refusal, when it refused.
pub(crate) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Returns what the engine said, without bollard's words around it.
pub(crate) fn message(error: &Error) -> String {
    let text = match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::DockerStreamError { error } | Error::DockerContainerWaitError { error, .. } => error.clone(),
        other => chain(other),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns one line for people: what was being done, what Docker said, and what to do when it said nothing.
pub(crate) fn explain(doing: &str, error: &Error) -> String {
    match error {
        Error::SocketNotFoundError(host) => {
            format!("{doing}: there is no Docker socket at {host}; is the Docker daemon running?")
        }
        Error::RequestTimeoutError => format!("{doing}: Docker gave no answer in time"),
        _ if is_unreachable(error) => {
            let said = message(error);
            let denied = said.contains("ermission denied");
            let advice = if denied {
                "may this user use Docker (is it in the group docker)?"
            } else {
                "is the Docker daemon running?"
            };
            format!("{doing}: Docker does not answer ({said}); {advice}")
        }
        _ => format!("{doing}: {}", message(error)),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_found_when_it_is_asked() {
        let docker = DockerHandle::connect(Some("unix:///nonexistent/docker.sock")).unwrap();
        let error = docker.check().await.unwrap_err().to_string();
        assert!(error.contains("is the Docker daemon running?"), "{error}");
        assert!(error.contains("/nonexistent/docker.sock"), "{error}");
    }

    #[tokio::test]
    async fn an_engine_that_starts_later_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("docker.sock");
        let docker = DockerHandle::connect(Some(&format!("unix://{}", socket.display()))).unwrap();
        assert!(docker.check().await.is_err());
        let _engine = answering(&socket, r#"{"Version":"27.0.1","ApiVersion":"1.46"}"#);
        let found = docker.check().await.unwrap();
        assert_eq!(found, DockerVersion { version: "27.0.1".into(), api: "1.46".into() });
    }

    #[tokio::test]
    async fn an_engine_that_is_too_old_is_refused_with_both_versions() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("docker.sock");
        let _engine = answering(&socket, r#"{"Version":"19.03.8","ApiVersion":"1.40"}"#);
        let docker = DockerHandle::connect(Some(&format!("unix://{}", socket.display()))).unwrap();
        let error = docker.check().await.unwrap_err().to_string();
        assert!(error.contains("19.03.8") && error.contains("1.40") && error.contains("1.41"), "{error}");
    }

    #[test]
    fn a_host_of_an_unknown_kind_is_refused_at_once() {
        let error = DockerHandle::connect(Some("carrier-pigeon://roof")).unwrap_err().to_string();
        assert!(error.contains("carrier-pigeon://roof"), "{error}");
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(api_number("1.9") < Some(API_MIN));
        assert!(api_number("1.100") > Some(API_MIN));
        assert_eq!(api_number("new"), None);
    }

    #[tokio::test]
    async fn a_password_with_symbols_is_sent_in_the_alphabet_that_the_engine_reads() {
        use bollard::auth::DockerCredentials;
        use futures_util::StreamExt;

        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("docker.sock");
        let seen = answering(&socket, "{}");
        let docker = DockerHandle::connect(Some(&format!("unix://{}", socket.display()))).unwrap();
        let credentials = DockerCredentials {
            username: Some("ci".into()),
            password: Some("p>>>?~~~".into()),
            ..DockerCredentials::default()
        };
        let options = bollard::query_parameters::PushImageOptionsBuilder::default().tag("t").build();
        let mut push = Box::pin(docker.api().push_image("image", Some(options), Some(credentials)));
        while push.next().await.is_some() {}
        let request = seen.await.unwrap();
        let header = request.lines().find_map(|line| line.strip_prefix("x-registry-auth: ")).unwrap();
        assert!(header.contains(['-', '_']) && !header.contains(['+', '/']), "{header}");
    }

    /// Answers one request on a socket like an engine would, and returns the head of that request.
    fn answering(socket: &std::path::Path, body: &'static str) -> tokio::task::JoinHandle<String> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&head).into_owned()
        })
    }
}
