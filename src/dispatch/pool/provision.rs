//! Provisions a pool with the fewest endpoints whose daily volumes reach the requested one, and of
//! such sets with the one of least surplus.
//!
//! Finding the least surplus is a knapsack problem. The search prunes by bounds and stops after a
//! limited number of steps with the best set so far, which still has the fewest endpoints; no
//! handwritten inventory comes near the limit. Ties are broken by the order of the inventory, so
//! that the same inventory always gives the same set.

use std::cmp::Reverse;

use crate::invariant;

/// The most steps of a search: a few milliseconds.
const STEPS_MAX: usize = 50_000;

/// A free endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FreeEndpoint {
    /// Its index in the inventory.
    pub(super) index: usize,
    /// Its daily volume.
    pub(super) volume: u64,
    /// Whether it is tied to the pool by name; tied endpoints are used first.
    pub(super) is_tied: bool,
}

/// The indices of the candidates to use for `wanted` lookups a day, in order: all of them if that
/// is too few, and at least one if there are any.
pub(super) fn provision(candidates: &[FreeEndpoint], wanted: u64) -> Vec<usize> {
    let (tied, others): (Vec<FreeEndpoint>, Vec<FreeEndpoint>) =
        candidates.iter().partition(|candidate| candidate.is_tied);
    let wanted = wanted.max(1);
    let of_tied = volume(&tied);
    let mut taken = smallest_set(tied, wanted);
    if of_tied < wanted {
        taken.extend(smallest_set(others, wanted - of_tied));
    }
    taken.sort_unstable();
    taken
}

fn volume(candidates: &[FreeEndpoint]) -> u64 {
    candidates.iter().fold(0, |sum, candidate| sum.saturating_add(candidate.volume))
}

fn smallest_set(mut candidates: Vec<FreeEndpoint>, wanted: u64) -> Vec<usize> {
    candidates.sort_by_key(|candidate| (Reverse(candidate.volume), candidate.index));
    let mut reached = 0_u64;
    let enough = candidates.iter().position(|candidate| {
        reached = reached.saturating_add(candidate.volume);
        reached >= wanted
    });
    let Some(last) = enough else {
        return candidates.iter().map(|candidate| candidate.index).collect();
    };
    let mut search = Search {
        candidates: &candidates,
        wanted,
        chosen: Vec::with_capacity(last + 1),
        best: None,
        steps_left: STEPS_MAX,
    };
    search.descend(0, last + 1, 0);
    let (_, best) = search.best.expect("the largest candidates reach what is wanted");
    let candidate =
        |at| invariant::present(candidates.get(at), "a set has positions of candidates");
    best.into_iter().filter_map(|at| Some(candidate(at)?.index)).collect()
}

/// A search through sets of one size, over candidates from the largest to the smallest.
struct Search<'a> {
    candidates: &'a [FreeEndpoint],
    wanted: u64,
    /// The positions chosen so far, ascending.
    chosen: Vec<usize>,
    /// The least sum that reaches the goal, and its positions.
    best: Option<(u64, Vec<usize>)>,
    steps_left: usize,
}

impl Search<'_> {
    /// Chooses `missing` more from position `start` on; those chosen so far have `sum`.
    fn descend(&mut self, start: usize, missing: usize, sum: u64) {
        let candidates = self.candidates;
        let last_start = candidates.len().saturating_sub(missing);
        let mut previous = None;
        for position in start..=last_start {
            let rest = candidates.get(position..).unwrap_or(&[]);
            let Some(first) = rest.first() else { return };
            let largest = sum.saturating_add(volume(rest.get(..missing).unwrap_or(&[])));
            if largest < self.wanted || self.is_over() {
                return;
            }
            // The same volume again gives the same sums.
            if previous.replace(first.volume) == Some(first.volume) {
                continue;
            }
            let sum = sum.saturating_add(first.volume);
            let least = candidates.len().saturating_sub(missing - 1);
            let least = sum.saturating_add(volume(candidates.get(least..).unwrap_or(&[])));
            if self.best.as_ref().is_some_and(|(best, _)| least >= *best) {
                continue;
            }
            self.chosen.push(position);
            if missing > 1 {
                self.descend(position + 1, missing - 1, sum);
            } else {
                // At least what is wanted, and less than the best.
                self.best = Some((sum, self.chosen.clone()));
            }
            self.chosen.pop();
        }
    }

    /// Whether the search is over. The first descent always finds a set: it prunes nothing.
    fn is_over(&mut self) -> bool {
        let Some((best, _)) = &self.best else { return false };
        self.steps_left = self.steps_left.saturating_sub(1);
        *best == self.wanted || self.steps_left == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn untied(volumes: &[u64]) -> Vec<FreeEndpoint> {
        let candidate = |(index, volume): (usize, &u64)| FreeEndpoint {
            index,
            volume: *volume,
            is_tied: false,
        };
        volumes.iter().enumerate().map(candidate).collect()
    }

    #[test]
    fn fewest_first_then_the_least_surplus() {
        assert_eq!(provision(&untied(&[10, 25, 40, 30]), 25), [1]);
        assert_eq!(provision(&untied(&[10, 25, 40, 30]), 26), [3]);
        assert_eq!(provision(&untied(&[10, 25, 40, 30]), 41), [0, 2], "50; 25 and 30 have 55");
    }

    #[test]
    fn too_few_are_all_and_none_are_none() {
        assert_eq!(provision(&untied(&[10, 25]), 36), [0, 1]);
        assert_eq!(provision(&untied(&[10]), 1), [0]);
        assert_eq!(provision(&[], 1), [0_usize; 0]);
    }

    #[test]
    fn equal_ones_are_taken_in_the_order_of_the_inventory() {
        assert_eq!(provision(&untied(&[5, 5, 5, 5]), 10), [0, 1]);
    }

    #[test]
    fn tied_ones_go_before_others_even_if_they_are_more() {
        let mut candidates = untied(&[100, 10, 10, 50, 20]);
        for index in [1, 2] {
            candidates[index].is_tied = true;
        }
        assert_eq!(provision(&candidates, 9), [1]);
        assert_eq!(provision(&candidates, 20), [1, 2]);
        assert_eq!(provision(&candidates, 35), [1, 2, 4]);
        assert_eq!(provision(&candidates, 1_000), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_hard_inventory_ends_with_a_set_of_the_fewest() {
        // Odd volumes and an even goal of nine of them: no sum fits, so the search cannot end early.
        let volumes: Vec<u64> = (0..400).map(|it| 1_000_001 + it * 2_002).collect();
        let taken = provision(&untied(&volumes), 12_345_678);
        let sum: u64 = taken.iter().map(|index| volumes[*index]).sum();
        assert!(sum >= 12_345_678);
        let mut largest = volumes.clone();
        largest.reverse();
        assert!(largest[..taken.len() - 1].iter().sum::<u64>() < 12_345_678);
    }

    proptest! {
        #[test]
        fn provisioning_is_minimal_as_by_brute_force(
            volumes in proptest::collection::vec(prop_oneof![1_u64..20, 1_u64..1_000], 0..11),
            wanted in 1_u64..3_000,
        ) {
            let taken = provision(&untied(&volumes), wanted);
            let sum: u64 = taken.iter().map(|index| volumes[*index]).sum();
            let best = (0_u32..1 << volumes.len())
                .map(|set| {
                    let chosen = volumes.iter().enumerate().filter(|(at, _)| set & 1 << at != 0);
                    (set.count_ones() as usize, chosen.map(|(_, volume)| volume).sum::<u64>())
                })
                .filter(|(_, sum)| *sum >= wanted)
                .min();
            match best {
                Some(best) => prop_assert_eq!((taken.len(), sum), best),
                None => prop_assert_eq!(taken.len(), volumes.len()),
            }
        }
    }
}
