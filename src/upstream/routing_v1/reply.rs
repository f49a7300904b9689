//! The head of an answer: found, not found, or an error.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;

use super::Shared;
use super::body::AnswerFormat;
use super::failure::ExchangeFailure;
use crate::clock::UnixMs;
use crate::http_client::{HttpAnswer, HttpClient, HttpClientError};
use crate::text::printable;
use crate::upstream::backoff::{BACKOFF_MIN, parse_retry_after};

/// The `Accept` of requests for records: a stream is preferred.
pub(super) const ACCEPT_RECORDS: &str = "application/x-ndjson, application/json;q=0.9";

/// A successful answer, by its status.
pub(super) enum Reply {
    /// 200: the body has the answer.
    Body(HttpAnswer),
    /// 404 or 204: not found, whatever the body is.
    None,
}

/// Reads the status of an answer.
pub(super) async fn read(shared: &Shared, answer: HttpAnswer) -> Result<Reply, ExchangeFailure> {
    let (http, now_ms) = (&shared.http, shared.clock.now_ms());
    match answer.status() {
        StatusCode::OK => Ok(Reply::Body(answer)),
        StatusCode::NOT_FOUND | StatusCode::NO_CONTENT => Ok(Reply::None),
        StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => {
            Err(ExchangeFailure::NotOffered)
        }
        StatusCode::LOOP_DETECTED => Err(ExchangeFailure::Loop),
        StatusCode::TOO_MANY_REQUESTS => {
            Err(ExchangeFailure::Backoff(retry_after(&answer, now_ms).unwrap_or(BACKOFF_MIN)))
        }
        StatusCode::SERVICE_UNAVAILABLE => match retry_after(&answer, now_ms) {
            Some(time) => Err(ExchangeFailure::Backoff(time)),
            None => Err(http.refusal(answer).await.into()),
        },
        _ => Err(http.refusal(answer).await.into()),
    }
}

/// The format of an answer with records.
pub(super) fn answer_format(
    http: &HttpClient,
    answer: &HttpAnswer,
) -> Result<AnswerFormat, HttpClientError> {
    let format = answer.content_type().and_then(AnswerFormat::of_content_type);
    format.ok_or_else(|| {
        http.unusable(match answer.content_type() {
            Some(other) => format!("its Content-Type is `{}`", printable(other)),
            None => "it has no Content-Type".to_owned(),
        })
    })
}

fn retry_after(answer: &HttpAnswer, now_ms: UnixMs) -> Option<Duration> {
    parse_retry_after(answer.header(RETRY_AFTER)?, now_ms)
}
