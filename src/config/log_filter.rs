//! The filter of the log: `info`, `warn,fingerpost=debug`.
//!
//! Invariant: the logging library accepts a [`LogFilter`]. A lone word that is not a level is
//! refused, although that library would read it as the name of a module: `warning` would otherwise
//! silence everything.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, ParseError};

/// What is logged: directives, separated by commas, as in `warn,fingerpost=debug`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogFilter(String);

impl LogFilter {
    /// The filter in the form that the logging library works with.
    pub(crate) fn to_env_filter(&self) -> EnvFilter {
        EnvFilter::try_new(&self.0).expect("the text was checked when it was parsed")
    }
}

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(text: &str) -> Result<Self, LogFilterError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(LogFilterError::Empty);
        }
        let lone_word =
            |word: &&str| !word.is_empty() && !word.contains(['=', '[', ']', '{', '}', '"', ':']);
        for word in text.split(',').map(str::trim).filter(lone_word) {
            if word.parse::<LevelFilter>().is_err() {
                return Err(LogFilterError::NoLevel(word.to_owned()));
            }
        }
        EnvFilter::try_new(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Why a text is not a filter of the log.
#[derive(Debug, Error)]
pub enum LogFilterError {
    /// No directive at all.
    #[error("empty, write `off` to log nothing")]
    Empty,
    /// A lone word that is not a level.
    #[error(
        "`{0}` is no level (error, warn, info, debug, trace, off); for a module write `{0}=debug`"
    )]
    NoLevel(String),
    /// The logging library does not accept it.
    #[error(transparent)]
    Malformed(#[from] ParseError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_taken_and_written_as_they_were() {
        for text in ["info", "off", "WARN", "warn,fingerpost=debug", "info,fingerpost::api=trace"] {
            let filter: LogFilter = text.parse().unwrap();
            assert_eq!(filter.to_string(), text);
            assert_eq!(filter.to_string().parse::<LogFilter>().unwrap(), filter);
            filter.to_env_filter();
        }
    }

    #[test]
    fn a_lone_word_that_is_no_level_is_refused() {
        for text in ["warning", "info,inof", "fingerpost"] {
            let error = text.parse::<LogFilter>().unwrap_err();
            assert!(matches!(error, LogFilterError::NoLevel(_)), "{text}: {error}");
        }
    }

    #[test]
    fn malformed_and_empty_filters_are_refused() {
        for text in ["", " ", "fingerpost=loud", "a=b=c"] {
            assert!(text.parse::<LogFilter>().is_err(), "{text:?}");
        }
    }
}
