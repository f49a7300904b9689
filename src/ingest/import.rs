//! A running import of any kind of file: counts, rejections, and batches for the store.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::Sink;
use super::error::ImportError;
use super::options::ImportOptions;
use super::progress::{Acknowledged, ImportObserver, ImportProgress};
use super::summary::{ImportCounts, Place, REJECTIONS_SHOWN_MAX, RejectReason, Rejection};
use crate::store::Announcement;

/// The observer gets progress after this many entries: often enough for a progress bar, and too
/// rarely to cost anything.
const ENTRIES_BETWEEN_PROGRESS: u64 = 256;

/// How many (compressed) bytes have been read.
pub(super) type BytesRead = Rc<Cell<u64>>;

/// The state of an import that does not depend on the kind of file.
pub(super) struct Import<'a> {
    pub(super) file: Arc<str>,
    pub(super) options: &'a ImportOptions,
    pub(super) counts: ImportCounts,
    pub(super) size_bytes: Option<u64>,
    pub(super) position: BytesRead,
    /// Lines or blocks, from the first one on, that are done with: rejected, or whole with the store.
    done: u64,
    sink: &'a mut Sink<'a>,
    observer: &'a mut dyn ImportObserver,
}

impl<'a> Import<'a> {
    pub(super) fn new(
        file: &Arc<str>,
        options: &'a ImportOptions,
        sink: &'a mut Sink<'_>,
        observer: &'a mut dyn ImportObserver,
    ) -> Self {
        Self {
            file: Arc::clone(file),
            options,
            counts: ImportCounts { entries_added: Some(0), ..ImportCounts::default() },
            size_bytes: None,
            position: BytesRead::default(),
            done: 0,
            sink,
            observer,
        }
    }

    /// The counts. Entries read but not done are excluded, so that an import that stopped can be
    /// resumed there.
    pub(super) fn into_counts(self) -> ImportCounts {
        let Self { mut counts, done, .. } = self;
        *if counts.blocks > 0 { &mut counts.blocks } else { &mut counts.lines } = done;
        counts
    }

    /// Counts and reports an entry that is not taken in; an error if the import is strict.
    pub(super) fn reject(
        &mut self,
        place: Place,
        reason: RejectReason,
        why: &str,
    ) -> Result<(), ImportError> {
        *self.counts.rejected.entry(reason).or_default() += 1;
        let rejection = || Rejection::new(Arc::clone(&self.file), place, reason, why);
        if self.options.strict {
            return Err(ImportError::Strict { rejection: rejection() });
        }
        if self.counts.rejected_total() <= REJECTIONS_SHOWN_MAX {
            self.observer.rejected(&rejection());
        }
        Ok(())
    }

    /// Gives a batch to the store. `keys` is how many lines or blocks it came from.
    pub(super) fn hand_on(
        &mut self,
        announcements: Vec<Announcement>,
        keys: u64,
    ) -> Result<(), ImportError> {
        if announcements.is_empty() {
            return Ok(());
        }
        let records: usize = announcements.iter().map(|announced| announced.keys.len()).sum();
        let applied = (self.sink)(announcements)
            .map_err(|source| ImportError::Store { file: Arc::clone(&self.file), source })?;
        self.counts.keys += keys;
        self.counts.records += records as u64;
        self.counts.entries_taken_in += applied.taken_in;
        let added = self.counts.entries_added.zip(applied.added);
        self.counts.entries_added = added.map(|(before, more)| before + more);
        self.show_progress();
        Ok(())
    }

    /// Records that the first `items` lines or blocks are done.
    pub(super) fn record_done(&mut self, items: u64) {
        self.done = items;
    }

    /// Records and reports that the first `items` lines or blocks are done. Not reported at the
    /// end, where the summary does.
    pub(super) fn acknowledge(&mut self, items: u64) {
        self.record_done(items);
        let is_car = self.counts.blocks > 0;
        self.observer.acknowledged(&Acknowledged {
            bytes: self.position.get(),
            lines: if is_car { 0 } else { items },
            blocks: if is_car { items } else { 0 },
            keys: self.counts.keys,
            records: self.counts.records,
            rejected: self.counts.rejected_total(),
        });
    }

    /// Counts one more read entry.
    pub(super) fn advance(&mut self) {
        if (self.counts.lines + self.counts.blocks).is_multiple_of(ENTRIES_BETWEEN_PROGRESS) {
            self.show_progress();
        }
    }

    fn show_progress(&mut self) {
        self.observer.progress(&ImportProgress {
            position_bytes: self.position.get(),
            size_bytes: self.size_bytes,
            counts: &self.counts,
        });
    }
}
