//! Sweeping: giving back the memory of what is removed or expired.
//!
//! A sweep visits the shards round-robin, a bounded part of them a call, and removes the entries that
//! point at dead groups. A shard is read through beside lookups; only the rewriting shuts them out. Hot keys
//! are worked on without the shard's lock, and a hot key that is too much for one call is gone on with
//! in the next. When no group waits to be freed, a sweep ends at once. A sweep also evicts what strangers
//! hold above their part of the memory (`admit`).

use std::sync::Arc;

use smallvec::SmallVec;

use super::fingerprint::Fingerprint;
use super::group::Group;
use super::hot_key::FEW_MAX;
use super::hot_key::HotKey;
use super::sets::KeySet;
use super::table::SlotChange;
use super::{Freed, Index, Memory, Reference, SET_OF_AN_ENTRY, Shard, shift};
use crate::clock::UnixMs;
use crate::invariant;

/// How many slots, and groups of hot keys, one call looks at before it stops behind a shard: 5 ms.
pub(super) const SWEEP_STEPS_MAX: usize = 1 << 17;

/// The most groups that one call ends because they expired: about 10 ms.
const EXPIRED_MAX: usize = 8_192;

/// What a sweep has done so far.
#[derive(Default)]
struct SweepProgress {
    freed: Freed,
    steps: usize,
    /// The hot keys of the shard.
    hot_keys: Vec<(Fingerprint, Reference, Arc<KeySet>)>,
}

/// What is to become of an entry.
enum SweepVerdict {
    Keep,
    Point(Reference),
    Drop,
}

impl Index {
    /// Frees a part of what is removed or expired; called again and again, all of it. Lookups and
    /// announcements go on meanwhile; of two sweeps at once, one waits for the other.
    pub fn sweep(&self, now_ms: UnixMs) -> Freed {
        let freed = self.sweep_part(now_ms);
        let counters = &self.counters;
        Freed {
            evicted: counters.evicted.swap(0, Memory::Relaxed),
            crowded: counters.crowded.swap(0, Memory::Relaxed),
            ..freed
        }
    }

    /// Sweeps; what is evicted here is reported here, and again by the next [`Index::sweep`].
    pub(super) fn sweep_part(&self, now_ms: UnixMs) -> Freed {
        let mut progress = SweepProgress::default();
        let mut next = self.next_swept.lock();
        // What has lapsed counts no more when it is decided how much is evicted.
        progress.freed.groups += self.groups.expire(now_ms, EXPIRED_MAX);
        progress.freed.evicted = self.evict(now_ms);
        if !self.groups.has_ended() {
            return progress.freed;
        }
        for shard in self.shards.iter().cycle().skip(*next).take(self.shards.len()) {
            if !self.sweep_shard(shard, now_ms, &mut progress) {
                break;
            }
            *next = (*next + 1) % self.shards.len();
            if progress.steps >= self.sweep_steps_max {
                break;
            }
        }
        progress.freed
    }

    /// Sweeps a shard. Returns whether it is finished.
    fn sweep_shard(&self, shard: &Shard, now_ms: UnixMs, progress: &mut SweepProgress) -> bool {
        self.sweep_table(shard, now_ms, progress);
        let hot_keys = std::mem::take(&mut progress.hot_keys);
        hot_keys.into_iter().all(|(fingerprint, reference, set)| {
            let KeySet::Hot(hot_key) = &*set else { return true };
            // Some in any case: the table alone may have been as much as one call does.
            let left = self.sweep_steps_max.saturating_sub(progress.steps);
            let left = left.max(self.sweep_steps_max / 4);
            let pruned = hot_key.prune(left, now_ms, &self.groups);
            progress.steps += hot_key.len().min(left);
            shift(&self.counters.hot_key_groups, -(pruned.entries as i64));
            progress.freed.groups += pruned.groups;
            self.count_freed(pruned.entries, progress);
            if pruned.is_through {
                self.retire(fingerprint, reference, hot_key, now_ms);
            }
            pruned.is_through
        })
    }

    fn sweep_table(&self, shard: &Shard, now_ms: UnixMs, progress: &mut SweepProgress) {
        let state = shard.0.upgradable_read();
        progress.steps += 1 + state.table.slot_count();
        let mut changes: Vec<SlotChange> = Vec::new();
        let mut released = Vec::new();
        for (fingerprint, reference) in state.table.iter() {
            let reference = Reference::read(reference);
            let change = match self.judge(fingerprint, reference, now_ms, progress) {
                SweepVerdict::Keep => continue,
                SweepVerdict::Point(new) => Some(new.write()),
                SweepVerdict::Drop => {
                    shift(&self.counters.keys, -1);
                    None
                }
            };
            changes.push((fingerprint, change));
            released.push(reference);
        }
        if changes.is_empty() {
            return;
        }
        let rewritten = state.table.rewritten(&changes);
        self.swap_table(state, rewritten, now_ms);
        let freed = released.into_iter().map(|reference| self.release(reference));
        progress.freed.groups += freed.sum::<u64>();
    }

    fn judge(
        &self,
        fingerprint: Fingerprint,
        reference: Reference,
        now_ms: UnixMs,
        progress: &mut SweepProgress,
    ) -> SweepVerdict {
        match reference {
            Reference::Group(id) => {
                if self.groups.get(id).as_ref().is_some_and(|group| group.is_live(now_ms)) {
                    return SweepVerdict::Keep;
                }
                self.count_freed(1, progress);
                SweepVerdict::Drop
            }
            Reference::Set(id) => {
                let set = invariant::present(self.sets.get(id).clone(), SET_OF_AN_ENTRY);
                let Some(set) = set else { return SweepVerdict::Keep };
                if let KeySet::Few(few) = &*set {
                    return self.judge_few(&few.groups, now_ms, progress);
                }
                progress.hot_keys.push((fingerprint, reference, set));
                SweepVerdict::Keep
            }
        }
    }

    fn judge_few(
        &self,
        groups: &[Arc<Group>],
        now_ms: UnixMs,
        progress: &mut SweepProgress,
    ) -> SweepVerdict {
        let live: SmallVec<[Arc<Group>; FEW_MAX]> =
            groups.iter().filter(|group| group.is_live(now_ms)).cloned().collect();
        if live.len() == groups.len() {
            return SweepVerdict::Keep;
        }
        let verdict = self.point_or_drop(&live, now_ms);
        if !matches!(verdict, SweepVerdict::Keep) {
            self.count_freed((groups.len() - live.len()) as u64, progress);
        }
        verdict
    }

    /// Lets the entry of a hot key that has become small point at a shared set again.
    pub(super) fn retire(
        &self,
        fingerprint: Fingerprint,
        reference: Reference,
        hot_key: &HotKey,
        now_ms: UnixMs,
    ) {
        if hot_key.len() > FEW_MAX {
            return;
        }
        let state = self.shard(fingerprint).upgradable_read();
        if state.table.get(fingerprint) != Some(reference.write()) {
            return;
        }
        let Some(mut groups) = hot_key.retire() else { return };
        groups.sort_by(|one, other| one.order_on_key(other));
        let change = match self.point_or_drop(&groups, now_ms) {
            SweepVerdict::Keep => return hot_key.reinstate(),
            SweepVerdict::Point(new) => Some(new.write()),
            SweepVerdict::Drop => {
                shift(&self.counters.keys, -1);
                None
            }
        };
        shift(&self.counters.hot_key_groups, -(groups.len() as i64));
        let rewritten = state.table.rewritten(&[(fingerprint, change)]);
        self.swap_table(state, rewritten, now_ms);
        self.release(reference);
    }

    /// Without room for another set, the entry stays as it is: dead groups are never served.
    fn point_or_drop(&self, live: &[Arc<Group>], now_ms: UnixMs) -> SweepVerdict {
        if live.is_empty() {
            return SweepVerdict::Drop;
        }
        self.refer_to(live, now_ms).map_or(SweepVerdict::Keep, SweepVerdict::Point)
    }

    fn count_freed(&self, entries: u64, progress: &mut SweepProgress) {
        shift(&self.counters.entries, -(entries as i64));
        progress.freed.entries += entries;
    }
}
