//! Every error of the API of pools and the status it is told with: the only place that knows them.
//!
//! They have the envelope of source 001, which is not that of the rest of the admin API. What is ours
//! goes to the log; the caller is told that and no more.

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};

use super::super::body::NOT_COMPRESSED;
use super::wire::PoolRefusal;
use crate::body::BodyError;
use crate::control::PoolsError;
use crate::dispatch::pool::{ChangeError, PoolId};
use crate::state::StateError;
use crate::text::with_causes;

/// How long a caller is asked to wait until changes can be written again, in seconds.
const RETRY_AFTER_S: &str = "5";

/// Why a request is refused.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The request cannot be understood, for these reasons.
    Request(Vec<String>),
    /// The body cannot be read.
    Body(BodyError),
    /// The body is compressed, so.
    Compressed { value: String },
    /// There is no pool with this id.
    NotFound { id: String },
    /// Pools cannot be so, for these reasons.
    Invalid(Vec<String>),
    /// This is not done here; that is.
    Method { allow: &'static str },
    /// The change cannot be written.
    State(StateError),
}

impl Refusal {
    pub(super) fn request(message: impl Into<String>) -> Self {
        Self::Request(vec![message.into()])
    }

    pub(super) fn not_found(id: PoolId) -> Self {
        Self::NotFound { id: id.to_string() }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::Body(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyError::TimedOut { .. }) => StatusCode::REQUEST_TIMEOUT,
            Self::Body(BodyError::Broken) => StatusCode::BAD_REQUEST,
            Self::Compressed { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::State(StateError::NoSpace { .. }) => StatusCode::INSUFFICIENT_STORAGE,
            Self::State(
                StateError::Io { .. } | StateError::Overloaded | StateError::Unavailable { .. },
            ) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Request(_) | Self::Body(_) | Self::Compressed { .. } | Self::Method { .. } => {
                "invalid_request"
            }
            Self::NotFound { .. } => "not_found",
            Self::Invalid(_) => "validation_failed",
            Self::State(_) => "unavailable",
        }
    }

    fn messages(self) -> Vec<String> {
        match self {
            Self::Request(messages) | Self::Invalid(messages) => messages,
            Self::Body(error) => vec![error.to_string()],
            Self::Compressed { value } => {
                vec![format!("Content-Encoding {value:?} is not understood; {NOT_COMPRESSED}")]
            }
            Self::NotFound { id } => vec![match id.parse() {
                Ok(id) => ChangeError::NotFound(PoolId(id)).to_string(),
                Err(_) => format!("there is no pool {id}: ids are whole numbers from 1"),
            }],
            Self::Method { allow } => {
                vec![format!("this method is not for this path: use {allow}")]
            }
            Self::State(error) => {
                let causes = with_causes(&error);
                tracing::error!(error = causes, "a change of pools was not written");
                vec!["nothing was changed, because changes cannot be stored now: try again".into()]
            }
        }
    }

    /// The whole answer.
    pub(super) fn into_response(self) -> HttpResponse {
        let status = self.status();
        let error_code = self.code().to_owned();
        let mut response = HttpResponse::build(status);
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        if let Self::Method { allow } = self {
            response.insert_header((header::ALLOW, allow));
        }
        if matches!(self, Self::Body(BodyError::TimedOut { .. })) {
            // The rest of the body may still come, and would read as another request.
            response.force_close();
        }
        if status.is_server_error() {
            response.insert_header((header::RETRY_AFTER, RETRY_AFTER_S));
        }
        let error_messages = self.messages();
        response.json(PoolRefusal { success: false, data: None, error_code, error_messages })
    }
}

impl From<PoolsError> for Refusal {
    fn from(error: PoolsError) -> Self {
        match error {
            PoolsError::NotFound(id) => Self::not_found(id),
            PoolsError::Invalid(problems) => {
                Self::Invalid(problems.iter().map(ToString::to_string).collect())
            }
            PoolsError::State(error) => Self::State(error),
        }
    }
}
