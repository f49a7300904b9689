//! Verifies a block against the hash in its CID.

use multihash_codetable::{Code, MultihashDigest};

use crate::types::ContentKey;

/// Digests truncated below this prove nothing: a collision is feasible.
const DIGEST_BYTES_MIN: usize = 16;

/// The result of verifying a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockCheck {
    /// The content matches the hash.
    Matches,
    /// It does not.
    Differs,
    /// Unverifiable: an unknown hash function, or a digest truncated too short.
    Unverifiable,
}

pub(super) fn check_block(key: &ContentKey, data: &[u8]) -> BlockCheck {
    let is_as_said = if key.is_identity() {
        key.digest() == data
    } else {
        let Ok(code) = Code::try_from(key.hash_code()) else { return BlockCheck::Unverifiable };
        if key.digest().len() < DIGEST_BYTES_MIN {
            return BlockCheck::Unverifiable;
        }
        // A multihash may hold a truncated digest.
        code.digest(data).digest().starts_with(key.digest())
    };
    if is_as_said { BlockCheck::Matches } else { BlockCheck::Differs }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: u64, digest: &[u8]) -> ContentKey {
        let mut bytes = Vec::new();
        let mut buffer = unsigned_varint::encode::u64_buffer();
        bytes.extend_from_slice(unsigned_varint::encode::u64(code, &mut buffer));
        bytes.push(digest.len().try_into().unwrap());
        bytes.extend_from_slice(digest);
        ContentKey::from_multihash(&bytes).unwrap()
    }

    #[test]
    fn every_known_hash_is_checked() {
        const CODES: [u64; 10] =
            [0x12, 0x13, 0x14, 0x16, 0x1b, 0x1e, 0xb220, 0xb240, 0xb250, 0xb260];
        for code in CODES {
            let digest = Code::try_from(code).unwrap().digest(b"content");
            let key = key(code, digest.digest());
            assert_eq!(check_block(&key, b"content"), BlockCheck::Matches, "{code:x}");
            assert_eq!(check_block(&key, b"Content"), BlockCheck::Differs, "{code:x}");
        }
    }

    #[test]
    fn an_identity_hash_is_the_content() {
        assert_eq!(check_block(&key(0, b"content"), b"content"), BlockCheck::Matches);
        assert_eq!(check_block(&key(0, b"content"), b"conten"), BlockCheck::Differs);
        assert_eq!(check_block(&key(0, b""), b"content"), BlockCheck::Differs);
    }

    #[test]
    fn a_cut_digest_is_compared_as_far_as_it_goes_unless_it_proves_nothing() {
        let digest = Code::Sha2_256.digest(b"content");
        let cut = key(0x12, &digest.digest()[..16]);
        assert_eq!(check_block(&cut, b"content"), BlockCheck::Matches);
        assert_eq!(check_block(&cut, b"other"), BlockCheck::Differs);
        let short = key(0x12, &digest.digest()[..15]);
        assert_eq!(check_block(&short, b"content"), BlockCheck::Unverifiable);
        let long = key(0x12, &[digest.digest(), b"x"].concat());
        assert_eq!(check_block(&long, b"content"), BlockCheck::Differs);
    }

    #[test]
    fn an_unknown_hash_function_says_nothing() {
        assert_eq!(check_block(&key(0x99, &[7; 32]), b"content"), BlockCheck::Unverifiable);
    }
}
