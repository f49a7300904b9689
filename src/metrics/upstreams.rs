//! Metrics of each upstream: the outcomes of its requests, and its state.
//!
//! Series are made when an upstream is set up, all outcomes at zero, so that their number is that of
//! the upstreams in the settings, and a rate is there before the first failure.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The outcome of a request to an upstream, or the reason not to send one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamOutcome {
    /// A complete answer with records.
    Found,
    /// An empty answer.
    Empty,
    /// The record was stored.
    Stored,
    /// Records, but the answer ended early: by a limit, a timeout or the connection.
    Cut,
    /// Refused with a status.
    Refused,
    /// Timed out without records.
    TimedOut,
    /// Unreachable, disconnected, or an invalid answer.
    Failed,
    /// Not sent: the circuit breaker is open.
    Broken,
    /// Not sent: it asked for backoff (Retry-After).
    Backoff,
    /// Not sent: the concurrency limit is reached.
    Busy,
    /// Not offered by it, or not enabled for it.
    NotOffered,
    /// A forwarding loop.
    Loop,
    /// Cancelled: no lookup waits for it any more.
    Abandoned,
}

/// The state of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BreakerState {
    /// Requests are sent.
    Closed,
    /// No requests are sent, after too many failures.
    Open,
    /// One probe is sent to find out whether it works again.
    HalfOpen,
}

/// The counters of one upstream. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamCounts(Arc<UpstreamCounters>);

#[derive(Debug)]
struct UpstreamCounters {
    /// In the order of [`UpstreamOutcome::ALL`].
    requests: [Counter; UpstreamOutcome::ALL.len()],
    first_records: Histogram,
    durations: Histogram,
    records: Counter,
    records_bad: Counter,
    fields_dropped: Counter,
    in_flight: Gauge,
    breaker: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabels {
    upstream: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamRequestLabels {
    upstream: Arc<str>,
    outcome: &'static str,
}

/// The metrics of all upstreams.
#[derive(Debug)]
pub(super) struct UpstreamMetrics {
    requests: Family<UpstreamRequestLabels, Counter>,
    first_records: Histograms,
    durations: Histograms,
    records: Family<UpstreamLabels, Counter>,
    records_bad: Family<UpstreamLabels, Counter>,
    fields_dropped: Family<UpstreamLabels, Counter>,
    in_flight: Family<UpstreamLabels, Gauge>,
    breakers: Family<UpstreamLabels, Gauge>,
}

type Histograms = Family<UpstreamLabels, Histogram, fn() -> Histogram>;

impl UpstreamOutcome {
    const ALL: [Self; 13] = [
        Self::Found,
        Self::Empty,
        Self::Stored,
        Self::Cut,
        Self::Refused,
        Self::TimedOut,
        Self::Failed,
        Self::Broken,
        Self::Backoff,
        Self::Busy,
        Self::NotOffered,
        Self::Loop,
        Self::Abandoned,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Empty => "empty",
            Self::Stored => "stored",
            Self::Cut => "cut",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Failed => "failed",
            Self::Broken => "broken",
            Self::Backoff => "backoff",
            Self::Busy => "busy",
            Self::NotOffered => "not_offered",
            Self::Loop => "loop",
            Self::Abandoned => "abandoned",
        }
    }
}

impl UpstreamCounts {
    /// UpstreamCounters a request that was not sent.
    pub(crate) fn not_asked(&self, outcome: UpstreamOutcome) {
        self.count(outcome);
    }

    /// UpstreamCounters a request as in flight.
    pub(crate) fn started(&self) {
        self.0.in_flight.inc();
    }

    /// Observes how long the first records of an answer took.
    pub(crate) fn first_record(&self, after: Duration) {
        self.0.first_records.observe(after.as_secs_f64());
    }

    /// UpstreamCounters records that came, and those that could not be used.
    pub(crate) fn received(&self, records: u64, records_bad: u64) {
        self.0.records.inc_by(records);
        self.0.records_bad.inc_by(records_bad);
    }

    /// UpstreamCounters fields that were left out of its records.
    pub(crate) fn fields_dropped(&self, fields: u64) {
        self.0.fields_dropped.inc_by(fields);
    }

    /// UpstreamCounters a request as no longer in flight, what became of it, and how long it took.
    pub(crate) fn ended(&self, outcome: UpstreamOutcome, after: Duration) {
        self.0.in_flight.dec();
        self.0.durations.observe(after.as_secs_f64());
        self.count(outcome);
    }

    /// Sets the state of its breaker.
    pub(crate) fn breaker(&self, state: BreakerState) {
        self.0.breaker.set(match state {
            BreakerState::Closed => 0,
            BreakerState::Open => 1,
            BreakerState::HalfOpen => 2,
        });
    }

    fn count(&self, outcome: UpstreamOutcome) {
        if let Some(requests) = self.0.requests.get(outcome as usize) {
            requests.inc();
        }
    }
}

impl UpstreamMetrics {
    /// Registers the metrics, without upstreams.
    pub(super) fn register(registry: &mut Registry) -> Self {
        // 1 ms to 16 s, by doubling.
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 15));
        let upstreams = Self {
            requests: Family::default(),
            first_records: Family::new_with_constructor(histogram),
            durations: Family::new_with_constructor(histogram),
            records: Family::default(),
            records_bad: Family::default(),
            fields_dropped: Family::default(),
            in_flight: Family::default(),
            breakers: Family::default(),
        };
        upstreams.register_requests(registry);
        upstreams.register_state(registry);
        upstreams
    }

    /// The counters of an upstream; earlier counts under its name remain.
    pub(super) fn counts(&self, name: &str) -> UpstreamCounts {
        let upstream: Arc<str> = name.into();
        let request = |outcome: UpstreamOutcome| {
            let labels =
                UpstreamRequestLabels { upstream: upstream.clone(), outcome: outcome.label() };
            self.requests.get_or_create_owned(&labels)
        };
        let requests = UpstreamOutcome::ALL.map(request);
        let labels = UpstreamLabels { upstream };
        UpstreamCounts(Arc::new(UpstreamCounters {
            requests,
            first_records: self.first_records.get_or_create_owned(&labels),
            durations: self.durations.get_or_create_owned(&labels),
            records: self.records.get_or_create_owned(&labels),
            records_bad: self.records_bad.get_or_create_owned(&labels),
            fields_dropped: self.fields_dropped.get_or_create_owned(&labels),
            in_flight: self.in_flight.get_or_create_owned(&labels),
            breaker: self.breakers.get_or_create_owned(&labels),
        }))
    }

    fn register_requests(&self, registry: &mut Registry) {
        registry.register(
            "upstream_requests",
            "Requests to upstreams, and those not sent, by what became of them",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "upstream_first_record",
            "Time from a request to an upstream to the first record of its answer",
            Unit::Seconds,
            self.first_records.clone(),
        );
        registry.register_with_unit(
            "upstream_duration",
            "Time from a request to an upstream to the end of its answer",
            Unit::Seconds,
            self.durations.clone(),
        );
    }

    fn register_state(&self, registry: &mut Registry) {
        registry.register(
            "upstream_records",
            "Records that upstreams gave and that can be used",
            self.records.clone(),
        );
        registry.register(
            "upstream_records_bad",
            "Records of upstreams that cannot be read or answer another question",
            self.records_bad.clone(),
        );
        registry.register(
            "upstream_fields_dropped",
            "Fields left out of records because clients read them in different ways",
            self.fields_dropped.clone(),
        );
        registry.register(
            "upstream_in_flight",
            "Requests to upstreams that are under way",
            self.in_flight.clone(),
        );
        registry.register(
            "upstream_breaker",
            "0 if the upstream is asked, 1 if it is not because it failed too often, 2 while one \
             request finds out whether it works again",
            self.breakers.clone(),
        );
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;

    use super::*;

    fn rendered(registry: &Registry) -> String {
        let mut rendered = String::new();
        text::encode(&mut rendered, registry).unwrap();
        rendered
    }

    #[test]
    fn every_outcome_is_counted_under_its_own_name() {
        let mut registry = Registry::default();
        let counts = UpstreamMetrics::register(&mut registry).counts("far");
        for (position, outcome) in UpstreamOutcome::ALL.into_iter().enumerate() {
            for _ in 0..=position {
                counts.not_asked(outcome);
            }
        }
        let rendered = rendered(&registry);
        for (position, outcome) in UpstreamOutcome::ALL.into_iter().enumerate() {
            let line = format!(
                "upstream_requests_total{{upstream=\"far\",outcome=\"{}\"}} {}\n",
                outcome.label(),
                position + 1
            );
            assert!(rendered.contains(&line), "{line}{rendered}");
        }
    }

    #[test]
    fn an_upstream_that_is_set_up_again_counts_on() {
        let mut registry = Registry::default();
        let upstreams = UpstreamMetrics::register(&mut registry);
        for _ in 0..2 {
            let counts = upstreams.counts("far");
            counts.started();
            counts.first_record(Duration::from_millis(3));
            counts.received(7, 1);
            counts.fields_dropped(2);
            counts.ended(UpstreamOutcome::Found, Duration::from_millis(40));
            counts.breaker(BreakerState::Open);
        }
        let rendered = rendered(&registry);
        for line in [
            "upstream_requests_total{upstream=\"far\",outcome=\"found\"} 2\n",
            "upstream_requests_total{upstream=\"far\",outcome=\"cut\"} 0\n",
            "upstream_first_record_seconds_count{upstream=\"far\"} 2\n",
            "upstream_duration_seconds_count{upstream=\"far\"} 2\n",
            "upstream_records_total{upstream=\"far\"} 14\n",
            "upstream_records_bad_total{upstream=\"far\"} 2\n",
            "upstream_fields_dropped_total{upstream=\"far\"} 4\n",
            "upstream_in_flight{upstream=\"far\"} 0\n",
            "upstream_breaker{upstream=\"far\"} 1\n",
        ] {
            assert!(rendered.contains(line), "{line}{rendered}");
        }
    }
}
