//! The table against a linear scan, and each rule on its own.

use proptest::prelude::*;

use super::*;
use crate::dispatch::LookupAddress;
use crate::types::ContentKey;

const NOW_MS: UnixMs = 100;

fn entry(prefix: &str, next_hop: &str, origin: RouteOrigin) -> RouteEntry {
    let prefix = RoutePrefix::parse(prefix).unwrap();
    RouteEntry {
        auth: None,
        prefix,
        next_hop: TargetId::parse(next_hop).unwrap(),
        origin,
        path: Vec::new(),
        expires_at_ms: None,
    }
}

fn dynamic(prefix: &str, next_hop: &str, routers: usize, expires_at_ms: UnixMs) -> RouteEntry {
    RouteEntry {
        path: vec!["router".to_owned(); routers],
        expires_at_ms: Some(expires_at_ms),
        ..entry(prefix, next_hop, RouteOrigin::Dynamic)
    }
}

fn table(entries: &[RouteEntry]) -> RoutingTable<usize> {
    RoutingTable::new(entries.iter().cloned().zip(0..))
}

/// The target that answers an address, or `-`.
fn answerer<'a>(table: &'a RoutingTable<usize>, address: &str, now_ms: UnixMs) -> &'a str {
    table.find(address.split('.'), now_ms).map_or("-", |(entry, _)| entry.next_hop.as_str())
}

#[test]
fn the_longest_prefix_of_whole_segments_wins() {
    let table = table(&[
        entry("g", "all", RouteOrigin::Default),
        entry("g.foo", "foo", RouteOrigin::Static),
        entry("g.foo.a.b.c.d", "deep", RouteOrigin::Static),
        entry("g.foo.a.b.x", "other", RouteOrigin::Static),
        entry("g.foo-bar", "dash", RouteOrigin::Static),
        entry("private", "private", RouteOrigin::Static),
    ]);
    for (address, expected) in [
        ("g", "all"),
        ("g.bar", "all"),
        ("g.fool", "all"),
        ("g.fo", "all"),
        ("g.foo", "foo"),
        ("g.foo.a", "foo"),
        ("g.foo.a.b.c", "foo"),
        ("g.foo.a.b.c.d", "deep"),
        ("g.foo.a.b.c.d.e.f", "deep"),
        ("g.foo.a.b.c.dd", "foo"),
        ("g.foo.a.b.x.y", "other"),
        ("g.foo-bar.a", "dash"),
        ("g.FOO", "all"),
        ("private.a", "private"),
        ("test", "-"),
        ("", "-"),
    ] {
        assert_eq!(answerer(&table, address, NOW_MS), expected, "{address}");
    }
}

#[test]
fn a_table_without_entries_answers_nothing() {
    let table = table(&[]);
    assert!(table.find(["g"].into_iter(), 0).is_none());
    assert!(table.matching(["g"].into_iter(), 0).is_empty());
    assert!(table.winners(0).is_empty());
}

#[test]
fn a_static_route_wins_at_its_prefix_and_without_it_the_best_live_dynamic_does() {
    let mut entries = vec![
        dynamic("g.a", "far", 3, 200),
        dynamic("g.a", "beta", 2, 200),
        dynamic("g.a", "alpha", 2, 200),
        dynamic("g.a", "near", 1, 150),
        entry("g.a", "set", RouteOrigin::Static),
        entry("g", "default", RouteOrigin::Default),
        dynamic("g", "everything", 1, 200),
    ];
    let before = table(&entries);
    assert_eq!(answerer(&before, "g.a.b", 100), "set");
    entries.retain(|entry| entry.origin != RouteOrigin::Static);
    let after = table(&entries);
    // A route expires exactly at its end, and the next one takes over.
    for (now_ms, expected) in
        [(100, "near"), (149, "near"), (150, "alpha"), (199, "alpha"), (200, "default")]
    {
        assert_eq!(answerer(&after, "g.a.b", now_ms), expected, "{now_ms}");
    }
}

#[test]
fn what_an_entry_is_handed_out_with_is_its_own() {
    let entries = [entry("g.b", "b", RouteOrigin::Static), entry("g.a", "a", RouteOrigin::Static)];
    let table = RoutingTable::new(entries.into_iter().zip(["of b", "of a"]));
    let target = |address: &str| table.find(address.split('.'), 0).map(|(_, target)| *target);
    assert_eq!((target("g.a.x"), target("g.b")), (Some("of a"), Some("of b")));
}

#[test]
fn winners_come_by_prefix_and_matching_ones_longest_first() {
    let table = table(&[
        entry("g.a.b", "1", RouteOrigin::Static),
        entry("g.a-b", "2", RouteOrigin::Static),
        entry("g.a", "3", RouteOrigin::Static),
        dynamic("g.a", "4", 1, 200),
        dynamic("g.c", "5", 1, 100),
        entry("g", "6", RouteOrigin::Default),
    ]);
    let names = |entries: Vec<&RouteEntry>| {
        entries.iter().map(|it| it.next_hop.as_str().to_owned()).collect::<Vec<_>>()
    };
    // In the order of texts, where a dash sorts before a dot.
    assert_eq!(names(table.winners(NOW_MS)), ["6", "3", "2", "1"]);
    let matching = table.matching("g.a.b.c".split('.'), NOW_MS);
    assert_eq!(names(matching.into_iter().map(|(entry, _)| entry).collect()), ["1", "3", "6"]);
}

#[test]
fn a_lookup_takes_the_route_of_its_part_of_the_key_space() {
    let table = table(&[
        entry("g", "default", RouteOrigin::Default),
        entry("g.ipns", "names", RouteOrigin::Static),
        entry("g.providers.sha2-256.c", "sixteenth", RouteOrigin::Static),
        entry("g.providers.sha2-256.c.3.c.4.7.3.3.e", "few", RouteOrigin::Static),
    ]);
    let cid = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi";
    let key = ContentKey::from_cid_text(cid).unwrap();
    let found = table.find(LookupAddress::of_content(&key).segments(), NOW_MS);
    assert_eq!(found.unwrap().0.next_hop.as_str(), "few");
    let found = table.find(LookupAddress::of_peer_multihash(&key).segments(), NOW_MS);
    assert_eq!(found.unwrap().0.next_hop.as_str(), "default");
}

#[test]
fn every_digit_differs_from_every_other() {
    let digits = "0123456789abcdef";
    let text = |digit: char| format!("g.peers.{digit}");
    let entries = digits.chars().filter(|digit| !"07c".contains(*digit));
    let entries: Vec<_> = entries
        .map(|digit| entry(&text(digit), &format!("x{digit}"), RouteOrigin::Static))
        .chain([entry("g.peers.A", "upper", RouteOrigin::Static)])
        .collect();
    let table = table(&entries);
    for digit in digits.chars() {
        let expected = if "07c".contains(digit) { "-".to_owned() } else { format!("x{digit}") };
        assert_eq!(answerer(&table, &text(digit), 0), expected);
    }
    assert_eq!(answerer(&table, "g.peers.A", 0), "upper");
    for other in ["g", "/", ":", "`", "F", "00", "-"] {
        assert_eq!(answerer(&table, &format!("g.peers.{other}"), 0), "-", "{other}");
    }
}

#[test]
fn a_route_costs_two_nodes_however_long_it_is() {
    let digest = |first: &str| format!("g.providers.sha2-256.{first}{}", ".0".repeat(63));
    let entries =
        ["a", "b", "c"].map(|first| entry(&digest(first), "discard", RouteOrigin::Static));
    // The root, the shared prefix, and one for each.
    assert_eq!(table(&entries).nodes.len(), 5);
}

fn any_prefix() -> impl Strategy<Value = String> {
    // Hex digits and others, some with shared beginnings, which sort differently as parts of texts.
    let segment = prop_oneof!["0", "a", "a-", "0a", "A"];
    proptest::collection::vec(segment, 0..6)
        .prop_map(|segments| segments.iter().fold("g".to_owned(), |text, it| text + "." + it))
}

fn any_entry() -> impl Strategy<Value = RouteEntry> {
    let origin = prop_oneof![
        Just(RouteOrigin::Static),
        Just(RouteOrigin::Default),
        Just(RouteOrigin::Dynamic),
        Just(RouteOrigin::Dynamic)
    ];
    let expiry = proptest::option::of(0..200_u64);
    (any_prefix(), "[a-d]", origin, 0..4_usize, expiry).prop_map(
        |(prefix, next_hop, origin, routers, expires_at_ms)| RouteEntry {
            expires_at_ms,
            ..RouteEntry { origin, ..dynamic(&prefix, &next_hop, routers, 0) }
        },
    )
}

/// All live entries that match, best first, by a linear scan.
fn scan<'a>(entries: &'a [RouteEntry], address: &str, now_ms: UnixMs) -> Vec<&'a RouteEntry> {
    let matches = |prefix: &str| format!("{address}.").starts_with(&format!("{prefix}."));
    let is_live = |entry: &RouteEntry| entry.expires_at_ms.is_none_or(|end_ms| now_ms < end_ms);
    let mut found: Vec<&RouteEntry> =
        entries.iter().filter(|it| matches(it.prefix.as_str()) && is_live(it)).collect();
    found.sort_by_key(|it| {
        let length = std::cmp::Reverse(it.prefix.as_str().len());
        (length, it.origin, it.path.len(), it.next_hop.clone())
    });
    found
}

proptest! {
    #[test]
    fn the_winner_is_that_of_a_scan_over_all_entries(
        entries in proptest::collection::vec(any_entry(), 0..40),
        addresses in proptest::collection::vec(any_prefix(), 1..20),
        times in proptest::collection::vec(0..210_u64, 1..5),
    ) {
        let table = table(&entries);
        for (address, now_ms) in addresses.iter().flat_map(|a| times.iter().map(move |t| (a, *t))) {
            let mut expected = scan(&entries, address, now_ms);
            let found = table.find(address.split('.'), now_ms).map(|(entry, _)| entry);
            prop_assert_eq!(found, expected.first().copied());
            prop_assert!(found.is_none_or(|entry| entry.is_live(now_ms)));
            expected.dedup_by(|later, first| later.prefix == first.prefix);
            let matching = table.matching(address.split('.'), now_ms);
            let matching: Vec<&RouteEntry> = matching.into_iter().map(|(entry, _)| entry).collect();
            prop_assert_eq!(matching, expected);
        }
    }

    #[test]
    fn every_prefix_with_a_live_entry_has_one_winner_and_it_wins_there(
        entries in proptest::collection::vec(any_entry(), 0..40),
        now_ms in 0..210_u64,
    ) {
        let table = table(&entries);
        let winners = table.winners(now_ms);
        prop_assert!(winners.windows(2).all(|pair| pair[0].prefix < pair[1].prefix));
        let live = entries.iter().filter(|entry| entry.is_live(now_ms));
        let prefixes: std::collections::BTreeSet<&RoutePrefix> = live.map(|it| &it.prefix).collect();
        prop_assert_eq!(winners.len(), prefixes.len());
        for winner in winners {
            let found = table.find(winner.prefix.segments(), now_ms);
            prop_assert_eq!(found.map(|(entry, _)| entry), Some(winner));
        }
    }
}
