//! The battery that every [`Store`] passes. A promise of the trait's documentation is a test here;
//! a new implementation adds one line to `battery!`, which says whether it has transactions. What only those
//! can promise is marked `#[transactional]`; where there are none the test has to fail for that reason, so
//! that a store that keeps the promise says so.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use fingerpost::clock::{Clock, ManualClock};
use fingerpost::data_dir::DataDir;
use fingerpost::store::{
    Announcement, Applied, COMPANIONS_MAX, Companion, CompanionProtocols, Companions, ContextId,
    DurableOptions, DurableStore, IndexLimits, MemoryStore, ProviderChange, ProviderStatement,
    Store, StoreError, Update, Visibility,
};
use fingerpost::types::{
    self, Addr, AnswerSchema, ContentKey, Filter, Found, Origin, PeerId, ProviderRecord, Question,
    Selection, UnparsableAddrs,
};
use tempfile::TempDir;

use super::odd_store::OddStore;

const TCP: &str = "/ip4/192.0.2.1/tcp/4001";
const QUIC: &str = "/ip4/192.0.2.1/udp/4001/quic-v1";
const START_MS: u64 = 1_700_000_000_000;

/// Makes a battery for each store: an asynchronous function that builds an empty one over a clock. The
/// tests are listed as such, so that the specs can name them.
macro_rules! battery {
    ($($store:ident, $transactions:ident: $build:ident;)*) => {$(
        mod $store {
            use super::*;

            battery!(@tests $build, $transactions;
                #[test] fn what_is_applied_is_found_when_apply_returns;
                #[test] fn what_is_removed_is_gone_when_remove_returns;
                #[test] fn another_provider_with_the_same_context_is_left_alone;
                #[test] fn a_context_used_again_revives_nothing;
                #[test] fn announcements_expire;
                #[test] fn a_refresh_is_no_second_record;
                #[test] fn addresses_that_change_back_are_served_again;
                #[test] fn a_shorter_announcement_stands_before_a_longer_one_until_it_lapses;
                #[test] fn the_rule_is_the_same_among_very_many;
                #[test] fn one_provider_under_two_contexts_is_one_record;
                #[test] fn the_schemas_of_one_provider_are_one_record;
                #[test] fn the_filter_comes_before_the_cap;
                #[test] fn more_than_the_cap_take_turns;
                #[test] fn all_that_fit_come_in_one_order;
                #[test] fn an_answer_is_never_younger_than_it_says;
                #[test] fn a_sweep_frees_what_is_gone;
                #[test] fn many_tasks_at_once_lose_nothing;
                #[test] fn new_addresses_are_everywhere_at_once;
                #[test] fn an_older_statement_changes_no_addresses;
                #[test] fn an_older_statement_again_and_again_changes_no_addresses;
                #[test] fn the_newest_statement_outlasts_what_was_announced_with_it;
                #[test] fn the_newest_statement_outlasts_an_import_in_its_place;
                #[test] fn addresses_of_a_removed_provider_do_not_come_back;
                #[test] fn what_is_announced_after_a_statement_has_addresses_of_its_own;
                #[test] fn a_very_large_key_shows_new_addresses_too;
                #[test] fn an_update_is_taken_in_whole;
                #[test] #[transactional] fn a_refused_call_with_a_statement_takes_nothing_in;
                #[test] fn the_same_call_completes_what_was_refused;
                #[test] fn a_record_changes_for_a_whole_context;
                #[test] fn the_newer_list_of_addresses_wins;
                #[test] fn records_that_become_the_same_are_served_as_one;
                #[test] fn a_peer_has_what_it_announced_freshest_first;
                #[test] fn tasks_that_update_at_once_end_with_the_newest_statement;
                #[test] fn a_hidden_provider_is_kept_and_not_served_until_it_is_shown;
                #[test] fn among_very_many_hidden_providers_the_others_are_served;
                #[test] fn companions_are_served_beside_all_that_a_provider_has;
                #[test] fn companions_of_a_context_end_with_it_and_may_override;
                #[test] fn companions_count_as_records;
            );
        }
    )*};
    (@tests $build:ident, $transactions:ident;
        $(#[test] $(#[$mark:ident])? fn $test:ident;)*) => {$(
        battery!(@test $build, $transactions, [$($mark)?], $test);
    )*};
    (@test $build:ident, without_transactions, [transactional], $test:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[should_panic(expected = "this store has no transactions")]
        async fn $test() {
            super::$test(Subject::build($build).await).await;
        }
    };
    (@test $build:ident, $transactions:ident, [$($mark:ident)?], $test:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            super::$test(Subject::build($build).await).await;
        }
    };
}

battery! {
    memory, with_transactions: memory_store;
    durable, with_transactions: durable_store;
    piecemeal, without_transactions: piecemeal_store;
}

/// What one network of strangers may hold in the stores of the battery; the operator has no limits.
const NETWORK_KEYS_MAX: u32 = 2_000;

/// A store, and the folder that it is in.
type Built = (Arc<dyn Store>, Option<TempDir>);

async fn memory_store(_: Clock) -> Built {
    (Arc::new(MemoryStore::with_limits(AnswerSchema::Announced, limits())), None)
}

async fn durable_store(clock: Clock) -> Built {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = DurableStore::open(options(folder.path(), clock)).unwrap();
    (Arc::new(store), Some(folder))
}

async fn piecemeal_store(_: Clock) -> Built {
    (Arc::new(OddStore::piecemeal(limits())), None)
}

fn limits() -> IndexLimits {
    IndexLimits { network_keys_max: NETWORK_KEYS_MAX.into(), ..IndexLimits::default() }
}

fn options(folder: &Path, clock: Clock) -> DurableOptions {
    DurableOptions {
        data_dir: DataDir::lock(folder).unwrap(),
        clock,
        schema: AnswerSchema::Announced,
        threads: 2,
        segment_bytes: 1 << 20,
        disk_reserve_bytes: 1,
        limits: limits(),
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
    async fn build(build: impl AsyncFnOnce(Clock) -> Built) -> Self {
        let clock = ManualClock::new(START_MS);
        let (store, folder) = build(Clock::Manual(clock.clone())).await;
        Self { store, clock, _folder: folder.map(Arc::new) }
    }

    async fn announce(&self, keys: std::ops::Range<u32>, offer: Offer) -> Applied {
        self.store.apply(vec![self.announcement(keys, &offer)], self.now_ms()).await.unwrap()
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
        let subject = types::Subject::Content(key(number));
        let question = Question { filter, records_max, ..Question::all(subject) };
        self.store.find(&question, self.now_ms()).await.unwrap()
    }

    async fn providers(&self, number: u32) -> BTreeSet<PeerId> {
        providers(&self.find(number, "", 0).await)
    }

    async fn remove(&self, number: u32, name: Option<&str>) -> u64 {
        let name = name.map(context);
        self.store.remove(&peer(number), name.as_ref(), self.now_ms()).await.unwrap().groups
    }

    /// A provider says where it is reached, and announces something.
    async fn state(&self, number: u32, at_ms: u64, addrs: &[&str], offers: &[Offer]) -> Applied {
        let statement = self.statement(number, at_ms, addrs, offers);
        self.store.update(vec![statement], self.now_ms()).await.unwrap()
    }

    /// Each offer is of the ten keys from the position's tenfold on.
    fn statement(&self, number: u32, at_ms: u64, addrs: &[&str], offers: &[Offer]) -> Update {
        let announcements = offers
            .iter()
            .zip(0u32..)
            .map(|(offer, position)| self.announcement(position * 10..position * 10 + 10, offer));
        let statement = ProviderStatement {
            provider: peer(number),
            stated_at_ms: at_ms,
            addrs: addrs.iter().map(|addr| Addr::parse(addr).unwrap()).collect(),
        };
        Update {
            statement: Some(statement),
            origin: Origin::OPERATOR,
            announcements: announcements.collect(),
        }
    }

    async fn set_record(&self, number: u32, name: &str, fields: &str) -> u64 {
        let json = format!(r#"{{"Schema":"peer","ID":"{}"{fields}}}"#, peer(number));
        let record = ProviderRecord::parse(&json, UnparsableAddrs::Drop).unwrap().record;
        self.store.set_record(&context(name), record, self.now_ms()).await.unwrap().groups
    }

    async fn peer(&self, number: u32, query: &str) -> Option<(String, u64)> {
        let filter = Filter::from_query(query).unwrap();
        let subject = types::Subject::Peer(peer(number));
        let question = Question { filter, ..Question::all(subject) };
        let found = self.store.find(&question, self.now_ms()).await.unwrap();
        assert!(found.records.len() <= 1);
        let (record, selection) = found.records.first()?;
        let mut json = Vec::new();
        record.write_to(selection, &mut json);
        Some((String::from_utf8(json).unwrap(), found.modified_at_ms.unwrap()))
    }

    async fn show(&self, number: u32, visibility: Visibility) {
        let change = ProviderChange::Visibility(visibility);
        self.store.change_provider(&peer(number), change, self.now_ms()).await.unwrap();
    }

    async fn accompany(&self, number: u32, name: Option<&str>, companions: Companions) {
        let change = ProviderChange::Companions { context: name.map(context), companions };
        self.store.change_provider(&peer(number), change, self.now_ms()).await.unwrap();
    }

    fn now_ms(&self) -> u64 {
        Clock::Manual(self.clock.clone()).now_ms()
    }
}

/// What an update did: pairs that were not known, and pairs that were.
fn took_in(added: u64, known: u64) -> Applied {
    Applied { taken_in: added + known, added: Some(added) }
}

/// Companions with records of their own, by number.
fn companions(numbers: impl IntoIterator<Item = u32>) -> Companions {
    let own = |number| companion(number, r#","Addrs":[],"Protocols":["own"]"#);
    Companions { records: numbers.into_iter().map(own).collect(), overrides: false }
}

fn companion(number: u32, fields: &str) -> Companion {
    let json = format!(r#"{{"Schema":"peer","ID":"{}"{fields}}}"#, peer(number));
    let record = ProviderRecord::parse(&json, UnparsableAddrs::Drop).unwrap().record;
    Companion { record, protocols: CompanionProtocols::Own }
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
    assert_eq!(applied, took_in(100, 0));
    subject.announce(0..50, offer(2)).await;
    assert_eq!(subject.providers(49).await, peers([1, 2]));
    assert_eq!(subject.providers(50).await, peers([1]));
    assert!(subject.find(100, "", 0).await.records.is_empty());
    let stats = subject.store.stats().await.unwrap();
    assert_eq!((stats.entries, stats.keys, stats.groups), (Some(150), Some(100), Some(2)));
    assert!(stats.bytes.unwrap() > 150 * 16);
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
            subject.store.sweep(subject.now_ms()).await.unwrap();
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
    assert_eq!(applied, took_in(1, 5));
    subject.clock.advance(999);
    let found = subject.find(0, "", 0).await;
    assert_eq!(found.records.len(), 1);
    let json = found.records[0].0.json();
    assert!(json.contains(QUIC) && !json.contains(TCP), "{json}");
    subject.clock.advance(1);
    assert!(subject.providers(0).await.is_empty());
    let again = subject.announce(0..1, offer(1)).await;
    assert_eq!(again, took_in(1, 0));
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
        assert_eq!(applied, took_in(0, count));
    }
    for (number, addr) in [(0, TCP), (1, QUIC), (2, TCP), (3, QUIC), (5, QUIC), (6, TCP)] {
        let json = only_record(&subject, number).await;
        assert!(json.contains(addr), "{number}: {json}");
        assert_eq!(json.matches("/ip4").count(), 1, "{number}: {json}");
    }
    // One batch takes effect in its order, too.
    subject.announce(0..10, quic.clone()).await;
    let announcements = [&tcp, &quic, &tcp].map(|offer| subject.announcement(0..10, offer));
    subject.store.apply(announcements.into(), subject.now_ms()).await.unwrap();
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
    subject.store.sweep(subject.now_ms()).await.unwrap();
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
    assert_eq!(stats.keys, Some(1));
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

async fn the_schemas_of_one_provider_are_one_record(subject: Subject) {
    // Few providers, and so many that they are kept in another way.
    for (number, others) in [(0, 3), (1, 200)] {
        subject.announce(number..number + 1, Offer { addrs: &[TCP], ..offer(1) }).await;
        for other in 2..others {
            subject.announce(number..number + 1, offer(other)).await;
        }
        let bitswap = format!(
            r#"{{"Schema":"bitswap","Protocol":"transport-bitswap","ID":"{}","Addrs":["{QUIC}"]}}"#,
            peer(1)
        );
        let bitswap = Announcement {
            record: ProviderRecord::parse(&bitswap, UnparsableAddrs::Drop).unwrap().record,
            ..subject.announcement(number..number + 1, &offer(1))
        };
        subject.store.apply(vec![bitswap], subject.now_ms()).await.unwrap();
        let found = subject.find(number, "", 0).await;
        assert_eq!(providers(&found), peers(1..others));
        let merged = found.records.iter().find(|(it, _)| it.peer() == Some(&peer(1))).unwrap();
        let json: serde_json::Value = serde_json::from_str(merged.0.json()).unwrap();
        assert_eq!(json["Schema"], "peer");
        assert_eq!(json["Protocols"], serde_json::json!(["transport-bitswap"]));
        assert_eq!(json["Addrs"].as_array().unwrap().len(), 2);
    }
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
    subject.announce(0..50, offer(1)).await;
    subject.clock.advance(10);
    subject.announce(0..1, offer(2)).await;
    assert!(subject.find(0, "", 0).await.modified_at_ms >= Some(START_MS + 10));
    // A store may say so of keys that it keeps beside a changed one, but not of all keys.
    let mut untouched = Vec::new();
    for number in 1..50 {
        untouched.push(subject.find(number, "", 0).await.modified_at_ms);
    }
    assert!(untouched.iter().all(|at| (Some(START_MS)..=Some(START_MS + 10)).contains(at)));
    assert!(untouched.contains(&Some(START_MS)));
    subject.clock.advance(10);
    subject.remove(2, None).await;
    assert!(subject.find(0, "", 0).await.modified_at_ms >= Some(START_MS + 20));
    subject.clock.advance(10);
    subject.store.sweep(subject.now_ms()).await.unwrap();
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
        let swept = subject.store.sweep(subject.now_ms()).await.unwrap();
        entries += swept.entries;
        groups += swept.groups;
        if groups == 2 {
            break;
        }
    }
    assert_eq!((entries, groups), (1_010, 2));
    let stats = subject.store.stats().await.unwrap();
    assert_eq!((stats.entries, stats.keys, stats.groups), (Some(1_000), Some(1_000), Some(1)));
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
                    subject.store.sweep(subject.now_ms()).await.unwrap();
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

/// The addresses of a provider's only record of a key, as they stand in its JSON.
async fn addrs_of(subject: &Subject, number: u32, of: u32) -> String {
    let found = subject.find(number, "", 0).await;
    let mut records = found.records.iter().filter(|(it, _)| it.peer() == Some(&peer(of)));
    let (record, _) = records.next().unwrap();
    assert!(records.next().is_none());
    let value: serde_json::Value = serde_json::from_str(record.json()).unwrap();
    value["Addrs"].to_string()
}

fn list(addrs: &[&str]) -> String {
    serde_json::to_string(addrs).unwrap()
}

fn under(context: &'static str, peer: u32) -> Offer {
    Offer { context, ..offer(peer) }
}

async fn new_addresses_are_everywhere_at_once(subject: Subject) {
    subject.announce(0..50, under("a", 1)).await;
    subject.announce(25..75, Offer { addrs: &[], ttl_ms: Some(10_000), ..under("b", 1) }).await;
    subject.announce(0..75, offer(2)).await;
    subject.clock.advance(5);
    let applied = subject.state(1, 100, &[QUIC], &[under("a", 1)]).await;
    assert_eq!(applied, took_in(0, 10));
    for number in [0, 30, 60] {
        assert_eq!(addrs_of(&subject, number, 1).await, list(&[QUIC]));
        assert_eq!(addrs_of(&subject, number, 2).await, list(&[TCP]));
        assert!(subject.find(number, "", 0).await.modified_at_ms >= Some(START_MS + 5));
    }
    // Saying the same again moves nothing; saying something else moves all of it.
    subject.clock.advance(5);
    subject.state(1, 101, &[QUIC], &[]).await;
    assert_eq!(subject.find(0, "", 0).await.modified_at_ms, Some(START_MS + 5));
    let applied = subject.state(1, 102, &[TCP, QUIC], &[under("a", 1), under("c", 1)]).await;
    assert_eq!(applied, took_in(10, 10));
    for number in [0, 12, 30, 60] {
        assert_eq!(addrs_of(&subject, number, 1).await, list(&[TCP, QUIC]));
    }
    assert_eq!(providers(&subject.find(60, "filter-addrs=quic-v1", 0).await), peers([1]));
    // What was announced with older addresses is found by the new ones.
    let again = Offer { addrs: &[TCP, QUIC], ..under("a", 1) };
    let before = subject.store.stats().await.unwrap();
    let applied = subject.announce(0..50, again).await;
    assert_eq!(applied, took_in(0, 50));
    assert!(subject.store.stats().await.unwrap().groups <= before.groups);
    subject.state(1, 103, &[], &[]).await;
    assert_eq!(addrs_of(&subject, 30, 1).await, list(&[]));
}

async fn an_older_statement_changes_no_addresses(subject: Subject) {
    subject.state(1, 100, &[TCP], &[under("a", 1)]).await;
    for at_ms in [99, 100, 0] {
        let offers = [under("a", 1), under("b", 1)];
        subject.state(1, at_ms, &[QUIC], &offers).await;
        assert_eq!(addrs_of(&subject, 5, 1).await, list(&[TCP]), "{at_ms}");
        assert_eq!(addrs_of(&subject, 15, 1).await, list(&[TCP]), "{at_ms}");
    }
    // The newest of one call counts, wherever it stands.
    let quic = subject.statement(1, 300, &[QUIC], &[under("a", 1)]);
    let tcp = subject.statement(1, 200, &[TCP], &[under("a", 1), under("b", 1), under("c", 1)]);
    subject.store.update(vec![quic, tcp], subject.now_ms()).await.unwrap();
    for number in [5, 15, 25] {
        assert_eq!(addrs_of(&subject, number, 1).await, list(&[QUIC]));
    }
    assert_eq!(addrs_of(&subject, 5, 1).await, list(&[QUIC]));
}

/// A statement, and an older one that comes later and whose groups last longer.
const NEW_AT_MS: u64 = 10_000_000;
const OLD_AT_MS: u64 = NEW_AT_MS - 3_600_000;
const LONG: Offer = Offer { peer: 1, context: "", addrs: &[TCP], ttl_ms: Some(86_400_000) };

impl Subject {
    /// The older statement, twice: the second time, nothing is there that rests on the newer one.
    async fn replay(&self) {
        for round in 0..2 {
            self.state(1, OLD_AT_MS, &[TCP], &[LONG]).await;
            assert_eq!(addrs_of(self, 0, 1).await, list(&[QUIC]), "{round}");
            self.clock.advance(1);
            self.store.sweep(self.now_ms()).await.unwrap();
        }
    }
}

async fn an_older_statement_again_and_again_changes_no_addresses(subject: Subject) {
    let short = Offer { ttl_ms: Some(7_200_000), ..LONG };
    subject.state(1, NEW_AT_MS, &[QUIC], &[short]).await;
    subject.replay().await;
    // It is forgotten with the last that is there of the provider, and not before.
    subject.clock.advance(LONG.ttl_ms.unwrap() + 1);
    subject.store.sweep(subject.now_ms()).await.unwrap();
    subject.state(1, OLD_AT_MS, &[TCP], &[LONG]).await;
    assert_eq!(addrs_of(&subject, 0, 1).await, list(&[TCP]));
}

async fn the_newest_statement_outlasts_what_was_announced_with_it(subject: Subject) {
    let nothing = Offer { ttl_ms: Some(0), ..LONG };
    let brief = Offer { ttl_ms: Some(60_000), ..LONG };
    subject.state(1, NEW_AT_MS, &[QUIC], &[nothing, brief]).await;
    subject.state(1, OLD_AT_MS, &[TCP], &[LONG]).await;
    subject.clock.advance(60_000);
    subject.store.sweep(subject.now_ms()).await.unwrap();
    assert!(subject.providers(10).await.is_empty());
    subject.replay().await;
}

async fn the_newest_statement_outlasts_an_import_in_its_place(subject: Subject) {
    let short = Offer { ttl_ms: Some(7_200_000), ..LONG };
    subject.state(1, NEW_AT_MS, &[QUIC], &[short]).await;
    let addrs = &[TCP, QUIC];
    subject.announce(0..10, Offer { ttl_ms: Some(9_000_000), addrs, ..LONG }).await;
    assert_eq!(addrs_of(&subject, 0, 1).await, list(addrs), "it was announced later");
    subject.replay().await;
}

#[tokio::test]
async fn an_older_statement_is_older_after_a_restart_too() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(START_MS);
    let open = || {
        let options = options(folder.path(), Clock::Manual(clock.clone()));
        let store = Arc::new(DurableStore::open(options).unwrap().0);
        Subject { store, clock: clock.clone(), _folder: None }
    };
    let short = Offer { ttl_ms: Some(7_200_000), ..LONG };
    let subject = open();
    subject.state(1, NEW_AT_MS, &[QUIC], &[short]).await;
    subject.state(1, OLD_AT_MS, &[TCP], &[LONG]).await;
    drop(subject);
    for _ in 0..2 {
        let subject = open();
        assert_eq!(addrs_of(&subject, 0, 1).await, list(&[QUIC]));
        subject.replay().await;
    }
    // What is forgotten with the provider is not known again because it has something again.
    let subject = open();
    subject.remove(1, None).await;
    subject.announce(0..10, LONG).await;
    drop(subject);
    let subject = open();
    subject.state(1, OLD_AT_MS, &[TCP, QUIC], &[]).await;
    assert_eq!(addrs_of(&subject, 0, 1).await, list(&[TCP, QUIC]));
}

async fn addresses_of_a_removed_provider_do_not_come_back(subject: Subject) {
    subject.state(1, 100, &[QUIC], &[under("a", 1), under("b", 1)]).await;
    subject.remove(1, Some("b")).await;
    subject.state(1, 99, &[TCP], &[under("a", 1)]).await;
    assert_eq!(addrs_of(&subject, 0, 1).await, list(&[QUIC]), "the other context remembers");
    subject.remove(1, None).await;
    assert!(subject.peer(1, "").await.is_none());
    subject.announce(0..5, Offer { addrs: &[TCP], ..under("a", 1) }).await;
    assert_eq!(addrs_of(&subject, 0, 1).await, list(&[TCP]));
    assert!(subject.providers(7).await.is_empty());
    subject.state(1, 50, &[TCP, QUIC], &[]).await;
    assert_eq!(addrs_of(&subject, 0, 1).await, list(&[TCP, QUIC]), "everything begins anew");
    // Someone of whom nothing is there is not remembered.
    subject.state(2, 900, &[QUIC], &[]).await;
    subject.state(2, 800, &[TCP], &[offer(2)]).await;
    assert_eq!(addrs_of(&subject, 0, 2).await, list(&[TCP]));
}

async fn what_is_announced_after_a_statement_has_addresses_of_its_own(subject: Subject) {
    subject.state(1, 100, &[QUIC], &[under("a", 1)]).await;
    subject.announce(50..60, under("b", 1)).await;
    assert_eq!(addrs_of(&subject, 50, 1).await, list(&[TCP]));
    // The same again, but later: now it is about that, too.
    subject.state(1, 101, &[QUIC], &[]).await;
    assert_eq!(addrs_of(&subject, 50, 1).await, list(&[QUIC]));
    // A record of somebody else is not the provider's to address.
    subject.state(1, 102, &[QUIC], &[under("a", 2)]).await;
    assert_eq!(addrs_of(&subject, 0, 2).await, list(&[TCP]));
}

async fn a_very_large_key_shows_new_addresses_too(subject: Subject) {
    for number in 0..100 {
        let addrs: &[_] = if number % 2 == 0 { &[TCP] } else { &[] };
        subject.announce(0..1, Offer { addrs, ..offer(number) }).await;
    }
    for number in 0..100 {
        let addrs: &[_] = if number % 2 == 0 { &[] } else { &[QUIC] };
        subject.state(number, 1, addrs, &[]).await;
    }
    let whole = subject.find(0, "", 0).await;
    assert_eq!(providers(&whole), peers(0..100));
    let mut seen = BTreeSet::new();
    for _ in 0..10 {
        let found = subject.find(0, "", 10).await;
        let has_addrs = found.records.iter().map(|(record, _)| !record.has_addrs());
        assert!(has_addrs.is_sorted(), "those with addresses come first");
        seen.extend(providers(&found));
    }
    assert_eq!(seen, peers(0..100));
    let odd = subject.find(0, "filter-addrs=quic-v1", 0).await;
    assert_eq!(providers(&odd), peers((0..100).filter(|number| number % 2 == 1)));
    let order = |found: &Found| -> Vec<_> {
        found.records.iter().map(|(record, _)| record.json().to_owned()).collect()
    };
    let first = order(&subject.find(0, "", 0).await);
    assert_eq!(order(&subject.find(0, "", 0).await), first);
    assert_eq!(order(&whole), first, "the order is the same before and after lookups");
}

async fn an_update_is_taken_in_whole(subject: Subject) {
    let one =
        subject.statement(1, 10, &[QUIC], &[under("a", 1), Offer { ttl_ms: Some(9), ..offer(1) }]);
    let other = subject.statement(2, 10, &[TCP], &[offer(2)]);
    let applied = subject.store.update(vec![one, other], subject.now_ms()).await.unwrap();
    assert_eq!(applied, took_in(30, 0));
    assert_eq!(subject.providers(0).await, peers([1, 2]));
    assert_eq!(subject.providers(10).await, peers([1]));
    let nothing = subject.store.update(Vec::new(), subject.now_ms()).await.unwrap();
    assert_eq!(nothing, took_in(0, 0));
    let lapsed = subject.statement(3, 10, &[TCP], &[Offer { ttl_ms: Some(0), ..offer(3) }]);
    assert_eq!(subject.store.update(vec![lapsed], subject.now_ms()).await.unwrap(), took_in(0, 0));
    assert!(subject.peer(3, "").await.is_none());
    subject.clock.advance(9);
    assert!(subject.providers(10).await.is_empty());
}

/// A stranger's statement whose second announcement is one too many for its network, where another
/// provider holds half of what is allowed.
async fn refused_update(subject: &Subject) -> Update {
    let stranger = Origin::of_client([198, 51, 100, 1].into());
    let half = subject.announcement(10_000..10_000 + NETWORK_KEYS_MAX / 2, &offer(9));
    let held = Update { statement: None, origin: stranger, announcements: vec![half] };
    subject.store.update(vec![held], subject.now_ms()).await.unwrap();
    let mut update = subject.statement(1, 10, &[QUIC], &[under("a", 1)]);
    update.origin = stranger;
    update.announcements.push(subject.announcement(100..100 + NETWORK_KEYS_MAX / 2, &offer(1)));
    let refused = subject.store.update(vec![update.clone()], subject.now_ms()).await;
    assert!(matches!(refused, Err(StoreError::Full { .. })), "{refused:?}");
    update
}

async fn a_refused_call_with_a_statement_takes_nothing_in(subject: Subject) {
    let refused = refused_update(&subject).await;
    const TAKEN_IN: &str = "this store has no transactions: some of it was taken in";
    assert!(subject.peer(1, "").await.is_none(), "{TAKEN_IN}");
    for key in refused.announcements.iter().flat_map(|announcement| &announcement.keys) {
        let question = Question::all(types::Subject::Content(key.clone()));
        let found = subject.store.find(&question, subject.now_ms()).await.unwrap();
        assert!(found.records.is_empty(), "{TAKEN_IN}");
    }
}

async fn the_same_call_completes_what_was_refused(subject: Subject) {
    let refused = refused_update(&subject).await;
    subject.remove(9, None).await;
    subject.store.sweep(subject.now_ms()).await.unwrap();
    let applied = subject.store.update(vec![refused], subject.now_ms()).await.unwrap();
    assert_eq!(applied.taken_in, 10 + u64::from(NETWORK_KEYS_MAX) / 2);
    for number in [0, 9, 100, 99 + NETWORK_KEYS_MAX / 2] {
        assert_eq!(subject.providers(number).await, peers([1]));
        assert_eq!(addrs_of(&subject, number, 1).await, list(&[QUIC]));
    }
}

async fn a_record_changes_for_a_whole_context(subject: Subject) {
    subject.announce(0..40, under("a", 1)).await;
    subject.announce(20..60, under("b", 1)).await;
    subject.announce(0..60, under("a", 2)).await;
    subject.clock.advance(7);
    let fields = format!(r#","Addrs":{},"Protocols":["x"],"own":1"#, list(&[QUIC]));
    assert_eq!(subject.set_record(1, "a", &fields).await, 1);
    assert_eq!(subject.set_record(1, "a", &fields).await, 0, "nothing is left to change");
    assert_eq!(subject.set_record(1, "z", &fields).await, 0);
    assert_eq!(subject.set_record(9, "a", &fields).await, 0);
    let of_one = async |number: u32| -> BTreeSet<String> {
        let found = subject.find(number, "", 0).await;
        assert!(found.modified_at_ms >= Some(START_MS + if number < 40 { 7 } else { 0 }));
        let records = found.records.iter().filter(|(it, _)| it.peer() == Some(&peer(1)));
        records.map(|(record, _)| record.json().replace(peer(1).as_str(), "P")).collect()
    };
    let changed = format!(r#"{{"Schema":"peer","ID":"P"{fields}}}"#);
    let first = format!(r#"{{"Schema":"peer","ID":"P","Addrs":{}}}"#, list(&[TCP]));
    assert_eq!(of_one(0).await, [changed.clone()].into());
    assert_eq!(of_one(30).await, [changed.clone(), first.clone()].into());
    assert_eq!(of_one(50).await, [first.clone()].into());
    assert_eq!(providers(&subject.find(0, "filter-protocols=x", 0).await), peers([1]));
    // What is announced afterwards is what was said then.
    subject.announce(70..80, under("a", 1)).await;
    assert_eq!(of_one(75).await, [first].into());
    assert_eq!(of_one(5).await, [changed].into());
    assert_eq!(subject.remove(1, Some("a")).await, 2);
    subject.announce(0..1, under("a", 1)).await;
    assert!(!of_one(0).await.first().unwrap().contains("Protocols"), "nothing is left of it");
}

async fn the_newer_list_of_addresses_wins(subject: Subject) {
    subject.announce(0..10, under("a", 1)).await;
    subject.announce(10..20, under("b", 1)).await;
    subject.state(1, 1, &[QUIC], &[]).await;
    let own = format!(r#","Addrs":{},"Protocols":["x"]"#, list(&[TCP, QUIC]));
    assert_eq!(subject.set_record(1, "a", &own).await, 1);
    assert_eq!(addrs_of(&subject, 0, 1).await, list(&[TCP, QUIC]));
    assert_eq!(addrs_of(&subject, 10, 1).await, list(&[QUIC]));
    // Older by its own clock, but the provider's addresses are those of its newest statement.
    subject.state(1, 0, &[TCP], &[]).await;
    assert_eq!(addrs_of(&subject, 0, 1).await, list(&[TCP, QUIC]));
    subject.state(1, 2, &[QUIC], &[]).await;
    assert_eq!(addrs_of(&subject, 0, 1).await, list(&[QUIC]), "the same as before, and newer");
    assert!(only_record(&subject, 0).await.contains(r#""Protocols":["x"]"#));
    // A record without a list says nothing of addresses.
    assert_eq!(subject.set_record(1, "b", r#","Protocols":["y"]"#).await, 1);
    assert_eq!(addrs_of(&subject, 10, 1).await, list(&[QUIC]));
    subject.state(1, 3, &[TCP], &[]).await;
    assert_eq!(addrs_of(&subject, 0, 1).await, list(&[TCP]));
    assert_eq!(addrs_of(&subject, 10, 1).await, list(&[TCP]));
}

async fn records_that_become_the_same_are_served_as_one(subject: Subject) {
    // On a key with a few groups, and on one with very many.
    for others in [0, 60] {
        let at = 100 + others;
        for number in 0..others {
            subject.announce(at..at + 1, offer(1_000 + number)).await;
        }
        let one = |number: u32, fields: &str| {
            let json = format!(r#"{{"Schema":"peer","ID":"{}"{fields}}}"#, peer(number));
            ProviderRecord::parse(&json, UnparsableAddrs::Drop).unwrap().record
        };
        let announce = async |name: &str, fields: &str| {
            let (keys, record) = (vec![key(at)], one(others, fields));
            let context = context(name);
            let announcement = Announcement { keys, record, context, expires_at_ms: None };
            subject.store.apply(vec![announcement], subject.now_ms()).await.unwrap();
        };
        announce("a", r#","Addrs":["/ip4/192.0.2.1/tcp/1"],"of":"x""#).await;
        announce("b", r#","Addrs":["/ip4/192.0.2.2/tcp/2"],"of":"y""#).await;
        announce("c", r#","Addrs":["/ip4/192.0.2.1/tcp/1"],"of":"x""#).await;
        let of_it = async |records_max: usize| -> Vec<String> {
            let found = subject.find(at, "", records_max).await;
            let records = found.records.iter().filter(|(it, _)| it.peer() == Some(&peer(others)));
            records.map(|(record, _)| record.json().to_owned()).collect()
        };
        assert_eq!(of_it(0).await.len(), 2);
        let record = r#","Addrs":["/ip4/192.0.2.3/tcp/3"],"of":"x""#;
        assert_eq!(subject.set_record(others, "b", record).await, 1);
        let found = of_it(0).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("tcp/1") && found[0].contains("tcp/3"), "{found:?}");
        // And apart again: two of the same lineage differ now.
        assert_eq!(subject.set_record(others, "c", r#","of":"z""#).await, 1);
        let found = of_it(0).await;
        assert_eq!(found.len(), 2, "{found:?}");
        // With a cap, everyone has a turn, be it by chance: some forty of them here.
        let mut seen = BTreeSet::new();
        for _ in 0..40 * 62 {
            let found = subject.find(at, "", 1).await;
            assert_eq!(found.records.len(), 1);
            seen.extend(found.records.iter().map(|(record, _)| record.json().to_owned()));
        }
        let is_seen = |name: &str| seen.iter().any(|json| json.contains(name));
        assert!(is_seen(r#""of":"x""#) && is_seen(r#""of":"z""#), "{seen:?}");
    }
}

async fn a_peer_has_what_it_announced_freshest_first(subject: Subject) {
    assert!(subject.peer(1, "").await.is_none());
    subject.announce(0..5, under("a", 1)).await;
    let (json, modified_at_ms) = subject.peer(1, "").await.unwrap();
    let expected = |addrs: &[&str], protocols: &str| {
        format!(
            r#"{{"Schema":"peer","ID":"{}","Addrs":{},"Protocols":[{protocols}]}}"#,
            peer(1),
            list(addrs)
        )
    };
    assert_eq!((json, modified_at_ms), (expected(&[TCP], ""), START_MS));
    subject.clock.advance(10);
    let fresh = Offer { addrs: &[QUIC, TCP], ttl_ms: Some(1_000), ..under("b", 1) };
    subject.announce(0..5, fresh).await;
    let (json, modified_at_ms) = subject.peer(1, "").await.unwrap();
    assert_eq!((json, modified_at_ms), (expected(&[QUIC, TCP], ""), START_MS + 10));
    assert_eq!(subject.peer(1, "filter-addrs=quic-v1").await.unwrap().0, expected(&[QUIC], ""));
    assert!(subject.peer(1, "filter-addrs=webtransport").await.is_none());
    assert!(subject.peer(1, "filter-protocols=x").await.is_none());
    subject.set_record(1, "a", r#","Addrs":[],"Protocols":["x","y"]"#).await;
    let (json, _) = subject.peer(1, "filter-protocols=x").await.unwrap();
    assert_eq!(json, expected(&[QUIC, TCP], r#""x","y""#));
    // A group that lapses takes its addresses with it, and that is a change.
    subject.clock.advance(1_000);
    for _ in 0..3 {
        let (json, modified_at_ms) = subject.peer(1, "").await.unwrap();
        assert_eq!(json, expected(&[], r#""x","y""#));
        assert!(modified_at_ms >= START_MS + 1_010);
        subject.store.sweep(subject.now_ms()).await.unwrap();
    }
    // There is a bound on how many groups are looked at, and the newest come first.
    for number in 0..300u32 {
        let expires_at_ms = Some(subject.now_ms() + 10_000 + u64::from(number));
        let addr = format!("/ip4/192.0.2.1/tcp/{}", 1 + number);
        let json = format!(r#"{{"Schema":"peer","ID":"{}","Addrs":["{addr}"]}}"#, peer(1));
        let record = ProviderRecord::parse(&json, UnparsableAddrs::Drop).unwrap().record;
        let keys = vec![key(1_000 + number)];
        let announcement = Announcement { keys, record, context: context("c"), expires_at_ms };
        subject.store.apply(vec![announcement], subject.now_ms()).await.unwrap();
    }
    let (json, _) = subject.peer(1, "").await.unwrap();
    let first = r#""Addrs":["/ip4/192.0.2.1/tcp/300","/ip4/192.0.2.1/tcp/299","#;
    assert!(json.contains(first) && !json.contains("tcp/1\""), "{json}");
    assert_eq!(json.matches("/ip4").count(), 256);
    subject.remove(1, None).await;
    assert!(subject.peer(1, "").await.is_none());
}

async fn tasks_that_update_at_once_end_with_the_newest_statement(subject: Subject) {
    subject.announce(0..100, under("a", 1)).await;
    let tasks: Vec<_> = (1..=40u64)
        .map(|at_ms| {
            let subject = subject.clone();
            tokio::spawn(async move {
                let addr = format!("/ip4/192.0.2.1/tcp/{at_ms}");
                let offers = [Offer { ttl_ms: Some(at_ms * 1_000), ..under("b", 1) }];
                subject.state(1, at_ms, &[&addr], &offers).await;
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for number in [0, 5, 99] {
        let addrs = addrs_of(&subject, number, 1).await;
        assert_eq!(addrs, list(&["/ip4/192.0.2.1/tcp/40"]));
    }
}

async fn a_hidden_provider_is_kept_and_not_served_until_it_is_shown(subject: Subject) {
    subject.announce(0..20, offer(1)).await;
    subject.announce(0..20, under("a", 1)).await;
    subject.announce(10..20, offer(2)).await;
    subject.clock.advance(1_000);
    subject.show(1, Visibility::Hidden).await;
    let hidden_at_ms = subject.now_ms();
    for _ in 0..2 {
        assert!(subject.providers(0).await.is_empty());
        assert_eq!(subject.providers(15).await, peers([2]));
        assert!(subject.peer(1, "").await.is_none());
        subject.store.sweep(subject.now_ms()).await.unwrap();
    }
    assert!(subject.find(15, "", 0).await.modified_at_ms >= Some(hidden_at_ms));
    let stats = subject.store.stats().await.unwrap();
    assert_eq!((stats.entries, stats.groups), (Some(50), Some(3)));
    // What it announces meanwhile is hidden, too, and changes are taken in.
    subject.announce(20..30, under("b", 1)).await;
    subject.state(1, subject.now_ms(), &[QUIC], &[]).await;
    subject.remove(1, Some("a")).await;
    assert!(subject.providers(25).await.is_empty());
    subject.clock.advance(1_000);
    subject.show(1, Visibility::Shown).await;
    assert_eq!(subject.providers(15).await, peers([1, 2]));
    assert_eq!(subject.providers(25).await, peers([1]));
    assert_eq!(addrs_of(&subject, 0, 1).await, list(&[QUIC]));
    assert!(subject.find(0, "", 0).await.modified_at_ms >= Some(subject.now_ms()));
    assert!(subject.peer(1, "").await.is_some());
    // It stays what it is when everything is gone, and announced again.
    subject.show(1, Visibility::Hidden).await;
    subject.remove(1, None).await;
    subject.announce(0..1, offer(1)).await;
    assert!(subject.providers(0).await.is_empty());
    subject.show(1, Visibility::Shown).await;
    assert_eq!(subject.providers(0).await, peers([1]));
}

async fn among_very_many_hidden_providers_the_others_are_served(subject: Subject) {
    for number in 0..400 {
        subject.announce(0..1, offer(number)).await;
    }
    assert_eq!(subject.providers(0).await.len(), 400);
    for number in 10..400 {
        subject.show(number, Visibility::Hidden).await;
    }
    assert_eq!(subject.providers(0).await, peers(0..10));
    for _ in 0..3 {
        assert_eq!(providers(&subject.find(0, "", 10).await), peers(0..10));
    }
    for number in 10..400 {
        subject.show(number, Visibility::Shown).await;
    }
    assert_eq!(subject.providers(0).await.len(), 400);
}

async fn companions_are_served_beside_all_that_a_provider_has(subject: Subject) {
    subject.announce(0..10, under("a", 1)).await;
    subject.announce(0..5, offer(2)).await;
    let of_provider = Companion {
        protocols: CompanionProtocols::OfProvider,
        ..companion(8, &format!(r#","Addrs":["{QUIC}"],"Protocols":["not","these"]"#))
    };
    let mut set = companions([7]);
    set.records.push(of_provider);
    subject.clock.advance(1_000);
    subject.accompany(1, None, set).await;
    assert_eq!(subject.providers(7).await, peers([1, 7, 8]));
    assert_eq!(subject.providers(0).await, peers([1, 2, 7, 8]));
    assert!(subject.find(7, "", 0).await.modified_at_ms >= Some(subject.now_ms()));
    // One has the protocols of the record that it is beside, as they change.
    subject.set_record(1, "a", &format!(r#","Addrs":["{TCP}"],"Protocols":["x"],"x":[1,2]"#)).await;
    let found = subject.find(7, "", 0).await;
    let beside = found.records.iter().find(|(record, _)| record.peer() == Some(&peer(8))).unwrap();
    let expected = format!(
        r#"{{"Schema":"peer","ID":"{}","Addrs":["{QUIC}"],"Protocols":["x"],"x":[1,2]}}"#,
        peer(8)
    );
    assert_eq!(beside.0.json(), expected);
    // They are there for what is announced later, also when all was gone in between.
    subject.announce(20..21, under("b", 1)).await;
    assert_eq!(subject.providers(20).await, peers([1, 7, 8]));
    subject.remove(1, None).await;
    assert_eq!(subject.providers(0).await, peers([2]));
    subject.announce(0..1, under("c", 1)).await;
    assert_eq!(subject.providers(0).await, peers([1, 2, 7, 8]));
    subject.show(1, Visibility::Hidden).await;
    assert_eq!(subject.providers(0).await, peers([2]));
    subject.show(1, Visibility::Shown).await;
    subject.accompany(1, None, companions([9])).await;
    assert_eq!(subject.providers(0).await, peers([1, 2, 9]));
    subject.accompany(1, None, Companions::default()).await;
    assert_eq!(subject.providers(0).await, peers([1, 2]));
}

async fn companions_of_a_context_end_with_it_and_may_override(subject: Subject) {
    subject.announce(0..10, under("a", 1)).await;
    subject.announce(10..20, under("b", 1)).await;
    subject.accompany(1, None, companions([7])).await;
    subject.accompany(1, Some("a"), companions([8])).await;
    subject.accompany(1, Some("z"), companions([9])).await;
    assert_eq!(subject.providers(0).await, peers([1, 7, 8]));
    assert_eq!(subject.providers(10).await, peers([1, 7]));
    subject.announce(20..21, under("z", 1)).await;
    assert_eq!(subject.providers(20).await, peers([1, 7]), "nothing was there to accompany");
    let overriding = Companions { overrides: true, ..companions([6]) };
    subject.accompany(1, Some("a"), overriding).await;
    assert_eq!(subject.providers(0).await, peers([1, 6]));
    let nobody = Companions { overrides: true, ..Companions::default() };
    subject.accompany(1, Some("a"), nobody).await;
    assert_eq!(subject.providers(0).await, peers([1]));
    subject.remove(1, Some("a")).await;
    subject.announce(0..1, under("a", 1)).await;
    assert_eq!(subject.providers(0).await, peers([1, 7]), "it ended with its context");
}

async fn companions_count_as_records(subject: Subject) {
    subject.announce(0..1, offer(1)).await;
    let set = companions((100..).take(COMPANIONS_MAX + 10));
    subject.accompany(1, None, set).await;
    assert_eq!(subject.providers(0).await.len(), 1 + COMPANIONS_MAX);
    let capped = subject.find(0, "", 3).await;
    assert_eq!(providers(&capped).len(), 3);
    let filtered = providers(&subject.find(0, "filter-protocols=own", 0).await);
    assert!(filtered.len() == COMPANIONS_MAX && !filtered.contains(&peer(1)));
    // A companion that announces the same itself is one record, with a few providers and with many.
    for number in 101..150 {
        let json = format!(
            r#"{{"Schema":"peer","ID":"{}","Addrs":["{TCP}"],"Protocols":["own"]}}"#,
            peer(number)
        );
        let record = ProviderRecord::parse(&json, UnparsableAddrs::Drop).unwrap().record;
        let announcement = Announcement { record, ..subject.announcement(0..1, &offer(number)) };
        subject.store.apply(vec![announcement], subject.now_ms()).await.unwrap();
        assert_eq!(subject.providers(0).await.len(), 1 + COMPANIONS_MAX, "{number}");
    }
}
