//! Fixtures of the redb files: what this version wrote must be readable for as long as there are
//! versions after it. They are gzipped: redb's smallest file is a megabyte, of zeros mostly.
//! `FINGERPOST_WRITE_FIXTURES=1` makes the test of what is written today write them.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use fingerpost::data_dir::DataDir;
use fingerpost::state::{ControlChange, ControlStore, ControlTable, DurableControl};
use fingerpost::store::{DurableIpns, IpnsLimits, IpnsPut, IpnsStore, IpnsStoreError};
use fingerpost::types::Origin;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use rstest::rstest;

use super::harness::NOW_MS;
use super::ipns_records::Publisher;

const FILES: [&str; 2] = ["control.redb", "state.redb"];
const LIMITS: IpnsLimits = IpnsLimits { records_max: 4, network_names_max: 2 };
const END: &str = "2026-01-02T00:00:00Z";

/// The version of what is written today: `state.redb` has networks since 2.
const VERSION: u32 = 2;

fn fixture(version: u32, name: &str) -> PathBuf {
    let path = format!("tests/fixtures/redb-v{version}/{name}.gz");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn open(folder: &Path) -> (DurableControl, DurableIpns) {
    let data_dir = DataDir::lock(folder).unwrap();
    (DurableControl::open(&data_dir).unwrap(), DurableIpns::open(&data_dir, LIMITS).unwrap())
}

/// A document of each table, and one that was replaced.
fn documents() -> Vec<(ControlTable, String)> {
    let text = |number: usize| format!(r#"{{"number":{number}}}"#);
    ControlTable::ALL.into_iter().enumerate().map(|(number, table)| (table, text(number))).collect()
}

/// Where the records come from.
fn home() -> Origin {
    Origin::of_client([192, 0, 2, 1].into())
}

async fn fill(state: &DurableControl, names: &DurableIpns) {
    for is_last in [false, true] {
        let text = |text: &String| if is_last { text.clone() } else { "before".to_owned() };
        let change = |(table, last): &(ControlTable, String)| ControlChange {
            table: *table,
            key: "g.ä".to_owned(),
            text: Some(text(last)),
        };
        state.write(documents().iter().map(change).collect(), NOW_MS).await.unwrap();
    }
    for number in 1..=2 {
        let record = Publisher::ed25519(number).record(u64::from(number), END);
        assert_eq!(names.put(record, home(), NOW_MS - 7).await.unwrap(), IpnsPut::Stored);
    }
}

async fn check(state: &DurableControl, names: &DurableIpns) {
    for (table, text) in documents() {
        let held = state.read(table).await.unwrap();
        assert_eq!((held.len(), &held["g.ä"]), (1, &text));
    }
    for number in 1..=2 {
        let publisher = Publisher::ed25519(number);
        let stored = names.get(&publisher.name, NOW_MS).await.unwrap().unwrap();
        assert_eq!(
            (stored.record.sequence(), stored.stored_at_ms),
            (u64::from(number), NOW_MS - 7)
        );
    }
    assert_eq!(names.stats().await.unwrap().records, 2);
}

#[rstest]
#[tokio::test]
async fn the_redb_files_of_every_version_are_read_and_go_on(#[values(1, 2)] version: u32) {
    let folder = tempfile::tempdir().unwrap();
    for name in FILES {
        let mut bytes = Vec::new();
        let file = File::open(fixture(version, name)).unwrap();
        GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    for _ in 0..2 {
        let (state, names) = open(folder.path());
        check(&state, &names).await;
        let (key, text) = ("g.ä".to_owned(), Some("goes on".to_owned()));
        let change = ControlChange { table: ControlTable::Rules, key: key.clone(), text };
        state.write(vec![change], NOW_MS).await.unwrap();
        let back = documents().into_iter().find(|(table, _)| *table == ControlTable::Rules);
        let back = back.map(|(_, text)| text);
        let change = ControlChange { table: ControlTable::Rules, key, text: back };
        state.write(vec![change], NOW_MS).await.unwrap();
        // Of version 1 nobody knows where the records came from.
        let origin = if version == 1 { Origin::UNKNOWN } else { home() };
        let refused = names.put(Publisher::ed25519(3).record(1, END), origin, NOW_MS).await;
        assert!(matches!(refused, Err(IpnsStoreError::NetworkFull { .. })), "{refused:?}");
    }
    let (_, names) = open(folder.path());
    let elsewhere = Origin::of_client([198, 51, 100, 1].into());
    let put = names.put(Publisher::ed25519(3).record(1, END), elsewhere, NOW_MS).await;
    assert_eq!(put.unwrap(), IpnsPut::Stored);
}

#[tokio::test]
async fn what_is_written_today_reads_as_the_redb_fixtures_do() {
    let folder = tempfile::tempdir().unwrap();
    let (state, names) = open(folder.path());
    fill(&state, &names).await;
    drop((state, names));
    let (state, names) = open(folder.path());
    check(&state, &names).await;
    drop((state, names));
    if std::env::var_os("FINGERPOST_WRITE_FIXTURES").is_some() {
        write_fixtures(folder.path());
    }
}

/// A version's fixtures are written once.
fn write_fixtures(folder: &Path) {
    std::fs::create_dir_all(fixture(VERSION, "").parent().unwrap()).unwrap();
    for name in FILES {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let mut encoder =
            GzEncoder::new(File::create(fixture(VERSION, name)).unwrap(), Compression::best());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap();
    }
}
