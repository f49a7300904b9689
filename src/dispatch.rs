//! Which target answers which part of the key space, and how many lookups each endpoint may get.
//!
//! Pure: no I/O, no async, no clock; `now` is a parameter. `resolve` carries out the decisions made
//! here; `control` changes and stores them.

pub mod pool;

mod address;
mod advertise;
mod auth;
mod table;

pub use address::{Address, AddressError, LookupAddress, can_match};
pub use advertise::{
    AdvertisedRoute, AppliedUpdate, Dropped, HOLD_DOWN_MS, ImportPolicy, LastKnown,
    LastKnownFields, MESSAGE_BYTES_MAX, MessageError, NewRoute, OwnRoute, PATH_ROUTERS_MAX,
    ReceivedRoute, ReceivedRoutes, RouteControl, RouteLog, RouteUpdate, RoutingTableId, SyncMode,
    UPDATE_ROUTES_MAX, advertised,
};
pub use auth::{RouteAuth, RouteAuthError};
pub use table::{RouteEntry, RouteOrigin, RoutingTable};
