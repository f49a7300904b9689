//! Which resolver answers which part of the key space, and how much each upstream may be asked.
//!
//! Pure: no I/O, nothing asynchronous, no clock; `now` is a parameter. What is decided here is carried
//! out by `resolve`, and changed and kept by `control`.

pub mod pool;

mod address;
mod auth;
mod table;

pub use address::{Address, AddressError, LookupAddress};
pub use auth::{RouteAuth, RouteAuthError};
pub use table::{Origin, RouteEntry, RoutingTable};
