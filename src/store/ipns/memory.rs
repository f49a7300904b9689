//! IPNS records in this process's memory: gone when it ends. Nothing here waits or fails but for
//! want of room.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::RwLock;

use super::networks::{FullOf, IpnsAdmission, NetworkNames};
use super::{IpnsLimits, IpnsPut, IpnsStore, IpnsStoreError, IpnsStoreStats, StoredIpns, judge};
use crate::clock::UnixMs;
use crate::invariant;
use crate::types::{IpnsName, IpnsRecord, Origin};

/// A store of names in this process's memory.
#[derive(Debug)]
pub struct MemoryIpns {
    limits: IpnsLimits,
    held: RwLock<HeldNames>,
}

#[derive(Debug, Default)]
struct HeldNames {
    records: HashMap<IpnsName, HeldName>,
    /// The ends of all records, soonest first.
    ends: BTreeSet<(UnixMs, IpnsName)>,
    /// The same by the network that they count for.
    of_networks: BTreeMap<Origin, BTreeSet<(UnixMs, IpnsName)>>,
    counts: NetworkNames,
}

#[derive(Debug)]
struct HeldName {
    stored: StoredIpns,
    /// The network that it counts for.
    origin: Origin,
}

impl MemoryIpns {
    /// An empty store that takes records of at most so many names.
    pub fn new(limits: IpnsLimits) -> Self {
        Self { limits, held: RwLock::default() }
    }
}

impl HeldNames {
    fn put(
        &mut self,
        record: IpnsRecord,
        origin: Origin,
        limits: IpnsLimits,
        now_ms: UnixMs,
    ) -> Result<IpnsPut, FullOf> {
        let current = self.records.get(record.name());
        let verdict = judge(current.map(|held| &held.stored.record), &record, now_ms);
        if verdict != IpnsPut::Stored {
            return Ok(verdict);
        }
        let replaced = self.remove(record.name());
        let is_live = |held: &HeldName| !held.stored.record.end_of_validity().is_over(now_ms);
        let origin = match replaced.filter(is_live) {
            Some(replaced) => self.counts.origin_after(replaced.origin, origin, limits),
            None => {
                self.make_room(origin, limits, now_ms)?;
                origin
            }
        };
        let name = record.name().clone();
        let lapse = (record.end_of_validity().unix_ms(), name.clone());
        let stored = StoredIpns { record, stored_at_ms: now_ms };
        self.records.insert(name, HeldName { stored, origin });
        self.ends.insert(lapse.clone());
        self.of_networks.entry(origin).or_default().insert(lapse);
        self.counts.add(origin);
        Ok(IpnsPut::Stored)
    }

    fn make_room(
        &mut self,
        origin: Origin,
        limits: IpnsLimits,
        now_ms: UnixMs,
    ) -> Result<(), FullOf> {
        self.sweep(now_ms);
        loop {
            match self.counts.admit(origin, self.records.len() as u64, limits) {
                IpnsAdmission::Admitted => return Ok(()),
                IpnsAdmission::Full(full) => return Err(full),
                IpnsAdmission::Evict(network) => {
                    let first = self.of_networks.get(&network).and_then(BTreeSet::first);
                    let first = first.map(|(_, name)| name.clone());
                    let first = invariant::present(first, "a network that is counted has names");
                    first.and_then(|name| self.remove(&name)).ok_or(FullOf::Names)?;
                }
            }
        }
    }

    fn sweep(&mut self, now_ms: UnixMs) -> u64 {
        let mut swept = 0;
        while let Some((end_ms, name)) = self.ends.first()
            && *end_ms <= now_ms
        {
            let name = name.clone();
            self.remove(&name);
            swept += 1;
        }
        swept
    }

    fn remove(&mut self, name: &IpnsName) -> Option<HeldName> {
        let held = self.records.remove(name)?;
        let lapse = (held.stored.record.end_of_validity().unix_ms(), name.clone());
        self.ends.remove(&lapse);
        if let Entry::Occupied(mut of_network) = self.of_networks.entry(held.origin) {
            of_network.get_mut().remove(&lapse);
            if of_network.get().is_empty() {
                of_network.remove();
            }
        }
        self.counts.remove(held.origin);
        Some(held)
    }
}

impl IpnsStore for MemoryIpns {
    fn get<'a>(
        &'a self,
        name: &'a IpnsName,
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<Option<StoredIpns>, IpnsStoreError>> {
        async move {
            let found = self.held.read().records.get(name).map(|held| held.stored.clone());
            Ok(found.filter(|stored| !stored.record.end_of_validity().is_over(now_ms)))
        }
        .boxed()
    }

    fn put(
        &self,
        record: IpnsRecord,
        origin: Origin,
        now_ms: UnixMs,
    ) -> BoxFuture<'_, Result<IpnsPut, IpnsStoreError>> {
        async move {
            let put = self.held.write().put(record, origin, self.limits, now_ms);
            put.map_err(|full| full.error(self.limits))
        }
        .boxed()
    }

    fn sweep(&self, now_ms: UnixMs) -> BoxFuture<'_, Result<u64, IpnsStoreError>> {
        async move { Ok(self.held.write().sweep(now_ms)) }.boxed()
    }

    fn stats(&self) -> BoxFuture<'_, Result<IpnsStoreStats, IpnsStoreError>> {
        let records = self.held.read().records.len() as u64;
        std::future::ready(Ok(IpnsStoreStats { records, ..IpnsStoreStats::default() })).boxed()
    }
}
