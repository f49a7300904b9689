//! The file of the control plane's state: `control.redb` in the data directory, one redb database. It
//! is its own, so that no flood of IPNS records can touch it.
//!
//! ```text
//! tables static_routes, routes, rules, budgets, single
//!   key    the document's key, UTF-8
//!   value  its text, UTF-8
//! ```
//!
//! Who owns a document says what its text means. Lists of changes that are written together are one
//! transaction. Each time the file is opened its checksums are verified: it is small, and a budget or
//! a route that is wrong is worse than a server that does not start.

use std::collections::BTreeMap;

use redb::{
    Database, Error as RedbError, ReadTransaction, ReadableTable, TableDefinition, WriteTransaction,
};

use super::{ControlChange, ControlTable, Documents};
use crate::state::{FileError, Medium, RedbFile, WriteWork, begin_write};

/// Memory for pages of the file, in bytes.
pub(super) const CACHE_BYTES: usize = 8 << 20;

/// Opens the database and verifies it. One whose disk takes no writes can be read, and is opened again
/// when something is to be written.
pub(super) fn open(medium: impl Medium) -> Result<RedbFile, RedbError> {
    RedbFile::open(medium, Box::new(verify), "the control plane's state")
}

/// All documents of a table, by key.
pub(super) fn read(
    transaction: &ReadTransaction,
    table: ControlTable,
) -> Result<Documents, RedbError> {
    let rows = transaction.open_table(definition(table))?;
    let texts = rows.iter()?.map(|row| {
        let (key, text) = row?;
        Ok((key.value().to_owned(), text.value().to_owned()))
    });
    texts.collect()
}

/// Makes these changes, in their order, in one commit.
pub(super) fn write<'a>(
    file: &RedbFile,
    changes: impl IntoIterator<Item = &'a ControlChange>,
) -> Result<(), FileError> {
    let mut of_tables: BTreeMap<ControlTable, Vec<&ControlChange>> = BTreeMap::new();
    for change in changes {
        of_tables.entry(change.table).or_default().push(change);
    }
    file.write(|transaction| {
        for (table, changes) in &of_tables {
            make(transaction, *table, changes)?;
        }
        Ok(if of_tables.is_empty() { WriteWork::Unchanged(()) } else { WriteWork::Changed(()) })
    })
}

fn definition(table: ControlTable) -> TableDefinition<'static, &'static str, &'static str> {
    TableDefinition::new(match table {
        ControlTable::StaticRoutes => "static_routes",
        // Source 001's word for pools: the name on disk stays.
        ControlTable::Pools => "routes",
        ControlTable::Rules => "rules",
        ControlTable::Budgets => "budgets",
        ControlTable::Single => "single",
    })
}

/// Verifies all that is there, and makes the tables that are not.
fn verify(database: &mut Database) -> Result<(), RedbError> {
    // What was damaged but could be put in order again has lost nothing that was committed: commits in
    // two phases never fall back on an older one.
    if !database.check_integrity()? {
        tracing::warn!("the file of the control plane's state was damaged and has been repaired");
    }
    let transaction = begin_write(database)?;
    for table in ControlTable::ALL {
        transaction.open_table(definition(table))?;
    }
    transaction.commit()?;
    Ok(())
}

fn make(
    transaction: &WriteTransaction,
    table: ControlTable,
    changes: &[&ControlChange],
) -> Result<(), RedbError> {
    let mut rows = transaction.open_table(definition(table))?;
    for ControlChange { key, text, .. } in changes {
        match text {
            Some(text) => rows.insert(key.as_str(), text.as_str())?,
            None => rows.remove(key.as_str())?,
        };
    }
    Ok(())
}
