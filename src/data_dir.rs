//! A data directory, and the lock on it.
//!
//! ```text
//! data directory/
//!   LOCK           held by the process, with its id in it
//!   journal/       announcements (`journal`)
//!   control.redb   what the control plane has decided (`state`)
//!   state.redb     IPNS records (`store::ipns`)
//! ```
//!
//! Invariant: whoever has a [`DataDir`] holds the lock, and what is in the directory is opened by way of one
//! only. Clones share the lock: it is released when the last of them is dropped, or the process ends.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

/// The lock's name.
const LOCK_NAME: &str = "LOCK";
/// The journal's folder.
const JOURNAL_NAME: &str = "journal";
/// The file of the control plane's state.
const CONTROL_NAME: &str = "control.redb";
/// The file of IPNS records.
const IPNS_NAME: &str = "state.redb";

/// A data directory whose lock this process holds.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: Arc<Path>,
    /// `None` only in unit tests, on a disk in memory.
    _lock: Option<Arc<File>>,
}

/// Why a data directory cannot be had.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// Another process uses it.
    #[error(
        "{} is held by {}; stop it, or choose another data directory",
        .path.display(),
        .process.map_or("another process".to_owned(), |id| format!("process {id}"))
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it, if it can be read.
        process: Option<u32>,
    },
    /// The operating system refused something.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl DataDir {
    /// Takes the lock of a directory, which is made, private to its owner, if it is not there.
    ///
    /// # Errors
    ///
    /// [`DataDirError::Locked`] if another process, or something else in this one, has the lock.
    pub fn lock(directory: impl Into<PathBuf>) -> Result<Self, DataDirError> {
        let directory = directory.into();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        if let Err(source) = made {
            return Err(DataDirError::Io { action: "create", path: directory, source });
        }
        let path = directory.join(LOCK_NAME);
        match take(&path) {
            Ok(Ok(lock)) => Ok(Self { path: directory.into(), _lock: Some(Arc::new(lock)) }),
            Ok(Err(process)) => Err(DataDirError::Locked { path, process }),
            Err(source) => Err(DataDirError::Io { action: "lock", path, source }),
        }
    }

    /// A path of a disk in memory, which needs no lock.
    #[cfg(test)]
    pub(crate) fn in_memory(path: &str) -> Self {
        Self { path: Path::new(path).into(), _lock: None }
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The journal's folder.
    pub(crate) fn journal(&self) -> PathBuf {
        self.path.join(JOURNAL_NAME)
    }

    /// The file of the control plane's state.
    pub(crate) fn control_file(&self) -> PathBuf {
        self.path.join(CONTROL_NAME)
    }

    /// The file of IPNS records.
    pub(crate) fn ipns_file(&self) -> PathBuf {
        self.path.join(IPNS_NAME)
    }

    /// Whether a directory looks like a data directory: it has a journal. Needs no lock.
    ///
    /// # Errors
    ///
    /// What keeps the system from saying so.
    pub(crate) fn is_at(directory: &Path) -> io::Result<bool> {
        match std::fs::metadata(directory.join(JOURNAL_NAME)) {
            Ok(metadata) => Ok(metadata.is_dir()),
            Err(error) if is_absence(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The lock file, locked; or the process that wrote its id there, if that can be read.
fn take(path: &Path) -> io::Result<Result<File, Option<u32>>> {
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
    match file.try_lock() {
        Ok(()) => {
            // The lock is what counts: a full disk does not keep a server from starting.
            let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
            Ok(Ok(file))
        }
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok(Err(text.trim().parse().ok()))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_to_lock_a_directory_learns_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::lock(folder.path()).unwrap();
        let clone = first.clone();
        drop(first);
        let error = DataDir::lock(folder.path()).unwrap_err();
        let process = std::process::id();
        assert!(matches!(error, DataDirError::Locked { process: Some(id), .. } if id == process));
        let message = error.to_string();
        assert!(message.contains(&format!("held by process {process}; stop it")), "{message}");
        drop(clone);
        DataDir::lock(folder.path()).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_disk_that_is_full_does_not_keep_from_locking() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.path().join(LOCK_NAME)).unwrap();
        DataDir::lock(folder.path()).unwrap();
    }
}
