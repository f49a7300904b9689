//! Whole numbers in JSON, however they are written: `86400000`, `86400000.0` and `8.64e7` are one number,
//! as they are to JavaScript's reader. What is not whole, or does not fit, is an error.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// A whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole<T>(pub(super) T);

impl<'de, T: TryFrom<i128>> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeVisitor(PhantomData))
    }
}

struct WholeVisitor<T>(PhantomData<T>);

impl<T: TryFrom<i128>> WholeVisitor<T> {
    fn fit<E: Error>(&self, number: i128, given: Unexpected<'_>) -> Result<Whole<T>, E> {
        T::try_from(number).map(Whole).map_err(|_| E::invalid_value(given, self))
    }
}

impl<T: TryFrom<i128>> Visitor<'_> for WholeVisitor<T> {
    type Value = Whole<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number that fits")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        self.fit(number.into(), Unexpected::Unsigned(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        self.fit(number.into(), Unexpected::Signed(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        let given = Unexpected::Float(number);
        if number.fract() != 0.0 || !number.is_finite() {
            return Err(E::invalid_value(given, &self));
        }
        // Too large a number saturates, and the largest is refused.
        self.fit(number as i128, given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_read_however_it_is_written() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("8.64e13", Some(86_400_000_000_000)),
            ("86400000.0", Some(86_400_000)),
            ("1e0", Some(1)),
            ("-0.0", Some(0)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("1e19", None),
            ("-1e19", None),
            ("1e300", None),
            ("1e400", None),
            ("1.5", None),
            ("1e-1", None),
            ("\"1\"", None),
            ("true", None),
            ("[1]", None),
        ] {
            let read = serde_json::from_str::<Whole<i64>>(text).ok();
            assert_eq!(read, expected.map(Whole), "{text}");
        }
        assert!(serde_json::from_str::<Whole<u64>>("-1").is_err());
        assert_eq!(
            serde_json::from_str::<Whole<u64>>("1.8e19").unwrap(),
            Whole(18_000_000_000_000_000_000)
        );
        assert_eq!(serde_json::from_str::<Option<Whole<u64>>>("null").unwrap(), None);
    }
}
