//! Standing: since when a provider has been announced from a network without a gap.
//!
//! A provider stands anew when everything that it announced from a network has lapsed or was removed.
//! Whoever announces again before that inherits the standing, whatever the keys. The journal keeps it
//! with each group, so that it outlives a restart. The operator's announcements need none, and those of
//! unknown origin have none: all of these are equals.

use std::collections::HashMap;

use super::Group;
use crate::clock::UnixMs;
use crate::invariant;
use crate::types::{Origin, PeerId};

/// What an entry takes up in the map, with room for growth.
const STANDING_BYTES: usize = 2 * size_of::<((PeerId, Origin), Standing)>();

/// What decides which groups are served when more match than fit: the least is the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::index) struct GroupRank {
    pub(in crate::index) is_stranger: bool,
    /// Seconds since the Unix epoch; 0 where standing does not count.
    pub(in crate::index) standing_since_s: u32,
    pub(in crate::index) origin: Origin,
}

/// The standings of those that have groups.
#[derive(Default)]
pub(super) struct Standings(HashMap<(PeerId, Origin), Standing>);

struct Standing {
    since_ms: UnixMs,
    /// When the last of the groups lapses.
    until_ms: UnixMs,
    groups: u64,
}

impl Group {
    /// What decides whether the group is served before others of its key.
    pub(in crate::index) fn rank(&self) -> GroupRank {
        let origin = self.origin;
        let since_s = (self.since_ms / 1000).min(u64::from(u32::MAX)) as u32;
        let standing_since_s = if origin.is_network() { since_s } else { 0 };
        GroupRank { is_stranger: !origin.is_operator(), standing_since_s, origin }
    }
}

impl Standings {
    /// Counts a group that is announced at `since_ms`, or whose provider was known to stand since then.
    /// Returns since when it stands.
    pub(super) fn enter(
        &mut self,
        (peer, origin): (&PeerId, Origin),
        expires_at_ms: UnixMs,
        since_ms: UnixMs,
        now_ms: UnixMs,
    ) -> UnixMs {
        if !origin.is_network() {
            return since_ms;
        }
        let new = Standing { since_ms, until_ms: expires_at_ms, groups: 0 };
        let standing = self.0.entry((peer.clone(), origin)).or_insert(new);
        standing.groups += 1;
        if standing.until_ms <= now_ms {
            standing.since_ms = since_ms;
        }
        standing.since_ms = standing.since_ms.min(since_ms);
        standing.until_ms = standing.until_ms.max(expires_at_ms);
        standing.since_ms
    }

    /// Counts a group off that has ended.
    pub(super) fn leave(&mut self, peer: &PeerId, origin: Origin) {
        if !origin.is_network() {
            return;
        }
        let place = (peer.clone(), origin);
        let standing = self.0.get_mut(&place);
        let Some(standing) = invariant::present(standing, "who leaves was entered") else { return };
        standing.groups -= 1;
        if standing.groups == 0 {
            self.0.remove(&place);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.len() * STANDING_BYTES
    }
}
