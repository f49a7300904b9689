//! What is let in when memory is scarce, and what strangers may hold.

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
    assert_eq!(refused, Err(IndexError::Full { what: "memory" }));
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
    assert!(index.stats().bytes >= empty + 4 * MIB);
    assert!(index.stats().bytes < empty + 5 * MIB);
    assert!(offer(&index, network(100), (2_001, 1_501), 100).is_err());
    assert_eq!(offer(&index, network(0), (0, 0), 200).unwrap().refreshed, 500);
}

#[test]
fn quotas_of_peers_and_networks_are_counted_down_as_keys_lapse_or_are_removed() {
    let limits =
        IndexLimits { network_keys_max: 1_100, peer_keys_max: 600, ..IndexLimits::default() };
    let index = Index::with_limits(limits);
    let full = |what| Err(IndexError::Full { what });
    assert!(offer(&index, network(1), (1, 0), 100).is_ok());
    assert_eq!(offer(&index, network(1), (1, 1), 100), full("keys of this peer"));
    assert_eq!(offer(&index, network(2), (1, 1), 100), full("keys of this peer"), "from anywhere");
    assert!(offer(&index, network(1), (2, 2), 200).is_ok());
    assert_eq!(offer(&index, network(1), (3, 3), 100), full("keys of this network"));
    assert!(offer(&index, Origin::OPERATOR, (3, 3), 100).is_ok());
    for expires_at_ms in [110, 120, 130] {
        // Refreshed, the keys go from one group to the next.
        assert_eq!(offer(&index, network(1), (1, 0), expires_at_ms).unwrap().refreshed, 500);
    }
    assert_eq!(offer(&index, network(1), (3, 3), 100), full("keys of this network"));
    assert_eq!(index.remove(&peer(2), None, 2).len(), 1);
    assert!(offer(&index, network(1), (4, 4), 200).is_ok());
    assert_eq!(offer(&index, network(1), (5, 5), 200), full("keys of this network"));
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
    assert_eq!(refused, Err(IndexError::Full { what: "keys of this network" }));
    index.remove(&peer(1), None, 2);
    assert!(offer(&index, network(1), (2, 2), 100).is_ok());
}
