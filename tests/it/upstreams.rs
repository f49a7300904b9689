//! Upstreams that are slow, dead or lying: what a lookup answers where there is nobody else, and that
//! they neither hold up nor spoil what others know.

use std::io::Write;
use std::time::{Duration, Instant};

use fingerpost::config::Settings;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::{Method, Response};
use rstest::rstest;

use super::fake_router::{FakeRouter, Reply, record};
use super::harness::{
    CID, PEER, TestServer, client_settings, peer_id, peer_record, records, server, upstream,
    written,
};

const NDJSON: (&str, &str) = ("accept", "application/x-ndjson");

/// Other content than that of [`CID`].
const CID_2: &str = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
const CID_3: &str = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi";

const PUBLIC: &str = "/ip4/192.0.2.1/tcp/4001";
const PRIVATE: &str = "/ip4/10.0.0.1/tcp/4001";

/// More than is read of an answer.
const HUGE_BYTES: usize = 16 << 20;

/// How long answers with records are served without waiting for upstreams.
const KEPT_MS: u64 = 15 * 60_000;

/// What is wrong with an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Slow,
    Dead,
    WebPage,
    WrongJson,
    NoJson,
    WrongRecords,
    Endless,
    EndlessNoise,
    TenGigabytes,
    GzipBomb,
    Redirect,
    BadAmongGood,
    Private,
    TooManyRequests,
    Unavailable,
    Error,
}

/// An upstream with a fault.
struct Faulty {
    router: FakeRouter,
    url: String,
    /// Where it redirects to, which nobody must ask.
    aim: FakeRouter,
}

impl Fault {
    async fn start(self) -> Faulty {
        let aim = FakeRouter::start(Reply::providers(&[record(9)])).await;
        let router = FakeRouter::start(self.reply(&aim.url())).await;
        let url = if self == Self::Dead { dead_url().await } else { router.url() };
        Faulty { router, url, aim }
    }

    fn reply(self, aim: &str) -> Reply {
        const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";
        const JSON: &str = "Content-Type: application/json\r\n";
        let wrong = r#"{"Schema":"peer","ID":"nobody"}"#.to_owned();
        match self {
            Self::Slow | Self::Dead => Reply::Never,
            Self::WebPage => Reply::new("200 OK", "Content-Type: text/html\r\n", "<p>hello</p>"),
            Self::WrongJson => Reply::json(r#"{"Providers":{"Schema":"peer"}}"#),
            Self::NoJson => Reply::json(r#"{"Providers":[{"#),
            Self::WrongRecords => Reply::providers(&[wrong, "[]".to_owned(), "7".to_owned()]),
            Self::Endless => Reply::endless(NDJSON, format!("{}\n", record(5)).as_bytes()),
            Self::EndlessNoise => Reply::endless(NDJSON, b"noise\n"),
            Self::TenGigabytes => Reply::endless(JSON, &[b' '; 64 << 10]),
            Self::GzipBomb => {
                let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
                gzip.write_all(&vec![b' '; HUGE_BYTES]).unwrap();
                let headers = format!("{JSON}Content-Encoding: gzip\r\n");
                Reply::new("200 OK", &headers, gzip.finish().unwrap())
            }
            Self::Redirect => {
                let location = format!("Location: {aim}/routing/v1/providers/{CID}\r\n");
                Reply::new("302 Found", &location, "")
            }
            Self::BadAmongGood => Reply::providers(&[wrong, record(5), "null".to_owned()]),
            Self::Private => Reply::providers(&[peer_record(5, &[PRIVATE, PUBLIC])]),
            Self::TooManyRequests => Reply::new("429 Slow Down", "Retry-After: 7\r\n", "slower"),
            Self::Unavailable => Reply::new("503 Unavailable", "Retry-After: 7\r\n", ""),
            Self::Error => Reply::status("500 Internal Server Error"),
        }
    }

    /// Whether it gives the record 5 all the same.
    fn has_a_record(self) -> bool {
        matches!(self, Self::Endless | Self::BadAmongGood | Self::Private)
    }
}

/// Where nobody listens.
async fn dead_url() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// The numbers of the records of an answer.
async fn numbers(response: Response) -> Vec<u32> {
    assert_eq!(response.status(), 200);
    let ids = records(response).await.into_iter().map(|record| record["ID"].clone());
    ids.map(|id| (0..10).find(|number| id == peer_id(*number)).expect("a record's")).collect()
}

async fn lines(server: &TestServer, cid: &str) -> Response {
    server.ask(Method::GET, &format!("/routing/v1/providers/{cid}"), &[NDJSON]).await
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn alone_it_has_its_own_answer_which_is_never_kept_as_empty(
    #[values(
        Fault::Slow,
        Fault::Dead,
        Fault::WebPage,
        Fault::WrongJson,
        Fault::NoJson,
        Fault::WrongRecords,
        Fault::Endless,
        Fault::EndlessNoise,
        Fault::TenGigabytes,
        Fault::GzipBomb,
        Fault::Redirect,
        Fault::BadAmongGood,
        Fault::Private,
        Fault::TooManyRequests,
        Fault::Unavailable,
        Fault::Error
    )]
    fault: Fault,
) {
    let faulty = fault.start().await;
    let set = |settings: &mut Settings| {
        let mut upstream = upstream("faulty", &faulty.url);
        if fault == Fault::Slow {
            upstream.client.timeout = Duration::from_millis(300);
        }
        // The first lookup is over when it has been answered, so the next one asks anew.
        settings.upstream_gather_timeout = client_settings().timeout;
        settings.remotes.upstreams = vec![upstream];
    };
    let server = server().with(set).start().await;
    let answer = server.providers(CID).await;
    let status = answer.status();
    assert_eq!(status == 200, fault.has_a_record());
    insta::assert_snapshot!(format!("upstream_{fault:?}"), written(answer).await);
    assert_eq!(lines(&server, CID_2).await.status(), status, "as NDJSON");
    assert_eq!(faulty.aim.count(), 0);
    // By then it works. What failed is asked again as soon as that wants to be.
    faulty.router.reply_with(Reply::providers(&[record(3)]));
    server.clock.advance(if status == 200 { KEPT_MS } else { 7_000 });
    if fault == Fault::Dead {
        assert_eq!(server.providers(CID).await.status(), 502);
    } else {
        assert_eq!(numbers(server.providers(CID).await).await, [3]);
    }
    server.shutdown().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn beside_others_it_neither_holds_up_nor_spoils_their_answers(
    #[values(
        Fault::Slow,
        Fault::Dead,
        Fault::WebPage,
        Fault::WrongJson,
        Fault::NoJson,
        Fault::WrongRecords,
        Fault::Endless,
        Fault::EndlessNoise,
        Fault::TenGigabytes,
        Fault::GzipBomb,
        Fault::Redirect,
        Fault::BadAmongGood,
        Fault::Private,
        Fault::TooManyRequests,
        Fault::Unavailable,
        Fault::Error
    )]
    fault: Fault,
) {
    let faulty = fault.start().await;
    let good = FakeRouter::start(Reply::providers(&[record(2)])).await;
    let set = |settings: &mut Settings| {
        settings.upstream_gather_timeout = Duration::from_secs(2);
        settings.remotes.upstreams =
            vec![upstream("faulty", &faulty.url), upstream("good", &good.url())];
    };
    let server = server().with(set).start().await;
    for cid in [CID, CID_2, CID_3] {
        server.announce(cid, &record(1)).await;
    }
    let start = Instant::now();
    let mut found = numbers(server.providers(CID).await).await;
    assert!(start.elapsed() < client_settings().timeout, "it waited for the faulty one");
    assert_eq!(found[0], 1, "what is known here comes first");
    found.sort_unstable();
    found.retain(|number| *number != 5 || !fault.has_a_record());
    assert_eq!(found, [1, 2]);
    stream_begins_with_what_others_know(&server, fault).await;
    assert_eq!(faulty.aim.count(), 0);
    faulty.router.reply_with(Reply::providers(&[record(3)]));
    server.clock.advance(KEPT_MS);
    // Where the first lookup goes on waiting, another one shows the same.
    let cid = if fault == Fault::Slow { CID_3 } else { CID };
    let mut found = numbers(server.providers(cid).await).await;
    found.sort_unstable();
    assert_eq!(found, if fault == Fault::Dead { vec![1, 2] } else { vec![1, 2, 3] });
    server.shutdown().await;
}

/// The local record comes first, and that of the good upstream whatever the faulty one does.
async fn stream_begins_with_what_others_know(server: &TestServer, fault: Fault) {
    let mut response = lines(server, CID_2).await;
    assert_eq!(response.status(), 200);
    let mut text = String::new();
    let read = async {
        while !text.contains(&peer_id(2)) {
            let chunk = response.chunk().await.unwrap().expect("the good record is to come");
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    tokio::time::timeout(client_settings().timeout, read).await.expect("at once");
    assert!(text.starts_with(&record(1)), "{text}");
    let others = text.lines().filter(|line| ![record(1), record(2)].contains(&(*line).to_owned()));
    for line in others {
        assert!(fault.has_a_record() && line == record(5), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_other_peers_do_not_count() {
    let of_peer = record(1).replace(&peer_id(1), PEER);
    let lying = FakeRouter::start(Reply::peers(&[record(7)])).await;
    let good = FakeRouter::start(Reply::peers(std::slice::from_ref(&of_peer))).await;
    let path = format!("/routing/v1/peers/{PEER}");
    let alone = |settings: &mut Settings| {
        settings.remotes.upstreams = vec![upstream("lying", &lying.url())];
    };
    let server_of_one = server().with(alone).start().await;
    let answer = server_of_one.get(&path).await;
    insta::assert_snapshot!("upstream_other_peer", written(answer).await);
    lying.reply_with(Reply::peers(std::slice::from_ref(&of_peer)));
    assert_eq!(server_of_one.get(&path).await.status(), 200, "it was not kept as empty");
    lying.reply_with(Reply::peers(&[record(7), of_peer.clone(), record(8)]));
    let both = |settings: &mut Settings| {
        settings.remotes.upstreams =
            vec![upstream("lying", &lying.url()), upstream("good", &good.url())];
    };
    let server_of_both = server().with(both).start().await;
    let answer = server_of_both.get(&path).await;
    assert_eq!(answer.text().await.unwrap(), format!(r#"{{"Peers":[{of_peer}]}}"#));
    for server in [server_of_one, server_of_both] {
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_it_only_if_somebody_says_so() {
    let [empty, null] = [r#"{"Providers":[]}"#, r#"{"Providers":null}"#]
        .map(|body| FakeRouter::start(Reply::json(body)));
    let (empty, null) = (empty.await, null.await);
    let not_found = FakeRouter::start(Reply::status("404 Not Found")).await;
    let failing = FakeRouter::start(Reply::status("500 Internal Server Error")).await;
    let not_offered = FakeRouter::start(Reply::status("501 Not Implemented")).await;
    for (asked, status) in [
        (vec![&empty], 404),
        (vec![&null], 404),
        (vec![&not_found], 404),
        (vec![&not_offered], 404),
        (vec![&empty, &failing], 404),
        (vec![&failing, &not_offered], 502),
        (vec![&failing, &failing], 502),
    ] {
        let set = |settings: &mut Settings| {
            let named = asked.iter().enumerate();
            let named = named.map(|(at, it)| upstream(&format!("upstream-{at}"), &it.url()));
            settings.remotes.upstreams = named.collect();
        };
        let server = server().with(set).start().await;
        let first = server.providers(CID).await;
        assert_eq!(
            first.status(),
            status,
            "{:?}",
            asked.iter().map(|it| it.url()).collect::<Vec<_>>()
        );
        assert_eq!(lines(&server, CID).await.status(), status);
        server.shutdown().await;
    }
}
