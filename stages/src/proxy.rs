//! What the traffic proxy and those who steer it say to each other.
//!
//! ```text
//! go live, rollback ──PUT Route──▶ DIR/admin.sock ──▶ landfall proxy ──▶ the app's container
//! ```
//!
//! **Invariant:** a route only moves to a higher generation. Repeating a switch is harmless and a late
//! one is refused, so a switch may be sent again after a crash without asking whether it arrived.

mod client;

use std::net::SocketAddr;

use serde::Deserialize;
use serde::Serialize;

pub use client::ProxyClient;
pub use client::ProxyError;

/// The name of the admin socket inside the proxy's folder.
pub const ADMIN_SOCKET: &str = "admin.sock";

/// The request header that asks which release answers; heard from this machine only.
pub const PROBE_HEADER: &str = "landfall-probe";
/// The response header that names the image digest of the release that answered.
pub const RELEASE_HEADER: &str = "landfall-release";
/// The response header that names the run that put this release in place.
pub const RUN_HEADER: &str = "landfall-run";

/// The longest name of an app or an environment; it stands in a URL and a log line.
const NAME_BYTES_MAX: usize = 100;
/// The longest host name that DNS knows.
const HOST_BYTES_MAX: usize = 253;
/// The longest release or run, so that a route stays a small record.
const LABEL_BYTES_MAX: usize = 200;

/// Where the traffic of one app and environment goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The app, as `landfall.toml` names it.
    pub app: String,
    /// The environment, such as `production`.
    pub env: String,
    /// The host name that this app answers for; `None` answers for every host that no other app has.
    pub host: Option<String>,
    /// Rises with every switch; the compare-and-set of the proxy.
    pub generation: u64,
    /// The container's address; `None` serves nothing and remembers the generation.
    pub target: Option<SocketAddr>,
    /// The image digest behind `target`; empty when there is none.
    pub release: String,
    /// The run that asked for this route.
    pub run: String,
    /// How long requests to the former target may go on; what is left then is cut.
    pub drain_ms: u64,
}

impl Route {
    /// Returns the route in the form that is kept (host in lower case), or what is wrong with it.
    pub fn checked(mut self) -> Result<Self, String> {
        name_is_safe("app", &self.app)?;
        name_is_safe("env", &self.env)?;
        if let Some(host) = self.host.as_mut() {
            host.make_ascii_lowercase();
            host_is_plain(host)?;
        }
        label_is_plain("release", &self.release)?;
        label_is_plain("run", &self.run)?;
        match self.target {
            Some(target) if target.port() == 0 => Err(format!("target {target} has no port")),
            Some(_) if self.release.is_empty() => Err("a target needs the release it runs".into()),
            None if !self.release.is_empty() => Err("a release needs a target that runs it".into()),
            Some(_) | None => Ok(self),
        }
    }
}

/// Refuses a name that would mean something else inside a URL or a log line.
fn name_is_safe(what: &str, name: &str) -> Result<(), String> {
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if fits && plain && name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(format!(
        "{what} {name:?} is not a name: 1 to {NAME_BYTES_MAX} letters, digits, '-', '_', '.', a letter or digit first"
    ))
}

fn host_is_plain(host: &str) -> Result<(), String> {
    let fits = (1..=HOST_BYTES_MAX).contains(&host.len());
    let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if fits && plain && !host.starts_with('.') && !host.ends_with('.') {
        return Ok(());
    }
    Err(format!("host {host:?} is not a host name; write it without scheme, port and path"))
}

fn label_is_plain(what: &str, label: &str) -> Result<(), String> {
    if label.len() <= LABEL_BYTES_MAX && label.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(format!("{what} {label:?} is not plain text of at most {LABEL_BYTES_MAX} bytes"))
}

/// A route and what goes through it at this moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// The route as it was last switched.
    pub route: Route,
    /// The target in use, then the former ones that still answer requests.
    pub targets: Vec<TargetStatus>,
    /// What each release answered since the proxy started, the latest release last.
    pub releases: Vec<ReleaseTraffic>,
}

impl RouteStatus {
    /// Returns how many requests the former targets are still answering.
    pub fn draining(&self) -> u64 {
        self.targets.iter().filter(|target| target.draining).map(|target| target.in_flight).sum()
    }
}

/// One container that answers requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// The container's address.
    pub target: SocketAddr,
    /// The image digest that runs there.
    pub release: String,
    /// The run that put it there.
    pub run: String,
    /// Requests begun and not ended; one ends with the last byte of its response.
    pub in_flight: u64,
    /// Whether it is a former target: no new request reaches it.
    pub draining: bool,
}

/// What one release answered since the proxy started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseTraffic {
    /// The image digest.
    pub release: String,
    /// Requests sent its way.
    pub requests: u64,
    /// Its answers by class of status.
    pub responses: Responses,
    /// Requests that the proxy had to answer itself, because the app did not.
    pub unanswered: u64,
}

/// Answers counted by the class of their status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Responses {
    /// 1xx: connections that became something else, such as a WebSocket.
    pub informational: u64,
    /// 2xx.
    pub success: u64,
    /// 3xx.
    pub redirection: u64,
    /// 4xx.
    pub client_error: u64,
    /// 5xx.
    pub server_error: u64,
}

/// The proxy that answers on a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyInfo {
    /// Its process id.
    pub pid: u32,
    /// The version of Landfall it was started from.
    pub version: String,
    /// Where it takes traffic, with the port it really got.
    pub listen: SocketAddr,
    /// When it began to serve. Wall clock, for people.
    pub started_at_ms: u64,
}

/// The answer to a switch that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switched {
    /// Whether this request moved the traffic; `false` when it was there already.
    pub applied: bool,
}

/// The body of an answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Refusal {
    /// The route has moved on: a higher generation, or the same with other content.
    StaleGeneration {
        /// For people.
        message: String,
        /// The generation in force.
        current: u64,
    },
    /// Another app has this host, or the place of the app without a host.
    HostTaken {
        /// For people.
        message: String,
        /// Who has it, as `app/env`.
        by: String,
    },
    /// The request makes no sense, however often it is sent.
    Invalid {
        /// For people.
        message: String,
    },
    /// There is no such route.
    NotFound {
        /// For people.
        message: String,
    },
    /// The route could not be written to disk, so nothing was switched. Worth another try.
    NotSaved {
        /// For people.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> Route {
        Route {
            app: "shop".into(),
            env: "production".into(),
            host: Some("Shop.Example.com".into()),
            generation: 7,
            target: Some(([127, 0, 0, 1], 9001).into()),
            release: "sha256:aa".into(),
            run: "r1".into(),
            drain_ms: 30_000,
        }
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut Route)) {
        let mut route = route();
        change(&mut route);
        assert!(route.clone().checked().is_err(), "{route:?} was accepted");
    }

    #[test]
    fn a_host_is_kept_in_lower_case() {
        assert_eq!(route().checked().unwrap().host.as_deref(), Some("shop.example.com"));
    }

    #[test]
    fn a_route_that_makes_no_sense_is_refused() {
        refused(|route| route.app = "../routes".into());
        refused(|route| route.app = String::new());
        refused(|route| route.env = "prod/eu".into());
        refused(|route| route.env = ".".into());
        refused(|route| route.host = Some("shop.example.com:80".into()));
        refused(|route| route.host = Some("https://shop.example.com".into()));
        refused(|route| route.host = Some(String::new()));
        refused(|route| route.release = "two\r\nlines".into());
        refused(|route| route.release = String::new());
        refused(|route| route.run = "x".repeat(LABEL_BYTES_MAX + 1));
        refused(|route| route.target = Some(([127, 0, 0, 1], 0).into()));
        refused(|route| route.target = None);
    }

    #[test]
    fn the_text_of_a_route_is_pinned() {
        let text = concat!(
            r#"{"app":"shop","env":"production","host":"Shop.Example.com","generation":7,"#,
            r#""target":"127.0.0.1:9001","release":"sha256:aa","run":"r1","drain_ms":30000}"#
        );
        assert_eq!(serde_json::to_string(&route()).unwrap(), text);
        assert_eq!(serde_json::from_str::<Route>(text).unwrap(), route());
    }

    #[test]
    fn the_text_of_a_refusal_is_pinned() {
        let refusal = Refusal::StaleGeneration { message: "m".into(), current: 9 };
        let text = r#"{"code":"stale_generation","message":"m","current":9}"#;
        assert_eq!(serde_json::to_string(&refusal).unwrap(), text);
    }
}
