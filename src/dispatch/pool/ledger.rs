//! The spent budgets of all endpoints, and the choice of the endpoint for a lookup.
//!
//! Choosing and debiting are one step, so that no two lookups get the same token. Whether an
//! upstream is ready is asked of the caller.

use std::time::Duration;

use super::book::{Book, PoolId};
use super::budget::Spent;
use crate::clock::UnixMs;
use crate::invariant;

/// The state of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EndpointState {
    /// Its spent budget.
    pub(crate) spent: Spent,
    /// The end of the backoff that it requested; none if in the past.
    pub(crate) backoff_until_ms: UnixMs,
}

/// Whether an endpoint can be queried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Availability {
    /// It can be queried.
    Ready,
    /// It can be queried from this time on.
    Until(UnixMs),
    /// It cannot be queried, for an unknown time.
    Unavailable,
}

/// An endpoint to query once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Its pool, possibly an overflow pool.
    pub(crate) pool: PoolId,
    /// Its index in the inventory.
    pub(crate) place: usize,
    /// Its spent budget, including this lookup.
    pub(crate) spent: Spent,
}

/// Why a chain of pools has no available endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoneLeft {
    /// All budgets are exhausted, or upstreams back off, until this time at the earliest.
    Until(UnixMs),
    /// This one has budget left, but is unavailable.
    Unavailable(usize),
    /// No pool of the chain has an endpoint.
    NoEndpoints,
}

/// The state of all endpoints, indexed like the inventory.
#[derive(Debug)]
pub(crate) struct BudgetLedger(Vec<EndpointState>);

/// The parameters of a choice.
pub(crate) struct Choice<'a> {
    /// The pools and endpoints.
    pub(crate) book: &'a Book,
    /// The pool to begin with.
    pub(crate) pool: PoolId,
    /// The key of the lookup.
    pub(crate) key: &'a [u8],
    /// Endpoints that already failed this lookup.
    pub(crate) tried: &'a [usize],
    /// The availability that an upstream reports.
    pub(crate) availability: &'a dyn Fn(usize) -> Availability,
    /// The time.
    pub(crate) now_ms: UnixMs,
}

impl BudgetLedger {
    /// The ledger of an inventory, in its order.
    pub(crate) fn new(spent: impl IntoIterator<Item = Spent>) -> Self {
        let unspent = |spent| EndpointState { spent, backoff_until_ms: 0 };
        Self(spent.into_iter().map(unspent).collect())
    }

    /// The state of an endpoint.
    pub(crate) fn state(&self, place: usize) -> EndpointState {
        let endpoint = self.0.get(place).copied();
        invariant::present(endpoint, "each endpoint is in the ledger").unwrap_or_default()
    }

    /// Debits a lookup from the first available endpoint, in the key's order of preference, of the
    /// pool or else of its overflow pools.
    pub(crate) fn take(&mut self, choice: &Choice<'_>) -> Result<Taken, NoneLeft> {
        let (pool, place) = self.choose(choice)?;
        let limits = choice.book.inventory().get(place).map(|endpoint| endpoint.limits);
        let endpoint = self.0.get_mut(place).zip(limits);
        let endpoint = invariant::present(endpoint, "a chosen endpoint is in the ledger");
        let (endpoint, limits) = endpoint.ok_or(NoneLeft::NoEndpoints)?;
        let debited = endpoint.spent.debit(limits, choice.now_ms);
        invariant::holds(debited.is_ok(), "a chosen endpoint has budget left");
        debited.map_err(NoneLeft::Until)?;
        Ok(Taken { pool, place, spent: endpoint.spent })
    }

    /// What [`BudgetLedger::take`] would choose.
    pub(crate) fn choose(&self, choice: &Choice<'_>) -> Result<(PoolId, usize), NoneLeft> {
        let Choice { book, key, now_ms, .. } = *choice;
        let mut soonest_ms = None;
        let mut unavailable = None;
        for pool in book.chain(choice.pool) {
            for place in book.inventory().ranked(book.places(pool), key) {
                match self.availability(choice, place) {
                    Availability::Ready if choice.tried.contains(&place) => {
                        soonest_ms = Some(now_ms)
                    }
                    Availability::Ready => return Ok((pool.id, place)),
                    Availability::Until(until_ms) => {
                        let soonest = soonest_ms.unwrap_or(UnixMs::MAX);
                        soonest_ms = Some(until_ms.min(soonest));
                    }
                    Availability::Unavailable => unavailable = unavailable.or(Some(place)),
                }
            }
        }
        Err(match (unavailable, soonest_ms) {
            (Some(place), _) => NoneLeft::Unavailable(place),
            (None, Some(until_ms)) => NoneLeft::Until(until_ms),
            (None, None) => NoneLeft::NoEndpoints,
        })
    }

    /// Whether an endpoint can be queried, considering budget, backoff and its upstream.
    pub(crate) fn availability(&self, choice: &Choice<'_>, place: usize) -> Availability {
        let endpoint = choice.book.inventory().get(place);
        let Some(endpoint) = invariant::present(endpoint, "pools name places of the inventory")
        else {
            return Availability::Unavailable;
        };
        let state = self.state(place);
        let ready_at_ms = state.spent.ready_at_ms(endpoint.limits, choice.now_ms);
        let until_ms = ready_at_ms.max(state.backoff_until_ms);
        match (choice.availability)(place) {
            Availability::Until(other_ms) if until_ms.max(other_ms) > choice.now_ms => {
                Availability::Until(until_ms.max(other_ms))
            }
            _ if until_ms > choice.now_ms => Availability::Until(until_ms),
            Availability::Unavailable => Availability::Unavailable,
            Availability::Ready | Availability::Until(_) => Availability::Ready,
        }
    }

    /// Backs off from an endpoint for a while.
    pub(crate) fn back_off(&mut self, place: usize, now_ms: UnixMs, retry_after: Duration) {
        let endpoint = self.0.get_mut(place);
        if let Some(endpoint) = invariant::present(endpoint, "a queried endpoint is in the ledger")
        {
            let until_ms = after(now_ms, retry_after);
            endpoint.backoff_until_ms = endpoint.backoff_until_ms.max(until_ms);
        }
    }
}

/// The first whole millisecond after a delay.
pub(crate) fn after(now_ms: UnixMs, retry_after: Duration) -> UnixMs {
    let ms = retry_after.as_nanos().div_ceil(1_000_000);
    now_ms.saturating_add(u64::try_from(ms).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
