//! Pools as an operator makes them: kept, changed one after the other, and asked.
//!
//! Every change is durable before it shows; only [`Control`](super::Control) makes any, and publishes
//! it. A list of changes is written at once, so that no crash leaves half of it. What was spent of
//! budgets is durable before an endpoint is asked (`spending`).

mod documents;
mod explain;
mod spending;

use std::collections::BTreeSet;
use std::sync::Arc;

use thiserror::Error;

use super::ControlError;
use crate::clock::Clock;
use crate::dispatch::pool::{
    Book, BudgetLedger, BudgetLimits, ChangeError, Inventory, PoolDraft, PoolEndpoint, PoolId,
    PoolProblem, PoolSummary, RuleId, RuleTarget,
};
use crate::resolve::{PoolUpstream, Upstream};
use crate::state::{StateError, StateStore};
use spending::Spending;

pub use explain::{ExplainedEndpoint, ExplainedPool, PoolExplanation, PoolOutcome};

/// An endpoint of the configuration.
#[derive(Clone)]
pub struct EndpointParts {
    /// Its name.
    pub name: String,
    /// Lookups in a UTC day.
    pub daily_volume: u64,
    /// Lookups in an hour.
    pub hourly_rate: u64,
    /// The name of the pools that may have it; `None`: any may.
    pub pool: Option<String>,
    /// What is asked.
    pub upstream: Arc<dyn Upstream>,
}

/// What a routing rule leads to.
pub enum RuleUpstream {
    /// A pool.
    Pool(Arc<dyn Upstream>),
    /// The answer "none found".
    Discard,
}

/// Why pools are not changed.
#[derive(Debug, Error)]
pub enum PoolsError {
    /// There is no such pool.
    #[error("{}", ChangeError::NotFound(*.0))]
    NotFound(PoolId),
    /// All that is wrong with what is wanted.
    #[error("{}", ChangeError::Invalid(.0.clone()))]
    Invalid(Vec<PoolProblem>),
    /// The change cannot be written, and is not made.
    #[error(transparent)]
    State(#[from] StateError),
}

/// All pools.
pub struct Pools {
    state: Arc<dyn StateStore>,
    spending: Arc<Spending>,
    /// Held while a change is made.
    changing: tokio::sync::Mutex<()>,
}

impl Pools {
    /// Reads what is stored, for the endpoints that the configuration has.
    pub(super) fn open(
        state: Arc<dyn StateStore>,
        clock: Clock,
        inventory: Vec<EndpointParts>,
    ) -> Result<Self, ControlError> {
        let mut names = BTreeSet::new();
        let mut endpoints = Vec::with_capacity(inventory.len());
        let mut upstreams = Vec::with_capacity(inventory.len());
        for EndpointParts { name, daily_volume, hourly_rate, pool, upstream } in inventory {
            if !names.insert(name.clone()) {
                return Err(ControlError::Endpoint(name));
            }
            let limits = BudgetLimits { daily_volume, hourly_rate };
            endpoints.push(PoolEndpoint { name: name.into(), limits, tied_to: pool });
            upstreams.push(upstream);
        }
        let mut spent = documents::read_budgets(&*state)?;
        let names = endpoints.iter().map(|endpoint| &*endpoint.name);
        let ledger = BudgetLedger::new(names.map(|name| spent.remove(name).unwrap_or_default()));
        let book = documents::read_book(&*state, Arc::new(Inventory::new(endpoints)))?;
        let spending = Spending::new(state.clone(), clock, book, upstreams, ledger);
        let changing = tokio::sync::Mutex::new(());
        Ok(Self { state, spending: Arc::new(spending), changing })
    }

    /// Pools and rules as they stand.
    pub fn book(&self) -> Arc<Book> {
        self.spending.book()
    }

    /// A pool.
    pub fn pool(&self, id: PoolId) -> Option<PoolSummary> {
        let book = self.book();
        book.pools().get(&id).map(|pool| book.summary(pool))
    }

    /// Creates a pool.
    pub(super) async fn create(&self, draft: PoolDraft) -> Result<PoolSummary, PoolsError> {
        let (book, id) = self.make(move |book| book.create(draft)).await?;
        summary(&book, id)
    }

    /// Changes what the draft gives.
    pub(super) async fn change(
        &self,
        id: PoolId,
        draft: PoolDraft,
    ) -> Result<PoolSummary, PoolsError> {
        let (book, ()) = self.make(move |book| book.change(id, draft)).await?;
        summary(&book, id)
    }

    /// Deletes a pool.
    pub(super) async fn remove(&self, id: PoolId) -> Result<(), PoolsError> {
        self.make(move |book| book.remove(id)).await?;
        Ok(())
    }

    /// What a routing rule leads to; `None`: there is no such rule.
    pub fn rule_upstream(&self, rule: RuleId) -> Option<RuleUpstream> {
        Some(match self.book().rules().get(&rule)?.target {
            RuleTarget::Pool(_) => {
                RuleUpstream::Pool(Arc::new(PoolUpstream::new(rule, self.spending.clone())))
            }
            RuleTarget::Discard => RuleUpstream::Discard,
        })
    }

    /// What would be asked for a key behind a rule, and what is left of the budgets, without spending
    /// any; `None`: there is no such rule. The key is the multihash that is looked up.
    pub fn explain(&self, rule: RuleId, key: &[u8]) -> Option<PoolExplanation> {
        self.spending.explain(rule, key)
    }

    async fn make<T>(
        &self,
        change: impl FnOnce(&mut Book) -> Result<T, ChangeError>,
    ) -> Result<(Arc<Book>, T), PoolsError> {
        let _changing = self.changing.lock().await;
        let before = self.spending.book();
        let mut after = (*before).clone();
        let made = change(&mut after)?;
        let changes = documents::changes(&before, &after);
        if !changes.is_empty() {
            self.state.write(changes).await?;
        }
        let after = Arc::new(after);
        self.spending.set_book(after.clone());
        Ok((after, made))
    }
}

fn summary(book: &Book, id: PoolId) -> Result<PoolSummary, PoolsError> {
    let pool = book.pools().get(&id).ok_or(PoolsError::NotFound(id))?;
    Ok(book.summary(pool))
}

impl From<ChangeError> for PoolsError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NotFound(id) => Self::NotFound(id),
            ChangeError::Invalid(problems) => Self::Invalid(problems),
        }
    }
}

#[cfg(test)]
mod tests;
