//! The battery that every [`NameStore`] passes. A promise of the trait's documentation is a test here;
//! a new implementation is one more [`Kind`].

use std::sync::Arc;

use fingerpost::data_dir::DataDir;
use fingerpost::store::{DurableNames, MemoryNames, NamePut, NameStore, NamesError};
use fingerpost::types::EndOfValidity;
use rstest::rstest;
use tempfile::TempDir;

use super::harness::NOW_MS;
use super::ipns_records::Publisher;

const DAY_MS: u64 = 86_400_000;
const ONE_DAY: &str = "2026-01-02T00:00:00Z";
const TWO_DAYS: &str = "2026-01-03T00:00:00Z";

/// How many names the stores of the battery take.
const RECORDS_MAX: u64 = 3;

/// The stores.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Memory,
    Durable,
}

/// An empty store, and the folder of its file.
struct Built {
    store: Arc<dyn NameStore>,
    _folder: TempDir,
}

impl Kind {
    fn build(self) -> Built {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn NameStore> = match self {
            Self::Memory => Arc::new(MemoryNames::new(RECORDS_MAX)),
            Self::Durable => Arc::new(open(&folder)),
        };
        Built { store, _folder: folder }
    }
}

fn open(folder: &TempDir) -> DurableNames {
    DurableNames::open(&DataDir::lock(folder.path()).unwrap(), RECORDS_MAX).unwrap()
}

/// The sequence and the end of what is found.
async fn found(
    store: &Arc<dyn NameStore>,
    publisher: &Publisher,
    now_ms: u64,
) -> Option<(u64, EndOfValidity)> {
    let stored = store.get(&publisher.name, now_ms).await.unwrap()?;
    Some((stored.record.sequence(), stored.record.end_of_validity()))
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_is_found_when_put_returns(#[values(Kind::Memory, Kind::Durable)] kind: Kind) {
    let Built { store, _folder } = kind.build();
    let publisher = Publisher::ed25519(1);
    assert_eq!(found(&store, &publisher, NOW_MS).await, None);
    let record = publisher.record(1, ONE_DAY);
    assert_eq!(store.put(record.clone(), NOW_MS + 5).await.unwrap(), NamePut::Stored);
    let stored = store.get(&publisher.name, NOW_MS + 9).await.unwrap().unwrap();
    assert_eq!((stored.record, stored.stored_at_ms), (record, NOW_MS + 5));
    assert_eq!(found(&store, &Publisher::ed25519(2), NOW_MS).await, None);
    assert_eq!(store.stats().await.unwrap().records, 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_higher_sequence_replaces_and_a_lower_one_is_refused(
    #[values(Kind::Memory, Kind::Durable)] kind: Kind,
) {
    let Built { store, _folder } = kind.build();
    let publisher = Publisher::ed25519(1);
    store.put(publisher.record(5, TWO_DAYS), NOW_MS).await.unwrap();
    let newer = publisher.record(6, ONE_DAY);
    assert_eq!(store.put(newer.clone(), NOW_MS).await.unwrap(), NamePut::Stored);
    let refused = store.put(publisher.record(5, TWO_DAYS), NOW_MS).await.unwrap();
    let end = newer.end_of_validity();
    assert_eq!(refused, NamePut::Superseded { sequence: 6, end });
    assert_eq!(found(&store, &publisher, NOW_MS).await, Some((6, end)));
    assert_eq!(store.stats().await.unwrap().records, 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_one_sequence_the_later_end_counts(#[values(Kind::Memory, Kind::Durable)] kind: Kind) {
    let Built { store, _folder } = kind.build();
    let publisher = Publisher::ed25519(1);
    let ends = ["2026-01-02T00:00:00Z", "2026-01-02T00:00:00.000000001Z", TWO_DAYS];
    for end in ends {
        let put = store.put(publisher.record(1, end), NOW_MS).await.unwrap();
        assert_eq!(put, NamePut::Stored, "{end}");
    }
    for end in &ends[..2] {
        let put = store.put(publisher.record(1, end), NOW_MS).await.unwrap();
        assert!(matches!(put, NamePut::Superseded { .. }), "{end}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_again_changes_nothing(#[values(Kind::Memory, Kind::Durable)] kind: Kind) {
    let Built { store, _folder } = kind.build();
    let publisher = Publisher::ed25519(1);
    store.put(publisher.record(1, ONE_DAY), NOW_MS).await.unwrap();
    let again = store.put(publisher.record(1, ONE_DAY), NOW_MS + 1_000).await.unwrap();
    assert_eq!(again, NamePut::Unchanged);
    let stored = store.get(&publisher.name, NOW_MS + 1_000).await.unwrap().unwrap();
    assert_eq!(stored.stored_at_ms, NOW_MS, "it is as old as it was");
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_order_of_puts_ends_with_the_same_record(
    #[values(Kind::Memory, Kind::Durable)] kind: Kind,
) {
    let Built { store, _folder } = kind.build();
    let moves = [(1, ONE_DAY), (1, TWO_DAYS), (2, ONE_DAY)];
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for (number, order) in orders.into_iter().enumerate() {
        let publisher = Publisher::ed25519(u32::try_from(number).unwrap() % 3);
        let base = 10 * number as u64;
        for at in order {
            let (sequence, end) = moves[at];
            store.put(publisher.record(base + sequence, end), NOW_MS).await.unwrap();
        }
        let expected = publisher.record(base + 2, ONE_DAY).end_of_validity();
        assert_eq!(found(&store, &publisher, NOW_MS).await, Some((base + 2, expected)));
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_record_is_not_found_and_anything_replaces_it(
    #[values(Kind::Memory, Kind::Durable)] kind: Kind,
) {
    let Built { store, _folder } = kind.build();
    let publisher = Publisher::ed25519(1);
    store.put(publisher.record(9, ONE_DAY), NOW_MS).await.unwrap();
    let end_ms = NOW_MS + DAY_MS;
    assert!(found(&store, &publisher, end_ms - 1).await.is_some());
    assert_eq!(found(&store, &publisher, end_ms).await, None);
    let put = store.put(publisher.record(1, TWO_DAYS), end_ms).await.unwrap();
    assert_eq!(put, NamePut::Stored);
    assert_eq!(found(&store, &publisher, end_ms).await.map(|(sequence, _)| sequence), Some(1));
    assert_eq!(store.sweep(end_ms).await.unwrap(), 0, "the end of the first one went with it");
    assert_eq!(store.stats().await.unwrap().records, 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_frees_what_has_expired_and_nothing_else(
    #[values(Kind::Memory, Kind::Durable)] kind: Kind,
) {
    let Built { store, _folder } = kind.build();
    let (short, long) = (Publisher::ed25519(1), Publisher::ed25519(2));
    store.put(short.record(1, ONE_DAY), NOW_MS).await.unwrap();
    store.put(long.record(1, TWO_DAYS), NOW_MS).await.unwrap();
    assert_eq!(store.sweep(NOW_MS + DAY_MS - 1).await.unwrap(), 0);
    assert_eq!(store.stats().await.unwrap().records, 2);
    assert_eq!(store.sweep(NOW_MS + DAY_MS).await.unwrap(), 1);
    assert_eq!(store.stats().await.unwrap().records, 1);
    assert!(found(&store, &long, NOW_MS + DAY_MS).await.is_some());
    assert_eq!(found(&store, &short, NOW_MS).await, None);
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_refuses_new_names_until_old_ones_expire(
    #[values(Kind::Memory, Kind::Durable)] kind: Kind,
) {
    let Built { store, _folder } = kind.build();
    store.put(Publisher::ed25519(0).record(1, ONE_DAY), NOW_MS).await.unwrap();
    for number in 1..3 {
        store.put(Publisher::ed25519(number).record(1, TWO_DAYS), NOW_MS).await.unwrap();
    }
    let newcomer = Publisher::ed25519(3);
    let refused = store.put(newcomer.record(1, TWO_DAYS), NOW_MS).await;
    assert!(matches!(refused, Err(NamesError::Full { records_max: RECORDS_MAX })), "{refused:?}");
    let known = store.put(Publisher::ed25519(1).record(2, TWO_DAYS), NOW_MS).await.unwrap();
    assert_eq!(known, NamePut::Stored, "a known name needs no room");
    let later_ms = NOW_MS + DAY_MS;
    assert_eq!(
        store.put(newcomer.record(1, TWO_DAYS), later_ms).await.unwrap(),
        NamePut::Stored,
        "an expired one made room"
    );
    assert_eq!(store.stats().await.unwrap().records, RECORDS_MAX);
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_at_once_leave_the_record_that_counts(
    #[values(Kind::Memory, Kind::Durable)] kind: Kind,
) {
    let Built { store, _folder } = kind.build();
    let tasks: Vec<_> = (1..=60)
        .map(|sequence| {
            let store = store.clone();
            // Some order that is not that of the sequences.
            let record = Publisher::ed25519(1).record(sequence * 37 % 61, ONE_DAY);
            tokio::spawn(async move { store.put(record, NOW_MS).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let newest = found(&store, &Publisher::ed25519(1), NOW_MS).await;
    assert_eq!(newest.map(|(sequence, _)| sequence), Some(60));
}

#[tokio::test]
async fn a_store_that_is_opened_again_holds_what_it_held() {
    let folder = tempfile::tempdir().unwrap();
    let publisher = Publisher::ed25519(1);
    let store = open(&folder);
    store.put(publisher.record(3, ONE_DAY), NOW_MS).await.unwrap();
    let before = store.get(&publisher.name, NOW_MS).await.unwrap();
    drop(store);
    let store = open(&folder);
    assert_eq!(store.get(&publisher.name, NOW_MS).await.unwrap(), before);
    assert!(
        before.is_some()
            && store.stats().await.unwrap().records == 1
            && store.stats().await.unwrap().file_bytes > 0
    );
}
