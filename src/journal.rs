//! The journal: what was announced, on disk, so that it is there after a crash.
//!
//! ```text
//! journal/                          in the data directory
//!   0000000001-000000.journal       segments: sequence number, generation
//!   0000000002-000003.journal       rewritten three times by compaction
//! ```
//!
//! A segment is a row of frames, one for each group commit; a frame is a row of blocks: a group's
//! definition, keys of one group, a group's end, a change of many groups (`format`, `block` and
//! `change` draw the bytes, `docs/journal-format.md` explains them). A group's identity is its
//! serial, which is never reused; whether one group supersedes another follows from their serials
//! and expiries, not from the order of blocks. So blocks are read, merged and moved in any order.
//!
//! The parts: `writer` appends, `recovery` reads everything at the start, `ledger` knows what is
//! where, `compaction` rewrites segments with too much garbage, `snapshot` reads while all that goes
//! on, `reserve` keeps a part of the disk from strangers, `repair` saves what is whole from damaged files.
//!
//! # Invariants
//!
//! - When [`Journal::append`] is ready, the entries survive a crash. [`Journal::append_whole`] leaves all
//!   of its entries or none, even when it fails.
//! - What is read was verified. Damage is reported with file and offset, and never skipped.
//! - A full queue exerts backpressure on appends; nothing grows without bound.
//!
//! # Failure
//!
//! A failed write fails all appends in its frame, and no others; the next append retries. Damage
//! found when opening is an error; damage found by compaction stops the compaction of that segment
//! and shows in [`JournalStats`].

mod background;
mod block;
mod change;
mod compaction;
mod disk;
mod error;
mod estimate;
mod format;
mod inspect;
mod ledger;
mod output;
mod pace;
mod queue;
mod recovery;
mod repair;
mod reserve;
mod salvage;
mod segment;
mod snapshot;
mod writer;

#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;

use hashbrown::HashSet;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::data_dir::DataDir;
use crate::types::ContentKey;
use background::Compactor;
use block::Block;
use compaction::Uses;
use disk::{Disk, SystemDisk};
use ledger::Ledger;
use pace::{Pace, Stop};
use queue::Queue;
use recovery::{in_parallel, recover};
use segment::{Segment, walk};
use writer::{JournalWriter, Wholeness, WriterCommand};

pub use block::{GroupDefinition, KeyBlock};
pub use change::{
    AddrsChange, Change, CompanionChange, CompanionsChange, RecordChange, VisibilityChange,
};
pub(crate) use compaction::{IsHeld, IsNeeded};
pub use error::JournalError;
pub use inspect::{inspect_segment, segment_of};
pub(crate) use recovery::RecoveryReport;
pub use repair::repair;
pub(crate) use reserve::StrangersWrite;
pub(crate) use segment::Receipt;
pub(crate) use snapshot::Snapshot;

/// The names of the threads behind a journal.
const WRITER_THREAD: &str = "journal writer";
const COMPACTION_THREAD: &str = "journal compaction";

/// Offsets in segments have 32 bits; this leaves room for the last frame.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// How a journal works.
#[derive(Clone)]
pub struct JournalOptions {
    /// The data directory. Its lock is held for as long as any part of the journal lives.
    pub(crate) data_dir: DataDir,
    /// Threads that read segments when the journal is opened.
    pub(crate) threads: usize,
    /// A segment with this many bytes is followed by a new one, 1 GiB at most. Compaction needs as
    /// much room on the disk, for a while.
    pub segment_bytes: u64,
    /// The queue's bound in bytes of entries; past it [`Journal::append`] waits.
    pub(crate) queue_bytes_max: usize,
    /// Bytes a second that compaction may read and write, so that appends get the disk.
    pub(crate) compaction_bytes_per_second: u64,
    /// The least garbage in bytes that starts a compaction.
    pub compaction_garbage_bytes_min: u64,
    /// Free bytes of the disk below which strangers announce nothing new; 0: a sixteenth of the disk, 1
    /// GiB at most.
    pub(crate) disk_reserve_bytes: u64,
    /// Tells which groups expired.
    pub clock: Clock,
    /// The file system.
    disk: Arc<dyn Disk>,
}

impl JournalOptions {
    /// The defaults, for the journal of `data_dir`: segments of 128 MiB, a queue of 64 MiB, compaction
    /// at 64 MiB/s from 1 MiB of garbage on, and a thread for each core.
    pub fn new(data_dir: DataDir) -> Self {
        Self {
            data_dir,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            segment_bytes: 128 << 20,
            queue_bytes_max: 64 << 20,
            compaction_bytes_per_second: 64 << 20,
            compaction_garbage_bytes_min: 1 << 20,
            disk_reserve_bytes: 0,
            clock: Clock::System,
            disk: Arc::new(SystemDisk),
        }
    }

    fn check(&self) -> Result<(), JournalError> {
        let wrong = |option, wanted| Err(JournalError::Option { option, wanted });
        if !(1..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            return wrong("segment_bytes", "from 1 byte to 1 GiB");
        }
        if !(1..=u32::MAX as usize).contains(&self.queue_bytes_max) {
            return wrong("queue_bytes_max", "from 1 byte to 4 GiB");
        }
        if self.compaction_bytes_per_second == 0 {
            return wrong("compaction_bytes_per_second", "at least 1");
        }
        Ok(())
    }
}

/// What is appended.
#[derive(Clone, Debug)]
pub enum JournalEntry {
    /// Keys of a group. The group's definition is written the first time that its serial is seen.
    Keys {
        /// The group.
        group: Arc<GroupDefinition>,
        /// The keys.
        keys: Vec<ContentKey>,
    },
    /// The end of a group: nothing of it counts any more, whenever it was or will be appended.
    End {
        /// The group.
        serial: u64,
    },
    /// A change of many groups.
    Change(Change),
}

/// The figures of a journal.
#[derive(Clone, Debug, Default)]
pub struct JournalStats {
    /// Bytes of all segments.
    pub bytes: u64,
    /// Those of them that compaction could free: exact for groups that ended or expired and for changes
    /// that newer ones superseded, estimated for keys that other groups superseded and for changes that
    /// count for no group.
    pub garbage_bytes: u64,
    /// Free bytes of the disk; `None` if it does not say.
    pub(crate) disk_free_bytes: Option<u64>,
    /// Segments.
    pub segments: usize,
    /// Groups that live.
    pub groups: usize,
    /// Keys of live groups; duplicates count until compaction.
    pub entries: u64,
    /// Group commits since the journal was opened.
    pub syncs: u64,
    /// Bytes appended since the journal was opened.
    pub bytes_appended: u64,
    /// Bytes that compaction wrote since the journal was opened.
    pub bytes_compacted: u64,
    /// Compactions since the journal was opened.
    pub compactions: u64,
    /// Why the last write failed; `None` once one succeeds.
    pub write_error: Option<JournalError>,
    /// Why the last compaction failed; `None` once one succeeds.
    pub compaction_error: Option<JournalError>,
    /// Whether the threads behind the journal are alive.
    pub is_running: bool,
}

/// An open journal. Dropping it writes what waits and seals it.
pub struct Journal {
    shared: Arc<JournalShared>,
    queue: Queue,
    writer: Mutex<Option<JoinHandle<()>>>,
    compactor: Compactor,
    compaction_bytes_per_second: u64,
    compaction_thread: Mutex<Option<(JoinHandle<()>, Stop)>>,
}

/// What the parts of a journal share.
struct JournalShared {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    segment_bytes: u64,
    disk_reserve_bytes: u64,
    clock: Clock,
    ledger: Mutex<Ledger>,
    counters: JournalCounters,
    write_error: Mutex<Option<JournalError>>,
    compaction_error: Mutex<Option<JournalError>>,
    /// Serializes compactions.
    compaction: Mutex<()>,
    /// The generation of the next compacted segment, never reused: a file left by a failed attempt
    /// must not look newer than its replacement.
    next_generation: AtomicU32,
    _data_dir: DataDir,
}

struct JournalCounters {
    syncs: AtomicU64,
    bytes_appended: AtomicU64,
    bytes_compacted: AtomicU64,
    compactions: AtomicU64,
    /// What `bytes_appended` was at the last estimate; all ones before the first.
    estimated_at_bytes: AtomicU64,
}

impl JournalCounters {
    fn new() -> Self {
        Self {
            syncs: AtomicU64::new(0),
            bytes_appended: AtomicU64::new(0),
            bytes_compacted: AtomicU64::new(0),
            compactions: AtomicU64::new(0),
            estimated_at_bytes: AtomicU64::new(u64::MAX),
        }
    }
}

/// A journal that was just opened, and its content for the index.
pub struct Opened {
    /// The groups that live.
    pub groups: Vec<GroupDefinition>,
    /// The newest change of each kind, for each provider or context; some may count for no group.
    pub changes: Vec<Change>,
    /// The journal, ready for appends.
    pub journal: Journal,
    /// What was found.
    pub report: RecoveryReport,
    segments: Vec<(Arc<Segment>, u64)>,
    live: HashSet<u64>,
    next_serial: u64,
}

impl Opened {
    /// Shows every block of keys of the live groups to `visit`, from as many threads at once, in any
    /// order; to be called before anything is appended.
    pub fn replay(
        &self,
        threads: usize,
        visit: impl Fn(u64, KeyBlock<'_>) + Sync,
    ) -> Result<(), JournalError> {
        in_parallel(threads, &self.segments, |_, (segment, length)| {
            let mut memory = Vec::new();
            let walked = walk(segment, *length, |_, block| {
                if let Block::Keys(keys) = block
                    && self.live.contains(&keys.serial)
                {
                    visit(keys.serial, keys.expand(&mut memory));
                }
                Ok(ControlFlow::Continue(()))
            });
            walked.map(|_| ()).map_err(|error| error.into_journal_error(segment))
        })?;
        Ok(())
    }

    /// The number of a live group's keys, duplicates included.
    pub fn keys_of(&self, serial: u64) -> u64 {
        self.journal.shared.ledger.lock().keys_of(serial)
    }

    /// Greater than every serial ever used here.
    pub fn next_serial(&self) -> u64 {
        self.next_serial
    }
}

impl Journal {
    /// Opens the journal of a data directory, or begins one: verifies everything, cuts what a crash left
    /// half written, and starts the writer.
    ///
    /// # Errors
    ///
    /// [`JournalError::Corrupt`] if anything that was written whole is damaged or missing.
    pub fn open(options: JournalOptions) -> Result<Opened, JournalError> {
        options.check()?;
        let directory = options.data_dir.journal();
        let disk = &options.disk;
        let made = disk.create_directory(&directory);
        made.map_err(|error| JournalError::io("create", &directory, error))?;
        for path in [options.data_dir.path(), &directory] {
            let synced = disk.sync_directory(path);
            synced.map_err(|error| JournalError::io("sync", path, error))?;
        }
        let now_ms = options.clock.now_ms();
        let recovered = recover(&**disk, &directory, options.threads, now_ms)?;
        let live = recovered.groups.iter().map(|group| group.serial).collect();
        let next_serial = recovered.ledger.next_serial();
        let lengths = recovered.ledger.in_order();
        let segments = lengths.iter().map(|(_, it)| (Arc::clone(&it.segment), it.length)).collect();
        drop(lengths);
        let shared = Arc::new(JournalShared {
            disk: Arc::clone(disk),
            directory,
            segment_bytes: options.segment_bytes,
            disk_reserve_bytes: options.disk_reserve_bytes,
            clock: options.clock.clone(),
            ledger: Mutex::new(recovered.ledger),
            counters: JournalCounters::new(),
            write_error: Mutex::new(None),
            compaction_error: Mutex::new(None),
            compaction: Mutex::new(()),
            next_generation: AtomicU32::new(recovered.next_generation),
            _data_dir: options.data_dir.clone(),
        });
        let journal = Self::start(shared, recovered.last, &options)?;
        let (groups, changes, report) = (recovered.groups, recovered.changes, recovered.report);
        Ok(Opened { groups, changes, journal, report, segments, live, next_serial })
    }

    fn start(
        shared: Arc<JournalShared>,
        last: Option<(u32, format::Previous)>,
        options: &JournalOptions,
    ) -> Result<Self, JournalError> {
        let (sender, commands) = mpsc::unbounded_channel();
        let writer = JournalWriter::new(Arc::clone(&shared), last);
        let thread = std::thread::Builder::new().name(WRITER_THREAD.to_owned());
        let thread = thread
            .spawn(move || writer.run(commands))
            .map_err(|error| JournalError::io("start the writer of", &shared.directory, error))?;
        let queue = Queue::new(sender, options.queue_bytes_max);
        let garbage_bytes_min = options.compaction_garbage_bytes_min;
        let roller = queue.roller();
        Ok(Self {
            compactor: Compactor { shared: Arc::clone(&shared), roller, garbage_bytes_min },
            compaction_bytes_per_second: options.compaction_bytes_per_second,
            compaction_thread: Mutex::new(None),
            shared,
            queue,
            writer: Mutex::new(Some(thread)),
        })
    }

    /// Appends entries; they are durable when the future is ready, all of them or, after an error or a
    /// crash, perhaps some: they may be spread over frames. It waits while the queue is full, and needs no particular executor. Dropping the
    /// future leaves it open whether the entries are written.
    ///
    /// Hold the receipt until lookups see the entries.
    pub fn append(
        &self,
        entries: Vec<JournalEntry>,
    ) -> impl Future<Output = Result<Receipt, JournalError>> + Send + 'static {
        self.queue.append(entries, Wholeness::AnyFrames)
    }

    /// Appends entries as [`Journal::append`] does, but all of them or none, whatever happens: they
    /// stand in one frame, which is either whole or cut.
    ///
    /// The future also fails with [`JournalError::NotWhole`] if they take more than 8 MiB.
    pub fn append_whole(
        &self,
        entries: Vec<JournalEntry>,
    ) -> impl Future<Output = Result<Receipt, JournalError>> + Send + 'static {
        self.queue.append(entries, Wholeness::OneFrame)
    }

    /// Starts the thread that compacts in the background; later calls change nothing. `is_held` tells
    /// by serial and multihash whether a group still has a key, or another superseded it, and
    /// `is_needed` by stamp whether a change may still count: the index must hold everything that
    /// was replayed by now. A group counts until its end is durable, as [`IsHeld`] says.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`] if the thread cannot be started.
    pub(crate) fn start_compaction(
        &self,
        is_held: Box<IsHeld>,
        is_needed: Box<IsNeeded>,
    ) -> Result<(), JournalError> {
        let mut thread = self.compaction_thread.lock();
        if thread.is_none() {
            let stop = Stop::default();
            let bytes_per_second = self.compaction_bytes_per_second;
            let compactor = self.compactor.clone();
            let started = compactor.spawn((is_held, is_needed), stop.clone(), bytes_per_second)?;
            *thread = Some((started, stop));
        }
        Ok(())
    }

    /// Does one step of compaction here and now, without regard to pace; returns whether there was one
    /// to do. The newest changes all count as needed.
    ///
    /// # Errors
    ///
    /// Why it failed; what counts is as before.
    pub fn compact_once(&self, is_held: &IsHeld) -> Result<bool, JournalError> {
        self.compact_once_with(Uses { is_held, is_needed: &|_| true })
    }

    fn compact_once_with(&self, uses: Uses<'_>) -> Result<bool, JournalError> {
        self.compactor.step(uses, &mut Pace::unlimited())
    }

    /// A snapshot of the journal, readable while it is appended to.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut ledger = self.shared.ledger.lock();
        ledger.expire(self.shared.clock.now_ms());
        Snapshot::new(&ledger)
    }

    /// The thread behind the journal that has died, if one has: without the writer nothing is appended,
    /// without the compaction nothing that ended is freed.
    pub(crate) fn dead_thread(&self) -> Option<&'static str> {
        if !self.queue.is_open() {
            return Some(WRITER_THREAD);
        }
        let compaction = self.compaction_thread.lock();
        let is_dead = compaction.as_ref().is_some_and(|(thread, _)| thread.is_finished());
        is_dead.then_some(COMPACTION_THREAD)
    }

    /// Why the last write failed; `None` once one succeeds.
    pub(crate) fn write_error(&self) -> Option<JournalError> {
        self.shared.write_error.lock().clone()
    }

    /// Whether strangers may write so much that the disk gets fuller.
    ///
    /// # Errors
    ///
    /// [`JournalError::Reserved`].
    pub(crate) fn check_reserve(&self, write: StrangersWrite) -> Result<(), JournalError> {
        self.shared.check_reserve(write)
    }

    /// The figures now.
    pub fn stats(&self) -> JournalStats {
        let totals = {
            let mut ledger = self.shared.ledger.lock();
            ledger.expire(self.shared.clock.now_ms());
            ledger.totals()
        };
        let counters = &self.shared.counters;
        JournalStats {
            bytes: totals.bytes,
            garbage_bytes: totals.garbage,
            disk_free_bytes: self.shared.disk_room().map(|room| room.free_bytes),
            segments: totals.segments,
            groups: totals.groups,
            entries: totals.keys,
            syncs: counters.syncs.load(Ordering::Relaxed),
            bytes_appended: counters.bytes_appended.load(Ordering::Relaxed),
            bytes_compacted: counters.bytes_compacted.load(Ordering::Relaxed),
            compactions: counters.compactions.load(Ordering::Relaxed),
            write_error: self.shared.write_error.lock().clone(),
            compaction_error: self.shared.compaction_error.lock().clone(),
            is_running: self.dead_thread().is_none(),
        }
    }

    /// Writes what waits and seals the journal.
    ///
    /// # Errors
    ///
    /// What kept the journal from being sealed; nothing that was acknowledged is lost.
    pub fn close(self) -> Result<(), JournalError> {
        self.stop();
        let error = self.shared.write_error.lock().take();
        error.map_or(Ok(()), Err)
    }

    fn stop(&self) {
        if let Some((thread, stop)) = self.compaction_thread.lock().take() {
            stop.raise();
            // A dead thread needs no waiting.
            let _ = thread.join();
        }
        let Some(writer) = self.writer.lock().take() else { return };
        // A dead writer has nothing to close.
        let _ = self.queue.send(WriterCommand::Close);
        let _ = writer.join();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.stop();
    }
}

impl JournalShared {
    fn record_write(&self, error: Option<JournalError>) {
        *self.write_error.lock() = error;
    }

    fn record_compaction(&self, error: Option<JournalError>) {
        let mut known = self.compaction_error.lock();
        match (&*known, &error) {
            (None, Some(error)) => {
                let error: &dyn std::error::Error = error;
                tracing::warn!(
                    error,
                    "the journal cannot be compacted; what is garbage stays on the disk"
                );
            }
            (Some(_), None) => tracing::info!("the journal is compacted again"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        *known = error;
    }
}
