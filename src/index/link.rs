//! Linking keys to groups: which groups a key has afterwards.

use std::sync::Arc;

use parking_lot::RwLockUpgradableReadGuard;
use smallvec::{SmallVec, smallvec};

use super::fingerprint::Fingerprint;
use super::group::Group;
use super::hot_key::{FEW_MAX, Limits};
use super::lineage::LinkDecision;
use super::sets::KeySet;
use super::table::SlotTable;
use super::{
    GROUP_OF_AN_ENTRY, Index, IndexError, LinkOutcome, Reference, SET_OF_AN_ENTRY, ShardState,
    shift,
};
use crate::clock::UnixMs;
use crate::invariant;

/// The groups of a key that is not a hot key, and the one that is added.
type KeyGroups = SmallVec<[Arc<Group>; 4]>;

impl Index {
    /// Links a key to a group, for which the caller holds a reference.
    pub(super) fn link(
        &self,
        fingerprint: Fingerprint,
        group: &Arc<Group>,
        now_ms: UnixMs,
    ) -> Result<LinkOutcome, IndexError> {
        loop {
            let mut shard = self.shard(fingerprint).write();
            if !shard.table.has_room() {
                drop(shard);
                self.grow(fingerprint);
                continue;
            }
            let reference = shard.table.get(fingerprint).map(Reference::read);
            let set = match reference {
                None => {
                    group.mark_changed(now_ms);
                    let alone = smallvec![group.clone()];
                    self.point_at(&mut shard, fingerprint, None, &alone, now_ms)?;
                    group.count_keys(1);
                    shift(&self.counters.keys, 1);
                    shift(&self.counters.entries, 1);
                    return Ok(LinkOutcome::Added);
                }
                Some(Reference::Group(id)) => {
                    let known = self.groups.get(id);
                    let known = invariant::present(known.as_ref(), GROUP_OF_AN_ENTRY);
                    let known = known.cloned().into_iter().collect();
                    return self.add_to(&mut shard, fingerprint, known, group, now_ms);
                }
                Some(Reference::Set(id)) => {
                    invariant::present(self.sets.get(id).clone(), SET_OF_AN_ENTRY)
                }
            };
            match set.as_deref() {
                Some(KeySet::Hot(hot_key)) => {
                    drop(shard);
                    let limits = Limits { network_max: self.limits.key_network_max, now_ms };
                    let joined = hot_key.insert(group, limits, &self.groups);
                    self.count_hot_key(joined.grown);
                    match joined.outcome {
                        Some(outcome) => return Ok(outcome),
                        // Retired meanwhile: the key has another reference now.
                        None => continue,
                    }
                }
                Some(KeySet::Few(few)) => {
                    let known = few.groups.iter().cloned().collect();
                    return self.add_to(&mut shard, fingerprint, known, group, now_ms);
                }
                None => return self.add_to(&mut shard, fingerprint, smallvec![], group, now_ms),
            }
        }
    }

    /// A reference to these groups, which are in the order of groups on a key; counted.
    pub(super) fn refer_to(
        &self,
        groups: &[Arc<Group>],
        now_ms: UnixMs,
    ) -> Result<Reference, IndexError> {
        match groups {
            [alone] => {
                alone.retain();
                Ok(Reference::Group(alone.id))
            }
            few if few.len() <= FEW_MAX => self.sets.intern(few).map(Reference::Set),
            many => {
                let id = self.sets.add_hot_key(many, now_ms)?;
                shift(&self.counters.hot_key_groups, many.len() as i64);
                Ok(Reference::Set(id))
            }
        }
    }

    /// Releases a reference that is gone from its entry. Returns how many groups that freed.
    pub(super) fn release(&self, reference: Reference) -> u64 {
        match reference {
            Reference::Group(id) => {
                let group = invariant::present(self.groups.get(id).clone(), GROUP_OF_AN_ENTRY);
                group.map_or(0, |group| self.groups.release(&group))
            }
            Reference::Set(id) => self.sets.release(id, &self.groups),
        }
    }

    /// Counts groups that hot keys gained.
    pub(super) fn count_hot_key(&self, grown: i64) {
        shift(&self.counters.entries, grown);
        shift(&self.counters.hot_key_groups, grown);
    }

    /// Makes room in the table of a fingerprint's shard.
    fn grow(&self, fingerprint: Fingerprint) {
        let shard = self.shard(fingerprint).upgradable_read();
        if !shard.table.has_room() {
            let grown = shard.table.grown();
            self.swap_table(shard, grown, 0);
        }
    }

    /// Replaces a table by one that was made from it, and records when that changed answers;
    /// 0: never. Lookups wait for the exchange
    /// only, neither for the copy before it nor for the memory that is given up.
    pub(super) fn swap_table(
        &self,
        shard: RwLockUpgradableReadGuard<'_, ShardState>,
        table: SlotTable,
        changed_at_ms: UnixMs,
    ) {
        shift(&self.counters.table_bytes, table.bytes() as i64 - shard.table.bytes() as i64);
        let mut shard = RwLockUpgradableReadGuard::upgrade(shard);
        let old = std::mem::replace(&mut shard.table, table);
        shard.changed_at_ms = shard.changed_at_ms.max(changed_at_ms);
        drop(shard);
        drop(old);
    }

    fn add_to(
        &self,
        shard: &mut ShardState,
        fingerprint: Fingerprint,
        mut known: KeyGroups,
        group: &Arc<Group>,
        now_ms: UnixMs,
    ) -> Result<LinkOutcome, IndexError> {
        let newer =
            |other: &Arc<Group>| other.serial > group.serial && other.is_of_lineage_of(group);
        if known.iter().any(|other| Arc::ptr_eq(other, group)) {
            let is_behind = known.iter().any(|other| newer(other) && other.is_live(now_ms));
            return Ok(if is_behind { LinkOutcome::Behind } else { LinkOutcome::Refreshed });
        }
        let older =
            |other: &&Arc<Group>| other.serial < group.serial && other.is_of_lineage_of(group);
        // Of a lineage the newest comes first.
        let nearest_newer = known.iter().rev().filter(|other| newer(other));
        let nearest_older = known.iter().filter(older);
        let decision = LinkDecision::decide(group, nearest_newer, nearest_older, now_ms);
        if !decision.is_linked {
            return Ok(decision.outcome);
        }
        let before = known.len() as i64;
        known.retain(|other| {
            other.is_live(now_ms) && !decision.gone.iter().any(|gone| Arc::ptr_eq(gone, other))
        });
        let position = known.partition_point(|other| other.order_on_key(group).is_lt());
        known.insert(position, group.clone());
        debug_assert!(known.is_sorted_by(|one, next| one.order_on_key(next).is_lt()));
        group.mark_changed(now_ms);
        let old = shard.table.get(fingerprint);
        self.point_at(shard, fingerprint, old, &known, now_ms)?;
        group.count_keys(1);
        decision.gone.iter().for_each(|gone| gone.count_key_off());
        shift(&self.counters.entries, known.len() as i64 - before);
        Ok(decision.outcome)
    }

    fn point_at(
        &self,
        shard: &mut ShardState,
        fingerprint: Fingerprint,
        old: Option<u32>,
        groups: &KeyGroups,
        now_ms: UnixMs,
    ) -> Result<(), IndexError> {
        let new = self.refer_to(groups, now_ms)?;
        shard.table.set(fingerprint, new.write());
        if let Some(old) = old {
            shard.changed_at_ms = shard.changed_at_ms.max(now_ms);
            self.release(Reference::read(old));
        }
        Ok(())
    }
}
