//! Every error of the admin API and the status it is told with: the only place that knows them.
//!
//! Bodies are `application/problem+json` (RFC 9457). The caller is the operator, so the text of an
//! error is told; what is behind one of ours (paths, the system's words) goes to the log, once.

mod peer;
mod routes;

use std::io;

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use thiserror::Error;

use super::wire::{Problem, RejectedEntry};
use crate::body::BodyError;
use crate::ingest::{ImportError, ImportFailure};
use crate::store::{ContextIdError, StoreError};
use crate::text::with_causes;
use crate::types::PeerIdError;

pub(super) use peer::PeerError;
pub(super) use routes::RouteError;

/// How long a caller is asked to wait where there is too much at once, or no room.
const RETRY_AFTER_S: &str = "5";

/// Why the admin API refuses.
#[derive(Debug, Error)]
pub(super) enum AdminError {
    // The words that clients of such APIs know.
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
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("the {0} stopped unexpectedly")]
    Panicked(&'static str),
}

impl AdminError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::CrossSite | Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::UnknownPath | Self::NothingOf { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Provider { .. }
            | Self::Context { .. }
            | Self::Query(_)
            | Self::Body(BodyError::Broken) => StatusCode::BAD_REQUEST,
            Self::NotAcceptable { .. } => StatusCode::NOT_ACCEPTABLE,
            Self::Body(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyError::TimedOut { .. }) => StatusCode::REQUEST_TIMEOUT,
            Self::MediaType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Import { failure, .. } => import_status(&failure.error),
            Self::Store(error) | Self::Unwritten { source: error, .. } => store_status(error),
            Self::Route(error) => error.status(),
            Self::Peer(error) => error.status(),
            Self::Panicked(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The error as it is told, on its own or as the last line of an answer. What is ours is logged
    /// here.
    pub(super) fn into_problem(self) -> Problem {
        let status = self.status();
        let mut detail = self.to_string();
        if status.is_server_error() {
            let causes = with_causes(&self);
            tracing::error!(status = status.as_u16(), error = causes, "an admin request failed");
            if let Self::Import { failure, .. } = &self {
                detail = told_of_ours(&failure.error);
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
        if let Self::Peer(error) = self {
            return error.complete(problem);
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
        let mut response = HttpResponse::build(status);
        response
            .insert_header((header::CONTENT_TYPE, "application/problem+json"))
            .insert_header((header::CACHE_CONTROL, "no-store"));
        if let Self::MethodNotAllowed { allow } = self {
            response.insert_header((header::ALLOW, allow));
        }
        if matches!(self, Self::Body(BodyError::TimedOut { .. })) {
            // The rest of the body may still come, and would read as another request.
            response.force_close();
        }
        if matches!(self, Self::Unauthorized) {
            response.insert_header((header::WWW_AUTHENTICATE, r#"Basic realm="fingerpost""#));
        }
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE) {
            response.insert_header((header::RETRY_AFTER, RETRY_AFTER_S));
        }
        let problem = self.into_problem();
        response.body(serde_json::to_string(&problem).expect("its maps have texts as keys"))
    }
}

/// What the client is told of an import that stopped for a reason of ours.
fn told_of_ours(error: &ImportError) -> String {
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
