//! What is let in when memory is scarce, and what strangers may hold.

use proptest::prelude::*;

use super::super::group::GROUP_KEYS;
use super::*;

const MIB: u64 = 1 << 20;

fn network(number: u8) -> Origin {
    Origin::of_client([198, 51, number, 1].into())
}

/// Announces a thousandth part of a million keys, as the stores do it.
fn offer(
    index: &Index,
    origin: Origin,
    (of, part): (u32, u32),
    expires_at_ms: u64,
) -> Result<Announced, IndexError> {
    let spec = GroupSpec { origin, expires_at_ms: Some(expires_at_ms), ..spec(of, b"", &[TCP]) };
    let group = index.intern(&spec, 1)?;
    let plan = index.plan(&group, keys(part * 500..(part + 1) * 500), 1)?;
    index.link_all(&group, &plan.to_link, 1)
}

/// Offers parts until one is refused; says how many were taken.
fn flood(index: &Index, origin: Origin, first: u32) -> u32 {
    let taken =
        (first..first + 1_000).take_while(|part| offer(index, origin, (*part, *part), 100).is_ok());
    let taken = taken.count() as u32;
    assert!(taken < 1_000, "somebody is never refused");
    taken
}

fn index_of(room: u64) -> (Index, u64) {
    let empty = Index::new().stats().bytes;
    let limits = IndexLimits { bytes_max: empty + room, ..IndexLimits::default() };
    (Index::with_limits(limits), empty)
}

#[test]
fn a_network_that_floods_leaves_as_much_free_as_it_holds() {
    let (index, empty) = index_of(4 * MIB);
    let taken = flood(&index, network(1), 0);
    let bytes = index.stats().bytes - empty;
    assert!((MIB..=3 * MIB).contains(&bytes), "{bytes} of {taken} parts");
    let refused = offer(&index, network(1), (900, 900), 100);
    assert_eq!(refused, Err(IndexError::Full { limit: Limit::IndexMemory }));
    // What it holds it may refresh; others get in, and so does the operator.
    assert_eq!(offer(&index, network(1), (0, 0), 200), Ok(Announced { added: 0, refreshed: 500 }));
    assert_eq!(offer(&index, network(2), (901, 901), 100).unwrap().added, 500);
    assert_eq!(offer(&index, Origin::OPERATOR, (902, 902), 100).unwrap().added, 500);
    // What lapses is counted down.
    index.sweep_all(300);
    assert!(flood(&index, network(1), 0) + 2 >= taken);
}

#[test]
fn however_many_networks_flood_at_once_a_small_newcomer_gets_in_and_memory_is_bounded() {
    let (index, empty) = index_of(4 * MIB);
    for part in 0..1_000 {
        let _ = offer(&index, network((part % 20) as u8), (part, part), 100);
    }
    let bytes = index.stats().bytes - empty;
    assert!((2 * MIB..=4 * MIB * 7 / 8).contains(&bytes), "{bytes}");
    assert_eq!(offer(&index, network(99), (2_000, 1_500), 100).unwrap().added, 500);
    // The operator has the reserve, and then it is full for everybody.
    assert!(flood(&index, Origin::OPERATOR, 3_000) > 0);
    // What the refused group took is free again.
    let (bytes, bytes_max) = (index.stats().bytes, empty + 4 * MIB);
    assert!(bytes + MIB / 16 >= bytes_max / 32 * 31, "{bytes} of {bytes_max}");
    assert!(index.stats().bytes < empty + 4 * MIB);
    assert!(offer(&index, network(100), (2_001, 1_501), 100).is_err());
    assert_eq!(offer(&index, network(0), (0, 0), 200).unwrap().refreshed, 500);
}

#[test]
fn quotas_of_peers_and_networks_are_counted_down_as_keys_lapse_or_are_removed() {
    let limits =
        IndexLimits { network_keys_max: 1_100, peer_keys_max: 600, ..IndexLimits::default() };
    let index = Index::with_limits(limits);
    let full = |limit| Err(IndexError::Full { limit });
    assert!(offer(&index, network(1), (1, 0), 100).is_ok());
    assert_eq!(offer(&index, network(1), (1, 1), 100), full(Limit::PeerKeys));
    assert_eq!(offer(&index, network(2), (1, 1), 100), full(Limit::PeerKeys), "from anywhere");
    assert!(offer(&index, network(1), (2, 2), 200).is_ok());
    assert_eq!(offer(&index, network(1), (3, 3), 100), full(Limit::NetworkKeys));
    assert!(offer(&index, Origin::OPERATOR, (3, 3), 100).is_ok());
    for expires_at_ms in [110, 120, 130] {
        // Refreshed, the keys go from one group to the next.
        assert_eq!(offer(&index, network(1), (1, 0), expires_at_ms).unwrap().refreshed, 500);
    }
    assert_eq!(offer(&index, network(1), (3, 3), 100), full(Limit::NetworkKeys));
    assert_eq!(index.remove(&peer(2), None, 2).len(), 1);
    assert!(offer(&index, network(1), (4, 4), 200).is_ok());
    assert_eq!(offer(&index, network(1), (5, 5), 200), full(Limit::NetworkKeys));
    index.sweep_all(150);
    assert!(offer(&index, network(1), (5, 5), 200).is_ok());
    assert!(offer(&index, network(2), (1, 1), 200).is_ok());
}

#[test]
fn quotas_count_what_a_restart_brings_back() {
    let limits = IndexLimits { network_keys_max: 600, ..IndexLimits::default() };
    let index = Index::with_limits(limits);
    let spec = GroupSpec { origin: network(1), ..spec(1, b"", &[TCP]) };
    let restore = index.restore(1);
    let group = restore.group(&spec, 7, 1).unwrap();
    let multihashes: Vec<_> = keys(0..500).iter().map(|key| key.as_bytes().to_vec()).collect();
    for _ in 0..2 {
        restore.keys(&group, multihashes.iter().map(Vec::as_slice)).unwrap();
    }
    drop(group);
    restore.finish().unwrap();
    let refused = offer(&index, network(1), (2, 2), 100);
    assert_eq!(refused, Err(IndexError::Full { limit: Limit::NetworkKeys }));
    index.remove(&peer(1), None, 2);
    assert!(offer(&index, network(1), (2, 2), 100).is_ok());
}

#[test]
fn a_restart_knows_the_heaviest_network_by_its_keys() {
    let index = Index::new();
    let restore = index.restore(1);
    for (part, origin, count) in [(1, 1, 500), (2, 2, 1), (3, 2, 1), (4, 2, 1)] {
        let spec = GroupSpec { origin: network(origin), ..spec(part, b"", &[TCP]) };
        let group = restore.group(&spec, u64::from(part), 1).unwrap();
        let first = part * 500;
        let multihashes: Vec<_> =
            keys(first..first + count).iter().map(|key| key.as_bytes().to_vec()).collect();
        restore.keys(&group, multihashes.iter().map(Vec::as_slice)).unwrap();
    }
    restore.finish().unwrap();
    assert_eq!(index.groups.heaviest_network(), 500 + GROUP_KEYS);
}

#[test]
fn what_has_lapsed_goes_before_anything_is_evicted() {
    let (index, empty) = index_of(4 * MIB);
    let offer_all = |origin, parts: std::ops::Range<u32>, expires_at_ms| {
        let offered =
            parts.filter(|part| offer(&index, origin, (*part, *part), expires_at_ms).is_ok());
        offered.collect::<Vec<_>>()
    };
    let live = offer_all(network(1), 0..1_000, 9_000);
    let lapsing = offer_all(network(2), 1_000..2_000, 50);
    offer_all(Origin::OPERATOR, 2_000..3_000, 9_000);
    assert!(index.stats().bytes > (empty + 4 * MIB) / 8 * 7);
    assert!(live.len() > lapsing.len() && !lapsing.is_empty());
    assert_eq!(index.sweep(60).evicted, 0);
    assert!(live.iter().all(|part| has_part(&index, *part)));
}

/// Offers parts of many networks, as many of each, until all are refused; part n lapses at 1,000 - n.
fn flood_from_many(index: &Index, networks: u8) {
    for part in 0..1_000 {
        let origin = network((part % u32::from(networks)) as u8);
        let _ = offer(index, origin, (part, part), u64::from(1_000 - part));
    }
}

/// Whether a part is found.
fn has_part(index: &Index, part: u32) -> bool {
    let found = [part * 500, part * 500 + 250, part * 500 + 499]
        .map(|number| !index.peers(&key(number), 1).is_empty());
    assert!(found == [true; 3] || found == [false; 3], "a group ends as a whole");
    found == [true; 3]
}

#[test]
fn for_an_import_the_heaviest_strangers_make_room_and_what_lapses_first_goes_first() {
    let (index, empty) = index_of(4 * MIB);
    let (small, smaller) = (network(98), network(99));
    assert!(offer(&index, small, (1_100, 1_100), 2).is_ok());
    flood_from_many(&index, 20);
    let flooded: Vec<_> = (0..1_000).filter(|part| has_part(&index, *part)).collect();
    assert!(offer(&index, smaller, (1_101, 1_101), 2).is_ok());
    // Two thirds of the memory.
    let imported = 1_200..1_400;
    for part in imported.clone() {
        index.make_room(1);
        assert!(offer(&index, Origin::OPERATOR, (part, part), 9_000).is_ok(), "{part}");
        let bytes = index.stats().bytes;
        assert!(bytes <= empty + 4 * MIB, "{bytes}");
    }
    assert!(imported.clone().all(|part| has_part(&index, part)));
    assert!(has_part(&index, 1_100) && has_part(&index, 1_101), "the light ones stay");
    let evicted = index.sweep(1).evicted;
    let (left, gone): (Vec<u32>, Vec<u32>) =
        flooded.iter().partition(|part| has_part(&index, **part));
    assert_eq!(evicted, gone.len() as u64);
    assert!(
        !left.is_empty() && gone.len() > flooded.len() / 2,
        "{} of {}",
        gone.len(),
        flooded.len()
    );
    for of in 0..20 {
        // The later part lapses first.
        let last_left = left.iter().filter(|part| **part % 20 == of).max();
        let first_gone = gone.iter().filter(|part| **part % 20 == of).min();
        assert!(last_left < first_gone, "network {of}: {last_left:?} is left, {first_gone:?} gone");
    }
    // Until nothing of theirs is left, and then it is full; what the operator has stays.
    let mut more = 1_400..2_000;
    let is_full = more.any(|part| {
        index.make_room(1);
        offer(&index, Origin::OPERATOR, (part, part), 9_000).is_err()
    });
    assert!(is_full && index.stats().bytes <= empty + 4 * MIB);
    assert!(imported.clone().all(|part| has_part(&index, part)));
    assert!(!has_part(&index, 1_100) && !flooded.iter().any(|part| has_part(&index, *part)));
}

#[test]
fn a_light_newcomer_gets_in_whatever_the_others_hold_and_the_heaviest_make_room() {
    let (index, empty) = index_of(4 * MIB);
    flood_from_many(&index, 60);
    for number in 100..115 {
        let part = 2_000 + u32::from(number);
        assert!(offer(&index, network(number), (part, part), 2).is_ok(), "{number}");
        index.sweep_all(1);
        // Those that flood go on, of what lapses first.
        for part in 0..60 {
            let _ = offer(&index, network((part % 60) as u8), (3_000 + part, 3_000 + part), 900);
        }
        assert!(index.stats().bytes <= empty + 4 * MIB);
    }
    assert!((100..110).all(|number| has_part(&index, 2_000 + number)), "they stay");
    while index.sweep_all(1).evicted > 0 {}
    assert!(index.stats().bytes <= (empty + 4 * MIB) / 8 * 7);
}

#[test]
fn what_splits_into_many_groups_by_refreshing_is_bounded_and_evicted_first() {
    let (index, empty) = index_of(2 * MIB);
    assert!(flood(&index, network(1), 0) > 0);
    assert!(offer(&index, network(2), (1_100, 1_100), 5_000).is_ok());
    let mut refused = 0;
    for key in 0..10_000 {
        let expires_at_ms = Some(1_000 + u64::from(key));
        let spec = GroupSpec { origin: network(1), expires_at_ms, ..spec(key / 500, b"", &[TCP]) };
        let group = index.intern(&spec, 1).unwrap();
        match index.plan(&group, keys(key..key + 1), 1) {
            Ok(plan) => drop(index.link_all(&group, &plan.to_link, 1).unwrap()),
            Err(_) => refused += 1,
        }
        assert!(index.stats().bytes <= empty + 2 * MIB + 8_192, "{key}");
    }
    assert!(refused > 0);
    while index.sweep_all(1).evicted > 0 {}
    assert!(index.stats().bytes <= (empty + 2 * MIB) / 8 * 7);
    assert!(has_part(&index, 1_100));
}

/// What strangers hold and what of it is dying, and the memory that the books take.
fn strangers(index: &Index) -> (u64, u64) {
    index.groups.strangers_keys()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn the_books_balance_whatever_is_announced_removed_and_evicted(
        steps in prop::collection::vec((0u8..6, 0u32..12, 0u32..4, 1u64..9), 1..100),
    ) {
        let (index, empty) = index_of(MIB / 8);
        for (step, of, part, until) in steps {
            match step {
                0 => drop(index.remove(&peer(of), None, 1)),
                1 => drop(index.sweep(1)),
                2 => index.make_room(1),
                3 => drop(offer(&index, Origin::OPERATOR, (of, part), until + 1)),
                _ => drop(offer(&index, network(of as u8 / 3), (of, part), until + 1)),
            }
            prop_assert!(index.stats().bytes <= empty + MIB / 8 + 3 * 500 * 28);
        }
        index.sweep_all(1);
        prop_assert_eq!(strangers(&index).1, 0, "what is dying is freed");
        index.sweep_all(100);
        prop_assert_eq!(strangers(&index), (0, 0), "all has lapsed");
        prop_assert_eq!((index.stats().entries, index.stats().groups), (0, 0));
    }
}
