//! All pools and rules, and their changes.
//!
//! A book is small and cheap to clone: a change is made on a clone, which replaces the book once
//! the change is durable.

mod change;
mod restore;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::inventory::{Inventory, PoolEndpoint};
use super::name::PoolName;
use crate::invariant;

pub(crate) use restore::BookError;

/// The first rule's id: that of the example in the source document.
const FIRST_RULE: u64 = 42;

/// The id of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub u64);

/// The id of a routing rule, by which a routing table refers to a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u64);

/// A pool of endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its id.
    pub id: PoolId,
    /// Its name.
    pub name: PoolName,
    /// The requested lookups a day, for which endpoints are provisioned.
    pub requested_daily_volume: u64,
    /// The pool that is used when no endpoint of this one is available.
    pub(crate) overflow: Option<PoolId>,
    /// The rule that leads here.
    pub rule: RuleId,
    /// The names of its endpoints, including those removed from the configuration.
    pub endpoints: Vec<Arc<str>>,
}

/// A routing rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Its id.
    pub(crate) id: RuleId,
    /// Its name, made of its pool's.
    pub(crate) name: String,
    /// Its target.
    pub(crate) target: RuleTarget,
}

/// The target of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RuleTarget {
    /// To a pool.
    Pool(PoolId),
    /// To the answer "none found": its pool was deleted.
    Discard,
}

/// A pool with derived figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PoolSummary {
    /// Its id.
    pub(crate) id: PoolId,
    /// Its name.
    pub(crate) name: String,
    /// The requested lookups a day.
    pub(crate) requested_daily_volume: u64,
    /// The lookups a day that its endpoints allow.
    pub(crate) daily_volume: u64,
    /// The lookups an hour that its endpoints allow.
    pub(crate) hourly_rate: u64,
    /// The overflow pool and its name.
    pub(crate) overflow: Option<(PoolId, String)>,
    /// Its rule and the rule's name.
    pub(crate) rule: (RuleId, String),
}

/// All pools and rules.
#[derive(Clone, Debug)]
pub struct Book {
    inventory: Arc<Inventory>,
    pools: BTreeMap<PoolId, Pool>,
    rules: BTreeMap<RuleId, Rule>,
    next_pool: PoolId,
    next_rule: RuleId,
}

impl Book {
    /// A book without pools.
    pub fn new(inventory: Arc<Inventory>) -> Self {
        Self {
            inventory,
            pools: BTreeMap::new(),
            rules: BTreeMap::new(),
            next_pool: PoolId(1),
            next_rule: RuleId(FIRST_RULE),
        }
    }

    /// The configured endpoints.
    pub(crate) fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// All pools, by id.
    pub fn pools(&self) -> &BTreeMap<PoolId, Pool> {
        &self.pools
    }

    /// All rules, by id.
    pub(crate) fn rules(&self) -> &BTreeMap<RuleId, Rule> {
        &self.rules
    }

    /// The ids of the next pool and its rule.
    pub fn next_ids(&self) -> (PoolId, RuleId) {
        (self.next_pool, self.next_rule)
    }

    /// The pool with this name, whatever the case.
    pub fn pool_named(&self, name: &str) -> Option<&Pool> {
        self.pools.values().find(|pool| pool.name.is(name))
    }

    /// The summary of a pool.
    pub(crate) fn summary(&self, pool: &Pool) -> PoolSummary {
        let overflow = pool.overflow.and_then(|id| self.pools.get(&id));
        PoolSummary {
            id: pool.id,
            name: pool.name.to_string(),
            requested_daily_volume: pool.requested_daily_volume,
            daily_volume: self.daily_volume(pool),
            hourly_rate: self.hourly_rate(pool),
            overflow: overflow.map(|overflow| (overflow.id, overflow.name.to_string())),
            rule: (pool.rule, rule_name(pool.id, &pool.name)),
        }
    }

    /// A pool, followed by the chain of overflow pools.
    pub fn chain(&self, pool: PoolId) -> impl Iterator<Item = &Pool> {
        let first = self.pools.get(&pool);
        std::iter::successors(first, |pool| self.pools.get(&pool.overflow?))
    }

    /// The inventory indices of a pool's endpoints that are still configured.
    pub(crate) fn places(&self, pool: &Pool) -> Vec<usize> {
        pool.endpoints.iter().filter_map(|name| self.inventory.index_of(name)).collect()
    }

    /// The lookups a day that a pool's endpoints allow.
    pub(crate) fn daily_volume(&self, pool: &Pool) -> u64 {
        self.sum(pool, |endpoint| endpoint.limits.daily_volume)
    }

    /// The lookups an hour that a pool's endpoints allow.
    pub(crate) fn hourly_rate(&self, pool: &Pool) -> u64 {
        self.sum(pool, |endpoint| endpoint.limits.hourly_rate)
    }

    fn sum(&self, pool: &Pool, of: impl Fn(&PoolEndpoint) -> u64) -> u64 {
        let places = self.places(pool);
        let endpoint = |place: &usize| {
            invariant::present(self.inventory.get(*place), "names lead into the inventory")
        };
        let endpoints = places.iter().filter_map(endpoint);
        endpoints.fold(0, |sum, endpoint| sum.saturating_add(of(endpoint)))
    }

    /// The names of endpoints that belong to pools.
    fn taken(&self) -> BTreeSet<&str> {
        let names = self.pools.values().flat_map(|pool| &pool.endpoints);
        names.map(|name| &**name).collect()
    }
}

/// The name of a pool's rule.
fn rule_name(pool: PoolId, name: &PoolName) -> String {
    format!("{name} R{pool}")
}

impl fmt::Display for PoolId {
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
