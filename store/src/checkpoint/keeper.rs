//! The thread that signs the log's head when runs have ended.
//!
//! ```text
//! durable mark moved ─▶ collect a moment ─▶ read on from the last checkpoint ─▶ runs ended? sign, write
//! ```
//!
//! It reads the segments like any follower, so nobody ever waits for it, and what it signs is what the disk
//! gave back, hash by hash. It starts at the newest checkpoint that is there: a crash between the end of a run
//! and its checkpoint needs no mending of its own. A log that is not what its last checkpoint says gets no other.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use landfall_engine::core::event::{Event, EventHash};
use landfall_engine::core::run::{RunId, RunState};
use landfall_engine::ports::{Clock, SystemClock};
use landfall_engine::timeline::timestamp;
use tokio::sync::watch;
use uuid::Uuid;

use super::note::{Checkpoint, Ended, Reached};
use super::{CheckpointPlace, folder};
use crate::index::Index;
use crate::record::{Record, skim_name, skim_place};
use crate::segment::files::{Segments, name};
use crate::segment::frame::Frame;
use crate::segment::reader::Mark;
use crate::segment::walk::{Damage, Walk, Walked};

/// Runs that end within this time share a checkpoint, and a run that ends and is closed needs but one.
const COLLECT: Duration = Duration::from_millis(200);

/// The most runs that a checkpoint names. More are covered all the same.
const RUNS_MAX: usize = 1_000;

/// Why there are no more checkpoints until the next start.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("the log could not be read")]
    Disk(#[from] io::Error),
    #[error("the log is damaged: {0}")]
    Damaged(Damage),
    #[error("event {seq} is not what checkpoint {seq} says it was; see `landfall verify`")]
    Rewritten { seq: u64 },
    #[error("the log that is read back does not lead to event {seq} as it was recorded")]
    NotReadBack { seq: u64 },
}

/// Says so when a log ends before what its newest checkpoint covers, or has another end: what was durable once is
/// gone, and that is no torn tail.
pub(crate) fn falls_short(place: &CheckpointPlace, log_id: Uuid, end: Mark) -> io::Result<Option<Damage>> {
    let newest = folder::newest(&*place.disk, log_id)?;
    let gone = newest.filter(|newest| {
        newest.global_seq > end.seq || (newest.global_seq == end.seq && newest.head != end.hash)
    });
    Ok(gone.map(|newest| Damage {
        segment: name(end.segment),
        offset: end.offset,
        what: format!(
            "event {} was recorded once and signed in a checkpoint, and the log that is here ends with event {} or has \
             another in its place; if an older copy was restored on purpose, move the checkpoints behind it away",
            newest.global_seq, end.seq
        ),
        lost: None,
        runs: newest.runs.iter().map(|ended| ended.run).collect(),
    }))
}

/// What the thread has.
#[derive(Debug)]
pub(crate) struct Keeper {
    place: CheckpointPlace,
    log_id: Uuid,
    durable: watch::Receiver<Mark>,
    walk: Walk,
    /// The newest checkpoint, until the walk came by its event.
    anchor: Option<(u64, EventHash)>,
    /// Events up to here are covered by a checkpoint.
    covered: u64,
    ended: Vec<Ended>,
    /// How far every run went since then.
    reached: BTreeMap<RunId, u64>,
}

impl Keeper {
    /// Starts where the newest checkpoint ends.
    pub(crate) fn new(
        place: CheckpointPlace,
        segments: Segments,
        log_id: Uuid,
        durable: watch::Receiver<Mark>,
    ) -> io::Result<Self> {
        let newest = folder::newest(&*place.disk, log_id)?;
        let anchor = newest.map(|newest| (newest.global_seq, newest.head));
        let walk = match anchor {
            Some((seq, _)) => Walk::near(segments, log_id, seq)?,
            None => Walk::from_start(segments, log_id),
        };
        let covered = anchor.map_or(0, |(seq, _)| seq);
        Ok(Self {
            place,
            log_id,
            durable,
            walk,
            anchor,
            covered,
            ended: Vec::new(),
            reached: BTreeMap::new(),
        })
    }

    /// Signs heads until the log closes.
    pub(crate) fn keep(mut self, index: &Index) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!(%error, "there will be no checkpoints until the next start"),
        };
        let mut is_open = true;
        loop {
            let mark = *self.durable.borrow_and_update();
            if let Err(why) = self.read_on(mark, index) {
                return tracing::error!(%why, "there will be no checkpoints until the next start");
            }
            if let Err(error) = self.write(mark) {
                tracing::error!(%error, "a checkpoint could not be written; the next one covers it");
            }
            if !is_open {
                return;
            }
            is_open = runtime.block_on(moved(&mut self.durable));
        }
    }

    fn read_on(&mut self, mark: Mark, index: &Index) -> Result<(), Stopped> {
        while self.walk.next_seq() <= mark.seq {
            match self.walk.next()? {
                Walked::Frame(_, frame) => self.take(&frame, index)?,
                Walked::Damage(damage) => return Err(Stopped::Damaged(damage)),
                Walked::Torn(_) | Walked::End => return Err(Stopped::NotReadBack { seq: mark.seq }),
            }
        }
        let read = self.walk.mark();
        match (read.seq, read.hash) == (mark.seq, mark.hash) {
            true => Ok(()),
            false => Err(Stopped::NotReadBack { seq: mark.seq }),
        }
    }

    fn take(&mut self, frame: &Frame, index: &Index) -> Result<(), Stopped> {
        let new = frame.records().zip(frame.first_seq..).filter(|(_, seq)| *seq > self.covered);
        self.reached.extend(new.filter_map(|(text, _)| skim_place(text)));
        let anchor = self.anchor.filter(|(seq, _)| *seq < frame.next_seq());
        if anchor.is_none() && !frame.records().any(ends) {
            return Ok(());
        }
        for ((text, hash), seq) in frame.chained().zip(frame.first_seq..) {
            if let Some((seq, _)) = anchor.filter(|(at, head)| *at == seq && *head != hash) {
                return Err(Stopped::Rewritten { seq });
            }
            if seq > self.covered && ends(text) {
                self.ended_by(text, hash, index);
            }
        }
        if anchor.is_some() {
            self.anchor = None;
        }
        Ok(())
    }

    /// Remembers a run that ended, if this record says so.
    fn ended_by(&mut self, text: &[u8], hash: EventHash, index: &Index) {
        let Ok(mut record) = Record::parse(text) else { return };
        let of_index = |run| index.entry(run).and_then(|entry| entry.line()).map(|line| line.state);
        let state = match record.event() {
            Ok(Event::RunLive { .. }) => Some(RunState::Live),
            Ok(Event::RunFailed { .. }) => Some(RunState::Failed),
            Ok(Event::RollbackSucceeded { .. }) => Some(RunState::RolledBack),
            Ok(Event::RunClosed) if self.ended.iter().any(|ended| ended.run == record.run_id) => None,
            Ok(Event::RunClosed) => of_index(record.run_id),
            Ok(_) | Err(_) => None,
        };
        let Record { run_id, seq, global_seq, .. } = record;
        self.ended.extend(state.map(|state| Ended { run: run_id, state, seq, global_seq, hash }));
        if self.ended.len() > RUNS_MAX {
            let unnamed = self.ended.remove(0);
            self.reached.remove(&unnamed.run);
        }
    }

    /// Writes a checkpoint if runs ended. What could not be written is in the next one.
    fn write(&mut self, mark: Mark) -> io::Result<()> {
        if self.ended.is_empty() {
            return Ok(());
        }
        let at = timestamp(SystemClock.now_ms());
        let head = (mark.seq, mark.hash);
        let is_over = |run: &RunId| self.ended.iter().any(|ended| ended.run == *run);
        let open = self.reached.iter().rev().filter(|(run, _)| !is_over(run)).take(RUNS_MAX);
        let open = open.map(|(run, seq)| Reached { run: *run, seq: *seq }).collect();
        let runs = (self.ended.clone(), open);
        let bytes = Checkpoint::sign(&self.place.key, self.log_id, head, runs, at)?;
        folder::write(&*self.place.disk, mark.seq, &bytes)?;
        self.ended.clear();
        self.reached.clear();
        self.covered = mark.seq;
        Ok(())
    }
}

/// Waits until the mark moved, and a moment longer; false when it will not move again.
async fn moved(durable: &mut watch::Receiver<Mark>) -> bool {
    if durable.changed().await.is_err() {
        return false;
    }
    let closing = async { while durable.changed().await.is_ok() {} };
    tokio::time::timeout(COLLECT, closing).await.is_err()
}

/// Tells whether a record ends or closes a run, without parsing it.
fn ends(text: &[u8]) -> bool {
    let names: [&[u8]; 4] = [b"run_live", b"run_failed", b"rollback_succeeded", b"run_closed"];
    skim_name(text).is_some_and(|name| names.contains(&name))
}
