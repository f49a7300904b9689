//! Answers of upstreams in the forms that servers and proxies give them: which say that nobody has it,
//! and which are read.

use std::io::Write;

use fingerpost::config::Settings;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Method;

use super::fake_router::{FakeRouter, Reply, record};
use super::harness::{CID, TestServer, cid_below, server, upstream};
use super::ipns_records::{Publisher, Statement};

const NDJSON: &str = "application/x-ndjson";

/// More failures in a row than any breaker lets pass.
const LOOKUPS: u32 = 12;

async fn before(far: &FakeRouter) -> TestServer {
    let url = far.url();
    let set = |settings: &mut Settings| settings.remotes.upstreams = vec![upstream("far", &url)];
    server().with(set).start().await
}

/// What one upstream that gives this reply lets a lookup answer, in both formats.
async fn answers(reply: Reply) -> [(u16, String); 2] {
    let far = FakeRouter::start(reply).await;
    let mut answers = Vec::new();
    for accept in ["application/json", NDJSON] {
        // Each format comes from the upstream itself, not from what was kept of it.
        let server = before(&far).await;
        let path = format!("/routing/v1/providers/{CID}");
        let answer = server.ask(Method::GET, &path, &[("accept", accept)]).await;
        answers.push((answer.status().as_u16(), answer.text().await.unwrap()));
        server.shutdown().await;
    }
    answers.try_into().unwrap()
}

/// What [`answers`] are if records 1 and 2 were read.
fn both() -> [(u16, String); 2] {
    let (one, two) = (record(1), record(2));
    [(200, format!(r#"{{"Providers":[{one},{two}]}}"#)), (200, format!("{one}\n{two}\n"))]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxys_page_with_404_means_that_nobody_has_it_however_often_it_comes() {
    let page = "<html><body><h1>404 Not Found</h1></body></html>";
    let far =
        FakeRouter::start(Reply::new("404 Not Found", "Content-Type: text/html\r\n", page)).await;
    let server = before(&far).await;
    for number in 0..LOOKUPS {
        let cid = cid_below("a", u64::from(number));
        assert_eq!(server.providers(&cid).await.status(), 404, "lookup {number}");
    }
    let publisher = Publisher::ed25519(1);
    assert_eq!(server.get(&publisher.path()).await.status(), 404);
    assert_eq!(far.count(), LOOKUPS as usize + 1, "each was asked");
    let empty = r#"fingerpost_upstream_requests_total{upstream="far",outcome="empty"}"#;
    assert_eq!(server.metric(empty).await, f64::from(LOOKUPS + 1));
    assert_eq!(server.metric(r#"fingerpost_upstream_breaker{upstream="far"}"#).await, 0.0);
    far.reply_with(Reply::providers(&[record(1)]));
    assert_eq!(server.providers(CID).await.status(), 200, "the breaker is closed");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_has_no_record_where_an_upstream_answers_with_anything_else() {
    let record = Publisher::ed25519(1).sign(&Statement::default());
    for (status, headers) in [
        ("200 OK", "Content-Type: application/json\r\n"),
        ("200 OK", "Content-Type: application/octet-stream\r\n"),
        ("200 OK", "Content-Type: text/plain\r\n"),
        ("200 OK", ""),
        ("204 No Content", ""),
    ] {
        let body = if status == "200 OK" { &record[..] } else { &[] };
        let far = FakeRouter::start(Reply::new(status, headers, body)).await;
        let server = before(&far).await;
        for number in 1..=LOOKUPS {
            let path = Publisher::ed25519(number).path();
            assert_eq!(server.get(&path).await.status(), 404, "{status} {headers}");
        }
        assert_eq!(far.count(), LOOKUPS as usize, "{status} {headers}");
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ndjson_is_served_from_upstreams_that_write_it_in_their_own_way() {
    let (one, two) = (record(1), record(2));
    let pretty = |text: &str| {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        serde_json::to_string_pretty(&value).unwrap()
    };
    let whole = format!(r#"{{"Providers":[{one},{two}]}}"#);
    for body in [
        format!("{one}{two}"),
        format!("{one} \t{two}"),
        format!("{}\n{}\n", pretty(&one), pretty(&two)),
        format!("{}{}", pretty(&one), pretty(&two)),
        pretty(&whole),
        whole,
    ] {
        let reply = Reply::new("200 OK", &format!("Content-Type: {NDJSON}\r\n"), &body);
        assert_eq!(answers(reply).await, both(), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_packed_under_any_name_of_gzip_is_served() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    write!(gzip, r#"{{"Providers":[{},{}]}}"#, record(1), record(2)).unwrap();
    let body = gzip.finish().unwrap();
    for coding in ["gzip", "GZIP", "x-gzip", "X-Gzip"] {
        let headers = format!("Content-Type: application/json\r\nContent-Encoding: {coding}\r\n");
        assert_eq!(answers(Reply::new("200 OK", &headers, &body)).await, both(), "{coding}");
    }
}
