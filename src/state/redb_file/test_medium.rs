//! A database in memory that outlives its opening, counts commits, fails or waits when told, and
//! remembers what was done to it, so that a test can look at what a crash would leave.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};
use redb::{Database, Error as RedbError, StorageBackend};

use super::Medium;
use super::overlay::Overlay;

#[derive(Clone, Debug, Default)]
pub(crate) struct TestMedium(Arc<State>);

#[derive(Debug, Default)]
struct State {
    bytes: Mutex<Vec<u8>>,
    failure: Mutex<Option<io::ErrorKind>>,
    /// Syncs until one fails that did what it was to do, and whether everything fails from then on.
    late_failure: Mutex<Option<(usize, bool)>>,
    syncs: AtomicUsize,
    opened: AtomicUsize,
    is_held: Mutex<bool>,
    released: Condvar,
    is_waiting: AtomicBool,
    panics: AtomicBool,
    steps: Mutex<Vec<Step>>,
}

/// What was done to the bytes.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The length was set.
    Length(u64),
    /// Bytes were written at an offset.
    Write(u64, Vec<u8>),
    /// Everything before is on the disk from here on.
    Sync,
}

impl TestMedium {
    /// A database of these bytes.
    pub(crate) fn of_bytes(bytes: Vec<u8>) -> Self {
        Self(Arc::new(State { bytes: Mutex::new(bytes), ..State::default() }))
    }

    /// The bytes as they are.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.bytes.lock().clone()
    }

    /// What was done to them so far.
    pub(crate) fn steps(&self) -> Vec<Step> {
        self.0.steps.lock().clone()
    }

    /// How many steps that is.
    pub(crate) fn steps_done(&self) -> usize {
        self.0.steps.lock().len()
    }

    /// From now on writes fail in this way; `None`: they work.
    pub(crate) fn fail(&self, failure: Option<io::ErrorKind>) {
        *self.0.failure.lock() = failure;
    }

    /// The sync after so many others fails, though everything before it is on the disk; and, if told so,
    /// all that comes after it.
    pub(crate) fn fail_late(&self, syncs: usize, for_good: bool) {
        *self.0.late_failure.lock() = Some((syncs, for_good));
    }

    /// The next sync panics.
    pub(crate) fn panic_once(&self) {
        self.0.panics.store(true, Ordering::SeqCst);
    }

    /// From now on syncs wait until [`TestMedium::release`].
    pub(crate) fn hold(&self) {
        *self.0.is_held.lock() = true;
    }

    pub(crate) fn release(&self) {
        *self.0.is_held.lock() = false;
        self.0.released.notify_all();
    }

    /// Whether a sync has waited.
    pub(crate) fn is_waiting(&self) -> bool {
        self.0.is_waiting.load(Ordering::SeqCst)
    }

    /// How many syncs there were.
    pub(crate) fn syncs(&self) -> usize {
        self.0.syncs.load(Ordering::SeqCst)
    }

    /// How many times it was opened.
    pub(crate) fn opened(&self) -> usize {
        self.0.opened.load(Ordering::SeqCst)
    }

    fn check(&self) -> io::Result<()> {
        match *self.0.failure.lock() {
            Some(kind) => Err(kind.into()),
            None => Ok(()),
        }
    }
}

impl Medium for TestMedium {
    fn open(&self) -> Result<Database, RedbError> {
        self.0.opened.fetch_add(1, Ordering::SeqCst);
        Ok(Database::builder().create_with_backend(self.clone())?)
    }

    fn open_overlay(&self) -> Result<Database, RedbError> {
        Ok(Database::builder().create_with_backend(Overlay::new(self.clone())?)?)
    }

    fn length(&self) -> u64 {
        self.0.bytes.lock().len() as u64
    }
}

impl StorageBackend for TestMedium {
    fn len(&self) -> io::Result<u64> {
        Ok(self.length())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        let bytes = self.0.bytes.lock();
        let read = bytes.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(read);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.0.steps.lock().push(Step::Length(len));
        self.0.bytes.lock().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        assert!(!self.0.panics.swap(false, Ordering::SeqCst), "a panic that the test wants");
        let mut is_held = self.0.is_held.lock();
        while *is_held {
            self.0.is_waiting.store(true, Ordering::SeqCst);
            self.0.released.wait(&mut is_held);
        }
        self.0.syncs.fetch_add(1, Ordering::SeqCst);
        self.0.steps.lock().push(Step::Sync);
        let mut late = self.0.late_failure.lock();
        match *late {
            Some((0, for_good)) => {
                *late = None;
                if for_good {
                    self.fail(Some(io::ErrorKind::Other));
                }
                Err(io::ErrorKind::Other.into())
            }
            Some((syncs, for_good)) => {
                *late = Some((syncs - 1, for_good));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        let start = usize::try_from(offset).unwrap();
        let mut bytes = self.0.bytes.lock();
        self.0.steps.lock().push(Step::Write(offset, data.to_vec()));
        bytes
            .get_mut(start..start + data.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?
            .copy_from_slice(data);
        Ok(())
    }
}
