//! The failures of an exchange, and what each means to the caller, the metrics and the breaker.
//!
//! | what happened | caller | breaker |
//! |---|---|---|
//! | no connection, broken off, a redirect that is not followed, no routing answer | failed | failure |
//! | no answer in time | timed out | failure |
//! | 5xx | failed | failure |
//! | 502 | failed | works |
//! | 504 | timed out | works |
//! | 429, 503 with `Retry-After` | backoff | works |
//! | 405, 501 | not offered | works |
//! | 508 | loop | works |
//! | 409 and other statuses | failed | works |
//! | more bytes or records than are read | failed | works |
//! | records that cannot be used | failed | works |
//!
//! Bad records do not count against the upstream: a stranger who announces nonsense there must not
//! open its breaker here. Nor does the refusal of one question, nor the failure of a router behind
//! it: that must not cut off the upstream's own index.

use std::time::Duration;

use reqwest::StatusCode;
use thiserror::Error;

use crate::http_client::HttpClientError;
use crate::metrics::UpstreamOutcome;
use crate::resolve::AskError;
use crate::text::{printable, with_root_cause};

/// Why there is no whole answer.
#[derive(Debug, Error)]
pub(super) enum ExchangeFailure {
    #[error("it does not offer this")]
    NotOffered,
    /// The lookup has passed too many routers.
    #[error("the lookup loops between routers")]
    Loop,
    #[error("it asks to be left alone for {}", humantime::format_duration(*.0))]
    Backoff(Duration),
    #[error(transparent)]
    Client(#[from] HttpClientError),
    /// Its answer has no usable record; printable.
    #[error("{0}")]
    Contents(String),
}

impl ExchangeFailure {
    /// Whether it counts against the upstream.
    pub(super) fn is_of_upstream(&self) -> bool {
        match self {
            Self::NotOffered | Self::Loop | Self::Backoff(_) | Self::Contents(_) => false,
            Self::Client(error) => match error {
                HttpClientError::Connect { .. }
                | HttpClientError::TimedOut { .. }
                | HttpClientError::BrokeOff { .. }
                | HttpClientError::Packed { .. }
                | HttpClientError::Redirect { .. }
                | HttpClientError::Unusable { .. } => true,
                HttpClientError::Status { status, .. } => {
                    status.is_server_error() && !is_of_those_behind(*status)
                }
                HttpClientError::TooLarge { .. }
                | HttpClientError::BadUrl { .. }
                | HttpClientError::Setup(_) => false,
            },
        }
    }

    pub(super) fn outcome(&self) -> UpstreamOutcome {
        match self {
            Self::NotOffered => UpstreamOutcome::NotOffered,
            Self::Loop => UpstreamOutcome::Loop,
            Self::Backoff(_) | Self::Client(HttpClientError::Status { .. }) => {
                UpstreamOutcome::Refused
            }
            Self::Client(HttpClientError::TimedOut { .. }) => UpstreamOutcome::TimedOut,
            Self::Client(_) | Self::Contents(_) => UpstreamOutcome::Failed,
        }
    }

    /// The failure as callers see it: with its root cause, and printable.
    pub(super) fn to_ask_error(&self) -> AskError {
        match self {
            Self::NotOffered => AskError::NotOffered,
            Self::Loop => AskError::Loop,
            Self::Backoff(retry_after) => AskError::Backoff { retry_after: *retry_after },
            Self::Client(HttpClientError::TimedOut { .. }) => AskError::TimedOut,
            Self::Client(HttpClientError::Status { status, .. })
                if *status == StatusCode::GATEWAY_TIMEOUT =>
            {
                AskError::TimedOut
            }
            Self::Client(error) => AskError::Failed(printable(&with_root_cause(error)).into()),
            Self::Contents(reason) => AskError::Failed(reason.as_str().into()),
        }
    }
}

/// Whether a status is about the upstream's own upstreams.
fn is_of_those_behind(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16) -> ExchangeFailure {
        let (url, status) = ("http://far.test".to_owned(), StatusCode::from_u16(code).unwrap());
        ExchangeFailure::Client(HttpClientError::Status { url, status, text: "because".to_owned() })
    }

    #[test]
    fn only_what_the_upstream_is_at_fault_for_counts_against_it() {
        let url = || "http://far.test".to_owned();
        let contents = ExchangeFailure::Contents("no".to_owned());
        let too_large = ExchangeFailure::Client(HttpClientError::TooLarge {
            url: url(),
            what: "bytes",
            limit: 1,
        });
        let not_routing = ExchangeFailure::Client(HttpClientError::Unusable {
            url: url(),
            reason: "no".to_owned(),
        });
        for (failure, expected, outcome) in [
            (status(500), true, UpstreamOutcome::Refused),
            (status(503), true, UpstreamOutcome::Refused),
            (status(502), false, UpstreamOutcome::Refused),
            (status(504), false, UpstreamOutcome::Refused),
            (status(422), false, UpstreamOutcome::Refused),
            (status(401), false, UpstreamOutcome::Refused),
            (ExchangeFailure::NotOffered, false, UpstreamOutcome::NotOffered),
            (ExchangeFailure::Loop, false, UpstreamOutcome::Loop),
            (ExchangeFailure::Backoff(Duration::from_secs(1)), false, UpstreamOutcome::Refused),
            (contents, false, UpstreamOutcome::Failed),
            (too_large, false, UpstreamOutcome::Failed),
            (not_routing, true, UpstreamOutcome::Failed),
        ] {
            assert_eq!(failure.is_of_upstream(), expected, "{failure}");
            assert_eq!(failure.outcome(), outcome, "{failure}");
        }
    }

    #[test]
    fn errors_say_why() {
        let expected = "http://far.test answered 500 Internal Server Error: because";
        assert_eq!(status(500).to_ask_error(), AskError::Failed(expected.into()));
        assert_eq!(status(504).to_ask_error(), AskError::TimedOut);
        assert_eq!(ExchangeFailure::Loop.to_ask_error(), AskError::Loop);
        let retry_after = Duration::from_secs(4);
        let backoff = ExchangeFailure::Backoff(retry_after).to_ask_error();
        assert_eq!(backoff, AskError::Backoff { retry_after });
    }
}
