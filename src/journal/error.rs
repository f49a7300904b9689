//! What can go wrong with the journal, by what the caller will do about it.
//!
//! The errors are cloneable, because one failed write is the answer to everyone whose entries were
//! in it. Every one names the file that it is about.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

/// Why the journal could not do what it was asked.
#[derive(Clone, Debug, Error)]
pub enum JournalError {
    /// The disk is full. Nothing of what was to be written is there; later attempts may succeed.
    #[error("no room left on the disk for {}", .path.display())]
    NoSpace {
        /// The file that was to grow.
        path: PathBuf,
    },
    /// What is free on the disk is kept for removals and the operator. Later attempts may succeed.
    #[error(
        "{free_bytes} bytes are free on the disk of {}, which are kept for removals and imports \
         (journal_disk_reserve)",
        .path.display()
    )]
    Reserved {
        /// The journal's directory.
        path: PathBuf,
        /// What is free.
        free_bytes: u64,
    },
    /// The operating system refused an operation. Later attempts may succeed.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// Bytes that were written whole are not what was written, or are gone.
    #[error(
        "{} is damaged at byte {offset}: {what}; `fingerpost repair` keeps what is whole and says \
         what is lost",
        .path.display()
    )]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// Where the first damage begins, in bytes from the start of the file.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A segment was written by a version that this one does not know.
    #[error("{} has format version {version}, this program reads up to {}", .path.display(), super::format::VERSION)]
    Version {
        /// The segment.
        path: PathBuf,
        /// The version that its header says.
        version: u32,
    },
    /// A definition or a change is larger than a block may be.
    #[error(
        "a group's context and record, or a provider's addresses, take {bytes} bytes, at most {bytes_max} are kept"
    )]
    TooLarge {
        /// What they take.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// An append that is to be written whole or not at all does not fit into one frame.
    #[error(
        "{bytes} bytes are too many to be written whole or not at all, at most {bytes_max} are"
    )]
    NotWhole {
        /// What the append takes.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// An option has a value that cannot work.
    #[error("{option} must be {wanted}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// What would work.
        wanted: &'static str,
    },
    /// The journal was closed, or its writer died; nothing can be appended any more.
    #[error("the journal is closed")]
    Closed,
}

impl JournalError {
    /// The error for an operation that the operating system refused.
    pub(super) fn io(action: &'static str, path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Self::NoSpace { path };
        }
        Self::Io { action, path, source: Arc::new(error) }
    }

    /// The error for damage.
    pub(super) fn corrupt(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), offset, what: what.into() }
    }
}
