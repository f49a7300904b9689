//! Reading everything out again: keys from the journal, what they have from the index.
//!
//! A thread of its own reads a snapshot of the journal, and waits when nobody takes what it has read;
//! writers go on and know nothing of it. A key that lost a group of the snapshot to a newer one comes
//! with the newer one, if the snapshot knows that, else as it was when the snapshot was taken. So each key
//! that has a group of a lineage from the beginning to the end of the reading is there. One that does not
//! change meanwhile comes with what it has, whatever the order of the entries, some twice; one that does
//! may come with an older group too, which comes before a newer one.
//!
//! What is removed or expires meanwhile may be left out, and what is announced meanwhile is.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::DurableInner;
use super::changes::with_changes;
use crate::clock::UnixMs;
use crate::index::LineageRef;
use crate::invariant;
use crate::journal::{GroupDefinition, KeyBlock, Snapshot};
use crate::store::{ContextId, ExportStream, Exported, StoreError};
use crate::types::{AnswerSchema, ContentKey, ProviderRecord, ReadyRecord};

/// Entries handed on at a time.
const BATCH_ENTRIES: usize = 4096;

/// Batches that wait for the reader.
const BATCHES_WAITING_MAX: usize = 4;

/// Groups whose records are kept, so that they are not read for each key.
const GROUPS_KEPT_MAX: usize = 4096;

type ExportBatch = Result<Vec<Exported>, StoreError>;

pub(super) fn stream(inner: Arc<DurableInner>, now_ms: UnixMs) -> ExportStream {
    let (sender, receiver) = mpsc::channel(BATCHES_WAITING_MAX);
    let snapshot = inner.journal.snapshot();
    let reading = tokio::task::spawn_blocking(move || {
        let groups = HashMap::new();
        let mut reader =
            ExportReader { inner, snapshot: &snapshot, now_ms, groups, sender, batch: Vec::new() };
        if let Err(ExportEnd::Failed(error)) = reader.read() {
            // The reader may be gone.
            let _ = reader.sender.blocking_send(Err(error));
        }
    });
    batches(receiver, reading)
}

/// What a reader sends. It ends too when the reader panics, which must not look like the end of the entries.
fn batches(receiver: mpsc::Receiver<ExportBatch>, reading: JoinHandle<()>) -> ExportStream {
    let end = stream::once(reading).filter_map(|ended| async move {
        let reason = "reading what is stored was not completed".to_owned();
        ended.is_err().then_some(Err(StoreError::Unavailable { reason }))
    });
    let batches = stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|batch| (batch, receiver))
    });
    batches.chain(end).boxed()
}

struct ExportReader<'a> {
    inner: Arc<DurableInner>,
    snapshot: &'a Snapshot,
    now_ms: UnixMs,
    groups: HashMap<u64, Rc<ExportedGroup>>,
    sender: mpsc::Sender<ExportBatch>,
    batch: Vec<Exported>,
}

/// What the entries of a group share.
struct ExportedGroup {
    /// As it was announced, with the changes that the snapshot has.
    record_json: Arc<str>,
    context: ContextId,
    context_bytes: Arc<[u8]>,
    definition: GroupDefinition,
    /// The record that the group was made with, once somebody asked.
    announced: OnceCell<ReadyRecord>,
}

impl ExportedGroup {
    fn announced(&self, schema: AnswerSchema) -> Result<&ReadyRecord, StoreError> {
        if let Some(announced) = self.announced.get() {
            return Ok(announced);
        }
        let record = ProviderRecord::restore(&self.definition.record_json)
            .map_err(|error| StoreError::Unavailable { reason: error.to_string() })?;
        Ok(self.announced.get_or_init(|| ReadyRecord::new(record, schema)))
    }
}

/// Why reading ended early.
enum ExportEnd {
    /// The reader is gone.
    Abandoned,
    Failed(StoreError),
}

impl<E: Into<StoreError>> From<E> for ExportEnd {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl ExportReader<'_> {
    fn read(&mut self) -> Result<(), ExportEnd> {
        let snapshot = self.snapshot;
        let mut stopped = Ok(());
        snapshot.visit(|group, keys| {
            stopped = self.add(group, keys);
            if stopped.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        stopped?;
        self.send()
    }

    fn add(&mut self, definition: &GroupDefinition, keys: KeyBlock<'_>) -> Result<(), ExportEnd> {
        let group = self.group_of(definition)?;
        for multihash in keys.iter() {
            let Some(of) = self.current(&group, multihash)? else { continue };
            let key = ContentKey::from_multihash(multihash).ok();
            let Some(key) = invariant::present(key, "the journal was given keys") else { continue };
            self.batch.push(Exported {
                key,
                record_json: of.record_json.clone(),
                context: of.context.clone(),
                expires_at_ms: of.definition.expires_at_ms,
                origin: of.definition.origin,
            });
            if self.batch.len() == BATCH_ENTRIES {
                self.send()?;
            }
        }
        Ok(())
    }

    /// The group that a key comes with that had this one.
    fn current(
        &mut self,
        group: &Rc<ExportedGroup>,
        multihash: &[u8],
    ) -> Result<Option<Rc<ExportedGroup>>, StoreError> {
        let (index, now_ms) = (&self.inner.index, self.now_ms);
        let GroupDefinition { serial, origin, .. } = group.definition;
        if index.holds(multihash, serial, now_ms) {
            return Ok(Some(group.clone()));
        }
        let announced = group.announced(self.inner.schema)?;
        let lineage = LineageRef::new(announced, &group.context_bytes, origin);
        match index.newest_serial(multihash, &lineage, now_ms) {
            Some(newest) if newest > serial => {
                Ok(Some(self.known(newest)?.unwrap_or_else(|| group.clone())))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// The group with a serial, if the snapshot has it.
    fn known(&mut self, serial: u64) -> Result<Option<Rc<ExportedGroup>>, StoreError> {
        if let Some(known) = self.groups.get(&serial) {
            return Ok(Some(known.clone()));
        }
        let definition = self.snapshot.group(serial)?;
        definition.map(|definition| self.group_of(&definition)).transpose()
    }

    fn group_of(&mut self, definition: &GroupDefinition) -> Result<Rc<ExportedGroup>, StoreError> {
        if let Some(known) = self.groups.get(&definition.serial) {
            return Ok(known.clone());
        }
        let snapshot = self.snapshot;
        let addrs_of = |provider: &str| Ok(snapshot.addrs_of(provider)?);
        let record_of = |provider: &str, context: &[u8]| Ok(snapshot.record_of(provider, context)?);
        let record_json = with_changes(definition, addrs_of, record_of)?;
        let unreadable = || StoreError::Unavailable {
            reason: format!("the context of group {} is too long", definition.serial),
        };
        let context = invariant::present(
            ContextId::new(&definition.context).ok(),
            "the journal was given context IDs",
        );
        let group = Rc::new(ExportedGroup {
            record_json,
            context: context.ok_or_else(unreadable)?,
            context_bytes: (*definition.context).into(),
            definition: definition.clone(),
            announced: OnceCell::new(),
        });
        if self.groups.len() >= GROUPS_KEPT_MAX {
            self.groups.clear();
        }
        self.groups.insert(definition.serial, group.clone());
        Ok(group)
    }

    fn send(&mut self) -> Result<(), ExportEnd> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        self.sender.blocking_send(Ok(batch)).map_err(|_| ExportEnd::Abandoned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_export_whose_reader_panics_ends_with_an_error() {
        let export = async |panics: bool| {
            let (sender, receiver) = mpsc::channel(1);
            let reading = tokio::task::spawn_blocking(move || {
                sender.blocking_send(Ok(Vec::new())).unwrap();
                assert!(!panics, "a panic that the test wants");
            });
            let ends: Vec<_> =
                batches(receiver, reading).map(|batch| batch.is_ok()).collect().await;
            ends
        };
        assert_eq!(export(false).await, [true]);
        assert_eq!(export(true).await, [true, false]);
    }
}
