//! Our advertisements as a log of changes: each has an epoch, and only the latest of each prefix is
//! kept.
//!
//! Invariants: sending the log from epoch 0 yields all that is advertised; sending it from any
//! epoch brings a peer that knows all earlier epochs up to date. A prefix has one entry, so the log
//! is as long as there are prefixes, withdrawn ones included; when too many are withdrawn, a
//! compacted log with another table ID replaces it, and every peer starts over.

use std::collections::{BTreeMap, HashMap};

use crate::invariant;
use crate::types::{RoutePrefix, TargetId};

use super::{AdvertisedRoute, LastKnown, NewRoute, RouteUpdate, RoutingTableId, UPDATE_ROUTES_MAX};

/// The most withdrawn prefixes, beyond the number of routes, before the log is compacted.
const GONE_MAX: usize = 1_000;

/// The log of what we advertise.
#[derive(Clone, Debug)]
pub(crate) struct RouteLog {
    table_id: RoutingTableId,
    speaker: TargetId,
    hold_down_ms: u64,
    next_epoch: u64,
    changes: BTreeMap<u64, LogEntry>,
    epochs: HashMap<RoutePrefix, u64>,
    gone: usize,
}

#[derive(Clone, Debug)]
struct LogEntry {
    prefix: RoutePrefix,
    /// `None` if it was withdrawn.
    route: Option<AdvertisedRoute>,
}

impl RouteLog {
    /// An empty log of the router `speaker`, which sends an update at least every `hold_down_ms`.
    pub(crate) fn new(table_id: RoutingTableId, speaker: TargetId, hold_down_ms: u64) -> Self {
        Self {
            table_id,
            speaker,
            hold_down_ms,
            next_epoch: 0,
            changes: BTreeMap::new(),
            epochs: HashMap::new(),
            gone: 0,
        }
    }

    /// The table's ID.
    pub(crate) fn table_id(&self) -> RoutingTableId {
        self.table_id
    }

    /// The epoch of the next change.
    pub(crate) fn next_epoch(&self) -> u64 {
        self.next_epoch
    }

    /// Advertises exactly `routes` from now on. Returns whether that is a change.
    pub(crate) fn advertise(&mut self, routes: &BTreeMap<RoutePrefix, AdvertisedRoute>) -> bool {
        let withdrawn: Vec<RoutePrefix> = self
            .live()
            .map(|(prefix, _)| prefix)
            .filter(|it| !routes.contains_key(it))
            .cloned()
            .collect();
        let changed = routes.iter().filter(|(prefix, route)| self.live_at(prefix) != Some(*route));
        let changed: Vec<LogEntry> = changed
            .map(|(prefix, route)| LogEntry { prefix: prefix.clone(), route: Some(route.clone()) })
            .collect();
        let is_change = !(withdrawn.is_empty() && changed.is_empty());
        self.gone += withdrawn.len();
        let withdrawn = withdrawn.into_iter().map(|prefix| LogEntry { prefix, route: None });
        for change in withdrawn.chain(changed) {
            self.append(change);
        }
        if self.gone > GONE_MAX + routes.len() {
            self.start_anew();
        }
        is_change
    }

    /// The first epoch to send to a peer that knows this much.
    pub(crate) fn first_unknown_to(&self, known: LastKnown) -> u64 {
        let is_ours = known.table_id == self.table_id && known.epoch <= self.next_epoch;
        if is_ours { known.epoch } else { 0 }
    }

    /// The update for `peer`, which knows all epochs before `epoch`: at most as many changes as an
    /// update may have. Without changes it is a heartbeat.
    pub(crate) fn update_from(&self, epoch: u64, peer: &TargetId) -> RouteUpdate {
        let mut rest = self.changes.range(epoch..);
        let mut update = RouteUpdate {
            table_id: self.table_id,
            current_epoch: self.next_epoch,
            from_epoch: epoch,
            to_epoch: self.next_epoch,
            hold_down_ms: self.hold_down_ms,
            speaker: self.speaker.clone(),
            new_routes: Vec::new(),
            withdrawn_routes: Vec::new(),
        };
        for (_, LogEntry { prefix, route }) in rest.by_ref().take(UPDATE_ROUTES_MAX) {
            let prefix = prefix.clone();
            match route {
                // The peer may know another route for the prefix.
                Some(route) if route.next_hop.as_ref() != Some(peer) => {
                    let AdvertisedRoute { path, auth, .. } = route.clone();
                    update.new_routes.push(NewRoute { prefix, path, auth });
                }
                Some(_) | None => update.withdrawn_routes.push(prefix),
            }
        }
        if let Some((next, _)) = rest.next() {
            update.to_epoch = *next;
        }
        update
    }

    /// All that is advertised.
    pub(crate) fn live(&self) -> impl Iterator<Item = (&RoutePrefix, &AdvertisedRoute)> {
        self.changes.values().filter_map(|change| Some((&change.prefix, change.route.as_ref()?)))
    }

    fn live_at(&self, prefix: &RoutePrefix) -> Option<&AdvertisedRoute> {
        let change = self.changes.get(self.epochs.get(prefix)?);
        invariant::present(change, "the epoch of a prefix is that of a change")?.route.as_ref()
    }

    fn append(&mut self, change: LogEntry) {
        let before = self.epochs.insert(change.prefix.clone(), self.next_epoch);
        let before = before.and_then(|epoch| self.changes.remove(&epoch));
        if change.route.is_some() && before.is_some_and(|before| before.route.is_none()) {
            invariant::holds(self.gone > 0, "withdrawn prefixes are counted");
            self.gone = self.gone.saturating_sub(1);
        }
        self.changes.insert(self.next_epoch, change);
        self.next_epoch += 1;
    }

    fn start_anew(&mut self) {
        let fresh = Self::new(self.table_id.successor(), self.speaker.clone(), self.hold_down_ms);
        let Self { changes, .. } = std::mem::replace(self, fresh);
        for change in changes.into_values().filter(|change| change.route.is_some()) {
            self.append(change);
        }
    }
}
