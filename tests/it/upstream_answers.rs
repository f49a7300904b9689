//! What is made of upstreams' answers: how long they are kept, who is asked in which order, and what
//! an operator's routes change about it, at once.

use std::sync::Arc;
use std::time::Duration;

use fingerpost::config::{FanoutSettings, Settings, UpstreamSettings};
use fingerpost::dispatch::LookupAddress;
use fingerpost::types::{ContentKey, TargetId};
use futures_util::future::join_all;
use reqwest::{Method, Response};

use super::fake_router::{Asked, FakeRouter, Gate, Reply, record, record_at};
use super::harness::{
    CID, TestServer, eventually, peer_id, records, server, upstream, written, written_binary,
};
use super::ipns_records::{Publisher, Statement};

const NDJSON: (&str, &str) = ("accept", "application/x-ndjson");
const RECORD_TYPE: &str = "application/vnd.ipfs.ipns-record";
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

fn has(number: u32) -> Reply {
    Reply::providers(&[record(number)])
}

fn failing() -> Reply {
    Reply::status("500 Internal Server Error")
}

async fn with_upstreams(upstreams: Vec<UpstreamSettings>) -> TestServer {
    server().with(|settings: &mut Settings| settings.remotes.upstreams = upstreams).start().await
}

/// A server with one upstream.
async fn before(far: &FakeRouter) -> TestServer {
    with_upstreams(vec![upstream("far", &far.url())]).await
}

/// Status and numbers of records of an answer in JSON.
async fn found(server: &TestServer) -> (u16, Vec<u32>) {
    let response = server.providers(CID).await;
    let status = response.status().as_u16();
    if status != 200 {
        return (status, Vec::new());
    }
    let ids = records(response).await.into_iter().map(|record| record["ID"].clone());
    let number = |id| (0..10).find(|number| id == peer_id(*number)).expect("a record's");
    (status, ids.map(number).collect())
}

async fn lines(server: &TestServer) -> Response {
    server.ask(Method::GET, &format!("/routing/v1/providers/{CID}"), &[NDJSON]).await
}

async fn put_route(server: &TestServer, prefix: &str, target: &str) {
    let path = format!("/routes/static/{prefix}");
    let body = serde_json::json!({ "routePrefix": prefix, "nextHopAccountId": target });
    let put = server.admin(Method::PUT, &path).body(body.to_string()).send().await.unwrap();
    assert_eq!(put.status(), 201);
}

async fn delete_route(server: &TestServer, prefix: &str) {
    let path = format!("/routes/static/{prefix}");
    let deleted = server.admin(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(deleted.status(), 204);
}

/// The whole address of a lookup of [`CID`].
fn address() -> String {
    LookupAddress::of_content(&ContentKey::from_cid_text(CID).unwrap()).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_kept_and_serves_every_filter_and_format() {
    let quic = record_at(2, "/ip4/192.0.2.2/udp/4001/quic-v1");
    let far = FakeRouter::start(Reply::providers(&[record(1), quic.clone()])).await;
    let server = before(&far).await;
    let first = written(server.providers(CID).await).await;
    insta::assert_snapshot!("upstream_answer", first);
    assert_eq!(written(server.providers(CID).await).await, first);
    let path = format!("/routing/v1/providers/{CID}?filter-addrs=quic-v1");
    let filtered = server.get(&path).await.text().await.unwrap();
    assert_eq!(filtered, format!(r#"{{"Providers":[{quic}]}}"#));
    insta::assert_snapshot!("upstream_answer_lines", written(lines(&server).await).await);
    server.clock.advance(5 * MINUTE_MS - 1);
    assert_eq!(found(&server).await, (200, vec![1, 2]));
    assert_eq!(far.count(), 1);
    let asked = far.asked();
    assert!(asked[0].head.contains("accept: application/x-ndjson"), "{}", asked[0].head);
    assert!(asked[0].head.contains("fingerpost-hops: 1"), "{}", asked[0].head);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_answer_is_kept_for_a_moment_and_hides_no_announcement() {
    let far = FakeRouter::start(Reply::status("404 Not Found")).await;
    let server = before(&far).await;
    insta::assert_snapshot!("upstream_empty", written(server.providers(CID).await).await);
    assert_eq!(found(&server).await, (404, vec![]));
    server.announce(CID, &record(1)).await;
    assert_eq!(found(&server).await, (200, vec![1]));
    assert_eq!(lines(&server).await.text().await.unwrap(), format!("{}\n", record(1)));
    assert_eq!(far.count(), 1);
    server.clock.advance(15_000);
    far.reply_with(has(2));
    assert_eq!(found(&server).await, (200, vec![1, 2]));
    assert_eq!(far.count(), 2);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_answer_is_served_while_it_is_asked_for_anew_and_where_that_fails() {
    let far = FakeRouter::start(has(1)).await;
    let server = before(&far).await;
    assert_eq!(found(&server).await, (200, vec![1]));
    far.reply_with(has(2));
    server.clock.advance(6 * MINUTE_MS);
    assert_eq!(found(&server).await, (200, vec![1]), "at once");
    eventually("the new answer is kept", async || found(&server).await == (200, vec![2])).await;
    assert_eq!(far.count(), 2);
    far.reply_with(failing());
    server.clock.advance(16 * MINUTE_MS);
    assert_eq!(found(&server).await, (200, vec![2]), "rather than an error");
    assert_eq!(lines(&server).await.text().await.unwrap(), format!("{}\n", record(2)));
    assert_eq!(far.count(), 3, "what has just failed is not asked again at once");
    server.clock.advance(48 * HOUR_MS);
    assert_eq!(found(&server).await, (502, vec![]));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_equal_lookups_are_one_question() {
    let gate = Gate::new();
    let far = FakeRouter::start(Reply::Behind(gate.clone(), Box::new(has(1)))).await;
    let server = Arc::new(before(&far).await);
    let lookups = (0..100).map(|number| {
        let server = server.clone();
        // Half of them want it line by line.
        let ask = async move {
            let path = format!("/routing/v1/providers/{CID}");
            let headers = if number % 2 == 0 { &[][..] } else { &[NDJSON][..] };
            server.ask(Method::GET, &path, headers).await.text().await.unwrap()
        };
        tokio::spawn(ask)
    });
    let lookups: Vec<_> = lookups.collect();
    eventually("all wait for one", async || {
        let coalesced = r#"fingerpost_answers_total{source="coalesced"}"#;
        (server.metric(coalesced).await - 99.0).abs() < 0.1
    })
    .await;
    gate.open();
    for answer in join_all(lookups).await {
        assert!(answer.unwrap().contains(&record(1)));
    }
    assert_eq!(far.count(), 1);
    Arc::into_inner(server).expect("all lookups are over").shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_asks_and_says_what_get_would() {
    let far = FakeRouter::start(has(1)).await;
    let server = before(&far).await;
    let path = format!("/routing/v1/providers/{CID}");
    let head = server.ask(Method::HEAD, &path, &[]).await;
    let get = server.get(&path).await;
    assert_eq!((head.status(), get.status()), (reqwest::StatusCode::OK, reqwest::StatusCode::OK));
    for name in ["content-type", "content-length", "etag", "cache-control", "last-modified"] {
        assert_eq!(head.headers()[name], get.headers()[name], "{name}");
    }
    assert_eq!(head.text().await.unwrap(), "");
    assert_eq!((far.count(), far.asked()[0].method.as_str()), (1, "GET"));
    far.reply_with(failing());
    server.clock.advance(49 * HOUR_MS);
    assert_eq!(server.ask(Method::HEAD, &path, &[]).await.status(), 502);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_is_asked_only_for_what_nobody_else_knows() {
    let first = FakeRouter::start(has(1)).await;
    let last = FakeRouter::start(has(2)).await;
    let fallback = UpstreamSettings { fallback: true, ..upstream("last", &last.url()) };
    let server = with_upstreams(vec![upstream("first", &first.url()), fallback]).await;
    assert_eq!(found(&server).await, (200, vec![1]));
    assert_eq!(lines(&server).await.text().await.unwrap(), format!("{}\n", record(1)));
    assert_eq!(last.count(), 0);
    for (reply, asked) in [(Reply::json(r#"{"Providers":[]}"#), 1), (failing(), 2)] {
        first.reply_with(reply);
        server.clock.advance(49 * HOUR_MS);
        assert_eq!(found(&server).await, (200, vec![2]));
        assert_eq!(lines(&server).await.text().await.unwrap(), format!("{}\n", record(2)));
        assert_eq!(last.count(), asked);
    }
    server.clock.advance(49 * HOUR_MS);
    last.reply_with(failing());
    assert_eq!(found(&server).await, (502, vec![]), "both failed");
    server.announce(CID, &record(3)).await;
    assert_eq!(found(&server).await, (200, vec![3]));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_cid_is_gone_at_once_and_comes_back_when_the_route_goes() {
    let far = FakeRouter::start(has(1)).await;
    let server = before(&far).await;
    server.announce(CID, &record(2)).await;
    assert_eq!(found(&server).await, (200, vec![2, 1]));
    put_route(&server, &address(), "discard").await;
    insta::assert_snapshot!("upstream_blocked", written(server.providers(CID).await).await);
    assert_eq!(lines(&server).await.status(), 404);
    assert_eq!(far.count(), 1);
    delete_route(&server, &address()).await;
    assert_eq!(found(&server).await, (200, vec![2, 1]));
    assert_eq!(far.count(), 1);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_cid_is_answered_from_here_and_never_asked_for() {
    let far = FakeRouter::start(has(1)).await;
    let server = before(&far).await;
    put_route(&server, &address(), "local").await;
    assert_eq!(found(&server).await, (404, vec![]));
    server.announce(CID, &record(2)).await;
    assert_eq!(found(&server).await, (200, vec![2]));
    assert_eq!(lines(&server).await.text().await.unwrap(), format!("{}\n", record(2)));
    assert_eq!(far.count(), 0);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_does_not_exist_fails_its_lookups_and_no_shorter_prefix_answers() {
    let far = FakeRouter::start(has(1)).await;
    let server = before(&far).await;
    server.announce(CID, &record(2)).await;
    put_route(&server, "g.providers", "far").await;
    put_route(&server, &address(), "nobody").await;
    insta::assert_snapshot!("upstream_no_account", written(server.providers(CID).await).await);
    assert_eq!(lines(&server).await.status(), 502);
    assert_eq!(far.count(), 0);
    delete_route(&server, &address()).await;
    assert_eq!(found(&server).await, (200, vec![1]), "the upstream alone");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fan_out_asks_those_that_it_names() {
    let [one, two, three] = [1, 2, 3].map(|number| FakeRouter::start(has(number)));
    let (one, two, three) = (one.await, two.await, three.await);
    let apart = |name: &str, url: &str| UpstreamSettings { default: false, ..upstream(name, url) };
    let set = |settings: &mut Settings| {
        settings.remotes.upstreams = vec![
            upstream("one", &one.url()),
            apart("two", &two.url()),
            apart("three", &three.url()),
        ];
        let targets = ["two", "three"].map(|name| TargetId::parse(name).unwrap());
        settings.remotes.fanouts = vec![FanoutSettings {
            name: TargetId::parse("both").unwrap(),
            accounts: targets.into_iter().collect(),
        }];
    };
    let server = server().with(set).start().await;
    server.announce(CID, &record(4)).await;
    assert_eq!(found(&server).await, (200, vec![4, 1]));
    assert_eq!((two.count(), three.count()), (0, 0));
    put_route(&server, &address(), "both").await;
    let (status, mut numbers) = found(&server).await;
    numbers.sort_unstable();
    assert_eq!((status, numbers), (200, vec![2, 3]));
    assert_eq!([one.count(), two.count(), three.count()], [1, 1, 1]);
    server.shutdown().await;
}

fn statement(sequence: u64) -> Statement {
    Statement { sequence, ..Statement::default() }
}

fn ipns(record: Vec<u8>) -> Reply {
    Reply::new("200 OK", &format!("Content-Type: {RECORD_TYPE}\r\n"), record)
}

async fn put_name(server: &TestServer, publisher: &Publisher, record: Vec<u8>) -> u16 {
    let headers = [("content-type", RECORD_TYPE)];
    server.send(Method::PUT, &publisher.path(), &headers, record).await.status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_best_record_of_a_name_wins_wherever_it_is_and_is_kept() {
    let publisher = Publisher::ed25519(1);
    let of = |sequence| publisher.sign(&statement(sequence));
    let forged = Publisher::ed25519(2).sign(&statement(9));
    let [east, west] = [FakeRouter::start(Reply::status("404 Not Found")), {
        FakeRouter::start(Reply::status("404 Not Found"))
    }];
    let (east, west) = (east.await, west.await);
    let routers = [upstream("east", &east.url()), upstream("west", &west.url())];
    let server = with_upstreams(routers.to_vec()).await;
    assert_eq!(put_name(&server, &publisher, of(2)).await, 200);
    let mut expected = 2;
    for (of_east, of_west, best) in
        [(of(1), of(1), 2), (of(1), of(3), 3), (forged.clone(), of(2), 3), (of(5), of(4), 5)]
    {
        east.reply_with(ipns(of_east));
        west.reply_with(ipns(of_west));
        // Past the record's time to live, or past a failure.
        server.clock.advance(5 * MINUTE_MS);
        assert!(best >= expected);
        expected = best;
        let answer = server.get(&publisher.path()).await;
        assert_eq!(answer.bytes().await.unwrap(), of(best));
    }
    insta::assert_snapshot!("upstream_name", {
        written_binary(server.get(&publisher.path()).await).await
    });
    for router in [&east, &west] {
        router.reply_with(failing());
    }
    server.clock.advance(6 * MINUTE_MS);
    let answer = server.get(&publisher.path()).await;
    assert_eq!(answer.bytes().await.unwrap(), of(5), "it was stored here");
    let none = Publisher::ed25519(3);
    assert_eq!(server.get(&none.path()).await.status(), 502, "both failed");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_put_goes_on_to_the_upstreams_as_often_as_its_publisher_puts_it() {
    let takes = |asked: &Asked| match asked.method.as_str() {
        "PUT" => Reply::status("200 OK"),
        _ => Reply::status("404 Not Found"),
    };
    let far = FakeRouter::answering(takes).await;
    let server = before(&far).await;
    let publisher = Publisher::ed25519(1);
    let record = publisher.sign(&statement(1));
    for _ in 0..2 {
        assert_eq!(put_name(&server, &publisher, record.clone()).await, 200);
    }
    far.until_asked(2).await;
    let Asked { method, path, head, body } = far.asked().remove(0);
    assert_eq!((method.as_str(), path), ("PUT", publisher.path()));
    assert!(head.contains(&format!("content-type: {RECORD_TYPE}")), "{head}");
    assert!(head.contains("fingerpost-hops: 1"), "{head}");
    assert_eq!(body, record);
    // Of what another router hands on, only what is new goes further.
    let headers = [("content-type", RECORD_TYPE), ("fingerpost-hops", "1")];
    let handed_on = server.send(Method::PUT, &publisher.path(), &headers, record.clone()).await;
    assert_eq!(handed_on.status(), 200);
    assert_eq!(server.get(&publisher.path()).await.bytes().await.unwrap(), record);
    let puts = far.asked().iter().filter(|asked| asked.method == "PUT").count();
    assert_eq!(puts, 2);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hops_are_counted_and_limited() {
    let far = FakeRouter::start(has(1)).await;
    let server = before(&far).await;
    let path = format!("/routing/v1/providers/{CID}");
    let ask = async |hops: &str| server.ask(Method::GET, &path, &[("fingerpost-hops", hops)]).await;
    assert_eq!(ask("8").await.status(), 200);
    assert!(far.asked()[0].head.contains("fingerpost-hops: 9"), "{}", far.asked()[0].head);
    insta::assert_snapshot!("hops_past_the_limit", written(ask("9").await).await);
    insta::assert_snapshot!("hops_nonsense", written(ask("x").await).await);
    assert_eq!(ask("4294967296").await.status(), 508);
    assert_eq!(far.count(), 1);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_that_nobody_answers_in_time_is_504_whatever_upstreams_may_take() {
    let far = FakeRouter::start(Reply::Never).await;
    let set = |settings: &mut Settings| {
        settings.lookup_timeout = Duration::from_millis(300);
        settings.remotes.upstreams = vec![upstream("far", &far.url())];
    };
    let server = server().with(set).start().await;
    assert_eq!(found(&server).await, (504, vec![]));
    assert_eq!(lines(&server).await.status(), 504);
    server.shutdown().await;
}
