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
//! Both change in one transaction: each record has one end, and each end a record.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{
    Database, Error as RedbError, ReadableTable, ReadableTableMetadata, Table, TableDefinition,
    WriteTransaction,
};

use super::{NamePut, NamesError, StoredName, judge};
use crate::clock::UnixMs;
use crate::state::{FileError, Medium, RedbFile, Work, begin_write};
use crate::types::{IpnsName, IpnsRecord};

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("ipns_records");
const ENDS: TableDefinition<'_, (u64, &[u8]), ()> = TableDefinition::new("ipns_ends");

/// The layout of values that this version writes, and the only one that there is.
const LAYOUT: u8 = 1;

/// Memory for pages of the file, in bytes.
pub(super) const CACHE_BYTES: usize = 32 << 20;

/// The most records that one sweep frees, so that none holds up the puts for long.
const SWEPT_MAX: usize = 1_000;

/// The open file.
pub(super) struct NamesFile {
    file: RedbFile,
    records: Arc<AtomicU64>,
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

/// Makes both tables, and says how many records there are.
fn make_tables(database: &Database) -> Result<u64, RedbError> {
    let transaction = begin_write(database)?;
    let records = transaction.open_table(RECORDS)?.len()?;
    transaction.open_table(ENDS)?;
    transaction.commit()?;
    Ok(records)
}

impl NamesFile {
    /// Opens the database. One whose disk takes no writes can be read, and is opened again when
    /// something is to be written.
    pub(super) fn open(medium: impl Medium) -> Result<Self, RedbError> {
        let records = Arc::new(AtomicU64::new(0));
        let counted = records.clone();
        let set_up = move |database: &mut Database| {
            counted.store(make_tables(database)?, Ordering::Relaxed);
            Ok(())
        };
        let file = RedbFile::open(medium, Box::new(set_up), "IPNS records")?;
        Ok(Self { file, records })
    }

    /// Records as of the last commit.
    pub(super) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// The size as of the last commit.
    pub(super) fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    /// Whether the database has failed, so that it has to be opened again.
    pub(super) fn must_reopen(&self) -> bool {
        self.file.must_reopen()
    }

    /// Closes what is open and opens it again. If the disk does not let it, it can still be read.
    pub(super) fn reopen(&self) -> Result<(), NamesError> {
        Ok(self.file.reopen()?)
    }

    /// What is stored of a name, expired or not.
    pub(super) fn get(&self, name: &IpnsName) -> Result<Option<StoredName>, NamesError> {
        let value = self.file.read(|transaction| {
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
    ) -> Result<Vec<Verdict>, FileError> {
        self.write(|tables| {
            candidates.iter().map(|candidate| tables.put(candidate, records_max)).collect()
        })
    }

    /// Frees some expired records, and says how many.
    pub(super) fn sweep(&self, now_ms: UnixMs) -> Result<usize, FileError> {
        let is_any_over = self.file.read(|transaction| {
            let ends = transaction.open_table(ENDS)?;
            Ok(ends.first()?.is_some_and(|(end, _)| end.value().0 <= now_ms))
        })?;
        if is_any_over { self.write(|tables| tables.sweep(now_ms)) } else { Ok(0) }
    }

    /// Writes nothing, durably: whether the disk takes writes.
    pub(super) fn probe(&self) -> Result<(), FileError> {
        self.file.probe()
    }

    /// Commits what `work` changed, if it did.
    fn write<T>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, RedbError>,
    ) -> Result<T, FileError> {
        let (done, records) = self.file.write(|transaction| {
            let mut tables = Tables::open(transaction)?;
            let done = (work(&mut tables)?, tables.records.len()?);
            Ok(if tables.has_changed { Work::Changed(done) } else { Work::Unchanged(done) })
        })?;
        self.records.store(records, Ordering::Relaxed);
        Ok(done)
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

impl From<FileError> for NamesError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::NoSpace(source) => Self::NoSpace { source },
            FileError::Io(source) => Self::Io { source },
            FileError::Closed => Self::Unavailable { reason: "their file is closed".to_owned() },
        }
    }
}
