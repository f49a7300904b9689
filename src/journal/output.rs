//! Writes a whole segment, for compaction and repair: it counts only when it is finished.
//!
//! Order of steps: write, sync, rename, sync the directory. If one fails, the file is removed, and
//! the segments that it was to replace stay.

use std::path::{Path, PathBuf};

use super::JournalError;
use super::block::{KIND_KEYS, KIND_SEAL};
use super::disk::{Disk, DiskFile};
use super::format::{
    FILE_SUFFIX, FRAME_BYTES_FULL, FrameBuffer, HEADER_BYTES, SegmentHeader, UNFINISHED_SUFFIX,
};
use super::segment::Segment;

/// A segment under construction.
pub(super) struct SegmentOutput<'a> {
    disk: &'a dyn Disk,
    directory: &'a Path,
    header: SegmentHeader,
    file: Box<dyn DiskFile>,
    unfinished: PathBuf,
    length: u64,
    frame: FrameBuffer,
    /// Where blocks of keys begin.
    pub(super) samples: Vec<u64>,
}

impl<'a> SegmentOutput<'a> {
    /// Creates its file, under a temporary name.
    pub(super) fn create(
        disk: &'a dyn Disk,
        directory: &'a Path,
        header: SegmentHeader,
    ) -> Result<Self, JournalError> {
        let name = header.file_name();
        let stem = name.strip_suffix(FILE_SUFFIX).unwrap_or(&name);
        let unfinished = directory.join(format!("{stem}{UNFINISHED_SUFFIX}"));
        let failed = |action| {
            let path = unfinished.clone();
            move |error| JournalError::io(action, &path, error)
        };
        let file = disk.create(&unfinished).map_err(failed("create"))?;
        let length = HEADER_BYTES as u64;
        let frame = FrameBuffer::new(header, length, Vec::new());
        let written = file.write_at(&header.encode(), 0).map_err(failed("write to"));
        let samples = Vec::new();
        let output = Self { disk, directory, header, file, unfinished, length, frame, samples };
        match written {
            Ok(()) => Ok(output),
            Err(error) => {
                output.discard();
                Err(error)
            }
        }
    }

    /// Adds a block. Returns its offset and its bytes.
    pub(super) fn put(&mut self, kind: u8, payload: &[u8]) -> Result<(u32, u64), JournalError> {
        if self.frame.blocks_bytes() >= FRAME_BYTES_FULL {
            self.flush()?;
        }
        let (offset, bytes) = self.frame.push(kind, &[payload]);
        let offset = u32::try_from(offset).expect("what lives in the sources fits into a segment");
        if kind == KIND_KEYS {
            self.samples.push(u64::from(offset));
        }
        Ok((offset, bytes))
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        if self.frame.blocks_bytes() == 0 {
            return Ok(());
        }
        let empty = FrameBuffer::new(self.header, 0, Vec::new());
        let bytes = std::mem::replace(&mut self.frame, empty).finish();
        let written = self.file.write_at(&bytes, self.length);
        written.map_err(|error| JournalError::io("write to", &self.unfinished, error))?;
        self.length += bytes.len() as u64;
        self.frame = FrameBuffer::new(self.header, self.length, bytes);
        Ok(())
    }

    /// Seals the segment and gives it its name. Returns its length.
    pub(super) fn finish(mut self) -> Result<(Segment, u64), JournalError> {
        match self.complete() {
            Ok(path) => Ok((Segment::new(path, self.header, self.file), self.length)),
            Err(error) => {
                self.discard();
                Err(error)
            }
        }
    }

    fn complete(&mut self) -> Result<PathBuf, JournalError> {
        self.flush()?;
        let seal = self.length;
        self.put(KIND_SEAL, &seal.to_le_bytes())?;
        self.flush()?;
        let path = self.directory.join(self.header.file_name());
        let failed = |action, error| JournalError::io(action, &path, error);
        self.file.sync().map_err(|error| failed("sync", error))?;
        let disk = self.disk;
        disk.rename(&self.unfinished, &path).map_err(|error| failed("rename to", error))?;
        if let Err(error) = disk.sync_directory(self.directory) {
            // Whether the new name survives a crash is unknown, so the sources must stay; beside
            // them, a file that covers them is harmless either way.
            let _ = disk.remove(&path);
            return Err(failed("sync the directory of", error));
        }
        Ok(path)
    }

    pub(super) fn discard(self) {
        // Leftovers are removed when the journal is opened.
        let _ = self.disk.remove(&self.unfinished);
    }
}
