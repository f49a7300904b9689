//! How many announcements a peer may make: a token bucket for every peer, wherever it sends from.
//!
//! Peers are identified by 64 bits of a hash with a secret key, so that no peer can aim at
//! another's bucket. Where buckets live, and what happens when there are too many: see `buckets`.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::time::Duration;

use super::buckets::ClientKey;
use super::{KeyedLimiter, Quota, RetryAfterSecs};
use crate::clock::UnixMs;
use crate::types::PeerId;

/// The limiter of peers; one for the whole process.
pub(in crate::api) struct PeerLimiter {
    limiter: KeyedLimiter,
    hasher: RandomState,
}

impl PeerLimiter {
    /// A limiter that remembers `peers_max` peers. A peer that was silent for a minute may
    /// make a minute's announcements at once.
    pub(in crate::api) fn new(per_minute: NonZeroU32, peers_max: usize) -> Self {
        let quota = Quota::new(per_minute, Duration::from_mins(1), per_minute);
        Self { limiter: KeyedLimiter::new(quota, peers_max), hasher: RandomState::new() }
    }

    /// Takes one token from the peer's bucket.
    ///
    /// # Errors
    /// [`RetryAfterSecs`] if the bucket is empty. A refused announcement costs no token.
    pub(in crate::api) fn check(
        &self,
        peer: &PeerId,
        now_ms: UnixMs,
    ) -> Result<(), RetryAfterSecs> {
        self.limiter.check(ClientKey::of_hash(self.hasher.hash_one(peer)), now_ms)
    }

    /// Frees the buckets that are full again.
    pub(in crate::api) fn sweep(&self, now_ms: UnixMs) {
        self.limiter.sweep(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: UnixMs = 1_000_000;

    fn peer(number: u8) -> PeerId {
        let digest = multibase::Base::Base58Btc.encode([&[0x12, 0x20][..], &[number; 32]].concat());
        PeerId::parse(&digest).unwrap()
    }

    fn limiter(peers_max: usize) -> PeerLimiter {
        PeerLimiter::new(NonZeroU32::new(6).unwrap(), peers_max)
    }

    fn allowed(limiter: &PeerLimiter, peer: &PeerId, now_ms: UnixMs) -> usize {
        (0..100).take_while(|_| limiter.check(peer, now_ms).is_ok()).count()
    }

    #[test]
    fn every_peer_has_a_minutes_announcements_and_gets_them_back_with_time() {
        let limiter = limiter(10);
        assert_eq!(allowed(&limiter, &peer(1), NOW_MS), 6);
        assert_eq!(limiter.check(&peer(1), NOW_MS).unwrap_err().get(), 10);
        assert_eq!(allowed(&limiter, &peer(2), NOW_MS), 6);
        assert_eq!(allowed(&limiter, &peer(1), NOW_MS + 20_000), 2);
    }

    #[test]
    fn peers_past_the_limit_of_memory_share_and_a_sweep_makes_room() {
        let limiter = limiter(3);
        let first: Vec<usize> = (0..200).map(|n| allowed(&limiter, &peer(n), NOW_MS)).collect();
        assert_eq!((limiter.limiter.buckets.len(), &first[..3]), (3, &[6, 6, 6][..]));
        limiter.sweep(NOW_MS + 60_000);
        assert_eq!(limiter.limiter.buckets.len(), 0);
    }
}
