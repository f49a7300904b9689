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

use super::file::{self, CACHE_BYTES, NameCounts, NamesCommand, NamesOutcome, NamesWriter};
use super::{NamePut, NameStore, NamesError, NamesLimits, NamesStats, StoredName};
use crate::clock::UnixMs;
use crate::data_dir::DataDir;
use crate::invariant;
use crate::state::{DiskMedium, Health, Medium, RedbFile, RedbService, ServiceOptions};
use crate::types::{IpnsName, IpnsRecord, Origin};

/// A record has at most 10 KiB, so those that wait take 10 MiB at most.
pub(super) const OPTIONS: ServiceOptions =
    ServiceOptions { thread: "names writer", waiting_max: 1_024, batch_max: 256 };

/// A store of names on disk.
pub struct DurableNames {
    service: RedbService<NamesCommand, NamesOutcome>,
    limits: NamesLimits,
    counts: Arc<NameCounts>,
    /// Held for as long as the file is open.
    _data_dir: Option<DataDir>,
}

/// Why a store of names cannot be opened.
#[derive(Debug, Error)]
pub enum NamesOpenError {
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

impl DurableNames {
    /// Opens the file of a data directory, or makes it, for records of at most so many names.
    pub fn open(data_dir: &DataDir, limits: NamesLimits) -> Result<Self, NamesOpenError> {
        let path = data_dir.names_file();
        let medium = DiskMedium { path: path.clone(), cache_bytes: CACHE_BYTES };
        Ok(Self { _data_dir: Some(data_dir.clone()), ..Self::open_on(medium, path, limits)? })
    }

    pub(super) fn open_on(
        medium: impl Medium,
        path: PathBuf,
        limits: NamesLimits,
    ) -> Result<Self, NamesOpenError> {
        let counts = Arc::default();
        let file = file::open(medium, &counts)
            .map_err(|error| NamesOpenError::File { path, source: Box::new(error) })?;
        let writer = NamesWriter { limits, counts: counts.clone() };
        let write = move |file: &RedbFile, commands: &[_]| writer.write(file, commands);
        let service = RedbService::start(file, OPTIONS, write).map_err(NamesOpenError::Thread)?;
        Ok(Self { service, limits, counts, _data_dir: None })
    }
}

impl NameStore for DurableNames {
    fn get<'a>(
        &'a self,
        name: &'a IpnsName,
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<Option<StoredName>, NamesError>> {
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
    ) -> BoxFuture<'_, Result<NamePut, NamesError>> {
        let outcome = self.service.submit(NamesCommand::Put(record, origin), now_ms);
        async move {
            match outcome.await? {
                NamesOutcome::Put(put) => Ok(put),
                NamesOutcome::Full(full) => Err(full.error(self.limits)),
                NamesOutcome::Swept(_) => Err(mixed_up()),
            }
        }
        .boxed()
    }

    fn sweep(&self, now_ms: UnixMs) -> BoxFuture<'_, Result<u64, NamesError>> {
        async move {
            let is_any_over = move |it: &ReadTransaction| file::is_any_over(it, now_ms);
            // A disk that failed is tried again.
            if !self.service.is_failing() && !self.service.read(is_any_over).await? {
                return Ok(0);
            }
            match self.service.submit(NamesCommand::Sweep, now_ms).await? {
                NamesOutcome::Swept(count) => Ok(count),
                NamesOutcome::Put(_) | NamesOutcome::Full(_) => Err(mixed_up()),
            }
        }
        .boxed()
    }

    fn health(&self) -> Health {
        self.service.health()
    }

    fn stats(&self) -> BoxFuture<'_, Result<NamesStats, NamesError>> {
        let stats = NamesStats {
            records: self.counts.records.load(Ordering::Relaxed),
            file_bytes: self.service.bytes(),
            is_failing: self.service.is_failing(),
        };
        std::future::ready(Ok(stats)).boxed()
    }
}

fn mixed_up() -> NamesError {
    invariant::holds(false, "what comes of a command is of its kind");
    NamesError::Unavailable { reason: "a write came to something else".to_owned() }
}
