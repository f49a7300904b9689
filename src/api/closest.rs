//! GET and HEAD /routing/v1/dht/closest/peers/{key}: which peers of the DHT are closest to a key?
//!
//! Without a DHT nobody can tell, which is said after the key is read: a client learns of a
//! malformed key whatever server it asks.

use actix_web::{HttpRequest, HttpResponse, web};

use super::decode_segment;
use super::edge::Context;
use super::error::ApiError;
use crate::types::{ContentKey, PeerId};

/// Answers a request for the peers closest to `key`, as it stands in the path.
pub(super) async fn get(request: HttpRequest, key: web::Path<String>) -> HttpResponse {
    let error = match check(&key) {
        Ok(()) => ApiError::NotOffered { what: "looking up the closest peers" },
        Err(reason) => ApiError::Malformed { parameter: "key", reason },
    };
    error.to_response(Context::of(&request).request_id())
}

/// A key is a CID of any kind, or a peer ID.
fn check(key: &str) -> Result<(), String> {
    let text = decode_segment(key)?;
    if PeerId::parse(&text).is_ok() {
        return Ok(());
    }
    ContentKey::from_cid_text(&text)
        .map(drop)
        .map_err(|error| format!("neither a peer ID nor a CID: {error}"))
}
