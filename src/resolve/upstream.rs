//! The trait of remote routers, and its errors.
//!
//! An implementation of [`Upstream`] vouches for what it returns: resolvers merge, cap and cache it, but do
//! not validate it again. A failure is never an empty answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use thiserror::Error;

use crate::clock::whole_seconds;
use crate::types::{Hops, IpnsName, IpnsRecord, ReadyRecord, Subject, TargetId};

/// A remote router, or several that share the work, as one that can be asked.
///
/// What it gives is parsed, bounded and fit to be served: records of a lookup have the schema and the
/// addresses that answers may have, IPNS records are verified. Dropping what a method returned ends
/// the work.
pub trait Upstream: Send + Sync + 'static {
    /// The id of the target that asks it alone.
    fn id(&self) -> &TargetId;

    /// Whether it would be asked at all: not backing off, not broken, not busy; sends nothing.
    fn is_ready(&self) -> Result<(), AskError> {
        Ok(())
    }

    /// Finds records, some at a time, each as early as it is known; unfiltered, in no order, one peer
    /// perhaps more than once. Ends after an error; an end without one says that these are all.
    /// `hops` are those that the lookup has behind it.
    fn records(&self, subject: &Subject, hops: Hops) -> AskedRecords;

    /// The peers of its network that are closest to the multihash of a subject, in any order; one peer
    /// perhaps more than once. An upstream that knows no such network does not offer it.
    fn closest<'a>(
        &'a self,
        _subject: &'a Subject,
        _hops: Hops,
    ) -> BoxFuture<'a, Result<Vec<Arc<ReadyRecord>>, AskError>> {
        std::future::ready(Err(AskError::NotOffered)).boxed()
    }

    /// Finds the record of an IPNS name; `None`: it knows none.
    fn name<'a>(
        &'a self,
        name: &'a IpnsName,
        hops: Hops,
    ) -> BoxFuture<'a, Result<Option<IpnsRecord>, AskError>>;

    /// Has it store an IPNS record.
    fn put_name<'a>(
        &'a self,
        record: &'a IpnsRecord,
        hops: Hops,
    ) -> BoxFuture<'a, Result<(), AskError>>;
}

/// The stream of [`Upstream::records`].
pub type AskedRecords = BoxStream<'static, Result<Vec<Arc<ReadyRecord>>, AskError>>;

/// Why an upstream did not answer, by what the caller can do about it. The upstream has already logged and
/// counted it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AskError {
    /// It has asked for backoff (`Retry-After`), which is not over.
    #[error("it asks to be left alone for {}", rounded_up(*.retry_after))]
    Backoff {
        /// What remains of it.
        retry_after: Duration,
    },
    /// It failed so often that it is not asked for a while.
    #[error("it failed too often, and is not asked for a while")]
    Broken,
    /// As many lookups as it may have at once are under way.
    #[error("it is asked as much as it may be at once")]
    Busy,
    /// It may not be asked for more until its budget is refilled.
    #[error("its budget is used up for {}", rounded_up(*.retry_after))]
    OverBudget {
        /// The time until the soonest refill.
        retry_after: Duration,
    },
    /// The lookup loops: every router behind this one has been asked already.
    #[error("the lookup loops between routers")]
    Loop,
    /// It does not offer what was asked for.
    #[error("it does not offer this")]
    NotOffered,
    /// It gave no whole answer in time.
    #[error("it gave no whole answer in time")]
    TimedOut,
    /// It cannot be reached, refuses, or gives answers that are none.
    #[error("{0}")]
    Failed(Arc<str>),
}

/// Which upstreams failed and how, for the log: each as `id: why`. Empty where that is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamReasons(Vec<Arc<str>>);

impl UpstreamReasons {
    /// The most upstreams that are named.
    const NAMED_MAX: usize = 8;

    /// Of a lookup that ended before those that were asked did.
    pub(crate) fn unfinished() -> Self {
        Self(vec!["some were still asked at the end of `lookup_timeout`".into()])
    }

    /// Adds an upstream, unless enough are named.
    pub(crate) fn add(&mut self, id: &TargetId, error: &AskError) {
        if self.0.len() < Self::NAMED_MAX {
            self.0.push(format!("{id}: {error}").into());
        }
    }
}

impl fmt::Display for UpstreamReasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, reason) in self.0.iter().enumerate() {
            write!(f, "{}{reason}", if number == 0 { " (" } else { "; " })?;
        }
        f.write_str(if self.0.is_empty() { "" } else { ")" })
    }
}

/// A duration for people, rounded up to whole seconds.
fn rounded_up(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(whole_seconds(duration)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_after_is_shown_in_whole_seconds_rounded_up() {
        for (ms, shown) in [(0, "0s"), (1, "1s"), (1_000, "1s"), (1_001, "2s"), (3_599_001, "1h")] {
            let retry_after = Duration::from_millis(ms);
            let backoff = AskError::Backoff { retry_after }.to_string();
            assert_eq!(backoff, format!("it asks to be left alone for {shown}"));
            let spent = AskError::OverBudget { retry_after }.to_string();
            assert_eq!(spent, format!("its budget is used up for {shown}"));
        }
        let longest = AskError::OverBudget { retry_after: Duration::MAX };
        assert!(longest.to_string().starts_with("its budget is used up for "));
    }
}
