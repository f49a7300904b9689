//! What all endpoints have been asked, and the choice of the one that is asked next.
//!
//! Choosing and spending are one step, so that no two lookups get the same token. Whether an upstream
//! can be asked at all, it knows itself: that is a question to the caller.

use std::time::Duration;

use super::book::{Book, PoolId};
use super::budget::Spent;
use crate::clock::UnixMs;

/// What is known of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointState {
    /// What it has been asked.
    pub spent: Spent,
    /// Until when it has asked to be left alone; in the past: it has not.
    pub resting_until_ms: UnixMs,
}

/// What an endpoint's upstream says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It can be asked.
    Ready,
    /// It can be asked from then on.
    Until(UnixMs),
    /// It cannot be asked, and nobody knows for how long.
    Unavailable,
}

/// An endpoint to ask, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its pool, which may be one that the first overflows into.
    pub pool: PoolId,
    /// Its place in the inventory.
    pub place: usize,
    /// What it has been asked, this time included.
    pub spent: Spent,
}

/// Why no endpoint of a chain of pools can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoneLeft {
    /// Budgets are used up, or upstreams want to be left alone, until then at least everywhere.
    Until(UnixMs),
    /// This one has budget left, but cannot be asked.
    Unavailable(usize),
    /// No pool of the chain has an endpoint.
    NoEndpoints,
}

/// What all endpoints have been asked, each at its place in the inventory.
#[derive(Debug)]
pub struct BudgetLedger(Vec<EndpointState>);

/// How to choose.
pub struct Choice<'a> {
    /// The pools and endpoints.
    pub book: &'a Book,
    /// The pool to begin with.
    pub pool: PoolId,
    /// What is looked up.
    pub key: &'a [u8],
    /// Places that were asked in vain for this lookup.
    pub tried: &'a [usize],
    /// What the upstream at a place says of itself.
    pub availability: &'a dyn Fn(usize) -> Availability,
    /// The time.
    pub now_ms: UnixMs,
}

impl BudgetLedger {
    /// The ledger of an inventory.
    pub fn new(spent: impl IntoIterator<Item = Spent>) -> Self {
        let account = |spent| EndpointState { spent, resting_until_ms: 0 };
        Self(spent.into_iter().map(account).collect())
    }

    /// What is known of the endpoint at a place; of none, that it was never asked.
    pub fn account(&self, place: usize) -> EndpointState {
        self.0.get(place).copied().unwrap_or_default()
    }

    /// Spends a lookup of the first endpoint, in the order that the key prefers, that can be asked: of
    /// the pool, else of the one that it overflows into, and so on.
    pub fn take(&mut self, choice: &Choice<'_>) -> Result<Taken, NoneLeft> {
        let (pool, place) = self.choose(choice)?;
        let limits = choice.book.inventory().get(place).map(|endpoint| endpoint.limits);
        let account = self.0.get_mut(place).zip(limits);
        let (account, limits) = account.ok_or(NoneLeft::NoEndpoints)?;
        account.spent.debit(limits, choice.now_ms).map_err(NoneLeft::Until)?;
        Ok(Taken { pool, place, spent: account.spent })
    }

    /// What [`BudgetLedger::take`] would take.
    pub fn choose(&self, choice: &Choice<'_>) -> Result<(PoolId, usize), NoneLeft> {
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

    /// Whether the endpoint at a place can be asked: with all that holds it back.
    pub fn availability(&self, choice: &Choice<'_>, place: usize) -> Availability {
        let Some(endpoint) = choice.book.inventory().get(place) else {
            return Availability::Unavailable;
        };
        let account = self.account(place);
        let ready_at_ms = account.spent.ready_at_ms(endpoint.limits, choice.now_ms);
        let until_ms = ready_at_ms.max(account.resting_until_ms);
        match (choice.availability)(place) {
            Availability::Until(other_ms) if until_ms.max(other_ms) > choice.now_ms => {
                Availability::Until(until_ms.max(other_ms))
            }
            _ if until_ms > choice.now_ms => Availability::Until(until_ms),
            Availability::Unavailable => Availability::Unavailable,
            Availability::Ready | Availability::Until(_) => Availability::Ready,
        }
    }

    /// Leaves the endpoint at a place alone for a while.
    pub fn rest(&mut self, place: usize, now_ms: UnixMs, retry_after: Duration) {
        if let Some(account) = self.0.get_mut(place) {
            let until_ms = after(now_ms, retry_after);
            account.resting_until_ms = account.resting_until_ms.max(until_ms);
        }
    }
}

/// The first whole millisecond by which a while has passed.
pub fn after(now_ms: UnixMs, retry_after: Duration) -> UnixMs {
    let ms = retry_after.as_nanos().div_ceil(1_000_000);
    now_ms.saturating_add(u64::try_from(ms).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
