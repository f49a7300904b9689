//! The configured endpoints, from which pools are provisioned.
//!
//! An inventory does not change at runtime. Names are unique: duplicates in the configuration are
//! refused; here the first would win.

use std::collections::HashMap;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::budget::BudgetLimits;

/// An endpoint: one upstream of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolEndpoint {
    /// Its name.
    pub name: Arc<str>,
    /// Its limits.
    pub limits: BudgetLimits,
    /// The name of the only pool that may use it, case-insensitive; `None`: any pool.
    pub tied_to: Option<String>,
}

/// All endpoints, in the order of the configuration.
#[derive(Debug, Default)]
pub struct Inventory {
    endpoints: Vec<PoolEndpoint>,
    by_name: HashMap<Arc<str>, usize>,
}

impl Inventory {
    /// The inventory of these endpoints.
    pub fn new(endpoints: Vec<PoolEndpoint>) -> Self {
        let mut by_name = HashMap::with_capacity(endpoints.len());
        for (index, endpoint) in endpoints.iter().enumerate() {
            by_name.entry(endpoint.name.clone()).or_insert(index);
        }
        Self { endpoints, by_name }
    }

    /// The endpoints, by index.
    pub(crate) fn endpoints(&self) -> &[PoolEndpoint] {
        &self.endpoints
    }

    /// The endpoint at an index.
    pub(crate) fn get(&self, index: usize) -> Option<&PoolEndpoint> {
        self.endpoints.get(index)
    }

    /// The index of the endpoint with this name, if it is configured.
    pub(crate) fn index_of(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Sorts indices by a key's preference: by rendezvous hash, so that a key keeps its endpoint,
    /// whose cache is warm, whatever other endpoints come and go.
    pub(crate) fn ranked(&self, mut indices: Vec<usize>, key: &[u8]) -> Vec<usize> {
        let hash_of_key = xxh3_64_with_seed(key, 0);
        indices.sort_by_cached_key(|index| {
            let name = self.get(*index).map_or("", |endpoint| &*endpoint.name);
            std::cmp::Reverse((xxh3_64_with_seed(name.as_bytes(), hash_of_key), *index))
        });
        indices
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inventory(count: usize) -> Inventory {
        let limits = BudgetLimits { daily_volume: 1, hourly_rate: 1 };
        let endpoint = |index| PoolEndpoint {
            name: format!("endpoint-{index}").into(),
            limits,
            tied_to: None,
        };
        Inventory::new((0..count).map(endpoint).collect())
    }

    #[test]
    fn keys_are_balanced_over_all_endpoints() {
        let inventory = inventory(4);
        let mut counts = [0_u32; 4];
        for key in 0..4_000_u32 {
            counts[inventory.ranked(vec![0, 1, 2, 3], &key.to_be_bytes())[0]] += 1;
        }
        assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
    }

    proptest! {
        #[test]
        fn a_key_keeps_its_order_when_an_endpoint_goes(
            key: [u8; 8], count in 1_usize..9, gone in 0_usize..9,
        ) {
            let inventory = inventory(count);
            let all = inventory.ranked((0..count).collect(), &key);
            let rest = inventory.ranked((0..count).filter(|it| *it != gone).collect(), &key);
            let expected: Vec<usize> = all.into_iter().filter(|it| *it != gone).collect();
            prop_assert_eq!(rest, expected);
        }
    }
}
