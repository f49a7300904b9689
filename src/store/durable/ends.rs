//! Ends that the journal does not have yet, and what compaction is told meanwhile.
//!
//! A group ends in the index first. Until its end is durable, a restart brings it back, and then all of
//! it must be there: every key that it had, and the addresses and the record that counted for it. So
//! compaction may drop what a newer group or a newer change superseded, but nothing because a group is
//! dead: that it learns from the journal alone, when the journal has the end.
//!
//! # Invariants
//!
//! - A group that ended is reported by [`Index::take_ended`] or among the unwritten ends, until its end
//!   is durable: it goes from the one to the other under the lock of the unwritten ends.
//! - Nothing is kept for ever: every group that ends in the index without having expired is reported,
//!   and its end is written by the next write that succeeds. Of what expires, the journal knows by itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::index::Index;

/// Groups that ended and whose end the journal does not have yet.
#[derive(Default)]
pub(super) struct UnwrittenEnds(Mutex<BTreeSet<u64>>);

impl UnwrittenEnds {
    /// Takes what ended in the index since, and gives all that are to be written.
    pub(super) fn collect(&self, index: &Index) -> Vec<u64> {
        let mut unwritten = self.0.lock();
        unwritten.extend(index.take_ended());
        unwritten.iter().copied().collect()
    }

    /// These ends are durable.
    pub(super) fn forget(&self, written: &[u64]) {
        let mut unwritten = self.0.lock();
        for serial in written {
            unwritten.remove(serial);
        }
    }

    /// Whether a restart would bring back a group with a smaller serial that ended.
    fn has_any_below(&self, index: &Index, serial: u64) -> bool {
        let unwritten = self.0.lock();
        unwritten.first().is_some_and(|first| *first < serial) || index.has_ended_below(serial)
    }
}

/// Tells compaction whether a group keeps a key: it has it, or it ended as a whole. Compaction asks about
/// groups only that live in the journal.
pub(super) fn is_held(
    index: Arc<Index>,
    clock: Clock,
) -> impl Fn(u64, &[u8]) -> bool + Send + Sync {
    move |serial, multihash| {
        // In this order: a group that is there after its key was missed had lost the key, not its life.
        index.holds(multihash, serial, clock.now_ms()) || !index.has_group(serial)
    }
}

/// Tells compaction whether a change is kept: it is in force, or some group that it may count for would
/// come back.
pub(super) fn is_needed(
    index: Arc<Index>,
    unwritten: Arc<UnwrittenEnds>,
) -> impl Fn(u64) -> bool + Send + Sync {
    // In this order: what takes a change out of force is reported as ended at the same moment.
    move |stamp| index.is_in_force(stamp) || unwritten.has_any_below(&index, stamp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::index::{GroupSpec, Interned, Statement};
    use crate::types::{
        AnswerSchema, ContentKey, Origin, PeerId, ProviderRecord, ReadyRecord, UnparsableAddrs,
    };

    const PEER: &str = "12D3KooWM8sovaEGU1bmiWGWAzvs47DEcXKZZTuJnpQyVTkRs2Vn";
    const NOW_MS: u64 = 1_000;

    fn place(index: &Index, context: &[u8], addr: u8, keys: &[ContentKey]) -> Interned {
        let addr = format!("/ip4/192.0.2.{addr}/tcp/4001");
        let json = format!(r#"{{"Schema":"peer","ID":"{PEER}","Addrs":["{addr}"]}}"#);
        let record = ProviderRecord::parse(&json, UnparsableAddrs::Drop).unwrap().record;
        let record = Arc::new(ReadyRecord::new(record, AnswerSchema::Announced));
        let (context, origin) = (context.into(), Origin::OPERATOR);
        let spec = GroupSpec { record, context, expires_at_ms: None, origin };
        let group = index.intern(&spec, NOW_MS).unwrap();
        index.link_all(&group, keys, NOW_MS).unwrap();
        group
    }

    fn keys() -> [ContentKey; 2] {
        [1, 2].map(|number| {
            ContentKey::from_multihash(&[&[0x12, 0x20][..], &[number; 32]].concat()).unwrap()
        })
    }

    fn clock() -> Clock {
        Clock::Manual(ManualClock::new(NOW_MS))
    }

    #[test]
    fn a_group_that_ended_keeps_its_keys_and_one_that_lost_a_key_does_not_keep_that() {
        let index = Arc::new(Index::new());
        let is_held = is_held(index.clone(), clock());
        let [one, other] = keys();
        let old = place(&index, b"", 1, &[one.clone(), other.clone()]).serial;
        let new = place(&index, b"", 2, std::slice::from_ref(&one)).serial;
        let held = |serial| [&one, &other].map(|key| is_held(serial, key.as_bytes()));
        assert_eq!((held(old), held(new)), ([false, true], [true, false]));
        let peer = PeerId::parse(PEER).unwrap();
        assert_eq!(index.remove(&peer, None, NOW_MS).len(), 2);
        assert_eq!((held(old), held(new)), ([true; 2], [true; 2]));
    }

    #[test]
    fn a_change_stays_until_the_ends_of_all_that_it_counted_for_are_written() {
        let index = Arc::new(Index::new());
        let unwritten = Arc::new(UnwrittenEnds::default());
        let is_needed = is_needed(index.clone(), unwritten.clone());
        drop(place(&index, b"", 1, &keys()));
        let peer = PeerId::parse(PEER).unwrap();
        let stamp = index.stamp();
        let statement = Statement { stamp, stated_at_ms: NOW_MS, addrs: [].into() };
        index.restate(&peer, statement, NOW_MS);
        assert!(is_needed(stamp) && !is_needed(stamp + 1));
        index.remove(&peer, None, NOW_MS);
        assert!(is_needed(stamp) && !index.is_in_force(stamp), "nobody took the end");
        let ends = unwritten.collect(&index);
        assert!(is_needed(stamp), "the end is being written");
        assert_eq!(unwritten.collect(&index), ends, "it could not be");
        // Groups to which the change never counted do not hold it.
        drop(place(&index, b"", 1, &keys()));
        index.remove(&peer, None, NOW_MS);
        unwritten.forget(&ends);
        assert!(!is_needed(stamp));
    }
}
