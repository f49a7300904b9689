//! IPNS records that survive: what was acknowledged is there after `kill -9` and after power loss.
//!
//! Reads go to the file, through a pool for calls that block, and never wait for a write. Records to
//! be stored go to one thread (`writer`) through a bounded queue; when it is full they are refused.

use std::error::Error as StdError;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::file::{CACHE_BYTES, Candidate, NamesFile};
use super::writer::{Command, LIMITS, Writer};
use super::{NamePut, NameStore, NamesError, NamesStats, StoredName};
use crate::clock::UnixMs;
use crate::state::{CommandError, CommandThread, DiskMedium, Health, Medium};
use crate::types::{IpnsName, IpnsRecord};

/// The file in the data directory.
const FILE_NAME: &str = "state.redb";

/// How a durable store of names is opened.
#[derive(Clone, Debug)]
pub struct NamesOptions {
    /// The data directory. It is there, and this process has its lock.
    pub directory: PathBuf,
    /// The most names that have a record.
    pub records_max: u64,
}

/// A store of names on disk.
pub struct DurableNames {
    file: Arc<NamesFile>,
    is_failing: Arc<AtomicBool>,
    writer: CommandThread<Command>,
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
    /// Opens the file of a data directory, or makes it.
    pub fn open(options: NamesOptions) -> Result<Self, NamesOpenError> {
        let path = options.directory.join(FILE_NAME);
        let medium = DiskMedium { path: path.clone(), cache_bytes: CACHE_BYTES };
        Self::open_on(medium, path, options.records_max)
    }

    pub(super) fn open_on(
        medium: impl Medium,
        path: PathBuf,
        records_max: u64,
    ) -> Result<Self, NamesOpenError> {
        let file = NamesFile::open(medium)
            .map_err(|error| NamesOpenError::File { path, source: Box::new(error) })?;
        let file = Arc::new(file);
        let is_failing = Arc::new(AtomicBool::new(file.must_reopen()));
        let mut writer = Writer {
            file: file.clone(),
            records_max,
            is_failing: is_failing.clone(),
            failure: None,
        };
        let writer =
            CommandThread::start("names writer", LIMITS, move |batch| writer.work_off(batch))
                .map_err(NamesOpenError::Thread)?;
        Ok(Self { file, is_failing, writer })
    }

    /// Hands a command to the thread, unless the queue is full, and waits for what comes of it.
    fn ask<T: Send + 'static>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, NamesError>>) -> Command,
    ) -> BoxFuture<'static, Result<T, NamesError>> {
        let answer = self.writer.ask(command);
        async move {
            answer.wait().await.map_err(|error| match error {
                CommandError::Overloaded => NamesError::Overloaded,
                CommandError::Stopped => {
                    NamesError::Unavailable { reason: "their writer has stopped".to_owned() }
                }
            })?
        }
        .boxed()
    }
}

impl NameStore for DurableNames {
    fn get<'a>(
        &'a self,
        name: &'a IpnsName,
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<Option<StoredName>, NamesError>> {
        async move {
            let (file, name) = (self.file.clone(), name.clone());
            let read = spawn_blocking(move || file.get(&name)).await;
            let found = read.map_err(|_| NamesError::Unavailable {
                reason: "a read did not come to its end".to_owned(),
            })??;
            Ok(found.filter(|stored| !stored.record.end_of_validity().is_over(now_ms)))
        }
        .boxed()
    }

    fn put(
        &self,
        record: IpnsRecord,
        now_ms: UnixMs,
    ) -> BoxFuture<'_, Result<NamePut, NamesError>> {
        self.ask(move |reply| Command::Put(Candidate { record, now_ms }, reply))
    }

    fn sweep(&self, now_ms: UnixMs) -> BoxFuture<'_, Result<u64, NamesError>> {
        self.ask(move |reply| Command::Sweep(now_ms, reply))
    }

    fn health(&self) -> Health {
        self.writer.health(&self.is_failing)
    }

    fn stats(&self) -> NamesStats {
        NamesStats {
            records: self.file.records(),
            file_bytes: self.file.bytes(),
            is_failing: self.writer.has_stopped() || self.is_failing.load(Ordering::Relaxed),
        }
    }
}
