//! What compaction drops, what it keeps, and what goes on meanwhile.

use std::ops::ControlFlow;

use super::disk::MemoryDisk;
use super::*;
use crate::journal::JournalStats;
use crate::journal::compaction::Uses;

fn build_ledger(journal: &Journal, is_held: &crate::journal::IsHeld) -> JournalStats {
    let mut steps = 0;
    while journal.compact_once(is_held).unwrap() {
        steps += 1;
        assert!(steps < 1_000, "compaction does not come to rest: {:?}", journal.stats());
    }
    journal.stats()
}

/// Groups of 40 keys each, so many to a segment.
fn filled(disk: &MemoryDisk, groups: u64) -> Journal {
    let journal = Journal::open(options_on(disk)).unwrap().journal;
    for serial in 1..=groups {
        append(&journal, vec![keys_entry(serial, 0..40)]).unwrap();
    }
    journal
}

#[test]
fn garbage_goes_and_everything_else_stays() {
    let disk = MemoryDisk::default();
    let journal = filled(&disk, 60);
    let full = journal.stats().bytes;
    for serial in (1..=60).filter(|serial| serial % 3 != 0) {
        append(&journal, vec![JournalEntry::End { serial }]).unwrap();
    }
    let before = journal.stats();
    assert!(before.garbage_bytes * 100 > before.bytes * 60, "{before:?}");
    let after = build_ledger(&journal, &|_, _| true);
    assert!(after.garbage_bytes * 100 <= after.bytes * 25, "{after:?}");
    assert!(after.bytes < full / 2, "{after:?}");
    assert_eq!((after.groups, after.entries), (20, 800));
    assert!(after.compactions > 0 && after.bytes_compacted > 0, "{after:?}");
    let on_disk: usize = disk.files().iter().map(|(_, content)| content.len()).sum();
    assert_eq!(on_disk as u64, after.bytes);
    drop(journal);
    let live = (1..=60).filter(|serial| serial % 3 == 0);
    let pairs = live.flat_map(|serial| (0..40).map(move |number| (serial, number)));
    let opened = Journal::open(options_on(&disk)).unwrap();
    assert_eq!(held(&opened), expected(pairs));
    assert_eq!(opened.journal.stats().garbage_bytes, after.garbage_bytes);
}

#[test]
fn an_end_stays_as_long_as_a_block_of_its_group_and_no_longer() {
    let disk = MemoryDisk::default();
    let journal = filled(&disk, 12);
    // Group 1 has keys in the first segment and in the last one; its end is in the last.
    append(&journal, vec![keys_entry(1, 40..60), JournalEntry::End { serial: 1 }]).unwrap();
    for serial in 2..=12 {
        append(&journal, vec![JournalEntry::End { serial }]).unwrap();
        journal.compact_once(&|_, _| true).unwrap();
        let opened = disk.image(disk.operations(), super::disk::Crash::KeepSynced);
        let opened = Journal::open(options_on(&opened)).unwrap();
        let revived = held(&opened).iter().filter(|(held, _)| *held <= serial).count();
        assert_eq!(revived, 0, "after the end of {serial}");
    }
    let after = build_ledger(&journal, &|_, _| true);
    assert!(after.bytes < 1_000, "neither keys nor ends are left: {after:?}");
}

#[test]
fn groups_that_expire_are_garbage() {
    let disk = MemoryDisk::default();
    let mut options = options_on(&disk);
    let clock = ManualClock::new(1_000);
    options.clock = Clock::Manual(clock.clone());
    let journal = Journal::open(options.clone()).unwrap().journal;
    for serial in 1..=20 {
        let mut definition = (*group(serial)).clone();
        definition.expires_at_ms = Some(1_000 + serial * 10);
        let (group, keys) = (Arc::new(definition), keys(0..40));
        append(&journal, vec![JournalEntry::Keys { group, keys }]).unwrap();
    }
    clock.set(1_150);
    assert_eq!(journal.stats().groups, 5);
    let after = build_ledger(&journal, &|_, _| true);
    assert!(after.garbage_bytes * 100 <= after.bytes * 25, "{after:?}");
    assert_eq!(after.entries, 5 * 40);
    drop(journal);
    let opened = Journal::open(options).unwrap();
    assert_eq!((opened.groups.len(), held(&opened).len()), (5, 200));
}

#[test]
fn superseded_keys_are_found_by_asking_and_dropped() {
    let disk = MemoryDisk::default();
    let journal = filled(&disk, 60);
    let half = |_: u64, multihash: &[u8]| multihash[2].is_multiple_of(2);
    let after = build_ledger(&journal, &half);
    assert!(after.compactions > 0, "{after:?}");
    assert_eq!(after.groups, 60);
    assert!(after.entries <= 1_200 * 100 / 75, "{after:?}");
    drop(journal);
    let found = held(&Journal::open(options_on(&disk)).unwrap());
    let pairs = (1..=60).flat_map(|serial| (0..40).map(move |number| (serial, number)));
    let whole = expected(pairs);
    assert!(found.is_subset(&whole));
    let must: HeldKeys = whole.iter().filter(|(serial, it)| half(*serial, it)).cloned().collect();
    assert!(must.is_subset(&found));
}

#[test]
fn what_lookups_do_not_see_yet_is_not_taken_for_superseded() {
    let disk = MemoryDisk::default();
    let journal = Journal::open(options_on(&disk)).unwrap().journal;
    let receipt = wait(journal.append(vec![keys_entry(1, 0..40), keys_entry(2, 0..400)])).unwrap();
    append(&journal, vec![JournalEntry::End { serial: 2 }]).unwrap();
    assert!(build_ledger(&journal, &|_, _| false).compactions > 0);
    assert_eq!(journal.stats().entries, 40);
    drop(receipt);
    drop(journal);
    let opened = Journal::open(options_on(&disk)).unwrap();
    assert_eq!(held(&opened), expected((0..40).map(|number| (1, number))));
}

#[test]
fn what_lookups_do_not_see_yet_outlives_every_compaction_of_it() {
    let disk = MemoryDisk::default();
    let journal = Journal::open(options_on(&disk)).unwrap().journal;
    let change = stated(3, 7);
    let entries =
        vec![JournalEntry::Change(change.clone()), keys_entry(1, 0..40), keys_entry(2, 0..400)];
    let receipt = wait(journal.append(entries)).unwrap();
    let uses = Uses { is_held: &|_, _| false, is_needed: &|_| false };
    // Each round makes garbage in neighbours of what is not seen, so that it is rewritten with them.
    append(&journal, vec![JournalEntry::End { serial: 2 }]).unwrap();
    for serial in 10..14 {
        append(&journal, vec![keys_entry(serial, 0..400)]).unwrap();
        append(&journal, vec![JournalEntry::End { serial }]).unwrap();
        while journal.compact_once_with(uses).unwrap() {}
    }
    assert!(journal.stats().compactions > 1, "{:?}", journal.stats());
    assert_eq!(journal.stats().entries, 40);
    drop(receipt);
    let image = disk.image(disk.operations(), super::disk::Crash::KeepSynced);
    let opened = Journal::open(options_on(&image)).unwrap();
    assert_eq!(held(&opened), expected((0..40).map(|number| (1, number))));
    assert_eq!(opened.changes, [change]);
    // Once the receipt is gone, the index is asked about it like about everything.
    for serial in 20..24 {
        append(&journal, vec![keys_entry(serial, 0..400)]).unwrap();
        append(&journal, vec![JournalEntry::End { serial }]).unwrap();
        while journal.compact_once_with(uses).unwrap() {}
    }
    assert_eq!(journal.stats().entries, 0);
}

#[test]
fn a_snapshot_shows_its_moment_whatever_happens_after() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(options(directory.path())).unwrap().journal;
    for serial in 1..=30 {
        append(&journal, vec![keys_entry(serial, 0..40)]).unwrap();
    }
    append(&journal, vec![JournalEntry::End { serial: 30 }]).unwrap();
    let snapshot = journal.snapshot();
    for serial in 1..=25 {
        append(&journal, vec![JournalEntry::End { serial }]).unwrap();
    }
    append(&journal, vec![keys_entry(26, 40..60), keys_entry(31, 0..9)]).unwrap();
    build_ledger(&journal, &|_, _| true);
    assert_eq!(snapshot.groups(), 29);
    let mut found = HeldKeys::new();
    let mut visit = |definition: &Arc<GroupDefinition>, keys: crate::journal::KeyBlock<'_>| {
        assert_eq!(*definition, group(definition.serial));
        assert_eq!(keys.iter().len(), keys.len());
        found.extend(keys.iter().map(|it| (definition.serial, it.to_vec())));
        ControlFlow::Continue(())
    };
    snapshot.visit(&mut visit).unwrap();
    let pairs = (1..30).flat_map(|serial| (0..40).map(move |number| (serial, number)));
    assert_eq!(found, expected(pairs));
    let mut blocks = 0;
    let stopped = snapshot.visit(|_, _| {
        blocks += 1;
        ControlFlow::Break(())
    });
    stopped.unwrap();
    assert_eq!(blocks, 1);
}

#[test]
fn small_segments_of_many_starts_are_joined() {
    let disk = MemoryDisk::default();
    let mut options = options_on(&disk);
    options.segment_bytes = 64 << 10;
    for serial in 1..=40 {
        let journal = Journal::open(options.clone()).unwrap().journal;
        append(&journal, vec![keys_entry(serial, 0..5)]).unwrap();
        journal.close().unwrap();
    }
    let opened = Journal::open(options.clone()).unwrap();
    assert_eq!(opened.journal.stats().segments, 40);
    let after = build_ledger(&opened.journal, &|_, _| true);
    assert!(after.segments <= 12, "{after:?}");
    drop(opened);
    assert_eq!(held(&Journal::open(options).unwrap()).len(), 200);
}

#[test]
fn damage_that_compaction_finds_is_reported_and_left_alone() {
    let disk = MemoryDisk::default();
    filled(&disk, 12).close().unwrap();
    let mut files = disk.files();
    let disk = MemoryDisk::with_files(files.clone());
    let opened = Journal::open(options_on(&disk)).unwrap();
    files[0].1[200] ^= 1;
    disk.damage(&files[0].0, 200);
    for serial in 1..=12 {
        append(&opened.journal, vec![JournalEntry::End { serial }]).unwrap();
    }
    let mut errors = 0;
    for _ in 0..20 {
        match opened.journal.compact_once(&|_, _| true) {
            Ok(false) => {}
            Ok(true) => assert!(opened.journal.stats().compaction_error.is_none()),
            Err(JournalError::Corrupt { path, .. }) => {
                errors += 1;
                let shown = opened.journal.stats().compaction_error;
                assert!(matches!(shown, Some(JournalError::Corrupt { .. })), "{shown:?}");
                assert_eq!(path, files[0].0);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(errors, 1);
    assert!(disk.files().contains(&files[0]));
}

#[test]
fn the_thread_compacts_by_itself_and_ends_with_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(directory.path());
    options.compaction_bytes_per_second = 1 << 30;
    let journal = Journal::open(options).unwrap().journal;
    for serial in 1..=30 {
        append(&journal, vec![keys_entry(serial, 0..40)]).unwrap();
    }
    for serial in 1..=25 {
        append(&journal, vec![JournalEntry::End { serial }]).unwrap();
    }
    let (asked, is_asked) = std::sync::mpsc::channel();
    let is_held = move |_: u64, _: &[u8]| {
        // The test may have seen enough.
        let _ = asked.send(());
        true
    };
    journal.start_compaction(Box::new(is_held), Box::new(|_| true)).unwrap();
    is_asked.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    assert!(journal.stats().is_running);
    journal.close().unwrap();
}
