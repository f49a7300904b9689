//! The server as a process, and a connection to it.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use multibase::Base;

use super::served::Served;

pub(crate) const MIB: u64 = 1 << 20;

const PASSWORD: &str = "flood";

/// A server that leaves a request without an answer for so long ends the run.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The server with its data.
pub(crate) struct Server {
    process: Served,
    folder: PathBuf,
}

impl Server {
    /// Starts it with every limit on requests off: what is kept is bounded, not who asks.
    pub(crate) fn start(folder: &Path, arguments: &[String]) -> anyhow::Result<Self> {
        let fixed = ["--log", "error", "--workers", "2", "--admin-password", PASSWORD];
        let unlimited = ["--rate-limit", "0", "--announce-peer-rate-limit", "0"];
        let proxies = ["--trusted-proxies", "127.0.0.0/8"];
        let fixed = fixed.into_iter().chain(unlimited).chain(proxies);
        let process = Served::start(folder, fixed.chain(arguments.iter().map(String::as_str)))?;
        Ok(Self { process, folder: folder.to_owned() })
    }

    /// Kills it and starts another on its data.
    pub(crate) fn restart(self, arguments: &[String]) -> anyhow::Result<Self> {
        let Self { process, folder } = self;
        drop(process);
        Self::start(&folder, arguments)
    }

    /// The most that was ever resident.
    pub(crate) fn peak_resident_bytes(&self) -> anyhow::Result<u64> {
        self.process.memory_bytes("VmHWM")
    }

    /// Brings keys in as the operator.
    pub(crate) fn import(&self, numbers: std::ops::Range<u64>) -> anyhow::Result<()> {
        let provider = super::Provider::numbered(u64::MAX).id();
        let mut lines = String::new();
        for number in numbers.clone() {
            let cid = cid(number);
            writeln!(
                lines,
                r#"{{"CID":"{cid}","Providers":[{{"Schema":"peer","ID":"{provider}"}}]}}"#
            )?;
        }
        let secret = Base::Base64Pad.encode(format!("admin:{PASSWORD}"));
        let mut connection = Connection::to(&self.process.admin)?;
        let head =
            format!("Authorization: Basic {secret}\r\nContent-Type: application/x-ndjson\r\n");
        let (status, body) = connection.ask("POST", "/admin/import", &head, lines.as_bytes())?;
        ensure!(status == 200, "the import got {status}: {body}");
        Ok(())
    }

    /// Which part of some keys is found.
    pub(crate) fn found(&self, numbers: impl Iterator<Item = u64>) -> anyhow::Result<f64> {
        let mut connection = Connection::open(self)?;
        let (mut asked, mut found) = (0, 0);
        for number in numbers {
            asked += 1;
            found += u32::from(connection.lookup(number)? == 200);
        }
        Ok(f64::from(found) / f64::from(asked))
    }
}

/// A connection that is kept.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    /// To the public API.
    pub(crate) fn open(server: &Server) -> anyhow::Result<Self> {
        Self::to(&server.process.public)
    }

    fn to(addr: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Announces as a client of the trusted proxy that this is.
    pub(crate) fn put_providers(&mut self, client: &str, body: &str) -> anyhow::Result<u16> {
        let head = format!("X-Forwarded-For: {client}\r\nContent-Type: application/json\r\n");
        Ok(self.ask("PUT", "/routing/v1/providers", &head, body.as_bytes())?.0)
    }

    /// Asks for the key with a number.
    pub(crate) fn lookup(&mut self, number: u64) -> anyhow::Result<u16> {
        let path = format!("/routing/v1/providers/{}", cid(number));
        Ok(self.ask("GET", &path, "", &[])?.0)
    }

    /// The status and the body of the answer to any request.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        head: &str,
        body: &[u8],
    ) -> anyhow::Result<(u16, String)> {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\n{head}Content-Length: {length}\r\n\r\n"
        );
        self.0.get_mut().write_all(&[head.as_bytes(), body].concat())?;
        let (mut status, mut length, mut is_chunked) = (None, 0, false);
        loop {
            let mut line = String::new();
            ensure!(self.0.read_line(&mut line)? > 0, "the server closed the connection");
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest.get(..3).map(str::parse).transpose()?;
            }
            if let Some(number) = line.strip_prefix("content-length: ") {
                length = number.parse()?;
            }
            is_chunked |= line == "transfer-encoding: chunked";
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        while is_chunked {
            let mut size = String::new();
            self.0.read_line(&mut size)?;
            // With the end of its line.
            let mut chunk = vec![0; usize::from_str_radix(size.trim_end(), 16)? + 2];
            self.0.read_exact(&mut chunk)?;
            is_chunked = chunk.len() > 2;
            body.extend(chunk);
        }
        Ok((status.context("no status")?, String::from_utf8_lossy(&body).into_owned()))
    }
}

/// The CID with a number.
pub(crate) fn cid(number: u64) -> String {
    let digest = blake3::hash(&number.to_le_bytes());
    let bytes = [&[1, 0x55, 0x12, 0x20][..], digest.as_bytes()].concat();
    multibase::encode(Base::Base32Lower, bytes)
}
