//! The file of IPNS records: `state.redb` in the data directory, one redb database.
//!
//! ```text
//! table ipns_records
//!   key    the name's multihash
//!   value  layout u8 = 1 | stored_at_ms u64, big endian | the record's bytes, as they came
//!
//! table ipns_ends, so that expired records are found without reading all
//!   key    (end of validity in Unix ms, rounded up; the name's multihash)
//!   value  nothing
//! ```
//!
//! Both change in one transaction: each record has one end, and each end a record. Commits are in two
//! phases: what is stored comes from strangers, and the checksums that a commit in one phase relies
//! on after a crash are not made against them.
//!
//! Readers see the last commit and wait for no writer. redb takes an I/O error as the end of an open
//! database: whatever failed, the file is opened again before the next write, which is the only thing
//! that readers wait for; and if the disk does not even allow that, it is read without being written
//! (`aside`).

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::RwLock;
use redb::backends::{FileBackend, InMemoryBackend};
use redb::{
    Database, Error as RedbError, ReadTransaction, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, Table, TableDefinition, WriteTransaction,
};

use super::aside::Aside;
use super::{NamePut, NamesError, StoredName, judge};
use crate::clock::UnixMs;
use crate::types::{IpnsName, IpnsRecord};

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("ipns_records");
const ENDS: TableDefinition<'_, (u64, &[u8]), ()> = TableDefinition::new("ipns_ends");

/// The layout of values that this version writes, and the only one that there is.
const LAYOUT: u8 = 1;

/// Memory for pages of the file, in bytes: redb's own default is a gibibyte.
const CACHE_BYTES: usize = 32 << 20;

/// The most records that one sweep frees, so that none holds up the puts for long.
const SWEPT_MAX: usize = 1_000;

/// What the database lies on.
pub(super) trait Medium: Send + Sync + 'static {
    /// Opens the database, and makes it if it is not there.
    fn open(&self) -> Result<Database, RedbError>;

    /// Opens the database without writing to what it lies on.
    fn open_aside(&self) -> Result<Database, RedbError>;

    /// Its size in bytes.
    fn length(&self) -> u64;
}

/// The database at a path.
pub(super) struct DiskMedium {
    pub(super) path: PathBuf,
}

/// The open file.
pub(super) struct NamesFile {
    medium: Box<dyn Medium>,
    /// `None` while it cannot be opened again.
    database: RwLock<Option<Database>>,
    must_reopen: AtomicBool,
    records: AtomicU64,
    bytes: AtomicU64,
}

/// What one put of a batch comes to, unless the disk fails, which fails the whole batch.
pub(super) type Verdict = Result<NamePut, Refusal>;

/// There is no room for another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal;

/// One record that is to be stored.
pub(super) struct Candidate {
    pub(super) record: IpnsRecord,
    pub(super) now_ms: UnixMs,
}

impl Medium for DiskMedium {
    fn open(&self) -> Result<Database, RedbError> {
        if !self.path.exists() {
            make_at_once(&self.path)?;
        }
        Ok(Database::builder().set_cache_size(CACHE_BYTES).open(&self.path)?)
    }

    fn open_aside(&self) -> Result<Database, RedbError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            // The disk had no room for it yet: there are no records.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Database::builder().create_with_backend(InMemoryBackend::new())?);
            }
            Err(error) => return Err(error.into()),
        };
        let aside = Aside::new(FileBackend::new(file)?)?;
        Ok(Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(aside)?)
    }

    fn length(&self) -> u64 {
        self.path.metadata().map_or(0, |metadata| metadata.len())
    }
}

/// The database with both tables, and how many records it has.
fn with_tables(database: Database) -> Result<(Database, u64), RedbError> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    let records = transaction.open_table(RECORDS)?.len()?;
    transaction.open_table(ENDS)?;
    transaction.commit()?;
    Ok((database, records))
}

/// Makes an empty database under another name first, so that a crash leaves a whole one or none.
fn make_at_once(path: &Path) -> Result<(), RedbError> {
    let new = path.with_extension("redb.new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    drop(Database::create(&new)?);
    std::fs::rename(&new, path)?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

impl NamesFile {
    /// Opens the database. One whose disk takes no writes can be read, and is opened again when
    /// something is to be written.
    pub(super) fn open(medium: impl Medium) -> Result<Self, RedbError> {
        let (database, records, must_reopen) = match medium.open().and_then(with_tables) {
            Ok((database, records)) => (database, records, false),
            Err(RedbError::Io(error)) => {
                tracing::warn!(%error, "IPNS records cannot be written; trying again");
                let (database, records) = medium.open_aside().and_then(with_tables)?;
                (database, records, true)
            }
            Err(error) => return Err(error),
        };
        let bytes = AtomicU64::new(medium.length());
        Ok(Self {
            medium: Box::new(medium),
            database: RwLock::new(Some(database)),
            must_reopen: AtomicBool::new(must_reopen),
            records: AtomicU64::new(records),
            bytes,
        })
    }

    /// Records as of the last commit.
    pub(super) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// The size as of the last commit.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the database has failed, so that it has to be opened again.
    pub(super) fn must_reopen(&self) -> bool {
        self.must_reopen.load(Ordering::Relaxed)
    }

    /// Closes what is open and opens it again. If the disk does not let it, it can still be read.
    pub(super) fn reopen(&self) -> Result<(), NamesError> {
        let mut database = self.database.write();
        // Closed first: two open databases would write over each other.
        *database = None;
        match self.medium.open().and_then(with_tables) {
            Ok((opened, _)) => *database = Some(opened),
            Err(error) => {
                let aside = self.medium.open_aside().and_then(with_tables);
                *database = aside.ok().map(|(database, _)| database);
                return Err(error.into());
            }
        }
        self.must_reopen.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// What is stored of a name, expired or not.
    pub(super) fn get(&self, name: &IpnsName) -> Result<Option<StoredName>, NamesError> {
        let value = self.read(|transaction| {
            let records = transaction.open_table(RECORDS)?;
            Ok(records.get(name.as_bytes())?.map(|value| value.value().to_vec()))
        })?;
        value.map(|value| decode(&value, name)).transpose()
    }

    /// Stores what counts of these, in their order, in one commit.
    pub(super) fn put(
        &self,
        candidates: &[Candidate],
        records_max: u64,
    ) -> Result<Vec<Verdict>, NamesError> {
        self.write(|tables| {
            candidates.iter().map(|candidate| tables.put(candidate, records_max)).collect()
        })
    }

    /// Frees some expired records, and says how many.
    pub(super) fn sweep(&self, now_ms: UnixMs) -> Result<usize, NamesError> {
        let is_any_over = self.read(|transaction| {
            let ends = transaction.open_table(ENDS)?;
            Ok(ends.first()?.is_some_and(|(end, _)| end.value().0 <= now_ms))
        })?;
        if is_any_over { self.write(|tables| tables.sweep(now_ms)) } else { Ok(0) }
    }

    /// Writes nothing, durably: whether the disk takes writes.
    pub(super) fn probe(&self) -> Result<(), NamesError> {
        self.write(|tables| {
            tables.has_changed = true;
            Ok(())
        })
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, RedbError>,
    ) -> Result<T, NamesError> {
        self.with_database(|database| work(&database.begin_read()?))
    }

    /// Commits what `work` changed, if it did.
    fn write<T>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, RedbError>,
    ) -> Result<T, NamesError> {
        if self.must_reopen() {
            self.reopen()?;
        }
        self.with_database(|database| {
            let mut transaction = database.begin_write()?;
            transaction.set_two_phase_commit(true);
            let (done, records, has_changed) = {
                let mut tables = Tables::open(&transaction)?;
                let done = work(&mut tables)?;
                (done, tables.records.len()?, tables.has_changed)
            };
            if has_changed {
                transaction.commit()?;
                self.records.store(records, Ordering::Relaxed);
                self.bytes.store(self.medium.length(), Ordering::Relaxed);
            } else {
                transaction.abort()?;
            }
            Ok(done)
        })
    }

    fn with_database<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, RedbError>,
    ) -> Result<T, NamesError> {
        let database = self.database.read();
        let closed = || NamesError::Unavailable { reason: "their file is closed".to_owned() };
        let database = database.as_ref().ok_or_else(closed)?;
        work(database).map_err(|error| {
            self.must_reopen.store(true, Ordering::Relaxed);
            error.into()
        })
    }
}

/// Both tables of one write.
struct Tables<'txn> {
    records: Table<'txn, &'static [u8], &'static [u8]>,
    ends: Table<'txn, (u64, &'static [u8]), ()>,
    has_changed: bool,
}

impl<'txn> Tables<'txn> {
    fn open(transaction: &'txn WriteTransaction) -> Result<Self, RedbError> {
        Ok(Self {
            records: transaction.open_table(RECORDS)?,
            ends: transaction.open_table(ENDS)?,
            has_changed: false,
        })
    }

    /// What is stored of a name; what cannot be read counts as nothing, and is replaced.
    fn current(&self, name: &IpnsName) -> Result<Option<IpnsRecord>, RedbError> {
        let value = self.records.get(name.as_bytes())?;
        let stored = value.and_then(|value| decode(value.value(), name).ok());
        Ok(stored.map(|stored| stored.record))
    }

    fn put(&mut self, candidate: &Candidate, records_max: u64) -> Result<Verdict, RedbError> {
        let Candidate { record, now_ms } = candidate;
        let name = record.name().as_bytes();
        let current = self.current(record.name())?;
        let verdict = judge(current.as_ref(), record, *now_ms);
        if verdict != NamePut::Stored {
            return Ok(Ok(verdict));
        }
        if current.is_none() && self.records.len()? >= records_max {
            self.sweep(*now_ms)?;
            if self.records.len()? >= records_max {
                return Ok(Err(Refusal));
            }
        }
        if let Some(replaced) = current {
            self.ends.remove((replaced.end_of_validity().unix_ms(), name))?;
        }
        self.records.insert(name, encode(record, *now_ms).as_slice())?;
        self.ends.insert((record.end_of_validity().unix_ms(), name), ())?;
        self.has_changed = true;
        Ok(Ok(NamePut::Stored))
    }

    fn sweep(&mut self, now_ms: UnixMs) -> Result<usize, RedbError> {
        let mut swept = 0;
        while swept < SWEPT_MAX {
            let first = self.ends.first()?.map(|(end, _)| {
                let (end_ms, name) = end.value();
                (end_ms, name.to_vec())
            });
            let Some((end_ms, name)) = first.filter(|(end_ms, _)| *end_ms <= now_ms) else { break };
            self.ends.remove((end_ms, name.as_slice()))?;
            if !self.outlives(&name, end_ms)? {
                self.records.remove(name.as_slice())?;
            }
            swept += 1;
        }
        self.has_changed |= swept > 0;
        Ok(swept)
    }

    /// Whether the record of a name ends later: it took the place of one that could not be read.
    fn outlives(&self, name: &[u8], end_ms: UnixMs) -> Result<bool, RedbError> {
        let Ok(name) = IpnsName::from_multihash(name) else { return Ok(false) };
        let current = self.current(&name)?;
        Ok(current.is_some_and(|record| record.end_of_validity().unix_ms() > end_ms))
    }
}

fn encode(record: &IpnsRecord, stored_at_ms: UnixMs) -> Vec<u8> {
    [&[LAYOUT][..], &stored_at_ms.to_be_bytes(), record.bytes()].concat()
}

fn decode(value: &[u8], name: &IpnsName) -> Result<StoredName, NamesError> {
    let broken = |what: &str| NamesError::Unavailable {
        reason: format!("the stored record of {name} cannot be read: {what}"),
    };
    let Some((&LAYOUT, rest)) = value.split_first() else {
        return Err(broken("it has an unknown layout"));
    };
    let (stored_at_ms, bytes) = rest.split_first_chunk().ok_or_else(|| broken("it is cut"))?;
    let record = IpnsRecord::restore(bytes, name).map_err(|error| broken(&error.to_string()))?;
    Ok(StoredName { record, stored_at_ms: u64::from_be_bytes(*stored_at_ms) })
}

impl From<RedbError> for NamesError {
    fn from(error: RedbError) -> Self {
        use io::ErrorKind::{QuotaExceeded, StorageFull};

        let RedbError::Io(source) = error else {
            return Self::Io { source: io::Error::other(error) };
        };
        if matches!(source.kind(), StorageFull | QuotaExceeded) {
            Self::NoSpace { source }
        } else {
            Self::Io { source }
        }
    }
}
