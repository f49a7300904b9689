//! What the control plane decided, as documents in tables: `control.redb`. The file `state.redb` has
//! IPNS records, which `store::ipns` keeps by the redb service here.
//!
//! A document is a text under a key. Documents are read once, at the start; from then on their owner
//! holds them in memory and writes changes, a list at a time: all of it is there after a crash, or
//! nothing of it. Lists that come at the same time share a commit, so that many small writes cost few
//! waits for the disk.
//!
//! Every implementation passes one battery of tests (`tests/it/state.rs`).

mod durable;
mod file;
mod redb_file;

use std::collections::BTreeMap;
use std::io;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use thiserror::Error;

use crate::clock::UnixMs;

pub use durable::{ControlOpenError, DurableControl};
pub(crate) use redb_file::{
    DiskMedium, FileError, Medium, RedbFile, RedbService, ServiceOptions, WriteWork, begin_write,
};
#[cfg(test)]
pub(crate) use redb_file::{PAUSE_MS, test_medium};

/// Keeps what the control plane decided.
pub trait ControlStore: Send + Sync + 'static {
    /// All documents of a table, by key.
    fn read(&self, table: ControlTable) -> BoxFuture<'_, Result<Documents, ControlStoreError>>;

    /// Makes changes: all of them, or none. Durable where the store is, when this returns. Lists are
    /// taken in the order in which this is called. After an error other than [`ControlStoreError::Overloaded`] the
    /// changes may have been made all the same: reads show it.
    fn write(
        &self,
        changes: Vec<ControlChange>,
        now_ms: UnixMs,
    ) -> BoxFuture<'_, Result<(), ControlStoreError>>;

    /// How the store is, as far as is known without asking it. One without threads is well.
    fn health(&self) -> Health {
        Health::good()
    }
}

/// The documents of a table, by key.
pub type Documents = BTreeMap<String, String>;

/// How a service of the data directory, or a database elsewhere, is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether it can be worked with. Not so once a thread of it has died, until a restart, or while
    /// a database elsewhere cannot be reached.
    pub(crate) is_ready: bool,
    /// Whether the last write succeeded: if not, writes are refused until one does, and reads go on.
    pub is_writable: bool,
    /// What is wrong, if anything is, for an operator.
    pub(crate) detail: Option<String>,
}

impl Health {
    /// Nothing is wrong.
    pub(crate) fn good() -> Self {
        Self { is_ready: true, is_writable: true, detail: None }
    }

    /// A thread has died, without which nothing can be written.
    pub fn without_thread(name: &str) -> Self {
        let detail = Some(format!("the thread `{name}` has died"));
        Self { is_ready: false, is_writable: false, detail }
    }

    /// The last write failed.
    pub(crate) fn unwritable(why: String) -> Self {
        Self { is_ready: true, is_writable: false, detail: Some(why) }
    }
}

/// The tables that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ControlTable {
    /// Static routes, by prefix.
    StaticRoutes,
    /// Pools of upstreams, by id.
    Pools,
    /// Routing rules, by id.
    Rules,
    /// What endpoints have been asked, by endpoint.
    Budgets,
    /// Everything of which there is one: the next ids, this router's name, its secrets.
    Single,
}

impl ControlTable {
    /// Each of them.
    pub const ALL: [Self; 5] =
        [Self::StaticRoutes, Self::Pools, Self::Rules, Self::Budgets, Self::Single];
}

/// A change of one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlChange {
    /// The table.
    pub table: ControlTable,
    /// The key.
    pub key: String,
    /// The new text; `None`: there shall be none.
    pub text: Option<String>,
}

/// Why state cannot be read or written.
#[derive(Debug, Error)]
pub enum ControlStoreError {
    /// The disk is full.
    #[error("the disk is full; changes are taken again when there is room")]
    NoSpace {
        /// What the system says.
        source: io::Error,
    },
    /// The disk does not take writes, or does not give back what was written.
    #[error("the file of the control plane's state does not work")]
    Io {
        /// What the system says.
        source: io::Error,
    },
    /// More changes came at once than can wait to be written.
    #[error("too many changes at once")]
    Overloaded,
    /// The store has stopped, or holds what it cannot have been given.
    #[error("the control plane's state cannot be reached: {reason}")]
    Unavailable {
        /// What is known of why.
        reason: String,
    },
}

impl ControlStoreError {
    /// Whether the changes may have been made all the same.
    pub(crate) fn is_uncertain(&self) -> bool {
        match self {
            Self::NoSpace { .. } | Self::Io { .. } | Self::Unavailable { .. } => true,
            Self::Overloaded => false,
        }
    }
}

/// State that ends with the process.
#[derive(Debug, Default)]
pub struct MemoryControl(Mutex<BTreeMap<(ControlTable, String), String>>);

impl MemoryControl {
    /// Without documents.
    pub fn new() -> Self {
        Self::default()
    }
}

impl ControlStore for MemoryControl {
    fn read(&self, table: ControlTable) -> BoxFuture<'_, Result<Documents, ControlStoreError>> {
        let documents = self.0.lock();
        let of_table = documents.iter().filter(|((of, _), _)| *of == table);
        let of_table = of_table.map(|((_, key), text)| (key.clone(), text.clone())).collect();
        std::future::ready(Ok(of_table)).boxed()
    }

    fn write(
        &self,
        changes: Vec<ControlChange>,
        _now_ms: UnixMs,
    ) -> BoxFuture<'_, Result<(), ControlStoreError>> {
        let mut documents = self.0.lock();
        for ControlChange { table, key, text } in changes {
            match text {
                Some(text) => documents.insert((table, key), text),
                None => documents.remove(&(table, key)),
            };
        }
        std::future::ready(Ok(())).boxed()
    }
}

#[cfg(test)]
mod tests;
