//! What requests of the public API work with: one state for the server, one handle for each worker.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::Semaphore;

use super::answer::AnswerPolicy;
use super::failure_log::FailureLog;
use super::rate_limit::{PeerLimiter, RateLimiter, RateLimits};
use super::request_id::RequestIds;
use crate::body::BodyLimits;
use crate::clock::Clock;
use crate::config::Settings;
use crate::ingest::Announcer;
use crate::metrics::{Metrics, WorkerCounts};
use crate::resolve::Resolver;
use crate::types::Limit;

/// The largest announcement, whatever `body_bytes_max` says: 1,000 of the longest keys, and 16 records
/// with as many of the longest addresses as are kept, take 768 KiB.
const ANNOUNCEMENT_BYTES_MAX: u64 = 1 << 20;

/// Large announcements that are checked at one time. Each takes some 40 ms at the worst.
const LARGE_AT_ONCE: usize = 2;

/// Announcements that are being stored at one time, those of clients that have gone included: 192 MB at the
/// worst while a disk hangs, and four times as many as share a wait for a disk that works.
const APPLIED_AT_ONCE: usize = 256;

/// What the public API works with. One for all threads.
pub(crate) struct ApiState {
    pub(super) resolver: Arc<dyn Resolver>,
    /// Whether IPNS is offered.
    pub(super) ipns: bool,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
    pub(super) policy: AnswerPolicy,
    /// `None` where announcing is off.
    pub(super) announcing: Option<Announcing>,
    pub(super) limiter: Option<RateLimiter>,
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) request_ids: RequestIds,
    pub(super) header_bytes_max: usize,
    pub(super) body_bytes_max: u64,
    pub(super) lookup_timeout: Duration,
    pub(super) client_timeout: Duration,
    pub(super) access_log: bool,
    pub(super) failures: FailureLog,
}

/// What a public API is made of.
pub(crate) struct ApiParts {
    /// What answers lookups.
    pub(crate) resolver: Arc<dyn Resolver>,
    /// What takes announcements in; `None`: nothing does.
    pub(crate) announcer: Option<Announcer>,
    /// What the server counts.
    pub(crate) metrics: Arc<Metrics>,
    /// What time it is.
    pub(crate) clock: Clock,
}

/// What announcing takes.
pub(super) struct Announcing {
    pub(super) announcer: Announcer,
    pub(super) peers: Option<PeerLimiter>,
    pub(super) body: BodyLimits,
    pub(super) large: Semaphore,
    pub(super) applied: Arc<Semaphore>,
}

/// What one worker works with. Requests hold it by a count of the worker's own: one count for all
/// workers would be a cache line that they fight for.
pub(super) struct Worker {
    pub(super) state: Arc<ApiState>,
    pub(super) counts: Arc<WorkerCounts>,
}

impl ApiState {
    /// The state of an API that is made of `parts`.
    pub(crate) fn new(settings: &Settings, parts: ApiParts) -> Self {
        let ApiParts { resolver, announcer, metrics, clock } = parts;
        // So that a rate is there before the first refusal.
        Limit::ALL.iter().for_each(|limit| metrics.refused(limit.name(), 0));
        Self {
            resolver,
            ipns: settings.ipns,
            metrics,
            policy: AnswerPolicy::new(settings),
            announcing: announcer.map(|announcer| Announcing::new(settings, announcer)),
            limiter: limiter(settings),
            failures: FailureLog::new(clock.clone()),
            trusted_proxies: settings.trusted_proxies.iter().copied().collect(),
            request_ids: RequestIds::new(),
            header_bytes_max: settings.header_bytes_max,
            body_bytes_max: settings.body_bytes_max as u64,
            lookup_timeout: settings.lookup_timeout,
            client_timeout: settings.client_timeout,
            access_log: settings.access_log,
            clock,
        }
    }

    /// Forgets clients and peers that have been silent for a while. Called from time to time.
    pub(crate) fn sweep(&self) {
        let now_ms = self.clock.now_ms();
        if let Some(limiter) = &self.limiter {
            limiter.sweep(now_ms);
        }
        if let Some(peers) =
            self.announcing.as_ref().and_then(|announcing| announcing.peers.as_ref())
        {
            peers.sweep(now_ms);
        }
    }

    /// How many clients the rate limit remembers.
    pub(crate) fn clients_tracked(&self) -> u64 {
        self.limiter.as_ref().map_or(0, |limiter| limiter.clients_tracked() as u64)
    }
}

impl Announcing {
    fn new(settings: &Settings, announcer: Announcer) -> Self {
        let per_minute = NonZeroU32::new(settings.announce_peer_rate_limit);
        let peers_max = settings.rate_limit_clients_max;
        Self {
            announcer,
            peers: per_minute.map(|per_minute| PeerLimiter::new(per_minute, peers_max)),
            body: BodyLimits {
                bytes_max: ANNOUNCEMENT_BYTES_MAX.min(settings.body_bytes_max as u64),
                timeout: settings.client_timeout,
            },
            large: Semaphore::new(LARGE_AT_ONCE),
            applied: Arc::new(Semaphore::new(APPLIED_AT_ONCE)),
        }
    }
}

fn limiter(settings: &Settings) -> Option<RateLimiter> {
    let per_second = NonZeroU32::new(settings.rate_limit)?;
    let limits = RateLimits {
        per_second,
        burst: settings.rate_limit_burst.get(per_second),
        exempt: settings.rate_limit_exempt.iter().copied().collect(),
        clients_max: settings.rate_limit_clients_max,
    };
    Some(RateLimiter::new(limits))
}
