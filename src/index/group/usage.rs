//! Usage: how much strangers hold, by network and by peer, counted down as it lapses.
//!
//! A group counts as [`GROUP_KEYS`] keys, because that is about what it takes in memory; each key that
//! has the group counts as one. What is dead counts no more, although its memory is freed by the sweep.
//! The operator's groups are not counted, nor those of unknown origin, which lapse.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Memory};

use crate::types::{Origin, PeerId};

/// As many entries of 24 bytes as take the memory of a group with a record of its own.
pub(in crate::index) const GROUP_KEYS: u64 = 40;

/// What an entry takes up in a map, with its counters and room for growth.
const USAGE_BYTES: usize = 96;

/// The usage of everybody who has groups.
#[derive(Default)]
pub(super) struct Usages {
    networks: HashMap<Origin, Arc<Usage>>,
    peers: HashMap<PeerId, Arc<Usage>>,
}

/// What a network or a peer holds.
#[derive(Debug, Default)]
struct Usage {
    keys: AtomicU64,
    /// Groups that have not ended. Changes under the registry's lock.
    groups: AtomicU64,
}

/// What a group holds, and for whom.
#[derive(Debug)]
pub(super) struct GroupUsage {
    keys: AtomicU64,
    network: Arc<Usage>,
    peer: Arc<Usage>,
}

impl GroupUsage {
    /// Counts keys that have the group now.
    pub(super) fn add(&self, keys: u64) {
        self.keys.fetch_add(keys, Memory::Relaxed);
        for usage in [&self.network, &self.peer] {
            usage.keys.fetch_add(keys, Memory::Relaxed);
        }
    }

    /// Counts one key off, unless all were counted off already, because the group ended.
    pub(super) fn remove_one(&self) {
        let counted =
            self.keys.try_update(Memory::Relaxed, Memory::Relaxed, |keys| keys.checked_sub(1));
        if counted.is_ok() {
            self.count_off(1);
        }
    }

    /// Counts everything off.
    pub(super) fn clear(&self) {
        self.count_off(self.keys.swap(0, Memory::Relaxed));
    }

    fn count_off(&self, keys: u64) {
        for usage in [&self.network, &self.peer] {
            let before = usage.keys.fetch_sub(keys, Memory::Relaxed);
            debug_assert!(before >= keys, "what is counted off was counted");
        }
    }
}

impl Usages {
    /// Counts a group that begins.
    pub(super) fn enter(&mut self, origin: Origin, peer: Option<&PeerId>) -> Option<GroupUsage> {
        let peer = peer.filter(|_| origin.is_network())?;
        let network = self.networks.entry(origin).or_default().clone();
        let peer = self.peers.entry(peer.clone()).or_default().clone();
        for usage in [&network, &peer] {
            usage.groups.fetch_add(1, Memory::Relaxed);
        }
        let usage = GroupUsage { keys: AtomicU64::new(0), network, peer };
        usage.add(GROUP_KEYS);
        Some(usage)
    }

    /// Counts a group off that has ended.
    pub(super) fn leave(&mut self, usage: &GroupUsage, origin: Origin, peer: &PeerId) {
        usage.clear();
        leave(&mut self.networks, &origin);
        leave(&mut self.peers, peer);
    }

    /// How many keys a network and a peer hold.
    pub(super) fn of(&self, origin: Origin, peer: &PeerId) -> (u64, u64) {
        let keys = |usage: Option<&Arc<Usage>>| usage.map_or(0, |it| it.keys.load(Memory::Relaxed));
        (keys(self.networks.get(&origin)), keys(self.peers.get(peer)))
    }

    pub(super) fn bytes(&self) -> usize {
        (self.networks.len() + self.peers.len()) * USAGE_BYTES
    }
}

fn leave<K: Eq + Hash>(usages: &mut HashMap<K, Arc<Usage>>, of: &K) {
    let left = usages.get(of).map(|usage| usage.groups.fetch_sub(1, Memory::Relaxed) - 1);
    debug_assert!(left.is_some(), "it was entered");
    if left == Some(0) {
        usages.remove(of);
    }
}
