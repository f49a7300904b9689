//! Addresses of lookups in the key space.
//!
//! ```text
//! g . kind                     . hash function           . digest, one hex digit a segment
//!     providers | peers | ipns   by its multicodec name    c.3.c.4.7.3.3.e...
//! ```
//!
//! The codec and the base of a CID do not show. An address has at most [`ADDRESS_CHARS_MAX`]
//! characters: a longer digest is cut after its last whole segment that fits. Walking an address
//! allocates nothing, because every lookup does it.

mod hash_name;

use std::fmt;

use multibase::Base;
use thiserror::Error;

use crate::types::{
    ADDRESS_CHARS_MAX, ContentKey, IpnsName, IpnsNameError, KeyError, PeerId, PeerIdError,
    RoutePrefix, RoutePrefixError,
};
use hash_name::HashName;

/// The first segment of the address of every lookup.
const FIRST_SEGMENT: &str = "g";

const PROVIDERS: &str = "providers";
const PEERS: &str = "peers";
const IPNS: &str = "ipns";

/// The kinds of lookups.
const KINDS: [&str; 3] = [PROVIDERS, PEERS, IPNS];

const NIBBLES: [&str; 16] =
    ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f"];

/// The address of a lookup, as a view of the key that is looked up.
#[derive(Clone, Debug)]
pub struct LookupAddress<'a> {
    kind: &'static str,
    hash_name: HashName,
    digest: &'a [u8],
}

impl<'a> LookupAddress<'a> {
    /// The address of a lookup of a content's providers.
    pub fn of_content(key: &'a ContentKey) -> Self {
        Self::new(PROVIDERS, key)
    }

    /// The address of a lookup of the peer whose ID is this multihash.
    pub fn of_peer_multihash(multihash: &'a ContentKey) -> Self {
        Self::new(PEERS, multihash)
    }

    /// The address of a lookup of an IPNS record.
    pub(crate) fn of_name(name: &'a IpnsName) -> Self {
        Self::new(IPNS, name.multihash())
    }

    fn new(kind: &'static str, key: &'a ContentKey) -> Self {
        Self { kind, hash_name: HashName::of(key.hash_code()), digest: key.digest() }
    }

    /// The segments, first to last.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        let head = [FIRST_SEGMENT, self.kind, self.hash_name.as_str()];
        let head_chars = head.iter().map(|segment| segment.len() + 1).sum::<usize>() - 1;
        // Each digit follows a dot.
        let digits_max = (ADDRESS_CHARS_MAX - head_chars) / 2;
        let digits = self.digest.iter().flat_map(|byte| [nibble(byte >> 4), nibble(byte & 15)]);
        head.into_iter().chain(digits.take(digits_max))
    }
}

/// Whether any lookup can have an address that starts with these segments. Other routes are legal
/// but never match.
pub(crate) fn can_match<'a>(mut segments: impl Iterator<Item = &'a str>) -> bool {
    segments.next() == Some(FIRST_SEGMENT)
        && segments.next().is_none_or(|kind| KINDS.contains(&kind))
        && segments.next().is_none_or(|name| HashName::code_of(name).is_some())
        && segments.all(|digit| NIBBLES.contains(&digit))
}

fn nibble(value: u8) -> &'static str {
    NIBBLES.get(usize::from(value)).expect("four bits name one of sixteen digits")
}

impl fmt::Display for LookupAddress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.segments().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            f.write_str(segment)?;
        }
        Ok(())
    }
}

/// An address as an operator writes it. It may be a prefix, or one that no lookup can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    text: String,
    multihash: Option<ContentKey>,
}

/// Why a text cannot be read as an address.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AddressError {
    /// A malformed address.
    #[error("not an address: {0}")]
    Illegal(#[from] RoutePrefixError),
    /// Neither an address nor a CID, peer ID or IPNS name.
    #[error("neither an address (`g.providers...`) nor a CID, a peer ID or an IPNS name: {0}")]
    Cid(KeyError),
    /// Not a peer ID, where one is expected.
    #[error("not a peer ID: {0}")]
    Peer(#[from] PeerIdError),
    /// Not an IPNS name, where one is expected.
    #[error("not an IPNS name: {0}")]
    Name(#[from] IpnsNameError),
    /// A path that continues below its root.
    #[error("a path below {0:?} has no address; give the CID that it leads to")]
    Path(String),
}

impl Address {
    /// Parses an address, or a CID (its providers), a peer ID or an IPNS name, also with a prefix
    /// that says which, as in `/ipfs/CID`, `ipfs://CID`, `/p2p/ID`, `/ipns/NAME` and `ipns://NAME`.
    ///
    /// A bare `Qm...` is a CID, a CID of codec libp2p-key an IPNS name.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let after = |prefixes: [&str; 2]| {
            prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)).map(without_path)
        };
        if let Some(cid) = after(["/ipfs/", "ipfs://"]) {
            return Self::of_cid(cid?);
        }
        if let Some(name) = after(["/ipns/", "ipns://"]) {
            return Self::of_name(name?);
        }
        if let Some(peer) = after(["/p2p/", "p2p://"]) {
            return Self::of_peer(peer?);
        }
        match RoutePrefix::parse(text) {
            Ok(prefix) => Ok(Self::of_prefix(&prefix)),
            // Only addresses have dots.
            Err(error) if text.contains('.') => Err(error.into()),
            Err(_) if text.starts_with('1') => Self::of_peer(text),
            Err(_) => match ContentKey::from_libp2p_key_text(text) {
                Ok(_) => Self::of_name(text),
                Err(_) => Self::of_cid(text),
            },
        }
    }

    fn of_cid(text: &str) -> Result<Self, AddressError> {
        let key = ContentKey::from_cid_text(text).map_err(AddressError::Cid)?;
        Ok(Self::of_lookup(&LookupAddress::of_content(&key), &key))
    }

    fn of_peer(text: &str) -> Result<Self, AddressError> {
        let multihash = PeerId::parse(text)?.multihash();
        Ok(Self::of_lookup(&LookupAddress::of_peer_multihash(&multihash), &multihash))
    }

    fn of_name(text: &str) -> Result<Self, AddressError> {
        let name = match IpnsName::parse(text) {
            // Some tools write names in the form of peer IDs.
            Err(IpnsNameError::Bare { name }) => name,
            parsed => parsed?,
        };
        Ok(Self::of_lookup(&LookupAddress::of_name(&name), name.multihash()))
    }

    fn of_lookup(address: &LookupAddress<'_>, multihash: &ContentKey) -> Self {
        Self { text: address.to_string(), multihash: Some(multihash.clone()) }
    }

    fn of_prefix(prefix: &RoutePrefix) -> Self {
        Self { text: prefix.as_str().to_owned(), multihash: whole_sha2_256(prefix) }
    }

    /// The segments, first to last.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.text.split('.')
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The multihash of the only lookup with this address; `None` for a prefix, or a written
    /// address whose digest may be incomplete.
    pub fn multihash(&self) -> Option<&ContentKey> {
        self.multihash.as_ref()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// The multihash of a written address whose digest is a whole SHA2-256, as most are.
fn whole_sha2_256(prefix: &RoutePrefix) -> Option<ContentKey> {
    let digits = KINDS.iter().find_map(|kind| {
        prefix.as_str().strip_prefix(&format!("{FIRST_SEGMENT}.{kind}.sha2-256."))
    })?;
    let is_digits = digits.split('.').all(|digit| NIBBLES.contains(&digit));
    let digest = Base::Base16Lower.decode(digits.replace('.', "")).ok()?;
    let is_whole = is_digits && digest.len() == 32;
    is_whole.then(|| ContentKey::from_multihash(&[&[0x12, 0x20], &*digest].concat()).ok()).flatten()
}

/// The root of a path that has nothing below it; browsers append a slash.
fn without_path(text: &str) -> Result<&str, AddressError> {
    match text.split_once('/') {
        None => Ok(text),
        Some((first, "")) => Ok(first),
        Some((first, _)) => Err(AddressError::Path(first.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CID: &str = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi";
    const ADDRESS: &str = "g.providers.sha2-256.c.3.c.4.7.3.3.e.c.8.a.f.f.d.0.6.c.f.9.e.9.f.f.5.0.f.f.c.6.b.c.d.2.e.c.8.5.a.6.1.7.0.0.0.4.b.b.7.0.9.6.6.9.c.3.1.d.e.9.4.3.9.1.a";
    const PEER: &str = "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z";

    fn multihash(code: u64, digest: &[u8]) -> ContentKey {
        let mut bytes = unsigned_varint::encode::u64(code, &mut Default::default()).to_vec();
        let length = digest.len() as u64;
        bytes.extend_from_slice(unsigned_varint::encode::u64(length, &mut Default::default()));
        bytes.extend_from_slice(digest);
        ContentKey::from_multihash(&bytes).unwrap()
    }

    #[test]
    fn only_the_first_segments_of_addresses_can_match() {
        let can = |text: &str| can_match(text.split('.'));
        for (end, _) in ADDRESS.match_indices('.') {
            assert!(can(&ADDRESS[..end]), "{end}");
        }
        for text in ["g", "g.ipns", "g.peers.identity.0", "g.providers.blake2b-256.f.f", ADDRESS] {
            assert!(can(text), "{text}");
        }
        for text in [
            "",
            "private",
            "g.foo",
            "g.providers.sha2-256.z",
            "g.providers.sha2-256.C",
            "g.providers.sha3",
            "g.providers.sha2-256.cc",
        ] {
            assert!(!can(text), "{text}");
        }
    }

    /// The address of the parsed text, without its digest.
    fn head(text: &str) -> String {
        let address = Address::parse(text).unwrap();
        address.segments().take(3).collect::<Vec<_>>().join(".")
    }

    #[test]
    fn the_address_of_a_cid_is_its_multihash_digit_by_digit() {
        let key = ContentKey::from_cid_text(CID).unwrap();
        assert_eq!(LookupAddress::of_content(&key).to_string(), ADDRESS);
        assert_eq!(Address::parse(CID).unwrap().as_str(), ADDRESS);
        // The same multihash under another codec and in another base.
        let raw = Address::parse(&key.to_cid_text()).unwrap();
        assert_eq!(raw.as_str(), ADDRESS);
        let bare = multibase::Base::Base58Btc.encode(key.as_bytes());
        assert_eq!(Address::parse(&bare).unwrap().as_str(), ADDRESS);
    }

    #[test]
    fn each_kind_of_lookup_has_its_part_of_the_key_space() {
        let multihash = PeerId::parse(PEER).unwrap().multihash();
        let name = IpnsName::from_multihash(multihash.as_bytes()).unwrap().to_string();
        let rsa = "QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3";
        let secp256k1 = "16Uiu2HAmDH1oM6rAJwzfxqtsmDbNm5yESnW98tsFbZ7d3TLoFZuH";
        for (text, expected) in [
            (PEER.to_owned(), "g.peers.identity"),
            (secp256k1.to_owned(), "g.peers.identity"),
            (rsa.to_owned(), "g.providers.sha2-256"),
            (format!("/p2p/{rsa}"), "g.peers.sha2-256"),
            (format!("/p2p/{PEER}"), "g.peers.identity"),
            (format!("/p2p/{name}"), "g.peers.identity"),
            (name.clone(), "g.ipns.identity"),
            (format!("/ipns/{name}"), "g.ipns.identity"),
            (format!("ipns://{name}/"), "g.ipns.identity"),
            (format!("/ipns/{rsa}"), "g.ipns.sha2-256"),
            (format!("/ipns/{PEER}"), "g.ipns.identity"),
            (format!("/ipfs/{CID}"), "g.providers.sha2-256"),
            (format!("ipfs://{CID}/"), "g.providers.sha2-256"),
            (format!("/ipfs/{name}"), "g.providers.identity"),
        ] {
            assert_eq!(head(&text), expected, "{text}");
        }
    }

    #[test]
    fn the_address_of_one_lookup_knows_its_multihash() {
        let key = ContentKey::from_cid_text(CID).unwrap();
        for text in [CID, ADDRESS] {
            assert_eq!(Address::parse(text).unwrap().multihash(), Some(&key), "{text}");
        }
        let peer = PeerId::parse(PEER).unwrap().multihash();
        assert_eq!(Address::parse(PEER).unwrap().multihash(), Some(&peer));
        let shorter = ADDRESS.strip_suffix(".a").unwrap();
        let more = format!("{ADDRESS}.a");
        let joined = ADDRESS.replace("9.1.a", "91a");
        let not_hex = ADDRESS.replace("9.1.a", "9.1.A");
        let of_another = ADDRESS.replace("sha2-256", "sha3-256");
        for text in ["g", shorter, &more, &joined, &not_hex, &of_another] {
            assert_eq!(Address::parse(text).unwrap().multihash(), None, "{text}");
        }
    }

    #[test]
    fn any_legal_prefix_is_an_address() {
        for text in ["g", "g.foo", "test1.a", "local", "private.x_~-Y"] {
            assert_eq!(Address::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_has_no_address_says_why() {
        let starts = |text: &str, start: &str| {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(start), "{text}: {error}");
        };
        let nothing =
            "neither an address (`g.providers...`) nor a CID, a peer ID or an IPNS name: ";
        starts("", &format!("{nothing}empty"));
        starts("hello", nothing);
        starts(&CID[..40], nothing);
        starts("G", nothing);
        starts("g..a", "not an address: a prefix has no empty segments");
        starts("g.a b", "not an address: ' ' cannot stand in a prefix");
        starts("example-of.com", "not an address: ");
        starts("12D3KooW", "not a peer ID: ");
        starts("/p2p/bafkqaaa", "not a peer ID: ");
        starts("/ipns/en.wikipedia-on-ipfs.org", "not an IPNS name: ");
        starts(&format!("/ipfs/{CID}/readme"), &format!("a path below {CID:?}"));
        // A CID of codec libp2p-key with a sha2-256 of one byte.
        starts("f0172120100", "not an IPNS name: ");
    }

    #[test]
    fn a_long_digest_is_cut_after_its_last_whole_segment_that_fits() {
        let digest = [0xab; 1024];
        let address = |digest| LookupAddress::of_content(&multihash(0, digest)).to_string();
        // `g.providers.identity` leaves 1,003 characters: 501 digits.
        assert_eq!(address(&digest).len(), 20 + 2 * 501);
        assert!(address(&digest).ends_with(".b.a"));
        assert_eq!(address(&digest[..250]).len(), 20 + 2 * 500);
        assert_eq!(address(&[]), "g.providers.identity");
        // `g.ipns.0xabcdef012345` leaves an even number of characters, and all are used.
        let unknown = multihash(0xabcd_ef01_2345, &digest);
        let longest = LookupAddress::new("ipns", &unknown).to_string();
        assert_eq!(longest.len(), ADDRESS_CHARS_MAX);
    }

    proptest! {
        #[test]
        fn every_address_is_legal_and_reads_back(
            code in prop_oneof![0..0x40_u64, 0xb200..0xb300_u64, 0..1_u64 << 62],
            digest in proptest::collection::vec(any::<u8>(), 0..1024),
        ) {
            let key = multihash(code, &digest);
            for address in [LookupAddress::of_content(&key), LookupAddress::of_peer_multihash(&key)] {
                let text = address.to_string();
                prop_assert!(text.len() <= ADDRESS_CHARS_MAX);
                let read = Address::parse(&text).unwrap();
                prop_assert!(read.segments().eq(address.segments()));
            }
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = Address::parse(&text);
        }
    }
}
