//! Whose turn it is: the pushes of one app are triggered one at a time.
//!
//! The newer of two runs supersedes the older, and the newer is the one that is triggered last. So between a look at a
//! branch's head and the trigger of what was seen, nobody else may trigger.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

type Turn = Arc<tokio::sync::Mutex<()>>;

/// A turn for each app. No more of them are kept than there are repositories.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<String, Turn>>);

impl Turns {
    /// Waits for a turn, which lasts until the guard is dropped.
    ///
    /// It is held over awaits: of git, which has a limit, and of the engine, which refuses what it has no room for.
    pub(super) async fn take(&self, app: &str) -> OwnedMutexGuard<()> {
        let turn = Arc::clone(self.turns().entry(app.to_owned()).or_default());
        turn.lock_owned().await
    }

    /// Returns how many have a turn of an app, or wait for one.
    pub(super) fn in_line(&self, app: &str) -> usize {
        self.turns().get(app).map_or(0, |turn| Arc::strong_count(turn) - 1)
    }

    fn turns(&self) -> MutexGuard<'_, HashMap<String, Turn>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
