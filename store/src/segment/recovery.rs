//! Finds the end of the log when it is opened, and whether all before it is in order.
//!
//! Sealed segments are looked at by header and seal alone; the last one frame by frame. Looking changes nothing:
//! what is done about a torn tail is decided by whoever knows how far the log was once.
//!
//! What is found may not be durable: kill -9 leaves what was written and not synced, for the next open to read and
//! for a power cut to take. So the end is [settled](settle_end) before anybody acts on it.

use std::io;

use landfall_engine::core::event::EventHash;
use landfall_engine::sabotaged;
use uuid::Uuid;

use super::files::{Segments, name};
use super::frame::{HEAD_LEN, HEADER_LEN, Piece, Seal};
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
    /// What was written last, and may not be durable.
    pub(crate) written_last: Option<Written>,
    /// The first thing that is not in order.
    pub(crate) damage: Option<Damage>,
    pub(crate) segments: usize,
}

/// The end of a log's last segment, from its last frame on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    segment: u64,
    from: u64,
    to: u64,
}

/// Makes durable what was found at the end of the log.
///
/// It is written once more before it is synced: where a sync failed, Linux took the pages for clean, and another
/// sync alone would succeed without writing them. One frame is all that was ever in doubt, since the next is written
/// behind its sync.
pub(crate) fn settle_end(segments: &Segments, found: &Found) -> io::Result<()> {
    if sabotaged!(TrustUnsyncedTail) {
        return Ok(());
    }
    if let Some(Written { segment, from, to }) = found.written_last {
        let file = segments.file(segment)?;
        let mut bytes = vec![0; usize::try_from(to - from).unwrap_or_default()];
        let read = file.read_at(from, &mut bytes)?;
        file.write_at(from, &bytes[..read])?;
        file.sync_data()?;
    }
    segments.disk().sync_dir()
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
    let (tail, torn, written_last) = (None, None, None);
    let found = Found { mark: Mark::START, tail, torn, written_last, damage, segments: firsts.len() };
    match last {
        None => Ok(found),
        Some(last) => find_end_of_segment(segments, log_id, last, found),
    }
}

fn find_end_of_segment(segments: &Segments, log_id: Uuid, last: u64, mut found: Found) -> io::Result<Found> {
    let mut walk = Walk::skimming(segments.clone(), log_id, last);
    let (mut last_frame, mut frames, mut from) = (None, 0, 0);
    found.torn = loop {
        match walk.next()? {
            Walked::Frame(at, frame) => {
                (last_frame, frames, from) = (Some(frame), frames + 1, at.offset);
            }
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
    let to = if is_sealed { at.offset + HEAD_LEN as u64 } else { at.offset };
    found.written_last = Some(Written { segment: last, from, to });
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
