//! Why an announcement is refused, by what its sender can do.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use super::addrs::DropReason;
use crate::store::StoreError;
use crate::types::PeerId;

/// Why a request to announce fails; none of its records is applied then.
#[derive(Debug, Error)]
pub enum PutError {
    /// Not the JSON that is expected.
    #[error("{reason}")]
    Malformed {
        /// Where, and what is wrong.
        reason: String,
    },
    /// A limit of one request is exceeded: split it.
    #[error("{count} {what} in one request, at most {most} are accepted")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        count: usize,
        /// How much there may be.
        most: usize,
    },
    /// A record that this sender may not announce, or whose signature or time is refused.
    #[error("record {record}: {refusal}")]
    Refused {
        /// The record's number in the request, from 1.
        record: usize,
        /// Why.
        refusal: PutRefusal,
    },
    /// A key that is no CID.
    #[error("record {record}: key {key} is no CID: {reason}")]
    Key {
        /// The record's number in the request, from 1.
        record: usize,
        /// The key's number in the record, from 1.
        key: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// No address can be used.
    #[error("record {record}: none of its addresses can be used: {reasons}")]
    Addrs {
        /// The record's number in the request, from 1.
        record: usize,
        /// Why each cannot.
        reasons: AddrReasons,
    },
    /// A limit of the store: retry later.
    #[error("there is no room for this announcement now: {0}")]
    NoRoom(StoreError),
    /// The store fails: retry later.
    #[error("announcements cannot be stored")]
    Unavailable(#[source] StoreError),
}

/// The most addresses that an error names, and the most characters of one: it fits into 8 KiB.
const ADDRS_NAMED_MAX: usize = 32;
const ADDR_CHARS_NAMED_MAX: usize = 128;

/// Why each of a record's addresses cannot be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddrReasons {
    named: Vec<String>,
    others: usize,
}

impl AddrReasons {
    /// Counts addresses that were not read.
    pub(super) fn add_others(&mut self, count: usize) {
        self.others += count;
    }

    pub(super) fn add(&mut self, addr: Option<&str>, reason: DropReason) {
        if self.named.len() == ADDRS_NAMED_MAX {
            self.others += 1;
            return;
        }
        let shown = match addr {
            None => "null".to_owned(),
            Some(addr) if addr.chars().count() <= ADDR_CHARS_NAMED_MAX => format!("{addr:?}"),
            Some(addr) => {
                format!("{:?}...", addr.chars().take(ADDR_CHARS_NAMED_MAX).collect::<String>())
            }
        };
        self.named.push(format!("{shown} is {}", reason.describe()));
    }
}

impl fmt::Display for AddrReasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.named.join("; "))?;
        if self.others > 0 {
            write!(f, "; and {} more", self.others)?;
        }
        Ok(())
    }
}

/// Why a record is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PutRefusal {
    /// Not one of the peers that may announce.
    #[error("{peer} is not among the peers that may announce here")]
    NotListed {
        /// The peer.
        peer: PeerId,
    },
    /// No signature.
    #[error("it has no `Signature`")]
    Unsigned,
    /// The peer ID is the hash of a key, which therefore is not known: RSA, ECDSA.
    #[error("{peer} carries no Ed25519 or secp256k1 key to check the signature with")]
    NoKey {
        /// The peer.
        peer: PeerId,
    },
    /// The signature is not one of this payload by this peer.
    #[error(
        "the signature is not {peer}'s over the SHA-256 of the payload's bytes as they arrived"
    )]
    Signature {
        /// The peer.
        peer: PeerId,
    },
    /// Made too long ago.
    #[error("its `Timestamp` is {} ago, at most {} are accepted", in_words(*age), in_words(*most))]
    TooOld {
        /// How long ago.
        age: Duration,
        /// How long ago it may be.
        most: Duration,
    },
    /// Made in the future.
    #[error("its `Timestamp` is {} ahead, at most {} are accepted", in_words(*ahead), in_words(*most))]
    TooFarAhead {
        /// How far ahead.
        ahead: Duration,
        /// How far ahead it may be.
        most: Duration,
    },
    /// It has expired.
    #[error("its time is over: `Timestamp` plus `AdvisoryTTL` has passed")]
    Lapsed,
}

impl PutError {
    /// Its label in metrics; one of a fixed set.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::TooMany { .. } => "too_many",
            Self::Key { .. } => "bad_key",
            Self::Addrs { .. } => "bad_addrs",
            Self::NoRoom(_) => "no_room",
            Self::Unavailable(_) => "unavailable",
            Self::Refused { refusal, .. } => match refusal {
                PutRefusal::NotListed { .. } => "not_listed",
                PutRefusal::Unsigned => "unsigned",
                PutRefusal::NoKey { .. } => "no_key",
                PutRefusal::Signature { .. } => "bad_signature",
                PutRefusal::TooOld { .. } => "too_old",
                PutRefusal::TooFarAhead { .. } => "too_far_ahead",
                PutRefusal::Lapsed => "lapsed",
            },
        }
    }
}

impl From<StoreError> for PutError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full { .. } | StoreError::NoSpace { .. } => Self::NoRoom(error),
            StoreError::Overloaded
            | StoreError::TimedOut
            | StoreError::Unavailable { .. }
            | StoreError::Io { .. } => Self::Unavailable(error),
        }
    }
}

/// `1day 2h 3s`: without fractions of a second.
fn in_words(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(duration.as_secs()))
}
