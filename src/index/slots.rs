//! The slots of a table, and the memory that they are in.
//!
//! ```text
//! byte 0          8                12          16
//!      | fingerprint, bits 95..0    | reference |   each bit inverted
//! ```
//!
//! Stored inverted, a slot of zeros is free and stands for what is greater than every fingerprint,
//! so that fresh memory is a table without entries and a probe compares once a slot.
//!
//! More than [`SLOTS_ON_HEAP_MAX`] slots are an anonymous mapping of their own. An allocator keeps what it is
//! given back in pieces that fit nothing else when tables of all sizes grow and are freed: measured
//! with glibc, 24.7 bytes an entry were resident where 21.4 were in use, and 49.5 after half the
//! entries were swept. A mapping costs two calls of the system and its pages' faults each time that
//! a table grows, and nothing when it is read. If the system has no mapping left to give, the heap
//! takes its place.
//!
//! A lookup's time is that of one access to memory that no cache has, and of finding out where that
//! memory is, which takes as long again with pages of 4 KB: 290 instead of 480 ns were measured with
//! huge pages, in 1 GB on a busy virtual machine. So slots begin at a multiple of [`HUGE_PAGE_BYTES`],
//! and huge pages are asked for where all of one is used; the rest are small ones, so that nothing is
//! resident that is not used. Address space for the gap in front costs nothing.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::fingerprint::Fingerprint;

/// How many slots a page of the system has.
pub(super) const SLOTS_A_PAGE: usize = 4096 / size_of::<Slot>();

/// The most slots that are on the heap: 16 kilobytes, which is 4 MB for all shards.
pub(super) const SLOTS_ON_HEAP_MAX: usize = 1024;

/// The size of a huge page on every system that has them beside pages of 4 KB.
const HUGE_PAGE_BYTES: usize = 2 << 20;

const WHOLE_SLOTS: &str = "slots begin at a page and are as many as were asked for";

/// A fingerprint and its reference, or nothing.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Slot {
    high: u64,
    low: u64,
}

/// Slots, all free at first.
#[derive(Debug)]
pub(super) enum Slots {
    /// A few, or all there is when mappings are used up.
    Heap(Box<[Slot]>),
    /// A part of a mapping.
    Mapped {
        map: MmapMut,
        /// Where the slots begin, in bytes.
        offset: usize,
        /// Where they end.
        end: usize,
    },
}

impl Slot {
    /// A slot that is free.
    pub(super) const FREE: Self = Self { high: 0, low: 0 };

    /// A slot that is taken. `reference` is any value but the greatest.
    pub(super) fn new(fingerprint: Fingerprint, reference: u32) -> Self {
        debug_assert_ne!(reference, u32::MAX);
        let low = u64::from(fingerprint.low()) << 32 | u64::from(reference);
        Self { high: !fingerprint.high(), low: !low }
    }

    pub(super) fn is_free(&self) -> bool {
        // The reference alone would do, but not the fingerprint: all bits set may be one.
        self.low as u32 == 0
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::new(!self.high, (!self.low >> 32) as u32)
    }

    pub(super) fn reference(&self) -> u32 {
        !self.low as u32
    }

    /// Whether the slot is taken, by this fingerprint.
    pub(super) fn is_of(&self, fingerprint: Fingerprint) -> bool {
        self.fingerprint() == fingerprint && !self.is_free()
    }

    /// Whether a probe for the fingerprint ends here.
    pub(super) fn is_at_or_after(&self, fingerprint: Fingerprint) -> bool {
        let high = !fingerprint.high();
        self.high < high || self.high == high && self.low >> 32 <= u64::from(!fingerprint.low())
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} -> {}", self.fingerprint(), self.reference())
    }
}

impl Slots {
    /// So many free slots.
    pub(super) fn new(count: usize) -> Self {
        let on_heap = || Self::Heap(vec![Slot::FREE; count].into());
        if count <= SLOTS_ON_HEAP_MAX {
            return on_heap();
        }
        let bytes = count * size_of::<Slot>();
        let huge_bytes = bytes / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
        if huge_bytes == 0 {
            return MmapMut::map_anon(bytes)
                .map_or_else(|_| on_heap(), |map| Self::Mapped { map, offset: 0, end: bytes });
        }
        let Ok(map) = MmapMut::map_anon(bytes + HUGE_PAGE_BYTES) else { return on_heap() };
        let start = map.as_ptr().addr();
        let offset = start.next_multiple_of(HUGE_PAGE_BYTES) - start;
        // Where there are none, small ones do.
        #[cfg(target_os = "linux")]
        let _ = map.advise_range(memmap2::Advice::HugePage, offset, huge_bytes);
        Self::Mapped { map, offset, end: offset + bytes }
    }
}

impl Default for Slots {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Deref for Slots {
    type Target = [Slot];

    fn deref(&self) -> &[Slot] {
        match self {
            Self::Heap(slots) => slots,
            Self::Mapped { map, offset, end } => {
                let bytes = map.get(*offset..*end).unwrap_or_default();
                <[Slot]>::ref_from_bytes(bytes).expect(WHOLE_SLOTS)
            }
        }
    }
}

impl DerefMut for Slots {
    fn deref_mut(&mut self) -> &mut [Slot] {
        match self {
            Self::Heap(slots) => slots,
            Self::Mapped { map, offset, end } => {
                let bytes = map.get_mut(*offset..*end).unwrap_or_default();
                <[Slot]>::mut_from_bytes(bytes).expect(WHOLE_SLOTS)
            }
        }
    }
}
