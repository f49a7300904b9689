//! Readers, writers and the sweep at the same time: nothing is lost and nobody panics.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;
use crate::types::Addr;

/// Providers below this stay; the others come and go.
const STAYING: u32 = 4;

#[test]
fn nothing_is_lost_and_nothing_revived_under_concurrency() {
    let index = Index::new();
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..STAYING)
            .map(|number| {
                let index = &index;
                scope.spawn(move || {
                    for start in (0..2_000).step_by(50) {
                        let spec = spec(number, b"stays", &[TCP]);
                        index.announce(&keys(start..start + 50), &spec, 1).unwrap();
                        // All on one key, too: it becomes a hot key and shrinks again.
                        for other in 0..20 {
                            let brief = super::spec(100 + number * 20 + other, b"goes", &[]);
                            index.announce(&keys(0..3), &brief, 1).unwrap();
                        }
                        assert!(index.peers(&key(start), 1).contains(&peer(number)));
                        for other in 0..20 {
                            index.remove(&peer(100 + number * 20 + other), None, 1);
                            assert!(
                                !index.peers(&key(1), 1).contains(&peer(100 + number * 20 + other))
                            );
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                index.sweep(1);
            }
        });
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                for number in 0..40 {
                    // Nobody but those who stay was ever announced for these keys.
                    let peers = index.peers(&key(3 + number * 7), 1);
                    assert!(peers.iter().all(|found| (0..STAYING).any(|n| *found == peer(n))));
                    index.find(&key(number % 3), &Filter::default(), cap(5), 1);
                }
            }
        });
        let results: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        is_done.store(true, Ordering::Relaxed);
        results.into_iter().for_each(|result| result.unwrap());
    });
    let staying: BTreeSet<_> = (0..STAYING).map(peer).collect();
    assert!((0..2_000).all(|number| index.peers(&key(number), 1) == staying));
    index.sweep_all(1);
    let stats = index.stats();
    assert_eq!((stats.entries, stats.keys, stats.groups), (8_000, 2_000, u64::from(STAYING)));
}

#[test]
fn records_that_change_meanwhile_are_served_once_each() {
    let index = Index::new();
    // Key 0 has very many providers, key 1 a few, key 2 one; provider 1 has two contexts everywhere.
    (10..100).for_each(|number| {
        index.announce(&keys(0..1), &spec(number, b"", &[TCP]), 1).unwrap();
    });
    index.announce(&keys(1..2), &spec(10, b"", &[TCP]), 1).unwrap();
    for context in [b"a", b"b"] {
        index.announce(&keys(0..3), &spec(1, context, &[TCP]), 1).unwrap();
    }
    let records = [r#","x":1}"#, "}"].map(|end| {
        let json = record(1, &[QUIC]).json().replace('}', end);
        let parsed = ProviderRecord::parse(&json, UnparsableAddrs::Drop).unwrap();
        Arc::new(ReadyRecord::new(parsed.record, AnswerSchema::Announced))
    });
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..2 {
            let (index, is_done) = (&index, &is_done);
            scope.spawn(move || {
                let mut turn = number;
                while !is_done.load(Ordering::Relaxed) {
                    turn += 1;
                    let answer = index.all(&key(turn % 3), 1);
                    let seen: BTreeSet<_> =
                        answer.records.iter().map(|(record, _)| record.identity()).collect();
                    assert_eq!(seen.len(), answer.records.len(), "a record twice");
                    let of_it = |record: &ReadyRecord| record.peer() == Some(&peer(1));
                    assert!(answer.records.iter().any(|(record, _)| of_it(record)));
                    index.find(&key(0), &Filter::default(), cap(7), 1);
                    assert_eq!(index.peer(&peer(1), &Filter::default(), 1).records.len(), 1);
                }
            });
        }
        for round in 0..3_000usize {
            let context: Arc<[u8]> = if round % 3 == 0 { b"a"[..].into() } else { b"b"[..].into() };
            index.set_record(&context, index.stamp(), &records[round / 2 % 2], 1);
            let addrs = if round % 5 == 0 { vec![] } else { vec![Addr::parse(TCP).unwrap()] };
            let (stamp, stated_at_ms) = (index.stamp(), round as u64);
            let statement = Statement { stamp, stated_at_ms, addrs: addrs.into() };
            index.restate(&peer(1), statement, 1);
        }
        is_done.store(true, Ordering::Relaxed);
    });
    assert_eq!(index.remove(&peer(1), None, 1).len(), 2);
    index.sweep_all(1);
    assert_eq!((index.stats().groups, index.stats().providers), (90, 90));
}
