//! The only place of the public API that knows status codes for errors.
//!
//! Every error is one line of plain text of at most [`LINE_BYTES_MAX`] bytes, is never cached, and
//! says what the caller can do. Our own faults say nothing but a request id; what happened is in
//! the log under the same id.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use thiserror::Error;

use super::request_id::RequestId;
use crate::body::BodyError;
use crate::clock::whole_seconds;
use crate::ingest::PutError;
use crate::resolve::{IpnsStoreError, ResolveError, StoreError};
use crate::types::{FilterError, Limit};

/// The longest error text, in bytes.
pub(crate) const LINE_BYTES_MAX: usize = 1024;

/// Why a request has no answer.
#[derive(Debug, Error)]
pub(crate) enum ApiError {
    /// A part of the request does not say what it should.
    #[error("{parameter}: {reason}")]
    Malformed { parameter: &'static str, reason: String },
    /// A filter cannot be used; the text names its parameter.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Nothing is at this path.
    #[error("unknown path; this API begins with /routing/v1/, try /routing/v1/providers/{{cid}}")]
    UnknownPath,
    /// Something is at this path, but not for this method.
    #[error("{method} is not supported here; use {allow}")]
    MethodNotSupported { method: String, allow: &'static str },
    /// A part of the API that this server does not offer.
    #[error("{what} is not offered by this server")]
    NotOffered { what: &'static str },
    /// The client takes none of the media types that there are.
    #[error("the Accept header admits none of: {offered}")]
    NotAcceptable { offered: &'static str },
    /// The request's body has another media type than the one that is taken here.
    #[error("the Content-Type is not {expected}, which is what is taken here")]
    MediaType { expected: &'static str },
    /// The request's body is compressed.
    #[error("the Content-Encoding is {value:?}; send the body as it is, without one")]
    Compressed { value: String },
    /// What was sent to be stored is not what it should be.
    #[error("{part}: {reason}")]
    Invalid { part: &'static str, reason: String },
    /// What was sent to be stored counts less than what is there.
    #[error("{reason}")]
    Superseded { reason: String },
    /// The request's body cannot be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The request's headers are larger than allowed.
    #[error("the request's headers are larger than {bytes_max} bytes")]
    HeadersTooLarge { bytes_max: usize },
    /// The lookup was forwarded too often, as in a loop of routers.
    #[error("this lookup came through more than {hops_max} routers; they may point at each other")]
    TooManyHops { hops_max: u8 },
    /// The client asks too often.
    #[error("too many requests; try again in {retry_after_s} s")]
    RateLimited { retry_after_s: u64, limit: Limit },
    /// There is more work than can be done in time.
    #[error("too many announcements at once")]
    Overloaded,
    /// An announcement is not taken in.
    #[error(transparent)]
    Put(#[from] PutError),
    /// The lookup failed.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A handler panicked.
    #[error("a handler panicked: {0}")]
    Panicked(String),
}

/// Whose fault an error is that its client is told no reason of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An operator of this server has to look.
    Ours,
    /// Somebody else's, as a rule.
    Upstreams,
}

/// How long a client should wait when the server is overloaded, in seconds.
const OVERLOADED_RETRY_AFTER_S: u64 = 1;

/// How long a client should wait when there is no room, or the disk does not work, in seconds: an
/// operator or a compaction has to make room first.
const NO_ROOM_RETRY_AFTER_S: u64 = 30;

impl ApiError {
    /// The status that the error is told with.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Malformed { .. } | Self::Filter(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::UnknownPath | Self::Invalid { .. } | Self::Body(BodyError::Broken) => {
                StatusCode::BAD_REQUEST
            }
            Self::MethodNotSupported { .. }
            | Self::NotOffered { .. }
            | Self::Resolve(ResolveError::NotOffered) => StatusCode::NOT_IMPLEMENTED,
            Self::NotAcceptable { .. } | Self::MediaType { .. } => StatusCode::NOT_ACCEPTABLE,
            Self::Compressed { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Superseded { .. } => StatusCode::CONFLICT,
            Self::Body(BodyError::TimedOut { .. }) => StatusCode::REQUEST_TIMEOUT,
            Self::TooManyHops { .. } => StatusCode::LOOP_DETECTED,
            Self::Body(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeadersTooLarge { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Put(error) => put_status(error),
            Self::Overloaded
            | Self::Resolve(ResolveError::Overloaded | ResolveError::Backoff { .. }) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Resolve(ResolveError::Ipns(error)) => ipns_status(error),
            Self::Resolve(ResolveError::Discarded) => StatusCode::FORBIDDEN,
            Self::Resolve(ResolveError::OverBudget { .. }) => StatusCode::TOO_MANY_REQUESTS,
            Self::Resolve(ResolveError::UpstreamsFailed(_) | ResolveError::UnknownTarget(_)) => {
                StatusCode::BAD_GATEWAY
            }
            Self::Resolve(ResolveError::TimedOut(_)) => StatusCode::GATEWAY_TIMEOUT,
            Self::Resolve(ResolveError::Store(error)) => store_status(error),
            Self::Panicked(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The whole answer. [`FailureLog`](super::failure_log::FailureLog) has the reason of one that names
    /// the request's id.
    pub(crate) fn to_response(&self, request_id: &RequestId) -> HttpResponse {
        let status = self.status();
        let line = if self.fault().is_some() {
            let reason = status.canonical_reason().unwrap_or("error").to_ascii_lowercase();
            format!("{reason}; request id {}", request_id.as_str())
        } else {
            one_line(&self.to_string())
        };
        let mut response = HttpResponse::build(status);
        response
            .insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8"))
            .insert_header((header::CACHE_CONTROL, "no-store"));
        if let Some(seconds) = self.retry_after_s() {
            response.insert_header((header::RETRY_AFTER, HeaderValue::from(seconds)));
        }
        if let Self::MethodNotSupported { allow, .. } = self {
            response.insert_header((header::ALLOW, *allow));
        }
        if matches!(self, Self::Compressed { .. }) {
            response.insert_header((header::ACCEPT_ENCODING, "identity"));
        }
        if matches!(self, Self::Body(BodyError::TimedOut { .. })) {
            // The rest of the body may still come, and would read as another request.
            response.force_close();
        }
        response.body(line + "\n")
    }

    /// Whose fault it is where the client is told no reason; `None`: the answer says it.
    pub(crate) fn fault(&self) -> Option<Fault> {
        if !self.status().is_server_error() || self.is_about_the_request() {
            return None;
        }
        let is_of_upstreams = matches!(
            self,
            Self::Resolve(
                ResolveError::UpstreamsFailed(_)
                    | ResolveError::TimedOut(_)
                    | ResolveError::UnknownTarget(_)
            )
        );
        Some(if is_of_upstreams { Fault::Upstreams } else { Fault::Ours })
    }

    /// The limit that is reached, where it is one on what a client may have or send.
    pub(crate) fn limit(&self) -> Option<Limit> {
        if let Self::RateLimited { limit, .. } = self {
            return Some(*limit);
        }
        if let Self::Put(PutError::NoRoom(StoreError::Full { limit })) = self {
            return Some(*limit);
        }
        if let Self::Resolve(ResolveError::Ipns(error)) = self {
            return ipns_limit(error);
        }
        None
    }

    /// What the metrics call an IPNS record that was not stored for this reason.
    pub(crate) fn ipns_outcome(&self) -> &'static str {
        match self {
            Self::Superseded { .. } => "superseded",
            Self::Body(BodyError::TooLarge { .. }) => "too_large",
            Self::Resolve(
                ResolveError::Discarded
                | ResolveError::OverBudget { .. }
                | ResolveError::Ipns(
                    IpnsStoreError::Full { .. } | IpnsStoreError::NetworkFull { .. },
                ),
            ) => "refused",
            Self::Resolve(_) | Self::Panicked(_) | Self::Overloaded => "failed",
            Self::Malformed { .. }
            | Self::Filter(_)
            | Self::UnknownPath
            | Self::MethodNotSupported { .. }
            | Self::NotOffered { .. }
            | Self::NotAcceptable { .. }
            | Self::MediaType { .. }
            | Self::Compressed { .. }
            | Self::Invalid { .. }
            | Self::Body(BodyError::Broken | BodyError::TimedOut { .. })
            | Self::HeadersTooLarge { .. }
            | Self::TooManyHops { .. }
            | Self::RateLimited { .. }
            | Self::Put(_) => "invalid",
        }
    }

    /// Some say what the caller asked for, not what went wrong with us; and a store without room is
    /// nothing that has to be found out.
    fn is_about_the_request(&self) -> bool {
        let names =
            if let Self::Resolve(ResolveError::Ipns(error)) = self { Some(error) } else { None };
        matches!(
            self,
            Self::NotOffered { .. }
                | Self::Resolve(ResolveError::NotOffered)
                | Self::MethodNotSupported { .. }
                | Self::TooManyHops { .. }
                | Self::Overloaded
                | Self::Put(PutError::NoRoom(StoreError::Full { .. }))
                | Self::Resolve(ResolveError::Backoff { .. })
        ) || matches!(
            names,
            Some(
                IpnsStoreError::Full { .. }
                    | IpnsStoreError::NetworkFull { .. }
                    | IpnsStoreError::Overloaded
            )
        )
    }

    fn retry_after_s(&self) -> Option<u64> {
        if let Self::RateLimited { retry_after_s, .. } = self {
            return Some(*retry_after_s);
        }
        if let Self::Resolve(
            ResolveError::OverBudget { retry_after } | ResolveError::Backoff { retry_after },
        ) = self
        {
            return Some(whole_seconds(*retry_after).max(1));
        }
        let is_overloaded = matches!(
            self,
            Self::Overloaded
                | Self::Resolve(
                    ResolveError::Overloaded
                        | ResolveError::Ipns(IpnsStoreError::Overloaded)
                        | ResolveError::Store(StoreError::Overloaded)
                )
        );
        if is_overloaded {
            return Some(OVERLOADED_RETRY_AFTER_S);
        }
        matches!(
            self,
            Self::Resolve(
                ResolveError::Ipns(_)
                    | ResolveError::Store(
                        StoreError::Full { .. }
                            | StoreError::Unavailable { .. }
                            | StoreError::NoSpace { .. }
                            | StoreError::Io { .. }
                    )
            ) | Self::Put(PutError::NoRoom(_) | PutError::Unavailable(_))
        )
        .then_some(NO_ROOM_RETRY_AFTER_S)
    }
}

fn put_status(error: &PutError) -> StatusCode {
    match error {
        PutError::Malformed { .. } => StatusCode::BAD_REQUEST,
        PutError::Refused { .. } => StatusCode::FORBIDDEN,
        PutError::TooMany { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        PutError::Key { .. } | PutError::Addrs { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        PutError::NoRoom(_) => StatusCode::INSUFFICIENT_STORAGE,
        PutError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// A lookup that the store failed: it may be better soon, and is nothing that the client did.
fn store_status(error: &StoreError) -> StatusCode {
    match error {
        StoreError::Full { .. }
        | StoreError::Overloaded
        | StoreError::Unavailable { .. }
        | StoreError::NoSpace { .. }
        | StoreError::Io { .. } => StatusCode::SERVICE_UNAVAILABLE,
        StoreError::TimedOut => StatusCode::GATEWAY_TIMEOUT,
    }
}

fn ipns_limit(error: &IpnsStoreError) -> Option<Limit> {
    match error {
        IpnsStoreError::Full { .. } => Some(Limit::IpnsRecords),
        IpnsStoreError::NetworkFull { .. } => Some(Limit::NetworkIpnsRecords),
        IpnsStoreError::Overloaded
        | IpnsStoreError::NoSpace { .. }
        | IpnsStoreError::Io { .. }
        | IpnsStoreError::Unavailable { .. } => None,
    }
}

fn ipns_status(error: &IpnsStoreError) -> StatusCode {
    match error {
        IpnsStoreError::Full { .. }
        | IpnsStoreError::Overloaded
        | IpnsStoreError::Io { .. }
        | IpnsStoreError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        IpnsStoreError::NetworkFull { .. } | IpnsStoreError::NoSpace { .. } => {
            StatusCode::INSUFFICIENT_STORAGE
        }
    }
}

/// One line without control characters, cut at a character's border.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for character in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if line.len() + character.len_utf8() >= LINE_BYTES_MAX {
            break;
        }
        line.push(character);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_short_line_whatever_the_request_held() {
        let text = format!("a\r\nb\u{7}{}", "é".repeat(2000));
        let line = one_line(&text);
        assert!(line.len() < LINE_BYTES_MAX);
        assert!(line.starts_with("a  b "));
        assert!(!line.contains(char::is_control));
    }
}
