//! Merges the records of several upstreams as they arrive, by provider.
//!
//! Records are held as they came, and merged only on demand, so that an upstream that names one
//! provider over and over costs no more than what it sends. The final records do not depend on the order
//! of arrival.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::types::{MergeKey, ReadyRecord};

/// The most records that are merged into one: bounds what upstreams can send of one provider.
const PARTS_MAX: usize = 64;

/// Records with their merge keys.
pub(super) type KeyedRecords = Vec<(MergeKey, Arc<ReadyRecord>)>;

/// Records that are being merged.
#[derive(Default)]
pub(super) struct MergedRecords {
    providers: Vec<MergedProvider>,
    /// The index of each provider in `providers`.
    by_key: HashMap<MergeKey, usize>,
    /// The index of the provider of each change, in their order.
    changes: Vec<usize>,
}

/// The records of one provider, at least one.
struct MergedProvider {
    key: MergeKey,
    parts: SmallVec<[Arc<ReadyRecord>; 1]>,
    merged: Option<Arc<ReadyRecord>>,
}

impl MergedRecords {
    /// Adds a record, unless it is a duplicate, or would be one of more than `records_max`. Returns whether
    /// it did.
    pub(super) fn add(
        &mut self,
        key: MergeKey,
        record: Arc<ReadyRecord>,
        records_max: usize,
    ) -> bool {
        let next = self.providers.len();
        let at = match self.by_key.get(&key) {
            Some(at) => *at,
            None if next >= records_max => return false,
            None => {
                self.by_key.insert(key, next);
                self.providers.push(MergedProvider { key, parts: SmallVec::new(), merged: None });
                next
            }
        };
        let provider = self.providers.get_mut(at).expect("a provider's place is never taken away");
        let is_known = provider.parts.iter().any(|part| part.digest() == record.digest());
        if is_known || provider.parts.len() >= PARTS_MAX {
            return false;
        }
        provider.parts.push(record);
        provider.merged = None;
        self.changes.push(at);
        true
    }

    /// How many changes there were.
    pub(super) fn changes(&self) -> usize {
        self.changes.len()
    }

    /// The records that changed after the first `changes` changes, as they are now. One that changed
    /// several times comes several times.
    pub(super) fn changed_since(&mut self, changes: usize) -> KeyedRecords {
        let changed = self.changes.get(changes..).unwrap_or_default();
        let providers = &mut self.providers;
        let merged = |at: &usize| {
            let provider = providers.get_mut(*at);
            provider.expect("a change was at a provider's place").merged()
        };
        changed.iter().map(merged).collect()
    }

    /// All records, in the order in which they became known, those with addresses first.
    pub(super) fn all(&mut self) -> KeyedRecords {
        let mut all: KeyedRecords = self.providers.iter_mut().map(MergedProvider::merged).collect();
        all.sort_by_key(|(_, record)| !record.has_addrs());
        all
    }
}

impl MergedProvider {
    fn merged(&mut self) -> (MergeKey, Arc<ReadyRecord>) {
        let merge = || ReadyRecord::merged(&self.parts).expect("a provider has a part at least");
        (self.key, self.merged.get_or_insert_with(merge).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::testing::{addrs_of, peer, record, record_without_addrs};

    fn add(merged: &mut MergedRecords, record: &Arc<ReadyRecord>) -> bool {
        merged.add(record.merge_key(), record.clone(), 3)
    }

    #[test]
    fn each_provider_has_one_place_in_the_order_of_arrival_and_those_without_addresses_are_last() {
        let mut merged = MergedRecords::default();
        assert!(add(&mut merged, &record_without_addrs(1)));
        assert!(add(&mut merged, &record(2, &[1])));
        assert!(add(&mut merged, &record(3, &[1])));
        assert!(add(&mut merged, &record(2, &[2, 1])));
        assert!(!add(&mut merged, &record(2, &[1])), "nothing new");
        assert!(!add(&mut merged, &record(4, &[1])), "one more than there may be");
        let all = merged.all();
        let peers: Vec<_> = all.iter().filter_map(|(_, it)| it.peer().cloned()).collect();
        assert_eq!(peers, [2, 3, 1].map(peer));
        assert_eq!(addrs_of(&all[0].1), ["/ip4/192.0.2.2/tcp/1", "/ip4/192.0.2.2/tcp/2"]);
        let since: Vec<_> =
            merged.changed_since(2).into_iter().map(|(_, it)| it.digest()).collect();
        assert_eq!(since, [all[1].1.digest(), all[0].1.digest()]);
        assert_eq!(merged.changes(), 4);
    }

    #[test]
    fn what_is_merged_of_one_provider_is_bounded() {
        let mut merged = MergedRecords::default();
        let added = (0..1_000).filter(|port| add(&mut merged, &record(1, &[*port]))).count();
        assert_eq!(added, PARTS_MAX);
        assert_eq!(merged.all()[0].1.addr_count(), PARTS_MAX);
    }
}
