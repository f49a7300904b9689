//! What the battery of all stores of state (`tests/it/state.rs`) cannot see: the bytes, the commits,
//! disks that fail, and what a crash at any moment leaves.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use super::durable::OPTIONS;
use super::{
    ControlChange, ControlStore, ControlStoreError, ControlTable, DurableControl, Health, PAUSE_MS,
};
use crate::state::Medium;
use crate::state::test_medium::{Step, TestMedium};

const NOW_MS: u64 = 1_767_225_600_000;

fn open(medium: &TestMedium) -> DurableControl {
    DurableControl::open_on(medium.clone(), PathBuf::from("test")).unwrap()
}

fn set(table: ControlTable, key: &str, text: &str) -> ControlChange {
    ControlChange { table, key: key.to_owned(), text: Some(text.to_owned()) }
}

#[tokio::test]
async fn the_file_holds_what_its_documentation_draws() {
    let medium = TestMedium::default();
    let store = open(&medium);
    let names = ["static_routes", "routes", "rules", "budgets", "single"];
    let changes = ControlTable::ALL.into_iter().zip(names);
    store
        .write(changes.map(|(table, name)| set(table, "ä", name)).collect(), NOW_MS)
        .await
        .unwrap();
    assert_eq!(store.file_bytes(), medium.length());
    drop(store);
    let database = medium.open().unwrap();
    let transaction = database.begin_read().unwrap();
    assert_eq!(transaction.list_tables().unwrap().count(), names.len());
    for name in names {
        let table: TableDefinition<'_, &str, &str> = TableDefinition::new(name);
        let table = transaction.open_table(table).unwrap();
        let rows: Vec<_> = table.iter().unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].0.value(), rows[0].1.value()), ("ä", name));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_that_come_together_share_a_commit_and_reads_do_not_wait_for_it() {
    let medium = TestMedium::default();
    let store = open(&medium);
    let key = |number: u32| set(ControlTable::Budgets, &number.to_string(), "1");
    store.write(vec![key(0)], NOW_MS).await.unwrap();
    medium.hold();
    let before = medium.syncs();
    let writes = (1..=100).map(|number| store.write(vec![key(number)], NOW_MS));
    let mut writes = futures_util::future::join_all(writes);
    assert!((&mut writes).now_or_never().is_none(), "it is not durable yet");
    while !medium.is_waiting() {
        tokio::task::yield_now().await;
    }
    let budgets = store.read(ControlTable::Budgets).await.unwrap();
    assert_eq!(budgets.keys().collect::<Vec<_>>(), ["0"], "the others are not durable yet");
    medium.release();
    assert!(writes.await.into_iter().all(|written| written.is_ok()));
    let syncs = medium.syncs() - before;
    assert!(syncs <= 6, "{syncs} syncs for 100 lists: two for each commit");
    assert_eq!(store.read(ControlTable::Budgets).await.unwrap().len(), 101);
}

#[tokio::test]
async fn a_list_that_nobody_waits_for_is_written_all_the_same() {
    let medium = TestMedium::default();
    let store = open(&medium);
    drop(store.write(vec![set(ControlTable::Single, "a", "1")], NOW_MS));
    drop(store);
    assert_eq!(open(&medium).read(ControlTable::Single).await.unwrap()["a"], "1");
}

#[tokio::test]
async fn an_empty_list_costs_no_commit() {
    let medium = TestMedium::default();
    let store = open(&medium);
    let before = medium.steps_done();
    store.write(Vec::new(), NOW_MS).await.unwrap();
    assert_eq!(medium.steps_done(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_can_wait_are_refused() {
    let medium = TestMedium::default();
    let store = Arc::new(open(&medium));
    medium.hold();
    let count = 2 * OPTIONS.waiting_max;
    // All are handed over at once, whenever they are waited for.
    let key = |number: usize| set(ControlTable::Budgets, &number.to_string(), "1");
    let writes: Vec<_> = (0..count).map(|number| store.write(vec![key(number)], NOW_MS)).collect();
    medium.release();
    let results = futures_util::future::join_all(writes).await;
    let is_refused = |result: &Result<(), _>| matches!(result, Err(ControlStoreError::Overloaded));
    let refused = results.iter().filter(|result| is_refused(result)).count();
    assert!(refused > 0 && refused <= OPTIONS.waiting_max, "{refused}");
    let written: Vec<_> = (0..count).filter(|number| results[*number].is_ok()).collect();
    assert_eq!(written.len(), count - refused);
    let budgets = store.read(ControlTable::Budgets).await.unwrap();
    assert_eq!(budgets.len(), written.len());
    assert!(written.iter().all(|number| budgets.contains_key(&number.to_string())));
}

#[tokio::test]
async fn a_disk_that_fails_refuses_changes_loses_none_and_takes_them_again() {
    for failure in [ErrorKind::StorageFull, ErrorKind::Other] {
        let medium = TestMedium::default();
        let store = open(&medium);
        let write =
            |text: &str, at_ms| store.write(vec![set(ControlTable::Single, "a", text)], at_ms);
        write("1", NOW_MS).await.unwrap();
        medium.fail(Some(failure));
        let mut opened = Vec::new();
        for at_ms in [0, 1, PAUSE_MS, PAUSE_MS + 1].map(|later_ms| NOW_MS + later_ms) {
            let error = write("2", at_ms).await.unwrap_err();
            let is_full = matches!(error, ControlStoreError::NoSpace { .. });
            assert_eq!(is_full, failure == ErrorKind::StorageFull, "{error:?}");
            assert!(is_full || matches!(error, ControlStoreError::Io { .. }), "{error:?}");
            assert!(!store.health().is_writable);
            assert_eq!(store.read(ControlTable::Single).await.unwrap()["a"], "1", "reads go on");
            opened.push(medium.opened());
        }
        assert_eq!((opened[0], opened[2]), (opened[1], opened[3]), "the disk was left alone");
        assert!(opened[1] < opened[2], "it was tried again");
        medium.fail(None);
        write("3", NOW_MS - 10_000).await.unwrap();
        assert!(store.health().is_writable);
        assert_eq!(store.read(ControlTable::Single).await.unwrap()["a"], "3");
        drop(store);
        assert_eq!(open(&medium).read(ControlTable::Single).await.unwrap()["a"], "3");
    }
}

#[tokio::test]
async fn a_commit_that_fails_once_is_made_once_the_file_is_open_again() {
    // A commit has two syncs: of the data, and of what makes them count.
    for syncs in [0, 1] {
        let medium = TestMedium::default();
        let store = open(&medium);
        let write = |text: &str| store.write(vec![set(ControlTable::Single, "a", text)], NOW_MS);
        write("1").await.unwrap();
        let opened = medium.opened();
        medium.fail_late(syncs, false);
        write("2").await.unwrap();
        assert_eq!(medium.opened(), opened + 1, "it failed");
        assert!(store.health().is_writable);
        assert_eq!(store.read(ControlTable::Single).await.unwrap()["a"], "2");
        drop(store);
        assert_eq!(open(&medium).read(ControlTable::Single).await.unwrap()["a"], "2");
    }
}

#[tokio::test]
async fn of_a_change_that_fails_reads_say_what_a_restart_finds() {
    for (syncs, expected) in [(0, "1"), (1, "2")] {
        let medium = TestMedium::default();
        let store = open(&medium);
        let write = |text: &str| store.write(vec![set(ControlTable::Single, "a", text)], NOW_MS);
        write("1").await.unwrap();
        medium.fail_late(syncs, true);
        let error = write("2").await.unwrap_err();
        assert!(error.is_uncertain(), "{error:?}");
        assert_eq!(store.read(ControlTable::Single).await.unwrap()["a"], expected);
        drop(store);
        medium.fail(None);
        assert_eq!(open(&medium).read(ControlTable::Single).await.unwrap()["a"], expected);
    }
}

#[tokio::test]
async fn a_disk_that_is_full_at_the_start_is_read_and_written_when_there_is_room() {
    let medium = TestMedium::default();
    drop(open(&medium).write(vec![set(ControlTable::Single, "a", "1")], NOW_MS).await);
    medium.fail(Some(ErrorKind::StorageFull));
    let store = open(&medium);
    assert!(!store.health().is_writable);
    assert_eq!(store.read(ControlTable::Single).await.unwrap()["a"], "1");
    let refused = store.write(vec![set(ControlTable::Single, "a", "2")], NOW_MS).await;
    assert!(matches!(refused, Err(ControlStoreError::NoSpace { .. })), "{refused:?}");
    medium.fail(None);
    let later_ms = NOW_MS + PAUSE_MS;
    store.write(vec![set(ControlTable::Single, "a", "3")], later_ms).await.unwrap();
    assert!(store.health().is_writable);
    drop(store);
    assert_eq!(open(&medium).read(ControlTable::Single).await.unwrap()["a"], "3");
}

#[tokio::test]
async fn a_writer_that_died_is_named_and_fails_all_writes() {
    let medium = TestMedium::default();
    let store = open(&medium);
    store.write(vec![set(ControlTable::Single, "a", "1")], NOW_MS).await.unwrap();
    assert_eq!(store.health(), Health::good());
    medium.panic_once();
    for _ in 0..2 {
        let refused = store.write(vec![set(ControlTable::Single, "a", "2")], NOW_MS).await;
        assert!(matches!(refused, Err(ControlStoreError::Unavailable { .. })), "{refused:?}");
    }
    while store.health().is_ready {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.health(), Health::without_thread("state writer"));
    assert_eq!(store.read(ControlTable::Single).await.unwrap()["a"], "1", "reads go on");
}

/// Bytes of a sector, which a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What a crash after so many steps may leave: all that was synced, and any sectors of what was not.
fn image(steps: &[Step], random: &mut StdRng) -> Vec<u8> {
    let synced = steps.iter().rposition(|step| matches!(step, Step::Sync)).unwrap_or(0);
    let mut bytes: Vec<u8> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Sync => {}
            Step::Length(length) => bytes.resize(usize::try_from(*length).unwrap(), 0),
            Step::Write(offset, data) => {
                let start = usize::try_from(*offset).unwrap();
                for (sector, part) in data.chunks(SECTOR_BYTES).enumerate() {
                    if number < synced || random.random_bool(0.5) {
                        let start = start + sector * SECTOR_BYTES;
                        bytes[start..start + part.len()].copy_from_slice(part);
                    }
                }
            }
        }
    }
    bytes
}

/// The lists of the crash test: each changes several documents of several tables, so that a mixture of
/// two lists shows.
fn list(number: u32) -> Vec<ControlChange> {
    let text = format!("{number} {}", "x".repeat(usize::try_from(number * 37 % 5_000).unwrap()));
    let mut changes = vec![set(ControlTable::Single, "number", &number.to_string())];
    for table in ControlTable::ALL {
        changes.push(set(table, &format!("k{}", number % 7), &text));
        let key = format!("k{}", (number + 3) % 7);
        changes.push(ControlChange { table, key, text: None });
    }
    changes
}

async fn documents(store: &DurableControl) -> BTreeMap<(ControlTable, String), String> {
    let mut documents = BTreeMap::new();
    for table in ControlTable::ALL {
        let of_table = store.read(table).await.unwrap();
        documents.extend(of_table.into_iter().map(|(key, text)| ((table, key), text)));
    }
    documents
}

#[tokio::test]
async fn a_crash_at_any_moment_leaves_the_state_after_some_list_and_none_that_was_acknowledged_is_lost()
 {
    let medium = TestMedium::default();
    let store = open(&medium);
    let ready = medium.steps_done();
    let mut expected = vec![BTreeMap::new()];
    let mut acknowledged_at = vec![ready];
    for number in 1..=40 {
        store.write(list(number), NOW_MS).await.unwrap();
        acknowledged_at.push(medium.steps_done());
        expected.push(documents(&store).await);
    }
    let mut random = StdRng::seed_from_u64(7);
    let steps = medium.steps();
    for end in (ready..=steps.len()).step_by(5) {
        let crashed = TestMedium::of_bytes(image(&steps[..end], &mut random));
        let left = open(&crashed);
        let found = documents(&left).await;
        let number = expected.iter().rposition(|state| *state == found);
        let number = number.unwrap_or_else(|| panic!("a mixture after {end} steps"));
        let acknowledged = acknowledged_at.iter().rposition(|at| *at <= end).unwrap();
        assert!(
            (acknowledged..=acknowledged + 1).contains(&number),
            "{acknowledged} lists were acknowledged, {number} are there, after {end} steps"
        );
        left.write(list(41), NOW_MS).await.unwrap();
        drop(left);
        assert_eq!(open(&crashed).read(ControlTable::Single).await.unwrap()["number"], "41");
    }
}

#[tokio::test]
async fn a_file_that_was_damaged_is_refused_or_whole_and_never_half_believed() {
    let medium = TestMedium::default();
    let store = open(&medium);
    for number in 1..=40 {
        store.write(list(number), NOW_MS).await.unwrap();
    }
    let whole = documents(&store).await;
    drop(store);
    let mut random = StdRng::seed_from_u64(7);
    let mut refused = 0;
    for _ in 0..400 {
        let mut bytes = medium.bytes();
        for _ in 0..random.random_range(1..40) {
            let at = random.random_range(0..bytes.len());
            bytes[at] ^= 1 << random.random_range(0..8);
        }
        let damaged = TestMedium::of_bytes(bytes);
        match DurableControl::open_on(damaged, PathBuf::from("control.redb")) {
            Ok(store) => assert_eq!(documents(&store).await, whole),
            Err(error) => {
                let message = error.to_string();
                assert!(
                    message.contains("control.redb") && message.contains("put a copy back"),
                    "{message}"
                );
                refused += 1;
            }
        }
    }
    assert!(refused > 100, "{refused}");
}
