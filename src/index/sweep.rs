//! Sweeping: giving back the memory of what is removed or expired.
//!
//! A sweep goes round the shards, a bounded part of them a call, and takes out of each what points
//! at dead groups. A shard is read through beside lookups; only the rewriting shuts them out. Crowds
//! are worked on without the shard's lock, and a crowd that is too much for one call is gone on with
//! in the next. When no group waits to be freed, a sweep ends at once.

use std::sync::Arc;

use smallvec::SmallVec;

use super::crowd::Crowd;
use super::fingerprint::Fingerprint;
use super::group::Group;
use super::sets::{FEW_MAX, KeySet};
use super::table::Change;
use super::{Freed, Index, Reference, Shard, shift};
use crate::clock::UnixMs;

/// How many slots, and groups of crowds, one call looks at before it stops behind a shard: 5 ms.
pub(super) const SWEEP_STEPS_MAX: usize = 1 << 17;

/// The most groups that one call ends because they expired: about 10 ms.
const EXPIRED_MAX: usize = 8_192;

/// What a sweep has done so far.
#[derive(Default)]
struct Progress {
    freed: Freed,
    steps: usize,
    /// The crowds of the shard.
    crowds: Vec<(Fingerprint, Reference, Arc<KeySet>)>,
}

/// What is to become of an entry.
enum Verdict {
    Keep,
    Point(Reference),
    Drop,
}

impl Index {
    /// Frees a part of what is removed or expired; called again and again, all of it. Lookups and
    /// announcements go on meanwhile; of two sweeps at once, one does nothing.
    pub fn sweep(&self, now_ms: UnixMs) -> Freed {
        let mut progress = Progress::default();
        let Some(mut next) = self.next_swept.try_lock() else { return progress.freed };
        progress.freed.groups += self.groups.expire(now_ms, EXPIRED_MAX);
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

    /// Sweeps a shard, and says whether it is done with it.
    fn sweep_shard(&self, shard: &Shard, now_ms: UnixMs, progress: &mut Progress) -> bool {
        self.sweep_table(shard, now_ms, progress);
        let crowds = std::mem::take(&mut progress.crowds);
        crowds.into_iter().all(|(fingerprint, reference, set)| {
            let KeySet::Crowd(crowd) = &*set else { return true };
            // Some in any case: the table alone may have been as much as one call does.
            let left = self.sweep_steps_max.saturating_sub(progress.steps);
            let left = left.max(self.sweep_steps_max / 4);
            let pruned = crowd.prune(left, now_ms, &self.groups);
            progress.steps += crowd.len().min(left);
            shift(&self.counters.crowd_groups, -(pruned.entries as i64));
            progress.freed.groups += pruned.groups;
            self.count_freed(pruned.entries, progress);
            if pruned.is_through {
                self.retire(fingerprint, reference, crowd, now_ms);
            }
            pruned.is_through
        })
    }

    fn sweep_table(&self, shard: &Shard, now_ms: UnixMs, progress: &mut Progress) {
        let state = shard.0.upgradable_read();
        progress.steps += 1 + state.table.slot_count();
        let mut changes: Vec<Change> = Vec::new();
        let mut released = Vec::new();
        for (fingerprint, reference) in state.table.iter() {
            let reference = Reference::read(reference);
            let change = match self.judge(fingerprint, reference, now_ms, progress) {
                Verdict::Keep => continue,
                Verdict::Point(new) => Some(new.write()),
                Verdict::Drop => {
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
        progress: &mut Progress,
    ) -> Verdict {
        match reference {
            Reference::Group(id) => {
                if self.groups.get(id).as_ref().is_some_and(|group| group.is_live(now_ms)) {
                    return Verdict::Keep;
                }
                self.count_freed(1, progress);
                Verdict::Drop
            }
            Reference::Set(id) => {
                let Some(set) = self.sets.get(id).clone() else { return Verdict::Drop };
                if let KeySet::Few(few) = &*set {
                    return self.judge_few(&few.groups, now_ms, progress);
                }
                progress.crowds.push((fingerprint, reference, set));
                Verdict::Keep
            }
        }
    }

    fn judge_few(&self, groups: &[Arc<Group>], now_ms: UnixMs, progress: &mut Progress) -> Verdict {
        let live: SmallVec<[Arc<Group>; FEW_MAX]> =
            groups.iter().filter(|group| group.is_live(now_ms)).cloned().collect();
        if live.len() == groups.len() {
            return Verdict::Keep;
        }
        let verdict = self.point_or_drop(&live, now_ms);
        if !matches!(verdict, Verdict::Keep) {
            self.count_freed((groups.len() - live.len()) as u64, progress);
        }
        verdict
    }

    /// Lets the entry of a crowd that has become small point at a shared set again.
    pub(super) fn retire(
        &self,
        fingerprint: Fingerprint,
        reference: Reference,
        crowd: &Crowd,
        now_ms: UnixMs,
    ) {
        if crowd.len() > FEW_MAX {
            return;
        }
        let state = self.shard(fingerprint).upgradable_read();
        if state.table.get(fingerprint) != Some(reference.write()) {
            return;
        }
        let Some(mut groups) = crowd.retire() else { return };
        groups.sort_by(|one, other| one.order_on_key(other));
        let change = match self.point_or_drop(&groups, now_ms) {
            Verdict::Keep => return crowd.reinstate(),
            Verdict::Point(new) => Some(new.write()),
            Verdict::Drop => {
                shift(&self.counters.keys, -1);
                None
            }
        };
        shift(&self.counters.crowd_groups, -(groups.len() as i64));
        let rewritten = state.table.rewritten(&[(fingerprint, change)]);
        self.swap_table(state, rewritten, now_ms);
        self.release(reference);
    }

    /// Without room for another set, the entry stays as it is: dead groups are never served.
    fn point_or_drop(&self, live: &[Arc<Group>], now_ms: UnixMs) -> Verdict {
        if live.is_empty() {
            return Verdict::Drop;
        }
        self.refer_to(live, now_ms).map_or(Verdict::Keep, Verdict::Point)
    }

    fn count_freed(&self, entries: u64, progress: &mut Progress) {
        shift(&self.counters.entries, -(entries as i64));
        progress.freed.entries += entries;
    }
}
