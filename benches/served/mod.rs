//! The server as a process of its own, for benchmarks.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

/// A server, killed when it is dropped: nothing that it holds outlives the run.
pub(crate) struct Served {
    child: Child,
    /// The address of the public listener.
    pub(crate) public: String,
    /// The address of the admin listener.
    pub(crate) admin: String,
}

impl Served {
    /// Starts it on free ports and the data in a folder, and waits until it listens.
    pub(crate) fn start(
        folder: &Path,
        arguments: impl IntoIterator<Item: AsRef<OsStr>>,
    ) -> anyhow::Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fingerpost"))
            .env_clear()
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .arg("--data-dir")
            .arg(folder.join("data"))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the server")?;
        let stdout = child.stdout.take().context("its output is piped")?;
        let mut served = Self { child, public: String::new(), admin: String::new() };
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            if let Some(addr) = line.strip_prefix("public API: http://") {
                addr.clone_into(&mut served.public);
            }
            if let Some(addr) = line.strip_prefix("admin: http://") {
                addr.clone_into(&mut served.admin);
                return Ok(served);
            }
        }
        anyhow::bail!("the server ended before it listened")
    }

    /// A figure of its memory, as the kernel names it: `VmRSS`, `VmHWM`.
    pub(crate) fn memory_bytes(&self, figure: &str) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_ascii_whitespace().next());
        Ok(number.with_context(|| format!("no {figure}"))?.parse::<u64>()? * 1024)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
