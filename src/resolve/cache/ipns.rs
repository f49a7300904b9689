//! The cached outcome of asking upstreams for a name.

use std::time::Duration;

use super::CacheOptions;
use crate::clock::UnixMs;
use crate::store::StoredIpns;

/// How long a record that does not say so is used before upstreams are asked again.
const TTL_WITHOUT_ONE: Duration = Duration::from_mins(1);

/// The least: a record that says 0 would have every lookup ask every upstream.
const TTL_MIN: Duration = Duration::from_secs(1);

/// The most: a name that was published anew shows everywhere after that.
const TTL_MAX: Duration = Duration::from_mins(5);

/// Bytes that an entry takes besides its record's.
const ENTRY_BYTES: usize = 600;

/// The best record that upstreams had, and when they were asked.
pub(in crate::resolve) struct CachedIpns {
    pub(in crate::resolve) record: Option<StoredIpns>,
    pub(in crate::resolve) asked_at_ms: UnixMs,
    /// Whether no upstream failed, and the lookup did not loop.
    pub(in crate::resolve) is_whole: bool,
}

impl CachedIpns {
    /// The record, if it is valid.
    pub(in crate::resolve) fn record(&self, now_ms: UnixMs) -> Option<StoredIpns> {
        self.record.clone().filter(|stored| is_valid(stored, now_ms))
    }

    /// Whether upstreams need not be asked where `best` is the best that is known: they were less than
    /// its time to live ago, which counts from a second to five minutes. Where nothing is known, or
    /// where one of them failed, they are asked again sooner; where both, at once.
    pub(in crate::resolve) fn is_fresh(
        &self,
        best: Option<&StoredIpns>,
        options: &CacheOptions,
        now_ms: UnixMs,
    ) -> bool {
        let fresh = match (best, self.is_whole) {
            (Some(best), true) => {
                best.record.ttl().unwrap_or(TTL_WITHOUT_ONE).clamp(TTL_MIN, TTL_MAX)
            }
            (Some(_), false) | (None, true) => options.empty_fresh,
            (None, false) => Duration::ZERO,
        };
        Duration::from_millis(now_ms.saturating_sub(self.asked_at_ms)) < fresh
    }

    /// How much memory it takes.
    pub(in crate::resolve) fn bytes(&self) -> usize {
        // The record as it came, and its data once more.
        ENTRY_BYTES + self.record.as_ref().map_or(0, |stored| 2 * stored.record.bytes().len())
    }
}

/// Whether a record counts still.
pub(in crate::resolve) fn is_valid(stored: &StoredIpns, now_ms: UnixMs) -> bool {
    !stored.record.end_of_validity().is_over(now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ipns_testing::{name, record_of_ttl};

    #[test]
    fn a_record_is_used_for_its_ttl_within_bounds() {
        const NS_OF_MS: i128 = 1_000_000;
        for (ttl_ms, is_whole, fresh_ms) in [
            (Some(0), true, 1_000),
            (Some(30_000), true, 30_000),
            (Some(300_000), true, 300_000),
            (Some(86_400_000), true, 300_000),
            (None, true, 60_000),
            (Some(86_400_000), false, 15_000),
            (Some(0), false, 15_000),
        ] {
            let ttl_ns = ttl_ms.map(|ms: i128| ms * NS_OF_MS);
            let record = record_of_ttl(&name(1), 1, "2100-01-01T00:00:00Z", ttl_ns);
            let best = StoredIpns { record, stored_at_ms: 0 };
            let kept = CachedIpns { record: None, asked_at_ms: 1_000, is_whole };
            let is_fresh =
                |age_ms: u64| kept.is_fresh(Some(&best), &CacheOptions::default(), 1_000 + age_ms);
            assert!(is_fresh(0) && is_fresh(fresh_ms - 1) && !is_fresh(fresh_ms), "{ttl_ms:?}");
            assert!(kept.is_fresh(None, &CacheOptions::default(), 0) == is_whole, "set back");
        }
    }
}
