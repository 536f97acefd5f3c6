//! What the traffic proxy and those who steer it say to each other.
//!
//! ```text
//! go live, rollback ──PUT Route──▶ DIR/admin.sock ──▶ landfall proxy ──▶ the app's container
//! ```
//!
//! **Invariant:** a route only moves to a higher generation. Repeating a switch is harmless and a late
//! one is refused, so a switch may be sent again after a crash without asking whether it arrived.

mod client;
mod traffic;

use std::net::SocketAddr;
use std::path::PathBuf;

use landfall_engine::core::settings::Mount;
use serde::Deserialize;
use serde::Serialize;

pub use client::ProxyClient;
pub use client::ProxyError;
pub use traffic::ANSWER_TIMES;
pub use traffic::COARSE_FOR_MS;
pub use traffic::COARSE_MS;
pub use traffic::FINE_FOR_MS;
pub use traffic::FINE_MS;
pub use traffic::RouteTraffic;
pub use traffic::TrafficBucket;
pub use traffic::TrafficOfRelease;
pub use traffic::in_steps;

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
/// The longest path prefix; more is no part of a site that people type.
const PREFIX_BYTES_MAX: usize = 200;
/// The longest release or run, so that a route stays a small record.
const LABEL_BYTES_MAX: usize = 200;

/// Where the traffic of one app and environment goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The app, as `landfall.toml` names it.
    pub app: String,
    /// The environment, such as `production`.
    pub env: String,
    /// The host name that this app answers for; `None` answers for every host that no other app has.
    pub host: Option<String>,
    /// The part of the host's paths that is this app's; `None` is all that no other app has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<Mount>,
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
        if let Some(mount) = &self.mount {
            prefix_is_plain(&mount.prefix)?;
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

impl Route {
    /// Tells whether another route is for the same host and the same part of its paths.
    pub fn answers_for_the_same_as(&self, other: &Self) -> bool {
        let prefix = |route: &Self| route.mount.as_ref().map(|mount| mount.prefix.clone());
        let same_host = match (&self.host, &other.host) {
            (Some(ours), Some(theirs)) => ours.eq_ignore_ascii_case(theirs),
            (ours, theirs) => ours.is_none() && theirs.is_none(),
        };
        same_host && prefix(self) == prefix(other)
    }

    /// Names what the route answers for, for people: `shop.example.com/cart`, `every host without an app`.
    pub fn answers_for(&self) -> String {
        let prefix = self.mount.as_ref().map_or("", |mount| mount.prefix.as_str());
        match &self.host {
            Some(host) => format!("{host}{prefix}"),
            None if prefix.is_empty() => "every host without an app".into(),
            None => format!("{prefix} on every host without an app"),
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

/// A prefix that means the same to everybody who reads the URL: whole names, nothing escaped, no way up.
pub(crate) fn prefix_is_plain(prefix: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    let whole = |part: &str| !part.is_empty() && part.bytes().all(plain) && part != "." && part != "..";
    let fits = prefix.len() <= PREFIX_BYTES_MAX;
    if fits && prefix.strip_prefix('/').is_some_and(|parts| parts.split('/').all(whole)) {
        return Ok(());
    }
    Err(format!(
        "path prefix {prefix:?} is not one: names of letters, digits, '-', '_', '.', '~', a '/' before each, none at the end"
    ))
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
    /// How long the app's answers took to begin. A proxy of an older version does not say.
    #[serde(default)]
    pub times: AnswerTimes,
}

/// The upper bounds, in milliseconds, by which [`AnswerTimes`] counts; what took longer is counted by none.
pub const ANSWER_TIME_BOUNDS_MS: [u64; 12] =
    [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000];

/// How long answers took, from the request to the first byte.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerTimes {
    /// All of them together, in microseconds.
    pub sum_us: u64,
    /// How many answers there were.
    pub count: u64,
    /// How many took longer than the bound before and no longer than this one, by [`ANSWER_TIME_BOUNDS_MS`].
    pub within: Vec<u64>,
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
    /// What it understands, see [`SPEAKS`]. One that does not say is of before there were mounts.
    #[serde(default)]
    pub speaks: u32,
    /// How it takes encrypted traffic, when it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsInfo>,
    /// Networks whose forwarding headers it believes beside this machine's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusts: Vec<String>,
}

/// What a proxy of this version understands: 1 adds [`Route::mount`], 2 tells [`RouteTraffic`].
pub const SPEAKS: u32 = SPEAKS_TRAFFIC;
/// The first that understands mounts.
const SPEAKS_MOUNTS: u32 = 1;
/// The first that tells how requests went over time.
const SPEAKS_TRAFFIC: u32 = 2;

/// How a proxy takes encrypted traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsInfo {
    /// Where, with the port it really got.
    pub listen: SocketAddr,
    /// The folder of the certificates.
    pub certs: PathBuf,
    /// Whether what comes unencrypted is sent there.
    pub redirect: bool,
    /// The hosts that have a certificate now.
    pub hosts: Vec<String>,
    /// Certificates that could not be read, in words. The ones before them stay in use.
    pub problems: Vec<String>,
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
            mount: None,
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
    fn a_prefix_that_two_readers_could_take_differently_is_refused() {
        for prefix in ["", "/", "shop", "/shop/", "//shop", "/shop/..", "/sh%6Fp", "/a b", "/./a", "/ü"] {
            refused(|route| route.mount = Some(Mount { prefix: prefix.into(), strip: true }));
        }
        let mount = Some(Mount { prefix: "/team-1/shop_2.x".into(), strip: false });
        assert!(Route { mount, ..route() }.checked().is_ok());
    }

    #[test]
    fn the_text_of_a_mounted_route_is_pinned() {
        let mounted = Route { mount: Some(Mount { prefix: "/shop".into(), strip: true }), ..route() };
        let text = serde_json::to_string(&mounted).unwrap();
        assert!(text.contains(r#""mount":{"prefix":"/shop","strip":true},"generation":7"#), "{text}");
        assert_eq!(serde_json::from_str::<Route>(&text).unwrap(), mounted);
    }

    #[test]
    fn the_text_of_a_refusal_is_pinned() {
        let refusal = Refusal::StaleGeneration { message: "m".into(), current: 9 };
        let text = r#"{"code":"stale_generation","message":"m","current":9}"#;
        assert_eq!(serde_json::to_string(&refusal).unwrap(), text);
    }
}
