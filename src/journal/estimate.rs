//! How many keys of a segment other groups superseded, and which changes count for no group.
//!
//! The journal does not see when one group takes a key from another; the index does. So some blocks
//! of every segment are looked at, some keys of each, and the index is asked whether their group
//! still has them. What is read is not verified: a wrong estimate costs a compaction too many or too
//! few, and nothing else depends on it. Changes are few beside keys; the index is asked about each.

use std::sync::Arc;

use hashbrown::HashMap;

use super::JournalShared;
use super::block::peek_keys;
use super::compaction::{IsHeld, Uses};
use super::format::BLOCK_HEADER_BYTES;
use super::ledger::{SegmentId, SegmentState};
use super::segment::Segment;

/// Bytes that are read of a block, twice: its head, and digests from somewhere in it.
const PEEK_BYTES: usize = 1024;

/// The estimate is made anew when so much of the journal's bytes, in percent, was appended since.
const APPENDED_PERCENT: u64 = 5;

/// A lower share of superseded keys than this, in percent, is noise.
const SHARE_PERCENT_MIN: f64 = 2.0;

/// Whether enough happened since the last estimate.
pub(super) fn is_due(bytes: u64, appended_since: u64) -> bool {
    appended_since * 100 > bytes * APPENDED_PERCENT
}

/// Estimates the superseded bytes of every segment that is no longer appended to.
pub(super) fn estimate_superseded(shared: &JournalShared, uses: Uses<'_>) {
    type Sampled = (SegmentId, Arc<Segment>, Vec<u32>);
    let (sampled, live): (Vec<Sampled>, HashMap<u64, _>) = {
        let ledger = shared.ledger.lock();
        let finished = ledger.usages().filter(|(_, it)| it.state == SegmentState::Finished);
        let sampled = finished.map(|(id, it)| (id, Arc::clone(&it.segment), it.samples.clone()));
        (sampled.collect(), ledger.live_definitions())
    };
    let mut unneeded = unneeded_changes(shared, uses);
    for (id, segment, offsets) in sampled {
        if segment.has_unseen() {
            continue;
        }
        let mut counts = SampledKeys::default();
        for offset in offsets {
            counts.look(
                &segment,
                u64::from(offset),
                |serial| live.contains_key(&serial),
                uses.is_held,
            );
        }
        if let Some(usage) = shared.ledger.lock().usage_mut(id) {
            let live_bytes = usage.length.saturating_sub(usage.garbage);
            let unneeded = unneeded.remove(&id).unwrap_or(0);
            let keys = (counts.share() * live_bytes.saturating_sub(unneeded) as f64) as u64;
            usage.superseded = keys + unneeded;
        }
    }
}

/// The bytes of changes that count for no group, by segment.
fn unneeded_changes(shared: &JournalShared, uses: Uses<'_>) -> HashMap<SegmentId, u64> {
    let changes = shared.ledger.lock().change_bytes();
    let mut unneeded = HashMap::new();
    for (segment, stamp, bytes) in changes {
        if !(uses.is_needed)(stamp) {
            *unneeded.entry(segment).or_default() += bytes;
        }
    }
    unneeded
}

/// Keys of live groups that were looked at, each weighed with the size of its block.
#[derive(Default)]
struct SampledKeys {
    all: f64,
    superseded: f64,
}

impl SampledKeys {
    fn look(
        &mut self,
        segment: &Segment,
        offset: u64,
        is_live: impl Fn(u64) -> bool,
        is_held: &IsHeld,
    ) {
        let mut head = [0; PEEK_BYTES];
        let Ok(length) = segment.file.length() else { return };
        let available = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let Some(head) = head.get_mut(..available.min(PEEK_BYTES)) else { return };
        if segment.file.read_at(head, offset).is_err() {
            return;
        }
        let Some(peek) = peek_keys(head).filter(|peek| is_live(peek.serial)) else { return };
        let digest_bytes = peek.digest_bytes.max(1);
        let count = (PEEK_BYTES / digest_bytes).clamp(1, peek.count as usize);
        // Any place will do, as long as it is not always the beginning.
        let skipped = rand::random_range(0..=peek.count as usize - count);
        let at = offset + (BLOCK_HEADER_BYTES + peek.digests_at + skipped * digest_bytes) as u64;
        let mut digests = vec![0; count * peek.digest_bytes];
        if segment.file.read_at(&mut digests, at).is_err() {
            return;
        }
        let mut multihash = peek.prefix.to_vec();
        let mut superseded = 0;
        for digest in digests.chunks_exact(digest_bytes) {
            multihash.truncate(peek.prefix.len());
            multihash.extend_from_slice(digest);
            superseded += usize::from(!is_held(peek.serial, &multihash));
        }
        self.all += f64::from(peek.count);
        self.superseded += f64::from(peek.count) * superseded as f64 / count as f64;
    }

    fn share(&self) -> f64 {
        let share = self.superseded / self.all.max(1.0);
        if share * 100.0 < SHARE_PERCENT_MIN { 0.0 } else { share }
    }
}
