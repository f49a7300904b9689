//! Any lines as an address and the routes of a table: no panic; what is read prints as a text that reads
//! as the same; and the table finds what a look at each route in turn finds.
#![no_main]

use std::cmp::Reverse;

use fingerpost::dispatch::{Address, LookupAddress, RouteOrigin, RouteAuth, RouteEntry, RoutingTable};
use fingerpost::types::{ADDRESS_CHARS_MAX, TargetId, ContentKey, RoutePrefix};
use libfuzzer_sys::fuzz_target;

const NOW_MS: u64 = 1_000;
const ROUTES_MAX: usize = 12;

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let first = lines.next().unwrap_or_default();
    if let Ok(target) = TargetId::parse(first) {
        assert_eq!(TargetId::parse(target.as_str()), Ok(target));
    }
    if let Ok(prefix) = RoutePrefix::parse(first) {
        assert_eq!(RoutePrefix::parse(prefix.as_str()).as_ref(), Ok(&prefix));
        assert!(prefix.covers(&prefix));
    }
    let lines: Vec<&str> = lines.take(ROUTES_MAX).collect();
    check_lookup(first, &lines);
    let routes: Vec<RouteEntry> = lines.iter().filter_map(|line| route(line)).collect();
    let Ok(address) = Address::parse(first) else { return };
    assert!(address.as_str().len() <= ADDRESS_CHARS_MAX);
    let again = Address::parse(address.as_str()).expect("an address is one");
    assert_eq!(again.as_str(), address.as_str());
    if let Some(multihash) = address.multihash() {
        let lookups =
            [LookupAddress::of_content(multihash), LookupAddress::of_peer_multihash(multihash)];
        let is_name = address.as_str().starts_with("g.ipns.");
        assert!(is_name || lookups.iter().any(|it| it.to_string() == address.as_str()));
    }
    check(&routes, &address);
});

/// The lookup of a text, which is its own digest, and routes to the parts of the key space that it is in
/// and to others beside them.
fn check_lookup(text: &str, lines: &[&str]) {
    let digest = &text.as_bytes()[..text.len().min(127)];
    let multihash = [&[0, digest.len() as u8], digest].concat();
    let key = ContentKey::from_multihash(&multihash).expect("an identity multihash");
    let address = Address::parse(&LookupAddress::of_content(&key).to_string());
    let address = address.expect("the address of a lookup is one");
    let routes = lines.iter().filter_map(|line| {
        let segments_max = usize::from(*line.as_bytes().first()?) % 64;
        let part: Vec<&str> = address.segments().take(segments_max).collect();
        let rest = line.get(2..).unwrap_or_default();
        let kind = line.get(1..2).unwrap_or_default();
        route(&format!("{kind}{}{rest}", part.join(".")))
    });
    let routes: Vec<RouteEntry> = routes.collect();
    check(&routes, &address);
}

/// The letter before a prefix says what route it is; without one it is static.
fn route(line: &str) -> Option<RouteEntry> {
    let (kind, text) = line.split_at_checked(1)?;
    let (origin, expires_at_ms, text) = match kind {
        "D" => (RouteOrigin::Dynamic, Some(NOW_MS + 1), text),
        "O" => (RouteOrigin::Dynamic, Some(NOW_MS), text),
        "F" => (RouteOrigin::Default, None, text),
        _ => (RouteOrigin::Static, None, line),
    };
    let prefix = RoutePrefix::parse(text).ok()?;
    let auth = RouteAuth::of(b"secret", &prefix);
    let next_hop = TargetId::of_rule(line.len() as u64 % 3);
    let path = vec!["far".to_owned(); usize::from(origin == RouteOrigin::Dynamic)];
    Some(RouteEntry { prefix, next_hop, origin, path, expires_at_ms, auth: Some(auth) })
}

fn check(routes: &[RouteEntry], address: &Address) {
    let table = RoutingTable::new(routes.iter().cloned().zip(0_usize..));
    let whole = RoutePrefix::parse(address.as_str()).expect("an address is a prefix");
    let matching = routes.iter().filter(|route| {
        route.expires_at_ms.is_none_or(|end| end > NOW_MS) && route.prefix.covers(&whole)
    });
    let expected = matching.min_by_key(|route| {
        let segments = route.prefix.segments().count();
        (Reverse(segments), route.origin, route.path.len(), route.next_hop.clone())
    });
    let found = table.find(address.segments(), NOW_MS);
    assert_eq!(found.map(|(entry, _)| entry), expected);
    if let Some((entry, place)) = found {
        assert_eq!(routes.get(*place), Some(entry));
    }
    let matching = table.matching(address.segments(), NOW_MS);
    assert_eq!(matching.first().map(|(entry, _)| *entry), expected);
    assert!(table.winners(NOW_MS).iter().all(|winner| {
        matching.iter().any(|(entry, _)| entry == winner) == winner.prefix.covers(&whole)
    }));
}
