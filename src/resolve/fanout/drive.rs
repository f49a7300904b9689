//! Asks all upstreams of a target concurrently and merges their records.
//!
//! An upstream that panics counts as one that failed. What was found is kept before the lookup counts
//! as ended, so that a later caller finds one or the other.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, SelectAll};
use futures_util::{FutureExt, StreamExt};
use tokio::task::AbortHandle;

use super::failure::FailureSummary;
use super::singleflight::{Leader, Outcome};
use super::{Core, PANICKED};
use crate::resolve::cache::{Completeness, RemoteAnswer};
use crate::resolve::{AskError, Upstream};
use crate::types::{Hops, ReadyRecord, Subject, TargetId};

/// One event of an upstream's answer.
enum Event {
    Records(Vec<Arc<ReadyRecord>>),
    /// The upstream with this id ended.
    Ended(TargetId, Result<(), AskError>),
}

/// Spawns the task that asks the upstreams.
pub(super) fn spawn(core: Arc<Core>, leader: Leader) -> AbortHandle {
    let runtime = core.runtime.clone();
    runtime.spawn(drive(core, leader)).abort_handle()
}

async fn drive(core: Arc<Core>, leader: Leader) {
    let (subject, hops) = (leader.subject().clone(), leader.hops());
    let asked = core.upstreams.iter().map(|it| ask(it.clone(), subject.clone(), hops));
    let mut events: SelectAll<_> = asked.collect();
    let mut summary = FailureSummary::default();
    while let Some(event) = events.next().await {
        // An upstream that always has more at hand leaves room for others' work.
        tokio::task::coop::consume_budget().await;
        match event {
            Event::Records(records) => leader.add(records, core.options.records_max),
            Event::Ended(upstream_id, result) => summary.count(&upstream_id, result),
        }
    }
    let records = leader.all();
    let failure = if records.is_empty() { core.failure(&summary) } else { None };
    let completeness = summary.completeness();
    let is_unknown = completeness == Completeness::Whole && failure.is_some();
    let completeness = if is_unknown { Completeness::Partial } else { completeness };
    let answer = RemoteAnswer::new(&subject, records, core.clock.now_ms(), completeness);
    let answer = core.cache.keep(core.target, &subject, answer, core.options.records_max);
    leader.complete(Outcome { answer, failure });
}

/// An upstream's records, and last how it ended.
fn ask(upstream: Arc<dyn Upstream>, subject: Subject, hops: Hops) -> BoxStream<'static, Event> {
    let upstream_id = upstream.id().clone();
    let asked = async move { upstream.records(&subject, hops) };
    let answer = AssertUnwindSafe(asked.flatten_stream()).catch_unwind();
    let answer = answer.map(|item| item.unwrap_or_else(|_| Err(AskError::Failed(PANICKED.into()))));
    let events = stream::unfold(Some((answer.boxed(), upstream_id)), |state| async {
        let (mut answer, upstream_id) = state?;
        let event = match answer.next().await {
            Some(Ok(records)) => {
                return Some((Event::Records(records), Some((answer, upstream_id))));
            }
            Some(Err(error)) => Event::Ended(upstream_id, Err(error)),
            None => Event::Ended(upstream_id, Ok(())),
        };
        Some((event, None))
    });
    events.boxed()
}
