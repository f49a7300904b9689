//! The rotation of a hot key: the order in which its records are served when more match than fit.
//!
//! Groups of one merge key share one *slot*; their records are merged when it is served. Slots are
//! ranked by what costs something, because peers cost nothing: the operator's come first; then those of
//! other networks, one of each in turn, round-robin; and of one network those first that have been
//! announced longest without a gap. Among equals the next answer begins where the last one stopped:
//! among the operator's, among networks, among those of one network that came in the same second.
//!
//! ```text
//! operator   | slot | slot | ...          all of them, then
//! network a  | oldest | next | ...   \
//! network b  | oldest | next | ...    }   column by column
//! network c  | oldest | next | ...   /
//! ```
//!
//! A slot has the best rank of its groups. Of one network no more than a bound is kept: the newest are
//! removed. Which ones those are does not depend on the order in which groups come. The numbers of slots
//! that left are reused, until too many are vacant.
//!
//! An answer costs by what it visits: turns are found by walking the rows, never by sorting.

mod shelf;
mod turns;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use hashbrown::HashTable;

use crate::clock::UnixMs;
use crate::index::LinkOutcome;
use crate::index::group::{Group, GroupRank};
use crate::index::lineage::{LineageKey, LineageRef, Lineages, LinkDecision};
use crate::index::merge::{MERGED_MAX, RecordMerge};
use crate::invariant;
use crate::types::{MergeKey, Origin};
use shelf::{Position, Shelf};
pub(super) use turns::Turns;

/// The number of no slot.
const NO_SLOT: u32 = u32::MAX;

/// This many vacant numbers are not worth closing.
const VACANT_KEPT: usize = 32;

const SHELVED: &str = "the network of what is listed has a shelf";
const NUMBERED: &str = "a number that is listed is that of a slot";

/// The groups of a hot key, by rank.
pub(super) struct Rotation {
    slots: Vec<RotationSlot>,
    /// The numbers of slots that have no groups.
    vacant: Vec<u32>,
    /// A part of the merge key's hash, and the number of the slot.
    by_merge_key: HashTable<(u32, u32)>,
    operator: Shelf,
    /// Never an empty one.
    networks: Vec<Shelf>,
    by_origin: HashMap<Origin, u32>,
    /// The network whose turn comes first in the next answer.
    next_network: AtomicU32,
    group_count: usize,
    /// Where removing dead groups continues: the slot, and the position in it.
    next_pruned: (usize, Option<LineageKey>),
}

#[derive(Default)]
struct RotationSlot {
    groups: Lineages,
    /// Where it is listed; nowhere while it has no groups.
    listed: Option<(Origin, Position)>,
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            by_merge_key: HashTable::new(),
            operator: Shelf::new(Origin::OPERATOR),
            networks: Vec::new(),
            by_origin: HashMap::new(),
            next_network: AtomicU32::new(0),
            group_count: 0,
            next_pruned: (0, None),
        }
    }
}

impl Rotation {
    /// Adds a group, as far as its lineage has it and its network may have more than `network_max`
    /// slots here, and removes the newest of its network that is one too many.
    pub(super) fn insert(
        &mut self,
        hasher: &RandomState,
        group: &Arc<Group>,
        network_max: usize,
        now_ms: UnixMs,
    ) -> LinkDecision {
        let number =
            self.number_of(hasher, group.merge_key()).unwrap_or_else(|| self.enter(hasher, group));
        let slot = self.slots.get_mut(number as usize);
        let slot = slot.expect("numbers in the table are those of slots");
        let mut decision = slot.groups.insert(group, now_ms);
        self.group_count += usize::from(decision.is_linked);
        self.group_count -= decision.gone.len();
        self.list(number);
        for removed in self.trim_network(hasher, number, network_max) {
            if Arc::ptr_eq(&removed, group) {
                (decision.is_linked, decision.outcome) = (false, LinkOutcome::Crowded);
            } else {
                decision.gone.push(removed);
            }
        }
        decision
    }

    /// Removes the last slot of a slot's network if the network has more than `max`. Returns its groups.
    /// What was announced before origins were known is not counted: it lapses by itself.
    fn trim_network(&mut self, hasher: &RandomState, number: u32, max: usize) -> Vec<Arc<Group>> {
        let slot = invariant::present(self.slots.get(number as usize), NUMBERED);
        let listed = slot.and_then(|slot| slot.listed);
        let Some((origin, _)) = listed.filter(|(origin, _)| origin.is_network()) else {
            return Vec::new();
        };
        let shelf = self.shelf(origin).filter(|shelf| shelf.len() > max);
        let Some(last) = shelf.and_then(Shelf::last) else { return Vec::new() };
        let slot = invariant::present(self.slots.get_mut(last.number() as usize), NUMBERED);
        let groups = slot.map(|slot| std::mem::take(&mut slot.groups)).unwrap_or_default();
        let groups: Vec<_> = groups.iter().cloned().collect();
        self.group_count -= groups.len();
        if let Some(first) = invariant::present(groups.first(), "what is listed has groups") {
            self.tidy(hasher, last.number(), first.merge_key());
        }
        groups
    }

    /// If exactly this group is there: the newest of its lineage that lives, or it.
    pub(super) fn find(
        &self,
        hasher: &RandomState,
        group: &Arc<Group>,
        now_ms: UnixMs,
    ) -> Option<Arc<Group>> {
        let groups = &self.slot(hasher, group.merge_key())?.groups;
        let newest = || groups.newest_like(&group.lineage(), now_ms).unwrap_or(group).clone();
        groups.has(group).then(newest)
    }

    pub(super) fn has(&self, hasher: &RandomState, group: &Arc<Group>) -> bool {
        self.slot(hasher, group.merge_key()).is_some_and(|slot| slot.groups.has(group))
    }

    /// The newest group of a lineage that lives.
    pub(super) fn newest_like(
        &self,
        hasher: &RandomState,
        lineage: &LineageRef<'_>,
        now_ms: UnixMs,
    ) -> Option<&Arc<Group>> {
        self.slot(hasher, lineage.merge_key)?.groups.newest_like(lineage, now_ms)
    }

    /// Removes dead groups, visiting about `steps`. Returns whether it reached the end.
    pub(super) fn prune(
        &mut self,
        hasher: &RandomState,
        mut steps: usize,
        now_ms: UnixMs,
        gone: &mut Vec<Arc<Group>>,
    ) -> bool {
        while steps > 0 {
            steps -= 1;
            let (number, from) = std::mem::take(&mut self.next_pruned);
            let Some(slot) = self.slots.get_mut(number) else {
                self.close_vacancies();
                return true;
            };
            let known = gone.len();
            let next = slot.groups.prune(from, &mut steps, now_ms, gone);
            let is_done = next.is_none();
            self.next_pruned = (number + usize::from(is_done), next);
            if gone.len() > known {
                self.group_count -= gone.len() - known;
                let last = gone.last().expect("more groups are gone than before");
                let merge_key = last.merge_key();
                self.tidy(hasher, number as u32, merge_key);
            }
        }
        false
    }

    /// Lets the next [`Rotation::prune`] begin at the beginning.
    pub(super) fn prune_from_start(&mut self) {
        self.next_pruned = (0, None);
    }

    /// All groups, in any order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.slots.iter().flat_map(|slot| slot.groups.iter())
    }

    /// How many groups there are.
    pub(super) fn len(&self) -> usize {
        self.group_count
    }

    /// The slots in the order of their turns, beginning where the last answer stopped.
    pub(super) fn turns(&self) -> Turns<'_> {
        Turns::new(&self.operator, &self.networks, &self.next_network)
    }

    /// The record of a slot. Adds the slot's number to `misplaced` if it is listed wrongly, because
    /// records changed.
    pub(super) fn merge_at(
        &self,
        position: Position,
        now_ms: UnixMs,
        changed_at_ms: &mut UnixMs,
        misplaced: &mut Vec<u32>,
    ) -> Option<RecordMerge<1>> {
        let slot = invariant::present(self.slots.get(position.number() as usize), NUMBERED)?;
        let merge = slot.groups.merge(now_ms, changed_at_ms);
        if merge.has_changed && position.has_addrs() != slot.groups.has_addrs() {
            misplaced.push(position.number());
        }
        Some(merge)
    }

    /// Lists slots where they belong.
    pub(super) fn put_right(&mut self, misplaced: &[u32]) {
        misplaced.iter().for_each(|number| self.list(*number));
    }

    fn slot(&self, hasher: &RandomState, merge_key: MergeKey) -> Option<&RotationSlot> {
        let number = self.number_of(hasher, merge_key)?;
        invariant::present(self.slots.get(number as usize), NUMBERED)
    }

    fn number_of(&self, hasher: &RandomState, merge_key: MergeKey) -> Option<u32> {
        let hash = hasher.hash_one(merge_key) as u32;
        let known = self.by_merge_key.find(spread(hash), |(other, number)| {
            let slot = invariant::present(self.slots.get(*number as usize), NUMBERED);
            let first = slot.and_then(|slot| slot.groups.iter().next());
            *other == hash && first.is_some_and(|first| first.merge_key() == merge_key)
        });
        known.map(|(_, number)| *number)
    }

    /// A number for a slot with the merge key of a group, which is put in next.
    fn enter(&mut self, hasher: &RandomState, group: &Group) -> u32 {
        let number = self.vacant.pop().unwrap_or(self.slots.len() as u32);
        if number as usize == self.slots.len() {
            self.slots.push(RotationSlot::default());
        }
        let hash = hasher.hash_one(group.merge_key()) as u32;
        self.by_merge_key.insert_unique(spread(hash), (hash, number), |(hash, _)| spread(*hash));
        number
    }

    /// Lists a slot of which groups were taken where it belongs, if any is left.
    fn tidy(&mut self, hasher: &RandomState, number: u32, merge_key: MergeKey) {
        self.list(number);
        let slot = invariant::present(self.slots.get(number as usize), NUMBERED);
        if slot.is_none_or(|slot| !slot.groups.is_empty()) {
            return;
        }
        self.vacant.push(number);
        let hash = hasher.hash_one(merge_key) as u32;
        if let Ok(entry) = self.by_merge_key.find_entry(spread(hash), |(_, of)| *of == number) {
            entry.remove();
        }
    }

    /// Lists a slot where it belongs.
    fn list(&mut self, number: u32) {
        let slot = invariant::present(self.slots.get_mut(number as usize), NUMBERED);
        let Some(slot) = slot else { return };
        let belongs = place_of(&slot.groups, number);
        if slot.listed == belongs {
            return;
        }
        let left = std::mem::replace(&mut slot.listed, belongs);
        if let Some((origin, position)) = left {
            self.unlist(origin, position);
        }
        if let Some((origin, position)) = belongs {
            self.shelf_or_new(origin).insert(position);
        }
    }

    fn unlist(&mut self, origin: Origin, position: Position) {
        if origin.is_operator() {
            self.operator.remove(position);
            return;
        }
        let at = self.by_origin.get(&origin).map(|at| *at as usize);
        let shelf = at.and_then(|at| Some((at, self.networks.get_mut(at)?)));
        let Some((at, shelf)) = invariant::present(shelf, SHELVED) else { return };
        shelf.remove(position);
        if shelf.len() > 0 {
            return;
        }
        self.networks.swap_remove(at);
        self.by_origin.remove(&origin);
        if let Some(moved) = self.networks.get(at) {
            self.by_origin.insert(moved.origin(), at as u32);
        }
    }

    fn shelf(&self, origin: Origin) -> Option<&Shelf> {
        self.networks.get(*self.by_origin.get(&origin)? as usize)
    }

    fn shelf_or_new(&mut self, origin: Origin) -> &mut Shelf {
        if origin.is_operator() {
            return &mut self.operator;
        }
        let at = *self.by_origin.entry(origin).or_insert_with(|| {
            self.networks.push(Shelf::new(origin));
            self.networks.len() as u32 - 1
        });
        self.networks.get_mut(at as usize).expect("each origin has a shelf of its own")
    }

    /// Numbers the slots anew when most numbers are vacant, so that memory goes back.
    fn close_vacancies(&mut self) {
        if self.vacant.len() <= VACANT_KEPT.max(self.slots.len() / 2) {
            return;
        }
        let left = self.slots.len() - self.vacant.len();
        let mut numbers = vec![NO_SLOT; self.slots.len()];
        let mut slots = Vec::with_capacity(left);
        let old = std::mem::take(&mut self.slots).into_iter().zip(&mut numbers);
        for (mut slot, number) in old.filter(|(slot, _)| !slot.groups.is_empty()) {
            *number = slots.len() as u32;
            slot.listed = slot.listed.map(|(origin, it)| (origin, it.renumbered(*number)));
            slots.push(slot);
        }
        let renumbered = |number: u32| {
            let renumbered = invariant::present(numbers.get(number as usize), NUMBERED);
            renumbered.copied().unwrap_or(NO_SLOT)
        };
        let mut by_merge_key = HashTable::with_capacity(left);
        for (hash, number) in self.by_merge_key.drain() {
            let entry = (hash, renumbered(number));
            by_merge_key.insert_unique(spread(hash), entry, |(hash, _)| spread(*hash));
        }
        self.by_merge_key = by_merge_key;
        for shelf in self.networks.iter_mut().chain([&mut self.operator]) {
            shelf.renumber(renumbered);
        }
        self.slots = slots;
        self.vacant = Vec::new();
    }
}

/// Where a slot with these groups is to be listed. A bounded number of them is looked at.
fn place_of(groups: &Lineages, number: u32) -> Option<(Origin, Position)> {
    let ranks = groups.iter().take(MERGED_MAX).map(|group| group.rank());
    let GroupRank { standing_since_s, origin, .. } = ranks.min()?;
    Some((origin, Position::new(standing_since_s, groups.has_addrs(), number)))
}

/// The hash that an entry has in the table: growing it does not have to look at slots.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}
