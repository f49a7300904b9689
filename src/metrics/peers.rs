//! Metrics of each peer router: received and sent messages.
//!
//! Series are made when a peer is set up, all at zero, so that their number is that of the peers in the
//! settings, and a rate is there before the first failure.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The outcome of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerOutcome {
    /// Accepted.
    Taken,
    /// Refused because it leaves a gap.
    Gap,
    /// Not delivered, or refused.
    Failed,
}

/// The counters of one peer. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct PeerCounts(Arc<PeerCounters>);

#[derive(Debug)]
struct PeerCounters {
    routes: Gauge,
    dropped: Counter,
    /// In the order of [`PeerOutcome::ALL`].
    received: [Counter; PeerOutcome::ALL.len()],
    sent: [Counter; PeerOutcome::ALL.len()],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PeerLabels {
    peer: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MessageLabels {
    peer: Arc<str>,
    outcome: &'static str,
}

/// The metrics of all peers.
#[derive(Debug, Default)]
pub(super) struct PeerMetrics {
    routes: Family<PeerLabels, Gauge>,
    dropped: Family<PeerLabels, Counter>,
    received: Family<MessageLabels, Counter>,
    sent: Family<MessageLabels, Counter>,
}

impl PeerOutcome {
    const ALL: [Self; 3] = [Self::Taken, Self::Gap, Self::Failed];

    fn label(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Gap => "gap",
            Self::Failed => "failed",
        }
    }
}

impl PeerCounts {
    /// Sets the number of its live routes.
    pub(crate) fn has_routes(&self, count: usize) {
        self.0.routes.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// PeerCounters routes of it that may not be kept.
    pub(crate) fn dropped(&self, count: usize) {
        self.0.dropped.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// PeerCounters an update of it.
    pub(crate) fn received(&self, outcome: PeerOutcome) {
        count(&self.0.received, outcome);
    }

    /// PeerCounters a message to it.
    pub(crate) fn sent(&self, outcome: PeerOutcome) {
        count(&self.0.sent, outcome);
    }
}

fn count(counters: &[Counter; PeerOutcome::ALL.len()], outcome: PeerOutcome) {
    let all = PeerOutcome::ALL.iter().zip(counters);
    all.filter(|(of, _)| **of == outcome).for_each(|(_, counter)| {
        counter.inc();
    });
}

impl PeerMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let peers = Self::default();
        registry.register(
            "peer_routes",
            "Routes of a peer router that count now",
            peers.routes.clone(),
        );
        registry.register(
            "peer_routes_dropped",
            "Routes told by a peer router that it may not tell, that lead through this one, or that \
             are too long or too many",
            peers.dropped.clone(),
        );
        registry.register(
            "peer_updates_received",
            "Route updates of a peer router, and messages of it that cannot be read, by what became \
             of them",
            peers.received.clone(),
        );
        registry.register(
            "peer_messages_sent",
            "Route controls and updates sent to a peer router, by what became of them",
            peers.sent.clone(),
        );
        peers
    }

    pub(super) fn counts(&self, name: &str) -> PeerCounts {
        let peer: Arc<str> = name.into();
        let labels = PeerLabels { peer: peer.clone() };
        let messages = |family: &Family<MessageLabels, Counter>| {
            PeerOutcome::ALL.map(|outcome| {
                let labels = MessageLabels { peer: peer.clone(), outcome: outcome.label() };
                family.get_or_create_owned(&labels)
            })
        };
        PeerCounts(Arc::new(PeerCounters {
            routes: self.routes.get_or_create_owned(&labels),
            dropped: self.dropped.get_or_create_owned(&labels),
            received: messages(&self.received),
            sent: messages(&self.sent),
        }))
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::{Gauges, Metrics, PeerOutcome};

    #[test]
    fn a_peer_is_counted_under_its_name_from_the_start() {
        let metrics = Metrics::new();
        let counts = metrics.peer("east");
        counts.has_routes(7);
        counts.dropped(2);
        counts.received(PeerOutcome::Gap);
        counts.sent(PeerOutcome::Failed);
        counts.sent(PeerOutcome::Failed);
        metrics.peer("east").sent(PeerOutcome::Taken);
        let text = metrics.render(Gauges::default());
        for series in [
            r#"fingerpost_peer_routes{peer="east"} 7"#,
            r#"fingerpost_peer_routes_dropped_total{peer="east"} 2"#,
            r#"fingerpost_peer_updates_received_total{peer="east",outcome="gap"} 1"#,
            r#"fingerpost_peer_updates_received_total{peer="east",outcome="taken"} 0"#,
            r#"fingerpost_peer_messages_sent_total{peer="east",outcome="failed"} 2"#,
            r#"fingerpost_peer_messages_sent_total{peer="east",outcome="taken"} 1"#,
        ] {
            assert!(text.lines().any(|line| line == series), "{series} in\n{text}");
        }
    }
}
