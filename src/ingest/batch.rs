//! Batches lines, so that a store is called once for thousands of keys.
//!
//! Files repeat the same records, so a record whose text the batch has seen is not parsed again,
//! and keys that share it, its context and its expiry become one announcement.

use std::collections::HashMap;

use crate::clock::UnixMs;
use crate::store::{Announcement, ContextId};
use crate::types::{ContentKey, LeftOut, ParsedRecord, ProviderRecord};

/// The most (key, record) pairs of a batch: a store's lock is held for no longer than these take.
pub(super) const BATCH_ENTRIES_MAX: usize = 4_096;

/// The most bytes of different records in a batch, one record more at worst.
const BATCH_RECORD_BYTES_MAX: usize = 4 << 20;

/// Announcements not yet handed to the store.
#[derive(Default)]
pub(super) struct AnnouncementBatch {
    announcements: Vec<Announcement>,
    by_record_text: HashMap<Box<str>, Known>,
    entries: usize,
    record_bytes: usize,
}

/// The context and expiry of a line.
#[derive(Clone, Copy)]
pub(super) struct BatchTerms<'a> {
    pub(super) context: &'a ContextId,
    pub(super) expires_at_ms: Option<UnixMs>,
}

struct Known {
    position: usize,
    left_out: LeftOut,
}

impl AnnouncementBatch {
    /// Adds a key to a record that the batch has seen; returns how much was left out of that
    /// record. `None`: the batch has not seen it.
    pub(super) fn add_known(
        &mut self,
        record_text: &str,
        key: &ContentKey,
        terms: BatchTerms<'_>,
    ) -> Option<LeftOut> {
        let known = self.by_record_text.get_mut(record_text)?;
        let next = self.announcements.len();
        let announced = self
            .announcements
            .get_mut(known.position)
            .expect("a known record's position is that of an announcement");
        if announced.expires_at_ms == terms.expires_at_ms && announced.context == *terms.context {
            announced.keys.push(key.clone());
        } else {
            let record = announced.record.clone();
            self.announcements.push(announcement(key, record, terms));
            self.record_bytes += record_text.len();
            known.position = next;
        }
        self.entries += 1;
        Some(known.left_out)
    }

    /// Adds a key with a record that the batch has not seen.
    pub(super) fn add_new(
        &mut self,
        record_text: &str,
        key: &ContentKey,
        terms: BatchTerms<'_>,
        parsed: ParsedRecord,
    ) {
        let position = self.announcements.len();
        let known = Known { position, left_out: parsed.left_out };
        self.by_record_text.insert(record_text.into(), known);
        self.announcements.push(announcement(key, parsed.record, terms));
        self.entries += 1;
        self.record_bytes += record_text.len();
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries >= BATCH_ENTRIES_MAX || self.record_bytes >= BATCH_RECORD_BYTES_MAX
    }

    /// Empties the batch.
    pub(super) fn take(&mut self) -> Vec<Announcement> {
        std::mem::take(self).announcements
    }
}

fn announcement(key: &ContentKey, record: ProviderRecord, terms: BatchTerms<'_>) -> Announcement {
    let BatchTerms { context, expires_at_ms } = terms;
    Announcement { keys: vec![key.clone()], record, context: context.clone(), expires_at_ms }
}
