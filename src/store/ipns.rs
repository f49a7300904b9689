//! Where IPNS records are kept: one a name, the one that counts.
//!
//! A store holds records that were verified, and decides between two of one name: the greater one by
//! [`IpnsRecord::cmp_precedence`] stays. A record that has expired counts as none: it is not found,
//! anything replaces it, and a sweep frees its place. How many names there may be is bounded, and how many
//! of them one network of clients may have; past that a new name is refused, unless expired ones can go
//! or the heaviest network makes room (`ipns/networks.rs`).
//!
//! Every implementation passes one battery of tests (`tests/it/ipns_store.rs`).

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

pub use durable::DurableIpns;
pub(crate) use durable::IpnsOpenError;
pub use memory::MemoryIpns;
pub use networks::IpnsLimits;

/// Where IPNS records are kept.
pub trait IpnsStore: Send + Sync + 'static {
    /// The record of a name, unless there is none or it has expired.
    fn get<'a>(
        &'a self,
        name: &'a IpnsName,
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<Option<StoredIpns>, IpnsStoreError>>;

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
    ) -> BoxFuture<'_, Result<IpnsPut, IpnsStoreError>>;

    /// Frees the places of expired records, and says of how many. Called from time to time; bounded
    /// work.
    fn sweep(&self, now_ms: UnixMs) -> BoxFuture<'_, Result<u64, IpnsStoreError>>;

    /// How the store is, as far as is known without asking it. One without threads is well.
    fn health(&self) -> Health {
        Health::good()
    }

    /// How much the store holds.
    fn stats(&self) -> BoxFuture<'_, Result<IpnsStoreStats, IpnsStoreError>>;
}

/// What [`IpnsStore::get`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredIpns {
    /// The record.
    pub record: IpnsRecord,
    /// When it was stored, in milliseconds since the Unix epoch.
    pub stored_at_ms: UnixMs,
}

/// What [`IpnsStore::put`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpnsPut {
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

/// How much an IPNS store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpnsStoreStats {
    /// Records, expired ones that are not yet swept included.
    pub records: u64,
    /// Bytes of the file; 0 where there is none.
    pub file_bytes: u64,
    /// Whether the last write failed: records are refused until one succeeds.
    pub is_failing: bool,
}

/// Why an IPNS store failed.
#[derive(Debug, Error)]
pub enum IpnsStoreError {
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
fn judge(current: Option<&IpnsRecord>, record: &IpnsRecord, now_ms: UnixMs) -> IpnsPut {
    let Some(current) = current.filter(|record| !record.end_of_validity().is_over(now_ms)) else {
        return IpnsPut::Stored;
    };
    match record.cmp_precedence(current) {
        std::cmp::Ordering::Greater => IpnsPut::Stored,
        std::cmp::Ordering::Equal => IpnsPut::Unchanged,
        std::cmp::Ordering::Less => {
            IpnsPut::Superseded { sequence: current.sequence(), end: current.end_of_validity() }
        }
    }
}

#[cfg(test)]
mod tests;
