//! The command line: `fingerpost serve`, `lookup`, `config`, `routes` and those that bring data in and
//! out, one file each.
//!
//! The commands are programs, not a library: here, and only here, errors are `anyhow`'s.
//!
//! A command returns its exit code, or an error that is printed here once, with its causes, on
//! standard error. Exit codes: 2 for a wrong command line or wrong settings, 1 for what failed
//! later; `lookup` keeps 1 for "nobody has it", so all its errors are 2. A reader of standard
//! output that goes away (`| head`) is no failure.

mod admin_client;
mod config;
mod data;
mod export;
mod files;
mod import;
mod lookup;
mod remove;
mod repair;
mod routes;
mod serve;
mod stats;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{ConfigError, Settings, load, with_settings};

/// Exit code for a wrong command line or wrong settings.
const EXIT_USAGE: u8 = 2;

/// Exit code for what failed after that.
const EXIT_FAILURE: u8 = 1;

/// Where else the flags of settings can be given.
const NAMES: &str = "\
A setting has one name in three places: rate_limit in the file, FINGERPOST_RATE_LIMIT in the \
environment, --rate-limit here. Flags win over the environment, and the environment over the file. \
Lists are separated by commas; durations look like 15s, 5m or 48h.";

/// How `fingerpost repair` ends.
const REPAIRED: &str = "\
It works on the data directory, which no server may be using. Damaged files stay beside the repaired \
ones, under another name.

Exit code 0: nothing was damaged. 1: what could be kept is kept and the rest is lost, or the repair \
failed, which standard error tells. 2: wrong command line or settings.";

/// What the commands that bring data in and out work on.
const TARGET: &str = "\
Without a URL the command works on the data directory, which no server may be using. With one, the \
password of the server's admin API is taken from FINGERPOST_ADMIN_PASSWORD, or from the file \
admin-password of the data directory if that is the server's.";

/// Whom the commands about routes ask.
const SERVER: &str = "\
They ask the server that listens where the setting admin_listen says, or the one that --server names. \
Its password is taken from FINGERPOST_ADMIN_PASSWORD, or from the file admin-password of the data \
directory if that is the server's.";

/// Parses the command line, runs the command, and says how the process ends.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> ExitCode {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return print_usage(&error),
    };
    match dispatch(&matches, variables) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let code = exit_code(&error, matches.subcommand_name());
            print_error(&error, &mut io::stderr().lock());
            ExitCode::from(code)
        }
    }
}

/// The whole command line.
fn command() -> Command {
    let styles = Styles::styled()
        .header(AnsiColor::Green.on_default().bold())
        .usage(AnsiColor::Green.on_default().bold())
        .literal(AnsiColor::Cyan.on_default().bold());
    let short = format!("{NAMES}\n\n-h lists what is set most often, --help all settings.");
    Command::new("fingerpost")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A delegated content router for IPFS: who has this CID, and how do I reach them?")
        .styles(styles)
        .max_term_width(100)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            with_settings(serve::ServeArgs::augment_args(Command::new("serve")))
                .about("Serve the Routing V1 API from the data directory, and import files into it")
                .after_help(short.clone())
                .after_long_help(NAMES),
        )
        .subcommand(
            lookup::LookupArgs::augment_args(Command::new("lookup"))
                .about("Ask a Routing V1 server who has a CID"),
        )
        .subcommands(data_commands())
        .subcommand(routes_command())
        .subcommand(
            with_settings(config::ConfigArgs::augment_args(Command::new("config")))
                .about("Print the effective settings and where each came from")
                .after_help(short)
                .after_long_help(NAMES),
        )
}

/// The commands that bring data in and out: of a data directory, or of a running server.
fn data_commands() -> [Command; 5] {
    let import = import::ImportArgs::augment_args(Command::new("import"))
        .about("Bring files of provider records into a data directory or a running server");
    let export = export::ExportArgs::augment_args(Command::new("export"))
        .about("Write all provider records as NDJSON that imports again");
    let remove = remove::RemoveArgs::augment_args(Command::new("remove"))
        .about("Remove what a provider announced");
    let stats = stats::StatsArgs::augment_args(Command::new("stats"))
        .about("Say how much is held, and what it costs in memory and on disk");
    let repair = Command::new("repair")
        .about("Keep what is whole of a damaged data directory, and say what is lost");
    let access = ["data_dir", "admin_password", "admin_password_file"];
    let [data_dir, password, password_file] = access;
    let imported = [data_dir, password, password_file, "record_bytes_max", "line_bytes_max"];
    [
        with_help_of(import, &imported).after_help(TARGET),
        with_help_of(export, &access).after_help(TARGET),
        with_help_of(remove, &access).after_help(TARGET),
        with_help_of(stats, &access).after_help(TARGET),
        with_help_of(repair, &["data_dir"]).after_help(REPAIRED),
    ]
}

/// The command that steers a running server.
fn routes_command() -> Command {
    let routes = routes::RoutesArgs::augment_args(Command::new("routes"))
        .about("See and change who answers which lookups, on a running server");
    let named = ["admin_listen", "data_dir", "admin_password", "admin_password_file"];
    // Global, so that they may stand after the words of the command, too.
    with_help_of(routes, &named).mut_args(|arg| arg.global(true)).after_help(SERVER)
}

/// A command that takes all settings, so that one file is good for all commands, and whose help tells
/// of those that mean something to it.
fn with_help_of(command: Command, named: &[&str]) -> Command {
    let settings = Settings::augment_args(Command::new("settings"));
    let is_idle = |arg: &Arg| {
        let is_setting = settings.get_arguments().any(|setting| setting.get_id() == arg.get_id());
        is_setting && !named.contains(&arg.get_id().as_str())
    };
    with_settings(command).mut_args(|arg| if is_idle(&arg) { arg.hide(true) } else { arg })
}

fn dispatch(
    matches: &ArgMatches,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> anyhow::Result<ExitCode> {
    match matches.subcommand().context("a command is required")? {
        ("serve", matches) => {
            serve::run(serve::ServeArgs::from_arg_matches(matches)?, load(matches, variables)?)
        }
        ("lookup", matches) => lookup::run(lookup::LookupArgs::from_arg_matches(matches)?),
        ("import", matches) => {
            let args = import::ImportArgs::from_arg_matches(matches)?;
            import::run(args, &load(matches, variables)?.settings)
        }
        ("export", matches) => {
            let args = export::ExportArgs::from_arg_matches(matches)?;
            export::run(&args, &load(matches, variables)?.settings)
        }
        ("remove", matches) => {
            let args = remove::RemoveArgs::from_arg_matches(matches)?;
            remove::run(&args, &load(matches, variables)?.settings, &mut io::stdout().lock())
        }
        ("stats", matches) => {
            let args = stats::StatsArgs::from_arg_matches(matches)?;
            stats::run(&args, &load(matches, variables)?.settings, &mut io::stdout().lock())
        }
        ("routes", matches) => {
            let args = routes::RoutesArgs::from_arg_matches(matches)?;
            let settings = load(matches, variables)?.settings;
            routes::run(&args, &settings, &mut io::stdout().lock(), &mut io::stderr().lock())
        }
        ("repair", matches) => {
            repair::run(&load(matches, variables)?.settings, &mut io::stdout().lock())
        }
        ("config", matches) => {
            let args = config::ConfigArgs::from_arg_matches(matches)?;
            config::run(&args, || load(matches, variables), &mut io::stdout().lock())
        }
        (other, _) => anyhow::bail!("`{other}` is no command"),
    }
}

/// Prints help and version on standard output, and what is wrong with the command line on standard
/// error; both are clap's own words.
fn print_usage(error: &clap::Error) -> ExitCode {
    // There is nowhere left to say that printing failed.
    let _unprintable = error.print();
    ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { 0 })
}

fn print_error(error: &anyhow::Error, stderr: &mut impl Write) {
    let causes = error.chain().skip(1).map(|cause| format!("\n  caused by: {cause}"));
    // There is nowhere left to say that printing failed.
    let _unprintable = writeln!(stderr, "error: {error}{}", causes.collect::<String>());
}

fn exit_code(error: &anyhow::Error, command: Option<&str>) -> u8 {
    let is_usage = error.is::<ConfigError>() || error.is::<clap::Error>();
    if is_usage || command == Some("lookup") { EXIT_USAGE } else { EXIT_FAILURE }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(arguments: &[&str]) -> String {
        let arguments = ["fingerpost"].iter().chain(arguments);
        command().try_get_matches_from(arguments).unwrap_err().render().to_string()
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn the_long_help_names_every_setting_its_default_and_its_variable() {
        let text = help(&["serve", "--help"]);
        let settings = Settings::augment_args(Command::new("settings"));
        for arg in settings.get_arguments() {
            let name = arg.get_id().as_str();
            assert!(text.contains(&format!("--{}", name.replace('_', "-"))), "{name}");
            let variable = format!("[env: FINGERPOST_{}]", name.to_uppercase());
            assert!(text.contains(&variable), "{variable}");
        }
        assert!(text.contains("[default: 127.0.0.1:8190]"), "{text}");
    }

    #[test]
    fn the_short_help_is_short() {
        let (short, long) = (help(&["serve", "-h"]), help(&["serve", "--help"]));
        assert!(short.contains("--rate-limit ") && !short.contains("--write-timeout"), "{short}");
        assert!(short.lines().count() * 2 < long.lines().count(), "{short}");
    }

    #[test]
    fn the_help_of_a_command_lists_the_settings_that_mean_something_to_it() {
        let access = ["admin-password", "admin-password-file", "data-dir"];
        let imported = [&access[..], &["line-bytes-max", "record-bytes-max"]].concat();
        let steered = [&["admin-listen"], &access[..]].concat();
        let settings = Settings::augment_args(Command::new("settings"));
        for (command, named) in [
            ("import", &imported[..]),
            ("routes", &steered),
            ("export", &access),
            ("remove", &access),
            ("stats", &access),
            ("repair", &["data-dir"]),
        ] {
            let text = help(&[command, "--help"]);
            let flags = settings.get_arguments().filter_map(|arg| arg.get_long());
            let mut found: Vec<&str> =
                flags.filter(|flag| text.contains(&format!("--{flag} "))).collect();
            found.sort_unstable();
            assert_eq!(found, named, "{command}: {text}");
            let is_repair = command == "repair";
            let is_routes = command == "routes";
            assert_eq!(text.contains("Without a URL"), !is_repair && !is_routes, "{text}");
            assert_eq!(text.contains("They ask the server"), is_routes, "{text}");
            assert_eq!(text.contains("Exit code 0: nothing was damaged."), is_repair, "{text}");
        }
    }

    #[test]
    fn an_unknown_flag_names_the_nearest_one() {
        let text = help(&["serve", "--rate-limt", "5"]);
        assert!(text.contains("'--rate-limit'"), "{text}");
    }

    #[test]
    fn the_flags_of_a_car_import_stand_beside_import_only() {
        let base = ["fingerpost", "serve"];
        let alone = base.iter().chain(&["--provider", "p"]);
        assert!(command().try_get_matches_from(alone).is_err());
        let beside = base.iter().chain(&[
            "--import",
            "a.car",
            "b.car",
            "--import",
            "c.car",
            "--provider",
            "p",
            "--addr",
            "/a",
            "--addr",
            "/b",
            "--protocol",
            "transport-bitswap",
        ]);
        let matches = command().try_get_matches_from(beside).unwrap();
        let serve = matches.subcommand_matches("serve").unwrap();
        let args = serve::ServeArgs::from_arg_matches(serve).unwrap();
        assert_eq!(args.import.len(), 3);
        assert_eq!(args.addr, ["/a", "/b"]);
    }

    #[test]
    fn errors_are_printed_with_their_causes() {
        let error = anyhow::anyhow!("inner").context("middle").context("outer");
        let mut printed = Vec::new();
        print_error(&error, &mut printed);
        let expected = "error: outer\n  caused by: middle\n  caused by: inner\n";
        assert_eq!(String::from_utf8(printed).unwrap(), expected);
    }

    #[test]
    fn exit_codes_tell_wrong_settings_from_later_failures() {
        let settings = anyhow::Error::from(ConfigError { problems: Vec::new() });
        assert_eq!(exit_code(&settings, Some("serve")), EXIT_USAGE);
        let later = anyhow::anyhow!("later");
        assert_eq!(exit_code(&later, Some("serve")), EXIT_FAILURE);
        assert_eq!(exit_code(&later, Some("lookup")), EXIT_USAGE);
        let gone = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(is_broken_pipe(&gone) && !is_broken_pipe(&later));
    }
}
