//! The server under load, against a bare actix-web handler that returns the same bytes.
//!
//! Both run as processes of their own, take turns within each measurement, and get the same
//! requests over loopback. The figure that counts is the CPU time a request: these machines are
//! shared, and throughput says what the neighbours do. A wrong status or length of any answer
//! ends the run with an error.
//!
//! Run with `cargo bench --bench load`; [`plan`] lists the environment variables that choose what
//! is measured and for how long.

mod bare;
mod client;
mod data;
mod plan;
mod process;
mod report;
mod target;

use std::io::Write;
use std::time::Duration;

use anyhow::Context;

use client::{Load, Run};
use data::{Case, Data};
use plan::{Cell, Plan};
use process::Process;
use report::{Measured, Row};
use target::{Answer, Target};

/// Before each measurement: lets connections and caches settle.
const WARM_UP: Duration = Duration::from_millis(100);

fn main() -> anyhow::Result<()> {
    if std::env::args().nth(1).as_deref() == Some(bare::ARGUMENT) {
        return bare::run();
    }
    let plan = Plan::from_env()?;
    rlimit::increase_nofile_limit(plan.open_files()).context("too few open files are allowed")?;
    let folder = tempfile::tempdir().context("no folder for temporary files")?;
    let mut stderr = std::io::stderr().lock();
    writeln!(stderr, "importing {} entries", plan.entries)?;
    let data = Data::write(folder.path(), plan.entries)?;
    let server = Process::fingerpost(folder.path(), &data, plan.workers)?;
    let mut rows = Vec::new();
    for case in plan.cases.iter().copied() {
        let answer = Answer::of(server.addr(), &data.requests(case, 1))?;
        answer.check(case)?;
        let requests = data.requests(case, data::REQUESTS);
        let target = |process, requests, answer: &Answer| Target {
            process,
            requests,
            expected: answer.expected(),
        };
        let bare;
        let json_requests;
        let reference = match case.as_json() {
            Some(json) => {
                json_requests = data.requests(json, data::REQUESTS);
                target(&server, &json_requests, &Answer::of(server.addr(), &json_requests)?)
            }
            None => {
                bare = Process::bare(&answer, plan.workers)?;
                target(&bare, &requests, &answer)
            }
        };
        let targets = [target(&server, &requests, &answer), reference];
        for connections in plan.connections.iter().copied() {
            rows.extend(measure(&plan, case, connections, &targets, &mut stderr)?);
        }
    }
    report::write(&mut std::io::stdout().lock(), &plan, &rows)?;
    Ok(())
}

/// Both loops with one number of connections. The open loop's rate is a part of what both servers
/// reached in the closed loop, so that neither is asked for more than it can do.
fn measure(
    plan: &Plan,
    case: Case,
    connections: usize,
    targets: &[Target<'_>; 2],
    progress: &mut impl Write,
) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let closed = Cell { case, connections, load: Load::Closed };
    writeln!(progress, "{closed}")?;
    let row = take_turns(plan, closed, targets)?;
    let per_second = row.requests_per_second_min() * plan.open_share;
    rows.push(row);
    let open = Cell { case, connections, load: Load::Open { per_second } };
    if plan.has_open_loop(case, connections) {
        writeln!(progress, "{open}")?;
        rows.push(take_turns(plan, open, targets)?);
    }
    Ok(rows)
}

fn take_turns(
    plan: &Plan,
    cell: Cell,
    [server, reference]: &[Target<'_>; 2],
) -> anyhow::Result<Row> {
    let mut row = Row { cell, server: Measured::default(), reference: Measured::default() };
    let mut to_server = server.connect(cell, WARM_UP)?;
    let mut to_reference = reference.connect(cell, WARM_UP)?;
    for round in 0..plan.rounds {
        let run = Run { load: cell.load, duration: plan.round, seed: u64::from(round) };
        // Who begins changes, so that a trend of the machine's load favours nobody.
        if round % 2 == 0 {
            row.server.add(server.run(&mut to_server, &run)?)?;
            row.reference.add(reference.run(&mut to_reference, &run)?)?;
        } else {
            row.reference.add(reference.run(&mut to_reference, &run)?)?;
            row.server.add(server.run(&mut to_server, &run)?)?;
        }
    }
    Ok(row)
}
