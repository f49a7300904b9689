//! What is looked up: a multihash, whatever CID it came in.
//!
//! Two CIDs with one multihash are one key: version, codec and base never matter (DESIGN,
//! decision 1). The bytes of a multihash are
//!
//! ```text
//! hash code (varint) | digest length (varint) | digest
//! ```
//!
//! and of a CID `1 (varint) | codec (varint) | multihash`, or, for version 0, a bare sha2-256
//! multihash. A digest's length is never compared with its hash code's: truncated and odd digests
//! exist. Every malformed input is an error that names its fault.

use std::fmt;

use cid::Cid;
use multibase::Base;
use multihash::Multihash;
use smallvec::SmallVec;
use thiserror::Error;
use unsigned_varint::decode;

/// The longest digest of a key, in bytes. No registered hash function gives more than 128; more is
/// for identity multihashes, which carry content.
pub(crate) const DIGEST_BYTES_MAX: usize = 1024;

/// The longest text of a CID, in bytes. A 64-byte digest in base 2 takes 545; decoding bases 36 and
/// 58 takes time in the square of the length, so this also bounds what a request can cost.
pub(crate) const CID_TEXT_BYTES_MAX: usize = 1024;

/// The longest varint of the multiformats, in bytes: 63 bits.
const VARINT_BYTES_MAX: usize = 9;

const CID_V0_CHARS: usize = 46;
const CODEC_RAW: u64 = 0x55;
const CODEC_LIBP2P_KEY: u64 = 0x72;
const IDENTITY: u64 = 0;
const SHA2_256_PREFIX: [u8; 2] = [0x12, 0x20];

/// Bytes that a key holds without a heap allocation: any 32-byte digest fits.
const INLINE_BYTES: usize = 38;

/// The key of content: the bytes of a multihash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentKey(SmallVec<[u8; INLINE_BYTES]>);

/// Why a text or bytes are not a key.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    /// Nothing was given.
    #[error("empty")]
    Empty,
    /// The text is longer than any CID needs.
    #[error("{0} bytes of text, at most {CID_TEXT_BYTES_MAX} are read")]
    TooLong(usize),
    /// The first character names no base, or a character is outside the base's alphabet.
    #[error("neither bare base58 (`Qm...`) nor a multibase text ({0})")]
    Multibase(String),
    /// A CID of a version that does not exist.
    #[error("CID version {0} does not exist, only 0 and 1")]
    Version(u64),
    /// A CIDv0 in anything but bare base58.
    #[error("a version 0 CID is bare base58 (`Qm...`), without a multibase prefix")]
    VersionZeroBase,
    /// A varint is cut, longer than 63 bits, or not in its shortest form.
    #[error("the {0} is not a whole, shortest-form varint of at most 63 bits")]
    Varint(&'static str),
    /// The digest is shorter than the multihash says.
    #[error("the multihash says {says} digest bytes, but {has} follow")]
    DigestCut {
        /// What the length field says.
        says: u64,
        /// What there is.
        has: usize,
    },
    /// The digest is longer than a key may be.
    #[error("the multihash says {0} digest bytes, at most {DIGEST_BYTES_MAX} are accepted")]
    DigestTooLong(u64),
    /// Bytes follow the end of the multihash.
    #[error("{0} bytes follow the end of the multihash")]
    Trailing(usize),
    /// A CID whose codec is not libp2p-key where a peer or a name is wanted.
    #[error("the CID's codec is 0x{0:x}, a peer ID has 0x72 (libp2p-key)")]
    NotLibp2pKey(u64),
}

impl ContentKey {
    /// Reads the key out of a CID's text: `Qm...`, or version 1 in any multibase.
    pub fn from_cid_text(text: &str) -> Result<Self, KeyError> {
        decode_cid_text(text).map(|(_, key)| key)
    }

    /// Reads the multihash of a peer ID or IPNS name out of a version 1 CID of codec libp2p-key.
    pub(crate) fn from_libp2p_key_text(text: &str) -> Result<Self, KeyError> {
        match decode_cid_text(text)? {
            (CODEC_LIBP2P_KEY, key) => Ok(key),
            (codec, _) => Err(KeyError::NotLibp2pKey(codec)),
        }
    }

    /// Reads the key of the CID that `bytes` begin with, and says how many bytes the CID takes.
    pub(crate) fn from_cid_prefix(bytes: &[u8]) -> Result<(Self, usize), KeyError> {
        let (_, key, rest) = split_cid(bytes)?;
        Ok((key, bytes.len() - rest.len()))
    }

    /// Reads a multihash's text: bare base58 (`Qm...`), or any multibase.
    pub fn from_multihash_text(text: &str) -> Result<Self, KeyError> {
        check_text(text)?;
        // Multibase first: a text with a prefix now and then reads as bare base58 of something else.
        let prefixed = decode_multibase(text).and_then(|bytes| Self::from_multihash(&bytes));
        prefixed.or_else(|error| match Base::Base58Btc.decode(text) {
            Ok(bytes) => Self::from_multihash(&bytes),
            Err(_) => Err(error),
        })
    }

    /// Reads a multihash's bytes.
    pub fn from_multihash(bytes: &[u8]) -> Result<Self, KeyError> {
        let (key, rest) = split_multihash(bytes)?;
        if rest.is_empty() { Ok(key) } else { Err(KeyError::Trailing(rest.len())) }
    }

    /// The bytes of the multihash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The code of the hash function.
    pub(crate) fn hash_code(&self) -> u64 {
        decode::u64(&self.0).expect("a key begins with the varint that it was parsed from").0
    }

    /// The digest.
    pub(crate) fn digest(&self) -> &[u8] {
        let after_code = decode::u64(&self.0).expect("a key holds its hash code").1;
        decode::u64(after_code).expect("a key holds its digest's length").1
    }

    /// Whether the key is an identity multihash: the content itself, so no lookup is needed.
    pub(crate) fn is_identity(&self) -> bool {
        self.hash_code() == IDENTITY
    }

    /// One CID of this key, for people: version 1, codec raw, base 32.
    pub fn to_cid_text(&self) -> String {
        match Multihash::wrap(self.hash_code(), self.digest()) {
            Ok(multihash) => Cid::new_v1(CODEC_RAW, multihash).to_string(),
            // The digest is longer than the 64 bytes that a `Cid` has room for.
            Err(_) => {
                let mut bytes = vec![1, CODEC_RAW as u8];
                bytes.extend_from_slice(&self.0);
                multibase::encode(Base::Base32Lower, bytes)
            }
        }
    }
}

impl From<&Cid> for ContentKey {
    fn from(cid: &Cid) -> Self {
        Self(SmallVec::from_vec(cid.hash().to_bytes()))
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentKey({})", self.to_cid_text())
    }
}

fn decode_cid_text(text: &str) -> Result<(u64, ContentKey), KeyError> {
    check_text(text)?;
    let is_v0 = text.len() == CID_V0_CHARS && text.starts_with("Qm");
    let bytes = if is_v0 {
        Base::Base58Btc
            .decode(text)
            .map_err(|error| KeyError::Multibase(error.to_string().to_lowercase()))?
    } else {
        decode_multibase(text)?
    };
    if !is_v0 && bytes.starts_with(&SHA2_256_PREFIX) {
        return Err(KeyError::VersionZeroBase);
    }
    let (codec, key, rest) = split_cid(&bytes)?;
    if rest.is_empty() { Ok((codec, key)) } else { Err(KeyError::Trailing(rest.len())) }
}

fn check_text(text: &str) -> Result<(), KeyError> {
    match text.len() {
        0 => Err(KeyError::Empty),
        1..=CID_TEXT_BYTES_MAX => Ok(()),
        bytes => Err(KeyError::TooLong(bytes)),
    }
}

fn decode_multibase(text: &str) -> Result<Vec<u8>, KeyError> {
    let (_, bytes) = multibase::decode(text)
        .map_err(|error| KeyError::Multibase(error.to_string().to_lowercase()))?;
    Ok(bytes)
}

fn split_cid(bytes: &[u8]) -> Result<(u64, ContentKey, &[u8]), KeyError> {
    const CODEC_DAG_PB: u64 = 0x70;
    if bytes.starts_with(&SHA2_256_PREFIX) {
        let (key, rest) = split_multihash(bytes)?;
        return Ok((CODEC_DAG_PB, key, rest));
    }
    let (version, after_version) = split_varint(bytes, "CID version")?;
    if version != 1 {
        return Err(KeyError::Version(version));
    }
    let (codec, after_codec) = split_varint(after_version, "codec")?;
    let (key, rest) = split_multihash(after_codec)?;
    Ok((codec, key, rest))
}

fn split_multihash(bytes: &[u8]) -> Result<(ContentKey, &[u8]), KeyError> {
    let (_, after_code) = split_varint(bytes, "hash code")?;
    let (says, digest_and_rest) = split_varint(after_code, "digest length")?;
    let length = usize::try_from(says).unwrap_or(usize::MAX);
    if length > DIGEST_BYTES_MAX {
        return Err(KeyError::DigestTooLong(says));
    }
    let Some((_, rest)) = digest_and_rest.split_at_checked(length) else {
        return Err(KeyError::DigestCut { says, has: digest_and_rest.len() });
    };
    let (multihash, _) = bytes.split_at(bytes.len() - rest.len());
    Ok((ContentKey(SmallVec::from_slice(multihash)), rest))
}

fn split_varint<'a>(bytes: &'a [u8], what: &'static str) -> Result<(u64, &'a [u8]), KeyError> {
    let (value, rest) = decode::u64(bytes).map_err(|_| KeyError::Varint(what))?;
    // A tenth byte holds bits past the 64th, which the decoder drops: two keys would read as one.
    if bytes.len() - rest.len() > VARINT_BYTES_MAX {
        return Err(KeyError::Varint(what));
    }
    Ok((value, rest))
}

#[cfg(test)]
mod tests {
    use multihash_codetable::{Code, MultihashDigest};
    use proptest::prelude::*;

    use super::*;

    const V0: &str = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
    const V1: &str = "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe";
    const ODD: &str = "baeabep4vu3ceru7nerjjbk37sxb7wmftteve4hcosmyolsbsiubw2vr6pqzj6mw7kv6tbn6nqkkldnklbjgm5tzbi4hkpkled4xlcr7xz4bq";

    #[test]
    fn cids_of_one_multihash_are_one_key() {
        let key = ContentKey::from_cid_text(V0).unwrap();
        assert_eq!(key, ContentKey::from_cid_text(V1).unwrap());
        assert_eq!(key.hash_code(), 0x12);
        assert_eq!(key.digest().len(), 32);
        assert_eq!(key, ContentKey::from_cid_text(&key.to_cid_text()).unwrap());
    }

    #[test]
    fn a_digest_of_another_length_than_its_hash_gives_is_a_key() {
        let key = ContentKey::from_cid_text(ODD).unwrap();
        assert_eq!((key.hash_code(), key.digest().len()), (0x12, 63));
    }

    #[test]
    fn an_identity_multihash_is_known_as_such() {
        assert!(ContentKey::from_cid_text("bafkqaaa").unwrap().is_identity());
        assert!(!ContentKey::from_cid_text(V0).unwrap().is_identity());
        let long = [&[0x00, 0xac, 0x02][..], &[7; 300]].concat();
        let key = ContentKey::from_multihash(&long).unwrap();
        assert!(key.is_identity());
        assert_eq!(ContentKey::from_cid_text(&key.to_cid_text()).unwrap(), key);
    }

    #[test]
    fn every_malformed_text_says_what_is_wrong() {
        let prefixed_v0 = format!("z{V0}");
        let path = format!("/ipfs/{V0}");
        let long = "b".repeat(CID_TEXT_BYTES_MAX + 1);
        let trailing = multibase::encode(Base::Base32Lower, [0x01, 0x55, 0x00, 0x00, 0xff]);
        let cases = [
            ("", KeyError::Empty),
            (&long, KeyError::TooLong(CID_TEXT_BYTES_MAX + 1)),
            (&prefixed_v0, KeyError::VersionZeroBase),
            ("bajkqaaa", KeyError::Version(2)),
            (&trailing, KeyError::Trailing(1)),
            ("bafkreifk", KeyError::DigestCut { says: 0x20, has: 1 }),
            ("bafkre", KeyError::Varint("digest length")),
            ("bafkq", KeyError::Varint("hash code")),
        ];
        for (text, error) in cases {
            assert_eq!(ContentKey::from_cid_text(text).unwrap_err(), error, "{text}");
        }
        for text in ["x", "hello world", &path, "\u{fffd}", "b!!!", &V0[..45]] {
            assert!(ContentKey::from_cid_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn varints_must_be_whole_and_shortest() {
        let long_form = [0x01, 0x55, 0x92, 0x00, 0x00];
        assert_eq!(
            ContentKey::from_cid_prefix(&long_form).unwrap_err(),
            KeyError::Varint("hash code")
        );
        let huge = [&[0x01, 0x55, 0x12][..], &[0xff; 8], &[0x0f]].concat();
        assert!(matches!(ContentKey::from_cid_prefix(&huge), Err(KeyError::DigestTooLong(_))));
        // Ten bytes, the last with bits past the 64th.
        for last in [0x01, 0x42] {
            let past_63_bits = [&[0xa1; 9][..], &[last, 0x00]].concat();
            assert_eq!(
                ContentKey::from_multihash(&past_63_bits).unwrap_err(),
                KeyError::Varint("hash code")
            );
        }
    }

    proptest! {
        #[test]
        fn every_form_of_a_cid_gives_the_same_key(
            content in proptest::collection::vec(any::<u8>(), 0..64),
            codec in prop_oneof![Just(0x55u64), Just(0x70), Just(0x71), Just(0x72), 0..=u64::MAX / 2],
            base in prop_oneof![
                Just(Base::Base2), Just(Base::Base16Lower), Just(Base::Base32Lower),
                Just(Base::Base32Upper), Just(Base::Base36Lower), Just(Base::Base58Btc),
                Just(Base::Base64), Just(Base::Base64Url), Just(Base::Base64Pad),
            ],
        ) {
            let multihash = Code::Sha2_256.digest(&content);
            let v0 = cid::Cid::new_v0(multihash).unwrap();
            let v1 = cid::Cid::new_v1(codec, multihash);
            let key = ContentKey::from_cid_text(&v0.to_string()).unwrap();
            prop_assert_eq!(&key, &ContentKey::from(&v1));
            prop_assert_eq!(key.as_bytes(), &multihash.to_bytes()[..]);
            let text = v1.to_string_of_base(base).unwrap();
            prop_assert_eq!(&ContentKey::from_cid_text(&text).unwrap(), &key);
            let (read, length) = ContentKey::from_cid_prefix(&v1.to_bytes()).unwrap();
            prop_assert_eq!((&read, length), (&key, v1.encoded_len()));
            let bare = Base::Base58Btc.encode(multihash.to_bytes());
            prop_assert_eq!(&ContentKey::from_multihash_text(&bare).unwrap(), &key);
        }

        #[test]
        fn no_text_panics_and_what_parses_prints_as_the_same_key(text in ".{0,80}") {
            if let Ok(key) = ContentKey::from_cid_text(&text) {
                prop_assert_eq!(ContentKey::from_cid_text(&key.to_cid_text()).unwrap(), key);
            }
        }

        #[test]
        fn the_cid_crate_agrees_on_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let ours = ContentKey::from_cid_prefix(&bytes).map(|(key, _)| key.as_bytes().to_vec());
            let longest = u64::MAX / 2;
            if let Ok(cid) = cid::Cid::try_from(&bytes[..])
                && cid.codec().max(cid.hash().code()) <= longest
            {
                prop_assert_eq!(ours.unwrap(), cid.hash().to_bytes());
            }
        }
    }
}
