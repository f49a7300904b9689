//! The limits on announcements: who, how many, how large, how fast.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use reqwest::Method;

use super::harness::{CID, PEER, TestServer, records, server, written};
use super::signing::{Provider, together};

const TCP: &str = "/ip4/192.0.2.1/tcp/4001";

#[tokio::test(flavor = "multi_thread")]
async fn only_peers_on_the_allowlist_may_announce() {
    let (listed, other) = (Provider::ed25519(1), Provider::ed25519(2));
    let server = server().with(|settings| {
        settings.announce = "allowlist".parse().unwrap();
        settings.announce_allowlist = listed.id().parse().unwrap();
    });
    let server = server.start().await;
    let body = |provider: &Provider| provider.request(&provider.payload(&[CID], &[TCP]));
    assert_eq!(server.put_providers(body(&listed)).await.status(), 200);
    let refused = server.put_providers(body(&other)).await;
    insta::assert_snapshot!("announce_not_listed", written(refused).await);
    assert_eq!(records(server.providers(CID).await).await.len(), 1);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_announces_too_often_gets_retry_after() {
    let server = server().with(|settings| settings.announce_peer_rate_limit = 2).start().await;
    let (one, two) = (Provider::ed25519(1), Provider::ed25519(2));
    let body = |provider: &Provider| provider.request(&provider.payload(&[CID], &[TCP]));
    // What is not signed by a peer does not count against it.
    for _ in 0..5 {
        let forged = body(&one).replace("Timestamp\":1", "Timestamp\":2");
        assert_eq!(server.put_providers(forged).await.status(), 403);
    }
    assert_eq!(server.put_providers(body(&one)).await.status(), 200);
    assert_eq!(server.put_providers(body(&one)).await.status(), 200);
    let limited = server.put_providers(body(&one)).await;
    assert_eq!(limited.status(), 429);
    let wait_s: u64 = limited.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait_s), "{wait_s}");
    assert_eq!(server.put_providers(body(&two)).await.status(), 200);
    // Every record of a request counts.
    let record = |provider: &Provider| provider.record(&provider.payload(&[CID], &[]).to_string());
    let three = Provider::ed25519(3);
    let both = together(&[record(&three), record(&three), record(&three)]);
    assert_eq!(server.put_providers(both).await.status(), 429);
    let series = r#"fingerpost_announcements_total{outcome="rate_limited"}"#;
    assert_eq!(server.metric(series).await, 2.0);
    let series = r#"fingerpost_limit_refusals_total{limit="announce_peer_rate_limit"}"#;
    assert_eq!(server.metric(series).await, 2.0);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_announced_stays_theirs_through_an_export() {
    let source = server().start().await;
    let imported = format!(r#"{{"CID":"{CID}","Providers":[{{"Schema":"peer","ID":"{PEER}"}}]}}"#);
    let import = |server: &TestServer, body: String| {
        server.admin(Method::POST, "/admin/import").body(body).send()
    };
    let export = async |server: &TestServer| {
        let answer = server.admin(Method::GET, "/admin/export").send().await.unwrap();
        let text = answer.text().await.unwrap();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    import(&source, imported).await.unwrap();
    let provider = Provider::ed25519(1);
    let body = provider.request(&provider.payload(&[CID], &[TCP]));
    assert_eq!(source.put_providers(body).await.status(), 200);
    let exported = export(&source).await;
    let networks = exported.iter().filter(|line| line.contains(r#""Network":"127.0.0.0/24"}"#));
    assert_eq!((exported.len(), networks.count()), (2, 1), "{exported:?}");
    source.shutdown().await;

    let copy = server().start().await;
    import(&copy, exported.join("\n")).await.unwrap();
    assert_eq!(export(&copy).await, exported);
    copy.shutdown().await;

    // Where strangers may hold nothing, the operator's entries go in all the same.
    let strict = server().with(|settings| settings.announce_network_keys_max = 1).start().await;
    let answer = import(&strict, exported.join("\n")).await.unwrap().text().await.unwrap();
    assert!(answer.contains(r#""no_room":1"#), "{answer}");
    assert_eq!(export(&strict).await.len(), 1);
    strict.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_limit_a_peer_announces_as_often_as_it_likes() {
    let server = server().with(|settings| settings.announce_peer_rate_limit = 0).start().await;
    let provider = Provider::ed25519(1);
    let body = provider.request(&provider.payload(&[CID], &[TCP]));
    for _ in 0..5 {
        assert_eq!(server.put_providers(body.clone()).await.status(), 200);
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_of_clients_hold_for_announcements_too() {
    let server = server().with(|settings| {
        (settings.rate_limit, settings.rate_limit_burst) = (1, "1".parse().unwrap());
        settings.rate_limit_exempt = "".parse().unwrap();
    });
    let server = server.start().await;
    assert_eq!(server.put_providers("{}").await.status(), 400);
    let limited = server.put_providers("{}").await;
    assert_eq!((limited.status().as_u16(), &limited.headers()["retry-after"] == "1"), (429, true));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_keys_are_taken_and_no_more() {
    let server = server().start().await;
    let provider = Provider::ed25519(1);
    let cids: Vec<String> = (0..1_001_u32)
        .map(|number| {
            let digest = [&number.to_be_bytes()[..], &[9; 28]].concat();
            let bytes = [&[0x01, 0x55, 0x12, 0x20][..], &digest].concat();
            multibase::encode(multibase::Base::Base32Lower, bytes)
        })
        .collect();
    let cids: Vec<&str> = cids.iter().map(String::as_str).collect();
    let whole = provider.request(&provider.payload(&cids[..1_000], &[TCP]));
    assert_eq!(server.put_providers(whole).await.status(), 200);
    assert_eq!(server.metric("fingerpost_announced_keys_total").await, 1_000.0);
    assert_eq!(records(server.providers(cids[999]).await).await.len(), 1);
    let more = server.put_providers(provider.request(&provider.payload(&cids, &[TCP]))).await;
    assert_eq!(more.status(), 413);
    let reason = "1001 keys in one request, at most 1000 are accepted\n";
    assert_eq!(more.text().await.unwrap(), reason);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_more_than_a_mebibyte_is_413_also_in_chunks() {
    let server = server().with(|settings| settings.body_bytes_max = 10 << 20).start().await;
    let large = " ".repeat((1 << 20) + 1);
    let declared = server.put_providers(large.clone()).await;
    assert_eq!(declared.status(), 413);
    let chunks = large
        .as_bytes()
        .chunks(60_000)
        .map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    let head =
        "PUT /routing/v1/providers HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let request = std::iter::once(head.as_bytes().to_vec())
        .chain(chunks)
        .chain([b"0\r\n\r\n".to_vec()])
        .collect::<Vec<_>>()
        .concat();
    let answer = server.raw(request).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("larger than 1048576 bytes"), "{answer}");
    let fits = " ".repeat(1 << 20);
    assert_eq!(server.put_providers(fits).await.status(), 400);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_announcements_are_checked_like_small_ones() {
    let server = server().start().await;
    let provider = Provider::ed25519(1);
    let payload = provider.payload(&[CID], &[TCP]).to_string();
    let padded = |spaces: usize| payload.replacen('{', &format!("{{{}", " ".repeat(spaces)), 1);
    let sound = together(&[provider.record(&padded(100_000))]);
    let broken = sound.replacen("  ", " ", 1);
    assert_eq!(server.put_providers(broken).await.status(), 403);
    assert_eq!(server.put_providers(sound).await.status(), 200);
    assert_eq!(records(server.providers(CID).await).await.len(), 1);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_arrive_in_time_is_given_up() {
    let server = server().with(|settings| settings.client_timeout = Duration::from_secs(1));
    let server = server.start().await;
    let addr = server.addr();
    let answer = tokio::task::spawn_blocking(move || {
        let start = Instant::now();
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        let head = "PUT /routing/v1/providers HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{";
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        (answer, start.elapsed())
    });
    let (answer, elapsed) = answer.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.ends_with("the request's body did not come within 1s\n"), "{answer}");
    assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
    server.shutdown().await;
}
