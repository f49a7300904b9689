//! Reading a segment that is only bytes in memory: for tests, and for the fuzz target. It is here, and not
//! beside them, because they would need all that it names (segments, blocks, frames, files) to be public.
//!
//! The rules are those of opening a journal for a segment that nothing follows.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

use super::JournalError;
use super::block::Block;
use super::disk::DiskFile;
use super::format::{
    FRAME_BLOCKS_BYTES_MAX, FrameBuffer, HEADER_BYTES, HeaderError, SegmentHeader,
};
use super::segment::{Segment, walk};

/// What a segment holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Definitions of groups.
    pub(crate) definitions: u64,
    /// Blocks of keys.
    pub(crate) key_blocks: u64,
    /// Keys in them.
    pub(crate) keys: u64,
    /// Ends of groups.
    pub(crate) ends: u64,
    /// Changes of many groups.
    pub(crate) changes: u64,
    /// Whether it ends with a seal.
    pub is_sealed: bool,
}

/// Reads the bytes of a segment's file.
///
/// # Errors
///
/// [`JournalError::Corrupt`] at the first byte that is not as it was written, a torn tail included;
/// [`JournalError::Version`] for a later version.
pub fn inspect_segment(bytes: &[u8]) -> Result<SegmentSummary, JournalError> {
    let path = PathBuf::from("segment");
    let damaged = |what| JournalError::corrupt(&path, 0, what);
    let head = bytes.first_chunk::<HEADER_BYTES>().ok_or_else(|| damaged("the header is cut"))?;
    let header = SegmentHeader::decode(head).map_err(|error| match error {
        HeaderError::Damaged(what) => damaged(what),
        HeaderError::Version(version) => JournalError::Version { path: path.clone(), version },
    })?;
    let segment = Segment::new(path.clone(), header, Box::new(Bytes(bytes.to_vec())));
    let mut summary = SegmentSummary::default();
    let mut memory = Vec::new();
    let seal = walk(&segment, bytes.len() as u64, |_, block| {
        match block {
            Block::Definition(_) => summary.definitions += 1,
            Block::Keys(keys) => {
                summary.key_blocks += 1;
                summary.keys += keys.expand(&mut memory).iter().len() as u64;
            }
            Block::End(_) => summary.ends += 1,
            Block::Change(_) => summary.changes += 1,
            Block::Seal(_) => {}
        }
        Ok(ControlFlow::Continue(()))
    });
    summary.is_sealed = seal.map_err(|error| error.into_journal_error(&segment))?.is_some();
    Ok(summary)
}

/// The bytes of a segment with blocks of any kind and payload, whose checksums match: what a reader
/// meets that was written by a program with a fault. Blocks that would make the frame longer than a
/// frame may be are left out.
pub fn segment_of(blocks: &[(u8, &[u8])]) -> Vec<u8> {
    let header = SegmentHeader::new(0, (1, 1), 1, None);
    let mut frame = FrameBuffer::new(header, HEADER_BYTES as u64, Vec::new());
    for (kind, payload) in blocks {
        if frame.blocks_bytes() + payload.len() + 32 <= FRAME_BLOCKS_BYTES_MAX {
            frame.push(*kind, &[payload]);
        }
    }
    [header.encode().to_vec(), frame.finish()].concat()
}

struct Bytes(Vec<u8>);

impl DiskFile for Bytes {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = self.0.get(start..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn set_length(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_segment_of_the_fixtures_has_what_was_put_into_it() {
        let bytes = segment_of(&[(3, &7_u64.to_le_bytes()), (3, &8_u64.to_le_bytes())]);
        let summary = inspect_segment(&bytes).unwrap();
        assert_eq!(summary, SegmentSummary { ends: 2, ..SegmentSummary::default() });
    }

    #[test]
    fn content_that_makes_no_sense_is_damage_even_if_its_checksum_matches() {
        let serial = 7_u64.to_le_bytes();
        let keys = |count: u32, prefix: u16, digest: u16, rest: &[u8]| {
            let lengths = [prefix.to_le_bytes(), digest.to_le_bytes()].concat();
            [&serial[..], &count.to_le_bytes(), &lengths, rest].concat()
        };
        let definition = |context: u32, record: u32, rest: &[u8]| {
            let lengths = [context.to_le_bytes(), record.to_le_bytes()].concat();
            [&serial[..], &serial[..], &lengths, rest].concat()
        };
        assert!(inspect_segment(&segment_of(&[(2, &keys(2, 2, 1, b"\x00\x01ab"))])).is_ok());
        assert!(inspect_segment(&segment_of(&[(1, &definition(1, 2, b"c{}"))])).is_ok());
        let change = |lengths: [u32; 3], rest: &[u8]| {
            let lengths = lengths.map(u32::to_le_bytes).concat();
            [&serial[..], &lengths, rest].concat()
        };
        assert!(inspect_segment(&segment_of(&[(6, &change([1, 1, 2], b"pc{}"))])).is_ok());
        let cases: [(u8, Vec<u8>); 20] = [
            (10, serial.to_vec()),
            (8, change([2, 0, 0], b"")),
            (9, change([0, 0, 1], b"c")),
            (6, change([1, 1, 3], b"pc{}")),
            (6, change([1, u32::MAX, 2], b"pc{}")),
            (5, change([0, 0, u32::MAX], b"")),
            (0, Vec::new()),
            (5, serial.to_vec()),
            (3, Vec::new()),
            (3, [serial, serial].concat()),
            (4, serial.to_vec()),
            (2, keys(2, 2, 1, b"\x00\x01a")),
            (2, keys(2, 2, 1, b"\x00\x01abc")),
            (2, keys(0, 2, 1, b"\x00\x01")),
            (2, keys(u32::MAX, 2, 0, b"\x00\x00")),
            (2, keys(2, 0, 1, b"ab")),
            (2, keys(1, 2, 1025, &[0; 1027])),
            (1, definition(1, 2, b"c{")),
            (1, definition(u32::MAX, 2, b"c{}")),
            (1, definition(1, 2, b"c\xff\xfe")),
        ];
        for (index, (kind, payload)) in cases.iter().enumerate() {
            let error = inspect_segment(&segment_of(&[(*kind, payload)])).unwrap_err();
            assert!(matches!(error, JournalError::Corrupt { .. }), "{index}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            blocks in proptest::collection::vec(
                (0..11_u8, proptest::collection::vec(any::<u8>(), 0..80)), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let blocks: Vec<_> = blocks.iter().map(|(kind, it)| (*kind, it.as_slice())).collect();
            let bytes = segment_of(&blocks);
            // Either answer is right; what counts is that there is one.
            let _ = inspect_segment(&bytes);
            let cut = cut.index(bytes.len());
            prop_assert_eq!(inspect_segment(&bytes[..cut]).is_ok(), cut == HEADER_BYTES);
        }
    }
}
