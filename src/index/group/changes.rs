//! Changes: other addresses for all groups of a provider, another record for all of a context.
//!
//! A change has a *stamp*, taken from the serials, and counts for the groups with a smaller serial. Of
//! the changes that count for a group, the newest record and the newest list of addresses are what it
//! has:
//!
//! ```text
//! record    = newest of  group's own (serial), its context's change (stamp)
//! addresses = newest of  those of that record (serial or stamp), the provider's statement (stamp)
//! ```
//!
//! So which record a group has follows from stamps and serials, not from the order in which changes
//! are read, and a change does not affect what is announced after it.
//!
//! # Invariants
//!
//! - A record is kept for as long as a group lives that it counts for; a statement for as long as its
//!   provider has any group, so that an older one is known to be older. Not longer: what was removed
//!   leaves nothing behind that could come back.
//! - The registry is locked for [`CHANGED_AT_ONCE`] groups at a time, and passed on fairly
//!   in between. Whoever renders a group's record
//!   reads what is in force at that moment, so two changes at once end with the newer one.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::MutexGuard;

use super::providers::{FactInForce, ProviderFact};
use super::{Group, GroupRegistry, Groups, REGISTERED};
use crate::clock::UnixMs;
use crate::invariant;
use crate::types::{Addr, Origin, PeerId, ReadyRecord};

/// How many groups get another record under one hold of the registry's lock: a millisecond.
pub(super) const CHANGED_AT_ONCE: usize = 128;

/// How many groups of a provider are looked at for where it announces from.
const ORIGINS_LOOKED_AT: usize = 64;

/// How much is kept by the hash of a peer, not for each: 36 KiB in all.
const END_STRIPES: usize = 4096;

const STRIPE: &str = "a provider's stripe is below their number";

/// What a provider said of its addresses.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    /// Counts for groups with a smaller serial.
    pub(crate) stamp: u64,
    /// When the provider said it, by its own clock.
    pub(crate) stated_at_ms: UnixMs,
    /// Where it is reached.
    pub(crate) addrs: Arc<[Addr]>,
}

impl Statement {
    /// That nothing is known of what a provider said. It stands in the way of older statements in a
    /// journal; every statement is newer by the provider's clock.
    pub(crate) fn nothing(stamp: u64) -> Self {
        Self { stamp, stated_at_ms: 0, addrs: Arc::default() }
    }

    fn says_something(&self) -> bool {
        self.stated_at_ms > 0 || !self.addrs.is_empty()
    }
}

/// Another record for the groups of a context.
struct NewRecord {
    stamp: u64,
    record: Arc<ReadyRecord>,
}

/// A statement in force.
struct Stated {
    statement: Statement,
    /// Whether a record of the provider changed since: it may have brought other addresses.
    has_record_since: bool,
}

/// The changes in force.
pub(super) struct ChangesInForce {
    statements: HashMap<PeerId, Stated>,
    records: HashMap<(PeerId, Arc<[u8]>), NewRecord>,
    pub(super) facts: HashMap<ProviderFact, FactInForce>,
    pub(super) stamps: HashSet<u64>,
    /// When a group last ended, of the peers with each hash.
    ended_at_ms: Box<[UnixMs]>,
    /// Whether some peer with each hash said something that is forgotten, and that a journal may have.
    has_forgotten: Box<[bool]>,
}

/// Records with the addresses of a statement, by its stamp and the record's digest.
type RenderedRecords = HashMap<(u64, [u8; 16]), Arc<ReadyRecord>>;

impl Default for ChangesInForce {
    fn default() -> Self {
        Self {
            statements: HashMap::new(),
            records: HashMap::new(),
            facts: HashMap::new(),
            stamps: HashSet::new(),
            ended_at_ms: vec![0; END_STRIPES].into(),
            has_forgotten: vec![false; END_STRIPES].into(),
        }
    }
}

impl Groups {
    /// A number for a change, out of the serials.
    pub(in crate::index) fn stamp(&self) -> u64 {
        let mut registry = self.registry.lock();
        let stamp = registry.next_serial;
        registry.next_serial += 1;
        stamp
    }

    /// The statement of a provider that is in force.
    pub(in crate::index) fn statement(&self, peer: &PeerId) -> Option<Statement> {
        let registry = self.registry.lock();
        let stated = registry.changes.statements.get(peer).map(|stated| &stated.statement);
        stated.filter(|statement| statement.says_something()).cloned()
    }

    /// The network that a provider's newest groups came from; the operator's are passed over.
    pub(in crate::index) fn origin_of(&self, peer: &PeerId) -> Option<Origin> {
        let (newest, _) = self.newest_of(peer, ORIGINS_LOOKED_AT);
        newest.iter().map(|group| group.origin).find(|origin| !origin.is_operator())
    }

    /// Whether a change is in force.
    pub(in crate::index) fn is_in_force(&self, stamp: u64) -> bool {
        self.registry.lock().changes.stamps.contains(&stamp)
    }

    /// Whether a provider has groups that have not ended.
    pub(in crate::index) fn has_provider(&self, peer: &PeerId) -> bool {
        self.registry.lock().oldest_of(peer).is_some()
    }

    /// Whether a provider has no groups, and may have said something before its last one ended.
    pub(in crate::index) fn has_forgotten(&self, peer: &PeerId) -> bool {
        let registry = self.registry.lock();
        let has_forgotten = registry.changes.has_forgotten.get(stripe_of(peer));
        invariant::present(has_forgotten, STRIPE).is_some_and(|has_forgotten| *has_forgotten)
            && registry.oldest_of(peer).is_none()
    }

    /// Gives the groups of a provider other addresses. Returns how many that changed.
    pub(in crate::index) fn restate(
        &self,
        peer: &PeerId,
        statement: Statement,
        now_ms: UnixMs,
    ) -> u64 {
        let stamp = statement.stamp;
        let Some(first) = self.registry.lock().put_statement(peer, statement) else { return 0 };
        let of_peer = |registry: &GroupRegistry, serials: Range<u64>| {
            let range = (peer.clone(), serials.start)..(peer.clone(), serials.end);
            registry.by_age.range(range).take(CHANGED_AT_ONCE).map(|(_, serial)| *serial).collect()
        };
        let (mut rendered, mut changed) = (RenderedRecords::new(), 0);
        self.in_slices(first..stamp, of_peer, |registry, serials| {
            changed += self.refresh_all(registry, serials, &mut rendered, now_ms);
            ControlFlow::Continue(())
        });
        changed
    }

    /// Gives the groups of a context another record. Returns how many that changed.
    pub(in crate::index) fn set_record(
        &self,
        context: &Arc<[u8]>,
        stamp: u64,
        record: &Arc<ReadyRecord>,
        now_ms: UnixMs,
    ) -> u64 {
        let Some(peer) = record.peer() else { return 0 };
        if !self.registry.lock().put_record(peer, context, stamp, record) {
            return 0;
        }
        let (mut rendered, mut changed) = (RenderedRecords::new(), 0);
        self.in_slices(0..stamp, of_context(peer, context), |registry, serials| {
            changed += self.refresh_all(registry, serials, &mut rendered, now_ms);
            ControlFlow::Continue(())
        });
        changed
    }

    /// Whether a record would change something for its provider's groups of a context.
    pub(in crate::index) fn would_change(
        &self,
        context: &Arc<[u8]>,
        record: &ReadyRecord,
        now_ms: UnixMs,
    ) -> bool {
        let Some(peer) = record.peer() else { return false };
        let is_other =
            |group: Arc<Group>| group.is_live(now_ms) && group.record().digest() != record.digest();
        let end = self.registry.lock().next_serial;
        let mut would_change = false;
        self.in_slices(0..end, of_context(peer, context), |registry, serials| {
            let mut groups = serials.iter().filter_map(|it| self.with_serial_in(registry, *it));
            would_change = groups.any(is_other);
            if would_change { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        would_change
    }

    /// Works on groups with these serials, [`CHANGED_AT_ONCE`] at a time, as `next_of` finds them in
    /// order, and releases the registry in between.
    fn in_slices(
        &self,
        serials: Range<u64>,
        next_of: impl Fn(&GroupRegistry, Range<u64>) -> Vec<u64>,
        mut work: impl FnMut(&mut GroupRegistry, &[u64]) -> ControlFlow<()>,
    ) {
        let mut next = serials.start;
        while next < serials.end {
            let mut registry = self.registry.lock();
            let slice = next_of(&registry, next..serials.end);
            if work(&mut registry, &slice).is_break() {
                return;
            }
            next = match slice.last() {
                Some(last) if slice.len() == CHANGED_AT_ONCE => last + 1,
                Some(_) | None => serials.end,
            };
            MutexGuard::unlock_fair(registry);
        }
    }

    /// The newest groups of a provider, at most so many, and when one of its groups last ended, or
    /// later.
    pub(in crate::index) fn newest_of(
        &self,
        peer: &PeerId,
        max: usize,
    ) -> (Vec<Arc<Group>>, UnixMs) {
        let registry = self.registry.lock();
        let of_peer = (peer.clone(), 0)..=(peer.clone(), u64::MAX);
        let serials = registry.by_age.range(of_peer).rev().take(max).map(|(_, serial)| *serial);
        let group = |serial| invariant::present(self.with_serial_in(&registry, serial), REGISTERED);
        let groups = serials.filter_map(group).collect();
        let ended_at_ms = registry.changes.ended_at_ms.get(stripe_of(peer));
        (groups, invariant::present(ended_at_ms, STRIPE).copied().unwrap_or_default())
    }

    fn refresh_all(
        &self,
        registry: &mut GroupRegistry,
        serials: &[u64],
        rendered: &mut RenderedRecords,
        now_ms: UnixMs,
    ) -> u64 {
        let mut changed = 0;
        for serial in serials {
            let group = invariant::present(self.with_serial_in(registry, *serial), REGISTERED);
            let Some(group) = group else { continue };
            changed += u64::from(self.refresh(registry, &group, rendered, now_ms));
        }
        changed
    }

    /// Gives a group the record that it is to have. Returns whether that changed it.
    fn refresh(
        &self,
        registry: &mut GroupRegistry,
        group: &Arc<Group>,
        rendered: &mut RenderedRecords,
        now_ms: UnixMs,
    ) -> bool {
        let record = registry.changes.record_of(group, rendered);
        if record.digest() == group.record().digest() {
            return false;
        }
        self.let_go(registry, group);
        let record = registry.share_record(&record);
        // Who sees the record sees when it came.
        if group.has_been_linked() {
            group.mark_changed(now_ms);
        }
        match group.changed.get() {
            Some(changed) => {
                let old = changed.swap(record);
                registry.unshare_record(&old);
            }
            None => drop(group.changed.set(ArcSwap::new(record))),
        }
        self.count_change();
        self.let_find(registry, group);
        true
    }
}

/// Finds the next groups of a provider and context.
fn of_context(
    peer: &PeerId,
    context: &Arc<[u8]>,
) -> impl Fn(&GroupRegistry, Range<u64>) -> Vec<u64> {
    move |registry, serials| {
        let place = |serial| (peer.clone(), context.clone(), serial);
        let range = registry.by_provider.range(place(serials.start)..place(serials.end));
        range.take(CHANGED_AT_ONCE).map(|(_, _, serial)| *serial).collect()
    }
}

impl ChangesInForce {
    fn record_forgotten(&mut self, peer: &PeerId) {
        let has_forgotten = self.has_forgotten.get_mut(stripe_of(peer));
        if let Some(has_forgotten) = invariant::present(has_forgotten, STRIPE) {
            *has_forgotten = true;
        }
    }

    /// The record that a group is to have.
    fn record_of(&self, group: &Group, rendered: &mut RenderedRecords) -> Arc<ReadyRecord> {
        let Some(peer) = group.peer() else { return group.first.clone() };
        let (mut record, mut said_at) = (&group.first, group.serial);
        if let Some(new) = self.records.get(&(peer.clone(), group.context.clone()))
            && new.stamp > group.serial
        {
            record = &new.record;
            // Without a list it says nothing of addresses.
            said_at = if record.has_addr_list() { new.stamp } else { said_at };
        }
        let stated = self.statements.get(peer).map(|stated| &stated.statement);
        let Some(statement) = stated.filter(|statement| statement.stamp > said_at) else {
            return record.clone();
        };
        let with_addrs = || {
            let changed = record.with_addrs(&statement.addrs);
            changed.map_or_else(|| record.clone(), Arc::new)
        };
        rendered.entry((statement.stamp, record.digest())).or_insert_with(with_addrs).clone()
    }
}

impl GroupRegistry {
    /// Puts a statement into force, if it is the newest and its provider has groups. Returns from
    /// which serial on groups may have other addresses than it says.
    fn put_statement(&mut self, peer: &PeerId, statement: Statement) -> Option<u64> {
        if self.oldest_of(peer).is_none() {
            self.changes.record_forgotten(peer);
            return None;
        }
        let stamp = statement.stamp;
        let known = self.changes.statements.get(peer);
        if known.is_some_and(|known| known.statement.stamp >= stamp) {
            return None;
        }
        self.bytes += statement_bytes(&statement);
        self.changes.stamps.insert(stamp);
        let stated = Stated { statement: statement.clone(), has_record_since: false };
        let Some(old) = self.changes.statements.insert(peer.clone(), stated) else {
            return Some(0);
        };
        self.bytes -= statement_bytes(&old.statement);
        self.changes.stamps.remove(&old.statement.stamp);
        let is_same = old.statement.addrs == statement.addrs && !old.has_record_since;
        Some(if is_same { old.statement.stamp } else { 0 })
    }

    /// Puts a record into force, if it is the newest and counts for some group.
    fn put_record(
        &mut self,
        peer: &PeerId,
        context: &Arc<[u8]>,
        stamp: u64,
        record: &Arc<ReadyRecord>,
    ) -> bool {
        let place = (peer.clone(), context.clone());
        let is_newest = self.changes.records.get(&place).is_none_or(|known| known.stamp < stamp);
        let counts = self.oldest_under(peer, context).is_some_and(|serial| serial < stamp);
        if !is_newest || !counts {
            return false;
        }
        let new = NewRecord { stamp, record: self.share_record(record) };
        self.bytes += NEW_RECORD_BYTES;
        self.changes.stamps.insert(stamp);
        if let Some(old) = self.changes.records.insert(place, new) {
            self.drop_record(&old);
        }
        if let Some(stated) = self.changes.statements.get_mut(peer) {
            stated.has_record_since = true;
        }
        true
    }

    /// Gives up the changes that are of no use any more, now that this group has ended.
    pub(super) fn forget_changes(&mut self, group: &Group, at_ms: UnixMs) {
        let Some(peer) = group.peer() else { return };
        let ended_at_ms = self.changes.ended_at_ms.get_mut(stripe_of(peer));
        if let Some(ended_at_ms) = invariant::present(ended_at_ms, STRIPE) {
            *ended_at_ms = at_ms.max(*ended_at_ms);
        }
        // Groups that are newer than the statement do not heed it, but whoever announces does.
        if self.oldest_of(peer).is_none()
            && let Some(old) = self.changes.statements.remove(peer)
        {
            self.bytes -= statement_bytes(&old.statement);
            self.changes.stamps.remove(&old.statement.stamp);
            self.changes.record_forgotten(peer);
        }
        self.forget_companions(peer, group, at_ms);
        let place = (peer.clone(), group.context.clone());
        if let Some(new) = self.changes.records.get(&place)
            && self.oldest_under(peer, &group.context).is_none_or(|serial| serial > new.stamp)
            && let Some(old) = self.changes.records.remove(&place)
        {
            self.drop_record(&old);
        }
    }

    fn drop_record(&mut self, old: &NewRecord) {
        self.bytes -= NEW_RECORD_BYTES;
        self.changes.stamps.remove(&old.stamp);
        self.unshare_record(&old.record);
    }

    /// The serial of the oldest group of a provider under a context.
    pub(super) fn oldest_under(&self, peer: &PeerId, context: &Arc<[u8]>) -> Option<u64> {
        let place = |serial| (peer.clone(), context.clone(), serial);
        let mut serials = self.by_provider.range(place(0)..=place(u64::MAX));
        serials.next().map(|(_, _, serial)| *serial)
    }
}

/// What a record in force takes up in the maps; its bytes count with the records.
const NEW_RECORD_BYTES: usize = size_of::<((PeerId, Arc<[u8]>), NewRecord)>() + 48;

fn statement_bytes(statement: &Statement) -> usize {
    let text: usize = statement.addrs.iter().map(|addr| addr.as_str().len()).sum();
    size_of::<(PeerId, Statement)>() + 32 + statement.addrs.len() * size_of::<Addr>() + text
}

fn stripe_of(peer: &PeerId) -> usize {
    let mut hasher = DefaultHasher::new();
    peer.hash(&mut hasher);
    hasher.finish() as usize % END_STRIPES
}
