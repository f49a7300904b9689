//! Answering lookups: anything that can is a [`Resolver`].
//!
//! A resolver never turns a failure into an empty answer: "nobody has it" and "we could not find
//! out" are different, and caches keep only the first.

mod local;

use futures_util::future::BoxFuture;
use thiserror::Error;

use crate::store::StoreError;
pub use crate::store::{Found, Lookup};
pub use local::LocalResolver;

/// Anything that answers a lookup.
pub trait Resolver: Send + Sync + 'static {
    /// Finds the records of a key: filtered, each once, and no more than the cap.
    fn providers<'a>(&'a self, lookup: Lookup<'a>) -> BoxFuture<'a, Result<Found, ResolveError>>;
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
    /// Every upstream that could know failed, and nothing is known locally.
    #[error("every upstream failed")]
    UpstreamsFailed,
    /// Nobody that could know answered in time.
    #[error("the lookup timed out")]
    TimedOut,
}
