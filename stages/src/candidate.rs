//! The container of a release: found, made, started, removed.
//!
//! Its port is chosen when it is made and never changes, so the proxy can be told an address that outlives
//! restarts of the container and of Docker.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
    StopContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use futures_util::StreamExt;
use landfall_engine::core::settings::Settings;
use landfall_engine::ports::{Order, Output};

use crate::container;
use crate::context::Context;
use crate::docker::{explain, is_conflict, is_not_found, message, status};
use crate::plan;
use crate::secret_files::SecretFiles;
use crate::stopped::Stopped;

/// So many taken ports in a row mean that something else is wrong.
const PORTS_TRIED_MAX: usize = 50;

/// Docker is given this much more than the grace before a stop counts as not answered.
const STOP_SLACK: Duration = Duration::from_secs(30);

/// A container that is being removed is gone after its files are deleted.
const REMOVAL_LIMIT: Duration = Duration::from_secs(30);

/// A container as Docker knows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) labels: HashMap<String, String>,
    /// None: it was made without a port, so not by us.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) status: Option<ContainerStateStatusEnum>,
    pub(crate) exit_code: i64,
    pub(crate) oom_killed: bool,
    /// How often Docker started it again after an exit of its own. Docker counts from 0 again whenever it is started
    /// otherwise: by somebody, or with Docker itself.
    pub(crate) restarts: i64,
    /// When it was last started, in milliseconds since 1970.
    pub(crate) started_ms: u64,
    /// Whether it ended before, and was started again.
    pub(crate) has_ended: bool,
}

impl Found {
    /// Tells whether it runs and has not been restarted behind our back.
    pub(crate) fn is_running(&self) -> bool {
        self.status == Some(ContainerStateStatusEnum::RUNNING)
    }

    /// Tells whether it was made and never started.
    pub(crate) fn is_new(&self) -> bool {
        self.status == Some(ContainerStateStatusEnum::CREATED)
    }

    fn of(name: &str, found: ContainerInspectResponse) -> Self {
        let state = found.state.unwrap_or_default();
        Self {
            name: name.to_owned(),
            id: found.id.unwrap_or_default(),
            labels: found.config.and_then(|config| config.labels).unwrap_or_default(),
            address: found.host_config.and_then(address_in),
            status: state.status,
            exit_code: state.exit_code.unwrap_or(0),
            oom_killed: state.oom_killed.unwrap_or(false),
            restarts: found.restart_count.unwrap_or(0),
            started_ms: state.started_at.and_then(|at| since_1970_ms(&at)).unwrap_or(0),
            has_ended: state.finished_at.and_then(|at| since_1970_ms(&at)).is_some(),
        }
    }
}

/// Reads a time of Docker's. Of what did not happen yet it says that it happened in the year 1.
fn since_1970_ms(at: &str) -> Option<u64> {
    let since = humantime::parse_rfc3339(at).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

fn address_in(host: HostConfig) -> Option<SocketAddr> {
    let bindings = host.port_bindings?.into_values().flatten().flatten();
    let ports = bindings.filter_map(|binding| binding.host_port?.parse::<u16>().ok());
    ports.filter(|port| *port > 0).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).next()
}

/// Returns the container of this name.
pub(crate) async fn find(context: &Context, name: &str) -> Result<Option<Found>, String> {
    plan::check_name("the name of a container", name)?;
    let docker = &context.docker;
    match docker.ask(docker.api().inspect_container(name, None)).await {
        Ok(found) => Ok(Some(Found::of(name, found))),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(explain(&format!("looking for the container {name}"), &error)),
    }
}

/// How the start of a container went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// It runs, or did already.
    Started,
    /// Somebody else has its port.
    PortTaken,
}

/// Makes and starts the order's candidate on the first port that is free.
pub(crate) async fn create(
    context: &Context,
    order: &Order,
    settings: &Settings,
    name: &str,
    env: &BTreeMap<String, String>,
    output: &Output,
) -> Result<Found, Stopped> {
    let image = image_of(order)?;
    let files = SecretFiles::of(context, settings, settings.deploy.read_only)?;
    container::ensure_image(context, &image, &settings.registry, output).await?;
    let promised = promised_ports(context, order).await.map_err(Stopped::Errored)?;
    let free = plan::ports(order.run.id).filter(|port| !promised.contains(port) && is_free(*port));
    for port in free.take(PORTS_TRIED_MAX) {
        let body = plan::candidate(order, settings, &image, env, port);
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let docker = &context.docker;
        match docker.ask(docker.api().create_container(Some(options), body)).await {
            Ok(_) => {}
            // Another try of the same attempt was faster.
            Err(error) if is_conflict(&error) => return adopt(context, order, name, &files).await,
            Err(error) => return Err(refuse("making the container of the candidate", &error)),
        }
        files.lay_into(context, name).await?;
        match start(context, name).await? {
            Start::Started => return found(context, name).await,
            Start::PortTaken => {
                output.line(&format!("port {port} was taken in the meantime; trying another"));
                remove_container(context, name, Duration::ZERO).await.map_err(Stopped::Errored)?;
            }
        }
    }
    Err(Stopped::errored(format!("no free port for the candidate in {PORTS_TRIED_MAX} tries")))
}

/// Makes and starts a container for the order at a port that others know already.
pub(crate) async fn create_at(
    context: &Context,
    order: &Order,
    settings: &Settings,
    name: &str,
    env: &BTreeMap<String, String>,
    port: u16,
    output: &Output,
) -> Result<(), Stopped> {
    let image = image_of(order)?;
    let files = SecretFiles::of(context, settings, settings.deploy.read_only)?;
    container::ensure_image(context, &image, &settings.registry, output).await?;
    let body = plan::candidate(order, settings, &image, env, port);
    let options = CreateContainerOptionsBuilder::default().name(name).build();
    let docker = &context.docker;
    match docker.ask(docker.api().create_container(Some(options), body)).await {
        Ok(_) => {}
        // Another try was faster.
        Err(error) if is_conflict(&error) => {}
        Err(error) => return Err(refuse("making the container", &error)),
    }
    files.lay_into(context, name).await?;
    match start(context, name).await? {
        Start::Started => Ok(()),
        Start::PortTaken => Err(Stopped::errored(format!("its port {port} was taken by something else"))),
    }
}

/// Takes a container that is there already for the order's own, and starts it if need be.
async fn adopt(context: &Context, order: &Order, name: &str, files: &SecretFiles) -> Result<Found, Stopped> {
    let container = found(context, name).await?;
    if !plan::is_of(order, Some(&container.labels)) {
        return Err(foreign(name));
    }
    if container.is_new() {
        files.lay_into(context, name).await?;
        if start(context, name).await? == Start::PortTaken {
            return Err(Stopped::errored(format!(
                "the port of the container {name} was taken in the meantime"
            )));
        }
    }
    found(context, name).await
}

/// Says that a container with our name is not ours.
pub(crate) fn foreign(name: &str) -> Stopped {
    Stopped::failed(format!(
        "there is a container {name} that this run did not make: see `docker inspect {name}`, and remove or rename it"
    ))
}

async fn found(context: &Context, name: &str) -> Result<Found, Stopped> {
    let container = find(context, name).await.map_err(Stopped::Errored)?;
    container
        .ok_or_else(|| Stopped::errored(format!("the container {name} is gone: did somebody remove it?")))
}

/// Starts a container. One that runs already is left as it is.
pub(crate) async fn start(context: &Context, name: &str) -> Result<Start, Stopped> {
    let docker = &context.docker;
    match docker.ask(docker.api().start_container(name, None)).await {
        Ok(()) => Ok(Start::Started),
        Err(error) if is_port_taken(&error) => Ok(Start::PortTaken),
        Err(error) => Err(refuse("starting the candidate", &error)),
    }
}

fn is_port_taken(error: &Error) -> bool {
    let said = message(error);
    status(error) == Some(500)
        && (said.contains("port is already allocated") || said.contains("address already in use"))
}

/// Docker answers 400 when what is asked for makes no sense: no such command, no such user.
fn refuse(doing: &str, error: &Error) -> Stopped {
    if status(error) == Some(400) {
        return Stopped::failed(format!("{}; check the image's command and user", explain(doing, error)));
    }
    Stopped::errored(explain(doing, error))
}

fn image_of(order: &Order) -> Result<String, Stopped> {
    let image = order.run.image.as_ref().ok_or_else(|| {
        Stopped::failed(
            "the run has no image in the registry, so there is nothing to deploy; start a new run",
        )
    })?;
    plan::split_repository(&image.repository).map_err(Stopped::failed)?;
    plan::check_digest(&image.digest).map_err(Stopped::failed)?;
    Ok(image.by_digest())
}

/// Returns the ports of our containers that do not run and may be started again.
async fn promised_ports(context: &Context, order: &Order) -> Result<BTreeSet<u16>, String> {
    let ours = format!("{}={}", plan::LABEL_LOG, order.log_id);
    let filters = HashMap::from([("label", vec![ours])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let docker = &context.docker;
    let listed = docker.ask(docker.api().list_containers(Some(options))).await;
    let listed = listed.map_err(|error| explain("listing our containers", &error))?;
    let labels = listed.into_iter().filter_map(|container| container.labels);
    Ok(labels.filter_map(|labels| labels.get(plan::LABEL_PORT)?.parse().ok()).collect())
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Stops a container, with `grace` for it to end by itself, and removes it with the volumes that only it knows.
///
/// One that is not there is removed already.
pub(crate) async fn remove_container(context: &Context, name: &str, grace: Duration) -> Result<(), String> {
    let api = context.docker.api();
    if !grace.is_zero() {
        let seconds = i32::try_from(grace.as_secs().max(1)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        let stopping = tokio::time::timeout(grace + STOP_SLACK, api.stop_container(name, Some(options)));
        match stopping.await.unwrap_or(Err(Error::RequestTimeoutError)) {
            Err(error) if is_not_found(&error) => return Ok(()),
            Err(error) => return Err(explain(&format!("stopping the container {name}"), &error)),
            Ok(()) => {}
        }
    }
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    match context.docker.ask(api.remove_container(name, Some(options))).await {
        Ok(()) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        // Somebody else is at it; the name is free once that has ended.
        Err(error) if is_conflict(&error) => until_removed(context, name).await,
        Err(error) => Err(explain(&format!("removing the container {name}"), &error)),
    }
}

async fn until_removed(context: &Context, name: &str) -> Result<(), String> {
    let options = WaitContainerOptionsBuilder::default().condition("removed").build();
    let mut removed = std::pin::pin!(context.docker.api().wait_container(name, Some(options)));
    match tokio::time::timeout(REMOVAL_LIMIT, removed.next()).await {
        Err(_) => {
            Err(format!("the container {name} is being removed, and was not gone in {REMOVAL_LIMIT:?}"))
        }
        Ok(Some(Err(error))) if !is_gone(&error) => {
            Err(explain(&format!("waiting for the container {name} to be removed"), &error))
        }
        Ok(_) => Ok(()),
    }
}

/// An exit code other than 0 comes as an error, and is an end like any other.
fn is_gone(error: &Error) -> bool {
    is_not_found(error) || matches!(error, Error::DockerContainerWaitError { .. })
}
