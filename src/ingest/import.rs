//! A running import of any kind of file: counts, rejections, and batches for the store.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::Sink;
use super::error::ImportError;
use super::options::ImportOptions;
use super::progress::{Acknowledged, ImportObserver, ImportProgress};
use super::summary::{ImportCounts, Place, REJECTIONS_SHOWN_MAX, RejectReason, Rejection};
use crate::store::{Applied, StoreError, Update};
use crate::types::Origin;

/// Entries between progress reports: often enough for a progress bar, and rare enough to cost
/// nothing.
const ENTRIES_BETWEEN_PROGRESS: u64 = 256;

/// The (compressed) bytes read so far.
pub(super) type BytesRead = Rc<Cell<u64>>;

/// Records of strangers that there is no room for, and why, by network.
type Refused = BTreeMap<Origin, (u64, StoreError)>;

/// The state of an import that does not depend on the kind of file.
pub(super) struct Import<'a> {
    pub(super) file: Arc<str>,
    pub(super) options: &'a ImportOptions,
    pub(super) counts: ImportCounts,
    pub(super) size_bytes: Option<u64>,
    pub(super) position: BytesRead,
    /// The contiguous lines or blocks from the start that are done: rejected, or completely stored.
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

    /// The counts, without entries that were read but are not done, so that a stopped import can be
    /// resumed there.
    pub(super) fn into_counts(self) -> ImportCounts {
        let Self { mut counts, done, .. } = self;
        *if counts.blocks > 0 { &mut counts.blocks } else { &mut counts.lines } = done;
        counts
    }

    /// Counts and reports a rejected entry; an error if the import is strict.
    pub(super) fn reject(
        &mut self,
        place: Place,
        reason: RejectReason,
        why: &str,
    ) -> Result<(), ImportError> {
        self.reject_entries(1, place, reason, why)
    }

    fn reject_entries(
        &mut self,
        entries: u64,
        place: Place,
        reason: RejectReason,
        why: &str,
    ) -> Result<(), ImportError> {
        let rejected_before = self.counts.rejected_total();
        *self.counts.rejected.entry(reason).or_default() += entries;
        let rejection = || Rejection::new(Arc::clone(&self.file), place, reason, why);
        if self.options.strict {
            return Err(ImportError::Strict { rejection: rejection() });
        }
        if rejected_before < REJECTIONS_SHOWN_MAX {
            self.observer.rejected(&rejection());
        }
        Ok(())
    }

    /// Applies a batch to the store. `keys` is the number of its lines or blocks. Where a limit
    /// leaves no room for what strangers announced, that alone is rejected: the rest goes in.
    pub(super) fn hand_on(&mut self, updates: Vec<Update>, keys: u64) -> Result<(), ImportError> {
        if updates.is_empty() {
            return Ok(());
        }
        let mut refused = BTreeMap::new();
        self.offer(updates, &mut refused)?;
        let refused_records: u64 = refused.values().map(|(records, _)| records).sum();
        // What strangers announced comes from exports, with one record a line.
        self.counts.keys += keys.saturating_sub(refused_records);
        self.show_progress();
        for (network, (records, error)) in refused {
            let why = format!("up to this line, {records} records of {network}: {error}");
            let place = Place::Line(self.counts.lines);
            self.reject_entries(records, place, RejectReason::NoRoom, &why)?;
        }
        Ok(())
    }

    /// Offers updates to the store, by halves where there is no room for some of them.
    fn offer(&mut self, updates: Vec<Update>, refused: &mut Refused) -> Result<(), ImportError> {
        let again = updates.iter().any(is_a_strangers).then(|| updates.clone());
        let records = updates.iter().map(records_of).sum();
        match ((self.sink)(updates), again) {
            (Ok(applied), _) => self.count(applied, records),
            (Err(error @ StoreError::Full { .. }), Some(mut again)) => {
                if let [update] = &again[..] {
                    refused.entry(update.origin).or_insert((0, error)).0 += records;
                    return Ok(());
                }
                let rest = again.split_off(again.len() / 2);
                self.offer(again, refused)?;
                self.offer(rest, refused)?;
            }
            (Err(source), _) => {
                return Err(ImportError::Store { file: Arc::clone(&self.file), source });
            }
        }
        Ok(())
    }

    fn count(&mut self, applied: Applied, records: u64) {
        self.counts.records += records;
        self.counts.entries_taken_in += applied.taken_in;
        let added = self.counts.entries_added.zip(applied.added);
        self.counts.entries_added = added.map(|(before, more)| before + more);
    }

    /// How many lines or blocks are done.
    pub(super) fn done(&self) -> u64 {
        self.done
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

fn is_a_strangers(update: &Update) -> bool {
    !update.origin.is_operator()
}

fn records_of(update: &Update) -> u64 {
    update.announcements.iter().map(|announced| announced.keys.len() as u64).sum()
}
