//! How many requests a client may make: a token bucket for every client.
//!
//! A client is an IPv4 address or an IPv6 /64, the smallest network that a host is given and within
//! which it can take any address it likes. An IPv4-mapped IPv6 address is its IPv4 address.
//!
//! The rule is GCRA ([`Quota`]); where the buckets live, and how their number is bounded: see `buckets`.
//! Invariants: over any time a tracked client is let through at most `burst + per_second * seconds`
//! times, whatever the number of threads; a client who is told to wait and waits, and asks nothing in
//! between, is let through; memory never exceeds what `clients_max` allows.
//!
//! The caller passes the time. When the system's clock is set forward, or back by more than
//! [`SET_BACK_NS`], buckets are full.
//!
//! The only failure is [`RetryAfterSecs`], which the caller answers with 429.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use ipnet::IpNet;

use self::buckets::{Buckets, ClientKey};
use super::client_address::{Certainty, ClientAddress, networks_contain};
use crate::clock::{UnixMs, whole_seconds};

mod buckets;
mod peers;

pub(super) use peers::PeerLimiter;

/// What a client may do, and whom the limit does not concern.
#[derive(Clone, Debug)]
pub(super) struct RateLimits {
    /// Requests a second in the long run.
    pub(crate) per_second: NonZeroU32,
    /// Requests at once after a time of silence.
    pub(crate) burst: NonZeroU32,
    /// Clients in these networks are never refused; empty = nobody.
    pub(crate) exempt: Vec<IpNet>,
    /// Clients that have a bucket of their own at one time, at most 40 bytes each. The others share;
    /// 0 = all share.
    pub(crate) clients_max: usize,
}

/// A refusal: the whole seconds, at least one, after which the client will be let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests, retry after {0} s")]
pub(super) struct RetryAfterSecs(NonZeroU64);

impl RetryAfterSecs {
    /// The value of a `Retry-After` header.
    pub(super) fn get(self) -> u64 {
        self.0.get()
    }

    fn covering(wait: Duration) -> Self {
        Self(NonZeroU64::new(whole_seconds(wait)).unwrap_or(NonZeroU64::MIN))
    }
}

/// Nanoseconds since the Unix epoch; they reach to the year 2554.
type UnixNs = u64;

/// A bucket that would be full later than an empty one by more than this is of a time before the clock was
/// set back: no request stands still for so long between reading the clock and taking a token.
const SET_BACK_NS: UnixNs = 10_000_000_000;

/// A bucket that takes requests at an even rate after a burst.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    /// The time that refills one token.
    token_ns: u64,
    /// The time that refills an empty bucket.
    capacity_ns: u64,
}

impl Quota {
    /// `tokens` in each `period`, and `burst` of them at once.
    pub(super) fn new(tokens: NonZeroU32, period: Duration, burst: NonZeroU32) -> Self {
        let period_ns = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        let token_ns = (period_ns / u64::from(tokens.get())).max(1);
        Self { token_ns, capacity_ns: token_ns.saturating_mul(burst.get().into()) }
    }

    /// Takes a token from a bucket that is full at `full_at`, and says when it will be full then.
    ///
    /// # Errors
    /// [`RetryAfterSecs`] if it is empty.
    pub(super) fn take(self, full_at: UnixNs, now: UnixNs) -> Result<UnixNs, RetryAfterSecs> {
        let empty_until = now.saturating_add(self.capacity_ns);
        let is_set_back = full_at > empty_until.saturating_add(SET_BACK_NS);
        let full_at = if is_set_back { now } else { full_at.max(now) };
        let full_at = full_at.saturating_add(self.token_ns);
        match full_at.checked_sub(empty_until) {
            None | Some(0) => Ok(full_at),
            Some(wait) => Err(RetryAfterSecs::covering(Duration::from_nanos(wait))),
        }
    }
}

/// `now_ms` in the limiter's unit.
pub(super) fn unix_ns(now_ms: UnixMs) -> UnixNs {
    now_ms.saturating_mul(1_000_000)
}

/// A bucket for every key.
struct KeyedLimiter {
    quota: Quota,
    buckets: Buckets,
}

impl KeyedLimiter {
    fn new(quota: Quota, clients_max: usize) -> Self {
        Self { quota, buckets: Buckets::new(clients_max) }
    }

    fn check(&self, key: ClientKey, now_ms: UnixMs) -> Result<(), RetryAfterSecs> {
        let now = unix_ns(now_ms);
        self.buckets.update(key, |full_at| self.quota.take(full_at.unwrap_or(now), now))
    }

    fn sweep(&self, now_ms: UnixMs) {
        self.buckets.drop_full(unix_ns(now_ms));
    }
}

/// The limiter; one for the whole process, asked by all workers.
pub(super) struct RateLimiter {
    limiter: KeyedLimiter,
    exempt: Vec<IpNet>,
}

impl RateLimiter {
    /// A limiter whose buckets are full.
    pub(super) fn new(limits: RateLimits) -> Self {
        let RateLimits { per_second, burst, exempt, clients_max } = limits;
        let quota = Quota::new(per_second, Duration::from_secs(1), burst);
        Self { limiter: KeyedLimiter::new(quota, clients_max), exempt }
    }

    /// Takes one token from the client's bucket.
    ///
    /// A client whose address is [`Certainty::Unsure`] is never exempt: what stands behind the
    /// proxy may be anybody.
    ///
    /// # Errors
    /// [`RetryAfterSecs`] if the bucket is empty. A refused request costs no token.
    pub(super) fn check(
        &self,
        client: ClientAddress,
        now_ms: UnixMs,
    ) -> Result<(), RetryAfterSecs> {
        if self.is_exempt(client) {
            return Ok(());
        }
        self.limiter.check(ClientKey::of(client.ip), now_ms)
    }

    fn is_exempt(&self, client: ClientAddress) -> bool {
        client.certainty == Certainty::Sure && networks_contain(&self.exempt, client.ip)
    }

    /// Frees the buckets that are full again, which changes nothing for their clients.
    ///
    /// To be called on a timer, every second or few: in a full table new clients share until then.
    /// It stops requests of one shard at a time, for microseconds.
    pub(super) fn sweep(&self, now_ms: UnixMs) {
        self.limiter.sweep(now_ms);
    }

    /// Clients that have a bucket of their own now. When it stands at `clients_max`, new ones share.
    pub(super) fn clients_tracked(&self) -> usize {
        self.limiter.buckets.len()
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RateLimiter")
            .field("clients_tracked", &self.clients_tracked())
            .field("exempt", &self.exempt)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU64, Ordering};

    use proptest::prelude::*;

    use super::*;

    struct Rig {
        limiter: RateLimiter,
        now_ms: AtomicU64,
    }

    impl Rig {
        fn new(per_second: u32, burst: u32, clients_max: usize) -> Self {
            Self::exempting(per_second, burst, clients_max, &[])
        }

        fn exempting(per_second: u32, burst: u32, clients_max: usize, exempt: &[&str]) -> Self {
            let limits = RateLimits {
                per_second: NonZeroU32::new(per_second).unwrap(),
                burst: NonZeroU32::new(burst).unwrap(),
                exempt: exempt.iter().map(|network| network.parse().unwrap()).collect(),
                clients_max,
            };
            Self { limiter: RateLimiter::new(limits), now_ms: AtomicU64::new(1_000_000) }
        }

        fn now_ms(&self) -> UnixMs {
            self.now_ms.load(Ordering::Relaxed)
        }

        fn check(&self, client: ClientAddress) -> Result<(), RetryAfterSecs> {
            self.limiter.check(client, self.now_ms())
        }

        fn sweep(&self) {
            self.limiter.sweep(self.now_ms());
        }

        fn advance(&self, ms: u64) {
            self.now_ms.fetch_add(ms, Ordering::Relaxed);
        }

        fn ask(&self, ip: &str) -> Result<(), RetryAfterSecs> {
            self.check(ip.parse::<IpAddr>().unwrap().into())
        }

        /// How many of `times` requests are let through.
        fn allowed(&self, ip: &str, times: usize) -> usize {
            (0..times).filter(|_| self.ask(ip).is_ok()).count()
        }

        /// One request from each of `count` IPv6 /64s of one /32; how many are let through.
        fn flood(&self, count: u64) -> usize {
            (0..count)
                .filter(|number| {
                    let bits = (0x2001_0db8_0000_0000 | u128::from(*number)) << 64 | 1;
                    self.check(IpAddr::from(bits.to_be_bytes()).into()).is_ok()
                })
                .count()
        }
    }

    #[test]
    fn a_burst_is_let_through_and_then_refused() {
        let rig = Rig::new(10, 5, 100);
        assert_eq!(rig.allowed("192.0.2.1", 20), 5);
        assert_eq!(rig.allowed("192.0.2.2", 20), 5);
    }

    #[test]
    fn a_bucket_refills_with_time_but_never_beyond_the_burst() {
        let rig = Rig::new(10, 5, 100);
        assert_eq!(rig.allowed("192.0.2.1", 20), 5);
        rig.advance(300);
        assert_eq!(rig.allowed("192.0.2.1", 20), 3);
        rig.advance(3_600_000);
        assert_eq!(rig.allowed("192.0.2.1", 20), 5);
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let rig = Rig::new(1, 3, 100);
        assert_eq!(rig.allowed("192.0.2.1", 20), 3);
        rig.now_ms.store(1_000_000 - 10_000, Ordering::Relaxed);
        assert_eq!(rig.ask("192.0.2.1").unwrap_err().get(), 11);
        rig.now_ms.store(1_000_000 - 10_001, Ordering::Relaxed);
        assert_eq!(rig.allowed("192.0.2.1", 20), 3);
    }

    #[test]
    fn the_wait_is_whole_seconds_and_at_least_one() {
        let fast = Rig::new(1_000, 1, 100);
        fast.ask("192.0.2.1").unwrap();
        let refusal = fast.ask("192.0.2.1").unwrap_err();
        assert_eq!(refusal.get(), 1);
        assert_eq!(refusal.to_string(), "too many requests, retry after 1 s");
        for (wait, whole) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (7_500, 8)] {
            assert_eq!(
                RetryAfterSecs::covering(Duration::from_millis(wait)).get(),
                whole,
                "{wait}"
            );
        }
    }

    #[test]
    fn ipv6_addresses_share_by_64_and_mapped_ones_with_ipv4() {
        let rig = Rig::new(1, 1, 100);
        rig.ask("2001:db8:0:1::1").unwrap();
        rig.ask("2001:db8:0:1:ffff::2").unwrap_err();
        rig.ask("2001:db8:0:2::1").unwrap();
        rig.ask("::ffff:192.0.2.1").unwrap();
        rig.ask("192.0.2.1").unwrap_err();
        rig.ask("::ffff:192.0.2.2").unwrap();
        rig.ask("::1").unwrap();
        rig.ask("0.0.0.0").unwrap();
        assert_eq!(rig.limiter.clients_tracked(), 6);
    }

    #[test]
    fn the_exempt_are_never_refused_and_take_no_room() {
        let rig = Rig::exempting(1, 1, 100, &["127.0.0.0/8", "2001:db8::/32"]);
        assert_eq!(rig.allowed("127.0.0.1", 50), 50);
        assert_eq!(rig.allowed("::ffff:127.0.0.1", 50), 50);
        assert_eq!(rig.allowed("2001:db8::1", 50), 50);
        assert_eq!(rig.limiter.clients_tracked(), 0);
        assert_eq!(rig.allowed("128.0.0.1", 50), 1);
        assert_eq!(rig.allowed("2001:db9::1", 50), 1);
    }

    #[test]
    fn a_proxy_that_names_nobody_is_not_exempt_though_its_address_is() {
        let rig = Rig::exempting(1, 1, 100, &["127.0.0.0/8"]);
        let proxy = ClientAddress { ip: [127, 0, 0, 1].into(), certainty: Certainty::Unsure };
        rig.check(proxy).unwrap();
        rig.check(proxy).unwrap_err();
    }

    #[test]
    fn a_flood_of_fresh_addresses_is_bounded() {
        let rig = Rig::new(10, 5, 1_000);
        let allowed = rig.flood(1_000_000);
        assert_eq!(rig.limiter.clients_tracked(), 1_000);
        assert_eq!(allowed, 1_005, "one each in the table, and one shared burst for the /32");
    }

    #[test]
    fn a_flood_neither_resets_nor_refuses_a_tracked_client() {
        let rig = Rig::new(10, 5, 1_000);
        assert_eq!(rig.allowed("192.0.2.1", 3), 3);
        rig.flood(100_000);
        rig.sweep();
        assert_eq!(rig.allowed("192.0.2.1", 20), 2);
        rig.advance(200);
        rig.sweep();
        rig.flood(100_000);
        assert_eq!(rig.allowed("192.0.2.1", 20), 2);
    }

    #[test]
    fn newcomers_from_elsewhere_get_through_while_the_table_is_full() {
        let rig = Rig::new(10, 5, 1_000);
        rig.flood(100_000);
        let elsewhere = (1..=8).map(|network| rig.allowed(&format!("{network}.0.2.1"), 20));
        let whole_bursts = elsewhere.filter(|allowed| *allowed == 5).count();
        assert!(whole_bursts >= 5, "the key is random: 3 collisions in 1,024 places do not happen");
        assert_eq!(rig.allowed("1.0.9.9", 20), 0, "its /16 has spent the shared bucket");
    }

    #[test]
    fn a_sweep_makes_room_of_full_buckets_and_keeps_the_others() {
        let rig = Rig::new(1, 5, 1_000);
        rig.flood(2_000);
        rig.sweep();
        assert_eq!(rig.limiter.clients_tracked(), 1_000, "no bucket is full yet");
        rig.advance(3_000);
        rig.sweep();
        assert_eq!(rig.limiter.clients_tracked(), 0);
        assert_eq!(rig.allowed("192.0.2.1", 20), 5);
        rig.advance(3_000);
        rig.sweep();
        assert_eq!(rig.limiter.clients_tracked(), 1);
        assert_eq!(rig.allowed("192.0.2.1", 20), 3);
    }

    #[test]
    fn without_room_for_anybody_all_share() {
        let rig = Rig::new(10, 5, 0);
        assert_eq!(rig.allowed("192.0.2.1", 20), 5);
        assert_eq!(rig.allowed("192.0.3.1", 20), 0);
        assert_eq!(rig.limiter.clients_tracked(), 0);
    }

    #[test]
    fn the_largest_limits_do_not_overflow() {
        let rig = Rig::new(u32::MAX, u32::MAX, 1);
        rig.advance(100 * 365 * 86_400_000);
        assert_eq!(rig.allowed("192.0.2.1", 1_000), 1_000);
        let rig = Rig::new(1, u32::MAX, 1);
        assert_eq!(rig.allowed("192.0.2.1", 1_000), 1_000);
    }

    proptest! {
        #[test]
        fn a_client_that_waits_for_retry_after_is_served(
            per_second in 1..2_000_u32,
            burst in 1..20_u32,
            pauses_ms in prop::collection::vec(0..1_500_u64, 1..60),
        ) {
            let rig = Rig::new(per_second, burst, 10);
            for pause_ms in pauses_ms {
                rig.advance(pause_ms);
                rig.allowed("192.0.2.1", 7);
                if let Err(refusal) = rig.ask("192.0.2.1") {
                    rig.advance(refusal.get() * 1_000);
                    prop_assert!(rig.ask("192.0.2.1").is_ok());
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn threads_together_get_the_burst_and_the_rate_and_no_more(
            per_second in 1..5_000_u32,
            burst in 1..200_u32,
            step_ms in 1..4_u64,
        ) {
            let rig = Rig::new(per_second, burst, 10);
            let (allowed, start) = (AtomicU64::new(0), Barrier::new(4));
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        start.wait();
                        for _ in 0..500 {
                            rig.advance(step_ms);
                            let passed = rig.allowed("192.0.2.1", 3);
                            allowed.fetch_add(passed as u64, Ordering::Relaxed);
                        }
                    });
                }
            });
            let rest = std::iter::from_fn(|| rig.ask("192.0.2.1").ok()).take(10_000).count() as u64;
            let interval_ns = 1_000_000_000 / u64::from(per_second);
            let refilled = 4 * 500 * step_ms * 1_000_000 / interval_ns;
            let total = allowed.load(Ordering::Relaxed) + rest;
            prop_assert!(total <= u64::from(burst) + refilled, "{total}");
            prop_assert!(total >= u64::from(burst), "{total}");
        }
    }
}
