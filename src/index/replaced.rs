//! Which groups keys lost to newer ones, while somebody watches.
//!
//! Reading everything out takes a while, and asks the index of each (key, group) pair of a moment
//! before whether it holds. A pair that was superseded since then does not, and nothing in the tables
//! says that it did: that is noted here, by those who supersede, as long as a watch is kept. What is
//! noted is bounded; a watch that missed something says so.
//!
//! What was noted may be large. It is freed by whoever gives the watch up, and never by those who
//! supersede, because they hold locks that lookups need.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering as Memory};

use parking_lot::Mutex;

use super::Index;
use super::fingerprint::Fingerprint;
use super::group::Group;
use crate::clock::UnixMs;

/// The most pairs that a watch notes: about 200 MB.
const REPLACED_MAX: usize = 4 << 20;

/// Notes pairs that are superseded, until it is dropped.
#[derive(Debug)]
pub struct ReplacedWatch {
    noted: Arc<Noted>,
    watches: Arc<Watches>,
}

#[derive(Debug, Default)]
struct Noted {
    pairs: Mutex<HashSet<(Fingerprint, u64)>>,
    has_missed: AtomicBool,
}

/// The watches of an index.
#[derive(Debug, Default)]
pub(super) struct Watches {
    /// How many there are: spares taking the lock when there are none.
    count: AtomicUsize,
    /// Whoever notes holds this lock, and so does a watch that leaves: none is freed while it is held.
    list: Mutex<Vec<Arc<Noted>>>,
}

impl Index {
    /// Notes from now on which (key, group) pairs are superseded.
    pub fn watch_replaced(&self) -> ReplacedWatch {
        let noted = Arc::new(Noted::default());
        let mut list = self.watches.list.lock();
        list.push(noted.clone());
        self.watches.count.store(list.len(), Memory::Release);
        ReplacedWatch { noted, watches: self.watches.clone() }
    }

    /// Whether a key had the group with this serial, alive, and lost it to a newer one since the watch
    /// began.
    pub fn was_replaced(&self, watch: &ReplacedWatch, multihash: &[u8], serial: u64) -> bool {
        let fingerprint = self.fingerprinter.of_multihash(multihash);
        watch.noted.pairs.lock().contains(&(fingerprint, serial))
    }
}

impl ReplacedWatch {
    /// Whether more was superseded than can be noted.
    pub fn has_missed(&self) -> bool {
        self.noted.has_missed.load(Memory::Acquire)
    }
}

impl Watches {
    /// Notes that a key lost groups to a newer one. The caller holds the lock under which others see
    /// whether the key has them.
    pub(super) fn note(&self, fingerprint: Fingerprint, lost: &[Arc<Group>], now_ms: UnixMs) {
        if self.count.load(Memory::Acquire) == 0 || lost.is_empty() {
            return;
        }
        for noted in &*self.list.lock() {
            noted.note(fingerprint, lost, now_ms);
        }
    }
}

impl Drop for ReplacedWatch {
    fn drop(&mut self) {
        let mut list = self.watches.list.lock();
        // Not the last reference: the one that is left is dropped after the lock.
        list.retain(|noted| !Arc::ptr_eq(noted, &self.noted));
        self.watches.count.store(list.len(), Memory::Release);
    }
}

impl Noted {
    fn note(&self, fingerprint: Fingerprint, lost: &[Arc<Group>], now_ms: UnixMs) {
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
        let noted = Arc::downgrade(&one.noted);
        assert_eq!(noted.strong_count(), 2, "whoever notes never has the last one");
        drop(one);
        assert_eq!(noted.strong_count(), 0);
        index.announce(&keys(1..2), &spec(1, b"", &[QUIC]), 3).unwrap();
        assert!(has(&other, 1) && !has(&other, 2));
        drop(other);
        assert_eq!(index.watches.count.load(Memory::Acquire), 0);
    }
}
