//! The store that survives: an [`Index`] in memory, and a [`Journal`] that it is read from again.
//!
//! Taking updates in (`changes`): groups are interned, what is new is written to the journal, and only
//! when the journal has it on disk do the keys point at their groups and is the caller told. So
//! what was acknowledged is there after `kill -9` and after power loss, and what is served has been
//! acknowledged or is about to be. What has a statement of a provider is taken in whole, in one frame.
//!
//! Removing: the groups end in the index first, then in the journal, and the caller is told when
//! the disk has it. If the disk refuses, the removal holds until a restart and is written as soon
//! as the disk takes writes again ([`DurableStore::sweep`] tries every time). Until it is written,
//! compaction keeps everything that a restart would bring back (`ends`).
//!
//! Evicting is removing that the index decides on: the ends are written by the next write, which a sweep
//! is. What a restart finds is evicted before its keys are read, if it would take more memory than the
//! limit, and its end is written then.
//!
//! Failure: a journal that takes no writes makes `update` and `remove` fail, and nothing else.
//! Lookups never touch the disk.

mod changes;
mod ends;
mod export;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use thiserror::Error;

use super::{
    Applied, Changed, ContextId, ExportStream, Health, JournalFigures, ProviderChange, Removed,
    Store, StoreError, StoreStats, Swept, Update,
};
use crate::clock::{Clock, Stopwatch, UnixMs};
use crate::data_dir::DataDir;
use crate::detached::{Unfinished, detached, run_blocking};
use crate::index::{GroupSpec, Index, IndexError, IndexLimits};
use crate::invariant;
use crate::journal::{
    Journal, JournalEntry, JournalError, JournalOptions, JournalStats, Opened, Receipt,
    RecoveryReport,
};
use crate::types::{
    AnswerSchema, Found, Limit, PeerId, ProviderRecord, Question, ReadyRecord, RecordError,
};
use changes::ProviderLocks;
use ends::UnwrittenEnds;

/// How a durable store is opened.
#[derive(Clone, Debug)]
pub struct DurableOptions {
    /// The data directory.
    pub data_dir: DataDir,
    /// What time it is, for compaction, and for when something shows that had to wait for the disk.
    pub clock: Clock,
    /// The schema that records are served in.
    pub schema: AnswerSchema,
    /// Threads that read the journal when the store is opened.
    pub threads: usize,
    /// The size at which a segment of the journal is closed and a new one begun, in bytes.
    pub segment_bytes: u64,
    /// Free bytes of the disk below which strangers announce nothing new; 0: a sixteenth of the disk, 1
    /// GiB at most.
    pub disk_reserve_bytes: u64,
    /// What the index takes at most.
    pub limits: IndexLimits,
}

/// A store in memory with a journal on disk.
pub struct DurableStore {
    inner: Arc<DurableInner>,
}

struct DurableInner {
    index: Arc<Index>,
    journal: Journal,
    clock: Clock,
    schema: AnswerSchema,
    /// Groups that ended and whose end the journal does not have yet.
    unwritten_ends: Arc<UnwrittenEnds>,
    locks: ProviderLocks,
}

/// What opening a store found.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// (key, group) pairs.
    pub entries: u64,
    /// Groups.
    pub(crate) groups: u64,
    /// Groups of strangers that were evicted, because the journal holds more than the index may.
    pub(crate) evicted_groups: u64,
    /// How long reading the journal took.
    pub duration: Duration,
    /// What the journal says of itself.
    pub(crate) journal: RecoveryReport,
}

/// Why a store cannot be opened.
#[derive(Debug, Error)]
pub enum StoreOpenError {
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal holds a record that this version cannot read.
    #[error("the journal holds a record that cannot be read (group or change {serial})")]
    Record {
        /// The serial of the group, or the stamp of the change.
        serial: u64,
        /// What is wrong with it.
        source: RecordError,
    },
    /// The index has no room for what the journal holds.
    #[error("the index has no room for what the journal holds")]
    Full(#[source] IndexError),
}

impl DurableStore {
    /// Reads the journal of a data directory, and starts its compaction.
    pub fn open(options: DurableOptions) -> Result<(Self, Recovery), StoreOpenError> {
        let DurableOptions { data_dir, clock, schema, threads, limits, .. } = options;
        let stopwatch = Stopwatch::start();
        let mut journal_options = JournalOptions::new(data_dir);
        journal_options.segment_bytes = options.segment_bytes;
        journal_options.disk_reserve_bytes = options.disk_reserve_bytes;
        journal_options.clock = clock.clone();
        journal_options.threads = threads;
        let opened = Journal::open(journal_options)?;
        let (index, evicted_groups) = restore(&opened, schema, threads, limits, clock.now_ms())?;
        let index = Arc::new(index);
        let report = opened.report.clone();
        let journal = opened.journal;
        let stats = index.stats();
        let unwritten_ends = Arc::new(UnwrittenEnds::default());
        let is_held = ends::is_held(index.clone(), clock.clone());
        let is_needed = ends::is_needed(index.clone(), unwritten_ends.clone());
        journal.start_compaction(Box::new(is_held), Box::new(is_needed))?;
        let locks = ProviderLocks::new();
        let inner = Arc::new(DurableInner { index, journal, clock, schema, unwritten_ends, locks });
        let recovery = Recovery {
            entries: stats.entries,
            groups: stats.groups,
            evicted_groups,
            duration: stopwatch.elapsed(),
            journal: report,
        };
        Ok((Self { inner }, recovery))
    }

    /// The journal's figures.
    pub fn journal_stats(&self) -> JournalStats {
        self.inner.journal.stats()
    }
}

impl DurableInner {
    /// The time now that something is about to show; it may have waited for the disk.
    fn later_than(&self, now_ms: UnixMs) -> UnixMs {
        self.clock.now_ms().max(now_ms)
    }

    /// Writes entries, and the ends of groups that the journal does not know to have ended.
    ///
    /// An end stays among the unwritten ones until some write of it has succeeded. So whoever ended
    /// a group is told only when the journal has it, also if another task writes it meanwhile; at
    /// worst an end is written twice.
    async fn write(&self, mut entries: Vec<JournalEntry>) -> Result<Option<Receipt>, StoreError> {
        let ends = self.unwritten_ends.collect(&self.index);
        entries.extend(ends.iter().map(|serial| JournalEntry::End { serial: *serial }));
        if entries.is_empty() {
            return Ok(None);
        }
        let receipt = self.journal.append(entries).await?;
        self.unwritten_ends.forget(&ends);
        Ok(Some(receipt))
    }

    fn stats(&self) -> StoreStats {
        let journal = self.journal.stats();
        let figures = JournalFigures {
            bytes: journal.bytes,
            garbage_bytes: journal.garbage_bytes,
            disk_free_bytes: journal.disk_free_bytes,
            segments: journal.segments as u64,
            is_compaction_failing: journal.compaction_error.is_some(),
        };
        StoreStats { journal: Some(figures), ..StoreStats::of(&self.index) }
    }
}

impl Store for DurableStore {
    fn find<'a>(
        &'a self,
        question: &'a Question,
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<Found, StoreError>> {
        std::future::ready(Ok(self.inner.index.answer(question, now_ms))).boxed()
    }

    fn update(
        &self,
        updates: Vec<Update>,
        now_ms: UnixMs,
    ) -> BoxFuture<'_, Result<Applied, StoreError>> {
        let work = self.inner.clone().update(updates, now_ms);
        async move { detached(work).await? }.boxed()
    }

    fn set_record<'a>(
        &'a self,
        context: &'a ContextId,
        record: ProviderRecord,
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<Changed, StoreError>> {
        let work = self.inner.clone().set_record(context.clone(), record, now_ms);
        async move { detached(work).await? }.boxed()
    }

    fn change_provider<'a>(
        &'a self,
        provider: &'a PeerId,
        change: ProviderChange,
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let work = self.inner.clone().change_provider(provider.clone(), change, now_ms);
        async move { detached(work).await? }.boxed()
    }

    fn remove<'a>(
        &'a self,
        provider: &'a PeerId,
        context: Option<&'a ContextId>,
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<Removed, StoreError>> {
        async move {
            let (inner, provider, context) =
                (self.inner.clone(), provider.clone(), context.cloned());
            let remove = move || {
                let context = context.as_ref().map(ContextId::as_bytes);
                inner.index.remove(&provider, context, now_ms)
            };
            let ended = run_blocking(remove).await?;
            // The ended groups are among those that the index reports to `write`.
            self.inner.write(Vec::new()).await?;
            Ok(Removed { groups: ended.len() as u64 })
        }
        .boxed()
    }

    fn sweep(&self, now_ms: UnixMs) -> BoxFuture<'_, Result<Swept, StoreError>> {
        async move {
            let freed = self.inner.index.sweep(now_ms);
            self.inner.write(Vec::new()).await?;
            Ok(Swept::of(freed))
        }
        .boxed()
    }

    fn stats(&self) -> BoxFuture<'_, Result<StoreStats, StoreError>> {
        async move { Ok(self.inner.stats()) }.boxed()
    }

    fn health(&self) -> Health {
        let journal = &self.inner.journal;
        match (journal.dead_thread(), journal.write_error()) {
            (Some(name), _) => Health::without_thread(name),
            (None, Some(error)) => Health::unwritable(error.to_string()),
            (None, None) => Health::good(),
        }
    }

    fn export(&self, now_ms: UnixMs) -> ExportStream {
        export::stream(self.inner.clone(), now_ms)
    }
}

impl From<Unfinished> for StoreError {
    fn from(unfinished: Unfinished) -> Self {
        Self::Unavailable { reason: unfinished.to_string() }
    }
}

impl From<JournalError> for StoreError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::NoSpace { .. } => {
                Self::NoSpace { source: io::Error::new(io::ErrorKind::StorageFull, error) }
            }
            JournalError::Reserved { .. } => Self::Full { limit: Limit::JournalDisk },
            JournalError::Io { .. } | JournalError::Corrupt { .. } => {
                Self::Io { source: io::Error::other(error) }
            }
            JournalError::Version { .. }
            | JournalError::TooLarge { .. }
            | JournalError::NotWhole { .. }
            | JournalError::Option { .. }
            | JournalError::Closed => Self::Unavailable { reason: error.to_string() },
        }
    }
}

/// Builds the index that a journal describes. Says how many groups were evicted.
fn restore(
    opened: &Opened,
    schema: AnswerSchema,
    threads: usize,
    limits: IndexLimits,
    now_ms: UnixMs,
) -> Result<(Index, u64), StoreOpenError> {
    let index = Index::with_limits(limits);
    index.reserve_serials(opened.next_serial());
    let restore = index.restore(now_ms);
    let mut groups = HashMap::with_capacity(opened.groups.len());
    for definition in &opened.groups {
        let serial = definition.serial;
        let record = ProviderRecord::restore(&definition.record_json)
            .map_err(|source| StoreOpenError::Record { serial, source })?;
        let spec = GroupSpec {
            record: Arc::new(ReadyRecord::new(record, schema)),
            context: (*definition.context).into(),
            expires_at_ms: definition.expires_at_ms,
            origin: definition.origin,
        };
        let group = restore.group(&spec, serial, definition.since_ms);
        groups.insert(serial, group.map_err(StoreOpenError::Full)?);
    }
    let evicted = restore.make_room(|serial| opened.keys_of(serial));
    changes::restore_changes(&opened.changes, &restore, schema)?;
    let full = Mutex::new(None);
    opened.replay(threads, |serial, keys| {
        let group = groups.get(&serial);
        let Some(group) = invariant::present(group, "keys that live have a group that lives")
        else {
            return;
        };
        if group.has_ended() {
            return;
        }
        if let Err(error) = restore.keys(group, keys.iter()) {
            full.lock().get_or_insert(error);
        }
    })?;
    if let Some(error) = full.into_inner() {
        return Err(StoreOpenError::Full(error));
    }
    restore.finish().map_err(StoreOpenError::Full)?;
    Ok((index, evicted))
}
