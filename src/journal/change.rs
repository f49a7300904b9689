//! Changes: a provider's statement of its addresses, another record for the groups of a context,
//! and a provider's visibility and companions.
//!
//! ```text
//! 5 addresses   stamp u64 | stated at u64 (ms since 1970, by the provider's clock)
//!               | provider length u32 | number of addresses u32 | provider
//!               | addresses: length u32, text
//! 6 record      stamp u64 | provider length u32 | context length u32 | record length u32
//!               | provider | context | record (JSON)
//! 8 visibility  stamp u64 | flags u32 (1: hidden) | provider length u32 | provider
//! 9 companions  stamp u64 | flags u32 (1: of one context, 2: overrides those of all contexts)
//!               | provider length u32 | context length u32 | number of companions u32 | provider | context
//!               | companions: flags u32 (1: has the provider's protocols), length u32, record (JSON)
//! ```
//!
//! A stamp is a number out of the serials. A change counts for the groups of its provider, or of its
//! provider and context, with a smaller serial; of the changes of one kind for the same, the one with
//! the greatest stamp counts. So changes are read in any order, as everything is. Those of kind 8, and of kind 9
//! for all contexts, count for every group of their provider.

use super::block::{Block, KIND_ADDRS, KIND_COMPANIONS, KIND_RECORD, KIND_VISIBILITY};
use super::format::{BLOCK_HEADER_BYTES, take_u32, take_u64};
use crate::clock::UnixMs;

/// Identifies what a change replaces: a hash of the kind, the provider and the context.
pub(super) type ChangeKey = [u8; 16];

/// A change of many groups at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Other addresses for all groups of a provider.
    Addrs(AddrsChange),
    /// Another record for all groups of a provider under a context.
    Record(RecordChange),
    /// Whether a provider is hidden.
    Visibility(VisibilityChange),
    /// Other companions for a provider, or for one of its contexts.
    Companions(CompanionsChange),
}

/// A provider's statement of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddrsChange {
    /// Counts for groups with a smaller serial.
    pub stamp: u64,
    /// The provider's peer ID, in base58.
    pub provider: Box<str>,
    /// The time of the statement, by the provider's clock.
    pub stated_at_ms: UnixMs,
    /// Its addresses.
    pub addrs: Vec<Box<str>>,
}

/// Another record for the groups of a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordChange {
    /// Counts for groups with a smaller serial.
    pub stamp: u64,
    /// The provider's peer ID, in base58.
    pub provider: Box<str>,
    /// The provider's name for the set of keys.
    pub context: Box<[u8]>,
    /// The provider record, as it goes over the wire.
    pub record_json: Box<str>,
}

/// Whether a provider is hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisibilityChange {
    /// Which change of the provider this is.
    pub stamp: u64,
    /// The provider's peer ID, in base58.
    pub provider: Box<str>,
    /// Whether its records are hidden: kept and not served.
    pub is_hidden: bool,
}

/// Other companions for a provider, or for one of its contexts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompanionsChange {
    /// Those of a context count as long as a group of it with a smaller serial lives.
    pub stamp: u64,
    /// The provider's peer ID, in base58.
    pub provider: Box<str>,
    /// The context; `None`: all of the provider's.
    pub context: Option<Box<[u8]>>,
    /// Whether those for all contexts do not count beside these, which are of one.
    pub overrides: bool,
    /// The companions; none: no more.
    pub companions: Vec<CompanionChange>,
}

/// One companion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompanionChange {
    /// Its record, as it goes over the wire.
    pub record_json: Box<str>,
    /// Whether it has the protocols of the record that it is served beside.
    pub has_providers_protocols: bool,
}

const FLAG_HIDDEN: u32 = 1;
const FLAG_OF_CONTEXT: u32 = 1;
const FLAG_OVERRIDES: u32 = 2;
const FLAG_PROVIDERS_PROTOCOLS: u32 = 1;

impl Change {
    /// Counts for groups with a smaller serial.
    pub fn stamp(&self) -> u64 {
        match self {
            Self::Addrs(change) => change.stamp,
            Self::Record(change) => change.stamp,
            Self::Visibility(change) => change.stamp,
            Self::Companions(change) => change.stamp,
        }
    }

    pub(super) fn kind(&self) -> u8 {
        match self {
            Self::Addrs(_) => KIND_ADDRS,
            Self::Record(_) => KIND_RECORD,
            Self::Visibility(_) => KIND_VISIBILITY,
            Self::Companions(_) => KIND_COMPANIONS,
        }
    }

    pub(super) fn key(&self) -> ChangeKey {
        match self {
            Self::Addrs(change) => addrs_key(&change.provider),
            Self::Record(change) => record_key(&change.provider, &change.context),
            Self::Visibility(change) => key_of(KIND_VISIBILITY, &change.provider, &[]),
            Self::Companions(change) => {
                let context = change.context.as_deref();
                let context = context.map(|context| [&[1], context].concat()).unwrap_or_default();
                key_of(KIND_COMPANIONS, &change.provider, &context)
            }
        }
    }

    /// The bytes of the payload.
    pub(super) fn payload_bytes(&self) -> usize {
        match self {
            Self::Addrs(change) => {
                let addrs: usize = change.addrs.iter().map(|addr| 4 + addr.len()).sum();
                24 + change.provider.len() + addrs
            }
            Self::Record(change) => {
                20 + change.provider.len() + change.context.len() + change.record_json.len()
            }
            Self::Visibility(change) => 16 + change.provider.len(),
            Self::Companions(change) => {
                let context = change.context.as_ref().map_or(0, |context| context.len());
                let companions = change.companions.iter().map(|it| 8 + it.record_json.len());
                24 + change.provider.len() + context + companions.sum::<usize>()
            }
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.payload_bytes() + BLOCK_HEADER_BYTES);
        bytes.extend_from_slice(&self.stamp().to_le_bytes());
        match self {
            Self::Addrs(change) => {
                bytes.extend_from_slice(&change.stated_at_ms.to_le_bytes());
                push_length(&mut bytes, change.provider.len());
                push_length(&mut bytes, change.addrs.len());
                bytes.extend_from_slice(change.provider.as_bytes());
                for addr in &change.addrs {
                    push_length(&mut bytes, addr.len());
                    bytes.extend_from_slice(addr.as_bytes());
                }
            }
            Self::Record(RecordChange { provider, context, record_json, .. }) => {
                for length in [provider.len(), context.len(), record_json.len()] {
                    push_length(&mut bytes, length);
                }
                bytes.extend_from_slice(provider.as_bytes());
                bytes.extend_from_slice(context);
                bytes.extend_from_slice(record_json.as_bytes());
            }
            Self::Visibility(VisibilityChange { provider, is_hidden, .. }) => {
                bytes.extend_from_slice(&flag(*is_hidden, FLAG_HIDDEN).to_le_bytes());
                push_length(&mut bytes, provider.len());
                bytes.extend_from_slice(provider.as_bytes());
            }
            Self::Companions(change) => change.encode_into(&mut bytes),
        }
        bytes
    }

    /// The change that a block holds, if it holds one.
    pub(super) fn of_block(block: Block<'_>) -> Option<Self> {
        match block {
            Block::Change(change) => Some(change),
            Block::Definition(_) | Block::Keys(_) | Block::End(_) | Block::Seal(_) => None,
        }
    }
}

impl AddrsChange {
    pub(super) fn decode(mut payload: &[u8]) -> Option<Self> {
        let rest = &mut payload;
        let (stamp, stated_at_ms) = (take_u64(rest)?, take_u64(rest)?);
        let (provider_bytes, count) = (take_u32(rest)?, take_u32(rest)?);
        let provider = take_text(rest, provider_bytes)?;
        let mut addrs = Vec::new();
        for _ in 0..count {
            let length = take_u32(rest)?;
            addrs.push(take_text(rest, length)?);
        }
        rest.is_empty().then_some(Self { stamp, provider, stated_at_ms, addrs })
    }
}

impl RecordChange {
    pub(super) fn decode(mut payload: &[u8]) -> Option<Self> {
        let rest = &mut payload;
        let stamp = take_u64(rest)?;
        let (provider_bytes, context_bytes) = (take_u32(rest)?, take_u32(rest)?);
        let record_bytes = take_u32(rest)?;
        let provider = take_text(rest, provider_bytes)?;
        let (context, after) = rest.split_at_checked(context_bytes as usize)?;
        *rest = after;
        let record_json = take_text(rest, record_bytes)?;
        let context = context.into();
        rest.is_empty().then_some(Self { stamp, provider, context, record_json })
    }
}

impl VisibilityChange {
    pub(super) fn decode(mut payload: &[u8]) -> Option<Self> {
        let rest = &mut payload;
        let (stamp, flags) = (take_u64(rest)?, take_u32(rest)?);
        let provider_bytes = take_u32(rest)?;
        let provider = take_text(rest, provider_bytes)?;
        let is_known = flags & !FLAG_HIDDEN == 0;
        let is_hidden = flags & FLAG_HIDDEN != 0;
        (is_known && rest.is_empty()).then_some(Self { stamp, provider, is_hidden })
    }
}

impl CompanionsChange {
    fn encode_into(&self, bytes: &mut Vec<u8>) {
        let of_context = flag(self.context.is_some(), FLAG_OF_CONTEXT);
        let flags = of_context | flag(self.overrides, FLAG_OVERRIDES);
        let context = self.context.as_deref().unwrap_or_default();
        bytes.extend_from_slice(&flags.to_le_bytes());
        for length in [self.provider.len(), context.len(), self.companions.len()] {
            push_length(bytes, length);
        }
        bytes.extend_from_slice(self.provider.as_bytes());
        bytes.extend_from_slice(context);
        for CompanionChange { record_json, has_providers_protocols } in &self.companions {
            let flags = flag(*has_providers_protocols, FLAG_PROVIDERS_PROTOCOLS);
            bytes.extend_from_slice(&flags.to_le_bytes());
            push_length(bytes, record_json.len());
            bytes.extend_from_slice(record_json.as_bytes());
        }
    }

    pub(super) fn decode(mut payload: &[u8]) -> Option<Self> {
        let rest = &mut payload;
        let (stamp, flags) = (take_u64(rest)?, take_u32(rest)?);
        let (provider_bytes, context_bytes) = (take_u32(rest)?, take_u32(rest)?);
        let count = take_u32(rest)?;
        let provider = take_text(rest, provider_bytes)?;
        let (context, after) = rest.split_at_checked(context_bytes as usize)?;
        *rest = after;
        let is_of_context = flags & FLAG_OF_CONTEXT != 0;
        let is_known = flags & !(FLAG_OF_CONTEXT | FLAG_OVERRIDES) == 0;
        if !is_known || !is_of_context && !context.is_empty() {
            return None;
        }
        let mut companions = Vec::new();
        for _ in 0..count {
            let (flags, length) = (take_u32(rest)?, take_u32(rest)?);
            if flags & !FLAG_PROVIDERS_PROTOCOLS != 0 {
                return None;
            }
            let record_json = take_text(rest, length)?;
            let has_providers_protocols = flags & FLAG_PROVIDERS_PROTOCOLS != 0;
            companions.push(CompanionChange { record_json, has_providers_protocols });
        }
        let context = is_of_context.then(|| context.into());
        let overrides = flags & FLAG_OVERRIDES != 0;
        let change = Self { stamp, provider, context, overrides, companions };
        rest.is_empty().then_some(change)
    }
}

fn flag(is_set: bool, bit: u32) -> u32 {
    if is_set { bit } else { 0 }
}

/// The key of what a provider says of its addresses.
pub(super) fn addrs_key(provider: &str) -> ChangeKey {
    key_of(KIND_ADDRS, provider, &[])
}

/// The key of the record of a provider's context.
pub(super) fn record_key(provider: &str, context: &[u8]) -> ChangeKey {
    key_of(KIND_RECORD, provider, context)
}

/// 128 bits: a collision takes 2^64 tries.
fn key_of(kind: u8, provider: &str, context: &[u8]) -> ChangeKey {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[kind]).update(&(provider.len() as u64).to_le_bytes());
    hasher.update(provider.as_bytes()).update(context);
    let hash = hasher.finalize();
    let (short, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
    *short
}

fn push_length(bytes: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
}

fn take_text(bytes: &mut &[u8], length: u32) -> Option<Box<str>> {
    let (text, rest) = bytes.split_at_checked(length as usize)?;
    *bytes = rest;
    Some(std::str::from_utf8(text).ok()?.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_change() -> impl Strategy<Value = Change> {
        let text = ".{0,60}";
        let addrs = (any::<u64>(), any::<u64>(), text, prop::collection::vec(text, 0..5));
        let addrs = addrs.prop_map(|(stamp, stated_at_ms, provider, addrs)| {
            let addrs = addrs.into_iter().map(Into::into).collect();
            Change::Addrs(AddrsChange { stamp, provider: provider.into(), stated_at_ms, addrs })
        });
        let record = (any::<u64>(), text, prop::collection::vec(any::<u8>(), 0..70), text);
        let record = record.prop_map(|(stamp, provider, context, record_json)| {
            let (provider, record_json) = (provider.into(), record_json.into());
            Change::Record(RecordChange { stamp, provider, context: context.into(), record_json })
        });
        let visibility = (any::<u64>(), text, any::<bool>());
        let visibility = visibility.prop_map(|(stamp, provider, is_hidden)| {
            Change::Visibility(VisibilityChange { stamp, provider: provider.into(), is_hidden })
        });
        let companion = (text, any::<bool>()).prop_map(|(json, has_providers_protocols)| {
            CompanionChange { record_json: json.into(), has_providers_protocols }
        });
        let companions = (
            any::<u64>(),
            text,
            prop::option::of(prop::collection::vec(any::<u8>(), 0..70)),
            any::<bool>(),
            prop::collection::vec(companion, 0..4),
        );
        let companions =
            companions.prop_map(|(stamp, provider, context, overrides, companions)| {
                let (provider, context) = (provider.into(), context.map(Into::into));
                Change::Companions(CompanionsChange {
                    stamp,
                    provider,
                    context,
                    overrides,
                    companions,
                })
            });
        prop_oneof![addrs, record, visibility, companions]
    }

    fn decode(kind: u8, payload: &[u8]) -> Option<Change> {
        match kind {
            KIND_ADDRS => AddrsChange::decode(payload).map(Change::Addrs),
            KIND_VISIBILITY => VisibilityChange::decode(payload).map(Change::Visibility),
            KIND_COMPANIONS => CompanionsChange::decode(payload).map(Change::Companions),
            _ => RecordChange::decode(payload).map(Change::Record),
        }
    }

    proptest! {
        #[test]
        fn a_change_reads_back_as_itself_and_nothing_shorter_or_longer_does(
            change in any_change(), cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = change.encode();
            prop_assert_eq!(bytes.len(), change.payload_bytes());
            let decoded = decode(change.kind(), &bytes);
            prop_assert_eq!(decoded.as_ref(), Some(&change));
            prop_assert_eq!(decode(change.kind(), &bytes[..cut.index(bytes.len())]), None);
            bytes.push(0);
            prop_assert_eq!(decode(change.kind(), &bytes), None);
        }
    }

    #[test]
    fn changes_of_different_things_have_different_keys() {
        let keys = [
            addrs_key("a"),
            addrs_key("ab"),
            record_key("a", b""),
            record_key("a", b"b"),
            record_key("ab", b""),
            key_of(KIND_VISIBILITY, "a", b""),
            key_of(KIND_COMPANIONS, "a", b""),
            key_of(KIND_COMPANIONS, "a", &[1]),
        ];
        let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }
}
