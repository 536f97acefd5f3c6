//! Tells what stands behind the last whole frame: a write that was cut short, or a frame that was changed.
//!
//! A crash leaves a frame with its end missing, or with sectors of it as zeros, as the file was before. A frame that
//! has all its bytes and a wrong sum was not left by either. Records are text, so zeros stand nowhere in them, and
//! their lengths and the frame's own say twice where a frame ends: what was hit in one is told by the other.
//!
//! Only audits ask. An engine that starts removes both, unless its index or a checkpoint says that it was durable.

use std::io;

use super::files::Segments;
use super::frame::{BODY_BYTES_MAX, HEAD_LEN, Piece, Promise, frame, promised, split_records};
use super::reader::{FrameAt, SegmentReader};
use super::walk::Damage;
use crate::record::skim_run_ids;

/// More zeros in a row than the lengths in a frame's body have, and less than a sector.
const ZEROS_MAX: usize = 8;

/// What stands behind the last whole frame.
#[derive(Debug)]
pub(crate) enum Remains {
    /// A whole frame by now: somebody was writing it.
    Written,
    /// Part of a write, or nothing.
    Torn,
    /// A frame with all its bytes, of which some were changed.
    Changed(Damage),
}

/// Looks at what a walk took for a torn tail. `next_seq`: the event that is expected there.
pub(crate) fn look_at(
    segments: &Segments,
    at: FrameAt,
    segment: String,
    next_seq: u64,
) -> io::Result<Remains> {
    let mut reader = SegmentReader::new(segments, at)?;
    let bytes = reader.rest()?;
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let Some(records) = has_all_its_bytes(&bytes[..written]) else { return Ok(Remains::Torn) };
    // A writer may have been between two bytes of it; what was read as a whole is written by now.
    if let Piece::Frame(_) | Piece::Seal(_) = SegmentReader::new(segments, at)?.next()? {
        return Ok(Remains::Written);
    }
    Ok(Remains::Changed(Damage {
        segment,
        offset: at.offset,
        what:
            "the last frame has all its bytes, and its checksum is wrong: it was changed after it was written"
                .into(),
        lost: Some((next_seq, next_seq + records.max(1) - 1)),
        runs: skim_run_ids(&bytes[..written]),
    }))
}

/// Returns how many records a frame has that is all there, whatever its sum says; None when part of it is missing.
fn has_all_its_bytes(bytes: &[u8]) -> Option<u64> {
    let (head, body) = bytes.split_at_checked(HEAD_LEN)?;
    let is_cut = head[0] == 0 || body.len() > BODY_BYTES_MAX || has_zeros(body);
    if is_cut || matches!(frame(bytes), Piece::Frame(_)) {
        return None;
    }
    let (records, used) = split_records(body).fold((0, 0), |(n, len), text| (n + 1, len + 4 + text.len()));
    let by_frame = matches!(promised(head), Promise::Frame(length) if length == bytes.len());
    let count = u32::from_le_bytes(*head[12..].first_chunk()?);
    let by_records = used == body.len() && u64::from(count) == records;
    (by_frame || by_records).then_some(records)
}

fn has_zeros(body: &[u8]) -> bool {
    body.windows(ZEROS_MAX).any(|window| window.iter().all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use landfall_engine::core::event::EventHash;

    use super::*;
    use crate::segment::frame::FrameWriter;

    fn two_records() -> Vec<u8> {
        let mut writer = FrameWriter::new(Vec::new(), 7, EventHash([0; 32]));
        writer.record(|buffer| buffer.extend_from_slice(&[b'{'; 700]));
        writer.record(|buffer| buffer.extend_from_slice(b"{\"two\":2}"));
        writer.finish()
    }

    #[test]
    fn a_frame_with_any_one_bit_flipped_has_all_its_bytes() {
        let whole = two_records();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(has_all_its_bytes(&bytes).is_some(), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_that_is_cut_or_lacks_a_sector_has_not() {
        let whole = two_records();
        for cut in 0..whole.len() {
            assert_eq!(has_all_its_bytes(&whole[..cut]), None, "cut at {cut}");
        }
        // Wherever the frame stands in its first sector.
        for sector in 1..512 {
            let mut first = whole.clone();
            first[..sector].fill(0);
            assert_eq!(has_all_its_bytes(&first), None, "the first {sector} bytes are missing");
            let mut second = whole.clone();
            let end = (sector + 512).min(whole.len());
            second[sector..end].fill(0);
            assert_eq!(has_all_its_bytes(&second), None, "the sector from {sector} on is missing");
        }
    }
}
