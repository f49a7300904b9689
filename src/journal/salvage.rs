//! Finds whole blocks in a damaged segment.
//!
//! Frames whose headers match are taken block by block; between them, every place where a block may
//! begin is tried. Everything found is verified by checksum, so nothing is invented; bytes between
//! are reported as lost.

use std::ops::Range;

use super::block::{Block, KIND_COMPANIONS, KIND_DEFINITION};
use super::format::{
    BLOCK_HEADER_BYTES, FRAME_HEADER_BYTES, HEADER_BYTES, RawBlock, SegmentHeader,
    frame_blocks_bytes, read_block, self_described_frame,
};
use crate::invariant;

/// Frames and blocks begin at multiples of this.
const STEP: usize = 8;

/// What of a segment's bytes is whole.
#[derive(Debug, Default)]
pub(super) struct Salvaged<'a> {
    pub(super) blocks: Vec<RawBlock<'a>>,
    pub(super) lost: Vec<LostBytes>,
    pub(super) has_seal: bool,
    /// Where the last frame begins that is damaged, if no whole one follows it.
    pub(super) torn_at: Option<u64>,
}

/// Bytes of a segment that are damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LostBytes {
    /// Where they begin in the file.
    pub(crate) offset: u64,
    /// How many they are, as far as that is known.
    pub(crate) bytes: u64,
    /// What is wrong with them.
    pub(crate) what: &'static str,
}

/// Takes what is whole out of the bytes of a segment.
pub(super) fn salvage<'a>(header: &SegmentHeader, file: &'a [u8]) -> Salvaged<'a> {
    let mut salvaged = Salvaged::default();
    let mut at = HEADER_BYTES;
    while at < file.len() {
        let losses = salvaged.lost.len();
        match whole_frame(header, file, at) {
            Ok(blocks) => {
                salvaged.take_blocks(header, file, blocks.clone());
                if salvaged.lost.len() > losses {
                    salvaged.torn_at = Some(at as u64);
                } else {
                    salvaged.torn_at = None;
                }
                at = blocks.end;
            }
            Err(what) => {
                let next = next_frame(header, file, at + STEP);
                salvaged.torn_at = next.is_none().then_some(at as u64);
                let next = next.unwrap_or(file.len());
                let head = (at + FRAME_HEADER_BYTES).min(next);
                salvaged.lose(at..head, what);
                salvaged.take_blocks(header, file, head..next);
                at = next;
            }
        }
    }
    salvaged
}

/// The blocks' bytes of the frame at `at`, if its header matches.
fn whole_frame(
    header: &SegmentHeader,
    file: &[u8],
    at: usize,
) -> Result<Range<usize>, &'static str> {
    let length = frame_blocks_bytes(header, at as u64, file.get(at..).unwrap_or(&[]))?;
    let start = at + FRAME_HEADER_BYTES;
    let is_there = start + length <= file.len();
    if is_there { Ok(start..start + length) } else { Err("the file ends within a frame") }
}

fn next_frame(header: &SegmentHeader, file: &[u8], from: usize) -> Option<usize> {
    let places = (from..file.len()).step_by(STEP);
    let is_frame = |at: &usize| {
        file.get(*at..).is_some_and(|bytes| frame_blocks_bytes(header, *at as u64, bytes).is_ok())
    };
    places.into_iter().find(is_frame)
}

impl<'a> Salvaged<'a> {
    fn take_blocks(&mut self, header: &SegmentHeader, file: &'a [u8], range: Range<usize>) {
        let bytes = invariant::present(file.get(..range.end), "a range is part of its file");
        let Some(bytes) = bytes else { return };
        let mut at = range.start;
        while at < range.end {
            match whole_block(header, bytes, at) {
                Ok((raw, block)) => {
                    if matches!(block, Block::Seal(_)) {
                        self.has_seal = true;
                    } else {
                        self.blocks.push(raw);
                    }
                    at += raw.bytes as usize;
                }
                Err(what) => {
                    self.lose(at..at + STEP, what);
                    at += STEP;
                }
            }
        }
    }

    /// Notes lost bytes, together with those right before them.
    fn lose(&mut self, range: Range<usize>, what: &'static str) {
        let bytes = range.len() as u64;
        match self.lost.last_mut() {
            Some(last) if last.offset + last.bytes == range.start as u64 => last.bytes += bytes,
            _ => self.lost.push(LostBytes { offset: range.start as u64, bytes, what }),
        }
    }
}

fn whole_block<'a>(
    header: &SegmentHeader,
    bytes: &'a [u8],
    at: usize,
) -> Result<(RawBlock<'a>, Block<'a>), &'static str> {
    let rest = bytes.get(at..).unwrap_or(&[]);
    // Avoids the hash at nearly every place where no block begins.
    let Some([KIND_DEFINITION..=KIND_COMPANIONS, 0, 0, 0]) = rest.get(8..BLOCK_HEADER_BYTES - 4)
    else {
        return Err("the block's checksum does not match");
    };
    let raw = read_block(header, at as u64, rest)?;
    Ok((raw, Block::decode(&raw)?))
}

/// The salt of a segment whose header is damaged: that of the first frame that matches its own.
pub(super) fn find_salt(first: u32, file: &[u8]) -> Option<u64> {
    let mut places = (HEADER_BYTES..file.len()).step_by(STEP);
    let salt = |at: usize| self_described_frame(first, at as u64, file.get(at..)?).ok();
    places.find_map(salt).map(|(_, salt)| salt)
}
