//! The JSON of what a Route would do with a lookup.

use serde::{Deserialize, Serialize};

use crate::control::{ExplainedEndpoint, ExplainedRoute, PoolExplanation, PoolOutcome};

/// What a routing rule would do with a lookup, as `/routes/explain` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolView {
    /// The id of the routing rule.
    pub rule_id: u64,
    /// Its name.
    pub rule_name: String,
    /// `ask`, `discard` (the Route was deleted) or `refused`.
    pub outcome: String,
    /// Who would be asked; `null`: nobody.
    pub endpoint: Option<String>,
    /// The id of the Route that this endpoint belongs to.
    pub route_id: Option<u64>,
    /// Why nobody would be asked.
    pub reason: Option<String>,
    /// The Route, the one that it overflows into, and so on.
    pub chain: Vec<PoolRouteView>,
}

/// A Route of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRouteView {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its endpoints, in the order in which this lookup prefers them.
    pub endpoints: Vec<PoolEndpointView>,
}

/// An endpoint and what is left of its budgets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolEndpointView {
    /// Its name.
    pub name: String,
    /// Lookups in a UTC day.
    pub daily_volume: u64,
    /// Lookups that are left of this day.
    pub daily_left: u64,
    /// Lookups in an hour.
    pub hourly_rate: u64,
    /// Lookups that are left in the bucket of the hour.
    pub hourly_left: u64,
    /// Why it would not be asked; `null`: it could be.
    pub held_back: Option<String>,
}

impl From<PoolExplanation> for PoolView {
    fn from(explanation: PoolExplanation) -> Self {
        let PoolExplanation { rule, rule_name, chain, outcome } = explanation;
        let (outcome, endpoint, route_id, reason) = match outcome {
            PoolOutcome::Ask { route, endpoint } => {
                ("ask", Some(endpoint.to_string()), Some(route.0), None)
            }
            PoolOutcome::Discard => ("discard", None, None, None),
            PoolOutcome::Refused(error) => ("refused", None, None, Some(error.to_string())),
        };
        Self {
            rule_id: rule.0,
            rule_name,
            outcome: outcome.to_owned(),
            endpoint,
            route_id,
            reason,
            chain: chain.into_iter().map(PoolRouteView::from).collect(),
        }
    }
}

impl From<ExplainedRoute> for PoolRouteView {
    fn from(route: ExplainedRoute) -> Self {
        let endpoints = route.endpoints.into_iter().map(PoolEndpointView::from).collect();
        Self { id: route.id.0, name: route.name, endpoints }
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
