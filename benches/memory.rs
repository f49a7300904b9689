//! What the process takes up, bytes resident for each entry: at every million of growth, the peaks
//! in between, and after half of the entries were removed and freed.
//!
//! `cargo bench --bench memory`. `ENTRIES=20M` says how far, `SUBJECTS=fingerpost` what. Each subject
//! has a process of its own, so that what an allocator keeps is not another's. Everything counts
//! that is resident, the program included. Prints a table for people, and one line of JSON.

#[expect(dead_code, reason = "the other benchmark uses the rest")]
mod common;

use std::io::Write;
use std::process::Command;

use comfy_table::{Table, presets};
use common::{Bare, Dash, Fingerpost, Subject, numbers_in, resident};
use serde_json::{Map, Value, json};

const STEP: u64 = 1_000_000;

/// Below this the program itself counts for too much.
const COUNTED_FROM: u64 = 10_000_000;

/// Which subject a child process is.
const CHILD: &str = "BENCH_MEMORY_CHILD";

fn main() {
    let entries = numbers_in("ENTRIES", "20M").first().copied().unwrap_or_default();
    if let Ok(name) = std::env::var(CHILD) {
        print(&measure(&name, entries).to_string());
        return;
    }
    let wanted = std::env::var("SUBJECTS").unwrap_or("fingerpost,hashbrown,dashmap".to_owned());
    let of_subject: Map<_, _> =
        wanted.split(',').map(|name| (name.to_owned(), child(name))).collect();
    show(&of_subject);
    let line = json!({ "bench": "memory", "entries": entries, "bytes_an_entry": of_subject });
    print(&line.to_string());
}

fn child(name: &str) -> Value {
    let program = std::env::current_exe().expect("the program has a name");
    let output = Command::new(program).env(CHILD, name).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{name} failed: {error}"))
}

/// Fills a subject, and says what the process took up on the way.
fn measure(name: &str, entries: u64) -> Value {
    let subject: Box<dyn Subject> = match name {
        "fingerpost" => Box::new(Fingerpost::new()),
        "hashbrown" => Box::new(Bare::new()),
        "dashmap" => Box::<Dash>::default(),
        _ => panic!("there is no subject {name}"),
    };
    resident();
    let mut steps = Vec::new();
    for start in (0..entries).step_by(STEP as usize) {
        let end = (start + STEP).min(entries);
        subject.put(start..end);
        let (now, peak) = resident();
        steps.push((end, now as f64 / end as f64, peak as f64 / end as f64));
    }
    subject.remove_half(entries);
    subject.sweep();
    let left = entries - entries / 2;
    let swept = resident().0 as f64 / left as f64;
    let counted: Vec<_> =
        steps.iter().filter(|(at, _, _)| *at >= COUNTED_FROM.min(entries)).collect();
    let sum: f64 = counted.iter().map(|(_, now, _)| now).sum();
    let highest = counted.iter().map(|(_, _, peak)| *peak).fold(0.0, f64::max);
    json!({
        "average": sum / counted.len() as f64,
        "highest": highest,
        "after_freeing_half": swept,
        "steps": steps,
    })
}

fn show(of_subject: &Map<String, Value>) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let titles = [
        "bytes resident an entry",
        "average from 10M on",
        "highest",
        "half freed, of what is left",
    ];
    table.set_header(titles);
    for (name, value) in of_subject {
        let column = |field: &str| {
            let number = value.get(field).and_then(Value::as_f64).unwrap_or(f64::NAN);
            format!("{number:.1}")
        };
        table.add_row([
            name.clone(),
            column("average"),
            column("highest"),
            column("after_freeing_half"),
        ]);
    }
    print(&format!("{table}\n"));
    for (name, value) in of_subject {
        let steps = value.get("steps").and_then(Value::as_array).into_iter().flatten();
        let text: Vec<_> = steps.map(step_text).collect();
        print(&format!("{name}, at each million, and the peak before: {}\n", text.join("  ")));
    }
}

fn step_text(step: &Value) -> String {
    let number = |at: usize| step.get(at).and_then(Value::as_f64).unwrap_or(f64::NAN);
    format!("{:.1}/{:.1}", number(1), number(2))
}

fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).expect("standard output is open");
}
