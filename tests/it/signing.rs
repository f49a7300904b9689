//! Providers that announce themselves: keys, payloads and signatures.

use libp2p_identity::{Keypair, secp256k1};
use multibase::Base;
use multihash_codetable::{Code, MultihashDigest};
use serde_json::{Value, json};

use super::harness::NOW_MS;

/// The request of draft IPIP-0526's test vector, as it goes over the wire.
pub(crate) const VECTOR: &str = concat!(
    r#"{"Providers":[{"Schema":"bitswap","Protocol":"transport-bitswap","#,
    r#""Signature":"mlGWqELZSoVjY22w6NxT7TuNUj5BmQRlrv/x27jQHo5pM3CYZRlJ834bi0UazFuXlH2SuMBxdwfELdXXwVkjZBQ","#,
    r#""Payload":{"Keys":["bafkreigur6gzxm3ykiol7ywou3iy3obruzs2q7boizj7oznznid34dzc3e"],"Timestamp":1725833163372,"AdvisoryTTL":86400000000000,"#,
    r#""ID":"12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z","Addrs":["/ip4/198.51.100.1/tcp/4001","/ip4/198.51.100.1/udp/4001/quic-v1"]}}]}"#
);

/// The CID that it announces.
pub(crate) const VECTOR_CID: &str = "bafkreigur6gzxm3ykiol7ywou3iy3obruzs2q7boizj7oznznid34dzc3e";

/// When it was made.
pub(crate) const VECTOR_MS: u64 = 1_725_833_163_372;

pub(crate) const HOUR_MS: u64 = 3_600_000;

/// A provider with a key.
pub(crate) struct Provider(Keypair);

impl Provider {
    pub(crate) fn ed25519(number: u8) -> Self {
        Self(Keypair::ed25519_from_bytes([number; 32]).unwrap())
    }

    /// One of very many.
    pub(crate) fn numbered(number: u32) -> Self {
        let mut seed = [7; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        Self(Keypair::ed25519_from_bytes(seed).unwrap())
    }

    pub(crate) fn secp256k1(number: u8) -> Self {
        let secret = secp256k1::SecretKey::try_from_bytes([number; 32]).unwrap();
        Self(secp256k1::Keypair::from(secret).into())
    }

    pub(crate) fn id(&self) -> String {
        self.0.public().to_peer_id().to_base58()
    }

    /// Some keys and addresses, announced at [`NOW_MS`] for 24 hours.
    pub(crate) fn payload(&self, keys: &[&str], addrs: &[&str]) -> Value {
        json!({
            "Keys": keys, "Timestamp": NOW_MS, "AdvisoryTTL": 24 * HOUR_MS * 1_000_000,
            "ID": self.id(), "Addrs": addrs,
        })
    }

    /// One record of a request, with a payload of any text.
    pub(crate) fn record(&self, payload: &str) -> String {
        let digest = Code::Sha2_256.digest(payload.as_bytes());
        let signature = multibase::encode(Base::Base64, self.0.sign(digest.digest()).unwrap());
        format!(
            r#"{{"Schema":"bitswap","Protocol":"transport-bitswap","Signature":"{signature}","Payload":{payload}}}"#
        )
    }

    /// A whole request with one payload.
    pub(crate) fn request(&self, payload: &Value) -> String {
        together(&[self.record(&payload.to_string())])
    }

    /// A whole request with some keys and addresses, announced at a moment for some hours.
    pub(crate) fn announcement(
        &self,
        keys: &[&str],
        addrs: &[&str],
        timestamp_ms: u64,
        hours: u64,
    ) -> String {
        let mut payload = self.payload(keys, addrs);
        payload["Timestamp"] = timestamp_ms.into();
        payload["AdvisoryTTL"] = (hours * HOUR_MS * 1_000_000).into();
        self.request(&payload)
    }
}

/// A request with these records.
pub(crate) fn together(records: &[String]) -> String {
    format!(r#"{{"Providers":[{}]}}"#, records.join(","))
}
