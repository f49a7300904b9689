//! Reading a request's body: no more of it than is wanted, and no longer than somebody waits for it.

use std::time::Duration;

use actix_web::web::{self, Bytes, BytesMut};
use futures_util::StreamExt;

use super::error::ApiError;

/// How much of a body is read, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimits {
    /// Bytes, also where the body does not say its length beforehand.
    pub(super) bytes_max: u64,
    /// From the first to the last of them.
    pub(super) timeout: Duration,
}

/// The whole body.
///
/// # Errors
///
/// [`ApiError::BodyTooLarge`], [`ApiError::BodyTimedOut`], [`ApiError::BodyBroken`].
pub(super) async fn read(payload: web::Payload, limits: BodyLimits) -> Result<Bytes, ApiError> {
    let timed_out = |_| {
        let within_s = limits.timeout.as_secs().max(1);
        ApiError::BodyTimedOut { within_s }
    };
    tokio::time::timeout(limits.timeout, collect(payload, limits.bytes_max))
        .await
        .map_err(timed_out)?
}

async fn collect(mut payload: web::Payload, bytes_max: u64) -> Result<Bytes, ApiError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| ApiError::BodyBroken { reason: error.to_string() })?;
        if body.len() as u64 + chunk.len() as u64 > bytes_max {
            return Err(ApiError::BodyTooLarge { bytes_max });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
