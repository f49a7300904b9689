//! Opens a journal: selects the files that count, verifies them, and reads their content.
//!
//! # Rules
//!
//! - The files' ranges of sequence numbers must follow each other from 1 on without a gap: a segment
//!   that is lost is noticed. Where a file of a later generation covers others, those are what a
//!   crash left of a compaction; they are removed.
//! - A segment that another follows counts up to the length that the header of the next one says.
//!   If it was rewritten since, it must end with a seal. Damage before that is corruption.
//! - In the last segment, damage with a whole frame after it is corruption: frames are written one
//!   after the other, each after the one before was synced. Damage without is a torn tail: what a
//!   crash interrupted, which nobody was told about, or, if the disk lost what it said it had, the
//!   last frame. It is put aside under `*.torn`, cut and reported.
//! - A last file that is no longer than a header and does not hold one was never begun.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;

use super::JournalError;
use super::block::{Block, GroupDefinition};
use super::change::Change;
use super::disk::Disk;
use super::format::{HEADER_BYTES, Previous, UNFINISHED_SUFFIX, parse_file_name};
use super::ledger::{BlockLocation, Ledger, SegmentState};
use super::segment::{Segment, SegmentError, WalkError, find_frame, walk};
use crate::clock::{Stopwatch, UnixMs};

/// The report of opening a journal.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// Segments that were read.
    pub(crate) segments: usize,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Keys of live groups, duplicates included.
    pub keys: u64,
    /// The torn tail that was cut, if there was one.
    pub torn_tail: Option<TornTail>,
    /// Removed leftovers of a compaction or of a new segment that a crash interrupted.
    pub leftovers: Vec<PathBuf>,
    /// How long it took, in milliseconds.
    pub(crate) took_ms: u64,
}

/// A write that a crash interrupted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub(crate) path: PathBuf,
    /// Where it was cut.
    pub(crate) offset: u64,
    /// How many bytes were cut.
    pub(crate) bytes: u64,
    /// The file that keeps them; `None` if the disk refused it.
    pub(crate) kept_as: Option<PathBuf>,
}

impl TornTail {
    /// Says where the bytes are now.
    pub(crate) fn kept(&self) -> String {
        match &self.kept_as {
            Some(path) => format!("kept as {}", path.display()),
            None => "not kept: the disk takes no copy".to_owned(),
        }
    }
}

/// A journal's files as they count: in order, without gaps, each with its length.
pub(super) struct Recovered {
    pub(super) ledger: Ledger,
    pub(super) groups: Vec<GroupDefinition>,
    pub(super) changes: Vec<Change>,
    /// Greater than every generation that was found.
    pub(super) next_generation: u32,
    pub(super) last: Option<(u32, Previous)>,
    pub(super) report: RecoveryReport,
}

/// Reads the journal in `directory`, cuts a torn tail and removes leftovers.
pub(super) fn recover(
    disk: &dyn Disk,
    directory: &Path,
    threads: usize,
    now_ms: UnixMs,
) -> Result<Recovered, JournalError> {
    let stopwatch = Stopwatch::start();
    let mut report = RecoveryReport::default();
    let (segments, next_generation) = arrange(disk, directory, &mut report)?;
    let contents = in_parallel(threads, &segments, |index, segment| {
        read_segment(segment, segments.get(index + 1).map(|next| &**next))
    })?;
    let mut lengths = contents.iter().map(|content| content.length).collect::<Vec<_>>();
    if let (Some(segment), Some(content)) = (segments.last(), contents.last()) {
        report.torn_tail = cut_tail(disk, segment, content.length)?;
    }
    let LedgerContents { ledger, groups, changes } = build_ledger(&segments, contents, now_ms)?;
    let totals = ledger.totals();
    report.segments = segments.len();
    report.bytes = totals.bytes;
    report.keys = totals.keys;
    report.took_ms = u64::try_from(stopwatch.elapsed().as_millis()).unwrap_or(u64::MAX);
    let last = segments.last().zip(lengths.pop()).map(|(segment, length)| {
        let header = &segment.header;
        (header.last, Previous { first: header.first, generation: header.generation, length })
    });
    Ok(Recovered { ledger, groups, changes, next_generation, last, report })
}

/// Opens the segments that count, in order, and removes what does not.
fn arrange(
    disk: &dyn Disk,
    directory: &Path,
    report: &mut RecoveryReport,
) -> Result<(Vec<Arc<Segment>>, u32), JournalError> {
    let mut found = find_segments(disk, directory)?;
    for name in found.unfinished.drain(..) {
        report.leftovers.push(directory.join(name));
    }
    let mut segments = Vec::new();
    let count = found.names.len();
    for (index, name) in found.names.iter().enumerate() {
        let path = directory.join(name);
        match Segment::open(disk, &path) {
            Ok(segment) => segments.push(check_name(segment, name)?),
            Err(SegmentError::Header { length, .. })
                if index + 1 == count && length <= HEADER_BYTES as u64 =>
            {
                report.leftovers.push(path);
            }
            Err(SegmentError::Header { what, .. }) => {
                return Err(JournalError::corrupt(&path, 0, what));
            }
            Err(SegmentError::Other(error)) => return Err(error),
        }
    }
    let next_generation = segments.iter().map(|it| it.header.generation + 1).max().unwrap_or(1);
    let (segments, superseded) = tile(segments);
    report.leftovers.extend(superseded);
    check_gaps(directory, &segments)?;
    for path in &report.leftovers {
        disk.remove(path).map_err(|error| JournalError::io("remove", path, error))?;
    }
    Ok((segments.into_iter().map(Arc::new).collect(), next_generation))
}

/// The files of a journal, by what their names say.
pub(super) struct FoundFiles {
    /// Names of segments, by sequence number and generation.
    pub(super) names: Vec<String>,
    /// Names of segments that were never finished.
    pub(super) unfinished: Vec<String>,
}

/// Lists the directory of a journal.
pub(super) fn find_segments(disk: &dyn Disk, directory: &Path) -> Result<FoundFiles, JournalError> {
    let failed = |error| JournalError::io("list", directory, error);
    let all = disk.list(directory).map_err(failed)?;
    let (unfinished, rest): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|name| name.ends_with(UNFINISHED_SUFFIX));
    let mut names: Vec<_> =
        rest.into_iter().filter(|name| parse_file_name(name).is_some()).collect();
    names.sort();
    Ok(FoundFiles { names, unfinished })
}

fn check_name(segment: Segment, name: &str) -> Result<Segment, JournalError> {
    if segment.header.file_name() == name {
        return Ok(segment);
    }
    let says = segment.header.file_name();
    Err(segment.corrupt(0, format!("the header says that the file is {says}")))
}

/// Splits segments into those that count, in order, and the paths of those that a later generation
/// covers.
pub(super) fn tile(mut segments: Vec<Segment>) -> (Vec<Segment>, Vec<PathBuf>) {
    segments.sort_by_key(|segment| std::cmp::Reverse(segment.header.generation));
    let mut counting: Vec<Segment> = Vec::new();
    let mut superseded = Vec::new();
    for segment in segments {
        let it = segment.header;
        let covers =
            |other: &Segment| other.header.first <= it.first && it.last <= other.header.last;
        if counting.iter().any(covers) {
            superseded.push(segment.path);
        } else {
            counting.push(segment);
        }
    }
    counting.sort_by_key(|segment| segment.header.first);
    (counting, superseded)
}

fn check_gaps(directory: &Path, segments: &[Segment]) -> Result<(), JournalError> {
    let mut expected = 1;
    for segment in segments {
        let header = &segment.header;
        if header.first > expected {
            let (from, to) = (expected, header.first - 1);
            let what = format!("segments {from} to {to} are missing before {}", header.file_name());
            return Err(JournalError::corrupt(directory, 0, what));
        }
        if header.first < expected {
            return Err(segment.corrupt(0, "its sequence numbers overlap those of the one before"));
        }
        expected = header.last.saturating_add(1);
    }
    Ok(())
}

/// What one segment holds.
struct SegmentContent {
    /// Up to where it counts.
    length: u64,
    definitions: Vec<(GroupDefinition, u32)>,
    ends: Vec<u64>,
    /// Changes, with their offsets and bytes.
    changes: Vec<(Change, u32, u64)>,
    held: HashMap<u64, HeldGroup>,
    /// Places of blocks of keys.
    keys_at: Vec<u64>,
}

/// What one segment holds of one group.
#[derive(Default)]
struct HeldGroup {
    bytes: u64,
    keys: u64,
    first_at: u64,
}

/// Up to where a segment counts, if the next one says so.
pub(super) fn length_by_next(segment: &Segment, next: &Segment) -> Option<u64> {
    let header = &segment.header;
    let previous = next.header.previous?;
    let is_this = previous.first == header.first && previous.generation == header.generation;
    is_this.then_some(previous.length)
}

fn read_segment(segment: &Segment, next: Option<&Segment>) -> Result<SegmentContent, JournalError> {
    let length = segment.length()?;
    let known = next.and_then(|next| length_by_next(segment, next));
    if known.is_some_and(|known| known > length) {
        return Err(segment.corrupt(length, "the end of the file is missing"));
    }
    if u32::try_from(length).is_err() {
        return Err(segment.corrupt(length, "the file is longer than a segment can be"));
    }
    let mut content = SegmentContent {
        length: known.unwrap_or(length),
        definitions: Vec::new(),
        ends: Vec::new(),
        changes: Vec::new(),
        held: HashMap::new(),
        keys_at: Vec::new(),
    };
    let seal = match walk(segment, content.length, |raw, block| {
        content.record(raw.offset, raw.bytes, block);
        Ok(ControlFlow::Continue(()))
    }) {
        Ok(seal) => seal,
        Err(WalkError::Damaged { frame, offset, what }) if next.is_none() => {
            if find_frame(segment, frame + 1, length)?.is_some() {
                return Err(segment.corrupt(offset, what));
            }
            content.length = frame;
            None
        }
        Err(error) => return Err(error.into_journal_error(segment)),
    };
    if next.is_some() && known.is_none() && seal.is_none() {
        return Err(segment.corrupt(length, "the seal at the end of the file is missing"));
    }
    Ok(content)
}

impl SegmentContent {
    fn record(&mut self, offset: u64, bytes: u64, block: Block<'_>) {
        let mut hold = |serial, bytes, keys| {
            let held = self
                .held
                .entry(serial)
                .or_insert(HeldGroup { first_at: offset, ..HeldGroup::default() });
            held.bytes += bytes;
            held.keys += keys;
        };
        match block {
            Block::Definition(definition) => {
                hold(definition.serial, bytes, 0);
                self.definitions.push((definition, offset_in_segment(offset)));
            }
            Block::Keys(keys) => {
                hold(keys.serial, bytes, u64::from(keys.count));
                self.keys_at.push(offset);
            }
            Block::End(serial) => self.ends.push(serial),
            Block::Change(change) => self.changes.push((change, offset_in_segment(offset), bytes)),
            Block::Seal(_) => {}
        }
    }
}

fn offset_in_segment(offset: u64) -> u32 {
    u32::try_from(offset).expect("checked before the segment is read")
}

fn cut_tail(
    disk: &dyn Disk,
    segment: &Segment,
    length: u64,
) -> Result<Option<TornTail>, JournalError> {
    let bytes = segment.length()?.saturating_sub(length);
    if bytes == 0 {
        return Ok(None);
    }
    let kept_as = keep_tail(disk, segment, length, bytes);
    let cut = segment.file.set_length(length).and_then(|()| segment.file.sync());
    cut.map_err(|error| JournalError::io("cut", &segment.path, error))?;
    Ok(Some(TornTail { path: segment.path.clone(), offset: length, bytes, kept_as }))
}

/// Copies the tail into a file of its own. A full disk must not prevent opening, so a failed copy
/// is skipped.
fn keep_tail(disk: &dyn Disk, segment: &Segment, offset: u64, bytes: u64) -> Option<PathBuf> {
    const COPIED_AT_A_TIME: u64 = 1 << 20;
    let mut name = segment.path.clone().into_os_string();
    name.push(".torn");
    let path = PathBuf::from(name);
    let copy = || {
        let kept = disk.create(&path)?;
        let mut done = 0;
        while done < bytes {
            let length = usize::try_from((bytes - done).min(COPIED_AT_A_TIME)).unwrap_or_default();
            let mut buffer = vec![0; length];
            segment.file.read_at(&mut buffer, offset + done)?;
            kept.write_at(&buffer, done)?;
            done += length as u64;
        }
        kept.sync()
    };
    if copy().is_err() {
        // A partial copy would pass for a whole one.
        let _ = disk.remove(&path);
        return None;
    }
    Some(path)
}

/// The merged content of all segments.
struct LedgerContents {
    ledger: Ledger,
    /// The groups that are live.
    groups: Vec<GroupDefinition>,
    /// The newest changes.
    changes: Vec<Change>,
}

/// Enters all contents into a ledger.
fn build_ledger(
    segments: &[Arc<Segment>],
    contents: Vec<SegmentContent>,
    now_ms: UnixMs,
) -> Result<LedgerContents, JournalError> {
    let mut ledger = Ledger::default();
    let mut changes = Vec::new();
    let mut groups = Vec::new();
    let mut rest = Vec::new();
    for (segment, content) in segments.iter().zip(contents) {
        let state = SegmentState::Finished;
        let id = ledger.add_segment(Arc::clone(segment), content.length, state);
        for (definition, offset) in content.definitions {
            let place = BlockLocation { segment: id, offset };
            if ledger.define(definition.serial, definition.expires_at_ms, place) {
                groups.push(definition);
            }
        }
        content.keys_at.iter().for_each(|offset| ledger.sample(id, *offset));
        for (change, offset, bytes) in content.changes {
            ledger.change(
                change.key(),
                change.stamp(),
                BlockLocation { segment: id, offset },
                bytes,
            );
            changes.push(change);
        }
        rest.push((segment, id, content.held, content.ends));
    }
    let ended: HashSet<u64> = rest.iter().flat_map(|(_, _, _, ends)| ends).copied().collect();
    for (segment, id, held, _) in &rest {
        for (serial, held) in held {
            if !ledger.is_known(*serial) {
                if !ended.contains(serial) {
                    let what = format!("keys of group {serial}, whose definition is missing");
                    return Err(segment.corrupt(held.first_at, what));
                }
                // Compaction dropped the definition; the end suffices.
                ledger.define(*serial, None, BlockLocation { segment: *id, offset: 0 });
            }
            ledger.hold(*serial, *id, held.bytes, held.keys);
        }
    }
    for (_, id, _, ends) in &rest {
        ends.iter().for_each(|serial| ledger.end(*serial, Some(*id)));
    }
    ledger.expire(now_ms);
    groups.retain(|definition| ledger.is_live(definition.serial));
    changes.retain(|change| ledger.is_newest_change(&change.key(), change.stamp()));
    Ok(LedgerContents { ledger, groups, changes })
}

/// Runs `work` on every item, on as many threads, and returns the results in order, or the first
/// error in order.
pub(super) fn in_parallel<T: Sync, R: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(usize, &T) -> Result<R, JournalError> + Sync,
) -> Result<Vec<R>, JournalError> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let run = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return };
            let result = work(index, item);
            done.lock().push((index, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(items.len()) {
            scope.spawn(run);
        }
        run();
    });
    let mut done = done.into_inner();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
