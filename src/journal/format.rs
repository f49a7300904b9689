//! The bytes of a segment: header, frames, blocks. Nothing here reads or writes files.
//!
//! All numbers are little endian; all offsets of frames and blocks are multiples of 8.
//!
//! ```text
//! segment   header (64) | frame | frame | ...
//!
//! header    0  magic "FPJOURNL"        8  version u32         12 generation u32
//!           16 first sequence u32      20 last sequence u32   24 next serial u64
//!           32 salt u64                40 previous first u32  44 previous generation u32
//!           48 previous length u64     56 checksum u64 of bytes 0..56, seed 0
//!
//! frame     0  magic u32   4 length of the blocks u32   8 salt u64
//!           16 checksum u64 of bytes 0..16, seeded      24 blocks
//!
//! block     0  checksum u64 of all that follows, padding too, seeded
//!           8  kind u8     9 zeros (3)   12 length of the payload u32   16 payload | zeros to 8
//! ```
//!
//! Checksums are XXH3 of 64 bits. The seed of a frame or block is
//! `salt ^ (first sequence << 32 | offset in the file)`, so that bytes are only valid where they
//! were written. The salt is random for every segment: whoever chooses digests cannot make them look
//! like a frame, nor can the remains of an older file.

use rand::random;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The version that is written. `docs/journal-format.md` has the history.
pub(crate) const VERSION: u32 = 3;

/// The first version that is read.
const VERSION_MIN: u32 = 1;

/// Bytes of a segment's header.
pub(super) const HEADER_BYTES: usize = 64;
/// Bytes of a frame's header.
pub(super) const FRAME_HEADER_BYTES: usize = 24;
/// Bytes of a block's header.
pub(super) const BLOCK_HEADER_BYTES: usize = 16;

/// The longest payload of a block. A reader needs a whole frame in memory, and a frame holds at
/// least one block.
pub(super) const BLOCK_PAYLOAD_BYTES_MAX: usize = 4 << 20;
/// The longest sum of blocks of a frame: a frame is closed before it grows past
/// [`FRAME_BYTES_FULL`], unless its last block takes it there.
pub(super) const FRAME_BLOCKS_BYTES_MAX: usize = FRAME_BYTES_FULL + 2 * BLOCK_PAYLOAD_BYTES_MAX;
/// The most that an append may take that has to fit into one frame: with what the frame holds already
/// it is no longer than a frame may be.
pub(super) const WHOLE_BYTES_MAX: usize = FRAME_BLOCKS_BYTES_MAX - FRAME_BYTES_FULL;
/// A frame with this many bytes of blocks takes no more: at 1 GB/s it takes 4 ms to write, so that
/// those who wait for it wait for little but the sync.
pub(super) const FRAME_BYTES_FULL: usize = 4 << 20;

const SEGMENT_MAGIC: [u8; 8] = *b"FPJOURNL";
/// `FPfr`.
const FRAME_MAGIC: [u8; 4] = *b"FPfr";
const ALIGNMENT: usize = 8;

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// How often its range was rewritten.
    pub(super) generation: u32,
    /// The first sequence number that it covers; numbers begin at 1.
    pub(super) first: u32,
    /// The last one; greater than the first if segments were merged.
    pub(super) last: u32,
    /// Greater than every serial that was used before this segment, or in it if it is compacted.
    pub(super) next_serial: u64,
    /// Random bits that seed the checksums.
    pub(super) salt: u64,
    /// The segment before it when it was begun; `None` for the very first.
    pub(super) previous: Option<Previous>,
}

/// How far the segment before reached when the next one was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Previous {
    /// Its first sequence number.
    pub(super) first: u32,
    /// Its generation.
    pub(super) generation: u32,
    /// The length up to which it counts, in bytes.
    pub(super) length: u64,
}

/// Why bytes are not a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// They are damaged.
    Damaged(&'static str),
    /// They are a header of a version that this program does not read.
    Version(u32),
}

impl SegmentHeader {
    /// A header for a new segment, with a salt of its own.
    pub(super) fn new(
        generation: u32,
        range: (u32, u32),
        next_serial: u64,
        previous: Option<Previous>,
    ) -> Self {
        let (first, last) = range;
        Self { generation, first, last, next_serial, salt: random(), previous }
    }

    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let none = Previous { first: 0, generation: 0, length: 0 };
        let previous = self.previous.unwrap_or(none);
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&SEGMENT_MAGIC);
        for number in [VERSION, self.generation, self.first, self.last] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.next_serial.to_le_bytes());
        bytes.extend_from_slice(&self.salt.to_le_bytes());
        bytes.extend_from_slice(&previous.first.to_le_bytes());
        bytes.extend_from_slice(&previous.generation.to_le_bytes());
        bytes.extend_from_slice(&previous.length.to_le_bytes());
        let checksum = xxh3_64_with_seed(&bytes, 0);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.try_into().expect("the fields of a header add up to its length")
    }

    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderError> {
        let (fields, checksum) = bytes.split_at(HEADER_BYTES - size_of::<u64>());
        if xxh3_64_with_seed(fields, 0).to_le_bytes() != checksum {
            return Err(HeaderError::Damaged("the header's checksum does not match"));
        }
        Self::decode_fields(fields).ok_or(HeaderError::Damaged("the header is cut"))?
    }

    fn decode_fields(mut fields: &[u8]) -> Option<Result<Self, HeaderError>> {
        let fields = &mut fields;
        if take::<8>(fields)? != SEGMENT_MAGIC {
            return Some(Err(HeaderError::Damaged("the file does not begin as a segment")));
        }
        let version = take_u32(fields)?;
        if !(VERSION_MIN..=VERSION).contains(&version) {
            return Some(Err(HeaderError::Version(version)));
        }
        let (generation, first, last) = (take_u32(fields)?, take_u32(fields)?, take_u32(fields)?);
        let (next_serial, salt) = (take_u64(fields)?, take_u64(fields)?);
        let (before, before_generation) = (take_u32(fields)?, take_u32(fields)?);
        let length = take_u64(fields)?;
        let previous = Previous { first: before, generation: before_generation, length };
        if first == 0 || last < first {
            return Some(Err(HeaderError::Damaged("the header's sequence numbers make no range")));
        }
        let previous = (before != 0).then_some(previous);
        Some(Ok(Self { generation, first, last, next_serial, salt, previous }))
    }

    /// The segment's file name.
    pub(super) fn file_name(&self) -> String {
        file_name(self.first, self.generation)
    }

    /// The seed of checksums at an offset.
    fn seed(&self, offset: u64) -> u64 {
        seed(self.salt, self.first, offset)
    }
}

fn seed(salt: u64, first: u32, offset: u64) -> u64 {
    salt ^ (u64::from(first) << 32 | offset)
}

/// The file name of a segment.
pub(super) fn file_name(first: u32, generation: u32) -> String {
    format!("{first:010}-{generation:06}{FILE_SUFFIX}")
}

/// What segments' names end with.
pub(super) const FILE_SUFFIX: &str = ".journal";
/// What the names of segments end with that are not whole yet.
pub(super) const UNFINISHED_SUFFIX: &str = ".journal.tmp";

/// The first sequence number and the generation that a file name says.
pub(super) fn parse_file_name(name: &str) -> Option<(u32, u32)> {
    let (first, generation) = name.strip_suffix(FILE_SUFFIX)?.split_once('-')?;
    let parsed = (first.parse().ok()?, generation.parse().ok()?);
    (file_name(parsed.0, parsed.1) == name).then_some(parsed)
}

/// A frame under construction, in memory.
pub(super) struct FrameBuffer {
    header: SegmentHeader,
    offset: u64,
    bytes: Vec<u8>,
}

impl FrameBuffer {
    /// An empty frame that will be written at `offset` of the segment; `bytes` is reused as its memory.
    pub(super) fn new(header: SegmentHeader, offset: u64, mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        bytes.resize(FRAME_HEADER_BYTES, 0);
        Self { header, offset, bytes }
    }

    /// Adds a block. Returns its offset in the file and the bytes that it takes.
    pub(super) fn push(&mut self, kind: u8, payload: &[&[u8]]) -> (u64, u64) {
        let start = self.bytes.len();
        let offset = self.offset + start as u64;
        let length: usize = payload.iter().map(|part| part.len()).sum();
        let length = u32::try_from(length).expect("a payload is bounded by its encoder");
        self.bytes.extend_from_slice(&[0; 8]);
        self.bytes.extend_from_slice(&[kind, 0, 0, 0]);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        for part in payload {
            self.bytes.extend_from_slice(part);
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        let (_, block) = self.bytes.split_at_mut(start);
        let (checksum, covered) = block.split_at_mut(size_of::<u64>());
        let sum = xxh3_64_with_seed(covered, self.header.seed(offset));
        checksum.copy_from_slice(&sum.to_le_bytes());
        (offset, (self.bytes.len() - start) as u64)
    }

    /// The bytes of the blocks so far.
    pub(super) fn blocks_bytes(&self) -> usize {
        self.bytes.len() - FRAME_HEADER_BYTES
    }

    /// Completes the frame's header and gives its bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.blocks_bytes()).expect("a frame is bounded by its makers");
        let mut fields = Vec::with_capacity(FRAME_HEADER_BYTES);
        fields.extend_from_slice(&FRAME_MAGIC);
        fields.extend_from_slice(&length.to_le_bytes());
        fields.extend_from_slice(&self.header.salt.to_le_bytes());
        let sum = xxh3_64_with_seed(&fields, self.header.seed(self.offset));
        fields.extend_from_slice(&sum.to_le_bytes());
        let (start, _) = self.bytes.split_at_mut(FRAME_HEADER_BYTES);
        start.copy_from_slice(&fields);
        self.bytes
    }
}

/// Reads a frame's header: the length of its blocks.
pub(super) fn frame_blocks_bytes(
    header: &SegmentHeader,
    offset: u64,
    bytes: &[u8],
) -> Result<usize, &'static str> {
    let (length, salt) = self_described_frame(header.first, offset, bytes)?;
    if salt == header.salt { Ok(length) } else { Err("the frame belongs to another file") }
}

/// Reads a frame's header without knowing the segment's salt: the length of its blocks and the salt
/// that it was written with.
pub(super) fn self_described_frame(
    first: u32,
    offset: u64,
    mut bytes: &[u8],
) -> Result<(usize, u64), &'static str> {
    const CUT: &str = "the frame's header is cut";
    let (fields, _) = bytes.split_at_checked(16).ok_or(CUT)?;
    let bytes = &mut bytes;
    let magic = take::<4>(bytes).ok_or(CUT)?;
    let length = take_u32(bytes).ok_or(CUT)? as usize;
    let salt = take_u64(bytes).ok_or(CUT)?;
    let checksum = take_u64(bytes).ok_or(CUT)?;
    if magic != FRAME_MAGIC {
        return Err("no frame begins here");
    }
    if xxh3_64_with_seed(fields, seed(salt, first, offset)) != checksum {
        return Err("the frame header's checksum does not match");
    }
    if length > FRAME_BLOCKS_BYTES_MAX || !length.is_multiple_of(ALIGNMENT) {
        return Err("the frame has a length that no frame has");
    }
    Ok((length, salt))
}

/// A block whose checksum matches; what its payload says is not looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawBlock<'a> {
    pub(super) offset: u64,
    pub(super) kind: u8,
    pub(super) payload: &'a [u8],
    /// What the block takes in the file.
    pub(super) bytes: u64,
}

/// Reads and verifies the block that `bytes` begin with.
pub(super) fn read_block<'a>(
    header: &SegmentHeader,
    offset: u64,
    bytes: &'a [u8],
) -> Result<RawBlock<'a>, &'static str> {
    let (block, length) = block_extent(bytes)?;
    let (checksum, covered) = block.split_at(size_of::<u64>());
    if xxh3_64_with_seed(covered, header.seed(offset)).to_le_bytes() != checksum {
        return Err("the block's checksum does not match");
    }
    split_block(offset, block, length).ok_or("the block is cut")
}

/// The block that `bytes` begin with, which was verified before.
pub(super) fn trusted_block(offset: u64, bytes: &[u8]) -> Option<RawBlock<'_>> {
    let (block, length) = block_extent(bytes).ok()?;
    split_block(offset, block, length)
}

/// The bytes of the block that `bytes` begin with, and the length of its payload.
fn block_extent(bytes: &[u8]) -> Result<(&[u8], usize), &'static str> {
    let length = bytes.get(12..).and_then(|mut tail| take_u32(&mut tail));
    let length = length.ok_or("the block's header is cut")? as usize;
    let whole = BLOCK_HEADER_BYTES + length.next_multiple_of(ALIGNMENT);
    let block = bytes.get(..whole).ok_or("the block is longer than its frame")?;
    Ok((block, length))
}

/// The bytes of the block that has this header, as far as a block may be long.
pub(super) fn block_bytes(header: &[u8; BLOCK_HEADER_BYTES]) -> usize {
    let length = header.get(12..).and_then(|mut tail| take_u32(&mut tail)).unwrap_or(0) as usize;
    BLOCK_HEADER_BYTES + length.min(BLOCK_PAYLOAD_BYTES_MAX).next_multiple_of(ALIGNMENT)
}

fn split_block(offset: u64, block: &[u8], length: usize) -> Option<RawBlock<'_>> {
    let kind = *block.get(size_of::<u64>())?;
    let payload = block.get(BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + length)?;
    Some(RawBlock { offset, kind, payload, bytes: block.len() as u64 })
}

/// Takes the first `N` bytes.
pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = bytes.split_first_chunk::<N>()?;
    *bytes = tail;
    Some(*head)
}

pub(super) fn take_u16(bytes: &mut &[u8]) -> Option<u16> {
    take(bytes).map(u16::from_le_bytes)
}

pub(super) fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes).map(u32::from_le_bytes)
}

pub(super) fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(u64::from_le_bytes)
}
