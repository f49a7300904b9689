//! One pass over the candidates of a key: filtering, the cap, and round-robin.
//!
//! Candidates are in a rotation: those with addresses first. When all that match fit, the answer
//! has them in the order of the rotation. When more match than fit, an answer begins where the last
//! one stopped, so that n matches are all served after ceil(n / cap) answers.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering as Memory};

use super::answer::Wanted;
use super::merge::RecordMerge;
use crate::clock::UnixMs;
use crate::types::{Found, ReadyRecord, Selection};

/// The most hits that there is room for before the first is found: those of a full JSON answer.
const HITS_EXPECTED_MAX: usize = 100;

/// One pass over the rotation, or over a part of it.
#[derive(Default)]
pub(super) struct Pass {
    /// What matched, in the order in which it was met.
    hits: Vec<(Arc<ReadyRecord>, Selection)>,
    /// How many of them come before the end of the rotation; the others come from its beginning.
    before_end: usize,
    /// Where the next answer begins, if this one does not have all that match.
    next: Option<usize>,
    /// The hits by their identity, once it may be that two positions have the same.
    by_identity: Option<HashMap<[u8; 16], usize>>,
}

impl Pass {
    /// Visits a rotation of `length` positions from `start`, at most `steps_max` steps, and takes
    /// what matches until one more does than is wanted.
    pub(super) fn go(
        start: u32,
        length: usize,
        steps_max: usize,
        wanted: Wanted<'_>,
        mut merge_at: impl FnMut(usize) -> Option<RecordMerge<1>>,
    ) -> Self {
        if length == 0 {
            return Self::default();
        }
        let records_max = wanted.records_max.map_or(usize::MAX, NonZeroUsize::get);
        if length <= records_max {
            // What fits is read from the beginning, which spares putting it in order.
            let pass = Self::go_from(0, length, steps_max, wanted, &mut merge_at);
            if pass.next.is_none() {
                return pass;
            }
        }
        Self::go_from(start as usize % length, length, steps_max, wanted, &mut merge_at)
    }

    fn go_from(
        start: usize,
        length: usize,
        steps_max: usize,
        wanted: Wanted<'_>,
        merge_at: &mut impl FnMut(usize) -> Option<RecordMerge<1>>,
    ) -> Self {
        let records_max = wanted.records_max.map_or(usize::MAX, NonZeroUsize::get);
        // A filter may let few of very many pass.
        let hits = Vec::with_capacity(length.min(records_max).min(HITS_EXPECTED_MAX));
        let mut pass = Self { hits, ..Self::default() };
        for position in (start..length).chain(0..start).take(steps_max) {
            let Some(merge) = merge_at(position) else { continue };
            let before = pass.hits.len();
            let has_taken_all = pass.take(merge, wanted, records_max);
            if position >= start {
                pass.before_end = pass.hits.len();
            }
            if !has_taken_all {
                // Where one position is more than an answer, the next one is for the others.
                let next = if before == 0 { position + 1 } else { position };
                pass.next = Some(next % length);
                return pass;
            }
        }
        if steps_max < length {
            pass.next = Some((start + steps_max) % length);
        }
        pass
    }

    /// Takes what matches of a position. Returns whether there was room for all of it.
    fn take(&mut self, merge: RecordMerge<1>, wanted: Wanted<'_>, records_max: usize) -> bool {
        if merge.has_renamed && self.by_identity.is_none() {
            let known = self.hits.iter().enumerate();
            self.by_identity = Some(known.map(|(at, (it, _))| (it.identity(), at)).collect());
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
            if let Some(by_identity) = &mut self.by_identity {
                by_identity.insert(record.identity(), self.hits.len());
            }
            self.hits.push((record, selection));
        }
        true
    }

    /// Merges a record into a hit that has the same identity by now, if there is one.
    fn merge_into_hit(&mut self, record: &ReadyRecord, wanted: Wanted<'_>) -> bool {
        let by_identity = self.by_identity.as_ref();
        let at = by_identity.and_then(|by_identity| by_identity.get(&record.identity()));
        let Some((known, selection)) = at.and_then(|at| self.hits.get_mut(*at)) else {
            return false;
        };
        if let Some(merged) = known.with_addrs_of(record)
            && let Some(selected) = wanted.filter.select(&merged)
        {
            (*known, *selection) = (Arc::new(merged), selected);
        }
        true
    }

    /// Whether the pass has all that there is.
    pub(super) fn is_whole(&self) -> bool {
        self.next.is_none()
    }

    /// Whether the pass ended early with fewer than are wanted.
    pub(super) fn is_short(&self, wanted: Wanted<'_>) -> bool {
        let records_max = wanted.records_max.map_or(usize::MAX, NonZeroUsize::get);
        self.next.is_some() && self.hits.len() < records_max
    }

    /// Puts the hits in order and moves the cursor on, unless another answer has moved it.
    pub(super) fn finish(
        mut self,
        (cursor, start): (&AtomicU32, u32),
        changed_at_ms: UnixMs,
        now_ms: UnixMs,
    ) -> Found {
        let mut modified_at_ms = changed_at_ms;
        if let Some(next) = self.next {
            self.hits.sort_by_key(|(record, _)| !record.has_addrs());
            let next = u32::try_from(next).unwrap_or_default();
            let _ = cursor.compare_exchange(start, next, Memory::Relaxed, Memory::Relaxed);
            // Each answer is another than the one before.
            modified_at_ms = modified_at_ms.max(now_ms);
        } else {
            self.hits.rotate_left(self.before_end);
        }
        Found::new(self.hits.into(), modified_at_ms)
    }
}
