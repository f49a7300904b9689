//! Which target answers which part of the key space, and how many lookups each endpoint may get.
//!
//! Pure: no I/O, no async, no clock; `now` is a parameter. `resolve` carries out the decisions made
//! here; `control` changes and stores them.

pub mod pool;

mod address;
mod advertise;
mod auth;
mod table;

pub use address::{Address, LookupAddress};
pub(crate) use address::{AddressError, can_match};
pub(crate) use advertise::{
    Dropped, HOLD_DOWN_MS, LastKnown, LastKnownFields, MESSAGE_BYTES_MAX, MessageError, OwnRoute,
    RouteLog, SyncMode, advertised,
};
pub use advertise::{
    ImportPolicy, NewRoute, PATH_ROUTERS_MAX, ReceivedRoutes, RouteControl, RouteUpdate,
    RoutingTableId, UPDATE_ROUTES_MAX,
};
pub use auth::RouteAuth;
pub(crate) use auth::RouteAuthError;
pub use table::{RouteEntry, RouteOrigin, RoutingTable};
