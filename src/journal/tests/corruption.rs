//! Damage: every byte of a segment counts, nothing damaged is skipped in silence, and a repair keeps
//! everything else.

use std::path::PathBuf;

use super::disk::MemoryDisk;
use super::*;
use crate::data_dir::DataDir;
use crate::journal::repair::repair_on;

type Changes = BTreeMap<ChangeKey, Change>;

/// A sealed journal of several segments, one of them compacted, and what it holds.
fn sealed() -> (Vec<(PathBuf, Vec<u8>)>, HeldKeys, Changes) {
    let disk = MemoryDisk::default();
    let mut options = options_on(&disk);
    options.segment_bytes = 1200;
    let journal = Journal::open(options).unwrap().journal;
    for serial in 1..=6 {
        append(&journal, vec![keys_entry(serial, serial * 10..serial * 10 + 12)]).unwrap();
        append(&journal, vec![JournalEntry::Change(stated(10 + serial, serial % 2))]).unwrap();
    }
    append(&journal, vec![JournalEntry::Change(recorded(20, 1))]).unwrap();
    append(&journal, vec![JournalEntry::End { serial: 1 }, JournalEntry::End { serial: 6 }])
        .unwrap();
    assert!(journal.compact_once(&|_, _| true).unwrap());
    append(&journal, vec![keys_entry(7, 0..10), JournalEntry::Change(stated(23, 1))]).unwrap();
    append(&journal, vec![JournalEntry::Change(recorded(21, 1)), keys_entry(8, 0..10)]).unwrap();
    journal.close().unwrap();
    let opened = Journal::open(options_on(&disk)).unwrap();
    let files = disk.files();
    assert!(files.len() >= 3, "{files:?}");
    (files, held(&opened), changes(&opened))
}

fn serials(held: &HeldKeys) -> BTreeSet<u64> {
    held.iter().map(|(serial, _)| *serial).collect()
}

#[test]
fn every_flipped_byte_is_found_with_its_place_or_harmless_and_repair_keeps_the_rest() {
    let (files, whole, newest) = sealed();
    let mut found = 0;
    for (index, (path, content)) in files.iter().enumerate() {
        for at in 0..content.len() {
            let mut damaged = files.clone();
            damaged[index].1[at] ^= 1 << (at % 8);
            let disk = MemoryDisk::with_files(damaged);
            match Journal::open(options_on(&disk)) {
                Ok(opened) => {
                    // Only the seal of the last segment says nothing but that it is the last.
                    assert_eq!(held(&opened), whole, "{path:?} at {at}");
                    assert_eq!(changes(&opened), newest, "{path:?} at {at}");
                    assert!(index + 1 == files.len() && at + 48 >= content.len(), "{path:?} {at}");
                }
                Err(JournalError::Corrupt { path: said, offset, .. }) => {
                    found += 1;
                    assert_eq!(&said, path, "at {at}");
                    assert!(offset <= at as u64 && at as u64 <= offset + 600, "{offset} for {at}");
                    check_repair(&disk, (&whole, &newest), at, path);
                }
                // The version is told apart from damage only if the checksum matches.
                Err(error) => panic!("{path:?} at {at}: {error}"),
            }
        }
    }
    assert!(found > 2000, "{found}");
}

fn check_repair(
    disk: &MemoryDisk,
    (whole, newest): (&HeldKeys, &Changes),
    at: usize,
    path: &PathBuf,
) {
    let report = repair_on(disk, &DataDir::in_memory("/data")).unwrap();
    assert!(!report.is_whole());
    assert_eq!(report.damaged.len(), 1, "{path:?} at {at}: {report}");
    let opened = Journal::open(options_on(disk));
    let opened = opened.unwrap_or_else(|error| panic!("{path:?} at {at}: {error}\n{report}"));
    let kept = held(&opened);
    // One block at most is lost: a group, some of its keys, or an end.
    let lost: HeldKeys = whole.difference(&kept).cloned().collect();
    assert!(serials(&lost).len() <= 1, "{path:?} at {at}: {lost:?}");
    let back: HeldKeys = kept.difference(whole).cloned().collect();
    assert!(serials(&back).len() <= 1, "{path:?} at {at}: {back:?}");
    // Or a change, and then an older one of the same kind may be back.
    let found = changes(&opened);
    let other = newest.iter().filter(|(key, change)| found.get(*key) != Some(*change)).count();
    assert!(other + serials(&lost).len() <= 1, "{path:?} at {at}: {found:?}");
    assert!(found.keys().all(|key| newest.contains_key(key)));
    let is_kept_aside =
        |(path, _): &(PathBuf, Vec<u8>)| path.to_str().unwrap().ends_with(".damaged");
    assert_eq!(disk.files().iter().filter(|file| is_kept_aside(file)).count(), 1);
    append(&opened.journal, vec![keys_entry(900, 0..5)]).unwrap();
    drop(opened);
    assert!(repair_on(disk, &DataDir::in_memory("/data")).unwrap().is_whole());
}

#[test]
fn a_missing_segment_is_noticed_and_repair_goes_on_without_it() {
    let (files, whole, _) = sealed();
    for index in 0..files.len() - 1 {
        let mut rest = files.clone();
        let (lost, _) = rest.remove(index);
        let disk = MemoryDisk::with_files(rest);
        let error = Journal::open(options_on(&disk)).err().unwrap();
        assert!(error.to_string().contains("missing before"), "{lost:?}: {error}");
        assert!(error.to_string().contains("fingerpost repair"), "{error}");
        let report = repair_on(&disk, &DataDir::in_memory("/data")).unwrap();
        assert_eq!(report.missing.len(), 1, "{lost:?}: {report}");
        assert!(report.damaged.is_empty(), "{lost:?}: {report}");
        let opened = Journal::open(options_on(&disk)).unwrap();
        assert!(held(&opened).difference(&whole).count() <= 24, "{lost:?}");
        assert!(!held(&opened).is_empty());
    }
}

#[test]
fn a_shortened_segment_is_noticed_wherever_it_is_cut() {
    let (files, whole, _) = sealed();
    for index in 0..files.len() - 1 {
        for length in (0..files[index].1.len()).step_by(8) {
            let mut cut = files.clone();
            cut[index].1.truncate(length);
            let disk = MemoryDisk::with_files(cut);
            let error = Journal::open(options_on(&disk)).err();
            let Some(JournalError::Corrupt { path, .. }) = &error else {
                panic!("{index} cut to {length}: {error:?}")
            };
            assert_eq!(path, &files[index].0);
            repair_on(&disk, &DataDir::in_memory("/data")).unwrap();
            let opened = Journal::open(options_on(&disk)).unwrap();
            let kept = held(&opened);
            let others =
                whole.iter().filter(|(serial, _)| *serial >= 7).cloned().collect::<HeldKeys>();
            assert!(index + 1 == files.len() || others.is_subset(&kept), "{index} {length}");
        }
    }
}

#[test]
fn a_version_from_the_future_is_neither_read_nor_repaired() {
    use xxhash_rust::xxh3::xxh3_64_with_seed;
    let (mut files, _, _) = sealed();
    let content = &mut files[0].1;
    content[8] = 9;
    let checksum = xxh3_64_with_seed(&content[..56], 0).to_le_bytes();
    content[56..64].copy_from_slice(&checksum);
    let disk = MemoryDisk::with_files(files);
    let error = Journal::open(options_on(&disk)).err().unwrap();
    assert!(matches!(error, JournalError::Version { version: 9, .. }), "{error:?}");
    let error = repair_on(&disk, &DataDir::in_memory("/data")).err().unwrap();
    assert!(matches!(error, JournalError::Version { version: 9, .. }), "{error:?}");
}

#[test]
fn digests_that_look_like_frames_are_not_taken_for_frames() {
    // Whoever chooses digests may put a whole segment into identity multihashes.
    let (files, _, _) = sealed();
    let mut hostile = vec![0x00, 0x80, 0x08];
    hostile.extend(files[0].1.iter().copied().cycle().take(1024));
    let hostile = ContentKey::from_multihash(&hostile).unwrap();
    let disk = MemoryDisk::default();
    let journal = Journal::open(options_on(&disk)).unwrap().journal;
    append(&journal, vec![JournalEntry::Keys { group: group(1), keys: vec![hostile; 3] }]).unwrap();
    drop(journal);
    let (path, mut content) = disk.files().remove(0);
    // The seal and the end of the frame are gone: a torn tail, whatever the digests say.
    content.truncate(content.len() - 100);
    let torn = MemoryDisk::with_files(vec![(path, content)]);
    let opened = Journal::open(options_on(&torn)).unwrap();
    assert!(opened.report.torn_tail.is_some());
}
