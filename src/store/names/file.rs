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
    Database, Error as RedbError, ReadTransaction, ReadableTable, ReadableTableMetadata, Table,
    TableDefinition, WriteTransaction,
};

use super::{NamePut, NamesError, StoredName, judge};
use crate::clock::UnixMs;
use crate::state::{FileError, Medium, RedbFile, WriteWork, begin_write};
use crate::types::{IpnsName, IpnsRecord};

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("ipns_records");
const ENDS: TableDefinition<'_, (u64, &[u8]), ()> = TableDefinition::new("ipns_ends");

/// The layout of values that this version writes, and the only one that there is.
const LAYOUT: u8 = 1;

/// Memory for pages of the file, in bytes.
pub(super) const CACHE_BYTES: usize = 32 << 20;

/// The most records that one sweep frees, so that none holds up the puts for long.
const SWEPT_MAX: u64 = 1_000;

/// What the thread that writes is asked for.
pub(super) enum NamesCommand {
    /// Store a record.
    Put(IpnsRecord),
    /// Free expired records.
    Sweep,
}

/// What one command of a batch comes to, unless the disk fails, which fails the whole batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamesOutcome {
    Put(NamePut),
    /// There is no room for another name.
    Full,
    /// So many were freed.
    Swept(u64),
}

/// Makes both tables, and says how many records there are.
fn make_tables(database: &Database) -> Result<u64, RedbError> {
    let transaction = begin_write(database)?;
    let records = transaction.open_table(RECORDS)?.len()?;
    transaction.open_table(ENDS)?;
    transaction.commit()?;
    Ok(records)
}

/// Opens the database, and counts its records. One whose disk takes no writes can be read, and is opened
/// again when something is to be written.
pub(super) fn open(medium: impl Medium, records: &Arc<AtomicU64>) -> Result<RedbFile, RedbError> {
    let records = records.clone();
    let set_up = move |database: &mut Database| {
        records.store(make_tables(database)?, Ordering::Relaxed);
        Ok(())
    };
    RedbFile::open(medium, Box::new(set_up), "IPNS records")
}

/// What is stored of a name, expired or not.
pub(super) fn read(
    transaction: &ReadTransaction,
    name: &IpnsName,
) -> Result<Option<Vec<u8>>, RedbError> {
    let records = transaction.open_table(RECORDS)?;
    Ok(records.get(name.as_bytes())?.map(|value| value.value().to_vec()))
}

/// Whether a record has expired.
pub(super) fn is_any_over(
    transaction: &ReadTransaction,
    now_ms: UnixMs,
) -> Result<bool, RedbError> {
    let ends = transaction.open_table(ENDS)?;
    Ok(ends.first()?.is_some_and(|(end, _)| end.value().0 <= now_ms))
}

/// What writes.
pub(super) struct NamesWriter {
    pub(super) records_max: u64,
    /// How many there are, as of the last commit.
    pub(super) records: Arc<AtomicU64>,
}

impl NamesWriter {
    /// Works off a batch, in its order, in one commit.
    pub(super) fn write(
        &self,
        file: &RedbFile,
        commands: &[(NamesCommand, UnixMs)],
    ) -> Result<Vec<NamesOutcome>, FileError> {
        let (done, records) = file.write(|transaction| {
            let mut tables = NamesTables::open(transaction)?;
            let outcomes = commands.iter().map(|(command, now_ms)| match command {
                NamesCommand::Put(record) => tables.put(record, *now_ms, self.records_max),
                NamesCommand::Sweep => Ok(NamesOutcome::Swept(tables.sweep(*now_ms)?)),
            });
            let outcomes: Vec<_> = outcomes.collect::<Result<_, RedbError>>()?;
            let done = (outcomes, tables.records.len()?);
            Ok(if tables.has_changed {
                WriteWork::Changed(done)
            } else {
                WriteWork::Unchanged(done)
            })
        })?;
        self.records.store(records, Ordering::Relaxed);
        Ok(done)
    }
}

/// Both tables of one write.
struct NamesTables<'txn> {
    records: Table<'txn, &'static [u8], &'static [u8]>,
    ends: Table<'txn, (u64, &'static [u8]), ()>,
    has_changed: bool,
}

impl<'txn> NamesTables<'txn> {
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

    fn put(
        &mut self,
        record: &IpnsRecord,
        now_ms: UnixMs,
        records_max: u64,
    ) -> Result<NamesOutcome, RedbError> {
        let name = record.name().as_bytes();
        let current = self.current(record.name())?;
        let verdict = judge(current.as_ref(), record, now_ms);
        if verdict != NamePut::Stored {
            return Ok(NamesOutcome::Put(verdict));
        }
        if current.is_none() && self.records.len()? >= records_max {
            self.sweep(now_ms)?;
            if self.records.len()? >= records_max {
                return Ok(NamesOutcome::Full);
            }
        }
        if let Some(replaced) = current {
            self.ends.remove((replaced.end_of_validity().unix_ms(), name))?;
        }
        self.records.insert(name, encode(record, now_ms).as_slice())?;
        self.ends.insert((record.end_of_validity().unix_ms(), name), ())?;
        self.has_changed = true;
        Ok(NamesOutcome::Put(NamePut::Stored))
    }

    fn sweep(&mut self, now_ms: UnixMs) -> Result<u64, RedbError> {
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

pub(super) fn decode(value: &[u8], name: &IpnsName) -> Result<StoredName, NamesError> {
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
            FileError::Overloaded => Self::Overloaded,
            FileError::Unavailable(reason) => Self::Unavailable { reason: reason.to_owned() },
        }
    }
}
