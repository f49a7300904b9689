//! Clients that are broken, slow or malicious: each gets a clear answer or is cut, and the server
//! goes on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::harness::{CID, TestServer, peer_record, raw_to, server};

async fn goes_on(server: &TestServer) {
    assert_eq!(server.providers(CID).await.status(), 200);
}

async fn filled() -> TestServer {
    let server = server().with(|settings| {
        settings.client_timeout = Duration::from_secs(2);
        settings.keep_alive = Duration::from_secs(2);
        settings.write_timeout = Duration::from_secs(2);
    });
    let server = server.start().await;
    server.announce(CID, &peer_record(1, &["/ip4/192.0.2.1/tcp/4001"])).await;
    server
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_requests_are_refused_with_a_4xx() {
    let server = filled().await;
    let prefix = "/routing/v1/providers/";
    let cases: [(Vec<u8>, &str); 8] = [
        (get(&format!("{prefix}{}", "a".repeat(2_000))), "422"),
        (get(&format!("{prefix}{}", "a".repeat(64_000))), "422"),
        (get(&format!("{prefix}{}", "a".repeat(65_536))), "400"),
        (get(&format!("{prefix}bafkqaaa?filter-addrs={}", "a,".repeat(30_000))), "422"),
        (
            [b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_vec()].concat(),
            "400",
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), "400"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(200_000)).into(), "431"),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "X: a\r\n".repeat(200)).into(), "431"),
    ];
    for (request, status) in cases {
        let shown = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
        let answer = server.raw(request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown}: {answer:.200}");
    }
    goes_on(&server).await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_to_change_the_protocol_is_answered_with_connection_close() {
    let server = filled().await;
    let lookup = format!("/routing/v1/providers/{CID}");
    let addrs = [(server.addr(), lookup.as_str()), (server.admin_addr(), "/healthz")];
    for (addr, path) in addrs {
        for wish in ["Connection: upgrade", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{wish}\r\n\r\n");
            let answer = raw_to(addr, request.into_bytes()).await.to_ascii_lowercase();
            assert!(answer.starts_with("http/1.1 200 "), "{path} {wish}: {answer}");
            assert!(answer.contains("\r\nconnection: close\r\n"), "{path} {wish}: {answer}");
            assert!(!answer.contains("upgrade"), "{path} {wish}: {answer}");
        }
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_is_answered_408() {
    let server = filled().await;
    let answer = server.raw(b"GET /routing/v1/providers/x HTTP/1.1\r\nHost: ".to_vec()).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    server.shutdown().await;
}

/// Sends a byte now and then until the server closes; says how long that took.
fn drip(addr: SocketAddr, head: &[u8]) -> Duration {
    let start = Instant::now();
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(head).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut buffer = [0; 1024];
    while start.elapsed() < Duration::from_secs(30) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if stream.write_all(b"x").is_err() {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_byte_by_byte_is_cut() {
    let server = filled().await;
    let addr = server.addr();
    let heads: [&'static [u8]; 3] = [
        b"GET /routing/v1/providers/x HTTP/1.1\r\nHost: ",
        b"",
        b"PUT /routing/v1/providers HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n",
    ];
    for head in heads {
        let took = tokio::task::spawn_blocking(move || drip(addr, head)).await.unwrap();
        assert!(took < Duration::from_secs(20), "{:?}: {took:?}", String::from_utf8_lossy(head));
    }
    goes_on(&server).await;
    server.shutdown().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_cut() {
    let server = filled().await;
    let addr = server.addr();
    let cut = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        let request =
            format!("GET /routing/v1/providers/{CID} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(100);
        let start = Instant::now();
        // Asks without ever reading: first the answers fill the buffers, then the connection goes.
        while start.elapsed() < Duration::from_secs(30) {
            match stream.write(request.as_bytes()) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return true,
                Ok(_) => {}
            }
        }
        false
    })
    .await
    .unwrap();
    assert!(cut, "the connection still stands after 30 s");
    goes_on(&server).await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_idle_connections_keep_nobody_out() {
    let server = filled().await;
    let addr = server.addr();
    // Both ends are in this process: two open files a connection, and some for other tests.
    let allowed = rlimit::increase_nofile_limit(25_000).unwrap();
    let connections = (allowed.saturating_sub(2_000) / 2).min(10_000);
    if connections < 10_000 {
        eprintln!(
            "ONLY {connections} of 10,000 connections: the system allows {allowed} open files"
        );
    }
    assert!(connections > 100, "the system allows too few open files: {allowed}");
    let idle = tokio::task::spawn_blocking(move || {
        (0..connections).map(|_| TcpStream::connect(addr).unwrap()).collect::<Vec<_>>()
    })
    .await
    .unwrap();
    goes_on(&server).await;
    drop(idle);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_in_the_middle_harms_nobody() {
    let server = filled().await;
    for cut in [1, 10, 30, 60] {
        let request = get(&format!("/routing/v1/providers/{CID}"));
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.write_all(&request[..cut]).unwrap();
        drop(stream);
    }
    goes_on(&server).await;
    server.shutdown().await;
}
