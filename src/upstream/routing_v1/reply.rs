//! What the head of an answer says: here it is, there is none, or no.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};

use super::Shared;
use super::body::AnswerFormat;
use super::failure::Failure;
use crate::clock::UnixMs;
use crate::http_client::{HttpClient, HttpClientError, content_type, is_web_page};
use crate::text::printable;
use crate::upstream::backoff::{REST_MIN, parse_retry_after};

/// What is asked for where records are wanted: as a stream, if that is to be had.
pub(super) const ACCEPT_RECORDS: &str = "application/x-ndjson, application/json;q=0.9";

/// An answer that is one, by its status.
pub(super) enum Reply {
    /// 200: what was asked for is in the body.
    Body(Response),
    /// 404: there is none.
    None,
}

/// Reads the status of an answer.
pub(super) async fn read(shared: &Shared, response: Response) -> Result<Reply, Failure> {
    let (http, now_ms) = (&shared.http, shared.clock.now_ms());
    match response.status() {
        StatusCode::OK => Ok(Reply::Body(response)),
        StatusCode::NOT_FOUND if is_web_page(&response) => {
            Err(http.unusable("a 404 with a web page").into())
        }
        StatusCode::NOT_FOUND => Ok(Reply::None),
        StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => Err(Failure::NotOffered),
        StatusCode::LOOP_DETECTED => Err(Failure::Circle),
        StatusCode::TOO_MANY_REQUESTS => {
            Err(Failure::Resting(retry_after(&response, now_ms).unwrap_or(REST_MIN)))
        }
        StatusCode::SERVICE_UNAVAILABLE => match retry_after(&response, now_ms) {
            Some(rest) => Err(Failure::Resting(rest)),
            None => Err(http.refusal(response).await.into()),
        },
        _ => Err(http.refusal(response).await.into()),
    }
}

/// The format of an answer with records.
pub(super) fn answer_format(
    http: &HttpClient,
    response: &Response,
) -> Result<AnswerFormat, HttpClientError> {
    let format = content_type(response).and_then(AnswerFormat::of_content_type);
    format.ok_or_else(|| odd_content_type(http, response))
}

/// The error of an answer of a type that it must not have.
pub(super) fn odd_content_type(http: &HttpClient, response: &Response) -> HttpClientError {
    http.unusable(match content_type(response) {
        Some(other) => format!("its Content-Type is `{}`", printable(other)),
        None => "it has no Content-Type".to_owned(),
    })
}

fn retry_after(response: &Response, now_ms: UnixMs) -> Option<Duration> {
    parse_retry_after(response.headers().get(RETRY_AFTER)?.as_bytes(), now_ms)
}
