//! IPNS records that survive: what was acknowledged is there after `kill -9` and after power loss.
//!
//! Reads go to the file, through a pool for calls that block, and never wait for a write. Records to
//! be stored go to one thread (`writer`) through a bounded queue; when it is full they are refused.

use std::error::Error as StdError;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::file::{Candidate, DiskMedium, Medium, NamesFile};
use super::writer::{Command, QUEUE_MAX, Writer};
use super::{NamePut, NameStore, NamesError, NamesStats, StoredName};
use crate::clock::UnixMs;
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
    /// Both `Some` until the store is dropped.
    commands: Option<mpsc::Sender<Command>>,
    writer: Option<JoinHandle<()>>,
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
        Self::open_on(DiskMedium { path: path.clone() }, path, options.records_max)
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
        let (commands, received) = mpsc::channel(QUEUE_MAX);
        let writer = Writer { file: file.clone(), records_max, is_failing: is_failing.clone() };
        let writer = std::thread::Builder::new()
            .name("names".to_owned())
            .spawn(move || writer.run(received))
            .map_err(NamesOpenError::Thread)?;
        Ok(Self { file, is_failing, commands: Some(commands), writer: Some(writer) })
    }

    /// Hands a command to the thread, unless the queue is full, and waits for what comes of it.
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, NamesError>>) -> Command,
    ) -> Result<T, NamesError> {
        let stopped = || NamesError::Unavailable { reason: "their writer has stopped".to_owned() };
        let (reply, answer) = oneshot::channel();
        let commands = self.commands.as_ref().ok_or_else(stopped)?;
        commands.try_send(command(reply)).map_err(|error| match error {
            TrySendError::Full(_) => NamesError::Overloaded,
            TrySendError::Closed(_) => stopped(),
        })?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }
}

impl Drop for DurableNames {
    /// Waits for what is being written, so that the file is closed when the store is gone.
    fn drop(&mut self) {
        drop(self.commands.take());
        if let Some(Err(_)) = self.writer.take().map(JoinHandle::join) {
            tracing::error!("the thread that writes IPNS records has panicked");
        }
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
        self.ask(move |reply| Command::Put(Candidate { record, now_ms }, reply)).boxed()
    }

    fn sweep(&self, now_ms: UnixMs) -> BoxFuture<'_, Result<u64, NamesError>> {
        self.ask(move |reply| Command::Sweep(now_ms, reply)).boxed()
    }

    fn stats(&self) -> NamesStats {
        let has_stopped = self.writer.as_ref().is_none_or(JoinHandle::is_finished);
        NamesStats {
            records: self.file.records(),
            file_bytes: self.file.bytes(),
            is_failing: has_stopped || self.is_failing.load(Ordering::Relaxed),
        }
    }
}
