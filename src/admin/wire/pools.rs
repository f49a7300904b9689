//! The JSON of pools, field by field in the order of source 001: one definition for the server and
//! for the commands that ask it.

use serde::{Deserialize, Serialize};

use crate::dispatch::pool::PoolSummary;

/// The answer with one pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PoolAnswer {
    /// The pool.
    pub(crate) route: PoolRoute,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRoute {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub(crate) name: String,
    /// The requested lookups a day.
    pub(crate) requested_target_daily_volume: u64,
    /// The lookups a day that its endpoints allow.
    pub(crate) recommended_max_daily_volume: u64,
    /// The lookups an hour that its endpoints allow.
    pub(crate) recommended_max_delivery_rate_per_hour: u64,
    /// The pool that it overflows into.
    pub(crate) overflow_route: Option<NamedId>,
    /// The routing rule that leads to it.
    pub(crate) routing_rule: NamedId,
}

/// The id and the name of something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamedId {
    /// The id.
    pub(crate) id: u64,
    /// The name.
    pub(crate) name: String,
}

/// The answer with several pools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolList {
    /// The pools, by id.
    pub routes: Vec<PoolRoute>,
    /// Where they stand among all.
    pub pagination: PoolPagination,
}

/// Where a page stands among all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolPagination {
    /// The page, counted from 0.
    pub page: u64,
    /// Pools on a page.
    pub(crate) per_page: u64,
    /// Pages as of now.
    pub num_pages: u64,
    /// Pools as of now.
    pub num_records: u64,
    /// What gets the next page, whatever is created and deleted in between; `None`: this is the last.
    pub next_page_token: Option<String>,
}

/// The answer to a deletion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PoolRemoved {
    /// True.
    pub(crate) success: bool,
}

/// An error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRefusal {
    /// False.
    pub(crate) success: bool,
    /// Nothing: `null`.
    pub(crate) data: Option<()>,
    /// The kind of error.
    pub(crate) error_code: String,
    /// All that is wrong, for people.
    pub error_messages: Vec<String>,
}

impl From<PoolSummary> for PoolAnswer {
    fn from(summary: PoolSummary) -> Self {
        Self { route: summary.into() }
    }
}

impl From<PoolSummary> for PoolRoute {
    fn from(summary: PoolSummary) -> Self {
        let PoolSummary {
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
            overflow_route: overflow.map(|(id, name)| NamedId { id: id.0, name }),
            routing_rule: NamedId { id: rule_id.0, name: rule_name },
        }
    }
}
