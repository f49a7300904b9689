//! What a pool would do with a lookup, and why: nothing is spent.

use std::sync::Arc;
use std::time::Duration;

use super::spending::{refusal, standing};
use crate::clock::UnixMs;
use crate::dispatch::pool::{
    Book, Choice, Ledger, NoneLeft, Route, RouteId, RuleId, RuleTarget, Standing,
};
use crate::resolve::{AskError, Upstream};

/// What a routing rule would do with a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolExplanation {
    /// The rule.
    pub rule: RuleId,
    /// Its name.
    pub rule_name: String,
    /// Its Route, the one that it overflows into, and so on.
    pub chain: Vec<ExplainedRoute>,
    /// What would become of the lookup.
    pub outcome: PoolOutcome,
}

/// A Route of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedRoute {
    /// Its id.
    pub id: RouteId,
    /// Its name.
    pub name: String,
    /// Its endpoints, in the order in which the key prefers them.
    pub endpoints: Vec<ExplainedEndpoint>,
}

/// An endpoint of a Route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedEndpoint {
    /// Its name.
    pub name: Arc<str>,
    /// Lookups in a UTC day.
    pub daily_volume: u64,
    /// Lookups that are left of this day.
    pub daily_left: u64,
    /// Lookups in an hour.
    pub hourly_rate: u64,
    /// Lookups that are left in the bucket of the hour.
    pub hourly_left: u64,
    /// Why it would not be asked; `None`: it could be.
    pub held_back: Option<AskError>,
}

/// What would become of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolOutcome {
    /// This one would be asked.
    Ask {
        /// The Route that it belongs to.
        route: RouteId,
        /// Its name.
        endpoint: Arc<str>,
    },
    /// Nobody would be asked, and nothing found: the Route was deleted.
    Discard,
    /// Nobody would be asked, for this reason.
    Refused(AskError),
}

pub(super) fn explain(
    book: &Book,
    ledger: &Ledger,
    rule: RuleId,
    key: &[u8],
    upstreams: &[Arc<dyn Upstream>],
    now_ms: UnixMs,
) -> Option<PoolExplanation> {
    let rule = book.rules().get(&rule)?;
    let of_rule = |chain, outcome| {
        Some(PoolExplanation { rule: rule.id, rule_name: rule.name.clone(), chain, outcome })
    };
    let RuleTarget::Route(route) = rule.target else {
        return of_rule(Vec::new(), PoolOutcome::Discard);
    };
    let standing = |place| standing(upstreams, place, now_ms);
    let choice = Choice { book, route, key, tried: &[], standing: &standing, now_ms };
    let explained = |route: &Route| {
        let places = book.inventory().ranked(book.places(route), key).into_iter();
        let endpoints = places.filter_map(|place| endpoint(ledger, &choice, place, upstreams));
        ExplainedRoute {
            id: route.id,
            name: route.name.to_string(),
            endpoints: endpoints.collect(),
        }
    };
    let chain: Vec<_> = book.chain(route).map(explained).collect();
    let outcome = match ledger.choose(&choice) {
        Ok((route, place)) => {
            let endpoint = book.inventory().get(place)?.name.clone();
            PoolOutcome::Ask { route, endpoint }
        }
        Err(none) => {
            let soonest = matches!(none, NoneLeft::Until(_)).then(|| soonest(&chain)).flatten();
            PoolOutcome::Refused(soonest.unwrap_or_else(|| refusal(none, upstreams, now_ms)))
        }
    };
    of_rule(chain, outcome)
}

/// What holds the endpoint back that can be asked soonest: a client is told how long, but an operator
/// also whether it is the budget or the endpoint itself.
fn soonest(chain: &[ExplainedRoute]) -> Option<AskError> {
    let endpoints = chain.iter().flat_map(|route| &route.endpoints);
    let whiles = endpoints.filter_map(|endpoint| match &endpoint.held_back {
        Some(
            error @ (AskError::Resting { retry_after } | AskError::OverBudget { retry_after }),
        ) => Some((*retry_after, error)),
        Some(_) | None => None,
    });
    whiles.min_by_key(|(retry_after, _)| *retry_after).map(|(_, error)| error.clone())
}

fn endpoint(
    ledger: &Ledger,
    choice: &Choice<'_>,
    place: usize,
    upstreams: &[Arc<dyn Upstream>],
) -> Option<ExplainedEndpoint> {
    let endpoint = choice.book.inventory().get(place)?;
    let (limits, now_ms) = (endpoint.limits, choice.now_ms);
    let spent = ledger.account(place).spent;
    let held_back = match ledger.standing(choice, place) {
        Standing::Ready => None,
        Standing::Until(until_ms) => {
            let retry_after = Duration::from_millis(until_ms - now_ms);
            let is_spent = spent.ready_at_ms(limits, now_ms) == until_ms;
            Some(if is_spent {
                AskError::OverBudget { retry_after }
            } else {
                AskError::Resting { retry_after }
            })
        }
        Standing::Away => {
            let said = upstreams.get(place).map(|upstream| upstream.is_ready());
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
