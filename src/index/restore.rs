//! Bulk loading, for a restart: many keys of groups that had their serials before.
//!
//! Fingerprints are collected for each shard and put into its table sorted, so that the table is
//! gone through once for many keys instead of probed for each. When there is no room, they are merged
//! into a copy of it; who knows how many entries there will be ([`Restore::reserve`]) spares those.
//! Collected are an eighth of the slots of a table or a fifth of its entries. Keys that the table has
//! already are linked one by one, as announcements are; the order in which groups come does not
//! matter.

use std::sync::Arc;

use parking_lot::{Mutex, RwLockWriteGuard};

use super::admit::{HEAVY_RESERVE, KEY_BYTES};
use super::fingerprint::{Fingerprint, SHARD_BITS};
use super::group::{Group, GroupSpec, Statement};
use super::provider::{CompanionSet, Visibility};
use super::{GROUP_OF_AN_ENTRY, Index, IndexError, Memory, Reference, shift};
use crate::clock::UnixMs;
use crate::invariant;
use crate::types::{PeerId, ReadyRecord};

/// As many keys of a shard are collected at least, where there is memory for it: 1M in all, 24 MB.
const COLLECTED_MIN: usize = 1 << 20 >> SHARD_BITS;

/// The part of the memory that they may take: 1/32.
const COLLECTED_PART: u64 = 32;

/// What an entry takes in memory, in the mean.
const ENTRY_BYTES: u64 = 22;

/// How many references to a group are counted at once.
const COUNTED_AT_ONCE: u64 = 1024;

/// A restart under way. Keys are found when they are merged, the last of them when it is finished.
#[derive(Debug)]
pub struct Restore<'a> {
    index: &'a Index,
    now_ms: UnixMs,
    shards: Box<[Mutex<Collected>]>,
    groups: Mutex<Vec<Arc<Group>>>,
}

/// A group that had its serial before; a handle that is cheap to copy.
#[derive(Clone, Debug)]
pub struct RestoredGroup(Arc<Group>);

/// What a shard's table does not have yet. The groups' references are counted already.
type Collected = Vec<(Fingerprint, u32)>;

impl Index {
    /// Begins a restart.
    pub fn restore(&self, now_ms: UnixMs) -> Restore<'_> {
        let shards = (0..1 << SHARD_BITS).map(|_| Mutex::default()).collect();
        Restore { index: self, now_ms, shards, groups: Mutex::default() }
    }

    /// Gives out no serial below `next` from now on.
    pub(crate) fn reserve_serials(&self, next: u64) {
        self.groups.reserve_serials(next);
    }
}

impl RestoredGroup {
    /// Whether the group was evicted: its keys are left out.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.has_ended()
    }
}

impl Restore<'_> {
    /// Makes room for so many entries in all. Nothing depends on the number but time: more are taken
    /// in as well, and room that was not needed is given back in the end.
    pub fn reserve(&self, entries: u64) {
        let shards = &self.index.shards;
        let mean = entries as usize / shards.len();
        // Four standard deviations more than the mean.
        let wanted = mean + 4 * mean.isqrt();
        for shard in shards {
            let state = shard.0.upgradable_read();
            let resized = state.table.resized(wanted);
            self.index.swap_table(state, resized, 0);
        }
    }

    /// Makes room for all keys, of which `keys_of` says how many a group has by its serial; once all groups
    /// are made and before they have keys. If that takes more memory than the limit, groups of strangers
    /// are evicted instead, the heaviest's first. Returns how many.
    pub(crate) fn make_room(&self, keys_of: impl Fn(u64) -> u64) -> u64 {
        let Index { limits, groups, counters, .. } = self.index;
        let bytes = |keys: u64| self.index.stats().bytes.saturating_add(keys * ENTRY_BYTES);
        let mut made = self.groups.lock();
        let total = |made: &[Arc<Group>]| made.iter().map(|group| keys_of(group.serial)).sum();
        let mut keys = total(&made);
        if bytes(keys) <= limits.bytes_max {
            self.reserve(keys);
            return 0;
        }
        for group in &*made {
            group.count_keys(keys_of(group.serial));
            groups.usage_of(group);
        }
        let mut all_evicted = 0;
        while let Some(excess) = bytes(keys).checked_sub(limits.bytes_except(HEAVY_RESERVE))
            && excess > 0
        {
            let evicted = groups.evict(excess.div_ceil(KEY_BYTES), u64::MAX, self.now_ms);
            if evicted == 0 {
                break;
            }
            counters.evicted.fetch_add(evicted, Memory::Relaxed);
            all_evicted += evicted;
            made.retain(|group| {
                let has_ended = group.has_ended();
                if has_ended {
                    groups.release(group);
                }
                !has_ended
            });
            keys = total(&made);
        }
        made.iter().for_each(|group| group.count_keys_off(keys_of(group.serial)));
        all_evicted
    }

    /// Makes a group with the serial and the standing that it had, once for each serial.
    ///
    /// # Errors
    ///
    /// [`IndexError::Full`].
    pub fn group(
        &self,
        spec: &GroupSpec,
        serial: u64,
        since_ms: UnixMs,
    ) -> Result<RestoredGroup, IndexError> {
        let group = self.index.groups.restore(spec, serial, since_ms, self.now_ms)?;
        self.groups.lock().push(group.clone());
        Ok(RestoredGroup(group))
    }

    /// Gives a provider's groups the addresses that it stated, once all groups are made; changes come
    /// in the order of their stamps. One that counts for no group is forgotten.
    pub(crate) fn statement(&self, peer: &PeerId, statement: Statement) {
        self.index.groups.restate(peer, statement, self.now_ms);
    }

    /// Gives the groups of a context another record, once all groups are made.
    pub(crate) fn record(&self, context: &Arc<[u8]>, stamp: u64, record: &Arc<ReadyRecord>) {
        self.index.groups.set_record(context, stamp, record, self.now_ms);
    }

    /// Shows or hides a provider.
    pub(crate) fn visibility(&self, peer: &PeerId, stamp: u64, visibility: Visibility) {
        self.index.groups.set_visibility(peer, stamp, visibility, self.now_ms);
    }

    /// Gives a provider companions, once all groups are made.
    pub(crate) fn companions(
        &self,
        peer: &PeerId,
        context: Option<&Arc<[u8]>>,
        stamp: u64,
        set: CompanionSet,
    ) {
        self.index.groups.set_companions(peer, context, stamp, set, self.now_ms);
    }

    /// Lets keys, by the bytes of their multihashes, have a group. Returns how many there were.
    ///
    /// # Errors
    ///
    /// [`IndexError::Full`]; some of the keys may have been taken in then.
    pub fn keys<'k>(
        &self,
        group: &RestoredGroup,
        multihashes: impl Iterator<Item = &'k [u8]>,
    ) -> Result<u64, IndexError> {
        let mut keys = 0;
        let mut counted = 0;
        let mut merged = Ok(());
        for multihash in multihashes {
            let fingerprint = self.index.fingerprinter.of_multihash(multihash);
            let shard = self.shards.get(fingerprint.shard());
            let shard = shard.expect("there is one for each value of the shard bits");
            let mut collected = shard.lock();
            if collected.len() == collected.capacity() {
                let full = self.replace(&mut collected, fingerprint);
                // Other threads go on collecting meanwhile.
                drop(collected);
                merged = merged.and(self.merge(full));
                collected = shard.lock();
            }
            // Counted before the number is written into a table; many at once, because other threads
            // count, too.
            if counted == 0 {
                counted = COUNTED_AT_ONCE;
                group.0.retain_more(counted);
            }
            counted -= 1;
            collected.push((fingerprint, group.0.id));
            keys += 1;
        }
        group.0.give_back(counted);
        group.0.count_keys(keys);
        merged.map(|()| keys)
    }

    /// Merges what is left. What was made before and has no keys ends.
    ///
    /// # Errors
    ///
    /// [`IndexError::Full`]; some of the keys may have been taken in then.
    pub fn finish(self) -> Result<(), IndexError> {
        let merged = self.shards.iter().map(|shard| self.merge(std::mem::take(&mut shard.lock())));
        let merged = merged.fold(Ok(()), Result::and);
        self.index.groups.weigh_networks();
        for shard in &self.index.shards {
            let state = shard.0.upgradable_read();
            if state.table.is_sparse() {
                let resized = state.table.resized(0);
                self.index.swap_table(state, resized, 0);
            }
        }
        for group in self.groups.into_inner() {
            self.index.groups.release(&group);
        }
        merged
    }

    /// Takes what was collected for a shard, and makes room for as much as it is worth while to
    /// collect next.
    fn replace(&self, collected: &mut Collected, of: Fingerprint) -> Collected {
        let shard = self.index.shard(of).read();
        let known = (shard.table.len() + collected.len()) / 5;
        let wanted = self.collected_min().max(known).max(shard.table.slot_count() / 8);
        std::mem::replace(collected, Vec::with_capacity(wanted))
    }

    /// How many keys of a shard are collected at least.
    fn collected_min(&self) -> usize {
        let bytes = self.index.limits.bytes_max / COLLECTED_PART;
        let keys = (bytes / size_of::<(Fingerprint, u32)>() as u64) >> SHARD_BITS;
        keys.clamp(1, COLLECTED_MIN as u64) as usize
    }

    /// Puts what was collected for a shard into its table.
    fn merge(&self, mut collected: Collected) -> Result<(), IndexError> {
        collected.sort_unstable();
        let Some((first, _)) = collected.first() else { return Ok(()) };
        let mut known = Vec::new();
        let mut shard = self.index.shard(*first).write();
        let done = shard.table.insert_sorted(&collected, &mut known);
        let rest = invariant::present(collected.get(done..), "no more is done than there is");
        let rest = rest.unwrap_or_default();
        if !rest.is_empty() {
            let shard = RwLockWriteGuard::downgrade_to_upgradable(shard);
            let merged = shard.table.merged(rest, &mut known);
            self.index.swap_table(shard, merged, 0);
        } else {
            drop(shard);
        }
        let added = (collected.len() - known.len()) as i64;
        shift(&self.index.counters.keys, added);
        shift(&self.index.counters.entries, added);
        known.into_iter().try_for_each(|(fingerprint, id)| self.link_known(fingerprint, id))
    }

    fn link_known(&self, fingerprint: Fingerprint, id: u32) -> Result<(), IndexError> {
        let group = invariant::present(self.index.groups.get(id).clone(), GROUP_OF_AN_ENTRY);
        let Some(group) = group else { return Ok(()) };
        // It is counted already, and again when it is linked.
        group.count_key_off();
        let linked = self.index.link(fingerprint, &group, self.now_ms);
        self.index.release(Reference::Group(id));
        linked.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::IndexLimits;

    #[test]
    fn what_is_collected_is_a_small_part_of_little_memory() {
        let collected = |bytes_max| {
            let index = Index::with_limits(IndexLimits { bytes_max, ..IndexLimits::default() });
            index.restore(1).collected_min()
        };
        assert_eq!([0, 64 << 20, u64::MAX].map(collected), [1, 341, COLLECTED_MIN]);
    }
}
