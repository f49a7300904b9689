//! Routes that routers tell each other: what is said, what is kept of it, and what is passed on.
//!
//! A router that advertises keeps a [`RouteLog`]: each change of what it advertises has an epoch, and
//! whoever knows the epochs up to some point is told those from there on. A router that listens keeps
//! one [`ReceivedRoutes`] for each peer: what that peer advertises, for as long as it lets itself be heard.
//! [`advertised`] joins the two: the best of what is our own and what was heard.
//!
//! Invariants: what is kept of a peer is what the peer advertised at one of its epochs, less what it
//! may not advertise; an update that does not follow on what is known changes nothing; no route is kept
//! whose path leads through us, none is told to the peer that it leads to.
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

pub use choice::{AdvertisedRoute, OwnRoute, advertised};
pub use log::RouteLog;
pub use message::{LastKnown, NewRoute, RouteControl, RouteUpdate, SyncMode};
pub use received::{AppliedUpdate, Dropped, ImportPolicy, ReceivedRoute, ReceivedRoutes};
pub use table_id::RoutingTableId;
pub use wire::{LastKnownFields, MessageError};

/// The most routers on a path: a lookup is not forwarded further than [`PATH_ROUTERS_MAX`] / 2 anyway.
pub const PATH_ROUTERS_MAX: usize = 16;

/// The most new routes in an update, and of ours, the most changes. Fifty of the longest prefixes with
/// the longest paths are 120 KiB of JSON: half of [`MESSAGE_BYTES_MAX`].
pub const UPDATE_ROUTES_MAX: usize = 50;

/// The longest message, in bytes of JSON.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1_024;

/// How long a peer that says nothing is believed to be there, as we ask for it.
pub const HOLD_DOWN_MS: u64 = 45_000;
