//! What was measured: a table for people, and one line of JSON for scripts.

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use serde_json::json;

use super::client::{Load, Outcome};
use super::coalesce::Coalesced;
use super::data::Reference;
use super::plan::{Cell, Plan};
use super::process::CpuTime;

/// One turn of one server.
pub(crate) struct Turn {
    pub(crate) outcome: Outcome,
    pub(crate) before: CpuTime,
    pub(crate) after: CpuTime,
    pub(crate) resident_bytes: u64,
}

/// All turns of one server in one cell.
#[derive(Default)]
pub(crate) struct Measured {
    requests: u64,
    elapsed: Duration,
    cpu: CpuTime,
    /// CPU microseconds a request, turn by turn.
    turns: Vec<f64>,
    latency: Option<Histogram<u64>>,
    resident_bytes: u64,
}

/// The lines of one cell in the table.
pub(crate) struct Row {
    pub(crate) cell: Cell,
    /// Ours first, then what it is compared with, by name.
    pub(crate) servers: Vec<(String, Measured)>,
}

const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

impl Measured {
    /// Adds a turn.
    pub(crate) fn add(&mut self, turn: Turn) -> anyhow::Result<()> {
        let Turn { outcome, before, after, resident_bytes } = turn;
        let total = after.total.saturating_sub(before.total);
        self.requests += outcome.requests;
        self.elapsed += outcome.elapsed;
        self.cpu.total += total;
        self.cpu.user += after.user.saturating_sub(before.user);
        self.cpu.system += after.system.saturating_sub(before.system);
        self.turns.push(microseconds(total, outcome.requests));
        self.resident_bytes = resident_bytes;
        match &mut self.latency {
            Some(latency) => latency.add(outcome.latency).context("histograms of one range")?,
            None => self.latency = Some(outcome.latency),
        }
        Ok(())
    }

    fn requests_per_second(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// CPU microseconds a request: the median of the turns, and how they divide into user and
    /// system.
    fn cpu_us(&self) -> (f64, f64, f64) {
        let total = median(self.turns.clone());
        let ticks = (self.cpu.user + self.cpu.system).as_secs_f64().max(f64::MIN_POSITIVE);
        let user = total * self.cpu.user.as_secs_f64() / ticks;
        (total, user, total - user)
    }

    /// Latency at the percentiles, then the longest, in microseconds.
    fn latency_us(&self) -> Vec<f64> {
        let Some(latency) = &self.latency else { return Vec::new() };
        let percentiles = PERCENTILES.iter().map(|(_, part)| latency.value_at_quantile(*part));
        percentiles.chain([latency.max()]).map(|ns| ns as f64 / 1_000.0).collect()
    }

    fn to_json(&self) -> serde_json::Value {
        let (total, user, system) = self.cpu_us();
        let names = PERCENTILES.iter().map(|(name, _)| *name).chain(["max"]);
        let latency: serde_json::Map<_, _> = names
            .zip(self.latency_us())
            .map(|(name, us)| (name.to_owned(), json!(rounded(us))))
            .collect();
        json!({
            "requests": self.requests,
            "requests_per_second": self.requests_per_second().round(),
            "cpu_us": rounded(total),
            "cpu_user_us": rounded(user),
            "cpu_system_us": rounded(system),
            "latency_us": latency,
            "resident_bytes": self.resident_bytes,
        })
    }
}

impl Row {
    /// What the slowest of them reached.
    pub(crate) fn requests_per_second_min(&self) -> f64 {
        self.servers.iter().map(|(_, server)| server.requests_per_second()).fold(f64::MAX, f64::min)
    }

    /// CPU time a request, ours to that of `reference`: the median over pairs of turns, which stand
    /// near each other in time.
    fn cpu_ratio(&self, reference: &Measured) -> f64 {
        let ours = self.servers.first().map_or(&[][..], |(_, server)| &server.turns);
        let pairs = ours.iter().zip(&reference.turns);
        median(pairs.map(|(one, other)| one / other.max(f64::MIN_POSITIVE)).collect())
    }
}

/// Writes everything.
pub(crate) fn write(
    out: &mut impl Write,
    plan: &Plan,
    rows: &[Row],
    coalesced: Option<&Coalesced>,
) -> std::io::Result<()> {
    writeln!(out, "{}", table(rows))?;
    let is_bare = |row: &Row| row.cell.case.reference() == Reference::Bare;
    if rows.iter().any(|row| is_bare(row) && row.servers.len() < 3) {
        writeln!(out, "nginx was not measured: it is not installed (Debian: nginx-light)")?;
    }
    writeln!(
        out,
        "{} worker(s); {} entries; {} turns of {:?} each; CPU time of the server's process, all \
         threads; ratio: fingerpost to this line, median over pairs of turns",
        plan.workers, plan.entries, plan.rounds, plan.round
    )?;
    if let Some(Coalesced { lookups, upstream_requests, elapsed }) = coalesced {
        writeln!(
            out,
            "{lookups} equal lookups at once: {upstream_requests} request(s) to the upstream; all \
             answered after {elapsed:.1?}"
        )?;
    }
    writeln!(out, "{}", json(plan, rows, coalesced))
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let mut header = vec!["case", "conns", "loop", "server", "req/s", "CPU us", "user", "system"];
    header.push("ratio");
    header.extend(PERCENTILES.iter().map(|(name, _)| *name));
    header.extend(["max us", "MiB"]);
    table.set_header(header);
    for row in rows {
        for (number, (name, measured)) in row.servers.iter().enumerate() {
            let ratio = format!("{:.2}", row.cpu_ratio(measured));
            let ratio = if number == 0 { "" } else { &ratio };
            table.add_row(line(row.cell, name, measured, ratio));
        }
    }
    for column in table.column_iter_mut().skip(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn line(cell: Cell, server: &str, measured: &Measured, ratio: &str) -> Vec<String> {
    let (total, user, system) = measured.cpu_us();
    let kind = match cell.load {
        Load::Closed => "closed",
        Load::Open { .. } => "open",
    };
    let mut line = vec![
        cell.case.to_string(),
        cell.connections.to_string(),
        kind.to_owned(),
        server.to_owned(),
        format!("{:.0}", measured.requests_per_second()),
        format!("{total:.2}"),
        format!("{user:.2}"),
        format!("{system:.2}"),
        ratio.to_owned(),
    ];
    line.extend(measured.latency_us().iter().map(|us| format!("{us:.0}")));
    line.push(format!("{:.0}", measured.resident_bytes as f64 / f64::from(1 << 20)));
    line
}

fn json(plan: &Plan, rows: &[Row], coalesced: Option<&Coalesced>) -> serde_json::Value {
    let cells: Vec<_> = rows
        .iter()
        .map(|row| {
            let per_second = match row.cell.load {
                Load::Closed => None,
                Load::Open { per_second } => Some(per_second.round()),
            };
            let references = row.servers.iter().skip(1);
            let ratios: serde_json::Map<_, _> = references
                .map(|(name, measured)| (name.clone(), json!(rounded(row.cpu_ratio(measured)))))
                .collect();
            let servers: serde_json::Map<_, _> = row
                .servers
                .iter()
                .map(|(name, measured)| (name.clone(), measured.to_json()))
                .collect();
            json!({
                "case": row.cell.case.to_string(),
                "connections": row.cell.connections,
                "open_loop_per_second": per_second,
                "cpu_ratio": ratios,
                "servers": servers,
            })
        })
        .collect();
    let coalesced = coalesced.map(|coalesced| {
        json!({
            "lookups": coalesced.lookups,
            "upstream_requests": coalesced.upstream_requests,
            "elapsed_ms": coalesced.elapsed.as_millis() as u64,
        })
    });
    json!({
        "bench": "load",
        "workers": plan.workers,
        "entries": plan.entries,
        "cells": cells,
        "coalesced": coalesced,
    })
}

fn microseconds(time: Duration, requests: u64) -> f64 {
    time.as_secs_f64() * 1e6 / requests.max(1) as f64
}

fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
