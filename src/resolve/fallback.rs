//! Asking some first, and others only where those know nothing.
//!
//! The others are asked when the first found nothing or failed. Where the first found nothing and the
//! others failed, nothing was found: as with several that are asked together, one that failed does not
//! undo what another said.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};

use super::{Found, FoundStream, Hops, NamePut, Question, ResolveError, Resolver, StoredName};
use crate::types::{IpnsName, IpnsRecord};

/// Two resolvers, of which the second is asked for what the first does not find.
pub struct Fallback {
    first: Arc<dyn Resolver>,
    then: Arc<dyn Resolver>,
}

impl Fallback {
    /// Asks `first`, and `then` for what it does not find.
    pub fn new(first: Arc<dyn Resolver>, then: Arc<dyn Resolver>) -> Self {
        Self { first, then }
    }
}

impl Resolver for Fallback {
    fn find<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Found, ResolveError>> {
        async move {
            let first = self.first.find(question).await;
            if first.as_ref().is_ok_and(|found| !found.records.is_empty()) {
                return first;
            }
            self.then.find(question).await.or(first)
        }
        .boxed()
    }

    fn stream(&self, question: Question) -> FoundStream {
        let first = self.first.stream(question.clone());
        let state = Streaming { source: first, phase: Phase::First(self.then.clone(), question) };
        stream::unfold(Some(state), |state| async { state?.next().await }).boxed()
    }

    fn name<'a>(
        &'a self,
        name: &'a IpnsName,
        hops: Hops,
    ) -> BoxFuture<'a, Result<Option<StoredName>, ResolveError>> {
        async move {
            let first = self.first.name(name, hops).await;
            if matches!(first, Ok(Some(_))) {
                return first;
            }
            self.then.name(name, hops).await.or(first)
        }
        .boxed()
    }

    /// Where it is found first.
    fn put_name(
        &self,
        record: IpnsRecord,
        hops: Hops,
    ) -> BoxFuture<'_, Result<NamePut, ResolveError>> {
        self.first.put_name(record, hops)
    }
}

/// A stream of what is asked now.
struct Streaming {
    source: FoundStream,
    phase: Phase,
}

enum Phase {
    /// The first is asked; who is asked if it ends without a record.
    First(Arc<dyn Resolver>, Question),
    /// The others are asked; how the first ended.
    Then(Result<(), ResolveError>),
    /// Records came.
    Found,
}

impl Streaming {
    async fn next(mut self) -> Option<(Result<Found, ResolveError>, Option<Self>)> {
        loop {
            let ended = match self.source.next().await {
                Some(Ok(found)) if found.records.is_empty() => continue,
                Some(Ok(found)) => {
                    self.phase = Phase::Found;
                    return Some((Ok(found), Some(self)));
                }
                Some(Err(error)) => Err(error),
                None => Ok(()),
            };
            let error = match (self.phase, ended) {
                (Phase::First(then, question), ended) => {
                    self = Self { source: then.stream(question), phase: Phase::Then(ended) };
                    continue;
                }
                (Phase::Then(_) | Phase::Found, Ok(())) => return None,
                (Phase::Then(first), Err(_)) => first.err()?,
                (Phase::Found, Err(error)) => error,
            };
            return Some((Err(error), None));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::resolve::Subject;
    use crate::types::{
        AnswerSchema, ContentKey, Filter, ProviderRecord, ReadyRecord, Selection, UnparsableAddrs,
    };

    /// What a resolver of a test answers: this many records, or an error.
    #[derive(Clone, Copy)]
    enum Scripted {
        Finds(usize),
        Fails,
        TimesOut,
    }

    fn found(count: usize) -> Found {
        let json = r#"{"Schema":"x","Number":1}"#;
        let record = ProviderRecord::parse(json, UnparsableAddrs::Drop).unwrap().record;
        let ready = Arc::new(ReadyRecord::new(record, AnswerSchema::Announced));
        let records = vec![(ready, Selection::Whole); count];
        Found { records: records.into(), modified_at_ms: None, is_partial: false }
    }

    impl Resolver for Scripted {
        fn find<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<Found, ResolveError>> {
            let answer = match self {
                Self::Finds(count) => Ok(found(*count)),
                Self::Fails => Err(ResolveError::UpstreamsFailed),
                Self::TimesOut => Err(ResolveError::TimedOut),
            };
            std::future::ready(answer).boxed()
        }

        fn stream(&self, question: Question) -> FoundStream {
            let resolver = *self;
            stream::once(async move { resolver.find(&question).await }).boxed()
        }
    }

    /// How many records both ways of asking find; the error as text.
    async fn ask(first: Scripted, then: Scripted) -> Result<usize, String> {
        let fallback = Fallback::new(Arc::new(first), Arc::new(then));
        let key = ContentKey::from_cid_text("bafkqaaa").unwrap();
        let question = Question {
            subject: Subject::Content(key),
            filter: Filter::default(),
            records_max: NonZeroUsize::new(10),
            hops: Hops::default(),
        };
        let whole = fallback.find(&question).await;
        let whole = whole.map(|found| found.records.len()).map_err(|error| error.to_string());
        let mut streamed = Ok(0);
        let mut source = fallback.stream(question);
        while let Some(item) = source.next().await {
            streamed = match item {
                Ok(found) => streamed.map(|count| count + found.records.len()),
                Err(error) => Err(error.to_string()),
            };
        }
        assert_eq!(whole, streamed);
        whole
    }

    #[tokio::test]
    async fn others_are_asked_for_what_the_first_do_not_find() {
        use Scripted::{Fails, Finds, TimesOut};
        assert_eq!(ask(Finds(2), Finds(3)).await, Ok(2));
        assert_eq!(ask(Finds(2), Fails).await, Ok(2));
        assert_eq!(ask(Finds(0), Finds(3)).await, Ok(3));
        assert_eq!(ask(Fails, Finds(3)).await, Ok(3));
        assert_eq!(ask(Fails, Finds(0)).await, Ok(0));
        assert_eq!(ask(Finds(0), Fails).await, Ok(0));
        assert_eq!(ask(Finds(0), Finds(0)).await, Ok(0));
        let timed_out = ResolveError::TimedOut.to_string();
        assert_eq!(ask(TimesOut, Fails).await, Err(timed_out));
    }
}
