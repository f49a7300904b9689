//! Whole answers of hot keys that are asked for over and over.
//!
//! Finding the answer of a hot key takes a look at each of its groups. Until something changes it is
//! the same, so it is cached, in one of a few hundred slots; a new answer evicts the one in its slot.
//! An answer is cached only if it is complete: round-robin answers differ each time. So it is the
//! answer to every question whose cap it fits.
//!
//! # What makes an answer outdated
//!
//! - The hot key changed: its version is another.
//! - A group ended or has another record, anywhere: the groups' epoch is another.
//! - A group that is served has expired: the answer says until when it holds.
//!
//! Whoever changes something counts version or epoch up after the change and before it is
//! acknowledged; whoever keeps an answer has read both before looking at the first group.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;

use super::answer::Wanted;
use super::fingerprint::Fingerprint;
use super::sets::KeySet;
use crate::clock::UnixMs;
use crate::types::{Records, SharedRecords};

/// How many answers are kept.
const MEMO_SLOTS: usize = 256;

/// The longest answer that is kept, in bytes of records: with the texts that are made of them, all
/// slots take 50 MB at most.
const RECORD_BYTES_MAX: usize = 64 << 10;

/// Answers, each in a slot that its key decides.
pub(super) struct Memos(Box<[ArcSwapOption<Memo>]>);

/// An answer and what it depends on.
pub(super) struct Memo {
    /// Held, so that no other hot key can have the same address in memory.
    pub(super) set: Weak<KeySet>,
    pub(super) state: MemoState,
    /// The first and the last millisecond of its time.
    pub(super) holds_ms: (UnixMs, UnixMs),
    /// When the hot key's answer last changed.
    pub(super) changed_at_ms: UnixMs,
    pub(super) records: Arc<SharedRecords>,
}

/// What changes when something does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemoState {
    pub(super) hot_key_version: u64,
    pub(super) groups_epoch: u64,
}

impl Memos {
    pub(super) fn new() -> Self {
        Self((0..MEMO_SLOTS).map(|_| ArcSwapOption::empty()).collect())
    }

    /// The records of a hot key and when they last changed, if they are kept and nothing has changed.
    pub(super) fn get(
        &self,
        fingerprint: Fingerprint,
        set: &Arc<KeySet>,
        state: MemoState,
        wanted: Wanted<'_>,
    ) -> Option<(Records, UnixMs)> {
        let memo = self.slot(fingerprint).load();
        let memo = memo.as_deref()?;
        let (first_ms, last_ms) = memo.holds_ms;
        let holds = std::ptr::eq(memo.set.as_ptr(), Arc::as_ptr(set))
            && memo.state == state
            && wanted.records_max.is_none_or(|max| memo.records.len() <= max.get())
            && (first_ms..=last_ms).contains(&wanted.now_ms);
        holds.then(|| (memo.records.clone().into(), memo.changed_at_ms))
    }

    /// Caches an answer, evicting another.
    pub(super) fn keep(&self, fingerprint: Fingerprint, memo: Memo) {
        self.slot(fingerprint).store(Some(Arc::new(memo)));
    }

    fn slot(&self, fingerprint: Fingerprint) -> &ArcSwapOption<Memo> {
        let slot = self.0.get(fingerprint.low() as usize % MEMO_SLOTS);
        slot.expect("there are that many slots")
    }
}

/// Whether an answer is short enough to be kept.
pub(super) fn is_short(records: &Records) -> bool {
    records.iter().map(|(record, _)| record.len_bytes()).sum::<usize>() <= RECORD_BYTES_MAX
}
