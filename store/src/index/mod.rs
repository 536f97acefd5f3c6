//! Finds runs, lanes and claims without reading the log: what changed lately and what is open in memory, the
//! rest in sled.
//!
//! ```text
//! writer ──publish──▶ view (memory) ──a thread of its own, in batches──▶ shelf (sled)
//! reader ◀── view, and where it has nothing ── shelf
//! ```
//!
//! **Invariant:** nothing is only here. When sled fails, whenever and however, the view is built from the log
//! again and sled is thrown away; nobody who reads or writes notices but by the time it takes.

mod fold;
mod shelf;
mod state;
mod view;

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use landfall_engine::core::lane::{Lane, LaneId};
use landfall_engine::core::run::RunId;
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::RunQuery;
use uuid::Uuid;

pub(crate) use fold::{facts, salvage, salvage_on};
use shelf::{Shelf, Unusable};
use state::{State, Unsaved};
pub(crate) use view::{Fact, RunEntry, View};
use view::{asks_for, limit};

use crate::segment::files::Segments;
use crate::segment::reader::Mark;
use crate::segment::walk::{Damage, Walk, Walked};

/// Changes are collected this long before they are written down: a run that is busy is written once, not once
/// an event. What a crash loses of it is read from the log again, within milliseconds.
const COLLECT: Duration = Duration::from_millis(50);

/// With this many events collected, nobody waits any longer.
const COLLECT_MAX: usize = 10_000;

/// With this many events not yet written down, the writer of the log waits for the index.
const UNSAVED_MAX: usize = 200_000;

/// What was done about the index when the log was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexReport {
    /// It was there, and read on by this many events.
    CaughtUp {
        /// How many.
        events: u64,
    },
    /// It was built from the log.
    Rebuilt {
        /// From how many events.
        events: u64,
        /// What was wrong with the old one.
        why: String,
    },
    /// It is in memory only.
    InMemory {
        /// Why it is not in sled.
        why: String,
    },
}

impl fmt::Display for IndexReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CaughtUp { events } => write!(f, "the index was read on by {events} events"),
            Self::Rebuilt { events, why } => write!(f, "the index was built from {events} events: {why}"),
            Self::InMemory { why } => write!(f, "the index is in memory only: {why}"),
        }
    }
}

/// Where an index is kept.
#[derive(Clone, Debug)]
pub(crate) struct IndexPlace {
    /// None: in memory.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) cache_bytes: u64,
}

/// Why an index can't be opened.
#[derive(Debug)]
pub(crate) enum IndexError {
    /// The log is not in order.
    Damaged(Damage),
    /// The log can't be read.
    Io(io::Error),
}

impl From<io::Error> for IndexError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The index of a log.
#[derive(Debug)]
pub(crate) struct Index {
    segments: Segments,
    log_id: Uuid,
    state: Mutex<State>,
    /// There is something to write down.
    changed: Condvar,
    /// Something was written down.
    saved: Condvar,
}

impl Index {
    /// Opens the index of a log that ends at `end`, and reads on what it has not seen.
    pub(crate) fn open(
        segments: &Segments,
        log_id: Uuid,
        place: &IndexPlace,
        end: Mark,
    ) -> Result<(Self, IndexReport), IndexError> {
        let Some(folder) = place.folder.as_deref() else {
            let index = Self::new(segments.clone(), log_id, None, View::default(), Mark::START);
            index.read_on(end)?;
            return Ok((index, IndexReport::InMemory { why: "so configured".into() }));
        };
        let why = match Self::reuse(segments, log_id, folder, place.cache_bytes) {
            Ok(index) => {
                let seen = index.locked().through;
                let events = index.read_on(end)?;
                tracing::debug!(seen = seen.seq, events, "the index was read on");
                return Ok((index, IndexReport::CaughtUp { events }));
            }
            Err(Unusable(why)) => why,
        };
        match Shelf::create(folder, log_id, place.cache_bytes) {
            Ok(shelf) => {
                let shelf = Some(Arc::new(shelf));
                let index = Self::new(segments.clone(), log_id, shelf, View::default(), Mark::START);
                let events = index.read_on(end)?;
                Ok((index, IndexReport::Rebuilt { events, why }))
            }
            Err(Unusable(why)) => {
                let index = Self::new(segments.clone(), log_id, None, View::default(), Mark::START);
                index.read_on(end)?;
                Ok((index, IndexReport::InMemory { why }))
            }
        }
    }

    /// Returns the index of a log that is read only, in memory.
    pub(crate) fn of_view(segments: Segments, log_id: Uuid, view: View, through: Mark) -> Self {
        Self::new(segments, log_id, None, view, through)
    }

    fn new(segments: Segments, log_id: Uuid, shelf: Option<Arc<Shelf>>, view: View, through: Mark) -> Self {
        let state = Mutex::new(State::new(shelf, view, through));
        Self { segments, log_id, state, changed: Condvar::new(), saved: Condvar::new() }
    }

    fn reuse(segments: &Segments, log_id: Uuid, folder: &Path, cache_bytes: u64) -> Result<Self, Unusable> {
        let shelf = Shelf::open(folder, log_id, cache_bytes)?;
        let view = shelf.warm()?;
        let through = shelf.through()?.unwrap_or(Mark::START);
        Ok(Self::new(segments.clone(), log_id, Some(Arc::new(shelf)), view, through))
    }

    /// Reads what the log has beyond the index. Returns how many events that were.
    fn read_on(&self, end: Mark) -> Result<u64, IndexError> {
        let from = self.locked().through;
        if from.seq > end.seq || (from.seq == end.seq && from.hash != end.hash) {
            return Err(IndexError::Damaged(not_what_it_was(from, end)));
        }
        let mut walk = Walk::behind(self.segments.clone(), self.log_id, from)?;
        while walk.next_seq() <= end.seq {
            match walk.next()? {
                Walked::Frame(at, frame) => {
                    let mut state = self.locked();
                    state.through = walk.mark();
                    facts(at, &frame, |fact, _, _| self.take_in(&mut state, fact));
                    if state.unsaved.events >= COLLECT_MAX {
                        drop(state);
                        self.save();
                    }
                }
                Walked::Damage(damage) => return Err(IndexError::Damaged(damage)),
                Walked::Torn(_) | Walked::End => return Err(IndexError::Damaged(not_what_it_was(from, end))),
            }
        }
        self.save();
        Ok(end.seq - from.seq)
    }

    /// Takes in events that are durable now.
    pub(crate) fn publish<'a>(&self, facts: impl Iterator<Item = Fact<'a>>, through: Mark) {
        let mut state = self.locked();
        // First the mark: if sled fails in between, the log is read again up to here.
        state.through = through;
        for fact in facts {
            self.take_in(&mut state, &fact);
        }
        self.changed.notify_one();
        while state.unsaved.events > UNSAVED_MAX && state.shelf.is_some() {
            state = self.saved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn take_in(&self, state: &mut State, fact: &Fact<'_>) {
        if fact.seq > 1
            && !state.view.runs.contains_key(&fact.run_id)
            && let Some(shelf) = &state.shelf
        {
            match shelf.run(fact.run_id) {
                Ok(Some(entry)) => _ = state.view.runs.insert(fact.run_id, entry),
                Ok(None) => {}
                Err(why) => self.heal(state, &why),
            }
        }
        state.apply(fact);
    }

    /// Returns a run.
    pub(crate) fn entry(&self, run_id: RunId) -> Option<RunEntry> {
        self.look_up(|view| view.runs.get(&run_id).cloned(), |shelf| shelf.run(run_id))
    }

    /// Returns who claimed a name.
    pub(crate) fn claimed(&self, claim: &str) -> Option<RunId> {
        if landfall_engine::sabotaged!(ForgetClaims) {
            return None;
        }
        self.look_up(|view| view.claims.get(claim).copied(), |shelf| shelf.claimed(claim))
    }

    /// Returns every open run, oldest first.
    pub(crate) fn open_runs(&self) -> Vec<RunId> {
        self.locked().view.open_runs()
    }

    /// Returns a lane.
    pub(crate) fn lane(&self, id: &LaneId) -> Lane {
        self.locked().view.lanes.get(id).cloned().unwrap_or_default()
    }

    /// Returns every lane.
    pub(crate) fn lanes(&self) -> Vec<(LaneId, Lane)> {
        self.locked().view.lanes()
    }

    /// Returns the lines that a query asks for, newest first.
    pub(crate) fn query(&self, query: &RunQuery) -> Vec<RunSummary> {
        let (mut lines, fresh, shelf) = {
            let state = self.locked();
            // Every open run is in memory.
            let Some(shelf) = state.shelf.clone().filter(|_| !query.open) else {
                return state.view.query(query);
            };
            let fresh: HashSet<RunId> = state.view.runs.keys().copied().collect();
            (state.view.query(query), fresh, shelf)
        };
        let shelved = shelf.runs_before(query.before).filter_map(|item| match item {
            Ok((run_id, _)) if fresh.contains(&run_id) => None,
            Ok((_, entry)) => entry.line().filter(|line| asks_for(query, line)).map(Ok),
            Err(why) => Some(Err(why)),
        });
        match shelved.take(limit(query)).collect::<Result<Vec<_>, _>>() {
            Ok(shelved) => lines.extend(shelved),
            Err(why) => {
                let mut state = self.locked();
                self.heal(&mut state, &why);
                return state.view.query(query);
            }
        }
        lines.sort_unstable_by_key(|line| std::cmp::Reverse(line.id));
        lines.truncate(limit(query));
        lines
    }

    /// Writes changes down until [`close`](Self::close): the life of the index's thread.
    pub(crate) fn keep_saving(&self) {
        loop {
            let mut state = self.locked();
            while state.unsaved.events == 0 && !state.closing && state.shelf.is_some() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let is_quiet = |state: &mut State| state.unsaved.events < COLLECT_MAX && !state.closing;
            let waited = self.changed.wait_timeout_while(state, COLLECT, is_quiet);
            let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            let done = state.closing || state.shelf.is_none();
            drop(state);
            self.save();
            if done {
                return;
            }
        }
    }

    /// Asks the index's thread to write down what is left, and to end.
    pub(crate) fn close(&self) {
        self.locked().closing = true;
        self.changed.notify_one();
    }

    /// Lets go of sled. What is asked from now on is answered from memory.
    pub(crate) fn let_go(&self) {
        if let Some(shelf) = self.locked().shelf.take()
            && let Err(why) = shelf.flush()
        {
            tracing::warn!(%why, "the index could not be flushed; what is missing is read from the log");
        }
    }

    fn save(&self) {
        let (changes, shelf) = {
            let mut state = self.locked();
            let Some(shelf) = state.shelf.clone() else { return };
            (state.changes(), shelf)
        };
        let saved = shelf.save(&changes);
        let mut state = self.locked();
        match saved {
            Ok(()) => state.forget(&changes),
            Err(why) => self.heal(&mut state, &why),
        }
        self.saved.notify_all();
    }

    fn look_up<T>(
        &self,
        in_view: impl Fn(&View) -> Option<T>,
        on_shelf: impl Fn(&Shelf) -> Result<Option<T>, Unusable>,
    ) -> Option<T> {
        let shelf = {
            let state = self.locked();
            match (in_view(&state.view), &state.shelf) {
                (Some(found), _) => return Some(found),
                (None, None) => return None,
                (None, Some(shelf)) => Arc::clone(shelf),
            }
        };
        on_shelf(&shelf).unwrap_or_else(|why| {
            let mut state = self.locked();
            self.heal(&mut state, &why);
            in_view(&state.view)
        })
    }

    /// Goes on without sled: reads the whole log into memory. The next open builds sled's copy again.
    fn heal(&self, state: &mut State, why: &Unusable) {
        let Some(shelf) = state.shelf.take() else { return };
        tracing::warn!(%why, "the index failed and is built from the log again, in memory");
        if let Err(error) = Shelf::remove(shelf.folder()) {
            tracing::warn!(%error, "the failed index could not be removed");
        }
        let mut view = View::default();
        match self.read_up_to(state.through, &mut view) {
            Ok(()) => state.view = view,
            Err(error) => tracing::error!(%error, "the log could not be read; closed runs can't be found"),
        }
        state.unsaved = Unsaved::default();
        self.saved.notify_all();
    }

    fn read_up_to(&self, end: Mark, view: &mut View) -> io::Result<()> {
        let mut walk = Walk::from_start(self.segments.clone(), self.log_id);
        while walk.next_seq() <= end.seq {
            match walk.next()? {
                Walked::Frame(at, frame) => facts(at, &frame, |fact, _, _| {
                    view.apply(fact);
                }),
                Walked::Damage(damage) => tracing::error!(%damage, "the log is damaged"),
                Walked::Torn(_) | Walked::End => break,
            }
        }
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_what_it_was(seen: Mark, end: Mark) -> Damage {
    let what = format!(
        "event {} was recorded once, and the log that is here ends with event {} or has another in its place; \
         if an older copy was restored on purpose, remove index.sled",
        seen.seq, end.seq
    );
    let segment = crate::segment::files::name(end.segment);
    Damage { segment, offset: end.offset, what, lost: None, runs: Vec::new() }
}

#[cfg(test)]
mod tests {
    use landfall_engine::core::event::Event;
    use landfall_engine::core::stage::Stage;
    use landfall_engine::ports::EventStore;

    use super::*;
    use crate::contract::samples::{append, begun, new_run, red_life, started};
    use crate::segment::reader::FrameAt;
    use crate::{DataDir, Options};

    #[tokio::test]
    async fn an_index_that_breaks_while_it_is_open_is_replaced_and_nobody_notices() {
        let folder = tempfile::tempdir().unwrap();
        let opened = DataDir::open(folder.path(), &Options::default()).unwrap();
        let (closed, open) = (new_run(), new_run());
        let told = opened.store.append(append(closed, 0, red_life("shop"))).await.unwrap();
        opened.store.append(append(open, 0, [started("shop")])).await.unwrap();
        drop(opened);
        for query in [false, true] {
            let opened = DataDir::open(folder.path(), &Options::default()).unwrap();
            let shelf = opened.store.index().locked().shelf.clone().unwrap();
            assert!(
                !opened.store.index().locked().view.runs.contains_key(&closed),
                "it is on the shelf alone"
            );
            shelf.spoil(closed);
            drop(shelf);
            if query {
                let listed = opened.store.runs(RunQuery::default()).await.unwrap();
                assert_eq!(listed.iter().map(|run| run.id).collect::<Vec<_>>(), [open, closed]);
            }
            assert_eq!(opened.store.events(closed).await.unwrap(), told);
            assert!(opened.store.index().locked().shelf.is_none());
            assert_eq!(opened.store.open_runs().await.unwrap(), [open]);
            let seq = opened.store.run(open).await.unwrap().unwrap().seq;
            let next = opened.store.append(append(open, seq, [begun(Stage::Test)])).await.unwrap();
            assert_eq!(next[0].seq, seq + 1);
            drop(opened);
            let opened = DataDir::open(folder.path(), &Options::default()).unwrap();
            assert!(
                matches!(opened.report.index, IndexReport::Rebuilt { events, .. } if events == 5 + seq + 1)
            );
        }
    }

    #[test]
    fn what_changes_while_it_is_written_down_is_written_again() {
        let segments = Segments::new(Arc::new(crate::disk::FaultyDisk::new()));
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::create(folder.path(), Uuid::nil(), 1_000_000).unwrap();
        let index = Index::new(segments, Uuid::nil(), Some(Arc::new(shelf)), View::default(), Mark::START);
        let (run, events) = (new_run(), red_life("shop"));
        let fact = |seq: u64, event| Fact {
            run_id: run,
            seq,
            at_ms: 0,
            actor: "ada",
            claim: None,
            event: Ok(event),
            frame: FrameAt { segment: 1, offset: seq },
        };
        index.publish(events.iter().zip(1..).map(|(event, seq)| fact(seq, event)), Mark::START);
        let being_written = index.locked().changes();
        let late = Event::CancelRequested { reason: "too late".into() };
        index.publish([fact(6, &late)].into_iter(), Mark::START);
        index.locked().forget(&being_written);
        index.save();
        assert_eq!(index.entry(run).map(|entry| entry.seq), Some(6));
        assert!(
            index.locked().view.runs.is_empty(),
            "a closed run that is written down is not kept in memory"
        );
    }
}
