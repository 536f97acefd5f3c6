//! The end of the log, where frames are written: the one file that changes.
//!
//! ```text
//! header | frame | frame | frame | 0000000000000000 … | (not allocated yet)
//!                                ^ offset             ^ allocated
//! ```
//!
//! Space is zero-filled ahead of the frames, in steps, because overwriting is synced faster than growing. There
//! is always room for a seal behind the last frame, so that a full disk can't keep a segment from being sealed.

use std::io;
use std::sync::Arc;

use landfall_engine::core::event::EventHash;
use landfall_engine::sabotaged;
use uuid::Uuid;

use super::files::{Segments, name, name_in_the_making};
use super::frame::{HEAD_LEN, HEADER_LEN, Header, Seal};
use super::reader::FrameAt;
use crate::disk::DiskFile;

/// The first step of space: enough for hundreds of events, and nothing that a small disk feels.
const STEP_MIN: u64 = 256 * 1024;

/// The largest step: long enough between two, short enough to write while somebody waits.
const STEP_MAX: u64 = 8 * 1024 * 1024;

/// Why a frame was not written. A variant per reaction.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The disk is full and nothing was written. **Try again later.**
    Full,
    /// Nobody knows what was written. **Write no more.**
    Broken {
        /// What was being done.
        doing: &'static str,
        source: io::Error,
    },
}

/// The end of the log.
#[derive(Debug)]
pub(crate) struct Tail {
    segments: Segments,
    log_id: Uuid,
    /// A segment that is longer than this gets no more frames.
    segment_bytes: u64,
    segment: u64,
    file: Arc<dyn DiskFile>,
    offset: u64,
    allocated: u64,
    frames: u64,
}

/// Where the last frame of an open segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TailAt {
    pub(crate) at: FrameAt,
    pub(crate) frames: u64,
}

impl Tail {
    /// Goes on behind the last frame of a segment; whatever stands behind it is removed.
    pub(crate) fn resume(
        segments: Segments,
        log_id: Uuid,
        segment_bytes: u64,
        TailAt { at, frames }: TailAt,
        torn: bool,
    ) -> io::Result<Self> {
        let file = segments.file(at.segment)?;
        if torn && !sabotaged!(WriteBehindTornTail) {
            file.truncate(at.offset)?;
            file.sync_data()?;
        }
        let allocated = file.len()?;
        let offset = if torn && sabotaged!(WriteBehindTornTail) { allocated } else { at.offset };
        Ok(Self { segments, log_id, segment_bytes, segment: at.segment, file, offset, allocated, frames })
    }

    /// Makes a new segment, durably, and starts there.
    pub(crate) fn create(
        segments: Segments,
        log_id: Uuid,
        segment_bytes: u64,
        first_seq: u64,
        before: EventHash,
    ) -> io::Result<Self> {
        make_segment(&segments, log_id, first_seq, before)?;
        publish_segment(&segments, first_seq)?;
        let at = FrameAt { segment: first_seq, offset: HEADER_LEN as u64 };
        Self::resume(segments, log_id, segment_bytes, TailAt { at, frames: 0 }, false)
    }

    /// Returns where the next frame goes, unless the segment is full.
    pub(crate) const fn at(&self) -> FrameAt {
        FrameAt { segment: self.segment, offset: self.offset }
    }

    /// Writes a frame and makes it durable, on the reserve when the disk is full. Returns where it starts.
    pub(crate) fn write(
        &mut self,
        frame: &[u8],
        first_seq: u64,
        before: EventHash,
    ) -> Result<FrameAt, WriteError> {
        loop {
            match self.try_write(frame, first_seq, before) {
                Err(WriteError::Full)
                    if self.segments.reserve().is_some_and(|reserve| reserve.give_back()) => {}
                outcome => return outcome,
            }
        }
    }

    fn try_write(&mut self, frame: &[u8], first_seq: u64, before: EventHash) -> Result<FrameAt, WriteError> {
        let needed = self.offset + (frame.len() + HEAD_LEN) as u64;
        if needed > self.segment_bytes && self.frames > 0 {
            self.roll(first_seq, before)?;
        }
        self.allocate(self.offset + (frame.len() + HEAD_LEN) as u64)?;
        if sabotaged!(AckBeforeSync) {
            self.sync("syncing the frame before")?;
        }
        if let Err(error) = self.file.write_at(self.offset, frame) {
            return Err(self.cut_back(self.offset, "writing a frame", error));
        }
        if !sabotaged!(AckBeforeSync) {
            self.sync("syncing a frame")?;
        }
        let at = self.at();
        self.offset += frame.len() as u64;
        self.frames += 1;
        Ok(at)
    }

    /// Fills space up to at least `needed` with zeros. The sync of the frame covers it.
    fn allocate(&mut self, needed: u64) -> Result<(), WriteError> {
        if needed <= self.allocated {
            return Ok(());
        }
        let step = self.allocated.clamp(STEP_MIN, STEP_MAX);
        let ahead = (self.allocated + step).min(self.segment_bytes).max(needed);
        // On a full disk there may be room for this one frame still.
        let outcome = self.fill(ahead).or_else(|_| self.fill(needed));
        outcome.map_err(|error| self.cut_back(self.allocated, "allocating space", error))
    }

    fn fill(&mut self, up_to: u64) -> io::Result<()> {
        let zeros = vec![0; usize::try_from(up_to - self.allocated).unwrap_or(usize::MAX)];
        self.file.write_at(self.allocated, &zeros)?;
        self.allocated = up_to;
        Ok(())
    }

    /// Seals this segment and goes on in the next.
    ///
    /// The next one is made first: when there is no room for it, all is as before.
    fn roll(&mut self, first_seq: u64, before: EventHash) -> Result<(), WriteError> {
        if let Err(error) = make_segment(&self.segments, self.log_id, first_seq, before) {
            // Nobody reads it under this name, so what can't be removed is removed by the next open.
            _ = self.segments.disk().remove(&name_in_the_making(first_seq));
            let full = is_full(&error);
            let broken = WriteError::Broken { doing: "making a segment", source: error };
            return Err(if full { WriteError::Full } else { broken });
        }
        let hash = if sabotaged!(SealWithoutHash) { EventHash::default() } else { before };
        let seal = Seal { next_seq: first_seq, frames: self.frames, hash }.encode();
        let sealed = self.file.write_at(self.offset, &seal);
        sealed.map_err(|source| WriteError::Broken { doing: "sealing a segment", source })?;
        let cut = self.file.truncate(self.offset + HEAD_LEN as u64);
        cut.map_err(|source| WriteError::Broken { doing: "cutting a sealed segment", source })?;
        self.sync("syncing a sealed segment")?;
        let file = publish_segment(&self.segments, first_seq).and_then(|()| self.segments.file(first_seq));
        let broken = |source| WriteError::Broken { doing: "naming a new segment", source };
        self.file = file.map_err(broken)?;
        self.allocated = self.file.len().map_err(broken)?;
        self.segment = first_seq;
        self.offset = HEADER_LEN as u64;
        self.frames = 0;
        Ok(())
    }

    /// Removes what a failed write may have left. What can't be removed is nobody's knowledge.
    fn cut_back(&mut self, to: u64, doing: &'static str, error: io::Error) -> WriteError {
        if !is_full(&error) {
            return WriteError::Broken { doing, source: error };
        }
        match self.file.truncate(to) {
            Ok(()) => {
                self.allocated = to;
                WriteError::Full
            }
            Err(source) => {
                WriteError::Broken { doing: "cutting back a write that found the disk full", source }
            }
        }
    }

    fn sync(&self, doing: &'static str) -> Result<(), WriteError> {
        if sabotaged!(SkipFrameSync) {
            return Ok(());
        }
        match self.file.sync_data() {
            Err(_) if sabotaged!(GoOnAfterFailedSync) => Ok(()),
            synced => synced.map_err(|source| WriteError::Broken { doing, source }),
        }
    }
}

/// Makes a segment under a name that nobody reads.
fn make_segment(segments: &Segments, log_id: Uuid, first_seq: u64, before: EventHash) -> io::Result<()> {
    let file = segments.disk().create(&name_in_the_making(first_seq))?;
    file.write_at(0, &Header { log_id, first_seq, before }.encode())?;
    file.sync_data()
}

/// Gives a segment that is durable its own name.
fn publish_segment(segments: &Segments, first_seq: u64) -> io::Result<()> {
    segments.disk().rename(&name_in_the_making(first_seq), &name(first_seq))?;
    if sabotaged!(SkipDirSync) {
        return Ok(());
    }
    segments.disk().sync_dir()
}

/// Tells whether a disk said that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
