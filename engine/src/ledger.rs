//! The ledger while an engine works: read at its start, then written by one at a time.

use std::sync::Arc;

use tokio::sync::{Mutex, watch};

use crate::core::event::Event;
use crate::core::ledger::{Ledger, LedgerEvent, ledger_of};
use crate::driver::append;
use crate::engine::{Engine, EngineError, Parts};
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
        self.now.send_replace(Arc::new(ledger_at_rest(store).await?));
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
        let recorded = tokio::spawn(async move {
            let Keeping { now, writing } = &engine.shared.ledger;
            // Over the sync of the disk: the next decision stands on this one.
            let _writing = writing.lock().await;
            let mut ledger = Ledger::clone(&now.borrow());
            let _gate = match event.lane() {
                Some(_) => Some(engine.shared.gate.write().await),
                None => None,
            };
            // Whoever is turned away by what the log says of a lane finds it shut, and waits.
            if let LedgerEvent::LanePaused { lane, .. } = &event {
                engine.shared.lanes.pause(lane);
            }
            let recorded = record_behind(&mut ledger, &engine.shared.parts, event.clone(), &actor).await;
            engine.open_as_the_log_says(&event).await;
            recorded?;
            now.send_replace(Arc::new(ledger));
            Ok(())
        });
        recorded.await.unwrap_or(Err(EngineError::Stopping))
    }

    /// Opens a lane that was resumed, or whose pause could not be recorded.
    async fn open_as_the_log_says(&self, event: &LedgerEvent) {
        let (LedgerEvent::LanePaused { lane, .. } | LedgerEvent::LaneResumed { lane }) = event else {
            return;
        };
        if self.shared.parts.store.lane(lane).await.is_ok_and(|lane| lane.paused.is_none()) {
            self.shared.lanes.resume(lane);
        }
    }
}

/// Returns what the ledger of a log says.
///
/// # Errors
///
/// [`ReadError`] when it can't be read.
pub async fn ledger_at_rest(store: &dyn EventStore) -> Result<Ledger, ReadError> {
    Ok(Ledger::of(&store.events(ledger_of(store.log_id())).await?))
}

/// Records a decision about an installation whose engine is not running.
///
/// # Errors
///
/// [`EngineError::Append`] and [`EngineError::Read`]: nothing was decided.
pub async fn record_at_rest(parts: &Parts, event: LedgerEvent, actor: &str) -> Result<(), EngineError> {
    let mut ledger = ledger_at_rest(&*parts.store).await?;
    record_behind(&mut ledger, parts, event, actor).await
}

async fn record_behind(
    ledger: &mut Ledger,
    parts: &Parts,
    event: LedgerEvent,
    actor: &str,
) -> Result<(), EngineError> {
    let Parts { store, clock, .. } = parts;
    let (stream, events) = (ledger_of(store.log_id()), vec![Event::Ledger(event.clone())]);
    let append = append(&**clock, stream, ledger.seq, events, clock.now_ms(), actor);
    let recorded = store.append(append).await.map_err(EngineError::Append)?;
    ledger.seq = recorded.last().map_or(ledger.seq, |last| last.seq);
    ledger.apply(&event);
    Ok(())
}
