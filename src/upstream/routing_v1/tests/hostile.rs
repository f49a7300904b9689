//! Upstreams that are broken, slow, endless or lying, and what is made of each.

use std::io::{Result, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rstest::rstest;
use socket2::SockRef;

use super::*;
use crate::clock::Stopwatch;
use crate::http_client::test_server::{TestServer, wait_for_close, write_chunk};
use crate::telemetry::testing::LogCapture;

/// What is expected of one hostile upstream.
struct Expected {
    records: usize,
    bad_records: u64,
    error: Reason,
    outcome: &'static str,
    /// How often it is asked for one lookup.
    requests: usize,
}

#[derive(Debug)]
enum Reason {
    TimedOut,
    /// Failed, with this in the reason.
    Says(&'static str),
    Is(AskError),
    /// No error.
    None,
}

const NDJSON: &str = "application/x-ndjson";
const JSON: &str = "application/json";

fn failed(reason: &'static str) -> Expected {
    let error = Reason::Says(reason);
    Expected { records: 0, bad_records: 0, error, outcome: "failed", requests: 1 }
}

fn refused(error: Reason) -> Expected {
    Expected { records: 0, bad_records: 0, error, outcome: "refused", requests: 1 }
}

fn timed_out() -> Expected {
    let error = Reason::TimedOut;
    Expected { records: 0, bad_records: 0, error, outcome: "timed_out", requests: 1 }
}

fn cut(records: usize, error: Reason) -> Expected {
    Expected { records, bad_records: 0, error, outcome: "cut", requests: 1 }
}

fn backoff(seconds: u64) -> Expected {
    refused(Reason::Is(AskError::Backoff { retry_after: Duration::from_secs(seconds) }))
}

fn headers_then_silence(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n")?;
    wait_for_close(stream)
}

fn a_record_then_silence(stream: &mut TcpStream) -> Result<()> {
    write_chunk(stream, &line(RECORD))?;
    wait_for_close(stream)
}

/// A record whose end never comes, a byte at a time.
fn slow_drip(stream: &mut TcpStream) -> Result<()> {
    write_chunk(stream, b"{\"")?;
    loop {
        write_chunk(stream, b"x")?;
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn endless_records(stream: &mut TcpStream) -> Result<()> {
    loop {
        write_chunk(stream, &line(RECORD))?;
    }
}

fn endless_bad_records(stream: &mut TcpStream) -> Result<()> {
    loop {
        write_chunk(stream, b"{}\n")?;
    }
}

fn half_a_record(stream: &mut TcpStream) -> Result<()> {
    write_chunk(stream, &line(RECORD)[..30])
}

fn a_record_and_a_half(stream: &mut TcpStream) -> Result<()> {
    write_chunk(stream, &[line(RECORD), line(RECORD)[..30].to_vec()].concat())
}

fn garbage(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"220 mail.example.org ESMTP\r\n")
}

fn reset(stream: &mut TcpStream) -> Result<()> {
    SockRef::from(&*stream).set_linger(Some(Duration::ZERO))
}

fn hang_up(stream: &mut TcpStream) -> Result<()> {
    stream.shutdown(Shutdown::Both)
}

fn answering(status: &str, content_type: &str, body: &str) -> TestServer {
    TestServer::answering(status, content_type, body)
}

fn refusing(status: &str, retry_after: &str) -> TestServer {
    TestServer::with_headers(status, &format!("Retry-After: {retry_after}\r\n"), "later")
}

fn redirecting(location: &str) -> TestServer {
    TestServer::with_headers("302 Found", &format!("Location: {location}\r\n"), "")
}

#[rstest]
#[case::accepts_and_never_answers(TestServer::start(wait_for_close), timed_out())]
#[case::headers_then_silence(TestServer::start(headers_then_silence), timed_out())]
#[case::slow_drip(TestServer::streaming(slow_drip), timed_out())]
#[case::a_record_then_silence(
    TestServer::streaming(a_record_then_silence),
    cut(1, Reason::TimedOut)
)]
#[tokio::test]
async fn an_upstream_that_is_slow(#[case] router: TestServer, #[case] expected: Expected) {
    // Long enough for a first record to get through on a busy machine.
    let timeout = if expected.records == 0 { HASTY } else { Duration::from_secs(2) };
    let rig = Rig::with(&router.url(), |options| options.client.timeout = Some(timeout));
    check(&rig, &router, expected).await;
}

#[rstest]
#[case::another_object(answering("200 OK", JSON, r#"{"providers":[]}"#), failed("its body is not"))]
#[case::another_kind(answering("200 OK", JSON, r#"{"Peers":[]}"#), failed("`Providers`"))]
#[case::cut_json(answering("200 OK", JSON, r#"{"Providers":[{"#), failed("EOF"))]
#[case::no_json(answering("200 OK", JSON, "<html>"), failed("its body is not"))]
#[case::html(answering("200 OK", "text/html", "<html>hi</html>"), failed("is `text/html`"))]
#[case::no_type(TestServer::with_headers("200 OK", "", RECORD), failed("no Content-Type"))]
#[case::escapes(answering("200 OK", "\u{202e}x", ""), failed("no Content-Type"))]
#[case::error_500(
    answering("500 Oops", "text/plain", "\u{1b}[2Jno"),
    refused(Reason::Says("answered 500 Internal Server Error: \u{fffd}[2Jno"))
)]
#[case::error_503(
    answering("503 Service Unavailable", "text/plain", "busy"),
    refused(Reason::Says("503"))
)]
#[case::error_502(
    answering("502 Bad Gateway", "text/plain", "every upstream failed"),
    refused(Reason::Says(": every upstream failed"))
)]
#[case::error_504(
    answering("504 Gateway Timeout", "text/plain", "late"),
    refused(Reason::Is(AskError::TimedOut))
)]
#[case::loop_508(
    answering("508 Loop Detected", "text/plain", "loop"),
    Expected { outcome: "loop", ..refused(Reason::Is(AskError::Loop)) }
)]
#[case::another_packing(
    TestServer::with_headers(
        "200 OK",
        "Content-Type: application/json\r\nContent-Encoding: br\r\n",
        "x"
    ),
    failed("its Content-Encoding is `br`")
)]
#[case::no_gzip(
    TestServer::with_headers(
        "200 OK",
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
        "x"
    ),
    failed("cannot be unpacked")
)]
#[case::bad_422(
    answering("422 Unprocessable", "text/plain", "cid"),
    refused(Reason::Says(": cid"))
)]
#[case::not_offered_501(
    answering("501 Not Implemented", "text/plain", "no"),
    Expected { outcome: "not_offered", ..refused(Reason::Is(AskError::NotOffered)) }
)]
#[case::not_offered_405(
    answering("405 Method Not Allowed", "text/html", "no"),
    Expected { outcome: "not_offered", ..refused(Reason::Is(AskError::NotOffered)) }
)]
#[case::backoff_in_seconds(refusing("429 Too Many Requests", "7"), backoff(7))]
#[case::backoff_until(refusing("429 Too Many", "Sun, 06 Nov 1994 08:50:07 GMT"), backoff(30))]
#[case::backoff_for_years(refusing("429 Too Many", "Sat, 06 Nov 2094 08:50:07 GMT"), backoff(3600))]
#[case::backoff_without_time(answering("429 Too Many", "text/plain", "no"), backoff(1))]
#[case::backoff_of_503(refusing("503 Service Unavailable", "20"), backoff(20))]
#[case::redirect_loop(
    redirecting("/routing/v1/again"),
    Expected { requests: 4, ..failed("more than 3 redirects") }
)]
#[case::see_other(
    TestServer::with_headers("303 See Other", "Location: /x\r\n", ""),
    failed("another method")
)]
#[case::redirect_to_file(redirecting("file:///etc/passwd"), refused(Reason::Says("answered 302")))]
#[case::garbage(
    TestServer::start(garbage),
    Expected { requests: 2, ..failed("broke off") }
)]
#[case::reset(TestServer::start(reset), Expected { requests: 2, ..failed("broke off") })]
#[case::hang_up(TestServer::start(hang_up), Expected { requests: 2, ..failed("broke off") })]
#[case::half_a_record(TestServer::streaming(half_a_record), failed("broke off"))]
#[case::a_record_and_a_half(
    TestServer::streaming(a_record_and_a_half),
    cut(1, Reason::Says("broke off"))
)]
#[case::half_a_record_as_if_whole(
    answering("200 OK", NDJSON, &RECORD[..30]),
    Expected { bad_records: 1, ..failed("none of its 1 records can be used") }
)]
#[case::endless_records(
    TestServer::streaming(endless_records),
    cut(1_000, Reason::Says("more than 1000 records"))
)]
#[case::endless_bad_records(
    TestServer::streaming(endless_bad_records),
    Expected { bad_records: 1_000, ..failed("more than 1000 records") }
)]
#[case::one_bad_among_good(
    answering("200 OK", JSON, &format!(r#"{{"Providers":[{RECORD},{{"Schema":"peer"}},{RECORD}]}}"#)),
    Expected { bad_records: 1, outcome: "found", ..cut(2, Reason::None) }
)]
#[case::bad_lines_among_good(
    answering("200 OK", NDJSON, &format!("<html>\n{RECORD}\n\u{0}\n[]\n{RECORD}")),
    Expected { bad_records: 3, outcome: "found", ..cut(2, Reason::None) }
)]
#[case::a_line_of_a_megabyte(
    answering("200 OK", NDJSON, &format!("{}\n{RECORD}\n", "x".repeat(1 << 20))),
    Expected { bad_records: 1, outcome: "found", ..cut(1, Reason::None) }
)]
#[tokio::test]
async fn an_upstream_that_answers_badly(#[case] router: TestServer, #[case] expected: Expected) {
    check(&Rig::new(&router.url()), &router, expected).await;
}

async fn check(rig: &Rig, router: &TestServer, expected: Expected) {
    let Asked { records, error } = rig.ask().await;
    assert_eq!(records, vec![RECORD.to_owned(); expected.records]);
    match expected.error {
        Reason::TimedOut => assert_eq!(error, Some(AskError::TimedOut)),
        Reason::Is(expected) => assert_eq!(error, Some(expected)),
        Reason::None => assert_eq!(error, None),
        Reason::Says(text) => {
            let reason = reason(error);
            assert!(reason.contains(text), "{text}: {reason}");
            assert!(!reason.contains(char::is_control), "{reason:?}");
        }
    }
    assert_eq!(rig.outcome(expected.outcome), 1);
    assert_eq!(rig.count("duration_seconds_count{upstream=\"far\"}"), 1);
    assert_eq!((rig.bad_records(), rig.in_flight()), (expected.bad_records, 0));
    assert_eq!(router.heads().len(), expected.requests);
}

#[tokio::test]
async fn an_error_is_final_before_its_text_has_come() {
    let router = TestServer::start(|stream| {
        stream.write_all(b"HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\nout of")?;
        wait_for_close(stream)
    });
    let rig = Rig::new(&router.url());
    let watch = Stopwatch::start();
    let reason = reason(rig.ask().await.error);
    assert!(reason.ends_with("500 Internal Server Error: out of"), "{reason}");
    assert!(watch.elapsed() < PATIENT / 3, "{:?}", watch.elapsed());
}

#[tokio::test]
async fn where_nobody_listens_the_reason_is_said() {
    let addr = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let rig = Rig::new(&format!("http://me:secret@{addr}"));
    let reason = reason(rig.ask().await.error);
    assert!(reason.starts_with(&format!("cannot connect to http://{addr}: ")), "{reason}");
    assert!(reason.to_lowercase().contains("refused"), "{reason}");
    assert_eq!(rig.outcome("failed"), 1);
}

/// 10 GB of each kind; what was sent of it when nobody wanted more is counted.
#[rstest]
#[case::blanks_of_json("application/json", b' ')]
#[case::one_line(NDJSON, b'x')]
#[case::empty_lines(NDJSON, b'\n')]
#[tokio::test]
async fn an_endless_body_is_read_up_to_the_limit(#[case] content_type: &str, #[case] filler: u8) {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: 10000000000\r\n\r\n"
    );
    let router = TestServer::start(move |stream| {
        stream.write_all(head.as_bytes())?;
        let piece = vec![filler; 64 << 10];
        for _ in 0..10_000_000_000 / piece.len() {
            stream.write_all(&piece)?;
            counter.fetch_add(piece.len(), Ordering::SeqCst);
        }
        Ok(())
    });
    let rig = Rig::new(&router.url());
    let reason = reason(rig.ask().await.error);
    assert!(reason.contains("more than 4194304 bytes"), "{reason}");
    // It stops writing when the connection is closed; what is on the way is bounded by buffers.
    drop(router);
    assert!(sent.load(Ordering::SeqCst) < 64 << 20);
}

#[tokio::test]
async fn a_gzip_bomb_is_read_up_to_the_limit_of_what_comes_out() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&vec![b' '; 20 << 20]).unwrap();
    let bomb = encoder.finish().unwrap();
    let headers = "Content-Type: application/json\r\nContent-Encoding: gzip\r\n";
    let router = TestServer::with_headers("200 OK", headers, bomb);
    let reason = reason(Rig::new(&router.url()).ask().await.error);
    assert!(reason.contains("more than 4194304 bytes"), "{reason}");
}

#[tokio::test]
async fn a_redirect_to_another_port_of_this_machine_is_not_followed() {
    let target = TestServer::answering("200 OK", NDJSON, RECORD);
    for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let location = format!("Location: {}/routing/v1/x\r\n", target.url());
        let router = TestServer::with_headers(status, &location, "");
        let rig = Rig::new(&router.url());
        let Asked { records, error } = rig.ask().await;
        assert!(records.is_empty());
        assert!(reason(error).contains("it leads to another server"));
    }
    assert!(target.heads().is_empty());
}

#[tokio::test]
async fn records_of_other_peers_do_not_count() {
    let other = RECORD.replace(PEER, OTHER_PEER);
    let body = format!("{other}\n{RECORD}\n{other}\n");
    let router = TestServer::answering("200 OK", NDJSON, body);
    let rig = Rig::new(&router.url());
    let asked = rig.ask_peer().await;
    assert_eq!(asked, Asked { records: vec![RECORD.to_owned()], error: None });
    assert_eq!(rig.bad_records(), 2);

    let router = TestServer::answering("200 OK", NDJSON, other);
    let rig = Rig::new(&router.url());
    let reason = reason(rig.ask_peer().await.error);
    assert_eq!(reason, "none of its 1 records can be used: it is of another peer");
}

#[tokio::test]
async fn the_log_says_why_no_record_can_be_used() {
    let log = LogCapture::start(|lines| {
        let builder = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG);
        builder.with_ansi(false).with_writer(move || lines.clone()).finish()
    });
    let router = TestServer::answering("200 OK", NDJSON, "{\"ID\":1}\n[]\n");
    Rig::new(&router.url()).ask().await.error.unwrap();
    let log = log.text();
    let why = "none of its 2 records can be used: the record has no `Schema`";
    assert!(log.lines().any(|line| line.contains("upstream=far") && line.contains(why)), "{log}");
}

#[tokio::test]
async fn a_connection_that_fails_before_the_answer_is_tried_once_more() {
    let mut requests = 0;
    let router = TestServer::start(move |stream| {
        requests += 1;
        if requests == 1 {
            return reset(stream);
        }
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    });
    let rig = Rig::new(&router.url());
    assert_eq!(rig.ask().await, Asked { records: Vec::new(), error: None });
    assert_eq!((router.heads().len(), rig.outcome("empty"), rig.outcome("failed")), (2, 1, 0));
}

#[rstest]
#[case::reset(TestServer::start(reset), "broke off")]
#[case::redirect(redirecting("/routing/v1/again"), "redirects")]
#[tokio::test]
async fn a_metered_upstream_is_sent_one_request_a_question(
    #[case] router: TestServer,
    #[case] why: &str,
) {
    let rig = Rig::with(&router.url(), |options| options.is_metered = true);
    let reason = reason(rig.ask().await.error);
    assert!(reason.contains(why), "{reason}");
    assert_eq!(router.heads().len(), 1);
}

#[tokio::test]
async fn both_tries_share_one_time() {
    let mut requests = 0;
    let router = TestServer::start(move |stream| {
        requests += 1;
        if requests > 1 {
            return wait_for_close(stream);
        }
        // Most of the time that there is.
        std::thread::sleep(Duration::from_millis(3_500));
        reset(stream)
    });
    let timeout = Duration::from_secs(4);
    let rig = Rig::with(&router.url(), |options| options.client.timeout = Some(timeout));
    let watch = Stopwatch::start();
    assert_eq!(rig.ask().await.error, Some(AskError::TimedOut));
    // Another 4 s for the second try would take it past 7.5 s.
    assert!(watch.elapsed() < Duration::from_millis(7_500), "{:?}", watch.elapsed());
    assert_eq!(router.heads().len(), 2);
}
