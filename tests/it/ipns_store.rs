//! The battery that every [`IpnsStore`] passes. A promise of the trait's documentation is a test here;
//! a new implementation is one more [`Kind`].

use std::ops::Range;
use std::sync::Arc;

use fingerpost::data_dir::DataDir;
use fingerpost::store::{DurableIpns, IpnsLimits, IpnsPut, IpnsStore, IpnsStoreError, MemoryIpns};
use fingerpost::types::{EndOfValidity, Origin};
use rstest::rstest;
use tempfile::TempDir;

use super::harness::NOW_MS;
use super::ipns_records::Publisher;

const DAY_MS: u64 = 86_400_000;
const ONE_DAY: &str = "2026-01-02T00:00:00Z";
const TWO_DAYS: &str = "2026-01-03T00:00:00Z";

/// How many names the stores of the battery take, where a test does not say otherwise.
const RECORDS_MAX: u64 = 3;
const FEW: IpnsLimits = IpnsLimits { records_max: RECORDS_MAX, network_names_max: u64::MAX };

/// Where records come from if it does not matter.
const HOME: Origin = Origin::UNKNOWN;

/// The stores.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Memory,
    Durable,
}

/// An empty store, and the folder of its file.
struct Built {
    store: Arc<dyn IpnsStore>,
    _folder: TempDir,
}

impl Kind {
    fn build(self) -> Built {
        self.limited(FEW)
    }

    fn limited(self, limits: IpnsLimits) -> Built {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn IpnsStore> = match self {
            Self::Memory => Arc::new(MemoryIpns::new(limits)),
            Self::Durable => Arc::new(open(&folder, limits)),
        };
        Built { store, _folder: folder }
    }
}

fn open(folder: &TempDir, limits: IpnsLimits) -> DurableIpns {
    DurableIpns::open(&DataDir::lock(folder.path()).unwrap(), limits).unwrap()
}

fn network(number: u8) -> Origin {
    Origin::of_client([198, 51, number, 1].into())
}

/// Puts the first records of these names. Returns how many were taken.
async fn flood(store: &dyn IpnsStore, from: Origin, names: Range<u32>, end: &str) -> usize {
    let mut taken = 0;
    for number in names {
        let put = store.put(Publisher::ed25519(number).record(1, end), from, NOW_MS).await;
        taken += usize::from(matches!(put, Ok(IpnsPut::Stored)));
    }
    taken
}

async fn has(store: &dyn IpnsStore, number: u32) -> bool {
    store.get(&Publisher::ed25519(number).name, NOW_MS).await.unwrap().is_some()
}

/// The sequence and the end of what is found.
async fn found(
    store: &Arc<dyn IpnsStore>,
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
    assert_eq!(store.put(record.clone(), HOME, NOW_MS + 5).await.unwrap(), IpnsPut::Stored);
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
    store.put(publisher.record(5, TWO_DAYS), HOME, NOW_MS).await.unwrap();
    let newer = publisher.record(6, ONE_DAY);
    assert_eq!(store.put(newer.clone(), HOME, NOW_MS).await.unwrap(), IpnsPut::Stored);
    let refused = store.put(publisher.record(5, TWO_DAYS), HOME, NOW_MS).await.unwrap();
    let end = newer.end_of_validity();
    assert_eq!(refused, IpnsPut::Superseded { sequence: 6, end });
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
        let put = store.put(publisher.record(1, end), HOME, NOW_MS).await.unwrap();
        assert_eq!(put, IpnsPut::Stored, "{end}");
    }
    for end in &ends[..2] {
        let put = store.put(publisher.record(1, end), HOME, NOW_MS).await.unwrap();
        assert!(matches!(put, IpnsPut::Superseded { .. }), "{end}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_again_changes_nothing(#[values(Kind::Memory, Kind::Durable)] kind: Kind) {
    let Built { store, _folder } = kind.build();
    let publisher = Publisher::ed25519(1);
    store.put(publisher.record(1, ONE_DAY), HOME, NOW_MS).await.unwrap();
    let again = store.put(publisher.record(1, ONE_DAY), HOME, NOW_MS + 1_000).await.unwrap();
    assert_eq!(again, IpnsPut::Unchanged);
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
            store.put(publisher.record(base + sequence, end), HOME, NOW_MS).await.unwrap();
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
    store.put(publisher.record(9, ONE_DAY), HOME, NOW_MS).await.unwrap();
    let end_ms = NOW_MS + DAY_MS;
    assert!(found(&store, &publisher, end_ms - 1).await.is_some());
    assert_eq!(found(&store, &publisher, end_ms).await, None);
    let put = store.put(publisher.record(1, TWO_DAYS), HOME, end_ms).await.unwrap();
    assert_eq!(put, IpnsPut::Stored);
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
    store.put(short.record(1, ONE_DAY), HOME, NOW_MS).await.unwrap();
    store.put(long.record(1, TWO_DAYS), HOME, NOW_MS).await.unwrap();
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
    store.put(Publisher::ed25519(0).record(1, ONE_DAY), HOME, NOW_MS).await.unwrap();
    for number in 1..3 {
        store.put(Publisher::ed25519(number).record(1, TWO_DAYS), HOME, NOW_MS).await.unwrap();
    }
    let newcomer = Publisher::ed25519(3);
    let refused = store.put(newcomer.record(1, TWO_DAYS), HOME, NOW_MS).await;
    assert!(
        matches!(refused, Err(IpnsStoreError::Full { records_max: RECORDS_MAX })),
        "{refused:?}"
    );
    let known = store.put(Publisher::ed25519(1).record(2, TWO_DAYS), HOME, NOW_MS).await.unwrap();
    assert_eq!(known, IpnsPut::Stored, "a known name needs no room");
    let later_ms = NOW_MS + DAY_MS;
    assert_eq!(
        store.put(newcomer.record(1, TWO_DAYS), HOME, later_ms).await.unwrap(),
        IpnsPut::Stored,
        "an expired one made room"
    );
    assert_eq!(store.stats().await.unwrap().records, RECORDS_MAX);
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_has_a_quota_of_names_that_is_counted_down_as_they_lapse(
    #[values(Kind::Memory, Kind::Durable)] kind: Kind,
) {
    let limits = IpnsLimits { records_max: 100, network_names_max: 5 };
    let Built { store, _folder } = kind.limited(limits);
    assert_eq!(flood(&*store, network(1), 0..2, ONE_DAY).await, 2);
    assert_eq!(flood(&*store, network(1), 2..20, TWO_DAYS).await, 3);
    let newcomer = Publisher::ed25519(20);
    let refused = store.put(newcomer.record(1, TWO_DAYS), network(1), NOW_MS).await;
    assert!(
        matches!(refused, Err(IpnsStoreError::NetworkFull { network_names_max: 5 })),
        "{refused:?}"
    );
    let known = store.put(Publisher::ed25519(2).record(2, TWO_DAYS), network(1), NOW_MS).await;
    assert_eq!(known.unwrap(), IpnsPut::Stored, "a name that is there needs no room");
    let found = store.put(Publisher::ed25519(2).record(3, TWO_DAYS), Origin::UNKNOWN, NOW_MS).await;
    assert_eq!(found.unwrap(), IpnsPut::Stored);
    assert_eq!(flood(&*store, network(1), 2..20, TWO_DAYS).await, 0, "it counts where it did");
    assert_eq!(flood(&*store, network(2), 20..30, TWO_DAYS).await, 5, "another has its own");
    assert_eq!(flood(&*store, Origin::OPERATOR, 30..40, TWO_DAYS).await, 10, "it has none");
    let later_ms = NOW_MS + DAY_MS;
    for number in 50..52 {
        let put = Publisher::ed25519(number).record(1, TWO_DAYS);
        assert_eq!(store.put(put, network(1), later_ms).await.unwrap(), IpnsPut::Stored);
    }
    let put = Publisher::ed25519(52).record(1, TWO_DAYS);
    assert!(store.put(put, network(1), later_ms).await.is_err());
    assert_eq!(store.stats().await.unwrap().records, 20);
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_networks_that_hand_names_to_each_other_have_no_more_than_their_quotas(
    #[values(Kind::Memory, Kind::Durable)] kind: Kind,
) {
    let limits = IpnsLimits { records_max: 100, network_names_max: 5 };
    let Built { store, _folder } = kind.limited(limits);
    let mut taken = 0;
    for round in 0..4_u32 {
        taken += flood(&*store, network(1), round * 10..round * 10 + 10, TWO_DAYS).await;
        for number in 0..40 {
            let known = Publisher::ed25519(number);
            if has(&*store, number).await {
                let newer = known.record(2 + u64::from(round), TWO_DAYS);
                assert_eq!(store.put(newer, network(2), NOW_MS).await.unwrap(), IpnsPut::Stored);
            }
        }
    }
    assert_eq!((taken, store.stats().await.unwrap().records), (10, 10));
    assert_eq!(flood(&*store, network(1), 50..60, TWO_DAYS).await, 0);
    assert_eq!(flood(&*store, network(2), 50..60, TWO_DAYS).await, 0);
    assert_eq!(flood(&*store, network(3), 50..60, TWO_DAYS).await, 5);
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_takes_names_of_light_networks_and_evicts_what_the_heaviest_has_soonest(
    #[values(Kind::Memory, Kind::Durable)] kind: Kind,
) {
    let limits = IpnsLimits { records_max: 20, network_names_max: 12 };
    let Built { store, _folder } = kind.limited(limits);
    assert_eq!(flood(&*store, network(1), 0..4, TWO_DAYS).await, 4);
    assert_eq!(flood(&*store, network(2), 10..15, TWO_DAYS).await, 5);
    assert_eq!(flood(&*store, network(2), 15..18, ONE_DAY).await, 3);
    assert_eq!(flood(&*store, network(2), 18..22, TWO_DAYS).await, 4);
    assert_eq!(flood(&*store, Origin::OPERATOR, 30..34, ONE_DAY).await, 4);
    // Full: 4, 12 and the operator's 4. Another may have as many as half of what the heaviest is left.
    assert_eq!(flood(&*store, network(3), 40..60, TWO_DAYS).await, 4);
    let left = async |names: Range<u32>| {
        let mut left = Vec::new();
        for number in names {
            left.push(has(&*store, number).await);
        }
        left
    };
    assert_eq!(left(0..4).await, [true; 4], "a light one keeps its names");
    assert_eq!(left(30..34).await, [true; 4], "the operator's stay");
    assert_eq!(left(15..18).await, [false; 3], "those that lapse first go first");
    assert_eq!(left(10..15).await.iter().chain(&left(18..22).await).filter(|it| **it).count(), 8);
    assert_eq!(flood(&*store, network(1), 60..70, TWO_DAYS).await, 0, "it has half already");
    let refused = Publisher::ed25519(70).record(1, TWO_DAYS);
    let refused = store.put(refused, network(2), NOW_MS).await;
    assert!(matches!(refused, Err(IpnsStoreError::Full { records_max: 20 })), "{refused:?}");
    assert_eq!(flood(&*store, Origin::OPERATOR, 80..84, TWO_DAYS).await, 4);
    assert_eq!(store.stats().await.unwrap().records, 20);
    assert_eq!(left(30..34).await, [true; 4]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_names_from_any_number_of_networks_locks_nobody_out(
    #[values(Kind::Memory, Kind::Durable)] kind: Kind,
) {
    for networks in [1, 20] {
        let limits = IpnsLimits { records_max: 200, network_names_max: 40 };
        let Built { store, _folder } = kind.limited(limits);
        let mut taken = 0;
        for from in 0..networks {
            let names = u32::from(from) * 50..u32::from(from) * 50 + 50;
            taken += flood(&*store, network(from), names, TWO_DAYS).await;
        }
        assert!(taken >= if networks == 1 { 40 } else { 200 }, "{networks}: {taken}");
        assert_eq!(flood(&*store, network(99), 2_000..2_003, ONE_DAY).await, 3, "{networks}");
        assert!(store.stats().await.unwrap().records <= 200);
    }
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
            tokio::spawn(async move { store.put(record, HOME, NOW_MS).await.unwrap() })
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
    let store = open(&folder, FEW);
    store.put(publisher.record(3, ONE_DAY), HOME, NOW_MS).await.unwrap();
    let before = store.get(&publisher.name, NOW_MS).await.unwrap();
    drop(store);
    let store = open(&folder, FEW);
    assert_eq!(store.get(&publisher.name, NOW_MS).await.unwrap(), before);
    assert!(
        before.is_some()
            && store.stats().await.unwrap().records == 1
            && store.stats().await.unwrap().file_bytes > 0
    );
}

#[tokio::test]
async fn quotas_of_networks_count_what_a_restart_brings_back() {
    let folder = tempfile::tempdir().unwrap();
    let limits = IpnsLimits { records_max: 100, network_names_max: 5 };
    let store = open(&folder, limits);
    assert_eq!(flood(&store, network(1), 0..4, TWO_DAYS).await, 4);
    drop(store);
    let store = open(&folder, limits);
    assert_eq!(flood(&store, network(1), 4..9, TWO_DAYS).await, 1);
    assert_eq!(flood(&store, network(2), 10..19, TWO_DAYS).await, 5);
    drop(store);
    let store = open(&folder, IpnsLimits { network_names_max: 3, ..limits });
    assert_eq!(store.stats().await.unwrap().records, 10, "a smaller quota takes nothing away");
    assert_eq!(flood(&store, network(1), 20..21, TWO_DAYS).await, 0);
}
