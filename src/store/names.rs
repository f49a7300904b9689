//! Where IPNS records are kept: one a name, the one that counts.
//!
//! A store holds records that were verified, and decides between two of one name: the greater one by
//! [`IpnsRecord::cmp_precedence`] stays. A record that has expired counts as none: it is not found,
//! anything replaces it, and a sweep frees its place. How many names there may be is bounded, and how many
//! of them one network of clients may have; past that a new name is refused, unless expired ones can go
//! or the heaviest network makes room (`names/networks.rs`).
//!
//! Every implementation passes one battery of tests (`tests/it/names.rs`).

mod durable;
mod file;
mod memory;
mod networks;

use std::io;

use futures_util::future::BoxFuture;
use thiserror::Error;

use crate::clock::UnixMs;
use crate::state::Health;
use crate::types::{EndOfValidity, IpnsName, IpnsRecord, Origin};

pub use durable::DurableNames;
pub(crate) use durable::NamesOpenError;
pub use memory::MemoryNames;
pub use networks::NamesLimits;

/// Where IPNS records are kept.
pub trait NameStore: Send + Sync + 'static {
    /// The record of a name, unless there is none or it has expired.
    fn get<'a>(
        &'a self,
        name: &'a IpnsName,
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<Option<StoredName>, NamesError>>;

    /// Takes a record in, unless the one that is there counts more. What it stored is found, and
    /// durable where the store is, when this returns.
    ///
    /// A new name counts for the network that it comes from, as long as it is valid. A network has a quota;
    /// where the store is full, the name of the heaviest network that lapses first makes room for one of
    /// a light network or of the operator. A newer record of a name is taken whatever the limits say; the
    /// name counts for the network of that one then, unless that is not known or has its quota.
    fn put(
        &self,
        record: IpnsRecord,
        origin: Origin,
        now_ms: UnixMs,
    ) -> BoxFuture<'_, Result<NamePut, NamesError>>;

    /// Frees the places of expired records, and says of how many. Called from time to time; bounded
    /// work.
    fn sweep(&self, now_ms: UnixMs) -> BoxFuture<'_, Result<u64, NamesError>>;

    /// How the store is, as far as is known without asking it. One without threads is well.
    fn health(&self) -> Health {
        Health::good()
    }

    /// How much the store holds.
    fn stats(&self) -> BoxFuture<'_, Result<NamesStats, NamesError>>;
}

/// What [`NameStore::get`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredName {
    /// The record.
    pub record: IpnsRecord,
    /// When it was stored, in milliseconds since the Unix epoch.
    pub stored_at_ms: UnixMs,
}

/// What [`NameStore::put`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamePut {
    /// The record is the one of its name now.
    Stored,
    /// The one that is there says the same; it stays as it is.
    Unchanged,
    /// The one that is there counts more.
    Superseded {
        /// The sequence of the one that is there.
        sequence: u64,
        /// Its end of validity.
        end: EndOfValidity,
    },
}

/// How much a store of names holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamesStats {
    /// Records, expired ones that are not yet swept included.
    pub records: u64,
    /// Bytes of the file; 0 where there is none.
    pub file_bytes: u64,
    /// Whether the last write failed: records are refused until one succeeds.
    pub is_failing: bool,
}

/// Why a store of names did not do what it was asked.
#[derive(Debug, Error)]
pub enum NamesError {
    /// There are as many names as there may be.
    #[error("there are {records_max} IPNS records, and no more are taken (ipns_records_max)")]
    Full {
        /// How many there may be.
        records_max: u64,
    },
    /// The network has as many names as it may have.
    #[error(
        "there are {network_names_max} IPNS records from this network, and no more are taken \
         (ipns_network_names_max)"
    )]
    NetworkFull {
        /// How many it may have.
        network_names_max: u64,
    },
    /// More records came at once than can wait to be written.
    #[error("too many IPNS records at once")]
    Overloaded,
    /// The disk is full. The record does not count as stored; reads go on.
    #[error("the disk is full; IPNS records are taken again when there is room")]
    NoSpace {
        /// What the system says.
        source: io::Error,
    },
    /// The disk does not take writes, or does not give back what was written.
    #[error("the file of IPNS records does not work")]
    Io {
        /// What the system says.
        source: io::Error,
    },
    /// The store has stopped, or holds what it cannot have been given.
    #[error("the IPNS records cannot be reached: {reason}")]
    Unavailable {
        /// What is known of why.
        reason: String,
    },
}

/// What becomes of `record` where `current` is. The whole of the rule; stores only carry it out.
fn judge(current: Option<&IpnsRecord>, record: &IpnsRecord, now_ms: UnixMs) -> NamePut {
    let Some(current) = current.filter(|record| !record.end_of_validity().is_over(now_ms)) else {
        return NamePut::Stored;
    };
    match record.cmp_precedence(current) {
        std::cmp::Ordering::Greater => NamePut::Stored,
        std::cmp::Ordering::Equal => NamePut::Unchanged,
        std::cmp::Ordering::Less => {
            NamePut::Superseded { sequence: current.sequence(), end: current.end_of_validity() }
        }
    }
}

#[cfg(test)]
mod tests;
