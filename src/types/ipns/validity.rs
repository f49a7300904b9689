//! The end of a record's validity: a moment as RFC 3339 writes it, to the nanosecond.
//!
//! ```text
//! 2123-08-14T12:17:03.694052Z      also 2123-08-14T14:17:03.694052+02:00
//! ```
//!
//! Years 0000 to 9999, upper-case `T` and `Z`, up to nine digits of a second, no leap second: what
//! Go's parser reads too. Anything else is no moment. The grammar is read here, because the parsers of
//! crates allow more; the calendar is that of `time`.

use std::fmt;

use time::{Date, Month, OffsetDateTime};

/// 10000-01-01T00:00:00Z in Unix seconds: an offset can move a moment of the year 9999 there, which
/// no date of HTTP can say.
const YEAR_10000_S: i64 = 253_402_300_800;

/// The moment at which a record stops being valid.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndOfValidity {
    unix_s: i64,
    ns: u32,
}

impl EndOfValidity {
    /// Reads RFC 3339.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut rest = text;
        let year = digits(&mut rest, 4)?;
        let month = after(&mut rest, b'-', 2)?;
        let day = after(&mut rest, b'-', 2)?;
        let hour = after(&mut rest, b'T', 2)?;
        let minute = after(&mut rest, b':', 2)?;
        let second = after(&mut rest, b':', 2)?;
        let ns = fraction_ns(&mut rest)?;
        let offset_s = offset_s(rest)?;
        let in_range = hour < 24 && minute < 60 && second < 60;
        let time_s = hour * 3_600 + minute * 60 + second;
        let unix_s = midnight_s(year, month, day)? + time_s - offset_s;
        (in_range && unix_s < YEAR_10000_S).then_some(Self { unix_s, ns })
    }

    /// The end in whole seconds since the Unix epoch, rounded down; before it 0.
    pub(crate) fn unix_s(self) -> u64 {
        u64::try_from(self.unix_s).unwrap_or(0)
    }

    /// The first millisecond since the Unix epoch at which the record is invalid; before the epoch
    /// 0.
    pub(crate) fn unix_ms(self) -> u64 {
        let ms = self.unix_s * 1_000 + i64::from(self.ns.div_ceil(1_000_000));
        u64::try_from(ms).unwrap_or(0)
    }

    /// Whether that moment has passed.
    pub(crate) fn is_over(self, now_ms: u64) -> bool {
        self.unix_ms() <= now_ms
    }

    /// The remaining whole seconds, rounded down.
    pub(crate) fn remaining_s(self, now_ms: u64) -> u64 {
        self.unix_ms().saturating_sub(now_ms) / 1_000
    }
}

impl fmt::Display for EndOfValidity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = OffsetDateTime::from_unix_timestamp(self.unix_s);
        let moment = moment.expect("parsing refuses years past 9999, and none is before -1");
        let (year, month, day) = moment.to_calendar_date();
        let (hour, minute, second) = moment.to_hms();
        let month = u8::from(month);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z", self.ns)
    }
}

impl fmt::Debug for EndOfValidity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndOfValidity({self})")
    }
}

/// The number in the next `count` digits.
fn digits(rest: &mut &[u8], count: usize) -> Option<i64> {
    let (number, after) = rest.split_at_checked(count)?;
    if !number.iter().all(u8::is_ascii_digit) {
        return None;
    }
    *rest = after;
    Some(number.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
}

/// The number after a separator.
fn after(rest: &mut &[u8], separator: u8, count: usize) -> Option<i64> {
    *rest = rest.strip_prefix(&[separator])?;
    digits(rest, count)
}

fn fraction_ns(rest: &mut &[u8]) -> Option<u32> {
    let Some(mut fraction) = rest.strip_prefix(b".") else { return Some(0) };
    let count = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&count) {
        return None;
    }
    let number = u32::try_from(digits(&mut fraction, count)?).ok()?;
    *rest = fraction;
    Some((count..9).fold(number, |number, _| number * 10))
}

fn offset_s(rest: &[u8]) -> Option<i64> {
    let (sign, mut rest) = match rest.split_first()? {
        (b'Z', []) => return Some(0),
        (b'+', rest) => (1, rest),
        (b'-', rest) => (-1, rest),
        _ => return None,
    };
    let hour = digits(&mut rest, 2)?;
    let minute = after(&mut rest, b':', 2)?;
    (rest.is_empty() && hour < 24 && minute < 60).then_some(sign * (hour * 3_600 + minute * 60))
}

/// Midnight UTC of a date of the Gregorian calendar, in Unix seconds; `None`: there is no such day.
fn midnight_s(year: i64, month: i64, day: i64) -> Option<i64> {
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let (year, day) = (i32::try_from(year).ok()?, u8::try_from(day).ok()?);
    let date = Date::from_calendar_date(year, month, day).ok()?;
    Some(date.midnight().assume_utc().unix_timestamp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Option<EndOfValidity> {
        EndOfValidity::parse(text.as_bytes())
    }

    #[test]
    fn moments_are_read_to_the_nanosecond() {
        for (text, unix_s, ns) in [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2026-01-01T00:00:00.5Z", 1_767_225_600, 500_000_000),
            ("2123-08-14T12:17:03.694052Z", 4_847_689_023, 694_052_000),
            ("2123-08-14T14:47:03.694052+02:30", 4_847_689_023, 694_052_000),
            ("2024-02-29T23:59:59.000000001-00:01", 1_709_251_259, 1),
            ("0000-01-01T00:00:00Z", -62_167_219_200, 0),
            ("9999-12-31T23:59:59.999999999Z", YEAR_10000_S - 1, 999_999_999),
        ] {
            assert_eq!(parse(text), Some(EndOfValidity { unix_s, ns }), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-01-01t00:00:00Z",
            "2026-01-01T00:00:00z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.0000000001Z",
            "2026-01-01T00:00:00ZZ",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00+0000",
            "+026-01-01T00:00:00Z",
            "9999-12-31T23:59:59-00:01",
            "invalid",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_end_comes_with_its_own_millisecond_and_not_before() {
        let end = parse("1970-01-01T00:00:10.0000001Z").unwrap();
        assert_eq!((end.unix_s(), end.unix_ms()), (10, 10_001));
        assert!(!end.is_over(10_000) && end.is_over(10_001));
        assert_eq!((end.remaining_s(8_002), end.remaining_s(20_000)), (1, 0));
        let long_ago = parse("1969-12-31T23:59:59Z").unwrap();
        assert_eq!((long_ago.unix_s(), long_ago.unix_ms()), (0, 0));
        assert!(long_ago.is_over(0));
    }

    proptest! {
        #[test]
        fn every_moment_reads_back(unix_s in -62_167_219_200..YEAR_10000_S, ns in 0..1_000_000_000_u32) {
            let moment = EndOfValidity { unix_s, ns };
            prop_assert_eq!(parse(&moment.to_string()), Some(moment));
        }

        #[test]
        fn no_bytes_panic(text: Vec<u8>) {
            let _ = EndOfValidity::parse(&text);
        }
    }
}
