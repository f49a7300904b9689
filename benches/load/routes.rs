//! Static routes for a server that is to have many.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, ensure};
use multibase::Base;

use super::process::{ADMIN_PASSWORD, Process};

/// How many a server gets.
pub(crate) const ROUTES: u32 = 1_000;

/// The longest wait for one of them to be written.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Gives 1,000 parts of the key space, each a 4,096th, to the index: lookups go through the table and
/// end where they would without.
pub(crate) fn set(server: &Process) -> anyhow::Result<()> {
    let stream = TcpStream::connect(server.admin_addr()?)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut requests = stream;
    for number in 0..ROUTES {
        // Spread over the whole key space.
        let part = number * 4;
        let [x, y, z] = [part >> 8, (part >> 4) & 0xf, part & 0xf];
        put(&mut requests, &mut answers, &format!("g.providers.sha2-256.{x:x}.{y:x}.{z:x}"))?;
    }
    Ok(())
}

fn put(requests: &mut impl Write, answers: &mut impl BufRead, prefix: &str) -> anyhow::Result<()> {
    let credentials = Base::Base64Pad.encode(format!("admin:{ADMIN_PASSWORD}"));
    let body = format!(r#"{{"routePrefix":"{prefix}","nextHopAccountId":"local"}}"#);
    let length = body.len();
    write!(
        requests,
        "PUT /routes/static/{prefix} HTTP/1.1\r\nHost: 127.0.0.1\r\n\
         Authorization: Basic {credentials}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let (mut head, mut body_bytes) = (String::new(), 0);
    loop {
        let start = head.len();
        ensure!(answers.read_line(&mut head)? > 0, "the admin API closed the connection");
        let line = head.get(start..).unwrap_or_default().trim_end().to_ascii_lowercase();
        if let Some(length) = line.strip_prefix("content-length:") {
            body_bytes = length.trim().parse().context("a length")?;
        }
        if line.is_empty() {
            break;
        }
    }
    answers.take(body_bytes).read_to_end(&mut Vec::new())?;
    ensure!(head.starts_with("HTTP/1.1 201"), "{prefix}: {head}");
    Ok(())
}
