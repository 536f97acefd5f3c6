//! What the log knows of a branch: which commit was its newest push.

use landfall_engine::core::run::RunId;
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::{EventStore, ReadError, RunQuery};

/// What triggers a run when a look at the repository finds a push that nobody told of.
pub(crate) const POLL: &str = "poll";

/// Runs that are read at once on the way back to a branch's last push.
const PAGE: usize = 200;

/// What the log knows of a branch's head.
pub(crate) enum Heard {
    /// The branch's last push, or a later trigger, led to a run of it.
    Yes,
    /// None did. The last push that led to a run was of this commit.
    No { before: Option<String> },
}

/// Tells whether a head is the newest push of its branch that has a run. `is_push` tells triggers that are pushes from
/// those that may be of an older commit.
pub(crate) async fn last_heard(
    store: &dyn EventStore,
    app: &str,
    branch: &str,
    sha: &str,
    is_push: impl Fn(&str) -> bool,
) -> Result<Heard, ReadError> {
    let mut before: Option<RunId> = None;
    loop {
        let page = page(store, app, before).await?;
        for run in of_branch(&page, branch) {
            if run.commit.sha == sha {
                return Ok(Heard::Yes);
            }
            if is_push(&run.trigger) {
                return Ok(Heard::No { before: Some(run.commit.sha.clone()) });
            }
        }
        before = page.last().map(|run| run.id);
        if page.len() < PAGE {
            return Ok(Heard::No { before: None });
        }
    }
}

/// Tells whether what triggered a run is a push to a repository that is elsewhere.
pub(super) fn is_push(trigger: &str) -> bool {
    trigger == POLL || trigger.ends_with(" push")
}

/// Returns the newest run of a branch, if it is among the app's last ones: for what happened a moment ago.
pub(crate) async fn newest_of_branch(
    store: &dyn EventStore,
    app: &str,
    branch: &str,
) -> Result<Option<RunSummary>, ReadError> {
    Ok(of_branch(&page(store, app, None).await?, branch).next().cloned())
}

/// Returns the newest run of an app.
pub(super) async fn newest_of_app(store: &dyn EventStore, app: &str) -> Result<Option<RunId>, ReadError> {
    let query = RunQuery { app: Some(app.to_owned()), limit: 1, ..RunQuery::default() };
    Ok(store.runs(query).await?.first().map(|run| run.id))
}

async fn page(
    store: &dyn EventStore,
    app: &str,
    before: Option<RunId>,
) -> Result<Vec<RunSummary>, ReadError> {
    store.runs(RunQuery { app: Some(app.to_owned()), before, limit: PAGE, ..RunQuery::default() }).await
}

fn of_branch<'a>(page: &'a [RunSummary], branch: &'a str) -> impl Iterator<Item = &'a RunSummary> {
    page.iter().filter(move |run| run.commit.branch.as_deref() == Some(branch))
}
