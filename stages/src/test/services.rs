//! What the tests need beside them: a database, a cache, each in a container that they reach by its name.
//!
//! ```text
//! network ─▶ containers ─▶ each is ready ─▶ the tests …… their end ─▶ containers gone ─▶ network gone
//! ```
//!
//! Nothing here knows an outcome, so all of it goes as soon as the tests have ended, and a crash leaves only what its
//! labels name: [`remove`] finds it by them, whatever the settings say by then.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, EndpointSettings, ExecConfig, HealthStatusEnum,
    NetworkCreateRequest, NetworkingConfig,
};
use bollard::query_parameters::{ListContainersOptionsBuilder, ListNetworksOptionsBuilder};
use futures_util::TryStreamExt;
use landfall_engine::core::facts::Failure;
use landfall_engine::core::settings::{Settings, TestSettings};
use landfall_engine::ports::{Clock, Order, Output, SystemClock};
use tokio::time::Instant;

use super::known::{self, Known};
use crate::candidate::remove_container;
use crate::confinement::{self, Limits};
use crate::container::{self, Ended, Standing};
use crate::context::Context;
use crate::docker;
use crate::plan;
use crate::stopped::Stopped;

/// A database that makes its files anew on a slow disk takes half a minute.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// The pauses between two looks: a cache is there at once, a database after seconds.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How many of a service's last lines are shown when it ended under the tests.
const LINES_SHOWN: usize = 10;

/// Lists the connections of the network that a container is on. Either file may be missing.
const SOCKETS: [&str; 3] = ["cat", "/proc/net/tcp", "/proc/net/tcp6"];

/// Six thousand connections. An image may have anything for a `cat`, and what that says is held in memory.
const SOCKETS_BYTES_MAX: usize = 1024 * 1024;

/// The state of a socket that listens, in those files.
const LISTENS: &str = "0A";

/// One service of an attempt.
struct Service<'a> {
    /// What the tests call it.
    name: &'a str,
    image: &'a str,
    container: String,
    known: Option<Known>,
}

impl std::fmt::Display for Service<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the service {} ({})", self.name, self.image)
    }
}

/// Returns what the tests find their services by. What the settings say themselves comes before this.
pub(super) fn environment(settings: &TestSettings) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for (name, image) in &settings.services {
        let found = known::of(name, image, &settings.env).map(|known| known.tests).unwrap_or_default();
        for (variable, value) in found {
            // Of two databases, the first one is the app's.
            env.entry(variable).or_insert(value);
        }
    }
    env
}

/// Returns the network of the tests. None: they need no services, and are on Docker's own.
pub(super) fn network(order: &Order, settings: &TestSettings) -> Result<Option<String>, String> {
    if settings.services.is_empty() {
        return Ok(None);
    }
    plan::network_name(order).map(Some)
}

/// Starts the services, and returns once each of them is ready. What is there already is used.
pub(super) async fn start(
    context: &Context,
    order: &Order,
    settings: &Settings,
    output: &Output,
) -> Result<(), Stopped> {
    let Some(network) = network(order, &settings.test).map_err(Stopped::failed)? else { return Ok(()) };
    let services = services(order, &settings.test).map_err(Stopped::failed)?;
    ensure_network(context, order, &network).await?;
    for service in &services {
        container::ensure_image(context, service.image, &settings.registry, output).await?;
        output.line(&format!("starting {service}"));
        // Beside what serves, they may take as much as the tests themselves.
        ensure(context, order, service, Limits::of_tests(&settings.test), &network).await?;
    }
    let left = Duration::from_millis(order.deadline_ms.saturating_sub(SystemClock.now_ms()));
    let limit = READY_LIMIT.min(left);
    let until = Instant::now() + limit;
    for service in &services {
        until_ready(context, service, limit, until, output).await?;
    }
    Ok(())
}

/// Says which services ended while the tests ran: red tests may have no other cause.
pub(super) async fn tell_ended(context: &Context, order: &Order, settings: &TestSettings, output: &Output) {
    for service in services(order, settings).unwrap_or_default() {
        let Ok(Standing::Ended(ended)) = container::look(context, order, &service.container).await else {
            continue;
        };
        output.line(&format!("{service} {} while the tests ran; its last lines:", how(&ended)));
        let tail = container::tail(context, &service.container).await.unwrap_or_default();
        let from = tail.len().saturating_sub(LINES_SHOWN);
        tail[from..].iter().for_each(|line| output.line(&format!("  {line}")));
    }
}

/// Removes the services of the order's attempt, and then their network.
pub(super) async fn remove(context: &Context, order: &Order) -> Result<(), String> {
    let docker = &context.docker;
    let mut labels =
        vec![format!("{}={}", plan::LABEL_LOG, order.log_id), format!("{}={}", plan::LABEL_KEY, order.key)];
    let filters = HashMap::from([("label", labels.clone())]);
    labels.push(plan::LABEL_SERVICE.to_owned());
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&HashMap::from([("label", labels)]))
        .build();
    let listed = docker.ask(docker.api().list_containers(Some(options))).await;
    let listed = listed.map_err(|error| docker::explain("listing the services of the tests", &error))?;
    for id in listed.into_iter().filter_map(|container| container.id) {
        remove_container(context, &id, Duration::ZERO).await?;
    }
    let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
    let listed = docker.ask(docker.api().list_networks(Some(options))).await;
    let listed = listed.map_err(|error| docker::explain("listing the networks of the tests", &error))?;
    for id in listed.into_iter().filter_map(|network| network.id) {
        match docker.ask(docker.api().remove_network(&id)).await {
            Err(error) if !docker::is_not_found(&error) => {
                return Err(docker::explain("removing the network of the tests", &error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn services<'a>(order: &Order, settings: &'a TestSettings) -> Result<Vec<Service<'a>>, String> {
    let of = |(name, image): (&'a String, &'a String)| {
        let container = plan::service_name(order, name)?;
        Ok(Service { name, image, container, known: known::of(name, image, &settings.env) })
    };
    settings.services.iter().map(of).collect()
}

async fn ensure_network(context: &Context, order: &Order, name: &str) -> Result<(), Stopped> {
    let docker = &context.docker;
    match docker.ask(docker.api().inspect_network(name, None)).await {
        Ok(found) if plan::is_of(order, found.labels.as_ref()) => return Ok(()),
        Ok(_) => {
            return Err(Stopped::errored(format!(
                "the network {name} is there and not ours: remove it or rename it, then try again"
            )));
        }
        Err(error) if docker::is_not_found(&error) => {}
        Err(error) => {
            return Err(Stopped::errored(docker::explain("looking for the network of the tests", &error)));
        }
    }
    let request = NetworkCreateRequest {
        name: name.to_owned(),
        labels: Some(plan::labels(order)),
        ..NetworkCreateRequest::default()
    };
    let made = docker.ask(docker.api().create_network(request)).await;
    made.map(drop)
        .map_err(|error| Stopped::errored(docker::explain("making a network for the tests", &error)))
}

/// Makes the container of a service and starts it, or finds it running.
async fn ensure(
    context: &Context,
    order: &Order,
    service: &Service<'_>,
    limits: Limits,
    network: &str,
) -> Result<(), Stopped> {
    let name = &service.container;
    match container::look(context, order, name).await.map_err(Stopped::errored)? {
        Standing::Running => return Ok(()),
        // What a life that was cut short has written is not what a test expects.
        Standing::Created | Standing::Ended(_) => {
            container::remove(context, order, name).await.map_err(Stopped::errored)?;
        }
        Standing::Absent => {}
    }
    container::create(context, name, body(order, service, limits, network)).await?;
    match context.docker.ask(context.docker.api().start_container(name, None)).await {
        Ok(()) => Ok(()),
        Err(error) if docker::status(&error) == Some(400) => {
            Err(Stopped::failed(format!("{service} can't be started: {}", docker::message(&error))))
        }
        Err(error) => Err(Stopped::errored(docker::explain(&format!("starting {service}"), &error))),
    }
}

/// Returns the container of a service. It runs what its image says.
fn body(order: &Order, service: &Service<'_>, limits: Limits, network: &str) -> ContainerCreateBody {
    let mut labels = plan::labels(order);
    labels.insert(plan::LABEL_SERVICE.into(), service.name.to_owned());
    let endpoint =
        EndpointSettings { aliases: Some(vec![service.name.to_owned()]), ..EndpointSettings::default() };
    let mut host = confinement::host_config(limits);
    host.network_mode = Some(network.to_owned());
    ContainerCreateBody {
        image: Some(service.image.to_owned()),
        env: service.known.as_ref().map(|known| plan::environment(&known.own)),
        labels: Some(labels),
        host_config: Some(host),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(network.to_owned(), endpoint)])),
        }),
        ..ContainerCreateBody::default()
    }
}

/// Waits until a service is ready. Docker has no event for a port that listens, so it is looked for again and again.
async fn until_ready(
    context: &Context,
    service: &Service<'_>,
    limit: Duration,
    until: Instant,
    output: &Output,
) -> Result<(), Stopped> {
    let began = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let said = match look(context, service).await? {
            Readiness::Ready => {
                output.line(&format!("{service} is ready after {:.1} s", began.elapsed().as_secs_f64()));
                return Ok(());
            }
            Readiness::CantTell => {
                output.line(&format!("{service} runs; its image has no way to tell whether it is ready"));
                return Ok(());
            }
            Readiness::Ended(ended) => {
                let reason = format!("{service} {} before it was ready", how(&ended));
                return Err(with_last_lines(context, service, reason).await);
            }
            Readiness::NotYet(said) => said,
        };
        if Instant::now() + pause >= until {
            let reason = format!("{service} did not become ready within {:.0?}: {said}", limit);
            return Err(with_last_lines(context, service, reason).await);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// What one look at a service says.
#[derive(Debug, PartialEq, Eq)]
enum Readiness {
    Ready,
    /// Not yet, and what is missing.
    NotYet(String),
    Ended(Ended),
    CantTell,
}

async fn look(context: &Context, service: &Service<'_>) -> Result<Readiness, Stopped> {
    let docker = &context.docker;
    let found = docker.ask(docker.api().inspect_container(&service.container, None)).await;
    let found = found.map_err(|error| Stopped::errored(docker::explain("looking at a service", &error)))?;
    if let Standing::Ended(ended) = container::standing(&found) {
        return Ok(Readiness::Ended(ended));
    }
    if let Some(readiness) = by_health(&found) {
        return Ok(readiness);
    }
    let ports = ports(service, &found);
    if ports.is_empty() {
        return Ok(Readiness::CantTell);
    }
    let Some(sockets) = sockets(context, &service.container).await? else { return Ok(Readiness::CantTell) };
    // It may have ended under the question.
    if sockets.is_empty() {
        return Ok(Readiness::NotYet("it does not say what it listens on".into()));
    }
    if ports.iter().any(|port| listens(&sockets, *port)) {
        return Ok(Readiness::Ready);
    }
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    Ok(Readiness::NotYet(format!("nothing listens on its port {}", ports.join(" or "))))
}

/// Returns what the image's own health check says, if it has one.
fn by_health(found: &ContainerInspectResponse) -> Option<Readiness> {
    let health = found.state.as_ref()?.health.as_ref()?;
    match health.status? {
        HealthStatusEnum::EMPTY | HealthStatusEnum::NONE => None,
        HealthStatusEnum::HEALTHY => Some(Readiness::Ready),
        HealthStatusEnum::STARTING | HealthStatusEnum::UNHEALTHY => {
            let last = health.log.iter().flatten().next_back().and_then(|result| result.output.as_deref());
            let said = last.map(str::trim).filter(|said| !said.is_empty()).unwrap_or("nothing yet");
            Some(Readiness::NotYet(format!("its health check says: {}", crate::lines::clip(said, 200))))
        }
    }
}

/// Returns the ports one of which has to listen: the known one, or those that the image names.
fn ports(service: &Service<'_>, found: &ContainerInspectResponse) -> Vec<u16> {
    if let Some(known) = &service.known {
        return vec![known.port];
    }
    let exposed = found.config.as_ref().and_then(|config| config.exposed_ports.as_ref());
    exposed.into_iter().flatten().filter_map(|port| port.strip_suffix("/tcp")?.parse().ok()).collect()
}

/// Returns the list of a container's sockets. None: its image has nothing to read it with.
async fn sockets(context: &Context, container: &str) -> Result<Option<String>, Stopped> {
    let (docker, api) = (&context.docker, context.docker.api());
    let no_answer =
        |error: Error| Stopped::errored(docker::explain("asking a service for its ports", &error));
    let config = ExecConfig {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(SOCKETS.map(str::to_owned).to_vec()),
        ..ExecConfig::default()
    };
    let exec = match docker.ask(api.create_exec(container, config)).await {
        Ok(exec) => exec.id,
        // It does not run any more, which the next look says better.
        Err(error) if docker::is_conflict(&error) => return Ok(Some(String::new())),
        Err(error) => return Err(no_answer(error)),
    };
    let mut said = String::new();
    match docker.ask(api.start_exec(&exec, None::<StartExecOptions>)).await {
        Ok(StartExecResults::Attached { mut output, .. }) => {
            let reading = async {
                while let Some(piece) = output.try_next().await? {
                    if let LogOutput::StdOut { message } = piece {
                        said.push_str(&String::from_utf8_lossy(&message));
                    }
                    if said.len() > SOCKETS_BYTES_MAX {
                        break;
                    }
                }
                Ok(())
            };
            docker.ask(reading).await.map_err(no_answer)?;
        }
        Ok(StartExecResults::Detached) => {}
        Err(error) if docker::status(&error).is_some() => {}
        Err(error) => return Err(no_answer(error)),
    }
    if said.len() > SOCKETS_BYTES_MAX {
        return Ok(None);
    }
    if said.contains("local_address") {
        return Ok(Some(said));
    }
    let ended = docker.ask(api.inspect_exec(&exec)).await.map_err(no_answer)?;
    // The exit codes for a program that is not there, or can't be run.
    let is_missing = matches!(ended.exit_code, Some(126 | 127));
    Ok((!is_missing).then(String::new))
}

/// Tells whether somebody but the container itself is heard on a port. A set-up that listens on the loopback alone, as
/// databases do before they are ready, is not meant for others.
fn listens(sockets: &str, port: u16) -> bool {
    let is_open = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, state) = (words.next()?, words.nth(1)?);
        let (address, at) = local.split_once(':')?;
        let is_loopback = match address.len() {
            8 => address.ends_with("7F"),
            _ => {
                address.ends_with("7F") && address.contains("FFFF0000")
                    || address.ends_with("000000000001000000")
            }
        };
        Some(state == LISTENS && !is_loopback && u16::from_str_radix(at, 16) == Ok(port))
    };
    sockets.lines().any(|line| is_open(line).unwrap_or(false))
}

fn how(ended: &Ended) -> String {
    let oom = if ended.oom { ", out of memory" } else { "" };
    format!("ended with exit code {}{oom}", ended.exit_code)
}

async fn with_last_lines(context: &Context, service: &Service<'_>, reason: String) -> Stopped {
    let tail = container::tail(context, &service.container).await.unwrap_or_default();
    let reason = match tail.iter().rev().find(|line| !line.trim().is_empty()) {
        Some(last) => format!("{reason}; its last line: {}", crate::lines::clip(last.trim(), 300)),
        None => format!("{reason}; it printed nothing"),
    };
    Stopped::Failed(Box::new(Failure::new(reason).with_tail(tail)))
}

#[cfg(test)]
#[path = "services_tests.rs"]
mod tests;
