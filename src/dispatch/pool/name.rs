//! Names of pools, and of the rules that lead to them.
//!
//! A name is not a plain integer, because integers are routing rules where targets are named.
//! Names are case-insensitive.

use std::fmt;

use thiserror::Error;

/// The longest name of a pool, in characters.
pub const POOL_NAME_CHARS_MAX: usize = 180;

/// The name of a pool, in its original case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolName(Box<str>);

/// Why a text is not the name of a pool. The text says what to do.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PoolNameError {
    /// Empty, or nothing but spaces.
    #[error("name is blank: give it at least one letter or digit")]
    Blank,
    /// Too long.
    #[error("name has {0} characters: shorten it to {POOL_NAME_CHARS_MAX}")]
    Length(usize),
    /// A character that is not allowed.
    #[error("name contains {0:?}: use only letters A to Z, digits, spaces, `-`, `_` and `.`")]
    Character(char),
    /// Digits only.
    #[error("name is a plain integer, which would be the id of a routing rule: add a letter to it")]
    Integer,
}

impl PoolName {
    /// Reads a name.
    pub(crate) fn parse(text: &str) -> Result<Self, PoolNameError> {
        let chars = text.chars().count();
        if text.trim().is_empty() {
            return Err(PoolNameError::Blank);
        }
        if chars > POOL_NAME_CHARS_MAX {
            return Err(PoolNameError::Length(chars));
        }
        let is_legal = |it: char| it.is_ascii_alphanumeric() || " -_.".contains(it);
        if let Some(other) = text.chars().find(|it| !is_legal(*it)) {
            return Err(PoolNameError::Character(other));
        }
        if text.trim().bytes().all(|it| it.is_ascii_digit()) {
            return Err(PoolNameError::Integer);
        }
        Ok(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name equals `text`, ignoring case.
    pub(crate) fn is(&self, text: &str) -> bool {
        self.0.eq_ignore_ascii_case(text)
    }

    /// Whether the name contains `text`, ignoring case.
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.0.to_ascii_lowercase().contains(&text.to_ascii_lowercase())
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_as_given_and_compared_without_case() {
        let name = PoolName::parse("My Route-1_a.b").unwrap();
        assert_eq!(name.as_str(), "My Route-1_a.b");
        assert!(name.is("mY rOUTE-1_A.B") && !name.is("my route"));
        assert!(name.contains("ROUTE") && name.contains("") && !name.contains("routes"));
        assert_eq!(PoolName::parse(&"a".repeat(180)).unwrap().as_str().len(), 180);
    }

    #[test]
    fn what_is_no_name_says_why() {
        for (text, error) in [
            ("", PoolNameError::Blank),
            ("   ", PoolNameError::Blank),
            (&"a".repeat(181), PoolNameError::Length(181)),
            ("a/b", PoolNameError::Character('/')),
            ("é", PoolNameError::Character('é')),
            ("a\n", PoolNameError::Character('\n')),
            ("42", PoolNameError::Integer),
            (" 042", PoolNameError::Integer),
        ] {
            assert_eq!(PoolName::parse(text).unwrap_err(), error, "{text:?}");
        }
    }
}
