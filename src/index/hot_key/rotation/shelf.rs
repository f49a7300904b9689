//! The slots of one network, or of the operator, those that stand longest first.

use std::collections::BTreeSet;
use std::collections::btree_set::Range;
use std::iter::Chain;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::atomic::{AtomicU32, Ordering as Memory};

use crate::types::Origin;

/// Where a slot is on its shelf, and which slot it is:
///
/// ```text
/// 63                 32 31        30      0
/// | standing since, s  | no addrs | number |
/// ```
///
/// Those that came in the same second are *equals*: they take turns, those with addresses first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::index::hot_key) struct Position(u64);

const WITHOUT_ADDRS: u32 = 1 << 31;

impl Position {
    pub(super) fn new(since_s: u32, has_addrs: bool, number: u32) -> Self {
        debug_assert!(number < WITHOUT_ADDRS);
        let turn = if has_addrs { number } else { WITHOUT_ADDRS | number };
        Self(u64::from(since_s) << 32 | u64::from(turn))
    }

    pub(super) fn since_s(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(super) fn has_addrs(self) -> bool {
        self.turn() & WITHOUT_ADDRS == 0
    }

    pub(super) fn number(self) -> u32 {
        self.turn() & !WITHOUT_ADDRS
    }

    /// What orders equals.
    pub(super) fn turn(self) -> u32 {
        self.0 as u32
    }

    pub(super) fn renumbered(self, number: u32) -> Self {
        Self::new(self.since_s(), self.has_addrs(), number)
    }

    fn of_equal(self, turn: u32) -> Self {
        Self(self.0 >> 32 << 32 | u64::from(turn))
    }
}

/// The slots of one origin.
pub(super) struct Shelf {
    origin: Origin,
    positions: BTreeSet<Position>,
    /// The turn of the last slot that was served; equals go on behind it.
    last_served: AtomicU32,
}

impl Shelf {
    pub(super) fn new(origin: Origin) -> Self {
        // Behind the last one comes the first.
        Self { origin, positions: BTreeSet::new(), last_served: AtomicU32::new(u32::MAX) }
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    pub(super) fn len(&self) -> usize {
        self.positions.len()
    }

    /// The one that stands shortest.
    pub(super) fn last(&self) -> Option<Position> {
        self.positions.last().copied()
    }

    pub(super) fn insert(&mut self, position: Position) {
        self.positions.insert(position);
    }

    pub(super) fn remove(&mut self, position: Position) {
        let was_there = self.positions.remove(&position);
        debug_assert!(was_there, "a slot is listed where it says");
    }

    pub(super) fn renumber(&mut self, renumbered: impl Fn(u32) -> u32) {
        let positions = std::mem::take(&mut self.positions);
        let positions = positions.into_iter().map(|it| it.renumbered(renumbered(it.number())));
        self.positions = positions.collect();
        self.last_served = AtomicU32::new(u32::MAX);
    }

    /// The slots in the order of their turns.
    pub(super) fn walk(&self) -> ShelfWalk<'_> {
        ShelfWalk {
            shelf: self,
            after: self.last_served.load(Memory::Relaxed),
            rest: self.positions.range(..),
            equals: None,
            visited: None,
            served: None,
        }
    }
}

/// A walk along a shelf. Whoever ends it says whether the last slot that it gave was served.
pub(super) struct ShelfWalk<'a> {
    shelf: &'a Shelf,
    after: u32,
    rest: Range<'a, Position>,
    equals: Option<Chain<Range<'a, Position>, Range<'a, Position>>>,
    visited: Option<Position>,
    served: Option<Position>,
}

impl ShelfWalk<'_> {
    pub(super) fn origin(&self) -> Origin {
        self.shelf.origin
    }

    /// Lets the next answer begin behind what this one served, unless another answer has moved on.
    pub(super) fn finish(&self, is_last_served: bool) {
        let served = if is_last_served { self.visited } else { self.served };
        if let Some(served) = served {
            let (after, next) = (self.after, served.turn());
            let last = &self.shelf.last_served;
            let _ = last.compare_exchange(after, next, Memory::Relaxed, Memory::Relaxed);
        }
    }

    /// Whether there is no more, once it was asked for one more.
    pub(super) fn is_through(&self) -> bool {
        self.visited.is_none()
    }

    fn step(&mut self) -> Option<Position> {
        if let Some(next) = self.equals.as_mut().and_then(Iterator::next) {
            return Some(*next);
        }
        let first = *self.rest.next()?;
        let next = self.rest.clone().next();
        if next.is_none_or(|next| next.since_s() != first.since_s()) {
            return Some(first);
        }
        let positions = &self.shelf.positions;
        let (start, end) = (first.of_equal(0), first.of_equal(u32::MAX));
        let after = first.of_equal(self.after);
        let mut equals = positions
            .range((Excluded(after), Included(end)))
            .chain(positions.range((Included(start), Included(after))));
        self.rest = positions.range((Excluded(end), Unbounded));
        let next = equals.next().copied();
        self.equals = Some(equals);
        next
    }
}

impl Iterator for ShelfWalk<'_> {
    type Item = Position;

    fn next(&mut self) -> Option<Position> {
        self.served = self.visited;
        self.visited = self.step();
        self.visited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf(positions: &[(u32, u32)]) -> Shelf {
        let mut shelf = Shelf::new(Origin::UNKNOWN);
        for (since_s, number) in positions {
            shelf.insert(Position::new(*since_s, true, *number));
        }
        shelf
    }

    fn serve(shelf: &Shelf, count: usize) -> Vec<u32> {
        let mut walk = shelf.walk();
        let served = walk.by_ref().take(count).map(Position::number).collect();
        walk.finish(true);
        served
    }

    #[test]
    fn those_that_stand_longest_come_first_and_equals_take_turns() {
        let shelf = shelf(&[(5, 0), (5, 1), (3, 2), (5, 3), (9, 4)]);
        let served: Vec<_> = (0..4).map(|_| serve(&shelf, 2)).collect();
        assert_eq!(served, [[2, 0], [2, 1], [2, 3], [2, 0]]);
        assert_eq!(serve(&shelf, 9).len(), 5);
    }

    #[test]
    fn equals_with_addresses_come_before_those_without() {
        let mut shelf = shelf(&[(1, 2), (1, 3)]);
        shelf.insert(Position::new(1, false, 0));
        assert_eq!([serve(&shelf, 2), serve(&shelf, 2)], [[2, 3], [0, 2]]);
    }

    #[test]
    fn a_slot_that_was_visited_but_not_served_is_the_next() {
        let shelf = shelf(&[(1, 0), (1, 1), (1, 2)]);
        let mut walk = shelf.walk();
        assert_eq!(walk.by_ref().take(2).count(), 2);
        walk.finish(false);
        assert_eq!(serve(&shelf, 1), [1]);
    }
}
