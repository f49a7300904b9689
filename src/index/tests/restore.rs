//! Bulk loading: everything is there afterwards, whoever brought it and in whatever pieces.

use std::thread;

use super::*;

const KEYS: u32 = 20_000;

/// Restores from two threads: every key has one group of two, and each seventh key another, too.
fn restored(reserved: Option<u64>) -> Index {
    let index = Index::new();
    let restore = index.restore(5);
    if let Some(entries) = reserved {
        restore.reserve(entries);
    }
    let groups: Vec<_> = (0..3)
        .map(|number| restore.group(&spec(number, b"", &[TCP]), u64::from(number) + 10, 0).unwrap())
        .collect();
    thread::scope(|scope| {
        for half in 0..2 {
            let (restore, groups) = (&restore, &groups);
            scope.spawn(move || {
                let mine: Vec<_> = (0..KEYS).filter(|number| number % 2 == half).map(key).collect();
                for keys in mine.chunks(777) {
                    let bytes = keys.iter().map(ContentKey::as_bytes);
                    let taken = restore.keys(&groups[half as usize], bytes);
                    assert_eq!(taken, Ok(keys.len() as u64));
                }
                // The same again, and another group for some of them.
                let few: Vec<_> = (0..KEYS).step_by(7).filter(|n| n % 2 == half).map(key).collect();
                for group in [&groups[half as usize], &groups[2]] {
                    restore.keys(group, few.iter().map(ContentKey::as_bytes)).unwrap();
                }
            });
        }
    });
    restore.finish().unwrap();
    index
}

#[test]
fn everything_that_is_restored_is_found_and_counted() {
    let exact = u64::from(KEYS);
    let mut sizes = Vec::new();
    for reserved in [None, Some(exact / 3), Some(exact), Some(exact * 10)] {
        let index = restored(reserved);
        for number in 0..KEYS {
            let mut expected = BTreeSet::from([peer(number % 2)]);
            if number % 7 == 0 {
                expected.insert(peer(2));
            }
            assert_eq!(index.peers(&key(number), 6), expected);
        }
        assert!(index.all(&key(KEYS), 6).records.is_empty());
        let stats = index.stats();
        let others = u64::from(KEYS.div_ceil(7));
        assert_eq!((stats.keys, stats.entries), (exact, exact + others));
        assert_eq!((stats.groups, stats.providers), (3, 3));
        sizes.push(stats.bytes);
        // What was restored is like what was announced.
        assert!(index.holds(key(14).as_bytes(), 12, 6) && !index.holds(key(15).as_bytes(), 12, 6));
        assert_eq!(index.remove(&peer(2), None, 7), [12]);
        assert_eq!(index.sweep_all(7), Freed { entries: others, groups: 1, ..Freed::default() });
        assert_eq!(index.sets.len(), 0);
    }
    let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
    assert!(most - least < least / 2, "room that was not needed is given back: {sizes:?}");
}

#[test]
fn a_group_that_is_restored_without_keys_ends() {
    let index = Index::new();
    let restore = index.restore(1);
    let group = restore.group(&spec(1, b"", &[]), 7, 0).unwrap();
    restore.finish().unwrap();
    drop(group);
    assert_eq!((index.stats().groups, index.take_ended()), (0, vec![7]));
}
