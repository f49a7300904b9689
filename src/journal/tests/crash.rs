//! What a crash leaves at every moment of a recorded run: everything that was acknowledged is there,
//! nothing that was removed is.

use std::collections::{BTreeMap, BTreeSet};

use super::disk::{Crash, MemoryDisk};
use super::*;

/// One thing that was done, between two places in the disk's log.
#[derive(Clone, Debug)]
struct Deed {
    begun_at: usize,
    acknowledged_at: usize,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Appended(u64, Vec<u64>),
    Ended(u64),
    /// A change, and keys of two groups that nothing else has, whole or not at all.
    Stated(u64, [u64; 2]),
}

/// The keys of a group that came with a change.
const STATED_KEYS: std::ops::Range<u64> = 0..25;

/// Keys by their numbers, each with the serial of a group that has it.
type HeldNumbers = BTreeSet<(u64, u64)>;

fn numbers_held(opened: &Opened) -> HeldNumbers {
    held(opened).iter().map(|(serial, multihash)| (*serial, number_of(multihash))).collect()
}

struct Recording {
    disk: MemoryDisk,
    deeds: Vec<Deed>,
    /// Keys that compaction may drop, since another group superseded them before.
    superseded: HeldNumbers,
}

impl Recording {
    fn opened_on(disk: &MemoryDisk) -> Opened {
        Journal::open(options_on(disk)).unwrap()
    }

    fn deed(&mut self, journal: &Journal, what: What) {
        let begun_at = self.disk.operations();
        match &what {
            What::Appended(serial, numbers) => {
                append(journal, vec![keys_entry(*serial, numbers.iter().copied())])
            }
            What::Ended(serial) => append(journal, vec![JournalEntry::End { serial: *serial }]),
            What::Stated(stamp, [one, other]) => append_whole(
                journal,
                vec![
                    keys_entry(*one, STATED_KEYS),
                    JournalEntry::Change(stated(*stamp, 1)),
                    keys_entry(*other, STATED_KEYS),
                ],
            ),
        }
        .unwrap();
        let acknowledged_at = self.disk.operations();
        self.deeds.push(Deed { begun_at, acknowledged_at, what });
    }

    /// Appends, removals, compactions and two starts, over a dozen segments.
    fn make() -> Self {
        let disk = MemoryDisk::default();
        let superseded = (0..400).step_by(3).map(|it| (4, it)).collect();
        let mut recording = Self { disk, deeds: Vec::new(), superseded };
        // A serial is never used again after its end.
        let mut serials: Vec<u64> = (1..=7).collect();
        let mut next_serial = 8;
        for round in 0..3_u64 {
            let opened = Self::opened_on(&recording.disk);
            let journal = opened.journal;
            for step in 0..16_u64 {
                let lane = (round + step * 3) as usize % serials.len();
                let serial = serials[lane];
                let numbers = (step * 20..step * 20 + 40).collect();
                recording.deed(&journal, What::Appended(serial, numbers));
                if step % 4 == 1 {
                    let stamp = 10_000 + round * 1_000 + step * 10;
                    recording.deed(&journal, What::Stated(stamp, [stamp - 2, stamp - 1]));
                }
                if step % 5 == 4 {
                    recording.deed(&journal, What::Ended(serial));
                    serials[lane] = next_serial;
                    next_serial += 1;
                    let superseded = recording.superseded.clone();
                    let is_held = move |serial: u64, multihash: &[u8]| {
                        !superseded.contains(&(serial, number_of(multihash)))
                    };
                    journal.compact_once(&is_held).unwrap();
                }
            }
            if round != 1 {
                journal.close().unwrap();
            }
        }
        recording
    }

    /// Checks what a crash after so many operations leaves.
    fn check(&self, operations: usize, crash: Crash) {
        let image = self.disk.image(operations, crash);
        let opened = Journal::open(options_on(&image))
            .unwrap_or_else(|error| panic!("at {operations}, {crash:?}: {error}"));
        let found = numbers_held(&opened);
        let stated_at = opened.changes.iter().map(Change::stamp).max().unwrap_or(0);
        let (mut must, mut may) = (BTreeMap::<u64, BTreeSet<u64>>::new(), HeldNumbers::new());
        for deed in self.deeds.iter().filter(|deed| deed.begun_at < operations) {
            let is_acknowledged = deed.acknowledged_at <= operations;
            // Only an end that was acknowledged says that none of the group may be there.
            match &deed.what {
                What::Appended(serial, numbers) => {
                    may.extend(numbers.iter().map(|number| (*serial, *number)));
                    if is_acknowledged {
                        must.entry(*serial).or_default().extend(numbers);
                    }
                }
                What::Stated(stamp, serials) => {
                    // All of it or nothing; what was acknowledged for sure.
                    assert!(stated_at >= *stamp || !is_acknowledged, "at {operations}, {crash:?}");
                    for serial in serials {
                        let keys = found.iter().filter(|(held, _)| held == serial).count();
                        let whole = if stated_at >= *stamp { STATED_KEYS.count() } else { 0 };
                        assert_eq!(keys, whole, "at {operations}, {crash:?}: {serial}");
                        may.extend(STATED_KEYS.map(|number| (*serial, number)));
                    }
                }
                What::Ended(serial) => {
                    must.remove(serial);
                    if is_acknowledged {
                        may.retain(|(held, _)| held != serial);
                    }
                }
            }
        }
        let must: HeldNumbers = must
            .iter()
            .flat_map(|(serial, numbers)| numbers.iter().map(|it| (*serial, *it)))
            .collect();
        let lost: Vec<_> =
            must.difference(&found).filter(|it| !self.superseded.contains(*it)).collect();
        assert!(lost.is_empty(), "at {operations}, {crash:?}: lost {}, {:?}", lost.len(), lost[0]);
        let revived: Vec<_> = found.difference(&may).collect();
        assert!(
            revived.is_empty(),
            "at {operations}, {crash:?}: revived {}, {:?}",
            revived.len(),
            revived[0]
        );
        append(&opened.journal, vec![keys_entry(1_000, 0..3)]).unwrap();
        drop(opened);
        let opened = Journal::open(options_on(&image)).unwrap();
        assert_eq!(opened.report.torn_tail, None, "at {operations}, {crash:?}");
        assert_eq!(opened.changes.iter().map(Change::stamp).max().unwrap_or(0), stated_at);
        let mut with_more = found;
        with_more.extend((0..3).map(|number| (1_000, number)));
        assert_eq!(numbers_held(&opened), with_more, "at {operations}, {crash:?}");
    }
}

#[test]
fn a_crash_at_any_operation_keeps_what_was_acknowledged_and_only_that() {
    let recording = Recording::make();
    let operations = recording.disk.operations();
    assert!(operations > 200, "{operations}");
    for at in 0..=operations {
        recording.check(at, Crash::KeepAll);
        recording.check(at, Crash::KeepSynced);
    }
}

#[test]
fn sectors_that_are_missing_or_out_of_order_are_cut_and_harm_nothing_else() {
    let recording = Recording::make();
    for at in 0..=recording.disk.operations() {
        for seed in 0..2 {
            recording.check(at, Crash::Torn(seed * 100_000 + at as u64));
        }
    }
}

#[test]
fn a_torn_tail_is_reported_with_its_place() {
    let disk = MemoryDisk::default();
    let journal = Recording::opened_on(&disk).journal;
    append(&journal, vec![keys_entry(1, 0..50)]).unwrap();
    let before = disk.operations();
    let length = disk.files().first().unwrap().1.len();
    append(&journal, vec![keys_entry(2, 0..50)]).unwrap();
    // The frame was written, but not synced: find a crash that leaves some of its sectors.
    let torn = (0..).find_map(|seed| {
        let image = disk.image(before + 1, Crash::Torn(seed));
        (image.files().first().unwrap().1.len() > length).then_some(image)
    });
    let torn = torn.unwrap();
    let written = torn.files().first().unwrap().1.clone();
    let left = written.len();
    let opened = Journal::open(options_on(&torn)).unwrap();
    if held(&opened).len() == 50 {
        let tail = opened.report.torn_tail.clone().unwrap();
        assert_eq!((tail.offset, tail.bytes), (length as u64, (left - length) as u64));
        let kept = tail.kept_as.unwrap();
        for (path, bytes) in torn.files() {
            let expected = if path == kept { &written[length..] } else { &written[..length] };
            assert!(bytes == expected, "{}", path.display());
        }
        assert_eq!(torn.files().len(), 2);
    } else {
        panic!("the seed kept the whole frame");
    }
}
