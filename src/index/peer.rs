//! What is known of a peer: the addresses and the protocols of all that it announced.
//!
//! The newest groups come first, and there is a bound on how many are looked at; a provider's groups
//! have the same few records as a rule, each of which is read once. The registry is locked while the
//! groups are collected, not while their records are read.

use std::collections::HashSet;
use std::sync::Arc;

use super::Index;
use crate::clock::UnixMs;
use crate::types::{Filter, Found, PeerId, ReadyRecord, Schema};

/// The most groups of a peer that are looked at.
const PEER_GROUPS_MAX: usize = 256;

impl Index {
    /// One record of schema `peer` with what the newest groups of a peer say, if it passes the filter.
    /// Records of unknown schemas are left out: nobody knows what their addresses mean.
    pub(crate) fn peer(&self, peer: &PeerId, filter: &Filter, now_ms: UnixMs) -> Found {
        let (groups, mut changed_at_ms) = self.groups.newest_of(peer, PEER_GROUPS_MAX);
        let mut seen = HashSet::new();
        let mut records: Vec<Arc<ReadyRecord>> = Vec::new();
        // What is on its way to the journal is not seen yet.
        for group in groups.iter().filter(|group| group.has_been_linked()) {
            let record = group.record();
            changed_at_ms = changed_at_ms.max(group.changed_at_ms(now_ms));
            let is_known = record.schema() != Schema::Unknown && !group.is_hidden();
            if is_known && group.is_live(now_ms) && seen.insert(record.digest()) {
                records.push(record.clone());
            }
        }
        if records.is_empty() {
            return Found::default();
        }
        let merged = ReadyRecord::of_peer(peer, records.iter().map(|record| &**record));
        let selection = filter.select(&merged);
        let records = selection.map(|selection| (Arc::new(merged), selection));
        Found::new(records.into_iter().collect::<Vec<_>>().into(), changed_at_ms)
    }
}
