//! Which status a request gets, and what the error says.

use reqwest::Method;
use rstest::rstest;

use super::harness::{CID, PEER, server, written};

#[rstest]
#[case::root("/")]
#[case::below("/routing/v1")]
#[case::other_version("/routing/v2/providers/x")]
#[case::doubled_slash("/routing/v1//providers/x")]
#[case::doubled_slash_before_the_id("/routing/v1/providers//x")]
#[case::trailing_slash("/routing/v1/providers/bafkqaaa/")]
#[case::further_segment("/routing/v1/providers/bafkqaaa/x")]
#[case::upper_case("/Routing/v1/providers/bafkqaaa")]
#[case::admin_path("/metrics")]
#[case::trailing_slash_of_a_peer("/routing/v1/peers/x/")]
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_path_is_400(#[case] path: &str) {
    let server = server().start().await;
    for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT] {
        let response = server.ask(method.clone(), path, &[]).await;
        assert_eq!(response.status(), 400, "{method}");
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(response.headers()["cache-control"], "no-store");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_method_of_a_known_path_is_501_and_names_the_known_ones() {
    let server = server().start().await;
    let path = format!("/routing/v1/providers/{CID}");
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let response = server.ask(method.clone(), &path, &[]).await;
        assert_eq!(response.status(), 501, "{method}");
        assert_eq!(response.headers()["allow"], "GET, HEAD, OPTIONS", "{method}");
    }
    let answer = written(server.ask(Method::DELETE, &path, &[]).await).await;
    insta::assert_snapshot!("method_not_supported", answer);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_the_api_that_are_not_offered_are_501() {
    let without = |settings: &mut fingerpost::config::Settings| {
        settings.announce = fingerpost::config::AnnounceMode::Off;
        settings.ipns = false;
    };
    let server = server().with(without).start().await;
    for (method, path) in [
        (Method::GET, format!("/routing/v1/dht/closest/peers/{CID}")),
        (Method::GET, "/routing/v1/ipns/k51x".to_owned()),
        (Method::PUT, "/routing/v1/ipns/k51x".to_owned()),
        (Method::PUT, "/routing/v1/providers".to_owned()),
        (Method::PUT, "/routing/v1/providers/".to_owned()),
    ] {
        let response = server.ask(method.clone(), &path, &[]).await;
        assert_eq!(response.status(), 501, "{method} {path}");
        let text = response.text().await.unwrap();
        assert!(text.ends_with("is not offered by this server\n"), "{text}");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_closest_peers_is_read_before_it_is_said_that_there_is_no_dht() {
    let server = server().start().await;
    let path = "/routing/v1/dht/closest/peers";
    for key in [CID, PEER, "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"] {
        for method in [Method::GET, Method::HEAD] {
            let response = server.ask(method, &format!("{path}/{key}"), &[]).await;
            assert_eq!(response.status(), 501, "{key}");
        }
    }
    for key in ["hello", "12D3KooW", "%ff", &CID[..20]] {
        let response = server.get(&format!("{path}/{key}")).await;
        assert_eq!(response.status(), 422, "{key}");
        assert!(response.text().await.unwrap().starts_with("key: "), "{key}");
    }
    let response = server.ask(Method::PUT, &format!("{path}/{CID}"), &[]).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["allow"]),
        (501, &"GET, HEAD, OPTIONS".parse().unwrap())
    );
    server.shutdown().await;
}

#[rstest]
#[case::text("hello", "cid: ")]
#[case::one_letter("x", "cid: ")]
#[case::cut(&CID[..20], "cid: ")]
#[case::not_base58("Qm0OIl", "cid: ")]
#[case::version_2("bajkqaaa", "cid: CID version 2 does not exist, only 0 and 1")]
#[case::prefixed_v0(
    "zQmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
    "cid: a version 0 CID is bare base58"
)]
#[case::invalid_utf8("%ff%fe", "cid: ")]
#[case::nul("%00", "cid: ")]
#[case::line_break("a%0d%0aSet-Cookie:x", "cid: ")]
#[case::peer(PEER, "cid: ")]
#[case::filter_too_long(
    "bafkqaaa?filter-addrs=aaaaaaaaaabbbbbbbbbbaaaaaaaaaabbbbbbbbbbaaaaaaaaaabbbbbbbbbbcccc",
    "filter-addrs: a term of 64 characters, at most 63 are accepted"
)]
#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_parameter_is_422_and_says_which_and_why(
    #[case] path: &str,
    #[case] reason: &str,
) {
    let server = server().start().await;
    let response = server.providers(path).await;
    assert_eq!(response.status(), 422);
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    let text = response.text().await.unwrap();
    assert!(text.starts_with(reason), "{text}");
    assert!(text.len() <= 1024 && text.ends_with('\n'), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn error_answers_look_as_written_down() {
    let server = server().start().await;
    insta::assert_snapshot!("malformed_cid", written(server.providers("hello").await).await);
    insta::assert_snapshot!("unknown_path", written(server.get("/nowhere").await).await);
    let html = [("accept", "text/html")];
    let path = format!("/routing/v1/providers/{CID}");
    let refused = server.ask(Method::GET, &path, &html).await;
    insta::assert_snapshot!("not_acceptable", written(refused).await);
    let not_offered = server.get(&format!("/routing/v1/peers/{PEER}")).await;
    insta::assert_snapshot!("not_offered", written(not_offered).await);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_of_an_error_has_its_headers_and_no_body() {
    let server = server().start().await;
    let response = server.ask(Method::HEAD, "/routing/v1/providers/hello", &[]).await;
    assert_eq!(response.status(), 422);
    assert_ne!(response.headers()["content-length"], "0");
    assert_eq!(response.text().await.unwrap(), "");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_that_came_through_too_many_routers_is_508() {
    let server = server().start().await;
    let path = format!("/routing/v1/providers/{CID}");
    let hops = async |hops| server.ask(Method::GET, &path, &[("fingerpost-hops", hops)]).await;
    for (value, status) in [("0", 404), ("8", 404), ("9", 508), ("99999999999999999999", 508)] {
        let response = hops(value).await;
        assert_eq!(response.status(), status, "{value}");
    }
    let looped = hops("9").await;
    assert_eq!(looped.headers()["cache-control"], "no-store");
    assert_eq!(
        looped.text().await.unwrap(),
        "this lookup came through more than 8 routers; they may point at each other\n"
    );
    for value in ["", "-1", "1.0", "one", "1, 2"] {
        let refused = hops(value).await;
        assert_eq!(refused.status(), 400, "{value}");
        assert_eq!(refused.text().await.unwrap(), "fingerpost-hops: not a whole number\n");
    }
    server.shutdown().await;
}
