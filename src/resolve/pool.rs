//! Asking a pool: one endpoint of a pool for each question, as budgets allow.
//!
//! Which endpoint, and whether it may be asked, is decided behind [`Endpoints`], which spends a lookup
//! of its budget before the endpoint is named here. A lookup that was spent is never given back,
//! whatever becomes of the question. An endpoint that wants to be left alone costs a turn and no
//! failure: the next one is asked. One that fails before its first record is a failure: one other
//! endpoint is asked, and what that says is the answer. A circle is an answer, too: another endpoint
//! may lead into the same one, and costs again. What fails later ends the records.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};

use super::{AskError, AskedRecords, Hops, Subject, Upstream};
use crate::dispatch::pool::RuleId;
use crate::types::{AccountId, ContentKey, IpnsName, IpnsRecord};

/// How many endpoints may fail before the failure is the answer.
const FAILURES_MAX: usize = 2;

/// The endpoints behind routing rules, with their budgets.
pub(crate) trait Endpoints: Send + Sync + 'static {
    /// Spends a lookup of an endpoint behind a rule, durably, and says which. `tried` are the places
    /// of endpoints that this question went to in vain.
    fn take<'a>(
        &'a self,
        rule: RuleId,
        key: &'a [u8],
        tried: &'a [usize],
    ) -> BoxFuture<'a, Result<Turn, AskError>>;

    /// Leaves the endpoint at a place alone for a while.
    fn back_off(&self, place: usize, retry_after: Duration);
}

/// What to do with a question.
pub(crate) enum Turn {
    /// Ask this one, once.
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
    account: AccountId,
    rule: RuleId,
    endpoints: Arc<dyn Endpoints>,
}

impl PoolUpstream {
    /// The upstream that is a routing rule.
    pub(crate) fn new(rule: RuleId, endpoints: Arc<dyn Endpoints>) -> Self {
        Self { account: AccountId::of_rule(rule.0), rule, endpoints }
    }

    fn asking(&self, key: ContentKey) -> Asking {
        let Self { rule, endpoints, .. } = self;
        Asking {
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
    fn account(&self) -> &AccountId {
        &self.account
    }

    fn records(&self, subject: &Subject, hops: Hops) -> AskedRecords {
        let asking = self.asking(subject.multihash());
        let subject = subject.clone();
        stream::once(records(asking, subject, hops)).try_flatten().boxed()
    }

    fn name<'a>(
        &'a self,
        name: &'a IpnsName,
        hops: Hops,
    ) -> BoxFuture<'a, Result<Option<IpnsRecord>, AskError>> {
        let mut asking = self.asking(name.multihash().clone());
        async move {
            while let Some((place, upstream)) = asking.turn().await? {
                match upstream.name(name, hops).await {
                    Ok(found) => return Ok(found),
                    Err(error) => asking.in_vain(place, error)?,
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
        let mut asking = self.asking(record.name().multihash().clone());
        async move {
            while let Some((place, upstream)) = asking.turn().await? {
                match upstream.put_name(record, hops).await {
                    Ok(()) => return Ok(()),
                    Err(error) => asking.in_vain(place, error)?,
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
    mut asking: Asking,
    subject: Subject,
    hops: Hops,
) -> Result<AskedRecords, AskError> {
    while let Some((place, upstream)) = asking.turn().await? {
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
            Some(Err(error)) => asking.in_vain(place, error)?,
        }
    }
    Ok(stream::empty().boxed())
}

/// A question on its way from endpoint to endpoint.
struct Asking {
    rule: RuleId,
    endpoints: Arc<dyn Endpoints>,
    key: ContentKey,
    tried: Vec<usize>,
    /// What the last endpoint said that did not just want to be left alone.
    last: Option<AskError>,
    failures: usize,
}

impl Asking {
    /// The next endpoint; `None`: the rule finds nothing. Where none is left, what the last one said
    /// tells more than that.
    async fn turn(&mut self) -> Result<Option<(usize, Arc<dyn Upstream>)>, AskError> {
        match self.endpoints.take(self.rule, self.key.as_bytes(), &self.tried).await {
            Ok(Turn::Ask { place, upstream }) => Ok(Some((place, upstream))),
            Ok(Turn::Discard) => Ok(None),
            Err(error) => Err(self.last.take().unwrap_or(error)),
        }
    }

    /// Notes what an endpoint answered in place of an answer; an error ends the question.
    fn in_vain(&mut self, place: usize, error: AskError) -> Result<(), AskError> {
        self.tried.push(place);
        match error {
            AskError::Resting { retry_after } | AskError::OverBudget { retry_after } => {
                self.endpoints.back_off(place, retry_after);
                return Ok(());
            }
            // Nothing was sent.
            AskError::Broken | AskError::Busy => {}
            AskError::Circle => return Err(error),
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
pub(crate) mod testing;
#[cfg(test)]
mod tests;
