//! The journal from outside: fixtures of every version of its format, which must be readable for
//! ever.
//!
//! A fixture is written once, when its version is made: `FINGERPOST_WRITE_FIXTURES=1 cargo test
//! --test it journal` writes the one of the current version.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use fingerpost::clock::{Clock, ManualClock};
use fingerpost::journal::{
    Entry, GroupDefinition, Journal, JournalOptions, inspect_segment, repair,
};
use fingerpost::types::ContentKey;

/// 1 January 2100, in milliseconds.
const FAR_MS: u64 = 4_102_444_800_000;

fn options(directory: &Path) -> JournalOptions {
    let mut options = JournalOptions::new(directory);
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

/// Groups 1 to 5 of which 2 and 5 ended, over several segments, one of them compacted.
fn write(directory: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let journal = Journal::open(options(directory)).unwrap().journal;
    let append = |entries| drop(runtime.block_on(journal.append(entries)).unwrap());
    for serial in 1..=4 {
        append(vec![Entry::Keys { group: group(serial), keys: keys(serial) }]);
    }
    append(vec![Entry::End { serial: 2 }]);
    assert!(journal.compact_once(&|_, _| true).unwrap());
    append(vec![Entry::Keys { group: group(5), keys: keys(5) }]);
    append(vec![Entry::End { serial: 5 }]);
    journal.close().unwrap();
}

fn check(directory: &Path) {
    let opened = Journal::open(options(directory)).unwrap();
    let mut groups = opened.groups.clone();
    groups.sort_by_key(|group| group.serial);
    assert_eq!(groups, [1, 3, 4].map(|serial| (*group(serial)).clone()));
    assert_eq!(opened.next_serial(), 6);
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
    if std::env::var_os("FINGERPOST_WRITE_FIXTURES").is_some() {
        let _ = std::fs::remove_dir_all(fixture(1));
        write(&fixture(1));
        std::fs::remove_file(fixture(1).join("LOCK")).unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("journal");
    std::fs::create_dir(&copy).unwrap();
    let mut sealed = 0;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(fixture(1).join("journal")).unwrap() {
        let path = entry.unwrap().path();
        let summary = inspect_segment(&std::fs::read(&path).unwrap()).unwrap();
        sealed += usize::from(summary.is_sealed);
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        std::fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    assert!(names.len() >= 2 && sealed >= 2, "{names:?}");
    assert!(names.iter().any(|name| !name.ends_with("-000000.journal")), "{names:?}");
    check(directory.path());
    assert!(repair(directory.path()).unwrap().is_whole());
}

#[test]
fn what_is_written_today_reads_as_the_fixtures_do() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path());
    check(directory.path());
}
