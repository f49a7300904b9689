//! What is measured, and for how long. Everything can be set by environment variables:
//!
//! | variable | default | meaning |
//! |---|---|---|
//! | `CASES` | `one,hundred,zipf,absent,one-lines,hundred-lines,cached,cached-hundred,routed` | answers with one and with 100 providers, random keys of a large index, 404s; the first two as NDJSON, compared with JSON; the first two out of the cache of upstreams' answers, compared with the index; the first with 1,000 static routes, compared with none |
//! | `COALESCE` | `1000` | equal lookups at once of a key that only an upstream can know; 0 leaves this out |
//! | `CONNECTIONS` | `1,64,1024` | keep-alive connections |
//! | `LOOPS` | `closed,open` | `closed` alone leaves the open loop out |
//! | `ROUNDS` | `15` | turns of each server in each measurement |
//! | `ROUND_SECONDS` | `0.25` | length of a turn, at most 20: idle connections are closed after 30 |
//! | `OPEN_SHARE` | `0.5` | rate of the open loop, as a part of the closed loop's |
//! | `ENTRIES` | `1000000` | keys in the index |
//! | `WORKERS` | half the cores | threads of either server; the load generator is one thread |

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};

use super::client::Load;
use super::data::{Case, Reference};

/// All cases.
const CASES: &str = "one,hundred,zipf,absent,one-lines,hundred-lines,cached,cached-hundred,routed";

/// Open files beside the connections.
const OTHER_OPEN_FILES: u64 = 64;

/// With so many connections every case has an open loop; with others only [`Case::One`] has, which
/// keeps the default run under three minutes.
const OPEN_LOOP_CONNECTIONS: usize = 64;

/// What is measured.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) cases: Vec<Case>,
    pub(crate) coalesce: usize,
    pub(crate) connections: Vec<usize>,
    pub(crate) open_loop: bool,
    pub(crate) rounds: u32,
    pub(crate) round: Duration,
    pub(crate) open_share: f64,
    pub(crate) entries: u64,
    pub(crate) workers: usize,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) case: Case,
    pub(crate) connections: usize,
    pub(crate) load: Load,
}

impl Plan {
    /// Reads the environment.
    pub(crate) fn from_env() -> anyhow::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let loops: Vec<String> = list("LOOPS", "closed,open")?;
        let plan = Self {
            cases: list("CASES", CASES)?,
            coalesce: value("COALESCE", 1_000)?,
            connections: list("CONNECTIONS", "1,64,1024")?,
            open_loop: loops.iter().any(|name| name == "open"),
            rounds: value("ROUNDS", 15)?,
            round: Duration::try_from_secs_f64(value("ROUND_SECONDS", 0.25)?)
                .context("ROUND_SECONDS")?,
            open_share: value("OPEN_SHARE", 0.5)?,
            entries: value("ENTRIES", 1_000_000)?,
            workers: value("WORKERS", (cores / 2).max(1))?,
        };
        if plan.rounds == 0 || plan.entries == 0 || plan.connections.contains(&0) {
            bail!("ROUNDS, ENTRIES and CONNECTIONS begin at 1");
        }
        Ok(plan)
    }

    /// Whether a case has an open loop with that many connections.
    pub(crate) fn has_open_loop(&self, case: Case, connections: usize) -> bool {
        let is_wanted = case == Case::One || connections == OPEN_LOOP_CONNECTIONS;
        self.open_loop && case.reference() == Reference::Bare && is_wanted
    }

    /// How many files the load generator, and each server, needs to have open.
    pub(crate) fn open_files(&self) -> u64 {
        let connections = self.connections.iter().max().copied().unwrap_or_default();
        connections.max(self.coalesce) as u64 + OTHER_OPEN_FILES
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} connections, {}", self.case, self.connections, self.load)
    }
}

fn value<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    name: &str,
    default: T,
) -> anyhow::Result<T> {
    match std::env::var(name) {
        Ok(text) => text.trim().parse().with_context(|| format!("{name}={text}")),
        Err(_) => Ok(default),
    }
}

fn list<T: FromStr<Err: Into<anyhow::Error>>>(name: &str, default: &str) -> anyhow::Result<Vec<T>> {
    let text = std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items
        .map(|item| {
            item.parse().map_err(|error: T::Err| error.into().context(format!("{name}={text}")))
        })
        .collect()
}
