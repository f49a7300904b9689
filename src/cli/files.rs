//! Shared by commands that read files: checks before reading, and progress.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, bail};

use crate::clock::Clock;
use crate::ingest::{BarObserver, ImportObserver, LineObserver};

/// Checks what can be checked before a long import begins. Only regular files are opened: opening
/// and closing a pipe would end its writer.
pub(super) fn check_readable(path: &Path) -> anyhow::Result<()> {
    if path == Path::new("-") {
        return Ok(());
    }
    let cannot_import = || format!("cannot import {}", path.display());
    let metadata = fs::metadata(path).with_context(cannot_import)?;
    if metadata.is_dir() {
        bail!("cannot import {}: it is a directory", path.display());
    }
    if metadata.is_file() {
        File::open(path).with_context(cannot_import)?;
    }
    Ok(())
}

/// A bar where standard error is a terminal, lines through `say` elsewhere.
pub(super) fn observer(say: fn(&str)) -> Box<dyn ImportObserver> {
    if io::stderr().is_terminal() {
        return Box::new(BarObserver::on_stderr());
    }
    Box::new(LineObserver::new(Clock::System, say))
}

/// Says a line on standard error.
pub(super) fn say_on_stderr(line: &str) {
    // If standard error is closed, the failure cannot be reported.
    let _unprintable = writeln!(io::stderr(), "{line}");
}
