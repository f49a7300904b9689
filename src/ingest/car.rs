//! CAR files, version 1 and 2: the CID of every block becomes a key of one record.
//!
//! Blocks are not decoded, and without `verify` not read. With it, a block whose content does not
//! match the hash in its CID is rejected; one with an unknown hash function is counted and
//! imported.

mod read;
mod record;
mod verify;

use std::io::BufRead;
use std::sync::Arc;

use super::batch::BATCH_ENTRIES_MAX;
use super::error::ImportError;
use super::import::Import;
use super::summary::{Place, RejectReason};
use crate::store::{Announcement, ContextId, Update};
use crate::text::with_causes;
use crate::types::{ContentKey, Origin, ProviderRecord};
use read::{CarBlock, CarError, CarReader};
use verify::{BlockCheck, check_block};

pub(crate) use record::{CarFlags, car_record};

/// Imports the CIDs of all blocks of `content`.
pub(super) fn import(content: impl BufRead, import: &mut Import<'_>) -> Result<(), ImportError> {
    let Some(record) = &import.options.car_record else {
        return Err(ImportError::NoCarRecord { file: Arc::clone(&import.file) });
    };
    let mut pending = PendingBlocks::default();
    let read = import_blocks(content, record, import, &mut pending);
    if let Err(ImportError::Store { .. }) = read {
        return read;
    }
    // Store the whole blocks before the error. A failing store is the more serious error.
    pending.hand_on(record, import)?;
    import.record_done(pending.blocks);
    read
}

/// Blocks that were read but not yet stored.
#[derive(Default)]
struct PendingBlocks {
    keys: Vec<ContentKey>,
    /// Blocks of the file so far: pending, stored or rejected.
    blocks: u64,
}

impl PendingBlocks {
    fn hand_on(
        &mut self,
        record: &ProviderRecord,
        import: &mut Import<'_>,
    ) -> Result<(), ImportError> {
        let keys = std::mem::take(&mut self.keys);
        if keys.is_empty() {
            return Ok(());
        }
        let blocks = keys.len() as u64;
        let announcement = Announcement {
            keys,
            record: record.clone(),
            context: ContextId::default(),
            expires_at_ms: None,
        };
        import
            .hand_on(vec![Update::without_statement(Origin::OPERATOR, vec![announcement])], blocks)
    }
}

fn import_blocks(
    content: impl BufRead,
    record: &ProviderRecord,
    import: &mut Import<'_>,
    pending: &mut PendingBlocks,
) -> Result<(), ImportError> {
    let file = Arc::clone(&import.file);
    let mut reader = CarReader::open(content).map_err(|error| error.in_file(&file))?;
    import.counts.is_unfinalized = reader.is_unfinalized();
    let mut data = import.options.verify.then(Vec::new);
    while let Some(block) =
        reader.next_block(data.as_mut()).map_err(|error| error.in_file(&file))?
    {
        import.counts.blocks += 1;
        if let Some(key) = accept(block, data.as_deref(), import)? {
            pending.keys.push(key);
        }
        pending.blocks = import.counts.blocks;
        if pending.keys.len() >= BATCH_ENTRIES_MAX {
            pending.hand_on(record, import)?;
            import.acknowledge(pending.blocks);
        }
        import.advance();
    }
    Ok(())
}

fn accept(
    block: CarBlock,
    data: Option<&[u8]>,
    import: &mut Import<'_>,
) -> Result<Option<ContentKey>, ImportError> {
    let place = Place::Offset(block.offset);
    let key = match block.key {
        Ok(key) => key,
        Err(error) => {
            let why = format!("the block's CID cannot be read: {}", with_causes(&error));
            import.reject(place, RejectReason::Key, &why)?;
            return Ok(None);
        }
    };
    match data.map(|data| check_block(&key, data)) {
        None | Some(BlockCheck::Matches) => {}
        Some(BlockCheck::Unverifiable) => import.counts.unverifiable += 1,
        Some(BlockCheck::Differs) => {
            let why = format!("the block is not what its CID says ({})", key.to_cid_text());
            import.reject(place, RejectReason::Hash, &why)?;
            return Ok(None);
        }
    }
    Ok(Some(key))
}

impl CarError {
    fn in_file(self, file: &Arc<str>) -> ImportError {
        match self {
            Self::Truncated { offset, inside } => {
                ImportError::Truncated { file: Arc::clone(file), offset, inside }
            }
            Self::Format { offset, reason } => {
                let reason = format!("byte {offset}: {reason}");
                ImportError::Format { file: Arc::clone(file), reason }
            }
            Self::Io { offset, inside, source } => ImportError::read(file, offset, &inside, source),
        }
    }
}

#[cfg(test)]
mod tests;
