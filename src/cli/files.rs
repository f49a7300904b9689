//! What the commands that read files share: looking before reading, showing progress, naming causes.

use std::error::Error;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, bail};

use crate::clock::Clock;
use crate::ingest::{BarObserver, ImportObserver, LineObserver};

/// Finds out what can be found out before a long import begins.
pub(super) fn check_readable(path: &Path) -> anyhow::Result<()> {
    if path == Path::new("-") {
        return Ok(());
    }
    let file = File::open(path).with_context(|| format!("cannot import {}", path.display()))?;
    if file.metadata()?.is_dir() {
        bail!("cannot import {}: it is a directory", path.display());
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
    // There is nowhere left to say that printing failed.
    let _unprintable = writeln!(io::stderr(), "{line}");
}

/// An error and what is behind it.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
