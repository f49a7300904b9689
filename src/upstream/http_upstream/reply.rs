//! What the head of an answer says: here it is, there is none, or no.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};

use super::super::client;
use super::super::error::UpstreamError;
use super::super::router_url::RouterUrl;
use super::failure::Failure;
use super::rest::{REST_MIN, parse_retry_after};
use crate::clock::UnixMs;

/// An answer that is one, by its status.
pub(super) enum Reply {
    /// 200: what was asked for is in the body.
    Body(Response),
    /// 404: there is none.
    None,
}

/// Reads the status of an answer.
pub(super) async fn read(
    response: Response,
    router: &RouterUrl,
    now_ms: UnixMs,
) -> Result<Reply, Failure> {
    match response.status() {
        StatusCode::OK => Ok(Reply::Body(response)),
        StatusCode::NOT_FOUND if client::is_web_page(&response) => {
            let reason = "a 404 with a web page".to_owned();
            Err(UpstreamError::NotRouting { url: router.to_string(), reason }.into())
        }
        StatusCode::NOT_FOUND => Ok(Reply::None),
        StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => Err(Failure::NotOffered),
        StatusCode::LOOP_DETECTED => Err(Failure::Circle),
        StatusCode::TOO_MANY_REQUESTS => {
            Err(Failure::Resting(retry_after(&response, now_ms).unwrap_or(REST_MIN)))
        }
        StatusCode::SERVICE_UNAVAILABLE => match retry_after(&response, now_ms) {
            Some(rest) => Err(Failure::Resting(rest)),
            None => Err(client::refusal(response, router).await.into()),
        },
        _ => Err(client::refusal(response, router).await.into()),
    }
}

fn retry_after(response: &Response, now_ms: UnixMs) -> Option<Duration> {
    parse_retry_after(response.headers().get(RETRY_AFTER)?.as_bytes(), now_ms)
}
