//! The index: from keys to groups, in memory, in shards.
//!
//! ```text
//! key -> fingerprint (96 bits) -> shard -> table -> reference -> group, or set of groups
//! ```
//!
//! A key takes one slot of 16 bytes in its shard's table, whatever its multihash: a fingerprint
//! and a reference (`table`, `fingerprint`). A reference is a group's number, or the number of a
//! set of groups for a key that several providers have (`group`, `sets`, `hot key`). Removing a
//! provider or a context ends its groups, never touches keys; what points at groups that ended is
//! not served, and is freed by the sweep.
//!
//! # Invariants
//!
//! - A lookup holds one shard's lock for one probe. Filtering, merging and copying follow.
//! - Placement comes from fingerprints under a secret, never from digests: whoever chooses
//!   multihashes chooses neither shards nor slots.
//! - A number is not used again while anything refers to it (`group` says how that is kept).
//! - `modified_at_ms` of an answer is never earlier than its last change: a group records when keys
//!   are added to it and when it ended, a shard records when entries were removed.
//! - `now` is a parameter everywhere. A group that expired by one clock may be served again by an
//!   earlier one, until it is swept; a group that was removed never.
//!
//! # Failure
//!
//! Only announcing can fail, when no numbers are left; what was taken in before stays.

mod admit;
mod announce;
mod answer;
mod fingerprint;
mod group;
mod hot_key;
mod lineage;
mod link;
mod memo;
mod merge;
mod pass;
mod peer;
mod provider;
mod restore;
mod sets;
mod slab;
mod slots;
mod sweep;
mod table;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering as Memory};

use parking_lot::{Mutex, RwLock};
use thiserror::Error;

use crate::clock::UnixMs;
use crate::invariant;
use crate::types::{
    ContentKey, Filter, Found, Limit, Origin, PeerId, Question, ReadyRecord, SharedRecords, Subject,
};
use answer::Wanted;
use fingerprint::{FINGERPRINT_BITS, Fingerprint, Fingerprinter, SHARD_BITS};
use group::{Group, Groups};
use hot_key::{HOT_KEY_GROUP_BYTES, HotKey};
use memo::{Memo, MemoState, Memos};
use sets::{KeySet, Sets, answer_of_few};
use slab::IDS_MAX;
use sweep::SWEEP_STEPS_MAX;
use table::SlotTable;

pub use admit::IndexLimits;
pub(crate) use announce::Interned;
#[cfg(test)]
pub(crate) use announce::{Announced, LinkPlan};
pub use group::GroupSpec;
pub(crate) use group::Statement;
pub(crate) use lineage::LineageRef;
pub use provider::{COMPANIONS_MAX, CompanionProtocols, Visibility};
pub(crate) use provider::{CompanionSet, ReadyCompanion};
pub(crate) use restore::Restore;
pub(crate) use sets::ReservedSets;

/// The number of round-robin cursors for keys with a few groups. Two keys that share a cursor skip
/// each other's records; among 65,536 that is rare, and cannot be provoked.
const CURSORS: usize = 1 << 16;

/// A number in a table counts as a reference, so what it names is there.
const GROUP_OF_AN_ENTRY: &str = "the group that an entry names exists";
const SET_OF_AN_ENTRY: &str = "the set that an entry names exists";

/// The index.
pub struct Index {
    fingerprinter: Fingerprinter,
    shards: Box<[Shard]>,
    groups: Arc<Groups>,
    sets: Sets,
    cursors: Box<[AtomicU32]>,
    memos: Memos,
    counters: IndexCounters,
    limits: IndexLimits,
    /// The shard that the next sweep begins with.
    next_swept: Mutex<usize>,
    sweep_steps_max: usize,
}

/// What [`Index::sweep`] freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// (key, group) pairs.
    pub(crate) entries: u64,
    /// Groups.
    pub(crate) groups: u64,
    /// Groups that strangers lost since the last sweep, because room was needed; they are freed by later
    /// sweeps.
    pub(crate) evicted: u64,
    /// Keys that were left out of announcements since the last sweep, because they have too many providers
    /// from one network.
    pub(crate) crowded: u64,
}

/// How much an index holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// (key, group) pairs, those not yet swept included.
    pub entries: u64,
    /// Keys.
    pub(crate) keys: u64,
    /// Groups, those not yet swept included.
    pub groups: u64,
    /// Peers that have groups.
    pub(crate) providers: u64,
    /// Bytes of memory.
    pub bytes: u64,
}

/// Why an announcement was not taken in.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IndexError {
    /// All numbers are in use.
    #[error("there is no room for more {limit}")]
    Full {
        /// What there is no more room for.
        limit: Limit,
    },
}

/// What became of one key of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkOutcome {
    /// The key had no group of the lineage.
    Added,
    /// It had one, and answers with this one now.
    Refreshed,
    /// It has a newer one, and goes on answering with that.
    Behind,
    /// It has as many providers of the network as it may, all of which stand longer.
    Crowded,
}

/// What a slot of a table holds beside the fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reference {
    Group(u32),
    Set(u32),
}

// A cache line each, so that the locks of neighbours do not get in each other's way.
#[repr(align(64))]
struct Shard(RwLock<ShardState>);

struct ShardState {
    table: SlotTable,
    /// When an entry was last taken out or changed.
    changed_at_ms: UnixMs,
}

impl Shard {
    fn new(number: usize) -> Self {
        Self(RwLock::new(ShardState { table: SlotTable::new(number), changed_at_ms: 0 }))
    }
}

#[derive(Default)]
struct IndexCounters {
    keys: AtomicU64,
    entries: AtomicU64,
    table_bytes: AtomicU64,
    hot_key_groups: AtomicU64,
    /// Groups that were evicted and not yet reported.
    evicted: AtomicU64,
    /// Keys that were left out and not yet reported.
    crowded: AtomicU64,
}

/// What tests make smaller than it is.
struct Bounds {
    fingerprint_bits: u32,
    ids_max: u32,
    sweep_steps_max: usize,
    limits: IndexLimits,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            fingerprint_bits: FINGERPRINT_BITS,
            ids_max: IDS_MAX,
            sweep_steps_max: SWEEP_STEPS_MAX,
            limits: IndexLimits::default(),
        }
    }
}

impl Index {
    /// An empty index.
    pub fn new() -> Self {
        Self::with_bounds(Bounds::default())
    }

    /// An empty index that takes no more than the limits say.
    pub fn with_limits(limits: IndexLimits) -> Self {
        Self::with_bounds(Bounds { limits, ..Bounds::default() })
    }

    /// An empty index with so few numbers for groups and for sets of them.
    #[cfg(test)]
    pub(crate) fn with_ids_max(ids_max: u32) -> Self {
        Self::with_bounds(Bounds { ids_max, ..Bounds::default() })
    }

    fn with_bounds(bounds: Bounds) -> Self {
        Self {
            fingerprinter: Fingerprinter::new(bounds.fingerprint_bits),
            shards: (0..1 << SHARD_BITS).map(Shard::new).collect(),
            groups: Arc::new(Groups::new(bounds.ids_max)),
            sets: Sets::new(bounds.ids_max),
            cursors: (0..CURSORS).map(|_| AtomicU32::new(0)).collect(),
            memos: Memos::new(),
            counters: IndexCounters::default(),
            limits: bounds.limits,
            next_swept: Mutex::new(0),
            sweep_steps_max: bounds.sweep_steps_max,
        }
    }

    /// The answer to a question about content ([`Index::find`]) or a peer ([`Index::peer`]).
    pub(crate) fn answer(&self, question: &Question, now_ms: UnixMs) -> Found {
        let Question { subject, filter, .. } = question;
        match subject {
            Subject::Content(key) => self.find(key, filter, Some(question.cap()), now_ms),
            Subject::Peer(peer) => self.peer(peer, filter, now_ms),
        }
    }

    /// Finds the records of a key that pass the filter, at most `records_max`.
    ///
    /// Records of one provider that differ only in addresses, under several contexts, are merged.
    /// The order is the same until something changes; when more match than are wanted, successive
    /// answers go through them round-robin, those with addresses first.
    pub fn find(
        &self,
        key: &ContentKey,
        filter: &Filter,
        records_max: Option<NonZeroUsize>,
        now_ms: UnixMs,
    ) -> Found {
        let wanted = Wanted { filter, records_max, now_ms };
        let fingerprint = self.fingerprinter.of(key);
        let shard = self.shard(fingerprint).read();
        let Some(reference) = shard.table.get(fingerprint) else { return Found::default() };
        let changed_at_ms = shard.changed_at_ms;
        match Reference::read(reference) {
            Reference::Group(id) => {
                let group = self.groups.get(id);
                drop(shard);
                match invariant::present(group.as_ref(), GROUP_OF_AN_ENTRY) {
                    None => Found::default(),
                    Some(group) if group.has_companions() => {
                        let (group, cursor) =
                            (std::slice::from_ref(group), self.cursor(fingerprint));
                        answer_of_few(group, wanted, changed_at_ms, cursor)
                    }
                    Some(group) => answer::of_one(group, wanted, changed_at_ms),
                }
            }
            Reference::Set(id) => {
                let set = self.sets.get(id);
                drop(shard);
                let set = invariant::present(set.as_ref(), SET_OF_AN_ENTRY);
                let Some(set) = set else { return Found::default() };
                match &**set {
                    KeySet::Few(few) => {
                        let cursor = self.cursor(fingerprint);
                        answer_of_few(&few.groups, wanted, changed_at_ms, cursor)
                    }
                    KeySet::Hot(hot_key) => {
                        let entry = (fingerprint, Reference::Set(id), set);
                        self.find_in_hot_key(entry, hot_key, wanted, changed_at_ms)
                    }
                }
            }
        }
    }

    fn find_in_hot_key(
        &self,
        (fingerprint, reference, set): (Fingerprint, Reference, &Arc<KeySet>),
        hot_key: &HotKey,
        wanted: Wanted<'_>,
        shard_changed_at_ms: UnixMs,
    ) -> Found {
        // Before the first group is looked at: a change after that makes the answer outdated.
        let state =
            MemoState { hot_key_version: hot_key.version(), groups_epoch: self.groups.epoch() };
        if wanted.filter.is_empty()
            && let Some((records, changed_at_ms)) = self.memos.get(fingerprint, set, state, wanted)
        {
            return Found::new(records, changed_at_ms.max(shard_changed_at_ms));
        }
        let found = hot_key.answer(wanted, shard_changed_at_ms, &self.groups);
        if found.pruned > 0 {
            self.count_hot_key(-(found.pruned as i64));
            self.retire(fingerprint, reference, hot_key, wanted.now_ms);
        }
        let mut answer = found.answer;
        if let Some(lasts) = found.lasts
            && memo::is_short(&answer.records)
        {
            let records = Arc::new(SharedRecords::new(answer.records.into_iter().collect()));
            answer.records = records.clone().into();
            let holds_ms = (wanted.now_ms, lasts.ends_at_ms.saturating_sub(1));
            let (set, changed_at_ms) = (Arc::downgrade(set), lasts.changed_at_ms);
            let memo = Memo { set, state, holds_ms, changed_at_ms, records };
            self.memos.keep(fingerprint, memo);
        }
        answer
    }

    /// Removes everything of a provider, or everything under one of its contexts. Returns the serials
    /// of the groups that ended by it. Takes time by their number, whatever the number of keys.
    pub fn remove(&self, peer: &PeerId, context: Option<&[u8]>, now_ms: UnixMs) -> Vec<u64> {
        self.groups.remove(peer, context, now_ms)
    }

    /// The serials of the groups that ended since this was last asked, because they were removed or
    /// because newer groups superseded them on their last keys. Those that expired are not among
    /// them, unless their last keys were taken from them before a sweep saw that. They are kept
    /// until they are taken, 8 bytes each.
    pub(crate) fn take_ended(&self) -> Vec<u64> {
        self.groups.take_ended()
    }

    /// Whether the key has the group with this serial, and it lives.
    pub(crate) fn holds(&self, multihash: &[u8], serial: u64, now_ms: UnixMs) -> bool {
        let fingerprint = self.fingerprinter.of_multihash(multihash);
        let is_it = |group: &Group| group.serial == serial && group.is_live(now_ms);
        let shard = self.shard(fingerprint).read();
        match shard.table.get(fingerprint).map(Reference::read) {
            None => false,
            Some(Reference::Group(id)) => {
                let group = self.groups.get(id);
                invariant::present(group.as_deref(), GROUP_OF_AN_ENTRY).is_some_and(is_it)
            }
            Some(Reference::Set(id)) => {
                let set = self.sets.get(id);
                drop(shard);
                match invariant::present(set.as_deref(), SET_OF_AN_ENTRY) {
                    None => false,
                    Some(KeySet::Few(few)) => few.groups.iter().any(|group| is_it(group)),
                    Some(KeySet::Hot(hot_key)) => {
                        let group = self.groups.with_serial(serial);
                        group.is_some_and(|group| group.is_live(now_ms) && hot_key.has(&group))
                    }
                }
            }
        }
    }

    /// The serial of the newest group that lives and that a key has of a lineage.
    pub(crate) fn newest_serial(
        &self,
        multihash: &[u8],
        lineage: &LineageRef<'_>,
        now_ms: UnixMs,
    ) -> Option<u64> {
        let fingerprint = self.fingerprinter.of_multihash(multihash);
        self.newest_like(lineage, fingerprint, now_ms).map(|newest| newest.serial)
    }

    /// Whether there is a group with this serial that has not ended. One that expired may be there
    /// until a sweep sees that.
    pub(crate) fn has_group(&self, serial: u64) -> bool {
        self.groups.has_serial(serial)
    }

    /// Whether [`Index::take_ended`] would give a group with a smaller serial.
    pub(crate) fn has_ended_below(&self, serial: u64) -> bool {
        self.groups.has_ended_below(serial)
    }

    /// A number for a change of addresses or of a record. It counts for the groups that there are, and
    /// not for those that are made from now on.
    pub(crate) fn stamp(&self) -> u64 {
        self.groups.stamp()
    }

    /// The network that a provider announced from last, the operator's announcements left out.
    pub(crate) fn origin_of(&self, peer: &PeerId) -> Option<Origin> {
        self.groups.origin_of(peer)
    }

    /// What a provider said last of its addresses, as long as it has groups.
    pub(crate) fn statement(&self, peer: &PeerId) -> Option<Statement> {
        self.groups.statement(peer)
    }

    /// Whether a change is in force: none of its kind is newer, and it is a record that counts for some
    /// group that lives, or a statement of a provider that has groups.
    pub(crate) fn is_in_force(&self, stamp: u64) -> bool {
        self.groups.is_in_force(stamp)
    }

    /// Whether a provider has groups.
    pub(crate) fn has_provider(&self, peer: &PeerId) -> bool {
        self.groups.has_provider(peer)
    }

    /// Whether a provider has no groups, and said something before that is forgotten. A journal may
    /// still have it, and has to be told ([`Statement::nothing`]) before the provider has groups again.
    /// Of a few providers it is said without reason.
    pub(crate) fn has_forgotten(&self, peer: &PeerId) -> bool {
        self.groups.has_forgotten(peer)
    }

    /// Gives everything that a provider announced before the statement's stamp other addresses. Returns
    /// how many groups that changed. Takes time by the groups of the provider, or by those made since
    /// the last statement if that said the same; whatever the number of keys. A provider's changes come
    /// in the order of their stamps.
    pub(crate) fn restate(&self, peer: &PeerId, statement: Statement, now_ms: UnixMs) -> u64 {
        self.groups.restate(peer, statement, now_ms)
    }

    /// Gives everything that the record's provider announced under a context before the stamp this
    /// record. Returns how many groups that changed, which is what it takes time by.
    pub(crate) fn set_record(
        &self,
        context: &Arc<[u8]>,
        stamp: u64,
        record: &Arc<ReadyRecord>,
        now_ms: UnixMs,
    ) -> u64 {
        self.groups.set_record(context, stamp, record, now_ms)
    }

    /// Whether [`Index::set_record`] would change anything.
    pub(crate) fn would_change(
        &self,
        context: &Arc<[u8]>,
        record: &ReadyRecord,
        now_ms: UnixMs,
    ) -> bool {
        self.groups.would_change(context, record, now_ms)
    }

    /// Shows or hides everything of a provider, now and later. Returns whether no newer change is known.
    /// Takes the same time whatever the provider has.
    pub(crate) fn set_visibility(
        &self,
        peer: &PeerId,
        stamp: u64,
        visibility: Visibility,
        now_ms: UnixMs,
    ) -> bool {
        self.groups.set_visibility(peer, stamp, visibility, now_ms)
    }

    /// Whether a provider is hidden.
    pub(crate) fn visibility(&self, peer: &PeerId) -> Visibility {
        self.groups.visibility(peer)
    }

    /// Replaces the companions of a provider: those for all of its contexts, now and later; or those for
    /// one, until all that was announced under it before the stamp is gone. Returns whether that counts.
    /// Takes the same time whatever the provider has.
    pub(crate) fn set_companions(
        &self,
        peer: &PeerId,
        context: Option<&Arc<[u8]>>,
        stamp: u64,
        set: CompanionSet,
        now_ms: UnixMs,
    ) -> bool {
        self.groups.set_companions(peer, context, stamp, set, now_ms)
    }

    /// How much the index holds.
    pub fn stats(&self) -> IndexStats {
        let IndexCounters { keys, entries, table_bytes, hot_key_groups, .. } = &self.counters;
        let fixed = size_of::<Self>()
            + self.shards.len() * size_of::<Shard>()
            + self.cursors.len() * size_of::<AtomicU32>();
        let interned = self.groups.bytes() + self.sets.bytes();
        IndexStats {
            entries: counted(entries),
            keys: counted(keys),
            groups: self.groups.len(),
            providers: self.groups.providers(),
            bytes: (fixed + interned) as u64
                + counted(table_bytes)
                + counted(hot_key_groups) * HOT_KEY_GROUP_BYTES,
        }
    }

    /// The bytes that it takes at most; `None`: as much as there is.
    pub(crate) fn bytes_max(&self) -> Option<u64> {
        Some(self.limits.bytes_max).filter(|bytes_max| *bytes_max != u64::MAX)
    }

    /// The (key, group) pairs of strangers whose groups have not ended.
    pub(crate) fn stranger_entries(&self) -> u64 {
        self.groups.stranger_entries()
    }

    fn shard(&self, fingerprint: Fingerprint) -> &RwLock<ShardState> {
        let shard = self.shards.get(fingerprint.shard());
        &shard.expect("there is a shard for each value of a fingerprint's shard bits").0
    }

    fn cursor(&self, fingerprint: Fingerprint) -> &AtomicU32 {
        let cursor = self.cursors.get(fingerprint.low() as usize % CURSORS);
        cursor.expect("there are that many cursors")
    }
}

impl Default for Index {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Reference {
    const IS_SET: u32 = 1 << 31;

    fn read(bits: u32) -> Self {
        if bits & Self::IS_SET == 0 { Self::Group(bits) } else { Self::Set(bits & !Self::IS_SET) }
    }

    fn write(self) -> u32 {
        match self {
            Self::Group(id) => id,
            Self::Set(id) => id | Self::IS_SET,
        }
    }
}

/// A counter's value. Another thread may count what it removes before what was added is counted: for a
/// moment the counter is below zero.
fn counted(counter: &AtomicU64) -> u64 {
    counter.load(Memory::Relaxed).cast_signed().max(0).cast_unsigned()
}

/// Adds to a counter, or takes from it.
fn shift(counter: &AtomicU64, by: i64) {
    counter.fetch_add(by.cast_unsigned(), Memory::Relaxed);
}

#[cfg(test)]
mod tests;
