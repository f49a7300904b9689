//! Whether there is room for an announcement: limits on memory, and on what strangers hold.
//!
//! Of the memory an eighth is a reserve for the operator and for what refreshes. Of the rest a network of
//! strangers may hold no more than what is left free. So one that floods stops at half, and n that flood
//! leave an n+1st part free: a small newcomer is always let in.
//!
//! What is in the index already is refreshed without being asked here, removed, and looked up, whatever
//! the limits say.

use super::group::{GROUP_KEYS, Group};
use super::{Index, IndexError};

/// What an entry takes in memory, as the ceiling of what was measured.
const KEY_BYTES: u64 = 28;

/// The part of the memory that is kept from strangers.
const RESERVE: u64 = 8;

/// What an index takes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexLimits {
    /// Providers of one key from one network, where it has more than a few providers at all.
    pub key_network_max: usize,
    /// Bytes of memory.
    pub bytes_max: u64,
    /// Keys that one network of strangers holds; each group counts as 40.
    pub network_keys_max: u64,
    /// Keys that one peer holds that announces itself; each group counts as 40.
    pub peer_keys_max: u64,
}

impl Default for IndexLimits {
    /// No limits.
    fn default() -> Self {
        Self {
            key_network_max: usize::MAX,
            bytes_max: u64::MAX,
            network_keys_max: u64::MAX,
            peer_keys_max: u64::MAX,
        }
    }
}

impl Index {
    /// Whether a group may have so many keys more, and be made if it is new.
    pub(super) fn admit(
        &self,
        group: &Group,
        is_new: bool,
        new_keys: u64,
    ) -> Result<(), IndexError> {
        let limits = &self.limits;
        if new_keys == 0 || *limits == IndexLimits::default() {
            return Ok(());
        }
        let bytes = self.stats().bytes;
        if group.origin.is_operator() {
            let has_room = bytes < limits.bytes_max;
            return if has_room { Ok(()) } else { Err(IndexError::Full { what: "memory" }) };
        }
        let (network, peer) = self.groups.usage_of(group);
        // A new group is counted already.
        let group_keys = if is_new { 0 } else { GROUP_KEYS };
        let network = network.saturating_add(new_keys).saturating_add(group_keys);
        if peer.saturating_add(new_keys) > limits.peer_keys_max {
            return Err(IndexError::Full { what: "keys of this peer" });
        }
        if network > limits.network_keys_max {
            return Err(IndexError::Full { what: "keys of this network" });
        }
        let room = limits.bytes_max - limits.bytes_max / RESERVE;
        if network.saturating_mul(KEY_BYTES) > room.saturating_sub(bytes) {
            return Err(IndexError::Full { what: "memory" });
        }
        Ok(())
    }
}
