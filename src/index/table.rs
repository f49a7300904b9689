//! The table of one shard: fingerprints and what they refer to, 16 bytes a slot.
//!
//! Ordered linear probing. An entry's home is its place, scaled to the number of buckets; the
//! entries are in the order of their fingerprints, each at its home or right behind its
//! predecessor, whichever is later:
//!
//! ```text
//! position of entry k = max(home of entry k, position of entry k-1, plus one)
//! ```
//!
//! That layout is the invariant; it follows from the entries alone, not from their history. So a
//! probe stops at the first greater fingerprint, and a miss costs what a hit does; deletion leaves
//! no tombstones. A tail behind the last bucket takes what is pushed past it.
//!
//! # Memory
//!
//! A table grows by a fifth when more than thirteen sixteenths of the buckets are taken: 20 to 24
//! bytes an entry, 3.2 slots a probe at the fullest. Tables of all shards see the same growth, so
//! each has sizes of its own (`stagger`): together they take 22 bytes an entry, at every size. All of a
//! process that has an index of 10M entries is resident in 22.4 bytes an entry, of 20M to 200M in 22.0
//! to 21.6, peaks included; after half of 200M were swept it was 21.8 (`cargo bench --bench memory`).
//!
//! A table grows and shrinks by being copied into new memory (`slots`), which lookups need not wait
//! for; the old memory goes back to the system at once. So there are two copies of one shard at most.

use super::fingerprint::{Fingerprint, SHARD_BITS};
use super::slots::{SLOTS_A_PAGE, SLOTS_ON_HEAP_MAX, Slot, Slots};

/// Free slots behind the last bucket. At thirteen sixteenths the last run is longer than 32 with a
/// probability of e^-13; the tail is lengthened then.
const TAIL_SLOTS_MAX: usize = 32;

/// The size of the first table, before it is staggered.
const SLOTS_MIN: usize = 8;

/// Fingerprints, each with a reference.
#[derive(Debug)]
pub(super) struct SlotTable {
    slots: Slots,
    buckets: u32,
    len: u32,
    /// Whether the last slot is taken, so that a run cannot become longer.
    is_tail_taken: bool,
    /// How much greater than those of the first shard the table's sizes are: a part of the step from
    /// one size to the next, in 2^-[`SHARD_BITS`].
    stagger: u32,
}

/// A fingerprint and its reference.
pub(super) type TableEntry = (Fingerprint, u32);

/// What becomes of an entry in [`SlotTable::rewritten`].
pub(super) type SlotChange = (Fingerprint, Option<u32>);

impl SlotTable {
    /// An empty table, of the shard with this number.
    pub(super) fn new(shard: usize) -> Self {
        // Neighbours grow far from each other.
        let stagger = (shard as u32).reverse_bits() >> (u32::BITS - SHARD_BITS);
        Self { slots: Slots::default(), buckets: 0, len: 0, is_tail_taken: false, stagger }
    }

    /// The reference of a fingerprint.
    pub(super) fn get(&self, fingerprint: Fingerprint) -> Option<u32> {
        let slots = &*self.slots;
        let slot = slots.get(probe(slots, self.buckets, fingerprint))?;
        slot.is_of(fingerprint).then(|| slot.reference())
    }

    /// Reads the slots where fingerprints would stand without others, and so lets the caches have
    /// them. None of these reads waits for another.
    pub(super) fn prefetch(&self, fingerprints: &[Fingerprint]) {
        let slots = &*self.slots;
        let homes = fingerprints.iter().filter_map(|f| slots.get(home(*f, self.buckets)));
        std::hint::black_box(homes.filter(|slot| slot.is_free()).count());
    }

    /// Whether another entry can be added.
    pub(super) fn has_room(&self) -> bool {
        self.len < len_max(self.buckets) && !self.is_tail_taken
    }

    /// Sets the reference of a fingerprint, which need not be there if there is room.
    pub(super) fn set(&mut self, fingerprint: Fingerprint, reference: u32) {
        let slot = Slot::new(fingerprint, reference);
        let slots = &mut *self.slots;
        let position = probe(slots, self.buckets, fingerprint);
        let (_, rest) = slots.split_at_mut(position);
        match rest.first_mut() {
            Some(known) if known.is_of(fingerprint) => *known = slot,
            _ => {
                let steps = rest.iter().position(Slot::is_free);
                let steps = steps.expect("the caller saw that there is room");
                rest.copy_within(..steps, 1);
                self.is_tail_taken = steps + 1 == rest.len();
                self.len += 1;
                if let Some(first) = rest.first_mut() {
                    *first = slot;
                }
            }
        }
    }

    /// The same table with room for more.
    pub(super) fn grown(&self) -> Self {
        self.resized(self.len() + 1)
    }

    /// The same table as small as it can be with room for so many entries.
    pub(super) fn resized(&self, entries: usize) -> Self {
        self.laid_out(self.taken(), entries.max(self.len()))
    }

    /// Whether a table for the same entries would be smaller by more than a step of growth.
    pub(super) fn is_sparse(&self) -> bool {
        let needed = slots_for(self.len(), self.stagger);
        self.slots.len() > needed + needed / 4 + SLOTS_A_PAGE
    }

    /// Adds entries that are in the order of their fingerprints, as many as there is room for, and
    /// says how many. Those whose fingerprint is there already are put into `known` instead.
    pub(super) fn insert_sorted(
        &mut self,
        entries: &[TableEntry],
        known: &mut Vec<TableEntry>,
    ) -> usize {
        let mut done = 0;
        for (fingerprint, reference) in entries {
            if !self.has_room() {
                break;
            }
            done += 1;
            if self.get(*fingerprint).is_some() {
                known.push((*fingerprint, *reference));
            } else {
                self.set(*fingerprint, *reference);
            }
        }
        done
    }

    /// The same table and more entries, which are in the order of their fingerprints. Those whose
    /// fingerprint is there already are put into `known` instead.
    pub(super) fn merged(&self, entries: &[TableEntry], known: &mut Vec<TableEntry>) -> Self {
        let mut last = None;
        let mut new = Vec::with_capacity(entries.len());
        let mut there = self.taken().map(|slot| slot.fingerprint()).peekable();
        for (fingerprint, reference) in entries {
            while there.next_if(|there| there < fingerprint).is_some() {}
            if last == Some(*fingerprint) || there.peek() == Some(fingerprint) {
                known.push((*fingerprint, *reference));
            } else {
                new.push(Slot::new(*fingerprint, *reference));
            }
            last = Some(*fingerprint);
        }
        let len = self.len() + new.len();
        let new = new.iter().copied().peekable();
        self.laid_out(Merged { one: self.taken().peekable(), other: new }, len)
    }

    /// The same table with entries taken out or changed. `changes` are in the order of their
    /// fingerprints, which are there.
    pub(super) fn rewritten(&self, changes: &[SlotChange]) -> Self {
        let removed = changes.iter().filter(|(_, reference)| reference.is_none()).count();
        let mut changes = changes.iter().peekable();
        let kept = self.taken().filter_map(move |slot| {
            match changes.next_if(|(fingerprint, _)| slot.is_of(*fingerprint)) {
                None => Some(slot),
                Some((fingerprint, reference)) => {
                    reference.map(|reference| Slot::new(*fingerprint, reference))
                }
            }
        });
        self.laid_out(kept, self.len() - removed)
    }

    /// The entries, in the order of their fingerprints.
    pub(super) fn iter(&self) -> impl Iterator<Item = TableEntry> {
        self.taken().map(|slot| (slot.fingerprint(), slot.reference()))
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// How many slots there are, taken or not.
    pub(super) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// The memory that the table takes up.
    pub(super) fn bytes(&self) -> usize {
        self.slots.len() * size_of::<Slot>()
    }

    fn taken(&self) -> impl Iterator<Item = Slot> + Clone {
        self.slots.iter().filter(|slot| !slot.is_free()).copied()
    }

    /// The table of the same shard with these entries, which are in order, and room for so many.
    fn laid_out(&self, entries: impl Iterator<Item = Slot> + Clone, room: usize) -> Self {
        let slot_count = slots_for(room, self.stagger);
        let buckets = buckets_of(slot_count);
        let mut slots = Slots::new(slot_count);
        let (mut end, mut len) = lay_out(entries.clone(), buckets, &mut slots);
        // The last slot stays free, so that there is room for a run to grow.
        if end + 1 > slot_count && slot_count > 0 {
            slots = Slots::new(whole_pages(end + TAIL_SLOTS_MAX));
            (end, len) = lay_out(entries, buckets, &mut slots);
        }
        debug_assert!(end < slots.len() || len == 0);
        Self { slots, buckets, len, is_tail_taken: false, stagger: self.stagger }
    }
}

/// Where the fingerprint is, or where it belongs.
fn probe(slots: &[Slot], buckets: u32, fingerprint: Fingerprint) -> usize {
    let home = home(fingerprint, buckets);
    let rest = slots.get(home..).unwrap_or_default();
    let steps = rest.iter().position(|slot| slot.is_at_or_after(fingerprint));
    home + steps.unwrap_or(rest.len())
}

/// Writes entries where they belong, as far as there are slots. Says where they end, and how many
/// there are.
fn lay_out(entries: impl Iterator<Item = Slot>, buckets: u32, slots: &mut [Slot]) -> (usize, u32) {
    let (mut next, mut count) = (0, 0);
    for slot in entries {
        next = home(slot.fingerprint(), buckets).max(next);
        if let Some(place) = slots.get_mut(next) {
            *place = slot;
        }
        next += 1;
        count += 1;
    }
    (next, count)
}

/// The number of slots for so many entries: the first of the shard's sizes that has room.
fn slots_for(len: usize, stagger: u32) -> usize {
    if len == 0 {
        return 0;
    }
    // Fixed-point, because the steps of small sizes are smaller than a slot.
    let mut exact = (SLOTS_MIN << 16) + ((SLOTS_MIN * stagger as usize) << 16 >> SHARD_BITS) / 5;
    while (len_max(buckets_of(whole_pages(exact >> 16))) as usize) < len {
        exact += exact / 5;
    }
    whole_pages(exact >> 16)
}

/// As many slots, or as many more as the mapping has anyway.
fn whole_pages(slots: usize) -> usize {
    if slots > SLOTS_ON_HEAP_MAX { slots.next_multiple_of(SLOTS_A_PAGE) } else { slots }
}

fn buckets_of(slots: usize) -> u32 {
    (slots - (slots / 8).min(TAIL_SLOTS_MAX)) as u32
}

/// The most entries for so many buckets.
fn len_max(buckets: u32) -> u32 {
    (u64::from(buckets) * 13 / 16) as u32
}

fn home(fingerprint: Fingerprint, buckets: u32) -> usize {
    ((u64::from(fingerprint.place()) * u64::from(buckets)) >> 32) as usize
}

/// Entries of two sources, each in order, in order.
#[derive(Clone)]
struct Merged<One: Iterator<Item = Slot>, Other: Iterator<Item = Slot>> {
    one: std::iter::Peekable<One>,
    other: std::iter::Peekable<Other>,
}

impl<One, Other> Iterator for Merged<One, Other>
where
    One: Iterator<Item = Slot>,
    Other: Iterator<Item = Slot>,
{
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        match (self.one.peek(), self.other.peek()) {
            (Some(one), Some(other)) if other.fingerprint() < one.fingerprint() => {
                self.other.next()
            }
            (None, _) => self.other.next(),
            (Some(_), _) => self.one.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::collections::btree_map::Entry as Slotted;

    use proptest::prelude::*;

    use super::*;

    impl SlotTable {
        fn put(&mut self, fingerprint: Fingerprint, reference: u32) {
            if !self.has_room() {
                *self = self.grown();
                self.assert_laid_out();
            }
            assert!(self.has_room());
            self.set(fingerprint, reference);
        }

        fn assert_laid_out(&self) {
            let taken: Vec<usize> =
                (0..self.slots.len()).filter(|at| !self.slots[*at].is_free()).collect();
            assert_eq!(taken.len(), self.len());
            let mut next = 0;
            let mut last = None;
            for at in taken {
                let fingerprint = self.slots[at].fingerprint();
                assert!(last < Some(fingerprint));
                assert_eq!(at, home(fingerprint, self.buckets).max(next));
                (next, last) = (at + 1, Some(fingerprint));
            }
        }
    }

    const GREATEST: Fingerprint = Fingerprint::new(u64::MAX, u32::MAX);

    fn spread(number: u64) -> Fingerprint {
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Fingerprint::new(mixed >> 12, mixed as u32)
    }

    #[test]
    fn at_every_size_tables_take_less_than_23_bytes_an_entry_together_and_25_each() {
        let mut tables: Vec<_> = (0..8).map(SlotTable::new).collect();
        for number in 0..9_000 {
            for table in &mut tables {
                table.put(spread(number), number as u32);
                let bytes = table.slots.len() * size_of::<Slot>();
                assert!(bytes <= table.len() * 25 + 4096, "{bytes} for {}", table.len);
            }
            if number >= 2_400 {
                let all: usize = tables.iter().map(SlotTable::bytes).sum();
                let entries = tables.len() * (number as usize + 1);
                assert!(all <= entries * 23, "{all} for {entries}");
            }
        }
        let table = &tables[3];
        table.assert_laid_out();
        for number in 0..9_000 {
            assert_eq!(table.get(spread(number)), Some(number as u32));
            assert_eq!(table.get(spread(number + 9_000)), None);
        }
    }

    #[test]
    fn it_gives_memory_back() {
        let mut table = SlotTable::new(5);
        for number in 0..20_000 {
            table.put(spread(number), 1);
        }
        let kept = 1_000;
        let mut gone: Vec<_> = (kept..20_000).map(|number| (spread(number), None)).collect();
        gone.sort();
        table = table.rewritten(&gone);
        table.assert_laid_out();
        assert!(table.bytes() < kept as usize * 25 + 4096);
        assert!((0..kept).all(|number| table.get(spread(number)) == Some(1)));
        let mut rest: Vec<_> = (0..kept).map(|number| (spread(number), None)).collect();
        rest.sort();
        table = table.rewritten(&rest);
        assert!(table.bytes() == 0 && table.iter().next().is_none());
    }

    #[test]
    fn the_last_bucket_may_overflow_and_the_greatest_fingerprint_be_an_entry() {
        let mut table = SlotTable::new(0);
        for low in 0..500 {
            table.put(Fingerprint::new(u64::MAX, u32::MAX - low), low);
        }
        table.assert_laid_out();
        assert_eq!(table.get(GREATEST), Some(0));
        table = table.rewritten(&[(GREATEST, None)]);
        assert_eq!(table.get(GREATEST), None);
        assert_eq!(table.iter().count(), 499);
    }

    fn any_fingerprint() -> impl Strategy<Value = Fingerprint> {
        // Few places, so that runs form, and both ends of the shard.
        let place =
            prop_oneof![0u64..6, 0xffff_fff0u64..=0xffff_ffff, any::<u32>().prop_map(u64::from)];
        (place, 0u32..4).prop_map(|(place, low)| Fingerprint::new(place << 20, low))
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(
            steps in prop::collection::vec((any_fingerprint(), 0u32..100, 0u8..10), 0..200),
        ) {
            let mut table = SlotTable::new(77);
            let mut map = BTreeMap::new();
            let mut collected = Vec::new();
            for (fingerprint, value, step) in steps {
                prop_assert_eq!(table.get(fingerprint), map.get(&fingerprint).copied());
                match step {
                    0..6 => {
                        table.put(fingerprint, value);
                        map.insert(fingerprint, value);
                    }
                    6..8 => collected.push((fingerprint, value)),
                    8 => merge(&mut table, &mut map, std::mem::take(&mut collected))?,
                    _ => rewrite(&mut table, &mut map, value),
                }
                table.assert_laid_out();
            }
            let all: Vec<_> = map.into_iter().collect();
            prop_assert_eq!(table.iter().collect::<Vec<_>>(), all);
        }
    }

    type Map = BTreeMap<Fingerprint, u32>;

    fn merge(
        table: &mut SlotTable,
        map: &mut Map,
        mut new: Vec<TableEntry>,
    ) -> Result<(), TestCaseError> {
        new.sort();
        let mut known = Vec::new();
        *table = table.merged(&new, &mut known);
        let mut expected = Vec::new();
        for (fingerprint, value) in new {
            match map.entry(fingerprint) {
                Slotted::Occupied(_) => expected.push((fingerprint, value)),
                Slotted::Vacant(slot) => drop(slot.insert(value)),
            }
        }
        prop_assert_eq!(known, expected);
        Ok(())
    }

    fn rewrite(table: &mut SlotTable, map: &mut Map, value: u32) {
        let changes: Vec<SlotChange> = map
            .iter()
            .filter(|(_, kept)| **kept % 3 == value % 3)
            .map(|(fingerprint, kept)| (*fingerprint, (kept % 2 == 0).then_some(kept + 1)))
            .collect();
        *table = table.rewritten(&changes);
        for (fingerprint, change) in changes {
            match change {
                Some(value) => map.insert(fingerprint, value),
                None => map.remove(&fingerprint),
            };
        }
    }
}
