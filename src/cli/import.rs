//! `fingerpost import`: brings files into a data directory, or into a running server.
//!
//! Files are read one after the other. Bad entries are reported and skipped, and the next file is
//! read; the exit code is 1 if a file was not read to its end, or, with `--strict`, at the first
//! rejected entry. What was imported before an error stays.

mod remote;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use tokio::runtime::{Builder, Runtime};

use super::admin_client::AdminClient;
use super::files::{check_readable, observer, say_on_stderr};
use super::{EXIT_FAILURE, data};
use crate::clock::Clock;
use crate::config::Settings;
use crate::http_client::ServerUrl;
use crate::ingest::{CarFlags, ImportError, ImportOptions, ImportSummary, car_record, import_file};
use crate::store::Store;
use crate::text::with_causes;

/// What `fingerpost import` takes beside the settings.
#[derive(Args, Debug)]
pub(super) struct ImportArgs {
    /// Files to import: NDJSON (plain, .gz, .zst) or CAR; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// The admin listener of a running server to import into, instead of the data directory
    #[arg(long, value_name = "URL", value_parser = ServerUrl::parse)]
    to: Option<ServerUrl>,

    /// Peer ID of the provider of the blocks of CAR files
    #[arg(long, value_name = "PEERID", help_heading = CAR)]
    provider: Option<String>,

    /// Multiaddr at which that provider is reached; may be given again
    #[arg(long, value_name = "MULTIADDR", help_heading = CAR)]
    addr: Vec<String>,

    /// Protocol that the provider speaks, such as transport-bitswap; may be given again
    #[arg(long, value_name = "NAME", help_heading = CAR)]
    protocol: Vec<String>,

    /// File with the provider record as JSON, instead of the three flags above
    #[arg(long, value_name = "FILE", help_heading = CAR,
        conflicts_with_all = ["provider", "addr", "protocol"])]
    record: Option<PathBuf>,

    /// Check the digest of every block of CAR files
    #[arg(long, help_heading = CAR)]
    verify: bool,

    /// Stop at the first line or block that cannot be imported
    #[arg(long)]
    strict: bool,
}

const CAR: &str = "CAR files";

/// Imports all files, and says how it went.
pub(super) fn run(args: ImportArgs, settings: &Settings) -> anyhow::Result<ExitCode> {
    let record_json = args.record.as_deref().map(CarFlags::read_record).transpose()?;
    let flags = CarFlags {
        provider: args.provider,
        addrs: args.addr,
        protocols: args.protocol,
        record_json,
    };
    let options = ImportOptions {
        strict: args.strict,
        verify: args.verify,
        car_record: car_record(&args.files, &flags)?,
        ..ImportOptions::with_settings(settings, Clock::System.now_ms())
    };
    args.files.iter().try_for_each(|path| check_readable(path))?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let result = match &args.to {
        Some(url) => {
            let client = AdminClient::new("--to", url, settings)?;
            import_all(&args.files, &options, |path| {
                let upload = remote::Upload { path, flags: &flags, options: &options };
                runtime.block_on(remote::import(&client, &upload, &mut *observer(say_on_stderr)))
            })
        }
        None => import_into(&args.files, &options, settings, &runtime),
    };
    // A read of standard input that never returns must not keep the command alive.
    runtime.shutdown_background();
    result
}

/// Imports into the data directory.
fn import_into(
    files: &[PathBuf],
    options: &ImportOptions,
    settings: &Settings,
    runtime: &Runtime,
) -> anyhow::Result<ExitCode> {
    let stores = runtime.block_on(data::open_or_create(settings))?;
    import_all(files, options, |path| import_local(path, options, &*stores.store, runtime))
}

fn import_local(
    path: &Path,
    options: &ImportOptions,
    store: &dyn Store,
    runtime: &Runtime,
) -> anyhow::Result<Imported> {
    let mut sink = |updates| runtime.block_on(store.update(updates, Clock::System.now_ms()));
    match import_file(path, options, &mut sink, &mut *observer(say_on_stderr)) {
        Ok(summary) => Ok(Imported::Whole(summary)),
        Err(failure) if matches!(failure.error, ImportError::Store { .. }) => {
            if let Some(summary) = &failure.summary {
                say_imported(summary)?;
            }
            Err(failure.into())
        }
        Err(failure) => {
            Ok(Imported::Stopped { error: with_causes(&*failure), summary: failure.summary })
        }
    }
}

/// The outcome of one file; errors that the next file would meet too are not part of it.
enum Imported {
    /// It was read to its end.
    Whole(ImportSummary),
    /// It was not.
    Stopped {
        /// Why.
        error: String,
        /// What it brought in before.
        summary: Option<ImportSummary>,
    },
}

fn import_all(
    files: &[PathBuf],
    options: &ImportOptions,
    mut import: impl FnMut(&Path) -> anyhow::Result<Imported>,
) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for path in files {
        let summary = match import(path)? {
            Imported::Whole(summary) => Some(summary),
            Imported::Stopped { error, summary } => {
                writeln!(io::stderr(), "error: {error}")?;
                code = ExitCode::from(EXIT_FAILURE);
                summary
            }
        };
        if let Some(summary) = summary {
            say_imported(&summary)?;
        }
        if options.strict && code != ExitCode::SUCCESS {
            break;
        }
    }
    Ok(code)
}

fn say_imported(summary: &ImportSummary) -> io::Result<()> {
    writeln!(io::stdout(), "imported {summary}")
}
