//! `fingerpost repair`: keeps what is whole of a damaged data directory, and says what is lost.
//!
//! The damaged files stay beside the repaired ones, under another name. Exit code 0 if nothing was
//! damaged, 1 if something was, or if the repair failed.

use std::io::Write;
use std::process::ExitCode;

use super::data;
use crate::config::Settings;
use crate::data_dir::DataDir;
use crate::store;

/// Repairs the data directory that the settings name.
pub(super) fn run(settings: &Settings, stdout: &mut impl Write) -> anyhow::Result<ExitCode> {
    data::require(&settings.data_dir)?;
    let report = store::repair(&DataDir::lock(&settings.data_dir)?)?;
    write!(stdout, "{report}")?;
    Ok(if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
