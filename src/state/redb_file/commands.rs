//! One thread that works off what many ask for, a batch at a time, so that a batch can share one wait
//! for the disk.
//!
//! Invariants: commands are worked off in the order in which they were given; no more wait than the
//! limit says. When the handle is dropped, what waits is worked off first. A thread that has panicked
//! answers nobody any more, which everyone who asks is told.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::vec::Drain;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::state::Health;

/// How many commands there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLimits {
    /// That wait.
    pub(crate) waiting_max: usize,
    /// That are worked off together.
    pub(crate) batch_max: usize,
}

/// Why a command came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandError {
    /// As many wait as may wait.
    Overloaded,
    /// The thread has stopped.
    Stopped,
}

/// The thread, as those see it who ask.
pub(crate) struct CommandThread<C> {
    name: &'static str,
    /// Both `Some` until it is dropped.
    commands: Option<mpsc::Sender<C>>,
    thread: Option<JoinHandle<()>>,
}

/// What comes of a command; a command is worked off also if nobody waits for that.
pub(crate) struct Answer<T>(Result<oneshot::Receiver<T>, CommandError>);

impl<T> Answer<T> {
    /// Waits until the command is worked off.
    pub(crate) async fn wait(self) -> Result<T, CommandError> {
        self.0?.await.map_err(|_| CommandError::Stopped)
    }
}

impl<C: Send + 'static> CommandThread<C> {
    /// Starts a thread that hands `work` a batch whenever something waits.
    pub(crate) fn start(
        name: &'static str,
        limits: QueueLimits,
        mut work: impl FnMut(Drain<'_, C>) + Send + 'static,
    ) -> io::Result<Self> {
        let (commands, mut received) = mpsc::channel(limits.waiting_max);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let mut batch = Vec::with_capacity(limits.batch_max);
            while received.blocking_recv_many(&mut batch, limits.batch_max) > 0 {
                work(batch.drain(..));
            }
        })?;
        Ok(Self { name, commands: Some(commands), thread: Some(thread) })
    }

    /// Hands a command over, unless too many wait. The order is that of the calls, whenever the answers
    /// are waited for.
    pub(crate) fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> C) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        let Some(commands) = &self.commands else { return Answer(Err(CommandError::Stopped)) };
        Answer(match commands.try_send(command(reply)) {
            Ok(()) => Ok(answer),
            Err(TrySendError::Full(_)) => Err(CommandError::Overloaded),
            Err(TrySendError::Closed(_)) => Err(CommandError::Stopped),
        })
    }

    /// How the service of the thread is, whose last write failed or not.
    pub(crate) fn health(&self, is_failing: &AtomicBool) -> Health {
        if self.has_stopped() {
            return Health::without_thread(self.name);
        }
        if is_failing.load(Ordering::Relaxed) {
            return Health::unwritable("the disk does not take writes".to_owned());
        }
        Health::good()
    }

    /// Whether the thread has ended, which it does by a panic only.
    pub(crate) fn has_stopped(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl<C> Drop for CommandThread<C> {
    /// Waits for what is being worked off, so that a file is closed when its store is gone.
    fn drop(&mut self) {
        drop(self.commands.take());
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!(thread = self.name, "a thread that writes has panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn commands_are_worked_off_in_the_order_of_the_calls_not_of_the_polls() {
        let mut seen = Vec::new();
        let limits = QueueLimits { waiting_max: 10, batch_max: 2 };
        let thread = CommandThread::start("test", limits, move |batch| {
            for (number, reply) in batch {
                seen.push(number);
                let _: Result<(), Vec<u8>> = oneshot::Sender::send(reply, seen.clone());
            }
        })
        .unwrap();
        let first = thread.ask(|reply| (1, reply));
        let second = thread.ask(|reply| (2, reply));
        let third = thread.ask(|reply| (3, reply));
        assert_eq!(third.wait().await, Ok(vec![1, 2, 3]));
        assert_eq!((second.wait().await, first.wait().await), (Ok(vec![1, 2]), Ok(vec![1])));
        assert!(!thread.has_stopped());
        assert_eq!(thread.health(&AtomicBool::new(false)), Health::good());
        let failing = thread.health(&AtomicBool::new(true));
        assert!(failing.is_ready && !failing.is_writable, "{failing:?}");
    }

    #[tokio::test]
    async fn a_thread_that_panics_is_told_to_all_who_ask() {
        let limits = QueueLimits { waiting_max: 1, batch_max: 1 };
        let thread =
            CommandThread::start("test", limits, |batch: Drain<'_, oneshot::Sender<()>>| {
                assert_eq!(batch.len(), 0, "a panic that the test wants");
            })
            .unwrap();
        assert_eq!(thread.ask(|reply| reply).wait().await, Err(CommandError::Stopped));
        while !thread.has_stopped() {
            tokio::task::yield_now().await;
        }
        assert_eq!(thread.ask(|reply| reply).wait().await, Err(CommandError::Stopped));
        assert_eq!(thread.health(&AtomicBool::new(false)), Health::without_thread("test"));
    }
}
