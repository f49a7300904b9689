//! `fingerpost serve`: loads files into the index and serves the public API and the admin listener.
//!
//! Both addresses are bound before the data directory and files are read, so that a port in use
//! fails at once; the public API opens when everything is read. SIGTERM and SIGINT end the command
//! with exit code 0, after what is in flight is finished, or at once while something is still being
//! read or when a second signal comes. SIGHUP never ends it. A reader of standard output that goes
//! away does not end the server.

mod import;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::data;
use crate::clock::Clock;
use crate::config::{Loaded, Settings};
use crate::server::{Parts, Server, Sockets, Stores};
use crate::store::Recovery;
use crate::telemetry;
use crate::types::ContentKey;
use import::Imports;

/// What `fingerpost serve` takes beside the settings.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// Files to import at start: NDJSON (plain, .gz, .zst) or CAR; one or more
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) import: Vec<PathBuf>,

    /// Peer ID of the provider of the blocks of imported CAR files
    #[arg(long, value_name = "PEERID", requires = "import", help_heading = CAR)]
    pub(crate) provider: Option<String>,

    /// Multiaddr at which that provider is reached; one or more
    #[arg(long, value_name = "MULTIADDR", num_args = 1.., requires = "import", help_heading = CAR)]
    pub(crate) addr: Vec<String>,

    /// Protocol that the provider speaks, such as transport-bitswap; one or more
    #[arg(long, value_name = "NAME", num_args = 1.., requires = "import", help_heading = CAR)]
    pub(crate) protocol: Vec<String>,

    /// File with the provider record as JSON, instead of the three flags above
    #[arg(long, value_name = "FILE", requires = "import", help_heading = CAR,
        conflicts_with_all = ["provider", "addr", "protocol"])]
    pub(crate) record: Option<PathBuf>,

    /// Check the digest of every block of CAR files
    #[arg(long, requires = "import", help_heading = CAR)]
    pub(crate) verify: bool,

    /// Stop at the first line or block that cannot be imported
    #[arg(long, requires = "import")]
    pub(crate) strict: bool,
}

const CAR: &str = "Imported CAR files";

/// Files that are open beside the public connections: the admin listener's, logs, files being read.
const OTHER_OPEN_FILES: u64 = 512;

/// How long the threads that read files may take to end when the command is interrupted.
const ABANDON_AFTER: Duration = Duration::from_millis(100);

/// Starts the log and serves until a signal comes.
pub(crate) fn run(args: ServeArgs, loaded: Loaded) -> anyhow::Result<ExitCode> {
    telemetry::init(&loaded.settings.log, loaded.settings.log_format)?;
    let given = loaded.given().map(ToString::to_string);
    let given: Vec<_> = given.chain(loaded.sections().iter().map(ToString::to_string)).collect();
    tracing::info!(settings = given.join(", "), import = ?args.import, "starting");
    for warning in loaded.settings.warnings() {
        tracing::warn!("{warning}");
    }
    let settings = loaded.settings;
    let imports = Imports::prepare(&args, &settings)?;
    data::create(&settings.data_dir, |warning| tracing::warn!("{warning}"))?;
    allow_open_files(&settings);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let result = runtime.block_on(serve(settings, imports));
    runtime.shutdown_timeout(ABANDON_AFTER);
    result
}

async fn serve(settings: Settings, imports: Imports) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let sockets = Sockets::bind(&settings)?;
    let stores = tokio::select! {
        opened = Stores::open(&settings, Clock::System) => opened?,
        signal = signals.next() => {
            tracing::info!(signal, "interrupted while opening the data directory");
            return Ok(ExitCode::SUCCESS);
        }
    };
    if let Some(recovery) = &stores.report {
        report(recovery);
    }
    let parts = Parts::new(stores, Clock::System);
    let mut server = Server::start(settings, parts, sockets).await?;
    tracing::info!(files = imports.count(), "importing");
    let example = tokio::select! {
        imported = imports.run(server.store().clone(), server.metrics().clone()) => imported?,
        signal = signals.next() => {
            tracing::info!(signal, "interrupted while importing");
            return Ok(ExitCode::SUCCESS);
        }
    };
    server.open()?;
    if let Err(error) = announce_addresses(&server, example.as_ref(), &mut io::stdout().lock()) {
        tracing::warn!(%error, "nobody reads standard output");
    }
    tracing::info!(public = %server.public_addr(), admin = %server.admin_addr(), "serving");
    tokio::select! {
        error = server.stopped() => return Err(error.into()),
        signal = signals.next() => tracing::info!(signal, "stopping"),
    }
    tokio::select! {
        () = server.shutdown() => tracing::info!("stopped"),
        signal = signals.next() => tracing::warn!(signal, "stopped without waiting for requests"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what the data directory held.
fn report(recovery: &Recovery) {
    if let Some(tail) = &recovery.journal.torn_tail {
        tracing::warn!(
            file = %tail.path.display(),
            offset = tail.offset,
            bytes = tail.bytes,
            kept = tail.kept(),
            "cut what is half written or damaged at the end: what a crash interrupted, as a rule"
        );
    }
    tracing::info!(
        entries = recovery.entries,
        groups = recovery.groups,
        journal_bytes = recovery.journal.bytes,
        took_ms = u64::try_from(recovery.duration.as_millis()).unwrap_or(u64::MAX),
        "opened the data directory"
    );
    if recovery.evicted_groups > 0 {
        tracing::warn!(
            groups = recovery.evicted_groups,
            "evicted what strangers announced: the data directory holds more than index_memory_max"
        );
    }
}

/// Says where the server is, and how to ask it.
fn announce_addresses(
    server: &Server,
    example: Option<&ContentKey>,
    stdout: &mut impl Write,
) -> io::Result<()> {
    let public = reachable(server.public_addr());
    writeln!(stdout, "public API: http://{public}")?;
    writeln!(stdout, "admin: http://{}", reachable(server.admin_addr()))?;
    if let Some(key) = example {
        let cid = key.to_cid_text();
        writeln!(stdout, "try: curl http://{public}/routing/v1/providers/{cid}")?;
    }
    stdout.flush()
}

/// An address to query: a wildcard address becomes loopback.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// Lets the process have as many files open as `connections_max` needs, as far as it may.
fn allow_open_files(settings: &Settings) {
    let wanted = settings.connections_max as u64 + OTHER_OPEN_FILES;
    match rlimit::increase_nofile_limit(wanted) {
        Ok(allowed) if allowed < wanted => tracing::warn!(
            allowed,
            wanted,
            "the system allows fewer open files than connections_max needs; raise `ulimit -n`"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot raise the limit on open files"),
    }
}

/// The signals that end the command, and SIGHUP, which does not.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The name of the next one that ends the command. SIGHUP asks to reopen what can be reopened, of
    /// which there is nothing: the log is standard error, and settings are read once.
    async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.hangup.recv() => {
                    tracing::info!("SIGHUP: there is nothing to reopen; settings need a restart");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_to_try_is_one_that_can_be_reached() {
        for (listening, asked) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("192.0.2.1:80", "192.0.2.1:80"),
        ] {
            assert_eq!(reachable(listening.parse().unwrap()).to_string(), asked);
        }
    }
}
