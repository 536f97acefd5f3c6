//! The pushes that are going on: who pushes where, and whether they still listen.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A push that is going on.
#[derive(Clone, Debug)]
pub(super) struct Push {
    /// Names it.
    pub(super) id: Uuid,
    /// The app that is pushed to.
    pub(super) app: String,
    /// Who pushes.
    pub(super) actor: String,
    /// Cancelled once nobody listens any more.
    pub(super) gone: CancellationToken,
    /// Set once its git has said that it shows progress, which it does on a terminal.
    pub(super) shows_progress: Arc<AtomicBool>,
}

/// The pushes that are going on, by an id that only this process and its hooks know.
#[derive(Debug, Default)]
pub(super) struct Pushes(Mutex<HashMap<Uuid, Push>>);

impl Pushes {
    /// Notes a push for as long as the guard is held.
    pub(super) fn begin(self: &Arc<Self>, app: &str, actor: &str) -> PushGuard {
        let id = Uuid::new_v4();
        let gone = CancellationToken::new();
        let shows_progress = Arc::<AtomicBool>::default();
        let push = Push {
            id,
            app: app.to_owned(),
            actor: actor.to_owned(),
            gone: gone.clone(),
            shows_progress: Arc::clone(&shows_progress),
        };
        self.lock().insert(id, push);
        PushGuard { pushes: Arc::clone(self), id, gone, shows_progress }
    }

    /// Returns the push of this id, if it is going on.
    pub(super) fn get(&self, id: Uuid) -> Option<Push> {
        self.lock().get(&id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Push>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A push that is going on; dropped when its git has ended.
#[derive(Debug)]
pub(super) struct PushGuard {
    pushes: Arc<Pushes>,
    /// Names it to its hooks.
    pub(super) id: Uuid,
    /// To be cancelled once nobody listens any more.
    pub(super) gone: CancellationToken,
    /// To be set once its git has said that it shows progress.
    pub(super) shows_progress: Arc<AtomicBool>,
}

impl Drop for PushGuard {
    fn drop(&mut self) {
        self.pushes.lock().remove(&self.id);
    }
}
