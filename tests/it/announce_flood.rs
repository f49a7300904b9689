//! Floods of announcements by peers that cost nothing, and what is left for everybody else.

use std::sync::Arc;

use fingerpost::store::{IndexLimits, MemoryStore};
use fingerpost::types::AnswerSchema;
use reqwest::Method;

use super::harness::{
    CID, TestServer, cid_below, eventually, peer_id, peer_record, records, server,
};
use super::signing::{Provider, together};

const TCP: &str = "/ip4/192.0.2.1/tcp/4001";

/// Announces a key for some providers, as a client of a trusted proxy.
async fn put_from(server: &TestServer, client: &str, providers: &[Provider]) -> u16 {
    let record = |it: &Provider| it.record(&it.payload(&[CID], &[TCP]).to_string());
    let body = together(&providers.iter().map(record).collect::<Vec<_>>());
    let headers = [("X-Forwarded-For", client)];
    let put = server.send(Method::PUT, "/routing/v1/providers", &headers, body.into());
    put.await.status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_one_network_hides_nobody() {
    let server = server().with(|settings| {
        settings.trusted_proxies = "127.0.0.0/8".parse().unwrap();
        settings.announce_key_network_max = 500;
    });
    let server = server.start().await;
    server.announce(CID, &peer_record(1, &[TCP])).await;
    let (older, elsewhere) = (Provider::ed25519(1), Provider::ed25519(2));
    let mut expected = vec![peer_id(1), older.id(), elsewhere.id()];
    assert_eq!(put_from(&server, "192.0.2.7", &[older]).await, 200);
    server.clock.advance(2_000);
    for request in 0..125 {
        let providers: Vec<_> = (0..16).map(|n| Provider::numbered(request * 16 + n)).collect();
        assert_eq!(put_from(&server, "192.0.2.9", &providers).await, 200);
    }
    assert_eq!(put_from(&server, "2001:db8::1", &[elsewhere]).await, 200);
    for _ in 0..10 {
        let found = records(server.providers(CID).await).await;
        assert_eq!(found.len(), 100);
        let ids: Vec<_> = found.iter().map(|record| record["ID"].as_str().unwrap()).collect();
        assert!(expected.iter().all(|id| ids.contains(&id.as_str())), "{ids:?}");
    }
    // Those that were too many are not kept, those that stand longest are.
    let path = format!("/routing/v1/providers/{CID}");
    let all = server.ask(Method::GET, &path, &[("Accept", "application/x-ndjson")]).await;
    let all = all.text().await.unwrap();
    assert_eq!(all.lines().count(), 502);
    let left_out = r#"fingerpost_limit_refusals_total{limit="announce_key_network_max"}"#;
    eventually("a sweep reports what was left out", async || {
        server.metric(left_out).await == 1_501.0
    })
    .await;
    assert_eq!(server.metric("fingerpost_index_stranger_entries").await, 501.0);
    expected.retain(|id| !all.contains(id));
    assert_eq!(expected, [""; 0]);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_past_the_memory_is_refused_and_others_get_in() {
    let empty = MemoryStore::new(AnswerSchema::Announced);
    let empty = fingerpost::store::Store::stats(&empty).await.unwrap().bytes.unwrap();
    let limits = IndexLimits { bytes_max: empty + (1 << 20), ..IndexLimits::default() };
    let store = MemoryStore::with_limits(AnswerSchema::Announced, limits);
    let server = server().store(Arc::new(store));
    let server = server.with(|settings| settings.trusted_proxies = "127.0.0.0/8".parse().unwrap());
    let server = server.start().await;
    let put = async |client: &str, number: u32| {
        let keys: Vec<_> =
            (0..500u32).map(|key| cid_below("a", u64::from(number * 500 + key))).collect();
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        let provider = Provider::numbered(number);
        let body = provider.request(&provider.payload(&keys, &[TCP]));
        let headers = [("X-Forwarded-For", client)];
        server.send(Method::PUT, "/routing/v1/providers", &headers, body.into()).await
    };
    let mut refused = None;
    for number in 0..200 {
        let answer = put("192.0.2.9", number).await;
        if answer.status() != 200 {
            refused = Some((number, answer));
            break;
        }
    }
    let (number, answer) = refused.expect("there is a limit");
    assert!(number > 1, "{number}");
    assert_eq!(answer.status(), 507);
    assert_eq!(answer.headers()["retry-after"], "30");
    let refused = r#"fingerpost_limit_refusals_total{limit="index_memory_max"}"#;
    assert_eq!(server.metric(refused).await, 1.0);
    assert_eq!(server.metric("fingerpost_index_memory_max_bytes").await, limits.bytes_max as f64);
    assert_eq!(put("198.51.100.1", 300).await.status(), 200);
    server.announce(CID, &peer_record(1, &[TCP])).await;
    assert_eq!(records(server.providers(CID).await).await.len(), 1);
    server.shutdown().await;
}
