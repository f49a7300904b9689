//! Answering lookups: anything that can is a [`Resolver`].
//!
//! A resolver never turns a failure into an empty answer: "nobody has it" and "we could not find
//! out" are different, and caches keep only the first.

mod local;

use std::num::NonZeroUsize;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use thiserror::Error;

pub use crate::store::Found;
use crate::store::StoreError;
use crate::types::{ContentKey, Filter, PeerId};
pub use local::LocalResolver;

/// What is looked up, and what of it is wanted.
#[derive(Clone, Debug)]
pub struct Question {
    /// Who or what is looked up.
    pub subject: Subject,
    /// What of each record is wanted.
    pub filter: Filter,
    /// The most records that are wanted; `None`: all.
    pub records_max: Option<NonZeroUsize>,
}

/// What can be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Who has this content?
    Content(ContentKey),
    /// How is this peer reached?
    Peer(PeerId),
}

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
