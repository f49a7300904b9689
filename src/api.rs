//! The public API: `/routing/v1` (seeds/002 and its extensions; specs/ has the clauses).
//!
//! `edge` stands around every request: it parses the path into an `endpoint`, once, and hands the
//! request to the file of its family (`lookup`, `announce`, `ipns`, `closest`). Handlers see a
//! `context` and the `state`, never the edge. `error` is the only file that maps errors to statuses.

mod accept;
mod announce;
mod answer;
mod body;
mod client_address;
mod closest;
mod conditional;
mod context;
mod cors;
mod edge;
mod endpoint;
mod error;
mod form;
mod ipns;
mod lookup;
mod rate_limit;
mod request_id;
mod state;
mod stream;

pub use edge::app;
pub use state::{ApiParts, ApiState};

/// The media type in which a lookup is answered to a request with this `Accept` header; `None`: 406.
pub fn negotiated(accept: &[u8]) -> Option<&'static str> {
    accept::negotiate(std::iter::once(accept)).map(form::Format::media_type)
}
