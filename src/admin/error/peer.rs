//! The errors of what peer routers say. A gap has the fields that a peer needs to go on.

use actix_web::http::StatusCode;
use thiserror::Error;

use crate::admin::wire::Problem;
use crate::control::{UnknownPeer, UpdateRefused};
use crate::dispatch::MessageError;

/// Why a message of a peer is refused.
#[derive(Debug, Error)]
pub(in crate::admin) enum PeerError {
    #[error("this is for peer routers, each by its name")]
    NoPeer,
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error(transparent)]
    Refused(#[from] UpdateRefused),
}

impl From<UnknownPeer> for PeerError {
    fn from(unknown: UnknownPeer) -> Self {
        Self::Refused(unknown.into())
    }
}

impl PeerError {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NoPeer | Self::Refused(UpdateRefused::Unknown(_)) => StatusCode::FORBIDDEN,
            Self::Message(_) => StatusCode::BAD_REQUEST,
            Self::Refused(UpdateRefused::Gap(_)) => StatusCode::CONFLICT,
        }
    }

    /// Adds what the peer needs to go on.
    pub(super) fn complete(self, problem: Problem) -> Problem {
        match self {
            Self::Refused(UpdateRefused::Gap(known)) => {
                Problem { last_known: Some(known.into()), ..problem }
            }
            Self::NoPeer | Self::Message(_) | Self::Refused(UpdateRefused::Unknown(_)) => problem,
        }
    }
}
