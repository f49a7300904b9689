//! The ID of a table of advertised routes; epochs count within one table.
//!
//! Each process generates a random one, so that its epochs are not mistaken for those of the
//! previous process. Written as a UUID; the nil UUID means "none is known".

use std::fmt;

use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

/// Characters of a UUID with its dashes, the only form that is read.
const CHARS: usize = 36;

/// The table that an epoch belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoutingTableId(Uuid);

impl RoutingTableId {
    /// No table.
    pub(crate) const NONE: Self = Self(Uuid::nil());

    /// A version 4 UUID of these random bytes.
    pub fn new(random: [u8; 16]) -> Self {
        Self(Builder::from_random_bytes(random).into_uuid())
    }

    /// Reads a UUID with its dashes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() == CHARS { Uuid::try_parse(text).ok().map(Self) } else { None }
    }

    /// The ID of the table that replaces this one in the same process.
    pub(crate) fn successor(self) -> Self {
        let digest: [u8; 32] = Sha256::digest(self.0.as_bytes()).into();
        let (first, _) = digest.split_first_chunk().expect("a digest is longer than an identity");
        Self::new(*first)
    }
}

impl fmt::Display for RoutingTableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for RoutingTableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoutingTableId({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_identity_is_written_as_a_uuid() {
        let text = "00010203-0405-4607-8809-0a0b0c0d0e0f";
        let id = RoutingTableId::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(id.to_string(), text);
        assert_eq!(RoutingTableId::parse(&text.to_uppercase()), Some(id));
        let none = "00000000-0000-0000-0000-000000000000";
        assert_eq!(RoutingTableId::parse(none), Some(RoutingTableId::NONE));
        assert_ne!(RoutingTableId::new([0; 16]), RoutingTableId::NONE);
    }

    #[test]
    fn what_is_no_uuid_is_none() {
        for text in [
            "",
            "00010203",
            "000102030405460788090a0b0c0d0e0f",
            "00010203-0405-4607-8809-0a0b0c0d0e0",
            "00010203-0405-4607-8809-0a0b0c0d0e0g",
            "00010203+0405-4607-8809-0a0b0c0d0e0f",
            "+0010203-0405-4607-8809-0a0b0c0d0e0f",
            "0001020-30405-4607-8809-0a0b0c0d0e0f",
            "00010203-0405-4607-8809-0a0b0c0d0eé",
        ] {
            assert_eq!(RoutingTableId::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_identity_reads_back_and_has_another_successor(random: [u8; 16]) {
            let id = RoutingTableId::new(random);
            prop_assert_eq!(RoutingTableId::parse(&id.to_string()), Some(id));
            prop_assert_ne!(id.successor(), id);
        }
    }
}
