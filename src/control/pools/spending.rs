//! Spends budgets: a lookup is debited durably before its endpoint is queried.
//!
//! Invariants: a lookup is debited in memory and its write queued under one lock, so that the
//! written count of an endpoint never decreases; an endpoint is returned to the caller only when
//! the write is durable. A debit whose write failed stands: the endpoint is not queried, and the
//! next successful write includes it. The lock is never held across an await.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::documents;
use super::explain::{self, PoolExplanation};
use crate::clock::{Clock, UnixMs};
use crate::dispatch::pool::{
    Availability, Book, BudgetLedger, Choice, NoneLeft, PoolId, RuleId, RuleTarget, after,
};
use crate::invariant;
use crate::resolve::{AskError, Endpoints, NextEndpoint, Upstream};
use crate::state::{ControlStore, ControlStoreError};

/// Why an endpoint is not asked whose debit is not on disk.
const UNWRITTEN: &str = "its budget cannot be written";

/// The endpoints and their spent budgets.
pub(super) struct Spending {
    state: Arc<dyn ControlStore>,
    clock: Clock,
    book: ArcSwap<Book>,
    /// Indexed like the inventory.
    upstreams: Vec<Arc<dyn Upstream>>,
    ledger: Mutex<BudgetLedger>,
    /// Whether the last write failed: a full disk is logged once, not for each lookup.
    is_failing: AtomicBool,
}

impl Spending {
    pub(super) fn new(
        state: Arc<dyn ControlStore>,
        clock: Clock,
        book: Book,
        upstreams: Vec<Arc<dyn Upstream>>,
        ledger: BudgetLedger,
    ) -> Self {
        Self {
            state,
            clock,
            book: ArcSwap::from_pointee(book),
            upstreams,
            ledger: Mutex::new(ledger),
            is_failing: AtomicBool::new(false),
        }
    }

    pub(super) fn now_ms(&self) -> UnixMs {
        self.clock.now_ms()
    }

    pub(super) fn book(&self) -> Arc<Book> {
        self.book.load_full()
    }

    pub(super) fn set_book(&self, book: Arc<Book>) {
        self.book.store(book);
    }

    pub(super) fn explain(&self, rule: RuleId, key: &[u8]) -> Option<PoolExplanation> {
        let book = self.book();
        let ledger = self.ledger.lock();
        let now_ms = self.clock.now_ms();
        explain::explain(&book, &ledger, rule, key, &self.upstreams, now_ms)
    }

    /// Debits a lookup in memory; the returned future makes the debit durable.
    fn spend(
        &self,
        book: &Book,
        pool: PoolId,
        key: &[u8],
        tried: &[usize],
    ) -> Result<(usize, BoxFuture<'_, Result<(), ControlStoreError>>), AskError> {
        let mut ledger = self.ledger.lock();
        // Read under the lock: times out of order would refill a bucket twice.
        let now_ms = self.clock.now_ms();
        let availability = |place| availability(&self.upstreams, place, now_ms);
        let choice = Choice { book, pool, key, tried, availability: &availability, now_ms };
        let taken = ledger.take(&choice).map_err(|none| self.refusal(none, now_ms))?;
        let endpoint = book.inventory().get(taken.place);
        let endpoint = invariant::present(endpoint, "what is taken is in the inventory");
        let endpoint = endpoint.ok_or_else(|| AskError::Failed(UNWRITTEN.into()))?;
        let budget = documents::budget(&endpoint.name, taken.spent);
        let written = self.state.write(vec![budget], now_ms);
        Ok((taken.place, written))
    }

    fn refusal(&self, none: NoneLeft, now_ms: UnixMs) -> AskError {
        refusal(none, &self.upstreams, now_ms)
    }

    fn record_write(&self, written: &Result<(), ControlStoreError>) {
        let was_failing = self.is_failing.swap(written.is_err(), Ordering::Relaxed);
        match written {
            Err(error) if !was_failing => {
                let error = error as &dyn std::error::Error;
                tracing::error!(error, "budgets cannot be written; endpoints are not asked");
            }
            Ok(()) if was_failing => tracing::info!("budgets are written again"),
            Ok(()) | Err(_) => {}
        }
    }
}

impl Endpoints for Spending {
    fn take<'a>(
        &'a self,
        rule: RuleId,
        key: &'a [u8],
        tried: &'a [usize],
    ) -> BoxFuture<'a, Result<NextEndpoint, AskError>> {
        async move {
            let book = self.book();
            let pool = match book.rules().get(&rule).map(|rule| rule.target) {
                Some(RuleTarget::Pool(pool)) => pool,
                Some(RuleTarget::Discard) => return Ok(NextEndpoint::Discard),
                None => return Err(AskError::Failed("there is no such routing rule".into())),
            };
            let (place, written) = self.spend(&book, pool, key, tried)?;
            let written = written.await;
            self.record_write(&written);
            let failed = || AskError::Failed(UNWRITTEN.into());
            written.map_err(|_| failed())?;
            let upstream = upstream_at(&self.upstreams, place).ok_or_else(failed)?.clone();
            Ok(NextEndpoint::Ask { place, upstream })
        }
        .boxed()
    }

    fn back_off(&self, place: usize, retry_after: Duration) {
        let mut ledger = self.ledger.lock();
        ledger.back_off(place, self.clock.now_ms(), retry_after);
    }
}

/// The upstream of an endpoint of the inventory.
pub(super) fn upstream_at(
    upstreams: &[Arc<dyn Upstream>],
    place: usize,
) -> Option<&Arc<dyn Upstream>> {
    invariant::present(upstreams.get(place), "each endpoint has an upstream")
}

/// The availability that an upstream reports.
pub(super) fn availability(
    upstreams: &[Arc<dyn Upstream>],
    place: usize,
    now_ms: UnixMs,
) -> Availability {
    match upstream_at(upstreams, place).map(|upstream| upstream.is_ready()) {
        Some(Ok(())) => Availability::Ready,
        Some(Err(AskError::Backoff { retry_after } | AskError::OverBudget { retry_after })) => {
            Availability::Until(after(now_ms, retry_after))
        }
        Some(Err(_)) | None => Availability::Unavailable,
    }
}

/// The error of a lookup that no endpoint of a chain can take.
pub(super) fn refusal(none: NoneLeft, upstreams: &[Arc<dyn Upstream>], now_ms: UnixMs) -> AskError {
    match none {
        NoneLeft::Until(until_ms) => {
            let retry_after = Duration::from_millis(until_ms.saturating_sub(now_ms));
            AskError::OverBudget { retry_after }
        }
        NoneLeft::Unavailable(place) => {
            let said = upstream_at(upstreams, place).map(|upstream| upstream.is_ready());
            // It may have become ready in the meantime; the next lookup will use it.
            said.and_then(Result::err).unwrap_or(AskError::Busy)
        }
        NoneLeft::NoEndpoints => {
            AskError::Failed("none of its endpoints is in the configuration".into())
        }
    }
}
