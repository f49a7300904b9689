//! `fingerpost stats`: how much a data directory or a running server holds, and what it costs.
//!
//! A table on a terminal, a name and a value a line with a tab between elsewhere, and with `--json`
//! the object that the admin API answers.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{BinaryBytes, HumanCount};
use reqwest::Method;
use tokio::runtime::Builder;

use super::admin_client::AdminClient;
use super::data;
use crate::admin::Stats;
use crate::config::Settings;
use crate::http_client::ServerUrl;
use crate::text::printable;

/// What `fingerpost stats` takes beside the settings.
#[derive(Args, Debug)]
pub(super) struct StatsArgs {
    /// The admin listener of a running server to ask, instead of the data directory
    #[arg(long, value_name = "URL", value_parser = ServerUrl::parse)]
    from: Option<ServerUrl>,

    /// Print the figures as one JSON object
    #[arg(long)]
    json: bool,
}

/// Reads the figures and prints them.
pub(super) fn run(
    args: &StatsArgs,
    settings: &Settings,
    stdout: &mut (impl Write + IsTerminal),
) -> anyhow::Result<ExitCode> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let stats = runtime.block_on(async {
        match &args.from {
            Some(url) => {
                let client = AdminClient::new("--from", url, settings)?;
                client.json(client.request(Method::GET, client.url(&["admin", "stats"]))).await
            }
            None => {
                let stores = data::open(settings).await?;
                Ok(Stats::new(stores.store.stats().await?, stores.ipns.stats().await?, None))
            }
        }
    })?;
    if args.json {
        writeln!(stdout, "{}", serde_json::to_string(&stats)?)?;
    } else if stdout.is_terminal() {
        writeln!(stdout, "{}", table(&stats))?;
    } else {
        for (name, value) in rows(&stats) {
            writeln!(stdout, "{name}\t{value}")?;
        }
    }
    stdout.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn table(stats: &Stats) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (name, value) in rows(stats) {
        table.add_row([name.to_owned(), value]);
    }
    if let Some(values) = table.column_mut(1) {
        values.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The figures for people.
fn rows(stats: &Stats) -> Vec<(&'static str, String)> {
    let count = |count: u64| HumanCount(count).to_string();
    let bytes = |bytes: u64| BinaryBytes(bytes).to_string();
    let known = [
        ("entries", stats.entries.map(count)),
        ("keys", stats.keys.map(count)),
        ("groups", stats.groups.map(count)),
        ("providers", stats.providers.map(count)),
        ("index", stats.index_bytes.map(bytes)),
        ("bytes an entry", stats.bytes_per_entry.map(|bytes| format!("{bytes:.1}"))),
    ];
    let known = known.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let mut rows: Vec<_> = known.collect();
    match &stats.journal {
        Some(journal) => {
            let share = journal.garbage_share * 100.0;
            let garbage = format!("{} ({share:.1} %)", BinaryBytes(journal.garbage_bytes));
            rows.push(("journal", bytes(journal.bytes)));
            rows.push(("journal garbage", garbage));
            rows.push(("journal segments", count(journal.segments)));
        }
        None => rows.push(("journal", "none".to_owned())),
    }
    rows.push(("IPNS records", count(stats.ipns.records)));
    rows.push(("IPNS file", bytes(stats.ipns.file_bytes)));
    rows.push(("version", printable(&stats.version).into_owned()));
    if let Some(uptime_s) = stats.uptime_s {
        let uptime = humantime::format_duration(Duration::from_secs(uptime_s));
        rows.push(("up for", uptime.to_string()));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{IpnsStoreStats, JournalFigures, StoreStats};

    #[test]
    fn figures_are_readable() {
        let journal = JournalFigures {
            bytes: 3 << 30,
            garbage_bytes: 1 << 29,
            segments: 4,
            ..JournalFigures::default()
        };
        let stats = StoreStats {
            entries: Some(1_234_567),
            keys: Some(1_000_000),
            groups: Some(12),
            providers: Some(3),
            bytes: Some(29_629_608),
            journal: Some(journal),
            ..StoreStats::default()
        };
        let names = IpnsStoreStats { records: 5_000, file_bytes: 3 << 20, is_failing: false };
        let rows = rows(&Stats::new(stats, names, Some(90_061)));
        let text: Vec<String> =
            rows.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(
            text,
            [
                "entries: 1,234,567",
                "keys: 1,000,000",
                "groups: 12",
                "providers: 3",
                "index: 28.26 MiB",
                "bytes an entry: 24.0",
                "journal: 3.00 GiB",
                "journal garbage: 512.00 MiB (16.7 %)",
                "journal segments: 4",
                "IPNS records: 5,000",
                "IPNS file: 3.00 MiB",
                "version: 0.1.0",
                "up for: 1day 1h 1m 1s",
            ]
        );
    }
}
