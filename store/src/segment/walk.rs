//! A walk through the log, frame by frame, over segments, torn tails and damage.
//!
//! Recovery, the rebuilding of the index, followers, audits and readers without a lock all go this way, so
//! there is one idea of what a whole log is:
//!
//! - A bad piece with nothing good behind it, in the last segment, is a **torn tail**: a write that a crash
//!   cut short, which nobody was told of.
//! - A bad piece with something good behind it is **damage**: frames are written one after the other, so what
//!   stands before a good one was good once. The walk says so and goes on behind it.
//!
//! Somebody may be writing meanwhile; what looks bad is therefore looked at again after something good was
//! found behind it.

use std::collections::VecDeque;
use std::fmt;
use std::io;

use landfall_engine::core::event::EventHash;
use landfall_engine::core::run::RunId;
use uuid::Uuid;

use super::files::{Segments, name};
use super::frame::{Frame, HEADER_LEN, Header, Piece, Seal};
use super::reader::{FrameAt, Mark, SegmentReader};
use crate::record::skim_run_ids;

/// A part of the log that can't be read, or does not fit to what stands around it.
#[derive(Clone, Debug, PartialEq)]
pub struct Damage {
    /// The file in `DATA/log`.
    pub segment: String,
    /// The byte at which it starts.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
    /// The events that are lost by it, by global seq, where that can be told.
    pub lost: Option<(u64, u64)>,
    /// The runs that have events in it, as far as that can be told.
    pub runs: Vec<RunId>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.segment, self.offset, self.what)?;
        if let Some((first, last)) = self.lost {
            write!(f, "; events {first} to {last} are lost")?;
        }
        for (i, run) in self.runs.iter().enumerate() {
            write!(f, "{}{run}", if i == 0 { "; it has events of run " } else { ", " })?;
        }
        Ok(())
    }
}

/// A write that a crash cut short at the end of the log.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TornTail {
    /// The file in `DATA/log`.
    pub segment: String,
    /// The byte behind the last whole frame.
    pub offset: u64,
    /// How many bytes stand behind it.
    pub bytes: u64,
}

/// One step of a walk.
#[derive(Debug)]
pub(crate) enum Walked {
    Frame(FrameAt, Frame),
    /// Reported once; the next step is behind it.
    Damage(Damage),
    /// The end, with remains of an unfinished write.
    Torn(TornTail),
    /// The end, for now.
    End,
}

/// A place in the log, with what is expected to follow.
#[derive(Debug)]
pub(crate) struct Walk {
    segments: Segments,
    log_id: Uuid,
    reader: Option<SegmentReader>,
    next_seq: u64,
    /// The hash of the event before `next_seq`; None when it is not known, or nobody asked.
    hash: Option<EventHash>,
    checks_chain: bool,
    ahead: VecDeque<Walked>,
}

impl Walk {
    /// Starts at the first event.
    pub(crate) fn from_start(segments: Segments, log_id: Uuid) -> Self {
        Self::new(segments, log_id, 1, Some(EventHash::default()))
    }

    /// Starts behind a mark.
    pub(crate) fn behind(segments: Segments, log_id: Uuid, mark: Mark) -> io::Result<Self> {
        let at = FrameAt { segment: mark.segment, offset: mark.offset };
        let reader = match SegmentReader::new(&segments, at) {
            Ok(reader) => Some(reader),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self { reader, ..Self::new(segments, log_id, mark.seq + 1, Some(mark.hash)) })
    }

    /// Starts with the segment that has this event; frames before it are walked too.
    pub(crate) fn near(segments: Segments, log_id: Uuid, seq: u64) -> io::Result<Self> {
        let first = segments.list()?.into_iter().rev().find(|first| *first <= seq).unwrap_or(1);
        Ok(Self::new(segments, log_id, first, None))
    }

    /// Starts with this segment, and looks at checksums alone.
    pub(crate) fn skimming(segments: Segments, log_id: Uuid, segment: u64) -> Self {
        Self { checks_chain: false, ..Self::new(segments, log_id, segment, None) }
    }

    fn new(segments: Segments, log_id: Uuid, next_seq: u64, hash: Option<EventHash>) -> Self {
        Self { segments, log_id, reader: None, next_seq, hash, checks_chain: true, ahead: VecDeque::new() }
    }

    /// Returns the global seq of the next event.
    pub(crate) const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Returns the mark behind the last frame. Its hash counts only while the chain is checked.
    pub(crate) fn mark(&self) -> Mark {
        let at = self
            .reader
            .as_ref()
            .map_or(FrameAt { segment: self.next_seq, offset: HEADER_LEN as u64 }, SegmentReader::at);
        let hash = self.hash.unwrap_or_default();
        Mark { seq: self.next_seq - 1, hash, segment: at.segment, offset: at.offset }
    }

    /// Takes the next step. After an end it may be asked again: something may have been written.
    pub(crate) fn next(&mut self) -> io::Result<Walked> {
        loop {
            if let Some(walked) = self.ahead.pop_front() {
                return Ok(walked);
            }
            let Some(reader) = &mut self.reader else {
                match self.first_segment()? {
                    Some(segment) => self.enter(segment)?,
                    None => return Ok(Walked::End),
                }
                continue;
            };
            let at = reader.at();
            match reader.next()? {
                Piece::Frame(frame) => self.arrive(at, frame),
                Piece::Seal(seal) => {
                    if !self.leave(at, &seal)? {
                        return Ok(Walked::End);
                    }
                }
                Piece::Nothing => match self.segment_behind(at.segment)? {
                    None => return Ok(Walked::End),
                    Some(next) => self.pass_unsealed(at, next)?,
                },
                Piece::Bad(what) => {
                    if let Some(torn) = self.pass_bad(at, what)? {
                        return Ok(Walked::Torn(torn));
                    }
                }
            }
        }
    }

    fn arrive(&mut self, at: FrameAt, frame: Frame) {
        if frame.first_seq != self.next_seq {
            self.report(at, missing(self.next_seq, frame.first_seq), None);
        } else if self.checks_chain && self.hash.is_some_and(|hash| hash != frame.before) {
            let what = "the hash chain breaks here: an event before it was changed".to_owned();
            self.report(at, what, None);
        }
        self.next_seq = frame.next_seq();
        self.hash = self.checks_chain.then(|| frame.hash());
        self.ahead.push_back(Walked::Frame(at, frame));
    }

    /// Goes on to the segment behind a seal; false when there is none yet.
    fn leave(&mut self, at: FrameAt, seal: &Seal) -> io::Result<bool> {
        let Some(next) = self.segment_behind(at.segment)? else { return Ok(false) };
        if seal.next_seq != self.next_seq || self.hash.is_some_and(|hash| hash != seal.hash) {
            self.report(at, "the seal does not fit to the events before it".into(), None);
        }
        self.enter(next)?;
        Ok(true)
    }

    /// Goes on behind a segment that has no seal, unless it got one meanwhile.
    fn pass_unsealed(&mut self, at: FrameAt, next: u64) -> io::Result<()> {
        if self.segment_looks(at)? == Piece::Nothing {
            self.report(at, "the segment ends without a seal".into(), lost(self.next_seq, next));
            (self.next_seq, self.hash) = (next, None);
            self.enter(next)?;
        }
        Ok(())
    }

    /// Goes on behind a bad piece, unless it is good by now; the torn tail when nothing good is behind it.
    fn pass_bad(&mut self, at: FrameAt, what: &str) -> io::Result<Option<TornTail>> {
        let mut reader = SegmentReader::new(&self.segments, at)?;
        let good = reader.search()?;
        let next = self.segment_behind(at.segment)?;
        if good.is_none() && next.is_none() {
            let bytes = reader.rest()?.len() as u64;
            return Ok(Some(TornTail { segment: name(at.segment), offset: at.offset, bytes }));
        }
        if good == Some(at.offset) || !matches!(self.segment_looks(at)?, Piece::Bad(_)) {
            return Ok(None);
        }
        let mut bad = reader.rest()?;
        let goes_on = match good {
            Some(offset) => {
                bad.truncate(usize::try_from(offset - at.offset).unwrap_or(usize::MAX));
                reader.jump(offset);
                match reader.next()? {
                    Piece::Frame(frame) => frame.first_seq,
                    Piece::Seal(seal) => seal.next_seq,
                    Piece::Nothing | Piece::Bad(_) => self.next_seq,
                }
            }
            None => next.unwrap_or(self.next_seq),
        };
        let lost = lost(self.next_seq, goes_on);
        self.ahead.push_back(Walked::Damage(Damage {
            segment: name(at.segment),
            offset: at.offset,
            what: what.to_owned(),
            lost,
            runs: skim_run_ids(&bad),
        }));
        (self.next_seq, self.hash) = (goes_on, None);
        match (good, next) {
            (Some(offset), _) => {
                if let Some(reader) = &mut self.reader {
                    reader.jump(offset);
                }
            }
            (None, Some(next)) => self.enter(next)?,
            (None, None) => {}
        }
        Ok(None)
    }

    /// Starts with a segment.
    fn enter(&mut self, segment: u64) -> io::Result<()> {
        let top = FrameAt { segment, offset: 0 };
        if segment != self.next_seq {
            self.report(top, missing(self.next_seq, segment), lost(self.next_seq, segment));
            (self.next_seq, self.hash) = (segment, None);
        }
        let mut reader = SegmentReader::new(&self.segments, top)?;
        match reader.header()? {
            Err(what) => self.report(top, what.into(), None),
            Ok(header) => match does_not_fit(&header, self.log_id, segment, self.hash) {
                Some(what) => self.report(top, what, None),
                None => self.hash = self.checks_chain.then_some(header.before),
            },
        }
        reader.jump(HEADER_LEN as u64);
        self.reader = Some(reader);
        Ok(())
    }

    fn first_segment(&self) -> io::Result<Option<u64>> {
        let segments = self.segments.list()?;
        let from_here = segments.iter().find(|first| **first >= self.next_seq);
        Ok(from_here.copied())
    }

    fn segment_behind(&self, segment: u64) -> io::Result<Option<u64>> {
        Ok(self.segments.list()?.into_iter().find(|first| *first > segment))
    }

    fn segment_looks(&self, at: FrameAt) -> io::Result<Piece> {
        SegmentReader::new(&self.segments, at)?.next()
    }

    fn report(&mut self, at: FrameAt, what: String, lost: Option<(u64, u64)>) {
        let (segment, offset) = (name(at.segment), at.offset);
        self.ahead.push_back(Walked::Damage(Damage { segment, offset, what, lost, runs: Vec::new() }));
    }
}

/// Returns what is wrong with a segment's header, if something is.
pub(crate) fn does_not_fit(
    header: &Header,
    log_id: Uuid,
    segment: u64,
    before: Option<EventHash>,
) -> Option<String> {
    if header.log_id != log_id {
        return Some("the segment belongs to another log".into());
    }
    if header.first_seq != segment {
        return Some(format!("the header is that of {}", name(header.first_seq)));
    }
    let breaks = before.is_some_and(|before| before != header.before);
    breaks.then(|| "the hash chain breaks between this segment and the one before".into())
}

fn lost(from: u64, goes_on: u64) -> Option<(u64, u64)> {
    (from < goes_on).then(|| (from, goes_on - 1))
}

pub(crate) fn missing(expected: u64, found: u64) -> String {
    format!("event {expected} is expected here and event {found} was found")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::disk::{Disk, DiskFile};
    use crate::segment::frame::FrameWriter;

    /// A segment that grows between two reads, as one does that somebody is writing to.
    #[derive(Clone, Debug)]
    struct Growing {
        before: Vec<u8>,
        after: Vec<u8>,
        reads_before: usize,
        reads: Arc<AtomicUsize>,
    }

    impl Growing {
        fn now(&self) -> &[u8] {
            let is_before = self.reads.fetch_add(1, Ordering::SeqCst) < self.reads_before;
            if is_before { &self.before } else { &self.after }
        }
    }

    impl DiskFile for Growing {
        fn len(&self) -> io::Result<u64> {
            Ok(self.after.len() as u64)
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            let bytes = self.now().get(usize::try_from(offset).unwrap()..).unwrap_or_default();
            let read = bytes.len().min(buffer.len());
            buffer[..read].copy_from_slice(&bytes[..read]);
            Ok(read)
        }

        fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
            unreachable!("a walk writes nothing")
        }

        fn truncate(&self, _: u64) -> io::Result<()> {
            unreachable!("a walk writes nothing")
        }

        fn sync_data(&self) -> io::Result<()> {
            unreachable!("a walk writes nothing")
        }
    }

    impl Disk for Growing {
        fn list(&self) -> io::Result<Vec<String>> {
            Ok(vec![name(1)])
        }

        fn create(&self, _: &str) -> io::Result<Arc<dyn DiskFile>> {
            unreachable!("a walk writes nothing")
        }

        fn open(&self, _: &str) -> io::Result<Arc<dyn DiskFile>> {
            Ok(Arc::new(self.clone()))
        }

        fn rename(&self, _: &str, _: &str) -> io::Result<()> {
            unreachable!("a walk writes nothing")
        }

        fn remove(&self, _: &str) -> io::Result<()> {
            unreachable!("a walk writes nothing")
        }

        fn sync_dir(&self) -> io::Result<()> {
            unreachable!("a walk writes nothing")
        }
    }

    #[test]
    fn a_frame_that_is_being_written_is_never_taken_for_damage() {
        let log_id = Uuid::from_u128(1);
        let mut segment = Header { log_id, first_seq: 1, before: EventHash::default() }.encode().to_vec();
        let (mut hash, mut ends) = (EventHash::default(), Vec::new());
        for seq in 1..=3 {
            let mut frame = FrameWriter::new(Vec::new(), seq, hash);
            hash = frame.record(|buffer| buffer.extend_from_slice(b"{}"));
            segment.extend(frame.finish());
            ends.push(segment.len());
        }
        segment.resize(segment.len() + 100, 0);
        for seen in ends[0]..ends[1] {
            for reads_before in 0..16 {
                let mut before = segment.clone();
                before[seen..].fill(0);
                let reads = Arc::default();
                let disk = Growing { before, after: segment.clone(), reads_before, reads };
                let mut walk = Walk::from_start(Segments::new(Arc::new(disk)), log_id);
                let mut frames = 0;
                while frames < 3 {
                    match walk.next().unwrap() {
                        Walked::Frame(..) => frames += 1,
                        Walked::Damage(damage) => unreachable!("{damage}, after {reads_before} reads"),
                        // Not written yet; it is asked again.
                        Walked::Torn(_) | Walked::End => {}
                    }
                }
            }
        }
    }
}
