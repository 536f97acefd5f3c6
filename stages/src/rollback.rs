//! Undoes a deploy, in reverse order, and proves that the former release serves.
//!
//! ```text
//! 1. traffic    back to the former release, under the generation after ours
//! 2. candidate  every container of this run: stopped and removed
//! 3. proof      a request through the public address, answered by the former release's digest
//! ```
//!
//! Each step looks first, so that the whole can be done again from the top. **Nothing is called rolled back
//! that was not seen**: whatever keeps the proof from being made is an error, and a person's business in the end.

mod former;
mod proof;
mod traffic;

use std::collections::HashMap;
use std::time::Duration;

use bollard::query_parameters::ListContainersOptionsBuilder;
use landfall_engine::core::command::RollbackOutcome;
use landfall_engine::core::settings::Settings;
use landfall_engine::ports::Output;
use landfall_engine::ports::RollbackOrder;

use crate::candidate;
use crate::context::Context;
use crate::docker;
use crate::plan;

/// The candidate has had its time to drain; what it does on TERM is to close what it has open.
const GRACE: Duration = Duration::from_secs(10);

/// Rolls back.
pub(crate) async fn run(context: &Context, order: &RollbackOrder, output: &Output) -> RollbackOutcome {
    match rolled_back(context, order, output).await {
        Ok(outcome) => outcome,
        Err(reason) => RollbackOutcome::Errored { reason },
    }
}

async fn rolled_back(
    context: &Context,
    order: &RollbackOrder,
    output: &Output,
) -> Result<RollbackOutcome, String> {
    traffic::back(context, order, output).await?;
    remove_candidates(context, order, output).await?;
    proof::of(context, order, output).await
}

fn settings(order: &RollbackOrder) -> Result<&Settings, String> {
    let settings = order.run.settings.as_deref();
    settings.ok_or_else(|| format!("run {} has no settings, so its proxy route is not known", order.run.id))
}

/// Removes every container of this run. A release that was kept warm carries the label of the run that made
/// it, so one that this run took over again stays.
async fn remove_candidates(context: &Context, order: &RollbackOrder, output: &Output) -> Result<(), String> {
    let former = order.run.entry.as_ref().and_then(|entry| entry.replaces.as_ref());
    let label = |name: &str, value: String| format!("{name}={value}");
    let labels = vec![
        label(plan::LABEL_LOG, order.log_id.to_string()),
        label(plan::LABEL_RUN, order.run.id.to_string()),
    ];
    let filters = HashMap::from([("label", labels)]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let docker = &context.docker;
    let listed = docker.ask(docker.api().list_containers(Some(options))).await;
    for container in listed.map_err(|error| docker::explain("listing the run's containers", &error))? {
        let Some(id) = container.id else { continue };
        let name = container.names.unwrap_or_default().join(", ");
        let name = name.trim_start_matches('/');
        if former.is_some_and(|former| former.candidate.container_id == id) {
            continue;
        }
        candidate::remove_container(context, &id, GRACE).await?;
        output.line(&format!("removed {name}"));
    }
    Ok(())
}

#[cfg(test)]
#[path = "rollback/tests.rs"]
mod tests;
