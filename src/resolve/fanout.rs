//! The resolver of one target: the local index, where it has one, and upstreams, as one.
//!
//! The local index is asked every time, and first: what is announced shows at once, and where it fills
//! an answer no upstream is asked. Upstreams are asked unfiltered and concurrently, and equal lookups are
//! coalesced (singleflight); their answers are cached, and filtered and cut on the way out, so that one
//! cached answer serves every question about its subject. A peer has one record, merged of all that is known.
//!
//! A failing upstream only shows in its log and metrics as long as something was found; [`failure`]
//! defines the error otherwise. A local index that fails counts like a failing upstream, but its error is
//! the answer's. A stale answer is served if asking anew fails, rather than an error.
//!
//! Dropping what [`Resolver::find`] or [`Resolver::stream`] returned ends the work, unless it has other
//! followers, or an answer in one piece was complete before the slowest upstream: then the lookup goes on,
//! so that the next answer has it all. Upstreams bound how long that is.

mod answer;
mod closest;
mod drive;
mod failure;
mod find;
mod grace;
mod ipns;
mod singleflight;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio_util::context::TokioContext;

use super::cache::{AnswerCache, Cached, CachedTarget, Completeness, RemoteAnswer};
use super::{FoundStream, IpnsPut, ResolveError, Resolver, StoredIpns, Upstream};
use crate::clock::Clock;
use crate::metrics::AnswerCounts;
use crate::store::IpnsStore;
use crate::types::{Found, Hops, IpnsName, IpnsRecord, Origin, Question, Subject, TargetId};
use failure::{FailureSummary, LookupFailure};
use ipns::IpnsLookups;
use singleflight::{Follower, LookupKey, Outcome, Singleflight};

/// The error of an upstream that panicked.
const PANICKED: &str = "asking it panicked";

/// What a [`Fanout`] is made of.
pub(crate) struct FanoutParts {
    /// The target that it answers for; the cache's key, so a target always has the same upstreams.
    pub(crate) target: TargetId,
    /// The local index; `None`: only upstreams are asked.
    pub(crate) local: Option<Arc<dyn Resolver>>,
    /// The upstreams; may be empty.
    pub(crate) upstreams: Vec<Arc<dyn Upstream>>,
    /// Where IPNS records of upstreams are stored, if there is a local index.
    pub(crate) ipns: Arc<dyn IpnsStore>,
    /// What all targets share.
    pub(crate) cache: Arc<AnswerCache>,
    /// Limits and times.
    pub(crate) options: FanoutOptions,
    /// By which the age of cached answers is known.
    pub(crate) clock: Clock,
    /// Counts where answers come from.
    pub(crate) counts: AnswerCounts,
    /// Where upstreams are asked. It must outlive the threads that serve requests: a lookup is shared by
    /// requests of several, and so are the connections that it opens.
    pub(crate) runtime: Handle,
}

/// Limits and times of a [`Fanout`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct FanoutOptions {
    /// How long an answer in one piece waits for more once it has something.
    pub(crate) gather_timeout: Duration,
    /// The most records that all upstreams together contribute to an answer; more are left out.
    pub(crate) records_max: usize,
}

/// The resolver of one target. Cheap to hold and to clone.
#[derive(Clone)]
pub(crate) struct Fanout(Arc<Core>);

/// What lookups under way need of a [`Fanout`].
struct Core {
    target: CachedTarget,
    local: Option<Arc<dyn Resolver>>,
    upstreams: Vec<Arc<dyn Upstream>>,
    ipns: Arc<dyn IpnsStore>,
    cache: Arc<AnswerCache>,
    options: FanoutOptions,
    clock: Clock,
    counts: AnswerCounts,
    runtime: Handle,
    lookups: Arc<Singleflight>,
    name_lookups: Arc<IpnsLookups>,
}

/// The upstreams' part of an answer when a lookup begins.
enum Remote {
    /// All that is needed.
    Kept(Arc<RemoteAnswer>),
    /// A lookup under way, and what is served if it fails.
    Asked { follower: Follower, stale: Option<Arc<RemoteAnswer>> },
}

impl Default for FanoutOptions {
    fn default() -> Self {
        Self { gather_timeout: Duration::from_millis(500), records_max: 10_000 }
    }
}

impl Fanout {
    /// The resolver of a target.
    pub(crate) fn new(parts: FanoutParts) -> Self {
        let FanoutParts { target, local, upstreams, ipns, cache, options, clock, counts, runtime } =
            parts;
        Self(Arc::new(Core {
            target: cache.target(&target),
            local,
            upstreams,
            ipns,
            cache,
            options,
            clock,
            counts,
            runtime,
            lookups: Arc::default(),
            name_lookups: Arc::default(),
        }))
    }

    /// The sole resolver, where no upstreams are configured.
    fn only_local(&self) -> Option<&dyn Resolver> {
        if self.0.upstreams.is_empty() { self.0.local.as_deref() } else { None }
    }
}

impl Resolver for Fanout {
    fn find<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Found, ResolveError>> {
        match self.only_local() {
            Some(local) => local.find(question),
            None => find::find(&self.0, question).boxed(),
        }
    }

    fn stream(&self, question: Question) -> FoundStream {
        match self.only_local() {
            Some(local) => local.stream(question),
            None => match question.subject {
                Subject::Content(_) => stream::stream(self.0.clone(), question),
                Subject::Peer(_) => stream::in_one_piece(self.0.clone(), question),
            },
        }
    }

    fn closest<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Found, ResolveError>> {
        match self.only_local() {
            Some(local) => local.closest(question),
            None => {
                let found = closest::find(&self.0, question);
                TokioContext::new(found, self.0.runtime.clone()).boxed()
            }
        }
    }

    fn name<'a>(
        &'a self,
        name: &'a IpnsName,
        hops: Hops,
    ) -> BoxFuture<'a, Result<Option<StoredIpns>, ResolveError>> {
        match self.only_local() {
            Some(local) => local.name(name, hops),
            None => ipns::find(&self.0, name, hops).boxed(),
        }
    }

    fn put_name(
        &self,
        record: IpnsRecord,
        origin: Origin,
        hops: Hops,
    ) -> BoxFuture<'_, Result<IpnsPut, ResolveError>> {
        match self.only_local() {
            Some(local) => local.put_name(record, origin, hops),
            None => ipns::put(self.0.clone(), record, origin, hops).boxed(),
        }
    }
}

impl Core {
    /// The upstreams' answer, out of the cache or of a lookup under way. Counts the lookup.
    fn remote(self: &Arc<Self>, question: &Question) -> Remote {
        let now_ms = self.clock.now_ms();
        if question.subject.is_identity() {
            self.counts.local.inc();
            return Remote::Kept(self.nothing(&question.subject));
        }
        let stale = match self.cache.get(self.target, &question.subject, now_ms) {
            Cached::Fresh(answer) => {
                self.counts.fresh.inc();
                return Remote::Kept(answer);
            }
            Cached::Stale(answer) => {
                self.counts.stale.inc();
                let key = lookup_key(question);
                self.lookups.begin(&key, |leader| drive::spawn(self.clone(), leader));
                return Remote::Kept(answer);
            }
            Cached::StaleAfterFailure(answer) => {
                self.counts.stale.inc();
                return Remote::Kept(answer);
            }
            Cached::Reserve(answer) => Some(answer),
            Cached::Nothing => None,
        };
        let key = lookup_key(question);
        let mut is_asked = false;
        let start = |leader| {
            is_asked = self.is_asked();
            drive::spawn(self.clone(), leader)
        };
        let (follower, was_there) = self.lookups.follow(key, start);
        if was_there {
            self.counts.coalesced.inc();
        } else if is_asked {
            self.counts.upstream.inc();
        } else {
            self.counts.none_ready.inc();
        }
        Remote::Asked { follower, stale }
    }

    /// Why nothing is known, if nothing was found.
    fn failure(&self, summary: &FailureSummary) -> Option<LookupFailure> {
        match self.local {
            Some(_) => summary.failure_beside_local(),
            None => summary.failure(),
        }
    }

    /// Whether any upstream would be asked now.
    fn is_asked(&self) -> bool {
        self.upstreams.iter().any(|upstream| upstream.is_ready().is_ok())
    }

    /// What is served of a lookup that has ended; the stale answer, if the new one is empty because an
    /// upstream failed that may have known.
    fn served(
        &self,
        outcome: Outcome,
        stale: Option<Arc<RemoteAnswer>>,
        subject: &Subject,
    ) -> Result<Arc<RemoteAnswer>, ResolveError> {
        let Outcome { answer, failure } = outcome;
        match (failure, stale) {
            (Some(failure), Some(_)) if !answer.is_partial() => Err(failure.into()),
            (Some(failure), None) => Err(failure.into()),
            (_, stale) => Ok(self.with_stale(answer, stale, subject)),
        }
    }

    /// An answer merged with the stale one, unless no upstream failed, or it is merged already.
    fn with_stale(
        &self,
        answer: Arc<RemoteAnswer>,
        stale: Option<Arc<RemoteAnswer>>,
        subject: &Subject,
    ) -> Arc<RemoteAnswer> {
        match stale {
            Some(stale) if answer.is_partial() && answer.is_empty() => stale,
            Some(stale) if answer.is_partial() && answer.parts().is_none() => {
                Arc::new(answer.merged_with(&stale, subject, self.options.records_max))
            }
            _ => answer,
        }
    }

    /// The answer of upstreams that know nothing.
    fn nothing(&self, subject: &Subject) -> Arc<RemoteAnswer> {
        let now_ms = self.clock.now_ms();
        Arc::new(RemoteAnswer::new(subject, Vec::new(), now_ms, Completeness::Whole))
    }
}

fn lookup_key(question: &Question) -> LookupKey {
    let Question { subject, hops, filter: _, records_max: _ } = question;
    LookupKey { subject: subject.clone(), hops: *hops }
}

#[cfg(test)]
mod tests;
