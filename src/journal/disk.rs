//! What the journal asks of a file system, behind a trait so that tests can break it.
//!
//! The journal relies on exactly this: what was written before a `sync` that succeeded survives a
//! crash; a name survives once its directory was synced after the change; everything else may be
//! there, be missing, or be there in parts.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::Path;

/// How much room a file system has for this process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiskRoom {
    pub(crate) free_bytes: u64,
    /// All there is, taken or not; 0: it does not say.
    pub(crate) total_bytes: u64,
}

/// A file system.
pub(crate) trait Disk: Send + Sync {
    /// Makes a directory and those above it, private to their owner; one that exists is fine.
    fn create_directory(&self, path: &Path) -> io::Result<()>;
    /// The names of the files in a directory.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Makes an empty file, in place of one that exists.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file that exists.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name, in place of a file that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a file's name away; who has it open can still read it.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory survive a crash.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// How much room there is where a directory is.
    fn room(&self, path: &Path) -> io::Result<DiskRoom>;
}

/// An open file.
pub(crate) trait DiskFile: Send + Sync {
    /// The length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Fills `buffer` from `offset` on.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts the file.
    fn set_length(&self, length: u64) -> io::Result<()>;
    /// Makes what was written survive a crash.
    fn sync(&self) -> io::Result<()>;
}

/// The file system of the operating system.
pub(crate) struct SystemDisk;

impl Disk for SystemDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        Ok(Box::new(options.open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn room(&self, path: &Path) -> io::Result<DiskRoom> {
        let figures = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(figures.f_frsize);
        Ok(DiskRoom { free_bytes: bytes(figures.f_bavail), total_bytes: bytes(figures.f_blocks) })
    }
}

impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
