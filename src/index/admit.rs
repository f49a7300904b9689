//! Whether there is room for an announcement: limits on memory, and on what strangers hold.
//!
//! ```text
//! 0                                          7/8     15/16    31/32    all of the memory
//! | strangers, as much as their network leaves | light | oper-  | what is refreshed
//! |                                      free  |       | ator's |
//! ```
//!
//! Of seven eighths a network of strangers may hold no more than what is left free. So one that floods
//! stops at half, and n that flood leave an n+1st part free. A light network, which holds less than half of
//! what the heaviest does, may announce past that. What is above seven eighths is evicted by the sweep: groups
//! of the heaviest strangers, those first that lapse first, never the operator's. So the many that flood
//! make room for a small newcomer, and all of them for the operator.
//!
//! What is in the index already is refreshed, removed and looked up, whatever the quotas say.

use super::announce::Interned;
use super::group::GROUP_KEYS;
use super::{Index, IndexError, Memory};
use crate::clock::UnixMs;
use crate::types::Limit;

/// What an entry takes in memory, as the ceiling of what was measured.
pub(super) const KEY_BYTES: u64 = 28;

/// The parts of the memory that are kept: from heavy strangers, from all strangers, from all that is new.
pub(super) const HEAVY_RESERVE: u64 = 8;
const STRANGERS_RESERVE: u64 = 16;
const REFRESH_RESERVE: u64 = 32;

/// How much of what the heaviest network holds a light one has at most: 1/2.
const LIGHT_PART: u64 = 2;

/// The most groups that are evicted at once: about 10 ms.
const EVICTED_MAX: u64 = 8_192;

/// How many sweeps in a row an announcement of the operator waits for: 5 s.
const SWEEPS_MAX: usize = 1_000;

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

impl IndexLimits {
    /// The bytes that all may take of which a part is kept.
    pub(super) fn bytes_except(&self, part: u64) -> u64 {
        self.bytes_max - self.bytes_max / part
    }
}

impl Index {
    /// Whether a group may get this many new keys, and be created if it is new.
    pub(super) fn admit(&self, interned: &Interned, new_keys: u64) -> Result<(), IndexError> {
        let (limits, Interned { group, is_new, .. }) = (&self.limits, interned);
        if (new_keys == 0 && !*is_new) || *limits == IndexLimits::default() {
            return Ok(());
        }
        let bytes = self.stats().bytes;
        let within = |bytes_max| {
            if bytes < bytes_max {
                Ok(())
            } else {
                Err(IndexError::Full { limit: Limit::IndexMemory })
            }
        };
        if new_keys == 0 {
            return within(limits.bytes_max);
        }
        if group.origin.is_operator() {
            return within(limits.bytes_except(REFRESH_RESERVE));
        }
        let (network, peer) = self.groups.usage_of(group);
        // A new group is counted already.
        let group_keys = if *is_new { 0 } else { GROUP_KEYS };
        let network = network.saturating_add(new_keys).saturating_add(group_keys);
        if peer.saturating_add(new_keys) > limits.peer_keys_max {
            return Err(IndexError::Full { limit: Limit::PeerKeys });
        }
        if network > limits.network_keys_max {
            return Err(IndexError::Full { limit: Limit::NetworkKeys });
        }
        let free = limits.bytes_except(HEAVY_RESERVE).saturating_sub(bytes);
        if network.saturating_mul(KEY_BYTES) <= free {
            return Ok(());
        }
        let free = limits.bytes_except(STRANGERS_RESERVE).saturating_sub(bytes);
        let is_light = || network <= self.groups.heaviest_network() / LIGHT_PART;
        if new_keys.saturating_mul(KEY_BYTES) <= free && is_light() {
            return Ok(());
        }
        Err(IndexError::Full { limit: Limit::IndexMemory })
    }

    /// Ends groups of strangers while more than is theirs is taken; their memory is freed by sweeps.
    /// Returns how many.
    pub(super) fn evict(&self, now_ms: UnixMs) -> u64 {
        let room = self.limits.bytes_except(HEAVY_RESERVE);
        let bytes = self.stats().bytes;
        if bytes <= room {
            return 0;
        }
        let (_, dying) = self.groups.strangers_keys();
        // Rounded up, so that each step comes nearer.
        let keys = (bytes - room).div_ceil(KEY_BYTES).saturating_sub(dying);
        let evicted = self.groups.evict(keys, EVICTED_MAX, now_ms);
        self.counters.evicted.fetch_add(evicted, Memory::Relaxed);
        evicted
    }

    /// Frees what strangers hold until there is room for the operator, or nothing of theirs is left.
    /// Takes long if there is none.
    pub(crate) fn make_room(&self, now_ms: UnixMs) {
        let wanted = self.limits.bytes_except(STRANGERS_RESERVE);
        for _ in 0..SWEEPS_MAX {
            if self.stats().bytes < wanted {
                return;
            }
            let swept = self.sweep_part(now_ms);
            if swept.evicted == 0 && !self.groups.has_ended() {
                return;
            }
        }
    }
}
