//! The metrics of the server, in Prometheus' terms.
//!
//! Labels are route templates, statuses and formats: never a CID, a peer or an address, so that
//! the number of series is bounded whatever clients send.

mod answers;
mod peers;
mod requests;
mod upstreams;

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::invariant;

pub(crate) use answers::AnswerCounts;
use peers::PeerMetrics;
pub(crate) use peers::{PeerCounts, PeerOutcome};
use requests::Workers;
pub(crate) use requests::{BodyFormat, FinishedRequest, Route, StreamEnd, WorkerCounts};
use upstreams::UpstreamMetrics;
pub(crate) use upstreams::{BreakerState, UpstreamCounts, UpstreamOutcome};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: String,
}

/// The counts of one imported file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ImportedFile {
    /// Lines or blocks read.
    pub(crate) items: u64,
    /// Records taken in.
    pub(crate) records: u64,
    /// Keys taken in.
    pub(crate) keys: u64,
    /// Addresses left out because not all clients read them.
    pub(crate) addrs_dropped: u64,
    /// Fields left out because clients read them in different ways.
    pub(crate) fields_dropped: u64,
}

/// Gauges that are read when the metrics are rendered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauges {
    /// (key, group) pairs in the index.
    pub(crate) index_entries: u64,
    /// Keys in the index.
    pub(crate) index_keys: u64,
    /// Groups in the index.
    pub(crate) index_groups: u64,
    /// Memory that the index takes up.
    pub(crate) index_bytes: u64,
    /// Memory that it takes at most; 0: as much as there is.
    pub(crate) index_memory_max: u64,
    /// (key, group) pairs of strangers.
    pub(crate) index_stranger_entries: u64,
    /// Bytes of the journal's segments.
    pub(crate) journal_bytes: u64,
    /// Those of them that compaction would drop.
    pub(crate) journal_garbage_bytes: u64,
    /// Free bytes of the journal's disk.
    pub(crate) journal_disk_free_bytes: u64,
    /// 1 if the journal's last write failed, so that announcements are refused; 0 otherwise.
    pub(crate) journal_failing: u64,
    /// 1 if the journal's last compaction failed, so that garbage stays; 0 otherwise.
    pub(crate) journal_compaction_failing: u64,
    /// IPNS records that are kept.
    pub(crate) ipns_records: u64,
    /// 1 if the last write of IPNS records failed, so that they are refused; 0 otherwise.
    pub(crate) ipns_failing: u64,
    /// Clients whose request rate is remembered.
    pub(crate) rate_limit_clients: u64,
}

/// All metrics of one server.
pub(crate) struct Metrics {
    registry: Registry,
    workers: Arc<Workers>,
    upstreams: UpstreamMetrics,
    answers: AnswerCounts,
    peers: PeerMetrics,
    refused: Family<LimitLabels, Counter>,
    rate_limit_clients: Gauge,
    index_entries: Gauge,
    index_keys: Gauge,
    index_groups: Gauge,
    index_bytes: Gauge,
    index_memory_max: Gauge,
    index_stranger_entries: Gauge,
    index_evicted: Counter,
    journal_bytes: Gauge,
    journal_garbage_bytes: Gauge,
    journal_disk_free_bytes: Gauge,
    journal_failing: Gauge,
    journal_compaction_failing: Gauge,
    ipns_records: Gauge,
    ipns_failing: Gauge,
    ipns_puts: Family<OutcomeLabels, Counter>,
    import_files: Counter,
    import_items: Counter,
    import_records: Counter,
    import_keys: Counter,
    import_addrs_dropped: Counter,
    import_fields_dropped: Counter,
    import_rejected: Family<ReasonLabels, Counter>,
    announcements: Family<OutcomeLabels, Counter>,
    announced_keys: Counter,
    announced_addrs_dropped: Family<ReasonLabels, Counter>,
}

/// Counts for the whole process what `invariant` counts.
#[derive(Debug)]
struct InvariantViolations;

impl Collector for InvariantViolations {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let violations = ConstCounter::new(invariant::violations());
        let help = "Invariants that did not hold: faults of this program, each in the log.";
        let encoder = encoder.encode_descriptor(
            "invariant_violations",
            help,
            None,
            violations.metric_type(),
        )?;
        violations.encode(encoder)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Fresh metrics, all zero.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("fingerpost");
        registry.register(
            "build",
            "The version that is running",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let upstreams = UpstreamMetrics::register(&mut registry);
        let answers = AnswerCounts::register(&mut registry);
        let peers = PeerMetrics::register(&mut registry);
        let mut metrics = Self {
            registry,
            workers: Arc::default(),
            upstreams,
            answers,
            peers,
            refused: Family::default(),
            rate_limit_clients: Gauge::default(),
            index_entries: Gauge::default(),
            index_keys: Gauge::default(),
            index_groups: Gauge::default(),
            index_bytes: Gauge::default(),
            index_memory_max: Gauge::default(),
            index_stranger_entries: Gauge::default(),
            index_evicted: Counter::default(),
            journal_bytes: Gauge::default(),
            journal_garbage_bytes: Gauge::default(),
            journal_disk_free_bytes: Gauge::default(),
            journal_failing: Gauge::default(),
            journal_compaction_failing: Gauge::default(),
            ipns_records: Gauge::default(),
            ipns_failing: Gauge::default(),
            ipns_puts: Family::default(),
            import_files: Counter::default(),
            import_items: Counter::default(),
            import_records: Counter::default(),
            import_keys: Counter::default(),
            import_addrs_dropped: Counter::default(),
            import_fields_dropped: Counter::default(),
            import_rejected: Family::default(),
            announcements: Family::default(),
            announced_keys: Counter::default(),
            announced_addrs_dropped: Family::default(),
        };
        metrics.registry.register_collector(Box::new(InvariantViolations));
        metrics.register_requests();
        metrics.register_index();
        metrics.register_journal();
        metrics.register_ipns();
        metrics.register_imports();
        metrics.register_announcements();
        metrics
    }

    /// Counters for one more worker.
    pub(crate) fn worker(&self) -> Arc<WorkerCounts> {
        self.workers.add()
    }

    /// Counters of an upstream. Names come from settings, never from clients.
    pub(crate) fn upstream(&self, name: &str) -> UpstreamCounts {
        self.upstreams.counts(name)
    }

    /// Counters of the sources of answers.
    pub(crate) fn answers(&self) -> &AnswerCounts {
        &self.answers
    }

    /// Counters of a peer router. Names come from settings, never from clients.
    pub(crate) fn peer(&self, name: &str) -> PeerCounts {
        self.peers.counts(name)
    }

    /// Counts what is refused because a limit is reached, one of a fixed set.
    pub(crate) fn refused(&self, limit: &'static str, count: u64) {
        self.refused.get_or_create(&LimitLabels { limit }).inc_by(count);
    }

    /// Counts an IPNS record that was sent to be stored. `outcome` is one of a fixed set.
    pub(crate) fn ipns_put(&self, outcome: &'static str) {
        self.ipns_puts.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Counts a file that was read in.
    pub(crate) fn file_imported(&self, file: ImportedFile) {
        self.import_files.inc();
        self.import_items.inc_by(file.items);
        self.import_records.inc_by(file.records);
        self.import_keys.inc_by(file.keys);
        self.import_addrs_dropped.inc_by(file.addrs_dropped);
        self.import_fields_dropped.inc_by(file.fields_dropped);
    }

    /// Counts rejected entries of a file. `reason` is one of a fixed set.
    pub(crate) fn import_rejected(&self, reason: &'static str, count: u64) {
        let labels = ReasonLabels { reason: reason.to_owned() };
        self.import_rejected.get_or_create(&labels).inc_by(count);
    }

    /// Counts a request to announce by its outcome, one of a fixed set.
    pub(crate) fn announced(&self, outcome: &'static str) {
        self.announcements.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Counts keys that were taken in from signed announcements.
    pub(crate) fn keys_announced(&self, count: u64) {
        self.announced_keys.inc_by(count);
    }

    /// Counts addresses left out of signed announcements. `reason` is one of a fixed set.
    pub(crate) fn announced_addrs_dropped(&self, reason: &'static str, count: u64) {
        let labels = ReasonLabels { reason: reason.to_owned() };
        self.announced_addrs_dropped.get_or_create(&labels).inc_by(count);
    }

    /// Counts groups of strangers that were evicted.
    pub(crate) fn evicted(&self, groups: u64) {
        self.index_evicted.inc_by(groups);
    }

    /// Renders everything as OpenMetrics text, with the gauges as of now.
    pub(crate) fn render(&self, gauges: Gauges) -> String {
        let set = |gauge: &Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.index_entries, gauges.index_entries);
        set(&self.index_keys, gauges.index_keys);
        set(&self.index_groups, gauges.index_groups);
        set(&self.index_bytes, gauges.index_bytes);
        set(&self.index_memory_max, gauges.index_memory_max);
        set(&self.index_stranger_entries, gauges.index_stranger_entries);
        set(&self.journal_bytes, gauges.journal_bytes);
        set(&self.journal_garbage_bytes, gauges.journal_garbage_bytes);
        set(&self.journal_disk_free_bytes, gauges.journal_disk_free_bytes);
        set(&self.journal_failing, gauges.journal_failing);
        set(&self.journal_compaction_failing, gauges.journal_compaction_failing);
        set(&self.ipns_records, gauges.ipns_records);
        set(&self.ipns_failing, gauges.ipns_failing);
        set(&self.rate_limit_clients, gauges.rate_limit_clients);
        let mut rendered = String::new();
        text::encode(&mut rendered, &self.registry).expect("writing to a string cannot fail");
        rendered
    }

    fn register_requests(&mut self) {
        self.registry.register_collector(Box::new(self.workers.clone()));
        self.registry.register(
            "limit_refusals",
            "Requests refused because a limit is reached, by the limit's setting; for \
             announce_key_network_max keys that were left out of announcements",
            self.refused.clone(),
        );
        self.registry.register(
            "rate_limit_clients",
            "Clients whose request rate is remembered",
            self.rate_limit_clients.clone(),
        );
    }

    fn register_index(&mut self) {
        self.registry.register(
            "index_entries",
            "(key, group) pairs in the index",
            self.index_entries.clone(),
        );
        self.registry.register("index_keys", "Keys in the index", self.index_keys.clone());
        self.registry.register("index_groups", "Groups in the index", self.index_groups.clone());
        self.registry.register_with_unit(
            "index",
            "Memory that the index takes up",
            Unit::Bytes,
            self.index_bytes.clone(),
        );
        self.registry.register_with_unit(
            "index_memory_max",
            "Memory that the index takes at most; 0: as much as there is",
            Unit::Bytes,
            self.index_memory_max.clone(),
        );
        self.registry.register(
            "index_stranger_entries",
            "Those (key, group) pairs that announced themselves and have not lapsed; the others are the \
             operator's, or not freed yet",
            self.index_stranger_entries.clone(),
        );
        self.registry.register(
            "index_evicted_groups",
            "Groups that announced themselves and were evicted, because memory was needed",
            self.index_evicted.clone(),
        );
    }

    fn register_journal(&mut self) {
        self.registry.register_with_unit(
            "journal",
            "Size of the journal on disk",
            Unit::Bytes,
            self.journal_bytes.clone(),
        );
        self.registry.register_with_unit(
            "journal_garbage",
            "Part of the journal that compaction would drop",
            Unit::Bytes,
            self.journal_garbage_bytes.clone(),
        );
        self.registry.register_with_unit(
            "journal_disk_free",
            "Free bytes of the disk that the journal is on; 0 if it does not say",
            Unit::Bytes,
            self.journal_disk_free_bytes.clone(),
        );
        self.registry.register(
            "journal_failing",
            "1 if the disk refuses writes, so that announcements are refused; 0 otherwise",
            self.journal_failing.clone(),
        );
        self.registry.register(
            "journal_compaction_failing",
            "1 if the journal's last compaction failed, so that garbage stays; 0 otherwise",
            self.journal_compaction_failing.clone(),
        );
    }

    fn register_ipns(&mut self) {
        self.registry.register(
            "ipns_records",
            "IPNS records that are kept",
            self.ipns_records.clone(),
        );
        self.registry.register(
            "ipns_failing",
            "1 if the disk refuses IPNS records, so that they are refused; 0 otherwise",
            self.ipns_failing.clone(),
        );
        self.registry.register(
            "ipns_puts",
            "IPNS records sent to be stored, by what became of them",
            self.ipns_puts.clone(),
        );
    }

    fn register_imports(&mut self) {
        self.registry.register("import_files", "Files read in", self.import_files.clone());
        self.registry.register(
            "import_items",
            "Lines and blocks read from files",
            self.import_items.clone(),
        );
        self.registry.register(
            "import_records",
            "Records taken in from files",
            self.import_records.clone(),
        );
        self.registry.register("import_keys", "Keys taken in from files", self.import_keys.clone());
        self.registry.register(
            "import_addrs_dropped",
            "Addresses left out of records because not all clients read them",
            self.import_addrs_dropped.clone(),
        );
        self.registry.register(
            "import_fields_dropped",
            "Fields left out of records because clients read them in different ways",
            self.import_fields_dropped.clone(),
        );
        self.registry.register(
            "import_rejected",
            "Lines, records and blocks refused while reading files, by reason",
            self.import_rejected.clone(),
        );
    }

    fn register_announcements(&mut self) {
        self.registry.register(
            "announcements",
            "Requests to announce with a signature, by what became of them",
            self.announcements.clone(),
        );
        self.registry.register(
            "announced_keys",
            "Keys taken in from signed announcements",
            self.announced_keys.clone(),
        );
        self.registry.register(
            "announced_addrs_dropped",
            "Addresses left out of signed announcements, by reason",
            self.announced_addrs_dropped.clone(),
        );
    }
}
