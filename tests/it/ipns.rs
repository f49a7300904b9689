//! GET, HEAD and PUT /routing/v1/ipns/{name}.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use fingerpost::store::{IpnsPut, IpnsStore, IpnsStoreError, IpnsStoreStats, StoredIpns};
use fingerpost::types::{IpnsName, IpnsRecord, Origin};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rand::RngExt;
use reqwest::{Method, Response};
use rstest::rstest;

use super::harness::{NOW_MS, TestServer, server, written, written_binary};
use super::ipns_records::{Publisher, Statement};
use super::process::{Serving, serve};

const RECORD_TYPE: &str = "application/vnd.ipfs.ipns-record";
const DAY_MS: u64 = 86_400_000;
const BASE58: &str = "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z";

async fn put(server: &TestServer, path: &str, record: Vec<u8>) -> Response {
    server.send(Method::PUT, path, &[("content-type", RECORD_TYPE)], record).await
}

/// Publishes a sound record.
async fn publish(server: &TestServer, publisher: &Publisher) -> Vec<u8> {
    let record = publisher.sign(&Statement::default());
    assert_eq!(put(server, &publisher.path(), record.clone()).await.status(), 200);
    record
}

fn statement(sequence: u64, end: &str) -> Statement {
    Statement { sequence, end: end.to_owned(), ..Statement::default() }
}

#[rstest]
#[case::ed25519(Publisher::ed25519(1), "ipns_found_ed25519")]
#[case::rsa(Publisher::rsa(), "ipns_found_rsa")]
#[case::secp256k1(Publisher::secp256k1(), "ipns_found_secp256k1")]
#[case::ecdsa(Publisher::ecdsa(), "ipns_found_ecdsa")]
#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_each_kind_of_key_is_stored_and_served_as_it_came(
    #[case] publisher: Publisher,
    #[case] snapshot: &str,
) {
    let server = server().start().await;
    let record = publisher.sign(&Statement::default());
    let answer = put(&server, &publisher.path(), record.clone()).await;
    assert_eq!(answer.status(), 200);
    if snapshot == "ipns_found_ed25519" {
        insta::assert_snapshot!("ipns_stored", written(answer).await);
    }
    server.clock.advance(5_000);
    let found = server.get(&publisher.path()).await;
    assert_eq!(found.bytes().await.unwrap(), record);
    let again = server.get(&publisher.path()).await;
    insta::assert_snapshot!(snapshot, written_binary(again).await);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_of_a_record_has_its_headers_and_no_body() {
    let server = server().start().await;
    let publisher = Publisher::ed25519(1);
    publish(&server, &publisher).await;
    let get = server.get(&publisher.path()).await;
    let head = server.ask(Method::HEAD, &publisher.path(), &[]).await;
    assert_eq!(head.status(), 200);
    for (name, value) in get.headers() {
        if !["date", "x-request-id"].contains(&name.as_str()) {
            assert_eq!(head.headers().get(name), Some(value), "{name}");
        }
    }
    assert_eq!(head.bytes().await.unwrap().len(), 0);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_records_are_taken_and_broken_ones_refused() {
    let server = server().start().await;
    for (file, name, status) in [
        ("k51qzi5uqu5dlkw8pxuw9qmqayfdeh4kfebhmreauqdc6a7c3y7d5i9fi8mk9w_v1-v2", "", 200),
        ("k51qzi5uqu5dit2ku9mutlfgwyz8u730on38kd10m97m36bjt66my99hb6103f_v2", "", 200),
        (
            "k51qzi5uqu5dilgf7gorsh9vcqqq4myo6jd4zmqkuy9pxyxi5fua3uf7axph4y_v1-v2-broken-signature-v1",
            "",
            200,
        ),
        (
            "QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3",
            "k2k4r8m7xvggw5pxxk3abrkwyer625hg01hfyggrai7lk1m63fuihi7w",
            200,
        ),
        ("k51qzi5uqu5dm4tm0wt8srkg9h9suud4wuiwjimndrkydqm81cqtlb5ak6p7ku_v1", "", 400),
        (
            "k51qzi5uqu5dlmit2tuwdvnx4sbnyqgmvbxftl0eo3f33wwtb9gr7yozae9kpw_v1-v2-broken-v1-value",
            "",
            400,
        ),
        (
            "k51qzi5uqu5diamp7qnnvs1p1gzmku3eijkeijs3418j23j077zrkok63xdm8c_v1-v2-broken-signature-v2",
            "",
            400,
        ),
    ] {
        let record = std::fs::read(format!("tests/fixtures/ipns/{file}.ipns-record")).unwrap();
        let name = if name.is_empty() { file.split_once('_').unwrap().0 } else { name };
        let path = format!("/routing/v1/ipns/{name}");
        assert_eq!(put(&server, &path, record.clone()).await.status(), status, "{file}");
        let found = server.get(&path).await;
        assert_eq!(found.status(), if status == 200 { 200 } else { 404 }, "{file}");
        if status == 200 {
            assert_eq!(found.bytes().await.unwrap(), record, "{file}");
        }
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_found_in_every_base() {
    let server = server().start().await;
    let publisher = Publisher::ed25519(1);
    let record = publish(&server, &publisher).await;
    let cid = [&[0x01, 0x72][..], publisher.name.as_bytes()].concat();
    for base in
        [multibase::Base::Base32Lower, multibase::Base::Base58Btc, multibase::Base::Base16Lower]
    {
        let path = format!("/routing/v1/ipns/{}", multibase::encode(base, &cid));
        let found = server.get(&path).await;
        let file = found.headers()["content-disposition"].to_str().unwrap();
        assert_eq!(file, format!("attachment; filename=\"{}.ipns-record\"", publisher.name));
        assert_eq!(found.bytes().await.unwrap(), record);
    }
    server.shutdown().await;
}

#[rstest]
#[case::base58(BASE58)]
#[case::version_0("QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3")]
#[case::codec_raw("bafkreigur6gzxm3ykiol7ywou3iy3obruzs2q7boizj7oznznid34dzc3e")]
#[case::domain("example.org")]
#[case::cut("k51qzi5uqu5dlkw8pxuw9")]
#[case::not_utf8("%ff")]
#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_another_form_is_422_to_get_and_400_to_put(#[case] name: &str) {
    let server = server().start().await;
    let path = format!("/routing/v1/ipns/{name}");
    let get = server.get(&path).await;
    assert_eq!(get.status(), 422);
    assert!(get.text().await.unwrap().starts_with("name: "));
    let put = put(&server, &path, Publisher::ed25519(1).sign(&Statement::default())).await;
    assert_eq!(put.status(), 400);
    assert!(put.text().await.unwrap().starts_with("name: "));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_about_names_look_as_written_down() {
    let server = server().start().await;
    let publisher = Publisher::ed25519(1);
    let path = publisher.path();
    insta::assert_snapshot!("ipns_not_found", written(server.get(&path).await).await);
    let get = server.get(&format!("/routing/v1/ipns/{BASE58}")).await;
    insta::assert_snapshot!("ipns_name_malformed", written(get).await);
    let json = server.ask(Method::GET, &path, &[("accept", "application/json")]).await;
    insta::assert_snapshot!("ipns_not_acceptable", written(json).await);
    publish(&server, &publisher).await;
    let older = publisher.sign(&statement(0, "2027-01-01T00:00:00Z"));
    insta::assert_snapshot!("ipns_superseded", written(put(&server, &path, older).await).await);
    let expired = publisher.sign(&statement(2, "2026-01-01T00:00:00Z"));
    insta::assert_snapshot!("ipns_expired", written(put(&server, &path, expired).await).await);
    let other = Publisher::ed25519(2).sign(&Statement::default());
    insta::assert_snapshot!("ipns_of_another", written(put(&server, &path, other).await).await);
    let deleted = server.ask(Method::DELETE, &path, &[]).await;
    insta::assert_snapshot!("ipns_method", written(deleted).await);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_found_is_200_where_the_operator_wants_it() {
    let server = server().with(|settings| settings.empty_status = "200".parse().unwrap());
    let server = server.start().await;
    let answer = server.get(&Publisher::ed25519(1).path()).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
    assert!(answer.headers().get("etag").is_none());
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accept_header_must_admit_records() {
    let server = server().start().await;
    let publisher = Publisher::ed25519(1);
    publish(&server, &publisher).await;
    for (accept, status) in [
        (RECORD_TYPE, 200),
        ("*/*", 200),
        ("application/*", 200),
        ("application/json, */*;q=0.1", 200),
        ("application/json", 406),
        ("application/vnd.ipfs.ipns-record;q=0", 406),
    ] {
        let answer = server.ask(Method::GET, &publisher.path(), &[("accept", accept)]).await;
        assert_eq!(answer.status(), status, "{accept}");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_content_type_of_a_put_must_name_records() {
    let server = server().start().await;
    let publisher = Publisher::ed25519(1);
    let record = publisher.sign(&Statement::default());
    for (headers, status) in [
        (&[][..], 406),
        (&[("content-type", "application/json")], 406),
        (&[("content-type", "application/octet-stream")], 406),
        (&[("content-type", "Application/VND.ipfs.ipns-record; charset=binary")], 200),
    ] {
        let answer = server.send(Method::PUT, &publisher.path(), headers, record.clone()).await;
        assert_eq!(answer.status(), status, "{headers:?}");
        if status == 406 {
            assert!(answer.text().await.unwrap().contains(RECORD_TYPE));
        }
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_more_than_10_kib_is_413_declared_or_not() {
    let server = server().start().await;
    let path = Publisher::ed25519(1).path();
    assert_eq!(put(&server, &path, vec![0; 10_240]).await.status(), 400);
    let declared = put(&server, &path, vec![0; 10_241]).await;
    insta::assert_snapshot!("ipns_too_large", written(declared).await);
    let mut request = format!(
        "PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {RECORD_TYPE}\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    .into_bytes();
    for _ in 0..11 {
        request.extend_from_slice(b"400\r\n");
        request.extend_from_slice(&[0; 1_024]);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    let answer = server.raw(request).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_does_not_come_is_408_in_time() {
    let server =
        server().with(|settings| settings.client_timeout = Duration::from_millis(1_500)).start();
    let server = server.await;
    let (addr, path) = (server.addr(), Publisher::ed25519(1).path());
    let asked = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {RECORD_TYPE}\r\n\
             Content-Length: 300\r\n\r\nhalf"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // Ends when the server closes, which it must do.
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    });
    let answer = asked.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("access-control-allow-origin: *"), "{answer}");
    assert!(answer.ends_with("the request's body did not come within 1s 500ms\n"), "{answer}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_that_counts_stays() {
    let server = server().start().await;
    let publisher = Publisher::ed25519(1);
    let path = publisher.path();
    let (soon, late) = ("2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z");
    for (sequence, end, status) in [
        (5, late, 200),
        (5, late, 200),
        (5, soon, 409),
        (4, "2126-01-01T00:00:00Z", 409),
        (6, soon, 200),
        (5, late, 409),
        (6, late, 200),
        ((1 << 63) - 1, soon, 200),
    ] {
        let record = publisher.sign(&statement(sequence, end));
        let answer = put(&server, &path, record.clone()).await;
        assert_eq!(answer.status(), status, "{sequence} {end}");
        if status == 200 {
            assert_eq!(server.get(&path).await.bytes().await.unwrap(), record);
        }
    }
    for (outcome, count) in [("stored", 4.0), ("unchanged", 1.0), ("superseded", 3.0)] {
        let series = format!("fingerpost_ipns_puts_total{{outcome=\"{outcome}\"}}");
        assert!((server.metric(&series).await - count).abs() < 0.1, "{outcome}");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_lapses_with_its_validity_and_is_swept() {
    let server = server().start().await;
    let publisher = Publisher::ed25519(1);
    publish(&server, &publisher).await;
    server.clock.set(NOW_MS + DAY_MS - 90_000);
    let last = server.get(&publisher.path()).await;
    assert_eq!(
        last.headers()["cache-control"],
        "public, max-age=90, stale-while-revalidate=0, stale-if-error=0"
    );
    assert_eq!(last.headers()["expires"], "Fri, 02 Jan 2026 00:00:00 GMT");
    assert!((server.metric("fingerpost_ipns_records").await - 1.0).abs() < 0.1);
    server.clock.set(NOW_MS + DAY_MS);
    let lapsed = server.get(&publisher.path()).await;
    assert_eq!(lapsed.status(), 404);
    assert!(lapsed.headers().get("expires").is_none());
    while server.metric("fingerpost_ipns_records").await > 0.5 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_ttl_is_absent_or_below_a_second_is_fresh_for_a_minute() {
    let server = server().start().await;
    for (number, ttl_ns) in [(1, None), (2, Some(0)), (3, Some(999_999_999))] {
        let publisher = Publisher::ed25519(number);
        let record = publisher.sign(&Statement { ttl_ns, ..Statement::default() });
        assert_eq!(put(&server, &publisher.path(), record).await.status(), 200);
        let found = server.get(&publisher.path()).await;
        assert_eq!(
            found.headers()["cache-control"],
            "public, max-age=60, stale-while-revalidate=86340, stale-if-error=86340",
            "{ttl_ns:?}"
        );
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_or_ttl_that_other_software_cannot_read_is_400() {
    let server = server().start().await;
    let publisher = Publisher::ed25519(1);
    for (sequence, ttl_ns, status) in [
        (1 << 63, 1, 400),
        (u64::MAX, 1, 400),
        (1, 1 << 63, 400),
        (1, u64::MAX, 400),
        ((1 << 63) - 1, (1 << 63) - 1, 200),
    ] {
        let statement = Statement { sequence, ttl_ns: Some(ttl_ns), ..Statement::default() };
        let answer = put(&server, &publisher.path(), publisher.sign(&statement)).await;
        assert_eq!(answer.status(), status, "{sequence} {ttl_ns}");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_body_is_415_and_says_what_to_do() {
    let server = server().start().await;
    let publisher = Publisher::ed25519(1);
    let record = publisher.sign(&Statement::default());
    for path in [publisher.path(), "/routing/v1/providers".to_owned()] {
        for encoding in ["gzip", "identity, br"] {
            let headers = [("content-type", RECORD_TYPE), ("content-encoding", encoding)];
            let refused = server.send(Method::PUT, &path, &headers, record.clone()).await;
            assert_eq!(refused.status(), 415, "{path} {encoding}");
            assert_eq!(refused.headers()["accept-encoding"], "identity");
            let text = refused.text().await.unwrap();
            let message = format!("the Content-Encoding is {encoding:?}; send the body as it is");
            assert!(text.starts_with(&message), "{text}");
        }
    }
    let plain = [("content-type", RECORD_TYPE), ("content-encoding", "identity")];
    let taken = server.send(Method::PUT, &publisher.path(), &plain, record).await;
    assert_eq!(taken.status(), 200);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_the_record_gets_304() {
    let server = server().start().await;
    let publisher = Publisher::ed25519(1);
    publish(&server, &publisher).await;
    server.clock.advance(5_000);
    let path = publisher.path();
    let first = server.get(&path).await;
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    let date = first.headers()["last-modified"].to_str().unwrap().to_owned();
    for asked in [("if-none-match", tag.as_str()), ("if-modified-since", &date)] {
        let again = server.ask(Method::GET, &path, &[asked]).await;
        assert_eq!(again.status(), 304, "{asked:?}");
        for name in ["cache-control", "etag", "expires", "last-modified", "vary"] {
            assert_eq!(again.headers()[name], first.headers()[name], "{name}");
        }
        assert!(again.headers().get("content-type").is_none());
    }
    put(&server, &path, publisher.sign(&statement(2, "2026-01-02T00:00:00Z"))).await;
    for asked in [("if-none-match", tag.as_str()), ("if-modified-since", &date)] {
        assert_eq!(server.ask(Method::GET, &path, &[asked]).await.status(), 200, "{asked:?}");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_may_put_records_where_ipns_is_offered() {
    let preflight = [
        ("origin", "https://app.example.org"),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "content-type"),
    ];
    for (offered, methods) in [(true, "GET, HEAD, PUT, OPTIONS"), (false, "GET, HEAD, OPTIONS")] {
        let server = server().with(|settings| settings.ipns = offered).start().await;
        let path = Publisher::ed25519(1).path();
        for headers in [&preflight[..], &[]] {
            let answer = server.ask(Method::OPTIONS, &path, headers).await;
            assert_eq!(answer.status(), 204);
            assert_eq!(answer.headers()["access-control-allow-methods"], methods);
        }
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_ipns_everything_about_names_is_501() {
    let server = server().with(|settings| settings.ipns = false).start().await;
    for path in [Publisher::ed25519(1).path(), "/routing/v1/ipns/x".to_owned()] {
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
            let answer = server.ask(method.clone(), &path, &[]).await;
            assert_eq!(answer.status(), 501, "{method} {path}");
            let text = answer.text().await.unwrap();
            assert!(method == Method::HEAD || text == "IPNS is not offered by this server\n");
        }
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_refuses_new_names_with_503_and_says_so() {
    let server = server().with(|settings| settings.ipns_records_max = 1).start().await;
    let first = Publisher::ed25519(1);
    publish(&server, &first).await;
    let second = Publisher::ed25519(2);
    let refused = put(&server, &second.path(), second.sign(&Statement::default())).await;
    insta::assert_snapshot!("ipns_full", written(refused).await);
    let known = first.sign(&statement(2, "2026-01-02T00:00:00Z"));
    assert_eq!(put(&server, &first.path(), known).await.status(), 200);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_with_its_quota_of_names_gets_507_and_others_get_in() {
    let server = server().with(|settings| {
        settings.trusted_proxies = "127.0.0.0/8".parse().unwrap();
        settings.ipns_network_names_max = 2;
    });
    let server = server.start().await;
    let put_from = async |client: &str, number: u32, sequence: u64| {
        let publisher = Publisher::ed25519(number);
        let record = publisher.sign(&statement(sequence, "2026-01-02T00:00:00Z"));
        let headers = [("content-type", RECORD_TYPE), ("X-Forwarded-For", client)];
        server.send(Method::PUT, &publisher.path(), &headers, record).await
    };
    for (client, number) in [("192.0.2.1", 1), ("192.0.2.2", 2)] {
        assert_eq!(put_from(client, number, 1).await.status(), 200);
    }
    insta::assert_snapshot!("ipns_network_full", written(put_from("192.0.2.3", 3, 1).await).await);
    assert_eq!(put_from("192.0.2.3", 2, 2).await.status(), 200, "it is there already");
    assert_eq!(put_from("192.0.3.1", 3, 1).await.status(), 200);
    for series in [
        r#"fingerpost_ipns_puts_total{outcome="refused"}"#,
        r#"fingerpost_limit_refusals_total{limit="ipns_network_names_max"}"#,
    ] {
        assert!((server.metric(series).await - 1.0).abs() < 0.1, "{series}");
    }
    server.shutdown().await;
}

/// Fails everything in its own way.
struct Failing(fn() -> IpnsStoreError);

impl IpnsStore for Failing {
    fn get<'a>(
        &'a self,
        _: &'a IpnsName,
        _: u64,
    ) -> BoxFuture<'a, Result<Option<StoredIpns>, IpnsStoreError>> {
        async { Err((self.0)()) }.boxed()
    }

    fn put(
        &self,
        _: IpnsRecord,
        _: Origin,
        _: u64,
    ) -> BoxFuture<'_, Result<IpnsPut, IpnsStoreError>> {
        async { Err((self.0)()) }.boxed()
    }

    fn sweep(&self, _: u64) -> BoxFuture<'_, Result<u64, IpnsStoreError>> {
        async { Err((self.0)()) }.boxed()
    }

    fn stats(&self) -> BoxFuture<'_, Result<IpnsStoreStats, IpnsStoreError>> {
        let stats = IpnsStoreStats { is_failing: true, ..IpnsStoreStats::default() };
        async move { Ok(stats) }.boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_store_is_a_status_without_details() {
    type Failure = fn() -> IpnsStoreError;
    let cases: [(Failure, u16, &str, &str); 4] = [
        (
            || IpnsStoreError::NoSpace { source: std::io::Error::other("secret detail") },
            507,
            "30",
            "insufficient storage; request id ",
        ),
        (
            || IpnsStoreError::Io { source: std::io::Error::other("secret detail") },
            503,
            "30",
            "service unavailable; request id ",
        ),
        (
            || IpnsStoreError::Unavailable { reason: "secret detail".to_owned() },
            503,
            "30",
            "service unavailable; request id ",
        ),
        (|| IpnsStoreError::Overloaded, 503, "1", "too many IPNS records at once\n"),
    ];
    for (failure, status, retry_after, text) in cases {
        let server = server().ipns(Failing(failure)).start().await;
        let publisher = Publisher::ed25519(1);
        let record = publisher.sign(&Statement::default());
        let answers =
            [put(&server, &publisher.path(), record).await, server.get(&publisher.path()).await];
        for answer in answers {
            assert_eq!(answer.status(), status);
            assert_eq!(answer.headers()["retry-after"], retry_after);
            assert_eq!(answer.headers()["cache-control"], "no-store");
            assert!(answer.text().await.unwrap().starts_with(text));
        }
        assert!((server.metric("fingerpost_ipns_failing").await - 1.0).abs() < 0.1);
        let failed = "fingerpost_ipns_puts_total{outcome=\"failed\"}";
        assert!((server.metric(failed).await - 1.0).abs() < 0.1);
        server.shutdown().await;
    }
}

/// Puts records of ever higher sequences, one name after the other, until the server is gone; notes
/// the sequence that was last acknowledged of each.
async fn publish_until_killed(client: reqwest::Client, base: String, acknowledged: Acknowledged) {
    for sequence in 1.. {
        for number in 0..NAMES_OF_A_TASK {
            let name = acknowledged.first_name + number;
            let publisher = Publisher::ed25519(name);
            let sequence = acknowledged.sequence_before + sequence;
            let record = publisher.sign(&statement(sequence, "2126-01-01T00:00:00Z"));
            let request = client.put(format!("{base}{}", publisher.path()));
            let Ok(answer) = request.header("content-type", RECORD_TYPE).body(record).send().await
            else {
                return;
            };
            assert_eq!(answer.status(), 200);
            acknowledged.sequences.lock().insert(name, sequence);
        }
    }
}

/// What one task had acknowledged.
#[derive(Clone)]
struct Acknowledged {
    first_name: u32,
    sequence_before: u64,
    sequences: Arc<Mutex<BTreeMap<u32, u64>>>,
}

const NAMES_OF_A_TASK: u32 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_acknowledged_survives_kill_9() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let sequences = Arc::new(Mutex::new(BTreeMap::new()));
    for round in 0..4_u64 {
        let (serving, client) = (Serving::start(serve(folder.path())), reqwest::Client::new());
        let base = serving.url("public API: ").to_owned();
        let known = sequences.lock().clone();
        for (name, sequence) in known {
            let publisher = Publisher::ed25519(name);
            let answer = client.get(format!("{base}{}", publisher.path())).send().await.unwrap();
            assert_eq!(answer.status(), 200, "round {round}, name {name}");
            let bytes = answer.bytes().await.unwrap();
            let record = IpnsRecord::verify(&bytes, &publisher.name).unwrap();
            // What was under way may have been stored without an answer.
            assert!(record.sequence() >= sequence, "round {round}, name {name}");
        }
        let tasks: Vec<_> = (0..6)
            .map(|task| {
                let acknowledged = Acknowledged {
                    first_name: task * NAMES_OF_A_TASK,
                    sequence_before: round * 1_000_000,
                    sequences: sequences.clone(),
                };
                tokio::spawn(publish_until_killed(client.clone(), base.clone(), acknowledged))
            })
            .collect();
        let of_this_round =
            || sequences.lock().values().filter(|at| **at > round * 1_000_000).count();
        while of_this_round() < 30 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(rand::rng().random_range(0..60))).await;
        serving.kill();
        for task in tasks {
            task.await.unwrap();
        }
    }
    assert_eq!(sequences.lock().len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_a_part_that_is_discarded_is_not_taken() {
    let server = server().start().await;
    let path = "/routes/static/g.ipns";
    let discard = r#"{"routePrefix":"g.ipns","nextHopAccountId":"discard"}"#;
    let request = server.admin(Method::PUT, path).header("content-type", "application/json");
    assert_eq!(request.body(discard).send().await.unwrap().status(), 201);
    let publisher = Publisher::ed25519(1);
    let record = publisher.sign(&Statement::default());
    let refused = put(&server, &publisher.path(), record).await;
    assert_eq!(refused.status(), 403);
    assert_eq!(
        refused.text().await.unwrap(),
        "names of this part of the key space are not served here\n"
    );
    server.admin(Method::DELETE, path).send().await.unwrap();
    // Nothing of it was kept.
    assert_eq!(server.get(&publisher.path()).await.status(), 404);
    publish(&server, &publisher).await;
    server.shutdown().await;
}
