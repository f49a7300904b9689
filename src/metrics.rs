//! What the server counts, in Prometheus' terms.
//!
//! Labels are route templates, statuses and formats: never a CID, a peer or an address, so that
//! the number of series is bounded whatever clients send.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// The templates of the public API's paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// `/routing/v1/providers/{cid}`.
    Providers,
    /// `/routing/v1/peers/{peer-id}`.
    Peers,
    /// `/routing/v1/ipns/{name}`.
    Ipns,
    /// `/routing/v1/providers`, where signed announcements go.
    Announce,
    /// `/routing/v1/dht/closest/peers/{key}`.
    ClosestPeers,
    /// Anything else.
    Unknown,
}

/// The format of an answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyFormat {
    /// `application/json`.
    Json,
    /// `application/x-ndjson`.
    Ndjson,
    /// Plain text, or no body.
    Other,
}

impl Route {
    /// The template, as it stands in labels.
    pub fn template(self) -> &'static str {
        match self {
            Self::Providers => "/routing/v1/providers/{cid}",
            Self::Peers => "/routing/v1/peers/{peer-id}",
            Self::Ipns => "/routing/v1/ipns/{name}",
            Self::Announce => "/routing/v1/providers",
            Self::ClosestPeers => "/routing/v1/dht/closest/peers/{key}",
            Self::Unknown => "unknown",
        }
    }
}

impl EncodeLabelValue for Route {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.template().encode(encoder)
    }
}

impl EncodeLabelValue for BodyFormat {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let name = match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Other => "other",
        };
        name.encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: Route,
    status: u16,
    format: BodyFormat,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: Route,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: String,
}

/// One finished request.
#[derive(Clone, Copy, Debug)]
pub struct FinishedRequest {
    /// Where it went.
    pub route: Route,
    /// The answer's status.
    pub status: u16,
    /// The answer's format.
    pub format: BodyFormat,
    /// How long the answer took to make.
    pub duration: Duration,
    /// The answer's size, without headers.
    pub body_bytes: u64,
}

/// A request that is being worked on.
pub struct InFlight<'a>(&'a Gauge);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What one file brought in.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportedFile {
    /// Lines or blocks read.
    pub items: u64,
    /// Records taken in.
    pub records: u64,
    /// Keys taken in.
    pub keys: u64,
    /// Addresses left out because they do not parse.
    pub addrs_dropped: u64,
}

/// What is not counted but looked up when somebody asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauges {
    /// (key, group) pairs in the index.
    pub index_entries: u64,
    /// Keys in the index.
    pub index_keys: u64,
    /// Groups in the index.
    pub index_groups: u64,
    /// Memory that the index takes up.
    pub index_bytes: u64,
    /// Clients whose request rate is remembered.
    pub rate_limit_clients: u64,
}

/// All metrics of one server.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram>,
    answer_bytes: Family<RouteLabels, Histogram>,
    records_served: Counter,
    in_flight: Gauge,
    rate_limited: Counter,
    rate_limit_clients: Gauge,
    index_entries: Gauge,
    index_keys: Gauge,
    index_groups: Gauge,
    index_bytes: Gauge,
    import_files: Counter,
    import_items: Counter,
    import_records: Counter,
    import_keys: Counter,
    import_addrs_dropped: Counter,
    import_rejected: Family<ReasonLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Fresh metrics, all zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("fingerpost");
        registry.register(
            "build",
            "The version that is running",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let mut metrics = Self {
            registry,
            requests: Family::default(),
            durations: Family::new_with_constructor(duration_histogram),
            answer_bytes: Family::new_with_constructor(bytes_histogram),
            records_served: Counter::default(),
            in_flight: Gauge::default(),
            rate_limited: Counter::default(),
            rate_limit_clients: Gauge::default(),
            index_entries: Gauge::default(),
            index_keys: Gauge::default(),
            index_groups: Gauge::default(),
            index_bytes: Gauge::default(),
            import_files: Counter::default(),
            import_items: Counter::default(),
            import_records: Counter::default(),
            import_keys: Counter::default(),
            import_addrs_dropped: Counter::default(),
            import_rejected: Family::default(),
        };
        metrics.register_requests();
        metrics.register_index();
        metrics.register_imports();
        metrics
    }

    /// Counts a request that has its answer.
    pub fn request_finished(&self, request: FinishedRequest) {
        let FinishedRequest { route, status, format, duration, body_bytes } = request;
        self.requests.get_or_create(&RequestLabels { route, status, format }).inc();
        self.durations.get_or_create(&RouteLabels { route }).observe(duration.as_secs_f64());
        self.answer_bytes.get_or_create(&RouteLabels { route }).observe(body_bytes as f64);
    }

    /// Counts a request as in flight until what this returns is dropped, also when its client goes
    /// away first.
    pub fn request_started(&self) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight(&self.in_flight)
    }

    /// Counts records that went into answers.
    pub fn records_served(&self, records: u64) {
        self.records_served.inc_by(records);
    }

    /// Counts a request that was refused because its client asks too often.
    pub fn rate_limited(&self) {
        self.rate_limited.inc();
    }

    /// Counts a file that was read in.
    pub fn file_imported(&self, file: ImportedFile) {
        self.import_files.inc();
        self.import_items.inc_by(file.items);
        self.import_records.inc_by(file.records);
        self.import_keys.inc_by(file.keys);
        self.import_addrs_dropped.inc_by(file.addrs_dropped);
    }

    /// Counts what was refused while reading a file. `reason` is one of a fixed set.
    pub fn import_rejected(&self, reason: &'static str, count: u64) {
        let labels = ReasonLabels { reason: reason.to_owned() };
        self.import_rejected.get_or_create(&labels).inc_by(count);
    }

    /// Renders everything as OpenMetrics text, with the gauges as of now.
    pub fn render(&self, gauges: Gauges) -> String {
        let set = |gauge: &Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.index_entries, gauges.index_entries);
        set(&self.index_keys, gauges.index_keys);
        set(&self.index_groups, gauges.index_groups);
        set(&self.index_bytes, gauges.index_bytes);
        set(&self.rate_limit_clients, gauges.rate_limit_clients);
        let mut rendered = String::new();
        text::encode(&mut rendered, &self.registry).expect("writing to a string cannot fail");
        rendered
    }

    fn register_requests(&mut self) {
        self.registry.register(
            "http_requests",
            "Requests to the public API, by route, status and format of the answer",
            self.requests.clone(),
        );
        self.registry.register_with_unit(
            "http_request_duration",
            "Time from a request's head to the answer's first byte",
            Unit::Seconds,
            self.durations.clone(),
        );
        self.registry.register_with_unit(
            "http_answer",
            "Size of answers' bodies",
            Unit::Bytes,
            self.answer_bytes.clone(),
        );
        self.registry.register(
            "requests_in_flight",
            "Requests to the public API that are being worked on",
            self.in_flight.clone(),
        );
        self.registry.register(
            "records_served",
            "Provider records that went into answers",
            self.records_served.clone(),
        );
        self.registry.register(
            "rate_limited",
            "Requests refused because their client asks too often",
            self.rate_limited.clone(),
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
            "Addresses left out of records because they are not multiaddrs",
            self.import_addrs_dropped.clone(),
        );
        self.registry.register(
            "import_rejected",
            "Lines, records and blocks refused while reading files, by reason",
            self.import_rejected.clone(),
        );
    }
}

/// 50 us to 26 s, by doubling.
fn duration_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 2.0, 20))
}

/// 64 B to 4 MiB, by fours.
fn bytes_histogram() -> Histogram {
    Histogram::new(exponential_buckets(64.0, 4.0, 9))
}
