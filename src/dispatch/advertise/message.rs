//! What two routers say to each other about routes, once it is read and found legal.

use crate::dispatch::RouteAuth;
use crate::types::{AccountId, RoutePrefix};

use super::RoutingTableId;

/// How far a router knows another one's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastKnown {
    /// The table; [`RoutingTableId::NONE`] where none is known.
    pub table_id: RoutingTableId,
    /// The first epoch that is not known.
    pub epoch: u64,
}

impl LastKnown {
    /// Nothing is known.
    pub const NOTHING: Self = Self { table_id: RoutingTableId::NONE, epoch: 0 };
}

/// Whether updates are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// No more.
    Idle,
    /// From what is last known on.
    Sync,
}

/// A router says whether it wants to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteControl {
    /// Whether it does.
    pub mode: SyncMode,
    /// What it knows already.
    pub last_known: LastKnown,
}

/// A router tells what it advertises: what has changed in some of its epochs, or nothing, to let itself
/// be received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteUpdate {
    /// The table that the epochs belong to.
    pub table_id: RoutingTableId,
    /// The epoch of the next change that the table will have.
    pub current_epoch: u64,
    /// The first epoch that is told.
    pub from_epoch: u64,
    /// The first epoch that is not.
    pub to_epoch: u64,
    /// How long to believe that the router is there, in milliseconds.
    pub hold_down_ms: u64,
    /// What the router calls itself.
    pub speaker: AccountId,
    /// Routes that are new or have changed.
    pub new_routes: Vec<NewRoute>,
    /// Prefixes that are no longer advertised.
    pub withdrawn_routes: Vec<RoutePrefix>,
}

/// A route as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRoute {
    /// The part of the key space.
    pub prefix: RoutePrefix,
    /// The routers on the way, the nearest first.
    pub path: Vec<AccountId>,
    /// What proves it.
    pub auth: RouteAuth,
}
