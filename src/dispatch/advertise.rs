//! The exchange of routes between routers: what is advertised, what is accepted, what is
//! propagated.
//!
//! An advertising router keeps a [`RouteLog`]: each change of its advertisements has an epoch, and
//! a peer that knows the epochs up to some point is sent the later ones. A listening router keeps
//! one [`ReceivedRoutes`] per peer: what that peer advertises, until its hold-down passes.
//! [`advertised`] connects the two: the best of our own routes and those received.
//!
//! Invariants: the routes kept of a peer are what it advertised at one of its epochs, minus what
//! the import policy drops; an update that leaves a gap changes nothing; a route whose path
//! contains us is not kept, and no route is sent to the peer it leads to.
//!
//! Source: the Connector-to-Connector Protocol of Interledger (route control and route update), as JSON.

mod choice;
mod log;
mod message;
mod received;
mod table_id;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use choice::{AdvertisedRoute, OwnRoute, advertised};
pub(crate) use log::RouteLog;
pub(crate) use message::{LastKnown, SyncMode};
pub use message::{NewRoute, RouteControl, RouteUpdate};
pub(crate) use received::{Dropped, ReceivedRoute};
pub use received::{ImportPolicy, ReceivedRoutes};
pub use table_id::RoutingTableId;
pub(crate) use wire::{LastKnownFields, MessageError};

/// The most routers on a path: a lookup is forwarded over at most [`PATH_ROUTERS_MAX`] / 2 anyway.
pub const PATH_ROUTERS_MAX: usize = 16;

/// The most new routes in a received update, and the most changes in one of ours. Fifty of the
/// longest prefixes with the longest paths are 120 KiB of JSON: half of [`MESSAGE_BYTES_MAX`].
pub const UPDATE_ROUTES_MAX: usize = 50;

/// The longest message, in bytes of JSON.
pub(crate) const MESSAGE_BYTES_MAX: usize = 256 * 1_024;

/// The default hold-down: how long routes of a silent peer are kept.
pub(crate) const HOLD_DOWN_MS: u64 = 45_000;
