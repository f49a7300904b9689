//! Whether a payload is signed by the peer that it names.
//!
//! The message that is signed is the SHA-256 digest of the payload's bytes. An Ed25519 key signs it
//! as it is, a secp256k1 key hashes it once more and writes its signature in DER. The key comes out of
//! the peer ID: an identity multihash of at most 42 bytes that holds the key in protobuf. Peer IDs
//! of larger keys (RSA, ECDSA) are hashes of them, so their signatures cannot be checked.

use libp2p_identity::{KeyType, PublicKey};
use multihash_codetable::{Code, MultihashDigest};

use super::error::PutRefusal;
use crate::types::PeerId;

/// The longest text of a signature: the longest one, 72 bytes of DER, takes 577 characters in
/// base 2. Reading base 58 takes time in the square of the length.
const SIGNATURE_TEXT_BYTES_MAX: usize = 1024;

/// The code of the multihash that holds what is hashed.
const IDENTITY: u64 = 0;

pub(super) fn verify(
    peer: &PeerId,
    payload_json: &str,
    signature: Option<&str>,
) -> Result<(), PutRefusal> {
    let signature = signature.filter(|text| !text.is_empty()).ok_or(PutRefusal::Unsigned)?;
    let key = public_key(peer).ok_or_else(|| PutRefusal::NoKey { peer: peer.clone() })?;
    let digest = Code::Sha2_256.digest(payload_json.as_bytes());
    let is_signed =
        signature_bytes(signature).is_some_and(|signature| key.verify(digest.digest(), &signature));
    if is_signed { Ok(()) } else { Err(PutRefusal::Signature { peer: peer.clone() }) }
}

fn signature_bytes(text: &str) -> Option<Vec<u8>> {
    if text.len() > SIGNATURE_TEXT_BYTES_MAX {
        return None;
    }
    multibase::decode(text).ok().map(|(_, bytes)| bytes)
}

fn public_key(peer: &PeerId) -> Option<PublicKey> {
    let peer: libp2p_identity::PeerId = peer.as_str().parse().ok()?;
    let multihash = peer.as_ref();
    if multihash.code() != IDENTITY {
        return None;
    }
    let key = PublicKey::try_decode_protobuf(multihash.digest()).ok()?;
    let is_known = matches!(key.key_type(), KeyType::Ed25519 | KeyType::Secp256k1);
    // One key has one ID: another protobuf encoding of it would be another peer.
    (is_known && key.to_peer_id() == peer).then_some(key)
}
