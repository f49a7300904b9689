//! The trait by which route control talks to a peer router.

use futures_util::future::BoxFuture;
use thiserror::Error;

use crate::dispatch::{LastKnown, RouteControl, RouteUpdate};

/// A link to one peer router. Every message ends in a bounded time, and the size of the peer's answer is
/// bounded.
pub(crate) trait PeerLink: Send + Sync + 'static {
    /// Subscribes to its routes, or unsubscribes.
    fn control<'a>(&'a self, control: &'a RouteControl)
    -> BoxFuture<'a, Result<(), PeerLinkError>>;

    /// Sends it our routes.
    fn update<'a>(&'a self, update: &'a RouteUpdate) -> BoxFuture<'a, Result<(), PeerLinkError>>;
}

/// Why a message was not accepted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum PeerLinkError {
    /// The update does not follow on what the peer knows.
    #[error("it has missed an earlier update")]
    Gap(LastKnown),
    /// It cannot be reached, or refuses. The text is printable and holds no credentials.
    #[error("{0}")]
    Failed(String),
}
