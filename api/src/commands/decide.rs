//! `landfall cancel`, `retry`, `skip`, `abort`, `approve` and `reject`: what a person decides about a run.

use landfall_engine::core::event::Decision;

use super::stdout;
use super::world::Access;
use crate::cli::{Global, World};
use crate::fault::Fault;

/// What is asked of a run.
#[derive(Clone, Debug)]
pub enum Request {
    /// End it.
    Cancel(String),
    /// Decide about it, since it is parked.
    Resolve(Decision),
    /// Let its deploy begin.
    Approve,
    /// Do not let its deploy begin.
    Reject(String),
}

/// Asks it of a run. A server takes it from there; without one the run is followed here to its end.
///
/// # Errors
///
/// [`Fault::Refused`] when the rules say no; [`Fault`] when the run can't be reached.
pub async fn run(
    global: &Global,
    world: &World,
    name: &str,
    json: bool,
    request: Request,
) -> Result<u8, Fault> {
    let access = Access::open(global, world).await?;
    let asked = async {
        let run_id = access.resolve(name).await?;
        match &request {
            Request::Cancel(reason) => access.cancel(run_id, reason).await?,
            Request::Resolve(decision) => access.resolve_parked(run_id, decision.clone()).await?,
            Request::Approve => access.approve(run_id).await?,
            Request::Reject(reason) => access.reject(run_id, reason).await?,
        }
        Ok(run_id)
    };
    let asked = asked.await;
    if let (Ok(run_id), true) = (&asked, access.is_server()) {
        let flags = global.flags();
        if json {
            stdout::json(&serde_json::json!({ "run": run_id, "recorded": true }))?;
            return Ok(0);
        }
        stdout::line(&format!("recorded; `landfall show {}{flags}` tells how it goes on", run_id.short()))?;
        return Ok(0);
    }
    // How the run ends is told, and is not what was asked for here.
    access.see_through(asked, json, &global.flags()).await.map(|_| 0)
}
