//! The ledger while an engine works: read at its start, then written by one at a time.

use std::sync::Arc;

use tokio::sync::{Mutex, watch};

use crate::core::event::Event;
use crate::core::ledger::{Ledger, LedgerEvent, ledger_of};
use crate::driver::append;
use crate::engine::{Engine, EngineError};
use crate::ports::{EventStore, ReadError};

/// What the ledger says, for whoever wants to know and to be told.
#[derive(Debug)]
pub(crate) struct Keeping {
    now: watch::Sender<Arc<Ledger>>,
    writing: Mutex<()>,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { now: watch::channel(Arc::default()).0, writing: Mutex::default() }
    }
}

impl Keeping {
    /// Takes in what the log has.
    pub(crate) async fn read(&self, store: &dyn EventStore) -> Result<(), ReadError> {
        let events = store.events(ledger_of(store.log_id())).await?;
        self.now.send_replace(Arc::new(Ledger::of(&events)));
        Ok(())
    }
}

impl Engine {
    /// Returns what is true of the installation, now and whenever it changes.
    pub fn ledger(&self) -> watch::Receiver<Arc<Ledger>> {
        self.shared.ledger.now.subscribe()
    }

    /// Records a decision about the installation. Durable when it returns, and followed from then on.
    ///
    /// # Errors
    ///
    /// [`EngineError::Append`]: nothing was decided.
    pub async fn record(&self, event: LedgerEvent, actor: &str) -> Result<(), EngineError> {
        // Whoever asked may hang up: what the disk has is what is shown.
        let (engine, actor) = (self.clone(), actor.to_owned());
        let recorded = tokio::spawn(async move { engine.record_to_the_end(event, &actor).await });
        recorded.await.unwrap_or(Err(EngineError::Stopping))
    }

    async fn record_to_the_end(&self, event: LedgerEvent, actor: &str) -> Result<(), EngineError> {
        let Keeping { now, writing } = &self.shared.ledger;
        let (store, clock) = (&self.shared.parts.store, &self.shared.parts.clock);
        // Over the sync of the disk: the next decision stands on this one.
        let _writing = writing.lock().await;
        let mut ledger = Ledger::clone(&now.borrow());
        let (stream, events) = (ledger_of(store.log_id()), vec![Event::Ledger(event.clone())]);
        let append = append(&**clock, stream, ledger.seq, events, clock.now_ms(), actor);
        let _gate = match event.lane() {
            Some(_) => Some(self.shared.gate.write().await),
            None => None,
        };
        // Whoever is turned away by what the log says of a lane finds it shut, and waits.
        if let LedgerEvent::LanePaused { lane, .. } = &event {
            self.shared.lanes.pause(lane);
        }
        let recorded = match store.append(append).await {
            Ok(recorded) => recorded,
            Err(error) => {
                self.open_unless_paused(&event).await;
                return Err(EngineError::Append(error));
            }
        };
        ledger.seq = recorded.last().map_or(ledger.seq, |last| last.seq);
        ledger.apply(&event);
        now.send_replace(Arc::new(ledger));
        if let LedgerEvent::LaneResumed { lane } = &event {
            self.shared.lanes.resume(lane);
        }
        Ok(())
    }

    /// Opens a lane again whose pause could not be recorded, unless it was paused before.
    async fn open_unless_paused(&self, event: &LedgerEvent) {
        let LedgerEvent::LanePaused { lane, .. } = event else { return };
        if self.shared.parts.store.lane(lane).await.is_ok_and(|lane| lane.paused.is_none()) {
            self.shared.lanes.resume(lane);
        }
    }
}
