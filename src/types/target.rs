//! The ids of targets: what routes lead to, and what answers lookups. The API, the settings and the
//! commands call a target an account, as source 000 does.
//!
//! An id has 1 to 64 of letters, digits and `-_.~`, and is normalised as source 000 says: lower case,
//! no dots, so `Alice.Main` and `alicemain` are one target. A plain integer is the id of a routing
//! rule, so nothing else may be called that; leading zeros are dropped, so a rule has one spelling:
//! `042`, `4.2` and `42` are one target.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// The longest id of a target, in characters.
pub(crate) const TARGET_CHARS_MAX: usize = 64;

/// The normalised id of a target. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(Arc<str>);

/// Why a text is not the id of a target.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TargetIdError {
    /// Too short or too long.
    #[error("an account's name has 1 to {TARGET_CHARS_MAX} characters, this one has {0}")]
    Length(usize),
    /// A character that is not allowed.
    #[error("{0:?} cannot stand in an account's name, only letters, digits and -_.~ can")]
    Character(char),
    /// Nothing but dots.
    #[error("an account's name needs more than dots")]
    Dots,
}

impl TargetId {
    /// The target that is this server's own index.
    pub(crate) const LOCAL: &str = "local";
    /// The target that answers "none found" and asks nobody.
    pub(crate) const DISCARD: &str = "discard";
    /// The target of the default route: the index and all upstreams.
    pub(crate) const DEFAULT: &str = "default";
    /// The target of the Amino DHT.
    pub(crate) const DHT: &str = "dht";
    /// The upstreams of the default target that are asked last; no route points to it.
    pub(crate) const FALLBACK: &str = "default~fallback";

    /// Reads a name in the form in which people write it.
    pub fn parse(text: &str) -> Result<Self, TargetIdError> {
        let chars = text.chars().count();
        if chars == 0 || chars > TARGET_CHARS_MAX {
            return Err(TargetIdError::Length(chars));
        }
        if let Some(other) =
            text.chars().find(|it| !it.is_ascii_alphanumeric() && !"-_.~".contains(*it))
        {
            return Err(TargetIdError::Character(other));
        }
        let name = text.replace('.', "").to_ascii_lowercase();
        let Some(last) = name.len().checked_sub(1) else { return Err(TargetIdError::Dots) };
        if !name.bytes().all(|it| it.is_ascii_digit()) {
            return Ok(Self(name.into()));
        }
        // The last digit stays, whatever it is.
        let zeros = name.bytes().take(last).take_while(|it| *it == b'0').count();
        Ok(Self(name.chars().skip(zeros).collect::<String>().into()))
    }

    /// The target of the routing rule with this id.
    pub fn of_rule(rule: u64) -> Self {
        Self(rule.to_string().into())
    }

    /// The id of the routing rule that it names; `None`: it names something else.
    pub(crate) fn rule(&self) -> Option<u64> {
        let is_integer = self.0.bytes().all(|it| it.is_ascii_digit());
        if is_integer { self.0.parse().ok() } else { None }
    }

    /// Whether it is a plain integer, of whatever size.
    pub(crate) fn is_integer(&self) -> bool {
        self.0.bytes().all(|it| it.is_ascii_digit())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TargetId({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_lower_cased_and_lose_their_dots() {
        assert_eq!(TargetId::parse("Alice.Main-1_~").unwrap().as_str(), "alicemain-1_~");
        assert_eq!(TargetId::parse("alice-account").unwrap().as_str(), "alice-account");
    }

    #[test]
    fn what_is_no_name_says_why() {
        assert_eq!(TargetId::parse(""), Err(TargetIdError::Length(0)));
        assert_eq!(TargetId::parse(&"a".repeat(65)), Err(TargetIdError::Length(65)));
        assert_eq!(TargetId::parse("a b"), Err(TargetIdError::Character(' ')));
        assert_eq!(TargetId::parse("é"), Err(TargetIdError::Character('é')));
        assert_eq!(TargetId::parse("..."), Err(TargetIdError::Dots));
    }

    #[test]
    fn integers_are_rules() {
        assert_eq!(TargetId::parse("42").unwrap().rule(), Some(42));
        assert_eq!(TargetId::of_rule(42), TargetId::parse("4.2").unwrap());
        assert_eq!(TargetId::parse("42a").unwrap().rule(), None);
        for (text, one) in
            [("042", "42"), ("0.4.2", "42"), ("0", "0"), ("0.00", "0"), ("00a", "00a")]
        {
            assert_eq!(TargetId::parse(text).unwrap().as_str(), one);
        }
        let huge = TargetId::parse(&"9".repeat(30)).unwrap();
        assert!(huge.is_integer() && huge.rule().is_none());
    }

    proptest! {
        #[test]
        fn a_normalised_name_reads_as_itself(text in "[A-Za-z0-9._~-]{1,64}") {
            if let Ok(target) = TargetId::parse(&text) {
                prop_assert_eq!(TargetId::parse(target.as_str()).unwrap(), target);
            }
        }
    }
}
