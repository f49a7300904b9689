//! The decisions on the public API as one table: clause, request, and what must come back.
//!
//! A row is what a client could see of a clause of specs/routing-v1.md; the tests that a clause
//! names go deeper. All rows of a table are tried, and those that fail are told together.

use reqwest::Method;

use super::harness::{CID, TestServer, peer_id, peer_record, server};

const NOBODY_HAS: &str = "bafkreigur6gzxm3ykiol7ywou3iy3obruzs2q7boizj7oznznid34dzc3e";
const CID_V0: &str = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
const ODD_DIGEST: &str = "baeabep4vu3ceru7nerjjbk37sxb7wmftteve4hcosmyolsbsiubw2vr6pqzj6mw7kv6tbn6nqkkldnklbjgm5tzbi4hkpkled4xlcr7xz4bq";

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const TEXT: &str = "text/plain; charset=utf-8";

/// An address of each kind that the page's examples speak of.
const ADDRS: [(&str, &str); 8] = [
    ("tcp", "/ip4/192.0.2.1/tcp/4001"),
    ("quic", "/ip4/192.0.2.1/udp/4001/quic-v1"),
    ("ws", "/ip4/192.0.2.1/tcp/4002/ws"),
    (
        "relay over tcp",
        "/ip4/192.0.2.2/tcp/4001/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N/p2p-circuit",
    ),
    (
        "relay over quic",
        "/ip4/192.0.2.2/udp/4001/quic-v1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N/p2p-circuit",
    ),
    (
        "relay over webtransport",
        "/ip4/192.0.2.2/udp/4001/quic-v1/webtransport/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N/p2p-circuit",
    ),
    ("wss", "/dns4/a.example/tcp/443/wss"),
    ("webtransport", "/ip4/192.0.2.1/udp/4001/quic-v1/webtransport"),
];

/// The record without addresses; those of [`ADDRS`] come before it.
const BARE: u32 = ADDRS.len() as u32;

struct Row {
    clause: &'static str,
    method: Method,
    path: String,
    headers: Vec<(&'static str, &'static str)>,
    status: u16,
    answer: Vec<(&'static str, &'static str)>,
    body: Body,
}

/// What a body must be.
enum Body {
    Any,
    Is(&'static str),
    Begins(&'static str),
    /// Records of these peers, by number, in any order.
    Of(Vec<u32>),
}

fn get(clause: &'static str, path: impl Into<String>, status: u16) -> Row {
    Row {
        clause,
        method: Method::GET,
        path: path.into(),
        headers: Vec::new(),
        status,
        answer: Vec::new(),
        body: Body::Any,
    }
}

impl Row {
    fn method(mut self, method: &str) -> Self {
        self.method = Method::from_bytes(method.as_bytes()).unwrap();
        self
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The answer has this header; blank: it has none of that name.
    fn has(mut self, name: &'static str, value: &'static str) -> Self {
        self.answer.push((name, value));
        self
    }

    fn is(mut self, body: &'static str) -> Self {
        self.body = Body::Is(body);
        self
    }

    fn begins(mut self, body: &'static str) -> Self {
        self.body = Body::Begins(body);
        self
    }

    fn of(mut self, peers: impl IntoIterator<Item = u32>) -> Self {
        self.body = Body::Of(peers.into_iter().collect());
        self
    }

    /// What is wrong with the answer to the request.
    async fn fault(&self, server: &TestServer) -> Option<String> {
        let response = server.ask(self.method.clone(), &self.path, &self.headers).await;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let text = response.text().await.unwrap();
        let wrong_header = self.answer.iter().chain(&[("access-control-allow-origin", "*")]).find(
            |(name, value)| headers.get(*name).map_or("", |held| held.to_str().unwrap()) != *value,
        );
        let is_right = match &self.body {
            Body::Any => true,
            Body::Is(body) => text == *body,
            Body::Begins(body) => text.starts_with(body) && text.ends_with('\n'),
            Body::Of(peers) => peers_of(&text) == peers_named(peers),
        };
        (status != self.status || wrong_header.is_some() || !is_right).then(|| {
            let Self { clause, method, path, headers: sent, .. } = self;
            format!("{clause}: {method} {path} {sent:?}\n  {status} {headers:?}\n  {text}")
        })
    }
}

fn peers_named(numbers: &[u32]) -> Vec<String> {
    let mut peers: Vec<_> = numbers.iter().map(|number| peer_id(*number)).collect();
    peers.sort();
    peers
}

fn peers_of(body: &str) -> Vec<String> {
    let value: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let records = value["Providers"].as_array().cloned().unwrap_or_default();
    let mut peers: Vec<_> =
        records.iter().map(|record| record["ID"].as_str().unwrap_or_default().to_owned()).collect();
    peers.sort();
    peers
}

async fn hold(server: &TestServer, rows: Vec<Row>) {
    let mut faults = Vec::new();
    for row in &rows {
        faults.extend(row.fault(server).await);
    }
    assert!(faults.is_empty(), "{} of {} rows:\n{}", faults.len(), rows.len(), faults.join("\n"));
}

/// A server on which [`CID`] has a provider of each kind, and the odd CID one.
async fn full_server() -> TestServer {
    let server = server().start().await;
    for (number, (_, addr)) in (0..).zip(ADDRS) {
        server.announce(CID, &peer_record(number, &[addr])).await;
    }
    let bare = format!(r#"{{"Schema":"peer","ID":"{}"}}"#, peer_id(BARE));
    server.announce(CID, &bare).await;
    server.announce(ODD_DIGEST, &peer_record(0, &[])).await;
    server
}

fn providers(query: &str) -> String {
    format!("/routing/v1/providers/{CID}{query}")
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_statuses_are_those_of_the_clauses() {
    let server = full_server().await;
    let of = |cid: &str| format!("/routing/v1/providers/{cid}");
    let everybody = 0..=BARE;
    hold(
        &server,
        vec![
            get("R-1", of(CID_V0), 200).of(everybody.clone()),
            get("R-1", of(CID), 200).of(everybody.clone()),
            get("R-2", of(ODD_DIGEST), 200).of([0]),
            get("R-3", of("bafkqaaa"), 404).is(r#"{"Providers":[]}"#),
            get("R-10", of(CID), 200).has("content-type", JSON),
            get("R-11", of(NOBODY_HAS), 404).has("content-type", JSON).is(r#"{"Providers":[]}"#),
            get("R-11", of(NOBODY_HAS), 404)
                .with("accept", NDJSON)
                .has("content-type", NDJSON)
                .is(""),
            get("R-12", of("hello"), 422).has("content-type", TEXT).begins("cid: "),
            get("R-68", providers("?filter-addrs=%ff"), 422).begins("filter-addrs: "),
            get("R-68", providers("?a=%ff&filter-protocols=x%zz"), 422)
                .begins("filter-protocols: "),
            get("R-68", providers("?a=%ff&filter-addrs=%25"), 404),
            get("R-68", providers(&format!("?filter-addrs={}", "a".repeat(64))), 422)
                .begins("filter-addrs: "),
            get("R-13", "/", 400).begins("unknown path"),
            get("R-13", of(&format!("{CID}/")), 400),
            get("R-13", of(&format!("/{CID}")), 400),
            get("R-13", "/routing/v2/providers/x", 400),
            get("R-15", of(CID), 501).method("POST").has("allow", "GET, HEAD, OPTIONS"),
            get("R-114", format!("/routing/v1/dht/closest/peers/{CID}"), 501),
            get("R-114", "/routing/v1/dht/closest/peers/x", 422).begins("key: "),
            get("R-115", format!("/routing/v1/peers/{CID}"), 422).begins("peer-id: "),
            get("R-116", format!("/routing/v1/peers/{}", peer_id(0)), 200)
                .has("content-type", JSON),
            get("R-117", format!("/routing/v1/peers/{}", peer_id(99)), 404).is(r#"{"Peers":[]}"#),
            get("R-17", of(CID), 406).with("accept", "text/html").has("content-type", TEXT),
            get("R-21", "/nowhere", 400).has("cache-control", "no-store"),
            get("R-22", of("hello"), 422).method("HEAD").is(""),
            get("R-30", of(CID), 200).begins("").of(everybody),
        ],
    )
    .await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn formats_are_negotiated_as_the_clauses_say() {
    let server = full_server().await;
    let accept = |clause, accept, format| {
        get(clause, providers(""), 200).with("accept", accept).has("content-type", format)
    };
    hold(
        &server,
        vec![
            get("R-34", providers(""), 200).has("content-type", JSON),
            accept("R-34", "*/*", JSON),
            accept("R-34", "application/*", JSON),
            accept("R-34", "Application/JSON; charset=utf-8", JSON),
            accept("R-34", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON),
            accept("R-34", NDJSON, NDJSON),
            accept("R-34", "application/x-ndjson,application/json", NDJSON),
            accept("R-34", "application/x-ndjson, application/json;q=0.8", NDJSON),
            accept("R-35", "application/x-ndjson;q=0.5, application/json", JSON),
            accept("R-35", "application/x-ndjson;q=0, */*", JSON),
            accept("R-34", JSON, JSON).with("accept", NDJSON).has("content-type", NDJSON),
            get("R-17", providers(""), 406).with("accept", "text/html"),
            get("R-17", providers(""), 406).with("accept", "application/json;q=0"),
        ]
        .into_iter()
        // A later line about one header replaces the earlier.
        .map(|mut row| {
            row.answer.reverse();
            row.answer.dedup_by_key(|(name, _)| *name);
            row
        })
        .collect(),
    )
    .await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_choose_what_the_page_says() {
    let server = full_server().await;
    let filter = |clause, query: &str, peers: &[u32]| {
        get(clause, providers(query), 200).of(peers.iter().copied())
    };
    let none = |clause, query: &str| get(clause, providers(query), 404).is(r#"{"Providers":[]}"#);
    hold(&server, vec![
        filter("R-62", "?filter-addrs=tcp", &[0, 2, 3, 6]),
        filter("R-62", "?filter-addrs=udp", &[1, 4, 5, 7]),
        filter("R-62", "?filter-addrs=ws", &[2]),
        filter("R-62", "?filter-addrs=!tcp", &[1, 4, 5, 7]),
        filter("R-62", "?filter-addrs=tcp,!ws,!wss,!p2p-circuit", &[0]),
        filter("R-62", "?filter-addrs=webtransport,!p2p-circuit", &[7]),
        none("R-62", "?filter-addrs=fakeproto"),
        filter("R-62", "?filter-addrs=webtransport,fakeproto", &[5, 7]),
        filter("R-63", "?filter-addrs=unknown", &[BARE]),
        filter("R-63", "?filter-addrs=!tcp,unknown", &[1, 4, 5, 7, BARE]),
        filter("R-64", "?filter-addrs=TCP%2C%20!ws%2C!wss%2C!p2p-circuit", &[0]),
        filter("R-64", "?filter-addrs=", &[0, 1, 2, 3, 4, 5, 6, 7, BARE]),
        filter("R-64", "?filter-addrs=ws&filter-addrs=wss", &[2, 6]),
        filter("R-60", "?transport=ws", &[2]),
        filter("R-65", "?transport=tcp&filter-addrs=!ws", &[0, 3, 6]),
        filter("R-66", "?filter-protocols=transport-bitswap", &[0, 1, 2, 3, 4, 5, 6, 7]),
        filter("R-66", "?filter-protocols=TRANSPORT-BITSWAP", &[0, 1, 2, 3, 4, 5, 6, 7]),
        filter("R-66", "?filter-protocols=unknown", &[BARE]),
        filter("R-66", "?filter-protocols=transport-bitswap,transport-ipfs-gateway-http,unknown", &[0, 1, 2, 3, 4, 5, 6, 7, BARE]),
        none("R-66", "?filter-protocols=transport-graphsync-filecoinv1"),
        filter("R-65", "?filter-addrs=https,webtransport,webrtc,webrtc-direct,wss,tls&filter-protocols=unknown,transport-bitswap,transport-ipfs-gateway-http", &[5, 6, 7]),
    ])
    .await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_those_of_the_clauses() {
    const FOUND: &str = "public, max-age=300, stale-while-revalidate=600, stale-if-error=172800";
    const EMPTY: &str = "public, max-age=15, stale-while-revalidate=60, stale-if-error=3600";
    const EXPOSED: &str = "ETag, Retry-After, Age, Date, Server-Timing, X-Request-Id";
    const SENT: &str =
        "Content-Type, Accept, If-None-Match, If-Modified-Since, Cache-Control, X-Requested-With";
    let server = full_server().await;
    let nobody = format!("/routing/v1/providers/{NOBODY_HAS}");
    hold(
        &server,
        vec![
            get("R-70", providers(""), 200).has("cache-control", FOUND),
            get("R-70", providers(""), 200).with("accept", NDJSON).has("cache-control", FOUND),
            get("R-71", nobody.clone(), 404).has("cache-control", EMPTY),
            get("R-73", providers(""), 200).has("vary", "Accept"),
            get("R-73", nobody.clone(), 404).has("vary", "Accept"),
            get("R-75", providers(""), 304)
                .with("if-none-match", "*")
                .is("")
                .has("cache-control", FOUND),
            get("R-77", nobody, 404).with("if-none-match", "*").has("etag", ""),
            get("R-80", providers(""), 200)
                .with("origin", "https://a.example")
                .has("access-control-expose-headers", EXPOSED),
            get("R-80", "/nowhere", 400).has("access-control-expose-headers", EXPOSED),
            get("R-81", providers(""), 204)
                .method("OPTIONS")
                .with("origin", "https://a.example")
                .with("access-control-request-method", "GET")
                .has("access-control-allow-headers", SENT)
                .has("access-control-max-age", "600")
                .has("access-control-allow-credentials", "")
                .has("vary", "")
                .is(""),
            get("R-98", providers(""), 200)
                .with("x-request-id", "mine-1")
                .has("x-request-id", "mine-1"),
        ],
    )
    .await;
    server.shutdown().await;
}
