//! The table of one shard: fingerprints and what they refer to, 16 bytes a slot.
//!
//! Ordered linear probing. An entry's home is its place, scaled to the number of buckets; the
//! entries stand in the order of their fingerprints, each at its home or right behind its
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
//! A table grows by a fifth when more than seven eighths of the buckets are taken: 18 to 22 bytes
//! an entry, 4.5 slots a probe at the fullest. It grows and shrinks in place, so that there are
//! never two copies of it.

#![expect(
    clippy::indexing_slicing,
    reason = "every position comes from the layout, which ends inside the slots; tests check it"
)]

use super::fingerprint::Fingerprint;

/// What stands in a slot that is free.
const FREE: u32 = u32::MAX;

/// Free slots behind the last bucket. At seven eighths the last run is longer than 64 with a
/// probability of e^-16; the tail is lengthened then.
const TAIL_SLOTS_MAX: usize = 64;

/// Fingerprints, each with a reference.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    buckets: usize,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    fingerprint: Fingerprint,
    reference: u32,
}

impl Slot {
    // The greatest fingerprint ends every probe, so that a probe compares once a slot.
    const FREE: Self = Self { fingerprint: Fingerprint::MAX, reference: FREE };

    fn is_free(&self) -> bool {
        self.reference == FREE
    }
}

/// A fingerprint and its reference.
pub(super) type Entry = (Fingerprint, u32);

/// What becomes of an entry in [`Table::rewrite`].
pub(super) type Change = (Fingerprint, Option<u32>);

impl Table {
    /// The reference of a fingerprint.
    pub(super) fn get(&self, fingerprint: Fingerprint) -> Option<u32> {
        let position = self.probe(fingerprint);
        let slot = self.slots.get(position)?;
        (slot.fingerprint == fingerprint && !slot.is_free()).then_some(slot.reference)
    }

    /// Sets the reference of a fingerprint, which need not be there.
    pub(super) fn set(&mut self, fingerprint: Fingerprint, reference: u32) {
        debug_assert_ne!(reference, FREE);
        let position = self.probe(fingerprint);
        match self.slots.get_mut(position) {
            Some(slot) if slot.fingerprint == fingerprint && !slot.is_free() => {
                slot.reference = reference;
            }
            _ => self.insert(Slot { fingerprint, reference }),
        }
    }

    /// Takes out or changes many entries at once. `changes` are in the order of their fingerprints.
    pub(super) fn rewrite(&mut self, changes: &[Change]) {
        let mut changes = changes.iter().peekable();
        for slot in self.slots.iter_mut().filter(|slot| !slot.is_free()) {
            let Some((fingerprint, reference)) = changes.peek() else { break };
            if slot.fingerprint != *fingerprint {
                continue;
            }
            changes.next();
            if let Some(reference) = *reference {
                slot.reference = reference;
            } else {
                *slot = Slot::FREE;
                self.len -= 1;
            }
        }
        debug_assert!(changes.next().is_none(), "changes are in order, of entries that are there");
        let is_sparse = self.len < self.buckets / 2;
        self.lay_out(if is_sparse { self.len + self.len / 4 } else { self.buckets });
    }

    /// Adds many entries at once, in the order of their fingerprints. Those whose fingerprint is
    /// there already are put into `known` instead.
    pub(super) fn merge(&mut self, entries: &[Entry], known: &mut Vec<Entry>) {
        for (fingerprint, reference) in entries {
            if self.get(*fingerprint).is_some() {
                known.push((*fingerprint, *reference));
            } else {
                self.set(*fingerprint, *reference);
            }
        }
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The entries, in the order of their fingerprints.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Fingerprint, u32)> {
        let taken = self.slots.iter().filter(|slot| !slot.is_free());
        taken.map(|slot| (slot.fingerprint, slot.reference))
    }

    /// How many slots there are, taken or not.
    pub(super) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// The memory that the table takes up.
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }

    /// Where the fingerprint is, or where it belongs.
    fn probe(&self, fingerprint: Fingerprint) -> usize {
        let home = home(fingerprint, self.buckets);
        let rest = self.slots.get(home..).unwrap_or_default();
        let steps = rest.iter().position(|slot| slot.fingerprint >= fingerprint);
        home + steps.unwrap_or(rest.len())
    }

    fn insert(&mut self, slot: Slot) {
        if (self.len + 1) * 8 > self.buckets * 7 {
            self.lay_out(self.buckets + self.buckets / 5 + 4);
        }
        loop {
            let position = self.probe(slot.fingerprint);
            let rest = self.slots.get(position..).unwrap_or_default();
            if let Some(steps) = rest.iter().position(Slot::is_free) {
                self.slots.copy_within(position..position + steps, position + 1);
                self.slots[position] = slot;
                self.len += 1;
                return;
            }
            // The run reaches the end of the tail; laying out anew lengthens it.
            self.lay_out(self.buckets);
        }
    }

    /// Brings the entries into the layout for `buckets`, in place: they move to the end, and from
    /// there, in order, to their new positions. An entry's new position is never behind its place
    /// at the end, because all entries after it fit behind both.
    fn lay_out(&mut self, buckets: usize) {
        let slot_count =
            buckets.max(self.layout_end(buckets)) + (4 + buckets / 8).min(TAIL_SLOTS_MAX);
        let longest = slot_count.max(self.slots.len());
        self.slots.reserve_exact(longest - self.slots.len());
        self.slots.resize(longest, Slot::FREE);
        let mut first = longest;
        for position in (0..longest).rev() {
            let slot = std::mem::replace(&mut self.slots[position], Slot::FREE);
            if !slot.is_free() {
                first -= 1;
                self.slots[first] = slot;
            }
        }
        let mut next = 0;
        for position in first..longest {
            let slot = std::mem::replace(&mut self.slots[position], Slot::FREE);
            next = home(slot.fingerprint, buckets).max(next);
            self.slots[next] = slot;
            next += 1;
        }
        self.buckets = buckets;
        self.slots.truncate(slot_count);
        self.slots.shrink_to_fit();
    }

    /// One past the last position of the layout for `buckets`.
    fn layout_end(&self, buckets: usize) -> usize {
        self.iter().fold(0, |next, (fingerprint, _)| home(fingerprint, buckets).max(next) + 1)
    }
}

fn home(fingerprint: Fingerprint, buckets: usize) -> usize {
    ((u64::from(fingerprint.place()) * buckets as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    impl Table {
        fn assert_laid_out(&self) {
            let taken: Vec<usize> =
                (0..self.slots.len()).filter(|at| !self.slots[*at].is_free()).collect();
            assert_eq!(taken.len(), self.len);
            let mut next = 0;
            let mut last = None;
            for at in taken {
                let fingerprint = self.slots[at].fingerprint;
                assert!(last < Some(fingerprint));
                assert_eq!(at, home(fingerprint, self.buckets).max(next));
                (next, last) = (at + 1, Some(fingerprint));
            }
        }
    }

    fn spread(number: u64) -> Fingerprint {
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Fingerprint::new(mixed >> 12, mixed as u32)
    }

    #[test]
    fn at_every_size_it_takes_less_than_22_bytes_an_entry_and_a_few_hundred_more() {
        let mut table = Table::default();
        for number in 0..60_000 {
            table.set(spread(number), number as u32);
            let bytes = table.slots.capacity() * 16;
            assert!(bytes <= table.len * 22 + 1300, "{bytes} for {}", table.len);
        }
        table.assert_laid_out();
        for number in 0..60_000 {
            assert_eq!(table.get(spread(number)), Some(number as u32));
            assert_eq!(table.get(spread(number + 60_000)), None);
        }
    }

    #[test]
    fn it_gives_memory_back() {
        let mut table = Table::default();
        for number in 0..20_000 {
            table.set(spread(number), 1);
        }
        let kept = 1_000;
        let mut gone: Vec<_> = (kept..20_000).map(|number| (spread(number), None)).collect();
        gone.sort();
        table.rewrite(&gone);
        table.assert_laid_out();
        assert!(table.bytes() < kept as usize * 24);
        assert!((0..kept).all(|number| table.get(spread(number)) == Some(1)));
        let mut rest: Vec<_> = (0..kept).map(|number| (spread(number), None)).collect();
        rest.sort();
        table.rewrite(&rest);
        assert!(table.bytes() < 200 && table.iter().next().is_none());
    }

    #[test]
    fn the_last_bucket_may_overflow_and_the_greatest_fingerprint_be_an_entry() {
        let mut table = Table::default();
        for low in 0..500 {
            table.set(Fingerprint::new(u64::MAX, u32::MAX - low), low);
        }
        table.assert_laid_out();
        assert_eq!(table.get(Fingerprint::MAX), Some(0));
        assert!(table.slots.capacity() < 1500);
        table.rewrite(&[(Fingerprint::MAX, None)]);
        assert_eq!(table.get(Fingerprint::MAX), None);
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
            steps in prop::collection::vec((any_fingerprint(), 0u32..100, 0u8..10), 0..400),
        ) {
            let mut table = Table::default();
            let mut map = BTreeMap::new();
            for (fingerprint, value, step) in steps {
                prop_assert_eq!(table.get(fingerprint), map.get(&fingerprint).copied());
                if step < 8 {
                    table.set(fingerprint, value);
                    map.insert(fingerprint, value);
                } else {
                    let changes: Vec<Change> = map
                        .iter()
                        .filter(|(_, kept)| **kept % 3 == value % 3)
                        .map(|(fingerprint, kept)| (*fingerprint, (kept % 2 == 0).then_some(kept + 1)))
                        .collect();
                    table.rewrite(&changes);
                    for (fingerprint, change) in changes {
                        match change {
                            Some(value) => map.insert(fingerprint, value),
                            None => map.remove(&fingerprint),
                        };
                    }
                }
                table.assert_laid_out();
            }
            let all: Vec<_> = map.into_iter().collect();
            prop_assert_eq!(table.iter().collect::<Vec<_>>(), all);
        }
    }
}
