//! What everything is called and how it is set up: names, labels, tags, ports, containers.
//!
//! Pure functions, so that what is sent to Docker can be read and tested as text.
//!
//! **Invariant:** whatever comes from outside and ends in a URL goes through a check here first. Docker's
//! API takes names unescaped, and `../images` would reach another endpoint.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, PortBinding, RestartPolicy, RestartPolicyNameEnum,
};
use landfall_engine::core::run::RunId;
use landfall_engine::core::settings::Settings;
use landfall_engine::ports::Order;
use uuid::Uuid;

use crate::confinement::{self, Limits};

/// Whose object it is: the id of the log. Nothing without it is ever touched.
pub(crate) const LABEL_LOG: &str = "landfall.log";
/// The run that made it.
pub(crate) const LABEL_RUN: &str = "landfall.run";
/// The key of the attempt that made it.
pub(crate) const LABEL_KEY: &str = "landfall.key";
/// The app it belongs to.
pub(crate) const LABEL_APP: &str = "landfall.app";
/// The environment it belongs to.
pub(crate) const LABEL_ENV: &str = "landfall.env";
/// The stage that made it.
pub(crate) const LABEL_STAGE: &str = "landfall.stage";
/// The commit it was made from.
pub(crate) const LABEL_COMMIT: &str = "landfall.commit";
/// What the tests call a service that runs beside them.
pub(crate) const LABEL_SERVICE: &str = "landfall.service";
/// The loopback port of a candidate, readable without asking for the whole container.
pub(crate) const LABEL_PORT: &str = "landfall.port";
/// The commit, as other tools look for it.
const LABEL_REVISION: &str = "org.opencontainers.image.revision";

/// Docker itself sets no limit; a name stands in a URL, in tables and in log lines.
const NAME_BYTES_MAX: usize = 100;

/// What the DNS takes between two dots.
const HOST_NAME_BYTES_MAX: usize = 63;

/// Ports for candidates: below those that Linux hands out by itself (32768 and up).
const PORT_FIRST: u16 = 20_000;
const PORT_COUNT: u16 = 10_000;

/// Output that is kept for each container: enough to read it again after a crash, too little to fill a disk.
const LOG_MAX_SIZE: &str = "20m";
const LOG_MAX_FILES: &str = "2";

/// Returns the settings of the order's run, which every stage after the checkout needs.
pub(crate) fn settings(order: &Order) -> Result<&Settings, String> {
    order.run.settings.as_deref().ok_or_else(|| {
        format!("run {} has no settings: its checkout was not concluded; start a new run", order.run.id)
    })
}

/// Refuses a name that would mean something else in a URL, a container's name or an image's.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let ends_plain = !name.starts_with('-') && !name.ends_with('-');
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain) && ends_plain {
        return Ok(());
    }
    Err(format!(
        "{what} is {name:?}: expected 1 to {NAME_BYTES_MAX} of a-z, 0-9 and '-', with a letter or digit at both ends"
    ))
}

/// Returns the name of the candidate's container.
pub(crate) fn candidate_name(order: &Order) -> Result<String, String> {
    let service = service(order)?;
    check_name("the environment", &order.run.lane.env)?;
    let first = format!("landfall-{service}-{}-{}", order.run.lane.env, order.run.id.short());
    Ok(match order.attempt {
        0 | 1 => first,
        attempt => format!("{first}-{attempt}"),
    })
}

/// Returns the name of a container that does one thing for an attempt and ends: `landfall-<what>-…`.
pub(crate) fn one_shot_name(what: &str, order: &Order) -> Result<String, String> {
    let service = service(order)?;
    Ok(format!("landfall-{what}-{service}-{}-{}", order.run.id.short(), order.attempt))
}

/// Returns the name of the network on which an attempt's tests and their services are alone.
pub(crate) fn network_name(order: &Order) -> Result<String, String> {
    one_shot_name("network", order)
}

/// Returns the name of the container of a service beside the tests.
pub(crate) fn service_name(order: &Order, name: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    let begins_plain = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !begins_plain || name.len() > HOST_NAME_BYTES_MAX || !name.bytes().all(plain) {
        return Err(format!(
            "a test service is called {name:?}: expected 1 to {HOST_NAME_BYTES_MAX} of a-z, 0-9, '-' and '_', with a \
             letter or digit first"
        ));
    }
    Ok(format!("{}-{name}", one_shot_name("service", order)?))
}

fn service(order: &Order) -> Result<&str, String> {
    let service = settings(order)?.service.as_str();
    check_name("`service`", service)?;
    Ok(service)
}

/// Returns the labels of everything that an attempt makes.
pub(crate) fn labels(order: &Order) -> HashMap<String, String> {
    let run = &order.run;
    let labels = [
        (LABEL_LOG, order.log_id.to_string()),
        (LABEL_RUN, run.id.to_string()),
        (LABEL_KEY, order.key.to_string()),
        (LABEL_APP, run.lane.app.clone()),
        (LABEL_ENV, run.lane.env.clone()),
        (LABEL_STAGE, order.stage.name().to_owned()),
        (LABEL_COMMIT, run.commit().sha.clone()),
    ];
    labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Returns the labels of the image that an attempt builds.
pub(crate) fn image_labels(order: &Order) -> HashMap<String, String> {
    let mut labels = labels(order);
    labels.insert(LABEL_REVISION.into(), order.run.commit().sha.clone());
    labels
}

/// Returns the labels of what runs share, such as a cache.
pub(crate) fn shared_labels(log_id: Uuid) -> HashMap<String, String> {
    HashMap::from([(LABEL_LOG.to_owned(), log_id.to_string())])
}

/// Tells whether labels say that an object was made by this very attempt.
pub(crate) fn is_of(order: &Order, labels: Option<&HashMap<String, String>>) -> bool {
    let has =
        |name: &str, value: &str| labels.and_then(|labels| labels.get(name)).is_some_and(|v| v == value);
    has(LABEL_LOG, &order.log_id.to_string()) && has(LABEL_KEY, order.key.as_str())
}

/// An image in a registry, in parts that were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageName {
    /// `host:port/path`: what Docker calls the repository.
    pub(crate) repository: String,
    /// Host and port of the registry.
    pub(crate) host: String,
    /// The repository as the registry knows it, without the host.
    pub(crate) path: String,
    /// The tag.
    pub(crate) tag: String,
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

/// Returns the name of the run's image: `server/service:run-<short>`, a tag that is never used again.
pub(crate) fn image_name(order: &Order) -> Result<ImageName, String> {
    let server = &settings(order)?.registry.server;
    let repository = format!("{server}/{}", service(order)?);
    let (host, path) = split_repository(&repository)?;
    let tag = format!("run-{}", order.run.id.short());
    Ok(ImageName { host: host.to_owned(), path: path.to_owned(), tag, repository: repository.clone() })
}

/// Splits `host:port/path` and refuses what is not plainly that.
pub(crate) fn split_repository(repository: &str) -> Result<(&str, &str), String> {
    let wrong = || {
        format!(
            "the image {repository:?} has no usable name: `[registry] server` is written as host or host:port \
             (with /path where the registry has folders), without http://"
        )
    };
    let (host, path) = repository.split_once('/').ok_or_else(wrong)?;
    let (name, port) = host.split_once(':').unwrap_or((host, "80"));
    let host_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    let host_is_plain = !name.is_empty() && name.bytes().all(host_byte) && name.as_bytes()[0] != b'-';
    let port_is_plain = port.parse::<u16>().is_ok_and(|port| port > 0);
    // Docker takes the first part for a host only when it looks like one.
    let is_host = host.contains(['.', ':']) || host == "localhost";
    let path_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
    let part_is_plain = |part: &str| {
        let ends = [part.bytes().next(), part.bytes().next_back()];
        let plain_end = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        ends.into_iter().all(plain_end) && part.bytes().all(path_byte) && !part.contains("..")
    };
    let fits = repository.len() <= 255;
    if fits && host_is_plain && port_is_plain && is_host && path.split('/').all(part_is_plain) {
        return Ok((host, path));
    }
    Err(wrong())
}

/// Refuses what is not the digest of an image.
pub(crate) fn check_digest(digest: &str) -> Result<(), String> {
    let hex = digest.strip_prefix("sha256:").unwrap_or_default();
    if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Ok(());
    }
    Err(format!("{digest:?} is no image digest: expected sha256: and 64 hex digits"))
}

/// Returns the loopback ports for the run's candidate, in the order in which they are tried.
///
/// The same for every attempt: whoever comes back after a crash looks in the same places.
pub(crate) fn ports(run: RunId) -> impl Iterator<Item = u16> {
    // The end of a UUID v7 is random.
    let [.., high, low] = *run.0.as_bytes();
    let start = u16::from_be_bytes([high, low]) % PORT_COUNT;
    (0..PORT_COUNT).map(move |step| PORT_FIRST + (start + step) % PORT_COUNT)
}

/// Returns the container of a candidate: `image` by digest, reachable at `port` of this machine alone.
///
/// `env` is complete but for what is the same in every app; secrets stand in it and nowhere else.
pub(crate) fn candidate(
    order: &Order,
    settings: &Settings,
    image: &str,
    env: &BTreeMap<String, String>,
    port: u16,
) -> ContainerCreateBody {
    let inside = format!("{}/tcp", settings.proxy.app_port);
    let binding = PortBinding { host_ip: Some("127.0.0.1".into()), host_port: Some(port.to_string()) };
    let mut labels = labels(order);
    labels.insert(LABEL_PORT.into(), port.to_string());
    let mut host = HostConfig {
        port_bindings: Some(HashMap::from([(inside.clone(), Some(vec![binding]))])),
        // A Docker that comes back after its own kill -9 stops what it finds running and takes that for a
        // person's stop, so "unless stopped" would leave the app down.
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::ALWAYS),
            maximum_retry_count: None,
        }),
        ..confinement::host_config(Limits::of_app(&settings.deploy))
    };
    confinement::make_read_only(&mut host, settings);
    ContainerCreateBody {
        image: Some(image.to_owned()),
        env: Some(environment(env)),
        labels: Some(labels),
        exposed_ports: Some(vec![inside]),
        cmd: settings
            .web
            .command
            .as_deref()
            .map(|command| vec!["/bin/sh".into(), "-c".into(), crate::detect::exec(command)]),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

/// Returns how the output of our containers is kept: readable again after a crash, and bounded.
pub(crate) fn log_config() -> HostConfigLogConfig {
    let options = [("max-size", LOG_MAX_SIZE), ("max-file", LOG_MAX_FILES)];
    HostConfigLogConfig {
        typ: Some("json-file".into()),
        config: Some(options.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
    }
}

/// Returns variables in the form that Docker takes.
pub(crate) fn environment(variables: &BTreeMap<String, String>) -> Vec<String> {
    variables.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
