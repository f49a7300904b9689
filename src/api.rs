//! The public API: `/routing/v1` (seeds/002 and its extensions; specs/ has the clauses).
//!
//! `edge` stands around every request: it parses the path into an `endpoint`, once, and hands the
//! request to the file of its family (`lookup`, `announce`, `ipns`). Handlers see a
//! `context` and the `state`, never the edge. `error` is the only file that maps errors to statuses.

mod accept;
mod announce;
mod answer;
mod body;
mod client_address;
mod conditional;
mod context;
mod cors;
mod edge;
mod endpoint;
mod error;
mod failure_log;
mod form;
mod ipns;
mod lookup;
mod rate_limit;
mod request_id;
mod state;
mod stream;

use std::net::IpAddr;

use ipnet::IpNet;

pub(crate) use edge::app;
pub(crate) use state::{ApiParts, ApiState};

/// The media type in which a lookup is answered to a request with this `Accept` header; `None`: 406.
pub fn negotiated(accept: &[u8]) -> Option<&'static str> {
    accept::negotiate(std::iter::once(accept)).map(form::Format::media_type)
}

/// The address that a request is counted under, and whether it is certain, given its TCP peer and a line
/// of each header.
pub fn counted_client(
    peer: IpAddr,
    x_forwarded_for: &[u8],
    forwarded: &[u8],
    trusted: &[IpNet],
) -> (IpAddr, bool) {
    let [list, pairs] = [x_forwarded_for, forwarded].map(std::iter::once);
    let client = client_address::client_address(peer, list, pairs, trusted);
    (client.ip, client.certainty == client_address::Certainty::Sure)
}

/// Whether a line of `If-None-Match` names this entity tag, which has its quotes.
pub fn names_tag(if_none_match: &[u8], etag: &[u8]) -> bool {
    conditional::names_tag(if_none_match, etag)
}
