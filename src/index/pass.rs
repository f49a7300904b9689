//! One pass over the candidates of a key: filtering, the cap, and where the next pass goes on.
//!
//! Candidates come in the order of their rank (`hot_key/rotation.rs`): the operator's, then those of
//! other networks in turn. When all that match fit, the answer has them in an order that stays the same
//! until something changes. When more match than fit, the answer has the first ones, and among equals
//! the next answer begins where this one stopped.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering as Memory};

use super::answer::Wanted;
use super::group::GroupRank;
use super::merge::RecordMerge;
use crate::clock::UnixMs;
use crate::invariant;
use crate::types::{Found, MergeKey, ReadyRecord, Selection};

/// The most hits that there is room for before the first is found: those of a full JSON answer.
const HITS_EXPECTED_MAX: usize = 100;

/// What decides whether a candidate comes before another: the least is the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) of_group: GroupRank,
    /// One number for each candidate of a key, those with addresses first.
    pub(super) number: u32,
}

/// Where a pass ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum PassEnd {
    /// It has all that there is.
    #[default]
    Whole,
    /// The last candidate is not part of the answer, or not all of it.
    BeforeLast,
    /// The last candidate alone is more than an answer.
    AfterLast,
}

/// One pass over the candidates, or over the first of them.
#[derive(Default)]
pub(super) struct Pass {
    /// What matched, in the order in which it was met.
    hits: Vec<Hit>,
    end: PassEnd,
    /// The hits by their merge key, once it may be that two candidates have the same.
    by_merge_key: Option<HashMap<MergeKey, usize>>,
}

struct Hit {
    record: Arc<ReadyRecord>,
    selection: Selection,
    rank: Rank,
}

impl Pass {
    /// Visits at most `steps_max` candidates and takes what matches until one more does than is wanted.
    pub(super) fn go(
        candidates: &mut impl Iterator<Item = (Rank, RecordMerge<1>)>,
        steps_max: usize,
        wanted: Wanted<'_>,
    ) -> Self {
        let records_max = wanted.records_max.map_or(usize::MAX, NonZeroUsize::get);
        let (_, candidates_max) = candidates.size_hint();
        let hits = candidates_max.unwrap_or(usize::MAX).min(records_max).min(HITS_EXPECTED_MAX);
        let hits = Vec::with_capacity(hits);
        let mut pass = Self { hits, ..Self::default() };
        for (steps, (rank, merge)) in candidates.enumerate() {
            if steps == steps_max {
                pass.end = PassEnd::BeforeLast;
                return pass;
            }
            let before = pass.hits.len();
            if !pass.take(rank, merge, wanted, records_max) {
                // Where one candidate is more than an answer, the next answer is for the others.
                pass.end = if before == 0 { PassEnd::AfterLast } else { PassEnd::BeforeLast };
                return pass;
            }
        }
        pass
    }

    /// Takes what matches of a candidate. Returns whether there was room for all of it.
    fn take(
        &mut self,
        rank: Rank,
        merge: RecordMerge<1>,
        wanted: Wanted<'_>,
        records_max: usize,
    ) -> bool {
        if merge.has_renamed && self.by_merge_key.is_none() {
            let known = self.hits.iter().enumerate();
            self.by_merge_key = Some(known.map(|(at, hit)| (hit.record.merge_key(), at)).collect());
        }
        let mut records = merge.records;
        if records.len() > records_max {
            let first = rand::random_range(0..records.len());
            records.rotate_left(first);
        }
        for record in records {
            let Some(selection) = wanted.filter.select(&record) else { continue };
            if self.merge_into_hit(&record, wanted) {
                continue;
            }
            if self.hits.len() == records_max {
                return false;
            }
            if let Some(by_merge_key) = &mut self.by_merge_key {
                by_merge_key.insert(record.merge_key(), self.hits.len());
            }
            self.hits.push(Hit { record, selection, rank });
        }
        true
    }

    /// Merges a record into a hit that has the same merge key by now, if there is one.
    fn merge_into_hit(&mut self, record: &Arc<ReadyRecord>, wanted: Wanted<'_>) -> bool {
        let by_merge_key = self.by_merge_key.as_ref();
        let at = by_merge_key.and_then(|by_merge_key| by_merge_key.get(&record.merge_key()));
        let hit = at
            .and_then(|at| invariant::present(self.hits.get_mut(*at), "a place is that of a hit"));
        let Some(hit) = hit else { return false };
        if let Some(merged) = ReadyRecord::merged(&[hit.record.clone(), record.clone()])
            && let Some(selected) = wanted.filter.select(&merged)
        {
            (hit.record, hit.selection) = (merged, selected);
        }
        true
    }

    pub(super) fn end(&self) -> PassEnd {
        self.end
    }

    /// Whether the pass ended early with fewer than are wanted.
    pub(super) fn is_short(&self, wanted: Wanted<'_>) -> bool {
        let records_max = wanted.records_max.map_or(usize::MAX, NonZeroUsize::get);
        self.end != PassEnd::Whole && self.hits.len() < records_max
    }

    /// Keeps the first `records_max` of a few hits, as a hot key would have them in turn, and moves the
    /// cursor on, unless another answer has moved it.
    pub(super) fn cut(
        &mut self,
        records_max: usize,
        cursor: &AtomicU32,
        rank_of: impl Fn(&ReadyRecord) -> GroupRank,
    ) {
        if self.hits.len() <= records_max {
            return;
        }
        self.end = PassEnd::BeforeLast;
        let start = cursor.load(Memory::Relaxed);
        let next = start.wrapping_add(records_max as u32);
        let _ = cursor.compare_exchange(start, next, Memory::Relaxed, Memory::Relaxed);
        for hit in &mut self.hits {
            hit.rank.of_group = rank_of(&hit.record);
        }
        put_in_turn(&mut self.hits, start as usize);
        self.hits.truncate(records_max);
    }

    /// Puts the hits in order: those with addresses first.
    pub(super) fn finish(mut self, changed_at_ms: UnixMs, now_ms: UnixMs) -> Found {
        let mut modified_at_ms = changed_at_ms;
        if self.end == PassEnd::Whole {
            self.hits.sort_unstable_by_key(|hit| (!hit.record.has_addrs(), hit.rank));
        } else {
            self.hits.sort_by_key(|hit| !hit.record.has_addrs());
            // Each answer is another than the one before.
            modified_at_ms = modified_at_ms.max(now_ms);
        }
        let records: Vec<_> =
            self.hits.into_iter().map(|hit| (hit.record, hit.selection)).collect();
        Found::new(records.into(), modified_at_ms)
    }
}

/// Puts hits in the order in which they have their turns, `start` turns on.
fn put_in_turn(hits: &mut [Hit], start: usize) {
    // Of each network those that stand longest first; equals take turns.
    hits.sort_by_key(|hit| {
        let GroupRank { is_stranger, standing_since_s, origin } = hit.rank.of_group;
        (is_stranger, origin, standing_since_s, !hit.record.has_addrs(), hit.rank.number)
    });
    for equals in hits.chunk_by_mut(|one, other| one.rank.of_group == other.rank.of_group) {
        equals.rotate_left(start % equals.len());
    }
    let origin = |hit: &Hit| hit.rank.of_group.origin;
    for network in hits.chunk_by_mut(|one, other| origin(one) == origin(other)) {
        for (turn, hit) in (0..).zip(network) {
            hit.rank.number = turn;
        }
    }
    // The operator's come all at once, networks one by one.
    let turn = |hit: &Hit| {
        let is_stranger = hit.rank.of_group.is_stranger;
        (is_stranger, if is_stranger { hit.rank.number } else { 0 })
    };
    hits.sort_by_key(turn);
    for column in hits.chunk_by_mut(|one, other| turn(one) == turn(other)) {
        if column.first().is_some_and(|hit| hit.rank.of_group.is_stranger) {
            column.rotate_left(start % column.len());
        }
    }
}
