//! Repairs a journal that cannot be opened: whole blocks are kept, damage is reported.
//!
//! Each damaged segment is replaced by one of a new generation with its whole blocks; the damaged
//! file stays beside it as `*.damaged`. Missing segments are replaced by empty ones. Keys whose
//! group's definition is lost have no owner: their group is ended.
//!
//! A lost block may have been a group's end, so something that was removed may be back, or a change, so
//! older addresses may be; the report cannot know. Where a file is whole, nothing of it is changed.

use std::fmt;
use std::path::{Path, PathBuf};

use hashbrown::{HashMap, HashSet};

use super::JournalError;
use super::block::{Block, KIND_END};
use super::disk::{Disk, SystemDisk};
use super::format::{HEADER_BYTES, Previous, RawBlock, SegmentHeader, parse_file_name};
use super::output::SegmentOutput;
use super::recovery::{find_segments, length_by_next, tile};
use super::salvage::{LostBytes, find_salt, salvage};
use super::segment::{Segment, SegmentError};
use crate::data_dir::DataDir;

/// The report of a repair.
#[derive(Clone, Debug, Default)]
pub struct RepairReport {
    /// Segments that were read.
    pub(crate) segments: usize,
    /// Those that were damaged.
    pub(crate) damaged: Vec<DamagedSegment>,
    /// Sequence numbers of segments that are missing, first and last.
    pub(crate) missing: Vec<(u32, u32)>,
    /// Groups whose definition is lost.
    pub(crate) groups_lost: u64,
    /// Keys of those groups, in blocks that are whole.
    pub(crate) keys_lost: u64,
}

/// A damaged segment.
#[derive(Clone, Debug)]
pub(crate) struct DamagedSegment {
    /// The segment, as it was called.
    pub(crate) path: PathBuf,
    /// Its new name.
    pub(crate) kept_as: PathBuf,
    /// The lost bytes.
    pub(crate) lost: Vec<LostBytes>,
    /// Blocks that were whole, and were kept.
    pub(crate) blocks_kept: usize,
}

impl RepairReport {
    /// Whether there was nothing to repair.
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty() && self.missing.is_empty() && self.groups_lost == 0
    }
}

impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} segments read, {} damaged", self.segments, self.damaged.len())?;
        for segment in &self.damaged {
            let (path, kept_as) = (segment.path.display(), segment.kept_as.display());
            let blocks = segment.blocks_kept;
            writeln!(f, "{path}: {blocks} whole blocks kept, the file stays as {kept_as}")?;
            for LostBytes { offset, bytes, what } in &segment.lost {
                writeln!(f, "  lost: {bytes} bytes from byte {offset} on: {what}")?;
            }
        }
        for (first, last) in &self.missing {
            writeln!(f, "segments {first} to {last} are missing, with all that was in them")?;
        }
        if self.groups_lost > 0 {
            let (groups, keys) = (self.groups_lost, self.keys_lost);
            writeln!(f, "{groups} groups have lost their definition, and with it {keys} keys")?;
        }
        if !self.is_whole() {
            let advice = "what was removed or changed shortly before the damage may be back as it \
                          was: announce and remove again what matters";
            writeln!(f, "{advice}")?;
        }
        Ok(())
    }
}

/// Repairs the journal of a data directory, of which nothing is open.
///
/// # Errors
///
/// [`JournalError::Version`] if a segment is of a later version, and what the operating system refuses;
/// repairing again goes on from there.
pub fn repair(data_dir: &DataDir) -> Result<RepairReport, JournalError> {
    repair_on(&SystemDisk, data_dir)
}

pub(super) fn repair_on(disk: &dyn Disk, data_dir: &DataDir) -> Result<RepairReport, JournalError> {
    let directory = data_dir.journal();
    let mut repair = Repair::new(disk, &directory);
    let segments = repair.gather()?;
    repair.report.segments = segments.len();
    let mut expected = 1;
    for (index, candidate) in segments.iter().enumerate() {
        let header = candidate.segment.header;
        repair.fill_gap(expected, header.first)?;
        expected = header.last.saturating_add(1);
        repair.look_at(candidate, segments.get(index + 1))?;
    }
    repair.end_orphans(expected)?;
    Ok(repair.report)
}

/// A segment that counts, and whether its header is its own or was guessed.
struct RepairCandidate {
    segment: Segment,
    damage: Option<&'static str>,
}

/// The content read so far.
struct Repair<'a> {
    disk: &'a dyn Disk,
    directory: &'a Path,
    generation: u32,
    /// The segment before, as it is now.
    previous: Option<Previous>,
    next_serial: u64,
    known: HashSet<u64>,
    keys: HashMap<u64, u64>,
    report: RepairReport,
}

impl<'a> Repair<'a> {
    fn new(disk: &'a dyn Disk, directory: &'a Path) -> Self {
        Self {
            disk,
            directory,
            generation: 1,
            previous: None,
            next_serial: 1,
            known: HashSet::new(),
            keys: HashMap::new(),
            report: RepairReport::default(),
        }
    }

    /// The segments that count, in order.
    fn gather(&mut self) -> Result<Vec<RepairCandidate>, JournalError> {
        let names = find_segments(self.disk, self.directory)?.names;
        let mut damage = HashMap::new();
        let mut segments = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let path = self.directory.join(name);
            let what = match Segment::open(self.disk, &path) {
                Ok(segment) if segment.header.file_name() == *name => {
                    segments.push(segment);
                    continue;
                }
                Ok(_) => "the header is that of another file",
                // A segment that was never started; opening the journal removes it.
                Err(SegmentError::Header { length, .. })
                    if index + 1 == names.len() && length <= HEADER_BYTES as u64 =>
                {
                    continue;
                }
                Err(SegmentError::Header { what, .. }) => what,
                Err(SegmentError::Other(error)) => return Err(error),
            };
            damage.insert(path.clone(), what);
            segments.extend(self.guess(&path, name, names.get(index + 1))?);
        }
        for segment in &segments {
            self.generation = self.generation.max(segment.header.generation + 1);
            self.next_serial = self.next_serial.max(segment.header.next_serial);
        }
        let (counting, superseded) = tile(segments);
        for path in superseded.iter().filter(|path| damage.contains_key(*path)) {
            // An interrupted repair wrote its replacement.
            self.keep_aside(path)?;
        }
        let candidate = |segment: Segment| {
            let damage = damage.get(&segment.path).copied();
            RepairCandidate { segment, damage }
        };
        Ok(counting.into_iter().map(candidate).collect())
    }

    /// A segment whose header is damaged, with what its name, its frames and the next file tell.
    fn guess(
        &self,
        path: &Path,
        name: &str,
        next: Option<&String>,
    ) -> Result<Option<Segment>, JournalError> {
        let Some((first, generation)) = parse_file_name(name) else { return Ok(None) };
        let next = next.and_then(|next| parse_file_name(next)).map(|(next, _)| next);
        let last = next.map_or(first, |next| next.saturating_sub(1)).max(first);
        let file = self.disk.open(path).map_err(|error| JournalError::io("open", path, error))?;
        let mut header = SegmentHeader::new(generation, (first, last), 1, None);
        let segment = Segment::new(path.to_owned(), header, file);
        let bytes = segment.read_all()?;
        header.salt = find_salt(first, &bytes).unwrap_or(header.salt);
        Ok(Some(Segment::new(segment.path, header, segment.file)))
    }

    /// Replaces segments that are missing by one that is empty.
    fn fill_gap(&mut self, expected: u32, first: u32) -> Result<(), JournalError> {
        if expected < first {
            self.report.missing.push((expected, first - 1));
            self.write((expected, first - 1), &[])?;
        }
        Ok(())
    }

    /// Notes what a segment holds, and replaces it if it is damaged.
    fn look_at(
        &mut self,
        candidate: &RepairCandidate,
        next: Option<&RepairCandidate>,
    ) -> Result<(), JournalError> {
        let segment = &candidate.segment;
        let header = segment.header;
        let mut bytes = segment.read_all()?;
        let known = next.and_then(|next| length_by_next(segment, &next.segment));
        let length = bytes.len() as u64;
        bytes.truncate(known.and_then(|known| usize::try_from(known).ok()).unwrap_or(bytes.len()));
        let mut salvaged = salvage(&header, &bytes);
        let mut counted = bytes.len() as u64;
        // Whether the end of the segment is unknown.
        let is_open_ended = next.is_none_or(|next| {
            next.damage.is_some() || next.segment.header.first != header.last.saturating_add(1)
        });
        if let (None, Some(torn_at), None) = (next, salvaged.torn_at, candidate.damage) {
            // The last frame was never acknowledged; opening the journal cuts it.
            salvaged.blocks.retain(|block| block.offset < torn_at);
            salvaged.lost.retain(|lost| lost.offset < torn_at);
            counted = torn_at;
        }
        let lose = |offset, bytes, what| LostBytes { offset, bytes, what };
        if let Some(what) = candidate.damage {
            salvaged.lost.insert(0, lose(0, HEADER_BYTES as u64, what));
        }
        if let Some(missing) = known.map(|known| known.saturating_sub(length)).filter(|it| *it > 0)
        {
            salvaged.lost.push(lose(length, missing, "the end of the file is missing"));
        } else if !is_open_ended && known.is_none() && !salvaged.has_seal {
            salvaged.lost.push(lose(length, 0, "the seal at the end of the file is missing"));
        }
        salvaged.blocks.iter().for_each(|block| self.record(block));
        if salvaged.lost.is_empty() {
            let (first, generation) = (header.first, header.generation);
            self.previous = Some(Previous { first, generation, length: counted });
            return Ok(());
        }
        self.write((header.first, header.last), &salvaged.blocks)?;
        let kept_as = self.keep_aside(&segment.path)?;
        let (path, blocks_kept) = (segment.path.clone(), salvaged.blocks.len());
        let lost = salvaged.lost;
        self.report.damaged.push(DamagedSegment { path, kept_as, lost, blocks_kept });
        Ok(())
    }

    fn record(&mut self, raw: &RawBlock<'_>) {
        let serial = match Block::decode(raw) {
            Ok(Block::Keys(keys)) => {
                *self.keys.entry(keys.serial).or_default() += u64::from(keys.count);
                keys.serial
            }
            Ok(Block::Definition(definition)) => {
                self.known.insert(definition.serial);
                definition.serial
            }
            Ok(Block::End(serial)) => {
                self.known.insert(serial);
                serial
            }
            Ok(Block::Change(change)) => change.stamp(),
            Ok(Block::Seal(_)) | Err(_) => return,
        };
        self.next_serial = self.next_serial.max(serial.saturating_add(1));
    }

    /// Ends the groups whose definition is lost, in a segment of its own.
    fn end_orphans(&mut self, sequence: u32) -> Result<(), JournalError> {
        let orphans = self.keys.iter().filter(|(serial, _)| !self.known.contains(*serial));
        let mut orphans: Vec<(u64, u64)> = orphans.map(|(serial, keys)| (*serial, *keys)).collect();
        orphans.sort_unstable();
        self.report.groups_lost = orphans.len() as u64;
        self.report.keys_lost = orphans.iter().map(|(_, keys)| keys).sum();
        if orphans.is_empty() {
            return Ok(());
        }
        let ends: Vec<_> = orphans.iter().map(|(serial, _)| serial.to_le_bytes()).collect();
        let end = |payload| RawBlock { offset: 0, kind: KIND_END, payload, bytes: 0 };
        let blocks: Vec<_> = ends.iter().map(|payload| end(payload.as_slice())).collect();
        self.write((sequence, sequence), &blocks)
    }

    fn write(&mut self, range: (u32, u32), blocks: &[RawBlock<'_>]) -> Result<(), JournalError> {
        let header = SegmentHeader::new(self.generation, range, self.next_serial, self.previous);
        let mut output = SegmentOutput::create(self.disk, self.directory, header)?;
        for block in blocks {
            if let Err(error) = output.put(block.kind, block.payload) {
                output.discard();
                return Err(error);
            }
        }
        let (_, length) = output.finish()?;
        let (first, generation) = (header.first, header.generation);
        self.previous = Some(Previous { first, generation, length });
        Ok(())
    }

    fn keep_aside(&self, path: &Path) -> Result<PathBuf, JournalError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".damaged");
        let kept_as = PathBuf::from(name);
        let renamed = self.disk.rename(path, &kept_as);
        let synced = renamed.and_then(|()| self.disk.sync_directory(self.directory));
        synced.map_err(|error| JournalError::io("rename", path, error))?;
        Ok(kept_as)
    }
}
