//! Where the buckets live: a sharded table that never holds more than a fixed number.
//!
//! A bucket is one number, the time at which it will be full again. So a bucket whose time has
//! passed says the same as none at all, and the sweep may drop it. (Should a request have read the
//! clock, and then stood still until a later sweep had dropped its bucket, it counts from its own,
//! earlier time: a gift of the time that it stood still.)
//!
//! While the table is full, a client who has no bucket in it shares one of [`OVERFLOW_BUCKETS`]
//! with others: those of its own wider network (IPv4 /16, IPv6 /32) and whoever falls on the same
//! place. Each of these has the allowance of one client. The consequences: who is in the table
//! notices nothing; a flood from one network spends that network's shared bucket, and newcomers
//! from elsewhere mostly still get through; under a flood from everywhere newcomers are refused
//! until a sweep has made room; a client who moves from a shared bucket into the table starts there
//! with a full one, once.
//!
//! Places are chosen by a hash with a secret key, so that nobody can aim at a shard or at a shared
//! bucket. No operation but the sweep depends on the number of clients. Nothing here fails.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashTable;
use parking_lot::Mutex;

use super::UnixNs;

/// Enough that two of some dozens of workers seldom meet; a power of two.
const SHARDS: usize = 64;

/// 1,024 wider networks without a collision in the common case, in 32 kB; a power of two.
const OVERFLOW_BUCKETS: usize = 1_024;

/// Places that a shard keeps when it is emptied: only what a flood has left behind is given back, so
/// that a usual load does not pay for growth again and again.
const ROOM_KEPT: usize = 128;

/// Whom a bucket belongs to, in 64 bits: the upper half of an IPv6 address, or an IPv4 address below
/// [`IPV4_HOME`]; or, in a limiter of peers, a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClientKey(u64);

/// Within ff00::/8, IPv6 multicast, which is never a source address.
const IPV4_HOME: u64 = 0xff00_0000_0000_0000;

impl ClientKey {
    pub(super) fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(address) => Self(IPV4_HOME | u64::from(address.to_bits())),
            IpAddr::V6(address) => Self((address.to_bits() >> 64) as u64),
        }
    }

    /// The key of whoever is known by a hash; the wider network is then half of the hash.
    pub(super) fn of_hash(hash: u64) -> Self {
        Self(hash)
    }

    /// The network within which clients share while the table is full: what a single holder of
    /// addresses commonly has at most, an IPv4 /16 or an IPv6 /32.
    fn wider_network(self) -> u64 {
        if self.0 & IPV4_HOME == IPV4_HOME { self.0 >> 16 } else { self.0 >> 32 }
    }
}

#[derive(Clone, Copy)]
struct Bucket {
    client: ClientKey,
    full_at: UnixNs,
}

/// On a cache line of its own: locks of neighbours would slow each other.
#[derive(Default)]
#[repr(align(64))]
struct BucketShard(Mutex<HashTable<Bucket>>);

/// All buckets of a limiter.
pub(super) struct Buckets {
    shards: Box<[BucketShard]>,
    overflow: Box<[Mutex<Option<UnixNs>>]>,
    hasher: RandomState,
    clients_max: usize,
    clients: AtomicUsize,
}

impl Buckets {
    /// An empty table for at most `clients_max` clients.
    pub(super) fn new(clients_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| BucketShard::default()).collect(),
            overflow: (0..OVERFLOW_BUCKETS).map(|_| Mutex::new(None)).collect(),
            hasher: RandomState::new(),
            clients_max,
            clients: AtomicUsize::new(0),
        }
    }

    /// Counts one more bucket, if there is room for it.
    fn add_client(&self) -> bool {
        // Read first: in a full table this line is shared by all workers, and need not be written.
        self.clients.load(Ordering::Relaxed) < self.clients_max
            && self
                .clients
                .try_update(Ordering::Relaxed, Ordering::Relaxed, |clients| {
                    (clients < self.clients_max).then_some(clients + 1)
                })
                .is_ok()
    }

    fn release(&self, clients: usize) {
        self.clients.fetch_sub(clients, Ordering::Relaxed);
    }

    /// The shard of a hash. The table within uses the lowest and the highest bits.
    fn shard(&self, hash: u64) -> &BucketShard {
        place(&self.shards, hash >> 32)
    }

    /// Replaces the time at which the client's bucket is full by what `take` makes of it, unless that
    /// fails; `None`: there is no bucket, which is as good as a full one.
    ///
    /// # Errors
    /// That of `take`.
    pub(super) fn update<E>(
        &self,
        client: ClientKey,
        take: impl Fn(Option<UnixNs>) -> Result<UnixNs, E>,
    ) -> Result<(), E> {
        let hash = self.hasher.hash_one(client);
        let mut shard = self.shard(hash).0.lock();
        if let Some(bucket) = shard.find_mut(hash, |bucket| bucket.client == client) {
            bucket.full_at = take(Some(bucket.full_at))?;
            return Ok(());
        }
        if !self.add_client() {
            drop(shard);
            let network = self.hasher.hash_one(client.wider_network());
            let mut full_at = place(&self.overflow, network).lock();
            *full_at = Some(take(*full_at)?);
            return Ok(());
        }
        let full_at = take(None).inspect_err(|_| self.release(1))?;
        let bucket = Bucket { client, full_at };
        shard.insert_unique(hash, bucket, |bucket| self.hasher.hash_one(bucket.client));
        Ok(())
    }

    /// Drops the buckets that are full.
    pub(super) fn drop_full(&self, now: UnixNs) {
        for shard in &self.shards {
            let mut shard = shard.0.lock();
            let before = shard.len();
            shard.retain(|bucket| bucket.full_at > now);
            self.release(before - shard.len());
            let room = (shard.len() * 2).max(ROOM_KEPT);
            if shard.capacity() / 4 > room {
                shard.shrink_to(room, |bucket| self.hasher.hash_one(bucket.client));
            }
        }
    }

    /// Buckets that are not shared.
    pub(super) fn len(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }
}

/// The place for a hash among a power of two of them.
fn place<T>(places: &[T], hash: u64) -> &T {
    let mask = places.len() - 1;
    places
        .get(hash as usize & mask)
        .expect("a mask of one less than the length keeps the index within it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(ip: &str) -> ClientKey {
        ClientKey::of(ip.parse().unwrap())
    }

    fn fill(buckets: &Buckets, clients: u64) {
        for client in 0..clients {
            buckets.update(ClientKey(client), |_| Ok::<_, ()>(client)).unwrap();
        }
    }

    fn places(buckets: &Buckets) -> usize {
        buckets.shards.iter().map(|shard| shard.0.lock().capacity()).sum()
    }

    #[test]
    fn a_bucket_takes_16_bytes_and_a_table_at_most_40_a_client() {
        assert_eq!(size_of::<Bucket>(), 16);
        let buckets = Buckets::new(50_000);
        fill(&buckets, 200_000);
        assert_eq!(buckets.len(), 50_000);
        // hashbrown fills 7 of 8 places, and has one byte beside each.
        assert!(places(&buckets) * 8 / 7 * 17 <= 50_000 * 40);
    }

    #[test]
    fn a_sweep_gives_the_memory_of_a_flood_back() {
        let buckets = Buckets::new(50_000);
        fill(&buckets, 50_000);
        let during = places(&buckets);
        buckets.drop_full(49_989);
        assert_eq!(buckets.len(), 10);
        assert!(during >= 50_000 && places(&buckets) <= SHARDS * 4 * ROOM_KEPT);
        assert!(places(&buckets) < during / 2);
    }

    #[test]
    fn ipv4_and_ipv6_keep_apart_and_share_by_16_and_by_32() {
        assert_ne!(key("192.0.2.1"), key("::c000:201"));
        assert_ne!(key("192.0.2.1"), key("0:0:c000:201::"));
        let wider = |ip| key(ip).wider_network();
        assert_eq!(wider("192.0.2.1"), wider("192.0.99.1"));
        assert_ne!(wider("192.0.2.1"), wider("192.1.2.1"));
        assert_eq!(wider("2001:db8:1::"), wider("2001:db8:ffff::"));
        assert_ne!(wider("2001:db8::"), wider("2001:db9::"));
        assert_ne!(wider("192.0.2.1"), wider("0:c000::"));
    }

    #[test]
    fn a_refusal_of_the_rule_leaves_no_bucket_behind() {
        let buckets = Buckets::new(1);
        let refused = buckets.update(key("192.0.2.1"), |_| Err(()));
        assert_eq!((refused, buckets.len(), places(&buckets)), (Err(()), 0, 0));
        fill(&buckets, 1);
        assert_eq!(buckets.len(), 1);
    }
}
