//! The thread that writes the control plane's state: whatever lists wait when it is free go into one
//! commit, so that many debits share one wait for the disk.
//!
//! Failure: if the disk refuses, all lists of the commit fail and nothing of them counts. For a moment
//! further ones are refused at once with the same error, so that a full disk costs no more than a try
//! a second; then the next list finds out whether it works again. Reads go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::vec::Drain;

use tokio::sync::oneshot;

use super::file::StateFile;
use super::{StateChange, StateError};
use crate::clock::{Clock, UnixMs};
use crate::state::{FileError, QueueLimits};

/// More lookups than this wait for a debit only if the disk stands still; those past it are refused.
pub(super) const LIMITS: QueueLimits = QueueLimits { waiting_max: 4_096, batch_max: 1_024 };

/// How long lists are refused after a failure.
pub(super) const PAUSE_MS: u64 = 1_000;

/// A list of changes, and who waits for it.
pub(super) type Command = (Vec<StateChange>, oneshot::Sender<Result<(), StateError>>);

/// What the thread works with.
pub(super) struct Writer {
    pub(super) file: Arc<StateFile>,
    pub(super) clock: Clock,
    /// Whether the last write failed, for all to see.
    pub(super) is_failing: Arc<AtomicBool>,
    /// How the last write failed and when, if it did.
    pub(super) failure: Option<(FileError, UnixMs)>,
}

impl Writer {
    /// Works off what has been asked meanwhile.
    pub(super) fn work_off(&mut self, batch: Drain<'_, Command>) {
        let (lists, waiting): (Vec<_>, Vec<_>) = batch.unzip();
        if !self.is_pausing() {
            self.failure = self.write(&lists).err().map(|error| (error, self.clock.now_ms()));
            // Everybody can know before anybody is answered.
            self.is_failing.store(self.failure.is_some(), Ordering::Relaxed);
        }
        for reply in waiting {
            let result = match &self.failure {
                Some((error, _)) => Err(error.again().into()),
                None => Ok(()),
            };
            // Whoever asked may have gone.
            let _ = reply.send(result);
        }
    }

    /// Whether the last failure was only just now. A clock that was set back ends the pause.
    fn is_pausing(&self) -> bool {
        let now_ms = self.clock.now_ms();
        self.failure
            .as_ref()
            .is_some_and(|(_, at_ms)| (*at_ms..at_ms.saturating_add(PAUSE_MS)).contains(&now_ms))
    }

    fn write(&self, lists: &[Vec<StateChange>]) -> Result<(), FileError> {
        let written = self.file.write(lists.iter().flatten());
        if written.is_err() {
            // So that reads go on. Whether it works is found out by the next write.
            let _ = self.file.reopen();
        }
        written
    }
}
