//! IPNS names: the multihashes of public keys.
//!
//! A name has one form here, a version 1 CID of codec libp2p-key, in any base; the bare base58 of
//! peer IDs is refused. Names print in base 36, as tools and browsers write them.

use std::fmt;

use multibase::Base;
use thiserror::Error;

use super::super::key::{ContentKey, KeyError};
use super::super::peer::is_of_peer;

/// `1` (the CID's version) and `0x72` (libp2p-key): what the bytes of every name begin with.
const CID_PREFIX: [u8; 2] = [0x01, 0x72];

/// The name that a public key has.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpnsName(ContentKey);

/// Why a text is not an IPNS name.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IpnsNameError {
    /// Not a CID of codec libp2p-key.
    #[error("not a CID of codec libp2p-key: {0}")]
    Form(#[from] KeyError),
    /// A version 0 CID, which has the codec dag-pb, or a bare peer ID.
    #[error(
        "an IPNS name is a version 1 CID of codec libp2p-key (`k51...`), not bare base58; \
         {name} would be that CID"
    )]
    Bare {
        /// The name of the same key.
        name: IpnsName,
    },
    /// A multihash that no public key has.
    #[error("a name holds a sha2-256 multihash, or an identity one of at most 42 bytes")]
    Multihash,
}

impl IpnsName {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, IpnsNameError> {
        match ContentKey::from_libp2p_key_text(text) {
            Ok(key) => Self::from_key(key),
            Err(error) => match bare(text) {
                Some(name) => Err(IpnsNameError::Bare { name }),
                None => Err(error.into()),
            },
        }
    }

    /// The name of a multihash.
    pub fn from_multihash(bytes: &[u8]) -> Result<Self, IpnsNameError> {
        Self::from_key(ContentKey::from_multihash(bytes)?)
    }

    fn from_key(key: ContentKey) -> Result<Self, IpnsNameError> {
        if is_of_peer(&key) { Ok(Self(key)) } else { Err(IpnsNameError::Multihash) }
    }

    /// The multihash that the name is.
    pub(crate) fn multihash(&self) -> &ContentKey {
        &self.0
    }

    /// The bytes of the multihash.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The public key as libp2p encodes it, where it is so short that the name holds it.
    pub(super) fn inlined_key(&self) -> Option<&[u8]> {
        self.0.is_identity().then(|| self.0.digest())
    }
}

/// What a bare peer ID would be as a name.
fn bare(text: &str) -> Option<IpnsName> {
    if !text.starts_with('1') && !text.starts_with("Qm") {
        return None;
    }
    IpnsName::from_key(ContentKey::from_multihash_text(text).ok()?).ok()
}

impl fmt::Display for IpnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&CID_PREFIX, self.as_bytes()].concat();
        f.pad(&multibase::encode(Base::Base36Lower, bytes))
    }
}

impl fmt::Debug for IpnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IpnsName({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ED25519: &str = "k51qzi5uqu5dlkw8pxuw9qmqayfdeh4kfebhmreauqdc6a7c3y7d5i9fi8mk9w";
    const RSA: &str = "QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3";

    #[test]
    fn a_name_is_read_in_every_base_and_printed_in_base_36() {
        let name = IpnsName::parse(ED25519).unwrap();
        assert_eq!(name.to_string(), ED25519);
        let bytes = [&CID_PREFIX, name.as_bytes()].concat();
        for base in [Base::Base16Lower, Base::Base32Lower, Base::Base58Btc, Base::Base64Url] {
            assert_eq!(IpnsName::parse(&multibase::encode(base, &bytes)).unwrap(), name);
        }
        assert!(name.inlined_key().is_some());
    }

    #[test]
    fn a_bare_peer_id_is_refused_with_the_name_that_it_has() {
        let Err(IpnsNameError::Bare { name }) = IpnsName::parse(RSA) else { panic!("accepted") };
        assert!(name.to_string().starts_with("k2k4r8"), "{name}");
        assert_eq!(IpnsName::parse(&name.to_string()).unwrap(), name);
        assert_eq!(name.inlined_key(), None);
    }

    #[test]
    fn cids_of_other_codecs_and_multihashes_of_no_key_are_refused() {
        let raw = IpnsName::parse("bafkreigur6gzxm3ykiol7ywou3iy3obruzs2q7boizj7oznznid34dzc3e");
        assert_eq!(raw.unwrap_err(), IpnsNameError::Form(KeyError::NotLibp2pKey(0x55)));
        let long_identity = [&CID_PREFIX[..], &[0, 43], &[7; 43]].concat();
        let text = multibase::encode(Base::Base36Lower, long_identity);
        assert_eq!(IpnsName::parse(&text).unwrap_err(), IpnsNameError::Multihash);
        for text in ["", "k", "k51", "hello", "bafkqaaa", "12D3KooW"] {
            assert!(IpnsName::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_prints_as_what_is_read_again(digest: [u8; 32]) {
            let name = IpnsName::from_multihash(&[&[0x12, 0x20][..], &digest].concat()).unwrap();
            prop_assert_eq!(IpnsName::parse(&name.to_string()).unwrap(), name);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            let _ = IpnsName::parse(&text);
        }
    }
}
