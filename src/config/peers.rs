//! Lists of peer IDs in settings: `12D3KooW...,Qm...`.
//!
//! Invariant: the text of a list, each ID in base58, reads back as the same list.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::types::{PeerId, PeerIdError};

/// A list of peers; an empty one is nobody.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Peers(Vec<PeerId>);

/// An item of a list that is not a peer ID.
#[derive(Debug, Error)]
#[error("`{text}` is not a peer ID")]
pub struct PeersError {
    text: String,
    source: PeerIdError,
}

impl Peers {
    /// The peers, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = &PeerId> {
        self.0.iter()
    }

    /// Whether there is no peer at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Peers {
    type Err = PeersError;

    fn from_str(text: &str) -> Result<Self, PeersError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let read = |item: &str| {
            let item = item.trim();
            PeerId::parse(item).map_err(|source| PeersError { text: item.to_owned(), source })
        };
        text.split(',').map(read).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Peers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, peer) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "," };
            write!(formatter, "{separator}{peer}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z";
    const RSA: &str = "QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3";

    #[test]
    fn a_list_reads_back_from_its_text() {
        for text in ["", ED25519, &format!("{ED25519},{RSA}")] {
            assert_eq!(text.parse::<Peers>().unwrap().to_string(), text);
        }
        let spaced: Peers = format!(" {RSA} , {ED25519}").parse().unwrap();
        assert_eq!(spaced.iter().count(), 2);
        assert!(!spaced.is_empty() && Peers::default().is_empty());
    }

    #[test]
    fn what_is_no_peer_id_is_named() {
        for text in ["hello", &format!("{ED25519},"), ","] {
            let error = text.parse::<Peers>().unwrap_err().to_string();
            assert!(error.ends_with("` is not a peer ID"), "{error}");
        }
    }
}
