//! Where a pushed ref goes by what its app was registered with, and by what its last commit says.

use std::path::Path;

use landfall_stages::git;

use crate::server::App;
use crate::sources::refs::Reference;
use crate::sources::{Filter, Goes, Pushed};

/// Returns where a ref goes that was moved from `old` to `new`, or why nowhere.
pub(super) async fn destination(
    app: &App,
    name: &str,
    repository: &Path,
    reference: &Reference,
    old: Option<&str>,
    new: &str,
) -> Result<Goes, String> {
    let filter = filter_of(app, name)?;
    // What git can't read now is told by the trigger, which reads it too.
    let message = git::message(repository, new).await.ok();
    let paths = match old.filter(|_| filter.looks_at_paths()) {
        Some(old) => git::changed_paths(repository, old, new).await.ok().flatten(),
        None => None,
    };
    let pushed = Pushed { reference, message: message.as_deref(), paths: paths.as_deref() };
    filter.admit(pushed).map_err(|skip| skip.to_string())
}

/// Returns where pushes to a ref go, whatever they change; or why nowhere.
pub(super) fn usual_destination(app: &App, name: &str, reference: &Reference) -> Result<Goes, String> {
    filter_of(app, name)?.goes(reference).map_err(|skip| skip.to_string())
}

fn filter_of(app: &App, name: &str) -> Result<Filter, String> {
    let known = app.engine.ledger().borrow().apps.get(name).cloned().unwrap_or_default();
    Filter::of(&known).map_err(|wrong| wrong.to_string())
}
