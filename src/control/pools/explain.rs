//! Explains how a pool would handle a lookup, without spending budget.

use std::sync::Arc;
use std::time::Duration;

use super::spending::{availability, refusal, upstream_at};
use crate::clock::UnixMs;
use crate::dispatch::pool::{
    Availability, Book, BudgetLedger, Choice, NoneLeft, Pool, PoolId, RuleId, RuleTarget,
};
use crate::invariant;
use crate::resolve::{AskError, Upstream};

const IN_INVENTORY: &str = "pools name places of the inventory";

/// How a routing rule would handle a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PoolExplanation {
    /// The rule.
    pub(crate) rule: RuleId,
    /// Its name.
    pub(crate) rule_name: String,
    /// Its pool, followed by the chain of overflow pools.
    pub(crate) chain: Vec<ExplainedPool>,
    /// The result of the lookup.
    pub(crate) outcome: PoolOutcome,
}

/// A pool of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExplainedPool {
    /// Its id.
    pub(crate) id: PoolId,
    /// Its name.
    pub(crate) name: String,
    /// Its endpoints, in the key's order of preference.
    pub(crate) endpoints: Vec<ExplainedEndpoint>,
}

/// An endpoint of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExplainedEndpoint {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Lookups in a UTC day.
    pub(crate) daily_volume: u64,
    /// Lookups that are left of this day.
    pub(crate) daily_left: u64,
    /// Lookups in an hour.
    pub(crate) hourly_rate: u64,
    /// Lookups that are left in the bucket of the hour.
    pub(crate) hourly_left: u64,
    /// Why it would be skipped; `None` if it is eligible.
    pub(crate) held_back: Option<AskError>,
}

/// The result of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PoolOutcome {
    /// This endpoint would be queried.
    Ask {
        /// The pool that it belongs to.
        pool: PoolId,
        /// Its name.
        endpoint: Arc<str>,
    },
    /// Nothing would be queried or found: the pool was deleted.
    Discard,
    /// No endpoint is eligible, for this reason.
    Refused(AskError),
}

pub(super) fn explain(
    book: &Book,
    ledger: &BudgetLedger,
    rule: RuleId,
    key: &[u8],
    upstreams: &[Arc<dyn Upstream>],
    now_ms: UnixMs,
) -> Option<PoolExplanation> {
    let rule = book.rules().get(&rule)?;
    let of_rule = |chain, outcome| {
        Some(PoolExplanation { rule: rule.id, rule_name: rule.name.clone(), chain, outcome })
    };
    let RuleTarget::Pool(pool) = rule.target else {
        return of_rule(Vec::new(), PoolOutcome::Discard);
    };
    let availability = |place| availability(upstreams, place, now_ms);
    let choice = Choice { book, pool, key, tried: &[], availability: &availability, now_ms };
    let explained = |pool: &Pool| {
        let places = book.inventory().ranked(book.places(pool), key).into_iter();
        let endpoints = places.filter_map(|place| endpoint(ledger, &choice, place, upstreams));
        ExplainedPool { id: pool.id, name: pool.name.to_string(), endpoints: endpoints.collect() }
    };
    let chain: Vec<_> = book.chain(pool).map(explained).collect();
    let outcome = match ledger.choose(&choice) {
        Ok((pool, place)) => {
            let endpoint = invariant::present(book.inventory().get(place), IN_INVENTORY)?;
            PoolOutcome::Ask { pool, endpoint: endpoint.name.clone() }
        }
        Err(none) => {
            let soonest = matches!(none, NoneLeft::Until(_)).then(|| soonest(&chain)).flatten();
            PoolOutcome::Refused(soonest.unwrap_or_else(|| refusal(none, upstreams, now_ms)))
        }
    };
    of_rule(chain, outcome)
}

/// Why the endpoint that becomes available first is unavailable: a client only needs the time, an
/// operator also whether the budget or the endpoint is the reason.
fn soonest(chain: &[ExplainedPool]) -> Option<AskError> {
    let endpoints = chain.iter().flat_map(|pool| &pool.endpoints);
    let whiles = endpoints.filter_map(|endpoint| match &endpoint.held_back {
        Some(
            error @ (AskError::Backoff { retry_after } | AskError::OverBudget { retry_after }),
        ) => Some((*retry_after, error)),
        Some(_) | None => None,
    });
    whiles.min_by_key(|(retry_after, _)| *retry_after).map(|(_, error)| error.clone())
}

fn endpoint(
    ledger: &BudgetLedger,
    choice: &Choice<'_>,
    place: usize,
    upstreams: &[Arc<dyn Upstream>],
) -> Option<ExplainedEndpoint> {
    let endpoint = invariant::present(choice.book.inventory().get(place), IN_INVENTORY)?;
    let (limits, now_ms) = (endpoint.limits, choice.now_ms);
    let spent = ledger.state(place).spent;
    let held_back = match ledger.availability(choice, place) {
        Availability::Ready => None,
        Availability::Until(until_ms) => {
            let retry_after = Duration::from_millis(until_ms - now_ms);
            let is_spent = spent.ready_at_ms(limits, now_ms) == until_ms;
            Some(if is_spent {
                AskError::OverBudget { retry_after }
            } else {
                AskError::Backoff { retry_after }
            })
        }
        Availability::Unavailable => {
            let said = upstream_at(upstreams, place).map(|upstream| upstream.is_ready());
            said.and_then(Result::err).or(Some(AskError::Busy))
        }
    };
    Some(ExplainedEndpoint {
        name: endpoint.name.clone(),
        daily_volume: limits.daily_volume,
        daily_left: spent.left_of_day(limits, now_ms),
        hourly_rate: limits.hourly_rate,
        hourly_left: spent.left_of_hour(limits, now_ms),
        held_back,
    })
}
