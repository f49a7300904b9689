//! The JSON that explains how a pool would handle a lookup.

use serde::{Deserialize, Serialize};

use crate::control::{ExplainedEndpoint, ExplainedPool, PoolExplanation, PoolOutcome};

/// How a routing rule would handle a lookup, for `/routes/explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PoolView {
    /// The id of the routing rule.
    pub(crate) rule_id: u64,
    /// Its name.
    pub(crate) rule_name: String,
    /// `ask`, `discard` (the pool was deleted) or `refused`.
    pub(crate) outcome: String,
    /// The endpoint that would be queried, if any.
    pub(crate) endpoint: Option<String>,
    /// The id of the pool that this endpoint belongs to.
    pub(crate) pool_id: Option<u64>,
    /// Why no endpoint would be asked.
    pub(crate) reason: Option<String>,
    /// The pool, followed by the chain of overflow pools.
    pub(crate) chain: Vec<ChainedPoolView>,
}

/// A pool of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChainedPoolView {
    /// Its id.
    pub(crate) id: u64,
    /// Its name.
    pub(crate) name: String,
    /// Its endpoints, in the order in which this lookup prefers them.
    pub(crate) endpoints: Vec<PoolEndpointView>,
}

/// An endpoint and what is left of its budgets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PoolEndpointView {
    /// Its name.
    pub(crate) name: String,
    /// Lookups in a UTC day.
    pub(crate) daily_volume: u64,
    /// Lookups that are left of this day.
    pub(crate) daily_left: u64,
    /// Lookups in an hour.
    pub(crate) hourly_rate: u64,
    /// Lookups that are left in the bucket of the hour.
    pub(crate) hourly_left: u64,
    /// Why it would be skipped; `null` if it is eligible.
    pub(crate) held_back: Option<String>,
}

impl From<PoolExplanation> for PoolView {
    fn from(explanation: PoolExplanation) -> Self {
        let PoolExplanation { rule, rule_name, chain, outcome } = explanation;
        let (outcome, endpoint, pool_id, reason) = match outcome {
            PoolOutcome::Ask { pool, endpoint } => {
                ("ask", Some(endpoint.to_string()), Some(pool.0), None)
            }
            PoolOutcome::Discard => ("discard", None, None, None),
            PoolOutcome::Refused(error) => ("refused", None, None, Some(error.to_string())),
        };
        Self {
            rule_id: rule.0,
            rule_name,
            outcome: outcome.to_owned(),
            endpoint,
            pool_id,
            reason,
            chain: chain.into_iter().map(ChainedPoolView::from).collect(),
        }
    }
}

impl From<ExplainedPool> for ChainedPoolView {
    fn from(pool: ExplainedPool) -> Self {
        let endpoints = pool.endpoints.into_iter().map(PoolEndpointView::from).collect();
        Self { id: pool.id.0, name: pool.name, endpoints }
    }
}

impl From<ExplainedEndpoint> for PoolEndpointView {
    fn from(endpoint: ExplainedEndpoint) -> Self {
        Self {
            name: endpoint.name.to_string(),
            daily_volume: endpoint.daily_volume,
            daily_left: endpoint.daily_left,
            hourly_rate: endpoint.hourly_rate,
            hourly_left: endpoint.hourly_left,
            held_back: endpoint.held_back.map(|error| error.to_string()),
        }
    }
}
