//! GET and HEAD /routing/v1/peers/{peer-id}: how is this peer reached?

use super::error::ApiError;
use super::{ListName, decode_segment};
use crate::resolve::Subject;
use crate::types::PeerId;

/// The name of the list in a JSON answer.
pub(super) const LIST: ListName = ListName::Peers;

/// What is looked up, from the path's last segment as it stands there.
pub(super) fn subject(peer: &str) -> Result<Subject, ApiError> {
    let malformed = |reason| ApiError::Malformed { parameter: "peer-id", reason };
    let text = decode_segment(peer).map_err(malformed)?;
    let peer = PeerId::parse(&text).map_err(|error| malformed(error.to_string()))?;
    Ok(Subject::Peer(peer))
}
