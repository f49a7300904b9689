//! Any bytes as the messages of a peer router: no panic; what is read is legal and is written so that it
//! reads as the same. And any updates, in any order and at any time: what is kept of them is what may be.
#![no_main]

use std::sync::LazyLock;

use fingerpost::dispatch::{
    ReceivedRoutes, ImportPolicy, NewRoute, PATH_ROUTERS_MAX, RouteAuth, RouteControl, RouteUpdate,
    RoutingTableId, UPDATE_ROUTES_MAX,
};
use fingerpost::types::{TargetId, RoutePrefix};
use libfuzzer_sys::fuzz_target;

const AUTH: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const ROUTES_MAX: usize = 4;
const START_MS: u64 = 1_000_000_000_000;
const HOLD_DOWN_MS_MAX: u64 = 5 * 60 * 1_000;

/// Inside and outside of what the peer may advertise, whole segments of it or not.
const PREFIXES: [&str; 10] =
    ["g.a", "g.a.b", "g.a.c", "g.a.d.e", "g.b", "g.ab", "g.b.0", "g", "private.a", "g.a.ab"];

static RULES: LazyLock<ImportPolicy> = LazyLock::new(|| ImportPolicy {
    us: target("us"),
    accept: vec![prefix("g.a"), prefix("g.b")],
    routes_max: ROUTES_MAX,
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(control) = RouteControl::from_json(bytes) {
        let again = RouteControl::from_json(control.to_json().as_bytes());
        assert_eq!(again.expect("what we wrote"), control);
    }
    read(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        // Lists of any content in an update that is sound otherwise.
        let id = "00010203-0405-4607-8809-0a0b0c0d0e0f";
        read(
            format!(
                r#"{{"routingTableId":"{id}","currentEpochIndex":9,"fromEpochIndex":0,"toEpochIndex":5,
                "holdDownTime":1,"speaker":"a","newRoutes":{text},"withdrawnRoutes":[]}}"#
            )
            .as_bytes(),
        );
    }
    receive(bytes);
});

fn read(json: &[u8]) {
    let Ok(update) = RouteUpdate::from_json(json) else { return };
    assert!(update.new_routes.len() <= UPDATE_ROUTES_MAX);
    assert!(update.from_epoch <= update.to_epoch && update.to_epoch <= update.current_epoch);
    let again = RouteUpdate::from_json(update.to_json().as_bytes()).expect("what we wrote");
    assert_eq!(again, update);
    let mut received = ReceivedRoutes::new(RULES.clone());
    if received.apply(update, START_MS).is_ok() {
        check(&received, START_MS);
    }
}

/// Each update is made of a few bytes.
fn receive(bytes: &[u8]) {
    let mut received = ReceivedRoutes::new(RULES.clone());
    let mut now_ms = START_MS;
    let mut bytes = bytes.iter().copied();
    while let Some(head) = bytes.next() {
        let mut next = || bytes.next().unwrap_or_default();
        now_ms += u64::from(next()) * 400;
        let (from, count) = (u64::from(head >> 4), u64::from(next() % 4));
        let withdrawn = (0..next() % 3).map(|_| any_prefix(next())).collect();
        let new_routes = (0..next() % 7).map(|_| route(next(), next())).collect();
        let update = RouteUpdate {
            table_id: RoutingTableId::new([head % 3; 16]),
            current_epoch: from + count,
            from_epoch: from,
            to_epoch: from + count,
            hold_down_ms: u64::from(next()) * 2_000,
            speaker: target("peer"),
            new_routes,
            withdrawn_routes: withdrawn,
        };
        received.expire(now_ms);
        let before = kept(&received, now_ms);
        if let Err(known) = received.apply(update.clone(), now_ms) {
            assert_eq!(kept(&received, now_ms), before);
            // The sender goes on from there.
            assert_eq!(known.table_id, update.table_id);
            let from = known.epoch;
            let update = RouteUpdate { from_epoch: from, ..update };
            assert!(received.apply(update, now_ms).is_ok());
        }
        check(&received, now_ms);
    }
}

fn check(received: &ReceivedRoutes, now_ms: u64) {
    let (routes, until_ms) = received.routes(now_ms);
    let mut count = 0;
    for (prefix, route) in routes {
        count += 1;
        assert!(RULES.accept.iter().any(|part| part.covers(prefix)), "{prefix}");
        assert!(!route.path.contains(&RULES.us), "{prefix}");
        assert!((1..=PATH_ROUTERS_MAX).contains(&route.path.len()), "{prefix}");
    }
    assert!(count <= ROUTES_MAX);
    assert!((now_ms..=now_ms + HOLD_DOWN_MS_MAX).contains(&until_ms));
    assert_eq!(received.routes(until_ms).0.count(), 0);
}

/// The routes that count, as text.
fn kept(received: &ReceivedRoutes, now_ms: u64) -> Vec<String> {
    received.routes(now_ms).0.map(|(prefix, route)| format!("{prefix} {route:?}")).collect()
}

fn route(at: u8, through: u8) -> NewRoute {
    let names = ["peer", "far"];
    let path = (0..=through % 18).map(|hop| {
        let is_us = hop == through % 11 && through > 128;
        target(if is_us { "us" } else { names[usize::from(hop % 2)] })
    });
    let auth = RouteAuth::from_base64(AUTH).expect("32 bytes");
    NewRoute { prefix: any_prefix(at), path: path.collect(), auth }
}

fn any_prefix(at: u8) -> RoutePrefix {
    prefix(PREFIXES[usize::from(at) % PREFIXES.len()])
}

fn prefix(text: &str) -> RoutePrefix {
    RoutePrefix::parse(text).expect("a prefix")
}

fn target(text: &str) -> TargetId {
    TargetId::parse(text).expect("a name")
}
