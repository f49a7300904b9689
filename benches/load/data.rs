//! What is in the index, and what is asked.
//!
//! A CAR file holds the many keys, all of one provider; an NDJSON file one key with one provider
//! and one with a hundred. The digests are made up: blocks are not checked unless asked for.

use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail};
use fingerpost::types::ContentKey;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Requests made beforehand: enough that their keys do not all stay in a cache.
pub(crate) const REQUESTS: usize = 1 << 18;

/// Keys that stand in no file, which all answer 404.
const ABSENT_FROM: u64 = 1 << 40;

/// The key with one provider, and the one with a hundred: apart from the CAR file's.
const ONE: u64 = ABSENT_FROM - 1;
const HUNDRED: u64 = ABSENT_FROM - 2;

/// A key that no server has.
const UNKNOWN: u64 = ABSENT_FROM - 3;

const PROVIDERS: u32 = 100;

/// Which answers are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// One key with one provider.
    One,
    /// One key with a hundred providers: 20 kB.
    Hundred,
    /// Keys of the large index, the popular ones more often (Zipf, exponent 1).
    Zipf,
    /// Keys that nobody has.
    Absent,
    /// As [`Case::One`], as NDJSON.
    OneLines,
    /// As [`Case::Hundred`], as NDJSON.
    HundredLines,
    /// As [`Case::One`], from a server that has the answer of an upstream in its cache.
    Cached,
    /// As [`Case::Hundred`], from such a server.
    CachedHundred,
    /// As [`Case::One`], from a server with 1,000 static routes.
    Routed,
}

/// What a case is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// The bare handler that returns the same bytes.
    Bare,
    /// The same server, asked for the same records as JSON.
    Json(Case),
    /// A server that has the same records in its own index.
    Local,
    /// A server with the same index and no routes.
    NoRoutes,
}

impl Case {
    /// The status and the number of providers that every answer must have.
    pub(crate) fn promised(self) -> (u16, usize) {
        match self {
            Self::One | Self::Zipf | Self::OneLines | Self::Cached | Self::Routed => (200, 1),
            Self::Hundred | Self::HundredLines | Self::CachedHundred => (200, PROVIDERS as usize),
            Self::Absent => (404, 0),
        }
    }

    /// What it is compared with.
    pub(crate) fn reference(self) -> Reference {
        match self {
            Self::OneLines => Reference::Json(Self::One),
            Self::HundredLines => Reference::Json(Self::Hundred),
            Self::One | Self::Hundred | Self::Zipf | Self::Absent => Reference::Bare,
            Self::Cached | Self::CachedHundred => Reference::Local,
            Self::Routed => Reference::NoRoutes,
        }
    }

    /// Whether it is asked for NDJSON.
    pub(crate) fn is_lines(self) -> bool {
        matches!(self, Self::OneLines | Self::HundredLines)
    }

    fn accept(self) -> &'static str {
        if self.is_lines() { "application/x-ndjson" } else { "application/json" }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bare => "bare",
            Self::Json(_) => "json",
            Self::Local => "local",
            Self::NoRoutes => "no-routes",
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "one",
            Self::Hundred => "hundred",
            Self::Zipf => "zipf",
            Self::Absent => "absent",
            Self::OneLines => "one-lines",
            Self::HundredLines => "hundred-lines",
            Self::Cached => "cached",
            Self::CachedHundred => "cached-hundred",
            Self::Routed => "routed",
        })
    }
}

impl FromStr for Case {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "one" => Self::One,
            "hundred" => Self::Hundred,
            "zipf" => Self::Zipf,
            "absent" => Self::Absent,
            "one-lines" => Self::OneLines,
            "hundred-lines" => Self::HundredLines,
            "cached" => Self::Cached,
            "cached-hundred" => Self::CachedHundred,
            "routed" => Self::Routed,
            _ => bail!("no such case: {text}"),
        })
    }
}

/// The files to import.
pub(crate) struct Data {
    pub(crate) car: PathBuf,
    pub(crate) ndjson: PathBuf,
    entries: u64,
}

impl Data {
    /// Writes the files.
    pub(crate) fn write(folder: &Path, entries: u64) -> anyhow::Result<Self> {
        let data =
            Self { car: folder.join("keys.car"), ndjson: folder.join("providers.ndjson"), entries };
        data.write_car().context("cannot write the CAR file")?;
        data.write_ndjson().context("cannot write the NDJSON file")?;
        Ok(data)
    }

    /// That many requests, one after another.
    pub(crate) fn requests(&self, case: Case, count: usize) -> Requests {
        let mut random = StdRng::seed_from_u64(1);
        let mut requests = Requests::default();
        let count = if matches!(case, Case::Zipf | Case::Absent) { count } else { 1 };
        for number in 0..count as u64 {
            let key = match case {
                Case::One | Case::OneLines | Case::Cached | Case::Routed => ONE,
                Case::Hundred | Case::HundredLines | Case::CachedHundred => HUNDRED,
                Case::Absent => ABSENT_FROM + number,
                Case::Zipf => zipf(self.entries, &mut random),
            };
            requests.push(key, case.accept());
        }
        requests
    }

    /// A request for a key that no file has: an upstream is asked for it.
    pub(crate) fn unknown(&self) -> Requests {
        let mut requests = Requests::default();
        requests.push(UNKNOWN, Case::One.accept());
        requests
    }

    fn write_car(&self) -> std::io::Result<()> {
        // The length of the header, then the header: {"roots": [], "version": 1} in DAG-CBOR.
        const HEADER: &[u8] = b"\x11\xa2\x65roots\x80\x67version\x01";
        // CID version 1, raw, sha2-256, 32 bytes.
        const CID: &[u8] = b"\x01\x55\x12\x20";
        const BLOCK: &[u8] = b"x";
        let mut file = BufWriter::new(File::create(&self.car)?);
        file.write_all(HEADER)?;
        for number in 0..self.entries {
            let digest = digest(number);
            let length = CID.len() + digest.len() + BLOCK.len();
            file.write_all(&[u8::try_from(length).expect("a block of 37 bytes")])?;
            file.write_all(CID)?;
            file.write_all(&digest)?;
            file.write_all(BLOCK)?;
        }
        file.flush()
    }

    fn write_ndjson(&self) -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(&self.ndjson)?);
        for (number, providers) in [(ONE, 1), (HUNDRED, PROVIDERS)] {
            let records: Vec<_> = (0..providers).map(record).collect();
            let line = serde_json::json!({"CID": key(number).to_cid_text(), "Providers": records});
            writeln!(file, "{line}")?;
        }
        file.flush()
    }
}

/// The peer that provides the keys of the CAR file.
pub(crate) fn car_provider() -> (String, [&'static str; 2]) {
    (peer(u32::MAX), ["/ip4/192.0.2.255/tcp/4001", "/ip4/192.0.2.255/udp/4001/quic-v1"])
}

fn record(number: u32) -> serde_json::Value {
    let host = number % 256;
    serde_json::json!({
        "Schema": "peer",
        "ID": peer(number),
        "Addrs": [
            format!("/ip4/192.0.2.{host}/tcp/4001"),
            format!("/ip4/192.0.2.{host}/udp/4001/quic-v1"),
        ],
        "Protocols": ["transport-bitswap"],
    })
}

fn peer(number: u32) -> String {
    let mut multihash = vec![0x12, 0x20];
    multihash.extend_from_slice(blake3::hash(&number.to_le_bytes()).as_bytes());
    libp2p_identity::PeerId::from_bytes(&multihash).expect("a sha2-256 multihash").to_base58()
}

/// A number below `count`: the one of rank r with a chance of about 1 / (r ln count).
fn zipf(count: u64, random: &mut StdRng) -> u64 {
    let rank = (count as f64 + 1.0).powf(random.random::<f64>());
    (rank as u64).clamp(1, count) - 1
}

fn digest(number: u64) -> [u8; 32] {
    *blake3::hash(&number.to_le_bytes()).as_bytes()
}

fn key(number: u64) -> ContentKey {
    let mut multihash = vec![0x12, 0x20];
    multihash.extend_from_slice(&digest(number));
    ContentKey::from_multihash(&multihash).expect("a sha2-256 multihash")
}

/// Requests as they go over the wire, made beforehand.
#[derive(Default)]
pub(crate) struct Requests {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Requests {
    /// The `number`th, over and over.
    pub(crate) fn get(&self, number: usize) -> &[u8] {
        let position = number % self.ends.len().max(1);
        let start = position.checked_sub(1).and_then(|before| self.ends.get(before).copied());
        let end = self.ends.get(position).copied().unwrap_or_default();
        self.bytes.get(start.unwrap_or_default()..end).unwrap_or_default()
    }

    fn push(&mut self, number: u64, accept: &str) {
        let cid = key(number).to_cid_text();
        let request = format!(
            "GET /routing/v1/providers/{cid} HTTP/1.1\r\nHost: 127.0.0.1:8190\r\n\
             User-Agent: load\r\nAccept: {accept}\r\nAccept-Encoding: gzip\r\n\r\n"
        );
        self.bytes.extend_from_slice(request.as_bytes());
        self.ends.push(self.bytes.len());
    }
}
