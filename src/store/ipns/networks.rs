//! Counts the names of each network of clients, and decides what a new one evicts when the store is
//! full.
//!
//! Names cost nothing, networks do: so a network has a quota of names. Where all places are taken, a light
//! network, which has less than half as many names as the heaviest, gets a place of the heaviest: that of
//! the name that lapses first. The operator's names count for no network and are never evicted.

use std::collections::{BTreeSet, HashMap};

use super::IpnsStoreError;
use crate::invariant;
use crate::types::Origin;

/// How much of what the heaviest network has a light one has at most: 1/2, as in the index.
const LIGHT_PART: u64 = 2;

/// How many names a store takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpnsLimits {
    /// Names of all networks and of the operator.
    pub records_max: u64,
    /// Names of one network.
    pub network_names_max: u64,
}

impl Default for IpnsLimits {
    /// No limits.
    fn default() -> Self {
        Self { records_max: u64::MAX, network_names_max: u64::MAX }
    }
}

/// The decision on a new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IpnsAdmission {
    /// There is a place.
    Admitted,
    /// There is one when a name of this network is evicted.
    Evict(Origin),
    /// There is none.
    Full(FullOf),
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FullOf {
    Names,
    NamesOfNetwork,
}

impl FullOf {
    /// What a caller is told.
    pub(super) fn error(self, limits: IpnsLimits) -> IpnsStoreError {
        match self {
            Self::Names => IpnsStoreError::Full { records_max: limits.records_max },
            Self::NamesOfNetwork => {
                IpnsStoreError::NetworkFull { network_names_max: limits.network_names_max }
            }
        }
    }
}

/// How many names each network has.
#[derive(Debug, Default)]
pub(super) struct NetworkNames {
    counts: HashMap<Origin, u64>,
    by_count: BTreeSet<(u64, Origin)>,
}

impl NetworkNames {
    /// Counts a name.
    pub(super) fn add(&mut self, origin: Origin) {
        self.change(origin, 1);
    }

    /// Counts a name off.
    pub(super) fn remove(&mut self, origin: Origin) {
        self.change(origin, -1);
    }

    /// Whether a network has its quota of names.
    pub(super) fn is_at_quota(&self, origin: Origin, limits: IpnsLimits) -> bool {
        !origin.is_operator() && self.of(origin) >= limits.network_names_max
    }

    /// What becomes of a new name where there are so many records.
    pub(super) fn admit(&self, origin: Origin, records: u64, limits: IpnsLimits) -> IpnsAdmission {
        if self.is_at_quota(origin, limits) {
            return IpnsAdmission::Full(FullOf::NamesOfNetwork);
        }
        if records < limits.records_max {
            return IpnsAdmission::Admitted;
        }
        match self.by_count.last() {
            Some((heaviest, network))
                if origin.is_operator() || self.of(origin) < heaviest / LIGHT_PART =>
            {
                IpnsAdmission::Evict(*network)
            }
            Some(_) | None => IpnsAdmission::Full(FullOf::Names),
        }
    }

    /// The network that a name counts for whose record is replaced: the one that the newer record comes
    /// from, unless that is not known or has its quota.
    pub(super) fn origin_after(
        &self,
        before: Origin,
        origin: Origin,
        limits: IpnsLimits,
    ) -> Origin {
        let stays = origin == Origin::UNKNOWN || self.is_at_quota(origin, limits);
        if stays { before } else { origin }
    }

    fn of(&self, origin: Origin) -> u64 {
        self.counts.get(&origin).copied().unwrap_or(0)
    }

    fn change(&mut self, origin: Origin, by: i64) {
        if origin.is_operator() {
            return;
        }
        let before = self.of(origin);
        let after = before.checked_add_signed(by);
        let Some(after) = invariant::present(after, "a name that is counted off was counted")
        else {
            return;
        };
        self.by_count.remove(&(before, origin));
        if after == 0 {
            self.counts.remove(&origin);
        } else {
            self.counts.insert(origin, after);
            self.by_count.insert((after, origin));
        }
    }
}
