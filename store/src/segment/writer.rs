//! The one thread that writes: group commit.
//!
//! ```text
//! wait for an append ─▶ drain the queue ─▶ one frame ─▶ one fdatasync ─▶ index, readers ─▶ answer everybody
//! ```
//!
//! Nothing is shown to a reader, and nobody is answered, before the frame is durable. Once a sync failed nobody
//! knows what is on the disk: everybody waiting is told so, and nothing is written ever after. A restart reads
//! what is there.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use landfall_engine::core::event::{Envelope, Event};
use landfall_engine::core::run::RunId;
use landfall_engine::ports::{AppendError, BoxError};
use landfall_engine::sabotaged;
use tokio::sync::{mpsc, oneshot, watch};

use super::Log;
use super::frame::FrameWriter;
use super::reader::{FrameAt, Mark};
use super::tail::{Tail, WriteError};
use crate::admit::{Admission, Ids, admit};
use crate::index::Fact;
use crate::record::Prepared;

/// A group takes no more appends beyond this many bytes: a frame that big already costs more than its sync.
const GROUP_BYTES: usize = 1024 * 1024;

/// How many runs the writer knows the event ids of. A run that is not among them is read from the log.
const KNOWN_RUNS_MAX: usize = 16 * 1024;

/// What an append is answered with.
pub(crate) type Reply = Result<Vec<Envelope>, AppendError>;

/// An append that waits for its turn.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) append: Prepared,
    pub(crate) reply: oneshot::Sender<Reply>,
}

/// The writer of a log.
#[derive(Debug)]
pub(crate) struct Writer {
    log: Arc<Log>,
    tail: Tail,
    durable: watch::Sender<Mark>,
    failed: watch::Sender<Option<String>>,
    known: HashMap<RunId, Ids>,
    buffer: Vec<u8>,
}

/// The appends that go into one frame.
#[derive(Debug)]
struct Group {
    frame: FrameWriter,
    written: Vec<Written>,
    claims: HashMap<String, RunId>,
    replies: Vec<(oneshot::Sender<Reply>, Reply)>,
}

#[derive(Debug)]
struct Written {
    envelope: Envelope,
    claim: Option<String>,
}

impl Writer {
    pub(crate) fn new(
        log: Arc<Log>,
        tail: Tail,
        durable: watch::Sender<Mark>,
        failed: watch::Sender<Option<String>>,
    ) -> Self {
        Self { log, tail, durable, failed, known: HashMap::new(), buffer: Vec::new() }
    }

    /// Serves appends until nobody is left to send one.
    pub(crate) fn serve(mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(first) = queue.blocking_recv() {
            self.serve_group(first, &mut queue);
        }
    }

    /// Serves appends as [`serve`](Self::serve) does, without a thread.
    pub(crate) async fn serve_inline(mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(first) = queue.recv().await {
            self.serve_group(first, &mut queue);
        }
    }

    /// Serves an append and those that wait behind it, in one frame.
    fn serve_group(&mut self, first: Request, queue: &mut mpsc::Receiver<Request>) {
        if let Some(reason) = self.failed.borrow().clone() {
            _ = first.reply.send(Err(unknown(reason.into())));
            return;
        }
        if self.known.len() > KNOWN_RUNS_MAX {
            self.known.clear();
        }
        let mark = *self.durable.borrow();
        let frame = FrameWriter::new(std::mem::take(&mut self.buffer), mark.seq + 1, mark.hash);
        let mut group = Group { frame, written: Vec::new(), claims: HashMap::new(), replies: Vec::new() };
        let mut bytes = first.append.len();
        self.take_in(&mut group, first);
        while bytes < GROUP_BYTES
            && let Ok(next) = queue.try_recv()
        {
            bytes += next.append.len();
            self.take_in(&mut group, next);
        }
        self.commit(group, mark);
    }

    /// Decides about one append, and adds its events to the frame if they are new.
    fn take_in(&mut self, group: &mut Group, Request { append, reply }: Request) {
        let answer = self.decide(group, &append).and_then(|admission| match admission {
            Admission::New => Ok(self.add(group, &append)),
            Admission::Again(first) => self.recorded(group, &append, first),
        });
        group.replies.push((reply, answer));
    }

    fn decide(&mut self, group: &Group, append: &Prepared) -> Result<Admission, AppendError> {
        let log = Arc::clone(&self.log);
        let claimed_by = |claim: &str| group.claims.get(claim).copied().or_else(|| log.index.claimed(claim));
        admit(append, self.ids_of(append.run_id)?, claimed_by)
    }

    /// Returns the ids of a run's events, those in this group's frame included.
    fn ids_of(&mut self, run_id: RunId) -> Result<&Ids, AppendError> {
        if !self.known.contains_key(&run_id) {
            let records = self.log.records(run_id).map_err(|error| AppendError::Corrupt {
                reason: format!("run {run_id} can't go on: {error}"),
            })?;
            self.known.insert(run_id, records.iter().map(|(record, _)| record.event_id).collect());
        }
        Ok(&self.known[&run_id])
    }

    fn add(&mut self, group: &mut Group, append: &Prepared) -> Vec<Envelope> {
        let ids = self.known.entry(append.run_id).or_default();
        let mut envelopes = Vec::with_capacity(append.events.len());
        for (i, event) in append.events.iter().enumerate() {
            let (seq, global_seq) = (append.expected + 1 + i as u64, group.frame.next_seq());
            let hash = group.frame.record(|buffer| event.write(append.run_id, seq, global_seq, buffer));
            let envelope = event.envelope(append, seq, global_seq, hash);
            let claim = append.claims.get(i).cloned();
            group.written.push(Written { envelope: envelope.clone(), claim });
            envelopes.push(envelope);
            ids.push(event.draft.event_id);
        }
        group.claims.extend(append.claims.iter().map(|claim| (claim.clone(), append.run_id)));
        envelopes
    }

    /// Returns what an append recorded when it was made first: a moment ago, or long since.
    fn recorded(&self, group: &Group, append: &Prepared, first: u64) -> Reply {
        let seqs = first..first + append.events.len() as u64;
        let is_asked_for =
            |envelope: &Envelope| envelope.run_id == append.run_id && seqs.contains(&envelope.seq);
        let written = group.written.iter().map(|written| &written.envelope);
        let fresh: Vec<Envelope> = written.filter(|envelope| is_asked_for(envelope)).cloned().collect();
        if !fresh.is_empty() {
            return Ok(fresh);
        }
        let history = self.log.history(append.run_id).map_err(|error| unknown(error.into()))?;
        Ok(history.into_iter().filter(is_asked_for).collect())
    }

    /// Makes a group durable, shows it, and answers.
    fn commit(&mut self, group: Group, mark: Mark) {
        let Group { frame, written, claims: _, replies } = group;
        if frame.count() == 0 {
            self.buffer = frame.finish();
            return answer(replies);
        }
        let (seq, hash) = (frame.next_seq() - 1, frame.hash());
        let bytes = frame.finish();
        if sabotaged!(PublishBeforeDurable) {
            let at = self.tail.at();
            let offset = at.offset + bytes.len() as u64;
            self.show(&written, at, Mark { seq, hash, segment: at.segment, offset });
        }
        let outcome = self.tail.write(&bytes, mark.seq + 1, mark.hash);
        self.buffer = bytes;
        match outcome {
            Ok(at) => {
                let FrameAt { segment, offset } = self.tail.at();
                self.show(&written, at, Mark { seq, hash, segment, offset });
                answer(replies);
            }
            Err(WriteError::Full) if sabotaged!(AckOnFullDisk) => answer(replies),
            Err(WriteError::Full) => {
                self.forget(&written);
                replies.into_iter().for_each(|(reply, _)| _ = reply.send(Err(AppendError::Full)));
            }
            Err(WriteError::Broken { doing, source }) => {
                let reason = format!("the log failed while {doing}: {source}");
                tracing::error!(reason, "the log takes no more appends; restart to see what was recorded");
                self.failed.send_replace(Some(reason));
                let kind = source.kind();
                for (reply, _) in replies {
                    _ = reply.send(Err(unknown(io::Error::new(kind, doing).into())));
                }
            }
        }
    }

    fn show(&mut self, written: &[Written], frame: FrameAt, mark: Mark) {
        let facts = written.iter().map(|Written { envelope, claim }| Fact {
            run_id: envelope.run_id,
            seq: envelope.seq,
            at_ms: envelope.recorded_at_ms,
            actor: &envelope.actor,
            claim: claim.as_deref(),
            event: Ok(&envelope.event),
            frame,
        });
        self.log.index.publish(facts, mark);
        self.durable.send_replace(mark);
        for Written { envelope, .. } in written {
            if envelope.event == Event::RunClosed {
                self.known.remove(&envelope.run_id);
            }
        }
    }

    /// Forgets events that were never written.
    fn forget(&mut self, written: &[Written]) {
        for Written { envelope, .. } in written {
            self.known.remove(&envelope.run_id);
        }
    }
}

fn answer(replies: Vec<(oneshot::Sender<Reply>, Reply)>) {
    // Somebody who hung up reads it from the log.
    replies.into_iter().for_each(|(reply, answer)| _ = reply.send(answer));
}

pub(crate) const fn unknown(source: BoxError) -> AppendError {
    AppendError::Unknown { source }
}
