//! The store over a segment log.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use landfall_engine::core::event::Envelope;
use landfall_engine::core::lane::{Lane, LaneId};
use landfall_engine::core::run::RunId;
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::{Append, AppendError, Cursor, EventStore, Low, ReadError, RunQuery};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::Log;
use super::files::Segments;
use super::follow::{cursor, follow};
use super::reader::Mark;
use super::recovery::{Found, find_end, settle_end};
use super::tail::Tail;
use super::verify::{Verification, verify};
use super::walk::{Damage, TornTail};
use super::writer::{Request, Writer, unknown};
use crate::checkpoint::CheckpointPlace;
use crate::checkpoint::keeper::{self, Keeper};
use crate::data_dir::Options;
use crate::disk::Disk;
use crate::index::{Index, IndexError, IndexPlace, IndexReport, salvage};
use crate::record::{Prepared, refused};
use crate::reserve::Reserve;

/// How many appends may wait. A group takes all of them, so a longer queue would only hide a slow disk.
const QUEUE: usize = 1024;

/// Where the store does its own work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// On threads of its own, so that nobody waits for a disk who need not.
    Threads,
    /// In the caller's runtime, one thing after the other: a simulation is to be the same every time.
    Inline,
}

/// Where a log is, and how it is written.
#[derive(Debug)]
pub(crate) struct LogPlace {
    pub(crate) work: Work,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) log_id: Uuid,
    pub(crate) segment_bytes: u64,
    /// What is given back to the disk when it is full.
    pub(crate) reserve: Option<Arc<Reserve>>,
    pub(crate) index: IndexPlace,
    /// None: no checkpoints are written.
    pub(crate) checkpoints: Option<CheckpointPlace>,
    /// What keeps others out of the folder; given back when the store is dropped.
    pub(crate) held: Option<File>,
}

/// Why a log can't be opened: the disk refused.
#[derive(Debug)]
pub(crate) struct StoreError {
    pub(crate) doing: &'static str,
    pub(crate) source: io::Error,
}

/// What was found and done when a log was opened.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenReport {
    /// How many events the log has.
    pub events: u64,
    /// In how many segments.
    pub segments: usize,
    /// The remains of an unfinished write, which were removed. Nobody was told that it had happened.
    pub recovered: Option<TornTail>,
    /// What is wrong with the log. It is read only then.
    pub damage: Option<Damage>,
    /// What was done about the index.
    pub index: IndexReport,
}

impl fmt::Display for OpenReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, segments, recovered, damage, index } = self;
        write!(f, "{events} events in {segments} segments; {index}")?;
        if let Some(TornTail { segment, offset, bytes }) = recovered {
            write!(f, "; {bytes} bytes of an unfinished write were removed from {segment} at byte {offset}")?;
        }
        if let Some(damage) = damage {
            write!(f, "; the log is damaged and read only: {damage}")?;
        }
        Ok(())
    }
}

/// An event store on a segment log. Dropping it finishes what is queued and lets go of the folder.
#[derive(Debug)]
pub struct SegmentStore {
    /// None once the store closes.
    queue: Option<mpsc::Sender<Request>>,
    log: Arc<Log>,
    durable: watch::Receiver<Mark>,
    failed: watch::Receiver<Option<String>>,
    damage: Option<Damage>,
    work: Work,
    threads: Vec<JoinHandle<()>>,
    /// The lock of the folder, given back last.
    held: Option<File>,
}

impl SegmentStore {
    /// Opens the log on a disk of one's own, with its index in memory: for tests of the log itself.
    ///
    /// # Errors
    ///
    /// What the disk said.
    pub fn on_disk(disk: Arc<dyn Disk>, log_id: Uuid, segment_bytes: u64) -> io::Result<(Self, OpenReport)> {
        Self::open_on_disk(disk, log_id, segment_bytes, Work::Threads)
    }

    /// Opens it so that it does all its work in the caller's runtime, with no thread of its own: for simulations,
    /// in which one seed is one history. It ends with the runtime.
    ///
    /// # Errors
    ///
    /// What the disk said.
    pub fn inline_on_disk(
        disk: Arc<dyn Disk>,
        log_id: Uuid,
        segment_bytes: u64,
    ) -> io::Result<(Self, OpenReport)> {
        Self::open_on_disk(disk, log_id, segment_bytes, Work::Inline)
    }

    fn open_on_disk(
        disk: Arc<dyn Disk>,
        log_id: Uuid,
        segment_bytes: u64,
        work: Work,
    ) -> io::Result<(Self, OpenReport)> {
        let index = IndexPlace { folder: None, cache_bytes: 0 };
        let (reserve, checkpoints) = (None, None);
        let place = LogPlace { work, disk, log_id, segment_bytes, reserve, index, checkpoints, held: None };
        Self::open(place).map_err(|error| error.source)
    }

    /// Opens the log on a disk of one's own, with so much of the disk set aside, and so much to be free for new runs.
    ///
    /// # Errors
    ///
    /// What the disk said.
    pub fn on_disk_with_reserve(
        disk: Arc<dyn Disk>,
        log_id: Uuid,
        reserve_bytes: u64,
        disk_low_bytes: u64,
    ) -> io::Result<Self> {
        let place = "the log".to_owned();
        let reserve = Reserve::set_aside(Arc::clone(&disk), place, reserve_bytes, disk_low_bytes);
        let place = LogPlace {
            work: Work::Threads,
            disk,
            log_id,
            segment_bytes: Options::default().segment_bytes,
            reserve: Some(Arc::new(reserve)),
            index: IndexPlace { folder: None, cache_bytes: 0 },
            checkpoints: None,
            held: None,
        };
        Self::open(place).map(|(store, _)| store).map_err(|error| error.source)
    }

    /// Opens a log, mends its end where a crash left it torn, and starts to serve.
    pub(crate) fn open(place: LogPlace) -> Result<(Self, OpenReport), StoreError> {
        let LogPlace { work, disk, log_id, segment_bytes, reserve, index: index_place, checkpoints, held } =
            place;
        let segments = Segments::new(disk).with_reserve(reserve);
        remove_unfinished(&segments).map_err(doing("removing what an earlier start left in the log"))?;
        let mut found = find_end(&segments, log_id).map_err(doing("reading the log"))?;
        if let Some(place) = &checkpoints {
            let short = keeper::falls_short(place, log_id, found.mark);
            found.damage = found.damage.or(short.map_err(doing("reading the checkpoints"))?);
        }
        let opened = match &found.damage {
            Some(damage) => Err(IndexError::Damaged(damage.clone())),
            None => {
                // First the log: an index that saved what a power cut then takes would call the log damaged for ever.
                settle_end(&segments, &found).map_err(doing("making the end of the log durable"))?;
                Index::open(&segments, log_id, &index_place, found.mark)
            }
        };
        let (index, index_report) = match opened {
            Ok(opened) => opened,
            Err(IndexError::Io(source)) => return Err(doing("reading the log")(source)),
            Err(IndexError::Damaged(damage)) => {
                return Self::open_damaged(&segments, log_id, &found, damage, held, work);
            }
        };
        let tail = match found.tail {
            Some(at) => Tail::resume(segments.clone(), log_id, segment_bytes, at, found.torn.is_some()),
            None => {
                let Mark { seq, hash, .. } = found.mark;
                Tail::create(segments.clone(), log_id, segment_bytes, seq + 1, hash)
            }
        };
        let tail = tail.map_err(doing("preparing the end of the log"))?;
        let report = OpenReport {
            events: found.mark.seq,
            segments: found.segments.max(1),
            recovered: found.torn,
            damage: None,
            index: index_report,
        };
        let log = Arc::new(Log { segments, log_id, index });
        let mut store = Self::serve(log, tail, found.mark, held, work).map_err(doing("starting threads"))?;
        if let Some(place) = checkpoints {
            store.keep_checkpoints(place).map_err(doing("reading the checkpoints"))?;
        }
        Ok((store, report))
    }

    /// Starts the thread that signs heads. It ends by itself when the writer does.
    fn keep_checkpoints(&mut self, place: CheckpointPlace) -> io::Result<()> {
        let log = Arc::clone(&self.log);
        let keeper = Keeper::new(place, log.segments.clone(), log.log_id, self.durable.clone())?;
        self.threads.push(thread("log-checkpoints", move || keeper.keep(&log.index))?);
        Ok(())
    }

    fn serve(log: Arc<Log>, tail: Tail, mark: Mark, held: Option<File>, work: Work) -> io::Result<Self> {
        let (durable_sender, durable) = watch::channel(mark);
        let (failed_sender, failed) = watch::channel(None);
        let (queue, requests) = mpsc::channel(QUEUE);
        let writer = Writer::new(Arc::clone(&log), tail, durable_sender, failed_sender);
        let threads = match work {
            Work::Threads => {
                let for_index = Arc::clone(&log);
                vec![
                    thread("log-writer", move || writer.serve(requests))?,
                    thread("log-index", move || for_index.index.keep_saving())?,
                ]
            }
            Work::Inline => {
                tokio::spawn(writer.serve_inline(requests));
                Vec::new()
            }
        };
        Ok(Self { queue: Some(queue), log, durable, failed, damage: None, work, threads, held })
    }

    /// Opens a damaged log for reading what can be read.
    fn open_damaged(
        segments: &Segments,
        log_id: Uuid,
        found: &Found,
        damage: Damage,
        held: Option<File>,
        work: Work,
    ) -> Result<(Self, OpenReport), StoreError> {
        let (view, mark, damages) =
            salvage(segments.clone(), log_id).map_err(doing("reading the damaged log"))?;
        // The walk knows more about the place than whoever noticed first.
        let damage = damages.into_iter().next().unwrap_or(damage);
        tracing::error!(%damage, "the log is damaged and read only");
        let report = OpenReport {
            events: mark.seq,
            segments: found.segments,
            recovered: None,
            damage: Some(damage.clone()),
            index: IndexReport::InMemory { why: "the log is damaged".into() },
        };
        let index = Index::of_view(segments.clone(), log_id, view, mark);
        let log = Arc::new(Log { segments: segments.clone(), log_id, index });
        let (_, durable) = watch::channel(mark);
        let (_, failed) = watch::channel(Some(format!("the log is damaged: {damage}")));
        let threads = Vec::new();
        let store = Self { queue: None, log, durable, failed, damage: Some(damage), work, threads, held };
        Ok((store, report))
    }

    /// Returns what is wrong with the log. It is read only then.
    pub const fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// Audits the whole log as it is now, byte by byte.
    ///
    /// # Errors
    ///
    /// When the disk can't be read. What is wrong with the log is in the answer.
    pub async fn verify(&self) -> Result<Verification, ReadError> {
        self.read("the log", |log| {
            verify(log.segments.clone(), log.log_id)
                .map_err(|source| ReadError::Backend { doing: "the log".into(), source: source.into() })
        })
        .await
    }

    /// Records each event of an append by itself, which is wrong.
    #[cfg(feature = "sabotage")]
    async fn append_in_parts(&self, append: Append) -> Result<Vec<Envelope>, AppendError> {
        let mut recorded = Vec::new();
        for (event, nth) in append.events.iter().cloned().zip(0..) {
            let claims = append.claims.get(nth as usize).cloned().into_iter().collect();
            let part =
                Append { events: vec![event], expected: append.expected + nth, claims, ..append.clone() };
            recorded.extend(self.append(part).await?);
        }
        Ok(recorded)
    }

    #[cfg(test)]
    pub(crate) fn index(&self) -> &Index {
        &self.log.index
    }

    /// Reads where reading may block.
    async fn read<T: Send + 'static>(
        &self,
        what: &str,
        read: impl FnOnce(&Log) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        if self.work == Work::Inline {
            return read(&self.log);
        }
        let log = Arc::clone(&self.log);
        match tokio::task::spawn_blocking(move || read(&log)).await {
            Ok(answer) => answer,
            Err(error) => Err(ReadError::Backend { doing: what.to_owned(), source: error.into() }),
        }
    }
}

#[async_trait]
impl EventStore for SegmentStore {
    async fn append(&self, append: Append) -> Result<Vec<Envelope>, AppendError> {
        if let Some(damage) = &self.damage {
            return Err(AppendError::Corrupt { reason: damage.to_string() });
        }
        #[cfg(feature = "sabotage")]
        if landfall_engine::sabotaged!(SplitAppends) && append.events.len() > 1 {
            return self.append_in_parts(append).await;
        }
        let append = Prepared::new(append)?;
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(|| refused("the log is closed".into()))?;
        if queue.send(Request { append, reply }).await.is_err() {
            return Err(refused("the log is closed".into()));
        }
        answer.await.unwrap_or_else(|gone| Err(unknown(gone.into())))
    }

    async fn events(&self, run_id: RunId) -> Result<Vec<Envelope>, ReadError> {
        self.read("a run", move |log| log.history(run_id)).await
    }

    async fn runs(&self, query: RunQuery) -> Result<Vec<RunSummary>, ReadError> {
        self.read("the list of runs", move |log| Ok(log.index.query(&query))).await
    }

    async fn run(&self, run_id: RunId) -> Result<Option<RunSummary>, ReadError> {
        let entry = self.read("a run", move |log| Ok(log.index.entry(run_id))).await?;
        entry.map_or(Ok(None), |entry| entry.line_of(run_id))
    }

    async fn open_runs(&self) -> Result<Vec<RunId>, ReadError> {
        Ok(self.log.index.open_runs())
    }

    async fn lane(&self, lane: &LaneId) -> Result<Lane, ReadError> {
        Ok(self.log.index.lane(lane))
    }

    async fn lanes(&self) -> Result<Vec<(LaneId, Lane)>, ReadError> {
        Ok(self.log.index.lanes())
    }

    async fn claimed(&self, claim: &str) -> Result<Option<RunId>, ReadError> {
        let claim = claim.to_owned();
        self.read("a claim", move |log| Ok(log.index.claimed(&claim))).await
    }

    async fn near_end(&self, events: u64) -> Cursor {
        cursor(self.durable.borrow().seq.saturating_sub(events), self.log.log_id)
    }

    fn follow(&self, from: Cursor) -> BoxStream<'static, Result<(Cursor, Envelope), ReadError>> {
        follow(self.log.segments.clone(), self.log.log_id, self.durable.clone(), &from, self.work)
    }

    fn log_id(&self) -> Uuid {
        self.log.log_id
    }

    async fn admits(&self) -> Result<(), Low> {
        let Some(reserve) = self.log.segments.reserve().map(Arc::clone) else { return Ok(()) };
        // A disk may take its time, most of all to set the reserve aside again.
        let asked = tokio::task::spawn_blocking(move || reserve.admits()).await;
        asked.unwrap_or(Ok(()))
    }

    async fn failed(&self) -> String {
        let mut failed = self.failed.clone();
        match failed.wait_for(Option::is_some).await.map(|reason| reason.clone()) {
            Ok(Some(reason)) => reason,
            // The store closes, and all is well.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for SegmentStore {
    fn drop(&mut self) {
        self.queue = None;
        // The writer first: it still has something for the index.
        for (i, thread) in self.threads.drain(..).enumerate() {
            if i == 1 {
                self.log.index.close();
            }
            if thread.join().is_err() {
                tracing::error!("a thread of the log panicked");
            }
        }
        self.log.index.let_go();
        // Closing is not enough: a child that was forked a moment ago shares the lock until it execs.
        if let Some(Err(error)) = self.held.as_ref().map(File::unlock) {
            tracing::warn!(%error, "the data folder could not be unlocked; it is when this process ends");
        }
    }
}

/// Removes segments that were being made when an engine died.
fn remove_unfinished(segments: &Segments) -> io::Result<()> {
    let disk = segments.disk();
    disk.list()?.iter().filter(|name| name.ends_with(".seg.new")).try_for_each(|name| disk.remove(name))
}

fn thread(name: &str, life: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(life)
}

fn doing(doing: &'static str) -> impl Fn(io::Error) -> StoreError {
    move |source| StoreError { doing, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::samples::{append, new_run, red_life};
    use crate::disk::{FaultyDisk, Kept, Op};

    #[tokio::test]
    async fn the_index_never_knows_an_event_that_a_power_cut_can_still_take() {
        const FIRST: &str = "00000000000000000001.seg";
        let (disk, log_id) = (FaultyDisk::new(), Uuid::from_u128(1));
        let (store, _) = SegmentStore::on_disk(Arc::new(disk.clone()), log_id, 1 << 20).unwrap();
        let durable = disk.bytes(FIRST).unwrap();
        store.append(append(new_run(), 0, red_life("shop"))).await.unwrap();
        drop(store);
        // As kill -9 leaves it: written, and not synced.
        let written = disk.bytes(FIRST).unwrap();
        disk.set_bytes(FIRST, durable);
        disk.open(FIRST).unwrap().write_at(0, &written).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let open = |disk: FaultyDisk| {
            SegmentStore::open(LogPlace {
                work: Work::Threads,
                disk: Arc::new(disk),
                log_id,
                segment_bytes: 1 << 20,
                reserve: None,
                index: IndexPlace { folder: Some(folder.path().join("index.sled")), cache_bytes: 1 << 20 },
                checkpoints: None,
                held: None,
            })
        };
        disk.fail(Op::Sync, 0, io::ErrorKind::Other);
        assert!(open(disk.clone()).is_err());
        let (_, report) = open(disk.crash(Kept::Nothing)).unwrap();
        assert_eq!((report.events, report.damage), (0, None));
    }
}
