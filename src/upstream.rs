//! Remote routers: asking other Routing V1 servers, and talking to peer routers.
//!
//! Whatever a remote router sends is untrusted: every part of its answer has a bound, a record that
//! cannot be read costs only itself, and its texts are made printable before they reach an error
//! message. Whether an upstream is asked at all is decided apart from the protocol: `admission` lets
//! requests in, `breaker` stops asking one that fails, `backoff` one that asks for a pause.

mod admission;
mod backoff;
#[cfg(test)]
mod battery;
mod breaker;
mod peer_router;
mod routing_v1;

pub use backoff::parse_retry_after;
pub(crate) use peer_router::{HttpPeerLink, PeerLogin};
pub use routing_v1::{AnswerLimits, received};
pub(crate) use routing_v1::{
    ProvidersAnswer, ProvidersQuery, ReceivedRecord, RouterUrl, RoutingClient, RoutingV1Upstream,
    UpstreamOffers, UpstreamOptions,
};
