//! The former release is up before any traffic goes back to it.

use std::time::Duration;

use landfall_engine::core::facts::Candidate;
use landfall_engine::core::lane::Release;
use landfall_engine::ports::Output;
use landfall_engine::ports::RollbackOrder;

use super::settings;
use crate::candidate;
use crate::candidate::Start;
use crate::context::Context;
use crate::http;
use crate::http::NoAnswer;

/// A container that was kept warm answers at once; one that was stopped has to start its app.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Waits until the former release's container answers; starts it when it is stopped.
pub(super) async fn answers(
    context: &Context,
    order: &RollbackOrder,
    former: &Release,
    output: &Output,
) -> Result<(), String> {
    start(context, former, output).await?;
    let settings = settings(order)?;
    let limit = Duration::from_millis(settings.deploy.timeout_ms);
    match tokio::time::timeout(limit, until_answer(context, order, former)).await {
        Ok(answered) => answered,
        Err(_) => Err(format!(
            "the former release's container {} gives no good answer within {}: look at `docker logs {}`",
            former.candidate.container,
            http::written(limit),
            former.candidate.container
        )),
    }
}

async fn start(context: &Context, former: &Release, output: &Output) -> Result<(), String> {
    let Candidate { container: name, container_id: id, address, .. } = &former.candidate;
    let found = candidate::find(context, name).await?.filter(|found| found.id == *id);
    let Some(found) = found else {
        return Err(format!(
            "the former release's container {name} is gone: deploy {} again",
            former.image.by_digest()
        ));
    };
    if found.is_running() {
        return Ok(());
    }
    output.line(&format!("starting {name} again"));
    match candidate::start(context, name).await {
        Ok(Start::PortTaken) => Err(format!(
            "the former release's container {name} can't be started: its address {address} was taken by something else"
        )),
        Ok(_) => Ok(()),
        Err(stopped) => Err(stopped.reason().to_owned()),
    }
}

/// Asks until the app answers. Its health path may be another commit's: any answer of its own will do.
async fn until_answer(context: &Context, order: &RollbackOrder, former: &Release) -> Result<(), String> {
    let settings = settings(order)?;
    let health = &settings.proxy.healthcheck;
    let mut pause = PAUSE_FIRST;
    loop {
        let get = http::Get {
            address: former.candidate.address,
            host: settings.proxy.host.as_deref(),
            path: &health.path,
            probe: false,
            limit: Duration::from_millis(health.timeout_ms),
        };
        match http::get(&context.http, get).await {
            Ok(answer) if answer.status < 500 => return Ok(()),
            Ok(_) | Err(NoAnswer::Unconnected(_) | NoAnswer::Late | NoAnswer::Broken(_)) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
