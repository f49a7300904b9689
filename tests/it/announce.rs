//! Signed announcements: what is accepted, what is refused, and what lookups answer afterwards.

use std::sync::Arc;
use std::time::Duration;

use fingerpost::store::StoreError;
use fingerpost::types::Limit;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::harness::{CID, CID_V0, NOW_MS, PEER, TestServer, eventually, records, server, written};
use super::odd_store::OddStore;
use super::signing::{HOUR_MS, Provider, VECTOR, VECTOR_CID, VECTOR_MS, together};

const TCP: &str = "/ip4/192.0.2.1/tcp/4001";

/// The statuses and reasons of refused requests.
async fn refused(response: Response) -> (u16, String) {
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(response.headers()["cache-control"], "no-store");
    (response.status().as_u16(), response.text().await.unwrap())
}

async fn effective_ttls_ms(response: Response) -> Vec<u64> {
    assert_eq!(response.status(), 200);
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    let results = answer["ProvideResults"].as_array().unwrap();
    results.iter().map(|result| result["AdvisoryTTL"].as_u64().unwrap() / 1_000_000).collect()
}

async fn ids(server: &TestServer, cid: &str) -> Vec<String> {
    let found = records(server.providers(cid).await).await;
    found.iter().map(|record| record["ID"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vector_is_accepted_and_its_provider_is_found() {
    let server = server().start().await;
    server.clock.set(VECTOR_MS);
    insta::assert_snapshot!("announced", written(server.put_providers(VECTOR).await).await);
    insta::assert_snapshot!("announced_found", written(server.providers(VECTOR_CID).await).await);
    assert_eq!(server.metric(r#"fingerpost_announcements_total{outcome="accepted"}"#).await, 1.0);
    assert_eq!(server.metric("fingerpost_announced_keys_total").await, 1.0);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_and_without_a_slash_and_any_content_type_it_is_the_same() {
    let server = server().start().await;
    server.clock.set(VECTOR_MS);
    let addr = server.addr();
    for path in ["/routing/v1/providers", "/routing/v1/providers/"] {
        for content_type in ["", "Content-Type: text/plain\r\n", "Content-Type: nonsense\r\n"] {
            let request = format!(
                "PUT {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n{content_type}Content-Length: {}\r\n\r\n{VECTOR}",
                VECTOR.len()
            );
            let answer = server.raw(request.into_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_look_as_written_down() {
    let server = server().start().await;
    server.clock.set(VECTOR_MS);
    let value: Value = serde_json::from_str(VECTOR).unwrap();
    let pretty = serde_json::to_string_pretty(&value).unwrap();
    insta::assert_snapshot!("announce_pretty", written(server.put_providers(pretty).await).await);
    let shape = written(server.put_providers("[]").await).await;
    insta::assert_snapshot!("announce_malformed", shape);
    server.clock.set(NOW_MS);
    insta::assert_snapshot!("announce_old", written(server.put_providers(VECTOR).await).await);
    let provider = Provider::ed25519(1);
    let keys = provider.request(&provider.payload(&[CID, "hello"], &[]));
    insta::assert_snapshot!("announce_key", written(server.put_providers(keys).await).await);
    assert!(ids(&server, VECTOR_CID).await.is_empty());
    for (outcome, count) in
        [("accepted", 0.0), ("bad_signature", 1.0), ("malformed", 1.0), ("too_old", 1.0)]
    {
        let series = format!(r#"fingerpost_announcements_total{{outcome="{outcome}"}}"#);
        assert_eq!(server.metric(&series).await, count, "{outcome}");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_has_its_status() {
    let server = server().start().await;
    let provider = Provider::ed25519(1);
    let with = |changes: Value| {
        let mut payload = provider.payload(&[CID], &[TCP]);
        for (name, value) in changes.as_object().unwrap() {
            payload[name] = value.clone();
        }
        provider.request(&payload)
    };
    let sound = with(json!({}));
    let cases = [
        (400, String::new()),
        (400, "{".to_owned()),
        (400, r#"{"Providers":[]}"#.to_owned()),
        (400, sound.replace("\"bitswap\"", "\"peer\"")),
        (400, sound.replace("Payload", "payload")),
        (400, with(json!({"Timestamp": null}))),
        (400, with(json!({"AdvisoryTTL": null}))),
        (400, with(json!({"Keys": []}))),
        (403, sound.replace("Signature", "signature")),
        (403, sound.replace("\"Timestamp\"", " \"Timestamp\"")),
        (403, with(json!({"ID": "QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3"}))),
        (403, with(json!({"Timestamp": NOW_MS - 25 * HOUR_MS}))),
        (403, with(json!({"Timestamp": NOW_MS + HOUR_MS}))),
        (403, with(json!({"Timestamp": NOW_MS - 2 * HOUR_MS, "AdvisoryTTL": HOUR_MS * 1_000_000}))),
        (413, with(json!({"Keys": vec![CID; 1_001]}))),
        (413, together(&vec![provider.record("{}"); 17]).replace("{}", "1")),
        (422, with(json!({"Keys": [PEER]}))),
    ];
    for (status, body) in cases {
        let (found, reason) = refused(server.put_providers(body.clone()).await).await;
        assert_eq!(found, status, "{reason} {body:.200}");
    }
    assert_eq!(server.put_providers(sound).await.status(), 200);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_accepted_whole_or_not_at_all() {
    let server = server().start().await;
    let (one, two) = (Provider::ed25519(1), Provider::ed25519(2));
    let good = one.record(&one.payload(&[CID], &[TCP]).to_string());
    let bad_key = two.record(&two.payload(&["hello"], &[TCP]).to_string());
    let foreign = two.record(&one.payload(&[CID], &[TCP]).to_string());
    for (status, records) in [
        (422, [good.clone(), bad_key.clone()]),
        (422, [bad_key, good.clone()]),
        (403, [good.clone(), foreign]),
    ] {
        let (found, reason) = refused(server.put_providers(together(&records)).await).await;
        assert_eq!(found, status, "{reason}");
        assert!(ids(&server, CID).await.is_empty());
    }
    let other = two.record(&two.payload(&[VECTOR_CID], &[TCP]).to_string());
    let accepted = server.put_providers(together(&[good, other])).await;
    assert_eq!(effective_ttls_ms(accepted).await.len(), 2);
    assert_eq!(ids(&server, CID).await, [one.id()]);
    assert_eq!(ids(&server, VECTOR_CID).await, [two.id()]);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ed25519_and_secp256k1_providers_are_found_by_any_cid_of_the_content() {
    let server = server().start().await;
    for provider in [Provider::ed25519(3), Provider::secp256k1(3)] {
        let body = provider.request(&provider.payload(&[CID], &[TCP]));
        assert_eq!(server.put_providers(body).await.status(), 200);
        assert!(ids(&server, CID_V0).await.contains(&provider.id()));
    }
    assert_eq!(ids(&server, CID_V0).await.len(), 2);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_addresses_the_provider_is_found_all_the_same() {
    let server = server().start().await;
    let provider = Provider::ed25519(1);
    let mut payload = provider.payload(&[CID], &[]);
    payload["Addrs"] = Value::Null;
    assert_eq!(server.put_providers(provider.request(&payload)).await.status(), 200);
    let found = records(server.providers(CID).await).await;
    assert_eq!(found[0]["ID"], provider.id().as_str());
    assert!(found[0]["Addrs"].as_array().is_none_or(Vec::is_empty), "{}", found[0]);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn private_addresses_are_left_out_unless_they_are_allowed() {
    let given = ["/ip4/10.0.0.1/tcp/1", TCP, "/ip4/0.0.0.0/tcp/2", "/dns4/example.org/tcp/3"];
    for (allow, expected) in [
        (false, &[TCP, "/dns4/example.org/tcp/3"][..]),
        (true, &["/ip4/10.0.0.1/tcp/1", TCP, "/ip4/127.0.0.1/tcp/2", "/dns4/example.org/tcp/3"]),
    ] {
        let server = server().with(|settings| settings.allow_private_addrs = allow).start().await;
        let provider = Provider::ed25519(1);
        let body = provider.request(&provider.payload(&[CID], &given));
        assert_eq!(server.put_providers(body).await.status(), 200);
        let found = records(server.providers(CID).await).await;
        assert_eq!(found[0]["Addrs"], json!(expected));
        let dropped = "fingerpost_announced_addrs_dropped_total";
        // The caller's own address is loopback.
        let private = server.metric(&format!(r#"{dropped}{{reason="private"}}"#)).await;
        assert_eq!(private, if allow { 0.0 } else { 2.0 });
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_which_none_can_be_used_change_nothing() {
    let server = server().start().await;
    let provider = Provider::ed25519(1);
    let put = async |addrs: &[&str], at_ms: u64| {
        let mut payload = provider.payload(&[CID], addrs);
        payload["Timestamp"] = json!(at_ms);
        server.put_providers(provider.request(&payload)).await
    };
    assert_eq!(put(&[TCP], NOW_MS).await.status(), 200);
    let refused = put(&["/ip4/10.0.0.1/tcp/1", "/ip4/192.0.2.1/tcp/+1"], NOW_MS + 1).await;
    assert_eq!(refused.status(), 422);
    let text = refused.text().await.unwrap();
    assert!(text.contains("/ip4/10.0.0.1/tcp/1") && text.contains("/tcp/+1"), "{text}");
    let found = records(server.providers(CID).await).await;
    assert_eq!(found[0]["Addrs"], json!([TCP]));
    assert_eq!(put(&[], NOW_MS + 2).await.status(), 200);
    let found = records(server.providers(CID).await).await;
    assert_eq!(found[0]["Addrs"], json!([]));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unspecified_address_is_replaced_only_by_a_certain_one() {
    let announce = async |trusted: &str, header: Option<(&str, &str)>| {
        let server = server().with(|settings| settings.trusted_proxies = trusted.parse().unwrap());
        let server = server.start().await;
        let provider = Provider::ed25519(1);
        let body = provider.request(&provider.payload(&[CID], &["/ip4/0.0.0.0/tcp/2"]));
        let header = header.map(|(name, value)| format!("{name}: {value}\r\n"));
        let request = format!(
            "PUT /routing/v1/providers HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{}Content-Length: {}\r\n\r\n{body}",
            header.unwrap_or_default(),
            body.len()
        );
        let answer = server.raw(request.into_bytes()).await;
        let status = answer.split(' ').nth(1).unwrap().to_owned();
        let found = records(server.providers(CID).await).await;
        server.shutdown().await;
        let addrs = found.first().and_then(|record| record["Addrs"].as_array().cloned());
        (status, addrs.unwrap_or_default())
    };
    let refused = ("422".to_owned(), Vec::new());
    let by_proxy = Some(("X-Forwarded-For", "192.0.2.9"));
    let replaced = ("200".to_owned(), vec![json!("/ip4/192.0.2.9/tcp/2")]);
    assert_eq!(announce("127.0.0.0/8", by_proxy).await, replaced);
    assert_eq!(announce("127.0.0.0/8", None).await, refused);
    assert_eq!(announce("127.0.0.0/8", Some(("X-Forwarded-For", "unknown"))).await, refused);
    // A header that nobody told us to believe, and a sign that somebody stands in between.
    assert_eq!(announce("", by_proxy).await, refused);
    assert_eq!(announce("", Some(("Forwarded", "for=192.0.2.9"))).await, refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_effective_ttl_is_answered_and_afterwards_the_provider_is_gone() {
    let server = server().start().await;
    let provider = Provider::ed25519(1);
    for (hours, most_ms) in [(0, 60_000), (1, HOUR_MS), (24, 24 * HOUR_MS), (1_000, 48 * HOUR_MS)] {
        let body = provider.announcement(&[CID], &[TCP], NOW_MS, hours);
        let ttl_ms = effective_ttls_ms(server.put_providers(body).await).await[0];
        assert!(ttl_ms <= most_ms && ttl_ms > most_ms - most_ms / 64, "{hours}: {ttl_ms}");
    }
    let other = Provider::ed25519(2);
    let body = other.announcement(&[VECTOR_CID], &[TCP], NOW_MS, 1);
    let ttl_ms = effective_ttls_ms(server.put_providers(body).await).await[0];
    server.clock.advance(ttl_ms - 1);
    assert_eq!(ids(&server, VECTOR_CID).await, [other.id()]);
    server.clock.advance(1);
    assert!(ids(&server, VECTOR_CID).await.is_empty());
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn announcing_again_prolongs_and_sending_the_same_again_does_not() {
    let server = server().start().await;
    let provider = Provider::ed25519(1);
    let first = provider.announcement(&[CID], &[TCP], NOW_MS, 2);
    let ttl_ms = effective_ttls_ms(server.put_providers(first.clone()).await).await[0];
    server.clock.advance(HOUR_MS);
    let again_ms = effective_ttls_ms(server.put_providers(first.clone()).await).await[0];
    assert_eq!(again_ms, ttl_ms - HOUR_MS);
    server.clock.advance(again_ms);
    assert!(ids(&server, CID).await.is_empty());
    let (status, reason) = refused(server.put_providers(first.clone()).await).await;
    assert_eq!(status, 403);
    assert!(reason.contains("`Timestamp` plus `AdvisoryTTL` has passed"), "{reason}");
    assert!(ids(&server, CID).await.is_empty());

    let now_ms = NOW_MS + HOUR_MS + again_ms;
    let second = provider.announcement(&[CID], &[TCP], now_ms, 2);
    let ttl_ms = effective_ttls_ms(server.put_providers(second).await).await[0];
    server.clock.advance(HOUR_MS);
    let third = provider.announcement(&[CID], &[TCP], now_ms + HOUR_MS, 2);
    assert_eq!(server.put_providers(third).await.status(), 200);
    server.clock.advance(ttl_ms - HOUR_MS);
    assert_eq!(ids(&server, CID).await, [provider.id()]);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_announcement_sent_again_shortens_nothing() {
    let server = server().start().await;
    let provider = Provider::ed25519(1);
    let older = provider.announcement(&[CID], &[TCP], NOW_MS, 2);
    assert_eq!(server.put_providers(older.clone()).await.status(), 200);
    server.clock.advance(HOUR_MS);
    let newer = provider.announcement(&[CID], &[TCP], NOW_MS + HOUR_MS, 24);
    assert_eq!(server.put_providers(newer).await.status(), 200);
    assert_eq!(server.put_providers(older).await.status(), 200);
    server.clock.advance(20 * HOUR_MS);
    assert_eq!(ids(&server, CID).await, [provider.id()]);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_is_there_after_a_restart_until_its_time_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let start = async || server().data_dir(folder.path()).start().await;
    let running = start().await;
    let provider = Provider::secp256k1(1);
    let body = provider.announcement(&[CID], &[TCP], NOW_MS, 1);
    let ttl_ms = effective_ttls_ms(running.put_providers(body).await).await[0];
    running.shutdown().await;

    let restarted = start().await;
    let found = records(restarted.providers(CID).await).await;
    assert_eq!(
        (found[0]["ID"].as_str(), &found[0]["Addrs"]),
        (Some(&*provider.id()), &json!([TCP]))
    );
    restarted.clock.advance(ttl_ms);
    assert!(ids(&restarted, CID).await.is_empty());
    restarted.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_is_not_acknowledged() {
    let full: fn() -> StoreError = || StoreError::Full { limit: Limit::IndexMemory };
    let no_space: fn() -> StoreError =
        || StoreError::NoSpace { source: std::io::Error::other("secret path") };
    let io: fn() -> StoreError = || StoreError::Io { source: std::io::Error::other("secret path") };
    for (failure, status, says) in [
        (full, 507, "the store is full: memory (index_memory_max)"),
        (no_space, 507, "; request id "),
        (io, 503, "; request id "),
    ] {
        let store = OddStore::failing(0, failure).shared();
        let server = server().store(store).start().await;
        let provider = Provider::ed25519(1);
        let body = provider.request(&provider.payload(&[CID], &[TCP]));
        let response = server.put_providers(body).await;
        assert_eq!(response.headers()["retry-after"], "30");
        let (found, text) = refused(response).await;
        assert_eq!(found, status);
        assert!(text.contains(says) && !text.contains("secret"), "{text}");
        assert!(ids(&server, CID).await.is_empty());
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_waits_for_the_store() {
    let store = OddStore::held().shared();
    let server = Arc::new(server().store(store.clone()).start().await);
    let provider = Provider::ed25519(1);
    let body = provider.request(&provider.payload(&[CID], &[TCP]));
    let asking = server.clone();
    let answer = tokio::spawn(async move { asking.put_providers(body).await.status() });
    assert!(ids(&server, CID).await.is_empty());
    assert!(!answer.is_finished());
    store.batches.add_permits(1);
    assert_eq!(answer.await.unwrap(), 200);
    assert_eq!(ids(&server, CID).await, [provider.id()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_go_away_leave_a_bounded_number_of_announcements_behind() {
    let store = OddStore::held().shared();
    let server = server().store(store.clone()).with(|settings| {
        settings.client_timeout = Duration::from_secs(5);
        settings.announce_peer_rate_limit = 0;
    });
    let server = Arc::new(server.start().await);
    let provider = Provider::ed25519(1);
    let body = provider.request(&provider.payload(&[CID], &[TCP]));
    let leaving: Vec<_> = (0..300)
        .map(|_| {
            let (server, body) = (server.clone(), body.clone());
            tokio::spawn(async move { server.put_providers(body).await.status() })
        })
        .collect();
    eventually("as many as may wait for the store do", async || store.asked() == 256).await;
    leaving.iter().for_each(tokio::task::JoinHandle::abort);
    let refused = server.put_providers(body.clone()).await;
    assert_eq!((refused.status().as_u16(), store.asked()), (503, 256));
    assert_eq!(refused.headers()["retry-after"], "1");
    store.batches.add_permits(1_000);
    assert_eq!(server.put_providers(body).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_announcing_is_off_it_is_501_and_put_is_not_allowed_to_pages() {
    let server = server().with(|settings| settings.announce = "off".parse().unwrap()).start().await;
    for path in ["/routing/v1/providers", "/routing/v1/providers/"] {
        for method in [Method::PUT, Method::GET] {
            let response = server.ask(method, path, &[]).await;
            assert_eq!(response.status(), 501);
            let text = response.text().await.unwrap();
            assert_eq!(text, "announcing providers is not offered by this server\n");
        }
        let preflight = server.ask(Method::OPTIONS, path, &[]).await;
        let methods = &preflight.headers()["access-control-allow-methods"];
        assert_eq!(methods, "GET, HEAD, OPTIONS");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_announcing_is_on_pages_may_put_and_other_methods_are_501() {
    let server = server().start().await;
    for path in ["/routing/v1/providers", "/routing/v1/providers/"] {
        let headers = [
            ("origin", "https://app.example.org"),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "content-type"),
        ];
        for headers in [&headers[..], &[]] {
            let preflight = server.ask(Method::OPTIONS, path, headers).await;
            assert_eq!(preflight.status(), 204);
            let methods = &preflight.headers()["access-control-allow-methods"];
            assert_eq!(methods, "GET, HEAD, PUT, OPTIONS");
        }
        for method in [Method::GET, Method::HEAD, Method::POST, Method::DELETE] {
            let response = server.ask(method.clone(), path, &[]).await;
            assert_eq!(response.status(), 501, "{method}");
            assert_eq!(response.headers()["allow"], "PUT, OPTIONS");
        }
    }
    let elsewhere = server.ask(Method::OPTIONS, &format!("/routing/v1/providers/{CID}"), &[]).await;
    assert_eq!(elsewhere.headers()["access-control-allow-methods"], "GET, HEAD, OPTIONS");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mutations_of_the_vector_are_answered_400_or_403() {
    let server = server().start().await;
    server.clock.set(VECTOR_MS);
    let payload_at = VECTOR.find("{\"Keys\"").unwrap()..VECTOR.len() - 3;
    let mut runner = TestRunner::deterministic();
    let mutation = (payload_at, proptest::num::u8::ANY);
    for _ in 0..500 {
        let (at, byte) = mutation.new_tree(&mut runner).unwrap().current();
        let mut body = VECTOR.as_bytes().to_vec();
        if std::mem::replace(&mut body[at], byte) == byte {
            continue;
        }
        let is_json = serde_json::from_slice::<Value>(&body).is_ok();
        let text = String::from_utf8_lossy(&body).into_owned();
        let (status, reason) = refused(server.put_providers(body).await).await;
        assert!(status == 400 || (status == 403 && is_json), "{status} {reason} {text}");
    }
    assert!(ids(&server, VECTOR_CID).await.is_empty());
    server.shutdown().await;
}
