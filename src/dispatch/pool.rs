//! Pools of endpoints with budgets. A routing rule leads to each pool, and a pool may overflow into
//! another.
//!
//! A [`Book`] holds all pools, rules, and the inventory of endpoints. Invariants, kept by every
//! change and checked by [`Book::restore`]: an endpoint belongs to at most one pool; names of pools
//! are unique; overflow has no cycles; ids are never reused, not even those of deleted pools, whose
//! rules stay and lead to nothing. A change that fails leaves the book unchanged and reports every
//! problem.
//!
//! A [`BudgetLedger`] holds the spent budgets. [`BudgetLedger::take`] is the only way to an
//! endpoint, and debits it.

mod book;
mod budget;
mod inventory;
mod ledger;
mod name;
mod problem;
mod provision;

pub use book::{Book, Pool, PoolId};
pub(crate) use book::{BookError, PoolSummary, Rule, RuleId, RuleTarget};
pub use budget::BudgetLimits;
pub(crate) use budget::Spent;
pub use inventory::{Inventory, PoolEndpoint};
pub(crate) use ledger::{Availability, BudgetLedger, Choice, NoneLeft, after};
pub use name::POOL_NAME_CHARS_MAX;
pub(crate) use name::PoolName;
pub(crate) use problem::{ChangeError, PoolProblem, PoolReference};
pub use problem::{Field, PoolDraft, VOLUME_MAX};
