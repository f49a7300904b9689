//! An advertiser and a listener: case by case, and with messages lost, duplicated or delayed.

mod model;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::received::AppliedUpdate;
use super::*;
use crate::dispatch::RouteAuth;
use crate::types::{RoutePrefix, TargetId};

const NOW_MS: u64 = 1_000_000;

fn target(name: &str) -> TargetId {
    TargetId::parse(name).unwrap()
}

fn prefix(text: &str) -> RoutePrefix {
    RoutePrefix::parse(text).unwrap()
}

fn path(names: &[&str]) -> Vec<TargetId> {
    names.iter().map(|name| target(name)).collect()
}

fn auth(of: &str) -> RouteAuth {
    RouteAuth::of(b"secret", &prefix(of))
}

fn id(first: u8) -> RoutingTableId {
    let mut bytes = [0; 16];
    bytes[0] = first;
    RoutingTableId::new(bytes)
}

fn new_route(of: &str, names: &[&str]) -> NewRoute {
    NewRoute { prefix: prefix(of), path: path(names), auth: auth(of) }
}

/// An update of the table `id(1)` without routes.
fn heartbeat(from_epoch: u64, to_epoch: u64) -> RouteUpdate {
    RouteUpdate {
        table_id: id(1),
        current_epoch: to_epoch,
        from_epoch,
        to_epoch,
        hold_down_ms: 45_000,
        speaker: target("alpha"),
        new_routes: Vec::new(),
        withdrawn_routes: Vec::new(),
    }
}

fn update(from_epoch: u64, to_epoch: u64, new_routes: &[NewRoute], gone: &[&str]) -> RouteUpdate {
    RouteUpdate {
        new_routes: new_routes.to_vec(),
        withdrawn_routes: gone.iter().map(|text| prefix(text)).collect(),
        ..heartbeat(from_epoch, to_epoch)
    }
}

/// A listener called `us`, for which a peer may advertise everything below `g`.
fn listener(routes_max: usize) -> ReceivedRoutes {
    ReceivedRoutes::new(ImportPolicy { us: target("us"), accept: vec![prefix("g")], routes_max })
}

fn prefixes(received: &ReceivedRoutes, now_ms: u64) -> Vec<String> {
    received.routes(now_ms).0.map(|(prefix, _)| prefix.to_string()).collect()
}

#[test]
fn an_update_that_follows_is_taken_whole() {
    let mut received = listener(10);
    let first = update(0, 2, &[new_route("g.a", &["alpha"]), new_route("g.b", &["alpha"])], &[]);
    assert!(received.apply(first, NOW_MS).unwrap().is_change);
    let second = update(2, 4, &[new_route("g.c", &["alpha", "beta"])], &["g.a"]);
    assert!(received.apply(second, NOW_MS).unwrap().is_change);
    assert_eq!(prefixes(&received, NOW_MS), ["g.b", "g.c"]);
    assert_eq!(received.last_known(NOW_MS), LastKnown { table_id: id(1), epoch: 4 });
    let (mut routes, _) = received.routes(NOW_MS);
    let kept = ReceivedRoute { path: path(&["alpha", "beta"]), auth: auth("g.c") };
    assert_eq!(routes.nth(1), Some((&prefix("g.c"), &kept)));
}

#[test]
fn a_gap_is_refused_with_what_is_known_and_changes_no_route() {
    let mut received = listener(10);
    let gap = update(1, 2, &[new_route("g.a", &["alpha"])], &[]);
    let nothing = LastKnown { table_id: id(1), epoch: 0 };
    assert_eq!(received.apply(gap, NOW_MS), Err(nothing));
    assert_eq!(received.last_known(NOW_MS), LastKnown::NOTHING);
    received.apply(update(0, 3, &[new_route("g.b", &["alpha"])], &[]), NOW_MS).unwrap();
    let known = LastKnown { table_id: id(1), epoch: 3 };
    assert_eq!(received.apply(update(4, 5, &[], &["g.b"]), NOW_MS), Err(known));
    assert_eq!(
        (prefixes(&received, NOW_MS), received.last_known(NOW_MS)),
        (vec!["g.b".into()], known)
    );
}

#[test]
fn a_gap_of_another_table_asks_for_all_of_it_and_the_old_routes_stay_until_then() {
    let mut received = listener(10);
    received.apply(update(0, 4, &[new_route("g.old", &["alpha"])], &[]), NOW_MS).unwrap();
    let of_another = |update| RouteUpdate { table_id: id(2), ..update };
    let gap = of_another(update(2, 3, &[new_route("g.new", &["alpha"])], &[]));
    let its_beginning = LastKnown { table_id: id(2), epoch: 0 };
    assert_eq!(received.apply(gap.clone(), NOW_MS), Err(its_beginning));
    assert_eq!(received.apply(gap, NOW_MS), Err(its_beginning), "however often");
    assert_eq!(prefixes(&received, NOW_MS), ["g.old"]);
    assert_eq!(received.last_known(NOW_MS), LastKnown { table_id: id(1), epoch: 4 });
    let whole = of_another(update(0, 3, &[new_route("g.new", &["alpha"])], &[]));
    received.apply(whole, NOW_MS).unwrap();
    assert_eq!(prefixes(&received, NOW_MS), ["g.new"]);
    assert_eq!(received.last_known(NOW_MS), LastKnown { table_id: id(2), epoch: 3 });
}

#[test]
fn an_old_update_changes_nothing_but_counts_as_a_heartbeat() {
    let mut received = listener(10);
    received.apply(update(0, 3, &[new_route("g.a", &["alpha"])], &[]), NOW_MS).unwrap();
    for old in [update(0, 3, &[], &["g.a"]), update(1, 2, &[], &["g.a"]), heartbeat(3, 3)] {
        assert_eq!(received.apply(old, NOW_MS + 40_000), Ok(AppliedUpdate::default()));
    }
    assert_eq!(prefixes(&received, NOW_MS + 84_999), ["g.a"]);
    assert_eq!(prefixes(&received, NOW_MS + 85_000), [""; 0]);
}

#[test]
fn even_a_refused_update_counts_as_a_heartbeat() {
    let mut received = listener(10);
    received.apply(update(0, 1, &[new_route("g.a", &["alpha"])], &[]), NOW_MS).unwrap();
    received.apply(heartbeat(9, 9), NOW_MS + 40_000).unwrap_err();
    assert_eq!(prefixes(&received, NOW_MS + 84_999), ["g.a"]);
}

#[test]
fn a_new_table_takes_the_place_of_the_old_one_at_once() {
    let mut received = listener(10);
    received.apply(update(0, 9, &[new_route("g.a", &["alpha"])], &[]), NOW_MS).unwrap();
    let other = update(0, 1, &[new_route("g.b", &["alpha"])], &[]);
    received.apply(RouteUpdate { table_id: id(2), ..other }, NOW_MS).unwrap();
    assert_eq!(prefixes(&received, NOW_MS), ["g.b"]);
    let empty = RouteUpdate { table_id: id(3), ..heartbeat(0, 0) };
    assert!(received.apply(empty, NOW_MS).unwrap().is_change);
    assert_eq!(prefixes(&received, NOW_MS), [""; 0]);
}

#[test]
fn a_peer_that_is_silent_is_forgotten_and_begins_afresh() {
    let mut received = listener(10);
    received.apply(update(0, 2, &[new_route("g.a", &["alpha"])], &[]), NOW_MS).unwrap();
    assert!(!received.expire(NOW_MS + 44_999));
    assert!(received.expire(NOW_MS + 45_000));
    assert!(!received.expire(NOW_MS + 45_000), "only once");
    assert_eq!(received.last_known(NOW_MS + 45_000), LastKnown::NOTHING);
    let from_the_beginning = LastKnown { table_id: id(1), epoch: 0 };
    assert_eq!(received.apply(heartbeat(2, 2), NOW_MS + 45_000), Err(from_the_beginning));
}

#[test]
fn the_hold_down_is_granted_within_bounds() {
    for (asked, granted) in [(0, 1_000), (1_500, 1_500), (u64::MAX, 300_000)] {
        let mut received = listener(10);
        let update = update(0, 1, &[new_route("g.a", &["alpha"])], &[]);
        received.apply(RouteUpdate { hold_down_ms: asked, ..update }, NOW_MS).unwrap();
        assert_eq!(received.routes(NOW_MS).1, NOW_MS + granted);
        assert_eq!(received.hold_down_ms(), granted);
    }
}

#[test]
fn what_may_not_be_advertised_is_dropped_and_counted() {
    let accept = vec![prefix("g.providers.sha2-256.c"), prefix("g.ipns")];
    let mut received =
        ReceivedRoutes::new(ImportPolicy { us: target("us"), accept, routes_max: usize::MAX });
    let seventeen = vec!["alpha"; 17];
    let routes = [
        new_route("g.ipns", &["alpha"]),
        new_route("g.providers.sha2-256.c.1", &["alpha"]),
        new_route("g.providers.sha2-256.cc", &["alpha"]),
        new_route("g", &["alpha"]),
        new_route("g.ipns.a", &["alpha", "us", "beta"]),
        new_route("g.ipns.b", &seventeen),
        new_route("g.ipns.c", &seventeen[..16]),
    ];
    let applied = received.apply(update(0, 7, &routes, &[]), NOW_MS).unwrap();
    let dropped = Dropped { not_accepted: 2, loops: 1, too_long: 1, excess: 0 };
    assert_eq!((applied.dropped, dropped.count()), (dropped, 4));
    assert_eq!(prefixes(&received, NOW_MS), ["g.ipns", "g.ipns.c", "g.providers.sha2-256.c.1"]);
}

#[test]
fn a_route_that_comes_to_lead_through_us_is_gone() {
    let mut received = listener(10);
    received.apply(update(0, 1, &[new_route("g.a", &["alpha"])], &[]), NOW_MS).unwrap();
    let looping = update(1, 2, &[new_route("g.a", &["alpha", "us"])], &[]);
    assert!(received.apply(looping, NOW_MS).unwrap().is_change);
    assert_eq!(prefixes(&received, NOW_MS), [""; 0]);
}

#[test]
fn routes_beyond_the_limit_are_dropped_and_asked_for_again_when_there_is_room() {
    let mut received = listener(2);
    let three = ["g.a", "g.b", "g.c"].map(|text| new_route(text, &["alpha"]));
    assert_eq!(received.apply(update(0, 3, &three, &[]), NOW_MS).unwrap().dropped.excess, 1);
    // Taking another way is no excess.
    let other_way = new_route("g.a", &["alpha", "beta"]);
    let applied = received.apply(update(3, 4, &[other_way], &[]), NOW_MS).unwrap();
    assert_eq!(applied.dropped, Dropped::default());
    received.apply(update(4, 5, &[], &["g.b"]), NOW_MS).unwrap();
    let from_the_beginning = LastKnown { table_id: id(1), epoch: 0 };
    assert_eq!(received.apply(heartbeat(5, 5), NOW_MS), Err(from_the_beginning));
    received.apply(update(0, 5, &[new_route("g.c", &["alpha"])], &["g.b"]), NOW_MS).unwrap();
    assert_eq!(prefixes(&received, NOW_MS), ["g.a", "g.c"]);
    assert_eq!(received.apply(heartbeat(5, 5), NOW_MS), Ok(AppliedUpdate::default()));
}

#[test]
fn the_best_received_route_is_passed_on_with_us_at_its_head() {
    let us = target("us");
    let received_route = |names: &[&str]| ReceivedRoute { path: path(names), auth: auth("g.x") };
    let [long, short, also_short] =
        [&["beta", "delta"][..], &["gamma"], &["alpha"]].map(received_route);
    let too_long = ReceivedRoute { path: vec![target("a"); 16], auth: auth("g.x") };
    let (alpha, beta, gamma) = (target("alpha"), target("beta"), target("gamma"));
    let (a, b, own) = (prefix("g.a"), prefix("g.b"), prefix("g.own"));
    let routes = advertised(
        &us,
        &[OwnRoute { prefix: own.clone(), auth: auth("g.own") }],
        [
            (&beta, &a, &long),
            (&gamma, &a, &short),
            (&alpha, &a, &also_short),
            (&beta, &b, &too_long),
            (&alpha, &own, &also_short),
        ],
    );
    let passed_on = AdvertisedRoute {
        path: path(&["us", "alpha"]),
        auth: auth("g.x").hashed(),
        next_hop: Some(alpha.clone()),
    };
    let ours =
        AdvertisedRoute { path: path(&["us"]), auth: auth("g.own").hashed(), next_hop: None };
    assert_eq!(routes, BTreeMap::from([(a, passed_on), (own, ours)]));
}

#[test]
fn a_peer_is_not_sent_the_routes_that_lead_to_it() {
    let mut log = RouteLog::new(id(1), target("us"), 45_000);
    let leads_to = |next_hop: Option<&str>| AdvertisedRoute {
        path: path(&["us", "alpha"]),
        auth: auth("g.a"),
        next_hop: next_hop.map(target),
    };
    log.advertise(&BTreeMap::from([(prefix("g.a"), leads_to(None))]));
    let sent = log.update_from(0, &target("alpha"));
    assert_eq!((sent.new_routes.len(), sent.withdrawn_routes.len()), (1, 0));
    log.advertise(&BTreeMap::from([(prefix("g.a"), leads_to(Some("alpha")))]));
    let sent = log.update_from(1, &target("alpha"));
    assert_eq!((sent.new_routes.len(), sent.withdrawn_routes), (0, vec![prefix("g.a")]));
    assert_eq!(log.update_from(1, &target("beta")).new_routes.len(), 1);
}

#[test]
fn a_log_whose_routes_come_and_go_does_not_grow_for_ever() {
    let mut log = RouteLog::new(id(1), target("us"), 45_000);
    let route = AdvertisedRoute { path: path(&["us"]), auth: auth("g"), next_hop: None };
    let kept = (prefix("g.kept"), route.clone());
    let mut ids = vec![log.table_id()];
    for number in 0..3_500 {
        let coming = (prefix(&format!("g.{number}")), route.clone());
        assert!(log.advertise(&BTreeMap::from([kept.clone(), coming])));
        if ids.last() != Some(&log.table_id()) {
            ids.push(log.table_id());
        }
        assert!(log.next_epoch() <= 2_100, "{}", log.next_epoch());
    }
    assert_eq!(ids.len(), 4, "{ids:?}");
    assert_eq!(log.live().count(), 2);
}

proptest! {
    #[test]
    fn telling_the_log_from_its_beginning_gives_all_that_is_advertised(
        tables in prop::collection::vec(model::table(), 1..20),
    ) {
        let mut log = RouteLog::new(id(1), target("alpha"), 45_000);
        let mut received = listener(usize::MAX);
        for table in &tables {
            let before = log.next_epoch();
            let is_change = log.advertise(table);
            prop_assert_eq!(is_change, log.next_epoch() != before);
        }
        let last = tables.last().unwrap();
        prop_assert_eq!(&log.live().collect::<BTreeMap<_, _>>(), &last.iter().collect());
        while received.last_known(NOW_MS).epoch < log.next_epoch() {
            let sent = log.update_from(received.last_known(NOW_MS).epoch, &target("us"));
            prop_assert!(sent.new_routes.len() + sent.withdrawn_routes.len() <= UPDATE_ROUTES_MAX);
            prop_assert!(sent.to_epoch > sent.from_epoch);
            let read = RouteUpdate::from_json(sent.to_json().as_bytes()).unwrap();
            received.apply(read, NOW_MS).unwrap();
        }
        prop_assert_eq!(model::kept(&received, NOW_MS), model::to_be_kept(last));
    }

    #[test]
    fn whatever_gets_lost_the_listener_ends_with_what_is_advertised(
        events in prop::collection::vec(model::event(), 1..120),
    ) {
        let mut model = model::Model::new();
        for event in events {
            model.happen(event)?;
        }
        model.settle()?;
    }
}
