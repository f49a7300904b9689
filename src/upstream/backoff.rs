//! The backoff that an upstream asks for (RFC 9110, `Retry-After`).
//!
//! Pure: `now_ms` is a parameter. A clock that was set back to before a backoff began ends it.

use std::time::{Duration, UNIX_EPOCH};

use crate::clock::UnixMs;

/// The shortest backoff, and that of a refusal that does not say how long.
pub(super) const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// The longest backoff: an upstream that says "next year" is asked again after this.
pub(super) const BACKOFF_MAX: Duration = Duration::from_hours(1);

/// The time until which an upstream is not asked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RequestedBackoff {
    since_ms: UnixMs,
    until_ms: UnixMs,
}

impl RequestedBackoff {
    /// What remains of the backoff, if it is not over.
    pub(super) fn remaining(&self, now_ms: UnixMs) -> Option<Duration> {
        let is_under_way = (self.since_ms..self.until_ms).contains(&now_ms);
        is_under_way.then(|| Duration::from_millis(self.until_ms - now_ms))
    }

    /// Extends the backoff to this time from now; never shortens it.
    pub(super) fn extend(&mut self, time: Duration, now_ms: UnixMs) {
        if self.remaining(now_ms).is_none_or(|left| left < time) {
            let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            *self = Self { since_ms: now_ms, until_ms: now_ms.saturating_add(time_ms) };
        }
    }
}

/// Reads the value of `Retry-After`: whole seconds, or the date at which to come back; within bounds.
pub fn parse_retry_after(value: &[u8], now_ms: UnixMs) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let backoff = if is_number {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let date = httpdate::parse_http_date(text).ok()?;
        let since_epoch = date.duration_since(UNIX_EPOCH).unwrap_or_default();
        since_epoch.saturating_sub(Duration::from_millis(now_ms))
    };
    Some(backoff.clamp(BACKOFF_MIN, BACKOFF_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT
    const NOW_MS: UnixMs = 784_111_777_000;

    #[test]
    fn seconds_and_dates_are_read_within_bounds() {
        for (value, expected) in [
            ("7", Some(Duration::from_secs(7))),
            (" 120 ", Some(Duration::from_secs(120))),
            ("0", Some(BACKOFF_MIN)),
            ("3601", Some(BACKOFF_MAX)),
            ("99999999999999999999999", Some(BACKOFF_MAX)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(Duration::from_secs(30))),
            ("Sunday, 06-Nov-94 08:50:07 GMT", Some(Duration::from_secs(30))),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(BACKOFF_MIN)),
            ("Thu, 01 Jan 2037 00:00:00 GMT", Some(BACKOFF_MAX)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(parse_retry_after(value.as_bytes(), NOW_MS), expected, "{value}");
        }
        assert_eq!(parse_retry_after(b"\xff", NOW_MS), None);
    }

    #[test]
    fn a_rest_ends_when_it_is_over_and_is_never_shortened() {
        let mut backoff = RequestedBackoff::default();
        assert_eq!(backoff.remaining(NOW_MS), None);
        backoff.extend(Duration::from_secs(10), NOW_MS);
        backoff.extend(Duration::from_secs(2), NOW_MS + 1_000);
        assert_eq!(backoff.remaining(NOW_MS + 1_000), Some(Duration::from_secs(9)));
        assert_eq!(backoff.remaining(NOW_MS + 9_999), Some(Duration::from_millis(1)));
        assert_eq!(backoff.remaining(NOW_MS + 10_000), None);
        backoff.extend(Duration::from_secs(10), NOW_MS + 5_000);
        assert_eq!(backoff.remaining(NOW_MS + 10_000), Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_clock_that_is_set_back_ends_the_rest() {
        let mut backoff = RequestedBackoff::default();
        backoff.extend(Duration::from_secs(10), NOW_MS);
        assert_eq!(backoff.remaining(NOW_MS - 1), None);
    }
}
