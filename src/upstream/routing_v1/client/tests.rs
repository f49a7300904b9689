//! The client against real answers on loopback, good and hostile.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use super::*;
use crate::http_client::test_server::{TestServer, wait_for_close, write_chunk};
use crate::http_client::{ERROR_TEXT_BYTES_MAX, Redirects};

const CID: &str = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
const RECORD: &str = r#"{"Schema":"peer","ID":"12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z","Addrs":["/ip4/192.0.2.1/tcp/4001"],"Protocols":["transport-bitswap"]}"#;

/// Few records, so that an answer without end is soon cut.
const LIMITS: AnswerLimits =
    AnswerLimits { body_bytes_max: 16 << 20, record_bytes_max: 1 << 20, records_max: 500 };

/// Long enough for any answer that comes.
const PATIENT: Duration = Duration::from_secs(30);
/// For answers that never come.
const HASTY: Duration = Duration::from_millis(150);

async fn ask(base_url: &str, options: ClientOptions) -> Result<ProvidersAnswer, HttpClientError> {
    let query = ProvidersQuery { cid_text: CID, ..ProvidersQuery::default() };
    let options = ClientOptions { redirects: Redirects::Anywhere { max: 3 }, ..options };
    RoutingClient::new(base_url, options, LIMITS)?.providers(query).await
}

async fn ask_with_long_timeout(router: &TestServer) -> Result<ProvidersAnswer, HttpClientError> {
    ask(&router.url(), ClientOptions { timeout: Some(PATIENT), ..ClientOptions::default() }).await
}

fn gzipped(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn both_formats_are_read_and_the_request_names_both() {
    let json = format!(r#"{{"Providers":[{RECORD},{RECORD}]}}"#);
    let ndjson = format!("{RECORD}\n{RECORD}\n");
    for (content_type, body) in [("application/json", json), ("application/x-ndjson", ndjson)] {
        let router = TestServer::answering("200 OK", content_type, body);
        let answer = ask_with_long_timeout(&router).await.unwrap();
        assert_eq!(answer.records.len(), 2);
        assert_eq!(&*answer.records[0].json, RECORD);
        let head = router.heads().remove(0);
        let path = format!("get /routing/v1/providers/{} http/1.1\r\n", CID.to_ascii_lowercase());
        assert!(head.starts_with(&path), "{head}");
        assert!(
            head.contains("\naccept: application/x-ndjson, application/json;q=0.9\r\n"),
            "{head}"
        );
        assert!(head.contains("\nuser-agent: fingerpost/"), "{head}");
    }
}

#[tokio::test]
async fn filters_are_passed_on() {
    let router = TestServer::answering("404 Not Found", "application/json", r#"{"Providers":[]}"#);
    let client = RoutingClient::new(&router.url(), ClientOptions::default(), LIMITS).unwrap();
    let query = ProvidersQuery {
        cid_text: CID,
        filter_addrs: Some("tcp,!ws"),
        filter_protocols: Some("unknown&x"),
    };
    client.providers(query).await.unwrap();
    let head = router.heads().remove(0);
    assert!(head.contains("?filter-addrs=tcp%2c%21ws&filter-protocols=unknown%26x "), "{head}");
}

#[tokio::test]
async fn gzip_is_undone_and_its_limit_is_on_what_comes_out() {
    let headers = "Content-Type: application/x-ndjson\r\nContent-Encoding: gzip\r\n";
    let router = TestServer::with_headers("200 OK", headers, gzipped(RECORD));
    assert_eq!(ask_with_long_timeout(&router).await.unwrap().records.len(), 1);

    let bomb = TestServer::with_headers("200 OK", headers, gzipped(&" ".repeat(20 << 20)));
    let error = ask_with_long_timeout(&bomb).await.unwrap_err();
    assert!(matches!(error, HttpClientError::TooLarge { what: "bytes", .. }), "{error}");

    let broken = TestServer::with_headers("200 OK", headers, "this is no gzip");
    let error = ask_with_long_timeout(&broken).await.unwrap_err();
    assert!(matches!(error, HttpClientError::Packed { .. }), "{error}");
}

#[tokio::test]
async fn a_404_is_an_answer_without_records() {
    for (content_type, is_web_page) in [("application/json", false), ("text/html; a=b", true)] {
        let router = TestServer::answering("404 Not Found", content_type, "whatever");
        let answer = ask_with_long_timeout(&router).await.unwrap();
        assert!(answer.records.is_empty());
        assert_eq!(answer.is_web_page, is_web_page);
    }
}

#[tokio::test]
async fn other_statuses_are_errors_with_the_first_line_of_the_text() {
    let long = "x".repeat(100_000);
    for (status, content_type, body, message) in [
        (
            "422 Unprocessable Entity",
            "text/plain",
            "cid: bad\nmore",
            "422 Unprocessable Entity: cid: bad",
        ),
        ("500 Internal Server Error", "text/html", "<html>oops", "500 Internal Server Error"),
        (
            "429 Too Many Requests",
            "text/plain",
            "\u{1b}[31mslow",
            "429 Too Many Requests: \u{fffd}[31mslow",
        ),
        ("503 Service Unavailable", "text/plain", &long, &long[..ERROR_TEXT_BYTES_MAX]),
    ] {
        let router = TestServer::answering(status, content_type, body);
        let error = ask_with_long_timeout(&router).await.unwrap_err();
        assert!(matches!(error, HttpClientError::Status { .. }), "{error}");
        let text = error.to_string();
        assert!(text.starts_with(&router.url()) && text.ends_with(message), "{text}");
    }
}

#[tokio::test]
async fn an_answer_of_another_type_is_no_routing_answer() {
    for (headers, reason) in
        [("Content-Type: text/html\r\n", "Content-Type is `text/html`"), ("", "no Content-Type")]
    {
        let router = TestServer::with_headers("200 OK", headers, "<html>welcome</html>");
        let error = ask_with_long_timeout(&router).await.unwrap_err();
        assert!(matches!(error, HttpClientError::Unusable { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_at_its_limit() {
    let line = format!("{RECORD}\n");
    let router = TestServer::streaming(move |stream| {
        loop {
            write_chunk(stream, line.as_bytes())?;
        }
    });
    let options = ClientOptions { timeout: Some(PATIENT), ..ClientOptions::default() };
    let answer = ask(&router.url(), options).await.unwrap();
    assert_eq!(answer.records.len(), LIMITS.records_max);
    assert!(matches!(answer.cut, Some(HttpClientError::TooLarge { .. })));
}

#[tokio::test]
async fn a_line_of_10_mb_costs_only_itself() {
    let body = format!("{}\n{RECORD}\n", "x".repeat(10 << 20));
    let router = TestServer::answering("200 OK", "application/x-ndjson", body);
    let answer = ask_with_long_timeout(&router).await.unwrap();
    assert_eq!((answer.records.len(), answer.records_bad), (1, 1));
}

#[tokio::test]
async fn a_redirect_loop_ends() {
    let router = TestServer::with_headers("302 Found", "Location: /routing/v1/again\r\n", "");
    let error = ask_with_long_timeout(&router).await.unwrap_err();
    assert!(matches!(error, HttpClientError::Redirect { .. }), "{error}");
    assert_eq!(router.heads().len(), 4);
}

#[tokio::test]
async fn a_redirect_is_followed() {
    let target = TestServer::answering("200 OK", "application/x-ndjson", RECORD);
    let location = format!("Location: {}/elsewhere\r\n", target.url());
    let router = TestServer::with_headers("307 Temporary Redirect", &location, "");
    assert_eq!(ask_with_long_timeout(&router).await.unwrap().records.len(), 1);
    assert!(target.heads()[0].starts_with("get /elsewhere "));
}

#[tokio::test]
async fn a_router_that_keeps_silent_times_out() {
    let router = TestServer::start(wait_for_close);
    let options = ClientOptions { timeout: Some(HASTY), ..ClientOptions::default() };
    let error = ask(&router.url(), options).await.unwrap_err();
    assert!(matches!(error, HttpClientError::TimedOut { timeout: HASTY, .. }), "{error}");
    assert!(error.to_string().ends_with("within 150ms"), "{error}");
}

#[tokio::test]
async fn records_before_the_time_is_up_or_the_connection_lost_count() {
    let line = format!("{RECORD}\n");
    let stalling = {
        let line = line.clone();
        TestServer::streaming(move |stream| {
            write_chunk(stream, line.as_bytes())?;
            wait_for_close(stream)
        })
    };
    let options =
        ClientOptions { timeout: Some(Duration::from_secs(1)), ..ClientOptions::default() };
    let answer = ask(&stalling.url(), options).await.unwrap();
    assert_eq!(answer.records.len(), 1);
    assert!(matches!(answer.cut, Some(HttpClientError::TimedOut { .. })));

    let closing = TestServer::streaming(move |stream| write_chunk(stream, line.as_bytes()));
    let answer = ask_with_long_timeout(&closing).await.unwrap();
    assert_eq!(answer.records.len(), 1);
    assert!(matches!(answer.cut, Some(HttpClientError::BrokeOff { .. })));
}

#[tokio::test]
async fn a_connection_closed_before_the_answer_broke_off() {
    let router = TestServer::start(|_| Ok(()));
    let error = ask_with_long_timeout(&router).await.unwrap_err();
    assert!(matches!(error, HttpClientError::BrokeOff { .. }), "{error}");
}

#[tokio::test]
async fn where_nobody_listens_there_is_no_connection() {
    let addr = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let error = ask(&format!("http://{addr}"), ClientOptions::default()).await.unwrap_err();
    assert!(matches!(error, HttpClientError::Connect { .. }), "{error}");
    assert_eq!(error.to_string(), format!("cannot connect to http://{addr}"));
}

#[tokio::test]
async fn tls_towards_a_server_that_speaks_none_is_no_connection() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let location = format!("Location: https://{}/\r\n", listener.local_addr().unwrap());
    let plain = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let redirecting = TestServer::with_headers("302 Found", &location, "");
    let error = ask_with_long_timeout(&redirecting).await.unwrap_err();
    assert!(matches!(error, HttpClientError::Connect { .. }), "{error}");
    plain.join().unwrap();
}
