//! Groups: what many keys point at together.
//!
//! A group is one record that one provider announced under one context until one time. Announcing
//! the same again finds the same group; removing it is one store to `died_at_ms`, however many keys
//! point at it.
//!
//! # Invariants
//!
//! - What refers to a group counts in `refs`: an entry of a table that holds its number, a set that
//!   it is a member of, an announcement that is being taken in.
//! - A number is given to another group only when `refs` is 0, so an old entry never leads to a new
//!   group. The count is taken before the number is written anywhere, and given back after the
//!   number is gone from there. It leaves 0 only under the registry's lock, for a group that is
//!   still registered; whoever adds to it elsewhere holds the lock of an entry or of a set that
//!   counts already.
//! - Readers look a number up while they hold the lock of the shard in which they read it.
//! - A group that died or expired never lives again: announcing the same makes a new one.
//! - Locks are taken in the order shard, crowd, sets, registry, and none is held across another
//!   of its kind.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Memory};

use arc_swap::Guard;
use hashbrown::HashTable;
use parking_lot::Mutex;

use super::IndexError;
use super::slab::{Ids, Slab};
use crate::clock::UnixMs;
use crate::types::{PeerId, ReadyRecord};

/// The time of what does not happen.
const NEVER: UnixMs = UnixMs::MAX;

/// What a group takes up in the registry's maps and in the slab, roughly: 24 bytes in the table of
/// what is registered, 60 in the set by provider, 36 in the set by expiry, 8 in the slab.
const REGISTRATION_BYTES: usize = 128;

/// What makes a group: announcing the same again gives the same group.
#[derive(Clone, Debug)]
pub struct GroupSpec {
    /// The record, ready for answers.
    pub record: Arc<ReadyRecord>,
    /// The provider's name for a set of keys; empty without one.
    pub context: Arc<[u8]>,
    /// When the announcement lapses, in milliseconds since the Unix epoch; `None`: never.
    pub expires_at_ms: Option<UnixMs>,
}

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: u32,
    pub(super) record: Arc<ReadyRecord>,
    context: Arc<[u8]>,
    expires_at_ms: UnixMs,
    touched_at_ms: AtomicU64,
    died_at_ms: AtomicU64,
    refs: AtomicU64,
}

/// All groups.
pub(super) struct Groups {
    slab: Slab<Group>,
    registry: Mutex<Registry>,
    hasher: RandomState,
}

struct Registry {
    ids: Ids,
    /// Those that live, by what makes them.
    by_spec: HashTable<Arc<Group>>,
    by_provider: BTreeSet<(PeerId, Arc<[u8]>, u32)>,
    by_expiry: BTreeSet<(UnixMs, u32)>,
    /// The records of those that live, by digest, and how many groups have each.
    records: HashMap<[u8; 16], (Arc<ReadyRecord>, u64)>,
    bytes: usize,
}

impl Group {
    /// Whether the group is part of answers.
    pub(super) fn is_live(&self, now_ms: UnixMs) -> bool {
        now_ms < self.expires_at_ms && self.died_at_ms.load(Memory::Acquire) == NEVER
    }

    /// When the group last changed the answers for its keys, or later.
    pub(super) fn changed_at_ms(&self, now_ms: UnixMs) -> UnixMs {
        let touched_at_ms = self.touched_at_ms.load(Memory::Relaxed);
        if self.is_live(now_ms) {
            return touched_at_ms;
        }
        let ended_at_ms = self.died_at_ms.load(Memory::Acquire).min(self.expires_at_ms);
        touched_at_ms.max(ended_at_ms)
    }

    /// Notes that a key is about to point at the group.
    pub(super) fn touch(&self, now_ms: UnixMs) {
        if self.touched_at_ms.load(Memory::Relaxed) < now_ms {
            self.touched_at_ms.fetch_max(now_ms, Memory::Relaxed);
        }
    }

    /// Counts one more reference; see the module's invariants for who may.
    pub(super) fn retain(&self) {
        self.refs.fetch_add(1, Memory::Relaxed);
    }

    /// Whether one of the two, newly announced for a key, takes the other's place there.
    pub(super) fn replaces(&self, other: &Self) -> bool {
        self.order_on_key(other).is_eq()
    }

    /// The order of groups on a key: the same on every machine and after every refresh, and groups
    /// whose records are joined stand together.
    pub(super) fn order_on_key(&self, other: &Self) -> Ordering {
        let identities = self.record.identity().cmp(&other.record.identity());
        identities.then_with(|| self.context.cmp(&other.context))
    }

    /// Who the group is on a key.
    pub(super) fn identity_and_context(&self) -> ([u8; 16], &[u8]) {
        (self.record.identity(), &self.context)
    }

    fn is_of(&self, spec: &GroupSpec) -> bool {
        self.expires_at_ms == spec.expires_at_ms.unwrap_or(NEVER)
            && self.record.digest() == spec.record.digest()
            && self.context == spec.context
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.context.len() + REGISTRATION_BYTES
    }
}

impl Groups {
    /// No groups, and room for `ids_max`.
    pub(super) fn new(ids_max: u32) -> Self {
        let registry = Registry {
            ids: Ids::new(ids_max),
            by_spec: HashTable::new(),
            by_provider: BTreeSet::new(),
            by_expiry: BTreeSet::new(),
            records: HashMap::new(),
            bytes: 0,
        };
        Self { slab: Slab::new(), registry: Mutex::new(registry), hasher: RandomState::new() }
    }

    /// The group of a specification that has not expired, new or known, with one reference counted
    /// for the caller.
    pub(super) fn intern(
        &self,
        spec: &GroupSpec,
        now_ms: UnixMs,
    ) -> Result<Arc<Group>, IndexError> {
        let hash = self.hash(&spec.context, &spec.record, spec.expires_at_ms.unwrap_or(NEVER));
        let mut registry = self.registry.lock();
        if let Some(group) = registry.by_spec.find(hash, |group| group.is_of(spec)) {
            group.retain();
            return Ok(group.clone());
        }
        let id = registry.ids.take().ok_or(IndexError::Full { what: "groups" })?;
        let group = Arc::new(Group {
            id,
            record: registry.share_record(&spec.record),
            context: spec.context.clone(),
            expires_at_ms: spec.expires_at_ms.unwrap_or(NEVER),
            touched_at_ms: AtomicU64::new(now_ms),
            died_at_ms: AtomicU64::new(NEVER),
            refs: AtomicU64::new(1),
        });
        self.slab.put(id, group.clone());
        registry.bytes += group.bytes();
        if let Some(peer) = group.record.peer() {
            registry.by_provider.insert((peer.clone(), group.context.clone(), id));
        }
        if group.expires_at_ms != NEVER {
            registry.by_expiry.insert((group.expires_at_ms, id));
        }
        registry.by_spec.insert_unique(hash, group.clone(), |group| self.hash_of(group));
        Ok(group)
    }

    /// The group with a number that the caller read under a lock it still holds.
    pub(super) fn get(&self, id: u32) -> Guard<Option<Arc<Group>>> {
        self.slab.get(id)
    }

    /// Gives a reference back. Returns how many groups that freed: 0 or 1.
    pub(super) fn release(&self, group: &Arc<Group>) -> u64 {
        if group.refs.fetch_sub(1, Memory::AcqRel) > 1 {
            return 0;
        }
        self.registry_free(&mut self.registry.lock(), group)
    }

    /// Ends all groups of a provider, or those under one of its contexts. Returns how many lived.
    pub(super) fn remove(&self, peer: &PeerId, context: Option<&[u8]>, now_ms: UnixMs) -> u64 {
        let mut registry = self.registry.lock();
        let first = (peer.clone(), Arc::from(context.unwrap_or_default()), 0);
        let ids: Vec<u32> = registry
            .by_provider
            .range(first..)
            .take_while(|(of, under, _)| of == peer && context.is_none_or(|want| **under == *want))
            .map(|(_, _, id)| *id)
            .collect();
        let mut removed = 0;
        for id in ids {
            let Some(group) = self.slab.get(id).clone() else { continue };
            removed += u64::from(group.is_live(now_ms));
            self.end(&mut registry, &group, now_ms.min(group.expires_at_ms));
            self.registry_free(&mut registry, &group);
        }
        removed
    }

    /// Ends what has expired, at most `max` groups. Returns how many that freed.
    pub(super) fn expire(&self, now_ms: UnixMs, max: usize) -> u64 {
        let mut registry = self.registry.lock();
        let expired: Vec<_> =
            registry.by_expiry.range(..=(now_ms, u32::MAX)).take(max).copied().collect();
        let mut freed = 0;
        for (expires_at_ms, id) in expired {
            let Some(group) = self.slab.get(id).clone() else { continue };
            self.end(&mut registry, &group, expires_at_ms);
            freed += self.registry_free(&mut registry, &group);
        }
        freed
    }

    /// How many groups there are, those that ended and are not yet freed included.
    pub(super) fn len(&self) -> u64 {
        self.registry.lock().ids.in_use()
    }

    /// Whether some group ended and is not yet freed.
    pub(super) fn has_ended(&self) -> bool {
        let registry = self.registry.lock();
        registry.ids.in_use() > registry.by_spec.len() as u64
    }

    /// The memory that groups and their records take up.
    pub(super) fn bytes(&self) -> usize {
        self.registry.lock().bytes + self.slab.bytes()
    }

    /// Takes a group out of everything by which announcements and removals find it.
    fn end(&self, registry: &mut Registry, group: &Arc<Group>, at_ms: UnixMs) {
        let found =
            registry.by_spec.find_entry(self.hash_of(group), |other| Arc::ptr_eq(other, group));
        let Ok(entry) = found else { return };
        entry.remove();
        group.died_at_ms.store(at_ms, Memory::Release);
        if let Some(peer) = group.record.peer() {
            registry.by_provider.remove(&(peer.clone(), group.context.clone(), group.id));
        }
        registry.by_expiry.remove(&(group.expires_at_ms, group.id));
        registry.unshare_record(&group.record);
    }

    /// Frees a group if nothing refers to it.
    fn registry_free(&self, registry: &mut Registry, group: &Arc<Group>) -> u64 {
        let is_freed = self.slab.get(group.id).as_ref().is_none_or(|now| !Arc::ptr_eq(now, group));
        if is_freed || group.refs.load(Memory::Acquire) > 0 {
            return 0;
        }
        // A group that lives but has no keys any more ends here, too.
        self.end(registry, group, group.touched_at_ms.load(Memory::Relaxed));
        self.slab.take(group.id);
        registry.ids.give_back(group.id);
        registry.bytes -= group.bytes();
        1
    }

    fn hash_of(&self, group: &Group) -> u64 {
        self.hash(&group.context, &group.record, group.expires_at_ms)
    }

    fn hash(&self, context: &[u8], record: &ReadyRecord, expires_at_ms: UnixMs) -> u64 {
        self.hasher.hash_one((context, record.digest(), expires_at_ms))
    }
}

impl Registry {
    /// The record with the same digest that other groups have already, or this one.
    fn share_record(&mut self, record: &Arc<ReadyRecord>) -> Arc<ReadyRecord> {
        let (shared, users) =
            self.records.entry(record.digest()).or_insert_with(|| (record.clone(), 0));
        *users += 1;
        if *users == 1 {
            self.bytes += record_bytes(shared);
        }
        shared.clone()
    }

    fn unshare_record(&mut self, record: &Arc<ReadyRecord>) {
        let Some((_, users)) = self.records.get_mut(&record.digest()) else { return };
        *users -= 1;
        if *users == 0 {
            self.records.remove(&record.digest());
            self.bytes -= record_bytes(record);
        }
    }
}

/// The record, its JSON, where its addresses stand in it (16 bytes each), and its place in the map.
fn record_bytes(record: &ReadyRecord) -> usize {
    size_of::<ReadyRecord>() + record.len_bytes() + record.addr_count() * 16 + 48
}
