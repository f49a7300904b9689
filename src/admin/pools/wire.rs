//! The JSON of Routes, field by field in the order of source 001: one definition for the server and
//! for the commands that ask it.

use serde::{Deserialize, Serialize};

use crate::dispatch::pool::RouteSummary;

/// The answer with one Route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolAnswer {
    /// The Route.
    pub route: PoolRoute,
}

/// A Route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRoute {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Lookups a day that were asked for.
    pub requested_target_daily_volume: u64,
    /// Lookups a day that its endpoints are good for.
    pub recommended_max_daily_volume: u64,
    /// Lookups an hour that its endpoints are good for.
    pub recommended_max_delivery_rate_per_hour: u64,
    /// The Route that it overflows into.
    pub overflow_route: Option<PoolReference>,
    /// What a routing table names to have it asked.
    pub routing_rule: PoolReference,
}

/// The id and the name of something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolReference {
    /// The id.
    pub id: u64,
    /// The name.
    pub name: String,
}

/// The answer with several Routes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolList {
    /// The Routes, by id.
    pub routes: Vec<PoolRoute>,
    /// Where they stand among all.
    pub pagination: PoolPagination,
}

/// Where a page stands among all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolPagination {
    /// The page, counted from 0.
    pub page: u64,
    /// Routes on a page.
    pub per_page: u64,
    /// Pages as of now.
    pub num_pages: u64,
    /// Routes as of now.
    pub num_records: u64,
    /// What gets the next page, whatever is created and deleted in between; `None`: this is the last.
    pub next_page_token: Option<String>,
}

/// The answer to a deletion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRemoved {
    /// True.
    pub success: bool,
}

/// An error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRefusal {
    /// False.
    pub success: bool,
    /// Nothing: `null`.
    pub data: Option<()>,
    /// The kind of error.
    pub error_code: String,
    /// All that is wrong, for people.
    pub error_messages: Vec<String>,
}

impl From<RouteSummary> for PoolAnswer {
    fn from(summary: RouteSummary) -> Self {
        Self { route: summary.into() }
    }
}

impl From<RouteSummary> for PoolRoute {
    fn from(summary: RouteSummary) -> Self {
        let RouteSummary {
            id,
            name,
            requested_daily_volume,
            daily_volume,
            hourly_rate,
            overflow,
            rule: (rule_id, rule_name),
        } = summary;
        Self {
            id: id.0,
            name,
            requested_target_daily_volume: requested_daily_volume,
            recommended_max_daily_volume: daily_volume,
            recommended_max_delivery_rate_per_hour: hourly_rate,
            overflow_route: overflow.map(|(id, name)| PoolReference { id: id.0, name }),
            routing_rule: PoolReference { id: rule_id.0, name: rule_name },
        }
    }
}
