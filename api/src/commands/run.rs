//! `landfall run`: HEAD of a working copy, all the way, and how it goes.

use landfall_engine::core::command::Push;

use super::target::Target;
use super::world::{Access, said};
use crate::cli::{Global, RunArgs};
use crate::fault::Fault;

/// Deploys HEAD of a working copy and follows it to its end.
///
/// # Errors
///
/// [`Fault`] when the run can't be started or goes out of sight; a red run is an exit code.
pub async fn run(global: &Global, args: RunArgs) -> Result<u8, Fault> {
    let target = Target::find(&args).await?;
    target.remarks.iter().for_each(|remark| said(remark));
    let access = Access::open(global, &args.world).await?;
    let push = Push {
        lane: target.lane,
        commit: target.commit,
        repository: target.repository.display().to_string(),
        trigger: "landfall run".into(),
        release_hold: args.release_hold,
    };
    let triggered = access.trigger(push).await;
    access.see_through(triggered, args.json, &global.flags()).await
}
