//! A crowd: the groups of one key that has very many.
//!
//! A crowd changes in place, so adding the n-th group does not copy the n-1 before it. Groups of
//! one identity are one *member*, whose record is joined when it is served. Members stand in two
//! lists, with and without addresses, which one after the other are the circle that answers go
//! round; places in it are kept, by leaving gaps, until too many are empty.
//!
//! A crowd has its own lock, which is never waited for under a shard's lock by anything but a
//! sweep, so a long scan of one key delays no other. A crowd that is *retired* has been replaced
//! in its entry: whoever wanted to add to it starts over at the entry.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering as Memory};

use arrayvec::ArrayVec;
use hashbrown::HashTable;
use parking_lot::{RwLock, RwLockUpgradableReadGuard};
use smallvec::SmallVec;

use super::answer::{Answer, JOINED_MAX, Round, Wanted, join};
use super::group::{Group, Groups};
use super::sets::FEW_MAX;
use super::{Freed, Outcome};
use crate::clock::UnixMs;
use crate::types::ReadyRecord;

/// What a group takes up in a crowd, roughly: 48 bytes as a member, 5 in the table by identity, 10
/// in the one by context, 4 in a list, with room for growth.
pub(super) const CROWD_GROUP_BYTES: u64 = 96;

/// The most members that a lookup with a filter looks at: a few milliseconds. The next lookup goes
/// on where it stopped.
const FILTERED_STEPS_MAX: usize = 131_072;

/// A crowd this small becomes a shared set again. Well below what makes a crowd, so that a key does
/// not go back and forth.
const RETIRE_MAX: usize = FEW_MAX / 2;

/// A place in a list that nobody takes.
const GAP: u32 = u32::MAX;

/// Many groups of one key.
pub(super) struct Crowd {
    state: RwLock<State>,
    cursor: AtomicU32,
    hasher: RandomState,
}

/// What adding a group to a crowd did.
pub(super) struct Joined {
    /// `None`: nothing, because the crowd is retired.
    pub(super) outcome: Option<Outcome>,
    /// How many groups more the crowd has.
    pub(super) grown: i64,
}

#[derive(Default)]
struct State {
    members: Vec<Member>,
    by_identity: HashTable<u32>,
    /// The member, and the position of the group in it.
    by_context: HashTable<(u32, u32)>,
    with_addrs: List,
    without_addrs: List,
    group_count: usize,
    /// At how many groups dead ones are looked for, so that they never outnumber the others long.
    prune_at: usize,
    changed_at_ms: UnixMs,
    is_retired: bool,
}

struct Member {
    groups: SmallVec<[Arc<Group>; 1]>,
    has_addrs: bool,
    /// The position in its list.
    position: u32,
}

#[derive(Default)]
struct List {
    members: Vec<u32>,
    gaps: usize,
}

impl Crowd {
    /// A crowd of these groups, which counts as a reference to each.
    pub(super) fn new(groups: &[Arc<Group>], now_ms: UnixMs) -> Self {
        let hasher = RandomState::new();
        let mut state = State::default();
        for group in groups {
            group.retain();
            state.insert(&hasher, group);
        }
        state.changed_at_ms = now_ms;
        state.prune_at = groups.len() * 2;
        Self { state: RwLock::new(state), cursor: AtomicU32::new(0), hasher }
    }

    /// Adds a group, or puts it in the place of the one it replaces.
    pub(super) fn insert(&self, group: &Arc<Group>, now_ms: UnixMs, groups: &Groups) -> Joined {
        let is_due = {
            let state = self.state.read();
            state.group_count >= state.prune_at
        };
        let pruned = if is_due { self.prune(now_ms, groups).entries as i64 } else { 0 };
        let (outcome, added) = self.add(group, now_ms, groups);
        Joined { outcome, grown: added - pruned }
    }

    /// The answer of the key, and how many dead groups were taken out on the way.
    ///
    /// Without a filter it looks at few more members than it serves. When that many are dead, they
    /// are taken out, once; that costs a look at all.
    pub(super) fn answer(
        &self,
        wanted: Wanted<'_>,
        shard_changed_at_ms: UnixMs,
        groups: &Groups,
    ) -> (Answer, u64) {
        let is_filtered = !wanted.filter.is_empty();
        let steps_max = match wanted.records_max {
            Some(records_max) if is_filtered => records_max.get().max(FILTERED_STEPS_MAX),
            Some(records_max) => records_max.get().saturating_mul(4).saturating_add(64),
            None => usize::MAX,
        };
        let start = self.cursor.load(Memory::Relaxed);
        let scan = |steps_max| {
            let state = self.state.read();
            let mut changed_at_ms = state.changed_at_ms.max(shard_changed_at_ms);
            let length = state.circle_length();
            let round = Round::go(start, length, steps_max, wanted, |position| {
                state.record_at(position, wanted.now_ms, &mut changed_at_ms)
            });
            (round, state.with_addrs.members.len(), changed_at_ms)
        };
        let mut pruned = 0;
        let mut scanned = scan(steps_max);
        if !is_filtered && scanned.0.is_short(wanted) {
            pruned = self.prune(wanted.now_ms, groups).entries;
            scanned = scan(usize::MAX);
        }
        let (round, with_addrs, changed_at_ms) = scanned;
        let cursor = (&self.cursor, start);
        (round.finish(with_addrs, cursor, changed_at_ms, wanted.now_ms), pruned)
    }

    /// Takes dead groups and gaps out. Lookups go on meanwhile.
    pub(super) fn prune(&self, now_ms: UnixMs, groups: &Groups) -> Freed {
        let state = self.state.upgradable_read();
        if state.is_retired {
            return Freed::default();
        }
        let (mut rebuilt, dead) = state.rebuild(&self.hasher, now_ms);
        if !dead.is_empty() {
            rebuilt.changed_at_ms = rebuilt.changed_at_ms.max(now_ms);
        }
        let old = std::mem::replace(&mut *RwLockUpgradableReadGuard::upgrade(state), rebuilt);
        drop(old);
        let freed = dead.iter().map(|group| groups.release(group)).sum();
        Freed { entries: dead.len() as u64, groups: freed }
    }

    /// How many groups there are.
    pub(super) fn len(&self) -> usize {
        self.state.read().group_count
    }

    /// Whether some group is dead.
    pub(super) fn has_dead(&self, now_ms: UnixMs) -> bool {
        let state = self.state.read();
        state.members.iter().any(|member| member.groups.iter().any(|group| !group.is_live(now_ms)))
    }

    /// Retires the crowd if it is small enough, and says which groups it had.
    pub(super) fn retire(&self) -> Option<ArrayVec<Arc<Group>, RETIRE_MAX>> {
        let mut state = self.state.write();
        if state.group_count > RETIRE_MAX {
            return None;
        }
        state.is_retired = true;
        Some(state.members.iter().flat_map(|member| &member.groups).cloned().collect())
    }

    /// Takes the retirement back, when nothing could take the crowd's place.
    pub(super) fn reinstate(&self) {
        self.state.write().is_retired = false;
    }

    /// Gives the references back of a crowd that is retired. Returns how many groups that freed.
    pub(super) fn release_all(&self, groups: &Groups) -> u64 {
        let state = self.state.read();
        debug_assert!(state.is_retired);
        let all = state.members.iter().flat_map(|member| &member.groups);
        all.map(|group| groups.release(group)).sum()
    }

    /// Adds a group, and says what that did and how many groups more there are.
    fn add(&self, group: &Arc<Group>, now_ms: UnixMs, groups: &Groups) -> (Option<Outcome>, i64) {
        let mut state = self.state.write();
        if state.is_retired {
            return (None, 0);
        }
        if state.find(&self.hasher, group).is_some_and(|same| Arc::ptr_eq(same, group)) {
            return (Some(Outcome::Refreshed), 0);
        }
        group.touch(now_ms);
        group.retain();
        state.changed_at_ms = state.changed_at_ms.max(now_ms);
        let replaced = state.insert(&self.hasher, group);
        drop(state);
        let Some(replaced) = replaced else { return (Some(Outcome::Added), 1) };
        let was_live = replaced.is_live(now_ms);
        groups.release(&replaced);
        (Some(if was_live { Outcome::Refreshed } else { Outcome::Added }), 0)
    }
}

impl State {
    fn find(&self, hasher: &RandomState, group: &Group) -> Option<&Arc<Group>> {
        let hash = hasher.hash_one(group.identity_and_context());
        let is_same = |at: &&(u32, u32)| self.group_at(**at).is_some_and(|g| g.replaces(group));
        let at = self.by_context.find(hash, |at| is_same(&at))?;
        self.group_at(*at)
    }

    /// Adds a group, or returns the one whose place it took.
    fn insert(&mut self, hasher: &RandomState, group: &Arc<Group>) -> Option<Arc<Group>> {
        let Self { members, by_identity, by_context, .. } = self;
        let group_of = |(member, position): (u32, u32)| {
            let member: &Member = members.get(member as usize)?;
            member.groups.get(position as usize)
        };
        let hash = hasher.hash_one(group.identity_and_context());
        let known = by_context.find(hash, |at| group_of(*at).is_some_and(|g| g.replaces(group)));
        if let Some((member, position)) = known.copied() {
            let place = members.get_mut(member as usize)?.groups.get_mut(position as usize)?;
            let replaced = std::mem::replace(place, group.clone());
            self.list(member);
            return Some(replaced);
        }
        let identity = group.record.identity();
        let identity_of = |member: u32| {
            members.get(member as usize)?.groups.first().map(|group| group.record.identity())
        };
        let hash_of = |member: &u32| hasher.hash_one(identity_of(*member));
        let identity_hash = hasher.hash_one(Some(identity));
        let known = by_identity.find(identity_hash, |at| identity_of(*at) == Some(identity));
        let member = known.copied().unwrap_or(members.len() as u32);
        if known.is_none() {
            by_identity.insert_unique(identity_hash, member, hash_of);
            members.push(Member { groups: SmallVec::new(), has_addrs: false, position: GAP });
        }
        let place = members.get_mut(member as usize)?;
        place.groups.push(group.clone());
        let at = (member, place.groups.len() as u32 - 1);
        by_context.insert_unique(hash, at, |(member, position)| {
            let groups = members.get(*member as usize).map(|member| &member.groups);
            let group = groups.and_then(|groups| groups.get(*position as usize));
            group.map_or(0, |group| hasher.hash_one(group.identity_and_context()))
        });
        self.group_count += 1;
        self.list(member);
        None
    }

    /// Puts a member into the list where it belongs.
    fn list(&mut self, number: u32) {
        let Some(member) = self.members.get_mut(number as usize) else { return };
        let has_addrs = member.groups.iter().take(JOINED_MAX).any(|group| group.record.has_addrs());
        if member.position != GAP && member.has_addrs == has_addrs {
            return;
        }
        let (from, to) = if has_addrs {
            (&mut self.without_addrs, &mut self.with_addrs)
        } else {
            (&mut self.with_addrs, &mut self.without_addrs)
        };
        if let Some(place) = from.members.get_mut(member.position as usize) {
            *place = GAP;
            from.gaps += 1;
        }
        member.has_addrs = has_addrs;
        member.position = to.members.len() as u32;
        to.members.push(number);
        if from.gaps > 32 && from.gaps > from.members.len() / 2 {
            from.close_gaps(&mut self.members);
        }
    }

    /// The same without dead groups and gaps, in the same order; and the dead groups.
    fn rebuild(&self, hasher: &RandomState, now_ms: UnixMs) -> (Self, Vec<Arc<Group>>) {
        let mut rebuilt = Self { changed_at_ms: self.changed_at_ms, ..Self::default() };
        let mut dead = Vec::new();
        let order = self.with_addrs.members.iter().chain(&self.without_addrs.members);
        let groups = order.filter_map(|member| self.members.get(*member as usize));
        for group in groups.flat_map(|member| &member.groups) {
            if group.is_live(now_ms) {
                rebuilt.insert(hasher, group);
            } else {
                dead.push(group.clone());
            }
        }
        rebuilt.prune_at = (rebuilt.group_count * 2).max(FEW_MAX);
        (rebuilt, dead)
    }

    fn group_at(&self, (member, position): (u32, u32)) -> Option<&Arc<Group>> {
        self.members.get(member as usize)?.groups.get(position as usize)
    }

    fn circle_length(&self) -> usize {
        self.with_addrs.members.len() + self.without_addrs.members.len()
    }

    fn record_at(
        &self,
        position: usize,
        now_ms: UnixMs,
        changed_at_ms: &mut UnixMs,
    ) -> Option<Arc<ReadyRecord>> {
        let with_addrs = &self.with_addrs.members;
        let number = match with_addrs.get(position) {
            Some(number) => number,
            None => self.without_addrs.members.get(position - with_addrs.len())?,
        };
        join(&self.members.get(*number as usize)?.groups, now_ms, changed_at_ms)
    }
}

impl List {
    fn close_gaps(&mut self, members: &mut [Member]) {
        self.members.retain(|number| *number != GAP);
        self.gaps = 0;
        for (position, number) in self.members.iter().enumerate() {
            if let Some(member) = members.get_mut(*number as usize) {
                member.position = position as u32;
            }
        }
    }
}
