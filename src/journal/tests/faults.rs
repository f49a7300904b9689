//! Full disks and disks that fail: whoever was told that something is durable was told the truth, and
//! the journal goes on by itself when the disk does.

use std::io::ErrorKind;

use super::disk::{Crash, DiskOperation, MemoryDisk};
use super::*;
use crate::journal::StrangersWrite;

#[test]
fn a_full_disk_refuses_appends_and_room_makes_them_work_again() {
    let disk = MemoryDisk::default();
    let journal = Journal::open(options_on(&disk)).unwrap().journal;
    append(&journal, vec![keys_entry(1, 0..50)]).unwrap();
    disk.leave_room(100);
    for _ in 0..3 {
        let refused = append(&journal, vec![keys_entry(2, 0..50)]).unwrap_err();
        assert!(matches!(refused, JournalError::NoSpace { .. }), "{refused:?}");
        assert!(matches!(journal.stats().write_error, Some(JournalError::NoSpace { .. })));
    }
    assert_eq!((journal.stats().entries, journal.stats().groups), (50, 1));
    disk.work_again();
    append(&journal, vec![keys_entry(3, 0..50)]).unwrap();
    assert!(journal.stats().write_error.is_none());
    let whole = expected((0..50).flat_map(|number| [(1, number), (3, number)]));
    let killed = disk.image(disk.operations(), Crash::KeepAll);
    assert_eq!(held(&Journal::open(options_on(&killed)).unwrap()), whole);
    journal.close().unwrap();
    let opened = Journal::open(options_on(&disk)).unwrap();
    assert_eq!(held(&opened), whole);
    assert_eq!(opened.report.torn_tail, None);
}

#[test]
fn strangers_write_as_long_as_the_disk_has_more_than_its_reserve() {
    let disk = MemoryDisk::default();
    let options = JournalOptions { disk_reserve_bytes: 1_000, ..options_on(&disk) };
    let journal = Journal::open(options).unwrap().journal;
    append(&journal, vec![keys_entry(1, 0..50)]).unwrap();
    let may_write = || {
        let writes = [StrangersWrite::New, StrangersWrite::Refresh];
        writes.map(|write| journal.check_reserve(write).is_ok())
    };
    for (room, expected) in
        [(1_000, [true, true]), (999, [false, true]), (500, [false, true]), (499, [false, false])]
    {
        disk.leave_room(room);
        assert_eq!(may_write(), expected, "{room}");
        assert_eq!(journal.stats().disk_free_bytes, Some(room as u64));
    }
    let refused = journal.check_reserve(StrangersWrite::New).unwrap_err();
    assert!(matches!(refused, JournalError::Reserved { free_bytes: 499, .. }), "{refused:?}");
    append(&journal, vec![JournalEntry::End { serial: 1 }]).unwrap();
    // A disk that does not say how large it is.
    disk.work_again();
    assert_eq!(may_write(), [true, true]);
}

#[test]
fn a_full_disk_leaves_room_for_the_end_of_a_group() {
    let disk = MemoryDisk::default();
    let journal = Journal::open(options_on(&disk)).unwrap().journal;
    append(&journal, vec![keys_entry(1, 0..50)]).unwrap();
    disk.leave_room(200);
    assert!(append(&journal, vec![keys_entry(2, 0..50)]).is_err());
    append(&journal, vec![JournalEntry::End { serial: 1 }]).unwrap();
    journal.close().unwrap();
    disk.work_again();
    assert_eq!(held(&Journal::open(options_on(&disk)).unwrap()), HeldKeys::new());
}

/// Fails the operation with this number, and those after it as long as `lasting` says.
fn fail_from(disk: &MemoryDisk, number: usize, lasting: usize, kind: ErrorKind) {
    let mut seen = 0;
    disk.fail_when(move |_| {
        seen += 1;
        (number..number + lasting).contains(&(seen - 1)).then_some(kind)
    });
}

#[test]
fn any_operation_may_fail_and_nothing_acknowledged_is_lost() {
    let mut failures = 0;
    for number in 0..60 {
        for (lasting, kind) in
            [(1, ErrorKind::Other), (2, ErrorKind::StorageFull), (5, ErrorKind::Other)]
        {
            let disk = MemoryDisk::default();
            let journal = Journal::open(options_on(&disk)).unwrap().journal;
            fail_from(&disk, number, lasting, kind);
            let mut acknowledged = Vec::new();
            let mut attempted = Vec::new();
            for serial in 1..=12_u64 {
                let pairs = (0..30).map(|number| (serial, number));
                attempted.extend(pairs.clone());
                match append(&journal, vec![keys_entry(serial, 0..30)]) {
                    Ok(()) => acknowledged.extend(pairs),
                    Err(_) => failures += 1,
                }
                let ended =
                    serial % 3 == 0 && append(&journal, vec![JournalEntry::End { serial }]).is_ok();
                acknowledged.retain(|(held, _)| *held != serial || !ended);
                attempted.retain(|(held, _)| *held != serial || !ended);
                failures += usize::from(journal.compact_once(&|_, _| true).is_err());
            }
            disk.work_again();
            append(&journal, vec![keys_entry(100, 0..1)]).unwrap();
            acknowledged.push((100, 0));
            attempted.push((100, 0));
            let ended = |serial: u64| serial.is_multiple_of(3);
            let operations = disk.operations();
            for crash in [Crash::KeepAll, Crash::KeepSynced, Crash::Torn(number as u64)] {
                let opened = Journal::open(options_on(&disk.image(operations, crash)));
                let found =
                    held(&opened.unwrap_or_else(|error| panic!("{number} {kind}: {error}")));
                let must = acknowledged.iter().filter(|(serial, _)| !ended(*serial)).copied();
                let lost = expected(must).difference(&found).count();
                let made_up = found.difference(&expected(attempted.clone())).count();
                assert_eq!((lost, made_up), (0, 0), "{number} {lasting} {kind} {crash:?}");
            }
            drop(journal);
            Journal::open(options_on(&disk)).unwrap();
        }
    }
    assert!(failures > 100, "{failures}");
}

#[test]
fn a_segment_whose_sync_failed_is_never_appended_to_again() {
    let disk = MemoryDisk::default();
    let journal = Journal::open(options_on(&disk)).unwrap().journal;
    append(&journal, vec![keys_entry(1, 0..10)]).unwrap();
    disk.fail_when(|operation| {
        matches!(operation, DiskOperation::Sync(_)).then_some(ErrorKind::Other)
    });
    let error = append(&journal, vec![keys_entry(2, 0..10)]).unwrap_err();
    assert!(matches!(error, JournalError::Io { .. }), "{error:?}");
    disk.work_again();
    append(&journal, vec![keys_entry(3, 0..10)]).unwrap();
    assert_eq!(disk.files().len(), 2, "{:?}", journal.stats());
    let image = disk.image(disk.operations(), Crash::KeepSynced);
    let found = held(&Journal::open(options_on(&image)).unwrap());
    assert_eq!(found, expected((0..10).flat_map(|number| [(1, number), (3, number)])));
    // The frame that was never synced happens to be whole, but the next segment says where to stop.
    let image = disk.image(disk.operations(), Crash::KeepAll);
    assert_eq!(held(&Journal::open(options_on(&image)).unwrap()), found);
}

#[test]
fn a_thread_that_died_is_named() {
    let disk = MemoryDisk::default();
    let journal = Journal::open(options_on(&disk)).unwrap().journal;
    append(&journal, vec![keys_entry(1, 0..50)]).unwrap();
    assert_eq!(journal.dead_thread(), None);
    disk.fail_when(|_| panic!("a panic that the test wants"));
    assert!(append(&journal, vec![keys_entry(2, 0..50)]).is_err());
    // The entry's answer is lost while the thread unwinds, a moment before it is gone.
    let dead = std::iter::repeat_with(|| journal.dead_thread()).find_map(|thread| thread);
    assert_eq!(dead, Some("journal writer"));
    disk.work_again();
}
