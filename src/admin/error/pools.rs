//! The errors of the pool API, in the envelope of source 001, which differs from the rest of the
//! admin API. The causes of internal errors are only logged.

use super::NOT_COMPRESSED;
use crate::admin::wire::PoolRefusal;
use crate::body::BodyError;
use crate::control::PoolsError;
use crate::dispatch::pool::{ChangeError, PoolId};
use crate::state::ControlStoreError;
use crate::text::with_causes;

/// Why a request is refused.
#[derive(Debug)]
pub(in crate::admin) enum PoolError {
    /// A malformed request, for these reasons.
    Request(Vec<String>),
    /// The body cannot be read.
    Body(BodyError),
    /// The body is compressed, so.
    Compressed { value: String },
    /// There is no pool with this id.
    NotFound { id: String },
    /// An invalid draft, for these reasons.
    Invalid(Vec<String>),
    /// The method is not allowed; these are.
    Method { allow: &'static str },
    /// The change cannot be written.
    State(ControlStoreError),
}

impl PoolError {
    pub(in crate::admin) fn request(message: impl Into<String>) -> Self {
        Self::Request(vec![message.into()])
    }

    pub(in crate::admin) fn not_found(id: PoolId) -> Self {
        Self::NotFound { id: id.to_string() }
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
                let message = if error.is_uncertain() {
                    "changes cannot be stored now, and whether this one is kept is not certain: look, \
                     and try again"
                } else {
                    "nothing was changed, because changes cannot be stored now: try again"
                };
                vec![message.into()]
            }
        }
    }

    /// The body of the response. Internal errors are logged here.
    pub(super) fn into_envelope(self) -> PoolRefusal {
        let error_code = self.code().to_owned();
        PoolRefusal { success: false, data: None, error_code, error_messages: self.messages() }
    }
}

impl From<PoolsError> for PoolError {
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
