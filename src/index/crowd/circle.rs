//! The circle of a crowd: the order in which its records have their turns.
//!
//! Groups of one identity are one *member*, whose record is joined when it is served. Members stand
//! in two lists, with and without addresses, which one after the other are the circle. Places in it
//! are kept, by leaving gaps, until too many are empty; the numbers of members that left are used
//! again, until too many are vacant.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;

use crate::clock::UnixMs;
use crate::index::answer::Join;
use crate::index::group::Group;
use crate::index::lineage::{Lineages, Place, Placing};

/// A place in a list that nobody takes, and the number of nobody.
const GAP: u32 = u32::MAX;

/// As many gaps or vacant numbers as are not worth closing.
const GAPS_KEPT: usize = 32;

/// The groups of a crowd, in the order of their turns.
#[derive(Default)]
pub(super) struct Circle {
    members: Vec<Member>,
    /// The numbers of members that have no groups.
    vacant: Vec<u32>,
    /// A part of the identity's hash, and the number of the member.
    by_identity: HashTable<(u32, u32)>,
    with_addrs: List,
    without_addrs: List,
    group_count: usize,
    /// Where taking dead groups out goes on: the member, and the place in it.
    next_pruned: (usize, Option<Place>),
}

#[derive(Default)]
struct Member {
    groups: Lineages,
    has_addrs: bool,
    /// The position in its list.
    position: u32,
}

#[derive(Default)]
struct List {
    members: Vec<u32>,
    gaps: usize,
}

impl Circle {
    /// Adds a group, as far as its lineage has it.
    pub(super) fn insert(
        &mut self,
        hasher: &RandomState,
        group: &Arc<Group>,
        now_ms: UnixMs,
    ) -> Placing {
        let number = self.number_of(hasher, group).unwrap_or_else(|| self.enter(hasher, group));
        let member = self.members.get_mut(number as usize);
        let member = member.expect("numbers in the table are those of members");
        let placing = member.groups.insert(group, now_ms);
        self.group_count += usize::from(placing.is_placed);
        self.group_count -= placing.gone.len();
        self.list(number);
        placing
    }

    /// If exactly this group is there: the newest of its lineage that lives, or it.
    pub(super) fn find(
        &self,
        hasher: &RandomState,
        group: &Arc<Group>,
        now_ms: UnixMs,
    ) -> Option<Arc<Group>> {
        let groups = &self.member(hasher, group)?.groups;
        let newest = || groups.newest_like(group, now_ms).unwrap_or(group).clone();
        groups.has(group).then(newest)
    }

    pub(super) fn has(&self, hasher: &RandomState, group: &Arc<Group>) -> bool {
        self.member(hasher, group).is_some_and(|member| member.groups.has(group))
    }

    /// The newest group of a lineage that lives.
    pub(super) fn newest_like(
        &self,
        hasher: &RandomState,
        group: &Group,
        now_ms: UnixMs,
    ) -> Option<&Arc<Group>> {
        self.member(hasher, group)?.groups.newest_like(group, now_ms)
    }

    /// Takes dead groups out, looking at about `steps`, and says whether it came to the end.
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
            let Some(member) = self.members.get_mut(number) else {
                self.close_vacancies();
                return true;
            };
            let known = gone.len();
            let next = member.groups.prune(from, &mut steps, now_ms, gone);
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

    /// Lets the next [`Circle::prune`] begin at the beginning.
    pub(super) fn prune_from_start(&mut self) {
        self.next_pruned = (0, None);
    }

    /// All groups, in the order of the circle.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Group>> {
        let order = self.with_addrs.members.iter().chain(&self.without_addrs.members);
        let members = order.filter_map(|number| self.members.get(*number as usize));
        members.flat_map(|member| member.groups.iter())
    }

    /// How many groups there are.
    pub(super) fn len(&self) -> usize {
        self.group_count
    }

    /// How many positions there are, gaps included.
    pub(super) fn length(&self) -> usize {
        self.with_addrs.members.len() + self.without_addrs.members.len()
    }

    /// What is at a position. Notes the member's number if it stands in the wrong list, because
    /// records changed.
    pub(super) fn join_at(
        &self,
        position: usize,
        now_ms: UnixMs,
        changed_at_ms: &mut UnixMs,
        misplaced: &mut Vec<u32>,
    ) -> Option<Join<1>> {
        let with_addrs = &self.with_addrs.members;
        let number = match with_addrs.get(position) {
            Some(number) => number,
            None => self.without_addrs.members.get(position - with_addrs.len())?,
        };
        let member = self.members.get(*number as usize)?;
        let join = member.groups.join(now_ms, changed_at_ms);
        if join.has_changed && member.has_addrs != member.groups.has_addrs() {
            misplaced.push(*number);
        }
        Some(join)
    }

    /// Puts members into the lists where they belong.
    pub(super) fn put_right(&mut self, misplaced: &[u32]) {
        misplaced.iter().for_each(|number| self.list(*number));
    }

    fn member(&self, hasher: &RandomState, group: &Group) -> Option<&Member> {
        self.members.get(self.number_of(hasher, group)? as usize)
    }

    fn number_of(&self, hasher: &RandomState, group: &Group) -> Option<u32> {
        let identity = group.identity();
        let hash = hasher.hash_one(identity) as u32;
        let known = self.by_identity.find(spread(hash), |(other, number)| {
            let member = self.members.get(*number as usize);
            let first = member.and_then(|member| member.groups.iter().next());
            *other == hash && first.is_some_and(|first| first.identity() == identity)
        });
        known.map(|(_, number)| *number)
    }

    /// A number for a member with the identity of a group, which is put in next.
    fn enter(&mut self, hasher: &RandomState, group: &Group) -> u32 {
        let number = self.vacant.pop().unwrap_or(self.members.len() as u32);
        if number as usize == self.members.len() {
            self.members.push(Member { position: GAP, ..Member::default() });
        }
        let hash = hasher.hash_one(group.identity()) as u32;
        self.by_identity.insert_unique(spread(hash), (hash, number), |(hash, _)| spread(*hash));
        number
    }

    /// Puts a member of which groups were taken into the list where it belongs, if any is left.
    fn tidy(&mut self, hasher: &RandomState, number: u32, identity: [u8; 16]) {
        let Some(member) = self.members.get_mut(number as usize) else { return };
        if !member.groups.is_empty() {
            self.list(number);
            return;
        }
        let Member { has_addrs, position, .. } =
            std::mem::replace(member, Member { position: GAP, ..Member::default() });
        self.vacant.push(number);
        let hash = hasher.hash_one(identity) as u32;
        if let Ok(entry) = self.by_identity.find_entry(spread(hash), |(_, of)| *of == number) {
            entry.remove();
        }
        let list = if has_addrs { &mut self.with_addrs } else { &mut self.without_addrs };
        list.leave(position, &mut self.members);
    }

    /// Puts a member into the list where it belongs.
    fn list(&mut self, number: u32) {
        let Some(member) = self.members.get_mut(number as usize) else { return };
        if member.groups.is_empty() {
            return;
        }
        let has_addrs = member.groups.has_addrs();
        if member.position != GAP && member.has_addrs == has_addrs {
            return;
        }
        let (from, to) = if has_addrs {
            (&mut self.without_addrs, &mut self.with_addrs)
        } else {
            (&mut self.with_addrs, &mut self.without_addrs)
        };
        let left = member.position;
        member.has_addrs = has_addrs;
        member.position = to.members.len() as u32;
        to.members.push(number);
        if left != GAP {
            from.leave(left, &mut self.members);
        }
    }

    /// Numbers the members anew when most numbers are vacant, so that memory goes back.
    fn close_vacancies(&mut self) {
        if self.vacant.len() <= GAPS_KEPT.max(self.members.len() / 2) {
            return;
        }
        let left = self.members.len() - self.vacant.len();
        let mut numbers = vec![GAP; self.members.len()];
        let mut members = Vec::with_capacity(left);
        let old = std::mem::take(&mut self.members).into_iter().zip(&mut numbers);
        for (member, number) in old.filter(|(member, _)| !member.groups.is_empty()) {
            *number = members.len() as u32;
            members.push(member);
        }
        let renumbered = |number: u32| numbers.get(number as usize).copied().unwrap_or(GAP);
        let mut by_identity = HashTable::with_capacity(left);
        for (hash, number) in self.by_identity.drain() {
            let entry = (hash, renumbered(number));
            by_identity.insert_unique(spread(hash), entry, |(hash, _)| spread(*hash));
        }
        self.by_identity = by_identity;
        for list in [&mut self.with_addrs, &mut self.without_addrs] {
            list.members.iter_mut().for_each(|number| *number = renumbered(*number));
            list.close_gaps(&mut members);
        }
        self.members = members;
        self.vacant = Vec::new();
    }
}

impl List {
    fn leave(&mut self, position: u32, members: &mut [Member]) {
        let Some(place) = self.members.get_mut(position as usize) else { return };
        *place = GAP;
        self.gaps += 1;
        if self.gaps > GAPS_KEPT && self.gaps > self.members.len() / 2 {
            self.close_gaps(members);
        }
    }

    fn close_gaps(&mut self, members: &mut [Member]) {
        self.members.retain(|number| *number != GAP);
        self.members.shrink_to_fit();
        self.gaps = 0;
        for (position, number) in self.members.iter().enumerate() {
            if let Some(member) = members.get_mut(*number as usize) {
                member.position = position as u32;
            }
        }
    }
}

/// The hash that an entry has in the table: growing it does not have to look at members.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}
