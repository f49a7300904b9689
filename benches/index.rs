//! The index in this process against a DashMap and a bare hash table of the same entries, in the
//! same run, side by side: lookups, additions, removals, a restart, and the longest lookup while
//! entries are being added.
//!
//! Lookups are measured twice. *Alone*: each waits for the one before it, as a lookup in a server
//! does, where the work of a request stands between two of them; the clock's own time is taken off.
//! *In a row*: the processor overlaps as many as its window holds, several of the bare table's, whose
//! hash is a load, and hardly two of those that compute a keyed hash first.
//!
//! `cargo bench --bench index`. `SIZES=1M,10M,50M` chooses sizes; at 50M the three together take
//! about 18 GB, `SUBJECTS=fingerpost,hashbrown` leaves the DashMap out. Prints a table for people,
//! and one line of JSON.

#[expect(dead_code, reason = "the other benchmark uses the rest")]
mod common;

use std::hint::black_box;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use comfy_table::{Cell, CellAlignment, Table, presets};
use common::{
    BATCH, Bare, Dash, Fingerpost, Numbers, Sample, Subject, digest, group_of, multihash_bytes,
    numbers_in,
};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// Lookups a turn, and turns; the median of the turns counts.
const SAMPLE: usize = 500_000;
const TURNS: usize = 9;

/// Entries of the index that nobody adds to.
const STILL_ENTRIES: u64 = 1_000_000;

/// A lookup this long is worth asking the system why.
const LONG_NS: u64 = 20_000;

/// What is looked up.
const WORKLOADS: [&str; 4] = ["hit, uniform", "hit, Zipf", "miss, uniform", "miss, Zipf"];

fn main() {
    let mut sizes = Vec::new();
    for entries in numbers_in("SIZES", "1M,10M") {
        sizes.push(measure(entries));
    }
    print(&json!({ "bench": "index", "sizes": sizes }).to_string());
}

fn subjects() -> Vec<Box<dyn Subject>> {
    let all: [fn() -> Box<dyn Subject>; 3] =
        [|| Box::new(Fingerpost::new()), || Box::new(Bare::new()), || Box::<Dash>::default()];
    let wanted = std::env::var("SUBJECTS").unwrap_or("fingerpost,hashbrown,dashmap".to_owned());
    let made = all.into_iter().map(|make| make());
    made.filter(|subject| wanted.split(',').any(|name| name == subject.name())).collect()
}

/// Measures everything at one size, and returns it as JSON.
fn measure(entries: u64) -> Value {
    let subjects = subjects();
    let mut rows: Vec<(String, Vec<f64>)> = Vec::new();
    let put = |subject: &dyn Subject| per_entry(entries, || subject.put(0..entries));
    rows.push(("put, from nothing".to_owned(), each(&subjects, put)));
    for (number, name) in WORKLOADS.iter().enumerate() {
        let (alone, in_a_row) = gets(&subjects, entries, number);
        rows.push((format!("get, alone: {name}"), alone));
        rows.push((format!("get, in a row: {name}"), in_a_row));
    }
    let half = entries / 2;
    let remove = |subject: &dyn Subject| per_entry(half, || subject.remove_half(entries));
    rows.push(("remove half".to_owned(), each(&subjects, remove)));
    let sweep = |subject: &dyn Subject| per_entry(half, || subject.sweep());
    rows.push(("free what was removed".to_owned(), each(&subjects, sweep)));
    let names: Vec<_> = subjects.iter().map(|subject| subject.name()).collect();
    drop(subjects);
    show(entries, &names, &rows);
    let longest = while_adding(entries);
    let restart = restart(entries);
    print(&format!("restart with {entries} entries, 2 threads: {restart:.2} s\n"));
    let mut of_size = Map::new();
    for (at, name) in names.iter().enumerate() {
        let values = rows.iter().filter_map(|(row, values)| Some((row.clone(), values.get(at)?)));
        let values: Map<_, _> = values.map(|(row, value)| (row, json!(value))).collect();
        of_size.insert((*name).to_owned(), values.into());
    }
    json!({ "entries": entries, "ns_an_entry": of_size, "lookup_while_adding_us": longest,
        "restart_s": restart })
}

fn each(subjects: &[Box<dyn Subject>], measure: impl Fn(&dyn Subject) -> f64) -> Vec<f64> {
    subjects.iter().map(|subject| measure(&**subject)).collect()
}

/// Nanoseconds an entry.
fn per_entry(entries: u64, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / entries as f64
}

/// Lookups of one kind, the subjects in turn: nanoseconds alone, and in a row.
fn gets(subjects: &[Box<dyn Subject>], entries: u64, workload: usize) -> (Vec<f64>, Vec<f64>) {
    let mut numbers = Numbers::new(workload as u64);
    let is_zipf = workload % 2 == 1;
    let is_hit = workload < 2;
    let mut times = vec![(Vec::new(), Vec::new()); subjects.len()];
    for _ in 0..TURNS {
        let mut sample = || {
            Sample::new((0..SAMPLE).map(|_| {
                let number = if is_zipf { numbers.zipf(entries) } else { numbers.uniform(entries) };
                if is_hit { number } else { number + entries * 2 }
            }))
        };
        for (subject, (alone, in_a_row)) in subjects.iter().zip(&mut times) {
            for (times, is_alone) in [(&mut *in_a_row, false), (alone, true)] {
                // Each time other keys, which no cache has from the time before.
                let sample = sample();
                let clock = if is_alone { clock_ns() } else { 0.0 };
                let mut found = 0;
                let look = || found = black_box(subject.get(&sample, &mut || pause(is_alone)));
                times.push(per_entry(sample.len() as u64, look) - clock);
                assert_eq!(found, if is_hit { SAMPLE } else { 0 }, "{}", subject.name());
            }
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
    };
    times.iter_mut().map(|(alone, in_a_row)| (median(alone), median(in_a_row))).unzip()
}

/// Asks for the time, which is not done before all that comes before it is.
fn pause(is_wanted: bool) {
    if is_wanted {
        black_box(Instant::now());
    }
}

/// How long that takes.
fn clock_ns() -> f64 {
    let mut clock = Vec::new();
    for _ in 0..9 {
        clock.push(per_entry(100_000, || (0..100_000).for_each(|_| pause(true))));
    }
    clock.sort_by(f64::total_cmp);
    clock.get(4).copied().unwrap_or_default()
}

/// Seconds that a restart takes: all keys, from two threads.
fn restart(entries: u64) -> f64 {
    let subject = Fingerpost::new();
    let start = Instant::now();
    let restore = subject.index.restore(1);
    restore.reserve(entries);
    let groups: Vec<_> = (1..)
        .zip(subject.specs())
        .map(|(serial, spec)| restore.group(spec, serial, 0).expect("there is room"))
        .collect();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (restore, groups) = (&restore, &groups);
            scope.spawn(move || {
                for batch in (thread..entries.div_ceil(BATCH)).step_by(2) {
                    let numbers = batch * BATCH..(batch * BATCH + BATCH).min(entries);
                    let group = groups.get(group_of(numbers.start) as usize).expect("a group");
                    let keys: Vec<_> =
                        numbers.map(|number| multihash_bytes(&digest(number))).collect();
                    let taken = restore.keys(group, keys.iter().map(|key| &key[..]));
                    taken.expect("there is room");
                }
            });
        }
    });
    restore.finish().expect("there is room");
    assert_eq!(subject.index.stats().entries, entries);
    start.elapsed().as_secs_f64()
}

/// Times of lookups: as they are, and without what the threads waited for a processor.
struct Times {
    all: Histogram<u64>,
    running: Histogram<u64>,
}

/// How long lookups take while another thread adds entries: one at a time, each timed.
///
/// While a thread that could run waits for a processor, the reader stands still, or the writer does,
/// with a lock. That says nothing about the index, so it is told apart. What the machine under a
/// virtual one takes is not seen; lookups of an index that nobody adds to, in between, show how long
/// that can be.
fn while_adding(entries: u64) -> Value {
    let (subject, still) = (Fingerpost::new(), Fingerpost::new());
    still.put(0..STILL_ENTRIES);
    let added = AtomicU64::new(0);
    let is_done = AtomicBool::new(false);
    let (times, of_still, elapsed) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut times, mut of_still) = (Times::new(), Times::new());
            let mut numbers = Numbers::new(9);
            while !is_done.load(Ordering::Acquire) {
                times.of(&subject, added.load(Ordering::Acquire), &mut numbers);
                of_still.of(&still, STILL_ENTRIES, &mut numbers);
            }
            (times, of_still)
        });
        let start = Instant::now();
        for first in (0..entries).step_by(BATCH as usize) {
            let end = (first + BATCH).min(entries);
            subject.put(first..end);
            added.store(end, Ordering::Release);
        }
        let elapsed = start.elapsed();
        is_done.store(true, Ordering::Release);
        let (times, of_still) = reader.join().expect("the reader does not panic");
        (times, of_still, elapsed)
    });
    let rate = entries as f64 / elapsed.as_secs_f64();
    print(&format!("lookups while {entries} entries are added, {rate:.0} a second, us:"));
    print(&format!("  of the same index: {}", times.to_json()));
    print(&format!("  of one that nobody adds to: {}\n", of_still.to_json()));
    json!({ "same": times.to_json(), "still": of_still.to_json(), "entries_a_second": rate })
}

impl Times {
    fn new() -> Self {
        let empty = || Histogram::new(3).expect("three digits");
        Self { all: empty(), running: empty() }
    }

    /// Adds those of some lookups of what an index has.
    fn of(&mut self, subject: &Fingerpost, entries: u64, numbers: &mut Numbers) {
        if entries == 0 {
            return;
        }
        let keys = Sample::new((0..256).map(|_| numbers.uniform(entries))).keys;
        let mut waited = waited_ns();
        for key in &keys {
            let start = Instant::now();
            let is_found = subject.find(key);
            let ns = start.elapsed().as_nanos() as u64;
            assert!(is_found);
            self.all.record(ns).expect("any number is recorded");
            let mut running = ns;
            if ns >= LONG_NS {
                let before = std::mem::replace(&mut waited, waited_ns());
                running = ns.saturating_sub(waited - before);
            }
            self.running.record(running).expect("any number is recorded");
        }
    }

    fn to_json(&self) -> Value {
        let us = |ns: u64| ns as f64 / 1_000.0;
        json!({
            "p50": us(self.all.value_at_quantile(0.5)),
            "p99": us(self.all.value_at_quantile(0.99)),
            "p99.9": us(self.all.value_at_quantile(0.999)),
            "p99.99": us(self.all.value_at_quantile(0.9999)),
            "p99.999": us(self.all.value_at_quantile(0.99999)),
            "max": us(self.all.max()),
            "running_p99.99": us(self.running.value_at_quantile(0.9999)),
            "running_p99.999": us(self.running.value_at_quantile(0.99999)),
            "running_max": us(self.running.max()),
            "lookups": self.all.len(),
        })
    }
}

/// How long the process's threads have waited for a processor.
fn waited_ns() -> u64 {
    let of_thread = |entry: std::fs::DirEntry| {
        let text = std::fs::read_to_string(entry.path().join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    threads.filter_map(of_thread).sum()
}

fn show(entries: u64, names: &[&str], rows: &[(String, Vec<f64>)]) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let title = format!("{entries} entries, ns an entry");
    table.set_header(std::iter::once(title.as_str()).chain(names.iter().copied()));
    for (name, values) in rows {
        let ours = values.first().copied().unwrap_or(f64::NAN);
        let mut cells = vec![Cell::new(name)];
        for (at, value) in values.iter().enumerate() {
            let ratio = if at == 0 { String::new() } else { format!(" ({:.2}x)", value / ours) };
            cells.push(Cell::new(format!("{value:.1}{ratio}")).set_alignment(CellAlignment::Right));
        }
        table.add_row(cells);
    }
    print(&format!("{table}\n"));
}

fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).expect("standard output is open");
}
