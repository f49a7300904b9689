//! GET and HEAD /routing/v1/dht/closest/peers/{key}: which peers of the DHT are closest to a key?
//!
//! Without a DHT nobody can tell, which is said after the key is read: a client learns of a
//! malformed key whatever server it asks.

use actix_web::HttpResponse;

use super::endpoint::decode_id;
use super::error::ApiError;
use crate::types::{ContentKey, PeerId};

/// Answers a request for the peers closest to `key`, as it stands in the path.
pub(super) fn get(key: &str) -> Result<HttpResponse, ApiError> {
    check(key).map_err(|reason| ApiError::Malformed { parameter: "key", reason })?;
    Err(ApiError::NotOffered { what: "looking up the closest peers" })
}

/// A key is a CID of any kind, or a peer ID.
fn check(key: &str) -> Result<(), String> {
    let text = decode_id(key)?;
    if PeerId::parse(&text).is_ok() {
        return Ok(());
    }
    ContentKey::from_cid_text(&text)
        .map(drop)
        .map_err(|error| format!("neither a peer ID nor a CID: {error}"))
}
