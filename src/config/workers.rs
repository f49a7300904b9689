//! The number of threads that serve the public API: `auto`, one a core, or a number.
//!
//! `auto` is written as `auto`, so that a copied file fits the machine that reads it.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use thiserror::Error;

/// More threads than this exceed the cores of any machine.
const WORKERS_MAX: usize = 1_024;

/// How many threads serve the public API.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum WorkerCount {
    /// As many as the machine has cores, as far as this process may use them.
    #[default]
    Auto,
    /// A fixed number.
    Fixed(NonZeroUsize),
}

impl WorkerCount {
    /// The number of threads; for `auto` asks the system for its cores.
    pub(crate) fn get(self) -> usize {
        match self {
            Self::Auto => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            Self::Fixed(count) => count.get(),
        }
    }
}

impl FromStr for WorkerCount {
    type Err = WorkersError;

    fn from_str(text: &str) -> Result<Self, WorkersError> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        text.parse::<NonZeroUsize>()
            .ok()
            .filter(|count| count.get() <= WORKERS_MAX)
            .map(Self::Fixed)
            .ok_or(WorkersError::Invalid)
    }
}

impl fmt::Display for WorkerCount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Fixed(count) => write!(formatter, "{count}"),
        }
    }
}

/// Why a text is not a number of threads.
#[derive(Debug, Error)]
pub enum WorkersError {
    /// Neither `auto` nor a number in range.
    #[error("neither `auto` nor a number from 1 to {WORKERS_MAX}")]
    Invalid,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_and_numbers_are_read_and_written_alike() {
        for text in ["auto", "1", "16", "1024"] {
            assert_eq!(text.parse::<WorkerCount>().unwrap().to_string(), text);
        }
        assert_eq!("16".parse::<WorkerCount>().unwrap().get(), 16);
        assert!(WorkerCount::Auto.get() >= 1);
    }

    #[test]
    fn nothing_else_is_a_number_of_threads() {
        for text in ["", "0", "-1", "1025", "Auto", "many"] {
            assert!(text.parse::<WorkerCount>().is_err(), "{text:?}");
        }
    }
}
