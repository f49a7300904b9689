//! A redb file as a service: reads run on the runtime's pool for calls that block, writes on one thread,
//! a batch a commit, so that many share one wait for the disk.
//!
//! Invariants: commands are written in the order in which they were given; no more wait than the options
//! say, those past them are refused. When the service is dropped, what waits is written first. Reads never
//! wait for a write.
//!
//! Failure: a commit that fails may have reached the disk all the same. So the file is opened again, and
//! the batch written once more; writing what is there already changes nothing. If the disk refuses that too,
//! all of the batch fail, and reads show whether it is there. For a moment further commands are refused at
//! once with the same error, so that a full disk costs no more than a try a second; then the next command
//! finds out whether it works again. Reads go on. A thread that has panicked answers nobody any more, which
//! everyone who asks is told.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redb::{Error as RedbError, ReadTransaction};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::{FileError, RedbFile};
use crate::clock::UnixMs;
use crate::detached::run_blocking;
use crate::invariant;
use crate::state::Health;

/// How long commands are refused after a failure.
pub(crate) const PAUSE_MS: u64 = 1_000;

/// How a service works.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServiceOptions {
    /// The name of the thread that writes.
    pub(crate) thread: &'static str,
    /// The most commands that wait.
    pub(crate) waiting_max: usize,
    /// The most commands that are written together.
    pub(crate) batch_max: usize,
}

/// Writes a batch in one commit, and says what came of each command, in their order. The same batch once
/// more changes nothing.
pub(crate) trait WriteBatch<C, T>:
    FnMut(&RedbFile, &[(C, UnixMs)]) -> Result<Vec<T>, FileError> + Send + 'static
{
}

impl<C, T, F> WriteBatch<C, T> for F where
    F: FnMut(&RedbFile, &[(C, UnixMs)]) -> Result<Vec<T>, FileError> + Send + 'static
{
}

/// A file, the thread that writes it, and how they are.
pub(crate) struct RedbService<C, T> {
    file: Arc<RedbFile>,
    thread_name: &'static str,
    /// Whether the last write failed.
    is_failing: Arc<AtomicBool>,
    /// Both `Some` until it is dropped.
    commands: Option<mpsc::Sender<Queued<C, T>>>,
    thread: Option<JoinHandle<()>>,
}

/// A command, when it was given, and who waits for what comes of it.
struct Queued<C, T> {
    command: (C, UnixMs),
    reply: oneshot::Sender<Result<T, FileError>>,
}

impl<C: Send + 'static, T: Send + 'static> RedbService<C, T> {
    /// Starts the thread of an open file.
    pub(crate) fn start(
        file: RedbFile,
        options: ServiceOptions,
        write: impl WriteBatch<C, T>,
    ) -> io::Result<Self> {
        let ServiceOptions { thread: thread_name, waiting_max, batch_max } = options;
        let file = Arc::new(file);
        let is_failing = Arc::new(AtomicBool::new(file.must_reopen()));
        let (commands, mut received) = mpsc::channel(waiting_max);
        let mut writer = ServiceWriter {
            file: file.clone(),
            write,
            is_failing: is_failing.clone(),
            failure: None,
        };
        let thread = std::thread::Builder::new().name(thread_name.to_owned()).spawn(move || {
            let mut batch = Vec::with_capacity(batch_max);
            while received.blocking_recv_many(&mut batch, batch_max) > 0 {
                writer.process_batch(&mut batch);
            }
        })?;
        Ok(Self { file, thread_name, is_failing, commands: Some(commands), thread: Some(thread) })
    }

    /// Submits a command, unless too many wait. The order is that of the calls, whenever the futures
    /// are polled, and a command is worked off though its future is dropped.
    pub(crate) fn submit(
        &self,
        command: C,
        now_ms: UnixMs,
    ) -> BoxFuture<'static, Result<T, FileError>> {
        const STOPPED: FileError = FileError::Unavailable("the writer has stopped");
        let (reply, answer) = oneshot::channel();
        let queued = Queued { command: (command, now_ms), reply };
        let sent = match &self.commands {
            Some(commands) => commands.try_send(queued).map_err(|error| match error {
                TrySendError::Full(_) => FileError::Overloaded,
                TrySendError::Closed(_) => STOPPED,
            }),
            None => Err(STOPPED),
        };
        async move {
            sent?;
            answer.await.unwrap_or(Err(STOPPED))
        }
        .boxed()
    }

    /// Reads the last commit.
    pub(crate) async fn read<R: Send + 'static>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<R, RedbError> + Send + 'static,
    ) -> Result<R, FileError> {
        let file = self.file.clone();
        let read = run_blocking(move || file.read(work)).await;
        read.unwrap_or(Err(FileError::Unavailable("a read was not completed")))
    }

    /// The size of the file as of the last commit.
    pub(crate) fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    /// Whether the last write failed, or a read since then, or none is possible any more. The next write
    /// opens the file again.
    pub(crate) fn is_failing(&self) -> bool {
        self.has_stopped() || self.has_failed()
    }

    fn has_failed(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed) || self.file.must_reopen()
    }

    /// How the service is.
    pub(crate) fn health(&self) -> Health {
        if self.has_stopped() {
            return Health::without_thread(self.thread_name);
        }
        if self.has_failed() {
            return Health::unwritable("the disk does not take writes".to_owned());
        }
        Health::good()
    }

    /// Whether the thread has ended, which it does by a panic only.
    fn has_stopped(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl<C, T> Drop for RedbService<C, T> {
    /// Waits for what is being written, so that a file is closed when its store is gone.
    fn drop(&mut self) {
        drop(self.commands.take());
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!(thread = self.thread_name, "a thread that writes has panicked");
        }
    }
}

/// What the thread works with.
struct ServiceWriter<W> {
    file: Arc<RedbFile>,
    write: W,
    is_failing: Arc<AtomicBool>,
    /// How the last write failed and when, if it did.
    failure: Option<(FileError, UnixMs)>,
}

impl<W> ServiceWriter<W> {
    /// Works off what has been asked meanwhile.
    fn process_batch<C, T>(&mut self, batch: &mut Vec<Queued<C, T>>)
    where
        W: WriteBatch<C, T>,
    {
        let (commands, waiting): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|queued| (queued.command, queued.reply)).unzip();
        let now_ms = commands.iter().map(|(_, at_ms)| *at_ms).max().unwrap_or(0);
        let mut done = Vec::new();
        if !self.is_pausing(now_ms) {
            match self.write(&commands) {
                Ok(written) => (done, self.failure) = (written, None),
                Err(error) => {
                    // So that reads go on. Whether it works is found out by the next write.
                    let _ = self.file.reopen();
                    self.failure = Some((error, now_ms));
                }
            }
            // Everybody can know before anybody is answered.
            self.is_failing.store(self.failure.is_some(), Ordering::Relaxed);
        }
        let mut done = done.into_iter();
        for reply in waiting {
            let result = match &self.failure {
                Some((error, _)) => Err(error.duplicate()),
                None => invariant::present(done.next(), "each command of a batch has an outcome")
                    .ok_or(FileError::Unavailable("a write came to nothing")),
            };
            // Whoever asked may have gone.
            let _ = reply.send(result);
        }
    }

    fn write<C, T>(&mut self, commands: &[(C, UnixMs)]) -> Result<Vec<T>, FileError>
    where
        W: WriteBatch<C, T>,
    {
        if self.is_failing.load(Ordering::Relaxed) {
            // A batch that changes nothing says nothing of the disk.
            self.file.probe()?;
        }
        let written = (self.write)(&self.file, commands);
        if written.is_err() && self.file.reopen().is_ok() {
            return (self.write)(&self.file, commands);
        }
        written
    }

    /// Whether the last failure was only just now. A clock that was set back ends the pause.
    fn is_pausing(&self, now_ms: UnixMs) -> bool {
        self.failure
            .as_ref()
            .is_some_and(|(_, at_ms)| (*at_ms..at_ms.saturating_add(PAUSE_MS)).contains(&now_ms))
    }
}

#[cfg(test)]
mod tests {
    use redb::Database;

    use super::*;
    use crate::state::test_medium::TestMedium;
    use crate::state::{Medium, WriteWork};

    const OPTIONS: ServiceOptions =
        ServiceOptions { thread: "test", waiting_max: 10, batch_max: 2 };

    fn service<C, T>(write: impl WriteBatch<C, T>) -> RedbService<C, T>
    where
        C: Send + 'static,
        T: Send + 'static,
    {
        let file = RedbFile::open(TestMedium::default(), Box::new(|_| Ok(())), "a test").unwrap();
        RedbService::start(file, OPTIONS, write).unwrap()
    }

    #[tokio::test]
    async fn commands_are_worked_off_in_the_order_of_the_calls_not_of_the_polls() {
        let mut seen = Vec::new();
        let service = service(move |_: &RedbFile, commands: &[(u32, UnixMs)]| {
            let numbers = commands.iter().map(|(number, _)| {
                seen.push(*number);
                seen.clone()
            });
            Ok(numbers.collect::<Vec<_>>())
        });
        let [first, second, third] = [1, 2, 3].map(|number| service.submit(number, 7));
        assert_eq!(third.await.unwrap(), [1, 2, 3]);
        assert_eq!((second.await.unwrap(), first.await.unwrap()), (vec![1, 2], vec![1]));
        assert_eq!(service.health(), Health::good());
    }

    #[tokio::test]
    async fn a_read_that_fails_counts_until_the_next_write_opens_the_file_again() {
        let medium = TestMedium::default();
        let file = RedbFile::open(medium.clone(), Box::new(|_| Ok(())), "a test").unwrap();
        let write = |file: &RedbFile, commands: &[((), UnixMs)]| {
            file.write(|_| Ok(WriteWork::Unchanged(())))?;
            Ok(vec![(); commands.len()])
        };
        let service = RedbService::start(file, OPTIONS, write).unwrap();
        let failed = service.read(|_| Err::<(), _>(io::Error::other("told so").into())).await;
        assert!(failed.is_err() && service.is_failing() && !service.health().is_writable);
        service.submit((), 7).await.unwrap();
        assert!(!service.is_failing() && service.health() == Health::good());
        assert_eq!(medium.opened(), 2);
    }

    /// A file that redb can open once.
    struct OnceMedium(TestMedium);

    impl Medium for OnceMedium {
        fn open(&self) -> Result<Database, RedbError> {
            assert_eq!(self.0.opened(), 0, "a panic that the test wants");
            self.0.open()
        }

        fn open_overlay(&self) -> Result<Database, RedbError> {
            self.0.open_overlay()
        }

        fn length(&self) -> u64 {
            self.0.length()
        }
    }

    #[tokio::test]
    async fn damage_found_by_opening_again_is_an_error_and_ends_no_thread() {
        let medium = OnceMedium(TestMedium::default());
        let file = RedbFile::open(medium, Box::new(|_| Ok(())), "a test").unwrap();
        let write = |file: &RedbFile, commands: &[((), UnixMs)]| {
            file.write(|_| Ok(WriteWork::Changed(())))?;
            Ok(vec![(); commands.len()])
        };
        let service = RedbService::start(file, OPTIONS, write).unwrap();
        let failed = service.read(|_| Err::<(), _>(io::Error::other("told so").into())).await;
        assert!(failed.is_err());
        assert!(matches!(service.submit((), 7).await, Err(FileError::Io(_))));
        assert!(service.health().is_ready && !service.health().is_writable);
        service.read(|_| Ok(())).await.unwrap();
    }

    #[tokio::test]
    async fn a_thread_that_panics_fails_all_commands() {
        let service = service(|_: &RedbFile, commands: &[((), UnixMs)]| {
            assert_eq!(commands.len(), 0, "a panic that the test wants");
            Ok(Vec::<()>::new())
        });
        for _ in 0..2 {
            let refused = service.submit((), 7).await;
            assert!(matches!(refused, Err(FileError::Unavailable(_))), "{refused:?}");
            while service.health().is_ready {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(service.health(), Health::without_thread("test"));
        assert!(service.is_failing());
    }
}
