//! The limits on what one client may ask, and what it is told past them.

use reqwest::Method;

use super::harness::{Builder, CID, TestServer, peer_record, server, written};

/// A server that exempts nobody, for clients that come from loopback.
fn limited(per_second: u32, burst: u32) -> Builder {
    server().with(|settings| {
        settings.rate_limit = per_second;
        settings.rate_limit_burst = burst.to_string().parse().unwrap();
        settings.rate_limit_exempt = "".parse().unwrap();
    })
}

async fn statuses(server: &TestServer, requests: usize, headers: &[(&str, &str)]) -> Vec<u16> {
    let path = format!("/routing/v1/providers/{CID}");
    let mut statuses = Vec::new();
    for _ in 0..requests {
        statuses.push(server.ask(Method::GET, &path, headers).await.status().as_u16());
    }
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_rate_limit_a_client_gets_429_and_when_to_come_back() {
    let server = limited(1, 3).start().await;
    let first = statuses(&server, 3, &[]).await;
    assert_eq!(first, [404, 404, 404]);
    let refused = server.providers(CID).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    insta::assert_snapshot!("rate_limited", written(refused).await);
    assert_eq!(server.metric("fingerpost_limit_refusals_total{limit=\"rate_limit\"}").await, 1.0);
    // Preflights carry no question: refusing one would only hide the 429 from the page.
    let preflight = server.ask(Method::OPTIONS, "/routing/v1/providers/x", &[]).await;
    assert_eq!(preflight.status(), 204);
    server.clock.advance(1_000);
    assert_eq!(server.providers(CID).await.status(), 404);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_counted_by_the_limits_settings_from_the_start() {
    let server = server().start().await;
    let text = server.get_admin("/metrics").await.text().await.unwrap();
    for limit in [
        "rate_limit",
        "announce_peer_rate_limit",
        "index_memory_max",
        "journal_disk_reserve",
        "announce_peer_keys_max",
        "announce_network_keys_max",
        "announce_key_network_max",
        "groups",
        "group_sets",
        "ipns_records_max",
        "ipns_network_names_max",
    ] {
        let line = format!("fingerpost_limit_refusals_total{{limit=\"{limit}\"}} 0\n");
        assert!(text.contains(&line), "{line}");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_burst_follows_the_rate_unless_it_is_set() {
    let server = server().with(|settings| {
        settings.rate_limit = 2;
        settings.rate_limit_exempt = "".parse().unwrap();
    });
    let server = server.start().await;
    let expected = [[404; 10].as_slice(), &[429; 2]].concat();
    assert_eq!(statuses(&server, 12, &[]).await, expected);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loopback_is_exempt_by_default_and_zero_is_no_limit() {
    for builder in [
        server().with(|settings| {
            (settings.rate_limit, settings.rate_limit_burst) = (1, "1".parse().unwrap())
        }),
        limited(0, 1),
    ] {
        let server = builder.start().await;
        assert_eq!(statuses(&server, 20, &[]).await, [404; 20]);
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarded_addresses_count_only_behind_a_trusted_proxy() {
    let untrusting = limited(1, 2).start().await;
    let spoofed = [
        statuses(&untrusting, 2, &[("x-forwarded-for", "192.0.2.1")]).await,
        statuses(&untrusting, 1, &[("x-forwarded-for", "192.0.2.2")]).await,
    ]
    .concat();
    assert_eq!(spoofed, [404, 404, 429]);
    untrusting.shutdown().await;

    let trusting = limited(1, 2).with(|settings| {
        settings.trusted_proxies = "127.0.0.0/8".parse().unwrap();
    });
    let trusting = trusting.start().await;
    for (header, value) in [
        ("x-forwarded-for", "127.0.0.1, 192.0.2.1"),
        ("x-forwarded-for", "192.0.2.2"),
        ("forwarded", r#"for="[2001:db8:1::1]:4711""#),
    ] {
        let found = statuses(&trusting, 3, &[(header, value)]).await;
        assert_eq!(found, [404, 404, 429], "{header}: {value}");
    }
    // Another address of the same /64 is the same client; one of another is not.
    let same = [("forwarded", r#"for="[2001:db8:1::ffff]""#)];
    assert_eq!(statuses(&trusting, 1, &same).await, [429]);
    let other = [("forwarded", r#"for="[2001:db8:2::1]""#)];
    assert_eq!(statuses(&trusting, 1, &other).await, [404]);
    trusting.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_or_a_head_past_its_limit_is_refused() {
    let server = server().with(|settings| {
        settings.body_bytes_max = 1_000;
        settings.header_bytes_max = 2_000;
    });
    let server = server.start().await;
    let declared = server
        .raw(
            b"PUT /routing/v1/providers HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n"
                .to_vec(),
        )
        .await;
    assert!(declared.starts_with("HTTP/1.1 413 "), "{declared}");
    assert!(declared.contains("the request's body is larger than 1000 bytes"), "{declared}");
    let long = "x".repeat(2_000);
    let path = format!("/routing/v1/providers/{CID}");
    let refused = server.ask(Method::GET, &path, &[("x-long", &long)]).await;
    assert_eq!(refused.status(), 431);
    assert_eq!(refused.text().await.unwrap(), "the request's headers are larger than 2000 bytes\n");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_kept_if_it_is_sound_and_made_otherwise() {
    let server = server().start().await;
    server.announce(CID, &peer_record(1, &[])).await;
    let path = format!("/routing/v1/providers/{CID}");
    let kept = server.ask(Method::GET, &path, &[("x-request-id", "abc-1.2_Z")]).await;
    assert_eq!(kept.headers()["x-request-id"], "abc-1.2_Z");
    let mut made = Vec::new();
    for unsound in ["", "a b", "<script>", &"x".repeat(65)] {
        let response = server.ask(Method::GET, &path, &[("x-request-id", unsound)]).await;
        made.push(response.headers()["x-request-id"].to_str().unwrap().to_owned());
        assert_ne!(made.last().unwrap(), unsound);
    }
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 4);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_come_before_paths_and_the_cid_before_accept() {
    let server = limited(1, 3).with(|settings| {
        settings.body_bytes_max = 10;
        settings.header_bytes_max = 1_500;
    });
    let server = server.start().await;
    let long = "x".repeat(1_500);
    let body = [("content-length", "11")];
    let malformed = "/routing/v1/providers/x";
    let html = [("accept", "text/html")];
    let head = [("x-long", long.as_str()), body[0]];
    let ask = async |path: &str, headers: &[(&str, &str)]| {
        let headers: String =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\nhello world"
        );
        let answer = server.raw(request.into_bytes()).await;
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(ask("/nowhere", &head).await, "431");
    assert_eq!(ask("/nowhere", &body).await, "413");
    assert_eq!(ask(malformed, &html).await, "422");
    assert_eq!(ask("/nowhere", &head).await, "429");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_can_read_refusals() {
    let server = limited(1, 2).with(|settings| settings.body_bytes_max = 10).start().await;
    let too_large =
        b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\nconnection: close\r\n\r\nhello world";
    let answers = [
        server.raw(too_large.to_vec()).await,
        server.raw(too_large.to_vec()).await,
        server.raw(too_large.to_vec()).await,
    ];
    for (answer, status) in answers.iter().zip(["413", "413", "429"]) {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        let answer = answer.to_lowercase();
        assert!(answer.contains("\r\naccess-control-allow-origin: *\r\n"), "{answer}");
        assert!(
            answer.contains("\r\naccess-control-expose-headers: etag, retry-after,"),
            "{answer}"
        );
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_past_the_limit_wait_and_are_served() {
    let server = server().with(|settings| {
        settings.connections_max = 2;
        settings.workers = "1".parse().unwrap();
        settings.client_timeout = std::time::Duration::from_secs(1);
        settings.keep_alive = std::time::Duration::from_secs(1);
    });
    let server = server.start().await;
    let idle: Vec<_> =
        (0..4).map(|_| std::net::TcpStream::connect(server.addr()).unwrap()).collect();
    // The idle ones hold both places for a second, two by two; then it is the turn of this one.
    let start = std::time::Instant::now();
    assert_eq!(server.providers(CID).await.status(), 404);
    assert!(start.elapsed() > std::time::Duration::from_millis(900), "{:?}", start.elapsed());
    drop(idle);
    server.shutdown().await;
}
