//! Restores a book from storage and checks all its invariants.

use std::collections::BTreeSet;
use std::sync::Arc;

use thiserror::Error;

use super::super::inventory::Inventory;
use super::{Book, Pool, PoolId, Rule, RuleId, RuleTarget};

/// Why a stored book is invalid: no version of this program wrote it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BookError {
    /// A pool whose rule is missing or leads elsewhere.
    #[error("the rule of pool {0} does not lead to it")]
    Rule(PoolId),
    /// A rule that leads to a pool that does not exist.
    #[error("rule {0} leads to a pool that does not exist")]
    Target(RuleId),
    /// A pool that overflows into a missing pool or in a cycle.
    #[error("pool {0} overflows into nothing, or in a cycle")]
    Overflow(PoolId),
    /// Two pools have the same name.
    #[error("pool {0} has another's name")]
    Name(PoolId),
    /// An endpoint belongs to two pools.
    #[error("pool {0} has an endpoint that is another's")]
    Endpoint(PoolId),
}

impl Book {
    /// A book of these pools and rules. The next ids are larger than all existing ones, even if
    /// `next_ids` is not.
    pub(crate) fn restore(
        inventory: Arc<Inventory>,
        pools: Vec<Pool>,
        rules: Vec<Rule>,
        next_ids: Option<(PoolId, RuleId)>,
    ) -> Result<Self, BookError> {
        let mut book = Self::new(inventory);
        book.pools = pools.into_iter().map(|pool| (pool.id, pool)).collect();
        book.rules = rules.into_iter().map(|rule| (rule.id, rule)).collect();
        let (next_pool, next_rule) = next_ids.unwrap_or(book.next_ids());
        let after_pools = book.pools.last_key_value().map_or(0, |(id, _)| id.0 + 1);
        let after_rules = book.rules.last_key_value().map_or(0, |(id, _)| id.0 + 1);
        book.next_pool = PoolId(next_pool.0.max(after_pools));
        book.next_rule = RuleId(next_rule.0.max(after_rules));
        book.check()?;
        Ok(book)
    }

    pub(super) fn check(&self) -> Result<(), BookError> {
        let mut names = BTreeSet::new();
        let mut endpoints = BTreeSet::new();
        for pool in self.pools.values() {
            let rule = self.rules.get(&pool.rule);
            if rule.is_none_or(|rule| rule.target != RuleTarget::Pool(pool.id)) {
                return Err(BookError::Rule(pool.id));
            }
            if !names.insert(pool.name.as_str().to_ascii_lowercase()) {
                return Err(BookError::Name(pool.id));
            }
            if !pool.endpoints.iter().all(|name| endpoints.insert(name)) {
                return Err(BookError::Endpoint(pool.id));
            }
            if !self.overflows_soundly(pool) {
                return Err(BookError::Overflow(pool.id));
            }
        }
        let leads_nowhere = |rule: &&Rule| match rule.target {
            RuleTarget::Pool(id) => self.pools.get(&id).is_none_or(|it| it.rule != rule.id),
            RuleTarget::Discard => false,
        };
        match self.rules.values().find(leads_nowhere) {
            Some(rule) => Err(BookError::Target(rule.id)),
            None => Ok(()),
        }
    }

    /// Whether a pool's overflow chain ends, and not because a pool is missing. A chain longer than
    /// the number of pools has a cycle.
    fn overflows_soundly(&self, pool: &Pool) -> bool {
        let last = self.chain(pool.id).take(self.pools.len() + 1).enumerate().last();
        last.is_some_and(|(at, last)| at < self.pools.len() && last.overflow.is_none())
    }
}
