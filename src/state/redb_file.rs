//! A redb database that is one file of the data directory, with the care that a disk needs.
//!
//! Readers see the last commit and wait for no writer. redb takes an I/O error as the end of an open
//! database: whatever failed, the file is opened again before the next write, which is the only thing
//! that readers wait for; and if the disk does not even allow that, it is read without being written
//! (`overlay`).
//!
//! Commits are in two phases: what is stored comes from strangers, and the checksums that a commit in
//! one phase relies on after a crash are not made against them.
//!
//! Failure: a write that fails counts for nothing, and whatever was committed before stays. A file
//! that is damaged, or no database, is an error when it is opened.

mod medium;
mod overlay;
mod service;
#[cfg(test)]
pub(crate) mod test_medium;

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::RwLock;
use redb::{Database, Error as RedbError, ReadTransaction, ReadableDatabase, WriteTransaction};

pub(crate) use medium::{DiskMedium, Medium};
#[cfg(test)]
pub(crate) use service::PAUSE_MS;
pub(crate) use service::{RedbService, ServiceOptions};

/// What is done to a database each time it is opened: its tables are made, if they are not there.
pub(crate) type SetUp = dyn Fn(&mut Database) -> Result<(), RedbError> + Send + Sync;

/// What a file is that could not be opened again.
const CLOSED: FileError = FileError::Unavailable("the file is closed");

/// The open file.
pub(crate) struct RedbFile {
    medium: Box<dyn Medium>,
    set_up: Box<SetUp>,
    /// `None` while it cannot be opened again.
    database: RwLock<Option<Database>>,
    must_reopen: AtomicBool,
    bytes: AtomicU64,
}

/// What the work of one write comes to.
pub(crate) enum WriteWork<T> {
    /// It changed something, which is committed.
    Changed(T),
    /// It did not; nothing is committed.
    Unchanged(T),
}

/// Why a file, or the service on it, did not do what it was asked.
#[derive(Debug)]
pub(crate) enum FileError {
    /// The disk is full.
    NoSpace(io::Error),
    /// The disk does not take writes, or does not give back what was written.
    Io(io::Error),
    /// As many commands wait as may wait.
    Overloaded,
    /// The file could not be opened again, or the service has stopped.
    Unavailable(&'static str),
}

impl RedbFile {
    /// Opens the database. One whose disk takes no writes can be read, and is opened again when
    /// something is to be written. `what` says for the log what the file holds.
    pub(crate) fn open(
        medium: impl Medium,
        set_up: Box<SetUp>,
        what: &'static str,
    ) -> Result<Self, RedbError> {
        let opened = caught(|| set_up_of(medium.open(), &*set_up));
        let (database, must_reopen) = match opened {
            Ok(database) => (database, false),
            // Of a file that is no database redb says so in this way.
            Err(RedbError::Io(error)) if error.kind() != io::ErrorKind::InvalidData => {
                tracing::warn!(%error, "{what} cannot be written; trying again");
                (caught(|| set_up_of(medium.open_overlay(), &*set_up))?, true)
            }
            Err(error) => return Err(error),
        };
        let bytes = AtomicU64::new(medium.length());
        Ok(Self {
            medium: Box::new(medium),
            set_up,
            database: RwLock::new(Some(database)),
            must_reopen: AtomicBool::new(must_reopen),
            bytes,
        })
    }

    /// The size as of the last commit.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the database has failed, so that it has to be opened again.
    pub(crate) fn must_reopen(&self) -> bool {
        self.must_reopen.load(Ordering::Relaxed)
    }

    /// Closes what is open and opens it again. If the disk does not let it, it can still be read.
    pub(crate) fn reopen(&self) -> Result<(), FileError> {
        let mut database = self.database.write();
        // Closed first: two open databases would write over each other.
        *database = None;
        match caught(|| set_up_of(self.medium.open(), &*self.set_up)) {
            Ok(opened) => *database = Some(opened),
            Err(error) => {
                *database = caught(|| set_up_of(self.medium.open_overlay(), &*self.set_up)).ok();
                return Err(error.into());
            }
        }
        self.must_reopen.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Reads the last commit.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, RedbError>,
    ) -> Result<T, FileError> {
        self.with_database(|database| work(&database.begin_read()?))
    }

    /// Commits what `work` changed, if it did. When this returns, it is on the disk.
    pub(crate) fn write<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<WriteWork<T>, RedbError>,
    ) -> Result<T, FileError> {
        if self.must_reopen() {
            self.reopen()?;
        }
        self.with_database(|database| {
            let transaction = begin_write(database)?;
            match work(&transaction)? {
                WriteWork::Changed(done) => {
                    transaction.commit()?;
                    self.bytes.store(self.medium.length(), Ordering::Relaxed);
                    Ok(done)
                }
                WriteWork::Unchanged(done) => {
                    transaction.abort()?;
                    Ok(done)
                }
            }
        })
    }

    /// Writes nothing, durably: whether the disk takes writes.
    pub(crate) fn probe(&self) -> Result<(), FileError> {
        self.write(|_| Ok(WriteWork::Changed(())))
    }

    fn with_database<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, RedbError>,
    ) -> Result<T, FileError> {
        let database = self.database.read();
        work(database.as_ref().ok_or(CLOSED)?).map_err(|error| {
            self.must_reopen.store(true, Ordering::Relaxed);
            error.into()
        })
    }
}

/// A write whose commit is in two phases.
pub(crate) fn begin_write(database: &Database) -> Result<WriteTransaction, RedbError> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

/// What opens a database: redb meets some damage with a panic, and an operator has to be told what to
/// do about it.
fn caught(open: impl FnOnce() -> Result<Database, RedbError>) -> Result<Database, RedbError> {
    // What the panic leaves half done is the database, which is dropped with it.
    std::panic::catch_unwind(AssertUnwindSafe(open))
        .unwrap_or_else(|_| Err(RedbError::Corrupted("what it holds makes no sense".to_owned())))
}

fn set_up_of(opened: Result<Database, RedbError>, set_up: &SetUp) -> Result<Database, RedbError> {
    let mut database = opened?;
    set_up(&mut database)?;
    Ok(database)
}

impl FileError {
    /// The same once more, to be told to many.
    pub(crate) fn duplicate(&self) -> Self {
        let copy = |source: &io::Error| io::Error::new(source.kind(), source.to_string());
        match self {
            Self::NoSpace(source) => Self::NoSpace(copy(source)),
            Self::Io(source) => Self::Io(copy(source)),
            Self::Overloaded => Self::Overloaded,
            Self::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

impl From<RedbError> for FileError {
    fn from(error: RedbError) -> Self {
        use io::ErrorKind::{QuotaExceeded, StorageFull};

        let RedbError::Io(source) = error else {
            return Self::Io(io::Error::other(error));
        };
        if matches!(source.kind(), StorageFull | QuotaExceeded) {
            Self::NoSpace(source)
        } else {
            Self::Io(source)
        }
    }
}
