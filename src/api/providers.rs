//! GET and HEAD /routing/v1/providers/{cid}: who has this CID?

use super::error::ApiError;
use super::{ListName, decode_segment};
use crate::resolve::Subject;
use crate::types::ContentKey;

/// The name of the list in a JSON answer.
pub(super) const LIST: ListName = ListName::Providers;

/// What is looked up, from the path's last segment as it stands there.
pub(super) fn subject(cid: &str) -> Result<Subject, ApiError> {
    let malformed = |reason| ApiError::Malformed { parameter: "cid", reason };
    let text = decode_segment(cid).map_err(malformed)?;
    let key = ContentKey::from_cid_text(&text).map_err(|error| malformed(error.to_string()))?;
    Ok(Subject::Content(key))
}
