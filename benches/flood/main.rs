//! Floods of announcements by peers that cost nothing: when they are refused, what the server takes up
//! meanwhile, what becomes of lookups, and who still gets in.
//!
//! `cargo bench --bench flood`; `PEERS=1,100,10000` and `NETWORKS=1,100` say who floods (`PEERS=`:
//! nobody), `IPNS=0` and `CROWD=0` leave those parts out. The server runs as a process of its own with 64 MiB for the
//! index, and is flooded with signed PUTs by a few connections, as clients of a trusted proxy. Each flood
//! goes on after the first refusal for as many requests again. The reference of memory is the bound and
//! 32 MiB; that of lookups is the same flood with signatures that do not hold: as much to send, to read
//! and to verify, and nothing to keep. Prints tables, and a line of JSON each.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

mod crowd;
mod flooder;
mod ipns;
#[expect(dead_code, clippy::unwrap_used, reason = "tests use the rest, and may panic")]
#[path = "../../tests/it/ipns_records.rs"]
mod ipns_records;
mod lookups;
#[path = "../served/mod.rs"]
mod served;
mod server;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use flooder::{Flood, Flooded, Provider};
use lookups::measure;
use server::{Connection, MIB, Server};

/// What the index may take, in bytes.
const INDEX_BYTES: u64 = 64 * MIB;

/// What the process may take: the program itself, its buffers, and what an allocator keeps.
const RESIDENT_BYTES: u64 = INDEX_BYTES + 32 * MIB;

/// Keys of the operator, which lookups ask for.
const OPERATORS: std::ops::Range<u64> = 0..1_000;

/// How long lookups are measured beside what changes nothing.
const REFERENCE: Duration = Duration::from_secs(3);

/// A client that has nothing to do with the flood.
const HONEST: &str = "203.0.113.7";

fn main() -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for peers in numbers("PEERS", "1,100,10000")? {
        for networks in numbers("NETWORKS", "1,100")? {
            let row = flood(peers, networks)?;
            println!("{row}");
            rows.push(row);
        }
    }
    show(&rows);
    if std::env::var("IPNS").as_deref() != Ok("0") {
        ipns::run()?;
    }
    if std::env::var("CROWD").as_deref() != Ok("0") {
        crowd::run()?;
    }
    Ok(())
}

/// One flood, and what came of it.
fn flood(peers: u64, networks: u64) -> anyhow::Result<Value> {
    let folder = tempfile::tempdir()?;
    let arguments = ["--index-memory-max".to_owned(), INDEX_BYTES.to_string()];
    let server = Server::start(folder.path(), &arguments)?;
    server.import(OPERATORS)?;
    let alone = measure(&server, OPERATORS, |is_over| {
        std::thread::sleep(REFERENCE);
        is_over.store(true, Ordering::Relaxed);
        Ok(())
    })?;
    let flood = Flood::new(peers, networks);
    let until = |deadline: Instant| move |_: &Flooded| Instant::now() >= deadline;
    let refused = measure(&server, OPERATORS, |is_over| {
        let end = until(Instant::now() + REFERENCE);
        let flooded = flood.forged().run(&server, &end);
        is_over.store(true, Ordering::Relaxed);
        ensure!(flooded?.keys == 0, "a signature that does not hold was accepted");
        Ok(())
    })?;
    let mut came = Flooded::default();
    let beside = measure(&server, OPERATORS, |is_over: &AtomicBool| {
        // As long again as it took until the first refusal.
        let end = |it: &Flooded| it.first_refused.is_some_and(|first| it.requests >= 2 * first);
        let flooded = flood.run(&server, &end);
        is_over.store(true, Ordering::Relaxed);
        came = flooded?;
        Ok(())
    })?;
    let resident = server.peak_resident_bytes()?;
    let honest = Provider::honest();
    let keys = flooder::honest_keys();
    let status = Connection::open(&server)?.put_providers(HONEST, &honest.request(keys.clone()))?;
    let operators = 10_000..30_000;
    server.import(operators.clone())?;
    let found = |numbers: std::ops::Range<u64>| server.found(numbers.step_by(10));
    let (honest_found, operators_found) = (found(keys.clone())?, found(operators.clone())?);
    let server = server.restart(&arguments)?;
    let after_restart = server.peak_resident_bytes()?;
    let is_kept = server.found(keys.step_by(10))? == honest_found
        && server.found(operators.step_by(10))? == operators_found;
    let ratio = |bytes: u64| bytes as f64 / RESIDENT_BYTES as f64;
    Ok(json!({
        "bench": "flood", "peers": peers, "networks": networks,
        "keys_at_first_refusal": came.keys_at_first_refusal, "keys_accepted": came.keys,
        "requests": came.requests, "refused": came.refused,
        "resident_ratio": ratio(resident), "resident_after_restart_ratio": ratio(after_restart),
        "p99_us_alone": alone.p99_us, "p99_us_beside_forged": refused.p99_us,
        "p99_us_beside": beside.p99_us, "p99_ratio": beside.p99_us / refused.p99_us,
        "honest_status": status, "honest_found": honest_found,
        "operators_found": operators_found, "kept_over_restart": is_kept,
    }))
}

fn show(rows: &[Value]) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "peers",
        "networks",
        "keys at the first refusal",
        "resident / 96 MiB",
        "after a restart",
        "p99 beside / beside forged",
        "honest peer",
        "operator's import",
    ]);
    for row in rows {
        let number = |field: &str| row.get(field).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let (honest, operators) = (number("honest_found"), number("operators_found"));
        table.add_row([
            number("peers").to_string(),
            number("networks").to_string(),
            number("keys_at_first_refusal").to_string(),
            format!("{:.2}", number("resident_ratio")),
            format!("{:.2}", number("resident_after_restart_ratio")),
            format!(
                "{:.0} us / {:.0} us = {:.2}",
                number("p99_us_beside"),
                number("p99_us_beside_forged"),
                number("p99_ratio")
            ),
            format!("{} ({:.0} % found)", number("honest_status"), honest * 100.0),
            format!("{:.0} % found", operators * 100.0),
        ]);
    }
    println!("{table}");
}

fn numbers(variable: &str, default: &str) -> anyhow::Result<Vec<u64>> {
    let text = std::env::var(variable).unwrap_or_else(|_| default.to_owned());
    let numbers = text.split(',').filter(|number| !number.is_empty());
    Ok(numbers.map(|number| number.trim().parse()).collect::<Result<_, _>>()?)
}
