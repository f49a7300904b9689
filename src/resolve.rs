//! Answering lookups: anything that can is a [`Resolver`].
//!
//! A resolver never turns a failure into an empty answer: "nobody has it" and "we could not find
//! out" are different, and caches keep only the first.

#[cfg(test)]
mod battery;
mod cache;
mod fallback;
mod fanout;
mod local;
mod merge;
mod peer_link;
mod pool;
mod router;
#[cfg(test)]
pub(crate) mod testing;
mod upstream;

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use thiserror::Error;

pub(crate) use crate::store::{IpnsPut, IpnsStoreError, StoreError, StoredIpns};
use crate::types::{Found, Hops, IpnsName, IpnsRecord, Origin, Question, TargetId};
pub(crate) use cache::{AnswerCache, CacheOptions};
pub(crate) use fallback::{Fallback, FallbackParts};
pub(crate) use fanout::{Fanout, FanoutOptions, FanoutParts};
pub use local::LocalResolver;
pub(crate) use peer_link::{PeerLink, PeerLinkError};
pub(crate) use pool::{Endpoints, NextEndpoint, PoolUpstream};
pub(crate) use router::{Discard, RouteTable, Router, UnknownTarget};
pub use upstream::{AskError, AskedRecords, Upstream, UpstreamReasons};

/// Records as they become known, some at a time. What a client does not wait for is dropped, and
/// the work behind it ends.
pub type FoundStream = BoxStream<'static, Result<Found, ResolveError>>;

/// Anything that answers a lookup.
///
/// Records are filtered, each comes once, and no more come than are wanted. Dropping what a method
/// returned ends the work.
pub trait Resolver: Send + Sync + 'static {
    /// Finds all records, for an answer in one piece.
    fn find<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Found, ResolveError>>;

    /// Finds records, each as early as it is known. An error before the first record is the answer;
    /// after it, it says that more might have been found.
    fn stream(&self, question: Question) -> FoundStream;

    /// The peers of a network that are closest to the multihash of what is asked about, nearest first and
    /// filtered; 20 at most, and no more than are wanted. One that knows no such network does not offer
    /// it.
    fn closest<'a>(
        &'a self,
        _question: &'a Question,
    ) -> BoxFuture<'a, Result<Found, ResolveError>> {
        std::future::ready(Err(ResolveError::NotOffered)).boxed()
    }

    /// The best record of an IPNS name: of the greatest sequence, then of the latest end. One that
    /// does not resolve names finds none.
    fn name<'a>(
        &'a self,
        _name: &'a IpnsName,
        _hops: Hops,
    ) -> BoxFuture<'a, Result<Option<StoredIpns>, ResolveError>> {
        std::future::ready(Ok(None)).boxed()
    }

    /// Stores an IPNS record, which comes from a network, wherever this resolver would look for it. One
    /// that does not resolve names stores none, which is an error.
    fn put_name(
        &self,
        _record: IpnsRecord,
        _origin: Origin,
        _hops: Hops,
    ) -> BoxFuture<'_, Result<IpnsPut, ResolveError>> {
        let reasons = UpstreamReasons::default();
        std::future::ready(Err(ResolveError::UpstreamsFailed(reasons))).boxed()
    }
}

/// Why a lookup has no answer.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// There is more to do than can be done.
    #[error("too many lookups at once")]
    Overloaded,
    /// The local store failed.
    #[error("the local store failed")]
    Store(#[from] StoreError),
    /// The store of IPNS records failed.
    #[error(transparent)]
    Ipns(#[from] IpnsStoreError),
    /// The routing table names a target that does not exist.
    #[error("there is no account `{0}`, to which the routing table points")]
    UnknownTarget(TargetId),
    /// No source here offers this.
    #[error("nobody who answers here offers this")]
    NotOffered,
    /// What was to be stored is of a part of the key space that is not served.
    #[error("names of this part of the key space are not served here")]
    Discarded,
    /// What would be asked has used up its budget, and nothing is known otherwise.
    #[error("the budget of what would be asked is used up")]
    OverBudget {
        /// The time until the soonest refill.
        retry_after: Duration,
    },
    /// Every upstream that could know asks for backoff.
    #[error("every upstream asks to be left alone for a while")]
    Backoff {
        /// The time until the first of them may be asked again.
        retry_after: Duration,
    },
    /// Every upstream that could know failed, and nothing is known locally.
    #[error("every upstream failed{0}")]
    UpstreamsFailed(UpstreamReasons),
    /// No source answered in time.
    #[error("the lookup timed out{0}")]
    TimedOut(UpstreamReasons),
}
