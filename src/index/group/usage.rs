//! Usage: how much strangers hold, by network and by peer, counted down as it lapses.
//!
//! A group counts as [`GROUP_KEYS`] keys, because that is about what it takes in memory; each key that
//! has the group counts as one. What is dead counts no more, although its memory is freed by the sweep:
//! until then it counts as dying. The operator's groups are not counted, nor those of unknown origin,
//! which lapse.
//!
//! # Which groups are evicted first
//!
//! Those of the heaviest network, in the order in which they lapse. Networks stand in classes of weight, a
//! quarter of an octave each, so that the heaviest is found without looking at the others, and adding keys
//! takes no lock. A network is classed anew when it announces and when one of its groups ends, so what a
//! class says is too little by one announcement at most.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Memory};

use super::{Group, Groups, REGISTERED};
use crate::clock::UnixMs;
use crate::invariant;
use crate::types::{Origin, PeerId};

/// As many entries of 24 bytes as take the memory of a group with a record of its own.
pub(in crate::index) const GROUP_KEYS: u64 = 40;

/// What a peer takes up in its map, with its counters and room for growth.
const PEER_BYTES: usize = 96;

/// What a network takes up in its map and among the classes, with the first groups in their order.
const NETWORK_BYTES: usize = 480;

/// The usage of everybody who has groups.
#[derive(Default)]
pub(super) struct Usages {
    networks: HashMap<Origin, NetworkUsage>,
    peers: HashMap<PeerId, Arc<Usage>>,
    /// All networks with their classes.
    by_weight: BTreeSet<(WeightClass, Origin)>,
    all: Arc<Usage>,
    /// What ended and is not freed yet.
    dying: u64,
}

/// The weight of a network in keys, in quarters of an octave.
type WeightClass = u8;

/// A network that has groups.
struct NetworkUsage {
    usage: Arc<Usage>,
    class: WeightClass,
    /// The groups that have not ended, the one that lapses first before the others.
    groups: BTreeSet<(UnixMs, u32)>,
}

/// What a network or a peer holds, or all strangers.
#[derive(Debug, Default)]
struct Usage {
    keys: AtomicU64,
    /// Groups of a peer, or of all strangers, that have not ended. Changes under the registry's lock.
    groups: AtomicU64,
}

/// What a group holds, and for whom.
#[derive(Debug)]
pub(super) struct GroupUsage {
    keys: AtomicU64,
    network: Arc<Usage>,
    peer: Arc<Usage>,
    all: Arc<Usage>,
    /// What counted when it ended; changes under the registry's lock.
    dying: AtomicU64,
}

impl GroupUsage {
    /// Counts keys that have the group now.
    pub(super) fn add(&self, keys: u64) {
        // The group's own count comes last: what it says has been counted for everybody.
        for usage in self.counted_for() {
            usage.keys.fetch_add(keys, Memory::Relaxed);
        }
        self.keys.fetch_add(keys, Memory::AcqRel);
    }

    /// Counts one key off, unless all were counted off already, because the group ended.
    pub(super) fn remove_one(&self) {
        let counted =
            self.keys.try_update(Memory::AcqRel, Memory::Relaxed, |keys| keys.checked_sub(1));
        if counted.is_ok() {
            self.count_off(1);
        }
    }

    /// Counts keys off, which were counted.
    pub(super) fn remove(&self, keys: u64) {
        self.keys.fetch_sub(keys, Memory::AcqRel);
        self.count_off(keys);
    }

    /// Counts everything off. Returns what that was.
    pub(super) fn clear(&self) -> u64 {
        let keys = self.keys.swap(0, Memory::AcqRel);
        self.count_off(keys);
        keys
    }

    fn keys(&self) -> u64 {
        self.keys.load(Memory::Relaxed)
    }

    fn counted_for(&self) -> [&Usage; 3] {
        [&self.network, &self.peer, &self.all]
    }

    fn count_off(&self, keys: u64) {
        for usage in self.counted_for() {
            let before = usage.keys.fetch_sub(keys, Memory::Relaxed);
            debug_assert!(before >= keys, "what is counted off was counted");
        }
    }
}

impl Usages {
    /// Counts a group that begins.
    pub(super) fn enter(
        &mut self,
        (origin, peer): (Origin, Option<&PeerId>),
        expires_at_ms: UnixMs,
        id: u32,
    ) -> Option<GroupUsage> {
        let peer = peer.filter(|_| origin.is_network())?;
        let network = self.networks.entry(origin).or_insert_with(|| {
            self.by_weight.insert((WeightClass::MIN, origin));
            let (usage, groups) = (Arc::default(), BTreeSet::new());
            NetworkUsage { usage, class: WeightClass::MIN, groups }
        });
        let is_new = network.groups.insert((expires_at_ms, id));
        invariant::holds(is_new, "the number of a group that begins is free");
        let network = network.usage.clone();
        let peer = self.peers.entry(peer.clone()).or_default().clone();
        for usage in [&*peer, &*self.all] {
            usage.groups.fetch_add(1, Memory::Relaxed);
        }
        let (keys, dying) = (AtomicU64::new(0), AtomicU64::new(0));
        let usage = GroupUsage { keys, network, peer, all: self.all.clone(), dying };
        usage.add(GROUP_KEYS);
        self.weigh(origin);
        Some(usage)
    }

    /// Counts a group off that has ended; what it takes up is dying.
    pub(super) fn leave(&mut self, group: &Group) {
        let (Some(usage), Some(peer)) = (&group.usage, group.peer()) else { return };
        let keys = usage.clear();
        usage.dying.store(keys, Memory::Relaxed);
        self.dying += keys;
        self.all.groups.fetch_sub(1, Memory::Relaxed);
        self.leave_peer(peer);
        let network = self.networks.get_mut(&group.origin);
        let Some(network) = invariant::present(network, "the network of a group is counted") else {
            return;
        };
        let was_there = network.groups.remove(&(group.expires_at_ms, group.id));
        invariant::holds(was_there, "a group that ends is among those of its network");
        if network.groups.is_empty() {
            self.by_weight.remove(&(network.class, group.origin));
            self.networks.remove(&group.origin);
        } else {
            self.weigh(group.origin);
        }
    }

    fn leave_peer(&mut self, peer: &PeerId) {
        let usage = invariant::present(self.peers.get(peer), "the peer of a group is counted");
        if usage.is_some_and(|usage| usage.groups.fetch_sub(1, Memory::Relaxed) == 1) {
            self.peers.remove(peer);
        }
    }

    /// Forgets what was dying of a group, which is freed.
    pub(super) fn free(&mut self, usage: &GroupUsage) {
        // Of keys that were linked while it ended.
        usage.clear();
        let dying = usage.dying.swap(0, Memory::Relaxed);
        if invariant::holds(dying <= self.dying, "what is freed was dying") {
            self.dying -= dying;
        }
    }

    /// Classes a network by what it holds now.
    fn weigh(&mut self, origin: Origin) {
        let Some(network) = self.networks.get_mut(&origin) else { return };
        let class = class_of(network.usage.keys.load(Memory::Relaxed));
        if class != network.class {
            let was_there = self.by_weight.remove(&(network.class, origin));
            invariant::holds(was_there, "a network is among the classes once");
            network.class = class;
            self.by_weight.insert((class, origin));
        }
    }

    /// Classes all networks by what they hold now.
    fn weigh_all(&mut self) {
        let origins: Vec<_> = self.networks.keys().copied().collect();
        for origin in origins {
            self.weigh(origin);
        }
    }

    /// How many keys a network and a peer hold.
    pub(super) fn of(&mut self, origin: Origin, peer: &PeerId) -> (u64, u64) {
        self.weigh(origin);
        let keys = |usage: &Arc<Usage>| usage.keys.load(Memory::Relaxed);
        let network = self.networks.get(&origin).map_or(0, |network| keys(&network.usage));
        (network, self.peers.get(peer).map_or(0, keys))
    }

    /// How many keys the heaviest network holds, and its group that lapses first.
    fn heaviest(&mut self) -> Option<(u64, u32)> {
        loop {
            let (class, origin) = *self.by_weight.last()?;
            self.weigh(origin);
            let network = self.networks.get(&origin);
            let network = invariant::present(network, "a network that is classed has groups")?;
            if network.class == class {
                let first = invariant::present(network.groups.first(), "a network has groups")?;
                return Some((network.usage.keys.load(Memory::Relaxed), first.1));
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.networks.len() * NETWORK_BYTES + self.peers.len() * PEER_BYTES
    }
}

impl Groups {
    /// How many keys the network and the provider of a group hold.
    pub(in crate::index) fn usage_of(&self, group: &Group) -> (u64, u64) {
        let mut registry = self.registry.lock();
        group.peer().map_or((0, 0), |peer| registry.usages.of(group.origin, peer))
    }

    /// Classes all networks by what they hold, once what was restored is counted.
    pub(in crate::index) fn weigh_networks(&self) {
        self.registry.lock().usages.weigh_all();
    }

    /// How many keys the heaviest network of strangers holds.
    pub(in crate::index) fn heaviest_network(&self) -> u64 {
        self.registry.lock().usages.heaviest().map_or(0, |(keys, _)| keys)
    }

    /// How many keys strangers hold, and what of them ended and is not freed yet.
    pub(in crate::index) fn strangers_keys(&self) -> (u64, u64) {
        let registry = self.registry.lock();
        (registry.usages.all.keys.load(Memory::Relaxed), registry.usages.dying)
    }

    /// The (key, group) pairs of strangers whose groups have not ended.
    pub(in crate::index) fn stranger_entries(&self) -> u64 {
        let registry = self.registry.lock();
        let Usage { keys, groups } = &*registry.usages.all;
        let groups = groups.load(Memory::Relaxed);
        keys.load(Memory::Relaxed).saturating_sub(groups * GROUP_KEYS)
    }

    /// Ends groups of the heaviest strangers, those first that lapse first, until what counted for them is
    /// so many keys; at most `groups_max`. Returns how many groups.
    pub(in crate::index) fn evict(&self, keys: u64, groups_max: u64, now_ms: UnixMs) -> u64 {
        let mut registry = self.registry.lock();
        let (mut evicted, mut evicted_keys) = (0, 0);
        while evicted_keys < keys && evicted < groups_max {
            let Some((_, id)) = registry.usages.heaviest() else { break };
            let group = invariant::present(self.slab.get(id).clone(), REGISTERED);
            let Some(group) = group else { break };
            evicted_keys += group.usage.as_ref().map_or(0, GroupUsage::keys);
            evicted += 1;
            self.end(&mut registry, &group, now_ms.min(group.expires_at_ms));
            self.registry_free(&mut registry, &group);
        }
        evicted
    }
}

/// The weight class of so many keys: four for each doubling.
fn class_of(keys: u64) -> WeightClass {
    let keys = keys.max(4);
    let octave = keys.ilog2();
    let quarter = (keys >> (octave - 2)) & 3;
    (octave as u8) * 4 + quarter as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heavier_network_has_no_smaller_class_and_classes_are_a_quarter_of_an_octave() {
        let weights: Vec<u64> =
            (0..64).flat_map(|bit| [1 << bit, (1 << bit) + (1 << bit >> 1)]).collect();
        assert!(weights.iter().map(|weight| class_of(*weight)).is_sorted());
        assert_eq!([4, 5, 6, 7, 8].map(class_of), [8, 9, 10, 11, 12]);
        assert_eq!((class_of(0), class_of(u64::MAX)), (8, 255));
    }
}
