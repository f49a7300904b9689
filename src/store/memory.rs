//! The store in this process's memory: an [`Index`] and the schema of answers.
//!
//! Nothing here waits: every future is ready when it is first polled, and only taking
//! announcements in can fail. What is stored is gone when the process ends.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use parking_lot::Mutex;

use super::update::{PlanInput, UpdatePlan, make_room};
use super::{
    Applied, Changed, ContextId, ExportStream, Health, ProviderChange, Removed, Store, StoreError,
    StoreStats, Swept, Update,
};
use crate::clock::UnixMs;
use crate::index::{Freed, Index, IndexError, IndexLimits, IndexStats};
use crate::types::{AnswerSchema, Found, PeerId, ProviderRecord, Question, ReadyRecord};

/// A store in this process's memory.
#[derive(Debug)]
pub struct MemoryStore {
    index: Index,
    schema: AnswerSchema,
    /// Held while addresses or records change.
    changing: Mutex<()>,
}

impl MemoryStore {
    /// An empty store, which renders records in `schema`.
    pub fn new(schema: AnswerSchema) -> Self {
        Self::with_limits(schema, IndexLimits::default())
    }

    /// An empty store that takes no more than the limits say.
    pub fn with_limits(schema: AnswerSchema, limits: IndexLimits) -> Self {
        Self { index: Index::with_limits(limits), schema, changing: Mutex::new(()) }
    }
}

impl Store for MemoryStore {
    fn find<'a>(
        &'a self,
        question: &'a Question,
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<Found, StoreError>> {
        std::future::ready(Ok(self.index.answer(question, now_ms))).boxed()
    }

    fn update(
        &self,
        updates: Vec<Update>,
        now_ms: UnixMs,
    ) -> BoxFuture<'_, Result<Applied, StoreError>> {
        async move {
            let _one_at_a_time = self.changing.lock();
            let (index, schema) = (&self.index, self.schema);
            make_room(index, &updates, now_ms);
            let plan =
                UpdatePlan::compute(PlanInput { index, schema, now_ms, anew: &[] }, updates)?;
            Ok(plan.commit(index, now_ms)?)
        }
        .boxed()
    }

    fn set_record<'a>(
        &'a self,
        context: &'a ContextId,
        record: ProviderRecord,
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<Changed, StoreError>> {
        async move {
            let _one_at_a_time = self.changing.lock();
            let record = Arc::new(ReadyRecord::new(record, self.schema));
            let context: Arc<[u8]> = context.as_bytes().into();
            if !self.index.would_change(&context, &record, now_ms) {
                return Ok(Changed::default());
            }
            let stamp = self.index.stamp();
            let groups = self.index.set_record(&context, stamp, &record, now_ms);
            Ok(Changed { groups })
        }
        .boxed()
    }

    fn change_provider<'a>(
        &'a self,
        provider: &'a PeerId,
        change: ProviderChange,
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            let _one_at_a_time = self.changing.lock();
            let stamp = self.index.stamp();
            change.commit(&self.index, (provider, stamp), self.schema, now_ms);
            Ok(())
        }
        .boxed()
    }

    fn remove<'a>(
        &'a self,
        provider: &'a PeerId,
        context: Option<&'a ContextId>,
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<Removed, StoreError>> {
        async move {
            let context = context.map(ContextId::as_bytes);
            let ended = self.index.remove(provider, context, now_ms);
            Ok(Removed { groups: ended.len() as u64 })
        }
        .boxed()
    }

    fn sweep(&self, now_ms: UnixMs) -> BoxFuture<'_, Result<Swept, StoreError>> {
        async move {
            let freed = self.index.sweep(now_ms);
            // They are for a journal, which this store has not.
            drop(self.index.take_ended());
            Ok(Swept::of(freed))
        }
        .boxed()
    }

    fn stats(&self) -> BoxFuture<'_, Result<StoreStats, StoreError>> {
        async move { Ok(StoreStats::of(&self.index)) }.boxed()
    }

    fn health(&self) -> Health {
        Health::good()
    }

    fn export(&self, _now_ms: UnixMs) -> ExportStream {
        let reason = "this store keeps no keys, only fingerprints of them".to_owned();
        stream::iter([Err(StoreError::Unavailable { reason })]).boxed()
    }
}

impl Swept {
    /// What an index freed.
    pub(super) fn of(freed: Freed) -> Self {
        let Freed { entries, groups, evicted, crowded } = freed;
        Self { entries, groups, evicted, crowded }
    }
}

impl StoreStats {
    /// The figures of an index, and no journal.
    pub(super) fn of(index: &Index) -> Self {
        let IndexStats { entries, keys, groups, providers, bytes } = index.stats();
        Self {
            entries: Some(entries),
            keys: Some(keys),
            groups: Some(groups),
            providers: Some(providers),
            bytes: Some(bytes),
            bytes_max: index.bytes_max(),
            stranger_entries: Some(index.stranger_entries()),
            journal: None,
        }
    }
}

impl From<IndexError> for StoreError {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Full { limit } => Self::Full { limit },
        }
    }
}
