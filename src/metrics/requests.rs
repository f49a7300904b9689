//! Metrics of requests: counted per worker, summed when rendered.
//!
//! A request is counted under a lock that only its own worker takes, except while the metrics are
//! rendered; counters shared by all workers would be contended cache lines. The counts of a worker
//! remain when it ends.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// The templates of the public API's paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Route {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum BodyFormat {
    /// `application/json`.
    Json,
    /// `application/x-ndjson`.
    Ndjson,
    /// `application/vnd.ipfs.ipns-record`.
    IpnsRecord,
    /// Plain text, or no body.
    Other,
}

/// One finished request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FinishedRequest {
    /// Where it went.
    pub(crate) route: Route,
    /// The answer's status.
    pub(crate) status: u16,
    /// The answer's format.
    pub(crate) format: BodyFormat,
    /// How long the answer took to make.
    pub(crate) duration: Duration,
    /// The answer's size, without headers.
    pub(crate) body_bytes: u64,
    /// Provider records in the answer.
    pub(crate) records: u64,
}

/// How a streamed answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum StreamEnd {
    /// Complete.
    Whole,
    /// The client went away, or the server stopped.
    ClientGone,
    /// The lookup timed out.
    Deadline,
    /// The lookup failed after the stream began.
    Failed,
}

/// The counters of one worker.
#[derive(Debug, Default)]
pub(crate) struct WorkerCounts {
    in_flight: AtomicI64,
    streams_open: AtomicI64,
    counts: Mutex<RequestCounters>,
}

/// A request in flight.
pub(crate) struct InFlight<'a>(&'a AtomicI64);

/// The counters of all workers.
#[derive(Debug, Default)]
pub(super) struct Workers(Mutex<Vec<Arc<WorkerCounts>>>);

/// What is in flight now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Now {
    in_flight: i64,
    streams_open: i64,
}

#[derive(Clone, Debug, Default)]
struct RequestCounters {
    requests: HashMap<RequestLabels, u64>,
    durations: HashMap<RouteLabels, Histogram<DURATION_BUCKETS>>,
    answer_bytes: HashMap<RouteLabels, Histogram<BYTES_BUCKETS>>,
    records: u64,
    streams: HashMap<StreamLabels, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct StreamLabels {
    end: StreamEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: Route,
    status: u16,
    format: BodyFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: Route,
}

/// 50 us to 26 s, by doubling.
const DURATION_BUCKETS: usize = 20;
const DURATION_FIRST_NS: u64 = 50_000;

/// 64 B to 4 MiB, by fours.
const BYTES_BUCKETS: usize = 9;
const BYTES_FIRST: u64 = 64;

/// Counts per bucket: values up to the first bound, above it up to the second, and so on; values
/// above the last bound are in the total only.
#[derive(Clone, Debug)]
struct Histogram<const BUCKETS: usize> {
    buckets: [u64; BUCKETS],
    count: u64,
    sum: u64,
}

impl Route {
    /// The template, as it stands in labels.
    pub(crate) fn template(self) -> &'static str {
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
            Self::IpnsRecord => "ipns-record",
            Self::Other => "other",
        };
        name.encode(encoder)
    }
}

impl EncodeLabelValue for StreamEnd {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let name = match self {
            Self::Whole => "whole",
            Self::ClientGone => "client_gone",
            Self::Deadline => "deadline",
            Self::Failed => "failed",
        };
        name.encode(encoder)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl WorkerCounts {
    /// RequestCounters a request as in flight until what this returns is dropped, also when its client goes
    /// away first.
    pub(crate) fn request_started(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.in_flight)
    }

    /// RequestCounters an answer that is sent while it grows as open.
    pub(crate) fn stream_opened(&self) {
        self.streams_open.fetch_add(1, Ordering::Relaxed);
    }

    /// RequestCounters such an answer as no longer open, and how it ended.
    pub(crate) fn stream_ended(&self, end: StreamEnd, records: u64) {
        self.streams_open.fetch_sub(1, Ordering::Relaxed);
        let mut counts = self.counts.lock();
        *counts.streams.entry(StreamLabels { end }).or_default() += 1;
        counts.records += records;
    }

    /// RequestCounters a request that has its answer.
    pub(crate) fn request_finished(&self, request: FinishedRequest) {
        let FinishedRequest { route, status, format, duration, body_bytes, records } = request;
        let duration_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let mut counts = self.counts.lock();
        *counts.requests.entry(RequestLabels { route, status, format }).or_default() += 1;
        let durations = counts.durations.entry(RouteLabels { route }).or_default();
        durations.observe(duration_ns, DURATION_FIRST_NS, 1);
        let answer_bytes = counts.answer_bytes.entry(RouteLabels { route }).or_default();
        answer_bytes.observe(body_bytes, BYTES_FIRST, 2);
        counts.records += records;
    }
}

impl Workers {
    /// Adds the counters of one more worker.
    pub(super) fn add(&self) -> Arc<WorkerCounts> {
        let counts = Arc::<WorkerCounts>::default();
        self.0.lock().push(counts.clone());
        counts
    }

    fn sum(&self) -> (RequestCounters, Now) {
        let workers = self.0.lock();
        let mut sum = RequestCounters::default();
        let mut now = Now::default();
        for worker in workers.iter() {
            sum.add(&worker.counts.lock());
            now.in_flight += worker.in_flight.load(Ordering::Relaxed);
            now.streams_open += worker.streams_open.load(Ordering::Relaxed);
        }
        (sum, now)
    }
}

impl RequestCounters {
    fn add(&mut self, other: &Self) {
        for (labels, count) in &other.requests {
            *self.requests.entry(*labels).or_default() += count;
        }
        for (labels, histogram) in &other.durations {
            self.durations.entry(*labels).or_default().add(histogram);
        }
        for (labels, histogram) in &other.answer_bytes {
            self.answer_bytes.entry(*labels).or_default().add(histogram);
        }
        for (labels, count) in &other.streams {
            *self.streams.entry(*labels).or_default() += count;
        }
        self.records += other.records;
    }
}

impl<const BUCKETS: usize> Default for Histogram<BUCKETS> {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], count: 0, sum: 0 }
    }
}

impl<const BUCKETS: usize> Histogram<BUCKETS> {
    /// RequestCounters a value. The bounds are `first`, and each 2 to the power of `step` times the one
    /// before.
    fn observe(&mut self, value: u64, first: u64, step: u32) {
        let times_first = value.div_ceil(first).max(1);
        let doublings = u64::BITS - (times_first - 1).leading_zeros();
        if let Some(bucket) = self.buckets.get_mut(doublings.div_ceil(step) as usize) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
    }

    fn add(&mut self, other: &Self) {
        for (bucket, count) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += count;
        }
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// Writes it in units of `unit` values.
    fn encode(
        &self,
        mut encoder: prometheus_client::encoding::MetricEncoder<'_>,
        (first, step): (u64, u32),
        unit: f64,
    ) -> fmt::Result {
        let bounds = (0_u32..).map(|position| (first << (step * position)) as f64 / unit);
        let above = self.count - self.buckets.iter().sum::<u64>();
        let counts = self.buckets.iter().copied();
        let buckets: Vec<_> = bounds.zip(counts).chain([(f64::MAX, above)]).collect();
        encoder.encode_histogram::<NoLabelSet>(self.sum as f64 / unit, self.count, &buckets, None)
    }
}

impl Collector for Workers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        const NANOSECONDS: f64 = 1e9;
        let (sum, now) = self.sum();
        let help = "Requests to the public API, by route, status and format of the answer.";
        let mut family =
            encoder.encode_descriptor("http_requests", help, None, MetricType::Counter)?;
        for (labels, count) in sorted(&sum.requests) {
            family.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
        }
        let (name, help) =
            ("http_request_duration", "Time from a request's head to the answer's first byte.");
        let unit = Some(&Unit::Seconds);
        let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        for (labels, histogram) in sorted(&sum.durations) {
            let family = family.encode_family(labels)?;
            histogram.encode(family, (DURATION_FIRST_NS, 1), NANOSECONDS)?;
        }
        let (name, help, unit) = ("http_answer", "Size of answers' bodies.", Some(&Unit::Bytes));
        let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        for (labels, histogram) in sorted(&sum.answer_bytes) {
            histogram.encode(family.encode_family(labels)?, (BYTES_FIRST, 2), 1.0)?;
        }
        let help = "Requests to the public API that are being worked on.";
        encoder
            .encode_descriptor("requests_in_flight", help, None, MetricType::Gauge)?
            .encode_gauge(&now.in_flight)?;
        let help = "Answers that are being sent while they grow.";
        encoder
            .encode_descriptor("streams_open", help, None, MetricType::Gauge)?
            .encode_gauge(&now.streams_open)?;
        let help = "Answers that were sent while they grew, by what ended them.";
        let mut family =
            encoder.encode_descriptor("streams_ended", help, None, MetricType::Counter)?;
        for (labels, count) in sorted(&sum.streams) {
            family.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
        }
        let help = "Provider records that went into answers.";
        encoder
            .encode_descriptor("records_served", help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&sum.records, None)
    }
}

fn sorted<K: Ord, V>(map: &HashMap<K, V>) -> BTreeMap<&K, &V> {
    map.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first bound that a value does not exceed, by comparing with each.
    fn bucket_of(value: u64, first: u64, step: u32) -> usize {
        (0_u32..).position(|position| value <= first << (step * position)).unwrap()
    }

    #[test]
    fn a_value_is_counted_under_the_first_bound_that_it_does_not_exceed() {
        for (first, step) in [(DURATION_FIRST_NS, 1), (BYTES_FIRST, 2)] {
            let bounds = (0..9).map(|position| first << (step * position));
            for value in bounds.flat_map(|bound| [bound - 1, bound, bound + 1]).chain([0, 1]) {
                let mut histogram = Histogram::<20>::default();
                histogram.observe(value, first, step);
                let found = histogram.buckets.iter().position(|count| *count == 1);
                assert_eq!(found, Some(bucket_of(value, first, step)), "{value}");
            }
        }
    }

    #[test]
    fn a_value_beyond_the_last_bound_counts_in_the_total_only() {
        let mut histogram = Histogram::<BYTES_BUCKETS>::default();
        histogram.observe(u64::MAX, BYTES_FIRST, 2);
        histogram.observe(BYTES_FIRST << 16, BYTES_FIRST, 2);
        histogram.observe((BYTES_FIRST << 16) + 1, BYTES_FIRST, 2);
        assert_eq!((histogram.count, histogram.buckets.iter().sum::<u64>()), (3, 1));
        assert_eq!(histogram.buckets.last(), Some(&1));
    }

    #[test]
    fn what_workers_count_is_added_up() {
        let workers = Workers::default();
        let finished = FinishedRequest {
            route: Route::Providers,
            status: 200,
            format: BodyFormat::Json,
            duration: Duration::from_micros(80),
            body_bytes: 300,
            records: 2,
        };
        let (one, other) = (workers.add(), workers.add());
        one.request_finished(finished);
        other.request_finished(finished);
        other.request_finished(FinishedRequest { status: 404, ..finished });
        let in_flight = one.request_started();
        let (sum, now) = workers.sum();
        let of_status = |status| {
            let labels =
                RequestLabels { route: Route::Providers, status, format: BodyFormat::Json };
            sum.requests.get(&labels).copied()
        };
        assert_eq!(
            (of_status(200), of_status(404), sum.records, now.in_flight),
            (Some(2), Some(1), 6, 1)
        );
        let durations = sum.durations.get(&RouteLabels { route: Route::Providers }).unwrap();
        assert_eq!((durations.count, durations.sum, durations.buckets[1]), (3, 240_000, 3));
        drop(in_flight);
        drop(one);
        assert_eq!(workers.sum().1, Now::default());
    }
}
