//! Provider records for people and for other programs.
//!
//! Texts of the records are untrusted: everything printed here went through
//! [`printable_word`] or [`printable_json`], and nothing in a table is longer than
//! [`TABLE_WORD_CHARS_MAX`].

use std::collections::HashSet;
use std::io::{self, Write};

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};

use crate::text::{printable_json, printable_word};
use crate::types::{Addr, ProviderRecord};
use crate::upstream::ReceivedRecord;

/// The most characters of one text in a table: above any real multiaddr (a relayed WebTransport
/// one has 300). Wrapping takes time in the square of a word's length.
const TABLE_WORD_CHARS_MAX: usize = 600;

/// The default width of a terminal.
const WIDTH_DEFAULT: u16 = 80;

/// The least room for protocols and addresses beside the peers: below it, they go under them.
const SIDE_COLUMNS_WIDTH_MIN: usize = 72;

/// How records are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordFormat {
    /// A table that is at most so many columns wide, wider only where a peer ID is.
    Table { width: u16 },
    /// Peer, protocols (comma-separated) and addresses (space-separated), tabs between; `-` where
    /// there is none.
    Lines,
    /// NDJSON.
    Json,
}

impl RecordFormat {
    /// A table as wide as the terminal.
    pub(super) fn for_terminal() -> Self {
        Self::Table { width: Table::new().width().unwrap_or(WIDTH_DEFAULT) }
    }
}

/// Prints the records.
pub(super) fn write_records(
    records: &[ReceivedRecord],
    format: RecordFormat,
    router: &str,
    out: &mut impl Write,
) -> io::Result<()> {
    match format {
        RecordFormat::Json => {
            records.iter().try_for_each(|record| writeln!(out, "{}", printable_json(&record.json)))
        }
        RecordFormat::Lines => {
            records.iter().try_for_each(|record| write_line(&Row::of(&record.record), out))
        }
        RecordFormat::Table { width } => {
            let rows: Vec<Row> = records.iter().map(|record| Row::of(&record.record)).collect();
            for line in table(&rows, width).lines() {
                writeln!(out, "{}", line.trim_end())?;
            }
            writeln!(out, "{}", summary(&rows, router))
        }
    }
}

/// A record as it is shown.
struct Row {
    peer: String,
    protocols: Vec<String>,
    addrs: Vec<String>,
    /// How many of the addresses are no multiaddrs.
    addrs_unparsable: usize,
}

impl Row {
    fn of(record: &ProviderRecord) -> Self {
        let addrs = record.addrs().unwrap_or_default();
        let is_unparsable = |addr: &&Addr| Addr::parse(addr.as_str()).is_err();
        Self {
            peer: record.peer().map_or("-", |peer| peer.as_str()).to_owned(),
            protocols: protocols(record),
            addrs: addrs.iter().map(|addr| printable_word(addr.as_str()).into()).collect(),
            addrs_unparsable: addrs.iter().filter(is_unparsable).count(),
        }
    }
}

/// The protocols; the schema in their place where a record of an unknown one names none.
fn protocols(record: &ProviderRecord) -> Vec<String> {
    let protocols = record.protocols();
    if let (ProviderRecord::Unknown(unknown), []) = (record, protocols) {
        return vec![printable_word(&format!("schema={}", unknown.schema_name())).into()];
    }
    protocols.iter().map(|protocol| printable_word(protocol).into()).collect()
}

fn write_line(row: &Row, out: &mut impl Write) -> io::Result<()> {
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let protocols = or_dash(row.protocols.join(","));
    writeln!(out, "{}\t{protocols}\t{}", row.peer, or_dash(row.addrs.join(" ")))
}

fn table(rows: &[Row], width: u16) -> Table {
    let peer_width = rows.iter().map(|row| row.peer.len()).max().unwrap_or_default();
    // One blank on either side of a column.
    let least = u16::try_from(peer_width + 2).unwrap_or(u16::MAX);
    let mut table = Table::new();
    table
        .force_no_tty()
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width.max(least));
    if peer_width + SIDE_COLUMNS_WIDTH_MIN <= usize::from(width) {
        fill_side_by_side(&mut table, rows);
    } else {
        fill_stacked(&mut table, rows);
    }
    table
}

fn fill_side_by_side(table: &mut Table, rows: &[Row]) {
    table.set_header(["Peer", "Protocols", "Addresses"]);
    for row in rows {
        table.add_row([row.peer.clone(), cell(&row.protocols), cell(&row.addrs)]);
    }
    if let Some(peers) = table.column_mut(0) {
        peers.set_constraint(ColumnConstraint::ContentWidth);
    }
}

fn fill_stacked(table: &mut Table, rows: &[Row]) {
    table.set_header(["Peer\nProtocols\nAddresses"]);
    for row in rows {
        table.add_row([[&row.peer, &cell(&row.protocols), &cell(&row.addrs)]
            .map(String::as_str)
            .join("\n")]);
    }
}

/// One text a line.
fn cell(texts: &[String]) -> String {
    if texts.is_empty() {
        return "-".to_owned();
    }
    texts.iter().map(|text| shortened(text)).collect::<Vec<_>>().join("\n")
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(TABLE_WORD_CHARS_MAX) {
        Some(_) => text.chars().take(TABLE_WORD_CHARS_MAX - 1).chain(['\u{2026}']).collect(),
        None => text.to_owned(),
    }
}

fn summary(rows: &[Row], router: &str) -> String {
    let peers: HashSet<&str> = rows.iter().map(|row| &*row.peer).collect();
    let mut summary = counted(peers.len(), "provider");
    if peers.len() != rows.len() {
        summary += &format!(" in {}", counted(rows.len(), "record"));
    }
    summary += &format!(" from {router}");
    let unparsable: usize = rows.iter().map(|row| row.addrs_unparsable).sum();
    if unparsable > 0 {
        let addresses = if unparsable == 1 { "address is" } else { "addresses are" };
        summary += &format!(" ({unparsable} {addresses} no multiaddr: clients cannot use such)");
    }
    summary
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests;
