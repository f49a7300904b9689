//! The command against real routers on loopback: output, notes, exit codes.

use clap::Parser;

use super::*;
use crate::http_client::test_server::{TestServer, wait_for_close};

const CID: &str = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
const RECORD: &str = r#"{"Schema":"peer","ID":"QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3","Addrs":["/ip4/192.0.2.1/tcp/4001"],"Protocols":[]}"#;

#[derive(Parser)]
struct LookupLine {
    #[command(flatten)]
    lookup: LookupArgs,
}

fn args(words: &[&str]) -> LookupArgs {
    let words = ["lookup"].iter().chain(words);
    LookupLine::try_parse_from(words).unwrap().lookup
}

/// The outcome, standard output, standard error.
fn look_up_text(words: &[&str], format: RecordFormat) -> (LookupOutcome, String, String) {
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let outcome = look_up(&args(words), format, &mut out, &mut notes);
    (outcome, String::from_utf8(out).unwrap(), String::from_utf8(notes).unwrap())
}

#[test]
fn the_defaults_are_documented_ones() {
    let args = args(&[CID]);
    assert_eq!(args.router, DEFAULT_ROUTER);
    assert_eq!(args.timeout, Duration::from_secs(10));
    assert!(!args.json && args.filter_addrs.is_none() && args.filter_protocols.is_none());
}

#[test]
fn a_timeout_must_be_a_duration() {
    assert_eq!(parse_timeout("1m 5s"), Ok(Duration::from_secs(65)));
    for text in ["", "0s", "10", "soon", "-1s"] {
        assert!(parse_timeout(text).is_err(), "{text}");
    }
}

#[test]
fn found_providers_go_to_standard_output() {
    let router = TestServer::answering("200 OK", "application/x-ndjson", RECORD);
    let words = [CID, "--router", &router.url(), "--filter-addrs", "tcp"];
    let (outcome, out, notes) = look_up_text(&words, RecordFormat::Lines);
    let line = "QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3\t-\t/ip4/192.0.2.1/tcp/4001\n";
    assert_eq!((outcome, &*out, &*notes), (LookupOutcome::Found, line, ""));
    assert!(router.heads()[0].contains("?filter-addrs=tcp "));

    let (outcome, out, notes) = look_up_text(&words, RecordFormat::Json);
    assert_eq!((outcome, out, &*notes), (LookupOutcome::Found, format!("{RECORD}\n"), ""));
}

#[test]
fn none_found_is_said_on_standard_error() {
    for (status, body) in [("404 Not Found", ""), ("200 OK", r#"{"Providers":[]}"#)] {
        let router = TestServer::answering(status, "application/json", body);
        let url = router.url();
        let (outcome, out, notes) = look_up_text(&[CID, "--router", &url], RecordFormat::Lines);
        assert_eq!((outcome, &*out), (LookupOutcome::NoneFound, ""));
        assert_eq!(notes, format!("no providers found: {url} knows none for {CID}\n"));
    }
    let page = TestServer::answering("404 Not Found", "text/html", "<html>");
    let words = [CID, "--router", &page.url(), "--filter-protocols", "unknown"];
    let (outcome, _, notes) = look_up_text(&words, RecordFormat::Json);
    assert_eq!(outcome, LookupOutcome::NoneFound);
    assert!(notes.contains("none that passes the filters for"), "{notes}");
    assert!(notes.contains("\nhint: the answer was a web page"), "{notes}");
}

#[test]
fn a_wrong_cid_is_refused_before_anyone_is_asked() {
    let router = TestServer::answering("200 OK", "application/x-ndjson", RECORD);
    for (cid, message) in [
        ("bafy-broken", "error: `bafy-broken` is not a CID: neither bare base58"),
        ("", "error: `` is not a CID: empty"),
        (&format!("/ipfs/{CID}"), "\nhint: give the CID alone"),
        ("\u{1b}[2J", "error: `\u{fffd}[2J` is not a CID"),
    ] {
        let (outcome, out, notes) =
            look_up_text(&[cid, "--router", &router.url()], RecordFormat::Lines);
        assert_eq!((outcome, &*out), (LookupOutcome::Failed, ""), "{cid}");
        assert!(notes.contains(message), "{notes}");
    }
    assert!(router.heads().is_empty());
}

#[test]
fn errors_say_what_failed_why_and_what_to_do() {
    let refusing = TestServer::answering("429 Too Many Requests", "text/plain", "slow down");
    let page = TestServer::answering("200 OK", "text/html", "<html>");
    let silent = TestServer::start(wait_for_close);
    let gone = TestServer::start(|_| Ok(())).url();
    let (refusing, page, silent) = (&refusing, &page, &silent);
    for (url, expected) in [
        (
            refusing.url(),
            format!("{} answered 429 Too Many Requests: slow down\nhint: wait", refusing.url()),
        ),
        (page.url(), format!("{} gave an answer that cannot be used: its Content", page.url())),
        (silent.url(), format!("{} gave no whole answer within 200ms\nhint: give", silent.url())),
        (gone.clone(), format!("cannot connect to {gone}: Connection refused")),
        (
            "localhost:8190".to_owned(),
            "`localhost:8190` is not the URL of a server: it has no scheme".to_owned(),
        ),
    ] {
        let words = [CID, "--router", &url, "--timeout", "200ms"];
        let (outcome, out, notes) = look_up_text(&words, RecordFormat::Lines);
        assert_eq!((outcome, &*out), (LookupOutcome::Failed, ""), "{url}");
        assert!(notes.starts_with(&format!("error: {expected}")), "{notes}");
    }
}

#[test]
fn defects_of_an_answer_are_warnings() {
    let body = format!("{RECORD}\nnonsense\n\u{1b}\n");
    let router = TestServer::answering("200 OK", "application/x-ndjson", body);
    let (outcome, out, notes) = look_up_text(&[CID, "--router", &router.url()], RecordFormat::Json);
    assert_eq!((outcome, out), (LookupOutcome::Found, format!("{RECORD}\n")));
    let start = "warning: 2 unreadable records were left out, the first: not a JSON object: ";
    assert!(notes.starts_with(start), "{notes}");

    let headers = "Content-Type: application/x-ndjson\r\nContent-Length: 9999\r\n";
    let cut = TestServer::start(move |stream| {
        write!(stream, "HTTP/1.1 200 OK\r\n{headers}\r\n{RECORD}\n")
    });
    let (outcome, out, notes) = look_up_text(&[CID, "--router", &cut.url()], RecordFormat::Json);
    assert_eq!((outcome, out), (LookupOutcome::Found, format!("{RECORD}\n")));
    assert!(notes.starts_with("warning: the answer is not whole: the answer of http"), "{notes}");
}

/// A reader that goes away, or a disk that is full.
struct Closed(ErrorKind);

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(self.0.into())
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is() {
    let router = TestServer::answering("200 OK", "application/x-ndjson", RECORD);
    let args = args(&[CID, "--router", &router.url()]);
    for (kind, expected) in [
        (ErrorKind::BrokenPipe, LookupOutcome::Found),
        (ErrorKind::StorageFull, LookupOutcome::Failed),
    ] {
        let mut notes = Vec::new();
        let outcome = look_up(&args, RecordFormat::Lines, &mut Closed(kind), &mut notes);
        assert_eq!(outcome, expected);
        assert_eq!(notes.is_empty(), expected == LookupOutcome::Found);
        let closed = look_up(&args, RecordFormat::Lines, &mut Closed(kind), &mut Closed(kind));
        assert_eq!(closed, expected);
    }
}

#[test]
fn exit_codes_are_0_1_and_2() {
    for (outcome, code) in
        [(LookupOutcome::Found, 0), (LookupOutcome::NoneFound, 1), (LookupOutcome::Failed, 2)]
    {
        // An exit code shows its number only in its debug form.
        assert_eq!(
            format!("{:?}", ExitCode::from(outcome)),
            format!("{:?}", ExitCode::from(code as u8))
        );
    }
}
