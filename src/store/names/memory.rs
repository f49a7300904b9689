//! IPNS records in this process's memory: gone when it ends. Nothing here waits or fails but for
//! want of room.

use std::collections::{BTreeSet, HashMap};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::RwLock;

use super::{NamePut, NameStore, NamesError, NamesStats, StoredName, judge};
use crate::clock::UnixMs;
use crate::types::{IpnsName, IpnsRecord};

/// A store of names in this process's memory.
#[derive(Debug)]
pub struct MemoryNames {
    records_max: u64,
    held: RwLock<HeldNames>,
}

#[derive(Debug, Default)]
struct HeldNames {
    records: HashMap<IpnsName, StoredName>,
    /// The ends of all records, soonest first.
    ends: BTreeSet<(UnixMs, IpnsName)>,
}

impl MemoryNames {
    /// An empty store that takes records of at most so many names.
    pub fn new(records_max: u64) -> Self {
        Self { records_max, held: RwLock::default() }
    }
}

impl HeldNames {
    fn put(
        &mut self,
        record: IpnsRecord,
        records_max: u64,
        now_ms: UnixMs,
    ) -> Result<NamePut, NamesError> {
        let current = self.records.get(record.name()).map(|stored| &stored.record);
        let verdict = judge(current, &record, now_ms);
        if verdict != NamePut::Stored {
            return Ok(verdict);
        }
        if current.is_none() && self.records.len() as u64 >= records_max {
            self.sweep(now_ms);
            if self.records.len() as u64 >= records_max {
                return Err(NamesError::Full { records_max });
            }
        }
        let name = record.name().clone();
        let end_ms = record.end_of_validity().unix_ms();
        let stored = StoredName { record, stored_at_ms: now_ms };
        if let Some(replaced) = self.records.insert(name.clone(), stored) {
            self.ends.remove(&(replaced.record.end_of_validity().unix_ms(), name.clone()));
        }
        self.ends.insert((end_ms, name));
        Ok(NamePut::Stored)
    }

    fn sweep(&mut self, now_ms: UnixMs) -> u64 {
        let mut swept = 0;
        while let Some((end_ms, _)) = self.ends.first()
            && *end_ms <= now_ms
            && let Some((_, name)) = self.ends.pop_first()
        {
            self.records.remove(&name);
            swept += 1;
        }
        swept
    }
}

impl NameStore for MemoryNames {
    fn get<'a>(
        &'a self,
        name: &'a IpnsName,
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<Option<StoredName>, NamesError>> {
        async move {
            let found = self.held.read().records.get(name).cloned();
            Ok(found.filter(|stored| !stored.record.end_of_validity().is_over(now_ms)))
        }
        .boxed()
    }

    fn put(
        &self,
        record: IpnsRecord,
        now_ms: UnixMs,
    ) -> BoxFuture<'_, Result<NamePut, NamesError>> {
        async move { self.held.write().put(record, self.records_max, now_ms) }.boxed()
    }

    fn sweep(&self, now_ms: UnixMs) -> BoxFuture<'_, Result<u64, NamesError>> {
        async move { Ok(self.held.write().sweep(now_ms)) }.boxed()
    }

    fn stats(&self) -> BoxFuture<'_, Result<NamesStats, NamesError>> {
        let records = self.held.read().records.len() as u64;
        std::future::ready(Ok(NamesStats { records, ..NamesStats::default() })).boxed()
    }
}
