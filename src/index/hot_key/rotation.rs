//! The rotation of a hot key: the order in which its records are served round-robin.
//!
//! Groups of one identity share one *slot*; their records are merged when it is served. Slots are
//! in two lists, with and without addresses, which concatenated are the rotation. Positions stay
//! stable by leaving gaps, until too many are empty; the numbers of slots that left are reused,
//! until too many are vacant.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;

use crate::clock::UnixMs;
use crate::index::group::Group;
use crate::index::lineage::{LineageKey, Lineages, LinkDecision};
use crate::index::merge::RecordMerge;

/// An empty position in a list, and the number of no slot.
const GAP: u32 = u32::MAX;

/// This many gaps or vacant numbers are not worth closing.
const GAPS_KEPT: usize = 32;

/// The groups of a hot key, in round-robin order.
#[derive(Default)]
pub(super) struct Rotation {
    slots: Vec<RotationSlot>,
    /// The numbers of slots that have no groups.
    vacant: Vec<u32>,
    /// A part of the identity's hash, and the number of the slot.
    by_identity: HashTable<(u32, u32)>,
    with_addrs: SlotList,
    without_addrs: SlotList,
    group_count: usize,
    /// Where removing dead groups continues: the slot, and the position in it.
    next_pruned: (usize, Option<LineageKey>),
}

#[derive(Default)]
struct RotationSlot {
    groups: Lineages,
    has_addrs: bool,
    /// The position in its list.
    position: u32,
}

#[derive(Default)]
struct SlotList {
    slots: Vec<u32>,
    gaps: usize,
}

impl Rotation {
    /// Adds a group, as far as its lineage has it.
    pub(super) fn insert(
        &mut self,
        hasher: &RandomState,
        group: &Arc<Group>,
        now_ms: UnixMs,
    ) -> LinkDecision {
        let number = self.number_of(hasher, group).unwrap_or_else(|| self.enter(hasher, group));
        let slot = self.slots.get_mut(number as usize);
        let slot = slot.expect("numbers in the table are those of slots");
        let decision = slot.groups.insert(group, now_ms);
        self.group_count += usize::from(decision.is_linked);
        self.group_count -= decision.gone.len();
        self.list(number);
        decision
    }

    /// If exactly this group is there: the newest of its lineage that lives, or it.
    pub(super) fn find(
        &self,
        hasher: &RandomState,
        group: &Arc<Group>,
        now_ms: UnixMs,
    ) -> Option<Arc<Group>> {
        let groups = &self.slot(hasher, group)?.groups;
        let newest = || groups.newest_like(group, now_ms).unwrap_or(group).clone();
        groups.has(group).then(newest)
    }

    pub(super) fn has(&self, hasher: &RandomState, group: &Arc<Group>) -> bool {
        self.slot(hasher, group).is_some_and(|slot| slot.groups.has(group))
    }

    /// The newest group of a lineage that lives.
    pub(super) fn newest_like(
        &self,
        hasher: &RandomState,
        group: &Group,
        now_ms: UnixMs,
    ) -> Option<&Arc<Group>> {
        self.slot(hasher, group)?.groups.newest_like(group, now_ms)
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
                let identity = gone.last().map(|group| group.identity());
                self.tidy(hasher, number as u32, identity.unwrap_or_default());
            }
        }
        false
    }

    /// Lets the next [`Rotation::prune`] begin at the beginning.
    pub(super) fn prune_from_start(&mut self) {
        self.next_pruned = (0, None);
    }

    /// All groups, in the order of the rotation.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Group>> {
        let order = self.with_addrs.slots.iter().chain(&self.without_addrs.slots);
        let slots = order.filter_map(|number| self.slots.get(*number as usize));
        slots.flat_map(|slot| slot.groups.iter())
    }

    /// How many groups there are.
    pub(super) fn len(&self) -> usize {
        self.group_count
    }

    /// How many positions there are, gaps included.
    pub(super) fn length(&self) -> usize {
        self.with_addrs.slots.len() + self.without_addrs.slots.len()
    }

    /// What is at a position. Adds the slot's number to `misplaced` if it is in the wrong list,
    /// because records changed.
    pub(super) fn merge_at(
        &self,
        position: usize,
        now_ms: UnixMs,
        changed_at_ms: &mut UnixMs,
        misplaced: &mut Vec<u32>,
    ) -> Option<RecordMerge<1>> {
        let with_addrs = &self.with_addrs.slots;
        let number = match with_addrs.get(position) {
            Some(number) => number,
            None => self.without_addrs.slots.get(position - with_addrs.len())?,
        };
        let slot = self.slots.get(*number as usize)?;
        let merge = slot.groups.merge(now_ms, changed_at_ms);
        if merge.has_changed && slot.has_addrs != slot.groups.has_addrs() {
            misplaced.push(*number);
        }
        Some(merge)
    }

    /// Puts slots into the lists where they belong.
    pub(super) fn put_right(&mut self, misplaced: &[u32]) {
        misplaced.iter().for_each(|number| self.list(*number));
    }

    fn slot(&self, hasher: &RandomState, group: &Group) -> Option<&RotationSlot> {
        self.slots.get(self.number_of(hasher, group)? as usize)
    }

    fn number_of(&self, hasher: &RandomState, group: &Group) -> Option<u32> {
        let identity = group.identity();
        let hash = hasher.hash_one(identity) as u32;
        let known = self.by_identity.find(spread(hash), |(other, number)| {
            let slot = self.slots.get(*number as usize);
            let first = slot.and_then(|slot| slot.groups.iter().next());
            *other == hash && first.is_some_and(|first| first.identity() == identity)
        });
        known.map(|(_, number)| *number)
    }

    /// A number for a slot with the identity of a group, which is put in next.
    fn enter(&mut self, hasher: &RandomState, group: &Group) -> u32 {
        let number = self.vacant.pop().unwrap_or(self.slots.len() as u32);
        if number as usize == self.slots.len() {
            self.slots.push(RotationSlot { position: GAP, ..RotationSlot::default() });
        }
        let hash = hasher.hash_one(group.identity()) as u32;
        self.by_identity.insert_unique(spread(hash), (hash, number), |(hash, _)| spread(*hash));
        number
    }

    /// Puts a slot of which groups were taken into the list where it belongs, if any is left.
    fn tidy(&mut self, hasher: &RandomState, number: u32, identity: [u8; 16]) {
        let Some(slot) = self.slots.get_mut(number as usize) else { return };
        if !slot.groups.is_empty() {
            self.list(number);
            return;
        }
        let RotationSlot { has_addrs, position, .. } =
            std::mem::replace(slot, RotationSlot { position: GAP, ..RotationSlot::default() });
        self.vacant.push(number);
        let hash = hasher.hash_one(identity) as u32;
        if let Ok(entry) = self.by_identity.find_entry(spread(hash), |(_, of)| *of == number) {
            entry.remove();
        }
        let list = if has_addrs { &mut self.with_addrs } else { &mut self.without_addrs };
        list.leave(position, &mut self.slots);
    }

    /// Puts a slot into the list where it belongs.
    fn list(&mut self, number: u32) {
        let Some(slot) = self.slots.get_mut(number as usize) else { return };
        if slot.groups.is_empty() {
            return;
        }
        let has_addrs = slot.groups.has_addrs();
        if slot.position != GAP && slot.has_addrs == has_addrs {
            return;
        }
        let (from, to) = if has_addrs {
            (&mut self.without_addrs, &mut self.with_addrs)
        } else {
            (&mut self.with_addrs, &mut self.without_addrs)
        };
        let left = slot.position;
        slot.has_addrs = has_addrs;
        slot.position = to.slots.len() as u32;
        to.slots.push(number);
        if left != GAP {
            from.leave(left, &mut self.slots);
        }
    }

    /// Numbers the slots anew when most numbers are vacant, so that memory goes back.
    fn close_vacancies(&mut self) {
        if self.vacant.len() <= GAPS_KEPT.max(self.slots.len() / 2) {
            return;
        }
        let left = self.slots.len() - self.vacant.len();
        let mut numbers = vec![GAP; self.slots.len()];
        let mut slots = Vec::with_capacity(left);
        let old = std::mem::take(&mut self.slots).into_iter().zip(&mut numbers);
        for (slot, number) in old.filter(|(slot, _)| !slot.groups.is_empty()) {
            *number = slots.len() as u32;
            slots.push(slot);
        }
        let renumbered = |number: u32| numbers.get(number as usize).copied().unwrap_or(GAP);
        let mut by_identity = HashTable::with_capacity(left);
        for (hash, number) in self.by_identity.drain() {
            let entry = (hash, renumbered(number));
            by_identity.insert_unique(spread(hash), entry, |(hash, _)| spread(*hash));
        }
        self.by_identity = by_identity;
        for list in [&mut self.with_addrs, &mut self.without_addrs] {
            list.slots.iter_mut().for_each(|number| *number = renumbered(*number));
            list.close_gaps(&mut slots);
        }
        self.slots = slots;
        self.vacant = Vec::new();
    }
}

impl SlotList {
    fn leave(&mut self, position: u32, slots: &mut [RotationSlot]) {
        let Some(place) = self.slots.get_mut(position as usize) else { return };
        *place = GAP;
        self.gaps += 1;
        if self.gaps > GAPS_KEPT && self.gaps > self.slots.len() / 2 {
            self.close_gaps(slots);
        }
    }

    fn close_gaps(&mut self, slots: &mut [RotationSlot]) {
        self.slots.retain(|number| *number != GAP);
        self.slots.shrink_to_fit();
        self.gaps = 0;
        for (position, number) in self.slots.iter().enumerate() {
            if let Some(slot) = slots.get_mut(*number as usize) {
                slot.position = position as u32;
            }
        }
    }
}

/// The hash that an entry has in the table: growing it does not have to look at slots.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}
