//! The fallback resolver: asks some upstreams first, and others only if those know nothing.
//!
//! The others are asked when the first found nothing or failed. If the first found nothing and the others
//! failed, nothing was found, as with upstreams that are asked together. The local index is authoritative for
//! nothing else, so if it is all that was asked first, the failure is the answer.
//!
//! For IPNS records, of which the best counts, and for closest peers all are asked together.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};

use super::{FoundStream, IpnsPut, ResolveError, Resolver, StoredIpns};
use crate::types::{Found, Hops, IpnsName, IpnsRecord, Origin, Question};

/// What a [`Fallback`] is made of.
pub(crate) struct FallbackParts {
    /// Asked first.
    pub(crate) first: Arc<dyn Resolver>,
    /// Whether that is the local index, which is authoritative for nothing else.
    pub(crate) is_first_local: bool,
    /// Asked if the first finds nothing.
    pub(crate) then: Arc<dyn Resolver>,
    /// All of them together, for IPNS records and closest peers.
    pub(crate) names: Arc<dyn Resolver>,
}

/// Two resolvers, of which the second is asked if the first finds nothing.
pub(crate) struct Fallback(FallbackParts);

impl Fallback {
    /// A resolver that asks as `parts` say.
    pub(crate) fn new(parts: FallbackParts) -> Self {
        Self(parts)
    }
}

impl Resolver for Fallback {
    fn find<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Found, ResolveError>> {
        async move {
            let FallbackParts { first, is_first_local, then, .. } = &self.0;
            let first = first.find(question).await;
            if first.as_ref().is_ok_and(|found| !found.records.is_empty()) {
                return first;
            }
            match then.find(question).await {
                Ok(mut found) => {
                    found.is_partial |= first.as_ref().map_or(true, |first| first.is_partial);
                    Ok(found)
                }
                Err(error) if *is_first_local => Err(error),
                Err(_) => first,
            }
        }
        .boxed()
    }

    fn stream(&self, question: Question) -> FoundStream {
        let FallbackParts { first, is_first_local, then, .. } = &self.0;
        let source = first.stream(question.clone());
        let next = Next { resolver: then.clone(), question, is_first_local: *is_first_local };
        let state = FallbackStream { source, phase: Phase::First(next) };
        stream::unfold(Some(state), |state| async { state?.next().await }).boxed()
    }

    fn closest<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Found, ResolveError>> {
        self.0.names.closest(question)
    }

    fn name<'a>(
        &'a self,
        name: &'a IpnsName,
        hops: Hops,
    ) -> BoxFuture<'a, Result<Option<StoredIpns>, ResolveError>> {
        self.0.names.name(name, hops)
    }

    fn put_name(
        &self,
        record: IpnsRecord,
        origin: Origin,
        hops: Hops,
    ) -> BoxFuture<'_, Result<IpnsPut, ResolveError>> {
        self.0.names.put_name(record, origin, hops)
    }
}

/// A stream of what is asked now.
struct FallbackStream {
    source: FoundStream,
    phase: Phase,
}

enum Phase {
    /// The first is asked.
    First(Next),
    /// The others are asked; how the first ended, unless it has nothing to say if they fail.
    Then(Option<Result<(), ResolveError>>),
    /// Records came.
    Found,
}

/// The resolver that is asked if the first ends without a record.
struct Next {
    resolver: Arc<dyn Resolver>,
    question: Question,
    is_first_local: bool,
}

impl FallbackStream {
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
                (Phase::First(Next { resolver, question, is_first_local }), ended) => {
                    let phase = Phase::Then((!is_first_local).then_some(ended));
                    self = Self { source: resolver.stream(question), phase };
                    continue;
                }
                (Phase::Then(_) | Phase::Found, Ok(())) => return None,
                (Phase::Then(Some(first)), Err(_)) => first.err()?,
                (Phase::Then(None), Err(error)) => error,
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
    use crate::resolve::UpstreamReasons;
    use crate::types::Subject;
    use crate::types::{
        AnswerSchema, ContentKey, Filter, ProviderRecord, ReadyRecord, Selection, UnparsableAddrs,
    };

    /// What a resolver of a test answers: this many records, or an error.
    #[derive(Clone, Copy)]
    enum Scripted {
        Finds(usize),
        /// Nothing, and a source failed.
        HalfFails,
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
                Self::HalfFails => Ok(Found { is_partial: true, ..Found::default() }),
                Self::Fails => Err(ResolveError::UpstreamsFailed(UpstreamReasons::default())),
                Self::TimesOut => Err(ResolveError::TimedOut(UpstreamReasons::default())),
            };
            std::future::ready(answer).boxed()
        }

        fn stream(&self, question: Question) -> FoundStream {
            let resolver = *self;
            stream::once(async move { resolver.find(&question).await }).boxed()
        }
    }

    fn question() -> Question {
        Question {
            subject: Subject::Content(ContentKey::from_cid_text("bafkqaaa").unwrap()),
            filter: Filter::default(),
            records_max: NonZeroUsize::new(10),
            hops: Hops::default(),
        }
    }

    async fn ask(first: Scripted, then: Scripted) -> Result<usize, String> {
        ask_after(false, first, then).await
    }

    /// How many records both ways of asking find; the error as text.
    async fn ask_after(
        is_first_local: bool,
        first: Scripted,
        then: Scripted,
    ) -> Result<usize, String> {
        let (first, then): (Arc<dyn Resolver>, _) = (Arc::new(first), Arc::new(then));
        let parts = FallbackParts { names: first.clone(), first, is_first_local, then };
        let fallback = Fallback::new(parts);
        let question = question();
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
        let timed_out = ResolveError::TimedOut(UpstreamReasons::default()).to_string();
        assert_eq!(ask(TimesOut, Fails).await, Err(timed_out));
        // The index alone does not know what others have.
        let failed = ResolveError::UpstreamsFailed(UpstreamReasons::default()).to_string();
        assert_eq!(ask_after(true, Finds(0), Fails).await, Err(failed));
        assert_eq!(ask_after(true, Finds(0), Finds(0)).await, Ok(0));
        assert_eq!(ask_after(true, Finds(1), Fails).await, Ok(1));
    }

    #[tokio::test]
    async fn that_some_of_the_first_failed_is_passed_on() {
        use Scripted::{Fails, Finds, HalfFails};
        for (first, is_partial) in [(Finds(0), false), (HalfFails, true), (Fails, true)] {
            let (first, then): (Arc<dyn Resolver>, _) = (Arc::new(first), Arc::new(Finds(1)));
            let parts = FallbackParts { names: first.clone(), first, is_first_local: false, then };
            let found = Fallback::new(parts).find(&question()).await.unwrap();
            assert_eq!((found.records.len(), found.is_partial), (1, is_partial));
        }
    }
}
