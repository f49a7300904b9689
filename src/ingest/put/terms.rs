//! When an announcement was made, and until when it holds.
//!
//! ```text
//! ttl     = AdvisoryTTL, but at least 1 min and at most ttl_max
//! grain   = the largest power of two of milliseconds that is at most ttl / 64
//! expires = (min(Timestamp, now) + ttl), rounded down to a multiple of grain
//! ```
//!
//! The lifetime counts from the timestamp, not from the arrival: a replay never extends it, and a
//! provider's clock that is ahead gains nothing.
//!
//! Rounding costs less than a 64th of the TTL, and bounds the number of groups: a provider whose
//! announcements have one TTL has at most 128 distinct expiries at one time, because a grain is
//! longer than a 128th of the TTL.

use std::time::Duration;

use super::error::PutRefusal;
use crate::clock::UnixMs;

/// The shortest TTL. Shorter ones would cost more than they are worth.
pub(crate) const TTL_MIN: Duration = Duration::from_secs(60);

const NS_IN_MS: i64 = 1_000_000;

/// Parts of a TTL that the rounding may cost one of.
const TTL_PARTS: u64 = 64;

pub(super) struct TermLimits {
    pub(super) age_max: Duration,
    pub(super) ahead_max: Duration,
    pub(super) ttl_max: Duration,
}

/// When an announcement was made, and when it lapses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) stated_at_ms: UnixMs,
    /// Later than now.
    pub(super) expires_at_ms: UnixMs,
}

impl TermLimits {
    pub(super) fn terms(
        &self,
        timestamp_ms: i64,
        advisory_ttl_ns: i64,
        now_ms: UnixMs,
    ) -> Result<Terms, PutRefusal> {
        // Before 1970 is long ago.
        let stated_at_ms = UnixMs::try_from(timestamp_ms).unwrap_or(0);
        let age = Duration::from_millis(now_ms.saturating_sub(stated_at_ms));
        if age > self.age_max {
            return Err(PutRefusal::TooOld { age, most: self.age_max });
        }
        let ahead = Duration::from_millis(stated_at_ms.saturating_sub(now_ms));
        if ahead > self.ahead_max {
            return Err(PutRefusal::TooFarAhead { ahead, most: self.ahead_max });
        }
        let ttl_ms = self.ttl_ms(advisory_ttl_ns);
        let exact_ms = stated_at_ms.min(now_ms).saturating_add(ttl_ms);
        let expires_at_ms = exact_ms - exact_ms % grain_ms(ttl_ms);
        if expires_at_ms <= now_ms {
            return Err(PutRefusal::Lapsed);
        }
        Ok(Terms { stated_at_ms, expires_at_ms })
    }

    fn ttl_ms(&self, advisory_ttl_ns: i64) -> u64 {
        let advised_ms = u64::try_from(advisory_ttl_ns / NS_IN_MS).unwrap_or(0);
        advised_ms.min(whole_ms(self.ttl_max)).max(whole_ms(TTL_MIN))
    }
}

/// `ttl_ms` is at least [`TTL_MIN`], so a 64th of it is not zero.
fn grain_ms(ttl_ms: u64) -> u64 {
    1 << (ttl_ms / TTL_PARTS).ilog2()
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const NOW_MS: u64 = 1_767_225_600_000;
    const MINUTE_MS: u64 = 60_000;
    const HOUR_MS: u64 = 60 * MINUTE_MS;
    const LIMITS: TermLimits = TermLimits {
        age_max: Duration::from_hours(24),
        ahead_max: Duration::from_mins(5),
        ttl_max: Duration::from_hours(48),
    };

    fn ns(ms: u64) -> i64 {
        i64::try_from(ms).unwrap() * NS_IN_MS
    }

    fn terms(timestamp_ms: u64, ttl_ms: u64, now_ms: u64) -> Result<Terms, PutRefusal> {
        LIMITS.terms(i64::try_from(timestamp_ms).unwrap(), ns(ttl_ms), now_ms)
    }

    #[test]
    fn the_timestamp_must_be_within_a_window_of_now() {
        let day = 24 * HOUR_MS;
        assert!(terms(NOW_MS - day, 48 * HOUR_MS, NOW_MS).is_ok());
        let old = terms(NOW_MS - day - 1, 48 * HOUR_MS, NOW_MS).unwrap_err();
        assert!(matches!(old, PutRefusal::TooOld { .. }), "{old}");
        assert!(terms(NOW_MS + 5 * MINUTE_MS, HOUR_MS, NOW_MS).is_ok());
        let ahead = terms(NOW_MS + 5 * MINUTE_MS + 1_000, HOUR_MS, NOW_MS).unwrap_err();
        let text = "its `Timestamp` is 5m 1s ahead, at most 5m are accepted";
        assert_eq!(ahead.to_string(), text);
        for odd in [i64::MIN, -1, 0, i64::MAX] {
            assert!(LIMITS.terms(odd, ns(HOUR_MS), NOW_MS).is_err(), "{odd}");
        }
    }

    #[test]
    fn the_ttl_is_clamped_and_the_rounding_takes_less_than_a_64th() {
        for (advised_ns, ttl_ms) in [
            (i64::MIN, MINUTE_MS),
            (-1, MINUTE_MS),
            (0, MINUTE_MS),
            (ns(MINUTE_MS) - 1, MINUTE_MS),
            (ns(24 * HOUR_MS), 24 * HOUR_MS),
            (ns(48 * HOUR_MS) + 1, 48 * HOUR_MS),
            (i64::MAX, 48 * HOUR_MS),
        ] {
            let now = i64::try_from(NOW_MS).unwrap();
            let holds_ms = LIMITS.terms(now, advised_ns, NOW_MS).unwrap().expires_at_ms - NOW_MS;
            assert!(holds_ms <= ttl_ms, "{advised_ns}: {holds_ms}");
            assert!(holds_ms > ttl_ms - ttl_ms / 64, "{advised_ns}: {holds_ms}");
        }
    }

    #[test]
    fn what_was_announced_until_before_now_has_lapsed() {
        assert_eq!(terms(NOW_MS - 2 * HOUR_MS, HOUR_MS, NOW_MS), Err(PutRefusal::Lapsed));
        assert_eq!(terms(NOW_MS - HOUR_MS, HOUR_MS, NOW_MS), Err(PutRefusal::Lapsed));
        assert!(terms(NOW_MS - HOUR_MS / 2, HOUR_MS, NOW_MS).is_ok());
    }

    #[test]
    fn any_number_of_announcements_of_one_ttl_has_few_expiries() {
        for ttl_ms in [MINUTE_MS, 7 * MINUTE_MS, HOUR_MS, 24 * HOUR_MS, 48 * HOUR_MS] {
            // 20,000 announcements within one TTL: all of them are alive at its end.
            let made_at = (0..20_000).map(|number| NOW_MS + ttl_ms * number / 20_000);
            let expiries: BTreeSet<u64> =
                made_at.map(|at| terms(at, ttl_ms, at).unwrap().expires_at_ms).collect();
            assert!(expiries.len() <= 128, "{ttl_ms}: {}", expiries.len());
        }
    }

    proptest! {
        #[test]
        fn sent_again_it_never_holds_longer_than_its_provider_said(
            timestamp_ms in NOW_MS - 25 * HOUR_MS..NOW_MS + 6 * MINUTE_MS,
            advised_ms in 0..60 * HOUR_MS,
            delays_ms in prop::collection::vec(0..30 * HOUR_MS, 1..20),
        ) {
            let ttl_ms = advised_ms.clamp(MINUTE_MS, 48 * HOUR_MS);
            let first = terms(timestamp_ms, advised_ms, NOW_MS);
            for delay_ms in delays_ms {
                let Ok(again) = terms(timestamp_ms, advised_ms, NOW_MS + delay_ms) else { continue };
                prop_assert!(again.expires_at_ms <= timestamp_ms + ttl_ms);
                prop_assert_eq!(again.stated_at_ms, timestamp_ms);
                if let (Ok(first), true) = (&first, timestamp_ms <= NOW_MS) {
                    prop_assert_eq!(again.expires_at_ms, first.expires_at_ms);
                }
            }
        }
    }
}
