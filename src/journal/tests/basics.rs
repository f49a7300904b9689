//! What an append promises, who may open a journal, and what its figures say.

use std::sync::Arc;

use super::*;
use crate::journal::KeyBlock;

#[test]
fn what_was_appended_is_there_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Journal::open(options(directory.path())).unwrap();
    assert_eq!((opened.groups.len(), opened.next_serial()), (0, 1));
    let journal = opened.journal;
    append(&journal, vec![keys_entry(1, 0..100), keys_entry(2, 50..150)]).unwrap();
    append(&journal, vec![keys_entry(1, 100..120), Entry::End { serial: 2 }]).unwrap();
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
