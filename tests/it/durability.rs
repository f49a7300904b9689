//! What a data directory holds after the server that filled it is gone.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use fingerpost::clock::{Clock, ManualClock};
use fingerpost::data_dir::DataDir;
use fingerpost::store::{
    Announcement, Applied, Companion, CompanionProtocols, Companions, ContextId, DurableOptions,
    DurableStore, IndexLimits, ProviderChange, ProviderStatement, Store, Update, Visibility,
};
use fingerpost::types::{
    self, Addr, AnswerSchema, ContentKey, Origin, PeerId, ProviderRecord, Question, UnparsableAddrs,
};

use super::harness::{NOW_MS, peer_id};

pub(super) const TCP: &str = "/ip4/192.0.2.1/tcp/4001";
pub(super) const UDP: &str = "/ip4/192.0.2.1/udp/4001/quic-v1";

pub(super) fn open_as(folder: &Path, clock: &ManualClock, schema: AnswerSchema) -> DurableStore {
    let options = DurableOptions {
        data_dir: DataDir::lock(folder).unwrap(),
        clock: Clock::Manual(clock.clone()),
        schema,
        threads: 2,
        segment_bytes: 1 << 20,
        disk_reserve_bytes: 1,
        limits: IndexLimits::default(),
    };
    DurableStore::open(options).unwrap().0
}

pub(super) fn open(folder: &Path, clock: &ManualClock) -> DurableStore {
    open_as(folder, clock, AnswerSchema::Announced)
}

pub(super) fn key(number: u32) -> ContentKey {
    let bytes = [&[0x12, 0x20][..], &number.to_be_bytes(), &[7; 28]].concat();
    ContentKey::from_multihash(&bytes).unwrap()
}

pub(super) fn record(peer: u32, addr: &str) -> ProviderRecord {
    let json = format!(
        r#"{{"Schema":"bitswap","Protocol":"transport-bitswap","ID":"{}","Addrs":["{addr}"]}}"#,
        peer_id(peer)
    );
    ProviderRecord::parse(&json, UnparsableAddrs::Drop).unwrap().record
}

pub(super) fn announcement(peer: u32, keys: std::ops::Range<u32>, addr: &str) -> Announcement {
    Announcement {
        keys: keys.map(key).collect(),
        record: record(peer, addr),
        context: ContextId::default(),
        expires_at_ms: None,
    }
}

pub(super) async fn announce(
    store: &DurableStore,
    peer: u32,
    keys: std::ops::Range<u32>,
    addr: &str,
) -> Applied {
    store.apply(vec![announcement(peer, keys, addr)], NOW_MS).await.unwrap()
}

pub(super) async fn answer(store: &DurableStore, number: u32) -> Vec<String> {
    let question = Question::all(types::Subject::Content(key(number)));
    let found = store.find(&question, NOW_MS).await.unwrap();
    found.records.iter().map(|(record, _)| record.json().to_owned()).collect()
}

#[tokio::test]
async fn everything_is_as_it_was_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW_MS);
    let store = open(folder.path(), &clock);
    announce(&store, 1, 0..3_000, TCP).await;
    announce(&store, 2, 1_000..2_000, UDP).await;
    let expiring = Announcement {
        expires_at_ms: Some(NOW_MS + 1_000),
        context: ContextId::new(b"soon").unwrap(),
        ..announcement(3, 0..10, TCP)
    };
    store.apply(vec![expiring], NOW_MS).await.unwrap();
    let mut before = Vec::new();
    for number in (0..3_100).step_by(7) {
        before.push(answer(&store, number).await);
    }
    let stats = store.stats().await.unwrap();
    drop(store);

    let store = open(folder.path(), &clock);
    let mut after = Vec::new();
    for number in (0..3_100).step_by(7) {
        after.push(answer(&store, number).await);
    }
    assert_eq!(after, before);
    let again = store.stats().await.unwrap();
    let figures = |stats: fingerpost::store::StoreStats| {
        (stats.entries, stats.keys, stats.groups, stats.providers)
    };
    assert_eq!(figures(again), figures(stats));
    drop(store);

    clock.advance(1_000);
    let store = open(folder.path(), &clock);
    assert_eq!(answer(&store, 0).await.len(), 1, "what expired meanwhile is gone");
}

#[tokio::test]
async fn what_was_removed_stays_removed_and_a_context_used_again_revives_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW_MS);
    let store = open(folder.path(), &clock);
    announce(&store, 1, 0..100, TCP).await;
    announce(&store, 2, 50..150, TCP).await;
    let peer = PeerId::parse(&peer_id(1)).unwrap();
    assert_eq!(store.remove(&peer, None, NOW_MS).await.unwrap().groups, 1);
    announce(&store, 1, 200..210, TCP).await;
    for _ in 0..2 {
        let store = open_again(&clock, folder.path(), None);
        assert!(answer(&store, 0).await.is_empty());
        assert_eq!(answer(&store, 60).await.len(), 1);
        assert_eq!(answer(&store, 205).await.len(), 1);
    }
    drop(store);

    fn open_again(clock: &ManualClock, folder: &Path, _: Option<()>) -> DurableStore {
        // A copy of the files is what another process would find after a crash.
        let copy = tempfile::tempdir().unwrap().keep();
        copy_folder(folder, &copy);
        let store = open(&copy, clock);
        std::fs::remove_dir_all(&copy).unwrap();
        store
    }
}

pub(super) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn addresses_that_go_back_and_forth_are_the_last_ones_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW_MS);
    let store = open(folder.path(), &clock);
    announce(&store, 1, 0..10, TCP).await;
    announce(&store, 1, 0..5, UDP).await;
    announce(&store, 1, 0..3, TCP).await;
    // The same in one batch.
    let batch = vec![
        announcement(1, 20..21, TCP),
        announcement(1, 20..21, UDP),
        announcement(1, 20..21, TCP),
        announcement(1, 20..21, UDP),
    ];
    store.apply(batch, NOW_MS).await.unwrap();
    let expected = [(0, TCP), (2, TCP), (3, UDP), (4, UDP), (5, TCP), (20, UDP)];
    for (number, addr) in expected {
        let found = answer(&store, number).await;
        assert!(found.len() == 1 && found[0].contains(addr), "{number}: {found:?}");
    }
    drop(store);
    let store = open(folder.path(), &clock);
    for (number, addr) in expected {
        let found = answer(&store, number).await;
        assert!(found.len() == 1 && found[0].contains(addr), "{number}: {found:?}");
    }
}

#[tokio::test]
async fn announcing_the_same_again_costs_no_room_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &ManualClock::new(NOW_MS));
    announce(&store, 1, 0..5_000, TCP).await;
    let bytes = store.stats().await.unwrap().journal.unwrap().bytes;
    let applied = announce(&store, 1, 0..5_000, TCP).await;
    assert_eq!((applied.taken_in, applied.added), (5_000, Some(0)));
    assert_eq!(store.stats().await.unwrap().journal.unwrap().bytes, bytes);
}

#[tokio::test]
async fn the_schema_of_answers_is_chosen_anew_at_each_start() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW_MS);
    let store = open_as(folder.path(), &clock, AnswerSchema::Peer);
    announce(&store, 1, 0..1, TCP).await;
    assert!(answer(&store, 0).await[0].contains(r#""Schema":"peer""#));
    drop(store);
    let store = open(folder.path(), &clock);
    assert!(answer(&store, 0).await[0].contains(r#""Schema":"bitswap""#));
}

#[tokio::test]
async fn a_second_process_learns_who_has_the_directory() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW_MS);
    let store = open(folder.path(), &clock);
    let text = DataDir::lock(folder.path()).unwrap_err().to_string();
    assert!(text.contains(&std::process::id().to_string()) && text.contains("stop it"), "{text}");
    drop(store);
    open(folder.path(), &clock);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_announce_at_once_all_survive() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW_MS);
    let store = Arc::new(open(folder.path(), &clock));
    let tasks: Vec<_> = (0..20)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0..20 {
                    let first = task * 1_000 + round * 10;
                    announce(&store, task, first..first + 10, TCP).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    drop(store);
    let store = open(folder.path(), &clock);
    assert_eq!(store.stats().await.unwrap().entries, Some(20 * 20 * 10));
    assert_eq!(answer(&store, 19_199).await.len(), 1);
}

pub(super) fn under(context: &[u8], announcement: Announcement) -> Announcement {
    Announcement { context: ContextId::new(context).unwrap(), ..announcement }
}

pub(super) async fn state(
    store: &DurableStore,
    of: u32,
    at_ms: u64,
    addrs: &[&str],
    announcements: Vec<Announcement>,
) {
    let statement = ProviderStatement {
        provider: PeerId::parse(&peer_id(of)).unwrap(),
        stated_at_ms: at_ms,
        addrs: addrs.iter().map(|addr| Addr::parse(addr).unwrap()).collect(),
    };
    store
        .update(
            vec![Update { statement: Some(statement), origin: Origin::OPERATOR, announcements }],
            NOW_MS,
        )
        .await
        .unwrap();
}

async fn peer_json(store: &DurableStore, of: u32) -> Option<String> {
    let subject = types::Subject::Peer(PeerId::parse(&peer_id(of)).unwrap());
    let found = store.find(&Question::all(subject), NOW_MS).await.unwrap();
    found.records.first().map(|(record, _)| record.json().to_owned())
}

pub(super) fn changed_record(of: u32, addr: &str) -> ProviderRecord {
    let json = format!(
        r#"{{"Schema":"peer","ID":"{}","Addrs":["{addr}"],"Protocols":["x"]}}"#,
        peer_id(of)
    );
    ProviderRecord::parse(&json, UnparsableAddrs::Drop).unwrap().record
}

#[tokio::test]
async fn changed_addresses_and_records_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW_MS);
    let store = open_as(folder.path(), &clock, AnswerSchema::Peer);
    let offers = |of: u32| {
        vec![under(b"a", announcement(of, 0..10, TCP)), under(b"b", announcement(of, 10..20, TCP))]
    };
    store.apply([offers(1), offers(2), offers(3)].concat(), NOW_MS).await.unwrap();
    state(&store, 1, 100, &[UDP], Vec::new()).await;
    state(&store, 1, 101, &[UDP], vec![under(b"c", announcement(1, 20..30, TCP))]).await;
    let context = ContextId::new(b"b").unwrap();
    let changed = store.set_record(&context, changed_record(2, UDP), NOW_MS).await.unwrap();
    assert_eq!(changed.groups, 1);
    // Newest last: the record's own addresses, then the statement's.
    store.set_record(&context, changed_record(3, UDP), NOW_MS).await.unwrap();
    state(&store, 3, 1, &[TCP, UDP], Vec::new()).await;
    // Afterwards, and so not touched.
    store.apply(vec![under(b"d", announcement(1, 30..40, TCP))], NOW_MS).await.unwrap();
    let seen = async |store: &DurableStore| {
        let mut all = Vec::new();
        for number in (0..40).step_by(5) {
            let mut answer = answer(store, number).await;
            answer.sort();
            all.push(answer);
        }
        for of in 1..4 {
            all.push(peer_json(store, of).await.into_iter().collect());
        }
        all
    };
    let before = seen(&store).await;
    assert!(before[0].iter().any(|json| json.contains(UDP) && json.contains(&peer_id(1))));
    assert!(before[6].iter().all(|json| json.contains(TCP) && !json.contains(UDP)));
    drop(store);
    let store = open_as(folder.path(), &clock, AnswerSchema::Peer);
    assert_eq!(seen(&store).await, before);
    // An older statement is known to be older, and the same one to be the same.
    for at_ms in [100, 101] {
        state(&store, 1, at_ms, &[TCP], Vec::new()).await;
        assert_eq!(seen(&store).await, before);
    }
    let stats = store.stats().await.unwrap();
    let again = under(b"c", announcement(1, 20..30, UDP));
    let applied = store.apply(vec![again], NOW_MS).await.unwrap();
    assert_eq!((applied.taken_in, applied.added), (10, Some(0)));
    assert_eq!(store.stats().await.unwrap().groups, stats.groups);
    drop(store);
    let store = open_as(folder.path(), &clock, AnswerSchema::Peer);
    assert_eq!(seen(&store).await, before);
}

#[tokio::test]
async fn addresses_of_a_removed_provider_are_forgotten_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW_MS);
    let store = open(folder.path(), &clock);
    let peer = PeerId::parse(&peer_id(1)).unwrap();
    state(&store, 1, 100, &[UDP], vec![announcement(1, 0..10, TCP)]).await;
    store.set_record(&ContextId::default(), changed_record(1, UDP), NOW_MS).await.unwrap();
    store.remove(&peer, None, NOW_MS).await.unwrap();
    announce(&store, 1, 0..5, TCP).await;
    for _ in 0..2 {
        let found = answer(&store, 0).await;
        assert!(found[0].contains(TCP) && !found[0].contains("\"x\""), "{found:?}");
        assert!(answer(&store, 7).await.is_empty());
    }
    drop(store);
    let store = open(folder.path(), &clock);
    let found = answer(&store, 0).await;
    assert!(found[0].contains(TCP) && !found[0].contains("\"x\""), "{found:?}");
    // Older than what was said before the removal, and the newest since.
    state(&store, 1, 50, &[TCP, UDP], Vec::new()).await;
    assert!(answer(&store, 0).await[0].contains(UDP));
}

#[tokio::test]
async fn a_statement_again_and_again_leaves_little_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW_MS);
    let store = open(folder.path(), &clock);
    for at_ms in 1..500 {
        let addr = if at_ms % 2 == 0 { TCP } else { UDP };
        state(&store, 1, at_ms, &[addr], vec![announcement(1, 0..3, TCP)]).await;
    }
    let journal = store.stats().await.unwrap().journal.unwrap();
    assert!(journal.garbage_bytes * 100 > journal.bytes * 70, "{journal:?}");
    let stats = store.stats().await.unwrap();
    assert_eq!(
        (stats.entries, stats.groups),
        (Some(3), Some(1)),
        "no group is made for an address"
    );
}

#[tokio::test]
async fn an_update_that_nobody_waits_for_is_taken_in_nevertheless() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW_MS);
    let store = open(folder.path(), &clock);
    let statement = ProviderStatement {
        provider: PeerId::parse(&peer_id(1)).unwrap(),
        stated_at_ms: 1,
        addrs: vec![Addr::parse(UDP).unwrap()],
    };
    let announcements = vec![announcement(1, 0..1, TCP)];
    let update = Update { statement: Some(statement), origin: Origin::OPERATOR, announcements };
    let mut abandoned = store.update(vec![update], NOW_MS);
    assert!(futures_util::poll!(&mut abandoned).is_pending());
    drop(abandoned);
    // The provider's lock is free when that is done.
    state(&store, 1, 0, &[TCP], Vec::new()).await;
    assert!(answer(&store, 0).await[0].contains(UDP));
}

#[tokio::test]
async fn standing_and_network_survive_a_restart_and_whoever_sends_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW_MS);
    let store = open(folder.path(), &clock);
    let networks = [[192, 0, 2, 1], [198, 51, 100, 1]].map(|ip| Origin::of_client(ip.into()));
    let update = |of: u32, origin, expires_at_ms| {
        let statement = ProviderStatement {
            provider: PeerId::parse(&peer_id(of)).unwrap(),
            stated_at_ms: NOW_MS,
            addrs: vec![Addr::parse(TCP).unwrap()],
        };
        let announcements = vec![Announcement { expires_at_ms, ..announcement(of, 0..1, TCP) }];
        Update { statement: Some(statement), origin, announcements }
    };
    let first = update(1, networks[0], Some(NOW_MS + 100_000));
    store.update(vec![first], NOW_MS).await.unwrap();
    clock.advance(10_000);
    let now_ms = NOW_MS + 10_000;
    let cheap = (100..140).map(|of| update(of, networks[0], Some(NOW_MS + 100_000))).collect();
    store.update(cheap, now_ms).await.unwrap();
    let again = update(1, networks[1], Some(NOW_MS + 200_000));
    store.update(vec![again.clone()], now_ms).await.unwrap();
    let served = async |store: &DurableStore| {
        let subject = types::Subject::Content(key(0));
        let records_max = NonZeroUsize::new(1);
        let question = Question { records_max, ..Question::all(subject) };
        let found = store.find(&question, now_ms).await.unwrap();
        found.records.first().map(|(record, _)| record.peer().unwrap().to_string()).unwrap()
    };
    drop(store);
    for _ in 0..2 {
        let store = open(folder.path(), &clock);
        // It is the oldest of the only network.
        for _ in 0..5 {
            assert_eq!(served(&store).await, peer_id(1));
        }
        store.update(vec![again.clone()], now_ms).await.unwrap();
    }
}

#[tokio::test]
async fn what_holds_for_a_provider_holds_after_restarts_compaction_and_repair() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW_MS);
    let store = open(folder.path(), &clock);
    announce(&store, 1, 0..3_000, TCP).await;
    announce(&store, 2, 0..3_000, TCP).await;
    let of = |number: u32| PeerId::parse(&peer_id(number)).unwrap();
    let accompany = |number| ProviderChange::Companions {
        context: Some(ContextId::default()),
        companions: Companions {
            records: vec![Companion {
                record: record(number, UDP),
                protocols: CompanionProtocols::Own,
            }],
            overrides: true,
        },
    };
    // Enough of each kind that most of the journal is superseded, and hidden and shown in turns.
    for round in 0..2_000 {
        let to = if round % 2 == 0 { Visibility::Shown } else { Visibility::Hidden };
        store.change_provider(&of(1), ProviderChange::Visibility(to), NOW_MS).await.unwrap();
        store.change_provider(&of(2), accompany(3 + round % 2), NOW_MS).await.unwrap();
    }
    let check = async |store: &DurableStore| {
        let found = answer(store, 7).await;
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().any(|json| json.contains(of(2).as_str())), "{found:?}");
        assert!(found.iter().any(|json| json.contains(of(4).as_str())), "{found:?}");
    };
    check(&store).await;
    drop(store);
    for _ in 0..3 {
        let store = open(folder.path(), &clock);
        check(&store).await;
        // Each start begins a segment, so that there is something to compact.
        announce(&store, 5, 10_000..10_010, TCP).await;
    }
    assert!(fingerpost::store::repair(&DataDir::lock(folder.path()).unwrap()).unwrap().is_whole());
    let store = open(folder.path(), &clock);
    check(&store).await;
    store
        .change_provider(&of(1), ProviderChange::Visibility(Visibility::Shown), NOW_MS)
        .await
        .unwrap();
    assert_eq!(answer(&store, 7).await.len(), 3, "it was kept");
    // What was of a context is gone with it, also after a restart.
    store.remove(&of(2), None, NOW_MS).await.unwrap();
    announce(&store, 2, 0..10, TCP).await;
    drop(store);
    let store = open(folder.path(), &clock);
    assert_eq!(answer(&store, 7).await.len(), 2);
}
