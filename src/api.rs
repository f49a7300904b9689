//! The public API: `/routing/v1` (seeds/002 and its extensions; specs/ has the clauses).
//!
//! `routes` is the route table, `edge` stands around every request, and each family of endpoints
//! is a file. `error` is the only file that maps errors to status codes.

mod accept;
mod announce;
mod answer;
mod body;
mod client_address;
mod closest;
mod conditional;
mod cors;
mod edge;
mod error;
mod ipns;
mod lookup;
mod peers;
mod providers;
mod rate_limit;
mod request_id;
mod routes;
mod stream;

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::{App, Error, web};
use ipnet::IpNet;

use crate::clock::Clock;
use crate::config::Settings;
use crate::ingest::Announcer;
use crate::metrics::{Metrics, WorkerCounts};
use crate::resolve::Resolver;
use announce::Announcing;
use answer::{AnswerPolicy, ListName};
use rate_limit::{RateLimiter, RateLimits};
use request_id::RequestIds;

/// What the public API works with. One for all threads.
pub struct ApiState {
    resolver: Arc<dyn Resolver>,
    /// Whether IPNS is offered.
    ipns: bool,
    metrics: Arc<Metrics>,
    clock: Clock,
    policy: AnswerPolicy,
    /// `None` where announcing is off.
    announcing: Option<Announcing>,
    limiter: Option<RateLimiter>,
    trusted_proxies: Vec<IpNet>,
    request_ids: RequestIds,
    header_bytes_max: usize,
    body_bytes_max: u64,
    lookup_timeout: Duration,
    client_timeout: Duration,
    access_log: bool,
}

/// What a public API is made of.
pub struct ApiParts {
    /// What answers lookups.
    pub resolver: Arc<dyn Resolver>,
    /// What takes announcements in; `None`: nothing does.
    pub announcer: Option<Announcer>,
    /// What the server counts.
    pub metrics: Arc<Metrics>,
    /// What time it is.
    pub clock: Clock,
}

impl ApiState {
    /// The state of an API that is made of `parts`.
    pub fn new(settings: &Settings, parts: ApiParts) -> Self {
        let ApiParts { resolver, announcer, metrics, clock } = parts;
        Self {
            resolver,
            ipns: settings.ipns,
            metrics,
            clock,
            policy: AnswerPolicy::new(settings),
            announcing: announcer.map(|announcer| Announcing::new(settings, announcer)),
            limiter: limiter(settings),
            trusted_proxies: settings.trusted_proxies.iter().copied().collect(),
            request_ids: RequestIds::new(),
            header_bytes_max: settings.header_bytes_max,
            body_bytes_max: settings.body_bytes_max as u64,
            lookup_timeout: settings.lookup_timeout,
            client_timeout: settings.client_timeout,
            access_log: settings.access_log,
        }
    }

    /// Forgets clients that have not asked for a while. Called from time to time.
    pub fn sweep(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.sweep();
        }
        if let Some(announcing) = &self.announcing {
            announcing.sweep();
        }
    }

    /// How many clients the rate limit remembers.
    pub fn clients_tracked(&self) -> u64 {
        self.limiter.as_ref().map_or(0, |limiter| limiter.clients_tracked() as u64)
    }
}

/// What one worker works with. Requests hold it by a count of the worker's own: one count for all
/// workers would be a cache line that they fight for.
struct Worker {
    state: web::Data<ApiState>,
    counts: Arc<WorkerCounts>,
}

/// The actix application of the public API: one for each worker.
pub fn app(
    state: web::Data<ApiState>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    let worker = Rc::new(Worker { counts: state.metrics.worker(), state: state.clone() });
    App::new()
        .app_data(state)
        .configure(routes::configure)
        .wrap(cors::middleware())
        .wrap(from_fn(move |request, next| edge::serve(worker.clone(), request, next)))
}

fn limiter(settings: &Settings) -> Option<RateLimiter> {
    let per_second = NonZeroU32::new(settings.rate_limit)?;
    Some(RateLimiter::new(RateLimits {
        per_second,
        burst: NonZeroU32::new(settings.rate_limit_burst).unwrap_or(NonZeroU32::MIN),
        exempt: settings.rate_limit_exempt.iter().copied().collect(),
        clients_max: settings.rate_limit_clients_max,
    }))
}

/// A segment of a request's path, percent-decoded. Before that the router has decoded all but the
/// characters that would have changed the path's shape.
fn decode_segment(segment: &str) -> Result<Cow<'_, str>, String> {
    percent_encoding::percent_decode_str(segment).decode_utf8().map_err(|_| "not UTF-8".to_owned())
}

/// The media type in which a lookup is answered to a request with this `Accept` header; `None`: 406.
pub fn negotiated(accept: &[u8]) -> Option<&'static str> {
    accept::negotiate(std::iter::once(accept)).map(accept::Format::media_type)
}
