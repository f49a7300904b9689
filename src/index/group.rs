//! Groups: what many keys point at together.
//!
//! A group is one record that one provider announced under one context until one time. Announcing
//! the same again finds the same group; removing it is one store to `died_at_ms`, however many keys
//! point at it.
//!
//! # Which group of a lineage a key has
//!
//! Groups of one context and one record identity are one *lineage*: the same announcement, with
//! other addresses or another expiry. Every group has a *serial*, given out in increasing order and
//! never again. On a key, a group supersedes the older ones of its lineage that do not outlive it:
//!
//! ```text
//! new supersedes old  <=>  new.serial > old.serial  and  new.expires >= old.expires
//! ```
//!
//! So a key has, of each lineage, groups that expire the earlier the newer they are, and an answer
//! takes the newest that lives. The rule is transitive and does not look at the order in which
//! groups were linked, and what ends a group (its expiry, the removal of its context) ends all that
//! it superseded; that is why a journal may be replayed in any order, without the groups that ended.
//!
//! # What changes
//!
//! A group keeps its lineage, which is that of the record that it was made with, for ever. The record
//! that it *has* may change (`changes`): its provider says where it is reached from now on, or a
//! context gets another record.
//!
//! # Invariants
//!
//! - What refers to a group counts in `refs`: an entry of a table that holds its number, a set that
//!   it belongs to, an announcement that is being taken in.
//! - A number is given to another group only when `refs` is 0, so an old entry never leads to a new
//!   group. The count is taken before the number is written anywhere, and given back after the
//!   number is gone from there. It leaves 0 only under the registry's lock, for a group that is
//!   still registered; whoever adds to it elsewhere holds the lock of an entry or of a set that
//!   counts already.
//! - Readers look a number up while they hold the lock of the shard in which they read it.
//! - A group that died or expired never lives again: announcing the same makes a new one, with a
//!   new serial.
//! - Locks are taken in the order shard, hot key, sets, registry, and none is held across another
//!   of its kind.

mod changes;
mod providers;
mod standing;
mod usage;

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering as Memory};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, Guard};
use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};

use super::IndexError;
use super::lineage::LineageRef;
use super::provider::Provider;
use super::slab::{Ids, Slab};
use crate::clock::UnixMs;
use crate::invariant;
use crate::types::{Limit, MergeKey, Origin, PeerId, ReadyRecord};
use changes::{CHANGED_AT_ONCE, ChangesInForce};

pub(crate) use changes::Statement;
pub(super) use standing::GroupRank;
use standing::Standings;
pub(super) use usage::GROUP_KEYS;
use usage::{GroupUsage, Usages};

const REGISTERED: &str = "a group that is registered exists";

/// The time of what does not happen.
const NEVER: UnixMs = UnixMs::MAX;

/// What a group takes up in the registry's maps and in the slab, roughly: 24 bytes in the table of
/// what is registered, 60 in the set by provider, 40 in the set by age, 36 in the set by expiry, 24 in
/// the map by serial, 8 in the slab, 32 among its network's groups; and 160 in a journal's ledger.
const REGISTRATION_BYTES: usize = 384;

/// The serial of the first group.
const FIRST_SERIAL: u64 = 1;

/// What makes a group: announcing the same again gives the same group.
#[derive(Clone, Debug)]
pub struct GroupSpec {
    /// The record, ready for answers.
    pub record: Arc<ReadyRecord>,
    /// The provider's name for a set of keys; empty without one.
    pub context: Arc<[u8]>,
    /// When the announcement lapses, in milliseconds since the Unix epoch; `None`: never.
    pub expires_at_ms: Option<UnixMs>,
    /// Who announces it.
    pub origin: Origin,
}

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: u32,
    pub(super) serial: u64,
    /// The record that it was made with; its identity is that of the lineage.
    first: Arc<ReadyRecord>,
    /// The record that it has since, if that changed: looking costs nothing as long as it did not.
    changed: OnceLock<ArcSwap<ReadyRecord>>,
    pub(super) context: Arc<[u8]>,
    /// None for a record that names no peer.
    provider: Option<Arc<Provider>>,
    pub(super) expires_at_ms: UnixMs,
    pub(super) origin: Origin,
    /// Since when its provider has been announced from there without a gap.
    pub(super) since_ms: UnixMs,
    /// What of its keys counts; `None`: nothing does.
    usage: Option<GroupUsage>,
    /// When it last got a key or another record; 0 before it has a key.
    last_changed_at_ms: AtomicU64,
    died_at_ms: AtomicU64,
    refs: AtomicU64,
}

/// The record that a group has at the moment.
pub(super) enum Current<'a> {
    /// The one that it was made with.
    First(&'a Arc<ReadyRecord>),
    /// Another one since.
    Changed(Guard<Arc<ReadyRecord>>),
}

/// Where a group comes from.
enum GroupSource {
    /// It is announced, under a serial of its own.
    Announced { now_ms: UnixMs },
    /// It had its serial, its keys and its standing before.
    Restored { serial: u64, since_ms: UnixMs, now_ms: UnixMs },
}

/// All groups.
pub(super) struct Groups {
    slab: Slab<Group>,
    registry: Mutex<GroupRegistry>,
    /// Counted up whenever a group ended or its record changed, after that.
    epoch: AtomicU64,
    hasher: RandomState,
}

struct GroupRegistry {
    ids: Ids,
    next_serial: u64,
    /// Those that live, by what makes them; of those that are made of the same, the newest.
    by_spec: HashTable<Arc<Group>>,
    /// Those that live.
    by_serial: HashMap<u64, u32>,
    by_provider: BTreeSet<(PeerId, Arc<[u8]>, u64)>,
    /// The same by provider and serial.
    by_age: BTreeSet<(PeerId, u64)>,
    by_expiry: BTreeSet<(UnixMs, u32)>,
    standings: Standings,
    usages: Usages,
    /// The records of those that live, by digest, and how many groups have each.
    records: HashMap<[u8; 16], (Arc<ReadyRecord>, u64)>,
    /// Those that have groups, and those of which something is known.
    by_peer: HashMap<PeerId, Arc<Provider>>,
    /// How many peers `by_provider` has.
    providers: u64,
    /// The serials of those that ended otherwise than by their expiry, until someone takes them.
    ended: Vec<u64>,
    changes: ChangesInForce,
    bytes: usize,
}

impl Deref for Current<'_> {
    type Target = Arc<ReadyRecord>;

    fn deref(&self) -> &Arc<ReadyRecord> {
        match self {
            Self::First(record) => record,
            Self::Changed(record) => record,
        }
    }
}

impl Group {
    /// The record that the group has now. It is read before [`Group::changed_at_ms`], so that what
    /// that says is not too early.
    pub(super) fn record(&self) -> Current<'_> {
        match self.changed.get() {
            None => Current::First(&self.first),
            Some(changed) => Current::Changed(changed.load()),
        }
    }

    /// What the group is of, for ever: the identity of the record that it was made with.
    pub(super) fn identity(&self) -> [u8; 16] {
        self.first.identity()
    }

    /// With which groups an answer merges this one, as long as none of them has another record.
    pub(super) fn merge_key(&self) -> MergeKey {
        self.first.merge_key()
    }

    /// The provider.
    pub(super) fn peer(&self) -> Option<&PeerId> {
        self.first.peer()
    }

    /// Whether the group has ever had a key.
    pub(super) fn has_been_linked(&self) -> bool {
        self.last_changed_at_ms.load(Memory::Relaxed) > 0
    }

    /// Whether the group is part of answers, unless it is hidden.
    pub(super) fn is_live(&self, now_ms: UnixMs) -> bool {
        now_ms < self.expires_at_ms && self.died_at_ms.load(Memory::Acquire) == NEVER
    }

    /// When the group last changed the answers for its keys, or later.
    pub(super) fn changed_at_ms(&self, now_ms: UnixMs) -> UnixMs {
        let provider_ms = self.provider.as_ref().map_or(0, |provider| provider.changed_at_ms());
        let last_changed_at_ms = self.last_changed_at_ms.load(Memory::Relaxed).max(provider_ms);
        if self.is_live(now_ms) {
            return last_changed_at_ms;
        }
        let ended_at_ms = self.died_at_ms.load(Memory::Acquire).min(self.expires_at_ms);
        last_changed_at_ms.max(ended_at_ms)
    }

    /// Records that a key is about to point at the group, or that its record is about to change.
    pub(super) fn mark_changed(&self, now_ms: UnixMs) {
        let now_ms = now_ms.max(1);
        if self.last_changed_at_ms.load(Memory::Relaxed) < now_ms {
            self.last_changed_at_ms.fetch_max(now_ms, Memory::Relaxed);
        }
    }

    /// Counts one more reference; see the module's invariants for who may.
    pub(super) fn retain(&self) {
        self.refs.fetch_add(1, Memory::Relaxed);
    }

    /// Counts so many more references, as [`Group::retain`] does.
    pub(super) fn retain_more(&self, references: u64) {
        self.refs.fetch_add(references, Memory::Relaxed);
    }

    /// Counts keys that have the group from now on.
    pub(super) fn count_keys(&self, keys: u64) {
        if let Some(usage) = &self.usage {
            usage.add(keys);
        }
    }

    /// Counts a key off that has the group no more.
    pub(super) fn count_key_off(&self) {
        if let Some(usage) = &self.usage {
            usage.remove_one();
        }
    }

    /// Counts keys off that were counted ahead.
    pub(super) fn count_keys_off(&self, keys: u64) {
        if let Some(usage) = &self.usage {
            usage.remove(keys);
        }
    }

    /// Whether the group has ended otherwise than by its expiry.
    pub(super) fn has_ended(&self) -> bool {
        self.died_at_ms.load(Memory::Acquire) != NEVER
    }

    /// Gives references back that were counted in vain, none of them the last.
    pub(super) fn give_back(&self, references: u64) {
        let before = self.refs.fetch_sub(references, Memory::AcqRel);
        debug_assert!(before > references, "the last reference is given back by release");
    }

    /// The same announcement, but for addresses, expiry and network.
    pub(super) fn lineage(&self) -> LineageRef<'_> {
        LineageRef::new(&self.first, &self.context, self.origin)
    }

    /// Whether the two are of one lineage.
    pub(super) fn is_of_lineage_of(&self, other: &Self) -> bool {
        self.lineage() == other.lineage()
    }

    /// Whether a key that has both keeps only this one.
    pub(super) fn supersedes(&self, other: &Self) -> bool {
        self.serial > other.serial
            && self.expires_at_ms >= other.expires_at_ms
            && self.is_of_lineage_of(other)
    }

    /// Whether both are found by the same specification.
    pub(super) fn says_the_same_as(&self, other: &Self) -> bool {
        self.expires_at_ms == other.expires_at_ms
            && self.record().digest() == other.record().digest()
            && self.context == other.context
            && self.origin == other.origin
    }

    /// The order of groups on a key: lineages whose records are merged are adjacent, and of a
    /// lineage the newest comes first.
    pub(super) fn order_on_key(&self, other: &Self) -> Ordering {
        let merged = self.merge_key().cmp(&other.merge_key());
        let identities = merged.then_with(|| self.identity().cmp(&other.identity()));
        let lineages = identities.then_with(|| self.context.cmp(&other.context)).then_with(|| {
            let is_stranger = |group: &Self| !group.origin.is_operator();
            is_stranger(self).cmp(&is_stranger(other))
        });
        lineages.then_with(|| other.serial.cmp(&self.serial))
    }

    /// When the group lapses; `None`: never.
    pub(super) fn expires_at_ms(&self) -> Option<UnixMs> {
        (self.expires_at_ms != NEVER).then_some(self.expires_at_ms)
    }

    fn is_of(&self, spec: &GroupSpec) -> bool {
        self.expires_at_ms == spec.expires_at_ms.unwrap_or(NEVER)
            && self.record().digest() == spec.record.digest()
            && self.context == spec.context
            && self.origin == spec.origin
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.context.len() + REGISTRATION_BYTES
    }
}

impl std::fmt::Debug for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Groups").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Groups {
    /// No groups, and room for `ids_max`.
    pub(super) fn new(ids_max: u32) -> Self {
        let registry = GroupRegistry {
            ids: Ids::new(ids_max),
            next_serial: FIRST_SERIAL,
            by_spec: HashTable::new(),
            by_serial: HashMap::new(),
            by_provider: BTreeSet::new(),
            by_age: BTreeSet::new(),
            by_expiry: BTreeSet::new(),
            standings: Standings::default(),
            usages: Usages::default(),
            records: HashMap::new(),
            by_peer: HashMap::new(),
            providers: 0,
            ended: Vec::new(),
            changes: ChangesInForce::default(),
            bytes: 0,
        };
        Self {
            slab: Slab::new(),
            registry: Mutex::new(registry),
            epoch: AtomicU64::new(0),
            hasher: RandomState::new(),
        }
    }

    /// The newest group of a specification that lives, or else a new one; with one reference
    /// counted for the caller. Says whether it is new.
    pub(super) fn intern(
        &self,
        spec: &GroupSpec,
        now_ms: UnixMs,
    ) -> Result<(Arc<Group>, bool), IndexError> {
        let mut registry = self.registry.lock();
        if let Some(group) = self.find_in(&registry, spec) {
            return Ok((group, false));
        }
        self.add(&mut registry, spec, GroupSource::Announced { now_ms }).map(|group| (group, true))
    }

    /// The newest group of a specification that lives, if there is one; with one reference counted
    /// for the caller.
    pub(super) fn find(&self, spec: &GroupSpec) -> Option<Arc<Group>> {
        self.find_in(&self.registry.lock(), spec)
    }

    fn find_in(&self, registry: &GroupRegistry, spec: &GroupSpec) -> Option<Arc<Group>> {
        let hash = self.hash(&spec.context, &spec.record, spec.expires_at_ms.unwrap_or(NEVER));
        let group = registry.by_spec.find(hash, |group| group.is_of(spec))?;
        group.retain();
        Some(group.clone())
    }

    /// A new group of a specification, even if there is one, with a reference counted for the
    /// caller.
    pub(super) fn intern_anew(
        &self,
        spec: &GroupSpec,
        now_ms: UnixMs,
    ) -> Result<Arc<Group>, IndexError> {
        self.add(&mut self.registry.lock(), spec, GroupSource::Announced { now_ms })
    }

    /// The group that had this serial before, as [`Groups::intern_anew`]; it counts as linked.
    pub(super) fn restore(
        &self,
        spec: &GroupSpec,
        serial: u64,
        since_ms: UnixMs,
        now_ms: UnixMs,
    ) -> Result<Arc<Group>, IndexError> {
        self.add(
            &mut self.registry.lock(),
            spec,
            GroupSource::Restored { serial, since_ms, now_ms },
        )
    }

    /// Gives out no serial below `next` any more.
    pub(super) fn reserve_serials(&self, next: u64) {
        let mut registry = self.registry.lock();
        registry.next_serial = registry.next_serial.max(next);
    }

    /// The serials of groups that ended otherwise than by their expiry since this was last asked.
    pub(super) fn take_ended(&self) -> Vec<u64> {
        std::mem::take(&mut self.registry.lock().ended)
    }

    /// Whether such a serial, smaller than this one, waits to be taken.
    pub(super) fn has_ended_below(&self, serial: u64) -> bool {
        self.registry.lock().ended.iter().any(|ended| *ended < serial)
    }

    /// Whether there is a group with a serial that has not ended.
    pub(super) fn has_serial(&self, serial: u64) -> bool {
        self.registry.lock().by_serial.contains_key(&serial)
    }

    /// The group with a serial, if it has not ended.
    pub(super) fn with_serial(&self, serial: u64) -> Option<Arc<Group>> {
        self.with_serial_in(&self.registry.lock(), serial)
    }

    fn with_serial_in(&self, registry: &GroupRegistry, serial: u64) -> Option<Arc<Group>> {
        let id = registry.by_serial.get(&serial)?;
        invariant::present(self.slab.get(*id).clone(), REGISTERED)
    }

    /// The group with a number that the caller read under a lock it still holds.
    pub(super) fn get(&self, id: u32) -> Guard<Option<Arc<Group>>> {
        self.slab.get(id)
    }

    /// Gives a reference back. Returns how many groups that freed: 0 or 1.
    pub(super) fn release(&self, group: &Arc<Group>) -> u64 {
        let references = group.refs.fetch_sub(1, Memory::AcqRel);
        debug_assert!(references > 0, "a reference is given back once");
        if references > 1 {
            return 0;
        }
        self.registry_free(&mut self.registry.lock(), group)
    }

    /// Ends all groups of a provider, or those under one of its contexts, that there are when this
    /// begins. Returns the serials of those that lived. The registry is released in between.
    pub(super) fn remove(&self, peer: &PeerId, context: Option<&[u8]>, now_ms: UnixMs) -> Vec<u64> {
        let mut removed = Vec::new();
        let end = self.registry.lock().next_serial;
        let mut next = Some((peer.clone(), Arc::from(context.unwrap_or_default()), 0));
        while let Some(first) = next {
            let mut registry = self.registry.lock();
            let of_it = registry.by_provider.range(first..).take_while(|(of, under, _)| {
                of == peer && context.is_none_or(|want| **under == *want)
            });
            let places: Vec<_> = of_it.take(CHANGED_AT_ONCE).cloned().collect();
            next = places.last().filter(|_| places.len() == CHANGED_AT_ONCE).cloned();
            // What was announced meanwhile stays; the last position is gone, or is skipped here.
            next = next.map(|(of, under, serial)| (of, under, serial + 1));
            for (_, _, serial) in places {
                if serial >= end {
                    continue;
                }
                let group = self.with_serial_in(&registry, serial);
                let Some(group) = invariant::present(group, REGISTERED) else { continue };
                if group.is_live(now_ms) {
                    removed.push(group.serial);
                }
                self.end(&mut registry, &group, now_ms.min(group.expires_at_ms));
                self.registry_free(&mut registry, &group);
            }
            MutexGuard::unlock_fair(registry);
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
            let group = invariant::present(self.slab.get(id).clone(), REGISTERED);
            let Some(group) = group else { continue };
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
        registry.ids.in_use() > registry.by_serial.len() as u64
    }

    /// How many peers have groups that have not ended.
    pub(super) fn providers(&self) -> u64 {
        self.registry.lock().providers
    }

    /// The memory that groups and their records take up.
    pub(super) fn bytes(&self) -> usize {
        let registry = self.registry.lock();
        registry.bytes + registry.standings.bytes() + registry.usages.bytes() + self.slab.bytes()
    }

    /// Makes a group, which becomes the one that its specification finds if it is the newest.
    fn add(
        &self,
        registry: &mut GroupRegistry,
        spec: &GroupSpec,
        source: GroupSource,
    ) -> Result<Arc<Group>, IndexError> {
        let (serial, since_ms, linked_at_ms, now_ms) = match source {
            GroupSource::Announced { now_ms } => (registry.next_serial, now_ms, 0, now_ms),
            GroupSource::Restored { serial, since_ms, now_ms } => {
                (serial, since_ms, now_ms.max(1), now_ms)
            }
        };
        let (origin, expires_at_ms) = (spec.origin, spec.expires_at_ms.unwrap_or(NEVER));
        let id = registry.ids.take().ok_or(IndexError::Full { limit: Limit::Groups })?;
        let since_ms = match spec.record.peer() {
            Some(peer) => registry.standings.enter((peer, origin), expires_at_ms, since_ms, now_ms),
            None => since_ms,
        };
        let group = Arc::new(Group {
            id,
            serial,
            first: registry.share_record(&spec.record),
            changed: OnceLock::new(),
            context: spec.context.clone(),
            provider: spec.record.peer().map(|peer| registry.provider_of(peer)),
            expires_at_ms,
            origin,
            since_ms,
            usage: registry.usages.enter((origin, spec.record.peer()), expires_at_ms, id),
            last_changed_at_ms: AtomicU64::new(linked_at_ms),
            died_at_ms: AtomicU64::new(NEVER),
            refs: AtomicU64::new(1),
        });
        self.slab.put(id, group.clone());
        registry.next_serial = registry.next_serial.max(serial + 1);
        registry.bytes += group.bytes();
        registry.by_serial.insert(serial, id);
        registry.add_provider(&group);
        if group.expires_at_ms != NEVER {
            registry.by_expiry.insert((group.expires_at_ms, id));
        }
        self.let_find(registry, &group);
        Ok(group)
    }

    /// Lets its specification find a group, if it is the newest.
    fn let_find(&self, registry: &mut GroupRegistry, group: &Arc<Group>) {
        let hash = self.hash_of(group);
        match registry.by_spec.find_mut(hash, |other| other.says_the_same_as(group)) {
            Some(other) if other.serial > group.serial => {}
            Some(other) => *other = group.clone(),
            None => {
                registry.by_spec.insert_unique(hash, group.clone(), |group| self.hash_of(group));
            }
        }
    }

    /// Another number after every end of a group and every change of a record.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Memory::Acquire)
    }

    fn count_change(&self) {
        self.epoch.fetch_add(1, Memory::Release);
    }

    /// Lets a specification no longer find a group.
    fn let_go(&self, registry: &mut GroupRegistry, group: &Arc<Group>) {
        let hash = self.hash_of(group);
        let found = registry.by_spec.find_entry(hash, |other| Arc::ptr_eq(other, group));
        if let Ok(entry) = found {
            entry.remove();
        }
    }

    /// Takes a group out of everything by which announcements and removals find it.
    fn end(&self, registry: &mut GroupRegistry, group: &Arc<Group>, at_ms: UnixMs) {
        if registry.by_serial.remove(&group.serial).is_none() {
            return;
        }
        self.let_go(registry, group);
        group.died_at_ms.store(at_ms, Memory::Release);
        if at_ms < group.expires_at_ms {
            registry.ended.push(group.serial);
        }
        registry.remove_provider(group);
        if let Some(peer) = group.peer() {
            registry.standings.leave(peer, group.origin);
        }
        registry.usages.leave(group);
        registry.by_expiry.remove(&(group.expires_at_ms, group.id));
        registry.forget_changes(group, at_ms);
        registry.unshare_record(&group.first);
        if let Some(changed) = group.changed.get() {
            registry.unshare_record(&changed.load());
        }
        self.count_change();
    }

    /// Frees a group if nothing refers to it.
    fn registry_free(&self, registry: &mut GroupRegistry, group: &Arc<Group>) -> u64 {
        let is_freed = self.slab.get(group.id).as_ref().is_none_or(|now| !Arc::ptr_eq(now, group));
        if is_freed || group.refs.load(Memory::Acquire) > 0 {
            return 0;
        }
        // A group that lives but has no keys any more ends here, too.
        let last_changed_at_ms = group.last_changed_at_ms.load(Memory::Relaxed);
        self.end(registry, group, last_changed_at_ms.min(group.expires_at_ms.saturating_sub(1)));
        if let Some(usage) = &group.usage {
            registry.usages.free(usage);
        }
        self.slab.take(group.id);
        registry.ids.give_back(group.id);
        registry.bytes -= group.bytes();
        1
    }

    fn hash_of(&self, group: &Group) -> u64 {
        self.hash(&group.context, &group.record(), group.expires_at_ms)
    }

    fn hash(&self, context: &[u8], record: &ReadyRecord, expires_at_ms: UnixMs) -> u64 {
        self.hasher.hash_one((context, record.digest(), expires_at_ms))
    }
}

impl GroupRegistry {
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
        let shared = self.records.get_mut(&record.digest());
        let shared = invariant::present(shared, "a record that a group has is shared");
        let Some((_, users)) = shared else { return };
        *users -= 1;
        if *users == 0 {
            self.records.remove(&record.digest());
            self.bytes -= record_bytes(record);
        }
    }
}

/// The record, its JSON, where its addresses are in it (16 bytes each), and its place in the map.
fn record_bytes(record: &ReadyRecord) -> usize {
    size_of::<ReadyRecord>() + record.len_bytes() + record.addr_count() * 16 + 48
}
