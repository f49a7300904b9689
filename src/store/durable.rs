//! The store that survives: an [`Index`] in memory, and a [`Journal`] that it is read from again.
//!
//! Taking announcements in: groups are interned, what is new is written to the journal, and only
//! when the journal has it on disk do the keys point at their groups and is the caller told. So
//! what was acknowledged is there after `kill -9` and after power loss, and what is served has been
//! acknowledged or is about to be.
//!
//! Statements of providers are taken in likewise, in one frame (`changes`).
//!
//! Removing: the groups end in the index first, then in the journal, and the caller is told when
//! the disk has it. If the disk refuses, the removal holds until a restart and is written as soon
//! as the disk takes writes again ([`DurableStore::sweep`] tries every time). Until it is written,
//! compaction keeps everything that a restart would bring back (`ends`).
//!
//! Failure: a journal that takes no writes makes `apply` and `remove` fail, and nothing else.
//! Lookups never touch the disk.

mod changes;
mod ends;
mod export;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use thiserror::Error;

use super::{
    Announcement, Applied, Changed, ContextId, ExportStream, JournalFigures, NamesOpenError,
    ProviderUpdate, Removed, Store, StoreError, StoreStats, Swept,
};
use crate::clock::{Clock, Stopwatch, UnixMs};
use crate::detached::{Unfinished, detached, run_blocking};
use crate::index::{GroupSpec, Index, IndexError, IndexLimits, Interned};
use crate::journal::{
    GroupDefinition, Journal, JournalEntry, JournalError, JournalOptions, JournalStats, Opened,
    Receipt, RecoveryReport,
};
use crate::state::StateOpenError;
use crate::types::{
    AnswerSchema, ContentKey, Found, Origin, PeerId, ProviderRecord, Question, ReadyRecord,
    RecordError, UnparsableAddrs,
};
use changes::ProviderLocks;
use ends::UnwrittenEnds;

/// How a durable store is opened.
#[derive(Clone, Debug)]
pub struct DurableOptions {
    /// The data directory. Made if it is not there.
    pub directory: PathBuf,
    /// What time it is.
    pub clock: Clock,
    /// The schema that records are served in.
    pub schema: AnswerSchema,
    /// Threads that read the journal when the store is opened.
    pub threads: usize,
    /// The size at which a segment of the journal is closed and a new one begun, in bytes.
    pub segment_bytes: u64,
    /// What the index takes at most.
    pub limits: IndexLimits,
}

/// A store in memory with a journal on disk.
pub struct DurableStore {
    inner: Arc<Inner>,
}

struct Inner {
    index: Arc<Index>,
    journal: Journal,
    clock: Clock,
    schema: AnswerSchema,
    /// Groups that ended and whose end the journal does not have yet.
    unwritten_ends: Arc<UnwrittenEnds>,
    /// Shared by those who write keys and then place them: alone, one sees index and journal agree.
    placing: tokio::sync::RwLock<()>,
    locks: ProviderLocks,
}

/// What opening a store found.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// (key, group) pairs.
    pub entries: u64,
    /// Groups.
    pub groups: u64,
    /// How long reading the journal took.
    pub duration: Duration,
    /// What the journal says of itself.
    pub journal: RecoveryReport,
}

/// Why a store cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
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
    /// The IPNS records cannot be opened.
    #[error(transparent)]
    Names(#[from] NamesOpenError),
    /// The control plane's state cannot be opened.
    #[error(transparent)]
    State(#[from] StateOpenError),
}

/// Keys that are to point at a group as soon as the journal has them.
struct Placement {
    group: Interned,
    keys: Vec<ContentKey>,
}

impl DurableStore {
    /// Opens a data directory: takes its lock, reads its journal, and starts the compaction.
    pub fn open(options: DurableOptions) -> Result<(Self, Recovery), OpenError> {
        let DurableOptions { directory, clock, schema, threads, segment_bytes, limits } = options;
        let stopwatch = Stopwatch::start();
        let mut journal_options = JournalOptions::new(directory);
        journal_options.segment_bytes = segment_bytes;
        journal_options.clock = clock.clone();
        journal_options.threads = threads;
        let opened = Journal::open(journal_options)?;
        let index = Arc::new(restore(&opened, schema, threads, limits, clock.now_ms())?);
        let report = opened.report.clone();
        let journal = opened.journal;
        let stats = index.stats();
        let unwritten_ends = Arc::new(UnwrittenEnds::default());
        let is_held = ends::is_held(index.clone(), clock.clone());
        let is_needed = ends::is_needed(index.clone(), unwritten_ends.clone());
        journal.start_compaction(Box::new(is_held), Box::new(is_needed))?;
        let placing = tokio::sync::RwLock::new(());
        let locks = ProviderLocks::new();
        let inner =
            Arc::new(Inner { index, journal, clock, schema, unwritten_ends, placing, locks });
        let recovery = Recovery {
            entries: stats.entries,
            groups: stats.groups,
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

/// Announcements that are planned, but neither written nor placed.
#[derive(Default)]
struct Pending {
    placements: Vec<Placement>,
    entries: Vec<JournalEntry>,
    /// The newest group of each lineage among the placements.
    lineages: HashMap<Lineage, u64>,
}

/// What makes announcements replace each other: the record but for its addresses, and the context.
type Lineage = ([u8; 16], Arc<[u8]>, bool);

impl Inner {
    async fn apply(&self, announcements: Vec<Announcement>) -> Result<Applied, StoreError> {
        let mut applied = Applied::default();
        let mut pending = Pending::default();
        for announcement in announcements {
            let Announcement { keys, record, context, expires_at_ms } = announcement;
            let now_ms = self.clock.now_ms();
            if keys.is_empty() || expires_at_ms.is_some_and(|expires_at| expires_at <= now_ms) {
                continue;
            }
            let anew = match record.peer() {
                Some(peer) => self.begin_anew(peer).await?,
                None => None,
            };
            let announced_json = record.to_json();
            let record = Arc::new(ReadyRecord::new(record, self.schema));
            let (context, origin) = (context.as_bytes().into(), Origin::OPERATOR);
            let spec = GroupSpec { record, context, expires_at_ms, origin };
            let group = self.index.intern(&spec, now_ms)?;
            if let Some(anew) = anew {
                self.forget(anew);
            }
            if pending.must_be_placed_before(&group) {
                self.settle(std::mem::take(&mut pending), &mut applied).await?;
            }
            let plan = self.index.plan(&group, keys, now_ms);
            applied.entries_refreshed += plan.known;
            pending.add(group, plan.to_link, &announced_json);
            if !plan.superseded.is_empty() {
                let anew = self.index.intern_anew(&spec, now_ms)?;
                pending.add(anew, plan.superseded, &announced_json);
            }
        }
        self.settle(pending, &mut applied).await?;
        Ok(applied)
    }

    /// Writes what is pending, and lets lookups see it.
    async fn settle(&self, pending: Pending, applied: &mut Applied) -> Result<(), StoreError> {
        if pending.placements.is_empty() {
            return Ok(());
        }
        let _placing = self.placing.read().await;
        // Held until lookups see the keys: compaction would take them for superseded before.
        let _receipt = self.write(pending.entries).await?;
        let now_ms = self.clock.now_ms();
        for Placement { group, keys } in &pending.placements {
            let announced = self.index.link_all(group, keys, now_ms)?;
            applied.entries_added += announced.added;
            applied.entries_refreshed += announced.refreshed;
        }
        Ok(())
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
        let index = self.index.stats();
        let journal = self.journal.stats();
        StoreStats {
            entries: index.entries,
            keys: index.keys,
            groups: index.groups,
            providers: index.providers,
            bytes: index.bytes,
            journal: Some(JournalFigures {
                bytes: journal.bytes,
                garbage_bytes: journal.garbage_bytes,
                segments: journal.segments as u64,
                is_failing: journal.write_error.is_some() || !journal.is_running,
            }),
        }
    }
}

impl Pending {
    /// A group that was announced before says nothing new about keys on which a newer one of its
    /// lineage is about to be placed: that one goes first.
    fn must_be_placed_before(&self, group: &Interned) -> bool {
        let newest = self.lineages.get(&group.lineage());
        newest.is_some_and(|newest| *newest > group.serial)
    }

    fn add(&mut self, group: Interned, keys: Vec<ContentKey>, announced_json: &str) {
        if keys.is_empty() {
            return;
        }
        let definition = GroupDefinition {
            serial: group.serial,
            context: (**group.context()).into(),
            record_json: announced_json.into(),
            expires_at_ms: group.expires_at_ms(),
            origin: group.origin(),
            since_ms: group.since_ms(),
        };
        let newest = self.lineages.entry(group.lineage()).or_default();
        *newest = group.serial.max(*newest);
        self.entries.push(JournalEntry::Keys { group: Arc::new(definition), keys: keys.clone() });
        self.placements.push(Placement { group, keys });
    }
}

impl Store for DurableStore {
    fn find<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Found, StoreError>> {
        std::future::ready(Ok(self.inner.index.answer(question, self.inner.clock.now_ms()))).boxed()
    }

    fn apply(
        &self,
        announcements: Vec<Announcement>,
    ) -> BoxFuture<'_, Result<Applied, StoreError>> {
        self.inner.apply(announcements).boxed()
    }

    fn update(&self, updates: Vec<ProviderUpdate>) -> BoxFuture<'_, Result<Applied, StoreError>> {
        let update = self.inner.clone().update(updates);
        async move { detached(update).await? }.boxed()
    }

    fn set_record<'a>(
        &'a self,
        context: &'a ContextId,
        record: ProviderRecord,
    ) -> BoxFuture<'a, Result<Changed, StoreError>> {
        let set = self.inner.clone().set_record(context.clone(), record);
        async move { detached(set).await? }.boxed()
    }

    fn remove<'a>(
        &'a self,
        provider: &'a PeerId,
        context: Option<&'a ContextId>,
    ) -> BoxFuture<'a, Result<Removed, StoreError>> {
        async move {
            let (inner, provider, context) =
                (self.inner.clone(), provider.clone(), context.cloned());
            let remove = move || {
                let context = context.as_ref().map(ContextId::as_bytes);
                inner.index.remove(&provider, context, inner.clock.now_ms())
            };
            let ended = run_blocking(remove).await?;
            // The ended groups are among those that the index reports to `write`.
            self.inner.write(Vec::new()).await?;
            Ok(Removed { groups: ended.len() as u64 })
        }
        .boxed()
    }

    fn sweep(&self) -> BoxFuture<'_, Result<Swept, StoreError>> {
        async move {
            let freed = self.inner.index.sweep(self.inner.clock.now_ms());
            self.inner.write(Vec::new()).await?;
            Ok(Swept { entries: freed.entries, groups: freed.groups })
        }
        .boxed()
    }

    fn stats(&self) -> BoxFuture<'_, Result<StoreStats, StoreError>> {
        std::future::ready(Ok(self.inner.stats())).boxed()
    }

    fn export(&self) -> ExportStream {
        export::stream(self.inner.clone())
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
            JournalError::Io { .. } | JournalError::Corrupt { .. } => {
                Self::Io { source: io::Error::other(error) }
            }
            JournalError::Version { .. }
            | JournalError::Locked { .. }
            | JournalError::TooLarge { .. }
            | JournalError::NotWhole { .. }
            | JournalError::Option { .. }
            | JournalError::Closed => Self::Unavailable { reason: error.to_string() },
        }
    }
}

/// Builds the index that a journal describes.
fn restore(
    opened: &Opened,
    schema: AnswerSchema,
    threads: usize,
    limits: IndexLimits,
    now_ms: UnixMs,
) -> Result<Index, OpenError> {
    let index = Index::with_limits(limits);
    index.reserve_serials(opened.next_serial());
    let restore = index.restore(now_ms);
    restore.reserve(opened.report.keys);
    let mut groups = HashMap::with_capacity(opened.groups.len());
    for definition in &opened.groups {
        let serial = definition.serial;
        let parsed = ProviderRecord::parse(&definition.record_json, UnparsableAddrs::Keep)
            .map_err(|source| OpenError::Record { serial, source })?;
        let spec = GroupSpec {
            record: Arc::new(ReadyRecord::new(parsed.record, schema)),
            context: (*definition.context).into(),
            expires_at_ms: definition.expires_at_ms,
            origin: definition.origin,
        };
        let group = restore.group(&spec, serial, definition.since_ms);
        groups.insert(serial, group.map_err(OpenError::Full)?);
    }
    changes::restore_changes(&opened.changes, &restore, schema)?;
    let full = Mutex::new(None);
    opened.replay(threads, |serial, keys| {
        let Some(group) = groups.get(&serial) else { return };
        if let Err(error) = restore.keys(group, keys.iter()) {
            full.lock().get_or_insert(error);
        }
    })?;
    if let Some(error) = full.into_inner() {
        return Err(OpenError::Full(error));
    }
    restore.finish().map_err(OpenError::Full)?;
    Ok(index)
}
