//! How many announcements a peer may make: a token bucket for every peer, wherever it sends from.
//!
//! Peers are told apart by 64 bits of a hash with a secret key, so that nobody can aim at another's
//! bucket. Where buckets live, and what happens when there are too many: see `buckets`.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;

use governor::Quota;
use governor::clock::{Clock, MonotonicClock};

use super::buckets::{Buckets, ClientKey};
use super::{Limiter, RetryAfterSecs};
use crate::types::PeerId;

/// The limiter of peers; one for the whole process.
pub(in crate::api) struct PeerLimiter<C: Clock = MonotonicClock> {
    limiter: Limiter<C>,
    hasher: RandomState,
}

impl PeerLimiter {
    /// A limiter on the system's monotonic clock, that remembers `peers_max` peers. A peer that was
    /// silent for a minute may make a minute's announcements at once.
    pub(in crate::api) fn new(per_minute: NonZeroU32, peers_max: usize) -> Self {
        Self::with_clock(per_minute, peers_max, MonotonicClock)
    }
}

impl<C: Clock> PeerLimiter<C> {
    fn with_clock(per_minute: NonZeroU32, peers_max: usize, clock: C) -> Self {
        let limiter = Limiter::new(Quota::per_minute(per_minute), Buckets::new(peers_max), clock);
        Self { limiter, hasher: RandomState::new() }
    }

    /// Takes one token from the peer's bucket.
    ///
    /// # Errors
    /// [`RetryAfterSecs`] if the bucket is empty. A refused announcement costs no token.
    pub(in crate::api) fn check(&self, peer: &PeerId) -> Result<(), RetryAfterSecs> {
        let key = ClientKey::of_hash(self.hasher.hash_one(peer));
        self.limiter.check_key(&key).map_err(|refusal| {
            RetryAfterSecs::covering(refusal.wait_time_from(self.limiter.clock().now()))
        })
    }

    /// Frees the buckets that have been full again for the time of a token.
    pub(in crate::api) fn sweep(&self) {
        self.limiter.retain_recent();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn peer(number: u8) -> PeerId {
        let digest = multibase::Base::Base58Btc.encode([&[0x12, 0x20][..], &[number; 32]].concat());
        PeerId::parse(&digest).unwrap()
    }

    fn limiter(peers_max: usize) -> (PeerLimiter<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let per_minute = NonZeroU32::new(6).unwrap();
        (PeerLimiter::with_clock(per_minute, peers_max, clock.clone()), clock)
    }

    fn allowed(limiter: &PeerLimiter<FakeRelativeClock>, peer: &PeerId) -> usize {
        (0..100).take_while(|_| limiter.check(peer).is_ok()).count()
    }

    #[test]
    fn every_peer_has_a_minutes_announcements_and_gets_them_back_with_time() {
        let (limiter, clock) = limiter(10);
        assert_eq!(allowed(&limiter, &peer(1)), 6);
        assert_eq!(limiter.check(&peer(1)).unwrap_err().get(), 10);
        assert_eq!(allowed(&limiter, &peer(2)), 6);
        clock.advance(Duration::from_secs(20));
        assert_eq!(allowed(&limiter, &peer(1)), 2);
    }

    #[test]
    fn peers_past_the_limit_of_memory_share_and_a_sweep_makes_room() {
        let (limiter, clock) = limiter(3);
        let first: Vec<usize> = (0..200).map(|n| allowed(&limiter, &peer(n))).collect();
        assert_eq!((limiter.limiter.len(), &first[..3]), (3, &[6, 6, 6][..]));
        // A minute until they are full, and the time of one more token.
        clock.advance(Duration::from_secs(71));
        limiter.sweep();
        assert_eq!(limiter.limiter.len(), 0);
    }
}
