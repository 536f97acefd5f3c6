//! Starts the candidate beside the live version and waits until it is healthy. No user sees it yet.
//!
//! ```text
//! absent ──create──▶ created ──start──▶ running ──2xx or 3xx──▶ healthy
//!    ▲                                      └──exit, or too late──▶ red: the last lines are the evidence
//!    └───────────────── undo: stop and remove ◀──┘
//! ```
//!
//! **The container that has the traffic is never touched here**, whoever made it: undo asks the proxy first.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use landfall_engine::core::command::Outcome;
use landfall_engine::core::event::Origin;
use landfall_engine::core::facts::{Candidate, Facts, Failure};
use landfall_engine::core::settings::{ProxySettings, Settings};
use landfall_engine::ports::{Order, Output, Probe};

use crate::candidate::{self, Found, Start, remove_container};
use crate::container;
use crate::context::Context;
use crate::health::{self, Unhealthy};
use crate::plan;
use crate::proxy::{ProxyError, Route};
use crate::stopped::Stopped;

/// How long reading the app's last lines may take; a red deploy without them is still red.
const TAIL_LIMIT: Duration = Duration::from_secs(2);

/// A candidate has no users, so it gets no more than Docker's own grace to end.
const GRACE_MAX: Duration = Duration::from_secs(10);

/// Starts the candidate, or finds it started, and waits until it is healthy.
pub(crate) async fn run(context: &Context, order: &Order, output: &Output) -> Outcome {
    match try_run(context, order, output).await {
        Ok(candidate) => Outcome::Succeeded(Facts::Deploy(candidate)),
        Err(stopped) => stopped.into(),
    }
}

async fn try_run(context: &Context, order: &Order, output: &Output) -> Result<Candidate, Stopped> {
    let settings = plan::settings(order).map_err(Stopped::failed)?;
    let name = plan::candidate_name(order).map_err(Stopped::failed)?;
    host_is_free(context, order, settings).await?;
    if let Some(warm) = find_warm(context, order, output).await? {
        return wait(context, order, settings, warm, health::now_ms(), output).await;
    }
    let there = candidate::find(context, &name).await.map_err(Stopped::Errored)?;
    let container = match there {
        Some(container) if !plan::is_of(order, Some(&container.labels)) => {
            return Err(candidate::foreign(&name));
        }
        Some(container) if container.is_running() => container,
        // Made and not started, or ended: nobody waits for it, and a new one begins with a free port.
        Some(_) => {
            remove_container(context, &name, Duration::ZERO).await.map_err(Stopped::Errored)?;
            create(context, order, settings, &name, output).await?
        }
        None => create(context, order, settings, &name, output).await?,
    };
    let started_ms = container.started_ms;
    wait(context, order, settings, container, started_ms, output).await
}

async fn create(
    context: &Context,
    order: &Order,
    settings: &Settings,
    name: &str,
    output: &Output,
) -> Result<Found, Stopped> {
    let env = environment(context, order, settings)?;
    let container = candidate::create(context, order, settings, name, &env, output).await?;
    output.line(&format!("started {name}{}", at(&container)));
    Ok(container)
}

fn at(container: &Found) -> String {
    container.address.map_or(String::new(), |address| format!(" at {address}"))
}

/// Returns what the app finds in its environment. What Landfall promises wins over what the settings say.
pub(crate) fn environment(
    context: &Context,
    order: &Order,
    settings: &Settings,
) -> Result<BTreeMap<String, String>, Stopped> {
    let mut env = settings.env.clear.clone();
    for name in &settings.env.secret {
        let value = context.secrets.get(name);
        let value = value.map_err(|missing| Stopped::failed(format!("`[env] secret`: {missing}")))?;
        env.insert(name.clone(), value.to_owned());
    }
    env.insert("PORT".into(), settings.proxy.app_port.to_string());
    env.insert("GIT_REV".into(), order.run.commit().sha.clone());
    env.insert("LANDFALL_RUN".into(), order.run.id.to_string());
    Ok(env)
}

/// Refuses early what the switch would refuse late.
async fn host_is_free(context: &Context, order: &Order, settings: &Settings) -> Result<(), Stopped> {
    let routes = context.proxy.routes().await.map_err(|error| Stopped::Errored(proxy_says(&error)))?;
    let lane = &order.run.lane;
    let ours = Route {
        app: lane.app.clone(),
        env: lane.env.clone(),
        host: settings.proxy.host.clone(),
        mount: settings.proxy.mount.clone(),
        ..Route::default()
    };
    let holder = routes.iter().map(|status| &status.route).find(|route| {
        route.target.is_some()
            && route.answers_for_the_same_as(&ours)
            && (&route.app, &route.env) != (&lane.app, &lane.env)
    });
    let Some(holder) = holder else { return Ok(()) };
    let by = format!("{}/{}", holder.app, holder.env);
    if holder.app == lane.app {
        let host =
            settings.proxy.host.as_ref().map_or("every host".to_owned(), |host| format!("the host {host}"));
        return Err(Stopped::failed(format!(
            "{host} belongs to {by}, which is another environment of this app: give one of the two a host of its own, \
             as `[env.{}.proxy] host = \"…\"`",
            lane.env
        )));
    }
    Err(Stopped::failed(match &settings.proxy {
        ProxySettings { mount: Some(_), .. } => {
            let place = ours.answers_for();
            format!("{place} belongs to {by}: give this app another `[proxy] host` or `path_prefix`")
        }
        ProxySettings { host: Some(host), .. } => {
            format!("the host {host} belongs to {by}: give this app another `[proxy] host`")
        }
        ProxySettings { host: None, .. } => {
            format!("{by} answers for every host without an app: give this app a `[proxy] host`")
        }
    }))
}

fn proxy_says(error: &ProxyError) -> String {
    use std::error::Error as _;
    match error.source() {
        Some(source) => format!("asking the traffic proxy for its routes: {error}: {source}"),
        None => format!("asking the traffic proxy for its routes: {error}"),
    }
}

/// Returns the container of the release that is to be live again, running, when it is still there.
async fn find_warm(context: &Context, order: &Order, output: &Output) -> Result<Option<Found>, Stopped> {
    let Origin::Release { release, .. } = &order.run.origin else { return Ok(None) };
    let name = &release.candidate.container;
    let Some(found) = candidate::find(context, name).await.map_err(Stopped::Errored)? else {
        return Ok(None);
    };
    let has = |label: &str, value: String| found.labels.get(label) == Some(&value);
    let is_that_one = has(plan::LABEL_LOG, order.log_id.to_string())
        && found.id == release.candidate.container_id
        && found.address == Some(release.candidate.address);
    if !is_that_one {
        return Ok(None);
    }
    if !found.is_running() && candidate::start(context, name).await? == Start::PortTaken {
        output.line(&format!("the port of {name} was taken in the meantime; making a new container"));
        return Ok(None);
    }
    output.line(&format!("{name} is still there{}", at(&found)));
    candidate::find(context, name).await.map_err(Stopped::Errored)
}

/// Waits until a started container is healthy. `since_ms` is when its time began to run.
async fn wait(
    context: &Context,
    order: &Order,
    settings: &Settings,
    container: Found,
    since_ms: u64,
    output: &Output,
) -> Result<Candidate, Stopped> {
    let Some(address) = container.address else {
        return Err(Stopped::failed(format!("the container {} has no port of its own", container.name)));
    };
    let deadline_ms = health::deadline_ms(settings, since_ms, order.deadline_ms);
    match health::until_healthy(context, settings, &container, address, deadline_ms).await {
        Ok(()) => {
            let candidate = facts(&container, address, since_ms);
            output.line(&format!("healthy after {} ms", candidate.healthy_after_ms));
            Ok(candidate)
        }
        Err(Unhealthy::NoAnswer(reason)) => Err(Stopped::Errored(reason)),
        Err(Unhealthy::Red(reason)) => {
            let mut failure = evidence(context, &container.name, reason).await;
            output.line(&failure.reason);
            // Before they are indented: a key of several lines is known by its lines as they are.
            failure.tail = context.secrets.masker(Some(settings)).mask_lines(&failure.tail);
            if let Some(name) = crate::evidence::missing_variable(&failure.tail) {
                let app = &order.run.lane.app;
                failure.reason = format!(
                    "{}; it asks for the variable {name}, which it is not given: `landfall secret set {app} {name}` and \
                     `secret = [\"{name}\"]` below `[env]`, or `clear = {{ {name} = \"…\" }}` there",
                    failure.reason
                );
            }
            failure.tail.iter().for_each(|line| output.line(&format!("    {line}")));
            Err(Stopped::Failed(Box::new(failure)))
        }
    }
}

fn facts(container: &Found, address: SocketAddr, since_ms: u64) -> Candidate {
    Candidate {
        container: container.name.clone(),
        container_id: container.id.clone(),
        address,
        healthy_after_ms: health::now_ms().saturating_sub(since_ms),
    }
}

async fn evidence(context: &Context, name: &str, reason: String) -> Failure {
    let reading = tokio::time::timeout(TAIL_LIMIT, container::tail(context, name));
    match reading.await {
        Ok(Ok(tail)) if tail.is_empty() => Failure::new(format!("{reason}; it printed nothing")),
        Ok(Ok(tail)) => Failure::new(reason).with_tail(tail),
        Ok(Err(_)) | Err(_) => Failure::new(format!("{reason}; its last lines could not be read")),
    }
}

/// Says how the candidate of this attempt stands.
pub(crate) async fn probe(context: &Context, order: &Order) -> Result<Probe, String> {
    let (settings, name) = match (plan::settings(order), plan::candidate_name(order)) {
        (Ok(settings), Ok(name)) => (settings, name),
        (Err(reason), _) | (_, Err(reason)) => return Ok(Probe::Done(Outcome::failed(reason))),
    };
    let Some(container) = candidate::find(context, &name).await? else { return Ok(Probe::NotStarted) };
    if !plan::is_of(order, Some(&container.labels)) {
        return Ok(Probe::Unknown(candidate::foreign(&name).reason().to_owned()));
    }
    let Some(address) = container.address.filter(|_| !container.is_new()) else {
        return Ok(Probe::NotStarted);
    };
    if !container.is_running() || container.restarts > 0 {
        let reason = health::ended(&container, None);
        let failure = evidence(context, &name, reason).await;
        return Ok(Probe::Done(Outcome::Failed(failure)));
    }
    let limit = health::probe_limit(&settings.proxy.healthcheck);
    Ok(match health::probe(context, settings, address, limit).await {
        Ok(()) => {
            Probe::Done(Outcome::Succeeded(Facts::Deploy(facts(&container, address, container.started_ms))))
        }
        Err(_) => Probe::Running,
    })
}

/// Goes on waiting for a candidate that an earlier engine started.
pub(crate) async fn attach(context: &Context, order: &Order, output: &Output) -> Outcome {
    run(context, order, output).await
}

/// Stops and removes the candidate of this attempt. A container that was there before is left to the sweep.
pub(crate) async fn undo(context: &Context, order: &Order) -> Result<(), String> {
    let Ok(name) = plan::candidate_name(order) else { return Ok(()) };
    let Some(container) = candidate::find(context, &name).await? else { return Ok(()) };
    if !plan::is_of(order, Some(&container.labels)) {
        return Ok(());
    }
    if has_traffic(context, container.address).await? {
        return Err(format!("the container {name} has the app's traffic, so it is not removed"));
    }
    let drain_ms = plan::settings(order).map_or(0, |settings| settings.deploy.drain_ms);
    let grace = Duration::from_millis(drain_ms).clamp(Duration::from_secs(1), GRACE_MAX);
    remove_container(context, &name, grace).await
}

/// Tells whether requests of users reach this address, or still may.
pub(crate) async fn has_traffic(context: &Context, address: Option<SocketAddr>) -> Result<bool, String> {
    let Some(address) = address else { return Ok(false) };
    let routes = context.proxy.routes().await.map_err(|error| proxy_says(&error))?;
    Ok(routes.iter().any(|status| {
        status.route.target == Some(address) || status.targets.iter().any(|target| target.target == address)
    }))
}
