//! From groups to an answer: joining, filtering, the cap, and whose turn it is.
//!
//! Candidates stand in a circle: those with addresses first. When all that match fit, the answer
//! has them in the order of the circle. When more match than fit, an answer begins where the last
//! one stopped, so that n matches are all served after ceil(n / cap) answers.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering as Memory};

use smallvec::SmallVec;

use super::group::{Current, Group};
use super::sets::{FEW_MAX, Few};
use crate::clock::UnixMs;
use crate::types::{Filter, Found, ReadyRecord, Selection};

/// The most groups whose addresses are united in one record: a provider may announce a key under
/// any number of contexts, and an answer has to end.
pub(super) const JOINED_MAX: usize = 64;

/// The most hits that there is room for before the first is found: those of a full JSON answer.
const HITS_EXPECTED_MAX: usize = 100;

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
    /// The hits by their identity, once it may be that two positions have the same.
    by_identity: Option<HashMap<[u8; 16], usize>>,
}

/// The answer of a key with one group.
pub(super) fn of_one(group: &Group, wanted: Wanted<'_>, shard_changed_at_ms: UnixMs) -> Found {
    if !group.is_live(wanted.now_ms) {
        return Found::default();
    }
    let record = group.record();
    let Some(selection) = wanted.filter.select(&record) else { return Found::default() };
    let modified_at_ms = group.changed_at_ms(wanted.now_ms).max(shard_changed_at_ms);
    Found::new(vec![(record.clone(), selection)].into(), modified_at_ms)
}

/// The answer of a key with a few groups.
pub(super) fn of_few(
    few: &Few,
    wanted: Wanted<'_>,
    shard_changed_at_ms: UnixMs,
    cursor: &AtomicU32,
) -> Found {
    let mut changed_at_ms = shard_changed_at_ms;
    let mut join = Join::<FEW_MAX>::default();
    for lineage in few.groups.chunk_by(|one, other| one.is_of_lineage_of(other)) {
        // `any` stops at the first that is served.
        lineage.iter().any(|group| join.add(group, wanted.now_ms, &mut changed_at_ms));
    }
    let mut records = join.records;
    records.sort_by_key(|record| !record.has_addrs());
    let start = cursor.load(Memory::Relaxed);
    let round = Round::go(start, records.len(), records.len(), wanted, |position| {
        records.get(position).map(|record| Join::of(record.clone()))
    });
    round.finish((cursor, start), changed_at_ms, wanted.now_ms)
}

impl Round {
    /// Goes round a circle of `length` positions from `start`, at most `steps_max` steps, and takes
    /// what matches until one more does than is wanted.
    pub(super) fn go(
        start: u32,
        length: usize,
        steps_max: usize,
        wanted: Wanted<'_>,
        mut join_at: impl FnMut(usize) -> Option<Join<1>>,
    ) -> Self {
        if length == 0 {
            return Self::default();
        }
        let records_max = wanted.records_max.map_or(usize::MAX, NonZeroUsize::get);
        if length <= records_max {
            // What fits is read from the beginning, which spares putting it in order.
            let round = Self::go_from(0, length, steps_max, wanted, &mut join_at);
            if round.next.is_none() {
                return round;
            }
        }
        Self::go_from(start as usize % length, length, steps_max, wanted, &mut join_at)
    }

    fn go_from(
        start: usize,
        length: usize,
        steps_max: usize,
        wanted: Wanted<'_>,
        join_at: &mut impl FnMut(usize) -> Option<Join<1>>,
    ) -> Self {
        let records_max = wanted.records_max.map_or(usize::MAX, NonZeroUsize::get);
        // A filter may let few of very many pass.
        let hits = Vec::with_capacity(length.min(records_max).min(HITS_EXPECTED_MAX));
        let mut round = Self { hits, ..Self::default() };
        for position in (start..length).chain(0..start).take(steps_max) {
            let Some(join) = join_at(position) else { continue };
            let before = round.hits.len();
            let has_taken_all = round.take(join, wanted, records_max);
            if position >= start {
                round.before_end = round.hits.len();
            }
            if !has_taken_all {
                // Where one position is more than an answer, the next one is for the others.
                let next = if before == 0 { position + 1 } else { position };
                round.next = Some(next % length);
                return round;
            }
        }
        if steps_max < length {
            round.next = Some((start + steps_max) % length);
        }
        round
    }

    /// Takes what matches of a position, and says whether there was room for all of it.
    fn take(&mut self, join: Join<1>, wanted: Wanted<'_>, records_max: usize) -> bool {
        if join.has_renamed && self.by_identity.is_none() {
            let known = self.hits.iter().enumerate();
            self.by_identity = Some(known.map(|(at, (it, _))| (it.identity(), at)).collect());
        }
        let mut records = join.records;
        if records.len() > records_max {
            let first = rand::random_range(0..records.len());
            records.rotate_left(first);
        }
        for record in records {
            let Some(selection) = wanted.filter.select(&record) else { continue };
            if self.unite(&record, wanted) {
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

    /// Unites a record with a hit that has become the same, if there is one.
    fn unite(&mut self, record: &ReadyRecord, wanted: Wanted<'_>) -> bool {
        let by_identity = self.by_identity.as_ref();
        let at = by_identity.and_then(|by_identity| by_identity.get(&record.identity()));
        let Some((known, selection)) = at.and_then(|at| self.hits.get_mut(*at)) else {
            return false;
        };
        if let Some(united) = known.with_addrs_of(record)
            && let Some(selected) = wanted.filter.select(&united)
        {
            (*known, *selection) = (Arc::new(united), selected);
        }
        true
    }

    /// Whether the round has all that there is.
    pub(super) fn is_whole(&self) -> bool {
        self.next.is_none()
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

/// Records whose addresses are being united: of the groups of one lineage or of several, one record
/// for each identity.
///
/// Lineages of one identity come one after the other, so only the last record needs to be looked at,
/// until one comes along whose record has become another.
pub(super) struct Join<const N: usize> {
    pub(super) records: SmallVec<[Arc<ReadyRecord>; N]>,
    /// Groups that were looked at and are dead.
    pub(super) dead: usize,
    /// Whether the record of one of the groups changed.
    pub(super) has_changed: bool,
    /// When the first of the groups that are served expires.
    pub(super) ends_at_ms: UnixMs,
    /// Whether one of them has another identity since.
    has_renamed: bool,
    joined: usize,
}

impl<const N: usize> Default for Join<N> {
    fn default() -> Self {
        Self {
            records: SmallVec::new(),
            dead: 0,
            has_changed: false,
            ends_at_ms: UnixMs::MAX,
            has_renamed: false,
            joined: 0,
        }
    }
}

impl<const N: usize> Join<N> {
    /// Just this record.
    fn of(record: Arc<ReadyRecord>) -> Self {
        Self { records: SmallVec::from_iter([record]), joined: 1, ..Self::default() }
    }

    /// Adds the addresses of a group if it lives, and says whether it does. Notes when it last
    /// changed the answer.
    pub(super) fn add(
        &mut self,
        group: &Group,
        now_ms: UnixMs,
        changed_at_ms: &mut UnixMs,
    ) -> bool {
        let record = group.record();
        *changed_at_ms = (*changed_at_ms).max(group.changed_at_ms(now_ms));
        if !group.is_live(now_ms) {
            self.dead += 1;
            return false;
        }
        if matches!(record, Current::Changed(_)) {
            self.has_changed = true;
            self.has_renamed |= record.identity() != group.identity();
        }
        let looked_at = if self.has_renamed { usize::MAX } else { 1 };
        let is_same = |known: &&mut Arc<ReadyRecord>| {
            Arc::ptr_eq(known, &record) || known.identity() == record.identity()
        };
        match self.records.iter_mut().rev().take(looked_at).find(is_same) {
            None => self.records.push(record.clone()),
            Some(known) if Arc::ptr_eq(known, &record) => {}
            Some(known) => {
                if let Some(united) = known.with_addrs_of(&record) {
                    *known = Arc::new(united);
                }
            }
        }
        self.joined += 1;
        self.ends_at_ms = self.ends_at_ms.min(group.expires_at_ms);
        true
    }

    pub(super) fn is_full(&self) -> bool {
        self.joined == JOINED_MAX
    }
}
