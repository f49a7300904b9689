//! State that survives: what was acknowledged is there after `kill -9` and after power loss, each list
//! of changes whole.
//!
//! Reads go to the file and never wait for a write. Lists go to one thread (`writer`) through a bounded
//! queue, in the order of the calls; when it is full they are refused. A list that was handed over is
//! written, whether or not anybody still waits for it.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use thiserror::Error;

use super::file::{CACHE_BYTES, StateFile};
use super::writer::{Command, LIMITS, Writer};
use super::{Health, StateChange, StateError, StateStore, StateTable};
use crate::clock::Clock;
use crate::state::{CommandError, CommandThread, DiskMedium, FileError, Medium};

/// The file in the data directory.
const FILE_NAME: &str = "control.redb";

/// How durable state is opened.
#[derive(Clone, Debug)]
pub struct StateOptions {
    /// The data directory. It is there, and this process has its lock.
    pub directory: PathBuf,
    /// What time it is, for how long a disk that failed is left alone.
    pub clock: Clock,
}

/// State on disk.
pub struct DurableState {
    file: Arc<StateFile>,
    is_failing: Arc<AtomicBool>,
    writer: CommandThread<Command>,
}

/// Why state cannot be opened.
#[derive(Debug, Error)]
pub enum StateOpenError {
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

impl DurableState {
    /// Opens the file of a data directory, or makes it, and verifies all of it.
    ///
    /// # Errors
    ///
    /// [`StateOpenError`]. A disk that is full is none: what is there can be read, and changes fail
    /// until there is room.
    pub fn open(options: StateOptions) -> Result<Self, StateOpenError> {
        let path = options.directory.join(FILE_NAME);
        let medium = DiskMedium { path: path.clone(), cache_bytes: CACHE_BYTES };
        Self::open_on(medium, path, options.clock)
    }

    pub(super) fn open_on(
        medium: impl Medium,
        path: PathBuf,
        clock: Clock,
    ) -> Result<Self, StateOpenError> {
        let file = StateFile::open(medium)
            .map_err(|error| StateOpenError::File { path, source: Box::new(error) })?;
        let file = Arc::new(file);
        let is_failing = Arc::new(AtomicBool::new(file.must_reopen()));
        let mut writer =
            Writer { file: file.clone(), clock, is_failing: is_failing.clone(), failure: None };
        let writer =
            CommandThread::start("state writer", LIMITS, move |batch| writer.work_off(batch))
                .map_err(StateOpenError::Thread)?;
        Ok(Self { file, is_failing, writer })
    }

    /// Whether the last write failed: changes are refused until one succeeds.
    pub fn is_failing(&self) -> bool {
        self.writer.has_stopped() || self.is_failing.load(Ordering::Relaxed)
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.file.bytes()
    }
}

impl StateStore for DurableState {
    fn health(&self) -> Health {
        self.writer.health(&self.is_failing)
    }

    fn read(&self, table: StateTable) -> Result<BTreeMap<String, String>, StateError> {
        Ok(self.file.read(table)?)
    }

    fn write(&self, changes: Vec<StateChange>) -> BoxFuture<'_, Result<(), StateError>> {
        let answer = self.writer.ask(|reply| (changes, reply));
        async move {
            answer.wait().await.map_err(|error| match error {
                CommandError::Overloaded => StateError::Overloaded,
                CommandError::Stopped => {
                    StateError::Unavailable { reason: "its writer has stopped".to_owned() }
                }
            })?
        }
        .boxed()
    }
}

impl From<FileError> for StateError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::NoSpace(source) => Self::NoSpace { source },
            FileError::Io(source) => Self::Io { source },
            FileError::Closed => Self::Unavailable { reason: "its file is closed".to_owned() },
        }
    }
}
