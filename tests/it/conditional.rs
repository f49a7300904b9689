//! ETag, Last-Modified and 304.

use reqwest::Method;

use super::harness::{CID, peer_record, server};

#[tokio::test(flavor = "multi_thread")]
async fn an_etag_holds_until_the_answer_changes() {
    let server = server().start().await;
    server.announce(CID, &peer_record(1, &["/ip4/192.0.2.1/tcp/1"])).await;
    let path = format!("/routing/v1/providers/{CID}");
    let first = server.get(&path).await;
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    let again = server.ask(Method::GET, &path, &[("if-none-match", &tag)]).await;
    assert_eq!(again.status(), 304);
    assert_eq!(again.headers()["etag"], tag);
    for name in ["cache-control", "vary", "last-modified", "access-control-allow-origin"] {
        assert_eq!(again.headers()[name], first.headers()[name], "{name}");
    }
    assert!(again.headers().get("content-type").is_none());
    assert_eq!(again.text().await.unwrap(), "");
    let head = server.ask(Method::HEAD, &path, &[("if-none-match", &tag)]).await;
    assert_eq!(head.status(), 304);
    server.announce(CID, &peer_record(2, &["/ip4/192.0.2.2/tcp/1"])).await;
    let changed = server.ask(Method::GET, &path, &[("if-none-match", &tag)]).await;
    assert_eq!(changed.status(), 200);
    assert_ne!(changed.headers()["etag"], tag);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn formats_and_filters_have_etags_of_their_own() {
    let server = server().start().await;
    let addrs = ["/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.1/udp/1", "/ip4/192.0.2.1/tcp/2/ws"];
    server.announce(CID, &peer_record(1, &addrs)).await;
    let path = format!("/routing/v1/providers/{CID}");
    let mut tags = Vec::new();
    for (query, accept) in [
        ("", "application/json"),
        ("", "application/x-ndjson"),
        ("?transport=tcp", "application/json"),
        ("?transport=udp", "application/json"),
        ("?transport=ws", "application/json"),
    ] {
        let response =
            server.ask(Method::GET, &format!("{path}{query}"), &[("accept", accept)]).await;
        tags.push(response.headers()["etag"].to_str().unwrap().to_owned());
    }
    let all = tags.len();
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), all, "{tags:?}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_by_date_is_answered_304_until_something_changes() {
    let server = server().start().await;
    server.announce(CID, &peer_record(1, &[])).await;
    server.clock.advance(5_000);
    let path = format!("/routing/v1/providers/{CID}");
    let first = server.get(&path).await;
    let date = first.headers()["last-modified"].to_str().unwrap().to_owned();
    assert_eq!(date, "Thu, 01 Jan 2026 00:00:00 GMT");
    let since = [("if-modified-since", date.as_str())];
    assert_eq!(server.ask(Method::GET, &path, &since).await.status(), 304);
    server.announce(CID, &peer_record(2, &[])).await;
    assert_eq!(server.ask(Method::GET, &path, &since).await.status(), 200);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_404_has_no_validators() {
    let server = server().start().await;
    let path = format!("/routing/v1/providers/{CID}");
    let response = server.ask(Method::GET, &path, &[("if-none-match", "*")]).await;
    assert_eq!(response.status(), 404);
    assert!(response.headers().get("etag").is_none());
    assert!(response.headers().get("last-modified").is_none());
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_200_is_answered_304_to_its_etag() {
    let server = server().with(|settings| settings.empty_status = "200".parse().unwrap());
    let server = server.start().await;
    let path = format!("/routing/v1/providers/{CID}");
    let first = server.get(&path).await;
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    let again = server.ask(Method::GET, &path, &[("if-none-match", &tag)]).await;
    assert_eq!(again.status(), 304);
    assert_eq!(again.headers()["cache-control"], first.headers()["cache-control"]);
    assert!(again.headers().get("content-type").is_none());
    server.announce(CID, &peer_record(1, &[])).await;
    let found = server.ask(Method::GET, &path, &[("if-none-match", &tag)]).await;
    assert_eq!(found.status(), 200);
    server.shutdown().await;
}
