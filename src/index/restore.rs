//! Bulk loading, for a restart: many keys of groups that had their serials before.
//!
//! Fingerprints are collected for each shard and merged into its table, sorted, when they are an
//! eighth of what the table has: that costs a copy of the table for each eighth instead of a probe
//! and a shift for each key, and no more memory than that eighth. Keys that the table has already
//! are placed one by one, as announcements are; the order in which groups come does not matter.

use std::sync::Arc;

use parking_lot::Mutex;

use super::fingerprint::{Fingerprint, SHARD_BITS};
use super::group::{Group, GroupSpec};
use super::{Index, IndexError, Reference, shift};
use crate::clock::UnixMs;

/// As many keys of a shard are collected at least: 1M in all, 16 MB.
const COLLECTED_MIN: usize = 1 << 20 >> SHARD_BITS;

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
    pub fn reserve_serials(&self, next: u64) {
        self.groups.reserve_serials(next);
    }
}

impl Restore<'_> {
    /// Makes a group with the serial that it had, once for each serial.
    ///
    /// # Errors
    ///
    /// [`IndexError::Full`].
    pub fn group(&self, spec: &GroupSpec, serial: u64) -> Result<RestoredGroup, IndexError> {
        let group = self.index.groups.intern_anew(spec, Some(serial), self.now_ms)?;
        self.groups.lock().push(group.clone());
        Ok(RestoredGroup(group))
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
        let mut merged = Ok(());
        for multihash in multihashes {
            let fingerprint = self.index.fingerprinter.of_multihash(multihash);
            let shard = self.shards.get(fingerprint.shard());
            let shard = shard.expect("there is one for each value of the shard bits");
            let mut collected = shard.lock();
            if collected.len() == collected.capacity() {
                merged = merged.and(self.merge(&mut collected));
            }
            // Counted before the number is written into a table.
            group.0.retain();
            collected.push((fingerprint, group.0.id));
            keys += 1;
        }
        merged.map(|()| keys)
    }

    /// Merges what is left. What was made before and has no keys ends.
    ///
    /// # Errors
    ///
    /// [`IndexError::Full`]; some of the keys may have been taken in then.
    pub fn finish(self) -> Result<(), IndexError> {
        let merged = self.shards.iter().map(|shard| self.merge(&mut shard.lock()));
        let merged = merged.fold(Ok(()), Result::and);
        for group in self.groups.into_inner() {
            self.index.groups.release(&group);
        }
        merged
    }

    /// Merges what was collected for a shard into its table, and makes room for as much as it is
    /// worth while to collect next.
    fn merge(&self, collected: &mut Collected) -> Result<(), IndexError> {
        collected.sort_unstable();
        let Some((first, _)) = collected.first() else {
            collected.reserve_exact(COLLECTED_MIN);
            return Ok(());
        };
        let mut known = Vec::new();
        let shard = self.index.shard(*first).upgradable_read();
        let merged = shard.table.merged(collected, &mut known);
        let added = (merged.len() - shard.table.len()) as i64;
        let wanted = COLLECTED_MIN.max(merged.len() / 8);
        let changed_at_ms = shard.changed_at_ms;
        self.index.swap_table(shard, merged, changed_at_ms);
        shift(&self.index.counters.keys, added);
        shift(&self.index.counters.entries, added);
        collected.clear();
        collected.reserve_exact(wanted);
        known.into_iter().try_for_each(|(fingerprint, id)| self.place(fingerprint, id))
    }

    fn place(&self, fingerprint: Fingerprint, id: u32) -> Result<(), IndexError> {
        let Some(group) = self.index.groups.get(id).clone() else { return Ok(()) };
        let placed = self.index.place(fingerprint, &group, self.now_ms);
        self.index.release(Reference::Group(id));
        placed.map(|_| ())
    }
}
