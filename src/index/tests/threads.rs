//! Readers, writers and the sweep at the same time: nothing is lost and nobody panics.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;

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
                        // All on one key, too: it becomes a crowd and shrinks again.
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
