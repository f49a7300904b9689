//! Remote routers: asking another Routing V1 server over HTTP.
//!
//! Whatever a remote router sends is untrusted: every part of its answer has a bound, a record
//! that cannot be read costs only itself, and its texts are made printable before they reach an
//! error message. Failures are [`UpstreamError`]s, told apart by what the caller can do about them.

mod answer;
mod body;
mod client;
mod error;
mod http;
mod http_upstream;
mod peer_router;
mod printable;
mod router_url;
#[cfg(test)]
pub(crate) mod test_router;

pub use answer::{ProvidersAnswer, ReceivedRecord};
pub use body::AnswerLimits;
pub use client::ClientOptions;
pub use error::UpstreamError;
pub use http::{ProvidersQuery, RoutingClient};
pub use http_upstream::{HttpUpstream, UpstreamOffers, UpstreamOptions, received};
pub use peer_router::{HttpPeerLink, PeerLogin};
pub(crate) use printable::{printable, printable_json, printable_word};
pub use router_url::RouterUrl;
