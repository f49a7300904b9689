//! From groups to an answer: joining, filtering, the cap, and whose turn it is.
//!
//! Candidates stand in a circle: those with addresses first. When all that match fit, the answer
//! has them in the order of the circle. When more match than fit, an answer begins where the last
//! one stopped, so that n matches are all served after ceil(n / cap) answers.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering as Memory};

use smallvec::SmallVec;

use super::group::Group;
use super::sets::{FEW_MAX, Few};
use crate::clock::UnixMs;
use crate::types::{Filter, ReadyRecord, Selection};

/// The most groups whose addresses are united in one record: a provider may announce a key under
/// any number of contexts, and an answer has to end.
pub(super) const JOINED_MAX: usize = 64;

/// The most hits that there is room for before the first is found: those of a full JSON answer.
const HITS_EXPECTED_MAX: usize = 100;

/// What an index has on a key.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The records that pass the filter, each with what of it passes.
    pub records: Vec<(Arc<ReadyRecord>, Selection)>,
    /// When the answer last changed, in milliseconds since the Unix epoch, or somewhat later:
    /// never earlier. `None` if nothing was found.
    pub modified_at_ms: Option<UnixMs>,
}

/// What a lookup wants.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) filter: &'a Filter,
    pub(super) records_max: Option<NonZeroUsize>,
    pub(super) now_ms: UnixMs,
}

/// One way round the circle, or a part of it.
#[derive(Default)]
pub(super) struct Round {
    /// What matched, in the order in which it was met.
    hits: Vec<(Arc<ReadyRecord>, Selection)>,
    /// How many of them stand before the end of the circle; the others come from its beginning.
    before_end: usize,
    /// Where the next answer begins, if this one does not have all that match.
    next: Option<usize>,
}

impl Answer {
    pub(super) fn new(records: Vec<(Arc<ReadyRecord>, Selection)>, modified_at_ms: UnixMs) -> Self {
        let modified_at_ms = (!records.is_empty()).then_some(modified_at_ms);
        Self { records, modified_at_ms }
    }

    /// The answer of a key with one group.
    pub(super) fn of_one(group: &Group, wanted: Wanted<'_>, shard_changed_at_ms: UnixMs) -> Self {
        if !group.is_live(wanted.now_ms) {
            return Self::default();
        }
        let Some(selection) = wanted.filter.select(&group.record) else { return Self::default() };
        let modified_at_ms = group.changed_at_ms(wanted.now_ms).max(shard_changed_at_ms);
        Self {
            records: vec![(group.record.clone(), selection)],
            modified_at_ms: Some(modified_at_ms),
        }
    }

    /// The answer of a key with a few groups.
    pub(super) fn of_few(
        few: &Few,
        wanted: Wanted<'_>,
        shard_changed_at_ms: UnixMs,
        cursor: &AtomicU32,
    ) -> Self {
        let mut changed_at_ms = shard_changed_at_ms;
        let mut records = SmallVec::<[Arc<ReadyRecord>; FEW_MAX]>::new();
        for same in
            few.groups.chunk_by(|one, other| one.record.identity() == other.record.identity())
        {
            records.extend(join(same, wanted.now_ms, &mut changed_at_ms));
        }
        records.sort_by_key(|record| !record.has_addrs());
        let start = cursor.load(Memory::Relaxed);
        let round = Round::go(start, records.len(), records.len(), wanted, |position| {
            records.get(position).cloned()
        });
        round.finish((cursor, start), changed_at_ms, wanted.now_ms)
    }
}

impl Round {
    /// Goes round a circle of `length` positions from `start`, at most `steps_max` steps, and takes
    /// what matches until one more does than is wanted.
    pub(super) fn go(
        start: u32,
        length: usize,
        steps_max: usize,
        wanted: Wanted<'_>,
        mut record_at: impl FnMut(usize) -> Option<Arc<ReadyRecord>>,
    ) -> Self {
        if length == 0 {
            return Self::default();
        }
        let records_max = wanted.records_max.map_or(usize::MAX, NonZeroUsize::get);
        // What is sure to fit is read from the beginning, which spares putting it in order.
        let start = if length <= records_max { 0 } else { start as usize % length };
        // A filter may let few of very many pass.
        let hits = Vec::with_capacity(length.min(records_max).min(HITS_EXPECTED_MAX));
        let mut round = Self { hits, ..Self::default() };
        for position in (start..length).chain(0..start).take(steps_max) {
            let Some(record) = record_at(position) else { continue };
            let Some(selection) = wanted.filter.select(&record) else { continue };
            if round.hits.len() == records_max {
                round.next = Some(position);
                return round;
            }
            round.hits.push((record, selection));
            if position >= start {
                round.before_end = round.hits.len();
            }
        }
        if steps_max < length {
            round.next = Some((start + steps_max) % length);
        }
        round
    }

    /// Whether the round ended early without having as many as are wanted.
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
    ) -> Answer {
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
        Answer::new(self.hits, modified_at_ms)
    }
}

/// The record of groups of one identity, which are in the order of groups on a key: the addresses
/// of the newest of each lineage, united. Notes when one of them last changed the answer.
pub(super) fn join(
    groups: &[Arc<Group>],
    now_ms: UnixMs,
    changed_at_ms: &mut UnixMs,
) -> Option<Arc<ReadyRecord>> {
    let mut join = Join::default();
    for lineage in groups.chunk_by(|one, other| one.is_of_lineage_of(other)) {
        // `any` stops at the first that is served.
        lineage.iter().any(|group| join.add(group, now_ms, changed_at_ms));
        if join.is_full() {
            break;
        }
    }
    join.record
}

/// A record whose addresses are being united.
#[derive(Default)]
pub(super) struct Join {
    pub(super) record: Option<Arc<ReadyRecord>>,
    /// Groups that were looked at and are dead.
    pub(super) dead: usize,
    joined: usize,
}

impl Join {
    /// Adds the addresses of a group if it lives, and says whether it does. Notes when it last
    /// changed the answer.
    pub(super) fn add(
        &mut self,
        group: &Group,
        now_ms: UnixMs,
        changed_at_ms: &mut UnixMs,
    ) -> bool {
        *changed_at_ms = (*changed_at_ms).max(group.changed_at_ms(now_ms));
        if !group.is_live(now_ms) {
            self.dead += 1;
            return false;
        }
        self.record = Some(match self.record.take() {
            None => group.record.clone(),
            Some(record) if Arc::ptr_eq(&record, &group.record) => record,
            Some(record) => record.with_addrs_of(&group.record).map_or(record, Arc::new),
        });
        self.joined += 1;
        true
    }

    pub(super) fn is_full(&self) -> bool {
        self.joined == JOINED_MAX
    }
}
