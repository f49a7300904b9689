//! The servers as processes: started on free ports of loopback, killed when dropped; and what the
//! system says about them.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use super::bare;
use super::data::{self, Data};
use super::target::Answer;

/// Requests a second that the rate limit admits: it works, and refuses nothing.
const RATE_LIMIT: &str = "100000000";

/// Opens the admin API of the servers that get routes.
pub(crate) const ADMIN_PASSWORD: &str = "load";

/// Comes before the URL of the admin API on standard output.
const ADMIN_LABEL: &str = "admin: ";

/// The length of the kernel's clock tick that /proc counts in: `sysconf(_SC_CLK_TCK)` is 100 on
/// every Linux.
const TICK: Duration = Duration::from_millis(10);

/// A server.
pub(crate) struct Process {
    child: Child,
    addr: SocketAddr,
    admin_addr: Option<SocketAddr>,
    // Kept open: a server that cannot write what it says would end.
    _stdout: Option<BufReader<ChildStdout>>,
}

/// CPU time that a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTime {
    /// By the scheduler's clock, to the nanosecond.
    pub(crate) total: Duration,
    /// By ticks: says how the total divides.
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl Process {
    /// The real server with the data, and every setting at its default but those that would refuse
    /// or bypass: loopback is not exempt from the rate limit, whose cost therefore counts.
    pub(crate) fn fingerpost(folder: &Path, data: &Data, workers: usize) -> anyhow::Result<Self> {
        let (provider, addrs) = data::car_provider();
        let mut command = serve(folder, "data", workers);
        command.arg("--import").args([&data.car, &data.ndjson]);
        command.args(["--provider", &provider, "--addr"]).args(addrs);
        Self::start(command, &[])
    }

    /// A server without the large index.
    pub(crate) fn small(
        folder: &Path,
        name: &str,
        data: &Data,
        workers: usize,
    ) -> anyhow::Result<Self> {
        let mut command = serve(folder, name, workers);
        command.arg("--import").arg(&data.ndjson).args(["--admin-password", ADMIN_PASSWORD]);
        Self::start(command, &[])
    }

    /// A server with nothing of its own, before another.
    pub(crate) fn before(
        folder: &Path,
        upstream: SocketAddr,
        workers: usize,
    ) -> anyhow::Result<Self> {
        let mut command = serve(folder, "front", workers);
        command.args(["--upstreams", &format!("back=http://{upstream}")]);
        // The addresses of the data are of networks that nobody can reach.
        command.arg("--upstream-allow-private-addrs");
        Self::start(command, &[])
    }

    /// The reference: this program again, by another name.
    pub(crate) fn bare(answer: &Answer, workers: usize) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env_clear().args([bare::ARGUMENT, &workers.to_string()]).stdin(Stdio::piped());
        Self::start(command, answer.bytes())
    }

    fn start(mut command: Command, input: &[u8]) -> anyhow::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start a server")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input)?;
        }
        let mut stdout = BufReader::new(child.stdout.take().context("its output is piped")?);
        let Some(addr) = read_addr(&mut stdout, bare::LABEL)? else {
            bail!("a server ended before it listened: {}", child.wait()?)
        };
        // The reference says no more than that.
        let is_reference = !input.is_empty();
        let admin_addr = if is_reference { None } else { read_addr(&mut stdout, ADMIN_LABEL)? };
        Ok(Self { child, addr, admin_addr, _stdout: Some(stdout) })
    }

    /// A process that listens on `addr`, or will soon.
    pub(crate) fn listening(child: Child, addr: SocketAddr) -> Self {
        Self { child, addr, admin_addr: None, _stdout: None }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where its admin API listens.
    pub(crate) fn admin_addr(&self) -> anyhow::Result<SocketAddr> {
        self.admin_addr.context("the server has no admin API")
    }

    /// The CPU time of all its threads, and of those of its children.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<CpuTime> {
        let mut time = CpuTime::default();
        for id in self.ids()? {
            let stat = read(id, "stat")?;
            // The fields after the program's name, which may hold anything but ends with the last `)`.
            let (_, fields) = stat.rsplit_once(')').context("a name in brackets")?;
            let mut ticks = fields.split_ascii_whitespace().skip(11).map(str::parse::<u32>);
            let mut next =
                || ticks.next().context("a field is missing")?.context("ticks are numbers");
            time.total += scheduled(id)?;
            time.user += TICK * next()?;
            time.system += TICK * next()?;
        }
        Ok(time)
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        let mut bytes = 0;
        for id in self.ids()? {
            let status = read(id, "status")?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let number = line.and_then(|line| line.split_ascii_whitespace().next());
            bytes += number.context("no VmRSS")?.parse::<u64>()? * 1024;
        }
        Ok(bytes)
    }

    /// The process and its children.
    fn ids(&self) -> anyhow::Result<Vec<u32>> {
        let id = self.child.id();
        let children = read(id, &format!("task/{id}/children"))?;
        let children = children.split_ascii_whitespace().map(str::parse);
        Ok([Ok(id)].into_iter().chain(children).collect::<Result<_, _>>()?)
    }
}

fn scheduled(id: u32) -> anyhow::Result<Duration> {
    let mut total = Duration::ZERO;
    for thread in std::fs::read_dir(format!("/proc/{id}/task"))? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        let nanoseconds = text.split_ascii_whitespace().next().context("no time")?.parse()?;
        total += Duration::from_nanos(nanoseconds);
    }
    Ok(total)
}

fn read(id: u32, file: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{id}/{file}");
    std::fs::read_to_string(&path).with_context(|| path)
}

/// `fingerpost serve` on free ports, with a data directory of its own.
fn serve(folder: &Path, data_dir: &str, workers: usize) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fingerpost"));
    command
        .env_clear()
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .args(["--workers", &workers.to_string(), "--log", "warn"])
        .args(["--rate-limit", RATE_LIMIT, "--rate-limit-burst", RATE_LIMIT])
        .args(["--rate-limit-exempt", ""])
        .arg("--data-dir")
        .arg(folder.join(data_dir))
        .stdin(Stdio::null());
    command
}

/// The address in the first line that begins with `label`; `None`: there is none.
fn read_addr(stdout: &mut impl BufRead, label: &str) -> anyhow::Result<Option<SocketAddr>> {
    let mut line = String::new();
    while stdout.read_line(&mut line)? > 0 {
        if let Some(url) = line.trim_end().strip_prefix(label) {
            return Ok(Some(url.strip_prefix("http://").unwrap_or(url).parse()?));
        }
        line.clear();
    }
    Ok(None)
}

impl Drop for Process {
    fn drop(&mut self) {
        // A parent ends its children, if it is asked to; it would replace those that are killed.
        if self.ids().is_ok_and(|ids| ids.len() > 1) {
            let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        } else {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
