//! State that survives: what was acknowledged is there after `kill -9` and after power loss, each list
//! of changes whole.
//!
//! Lists are written in the order of the calls, whether or not anybody still waits for them; those that
//! come together share a commit (`redb_file/service.rs`), so that many debits share one wait for the disk.

use std::error::Error as StdError;
use std::path::PathBuf;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use thiserror::Error;

use super::file::{self, CACHE_BYTES};
use super::{ControlChange, ControlStore, ControlStoreError, ControlTable, Documents, Health};
use crate::clock::UnixMs;
use crate::data_dir::DataDir;
use crate::state::{DiskMedium, FileError, Medium, RedbFile, RedbService, ServiceOptions};

/// More lookups than this wait for a debit only if the disk stands still; those past it are refused.
pub(super) const OPTIONS: ServiceOptions =
    ServiceOptions { thread: "state writer", waiting_max: 4_096, batch_max: 1_024 };

/// State on disk.
pub struct DurableControl {
    service: RedbService<Vec<ControlChange>, ()>,
    /// Held for as long as the file is open.
    _data_dir: Option<DataDir>,
}

/// Why state cannot be opened.
#[derive(Debug, Error)]
pub enum ControlOpenError {
    /// The file cannot be opened or read, or is damaged.
    #[error(
        "cannot open {path}, which holds static routes, pools, what endpoints were asked and this \
         router's secrets; if it is damaged, put a copy back, or move it away: they begin anew then"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What the database says.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The thread that writes cannot be started.
    #[error("cannot start the thread that writes the control plane's state")]
    Thread(#[source] std::io::Error),
}

impl DurableControl {
    /// Opens the file of a data directory, or makes it, and verifies all of it.
    ///
    /// # Errors
    ///
    /// [`ControlOpenError`]. A disk that is full is none: what is there can be read, and changes fail
    /// until there is room.
    pub fn open(data_dir: &DataDir) -> Result<Self, ControlOpenError> {
        let path = data_dir.control_file();
        let medium = DiskMedium { path: path.clone(), cache_bytes: CACHE_BYTES };
        Ok(Self { _data_dir: Some(data_dir.clone()), ..Self::open_on(medium, path)? })
    }

    pub(super) fn open_on(medium: impl Medium, path: PathBuf) -> Result<Self, ControlOpenError> {
        let file = file::open(medium)
            .map_err(|error| ControlOpenError::File { path, source: Box::new(error) })?;
        let write = |file: &RedbFile, lists: &[(Vec<ControlChange>, UnixMs)]| {
            file::write(file, lists.iter().flat_map(|(changes, _)| changes))?;
            Ok(vec![(); lists.len()])
        };
        let service = RedbService::start(file, OPTIONS, write).map_err(ControlOpenError::Thread)?;
        Ok(Self { service, _data_dir: None })
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.service.bytes()
    }
}

impl ControlStore for DurableControl {
    fn read(&self, table: ControlTable) -> BoxFuture<'_, Result<Documents, ControlStoreError>> {
        async move { Ok(self.service.read(move |it| file::read(it, table)).await?) }.boxed()
    }

    fn write(
        &self,
        changes: Vec<ControlChange>,
        now_ms: UnixMs,
    ) -> BoxFuture<'_, Result<(), ControlStoreError>> {
        let written = self.service.submit(changes, now_ms);
        async move { Ok(written.await?) }.boxed()
    }

    fn health(&self) -> Health {
        self.service.health()
    }
}

impl From<FileError> for ControlStoreError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::NoSpace(source) => Self::NoSpace { source },
            FileError::Io(source) => Self::Io { source },
            FileError::Overloaded => Self::Overloaded,
            FileError::Unavailable(reason) => Self::Unavailable { reason: reason.to_owned() },
        }
    }
}
