//! The first step: no new request reaches the candidate, and no late switch brings one there.

use std::time::Duration;

use landfall_engine::core::run::LaneEntry;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::Output;
use landfall_engine::ports::RollbackOrder;

use super::former;
use super::settings;
use crate::context::Context;
use crate::former_route;
use crate::proxy::ProxyError;
use crate::proxy::Route;
use crate::public_address::explain;

/// The rollback as a whole has two minutes: requests that take longer than this are cut by the proxy.
const DRAIN_LIMIT: Duration = Duration::from_secs(45);

/// Sends the traffic back to where it was when the run entered its lane.
pub(super) async fn back(context: &Context, order: &RollbackOrder, output: &Output) -> Result<(), String> {
    let run = &order.run;
    let entry = run.entry.as_ref().ok_or_else(|| {
        format!("run {} did not enter its lane, so it is not known what it replaced", run.id)
    })?;
    let status = context.proxy.route(&run.lane.app, &run.lane.env).await.map_err(|error| explain(&error))?;
    let current = status.map(|status| status.route);
    let kept = former_route::recall(context, run).await;
    let route = route_back(order, entry, current.as_ref(), kept.as_ref())?;
    if let Some(former) = &entry.replaces {
        former::answers(context, order, former, output).await?;
    }
    let Some(route) = route else {
        output.line(&format!("the traffic of {} is where it was", run.lane));
        return Ok(());
    };
    let to = route.target.map_or_else(|| "nobody".to_owned(), |target| target.to_string());
    let (generation, was_ours) =
        (route.generation, current.is_some_and(|route| route.run == run.id.to_string()));
    match context.proxy.switch(route).await {
        Ok(_) => {
            output.line(&format!("the traffic of {} goes to {to} again, generation {generation}", run.lane))
        }
        // Our own switch was refused for the same reason, so there is nothing to take back.
        Err(ProxyError::HostTaken { by }) if !was_ours && entry.replaces.is_none() => {
            output.line(&format!("the host belongs to {by}, and never was ours"));
        }
        Err(error) => return Err(format!("switching back to {to}: {}", explain(&error))),
    }
    if was_ours {
        drained(context, order, output).await;
    }
    Ok(())
}

/// Returns the route that has to be set. None: what is in force is right, and stays.
fn route_back(
    order: &RollbackOrder,
    entry: &LaneEntry,
    current: Option<&Route>,
    kept: Option<&Route>,
) -> Result<Option<Route>, String> {
    let run = &order.run;
    let (target, release) = match &entry.replaces {
        Some(former) => (Some(former.candidate.address), former.image.digest.clone()),
        None => (None, String::new()),
    };
    let generation = entry.generation + 1;
    let in_force = current.map_or(0, |route| route.generation);
    let is_right =
        current.map_or(target.is_none(), |route| route.target == target && route.release == release);
    // A switch that was sent and not answered may still arrive; the next generation shuts it out.
    let may_still_switch = run.done >= Some(Stage::Smoke) && in_force < generation;
    if is_right && !may_still_switch {
        return Ok(None);
    }
    if in_force > generation {
        let by = current.map_or("", |route| route.run.as_str());
        return Err(format!(
            "the traffic of {} was switched by run {by}: expected generation {generation} at most, found {in_force}",
            run.lane
        ));
    }
    // The host may be new in this commit: the one before it was in the route that this run replaced.
    let before = kept.or(current.filter(|route| route.generation < entry.generation));
    let settings = settings(order)?;
    let (host, mount) = before.map_or_else(
        || (settings.proxy.host.clone(), settings.proxy.mount.clone()),
        |route| (route.host.clone(), route.mount.clone()),
    );
    let by = entry.replaces.as_ref().map_or(run.id, |former| former.run);
    Ok(Some(Route {
        app: run.lane.app.clone(),
        env: run.lane.env.clone(),
        host,
        mount,
        generation,
        target,
        release,
        run: by.to_string(),
        drain_ms: settings.deploy.drain_ms,
    }))
}

/// Lets the candidate finish what it began. What it does not finish is cut when it is removed.
async fn drained(context: &Context, order: &RollbackOrder, output: &Output) {
    let drain_ms = order.run.settings.as_ref().map_or(0, |settings| settings.deploy.drain_ms);
    let within = Duration::from_millis(drain_ms).min(DRAIN_LIMIT);
    let lane = &order.run.lane;
    match context.proxy.drained(&lane.app, &lane.env, within).await {
        Ok(status) => {
            let left = status.map_or(0, |status| status.draining());
            if left > 0 {
                output.line(&format!("{left} requests of the candidate are cut"));
            }
        }
        Err(error) => output.line(&format!("the candidate's requests are cut: {}", explain(&error))),
    }
}
