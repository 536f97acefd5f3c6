//! Follows the log: what is on disk, then what comes.
//!
//! A follower reads the segment files like anybody else and waits for the durable mark to move; nothing is
//! queued for it, so a slow one holds nobody up.

use std::collections::VecDeque;
use std::io;

use futures_util::stream::{self, BoxStream};
use landfall_engine::core::event::Envelope;
use landfall_engine::ports::{BoxError, Cursor, ReadError};
use tokio::sync::watch;
use uuid::Uuid;

use super::Work;
use super::files::Segments;
use super::reader::Mark;
use super::walk::{Walk, Walked};
use crate::record::Record;

/// How many events are read ahead of a follower that is behind.
const READ_AHEAD: usize = 256;

/// One event for a follower, or why it can't have it.
type Item = Result<(Cursor, Envelope), ReadError>;

/// Writes a cursor: the seq of the last event that was seen, and of which log.
pub(crate) fn cursor(seq: u64, log_id: Uuid) -> Cursor {
    if seq == 0 {
        return Cursor::start();
    }
    Cursor(format!("{seq}@{}", log_id.simple()))
}

/// Reads a cursor of this log.
pub(crate) fn seen(cursor: &Cursor, log_id: Uuid) -> Result<u64, ReadError> {
    if *cursor == Cursor::start() {
        return Ok(0);
    }
    let seq = cursor.0.split_once('@').filter(|(_, log)| *log == log_id.simple().to_string());
    seq.and_then(|(seq, _)| seq.parse().ok()).ok_or_else(|| ReadError::Backend {
        doing: format!("from the cursor {:?}", cursor.0),
        source: "it is no cursor of this log; start without one".into(),
    })
}

/// A reader that goes along with the log.
struct Follower {
    segments: Segments,
    log_id: Uuid,
    durable: watch::Receiver<Mark>,
    work: Work,
    seen: u64,
    walk: Option<Walk>,
    ready: VecDeque<Item>,
}

/// Returns the events behind a cursor, and those to come while `durable` has a sender.
pub(crate) fn follow(
    segments: Segments,
    log_id: Uuid,
    durable: watch::Receiver<Mark>,
    from: &Cursor,
    work: Work,
) -> BoxStream<'static, Item> {
    let seen = match seen(from, log_id) {
        Ok(seen) => seen,
        Err(error) => return Box::pin(stream::iter([Err(error)])),
    };
    let ready = VecDeque::new();
    let follower = Follower { segments, log_id, durable, work, seen, walk: None, ready };
    Box::pin(stream::unfold(Some(follower), |follower| async move { follower?.next().await }))
}

impl Follower {
    /// Returns the next event and the follower behind it; the stream's end is a follower that is gone.
    async fn next(mut self) -> Option<(Item, Option<Self>)> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some((item, Some(self)));
            }
            let durable = self.durable.borrow_and_update().seq;
            if self.seen >= durable {
                self.durable.changed().await.ok()?;
                continue;
            }
            let read = match self.work {
                Work::Inline => self.read_on(durable),
                Work::Threads => tokio::task::spawn_blocking(move || self.read_on(durable))
                    .await
                    .unwrap_or_else(|gone| Err(io::Error::other(gone))),
            };
            self = match read {
                Ok(follower) => follower,
                Err(error) => return Some((Err(backend(error.into())), None)),
            };
        }
    }

    fn read_on(mut self, durable: u64) -> io::Result<Self> {
        let mut walk = match self.walk.take() {
            Some(walk) => walk,
            None => Walk::near(self.segments.clone(), self.log_id, self.seen + 1)?,
        };
        while self.seen < durable && self.ready.len() < READ_AHEAD {
            match walk.next()? {
                Walked::Frame(_, frame) if frame.next_seq() <= self.seen + 1 => {}
                Walked::Frame(_, frame) => {
                    let new = frame.chained().zip(frame.first_seq..).filter(|(_, seq)| *seq > self.seen);
                    let items = new.map(|((text, hash), seq)| match Record::parse(text) {
                        Ok(record) => Ok((cursor(seq, self.log_id), record.read(hash)?)),
                        Err(error) => Err(backend(error.into())),
                    });
                    self.ready.extend(items);
                    self.seen = frame.next_seq() - 1;
                }
                Walked::Damage(damage) => self.ready.push_back(Err(backend(damage.to_string().into()))),
                Walked::Torn(_) | Walked::End => {
                    let reason = format!("the log ends before event {durable}, which was durable once");
                    return Err(io::Error::other(reason));
                }
            }
        }
        self.walk = Some(walk);
        Ok(self)
    }
}

fn backend(source: BoxError) -> ReadError {
    ReadError::Backend { doing: "on along the log".into(), source }
}
