//! The end of the log, ready to be sent: however many read along, each event is read and written out once.
//!
//! ```text
//! store ──follow──▶ keep ──▶ ring of the last events ──▶ readers that keep up: a place, and nothing else
//!   └──────follow────────────────────────────────────▶ readers that are behind: from disk, until they are not
//! ```
//!
//! **Invariant:** nothing waits for a reader. One that falls behind the ring is served from the log, from where it is.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use axum::body::Bytes;
use futures_util::StreamExt;
use landfall_engine::core::event::{Envelope, Event};
use landfall_engine::core::ledger::LedgerEvent;
use landfall_engine::core::run::RunId;
use landfall_engine::ports::{Cursor, EventStore};
use tokio::sync::watch;

use super::sse;

/// How many events are kept: what some dozens of runs record. Whoever is further behind reads the disk.
const EVENTS_MAX: usize = 1_024;
/// How many bytes they may have together.
const BYTES_MAX: usize = 4 << 20;

/// An event, ready to be sent.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) envelope: Envelope,
    /// The place behind it.
    pub(super) cursor: Cursor,
    /// The app that it is about, if it is about one.
    pub(super) app: Option<Arc<str>>,
    pub(super) frame: Bytes,
}

impl Told {
    fn new(cursor: Cursor, envelope: Envelope, app: Option<Arc<str>>) -> Self {
        let frame = sse::frame(envelope.event.name(), &cursor.0, &envelope);
        Self { envelope, cursor, app, frame }
    }
}

/// What comes after a place.
#[derive(Debug)]
pub(super) enum Next {
    /// This.
    Told(Arc<Told>),
    /// Nothing yet.
    Nothing,
    /// What only the log has.
    Behind,
}

/// The last events of a log.
#[derive(Debug)]
pub struct Tail {
    ring: RwLock<Ring>,
    last: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    told: VecDeque<Arc<Told>>,
    bytes: usize,
}

impl Default for Tail {
    fn default() -> Self {
        Self { ring: RwLock::default(), last: watch::channel(0).0 }
    }
}

impl Tail {
    /// Follows the log for as long as it lasts. Until then, and after it, readers are served from disk.
    pub(crate) async fn keep(&self, store: &dyn EventStore) {
        let mut events = store.follow(store.near_end(EVENTS_MAX as u64).await);
        let mut apps = Apps::default();
        while let Some(Ok((cursor, envelope))) = events.next().await {
            let app = apps.of(store, &envelope).await;
            self.push(Told::new(cursor, envelope, app));
        }
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Ring::default();
        // Whoever waits looks again, and finds the log alone.
        self.last.send_modify(|_| {});
    }

    fn push(&self, told: Told) {
        let last = told.envelope.global_seq;
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        ring.bytes += told.frame.len();
        ring.told.push_back(Arc::new(told));
        while ring.told.len() > EVENTS_MAX || (ring.bytes > BYTES_MAX && ring.told.len() > 1) {
            let gone = ring.told.pop_front();
            ring.bytes -= gone.map_or(0, |gone| gone.frame.len());
        }
        drop(ring);
        self.last.send_replace(last);
    }

    /// Returns what comes after the event with this place in the log.
    pub(super) fn after(&self, seq: u64) -> Next {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        let (Some(first), Some(last)) = (ring.told.front(), ring.told.back()) else { return Next::Behind };
        let (first, last) = (first.envelope.global_seq, last.envelope.global_seq);
        if seq == last {
            return Next::Nothing;
        }
        // There are no gaps.
        let index = (seq + 1).checked_sub(first).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| ring.told.get(index)).map_or(Next::Behind, |told| Next::Told(Arc::clone(told)))
    }

    /// Returns the place of a cursor, if it is among the last.
    pub(super) fn place_of(&self, cursor: &Cursor) -> Option<u64> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        if *cursor == Cursor::start() {
            return ring.told.front().is_some_and(|first| first.envelope.global_seq == 1).then_some(0);
        }
        let mut told = ring.told.iter().rev();
        told.find(|told| told.cursor == *cursor).map(|told| told.envelope.global_seq)
    }

    /// Returns the place of the last event, whenever it moves.
    pub(super) fn moves(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }
}

/// Which app a run is of: only its first event says so.
#[derive(Debug, Default)]
pub(super) struct Apps(HashMap<RunId, Arc<str>>);

/// Apps of so many runs are remembered; the store knows the others.
const APPS_MAX: usize = 4_096;

impl Apps {
    /// Returns the app that an event is about.
    pub(super) async fn of(&mut self, store: &dyn EventStore, envelope: &Envelope) -> Option<Arc<str>> {
        let run = envelope.run_id;
        match &envelope.event {
            Event::Ledger(event) => return of_ledger(event).map(Into::into),
            Event::RunStarted { lane, .. } => {
                if self.0.len() >= APPS_MAX {
                    self.0.clear();
                }
                self.0.insert(run, lane.app.as_str().into());
            }
            _ if !self.0.contains_key(&run) => {
                let found = store.run(run).await.ok().flatten()?;
                self.0.insert(run, found.lane.app.into());
            }
            _ => {}
        }
        match envelope.event {
            Event::RunClosed => self.0.remove(&run),
            _ => self.0.get(&run).cloned(),
        }
    }
}

fn of_ledger(event: &LedgerEvent) -> Option<&str> {
    match event {
        LedgerEvent::AppRegistered { app, .. }
        | LedgerEvent::AppRemoved { app }
        | LedgerEvent::SecretSet { app, .. }
        | LedgerEvent::SecretRemoved { app, .. } => Some(app),
        LedgerEvent::LanePaused { lane, .. }
        | LedgerEvent::LaneResumed { lane }
        | LedgerEvent::CommitHeld { lane, .. }
        | LedgerEvent::HoldReleased { lane, .. } => Some(&lane.app),
        LedgerEvent::TokenCreated { token } => token.app.as_deref(),
        LedgerEvent::TokenRevoked { .. } | LedgerEvent::Pruned { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use landfall_engine::core::event::EventHash;
    use uuid::Uuid;

    use super::*;

    fn told(seq: u64, bytes: usize) -> Told {
        let envelope = Envelope {
            run_id: RunId(Uuid::nil()),
            seq,
            global_seq: seq,
            event_id: Uuid::nil(),
            schema: 1,
            recorded_at_ms: 0,
            actor: "a".repeat(bytes),
            engine: String::new(),
            effect_key: None,
            event: Event::RunClosed,
            hash: EventHash::default(),
        };
        Told::new(Cursor(seq.to_string()), envelope, None)
    }

    fn seq(next: &Next) -> Option<u64> {
        match next {
            Next::Told(told) => Some(told.envelope.global_seq),
            Next::Nothing | Next::Behind => None,
        }
    }

    #[test]
    fn whoever_keeps_up_is_told_the_next_event_and_whoever_does_not_reads_the_log() {
        let tail = Tail::default();
        assert!(matches!(tail.after(0), Next::Behind), "nothing is known yet");
        (1..=2_000).for_each(|seq| tail.push(told(seq, 0)));
        assert_eq!(seq(&tail.after(1_999)), Some(2_000));
        assert!(matches!(tail.after(2_000), Next::Nothing));
        assert_eq!(seq(&tail.after(976)), Some(977));
        assert!(matches!(tail.after(975), Next::Behind));
        assert!(matches!(tail.after(2_001), Next::Behind), "a place that does not exist");
        assert_eq!(tail.place_of(&Cursor("1999".into())), Some(1_999));
        assert_eq!((tail.place_of(&Cursor("3".into())), tail.place_of(&Cursor::start())), (None, None));
    }

    #[test]
    fn large_events_leave_room_for_fewer() {
        let tail = Tail::default();
        (1..=100).for_each(|seq| tail.push(told(seq, 100_000)));
        assert!(matches!(tail.after(50), Next::Behind));
        assert_eq!(seq(&tail.after(90)), Some(91));
    }
}
