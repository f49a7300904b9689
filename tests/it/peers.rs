//! GET /routing/v1/peers/{peer-id}: what is known of a peer, from all that it announced.

use reqwest::Method;

use super::harness::{CID, PEER, TestServer, server, written};

const OTHER_CID: &str = "bafkreigur6gzxm3ykiol7ywou3iy3obruzs2q7boizj7oznznid34dzc3e";

async fn peers(server: &TestServer, path: &str) -> reqwest::Response {
    server.get(&format!("/routing/v1/peers/{path}")).await
}

async fn announce(server: &TestServer, cid: &str, schema: &str, protocol: &str, addr: &str) {
    let (name, value) = match schema {
        "peer" => ("Protocols", format!("[\"{protocol}\"]")),
        _ => ("Protocol", format!("\"{protocol}\"")),
    };
    let record =
        format!(r#"{{"Schema":"{schema}","ID":"{PEER}","Addrs":["{addr}"],"{name}":{value}}}"#);
    server.announce(cid, &record).await;
    server.clock.advance(1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_one_record_of_all_that_it_announced_the_freshest_first() {
    let server = server().start().await;
    announce(&server, CID, "bitswap", "transport-bitswap", "/ip4/192.0.2.1/tcp/1").await;
    announce(&server, OTHER_CID, "peer", "transport-ipfs-gateway-http", "/ip4/192.0.2.2/tcp/2/wss")
        .await;
    insta::assert_snapshot!("peer_json", written(peers(&server, PEER).await).await);
    let path = format!("/routing/v1/peers/{PEER}");
    let lines = server.ask(Method::GET, &path, &[("accept", "application/x-ndjson")]).await;
    insta::assert_snapshot!("peer_ndjson", written(lines).await);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_a_peer_id_finds_it() {
    let server = server().start().await;
    announce(&server, CID, "peer", "transport-bitswap", "/ip4/192.0.2.1/tcp/1").await;
    let expected = peers(&server, PEER).await.text().await.unwrap();
    let bytes = PEER.parse::<libp2p_identity::PeerId>().unwrap().to_bytes();
    let cid = [&[0x01, 0x72][..], &bytes].concat();
    for base in [multibase::Base::Base32Lower, multibase::Base::Base36Lower] {
        let text = multibase::encode(base, &cid);
        assert_eq!(peers(&server, &text).await.text().await.unwrap(), expected);
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_nobody_knows_is_404_with_an_empty_list() {
    let server = server().start().await;
    insta::assert_snapshot!("peer_unknown", written(peers(&server, PEER).await).await);
    server.announce_until(CID, &super::harness::peer_record(0, &[]), Some(1)).await;
    assert_eq!(peers(&server, &super::harness::peer_id(0)).await.status(), 404);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_peer_id_is_422() {
    let server = server().start().await;
    for path in [CID, OTHER_CID, "hello", "12D3KooW", "%ff", &format!("{PEER}?filter-addrs=a,,,b")]
    {
        let response = peers(&server, path).await;
        let expected = if path.contains('?') { 404 } else { 422 };
        assert_eq!(response.status(), expected, "{path}");
        let text = response.text().await.unwrap();
        assert!(expected == 404 || text.starts_with("peer-id: "), "{text}");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_are_filtered_cached_and_asked_by_head_like_providers() {
    let server = server().start().await;
    announce(&server, CID, "peer", "transport-bitswap", "/ip4/192.0.2.1/tcp/1").await;
    announce(&server, OTHER_CID, "peer", "transport-bitswap", "/ip4/192.0.2.1/udp/1/quic-v1").await;
    let text = peers(&server, &format!("{PEER}?filter-addrs=udp")).await.text().await.unwrap();
    assert!(text.contains("/udp/1/quic-v1") && !text.contains("/tcp/1"), "{text}");
    for query in ["filter-addrs=webtransport", "filter-protocols=unknown"] {
        assert_eq!(peers(&server, &format!("{PEER}?{query}")).await.status(), 404, "{query}");
    }
    let path = format!("/routing/v1/peers/{PEER}");
    let whole = server.get(&path).await;
    let etag = whole.headers()["etag"].to_str().unwrap().to_owned();
    let known = server.ask(Method::GET, &path, &[("if-none-match", &etag)]).await;
    assert_eq!(known.status(), 304);
    let head = server.ask(Method::HEAD, &path, &[]).await;
    assert_eq!(head.headers()["content-length"], whole.headers()["content-length"]);
    assert_eq!(head.text().await.unwrap(), "");
    let put = server.ask(Method::PUT, &path, &[]).await;
    assert_eq!(
        (put.status().as_u16(), &put.headers()["allow"]),
        (501, &"GET, HEAD, OPTIONS".parse().unwrap())
    );
    server.shutdown().await;
}
