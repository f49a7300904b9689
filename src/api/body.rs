//! Reading a request's body, within a size and a time.
//!
//! A body is never held beyond its limit, whatever its head declared: what is too large is refused
//! as soon as that is known, and the connection with it. A client that sends slowly or stops is told
//! 408, one that goes away ends the request.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header;
use actix_web::web::{Bytes, BytesMut, Payload};
use futures_util::StreamExt;

use super::error::ApiError;

/// How much of a body is read, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimits {
    pub(super) bytes_max: u64,
    /// From the end of the head to the end of the body.
    pub(super) timeout: Duration,
}

/// The whole body, whether its length was declared or it comes in chunks.
pub(super) async fn read(
    request: &HttpRequest,
    payload: Payload,
    limits: BodyLimits,
) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::BodyTooLarge { bytes_max: limits.bytes_max };
    let declared = request.headers().get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|bytes| bytes > limits.bytes_max) {
        return Err(too_large());
    }
    let mut payload = payload;
    let whole = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| ApiError::BodyBroken)?;
            if (body.len() + chunk.len()) as u64 > limits.bytes_max {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    let timed_out = |_| ApiError::BodyTimedOut { timeout: limits.timeout };
    tokio::time::timeout(limits.timeout, whole).await.map_err(timed_out)?
}
