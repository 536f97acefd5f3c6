//! The former release is up before any traffic goes back to it: started when it was stopped, made again when it is gone.

use std::sync::Arc;
use std::time::Duration;

use landfall_engine::core::effect::EffectKey;
use landfall_engine::core::facts::Candidate;
use landfall_engine::core::lane::Release;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::Order;
use landfall_engine::ports::Output;
use landfall_engine::ports::RollbackOrder;

use super::settings;
use crate::candidate;
use crate::candidate::Found;
use crate::candidate::Start;
use crate::context::Context;
use crate::deploy;
use crate::http;
use crate::http::NoAnswer;
use crate::plan;
use crate::stopped::Stopped;

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
    start(context, order, former, output).await?;
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

async fn start(
    context: &Context,
    order: &RollbackOrder,
    former: &Release,
    output: &Output,
) -> Result<(), String> {
    let Candidate { container: name, address, .. } = &former.candidate;
    let Some(found) = candidate::find(context, name).await? else {
        return make_anew(context, order, former, output).await;
    };
    if !is_its_own(order, former, &found) {
        return Err(format!(
            "there is a container {name} that the former release was not served by: see `docker inspect {name}`, and \
             remove or rename it"
        ));
    }
    if found.is_running() {
        return Ok(());
    }
    if found.is_new() {
        // A crash came between its making and its start, perhaps before its secret files.
        return make_anew(context, order, former, output).await;
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

/// Tells whether this is the container that served the release, or the one that was made in its place.
fn is_its_own(order: &RollbackOrder, former: &Release, found: &Found) -> bool {
    let is_ours = found.labels.get(plan::LABEL_LOG) == Some(&order.log_id.to_string());
    found.id == former.candidate.container_id || (is_ours && found.address == Some(former.candidate.address))
}

/// Makes the container again that somebody removed: the same image, configuration, name and address, so that all that
/// is known of the release stays true.
async fn make_anew(
    context: &Context,
    order: &RollbackOrder,
    former: &Release,
    output: &Output,
) -> Result<(), String> {
    let Candidate { container: name, address, .. } = &former.candidate;
    let Some(run) = &order.former else {
        return Err(format!(
            "the former release's container {name} is gone, and how it was configured can't be read: deploy {} again",
            former.image.by_digest()
        ));
    };
    output.line(&format!("{name} is gone; making it again from {}", former.image.by_digest()));
    let key = EffectKey::stage(run.id, Stage::Deploy, 1);
    let (deadline_ms, log_id) = (order.deadline_ms, order.log_id);
    let deploy = Order { run: Arc::clone(run), stage: Stage::Deploy, attempt: 1, key, deadline_ms, log_id };
    let said = |stopped: Stopped| {
        format!("making the former release's container {name} again: {}", stopped.reason())
    };
    let settings = plan::settings(&deploy)?;
    let env = deploy::environment(context, &deploy, settings).map_err(said)?;
    let made = candidate::create_at(context, &deploy, settings, name, &env, address.port(), output);
    made.await.map_err(said)
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
