//! Reading everything out again: keys from the journal, as far as the index still holds them.
//!
//! The snapshot is of one moment, in which no keys are between journal and index; a thread of its own
//! reads it, and waits when nobody takes what it has read. What is superseded meanwhile is noted by
//! the index (`ReplacedWatch`) and comes as it was; what is removed meanwhile may be left out.

use std::ops::ControlFlow;
use std::sync::Arc;

use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::Inner;
use super::changes::with_changes;
use crate::clock::UnixMs;
use crate::index::ReplacedWatch;
use crate::journal::{GroupDefinition, KeyBlock, Snapshot};
use crate::store::{ContextId, ExportStream, Exported, StoreError};
use crate::types::ContentKey;

/// Entries handed on at a time.
const BATCH_ENTRIES: usize = 4096;

/// Batches that wait for whoever takes them.
const BATCHES_WAITING_MAX: usize = 4;

type Batch = Result<Vec<Exported>, StoreError>;

pub(super) fn stream(inner: Arc<Inner>, now_ms: UnixMs) -> ExportStream {
    let (sender, receiver) = mpsc::channel(BATCHES_WAITING_MAX);
    let at_once = inner.placing.try_write().ok().map(|_alone| Moment::now(&inner));
    tokio::task::spawn_blocking(move || {
        let Moment { snapshot, replaced } = at_once.unwrap_or_else(|| {
            let _alone = inner.placing.blocking_write();
            Moment::now(&inner)
        });
        let mut reader = Reader { inner, now_ms, replaced, sender, batch: Vec::new() };
        if let Err(Stopped::Failed(error)) = reader.read(snapshot) {
            // Whoever took the entries may be gone.
            let _ = reader.sender.blocking_send(Err(error));
        }
    });
    futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|batch| (batch, receiver))
    })
    .fuse()
    .boxed()
}

/// What is read. Made while no keys are between the journal and the index.
struct Moment {
    snapshot: Snapshot,
    replaced: ReplacedWatch,
}

struct Reader {
    inner: Arc<Inner>,
    now_ms: UnixMs,
    replaced: ReplacedWatch,
    sender: mpsc::Sender<Batch>,
    batch: Vec<Exported>,
}

/// Why reading ended early.
enum Stopped {
    /// Nobody takes the entries any more.
    Abandoned,
    Failed(StoreError),
}

impl Moment {
    fn now(inner: &Inner) -> Self {
        Self { replaced: inner.index.watch_replaced(), snapshot: inner.journal.snapshot() }
    }
}

impl Reader {
    fn read(&mut self, snapshot: Snapshot) -> Result<(), Stopped> {
        let mut stopped = Ok(());
        let mut latest: Option<(u64, Arc<str>)> = None;
        let read = snapshot.visit(|group, keys| {
            let known = latest.take().filter(|(serial, _)| *serial == group.serial);
            let record = known.map_or_else(|| record_of(&snapshot, group), |(_, it)| Ok(it));
            stopped = record.map_err(Stopped::Failed).and_then(|record_json| {
                latest = Some((group.serial, record_json.clone()));
                self.add(group, &record_json, keys)
            });
            if stopped.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        read.map_err(|error| Stopped::Failed(error.into()))?;
        stopped?;
        if self.replaced.has_missed() {
            let reason =
                "more was announced anew while everything was read out than can be noted; \
                          try again when less is announced"
                    .to_owned();
            return Err(Stopped::Failed(StoreError::Unavailable { reason }));
        }
        self.send()
    }

    fn add(
        &mut self,
        group: &GroupDefinition,
        record_json: &Arc<str>,
        keys: KeyBlock<'_>,
    ) -> Result<(), Stopped> {
        let context = ContextId::new(&group.context).unwrap_or_default();
        let now_ms = self.now_ms;
        for multihash in keys.iter() {
            let index = &self.inner.index;
            // In this order: what is no longer held has been noted before.
            if !index.holds(multihash, group.serial, now_ms)
                && !index.was_replaced(&self.replaced, multihash, group.serial)
            {
                continue;
            }
            let Ok(key) = ContentKey::from_multihash(multihash) else { continue };
            self.batch.push(Exported {
                key,
                record_json: record_json.clone(),
                context: context.clone(),
                expires_at_ms: group.expires_at_ms,
            });
            if self.batch.len() == BATCH_ENTRIES {
                self.send()?;
            }
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), Stopped> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        self.sender.blocking_send(Ok(batch)).map_err(|_| Stopped::Abandoned)
    }
}

/// The record that a group had when the snapshot was taken.
fn record_of(snapshot: &Snapshot, group: &GroupDefinition) -> Result<Arc<str>, StoreError> {
    let addrs_of = |provider: &str| Ok(snapshot.addrs_of(provider)?);
    let record_of = |provider: &str, context: &[u8]| Ok(snapshot.record_of(provider, context)?);
    with_changes(group, addrs_of, record_of)
}
