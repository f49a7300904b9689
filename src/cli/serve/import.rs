//! The files that `fingerpost serve --import` reads before it lets the public in.
//!
//! Faults of the command line (a missing file, a CAR without a provider) are errors before anything
//! is read. Faults of a file are reported, counted and skipped; only `--strict` makes them errors.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tokio::runtime::Handle;

use super::ServeArgs;
use crate::cli::files::{check_readable, observer};
use crate::clock::Clock;
use crate::config::Settings;
use crate::ingest::{CarFlags, ImportError, ImportOptions, ImportSummary, car_record, import_file};
use crate::metrics::Metrics;
use crate::store::{Store, Update};
use crate::text::with_causes;
use crate::types::ContentKey;

/// Files to read, and how.
pub(super) struct Imports {
    files: Vec<PathBuf>,
    options: ImportOptions,
}

impl Imports {
    /// Checks everything that can be checked before reading.
    pub(super) fn prepare(args: &ServeArgs, settings: &Settings) -> anyhow::Result<Self> {
        let record_json = args.record.as_deref().map(CarFlags::read_record).transpose()?;
        let flags = CarFlags {
            provider: args.provider.clone(),
            addrs: args.addr.clone(),
            protocols: args.protocol.clone(),
            record_json,
        };
        let options = ImportOptions {
            strict: args.strict,
            verify: args.verify,
            car_record: car_record(&args.import, &flags)?,
            ..ImportOptions::with_settings(settings, Clock::System.now_ms())
        };
        args.import.iter().try_for_each(|path| check_readable(path))?;
        Ok(Self { files: args.import.clone(), options })
    }

    /// How many files there are to read.
    pub(super) fn count(&self) -> usize {
        self.files.len()
    }

    /// Reads the files one after the other into `store`, on a thread that may block. Returns one of
    /// the keys, as an example.
    pub(super) async fn run(
        self,
        store: Arc<dyn Store>,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Option<ContentKey>> {
        let runtime = Handle::current();
        let reading = tokio::task::spawn_blocking(move || {
            let mut example = None;
            for file in &self.files {
                self.read(file, &runtime, &*store, &metrics, &mut example)?;
            }
            Ok(example)
        });
        reading.await.context("the import stopped")?
    }

    fn read(
        &self,
        path: &Path,
        runtime: &Handle,
        store: &dyn Store,
        metrics: &Metrics,
        example: &mut Option<ContentKey>,
    ) -> anyhow::Result<()> {
        let mut sink = |updates: Vec<Update>| {
            if example.is_none() {
                let mut announced = updates.iter().flat_map(|update| &update.announcements);
                *example = announced.find_map(|announced| first_key(&announced.keys));
            }
            runtime.block_on(store.update(updates, Clock::System.now_ms()))
        };
        // Without a terminal, progress goes to the log.
        let mut observer = observer(|line| tracing::info!("{line}"));
        match import_file(path, &self.options, &mut sink, &mut *observer) {
            Ok(summary) => report(metrics, &summary),
            Err(failure) => {
                if let Some(summary) = &failure.summary {
                    report(metrics, summary);
                }
                if self.options.strict || matches!(failure.error, ImportError::Store { .. }) {
                    return Err(failure.into());
                }
                // A damaged file must not keep the rest from being served.
                tracing::error!(error = with_causes(&*failure), "not all of a file is imported");
            }
        }
        Ok(())
    }
}

/// Identity keys carry their content and are never looked up, so they are no example.
fn first_key(keys: &[ContentKey]) -> Option<ContentKey> {
    keys.iter().find(|key| !key.is_identity()).cloned()
}

/// Reports the summary of a file on standard output, and in the log unless that is a terminal too.
fn report(metrics: &Metrics, summary: &ImportSummary) {
    summary.counts.record(metrics);
    if writeln!(io::stdout(), "imported {summary}").is_err() || !io::stderr().is_terminal() {
        tracing::info!("imported {summary}");
    }
}
