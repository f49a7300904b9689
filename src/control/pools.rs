//! Routes as an operator makes them: kept, changed one after the other, and asked.
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
    Book, ChangeError, Endpoint, Inventory, Ledger, Limits, RouteDraft, RouteId, RouteProblem,
    RouteSummary, RuleId, RuleTarget,
};
use crate::resolve::{PoolUpstream, Upstream};
use crate::state::{StateError, StateStore};
use spending::Spending;

pub use explain::{ExplainedEndpoint, ExplainedRoute, PoolExplanation, PoolOutcome};

/// An endpoint of the configuration.
#[derive(Clone)]
pub struct EndpointParts {
    /// Its name.
    pub name: String,
    /// Lookups in a UTC day.
    pub daily_volume: u64,
    /// Lookups in an hour.
    pub hourly_rate: u64,
    /// The name of the Routes that may have it; `None`: any may.
    pub route: Option<String>,
    /// What is asked.
    pub upstream: Arc<dyn Upstream>,
}

/// What a routing rule leads to.
pub enum RuleUpstream {
    /// A Route.
    Pool(Arc<dyn Upstream>),
    /// The answer "none found".
    Discard,
}

/// Why Routes are not changed.
#[derive(Debug, Error)]
pub enum PoolsError {
    /// There is no such Route.
    #[error("{}", ChangeError::NotFound(*.0))]
    NotFound(RouteId),
    /// All that is wrong with what is wanted.
    #[error("{}", ChangeError::Invalid(.0.clone()))]
    Invalid(Vec<RouteProblem>),
    /// The change cannot be written, and is not made.
    #[error(transparent)]
    State(#[from] StateError),
}

/// All Routes.
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
        for EndpointParts { name, daily_volume, hourly_rate, route, upstream } in inventory {
            if !names.insert(name.clone()) {
                return Err(ControlError::Endpoint(name));
            }
            let limits = Limits { daily_volume, hourly_rate };
            endpoints.push(Endpoint { name: name.into(), limits, tied_to: route });
            upstreams.push(upstream);
        }
        let mut spent = documents::read_budgets(&*state)?;
        let names = endpoints.iter().map(|endpoint| &*endpoint.name);
        let ledger = Ledger::new(names.map(|name| spent.remove(name).unwrap_or_default()));
        let book = documents::read_book(&*state, Arc::new(Inventory::new(endpoints)))?;
        let spending = Spending::new(state.clone(), clock, book, upstreams, ledger);
        let changing = tokio::sync::Mutex::new(());
        Ok(Self { state, spending: Arc::new(spending), changing })
    }

    /// Routes and rules as they stand.
    pub fn book(&self) -> Arc<Book> {
        self.spending.book()
    }

    /// A Route.
    pub fn route(&self, id: RouteId) -> Option<RouteSummary> {
        let book = self.book();
        book.routes().get(&id).map(|route| book.summary(route))
    }

    /// Creates a Route.
    pub(super) async fn create(&self, draft: RouteDraft) -> Result<RouteSummary, PoolsError> {
        let (book, id) = self.make(move |book| book.create(draft)).await?;
        summary(&book, id)
    }

    /// Changes what the draft gives.
    pub(super) async fn change(
        &self,
        id: RouteId,
        draft: RouteDraft,
    ) -> Result<RouteSummary, PoolsError> {
        let (book, ()) = self.make(move |book| book.change(id, draft)).await?;
        summary(&book, id)
    }

    /// Deletes a Route.
    pub(super) async fn remove(&self, id: RouteId) -> Result<(), PoolsError> {
        self.make(move |book| book.remove(id)).await?;
        Ok(())
    }

    /// What a routing rule leads to; `None`: there is no such rule.
    pub fn rule_upstream(&self, rule: RuleId) -> Option<RuleUpstream> {
        Some(match self.book().rules().get(&rule)?.target {
            RuleTarget::Route(_) => {
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

fn summary(book: &Book, id: RouteId) -> Result<RouteSummary, PoolsError> {
    let route = book.routes().get(&id).ok_or(PoolsError::NotFound(id))?;
    Ok(book.summary(route))
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
