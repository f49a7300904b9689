//! Routes between routers over HTTP: what a peer may say, and three running Fingerposts.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use fingerpost::config::{OptionalTarget, PeerSettings, Settings};
use fingerpost::types::{RoutePrefix, TargetId};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, Response};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::fake_router::{FakeRouter, Reply, record};
use super::harness::{
    Builder, CID, TestServer, cid_below, client_settings, eventually, peer_id, peer_record,
    records, server, upstream, written,
};
use super::ipns_records::{Publisher, Statement};

const CONTROL: &str = "/peer/route/control";
const UPDATE: &str = "/peer/route/update";
const TABLE_ID: &str = "00010203-0405-4607-8809-0a0b0c0d0e0f";
/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:1";

/// Stands for no table.
const NO_TABLE_ID: &str = "00000000-0000-0000-0000-000000000000";
const AUTH: &str = "WhzFqWj0eyDDoq4ynPU3hi6jkon4rwqbpvbFsj+uerw=";

/// A peer whose routes are taken.
fn peer(name: &str, url: &str, admin_url: &str) -> PeerSettings {
    PeerSettings {
        name: TargetId::parse(name).unwrap(),
        url: url.parse().unwrap(),
        admin_url: admin_url.parse().unwrap(),
        user: OptionalTarget::default(),
        password: "of peers".parse().unwrap(),
        accept: [RoutePrefix::parse("g.providers").unwrap()].into_iter().collect(),
        routes_max: 100,
        client: client_settings(),
    }
}

/// The router `us` with the peer `east`.
async fn with_a_peer() -> TestServer {
    let set = |settings: &mut Settings| {
        settings.router_name = "us".parse().unwrap();
        settings.routing_secret = "shh".parse().unwrap();
        settings.remotes.peers = vec![peer("east", NOBODY, NOBODY)];
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
async fn what_a_peer_must_not_send_is_refused_with_the_reason(
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
        let peer = peer("east", NOBODY, NOBODY);
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
    assert_eq!(server.providers(CID).await.status(), 503);
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

/// The addresses of one router.
#[derive(Clone, Copy)]
struct Place {
    public: SocketAddr,
    admin: SocketAddr,
}

impl Place {
    /// On an address of this machine that no other test has, and no connection gets by chance.
    fn new() -> Self {
        static COUNT: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let at = |port| SocketAddr::from(([127, high.max(1), low, number], port));
        Self { public: at(8_190), admin: at(8_191) }
    }

    fn url(&self) -> String {
        format!("http://{}", self.public)
    }

    /// A router here, with its peers by name.
    fn router(&self, name: &str, peers: &[(&str, Self)]) -> Builder {
        let peers =
            peers.iter().map(|(name, at)| peer(name, &at.url(), &format!("http://{}", at.admin)));
        let set = |settings: &mut Settings| {
            settings.router_name = name.parse().unwrap();
            settings.listen = self.public;
            settings.admin_listen = self.admin;
            settings.remotes.peers = peers.collect();
        };
        server().in_real_time(HOLD_DOWN).with(set)
    }
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
async fn until_learned(server: &TestServer, expected: &[String], always: &[String]) -> Duration {
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

/// The two halves of the content, by first digit.
const LOW: [&str; 8] = ["0", "1", "2", "3", "4", "5", "6", "7"];
const HIGH: [&str; 8] = ["8", "9", "a", "b", "c", "d", "e", "f"];

fn prefixes(half: [&str; 8]) -> [String; 8] {
    half.map(|digit| format!("g.providers.sha2-256.{digit}"))
}

/// The routes of a half as they are shown.
fn leading(half: [&str; 8], to: &str) -> Vec<String> {
    prefixes(half).iter().map(|prefix| format!("{prefix} -> {to}")).collect()
}

/// A CID in each part of a half.
fn cids(half: [&str; 8]) -> [String; 8] {
    half.map(|digit| cid_below(digit, 0))
}

/// Who provides a CID, as a router says it.
async fn provider(server: &TestServer, cid: &str) -> Result<Value, u16> {
    let answer = server.providers(cid).await;
    if answer.status() != 200 {
        return Err(answer.status().as_u16());
    }
    let mut records = records(answer).await;
    assert_eq!(records.len(), 1, "{records:?}");
    Ok(records.remove(0)["ID"].take())
}

/// Asks a router about CIDs, one after the other, for as long as it is there.
struct Asking {
    is_over: Arc<AtomicBool>,
    task: JoinHandle<Vec<u16>>,
}

impl Asking {
    fn start(router: Place, cids: [String; 8]) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let stop = is_over.clone();
        let task = tokio::spawn(async move {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let mut statuses = Vec::new();
            for cid in cids.iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let url = format!("{}/routing/v1/providers/{cid}", router.url());
                statuses.push(client.get(url).send().await.unwrap().status().as_u16());
                // Leaves the machine to the others.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            statuses
        });
        Self { is_over, task }
    }

    /// The statuses of the answers.
    async fn end(self) -> Vec<u16> {
        self.is_over.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_dies_loses_its_half_and_gets_it_back() {
    let [at_a, at_b, at_c] = [Place::new(), Place::new(), Place::new()];
    let folder = tempfile::tempdir().unwrap();
    let advertising = |place: Place, name: &str, half: [&str; 8]| {
        let set = |settings: &mut Settings| {
            settings.advertise = prefixes(half).join(",").parse().unwrap();
        };
        place.router(name, &[("c", at_c)]).with(set).data_dir(&folder.path().join(name)).start()
    };
    let a = advertising(at_a, "a", LOW).await;
    let first_b = advertising(at_b, "b", HIGH).await;
    // So that every lookup is forwarded.
    let forget = |settings: &mut Settings| settings.upstream_cache_bytes = 0;
    let c = at_c.router("c", &[("a", at_a), ("b", at_b)]).with(forget).start().await;
    for (server, number, half) in [(&a, 1, LOW), (&first_b, 2, HIGH), (&c, 3, HIGH)] {
        for cid in cids(half) {
            server.announce(&cid, &peer_record(number, &["/ip4/192.0.2.1/tcp/4001"])).await;
        }
    }
    let (low, high) = (leading(LOW, "a (a)"), leading(HIGH, "b (b)"));
    let all = [low.clone(), high].concat();
    until_learned(&c, &all, &[]).await;
    until_learned(&a, &leading(HIGH, "c (c b)"), &[]).await;
    assert_halves(&c, 1, Ok(peer_id(2))).await;
    assert_eq!(provider(&a, &cids(HIGH)[0]).await, Ok(peer_id(2).into()), "by way of c");

    let asking_low = Asking::start(at_c, cids(LOW));
    let asking_high = Asking::start(at_c, cids(HIGH));
    first_b.shutdown().await;
    let gone_after = until_learned(&c, &low, &low).await;
    assert!(gone_after <= HOLD_DOWN + Duration::from_secs(2), "{gone_after:?}");
    // The default answers: what c knows itself, and nobody else.
    assert_halves(&c, 1, Ok(peer_id(3))).await;
    assert_eq!(provider(&c, &cid_below("8", 1)).await, Err(404));
    until_learned(&a, &[], &[]).await;

    let second_b = advertising(at_b, "b", HIGH).await;
    until_learned(&c, &all, &low).await;
    until_learned(&a, &leading(HIGH, "c (c b)"), &[]).await;
    eventually("b answers again", async || {
        provider(&c, &cids(HIGH)[7]).await == Ok(peer_id(2).into())
    })
    .await;
    assert_halves(&c, 1, Ok(peer_id(2))).await;
    let of_low = asking_low.end().await;
    assert!(of_low.len() > 100 && of_low.iter().all(|status| *status == 200), "{of_low:?}");
    let of_high = asking_high.end().await;
    assert!(of_high.iter().all(|status| [200, 502].contains(status)), "{of_high:?}");
    for server in [a, second_b, c] {
        server.shutdown().await;
    }
}

/// The lower half is provided by the peer of one number, the higher half as said.
async fn assert_halves(server: &TestServer, of_low: u32, of_high: Result<String, u16>) {
    for cid in cids(LOW) {
        assert_eq!(provider(server, &cid).await, Ok(peer_id(of_low).into()), "{cid}");
    }
    for cid in cids(HIGH) {
        assert_eq!(provider(server, &cid).await, of_high.clone().map(Value::from), "{cid}");
    }
}

/// Two routers that ask each other, and perhaps a third one, for what they do not know.
async fn ring(third: Option<&FakeRouter>) -> [TestServer; 2] {
    let (at_a, at_b) = (Place::new(), Place::new());
    let start = |place: Place, other: &str, at: Place| {
        let third = third.map(|third| upstream("third", &third.url()));
        let upstreams = [upstream(other, &at.url())].into_iter().chain(third).collect();
        let set = |settings: &mut Settings| settings.remotes.upstreams = upstreams;
        place.router("router", &[]).with(set).start()
    };
    [start(at_a, "b", at_b).await, start(at_b, "a", at_a).await]
}

/// Requests that the two have sent each other.
async fn exchanged([a, b]: &[TestServer; 2]) -> f64 {
    let count = |to| format!("fingerpost_upstream_duration_seconds_count{{upstream=\"{to}\"}}");
    a.metric(&count("b")).await + b.metric(&count("a")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_looping_lookup_ends_at_the_hop_limit_and_breaks_nothing() {
    let ring = ring(None).await;
    let [a, b] = &ring;
    let start = Instant::now();
    let unknown = a.providers(&cid_below("0", 0)).await;
    assert!(start.elapsed() < client_settings().timeout, "{:?}", start.elapsed());
    insta::assert_snapshot!("ring", written(unknown).await);
    // Nine routers at most take a lookup up, and the ninth asks once more.
    assert!((exchanged(&ring).await - 9.0).abs() < 0.1);
    for number in 1..10 {
        assert_eq!(a.providers(&cid_below("0", number)).await.status(), 404);
    }
    assert!((exchanged(&ring).await - 90.0).abs() < 0.1);
    let known = cid_below("1", 0);
    b.announce(&known, &peer_record(1, &[])).await;
    assert_eq!(provider(a, &known).await, Ok(peer_id(1).into()));
    let lines = [("accept", "application/x-ndjson")];
    let path = format!("/routing/v1/providers/{}", cid_below("0", 10));
    assert_eq!(a.ask(Method::GET, &path, &lines).await.status(), 404);
    for server in ring {
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_hides_nothing_that_another_upstream_says() {
    let third = FakeRouter::start(Reply::json(r#"{"Providers":[]}"#)).await;
    let ring = ring(Some(&third)).await;
    assert_eq!(provider(&ring[0], &cid_below("0", 0)).await, Err(404));
    let hops = third.asked().into_iter().map(|asked| {
        let line = asked.head.lines().find_map(|it| it.strip_prefix("fingerpost-hops: "));
        line.unwrap().parse::<u8>().unwrap()
    });
    let mut hops: Vec<u8> = hops.collect();
    hops.sort_unstable();
    assert_eq!(hops, [1, 2, 3, 4, 5, 6, 7, 8, 9], "no router takes up one with more than 8");
    third.reply_with(Reply::providers(&[record(1)]));
    assert_eq!(provider(&ring[0], &cid_below("1", 0)).await, Ok(peer_id(1).into()));
    for server in ring {
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_put_goes_round_a_loop_once() {
    let ring = ring(None).await;
    let [a, b] = &ring;
    let publisher = Publisher::ed25519(1);
    let end = "2100-01-01T00:00:00Z".to_owned();
    let record = publisher.sign(&Statement { end, ..Statement::default() });
    let headers = [("content-type", "application/vnd.ipfs.ipns-record")];
    let put = a.send(Method::PUT, &publisher.path(), &headers, record.clone()).await;
    assert_eq!(put.status(), 200);
    let is_here = async |server: &TestServer| {
        (server.metric("fingerpost_ipns_puts_total{outcome=\"stored\"}").await - 1.0).abs() < 0.1
    };
    eventually("both have it", async || is_here(a).await && is_here(b).await).await;
    // The second hands it back, and there it ends.
    eventually("nothing is under way", async || (exchanged(&ring).await - 2.0).abs() < 0.1).await;
    let unchanged = "fingerpost_ipns_puts_total{outcome=\"unchanged\"}";
    assert!((a.metric(unchanged).await - 1.0).abs() < 0.1);
    assert_eq!(b.get(&publisher.path()).await.bytes().await.unwrap(), record);
    for server in ring {
        server.shutdown().await;
    }
}
