//! The part of the disk that strangers may not fill.
//!
//! ```text
//! 0            half of the reserve        the reserve                     free bytes of the disk
//! | removals, the   | refreshes of strangers,  | what strangers announce
//! | operator's      | too                      | newly, too
//! | imports, and    |
//! | compaction      |
//! ```
//!
//! What counts is what is free, so that other programs that fill the disk count as well. It is asked for
//! before each write of strangers; what waits in the queue by then is still written. A file system that
//! does not say how large it is has no reserve.

use super::disk::DiskRoom;
use super::{JournalError, JournalShared};

/// The reserve where none is set: this part of the disk, and this many bytes at most.
const AUTO_PART: u64 = 16;
const AUTO_BYTES_MAX: u64 = 1 << 30;

/// What strangers are about to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StrangersWrite {
    /// Keys that they have not announced yet.
    New,
    /// What they have announced, again.
    Refresh,
}

/// The free bytes below which a write is refused, of a disk with so many bytes.
fn free_bytes_min(reserve_bytes: u64, total_bytes: u64, write: StrangersWrite) -> u64 {
    let reserve = match reserve_bytes {
        0 => (total_bytes / AUTO_PART).min(AUTO_BYTES_MAX),
        bytes => bytes,
    };
    match write {
        StrangersWrite::New => reserve,
        StrangersWrite::Refresh => reserve / 2,
    }
}

impl JournalShared {
    /// How much room there is on the disk; `None` if it does not say.
    pub(super) fn disk_room(&self) -> Option<DiskRoom> {
        let room = self.disk.room(&self.directory).ok();
        room.filter(|room| room.total_bytes > 0)
    }

    /// Whether strangers may write.
    pub(super) fn check_reserve(&self, write: StrangersWrite) -> Result<(), JournalError> {
        let Some(DiskRoom { free_bytes, total_bytes }) = self.disk_room() else { return Ok(()) };
        if free_bytes < free_bytes_min(self.disk_reserve_bytes, total_bytes, write) {
            return Err(JournalError::Reserved { path: self.directory.clone(), free_bytes });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_a_sixteenth_of_the_disk_and_1_gib_at_most_unless_it_is_set() {
        use StrangersWrite::{New, Refresh};
        for (reserve, total, write, expected) in [
            (0, 1 << 30, New, 64 << 20),
            (0, 1 << 30, Refresh, 32 << 20),
            (0, 1 << 40, New, 1 << 30),
            (5_000, 1 << 40, New, 5_000),
            (5_000, 1 << 10, Refresh, 2_500),
        ] {
            assert_eq!(free_bytes_min(reserve, total, write), expected);
        }
    }
}
