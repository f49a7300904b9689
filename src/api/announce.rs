//! PUT /routing/v1/providers, with or without a slash at its end: providers announce themselves.
//!
//! Body, signatures, the peers' own limits, the store: in this order, each bounded, and a request is
//! taken in as a whole or not at all. The answer comes when the store has it on disk.
//!
//! Small bodies, which are nearly all, are checked where they are read, for some 2 ms at the worst;
//! larger ones on a thread of their own kind, a few at a time, so that no lookup waits for them.

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::body;
use super::context::Context;
use super::error::ApiError;
use super::state::Announcing;
use crate::clock::UnixMs;
use crate::detached::detached;
use crate::ingest::{ANNOUNCED_PROTOCOL, ANNOUNCED_SCHEMA, VerifiedPut};
use crate::metrics::BodyFormat;
use crate::types::Limit;

/// From this size on a body is checked on another thread: 16 KiB hold 16 signatures (1.6 ms) or 64
/// of the longest keys.
const LARGE_BODY_BYTES: usize = 16 << 10;

/// The body of a 200.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AnnounceAnswer {
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
    async fn verified(&self, context: &Context, payload: Payload) -> Result<VerifiedPut, ApiError> {
        let (caller, origin) = (context.certain_client(), context.origin());
        let body = body::read(&context.request, payload, self.body).await?;
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
    fn check_peers(&self, put: &VerifiedPut, now_ms: UnixMs) -> Result<(), ApiError> {
        let Some(peers) = &self.peers else { return Ok(()) };
        put.peers().try_for_each(|peer| {
            let checked = peers.check(peer, now_ms);
            checked.map_err(|wait| ApiError::RateLimited {
                retry_after_s: wait.get(),
                limit: Limit::PeerRequests,
            })
        })
    }

    /// Goes on when the client goes away: what is half written would be served after a restart only. So
    /// it is not the number of connections that bounds how many wait for a disk.
    async fn apply(&self, put: VerifiedPut) -> Result<(), ApiError> {
        let turn = tokio::time::timeout(self.body.timeout, self.applied.clone().acquire_owned());
        let turn = turn.await.map_err(|_| ApiError::Overloaded)?;
        let announcer = self.announcer.clone();
        let applied = detached(async move {
            let _turn = turn;
            announcer.apply(put).await
        });
        let applied = applied.await;
        applied.map_err(|error| ApiError::Panicked(error.to_string()))??;
        Ok(())
    }
}

/// Answers PUT.
pub(super) async fn put(
    context: &Context,
    payload: Payload,
    announcing: &Announcing,
) -> Result<HttpResponse, ApiError> {
    let announced = announce(context, payload, announcing).await;
    context.state().metrics.announced(announced.as_ref().map_or_else(outcome, |_| "accepted"));
    let ttls = announced?;
    context.format.set(BodyFormat::Json);
    let answer =
        AnnounceAnswer { provide_results: ttls.into_iter().map(ProvideResult::new).collect() };
    let no_store = (header::CACHE_CONTROL, "no-store");
    Ok(HttpResponse::Ok().insert_header(no_store).json(answer))
}

async fn announce(
    context: &Context,
    payload: Payload,
    announcing: &Announcing,
) -> Result<Vec<Duration>, ApiError> {
    let put = announcing.verified(context, payload).await?;
    announcing.check_peers(&put, context.state().clock.now_ms())?;
    let (ttls, keys) = (put.ttls(), put.keys() as u64);
    let addrs_dropped = put.addrs_dropped().clone();
    announcing.apply(put).await?;
    context.state().metrics.keys_announced(keys);
    for (reason, count) in addrs_dropped.iter().filter(|(_, count)| *count > 0) {
        context.state().metrics.announced_addrs_dropped(reason, count);
    }
    Ok(ttls)
}

/// A word for metrics; one of a fixed set.
fn outcome(error: &ApiError) -> &'static str {
    if let ApiError::Put(error) = error {
        error.outcome()
    } else if let ApiError::RateLimited { .. } = error {
        "rate_limited"
    } else if let ApiError::Overloaded = error {
        "overloaded"
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
