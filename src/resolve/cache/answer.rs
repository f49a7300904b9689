//! What upstreams said, joined, as answers are made of it.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::UnixMs;
use crate::resolve::join::{Joined, KinRecords};
use crate::resolve::{Found, Subject};
use crate::types::{Kin, ReadyRecord, Records, Selection, SharedRecords};

/// Records of more bytes are not shared with the texts that are made of them: long answers are
/// written while they are sent.
const SHARED_BYTES_MAX: usize = 64 << 10;

/// How many texts are kept of shared records.
const TEXTS: usize = 2;

/// Bytes that an answer takes besides its records, places in tables included.
const ANSWER_BYTES: usize = 400;

/// Bytes that a record takes besides its text and its addresses.
const RECORD_BYTES: usize = 300;

/// Bytes that are held about each address.
const ADDR_BYTES: usize = 16;

/// The joined records of an account's upstreams, unfiltered.
#[derive(Debug)]
pub(in crate::resolve) struct RemoteAnswer {
    records: Records,
    /// Of each record, in their order.
    kin: Box<[Kin]>,
    made_at_ms: UnixMs,
    is_whole: bool,
    /// When asking anew failed last; 0: it did not.
    failed_at_ms: AtomicU64,
    united: Option<United>,
}

/// What a partial answer was united of.
#[derive(Debug)]
struct United {
    new: Arc<RemoteAnswer>,
    /// What was known before; itself not united of anything that counts.
    old: Arc<RemoteAnswer>,
}

impl RemoteAnswer {
    /// An answer of these records, which differ in what they are kin to. It is whole if no upstream
    /// failed.
    pub(in crate::resolve) fn new(
        subject: &Subject,
        records: KinRecords,
        made_at_ms: UnixMs,
        is_whole: bool,
    ) -> Self {
        let bytes: usize = records.iter().map(|(_, record)| record.len_bytes() + 1).sum();
        let kin = records.iter().map(|(kin, _)| *kin).collect();
        let records: Vec<_> =
            records.into_iter().map(|(_, record)| (record, Selection::Whole)).collect();
        // The texts of shared records are those of providers.
        let is_shared = matches!(subject, Subject::Content(_)) && bytes <= SHARED_BYTES_MAX;
        let records =
            if is_shared { Arc::new(SharedRecords::new(records)).into() } else { records.into() };
        Self { records, kin, made_at_ms, is_whole, failed_at_ms: AtomicU64::new(0), united: None }
    }

    /// This answer, which is not whole, with what was known before: its own records first, each with
    /// what was known of the same provider, and no more than `records_max`.
    pub(in crate::resolve) fn united_with(
        self: &Arc<Self>,
        old: &Arc<Self>,
        subject: &Subject,
        records_max: usize,
    ) -> Self {
        let mut joined = Joined::default();
        for (kin, record) in self.iter().chain(old.iter()) {
            joined.add(*kin, record.clone(), records_max);
        }
        let united = United { new: self.clone(), old: old.clone() };
        let answer = Self::new(subject, joined.all(), self.made_at_ms, false);
        Self { united: Some(united), ..answer }
    }

    /// What is new in this answer, and the older one that it was united with.
    pub(in crate::resolve) fn parts(&self) -> Option<(&Arc<Self>, &Arc<Self>)> {
        self.united.as_ref().map(|United { new, old }| (new, old))
    }

    /// The records with what they are kin to.
    pub(in crate::resolve) fn iter(
        &self,
    ) -> impl ExactSizeIterator<Item = (&Kin, &Arc<ReadyRecord>)> {
        self.kin.iter().zip(self.records.iter().map(|(record, _)| record))
    }

    pub(in crate::resolve) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether no upstream failed.
    pub(in crate::resolve) fn is_whole(&self) -> bool {
        self.is_whole
    }

    pub(in crate::resolve) fn made_at_ms(&self) -> UnixMs {
        self.made_at_ms
    }

    /// All records, as many as are wanted.
    pub(in crate::resolve) fn found(&self, records_max: Option<NonZeroUsize>) -> Found {
        let records = match records_max {
            Some(max) if self.records.len() > max.get() => {
                self.records.iter().take(max.get()).cloned().collect::<Vec<_>>().into()
            }
            _ => self.records.clone(),
        };
        let modified_at_ms = (!records.is_empty()).then_some(self.made_at_ms);
        Found { records, modified_at_ms, is_partial: false }
    }

    /// Notes that asking anew failed.
    pub(in crate::resolve) fn note_failure(&self, now_ms: UnixMs) {
        self.failed_at_ms.store(now_ms, Ordering::Relaxed);
    }

    /// When asking anew failed last; 0: it did not.
    pub(super) fn failed_at_ms(&self) -> UnixMs {
        self.failed_at_ms.load(Ordering::Relaxed)
    }

    /// How much memory it takes at most, the texts included that may be made of it.
    pub(super) fn bytes(&self) -> usize {
        let texts = if self.records.shared().is_some() { TEXTS } else { 0 };
        let of_record = |(_, record): (&Kin, &Arc<ReadyRecord>)| {
            let addrs = record.addr_count() * ADDR_BYTES;
            record.len_bytes() * (1 + texts) + addrs + RECORD_BYTES
        };
        let of_parts = self.parts().map_or(0, |(new, old)| new.bytes() + old.bytes());
        ANSWER_BYTES + self.iter().map(of_record).sum::<usize>() + of_parts
    }
}
