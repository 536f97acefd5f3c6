//! Checks the public address after the switch: the proxy answers by this run's digest, and the app is well.
//!
//! So "live" never means that a switch was asked for; it means that a request went through and came back
//! from the release that was tested.

use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use landfall_engine::core::command::Outcome;
use landfall_engine::core::effect::HTTP_CHECK_LIMIT_MS;
use landfall_engine::core::facts::Facts;
use landfall_engine::core::facts::SmokePassed;
use landfall_engine::core::facts::SmokeReport;
use landfall_engine::core::settings::Settings;
use landfall_engine::ports::Order;
use landfall_engine::ports::Output;

use crate::context::Context;
use crate::http;
use crate::http::NoAnswer;
use crate::plan;
use crate::proxy::RELEASE_HEADER;
use crate::public_address;
use crate::smoke;
use crate::smoke::Target;
use crate::smoke::Watched;
use crate::stopped::Stopped;

pub(crate) use crate::smoke::probe;
pub(crate) use crate::smoke::undo;

/// Checks the public address.
pub(crate) async fn run(context: &Context, order: &Order, output: &Output) -> Outcome {
    match checked(context, order, output).await {
        Ok(report) => Outcome::Succeeded(Facts::PublicSmoke(report)),
        Err(stopped) => smoke::with_app_log(context, order, stopped).await,
    }
}

async fn checked(context: &Context, order: &Order, output: &Output) -> Result<SmokeReport, Stopped> {
    let settings = plan::settings(order).map_err(Stopped::Errored)?;
    let image = order.run.image.as_ref().ok_or_else(|| {
        Stopped::Errored(format!("run {} has no image: its push was not concluded", order.run.id))
    })?;
    let watched = Watched::begin(context, order, settings, output).await?;
    let address = public_address::of(context).await;
    let address = address.map_err(|error| Stopped::Errored(public_address::explain(&error)))?;
    let serves = smoke::said(serves(context, settings, &watched, address, &image.digest).await, output)?;
    let target = Target { watched: &watched, address, host: settings.proxy.host.as_deref(), is_app: false };
    let mut checks = vec![serves];
    checks.extend(smoke::check_all(context, order, settings, &target, output).await?);
    Ok(SmokeReport { address: format!("http://{address}"), checks })
}

/// Asks the proxy which release answers.
async fn serves(
    context: &Context,
    settings: &Settings,
    watched: &Watched<'_>,
    address: SocketAddr,
    digest: &str,
) -> Result<SmokePassed, Stopped> {
    let path = settings.proxy.public_path(&settings.proxy.healthcheck.path);
    let path = path.as_ref();
    let host = settings.proxy.host.as_deref();
    let limit = Duration::from_millis(HTTP_CHECK_LIMIT_MS);
    let asked = Instant::now();
    let answer = match http::get(&context.http, http::Get { address, host, path, probe: true, limit }).await {
        Ok(answer) => answer,
        Err(NoAnswer::Unconnected(why)) => {
            return Err(Stopped::Errored(format!("nobody takes connections at http://{address}: {why}")));
        }
        Err(NoAnswer::Late) => {
            let limit = http::written(limit);
            let asked = format!("GET {path} at http://{address}");
            return Err(watched
                .silent(format!("{asked} expected an answer within {limit}, found none"))
                .await);
        }
        Err(NoAnswer::Broken(why)) => {
            return Err(Stopped::Errored(format!("GET {path} at http://{address}: {why}")));
        }
    };
    match answer.header(RELEASE_HEADER) {
        Some(release) if release == digest => Ok(SmokePassed {
            check: format!("GET {path} at http://{address} is answered by {digest}"),
            took_ms: u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX),
        }),
        found => Err(Stopped::failed(format!(
            "GET {path} at http://{address} expected an answer of {digest}, found {} (status {})",
            found.unwrap_or("one that names no release"),
            answer.status
        ))),
    }
}
