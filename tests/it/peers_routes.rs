//! Routes between routers over HTTP: what a peer may say, and three running Fingerposts.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use fingerpost::config::{AccountName, ClientSettings, PeerSettings, Settings};
use fingerpost::types::{AccountId, RoutePrefix};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, Response};
use rstest::rstest;
use serde_json::{Value, json};

use super::harness::{Builder, CID, TestServer, server, written};

const CONTROL: &str = "/peer/route/control";
const UPDATE: &str = "/peer/route/update";
const TABLE_ID: &str = "00010203-0405-4607-8809-0a0b0c0d0e0f";

/// Stands for no table.
const NO_TABLE_ID: &str = "00000000-0000-0000-0000-000000000000";
const AUTH: &str = "WhzFqWj0eyDDoq4ynPU3hi6jkon4rwqbpvbFsj+uerw=";

/// A peer whose routes are taken; nobody is at its own address.
fn peer(name: &str, admin_url: &str) -> PeerSettings {
    let client = ClientSettings {
        timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(2),
        concurrency: 64,
        records_max: 1_000,
        body_bytes_max: 4 << 20,
        allow_private_addrs: true,
        providers: true,
        peers: true,
        ipns: true,
    };
    PeerSettings {
        name: AccountId::parse(name).unwrap(),
        url: "http://127.0.0.1:1".parse().unwrap(),
        admin_url: admin_url.parse().unwrap(),
        user: AccountName::default(),
        password: "of peers".parse().unwrap(),
        accept: [RoutePrefix::parse("g.providers").unwrap()].into_iter().collect(),
        routes_max: 100,
        client,
    }
}

/// The router `us` with the peer `east`.
async fn with_a_peer() -> TestServer {
    let set = |settings: &mut Settings| {
        settings.router_name = "us".parse().unwrap();
        settings.routing_secret = "shh".parse().unwrap();
        settings.remotes.peers = vec![peer("east", "http://127.0.0.1:1")];
    };
    server().with(set).start().await
}

fn as_peer(server: &TestServer, path: &str) -> RequestBuilder {
    server.admin_without_password(Method::POST, path).basic_auth("east", Some("of peers"))
}

async fn say(server: &TestServer, path: &str, body: &Value) -> Response {
    let request = as_peer(server, path).header(CONTENT_TYPE, "application/json");
    request.body(body.to_string()).send().await.unwrap()
}

fn update() -> Value {
    json!({
        "routingTableId": TABLE_ID, "currentEpochIndex": 2, "fromEpochIndex": 0,
        "toEpochIndex": 2, "holdDownTime": 45_000, "speaker": "east",
        "newRoutes": [
            {"prefix": "g.providers.sha2-256.8", "path": ["east"], "auth": AUTH},
            {"prefix": "g.providers.sha2-256.9", "path": ["east", "us"], "auth": AUTH},
            {"prefix": "g.ipns", "path": ["east"], "auth": AUTH},
        ],
        "withdrawnRoutes": [],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_says_what_it_knows_and_what_it_advertises() {
    let server = with_a_peer().await;
    let control = json!({
        "mode": "SYNC", "lastKnownEpoch": 0,
        "lastKnownRoutingTableId": NO_TABLE_ID,
    });
    insta::assert_snapshot!("peer_taken", written(say(&server, CONTROL, &control).await).await);
    let mut gap = update();
    gap["fromEpochIndex"] = json!(1);
    insta::assert_snapshot!("peer_gap", written(say(&server, UPDATE, &gap).await).await);
    let taken = say(&server, UPDATE, &update()).await;
    insta::assert_snapshot!("peer_taken", written(taken).await);
    let mut gap = update();
    (gap["fromEpochIndex"], gap["toEpochIndex"]) = (json!(3), json!(4));
    gap["currentEpochIndex"] = json!(4);
    insta::assert_snapshot!("peer_later_gap", written(say(&server, UPDATE, &gap).await).await);
    gap["routingTableId"] = json!("44444444-4444-4444-8444-444444444444");
    insta::assert_snapshot!("peer_gap_of_another_table", {
        written(say(&server, UPDATE, &gap).await).await
    });
    let routes = server.admin(Method::GET, "/routes").send().await.unwrap();
    insta::assert_snapshot!("peer_routes", written(routes).await);
    assert!((server.metric(r#"fingerpost_peer_routes{peer="east"}"#).await - 1.0).abs() < 0.1);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_silent_for_its_hold_down_has_no_routes() {
    let server = with_a_peer().await;
    assert_eq!(say(&server, UPDATE, &update()).await.status(), 200);
    for (passed_ms, count) in [(44_999, 2), (1, 1)] {
        server.clock.advance(passed_ms);
        let routes = server.admin(Method::GET, "/routes").send().await.unwrap();
        let routes: Value = serde_json::from_str(&routes.text().await.unwrap()).unwrap();
        assert_eq!(routes["_embedded"]["routes"].as_array().unwrap().len(), count, "{routes}");
    }
    server.shutdown().await;
}

#[rstest]
#[case::not_json("{", "not the JSON")]
#[case::a_field_is_missing(r#"{"routingTableId":""}"#, "missing field `currentEpochIndex`")]
#[case::no_table(r#"{"routingTableId":"00000000-0000-0000-0000-000000000000"}"#, "all zeros")]
#[case::prefix(r#"{"prefix":"h.a","path":["east"],"auth":"AUTH"}"#, "`newRoutes[0].prefix`")]
#[case::auth(r#"{"prefix":"g.a","path":["east"],"auth":"AAAA"}"#, "`newRoutes[0].auth`")]
#[case::no_path(r#"{"prefix":"g.a","path":[],"auth":"AUTH"}"#, "`newRoutes[0].path` is empty")]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_peer_must_not_send_is_refused_and_told_why(
    #[case] text: &str,
    #[case] detail: &str,
) {
    let server = with_a_peer().await;
    let mut whole = update();
    let body = match serde_json::from_str::<Value>(&text.replace("AUTH", AUTH)) {
        Ok(route) if route["prefix"].is_string() => {
            whole["newRoutes"][0] = route;
            whole.to_string()
        }
        Ok(fields) if fields["routingTableId"] == NO_TABLE_ID => {
            whole["routingTableId"] = json!(NO_TABLE_ID);
            whole.to_string()
        }
        _ => text.to_owned(),
    };
    let answer = as_peer(&server, UPDATE).body(body).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), problem_type(&answer)), (400, true));
    let answer = answer.text().await.unwrap();
    let problem: Value = serde_json::from_str(&answer).unwrap();
    assert!(problem["detail"].as_str().unwrap().contains(detail), "{answer}");
    server.shutdown().await;
}

/// A server of HTTP that wants to be left alone for a minute, whatever it is asked.
fn tired() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = BufReader::new(stream.try_clone().unwrap()).lines();
            while head.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let answer = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 60\r\n\
                          Content-Length: 0\r\nConnection: close\r\n\r\n";
            // The client may be gone.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    addr
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_names_those_that_would_not_be_asked() {
    let url = format!("http://{}", tired());
    let set = |settings: &mut Settings| {
        let peer = peer("east", "http://127.0.0.1:1");
        settings.remotes.peers = vec![PeerSettings { url: url.parse().unwrap(), ..peer }];
    };
    let server = server().with(set).start().await;
    let body = json!({"routePrefix": "g.providers", "nextHopAccountId": "east"}).to_string();
    let put = server.admin(Method::PUT, "/routes/static/g.providers").body(body);
    assert_eq!(put.send().await.unwrap().status(), 201);
    let explained = async || {
        let path = format!("/routes/explain?destinationAddress={CID}");
        let answer = server.admin(Method::GET, &path).send().await.unwrap();
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        (answer["upstreams"].clone(), answer["notAsked"].clone())
    };
    assert_eq!(explained().await, (json!(["east"]), json!([])));
    assert_eq!(server.providers(CID).await.status(), 429);
    let reason = "it asks to be left alone for 1m";
    let not_asked = json!([{"name": "east", "reason": reason}]);
    assert_eq!(explained().await, (json!(["east"]), not_asked));
    server.clock.advance(60_000);
    assert_eq!(explained().await, (json!(["east"]), json!([])));
    server.shutdown().await;
}

fn problem_type(answer: &Response) -> bool {
    answer.headers()[CONTENT_TYPE] == "application/problem+json"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_has_its_own_paths_and_limits() {
    let server = with_a_peer().await;
    let mut many = update();
    many["newRoutes"] = vec![many["newRoutes"][0].clone(); 51].into();
    let long = " ".repeat(256 * 1_024 + 1);
    let ask = |method: Method, path: &str, user: &str, password: &str| {
        server.admin_without_password(method, path).basic_auth(user, Some(password))
    };
    let east = |method, path: &str| ask(method, path, "east", "of peers");
    for (request, status) in [
        (east(Method::POST, UPDATE).body(many.to_string()), 400),
        (east(Method::POST, UPDATE).body(long), 413),
        (east(Method::POST, UPDATE).header(CONTENT_TYPE, "text/plain").body("{}"), 415),
        (east(Method::POST, UPDATE).header(CONTENT_ENCODING, "gzip").body("x"), 415),
        (east(Method::POST, CONTROL).header(CONTENT_ENCODING, "gzip").body("x"), 415),
        (east(Method::GET, UPDATE), 405),
        (east(Method::PUT, CONTROL), 405),
        (east(Method::POST, "/peer/route"), 404),
        (east(Method::GET, "/routes"), 403),
        (server.admin(Method::POST, UPDATE).body(update().to_string()), 403),
        (ask(Method::POST, UPDATE, "east", "wrong").body(update().to_string()), 401),
        (ask(Method::POST, UPDATE, "west", "of peers").body(update().to_string()), 401),
        (server.admin_without_password(Method::POST, UPDATE), 401),
    ] {
        let answer = request.send().await.unwrap();
        let what = format!("{} {}", answer.url(), answer.status());
        assert_eq!((answer.status().as_u16(), problem_type(&answer)), (status, true), "{what}");
    }
    let control = as_peer(&server, CONTROL).body(r#"{"mode":"ASK"}"#).send().await.unwrap();
    assert_eq!(control.status(), 400);
    server.shutdown().await;
}

/// How long the three believe in each other: several times what a busy machine holds a task up.
const HOLD_DOWN: Duration = Duration::from_secs(3);

/// An address of this machine that no other test has, and no connection gets by chance.
fn own_address() -> SocketAddr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    SocketAddr::from(([127, high.max(1), low, number], 8_191))
}

/// A router that advertises these prefixes, and its peers by name and admin address.
fn router(name: &str, addr: SocketAddr, advertise: &str, peers: &[(&str, SocketAddr)]) -> Builder {
    let peers = peers.iter().map(|(name, addr)| peer(name, &format!("http://{addr}"))).collect();
    let set = |settings: &mut Settings| {
        settings.router_name = name.parse().unwrap();
        settings.admin_listen = addr;
        settings.advertise = advertise.parse().unwrap();
        settings.remotes.peers = peers;
    };
    server().in_real_time(HOLD_DOWN).with(set)
}

/// The dynamic routes that a router shows: prefix, next hop and path.
async fn learned(server: &TestServer) -> Vec<String> {
    let routes = server.admin(Method::GET, "/routes").send().await.unwrap();
    let routes: Value = serde_json::from_str(&routes.text().await.unwrap()).unwrap();
    let routes = routes["_embedded"]["routes"].as_array().unwrap().iter();
    let routes = routes.filter(|route| route["expiresAt"].is_string());
    let shown = routes.map(|route| {
        let text = |field: &str| route[field].as_str().unwrap_or_default().to_owned();
        let path = route["path"].as_array().unwrap().iter();
        let path = path.map(|name| name.as_str().unwrap()).collect::<Vec<_>>().join(" ");
        format!("{} -> {} ({path})", text("routePrefix"), text("nextHopAccountId"))
    });
    shown.collect()
}

/// Waits until a router has learned exactly these routes. All that time it must know `always`.
async fn until_learned(server: &TestServer, expected: &[&str], always: &[&str]) -> Duration {
    let start = Instant::now();
    loop {
        let routes = learned(server).await;
        for route in always {
            assert!(routes.iter().any(|it| it == route), "{route} is missing: {routes:?}");
        }
        if routes == expected {
            return start.elapsed();
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{routes:?} is not {expected:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_dies_loses_its_half_and_gets_it_back() {
    const LOW: &str = "g.providers.sha2-256.0 -> a (a)";
    const HIGH: &str = "g.providers.sha2-256.8 -> b (b)";
    let [of_a, of_b, of_c] = [own_address(), own_address(), own_address()];
    let a = router("a", of_a, "g.providers.sha2-256.0", &[("c", of_c)]).start().await;
    let b = || router("b", of_b, "g.providers.sha2-256.8", &[("c", of_c)]);
    let first_b = b().start().await;
    let c = router("c", of_c, "", &[("a", of_a), ("b", of_b)]).start().await;
    until_learned(&c, &[LOW, HIGH], &[]).await;
    until_learned(&a, &["g.providers.sha2-256.8 -> c (c b)"], &[]).await;
    first_b.shutdown().await;
    let gone_after = until_learned(&c, &[LOW], &[LOW]).await;
    assert!(gone_after <= HOLD_DOWN + Duration::from_secs(2), "{gone_after:?}");
    until_learned(&a, &[], &[]).await;
    let second_b = b().start().await;
    until_learned(&c, &[LOW, HIGH], &[LOW]).await;
    until_learned(&a, &["g.providers.sha2-256.8 -> c (c b)"], &[]).await;
    for server in [a, second_b, c] {
        server.shutdown().await;
    }
}
