//! The server under load, against a bare actix-web handler that returns the same bytes, and against
//! nginx that returns them as a constant (where it is installed: Debian's package `nginx-light`).
//!
//! All run as processes of their own, take turns within each measurement, and get the same
//! requests over loopback. The figure that counts is the CPU time a request: these machines are
//! shared, and throughput says what the neighbours do. A wrong status or length of any answer
//! ends the run with an error.
//!
//! Run with `cargo bench --bench load`; [`plan`] lists the environment variables that choose what
//! is measured and for how long.

mod bare;
mod client;
mod coalesce;
mod data;
mod nginx;
mod plan;
mod process;
mod report;
mod routes;
mod target;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use client::{Load, Run};
use coalesce::{Coalesced, CountingUpstream};
use data::{Case, Data, Reference};
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
    let servers = Servers { folder: folder.path(), data: &data, plan: &plan, server: &server };
    let mut rows = Vec::new();
    for case in plan.cases.iter().copied() {
        rows.extend(servers.measure(case, &mut stderr)?);
    }
    let coalesced = servers.coalesce(&mut stderr)?;
    report::write(&mut std::io::stdout().lock(), &plan, &rows, coalesced.as_ref())?;
    Ok(())
}

/// What the cases are measured on.
struct Servers<'a> {
    folder: &'a Path,
    data: &'a Data,
    plan: &'a Plan,
    /// The one with the large index.
    server: &'a Process,
}

impl Servers<'_> {
    /// One case, beside what it is compared with.
    fn measure(&self, case: Case, progress: &mut impl Write) -> anyhow::Result<Vec<Row>> {
        let (plan, data) = (self.plan, self.data);
        let (measured, reference);
        let (server, beside, reference_case) = match case.reference() {
            Reference::Bare => {
                let answer = Answer::of(self.server.addr(), &data.requests(case, 1))?;
                reference = Process::bare(&answer, plan.workers)?;
                (self.server, &reference, case)
            }
            Reference::Json(json) => (self.server, self.server, json),
            Reference::Local => {
                reference =
                    Process::small(self.folder, &format!("{case}-back"), data, plan.workers)?;
                measured = Process::before(
                    &self.folder.join(case.to_string()),
                    reference.addr(),
                    plan.workers,
                )?;
                (&measured, &reference, case)
            }
            Reference::NoRoutes => {
                reference = Process::small(self.folder, "unrouted", data, plan.workers)?;
                measured = Process::small(self.folder, "routed", data, plan.workers)?;
                routes::set(&measured)?;
                (&measured, &reference, case)
            }
        };
        let requests = data.requests(case, data::REQUESTS);
        let reference_requests = data.requests(reference_case, data::REQUESTS);
        let answer = Answer::of(server.addr(), &requests)?;
        answer.check(case)?;
        let reference_answer = Answer::of(beside.addr(), &reference_requests)?;
        reference_answer.check(reference_case)?;
        let expected = answer.expected();
        let mut targets = vec![
            Target {
                name: "fingerpost".to_owned(),
                process: server,
                requests: &requests,
                expected,
            },
            Target {
                name: case.reference().to_string(),
                process: beside,
                requests: &reference_requests,
                expected: reference_answer.expected(),
            },
        ];
        let constant = match case.reference() {
            Reference::Bare => nginx::start(&self.folder.join("nginx"), &answer, plan.workers)?,
            Reference::Json(_) | Reference::Local | Reference::NoRoutes => None,
        };
        if let Some(process) = &constant {
            let name = "nginx".to_owned();
            targets.push(Target { name, process, requests: &requests, expected });
        }
        let mut rows = Vec::new();
        for connections in plan.connections.iter().copied() {
            rows.extend(measure(plan, case, connections, &targets, progress)?);
        }
        Ok(rows)
    }

    /// How often an upstream is asked for what many ask at once.
    fn coalesce(&self, progress: &mut impl Write) -> anyhow::Result<Option<Coalesced>> {
        let lookups = self.plan.coalesce;
        if lookups == 0 {
            return Ok(None);
        }
        writeln!(progress, "{lookups} equal lookups at once")?;
        let upstream = CountingUpstream::start()?;
        let folder = self.folder.join("coalesce");
        let server = Process::before(&folder, upstream.addr(), self.plan.workers)?;
        upstream.count(server.addr(), &self.data.unknown(), lookups).map(Some)
    }
}

/// Both loops with one number of connections. The open loop's rate is a part of what all servers
/// reached in the closed loop, so that neither is asked for more than it can do.
fn measure(
    plan: &Plan,
    case: Case,
    connections: usize,
    targets: &[Target<'_>],
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

fn take_turns(plan: &Plan, cell: Cell, targets: &[Target<'_>]) -> anyhow::Result<Row> {
    let named = |target: &Target<'_>| (target.name.clone(), Measured::default());
    let mut row = Row { cell, servers: targets.iter().map(named).collect() };
    let connect = |target| Target::connect(target, cell, WARM_UP);
    let mut clients = targets.iter().map(connect).collect::<anyhow::Result<Vec<_>>>()?;
    for round in 0..plan.rounds {
        let run = Run { load: cell.load, duration: plan.round, seed: u64::from(round) };
        let mut turns: Vec<_> = targets.iter().zip(&mut clients).zip(&mut row.servers).collect();
        // Who begins changes, so that a trend of the machine's load favours nobody.
        if round % 2 == 1 {
            turns.reverse();
        }
        for ((target, client), (_, measured)) in turns {
            measured.add(target.run(client, &run)?)?;
        }
    }
    Ok(row)
}
