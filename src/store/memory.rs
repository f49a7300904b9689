//! The store in this process's memory: an [`Index`], a clock, and the schema of answers.
//!
//! Nothing here waits: every future is ready when it is first polled, and only taking
//! announcements in can fail. What is stored is gone when the process ends.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use parking_lot::Mutex;

use super::update::Plan;
use super::{
    Announcement, Applied, Changed, ContextId, ExportStream, ProviderUpdate, Removed, Store,
    StoreError, StoreStats, Swept,
};
use crate::clock::Clock;
use crate::index::{GroupSpec, Index, IndexError};
use crate::types::{AnswerSchema, Found, Origin, PeerId, ProviderRecord, Question, ReadyRecord};

/// A store in this process's memory.
#[derive(Debug)]
pub struct MemoryStore {
    index: Index,
    clock: Clock,
    schema: AnswerSchema,
    /// Held while addresses or records change.
    changing: Mutex<()>,
}

impl MemoryStore {
    /// An empty store, which tells the time by `clock` and renders records in `schema`.
    pub fn new(clock: Clock, schema: AnswerSchema) -> Self {
        Self { index: Index::new(), clock, schema, changing: Mutex::new(()) }
    }

    fn apply_one(&self, announcement: Announcement) -> Result<Applied, StoreError> {
        let Announcement { keys, record, context, expires_at_ms } = announcement;
        let record = Arc::new(ReadyRecord::new(record, self.schema));
        let (context, origin) = (context.as_bytes().into(), Origin::OPERATOR);
        let spec = GroupSpec { record, context, expires_at_ms, origin };
        let announced = self.index.announce(&keys, &spec, self.clock.now_ms())?;
        Ok(Applied { entries_added: announced.added, entries_refreshed: announced.refreshed })
    }
}

impl Store for MemoryStore {
    fn find<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Found, StoreError>> {
        std::future::ready(Ok(self.index.answer(question, self.clock.now_ms()))).boxed()
    }

    fn apply(
        &self,
        announcements: Vec<Announcement>,
    ) -> BoxFuture<'_, Result<Applied, StoreError>> {
        async move {
            let mut applied = Applied::default();
            for announcement in announcements {
                let one = self.apply_one(announcement)?;
                applied.entries_added += one.entries_added;
                applied.entries_refreshed += one.entries_refreshed;
            }
            Ok(applied)
        }
        .boxed()
    }

    fn update(&self, updates: Vec<ProviderUpdate>) -> BoxFuture<'_, Result<Applied, StoreError>> {
        async move {
            let _one_at_a_time = self.changing.lock();
            let now_ms = self.clock.now_ms();
            let plan = Plan::draw(&self.index, self.schema, updates, now_ms)?;
            Ok(plan.settle(&self.index, now_ms)?)
        }
        .boxed()
    }

    fn set_record<'a>(
        &'a self,
        context: &'a ContextId,
        record: ProviderRecord,
    ) -> BoxFuture<'a, Result<Changed, StoreError>> {
        async move {
            let _one_at_a_time = self.changing.lock();
            let record = Arc::new(ReadyRecord::new(record, self.schema));
            let context: Arc<[u8]> = context.as_bytes().into();
            let now_ms = self.clock.now_ms();
            if !self.index.would_change(&context, &record, now_ms) {
                return Ok(Changed::default());
            }
            let stamp = self.index.stamp();
            let groups = self.index.set_record(&context, stamp, &record, now_ms);
            Ok(Changed { groups })
        }
        .boxed()
    }

    fn remove<'a>(
        &'a self,
        provider: &'a PeerId,
        context: Option<&'a ContextId>,
    ) -> BoxFuture<'a, Result<Removed, StoreError>> {
        async move {
            let context = context.map(ContextId::as_bytes);
            let ended = self.index.remove(provider, context, self.clock.now_ms());
            Ok(Removed { groups: ended.len() as u64 })
        }
        .boxed()
    }

    fn sweep(&self) -> BoxFuture<'_, Result<Swept, StoreError>> {
        async move {
            let freed = self.index.sweep(self.clock.now_ms());
            // They are for a journal, which this store has not.
            drop(self.index.take_ended());
            Ok(Swept { entries: freed.entries, groups: freed.groups })
        }
        .boxed()
    }

    fn stats(&self) -> BoxFuture<'_, Result<StoreStats, StoreError>> {
        async move {
            let stats = self.index.stats();
            Ok(StoreStats {
                entries: stats.entries,
                keys: stats.keys,
                groups: stats.groups,
                providers: 0,
                bytes: stats.bytes,
                journal: None,
            })
        }
        .boxed()
    }

    fn export(&self) -> ExportStream {
        let reason = "this store keeps no keys, only fingerprints of them".to_owned();
        stream::iter([Err(StoreError::Unavailable { reason })]).boxed()
    }
}

impl From<IndexError> for StoreError {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Full { what } => Self::Full { what },
        }
    }
}
