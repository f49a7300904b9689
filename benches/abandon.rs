//! Clients that stop reading after the first record: what is left of them.
//!
//! `cargo bench --bench abandon`; `REQUESTS` says how many (default 100,000). The server runs as a
//! process of its own and holds one key with 1,000 providers, 2.6 MB as NDJSON: far more than a
//! connection buffers. Each request has a connection of its own, which is closed after the first
//! line. Prints resident memory as it goes, and a second after the last what is still open; the
//! reference is the resident memory after the first tenth.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

mod served;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};

use served::Served;

const CID: &str = "bafkreigur6gzxm3ykiol7ywou3iy3obruzs2q7boizj7oznznid34dzc3e";
const PROVIDERS: u32 = 1_000;
const ADDRS_EACH: u32 = 80;
const CLIENTS: u64 = 16;
const STEPS: u64 = 10;

fn main() -> anyhow::Result<()> {
    let requests: u64 = std::env::var("REQUESTS").map_or(Ok(100_000), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("providers.ndjson");
    std::fs::write(&file, line())?;
    let import = [OsStr::new("--log"), "warn".as_ref(), "--import".as_ref(), file.as_ref()];
    let server = Served::start(folder.path(), import)?;
    let mut resident = Vec::new();
    for step in 1..=STEPS {
        let asked = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| scope.spawn(|| ask(&server, &asked, requests / STEPS)))
                .collect();
            clients.into_iter().try_for_each(|client| client.join().expect("no panic"))
        })?;
        resident.push(server.memory_bytes("VmRSS")?);
        let mib = resident.last().copied().unwrap_or_default() as f64 / f64::from(1 << 20);
        println!("after {:>7} requests: {mib:.1} MiB resident", requests / STEPS * step);
    }
    std::thread::sleep(Duration::from_secs(1));
    let open = metric(&server, "fingerpost_streams_open")?;
    let in_flight = metric(&server, "fingerpost_requests_in_flight")?;
    let gone = metric(&server, r#"fingerpost_streams_ended_total{end="client_gone"}"#)?;
    let ratio = match (resident.first(), resident.last()) {
        (Some(first), Some(last)) => *last as f64 / *first as f64,
        _ => 0.0,
    };
    println!(
        "a second later: {open} answers open, {in_flight} requests in flight, {gone} abandoned"
    );
    println!("resident memory, the end to a tenth of the way: {ratio:.2}");
    println!(
        "{}",
        serde_json::json!({
            "bench": "abandon", "requests": requests, "resident_bytes": resident,
            "resident_ratio": ratio, "open": open, "in_flight": in_flight, "abandoned": gone,
        })
    );
    Ok(())
}

fn ask(server: &Served, asked: &AtomicU64, requests: u64) -> anyhow::Result<()> {
    let request = format!(
        "GET /routing/v1/providers/{CID} HTTP/1.1\r\nhost: a\r\naccept: application/x-ndjson\r\n\r\n"
    );
    while asked.fetch_add(1, Ordering::Relaxed) < requests {
        let mut stream = TcpStream::connect(&server.public)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(request.as_bytes())?;
        let first = BufReader::new(stream)
            .lines()
            .find(|line| line.as_ref().map_or(true, |line| line.starts_with(r#"{"Schema""#)));
        first.context("no record came")??;
    }
    Ok(())
}

/// One key with many providers, each with many addresses.
fn line() -> String {
    let records: Vec<_> = (0..PROVIDERS)
        .map(|number| {
            let addrs: Vec<_> =
                (0..ADDRS_EACH).map(|port| format!("/ip4/192.0.2.1/tcp/{}", 4001 + port)).collect();
            serde_json::json!({"Schema": "peer", "ID": peer(number), "Addrs": addrs})
        })
        .collect();
    serde_json::json!({"CID": CID, "Providers": records}).to_string()
}

fn peer(number: u32) -> String {
    let bytes = [&[0x12, 0x20][..], blake3::hash(&number.to_le_bytes()).as_bytes()].concat();
    multibase::Base::Base58Btc.encode(bytes)
}

fn metric(server: &Served, series: &str) -> anyhow::Result<f64> {
    let mut stream = TcpStream::connect(&server.admin)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    ensure!(text.starts_with("HTTP/1.1 200"), "no metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    Ok(line.context("no such metric")?.parse()?)
}
