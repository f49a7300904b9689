//! The battery that every [`Store`] passes. A promise of the trait's documentation is a test here;
//! a new implementation adds one line to `battery!`.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use fingerpost::clock::{Clock, ManualClock};
use fingerpost::store::{
    Announcement, Applied, ContextId, DurableOptions, DurableStore, Found, Lookup, MemoryStore,
    Store,
};
use fingerpost::types::{
    AnswerSchema, ContentKey, Filter, PeerId, ProviderRecord, Selection, UnparsableAddrs,
};
use tempfile::TempDir;

const TCP: &str = "/ip4/192.0.2.1/tcp/4001";
const QUIC: &str = "/ip4/192.0.2.1/udp/4001/quic-v1";
const START_MS: u64 = 1_700_000_000_000;

/// Makes a battery for each store: a function that builds an empty one over a clock.
macro_rules! battery {
    ($($store:ident: $build:expr;)*) => {$(
        mod $store {
            use super::*;

            battery!(@tests $build;
                what_is_applied_is_found_when_apply_returns
                what_is_removed_is_gone_when_remove_returns
                another_provider_with_the_same_context_is_left_alone
                a_context_used_again_revives_nothing
                announcements_expire
                a_refresh_is_no_second_record
                addresses_that_change_back_are_served_again
                a_shorter_announcement_stands_before_a_longer_one_until_it_lapses
                the_rule_is_the_same_among_very_many
                one_provider_under_two_contexts_is_one_record
                the_filter_comes_before_the_cap
                more_than_the_cap_take_turns
                all_that_fit_come_in_one_order
                an_answer_is_never_younger_than_it_says
                a_sweep_frees_what_is_gone
                many_tasks_at_once_lose_nothing
            );
        }
    )*};
    (@tests $build:expr; $($test:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let clock = ManualClock::new(START_MS);
            let build: fn(Clock) -> Built = $build;
            let (store, folder) = build(Clock::Manual(clock.clone()));
            super::$test(Subject { store, clock, _folder: folder.map(Arc::new) }).await;
        }
    )*};
}

battery! {
    memory: |clock| (Arc::new(MemoryStore::new(clock, AnswerSchema::Announced)), None);
    durable: durable_store;
}

/// A store, and the folder that it is in.
type Built = (Arc<dyn Store>, Option<TempDir>);

fn durable_store(clock: Clock) -> Built {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = DurableStore::open(options(folder.path(), clock)).unwrap();
    (Arc::new(store), Some(folder))
}

fn options(folder: &Path, clock: Clock) -> DurableOptions {
    DurableOptions {
        directory: folder.to_owned(),
        clock,
        schema: AnswerSchema::Announced,
        threads: 2,
        segment_bytes: 1 << 20,
    }
}

#[derive(Clone)]
struct Subject {
    store: Arc<dyn Store>,
    clock: ManualClock,
    /// Removed when the store is closed.
    _folder: Option<Arc<TempDir>>,
}

/// What a test announces: a provider's addresses for some keys.
#[derive(Clone)]
struct Offer {
    peer: u32,
    context: &'static str,
    addrs: &'static [&'static str],
    ttl_ms: Option<u64>,
}

fn offer(peer: u32) -> Offer {
    Offer { peer, context: "", addrs: &[TCP], ttl_ms: None }
}

fn key(number: u32) -> ContentKey {
    let bytes = [&[0x12, 0x20][..], &number.to_be_bytes(), &[0; 28]].concat();
    ContentKey::from_multihash(&bytes).unwrap()
}

fn peer(number: u32) -> PeerId {
    let bytes = [&[0, 36, 8, 1, 18, 32][..], &number.to_be_bytes(), &[1; 28]].concat();
    PeerId::parse(&multibase::Base::Base58Btc.encode(bytes)).unwrap()
}

fn context(name: &str) -> ContextId {
    ContextId::new(name.as_bytes()).unwrap()
}

impl Subject {
    async fn announce(&self, keys: std::ops::Range<u32>, offer: Offer) -> Applied {
        self.store.apply(vec![self.announcement(keys, &offer)]).await.unwrap()
    }

    fn announcement(&self, keys: std::ops::Range<u32>, offer: &Offer) -> Announcement {
        let addrs = serde_json::to_string(offer.addrs).unwrap();
        let json = format!(r#"{{"Schema":"peer","ID":"{}","Addrs":{addrs}}}"#, peer(offer.peer));
        Announcement {
            keys: keys.map(key).collect(),
            record: ProviderRecord::parse(&json, UnparsableAddrs::Drop).unwrap().record,
            context: context(offer.context),
            expires_at_ms: offer.ttl_ms.map(|ttl_ms| self.now_ms() + ttl_ms),
        }
    }

    async fn find(&self, number: u32, query: &str, records_max: usize) -> Found {
        let filter = Filter::from_query(query).unwrap();
        let records_max = NonZeroUsize::new(records_max);
        let lookup = Lookup { key: &key(number), filter: &filter, records_max };
        self.store.find(lookup).await.unwrap()
    }

    async fn providers(&self, number: u32) -> BTreeSet<PeerId> {
        providers(&self.find(number, "", 0).await)
    }

    async fn remove(&self, number: u32, name: Option<&str>) -> u64 {
        let name = name.map(context);
        self.store.remove(&peer(number), name.as_ref()).await.unwrap().groups
    }

    fn now_ms(&self) -> u64 {
        Clock::Manual(self.clock.clone()).now_ms()
    }
}

/// Who is found; nobody may be there twice.
fn providers(found: &Found) -> BTreeSet<PeerId> {
    let all: BTreeSet<_> =
        found.records.iter().map(|(record, _)| record.peer().unwrap().clone()).collect();
    assert_eq!(all.len(), found.records.len());
    all
}

fn peers(numbers: impl IntoIterator<Item = u32>) -> BTreeSet<PeerId> {
    numbers.into_iter().map(peer).collect()
}

async fn what_is_applied_is_found_when_apply_returns(subject: Subject) {
    assert!(subject.find(1, "", 0).await.modified_at_ms.is_none());
    let applied = subject.announce(0..100, offer(1)).await;
    assert_eq!(applied, Applied { entries_added: 100, entries_refreshed: 0 });
    subject.announce(0..50, offer(2)).await;
    assert_eq!(subject.providers(49).await, peers([1, 2]));
    assert_eq!(subject.providers(50).await, peers([1]));
    assert!(subject.find(100, "", 0).await.records.is_empty());
    let stats = subject.store.stats().await.unwrap();
    assert_eq!((stats.entries, stats.keys, stats.groups), (150, 100, 2));
    assert!(stats.bytes > 150 * 16);
}

async fn what_is_removed_is_gone_when_remove_returns(subject: Subject) {
    subject.announce(0..500, Offer { context: "a", ..offer(1) }).await;
    subject.announce(250..750, Offer { context: "b", ..offer(1) }).await;
    subject.announce(0..10, offer(2)).await;
    assert_eq!(subject.remove(1, Some("a")).await, 1);
    assert_eq!(subject.remove(1, Some("a")).await, 0);
    assert_eq!(subject.providers(0).await, peers([2]));
    assert!(subject.providers(249).await.is_empty());
    assert_eq!(subject.providers(250).await, peers([1]));
    assert_eq!(subject.remove(1, None).await, 1);
    assert!(subject.providers(749).await.is_empty());
    assert_eq!(subject.remove(3, None).await, 0);
}

async fn another_provider_with_the_same_context_is_left_alone(subject: Subject) {
    for number in 1..4 {
        subject.announce(0..5, Offer { context: "shared", ..offer(number) }).await;
    }
    subject.remove(2, Some("shared")).await;
    assert_eq!(subject.providers(0).await, peers([1, 3]));
}

async fn a_context_used_again_revives_nothing(subject: Subject) {
    let first = Offer { context: "again", ..offer(1) };
    for round in 0..20 {
        subject.announce(0..10, first.clone()).await;
        subject.remove(1, Some("again")).await;
        if round % 2 == 0 {
            subject.store.sweep().await.unwrap();
        }
        subject.announce(10..20, first.clone()).await;
        for number in 0..10 {
            assert!(subject.providers(number).await.is_empty());
            assert_eq!(subject.providers(number + 10).await, peers([1]));
        }
        subject.remove(1, None).await;
    }
}

async fn announcements_expire(subject: Subject) {
    subject.announce(0..5, Offer { ttl_ms: Some(1_000), ..offer(1) }).await;
    subject.announce(0..5, Offer { ttl_ms: Some(2_000), ..offer(2) }).await;
    subject.clock.advance(999);
    assert_eq!(subject.providers(0).await, peers([1, 2]));
    subject.clock.advance(1);
    assert_eq!(subject.providers(0).await, peers([2]));
    assert!(subject.find(0, "", 0).await.modified_at_ms >= Some(START_MS + 1_000));
    assert_eq!(subject.remove(1, None).await, 0);
    subject.clock.advance(1_000);
    assert!(subject.find(0, "", 0).await.modified_at_ms.is_none());
}

async fn a_refresh_is_no_second_record(subject: Subject) {
    subject.announce(0..5, Offer { ttl_ms: Some(1_000), ..offer(1) }).await;
    subject.clock.advance(500);
    let refresh = Offer { ttl_ms: Some(1_000), addrs: &[QUIC], ..offer(1) };
    let applied = subject.announce(0..6, refresh).await;
    assert_eq!(applied, Applied { entries_added: 1, entries_refreshed: 5 });
    subject.clock.advance(999);
    let found = subject.find(0, "", 0).await;
    assert_eq!(found.records.len(), 1);
    let json = found.records[0].0.json();
    assert!(json.contains(QUIC) && !json.contains(TCP), "{json}");
    subject.clock.advance(1);
    assert!(subject.providers(0).await.is_empty());
    let again = subject.announce(0..1, offer(1)).await;
    assert_eq!(again, Applied { entries_added: 1, entries_refreshed: 0 });
}

/// The only record's JSON.
async fn only_record(subject: &Subject, number: u32) -> String {
    let found = subject.find(number, "", 0).await;
    assert_eq!(found.records.len(), 1);
    found.records[0].0.json().to_owned()
}

async fn addresses_that_change_back_are_served_again(subject: Subject) {
    let (tcp, quic) = (offer(1), Offer { addrs: &[QUIC], ..offer(1) });
    subject.announce(0..10, tcp.clone()).await;
    for (at_ms, (offer, keys)) in
        [(&quic, 0..6), (&tcp, 0..3), (&quic, 0..2), (&tcp, 0..1)].into_iter().enumerate()
    {
        subject.clock.set(START_MS + at_ms as u64);
        let count = u64::from(keys.end);
        let applied = subject.announce(keys, offer.clone()).await;
        assert_eq!(applied, Applied { entries_added: 0, entries_refreshed: count });
    }
    for (number, addr) in [(0, TCP), (1, QUIC), (2, TCP), (3, QUIC), (5, QUIC), (6, TCP)] {
        let json = only_record(&subject, number).await;
        assert!(json.contains(addr), "{number}: {json}");
        assert_eq!(json.matches("/ip4").count(), 1, "{number}: {json}");
    }
    // One batch takes effect in its order, too.
    subject.announce(0..10, quic.clone()).await;
    let announcements = [&tcp, &quic, &tcp].map(|offer| subject.announcement(0..10, offer));
    subject.store.apply(announcements.into()).await.unwrap();
    assert!(only_record(&subject, 7).await.contains(TCP));
    subject.remove(1, None).await;
    assert!(subject.providers(7).await.is_empty());
}

async fn a_shorter_announcement_stands_before_a_longer_one_until_it_lapses(subject: Subject) {
    subject.announce(0..2, Offer { ttl_ms: Some(1_000), ..offer(1) }).await;
    subject.announce(0..1, Offer { ttl_ms: Some(100), addrs: &[QUIC], ..offer(1) }).await;
    assert!(only_record(&subject, 0).await.contains(QUIC));
    assert!(!only_record(&subject, 0).await.contains(TCP));
    subject.clock.advance(100);
    subject.store.sweep().await.unwrap();
    assert!(only_record(&subject, 0).await.contains(TCP));
    assert!(subject.find(0, "", 0).await.modified_at_ms >= Some(START_MS + 100));
    subject.clock.advance(900);
    assert!(subject.providers(0).await.is_empty());
}

async fn the_rule_is_the_same_among_very_many(subject: Subject) {
    for number in 10..150 {
        subject.announce(0..1, offer(number)).await;
    }
    let record_of = async |number: u32| {
        let found = subject.find(0, "", 0).await;
        assert_eq!(providers(&found).len(), found.records.len());
        let mut records = found.records.into_iter().map(|(record, _)| record);
        records.find(|record| record.peer() == Some(&peer(number))).unwrap().json().to_owned()
    };
    subject.announce(0..1, Offer { ttl_ms: Some(1_000), ..offer(1) }).await;
    subject.announce(0..1, Offer { ttl_ms: Some(100), addrs: &[QUIC], ..offer(1) }).await;
    assert!(!record_of(1).await.contains(TCP));
    subject.clock.advance(100);
    assert!(!record_of(1).await.contains(QUIC));
    for (addrs, other) in [(QUIC, TCP), (TCP, QUIC), (QUIC, TCP)] {
        subject
            .announce(
                0..1,
                Offer { addrs: if addrs == TCP { &[TCP] } else { &[QUIC] }, ..offer(20) },
            )
            .await;
        let json = record_of(20).await;
        assert!(json.contains(addrs) && !json.contains(other), "{json}");
    }
    let stats = subject.store.stats().await.unwrap();
    assert_eq!(stats.keys, 1);
}

async fn one_provider_under_two_contexts_is_one_record(subject: Subject) {
    subject.announce(0..1, Offer { context: "a", ..offer(1) }).await;
    subject.announce(0..1, Offer { context: "b", addrs: &[QUIC], ..offer(1) }).await;
    let found = subject.find(0, "", 0).await;
    assert_eq!(found.records.len(), 1);
    let json = found.records[0].0.json();
    assert!(json.contains(QUIC) && json.contains(TCP), "{json}");
    subject.remove(1, Some("a")).await;
    let left = subject.find(0, "", 0).await;
    assert!(!left.records[0].0.json().contains(TCP));
}

async fn the_filter_comes_before_the_cap(subject: Subject) {
    for number in 0..60 {
        let addrs: &[_] = if number % 20 == 0 { &[TCP, QUIC] } else { &[TCP] };
        subject.announce(0..1, Offer { addrs, ..offer(number) }).await;
    }
    let found = subject.find(0, "filter-addrs=quic-v1", 3).await;
    assert_eq!(providers(&found), peers([0, 20, 40]));
    for (_, selection) in &found.records {
        assert!(matches!(selection, Selection::Addrs(kept) if kept[..] == [1]), "{selection:?}");
    }
    assert!(subject.find(0, "filter-addrs=webtransport", 3).await.modified_at_ms.is_none());
}

async fn more_than_the_cap_take_turns(subject: Subject) {
    // A few, and very many: stores may keep them differently.
    for (key, groups) in [(0, 25), (1, 250)] {
        for number in 0..groups {
            let addrs: &[_] = if number < 10 { &[TCP] } else { &[] };
            subject.announce(key..key + 1, Offer { addrs, ..offer(number) }).await;
        }
        for query in ["", "filter-addrs=unknown,tcp", "filter-addrs=unknown"] {
            let matching = if query.ends_with("=unknown") { groups - 10 } else { groups };
            let mut seen = BTreeSet::new();
            for _ in 0..matching.div_ceil(10) {
                let found = subject.find(key, query, 10).await;
                assert_eq!(found.records.len(), 10);
                assert_eq!(found.modified_at_ms, Some(START_MS));
                let has_addrs = found.records.iter().map(|(record, _)| !record.has_addrs());
                assert!(has_addrs.is_sorted(), "those with addresses come first");
                seen.extend(providers(&found));
            }
            assert_eq!(seen.len(), matching as usize, "{query}");
        }
    }
}

async fn all_that_fit_come_in_one_order(subject: Subject) {
    for number in 0..50 {
        subject.announce(0..1, offer(number)).await;
    }
    let order = |found: Found| -> Vec<_> {
        found.records.into_iter().map(|(record, _)| record.json().to_owned()).collect()
    };
    let first = order(subject.find(0, "", 50).await);
    for records_max in [7, 0, 50, 49, 51, 100] {
        let found = order(subject.find(0, "", records_max).await);
        assert!(found.len() < 50 || found == first);
    }
}

async fn an_answer_is_never_younger_than_it_says(subject: Subject) {
    subject.announce(0..2, offer(1)).await;
    subject.clock.advance(10);
    subject.announce(0..1, offer(2)).await;
    assert!(subject.find(0, "", 0).await.modified_at_ms >= Some(START_MS + 10));
    assert_eq!(subject.find(1, "", 0).await.modified_at_ms, Some(START_MS));
    subject.clock.advance(10);
    subject.remove(2, None).await;
    assert!(subject.find(0, "", 0).await.modified_at_ms >= Some(START_MS + 20));
    subject.clock.advance(10);
    subject.store.sweep().await.unwrap();
    assert!(subject.find(0, "", 0).await.modified_at_ms >= Some(START_MS + 20));
    subject.announce(0..1, Offer { addrs: &[QUIC], ..offer(1) }).await;
    let found = subject.find(0, "", 0).await;
    assert!(found.modified_at_ms >= Some(START_MS + 30));
    assert!(found.modified_at_ms <= Some(subject.now_ms()));
}

async fn a_sweep_frees_what_is_gone(subject: Subject) {
    subject.announce(0..1_000, offer(1)).await;
    subject.announce(500..1_500, offer(2)).await;
    subject.announce(0..10, Offer { ttl_ms: Some(10), ..offer(3) }).await;
    subject.remove(1, None).await;
    subject.clock.advance(10);
    let (mut entries, mut groups) = (0, 0);
    for _ in 0..10_000 {
        let swept = subject.store.sweep().await.unwrap();
        entries += swept.entries;
        groups += swept.groups;
        if groups == 2 {
            break;
        }
    }
    assert_eq!((entries, groups), (1_010, 2));
    let stats = subject.store.stats().await.unwrap();
    assert_eq!((stats.entries, stats.keys, stats.groups), (1_000, 1_000, 1));
    assert_eq!(subject.providers(700).await, peers([2]));
}

async fn many_tasks_at_once_lose_nothing(subject: Subject) {
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let subject = subject.clone();
            tokio::spawn(async move {
                for start in (0..200).step_by(10) {
                    subject.announce(start..start + 10, offer(number)).await;
                    subject
                        .announce(0..200, Offer { context: "gone", ..offer(100 + number) })
                        .await;
                    assert!(subject.providers(start).await.contains(&peer(number)));
                    subject.remove(100 + number, Some("gone")).await;
                    assert!(!subject.providers(start).await.contains(&peer(100 + number)));
                    subject.store.sweep().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for number in 0..200 {
        assert_eq!(subject.providers(number).await, peers(0..8));
    }
}
