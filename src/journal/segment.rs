//! Open segments, and reading them frame by frame.
//!
//! A reader verifies the checksum of every frame before it returns it. It holds one frame in memory
//! and reads ahead in large chunks.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::JournalError;
use super::block::{Block, KIND_SEAL};
use super::disk::{Disk, DiskFile};
use super::format::{
    BLOCK_HEADER_BYTES, FRAME_HEADER_BYTES, HEADER_BYTES, HeaderError, RawBlock, SegmentHeader,
    block_bytes, frame_blocks_bytes, read_block, trusted_block,
};

/// The size of a read: small enough that hashing it hits the cache.
const READ_BYTES: usize = 1 << 20;

/// A segment's file, open for reading for as long as anyone wants it, and what its header says.
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) header: SegmentHeader,
    pub(super) file: Box<dyn DiskFile>,
    /// Appends to it that are durable, but of which the caller has not said that lookups see them.
    unseen: Arc<AtomicUsize>,
    /// The same of the segments that it replaced: the receipts are theirs.
    inherited: Vec<Arc<AtomicUsize>>,
}

impl Segment {
    pub(super) fn new(path: PathBuf, header: SegmentHeader, file: Box<dyn DiskFile>) -> Self {
        Self { path, header, file, unseen: Arc::default(), inherited: Vec::new() }
    }

    /// Takes over the unseen appends of the segments that it replaces. Nothing is appended to those
    /// any more.
    pub(super) fn inherit<'s>(&mut self, sources: impl Iterator<Item = &'s Arc<Self>>) {
        let counts = sources.flat_map(|source| source.unseen_counts());
        self.inherited.extend(counts.filter(|count| is_above_zero(count)).map(Arc::clone));
    }

    /// Opens a segment and reads its header.
    pub(super) fn open(disk: &dyn Disk, path: &Path) -> Result<Self, SegmentError> {
        let failed = |error| JournalError::io("open", path, error);
        let file = disk.open(path).map_err(failed)?;
        let length = file.length().map_err(failed)?;
        let mut bytes = [0; HEADER_BYTES];
        if length < HEADER_BYTES as u64 {
            return Err(SegmentError::Header { length, what: "the header is cut" });
        }
        file.read_at(&mut bytes, 0).map_err(|error| JournalError::io("read", path, error))?;
        match SegmentHeader::decode(&bytes) {
            Ok(header) => Ok(Self::new(path.to_owned(), header, file)),
            Err(HeaderError::Damaged(what)) => Err(SegmentError::Header { length, what }),
            Err(HeaderError::Version(version)) => {
                Err(JournalError::Version { path: path.to_owned(), version }.into())
            }
        }
    }

    /// The length of the file now.
    pub(super) fn length(&self) -> Result<u64, JournalError> {
        self.file.length().map_err(|error| JournalError::io("open", &self.path, error))
    }

    /// The whole file, in memory.
    pub(super) fn read_all(&self) -> Result<Vec<u8>, JournalError> {
        let length = self.length()?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let read = self.file.read_at(&mut bytes, 0);
        read.map_err(|error| JournalError::io("read", &self.path, error))?;
        Ok(bytes)
    }

    pub(super) fn corrupt(&self, offset: u64, what: impl Into<String>) -> JournalError {
        JournalError::corrupt(&self.path, offset, what)
    }

    /// Whether some durable entries may not be visible to lookups yet.
    pub(super) fn has_unseen(&self) -> bool {
        self.unseen_counts().any(is_above_zero)
    }

    fn unseen_counts(&self) -> impl Iterator<Item = &Arc<AtomicUsize>> {
        std::iter::once(&self.unseen).chain(&self.inherited)
    }
}

fn is_above_zero(count: &Arc<AtomicUsize>) -> bool {
    count.load(Ordering::Acquire) > 0
}

impl Segment {
    /// Reads and verifies the one block at `offset`; `memory` holds it.
    pub(super) fn read_block_at<'m>(
        &self,
        offset: u64,
        memory: &'m mut Vec<u8>,
    ) -> Result<RawBlock<'m>, JournalError> {
        let failed = |error| JournalError::io("read", &self.path, error);
        let mut head = [0; BLOCK_HEADER_BYTES];
        self.file.read_at(&mut head, offset).map_err(failed)?;
        memory.clear();
        memory.resize(block_bytes(&head), 0);
        self.file.read_at(memory, offset).map_err(failed)?;
        read_block(&self.header, offset, memory).map_err(|what| self.corrupt(offset, what))
    }
}

/// Why a segment cannot be opened.
#[derive(Debug)]
pub(super) enum SegmentError {
    /// Its header cannot be read.
    Header { length: u64, what: &'static str },
    /// Anything else.
    Other(JournalError),
}

impl From<JournalError> for SegmentError {
    fn from(error: JournalError) -> Self {
        Self::Other(error)
    }
}

/// Proof that entries are durable. Hold it until lookups see them: while it lives, compaction does
/// not treat their keys as superseded.
#[must_use = "hold it until the index has what was appended"]
#[derive(Default)]
pub struct Receipt {
    segments: smallvec::SmallVec<[Arc<Segment>; 1]>,
}

impl Receipt {
    /// Adds a segment that holds some of the entries.
    pub(super) fn cover(&mut self, segment: &Arc<Segment>) {
        if !self.segments.iter().any(|covered| Arc::ptr_eq(covered, segment)) {
            segment.unseen.fetch_add(1, Ordering::AcqRel);
            self.segments.push(Arc::clone(segment));
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        for segment in &self.segments {
            segment.unseen.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.segments.iter().map(|segment| &segment.path)).finish()
    }
}

/// Reads the frames of a segment one after the other.
pub(super) struct FrameReader<'a> {
    segment: &'a Segment,
    limit: u64,
    /// Where the next frame begins in the file.
    offset: u64,
    buffer: Vec<u8>,
    /// What of the buffer holds bytes of the file, from `offset` on.
    filled: std::ops::Range<usize>,
}

/// Why there is no next frame.
#[derive(Debug)]
pub(super) enum FrameError {
    /// The file cannot be read.
    Io(std::io::Error),
    /// The frame that begins at `frame` is damaged at `offset`.
    Damaged { frame: u64, offset: u64, what: &'static str },
}

impl<'a> FrameReader<'a> {
    /// Reads from the first frame up to `limit`.
    pub(super) fn new(segment: &'a Segment, limit: u64) -> Self {
        let offset = HEADER_BYTES as u64;
        Self { segment, limit, offset, buffer: Vec::new(), filled: 0..0 }
    }

    /// The next frame, verified; `None` at the end.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let (header, start) = (self.segment.header, self.offset);
        if start >= self.limit {
            return Ok(None);
        }
        let damaged = |offset, what| FrameError::Damaged { frame: start, offset, what };
        let cut = "the file ends within a frame";
        let head = self.fill(FRAME_HEADER_BYTES)?.ok_or(damaged(start, cut))?;
        let blocks = frame_blocks_bytes(&header, start, head);
        let length = FRAME_HEADER_BYTES + blocks.map_err(|what| damaged(start, what))?;
        self.fill(length)?.ok_or(damaged(start, cut))?;
        let frame = self.buffer.get(self.filled.start..self.filled.start + length);
        let frame = frame.and_then(|frame| frame.get(FRAME_HEADER_BYTES..)).unwrap_or(&[]);
        let offset = start + FRAME_HEADER_BYTES as u64;
        let mut rest = frame;
        while !rest.is_empty() {
            let at = offset + (frame.len() - rest.len()) as u64;
            let block = read_block(&header, at, rest).map_err(|what| damaged(at, what))?;
            rest = rest.get(block.bytes as usize..).unwrap_or(&[]);
        }
        self.offset += length as u64;
        self.filled.start += length;
        Ok(Some(Frame { offset, blocks: frame }))
    }

    /// Makes at least `wanted` bytes from `offset` on available; `None` if the file has fewer.
    fn fill(&mut self, wanted: usize) -> Result<Option<&[u8]>, FrameError> {
        if self.filled.len() < wanted {
            let available = usize::try_from(self.limit - self.offset).unwrap_or(usize::MAX);
            if available < wanted {
                return Ok(None);
            }
            self.buffer.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
            let target = available.min(wanted.max(READ_BYTES));
            if self.buffer.len() < target {
                self.buffer.resize(target, 0);
            }
            let from = self.offset + self.filled.len() as u64;
            if let Some(empty) = self.buffer.get_mut(self.filled.end..target) {
                self.segment.file.read_at(empty, from).map_err(FrameError::Io)?;
            }
            self.filled.end = target;
        }
        Ok(self.buffer.get(self.filled.start..self.filled.start + wanted))
    }
}

/// A verified frame.
pub(super) struct Frame<'a> {
    offset: u64,
    blocks: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Its blocks.
    pub(super) fn blocks(&self) -> Blocks<'a> {
        Blocks { offset: self.offset, rest: self.blocks }
    }
}

/// The blocks of a verified frame.
pub(super) struct Blocks<'a> {
    offset: u64,
    rest: &'a [u8],
}

impl<'a> Iterator for Blocks<'a> {
    type Item = RawBlock<'a>;

    fn next(&mut self) -> Option<RawBlock<'a>> {
        let block = trusted_block(self.offset, self.rest)?;
        self.offset += block.bytes;
        self.rest = self.rest.get(block.bytes as usize..).unwrap_or(&[]);
        Some(block)
    }
}

/// Why reading a segment stopped before its end.
#[derive(Debug)]
pub(super) enum WalkError {
    /// The frame that begins at `frame` is damaged at `offset`.
    Damaged { frame: u64, offset: u64, what: &'static str },
    /// Any other error, the visitor's included.
    Other(JournalError),
}

impl WalkError {
    /// The error, with damage as corruption.
    pub(super) fn into_journal_error(self, segment: &Segment) -> JournalError {
        match self {
            Self::Damaged { offset, what, .. } => segment.corrupt(offset, what),
            Self::Other(error) => error,
        }
    }
}

/// Reads a segment up to `limit` and shows every block to `visit`, until that breaks off. Says where
/// the seal's frame begins, if there is one; it must be the last.
pub(super) fn walk(
    segment: &Segment,
    limit: u64,
    mut visit: impl FnMut(&RawBlock<'_>, Block<'_>) -> Result<ControlFlow<()>, JournalError>,
) -> Result<Option<u64>, WalkError> {
    let mut reader = FrameReader::new(segment, limit);
    let mut seal = None;
    loop {
        let start = reader.offset;
        let frame = match reader.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(seal),
            Err(FrameError::Damaged { frame, offset, what }) => {
                return Err(WalkError::Damaged { frame, offset, what });
            }
            Err(FrameError::Io(error)) => {
                return Err(WalkError::Other(JournalError::io("read", &segment.path, error)));
            }
        };
        let nonsense = |offset, what| WalkError::Other(segment.corrupt(offset, what));
        if seal.is_some() {
            return Err(nonsense(start, "bytes follow the seal"));
        }
        for raw in frame.blocks() {
            let block = Block::decode(&raw).map_err(|what| nonsense(raw.offset, what))?;
            if raw.kind == KIND_SEAL {
                if !matches!(block, Block::Seal(offset) if offset == start) {
                    return Err(nonsense(raw.offset, "the seal is not where it says"));
                }
                seal = Some(start);
            } else if visit(&raw, block).map_err(WalkError::Other)?.is_break() {
                return Ok(None);
            }
        }
    }
}

/// The offset of the first frame after `from` that is whole by its header, up to `limit`.
pub(super) fn find_frame(
    segment: &Segment,
    from: u64,
    limit: u64,
) -> Result<Option<u64>, JournalError> {
    const STEP: usize = 8;
    let mut at = from.next_multiple_of(STEP as u64).max(HEADER_BYTES as u64);
    let mut buffer = vec![0; READ_BYTES + FRAME_HEADER_BYTES];
    while at + FRAME_HEADER_BYTES as u64 <= limit {
        let length = usize::try_from(limit - at).unwrap_or(usize::MAX).min(buffer.len());
        let window = buffer.get_mut(..length).unwrap_or(&mut []);
        let read = segment.file.read_at(window, at);
        read.map_err(|error| JournalError::io("read", &segment.path, error))?;
        let mut seen = 0;
        while let Some(head) = window.get(seen..seen + FRAME_HEADER_BYTES) {
            if frame_blocks_bytes(&segment.header, at + seen as u64, head).is_ok() {
                return Ok(Some(at + seen as u64));
            }
            seen += STEP;
        }
        at += seen as u64;
    }
    Ok(None)
}
