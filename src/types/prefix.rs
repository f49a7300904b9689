//! Prefixes of lookup addresses: parts of the key space.
//!
//! A prefix is segments with dots between them, `g.providers.sha2-256.c`, and matches an address
//! whose first segments are the same: `g.foo` does not match `g.fool`. Case matters. A prefix that
//! matches no possible lookup is legal. Source: CCP's prefixes, as in source 000.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// The longest prefix, and the longest address of a lookup, in characters.
pub const ADDRESS_CHARS_MAX: usize = 1_023;

/// What a prefix may begin with.
const FIRST_SEGMENTS: &[&str] =
    &["g", "private", "example", "peer", "self", "test", "test1", "test2", "test3", "local"];

/// A legal prefix. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoutePrefix(Arc<str>);

/// Why a text is not a prefix.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RoutePrefixError {
    /// Too short or too long.
    #[error("a prefix has 1 to {ADDRESS_CHARS_MAX} characters, this one has {0}")]
    Length(usize),
    /// The first segment is unknown.
    #[error("a prefix begins with g, private, example, peer, self, test, test1 to test3 or local")]
    First,
    /// Nothing between two dots, or after the last.
    #[error("a prefix has no empty segments: no dot at its end, no two in a row")]
    Empty,
    /// A character that is not allowed.
    #[error("{0:?} cannot stand in a prefix, only letters, digits, `-`, `_` and `~` between dots")]
    Character(char),
}

impl RoutePrefix {
    /// Reads a prefix.
    pub fn parse(text: &str) -> Result<Self, RoutePrefixError> {
        let chars = text.chars().count();
        if chars == 0 || chars > ADDRESS_CHARS_MAX {
            return Err(RoutePrefixError::Length(chars));
        }
        let is_legal = |it: char| it.is_ascii_alphanumeric() || "_~-".contains(it);
        if let Some(other) = text.chars().find(|it| *it != '.' && !is_legal(*it)) {
            return Err(RoutePrefixError::Character(other));
        }
        let mut segments = text.split('.');
        if !segments.next().is_some_and(|first| FIRST_SEGMENTS.contains(&first)) {
            return Err(RoutePrefixError::First);
        }
        if segments.any(str::is_empty) {
            return Err(RoutePrefixError::Empty);
        }
        Ok(Self(text.into()))
    }

    /// The prefix of every lookup.
    pub(crate) fn everything() -> Self {
        Self("g".into())
    }

    /// Whether everything that `other` matches is matched by this one.
    pub fn covers(&self, other: &Self) -> bool {
        let rest = other.0.strip_prefix(&*self.0);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// The segments, first to last.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoutePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for RoutePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoutePrefix({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_prefixes_are_kept_as_they_are() {
        let long = format!("g.{}", "a".repeat(ADDRESS_CHARS_MAX - 2));
        for text in ["g", "g.foo", "private.A-b_c~", "test1.x", "test", "local", "self.1", &long] {
            assert_eq!(RoutePrefix::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_is_no_prefix_says_why() {
        let long = "g".repeat(ADDRESS_CHARS_MAX + 1);
        for (text, error) in [
            ("", RoutePrefixError::Length(0)),
            (long.as_str(), RoutePrefixError::Length(ADDRESS_CHARS_MAX + 1)),
            ("G", RoutePrefixError::First),
            ("gg.a", RoutePrefixError::First),
            ("test4", RoutePrefixError::First),
            (".g", RoutePrefixError::First),
            ("g.", RoutePrefixError::Empty),
            ("g..a", RoutePrefixError::Empty),
            ("g.a b", RoutePrefixError::Character(' ')),
            ("g.ä", RoutePrefixError::Character('ä')),
            ("g/a", RoutePrefixError::Character('/')),
        ] {
            assert_eq!(RoutePrefix::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_prefix_covers_whole_segments_only() {
        let covers = |one, other| {
            RoutePrefix::parse(one).unwrap().covers(&RoutePrefix::parse(other).unwrap())
        };
        assert!(covers("g", "g") && covers("g", "g.foo") && covers("g.foo", "g.foo.a.b"));
        assert!(!covers("g.foo", "g.fool") && !covers("g.foo", "g") && !covers("g.a", "g.b"));
    }
}
