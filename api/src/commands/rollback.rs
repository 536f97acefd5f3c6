//! `landfall rollback`: a former release, live again.

use landfall_engine::core::lane::LaneId;

use super::target::checked;
use super::world::Access;
use crate::cli::{Global, RollbackArgs};
use crate::fault::Fault;

/// Makes a former release live again and follows that to its end.
///
/// # Errors
///
/// [`Fault`] when there is none, or the run goes out of sight; a red run is an exit code.
pub async fn run(global: &Global, args: RollbackArgs) -> Result<u8, Fault> {
    let lane = LaneId { app: checked("app", &args.app)?, env: checked("environment", &args.env)? };
    let access = Access::open(global, &args.world).await?;
    let triggered = async {
        // Only a run can be the last; what else there is, the engine knows.
        let last = match args.to.as_deref() {
            Some("last") => Some(access.resolve("last").await?.to_string()),
            _ => None,
        };
        access.rollback(&lane, last.as_deref().or(args.to.as_deref()), &args.reason).await
    };
    let triggered = triggered.await;
    access.see_through(triggered, args.json, &global.flags()).await
}
