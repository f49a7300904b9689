//! What the commands about routes print: lists, and the fields of one thing.
//!
//! Texts of a server are untrusted: all that is printed here went through `printable_word`,
//! [`printable`] or [`printable_json`], and no cell of a table has more than [`CELL_CHARS_MAX`]
//! characters.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, TableStyle, presets};
use serde_json::value::RawValue;

use crate::text::{printable, printable_json};

/// The most characters of a cell. Wrapping takes time in the square of a word's length.
const CELL_CHARS_MAX: usize = 600;

/// The default width of a terminal, also if it reports one too small for a table.
const WIDTH_DEFAULT: u16 = 80;

/// The least width of a table.
const WIDTH_MIN: u16 = 40;

/// Stands for an empty value.
const NOTHING: &str = "-";

/// How things are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteFormat {
    /// A table, as wide as the terminal.
    Table,
    /// A line for each thing, with tabs between what it has.
    Lines,
    /// What the server answered.
    Json,
}

/// Several things of one kind.
pub(super) struct Listing<const COLUMNS: usize> {
    /// What each column has.
    pub(super) header: [&'static str; COLUMNS],
    pub(super) rows: Vec<[String; COLUMNS]>,
    /// The text of a table without rows.
    pub(super) empty: &'static str,
}

/// One thing, by the names of what it has. Names of what belongs to something else begin with that:
/// `route.endpoints.0.name`.
#[derive(Default)]
pub(super) struct FieldTable(Vec<(String, String)>);

/// Prints what the server answered, on one line if it came so.
pub(super) fn write_json(json: &RawValue, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", printable_json(json.get()))
}

impl<const COLUMNS: usize> Listing<COLUMNS> {
    pub(super) fn write(&self, format: RouteFormat, out: &mut dyn Write) -> io::Result<()> {
        if format == RouteFormat::Lines {
            return self.rows.iter().try_for_each(|row| {
                let cells: Vec<_> = row.iter().map(|cell| cell_of(cell)).collect();
                writeln!(out, "{}", cells.join("\t"))
            });
        }
        if self.rows.is_empty() {
            return writeln!(out, "{}", self.empty);
        }
        let mut table = new_table(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(self.header);
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| shortened(&cell_of(cell))));
        }
        write_table(&table, out)
    }
}

impl FieldTable {
    /// Adds one.
    pub(super) fn add(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), value.into()));
    }

    pub(super) fn write(&self, format: RouteFormat, out: &mut dyn Write) -> io::Result<()> {
        if format == RouteFormat::Lines {
            return self.0.iter().try_for_each(|(name, value)| {
                writeln!(out, "{}\t{}", printable(name), cell_of(value))
            });
        }
        let mut table = new_table(presets::NOTHING);
        for (name, value) in &self.0 {
            let name = printable(&name.replace('_', " ")).into_owned();
            table.add_row([shortened(&name), shortened(&cell_of(value))]);
        }
        write_table(&table, out)
    }
}

/// A table as wide as the terminal.
fn new_table(style: TableStyle) -> Table {
    let mut table = Table::new();
    let width = table.width().filter(|width| *width >= WIDTH_MIN).unwrap_or(WIDTH_DEFAULT);
    table.load_style(style).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    table
}

/// Without the blanks that fill up the last column.
fn write_table(table: &Table, out: &mut dyn Write) -> io::Result<()> {
    table.lines().try_for_each(|line| writeln!(out, "{}", line.trim_end()))
}

/// A text as one line without tabs.
fn cell_of(text: &str) -> String {
    if text.is_empty() { NOTHING.to_owned() } else { printable(text).into_owned() }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(CELL_CHARS_MAX) {
        Some(_) => text.chars().take(CELL_CHARS_MAX - 1).chain(['\u{2026}']).collect(),
        None => text.to_owned(),
    }
}
