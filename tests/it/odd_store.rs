//! A store for tests: one in memory that can be held, made to fail, told what to export, and that has no
//! transactions if that is wanted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fingerpost::store::{
    Applied, Changed, ContextId, ExportStream, Exported, Health, IndexLimits, MemoryStore,
    ProviderChange, Removed, Store, StoreError, StoreStats, Swept, Update,
};
use fingerpost::types::{AnswerSchema, Found, Limit, PeerId, ProviderRecord, Question};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::Semaphore;

pub(crate) struct OddStore {
    memory: MemoryStore,
    /// One permit lets one batch in.
    pub(crate) batches: Semaphore,
    failure: fn() -> StoreError,
    fails_after: usize,
    asked: AtomicUsize,
    applied: AtomicUsize,
    exported: Vec<Vec<Exported>>,
    export_fails: bool,
    is_piecemeal: bool,
}

impl OddStore {
    /// Takes everything.
    pub(crate) fn new() -> Self {
        Self {
            memory: MemoryStore::new(AnswerSchema::Announced),
            batches: Semaphore::new(Semaphore::MAX_PERMITS),
            failure: || StoreError::Full { limit: Limit::IndexMemory },
            fails_after: usize::MAX,
            asked: AtomicUsize::new(0),
            applied: AtomicUsize::new(0),
            exported: Vec::new(),
            export_fails: false,
            is_piecemeal: false,
        }
    }

    /// Takes nothing until permits are added to `batches`.
    pub(crate) fn held() -> Self {
        Self { batches: Semaphore::new(0), ..Self::new() }
    }

    /// Fails once it has taken so many batches.
    pub(crate) fn failing(fails_after: usize, failure: fn() -> StoreError) -> Self {
        Self { fails_after, failure, ..Self::new() }
    }

    /// Exports these batches, and fails after them if told so.
    pub(crate) fn exporting(exported: Vec<Vec<Exported>>, export_fails: bool) -> Self {
        Self { exported, export_fails, ..Self::new() }
    }

    /// Takes one announcement in after the other, and stays with what it has when one is refused, as a
    /// database without transactions does.
    pub(crate) fn piecemeal(limits: IndexLimits) -> Self {
        let memory = MemoryStore::with_limits(AnswerSchema::Announced, limits);
        Self { memory, is_piecemeal: true, ..Self::new() }
    }

    /// Each announcement as an update of its own.
    async fn update_piecemeal(
        &self,
        updates: Vec<Update>,
        now_ms: u64,
    ) -> Result<Applied, StoreError> {
        let mut sum = Applied { taken_in: 0, added: Some(0) };
        for Update { statement, origin, announcements } in updates {
            let alone =
                |announcements| Update { statement: statement.clone(), origin, announcements };
            let pieces: Vec<_> = match announcements.is_empty() {
                true => vec![alone(Vec::new())],
                false => announcements.into_iter().map(|it| alone(vec![it])).collect(),
            };
            for piece in pieces {
                let applied = self.memory.update(vec![piece], now_ms).await?;
                sum.taken_in += applied.taken_in;
                sum.added = sum.added.zip(applied.added).map(|(sum, added)| sum + added);
            }
        }
        Ok(sum)
    }

    /// How many batches it was given, those that it holds up included.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }
}

impl Store for OddStore {
    fn find<'a>(
        &'a self,
        question: &'a Question,
        now_ms: u64,
    ) -> BoxFuture<'a, Result<Found, StoreError>> {
        self.memory.find(question, now_ms)
    }

    fn update(
        &self,
        updates: Vec<Update>,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<Applied, StoreError>> {
        async move {
            self.asked.fetch_add(1, Ordering::Relaxed);
            self.batches.acquire().await.expect("it is never closed").forget();
            if self.applied.fetch_add(1, Ordering::Relaxed) >= self.fails_after {
                return Err((self.failure)());
            }
            if self.is_piecemeal {
                return self.update_piecemeal(updates, now_ms).await;
            }
            self.memory.update(updates, now_ms).await
        }
        .boxed()
    }

    fn set_record<'a>(
        &'a self,
        context: &'a ContextId,
        record: ProviderRecord,
        now_ms: u64,
    ) -> BoxFuture<'a, Result<Changed, StoreError>> {
        self.memory.set_record(context, record, now_ms)
    }

    fn change_provider<'a>(
        &'a self,
        provider: &'a PeerId,
        change: ProviderChange,
        now_ms: u64,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.memory.change_provider(provider, change, now_ms)
    }

    fn remove<'a>(
        &'a self,
        provider: &'a PeerId,
        context: Option<&'a ContextId>,
        now_ms: u64,
    ) -> BoxFuture<'a, Result<Removed, StoreError>> {
        async move {
            let removed = self.memory.remove(provider, context, now_ms).await?;
            if self.applied.load(Ordering::Relaxed) >= self.fails_after {
                return Err((self.failure)());
            }
            Ok(removed)
        }
        .boxed()
    }

    fn sweep(&self, now_ms: u64) -> BoxFuture<'_, Result<Swept, StoreError>> {
        self.memory.sweep(now_ms)
    }

    fn stats(&self) -> BoxFuture<'_, Result<StoreStats, StoreError>> {
        self.memory.stats()
    }

    fn health(&self) -> Health {
        self.memory.health()
    }

    fn export(&self, _: u64) -> ExportStream {
        let batches = self.exported.clone().into_iter().map(Ok);
        let failure = || Err(StoreError::Io { source: std::io::Error::other("secret path") });
        stream::iter(batches.chain(self.export_fails.then(failure))).boxed()
    }
}
