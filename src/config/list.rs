//! Lists in settings: `g.providers.sha2-256.0,g.ipns`, with commas between the items. Networks and
//! upstreams have items of their own (`networks`, `upstream_list`).
//!
//! Invariant: the text of a list reads back as the same list.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::types::{PeerId, RoutePrefix, TargetId};

/// A list; it may be empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct List<T>(Vec<T>);

/// A list of prefixes of lookup addresses.
pub(crate) type Prefixes = List<RoutePrefix>;

/// A list of peers; an empty one is nobody.
pub(crate) type PeerIds = List<PeerId>;

/// A list of targets.
pub(crate) type TargetList = List<TargetId>;

/// An item that does not parse.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{item}: {reason}")]
pub struct ListError {
    item: String,
    reason: String,
}

/// An item of a list.
pub(crate) trait ListItem: Sized + fmt::Display {
    /// Parses an item.
    fn read(text: &str) -> Result<Self, String>;

    /// The name of an item that does not parse, in messages; the first of a list is number 1.
    fn called(text: &str, _number: usize) -> String {
        format!("`{text}`")
    }
}

impl<T> List<T> {
    /// The items, in the order in which they were written.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// Whether the list is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}

impl<T: ListItem> FromStr for List<T> {
    type Err = ListError;

    fn from_str(text: &str) -> Result<Self, ListError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let read = |(number, item): (usize, &str)| {
            let item = item.trim();
            T::read(item).map_err(|reason| ListError { item: T::called(item, number), reason })
        };
        (1..).zip(text.split(',')).map(read).collect()
    }
}

impl<T: ListItem> fmt::Display for List<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, item) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "," };
            write!(formatter, "{separator}{item}")?;
        }
        Ok(())
    }
}

impl ListItem for RoutePrefix {
    fn read(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.to_string())
    }
}

impl ListItem for PeerId {
    fn read(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.to_string())
    }
}

impl ListItem for TargetId {
    fn read(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_list_reads_back() {
        for (text, canonical) in
            [("", ""), ("  ", ""), ("g", "g"), ("g.ipns , g.providers", "g.ipns,g.providers")]
        {
            let list: Prefixes = text.parse().unwrap();
            assert_eq!(list.to_string(), canonical);
            assert_eq!(list.to_string().parse(), Ok(list));
        }
        let peers = "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z";
        let peers: PeerIds = format!(" {peers} , {peers}").parse().unwrap();
        assert_eq!((peers.iter().count(), peers.to_string().parse()), (2, Ok(peers)));
        let accounts: TargetList = "East.1,local".parse().unwrap();
        assert_eq!(accounts.to_string(), "east1,local");
    }

    #[test]
    fn an_item_that_cannot_be_read_is_named() {
        let error = "g.ipns,x.y".parse::<Prefixes>().unwrap_err().to_string();
        assert!(error.starts_with("`x.y`: a prefix begins with g"), "{error}");
        assert!("g,,g.a".parse::<Prefixes>().is_err());
        for text in ["hello", ","] {
            let error = text.parse::<PeerIds>().unwrap_err().to_string();
            assert!(error.starts_with('`'), "{error}");
        }
        assert!("a b".parse::<TargetList>().unwrap_err().to_string().contains("' '"));
    }
}
