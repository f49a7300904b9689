//! What an operator sees: health, readiness, metrics, and the way down.

use std::time::Duration;

use fingerpost::resolve::{FoundStream, ResolveError, Resolver};
use fingerpost::store::{Health, IpnsPut, IpnsStore, IpnsStoreError, IpnsStoreStats, StoredIpns};
use fingerpost::types::{Found, IpnsName, IpnsRecord, Origin, Question};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};

use super::harness::{CID, peer_record, server};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_healthy_at_once_and_ready_when_the_public_is_let_in() {
    let mut server = server().closed().start().await;
    assert_eq!(server.get_admin("/healthz").await.status(), 200);
    let waiting = server.get_admin("/readyz").await;
    assert_eq!(waiting.status(), 503);
    let text = waiting.text().await.unwrap();
    assert!(text.contains("not ready: files are still being imported"), "{text}");
    assert!(std::net::TcpStream::connect(server.addr()).is_err(), "refused until it is ready");
    server.server_mut().open().unwrap();
    let ready = server.get_admin("/readyz").await;
    assert_eq!((ready.status().as_u16(), ready.text().await.unwrap().as_str()), (200, "ready\n"));
    assert_eq!(server.get("/x").await.status(), 400);
    server.shutdown().await;
}

/// Keeps no names, and has lost its thread.
struct DeadIpns;

impl IpnsStore for DeadIpns {
    fn get<'a>(
        &'a self,
        _: &'a IpnsName,
        _: u64,
    ) -> BoxFuture<'a, Result<Option<StoredIpns>, IpnsStoreError>> {
        std::future::ready(Ok(None)).boxed()
    }

    fn put(
        &self,
        _: IpnsRecord,
        _: Origin,
        _: u64,
    ) -> BoxFuture<'_, Result<IpnsPut, IpnsStoreError>> {
        std::future::ready(Err(IpnsStoreError::Overloaded)).boxed()
    }

    fn sweep(&self, _: u64) -> BoxFuture<'_, Result<u64, IpnsStoreError>> {
        std::future::ready(Ok(0)).boxed()
    }

    fn health(&self) -> Health {
        Health::without_thread("names writer")
    }

    fn stats(&self) -> BoxFuture<'_, Result<IpnsStoreStats, IpnsStoreError>> {
        async { Ok(IpnsStoreStats::default()) }.boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_thread_that_died_turns_readiness_red_and_is_named() {
    let server = server().ipns(DeadIpns).start().await;
    let red = server.get_admin("/readyz").await;
    assert_eq!(red.status(), 503);
    let expected = "not ready: the store of IPNS records: the thread `names writer` has died\n";
    assert_eq!(red.text().await.unwrap(), expected);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_is_not_for_pages_and_knows_its_paths() {
    let server = server().start().await;
    let unknown = server.admin(reqwest::Method::GET, "/routing/v1/providers/x");
    let unknown = unknown.header("origin", format!("http://{}", server.admin_addr()));
    let unknown = unknown.send().await.unwrap();
    assert_eq!(unknown.status(), 404);
    assert!(unknown.headers().get("access-control-allow-origin").is_none());
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_route_status_and_format() {
    let server = server().start().await;
    server.announce(CID, &peer_record(1, &[])).await;
    server.announce(CID, &peer_record(2, &[])).await;
    for _ in 0..3 {
        server.providers(CID).await;
    }
    server.providers("hello").await;
    server.get("/nowhere").await;
    server.get("/routing/v1/peers/x").await;
    for (series, value) in [
        (
            r#"fingerpost_http_requests_total{route="/routing/v1/providers/{cid}",status="200",format="json"}"#,
            3.0,
        ),
        (
            r#"fingerpost_http_requests_total{route="/routing/v1/providers/{cid}",status="422",format="other"}"#,
            1.0,
        ),
        (r#"fingerpost_http_requests_total{route="unknown",status="400",format="other"}"#, 1.0),
        (
            r#"fingerpost_http_requests_total{route="/routing/v1/peers/{peer-id}",status="422",format="other"}"#,
            1.0,
        ),
        (
            r#"fingerpost_http_request_duration_seconds_count{route="/routing/v1/providers/{cid}"}"#,
            4.0,
        ),
        (r#"fingerpost_http_answer_bytes_count{route="/routing/v1/providers/{cid}"}"#, 4.0),
        ("fingerpost_records_served_total", 6.0),
        ("fingerpost_index_entries", 2.0),
        ("fingerpost_index_keys", 1.0),
        ("fingerpost_index_groups", 2.0),
    ] {
        assert_eq!(server.metric(series).await, value, "{series}");
    }
    assert!(server.metric("fingerpost_index_bytes").await > 0.0);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_open_metrics_text_with_a_sentence_for_each() {
    let server = server().start().await;
    let response = server.get_admin("/metrics").await;
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(content_type.starts_with("application/openmetrics-text"), "{content_type}");
    let text = response.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"));
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).unwrap();
        let help = text.lines().find(|line| line.starts_with(&format!("# HELP {name} ")));
        let help = help.unwrap_or_else(|| panic!("{name} has no sentence"));
        assert!(help.ends_with('.') && !help.ends_with(".."), "{help}");
    }
    server.shutdown().await;
}

/// Answers after a while.
struct Slow(Duration);

impl Resolver for Slow {
    fn find<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<Found, ResolveError>> {
        async {
            tokio::time::sleep(self.0).await;
            Ok(Found::default())
        }
        .boxed()
    }

    fn stream(&self, _: Question) -> FoundStream {
        let duration = self.0;
        stream::once(async move {
            tokio::time::sleep(duration).await;
            Ok(Found::default())
        })
        .boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_finishes_what_is_in_flight() {
    let server = server().resolver(Slow(Duration::from_secs(1))).start().await;
    let addr = server.addr();
    let asking = tokio::spawn(async move {
        reqwest::get(format!("http://{addr}/routing/v1/providers/{CID}")).await
    });
    while server.metric("fingerpost_requests_in_flight").await < 1.0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.shutdown().await;
    assert_eq!(asking.await.unwrap().unwrap().status(), 404);
    assert!(std::net::TcpStream::connect(addr).is_err(), "nobody is let in any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_within_its_timeout_though_a_lookup_hangs() {
    let server = server().resolver(Slow(Duration::from_secs(3_600)));
    let server = server.with(|settings| settings.shutdown_timeout = Duration::from_secs(1));
    let server = server.start().await;
    let addr = server.addr();
    let asking = tokio::spawn(async move {
        reqwest::get(format!("http://{addr}/routing/v1/providers/{CID}")).await
    });
    while server.metric("fingerpost_requests_in_flight").await < 1.0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let stopped = tokio::time::timeout(Duration::from_secs(10), server.shutdown()).await;
    assert!(stopped.is_ok(), "it waits for a lookup that never ends");
    assert!(asking.await.unwrap().is_err(), "the lookup has no answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_hold_a_server_that_stops() {
    let server = server().start().await;
    server.providers(CID).await;
    let idle = std::net::TcpStream::connect(server.addr()).unwrap();
    let stopped = tokio::time::timeout(Duration::from_secs(5), server.shutdown()).await;
    assert!(stopped.is_ok(), "it waits for connections that ask nothing");
    drop(idle);
}
