//! Changes of many groups: the newest of each kind stays, whatever is compacted; and appends that are
//! there whole or not at all.

use std::ops::ControlFlow;

use super::disk::MemoryDisk;
use super::*;
use crate::journal::compaction::Uses;

fn change(journal: &Journal, change: Change) {
    append(journal, vec![JournalEntry::Change(change)]).unwrap();
}

fn build_ledger(journal: &Journal, uses: Uses<'_>) {
    let mut steps = 0;
    while journal.compact_once_with(uses).unwrap() {
        steps += 1;
        assert!(steps < 1_000, "compaction does not come to rest: {:?}", journal.stats());
    }
}

fn opened(disk: &MemoryDisk) -> Opened {
    Journal::open(options_on(disk)).unwrap()
}

#[test]
fn the_newest_change_of_each_kind_is_there_after_opening_again_in_any_order() {
    let disk = MemoryDisk::default();
    let journal = opened(&disk).journal;
    for stamp in [5, 9, 7] {
        change(&journal, stated(stamp, 1));
        change(&journal, recorded(stamp + 20, 1));
        change(&journal, stated(stamp + 40, 2));
    }
    let garbage_bytes = journal.stats().garbage_bytes;
    assert!(garbage_bytes > 6 * 60, "{:?}", journal.stats());
    journal.close().unwrap();
    let opened = opened(&disk);
    let expected = by_key([stated(9, 1), recorded(29, 1), stated(49, 2)]);
    assert_eq!((changes(&opened), opened.changes.len()), (expected, 3));
    assert_eq!(opened.next_serial(), 50);
    assert_eq!(opened.journal.stats().garbage_bytes, garbage_bytes);
    let snapshot = opened.journal.snapshot();
    change(&opened.journal, stated(60, 1));
    assert_eq!(snapshot.addrs_of("provider 1").unwrap().unwrap().stamp, 9);
    assert_eq!(snapshot.addrs_of("provider 3").unwrap(), None);
    assert_eq!(snapshot.record_of("provider 1", &[7]).unwrap().unwrap().stamp, 29);
    assert_eq!(snapshot.record_of("provider 1", &[]).unwrap(), None);
    let snapshot = opened.journal.snapshot();
    assert_eq!(snapshot.addrs_of("provider 1").unwrap().map(Change::Addrs), Some(stated(60, 1)));
}

#[test]
fn superseded_changes_are_garbage_and_go() {
    let disk = MemoryDisk::default();
    let journal = opened(&disk).journal;
    append(&journal, vec![keys_entry(1, 0..5)]).unwrap();
    for stamp in 10..300 {
        change(&journal, stated(stamp, stamp % 3));
        change(&journal, recorded(1_000 + stamp, stamp % 2));
    }
    let before = journal.stats();
    assert!(before.garbage_bytes * 100 > before.bytes * 70, "{before:?}");
    let snapshot = journal.snapshot();
    build_ledger(&journal, Uses { is_held: &|_, _| true, is_needed: &|_| true });
    let after = journal.stats();
    assert!(after.garbage_bytes * 100 <= after.bytes * 25, "{after:?}");
    assert!(after.bytes < before.bytes / 5, "{after:?}");
    assert_eq!(snapshot.addrs_of("provider 2").unwrap().unwrap().stamp, 299);
    let expected = by_key([
        stated(297, 0),
        stated(298, 1),
        stated(299, 2),
        recorded(1_298, 0),
        recorded(1_299, 1),
    ]);
    let visited = journal.snapshot().visit(|_, _| ControlFlow::Continue(()));
    visited.unwrap();
    drop(journal);
    let opened = opened(&disk);
    assert_eq!((changes(&opened), held(&opened).len()), (expected, 5));
}

#[test]
fn changes_that_count_for_no_group_go_and_those_that_nobody_sees_yet_stay() {
    let disk = MemoryDisk::default();
    let journal = opened(&disk).journal;
    let entries = (10..60).map(|stamp| JournalEntry::Change(stated(stamp, stamp))).collect();
    let receipt = wait(journal.append(entries)).unwrap();
    append(&journal, vec![keys_entry(1, 0..400), JournalEntry::End { serial: 1 }]).unwrap();
    let is_needed = |stamp: u64| stamp.is_multiple_of(10);
    let uses = Uses { is_held: &|_, _| true, is_needed: &is_needed };
    build_ledger(&journal, uses);
    assert!(journal.stats().compactions > 0);
    let image = disk.image(disk.operations(), super::disk::Crash::KeepSynced);
    assert_eq!(opened(&image).changes.len(), 50, "lookups do not see them yet");
    drop(receipt);
    // Something has to happen before the estimate is made anew.
    append(&journal, vec![keys_entry(2, 0..400), JournalEntry::End { serial: 2 }]).unwrap();
    build_ledger(&journal, uses);
    drop(journal);
    let expected = by_key((1..6).map(|it| stated(it * 10, it * 10)));
    assert_eq!(changes(&opened(&disk)), expected);
}

#[test]
fn changes_that_count_for_no_group_are_garbage_by_themselves() {
    let disk = MemoryDisk::default();
    let journal = opened(&disk).journal;
    for stamp in 1..200 {
        change(&journal, stated(stamp, stamp));
    }
    let uses = Uses { is_held: &|_, _| true, is_needed: &|stamp| stamp > 190 };
    build_ledger(&journal, uses);
    let stats = journal.stats();
    assert!(stats.garbage_bytes * 100 <= stats.bytes * 25, "{stats:?}");
    assert!(stats.compactions > 0 && stats.bytes < 8_000, "{stats:?}");
}

#[test]
fn a_change_that_no_block_can_hold_is_refused() {
    let journal = opened(&MemoryDisk::default()).journal;
    let Change::Record(mut large) = recorded(1, 1) else { panic!("it is a record") };
    large.record_json = "x".repeat(5 << 20).into();
    let error = append(&journal, vec![JournalEntry::Change(Change::Record(large))]).unwrap_err();
    assert!(matches!(error, JournalError::TooLarge { .. }), "{error:?}");
}

/// About so many MiB of keys.
fn large_entry(serial: u64, mib: u64) -> JournalEntry {
    let keys = (0..mib * 1_024).map(|number| {
        let digest = (serial << 32 | number).to_le_bytes().into_iter().cycle().take(1024);
        let bytes: Vec<u8> = [0x00, 0x80, 0x08].into_iter().chain(digest).collect();
        ContentKey::from_multihash(&bytes).unwrap()
    });
    JournalEntry::Keys { group: group(serial), keys: keys.collect() }
}

#[test]
fn what_is_to_be_whole_stands_in_one_frame_or_is_refused() {
    let disk = MemoryDisk::default();
    let mut large = options_on(&disk);
    large.segment_bytes = 64 << 20;
    let journal = Journal::open(large.clone()).unwrap().journal;
    append(&journal, vec![keys_entry(1, 0..1)]).unwrap();
    let before = journal.stats().syncs;
    append_whole(
        &journal,
        vec![large_entry(2, 3), JournalEntry::Change(stated(9, 1)), large_entry(3, 4)],
    )
    .unwrap();
    assert_eq!(journal.stats().syncs, before + 1);
    append(&journal, vec![large_entry(4, 3), large_entry(5, 4)]).unwrap();
    assert_eq!(journal.stats().syncs, before + 3, "without, it is spread over frames");
    let error = append_whole(&journal, vec![large_entry(6, 4), large_entry(7, 5)]).unwrap_err();
    assert!(matches!(error, JournalError::NotWhole { .. }), "{error:?}");
    // Many of them at once never make a frame that cannot be read.
    wait(async {
        let appends = (10..16).map(|serial| {
            let whole = journal.append_whole(vec![large_entry(serial, 3), large_entry(serial, 4)]);
            let loose = journal.append(vec![large_entry(serial + 100, 3)]);
            [tokio::spawn(loose), tokio::spawn(whole)]
        });
        for task in appends.flatten().collect::<Vec<_>>() {
            drop(task.await.unwrap().unwrap());
        }
    });
    let entries = journal.stats().entries;
    journal.close().unwrap();
    let opened = Journal::open(large).unwrap();
    assert_eq!(opened.journal.stats().entries, entries);
    assert_eq!(changes(&opened), by_key([stated(9, 1)]));
}
