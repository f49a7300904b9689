//! The journal from outside: fixtures of every version of its format, which must be readable for
//! ever.
//!
//! A fixture is written once, when its version is made: `FINGERPOST_WRITE_FIXTURES=1 cargo test
//! --test it journal` writes the one of the current version.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use fingerpost::clock::{Clock, ManualClock};
use fingerpost::data_dir::DataDir;
use fingerpost::journal::{
    AddrsChange, Change, CompanionChange, CompanionsChange, GroupDefinition, Journal, JournalEntry,
    JournalOptions, RecordChange, VisibilityChange, inspect_segment, repair,
};
use fingerpost::types::{ContentKey, Origin};

/// 1 January 2100, in milliseconds.
const FAR_MS: u64 = 4_102_444_800_000;

fn options(directory: &Path) -> JournalOptions {
    let mut options = JournalOptions::new(DataDir::lock(directory).unwrap());
    options.segment_bytes = 1_024;
    options.compaction_garbage_bytes_min = 1;
    options.clock = Clock::Manual(ManualClock::new(1_000));
    options
}

fn group(serial: u64) -> Arc<GroupDefinition> {
    Arc::new(GroupDefinition {
        serial,
        context: vec![0xff, serial as u8].into(),
        record_json: format!(r#"{{"Schema":"peer","ID":"provider {serial}"}}"#).into(),
        expires_at_ms: (serial == 4).then_some(FAR_MS),
        origin: Origin::UNKNOWN,
        since_ms: 0,
    })
}

/// Twelve keys: digests of 32, 64 and 5 bytes, and one that is empty.
fn keys(serial: u64) -> Vec<ContentKey> {
    let multihash = |code: u8, length: usize, number: u8| {
        let digest = (0..length).map(|at| number.wrapping_mul(31).wrapping_add(at as u8));
        let bytes: Vec<u8> = [code, length as u8].into_iter().chain(digest).collect();
        ContentKey::from_multihash(&bytes).unwrap()
    };
    let numbers = (0..9).map(|number| multihash(0x12, 32, number + serial as u8));
    let others = [multihash(0x13, 64, 1), multihash(0x00, 5, 2), multihash(0x00, 0, 3)];
    numbers.chain(others).collect()
}

/// Since version 3 a group says who announced it and since when.
fn with_origin(serial: u64) -> GroupDefinition {
    let origins = [
        Origin::OPERATOR,
        Origin::of_client([192, 0, 2, 1].into()),
        Origin::of_client(Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, 3).into()),
    ];
    let origin = origins[serial as usize % origins.len()];
    GroupDefinition { origin, since_ms: FAR_MS - serial, ..(*group(serial)).clone() }
}

/// What is written since version 2: three statements of a provider, and a context's record.
fn changes() -> [Change; 4] {
    let stated = |stamp: u64, addrs: &[&str]| {
        Change::Addrs(AddrsChange {
            stamp,
            provider: "provider 1".into(),
            stated_at_ms: FAR_MS + stamp,
            addrs: addrs.iter().map(|addr| (*addr).into()).collect(),
        })
    };
    let record = RecordChange {
        stamp: 13,
        provider: "provider 3".into(),
        context: vec![0xff, 3].into(),
        record_json: r#"{"Schema":"peer","ID":"provider 3","Protocols":["new"]}"#.into(),
    };
    [
        stated(10, &["/ip4/192.0.2.1/tcp/1"]),
        stated(12, &["/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.2/udp/2/quic-v1"]),
        stated(11, &[]),
        Change::Record(record),
    ]
}

/// What is written since version 3: that a provider is hidden, and companions of a context.
fn provider_changes() -> [Change; 3] {
    let visibility = |stamp, is_hidden| {
        let provider = "provider 1".into();
        Change::Visibility(VisibilityChange { stamp, provider, is_hidden })
    };
    let companion = |name: &str, has_providers_protocols| CompanionChange {
        record_json: format!(r#"{{"Schema":"peer","ID":"{name}"}}"#).into(),
        has_providers_protocols,
    };
    let companions = CompanionsChange {
        stamp: 16,
        provider: "provider 1".into(),
        context: Some(vec![0xff, 1].into()),
        overrides: true,
        companions: vec![companion("provider 6", false), companion("provider 7", true)],
    };
    [visibility(14, true), visibility(15, false), Change::Companions(companions)]
}

/// Groups 1 to 5 of which 2 and 5 ended, and changes, over several segments, one of them compacted.
fn write(directory: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let journal = Journal::open(options(directory)).unwrap().journal;
    let append = |entries| drop(runtime.block_on(journal.append(entries)).unwrap());
    for serial in 1..=4 {
        append(vec![JournalEntry::Keys {
            group: Arc::new(with_origin(serial)),
            keys: keys(serial),
        }]);
    }
    let [first, second, third, record] = changes().map(JournalEntry::Change);
    append(vec![first, JournalEntry::End { serial: 2 }]);
    assert!(journal.compact_once(&|_, _| true).unwrap());
    append(vec![
        JournalEntry::Keys { group: Arc::new(with_origin(5)), keys: keys(5) },
        second,
        third,
    ]);
    append(vec![record, JournalEntry::End { serial: 5 }]);
    append(provider_changes().map(JournalEntry::Change).into());
    journal.close().unwrap();
}

fn check(directory: &Path, version: u32) {
    let opened = Journal::open(options(directory)).unwrap();
    let mut groups = opened.groups.clone();
    groups.sort_by_key(|group| group.serial);
    let has_origins = version >= 3;
    let expected =
        |serial| if has_origins { with_origin(serial) } else { (*group(serial)).clone() };
    assert_eq!(groups, [1, 3, 4].map(expected));
    let mut newest = opened.changes.clone();
    newest.sort_by_key(Change::stamp);
    let [_, second, _, record] = changes();
    let [_, shown, companions] = provider_changes();
    let (expected, next_serial) = match version {
        1 => (Vec::new(), 6),
        2 => (vec![second, record], 14),
        _ => (vec![second, record, shown, companions], 17),
    };
    assert_eq!((newest, opened.next_serial()), (expected, next_serial));
    assert!(opened.report.torn_tail.is_none() && opened.report.leftovers.is_empty());
    let held = Mutex::new(BTreeMap::<u64, Vec<Vec<u8>>>::new());
    let visit = |serial, keys: fingerpost::journal::KeyBlock<'_>| {
        let multihashes = keys.iter().map(<[u8]>::to_vec);
        held.lock().unwrap().entry(serial).or_default().extend(multihashes);
    };
    opened.replay(2, visit).unwrap();
    for (serial, mut found) in held.into_inner().unwrap() {
        let mut expected: Vec<_> = keys(serial).iter().map(|key| key.as_bytes().to_vec()).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{serial}");
    }
    assert_eq!(opened.report.keys, 3 * 12);
}

fn fixture(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/journal-v{version}"))
}

#[test]
fn a_journal_of_version_1_is_read() {
    read_fixture(1);
}

#[test]
fn a_journal_of_version_2_is_read() {
    read_fixture(2);
}

#[test]
fn a_journal_of_version_3_is_read() {
    if std::env::var_os("FINGERPOST_WRITE_FIXTURES").is_some() {
        let _ = std::fs::remove_dir_all(fixture(3));
        write(&fixture(3));
        std::fs::remove_file(fixture(3).join("LOCK")).unwrap();
    }
    read_fixture(3);
}

fn read_fixture(version: u32) {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("journal");
    std::fs::create_dir(&copy).unwrap();
    let mut sealed = 0;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(fixture(version).join("journal")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes[8..12], version.to_le_bytes(), "{path:?}");
        let summary = inspect_segment(&bytes).unwrap();
        sealed += usize::from(summary.is_sealed);
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        std::fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    assert!(names.len() >= 2 && sealed >= 2, "{names:?}");
    assert!(names.iter().any(|name| !name.ends_with("-000000.journal")), "{names:?}");
    check(directory.path(), version);
    assert!(repair(&DataDir::lock(directory.path()).unwrap()).unwrap().is_whole());
}

#[test]
fn what_is_written_today_reads_as_the_fixtures_do() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path());
    check(directory.path(), 3);
}

#[test]
fn a_journal_of_version_1_is_gone_on_with_and_compacted() {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("journal");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(fixture(1).join("journal")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let journal = Journal::open(options(directory.path())).unwrap().journal;
    let entries = changes().into_iter().map(JournalEntry::Change).collect();
    drop(runtime.block_on(journal.append_whole(entries)).unwrap());
    drop(runtime.block_on(journal.append(vec![JournalEntry::End { serial: 1 }])).unwrap());
    while journal.compact_once(&|_, _| true).unwrap() {}
    assert!(journal.stats().compactions > 0);
    journal.close().unwrap();
    let opened = Journal::open(options(directory.path())).unwrap();
    let mut serials: Vec<_> = opened.groups.iter().map(|group| group.serial).collect();
    serials.sort_unstable();
    assert_eq!((serials, opened.changes.len(), opened.report.keys), (vec![3, 4], 2, 2 * 12));
}
