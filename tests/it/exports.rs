//! What an export of a durable store holds, while others write.

use std::collections::{BTreeMap, BTreeSet};

use fingerpost::clock::ManualClock;
use fingerpost::store::{
    Announcement, ContextId, DurableStore, ExportStream, Exported, MemoryStore, Store,
};
use fingerpost::types::{self, AnswerSchema, PeerId, ProviderRecord, Question};
use futures_util::StreamExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::durability::{
    TCP, UDP, announce, announcement, changed_record, key, open, open_as, record, state, under,
};
use super::harness::{NOW_MS, peer_id};

async fn rest_of(export: ExportStream) -> Vec<Exported> {
    let batches: Vec<_> = export.collect().await;
    batches.into_iter().flat_map(Result::unwrap).collect()
}

/// A store in memory that took these entries in, one after the other.
async fn imported(entries: &[Exported]) -> MemoryStore {
    let store = MemoryStore::new(AnswerSchema::Announced);
    for entries in entries.chunks(1_000) {
        let announcement = |entry: &Exported| Announcement {
            keys: vec![entry.key.clone()],
            record: ProviderRecord::restore(&entry.record_json).unwrap(),
            context: entry.context.clone(),
            expires_at_ms: entry.expires_at_ms,
        };
        store.apply(entries.iter().map(announcement).collect(), NOW_MS).await.unwrap();
    }
    store
}

/// Who has a key, and where.
async fn answer(store: &dyn Store, number: u32, now_ms: u64) -> BTreeSet<String> {
    let question = Question::all(types::Subject::Content(key(number)));
    let found = store.find(&question, now_ms).await.unwrap();
    found.records.iter().map(|(record, _)| record.json().to_owned()).collect()
}

#[tokio::test]
async fn an_export_holds_everything_that_is_alive() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW_MS);
    let store = open(folder.path(), &clock);
    announce(&store, 1, 0..10_000, TCP).await;
    announce(&store, 2, 5_000..6_000, UDP).await;
    announce(&store, 1, 0..100, UDP).await;
    announce(&store, 3, 0..50, TCP).await;
    store.remove(&PeerId::parse(&peer_id(3)).unwrap(), None, NOW_MS).await.unwrap();
    let export = store.export(NOW_MS);
    announce(&store, 4, 0..10, TCP).await;
    let entries = rest_of(export).await;
    let distinct: BTreeSet<_> =
        entries.iter().map(|e| (e.key.clone(), e.record_json.clone())).collect();
    assert_eq!(distinct.len(), 11_000, "nothing that is superseded, removed, or came later");
    assert!(entries.len() <= 11_100, "only keys whose group was superseded come twice");
    let udp = distinct.iter().filter(|(_, record)| record.contains(UDP)).count();
    assert_eq!(udp, 1_100);
}

#[tokio::test]
async fn an_export_has_the_records_as_they_are_at_its_moment() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW_MS);
    let store = open_as(folder.path(), &clock, AnswerSchema::Peer);
    store.apply(vec![under(b"a", announcement(1, 0..10, TCP))], NOW_MS).await.unwrap();
    store.apply(vec![under(b"b", announcement(1, 10..20, TCP))], NOW_MS).await.unwrap();
    announce(&store, 2, 0..10, TCP).await;
    store.set_record(&ContextId::new(b"b").unwrap(), changed_record(1, TCP), NOW_MS).await.unwrap();
    state(&store, 1, 100, &[UDP], Vec::new()).await;
    let export = store.export(NOW_MS);
    state(&store, 1, 101, &[TCP], Vec::new()).await;
    let entries = rest_of(export).await;
    let records: BTreeSet<_> =
        entries.iter().map(|it| (it.context.as_bytes().to_vec(), it.record_json.clone())).collect();
    let expected = [
        (b"a".to_vec(), record(1, UDP).to_json().into()),
        (b"b".to_vec(), changed_record(1, UDP).to_json().into()),
        (Vec::new(), record(2, TCP).to_json().into()),
    ];
    assert_eq!((entries.len(), records), (30, expected.into()));
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
    let mut export = store.export(NOW_MS);
    let mut entries = export.next().await.unwrap().unwrap();
    announce(&store, 1, 0..60_000, UDP).await;
    announce(&store, 1, 59_000..60_000, TCP).await;
    entries.extend(rest_of(export).await);
    let one = peer_id(1);
    let mut of_key: BTreeMap<_, Vec<&Exported>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.record_json.contains(&one)) {
        of_key.entry(&entry.key).or_default().push(entry);
    }
    assert_eq!(of_key.len(), 60_000);
    let unchanged = (0..1_000).flat_map(|number| &of_key[&key(number)]);
    assert!(unchanged.into_iter().all(|entry| entry.record_json.contains(UDP)));
    let others: BTreeSet<_> = entries
        .iter()
        .filter(|entry| !entry.record_json.contains(&one))
        .map(|entry| (&entry.key, &entry.record_json))
        .collect();
    assert_eq!(others.len(), 78 * 10);
}

/// Announces at random, and says which keys that changed.
async fn write_at_random(store: &DurableStore, random: &mut StdRng) -> std::ops::Range<u32> {
    let start = random.random_range(0..30_000);
    let keys = start..start + random.random_range(1..3_000);
    let addr = [TCP, UDP][random.random_range(0..2)];
    let peer = random.random_range(1..4);
    let announcement = Announcement {
        context: ContextId::new(&[random.random_range(0..2)]).unwrap(),
        expires_at_ms: (peer == 3).then_some(NOW_MS + 1_000_000),
        ..announcement(peer, keys.clone(), addr)
    };
    store.apply(vec![announcement], NOW_MS).await.unwrap();
    keys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_beside_a_writer_imports_in_any_order_as_what_did_not_change_meanwhile() {
    for seed in 0..2 {
        let mut random = StdRng::seed_from_u64(seed);
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), &ManualClock::new(NOW_MS));
        announce(&store, 4, 0..33_000, TCP).await;
        for _ in 0..40 {
            write_at_random(&store, &mut random).await;
        }
        let mut export = store.export(NOW_MS);
        let mut entries = export.next().await.unwrap().unwrap();
        let mut changed = BTreeSet::new();
        for round in 0..8 {
            changed.extend(write_at_random(&store, &mut random).await);
            if round % 2 == 0 {
                entries.extend(export.next().await.into_iter().flat_map(Result::unwrap));
            }
        }
        entries.extend(rest_of(export).await);
        entries.shuffle(&mut random);
        let copy = imported(&entries).await;
        let mut compared = 0;
        for number in 0..33_000 {
            let copied = answer(&copy, number, NOW_MS).await;
            assert!(!copied.is_empty(), "key {number}, seed {seed}");
            if !changed.contains(&number) {
                assert_eq!(
                    copied,
                    answer(&store, number, NOW_MS).await,
                    "key {number}, seed {seed}"
                );
                compared += 1;
            }
        }
        assert!(compared > 10_000, "{compared} keys did not change");
    }
}

#[tokio::test]
async fn of_announcements_that_lapse_one_before_another_the_longest_is_exported_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &ManualClock::new(NOW_MS));
    let until =
        |expires_at_ms, addr| Announcement { expires_at_ms, ..announcement(1, 0..10, addr) };
    store.apply(vec![until(None, TCP)], NOW_MS).await.unwrap();
    store.apply(vec![until(Some(NOW_MS + 1_000), UDP)], NOW_MS).await.unwrap();
    let entries = rest_of(store.export(NOW_MS)).await;
    assert_eq!(entries.len(), 20);
    let copy = imported(&entries).await;
    for now_ms in [NOW_MS, NOW_MS + 1_000] {
        assert_eq!(answer(&copy, 3, now_ms).await, answer(&store, 3, now_ms).await);
    }
}
