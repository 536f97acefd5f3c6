//! The hand on the proxy's switch: its admin interface, over a unix socket.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use reqwest::RequestBuilder;
use reqwest::Response;
use reqwest::StatusCode;
use serde::de::DeserializeOwned;

use super::ADMIN_SOCKET;
use super::ProxyInfo;
use super::Refusal;
use super::Route;
use super::RouteStatus;
use super::RouteTraffic;
use super::SPEAKS_MOUNTS;
use super::SPEAKS_TRAFFIC;
use super::Switched;
use super::name_is_safe;

/// Reading is answered from memory on this machine: silence for so long means that the proxy hangs.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// A switch waits for two fsyncs, which a busy disk can stretch to seconds.
const SWITCH_TIMEOUT: Duration = Duration::from_secs(20);
/// What an answer may take beyond the time it was asked to wait.
const DRAIN_SLACK: Duration = Duration::from_secs(5);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why the proxy did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Nobody answered, or the disk refused. **Try again**: a repeated switch is harmless.
    #[error("the traffic proxy did not answer at {}", socket.display())]
    Unreachable {
        /// The admin socket that was asked.
        socket: PathBuf,
        /// What went wrong there.
        source: BoxError,
    },
    /// The route has moved on. **Look at it and decide again.**
    #[error("the route is at generation {current} already")]
    Stale {
        /// The generation in force.
        current: u64,
    },
    /// Another app has this host. **A person must choose**: repeating does not help.
    #[error("this host belongs to {by}")]
    HostTaken {
        /// Who has it, as `app/env`.
        by: String,
    },
    /// The request is wrong, or the answer is in no language we know. **Stop.**
    #[error("the traffic proxy refused: {message}")]
    Refused {
        /// What the proxy said.
        message: String,
    },
}

/// Asks and steers a running proxy.
#[derive(Clone, Debug)]
pub struct ProxyClient {
    socket: PathBuf,
    http: reqwest::Client,
}

impl ProxyClient {
    /// Returns a client of the proxy whose admin interface is `socket`; nothing is sent yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        let socket = socket.into();
        // Somebody else's provider, installed before, does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .unix_socket(socket.as_path())
            .no_proxy()
            // No TLS is spoken here, so the machine's certificates need not be read.
            .tls_certs_only([])
            // A connection of its own for each call: a restarted proxy never meets a dead one.
            .pool_max_idle_per_host(0)
            .build()
            .expect("a client without certificates has nothing to fail on");
        Self { socket, http }
    }

    /// Returns a client of the proxy that lives in the folder `dir`.
    pub fn in_dir(dir: &Path) -> Self {
        Self::new(dir.join(ADMIN_SOCKET))
    }

    /// Returns who answers on the socket.
    pub async fn info(&self) -> Result<ProxyInfo, ProxyError> {
        Ok(self.read("/v1/proxy", READ_TIMEOUT).await?)
    }

    /// Returns all routes, in the order of their names.
    pub async fn routes(&self) -> Result<Vec<RouteStatus>, ProxyError> {
        Ok(self.read("/v1/routes", READ_TIMEOUT).await?)
    }

    /// Returns one route, or `None` when the proxy never heard of it.
    pub async fn route(&self, app: &str, env: &str) -> Result<Option<RouteStatus>, ProxyError> {
        let path = route_path(app, env)?;
        found(self.read(&path, READ_TIMEOUT).await)
    }

    /// Waits until the former targets of a route have nothing in flight, or `within` has passed.
    ///
    /// [`RouteStatus::draining`] of the answer tells which it was.
    pub async fn drained(
        &self,
        app: &str,
        env: &str,
        within: Duration,
    ) -> Result<Option<RouteStatus>, ProxyError> {
        let path = format!("{}/drained?within_ms={}", route_path(app, env)?, within.as_millis());
        found(self.read(&path, within.saturating_add(DRAIN_SLACK)).await)
    }

    /// Moves the traffic of a route. When it returns `Ok`, the route is on disk and in force.
    ///
    /// A proxy that would not understand the route is not asked: it would give the app the whole host.
    pub async fn switch(&self, route: Route) -> Result<Switched, ProxyError> {
        let path = route_path(&route.app, &route.env)?;
        if route.mount.is_some() {
            self.speaks(SPEAKS_MOUNTS, "knows no path prefixes").await?;
        }
        let request = self.request(Method::PUT, &path).timeout(SWITCH_TIMEOUT).json(&route);
        Ok(self.answer(request).await?)
    }

    /// Returns how the requests of a route went from `from_ms` on, in milliseconds since 1970; `None` when the proxy
    /// never heard of it.
    pub async fn traffic(
        &self,
        app: &str,
        env: &str,
        from_ms: u64,
    ) -> Result<Option<RouteTraffic>, ProxyError> {
        let path = format!("{}/traffic?from_ms={from_ms}", route_path(app, env)?);
        match self.read(&path, READ_TIMEOUT).await {
            Err(Trouble::NoSuchRoute) => {
                // One that does not know the question says the same.
                self.speaks(SPEAKS_TRAFFIC, "does not count requests over time").await?;
                Ok(None)
            }
            answer => found(answer),
        }
    }

    /// Refuses a proxy that is too old for what is asked.
    async fn speaks(&self, needed: u32, lacks: &str) -> Result<(), ProxyError> {
        let ProxyInfo { speaks, pid, version, .. } = self.info().await?;
        if speaks >= needed {
            return Ok(());
        }
        let message = format!("it is of version {version} and {lacks}; `kill {pid}` renews it");
        Err(ProxyError::Refused { message })
    }

    /// Waits for the end of the proxy that answers now.
    ///
    /// Costs nothing while it waits: the proxy holds the connection open for as long as it lives.
    pub async fn until_gone(&self) -> Result<(), ProxyError> {
        let asked = self.request(Method::GET, "/v1/proxy/watch").send();
        let answer = tokio::time::timeout(READ_TIMEOUT, asked).await;
        let mut response = match answer {
            Ok(response) => response.map_err(|source| self.unreachable(source))?,
            Err(late) => return Err(self.unreachable(late)),
        };
        if response.status() != StatusCode::OK {
            return Err(Trouble::refused("this proxy cannot be watched").into());
        }
        while let Ok(Some(_)) = response.chunk().await {}
        Ok(())
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://landfall-proxy{path}"))
    }

    async fn read<T: DeserializeOwned>(&self, path: &str, timeout: Duration) -> Result<T, Trouble> {
        self.answer(self.request(Method::GET, path).timeout(timeout)).await
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Trouble> {
        let response = request.send().await.map_err(|source| self.unreachable(source))?;
        let status = response.status();
        let body = self.body_of(response).await?;
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|_| Trouble::refused("its answer could not be read; is it of another version?"));
        }
        match serde_json::from_slice(&body) {
            Ok(Refusal::StaleGeneration { current, .. }) => Err(ProxyError::Stale { current }.into()),
            Ok(Refusal::HostTaken { by, .. }) => Err(ProxyError::HostTaken { by }.into()),
            Ok(Refusal::Invalid { message }) => Err(ProxyError::Refused { message }.into()),
            Ok(Refusal::NotFound { .. }) => Err(Trouble::NoSuchRoute),
            Ok(Refusal::NotSaved { message }) => Err(self.unreachable(message).into()),
            Err(_) => Err(Trouble::refused(&format!("it answered {status} without a reason we know"))),
        }
    }

    async fn body_of(&self, response: Response) -> Result<Vec<u8>, Trouble> {
        let body = response.bytes().await.map_err(|source| self.unreachable(source))?;
        Ok(body.to_vec())
    }

    fn unreachable(&self, source: impl Into<BoxError>) -> ProxyError {
        ProxyError::Unreachable { socket: self.socket.clone(), source: source.into() }
    }
}

/// An answer that is not the one hoped for; "no such route" is an answer to some questions.
enum Trouble {
    NoSuchRoute,
    Error(ProxyError),
}

impl Trouble {
    fn refused(message: &str) -> Self {
        Self::Error(ProxyError::Refused { message: message.to_owned() })
    }
}

impl From<ProxyError> for Trouble {
    fn from(error: ProxyError) -> Self {
        Self::Error(error)
    }
}

impl From<Trouble> for ProxyError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::NoSuchRoute => Self::Refused { message: "it knows no such address".into() },
            Trouble::Error(error) => error,
        }
    }
}

fn found<T>(answer: Result<T, Trouble>) -> Result<Option<T>, ProxyError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(Trouble::NoSuchRoute) => Ok(None),
        Err(Trouble::Error(error)) => Err(error),
    }
}

/// Names go into the URL as they are, so one that would lead elsewhere never leaves the house.
fn route_path(app: &str, env: &str) -> Result<String, ProxyError> {
    for (what, name) in [("app", app), ("env", env)] {
        name_is_safe(what, name).map_err(|message| ProxyError::Refused { message })?;
    }
    Ok(format!("/v1/routes/{app}/{env}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_proxy_that_is_not_there_is_unreachable() {
        let dir = tempfile::tempdir().unwrap();
        let client = ProxyClient::in_dir(dir.path());
        assert!(matches!(client.info().await, Err(ProxyError::Unreachable { .. })));
        assert!(matches!(client.until_gone().await, Err(ProxyError::Unreachable { .. })));
    }

    #[tokio::test]
    async fn a_name_that_leads_elsewhere_is_not_sent() {
        let client = ProxyClient::new("/nonexistent/admin.sock");
        assert!(matches!(client.route("../proxy", "x").await, Err(ProxyError::Refused { .. })));
    }
}
