//! What is where: for every group, in which segments its blocks lie and how many bytes they take;
//! for every segment, how many of its bytes are garbage.
//!
//! # Invariants
//!
//! - A group's definition is in a segment before or with its first keys, and stays as long as
//!   any segment holds keys of it, unless its end is in a segment.
//! - A group's end stays as long as any segment holds blocks of it.
//! - A change is entered only when it is durable, and then the older ones of its kind for the same
//!   groups are garbage.
//! - A group is marked as ended only when its end is durable: compaction relies on that when it drops keys.
//! - Keys are counted as held before they are written, and taken back if writing fails, so that the
//!   definition is not dropped while keys are queued.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use super::block::END_BLOCK_BYTES;
use super::change::ChangeKey;
use super::segment::Segment;
use crate::clock::UnixMs;
use crate::invariant;

/// How many groups that ended are remembered after their last block went, so that keys of them that
/// are still on their way are not taken for a new group. 16 MiB, and more ends than can overtake an
/// append.
const ENDED_REMEMBERED_MAX: usize = 1 << 20;

/// Places of blocks of keys that are remembered for each segment, to look at when someone asks how
/// many of its keys are superseded: with 128 the estimate is off by at most a tenth, nearly always.
const SAMPLES_MAX: usize = 128;

const HELD_IN: &str = "a segment that holds blocks is known";

/// A number for a segment, given at random times in this process; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SegmentId(u32);

/// Where a block begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockLocation {
    pub(super) segment: SegmentId,
    pub(super) offset: u32,
}

/// The bytes of one group's blocks in one segment.
#[derive(Clone, Copy, Debug)]
struct Holding {
    segment: SegmentId,
    bytes: u32,
}

#[derive(Debug)]
struct LedgerGroup {
    /// `u64::MAX` is never.
    expires_at_ms: UnixMs,
    keys: u64,
    definition: BlockLocation,
    state: GroupState,
    holdings: SmallVec<[Holding; 2]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GroupState {
    Live,
    Expired,
    /// With its end in that segment.
    Ended(SegmentId),
}

/// What is known about a serial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupStanding {
    /// Nothing was ever written of it.
    Unknown,
    /// It is defined and counts.
    Live,
    /// It expired; `true` if blocks of it lie outside the segments that were asked about.
    Expired(bool),
    /// It ended; `true` as with `Expired`.
    Ended(bool),
}

/// The newest change of its kind for the same groups.
#[derive(Clone, Copy, Debug)]
struct NewestChange {
    stamp: u64,
    place: BlockLocation,
    bytes: u64,
}

/// How much of a segment is in use.
pub(super) struct SegmentUsage {
    pub(super) segment: Arc<Segment>,
    /// The length that counts, in bytes: durable and whole.
    pub(super) length: u64,
    /// Bytes of groups that ended or expired, of ends that are no longer needed, and of changes that
    /// newer ones superseded.
    pub(super) garbage: u64,
    /// Bytes of keys that other groups superseded and of changes that count for no group, as last
    /// estimated.
    pub(super) superseded: u64,
    /// The garbage that the last compaction could not drop.
    pub(super) stubborn: u64,
    pub(super) state: SegmentState,
    /// Where some of its blocks of keys are, evenly spread.
    pub(super) samples: Vec<u32>,
    sample_step: u32,
    sample_skip: u32,
}

/// The state of a segment for compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SegmentState {
    /// The writer appends to it.
    Active,
    /// Nothing is appended any more.
    Finished,
    /// It turned out to be damaged, and is left as it is.
    Damaged,
    /// Another replaced it; it does not count any more, but groups may still refer to it.
    Retired,
}

impl SegmentUsage {
    /// What rewriting it would free, as far as is known.
    pub(super) fn garbage_bytes(&self) -> u64 {
        (self.garbage + self.superseded).saturating_sub(self.stubborn)
    }

    /// What would be left.
    pub(super) fn live_bytes(&self) -> u64 {
        self.length.saturating_sub(self.garbage + self.superseded)
    }

    fn sample(&mut self, offset: u32) {
        if self.sample_skip > 0 {
            self.sample_skip -= 1;
            return;
        }
        self.sample_skip = self.sample_step;
        self.samples.push(offset);
        if self.samples.len() >= SAMPLES_MAX {
            let mut keep = false;
            self.samples.retain(|_| {
                keep = !keep;
                keep
            });
            self.sample_step = self.sample_step * 2 + 1;
        }
    }
}

/// The sums over all that counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) bytes: u64,
    pub(super) garbage: u64,
    pub(super) segments: usize,
    pub(super) groups: usize,
    pub(super) keys: u64,
}

/// What is where in a journal.
#[derive(Default)]
pub(super) struct Ledger {
    usages: BTreeMap<SegmentId, SegmentUsage>,
    groups: HashMap<u64, LedgerGroup>,
    changes: HashMap<ChangeKey, NewestChange>,
    expiries: BinaryHeap<Reverse<(UnixMs, u64)>>,
    ended: HashSet<u64>,
    ended_order: VecDeque<u64>,
    next_segment: u32,
    next_serial: u64,
    live_groups: usize,
    live_keys: u64,
}

impl Ledger {
    /// Enters a segment.
    pub(super) fn add_segment(
        &mut self,
        segment: Arc<Segment>,
        length: u64,
        state: SegmentState,
    ) -> SegmentId {
        let id = SegmentId(self.next_segment);
        self.next_segment += 1;
        self.see_serials_below(segment.header.next_serial);
        let usage = SegmentUsage {
            segment,
            length,
            garbage: 0,
            superseded: 0,
            stubborn: 0,
            state,
            samples: Vec::new(),
            sample_step: 0,
            sample_skip: 0,
        };
        self.usages.insert(id, usage);
        id
    }

    pub(super) fn usage(&self, id: SegmentId) -> Option<&SegmentUsage> {
        self.usages.get(&id)
    }

    pub(super) fn usage_mut(&mut self, id: SegmentId) -> Option<&mut SegmentUsage> {
        self.usages.get_mut(&id)
    }

    /// Removes a segment that nothing refers to.
    pub(super) fn remove_segment(&mut self, id: SegmentId) {
        self.usages.remove(&id);
    }

    /// All segments, retired ones too.
    pub(super) fn usages(&self) -> impl Iterator<Item = (SegmentId, &SegmentUsage)> {
        self.usages.iter().map(|(id, usage)| (*id, usage))
    }

    /// The segments that count, in the order of their sequence numbers.
    pub(super) fn in_order(&self) -> Vec<(SegmentId, &SegmentUsage)> {
        let counts = |usage: &SegmentUsage| usage.state != SegmentState::Retired;
        let mut usages: Vec<_> = self.usages().filter(|(_, it)| counts(it)).collect();
        usages.sort_by_key(|(_, usage)| usage.segment.header.first);
        usages
    }

    /// How many keys of a group were written.
    pub(super) fn keys_of(&self, serial: u64) -> u64 {
        self.groups.get(&serial).map_or(0, |group| group.keys)
    }

    /// Greater than every serial that was seen.
    pub(super) fn next_serial(&self) -> u64 {
        self.next_serial.max(1)
    }

    pub(super) fn see_serials_below(&mut self, next: u64) {
        self.next_serial = self.next_serial.max(next);
    }

    /// Enters a group and where its definition is; its bytes count with [`Ledger::hold`]. Returns
    /// whether it is new.
    pub(super) fn define(
        &mut self,
        serial: u64,
        expires_at_ms: Option<UnixMs>,
        place: BlockLocation,
    ) -> bool {
        self.see_serials_below(serial.saturating_add(1));
        if self.groups.contains_key(&serial) {
            return false;
        }
        let expires_at_ms = expires_at_ms.unwrap_or(UnixMs::MAX);
        if expires_at_ms != UnixMs::MAX {
            self.expiries.push(Reverse((expires_at_ms, serial)));
        }
        let (state, holdings) = (GroupState::Live, SmallVec::new());
        let group = LedgerGroup { expires_at_ms, keys: 0, definition: place, state, holdings };
        self.groups.insert(serial, group);
        self.live_groups += 1;
        true
    }

    pub(super) fn is_known(&self, serial: u64) -> bool {
        self.groups.contains_key(&serial)
    }

    pub(super) fn is_live(&self, serial: u64) -> bool {
        self.groups.get(&serial).is_some_and(|group| group.state == GroupState::Live)
    }

    /// Counts bytes and keys of a group in a segment. Unknown groups are garbage.
    pub(super) fn hold(&mut self, serial: u64, segment: SegmentId, bytes: u64, keys: u64) {
        let bytes = u32::try_from(bytes).expect("a segment's length is bounded by the options");
        let Some(group) = self.groups.get_mut(&serial) else {
            self.add_garbage(segment, u64::from(bytes));
            return;
        };
        match group.holdings.iter_mut().find(|holding| holding.segment == segment) {
            Some(holding) => holding.bytes += bytes,
            None => group.holdings.push(Holding { segment, bytes }),
        }
        group.keys += keys;
        if group.state == GroupState::Live {
            self.live_keys += keys;
        } else {
            self.add_garbage(segment, u64::from(bytes));
        }
    }

    /// Takes back what [`Ledger::hold`] counted, for a write that failed.
    pub(super) fn release(&mut self, serial: u64, segment: SegmentId, bytes: u64, keys: u64) {
        let group = invariant::present(self.groups.get_mut(&serial), "what is released was held");
        let Some(group) = group else { return };
        for holding in group.holdings.iter_mut().filter(|holding| holding.segment == segment) {
            holding.bytes -= u32::try_from(bytes).unwrap_or(holding.bytes).min(holding.bytes);
        }
        group.holdings.retain(|holding| holding.bytes > 0);
        group.keys -= keys;
        let is_live = group.state == GroupState::Live;
        let is_gone = group.holdings.is_empty();
        if is_live {
            self.live_keys -= keys;
        } else {
            self.forgive_garbage(segment, bytes);
        }
        if is_gone {
            self.groups.remove(&serial);
            self.live_groups -= usize::from(is_live);
        }
    }

    /// Samples a block of keys.
    pub(super) fn sample(&mut self, segment: SegmentId, offset: u64) {
        if let (Some(usage), Ok(offset)) = (self.usages.get_mut(&segment), offset.try_into()) {
            usage.sample(offset);
        }
    }

    /// Marks a group as ended; its end is durable and is in `segment`, or nowhere, if nothing
    /// of the group was ever written.
    pub(super) fn end(&mut self, serial: u64, segment: Option<SegmentId>) {
        self.see_serials_below(serial.saturating_add(1));
        let Some(segment) = segment else {
            self.remember_ended(serial);
            return;
        };
        match self.groups.get_mut(&serial) {
            Some(group) if !matches!(group.state, GroupState::Ended(_)) => {
                let was_live = group.state == GroupState::Live;
                group.state = GroupState::Ended(segment);
                if was_live {
                    self.bury(serial);
                }
            }
            Some(_) => self.add_garbage(segment, END_BLOCK_BYTES),
            None => {
                self.add_garbage(segment, END_BLOCK_BYTES);
                self.remember_ended(serial);
            }
        }
    }

    /// Marks the groups that expired until now.
    pub(super) fn expire(&mut self, now_ms: UnixMs) {
        while let Some(Reverse((at_ms, serial))) = self.expiries.peek().copied() {
            if at_ms > now_ms {
                return;
            }
            self.expiries.pop();
            if let Some(group) = self.groups.get_mut(&serial)
                && group.state == GroupState::Live
                && group.expires_at_ms <= now_ms
            {
                group.state = GroupState::Expired;
                self.bury(serial);
            }
        }
    }

    /// Turns what a group holds into garbage.
    fn bury(&mut self, serial: u64) {
        let group = invariant::present(self.groups.get(&serial), "a group that ends is known");
        let Some(group) = group else { return };
        self.live_groups -= 1;
        self.live_keys -= group.keys;
        for holding in &group.holdings {
            if let Some(usage) = invariant::present(self.usages.get_mut(&holding.segment), HELD_IN)
            {
                usage.garbage += u64::from(holding.bytes);
            }
        }
    }

    fn add_garbage(&mut self, segment: SegmentId, bytes: u64) {
        if let Some(usage) = invariant::present(self.usages.get_mut(&segment), HELD_IN) {
            usage.garbage += bytes;
        }
    }

    fn forgive_garbage(&mut self, segment: SegmentId, bytes: u64) {
        if let Some(usage) = invariant::present(self.usages.get_mut(&segment), HELD_IN) {
            usage.garbage = usage.garbage.saturating_sub(bytes);
        }
    }

    fn remember_ended(&mut self, serial: u64) {
        if self.ended.insert(serial) {
            self.ended_order.push_back(serial);
        }
        if self.ended_order.len() > ENDED_REMEMBERED_MAX
            && let Some(oldest) = self.ended_order.pop_front()
        {
            self.ended.remove(&oldest);
        }
    }

    /// The standing of a group; the flag tells of blocks outside the segments `inside`.
    pub(super) fn standing(&self, serial: u64, inside: &[SegmentId]) -> GroupStanding {
        let Some(group) = self.groups.get(&serial) else {
            let is_ended = self.ended.contains(&serial);
            return if is_ended { GroupStanding::Ended(false) } else { GroupStanding::Unknown };
        };
        let outside = || group.holdings.iter().any(|holding| !inside.contains(&holding.segment));
        match group.state {
            GroupState::Live => GroupStanding::Live,
            GroupState::Expired => GroupStanding::Expired(outside()),
            GroupState::Ended(_) => GroupStanding::Ended(outside()),
        }
    }

    /// Where the definitions of the live groups are.
    pub(super) fn live_definitions(&self) -> HashMap<u64, BlockLocation> {
        let live = self.groups.iter().filter(|(_, group)| group.state == GroupState::Live);
        live.map(|(serial, group)| (*serial, group.definition)).collect()
    }

    /// The sums over the segments that count.
    pub(super) fn totals(&self) -> Totals {
        let mut totals =
            Totals { groups: self.live_groups, keys: self.live_keys, ..Totals::default() };
        for usage in self.usages.values() {
            if usage.state != SegmentState::Retired {
                totals.bytes += usage.length;
                totals.garbage += usage.garbage + usage.superseded;
                totals.segments += 1;
            }
        }
        totals
    }
}

/// What a compaction wrote of one group, in place of what its sources held.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moved {
    /// Bytes in the new segment; none if nothing of the group was worth keeping.
    pub(super) bytes: u64,
    /// Keys that were in the sources and are not in the new segment.
    pub(super) keys_dropped: u64,
    /// Whether a definition was in the sources.
    pub(super) had_definition: bool,
    /// Where the definition is now, if it was in the sources and was kept.
    pub(super) definition: Option<u32>,
    /// Whether an end was in the sources.
    pub(super) had_end: bool,
    /// Whether it was kept.
    pub(super) has_end: bool,
}

impl Ledger {
    /// Moves a group's holdings from the sources of a compaction to the segment that took their
    /// place.
    pub(super) fn relocate(&mut self, serial: u64, from: &[SegmentId], to: SegmentId, it: &Moved) {
        let Some(group) = self.groups.get_mut(&serial) else {
            self.add_garbage(to, it.bytes);
            return;
        };
        debug_assert!(!from.contains(&to), "a segment is not rewritten into itself");
        let is_dead = group.state != GroupState::Live;
        group.holdings.retain(|holding| !from.contains(&holding.segment));
        if let Ok(bytes @ 1..) = u32::try_from(it.bytes) {
            group.holdings.push(Holding { segment: to, bytes });
        }
        if let Some(offset) = it.definition {
            group.definition = BlockLocation { segment: to, offset };
        }
        group.keys = group.keys.saturating_sub(it.keys_dropped);
        let end = match &mut group.state {
            GroupState::Ended(end) => {
                if it.had_end && from.contains(end) {
                    *end = to;
                }
                Some(*end)
            }
            GroupState::Live | GroupState::Expired => None,
        };
        let is_gone = group.holdings.is_empty();
        if is_dead {
            self.add_garbage(to, it.bytes);
        } else {
            self.live_keys -= it.keys_dropped;
        }
        if is_gone {
            self.groups.remove(&serial);
            self.live_groups -= usize::from(!is_dead);
            if let Some(end) = end {
                self.remember_ended(serial);
                if end != to || it.has_end {
                    self.add_garbage(end, END_BLOCK_BYTES);
                }
            }
        }
    }
}

/// What became of a change that a compaction found in its sources.
#[derive(Clone, Copy, Debug)]
pub(super) struct MovedChange {
    pub(super) key: ChangeKey,
    pub(super) stamp: u64,
    /// Its offset and bytes in the new segment, if it was kept.
    pub(super) to: Option<(u32, u64)>,
}

impl Ledger {
    /// Enters a change that is durable.
    pub(super) fn change(&mut self, key: ChangeKey, stamp: u64, place: BlockLocation, bytes: u64) {
        self.see_serials_below(stamp.saturating_add(1));
        let new = NewestChange { stamp, place, bytes };
        match self.changes.get_mut(&key) {
            Some(known) if known.stamp >= stamp => self.add_garbage(place.segment, bytes),
            Some(known) => {
                let old = std::mem::replace(known, new);
                self.add_garbage(old.place.segment, old.bytes);
            }
            None => {
                self.changes.insert(key, new);
            }
        }
    }

    /// Whether no newer change is known of the same kind for the same groups, and this one is.
    pub(super) fn is_newest_change(&self, key: &ChangeKey, stamp: u64) -> bool {
        self.changes.get(key).is_some_and(|newest| newest.stamp == stamp)
    }

    /// Where the newest changes are.
    pub(super) fn newest_changes(&self) -> HashMap<ChangeKey, BlockLocation> {
        self.changes.iter().map(|(key, newest)| (*key, newest.place)).collect()
    }

    /// The newest changes: segment, stamp and bytes.
    pub(super) fn change_bytes(&self) -> Vec<(SegmentId, u64, u64)> {
        let changes = self.changes.values();
        changes.map(|newest| (newest.place.segment, newest.stamp, newest.bytes)).collect()
    }

    /// Moves a change that was in the sources of a compaction.
    pub(super) fn relocate_change(&mut self, to: SegmentId, it: &MovedChange) {
        let newest = self.changes.get_mut(&it.key).filter(|newest| newest.stamp == it.stamp);
        match (newest, it.to) {
            (Some(newest), Some((offset, bytes))) => {
                newest.place = BlockLocation { segment: to, offset };
                newest.bytes = bytes;
            }
            (Some(_), None) => {
                self.changes.remove(&it.key);
            }
            // Superseded meanwhile.
            (None, Some((_, bytes))) => self.add_garbage(to, bytes),
            (None, None) => {}
        }
    }
}
