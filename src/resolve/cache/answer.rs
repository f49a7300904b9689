//! What upstreams said, joined, as answers are made of it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::clock::UnixMs;
use crate::invariant;
use crate::resolve::merge::{KeyedRecords, MergedRecords};
use crate::types::{
    Filter, MergeKey, ReadyRecord, Records, SelectedRecord, Selection, SharedRecords, Subject,
};

/// Records of more bytes are not shared with the texts that are made of them: long answers are
/// written while they are sent.
const SHARED_BYTES_MAX: usize = 64 << 10;

/// How many texts are kept of shared records.
const TEXTS: usize = 2;

/// Questions that have a cursor of their own in an answer; more share cursors.
const CURSORS: usize = 8;

/// Bytes that an answer takes besides its records, places in tables included.
const ANSWER_BYTES: usize = 460;

/// Bytes that a record takes besides its text and its addresses.
const RECORD_BYTES: usize = 300;

/// Bytes that are held about each address.
const ADDR_BYTES: usize = 16;

/// How complete an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::resolve) enum Completeness {
    /// All that they said.
    Whole,
    /// No upstream failed, but the lookup looped at one: asked from elsewhere, it may know more.
    Looped,
    /// An upstream failed, or has not answered yet.
    Partial,
}

/// The merged records of a target's upstreams, unfiltered.
#[derive(Debug)]
pub(in crate::resolve) struct RemoteAnswer {
    records: Records,
    /// Of each record, in their order.
    keys: Box<[MergeKey]>,
    made_at_ms: UnixMs,
    completeness: Completeness,
    /// When asking anew failed last; 0: it did not.
    failed_at_ms: AtomicU64,
    /// Round-robin cursors of answers that do not fit, by question: one for all would starve a question
    /// that alternates with others.
    cursors: [AtomicUsize; CURSORS],
    sources: Option<Sources>,
}

/// What a partial answer was merged of.
#[derive(Debug)]
struct Sources {
    new: Arc<RemoteAnswer>,
    /// What was known before; itself not merged of anything that counts.
    old: Arc<RemoteAnswer>,
}

impl RemoteAnswer {
    /// An answer of these records, which differ in what they are keys to.
    pub(in crate::resolve) fn new(
        subject: &Subject,
        records: KeyedRecords,
        made_at_ms: UnixMs,
        completeness: Completeness,
    ) -> Self {
        let bytes: usize = records.iter().map(|(_, record)| record.len_bytes() + 1).sum();
        let keys = records.iter().map(|(keys, _)| *keys).collect();
        let records: Vec<_> =
            records.into_iter().map(|(_, record)| (record, Selection::Whole)).collect();
        // The texts of shared records are those of providers.
        let is_shared = matches!(subject, Subject::Content(_)) && bytes <= SHARED_BYTES_MAX;
        let records =
            if is_shared { Arc::new(SharedRecords::new(records)).into() } else { records.into() };
        Self {
            records,
            keys,
            made_at_ms,
            completeness,
            failed_at_ms: AtomicU64::new(0),
            cursors: Default::default(),
            sources: None,
        }
    }

    /// This answer, which is not whole, with what was known before: its own records first, each with
    /// what was known of the same provider, and no more than `records_max`.
    pub(in crate::resolve) fn merged_with(
        self: &Arc<Self>,
        old: &Arc<Self>,
        subject: &Subject,
        records_max: usize,
    ) -> Self {
        let mut merged = MergedRecords::default();
        for (keys, record) in self.iter().chain(old.iter()) {
            merged.add(*keys, record.clone(), records_max);
        }
        let sources = Sources { new: self.clone(), old: old.clone() };
        let mut answer = Self::new(subject, merged.all(), self.made_at_ms, Completeness::Partial);
        answer.sources = Some(sources);
        answer.follow_on(self);
        answer
    }

    /// Has answers that cannot have all begin anywhere: for what is made anew for each of them.
    pub(in crate::resolve) fn beginning_anywhere(self) -> Self {
        let anywhere = rand::random_range(0..=usize::from(u16::MAX));
        self.cursors.iter().for_each(|cursor| cursor.store(anywhere, Ordering::Relaxed));
        self
    }

    /// What is new in this answer, and the older one that it was merged with.
    pub(in crate::resolve) fn parts(&self) -> Option<(&Arc<Self>, &Arc<Self>)> {
        self.sources.as_ref().map(|Sources { new, old }| (new, old))
    }

    /// The records with what they are keys to.
    pub(in crate::resolve) fn iter(
        &self,
    ) -> impl ExactSizeIterator<Item = (&MergeKey, &Arc<ReadyRecord>)> {
        self.keys.iter().zip(self.records.iter().map(|(record, _)| record))
    }

    pub(in crate::resolve) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(in crate::resolve) fn is_whole(&self) -> bool {
        self.completeness == Completeness::Whole
    }

    /// Whether a source failed that may know more.
    pub(in crate::resolve) fn is_partial(&self) -> bool {
        self.completeness == Completeness::Partial
    }

    pub(in crate::resolve) fn made_at_ms(&self) -> UnixMs {
        self.made_at_ms
    }

    /// All records, shared with other answers.
    pub(in crate::resolve) fn all(&self) -> Records {
        self.records.clone()
    }

    /// As many as there is `room` for of the records of which `select` gives something, in their order.
    /// If more match than fit, successive answers take them round-robin, and those that have addresses
    /// come first in each. Returns whether some were left out.
    pub(in crate::resolve) fn take_turn(
        &self,
        room: usize,
        filter: &Filter,
        mut select: impl FnMut(&MergeKey, &Arc<ReadyRecord>) -> Option<SelectedRecord>,
    ) -> (Vec<SelectedRecord>, bool) {
        let cursor = self.cursor(room, filter);
        let began_at = cursor.load(Ordering::Relaxed);
        let start = began_at.checked_rem(self.keys.len()).unwrap_or_default();
        let places = || self.iter().enumerate();
        let mut taken = Vec::new();
        let mut before_end = 0;
        for (place, (keys, record)) in places().skip(start).chain(places().take(start)) {
            let Some(selected) = select(keys, record) else { continue };
            if taken.len() == room {
                taken.sort_by_key(|(record, _): &SelectedRecord| !record.has_addrs());
                let (now, relaxed) = (place, Ordering::Relaxed);
                // Another answer may have moved it on.
                let _ = cursor.compare_exchange(began_at, now, relaxed, relaxed);
                return (taken, true);
            }
            taken.push(selected);
            if place >= start {
                before_end = taken.len();
            }
        }
        taken.rotate_left(before_end);
        (taken, false)
    }

    /// Has the next answer begin where the next one of `before` would.
    pub(super) fn follow_on(&self, before: &Self) {
        for (cursor, before) in self.cursors.iter().zip(&before.cursors) {
            cursor.store(before.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// The cursor of a question.
    fn cursor(&self, room: usize, filter: &Filter) -> &AtomicUsize {
        let mut hasher = DefaultHasher::new();
        (room, filter).hash(&mut hasher);
        let [first, ..] = &self.cursors;
        let place = usize::try_from(hasher.finish() % CURSORS as u64).unwrap_or_default();
        invariant::present(self.cursors.get(place), "a cursor's place is below their number")
            .unwrap_or(first)
    }

    /// Records that asking anew failed.
    pub(in crate::resolve) fn record_failure(&self, now_ms: UnixMs) {
        self.failed_at_ms.store(now_ms, Ordering::Relaxed);
    }

    /// When asking anew failed last; 0: it did not.
    pub(super) fn failed_at_ms(&self) -> UnixMs {
        self.failed_at_ms.load(Ordering::Relaxed)
    }

    /// How much memory it takes at most, the texts included that may be made of it.
    pub(super) fn bytes(&self) -> usize {
        let texts = if self.records.shared().is_some() { TEXTS } else { 0 };
        let of_record = |(_, record): (&MergeKey, &Arc<ReadyRecord>)| {
            let addrs = record.addr_count() * ADDR_BYTES;
            record.len_bytes() * (1 + texts) + addrs + RECORD_BYTES
        };
        let of_parts = self.parts().map_or(0, |(new, old)| new.bytes() + old.bytes());
        ANSWER_BYTES + self.iter().map(of_record).sum::<usize>() + of_parts
    }
}
