//! What the index promises, as examples; `model` compares it with a naive one, `threads` with
//! itself under concurrency.

mod hot_keys;
mod limits;
mod memo;
mod model;
mod ranking;
mod restore;
mod serials;
mod threads;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::types::{
    AnswerSchema, Limit, Origin, ProviderRecord, ReadyRecord, Selection, UnparsableAddrs,
};

pub(super) fn key(number: u32) -> ContentKey {
    let bytes = [&[0x12, 0x20][..], &number.to_be_bytes(), &[7; 28]].concat();
    ContentKey::from_multihash(&bytes).unwrap()
}

pub(super) fn keys(numbers: std::ops::Range<u32>) -> Vec<ContentKey> {
    numbers.map(key).collect()
}

pub(super) fn peer(number: u32) -> PeerId {
    // Short, because base58 takes longer than the index.
    let bytes = [&[0, 4][..], &number.to_be_bytes()].concat();
    PeerId::parse(&multibase::Base::Base58Btc.encode(bytes)).unwrap()
}

pub(super) fn record(of: u32, addrs: &[&str]) -> Arc<ReadyRecord> {
    let addrs = serde_json::to_string(addrs).unwrap();
    let json = format!(r#"{{"Schema":"peer","ID":"{}","Addrs":{addrs}}}"#, peer(of));
    let parsed = ProviderRecord::parse(&json, UnparsableAddrs::Drop).unwrap();
    Arc::new(ReadyRecord::new(parsed.record, AnswerSchema::Announced))
}

pub(super) fn spec(of: u32, context: &[u8], addrs: &[&str]) -> GroupSpec {
    GroupSpec {
        record: record(of, addrs),
        context: context.into(),
        expires_at_ms: None,
        origin: Origin::OPERATOR,
    }
}

pub(super) const TCP: &str = "/ip4/192.0.2.1/tcp/1";
pub(super) const QUIC: &str = "/ip4/192.0.2.1/udp/1/quic-v1";

impl Index {
    fn all(&self, key: &ContentKey, now_ms: UnixMs) -> Found {
        self.find(key, &Filter::default(), None, now_ms)
    }

    fn peers(&self, key: &ContentKey, now_ms: UnixMs) -> BTreeSet<PeerId> {
        peers_of(&self.all(key, now_ms))
    }

    /// Sweeps until nothing ended waits; returns what that freed.
    fn sweep_all(&self, now_ms: UnixMs) -> Freed {
        let mut all = Freed::default();
        for _ in 0..1_000 {
            let freed = self.sweep(now_ms);
            all.entries += freed.entries;
            all.groups += freed.groups;
            all.evicted += freed.evicted;
            if !self.groups.has_ended() {
                return all;
            }
        }
        panic!("the sweep never ends: {self:?}");
    }
}

pub(super) fn peers_of(answer: &Found) -> BTreeSet<PeerId> {
    let peers: Vec<_> =
        answer.records.iter().map(|(record, _)| record.peer().unwrap().clone()).collect();
    let set: BTreeSet<_> = peers.iter().cloned().collect();
    assert_eq!(set.len(), peers.len(), "a provider twice");
    set
}

fn in_order(answer: &Found) -> Vec<(String, Selection)> {
    let records = answer.records.iter();
    records.map(|(record, selection)| (record.json().to_owned(), selection.clone())).collect()
}

fn cap(records: usize) -> Option<NonZeroUsize> {
    NonZeroUsize::new(records)
}

#[test]
fn a_group_that_is_removed_is_gone_at_once_and_its_memory_after_a_sweep() {
    let index = Index::new();
    let empty = index.stats();
    assert_eq!(
        index.announce(&keys(0..50_000), &spec(1, b"a", &[TCP]), 10),
        Ok(Announced { added: 50_000, refreshed: 0 })
    );
    index.announce(&keys(0..10), &spec(1, b"b", &[TCP]), 10).unwrap();
    assert_eq!(index.stats().entries, 50_010);
    assert_eq!(index.stats().keys, 50_000);
    assert_eq!(index.remove(&peer(1), Some(b"a"), 20).len(), 1);
    assert_eq!(index.remove(&peer(1), Some(b"a"), 20).len(), 0);
    assert!(index.all(&key(10), 20).records.is_empty());
    assert_eq!(index.all(&key(9), 20).modified_at_ms, Some(20));
    assert_eq!(index.stats().groups, 2);
    assert_eq!(index.sweep_all(30), Freed { entries: 50_000, groups: 1, ..Freed::default() });
    assert_eq!(index.remove(&peer(1), None, 30).len(), 1);
    assert_eq!(index.sweep_all(30), Freed { entries: 10, groups: 1, ..Freed::default() });
    let IndexStats { entries, keys, groups, providers, bytes } = index.stats();
    assert_eq!((entries, keys, groups, providers), (0, 0, 0, 0));
    // The slabs keep their first chunks.
    let kept = 2 * 8192;
    assert!(bytes <= empty.bytes + kept, "{bytes} after {}", empty.bytes);
}

#[test]
fn a_removal_that_is_counted_before_the_addition_does_not_make_the_index_look_full() {
    let index = Index::new();
    let IndexCounters { keys, entries, hot_key_groups, .. } = &index.counters;
    let bytes = index.stats().bytes;
    [keys, entries, hot_key_groups].into_iter().for_each(|counter| shift(counter, -1));
    let stats = index.stats();
    assert_eq!((stats.entries, stats.keys, stats.bytes), (0, 0, bytes));
}

#[test]
fn a_number_used_again_revives_nothing() {
    let index = Index::new();
    for round in 0..100u32 {
        let old = spec(round, b"c", &[TCP]);
        index.announce(&keys(0..20), &old, 1).unwrap();
        assert_eq!(index.remove(&peer(round), None, 2).len(), 1);
        // The same context again, with other keys, before and after the sweep.
        index.announce(&keys(20..30), &old, 3).unwrap();
        assert!((0..20).all(|number| index.all(&key(number), 3).records.is_empty()));
        index.remove(&peer(round), None, 4);
        index.sweep_all(5);
        assert_eq!(index.stats().groups, 0);
        index.announce(&keys(30..40), &spec(round + 1, b"d", &[]), 6).unwrap();
        assert!((0..30).all(|number| index.all(&key(number), 6).records.is_empty()));
        index.remove(&peer(round + 1), None, 7);
    }
    index.sweep_all(8);
    let id = index.groups.intern(&spec(0, b"", &[]), 1).unwrap().0.id;
    assert!(id < 3, "no more than three were in use at once: {id}");
}

#[test]
fn a_number_in_use_by_an_announcement_under_way_is_not_used_again() {
    let index = Index::new();
    let (group, _) = index.groups.intern(&spec(1, b"", &[]), 1).unwrap();
    index.remove(&peer(1), None, 2);
    index.sweep(3);
    assert_eq!(index.stats().groups, 1);
    index.link(index.fingerprinter.of(&key(1)), &group, 3).unwrap();
    index.groups.release(&group);
    assert!(index.all(&key(1), 4).records.is_empty());
    assert_eq!(index.sweep_all(4), Freed { entries: 1, groups: 1, ..Freed::default() });
}

#[test]
fn an_announcement_expires_to_the_millisecond() {
    let index = Index::new();
    let lapsing = GroupSpec { expires_at_ms: Some(100), ..spec(1, b"", &[TCP]) };
    index.announce(&keys(0..2), &lapsing, 10).unwrap();
    index.announce(&keys(0..1), &spec(2, b"", &[]), 10).unwrap();
    assert_eq!(index.peers(&key(0), 99).len(), 2);
    assert_eq!(index.peers(&key(0), 100).len(), 1);
    assert_eq!(index.all(&key(0), 150).modified_at_ms, Some(100));
    assert_eq!(index.announce(&keys(2..3), &lapsing, 100), Ok(Announced::default()));
    assert_eq!(index.sweep_all(150), Freed { entries: 2, groups: 1, ..Freed::default() });
    assert!(index.all(&key(0), 160).modified_at_ms >= Some(100));
    assert_eq!(index.stats().keys, 1);
}

#[test]
fn a_refresh_takes_the_place_of_what_it_refreshes() {
    let index = Index::new();
    let first = GroupSpec { expires_at_ms: Some(100), ..spec(1, b"", &[TCP]) };
    let second = GroupSpec { expires_at_ms: Some(200), ..spec(1, b"", &[QUIC]) };
    index.announce(&keys(0..10), &first, 10).unwrap();
    let again = index.announce(&keys(0..10), &first, 20).unwrap();
    assert_eq!(again, Announced { added: 0, refreshed: 10 });
    assert_eq!(index.all(&key(0), 20).modified_at_ms, Some(10));
    index.announce(&keys(0..5), &second, 30).unwrap();
    assert_eq!(index.stats().entries, 10);
    // Its shard may have changed since, if another key's is the same.
    assert!(matches!(index.all(&key(9), 99).modified_at_ms, Some(10 | 30)));
    let refreshed = index.all(&key(0), 150);
    assert_eq!(refreshed.records[0].0.json(), record(1, &[QUIC]).json());
    assert_eq!(refreshed.modified_at_ms, Some(30));
    index.announce(&keys(5..10), &second, 40).unwrap();
    assert_eq!(index.stats().groups, 1, "a group without keys is freed");
}

#[test]
fn one_provider_under_several_contexts_is_one_record_with_all_addresses() {
    let index = Index::new();
    for (context, addr) in [(b"a", TCP), (b"b", QUIC), (b"c", TCP)] {
        index.announce(&keys(0..3), &spec(1, context, &[addr]), 1).unwrap();
    }
    let answer = index.all(&key(0), 1);
    assert_eq!(answer.records.len(), 1);
    let mut addrs: Vec<_> = answer.records[0].0.json().matches("/ip4").collect();
    assert_eq!(addrs.drain(..).count(), 2);
    let tcp = Filter::from_query("filter-addrs=tcp").unwrap();
    let answer = index.find(&key(0), &tcp, None, 1);
    assert!(matches!(&answer.records[0].1, Selection::Addrs(kept) if kept.len() == 1));
    index.remove(&peer(1), Some(b"b"), 2);
    assert_eq!(index.all(&key(0), 2).records[0].0.json(), record(1, &[TCP]).json());
}

#[test]
fn keys_with_the_same_groups_share_one_set_in_whatever_order_they_came() {
    let index = Index::new();
    index.announce(&keys(0..100), &spec(1, b"", &[TCP]), 1).unwrap();
    index.announce(&keys(0..200), &spec(2, b"", &[TCP]), 1).unwrap();
    index.announce(&keys(100..200), &spec(1, b"", &[TCP]), 1).unwrap();
    assert_eq!(index.sets.len(), 1);
    assert_eq!(index.stats().entries, 400);
    let order = |number| in_order(&index.all(&key(number), 1));
    assert!((1..200).all(|number| order(number) == order(0)));
    index.remove(&peer(2), None, 2);
    index.sweep_all(3);
    assert_eq!(index.sets.len(), 0);
    assert_eq!((index.stats().entries, index.stats().keys), (200, 200));
}

#[test]
fn a_few_records_take_turns_those_with_addresses_first() {
    let index = Index::new();
    for number in 0..10u32 {
        let addrs: &[&str] = if number < 4 { &[TCP] } else { &[] };
        index.announce(&keys(0..1), &spec(number, b"", addrs), 1).unwrap();
    }
    let first = index.find(&key(0), &Filter::default(), cap(4), 5);
    assert!(first.records.iter().all(|(record, _)| record.has_addrs()));
    assert_eq!(first.modified_at_ms, Some(5));
    let mut seen = peers_of(&first);
    for _ in 1..3 {
        let answer = index.find(&key(0), &Filter::default(), cap(4), 5);
        assert_eq!(answer.records.len(), 4);
        let with_addrs: Vec<_> = answer.records.iter().map(|(r, _)| r.has_addrs()).collect();
        assert!(with_addrs.is_sorted_by(|one, other| one >= other));
        seen.extend(peers_of(&answer));
    }
    assert_eq!(seen.len(), 10);
    let whole = index.all(&key(0), 5);
    assert_eq!(in_order(&index.all(&key(0), 6)), in_order(&whole));
    assert!(whole.records.iter().take(4).all(|(record, _)| record.has_addrs()));
}

#[test]
fn two_keys_with_one_fingerprint_are_one_key() {
    let index = Index::with_bounds(Bounds { fingerprint_bits: 8, ..Bounds::default() });
    for number in 0..600 {
        index.announce(&[key(number)], &spec(number % 7, b"", &[TCP]), 1).unwrap();
    }
    let fingerprint = |number| index.fingerprinter.of(&key(number));
    let distinct: BTreeSet<_> = (0..600).map(fingerprint).collect();
    assert_eq!(index.stats().keys, distinct.len() as u64);
    assert!(distinct.len() <= 256);
    for asked in 0..600 {
        let colliding = (0..600).filter(|number| fingerprint(*number) == fingerprint(asked));
        let expected: BTreeSet<_> = colliding.map(|number| peer(number % 7)).collect();
        assert_eq!(index.peers(&key(asked), 1), expected);
    }
    index.remove(&peer(3), None, 2);
    index.sweep_all(2);
    assert!((0..600).all(|number| !index.peers(&key(number), 2).contains(&peer(3))));
}

#[test]
fn without_numbers_left_it_is_full_and_what_was_there_stays() {
    let index = Index::with_bounds(Bounds { ids_max: 3, ..Bounds::default() });
    for number in 0..3 {
        index.announce(&keys(0..2), &spec(number, b"", &[]), 1).unwrap();
    }
    let fourth = index.announce(&keys(0..2), &spec(3, b"", &[]), 1);
    assert_eq!(fourth, Err(IndexError::Full { limit: Limit::Groups }));
    assert_eq!(index.peers(&key(1), 1).len(), 3);
    index.remove(&peer(0), None, 2);
    index.sweep_all(2);
    assert!(index.announce(&keys(0..2), &spec(3, b"", &[]), 1).is_ok());
    assert_eq!(index.peers(&key(1), 2), [1, 2, 3].map(peer).into());
}

#[test]
fn what_room_was_reserved_for_is_linked_whatever_else_is() {
    let index = Index::with_ids_max(45);
    let groups: Vec<_> =
        (0..40).map(|number| index.intern(&spec(number, b"", &[]), 1).unwrap()).collect();
    let (mut linked, mut refused) = (0, 0);
    for round in 0..40_u32 {
        // Two at once, which reserve first, and then link.
        let both = [round, round + 7].map(|number| {
            let first = number * 5 % 60;
            (&groups[(number % 40) as usize], keys(first..first + 9))
        });
        let rooms = both.each_ref().map(|(_, keys)| index.reserve(keys.len() as u64));
        for ((group, keys), room) in both.iter().zip(rooms) {
            match room {
                Ok(_room) => {
                    index.link_all(group, keys, 1).unwrap();
                    linked += 1;
                }
                Err(error) => {
                    assert_eq!(error, IndexError::Full { limit: Limit::GroupSets });
                    refused += 1;
                }
            }
        }
    }
    assert!(linked > 4 && refused > 4, "{linked} {refused}");
}

#[test]
fn without_room_for_another_set_dead_groups_stay_but_are_not_served() {
    let index = Index::with_bounds(Bounds { ids_max: 40, ..Bounds::default() });
    for number in 0..34 {
        index.announce(&keys(0..1), &spec(number, b"", &[]), 1).unwrap();
    }
    // A pair of groups a key: all numbers of sets are taken.
    let pairs = (0..34u32).flat_map(|one| (0..one).map(move |other| (one, other)));
    let mut number = 1;
    let full = pairs.into_iter().find_map(|(one, other)| {
        number += 1;
        index.announce(&[key(number)], &spec(one, b"", &[]), 1).unwrap();
        index.announce(&[key(number)], &spec(other, b"", &[]), 1).err()
    });
    assert_eq!(full, Some(IndexError::Full { limit: Limit::GroupSets }));
    (0..20).for_each(|number| {
        index.remove(&peer(number), None, 2);
    });
    index.sweep(2);
    assert_eq!(index.peers(&key(0), 2).len(), 14);
    index.sweep_all(3);
    assert_eq!(index.peers(&key(0), 3).len(), 14);
    index.announce(&keys(0..1), &spec(39, b"", &[]), 3).unwrap();
    assert_eq!(index.peers(&key(0), 3).len(), 15);
    (0..40).for_each(|number| {
        index.remove(&peer(number), None, 4);
    });
    index.sweep_all(4);
    assert_eq!((index.stats().entries, index.stats().groups, index.sets.len()), (0, 0, 0));
}

#[test]
fn a_provider_with_very_many_groups_is_looked_through_and_removed_whole() {
    let index = Index::new();
    let announce = |of: u32, context: &[u8], count: u32| {
        for number in 0..count {
            let expires_at_ms = Some(10_000 + u64::from(number));
            let spec = GroupSpec { expires_at_ms, ..spec(of, context, &[TCP]) };
            index.announce(&keys(number..number + 1), &spec, 1).unwrap();
        }
    };
    // Of what is done at once: some more than twice, just that, a few, and none.
    for (context, count) in [(b"a", 300), (b"b", 128), (b"c", 5)] {
        announce(1, context, count);
    }
    announce(2, b"b", 3);
    let (context, same) = (Arc::from(*b"b"), record(1, &[TCP]));
    assert!(!index.would_change(&context, &same, 1));
    index.announce(&keys(0..1), &spec(1, b"b", &[QUIC]), 1).unwrap();
    assert!(index.would_change(&context, &same, 1), "the last of them is another");
    assert_eq!(index.remove(&peer(1), Some(b"b"), 2).len(), 128);
    assert!(!index.would_change(&context, &same, 2));
    assert_eq!(index.remove(&peer(1), Some(b"z"), 2).len(), 0);
    assert_eq!(index.remove(&peer(1), None, 2).len(), 305);
    assert!(!index.has_provider(&peer(1)));
    for number in 0..300 {
        let left = (number < 3).then(|| peer(2));
        assert_eq!(index.peers(&key(number), 2), left.into_iter().collect());
    }
}
