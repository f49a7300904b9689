//! Pools: pools of endpoints with budgets, each behind a routing rule, each perhaps with another
//! pool that it overflows into.
//!
//! A [`Book`] is all of it as it stands: Pools, rules, and the inventory of endpoints. Its
//! invariants, which every change and [`Book::restore`] hold it to: an endpoint belongs to one pool
//! at most; no two pools have the same name; overflowing never leads back; ids are never used again,
//! those of deleted pools included, whose rules stay and point to nothing. A change that cannot be
//! made leaves the book as it was and says everything that is wrong.
//!
//! A [`BudgetLedger`] is what the endpoints have been asked. [`BudgetLedger::take`] is the only way to an
//! endpoint, and spends what it gives.

mod book;
mod budget;
mod inventory;
mod ledger;
mod name;
mod problem;
mod provision;

pub use book::{Book, BookError, Pool, PoolId, PoolSummary, Rule, RuleId, RuleTarget};
pub use budget::{BudgetLimits, Spent};
pub use inventory::{Inventory, PoolEndpoint};
pub use ledger::{Availability, BudgetLedger, Choice, EndpointState, NoneLeft, Taken, after};
pub use name::{POOL_NAME_CHARS_MAX, PoolName, PoolNameError};
pub use problem::{ChangeError, Field, PoolDraft, PoolProblem, PoolReference, VOLUME_MAX};
