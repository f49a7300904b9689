//! Failures of requests to another HTTP server, by what the caller can do.

use std::time::Duration;

use reqwest::StatusCode;
use thiserror::Error;

/// Why a server gave no answer that can be used. URLs in it carry no credentials, and text that the
/// server sent is printable.
#[derive(Debug, Error)]
pub enum HttpClientError {
    /// The server's URL cannot be used.
    #[error("`{url}` is not the URL of a server: {reason}")]
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
        /// The server.
        url: String,
        /// What failed.
        source: reqwest::Error,
    },
    /// The answer did not arrive whole in time.
    #[error("{url} gave no whole answer within {}", humantime::format_duration(*.timeout))]
    TimedOut {
        /// The server.
        url: String,
        /// The time that it had.
        timeout: Duration,
    },
    /// The connection ended before the answer did.
    #[error("the answer of {url} broke off")]
    BrokeOff {
        /// The server.
        url: String,
        /// What failed.
        source: reqwest::Error,
    },
    /// The body has an encoding that was not asked for, or is corrupt.
    #[error("the answer of {url} cannot be unpacked")]
    Packed {
        /// The server.
        url: String,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// The server redirects, and the redirect is not followed.
    #[error("a redirect of {url} is not followed")]
    Redirect {
        /// The server.
        url: String,
        /// What is wrong with it.
        source: reqwest::Error,
    },
    /// The server refuses the request.
    #[error("{url} answered {status}{}{text}", if .text.is_empty() { "" } else { ": " })]
    Status {
        /// The server.
        url: String,
        /// The answer's status.
        status: StatusCode,
        /// The first line of the answer's text; empty where it has none.
        text: String,
    },
    /// The answer is not one of the protocol.
    #[error("{url} gave an answer that cannot be used: {reason}")]
    Unusable {
        /// The server.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The answer exceeds a limit.
    #[error("{url} sent more than {limit} {what}")]
    TooLarge {
        /// The server.
        url: String,
        /// What exceeds it.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}
