//! What an append promises, who may open a journal, and what its figures say.

use std::io::ErrorKind;
use std::sync::mpsc;

use super::disk::{DiskOperation, MemoryDisk};
use super::*;

#[test]
fn what_was_appended_is_there_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Journal::open(options(directory.path())).unwrap();
    assert_eq!((opened.groups.len(), opened.next_serial()), (0, 1));
    let journal = opened.journal;
    append(&journal, vec![keys_entry(1, 0..100), keys_entry(2, 50..150)]).unwrap();
    append(&journal, vec![keys_entry(1, 100..120), JournalEntry::End { serial: 2 }]).unwrap();
    append(&journal, vec![keys_entry(7, 0..1)]).unwrap();
    let stats = journal.stats();
    assert_eq!((stats.groups, stats.entries), (2, 121));
    assert!(stats.garbage_bytes > 100 * 32, "{stats:?}");
    journal.close().unwrap();

    let opened = Journal::open(options(directory.path())).unwrap();
    let pairs = (0..120).map(|number| (1, number)).chain([(7, 0)]);
    assert_eq!(held(&opened), expected(pairs));
    let mut groups = opened.groups.clone();
    groups.sort_by_key(|group| group.serial);
    assert_eq!(groups, [(*group(1)).clone(), (*group(7)).clone()]);
    assert_eq!(opened.next_serial(), 8);
    assert_eq!(opened.report.torn_tail, None);
    assert_eq!(opened.journal.stats().garbage_bytes, stats.garbage_bytes);
    assert_eq!(opened.journal.stats().entries, 121);
}

#[test]
fn keys_of_every_shape_come_back_as_they_were() {
    let disk = MemoryDisk::default();
    let journal = Journal::open(options_on(&disk)).unwrap().journal;
    let long = |byte: u8| [&[0x00, 0x80, 0x08][..], &[byte; 1024]].concat();
    let multihashes = vec![
        vec![0x00, 0x00],
        long(1),
        vec![0x12, 0x20].into_iter().chain([7; 32]).collect(),
        long(2),
        vec![0x00, 0x01, 0xff],
        vec![0x12, 0x20].into_iter().chain([8; 32]).collect(),
        vec![0xb2, 0xc0, 0x02, 0x05, 1, 2, 3, 4, 5],
        vec![0x00, 0x00],
    ];
    let keys: Vec<_> =
        multihashes.iter().map(|bytes| ContentKey::from_multihash(bytes).unwrap()).collect();
    append(&journal, vec![JournalEntry::Keys { group: group(1), keys }]).unwrap();
    append(&journal, vec![JournalEntry::Keys { group: group(2), keys: Vec::new() }]).unwrap();
    append(&journal, Vec::new()).unwrap();
    journal.close().unwrap();
    let opened = Journal::open(options_on(&disk)).unwrap();
    assert_eq!(
        held(&opened),
        multihashes.into_iter().map(|bytes| (1, bytes)).collect::<HeldKeys>()
    );
    assert_eq!(opened.groups, [(*group(1)).clone()]);
}

#[test]
fn an_append_larger_than_a_frame_and_than_the_queue_is_written() {
    let disk = MemoryDisk::default();
    let mut large = options_on(&disk);
    (large.segment_bytes, large.queue_bytes_max) = (8 << 20, 1 << 20);
    let journal = Journal::open(large.clone()).unwrap().journal;
    let many: Vec<_> = (0..12_000_u64)
        .map(|number| {
            let digest = number.to_le_bytes().into_iter().cycle().take(1024);
            let bytes: Vec<u8> = [0x00, 0x80, 0x08].into_iter().chain(digest).collect();
            ContentKey::from_multihash(&bytes).unwrap()
        })
        .collect();
    append(&journal, vec![JournalEntry::Keys { group: group(1), keys: many }]).unwrap();
    let stats = journal.stats();
    assert!(stats.syncs >= 2 && stats.segments >= 2, "{stats:?}");
    journal.close().unwrap();
    let opened = Journal::open(large).unwrap();
    assert_eq!(held(&opened).len(), 12_000);
}

#[test]
fn a_definition_that_no_block_can_hold_is_refused() {
    let journal = Journal::open(options_on(&MemoryDisk::default())).unwrap().journal;
    let mut definition = (*group(1)).clone();
    definition.record_json = "x".repeat(5 << 20).into();
    let entry = JournalEntry::Keys { group: Arc::new(definition), keys: keys(0..1) };
    let error = append(&journal, vec![entry]).unwrap_err();
    assert!(matches!(error, JournalError::TooLarge { .. }), "{error:?}");
    assert_eq!(journal.stats().entries, 0);
}

#[test]
fn what_waits_for_a_sync_shares_the_next_one() {
    let disk = MemoryDisk::default();
    let journal = Journal::open(options_on(&disk)).unwrap().journal;
    append(&journal, vec![keys_entry(1, 0..1)]).unwrap();
    let (release, released) = mpsc::channel::<()>();
    disk.fail_when(move |operation| {
        if matches!(operation, DiskOperation::Sync(_)) {
            // Ends at once when the sender is gone.
            let _ = released.recv();
        }
        None
    });
    let before = journal.stats().syncs;
    wait(async {
        let tasks: Vec<_> = (0..64)
            .map(|number| tokio::spawn(journal.append(vec![keys_entry(2, [number])])))
            .collect();
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
        drop(release);
        for task in tasks {
            drop(task.await.unwrap().unwrap());
        }
    });
    // One for what came first, one for all that came while it was written.
    assert!(journal.stats().syncs - before <= 2, "{:?}", journal.stats());
    assert_eq!(journal.stats().entries, 65);
}

#[test]
fn a_full_queue_makes_appends_wait() {
    let disk = MemoryDisk::default();
    let mut narrow = options_on(&disk);
    narrow.queue_bytes_max = 4096;
    let journal = Journal::open(narrow).unwrap().journal;
    wait(async {
        let appends = (0..30).map(|serial| journal.append(vec![keys_entry(serial, 0..40)]));
        let tasks: Vec<_> = appends.map(tokio::spawn).collect();
        for task in tasks {
            drop(task.await.unwrap().unwrap());
        }
    });
    // Each append takes more than a third of the queue: no frame can hold more than two.
    assert!(journal.stats().syncs >= 15, "{:?}", journal.stats());
}

#[test]
fn an_end_counts_for_keys_that_come_after_it() {
    let disk = MemoryDisk::default();
    let journal = Journal::open(options_on(&disk)).unwrap().journal;
    append(&journal, vec![JournalEntry::End { serial: 1 }]).unwrap();
    append(&journal, vec![keys_entry(1, 0..9)]).unwrap();
    append(&journal, vec![JournalEntry::End { serial: 3 }, keys_entry(3, 0..9)]).unwrap();
    append(
        &journal,
        vec![keys_entry(2, 0..9), JournalEntry::End { serial: 2 }, keys_entry(2, 9..12)],
    )
    .unwrap();
    append(&journal, vec![keys_entry(2, 0..9)]).unwrap();
    assert_eq!((journal.stats().groups, journal.stats().entries), (0, 0));
    journal.close().unwrap();
    assert_eq!(held(&Journal::open(options_on(&disk)).unwrap()), HeldKeys::new());
}

#[test]
fn an_end_of_a_group_that_is_all_gone_is_remembered() {
    let disk = MemoryDisk::default();
    let journal = Journal::open(options_on(&disk)).unwrap().journal;
    append(&journal, vec![keys_entry(1, 0..200), JournalEntry::End { serial: 1 }]).unwrap();
    while journal.compact_once(&|_, _| true).unwrap() {}
    append(&journal, vec![keys_entry(1, 0..9)]).unwrap();
    drop(journal);
    assert_eq!(held(&Journal::open(options_on(&disk)).unwrap()), HeldKeys::new());
}

#[test]
fn serials_are_not_given_again_after_everything_of_them_is_gone() {
    let disk = MemoryDisk::default();
    let journal = Journal::open(options_on(&disk)).unwrap().journal;
    append(&journal, vec![keys_entry(77, 0..200), JournalEntry::End { serial: 77 }]).unwrap();
    while journal.compact_once(&|_, _| true).unwrap() {}
    drop(journal);
    let opened = Journal::open(options_on(&disk)).unwrap();
    assert_eq!((opened.next_serial(), opened.groups.len()), (78, 0));
}

#[test]
fn a_closed_journal_says_so() {
    let disk = MemoryDisk::default();
    let journal = Journal::open(options_on(&disk)).unwrap().journal;
    let late = journal.append(vec![keys_entry(1, 0..1)]);
    journal.close().unwrap();
    assert!(matches!(wait(late), Err(JournalError::Closed)));
}

#[test]
fn a_seal_that_cannot_be_written_is_reported_and_nothing_is_lost() {
    let disk = MemoryDisk::default();
    let journal = Journal::open(options_on(&disk)).unwrap().journal;
    append(&journal, vec![keys_entry(1, 0..5)]).unwrap();
    disk.fail_when(|_| Some(ErrorKind::Other));
    assert!(matches!(journal.close(), Err(JournalError::Io { .. })));
    disk.work_again();
    let opened = Journal::open(options_on(&disk)).unwrap();
    assert_eq!(held(&opened), expected((0..5).map(|number| (1, number))));
}

#[test]
fn options_that_cannot_work_are_refused() {
    let mut none = options_on(&MemoryDisk::default());
    none.segment_bytes = 0;
    let error = Journal::open(none).err().unwrap();
    assert_eq!(error.to_string(), "segment_bytes must be from 1 byte to 1 GiB");
}
