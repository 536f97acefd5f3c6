//! The bytes of a segment: a header, frames, and a seal when it is full.
//!
//! ```text
//! header  "LANDFALL" format:u32 crc:u32 log_id:16 first_seq:u64 hash_before:32          72 bytes
//! frame   FF 'L' 'F' F1  crc:u32  length:u32  records:u32  first_seq:u64  hash_before:32  56 bytes
//!         records × { length:u32, JSON }
//! seal    FF 'L' 'S' F2  crc:u32  next_seq:u64  frames:u64  hash:32                       56 bytes
//! ```
//!
//! Numbers are little-endian. A crc32c covers all that follows it (in the header: all but itself). A frame is
//! one durable write: it is there as a whole or not at all. `FF` never occurs in UTF-8, so no text inside a
//! record can look like the start of a frame. Behind the last frame the file is zeros.

use landfall_engine::core::event::EventHash;
use landfall_engine::sabotaged;
use uuid::Uuid;

use crate::record::chain;

/// Version of this layout; `META` has it too.
pub(crate) const FORMAT: u32 = 1;

/// Bytes of a segment's header.
pub(crate) const HEADER_LEN: usize = 72;

/// Bytes of a frame before its records, and of a seal.
pub(crate) const HEAD_LEN: usize = 56;

/// More than any frame has: a longer one is a damaged length.
pub(crate) const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

const HEADER_MAGIC: &[u8; 8] = b"LANDFALL";
const FRAME_MAGIC: [u8; 4] = [0xff, b'L', b'F', 0xf1];
const SEAL_MAGIC: [u8; 4] = [0xff, b'L', b'S', 0xf2];

/// The first bytes of a segment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Header {
    pub(crate) log_id: Uuid,
    /// The global seq of the segment's first event.
    pub(crate) first_seq: u64,
    /// The hash of the event before it.
    pub(crate) before: EventHash,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(HEADER_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..32].copy_from_slice(self.log_id.as_bytes());
        bytes[32..40].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[40..].copy_from_slice(&self.before.0);
        let crc = crc32c::crc32c(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let mut bytes: [u8; HEADER_LEN] = fixed(bytes, 0).ok_or("the header is cut short")?;
        let crc = number32(&bytes, 12);
        bytes[12..16].fill(0);
        if &bytes[..8] != HEADER_MAGIC {
            return Err("the header is not that of a segment");
        }
        if crc32c::crc32c(&bytes) != crc {
            return Err("the header's checksum is wrong");
        }
        if number32(&bytes, 8) != FORMAT {
            return Err("the header names a format that this version does not know");
        }
        Ok(Self {
            log_id: Uuid::from_bytes(fixed(&bytes, 16).expect("the header is 72 bytes long")),
            first_seq: number64(&bytes, 32),
            before: hash(&bytes, 40),
        })
    }
}

/// The last bytes of a segment that is full.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seal {
    /// The global seq of the next segment's first event.
    pub(crate) next_seq: u64,
    pub(crate) frames: u64,
    /// The hash of the segment's last event.
    pub(crate) hash: EventHash,
}

impl Seal {
    pub(crate) fn encode(&self) -> [u8; HEAD_LEN] {
        let mut bytes = [0; HEAD_LEN];
        bytes[..4].copy_from_slice(&SEAL_MAGIC);
        bytes[8..16].copy_from_slice(&self.next_seq.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.frames.to_le_bytes());
        bytes[24..].copy_from_slice(&self.hash.0);
        let crc = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; HEAD_LEN] = fixed(bytes, 0)?;
        let whole = bytes[..4] == SEAL_MAGIC && crc32c::crc32c(&bytes[8..]) == number32(&bytes, 4);
        whole.then(|| Self {
            next_seq: number64(&bytes, 8),
            frames: number64(&bytes, 16),
            hash: hash(&bytes, 24),
        })
    }
}

/// The records of one group commit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    /// The global seq of its first event.
    pub(crate) first_seq: u64,
    /// How many events it has.
    pub(crate) count: u32,
    /// The hash of the event before its first.
    pub(crate) before: EventHash,
    body: Vec<u8>,
}

impl Frame {
    /// Returns the global seq of the first event behind it.
    pub(crate) fn next_seq(&self) -> u64 {
        self.first_seq + u64::from(self.count)
    }

    /// Returns the texts of the records, in order.
    pub(crate) fn records(&self) -> impl Iterator<Item = &[u8]> {
        split_records(&self.body)
    }

    /// Returns the texts of the records with their hashes, in order.
    pub(crate) fn chained(&self) -> impl Iterator<Item = (&[u8], EventHash)> {
        self.records().scan(self.before, |hash, record| {
            *hash = chain(*hash, record);
            Some((record, *hash))
        })
    }

    /// Returns the hash of its last event.
    pub(crate) fn hash(&self) -> EventHash {
        self.records().fold(self.before, chain)
    }

    /// Returns how many bytes it takes in the segment.
    pub(crate) fn len(&self) -> u64 {
        (HEAD_LEN + self.body.len()) as u64
    }
}

/// Splits what may be the body of a frame; stops where the lengths no longer make sense.
pub(crate) fn split_records(mut body: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = body.split_first_chunk::<4>()?;
        let (record, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        body = rest;
        Some(record)
    })
}

/// What stands at some place of a segment.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece {
    Frame(Frame),
    Seal(Seal),
    /// Zeros: nothing was written here yet.
    Nothing,
    /// Something, and none of the above: why.
    Bad(&'static str),
}

/// What the first bytes of a piece promise.
#[derive(Debug, PartialEq)]
pub(crate) enum Promise {
    /// A frame of this many bytes, all in all.
    Frame(usize),
    /// All there is to know.
    Piece(Piece),
}

/// Looks at the first [`HEAD_LEN`] bytes of a piece; fewer where the file ends.
pub(crate) fn promised(head: &[u8]) -> Promise {
    if head.iter().all(|byte| *byte == 0) {
        return Promise::Piece(Piece::Nothing);
    }
    let Some(head) = fixed::<HEAD_LEN>(head, 0) else {
        return Promise::Piece(Piece::Bad("it is cut short"));
    };
    if head[..4] == SEAL_MAGIC {
        let seal = Seal::decode(&head).map_or(Piece::Bad("the seal's checksum is wrong"), Piece::Seal);
        return Promise::Piece(seal);
    }
    if head[..4] != FRAME_MAGIC {
        return Promise::Piece(Piece::Bad("no frame starts here"));
    }
    match number32(&head, 8) as usize {
        length if length <= BODY_BYTES_MAX => Promise::Frame(HEAD_LEN + length),
        _ => Promise::Piece(Piece::Bad("the frame's length makes no sense")),
    }
}

/// Reads a frame from all of its bytes; fewer where the file ends.
pub(crate) fn frame(bytes: &[u8]) -> Piece {
    let Promise::Frame(length) = promised(&bytes[..bytes.len().min(HEAD_LEN)]) else {
        return Piece::Bad("no frame starts here");
    };
    let Some(bytes) = bytes.get(..length) else { return Piece::Bad("the frame is cut short") };
    if crc32c::crc32c(&bytes[8..]) != number32(bytes, 4) && !sabotaged!(SkipChecksum) {
        return Piece::Bad("the frame's checksum is wrong");
    }
    let (count, body) = (number32(bytes, 12), &bytes[HEAD_LEN..]);
    let (records, used) =
        split_records(body).fold((0, 0), |(n, len), record| (n + 1, len + 4 + record.len()));
    if records != count || used != body.len() || count == 0 {
        return Piece::Bad("the frame's records don't add up");
    }
    Piece::Frame(Frame {
        first_seq: number64(bytes, 16),
        count,
        before: hash(bytes, 24),
        body: body.to_vec(),
    })
}

/// Returns where in `bytes` a frame or a seal may start, from `from` on.
pub(crate) fn find_magic(bytes: &[u8], from: usize) -> Option<usize> {
    let windows = bytes.get(from..)?.windows(4);
    let at = windows.into_iter().position(|window| {
        window[0] == 0xff && (window == FRAME_MAGIC.as_slice() || window == SEAL_MAGIC.as_slice())
    })?;
    Some(from + at)
}

/// Writes one frame, record by record.
#[derive(Debug)]
pub(crate) struct FrameWriter {
    bytes: Vec<u8>,
    first_seq: u64,
    count: u32,
    before: EventHash,
    hash: EventHash,
}

impl FrameWriter {
    /// Begins a frame behind the event before `first_seq`, in a buffer that is used again and again.
    pub(crate) fn new(mut buffer: Vec<u8>, first_seq: u64, before: EventHash) -> Self {
        buffer.clear();
        buffer.resize(HEAD_LEN, 0);
        Self { bytes: buffer, first_seq, count: 0, before, hash: before }
    }

    /// Adds the record that `write` writes, and returns its hash.
    pub(crate) fn record(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> EventHash {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        write(&mut self.bytes);
        let length = self.bytes.len() - start - 4;
        self.bytes[start..start + 4].copy_from_slice(&small(length).to_le_bytes());
        self.count += 1;
        self.hash = chain(self.hash, &self.bytes[start + 4..]);
        self.hash
    }

    /// Returns the global seq that the next record gets.
    pub(crate) const fn next_seq(&self) -> u64 {
        self.first_seq + self.count as u64
    }

    /// Returns the hash of the last record.
    pub(crate) const fn hash(&self) -> EventHash {
        self.hash
    }

    /// Returns how many records it has.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// Returns the bytes of the frame.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let bytes = &mut self.bytes;
        let length = bytes.len() - HEAD_LEN;
        bytes[..4].copy_from_slice(&FRAME_MAGIC);
        bytes[8..12].copy_from_slice(&small(length).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.count.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[24..56].copy_from_slice(&self.before.0);
        let crc = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        self.bytes
    }
}

fn small(length: usize) -> u32 {
    u32::try_from(length).expect("an append has at most 100 events of about 64 KiB")
}

fn fixed<const N: usize>(bytes: &[u8], from: usize) -> Option<[u8; N]> {
    bytes.get(from..from + N)?.try_into().ok()
}

fn number32(bytes: &[u8], from: usize) -> u32 {
    fixed(bytes, from).map_or(0, u32::from_le_bytes)
}

fn number64(bytes: &[u8], from: usize) -> u64 {
    fixed(bytes, from).map_or(0, u64::from_le_bytes)
}

fn hash(bytes: &[u8], from: usize) -> EventHash {
    EventHash(fixed(bytes, from).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_records() -> Vec<u8> {
        let mut writer = FrameWriter::new(Vec::new(), 7, EventHash([9; 32]));
        writer.record(|buffer| buffer.extend_from_slice(b"{\"one\":1}"));
        writer.record(|buffer| buffer.extend_from_slice(b"{}"));
        writer.finish()
    }

    #[test]
    fn a_frame_reads_back_as_it_was_written() {
        let Piece::Frame(read) = frame(&two_records()) else { panic!("a whole frame is a frame") };
        assert_eq!((read.first_seq, read.count, read.before), (7, 2, EventHash([9; 32])));
        assert_eq!(read.records().collect::<Vec<_>>(), [b"{\"one\":1}".as_slice(), b"{}"]);
        let first = chain(EventHash([9; 32]), b"{\"one\":1}");
        let hashes: Vec<EventHash> = read.chained().map(|(_, hash)| hash).collect();
        assert_eq!(hashes, [first, chain(first, b"{}")]);
        assert_eq!(read.hash(), hashes[1]);
    }

    #[test]
    fn no_flipped_bit_and_no_cut_goes_unseen() {
        let whole = two_records();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(frame(&bytes), Piece::Bad(_)), "bit {bit}");
        }
        for cut in 0..whole.len() {
            assert!(matches!(frame(&whole[..cut]), Piece::Bad(_)), "cut at {cut}");
        }
    }

    #[test]
    fn a_header_and_a_seal_read_back_and_show_damage() {
        let header = Header { log_id: Uuid::from_u128(5), first_seq: 3, before: EventHash([1; 32]) };
        let seal = Seal { next_seq: 90, frames: 4, hash: EventHash([2; 32]) };
        assert_eq!(Header::decode(&header.encode()), Ok(header.clone()));
        assert_eq!(Seal::decode(&seal.encode()), Some(seal.clone()));
        for bit in 0..HEADER_LEN * 8 {
            let mut bytes = header.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&bytes).is_err(), "bit {bit} of the header");
        }
        for bit in 0..HEAD_LEN * 8 {
            let mut bytes = seal.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Seal::decode(&bytes), None, "bit {bit} of the seal");
        }
    }
}
