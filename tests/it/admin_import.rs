//! `POST /admin/import` as clients meet it: good ones, slow ones, and those that die.

use std::convert::Infallible;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fingerpost::store::StoreError;
use fingerpost::types::{ContentKey, Limit};
use futures_util::stream;
use multihash_codetable::{Code, MultihashDigest};
use reqwest::{Body, Method, RequestBuilder, Response};
use rstest::rstest;
use tokio::sync::mpsc;

use super::harness::{ADMIN_PASSWORD, CID, PEER, TestServer, server, written};
use super::odd_store::OddStore;

/// Entries that a batch has at most.
const BATCH: usize = 4_096;

pub(crate) fn cid(number: usize) -> String {
    let digest = Code::Sha2_256.digest(&number.to_be_bytes());
    ContentKey::from_multihash(&digest.to_bytes()).unwrap().to_cid_text()
}

pub(crate) fn line(number: usize) -> String {
    let cid = cid(number);
    format!("{{\"CID\":\"{cid}\",\"Providers\":[{{\"Schema\":\"peer\",\"ID\":\"{PEER}\"}}]}}\n")
}

fn lines(numbers: std::ops::Range<usize>) -> String {
    numbers.map(line).collect()
}

fn post(server: &TestServer, query: &str) -> RequestBuilder {
    server.admin(Method::POST, &format!("/admin/import{query}"))
}

/// A body whose pieces come through a channel; it ends when the channel does.
fn open_body() -> (mpsc::Sender<String>, Body) {
    let (sender, receiver) = mpsc::channel::<String>(1);
    let pieces = stream::unfold(receiver, |mut receiver| async {
        let piece = receiver.recv().await?;
        Some((Ok::<_, Infallible>(Bytes::from(piece)), receiver))
    });
    (sender, Body::wrap_stream(pieces))
}

/// Reads until the answer holds `text`.
async fn read_until(response: &mut Response, text: &str) -> String {
    let mut read = String::new();
    while !read.contains(text) {
        let chunk = response.chunk().await.unwrap().unwrap_or_else(|| panic!("{read}"));
        read.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    read
}

/// A CAR, version 1, of one block that holds `data`; its CID says the hash of `named`.
pub(crate) fn car(named: &[u8], data: &[u8]) -> Vec<u8> {
    let header = b"\xa2\x65roots\x80\x67version\x01";
    let mut cid = vec![0x01, 0x55];
    cid.extend(Code::Sha2_256.digest(named).to_bytes());
    let length = u8::try_from(cid.len() + data.len()).unwrap();
    assert!(length < 0x80, "one byte of varint");
    [&[header.len() as u8], &header[..], &[length], &cid, data].concat()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_reports_what_it_took_in_and_what_it_did_not() {
    let server = server().start().await;
    let good = line(1);
    let body = format!("{good}not JSON\n{{}}\n{good}");
    let answer = post(&server, "").body(body).send().await.unwrap();
    insta::assert_snapshot!("admin_import", written(answer).await);
    assert_eq!(server.providers(&cid(1)).await.status(), 200);
    for (series, value) in [
        ("fingerpost_import_files_total", 1.0),
        ("fingerpost_import_items_total", 4.0),
        ("fingerpost_import_keys_total", 2.0),
        (r#"fingerpost_import_rejected_total{reason="json"}"#, 1.0),
        (r#"fingerpost_import_rejected_total{reason="key"}"#, 1.0),
    ] {
        assert_eq!(server.metric(series).await, value, "{series}");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_body_imports_nothing() {
    let server = server().start().await;
    let answer = post(&server, "").send().await.unwrap().text().await.unwrap();
    assert!(answer.starts_with(r#"{"done":{"lines":0,"#), "{answer}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_import_stops_with_422_and_says_what_stays() {
    let server = server().start().await;
    let body = format!("{}bad\n{}", line(1), line(2));
    let answer = post(&server, "?strict").body(body).send().await.unwrap();
    assert_eq!(answer.status(), 422);
    let problem: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(problem["detail"], "the body:2: not a JSON object (strict: stopped here)");
    assert_eq!(problem["imported"]["keys"], 1);
    assert_eq!(problem["imported"]["lines"], 1, "the rejected line comes next");
    assert_eq!(server.providers(&cid(1)).await.status(), 200);
    assert_eq!(server.providers(&cid(2)).await.status(), 404);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_bodies_and_cars_are_taken() {
    let server = server().start().await;
    let ndjson = |encoding: &'static str, body: Vec<u8>| {
        post(&server, "").header("content-encoding", encoding).body(body)
    };
    let car_of = |data: &[u8], query: &str| {
        let query =
            format!("?provider={PEER}&addr=%2Fip4%2F192.0.2.1&protocol=a&protocol=b{query}");
        post(&server, &query)
            .header("content-type", "application/vnd.ipld.car; version=1")
            .body(car(b"data", data))
    };
    for (request, keys, rejected) in [
        (ndjson("gzip", gzipped(line(1).as_bytes())), 1, "{}"),
        (ndjson("zstd", zstd::encode_all(line(2).as_bytes(), 0).unwrap()), 1, "{}"),
        (ndjson("identity", line(3).into_bytes()), 1, "{}"),
        (car_of(b"data", "&verify=true"), 1, "{}"),
        (car_of(b"other", "&verify"), 0, r#"{"hash":1}"#),
        (car_of(b"other", "&verify=false"), 1, "{}"),
    ] {
        let answer = request.send().await.unwrap().text().await.unwrap();
        let last = answer.lines().last().unwrap();
        assert!(last.contains(&format!(r#""keys":{keys},"#)), "{answer}");
        assert!(last.ends_with(&format!(r#""rejected":{rejected}}}}}"#)), "{answer}");
    }
    let digest = Code::Sha2_256.digest(b"data").to_bytes();
    let key = ContentKey::from_multihash(&digest).unwrap().to_cid_text();
    let found = server.providers(&key).await.text().await.unwrap();
    let record = format!(
        r#"{{"Schema":"peer","ID":"{PEER}","Addrs":["/ip4/192.0.2.1"],"Protocols":["a","b"]}}"#
    );
    assert!(found.contains(&record), "{found}");
    server.shutdown().await;
}

#[rstest]
#[case::misspelt("?strikt", &[], 400, "the parameter \"strikt\" is not known")]
#[case::no_switch("?strict=maybe", &[], 400, "`strict` is true or false, not \"maybe\"")]
#[case::provider_for_lines("?provider=x", &[], 400, "`provider`, `addr`, `protocol` and `record` say")]
#[case::car_of_nobody("", &[("content-type", "application/vnd.ipld.car")], 400, "a CAR says nothing")]
#[case::bad_address(
    "?provider=12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z&addr=x",
    &[("content-type", "application/vnd.ipld.car")], 400, "addr \"x\": not a multiaddr"
)]
#[case::a_form("", &[("content-type", "application/x-www-form-urlencoded")], 415, "Content-Type ")]
#[case::brotli("", &[("content-encoding", "br")], 415, "Content-Encoding \"br\" is not understood")]
#[case::not_gzip("", &[("content-encoding", "gzip")], 400, "the body: it is not compressed with gzip, though Content-Encoding")]
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_an_import_is_refused(
    #[case] query: &str,
    #[case] headers: &[(&str, &str)],
    #[case] status: u16,
    #[case] detail: &str,
) {
    let server = server().start().await;
    let request = headers
        .iter()
        .fold(post(&server, query), |request, (name, value)| request.header(*name, *value));
    let answer = request.body(line(1)).send().await.unwrap();
    assert_eq!(answer.status(), status);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: serde_json::Value = answer.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().starts_with(detail), "{problem}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_come_while_the_body_is_sent_and_hold() {
    let server = server().start().await;
    let (pieces, body) = open_body();
    pieces.send(lines(0..BATCH)).await.unwrap();
    let mut answer = post(&server, "").body(body).send().await.unwrap();
    let first = read_until(&mut answer, "\n").await;
    assert!(first.contains(r#""lines":4096,"blocks":0,"keys":4096,"#), "{first}");
    // The body is still open, and what was acknowledged answers.
    assert_eq!(server.providers(&cid(BATCH - 1)).await.status(), 200);
    pieces.send(format!("bad\n{}", lines(BATCH..2 * BATCH))).await.unwrap();
    let second = read_until(&mut answer, r#""lines":8193"#).await;
    assert!(second.contains(r#"{"rejected":{"line":4097,"#), "{second}");
    drop(pieces);
    let last = answer.text().await.unwrap();
    assert!(last.contains(r#"{"done":{"lines":8193,"blocks":0,"keys":8192,"#), "{last}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_dies_ends_its_import_and_keeps_what_was_acknowledged() {
    let server = server().start().await;
    // More often than imports may run at once: each gives its place back.
    for round in 0..6 {
        let numbers = round * 2 * BATCH..(round * 2 + 1) * BATCH;
        let (pieces, body) = open_body();
        pieces.send(lines(numbers.clone())).await.unwrap();
        let mut answer = post(&server, "").body(body).send().await.unwrap();
        read_until(&mut answer, "acknowledged").await;
        let half = line(numbers.end);
        pieces.send(half[..half.len() / 2].to_owned()).await.unwrap();
        drop(answer);
        drop(pieces);
        while server.metric("fingerpost_import_files_total").await < (round + 1) as f64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(server.providers(&cid(numbers.end - 1)).await.status(), 200);
    }
    assert_eq!(server.metric("fingerpost_import_keys_total").await, (6 * BATCH) as f64);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_at_once_are_bounded() {
    let store = OddStore::held().shared();
    let server = server().store(store.clone()).start().await;
    let mut running = Vec::new();
    for number in 0..4 {
        let request = post(&server, "").body(line(number));
        running.push(tokio::spawn(request.send()));
    }
    // The first that finds no place is told so; those before it wait for the store.
    loop {
        let answer = post(&server, "?strict").timeout(Duration::from_millis(100));
        match answer.body(line(9)).send().await {
            Ok(answer) => {
                insta::assert_snapshot!("admin_import_busy", written(answer).await);
                break;
            }
            Err(error) => assert!(error.is_timeout(), "{error}"),
        }
    }
    store.batches.add_permits(100);
    for answer in running {
        let answer = answer.await.unwrap().unwrap();
        assert!(matches!(answer.status().as_u16(), 200 | 503), "{}", answer.status());
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_store_slows_the_client_and_nothing_piles_up() {
    /// What fits between the two ends of a connection on this machine, and ample room.
    const BETWEEN_BYTES_MAX: usize = 24 << 20;
    const BODY_BYTES: usize = 64 << 20;

    let store = OddStore::held().shared();
    let server = server().store(store.clone()).start().await;
    let addr = server.admin_addr();
    let credentials = multibase::Base::Base64Pad.encode(format!("admin:{ADMIN_PASSWORD}"));
    let sent = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        let text = line(1);
        let head = format!(
            "POST /admin/import HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             authorization: Basic {credentials}\r\ncontent-length: {BODY_BYTES}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // Blank lines fill what is left: they cost the importer next to nothing.
        let mut body = text.repeat(2 * BATCH);
        body.push_str(&format!("{:>65535}", "\n").repeat(BODY_BYTES / 65_535));
        let body = &body.as_bytes()[..BODY_BYTES];
        let mut sent = 0;
        let blocked_after = loop {
            match stream.write(&body[sent..]) {
                Ok(bytes) => sent += bytes,
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
                    break sent;
                }
            }
            assert!(sent < BODY_BYTES, "nothing held the client back");
        };
        store.batches.add_permits(100);
        stream.set_write_timeout(None).unwrap();
        stream.write_all(&body[sent..]).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        (blocked_after, answer)
    });
    let (blocked_after, answer) = sent.await.unwrap();
    assert!(blocked_after < BETWEEN_BYTES_MAX, "{blocked_after} bytes went out");
    assert!(answer.contains(r#"{"done":{"lines":8192,"blocks":0,"keys":8192,"#), "{answer}");
    server.shutdown().await;
}

#[rstest]
#[case::full("full", || StoreError::Full { limit: Limit::Groups })]
#[case::no_space("no_space", || StoreError::NoSpace { source: std::io::Error::other("secret path") })]
#[case::io("io", || StoreError::Io { source: std::io::Error::other("secret path") })]
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_store_has_its_status(
    #[case] name: &str,
    #[case] failure: fn() -> StoreError,
) {
    let at_once = server().store(Arc::new(OddStore::failing(0, failure))).start().await;
    let answer = post(&at_once, "").body(format!("bad\n{}", line(1))).send().await.unwrap();
    insta::assert_snapshot!(format!("admin_import_refused_{name}"), written(answer).await);
    at_once.shutdown().await;

    let later = server().store(Arc::new(OddStore::failing(1, failure))).start().await;
    let answer = post(&later, "").body(lines(0..BATCH + 1)).send().await.unwrap();
    assert_eq!(answer.status(), 200, "the first batch was acknowledged before");
    let text = answer.text().await.unwrap();
    let [first, last] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    assert!(first.starts_with(r#"{"acknowledged":"#), "{text}");
    let last: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["error"]["imported"]["keys"], BATCH);
    assert_eq!(
        last["error"]["imported"]["lines"], BATCH,
        "what is to be sent again is not counted"
    );
    assert!(last["error"]["status"].as_u64().unwrap() >= 503, "{last}");
    assert!(!text.contains("secret"), "{text}");
    later.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_falls_silent_is_answered_and_disconnected() {
    let server = server().with(|settings| {
        settings.import_idle_timeout = Duration::from_millis(200);
    });
    let server = server.start().await;
    let (pieces, body) = open_body();
    pieces.send(line(1)).await.unwrap();
    let answer = post(&server, "").body(body).send().await.unwrap();
    assert_eq!(answer.status(), 408);
    let problem: serde_json::Value = answer.json().await.unwrap();
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.ends_with("nothing came for 200ms (setting import_idle_timeout)"), "{detail}");
    assert_eq!(problem["imported"]["keys"], 1);
    assert_eq!(server.providers(&cid(1)).await.status(), 200);
    drop(pieces);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_ends_imports_at_once() {
    let server = server().start().await;
    let (pieces, body) = open_body();
    pieces.send(lines(0..BATCH)).await.unwrap();
    let mut answer = post(&server, "").body(body).send().await.unwrap();
    read_until(&mut answer, "acknowledged").await;
    let stopped = tokio::time::timeout(Duration::from_secs(5), server.shutdown()).await;
    assert!(stopped.is_ok(), "it waits for a body that does not end");
    let text = read_until(&mut answer, "error").await;
    assert!(text.contains("the server is stopping"), "{text}");
    drop(pieces);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_imported_without_the_password() {
    let server = server().start().await;
    let request = server.admin_without_password(Method::POST, "/admin/import");
    assert_eq!(request.body(line(1)).send().await.unwrap().status(), 401);
    assert_eq!(server.providers(&cid(1)).await.status(), 404);
    assert_eq!(server.providers(CID).await.status(), 404);
    server.shutdown().await;
}
