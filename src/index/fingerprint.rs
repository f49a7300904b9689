//! Fingerprints: what the index knows a key by.
//!
//! A fingerprint is SipHash-1-3 (128 bits) over the bytes of the multihash, under a secret chosen at
//! random for each index, cut to 96 bits. Announcements need no proof of content, so multihashes
//! are chosen by whoever announces; without the secret nobody can choose fingerprints. All
//! placement, in shards and inside them, comes from the fingerprint, never from the digest.
//!
//! Two keys that share a fingerprint are one key to the index: a lookup of either finds the records
//! of both. [`FINGERPRINT_BITS`] holds the sum that makes this rarer than a flipped bit.
//!
//! ```text
//! bit 95                                                                  0
//!     | shard (8) | place inside the shard (32) | the rest, compared (56) |
//! ```

use siphasher::sip128::SipHasher13;

use crate::types::ContentKey;

/// How many bits of the hash a fingerprint keeps. A lookup of a key that is not there meets one
/// of n entries by chance with probability n / 2^96: at 10^9 entries 1.3 * 10^-20 a lookup, or one
/// wrong answer in 2.5 million years at a million lookups a second.
pub(super) const FINGERPRINT_BITS: u32 = 96;

/// The shards of an index, as a power of two. With 50M entries a shard is a table of 4 MB, most of it
/// in huge pages; with 200M it has 17 MB, which are copied in 10 ms when it grows, and only other
/// announcements for the same shard wait for that.
pub(super) const SHARD_BITS: u32 = 8;

/// The fingerprint of a key. Ordered as a number: first by shard, then by place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Fingerprint {
    high: u64,
    low: u32,
}

/// Computes the fingerprints of one index.
#[derive(Clone)]
pub(super) struct Fingerprinter {
    hasher: SipHasher13,
    cut: u32,
}

impl Fingerprint {
    pub(super) const fn new(high: u64, low: u32) -> Self {
        Self { high, low }
    }

    /// The first 64 bits.
    pub(super) fn high(&self) -> u64 {
        self.high
    }

    /// The other 32, which have no part in placement.
    pub(super) fn low(&self) -> u32 {
        self.low
    }

    /// Which shard the key belongs to.
    pub(super) fn shard(&self) -> usize {
        (self.high >> (64 - SHARD_BITS)) as usize
    }

    /// Where the key belongs inside its shard, as a fraction of 2^32.
    pub(super) fn place(&self) -> u32 {
        (self.high << SHARD_BITS >> 32) as u32
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}{:08x}", self.high, self.low)
    }
}

impl Fingerprinter {
    /// Fingerprints under a new secret. `bits`: how many bits count, [`FINGERPRINT_BITS`] but in
    /// tests of what happens when fingerprints collide.
    pub(super) fn new(bits: u32) -> Self {
        let hasher = SipHasher13::new_with_keys(rand::random(), rand::random());
        Self { hasher, cut: 128 - bits.min(FINGERPRINT_BITS) }
    }

    /// The fingerprint of a key.
    pub(super) fn of(&self, key: &ContentKey) -> Fingerprint {
        self.of_multihash(key.as_bytes())
    }

    /// The fingerprint of the key with these bytes.
    pub(super) fn of_multihash(&self, multihash: &[u8]) -> Fingerprint {
        let kept = self.hasher.hash(multihash).as_u128() >> self.cut << self.cut;
        Fingerprint::new((kept >> 64) as u64, (kept >> 32) as u32)
    }
}

impl std::fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the secret.
        f.debug_struct("Fingerprinter").field("bits", &(128 - self.cut)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> ContentKey {
        let bytes = [&[0x12, 0x20][..], &number.to_be_bytes(), &[0; 28]].concat();
        ContentKey::from_multihash(&bytes).unwrap()
    }

    #[test]
    fn shard_place_and_order_agree() {
        let fingerprint = Fingerprint::new(0xab12_3456_78ff_ffff, 7);
        assert_eq!(fingerprint.shard(), 0xab);
        assert_eq!(fingerprint.place(), 0x1234_5678);
        assert!(fingerprint < Fingerprint::new(0xab12_3456_78ff_ffff, 8));
        assert!(fingerprint < Fingerprint::new(0xab12_3456_7900_0000, 0));
    }

    #[test]
    fn the_secret_decides() {
        let (one, other) = (Fingerprinter::new(96), Fingerprinter::new(96));
        assert_eq!(one.of(&key(1)), one.of(&key(1)));
        assert_ne!(one.of(&key(1)), one.of(&key(2)));
        assert_ne!(one.of(&key(1)), other.of(&key(1)));
        assert!(!format!("{one:?}").contains("hasher"));
    }

    #[test]
    fn a_narrow_fingerprint_has_few_values() {
        let narrow = Fingerprinter::new(8);
        let mut seen: Vec<_> = (0..5_000).map(|number| narrow.of(&key(number))).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 256);
    }
}
