//! Finds the end of the log when it is opened, and whether all before it is in order.
//!
//! Sealed segments are looked at by header and seal alone; the last one frame by frame. Nothing is changed
//! here: what is done about a torn tail is decided by whoever knows how far the log was once.

use std::io;

use landfall_engine::core::event::EventHash;
use uuid::Uuid;

use super::files::{Segments, name};
use super::frame::{HEADER_LEN, Piece, Seal};
use super::reader::{FrameAt, Mark, SegmentReader};
use super::tail::TailAt;
use super::walk::{Damage, TornTail, Walk, Walked, does_not_fit, missing};

/// The log as it was found.
#[derive(Debug)]
pub(crate) struct Found {
    /// The last event that can be read.
    pub(crate) mark: Mark,
    /// Where the next frame goes; None when a new segment must be made.
    pub(crate) tail: Option<TailAt>,
    pub(crate) torn: Option<TornTail>,
    /// The first thing that is not in order.
    pub(crate) damage: Option<Damage>,
    pub(crate) segments: usize,
}

/// Looks at the whole log, quickly.
pub(crate) fn find_end(segments: &Segments, log_id: Uuid) -> io::Result<Found> {
    let firsts = segments.list()?;
    let mut damage = None;
    let mut before = EventHash::default();
    let mut expected = 1;
    for (i, first) in firsts.iter().enumerate() {
        let is_last = i + 1 == firsts.len();
        let mut reader = SegmentReader::new(segments, FrameAt { segment: *first, offset: 0 })?;
        let wrong = match reader.header()? {
            Err(what) => Some(what.to_owned()),
            Ok(_) if *first != expected => Some(missing(expected, *first)),
            Ok(header) => does_not_fit(&header, log_id, *first, Some(before)),
        };
        damage = damage.or(wrong.map(|what| damaged(*first, 0, what)));
        if is_last {
            break;
        }
        match seal_of(&mut reader)? {
            Some(seal) => (expected, before) = (seal.next_seq, seal.hash),
            None => damage = damage.or_else(|| Some(damaged(*first, 0, "the segment has no seal".into()))),
        }
    }
    let last = firsts.last().copied();
    let found = Found { mark: Mark::START, tail: None, torn: None, damage, segments: firsts.len() };
    match last {
        None => Ok(found),
        Some(last) => find_end_of_segment(segments, log_id, last, found),
    }
}

fn find_end_of_segment(segments: &Segments, log_id: Uuid, last: u64, mut found: Found) -> io::Result<Found> {
    let mut walk = Walk::skimming(segments.clone(), log_id, last);
    let (mut last_frame, mut frames) = (None, 0);
    found.torn = loop {
        match walk.next()? {
            Walked::Frame(_, frame) => (last_frame, frames) = (Some(frame), frames + 1),
            Walked::Damage(damage) => found.damage = found.damage.or(Some(damage)),
            Walked::Torn(torn) => break Some(torn),
            Walked::End => break None,
        }
    };
    let mut reader = SegmentReader::new(segments, FrameAt { segment: last, offset: 0 })?;
    let before = reader.header()?.map_or(EventHash::default(), |header| header.before);
    let hash = last_frame.map_or(before, |frame| frame.hash());
    found.mark = Mark { hash, ..walk.mark() };
    let at = FrameAt { segment: last, offset: found.mark.offset };
    reader.jump(at.offset);
    let is_sealed = matches!(reader.next()?, Piece::Seal(_));
    found.tail = (!is_sealed).then_some(TailAt { at, frames });
    Ok(found)
}

/// Returns the seal of a segment: at the end of the file, or, when a crash kept it from being cut, further up.
fn seal_of(reader: &mut SegmentReader) -> io::Result<Option<Seal>> {
    if let Some(seal) = reader.seal_at_end()? {
        return Ok(Some(seal));
    }
    reader.jump(HEADER_LEN as u64);
    loop {
        match reader.next()? {
            Piece::Frame(_) => {}
            Piece::Seal(seal) => return Ok(Some(seal)),
            Piece::Nothing | Piece::Bad(_) => return Ok(None),
        }
    }
}

fn damaged(segment: u64, offset: u64, what: String) -> Damage {
    Damage { segment: name(segment), offset, what, lost: None, runs: Vec::new() }
}
