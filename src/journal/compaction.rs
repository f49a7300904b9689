//! Rewriting segments without their garbage, and merging small ones.
//!
//! A compaction takes neighbouring finished segments whose live bytes fit into one segment, and
//! writes what lives in them, sorted by group, to a file of the next generation that covers their
//! whole range. Order of steps: write, sync, rename, sync the directory, tell the ledger, remove the
//! sources. A crash in between leaves either the sources or the new file as what counts.
//!
//! # Invariants
//!
//! - What the ledger says about a group when its block is planned stays true: groups only die.
//! - The ledger is locked for a moment at a time, never while a file is read or written.
//! - A change is dropped if a newer one of its kind for the same groups is durable, or if it counts for
//!   no group. One that is durable and not seen by lookups yet counts.
//! - A key is dropped as superseded only if lookups see all that is durable in its segment:
//!   otherwise one that was just appended would look like one that was superseded. What lookups do
//!   not see of a source, they do not see of the segment that takes its place.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::block::{Block, KIND_DEFINITION, KIND_END, KIND_KEYS, KeysEncoder, KeysPayload};
use super::format::SegmentHeader;
use super::ledger::{
    GroupStanding, Ledger, Moved, MovedChange, SegmentId, SegmentState, SegmentUsage,
};
use super::output::SegmentOutput;
use super::pace::Pace;
use super::segment::{Segment, walk};
use super::{JournalError, JournalShared};
use crate::invariant;

/// Tells whether a group still has a key, by serial and multihash. It is asked of groups that live in the
/// journal, and of one whose end is not durable yet it must say yes: a restart would bring it back.
pub(crate) type IsHeld = dyn Fn(u64, &[u8]) -> bool + Send + Sync;

/// Tells whether a change counts for some group, by its stamp; one whose end is not durable yet is such
/// a group, too.
pub(crate) type IsNeeded = dyn Fn(u64) -> bool + Send + Sync;

/// What compaction asks the index.
#[derive(Clone, Copy)]
pub(super) struct Uses<'a> {
    pub(super) is_held: &'a IsHeld,
    pub(super) is_needed: &'a IsNeeded,
}

/// Compaction begins when more than this share of all bytes, in percent, is garbage. A journal that
/// settled has less than this and what its active segment took in since.
const GARBAGE_PERCENT_MAX: u64 = 20;
/// So many neighbours, each at most an eighth of a segment, are merged even without garbage: every
/// start of the process begins a segment.
const SMALL_NEIGHBOURS: usize = 8;
/// Groups that are relocated under one hold of the ledger's lock: about a millisecond.
const RELOCATED_AT_ONCE: usize = 4096;

/// What there is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CompactionChoice {
    Nothing,
    /// The garbage is in the segment that is appended to: it must be finished first.
    Roll,
    /// These segments are to be rewritten into one.
    Rewrite(Vec<SegmentId>),
}

/// Decides what to compact.
pub(super) fn choose(
    ledger: &Ledger,
    segment_bytes: u64,
    garbage_bytes_min: u64,
) -> CompactionChoice {
    let usages = ledger.in_order();
    let garbage: u64 = usages.iter().map(|(_, usage)| usage.garbage_bytes()).sum();
    let bytes: u64 = usages.iter().map(|(_, usage)| usage.length).sum();
    if garbage * 100 > bytes * GARBAGE_PERCENT_MAX && garbage >= garbage_bytes_min {
        let is_worth_it = |usage: &SegmentUsage| {
            usage.state == SegmentState::Finished
                && usage.garbage_bytes() * 100 > usage.length * GARBAGE_PERCENT_MAX
        };
        let candidates = usages.iter().enumerate();
        let candidates = candidates.filter(|(_, (_, usage))| is_worth_it(usage));
        let best = candidates
            .max_by_key(|(_, (_, usage))| usage.garbage_bytes() * 1_000 / usage.length.max(1));
        if let Some((index, _)) = best {
            return CompactionChoice::Rewrite(around(&usages, index, segment_bytes));
        }
        let active = usages.iter().find(|(_, usage)| usage.state == SegmentState::Active);
        if active.is_some_and(|(_, usage)| usage.garbage_bytes() > 0) {
            return CompactionChoice::Roll;
        }
    }
    small_run(&usages, segment_bytes).map_or(CompactionChoice::Nothing, CompactionChoice::Rewrite)
}

/// The segment at `index` and the neighbours that are worth rewriting with it.
fn around(
    usages: &[(SegmentId, &SegmentUsage)],
    index: usize,
    segment_bytes: u64,
) -> Vec<SegmentId> {
    let (mut first, mut end) = (index, index + 1);
    let mut live = usages.get(index).map_or(0, |(_, usage)| usage.live_bytes());
    let mut take = |index: usize| {
        let Some((_, usage)) = usages.get(index) else { return false };
        let is_small = usage.live_bytes() <= segment_bytes / 4;
        let is_bad = usage.garbage_bytes() * 100 > usage.length * GARBAGE_PERCENT_MAX;
        let fits = live + usage.live_bytes() <= segment_bytes;
        let taken = usage.state == SegmentState::Finished && (is_small || is_bad) && fits;
        live += if taken { usage.live_bytes() } else { 0 };
        taken
    };
    while take(end) {
        end += 1;
    }
    while first.checked_sub(1).is_some_and(&mut take) {
        first -= 1;
    }
    usages.get(first..end).unwrap_or(&[]).iter().map(|(id, _)| *id).collect()
}

/// The first run of neighbours that are all small.
fn small_run(usages: &[(SegmentId, &SegmentUsage)], segment_bytes: u64) -> Option<Vec<SegmentId>> {
    let is_small = |usage: &SegmentUsage| {
        usage.state == SegmentState::Finished && usage.length <= segment_bytes / 8
    };
    let mut runs = usages.split(|(_, usage)| !is_small(usage));
    let run = runs.find(|run| run.len() >= SMALL_NEIGHBOURS)?;
    Some(run.iter().take(SMALL_NEIGHBOURS).map(|(id, _)| *id).collect())
}

/// A change that may be kept.
struct ChangePiece {
    moved: MovedChange,
    source: usize,
    offset: u64,
}

/// A block of a group that is to be kept.
struct BlockPiece {
    serial: u64,
    kind: u8,
    source: usize,
    offset: u64,
}

/// What is to be written, and what becomes of every group that the sources hold something of.
#[derive(Default)]
struct CompactionPlan {
    pieces: Vec<BlockPiece>,
    /// The changes that no newer one superseded.
    changes: Vec<ChangePiece>,
    moved: BTreeMap<u64, Moved>,
    /// Bytes that are garbage, but must stay.
    stubborn: u64,
}

/// Rewrites segments into one, unless it is told to stop.
pub(super) fn rewrite(
    shared: &JournalShared,
    ids: &[SegmentId],
    uses: Uses<'_>,
    pace: &mut Pace<'_>,
) -> Result<ControlFlow<()>, JournalError> {
    let sources = shared.sources(ids)?;
    let Some(mut plan) = CompactionPlan::compute(shared, ids, &sources, pace)? else {
        return Ok(ControlFlow::Break(()));
    };
    let header = merged_header(shared, &sources);
    let mut output = SegmentOutput::create(&*shared.disk, &shared.directory, header)?;
    let written = plan.write_all(shared, &sources, uses, &mut output, pace);
    let samples = std::mem::take(&mut output.samples);
    if !matches!(written, Ok(ControlFlow::Continue(()))) {
        output.discard();
        return written;
    }
    let (mut segment, length) = output.finish()?;
    segment.inherit(sources.iter().map(|(source, _)| source));
    shared.counters.bytes_compacted.fetch_add(length, Ordering::Relaxed);
    install(shared, ids, plan, (Arc::new(segment), length), &samples);
    for (segment, _) in &sources {
        // One that stays is found to be superseded when the journal is opened.
        let _ = shared.disk.remove(&segment.path);
    }
    Ok(ControlFlow::Continue(()))
}

impl JournalShared {
    fn sources(&self, ids: &[SegmentId]) -> Result<Vec<(Arc<Segment>, u64)>, JournalError> {
        let ledger = self.ledger.lock();
        let source = |id: &SegmentId| {
            let usage = invariant::present(ledger.usage(*id), "a segment to be rewritten is known");
            let usage = usage.ok_or_else(|| self.refused())?;
            Ok((Arc::clone(&usage.segment), usage.length))
        };
        ids.iter().map(source).collect()
    }

    /// The error of a compaction that would lose something: its sources stay.
    fn refused(&self) -> JournalError {
        let why = std::io::Error::other("an invariant does not hold; nothing was removed");
        JournalError::io("compact", &self.directory, why)
    }

    /// Leaves a damaged segment alone from now on.
    fn set_aside(&self, id: Option<SegmentId>) {
        let mut ledger = self.ledger.lock();
        if let Some(usage) = id.and_then(|id| ledger.usage_mut(id)) {
            usage.state = SegmentState::Damaged;
        }
    }
}

fn merged_header(shared: &JournalShared, sources: &[(Arc<Segment>, u64)]) -> SegmentHeader {
    let headers = || sources.iter().map(|(segment, _)| &segment.header);
    let generation = shared.next_generation.fetch_add(1, Ordering::Relaxed);
    let first = headers().map(|header| header.first).min().unwrap_or(1);
    let last = headers().map(|header| header.last).max().unwrap_or(1);
    let previous = headers().next().and_then(|header| header.previous);
    let next_serial = shared.ledger.lock().next_serial();
    SegmentHeader::new(generation, (first, last), next_serial, previous)
}

impl CompactionPlan {
    /// Reads the sources and asks the ledger about each block.
    fn compute(
        shared: &JournalShared,
        ids: &[SegmentId],
        sources: &[(Arc<Segment>, u64)],
        pace: &mut Pace<'_>,
    ) -> Result<Option<Self>, JournalError> {
        let mut plan = Self::default();
        for (index, (segment, length)) in sources.iter().enumerate() {
            let mut flow = ControlFlow::Continue(());
            let walked = walk(segment, *length, |raw, block| {
                let place = (index, raw.offset);
                plan.record(&shared.ledger.lock(), ids, place, raw.bytes, &block);
                flow = pace.spend(raw.bytes);
                Ok(flow)
            });
            if let Err(error) = walked {
                let error = error.into_journal_error(segment);
                if matches!(error, JournalError::Corrupt { .. }) {
                    shared.set_aside(ids.get(index).copied());
                }
                return Err(error);
            }
            if flow.is_break() {
                return Ok(None);
            }
        }
        plan.pieces.sort_by_key(|piece| (piece.serial, piece.kind, piece.source, piece.offset));
        Ok(Some(plan))
    }

    fn record(
        &mut self,
        ledger: &Ledger,
        ids: &[SegmentId],
        (source, offset): (usize, u64),
        bytes: u64,
        block: &Block<'_>,
    ) {
        let (serial, kind) = match block {
            Block::Definition(definition) => (definition.serial, KIND_DEFINITION),
            Block::Keys(keys) => (keys.serial, KIND_KEYS),
            Block::End(serial) => (*serial, KIND_END),
            Block::Change(change) => {
                let (key, stamp) = (change.key(), change.stamp());
                if ledger.is_newest_change(&key, stamp) {
                    let moved = MovedChange { key, stamp, to: None };
                    self.changes.push(ChangePiece { moved, source, offset });
                }
                return;
            }
            Block::Seal(_) => return,
        };
        let moved = self.moved.entry(serial).or_default();
        let standing = ledger.standing(serial, ids);
        let is_kept = match block {
            Block::Definition(_) => {
                let is_first = !std::mem::replace(&mut moved.had_definition, true);
                is_first && matches!(standing, GroupStanding::Live | GroupStanding::Expired(true))
            }
            Block::Keys(keys) => {
                moved.keys_dropped += u64::from(keys.count);
                standing == GroupStanding::Live
            }
            Block::End(_) => {
                let is_first = !std::mem::replace(&mut moved.had_end, true);
                moved.has_end = is_first && standing == GroupStanding::Ended(true) || moved.has_end;
                is_first && moved.has_end
            }
            Block::Change(_) | Block::Seal(_) => false,
        };
        if is_kept {
            self.pieces.push(BlockPiece { serial, kind, source, offset });
            self.stubborn += if matches!(standing, GroupStanding::Expired(_)) { bytes } else { 0 };
        }
    }

    fn write_all(
        &mut self,
        shared: &JournalShared,
        sources: &[(Arc<Segment>, u64)],
        uses: Uses<'_>,
        output: &mut SegmentOutput<'_>,
        pace: &mut Pace<'_>,
    ) -> Result<ControlFlow<()>, JournalError> {
        // Looked at before the index is asked: what is seen by then, the index knows.
        let unseen: Vec<bool> = sources.iter().map(|(segment, _)| segment.has_unseen()).collect();
        let mut memory = Vec::new();
        for piece in &mut self.changes {
            let is_seen = unseen.get(piece.source) == Some(&false);
            let (segment, _) = source_of(shared, sources, piece.source)?;
            if is_seen && !(uses.is_needed)(piece.moved.stamp) {
                continue;
            }
            let raw = segment.read_block_at(piece.offset, &mut memory)?;
            let (offset, bytes) = output.put(raw.kind, raw.payload)?;
            piece.moved.to = Some((offset, bytes));
            if pace.spend(raw.bytes + bytes).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        self.write_groups(shared, sources, (&unseen, uses.is_held), output, pace)
    }

    /// Writes the pieces, keys of one group merged.
    fn write_groups(
        &mut self,
        shared: &JournalShared,
        sources: &[(Arc<Segment>, u64)],
        (unseen, is_held): (&[bool], &IsHeld),
        output: &mut SegmentOutput<'_>,
        pace: &mut Pace<'_>,
    ) -> Result<ControlFlow<()>, JournalError> {
        let mut memory = Vec::new();
        let mut expanded = Vec::new();
        for group in self.pieces.chunk_by(|one, next| one.serial == next.serial) {
            let first = invariant::present(group.first(), "a chunk has a piece");
            let serial = first.ok_or_else(|| shared.refused())?.serial;
            let moved = self.moved.entry(serial).or_default();
            let mut encoder = KeysEncoder::new(serial);
            for piece in group {
                let (segment, _) = source_of(shared, sources, piece.source)?;
                let raw = segment.read_block_at(piece.offset, &mut memory)?;
                let written = match Block::decode(&raw) {
                    Ok(Block::Keys(keys)) => {
                        let is_seen = unseen.get(piece.source) == Some(&false);
                        let digest_bytes = keys.digest_bytes();
                        for multihash in keys.expand(&mut expanded).iter() {
                            if !is_seen || is_held(serial, multihash) {
                                encoder.push(multihash, digest_bytes);
                            }
                        }
                        put_keys(output, moved, encoder.take_full())?
                    }
                    Ok(Block::Definition(_)) => {
                        let (offset, bytes) = output.put(raw.kind, raw.payload)?;
                        moved.definition = Some(offset);
                        moved.bytes += bytes;
                        bytes
                    }
                    Ok(Block::End(_) | Block::Change(_) | Block::Seal(_)) => {
                        output.put(raw.kind, raw.payload)?.1
                    }
                    Err(what) => return Err(segment.corrupt(piece.offset, what)),
                };
                if pace.spend(raw.bytes + written).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            put_keys(output, moved, encoder.finish())?;
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The source of a piece. Without it the piece would not be copied and then removed, so that is refused.
fn source_of<'s>(
    shared: &JournalShared,
    sources: &'s [(Arc<Segment>, u64)],
    index: usize,
) -> Result<&'s (Arc<Segment>, u64), JournalError> {
    let source = invariant::present(sources.get(index), "a piece is of one of the sources");
    source.ok_or_else(|| shared.refused())
}

/// Writes blocks of keys, and counts them for their group.
fn put_keys(
    output: &mut SegmentOutput<'_>,
    moved: &mut Moved,
    payloads: Vec<KeysPayload>,
) -> Result<u64, JournalError> {
    let mut written = 0;
    for payload in payloads {
        let (_, bytes) = output.put(KIND_KEYS, &payload.bytes)?;
        moved.bytes += bytes;
        moved.keys_dropped = moved.keys_dropped.saturating_sub(u64::from(payload.count));
        written += bytes;
    }
    Ok(written)
}

/// Replaces the sources by the new segment.
fn install(
    shared: &JournalShared,
    from: &[SegmentId],
    plan: CompactionPlan,
    (segment, length): (Arc<Segment>, u64),
    samples: &[u64],
) {
    let to = {
        let mut ledger = shared.ledger.lock();
        for id in from {
            if let Some(usage) = ledger.usage_mut(*id) {
                usage.state = SegmentState::Retired;
            }
        }
        let to = ledger.add_segment(segment, length, SegmentState::Finished);
        samples.iter().for_each(|offset| ledger.sample(to, *offset));
        to
    };
    let mut moved = plan.moved.into_iter().peekable();
    while moved.peek().is_some() {
        let mut ledger = shared.ledger.lock();
        for (serial, moved) in moved.by_ref().take(RELOCATED_AT_ONCE) {
            ledger.relocate(serial, from, to, &moved);
        }
    }
    for changes in plan.changes.chunks(RELOCATED_AT_ONCE) {
        let mut ledger = shared.ledger.lock();
        changes.iter().for_each(|change| ledger.relocate_change(to, &change.moved));
    }
    let mut ledger = shared.ledger.lock();
    if let Some(usage) = ledger.usage_mut(to) {
        usage.stubborn = plan.stubborn;
    }
    from.iter().for_each(|id| ledger.remove_segment(*id));
}
