//! Floods of IPNS names, which cost a key pair each.

use std::time::Instant;

use anyhow::ensure;
use parking_lot::Mutex;
use serde_json::json;

use super::ipns_records::{Publisher, Statement};
use super::server::{Connection, MIB, Server};
use super::{HONEST, RESIDENT_BYTES};

/// The most names that the server keeps, and that it keeps from one network.
const NAMES_MAX: u64 = 5_000;
const NETWORK_NAMES_MAX: u64 = 2_500;

const REQUESTS: u32 = 7_500;

/// Connections that flood at once.
const CONNECTIONS: u32 = 4;

#[derive(Default)]
struct FloodedNames {
    accepted: u64,
    /// How many had been accepted by the first refusal.
    first_refused: Option<u64>,
}

/// Names from one network and from 100 of them.
pub(crate) fn run() -> anyhow::Result<()> {
    for networks in [1, 100] {
        flood(networks)?;
    }
    Ok(())
}

fn flood(networks: u32) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let arguments = [
        ("--index-memory-max", 64 * MIB),
        ("--ipns-records-max", NAMES_MAX),
        ("--ipns-network-names-max", NETWORK_NAMES_MAX),
    ];
    let arguments = arguments.map(|(name, value)| [name.to_owned(), value.to_string()]).concat();
    let server = Server::start(folder.path(), &arguments)?;
    let begun = Instant::now();
    let flooded = Mutex::new(FloodedNames::default());
    let send = &|first: u32| -> anyhow::Result<()> {
        let mut connection = Connection::open(&server)?;
        for number in (first..REQUESTS).step_by(CONNECTIONS as usize) {
            let network = number % networks;
            let client = format!("10.{}.{}.9", network / 256, network % 256);
            let status = put(&mut connection, &client, &Publisher::ed25519(number))?;
            ensure!([200, 503, 507].contains(&status), "a record got {status}");
            let mut flooded = flooded.lock();
            flooded.accepted += u64::from(status == 200);
            if status != 200 {
                flooded.first_refused = flooded.first_refused.or(Some(flooded.accepted));
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let senders: Vec<_> =
            (0..CONNECTIONS).map(|first| scope.spawn(move || send(first))).collect();
        senders.into_iter().try_for_each(|sender| sender.join().expect("no panic"))
    })?;
    let FloodedNames { accepted, first_refused } = flooded.into_inner();
    let seconds = begun.elapsed().as_secs_f64();
    let mut connection = Connection::open(&server)?;
    let honest = put(&mut connection, HONEST, &Publisher::ed25519(u32::MAX))?;
    let resident_ratio = server.peak_resident_bytes()? as f64 / RESIDENT_BYTES as f64;
    println!(
        "{REQUESTS} IPNS names from {networks} networks in {seconds:.0} s: {accepted} accepted, refused \
         after {}; resident / 96 MiB {resident_ratio:.2}; an honest publisher gets {honest}",
        first_refused.map_or("all".to_owned(), |accepted| accepted.to_string())
    );
    println!(
        "{}",
        json!({
            "bench": "flood", "ipns_networks": networks, "requests": REQUESTS,
            "accepted": accepted, "first_refused": first_refused,
            "resident_ratio": resident_ratio, "honest_status": honest,
        })
    );
    Ok(())
}

fn put(connection: &mut Connection, client: &str, publisher: &Publisher) -> anyhow::Result<u16> {
    let end = "2100-01-01T00:00:00.000000000Z".to_owned();
    let record = publisher.sign(&Statement { end, ..Statement::default() });
    let head =
        format!("X-Forwarded-For: {client}\r\nContent-Type: application/vnd.ipfs.ipns-record\r\n");
    Ok(connection.ask("PUT", &publisher.path(), &head, &record)?.0)
}
