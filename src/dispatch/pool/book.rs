//! All Routes and rules as they stand, and how they may change.
//!
//! A book is small and cheap to clone: whoever changes it changes a clone, and puts it in the place of
//! the old one when the change is durable.

mod change;
mod restore;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::inventory::{Endpoint, Inventory};
use super::name::RouteName;

pub use restore::BookError;

/// The first rule's id: that of the example in the source document.
const FIRST_RULE: u64 = 42;

/// The id of a Route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub u64);

/// The id of a routing rule: what a routing table names to have a Route asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u64);

/// A pool of endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its id.
    pub id: RouteId,
    /// Its name.
    pub name: RouteName,
    /// Lookups a day that were asked for when endpoints were chosen.
    pub requested_daily_volume: u64,
    /// The Route that is asked when no endpoint of this one can be.
    pub overflow: Option<RouteId>,
    /// The rule that leads here.
    pub rule: RuleId,
    /// The names of its endpoints, those included that have vanished from the configuration.
    pub endpoints: Vec<Arc<str>>,
}

/// A routing rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its id.
    pub id: RuleId,
    /// Its name, made of its Route's.
    pub name: String,
    /// Where it leads.
    pub target: RuleTarget,
}

/// Where a rule leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleTarget {
    /// To a Route.
    Route(RouteId),
    /// To the answer "none found": its Route was deleted.
    Discard,
}

/// A Route with what is worked out of it and of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSummary {
    /// Its id.
    pub id: RouteId,
    /// Its name.
    pub name: String,
    /// Lookups a day that were asked for.
    pub requested_daily_volume: u64,
    /// Lookups a day that its endpoints are good for.
    pub daily_volume: u64,
    /// Lookups an hour that its endpoints are good for.
    pub hourly_rate: u64,
    /// The Route that it overflows into, and that one's name.
    pub overflow: Option<(RouteId, String)>,
    /// Its rule, and that one's name.
    pub rule: (RuleId, String),
}

/// All Routes and rules.
#[derive(Clone, Debug)]
pub struct Book {
    inventory: Arc<Inventory>,
    routes: BTreeMap<RouteId, Route>,
    rules: BTreeMap<RuleId, Rule>,
    next_route: RouteId,
    next_rule: RuleId,
}

impl Book {
    /// A book without Routes.
    pub fn new(inventory: Arc<Inventory>) -> Self {
        Self {
            inventory,
            routes: BTreeMap::new(),
            rules: BTreeMap::new(),
            next_route: RouteId(1),
            next_rule: RuleId(FIRST_RULE),
        }
    }

    /// The endpoints that there are.
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// All Routes, by id.
    pub fn routes(&self) -> &BTreeMap<RouteId, Route> {
        &self.routes
    }

    /// All rules, by id.
    pub fn rules(&self) -> &BTreeMap<RuleId, Rule> {
        &self.rules
    }

    /// The ids that the next Route and its rule get.
    pub fn next_ids(&self) -> (RouteId, RuleId) {
        (self.next_route, self.next_rule)
    }

    /// The Route with this name, whatever the case.
    pub fn route_named(&self, name: &str) -> Option<&Route> {
        self.routes.values().find(|route| route.name.is(name))
    }

    /// A Route for who asks for it.
    pub fn summary(&self, route: &Route) -> RouteSummary {
        let overflow = route.overflow.and_then(|id| self.routes.get(&id));
        RouteSummary {
            id: route.id,
            name: route.name.to_string(),
            requested_daily_volume: route.requested_daily_volume,
            daily_volume: self.daily_volume(route),
            hourly_rate: self.hourly_rate(route),
            overflow: overflow.map(|overflow| (overflow.id, overflow.name.to_string())),
            rule: (route.rule, rule_name(route.id, &route.name)),
        }
    }

    /// A Route, the one that it overflows into, and so on.
    pub fn chain(&self, route: RouteId) -> impl Iterator<Item = &Route> {
        let first = self.routes.get(&route);
        std::iter::successors(first, |route| self.routes.get(&route.overflow?))
    }

    /// The places in the inventory of a Route's endpoints that the configuration still has.
    pub fn places(&self, route: &Route) -> Vec<usize> {
        route.endpoints.iter().filter_map(|name| self.inventory.index_of(name)).collect()
    }

    /// Lookups a day that a Route's endpoints are good for.
    pub fn daily_volume(&self, route: &Route) -> u64 {
        self.sum(route, |endpoint| endpoint.limits.daily_volume)
    }

    /// Lookups an hour that a Route's endpoints are good for.
    pub fn hourly_rate(&self, route: &Route) -> u64 {
        self.sum(route, |endpoint| endpoint.limits.hourly_rate)
    }

    fn sum(&self, route: &Route, of: impl Fn(&Endpoint) -> u64) -> u64 {
        let places = self.places(route);
        let endpoints = places.iter().filter_map(|place| self.inventory.get(*place));
        endpoints.fold(0, |sum, endpoint| sum.saturating_add(of(endpoint)))
    }

    /// The names of endpoints that belong to Routes.
    fn taken(&self) -> BTreeSet<&str> {
        let names = self.routes.values().flat_map(|route| &route.endpoints);
        names.map(|name| &**name).collect()
    }
}

/// What the rule of a Route is called.
fn rule_name(route: RouteId, name: &RouteName) -> String {
    format!("{name} R{route}")
}

impl fmt::Display for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests;
