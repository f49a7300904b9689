//! Merging the records of groups that have one merge key.

use std::sync::Arc;

use smallvec::SmallVec;

use super::group::{Current, Group};
use crate::clock::UnixMs;
use crate::types::ReadyRecord;

/// The most groups that are merged into one record: a provider may announce a key under
/// any number of contexts, and an answer has to end.
pub(super) const MERGED_MAX: usize = 64;

/// No more companions are added to this many records.
const WITH_COMPANIONS_MAX: usize = 256;

/// Records that are being merged: of the groups of one lineage or of several, one record for each
/// merge key.
///
/// Lineages of one merge key come one after the other, so only the last record needs to be looked at,
/// until one comes along whose record has become another.
pub(super) struct RecordMerge<const N: usize> {
    pub(super) records: SmallVec<[Arc<ReadyRecord>; N]>,
    /// Groups that were looked at and are dead.
    pub(super) dead: usize,
    /// Whether the record of one of the groups changed.
    pub(super) has_changed: bool,
    /// When the first of the groups that are served expires.
    pub(super) ends_at_ms: UnixMs,
    /// Whether one of them has another merge key since, or has companions: equal records may be apart.
    pub(super) has_renamed: bool,
    merged: usize,
}

impl<const N: usize> Default for RecordMerge<N> {
    fn default() -> Self {
        Self {
            records: SmallVec::new(),
            dead: 0,
            has_changed: false,
            ends_at_ms: UnixMs::MAX,
            has_renamed: false,
            merged: 0,
        }
    }
}

impl<const N: usize> RecordMerge<N> {
    /// Just this record.
    pub(super) fn of(record: Arc<ReadyRecord>) -> Self {
        Self { records: SmallVec::from_iter([record]), merged: 1, ..Self::default() }
    }

    /// Adds the record of a group, and its companions, if it is served. Returns whether it is. Raises
    /// `changed_at_ms` to when it last changed the answer.
    pub(super) fn add(
        &mut self,
        group: &Group,
        now_ms: UnixMs,
        changed_at_ms: &mut UnixMs,
    ) -> bool {
        let record = group.record();
        *changed_at_ms = (*changed_at_ms).max(group.changed_at_ms(now_ms));
        if !group.is_live(now_ms) {
            self.dead += 1;
            return false;
        }
        if group.is_hidden() {
            return false;
        }
        if matches!(record, Current::Changed(_)) {
            self.has_changed = true;
            self.has_renamed |= record.merge_key() != group.merge_key();
        }
        self.add_record(&record);
        if group.has_companions() {
            self.has_renamed = true;
            group.companions(|companion| {
                if self.records.len() < WITH_COMPANIONS_MAX {
                    self.add_record(&companion);
                }
            });
        }
        self.merged += 1;
        self.ends_at_ms = self.ends_at_ms.min(group.expires_at_ms);
        true
    }

    fn add_record(&mut self, record: &Arc<ReadyRecord>) {
        let looked_at = if self.has_renamed { usize::MAX } else { 1 };
        let is_same = |known: &&mut Arc<ReadyRecord>| {
            Arc::ptr_eq(known, record) || known.merge_key() == record.merge_key()
        };
        match self.records.iter_mut().rev().take(looked_at).find(is_same) {
            None => self.records.push(record.clone()),
            Some(known) if Arc::ptr_eq(known, record) => {}
            Some(known) => {
                if let Some(merged) = ReadyRecord::merged(&[known.clone(), record.clone()]) {
                    *known = merged;
                }
            }
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.merged == MERGED_MAX
    }
}
