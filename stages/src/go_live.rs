//! Switches the traffic to the candidate: one compare-and-set in the proxy, durable before it is answered.
//!
//! The generation was promised to this run when it entered its lane. A repeated switch is harmless, and
//! one that comes too late is refused. **There is no undo here**: switching back is the rollback's.

use landfall_engine::core::command::Outcome;
use landfall_engine::core::facts::Facts;
use landfall_engine::core::facts::Switched;
use landfall_engine::core::run::LaneEntry;
use landfall_engine::ports::Order;
use landfall_engine::ports::Output;
use landfall_engine::ports::Probe;

use crate::context::Context;
use crate::former_route;
use crate::plan;
use crate::proxy::ProxyError;
use crate::proxy::Route;
use crate::public_address;
use crate::public_address::explain;

/// Switches, or finds it done.
pub(crate) async fn run(context: &Context, order: &Order, output: &Output) -> Outcome {
    let (route, entry) = match (route(order), entry(order)) {
        (Ok(route), Ok(entry)) => (route, entry),
        (Err(reason), _) | (_, Err(reason)) => return Outcome::errored(reason),
    };
    let address = match public_address::of(context).await {
        Ok(address) => address,
        Err(error) => return Outcome::errored(explain(&error)),
    };
    if let Err(reason) = former_route::remember(context, &order.run, entry).await {
        return Outcome::errored(reason);
    }
    let target = route.target.map(|target| target.to_string()).unwrap_or_default();
    match context.proxy.switch(route.clone()).await {
        Ok(switched) => {
            let done = if switched.applied { "switched to" } else { "was switched already to" };
            let generation = entry.generation;
            output
                .line(&format!("the traffic of {} {done} {target}, generation {generation}", order.run.lane));
            Outcome::Succeeded(Facts::GoLive(Switched { generation, address: format!("http://{address}") }))
        }
        Err(error) => refused(context, order, entry, error).await,
    }
}

/// Reads the generation in force.
pub(crate) async fn probe(context: &Context, order: &Order) -> Result<Probe, String> {
    let entry = entry(order)?;
    let lane = &order.run.lane;
    let status = context.proxy.route(&lane.app, &lane.env).await.map_err(|error| explain(&error))?;
    let Some(found) = status.map(|status| status.route) else { return Ok(Probe::NotStarted) };
    let ours = found.run == order.run.id.to_string();
    if found.generation == entry.generation && ours {
        let address = public_address::of(context).await.map_err(|error| explain(&error))?;
        let facts = Switched { generation: found.generation, address: format!("http://{address}") };
        return Ok(Probe::Done(Outcome::Succeeded(Facts::GoLive(facts))));
    }
    if found.generation < entry.generation {
        return Ok(Probe::NotStarted);
    }
    Ok(Probe::Unknown(format!(
        "the proxy is at generation {} of {lane}, set by run {}; this run was promised {}",
        found.generation, found.run, entry.generation
    )))
}

/// Does nothing: the rollback switches back.
pub(crate) async fn undo(_: &Context, _: &Order) -> Result<(), String> {
    Ok(())
}

fn entry(order: &Order) -> Result<&LaneEntry, String> {
    order.run.entry.as_ref().ok_or_else(|| {
        format!("run {} did not enter its lane, so no generation was promised to it", order.run.id)
    })
}

/// Returns the route that this run asks for.
fn route(order: &Order) -> Result<Route, String> {
    let run = &order.run;
    let settings = plan::settings(order)?;
    let missing = |what: &str| format!("run {} has no {what}, so there is nothing to switch to", run.id);
    let candidate = run.candidate.as_ref().ok_or_else(|| missing("candidate"))?;
    let image = run.image.as_ref().ok_or_else(|| missing("image"))?;
    Ok(Route {
        app: run.lane.app.clone(),
        env: run.lane.env.clone(),
        host: settings.proxy.host.clone(),
        mount: settings.proxy.mount.clone(),
        generation: entry(order)?.generation,
        target: Some(candidate.address),
        release: image.digest.clone(),
        run: run.id.to_string(),
        drain_ms: settings.deploy.drain_ms,
    })
}

async fn refused(context: &Context, order: &Order, entry: &LaneEntry, error: ProxyError) -> Outcome {
    let lane = &order.run.lane;
    match error {
        ProxyError::Unreachable { .. } => Outcome::errored(explain(&error)),
        ProxyError::Stale { current } => {
            let status = context.proxy.route(&lane.app, &lane.env).await.ok().flatten();
            let by = status.map_or("somebody else".into(), |status| format!("run {}", status.route.run));
            Outcome::failed(format!(
                "the traffic of {lane} was switched by {by}: expected to take generation {}, found {current} in force",
                entry.generation
            ))
        }
        ProxyError::HostTaken { by } => {
            let route = route(order).ok();
            Outcome::failed(match route.as_ref().map(|route| (&route.host, &route.mount)) {
                Some((_, Some(_))) => format!(
                    "{} belongs to {by} already: give one of the two another `host` or `path_prefix` in [proxy]",
                    route.map(|route| route.answers_for()).unwrap_or_default()
                ),
                Some((Some(host), None)) => format!(
                    "the host {host} belongs to {by} already: give one of the two another `host` in [proxy]"
                ),
                Some((None, None)) | None => format!(
                    "{by} has no `host` in [proxy] either, and only one app can answer for every host: name one"
                ),
            })
        }
        ProxyError::Refused { .. } => Outcome::failed(explain(&error)),
    }
}

#[cfg(test)]
#[path = "go_live_tests.rs"]
mod tests;
