//! Batches lines, so that a store is called once for thousands of keys.
//!
//! Files repeat the same records, so records are deduplicated by their text before they are parsed,
//! and keys that share one, its context, its expiry and its origin become one announcement.

use std::collections::HashMap;

use crate::clock::UnixMs;
use crate::store::{Announcement, ContextId, Update};
use crate::types::{ContentKey, LeftOut, Origin, ParsedRecord};

/// The most (key, record) pairs of a batch: a store's lock is held for no longer than these take.
pub(super) const BATCH_ENTRIES_MAX: usize = 4_096;

/// The most bytes of different records in a batch, one record more at worst.
const BATCH_RECORD_BYTES_MAX: usize = 4 << 20;

/// Announcements not yet handed to the store.
#[derive(Default)]
pub(super) struct AnnouncementBatch {
    /// Announcements of one origin that follow each other are one update.
    updates: Vec<Update>,
    by_record_text: HashMap<Box<str>, Known>,
    entries: usize,
    record_bytes: usize,
}

/// The context, expiry and origin of a line.
#[derive(Clone, Copy)]
pub(super) struct BatchTerms<'a> {
    pub(super) context: &'a ContextId,
    pub(super) expires_at_ms: Option<UnixMs>,
    pub(super) origin: Origin,
}

struct Known {
    /// Where the newest announcement of the record stands: in which update, and where in that.
    position: (usize, usize),
    left_out: LeftOut,
}

impl AnnouncementBatch {
    /// Adds a key to a record that the batch has; returns how much parsing dropped from that
    /// record. `None`: the batch does not have it.
    pub(super) fn add_known(
        &mut self,
        record_text: &str,
        key: &ContentKey,
        terms: BatchTerms<'_>,
    ) -> Option<LeftOut> {
        let Known { position: (update, position), left_out } =
            *self.by_record_text.get(record_text)?;
        let update = self.updates.get_mut(update).expect("a known record is in an update");
        let origin = update.origin;
        let announced =
            update.announcements.get_mut(position).expect("a known record is in an announcement");
        let BatchTerms { context, expires_at_ms, origin: wanted } = terms;
        self.entries += 1;
        if announced.expires_at_ms == expires_at_ms
            && announced.context == *context
            && origin == wanted
        {
            announced.keys.push(key.clone());
        } else {
            let record = announced.record.clone();
            self.push(record_text, key, terms, ParsedRecord { record, left_out });
        }
        Some(left_out)
    }

    /// Adds a key with a record that the batch does not have.
    pub(super) fn add_new(
        &mut self,
        record_text: &str,
        key: &ContentKey,
        terms: BatchTerms<'_>,
        parsed: ParsedRecord,
    ) {
        self.entries += 1;
        self.push(record_text, key, terms, parsed);
    }

    fn push(
        &mut self,
        record_text: &str,
        key: &ContentKey,
        terms: BatchTerms<'_>,
        parsed: ParsedRecord,
    ) {
        let BatchTerms { context, expires_at_ms, origin } = terms;
        let ParsedRecord { record, left_out } = parsed;
        let (keys, context) = (vec![key.clone()], context.clone());
        let announcement = Announcement { keys, record, context, expires_at_ms };
        match self.updates.last_mut().filter(|update| update.origin == origin) {
            Some(update) => update.announcements.push(announcement),
            None => self.updates.push(Update::without_statement(origin, vec![announcement])),
        }
        let newest = self.updates.last().map_or(0, |update| update.announcements.len() - 1);
        let known = Known { position: (self.updates.len() - 1, newest), left_out };
        self.by_record_text.insert(record_text.into(), known);
        self.record_bytes += record_text.len();
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries >= BATCH_ENTRIES_MAX || self.record_bytes >= BATCH_RECORD_BYTES_MAX
    }

    /// Empties the batch.
    pub(super) fn take(&mut self) -> Vec<Update> {
        std::mem::take(self).updates
    }
}
