//! Which groups keys lost to newer ones, while somebody watches.
//!
//! Reading everything out takes a while, and asks the index of each (key, group) pair of a moment
//! before whether it holds. A pair that was superseded since then does not, and nothing in the tables
//! says that it did: it is recorded here, by those who supersede, while a watch exists. The number of
//! recorded pairs is bounded; a watch that missed some reports it.
//!
//! A record may be large. It is freed by whoever drops the watch, and never by those who
//! supersede, because they hold locks that lookups need.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering as Memory};

use parking_lot::Mutex;

use super::Index;
use super::fingerprint::Fingerprint;
use super::group::Group;
use crate::clock::UnixMs;

/// The most pairs that a watch records: about 200 MB.
const REPLACED_MAX: usize = 4 << 20;

/// Records superseded pairs until it is dropped.
#[derive(Debug)]
pub struct ReplacedWatch {
    recorded: Arc<RecordedPairs>,
    watches: Arc<Watches>,
}

#[derive(Debug, Default)]
struct RecordedPairs {
    pairs: Mutex<HashSet<(Fingerprint, u64)>>,
    has_missed: AtomicBool,
}

/// The watches of an index.
#[derive(Debug, Default)]
pub(super) struct Watches {
    /// How many there are: spares taking the lock when there are none.
    count: AtomicUsize,
    /// Held while a pair is recorded and while a watch is removed: none is freed meanwhile.
    list: Mutex<Vec<Arc<RecordedPairs>>>,
}

impl Index {
    /// Records from now on which (key, group) pairs are superseded.
    pub fn watch_replaced(&self) -> ReplacedWatch {
        let recorded = Arc::new(RecordedPairs::default());
        let mut list = self.watches.list.lock();
        list.push(recorded.clone());
        self.watches.count.store(list.len(), Memory::Release);
        ReplacedWatch { recorded, watches: self.watches.clone() }
    }

    /// Whether a key had the group with this serial, alive, and lost it to a newer one since the watch
    /// began.
    pub fn was_replaced(&self, watch: &ReplacedWatch, multihash: &[u8], serial: u64) -> bool {
        let fingerprint = self.fingerprinter.of_multihash(multihash);
        watch.recorded.pairs.lock().contains(&(fingerprint, serial))
    }
}

impl ReplacedWatch {
    /// Whether more pairs were superseded than can be recorded.
    pub fn has_missed(&self) -> bool {
        self.recorded.has_missed.load(Memory::Acquire)
    }
}

impl Watches {
    /// Records that a key lost groups to a newer one. The caller holds the lock under which others see
    /// whether the key has them.
    pub(super) fn record(&self, fingerprint: Fingerprint, lost: &[Arc<Group>], now_ms: UnixMs) {
        if self.count.load(Memory::Acquire) == 0 || lost.is_empty() {
            return;
        }
        for recorded in &*self.list.lock() {
            recorded.record(fingerprint, lost, now_ms);
        }
    }
}

impl Drop for ReplacedWatch {
    fn drop(&mut self) {
        let mut list = self.watches.list.lock();
        // Not the last reference: the one that is left is dropped after the lock.
        list.retain(|recorded| !Arc::ptr_eq(recorded, &self.recorded));
        self.watches.count.store(list.len(), Memory::Release);
    }
}

impl RecordedPairs {
    fn record(&self, fingerprint: Fingerprint, lost: &[Arc<Group>], now_ms: UnixMs) {
        let mut pairs = self.pairs.lock();
        for group in lost.iter().filter(|group| group.is_live(now_ms)) {
            if pairs.len() == REPLACED_MAX {
                self.has_missed.store(true, Memory::Release);
                return;
            }
            pairs.insert((fingerprint, group.serial));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::index::tests::{QUIC, TCP, key, keys, spec};

    use super::*;

    #[test]
    fn what_was_noted_is_freed_by_whoever_drops_the_watch() {
        let index = Index::new();
        index.announce(&keys(0..4), &spec(1, b"", &[TCP]), 1).unwrap();
        let (one, other) = (index.watch_replaced(), index.watch_replaced());
        index.announce(&keys(0..1), &spec(1, b"", &[QUIC]), 2).unwrap();
        let has =
            |watch: &ReplacedWatch, number| index.was_replaced(watch, key(number).as_bytes(), 1);
        assert!(has(&one, 0) && has(&other, 0) && !has(&one, 1));
        let recorded = Arc::downgrade(&one.recorded);
        assert_eq!(recorded.strong_count(), 2, "whoever notes never has the last one");
        drop(one);
        assert_eq!(recorded.strong_count(), 0);
        index.announce(&keys(1..2), &spec(1, b"", &[QUIC]), 3).unwrap();
        assert!(has(&other, 1) && !has(&other, 2));
        drop(other);
        assert_eq!(index.watches.count.load(Memory::Acquire), 0);
    }
}
