//! The route as it was before this run switched it, kept beside the run's files.
//!
//! A commit may change the app's host. A release does not know under which host it was served, so whoever
//! switches back has to know it from here.

use std::path::PathBuf;

use landfall_engine::core::run::LaneEntry;
use landfall_engine::core::run::Run;

use crate::context::Context;
use crate::proxy::Route;
use crate::public_address::explain;

const FILE: &str = "route-before.json";

fn path(context: &Context, run: &Run) -> PathBuf {
    context.work_dir(run.id).join(FILE)
}

/// Keeps the route in force. Does nothing once this run may have switched.
pub(crate) async fn remember(context: &Context, run: &Run, entry: &LaneEntry) -> Result<(), String> {
    let status = context.proxy.route(&run.lane.app, &run.lane.env).await.map_err(|error| explain(&error))?;
    let Some(route) = status.map(|status| status.route).filter(|route| route.generation < entry.generation)
    else {
        return Ok(());
    };
    let failed = |error: std::io::Error| format!("the route in force could not be kept: {error}");
    let (path, text) = (path(context, run), serde_json::to_vec(&route).map_err(|error| error.to_string())?);
    let new = path.with_extension("new");
    tokio::fs::create_dir_all(context.work_dir(run.id)).await.map_err(failed)?;
    tokio::fs::write(&new, text).await.map_err(failed)?;
    tokio::fs::File::open(&new).await.map_err(failed)?.sync_all().await.map_err(failed)?;
    tokio::fs::rename(&new, &path).await.map_err(failed)
}

/// Returns the route that was kept. None: there was none, or its file is not what we wrote.
pub(crate) async fn recall(context: &Context, run: &Run) -> Option<Route> {
    let text = tokio::fs::read(path(context, run)).await.ok()?;
    serde_json::from_slice(&text).ok()
}
