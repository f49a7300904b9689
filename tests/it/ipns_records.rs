//! Publishing: names, and records that their keys sign, as publishers make them.

use std::collections::BTreeMap;

use fingerpost::types::{IpnsName, IpnsRecord};
use ipld_core::ipld::Ipld;
use libp2p_identity::{Keypair, ecdsa, secp256k1};
use prost::Message;

/// Whoever has the key of a name.
pub(crate) struct Publisher {
    key: Keypair,
    pub(crate) name: IpnsName,
}

/// What a record says. The default is sound, and valid for a day after the tests' time.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) value: &'static str,
    pub(crate) sequence: u64,
    pub(crate) end: String,
    pub(crate) ttl_ns: Option<u64>,
}

impl Default for Statement {
    fn default() -> Self {
        Self {
            value: "/ipfs/bafkqaddwgevxmmraojswg33smq",
            sequence: 1,
            end: "2026-01-02T00:00:00.000000000Z".to_owned(),
            ttl_ns: Some(300_000_000_000),
        }
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
    pub_key: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "8")]
    signature_v2: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "9")]
    data: Option<Vec<u8>>,
}

impl Publisher {
    fn new(key: Keypair) -> Self {
        let name = IpnsName::from_multihash(&key.public().to_peer_id().to_bytes()).unwrap();
        Self { key, name }
    }

    /// The `number`th of any number of publishers.
    pub(crate) fn ed25519(number: u32) -> Self {
        let mut seed = [1; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        Self::new(Keypair::ed25519_from_bytes(seed).unwrap())
    }

    pub(crate) fn secp256k1() -> Self {
        let secret = secp256k1::SecretKey::try_from_bytes([2; 32]).unwrap();
        Self::new(secp256k1::Keypair::from(secret).into())
    }

    pub(crate) fn ecdsa() -> Self {
        let secret = ecdsa::SecretKey::try_from_bytes([3; 32]).unwrap();
        Self::new(ecdsa::Keypair::from(secret).into())
    }

    pub(crate) fn rsa() -> Self {
        let mut key = include_bytes!("../fixtures/ipns/rsa-2048.pk8").to_vec();
        Self::new(Keypair::rsa_from_pkcs8(&mut key).unwrap())
    }

    /// A record of both versions, as Kubo makes it.
    pub(crate) fn sign(&self, statement: &Statement) -> Vec<u8> {
        let Statement { value, sequence, end, ttl_ns } = statement;
        let mut fields = BTreeMap::from([
            ("Value".to_owned(), Ipld::Bytes(value.as_bytes().to_vec())),
            ("Validity".to_owned(), Ipld::Bytes(end.as_bytes().to_vec())),
            ("ValidityType".to_owned(), Ipld::Integer(0)),
            ("Sequence".to_owned(), Ipld::Integer((*sequence).into())),
        ]);
        fields.extend(ttl_ns.map(|ttl| ("TTL".to_owned(), Ipld::Integer(ttl.into()))));
        let data = serde_ipld_dagcbor::to_vec(&Ipld::Map(fields)).unwrap();
        let sign = |bytes: &[u8]| Some(self.key.sign(bytes).unwrap());
        let entry = Entry {
            value: Some(value.as_bytes().to_vec()),
            signature_v1: sign(&[value.as_bytes(), end.as_bytes(), b"0"].concat()),
            validity_type: Some(0),
            validity: Some(end.as_bytes().to_vec()),
            sequence: Some(*sequence),
            ttl: *ttl_ns,
            pub_key: Some(self.key.public().encode_protobuf()),
            signature_v2: sign(&[b"ipns-signature:", data.as_slice()].concat()),
            data: Some(data),
        };
        entry.encode_to_vec()
    }

    /// The verified record of a sequence and an end.
    pub(crate) fn record(&self, sequence: u64, end: &str) -> IpnsRecord {
        let end = end.to_owned();
        let bytes = self.sign(&Statement { sequence, end, ..Statement::default() });
        IpnsRecord::verify(&bytes, &self.name).unwrap()
    }

    /// Where the name's record is.
    pub(crate) fn path(&self) -> String {
        format!("/routing/v1/ipns/{}", self.name)
    }
}
