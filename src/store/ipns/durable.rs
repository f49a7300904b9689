//! IPNS records that survive: what was acknowledged is there after `kill -9` and after power loss.
//!
//! Records that come together share a commit (`state/redb_file/service.rs`). Until the disk takes writes
//! again after it failed, records are refused; a sweep or a put tries once a second.

use std::error::Error as StdError;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redb::ReadTransaction;
use thiserror::Error;

use super::file::{self, CACHE_BYTES, IpnsCommand, IpnsCounts, IpnsOutcome, IpnsWriter};
use super::{IpnsLimits, IpnsPut, IpnsStore, IpnsStoreError, IpnsStoreStats, StoredIpns};
use crate::clock::UnixMs;
use crate::data_dir::DataDir;
use crate::invariant;
use crate::state::{DiskMedium, Health, Medium, RedbFile, RedbService, ServiceOptions};
use crate::types::{IpnsName, IpnsRecord, Origin};

/// A record has at most 10 KiB, so those that wait take 10 MiB at most.
pub(super) const OPTIONS: ServiceOptions =
    ServiceOptions { thread: "names writer", waiting_max: 1_024, batch_max: 256 };

/// A store of names on disk.
pub struct DurableIpns {
    service: RedbService<IpnsCommand, IpnsOutcome>,
    limits: IpnsLimits,
    counts: Arc<IpnsCounts>,
    /// Held for as long as the file is open.
    _data_dir: Option<DataDir>,
}

/// Why a store of names cannot be opened.
#[derive(Debug, Error)]
pub enum IpnsOpenError {
    /// The file cannot be opened or is damaged.
    #[error(
        "cannot open {path}; if it is damaged, move it away: IPNS records are sent again by their \
         publishers"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What the database says.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The thread that writes cannot be started.
    #[error("cannot start the thread that writes IPNS records")]
    Thread(#[source] std::io::Error),
}

impl DurableIpns {
    /// Opens the file of a data directory, or makes it, for records of at most so many names.
    pub fn open(data_dir: &DataDir, limits: IpnsLimits) -> Result<Self, IpnsOpenError> {
        let path = data_dir.ipns_file();
        let medium = DiskMedium { path: path.clone(), cache_bytes: CACHE_BYTES };
        Ok(Self { _data_dir: Some(data_dir.clone()), ..Self::open_on(medium, path, limits)? })
    }

    pub(super) fn open_on(
        medium: impl Medium,
        path: PathBuf,
        limits: IpnsLimits,
    ) -> Result<Self, IpnsOpenError> {
        let counts = Arc::default();
        let file = file::open(medium, &counts)
            .map_err(|error| IpnsOpenError::File { path, source: Box::new(error) })?;
        let writer = IpnsWriter { limits, counts: counts.clone() };
        let write = move |file: &RedbFile, commands: &[_]| writer.write(file, commands);
        let service = RedbService::start(file, OPTIONS, write).map_err(IpnsOpenError::Thread)?;
        Ok(Self { service, limits, counts, _data_dir: None })
    }
}

impl IpnsStore for DurableIpns {
    fn get<'a>(
        &'a self,
        name: &'a IpnsName,
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<Option<StoredIpns>, IpnsStoreError>> {
        async move {
            let of = name.clone();
            let value = self.service.read(move |transaction| file::read(transaction, &of)).await?;
            let found = value.map(|value| file::decode(&value, name)).transpose()?;
            Ok(found.filter(|stored| !stored.record.end_of_validity().is_over(now_ms)))
        }
        .boxed()
    }

    fn put(
        &self,
        record: IpnsRecord,
        origin: Origin,
        now_ms: UnixMs,
    ) -> BoxFuture<'_, Result<IpnsPut, IpnsStoreError>> {
        let outcome = self.service.submit(IpnsCommand::Put(record, origin), now_ms);
        async move {
            match outcome.await? {
                IpnsOutcome::Put(put) => Ok(put),
                IpnsOutcome::Full(full) => Err(full.error(self.limits)),
                IpnsOutcome::Swept(_) => Err(mixed_up()),
            }
        }
        .boxed()
    }

    fn sweep(&self, now_ms: UnixMs) -> BoxFuture<'_, Result<u64, IpnsStoreError>> {
        async move {
            let is_any_over = move |it: &ReadTransaction| file::is_any_over(it, now_ms);
            // A disk that failed is tried again.
            if !self.service.is_failing() && !self.service.read(is_any_over).await? {
                return Ok(0);
            }
            match self.service.submit(IpnsCommand::Sweep, now_ms).await? {
                IpnsOutcome::Swept(count) => Ok(count),
                IpnsOutcome::Put(_) | IpnsOutcome::Full(_) => Err(mixed_up()),
            }
        }
        .boxed()
    }

    fn health(&self) -> Health {
        self.service.health()
    }

    fn stats(&self) -> BoxFuture<'_, Result<IpnsStoreStats, IpnsStoreError>> {
        let stats = IpnsStoreStats {
            records: self.counts.records.load(Ordering::Relaxed),
            file_bytes: self.service.bytes(),
            is_failing: self.service.is_failing(),
        };
        std::future::ready(Ok(stats)).boxed()
    }
}

fn mixed_up() -> IpnsStoreError {
    invariant::holds(false, "what comes of a command is of its kind");
    IpnsStoreError::Unavailable { reason: "a write came to something else".to_owned() }
}
