//! PUT /routing/v1/providers, with or without a slash at its end: providers announce themselves.
//!
//! Body, signatures, the peers' own limits, the store: in this order, each bounded, and a request is
//! taken in as a whole or not at all. The answer comes when the store has it on disk.
//!
//! Small bodies, which are nearly all, are checked where they are read, for some 2 ms at the worst;
//! larger ones on a thread of their own kind, so that no lookup waits for them, [`LARGE_AT_ONCE`] at
//! a time.

use std::num::NonZeroU32;
use std::time::Duration;

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::ApiState;
use super::body;
use super::edge::{self, Context};
use super::error::ApiError;
use super::rate_limit::PeerLimiter;
use crate::config::Settings;
use crate::detached::detached;
use crate::ingest::{ANNOUNCED_PROTOCOL, ANNOUNCED_SCHEMA, Announcer, VerifiedPut};
use crate::metrics::{BodyFormat, Metrics};
use crate::request_body::BodyLimits;

/// The largest body, whatever `body_bytes_max` says: 1,000 of the longest keys, and 16 records with
/// as many of the longest addresses as are kept, take 768 KiB.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// From this size on a body is checked on another thread: 16 KiB hold 16 signatures (1.6 ms) or 64
/// of the longest keys.
const LARGE_BODY_BYTES: usize = 16 << 10;

/// Large bodies that are checked at one time. Each takes some 40 ms at the worst.
const LARGE_AT_ONCE: usize = 2;

/// The methods of this resource.
const METHODS: &str = "PUT, OPTIONS";

/// What announcing takes.
pub(super) struct Announcing {
    announcer: Announcer,
    peers: Option<PeerLimiter>,
    body: BodyLimits,
    large: Semaphore,
}

/// The body of a 200.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    provide_results: Vec<ProvideResult>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ProvideResult {
    schema: &'static str,
    protocol: &'static str,
    #[serde(rename = "AdvisoryTTL")]
    advisory_ttl_ns: u64,
}

impl Announcing {
    pub(super) fn new(settings: &Settings, announcer: Announcer) -> Self {
        let per_minute = NonZeroU32::new(settings.announce_peer_rate_limit);
        let peers_max = settings.rate_limit_clients_max;
        Self {
            announcer,
            peers: per_minute.map(|per_minute| PeerLimiter::new(per_minute, peers_max)),
            body: BodyLimits {
                bytes_max: BODY_BYTES_MAX.min(settings.body_bytes_max as u64),
                timeout: settings.client_timeout,
            },
            large: Semaphore::new(LARGE_AT_ONCE),
        }
    }

    /// Forgets peers that have not announced for a while.
    pub(super) fn sweep(&self) {
        if let Some(peers) = &self.peers {
            peers.sweep();
        }
    }

    async fn verified(
        &self,
        request: &HttpRequest,
        context: &Context,
        payload: web::Payload,
    ) -> Result<VerifiedPut, ApiError> {
        let (caller, origin) = (context.certain_client(request), context.origin());
        let body = body::read(request, payload, self.body).await?;
        if body.len() < LARGE_BODY_BYTES {
            return Ok(self.announcer.verify(&body, caller, origin)?);
        }
        // As long as it may take to arrive it may also wait for its turn.
        let turn = tokio::time::timeout(self.body.timeout, self.large.acquire()).await;
        let _turn = turn.map_err(|_| ApiError::Overloaded)?;
        let announcer = self.announcer.clone();
        let verified = web::block(move || announcer.verify(&body, caller, origin)).await;
        Ok(verified.map_err(|error| ApiError::Panicked(error.to_string()))??)
    }

    /// Counts against the limit of each peer that announces.
    fn admit(&self, put: &VerifiedPut) -> Result<(), ApiError> {
        let Some(peers) = &self.peers else { return Ok(()) };
        put.peers().try_for_each(|peer| {
            let admitted = peers.check(peer);
            admitted.map_err(|wait| ApiError::RateLimited { retry_after_s: wait.get() })
        })
    }

    /// Goes on when the client goes away: what is half written would be served after a restart only.
    async fn apply(&self, put: VerifiedPut) -> Result<(), ApiError> {
        let announcer = self.announcer.clone();
        let applied = detached(async move { announcer.apply(put).await }).await;
        applied.map_err(|error| ApiError::Panicked(error.to_string()))??;
        Ok(())
    }
}

/// Answers any request to this resource but OPTIONS.
pub(super) async fn serve(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<ApiState>,
) -> HttpResponse {
    let context = Context::of(&request);
    edge::answer(&context, put(&request, payload, &state, &context)).await
}

async fn put(
    request: &HttpRequest,
    payload: web::Payload,
    state: &ApiState,
    context: &Context,
) -> Result<HttpResponse, ApiError> {
    let not_offered = ApiError::NotOffered { what: "announcing providers" };
    let announcing = state.announcing.as_ref().ok_or(not_offered)?;
    if request.method() != Method::PUT {
        let method = request.method().to_string();
        return Err(ApiError::MethodNotSupported { method, allow: METHODS });
    }
    let announced = announce(request, payload, announcing, context, &state.metrics).await;
    state.metrics.announced(announced.as_ref().map_or_else(outcome, |_| "accepted"));
    let ttls = announced?;
    context.set_format(BodyFormat::Json);
    let answer = Answer { provide_results: ttls.into_iter().map(ProvideResult::new).collect() };
    let no_store = (header::CACHE_CONTROL, "no-store");
    Ok(HttpResponse::Ok().insert_header(no_store).json(answer))
}

async fn announce(
    request: &HttpRequest,
    payload: web::Payload,
    announcing: &Announcing,
    context: &Context,
    metrics: &Metrics,
) -> Result<Vec<Duration>, ApiError> {
    let put = announcing.verified(request, context, payload).await?;
    announcing.admit(&put)?;
    let (ttls, keys) = (put.ttls(), put.keys() as u64);
    let addrs_dropped = put.addrs_dropped().clone();
    announcing.apply(put).await?;
    metrics.keys_announced(keys);
    for (reason, count) in addrs_dropped.iter().filter(|(_, count)| *count > 0) {
        metrics.announced_addrs_dropped(reason, count);
    }
    Ok(ttls)
}

/// A word for metrics; one of a fixed set.
fn outcome(error: &ApiError) -> &'static str {
    if let ApiError::Put(error) = error {
        error.outcome()
    } else if let ApiError::RateLimited { .. } = error {
        "rate_limited"
    } else {
        "not_read"
    }
}

impl ProvideResult {
    fn new(ttl: Duration) -> Self {
        Self {
            schema: ANNOUNCED_SCHEMA,
            protocol: ANNOUNCED_PROTOCOL,
            advisory_ttl_ns: u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX),
        }
    }
}
