//! Spans of time in settings: `15s`, `5m`, `1h 30m`; a plain whole number is seconds.
//!
//! Invariant: what [`format_duration`] writes, [`parse_duration`] reads back unchanged. A span past
//! [`DURATION_MAX`] or in months is refused when it is read, so that no later sum can overflow.

use std::time::Duration;

use thiserror::Error;

/// A year. A longer span is most likely a typo, and a shorter one added to the present cannot
/// overflow a clock.
pub(crate) const DURATION_MAX: Duration = Duration::from_hours(366 * 24);

/// Why a text is not a span of time.
#[derive(Debug, Error)]
pub(crate) enum DurationError {
    /// Neither a number of seconds nor numbers with units.
    #[error(transparent)]
    Malformed(#[from] humantime::DurationError),
    /// `5M` is five months, most likely a typo for minutes.
    #[error("`M` would mean months, write `m` for minutes")]
    Months,
    /// Longer than [`DURATION_MAX`].
    #[error("longer than 366 days")]
    TooLong,
}

/// Reads a span of time: numbers with units, or a whole number of seconds.
///
/// # Errors
///
/// When the text is neither, or the span is longer than [`DURATION_MAX`].
pub(crate) fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    if text.contains('M') {
        return Err(DurationError::Months);
    }
    let plain_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let duration = if plain_number {
        Duration::from_secs(text.parse().map_err(|_| DurationError::TooLong)?)
    } else {
        humantime::parse_duration(text)?
    };
    if duration > DURATION_MAX { Err(DurationError::TooLong) } else { Ok(duration) }
}

/// Writes a span of time as one whole number of the largest unit that loses nothing: `48h`, `90s`.
pub(crate) fn format_duration(duration: Duration) -> String {
    const UNITS: [(&str, u128); 6] = [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ];
    let nanoseconds = duration.as_nanos();
    UNITS
        .into_iter()
        .find(|(_, size)| nanoseconds != 0 && nanoseconds.is_multiple_of(*size))
        .map_or_else(|| "0s".to_owned(), |(unit, size)| format!("{}{unit}", nanoseconds / size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_and_plain_seconds_are_read() {
        for (text, seconds) in [("5m", 300), ("15s", 15), ("300", 300), ("1h 30m", 5_400), ("0", 0)]
        {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
        assert_eq!(parse_duration("250ms").unwrap(), Duration::from_millis(250));
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in ["", "five", "5 parsecs", "-5s", "5M", "367 days", "99999999999999999999"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_largest_unit_that_loses_nothing_is_written() {
        for text in ["48h", "90s", "5m", "0s", "1500ms", "7us", "1ns"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            seconds in 0..DURATION_MAX.as_secs(),
            nanoseconds in 0..1_000_000_000_u64,
            coarse in 0_u32..13,
        ) {
            let step = 10_u64.pow(coarse);
            let total = seconds * 1_000_000_000 + nanoseconds;
            let duration = Duration::from_nanos(total / step * step);
            prop_assert_eq!(parse_duration(&format_duration(duration)).unwrap(), duration);
        }
    }
}
