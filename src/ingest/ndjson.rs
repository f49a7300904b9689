//! NDJSON: one JSON object a line.
//!
//! ```json
//! {"CID":"bafy...","Providers":[{"Schema":"peer",...},...],"ExpiresAt":1790000000000,"Context":"uY3R4","Network":"192.0.2.0/24"}
//! ```
//!
//! `"Multihash"` (multibase or base58) may stand instead of `CID`; `ExpiresAt` (Unix milliseconds),
//! `Context` (multibase; an export names the provider's context so) and `Network` (where a stranger announced
//! it from; without it the operator says so) may be missing. Other fields are ignored, blank lines are
//! skipped, a byte order mark at the start and `\r` before `\n` are tolerated. A bad line is rejected whole; in
//! a good line a bad record is rejected alone. The last line needs no line end.

mod line;
mod lines;

use std::io::BufRead;

use serde_json::value::RawValue;

use super::batch::AnnouncementBatch;
use super::error::ImportError;
use super::import::Import;
use super::summary::{Place, RejectReason};
use crate::text::with_causes;
use crate::types::ProviderRecord;
use line::LineRecords;
use lines::{Line, Lines};

/// Imports all lines of `content`.
pub(super) fn import(content: impl BufRead, import: &mut Import<'_>) -> Result<(), ImportError> {
    let mut pending = PendingLines::default();
    let read = import_lines(content, import, &mut pending);
    if let Err(ImportError::Store { .. }) = read {
        return read;
    }
    // Store the lines before the error. A failing store is the more serious error.
    pending.hand_on(import)?;
    import.record_done(pending.lines);
    read
}

/// Lines that were read but not yet stored.
#[derive(Default)]
struct PendingLines {
    batch: AnnouncementBatch,
    /// The number of lines in the batch.
    keys: u64,
    /// Lines of the file so far: pending, stored or rejected.
    lines: u64,
}

impl PendingLines {
    fn hand_on(&mut self, import: &mut Import<'_>) -> Result<(), ImportError> {
        let handed_on = import.hand_on(self.batch.take(), std::mem::take(&mut self.keys));
        // Not all of these lines are in: a resumed import reads them again.
        handed_on.inspect_err(|_| self.lines = import.done())
    }
}

fn import_lines(
    content: impl BufRead,
    import: &mut Import<'_>,
    pending: &mut PendingLines,
) -> Result<(), ImportError> {
    let mut lines = Lines::new(content, import.options.line_bytes_max);
    loop {
        let next = match lines.next() {
            Ok(next) => next,
            Err(source) => {
                let (number, offset) = (lines.number() + 1, lines.offset());
                let inside = format!("line {number}");
                return Err(ImportError::read(&import.file, offset, &inside, source));
            }
        };
        let Some((number, line)) = next else { return Ok(()) };
        match line {
            Line::TooLong { bytes } => {
                import.counts.lines += 1;
                let most = import.options.line_bytes_max;
                let why = format!("a line of {bytes} bytes, at most {most} are read");
                import.reject(Place::Line(number), RejectReason::LineTooLong, &why)?;
            }
            Line::Whole(bytes) if bytes.trim_ascii().is_empty() => {}
            Line::Whole(bytes) => {
                import.counts.lines += 1;
                import_line(bytes, number, import, pending)?;
            }
        }
        pending.lines = import.counts.lines;
        import.advance();
    }
}

fn import_line(
    bytes: &[u8],
    number: u64,
    import: &mut Import<'_>,
    pending: &mut PendingLines,
) -> Result<(), ImportError> {
    let line = match LineRecords::parse(bytes) {
        Ok(line) => line,
        Err(error) => {
            return import.reject(Place::Line(number), error.reason(), &with_causes(&error));
        }
    };
    if line.expires_at_ms.is_some_and(|expires_at_ms| expires_at_ms <= import.options.now_ms) {
        import.counts.expired += 1;
        return Ok(());
    }
    let mut is_counted = false;
    for (position, record) in (1..).zip(&line.records) {
        match add_record(&line, record, import, &mut pending.batch) {
            Ok(()) if is_counted => {}
            Ok(()) => {
                pending.keys += 1;
                is_counted = true;
            }
            Err((reason, why)) => {
                let why = format!("record {position}: {why}");
                import.reject(Place::Line(number), reason, &why)?;
            }
        }
        if pending.batch.is_full() {
            pending.hand_on(import)?;
            let is_last = position == line.records.len();
            import.acknowledge(if is_last { import.counts.lines } else { pending.lines });
        }
    }
    Ok(())
}

fn add_record(
    line: &LineRecords<'_>,
    record: &RawValue,
    import: &mut Import<'_>,
    batch: &mut AnnouncementBatch,
) -> Result<(), (RejectReason, String)> {
    let text = record.get();
    let most = import.options.record_bytes_max;
    if text.len() > most {
        let why = format!("{} bytes, at most {most} are taken in", text.len());
        return Err((RejectReason::RecordTooLong, why));
    }
    let left_out = match batch.add_known(text, &line.key, line.terms()) {
        Some(left_out) => left_out,
        None => {
            let parsed = ProviderRecord::parse(text, import.options.unparsable_addrs)
                .map_err(|error| (RejectReason::Record, with_causes(&error)))?;
            let left_out = parsed.left_out;
            batch.add_new(text, &line.key, line.terms(), parsed);
            left_out
        }
    };
    import.counts.addrs_dropped += left_out.addrs as u64;
    import.counts.fields_dropped += left_out.fields as u64;
    Ok(())
}

#[cfg(test)]
mod tests;
