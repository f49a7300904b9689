//! What the blocks of a segment say: a group's definition, keys of one group, a group's end, a change
//! of many groups (`change`), and the seal of a segment.
//!
//! ```text
//! 1 definition   serial u64 | expiry u64 (ms since 1970, all ones: never) | context length u32
//!                | record length u32 | context | record (JSON)
//! 2 keys         serial u64 | count u32 | prefix length u16 | digest length u16
//!                | prefix: hash code and digest length, as a multihash begins | digests
//! 3 end          serial u64
//! 4 seal         offset u64 of the frame that holds it
//! 5, 6, 8, 9     changes
//! 7 definition   serial u64 | expiry u64 | origin u64 | standing since u64 (ms since 1970)
//!                | context length u32 | record length u32 | context | record (JSON)
//! ```
//!
//! Keys with another hash code or digest length go to another block. A block of empty digests holds
//! one, since all such keys are the same.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::change::{AddrsChange, Change, CompanionsChange, RecordChange, VisibilityChange};
use super::format::{BLOCK_HEADER_BYTES, RawBlock, take, take_u16, take_u32, take_u64};
use crate::clock::UnixMs;
use crate::invariant;
use crate::types::{DIGEST_BYTES_MAX, Origin};

pub(super) const KIND_DEFINITION: u8 = 1;
pub(super) const KIND_KEYS: u8 = 2;
pub(super) const KIND_END: u8 = 3;
pub(super) const KIND_SEAL: u8 = 4;
pub(super) const KIND_ADDRS: u8 = 5;
pub(super) const KIND_RECORD: u8 = 6;
pub(super) const KIND_ORIGINATED: u8 = 7;
pub(super) const KIND_VISIBILITY: u8 = 8;
pub(super) const KIND_COMPANIONS: u8 = 9;

/// What a block with a group's end takes.
pub(super) const END_BLOCK_BYTES: u64 = 24;

/// A block of keys is closed at this size: large enough that its 32 to 60 bytes of overhead are
/// negligible, small enough for a reader's cache.
const KEYS_PAYLOAD_BYTES_FULL: usize = 1 << 20;
const KEYS_FIXED_BYTES: usize = 16;
const NEVER: u64 = u64::MAX;

/// A group's definition: what its keys share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDefinition {
    /// The serial, never reused.
    pub serial: u64,
    /// The provider's name for the set of keys.
    pub context: Box<[u8]>,
    /// The provider record, as it goes over the wire.
    pub record_json: Box<str>,
    /// When it ends by itself; `None` is never, and so is the greatest number.
    pub expires_at_ms: Option<UnixMs>,
    /// Who announced it.
    pub origin: Origin,
    /// Since when its provider had been announced from there without a gap.
    pub since_ms: UnixMs,
}

impl GroupDefinition {
    /// The bytes of the definition's payload.
    pub(super) fn payload_bytes(&self) -> usize {
        40 + self.context.len() + self.record_json.len()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.payload_bytes());
        bytes.extend_from_slice(&self.serial.to_le_bytes());
        bytes.extend_from_slice(&self.expires_at_ms.unwrap_or(NEVER).to_le_bytes());
        bytes.extend_from_slice(&self.origin.to_bits().to_le_bytes());
        bytes.extend_from_slice(&self.since_ms.to_le_bytes());
        for length in [self.context.len(), self.record_json.len()] {
            bytes.extend_from_slice(&(length as u32).to_le_bytes());
        }
        bytes.extend_from_slice(&self.context);
        bytes.extend_from_slice(self.record_json.as_bytes());
        bytes
    }

    fn decode(kind: u8, mut payload: &[u8]) -> Option<Self> {
        let payload = &mut payload;
        let (serial, expires) = (take_u64(payload)?, take_u64(payload)?);
        // Definitions of kind 1 have no origin.
        let (origin, since_ms) = match kind {
            KIND_ORIGINATED => (Origin::from_bits(take_u64(payload)?), take_u64(payload)?),
            _ => (Origin::UNKNOWN, 0),
        };
        let (context_bytes, record_bytes) = (take_u32(payload)?, take_u32(payload)?);
        let (context, record) = payload.split_at_checked(context_bytes as usize)?;
        if record.len() != record_bytes as usize {
            return None;
        }
        Some(Self {
            serial,
            context: context.into(),
            record_json: std::str::from_utf8(record).ok()?.into(),
            expires_at_ms: (expires != NEVER).then_some(expires),
            origin,
            since_ms,
        })
    }
}

/// A decoded block.
pub(super) enum Block<'a> {
    Definition(GroupDefinition),
    Keys(StoredKeys<'a>),
    End(u64),
    Change(Change),
    Seal(u64),
}

impl<'a> Block<'a> {
    pub(super) fn decode(raw: &RawBlock<'a>) -> Result<Self, &'static str> {
        let number = || take::<8>(&mut { raw.payload }).filter(|_| raw.payload.len() == 8);
        let number = || number().map(u64::from_le_bytes);
        let block =
            match raw.kind {
                KIND_DEFINITION | KIND_ORIGINATED => {
                    GroupDefinition::decode(raw.kind, raw.payload).map(Self::Definition)
                }
                KIND_KEYS => StoredKeys::decode(raw.payload).map(Self::Keys),
                KIND_END => number().map(Self::End),
                KIND_SEAL => number().map(Self::Seal),
                KIND_ADDRS => AddrsChange::decode(raw.payload)
                    .map(|change| Self::Change(Change::Addrs(change))),
                KIND_RECORD => RecordChange::decode(raw.payload)
                    .map(|change| Self::Change(Change::Record(change))),
                KIND_VISIBILITY => VisibilityChange::decode(raw.payload)
                    .map(|change| Self::Change(Change::Visibility(change))),
                KIND_COMPANIONS => CompanionsChange::decode(raw.payload)
                    .map(|change| Self::Change(Change::Companions(change))),
                _ => return Err("the block is of a kind that this version does not know"),
            };
        block.ok_or("the block's checksum matches, but its content makes no sense")
    }
}

/// The keys of a block as they lie in the file: one prefix, then digests of one length.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredKeys<'a> {
    pub(super) serial: u64,
    pub(super) count: u32,
    prefix: &'a [u8],
    digests: &'a [u8],
    digest_bytes: usize,
}

impl<'a> StoredKeys<'a> {
    fn decode(mut payload: &'a [u8]) -> Option<Self> {
        let rest = &mut payload;
        let (serial, count) = (take_u64(rest)?, take_u32(rest)?);
        let (prefix_bytes, digest_bytes) = (take_u16(rest)?, take_u16(rest)?);
        let digest_bytes = usize::from(digest_bytes);
        let (prefix, digests) = rest.split_at_checked(usize::from(prefix_bytes))?;
        let is_bounded = !prefix.is_empty() && digest_bytes <= DIGEST_BYTES_MAX;
        let is_full = (count as usize).checked_mul(digest_bytes) == Some(digests.len());
        let is_one = digest_bytes > 0 || count == 1;
        (is_bounded && is_full && is_one && count > 0).then_some(Self {
            serial,
            count,
            prefix,
            digests,
            digest_bytes,
        })
    }

    pub(super) fn digest_bytes(&self) -> usize {
        self.digest_bytes
    }

    /// Writes the whole multihashes into `buffer`, in place of what it held.
    pub(super) fn expand<'b>(&self, buffer: &'b mut Vec<u8>) -> KeyBlock<'b> {
        let stride = self.prefix.len() + self.digest_bytes;
        buffer.clear();
        buffer.reserve(self.count as usize * stride);
        if self.digests.is_empty() {
            buffer.extend_from_slice(self.prefix);
        } else {
            for digest in self.digests.chunks_exact(self.digest_bytes) {
                buffer.extend_from_slice(self.prefix);
                buffer.extend_from_slice(digest);
            }
        }
        KeyBlock { multihashes: buffer, stride }
    }
}

/// What the beginning of a block of keys says.
pub(super) struct KeysPeek<'a> {
    pub(super) serial: u64,
    pub(super) count: u32,
    pub(super) prefix: &'a [u8],
    pub(super) digest_bytes: usize,
    /// Where in the payload the digests begin.
    pub(super) digests_at: usize,
}

/// Reads the beginning of a block without verifying it; `None` if it is not one of keys.
pub(super) fn peek_keys(block: &[u8]) -> Option<KeysPeek<'_>> {
    if *block.get(size_of::<u64>())? != KIND_KEYS {
        return None;
    }
    let mut rest = block.get(BLOCK_HEADER_BYTES..)?;
    let rest = &mut rest;
    let (serial, count) = (take_u64(rest)?, take_u32(rest)?);
    let (prefix_bytes, digest_bytes) = (usize::from(take_u16(rest)?), usize::from(take_u16(rest)?));
    let prefix = rest.get(..prefix_bytes)?;
    let digests_at = KEYS_FIXED_BYTES + prefix_bytes;
    (count > 0).then_some(KeysPeek { serial, count, prefix, digest_bytes, digests_at })
}

/// Keys of one group, as whole multihashes.
#[derive(Clone, Copy, Debug)]
pub struct KeyBlock<'a> {
    multihashes: &'a [u8],
    stride: usize,
}

impl<'a> KeyBlock<'a> {
    /// The bytes of each key's multihash.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a> {
        self.multihashes.chunks_exact(self.stride)
    }

    /// How many keys there are; never none.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.multihashes.len() / self.stride
    }
}

/// One payload of a block of keys, ready but for its place.
pub(super) struct KeysPayload {
    pub(super) count: u32,
    pub(super) bytes: Vec<u8>,
}

/// Collects the keys of one group into payloads, one for each kind of multihash.
pub(super) struct KeysEncoder {
    serial: u64,
    open: HashMap<SmallVec<[u8; 24]>, OpenPayload>,
    /// The prefix of the last key: the next key usually has the same.
    latest: Option<(SmallVec<[u8; 24]>, OpenPayload)>,
    full: Vec<KeysPayload>,
}

struct OpenPayload {
    payload: KeysPayload,
    digest_bytes: usize,
}

impl KeysEncoder {
    pub(super) fn new(serial: u64) -> Self {
        Self { serial, open: HashMap::new(), latest: None, full: Vec::new() }
    }

    /// Adds a key: the bytes of its multihash, and how many of them at the end are the digest.
    pub(super) fn push(&mut self, multihash: &[u8], digest_bytes: usize) {
        let prefix_bytes = multihash.len().saturating_sub(digest_bytes);
        let (prefix, digest) = multihash.split_at(prefix_bytes);
        let fits = |latest: &(SmallVec<[u8; 24]>, OpenPayload)| latest.0.as_slice() == prefix;
        if !self.latest.as_ref().is_some_and(fits) {
            self.switch(prefix, digest_bytes);
        }
        let latest = invariant::present(self.latest.as_mut(), "the payload was just made");
        let Some((_, open)) = latest else { return };
        if open.digest_bytes == 0 && open.payload.count > 0 {
            return;
        }
        open.payload.bytes.extend_from_slice(digest);
        open.payload.count += 1;
        if open.payload.bytes.len() >= KEYS_PAYLOAD_BYTES_FULL {
            let fresh = self.begin(prefix, digest_bytes);
            if let Some((_, open)) = &mut self.latest {
                let payload = std::mem::replace(open, fresh).payload;
                self.full.push(close(payload));
            }
        }
    }

    fn switch(&mut self, prefix: &[u8], digest_bytes: usize) {
        if let Some((prefix, open)) = self.latest.take() {
            self.open.insert(prefix, open);
        }
        let known = self.open.remove(prefix);
        let open = known.unwrap_or_else(|| self.begin(prefix, digest_bytes));
        self.latest = Some((SmallVec::from_slice(prefix), open));
    }

    fn begin(&self, prefix: &[u8], digest_bytes: usize) -> OpenPayload {
        let mut bytes = Vec::with_capacity(KEYS_FIXED_BYTES + prefix.len() + digest_bytes);
        bytes.extend_from_slice(&self.serial.to_le_bytes());
        bytes.extend_from_slice(&0_u32.to_le_bytes());
        for length in [prefix.len(), digest_bytes] {
            let length = u16::try_from(length).expect("a key's digest is at most 1,024 bytes");
            bytes.extend_from_slice(&length.to_le_bytes());
        }
        bytes.extend_from_slice(prefix);
        OpenPayload { payload: KeysPayload { count: 0, bytes }, digest_bytes }
    }

    /// The payloads that are full, to be written before the rest is known.
    pub(super) fn take_full(&mut self) -> Vec<KeysPayload> {
        std::mem::take(&mut self.full)
    }

    /// All payloads.
    pub(super) fn finish(mut self) -> Vec<KeysPayload> {
        let rest = self.open.into_values().chain(self.latest.map(|(_, open)| open));
        let rest = rest.map(|open| open.payload).filter(|payload| payload.count > 0);
        self.full.extend(rest.map(close));
        self.full
    }
}

/// Writes the count into its place.
fn close(mut payload: KeysPayload) -> KeysPayload {
    if let Some(place) = payload.bytes.get_mut(8..12) {
        place.copy_from_slice(&payload.count.to_le_bytes());
    }
    payload
}
