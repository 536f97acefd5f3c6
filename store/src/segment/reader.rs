//! Reads one segment, piece by piece, while somebody may be writing to it.
//!
//! Bytes are read ahead, so what looks unfinished is looked at again before anything is concluded.

use std::io;
use std::sync::Arc;

use landfall_engine::core::event::EventHash;

use super::files::{Segments, name};
use super::frame::{self, Frame, HEAD_LEN, HEADER_LEN, Header, Piece, Promise, Seal};
use crate::disk::DiskFile;

/// How much is read ahead: a frame of a busy group commit, or a hundred of quiet ones.
const WINDOW_BYTES: usize = 64 * 1024;

/// Where a frame starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameAt {
    /// The first seq of its segment, which names the file.
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

impl std::fmt::Display for FrameAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at byte {}", name(self.segment), self.offset)
    }
}

/// "Everything up to here": an event, its hash, and where its frame ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Mark {
    /// The global seq of the event; 0 for an empty log.
    pub(crate) seq: u64,
    pub(crate) hash: EventHash,
    /// The first seq of the segment that has it.
    pub(crate) segment: u64,
    /// The first byte behind its frame.
    pub(crate) offset: u64,
}

impl Mark {
    /// The mark before the first event.
    pub(crate) const START: Self =
        Self { seq: 0, hash: EventHash([0; 32]), segment: 1, offset: HEADER_LEN as u64 };
}

/// A place in a segment, and the bytes around it.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    file: Arc<dyn DiskFile>,
    at: FrameAt,
    window: Vec<u8>,
    window_at: u64,
}

impl SegmentReader {
    pub(crate) fn new(segments: &Segments, at: FrameAt) -> io::Result<Self> {
        let file = segments.file(at.segment)?;
        Ok(Self { file, at, window: Vec::new(), window_at: 0 })
    }

    /// Returns where the next piece starts.
    pub(crate) const fn at(&self) -> FrameAt {
        self.at
    }

    /// Goes on elsewhere in the segment.
    pub(crate) fn jump(&mut self, offset: u64) {
        self.at.offset = offset;
        self.window.clear();
    }

    /// Reads the segment's header.
    pub(crate) fn header(&mut self) -> io::Result<Result<Header, &'static str>> {
        Ok(Header::decode(self.bytes(0, HEADER_LEN)?))
    }

    /// Returns the seal, if the file ends with one.
    pub(crate) fn seal_at_end(&mut self) -> io::Result<Option<Seal>> {
        let Some(at) = self.file.len()?.checked_sub(HEAD_LEN as u64) else { return Ok(None) };
        Ok(Seal::decode(self.bytes(at, HEAD_LEN)?))
    }

    /// Returns the next piece, and steps over it if it is a frame.
    pub(crate) fn next(&mut self) -> io::Result<Piece> {
        let mut piece = self.look()?;
        if matches!(piece, Piece::Nothing | Piece::Bad(_)) {
            self.window.clear();
            piece = self.look()?;
        }
        if let Piece::Frame(frame) = &piece {
            self.at.offset += frame.len();
        }
        Ok(piece)
    }

    /// Returns the first place from here on where a whole frame or seal stands.
    pub(crate) fn search(&mut self) -> io::Result<Option<u64>> {
        let rest = self.rest()?;
        let mut from = 0;
        while let Some(at) = frame::find_magic(&rest, from) {
            let whole =
                Seal::decode(&rest[at..]).is_some() || matches!(frame::frame(&rest[at..]), Piece::Frame(_));
            if whole {
                return Ok(Some(self.at.offset + at as u64));
            }
            from = at + 1;
        }
        Ok(None)
    }

    /// Returns all bytes from here to the end of the file.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let length = self.file.len()?.saturating_sub(self.at.offset);
        let mut rest = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let read = self.file.read_at(self.at.offset, &mut rest)?;
        rest.truncate(read);
        Ok(rest)
    }

    fn look(&mut self) -> io::Result<Piece> {
        let offset = self.at.offset;
        match frame::promised(self.bytes(offset, HEAD_LEN)?) {
            Promise::Frame(length) => Ok(frame::frame(self.bytes(offset, length)?)),
            Promise::Piece(Piece::Nothing) if !self.is_zero_from(offset)? => {
                Ok(Piece::Bad("zeros stand where a frame should"))
            }
            Promise::Piece(piece) => Ok(piece),
        }
    }

    /// Returns bytes of the file; fewer where it ends.
    fn bytes(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let end = offset + length as u64;
        if offset < self.window_at || end > self.window_at + self.window.len() as u64 {
            self.window.resize(length.max(WINDOW_BYTES), 0);
            let read = self.file.read_at(offset, &mut self.window)?;
            self.window.truncate(read);
            self.window_at = offset;
        }
        let from = usize::try_from(offset - self.window_at).unwrap_or(usize::MAX);
        let rest = self.window.get(from..).unwrap_or_default();
        Ok(&rest[..length.min(rest.len())])
    }

    fn is_zero_from(&self, mut offset: u64) -> io::Result<bool> {
        let mut chunk = vec![0; 1024 * 1024];
        loop {
            let read = self.file.read_at(offset, &mut chunk)?;
            let part = &chunk[..read];
            // All are equal to their neighbours, and the first is zero: as fast as memcmp.
            if part.first().is_some_and(|byte| *byte != 0) || !is_uniform(part) {
                return Ok(false);
            }
            if read < chunk.len() {
                return Ok(true);
            }
            offset += read as u64;
        }
    }
}

fn is_uniform(bytes: &[u8]) -> bool {
    bytes.len() < 2 || bytes[1..] == bytes[..bytes.len() - 1]
}

/// Reads one frame whose place is known.
pub(crate) fn read_frame(segments: &Segments, at: FrameAt) -> io::Result<Result<Frame, &'static str>> {
    let file = segments.file(at.segment)?;
    let mut bytes = vec![0; 4 * 1024];
    let read = file.read_at(at.offset, &mut bytes)?;
    bytes.truncate(read);
    if let Promise::Frame(length) = frame::promised(&bytes[..read.min(HEAD_LEN)])
        && length > read
    {
        bytes.resize(length, 0);
        let more = file.read_at(at.offset + read as u64, &mut bytes[read..])?;
        bytes.truncate(read + more);
    }
    Ok(match frame::frame(&bytes) {
        Piece::Frame(frame) => Ok(frame),
        Piece::Bad(what) => Err(what),
        Piece::Nothing | Piece::Seal(_) => Err("no frame starts here"),
    })
}
