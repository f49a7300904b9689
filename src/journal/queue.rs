//! The queue of the journal: entries are encoded into payloads of blocks in the caller's task, wait
//! for their share of the queue, and are sent to the writer.
//!
//! The queue is bounded in bytes. A request larger than it takes the whole queue.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::block::{KeysEncoder, KeysPayload};
use super::format::{BLOCK_PAYLOAD_BYTES_MAX, WHOLE_BYTES_MAX};
use super::segment::Receipt;
use super::writer::{AppendPart, Request, Wholeness, WriterCommand};
use super::{JournalEntry, JournalError};

pub(super) struct Queue {
    sender: mpsc::UnboundedSender<WriterCommand>,
    room: Arc<Semaphore>,
    bytes_max: usize,
}

impl Queue {
    pub(super) fn new(sender: mpsc::UnboundedSender<WriterCommand>, bytes_max: usize) -> Self {
        Self { sender, room: Arc::new(Semaphore::new(bytes_max)), bytes_max }
    }

    pub(super) fn send(&self, command: WriterCommand) -> Result<(), JournalError> {
        self.sender.send(command).map_err(|_| JournalError::Closed)
    }

    /// A handle to finish the active segment.
    pub(super) fn roller(&self) -> Roller {
        Roller(self.sender.clone())
    }

    /// Whether the writer takes commands.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    pub(super) fn append(
        &self,
        entries: Vec<JournalEntry>,
        wholeness: Wholeness,
    ) -> impl Future<Output = Result<Receipt, JournalError>> + Send + 'static {
        let (sender, room, bytes_max) =
            (self.sender.clone(), Arc::clone(&self.room), self.bytes_max);
        async move {
            let parts = encode_all(entries)?;
            let bytes: usize = parts.iter().map(AppendPart::bytes).sum();
            if wholeness == Wholeness::OneFrame && bytes > WHOLE_BYTES_MAX {
                return Err(JournalError::NotWhole { bytes, bytes_max: WHOLE_BYTES_MAX });
            }
            let share = u32::try_from(bytes.min(bytes_max)).unwrap_or(u32::MAX);
            let share = room.acquire_many_owned(share).await;
            let share = share.map_err(|_| JournalError::Closed)?;
            let (done, answer) = oneshot::channel();
            let request = WriterCommand::Append(Request { parts, wholeness, done, share });
            sender.send(request).map_err(|_| JournalError::Closed)?;
            answer.await.map_err(|_| JournalError::Closed)?
        }
    }
}

/// Asks the writer to finish the segment that it appends to.
#[derive(Clone)]
pub(super) struct Roller(mpsc::UnboundedSender<WriterCommand>);

impl Roller {
    /// Waits until the segment is finished.
    pub(super) fn roll(&self) -> Result<(), JournalError> {
        let (done, finished) = std::sync::mpsc::channel();
        self.0.send(WriterCommand::Roll(done)).map_err(|_| JournalError::Closed)?;
        finished.recv().map_err(|_| JournalError::Closed)
    }
}

fn check_block(bytes: usize) -> Result<(), JournalError> {
    let bytes_max = BLOCK_PAYLOAD_BYTES_MAX;
    if bytes > bytes_max { Err(JournalError::TooLarge { bytes, bytes_max }) } else { Ok(()) }
}

fn encode_all(entries: Vec<JournalEntry>) -> Result<Vec<AppendPart>, JournalError> {
    let mut parts = Vec::with_capacity(entries.len());
    for entry in entries {
        match entry {
            JournalEntry::End { serial } => parts.push(AppendPart::End { serial }),
            JournalEntry::Change(change) => {
                check_block(change.payload_bytes())?;
                let (kind, key, stamp) = (change.kind(), change.key(), change.stamp());
                parts.push(AppendPart::Change { kind, key, stamp, payload: change.encode() });
            }
            JournalEntry::Keys { group, keys } => {
                check_block(group.payload_bytes())?;
                let mut encoder = KeysEncoder::new(group.serial);
                for key in &keys {
                    encoder.push(key.as_bytes(), key.digest().len());
                }
                let part =
                    |payload: KeysPayload| AppendPart::Keys { group: Arc::clone(&group), payload };
                parts.extend(encoder.finish().into_iter().map(part));
            }
        }
    }
    Ok(parts)
}
