//! Asking a pool: one endpoint of a pool for each question, as budgets allow.
//!
//! Which endpoint, and whether it may be asked, is decided behind [`Endpoints`], which spends a lookup
//! of its budget before the endpoint is named here. A lookup that was spent is never given back,
//! whatever the endpoint answers. Failover: an endpoint that asks for backoff is skipped and does not count
//! as a failure. After one that fails before its first record one other endpoint is asked, and the answer of
//! that is final. A routing loop is final, too: another endpoint may lead into the same loop, and costs
//! again. A later failure ends the records.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};

use super::{AskError, AskedRecords, Upstream};
use crate::dispatch::pool::RuleId;
use crate::types::{ContentKey, Hops, IpnsName, IpnsRecord, Subject, TargetId};

/// How many endpoints may fail before the failure is the answer.
const FAILURES_MAX: usize = 2;

/// The endpoints behind routing rules, with their budgets.
pub(crate) trait Endpoints: Send + Sync + 'static {
    /// Debits one lookup of an endpoint behind a rule, durably, and returns the endpoint. `tried` are the
    /// places of endpoints that have already failed this question.
    fn take<'a>(
        &'a self,
        rule: RuleId,
        key: &'a [u8],
        tried: &'a [usize],
    ) -> BoxFuture<'a, Result<NextEndpoint, AskError>>;

    /// Leaves the endpoint at a place alone for a while.
    fn back_off(&self, place: usize, retry_after: Duration);
}

/// The next step of a question.
pub(crate) enum NextEndpoint {
    /// Ask this endpoint, once.
    Ask {
        /// The endpoint's place.
        place: usize,
        /// The endpoint.
        upstream: Arc<dyn Upstream>,
    },
    /// Answer that nothing is found: the rule's pool was deleted.
    Discard,
}

/// All endpoints behind a routing rule, as one upstream.
pub(crate) struct PoolUpstream {
    id: TargetId,
    rule: RuleId,
    endpoints: Arc<dyn Endpoints>,
}

impl PoolUpstream {
    /// The upstream that is a routing rule.
    pub(crate) fn new(rule: RuleId, endpoints: Arc<dyn Endpoints>) -> Self {
        Self { id: TargetId::of_rule(rule.0), rule, endpoints }
    }

    fn failover(&self, key: ContentKey) -> Failover {
        let Self { rule, endpoints, .. } = self;
        Failover {
            rule: *rule,
            endpoints: endpoints.clone(),
            key,
            tried: Vec::new(),
            last: None,
            failures: 0,
        }
    }
}

impl Upstream for PoolUpstream {
    fn id(&self) -> &TargetId {
        &self.id
    }

    fn records(&self, subject: &Subject, hops: Hops) -> AskedRecords {
        let failover = self.failover(subject.multihash());
        let subject = subject.clone();
        stream::once(records(failover, subject, hops)).try_flatten().boxed()
    }

    fn name<'a>(
        &'a self,
        name: &'a IpnsName,
        hops: Hops,
    ) -> BoxFuture<'a, Result<Option<IpnsRecord>, AskError>> {
        let mut failover = self.failover(name.multihash().clone());
        async move {
            while let Some((place, upstream)) = failover.next_endpoint().await? {
                match upstream.name(name, hops).await {
                    Ok(found) => return Ok(found),
                    Err(error) => failover.failed(place, error)?,
                }
            }
            Ok(None)
        }
        .boxed()
    }

    fn put_name<'a>(
        &'a self,
        record: &'a IpnsRecord,
        hops: Hops,
    ) -> BoxFuture<'a, Result<(), AskError>> {
        let mut failover = self.failover(record.name().multihash().clone());
        async move {
            while let Some((place, upstream)) = failover.next_endpoint().await? {
                match upstream.put_name(record, hops).await {
                    Ok(()) => return Ok(()),
                    Err(error) => failover.failed(place, error)?,
                }
            }
            // A record that is dropped must not count as stored.
            Err(AskError::NotOffered)
        }
        .boxed()
    }
}

/// The records of the first endpoint that answers: an end counts as an answer.
async fn records(
    mut failover: Failover,
    subject: Subject,
    hops: Hops,
) -> Result<AskedRecords, AskError> {
    while let Some((place, upstream)) = failover.next_endpoint().await? {
        let mut records = upstream.records(&subject, hops);
        let first = loop {
            match records.next().await {
                Some(Ok(records)) if records.is_empty() => {}
                first => break first,
            }
        };
        match first {
            None => break,
            Some(Ok(first)) => return Ok(stream::iter([Ok(first)]).chain(records).boxed()),
            Some(Err(error)) => failover.failed(place, error)?,
        }
    }
    Ok(stream::empty().boxed())
}

/// One question that is retried at other endpoints.
struct Failover {
    rule: RuleId,
    endpoints: Arc<dyn Endpoints>,
    key: ContentKey,
    tried: Vec<usize>,
    /// The last error that was not a request for backoff.
    last: Option<AskError>,
    failures: usize,
}

impl Failover {
    /// Chooses the next endpoint; `None`: the rule finds nothing. If none is left, the last endpoint's error
    /// is more telling than that.
    async fn next_endpoint(&mut self) -> Result<Option<(usize, Arc<dyn Upstream>)>, AskError> {
        match self.endpoints.take(self.rule, self.key.as_bytes(), &self.tried).await {
            Ok(NextEndpoint::Ask { place, upstream }) => Ok(Some((place, upstream))),
            Ok(NextEndpoint::Discard) => Ok(None),
            Err(error) => Err(self.last.take().unwrap_or(error)),
        }
    }

    /// Records an endpoint's error; returns it if no other endpoint is to be asked.
    fn failed(&mut self, place: usize, error: AskError) -> Result<(), AskError> {
        self.tried.push(place);
        match error {
            AskError::Backoff { retry_after } | AskError::OverBudget { retry_after } => {
                self.endpoints.back_off(place, retry_after);
                return Ok(());
            }
            // Nothing was sent.
            AskError::Broken | AskError::Busy => {}
            AskError::Loop => return Err(error),
            AskError::NotOffered | AskError::TimedOut | AskError::Failed(_) => self.failures += 1,
        }
        if self.failures == FAILURES_MAX {
            return Err(error);
        }
        self.last = Some(error);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
