//! Who is served when more match than fit, and who is kept when a network has too many.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SECOND_MS: UnixMs = 1_000;

fn network(number: u8) -> Origin {
    Origin::of_client([192, 0, number, 1].into())
}

fn from(origin: Origin, of: u32, addrs: &[&str]) -> GroupSpec {
    GroupSpec { origin, ..spec(of, b"", addrs) }
}

fn limited(key_network_max: usize) -> Index {
    Index::with_limits(IndexLimits { key_network_max, ..IndexLimits::default() })
}

fn announce(index: &Index, spec: &GroupSpec, now_ms: UnixMs) -> Announced {
    index.announce(&keys(0..1), spec, now_ms).unwrap()
}

/// Slots that lookups of a hot key have visited.
fn slots_visited(index: &Index, of: &ContentKey) -> u64 {
    let fingerprint = index.fingerprinter.of(of);
    let shard = index.shard(fingerprint).read();
    let Some(Reference::Set(id)) = shard.table.get(fingerprint).map(Reference::read) else {
        panic!("the key has few groups");
    };
    let set = index.sets.get(id);
    let Some(KeySet::Hot(hot_key)) = set.as_deref() else { panic!("the key has few groups") };
    hot_key.slots_visited()
}

#[test]
fn a_flood_of_cheap_peers_hides_nobody_and_costs_neither_memory_nor_time() {
    const CAP: usize = 100;
    for (key_network_max, flood) in [(1_000, 20_000), (usize::MAX, 3_000)] {
        let index = limited(key_network_max);
        let (operators, older, elsewhere) = (0, 1, 2);
        announce(&index, &from(Origin::OPERATOR, operators, &[]), SECOND_MS);
        announce(&index, &from(network(1), older, &[TCP]), SECOND_MS);
        announce(&index, &from(network(2), elsewhere, &[TCP]), 3 * SECOND_MS);
        let before = index.stats().bytes;
        for cheap in 0..flood {
            announce(&index, &from(network(1), 10 + cheap, &[TCP]), 2 * SECOND_MS);
        }
        if key_network_max == 1_000 {
            let stats = index.stats();
            assert_eq!((stats.entries, stats.groups), (1_002, 1_002));
            assert!(stats.bytes - before < 3 << 20, "{} bytes", stats.bytes - before);
        }
        for _ in 0..100 {
            let visited = slots_visited(&index, &key(0));
            let answer = index.find(&key(0), &Filter::default(), cap(CAP), 4 * SECOND_MS);
            let visited = slots_visited(&index, &key(0)) - visited;
            // One more says that there is more.
            assert_eq!((answer.records.len(), visited), (CAP, CAP as u64 + 1));
            let peers = peers_of(&answer);
            assert!([operators, older, elsewhere].iter().all(|of| peers.contains(&peer(*of))));
        }
    }
}

#[test]
fn of_a_network_with_too_many_the_newest_are_not_kept_in_whatever_order_they_come() {
    let standings: Vec<u64> = (0..200).collect();
    for order in [standings.clone(), standings.iter().rev().copied().collect()] {
        let index = limited(50);
        for since_s in order {
            let spec = from(network(1), since_s as u32, &[TCP]);
            announce(&index, &spec, (1 + since_s) * SECOND_MS);
        }
        for of in 0..60 {
            announce(&index, &from(Origin::OPERATOR, 1_000 + of, &[]), SECOND_MS);
        }
        let expected: BTreeSet<_> = (0..50).chain(1_000..1_060).map(peer).collect();
        assert_eq!(index.peers(&key(0), 1_000 * SECOND_MS), expected);
        // What is gone leaves nothing behind.
        index.sweep_all(1_000 * SECOND_MS);
        assert_eq!((index.stats().entries, index.stats().groups), (110, 110));
    }
}

#[test]
fn whoever_announces_again_before_it_lapses_keeps_its_standing() {
    let index = Index::new();
    let until = |origin, expires_at_ms: u64| GroupSpec {
        expires_at_ms: Some(expires_at_ms * SECOND_MS),
        ..from(origin, 1, &[TCP])
    };
    let since = |spec: &GroupSpec, at_s: u64, number: u32| {
        let group = index.intern(spec, at_s * SECOND_MS).unwrap();
        index.link_all(&group, &keys(number..number + 1), at_s * SECOND_MS).unwrap();
        group.since_ms() / SECOND_MS
    };
    assert_eq!(since(&until(network(1), 10), 1, 0), 1);
    assert_eq!(since(&until(network(1), 20), 9, 1), 1, "whatever the key");
    assert_eq!(since(&until(network(2), 20), 9, 0), 9, "from elsewhere it is new");
    assert_eq!(since(&until(network(1), 40), 20, 0), 20, "it had lapsed, if unswept");
    index.remove(&peer(1), None, 30 * SECOND_MS);
    assert_eq!(since(&until(network(1), 60), 31, 0), 31);
    index.sweep_all(100 * SECOND_MS);
    assert_eq!(since(&until(network(1), 120), 100, 0), 100);
}

#[test]
fn what_the_operator_brought_in_stands_beside_what_the_provider_announces_itself() {
    let index = Index::new();
    let own = GroupSpec { expires_at_ms: Some(100), ..from(network(1), 1, &[TCP]) };
    let operators = GroupSpec { expires_at_ms: Some(50), ..from(Origin::OPERATOR, 1, &[QUIC]) };
    announce(&index, &operators, 1);
    assert_eq!(announce(&index, &own, 2), Announced { added: 1, refreshed: 0 });
    for cheap in 10..100 {
        announce(&index, &from(network(2), cheap, &[TCP]), 1);
    }
    let found = |now_ms| {
        let answer = index.find(&key(0), &Filter::default(), cap(1), now_ms);
        answer.records.iter().map(|(record, _)| record.json().to_owned()).next().unwrap()
    };
    for _ in 0..9 {
        assert_eq!(found(10), record(1, &[QUIC, TCP]).json(), "both lists of addresses");
    }
    index.sweep_all(60);
    let served = (0..9).filter(|_| found(60) == record(1, &[TCP]).json()).count();
    assert!((4..=5).contains(&served), "on its own it is one of two networks: {served}");
}

/// A provider of the property test: its network (0 is the operator), and when it came.
type Came = (u8, u64);

fn check_answer(providers: &[Came], answer: &Found, records_max: usize) {
    let served = peers_of(answer);
    assert_eq!(served.len(), records_max.min(providers.len()));
    let mut networks = BTreeMap::<u8, Vec<(u64, bool)>>::new();
    for (of, (network, since_s)) in (0..).zip(providers) {
        networks.entry(*network).or_default().push((*since_s, served.contains(&peer(of))));
    }
    let count = |of: &[(u64, bool)]| of.iter().filter(|(_, is_served)| *is_served).count();
    let operators = networks.remove(&0).unwrap_or_default();
    assert_eq!(count(&operators), operators.len().min(records_max), "the operator's come first");
    let most = networks.values().map(|of| count(of)).max().unwrap_or_default();
    for (network, of) in &networks {
        let fair = count(of) == of.len() || count(of) + 1 >= most;
        assert!(fair, "network {network} has {} where another has {most}", count(of));
        let last = of.iter().filter(|(_, is_served)| *is_served).map(|(since_s, _)| since_s).max();
        let mut left_out =
            of.iter().filter(|(_, is_served)| !is_served).map(|(since_s, _)| since_s);
        assert!(left_out.all(|since_s| last.is_none_or(|last| since_s >= last)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// With a few groups and with many.
    #[test]
    fn an_answer_has_the_operators_then_networks_in_turn_and_of_each_the_longest_standing(
        providers in prop::collection::vec((0u8..6, 1u64..6), 1..90),
        records_max in 1usize..40,
    ) {
        let index = Index::new();
        for (of, (number, since_s)) in (0..).zip(&providers) {
            let origin = if *number == 0 { Origin::OPERATOR } else { network(*number) };
            announce(&index, &from(origin, of, &[TCP]), since_s * SECOND_MS);
        }
        for _ in 0..12 {
            let now_ms = 10 * SECOND_MS;
            let answer = index.find(&key(0), &Filter::default(), cap(records_max), now_ms);
            check_answer(&providers, &answer, records_max);
        }
        // Whatever was asked before, all that match come in one order.
        let all = in_order(&index.all(&key(0), 10 * SECOND_MS));
        index.find(&key(0), &Filter::default(), cap(records_max), 10 * SECOND_MS);
        prop_assert_eq!(in_order(&index.all(&key(0), 10 * SECOND_MS)), all);
    }

    #[test]
    fn equals_are_all_served_in_turn(
        count in 1u32..90,
        records_max in 1usize..40,
        origin in prop_oneof![Just(Origin::OPERATOR), Just(Origin::UNKNOWN), Just(network(1))],
    ) {
        let index = Index::new();
        for of in 0..count {
            announce(&index, &from(origin, of, &[TCP]), SECOND_MS);
        }
        let answers = (count as usize).div_ceil(records_max);
        let served = (0..answers).flat_map(|_| {
            peers_of(&index.find(&key(0), &Filter::default(), cap(records_max), 2 * SECOND_MS))
        });
        prop_assert_eq!(served.collect::<BTreeSet<_>>().len(), count as usize);
    }

    #[test]
    fn networks_are_all_served_in_turn(count in 1u8..90, records_max in 1usize..40) {
        let index = Index::new();
        for number in 0..count {
            let spec = from(network(number), u32::from(number), &[TCP]);
            announce(&index, &spec, u64::from(number) * SECOND_MS);
        }
        let answers = usize::from(count).div_ceil(records_max);
        let served = (0..answers).flat_map(|_| {
            peers_of(&index.find(&key(0), &Filter::default(), cap(records_max), 100 * SECOND_MS))
        });
        prop_assert_eq!(served.collect::<BTreeSet<_>>().len(), usize::from(count));
    }
}
