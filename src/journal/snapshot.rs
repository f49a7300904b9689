//! A snapshot of the journal at one moment, readable while appends and compactions go on.
//!
//! A snapshot keeps the segments' files open: compaction may unlink them, and their disk space is
//! freed when the snapshot is dropped.

use std::ops::ControlFlow;
use std::sync::Arc;

use hashbrown::HashMap;

use super::JournalError;
use super::block::{Block, GroupDefinition, KeyBlock};
use super::change::{AddrsChange, Change, ChangeKey, RecordChange, addrs_key, record_key};
use super::ledger::{BlockLocation, Ledger, SegmentId};
use super::segment::{Segment, walk};

/// The blocks of the groups that lived when the snapshot was taken.
pub(crate) struct Snapshot {
    segments: Vec<(Arc<Segment>, u64)>,
    definitions: HashMap<u64, BlockLocation>,
    changes: HashMap<ChangeKey, BlockLocation>,
    by_id: HashMap<SegmentId, Arc<Segment>>,
}

impl Snapshot {
    pub(super) fn new(ledger: &Ledger) -> Self {
        let segments = ledger.in_order().into_iter();
        let segments = segments.map(|(_, it)| (Arc::clone(&it.segment), it.length)).collect();
        let by_id = ledger.usages().map(|(id, it)| (id, Arc::clone(&it.segment))).collect();
        let mut definitions = ledger.live_definitions();
        // A group whose definition is not durable yet is left out.
        let is_durable = |place: &BlockLocation| {
            ledger.usage(place.segment).is_some_and(|it| u64::from(place.offset) < it.length)
        };
        definitions.retain(|_, place| is_durable(place));
        Self { segments, definitions, changes: ledger.newest_changes(), by_id }
    }

    /// How many groups there are.
    #[cfg(test)]
    pub(crate) fn groups(&self) -> usize {
        self.definitions.len()
    }

    /// The group with a serial, if it lived.
    ///
    /// # Errors
    ///
    /// Why it cannot be read.
    pub(crate) fn group(&self, serial: u64) -> Result<Option<GroupDefinition>, JournalError> {
        let place = self.definitions.get(&serial);
        place.map(|place| self.definition(*place, serial)).transpose()
    }

    /// Shows every block of keys with its group to `visit`, until that breaks off. A key that other
    /// groups superseded may still be among them: ask the index how the pair stands.
    pub(crate) fn visit(
        &self,
        mut visit: impl FnMut(&Arc<GroupDefinition>, KeyBlock<'_>) -> ControlFlow<()>,
    ) -> Result<(), JournalError> {
        let mut memory = Vec::new();
        let mut latest: Option<Arc<GroupDefinition>> = None;
        let mut flow = ControlFlow::Continue(());
        for (segment, length) in &self.segments {
            let walked = walk(segment, *length, |_, block| {
                let Block::Keys(keys) = block else { return Ok(flow) };
                let Some(place) = self.definitions.get(&keys.serial) else { return Ok(flow) };
                let group = match latest.take().filter(|group| group.serial == keys.serial) {
                    Some(group) => group,
                    None => Arc::new(self.definition(*place, keys.serial)?),
                };
                flow = visit(&group, keys.expand(&mut memory));
                latest = Some(group);
                Ok(flow)
            });
            walked.map_err(|error| error.into_journal_error(segment))?;
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// What a provider, by its peer ID in base58, last said of its addresses.
    ///
    /// # Errors
    ///
    /// Why it cannot be read.
    pub(crate) fn addrs_of(&self, provider: &str) -> Result<Option<AddrsChange>, JournalError> {
        match self.change(&addrs_key(provider))? {
            Some(Change::Addrs(change)) => Ok(Some(change)),
            Some(Change::Record(_) | Change::Visibility(_) | Change::Companions(_)) | None => {
                Ok(None)
            }
        }
    }

    /// The record that a provider's context got last.
    ///
    /// # Errors
    ///
    /// Why it cannot be read.
    pub(crate) fn record_of(
        &self,
        provider: &str,
        context: &[u8],
    ) -> Result<Option<RecordChange>, JournalError> {
        match self.change(&record_key(provider, context))? {
            Some(Change::Record(change)) => Ok(Some(change)),
            Some(Change::Addrs(_) | Change::Visibility(_) | Change::Companions(_)) | None => {
                Ok(None)
            }
        }
    }

    fn change(&self, key: &ChangeKey) -> Result<Option<Change>, JournalError> {
        let Some(place) = self.changes.get(key) else { return Ok(None) };
        let segment = self.by_id.get(&place.segment);
        let segment = segment.expect("a snapshot holds every segment that a place can be in");
        let offset = u64::from(place.offset);
        let mut memory = Vec::new();
        let raw = segment.read_block_at(offset, &mut memory)?;
        match Block::decode(&raw).ok().and_then(Change::of_block) {
            Some(change) if change.key() == *key => Ok(Some(change)),
            Some(_) | None => Err(segment.corrupt(offset, "the change that was here is gone")),
        }
    }

    fn definition(
        &self,
        place: BlockLocation,
        serial: u64,
    ) -> Result<GroupDefinition, JournalError> {
        let segment = self.by_id.get(&place.segment);
        let segment = segment.expect("a snapshot holds every segment that a place can be in");
        let offset = u64::from(place.offset);
        let mut memory = Vec::new();
        let raw = segment.read_block_at(offset, &mut memory)?;
        match Block::decode(&raw) {
            Ok(Block::Definition(definition)) if definition.serial == serial => Ok(definition),
            _ => Err(segment.corrupt(offset, format!("the definition of group {serial} is gone"))),
        }
    }
}
