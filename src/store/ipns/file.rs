//! The file of IPNS records: `state.redb` in the data directory, one redb database.
//!
//! ```text
//! table ipns_records
//!   key    the name's multihash
//!   value  layout u8 = 1 | stored_at_ms u64, big endian | the record's bytes, as they came
//!
//! table ipns_lapses, so that expired records are found without reading all
//!   key    (end of validity in Unix ms, rounded up; the name's multihash)
//!   value  the network that the name counts for, u64 (`types/origin.rs`)
//!
//! table ipns_networks, so that those of a network are found
//!   key    (the network; end of validity; the name's multihash)
//!   value  nothing
//! ```
//!
//! All change in one transaction: each record has one lapse, each lapse a record and a row in its network.
//! Before networks were counted there was `ipns_ends`, with the keys of `ipns_lapses` and without values;
//! what it holds is moved when the file is opened, and counts as one network.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use redb::{
    Database, Error as RedbError, ReadTransaction, ReadableTable, ReadableTableMetadata, Table,
    TableDefinition, TableHandle, WriteTransaction,
};

use super::networks::{FullOf, IpnsAdmission, NetworkNames};
use super::{IpnsLimits, IpnsPut, IpnsStoreError, StoredIpns, judge};
use crate::clock::UnixMs;
use crate::invariant;
use crate::state::{FileError, Medium, RedbFile, WriteWork, begin_write};
use crate::types::{IpnsName, IpnsRecord, Origin};

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("ipns_records");
const LAPSES: TableDefinition<'_, (u64, &[u8]), u64> = TableDefinition::new("ipns_lapses");
const NETWORKS: TableDefinition<'_, (u64, u64, &[u8]), ()> = TableDefinition::new("ipns_networks");
const ENDS_BEFORE: TableDefinition<'_, (u64, &[u8]), ()> = TableDefinition::new("ipns_ends");

/// The layout of values that this version writes, and the only one that there is.
const LAYOUT: u8 = 1;

/// Memory for pages of the file, in bytes.
pub(super) const CACHE_BYTES: usize = 32 << 20;

/// The most records that one sweep frees, or that make room for one name, so that none holds up the puts
/// for long.
const SWEPT_MAX: u64 = 1_000;

/// What the thread that writes is asked for.
pub(super) enum IpnsCommand {
    /// Store a record that comes from a network.
    Put(IpnsRecord, Origin),
    /// Free expired records.
    Sweep,
}

/// What one command of a batch comes to, unless the disk fails, which fails the whole batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IpnsOutcome {
    Put(IpnsPut),
    /// There is no room for another name.
    Full(FullOf),
    /// So many were freed.
    Swept(u64),
}

/// How many names there are, as of the last commit.
#[derive(Default)]
pub(super) struct IpnsCounts {
    pub(super) records: AtomicU64,
    /// Counted anew whenever the file is opened, so that nothing of a write that failed stays counted.
    networks: Mutex<NetworkNames>,
}

impl IpnsCounts {
    /// Makes the tables, and counts what is in them.
    fn set_up(&self, database: &Database) -> Result<(), RedbError> {
        let transaction = begin_write(database)?;
        move_ends(&transaction)?;
        let records = transaction.open_table(RECORDS)?.len()?;
        transaction.open_table(LAPSES)?;
        let mut networks = NetworkNames::default();
        for row in transaction.open_table(NETWORKS)?.iter()? {
            networks.add(Origin::from_bits(row?.0.value().0));
        }
        transaction.commit()?;
        self.records.store(records, Ordering::Relaxed);
        *self.networks.lock() = networks;
        Ok(())
    }
}

/// Moves what was stored before networks were counted.
fn move_ends(transaction: &WriteTransaction) -> Result<(), RedbError> {
    if !transaction.list_tables()?.any(|table| table.name() == ENDS_BEFORE.name()) {
        return Ok(());
    }
    let network = Origin::UNKNOWN.to_bits();
    let mut lapses = transaction.open_table(LAPSES)?;
    let mut networks = transaction.open_table(NETWORKS)?;
    for row in transaction.open_table(ENDS_BEFORE)?.iter()? {
        let row = row?.0;
        let (end_ms, name) = row.value();
        if lapses.get((end_ms, name))?.is_none() {
            lapses.insert((end_ms, name), network)?;
            networks.insert((network, end_ms, name), ())?;
        }
    }
    transaction.delete_table(ENDS_BEFORE)?;
    Ok(())
}

/// Opens the database, and counts its records. One whose disk takes no writes can be read, and is opened
/// again when something is to be written.
pub(super) fn open(medium: impl Medium, counts: &Arc<IpnsCounts>) -> Result<RedbFile, RedbError> {
    let counts = counts.clone();
    let set_up = move |database: &mut Database| counts.set_up(database);
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
    let lapses = transaction.open_table(LAPSES)?;
    Ok(lapses.first()?.is_some_and(|(lapse, _)| lapse.value().0 <= now_ms))
}

/// What writes.
pub(super) struct IpnsWriter {
    pub(super) limits: IpnsLimits,
    pub(super) counts: Arc<IpnsCounts>,
}

impl IpnsWriter {
    /// Works off a batch, in its order, in one commit.
    pub(super) fn write(
        &self,
        file: &RedbFile,
        commands: &[(IpnsCommand, UnixMs)],
    ) -> Result<Vec<IpnsOutcome>, FileError> {
        let (done, records) = file.write(|transaction| {
            let mut counts = self.counts.networks.lock();
            let mut tables = IpnsTables::open(transaction, &mut counts, self.limits)?;
            let outcomes = commands.iter().map(|(command, now_ms)| match command {
                IpnsCommand::Put(record, origin) => tables.put(record, *origin, *now_ms),
                IpnsCommand::Sweep => Ok(IpnsOutcome::Swept(tables.sweep(None, *now_ms)?)),
            });
            let outcomes: Vec<_> = outcomes.collect::<Result<_, RedbError>>()?;
            let done = (outcomes, tables.records.len()?);
            Ok(if tables.has_changed {
                WriteWork::Changed(done)
            } else {
                WriteWork::Unchanged(done)
            })
        })?;
        self.counts.records.store(records, Ordering::Relaxed);
        Ok(done)
    }
}

/// The tables of one write, and the counts that go with them.
struct IpnsTables<'txn> {
    records: Table<'txn, &'static [u8], &'static [u8]>,
    lapses: Table<'txn, (u64, &'static [u8]), u64>,
    networks: Table<'txn, (u64, u64, &'static [u8]), ()>,
    counts: &'txn mut NetworkNames,
    limits: IpnsLimits,
    has_changed: bool,
}

impl<'txn> IpnsTables<'txn> {
    fn open(
        transaction: &'txn WriteTransaction,
        counts: &'txn mut NetworkNames,
        limits: IpnsLimits,
    ) -> Result<Self, RedbError> {
        Ok(Self {
            records: transaction.open_table(RECORDS)?,
            lapses: transaction.open_table(LAPSES)?,
            networks: transaction.open_table(NETWORKS)?,
            counts,
            limits,
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
        origin: Origin,
        now_ms: UnixMs,
    ) -> Result<IpnsOutcome, RedbError> {
        let name = record.name().as_bytes();
        let current = self.current(record.name())?;
        let verdict = judge(current.as_ref(), record, now_ms);
        if verdict != IpnsPut::Stored {
            return Ok(IpnsOutcome::Put(verdict));
        }
        let before = match &current {
            Some(current) => self.remove_lapse(current.end_of_validity().unix_ms(), name)?,
            None => None,
        };
        let origin = if current.is_some_and(|it| !it.end_of_validity().is_over(now_ms)) {
            self.counts.origin_after(before.unwrap_or(origin), origin, self.limits)
        } else {
            // One that has expired, or cannot be read, counts as none.
            self.has_changed |= self.records.remove(name)?.is_some();
            if let Some(full) = self.make_room(origin, now_ms)? {
                return Ok(IpnsOutcome::Full(full));
            }
            origin
        };
        let end_ms = record.end_of_validity().unix_ms();
        // That of a record that could not be read is still there.
        self.remove_lapse(end_ms, name)?;
        self.records.insert(name, encode(record, now_ms).as_slice())?;
        self.lapses.insert((end_ms, name), origin.to_bits())?;
        self.networks.insert((origin.to_bits(), end_ms, name), ())?;
        self.counts.add(origin);
        self.has_changed = true;
        Ok(IpnsOutcome::Put(IpnsPut::Stored))
    }

    /// Makes room for a new name. Says what there is no room for otherwise.
    fn make_room(&mut self, origin: Origin, now_ms: UnixMs) -> Result<Option<FullOf>, RedbError> {
        if self.counts.is_at_quota(origin, self.limits) {
            self.sweep(Some(origin), now_ms)?;
        }
        if self.records.len()? >= self.limits.records_max {
            self.sweep(None, now_ms)?;
        }
        for _ in 0..SWEPT_MAX {
            match self.counts.admit(origin, self.records.len()?, self.limits) {
                IpnsAdmission::Admitted => return Ok(None),
                IpnsAdmission::Full(full) => return Ok(Some(full)),
                IpnsAdmission::Evict(network) => {
                    let first = self.first(Some(network))?;
                    let first = invariant::present(first, "a network that is counted has names");
                    let Some((end_ms, name)) = first else { break };
                    self.remove(end_ms, &name)?;
                }
            }
        }
        Ok(Some(FullOf::Names))
    }

    /// Frees what has expired, of all or of a network. Returns how many names.
    fn sweep(&mut self, network: Option<Origin>, now_ms: UnixMs) -> Result<u64, RedbError> {
        let mut swept = 0;
        while swept < SWEPT_MAX
            && let Some((end_ms, name)) = self.first(network)?
            && end_ms <= now_ms
        {
            self.remove(end_ms, &name)?;
            swept += 1;
        }
        Ok(swept)
    }

    /// The end and the name that lapses first, of all or of a network.
    fn first(&self, network: Option<Origin>) -> Result<Option<(UnixMs, Vec<u8>)>, RedbError> {
        let Some(network) = network.map(Origin::to_bits) else {
            let first = self.lapses.first()?;
            return Ok(first.map(|(lapse, _)| (lapse.value().0, lapse.value().1.to_vec())));
        };
        let first = self.networks.range((network, 0, [].as_slice())..)?.next().transpose()?;
        let first = first.filter(|(row, _)| row.value().0 == network);
        Ok(first.map(|(row, _)| (row.value().1, row.value().2.to_vec())))
    }

    /// Removes a name that lapses then, unless its record ends at another time: it took the place of one
    /// that could not be read.
    fn remove(&mut self, end_ms: UnixMs, multihash: &[u8]) -> Result<(), RedbError> {
        self.remove_lapse(end_ms, multihash)?;
        let current = match IpnsName::from_multihash(multihash) {
            Ok(name) => self.current(&name)?,
            Err(_) => None,
        };
        if current.is_none_or(|current| current.end_of_validity().unix_ms() == end_ms) {
            self.records.remove(multihash)?;
        }
        Ok(())
    }

    /// Removes a lapse with its row, and counts it off. Returns the network that it counted for.
    fn remove_lapse(&mut self, end_ms: UnixMs, name: &[u8]) -> Result<Option<Origin>, RedbError> {
        let removed = self.lapses.remove((end_ms, name))?.map(|origin| origin.value());
        let Some(bits) = removed else { return Ok(None) };
        let was_there = self.networks.remove((bits, end_ms, name))?.is_some();
        invariant::holds(was_there, "each lapse has a row in its network");
        let origin = Origin::from_bits(bits);
        self.counts.remove(origin);
        self.has_changed = true;
        Ok(Some(origin))
    }
}

fn encode(record: &IpnsRecord, stored_at_ms: UnixMs) -> Vec<u8> {
    [&[LAYOUT][..], &stored_at_ms.to_be_bytes(), record.bytes()].concat()
}

pub(super) fn decode(value: &[u8], name: &IpnsName) -> Result<StoredIpns, IpnsStoreError> {
    let broken = |what: &str| IpnsStoreError::Unavailable {
        reason: format!("the stored record of {name} cannot be read: {what}"),
    };
    let Some((&LAYOUT, rest)) = value.split_first() else {
        return Err(broken("it has an unknown layout"));
    };
    let (stored_at_ms, bytes) = rest.split_first_chunk().ok_or_else(|| broken("it is cut"))?;
    let record = IpnsRecord::restore(bytes, name).map_err(|error| broken(&error.to_string()))?;
    Ok(StoredIpns { record, stored_at_ms: u64::from_be_bytes(*stored_at_ms) })
}

impl From<FileError> for IpnsStoreError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::NoSpace(source) => Self::NoSpace { source },
            FileError::Io(source) => Self::Io { source },
            FileError::Overloaded => Self::Overloaded,
            FileError::Unavailable(reason) => Self::Unavailable { reason: reason.to_owned() },
        }
    }
}
