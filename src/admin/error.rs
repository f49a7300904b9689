//! The errors of the admin API and their statuses, which only this file knows.
//!
//! Bodies are `application/problem+json` (RFC 9457). The caller is the operator, so the text of an
//! error is sent; the causes of internal errors (paths, system messages) are only logged, once.

mod pools;
mod routes;

use std::io;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder};
use thiserror::Error;

use super::wire::{Problem, RejectedEntry};
use crate::body::BodyError;
use crate::control::{UnknownPeer, UpdateRefused};
use crate::dispatch::MessageError;
use crate::ingest::{ImportError, ImportFailure};
use crate::state::ControlStoreError;
use crate::store::{ContextIdError, StoreError};
use crate::text::with_causes;
use crate::types::PeerIdError;

pub(super) use pools::PoolError;
pub(super) use routes::RouteError;

/// The Retry-After of an overloaded or full server, in seconds.
const RETRY_AFTER_S: &str = "5";

/// What to do about a body that is compressed.
pub(super) const NOT_COMPRESSED: &str = "send the body as it is, without Content-Encoding";

/// Why the admin API refuses.
#[derive(Debug, Error)]
pub(super) enum AdminError {
    // The standard wording of such APIs.
    #[error("Full authentication is required to access this resource")]
    Unauthorized,
    #[error("the request was made by a page of another site")]
    CrossSite,
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("nothing is at this path")]
    UnknownPath,
    #[error("this method is not supported here, only {allow}")]
    MethodNotAllowed { allow: &'static str },
    #[error("{text:?} is not a peer ID")]
    Provider { text: String, source: PeerIdError },
    #[error("{text:?} is not a context ID")]
    Context { text: String, source: ContextIdError },
    #[error("{what} has nothing here")]
    NothingOf { what: String },
    /// The store gave up groups that the disk does not know to be gone.
    #[error(
        "{source}; {what} is gone from answers already, and for good as soon as the disk takes \
         writes again: a restart before would bring it back"
    )]
    Unwritten { what: String, source: StoreError },
    #[error("{0}")]
    Query(String),
    #[error("{header} {value:?} is not understood; {understood}")]
    MediaType { header: &'static str, value: String, understood: &'static str },
    #[error("Accept wants nothing that can be answered here; {offered}")]
    NotAcceptable { offered: &'static str },
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("too many {0} at once")]
    Busy(&'static str),
    #[error("{failure}")]
    Import {
        #[source]
        failure: Box<ImportFailure>,
        rejected: Vec<RejectedEntry>,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error("this is for peer routers, each by its name")]
    NotAPeer,
    #[error(transparent)]
    PeerMessage(#[from] MessageError),
    #[error(transparent)]
    PeerUpdate(#[from] UpdateRefused),
    #[error("the {0} stopped unexpectedly")]
    Panicked(&'static str),
}

impl From<UnknownPeer> for AdminError {
    fn from(unknown: UnknownPeer) -> Self {
        Self::PeerUpdate(unknown.into())
    }
}

impl AdminError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::CrossSite
            | Self::Forbidden(_)
            | Self::NotAPeer
            | Self::PeerUpdate(UpdateRefused::Unknown(_)) => StatusCode::FORBIDDEN,
            Self::UnknownPath | Self::NothingOf { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Provider { .. }
            | Self::Context { .. }
            | Self::Query(_)
            | Self::PeerMessage(_) => StatusCode::BAD_REQUEST,
            Self::PeerUpdate(UpdateRefused::Gap(_)) => StatusCode::CONFLICT,
            Self::Body(error) => body_status(error),
            Self::NotAcceptable { .. } => StatusCode::NOT_ACCEPTABLE,
            Self::MediaType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Import { failure, .. } => import_status(&failure.error),
            Self::Store(error) | Self::Unwritten { source: error, .. } => store_status(error),
            Self::Route(error) => route_status(error),
            Self::Panicked(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The problem document of an error, for a response or for the last line of one. Internal
    /// errors are logged here.
    pub(super) fn into_problem(self) -> Problem {
        let status = self.status();
        let mut detail = self.to_string();
        if status.is_server_error() {
            let causes = with_causes(&self);
            tracing::error!(status = status.as_u16(), error = causes, "an admin request failed");
            if let Self::Import { failure, .. } = &self {
                detail = detail_of_internal(&failure.error);
            }
        } else {
            detail = with_causes(&self);
        }
        let mut problem = Problem {
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail,
            ..Problem::default()
        };
        if let Self::Route(error) = self {
            return error.name(problem);
        }
        // What a peer needs to go on.
        if let Self::PeerUpdate(UpdateRefused::Gap(known)) = self {
            return Problem { last_known: Some(known.into()), ..problem };
        }
        if let Self::Import { failure, rejected } = self {
            problem.imported = failure.summary.map(|summary| summary.counts);
            problem.rejected = rejected;
        }
        problem
    }

    /// The whole answer.
    pub(super) fn into_response(self) -> HttpResponse {
        let status = self.status();
        let body = if let Self::Body(error) = &self { Some(error) } else { None };
        let mut response = respond_with(status, body);
        response.insert_header((header::CONTENT_TYPE, "application/problem+json"));
        if let Self::MethodNotAllowed { allow } = self {
            response.insert_header((header::ALLOW, allow));
        }
        if matches!(self, Self::Unauthorized) {
            response.insert_header((header::WWW_AUTHENTICATE, r#"Basic realm="fingerpost""#));
        }
        let problem = self.into_problem();
        response.body(serde_json::to_string(&problem).expect("its maps have texts as keys"))
    }
}

impl PoolError {
    /// The whole answer.
    pub(super) fn into_response(self) -> HttpResponse {
        let body = if let Self::Body(error) = &self { Some(error) } else { None };
        let mut response = respond_with(pool_status(&self), body);
        if let Self::Method { allow } = self {
            response.insert_header((header::ALLOW, allow));
        }
        response.json(self.into_envelope())
    }
}

/// The answer to `/readyz` of a server that should not be sent requests.
pub(super) fn not_ready() -> HttpResponseBuilder {
    HttpResponse::ServiceUnavailable()
}

/// The head of an error response.
fn respond_with(status: StatusCode, body: Option<&BodyError>) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    if matches!(body, Some(BodyError::TimedOut { .. })) {
        // The rest of the body may still come, and would read as another request.
        response.force_close();
    }
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE) {
        response.insert_header((header::RETRY_AFTER, RETRY_AFTER_S));
    }
    response
}

/// The message to the client for an import that stopped for an internal reason.
fn detail_of_internal(error: &ImportError) -> String {
    match error {
        ImportError::Store { source, .. } => source.to_string(),
        // The body's reader says why in our own words.
        ImportError::Read { .. } => with_causes(error),
        ImportError::Open { .. }
        | ImportError::Format { .. }
        | ImportError::Truncated { .. }
        | ImportError::NoCarRecord { .. }
        | ImportError::Strict { .. } => error.to_string(),
    }
}

fn import_status(error: &ImportError) -> StatusCode {
    match error {
        ImportError::Format { .. }
        | ImportError::Truncated { .. }
        | ImportError::NoCarRecord { .. } => StatusCode::BAD_REQUEST,
        ImportError::Read { source, .. } if source.kind() == io::ErrorKind::TimedOut => {
            StatusCode::REQUEST_TIMEOUT
        }
        ImportError::Read { source, .. } if source.kind() == io::ErrorKind::NotConnected => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ImportError::Read { .. } => StatusCode::BAD_REQUEST,
        ImportError::Strict { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        ImportError::Store { source, .. } => store_status(source),
        // The body is open already.
        ImportError::Open { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn store_status(error: &StoreError) -> StatusCode {
    match error {
        StoreError::Full { .. } | StoreError::NoSpace { .. } => StatusCode::INSUFFICIENT_STORAGE,
        StoreError::Overloaded | StoreError::Unavailable { .. } | StoreError::Io { .. } => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        StoreError::TimedOut => StatusCode::GATEWAY_TIMEOUT,
    }
}

fn body_status(error: &BodyError) -> StatusCode {
    match error {
        BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::TimedOut { .. } => StatusCode::REQUEST_TIMEOUT,
        BodyError::Broken => StatusCode::BAD_REQUEST,
    }
}

fn state_status(error: &ControlStoreError) -> StatusCode {
    match error {
        ControlStoreError::NoSpace { .. } => StatusCode::INSUFFICIENT_STORAGE,
        ControlStoreError::Io { .. }
        | ControlStoreError::Overloaded
        | ControlStoreError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn route_status(error: &RouteError) -> StatusCode {
    match error {
        RouteError::Prefix(_)
        | RouteError::PrefixEncoding
        | RouteError::PrefixPercent
        | RouteError::Body { .. }
        | RouteError::BodyPrefix(_)
        | RouteError::BodyAccount(_)
        | RouteError::Page { .. }
        | RouteError::Address(_)
        | RouteError::NoAddress => StatusCode::BAD_REQUEST,
        RouteError::NoRoute(_) | RouteError::Missing(_) => StatusCode::NOT_FOUND,
        RouteError::Exists(_) => StatusCode::CONFLICT,
        RouteError::NothingToReplace(_) | RouteError::EntityTag => StatusCode::PRECONDITION_FAILED,
        RouteError::Mismatch { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        RouteError::State(error) => state_status(error),
    }
}

fn pool_status(error: &PoolError) -> StatusCode {
    match error {
        PoolError::Request(_) => StatusCode::BAD_REQUEST,
        PoolError::Body(error) => body_status(error),
        PoolError::Compressed { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        PoolError::NotFound { .. } => StatusCode::NOT_FOUND,
        PoolError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        PoolError::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
        PoolError::State(error) => state_status(error),
    }
}
