//! The binary: hands the command line and the environment to [`fingerpost::cli`], and its exit code
//! back to the system.

use std::process::ExitCode;

fn main() -> ExitCode {
    fingerpost::cli::run(std::env::args_os(), std::env::vars_os())
}
