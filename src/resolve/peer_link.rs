//! What route control needs of a peer router: a way to talk to it.

use futures_util::future::BoxFuture;
use thiserror::Error;

use crate::dispatch::{LastKnown, RouteControl, RouteUpdate};

/// A way to one peer router. A message is delivered within a bounded time, or not; what the peer
/// answers is bounded, too.
pub(crate) trait PeerLink: Send + Sync + 'static {
    /// Says whether we want to be told its routes.
    fn control<'a>(&'a self, control: &'a RouteControl)
    -> BoxFuture<'a, Result<(), PeerLinkError>>;

    /// Tells it our routes.
    fn update<'a>(&'a self, update: &'a RouteUpdate) -> BoxFuture<'a, Result<(), PeerLinkError>>;
}

/// Why a message was not taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum PeerLinkError {
    /// The update does not follow on what the peer knows.
    #[error("it has missed what was told before")]
    Gap(LastKnown),
    /// It cannot be reached, or refuses. The text is printable and holds no credentials.
    #[error("{0}")]
    Failed(String),
}
