//! What a data directory holds after the server that filled it is gone.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use fingerpost::clock::{Clock, ManualClock};
use fingerpost::store::{
    Announcement, Applied, ContextId, DurableOptions, DurableStore, Lookup, OpenError, Store,
};
use fingerpost::types::{
    AnswerSchema, ContentKey, Filter, PeerId, ProviderRecord, UnparsableAddrs,
};
use futures_util::StreamExt;

use super::harness::{NOW_MS, peer_id};

const TCP: &str = "/ip4/192.0.2.1/tcp/4001";
const UDP: &str = "/ip4/192.0.2.1/udp/4001/quic-v1";

fn open_as(folder: &Path, clock: &ManualClock, schema: AnswerSchema) -> DurableStore {
    let options = DurableOptions {
        directory: folder.to_owned(),
        clock: Clock::Manual(clock.clone()),
        schema,
        threads: 2,
        segment_bytes: 1 << 20,
    };
    DurableStore::open(options).unwrap().0
}

fn open(folder: &Path, clock: &ManualClock) -> DurableStore {
    open_as(folder, clock, AnswerSchema::Announced)
}

fn key(number: u32) -> ContentKey {
    let bytes = [&[0x12, 0x20][..], &number.to_be_bytes(), &[7; 28]].concat();
    ContentKey::from_multihash(&bytes).unwrap()
}

fn record(peer: u32, addr: &str) -> ProviderRecord {
    let json = format!(
        r#"{{"Schema":"bitswap","Protocol":"transport-bitswap","ID":"{}","Addrs":["{addr}"]}}"#,
        peer_id(peer)
    );
    ProviderRecord::parse(&json, UnparsableAddrs::Drop).unwrap().record
}

fn announcement(peer: u32, keys: std::ops::Range<u32>, addr: &str) -> Announcement {
    Announcement {
        keys: keys.map(key).collect(),
        record: record(peer, addr),
        context: ContextId::default(),
        expires_at_ms: None,
    }
}

async fn announce(
    store: &DurableStore,
    peer: u32,
    keys: std::ops::Range<u32>,
    addr: &str,
) -> Applied {
    store.apply(vec![announcement(peer, keys, addr)]).await.unwrap()
}

async fn answer(store: &DurableStore, number: u32) -> Vec<String> {
    let (key, filter) = (key(number), Filter::default());
    let lookup = Lookup { key: &key, filter: &filter, records_max: None };
    let found = store.find(lookup).await.unwrap();
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
    store.apply(vec![expiring]).await.unwrap();
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
    assert_eq!(store.remove(&peer, None).await.unwrap().groups, 1);
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

fn copy_folder(from: &Path, to: &Path) {
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
    store.apply(batch).await.unwrap();
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
    assert_eq!((applied.entries_added, applied.entries_refreshed), (0, 5_000));
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
async fn an_export_holds_everything_that_is_alive_once() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW_MS);
    let store = open(folder.path(), &clock);
    announce(&store, 1, 0..10_000, TCP).await;
    announce(&store, 2, 5_000..6_000, UDP).await;
    announce(&store, 1, 0..100, UDP).await;
    announce(&store, 3, 0..50, TCP).await;
    store.remove(&PeerId::parse(&peer_id(3)).unwrap(), None).await.unwrap();
    let export = store.export();
    announce(&store, 4, 0..10, TCP).await;
    let batches: Vec<_> = export.collect().await;
    let entries: Vec<_> = batches.into_iter().flat_map(Result::unwrap).collect();
    let distinct: BTreeSet<_> =
        entries.iter().map(|e| (e.key.clone(), e.record_json.clone())).collect();
    assert_eq!((entries.len(), distinct.len()), (11_000, 11_000));
    let udp = entries.iter().filter(|entry| entry.record_json.contains(UDP)).count();
    assert_eq!(udp, 1_100);
}

#[tokio::test]
async fn an_export_holds_what_is_announced_anew_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW_MS);
    let store = open(folder.path(), &clock);
    // More than waits in the channel, so that the reading has not ended when the rest happens.
    announce(&store, 1, 0..60_000, TCP).await;
    announce(&store, 1, 0..1_000, UDP).await;
    for other in 2..80 {
        announce(&store, other, 50_000..50_010, TCP).await;
    }
    let mut export = store.export();
    let mut entries = export.next().await.unwrap().unwrap();
    announce(&store, 1, 0..60_000, UDP).await;
    announce(&store, 1, 59_000..60_000, TCP).await;
    while let Some(batch) = export.next().await {
        entries.extend(batch.unwrap());
    }
    let udp = entries.iter().filter(|entry| entry.record_json.contains(UDP)).count();
    let keys: BTreeSet<_> = entries.iter().map(|entry| entry.key.clone()).collect();
    assert_eq!((entries.len(), udp, keys.len()), (60_000 + 78 * 10, 1_000, 60_000));
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_directory() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW_MS);
    let store = open(folder.path(), &clock);
    let options = DurableOptions {
        directory: folder.path().to_owned(),
        clock: Clock::Manual(clock.clone()),
        schema: AnswerSchema::Announced,
        threads: 1,
        segment_bytes: 1 << 20,
    };
    let Err(OpenError::Journal(error)) = DurableStore::open(options) else {
        panic!("two stores have one directory");
    };
    let text = error.to_string();
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
    assert_eq!(store.stats().await.unwrap().entries, 20 * 20 * 10);
    assert_eq!(answer(&store, 19_199).await.len(), 1);
}
