//! Looks at every repository behind a URL: at the start, when an app is made known, on a slow timer or as often
//! as the app wants, and whenever a delivery leaves a doubt.
//!
//! A task an app, which is ended and awaited when the app changes, and when the server stops.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use landfall_engine::core::ledger::{Ledger, Registration, Source};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::look::{Looked, look};
use super::status::{News, PAUSE_MAX};
use super::{SourceStatus, locked};
use crate::server::App;

/// How often a repository is asked when nobody says: only pushes whose delivery was lost are found so.
const INTERVAL: Duration = PAUSE_MAX;
/// A forge that is asked more often than this shuts us out.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Somebody else has just triggered; a moment later the log is at rest.
const OUTRUN_PAUSE: Duration = Duration::from_millis(200);
/// Gits that ask and fetch at once: a start with a hundred apps is no storm on the forge and on this machine.
const LOOKS_MAX: usize = 4;

/// An app that is watched.
struct Watched {
    registration: Registration,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Watches every app behind a URL until the server stops.
pub async fn watch(app: Arc<App>) {
    let mut ledger = app.engine.ledger();
    let places = Arc::new(Semaphore::new(LOOKS_MAX));
    let mut watched = BTreeMap::new();
    loop {
        let now = Arc::clone(&ledger.borrow_and_update());
        end(without(&mut watched, &now)).await;
        locked(&app.sources.statuses).retain(|name, _| watched.contains_key(name));
        for (name, registration) in &now.apps {
            if is_behind_url(registration) && !watched.contains_key(name) {
                watched.insert(name.clone(), begin(&app, name, registration, &places));
            }
        }
        tokio::select! {
            changed = ledger.changed() => if changed.is_err() { break },
            () = app.stop.cancelled() => break,
        }
    }
    end(watched.into_values().collect()).await;
}

fn is_behind_url(registration: &Registration) -> bool {
    matches!(registration.source, Source::Git { .. })
}

/// Takes out those that are not to be watched as they are.
fn without(watched: &mut BTreeMap<String, Watched>, ledger: &Ledger) -> Vec<Watched> {
    let is_as_before =
        |name: &String, watched: &Watched| ledger.apps.get(name) == Some(&watched.registration);
    let changed: Vec<String> = watched
        .iter()
        .filter(|(name, watched)| !is_as_before(name, watched))
        .map(|(name, _)| name.clone())
        .collect();
    changed.iter().filter_map(|name| watched.remove(name)).collect()
}

async fn end(watched: Vec<Watched>) {
    for one in &watched {
        one.stop.cancel();
    }
    for one in watched {
        let _ = one.task.await;
    }
}

fn begin(app: &Arc<App>, name: &str, registration: &Registration, places: &Arc<Semaphore>) -> Watched {
    let stop = app.stop.child_token();
    let watching = watch_one(Arc::clone(app), name.to_owned(), registration.clone(), Arc::clone(places));
    let ended = stop.clone();
    // Dropped wherever it stands: what the engine has begun to record goes on without it, and git ends with us.
    let task = tokio::spawn(async move {
        ended.run_until_cancelled(watching).await;
    });
    Watched { registration: registration.clone(), stop, task }
}

async fn watch_one(app: Arc<App>, name: String, registration: Registration, places: Arc<Semaphore>) {
    let interval = registration.poll_ms.map_or(INTERVAL, |ms| Duration::from_millis(ms).max(INTERVAL_MIN));
    let nudge = app.sources.nudge(&name);
    let mut departures = app.engine.departures();
    loop {
        departures.mark_unchanged();
        let looked = {
            // The semaphore is never closed.
            let _place = places.acquire().await;
            look(&app, &name, &registration).await
        };
        let waits = matches!(looked, Ok(Looked::NoRoom));
        let pause = match looked {
            Ok(Looked::Outrun) => OUTRUN_PAUSE,
            Ok(Looked::Settled | Looked::NoRoom) => note(&app, &name, Ok(())).pause(interval),
            Err(error) => note(&app, &name, Err(in_one_line(&error))).pause(interval),
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = nudge.notified() => {}
            Ok(()) = departures.changed(), if waits => {}
        }
    }
}

/// Takes in what came of a look, and tells people when that is news.
fn note(app: &App, name: &str, looked: Result<(), String>) -> SourceStatus {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut statuses = locked(&app.sources.statuses);
    let status = statuses.entry(name.to_owned()).or_default();
    match status.note(u64::try_from(now_ms).unwrap_or(u64::MAX), looked) {
        News::None => {}
        News::Mended => tracing::info!(app = name, "the repository could be asked again"),
        News::Broken => tracing::warn!(
            app = name,
            error = status.error,
            "the repository could not be asked for what was pushed; it is asked again, less and less often"
        ),
    }
    status.clone()
}

fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}
