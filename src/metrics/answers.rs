//! The sources of answers to lookups that upstreams may answer, and the size of their cache.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabels {
    source: &'static str,
}

/// Counts the sources of answers. Clones share their counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct AnswerCounts {
    /// Lookups that the local index answered alone, because it had enough records.
    pub(crate) local: Counter,
    /// Lookups answered from fresh cache entries.
    pub(crate) fresh: Counter,
    /// Lookups answered from stale cache entries.
    pub(crate) stale: Counter,
    /// Lookups that queried at least one upstream.
    pub(crate) upstream: Counter,
    /// Lookups coalesced with one in flight.
    pub(crate) coalesced: Counter,
    /// Lookups for which no upstream could be queried.
    pub(crate) none_ready: Counter,
    cache_entries: Gauge,
    cache_bytes: Gauge,
}

impl AnswerCounts {
    /// Registers the counters.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let sources = Family::<SourceLabels, Counter>::default();
        registry.register(
            "answers",
            "Lookups for which upstreams may be asked, by where their answer came from",
            sources.clone(),
        );
        let count = |source| sources.get_or_create(&SourceLabels { source }).clone();
        let counts = Self {
            local: count("local"),
            fresh: count("cache_fresh"),
            stale: count("cache_stale"),
            upstream: count("upstream"),
            coalesced: count("coalesced"),
            none_ready: count("none_ready"),
            ..Self::default()
        };
        registry.register(
            "answer_cache_entries",
            "Answers of upstreams that are kept",
            counts.cache_entries.clone(),
        );
        registry.register_with_unit(
            "answer_cache",
            "Memory that kept answers of upstreams may take up",
            Unit::Bytes,
            counts.cache_bytes.clone(),
        );
        counts
    }

    /// Sets the size of the cache.
    pub(crate) fn set_cache(&self, entries: u64, bytes: u64) {
        self.cache_entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.cache_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sources_are_shown_from_the_start() {
        let mut registry = Registry::default();
        let counts = AnswerCounts::register(&mut registry);
        counts.clone().fresh.inc();
        counts.set_cache(2, 300);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"answers_total{source="local"} 0"#,
            r#"answers_total{source="cache_fresh"} 1"#,
            r#"answers_total{source="cache_stale"} 0"#,
            r#"answers_total{source="upstream"} 0"#,
            r#"answers_total{source="coalesced"} 0"#,
            r#"answers_total{source="none_ready"} 0"#,
            "answer_cache_entries 2",
            "answer_cache_bytes 300",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} in {text}");
        }
    }
}
