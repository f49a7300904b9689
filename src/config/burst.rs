//! How many requests a client may make at once: a number, or `auto`, which follows the rate.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use thiserror::Error;

/// Seconds of the rate that `auto` lets through at once.
const AUTO_S: u32 = 5;

/// The setting `rate_limit_burst`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Burst {
    /// Five times the rate.
    #[default]
    Auto,
    /// So many requests.
    Requests(NonZeroU32),
}

impl Burst {
    /// The burst that goes with a rate.
    pub(crate) fn get(self, per_second: NonZeroU32) -> NonZeroU32 {
        match self {
            Self::Auto => per_second.saturating_mul(NonZeroU32::MIN.saturating_add(AUTO_S - 1)),
            Self::Requests(requests) => requests,
        }
    }
}

/// The text is not a burst.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("expected `auto` or a whole number from 1")]
pub struct BurstError;

impl FromStr for Burst {
    type Err = BurstError;

    fn from_str(text: &str) -> Result<Self, BurstError> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        text.parse().map(Self::Requests).map_err(|_| BurstError)
    }
}

impl fmt::Display for Burst {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Requests(requests) => requests.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_follows_the_rate_unless_it_is_set() {
        let get = |text: &str, rate| {
            text.parse::<Burst>().map(|it| it.get(NonZeroU32::new(rate).unwrap()).get())
        };
        for (text, rate, burst) in
            [("auto", 100, 500), ("auto", 1, 5), ("auto", u32::MAX, u32::MAX), ("7", 100, 7)]
        {
            assert_eq!(get(text, rate), Ok(burst), "{text} {rate}");
            assert_eq!(text.parse::<Burst>().unwrap().to_string(), text);
        }
        for text in ["", "0", "-1", "Auto", "1.5", "4294967296"] {
            assert_eq!(get(text, 1), Err(BurstError), "{text:?}");
        }
    }
}
