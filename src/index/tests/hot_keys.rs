//! Very many groups on one key: correct, bounded, and fair to each of them.

use std::collections::BTreeSet;

use super::*;

fn hot_key(groups: u32, with_addrs: u32) -> Index {
    let index = Index::new();
    for number in 0..groups {
        let addrs: &[&str] = if number < with_addrs { &[TCP] } else { &[] };
        index.announce(&keys(0..1), &spec(number, b"", addrs), 1).unwrap();
    }
    index
}

#[test]
fn twenty_thousand_groups_on_one_key_are_all_served_in_turn() {
    let index = hot_key(20_000, 6_000);
    assert_eq!(index.stats().entries, 20_000);
    let mut seen = BTreeSet::new();
    for turn in 0..200 {
        let answer = index.find(&key(0), &Filter::default(), cap(100), 2);
        assert_eq!(answer.records.len(), 100);
        assert_eq!(answer.records.iter().all(|(record, _)| record.has_addrs()), turn < 60);
        seen.extend(peers_of(&answer));
    }
    assert_eq!(seen.len(), 20_000);
    let bytes = index.stats().bytes;
    for number in 50..20_000 {
        index.remove(&peer(number), None, 3);
    }
    // Dead groups in the way of an answer that has to be short.
    let answer = index.find(&key(0), &Filter::default(), cap(100), 4);
    assert_eq!(peers_of(&answer), (0..50).map(peer).collect());
    assert_eq!(index.stats().entries, 50);
    index.sweep_all(5);
    assert!(index.stats().bytes < bytes / 2);
}

#[test]
fn turns_go_round_what_a_filter_passes() {
    let index = Index::new();
    for number in 0..1_000 {
        let addr = if number % 10 == 0 { QUIC } else { TCP };
        index.announce(&keys(0..1), &spec(number, b"", &[addr]), 1).unwrap();
    }
    let filter = Filter::from_query("filter-addrs=quic-v1").unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..4 {
        let answer = index.find(&key(0), &filter, cap(30), 2);
        assert_eq!(answer.records.len(), 30);
        seen.extend(peers_of(&answer));
    }
    assert_eq!(seen.len(), 100);
    // All that match fit: the same order whoever asked before.
    let all = index.find(&key(0), &filter, cap(100), 2);
    assert_eq!(all.records.len(), 100);
    index.find(&key(0), &Filter::default(), cap(7), 2);
    assert_eq!(in_order(&index.find(&key(0), &filter, cap(100), 2)), in_order(&all));
    assert_eq!(all.modified_at_ms, Some(1));
}

#[test]
fn a_group_of_a_hot_key_is_replaced_and_changes_lists_in_place() {
    let index = hot_key(200, 100);
    for round in 0..50 {
        for number in 0..200 {
            let addrs: &[&str] = if (number + round) % 2 == 0 { &[TCP] } else { &[] };
            let announced =
                index.announce(&keys(0..1), &spec(number, b"", addrs), 2 + u64::from(round));
            assert_eq!(announced.unwrap().refreshed, 1);
        }
        let answer = index.find(&key(0), &Filter::default(), cap(200), 60);
        assert_eq!(peers_of(&answer).len(), 200);
        assert!(answer.records.iter().take(100).all(|(record, _)| record.has_addrs()));
        assert!(answer.records.iter().skip(100).all(|(record, _)| !record.has_addrs()));
    }
    assert_eq!((index.stats().entries, index.stats().groups), (200, 200));
}

#[test]
fn very_many_contexts_of_one_provider_are_one_record() {
    let index = Index::new();
    for number in 0..4_000u32 {
        index.announce(&keys(0..1), &spec(1, &number.to_be_bytes(), &[TCP]), 1).unwrap();
        let dead = GroupSpec { expires_at_ms: Some(2), ..spec(2, &number.to_be_bytes(), &[QUIC]) };
        index.announce(&keys(0..1), &dead, 1).unwrap();
    }
    assert_eq!(index.stats().entries, 8_000);
    assert_eq!(index.peers(&key(0), 1).len(), 2);
    let answer = index.all(&key(0), 3);
    assert_eq!(answer.records.len(), 1);
    assert_eq!(answer.records[0].0.json(), record(1, &[TCP]).json());
    // So many dead ones were in the way that the lookup took them out.
    assert_eq!((answer.modified_at_ms, index.stats().entries), (Some(3), 4_000));
    index.sweep_all(3);
    assert_eq!((index.stats().entries, index.stats().groups), (4_000, 4_000));
    assert_eq!(index.remove(&peer(1), None, 4).len(), 4_000);
    assert!(index.all(&key(0), 4).records.is_empty());
    index.sweep_all(4);
    assert_eq!((index.stats().keys, index.stats().groups, index.sets.len()), (0, 0, 0));
}

#[test]
fn a_hot_key_that_shrank_is_a_shared_set_again() {
    let index = hot_key(40, 40);
    for number in 2..40 {
        index.remove(&peer(number), None, 2);
    }
    assert_eq!(index.sweep_all(2).entries, 38);
    index.announce(&keys(1..2), &spec(0, b"", &[TCP]), 3).unwrap();
    index.announce(&keys(1..2), &spec(1, b"", &[TCP]), 3).unwrap();
    assert_eq!(index.sets.len(), 1);
    assert_eq!(index.peers(&key(0), 3), [0, 1].map(peer).into());
    assert_eq!((index.stats().entries, index.stats().keys), (4, 2));
}

#[test]
fn dead_groups_do_not_pile_up_on_a_key_that_is_announced_again_and_again() {
    let index = Index::new();
    for number in 0..10_000 {
        let now_ms = u64::from(number);
        let brief = GroupSpec { expires_at_ms: Some(now_ms + 10), ..spec(number, b"", &[TCP]) };
        index.announce(&keys(0..1), &brief, now_ms).unwrap();
        assert!(index.stats().entries <= 64);
    }
}

#[test]
fn a_hot_key_that_is_too_much_for_one_sweep_is_gone_on_with_in_the_next() {
    // In the second case the shard's table alone is as much as a sweep does.
    for (groups, sweep_steps_max) in [(3_000, 500), (300, 4)] {
        let index = Index::with_bounds(Bounds { sweep_steps_max, ..Bounds::default() });
        for number in 0..groups {
            index.announce(&keys(0..1), &spec(number, b"", &[TCP]), 1).unwrap();
        }
        for number in (0..groups).filter(|number| number % 3 > 0) {
            index.remove(&peer(number), None, 2);
        }
        let mut sweeps = Vec::new();
        while index.groups.has_ended() {
            sweeps.push(index.sweep(3).entries);
            assert!(sweeps.len() < 10_000);
        }
        assert!(sweeps.iter().all(|freed| *freed <= sweep_steps_max as u64), "{sweeps:?}");
        assert_eq!(sweeps.iter().sum::<u64>(), u64::from(groups / 3 * 2));
        assert_eq!(index.peers(&key(0), 3), (0..groups).step_by(3).map(peer).collect());
        let stats = index.stats();
        let left = u64::from(groups / 3);
        assert_eq!((stats.entries, stats.groups), (left, left));
    }
}
