//! Shared values by number, read without locks.
//!
//! The slab never moves: it grows by chunks, each twice as long as the one before, and a chunk stays
//! until the slab is dropped. Who gives the numbers out ([`Ids`]) decides when one may be used
//! again; the slab only holds what it was given.

use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwapOption, Guard};

/// One more than the greatest number: references keep a bit for themselves, and one value that
/// marks a free slot.
pub(super) const IDS_MAX: u32 = (1 << 31) - 1;

/// The length of the first chunk, as a power of two: 8 KiB.
const FIRST_BITS: u32 = 10;
const CHUNKS: usize = 32 - FIRST_BITS as usize;

type Chunk<T> = Box<[ArcSwapOption<T>]>;

/// Values by number.
pub(super) struct Slab<T> {
    chunks: [OnceLock<Chunk<T>>; CHUNKS],
}

/// Gives numbers out: those that came back first, then new ones.
#[derive(Debug)]
pub(super) struct Ids {
    free: Vec<u32>,
    next: u32,
    max: u32,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Self { chunks: [const { OnceLock::new() }; CHUNKS] }
    }

    /// The value with this number, or none.
    pub(super) fn get(&self, id: u32) -> Guard<Option<Arc<T>>> {
        match self.cell(id) {
            Some(cell) => cell.load(),
            None => Guard::from_inner(None),
        }
    }

    /// Puts a value in.
    pub(super) fn put(&self, id: u32, value: Arc<T>) {
        let (chunk, _) = locate(id);
        let length = 1usize << (chunk as u32 + FIRST_BITS);
        if let Some(chunk) = self.chunks.get(chunk) {
            chunk.get_or_init(|| (0..length).map(|_| ArcSwapOption::empty()).collect());
        }
        self.cell(id).expect("the chunk was made just now").store(Some(value));
    }

    /// Takes the value with this number out.
    pub(super) fn take(&self, id: u32) -> Option<Arc<T>> {
        self.cell(id)?.swap(None)
    }

    /// The memory that the chunks take up, without the values.
    pub(super) fn bytes(&self) -> usize {
        let lengths = self.chunks.iter().filter_map(|chunk| chunk.get()).map(|chunk| chunk.len());
        lengths.sum::<usize>() * size_of::<ArcSwapOption<T>>()
    }

    fn cell(&self, id: u32) -> Option<&ArcSwapOption<T>> {
        let (chunk, offset) = locate(id);
        self.chunks.get(chunk)?.get()?.get(offset)
    }
}

/// The chunk, and the position inside it.
fn locate(id: u32) -> (usize, usize) {
    let shifted = u64::from(id) + (1 << FIRST_BITS);
    let bits = shifted.ilog2();
    ((bits - FIRST_BITS) as usize, (shifted - (1 << bits)) as usize)
}

impl Ids {
    /// Numbers below `max`.
    pub(super) fn new(max: u32) -> Self {
        Self { free: Vec::new(), next: 0, max: max.min(IDS_MAX) }
    }

    /// A number that is not in use, if there is one.
    pub(super) fn take(&mut self) -> Option<u32> {
        if let Some(id) = self.free.pop() {
            return Some(id);
        }
        let id = self.next;
        self.next = (id < self.max).then_some(id + 1)?;
        Some(id)
    }

    /// Gives a number back that nothing refers to any more.
    pub(super) fn give_back(&mut self, id: u32) {
        self.free.push(id);
    }

    /// How many numbers can still be taken.
    pub(super) fn left(&self) -> u64 {
        u64::from(self.max - self.next) + self.free.len() as u64
    }

    /// How many numbers are in use.
    pub(super) fn in_use(&self) -> u64 {
        u64::from(self.next) - self.free.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_meet_without_gaps() {
        let mut expected = (0, 0);
        for id in 0..10_000 {
            let (chunk, offset) = locate(id);
            if offset == 0 && chunk > 0 {
                expected = (chunk, 0);
                assert_eq!(locate(id - 1), (chunk - 1, (1024 << (chunk - 1)) - 1));
            }
            assert_eq!((chunk, offset), expected);
            expected.1 += 1;
        }
        assert_eq!(locate(IDS_MAX - 1).0, CHUNKS - 1);
    }

    #[test]
    fn values_come_back_until_they_are_taken() {
        let slab = Slab::new();
        for id in [0, 1023, 1024, 5000] {
            assert!(slab.get(id).is_none());
            slab.put(id, Arc::new(id));
        }
        assert_eq!(slab.get(1023).as_deref(), Some(&1023));
        assert_eq!(slab.take(1024).as_deref(), Some(&1024));
        assert!(slab.get(1024).is_none());
        assert!(slab.get(4999).is_none() && slab.get(IDS_MAX).is_none());
    }

    #[test]
    fn ids_end_and_come_back() {
        let mut ids = Ids::new(2);
        assert_eq!((ids.take(), ids.take(), ids.take()), (Some(0), Some(1), None));
        ids.give_back(0);
        assert_eq!((ids.in_use(), ids.take(), ids.take()), (1, Some(0), None));
    }
}
