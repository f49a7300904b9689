//! The JSON of the admin API: one definition for the server and for the commands that query it.

mod explain;
mod pools;
mod routes;

use serde::{Deserialize, Serialize};

pub(crate) use explain::{PoolEndpointView, PoolView};
pub(crate) use pools::{NamedId, PoolAnswer, PoolPagination, PoolRemoved, PoolRoute};
pub use pools::{PoolList, PoolRefusal};
pub(super) use routes::iso_8601;
pub(crate) use routes::{
    NotAskedView, Page, RouteExplanation, RouteList, RouteView, Routes, StaticRouteList,
    StaticRouteRequest, StaticRouteView, StaticRoutes,
};

use crate::dispatch::LastKnownFields;
use crate::ingest::{Acknowledged, ImportCounts, Place, RejectReason, Rejection};
use crate::store::{IpnsStoreStats, StoreStats};

/// One line of the answer to an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ImportEvent {
    /// One of the first entries that were not taken in.
    Rejected(RejectedEntry),
    /// What is with the store by now.
    Acknowledged(Acknowledged),
    /// The end of an import that read all of its body: the last line.
    Done(ImportCounts),
    /// The end of an import that did not: the last line.
    Error(Problem),
}

/// An entry that was not taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RejectedEntry {
    /// Where in the body it stands.
    #[serde(flatten)]
    pub(crate) place: Place,
    /// The kind of reason.
    pub(crate) reason: RejectReason,
    /// The reason, for people.
    pub(crate) detail: String,
}

/// An error (RFC 9457).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    /// The prefix of the static route that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prefix: Option<String>,
    /// The kind of problem, as a URI.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    /// The kind of problem or the status, in words.
    pub(crate) title: String,
    /// The status.
    pub(crate) status: u16,
    /// What is wrong, for people; empty where the title says it all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) detail: String,
    /// What is known of a peer's routes, where an update of them does not follow on that.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_known: Option<LastKnownFields>,
    /// What an import that stopped had taken in before: that stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) imported: Option<ImportCounts>,
    /// The first entries that an import that stopped had rejected before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rejected: Vec<RejectedEntry>,
}

/// The answer to a removal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RemovedGroups {
    /// Whose groups.
    pub(crate) provider: String,
    /// The context they were under, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) context: Option<String>,
    /// How many groups are gone.
    pub(crate) groups: u64,
}

/// How much the store holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stats {
    /// (key, group) pairs, those not yet swept included; as all figures, `null` where the store cannot
    /// tell.
    pub(crate) entries: Option<u64>,
    /// Keys.
    pub(crate) keys: Option<u64>,
    /// Groups.
    pub(crate) groups: Option<u64>,
    /// Providers.
    pub(crate) providers: Option<u64>,
    /// Memory that the index takes up, in bytes.
    pub(crate) index_bytes: Option<u64>,
    /// Memory for each entry, in bytes to one decimal; 0 without entries.
    pub(crate) bytes_per_entry: Option<f64>,
    /// The journal on disk; `null` where there is none.
    pub(crate) journal: Option<JournalUsage>,
    /// The IPNS records.
    pub(crate) ipns: IpnsStats,
    /// The version that is running.
    pub(crate) version: String,
    /// How long the server has been running, in seconds; `null` where none is.
    pub(crate) uptime_s: Option<u64>,
}

/// How much room the journal takes up on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct JournalUsage {
    /// Bytes of all segments.
    pub(crate) bytes: u64,
    /// Those of them that compaction would drop.
    pub(crate) garbage_bytes: u64,
    /// Their share, from 0 to 1, to three decimals.
    pub(crate) garbage_share: f64,
    /// Segments.
    pub(crate) segments: u64,
}

/// How many IPNS records there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IpnsStats {
    /// Records, one a name, expired ones that are not yet swept included.
    pub(crate) records: u64,
    /// Bytes of their file.
    pub(crate) file_bytes: u64,
}

impl ImportEvent {
    /// The line, with its end.
    pub(crate) fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("its maps have texts as keys");
        line.push('\n');
        line
    }
}

impl From<&Rejection> for RejectedEntry {
    fn from(rejection: &Rejection) -> Self {
        let Rejection { file: _, place, reason, why } = rejection;
        Self { place: *place, reason: *reason, detail: why.clone() }
    }
}

impl Stats {
    /// The figures of both stores.
    pub(crate) fn new(stats: StoreStats, names: IpnsStoreStats, uptime_s: Option<u64>) -> Self {
        let StoreStats { entries, keys, groups, providers, bytes, journal, .. } = stats;
        Self {
            entries,
            keys,
            groups,
            providers,
            index_bytes: bytes,
            bytes_per_entry: bytes.zip(entries).map(|(bytes, entries)| ratio(bytes, entries, 10.0)),
            journal: journal.map(|journal| JournalUsage {
                bytes: journal.bytes,
                garbage_bytes: journal.garbage_bytes,
                garbage_share: ratio(journal.garbage_bytes, journal.bytes, 1_000.0),
                segments: journal.segments,
            }),
            ipns: IpnsStats { records: names.records, file_bytes: names.file_bytes },
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s,
        }
    }
}

/// `part / whole`, rounded to one in `steps`; 0 where there is no whole.
fn ratio(part: u64, whole: u64, steps: f64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * steps).round() / steps }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::JournalFigures;

    #[test]
    fn every_line_of_an_import_reads_back() {
        let counts = ImportCounts {
            keys: 3,
            rejected: [(RejectReason::Utf8, 1)].into(),
            ..Default::default()
        };
        let detail = "not \"UTF-8\"\n".to_owned();
        let events = [
            (
                ImportEvent::Rejected(RejectedEntry {
                    place: Place::Line(2),
                    reason: RejectReason::Utf8,
                    detail,
                }),
                r#"{"rejected":{"line":2,"reason":"utf8","detail":"not \"UTF-8\"\n"}}"#,
            ),
            (
                ImportEvent::Acknowledged(Acknowledged { bytes: 9, keys: 3, ..Default::default() }),
                r#"{"acknowledged":{"bytes":9,"lines":0,"blocks":0,"keys":3,"records":0,"rejected":0}}"#,
            ),
            (ImportEvent::Done(counts), r#"{"done":{"lines":0,"blocks":0,"keys":3,"#),
            (ImportEvent::Error(Problem::default()), r#"{"error":{"title":"","status":0}}"#),
        ];
        for (event, text) in events {
            let line = event.to_line();
            assert!(line.starts_with(text) && line.ends_with("}\n"), "{line}");
            assert_eq!(line.lines().count(), 1);
            assert_eq!(serde_json::from_str::<ImportEvent>(&line).unwrap(), event);
        }
    }

    #[test]
    fn shares_and_averages_are_rounded_and_never_divide_by_nothing() {
        let journal = JournalFigures {
            bytes: 3_000,
            garbage_bytes: 1_000,
            segments: 2,
            ..JournalFigures::default()
        };
        let stats = StoreStats { entries: Some(3), bytes: Some(100), ..StoreStats::default() };
        let full = Stats::new(
            StoreStats { journal: Some(journal), ..stats },
            IpnsStoreStats::default(),
            None,
        );
        assert!((full.bytes_per_entry.unwrap() - 33.3).abs() < 1e-9);
        assert!((full.journal.unwrap().garbage_share - 0.333).abs() < 1e-9);
        let journal = JournalFigures::default();
        let (entries, bytes) = (Some(0), Some(0));
        let stats = StoreStats { entries, bytes, journal: Some(journal), ..Default::default() };
        let empty = Stats::new(stats, IpnsStoreStats::default(), None);
        assert!(empty.bytes_per_entry.unwrap().abs() < 1e-9);
        assert!(empty.journal.unwrap().garbage_share.abs() < 1e-9);
    }
}
