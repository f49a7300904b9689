//! A hot key: the groups of one key that has very many.
//!
//! A hot key changes in place, so adding the n-th group does not copy the n-1 before it. It has its
//! own lock, so a long scan of one key delays no other; no call holds it for longer than a lookup's
//! scan takes, or [`CHUNK_STEPS`] when dead groups are removed. A hot key that is *retired* has
//! been replaced in its entry: whoever wanted to add to it starts over at the entry.

mod rotation;

use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Memory};

use arrayvec::ArrayVec;
use parking_lot::{RwLock, RwLockWriteGuard};

use super::LinkOutcome;
use super::answer::Wanted;
use super::group::{Group, Groups};
use super::lineage::LineageRef;
use super::pass::{Pass, PassEnd};
use crate::clock::UnixMs;
use crate::types::Found;
use rotation::Rotation;

/// What a group takes up in a hot key, roughly: 48 bytes as a slot, 10 in the table by merge key, 12
/// on its network's shelf, with room for growth. A network that has one slot takes 100 more.
pub(super) const HOT_KEY_GROUP_BYTES: u64 = 120;

/// The most slots that a lookup with a filter visits: a few milliseconds. The next lookup
/// continues from there.
const FILTERED_STEPS_MAX: usize = 131_072;

/// How many dead groups in the way of a lookup are enough to take all of them out.
const DEAD_STEPS_MAX: usize = 1_024;

/// How many groups are checked for dead ones under one hold of the lock: 0.1 ms.
const CHUNK_STEPS: usize = 1_024;

/// How many groups adding one looks at for dead ones: more than one, so that dead groups never
/// outnumber the others long.
const INSERT_STEPS: usize = 4;

/// The most groups that a shared set has. Adding the n-th group to a key copies n pointers: up to
/// here that is cheaper than what a hot key costs in memory.
pub(super) const FEW_MAX: usize = 32;

/// A hot key this small becomes a shared set again. Well below what makes a hot key, so that a key does
/// not go back and forth.
const RETIRE_MAX: usize = FEW_MAX / 2;

/// Many groups of one key.
pub(super) struct HotKey {
    state: RwLock<HotKeyState>,
    /// Counted up by every change, after it is made.
    version: AtomicU64,
    hasher: RandomState,
    /// What lookups cost, for tests.
    #[cfg(test)]
    slots_visited: AtomicU64,
}

/// What adding a group to a hot key is bounded by.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// The most providers of one network.
    pub(super) network_max: usize,
    pub(super) now_ms: UnixMs,
}

/// What adding a group to a hot key did.
pub(super) struct InsertOutcome {
    /// `None`: nothing, because the hot key is retired.
    pub(super) outcome: Option<LinkOutcome>,
    /// How many groups more the hot key has.
    pub(super) grown: i64,
}

/// What taking dead groups out did.
#[derive(Default)]
pub(super) struct Pruned {
    /// How many there were.
    pub(super) entries: u64,
    /// How many groups that freed.
    pub(super) groups: u64,
    /// Whether the end was reached; the next time begins at the beginning then.
    pub(super) is_through: bool,
}

/// What a lookup found.
pub(super) struct HotKeyAnswer {
    pub(super) answer: Found,
    /// How many dead groups were taken out on the way.
    pub(super) pruned: u64,
    /// If the answer stays the same until something changes.
    pub(super) lasts: Option<Lasting>,
}

/// An answer that stays the same until something changes.
pub(super) struct Lasting {
    /// When the hot key last changed it.
    pub(super) changed_at_ms: UnixMs,
    /// When the first of the groups that are served expires.
    pub(super) ends_at_ms: UnixMs,
}

/// What one pass over a hot key found.
struct Scan {
    pass: Pass,
    changed_at_ms: UnixMs,
    /// When the first of the groups that are served expires.
    ends_at_ms: UnixMs,
    /// Dead groups that were looked at.
    dead: usize,
    /// Slots that are in the wrong list, since records changed.
    misplaced: Vec<u32>,
}

#[derive(Default)]
struct HotKeyState {
    rotation: Rotation,
    changed_at_ms: UnixMs,
    is_retired: bool,
}

impl HotKey {
    /// A hot key of these groups, which counts as a reference to each.
    pub(super) fn new(groups: &[Arc<Group>], now_ms: UnixMs) -> Self {
        let hasher = RandomState::new();
        let mut state = HotKeyState { changed_at_ms: now_ms, ..HotKeyState::default() };
        for group in groups {
            group.retain();
            // They come from a key, so none supersedes another.
            state.rotation.insert(&hasher, group, usize::MAX, 0);
        }
        Self {
            state: RwLock::new(state),
            version: AtomicU64::new(0),
            hasher,
            #[cfg(test)]
            slots_visited: AtomicU64::new(0),
        }
    }

    /// Adds a group, unless its network has `network_max` providers here that stand longer, and removes
    /// those that it supersedes, and the newest of a network that has too many.
    pub(super) fn insert(
        &self,
        group: &Arc<Group>,
        Limits { network_max, now_ms }: Limits,
        groups: &Groups,
    ) -> InsertOutcome {
        let mut state = self.state.write();
        if state.is_retired {
            return InsertOutcome { outcome: None, grown: 0 };
        }
        if let Some(newest) = state.rotation.find(&self.hasher, group, now_ms) {
            let outcome = if newest.serial > group.serial {
                LinkOutcome::Behind
            } else {
                LinkOutcome::Refreshed
            };
            return InsertOutcome { outcome: Some(outcome), grown: 0 };
        }
        let decision = state.rotation.insert(&self.hasher, group, network_max, now_ms);
        if decision.is_linked {
            group.mark_changed(now_ms);
            group.retain();
            group.count_keys(1);
        }
        decision.gone.iter().for_each(|gone| gone.count_key_off());
        let mut gone = decision.gone.into_vec();
        state.rotation.prune(&self.hasher, INSERT_STEPS, now_ms, &mut gone);
        if decision.is_linked || !gone.is_empty() {
            state.changed_at_ms = state.changed_at_ms.max(now_ms);
            self.count_change();
        }
        drop(state);
        gone.iter().for_each(|group| {
            groups.release(group);
        });
        let grown = i64::from(decision.is_linked) - gone.len() as i64;
        InsertOutcome { outcome: Some(decision.outcome), grown }
    }

    /// The answer of the key.
    ///
    /// Without a filter it visits few more slots than it serves. When that many are dead, all dead
    /// ones are removed, once, which visits every group.
    pub(super) fn answer(
        &self,
        wanted: Wanted<'_>,
        shard_changed_at_ms: UnixMs,
        groups: &Groups,
    ) -> HotKeyAnswer {
        let is_filtered = !wanted.filter.is_empty();
        let steps_max = match wanted.records_max {
            Some(records_max) if is_filtered => records_max.get().max(FILTERED_STEPS_MAX),
            Some(records_max) => records_max.get().saturating_mul(4).saturating_add(64),
            None => usize::MAX,
        };
        let mut pruned = 0;
        let mut scan = self.scan(steps_max, wanted);
        if !scan.misplaced.is_empty() {
            let mut state = self.state.write();
            state.rotation.put_right(&scan.misplaced);
            self.count_change();
            drop(state);
            scan = self.scan(steps_max, wanted);
        }
        let is_short = !is_filtered && scan.pass.is_short(wanted);
        if is_short || scan.dead > DEAD_STEPS_MAX {
            pruned = self.prune_all(wanted.now_ms, groups);
            // What is in the way of the others now is hidden, which is a filter.
            let steps_max = if is_short { FILTERED_STEPS_MAX.max(steps_max) } else { steps_max };
            scan = self.scan(steps_max, wanted);
        }
        let is_lasting = scan.pass.end() == PassEnd::Whole && !is_filtered;
        let changed_at_ms = scan.changed_at_ms.max(shard_changed_at_ms);
        let answer = scan.pass.finish(changed_at_ms, wanted.now_ms);
        let lasts = is_lasting
            .then_some(Lasting { changed_at_ms: scan.changed_at_ms, ends_at_ms: scan.ends_at_ms });
        HotKeyAnswer { answer, pruned, lasts }
    }

    /// Another number after every change.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Memory::Acquire)
    }

    /// How many slots lookups have visited.
    #[cfg(test)]
    pub(super) fn slots_visited(&self) -> u64 {
        self.slots_visited.load(Memory::Relaxed)
    }

    fn count_change(&self) {
        self.version.fetch_add(1, Memory::Release);
    }

    fn scan(&self, steps_max: usize, wanted: Wanted<'_>) -> Scan {
        let state = self.state.read();
        let (mut dead, mut misplaced, mut ends_at_ms) = (0, Vec::new(), UnixMs::MAX);
        let mut changed_at_ms = state.changed_at_ms;
        let mut turns = state.rotation.turns();
        let mut candidates = turns.by_ref().filter_map(|(rank, position)| {
            #[cfg(test)]
            self.slots_visited.fetch_add(1, Memory::Relaxed);
            let changed = &mut changed_at_ms;
            let merge =
                state.rotation.merge_at(position, wanted.now_ms, changed, &mut misplaced)?;
            dead += merge.dead;
            ends_at_ms = ends_at_ms.min(merge.ends_at_ms);
            Some((rank, merge))
        });
        let pass = Pass::go(&mut candidates, steps_max, wanted);
        drop(candidates);
        turns.finish(pass.end());
        Scan { pass, changed_at_ms, ends_at_ms, dead, misplaced }
    }

    /// Removes dead groups, visiting no more than about `steps`; the lock is
    /// released fairly in between. Continues where the last call stopped.
    pub(super) fn prune(&self, steps: usize, now_ms: UnixMs, groups: &Groups) -> Pruned {
        let mut pruned = Pruned::default();
        let mut left = steps;
        while left > 0 && !pruned.is_through {
            let chunk = left.min(CHUNK_STEPS);
            left -= chunk;
            let mut gone = Vec::new();
            let mut state = self.state.write();
            if state.is_retired {
                return Pruned { is_through: true, ..pruned };
            }
            pruned.is_through = state.rotation.prune(&self.hasher, chunk, now_ms, &mut gone);
            if !gone.is_empty() {
                state.changed_at_ms = state.changed_at_ms.max(now_ms);
                self.count_change();
            }
            RwLockWriteGuard::unlock_fair(state);
            pruned.entries += gone.len() as u64;
            pruned.groups += gone.iter().map(|group| groups.release(group)).sum::<u64>();
        }
        pruned
    }

    /// How many groups there are.
    pub(super) fn len(&self) -> usize {
        self.state.read().rotation.len()
    }

    /// The newest group of a lineage that lives.
    pub(super) fn newest_like(
        &self,
        lineage: &LineageRef<'_>,
        now_ms: UnixMs,
    ) -> Option<Arc<Group>> {
        self.state.read().rotation.newest_like(&self.hasher, lineage, now_ms).cloned()
    }

    /// Whether exactly this group is there.
    pub(super) fn has(&self, group: &Arc<Group>) -> bool {
        self.state.read().rotation.has(&self.hasher, group)
    }

    /// Retires the hot key if it is small enough. Returns its groups.
    pub(super) fn retire(&self) -> Option<ArrayVec<Arc<Group>, RETIRE_MAX>> {
        let mut state = self.state.write();
        if state.is_retired || state.rotation.len() > RETIRE_MAX {
            return None;
        }
        state.is_retired = true;
        Some(state.rotation.iter().cloned().collect())
    }

    /// Undoes the retirement, when nothing could replace the hot key.
    pub(super) fn reinstate(&self) {
        self.state.write().is_retired = false;
    }

    /// Gives the references back of a hot key that is retired. Returns how many groups that freed.
    pub(super) fn release_all(&self, groups: &Groups) -> u64 {
        let state = self.state.read();
        debug_assert!(state.is_retired);
        state.rotation.iter().map(|group| groups.release(group)).sum()
    }

    fn prune_all(&self, now_ms: UnixMs, groups: &Groups) -> u64 {
        self.state.write().rotation.prune_from_start();
        self.prune(usize::MAX, now_ms, groups).entries
    }
}
