//! What one peer advertises to us, for as long as it lets itself be received.
//!
//! Invariants: no route is kept that the import policy refuses, whose path contains us or too many
//! routers, or beyond the maximum count. An update is applied whole or not at all; either way it
//! extends the hold-down. When the hold-down passes, all state is dropped and the next update
//! starts from nothing.

use std::collections::BTreeMap;

use crate::clock::UnixMs;
use crate::dispatch::RouteAuth;
use crate::invariant;
use crate::types::{RoutePrefix, TargetId};

use super::{LastKnown, NewRoute, PATH_ROUTERS_MAX, RouteUpdate};

/// The shortest hold-down: one lost message must not remove a peer's routes.
const HOLD_DOWN_MS_MIN: u64 = 1_000;

/// The longest hold-down: a dead peer must not keep its routes for long.
const HOLD_DOWN_MS_MAX: u64 = 5 * 60 * 1_000;

/// Which routes of a peer are accepted.
#[derive(Clone, Debug)]
pub struct ImportPolicy {
    /// Our own name.
    pub us: TargetId,
    /// The prefixes that it may advertise, including everything below them.
    pub accept: Vec<RoutePrefix>,
    /// The most routes kept of it.
    pub routes_max: usize,
}

/// The routes received from a peer.
#[derive(Clone, Debug)]
pub struct ReceivedRoutes {
    rules: ImportPolicy,
    known: LastKnown,
    routes: BTreeMap<RoutePrefix, ReceivedRoute>,
    expires_at_ms: UnixMs,
    hold_down_ms: u64,
    /// Whether routes of this table were dropped for exceeding the maximum count.
    has_excess: bool,
}

/// A route received from a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedRoute {
    /// The routers on the path, nearest first.
    pub path: Vec<TargetId>,
    /// Its `auth` value, as received.
    pub(crate) auth: RouteAuth,
}

/// The effect of an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppliedUpdate {
    /// Whether any route was added, removed or changed.
    pub(crate) is_change: bool,
    /// The routes of it that were dropped.
    pub(crate) dropped: Dropped,
}

/// Dropped routes of an update, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// The peer may not advertise the prefix.
    pub(crate) not_accepted: usize,
    /// The path contains us.
    pub(crate) loops: usize,
    /// The path has too many routers.
    pub(crate) too_long: usize,
    /// The maximum count was reached.
    pub(crate) excess: usize,
}

impl Dropped {
    /// The total.
    pub(crate) fn count(&self) -> usize {
        self.not_accepted + self.loops + self.too_long + self.excess
    }
}

impl ReceivedRoutes {
    /// No routes yet.
    pub fn new(rules: ImportPolicy) -> Self {
        Self {
            rules,
            known: LastKnown::NOTHING,
            routes: BTreeMap::new(),
            expires_at_ms: 0,
            hold_down_ms: super::HOLD_DOWN_MS,
            has_excess: false,
        }
    }

    /// How much of the peer's table is known.
    pub(crate) fn last_known(&self, now_ms: UnixMs) -> LastKnown {
        if now_ms < self.expires_at_ms { self.known } else { LastKnown::NOTHING }
    }

    /// The peer's hold-down, in milliseconds.
    pub(crate) fn hold_down_ms(&self) -> u64 {
        self.hold_down_ms
    }

    /// The live routes by prefix, and when they expire unless another update comes.
    pub fn routes(
        &self,
        now_ms: UnixMs,
    ) -> (impl Iterator<Item = (&RoutePrefix, &ReceivedRoute)>, UnixMs) {
        let is_alive = now_ms < self.expires_at_ms;
        (self.routes.iter().filter(move |_| is_alive), self.expires_at_ms)
    }

    /// Drops everything if the hold-down has passed. Returns whether there were routes.
    pub fn expire(&mut self, now_ms: UnixMs) -> bool {
        if now_ms < self.expires_at_ms {
            return false;
        }
        self.known = LastKnown::NOTHING;
        self.has_excess = false;
        !std::mem::take(&mut self.routes).is_empty()
    }

    /// Applies an update.
    ///
    /// # Errors
    ///
    /// An update that leaves a gap changes no route. The error says how much of its table is known;
    /// an update from there on would be applied. For a table not seen before this is epoch 0; the
    /// routes of the previous table stay until its first update.
    pub fn apply(
        &mut self,
        update: RouteUpdate,
        now_ms: UnixMs,
    ) -> Result<AppliedUpdate, LastKnown> {
        let has_expired = self.expire(now_ms);
        self.hold_down_ms = update.hold_down_ms.clamp(HOLD_DOWN_MS_MIN, HOLD_DOWN_MS_MAX);
        self.expires_at_ms = now_ms.saturating_add(self.hold_down_ms);
        let is_new_table = update.table_id != self.known.table_id;
        let epoch = if is_new_table { 0 } else { self.known.epoch };
        if update.from_epoch > epoch {
            return Err(LastKnown { table_id: update.table_id, epoch });
        }
        let mut applied = AppliedUpdate { is_change: has_expired, dropped: Dropped::default() };
        if is_new_table {
            self.known = LastKnown { table_id: update.table_id, epoch: 0 };
            self.has_excess = false;
            applied.is_change |= !std::mem::take(&mut self.routes).is_empty();
        }
        if update.to_epoch > epoch {
            self.known.epoch = update.to_epoch;
            self.change(update, &mut applied);
        }
        Ok(applied)
    }

    fn change(&mut self, update: RouteUpdate, applied: &mut AppliedUpdate) {
        let mut has_removed = false;
        for prefix in &update.withdrawn_routes {
            has_removed |= self.routes.remove(prefix).is_some();
        }
        for route in update.new_routes {
            match self.reason_to_drop(&route, &mut applied.dropped) {
                Some(count) => {
                    *count += 1;
                    // The route that it replaces is no longer advertised.
                    has_removed |= self.routes.remove(&route.prefix).is_some();
                }
                None => {
                    let received = ReceivedRoute { path: route.path, auth: route.auth };
                    let before = self.routes.insert(route.prefix, received.clone());
                    applied.is_change |= before.as_ref() != Some(&received);
                }
            }
        }
        let is_bounded = self.routes.len() <= self.rules.routes_max;
        invariant::holds(is_bounded, "no more routes are kept than allowed");
        applied.is_change |= has_removed;
        self.has_excess |= applied.dropped.excess > 0;
        if has_removed && self.has_excess && self.routes.len() < self.rules.routes_max {
            // There is room for routes that were dropped, so request the whole table again.
            self.known.epoch = 0;
            self.has_excess = false;
        }
    }

    /// The counter of the reason to drop a route, if there is one.
    fn reason_to_drop<'a>(
        &self,
        route: &NewRoute,
        dropped: &'a mut Dropped,
    ) -> Option<&'a mut usize> {
        let ImportPolicy { us, accept, routes_max } = &self.rules;
        if !accept.iter().any(|part| part.covers(&route.prefix)) {
            Some(&mut dropped.not_accepted)
        } else if route.path.contains(us) {
            Some(&mut dropped.loops)
        } else if route.path.len() > PATH_ROUTERS_MAX {
            Some(&mut dropped.too_long)
        } else if self.routes.len() >= *routes_max && !self.routes.contains_key(&route.prefix) {
            Some(&mut dropped.excess)
        } else {
            None
        }
    }
}
