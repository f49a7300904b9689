//! What one peer advertises to us, for as long as it lets itself be received.
//!
//! Invariants: no route is kept outside what the peer may advertise, none whose path leads through us
//! or over too many routers, and no more than there may be. An update is taken whole or not at all;
//! whether it is taken or not, it extends the time for which the peer is believed to be there. When that
//! time has passed, everything is forgotten, and what comes next begins from nothing.

use std::collections::BTreeMap;

use crate::clock::UnixMs;
use crate::dispatch::RouteAuth;
use crate::types::{AccountId, RoutePrefix};

use super::{LastKnown, NewRoute, PATH_ROUTERS_MAX, RouteUpdate};

/// The shortest hold-down that is granted: one lost message must not take a peer's routes away.
const HOLD_DOWN_MS_MIN: u64 = 1_000;

/// The longest hold-down that is granted: a peer that is gone must not keep its routes for long.
const HOLD_DOWN_MS_MAX: u64 = 5 * 60 * 1_000;

/// What a peer may advertise.
#[derive(Clone, Debug)]
pub struct ImportPolicy {
    /// What we call ourselves.
    pub us: AccountId,
    /// The parts of the key space that it may advertise, and what is below them; none: nothing.
    pub accept: Vec<RoutePrefix>,
    /// How many routes of it are kept.
    pub routes_max: usize,
}

/// What was heard of a peer.
#[derive(Clone, Debug)]
pub struct ReceivedRoutes {
    rules: ImportPolicy,
    known: LastKnown,
    routes: BTreeMap<RoutePrefix, ReceivedRoute>,
    expires_at_ms: UnixMs,
    hold_down_ms: u64,
    /// Whether routes of this table were dropped because there were too many.
    has_excess: bool,
}

/// A route that a peer advertises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedRoute {
    /// The routers on the way, the nearest first.
    pub path: Vec<AccountId>,
    /// What proves it, as we were told it.
    pub auth: RouteAuth,
}

/// What an update did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppliedUpdate {
    /// Whether routes came, went or are others now.
    pub is_change: bool,
    /// What of it is not kept.
    pub dropped: Dropped,
}

/// Routes of an update that are not kept, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// The peer may not advertise the prefix.
    pub not_accepted: usize,
    /// The path leads through us.
    pub loops: usize,
    /// The path has too many routers.
    pub too_long: usize,
    /// There were as many as may be.
    pub excess: usize,
}

impl Dropped {
    /// How many.
    pub fn count(&self) -> usize {
        self.not_accepted + self.loops + self.too_long + self.excess
    }
}

impl ReceivedRoutes {
    /// Nothing yet.
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

    /// What is known of the peer's table.
    pub fn last_known(&self, now_ms: UnixMs) -> LastKnown {
        if now_ms < self.expires_at_ms { self.known } else { LastKnown::NOTHING }
    }

    /// How long the peer is believed to be there after a word of it, in milliseconds.
    pub fn hold_down_ms(&self) -> u64 {
        self.hold_down_ms
    }

    /// The routes, by prefix, and until when they hold if the peer says nothing more; none past that.
    pub fn routes(
        &self,
        now_ms: UnixMs,
    ) -> (impl Iterator<Item = (&RoutePrefix, &ReceivedRoute)>, UnixMs) {
        let is_alive = now_ms < self.expires_at_ms;
        (self.routes.iter().filter(move |_| is_alive), self.expires_at_ms)
    }

    /// Forgets everything if the peer was not heard for its hold-down. Whether there were routes.
    pub fn expire(&mut self, now_ms: UnixMs) -> bool {
        if now_ms < self.expires_at_ms {
            return false;
        }
        self.known = LastKnown::NOTHING;
        self.has_excess = false;
        !std::mem::take(&mut self.routes).is_empty()
    }

    /// Takes an update.
    ///
    /// # Errors
    ///
    /// It does not follow on what is known of its table, and changes no route. What is known of that
    /// table comes back: an update from there on would be taken. Of a table that was not heard of before
    /// this is its epoch 0; the routes of the one before stay until one from there on comes.
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
                    // What it takes the place of is not advertised any more.
                    has_removed |= self.routes.remove(&route.prefix).is_some();
                }
                None => {
                    let received = ReceivedRoute { path: route.path, auth: route.auth };
                    let before = self.routes.insert(route.prefix, received.clone());
                    applied.is_change |= before.as_ref() != Some(&received);
                }
            }
        }
        applied.is_change |= has_removed;
        self.has_excess |= applied.dropped.excess > 0;
        if has_removed && self.has_excess && self.routes.len() < self.rules.routes_max {
            // There is room for what had to be dropped, so that all of it shall be told again.
            self.known.epoch = 0;
            self.has_excess = false;
        }
    }

    /// Where a route that is not to be kept is counted.
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
