//! The last step: what a user gets now, seen and written down.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use landfall_engine::core::command::RollbackOutcome;
use landfall_engine::core::effect::HTTP_CHECK_LIMIT_MS;
use landfall_engine::core::lane::Release;
use landfall_engine::ports::Output;
use landfall_engine::ports::RollbackOrder;

use super::settings;
use crate::context::Context;
use crate::http;
use crate::http::Answer;
use crate::http::NoAnswer;
use crate::proxy::RELEASE_HEADER;
use crate::proxy::Route;
use crate::public_address;
use crate::public_address::explain;

/// Sees the former release serve, or nothing when there was none.
pub(super) async fn of(
    context: &Context,
    order: &RollbackOrder,
    output: &Output,
) -> Result<RollbackOutcome, String> {
    let lane = &order.run.lane;
    let status = context.proxy.route(&lane.app, &lane.env).await.map_err(|error| explain(&error))?;
    let route = status.map(|status| status.route);
    let address = public_address::of(context).await.map_err(|error| explain(&error))?;
    let former = order.run.entry.as_ref().and_then(|entry| entry.replaces.as_ref());
    let (serving, proof) = match former {
        Some(former) => (
            Some(former.image.digest.clone()),
            former_serves(context, order, former, route.as_ref(), address).await?,
        ),
        None => (None, nothing_serves(context, order, route.as_ref(), address).await?),
    };
    output.line(&proof);
    Ok(RollbackOutcome::Succeeded { serving, proof })
}

async fn former_serves(
    context: &Context,
    order: &RollbackOrder,
    former: &Release,
    route: Option<&Route>,
    address: SocketAddr,
) -> Result<String, String> {
    let digest = &former.image.digest;
    let asked = format!("GET {} at http://{address}", path(order, route)?);
    let answer = ask(context, order, route, address).await?;
    let status = answer.status;
    match answer.header(RELEASE_HEADER) {
        Some(release) if release == digest && status < 500 => {
            let generation = route.map_or(0, |route| route.generation);
            Ok(format!("{asked} was answered with {status} by {digest}, generation {generation}"))
        }
        Some(release) if release == digest => Err(format!(
            "{asked} reached the former release {digest}, and it answers {status}: look at `docker logs {}`",
            former.candidate.container
        )),
        found => Err(format!(
            "{asked} expected an answer of the former release {digest}, found {} (status {status})",
            found.unwrap_or("one that names no release")
        )),
    }
}

/// Another app may answer for every host; this one's release must not.
async fn nothing_serves(
    context: &Context,
    order: &RollbackOrder,
    route: Option<&Route>,
    address: SocketAddr,
) -> Result<String, String> {
    if let Some(target) = route.and_then(|route| route.target) {
        return Err(format!(
            "expected {} to serve nothing, found its traffic going to {target}",
            order.run.lane
        ));
    }
    let asked = format!("GET {} at http://{address}", path(order, route)?);
    let answer = ask(context, order, route, address).await?;
    let (status, ours) = (answer.status, order.run.image.as_ref().map(|image| image.digest.as_str()));
    let empty = match route {
        Some(route) => format!("no release serves {}, generation {}", order.run.lane, route.generation),
        None => format!("no release serves {}", order.run.lane),
    };
    match answer.header(RELEASE_HEADER) {
        None if matches!(status, 404 | 503) => {
            Ok(format!("{empty}; {asked} was answered with {status} by the proxy"))
        }
        Some(release) if Some(release) != ours => {
            Ok(format!("{empty}; {asked} was answered with {status} by another app's {release}"))
        }
        found => Err(format!(
            "{asked} expected an answer of the proxy itself, found {status} of {}",
            found.unwrap_or("somebody who names no release")
        )),
    }
}

/// Returns the path by which users reach the app's health check, where the route in force has the app.
fn path<'a>(order: &'a RollbackOrder, route: Option<&Route>) -> Result<Cow<'a, str>, String> {
    let proxy = &settings(order)?.proxy;
    let path = proxy.healthcheck.path.as_str();
    Ok(match route {
        Some(Route { mount: Some(mount), .. }) => mount.public_path(path),
        Some(_) => Cow::Borrowed(path),
        None => proxy.public_path(path),
    })
}

async fn ask(
    context: &Context,
    order: &RollbackOrder,
    route: Option<&Route>,
    address: SocketAddr,
) -> Result<Answer, String> {
    let settings = settings(order)?;
    let host = route.map_or(settings.proxy.host.as_deref(), |route| route.host.as_deref());
    let limit = Duration::from_millis(HTTP_CHECK_LIMIT_MS);
    let path = path(order, route)?;
    let get = http::Get { address, host, path: &path, probe: true, limit };
    http::get(&context.http, get).await.map_err(|silence| {
        let asked = format!("GET {path} at http://{address}");
        match silence {
            NoAnswer::Unconnected(why) => format!("{asked}: nobody takes connections: {why}"),
            NoAnswer::Late => {
                format!("{asked} expected an answer within {}, found none", http::written(limit))
            }
            NoAnswer::Broken(why) => format!("{asked}: {why}"),
        }
    })
}
