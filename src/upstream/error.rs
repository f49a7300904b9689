//! What can go wrong between us and a remote router, by what the caller can do about it.

use std::time::Duration;

use reqwest::StatusCode;
use thiserror::Error;

/// Why a remote router gave no answer that can be used. URLs in it carry no credentials, and text
/// that the router sent is printable.
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// The router's URL cannot be used.
    #[error("`{url}` is not the URL of a router: {reason}")]
    BadUrl {
        /// The text that was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No client could be set up: the system has no root certificates, as a rule.
    #[error("cannot set up an HTTPS client")]
    Setup(#[source] reqwest::Error),
    /// No connection, or no trusted one.
    #[error("cannot connect to {url}")]
    Connect {
        /// The router.
        url: String,
        /// What failed.
        source: reqwest::Error,
    },
    /// The answer was not whole in time.
    #[error("{url} gave no whole answer within {}", humantime::format_duration(*.timeout))]
    TimedOut {
        /// The router.
        url: String,
        /// The time that it had.
        timeout: Duration,
    },
    /// The connection ended before the answer did.
    #[error("the answer of {url} broke off")]
    BrokeOff {
        /// The router.
        url: String,
        /// What failed.
        source: reqwest::Error,
    },
    /// The router redirects in a way that is not followed.
    #[error("a redirect of {url} is not followed")]
    Redirect {
        /// The router.
        url: String,
        /// What is wrong with it.
        source: reqwest::Error,
    },
    /// The router refuses the request.
    #[error("{url} answered {status}{}{text}", if .text.is_empty() { "" } else { ": " })]
    Status {
        /// The router.
        url: String,
        /// The answer's status.
        status: StatusCode,
        /// The first line of the answer's text; empty where it has none.
        text: String,
    },
    /// The answer is not one of a Routing V1 server.
    #[error("{url} did not give a Routing V1 answer: {reason}")]
    NotRouting {
        /// The router.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The answer goes on beyond what is read of one.
    #[error("{url} sent more than {limit} {what}")]
    TooLarge {
        /// The router.
        url: String,
        /// What there is too much of.
        what: &'static str,
        /// How much is read.
        limit: usize,
    },
}

impl UpstreamError {
    /// What a person can do about it, where there is something.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::BadUrl { .. } | Self::Redirect { .. } => None,
            Self::Setup(_) => Some("install the system's root certificates (`ca-certificates`)"),
            Self::Connect { .. } => Some("check the URL, and that a router listens there"),
            Self::TimedOut { .. } => Some("give it more time, or ask another router"),
            Self::BrokeOff { .. } => Some("try again, or ask another router"),
            Self::Status { status, .. } => status_advice(*status),
            Self::NotRouting { .. } => Some(
                "check that the URL is that of a Routing V1 server, not of a gateway or a page",
            ),
            Self::TooLarge { .. } => Some("narrow the question with filters"),
        }
    }

    /// The error of a request that failed, under the name of `url`. `timeout` is the time that
    /// the whole request had, `connect_timeout` the part of it that connecting had.
    pub(super) fn of_request(
        source: reqwest::Error,
        url: &str,
        timeout: Duration,
        connect_timeout: Duration,
    ) -> Self {
        // The full URL, query included, would only repeat what the caller asked for.
        let source = source.without_url();
        let url = url.to_owned();
        match (source.is_timeout(), source.is_connect()) {
            (true, true) => Self::TimedOut { url, timeout: connect_timeout.min(timeout) },
            (true, false) => Self::TimedOut { url, timeout },
            _ if source.is_redirect() => Self::Redirect { url, source },
            (false, true) => Self::Connect { url, source },
            (false, false) => Self::BrokeOff { url, source },
        }
    }
}

fn status_advice(status: StatusCode) -> Option<&'static str> {
    match status {
        StatusCode::TOO_MANY_REQUESTS => Some("wait before asking again"),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Some("the router does not answer everybody: ask its operator")
        }
        StatusCode::NOT_IMPLEMENTED => Some("the router does not offer provider lookups"),
        status if status.is_server_error() => Some("try again later, or ask another router"),
        _ => None,
    }
}
