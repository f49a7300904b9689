//! What is asked, how answers are read, and what is kept of the records.

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::http_client::test_server::{TestServer, wait_for_close, write_chunk};
use crate::types::UnparsableAddrs;
use crate::upstream::breaker::FAILURES_MAX;

const NDJSON: &str = "application/x-ndjson";

#[tokio::test]
async fn the_request_says_who_asks_and_what_for() {
    let router = TestServer::answering("404 Not Found", "application/json", "{}");
    let rig = Rig::new(&router.url().replace("http://", "http://me:secret@"));
    assert_eq!(rig.ask().await, Asked { records: Vec::new(), error: None });
    let peer = Subject::Peer(PeerId::parse(PEER).unwrap());
    let far = Hops::parse("3").unwrap();
    assert!(rig.upstream.records(&peer, far).next().await.is_none());
    assert_eq!(rig.outcome("empty"), 2);

    let heads = router.heads();
    let cid = ContentKey::from_cid_text(CID).unwrap().to_cid_text();
    assert!(heads[0].starts_with(&format!("get /routing/v1/providers/{cid} http/1.1\r\n")));
    let peer = PeerId::parse(PEER).unwrap().to_cid_text();
    assert!(heads[1].starts_with(&format!("get /routing/v1/peers/{peer} http/1.1\r\n")));
    for line in [
        "\naccept: application/x-ndjson, application/json;q=0.9\r\n",
        "\naccept-encoding: gzip\r\n",
        "\nuser-agent: fingerpost/",
        "\nauthorization: basic bwu6c2vjcmv0\r\n",
    ] {
        assert!(heads.iter().all(|head| head.contains(line)), "{line} {heads:?}");
    }
    assert!(heads[0].contains("\nfingerpost-hops: 1\r\n"), "{heads:?}");
    assert!(heads[1].contains("\nfingerpost-hops: 4\r\n"), "{heads:?}");
}

#[tokio::test]
async fn both_formats_of_both_kinds_are_read() {
    for (content_type, body, is_peers) in [
        (NDJSON, format!("{RECORD}\n{RECORD}\n"), false),
        ("application/json", format!(r#"{{"Providers":[{RECORD},{RECORD}]}}"#), false),
        (NDJSON, format!("{RECORD}\n{RECORD}"), true),
        ("application/json", format!(r#"{{"Peers":[{RECORD},{RECORD}]}}"#), true),
    ] {
        let router = TestServer::answering("200 OK", content_type, body);
        let rig = Rig::new(&router.url());
        let asked = if is_peers { rig.ask_peer().await } else { rig.ask().await };
        assert_eq!(asked, Asked { records: vec![RECORD.to_owned(); 2], error: None });
        assert_eq!((rig.outcome("found"), rig.in_flight()), (1, 0));
        assert_eq!(rig.count("records_total{upstream=\"far\"}"), 2);
        assert_eq!(rig.count("first_record_seconds_count{upstream=\"far\"}"), 1);
        assert_eq!(rig.count("duration_seconds_count{upstream=\"far\"}"), 1);
    }
}

#[tokio::test]
async fn none_found_is_said_in_every_way_that_there_is() {
    for (status, content_type, body) in [
        ("404 Not Found", "application/json", r#"{"Providers":[]}"#),
        ("404 Not Found", "text/plain", "no"),
        ("404 Not Found", "text/html", "<html>"),
        ("404 Not Found", "", RECORD),
        ("404 Not Found", NDJSON, RECORD),
        ("204 No Content", "application/json", ""),
        ("200 OK", "application/json", r#"{"Providers":[]}"#),
        ("200 OK", "application/json", r#"{"Providers":null}"#),
        ("200 OK", NDJSON, ""),
    ] {
        let router = TestServer::answering(status, content_type, body);
        let rig = Rig::new(&router.url());
        assert_eq!(rig.ask().await, Asked { records: Vec::new(), error: None }, "{status} {body}");
        assert_eq!(rig.outcome("empty"), 1);
    }
}

fn endless_404(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    loop {
        write_chunk(stream, &[b'x'; 4096])?;
    }
}

#[tokio::test]
async fn a_404_is_none_found_whatever_comes_with_it_and_breaks_nothing() {
    let gzip = "Content-Type: text/html\r\nContent-Encoding: gzip\r\n";
    for router in [
        TestServer::answering("404 Not Found", "text/html", "<html>"),
        TestServer::with_headers("404 Not Found", gzip, "this is no gzip"),
        TestServer::with_headers("404 Not Found", "Content-Encoding: br\r\n", "x"),
        TestServer::start(endless_404),
    ] {
        let rig = Rig::new(&router.url());
        let asks = 2 * u64::from(FAILURES_MAX);
        for _ in 0..asks / 2 {
            assert_eq!(rig.ask().await, Asked { records: Vec::new(), error: None });
            assert_eq!(rig.ask_peer().await, Asked { records: Vec::new(), error: None });
        }
        assert_eq!(rig.outcome("empty"), asks);
        assert_eq!(rig.upstream.is_ready(), Ok(()));
    }
}

#[tokio::test]
async fn gzip_is_unpacked_under_each_of_its_names_and_in_any_case() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&line(RECORD)).unwrap();
    let body = encoder.finish().unwrap();
    for coding in ["gzip", "GZIP", "x-gzip", "X-GZip", "identity, gzip"] {
        let headers = format!("Content-Type: {NDJSON}\r\nContent-Encoding: {coding}\r\n");
        let router = TestServer::with_headers("200 OK", &headers, body.clone());
        let asked = Rig::new(&router.url()).ask().await;
        assert_eq!(asked, Asked { records: vec![RECORD.to_owned()], error: None }, "{coding}");
    }
}

#[tokio::test]
async fn ndjson_may_have_any_white_space_and_be_a_whole_json_answer() {
    let pretty = RECORD.replace(',', ",\n  ").replace('{', "{\r\n  ");
    for body in [
        format!("{RECORD}{RECORD}"),
        format!("{pretty}\n{pretty}\n"),
        format!("\n\n {RECORD}\t{pretty}"),
        format!(r#"{{"Providers":[{RECORD},{pretty}]}}"#),
        format!("{{\n  \"Providers\": [\n{pretty},\n{RECORD}\n]\n}}\n"),
    ] {
        let router = TestServer::answering("200 OK", NDJSON, body.clone());
        let asked = Rig::new(&router.url()).ask().await;
        assert_eq!(asked, Asked { records: vec![RECORD.to_owned(); 2], error: None }, "{body}");
    }
}

#[tokio::test]
async fn a_record_is_handed_on_before_the_next_one_is_sent() {
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let router = TestServer::streaming(move |stream| {
        write_chunk(stream, &line(RECORD))?;
        may_go_on.recv().unwrap();
        // Two at once, the second in two pieces; the first needs no line end to be whole.
        write_chunk(stream, &[RECORD.as_bytes(), &line(RECORD)[..20]].concat())?;
        may_go_on.recv().unwrap();
        write_chunk(stream, &line(RECORD)[20..])?;
        write_chunk(stream, b"")
    });
    let rig = Rig::new(&router.url());
    let subject = Subject::Content(ContentKey::from_cid_text(CID).unwrap());
    let mut batches = rig.upstream.records(&subject, Hops::default());
    for _ in 0..2 {
        assert_eq!(batches.next().await.unwrap().unwrap().len(), 1);
        assert_eq!(rig.in_flight(), 1);
        go_on.send(()).unwrap();
    }
    assert_eq!(batches.next().await.unwrap().unwrap().len(), 1);
    assert!(batches.next().await.is_none());
    assert_eq!((rig.outcome("found"), rig.in_flight()), (1, 0));
}

#[tokio::test]
async fn dropping_the_stream_closes_the_connection() {
    let (closed, is_closed) = mpsc::channel();
    let router = TestServer::streaming(move |stream| {
        write_chunk(stream, &line(RECORD))?;
        closed.send(wait_for_close(stream).is_ok()).unwrap();
        Ok(())
    });
    let rig = Rig::new(&router.url());
    let subject = Subject::Content(ContentKey::from_cid_text(CID).unwrap());
    let mut batches = rig.upstream.records(&subject, Hops::default());
    assert_eq!(batches.next().await.unwrap().unwrap().len(), 1);
    drop(batches);
    assert!(tokio::task::spawn_blocking(move || is_closed.recv().unwrap()).await.unwrap());
    assert_eq!((rig.outcome("abandoned"), rig.in_flight()), (1, 0));
}

#[tokio::test]
async fn addresses_and_schema_are_as_answers_may_have_them() {
    let record = |schema: &str, addrs: &str| {
        format!(r#"{{"Schema":"{schema}","ID":"{PEER}","Addrs":[{addrs}]}}"#)
    };
    let public = r#""/ip4/192.0.2.1/tcp/4001""#;
    let private = r#""/ip4/192.168.0.1/tcp/4001""#;
    let unparsable = r#""/new/thing""#;
    let all = [public, private, unparsable].join(",");
    let body = [record("bitswap", &all), record("peer", private)].join("\n");
    let router = TestServer::answering("200 OK", NDJSON, body);

    let asked = Rig::new(&router.url()).ask().await;
    assert_eq!(asked.records, [record("bitswap", public), record("peer", "")]);

    let lax = |options: &mut UpstreamOptions| {
        options.allow_private_addrs = true;
        options.unparsable_addrs = UnparsableAddrs::Keep;
        options.schema = AnswerSchema::Peer;
    };
    let asked = Rig::with(&router.url(), lax).ask().await;
    assert_eq!(asked.records, [record("peer", &all), record("peer", private)]);
}

#[tokio::test]
async fn what_it_is_not_asked_for_it_does_not_offer() {
    let router = TestServer::answering("200 OK", NDJSON, RECORD);
    let nothing = UpstreamOffers { providers: false, peers: false, ipns: false };
    let rig = Rig::with(&router.url(), |options| options.offers = nothing);
    let expected = Asked { records: Vec::new(), error: Some(AskError::NotOffered) };
    assert_eq!((rig.ask().await, rig.ask_peer().await), (expected.clone(), expected));
    let name = IpnsName::from_multihash(PeerId::parse(PEER).unwrap().multihash().as_bytes());
    let found = rig.upstream.name(&name.unwrap(), Hops::default()).await;
    assert_eq!(found, Err(AskError::NotOffered));
    assert_eq!(rig.outcome("not_offered"), 3);
    assert!(router.heads().is_empty());
}

#[tokio::test]
async fn a_redirect_on_the_same_server_is_followed() {
    let mut requests = 0;
    let router = TestServer::start(move |stream| {
        use std::io::Write;
        requests += 1;
        match requests {
            1 => stream.write_all(
                b"HTTP/1.1 308 Permanent Redirect\r\nLocation: /else/where\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            ),
            _ => write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: {NDJSON}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{RECORD}",
                RECORD.len()
            ),
        }
    });
    let rig = Rig::new(&router.url().replace("http://", "http://me:secret@"));
    assert_eq!(rig.ask().await.records.len(), 1);
    let heads = router.heads();
    assert!(heads[1].starts_with("get /else/where "), "{heads:?}");
    for line in ["\nfingerpost-hops: 1\r\n", "\nauthorization: basic "] {
        assert!(heads[1].contains(line), "{heads:?}");
    }
}
