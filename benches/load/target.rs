//! One server, what is asked of it and what it must answer; and one turn of measuring it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::client::{Client, Run};
use super::data::{Case, Requests};
use super::plan::Cell;
use super::process::Process;
use super::report::Turn;

/// What every answer of a case has in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) status: u16,
    pub(crate) body_bytes: usize,
}

/// An answer as it came over the wire.
pub(crate) struct Answer {
    bytes: Vec<u8>,
    body_at: usize,
    status: u16,
}

/// A server under load.
pub(crate) struct Target<'a> {
    pub(crate) name: String,
    pub(crate) process: &'a Process,
    pub(crate) requests: &'a Requests,
    pub(crate) expected: Expected,
}

impl Answer {
    /// Asks once.
    pub(crate) fn of(addr: SocketAddr, requests: &Requests) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let request = requests.get(0);
        let head = request.strip_suffix(b"\r\n").context("a request ends with a blank line")?;
        stream.write_all(&[head, b"Connection: close\r\n\r\n"].concat())?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        Self::parse(bytes)
    }

    /// Takes an answer apart.
    pub(crate) fn parse(bytes: Vec<u8>) -> anyhow::Result<Self> {
        let blank = memchr::memmem::find(&bytes, b"\r\n\r\n").context("no end of the head")?;
        let status = std::str::from_utf8(bytes.get(9..12).context("no status")?)?.parse()?;
        Ok(Self { body_at: blank + 4, status, bytes })
    }

    /// Whether it is what the case promises.
    pub(crate) fn check(&self, case: Case) -> anyhow::Result<()> {
        let (status, providers) = case.promised();
        let found = if case.is_lines() {
            let lines = serde_json::Deserializer::from_slice(self.body());
            Some(lines.into_iter::<serde_json::Value>().collect::<Result<Vec<_>, _>>()?.len())
        } else {
            let body: serde_json::Value = serde_json::from_slice(self.body())?;
            body.get("Providers").and_then(|list| list.as_array()).map(Vec::len)
        };
        ensure!(self.status == status, "{case}: status {}", self.status);
        ensure!(found == Some(providers), "{case}: {found:?} providers");
        Ok(())
    }

    /// What all answers like this one have in common.
    pub(crate) fn expected(&self) -> Expected {
        Expected { status: self.status, body_bytes: self.body().len() }
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The body.
    pub(crate) fn body(&self) -> &[u8] {
        self.bytes.get(self.body_at..).unwrap_or_default()
    }

    /// Names and values of the headers.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let head = self.bytes.get(..self.body_at).unwrap_or_default();
        let head = std::str::from_utf8(head).unwrap_or_default();
        head.lines().skip(1).filter_map(|line| line.split_once(": "))
    }
}

impl Target<'_> {
    /// Opens the connections of a cell, and uses them until caches have settled.
    pub(crate) fn connect(&self, cell: Cell, warm_up: Duration) -> anyhow::Result<Client<'_>> {
        let addr = self.process.addr();
        let mut client = Client::connect(addr, cell.connections, self.requests, self.expected)?;
        client.run(&Run { load: cell.load, duration: warm_up, seed: u64::MAX })?;
        Ok(client)
    }

    /// One turn.
    pub(crate) fn run(&self, client: &mut Client<'_>, run: &Run) -> anyhow::Result<Turn> {
        let before = self.process.cpu_time()?;
        let outcome = client.run(run)?;
        let after = self.process.cpu_time()?;
        let resident_bytes = self.process.resident_bytes()?;
        Ok(Turn { outcome, before, after, resident_bytes })
    }
}
