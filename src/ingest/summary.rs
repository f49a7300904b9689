//! The result of an import: counts, and rejected entries.
//!
//! A file may have any number of bad entries, so only the first few are shown in full; all are
//! counted by reason.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use indicatif::HumanCount;
use serde::{Deserialize, Serialize};

use super::options::ImportKind;
use crate::metrics::{ImportedFile, Metrics};

/// How many rejections of one file are shown in full: enough to see what is wrong with it.
pub(crate) const REJECTIONS_SHOWN_MAX: u64 = 20;

/// The most characters of a reason that are kept; it may quote a whole line.
const WHY_CHARS_MAX: usize = 240;

/// Why an entry was rejected, in countable kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RejectReason {
    /// A line longer than the limit.
    LineTooLong,
    /// A line that is not UTF-8.
    Utf8,
    /// A line that is not a JSON object of the expected shape.
    Json,
    /// A CID or multihash that is missing or cannot be read.
    Key,
    /// A context ID that cannot be read.
    Context,
    /// A record longer than the limit.
    RecordTooLong,
    /// A record that cannot be read.
    Record,
    /// A block whose content has another hash than its CID says.
    Hash,
    /// Records that a stranger announced, for which a limit on strangers leaves no room.
    NoRoom,
}

/// Where in a file an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    /// A line's number, from 1.
    Line(u64),
    /// Bytes from the beginning of the uncompressed content.
    Offset(u64),
}

/// A rejected entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The file's name.
    pub(crate) file: Arc<str>,
    /// Where in the file.
    pub(crate) place: Place,
    /// The kind of reason.
    pub(crate) reason: RejectReason,
    /// The reason, for people: without control characters, and of bounded length.
    pub(crate) why: String,
}

/// The counts of an import so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportCounts {
    /// Lines of NDJSON that were read, blank ones not counted. Where the import stopped: those, from
    /// the first one on, that are done with, so that it can go on after them.
    pub(crate) lines: u64,
    /// Blocks of a CAR that were read, or are done with.
    pub(crate) blocks: u64,
    /// Lines or blocks whose key the store has taken in.
    pub(crate) keys: u64,
    /// (key, record) pairs that the store has taken in.
    pub records: u64,
    /// Those of them that the store has now: not what lapsed meanwhile.
    pub(crate) entries_taken_in: u64,
    /// Those of these that were new to the store, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) entries_added: Option<u64>,
    /// Lines that had expired before the import.
    pub(crate) expired: u64,
    /// Addresses that were left out of records because not all clients read them.
    pub(crate) addrs_dropped: u64,
    /// Fields that were left out of records because clients read them in different ways.
    #[serde(default)]
    pub(crate) fields_dropped: u64,
    /// Blocks taken in though their hash could not be checked when that was asked for.
    pub(crate) unverifiable: u64,
    /// Whether it is a CAR that was never finalized: what follows its last whole block is missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not", rename = "unfinalized")]
    pub(crate) is_unfinalized: bool,
    /// Entries that were not taken in, by reason.
    pub(crate) rejected: BTreeMap<RejectReason, u64>,
}

/// The result of importing one file, displayed as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportSummary {
    /// The file's name.
    pub(crate) file: Arc<str>,
    /// What was in it.
    pub(crate) kind: ImportKind,
    /// How much.
    pub counts: ImportCounts,
}

impl RejectReason {
    /// A name for metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::LineTooLong => "line_too_long",
            Self::Utf8 => "utf8",
            Self::Json => "json",
            Self::Key => "key",
            Self::Context => "context",
            Self::RecordTooLong => "record_too_long",
            Self::Record => "record",
            Self::Hash => "hash",
            Self::NoRoom => "no_room",
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::LineTooLong => "too long a line",
            Self::Utf8 => "not UTF-8",
            Self::Json => "not the expected JSON",
            Self::Key => "bad key",
            Self::Context => "bad context",
            Self::RecordTooLong => "too long a record",
            Self::Record => "bad record",
            Self::Hash => "wrong hash",
            Self::NoRoom => "no room for a stranger",
        }
    }
}

impl Rejection {
    pub(super) fn new(file: Arc<str>, place: Place, reason: RejectReason, why: &str) -> Self {
        let mut short = String::new();
        for (count, character) in why.chars().enumerate() {
            if count == WHY_CHARS_MAX {
                short.push_str("...");
                break;
            }
            // A file must not be able to send escape sequences to a terminal.
            if character.is_control() {
                short.extend(character.escape_default());
            } else {
                short.push(character);
            }
        }
        Self { file, place, reason, why: short }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Line(line) => write!(f, "{}:{line}: {}", self.file, self.why),
            Place::Offset(offset) => write!(f, "{}: byte {offset}: {}", self.file, self.why),
        }
    }
}

impl ImportCounts {
    /// The number of rejected entries.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Adds them to the metrics, as those of one file.
    pub(crate) fn record(&self, metrics: &Metrics) {
        metrics.file_imported(ImportedFile {
            items: self.lines + self.blocks,
            records: self.records,
            keys: self.keys,
            addrs_dropped: self.addrs_dropped,
            fields_dropped: self.fields_dropped,
        });
        for (reason, rejected) in &self.rejected {
            metrics.import_rejected(reason.label(), *rejected);
        }
        if self.expired > 0 {
            metrics.import_rejected("expired", self.expired);
        }
    }
}

impl fmt::Display for ImportSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        let read = match self.kind {
            ImportKind::Ndjson => Count(counts.lines, "line"),
            ImportKind::Car => Count(counts.blocks, "block"),
        };
        write!(
            f,
            "{}: {read}, {}, {}",
            self.file,
            Count(counts.keys, "key"),
            Count(counts.records, "record"),
        )?;
        if let Some(added) = counts.entries_added {
            let known = counts.entries_taken_in.saturating_sub(added);
            write!(f, " ({} new, {} known)", HumanCount(added), HumanCount(known))?;
        }
        write!(f, ", {} rejected", HumanCount(counts.rejected_total()))?;
        for (position, (reason, count)) in counts.rejected.iter().enumerate() {
            let before = if position == 0 { " (" } else { ", " };
            write!(f, "{before}{}: {}", reason.describe(), HumanCount(*count))?;
        }
        if !counts.rejected.is_empty() {
            f.write_str(")")?;
        }
        if counts.expired > 0 {
            write!(f, ", {} expired and skipped", Count(counts.expired, "line"))?;
        }
        if counts.addrs_dropped > 0 {
            write!(f, ", {} left out: no multiaddr", Count(counts.addrs_dropped, "address"))?;
        }
        if counts.fields_dropped > 0 {
            write!(f, ", {} left out: ambiguous", Count(counts.fields_dropped, "field"))?;
        }
        if counts.unverifiable > 0 {
            write!(f, ", {} not verifiable", Count(counts.unverifiable, "block"))?;
        }
        if counts.is_unfinalized {
            f.write_str(
                "; warning: this CAR was never finalized, blocks may be missing at its end",
            )?;
        }
        Ok(())
    }
}

/// A number of things, in words.
struct Count(u64, &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, noun) = *self;
        let plural = match (count, noun.ends_with('s')) {
            (1, _) => "",
            (_, true) => "es",
            (_, false) => "s",
        };
        write!(f, "{} {noun}{plural}", HumanCount(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_one_line_that_says_what_happened() {
        let mut summary = ImportSummary {
            file: "a.ndjson".into(),
            kind: ImportKind::Ndjson,
            counts: ImportCounts {
                lines: 1,
                keys: 1,
                records: 1_049,
                entries_taken_in: 1_049,
                entries_added: Some(1_048),
                ..ImportCounts::default()
            },
        };
        assert_eq!(
            summary.to_string(),
            "a.ndjson: 1 line, 1 key, 1,049 records (1,048 new, 1 known), 0 rejected"
        );
        summary.kind = ImportKind::Car;
        summary.counts.rejected = [(RejectReason::Hash, 2), (RejectReason::Key, 1)].into();
        summary.counts.expired = 1;
        summary.counts.addrs_dropped = 3;
        summary.counts.fields_dropped = 2;
        summary.counts.unverifiable = 4;
        assert_eq!(
            summary.to_string(),
            "a.ndjson: 0 blocks, 1 key, 1,049 records (1,048 new, 1 known), 3 rejected \
             (bad key: 1, wrong hash: 2), 1 line expired and skipped, 3 addresses left out: no \
             multiaddr, 2 fields left out: ambiguous, 4 blocks not verifiable"
        );
    }

    #[test]
    fn a_rejection_is_short_and_cannot_steer_a_terminal() {
        let why = format!("\u{1b}[2J{}", "x".repeat(1_000));
        let rejection = Rejection::new("f".into(), Place::Line(7), RejectReason::Json, &why);
        let text = rejection.to_string();
        assert!(text.starts_with("f:7: \\u{1b}[2Jxxx"), "{text}");
        assert!(text.ends_with("x...") && text.len() < 300, "{text}");
    }

    #[test]
    fn a_reason_has_one_name_in_metrics_and_in_json() {
        for reason in [
            RejectReason::LineTooLong,
            RejectReason::Utf8,
            RejectReason::Json,
            RejectReason::Key,
            RejectReason::Context,
            RejectReason::RecordTooLong,
            RejectReason::Record,
            RejectReason::Hash,
        ] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.label());
        }
    }
}
