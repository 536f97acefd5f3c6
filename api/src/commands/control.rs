//! `landfall promote`, `retry --from`, `hold`, `release`, `pause` and `resume`: what people decide about releases,
//! runs that are over, and lanes.

use landfall_engine::Promotion;
use landfall_engine::core::lane::{Lane, LaneId};
use landfall_engine::core::stage::Stage;
use landfall_engine::timeline::timestamp;

use super::stdout;
use super::target::checked;
use super::world::Access;
use crate::cli::{Global, HoldArgs, PauseArgs, PromoteArgs, ReleaseArgs, ResumeArgs, RetryArgs};
use crate::fault::Fault;
use crate::picture::text::harmless;

/// Does a run that is over again, from a stage on, and follows that to its end.
///
/// # Errors
///
/// [`Fault::Refused`] when it does not have what that takes.
pub async fn rerun(global: &Global, args: RetryArgs, from: Stage) -> Result<u8, Fault> {
    let access = Access::open(global, &args.world).await?;
    let triggered = async { access.rerun(access.resolve(&args.run).await?, from, args.release_hold).await };
    let triggered = triggered.await;
    access.see_through(triggered, args.json, &global.flags()).await
}

/// Makes a release of one environment live in another, and follows that to its end.
///
/// # Errors
///
/// [`Fault`] when there is none; a red run is an exit code.
pub async fn promote(global: &Global, args: PromoteArgs) -> Result<u8, Fault> {
    let (from, to) = (checked("environment", &args.from)?, checked("environment", &args.to)?);
    if from == to {
        return Err(Fault::Usage(format!(
            "--from and --to are both {from}: `landfall rollback` makes a release of it live again"
        )));
    }
    let access = Access::open(global, &args.world).await?;
    let promotion = Promotion {
        app: checked("app", &args.app)?,
        from,
        to,
        release: args.release,
        trigger: "landfall promote".into(),
        reason: args.reason,
    };
    let triggered = access.promote(promotion).await;
    access.see_through(triggered, args.json, &global.flags()).await
}

/// Something that is asked of a lane.
#[derive(Clone, Debug)]
pub enum LaneChange {
    /// Keeps runs out.
    Pause {
        /// Why.
        reason: String,
    },
    /// Lets them in again.
    Resume,
    /// Keeps a commit from being deployed.
    Hold {
        /// The commit.
        commit: String,
        /// Why.
        reason: String,
    },
    /// Lets it be deployed again.
    Release {
        /// The commit.
        commit: String,
    },
}

/// Pauses an app.
///
/// # Errors
///
/// [`Fault`] when it is not known, or can't be recorded.
pub async fn pause(global: &Global, args: PauseArgs) -> Result<u8, Fault> {
    let PauseArgs { app, env, reason, json, world } = args;
    change(global, &world, &app, &env, json, LaneChange::Pause { reason }).await
}

/// Resumes an app.
///
/// # Errors
///
/// As [`pause`].
pub async fn resume(global: &Global, args: ResumeArgs) -> Result<u8, Fault> {
    let ResumeArgs { app, env, json, world } = args;
    change(global, &world, &app, &env, json, LaneChange::Resume).await
}

/// Holds a commit.
///
/// # Errors
///
/// As [`pause`].
pub async fn hold(global: &Global, args: HoldArgs) -> Result<u8, Fault> {
    let HoldArgs { app, commit, env, reason, json, world } = args;
    change(global, &world, &app, &env, json, LaneChange::Hold { commit, reason }).await
}

/// Releases a held commit.
///
/// # Errors
///
/// As [`pause`].
pub async fn release(global: &Global, args: ReleaseArgs) -> Result<u8, Fault> {
    let ReleaseArgs { app, commit, env, json, world } = args;
    change(global, &world, &app, &env, json, LaneChange::Release { commit }).await
}

async fn change(
    global: &Global,
    world: &crate::cli::World,
    app: &str,
    env: &str,
    json: bool,
    change: LaneChange,
) -> Result<u8, Fault> {
    let id = LaneId { app: checked("app", app)?, env: checked("environment", env)? };
    let access = Access::open(global, world).await?;
    let lane = access.change_lane(&id, change).await;
    access.close().await;
    let lane = lane?;
    match json {
        true => {
            let LaneId { app, env } = &id;
            let (paused, held) = (&lane.paused, &lane.held);
            stdout::json(&serde_json::json!({ "app": app, "env": env, "paused": paused, "held": held }))?;
        }
        false => standing(&id, &lane).iter().try_for_each(|line| stdout::line(line))?,
    }
    Ok(0)
}

/// Returns what keeps runs of a lane from being deployed, line by line.
pub fn standing(id: &LaneId, lane: &Lane) -> Vec<String> {
    let paused = match &lane.paused {
        Some(pause) => {
            format!("{id} is paused since {}: {}", timestamp(pause.since_ms), harmless(&pause.reason))
        }
        None => format!("{id} takes deploys"),
    };
    let held = lane.held.iter().map(|(sha, hold)| {
        let sha = sha.get(..12).unwrap_or(sha);
        let why = landfall_engine::core::lane::hold_in_words(hold.run, &hold.reason);
        format!("  commit {sha} is held{}", harmless(&why))
    });
    [paused].into_iter().chain(held).collect()
}
