//! Records, questions and upstreams for the unit tests of combining.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::{
    AnswerCache, AskError, AskedRecords, CacheOptions, Fanout, FanoutOptions, FanoutParts,
    FoundStream, IpnsPut, ResolveError, Resolver, StoredIpns, Upstream,
};
use crate::clock::{Clock, ManualClock};
use crate::metrics::AnswerCounts;
use crate::store::{IpnsLimits, IpnsStore, MemoryIpns, StoreError};
use crate::types::{
    AnswerSchema, Filter, Found, Hops, IpnsName, IpnsRecord, Origin, PeerId, ProviderRecord,
    Question, ReadyRecord, SelectedRecord, Subject, TargetId, UnparsableAddrs,
};

/// The time at which tests begin, in milliseconds since the Unix epoch.
pub(crate) const START_MS: u64 = 1_700_000_000_000;

/// The `number`th of any number of peers.
pub(crate) fn peer(number: u32) -> PeerId {
    let digest = [&number.to_be_bytes()[..], &[3; 28]].concat();
    let key = [&[0x12, 0x20][..], &digest].concat();
    let text = multibase::Base::Base58Btc.encode(key);
    PeerId::parse(&text).unwrap()
}

/// A record of a peer with an address at each of these ports.
pub(crate) fn record(number: u32, ports: &[u16]) -> Arc<ReadyRecord> {
    let addrs = ports.iter().map(|port| format!(r#""/ip4/192.0.2.{number}/tcp/{port}""#));
    let addrs = addrs.collect::<Vec<_>>().join(",");
    ready(&format!(r#"{{"Schema":"peer","ID":"{}","Addrs":[{addrs}]}}"#, peer(number)))
}

/// A record of a peer that says nothing else.
pub(crate) fn record_without_addrs(number: u32) -> Arc<ReadyRecord> {
    ready(&format!(r#"{{"Schema":"peer","ID":"{}"}}"#, peer(number)))
}

pub(crate) fn ready(json: &str) -> Arc<ReadyRecord> {
    let record = ProviderRecord::parse(json, UnparsableAddrs::Drop).unwrap().record;
    Arc::new(ReadyRecord::new(record, AnswerSchema::Announced))
}

/// The addresses of a record, in order.
pub(crate) fn addrs_of(record: &ReadyRecord) -> Vec<String> {
    let record = ProviderRecord::parse(record.json(), UnparsableAddrs::Drop).unwrap().record;
    record.addrs().unwrap_or_default().iter().map(|addr| addr.as_str().to_owned()).collect()
}

/// What an upstream does, one after the other, whenever it is asked for records; then it ends.
#[derive(Clone)]
pub(crate) enum Step {
    Give(Vec<Arc<ReadyRecord>>),
    Wait(Duration),
    Fail(AskError),
    Panic,
    Hang,
}

/// An upstream that does as it is told.
pub(crate) struct FakeUpstream {
    id: TargetId,
    steps: Mutex<Vec<Step>>,
    /// What it says of any name, after this long; what it says to what it is given.
    pub(crate) name: Mutex<(Duration, Result<Option<IpnsRecord>, AskError>)>,
    pub(crate) taking: Mutex<Result<(), AskError>>,
    pub(crate) taken: Mutex<Vec<IpnsRecord>>,
    /// How often it was asked, and how many who asked still listen.
    pub(crate) asked: AtomicUsize,
    pub(crate) listening: Arc<AtomicUsize>,
    pub(crate) hops: Mutex<Vec<Hops>>,
    pub(crate) readiness: Mutex<Result<(), AskError>>,
    /// Whom it names as the closest peers of any key, if it offers that.
    pub(crate) closest: Mutex<Option<Vec<Arc<ReadyRecord>>>>,
}

/// Counts who listens.
struct Listening(Arc<AtomicUsize>);

impl Listening {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl FakeUpstream {
    pub(crate) fn new(steps: impl Into<Vec<Step>>) -> Arc<Self> {
        let fake = Self::named("fake");
        fake.now_do(steps);
        fake
    }

    /// One that finds nothing.
    pub(crate) fn named(name: &str) -> Arc<Self> {
        Arc::new(Self {
            id: TargetId::parse(name).unwrap(),
            steps: Mutex::default(),
            name: Mutex::new((Duration::ZERO, Ok(None))),
            taking: Mutex::new(Ok(())),
            taken: Mutex::default(),
            asked: AtomicUsize::new(0),
            listening: Arc::default(),
            hops: Mutex::default(),
            readiness: Mutex::new(Ok(())),
            closest: Mutex::default(),
        })
    }

    /// One that fails at everything.
    pub(crate) fn failing(name: &str, error: AskError) -> Arc<Self> {
        let fake = Self::named(name);
        fake.now_do([Step::Fail(error.clone())]);
        fake.say_of_name(Duration::ZERO, Err(error.clone()));
        *fake.taking.lock() = Err(error);
        fake
    }

    /// One that says this of any name, after so long.
    pub(crate) fn of_name(
        after: Duration,
        answer: Result<Option<IpnsRecord>, AskError>,
    ) -> Arc<Self> {
        let fake = Self::new([]);
        fake.say_of_name(after, answer);
        fake
    }

    pub(crate) fn say_of_name(
        &self,
        after: Duration,
        answer: Result<Option<IpnsRecord>, AskError>,
    ) {
        *self.name.lock() = (after, answer);
    }

    pub(crate) fn now_do(&self, steps: impl Into<Vec<Step>>) {
        *self.steps.lock() = steps.into();
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn listening(&self) -> usize {
        self.listening.load(Ordering::SeqCst)
    }
}

impl Upstream for FakeUpstream {
    fn id(&self) -> &TargetId {
        &self.id
    }

    fn is_ready(&self) -> Result<(), AskError> {
        self.readiness.lock().clone()
    }

    fn records(&self, _subject: &Subject, hops: Hops) -> AskedRecords {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.hops.lock().push(hops);
        let steps = stream::iter(self.steps.lock().clone());
        let listening = Listening::new(&self.listening);
        let answers = steps.filter_map(|step| async {
            match step {
                Step::Give(records) => Some(Ok(records)),
                Step::Fail(error) => Some(Err(error)),
                Step::Wait(duration) => {
                    tokio::time::sleep(duration).await;
                    None
                }
                Step::Panic => panic!("an upstream that panics"),
                Step::Hang => std::future::pending().await,
            }
        });
        answers
            .inspect(move |_| {
                let _ = &listening;
            })
            .boxed()
    }

    fn closest<'a>(
        &'a self,
        _subject: &'a Subject,
        _hops: Hops,
    ) -> BoxFuture<'a, Result<Vec<Arc<ReadyRecord>>, AskError>> {
        let closest = self.closest.lock().clone();
        std::future::ready(closest.ok_or(AskError::NotOffered)).boxed()
    }

    fn name<'a>(
        &'a self,
        _name: &'a IpnsName,
        _hops: Hops,
    ) -> BoxFuture<'a, Result<Option<IpnsRecord>, AskError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let listening = Listening::new(&self.listening);
        let (after, answer) = self.name.lock().clone();
        async move {
            tokio::time::sleep(after).await;
            drop(listening);
            answer
        }
        .boxed()
    }

    fn put_name<'a>(
        &'a self,
        record: &'a IpnsRecord,
        _hops: Hops,
    ) -> BoxFuture<'a, Result<(), AskError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (after, _) = *self.name.lock();
        async move {
            tokio::time::sleep(after).await;
            self.taking.lock().clone()?;
            self.taken.lock().push(record.clone());
            Ok(())
        }
        .boxed()
    }
}

/// A local index that holds what it is told, about anything.
pub(crate) struct FakeLocal {
    pub(crate) records: Mutex<Vec<Arc<ReadyRecord>>>,
    pub(crate) modified_at_ms: u64,
    pub(crate) fails: AtomicBool,
    /// How long it takes to answer, if it has to wait.
    pub(crate) waits: Mutex<Option<Duration>>,
    pub(crate) ipns: Arc<dyn IpnsStore>,
}

impl FakeLocal {
    async fn wait(&self) {
        let waits = *self.waits.lock();
        if let Some(duration) = waits {
            tokio::time::sleep(duration).await;
        }
    }

    fn found(&self, question: &Question) -> Result<Found, ResolveError> {
        if self.fails.load(Ordering::SeqCst) {
            let error = StoreError::Unavailable { reason: "told so".to_owned() };
            return Err(error.into());
        }
        let records = self.records.lock().clone();
        let selected = records.into_iter().filter_map(|record| {
            question.filter.select(&record).map(|selection| (record, selection))
        });
        let max = question.records_max.map_or(usize::MAX, NonZeroUsize::get);
        let records: Vec<SelectedRecord> = selected.take(max).collect();
        let modified_at_ms = (!records.is_empty()).then_some(self.modified_at_ms);
        Ok(Found { records: records.into(), modified_at_ms, is_partial: false })
    }
}

impl Resolver for FakeLocal {
    fn find<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Found, ResolveError>> {
        async {
            self.wait().await;
            self.found(question)
        }
        .boxed()
    }

    fn stream(&self, question: Question) -> FoundStream {
        let (found, waits) = (self.found(&question), *self.waits.lock());
        let found = async move {
            if let Some(duration) = waits {
                tokio::time::sleep(duration).await;
            }
            found
        };
        stream::once(found).boxed()
    }

    fn name<'a>(
        &'a self,
        name: &'a IpnsName,
        _hops: Hops,
    ) -> BoxFuture<'a, Result<Option<StoredIpns>, ResolveError>> {
        async move { Ok(self.ipns.get(name, START_MS).await?) }.boxed()
    }

    fn put_name(
        &self,
        record: IpnsRecord,
        origin: Origin,
        _hops: Hops,
    ) -> BoxFuture<'_, Result<IpnsPut, ResolveError>> {
        async move { Ok(self.ipns.put(record, origin, START_MS).await?) }.boxed()
    }
}

/// A fanout and what it stands on.
pub(crate) struct Bench {
    pub(crate) fanout: Fanout,
    pub(crate) local: Arc<FakeLocal>,
    pub(crate) ipns: Arc<dyn IpnsStore>,
    pub(crate) cache: Arc<AnswerCache>,
    pub(crate) clock: ManualClock,
    pub(crate) counts: AnswerCounts,
}

/// Whether there is a local index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HasLocal {
    Yes,
    No,
}

impl Bench {
    pub(crate) fn new(has_local: HasLocal, upstreams: &[Arc<FakeUpstream>]) -> Self {
        Self::with(has_local, upstreams, CacheOptions::default(), 1_000)
    }

    pub(crate) fn with(
        has_local: HasLocal,
        upstreams: &[Arc<FakeUpstream>],
        options: CacheOptions,
        names_max: u64,
    ) -> Self {
        let clock = ManualClock::new(START_MS);
        let limits = IpnsLimits { records_max: names_max, ..IpnsLimits::default() };
        let ipns: Arc<dyn IpnsStore> = Arc::new(MemoryIpns::new(limits));
        let local = Arc::new(FakeLocal {
            records: Mutex::default(),
            modified_at_ms: START_MS - 1_000,
            fails: AtomicBool::new(false),
            waits: Mutex::default(),
            ipns: ipns.clone(),
        });
        let cache = Arc::new(AnswerCache::new(options));
        let counts = AnswerCounts::default();
        let resolver: Arc<dyn Resolver> = local.clone();
        let fanout = Fanout::new(FanoutParts {
            target: target(),
            local: (has_local == HasLocal::Yes).then_some(resolver),
            upstreams: upstreams.iter().map(|it| it.clone() as Arc<dyn Upstream>).collect(),
            ipns: ipns.clone(),
            cache: cache.clone(),
            options: FanoutOptions::default(),
            clock: Clock::Manual(clock.clone()),
            counts: counts.clone(),
            runtime: Handle::current(),
        });
        Self { fanout, local, ipns, cache, clock, counts }
    }

    /// Gives the local index these records.
    pub(crate) fn holding(self, records: impl Into<Vec<Arc<ReadyRecord>>>) -> Self {
        *self.local.records.lock() = records.into();
        self
    }

    pub(crate) async fn find(&self, question: &Question) -> Result<Vec<String>, ResolveError> {
        self.fanout.find(question).await.map(|found| texts(&found))
    }

    /// Each item of a stream, as texts.
    pub(crate) async fn stream(
        &self,
        question: &Question,
    ) -> Vec<Result<Vec<String>, ResolveError>> {
        let items = self.fanout.stream(question.clone());
        items.map(|item| item.map(|found| texts(&found))).collect().await
    }

    /// All records of a stream, as texts.
    pub(crate) async fn streamed(&self, question: &Question) -> Vec<String> {
        let items = self.stream(question).await;
        items.into_iter().flat_map(|item| item.unwrap()).collect()
    }
}

pub(crate) fn target() -> TargetId {
    TargetId::parse("the.target").unwrap()
}

/// Who has some content?
pub(crate) fn question() -> Question {
    asking("", None)
}

/// The same with a filter and a cap.
pub(crate) fn asking(filter: &str, records_max: Option<usize>) -> Question {
    Question {
        subject: Subject::Content(peer(0).multihash()),
        filter: Filter::from_query(filter).unwrap(),
        records_max: records_max.and_then(NonZeroUsize::new),
        hops: Hops::default(),
    }
}

/// The JSON of records, as they would be sent.
pub(crate) fn texts(found: &Found) -> Vec<String> {
    let text = |(record, selection): &SelectedRecord| {
        let mut json = Vec::new();
        record.write_to(selection, &mut json);
        String::from_utf8(json).unwrap()
    };
    found.records.iter().map(text).collect()
}

/// The JSON of records.
pub(crate) fn json(records: &[Arc<ReadyRecord>]) -> Vec<String> {
    records.iter().map(|record| record.json().to_owned()).collect()
}

/// The time by the runtime's clock, which tests have paused.
pub(crate) fn runtime_now() -> tokio::time::Instant {
    tokio::time::sleep(Duration::ZERO).deadline()
}

/// Has everything that can happen now happen.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}
