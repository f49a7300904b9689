//! The thread that writes IPNS records: whatever waits when it is free goes into one commit, so that
//! many publishers share one wait for the disk.
//!
//! Failure: if the disk refuses, the whole batch fails and nothing of it counts; until a sweep has
//! found that the disk takes writes again, further records are refused at once with the same error.
//! Reads go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::vec::Drain;

use tokio::sync::oneshot;

use super::file::{Candidate, NamesFile};
use super::{NamePut, NamesError};
use crate::clock::UnixMs;
use crate::state::{FileError, QueueLimits};

/// A record has at most 10 KiB, so those that wait take 10 MiB at most.
pub(super) const LIMITS: QueueLimits = QueueLimits { waiting_max: 1_024, batch_max: 256 };

/// What the thread is asked for.
pub(super) enum Command {
    /// Store a record.
    Put(Candidate, oneshot::Sender<Result<NamePut, NamesError>>),
    /// Free expired records; and find out whether a disk that failed works again.
    Sweep(UnixMs, oneshot::Sender<Result<u64, NamesError>>),
}

/// What the thread works with.
pub(super) struct Writer {
    pub(super) file: Arc<NamesFile>,
    pub(super) records_max: u64,
    /// Whether the last write failed, for all to see.
    pub(super) is_failing: Arc<AtomicBool>,
    /// How the last write failed, if it did.
    pub(super) failure: Option<FileError>,
}

impl Writer {
    /// Works off what has been asked meanwhile.
    pub(super) fn work_off(&mut self, batch: Drain<'_, Command>) {
        let mut candidates = Vec::new();
        let mut waiting = Vec::new();
        for command in batch {
            match command {
                Command::Put(candidate, reply) => {
                    candidates.push(candidate);
                    waiting.push(reply);
                }
                Command::Sweep(now_ms, reply) => {
                    let swept = self.sweep(now_ms);
                    self.note(swept.as_ref().err().map(FileError::again));
                    answer(reply, swept.map_err(NamesError::from));
                }
            }
        }
        if self.failure.is_none() && !candidates.is_empty() {
            let put = self.put(&candidates, &mut waiting);
            if put.is_err() {
                // So that reads go on. Whether it works is found out by the next write.
                let _ = self.file.reopen();
            }
            self.note(put.err());
        }
        if let Some(failure) = &self.failure {
            waiting.into_iter().for_each(|reply| answer(reply, Err(failure.again().into())));
        }
    }

    /// Lets everybody know before anybody is answered.
    fn note(&mut self, failure: Option<FileError>) {
        self.is_failing.store(failure.is_some(), Ordering::Relaxed);
        self.failure = failure;
    }

    /// Stores what counts of the candidates and answers those who wait for it; if the disk fails,
    /// they all wait on.
    fn put(
        &self,
        candidates: &[Candidate],
        waiting: &mut Vec<oneshot::Sender<Result<NamePut, NamesError>>>,
    ) -> Result<(), FileError> {
        let verdicts = self.file.put(candidates, self.records_max)?;
        for (reply, verdict) in waiting.drain(..).zip(verdicts) {
            let full = |_| NamesError::Full { records_max: self.records_max };
            answer(reply, verdict.map_err(full));
        }
        Ok(())
    }

    fn sweep(&self, now_ms: UnixMs) -> Result<u64, FileError> {
        if self.failure.is_some() || self.file.must_reopen() {
            self.file.probe()?;
        }
        Ok(self.file.sweep(now_ms)? as u64)
    }
}

/// Whoever asked may have gone.
fn answer<T>(reply: oneshot::Sender<T>, result: T) {
    let _ = reply.send(result);
}
