//! Peer IDs, as the text that clients expect.
//!
//! Peer IDs come in two forms: bare base58 (`12D3...`, `Qm...`) and a version 1 CID of codec
//! libp2p-key in any base. Clients drop records with the second form, so both become base58 here.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::key::{ContentKey, KeyError};

/// A peer ID in base58. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(Arc<str>);

/// Why a text is not a peer ID.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PeerIdError {
    /// Neither base58 of a multihash nor a CID.
    #[error("neither a base58 peer ID nor a CID of codec libp2p-key: {0}")]
    Form(#[from] KeyError),
    /// A multihash that is neither a sha2-256 hash nor an inlined key of at most 42 bytes.
    #[error("a peer ID is a sha2-256 multihash or an identity one of at most 42 bytes")]
    Multihash,
}

impl PeerId {
    /// Reads a peer ID in either form.
    pub fn parse(text: &str) -> Result<Self, PeerIdError> {
        let looks_bare = text.starts_with('1') || text.starts_with("Qm");
        let key = if looks_bare {
            ContentKey::from_multihash_text(text)?
        } else {
            ContentKey::from_libp2p_key_text(text)?
        };
        Self::from_multihash(&key)
    }

    fn from_multihash(key: &ContentKey) -> Result<Self, PeerIdError> {
        if !is_of_peer(key) {
            return Err(PeerIdError::Multihash);
        }
        let peer = libp2p_identity::PeerId::from_bytes(key.as_bytes())
            .map_err(|_| PeerIdError::Multihash)?;
        Ok(Self(peer.to_base58().into()))
    }

    /// The multihash that the ID is.
    pub(crate) fn multihash(&self) -> ContentKey {
        ContentKey::from_multihash_text(&self.0).expect("it was printed from a multihash")
    }

    /// The ID as a version 1 CID of codec libp2p-key, in base 32: the form that URLs have.
    pub(crate) fn to_cid_text(&self) -> String {
        const CID_PREFIX: [u8; 2] = [0x01, 0x72];
        let bytes = [&CID_PREFIX, self.multihash().as_bytes()].concat();
        multibase::encode(multibase::Base::Base32Lower, bytes)
    }

    /// The base58 text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a multihash can be a peer ID: a whole sha2-256, or an inlined key of at most 42 bytes.
pub(super) fn is_of_peer(key: &ContentKey) -> bool {
    const SHA2_256: u64 = 0x12;
    match key.hash_code() {
        SHA2_256 => key.digest().len() == 32,
        _ => key.is_identity() && key.digest().len() <= 42,
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z";
    const RSA: &str = "QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3";

    #[test]
    fn both_forms_become_base58() {
        for text in [ED25519, RSA] {
            let peer = PeerId::parse(text).unwrap();
            assert_eq!(peer.as_str(), text);
            let bytes = text.parse::<libp2p_identity::PeerId>().unwrap().to_bytes();
            let cid = [&[0x01, 0x72][..], &bytes].concat();
            for base in [multibase::Base::Base32Lower, multibase::Base::Base36Lower] {
                assert_eq!(PeerId::parse(&multibase::encode(base, &cid)).unwrap(), peer);
            }
            assert_eq!(peer.to_cid_text(), multibase::encode(multibase::Base::Base32Lower, &cid));
        }
    }

    #[test]
    fn a_cid_of_another_codec_is_refused() {
        let error = PeerId::parse("bafkreigur6gzxm3ykiol7ywou3iy3obruzs2q7boizj7oznznid34dzc3e");
        assert_eq!(error.unwrap_err(), PeerIdError::Form(KeyError::NotLibp2pKey(0x55)));
    }

    #[test]
    fn malformed_texts_are_refused() {
        // The last is a CID of codec libp2p-key with a sha2-256 of one byte, in base 16.
        for text in ["", "1", "12D3KooW", "Qm", "hello", "12D3K...", "bafkqaaa", "f0172120100"] {
            assert!(PeerId::parse(text).is_err(), "{text}");
        }
    }
}
