//! What the battery of all stores of names (`tests/it/ipns_store.rs`) cannot see: the bytes, the commits,
//! and disks that fail.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt;
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use super::durable::{DurableIpns, OPTIONS};
use super::file::{self, CACHE_BYTES};
use super::{IpnsLimits, IpnsPut, IpnsStore, IpnsStoreError};
use crate::state::test_medium::TestMedium;
use crate::state::{DiskMedium, Medium, PAUSE_MS};
use crate::types::ipns_testing::{name, record};
use crate::types::{IpnsName, Origin};

const NOW_MS: u64 = 1_767_225_600_000;
const LATER: &str = "2026-01-02T00:00:00Z";
const LATER_MS: u64 = NOW_MS + 86_400_000;
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("ipns_records");
const LAPSES: TableDefinition<'_, (u64, &[u8]), u64> = TableDefinition::new("ipns_lapses");
const NETWORKS: TableDefinition<'_, (u64, u64, &[u8]), ()> = TableDefinition::new("ipns_networks");
const ENDS_BEFORE: TableDefinition<'_, (u64, &[u8]), ()> = TableDefinition::new("ipns_ends");

/// Where records come from if it does not matter.
const HOME: Origin = Origin::UNKNOWN;

fn open(medium: &TestMedium) -> DurableIpns {
    open_limited(medium, IpnsLimits { records_max: 1_000, network_names_max: 1_000 })
}

fn open_limited(medium: &TestMedium, limits: IpnsLimits) -> DurableIpns {
    DurableIpns::open_on(medium.clone(), PathBuf::from("test"), limits).unwrap()
}

fn network(number: u8) -> Origin {
    Origin::of_client([192, 0, number, 1].into())
}

#[tokio::test]
async fn the_file_holds_what_its_documentation_draws() {
    let medium = TestMedium::default();
    let (store, name) = (open(&medium), name(1));
    let stored = record(&name, 7, "2026-01-02T00:00:00.0000001Z");
    store.put(record(&name, 6, LATER), HOME, NOW_MS - 5).await.unwrap();
    store.put(stored.clone(), network(2), NOW_MS).await.unwrap();
    drop(store);
    let database = medium.open().unwrap();
    let transaction = database.begin_read().unwrap();
    let records = transaction.open_table(RECORDS).unwrap();
    let rows: Vec<_> = records.iter().unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].0.value(), name.as_bytes());
    let value = [&[1][..], &NOW_MS.to_be_bytes(), stored.bytes()].concat();
    assert_eq!(rows[0].1.value(), value);
    let lapses = transaction.open_table(LAPSES).unwrap();
    let rows: Vec<_> = lapses.iter().unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 1);
    let bits = network(2).to_bits();
    assert_eq!(rows[0].0.value(), (LATER_MS + 1, name.as_bytes()));
    assert_eq!(rows[0].1.value(), bits);
    let networks = transaction.open_table(NETWORKS).unwrap();
    let rows: Vec<_> = networks.iter().unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].0.value(), (bits, LATER_MS + 1, name.as_bytes()));
}

#[tokio::test]
async fn what_was_stored_before_networks_were_counted_counts_as_one() {
    let medium = TestMedium::default();
    let store = open(&medium);
    for number in 0..4 {
        store.put(record(&name(number), 1, LATER), network(1), NOW_MS).await.unwrap();
    }
    drop(store);
    let database = medium.open().unwrap();
    let transaction = database.begin_write().unwrap();
    let rows: Vec<(u64, Vec<u8>)> = {
        let lapses = transaction.open_table(LAPSES).unwrap();
        let rows = lapses.iter().unwrap().map(Result::unwrap);
        rows.map(|(lapse, _)| (lapse.value().0, lapse.value().1.to_vec())).collect()
    };
    for (end_ms, name) in &rows {
        let mut before = transaction.open_table(ENDS_BEFORE).unwrap();
        before.insert((*end_ms, name.as_slice()), ()).unwrap();
    }
    transaction.delete_table(LAPSES).unwrap();
    transaction.delete_table(NETWORKS).unwrap();
    transaction.commit().unwrap();
    drop(database);
    for _ in 0..2 {
        let store = open_limited(&medium, IpnsLimits { records_max: 4, network_names_max: 4 });
        assert_eq!(store.stats().await.unwrap().records, 4);
        let refused = store.put(record(&name(9), 1, LATER), HOME, NOW_MS).await;
        assert!(matches!(refused, Err(IpnsStoreError::NetworkFull { .. })), "{refused:?}");
    }
    let store = open_limited(&medium, IpnsLimits { records_max: 4, network_names_max: 9 });
    let newcomer = store.put(record(&name(9), 1, LATER), network(2), NOW_MS).await.unwrap();
    assert_eq!((newcomer, store.stats().await.unwrap().records), (IpnsPut::Stored, 4));
    assert_eq!(store.sweep(LATER_MS).await.unwrap(), 4);
}

#[tokio::test]
async fn a_name_that_a_failing_disk_refused_is_not_counted() {
    let medium = TestMedium::default();
    let store = open_limited(&medium, IpnsLimits { records_max: 9, network_names_max: 2 });
    let put = async |number| {
        store.put(record(&name(number), 1, LATER), network(1), NOW_MS + u64::from(number)).await
    };
    put(0).await.unwrap();
    medium.fail(Some(ErrorKind::Other));
    assert!(put(1).await.is_err());
    medium.fail(None);
    assert_eq!(put(PAUSE_MS as u32 + 1).await.unwrap(), IpnsPut::Stored);
    let refused = put(PAUSE_MS as u32 + 2).await;
    assert!(matches!(refused, Err(IpnsStoreError::NetworkFull { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_come_together_share_a_commit_and_reads_do_not_wait_for_it() {
    let medium = TestMedium::default();
    let store = open(&medium);
    store.put(record(&name(0), 1, LATER), HOME, NOW_MS).await.unwrap();
    medium.hold();
    let before = medium.syncs();
    let puts = (1..=100).map(|number| store.put(record(&name(number), 1, LATER), HOME, NOW_MS));
    let mut puts = futures_util::future::join_all(puts);
    // The first poll hands all of them over.
    assert!((&mut puts).now_or_never().is_none(), "it is not durable yet");
    while !medium.is_waiting() {
        tokio::task::yield_now().await;
    }
    assert!(store.get(&name(0), NOW_MS).await.unwrap().is_some(), "a read waited for the disk");
    assert!(store.get(&name(1), NOW_MS).await.unwrap().is_none(), "it is not durable yet");
    medium.release();
    assert!(puts.await.into_iter().all(|put| matches!(put, Ok(IpnsPut::Stored))));
    let syncs = medium.syncs() - before;
    assert!(syncs <= 6, "{syncs} syncs for 100 records: two for each commit");
    assert_eq!(store.stats().await.unwrap().records, 101);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_can_wait_are_refused() {
    let medium = TestMedium::default();
    let store = Arc::new(open(&medium));
    medium.hold();
    let record = record(&name(1), 1, LATER);
    let tasks: Vec<_> = (0..2 * OPTIONS.waiting_max)
        .map(|_| {
            let (store, record) = (store.clone(), record.clone());
            tokio::spawn(async move { store.put(record, HOME, NOW_MS).await })
        })
        .collect();
    // Those that are refused end by themselves; the others wait for the disk.
    while !tasks.iter().any(|task| task.is_finished()) {
        tokio::task::yield_now().await;
    }
    medium.release();
    let mut refused = 0;
    for task in tasks {
        match task.await.unwrap() {
            Err(IpnsStoreError::Overloaded) => refused += 1,
            other => {
                assert!(matches!(other, Ok(IpnsPut::Stored | IpnsPut::Unchanged)), "{other:?}")
            }
        }
    }
    assert!(refused > 0 && refused <= OPTIONS.waiting_max, "{refused}");
}

#[tokio::test]
async fn a_disk_that_fails_refuses_records_loses_none_and_takes_them_again() {
    for failure in [ErrorKind::StorageFull, ErrorKind::Other] {
        let medium = TestMedium::default();
        let store = open(&medium);
        store.put(record(&name(1), 1, LATER), HOME, NOW_MS).await.unwrap();
        medium.fail(Some(failure));
        for number in 2..5 {
            let error = store.put(record(&name(number), 1, LATER), HOME, NOW_MS).await.unwrap_err();
            let is_full = matches!(error, IpnsStoreError::NoSpace { .. });
            assert_eq!(is_full, failure == ErrorKind::StorageFull, "{error:?}");
            assert!(is_full || matches!(error, IpnsStoreError::Io { .. }), "{error:?}");
        }
        assert!(store.stats().await.unwrap().is_failing);
        assert!(store.get(&name(1), NOW_MS).await.unwrap().is_some(), "reads go on");
        let later_ms = NOW_MS + PAUSE_MS;
        assert!(store.sweep(later_ms).await.is_err(), "the disk still fails");
        assert!(store.get(&name(1), NOW_MS).await.unwrap().is_some(), "reads go on");
        assert!(store.get(&name(2), NOW_MS).await.unwrap().is_none());
        let opened = medium.opened();
        medium.fail(None);
        assert!(store.sweep(later_ms + 1).await.is_err(), "the disk is left alone");
        assert_eq!(medium.opened(), opened);
        assert_eq!(store.sweep(later_ms + PAUSE_MS).await.unwrap(), 0);
        assert_eq!(medium.opened(), opened + 1);
        assert!(!store.stats().await.unwrap().is_failing);
        assert!(store.get(&name(1), NOW_MS).await.unwrap().is_some());
        assert_eq!(
            store.put(record(&name(2), 1, LATER), HOME, NOW_MS).await.unwrap(),
            IpnsPut::Stored
        );
        assert_eq!(store.stats().await.unwrap().records, 2);
    }
}

#[tokio::test]
async fn what_says_nothing_new_is_not_written() {
    let medium = TestMedium::default();
    let store = open(&medium);
    let newest = record(&name(1), 2, LATER);
    store.put(newest.clone(), HOME, NOW_MS).await.unwrap();
    let before = medium.syncs();
    assert_eq!(store.put(newest, HOME, NOW_MS).await.unwrap(), IpnsPut::Unchanged);
    let older = store.put(record(&name(1), 1, LATER), HOME, NOW_MS).await.unwrap();
    assert!(matches!(older, IpnsPut::Superseded { sequence: 2, .. }));
    assert_eq!(store.sweep(NOW_MS).await.unwrap(), 0);
    assert_eq!(medium.syncs(), before);
}

/// A store in which the record of a name has been damaged.
async fn with_an_unreadable_value(medium: &TestMedium, name: &IpnsName) -> DurableIpns {
    let store = open(medium);
    store.put(record(name, 1, LATER), HOME, NOW_MS).await.unwrap();
    drop(store);
    let database = medium.open().unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(RECORDS).unwrap().insert(name.as_bytes(), &[9_u8, 9][..]).unwrap();
    transaction.commit().unwrap();
    drop(database);
    open(medium)
}

#[tokio::test]
async fn a_value_that_cannot_be_read_is_an_error_and_can_be_replaced() {
    let (medium, name) = (TestMedium::default(), name(1));
    let store = with_an_unreadable_value(&medium, &name).await;
    let error = store.get(&name, NOW_MS).await.unwrap_err();
    assert!(error.to_string().contains("unknown layout"), "{error}");
    let much_later = record(&name, 1, "2027-01-01T00:00:00Z");
    assert_eq!(store.put(much_later, HOME, NOW_MS).await.unwrap(), IpnsPut::Stored);
    // The end of the one that could not be read is still there, and harmless.
    assert_eq!(store.sweep(LATER_MS).await.unwrap(), 1);
    assert!(store.get(&name, LATER_MS).await.unwrap().is_some());
    assert_eq!(store.stats().await.unwrap().records, 1);
}

#[tokio::test]
async fn a_value_that_cannot_be_read_leaves_no_row_behind_when_its_record_comes_again() {
    let (medium, name) = (TestMedium::default(), name(1));
    let store = with_an_unreadable_value(&medium, &name).await;
    let elsewhere = Origin::of_client([192, 0, 2, 1].into());
    let again = store.put(record(&name, 1, LATER), elsewhere, NOW_MS).await.unwrap();
    assert_eq!(again, IpnsPut::Stored);
    drop(store);
    let transaction = medium.open().unwrap().begin_write().unwrap();
    let rows = transaction.open_table(NETWORKS).unwrap().iter().unwrap().count();
    assert_eq!((rows, transaction.open_table(LAPSES).unwrap().iter().unwrap().count()), (1, 1));
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    std::fs::write(&path, [7; 5_000]).unwrap();
    assert!(file::open(DiskMedium { path, cache_bytes: CACHE_BYTES }, &Arc::default()).is_err());
}
