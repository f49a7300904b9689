//! Whose turn it is: the operator's slots, then one of each network, round by round.

use std::sync::atomic::{AtomicU32, Ordering as Memory};

use super::shelf::{Position, Shelf, ShelfWalk};
use crate::index::group::GroupRank;
use crate::index::pass::{PassEnd, Rank};
use crate::invariant;

const WALK: &str = "a walk that is named was begun";

/// Slots in the order of their turns. Networks are entered as the first round comes to them, so what is
/// not visited costs nothing.
pub(in crate::index::hot_key) struct Turns<'a> {
    operator: ShelfWalk<'a>,
    networks: &'a [Shelf],
    next_network: &'a AtomicU32,
    /// The network that the first round began with.
    first: usize,
    /// How many networks the first round has entered.
    entered: usize,
    /// Those that have more, in the order of the first round, with their places among the networks.
    walks: Vec<(usize, ShelfWalk<'a>)>,
    /// Whose turn comes next in the rounds after the first.
    turn: usize,
    /// The walk that gave the last slot; `None`: the operator's.
    last: Option<usize>,
}

impl<'a> Turns<'a> {
    pub(super) fn new(
        operator: &'a Shelf,
        networks: &'a [Shelf],
        next_network: &'a AtomicU32,
    ) -> Self {
        let first = next_network.load(Memory::Relaxed) as usize;
        let first = if networks.is_empty() { 0 } else { first % networks.len() };
        Self {
            operator: operator.walk(),
            networks,
            next_network,
            first,
            entered: 0,
            walks: Vec::new(),
            turn: 0,
            last: None,
        }
    }

    /// Notes where the next answer goes on.
    pub(in crate::index::hot_key) fn finish(self, end: PassEnd) {
        if end == PassEnd::Whole {
            return;
        }
        let is_last_served = end == PassEnd::AfterLast;
        self.operator.finish(self.last.is_some() || is_last_served);
        for (at, (_, walk)) in self.walks.iter().enumerate() {
            walk.finish(self.last != Some(at) || is_last_served);
        }
        let last = self.last.and_then(|last| invariant::present(self.walks.get(last), WALK));
        if let Some((network, _)) = last {
            let next = (network + usize::from(is_last_served)) as u32;
            self.next_network.store(next, Memory::Relaxed);
        }
    }

    fn of_networks(&mut self) -> Option<(Rank, Position)> {
        if self.entered < self.networks.len() {
            let network = (self.first + self.entered) % self.networks.len();
            self.entered += 1;
            let shelf = invariant::present(self.networks.get(network), "networks are numbered")?;
            self.walks.push((network, shelf.walk()));
            self.turn = 0;
            return self.step(self.walks.len() - 1);
        }
        loop {
            if self.turn == self.walks.len() {
                // The next round is without those that have no more.
                self.walks.retain(|(_, walk)| !walk.is_through());
                self.turn = 0;
                if self.walks.is_empty() {
                    return None;
                }
            }
            self.turn += 1;
            if let Some(found) = self.step(self.turn - 1) {
                return Some(found);
            }
        }
    }

    fn step(&mut self, at: usize) -> Option<(Rank, Position)> {
        let (_, walk) = invariant::present(self.walks.get_mut(at), WALK)?;
        let position = walk.next()?;
        self.last = Some(at);
        Some((rank_of(walk, position), position))
    }
}

impl Iterator for Turns<'_> {
    type Item = (Rank, Position);

    fn next(&mut self) -> Option<(Rank, Position)> {
        if self.last.is_none()
            && let Some(position) = self.operator.next()
        {
            return Some((rank_of(&self.operator, position), position));
        }
        self.of_networks()
    }
}

fn rank_of(walk: &ShelfWalk<'_>, position: Position) -> Rank {
    let (origin, standing_since_s) = (walk.origin(), position.since_s());
    let of_group = GroupRank { is_stranger: !origin.is_operator(), standing_since_s, origin };
    Rank { of_group, number: position.turn() }
}
