//! The pools of the operator: stored, changed one at a time, and queried.
//!
//! Every change is durable before it is visible; only [`Control`](super::Control) makes changes and
//! publishes them. The writes of one change are one transaction, so that no crash leaves half of
//! it. Spent budget is durable before an endpoint is queried (`spending`).

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
use crate::state::{ControlStore, ControlStoreError};
use spending::Spending;

pub(crate) use explain::{ExplainedEndpoint, ExplainedPool, PoolExplanation, PoolOutcome};

/// A configured endpoint.
#[derive(Clone)]
pub struct EndpointParts {
    /// Its name.
    pub name: String,
    /// Lookups in a UTC day.
    pub daily_volume: u64,
    /// Lookups in an hour.
    pub hourly_rate: u64,
    /// The name of the only pool that may use it; `None`: any pool.
    pub pool: Option<String>,
    /// Its upstream.
    pub upstream: Arc<dyn Upstream>,
}

/// The target of a routing rule.
pub(crate) enum RuleUpstream {
    /// A pool.
    Pool(Arc<dyn Upstream>),
    /// The answer "none found".
    Discard,
}

/// Why a change of pools failed.
#[derive(Debug, Error)]
pub(crate) enum PoolsError {
    /// No pool has this id.
    #[error("{}", ChangeError::NotFound(*.0))]
    NotFound(PoolId),
    /// Every problem of the draft.
    #[error("{}", ChangeError::Invalid(.0.clone()))]
    Invalid(Vec<PoolProblem>),
    /// The change could not be written. It may have been made all the same; then the store was read again.
    #[error(transparent)]
    State(#[from] ControlStoreError),
}

/// All pools.
pub(crate) struct Pools {
    state: Arc<dyn ControlStore>,
    inventory: Arc<Inventory>,
    spending: Arc<Spending>,
    /// Serialises changes; whether what is stored may be another than what is known.
    changing: tokio::sync::Mutex<bool>,
}

impl Pools {
    /// Reads the stored pools over the configured endpoints.
    pub(super) async fn open(
        state: Arc<dyn ControlStore>,
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
        let mut spent = documents::read_budgets(&*state).await?;
        let names = endpoints.iter().map(|endpoint| &*endpoint.name);
        let ledger = BudgetLedger::new(names.map(|name| spent.remove(name).unwrap_or_default()));
        let inventory = Arc::new(Inventory::new(endpoints));
        let book = documents::read_book(&*state, inventory.clone()).await?;
        let spending = Spending::new(state.clone(), clock, book, upstreams, ledger);
        let changing = tokio::sync::Mutex::new(false);
        Ok(Self { state, inventory, spending: Arc::new(spending), changing })
    }

    /// The current pools and rules.
    pub(crate) fn book(&self) -> Arc<Book> {
        self.spending.book()
    }

    /// A pool.
    pub(crate) fn pool(&self, id: PoolId) -> Option<PoolSummary> {
        let book = self.book();
        book.pools().get(&id).map(|pool| book.summary(pool))
    }

    /// Creates a pool.
    pub(super) async fn create(&self, draft: PoolDraft) -> Result<PoolSummary, PoolsError> {
        let (book, id) = self.make(move |book| book.create(draft)).await?;
        summary(&book, id)
    }

    /// Updates the fields that the draft gives.
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

    /// The target of a routing rule, if the rule exists.
    pub(crate) fn rule_upstream(&self, rule: RuleId) -> Option<RuleUpstream> {
        Some(match self.book().rules().get(&rule)?.target {
            RuleTarget::Pool(_) => {
                RuleUpstream::Pool(Arc::new(PoolUpstream::new(rule, self.spending.clone())))
            }
            RuleTarget::Discard => RuleUpstream::Discard,
        })
    }

    /// Which endpoint a lookup of this key (a multihash) would use behind a rule, and what is left
    /// of the budgets, without spending any; `None`: no such rule.
    pub(crate) fn explain(&self, rule: RuleId, key: &[u8]) -> Option<PoolExplanation> {
        self.spending.explain(rule, key)
    }

    async fn make<T>(
        &self,
        change: impl FnOnce(&mut Book) -> Result<T, ChangeError>,
    ) -> Result<(Arc<Book>, T), PoolsError> {
        let mut is_unsure = self.changing.lock().await;
        if *is_unsure {
            self.read_again().await?;
            *is_unsure = false;
        }
        let before = self.spending.book();
        let mut after = (*before).clone();
        let made = change(&mut after)?;
        let changes = documents::changes(&before, &after);
        if !changes.is_empty() {
            let written = self.state.write(changes, self.spending.now_ms()).await;
            if written.as_ref().is_err_and(ControlStoreError::is_uncertain) {
                *is_unsure = self.read_again().await.is_err();
            }
            written?;
        }
        let after = Arc::new(after);
        self.spending.set_book(after.clone());
        Ok((after, made))
    }

    /// Takes what the store has, after a change that failed and may be there all the same.
    async fn read_again(&self) -> Result<(), ControlStoreError> {
        let stored = documents::read_book(&*self.state, self.inventory.clone()).await;
        self.spending.set_book(Arc::new(stored.map_err(ControlError::into_store_error)?));
        Ok(())
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
