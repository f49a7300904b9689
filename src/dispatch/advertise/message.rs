//! The messages of the exchange, validated: requests and updates between two routers.

use crate::dispatch::RouteAuth;
use crate::types::{RoutePrefix, TargetId};

use super::RoutingTableId;

/// How much of another router's table a router knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastKnown {
    /// The table, or [`RoutingTableId::NONE`].
    pub table_id: RoutingTableId,
    /// The first epoch that is not known.
    pub epoch: u64,
}

impl LastKnown {
    /// Nothing is known.
    pub(crate) const NOTHING: Self = Self { table_id: RoutingTableId::NONE, epoch: 0 };
}

/// Whether a router subscribes to updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncMode {
    /// No updates.
    Idle,
    /// Updates from the last known epoch on.
    Sync,
}

/// A request that starts or ends a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteControl {
    /// Which of the two.
    pub(crate) mode: SyncMode,
    /// How much is known already.
    pub(crate) last_known: LastKnown,
}

/// An update: the changes of a range of epochs, or none, as a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteUpdate {
    /// The table that the epochs belong to.
    pub table_id: RoutingTableId,
    /// The epoch of the next change that the table will have.
    pub current_epoch: u64,
    /// The first epoch included.
    pub from_epoch: u64,
    /// The first epoch after those included.
    pub to_epoch: u64,
    /// How long to keep the routes without another update, in milliseconds.
    pub hold_down_ms: u64,
    /// The sender's name.
    pub speaker: TargetId,
    /// Routes that are new or have changed.
    pub new_routes: Vec<NewRoute>,
    /// Prefixes that are no longer advertised.
    pub withdrawn_routes: Vec<RoutePrefix>,
}

/// A route in an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRoute {
    /// The prefix.
    pub prefix: RoutePrefix,
    /// The routers on the path, nearest first.
    pub path: Vec<TargetId>,
    /// Its `auth` value.
    pub auth: RouteAuth,
}
