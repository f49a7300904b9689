//! One signed record of an IPNS name: how it is read, verified and compared with another.

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use libp2p_identity::PublicKey;
use multihash_codetable::{Code, MultihashDigest};
use prost::Message;
use thiserror::Error;

use super::data::SignedData;
use super::name::IpnsName;
use super::validity::EndOfValidity;

/// The largest record that is read, in bytes: the limit of the IPNS record specification.
pub(crate) const IPNS_RECORD_BYTES_MAX: usize = 10 * 1024;

/// Prefix of the signed data: separates the domain of these signatures from all others.
const SIGNATURE_PREFIX: &[u8] = b"ipns-signature:";

/// The longest public key that a name inlines, in bytes; longer ones are hashed.
const INLINED_KEY_BYTES_MAX: usize = 42;

/// The code of an identity multihash.
const IDENTITY: u8 = 0;

/// A record that its name's key has signed. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct IpnsRecord {
    name: IpnsName,
    bytes: Bytes,
    signed: SignedData,
}

/// Why bytes are not a record of a name.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IpnsError {
    /// More bytes than a record may have.
    #[error("{0} bytes, an IPNS record has at most {IPNS_RECORD_BYTES_MAX}")]
    TooLarge(usize),
    /// Not the protobuf of a record.
    #[error("not the protobuf of an IPNS record: {reason}")]
    Protobuf {
        /// What the decoder says.
        reason: String,
    },
    /// Signed in the way of version 1 only, or not at all.
    #[error("there is no signatureV2 over data; records of version 1 alone are not accepted")]
    VersionOneOnly,
    /// The name is a hash of its key, and the record does not bring the key.
    #[error("there is no pubKey, and the name is only a hash of it")]
    KeyMissing,
    /// The record brings the key of another name.
    #[error("pubKey is the key of another name")]
    KeyOfAnother,
    /// The key is of no kind that is known, or broken.
    #[error("the public key cannot be read: {reason}")]
    Key {
        /// What the decoder says.
        reason: String,
    },
    /// The signature is not one of the name's key over the data.
    #[error("signatureV2 is not by the name's key over data (RSA keys count from 2,048 bits on)")]
    Signature,
    /// The signed data is not a DAG-CBOR map.
    #[error("data is not a map in strict DAG-CBOR: {reason}")]
    DataForm {
        /// What the decoder says.
        reason: String,
    },
    /// A field of the signed data is missing or says nothing that has a meaning.
    #[error("{field} in data: {reason}")]
    DataField {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A field of version 1 says something else than the signed data.
    #[error("{field} outside data is not what data says")]
    Disagrees {
        /// Which.
        field: &'static str,
    },
}

impl IpnsRecord {
    /// Reads the record of a name, and checks that the name's key signed it.
    pub fn verify(bytes: &[u8], name: &IpnsName) -> Result<Self, IpnsError> {
        let entry = Entry::parse(bytes)?;
        let (signature, data) = entry.signed()?;
        let key = entry.key_of(name)?;
        if !key.verify(&[SIGNATURE_PREFIX, data].concat(), signature) {
            return Err(IpnsError::Signature);
        }
        Self::from_entry(&entry, bytes, name)
    }

    /// Reads bytes that [`IpnsRecord::verify`] accepted before, without verifying the signature
    /// again: for stores, which keep verified records only.
    pub fn restore(bytes: &[u8], name: &IpnsName) -> Result<Self, IpnsError> {
        Self::from_entry(&Entry::parse(bytes)?, bytes, name)
    }

    fn from_entry(entry: &Entry, bytes: &[u8], name: &IpnsName) -> Result<Self, IpnsError> {
        let signed = SignedData::parse(entry.signed()?.1)?;
        entry.agrees_with(&signed)?;
        Ok(Self { name: name.clone(), bytes: Bytes::copy_from_slice(bytes), signed })
    }

    /// Whose record it is.
    pub(crate) fn name(&self) -> &IpnsName {
        &self.name
    }

    /// The record's bytes as received.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The path that the name stands for, as a rule UTF-8.
    pub fn value(&self) -> &[u8] {
        &self.signed.value
    }

    /// Greater in a newer record.
    pub fn sequence(&self) -> u64 {
        self.signed.sequence
    }

    /// From when on the record does not count.
    pub fn end_of_validity(&self) -> EndOfValidity {
        self.signed.end
    }

    /// How long the record may be cached; `None`: it does not say.
    pub fn ttl(&self) -> Option<Duration> {
        self.signed.ttl_ns.map(Duration::from_nanos)
    }

    /// Which of two records of one name counts: the greater one. Higher sequence, then later end of
    /// validity; where both are the same, the signed data decides, so that all servers choose alike.
    /// Equal: both say the same, though what is not signed may differ.
    pub fn cmp_precedence(&self, other: &Self) -> Ordering {
        let rank = |record: &Self| (record.signed.sequence, record.signed.end);
        rank(self).cmp(&rank(other)).then_with(|| self.signed.tie().cmp(&other.signed.tie()))
    }
}

impl fmt::Debug for IpnsRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IpnsRecord")
            .field("name", &self.name)
            .field("sequence", &self.signed.sequence)
            .field("end", &self.signed.end)
            .field("value", &String::from_utf8_lossy(&self.signed.value))
            .finish_non_exhaustive()
    }
}

impl SignedData {
    /// Orders records of one sequence and one end.
    fn tie(&self) -> (&[u8], Option<u64>, &[u8]) {
        (&self.value, self.ttl_ns, &self.validity)
    }
}

/// The protobuf of a record.
#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(bytes = "vec", optional, tag = "1")]
    value: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    signature_v1: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "3")]
    validity_type: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "4")]
    validity: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "5")]
    sequence: Option<u64>,
    #[prost(uint64, optional, tag = "6")]
    ttl: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "7")]
    public_key: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "8")]
    signature_v2: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "9")]
    data: Option<Vec<u8>>,
}

impl Entry {
    fn parse(bytes: &[u8]) -> Result<Self, IpnsError> {
        if bytes.len() > IPNS_RECORD_BYTES_MAX {
            return Err(IpnsError::TooLarge(bytes.len()));
        }
        Self::decode(bytes).map_err(|error| IpnsError::Protobuf { reason: error.to_string() })
    }

    /// The signature of version 2, and what it is over.
    fn signed(&self) -> Result<(&[u8], &[u8]), IpnsError> {
        match (self.signature_v2.as_deref(), self.data.as_deref()) {
            (Some([]) | None, _) | (_, Some([]) | None) => Err(IpnsError::VersionOneOnly),
            (Some(signature), Some(data)) => Ok((signature, data)),
        }
    }

    /// The key of a name, from the name or from the record.
    fn key_of(&self, name: &IpnsName) -> Result<PublicKey, IpnsError> {
        let sent = self.public_key.as_deref().filter(|key| !key.is_empty());
        if sent.is_some_and(|key| multihash_of_key(key) != name.as_bytes()) {
            return Err(IpnsError::KeyOfAnother);
        }
        let encoded = sent.or(name.inlined_key()).ok_or(IpnsError::KeyMissing)?;
        PublicKey::try_decode_protobuf(encoded)
            .map_err(|error| IpnsError::Key { reason: error.to_string().to_lowercase() })
    }

    /// Checks that fields of version 1 equal the signed data. In a record that has a value or a
    /// signature of version 1, a missing field means 0 or empty, as other implementations read it.
    fn agrees_with(&self, signed: &SignedData) -> Result<(), IpnsError> {
        let is_version_one = self.value.is_some() || self.signature_v1.is_some();
        let bytes = |field: &Option<Vec<u8>>, signed: &[u8]| match field {
            Some(bytes) => bytes.as_slice() == signed,
            None => !is_version_one || signed.is_empty(),
        };
        let number = |field: Option<u64>, signed: u64| match field {
            Some(number) => number == signed,
            None => !is_version_one || signed == 0,
        };
        let fields = [
            ("value", bytes(&self.value, &signed.value)),
            ("validity", bytes(&self.validity, &signed.validity)),
            ("validityType", number(self.validity_type, 0)),
            ("sequence", number(self.sequence, signed.sequence)),
            ("ttl", number(self.ttl, signed.ttl_ns.unwrap_or(0))),
        ];
        match fields.into_iter().find(|(_, agrees)| !agrees) {
            Some((field, _)) => Err(IpnsError::Disagrees { field }),
            None => Ok(()),
        }
    }
}

/// The multihash that is the name of a key, from the bytes in which libp2p encodes it.
fn multihash_of_key(encoded: &[u8]) -> Vec<u8> {
    match u8::try_from(encoded.len()) {
        Ok(length) if encoded.len() <= INLINED_KEY_BYTES_MAX => {
            [&[IDENTITY, length], encoded].concat()
        }
        _ => Code::Sha2_256.digest(encoded).to_bytes(),
    }
}

/// The bytes of a record of this data, with an invalid signature.
#[cfg(test)]
pub(super) fn unsigned(data: Vec<u8>) -> Vec<u8> {
    let signature_v2 = Some(b"unsigned".to_vec());
    Entry { signature_v2, data: Some(data), ..Entry::default() }.encode_to_vec()
}

#[cfg(test)]
mod tests;
