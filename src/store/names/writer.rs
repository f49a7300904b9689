//! The thread that writes IPNS records: whatever waits when it is free goes into one commit, so that
//! many publishers share one wait for the disk.
//!
//! Failure: if the disk refuses, the whole batch fails and nothing of it counts; until a sweep has
//! found that the disk takes writes again, further records are refused at once with the same error.
//! Reads go on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::file::{Candidate, NamesFile};
use super::{NamePut, NamesError};
use crate::clock::UnixMs;

/// The most commands that one commit answers.
const BATCH_MAX: usize = 256;

/// The most commands that wait. A record has at most 10 KiB, so they take 10 MiB at most.
pub(super) const QUEUE_MAX: usize = 1_024;

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
    /// Whether the last write failed.
    pub(super) is_failing: Arc<AtomicBool>,
}

impl Writer {
    /// Works until nobody can ask any more.
    pub(super) fn run(self, mut commands: mpsc::Receiver<Command>) {
        let mut failure: Option<Failure> = None;
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while commands.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
            let mut candidates = Vec::new();
            let mut waiting = Vec::new();
            for command in batch.drain(..) {
                match command {
                    Command::Put(candidate, reply) => {
                        candidates.push(candidate);
                        waiting.push(reply);
                    }
                    Command::Sweep(now_ms, reply) => {
                        let swept = self.sweep(failure.is_some(), now_ms);
                        failure = self.noted(swept.as_ref().err().map(Failure::of));
                        answer(reply, swept);
                    }
                }
            }
            if failure.is_none() && !candidates.is_empty() {
                failure = self.put(&candidates, &mut waiting).err();
                if failure.is_some() {
                    // So that reads go on. Whether it works is found out by the next write.
                    let _ = self.file.reopen();
                }
            }
            failure = self.noted(failure);
            if let Some(failure) = &failure {
                waiting.into_iter().for_each(|reply| answer(reply, Err(failure.to_error())));
            }
        }
    }

    /// Lets everybody know before anybody is answered.
    fn noted(&self, failure: Option<Failure>) -> Option<Failure> {
        self.is_failing.store(failure.is_some(), Ordering::Relaxed);
        failure
    }

    /// Stores what counts of the candidates and answers those who wait for it; if the disk fails,
    /// they all wait on.
    fn put(
        &self,
        candidates: &[Candidate],
        waiting: &mut Vec<oneshot::Sender<Result<NamePut, NamesError>>>,
    ) -> Result<(), Failure> {
        let verdicts = self.file.put(candidates, self.records_max);
        let verdicts = verdicts.map_err(|error| Failure::of(&error))?;
        for (reply, verdict) in waiting.drain(..).zip(verdicts) {
            let full = |_| NamesError::Full { records_max: self.records_max };
            answer(reply, verdict.map_err(full));
        }
        Ok(())
    }

    fn sweep(&self, has_failed: bool, now_ms: UnixMs) -> Result<u64, NamesError> {
        if has_failed || self.file.must_reopen() {
            self.file.probe()?;
        }
        Ok(self.file.sweep(now_ms)? as u64)
    }
}

/// Whoever asked may have gone.
fn answer<T>(reply: oneshot::Sender<T>, result: T) {
    let _ = reply.send(result);
}

/// A failure of the disk, to be told to many.
struct Failure {
    kind: io::ErrorKind,
    text: String,
}

impl Failure {
    fn of(error: &NamesError) -> Self {
        let kind = if matches!(error, NamesError::NoSpace { .. }) {
            io::ErrorKind::StorageFull
        } else {
            io::ErrorKind::Other
        };
        let text = match error {
            NamesError::NoSpace { source } | NamesError::Io { source } => source.to_string(),
            NamesError::Full { .. } | NamesError::Overloaded | NamesError::Unavailable { .. } => {
                error.to_string()
            }
        };
        Self { kind, text }
    }

    fn to_error(&self) -> NamesError {
        let source = io::Error::new(self.kind, self.text.clone());
        if self.kind == io::ErrorKind::StorageFull {
            NamesError::NoSpace { source }
        } else {
            NamesError::Io { source }
        }
    }
}
