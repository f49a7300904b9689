//! The writer thread: group commit of everything that waits in one frame, one write and one sync,
//! then the replies.
//!
//! # Failure
//!
//! If a frame cannot be written, the file is truncated to its synced length, and all appends in the
//! frame fail. If truncation or a sync fails (after which the content of the disk is unknown), the
//! segment is abandoned: the next one's header says up to where it counts. The next append retries,
//! so the journal recovers when there is room.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashSet;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::block::{
    END_BLOCK_BYTES, GroupDefinition, KIND_END, KIND_KEYS, KIND_ORIGINATED, KIND_SEAL, KeysPayload,
};
use super::change::ChangeKey;
use super::format::{
    BLOCK_HEADER_BYTES, FRAME_BYTES_FULL, FrameBuffer, HEADER_BYTES, Previous, SegmentHeader,
};
use super::ledger::{BlockLocation, GroupStanding, Ledger, SegmentId, SegmentState};
use super::segment::{Receipt, Segment};
use super::{JournalError, JournalShared};
use crate::invariant;

/// A command to the writer.
pub(super) enum WriterCommand {
    /// To append.
    Append(Request),
    /// To finish the segment that is appended to, so that it can be compacted.
    Roll(std::sync::mpsc::Sender<()>),
    /// To write what waits, seal the segment and end.
    Close,
}

/// The reply channel of an append.
pub(super) type AppendReply = oneshot::Sender<Result<Receipt, JournalError>>;

/// Whether a crash may leave part of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wholeness {
    /// It may: the append may take several frames.
    AnyFrames,
    /// It may not: it is in one frame.
    OneFrame,
}

/// Entries that are acknowledged together.
pub(super) struct Request {
    pub(super) parts: Vec<AppendPart>,
    pub(super) wholeness: Wholeness,
    pub(super) done: AppendReply,
    /// The request's share of the queue.
    pub(super) share: OwnedSemaphorePermit,
}

/// What becomes one block, or two: a group's definition, if it is not known, and some of its keys.
pub(super) enum AppendPart {
    Keys { group: Arc<GroupDefinition>, payload: KeysPayload },
    End { serial: u64 },
    Change { kind: u8, key: ChangeKey, stamp: u64, payload: Vec<u8> },
}

impl AppendPart {
    /// What it takes at most, with the group's definition.
    pub(super) fn bytes(&self) -> usize {
        const OVERHEAD: usize = 2 * (BLOCK_HEADER_BYTES + 8);
        match self {
            Self::Keys { group, payload } => group.payload_bytes() + payload.bytes.len() + OVERHEAD,
            Self::End { .. } => END_BLOCK_BYTES as usize,
            Self::Change { payload, .. } => payload.len() + OVERHEAD,
        }
    }
}

/// The segment that is appended to.
struct Active {
    id: SegmentId,
    segment: Arc<Segment>,
    /// What was synced.
    length: u64,
}

/// The state of the thread.
pub(super) struct JournalWriter {
    shared: Arc<JournalShared>,
    active: Option<Active>,
    /// The last sequence number in use, and the segment that has it.
    last: Option<(u32, Previous)>,
    memory: Vec<u8>,
}

/// A frame under construction, and its waiters.
#[derive(Default)]
struct FrameBatch {
    parts: Vec<AppendPart>,
    bytes: usize,
    complete: Vec<(Receipt, AppendReply, OwnedSemaphorePermit)>,
}

/// What a frame changes in the ledger.
#[derive(Default)]
struct Effects {
    held: Vec<(u64, u64, u64)>,
    ended: Vec<(u64, bool)>,
    is_ended: HashSet<u64>,
    /// Changes, with their offsets and bytes.
    changed: Vec<(ChangeKey, u64, u32, u64)>,
}

impl JournalWriter {
    pub(super) fn new(shared: Arc<JournalShared>, last: Option<(u32, Previous)>) -> Self {
        Self { shared, active: None, last, memory: Vec::new() }
    }

    /// Works until the journal is closed.
    pub(super) fn run(mut self, mut commands: UnboundedReceiver<WriterCommand>) {
        while let Some(command) = commands.blocking_recv() {
            let mut next = Some(command);
            let mut requests = Vec::new();
            let mut bytes = 0;
            while let Some(WriterCommand::Append(request)) = next {
                bytes += request.parts.iter().map(AppendPart::bytes).sum::<usize>();
                requests.push(request);
                next = if bytes < FRAME_BYTES_FULL { commands.try_recv().ok() } else { None };
            }
            self.append_all(requests);
            match next {
                Some(WriterCommand::Roll(done)) => {
                    self.finish_segment();
                    // The caller may be gone.
                    let _ = done.send(());
                }
                Some(WriterCommand::Close) => break,
                Some(WriterCommand::Append(_)) | None => {}
            }
        }
        commands.close();
        let result = self.seal();
        self.shared.record_write(result.err());
    }

    fn append_all(&mut self, requests: Vec<Request>) {
        let mut batch = FrameBatch::default();
        for Request { parts, wholeness, done, share } in requests {
            if wholeness == Wholeness::OneFrame {
                if batch.bytes >= FRAME_BYTES_FULL {
                    // The waiters have the result.
                    let _ = self.commit(&mut batch);
                }
                batch.bytes += parts.iter().map(AppendPart::bytes).sum::<usize>();
                batch.parts.extend(parts);
                batch.complete.push((Receipt::default(), done, share));
                continue;
            }
            let mut receipt = Receipt::default();
            let mut failure = None;
            let mut in_batch = false;
            for part in parts {
                if batch.bytes >= FRAME_BYTES_FULL {
                    let result = self.commit(&mut batch);
                    if in_batch {
                        self.cover(&mut receipt);
                        failure = result.err();
                    }
                    if failure.is_some() {
                        break;
                    }
                }
                in_batch = true;
                batch.bytes += part.bytes();
                batch.parts.push(part);
            }
            match failure {
                None => batch.complete.push((receipt, done, share)),
                // The caller may be gone.
                Some(error) => drop(done.send(Err(error))),
            }
        }
        if !batch.complete.is_empty() {
            // The waiters have the result.
            let _ = self.commit(&mut batch);
        }
    }

    fn cover(&self, receipt: &mut Receipt) {
        if let Some(active) = &self.active {
            receipt.cover(&active.segment);
        }
    }

    /// Writes the batch as one frame, answers those who are complete with it, and empties it.
    fn commit(&mut self, batch: &mut FrameBatch) -> Result<(), JournalError> {
        let batch = std::mem::take(batch);
        let result = if batch.parts.is_empty() { Ok(()) } else { self.write(&batch.parts) };
        self.shared.record_write(result.as_ref().err().cloned());
        for (mut receipt, done, share) in batch.complete {
            let answer = result.clone().map(|()| {
                self.cover(&mut receipt);
                receipt
            });
            // The caller may be gone.
            let _ = done.send(answer);
            drop(share);
        }
        result
    }

    fn write(&mut self, parts: &[AppendPart]) -> Result<(), JournalError> {
        let Active { id, segment, length } = self.begin()?;
        let (id, start, segment) = (*id, *length, Arc::clone(segment));
        let memory = std::mem::take(&mut self.memory);
        let mut frame = FrameBuffer::new(segment.header, start, memory);
        let shared = Arc::clone(&self.shared);
        let effects = encode(&mut shared.ledger.lock(), id, &mut frame, parts);
        if frame.blocks_bytes() == 0 {
            self.memory = frame.finish();
            effects.commit(&mut shared.ledger.lock(), id, start);
            return Ok(());
        }
        let bytes = frame.finish();
        let result = self.put(&segment, start, &bytes);
        self.memory = bytes;
        let mut ledger = shared.ledger.lock();
        match result {
            Ok(end) => effects.commit(&mut ledger, id, end),
            Err(_) => effects.roll_back(&mut ledger, id),
        }
        drop(ledger);
        result.map(|_| ())
    }

    /// Writes and syncs a frame at the end of the active segment. Returns where it ends.
    fn put(&mut self, segment: &Segment, start: u64, bytes: &[u8]) -> Result<u64, JournalError> {
        if let Err(error) = segment.file.write_at(bytes, start) {
            let cut = segment.file.set_length(start).and_then(|()| segment.file.sync());
            if cut.is_err() {
                self.finish_segment();
            }
            return Err(JournalError::io("write to", &segment.path, error));
        }
        if let Err(error) = segment.file.sync() {
            self.finish_segment();
            return Err(JournalError::io("sync", &segment.path, error));
        }
        let end = start + bytes.len() as u64;
        if let Some(active) = &mut self.active {
            active.length = end;
        }
        self.shared.counters.syncs.fetch_add(1, Ordering::Relaxed);
        self.shared.counters.bytes_appended.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(end)
    }

    /// The segment to append to: a new one, if there is none or it is full.
    fn begin(&mut self) -> Result<&Active, JournalError> {
        if self.active.as_ref().is_some_and(|active| active.length >= self.shared.segment_bytes) {
            self.finish_segment();
        }
        let active = match self.active.take() {
            Some(active) => active,
            None => self.create()?,
        };
        Ok(self.active.insert(active))
    }

    fn create(&mut self) -> Result<Active, JournalError> {
        let shared = &self.shared;
        let number = self.last.map_or(1, |(last, _)| last + 1);
        let previous = self.last.map(|(_, previous)| previous);
        let next_serial = shared.ledger.lock().next_serial();
        let header = SegmentHeader::new(0, (number, number), next_serial, previous);
        let path = shared.directory.join(header.file_name());
        let segment = match shared.create_segment(path.clone(), header) {
            Ok(segment) => Arc::new(segment),
            Err(error) => {
                // The rest is overwritten by the next attempt, or found by recovery.
                let _ = shared.disk.remove(&path);
                return Err(error);
            }
        };
        let length = HEADER_BYTES as u64;
        let state = SegmentState::Active;
        let id = shared.ledger.lock().add_segment(Arc::clone(&segment), length, state);
        Ok(Active { id, segment, length })
    }

    /// Appends no more to the active segment. One that holds nothing is removed.
    fn finish_segment(&mut self) {
        let Some(Active { id, segment, length }) = self.active.take() else { return };
        let is_empty = length == HEADER_BYTES as u64;
        if is_empty && self.shared.disk.remove(&segment.path).is_ok() {
            self.shared.ledger.lock().remove_segment(id);
            return;
        }
        let SegmentHeader { first, last, generation, .. } = segment.header;
        self.last = Some((last, Previous { first, generation, length }));
        self.shared.finish_usage(id);
    }

    /// Ends the active segment with a seal.
    fn seal(&mut self) -> Result<(), JournalError> {
        let Some(active) = &self.active else { return Ok(()) };
        let (segment, start) = (Arc::clone(&active.segment), active.length);
        let memory = std::mem::take(&mut self.memory);
        let mut frame = FrameBuffer::new(segment.header, start, memory);
        frame.push(KIND_SEAL, &[&start.to_le_bytes()]);
        self.put(&segment, start, &frame.finish()).map(|_| ())
    }
}

/// Encodes parts into a frame, and counts them in the ledger as held.
fn encode(
    ledger: &mut Ledger,
    id: SegmentId,
    frame: &mut FrameBuffer,
    parts: &[AppendPart],
) -> Effects {
    let mut effects = Effects::default();
    for part in parts {
        match part {
            AppendPart::Keys { group, payload } => {
                encode_keys(ledger, id, frame, group, payload, &mut effects);
            }
            AppendPart::End { serial } => encode_end(ledger, frame, *serial, &mut effects),
            AppendPart::Change { kind, key, stamp, payload } => {
                let (offset, bytes) = frame.push(*kind, &[payload]);
                let offset = u32::try_from(offset).expect("the options bound a segment's length");
                effects.changed.push((*key, *stamp, offset, bytes));
            }
        }
    }
    effects
}

fn encode_keys(
    ledger: &mut Ledger,
    id: SegmentId,
    frame: &mut FrameBuffer,
    group: &GroupDefinition,
    payload: &KeysPayload,
    effects: &mut Effects,
) {
    let serial = group.serial;
    let standing = ledger.standing(serial, &[]);
    // The group was removed, or expired, while the keys were queued: they must not appear.
    if matches!(standing, GroupStanding::Ended(_) | GroupStanding::Expired(_))
        || effects.is_ended.contains(&serial)
    {
        return;
    }
    if standing == GroupStanding::Unknown {
        let (offset, bytes) = frame.push(KIND_ORIGINATED, &[&group.encode()]);
        let offset = u32::try_from(offset).expect("the options bound a segment's length");
        ledger.define(serial, group.expires_at_ms, BlockLocation { segment: id, offset });
        ledger.hold(serial, id, bytes, 0);
        effects.held.push((serial, bytes, 0));
    }
    let (offset, bytes) = frame.push(KIND_KEYS, &[&payload.bytes]);
    let keys = u64::from(payload.count);
    ledger.hold(serial, id, bytes, keys);
    ledger.sample(id, offset);
    effects.held.push((serial, bytes, keys));
}

fn encode_end(ledger: &Ledger, frame: &mut FrameBuffer, serial: u64, effects: &mut Effects) {
    if !effects.is_ended.insert(serial) {
        return;
    }
    let is_written = match ledger.standing(serial, &[]) {
        GroupStanding::Live | GroupStanding::Expired(_) => true,
        GroupStanding::Unknown => false,
        GroupStanding::Ended(_) => return,
    };
    if is_written {
        frame.push(KIND_END, &[&serial.to_le_bytes()]);
    }
    effects.ended.push((serial, is_written));
}

impl Effects {
    /// The frame is durable up to `end`.
    fn commit(self, ledger: &mut Ledger, id: SegmentId, end: u64) {
        if let Some(usage) = invariant::present(ledger.usage_mut(id), "the active segment is known")
        {
            debug_assert!(end >= usage.length, "a segment only grows");
            usage.length = end;
        }
        for (serial, is_written) in self.ended {
            ledger.end(serial, is_written.then_some(id));
        }
        for (key, stamp, offset, bytes) in self.changed {
            ledger.change(key, stamp, BlockLocation { segment: id, offset }, bytes);
        }
    }

    /// The frame is not there.
    fn roll_back(self, ledger: &mut Ledger, id: SegmentId) {
        for (serial, bytes, keys) in self.held {
            ledger.release(serial, id, bytes, keys);
        }
    }
}

impl JournalShared {
    /// Makes a segment's file with its header, so that it survives a crash.
    fn create_segment(
        &self,
        path: PathBuf,
        header: SegmentHeader,
    ) -> Result<Segment, JournalError> {
        let failed = |action| move |error| (action, error);
        let make = || {
            let file = self.disk.create(&path).map_err(failed("create"))?;
            file.write_at(&header.encode(), 0).map_err(failed("write to"))?;
            file.sync().map_err(failed("sync"))?;
            self.disk.sync_directory(&self.directory).map_err(failed("sync the directory of"))?;
            Ok(file)
        };
        match make() {
            Ok(file) => Ok(Segment::new(path, header, file)),
            Err((action, error)) => Err(JournalError::io(action, &path, error)),
        }
    }

    fn finish_usage(&self, id: SegmentId) {
        if let Some(usage) = self.ledger.lock().usage_mut(id) {
            usage.state = SegmentState::Finished;
        }
    }
}
