//! Which groups keys lost to newer ones, while somebody watches.
//!
//! Reading everything out takes a while, and asks the index of each (key, group) pair of a moment
//! before whether it holds. A pair that was superseded since then does not, and nothing in the tables
//! says that it did: that is noted here, by those who supersede, as long as a watch is kept. What is
//! noted is bounded; a watch that missed something says so.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering as Memory};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Index;
use super::fingerprint::Fingerprint;
use super::group::Group;
use crate::clock::UnixMs;

/// The most pairs that a watch notes: about 200 MB.
const REPLACED_MAX: usize = 4 << 20;

/// Notes pairs that are superseded, until it is dropped.
#[derive(Debug)]
pub struct ReplacedWatch(Arc<Noted>);

#[derive(Debug, Default)]
struct Noted {
    pairs: Mutex<HashSet<(Fingerprint, u64)>>,
    has_missed: AtomicBool,
}

/// The watches of an index.
#[derive(Debug, Default)]
pub(super) struct Watches {
    /// How many there are or were a moment ago: spares taking the lock when there are none.
    count: AtomicUsize,
    list: Mutex<Vec<Weak<Noted>>>,
}

impl Index {
    /// Notes from now on which (key, group) pairs are superseded.
    pub fn watch_replaced(&self) -> ReplacedWatch {
        let noted = Arc::new(Noted::default());
        let mut list = self.watches.list.lock();
        list.push(Arc::downgrade(&noted));
        self.watches.count.store(list.len(), Memory::Release);
        ReplacedWatch(noted)
    }

    /// Whether a key had the group with this serial, alive, and lost it to a newer one since the watch
    /// began.
    pub fn was_replaced(&self, watch: &ReplacedWatch, multihash: &[u8], serial: u64) -> bool {
        let fingerprint = self.fingerprinter.of_multihash(multihash);
        watch.0.pairs.lock().contains(&(fingerprint, serial))
    }
}

impl ReplacedWatch {
    /// Whether more was superseded than can be noted.
    pub fn has_missed(&self) -> bool {
        self.0.has_missed.load(Memory::Acquire)
    }
}

impl Watches {
    /// Notes that a key lost groups to a newer one. The caller holds the lock under which others see
    /// whether the key has them.
    pub(super) fn note(&self, fingerprint: Fingerprint, lost: &[Arc<Group>], now_ms: UnixMs) {
        if self.count.load(Memory::Acquire) == 0 || lost.is_empty() {
            return;
        }
        let mut list = self.list.lock();
        list.retain(|watch| match watch.upgrade() {
            Some(noted) => {
                noted.note(fingerprint, lost, now_ms);
                true
            }
            None => false,
        });
        self.count.store(list.len(), Memory::Release);
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
