//! GET /routing/v1/providers/{cid}: what is found, and how it is answered.

use std::collections::HashMap;
use std::time::Duration;

use multibase::Base;
use reqwest::Method;
use rstest::rstest;

use super::harness::{CID, CID_V0, NOW_MS, PEER, peer_record, records, server, written};

const BITSWAP: &str = r#"{"Protocol":"transport-bitswap","Schema":"bitswap","ID":"12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z","Addrs":["/ip4/192.0.2.1/tcp/4001","/ip4/192.0.2.1/udp/4001/quic-v1"]}"#;
const GRAPHSYNC: &str = r#"{"Protocol":"transport-graphsync-filecoinv1","Schema":"graphsync-filecoinv1","ID":"12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z","Addrs":["/ip4/192.0.2.1/tcp/4001"],"PieceCID":"baga6ea4seaq","VerifiedDeal":true,"FastRetrieval":true}"#;
const UNKNOWN: &str = r#"{ "Schema":"new-thing", "a" : 1.50, "ID":"x" }"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_found_answer_looks_as_written_down() {
    let server = server().start().await;
    for record in [BITSWAP, GRAPHSYNC, UNKNOWN] {
        server.announce(CID, record).await;
    }
    server.clock.advance(2_000);
    insta::assert_snapshot!("found_json", written(server.providers(CID).await).await);
    let ndjson = [("accept", "application/x-ndjson")];
    let path = format!("/routing/v1/providers/{CID}");
    let answer = server.ask(Method::GET, &path, &ndjson).await;
    insta::assert_snapshot!("found_ndjson", written(answer).await);
    let filtered = server.get(&format!("{path}?transport=tcp")).await;
    insta::assert_snapshot!("found_filtered", written(filtered).await);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_has_the_headers_of_get_and_no_body() {
    let server = server().start().await;
    server.announce(CID, BITSWAP).await;
    let path = format!("/routing/v1/providers/{CID}");
    let get = server.ask(Method::GET, &path, &[]).await;
    let head = server.ask(Method::HEAD, &path, &[]).await;
    for name in ["content-type", "content-length", "etag", "cache-control", "vary"] {
        assert_eq!(head.headers()[name], get.headers()[name], "{name}");
    }
    assert_eq!((head.status(), get.status()), (get.status(), reqwest::StatusCode::OK));
    assert_eq!(head.text().await.unwrap(), "");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_answer_is_404_with_the_body_of_a_200() {
    let server = server().start().await;
    insta::assert_snapshot!("empty_json", written(server.providers(CID).await).await);
    let ndjson = [("accept", "application/x-ndjson")];
    let path = format!("/routing/v1/providers/{CID}");
    let answer = server.ask(Method::GET, &path, &ndjson).await;
    insta::assert_snapshot!("empty_ndjson", written(answer).await);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_answer_is_200_where_the_operator_wants_it() {
    let server = server().with(|settings| settings.empty_status = "200".parse().unwrap());
    let server = server.start().await;
    insta::assert_snapshot!("empty_json_200", written(server.providers(CID).await).await);
    server.shutdown().await;
}

#[rstest]
#[case::v0(CID_V0)]
#[case::raw_base32("bafkreie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe")]
#[case::libp2p_key("bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe")]
#[case::upper_case("BAFYBEIE5745RPV2M6TJYUUGYWY4D5EWRQGQQHFNF445HE3OMZPJBX5XQXE")]
#[case::base58(&multibase::encode(Base::Base58Btc, multibase::decode(CID).unwrap().1))]
#[case::base2(&multibase::encode(Base::Base2, multibase::decode(CID).unwrap().1))]
#[tokio::test(flavor = "multi_thread")]
async fn every_cid_of_a_multihash_finds_it(#[case] form: &str) {
    let server = server().start().await;
    server.announce(CID, BITSWAP).await;
    let response = server.providers(form).await;
    assert_eq!(response.status(), 200);
    assert_eq!(records(response).await.len(), 1);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_cids_are_looked_up_like_any() {
    let odd_digest = "baeabep4vu3ceru7nerjjbk37sxb7wmftteve4hcosmyolsbsiubw2vr6pqzj6mw7kv6tbn6nqkkldnklbjgm5tzbi4hkpkled4xlcr7xz4bq";
    // Base 64 has `+` and `/`, which a path must carry percent-encoded.
    let base64 =
        multibase::encode(Base::Base64, [&[1, 0x55, 0x12, 0x03][..], &[0xef, 0xff, 0xbe]].concat());
    assert!(base64.contains('/') && base64.contains('+'), "{base64}");
    let server = server().start().await;
    for cid in [odd_digest, &base64] {
        let path = percent_encoding::utf8_percent_encode(cid, percent_encoding::NON_ALPHANUMERIC);
        let path = path.to_string();
        assert_eq!(server.providers(&path).await.status(), 404);
        server.announce(cid, BITSWAP).await;
        assert_eq!(server.providers(&path).await.status(), 200);
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_cid_is_found_only_if_it_was_announced_here() {
    let server = server().start().await;
    let response = server.providers("bafkqaaa").await;
    assert_eq!(response.status(), 404);
    assert_eq!(response.text().await.unwrap(), r#"{"Providers":[]}"#);
    server.announce("bafkqaaa", BITSWAP).await;
    assert_eq!(server.providers("bafkqaaa").await.status(), 200);
    server.shutdown().await;
}

#[rstest]
#[case::kubo("application/x-ndjson", "application/x-ndjson")]
#[case::boxo("application/x-ndjson,application/json", "application/x-ndjson")]
#[case::helia("application/x-ndjson, application/json;q=0.8", "application/x-ndjson")]
#[case::browser("text/html,application/xhtml+xml,*/*;q=0.8", "application/json")]
#[case::any("*/*", "application/json")]
#[case::any_application("application/*", "application/json")]
#[case::json_with_parameters("Application/JSON; charset=utf-8", "application/json")]
#[case::json_preferred("application/x-ndjson;q=0.5, */*", "application/json")]
#[tokio::test(flavor = "multi_thread")]
async fn the_accept_header_chooses_the_format(#[case] accept: &str, #[case] expected: &str) {
    let server = server().start().await;
    server.announce(CID, BITSWAP).await;
    let path = format!("/routing/v1/providers/{CID}");
    let response = server.ask(Method::GET, &path, &[("accept", accept)]).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], expected);
    assert_eq!(response.headers()["vary"], "Accept");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_accept_lines_are_one_list() {
    let server = server().start().await;
    server.announce(CID, BITSWAP).await;
    let lines = [("accept", "text/html"), ("accept", "application/x-ndjson")];
    let path = format!("/routing/v1/providers/{CID}");
    let response = server.ask(Method::GET, &path, &lines).await;
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_answer_holds_at_most_100_records_and_nobody_is_starved() {
    let server = server().start().await;
    for number in 0..230 {
        server.announce(CID, &peer_record(number, &["/ip4/192.0.2.1/tcp/4001"])).await;
    }
    let mut seen: HashMap<String, u32> = HashMap::new();
    for _ in 0..23 {
        let answer = records(server.providers(CID).await).await;
        assert_eq!(answer.len(), 100);
        let mut ids: Vec<_> = answer.iter().map(|r| r["ID"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 100, "one answer holds a record once");
        ids.into_iter().for_each(|id| *seen.entry(id).or_default() += 1);
    }
    assert_eq!(seen.len(), 230);
    // 2,300 places over 230 providers.
    assert!(seen.values().all(|times| (9..=11).contains(times)), "{seen:?}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cap_counts_what_passes_the_filter() {
    let server = server().start().await;
    for number in 0..150 {
        let addr = if number < 60 { "/ip4/192.0.2.1/tcp/1" } else { "/ip4/192.0.2.1/udp/1" };
        server.announce(CID, &peer_record(number, &[addr])).await;
    }
    let tcp = server.providers(&format!("{CID}?transport=tcp")).await;
    assert_eq!(records(tcp).await.len(), 60);
    let udp = server.providers(&format!("{CID}?filter-addrs=udp")).await;
    assert_eq!(records(udp).await.len(), 90);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_not_all_fit_records_with_addresses_come_first() {
    let server = server().start().await;
    for number in 0..160 {
        let addrs: &[&str] = if number % 2 == 0 { &[] } else { &["/ip4/192.0.2.1/tcp/1"] };
        server.announce(CID, &peer_record(number, addrs)).await;
    }
    let answer = records(server.providers(CID).await).await;
    let with_addrs = answer.iter().filter(|r| r["Addrs"] != serde_json::json!([])).count();
    assert_eq!((answer.len(), with_addrs), (100, 80));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caps_are_settings() {
    let server = server().with(|settings| {
        settings.json_records_max = 2;
        settings.ndjson_records_max = 3;
    });
    let server = server.start().await;
    for number in 0..5 {
        server.announce(CID, &peer_record(number, &["/ip4/192.0.2.1/tcp/1"])).await;
    }
    assert_eq!(records(server.providers(CID).await).await.len(), 2);
    let path = format!("/routing/v1/providers/{CID}");
    let ndjson = server.ask(Method::GET, &path, &[("accept", "application/x-ndjson")]).await;
    assert_eq!(ndjson.text().await.unwrap().lines().count(), 3);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_an_answer_is_stable() {
    let server = server().start().await;
    for number in 0..50 {
        server.announce(CID, &peer_record(number, &["/ip4/192.0.2.1/tcp/1"])).await;
    }
    let first = server.providers(CID).await.text().await.unwrap();
    for _ in 0..5 {
        assert_eq!(server.providers(CID).await.text().await.unwrap(), first);
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_provider_with_two_schemas_is_two_records_and_announcing_again_is_one() {
    let server = server().start().await;
    for record in [BITSWAP, GRAPHSYNC, BITSWAP, GRAPHSYNC] {
        server.announce(CID, record).await;
    }
    assert_eq!(records(server.providers(CID).await).await.len(), 2);
    let moved = BITSWAP.replace("192.0.2.1", "192.0.2.77");
    server.announce(CID, &moved).await;
    let answer = server.providers(CID).await.text().await.unwrap();
    assert!(answer.contains(&moved) && !answer.contains(BITSWAP), "{answer}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_records_are_served_as_peer_where_the_operator_wants_it() {
    let server = server().with(|settings| settings.record_schema = "peer".parse().unwrap());
    let server = server.start().await;
    server.announce(CID, BITSWAP).await;
    let answer = records(server.providers(CID).await).await;
    let expected = serde_json::json!([{
        "Schema": "peer", "ID": PEER, "Protocols": ["transport-bitswap"],
        "Addrs": ["/ip4/192.0.2.1/tcp/4001", "/ip4/192.0.2.1/udp/4001/quic-v1"],
    }]);
    assert_eq!(serde_json::Value::from(answer), expected);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_gone_when_it_expires() {
    let server = server().start().await;
    server.announce_until(CID, BITSWAP, Some(NOW_MS + 1_000)).await;
    assert_eq!(server.providers(CID).await.status(), 200);
    server.clock.advance(999);
    assert_eq!(server.providers(CID).await.status(), 200);
    server.clock.advance(1);
    assert_eq!(server.providers(CID).await.status(), 404);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_times_are_settings() {
    let server = server().with(|settings| {
        settings.cache_found_max_age = Duration::from_secs(1);
        settings.cache_found_stale_while_revalidate = Duration::from_secs(2);
        settings.cache_found_stale_if_error = Duration::from_secs(3);
        settings.cache_empty_max_age = Duration::from_secs(4);
        settings.cache_empty_stale_while_revalidate = Duration::from_secs(5);
        settings.cache_empty_stale_if_error = Duration::from_secs(6);
    });
    let server = server.start().await;
    let empty = server.providers(CID).await;
    let expected = "public, max-age=4, stale-while-revalidate=5, stale-if-error=6";
    assert_eq!(empty.headers()["cache-control"], expected);
    server.announce(CID, BITSWAP).await;
    let found = server.providers(CID).await;
    let expected = "public, max-age=1, stale-while-revalidate=2, stale-if-error=3";
    assert_eq!(found.headers()["cache-control"], expected);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_query_parameters_are_ignored() {
    let server = server().start().await;
    server.announce(CID, BITSWAP).await;
    let plain = server.providers(CID).await.text().await.unwrap();
    let long = "x".repeat(100);
    let query = format!("{CID}?Transport=udp&x&filter_addrs=udp&y={long}&=&%");
    assert_eq!(server.providers(&query).await.text().await.unwrap(), plain);
    server.shutdown().await;
}
