//! Leaving an upstream alone for as long as it asks for (RFC 9110, `Retry-After`).
//!
//! Pure: `now_ms` is a parameter. A clock that was set back to before a rest began ends it.

use std::time::{Duration, UNIX_EPOCH};

use crate::clock::UnixMs;

/// The shortest rest, and that of a refusal that does not say how long.
pub(super) const REST_MIN: Duration = Duration::from_secs(1);

/// The longest rest: an upstream that says "next year" is asked again after this.
pub(super) const REST_MAX: Duration = Duration::from_hours(1);

/// The time until which an upstream is not asked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rest {
    since_ms: UnixMs,
    until_ms: UnixMs,
}

impl Rest {
    /// What is left of the rest, if it is not over.
    pub(super) fn left(&self, now_ms: UnixMs) -> Option<Duration> {
        let is_under_way = (self.since_ms..self.until_ms).contains(&now_ms);
        is_under_way.then(|| Duration::from_millis(self.until_ms - now_ms))
    }

    /// Rests for so long from now on, or until the end of the rest that is under way if that is later.
    pub(super) fn begin(&mut self, rest: Duration, now_ms: UnixMs) {
        if self.left(now_ms).is_none_or(|left| left < rest) {
            let rest_ms = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX);
            *self = Self { since_ms: now_ms, until_ms: now_ms.saturating_add(rest_ms) };
        }
    }
}

/// Reads the value of `Retry-After`: whole seconds, or the date at which to come back; within bounds.
pub(super) fn parse_retry_after(value: &[u8], now_ms: UnixMs) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let rest = if is_number {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let date = httpdate::parse_http_date(text).ok()?;
        let since_epoch = date.duration_since(UNIX_EPOCH).unwrap_or_default();
        since_epoch.saturating_sub(Duration::from_millis(now_ms))
    };
    Some(rest.clamp(REST_MIN, REST_MAX))
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
            ("0", Some(REST_MIN)),
            ("3601", Some(REST_MAX)),
            ("99999999999999999999999", Some(REST_MAX)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(Duration::from_secs(30))),
            ("Sunday, 06-Nov-94 08:50:07 GMT", Some(Duration::from_secs(30))),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(REST_MIN)),
            ("Thu, 01 Jan 2037 00:00:00 GMT", Some(REST_MAX)),
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
        let mut rest = Rest::default();
        assert_eq!(rest.left(NOW_MS), None);
        rest.begin(Duration::from_secs(10), NOW_MS);
        rest.begin(Duration::from_secs(2), NOW_MS + 1_000);
        assert_eq!(rest.left(NOW_MS + 1_000), Some(Duration::from_secs(9)));
        assert_eq!(rest.left(NOW_MS + 9_999), Some(Duration::from_millis(1)));
        assert_eq!(rest.left(NOW_MS + 10_000), None);
        rest.begin(Duration::from_secs(10), NOW_MS + 5_000);
        assert_eq!(rest.left(NOW_MS + 10_000), Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_clock_that_is_set_back_ends_the_rest() {
        let mut rest = Rest::default();
        rest.begin(Duration::from_secs(10), NOW_MS);
        assert_eq!(rest.left(NOW_MS - 1), None);
    }
}
