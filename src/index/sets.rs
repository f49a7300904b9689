//! Interned sets of groups, for keys that have several.
//!
//! Keys with the same few groups share one set: it never changes, and a key that gains or loses a
//! group moves on to another set. Past [`FEW_MAX`] groups a key owns a [`HotKey`] instead, which
//! changes in place.
//!
//! # Invariant
//!
//! A set's number is used again only when no entry of a table holds it: an entry counts before the
//! number is written and until after it is gone. As with groups, readers look a number up under
//! the lock of the shard in which they read it. Groups are held by pointer, so a set stays
//! readable after that.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering as Memory};

use arc_swap::Guard;
use hashbrown::HashTable;
use parking_lot::Mutex;

use super::IndexError;
use super::answer::Wanted;
use super::group::{Group, GroupRank, Groups};
use super::hot_key::{FEW_MAX, HotKey};
use super::merge::RecordMerge;
use super::pass::{Pass, Rank};
use super::slab::{Ids, Slab};
use crate::clock::UnixMs;
use crate::invariant;
use crate::types::{Found, Limit, ReadyRecord};

/// Numbers that nobody reserves: the sweep takes one before it gives another back.
const SPARE: u64 = 16;

const FULL: IndexError = IndexError::Full { limit: Limit::GroupSets };

const REGISTERED: &str = "the set of a registered number exists";

/// The groups of a key that has several.
pub(super) enum KeySet {
    /// A few, shared between keys.
    Few(Few),
    /// Many, of one key.
    Hot(Box<HotKey>),
}

/// At most [`FEW_MAX`] groups, in the order of groups on a key.
pub(super) struct Few {
    pub(super) groups: Box<[Arc<Group>]>,
    /// The entries that hold the set's number. Changes under the registry's lock.
    entries: AtomicU64,
}

/// All sets.
pub(super) struct Sets {
    slab: Slab<KeySet>,
    registry: Mutex<SetRegistry>,
    hasher: RandomState,
    /// Numbers that are reserved, those included that were taken meanwhile.
    reserved: Arc<AtomicU64>,
}

/// Numbers for the sets of keys that are about to be linked.
pub(crate) struct ReservedSets {
    count: u64,
    reserved: Arc<AtomicU64>,
}

impl Drop for ReservedSets {
    fn drop(&mut self) {
        self.reserved.fetch_sub(self.count, Memory::Relaxed);
    }
}

struct SetRegistry {
    ids: Ids,
    few: HashTable<u32>,
    bytes: usize,
}

/// The answer of a key with a few groups, in their order.
pub(super) fn answer_of_few(
    groups: &[Arc<Group>],
    wanted: Wanted<'_>,
    shard_changed_at_ms: UnixMs,
    cursor: &AtomicU32,
) -> Found {
    let mut changed_at_ms = shard_changed_at_ms;
    let mut merge = RecordMerge::<FEW_MAX>::default();
    for lineage in groups.chunk_by(|one, other| one.is_of_lineage_of(other)) {
        // `any` stops at the first that is served.
        lineage.iter().any(|group| merge.add(group, wanted.now_ms, &mut changed_at_ms));
    }
    let mut candidates = (0u32..).zip(merge.records).map(|(number, record)| {
        // What matters while all that match fit.
        let rank = Rank { number, ..Rank::default() };
        (rank, RecordMerge::of(record))
    });
    let all = Wanted { records_max: None, ..wanted };
    let mut pass = Pass::go(&mut candidates, usize::MAX, all);
    if let Some(records_max) = wanted.records_max {
        pass.cut(records_max.get(), cursor, |record| rank_of(groups, record, wanted.now_ms));
    }
    pass.finish(changed_at_ms, wanted.now_ms)
}

/// The best rank of the groups that a record is of, or that it is served beside.
fn rank_of(groups: &[Arc<Group>], record: &ReadyRecord, now_ms: UnixMs) -> GroupRank {
    let merge_key = record.merge_key();
    let is_of_it = |group: &&Arc<Group>| {
        let mut is_it = group.record().merge_key() == merge_key;
        if !is_it && group.has_companions() {
            group.companions(|companion| is_it |= companion.merge_key() == merge_key);
        }
        is_it && group.is_live(now_ms)
    };
    let ranks = groups.iter().filter(is_of_it).map(|group| group.rank());
    ranks.min().unwrap_or_default()
}

impl Sets {
    /// No sets, and room for `ids_max`.
    pub(super) fn new(ids_max: u32) -> Self {
        let registry = SetRegistry { ids: Ids::new(ids_max), few: HashTable::new(), bytes: 0 };
        Self {
            slab: Slab::new(),
            registry: Mutex::new(registry),
            hasher: RandomState::new(),
            reserved: Arc::default(),
        }
    }

    /// Reserves a number for each of so many keys.
    pub(super) fn reserve(&self, count: u64) -> Result<ReservedSets, IndexError> {
        let registry = self.registry.lock();
        let reserved = self.reserved.load(Memory::Relaxed);
        if registry.ids.left() < reserved.saturating_add(count).saturating_add(SPARE) {
            return Err(FULL);
        }
        // Under the lock, so that no two see the same room.
        self.reserved.fetch_add(count, Memory::Relaxed);
        Ok(ReservedSets { count, reserved: self.reserved.clone() })
    }

    /// The number of the set of these groups, which are in the order of groups on a key, with one
    /// entry counted. The caller's references keep the groups alive meanwhile.
    pub(super) fn intern(&self, groups: &[Arc<Group>]) -> Result<u32, IndexError> {
        debug_assert!((2..=FEW_MAX).contains(&groups.len()));
        debug_assert!(groups.is_sorted_by(|one, next| one.order_on_key(next).is_lt()));
        let hash = self.hash(groups);
        let mut registry = self.registry.lock();
        let known = registry.few.find(hash, |id| self.is_set_of(*id, groups)).copied();
        if let Some(id) = known {
            let set = self.slab.get(id);
            if let Some(KeySet::Few(few)) = invariant::present(set.as_deref(), REGISTERED) {
                few.entries.fetch_add(1, Memory::Relaxed);
                return Ok(id);
            }
        }
        let id = registry.ids.take().ok_or(FULL)?;
        groups.iter().for_each(|group| group.retain());
        let few = Few { groups: groups.into(), entries: AtomicU64::new(1) };
        registry.bytes += few_bytes(groups.len());
        self.slab.put(id, Arc::new(KeySet::Few(few)));
        registry.few.insert_unique(hash, id, |id| self.hash_of(*id));
        Ok(id)
    }

    /// Makes a hot key, for the one entry that will hold its number.
    pub(super) fn add_hot_key(
        &self,
        groups: &[Arc<Group>],
        now_ms: UnixMs,
    ) -> Result<u32, IndexError> {
        let mut registry = self.registry.lock();
        let id = registry.ids.take().ok_or(FULL)?;
        self.slab.put(id, Arc::new(KeySet::Hot(Box::new(HotKey::new(groups, now_ms)))));
        Ok(id)
    }

    /// The set with a number that the caller read under a lock it still holds.
    pub(super) fn get(&self, id: u32) -> Guard<Option<Arc<KeySet>>> {
        self.slab.get(id)
    }

    /// Releases the number from an entry. Returns how many groups that freed.
    pub(super) fn release(&self, id: u32, groups: &Groups) -> u64 {
        match self.take_unused(id).as_deref() {
            Some(KeySet::Few(few)) => few.groups.iter().map(|group| groups.release(group)).sum(),
            Some(KeySet::Hot(hot_key)) => hot_key.release_all(groups),
            None => 0,
        }
    }

    /// The memory that shared sets take up, and the slab.
    pub(super) fn bytes(&self) -> usize {
        self.registry.lock().bytes + self.slab.bytes()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> u64 {
        self.registry.lock().ids.in_use()
    }

    fn take_unused(&self, id: u32) -> Option<Arc<KeySet>> {
        let mut registry = self.registry.lock();
        let set = invariant::present(self.slab.get(id).clone(), REGISTERED)?;
        if let KeySet::Few(few) = &*set {
            let entries = few.entries.fetch_sub(1, Memory::Relaxed);
            debug_assert!(entries > 0, "a set is released once for each entry");
            if entries > 1 {
                return None;
            }
            let hash = self.hash(&few.groups);
            if let Ok(entry) = registry.few.find_entry(hash, |other| *other == id) {
                entry.remove();
            }
            registry.bytes -= few_bytes(few.groups.len());
        }
        registry.ids.give_back(id);
        self.slab.take(id)
    }

    fn is_set_of(&self, id: u32, groups: &[Arc<Group>]) -> bool {
        let set = self.slab.get(id);
        let set = invariant::present(set.as_deref(), REGISTERED);
        let Some(KeySet::Few(few)) = set else { return false };
        few.groups.len() == groups.len()
            && few.groups.iter().zip(groups).all(|(one, other)| one.id == other.id)
    }

    fn hash_of(&self, id: u32) -> u64 {
        match invariant::present(self.slab.get(id).as_deref(), REGISTERED) {
            Some(KeySet::Few(few)) => self.hash(&few.groups),
            Some(KeySet::Hot(_)) | None => 0,
        }
    }

    fn hash(&self, groups: &[Arc<Group>]) -> u64 {
        let ids: smallvec::SmallVec<[u32; FEW_MAX]> = groups.iter().map(|group| group.id).collect();
        self.hasher.hash_one(&ids[..])
    }
}

/// The set with its counters, a pointer a group, and its slot in the hash table.
fn few_bytes(groups: usize) -> usize {
    size_of::<KeySet>() + 16 + groups * size_of::<Arc<Group>>() + 6
}
