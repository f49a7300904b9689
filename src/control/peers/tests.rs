//! One router against a script, and several routers against each other, in simulated time.

mod network;
mod script;

use std::time::Duration;

use super::*;
use crate::dispatch::NewRoute;
use crate::resolve::PeerLinkError;
use network::Network;
use script::{Message, Script};

const SECOND: Duration = Duration::from_secs(1);
const HOLD_DOWN: Duration = Duration::from_secs(45);

fn target(name: &str) -> TargetId {
    TargetId::parse(name).unwrap()
}

fn prefix(text: &str) -> RoutePrefix {
    RoutePrefix::parse(text).unwrap()
}

fn wants(mode: SyncMode) -> RouteControl {
    RouteControl { mode, last_known: LastKnown::NOTHING }
}

/// The first update of the peer `beta`.
fn update_from_beta(prefixes: &[&str]) -> RouteUpdate {
    let route = |text: &&str| NewRoute {
        prefix: prefix(text),
        path: vec![target("beta")],
        auth: RouteAuth::of(b"beta", &prefix(text)),
    };
    RouteUpdate {
        table_id: RoutingTableId::new([7; 16]),
        current_epoch: 1,
        from_epoch: 0,
        to_epoch: 1,
        hold_down_ms: 45_000,
        speaker: target("beta"),
        new_routes: prefixes.iter().map(route).collect(),
        withdrawn_routes: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_asked_at_the_start_and_sent_nothing_before_it_asks() {
    let script = Script::start(&["g.own"]).await;
    script.pass(200 * SECOND).await;
    let sent = script.sent();
    let (_, Message::Control(first)) = &sent[0] else { panic!("{sent:?}") };
    assert_eq!(*first, wants(SyncMode::Sync));
    assert!(sent.iter().all(|(_, sent)| matches!(sent, Message::Control(_))), "{sent:?}");
    let times: Vec<u64> = sent.iter().map(|(at_ms, _)| at_ms / 1_000).collect();
    assert_eq!(times, [0, 45, 90, 135, 180], "a peer that is silent is asked again");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_asks_is_sent_all_routes_at_once_and_then_heartbeats() {
    let own: Vec<String> = (0..70).map(|number| format!("g.own.{number}")).collect();
    let script = Script::start(&own.iter().map(String::as_str).collect::<Vec<_>>()).await;
    script.beta_asks(wants(SyncMode::Sync));
    script.pass(95 * SECOND).await;
    let updates = script.updates();
    let shape: Vec<_> = updates
        .iter()
        .map(|(at_ms, update)| (at_ms / 1_000, update.from_epoch, update.to_epoch))
        .collect();
    assert_eq!(shape, [(0, 0, 50), (0, 50, 70), (30, 70, 70), (60, 70, 70), (90, 70, 70)]);
    let sent = updates.iter().flat_map(|(_, update)| &update.new_routes);
    assert!(sent.clone().all(|route| route.path == [target("alpha")]));
    assert_eq!(sent.count(), 70);
    assert_eq!(updates[0].1.hold_down_ms, 45_000);
    let proof = RouteAuth::of(b"alpha", &prefix("g.own.0")).hashed();
    assert_eq!(updates[0].1.new_routes[0].auth, proof);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_sent_at_once_and_no_peer_is_sent_its_own_routes() {
    let script = Script::start(&["g.own"]).await;
    for peer in ["beta", "gamma"] {
        script.control.peers().control(&target(peer), wants(SyncMode::Sync)).unwrap();
    }
    script.pass(SECOND).await;
    let before = script.updates().len();
    script.beta_sends(update_from_beta(&["g.b"]));
    script.pass(SECOND).await;
    assert_eq!(script.updates().len(), before + 1);
    assert!(script.updates().iter().all(|(at_ms, _)| *at_ms < 1_100));
    let sent = |to: &str| {
        let sent = script.sent_to(to);
        let (_, Message::Update(update)) = sent.last().unwrap() else { panic!("{sent:?}") };
        let routes = update.new_routes.iter();
        let routes = routes.map(|route| (route.prefix.to_string(), route.path.clone()));
        (routes.collect::<Vec<_>>(), update.withdrawn_routes.clone())
    };
    let path = vec![target("alpha"), target("beta")];
    assert_eq!(sent("gamma"), (vec![("g.b".to_owned(), path)], vec![]));
    assert_eq!(sent("beta"), (vec![], vec![prefix("g.b")]));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_idle_is_sent_no_more_updates() {
    let script = Script::start(&["g.own"]).await;
    script.beta_asks(wants(SyncMode::Sync));
    script.pass(40 * SECOND).await;
    assert_eq!(script.updates().len(), 2);
    script.beta_asks(wants(SyncMode::Idle));
    script.pass(100 * SECOND).await;
    assert_eq!(script.updates().len(), 2);
    let known = LastKnown { table_id: script.updates()[0].1.table_id, epoch: 1 };
    let again = RouteControl { mode: SyncMode::Sync, last_known: known };
    script.beta_asks(again);
    script.pass(SECOND).await;
    let (_, last) = script.updates().pop().unwrap();
    assert_eq!((last.from_epoch, last.to_epoch), (1, 1), "it goes on from what it knows");
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_filled_at_once() {
    let script = Script::start(&["g.own"]).await;
    script.beta_asks(wants(SyncMode::Sync));
    script.pass(SECOND).await;
    script.answer_next(PeerLinkError::Gap(LastKnown::NOTHING));
    script.pass(31 * SECOND).await;
    let shape: Vec<_> = script
        .updates()
        .iter()
        .map(|(at_ms, update)| (at_ms / 1_000, update.from_epoch, update.new_routes.len()))
        .collect();
    assert_eq!(shape, [(0, 0, 1), (30, 1, 0), (30, 0, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_never_content_or_never_there_is_tried_for_ever_ever_more_rarely() {
    let failures =
        [PeerLinkError::Gap(LastKnown::NOTHING), PeerLinkError::Failed("refused".to_owned())];
    for failure in failures {
        let script = Script::start(&["g.own"]).await;
        script.answer_always(failure);
        script.beta_asks(wants(SyncMode::Sync));
        script.pass(1_000 * SECOND).await;
        let times: Vec<u64> = script.updates().iter().map(|(at_ms, _)| *at_ms).collect();
        assert!((20..=42).contains(&times.len()), "{times:?}");
        let waits: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(waits.iter().all(|wait| *wait <= 60_100), "{waits:?}");
        assert!(waits[7..].iter().all(|wait| *wait >= 30_000), "{waits:?}");
        // Its update resets the backoff.
        script.answer_well();
        script.beta_asks(wants(SyncMode::Sync));
        script.pass(Duration::from_millis(100)).await;
        assert_eq!(script.updates().len(), times.len() + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_falls_silent_loses_its_routes_and_is_asked_again() {
    let script = Script::start(&[]).await;
    script.pass(10 * SECOND).await;
    script.beta_sends(update_from_beta(&["g.b"]));
    assert_eq!(script.routes(), ["g.b -> beta"]);
    script.pass(44 * SECOND).await;
    assert_eq!(script.routes(), ["g.b -> beta"]);
    let asked = script.sent_to("beta").len();
    script.pass(3 * SECOND).await;
    assert_eq!(script.routes(), [""; 0]);
    assert_eq!(script.sent_to("beta").len(), asked + 1);
    let (_, Message::Control(control)) = script.sent_to("beta").pop().unwrap() else { panic!() };
    assert_eq!(control, wants(SyncMode::Sync), "what was known is forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_route_that_lasts_longer_is_published() {
    let script = Script::start(&[]).await;
    script.beta_sends(update_from_beta(&["g.b"]));
    script.pass(10 * SECOND).await;
    script.beta_sends(RouteUpdate { from_epoch: 1, ..update_from_beta(&[]) });
    let table = script.control.table();
    let (route, _) = table.find(["g", "b"].into_iter(), script.now_ms()).unwrap();
    assert_eq!(route.expires_at_ms, Some(script.now_ms() + 45_000));
    let nothing_to_show = RouteUpdate { speaker: target("gamma"), ..update_from_beta(&[]) };
    script.control.update_from_peer(&target("gamma"), nothing_to_show).unwrap();
    assert!(Arc::ptr_eq(&table, &script.control.table()), "nothing is published for nothing");
}

#[tokio::test(start_paused = true)]
async fn updates_are_taken_from_configured_peers_only() {
    let script = Script::start(&[]).await;
    let stranger = target("stranger");
    assert_eq!(script.control.peers().control(&stranger, wants(SyncMode::Sync)), Err(UnknownPeer));
    let refused = script.control.update_from_peer(&stranger, update_from_beta(&["g.b"]));
    assert_eq!(refused, Err(UpdateRefused::Unknown(UnknownPeer)));
    let gap = RouteUpdate { from_epoch: 1, ..update_from_beta(&["g.b"]) };
    let its_beginning = LastKnown { table_id: gap.table_id, epoch: 0 };
    let refused = script.control.update_from_peer(&target("beta"), gap);
    assert_eq!(refused, Err(UpdateRefused::Gap(its_beginning)));
    assert_eq!(script.routes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn routers_in_a_row_learn_each_others_routes_and_forget_them() {
    let network = Network::new(&[("alpha", "beta"), ("beta", "gamma")]);
    network.start("alpha", &["g.a"]);
    network.start("beta", &["g.b"]);
    network.start("gamma", &["g.c"]);
    network.pass(5 * SECOND).await;
    assert_eq!(network.routes("alpha"), ["g.b: beta", "g.c: beta gamma"]);
    assert_eq!(network.routes("beta"), ["g.a: alpha", "g.c: gamma"]);
    assert_eq!(network.routes("gamma"), ["g.a: beta alpha", "g.b: beta"]);
    network.stop("alpha");
    network.pass(HOLD_DOWN + 2 * SECOND).await;
    assert_eq!(network.routes("beta"), ["g.c: gamma"]);
    assert_eq!(network.routes("gamma"), ["g.b: beta"]);
    network.start("alpha", &["g.a", "g.a.new"]);
    network.pass(5 * SECOND).await;
    assert_eq!(network.routes("gamma"), ["g.a.new: beta alpha", "g.a: beta alpha", "g.b: beta"]);
    assert_eq!(network.routes("alpha"), ["g.b: beta", "g.c: beta gamma"]);
}

#[tokio::test(start_paused = true)]
async fn a_router_that_restarts_at_once_is_known_again_before_anybody_misses_it() {
    let network = Network::new(&[("alpha", "beta")]);
    network.start("alpha", &["g.a"]);
    network.start("beta", &["g.b"]);
    network.pass(20 * SECOND).await;
    network.stop("alpha");
    network.start("alpha", &["g.a.other"]);
    network.pass(3 * SECOND).await;
    assert_eq!(network.routes("beta"), ["g.a.other: alpha"]);
    assert_eq!(network.routes("alpha"), ["g.b: beta"]);
    let (sent, later) = (network.messages(), 300);
    network.pass(later * SECOND).await;
    let per_heartbeat = network.messages() - sent;
    assert!(per_heartbeat <= 2 * usize::try_from(later).unwrap() / 30 + 2, "{per_heartbeat}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_comes_back_brings_the_routes_back() {
    let network = Network::new(&[("alpha", "beta")]);
    network.start("alpha", &["g.a"]);
    network.start("beta", &["g.b"]);
    network.pass(10 * SECOND).await;
    network.cut();
    network.pass(600 * SECOND).await;
    assert_eq!((network.routes("alpha").len(), network.routes("beta").len()), (0, 0));
    network.mend();
    network.pass(62 * SECOND).await;
    assert_eq!(network.routes("beta"), ["g.a: alpha"]);
    assert_eq!(network.routes("alpha"), ["g.b: beta"]);
}

#[tokio::test(start_paused = true)]
async fn routers_in_a_loop_keep_the_shortest_way_and_forget_what_is_gone() {
    let network = Network::new(&[("alpha", "beta"), ("beta", "gamma"), ("gamma", "alpha")]);
    for (name, own) in [("alpha", "g.a"), ("beta", "g.b"), ("gamma", "g.c")] {
        network.start(name, &[own]);
    }
    network.pass(5 * SECOND).await;
    let of_gamma = ["g.a: alpha", "g.a: beta alpha", "g.b: alpha beta", "g.b: beta"];
    assert_eq!(network.routes("gamma"), of_gamma);
    network.stop("alpha");
    network.pass(HOLD_DOWN + 3 * SECOND).await;
    // No two routers keep a withdrawn route alive between them.
    assert_eq!(network.routes("beta"), ["g.c: gamma"]);
    assert_eq!(network.routes("gamma"), ["g.b: beta"]);
}
