//! Settings that are one of a few words. These enums are the only source of the words and their
//! meaning, for parsing, `--help`, the example file and error messages.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;

use crate::types::AnswerSchema;

/// The status of an answer when nobody has the content.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum EmptyStatus {
    /// Not Found, with the same empty JSON body; every client reads it as an empty answer
    #[value(name = "404")]
    NotFound,
    /// OK, which leaves no red lines in the consoles of browsers
    #[value(name = "200")]
    Ok,
}

impl EmptyStatus {
    /// The status as a number.
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::NotFound => 404,
            Self::Ok => 200,
        }
    }
}

/// The schema under which records of the older schemas are served.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum RecordSchema {
    /// As they were announced
    Announced,
    /// Records of the schemas `bitswap` and `graphsync-filecoinv1` are served as `peer`
    Peer,
}

impl From<RecordSchema> for AnswerSchema {
    fn from(choice: RecordSchema) -> Self {
        match choice {
            RecordSchema::Announced => Self::Announced,
            RecordSchema::Peer => Self::Peer,
        }
    }
}

/// Whose signed announcements are taken in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum AnnounceMode {
    /// Those of every peer
    Signed,
    /// Those of the peers in `announce_allowlist`
    Allowlist,
    /// Nobody's
    Off,
}

/// The form of the log on standard error.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// Text when standard error is a terminal, JSON otherwise
    Auto,
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

/// `Display` and `FromStr` by the words of the enum.
macro_rules! words {
    ($($choice:ty),*) => {$(
        impl fmt::Display for $choice {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                let word = self.to_possible_value().expect("no variant is skipped");
                formatter.write_str(word.get_name())
            }
        }

        impl FromStr for $choice {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                <Self as ValueEnum>::from_str(text, false)
            }
        }
    )*};
}

words!(EmptyStatus, RecordSchema, AnnounceMode, LogFormat);

#[cfg(test)]
mod tests {
    use super::*;

    fn every_word_reads_back<T>()
    where
        T: ValueEnum + fmt::Display + FromStr<Err = String> + PartialEq + fmt::Debug,
    {
        for choice in T::value_variants() {
            assert_eq!(&<T as FromStr>::from_str(&choice.to_string()).unwrap(), choice);
        }
        assert!(<T as FromStr>::from_str("").is_err());
    }

    #[test]
    fn every_choice_reads_back_from_its_word() {
        every_word_reads_back::<EmptyStatus>();
        every_word_reads_back::<RecordSchema>();
        every_word_reads_back::<AnnounceMode>();
        every_word_reads_back::<LogFormat>();
    }

    #[test]
    fn the_word_of_a_status_is_its_code() {
        for status in EmptyStatus::value_variants() {
            assert_eq!(status.to_string(), status.code().to_string());
        }
    }
}
