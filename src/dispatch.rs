//! Which resolver answers which part of the key space, and how much each upstream may be asked.
//!
//! Pure: no I/O, nothing asynchronous, no clock; `now` is a parameter. What is decided here is carried
//! out by `resolve`, and changed and kept by `control`.

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
