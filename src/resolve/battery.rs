//! The battery that every [`Resolver`] passes. A promise of the trait's documentation is a test here; a new
//! implementation adds a line to [`ResolverKind`] and to [`BuiltResolver::of`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};

use super::testing::*;
use super::{
    AskError, Discard, Fallback, FallbackParts, LocalResolver, ResolveError, Resolver, Router,
    UnknownTarget,
};
use crate::clock::{Clock, ManualClock};
use crate::store::{Announcement, ContextId, IpnsLimits, MemoryIpns, MemoryStore, Store, Update};
use crate::types::ipns_testing::{name, record as signed};
use crate::types::{
    AnswerSchema, Found, Hops, Origin, PeerId, ProviderRecord, Question, ReadyRecord,
    UnparsableAddrs,
};

/// The implementations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ResolverKind {
    Local,
    /// The local index and upstreams.
    Fanout,
    /// Upstreams alone.
    Upstreams,
    Fallback,
    Router,
    UnknownTarget,
    Discard,
}

/// Those that know providers where there are any.
const ANSWERING: [ResolverKind; 5] = [
    ResolverKind::Local,
    ResolverKind::Fanout,
    ResolverKind::Upstreams,
    ResolverKind::Fallback,
    ResolverKind::Router,
];

/// Those that ask upstreams.
const ASKING: [ResolverKind; 4] =
    [ResolverKind::Fanout, ResolverKind::Upstreams, ResolverKind::Fallback, ResolverKind::Router];

/// How many providers are known where there is somebody to know them.
const KNOWN: u32 = 5;

/// A resolver, and the upstream that it asks.
struct BuiltResolver {
    resolver: Arc<dyn Resolver>,
    upstream: Option<Arc<FakeUpstream>>,
}

impl BuiltResolver {
    /// A resolver whose sources know the providers of `numbers`; upstreams do `then` after that.
    async fn of(kind: ResolverKind, numbers: impl Iterator<Item = u32>, then: &[Step]) -> Self {
        let records: Vec<_> = numbers.map(|number| record(number, &[1])).collect();
        let steps = [&[Step::Give(records.clone())], then].concat();
        let upstream = FakeUpstream::new(steps);
        let both = [upstream.clone(), upstream.clone()];
        let asking = |has_local| Bench::new(has_local, &both);
        let resolver: Arc<dyn Resolver> = match kind {
            ResolverKind::Local => Arc::new(local(&records).await),
            ResolverKind::Fanout => Arc::new(asking(HasLocal::Yes).holding(records).fanout),
            ResolverKind::Upstreams => Arc::new(asking(HasLocal::No).fanout),
            ResolverKind::Fallback => {
                let first = Bench::new(HasLocal::Yes, &[]);
                Arc::new(Fallback::new(FallbackParts {
                    first: Arc::new(first.fanout),
                    is_first_local: true,
                    then: Arc::new(asking(HasLocal::No).fanout),
                    names: Arc::new(asking(HasLocal::Yes).fanout),
                }))
            }
            ResolverKind::Router => {
                let default = asking(HasLocal::Yes).holding(records).fanout;
                Arc::new(Router::new(Arc::new(default), clock()))
            }
            ResolverKind::UnknownTarget => Arc::new(UnknownTarget(target())),
            ResolverKind::Discard => Arc::new(Discard),
        };
        let asks = !matches!(
            kind,
            ResolverKind::Local | ResolverKind::UnknownTarget | ResolverKind::Discard
        );
        Self { resolver, upstream: asks.then_some(upstream) }
    }

    async fn find(&self, question: &Question) -> Result<Vec<PeerId>, ResolveError> {
        self.resolver.find(question).await.map(|found| peers(&found))
    }

    /// All that a stream gives, and the error at its end.
    async fn stream(&self, question: &Question) -> (Vec<PeerId>, Option<ResolveError>) {
        let (mut found, mut error) = (Vec::new(), None);
        let mut items = self.resolver.stream(question.clone());
        while let Some(item) = items.next().await {
            assert!(error.is_none(), "an error is the end");
            match item {
                Ok(more) => found.extend(peers(&more)),
                Err(failure) => error = Some(failure),
            }
        }
        (found, error)
    }
}

fn clock() -> Clock {
    Clock::Manual(ManualClock::new(START_MS))
}

/// The index in memory, with these records.
async fn local(records: &[Arc<ReadyRecord>]) -> LocalResolver {
    let store = MemoryStore::new(AnswerSchema::Announced);
    let key = peer(0).multihash();
    let announcements = records.iter().enumerate().map(|(number, record)| Announcement {
        keys: vec![key.clone()],
        record: ProviderRecord::parse(record.json(), UnparsableAddrs::Drop).unwrap().record,
        context: ContextId::new(&number.to_be_bytes()).unwrap(),
        expires_at_ms: None,
    });
    let announcements = announcements.collect();
    let update = Update { statement: None, origin: Origin::OPERATOR, announcements };
    store.update(vec![update], START_MS).await.unwrap();
    LocalResolver::new(Arc::new(store), Arc::new(MemoryIpns::new(IpnsLimits::default())), clock())
}

fn peers(found: &Found) -> Vec<PeerId> {
    found.records.iter().map(|(record, _)| record.peer().unwrap().clone()).collect()
}

fn distinct(peers: &[PeerId]) -> BTreeSet<String> {
    peers.iter().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn both_ways_of_asking_find_each_provider_once() {
    for kind in ANSWERING {
        let built = BuiltResolver::of(kind, 1..=KNOWN, &[]).await;
        let found = built.find(&question()).await.unwrap();
        let all: Vec<_> = (1..=KNOWN).map(peer).collect();
        assert_eq!((found.len(), distinct(&found)), (KNOWN as usize, distinct(&all)), "{kind:?}");
        // Asked again, what is kept counts; of a new one, what comes.
        for built in [built, BuiltResolver::of(kind, 1..=KNOWN, &[]).await] {
            let (streamed, error) = built.stream(&question()).await;
            assert_eq!(
                (streamed.len(), distinct(&streamed)),
                (found.len(), distinct(&all)),
                "{kind:?}"
            );
            assert!(error.is_none(), "{kind:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_come_than_are_wanted() {
    for kind in ANSWERING {
        for wanted in [1, 2] {
            let question = asking("", Some(wanted));
            let built = BuiltResolver::of(kind, 1..=KNOWN, &[]).await;
            assert_eq!(built.stream(&question).await.0.len(), wanted, "{kind:?}");
            assert_eq!(built.find(&question).await.unwrap().len(), wanted, "{kind:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_filter_leaves_out_does_not_come() {
    for kind in ANSWERING {
        let built = BuiltResolver::of(kind, 1..=KNOWN, &[]).await;
        let left_out = asking("filter-addrs=udp", None);
        assert_eq!(built.find(&left_out).await.unwrap(), [], "{kind:?}");
        let (streamed, error) = built.stream(&left_out).await;
        assert_eq!((streamed, error.is_none()), (Vec::new(), true), "{kind:?}");
        let kept = asking("filter-addrs=tcp", None);
        assert_eq!(built.find(&kept).await.unwrap().len(), KNOWN as usize, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_has_it_is_an_answer_without_records() {
    for kind in ANSWERING.into_iter().chain([ResolverKind::Discard]) {
        let built = BuiltResolver::of(kind, 0..0, &[]).await;
        let found = built.resolver.find(&question()).await.unwrap();
        assert_eq!((found.records.is_empty(), found.is_partial), (true, false), "{kind:?}");
        let (streamed, error) = built.stream(&question()).await;
        assert_eq!((streamed, error.is_none()), (Vec::new(), true), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_never_an_empty_answer() {
    for kind in [ResolverKind::Upstreams, ResolverKind::Fallback, ResolverKind::UnknownTarget] {
        let failure = Step::Fail(AskError::Failed("refused".into()));
        let built = BuiltResolver::of(kind, 0..0, &[failure]).await;
        assert!(built.find(&question()).await.is_err(), "{kind:?}");
        let (streamed, error) = built.stream(&question()).await;
        assert_eq!((streamed, error.is_some()), (Vec::new(), true), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_what_was_asked_ends_the_work() {
    for kind in ASKING {
        for is_streamed in [true, false] {
            let built = BuiltResolver::of(kind, 0..0, &[Step::Hang]).await;
            let upstream = built.upstream.as_ref().unwrap();
            let question = question();
            let mut stream = built.resolver.stream(question.clone());
            let mut find = built.resolver.find(&question);
            if is_streamed {
                assert!(stream.next().now_or_never().is_none(), "{kind:?}");
            } else {
                assert!((&mut find).now_or_never().is_none(), "{kind:?}");
            }
            settle().await;
            assert!(upstream.listening() > 0, "{kind:?}");
            drop((stream, find));
            settle().await;
            assert_eq!(upstream.listening(), 0, "{kind:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_put_is_found() {
    for kind in
        [ResolverKind::Local, ResolverKind::Fanout, ResolverKind::Fallback, ResolverKind::Router]
    {
        let built = BuiltResolver::of(kind, 0..0, &[]).await;
        let record = signed(&name(1), 7, "2100-01-01T00:00:00Z");
        assert!(
            built.resolver.name(&name(1), Hops::default()).await.unwrap().is_none(),
            "{kind:?}"
        );
        built.resolver.put_name(record.clone(), Origin::UNKNOWN, Hops::default()).await.unwrap();
        let found = built.resolver.name(&name(1), Hops::default()).await.unwrap().unwrap();
        assert_eq!(found.record, record, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_not_stored_is_an_error() {
    for kind in [ResolverKind::Upstreams, ResolverKind::UnknownTarget, ResolverKind::Discard] {
        let built = BuiltResolver::of(kind, 0..0, &[]).await;
        if let Some(upstream) = &built.upstream {
            *upstream.taking.lock() = Err(AskError::NotOffered);
        }
        let record = signed(&name(1), 7, "2100-01-01T00:00:00Z");
        assert!(
            built.resolver.put_name(record, Origin::UNKNOWN, Hops::default()).await.is_err(),
            "{kind:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_closest_peers_come_from_those_that_know_a_network() {
    for kind in ASKING {
        let built = BuiltResolver::of(kind, 0..0, &[Step::Wait(Duration::from_secs(1))]).await;
        let asked = built.resolver.closest(&question()).await;
        assert!(matches!(asked, Err(ResolveError::NotOffered)), "{kind:?}: {asked:?}");
        let upstream = built.upstream.as_ref().unwrap();
        *upstream.closest.lock() = Some((1..=30).map(|number| record(number, &[1])).collect());
        let found = peers(&built.resolver.closest(&question()).await.unwrap());
        assert_eq!((found.len(), distinct(&found).len()), (20, 20), "{kind:?}");
        let found = peers(&built.resolver.closest(&asking("", Some(3))).await.unwrap());
        assert_eq!(found.len(), 3, "{kind:?}");
    }
}

#[tokio::test]
async fn who_knows_no_network_offers_no_closest_peers() {
    for kind in [ResolverKind::Local, ResolverKind::UnknownTarget] {
        let built = BuiltResolver::of(kind, 1..=KNOWN, &[]).await;
        assert!(built.resolver.closest(&question()).await.is_err(), "{kind:?}");
    }
}
