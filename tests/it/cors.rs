//! Every page may read every answer.

use reqwest::Method;

use super::harness::{CID, peer_record, server, written};

const ORIGIN: (&str, &str) = ("origin", "https://app.example.org");

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_open_to_every_origin() {
    let server = server().with(|settings| {
        settings.body_bytes_max = 10;
        settings.header_bytes_max = 2_000;
    });
    let server = server.start().await;
    server.announce(CID, &peer_record(1, &[])).await;
    let found = format!("/routing/v1/providers/{CID}");
    let long = "x".repeat(3_000);
    let cases = [
        (200, Method::GET, found.as_str(), vec![]),
        (304, Method::GET, &found, vec![("if-none-match", "*")]),
        (404, Method::GET, "/routing/v1/providers/bafkqaaa", vec![]),
        (422, Method::GET, "/routing/v1/providers/x", vec![]),
        (400, Method::GET, "/x", vec![]),
        (406, Method::GET, &found, vec![("accept", "text/html")]),
        (501, Method::DELETE, &found, vec![]),
        (422, Method::GET, "/routing/v1/peers/x", vec![]),
        (422, Method::GET, "/routing/v1/ipns/x", vec![]),
        (400, Method::PUT, "/routing/v1/ipns/x", vec![]),
        (431, Method::GET, &found, vec![("x-long", &long)]),
    ];
    for (status, method, path, headers) in cases {
        for origin in [None, Some(ORIGIN), Some(("origin", "null"))] {
            let headers: Vec<_> = headers.iter().copied().chain(origin).collect();
            let response = server.ask(method.clone(), path, &headers).await;
            assert_eq!(response.status(), status, "{method} {path}");
            assert_eq!(response.headers()["access-control-allow-origin"], "*", "{status}");
            let exposed = response.headers()["access-control-expose-headers"].to_str().unwrap();
            assert_eq!(exposed, "ETag, Retry-After, Age, Date, Server-Timing, X-Request-Id");
            assert!(response.headers().get("access-control-allow-credentials").is_none());
            let vary: Vec<_> = response.headers().get_all("vary").iter().collect();
            assert!(vary.iter().all(|value| *value == "Accept"), "{vary:?}");
        }
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_is_204_on_every_path_whatever_it_asks_for() {
    let server = server().start().await;
    let preflight = [
        ORIGIN,
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "x-requested-with, if-none-match"),
    ];
    for path in [
        format!("/routing/v1/providers/{CID}"),
        "/routing/v1/providers/not-a-cid".to_owned(),
        "/routing/v1/providers/".to_owned(),
        "/routing/v1/peers/x".to_owned(),
        "/routing/v1/ipns/x".to_owned(),
        "/routing/v1/dht/closest/peers/x".to_owned(),
        "/of/nothing".to_owned(),
    ] {
        for headers in [&preflight[..], &preflight[..1], &[]] {
            let response = server.ask(Method::OPTIONS, &path, headers).await;
            assert_eq!(response.status(), 204, "{path}");
            let is_put_too =
                path.starts_with("/routing/v1/ipns/") || path == "/routing/v1/providers/";
            let methods = if is_put_too { "GET, HEAD, PUT, OPTIONS" } else { "GET, HEAD, OPTIONS" };
            assert_eq!(response.headers()["access-control-allow-methods"], methods);
            assert_eq!(response.headers()["access-control-max-age"], "600");
        }
    }
    let path = format!("/routing/v1/providers/{CID}");
    let answer = server.ask(Method::OPTIONS, &path, &preflight).await;
    insta::assert_snapshot!("preflight", written(answer).await);
    let other = [ORIGIN, ("access-control-request-method", "DELETE")];
    assert_eq!(server.ask(Method::OPTIONS, &path, &other).await.status(), 204);
    server.shutdown().await;
}
