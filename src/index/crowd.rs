//! A crowd: the groups of one key that has very many.
//!
//! A crowd changes in place, so adding the n-th group does not copy the n-1 before it. It has its
//! own lock, so a long scan of one key delays no other; no call holds it for longer than a lookup's
//! scan takes, or [`CHUNK_STEPS`] when dead groups are taken out. A crowd that is *retired* has
//! been replaced in its entry: whoever wanted to add to it starts over at the entry.

mod circle;

use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering as Memory};

use arrayvec::ArrayVec;
use parking_lot::{RwLock, RwLockWriteGuard};

use super::Outcome;
use super::answer::{Round, Wanted};
use super::group::{Group, Groups};
use super::sets::FEW_MAX;
use crate::clock::UnixMs;
use crate::types::Found;
use circle::Circle;

/// What a group takes up in a crowd, roughly: 40 bytes as a member, 10 in the table by identity, 4
/// in a list, with room for growth.
pub(super) const CROWD_GROUP_BYTES: u64 = 80;

/// The most members that a lookup with a filter looks at: a few milliseconds. The next lookup goes
/// on where it stopped.
const FILTERED_STEPS_MAX: usize = 131_072;

/// How many dead groups in the way of a lookup are enough to take all of them out.
const DEAD_STEPS_MAX: usize = 1_024;

/// How many groups are looked at for dead ones before others have their turn: 0.1 ms.
const CHUNK_STEPS: usize = 1_024;

/// How many groups adding one looks at for dead ones: more than one, so that dead groups never
/// outnumber the others long.
const INSERT_STEPS: usize = 4;

/// A crowd this small becomes a shared set again. Well below what makes a crowd, so that a key does
/// not go back and forth.
const RETIRE_MAX: usize = FEW_MAX / 2;

/// Many groups of one key.
pub(super) struct Crowd {
    state: RwLock<State>,
    cursor: AtomicU32,
    /// Counted up by every change, after it is made.
    version: AtomicU64,
    hasher: RandomState,
}

/// What adding a group to a crowd did.
pub(super) struct Joined {
    /// `None`: nothing, because the crowd is retired.
    pub(super) outcome: Option<Outcome>,
    /// How many groups more the crowd has.
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
pub(super) struct Served {
    pub(super) answer: Found,
    /// How many dead groups were taken out on the way.
    pub(super) pruned: u64,
    /// If the answer stays the same until something changes.
    pub(super) lasts: Option<Lasting>,
}

/// An answer that stays the same until something changes.
pub(super) struct Lasting {
    /// When the crowd last changed it.
    pub(super) changed_at_ms: UnixMs,
    /// When the first of the groups that are served expires.
    pub(super) ends_at_ms: UnixMs,
}

/// What going round a crowd found.
struct Scan {
    round: Round,
    changed_at_ms: UnixMs,
    /// When the first of the groups that are served expires.
    ends_at_ms: UnixMs,
    /// Dead groups that were looked at.
    dead: usize,
    /// Members that stand in the wrong list, since records changed.
    misplaced: Vec<u32>,
}

#[derive(Default)]
struct State {
    circle: Circle,
    changed_at_ms: UnixMs,
    is_retired: bool,
}

impl Crowd {
    /// A crowd of these groups, which counts as a reference to each.
    pub(super) fn new(groups: &[Arc<Group>], now_ms: UnixMs) -> Self {
        let hasher = RandomState::new();
        let mut state = State { changed_at_ms: now_ms, ..State::default() };
        for group in groups {
            group.retain();
            // They come from a key, so none supersedes another.
            state.circle.insert(&hasher, group, 0);
        }
        let (cursor, version) = (AtomicU32::new(0), AtomicU64::new(0));
        Self { state: RwLock::new(state), cursor, version, hasher }
    }

    /// Adds a group, and takes out the ones that it supersedes, which are told before anybody sees
    /// that they are gone.
    pub(super) fn insert(
        &self,
        group: &Arc<Group>,
        now_ms: UnixMs,
        groups: &Groups,
        superseded: impl FnOnce(&[Arc<Group>]),
    ) -> Joined {
        let mut state = self.state.write();
        if state.is_retired {
            return Joined { outcome: None, grown: 0 };
        }
        if let Some(newest) = state.circle.find(&self.hasher, group, now_ms) {
            let outcome =
                if newest.serial > group.serial { Outcome::Behind } else { Outcome::Refreshed };
            return Joined { outcome: Some(outcome), grown: 0 };
        }
        let placing = state.circle.insert(&self.hasher, group, now_ms);
        if placing.is_placed {
            group.touch(now_ms);
            group.retain();
        }
        superseded(&placing.gone);
        let mut gone = placing.gone.into_vec();
        state.circle.prune(&self.hasher, INSERT_STEPS, now_ms, &mut gone);
        if placing.is_placed || !gone.is_empty() {
            state.changed_at_ms = state.changed_at_ms.max(now_ms);
            self.count_change();
        }
        drop(state);
        gone.iter().for_each(|group| {
            groups.release(group);
        });
        let grown = i64::from(placing.is_placed) - gone.len() as i64;
        Joined { outcome: Some(placing.outcome), grown }
    }

    /// The answer of the key.
    ///
    /// Without a filter it looks at few more members than it serves. When that many are dead, they
    /// are taken out, once; that costs a look at all.
    pub(super) fn answer(
        &self,
        wanted: Wanted<'_>,
        shard_changed_at_ms: UnixMs,
        groups: &Groups,
    ) -> Served {
        let is_filtered = !wanted.filter.is_empty();
        let steps_max = match wanted.records_max {
            Some(records_max) if is_filtered => records_max.get().max(FILTERED_STEPS_MAX),
            Some(records_max) => records_max.get().saturating_mul(4).saturating_add(64),
            None => usize::MAX,
        };
        let start = self.cursor.load(Memory::Relaxed);
        let mut pruned = 0;
        let mut scan = self.scan(start, steps_max, wanted);
        if !scan.misplaced.is_empty() {
            let mut state = self.state.write();
            state.circle.put_right(&scan.misplaced);
            self.count_change();
            drop(state);
            scan = self.scan(start, steps_max, wanted);
        }
        let is_short = !is_filtered && scan.round.is_short(wanted);
        if is_short || scan.dead > DEAD_STEPS_MAX {
            pruned = self.prune_all(wanted.now_ms, groups);
            scan = self.scan(start, if is_short { usize::MAX } else { steps_max }, wanted);
        }
        let is_lasting = scan.round.is_whole() && !is_filtered;
        let changed_at_ms = scan.changed_at_ms.max(shard_changed_at_ms);
        let answer = scan.round.finish((&self.cursor, start), changed_at_ms, wanted.now_ms);
        let lasts = is_lasting
            .then_some(Lasting { changed_at_ms: scan.changed_at_ms, ends_at_ms: scan.ends_at_ms });
        Served { answer, pruned, lasts }
    }

    /// Another number after every change.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Memory::Acquire)
    }

    fn count_change(&self) {
        self.version.fetch_add(1, Memory::Release);
    }

    fn scan(&self, start: u32, steps_max: usize, wanted: Wanted<'_>) -> Scan {
        let state = self.state.read();
        let (mut dead, mut misplaced, mut ends_at_ms) = (0, Vec::new(), UnixMs::MAX);
        let mut changed_at_ms = state.changed_at_ms;
        let length = state.circle.length();
        let round = Round::go(start, length, steps_max, wanted, |position| {
            let changed = &mut changed_at_ms;
            let join = state.circle.join_at(position, wanted.now_ms, changed, &mut misplaced)?;
            dead += join.dead;
            ends_at_ms = ends_at_ms.min(join.ends_at_ms);
            Some(join)
        });
        Scan { round, changed_at_ms, ends_at_ms, dead, misplaced }
    }

    /// Takes dead groups out, looking at no more than about `steps`; lookups and announcements
    /// have their turns in between. Goes on where it stopped the last time.
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
            pruned.is_through = state.circle.prune(&self.hasher, chunk, now_ms, &mut gone);
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
        self.state.read().circle.len()
    }

    /// The newest group of a lineage that lives.
    pub(super) fn newest_like(&self, group: &Group, now_ms: UnixMs) -> Option<Arc<Group>> {
        self.state.read().circle.newest_like(&self.hasher, group, now_ms).cloned()
    }

    /// Whether exactly this group is there.
    pub(super) fn has(&self, group: &Arc<Group>) -> bool {
        self.state.read().circle.has(&self.hasher, group)
    }

    /// Retires the crowd if it is small enough, and says which groups it had.
    pub(super) fn retire(&self) -> Option<ArrayVec<Arc<Group>, RETIRE_MAX>> {
        let mut state = self.state.write();
        if state.is_retired || state.circle.len() > RETIRE_MAX {
            return None;
        }
        state.is_retired = true;
        Some(state.circle.iter().cloned().collect())
    }

    /// Takes the retirement back, when nothing could take the crowd's place.
    pub(super) fn reinstate(&self) {
        self.state.write().is_retired = false;
    }

    /// Gives the references back of a crowd that is retired. Returns how many groups that freed.
    pub(super) fn release_all(&self, groups: &Groups) -> u64 {
        let state = self.state.read();
        debug_assert!(state.is_retired);
        state.circle.iter().map(|group| groups.release(group)).sum()
    }

    fn prune_all(&self, now_ms: UnixMs, groups: &Groups) -> u64 {
        self.state.write().circle.prune_from_start();
        self.prune(usize::MAX, now_ms, groups).entries
    }
}
