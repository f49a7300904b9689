//! Joining the records of several upstreams while they come: each provider has one place, and what
//! is told of it is united when somebody wants it.
//!
//! Records are held as they came, and united only on demand, so that an upstream that tells of one
//! provider over and over costs no more than what it sends. Which records there are in the end, and
//! what they say, does not depend on the order in which they came.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::types::{Kin, ReadyRecord};

/// The most records that are united in one: what an upstream says of one provider has to end.
const PARTS_MAX: usize = 64;

/// Records with what they are kin to.
pub(super) type KinRecords = Vec<(Kin, Arc<ReadyRecord>)>;

/// Records that are being joined.
#[derive(Default)]
pub(super) struct Joined {
    places: Vec<Place>,
    by_kin: HashMap<Kin, usize>,
    /// The place that each change was at, in their order.
    changes: Vec<usize>,
}

/// What is known of one provider.
struct Place {
    kin: Kin,
    parts: SmallVec<[Arc<ReadyRecord>; 1]>,
    united: Option<Arc<ReadyRecord>>,
}

impl Joined {
    /// Adds a record, unless it says nothing new, or would be one of more than `records_max`. Says
    /// whether it did.
    pub(super) fn add(&mut self, kin: Kin, record: Arc<ReadyRecord>, records_max: usize) -> bool {
        let next = self.places.len();
        let at = match self.by_kin.get(&kin) {
            Some(at) => *at,
            None if next >= records_max => return false,
            None => {
                self.by_kin.insert(kin, next);
                self.places.push(Place { kin, parts: SmallVec::new(), united: None });
                next
            }
        };
        let Some(place) = self.places.get_mut(at) else { return false };
        let is_known = place.parts.iter().any(|part| part.digest() == record.digest());
        if is_known || place.parts.len() >= PARTS_MAX {
            return false;
        }
        place.parts.push(record);
        place.united = None;
        self.changes.push(at);
        true
    }

    /// How many changes there were.
    pub(super) fn changes(&self) -> usize {
        self.changes.len()
    }

    /// The records that changed after the first `changes` changes, as they are now. One that changed
    /// several times comes several times.
    pub(super) fn changed_since(&mut self, changes: usize) -> KinRecords {
        let changed = self.changes.get(changes..).unwrap_or_default();
        let places = &mut self.places;
        changed.iter().filter_map(|at| places.get_mut(*at).and_then(Place::united)).collect()
    }

    /// All records, in the order in which they became known, those with addresses first.
    pub(super) fn all(&mut self) -> KinRecords {
        let mut all: KinRecords = self.places.iter_mut().filter_map(Place::united).collect();
        all.sort_by_key(|(_, record)| !record.has_addrs());
        all
    }
}

impl Place {
    fn united(&mut self) -> Option<(Kin, Arc<ReadyRecord>)> {
        if self.united.is_none() {
            self.united = ReadyRecord::united(&self.parts);
        }
        self.united.clone().map(|united| (self.kin, united))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::testing::{addrs_of, peer, record, record_without_addrs};

    fn add(joined: &mut Joined, record: &Arc<ReadyRecord>) -> bool {
        joined.add(record.kin(), record.clone(), 3)
    }

    #[test]
    fn each_provider_has_one_place_in_the_order_of_arrival_and_those_without_addresses_are_last() {
        let mut joined = Joined::default();
        assert!(add(&mut joined, &record_without_addrs(1)));
        assert!(add(&mut joined, &record(2, &[1])));
        assert!(add(&mut joined, &record(3, &[1])));
        assert!(add(&mut joined, &record(2, &[2, 1])));
        assert!(!add(&mut joined, &record(2, &[1])), "nothing new");
        assert!(!add(&mut joined, &record(4, &[1])), "one more than there may be");
        let all = joined.all();
        let peers: Vec<_> = all.iter().filter_map(|(_, it)| it.peer().cloned()).collect();
        assert_eq!(peers, [2, 3, 1].map(peer));
        assert_eq!(addrs_of(&all[0].1), ["/ip4/192.0.2.2/tcp/1", "/ip4/192.0.2.2/tcp/2"]);
        let since: Vec<_> =
            joined.changed_since(2).into_iter().map(|(_, it)| it.digest()).collect();
        assert_eq!(since, [all[1].1.digest(), all[0].1.digest()]);
        assert_eq!(joined.changes(), 4);
    }

    #[test]
    fn what_is_told_of_one_provider_is_bounded() {
        let mut joined = Joined::default();
        let added = (0..1_000).filter(|port| add(&mut joined, &record(1, &[*port]))).count();
        assert_eq!(added, PARTS_MAX);
        assert_eq!(joined.all()[0].1.addr_count(), PARTS_MAX);
    }
}
